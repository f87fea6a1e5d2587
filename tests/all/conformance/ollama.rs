//! Ollama's own dialect against its traffic.

use std::collections::HashMap;
use std::sync::Arc;

use blitz::provider::Ollama;
use blitz::{Message, MessageRole, ModelRequest, OutputSchema, Part, Secret, ToolCall, ToolResult};
use serde_json::{Map, Value, json};

use super::player::{KEY, Suite, conform, conform_elsewhere, conform_to};
use super::reading::{Reading, arguments, function_tools, list, text, without_thought};
use super::recorded::Exchange;

#[tokio::test]
async fn ollama_agrees_with_its_recordings() {
    conform(suite("ollama".to_owned())).await;
}

#[tokio::test]
async fn conformance_of_ollama_in_the_other_recordings() {
    conform_elsewhere("ollama", &["ollama"], suite).await;
}

/// What the API takes and answers and no recording shows.
#[tokio::test]
async fn conformance_of_ollama_in_what_nobody_recorded() {
    let user = json!({"role": "user", "content": "?"});
    let call = |arguments: Value| json!({"id": "c", "function": {"name": "f", "arguments": arguments}});
    let history = json!([user, {"role": "assistant", "tool_calls": [call(json!({"a": 1}))], "thinking": ""},
        {"role": "tool", "tool_call_id": "c", "content": "1"}, {"role": "tool", "name": "g", "content": "2"}]);
    let done =
        |reason: &str, message: Value| json!({"model": "m", "message": message, "done": true, "done_reason": reason});
    let mut counted = done("stop", json!({"content": "hi"}));
    (counted["prompt_eval_count"], counted["eval_count"], counted["error"]) = (40.into(), 2.into(), Value::Null);
    let mut exchanges = Vec::new();
    for (request, answer) in [
        (json!({"model": "m", "messages": [user], "tools": null, "options": null}), counted.clone()),
        (json!({"model": "m", "messages": history, "stream": false, "think": "low"}), counted),
        (json!({"model": "m", "messages": [], "keep_alive": 0, "format": ""}), done("load", json!({"content": ""}))),
        (json!({"model": "m", "messages": [user]}), done("stop", json!({"tool_calls": [call(Value::Null)]}))),
        (json!({"model": "m", "messages": [user]}), done("stop", json!({"tool_calls": [call("{}".into())]}))),
    ] {
        let name = format!("made:ollama#{}", exchanges.len());
        exchanges.push(Exchange::made(name, "/api/chat", &request, "application/json", answer.to_string().as_bytes()));
    }
    conform_to(&suite("made".to_owned()), &exchanges).await;
}

pub fn suite(file: String) -> Suite {
    Suite {
        file,
        takes: |exchange| exchange.path.ends_with("/api/chat"),
        end: "/api/chat",
        provider: |_, base| Arc::new(Ollama::new(base, Some(Secret::new(KEY))).unwrap()),
        decode: |exchange| decode(&exchange.request),
        normalised,
        reading,
        key: ("authorization", "Bearer sk-canary-recorded"),
    }
}

pub fn decode(body: &Value) -> Option<ModelRequest> {
    let mut fields = named(body).as_object()?.clone();
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let messages = take("messages");
    let messages = list(&messages).enumerate().map(|(number, message)| self::message(message, number));
    let mut request = ModelRequest::new(take("model").as_str()?, messages.collect::<Option<Vec<_>>>()?);
    request.tools = function_tools(&take("tools")).into();
    request.settings.stream = Some(take("stream") != false);
    let format = take("format");
    let mut options = take("options").as_object().cloned().unwrap_or_default();
    request.settings.max_output_tokens = options.remove("num_predict").and_then(|cap| cap.as_u64());
    request.settings.temperature = options.remove("temperature").and_then(|number| number.as_f64());
    request.settings.top_p = options.remove("top_p").and_then(|number| number.as_f64());
    request.settings.seed = options.remove("seed").and_then(|number| number.as_i64());
    request.settings.stop = options.remove("stop").map(|stop| list(&stop).map(text).collect()).unwrap_or_default();
    if !options.is_empty() {
        fields.insert("options".to_owned(), options.into());
    }
    if format.is_string() {
        fields.insert("format".to_owned(), format.clone());
    }
    request.settings.extra = fields;
    Some(match format.is_object() {
        true => request.with_output_schema(OutputSchema::new("output", format)),
        false => request,
    })
}

fn message(message: &Value, number: usize) -> Option<Message> {
    let role = match message["role"].as_str()? {
        "system" => MessageRole::System,
        "assistant" => MessageRole::Assistant,
        "tool" => {
            let result = ToolResult::new(format!("r{number}"), text(&message["tool_name"]), message["content"].clone());
            return Some(Message::new(MessageRole::Tool, vec![Part::ToolResult(result)]));
        }
        _ => MessageRole::User,
    };
    let mut parts = Vec::new();
    if let Some(thought) = message["thinking"].as_str() {
        let provider = Some("ollama".to_owned());
        parts.push(Part::Thinking { text: thought.to_owned(), signature: None, provider, id: None });
    }
    parts.push(Part::text(text(&message["content"])));
    for image in list(&message["images"]) {
        parts.push(Part::Image { media_type: "image/png".to_owned(), data: text(image) });
    }
    for (place, call) in list(&message["tool_calls"]).enumerate() {
        let function = &call["function"];
        let arguments = match &function["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let call = ToolCall::new(format!("c{number}_{place}"), text(&function["name"]), arguments);
        parts.push(Part::ToolCall(call));
    }
    Some(Message::new(role, parts))
}

/// The name of the tool in each result: some say `name`, others only the id of the call.
fn named(body: &Value) -> Value {
    let (mut body, mut names) = (body.clone(), HashMap::new());
    for message in body.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten() {
        for call in list(&message["tool_calls"]) {
            names.insert(text(&call["id"]), call["function"]["name"].clone());
        }
        let Some(fields) = message.as_object_mut().filter(|fields| fields.get("role").is_some_and(|is| is == "tool"))
        else {
            continue;
        };
        let (id, name) = (fields.remove("tool_call_id"), fields.remove("name"));
        let of_call = id.and_then(|id| names.get(id.as_str()?).cloned());
        if let Some(name) = name.or(of_call).filter(Value::is_string) {
            fields.entry("tool_name").or_insert(name);
        }
    }
    body
}

/// Fields that say nothing, and what is so without them; ids of calls, which the API does not need.
fn normalised(body: &Value) -> Value {
    let mut body = named(body);
    let says_nothing = |value: &Value| value.is_null() || *value == json!({}) || *value == json!([]);
    for message in body.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(fields) = message.as_object_mut() else { continue };
        fields.retain(|name, value| !(says_nothing(value) || name == "thinking" && value == ""));
        fields.entry("content").or_insert_with(|| "".into());
        for call in fields.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            let arguments = match &call["function"]["arguments"] {
                Value::String(text) => arguments(text),
                Value::Null => json!({}),
                other => other.clone(),
            };
            *call = json!({"name": call["function"]["name"], "arguments": arguments});
        }
    }
    for tool in body.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) {
            function.retain(|name, value| name != "description" || !(value.is_null() || value == ""));
        }
    }
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|name, value| !says_nothing(value) || name == "messages");
        fields.entry("stream").or_insert(true.into());
    }
    body
}

pub fn reading(exchange: &Exchange) -> Reading {
    let body = exchange.text();
    let lines = body.lines().filter(|line| !line.trim().is_empty());
    let before = list(&exchange.request["messages"]).flat_map(|message| list(&message["tool_calls"])).count();
    let mut reading = Reading::default();
    for line in lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let message = &line["message"];
        reading.text += &text(&message["content"]);
        reading.thinking += &text(&message["thinking"]);
        for call in list(&message["tool_calls"]) {
            let id =
                call["id"].as_str().map_or_else(|| format!("call_{}", before + reading.calls.len()), str::to_owned);
            let given = match &call["function"]["arguments"] {
                Value::String(text) => arguments(text),
                Value::Null => "".into(),
                other => other.clone(),
            };
            reading.calls.push((id, text(&call["function"]["name"]), given));
        }
        if let Some(model) = line["model"].as_str().filter(|model| !model.is_empty()) {
            model.clone_into(&mut reading.model);
        }
        if line["done"] == true {
            reading.finish_reason = match text(&line["done_reason"]).as_str() {
                "" => "stop",
                said @ ("stop" | "length") => said,
                _ => "other",
            }
            .to_owned();
            let count = |name: &str| line[name].as_u64().unwrap_or(0);
            let counts = ["prompt_eval_count", "eval_count"].iter().any(|name| line[name].is_u64());
            reading.usage = counts.then(|| [count("prompt_eval_count"), 0, 0, count("eval_count"), 0]);
            const OTHERS: &[&str] = &["model", "created_at", "message", "done", "done_reason", "error"];
            let counts = line.as_object().into_iter().flatten().filter(|(name, _)| !OTHERS.contains(&name.as_str()));
            reading.raw_usage = counts.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into();
        }
    }
    if reading.finish_reason == "stop" && !reading.calls.is_empty() {
        reading.finish_reason = "tool_calls".to_owned();
    }
    if reading.thinking.is_empty() {
        without_thought(&mut reading);
    }
    reading
}
