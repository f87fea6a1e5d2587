//! Anthropic Messages against its traffic.

use std::collections::{BTreeMap, HashMap};
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

pub fn suite(file: String) -> Suite {
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
    let mut fields = plain(body).as_object()?.clone();
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
    let (own, theirs) = tools(&take("tools"));
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
    let one_at_a_time = choice["disable_parallel_tool_use"] == true;
    request.settings.parallel_tool_calls = one_at_a_time.then_some(false);
    let mut output = take("output_config").as_object().cloned().unwrap_or_default();
    if let Some(format) = output.remove("format") {
        request = request.with_output_schema(OutputSchema::new("output", format["schema"].clone()));
    }
    request.settings.max_output_tokens = take("max_tokens").as_u64();
    request.settings.temperature = take("temperature").as_f64();
    request.settings.top_p = take("top_p").as_f64();
    request.settings.stop = list(&take("stop_sequences")).map(text).collect();
    request.settings.stream = Some(take("stream") == true);
    if !theirs.is_empty() {
        fields.insert("tools".to_owned(), theirs.into());
    }
    if !output.is_empty() {
        fields.insert("output_config".to_owned(), output.into());
    }
    request.settings.extra = fields;
    Some(request)
}

/// The same without fields that say nothing, but for what a schema, a call or an answer holds.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            let inner = |name: &String, value: &Value| match name.as_str() {
                "input_schema" | "schema" | "input" => value.clone(),
                _ => plain(value),
            };
            said.map(|(name, value)| (name.clone(), inner(name, value))).collect()
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

/// The functions that a tool of the engine says wholly, and from the first one on that it does not all the others.
fn tools(tools: &Value) -> (Vec<Value>, Vec<Value>) {
    const SAID: &[&str] = &["type", "name", "description", "input_schema", "strict", "cache_control"];
    let is_said = |tool: &Value| {
        let is_function = tool.get("type").is_none_or(|kind| kind == "custom") && tool.get("input_schema").is_some();
        is_function && tool.as_object().is_some_and(|tool| tool.keys().all(|name| SAID.contains(&name.as_str())))
    };
    let mut own: Vec<Value> = list(tools).take_while(|tool| is_said(tool)).cloned().collect();
    // What is kept reaches to the last of them.
    let kept = own.iter().position(|tool| tool.get("cache_control").is_some());
    own.truncate(kept.map_or(own.len(), |place| place + 1));
    let theirs = list(tools).skip(own.len()).cloned().collect();
    (own, theirs)
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
    let opaque = |data: Value| Part::Opaque { provider: "anthropic".to_owned(), data };
    let has_only = |said: &[&str]| {
        let mut names = block.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        names.all(|name| said.contains(&name) || name == "cache_control")
    };
    let mut parts = match block["type"].as_str() {
        Some("text") => {
            let citations = Some(&block["citations"]).filter(|citations| list(citations).next().is_some());
            let citations = citations.map(|citations| opaque(json!({"citations": citations})));
            [Part::text(get("text"))].into_iter().chain(citations).collect()
        }
        Some("thinking") if block["signature"].is_string() => vec![Part::Thinking {
            text: get("thinking"),
            signature: Some(get("signature")),
            provider: Some("anthropic".to_owned()),
            id: None,
        }],
        Some("tool_use") => {
            names.insert(get("id"), get("name"));
            let call = Part::ToolCall(ToolCall::new(get("id"), get("name"), block["input"].to_string()));
            let caller = Some(&block["caller"]).filter(|caller| caller.is_object() && caller["type"] != "direct");
            [call].into_iter().chain(caller.map(|caller| opaque(json!({"caller": caller})))).collect()
        }
        Some("tool_result") => {
            let said: String = blocks(&block["content"]).iter().map(|block| text(&block["text"])).collect();
            let name = names.get(&get("tool_use_id")).cloned().unwrap_or_default();
            let mut result = ToolResult::new(get("tool_use_id"), name, said.into());
            result.is_error = block["is_error"] == true;
            vec![Part::ToolResult(result)]
        }
        Some("image") if has_only(&["type", "source"]) => {
            let image = media(&block["source"], |media_type, data| Part::Image { media_type, data });
            vec![image.unwrap_or_else(|| opaque(block.clone()))]
        }
        Some("document") if has_only(&["type", "source", "title"]) => {
            let name = block["title"].as_str().map(str::to_owned);
            let file = media(&block["source"], |media_type, data| Part::File { media_type, data, name });
            vec![file.unwrap_or_else(|| opaque(block.clone()))]
        }
        _ => vec![opaque(block.clone())],
    };
    if let Some(control) = block.get("cache_control").filter(|control| control.is_object()) {
        parts.push(Part::CachePoint { ttl: control["ttl"].as_str().map(str::to_owned) });
    }
    parts
}

/// An image or file by where its bytes are; `None` for a source that no part says.
fn media(source: &Value, part: impl FnOnce(String, String) -> Part) -> Option<Part> {
    let get = |name: &str| text(&source[name]);
    Some(match source["type"].as_str()? {
        "url" => part("application/pdf".to_owned(), get("url")),
        "file" => part("application/pdf".to_owned(), format!("file-id:{}", get("file_id"))),
        "text" => {
            use base64::Engine as _;
            part("text/plain".to_owned(), base64::engine::general_purpose::STANDARD.encode(get("data")))
        }
        "base64" => part(get("media_type"), get("data")),
        _ => return None,
    })
}

/// Content as a list of blocks, messages of one role in one, results first, each with one text; nothing that is empty
/// or blank; a default said or not; numbers as fractions; `strict`, which the engine's own check of arguments stands
/// in for.
fn normalised(body: &Value) -> Value {
    let Value::Object(mut fields) = plain(body) else { return body.clone() };
    let is_content = |content: &Value| content.is_array() || content.is_string();
    let is_as_expected = |name: &str, fits: fn(&Value) -> bool| fields.get(name).is_none_or(fits);
    if !fields.get("system").is_none_or(is_content)
        || !is_as_expected("tools", Value::is_array)
        || !list(&body["messages"]).all(|message| is_content(&message["content"]))
    {
        return body.clone();
    }
    if let Some(choice) = fields.get_mut("tool_choice").and_then(Value::as_object_mut) {
        choice.retain(|name, value| name != "disable_parallel_tool_use" || *value == true);
    }
    for tool in fields.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        let Value::Object(tool) = tool else { continue };
        let says = |name: &str, value: &Value| match name {
            "strict" => false,
            "type" => *value != "custom",
            "description" => *value != "",
            _ => true,
        };
        tool.retain(|name, value| says(name, value));
    }
    if let Some(system) = fields.remove("system") {
        fields.insert("system".to_owned(), said_blocks(&system).into());
    }
    let mut messages: Vec<(Value, Vec<Value>)> = Vec::new();
    for message in list(&fields.remove("messages").unwrap_or_default()) {
        let blocks = said_blocks(&message["content"]);
        match messages.last_mut() {
            _ if blocks.is_empty() => {}
            Some((role, all)) if *role == message["role"] => all.extend(blocks),
            _ => messages.push((message["role"].clone(), blocks)),
        }
    }
    if let Some((role, blocks)) = messages.last_mut()
        && *role == "assistant"
        && let Some(Value::String(text)) = blocks.last_mut().and_then(|block| block.get_mut("text"))
    {
        text.truncate(text.trim_end().len());
    }
    let messages = messages.into_iter().map(|(role, mut blocks)| {
        if role == "user" {
            blocks.sort_by_key(|block| block["type"] != "tool_result");
        }
        json!({"role": role, "content": blocks})
    });
    fields.insert("messages".to_owned(), messages.collect());
    for name in ["temperature", "top_p"] {
        if let Some(number) = fields.get(name).and_then(Value::as_f64) {
            fields.insert(name.to_owned(), number.into());
        }
    }
    fields.retain(|name, value| match name.as_str() {
        "tool_choice" => *value != json!({"type": "auto"}),
        "stream" => *value != false,
        "tools" | "system" | "stop_sequences" => *value != json!([]),
        _ => true,
    });
    sorted(&fields.into())
}

/// The blocks of a content that say something, each in one form.
fn said_blocks(content: &Value) -> Vec<Value> {
    let is_blank = |block: &Value| block["type"] == "text" && text(&block["text"]).trim().is_empty();
    let one_form = |mut block: Value| {
        let is_direct = block["caller"]["type"] == "direct";
        let Value::Object(fields) = &mut block else { return block };
        fields.retain(|name, value| match name.as_str() {
            "citations" => *value != json!([]),
            "caller" => !is_direct,
            "is_error" => *value == true,
            _ => true,
        });
        if fields.get("type").is_some_and(|kind| kind == "tool_result")
            && let Some(content) = fields.remove("content")
        {
            let blocks = blocks(&content);
            let texts: Option<String> = blocks
                .iter()
                .map(|block| block["text"].as_str().filter(|_| block.as_object().is_some_and(|block| block.len() == 2)))
                .collect();
            match texts {
                Some(text) if text.trim().is_empty() => None,
                Some(text) => fields.insert("content".to_owned(), json!([{"type": "text", "text": text}])),
                None => fields.insert("content".to_owned(), blocks.into()),
            };
        }
        block
    };
    blocks(content).into_iter().filter(|block| !is_blank(block)).map(one_form).collect()
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
    let mut message = Value::Null;
    let mut blocks: BTreeMap<u64, Value> = BTreeMap::new();
    for event in &exchange.events() {
        let (delta, index) = (&event["delta"], event["index"].as_u64().unwrap_or(0));
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => drop(blocks.insert(index, event["content_block"].clone())),
            "content_block_delta" => {
                let Some(block) = blocks.get_mut(&index) else { continue };
                let mut append =
                    |field: &str, piece: &str| block[field] = json!(text(&block[field]) + &text(&delta[piece]));
                match delta["type"].as_str().unwrap_or_default() {
                    "text_delta" => append("text", "text"),
                    "thinking_delta" => append("thinking", "thinking"),
                    "signature_delta" => block["signature"] = delta["signature"].clone(),
                    "input_json_delta" => append("json", "partial_json"),
                    "citations_delta" => {
                        let mut all: Vec<Value> = list(&block["citations"]).cloned().collect();
                        all.push(delta["citation"].clone());
                        block["citations"] = all.into();
                    }
                    "compaction_delta" => {
                        for name in ["content", "encrypted_content"].into_iter().filter(|name| delta[*name].is_string())
                        {
                            block[name] = delta[name].clone();
                        }
                    }
                    // Kinds that are not known yet say nothing.
                    _ => {}
                }
            }
            "message_delta" => {
                for (name, value) in delta.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
                    message[name] = value.clone();
                }
                for (name, count) in event["usage"].as_object().into_iter().flatten() {
                    if !count.is_null() {
                        message["usage"][name] = count.clone();
                    }
                }
            }
            _ => {}
        }
    }
    message["content"] = blocks.into_values().collect();
    whole(&message)
}

fn whole(message: &Value) -> Reading {
    let counts = message["usage"].as_object().into_iter().flatten().filter(|(_, count)| !count.is_null());
    let raw_usage = Value::Object(counts.map(|(name, count)| (name.clone(), count.clone())).collect());
    let mut reading = Reading {
        usage: usage(&raw_usage),
        raw_usage,
        model: text(&message["model"]),
        id: text(&message["id"]),
        ..Reading::default()
    };
    for block in list(&message["content"]) {
        let pieces = block["json"].as_str().filter(|pieces| !pieces.is_empty());
        match block["type"].as_str().unwrap_or_default() {
            "text" => {
                reading.text += &text(&block["text"]);
                if list(&block["citations"]).next().is_some() {
                    reading.opaque.push(json!({"citations": block["citations"]}));
                }
            }
            "thinking" => {
                reading.thinking += &text(&block["thinking"]);
                reading.signatures.extend(Some(text(&block["signature"])).filter(|signature| !signature.is_empty()));
            }
            "tool_use" => {
                let given = Some(&block["input"]).filter(|input| input.as_object().is_some_and(|it| !it.is_empty()));
                let input = pieces.map(arguments).or_else(|| given.cloned()).unwrap_or_else(|| "".into());
                reading.calls.push((text(&block["id"]), text(&block["name"]), input));
                if block["caller"].is_object() && block["caller"]["type"] != "direct" {
                    reading.opaque.push(json!({"caller": block["caller"]}));
                }
            }
            _ => {
                // What a tool of the provider was given comes in pieces, too.
                let mut kept = block.clone();
                kept.as_object_mut().map(|kept| kept.remove("json"));
                if let Some(pieces) = pieces {
                    kept["input"] = arguments(pieces);
                }
                reading.opaque.push(kept);
            }
        }
    }
    if message["container"].is_object() {
        reading.opaque.push(json!({"container": message["container"]}));
    }
    reading.finish_reason = match text(&message["stop_reason"]).as_str() {
        "end_turn" | "stop_sequence" | "" if !reading.calls.is_empty() => "tool_calls",
        "end_turn" | "stop_sequence" => "stop",
        "tool_use" => "tool_calls",
        "max_tokens" => "length",
        "model_context_window_exceeded" => "context_window",
        "refusal" => "content_filter",
        "pause_turn" => "paused",
        _ => "other",
    }
    .to_owned();
    reading
}

fn usage(usage: &Value) -> Option<[u64; 5]> {
    // The sums leave out what it took to compact the conversation.
    let passes = list(&usage["iterations"]).filter(|pass| pass["type"] == "compaction");
    let all = || passes.clone().chain([usage]);
    let sum = |path: &str| all().filter_map(|one| one.pointer(path)?.as_u64()).sum::<u64>();
    usage["input_tokens"].as_u64().or(usage["output_tokens"].as_u64())?;
    let (read, write) = (sum("/cache_read_input_tokens"), sum("/cache_creation_input_tokens"));
    let reasoning = sum("/output_tokens_details/thinking_tokens");
    Some([sum("/input_tokens") + read + write, read, write, sum("/output_tokens"), reasoning])
}
