//! Reads the body of an answer, streamed or whole, and puts the answer together.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::StreamItem;
use super::super::tokens::always_searches;
use super::super::wire::body::{Decode, Out, Unreadable, parse};
use super::super::wire::calls::{CallIds, Calls};
use super::super::wire::draft::MAX_BLOCKS;
use super::super::wire::repeat::Repeat;
use super::super::wire::schema::Reading;
use super::super::wire::think::ThinkTags;
use super::response::{self, Choice, Chunk, Said};
use crate::domain::{Delta, FinishReason, ModelRequest, ModelResponse, Part, ServiceTier, Usage};

/// One answer as far as it is known.
#[derive(Default)]
pub(super) struct Assembly {
    provider: String,
    ids: CallIds,
    reading: Option<Reading>,
    id: String,
    model: String,
    thinking: String,
    /// The name under which it came, where it has another than `reasoning_content`.
    thinking_name: Option<&'static str>,
    text: String,
    /// Looks for thinking in the text.
    tags: ThinkTags,
    refusal: String,
    calls: Calls,
    finish_reason: Option<FinishReason>,
    usage: Value,
    extra: Map<String, Value>,
    /// Thoughts in the form in which the server wants them back.
    reasoning_details: Vec<Value>,
    /// The candidate that is read; others are left aside.
    candidate: Option<i64>,
    /// Each call is a search, which no report of usage counts.
    searches: bool,
    /// A piece of this candidate that says nothing but a text.
    repeat: Repeat,
}

impl Decode for Assembly {
    /// Takes a whole answer or a piece of one.
    fn take(&mut self, _: &str, json: &str, out: &mut Out) -> Result<(), Unreadable> {
        if let Some(text) = self.repeat.text(json) {
            return self.take_text(&text, out);
        }
        let chunk: Chunk<'_> = parse(json)?;
        let literal = chunk.literal();
        // Each report of usage is a whole one: the last counts.
        let usage = chunk.usage.filter(Value::is_object);
        let is_counted = usage.is_some();
        self.usage = usage.unwrap_or_else(|| std::mem::take(&mut self.usage));
        if let Some(error) = chunk.error {
            return Err(self.broken(error, is_counted));
        }
        keep_first(&mut self.id, &chunk.id.0);
        keep_first(&mut self.model, &chunk.model.0);
        for (name, value) in chunk.extra {
            keep_unknown(&mut self.extra, &name, value);
        }
        for choice in chunk.choices.iter().flatten() {
            let index = choice.index.unwrap_or(0);
            if *self.candidate.get_or_insert(index) == index {
                self.take_choice(choice, out)?;
                if let Some(error) = choice.error() {
                    return Err(self.broken(error, is_counted));
                }
                if let Some(literal) = literal {
                    self.repeat.learn(json, literal);
                    return Ok(());
                }
            }
        }
        self.repeat.forget();
        Ok(())
    }

    fn has_stopped(&self) -> bool {
        self.finish_reason.is_some()
    }

    fn has_begun(&self) -> bool {
        !self.is_empty() || !self.reasoning_details.is_empty()
    }

    fn usage(&self) -> Option<(Usage, Value)> {
        Some((self.reported()?, self.raw_usage().clone()))
    }

    fn finish(&mut self) -> Result<ModelResponse, Unreadable> {
        if self.candidate.is_none() {
            return Err(Unreadable::Empty("an answer without a choice"));
        }
        Ok(std::mem::take(self).finished())
    }
}

impl Assembly {
    /// An empty answer of `provider` to `request`; `reading` says how one to a schema is read.
    pub(super) fn new(provider: &str, request: &ModelRequest, reading: Option<Reading>) -> Self {
        let ids = CallIds::of(&request.messages);
        let searches = always_searches(request);
        Self { provider: provider.to_owned(), ids, reading, searches, ..Self::default() }
    }

    /// The same for a server that may leave thinking in the text.
    pub(super) fn with_think_tags(self, looks: bool) -> Self {
        Self { tags: ThinkTags::new(looks), ..self }
    }

    /// The answer ends by an error. Usage that came with it is a whole report.
    fn broken(&mut self, error: Value, is_counted: bool) -> Unreadable {
        if is_counted {
            self.finish_reason.get_or_insert(FinishReason::Other);
        }
        Unreadable::ErrorObject(error)
    }

    fn take_choice(&mut self, choice: &Choice<'_>, out: &mut Out) -> Result<(), Unreadable> {
        if let Some(said) = choice.delta.as_ref().or(choice.message.as_ref().filter(|_| self.is_empty())) {
            self.take_said(said, out)?;
        }
        if let Some(logprobs) = choice.logprobs {
            merge_logprobs(&mut self.extra, logprobs);
        }
        if let Some(usage) = choice.usage.as_ref().filter(|usage| usage.is_object()) {
            self.usage = usage.clone();
        }
        let is_over = choice.error().is_none();
        let reason = response::finish_reason(&choice.finish_reason.0).filter(|_| is_over);
        self.finish_reason = self.finish_reason.or(reason);
        if self.finish_reason.is_some() {
            self.end_text(out);
            for (name, value) in &choice.extra {
                keep_unknown(&mut self.extra, name, value);
            }
        }
        Ok(())
    }

    fn take_text(&mut self, text: &str, out: &mut Out) -> Result<(), Unreadable> {
        let (thinking, whole) = (&mut self.thinking, &mut self.text);
        self.tags.split(text, |thinks, piece| {
            match thinks {
                true => say(thinking, piece, |text| Delta::Thinking { text }, out),
                false => say(whole, piece, |text| Delta::Text { text }, out),
            }
            Ok(())
        })
    }

    fn take_said(&mut self, said: &Said<'_>, out: &mut Out) -> Result<(), Unreadable> {
        let (thought, name) = said.thinking();
        if self.thinking.is_empty() {
            self.thinking_name = name;
        }
        say(&mut self.thinking, thought, |text| Delta::Thinking { text }, out);
        self.take_text(&said.content.text, out)?;
        say(&mut self.refusal, &said.refusal.0, |text| Delta::Refusal { text }, out);
        for piece in said.tool_calls.iter().flatten() {
            let taken = self.calls.take(&piece.piece(), |delta| out.push_back(StreamItem::Delta(delta)));
            taken.map_err(|_| Unreadable::Malformed("more tool calls than one answer may hold"))?;
        }
        for detail in said.reasoning_details.iter().flatten() {
            merge_detail(&mut self.reasoning_details, detail)?;
        }
        for (name, value) in &said.extra {
            merge_unknown(&mut self.extra, name, value);
        }
        Ok(())
    }

    /// Takes what was held back because it might have become a tag.
    fn end_text(&mut self, out: &mut Out) {
        let (thinking, text) = (&mut self.thinking, &mut self.text);
        let taken = self.tags.finish(|thinks, piece| {
            let (whole, delta) = match thinks {
                true => (&mut *thinking, Delta::Thinking { text: piece.to_owned() }),
                false => (&mut *text, Delta::Text { text: piece.to_owned() }),
            };
            whole.push_str(piece);
            out.push_back(StreamItem::Delta(delta));
            Ok::<(), std::convert::Infallible>(())
        });
        match taken {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.thinking.is_empty() && self.refusal.is_empty() && self.calls.is_empty()
    }

    /// The report of usage as it came: some servers put it under a name of their own.
    fn raw_usage(&self) -> &Value {
        match self.extra.get("x_groq").and_then(|own| own.get("usage")) {
            Some(usage) if self.usage.is_null() => usage,
            _ => &self.usage,
        }
    }

    fn reported(&self) -> Option<Usage> {
        let named = self.extra.get("service_tier").map(response::service_tier).unwrap_or_default();
        let mut usage = response::usage(self.raw_usage())?;
        usage.details.searches = usage.details.searches.max(u64::from(self.searches));
        Some(if named == ServiceTier::Standard { usage } else { usage.with_service_tier(named) })
    }

    fn finished(mut self) -> ModelResponse {
        self.end_text(&mut Out::new());
        let (usage, raw_usage) = (self.reported(), self.raw_usage().clone());
        if let Some(text) = self.reading.and_then(|reading| reading.read(&self.text)) {
            self.text = text;
        }
        let mut parts = Vec::new();
        if !self.thinking.is_empty() {
            parts.push(Part::Thinking {
                text: self.thinking,
                signature: None,
                provider: Some(self.provider.clone()),
                id: self.thinking_name.map(str::to_owned),
            });
        }
        if !self.reasoning_details.is_empty() {
            let data = json!({"reasoning_details": self.reasoning_details});
            parts.push(Part::Opaque { provider: self.provider.clone(), data });
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
        response.usage = usage;
        response.raw_usage = raw_usage;
        response.model_name = self.model;
        response.response_id = Some(self.id).filter(|id| !id.is_empty());
        response.extra = self.extra;
        response
    }
}

/// Adds a piece to what it belongs to, and tells of it.
fn say(whole: &mut String, piece: &str, delta: fn(String) -> Delta, out: &mut Out) {
    if !piece.is_empty() {
        whole.push_str(piece);
        out.push_back(StreamItem::Delta(delta(piece.to_owned())));
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

/// Adds a piece of a field that the engine does not know to those before it: lists grow, and of an object what
/// comes in pieces (sound and its transcript); all else is replaced.
fn merge_unknown(extra: &mut Map<String, Value>, name: &str, piece: &RawValue) {
    if matches!(piece.get(), "null" | "[]" | "{}" | "\"\"") {
        return;
    }
    let Ok(piece) = serde_json::from_str::<Value>(piece.get()) else { return };
    match (extra.get_mut(name), piece) {
        (Some(Value::Array(kept)), Value::Array(more)) => kept.extend(more),
        (Some(Value::Object(kept)), Value::Object(more)) => {
            for (name, value) in more {
                match (kept.get_mut(&name), value) {
                    (Some(Value::String(text)), Value::String(more))
                        if matches!(name.as_str(), "data" | "transcript") =>
                    {
                        text.push_str(&more);
                    }
                    (Some(_), Value::Null) => {}
                    (_, value) => drop(kept.insert(name, value)),
                }
            }
        }
        (_, piece) => drop(extra.insert(name.to_owned(), piece)),
    }
}

/// Appends a piece of a thought to the one of its index and type: texts grow, all else is replaced. Pieces of
/// different ids are of different thoughts.
fn merge_detail(kept: &mut Vec<Value>, piece: &Value) -> Result<(), Unreadable> {
    let same = |other: &&mut Value| {
        let of_one = other["id"] == piece["id"] || other["id"].is_null() || piece["id"].is_null();
        other["index"] == piece["index"] && other["type"] == piece["type"] && of_one
    };
    let is_piece = piece["index"].is_number();
    let Some(Value::Object(open)) = kept.iter_mut().rev().find(same).filter(|_| is_piece) else {
        if kept.len() == MAX_BLOCKS {
            return Err(Unreadable::Malformed("more thoughts than one answer may hold"));
        }
        kept.push(piece.clone());
        return Ok(());
    };
    for (name, value) in piece.as_object().into_iter().flatten() {
        match (open.get_mut(name), value) {
            (Some(Value::String(text)), Value::String(more))
                if matches!(name.as_str(), "text" | "summary" | "data") =>
            {
                text.push_str(more);
            }
            (Some(_), Value::Null) => {}
            _ => drop(open.insert(name.clone(), value.clone())),
        }
    }
    Ok(())
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
