//! Puts an answer together from its events, streamed or whole.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::wire::body::{Decode, Out, Unreadable, parse};
use super::super::wire::counts::Counts;
use super::super::wire::draft::Draft;
use super::super::wire::schema::Reading;
use super::super::wire::text::or_default;
use crate::domain::{FinishReason, ModelRequest, ModelResponse, Usage, UsageDetails};

/// The id under which a plan for tools is kept apart from other thoughts.
pub(super) const TOOL_PLAN: &str = "tool_plan";

const PLAN: (u64, u64) = (0, 0);
const CITATIONS: (u64, u64) = (3, 0);

pub(super) struct Decoder {
    draft: Draft,
    done: bool,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    kind: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    index: u64,
    #[serde(default)]
    delta: Value,
    /// Of a whole answer.
    #[serde(default)]
    message: Value,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    usage: Value,
}

impl Decoder {
    pub(super) fn new(provider: &str, request: &ModelRequest, reading: Option<Reading>) -> Self {
        Self { draft: Draft::new(provider, request).read_by(reading), done: false }
    }

    fn content(&mut self, index: u64, content: &Value, out: &mut Out) -> Result<(), Unreadable> {
        if let Some(thought) = content["thinking"].as_str() {
            self.draft.thinking((1, index), thought, out)?;
        }
        if let Some(text) = content["text"].as_str() {
            self.draft.text((1, index), text, out)?;
        }
        Ok(())
    }

    fn plan(&mut self, text: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let Some(text) = text.as_str().filter(|text| !text.is_empty()) else { return Ok(()) };
        self.draft.thinking(PLAN, text, out)?;
        self.draft.thought_id(PLAN, TOOL_PLAN)
    }

    fn call(&mut self, index: u64, call: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (key, function) = ((2, index), &call["function"]);
        self.draft.call(key, &text(&call["id"]), &text(&function["name"]), out)?;
        self.draft.arguments(key, &text(&function["arguments"]), out)
    }

    fn cite(&mut self, found: &Value) -> Result<(), Unreadable> {
        match self.draft.opaque_mut(CITATIONS).and_then(|data| data["citations"].as_array_mut()) {
            Some(list) => list.push(found.clone()),
            None => self.draft.opaque(CITATIONS, json!({"citations": [found]}))?,
        }
        Ok(())
    }

    fn end(&mut self, reason: Option<&str>, usage: &Value, error: &Value) -> Result<(), Unreadable> {
        // What failed is reported too.
        self.draft.usage = self::usage(usage);
        self.draft.raw_usage = usage.clone();
        self.done = true;
        self.draft.finish_reason = Some(match reason.unwrap_or_default() {
            "COMPLETE" | "STOP_SEQUENCE" => FinishReason::Stop,
            "TOOL_CALL" => FinishReason::ToolCalls,
            "MAX_TOKENS" => FinishReason::Length,
            "ERROR_TOXIC" => FinishReason::ContentFilter,
            _ => FinishReason::Other,
        });
        if reason == Some("ERROR") {
            return Err(Unreadable::ErrorObject(json!({"error": error})));
        }
        Ok(())
    }

    fn whole(&mut self, event: &Event, out: &mut Out) -> Result<(), Unreadable> {
        let message = &event.message;
        self.plan(&message["tool_plan"], out)?;
        for (index, content) in (0..).zip(message["content"].as_array().into_iter().flatten()) {
            self.content(index, content, out)?;
        }
        for (index, call) in (0..).zip(message["tool_calls"].as_array().into_iter().flatten()) {
            self.call(index, call, out)?;
        }
        message["citations"].as_array().into_iter().flatten().try_for_each(|found| self.cite(found))?;
        self.end(event.finish_reason.as_deref(), &event.usage, &Value::Null)
    }
}

impl Decode for Decoder {
    fn take(&mut self, _: &str, json: &str, out: &mut Out) -> Result<(), Unreadable> {
        let event: Event = parse(json)?;
        if let Some(id) = event.id.as_ref().filter(|_| self.draft.id.is_empty()) {
            self.draft.id.clone_from(id);
        }
        let (index, said) = (event.index, &event.delta["message"]);
        match event.kind.as_str() {
            "content-start" | "content-delta" => self.content(index, &said["content"], out)?,
            "tool-plan-delta" => self.plan(&said["tool_plan"], out)?,
            "tool-call-start" => self.call(index, &said["tool_calls"], out)?,
            "tool-call-delta" => {
                let piece = said["tool_calls"]["function"]["arguments"].as_str().unwrap_or_default();
                self.draft.arguments((2, index), piece, out)?;
            }
            "citation-start" => self.cite(&said["citations"])?,
            "message-end" => {
                let delta = &event.delta;
                self.end(delta["finish_reason"].as_str(), &delta["usage"], &delta["error"])?;
            }
            "" if event.message.is_object() => self.whole(&event, out)?,
            "" => return Err(Unreadable::Empty("an answer that is no message")),
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
        self.draft.reported()
    }

    fn finish(&mut self) -> Result<ModelResponse, Unreadable> {
        self.draft.finish_some()
    }
}

/// What is billed; the provider counts more than that, and says that in the raw report.
fn usage(raw: &Value) -> Option<Usage> {
    let counts = Counts::new(raw);
    let count = |names: &[&str]| counts.first(names);
    let input = count(&["/billed_units/input_tokens", "/tokens/input_tokens"]);
    let output = count(&["/billed_units/output_tokens", "/tokens/output_tokens"]);
    let usage = counts.usage(input, output)?;
    let reasoning = count(&["/tokens/reasoning_tokens"]).unwrap_or(0).min(usage.output_tokens);
    let searches = count(&["/billed_units/search_units"]).unwrap_or(0);
    let details = UsageDetails { searches, ..UsageDetails::default() };
    Some(counts.checked(usage.with_reasoning(reasoning).with_details(details)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::VecDeque;

    use super::super::super::wire::body::Reader;
    use super::*;

    fn read(body: &str) -> Result<ModelResponse, Unreadable> {
        let decoder = Decoder::new("cohere", &ModelRequest::new("m", vec![]), None);
        let (mut reader, mut out) = (Reader::new(Box::new(decoder)), VecDeque::new());
        reader.push(body.as_bytes(), &mut out)?;
        reader.finish(&mut out)
    }

    #[test]
    fn pieces_and_the_whole_make_the_same_answer() {
        let usage = json!({"billed_units": {"input_tokens": 3, "output_tokens": 4}, "cached_tokens": 400});
        let call = json!({"id": "c", "function": {"name": "f", "arguments": "{}"}});
        let whole = json!({"id": "r", "finish_reason": "TOOL_CALL", "usage": usage,
            "message": {"tool_plan": "plan", "tool_calls": [call], "citations": [{"start": 0}]}});
        let start = json!({"id": "c", "function": {"name": "f", "arguments": ""}});
        let pieces = [
            json!({"type": "message-start", "id": "r"}),
            json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "pl"}}}),
            json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "an"}}}),
            json!({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": start}}}),
            json!({"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}}}),
            json!({"type": "citation-start", "delta": {"message": {"citations": {"start": 0}}}}),
            json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": usage}}),
        ];
        let from_pieces = read(&pieces.map(|piece| format!("data: {piece}\n\n")).concat()).unwrap();
        assert_eq!(from_pieces, read(&whole.to_string()).unwrap());
        assert_eq!(from_pieces.usage, Some(Usage::new(3, 4)));
        let error = json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "x"}});
        assert!(matches!(read(&format!("data: {error}\n\n")), Err(Unreadable::ErrorObject(_))));
        assert!(matches!(read("{\"type\":\"other\"}"), Err(Unreadable::Empty(_))));
    }
}
