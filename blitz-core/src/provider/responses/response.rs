//! Puts an answer together from its items, streamed or whole.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::openai::response::{service_tier, usage};
use super::super::tokens::without_known_price;
use super::super::wire::body::{Decode, Out, Unreadable, parse};
use super::super::wire::draft::{Draft, Key};
use super::super::wire::schema::Reading;
use super::super::wire::text::or_default;
use super::places::{Named, Places};
use super::{PHASE, tools};
use crate::domain::{FinishReason, ModelRequest, ModelResponse, Usage, UsageDetails};

/// Fields of an answer that are known, or repeat the request.
const KNOWN: &[&str] = &[
    "background",
    "billing",
    "completed_at",
    "created_at",
    "error",
    "frequency_penalty",
    "id",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "model",
    "object",
    "output",
    "parallel_tool_calls",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "status",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tool_usage",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
    "user",
];
/// The block of an item that is kept whole; contents begin at 1, the item itself is 0.
const WHOLE: u64 = u64::MAX;
/// The block in front of the contents of a message, which says its phase.
const MARK: u64 = u64::MAX - 1;

pub(super) struct Decoder {
    draft: Draft,
    places: Places,
    /// The contents whose notes are kept: the end of a stream repeats every item.
    noted: HashSet<Key>,
    /// The tools that were asked for whose price nothing tells.
    without_price: Vec<String>,
    /// Whether a message had a phase.
    phased: bool,
    done: bool,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    kind: String,
    #[serde(default)]
    object: Value,
    #[serde(default, deserialize_with = "or_default")]
    output_index: u64,
    #[serde(default, deserialize_with = "or_default")]
    content_index: u64,
    #[serde(default, deserialize_with = "or_default")]
    item_id: String,
    #[serde(default)]
    item: Value,
    #[serde(default)]
    delta: Value,
    #[serde(default)]
    response: Value,
    #[serde(default)]
    error: Value,
}

impl Decoder {
    pub(super) fn new(provider: &str, request: &ModelRequest, reading: Option<Reading>) -> Self {
        Self {
            draft: Draft::new(provider, request).read_by(reading),
            places: Places::default(),
            noted: HashSet::new(),
            without_price: without_known_price(request),
            phased: false,
            done: false,
        }
    }

    /// Takes an item that is whole, as far as its pieces did not bring it already.
    fn item(&mut self, index: u64, item: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let (key, text) = ((index, 0), |name: &str| item[name].as_str().unwrap_or_default());
        match text("type") {
            "message" => {
                self.phase(index, item)?;
                for (number, content) in (1..).zip(list(&item["content"])) {
                    self.content((index, number), content, out)?;
                }
            }
            "function_call" => {
                self.call(index, item, out)?;
                self.draft.whole_arguments(key, text("arguments"), out)?;
            }
            "reasoning" => self.thought(index, item, out)?,
            _ => self.draft.opaque((index, WHOLE), item.clone())?,
        }
        Ok(())
    }

    fn call(&mut self, index: u64, item: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let text = |name: &str| item[name].as_str().unwrap_or_default();
        if self.draft.has((index, 0)) {
            return Ok(());
        }
        let id = [text("call_id"), text("id")].into_iter().find(|id| !id.is_empty()).unwrap_or_default();
        self.draft.call((index, 0), id, text("name"), out)
    }

    /// Says in front of a message of which phase it is, where it or one before it is of any.
    fn phase(&mut self, index: u64, message: &Value) -> Result<(), Unreadable> {
        let phase = message["phase"].as_str();
        self.phased |= phase.is_some();
        let has_begun = self.draft.has((index, MARK)) || self.draft.has((index, 1));
        if has_begun || !self.phased {
            return Ok(());
        }
        self.draft.opaque((index, MARK), json!({"type": PHASE, "phase": phase}))
    }

    fn content(&mut self, key: Key, content: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let text = |name: &str| content[name].as_str().unwrap_or_default();
        match text("type") {
            "output_text" => {
                self.draft.whole_text(key, text("text"), out)?;
                if !self.noted.insert(key) {
                    return Ok(());
                }
                for name in ["annotations", "logprobs"] {
                    let found = list(&content[name]).cloned();
                    let kept = self.draft.extra.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                    if let Value::Array(kept) = kept {
                        kept.extend(found);
                    }
                }
            }
            "refusal" if !self.draft.has(key) => self.draft.refusal(key, text("refusal"), out)?,
            _ => {}
        }
        Ok(())
    }

    /// A thought: shown as text, and kept whole where text and cipher alone could not make it again.
    fn thought(&mut self, index: u64, item: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let key = (index, 0);
        let (summary, content) = (list(&item["summary"]), list(&item["content"]));
        if !self.draft.has(key) {
            for piece in summary.clone().chain(content.clone()) {
                self.draft.thinking(key, piece["text"].as_str().unwrap_or_default(), out)?;
            }
        }
        self.draft.thought_id(key, item["id"].as_str().unwrap_or_default())?;
        self.draft.signature(key, item["encrypted_content"].as_str().unwrap_or_default())?;
        if summary.count() > 1 || content.count() > 0 {
            self.draft.opaque((index, WHOLE), item.clone())?;
        }
        Ok(())
    }

    /// The frame of an answer: who made it, and at its end why it stopped.
    fn frame(&mut self, response: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.draft.id = text(&response["id"]);
        self.draft.model = text(&response["model"]);
        self.draft.finish_reason = match response["status"].as_str() {
            Some("completed") => Some(FinishReason::Stop),
            Some("incomplete") => Some(match response["incomplete_details"]["reason"].as_str() {
                Some("max_output_tokens" | "max_tokens") => FinishReason::Length,
                Some("content_filter") => FinishReason::ContentFilter,
                _ => FinishReason::Other,
            }),
            Some("cancelled" | "failed") => Some(FinishReason::Other),
            _ => return Ok(()),
        };
        let items = list(&response["output"]);
        let places = self.places.repeated((0..).zip(items.clone()).map(|(index, item)| Named::of(item, index)))?;
        for (place, item) in places.into_iter().zip(items) {
            self.item(place, item, out)?;
        }
        self.draft.usage = usage(&response["usage"]).map(|usage| {
            let service_tier = service_tier(&response["service_tier"]);
            let details = tools::counted(response, usage.details, &self.without_price);
            usage.with_details(UsageDetails { service_tier, ..details })
        });
        self.draft.raw_usage = response["usage"].clone();
        if response["status"] == "failed" {
            return Err(Unreadable::ErrorObject(response["error"].clone()));
        }
        for (name, value) in response.as_object().into_iter().flatten() {
            if !KNOWN.contains(&name.as_str()) && !value.is_null() {
                self.draft.extra.insert(name.clone(), value.clone());
            }
        }
        self.draft.extra.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        Ok(())
    }
}

pub(super) fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

impl Decode for Decoder {
    fn take(&mut self, _: &str, json: &str, out: &mut Out) -> Result<(), Unreadable> {
        let event: Event = parse(json)?;
        let piece = event.delta.as_str().unwrap_or_default();
        let named = |kind| Named { kind, id: &event.item_id, index: event.output_index };
        let place = |places: &Places, kind| places.of(named(kind));
        let item = Named::of(&event.item, event.output_index);
        match event.kind.as_str() {
            "response.output_text.delta" => {
                let index = place(&self.places, "message");
                self.draft.text((index, event.content_index + 1), piece, out)?;
            }
            "response.refusal.delta" => {
                let index = place(&self.places, "message");
                self.draft.refusal((index, event.content_index + 1), piece, out)?;
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.draft.thinking((place(&self.places, "reasoning"), 0), piece, out)?;
            }
            "response.function_call_arguments.delta" => {
                self.draft.arguments((place(&self.places, "function_call"), 0), piece, out)?;
            }
            "response.output_item.added" => {
                let index = self.places.begun(item)?;
                match item.kind {
                    "function_call" => self.call(index, &event.item, out)?,
                    "message" => self.phase(index, &event.item)?,
                    _ => {}
                }
            }
            "response.output_item.done" => {
                let index = self.places.ended(item)?;
                self.item(index, &event.item, out)?;
            }
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                self.frame(&event.response, out)?;
                self.done = true;
            }
            "response.created" | "response.in_progress" => self.frame(&event.response, out)?,
            "error" => return Err(Unreadable::ErrorObject(parse(json)?)),
            "" if event.object == "response" => {
                self.frame(&parse(json)?, out)?;
                if !event.error.is_null() {
                    return Err(Unreadable::ErrorObject(parse(json)?));
                }
            }
            "" if !event.error.is_null() => return Err(Unreadable::ErrorObject(parse(json)?)),
            "" => return Err(Unreadable::Empty("an answer that is no response")),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::VecDeque;

    use super::super::super::wire::body::Reader;
    use super::*;
    use crate::domain::Part;

    fn read(body: &str) -> Result<ModelResponse, Unreadable> {
        let decoder = Decoder::new("p", &ModelRequest::new("m", vec![]), None);
        let (mut reader, mut out) = (Reader::new(Box::new(decoder)), VecDeque::new());
        reader.push(body.as_bytes(), &mut out)?;
        reader.finish(&mut out)
    }

    fn events(events: &[Value]) -> Result<ModelResponse, Unreadable> {
        read(&events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>())
    }

    fn whole() -> Value {
        json!({"object": "response", "id": "r", "model": "m-1", "status": "completed", "output": [
            {"type": "reasoning", "id": "rs", "encrypted_content": "e", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "hi", "annotations": []}]},
            {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{\"a\":1}"}],
            "usage": {"input_tokens": 3, "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 2}}})
    }

    #[test]
    fn pieces_and_the_whole_make_the_same_answer() {
        let output = whole()["output"].clone();
        let delta = |kind: &str, index: u64, delta: &str| json!({"type": kind, "output_index": index, "delta": delta});
        let pieces = [
            json!({"type": "response.created", "response": {"id": "r", "model": "m-1", "status": "in_progress"}}),
            delta("response.reasoning_summary_text.delta", 0, "h"),
            delta("response.reasoning_summary_text.delta", 0, "m"),
            json!({"type": "response.output_item.done", "output_index": 0, "item": output[0]}),
            delta("response.output_text.delta", 1, "hi"),
            json!({"type": "response.some_new_event"}),
            json!({"type": "response.output_item.added", "output_index": 2, "item": {"type": "function_call", "call_id": "c", "name": "f"}}),
            delta("response.function_call_arguments.delta", 2, "{\"a\":"),
            delta("response.function_call_arguments.delta", 2, "1}"),
            json!({"type": "response.completed", "response": whole()}),
        ];
        let (from_pieces, from_whole) = (events(&pieces).unwrap(), read(&whole().to_string()).unwrap());
        assert_eq!(from_pieces, from_whole);
        assert_eq!(from_whole.finish_reason, FinishReason::ToolCalls);
        assert!(
            matches!(&from_whole.message.parts[0], Part::Thinking { signature: Some(e), id: Some(id), .. } if e == "e" && id == "rs")
        );
    }

    /// The events of a stream of [`whole`] and two more calls, by what a server makes of ids and indexes.
    fn stream(name: impl Fn(usize, usize) -> (String, usize)) -> (Vec<Value>, Value) {
        let mut answer = whole();
        let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{\"a\":1}"});
        answer["output"].as_array_mut().unwrap().extend([call("d"), call("e")]);
        let (mut pieces, mut event) = (Vec::new(), 0);
        let mut add = |kind: &str, index: usize, fields: Value| {
            let (id, wrong) = name(index, event);
            event += 1;
            let mut piece = json!({"type": format!("response.{kind}"), "output_index": wrong, "item_id": id});
            for (name, value) in fields.as_object().unwrap() {
                piece[name] = value.clone();
            }
            if !piece["item"].is_null() {
                piece["item"]["id"] = id.into();
            }
            pieces.push(piece);
        };
        for (index, item) in list(&answer["output"]).enumerate() {
            let mut begun = item.clone();
            for field in ["summary", "content", "arguments", "encrypted_content"] {
                begun.as_object_mut().unwrap().remove(field);
            }
            add("output_item.added", index, json!({"item": begun}));
            match item["type"].as_str().unwrap() {
                "reasoning" => add("reasoning_summary_text.delta", index, json!({"delta": "hm"})),
                "message" => add("output_text.delta", index, json!({"delta": "hi"})),
                _ => add("function_call_arguments.delta", index, json!({"delta": "{\"a\":1}"})),
            }
            add("output_item.done", index, json!({"item": item}));
        }
        for (index, item) in answer["output"].as_array_mut().unwrap().iter_mut().enumerate() {
            item["id"] = name(index, event + index).0.into();
        }
        pieces.push(json!({"type": "response.completed", "response": answer}));
        (pieces, answer)
    }

    #[test]
    fn b03_items_are_told_apart_though_a_server_counts_or_names_them_wrongly() {
        let told = |(pieces, answer): (Vec<Value>, Value)| {
            assert_eq!(events(&pieces).unwrap(), read(&answer.to_string()).unwrap(), "{pieces:?}");
        };
        told(stream(|index, _| (format!("i{index}"), index)));
        // Every index is the same.
        told(stream(|index, _| (format!("i{index}"), 0)));
        // Every event names its item anew, or all items have one name, or none.
        told(stream(|index, event| (format!("i{event}"), index)));
        told(stream(|index, _| ("same".to_owned(), index)));
        told(stream(|index, _| (String::new(), index)));
        let (pieces, answer) = stream(|index, _| (format!("i{index}"), 0));
        let ended: Vec<_> = pieces.into_iter().filter(|piece| piece["type"] != "response.output_item.added").collect();
        let ended: Vec<_> = ended.into_iter().filter(|piece| piece["delta"].is_null()).collect();
        told((ended, answer));
    }

    #[test]
    fn b04_b18_b21_the_ways_an_answer_ends() {
        let mut cut = whole();
        cut["status"] = "incomplete".into();
        cut["incomplete_details"] = json!({"reason": "max_output_tokens"});
        assert_eq!(read(&cut.to_string()).unwrap().finish_reason, FinishReason::Length);
        cut["incomplete_details"] = json!({"reason": "content_filter"});
        assert_eq!(read(&cut.to_string()).unwrap().finish_reason, FinishReason::ContentFilter);
        let failed =
            json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error"}}});
        assert!(matches!(events(&[failed]), Err(Unreadable::ErrorObject(_))));
        let open = json!({"type": "response.output_text.delta", "output_index": 0, "delta": "h"});
        assert!(matches!(events(&[open]), Err(Unreadable::Cut)));
        assert!(matches!(read("{}"), Err(Unreadable::Empty(_))));
    }

    #[test]
    fn b29_the_phase_of_a_message_is_kept_in_front_of_it() {
        let message = |phase: Value, text: &str| json!({"type": "message", "phase": phase, "content": [{"type": "output_text", "text": text}]});
        let mut answer = whole();
        answer["output"] = json!([
            message(json!("commentary"), "I look."),
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            message(json!("final_answer"), "4"),
            message(json!(null), "!"),
        ]);
        let mark = |phase: Value| Part::Opaque { provider: "p".into(), data: json!({"type": "phase", "phase": phase}) };
        let response = read(&answer.to_string()).unwrap();
        let parts = response.message.parts.clone();
        assert_eq!(parts[..2], [mark(json!("commentary")), Part::text("I look.")]);
        assert_eq!(parts[3..], [mark(json!("final_answer")), Part::text("4"), mark(json!(null)), Part::text("!")]);
        let delta = json!({"type": "response.output_text.delta", "output_index": 0, "delta": "I look."});
        let end = json!({"type": "response.completed", "response": answer});
        let added = json!({"type": "response.output_item.added", "output_index": 0,
            "item": {"type": "message", "phase": "commentary", "content": []}});
        assert_eq!(events(&[added, delta, end]).unwrap(), response);
    }

    #[test]
    fn notes_that_the_end_repeats_are_kept_once() {
        let note = json!({"type": "url_citation", "url": "https://h"});
        let content =
            json!({"type": "output_text", "text": "hi", "annotations": [note], "logprobs": [{"token": "hi"}]});
        let item = json!({"type": "message", "content": [content]});
        let mut answer = whole();
        answer["output"] = json!([item]);
        let done = json!({"type": "response.output_item.done", "output_index": 0, "item": item});
        let end = json!({"type": "response.completed", "response": answer});
        let streamed = events(&[done, end]).unwrap();
        assert_eq!(streamed, read(&answer.to_string()).unwrap());
        assert_eq!(streamed.extra["annotations"], json!([note]));
        assert_eq!(streamed.extra["logprobs"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn searches_and_the_class_of_service_are_in_the_usage() {
        let mut answer = whole();
        answer["service_tier"] = "flex".into();
        let call = |action: &str| json!({"type": "web_search_call", "id": "ws", "action": {"type": action}});
        answer["output"] = json!([call("search"), call("open_page"), call("search"), {"type": "web_search_call"}]);
        let details = read(&answer.to_string()).unwrap().usage.unwrap().details;
        assert_eq!((details.searches, details.service_tier), (3, crate::domain::ServiceTier::Flex));
    }

    #[test]
    fn what_is_not_known_is_kept_as_it_came() {
        let mut answer = whole();
        answer["output"] = json!([{"type": "web_search_call", "id": "ws"}]);
        let response = read(&answer.to_string()).unwrap();
        assert!(matches!(&response.message.parts[0], Part::Opaque { data, .. } if data["id"] == "ws"));
    }
}
