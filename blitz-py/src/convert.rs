//! Python values to JSON and back.
//!
//! What JSON cannot hold is refused with the place where it stands, never changed in silence: NaN,
//! infinities, integers past 64 bits, bytes, keys that are no text, lone surrogates, cycles. What
//! Python can write as plain values (dataclasses, enums, models, decimals) `_schema.to_plain` does.

use std::fmt::Write as _;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value, json};

use crate::error::to_py;

/// The deepest a value may be nested; the engine's own bound lies below it.
const MAX_DEPTH: usize = 128;
/// The longest a place is shown.
const MAX_PLACE: usize = 200;

/// A Python value as JSON; `what` names it in errors.
///
/// Errors: `InvalidInputError` with the place in `details["path"]`.
pub(crate) fn to_json(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Value> {
    Reader { what, path: Vec::new(), open: Vec::new() }.read(value)
}

/// A Python value as one of the engine's types. Errors: `InvalidInputError`, which repeats no value.
pub(crate) fn to_typed<T: DeserializeOwned>(value: &Bound<'_, PyAny>, what: &str) -> PyResult<T> {
    let json = to_json(value, what)?;
    serde_json::from_value(json).map_err(|error| {
        to_py(value.py(), &blitz::Error::invalid(format!("{what} does not fit: {}", blitz::told(&error))))
    })
}

/// A step on the way to a value.
enum Place {
    Key(String),
    Index(usize),
}

struct Reader<'a> {
    what: &'a str,
    path: Vec<Place>,
    /// The containers around the value, by identity.
    open: Vec<usize>,
}

impl Reader<'_> {
    fn read(&mut self, value: &Bound<'_, PyAny>) -> PyResult<Value> {
        if value.is_none() {
            Ok(Value::Null)
        } else if let Ok(text) = value.cast::<PyString>() {
            self.text(text).map(Value::String)
        } else if let Ok(flag) = value.cast::<PyBool>() {
            Ok(Value::Bool(flag.is_true()))
        } else if let Ok(number) = value.cast::<PyInt>() {
            self.integer(number)
        } else if let Ok(number) = value.cast::<PyFloat>() {
            let number = number.value();
            let number = Number::from_f64(number);
            number.map(Value::Number).ok_or_else(|| self.refuse(value, "NaN and infinities are not JSON"))
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.enter(value, |reader| reader.dict(dict))
        } else if let Ok(list) = value.cast::<PyList>() {
            self.enter(value, |reader| reader.items(list.iter(), list.len()))
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.enter(value, |reader| reader.items(tuple.iter(), tuple.len()))
        } else {
            self.enter(value, |reader| {
                let plain = plain(value)?;
                if plain.is(value) {
                    let kind = value.get_type().name()?;
                    return Err(reader.refuse(value, &format!("{} has no JSON form", one(&kind.to_string()))));
                }
                reader.read(&plain)
            })
        }
    }

    fn text(&self, text: &Bound<'_, PyString>) -> PyResult<String> {
        let plain = text.to_str().map_err(|_| self.refuse(text, "a lone surrogate is no Unicode text"))?;
        Ok(plain.to_owned())
    }

    fn integer(&self, number: &Bound<'_, PyInt>) -> PyResult<Value> {
        if let Ok(small) = number.extract::<i64>() {
            return Ok(Value::Number(small.into()));
        }
        let large = number.extract::<u64>().map_err(|_| self.refuse(number, "an integer past 64 bits"))?;
        Ok(Value::Number(large.into()))
    }

    fn dict(&mut self, dict: &Bound<'_, PyDict>) -> PyResult<Value> {
        let mut map = Map::new();
        // A copy of the items: what is asked on the way may change the dict.
        for item in dict.items() {
            let (key, value) = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
            let Ok(key) = key.cast::<PyString>() else {
                let kind = key.get_type().name()?;
                return Err(self.refuse(&key, &format!("a key is {}: JSON has text keys only", one(&kind.to_string()))));
            };
            let key = self.text(key)?;
            self.path.push(Place::Key(key.clone()));
            let value = self.read(&value)?;
            self.path.pop();
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn items<'py>(&mut self, items: impl Iterator<Item = Bound<'py, PyAny>>, len: usize) -> PyResult<Value> {
        let mut list = Vec::with_capacity(len);
        for (index, item) in items.enumerate() {
            self.path.push(Place::Index(index));
            list.push(self.read(&item)?);
            self.path.pop();
        }
        Ok(Value::Array(list))
    }

    /// Reads what is inside a container that is not inside itself.
    fn enter(&mut self, value: &Bound<'_, PyAny>, read: impl FnOnce(&mut Self) -> PyResult<Value>) -> PyResult<Value> {
        let id = value.as_ptr() as usize;
        if self.open.contains(&id) {
            return Err(self.refuse(value, "the value contains itself"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.refuse(value, &format!("nested deeper than {MAX_DEPTH}")));
        }
        self.open.push(id);
        let read = read(self)?;
        self.open.pop();
        Ok(read)
    }

    fn refuse(&self, value: &Bound<'_, PyAny>, why: &str) -> PyErr {
        let mut place = self.what.to_owned();
        for step in &self.path {
            match step {
                Place::Index(index) => write!(place, "[{index}]"),
                Place::Key(key) if is_word(key) => write!(place, ".{key}"),
                Place::Key(key) => write!(place, "[{key:?}]"),
            }
            .unwrap_or_default();
        }
        if place.chars().count() > MAX_PLACE {
            place = place.chars().take(MAX_PLACE).chain("…".chars()).collect();
        }
        let error = blitz::Error::invalid(format!("{place}: {why}")).with_details(json!({"path": place}));
        to_py(value.py(), &error)
    }
}

/// A noun with its article.
fn one(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
    format!("{article} {noun}")
}

fn is_word(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What Python can write as plain values; the value itself where it cannot.
fn plain<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static TO_PLAIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    TO_PLAIN.import(value.py(), "blitz._schema", "to_plain")?.call1((value,))
}

/// JSON as Python values.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(flag) => PyBool::new(py, *flag).to_owned().into_any(),
        Value::Number(number) => number_to_python(py, number)?,
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_python(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(map) => {
            let dict = PyDict::new(py);
            for (key, item) in map {
                dict.set_item(PyString::intern(py, key), to_python(py, item)?)?;
            }
            dict.into_any()
        }
    })
}

fn number_to_python<'py>(py: Python<'py>, number: &Number) -> PyResult<Bound<'py, PyAny>> {
    if let Some(small) = number.as_i64() {
        return Ok(small.into_pyobject(py)?.into_any());
    }
    if let Some(large) = number.as_u64() {
        return Ok(large.into_pyobject(py)?.into_any());
    }
    let float = number.as_f64().ok_or_else(|| PyValueError::new_err("a number has no Python form"))?;
    Ok(PyFloat::new(py, float).into_any())
}

/// One of the engine's values as plain Python values.
pub(crate) fn value_to_python<T: Serialize>(py: Python<'_>, value: &T) -> PyResult<Py<PyAny>> {
    let json = serde_json::to_value(value).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(to_python(py, &json)?.unbind())
}

/// The text of `str(value)`, for messages.
pub(crate) fn shown(value: &Bound<'_, PyAny>) -> String {
    let text = value.call_method0(intern!(value.py(), "__str__"));
    text.and_then(|text| text.extract::<String>()).unwrap_or_default()
}
