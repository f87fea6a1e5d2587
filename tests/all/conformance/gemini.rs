//! Google Gemini against its traffic.

use std::sync::Arc;

use blitz::provider::Gemini;
use blitz::{
    Message, MessageRole, ModelRequest, OutputSchema, Part, Secret, ToolCall, ToolChoice, ToolResult, ToolSpec,
};
use serde_json::{Value, json};

use super::player::{KEY, Suite, conform, conform_elsewhere};
use super::reading::{Reading, arguments, list, text};
use super::recorded::Exchange;

#[tokio::test]
async fn gemini_agrees_with_its_recordings() {
    conform(suite("gemini".to_owned())).await;
}

#[tokio::test]
async fn conformance_of_gemini_in_the_other_recordings() {
    conform_elsewhere("gemini", &["gemini"], suite).await;
}

fn suite(file: String) -> Suite {
    Suite {
        file,
        takes: |exchange| exchange.path.to_lowercase().ends_with("generatecontent"),
        end: "",
        provider: |_, base| Arc::new(Gemini::new(base, Some(Secret::new(KEY))).unwrap()),
        decode,
        normalised,
        reading,
        key: ("x-goog-api-key", KEY),
    }
}

/// The same object without the fields that say nothing.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            said.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn decode(exchange: &Exchange) -> Option<ModelRequest> {
    let mut fields = without_nulls(&exchange.request).as_object()?.clone();
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let mut messages = Vec::new();
    let system: Vec<_> =
        list(&take("systemInstruction")["parts"]).map(|part| Part::text(text(&part["text"]))).collect();
    if !system.is_empty() {
        messages.push(Message::new(MessageRole::System, system));
    }
    for (number, content) in list(&take("contents")).enumerate() {
        let role = if content["role"] == "model" { MessageRole::Assistant } else { MessageRole::User };
        let parts = list(&content["parts"]).enumerate();
        let parts = parts.flat_map(|(place, part)| self::parts(part, &format!("{number}_{place}"))).collect();
        messages.push(Message::new(role, parts));
    }
    let name = exchange.path.split("/models/").nth(1)?.split(':').next()?;
    let mut request = ModelRequest::new(name, messages);
    let (mut specs, mut theirs) = (Vec::new(), Vec::new());
    for tool in list(&take("tools")) {
        specs.extend(list(&tool["functionDeclarations"]).map(|tool| {
            let schema = tool.get("parameters").cloned().unwrap_or_else(|| json!({"type": "object"}));
            ToolSpec::new(text(&tool["name"]), text(&tool["description"]), schema)
        }));
        let mut own = tool.as_object()?.clone();
        own.remove("functionDeclarations");
        theirs.extend((!own.is_empty()).then(|| Value::from(own)));
    }
    request.tools = specs.into();
    let choice = take("toolConfig")["functionCallingConfig"].clone();
    let allowed = ["allowed_function_names", "allowedFunctionNames"].iter().find_map(|name| choice.get(*name));
    request.tool_choice = match (choice["mode"].as_str(), allowed) {
        (Some("NONE"), _) => ToolChoice::None,
        (Some("ANY"), None) => ToolChoice::Required,
        (Some("ANY"), Some(names)) => ToolChoice::Tool(text(&names[0])),
        _ => ToolChoice::Auto,
    };
    let mut config = take("generationConfig").as_object().cloned().unwrap_or_default();
    let settings = &mut request.settings;
    settings.max_output_tokens = config.remove("maxOutputTokens").and_then(|cap| cap.as_u64());
    settings.temperature = config.remove("temperature").and_then(|number| number.as_f64());
    settings.top_p = config.remove("topP").and_then(|number| number.as_f64());
    settings.stop = config.remove("stopSequences").map(|stop| list(&stop).map(text).collect()).unwrap_or_default();
    settings.stream = Some(exchange.path.contains("streamGenerate"));
    let schema = config.remove("responseJsonSchema");
    if schema.is_some() {
        config.remove("responseMimeType");
    }
    if !theirs.is_empty() {
        fields.insert("tools".to_owned(), theirs.into());
    }
    if !config.is_empty() {
        fields.insert("generationConfig".to_owned(), config.into());
    }
    request.settings.extra = fields;
    Some(match schema {
        Some(schema) => request.with_output_schema(OutputSchema::new("output", schema)),
        None => request,
    })
}

fn parts(part: &Value, id: &str) -> Vec<Part> {
    let signature = part["thoughtSignature"].as_str().map(str::to_owned);
    let opaque = |data: Value| Part::Opaque { provider: "gemini".to_owned(), data };
    if let Some(call) = part.get("functionCall") {
        let mut wire = ToolCall::new(id, text(&call["name"]), call["args"].to_string());
        wire.signature = signature;
        return vec![Part::ToolCall(wire)];
    }
    if let Some(response) = part.get("functionResponse") {
        let content = response["response"]["result"].clone();
        return vec![Part::ToolResult(ToolResult::new(id, text(&response["name"]), content))];
    }
    let media =
        |found: &Value, field: &str| Part::Image { media_type: text(&found["mimeType"]), data: text(&found[field]) };
    match (part.get("text"), part["thought"] == true) {
        (Some(said), true) => {
            vec![Part::Thinking { text: text(said), signature, provider: Some("gemini".to_owned()), id: None }]
        }
        (Some(said), false) => {
            let signature = signature.map(|signature| opaque(json!({"thoughtSignature": signature})));
            [Part::text(text(said))].into_iter().chain(signature).collect()
        }
        _ if part.get("inlineData").is_some() => vec![media(&part["inlineData"], "data")],
        _ if part.get("fileData").is_some() => vec![media(&part["fileData"], "fileUri")],
        _ => {
            let mut data = part.clone();
            data.as_object_mut().unwrap().remove("thought");
            vec![opaque(data)]
        }
    }
}

/// Fields that are null, empty or at their default; the role of instructions; turns of one role as one; the
/// two ways to write a name; a function without parameters.
fn normalised(body: &Value) -> Value {
    let mut body = without_nulls(body);
    let fields = body.as_object_mut().unwrap();
    if let Some(system) = fields.get_mut("systemInstruction").and_then(Value::as_object_mut) {
        system.remove("role");
    }
    let mut contents: Vec<(Value, Vec<Value>)> = Vec::new();
    for content in list(&fields["contents"]) {
        let parts: Vec<Value> = list(&content["parts"]).cloned().collect();
        match contents.last_mut() {
            Some((role, all)) if *role == content["role"] => all.extend(parts),
            _ => contents.push((content["role"].clone(), parts)),
        }
    }
    let contents = contents.into_iter().map(|(role, parts)| json!({"role": role, "parts": parts}));
    fields.insert("contents".to_owned(), contents.collect());
    fields.retain(|name, value| name != "generationConfig" || value != &json!({}));
    if let Some(config) = fields.get_mut("toolConfig").map(|config| &mut config["functionCallingConfig"])
        && let Some(names) = config.as_object_mut().unwrap().remove("allowed_function_names")
    {
        config["allowedFunctionNames"] = names;
    }
    for part in fields.values_mut().flat_map(all_parts) {
        if part["thought"] == false {
            part.as_object_mut().unwrap().remove("thought");
        }
    }
    for tool in fields.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        for function in tool.get_mut("functionDeclarations").and_then(Value::as_array_mut).into_iter().flatten() {
            function.as_object_mut().unwrap().retain(|name, value| {
                name != "parameters" || value["properties"].as_object().is_some_and(|all| !all.is_empty())
            });
        }
    }
    body
}

fn all_parts(value: &mut Value) -> Vec<&mut Value> {
    let contents = match value {
        Value::Array(contents) => contents.iter_mut().collect(),
        other => vec![other],
    };
    let parts = contents.into_iter().filter_map(|content| content.get_mut("parts").and_then(Value::as_array_mut));
    parts.flatten().collect()
}

fn reading(exchange: &Exchange) -> Reading {
    let chunks = match (exchange.streams(), exchange.streams() || exchange.json().is_object()) {
        (true, _) => exchange.events(),
        (false, true) => vec![exchange.json()],
        // A list of pieces.
        (false, false) => list(&exchange.json()).cloned().collect(),
    };
    // A call without an id gets one that no call before it has.
    let parts = list(&exchange.request["contents"]).flat_map(|content| list(&content["parts"]));
    let before = parts.filter(|part| part.get("functionCall").is_some()).count();
    let mut reading = Reading::default();
    for chunk in &chunks {
        for (field, kept) in [("modelVersion", &mut reading.model), ("responseId", &mut reading.id)] {
            if chunk[field].is_string() {
                *kept = text(&chunk[field]);
            }
        }
        if chunk["usageMetadata"].is_object() {
            reading.raw_usage = chunk["usageMetadata"].clone();
        }
        for candidate in list(&chunk["candidates"]).filter(|candidate| candidate["index"].as_u64().unwrap_or(0) == 0) {
            for part in list(&candidate["content"]["parts"]) {
                read_part(part, before, &mut reading);
            }
            match candidate["finishReason"].as_str() {
                Some("STOP") => reading.finish_reason = "stop".to_owned(),
                Some("MAX_TOKENS") => reading.finish_reason = "length".to_owned(),
                Some(
                    "SAFETY"
                    | "RECITATION"
                    | "BLOCKLIST"
                    | "PROHIBITED_CONTENT"
                    | "SPII"
                    | "LANGUAGE"
                    | "IMAGE_SAFETY"
                    | "IMAGE_PROHIBITED_CONTENT"
                    | "IMAGE_RECITATION",
                ) => reading.finish_reason = "content_filter".to_owned(),
                Some(_) => reading.finish_reason = "other".to_owned(),
                None => {}
            }
        }
        if chunk["promptFeedback"]["blockReason"].is_string() {
            reading.finish_reason = "content_filter".to_owned();
        }
    }
    if reading.finish_reason == "stop" && !reading.calls.is_empty() {
        reading.finish_reason = "tool_calls".to_owned();
    }
    let usage = &reading.raw_usage;
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    let thoughts = count("thoughtsTokenCount");
    reading.usage = usage.is_object().then(|| {
        let input = count("promptTokenCount") + count("toolUsePromptTokenCount");
        [input, count("cachedContentTokenCount"), 0, count("candidatesTokenCount") + thoughts, thoughts]
    });
    // Google's own sum says whether anything was left out.
    if let Some([input, _, _, output, _]) = reading.usage.filter(|_| usage["totalTokenCount"].is_u64()) {
        assert_eq!(input + output, count("totalTokenCount"), "{}", exchange.name);
    }
    reading
}

fn read_part(part: &Value, before: usize, reading: &mut Reading) {
    let signature = part["thoughtSignature"].as_str().map(str::to_owned);
    match (part.get("functionCall"), part.get("text")) {
        (Some(call), _) => {
            let number = before + reading.calls.len();
            let id = call["id"].as_str().map_or(format!("call_{number}"), str::to_owned);
            reading.calls.push((id, text(&call["name"]), arguments(&call["args"].to_string())));
            reading.signatures.extend(signature);
        }
        (None, Some(said)) if part["thought"] == true => {
            reading.thinking += &text(said);
            reading.signatures.extend(signature);
        }
        (None, Some(said)) => {
            reading.text += &text(said);
            let alone = json!({"thoughtSignature": signature});
            let kept = if said == "" { part.clone() } else { alone };
            reading.opaque.extend(signature.is_some().then_some(kept));
        }
        _ => reading.opaque.push(part.clone()),
    }
}
