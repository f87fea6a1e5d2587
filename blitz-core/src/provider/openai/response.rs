//! Reads the wire form of answers and their pieces, forgiving in everything that servers get wrong.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::{FinishReason, Usage};

/// The largest count that is believed; more is held at it, so that sums stay in range.
const MAX_COUNT: u64 = 1 << 40;

/// A whole answer or a piece of a streamed one.
#[derive(Default)]
pub(super) struct Chunk<'a> {
    pub id: Text<'a>,
    pub model: Text<'a>,
    pub choices: Vec<Choice<'a>>,
    pub usage: Option<Value>,
    pub error: Option<Value>,
    /// Fields that the engine does not know, not parsed.
    pub extra: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// One candidate. A whole answer has a `message`, a piece a `delta`.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    pub index: Option<i64>,
    #[serde(borrow)]
    pub delta: Option<Said<'a>>,
    #[serde(borrow)]
    pub message: Option<Said<'a>>,
    #[serde(borrow)]
    pub finish_reason: Text<'a>,
    #[serde(borrow)]
    pub logprobs: Option<&'a RawValue>,
    /// Some servers put the usage here.
    pub usage: Option<Value>,
}

/// What the model said, whole or in part.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Said<'a> {
    #[serde(borrow)]
    pub content: Text<'a>,
    #[serde(borrow)]
    pub reasoning_content: Text<'a>,
    #[serde(borrow)]
    pub reasoning: Text<'a>,
    #[serde(borrow)]
    pub refusal: Text<'a>,
    #[serde(borrow)]
    pub tool_calls: Option<Vec<CallPiece<'a>>>,
    #[serde(borrow)]
    pub annotations: Option<&'a RawValue>,
}

impl Said<'_> {
    /// The thought, under the name that the server uses; some use both for the same text.
    pub(super) fn thinking(&self) -> &str {
        if self.reasoning_content.0.is_empty() { &self.reasoning.0 } else { &self.reasoning_content.0 }
    }
}

/// A tool call, whole or in part.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct CallPiece<'a> {
    pub index: Option<i64>,
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub function: Option<FunctionPiece<'a>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct FunctionPiece<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub arguments: Option<&'a RawValue>,
}

impl FunctionPiece<'_> {
    /// The arguments as text: a fragment of a string, or an object as the server wrote it.
    pub(super) fn arguments(&self) -> Cow<'_, str> {
        match self.arguments.map(RawValue::get) {
            None | Some("null") => "".into(),
            Some(raw) if raw.starts_with('"') => serde_json::from_str::<String>(raw).unwrap_or_default().into(),
            Some(raw) => raw.into(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Chunk<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Chunk<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Chunk<'de>, A::Error> {
                let mut chunk = Chunk::default();
                while let Some(Text(key)) = map.next_key()? {
                    match &*key {
                        "id" => chunk.id = map.next_value()?,
                        "model" => chunk.model = map.next_value()?,
                        "choices" => chunk.choices = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        "usage" => chunk.usage = map.next_value()?,
                        "error" => chunk.error = map.next_value()?,
                        "object" | "created" | "obfuscation" => drop(map.next_value::<IgnoredAny>()?),
                        _ => chunk.extra.push((key, map.next_value()?)),
                    }
                }
                Ok(chunk)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A text that may be absent, null, a number, or a list of parts that hold text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl<'de> Visitor<'de> for AnyText {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(text.to_owned().into()))
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_i64<E>(self, number: i64) -> Result<Text<'de>, E> {
                Ok(Text(number.to_string().into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Text<'de>, E> {
                Ok(Text(number.to_string().into()))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Text<'de>, A::Error> {
                let mut text = String::new();
                while let Some(part) = parts.next_element::<TextPart<'_>>()? {
                    text.push_str(&part.0.0);
                }
                Ok(Text(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(AnyText)
    }
}

/// The text of a content part; other kinds of part say nothing.
struct TextPart<'a>(Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for TextPart<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Part<'a> {
            #[serde(borrow, default)]
            text: Text<'a>,
        }
        Part::deserialize(deserializer).map(|part| Self(part.text))
    }
}

/// Why the model stopped; `None` while it has not.
pub(super) fn finish_reason(text: &str) -> Option<FinishReason> {
    Some(match text {
        "" => return None,
        "stop" | "eos" | "end_turn" | "stop_sequence" => FinishReason::Stop,
        "tool_calls" | "tool_call" | "function_call" => FinishReason::ToolCalls,
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    })
}

/// Usage as the provider reported it, in the engine's terms; `None` where it is no report.
///
/// A count that is negative is zero, a fraction is rounded up, digits in a string count, and a part
/// is never more than its whole. Reasoning that a server counts beside its output is moved inside.
pub(super) fn usage(raw: &Value) -> Option<Usage> {
    let first = |names: &[&str]| names.iter().find_map(|name| count(raw.pointer(name)?));
    let input = first(&["/prompt_tokens", "/input_tokens"]);
    let output = first(&["/completion_tokens", "/output_tokens"]);
    let total = first(&["/total_tokens"]);
    let (input, mut output) = match (input, output, total) {
        (Some(input), Some(output), _) => (input, output),
        (Some(input), None, total) => (input, total.map_or(0, |total| total.saturating_sub(input))),
        (None, Some(output), total) => (total.map_or(0, |total| total.saturating_sub(output)), output),
        (None, None, Some(total)) => (total, 0),
        (None, None, None) => return None,
    };
    let reasoning = first(&[
        "/completion_tokens_details/reasoning_tokens",
        "/output_tokens_details/reasoning_tokens",
        "/reasoning_tokens",
    ])
    .unwrap_or(0);
    if reasoning > 0 && total == Some(input + output + reasoning) {
        output += reasoning;
    }
    let cached = first(&[
        "/prompt_tokens_details/cached_tokens",
        "/input_tokens_details/cached_tokens",
        "/prompt_cache_hit_tokens",
        "/cached_tokens",
    ])
    .unwrap_or(0);
    Some(Usage::new(input, output).with_cache(cached.min(input), 0).with_reasoning(reasoning.min(output)))
}

fn count(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(digits) => digits.trim().parse::<f64>().ok().filter(|number| !number.is_nan())?,
        _ => return None,
    };
    // A float holds every count up to the bound exactly, and the cast saturates.
    Some((number.max(0.0).ceil() as u64).min(MAX_COUNT))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn t05_odd_counts_are_clamped_and_never_negative() {
        for (prompt, expected) in [
            (json!(-5), 0),
            (json!(12.2), 13),
            (json!("12"), 12),
            (json!(1e300), MAX_COUNT),
            (json!(u64::MAX), MAX_COUNT),
            (json!("inf"), MAX_COUNT),
        ] {
            let usage = usage(&json!({"prompt_tokens": prompt, "completion_tokens": 1})).unwrap();
            assert_eq!((usage.input_tokens, usage.output_tokens), (expected, 1), "{prompt}");
        }
        for none in
            [json!(null), json!({}), json!([]), json!({"prompt_tokens": "many"}), json!({"prompt_tokens": "NaN"})]
        {
            assert_eq!(usage(&none), None, "{none}");
        }
    }

    #[test]
    fn t08_a_part_is_never_more_than_its_whole() {
        let raw = json!({"prompt_tokens": 10, "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 50}, "completion_tokens_details": {"reasoning_tokens": 9}});
        assert_eq!(usage(&raw).unwrap(), Usage::new(10, 5).with_cache(10, 0).with_reasoning(5));
    }

    #[test]
    fn b37_reasoning_beside_the_output_is_moved_inside() {
        let raw = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22,
            "completion_tokens_details": {"reasoning_tokens": 7}});
        assert_eq!(usage(&raw).unwrap(), Usage::new(10, 12).with_reasoning(7));
    }

    #[test]
    fn b37_a_missing_side_follows_from_the_total() {
        assert_eq!(usage(&json!({"prompt_tokens": 10, "total_tokens": 12})).unwrap(), Usage::new(10, 2));
        assert_eq!(usage(&json!({"total_tokens": 12})).unwrap(), Usage::new(12, 0));
        assert_eq!(usage(&json!({"prompt_tokens": 3, "prompt_cache_hit_tokens": 2})).unwrap().cache_read_tokens, 2);
    }

    #[test]
    fn b22_null_absent_and_odd_fields_are_read() {
        for text in [
            r"{}",
            r#"{"choices":null,"id":null,"model":null,"usage":null,"error":null}"#,
            r#"{"choices":[{}],"id":7,"model":""}"#,
            r#"{"choices":[{"index":0,"delta":null,"finish_reason":null,"logprobs":null}]}"#,
            r#"{"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":null,"reasoning":{"a":1}}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{},{"function":null},{"function":{"name":null}}]}}]}"#,
        ] {
            let chunk: Chunk<'_> = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(chunk.choices.iter().all(|choice| finish_reason(&choice.finish_reason.0).is_none()));
        }
    }

    #[test]
    fn content_may_be_a_list_of_parts() {
        let text =
            r#"{"content":[{"type":"text","text":"a"},{"type":"other","x":{}},{"type":"text","text":"\u00e9"}]}"#;
        assert_eq!(serde_json::from_str::<Said<'_>>(text).unwrap().content.0, "aé");
    }

    proptest! {
        #[test]
        fn t05_no_report_of_usage_breaks_the_rules(
            prompt in any::<f64>(), completion in any::<i64>(), total in any::<u64>(), cached in any::<i64>(), reasoning in any::<u64>(),
        ) {
            let raw = json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total,
                "prompt_tokens_details": {"cached_tokens": cached}, "completion_tokens_details": {"reasoning_tokens": reasoning}});
            if let Some(usage) = usage(&raw) {
                prop_assert!(usage.cache_read_tokens <= usage.input_tokens);
                prop_assert!(usage.reasoning_tokens <= usage.output_tokens);
                prop_assert!(usage.total_tokens() <= 3 * MAX_COUNT);
            }
        }
    }
}
