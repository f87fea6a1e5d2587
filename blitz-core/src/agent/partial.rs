//! The output so far: JSON that is still being written, closed where it stands and checked as far as
//! that can be done.

use serde_json::{Map, Value};

use crate::domain::schema::{ANSWER, SchemaCheck};

/// Nested deeper than this, nothing is shown.
const MAX_DEPTH: usize = 64;

/// Keywords that a value may break only because it is not whole yet.
const LATER: &[&str] = &[
    "required",
    "dependentRequired",
    "minProperties",
    "minItems",
    "minContains",
    "contains",
    "minLength",
    "pattern",
    "format",
    "enum",
    "const",
    "if",
    "then",
    "else",
    "not",
    "dependentSchemas",
    "$schema",
];

/// Reads the output of an agent while its answer streams.
#[derive(Debug, Clone)]
pub(crate) struct PartialOutput {
    check: SchemaCheck,
}

impl PartialOutput {
    /// For outputs that follow a schema; `None` where what is left of it cannot be checked.
    pub(crate) fn new(schema: &Value) -> Option<Self> {
        SchemaCheck::new(&loosened(schema)).ok().map(|check| Self { check })
    }

    /// The output as far as the text goes; `None` where there is none yet, or none that could become one.
    pub(crate) fn read(&self, text: &str) -> Option<Value> {
        let begin = text.find(['{', '['])?;
        let mut reader = Reader { text: &text[begin..], at: 0 };
        match reader.value(0) {
            Found::Whole(value) | Found::Open(value) => self.fitting(value),
            Found::Nothing => None,
        }
    }

    /// A value that fits, or the one that fits inside the object that it was put into.
    fn fitting(&self, value: Value) -> Option<Value> {
        let fits = |value: &Value| self.check.check(value).is_ok();
        if fits(&value) {
            return Some(value);
        }
        match value {
            Value::Object(mut whole) if whole.len() == 1 => whole.shift_remove(ANSWER).filter(fits),
            _ => None,
        }
    }
}

/// A schema without what only a whole value can keep.
fn loosened(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !LATER.contains(&name.as_str()));
            let kept = kept.map(|(name, value)| match (name.as_str(), value) {
                // Names of properties are no keywords.
                ("properties" | "$defs" | "definitions" | "patternProperties", Value::Object(named)) => {
                    let named = named.iter().map(|(name, value)| (name.clone(), loosened(value)));
                    (name.clone(), Value::Object(named.collect()))
                }
                // What is begun may fit several branches until it is whole.
                ("oneOf", branches) => ("anyOf".to_owned(), loosened(branches)),
                _ => (name.clone(), loosened(value)),
            });
            Value::Object(kept.collect())
        }
        Value::Array(items) => items.iter().map(loosened).collect(),
        other => other.clone(),
    }
}

/// A value as far as it is there.
enum Found {
    Whole(Value),
    /// More of it may come.
    Open(Value),
    /// Nothing that means anything yet.
    Nothing,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Found {
        if depth > MAX_DEPTH {
            return Found::Nothing;
        }
        match self.next() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string(),
            Some(_) => self.scalar(),
            None => Found::Nothing,
        }
    }

    fn object(&mut self, depth: usize) -> Found {
        self.at += 1;
        let mut map = Map::new();
        loop {
            match self.next() {
                Some(b'}') => {
                    self.at += 1;
                    return Found::Whole(map.into());
                }
                Some(b',') if !map.is_empty() => self.at += 1,
                Some(b'"') => {}
                _ => return Found::Open(map.into()),
            }
            if self.next() == Some(b'}') {
                continue;
            }
            let Found::Whole(Value::String(name)) = self.string() else { return Found::Open(map.into()) };
            if self.next() != Some(b':') {
                return Found::Open(map.into());
            }
            self.at += 1;
            match self.value(depth + 1) {
                Found::Whole(value) => drop(map.insert(name, value)),
                Found::Open(value) => {
                    map.insert(name, value);
                    return Found::Open(map.into());
                }
                Found::Nothing => return Found::Open(map.into()),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Found {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            match self.next() {
                Some(b']') => {
                    self.at += 1;
                    return Found::Whole(items.into());
                }
                Some(b',') if !items.is_empty() => self.at += 1,
                Some(_) if items.is_empty() => {}
                _ => return Found::Open(items.into()),
            }
            match self.value(depth + 1) {
                Found::Whole(value) => items.push(value),
                Found::Open(value) => {
                    items.push(value);
                    return Found::Open(items.into());
                }
                Found::Nothing => return Found::Open(items.into()),
            }
        }
    }

    fn string(&mut self) -> Found {
        if self.next() != Some(b'"') {
            return Found::Nothing;
        }
        let (begin, mut escaped) = (self.at, false);
        for (offset, byte) in self.text.bytes().enumerate().skip(begin + 1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.at = offset + 1;
                    let read = serde_json::from_str(&self.text[begin..self.at]);
                    return read.map_or(Found::Nothing, Found::Whole);
                }
                _ => {}
            }
        }
        self.at = self.text.len();
        let open = &self.text[begin..];
        // An escape that is not whole is at most twelve bytes: two halves of a surrogate pair.
        let ends = (0..=12).filter_map(|less| open.len().checked_sub(less)).filter(|end| open.is_char_boundary(*end));
        let closed =
            ends.filter(|end| *end > 0).find_map(|end| serde_json::from_str(&format!("{}\"", &open[..end])).ok());
        closed.map_or(Found::Nothing, Found::Open)
    }

    /// A number or a word; at the end of the text more of it may come.
    fn scalar(&mut self) -> Found {
        let rest = &self.text[self.at..];
        let Some(length) = rest.find(|c: char| matches!(c, ',' | ']' | '}') || c.is_whitespace()) else {
            self.at = self.text.len();
            return Found::Nothing;
        };
        self.at += length;
        serde_json::from_str(&rest[..length]).map_or(Found::Nothing, Found::Whole)
    }

    /// The next byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn any() -> PartialOutput {
        PartialOutput::new(&json!({})).unwrap()
    }

    #[test]
    fn b20_what_is_begun_is_closed_where_it_stands() {
        for (text, expected) in [
            (r#"{"a": "hel"#, json!({"a": "hel"})),
            (r#"{"a": "x\"#, json!({"a": "x"})),
            (r#"{"a": "x\ud83d\ude"#, json!({"a": "x"})),
            (r#"{"a": "é", "b"#, json!({"a": "é"})),
            (r#"{"a": "é", "b": "#, json!({"a": "é"})),
            (r#"{"a": 12"#, json!({})),
            (r#"{"a": 12,"#, json!({"a": 12})),
            (r#"{"a": tru"#, json!({})),
            (r#"[1, [2, {"b": null}, "#, json!([1, [2, {"b": null}]])),
            ("```json\n{\"a\": [", json!({"a": []})),
            (r#"{"a": 1} and more"#, json!({"a": 1})),
        ] {
            assert_eq!(any().read(text), Some(expected), "{text}");
        }
        assert_eq!(any().read("Let me see"), None);
        assert!(any().read(&"[".repeat(500)).is_some(), "too deep is cut, not refused");
    }

    #[test]
    fn b14_b20_what_is_inside_an_object_is_shown_as_itself() {
        let partial = PartialOutput::new(&json!({"type": "array", "items": {"type": "integer"}})).unwrap();
        assert_eq!(partial.read(r#"{"answer": [1, 2, "#), Some(json!([1, 2])));
        assert_eq!(partial.read("[1, 2, "), Some(json!([1, 2])));
        assert_eq!(partial.read(r#"{"other": [1, 2, "#), None);
    }

    #[test]
    fn b20_what_can_never_fit_is_not_shown() {
        let schema = json!({"type": "object", "required": ["name", "age"], "additionalProperties": false, "properties": {
            "name": {"type": "string", "minLength": 3, "enum": ["Anna"]}, "age": {"type": "integer", "maximum": 9},
            "required": {"type": "string"}}});
        let partial = PartialOutput::new(&schema).unwrap();
        assert_eq!(partial.read(r#"{"name": "A"#), Some(json!({"name": "A"})));
        assert_eq!(partial.read(r#"{"name": 7, "#), None);
        assert_eq!(partial.read(r#"{"age": 10}"#), None);
        assert_eq!(partial.read(r#"{"required": 1, "#), None);
        assert_eq!(partial.read(r#"{"other": 1, "#), None);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            proptest::arbitrary::any::<bool>().prop_map(Value::from),
            proptest::arbitrary::any::<i32>().prop_map(Value::from),
            "[a\"\\\\é🦀\n]{0,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-cé\"]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Every prefix of a value gives something that is in it, and the whole gives the whole.
        #[test]
        fn b20_every_prefix_is_part_of_the_whole(value in json_value()) {
            let value = json!({"v": value});
            let text = value.to_string();
            for end in (1..text.len()).filter(|end| text.is_char_boundary(*end)) {
                let found = self::any().read(&text[..end]).unwrap();
                prop_assert!(is_part(&found, &value), "{} of {}", found, value);
            }
            prop_assert_eq!(self::any().read(&text).unwrap(), value);
        }
    }

    fn is_part(part: &Value, whole: &Value) -> bool {
        match (part, whole) {
            (Value::String(part), Value::String(whole)) => whole.starts_with(part.as_str()),
            (Value::Array(part), Value::Array(whole)) => {
                part.len() <= whole.len() && part.iter().zip(whole).all(|(part, whole)| is_part(part, whole))
            }
            (Value::Object(part), Value::Object(whole)) => {
                part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| is_part(part, whole)))
            }
            _ => part == whole,
        }
    }
}
