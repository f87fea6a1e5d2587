//! Cohere's chat API against its traffic.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use blitz::provider::Cohere;
use blitz::{Message, MessageRole, ModelRequest, OutputSchema, Part, Secret, ToolCall, ToolChoice, ToolResult};
use serde_json::{Value, json};

use super::player::{KEY, Suite, conform, conform_elsewhere, conform_to};
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

/// What the reference of the API names and no recording shows.
#[tokio::test]
async fn conformance_of_cohere_in_what_nobody_recorded() {
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    let user = json!({"role": "user", "content": "?"});
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let history = json!([user, {"role": "assistant", "tool_calls": [call], "content": null},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}]},
        {"role": "assistant", "content": text("It is."), "citations": [{"start": 0, "end": 2}]}, user]);
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let asked = |fields: Value| {
        let mut request = json!({"model": "command-a", "messages": [user]});
        request.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
        request
    };
    let usage = json!({"tokens": {"input_tokens": 40, "output_tokens": 2}});
    let answer =
        |reason: &str| json!({"id": "r", "finish_reason": reason, "message": {"content": text("{}")}, "usage": usage});
    let mut exchanges = Vec::new();
    for (request, answer) in [
        (asked(json!({"response_format": {"type": "json_object"}, "stream": false})), answer("COMPLETE")),
        (asked(json!({"response_format": {"type": "text"}, "temperature": 0, "tools": []})), answer("STOP_SEQUENCE")),
        (asked(json!({"messages": history, "tools": [tool], "thinking": {"type": "disabled"}})), answer("ERROR_TOXIC")),
        (asked(json!({"stop_sequences": null})), json!({"id": "r", "finish_reason": "TIMEOUT", "message": {}})),
    ] {
        let name = format!("made:cohere#{}", exchanges.len());
        exchanges.push(Exchange::made(name, "/v2/chat", &request, "application/json", answer.to_string().as_bytes()));
    }
    let events = [
        json!({"type": "message-start", "id": "r"}),
        json!({"type": "debug"}),
        json!({"type": "content-delta", "index": 1, "delta": {"message": {"content": {"text": "hi"}}}}),
        json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}),
    ];
    let body = events.map(|event| format!("data: {event}\n\n")).concat();
    let streamed = asked(json!({"stream": true}));
    exchanges.push(Exchange::made("made:cohere#s", "/v2/chat", &streamed, "text/event-stream", body.as_bytes()));
    conform_to(&suite("made".to_owned()), &exchanges).await;
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
    let schema = fields.get("response_format").and_then(|format| format.get("json_schema")).cloned();
    if schema.is_some() {
        fields.remove("response_format");
    }
    request.settings.extra = fields;
    Some(match schema {
        Some(schema) => request.with_output_schema(OutputSchema::new("output", schema)),
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
                other => list(other).map(|part| part["text"].as_str()).collect::<Option<String>>()?,
            };
            let name = names.get(&id).cloned().unwrap_or_default();
            let result = ToolResult::new(id, name, said.into());
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
        other => {
            for part in list(other) {
                parts.push(match part["type"].as_str() {
                    Some("thinking") => thought(text(&part["thinking"]), None),
                    Some("image_url") => {
                        Part::Image { media_type: "image/*".to_owned(), data: text(&part["image_url"]["url"]) }
                    }
                    _ => Part::text(part["text"].as_str()?),
                });
            }
        }
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

/// Fields that say nothing; content as a list, and what a tool said as one text; citations, which stay here.
fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    let says_nothing = |value: &Value| value.is_null() || *value == json!([]);
    for message in body.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(fields) = message.as_object_mut() else { continue };
        fields.retain(|name, value| !says_nothing(value) && name != "citations");
        let content = match fields.get("content") {
            Some(Value::String(said)) => json!([{"type": "text", "text": said}]),
            Some(parts) if fields.get("role").is_some_and(|role| role == "tool") => {
                let said = list(parts).map(|part| part["text"].as_str()).collect::<Option<String>>();
                said.map_or(parts.clone(), |said| json!([{"type": "text", "text": said}]))
            }
            other => other.cloned().unwrap_or_default(),
        };
        if !content.is_null() {
            fields.insert("content".to_owned(), content);
        }
        for call in fields.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(said) = call.pointer_mut("/function/arguments") {
                *said = arguments(&text(said));
            }
        }
    }
    for tool in body.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) {
            function.retain(|name, value| name != "description" || !(value.is_null() || value == ""));
        }
    }
    let said = |name: &String, value: &mut Value| !(says_nothing(value) || name == "stream" && *value == false);
    body.as_object_mut().into_iter().for_each(|fields| fields.retain(said));
    body
}

/// A whole message, put together from the events of a stream first.
fn reading(exchange: &Exchange) -> Reading {
    let answer = if exchange.streams() { put_together(&exchange.events()) } else { exchange.json() };
    let (message, usage) = (&answer["message"], &answer["usage"]);
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let tokens = |side: &str| {
        let found = ["billed_units", "tokens"].map(|kind| usage.pointer(&format!("/{kind}/{side}_tokens")));
        found.into_iter().flatten().find_map(Value::as_u64)
    };
    let (input, output) = (tokens("input"), tokens("output"));
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
        usage: input.or(output).map(|_| {
            let output = output.unwrap_or(0);
            [input.unwrap_or(0), 0, 0, output, count("/tokens/reasoning_tokens").min(output)]
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
    let (mut answer, mut plan) = (json!({}), String::new());
    let (mut content, mut calls) = (BTreeMap::<u64, Value>::new(), BTreeMap::<u64, Value>::new());
    let mut citations = Vec::new();
    let grow = |whole: &mut Value, piece: &Value| *whole = json!(text(whole) + &text(piece));
    for event in events {
        let said = &event["delta"]["message"];
        let index = event["index"].as_u64().unwrap_or(0);
        match event["type"].as_str().unwrap_or_default() {
            "message-start" => answer["id"] = event["id"].clone(),
            "content-start" | "content-delta" => {
                let part = content.entry(index).or_insert_with(|| json!({}));
                for field in ["text", "thinking"] {
                    if said["content"][field].is_string() {
                        grow(&mut part[field], &said["content"][field]);
                    }
                }
            }
            "tool-plan-delta" => plan += &text(&said["tool_plan"]),
            "tool-call-start" => drop(calls.insert(index, said["tool_calls"].clone())),
            "tool-call-delta" => {
                if let Some(call) = calls.get_mut(&index) {
                    grow(&mut call["function"]["arguments"], &said["tool_calls"]["function"]["arguments"]);
                }
            }
            "citation-start" => citations.push(said["citations"].clone()),
            "message-end" => {
                answer["finish_reason"] = event["delta"]["finish_reason"].clone();
                answer["usage"] = event["delta"]["usage"].clone();
            }
            _ => {}
        }
    }
    let (content, calls): (Vec<_>, Vec<_>) = (content.into_values().collect(), calls.into_values().collect());
    answer["message"] = json!({"tool_plan": plan, "content": content, "tool_calls": calls, "citations": citations});
    answer
}
