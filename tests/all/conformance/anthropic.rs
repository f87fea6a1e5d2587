//! Anthropic Messages against its traffic.

use std::collections::HashMap;
use std::sync::Arc;

use blitz::provider::Anthropic;
use blitz::{
    Message, MessageRole, ModelRequest, OutputSchema, Part, PromptCache, Secret, ToolCall, ToolChoice, ToolResult,
    ToolSpec,
};
use serde_json::{Map, Value, json};

use super::player::{KEY, Suite, conform, conform_elsewhere};
use super::reading::{Reading, arguments, list, text};
use super::recorded::Exchange;

#[tokio::test]
async fn anthropic_agrees_with_its_recordings() {
    conform(suite("anthropic".to_owned())).await;
}

#[tokio::test]
async fn conformance_of_anthropic_in_the_other_recordings() {
    conform_elsewhere("anthropic", &["anthropic"], suite).await;
}

fn suite(file: String) -> Suite {
    Suite {
        file,
        takes: |exchange| exchange.path.ends_with("/messages") && exchange.method == "POST",
        end: "/v1/messages",
        provider: |_, base| Arc::new(Anthropic::new(base, Some(Secret::new(KEY))).unwrap()),
        decode: |exchange| decode(&exchange.request),
        normalised,
        reading,
        key: ("x-api-key", KEY),
    }
}

fn decode(body: &Value) -> Option<ModelRequest> {
    let mut fields = body.as_object()?.clone();
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let mut messages = Vec::new();
    let system: Vec<Part> =
        blocks(&take("system")).iter().flat_map(|block| parts(block, &mut HashMap::new())).collect();
    if !system.is_empty() {
        messages.push(Message::new(MessageRole::System, system));
    }
    let mut names = HashMap::new();
    for message in list(&take("messages")) {
        let parts = blocks(&message["content"]).iter().flat_map(|block| parts(block, &mut names)).collect();
        let role = match message["role"].as_str()? {
            "assistant" => MessageRole::Assistant,
            "system" => MessageRole::System,
            _ => MessageRole::User,
        };
        messages.push(Message::new(role, parts));
    }
    let mut request = ModelRequest::new(take("model").as_str()?, messages);
    let (own, theirs): (Vec<Value>, Vec<Value>) =
        list(&take("tools")).cloned().partition(|tool| tool.get("input_schema").is_some());
    let specs = own
        .iter()
        .map(|tool| ToolSpec::new(text(&tool["name"]), text(&tool["description"]), tool["input_schema"].clone()));
    request.tools = specs.collect::<Vec<_>>().into();
    let mut cache = PromptCache::default();
    cache.tools = own.iter().find_map(|tool| ttl(tool.get("cache_control")?));
    cache.conversation = Some(take("cache_control")).filter(Value::is_object).and_then(|control| ttl(&control));
    request.settings.prompt_cache = (cache != PromptCache::default()).then_some(cache);
    let choice = take("tool_choice");
    request.tool_choice = match choice["type"].as_str() {
        Some("none") => ToolChoice::None,
        Some("any") => ToolChoice::Required,
        Some("tool") => ToolChoice::Tool(text(&choice["name"])),
        _ => ToolChoice::Auto,
    };
    let output = take("output_config");
    if output["format"].is_object() {
        request = request.with_output_schema(OutputSchema::new("output", output["format"]["schema"].clone()));
    }
    request.settings.max_output_tokens = take("max_tokens").as_u64();
    request.settings.temperature = take("temperature").as_f64();
    request.settings.stop = list(&take("stop_sequences")).map(text).collect();
    request.settings.stream = Some(take("stream") == true);
    if !theirs.is_empty() {
        fields.insert("tools".to_owned(), theirs.into());
    }
    request.settings.extra = fields;
    Some(request)
}

fn ttl(control: &Value) -> Option<String> {
    control.is_object().then(|| text(&control["ttl"]))
}

fn blocks(content: &Value) -> Vec<Value> {
    match content {
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        other => list(other).cloned().collect(),
    }
}

fn parts(block: &Value, names: &mut HashMap<String, String>) -> Vec<Part> {
    let get = |name: &str| text(&block[name]);
    let opaque = || Part::Opaque { provider: "anthropic".to_owned(), data: block.clone() };
    let mut parts = vec![match block["type"].as_str().unwrap() {
        "text" => Part::text(get("text")),
        "thinking" => Part::Thinking {
            text: get("thinking"),
            signature: Some(get("signature")),
            provider: Some("anthropic".to_owned()),
            id: None,
        },
        "tool_use" => {
            names.insert(get("id"), get("name"));
            Part::ToolCall(ToolCall::new(get("id"), get("name"), block["input"].to_string()))
        }
        "tool_result" => {
            let said: String = blocks(&block["content"]).iter().map(|block| text(&block["text"])).collect();
            let name = names.get(&get("tool_use_id")).cloned().unwrap_or_default();
            let mut result = ToolResult::new(get("tool_use_id"), name, said.into());
            result.is_error = block["is_error"] == true;
            Part::ToolResult(result)
        }
        "image" => media(&block["source"], |media_type, data| Part::Image { media_type, data }),
        "document" if block.get("citations").is_some() => opaque(),
        "document" => {
            let name = block["title"].as_str().map(str::to_owned);
            media(&block["source"], |media_type, data| Part::File { media_type, data, name })
        }
        _ => opaque(),
    }];
    if let Some(control) = block.get("cache_control").filter(|control| control.is_object()) {
        parts.push(Part::CachePoint { ttl: control["ttl"].as_str().map(str::to_owned) });
    }
    parts
}

fn media(source: &Value, part: impl FnOnce(String, String) -> Part) -> Part {
    let get = |name: &str| text(&source[name]);
    match source["type"].as_str().unwrap() {
        "url" => part("application/pdf".to_owned(), get("url")),
        "file" => part("application/pdf".to_owned(), format!("file-id:{}", get("file_id"))),
        "text" => {
            use base64::Engine as _;
            part("text/plain".to_owned(), base64::engine::general_purpose::STANDARD.encode(get("data")))
        }
        _ => part(get("media_type"), get("data")),
    }
}

/// Content as a list of blocks, messages of one role in one, results first; the default of a tool choice and
/// of a time to live said or not; `strict`, which the engine's own check of arguments stands in for.
fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    let fields = body.as_object_mut().unwrap();
    if fields.get("tool_choice") == Some(&json!({"type": "auto"})) {
        fields.remove("tool_choice");
    }
    for tool in fields.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        tool.as_object_mut()
            .unwrap()
            .retain(|name, value| name != "strict" && !(name == "description" && *value == ""));
    }
    let mut messages: Vec<(Value, Vec<Value>)> = Vec::new();
    for message in list(&fields["messages"]) {
        let blocks = blocks(&message["content"]);
        match messages.last_mut() {
            Some((role, all)) if *role == message["role"] => all.extend(blocks),
            _ => messages.push((message["role"].clone(), blocks)),
        }
    }
    let messages = messages.into_iter().map(|(role, mut blocks)| {
        if role == "user" {
            blocks.sort_by_key(|block| block["type"] != "tool_result");
        }
        json!({"role": role, "content": blocks})
    });
    fields.insert("messages".to_owned(), messages.collect());
    sorted(&body)
}

/// Every object with its fields in order of name.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Map::from_iter(fields).into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// A message and its blocks, put together from the events of a stream first.
fn reading(exchange: &Exchange) -> Reading {
    if !exchange.streams() {
        return whole(&exchange.json());
    }
    let events = exchange.events();
    let mut message = events.iter().find(|event| event["type"] == "message_start").unwrap()["message"].clone();
    let mut blocks: Vec<Value> = Vec::new();
    for event in &events {
        let delta = &event["delta"];
        match event["type"].as_str().unwrap() {
            "content_block_start" => blocks.push(event["content_block"].clone()),
            "content_block_delta" => {
                let block = &mut blocks[event["index"].as_u64().unwrap() as usize];
                let mut append =
                    |field: &str, piece: &str| block[field] = json!(text(&block[field]) + &text(&delta[piece]));
                match delta["type"].as_str().unwrap() {
                    "text_delta" => append("text", "text"),
                    "thinking_delta" => append("thinking", "thinking"),
                    "signature_delta" => append("signature", "signature"),
                    "input_json_delta" => append("json", "partial_json"),
                    "citations_delta" => {
                        let mut all: Vec<Value> = list(&block["citations"]).cloned().collect();
                        all.push(delta["citation"].clone());
                        block["citations"] = all.into();
                    }
                    // Kinds that are not known yet say nothing.
                    _ => {}
                }
            }
            "message_delta" => {
                message["stop_reason"] = delta["stop_reason"].clone();
                for (name, count) in event["usage"].as_object().into_iter().flatten() {
                    if !count.is_null() {
                        message["usage"][name] = count.clone();
                    }
                }
            }
            _ => {}
        }
    }
    message["content"] = blocks.into();
    whole(&message)
}

fn whole(message: &Value) -> Reading {
    let mut reading = Reading {
        finish_reason: match text(&message["stop_reason"]).as_str() {
            "end_turn" | "stop_sequence" => "stop",
            "tool_use" => "tool_calls",
            "max_tokens" => "length",
            "model_context_window_exceeded" => "context_window",
            "refusal" => "content_filter",
            "pause_turn" => "paused",
            _ => "other",
        }
        .to_owned(),
        usage: Some(usage(&message["usage"])),
        raw_usage: message["usage"].clone(),
        model: text(&message["model"]),
        id: text(&message["id"]),
        ..Reading::default()
    };
    for block in list(&message["content"]) {
        match block["type"].as_str().unwrap() {
            "text" => {
                reading.text += &text(&block["text"]);
                if list(&block["citations"]).next().is_some() {
                    reading.opaque.push(json!({"citations": block["citations"]}));
                }
            }
            "thinking" => {
                reading.thinking += &text(&block["thinking"]);
                reading.signatures.push(text(&block["signature"]));
            }
            "tool_use" => {
                let input = block["json"].as_str().map_or(block["input"].clone(), arguments);
                let input = if input == "" || input == json!({}) { "".into() } else { input };
                reading.calls.push((text(&block["id"]), text(&block["name"]), input));
            }
            _ => {
                // What a tool of the provider was given comes in pieces, too.
                let mut block = block.clone();
                if let Some(json) = block.as_object_mut().and_then(|block| block.remove("json")) {
                    block["input"] = arguments(&text(&json));
                }
                reading.opaque.push(block);
            }
        }
    }
    reading
}

fn usage(usage: &Value) -> [u64; 5] {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let (read, write) = (count("/cache_read_input_tokens"), count("/cache_creation_input_tokens"));
    let reasoning = count("/output_tokens_details/thinking_tokens");
    [count("/input_tokens") + read + write, read, write, count("/output_tokens"), reasoning]
}
