//! Reads the body of an answer, streamed or whole, and puts the answer together.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::StreamItem;
use super::calls::{CallIds, Calls};
use super::response::{self, Choice, Chunk, Said};
use super::schema;
use crate::domain::{Delta, FinishReason, ModelRequest, ModelResponse, OutputSchema, Part};
use crate::net::sse::{SseEvent, SseParser};

/// Why a body cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The server put an error into the stream.
    ErrorObject(Value),
    /// It ended too early.
    Cut,
    /// It is not what was asked for.
    Malformed(&'static str),
}

/// Takes the bytes of a body as they come and gives deltas, and the whole answer at the end.
///
/// What the body is shows in its first byte, not in its content type: servers stream where nobody
/// asked, and answer whole where a stream was asked for.
pub(super) struct Reader {
    body: Body,
    assembly: Assembly,
    /// The events of one push, kept to be used again.
    events: Vec<SseEvent>,
    /// The event that said why the model stopped: some servers send it twice.
    last: String,
    done: bool,
}

enum Body {
    /// Nothing but white space so far.
    Unknown,
    Events(SseParser),
    Json(Vec<u8>),
}

impl Reader {
    /// A reader for the answer of `provider` to `request`; `nullable` is the schema of the answer
    /// where its optional fields were made nullable.
    pub(super) fn new(provider: &str, request: &ModelRequest, nullable: Option<Arc<OutputSchema>>) -> Self {
        let ids = CallIds::of(&request.messages);
        let assembly = Assembly { provider: provider.to_owned(), ids, nullable, ..Assembly::default() };
        Self { body: Body::Unknown, assembly, events: Vec::new(), last: String::new(), done: false }
    }

    /// Whether the model has stopped: what may still come is usage.
    pub(super) fn has_finish_reason(&self) -> bool {
        self.assembly.finish_reason.is_some()
    }

    /// Whether the server said that nothing more will come.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut VecDeque<StreamItem>) -> Result<(), Unreadable> {
        if matches!(self.body, Body::Unknown) {
            match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => return Ok(()),
                Some(b'<') => return Err(Unreadable::Malformed("a web page")),
                Some(b'{' | b'[') => self.body = Body::Json(Vec::new()),
                Some(_) => self.body = Body::Events(SseParser::default()),
            }
        }
        match &mut self.body {
            Body::Json(whole) => whole.extend_from_slice(bytes),
            Body::Events(parser) => {
                let parsed = parser.push(bytes, &mut self.events);
                self.take_events(out)?;
                parsed.map_err(|_| Unreadable::Malformed("an event over its size limit"))?;
            }
            Body::Unknown => {}
        }
        Ok(())
    }

    /// The whole answer. Errors: whatever is still missing at the end.
    pub(super) fn finish(&mut self, out: &mut VecDeque<StreamItem>) -> Result<ModelResponse, Unreadable> {
        match &mut self.body {
            Body::Unknown => return Err(Unreadable::Cut),
            Body::Json(whole) => {
                let whole = std::mem::take(whole);
                self.assembly.take(&String::from_utf8_lossy(&whole), out)?;
                self.done = true;
            }
            Body::Events(_) if self.done => {}
            Body::Events(parser) => {
                parser.finish(&mut self.events).map_err(|_| Unreadable::Cut)?;
                self.take_events(out)?;
            }
        }
        if !self.done && !self.has_finish_reason() {
            return Err(Unreadable::Cut);
        }
        std::mem::take(&mut self.assembly).finish()
    }

    fn take_events(&mut self, out: &mut VecDeque<StreamItem>) -> Result<(), Unreadable> {
        for event in self.events.drain(..) {
            let data = event.data.trim();
            if self.done || data.is_empty() || data == self.last {
                continue;
            }
            if data == "[DONE]" {
                self.done = true;
                continue;
            }
            if event.event == "error" {
                return Err(Unreadable::ErrorObject(serde_json::from_str(data).unwrap_or_default()));
            }
            let stopped = self.assembly.finish_reason.is_some();
            self.assembly.take(data, out)?;
            if !stopped && self.assembly.finish_reason.is_some() {
                data.clone_into(&mut self.last);
            }
        }
        Ok(())
    }
}

/// One answer as far as it is known.
#[derive(Default)]
struct Assembly {
    provider: String,
    ids: CallIds,
    nullable: Option<Arc<OutputSchema>>,
    id: String,
    model: String,
    thinking: String,
    text: String,
    refusal: String,
    calls: Calls,
    finish_reason: Option<FinishReason>,
    usage: Value,
    extra: Map<String, Value>,
    /// The candidate that is read; others are left aside.
    candidate: Option<i64>,
}

impl Assembly {
    /// Takes a whole answer or a piece of one.
    fn take(&mut self, json: &str, out: &mut VecDeque<StreamItem>) -> Result<(), Unreadable> {
        let chunk: Chunk<'_> = serde_json::from_str(json).map_err(|error| {
            if error.is_eof() {
                Unreadable::Cut
            } else {
                Unreadable::Malformed("an answer that is not JSON of its kind")
            }
        })?;
        if let Some(error) = chunk.error {
            return Err(Unreadable::ErrorObject(error));
        }
        keep_first(&mut self.id, &chunk.id.0);
        keep_first(&mut self.model, &chunk.model.0);
        // Each report of usage is a whole one: the last counts.
        self.usage = chunk.usage.filter(Value::is_object).unwrap_or_else(|| std::mem::take(&mut self.usage));
        for (name, value) in chunk.extra {
            keep_unknown(&mut self.extra, &name, value);
        }
        for choice in &chunk.choices {
            let index = choice.index.unwrap_or(0);
            if *self.candidate.get_or_insert(index) == index {
                self.take_choice(choice, out)?;
            }
        }
        Ok(())
    }

    fn take_choice(&mut self, choice: &Choice<'_>, out: &mut VecDeque<StreamItem>) -> Result<(), Unreadable> {
        if let Some(said) = choice.delta.as_ref().or(choice.message.as_ref().filter(|_| self.is_empty())) {
            self.take_said(said, out)?;
        }
        if let Some(logprobs) = choice.logprobs {
            merge_logprobs(&mut self.extra, logprobs);
        }
        if let Some(usage) = choice.usage.as_ref().filter(|usage| usage.is_object()) {
            self.usage = usage.clone();
        }
        self.finish_reason = self.finish_reason.or(response::finish_reason(&choice.finish_reason.0));
        Ok(())
    }

    fn take_said(&mut self, said: &Said<'_>, out: &mut VecDeque<StreamItem>) -> Result<(), Unreadable> {
        let mut say = |whole: &mut String, piece: &str, delta: fn(String) -> Delta| {
            if !piece.is_empty() {
                whole.push_str(piece);
                out.push_back(StreamItem::Delta(delta(piece.to_owned())));
            }
        };
        say(&mut self.thinking, said.thinking(), |text| Delta::Thinking { text });
        say(&mut self.text, &said.content.0, |text| Delta::Text { text });
        say(&mut self.refusal, &said.refusal.0, |text| Delta::Refusal { text });
        for piece in said.tool_calls.iter().flatten() {
            let taken = self.calls.take(piece, |delta| out.push_back(StreamItem::Delta(delta)));
            taken.map_err(|_| Unreadable::Malformed("more tool calls than one answer may hold"))?;
        }
        if let Some(annotations) = said.annotations.filter(|list| list.get() != "[]") {
            keep_unknown(&mut self.extra, "annotations", annotations);
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.thinking.is_empty() && self.refusal.is_empty() && self.calls.is_empty()
    }

    fn finish(mut self) -> Result<ModelResponse, Unreadable> {
        if self.candidate.is_none() {
            return Err(Unreadable::Malformed("an answer without a choice"));
        }
        if let Some(text) = self.nullable.and_then(|output| schema::without_added_nulls(&output.schema, &self.text)) {
            self.text = text;
        }
        let mut parts = Vec::new();
        if !self.thinking.is_empty() {
            parts.push(Part::Thinking { text: self.thinking, signature: None, provider: Some(self.provider) });
        }
        if !self.text.is_empty() {
            parts.push(Part::Text { text: self.text });
        }
        if !self.refusal.is_empty() {
            parts.push(Part::Refusal { text: self.refusal });
        }
        let calls = self.calls.finish(&mut self.ids);
        let unnamed = if calls.is_empty() { FinishReason::Other } else { FinishReason::ToolCalls };
        parts.extend(calls.into_iter().map(Part::ToolCall));
        let mut response = ModelResponse::new(parts).with_finish_reason(self.finish_reason.unwrap_or(unnamed));
        response.usage = response::usage(&self.usage);
        response.raw_usage = self.usage;
        response.model_name = self.model;
        response.response_id = Some(self.id).filter(|id| !id.is_empty());
        response.extra = self.extra;
        Ok(response)
    }
}

fn keep_first(kept: &mut String, text: &str) {
    if kept.is_empty() {
        text.clone_into(kept);
    }
}

/// Keeps the newest value of an unknown field; most fields repeat themselves on every piece.
fn keep_unknown(extra: &mut Map<String, Value>, name: &str, value: &RawValue) {
    let text = value.get();
    let same = |kept: &Value| kept.as_str().is_some_and(|kept| text.get(1..text.len() - 1) == Some(kept));
    if text == "null" || extra.get(name).is_some_and(same) {
        return;
    }
    if let Ok(value) = serde_json::from_str(text) {
        extra.insert(name.to_owned(), value);
    }
}

/// Appends the lists of a piece's log probabilities to those of the pieces before it.
fn merge_logprobs(extra: &mut Map<String, Value>, piece: &RawValue) {
    let Ok(Value::Object(piece)) = serde_json::from_str(piece.get()) else { return };
    let kept = extra.entry("logprobs").or_insert_with(|| Map::new().into());
    let Value::Object(kept) = kept else { return };
    for (name, value) in piece {
        match (kept.get_mut(&name), value) {
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (Some(_), Value::Null) => {}
            (_, value) => drop(kept.insert(name, value)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
