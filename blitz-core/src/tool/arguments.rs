//! Reads the arguments of a tool call, as models write them.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The most bytes of arguments that are read.
const MAX_ARGUMENTS: usize = 1 << 20;

/// The arguments as an object; empty text means none. Else what the model is told.
///
/// Duplicate keys, huge numbers and deep nesting are refused. Weak models wrap the object in prose
/// or a code fence, or leave a comma behind: that is mended once.
pub(super) fn read(text: &str) -> Result<Value, String> {
    if text.len() > MAX_ARGUMENTS {
        return Err(format!("the arguments have {} bytes, at most {MAX_ARGUMENTS} are read", text.len()));
    }
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    match parse(text) {
        Ok(Value::Object(arguments)) => Ok(Value::Object(arguments)),
        Ok(Value::String(inner)) => object(parse(&inner)),
        Ok(_) => object(Ok(Value::Null)),
        Err(error) => match mended(text).map(|mended| parse(&mended)) {
            Some(Ok(Value::Object(arguments))) => Ok(Value::Object(arguments)),
            _ => Err(format!("the arguments are no valid JSON: {error}")),
        },
    }
}

fn object(parsed: Result<Value, serde_json::Error>) -> Result<Value, String> {
    match parsed {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => Err("the arguments must be one JSON object".to_owned()),
    }
}

/// The text between the first and the last brace, without commas before a closing bracket.
fn mended(text: &str) -> Option<String> {
    let (start, end) = (text.find('{')?, text.rfind('}')?);
    let mut out = String::with_capacity(end.checked_sub(start)? + 1);
    let (mut in_string, mut escaped) = (false, false);
    for c in text[start..=end].chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '"' {
            in_string = true;
        } else if matches!(c, '}' | ']') && out.trim_end().ends_with(',') {
            out.truncate(out.trim_end().len() - 1);
        }
        out.push(c);
    }
    Some(out)
}

/// JSON without duplicate keys. The parser itself bounds nesting and the size of numbers.
fn parse(text: &str) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Strict)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is there twice"));
            }
        }
        Ok(Value::Object(object))
    }
}
