//! Puts an answer together from its lines, streamed or whole.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::wire::body::{Decode, Framing, Out, Unreadable, parse};
use super::super::wire::counts::Counts;
use super::super::wire::draft::Draft;
use super::super::wire::text::or_default;
use super::super::wire::think::ThinkTags;
use crate::domain::{FinishReason, ModelRequest, ModelResponse, Usage};

const THINKING: (u64, u64) = (0, 0);
const TEXT: (u64, u64) = (0, 1);

pub(super) struct Decoder {
    draft: Draft,
    /// Models that Ollama knows no template for leave their thinking in the text.
    tags: ThinkTags,
    done: bool,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default, deserialize_with = "or_default")]
    model: String,
    #[serde(default)]
    message: Value,
    #[serde(default, deserialize_with = "or_default")]
    done: bool,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    error: Value,
    /// Counts and durations.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Decoder {
    pub(super) fn new(provider: &str, request: &ModelRequest) -> Self {
        Self { draft: Draft::new(provider, request), tags: ThinkTags::new(true), done: false }
    }
}

impl Decode for Decoder {
    fn framing(&self) -> Framing {
        Framing::Lines
    }

    fn take(&mut self, _: &str, json: &str, out: &mut Out) -> Result<(), Unreadable> {
        let mut line: Line = parse(json)?;
        if !line.error.is_null() {
            return Err(Unreadable::ErrorObject(json!({"error": line.error})));
        }
        let message = &line.message;
        let text = |name: &str| message[name].as_str().unwrap_or_default();
        if !text("thinking").is_empty() {
            self.draft.thinking(THINKING, text("thinking"), out)?;
        }
        let draft = &mut self.draft;
        let mut say = |thinks: bool, piece: &str| match (thinks, piece.is_empty()) {
            (_, true) => Ok(()),
            (true, false) => draft.thinking(THINKING, piece, out),
            (false, false) => draft.text(TEXT, piece, out),
        };
        self.tags.split(text("content"), &mut say)?;
        if line.done {
            self.tags.finish(&mut say)?;
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            // Each call comes whole; the index of one answer's calls may be the same.
            let (key, function) = ((1, self.draft.len()), &call["function"]);
            let id = call["id"].as_str().unwrap_or_default();
            self.draft.call(key, id, function["name"].as_str().unwrap_or_default(), out)?;
            let arguments = match &function["arguments"] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            self.draft.arguments(key, &arguments, out)?;
        }
        if !line.model.is_empty() {
            self.draft.model = line.model;
        }
        if line.done {
            self.draft.finish_reason = Some(match line.done_reason.as_deref() {
                Some("length") => FinishReason::Length,
                Some("stop") | None => FinishReason::Stop,
                Some(_) => FinishReason::Other,
            });
            line.rest.remove("created_at");
            let raw = Value::Object(line.rest);
            let counts = Counts::new(&raw);
            let usage = counts.usage(counts.first(&["/prompt_eval_count"]), counts.first(&["/eval_count"]));
            self.draft.usage = usage.map(|usage| counts.checked(usage));
            self.draft.raw_usage = raw;
            self.done = true;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::VecDeque;

    use super::super::super::wire::body::Reader;
    use super::*;

    fn read(body: &str, cut: usize) -> Result<ModelResponse, Unreadable> {
        let decoder = Decoder::new("ollama", &ModelRequest::new("m", vec![]));
        let (mut reader, mut out) = (Reader::new(Box::new(decoder)), VecDeque::new());
        for piece in body.as_bytes().chunks(cut) {
            reader.push(piece, &mut out)?;
        }
        reader.finish(&mut out)
    }

    #[test]
    fn lines_are_read_however_they_are_cut() {
        let call = json!({"function": {"name": "f", "arguments": {"a": 1}}});
        let body = [
            json!({"model": "m", "message": {"thinking": "hé"}, "done": false}),
            json!({"model": "m", "message": {"content": "", "tool_calls": [call, call]}, "done": false}),
            json!({"model": "m", "message": {"content": ""}, "done": true, "done_reason": "stop", "eval_count": 3}),
        ]
        .map(|line| format!("{line}\n"))
        .concat();
        let whole = read(&body, body.len()).unwrap();
        assert_eq!((whole.message.parts.len(), whole.finish_reason), (3, FinishReason::ToolCalls));
        assert_eq!(whole.usage, Some(Usage::new(0, 3).with_open_input()));
        for cut in [1, 2, 7, 50] {
            assert_eq!(read(&body, cut).unwrap(), whole);
            assert_eq!(read(body.trim_end(), cut).unwrap(), whole);
        }
        assert!(matches!(read(&body[..60], 9), Err(Unreadable::Cut)));
        assert!(matches!(read("{\"error\":\"no\"}\n", 9), Err(Unreadable::ErrorObject(_))));
    }
}
