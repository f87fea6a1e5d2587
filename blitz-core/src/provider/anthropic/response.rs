//! Puts an answer together from the blocks of a message, streamed or whole.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::wire::body::{Decode, Out, Unreadable, parse};
use super::super::wire::counts::Counts;
use super::super::wire::draft::{Draft, Key};
use super::super::wire::schema::Reading;
use super::super::wire::text::or_default;
use crate::domain::{FinishReason, ModelRequest, ModelResponse, ServiceTier, Usage, UsageDetails};

/// Fields of a message that have a place of their own.
const KNOWN: &[&str] = &["type", "id", "role", "model", "content", "stop_reason", "usage"];

/// The place of a container behind all blocks.
const CONTAINER: Key = (u64::MAX, 0);

pub(super) struct Decoder {
    draft: Draft,
    usage: Map<String, Value>,
    /// The input of the provider's own tools so far, by block.
    inputs: HashMap<u64, String>,
    /// Whether the provider ran code in a container of its own.
    ran_code: bool,
    /// That container, which the next turn may have to name.
    container: Value,
    done: bool,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    index: u64,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    content_block: Value,
    #[serde(default)]
    delta: Value,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

impl Decoder {
    pub(super) fn new(provider: &str, request: &ModelRequest, reading: Option<Reading>) -> Self {
        let draft = Draft::new(provider, request).read_by(reading);
        let (usage, inputs) = (Map::new(), HashMap::new());
        Self { draft, usage, inputs, ran_code: false, container: Value::Null, done: false }
    }

    /// The head of a message, and its blocks where it is a whole one.
    fn message(&mut self, message: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        self.draft.id = text("id");
        self.draft.model = text("model");
        self.count(&message["usage"]);
        for (index, block) in (0..).zip(message["content"].as_array().into_iter().flatten()) {
            self.begin(index, block, out)?;
        }
        self.stop(message);
        Ok(())
    }

    fn begin(&mut self, index: u64, block: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let (key, text) = ((index, 0), |name: &str| block[name].as_str().unwrap_or_default());
        match text("type") {
            "text" => {
                self.draft.text(key, text("text"), out)?;
                for citation in block["citations"].as_array().into_iter().flatten() {
                    self.cite(index, citation)?;
                }
            }
            "thinking" => {
                self.draft.thinking(key, text("thinking"), out)?;
                self.draft.signature(key, text("signature"))?;
            }
            "tool_use" => {
                self.draft.call(key, text("id"), text("name"), out)?;
                let input = &block["input"];
                if input.as_object().is_some_and(|input| !input.is_empty()) {
                    self.draft.arguments(key, &input.to_string(), out)?;
                }
                // A call that the model's own code made goes back as such.
                if block["caller"]["type"].as_str().is_some_and(|kind| kind != "direct") {
                    self.draft.opaque((index, 1), json!({"caller": block["caller"]}))?;
                }
            }
            kind => {
                self.ran_code |= kind.ends_with("code_execution_tool_result");
                self.draft.opaque(key, block.clone())?;
            }
        }
        Ok(())
    }

    /// Its containers are paid by the hour, which no report counts.
    fn reported(&self, raw: &Value) -> Option<Usage> {
        usage(raw).map(|usage| usage.with_other_tools(self.ran_code))
    }

    fn cite(&mut self, index: u64, citation: &Value) -> Result<(), Unreadable> {
        let key = (index, 1);
        match self.draft.opaque_mut(key).and_then(|data| data["citations"].as_array_mut()) {
            Some(list) => list.push(citation.clone()),
            None => self.draft.opaque(key, json!({"citations": [citation]}))?,
        }
        Ok(())
    }

    fn grow(&mut self, index: u64, delta: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let (key, text) = ((index, 0), |name: &str| delta[name].as_str().unwrap_or_default());
        match text("type") {
            "text_delta" => self.draft.text(key, text("text"), out),
            "thinking_delta" => self.draft.thinking(key, text("thinking"), out),
            "signature_delta" => self.draft.signature(key, text("signature")),
            "input_json_delta" if self.draft.opaque_mut(key).is_some() => {
                self.inputs.entry(index).or_default().push_str(text("partial_json"));
                Ok(())
            }
            "input_json_delta" => self.draft.arguments(key, text("partial_json"), out),
            "citations_delta" => self.cite(index, &delta["citation"]),
            "compaction_delta" => {
                if let (Some(Value::Object(block)), Some(said)) = (self.draft.opaque_mut(key), delta.as_object()) {
                    let said = said.iter().filter(|(name, value)| *name != "type" && !value.is_null());
                    block.extend(said.map(|(name, value)| (name.clone(), value.clone())));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A block ends: what one of the provider's own tools was given is whole now.
    fn end(&mut self, index: u64) {
        let Some(input) = self.inputs.remove(&index).filter(|input| !input.is_empty()) else { return };
        if let Some(block) = self.draft.opaque_mut((index, 0)) {
            block["input"] = serde_json::from_str(&input).unwrap_or(Value::String(input));
        }
    }

    /// Takes why the model stopped, and the fields that are not known.
    fn stop(&mut self, delta: &Value) {
        if let Some(reason) = delta["stop_reason"].as_str() {
            self.draft.finish_reason = Some(finish_reason(reason));
        }
        if delta["container"].is_object() {
            self.container = delta["container"].clone();
        }
        for (name, value) in delta.as_object().into_iter().flatten() {
            if !KNOWN.contains(&name.as_str()) && !value.is_null() {
                self.draft.extra.insert(name.clone(), value.clone());
            }
        }
    }

    /// Reports are snapshots: the last one of each count holds.
    fn count(&mut self, usage: &Value) {
        let counts = usage.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        self.usage.extend(counts.map(|(name, value)| (name.clone(), value.clone())));
    }
}

impl Decode for Decoder {
    fn take(&mut self, _: &str, json: &str, out: &mut Out) -> Result<(), Unreadable> {
        let event: Event = parse(json)?;
        match event.kind.as_str() {
            "message" => self.message(&parse(json)?, out)?,
            "message_start" => self.message(&event.message, out)?,
            "content_block_start" => self.begin(event.index, &event.content_block, out)?,
            "content_block_delta" => self.grow(event.index, &event.delta, out)?,
            "content_block_stop" => self.end(event.index),
            "message_delta" => {
                self.count(&event.usage);
                self.stop(&event.delta);
            }
            "message_stop" => self.done = true,
            "error" => return Err(Unreadable::ErrorObject(event.error)),
            "" if !event.error.is_null() => return Err(Unreadable::ErrorObject(event.error)),
            "" => return Err(Unreadable::Empty("an answer that is no message")),
            // Pings, and types that are not known yet.
            _ => {}
        }
        Ok(())
    }

    fn has_stopped(&self) -> bool {
        self.draft.finish_reason.is_some()
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn has_begun(&self) -> bool {
        self.draft.has_begun()
    }

    fn usage(&self) -> Option<(Usage, Value)> {
        let raw = Value::Object(self.usage.clone());
        Some((self.reported(&raw)?, raw))
    }

    fn finish(&mut self) -> Result<ModelResponse, Unreadable> {
        if self.usage.is_empty() && self.draft.id.is_empty() && self.draft.finish_reason.is_none() {
            return Err(Unreadable::Empty("an answer that is no message"));
        }
        let raw = Value::Object(std::mem::take(&mut self.usage));
        self.draft.usage = self.reported(&raw);
        self.draft.raw_usage = raw;
        if self.container.is_object() {
            self.draft.opaque(CONTAINER, json!({"container": self.container.take()}))?;
        }
        Ok(self.draft.finish())
    }
}

fn finish_reason(text: &str) -> FinishReason {
    match text {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextWindow,
        "refusal" => FinishReason::ContentFilter,
        "pause_turn" => FinishReason::Paused,
        _ => FinishReason::Other,
    }
}

/// Usage in the engine's terms: what was read from and written to the cache is put inside the input, and what it took
/// to compact the conversation is added, which the sums leave out.
fn usage(raw: &Value) -> Option<Usage> {
    let counts = Counts::new(raw);
    let passes: Vec<&Value> = raw["iterations"].as_array().into_iter().flatten().collect();
    let compacting = |pointer: &str| -> u64 {
        let passes = passes.iter().filter(|pass| pass["type"] == "compaction");
        passes.filter_map(|pass| counts.count(pass.pointer(pointer)?)).sum()
    };
    let count = |pointer: &str| Some(counts.first(&[pointer])? + compacting(pointer));
    let or_none = |pointer: &str| count(pointer).unwrap_or_else(|| compacting(pointer));
    let usage = counts.usage(count("/input_tokens"), count("/output_tokens"))?;
    let read = or_none("/cache_read_input_tokens");
    let written = or_none("/cache_creation_input_tokens");
    // What is kept for an hour costs more than what is kept for five minutes.
    let for_an_hour = counts.part(or_none("/cache_creation/ephemeral_1h_input_tokens"), written);
    let thought = counts.part(or_none("/output_tokens_details/thinking_tokens"), usage.output_tokens);
    let input_tokens = usage.input_tokens + read + written;
    let usage = Usage { input_tokens, ..usage }.with_cache(read, written);
    let service_tier = match raw["speed"].as_str() {
        Some("fast") => ServiceTier::Fast,
        _ => raw["service_tier"].as_str().map_or(ServiceTier::Standard, ServiceTier::of),
    };
    let details = UsageDetails {
        searches: count("/server_tool_use/web_search_requests").unwrap_or(0),
        service_tier,
        regional: raw["inference_geo"].as_str().is_some_and(|geo| !matches!(geo, "" | "global" | "not_available")),
        ..UsageDetails::default()
    };
    Some(counts.checked(usage.with_cache_write_1h(for_an_hour).with_reasoning(thought).with_details(details)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::VecDeque;

    use super::super::super::wire::body::Reader;
    use super::*;
    use crate::domain::Part;

    fn read(events: &[Value]) -> Result<ModelResponse, Unreadable> {
        let body: String = events
            .iter()
            .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
            .collect();
        let decoder = Decoder::new("anthropic", &ModelRequest::new("m", vec![]), None);
        let (mut reader, mut out) = (Reader::new(Box::new(decoder)), VecDeque::new());
        reader.push(body.as_bytes(), &mut out)?;
        reader.finish(&mut out)
    }

    fn start(usage: Value) -> Value {
        json!({"type": "message_start", "message": {"type": "message", "id": "m1", "model": "c", "content": [], "usage": usage}})
    }

    fn block(block: Value) -> Value {
        json!({"type": "content_block_start", "index": 0, "content_block": block})
    }

    fn delta(delta: Value) -> Value {
        json!({"type": "content_block_delta", "index": 0, "delta": delta})
    }

    fn stop(reason: &str) -> Value {
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}})
    }

    #[test]
    fn b24_reports_of_usage_are_snapshots_and_the_cache_is_inside_the_input() {
        let first = json!({"input_tokens": 3, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 5, "output_tokens": 1});
        let events = [start(first), json!({"type": "ping"}), stop("end_turn"), json!({"type": "message_stop"})];
        let response = read(&events).unwrap();
        assert_eq!(response.usage.unwrap(), Usage::new(18, 9).with_cache(10, 5));
    }

    #[test]
    fn what_the_cache_keeps_for_an_hour_is_counted_apart() {
        let raw = json!({"input_tokens": 3, "cache_creation_input_tokens": 5, "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4}});
        assert_eq!(usage(&raw).unwrap(), Usage::new(8, 1).with_cache(0, 5).with_cache_write_1h(4));
        let more = json!({"input_tokens": 3, "output_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 4}});
        assert_eq!(usage(&more).unwrap(), Usage::new(3, 1).doubted(), "a part is never more than its whole");
    }

    #[test]
    fn searches_class_of_service_and_region_are_priced_apart() {
        let details = |raw: Value| usage(&raw).unwrap().details;
        let raw = json!({"input_tokens": 3, "output_tokens": 1, "server_tool_use": {"web_search_requests": 2},
            "service_tier": "batch", "inference_geo": "us"});
        let expected =
            UsageDetails { searches: 2, service_tier: ServiceTier::Batch, regional: true, ..UsageDetails::default() };
        assert_eq!(details(raw), expected);
        let fast = details(json!({"input_tokens": 3, "output_tokens": 1, "service_tier": "standard", "speed": "fast"}));
        assert_eq!(fast.service_tier, ServiceTier::Fast);
        let usual = json!({"input_tokens": 3, "output_tokens": 1, "service_tier": "standard",
            "inference_geo": "not_available", "server_tool_use": null, "speed": "standard"});
        assert!(details(usual).is_empty());
    }

    #[test]
    fn b21_a_stream_without_its_end_is_cut_and_an_error_in_it_is_told() {
        let open = [start(json!({})), block(json!({"type": "text", "text": "h"}))];
        assert!(matches!(read(&open), Err(Unreadable::Cut)));
        let broken = [start(json!({})), json!({"type": "error", "error": {"type": "overloaded_error"}})];
        assert!(matches!(read(&broken), Err(Unreadable::ErrorObject(_))));
    }

    #[test]
    fn b29_hidden_thinking_and_own_tools_are_kept_as_they_came() {
        let hidden = json!({"type": "redacted_thinking", "data": "x"});
        let response = read(&[start(json!({})), block(hidden.clone()), stop("end_turn")]).unwrap();
        assert_eq!(response.message.parts, [Part::Opaque { provider: "anthropic".into(), data: hidden }]);
        let search = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}});
        let piece = delta(json!({"type": "input_json_delta", "partial_json": "{\"query\":\"q\"}"}));
        let end = json!({"type": "content_block_stop", "index": 0});
        let response = read(&[start(json!({})), block(search), piece, end, stop("pause_turn")]).unwrap();
        assert!(matches!(&response.message.parts[0], Part::Opaque { data, .. } if data["input"]["query"] == "q"));
        assert_eq!(response.finish_reason, FinishReason::Paused);
    }

    #[test]
    fn b29_a_compaction_is_kept_whole_and_what_it_took_is_billed() {
        let piece = delta(json!({"type": "compaction_delta", "content": "so far", "encrypted_content": "x"}));
        let usage = json!({"input_tokens": 23_000, "output_tokens": 1_000, "cache_read_input_tokens": 10,
            "iterations": [
                {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500, "cache_read_input_tokens": 5,
                    "cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": 7}},
                {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000, "cache_read_input_tokens": 10}]});
        let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage});
        let begin = block(json!({"type": "compaction", "content": null}));
        let response = read(&[start(json!({"input_tokens": 9, "output_tokens": 1})), begin, piece, end]).unwrap();
        let kept = json!({"type": "compaction", "content": "so far", "encrypted_content": "x"});
        assert_eq!(response.message.parts, [Part::Opaque { provider: "anthropic".into(), data: kept }]);
        let billed = Usage::new(203_022, 4_500).with_cache(15, 7).with_cache_write_1h(7);
        assert_eq!(response.usage.unwrap(), billed);
    }

    #[test]
    fn b29_a_container_and_who_called_are_kept() {
        let caller = json!({"type": "code_execution_20260120", "tool_id": "srvtoolu_1"});
        let call = |caller: &Value| json!({"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": caller});
        let container = json!({"id": "container_1", "expires_at": "2026-11-24T00:00:00Z"});
        let end = json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "container": container}});
        let opaque = |events: &[Value]| {
            let parts = read(events).unwrap().message.parts.into_iter();
            let data = parts.filter_map(|part| if let Part::Opaque { data, .. } = part { Some(data) } else { None });
            data.collect::<Vec<_>>()
        };
        let expected = [json!({"caller": caller}), json!({"container": container})];
        assert_eq!(opaque(&[start(json!({})), block(call(&caller)), end]), expected);
        let whole = json!({"type": "message", "id": "m", "content": [call(&caller)], "stop_reason": "tool_use",
            "container": container});
        assert_eq!(opaque(&[whole, json!({"type": "message_stop"})]), expected);
        let usual = call(&json!({"type": "direct"}));
        assert!(opaque(&[start(json!({})), block(usual), stop("tool_use")]).is_empty());
    }

    #[test]
    fn b04_truncated_arguments_keep_their_usage() {
        let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
        let piece = delta(json!({"type": "input_json_delta", "partial_json": "{\"a\":"}));
        let response = read(&[start(json!({})), block(call), piece, stop("max_tokens")]).unwrap();
        assert_eq!(response.finish_reason, FinishReason::Length);
        assert!(matches!(&response.message.parts[0], Part::ToolCall(call) if call.arguments == "{\"a\":"));
        assert_eq!(response.usage.unwrap().output_tokens, 9);
    }
}
