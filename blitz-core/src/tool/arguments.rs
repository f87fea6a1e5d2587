//! Arguments of a tool call: from the text that a model wrote to a JSON object.
//!
//! Strict first. Weak models wrap JSON in fences or prose and leave commas behind, so a text that
//! is no JSON gets one repair; nothing is guessed beyond that.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::domain::parse::integer_past_64_bits;

/// The most bytes of the arguments of one call.
const MAX_BYTES: usize = 1 << 20;
/// How deep arguments may be nested; the parser itself stops at 128.
const MAX_DEPTH: usize = 64;

/// The object that a model's text means; empty text means `{}`. Errors: what is wrong, for the model.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("the arguments are over {} KiB", MAX_BYTES / 1024));
    }
    let text = text.trim();
    if text.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let value = match strict(text) {
        Ok(Value::String(inner)) => strict(&inner).map_err(|_| off_shape("text"))?,
        Ok(value) => value,
        Err(error) => repaired(text).ok_or_else(|| format!("the arguments are no JSON: {error}"))?,
    };
    match value {
        Value::Object(_) if !crate::domain::schema::depth_within(&value, MAX_DEPTH) => {
            Err(format!("the arguments are nested deeper than {MAX_DEPTH} levels"))
        }
        Value::Object(_) => Ok(value),
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Array(_) => Err(off_shape("a list")),
        _ => Err(off_shape("a single value")),
    }
}

fn off_shape(what: &str) -> String {
    format!("the arguments are {what}, not a JSON object")
}

/// The object in a text around it, trailing commas removed.
fn repaired(text: &str) -> Option<Value> {
    let object = first_object(text)?;
    strict(object).or_else(|_| strict(&without_trailing_commas(object))).ok()
}

/// From the first `{` to the brace that closes it.
fn first_object(text: &str) -> Option<&str> {
    let start = text.find('{')?;
    let mut depth = 0usize;
    for (at, c) in code(&text[start..]) {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(&text[start..start + at + 1]),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn without_trailing_commas(json: &str) -> String {
    let trailing = |at: usize| json[at + 1..].trim_start().starts_with(['}', ']']);
    let commas: Vec<usize> = code(json).filter(|&(at, c)| c == ',' && trailing(at)).map(|(at, _)| at).collect();
    let mut kept = commas.iter().peekable();
    json.char_indices().filter(|(at, _)| kept.next_if_eq(&at).is_none()).map(|(_, c)| c).collect()
}

/// The characters outside of string literals, with their places.
fn code(json: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quoted, mut escaped) = (false, false);
    json.char_indices().filter(move |&(_, c)| {
        let outside = !quoted && c != '"';
        match c {
            '"' if !escaped => quoted = !quoted,
            '\\' if quoted && !escaped => {
                escaped = true;
                return outside;
            }
            _ => {}
        }
        escaped = false;
        outside
    })
}

/// One JSON value and nothing else; a key that stands twice is an error, as nobody can say which counts, and so is an
/// integer that would be rounded.
fn strict(text: &str) -> serde_json::Result<Value> {
    if let Some((_, number)) = integer_past_64_bits(text) {
        return Err(serde_json::Error::custom(format!("the integer {number} is past 64 bits: write it as text")));
    }
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
        f.write_str("JSON")
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Strict)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(Strict)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn b02_empty_arguments_are_an_empty_object() {
        for text in ["", "  \n", "{}", "null"] {
            assert_eq!(parse(text).unwrap(), json!({}));
        }
    }

    #[test]
    fn an_integer_past_64_bits_is_refused_and_not_rounded() {
        let past = "123456789012345678901234567890";
        for text in
            [format!(r#"{{"n": {past}}}"#), format!(r#"{{"n": [-{past}]}}"#), format!("```{{\"n\": {past},}}```")]
        {
            assert!(parse(&text).unwrap_err().contains("past 64 bits"), "{text}");
        }
        let fits = r#"{"n": 18446744073709551615, "m": -9223372036854775808, "f": 123456789012345678901234567890.5, "t": "9 123456789012345678901234567890 \" 9"}"#;
        assert_eq!(parse(fits).unwrap()["n"], json!(u64::MAX));
    }

    #[test]
    fn b05_what_weak_models_write_is_repaired_once() {
        for text in [
            "```json\n{\"a\": 1}\n```",
            "Sure! Here it is: {\"a\": 1} Hope it helps {",
            "{\"a\": 1,}",
            "```\n{\"a\": 1,\n}\n```",
            r#""{\"a\": 1}""#,
        ] {
            assert_eq!(parse(text).unwrap(), json!({"a": 1}), "{text}");
        }
        assert_eq!(parse(r#"x {"a": ["}\",]", 1, ], }"#).unwrap(), json!({"a": ["}\",]", 1]}));
    }

    #[test]
    fn b05_what_stays_broken_is_told_to_the_model() {
        for text in ["{", "{\"a\": }", "no json", "[1]", "5", "\"text\"", "{\"a\": 1"] {
            assert!(parse(text).unwrap_err().starts_with("the arguments are"), "{text}");
        }
    }

    #[test]
    fn t48_hostile_arguments_are_refused_before_anything_runs() {
        assert!(parse(&format!("{{\"a\": \"{}\"}}", "x".repeat(10 << 20))).unwrap_err().contains("over 1024 KiB"));
        parse(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))).unwrap_err();
        parse(&format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000))).unwrap_err();
        assert!(parse(&format!("{}1{}", "{\"a\":".repeat(70), "}".repeat(70))).unwrap_err().contains("64 levels"));
        assert!(parse(r#"{"a": 1, "a": 2}"#).unwrap_err().contains("twice"));
        assert!(parse(r#"{"b": [{"a": 1, "a": 2}]}"#).unwrap_err().contains("twice"));
        parse(r#"{"a": 1e999}"#).unwrap_err();
    }

    proptest! {
        /// Whatever a model writes, there is an object or a reason.
        #[test]
        fn any_text_gives_an_object_or_a_reason(text in r#"[{}\[\],:"\\a1é ]{0,60}"#) {
            if let Ok(value) = parse(&text) {
                prop_assert!(value.is_object());
            }
        }
    }
}
