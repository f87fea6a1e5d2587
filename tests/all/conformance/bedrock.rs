//! Amazon Bedrock Converse against its traffic, where the feature is on.

use std::collections::HashMap;
use std::sync::Arc;

use blitz::provider::{AwsCredentials, Bedrock};
use blitz::{Message, MessageRole, ModelRequest, Part, Secret, ToolCall, ToolChoice, ToolResult, ToolSpec};
use serde_json::{Value, json};

use super::player::{KEY, Suite, conform, conform_elsewhere};
use super::reading::{Reading, arguments, list, text};
use super::recorded::Exchange;

#[tokio::test]
async fn bedrock_agrees_with_its_recordings() {
    conform(with_key("bedrock".to_owned())).await;
}

#[tokio::test]
async fn conformance_of_bedrock_in_the_other_recordings() {
    conform_elsewhere("bedrock", &["bedrock"], with_key).await;
}

fn with_key(file: String) -> Suite {
    suite(
        file,
        |_, base| {
            let model = Bedrock::with_api_key("us-east-1", Secret::new(KEY)).unwrap();
            Arc::new(model.with_base_url(base).unwrap())
        },
        ("authorization", "Bearer sk-canary-recorded"),
    )
}

#[tokio::test]
async fn bedrock_signed_agrees_with_its_recordings() {
    conform(suite(
        "bedrock".to_owned(),
        |_, base| {
            let credentials = AwsCredentials::new("AKIDEXAMPLE", Secret::new(KEY)).with_session_token(Secret::new("t"));
            Arc::new(Bedrock::new("us-east-1", credentials).unwrap().with_base_url(base).unwrap())
        },
        ("x-amz-security-token", "t"),
    ))
    .await;
}

fn suite(
    file: String,
    provider: fn(&str, &str) -> Arc<dyn blitz::provider::Provider>,
    key: (&'static str, &'static str),
) -> Suite {
    Suite {
        file,
        end: "",
        takes: |exchange| exchange.path.contains("/converse"),
        provider,
        decode,
        normalised,
        reading,
        key,
    }
}

fn decode(exchange: &Exchange) -> Option<ModelRequest> {
    let mut fields = exchange.request.as_object()?.clone();
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let mut messages = Vec::new();
    let system: Vec<_> = list(&take("system")).map(|block| Part::text(text(&block["text"]))).collect();
    if !system.is_empty() {
        messages.push(Message::new(MessageRole::System, system));
    }
    let mut names = HashMap::new();
    for message in list(&take("messages")) {
        let role = if message["role"] == "assistant" { MessageRole::Assistant } else { MessageRole::User };
        let parts = list(&message["content"]).map(|block| part(block, &mut names)).collect::<Option<_>>()?;
        messages.push(Message::new(role, parts));
    }
    let name = exchange.path.split('/').nth(2)?.replace("%3A", ":");
    let mut request = ModelRequest::new(name, messages);
    let tools = take("toolConfig");
    let specs = list(&tools["tools"]).map(|tool| {
        let spec = &tool["toolSpec"];
        ToolSpec::new(text(&spec["name"]), text(&spec["description"]), spec["inputSchema"]["json"].clone())
    });
    request.tools = specs.collect::<Vec<_>>().into();
    let choice = &tools["toolChoice"];
    request.tool_choice = match choice.get("any") {
        Some(_) => ToolChoice::Required,
        None if choice.get("tool").is_some() => ToolChoice::Tool(text(&choice["tool"]["name"])),
        None => ToolChoice::Auto,
    };
    let config = take("inferenceConfig");
    let settings = &mut request.settings;
    settings.max_output_tokens = config["maxTokens"].as_u64();
    settings.temperature = config["temperature"].as_f64();
    settings.top_p = config["topP"].as_f64();
    settings.stop = list(&config["stopSequences"]).map(text).collect();
    settings.stream = Some(exchange.path.ends_with("-stream"));
    settings.extra = fields;
    Some(request)
}

fn part(block: &Value, names: &mut HashMap<String, String>) -> Option<Part> {
    let (kind, inner) = block.as_object()?.iter().next()?;
    Some(match kind.as_str() {
        "text" => Part::text(text(inner)),
        "document" => Part::File {
            media_type: if inner["format"] == "txt" { "text/plain" } else { "application/pdf" }.to_owned(),
            data: text(&inner["source"]["bytes"]),
            name: Some(text(&inner["name"])),
        },
        "image" => Part::Image {
            media_type: format!("image/{}", inner["format"].as_str()?),
            data: text(&inner["source"]["bytes"]),
        },
        "toolUse" => {
            names.insert(text(&inner["toolUseId"]), text(&inner["name"]));
            Part::ToolCall(ToolCall::new(text(&inner["toolUseId"]), text(&inner["name"]), inner["input"].to_string()))
        }
        "toolResult" => {
            let id = text(&inner["toolUseId"]);
            let content = &inner["content"][0];
            let said = content.get("json").or(content.get("text"))?.clone();
            let mut result = ToolResult::new(&id, names.get(&id)?, said);
            result.is_error = inner["status"] == "error";
            Part::ToolResult(result)
        }
        "cachePoint" => Part::CachePoint { ttl: None },
        "reasoningContent" if inner.get("reasoningText").is_some() => Part::Thinking {
            text: text(&inner["reasoningText"]["text"]),
            signature: inner["reasoningText"]["signature"].as_str().map(str::to_owned),
            provider: Some("bedrock".to_owned()),
            id: None,
        },
        _ => Part::Opaque { provider: "bedrock".to_owned(), data: block.clone() },
    })
}

/// Settings that say nothing; turns of one role as one.
fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    let mut turns: Vec<(Value, Vec<Value>)> = Vec::new();
    for message in list(&body["messages"]) {
        let blocks = list(&message["content"]).cloned();
        match turns.last_mut() {
            Some((role, all)) if *role == message["role"] => all.extend(blocks),
            _ => turns.push((message["role"].clone(), blocks.collect())),
        }
    }
    body["messages"] = turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    body.as_object_mut().unwrap().retain(|name, value| name != "inferenceConfig" || *value != json!({}));
    body
}

/// Reads frames by their lengths alone, and takes the type from the text of the headers.
fn frames(mut bytes: &[u8]) -> Vec<(String, Value)> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let (whole, headers) = (number(bytes), number(&bytes[4..]));
        let head = String::from_utf8_lossy(&bytes[12..12 + headers]).into_owned();
        let kinds = ["messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata"];
        let kind = kinds.iter().find(|kind| head.contains(**kind)).copied().unwrap_or_default();
        events.push((kind.to_owned(), serde_json::from_slice(&bytes[12 + headers..whole - 4]).unwrap()));
        bytes = &bytes[whole..];
    }
    events
}

fn reading(exchange: &Exchange) -> Reading {
    let mut answer = if exchange.streams() { json!({}) } else { exchange.json() };
    let mut blocks: Vec<Value> = list(&answer["output"]["message"]["content"]).cloned().collect();
    if exchange.streams() {
        let mut open: std::collections::BTreeMap<u64, Value> = Default::default();
        for (kind, event) in frames(&exchange.body) {
            let index = event["contentBlockIndex"].as_u64().unwrap_or(0);
            match kind.as_str() {
                "contentBlockStart" => {
                    let mut start = event["start"].clone();
                    start["toolUse"]["input"] = "".into();
                    open.insert(index, start);
                }
                "contentBlockDelta" => {
                    let delta = &event["delta"];
                    let block = open.entry(index).or_insert_with(|| json!({}));
                    let grow = |whole: &mut Value, piece: &Value| *whole = json!(text(whole) + &text(piece));
                    if delta["text"].is_string() {
                        grow(&mut block["text"], &delta["text"]);
                    }
                    if delta["toolUse"].is_object() {
                        grow(&mut block["toolUse"]["input"], &delta["toolUse"]["input"]);
                    }
                    for field in ["text", "signature"] {
                        if delta["reasoningContent"][field].is_string() {
                            let piece = &delta["reasoningContent"][field];
                            grow(&mut block["reasoningContent"]["reasoningText"][field], piece);
                        }
                    }
                }
                "messageStop" => answer["stopReason"] = event["stopReason"].clone(),
                "metadata" => answer["usage"] = event["usage"].clone(),
                _ => {}
            }
        }
        blocks = open.into_values().collect();
    }
    let usage = &answer["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    let (read, write) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
    let mut reading = Reading {
        finish_reason: match answer["stopReason"].as_str().unwrap() {
            "end_turn" | "stop_sequence" => "stop",
            "tool_use" => "tool_calls",
            "max_tokens" => "length",
            _ => "other",
        }
        .to_owned(),
        usage: Some([count("inputTokens") + read + write, read, write, count("outputTokens"), 0]),
        raw_usage: usage.clone(),
        ..Reading::default()
    };
    for block in &blocks {
        reading.text += &text(&block["text"]);
        let thought = &block["reasoningContent"]["reasoningText"];
        reading.thinking += &text(&thought["text"]);
        reading.signatures.extend(thought["signature"].as_str().map(str::to_owned));
        if let Some(call) = block.get("toolUse") {
            let input = call["input"].as_str().map_or(call["input"].clone(), arguments);
            reading.calls.push((text(&call["toolUseId"]), text(&call["name"]), input));
        }
    }
    reading
}
