//! A plain reading of a recorded answer, by JSON paths only.

use blitz::{ErrorCode, FinishReason, ModelResponse, Part};
use serde_json::{Map, Value, json};

/// What an answer says, in a form that both readings can be brought to.
#[derive(Debug, Default, PartialEq)]
pub struct Reading {
    pub text: String,
    pub thinking: String,
    pub refusal: String,
    /// Id, name and arguments as JSON; arguments that are not JSON stay text.
    pub calls: Vec<(String, String, Value)>,
    pub finish_reason: String,
    /// Input, cached, output and reasoning tokens.
    pub usage: Option<[u64; 4]>,
    pub raw_usage: Value,
    pub model: String,
    pub id: String,
}

/// What the recorded body of an answer says.
pub fn recorded(body: &str, streamed: bool) -> Reading {
    if streamed {
        let chunks = body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        streamed_reading(chunks.map(|data| serde_json::from_str(data).unwrap()))
    } else {
        whole_reading(&serde_json::from_str(body).unwrap())
    }
}

fn whole_reading(body: &Value) -> Reading {
    let choice = body["choices"].as_array().unwrap().iter().find(|choice| choice["index"] == 0).unwrap();
    let message = &choice["message"];
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    Reading {
        text: text(&message["content"]),
        thinking: text(&message["reasoning_content"]),
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
    }
}

fn streamed_reading(chunks: impl Iterator<Item = Value>) -> Reading {
    let mut reading = Reading::default();
    let mut calls: Map<String, Value> = Map::new();
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
            reading.thinking += &text(&delta["reasoning_content"]);
            reading.refusal += &text(&delta["refusal"]);
            reading.finish_reason += &text(&choice["finish_reason"]);
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
    reading.calls = calls
        .values()
        .map(|call| (text(&call["id"]), text(&call["name"]), arguments(&text(&call["arguments"]))))
        .collect();
    reading
}

/// What the provider under test made of the answer.
pub fn provided(response: &ModelResponse) -> Reading {
    let mut reading = Reading {
        finish_reason: match response.finish_reason {
            FinishReason::Stop => "stop",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::Length => "length",
            FinishReason::ContentFilter => "content_filter",
            FinishReason::Other => "other",
        }
        .to_owned(),
        usage: response
            .usage
            .map(|usage| [usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.reasoning_tokens]),
        raw_usage: response.raw_usage.clone(),
        model: response.model_name.clone(),
        id: response.response_id.clone().unwrap_or_default(),
        ..Reading::default()
    };
    for part in &response.message.parts {
        match part {
            Part::Text { text } => reading.text += text,
            Part::Thinking { text, .. } => reading.thinking += text,
            Part::Refusal { text } => reading.refusal += text,
            Part::ToolCall(call) => {
                let id = call.provider_id.as_ref().unwrap_or(&call.id).clone();
                reading.calls.push((id, call.name.clone(), arguments(&call.arguments)));
            }
            other => panic!("an answer holds {other:?}"),
        }
    }
    reading
}

/// The code that a recorded error means.
pub fn error_code(status: u16, body: &str) -> ErrorCode {
    let error = serde_json::from_str::<Value>(body).unwrap()["error"].clone();
    let overflow = error["code"] == "context_length_exceeded" || error["type"] == "exceed_context_size_error";
    match status {
        400 if overflow => ErrorCode::ContextOverflow,
        400 => ErrorCode::InvalidInput,
        401 | 403 => ErrorCode::ProviderAuth,
        404 => ErrorCode::NotFound,
        429 => ErrorCode::RateLimited,
        500.. => ErrorCode::Unavailable,
        other => panic!("no rule for status {other}"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn arguments(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn usage(usage: &Value) -> Option<[u64; 4]> {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    usage.is_object().then(|| {
        [
            count("/prompt_tokens"),
            count("/prompt_tokens_details/cached_tokens"),
            count("/completion_tokens"),
            count("/completion_tokens_details/reasoning_tokens"),
        ]
    })
}
