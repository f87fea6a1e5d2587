//! Puts an answer together from its parts, streamed or whole.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::tokens::is_billed_by_the_prompt;
use super::super::wire::body::{Decode, Out, Unreadable, parse};
use super::super::wire::counts::Counts;
use super::super::wire::draft::{Draft, Key};
use super::super::wire::text::or_default;
use crate::domain::{FinishReason, ModelRequest, ModelResponse, ServiceTier, Usage, UsageDetails};

pub(super) struct Decoder {
    draft: Draft,
    /// The block that text goes on in, and whether it is thinking.
    open: Option<(bool, Key)>,
    /// The provider runs tools of its own: it may go on behind a finish reason.
    own_tools: bool,
    /// The searches that it made of its own.
    searches: u64,
    /// Whether maps ground the answer.
    maps: bool,
    /// The model that was asked, where the answer names none.
    asked: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Chunk {
    #[serde(deserialize_with = "or_default")]
    candidates: Vec<Candidate>,
    usage_metadata: Value,
    model_version: Option<String>,
    response_id: Option<String>,
    prompt_feedback: Value,
    error: Value,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Candidate {
    #[serde(deserialize_with = "or_default")]
    index: u64,
    #[serde(deserialize_with = "or_default")]
    content: Content,
    finish_reason: Option<String>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Content {
    #[serde(deserialize_with = "or_default")]
    parts: Vec<Value>,
}

impl Decoder {
    pub(super) fn new(provider: &str, request: &ModelRequest) -> Self {
        let own_tools = request.settings.extra.contains_key("tools");
        let asked = request.model_name.clone();
        Self { draft: Draft::new(provider, request), open: None, own_tools, searches: 0, maps: false, asked }
    }

    fn part(&mut self, part: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let signature = part["thoughtSignature"].as_str();
        if let Some(call) = part.get("functionCall").filter(|call| !call.is_null()) {
            let key = self.next();
            let text = |name: &str| call[name].as_str().unwrap_or_default();
            self.draft.call(key, text("id"), text("name"), out)?;
            let args = call.get("args").filter(|args| args.is_object()).map(Value::to_string);
            self.draft.arguments(key, args.as_deref().unwrap_or_default(), out)?;
            return self.draft.signature(key, signature.unwrap_or_default());
        }
        let Some(text) = part["text"].as_str() else {
            let key = self.next();
            return self.draft.opaque(key, part.clone());
        };
        if part["thought"] == true {
            let key = self.open(true);
            self.draft.thinking(key, text, out)?;
            return signature.map_or(Ok(()), |signature| self.draft.signature(key, signature));
        }
        if text.is_empty() {
            // The signature of an answer may come behind it, in a part of its own.
            let key = self.next();
            return signature.map_or(Ok(()), |_| self.draft.opaque(key, part.clone()));
        }
        let key = self.open(false);
        self.draft.text(key, text, out)?;
        if let Some(signature) = signature {
            let key = self.next();
            self.draft.opaque(key, json!({"thoughtSignature": signature}))?;
        }
        Ok(())
    }

    /// The key of a new block, which ends the text before it.
    fn next(&mut self) -> Key {
        self.open = None;
        (self.draft.len(), 0)
    }

    /// The block that goes on with text of a kind.
    fn open(&mut self, thinking: bool) -> Key {
        match self.open {
            Some((kind, key)) if kind == thinking => key,
            _ => {
                let key = self.next();
                self.open = Some((thinking, key));
                key
            }
        }
    }
}

impl Decode for Decoder {
    fn take(&mut self, _: &str, json: &str, out: &mut Out) -> Result<(), Unreadable> {
        // Without an event stream the API answers with a list of pieces.
        if json.trim_start().starts_with('[') {
            let pieces: Vec<Value> = parse(json)?;
            return pieces.iter().try_for_each(|piece| self.take("", &piece.to_string(), out));
        }
        let chunk: Chunk = parse(json)?;
        // Each report is a whole one: the last counts.
        let is_counted = chunk.usage_metadata.is_object();
        if is_counted {
            self.draft.usage = usage(&chunk.usage_metadata);
            self.draft.raw_usage = chunk.usage_metadata;
        }
        if !chunk.error.is_null() {
            if is_counted {
                self.draft.finish_reason.get_or_insert(FinishReason::Other);
            }
            return Err(Unreadable::ErrorObject(json!({"error": chunk.error})));
        }
        for candidate in chunk.candidates.iter().filter(|candidate| candidate.index == 0) {
            for part in &candidate.content.parts {
                self.part(part, out)?;
            }
            if let Some(reason) = &candidate.finish_reason {
                self.draft.finish_reason = Some(finish_reason(reason));
            }
            // Each report names them all.
            let grounds = candidate.extra.get("groundingMetadata").unwrap_or(&Value::Null);
            let all = |name: &str| grounds[name].as_array().into_iter().flatten();
            let asked = all("webSearchQueries").filter(|query| query.as_str().is_some_and(|query| !query.is_empty()));
            self.searches = self.searches.max(asked.count() as u64);
            self.maps |= all("groundingChunks").any(|chunk| chunk["maps"].is_object());
            self.draft.extra.extend(candidate.extra.clone());
        }
        if chunk.prompt_feedback["blockReason"].is_string() {
            self.draft.finish_reason = Some(FinishReason::ContentFilter);
            self.draft.extra.insert("promptFeedback".to_owned(), chunk.prompt_feedback);
        }
        self.draft.model = chunk.model_version.unwrap_or_else(|| std::mem::take(&mut self.draft.model));
        self.draft.id = chunk.response_id.unwrap_or_else(|| std::mem::take(&mut self.draft.id));
        self.draft.extra.extend(chunk.extra);
        Ok(())
    }

    fn has_stopped(&self) -> bool {
        self.draft.finish_reason.is_some()
    }

    fn may_go_on(&self) -> bool {
        self.own_tools
    }

    fn has_begun(&self) -> bool {
        self.draft.has_begun()
    }

    fn usage(&self) -> Option<(Usage, Value)> {
        let (usage, raw) = self.draft.reported()?;
        Some((self.with_grounding(usage), raw))
    }

    fn finish(&mut self) -> Result<ModelResponse, Unreadable> {
        if self.draft.finish_reason.is_none() && self.draft.len() == 0 && self.draft.raw_usage.is_null() {
            return Err(Unreadable::Empty("an answer without a candidate"));
        }
        self.draft.usage = self.draft.usage.map(|usage| self.with_grounding(usage));
        Ok(self.draft.finish())
    }
}

impl Decoder {
    /// What grounds an answer is no part of the report of usage, which may come before it. Later models pay each query
    /// of maps, and tell none.
    fn with_grounding(&self, mut usage: Usage) -> Usage {
        let model = if self.draft.model.is_empty() { &self.asked } else { &self.draft.model };
        if is_billed_by_the_prompt(model) {
            (usage.details.searches, usage.details.map_searches) = (self.searches.min(1), u64::from(self.maps));
            return usage;
        }
        usage.details.searches = self.searches;
        usage.with_other_tools(self.maps)
    }
}

fn finish_reason(text: &str) -> FinishReason {
    match text {
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "LANGUAGE"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}

/// Usage in the engine's terms: thoughts are counted beside the answer, and what the provider's own
/// tools read beside the prompt; cached tokens are inside the prompt.
fn usage(raw: &Value) -> Option<Usage> {
    let counts = Counts::new(raw);
    let count = |pointer: &str| counts.first(&[pointer]);
    let (prompt, answer) = (count("/promptTokenCount"), count("/candidatesTokenCount"));
    let (thoughts, by_tools) = (count("/thoughtsTokenCount").unwrap_or(0), count("/toolUsePromptTokenCount"));
    let (total, by_tools) = (count("/totalTokenCount"), by_tools.unwrap_or(0));
    // A count of zero is left out: the total tells.
    let rest = |known: u64| total.filter(|total| *total >= known).map(|total| total - known);
    let prompt = prompt.or_else(|| rest(answer? + thoughts + by_tools));
    let answer = answer.or_else(|| rest(prompt? + thoughts + by_tools));
    let mut usage = counts.usage(prompt, answer)?;
    (usage.input_tokens, usage.output_tokens) = (usage.input_tokens + by_tools, usage.output_tokens + thoughts);
    let (input, output) = (usage.input_tokens, usage.output_tokens);
    let is_sum = |total: u64| total == input + output || total + by_tools == input + output;
    counts.note(prompt.is_some() && answer.is_some() && total.is_some_and(|total| !is_sum(total)));
    let cached = count("/cachedContentTokenCount").unwrap_or(0);
    let input = if usage.open.input { input.max(cached) } else { input };
    let cached = counts.part(cached, input);
    let of = |lists: &[&str], kind: &str| -> u64 {
        let details = lists.iter().filter_map(|list| raw[*list].as_array()).flatten();
        details.filter(|detail| detail["modality"] == kind).filter_map(|one| counts.count(&one["tokenCount"])).sum()
    };
    let (read, written) = (["promptTokensDetails", "toolUsePromptTokensDetails"], ["candidatesTokensDetails"]);
    let (fresh, said) = (input - cached, output - thoughts);
    // The lists of the prompt hold what is cached as well.
    let not_cached = |kind: &str| of(&read, kind).saturating_sub(of(&["cacheTokensDetails"], kind));
    let audio_input_tokens = not_cached("AUDIO").min(fresh);
    let audio_output_tokens = of(&written, "AUDIO").min(said);
    let named = ["serviceTier", "trafficType"].iter().find_map(|name| raw[*name].as_str());
    let details = UsageDetails {
        audio_input_tokens,
        image_input_tokens: not_cached("IMAGE").min(fresh - audio_input_tokens),
        cache_read_audio_tokens: of(&["cacheTokensDetails"], "AUDIO").min(cached),
        audio_output_tokens,
        image_output_tokens: of(&written, "IMAGE").min(said - audio_output_tokens),
        service_tier: named.map_or(ServiceTier::Standard, ServiceTier::of),
        ..UsageDetails::default()
    };
    let usage = Usage { input_tokens: input, ..usage }.with_cache(cached, 0).with_reasoning(thoughts);
    Some(counts.checked(usage.with_details(details)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::VecDeque;

    use super::super::super::wire::body::Reader;
    use super::*;
    use crate::domain::Part;

    fn read(chunks: &[Value]) -> Result<ModelResponse, Unreadable> {
        let decoder = Decoder::new("gemini", &ModelRequest::new("m", vec![]));
        let (mut reader, mut out) = (Reader::new(Box::new(decoder)), VecDeque::new());
        let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect();
        reader.push(body.as_bytes(), &mut out)?;
        reader.finish(&mut out)
    }

    fn chunk(parts: Value, reason: Value) -> Value {
        json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": reason, "index": 0}]})
    }

    #[test]
    fn b25_thoughts_are_no_answer_and_the_end_needs_a_reason() {
        let chunks = [
            chunk(json!([{"text": "hm", "thought": true}]), json!(null)),
            chunk(json!([{"text": "a"}]), json!(null)),
            chunk(json!([{"text": "b"}]), json!("STOP")),
            chunk(json!([{"text": "", "thoughtSignature": "s"}]), json!("STOP")),
        ];
        let response = read(&chunks).unwrap();
        assert_eq!(response.message.text_content(), "ab");
        assert_eq!(response.message.parts.len(), 3);
        assert!(matches!(read(&chunks[..2]), Err(Unreadable::Cut)));
    }

    #[test]
    fn b25_with_tools_of_its_own_a_reason_is_not_the_end() {
        let body = |chunk: &Value| format!("data: {chunk}\r\n\r\n");
        let first = body(&chunk(json!([{"text": "let me look. "}]), json!("STOP")));
        let rest = body(&chunk(json!([{"text": "found"}]), json!("STOP")));
        let read = |own_tools: bool, pieces: &[&str]| {
            let mut request = ModelRequest::new("m", vec![]);
            if own_tools {
                request.settings.extra.insert("tools".into(), json!([{"googleSearch": {}}]));
            }
            let mut reader = Reader::new(Box::new(Decoder::new("gemini", &request)));
            let mut out = VecDeque::new();
            for piece in pieces {
                reader.push(piece.as_bytes(), &mut out)?;
                assert!(reader.has_stopped() && reader.is_at_tail() != own_tools);
            }
            reader.finish(&mut out)
        };
        for own_tools in [false, true] {
            assert_eq!(read(own_tools, &[&first, &rest]).unwrap().message.text_content(), "let me look. found");
        }
        // What is cut behind the reason is a tail, or the answer itself.
        let cut = [first.as_str(), &rest[..rest.len() / 2]];
        assert_eq!(read(false, &cut).unwrap().message.text_content(), "let me look. ");
        assert!(matches!(read(true, &cut), Err(Unreadable::Cut)));
    }

    #[test]
    fn b37_sound_and_pictures_are_disjoint_from_what_is_cached() {
        let part = |kind: &str, count: u64| json!({"modality": kind, "tokenCount": count});
        let raw = json!({"promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 30,
            "thoughtsTokenCount": 5, "totalTokenCount": 135, "serviceTier": "priority",
            "promptTokensDetails": [part("TEXT", 20), part("AUDIO", 50), part("IMAGE", 30)],
            "cacheTokensDetails": [part("AUDIO", 25), part("IMAGE", 15)],
            "candidatesTokensDetails": [part("IMAGE", 28), part("TEXT", 2)]});
        let details = UsageDetails {
            audio_input_tokens: 25,
            image_input_tokens: 15,
            cache_read_audio_tokens: 25,
            image_output_tokens: 28,
            service_tier: ServiceTier::Priority,
            ..UsageDetails::default()
        };
        let expected = Usage::new(100, 35).with_cache(40, 0).with_reasoning(5).with_details(details);
        assert_eq!(usage(&raw).unwrap(), expected);
        let b = expected.buckets();
        assert_eq!((b.input, b.audio_input, b.image_input, b.cache_read, b.cache_read_audio), (20, 25, 15, 15, 25));
        assert_eq!((b.output, b.reasoning, b.image_output), (2, 5, 28));
        let vertex = json!({"promptTokenCount": 1, "trafficType": "ON_DEMAND_FLEX"});
        assert_eq!(usage(&vertex).unwrap().details.service_tier, ServiceTier::Flex);
    }

    #[test]
    fn searches_are_counted_by_what_grounds_the_answer() {
        let grounded = |queries: Value| {
            json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP",
                "groundingMetadata": {"webSearchQueries": queries}}]})
        };
        let report = json!({"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1}});
        let searches = |chunks: &[Value]| read(chunks).unwrap().usage.unwrap().details.searches;
        // Whichever comes first; each piece names them all.
        assert_eq!(searches(&[report.clone(), grounded(json!(["x"])), grounded(json!(["x", "y", ""]))]), 2);
        assert_eq!(searches(&[grounded(json!(["x"])), report.clone()]), 1);
        assert_eq!(searches(&[grounded(json!(null)), report.clone()]), 0);
        // Before Gemini 3 a prompt is billed once, whatever was asked for it.
        let by = |model: &str| {
            let mut report = report.clone();
            report["modelVersion"] = model.into();
            searches(&[report, grounded(json!(["x", "y", "z"]))])
        };
        assert_eq!((by("gemini-2.5-flash"), by("gemini-2.0-flash-001"), by("gemini-3-pro-preview")), (1, 1, 3));
    }

    #[test]
    fn b22_null_is_as_good_as_absent() {
        let null = json!({"candidates": null, "promptFeedback": null, "usageMetadata": null, "modelVersion": null});
        let empty = |content: Value| json!({"candidates": [{"content": content, "index": null, "finishReason": null}]});
        let chunks = [
            null,
            empty(json!(null)),
            empty(json!({"parts": null})),
            chunk(json!([{"text": "a"}]), json!("STOP")),
            json!({"candidates": [{"content": null, "finishReason": "STOP"}]}),
        ];
        assert_eq!(read(&chunks).unwrap().message.text_content(), "a");
    }

    #[test]
    fn b03_calls_without_ids_get_their_own() {
        let call = json!({"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s"});
        let response = read(&[chunk(json!([call.clone(), call]), json!("STOP"))]).unwrap();
        let ids: Vec<_> = response.message.tool_calls().map(|call| call.id.as_str()).collect();
        assert_eq!((ids, response.finish_reason), (vec!["call_0", "call_1"], FinishReason::ToolCalls));
        assert!(matches!(&response.message.parts[0], Part::ToolCall(call) if call.signature.as_deref() == Some("s")));
    }

    #[test]
    fn b18_a_blocked_prompt_is_filtered() {
        let response = read(&[json!({"promptFeedback": {"blockReason": "SAFETY"}})]).unwrap();
        assert_eq!(response.finish_reason, FinishReason::ContentFilter);
        assert!(matches!(read(&[json!({"error": {"code": 503}})]), Err(Unreadable::ErrorObject(_))));
    }
}
