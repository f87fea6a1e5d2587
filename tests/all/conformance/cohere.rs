//! Cohere's chat API against its traffic.

use std::collections::HashMap;
use std::sync::Arc;

use blitz::provider::Cohere;
use blitz::{Message, MessageRole, ModelRequest, OutputSchema, Part, Secret, ToolCall, ToolChoice, ToolResult};
use serde_json::{Value, json};

use super::player::{KEY, Suite, conform, conform_elsewhere};
use super::reading::{Reading, arguments, function_tools, list, text};
use super::recorded::Exchange;

#[tokio::test]
async fn cohere_agrees_with_its_recordings() {
    conform(suite("cohere".to_owned())).await;
}

#[tokio::test]
async fn conformance_of_cohere_in_the_other_recordings() {
    conform_elsewhere("cohere", &["cohere"], suite).await;
}

fn suite(file: String) -> Suite {
    Suite {
        file,
        takes: |exchange| exchange.path.ends_with("/v2/chat"),
        end: "/v2/chat",
        provider: |_, base| Arc::new(Cohere::new(base, Some(Secret::new(KEY))).unwrap()),
        decode: |exchange| decode(&exchange.request),
        normalised,
        reading,
        key: ("authorization", "Bearer sk-canary-recorded"),
    }
}

fn decode(body: &Value) -> Option<ModelRequest> {
    let mut fields = body.as_object()?.clone();
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let mut names = HashMap::new();
    let messages = take("messages");
    let messages = list(&messages).map(|message| self::message(message, &mut names)).collect::<Option<Vec<_>>>()?;
    let mut request = ModelRequest::new(take("model").as_str()?, messages);
    request.tools = function_tools(&take("tools")).into();
    request.tool_choice = match take("tool_choice").as_str() {
        Some("REQUIRED") => ToolChoice::Required,
        Some("NONE") => ToolChoice::None,
        _ => ToolChoice::Auto,
    };
    let settings = &mut request.settings;
    settings.max_output_tokens = take("max_tokens").as_u64();
    settings.temperature = take("temperature").as_f64();
    settings.top_p = take("p").as_f64();
    settings.seed = take("seed").as_i64();
    settings.stop = list(&take("stop_sequences")).map(text).collect();
    settings.stream = Some(take("stream") == true);
    let format = take("response_format");
    settings.extra = fields;
    Some(match format.get("json_schema") {
        Some(schema) => request.with_output_schema(OutputSchema::new("output", schema.clone())),
        None => request,
    })
}

fn message(message: &Value, names: &mut HashMap<String, String>) -> Option<Message> {
    let role = match message["role"].as_str()? {
        "system" => MessageRole::System,
        "assistant" => MessageRole::Assistant,
        "tool" => {
            let id = text(&message["tool_call_id"]);
            let said: String = match &message["content"] {
                Value::String(said) => said.clone(),
                other => list(other).map(|part| text(&part["text"])).collect(),
            };
            let result = ToolResult::new(&id, names.get(&id)?, said.into());
            return Some(Message::new(MessageRole::Tool, vec![Part::ToolResult(result)]));
        }
        _ => MessageRole::User,
    };
    let thought = |text: String, id: Option<&str>| Part::Thinking {
        text,
        signature: None,
        provider: Some("cohere".to_owned()),
        id: id.map(str::to_owned),
    };
    let mut parts = Vec::new();
    if let Some(plan) = message["tool_plan"].as_str() {
        parts.push(thought(plan.to_owned(), Some("tool_plan")));
    }
    match &message["content"] {
        Value::String(said) => parts.push(Part::text(said)),
        other => parts.extend(list(other).map(|part| match part["type"].as_str() {
            Some("thinking") => thought(text(&part["thinking"]), None),
            Some("image_url") => {
                Part::Image { media_type: "image/*".to_owned(), data: text(&part["image_url"]["url"]) }
            }
            _ => Part::text(text(&part["text"])),
        })),
    }
    for call in list(&message["tool_calls"]) {
        let function = &call["function"];
        names.insert(text(&call["id"]), text(&function["name"]));
        parts.push(Part::ToolCall(ToolCall::new(
            text(&call["id"]),
            text(&function["name"]),
            text(&function["arguments"]),
        )));
    }
    Some(Message::new(role, parts))
}

/// Fields of a message that are null or empty; content as a list.
fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    for message in body["messages"].as_array_mut().unwrap() {
        if let Some(said) = message["content"].as_str() {
            message["content"] = json!([{"type": "text", "text": said}]);
        }
        message.as_object_mut().unwrap().retain(|_, value| !value.is_null() && *value != json!([]));
        for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            call["function"]["arguments"] = arguments(call["function"]["arguments"].as_str().unwrap());
        }
    }
    body
}

/// A whole message, put together from the events of a stream first.
fn reading(exchange: &Exchange) -> Reading {
    let answer = if exchange.streams() { put_together(&exchange.events()) } else { exchange.json() };
    let (message, usage) = (&answer["message"], &answer["usage"]);
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let output = count("/billed_units/output_tokens");
    let content = list(&message["content"]);
    let mut reading = Reading {
        text: content.clone().map(|part| text(&part["text"])).collect(),
        thinking: text(&message["tool_plan"]) + &content.map(|part| text(&part["thinking"])).collect::<String>(),
        finish_reason: match text(&answer["finish_reason"]).as_str() {
            "COMPLETE" | "STOP_SEQUENCE" => "stop",
            "TOOL_CALL" => "tool_calls",
            "MAX_TOKENS" => "length",
            "ERROR_TOXIC" => "content_filter",
            _ => "other",
        }
        .to_owned(),
        usage: usage.is_object().then(|| {
            let input = count("/billed_units/input_tokens");
            [input, 0, 0, output, count("/tokens/reasoning_tokens").min(output)]
        }),
        raw_usage: usage.clone(),
        id: text(&answer["id"]),
        ..Reading::default()
    };
    for call in list(&message["tool_calls"]) {
        let function = &call["function"];
        reading.calls.push((text(&call["id"]), text(&function["name"]), arguments(&text(&function["arguments"]))));
    }
    if list(&message["citations"]).next().is_some() {
        reading.opaque.push(json!({"citations": message["citations"]}));
    }
    reading
}

fn put_together(events: &[Value]) -> Value {
    let mut answer = json!({"message": {"tool_plan": "", "content": [], "tool_calls": [], "citations": []}});
    let grow = |whole: &mut Value, piece: &Value| *whole = json!(text(whole) + &text(piece));
    for event in events {
        let said = &event["delta"]["message"];
        let index = event["index"].as_u64().unwrap_or(0) as usize;
        let whole = &mut answer["message"];
        match event["type"].as_str().unwrap() {
            "message-start" => answer["id"] = event["id"].clone(),
            "content-start" => whole["content"].as_array_mut().unwrap().push(said["content"].clone()),
            "content-delta" => {
                for field in ["text", "thinking"] {
                    if said["content"][field].is_string() {
                        grow(&mut whole["content"][index][field], &said["content"][field]);
                    }
                }
            }
            "tool-plan-delta" => grow(&mut whole["tool_plan"], &said["tool_plan"]),
            "tool-call-start" => whole["tool_calls"].as_array_mut().unwrap().push(said["tool_calls"].clone()),
            "tool-call-delta" => {
                let piece = &said["tool_calls"]["function"]["arguments"];
                grow(&mut whole["tool_calls"][index]["function"]["arguments"], piece);
            }
            "citation-start" => whole["citations"].as_array_mut().unwrap().push(said["citations"].clone()),
            "message-end" => {
                answer["finish_reason"] = event["delta"]["finish_reason"].clone();
                answer["usage"] = event["delta"]["usage"].clone();
            }
            _ => {}
        }
    }
    answer
}
