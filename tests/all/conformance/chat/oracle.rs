//! A plain reading of a recorded answer, by JSON paths only.

use serde_json::{Map, Value, json};

use crate::conformance::reading::{Reading, arguments, list, text};
use crate::conformance::recorded::Exchange;

/// What the recorded body of an answer says.
pub fn recorded(exchange: &Exchange) -> Reading {
    if exchange.streams() { streamed_reading(exchange.events().into_iter()) } else { whole_reading(&exchange.json()) }
}

/// Where a server puts its thoughts.
fn thinking(said: &Value) -> String {
    let names = ["reasoning_content", "reasoning"];
    names.iter().map(|name| text(&said[*name])).find(|text| !text.is_empty()).unwrap_or_default()
}

/// Thoughts in the form of OpenRouter, pieces of one put together.
fn details<'a>(pieces: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut whole: Vec<Value> = Vec::new();
    for piece in pieces {
        let same = |other: &&mut Value| other["index"] == piece["index"] && other["type"] == piece["type"];
        let Some(open) = whole.iter_mut().find(same) else {
            whole.push(piece.clone());
            continue;
        };
        for (name, value) in piece.as_object().unwrap().iter().filter(|(_, value)| !value.is_null()) {
            let grows = ["text", "summary", "data"].contains(&name.as_str()) && open[name].is_string();
            open[name] = if grows { json!(text(&open[name]) + &text(value)) } else { value.clone() };
        }
    }
    if whole.is_empty() { Vec::new() } else { vec![json!({"reasoning_details": whole})] }
}

fn whole_reading(body: &Value) -> Reading {
    let choice = body["choices"].as_array().unwrap().iter().find(|choice| choice["index"] == 0).unwrap();
    let message = &choice["message"];
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    Reading {
        text: text(&message["content"]),
        thinking: thinking(message),
        opaque: details(list(&message["reasoning_details"])),
        refusal: text(&message["refusal"]),
        calls: calls
            .map(|call| {
                (text(&call["id"]), text(&call["function"]["name"]), arguments(&text(&call["function"]["arguments"])))
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
    let (mut calls, mut thoughts): (Map<String, Value>, Vec<Value>) = (Map::new(), Vec::new());
    for chunk in chunks {
        reading.model = text(&chunk["model"]);
        reading.id = text(&chunk["id"]);
        if chunk["usage"].is_object() {
            reading.usage = usage(&chunk["usage"]);
            reading.raw_usage = chunk["usage"].clone();
        }
        for choice in chunk["choices"].as_array().unwrap().iter().filter(|choice| choice["index"] == 0) {
            let delta = &choice["delta"];
            reading.text += &text(&delta["content"]);
            reading.thinking += &thinking(delta);
            thoughts.extend(list(&delta["reasoning_details"]).cloned());
            reading.refusal += &text(&delta["refusal"]);
            if reading.finish_reason.is_empty() {
                reading.finish_reason = text(&choice["finish_reason"]);
            }
            for piece in delta["tool_calls"].as_array().into_iter().flatten() {
                let call =
                    calls.entry(piece["index"].to_string()).or_insert(json!({"id": "", "name": "", "arguments": ""}));
                for (field, value) in [
                    ("id", &piece["id"]),
                    ("name", &piece["function"]["name"]),
                    ("arguments", &piece["function"]["arguments"]),
                ] {
                    call[field] = json!(text(&call[field]) + &text(value));
                }
            }
        }
    }
    reading.opaque = details(thoughts.iter());
    reading.calls = calls
        .values()
        .map(|call| (text(&call["id"]), text(&call["name"]), arguments(&text(&call["arguments"]))))
        .collect();
    reading
}

fn usage(usage: &Value) -> Option<[u64; 5]> {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    usage.is_object().then(|| {
        [
            count("/prompt_tokens"),
            count("/prompt_tokens_details/cached_tokens"),
            count("/prompt_tokens_details/cache_write_tokens"),
            count("/completion_tokens"),
            count("/completion_tokens_details/reasoning_tokens"),
        ]
    })
}
