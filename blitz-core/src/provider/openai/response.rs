//! Reads the wire form of answers and their pieces, forgiving in everything that servers get wrong.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::tokens::meter_of;
use super::super::wire::calls;
use super::super::wire::counts::Counts;
use super::super::wire::text::{Text, raw_arguments};
use crate::domain::{FinishReason, ServiceTier, Usage, UsageDetails};

/// A whole answer or a piece of a streamed one.
#[derive(Default)]
pub(super) struct Chunk<'a> {
    pub id: Text<'a>,
    pub model: Text<'a>,
    pub choices: Option<Vec<Choice<'a>>>,
    pub usage: Option<Value>,
    pub error: Option<Value>,
    /// Fields that the engine does not know, not parsed.
    pub extra: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// One candidate. A whole answer has a `message`, a piece a `delta`.
#[derive(Default)]
pub(super) struct Choice<'a> {
    pub index: Option<i64>,
    pub delta: Option<Said<'a>>,
    pub message: Option<Said<'a>>,
    pub finish_reason: Text<'a>,
    pub logprobs: Option<&'a RawValue>,
    /// Some servers put the usage here.
    pub usage: Option<Value>,
    /// Fields that the engine does not know, not parsed.
    pub extra: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl Choice<'_> {
    /// The error that ended it, where one did: an object of its own, or the word alone.
    pub(super) fn error(&self) -> Option<Value> {
        let own = self.extra.iter().find(|(name, raw)| name == "error" && raw.get() != "null");
        match own {
            Some((_, raw)) => Some(serde_json::from_str(raw.get()).unwrap_or_default()),
            None => (self.finish_reason.0 == "error").then_some(Value::Null),
        }
    }
}

/// Reads an object: fields by name, all others into `extra`, some not at all.
macro_rules! object {
    ($name:ident: $what:literal; $($field:ident),*; ignored $($ignored:literal),*) => {
        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;
                impl<'de> Visitor<'de> for Fields {
                    type Value = $name<'de>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name<'de>, A::Error> {
                        let mut object = $name::default();
                        while let Some(Text(key)) = map.next_key()? {
                            match &*key {
                                $(stringify!($field) => object.$field = map.next_value()?,)*
                                $($ignored)|* => drop(map.next_value::<IgnoredAny>()?),
                                _ => object.extra.push((key, map.next_value()?)),
                            }
                        }
                        Ok(object)
                    }
                }
                deserializer.deserialize_map(Fields)
            }
        }
    };
}

object!(Choice: "a candidate"; index, delta, message, finish_reason, logprobs, usage; ignored "role");
// What `function_call` says comes as `tool_calls` too.
object!(Said: "what a model said"; content, reasoning_content, reasoning, refusal, tool_calls, reasoning_details;
    ignored "role", "function_call");

/// The id of a thought that came as `reasoning`, which other servers call `reasoning_content`.
pub(super) const REASONING: &str = "reasoning";
/// The id of a thought that came as parts of the content.
pub(super) const CHUNKS: &str = "thinking";

/// What the model said, whole or in part.
#[derive(Default)]
pub(super) struct Said<'a> {
    pub content: Content<'a>,
    pub reasoning_content: Text<'a>,
    pub reasoning: Text<'a>,
    pub refusal: Text<'a>,
    pub tool_calls: Option<Vec<CallPiece<'a>>>,
    /// The form in which OpenRouter wants thoughts back.
    pub reasoning_details: Option<Vec<Value>>,
    /// Fields that the engine does not know (sound, notes, the work of the server's own tools), not parsed.
    pub extra: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Said<'a> {
    /// The text as it is written, where nothing else is said.
    fn literal(&self) -> Option<&'a str> {
        let Self { content, reasoning_content, reasoning, refusal, tool_calls, reasoning_details, extra } = self;
        let other = [reasoning_content, reasoning, refusal].iter().any(|text| !text.0.is_empty());
        let calls = tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
        let thoughts = reasoning_details.as_ref().is_some_and(|details| !details.is_empty());
        let more = other || calls || thoughts || !extra.is_empty();
        content.literal.filter(|_| !more)
    }

    /// The thought, and the name that the server uses where it is not `reasoning_content`; some use both for the
    /// same text.
    pub(super) fn thinking(&self) -> (&str, Option<&'static str>) {
        let names = [
            (&self.reasoning_content.0, None),
            (&self.reasoning.0, Some(REASONING)),
            (&self.content.thinking, Some(CHUNKS)),
        ];
        names.into_iter().find(|(text, _)| !text.is_empty()).map_or(("", None), |(text, name)| (text, name))
    }
}

/// A text, or a list of parts that say or think something.
#[derive(Default)]
pub(super) struct Content<'a> {
    pub text: Cow<'a, str>,
    pub thinking: Cow<'a, str>,
    /// A text as it is written, with its quotes.
    pub literal: Option<&'a str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Part<'a> {
            #[serde(borrow, default)]
            text: Text<'a>,
            #[serde(borrow, default)]
            thinking: Text<'a>,
        }
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if raw.starts_with('[') {
            let parts: Vec<Part<'a>> = serde_json::from_str(raw).map_err(serde::de::Error::custom)?;
            let text: String = parts.iter().map(|part| &*part.text.0).collect();
            let thinking: String = parts.iter().map(|part| &*part.thinking.0).collect();
            return Ok(Self { text: text.into(), thinking: thinking.into(), literal: None });
        }
        let Text(text) = serde_json::from_str(raw).map_err(serde::de::Error::custom)?;
        Ok(Self { text, thinking: Cow::default(), literal: Some(raw).filter(|raw| raw.starts_with('"')) })
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
    /// What the server wants back with the call: Gemini's signature, where it speaks this dialect.
    #[serde(borrow)]
    pub extra_content: Option<&'a RawValue>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct FunctionPiece<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub arguments: Option<&'a RawValue>,
}

impl CallPiece<'_> {
    /// The piece without its wire form.
    pub(super) fn piece(&self) -> calls::CallPiece<'_> {
        let function = self.function.as_ref();
        calls::CallPiece {
            index: self.index,
            id: &self.id.0,
            name: function.map_or("", |function| &function.name.0),
            arguments: function.map_or_else(Default::default, |function| raw_arguments(function.arguments)),
            signature: self.extra_content.map_or("", RawValue::get),
        }
    }
}

object!(Chunk: "an answer"; id, model, choices, usage, error; ignored "object", "created", "obfuscation");

impl<'a> Chunk<'a> {
    /// The text of a piece as it is written in it, where it says nothing else that changes the answer:
    /// with another text in its place, it would mean the same.
    pub(super) fn literal(&self) -> Option<&'a str> {
        let [
            Choice { index: _, delta: Some(said), message: None, finish_reason, logprobs: None, usage: None, extra: _ },
        ] = self.choices.as_deref()?
        else {
            return None;
        };
        let counts = self.usage.as_ref().is_some_and(|usage| !usage.is_null());
        said.literal().filter(|_| !counts && self.error.is_none() && finish_reason.0.is_empty())
    }
}

/// Why the model stopped; `None` while it has not.
pub(in crate::provider) fn finish_reason(text: &str) -> Option<FinishReason> {
    Some(match text {
        "" => return None,
        "stop" | "eos" | "end_turn" | "stop_sequence" => FinishReason::Stop,
        "tool_calls" | "tool_call" | "function_call" => FinishReason::ToolCalls,
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    })
}

/// The class of service that an answer names.
pub(in crate::provider) fn service_tier(named: &Value) -> ServiceTier {
    named.as_str().map_or(ServiceTier::Standard, ServiceTier::of)
}

/// Usage as the provider reported it, in the engine's terms; `None` where it is no report.
///
/// What is odd is mended and noted: a fraction is rounded up, digits in a string count, a part is never more than its
/// whole. A side that is missing, or negative, is left open. Reasoning that a server counts beside its output is moved
/// inside.
pub(in crate::provider) fn usage(raw: &Value) -> Option<Usage> {
    let counts = Counts::new(raw);
    let first = |names: &[&str]| counts.first(names);
    let reported = (first(&["/prompt_tokens", "/input_tokens"]), first(&["/completion_tokens", "/output_tokens"]));
    let total = first(&["/total_tokens"]);
    let rest = |side: u64| total.filter(|total| *total >= side).map(|total| total - side);
    let (input, mut output) = match reported {
        (Some(input), None) => (Some(input), rest(input)),
        (None, Some(output)) => (rest(output), Some(output)),
        (None, None) => (total, None),
        both => both,
    };
    let reasoning = first(&[
        "/completion_tokens_details/reasoning_tokens",
        "/output_tokens_details/reasoning_tokens",
        "/reasoning_tokens",
    ])
    .unwrap_or(0);
    if let (Some(input), Some(output)) = (input, &mut output) {
        if reasoning > 0 && total == Some(input + *output + reasoning) {
            *output += reasoning;
        }
        counts.note(total.is_some_and(|total| total != input + *output));
    }
    let usage = counts.usage(input, output)?;
    let (input, output) = (usage.input_tokens, usage.output_tokens);
    let cached = first(&[
        "/prompt_tokens_details/cached_tokens",
        "/input_tokens_details/cached_tokens",
        "/prompt_cache_hit_tokens",
        "/cached_tokens",
    ])
    .unwrap_or(0);
    // What is left open has parts all the same.
    let input = if usage.open.input { input.max(cached) } else { input };
    let cached = counts.part(cached, input);
    let output = if usage.open.output { output.max(reasoning) } else { output };
    let reasoning = counts.part(reasoning, output);
    let part = |side: &str, details: &str, what: &str| {
        first(&[&format!("/{side}_tokens_details{details}/{what}_tokens")]).unwrap_or(0)
    };
    let of_input = |details: &str, what: &str| part("prompt", details, what).max(part("input", details, what));
    let of_output = |what: &str| part("completion", "", what).max(part("output", "", what));
    // What is sound is told of everything and of the cached part: the rest of it was not cached.
    let cached_audio = of_input("/cached_tokens_details", "audio").min(cached);
    let cached_image = of_input("/cached_tokens_details", "image").min(cached - cached_audio);
    let written = first(&["/prompt_tokens_details/cache_write_tokens", "/input_tokens_details/cache_write_tokens"]);
    let written = counts.part(written.unwrap_or(0), input - cached);
    let (fresh, said) = (input - cached - written, output - reasoning);
    let audio_input_tokens = of_input("", "audio").saturating_sub(cached_audio).min(fresh);
    let audio_output_tokens = of_output("audio").min(said);
    // xAI's own tools; all together are taken for searches where it does not tell them apart.
    let own = |name: &str| first(&[&format!("/server_side_tool_usage_details/{name}")]).unwrap_or(0);
    let told_apart = raw.get("server_side_tool_usage_details").and_then(Value::as_object);
    let mut beside = UsageDetails {
        searches: first(&["/num_server_side_tools_used"]).filter(|_| told_apart.is_none()).unwrap_or(0),
        // Mistral's models that hear are paid by the tokens and by the time.
        seconds: first(&["/prompt_audio_seconds"]).unwrap_or(0),
        ..UsageDetails::default()
    };
    for (name, _) in told_apart.into_iter().flatten() {
        if let Some(meter) = name.strip_suffix("_calls").and_then(meter_of) {
            let count = meter.of(&mut beside);
            *count = count.saturating_add(own(name));
        }
    }
    let details = UsageDetails {
        audio_input_tokens,
        image_input_tokens: of_input("", "image").saturating_sub(cached_image).min(fresh - audio_input_tokens),
        cache_read_audio_tokens: cached_audio,
        audio_output_tokens,
        image_output_tokens: of_output("image").min(said - audio_output_tokens),
        service_tier: service_tier(&raw["service_tier"]),
        ..beside
    };
    let usage = Usage { input_tokens: input, output_tokens: output, ..usage };
    Some(counts.checked(usage.with_cache(cached, written).with_reasoning(reasoning).with_details(details)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::wire::counts::MAX_COUNT;
    use super::*;
    use crate::domain::Provenance;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn t05_odd_counts_are_clamped_noted_and_never_negative() {
        for (prompt, expected) in [
            (json!(12.2), 13),
            (json!("12"), 12),
            (json!(1e300), MAX_COUNT),
            (json!(u64::MAX), MAX_COUNT),
            (json!("inf"), MAX_COUNT),
        ] {
            let usage = usage(&json!({"prompt_tokens": prompt, "completion_tokens": 1})).unwrap();
            assert_eq!((usage.input_tokens, usage.output_tokens), (expected, 1), "{prompt}");
            assert_eq!(usage.open.odd, prompt.as_u64().is_none(), "{prompt}");
        }
        for none in [json!(-5), json!("many"), json!(true), json!([1])] {
            let usage = usage(&json!({"prompt_tokens": none, "completion_tokens": 1})).unwrap();
            assert_eq!((usage.open.input, usage.open.odd), (true, true), "{none}");
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
        assert_eq!(usage(&raw).unwrap(), Usage::new(10, 5).with_cache(10, 0).with_reasoning(5).doubted());
        let sum = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 999});
        assert_eq!(usage(&sum).unwrap(), Usage::new(10, 5).doubted());
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
        assert_eq!(usage(&json!({"total_tokens": 12})).unwrap(), Usage::new(12, 0).with_open_output());
        assert_eq!(usage(&json!({"prompt_tokens": 3, "prompt_cache_hit_tokens": 2})).unwrap().cache_read_tokens, 2);
    }

    #[test]
    fn t06_a_side_that_nobody_tells_is_left_open() {
        assert_eq!(usage(&json!({"prompt_tokens": 10})).unwrap(), Usage::new(10, 0).with_open_output());
        assert_eq!(usage(&json!({"completion_tokens": 10})).unwrap(), Usage::new(0, 10).with_open_input());
        assert_eq!(usage(&json!({"prompt_tokens": 10})).unwrap().provenance, Provenance::Estimated);
    }

    #[test]
    fn b37_sound_and_pictures_are_disjoint_from_what_is_cached() {
        let raw = json!({"prompt_tokens": 100, "completion_tokens": 60,
            "prompt_tokens_details": {"cached_tokens": 40, "text_tokens": 50, "audio_tokens": 30, "image_tokens": 20,
                "cached_tokens_details": {"text_tokens": 15, "audio_tokens": 25}},
            "completion_tokens_details": {"reasoning_tokens": 10, "audio_tokens": 35, "image_tokens": 0}});
        let details = UsageDetails {
            audio_input_tokens: 5,
            image_input_tokens: 20,
            cache_read_audio_tokens: 25,
            audio_output_tokens: 35,
            ..UsageDetails::default()
        };
        let expected = Usage::new(100, 60).with_cache(40, 0).with_reasoning(10).with_details(details);
        assert_eq!(usage(&raw).unwrap(), expected);
        let b = expected.buckets();
        assert_eq!((b.input, b.audio_input, b.image_input, b.cache_read, b.cache_read_audio), (35, 5, 20, 15, 25));
        assert_eq!((b.output, b.reasoning, b.audio_output), (15, 10, 35));
        // Parts that claim more than the whole are held at it.
        let odd = json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"audio_tokens": 99,
            "image_tokens": 7}, "completion_tokens_details": {"audio_tokens": 9, "image_tokens": 9}});
        let details = usage(&odd).unwrap().details;
        assert_eq!((details.audio_input_tokens, details.image_input_tokens), (10, 0));
        assert_eq!((details.audio_output_tokens, details.image_output_tokens), (5, 0));
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
            assert!(chunk.choices.iter().flatten().all(|choice| finish_reason(&choice.finish_reason.0).is_none()));
        }
    }

    #[test]
    fn content_may_be_a_list_of_parts() {
        let text =
            r#"{"content":[{"type":"text","text":"a"},{"type":"other","x":{}},{"type":"text","text":"\u00e9"}]}"#;
        assert_eq!(serde_json::from_str::<Said<'_>>(text).unwrap().content.text, "aé");
        let thinking = r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}"#;
        assert_eq!(serde_json::from_str::<Said<'_>>(thinking).unwrap().thinking(), ("hm", Some(CHUNKS)));
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
