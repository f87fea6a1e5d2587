//! The values that an expression sees, as the template engine takes them: shared, and handed over as they are read.
//!
//! A scope may hold megabytes of which an expression reads one number. So nothing of it is copied
//! beforehand: a list or an object is shown by where it is, a plain value by its copy.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value as JinjaValue};
use serde_json::{Map, Value};

use super::scan::At;

/// The values that an expression sees, by name: `inputs`, `vars`, `nodes`, `item`, `index`, `loop`,
/// `execution`, `trigger`, `input` (the node's own) and `error` (of a handler).
///
/// Only what [`super::Names`] says is read need be there. A node that was skipped has no `output`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope(Vec<(String, Seen)>);

/// A value of a scope. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// A value, or a place in one.
    Value(Arc<Json>),
    /// An object that is put together of values.
    Parts(Arc<Parts>),
}

/// A JSON value by where it is, so that nothing around it is copied.
#[derive(Debug)]
pub(crate) enum Json {
    Whole(Arc<Value>),
    Field(Arc<Json>, String),
    Item(Arc<Json>, usize),
}

/// An object that is put together of values.
#[derive(Debug)]
pub(crate) struct Parts(Vec<(String, Seen)>);

impl Scope {
    pub(crate) fn insert(&mut self, name: &str, seen: impl Into<Seen>) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), seen.into()));
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The field of a root.
    pub(super) fn field(&self, root: &str, name: &str) -> Option<&Value> {
        self.fields(root)?.get(name)
    }

    /// The fields of a root that is one value.
    pub(super) fn fields(&self, root: &str) -> Option<&Map<String, Value>> {
        match self.0.iter().find(|(known, _)| known == root)? {
            (_, Seen::Value(json)) => json.get()?.as_object(),
            (_, Seen::Parts(_)) => None,
        }
    }

    /// Whether there is something at a path.
    pub(super) fn has(&self, root: &str, steps: &[At]) -> bool {
        let found = self.0.iter().find(|(known, _)| known == root).map(|(_, seen)| seen);
        found.is_some_and(|seen| seen.has(steps))
    }

    /// About how long all of it is as JSON.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, seen)| seen.bytes()).sum()
    }

    /// The scope as the template engine takes it, with values that are no part of it.
    pub(super) fn shown(&self, more: Option<(&str, Value)>) -> JinjaValue {
        let mut parts = self.0.clone();
        parts.extend(more.map(|(name, value)| (name.to_owned(), value.into())));
        JinjaValue::from_object(Parts(parts))
    }
}

impl FromIterator<(String, Value)> for Scope {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(values: T) -> Self {
        Self(values.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

impl Seen {
    /// An object of these fields.
    pub(crate) fn object(fields: impl IntoIterator<Item = (String, Self)>) -> Self {
        Self::Parts(Arc::new(Parts(fields.into_iter().collect())))
    }

    /// An item of a list.
    pub(crate) fn item(list: &Arc<Value>, index: usize) -> Self {
        Self::Value(Arc::new(Json::Item(Arc::new(Json::Whole(Arc::clone(list))), index)))
    }

    fn has(&self, steps: &[At]) -> bool {
        match (self, steps) {
            (_, []) => true,
            (Self::Parts(parts), [At::Name(name), rest @ ..]) => {
                parts.0.iter().find(|(known, _)| known == name).is_some_and(|(_, seen)| seen.has(rest))
            }
            (Self::Parts(_), _) => false,
            (Self::Value(json), steps) => {
                let found = steps.iter().try_fold(json.get(), |value, at| match (value, at) {
                    (Some(value), At::Name(name)) => Some(value.get(name)),
                    (Some(value), At::Index(index)) => Some(value.get(index)),
                    (None, _) => None,
                });
                found.flatten().is_some()
            }
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Value(json) => json.get().map_or(0, crate::workflow::values::length),
            Self::Parts(parts) => parts.0.iter().map(|(name, seen)| name.len() as u64 + seen.bytes()).sum(),
        }
    }

    fn shown(&self) -> JinjaValue {
        match self {
            Self::Value(json) => json.shown(),
            Self::Parts(parts) => JinjaValue::from_dyn_object(Arc::clone(parts)),
        }
    }
}

impl From<Arc<Value>> for Seen {
    fn from(value: Arc<Value>) -> Self {
        Self::Value(Arc::new(Json::Whole(value)))
    }
}

impl From<Value> for Seen {
    fn from(value: Value) -> Self {
        Arc::new(value).into()
    }
}

impl Json {
    /// The value; a place that was made always has one.
    pub(super) fn get(&self) -> Option<&Value> {
        match self {
            Self::Whole(value) => Some(value),
            Self::Field(outer, name) => outer.get()?.get(name),
            Self::Item(outer, index) => outer.get()?.get(*index),
        }
    }

    fn shown(self: &Arc<Self>) -> JinjaValue {
        let Some(value) = self.get() else { return JinjaValue::UNDEFINED };
        plain(value).unwrap_or_else(|| JinjaValue::from_dyn_object(Arc::clone(self)))
    }
}

/// A value that holds no others.
fn plain(value: &Value) -> Option<JinjaValue> {
    #[cfg(test)]
    reads::count();
    Some(match value {
        Value::Null => JinjaValue::from(()),
        Value::Bool(value) => JinjaValue::from(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (_, Some(number)) => JinjaValue::from(number),
            (Some(number), None) => JinjaValue::from(number),
            (None, None) => JinjaValue::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => JinjaValue::from(text.as_str()),
        Value::Array(_) | Value::Object(_) => return None,
    })
}

impl Object for Json {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if matches!(self.get(), Some(Value::Array(_))) { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &JinjaValue) -> Option<JinjaValue> {
        match self.get()? {
            Value::Array(items) => {
                let index = key.as_usize()?;
                let item = items.get(index)?;
                Some(plain(item).unwrap_or_else(|| JinjaValue::from_object(Self::Item(Arc::clone(self), index))))
            }
            _ => self.get_value_by_str(key.as_str()?),
        }
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<JinjaValue> {
        let field = self.get()?.get(key)?;
        Some(plain(field).unwrap_or_else(|| JinjaValue::from_object(Self::Field(Arc::clone(self), key.to_owned()))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.get() {
            Some(Value::Array(items)) => Enumerator::Seq(items.len()),
            Some(Value::Object(fields)) => {
                Enumerator::Values(fields.keys().map(|key| JinjaValue::from(key.as_str())).collect())
            }
            _ => Enumerator::Empty,
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        match self.get()? {
            Value::Array(items) => Some(items.len()),
            Value::Object(fields) => Some(fields.len()),
            _ => None,
        }
    }
}

impl Object for Parts {
    fn get_value(self: &Arc<Self>, key: &JinjaValue) -> Option<JinjaValue> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<JinjaValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, seen)| seen.shown())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| JinjaValue::from(name.as_str())).collect())
    }
}

/// How many values expressions were handed on this thread: what a test counts.
#[cfg(test)]
pub(in crate::workflow) mod reads {
    use std::cell::Cell;

    thread_local!(static READS: Cell<u64> = const { Cell::new(0) });

    pub(super) fn count() {
        READS.set(READS.get() + 1);
    }

    pub(in crate::workflow) fn taken() -> u64 {
        READS.replace(0)
    }
}
