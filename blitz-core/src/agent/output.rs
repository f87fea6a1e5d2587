//! Judges a model's final answer: text, or JSON that follows a schema.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::domain::parse::integer_past_64_bits;
use crate::domain::schema::SchemaCheck;
use crate::error::Result;

/// What the final answer of an agent must be. As plain data it is its schema.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutputCheck {
    schema: Option<(Value, SchemaCheck)>,
}

impl OutputCheck {
    pub(crate) fn new(schema: Option<&Value>) -> Result<Self> {
        let schema = schema.map(|schema| Ok((schema.clone(), SchemaCheck::new(schema)?))).transpose();
        schema.map(|schema| Self { schema })
    }

    /// The output that an answer's text gives, or what the model is told about it.
    pub(crate) fn read(&self, text: &str) -> std::result::Result<Value, String> {
        let Some((_, check)) = &self.schema else {
            return if text.trim().is_empty() {
                Err("Your last answer was empty. Give your final answer now, as text.".to_owned())
            } else {
                Ok(Value::String(text.to_owned()))
            };
        };
        let Some((value, json)) = find_json(text) else {
            return Err("Your last answer holds no JSON value. Answer with one JSON value that follows the schema, \
                        and nothing else."
                .to_owned());
        };
        if let Some((_, number)) = integer_past_64_bits(json) {
            return Err(format!("The integer {number} of your last answer is past 64 bits. Answer again without it."));
        }
        check.check(&value).map_err(|problems| {
            let list: Vec<String> =
                problems.iter().take(10).map(|problem| format!("- at {}: {}", problem.path, problem.message)).collect();
            format!(
                "Your last answer does not follow the schema:\n{}\nAnswer again with one JSON value.",
                list.join("\n")
            )
        })?;
        Ok(value)
    }
}

impl Serialize for OutputCheck {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.schema.as_ref().map(|(schema, _)| schema).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OutputCheck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let schema = Option::<Value>::deserialize(deserializer)?;
        Self::new(schema.as_ref()).map_err(serde::de::Error::custom)
    }
}

/// The answer as JSON, and its text: the whole, or the first whole value between fences and prose.
fn find_json(text: &str) -> Option<(Value, &str)> {
    if let Ok(value) = serde_json::from_str(text.trim()) {
        return Some((value, text));
    }
    let starts = text.char_indices().filter(|(_, c)| matches!(c, '{' | '[')).take(64);
    starts
        .filter_map(|(at, _)| {
            let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
            let value = values.next()?.ok()?;
            Some((value, &text[at..at + values.byte_offset()]))
        })
        .next()
}
