//! Ollama's own dialect against its traffic.

use std::sync::Arc;

use blitz::provider::Ollama;
use blitz::{Message, MessageRole, ModelRequest, OutputSchema, Part, Secret, ToolCall, ToolResult};
use serde_json::{Map, Value, json};

use super::player::{KEY, Suite, conform, conform_elsewhere};
use super::reading::{Reading, function_tools, list, text, without_thought};
use super::recorded::Exchange;

#[tokio::test]
async fn ollama_agrees_with_its_recordings() {
    conform(suite("ollama".to_owned())).await;
}

#[tokio::test]
async fn conformance_of_ollama_in_the_other_recordings() {
    conform_elsewhere("ollama", &["ollama"], suite).await;
}

fn suite(file: String) -> Suite {
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

fn decode(body: &Value) -> Option<ModelRequest> {
    let mut fields = body.as_object()?.clone();
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
        let call =
            ToolCall::new(format!("c{number}_{place}"), text(&function["name"]), function["arguments"].to_string());
        parts.push(Part::ToolCall(call));
    }
    Some(Message::new(role, parts))
}

/// Empty options; ids of calls, which the API does not know.
fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    let fields = body.as_object_mut().unwrap();
    fields.retain(|name, value| name != "options" || *value != json!({}));
    for message in fields["messages"].as_array_mut().unwrap() {
        for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            *call = json!({"name": call["function"]["name"], "arguments": call["function"]["arguments"]});
        }
    }
    body
}

fn reading(exchange: &Exchange) -> Reading {
    let body = exchange.text();
    let lines = body.lines().filter(|line| !line.trim().is_empty());
    let before = list(&exchange.request["messages"]).flat_map(|message| list(&message["tool_calls"])).count();
    let mut reading = Reading::default();
    for line in lines.map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let message = &line["message"];
        reading.text += &text(&message["content"]);
        reading.thinking += &text(&message["thinking"]);
        for call in list(&message["tool_calls"]) {
            let id =
                call["id"].as_str().map_or_else(|| format!("call_{}", before + reading.calls.len()), str::to_owned);
            reading.calls.push((id, text(&call["function"]["name"]), call["function"]["arguments"].clone()));
        }
        reading.model = text(&line["model"]);
        if line["done"] == true {
            reading.finish_reason = match text(&line["done_reason"]).as_str() {
                "" => "stop",
                said @ ("stop" | "length") => said,
                _ => "other",
            }
            .to_owned();
            let count = |name: &str| line[name].as_u64().unwrap_or(0);
            reading.usage = Some([count("prompt_eval_count"), 0, 0, count("eval_count"), 0]);
            const OTHERS: &[&str] = &["model", "created_at", "message", "done", "done_reason"];
            let counts = line.as_object().unwrap().iter().filter(|(name, _)| !OTHERS.contains(&name.as_str()));
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
