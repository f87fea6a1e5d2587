//! A plain reading of a recorded answer, by JSON paths only.

use serde_json::{Value, json};

use crate::conformance::reading::{Reading, arguments, finish_reason, list, text, without_thought};
use crate::conformance::recorded::Exchange;

/// What the recorded body of an answer says.
pub fn recorded(exchange: &Exchange) -> Reading {
    let mut reading = match exchange.streams() {
        true => streamed_reading(exchange.events().into_iter()),
        false => whole_reading(&exchange.json()),
    };
    reading.finish_reason = finish_reason(&reading.finish_reason, !reading.calls.is_empty());
    // These are known to part thinking from text by themselves.
    let file = exchange.name.split(':').next().unwrap_or_default();
    if !["mistral", "deepseek", "openrouter", "xai", "llamacpp"].contains(&file) && reading.thinking.is_empty() {
        without_thought(&mut reading);
    }
    reading
}

/// The text of a content, which is one or a list of parts.
fn said(content: &Value) -> String {
    text(content) + &list(content).map(|part| text(&part["text"])).collect::<String>()
}

/// Where a server puts its thoughts.
fn thinking(message: &Value) -> String {
    let names = ["reasoning_content", "reasoning"];
    let named = names.iter().map(|name| text(&message[*name])).find(|text| !text.is_empty());
    named.unwrap_or_else(|| list(&message["content"]).map(|part| said(&part["thinking"])).collect())
}

/// Thoughts in the form of OpenRouter, if there are any.
fn details(whole: Vec<Value>) -> Vec<Value> {
    if whole.is_empty() { Vec::new() } else { vec![json!({"reasoning_details": whole})] }
}

/// The same with the pieces of one put together: those of one index and type, unless their ids tell them apart.
fn merged(pieces: Vec<Value>) -> Vec<Value> {
    let mut whole: Vec<Value> = Vec::new();
    for piece in pieces {
        let same = |other: &&mut Value| {
            let of_one = other["id"] == piece["id"] || other["id"].is_null() || piece["id"].is_null();
            piece["index"].is_number() && other["index"] == piece["index"] && other["type"] == piece["type"] && of_one
        };
        let Some(open) = whole.iter_mut().rev().find(same) else {
            whole.push(piece);
            continue;
        };
        for (name, value) in piece.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            let grows = ["text", "summary", "data"].contains(&name.as_str()) && open[name].is_string();
            open[name] = if grows { json!(text(&open[name]) + &text(value)) } else { value.clone() };
        }
    }
    whole
}

/// The arguments of a call as text; some servers give them as an object, whole.
fn argument_text(said: &Value) -> String {
    if said.is_object() { said.to_string() } else { text(said) }
}

fn whole_reading(body: &Value) -> Reading {
    let choice = &body["choices"][0];
    let message = &choice["message"];
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    Reading {
        text: said(&message["content"]),
        thinking: thinking(message),
        opaque: details(merged(list(&message["reasoning_details"]).cloned().collect())),
        refusal: text(&message["refusal"]),
        calls: calls
            .map(|call| {
                let function = &call["function"];
                (text(&call["id"]), text(&function["name"]), arguments(&argument_text(&function["arguments"])))
            })
            .collect(),
        finish_reason: text(&choice["finish_reason"]),
        usage: usage(&body["usage"]),
        raw_usage: body["usage"].clone(),
        model: text(&body["model"]),
        id: text(&body["id"]),
        ..Reading::default()
    }
}

fn streamed_reading(chunks: impl Iterator<Item = Value>) -> Reading {
    let mut reading = Reading::default();
    let (mut calls, mut thoughts): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    let mut candidate = None;
    for chunk in chunks {
        for (field, kept) in [("model", &mut reading.model), ("id", &mut reading.id)] {
            if kept.is_empty() {
                *kept = text(&chunk[field]);
            }
        }
        let reported = [&chunk["usage"], &chunk["x_groq"]["usage"], &chunk["choices"][0]["usage"]];
        if let Some(reported) = reported.into_iter().find(|usage| usage.is_object()) {
            reading.usage = usage(reported);
            reading.raw_usage = reported.clone();
        }
        for choice in list(&chunk["choices"]) {
            // The first that speaks is the answer.
            let index = choice["index"].as_u64().unwrap_or(0);
            if *candidate.get_or_insert(index) != index {
                continue;
            }
            let delta = &choice["delta"];
            reading.text += &said(&delta["content"]);
            reading.thinking += &thinking(delta);
            thoughts.extend(list(&delta["reasoning_details"]).cloned());
            reading.refusal += &text(&delta["refusal"]);
            if reading.finish_reason.is_empty() {
                reading.finish_reason = text(&choice["finish_reason"]);
            }
            list(&delta["tool_calls"]).for_each(|piece| take_call(piece, &mut calls));
        }
    }
    reading.opaque = details(merged(thoughts));
    reading.calls = calls
        .iter()
        .map(|call| (text(&call["id"]), text(&call["name"]), arguments(&text(&call["arguments"]))))
        .collect();
    reading
}

/// A piece of a call goes to the one of its index, unless it brings another id with a name or behind whole arguments:
/// that is another call.
fn take_call(piece: &Value, calls: &mut Vec<Value>) {
    let (id, function) = (text(&piece["id"]), &piece["function"]);
    let mine = |call: &&mut Value| {
        let same_id = id.is_empty() || call["id"] == "" || call["id"] == id.as_str();
        let goes_on = || text(&function["name"]).is_empty() && !arguments(&text(&call["arguments"])).is_object();
        call["index"] == piece["index"] && (same_id || goes_on())
    };
    let call = match calls.iter_mut().rev().find(mine) {
        Some(call) => call,
        None => {
            calls.push(json!({"index": piece["index"], "id": "", "name": "", "arguments": ""}));
            calls.last_mut().unwrap()
        }
    };
    for (field, said) in [("id", &id), ("name", &text(&function["name"]))] {
        if call[field] == "" {
            call[field] = json!(said);
        }
    }
    call["arguments"] = json!(text(&call["arguments"]) + &argument_text(&function["arguments"]));
}

fn usage(usage: &Value) -> Option<[u64; 5]> {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let (input, output) = (count("/prompt_tokens"), count("/completion_tokens"));
    let reasoning = count("/completion_tokens_details/reasoning_tokens").max(count("/reasoning_tokens"));
    // xAI counts thoughts beside its output.
    let beside = if count("/total_tokens") == input + output + reasoning { reasoning } else { 0 };
    let details = "/prompt_tokens_details";
    let cached = count(&format!("{details}/cached_tokens")).max(count("/prompt_cache_hit_tokens"));
    let cached = cached.max(count("/cached_tokens"));
    usage
        .is_object()
        .then(|| [input, cached, count(&format!("{details}/cache_write_tokens")), output + beside, reasoning])
}

#[test]
fn conformance_of_chat_reads_odd_shapes_of_answers() {
    let call = json!({"id": "c", "function": {"name": "f", "arguments": {"a": 1}}});
    let whole = whole_reading(&json!({"choices": [{"message": {"tool_calls": [call]}}]}));
    assert_eq!(whole.calls, [("c".to_owned(), "f".to_owned(), json!({"a": 1}))]);
    let said = |index: u64, text: &str| json!({"choices": [{"index": index, "delta": {"content": text}}]});
    assert_eq!(streamed_reading([said(1, "b"), said(0, "a"), said(1, "c")].into_iter()).text, "bc");
}

#[test]
fn conformance_of_chat_tells_thoughts_apart() {
    let thought = |id: Value, index: Value| json!({"type": "reasoning.text", "id": id, "index": index, "text": "a"});
    let count = |one: Value, other: Value| merged(vec![one, other]).len();
    assert_eq!(count(thought(json!(null), json!(0)), thought(json!("r"), json!(0))), 1);
    assert_eq!(count(thought(json!("q"), json!(0)), thought(json!("r"), json!(0))), 2);
    assert_eq!(count(thought(json!(null), json!(null)), thought(json!(null), json!(null))), 2);
}
