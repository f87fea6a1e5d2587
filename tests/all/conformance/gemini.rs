//! Google Gemini against its traffic.

use std::sync::Arc;

use blitz::provider::Gemini;
use blitz::{
    Message, MessageRole, ModelRequest, OutputSchema, Part, Secret, ToolCall, ToolChoice, ToolResult, ToolSpec,
};
use serde_json::{Value, json};

use super::player::{KEY, Suite, conform, conform_elsewhere};
use super::reading::{Reading, list, text};
use super::recorded::Exchange;

#[tokio::test]
async fn gemini_agrees_with_its_recordings() {
    conform(suite("gemini".to_owned())).await;
}

#[tokio::test]
async fn conformance_of_gemini_in_the_other_recordings() {
    conform_elsewhere("gemini", &["gemini"], suite).await;
}

pub fn suite(file: String) -> Suite {
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

/// The same with every name written in one way and without fields that say nothing, but for what a call, an answer to
/// one, or a schema holds.
fn plain(value: &Value) -> Value {
    const VERBATIM: &[&str] =
        &["args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"];
    match value {
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            let named = said.map(|(name, value)| {
                let name = camel(name);
                let value = if VERBATIM.contains(&name.as_str()) { without_nulls(value) } else { plain(value) };
                (name, value)
            });
            named.collect()
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

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

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        name + &initial.to_uppercase() + rest
    })
}

fn decode(exchange: &Exchange) -> Option<ModelRequest> {
    let mut fields = plain(&exchange.request).as_object()?.clone();
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
            let schema = ["parameters", "parametersJsonSchema"].iter().find_map(|name| tool.get(*name));
            let schema = schema.map_or_else(|| json!({"type": "object"}), lower_types);
            ToolSpec::new(text(&tool["name"]), text(&tool["description"]), schema)
        }));
        let mut own = tool.as_object()?.clone();
        own.remove("functionDeclarations");
        theirs.extend((!own.is_empty()).then(|| Value::from(own)));
    }
    let both = !specs.is_empty() && !theirs.is_empty();
    request.tools = specs.into();
    let mut tool_config = take("toolConfig").as_object().cloned().unwrap_or_default();
    let choice = tool_config.remove("functionCallingConfig").unwrap_or_default();
    let mut choice = choice.as_object().cloned().unwrap_or_default();
    let allowed = list(&choice.get("allowedFunctionNames").cloned().unwrap_or_default()).map(text).collect::<Vec<_>>();
    request.tool_choice = match (choice.get("mode").and_then(Value::as_str), allowed.as_slice()) {
        (Some("NONE"), _) => ToolChoice::None,
        (Some("ANY"), [name]) => ToolChoice::Tool(name.clone()),
        (Some("ANY"), _) => ToolChoice::Required,
        _ => ToolChoice::Auto,
    };
    if matches!(request.tool_choice, ToolChoice::Tool(_)) {
        choice.remove("allowedFunctionNames");
    }
    choice.retain(|name, value| name != "mode" || *value == "VALIDATED");
    if !choice.is_empty() {
        tool_config.insert("functionCallingConfig".to_owned(), choice.into());
    }
    if both {
        tool_config.entry(CIRCULATE).or_insert(false.into());
    }
    if !tool_config.is_empty() {
        fields.insert("toolConfig".to_owned(), tool_config.into());
    }
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let mut config = take("generationConfig").as_object().cloned().unwrap_or_default();
    let settings = &mut request.settings;
    settings.max_output_tokens = config.remove("maxOutputTokens").and_then(|cap| cap.as_u64());
    settings.temperature = config.remove("temperature").and_then(|number| number.as_f64());
    settings.top_p = config.remove("topP").and_then(|number| number.as_f64());
    settings.seed = config.remove("seed").and_then(|number| number.as_i64());
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

/// The flag that functions beside tools of the provider need from Gemini 3 on.
const CIRCULATE: &str = "includeServerSideToolInvocations";

/// A schema with its types in lower case, as JSON Schema writes them.
fn lower_types(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let lower = |name: &String, value: &Value| match value.as_str().filter(|_| name == "type") {
                Some(kind) => kind.to_lowercase().into(),
                None => lower_types(value),
            };
            fields.iter().map(|(name, value)| (name.clone(), lower(name, value))).collect()
        }
        Value::Array(items) => items.iter().map(lower_types).collect(),
        other => other.clone(),
    }
}

fn parts(part: &Value, place: &str) -> Vec<Part> {
    let signature = part["thoughtSignature"].as_str().map(str::to_owned);
    let opaque = |data: Value| Part::Opaque { provider: "gemini".to_owned(), data };
    let id = |of: &Value| of["id"].as_str().unwrap_or(place).to_owned();
    let has_only = |of: &Value, said: &[&str]| {
        of.as_object().is_some_and(|fields| fields.keys().all(|name| said.contains(&name.as_str())))
    };
    let beside = |field: &str| has_only(part, &[field, "thought", "thoughtSignature"]);
    if beside("functionCall") && has_only(&part["functionCall"], &["id", "name", "args"]) {
        let call = &part["functionCall"];
        let args = call.get("args").map(Value::to_string).unwrap_or_default();
        let mut wire = ToolCall::new(id(call), text(&call["name"]), args);
        wire.signature = signature;
        return vec![Part::ToolCall(wire)];
    }
    if let (Some(answer), true) = (part.get("functionResponse"), signature.is_none())
        && has_only(answer, &["id", "name", "response"])
        && answer["response"].as_object().is_some_and(|said| said.len() == 1)
    {
        let mut result = ToolResult::new(id(answer), text(&answer["name"]), answer["response"]["result"].clone());
        if let Some(error) = answer["response"].get("error") {
            (result.content, result.is_error) = (error.clone(), true);
        }
        if answer["response"].get("result").is_some() || result.is_error {
            return vec![Part::ToolResult(result)];
        }
    }
    let alone =
        |field: &str, says: &str| has_only(part, &[field, "thought"]) && has_only(&part[field], &["mimeType", says]);
    let media =
        |found: &Value, field: &str| Part::Image { media_type: text(&found["mimeType"]), data: text(&found[field]) };
    match (part["text"].as_str().filter(|_| beside("text")), part["thought"] == true) {
        (Some(said), true) => {
            vec![Part::Thinking { text: said.into(), signature, provider: Some("gemini".to_owned()), id: None }]
        }
        (Some(said), false) if !(said.is_empty() && signature.is_some()) => {
            let signature = signature.map(|signature| opaque(json!({"thoughtSignature": signature})));
            [Part::text(said)].into_iter().chain(signature).collect()
        }
        _ if alone("inlineData", "data") => vec![media(&part["inlineData"], "data")],
        _ if alone("fileData", "fileUri") && part["fileData"]["mimeType"].is_string() => {
            vec![media(&part["fileData"], "fileUri")]
        }
        _ => {
            let mut data = part.clone();
            if data["thought"] == false {
                data.as_object_mut().map(|data| data.remove("thought"));
            }
            vec![opaque(data)]
        }
    }
}

/// Fields that are null, empty or at their default; the role of instructions; turns of one role as one; the ways to
/// write a name and a type; a function without parameters; functions first, and each other tool by itself; ids of calls
/// where the model wants none back, and the stand-in for a signature that nobody made; numbers as fractions.
fn normalised(body: &Value) -> Value {
    let Value::Object(mut fields) = plain(body) else { return body.clone() };
    let is_as_expected = |name: &str, fits: fn(&Value) -> bool| fields.get(name).is_none_or(fits);
    if !is_as_expected("contents", Value::is_array)
        || !is_as_expected("tools", Value::is_array)
        || !is_as_expected("toolConfig", Value::is_object)
    {
        return body.clone();
    }
    if let Some(system) = fields.get_mut("systemInstruction").and_then(Value::as_object_mut) {
        system.remove("role");
    }
    let mut config = fields.remove("toolConfig").unwrap_or_default().as_object().cloned().unwrap_or_default();
    if let Some(choice) = config.get_mut("functionCallingConfig").and_then(Value::as_object_mut) {
        choice.retain(|name, value| match name.as_str() {
            "mode" => *value != "AUTO" && *value != "MODE_UNSPECIFIED",
            _ => *value != json!([]),
        });
    }
    config.retain(|_, value| *value != json!({}) && *value != false);
    let wants_ids = config.get(CIRCULATE).is_some_and(|asked| *asked == true);
    fields.insert("toolConfig".to_owned(), config.into());
    let mut contents: Vec<(&str, Vec<Value>)> = Vec::new();
    let recorded = fields.remove("contents").unwrap_or_default();
    for content in list(&recorded) {
        let role = if content["role"] == "model" { "model" } else { "user" };
        let parts = list(&content["parts"]).filter_map(|part| one_form(part, wants_ids)).collect::<Vec<_>>();
        match contents.last_mut() {
            _ if parts.is_empty() => {}
            Some((last, all)) if *last == role => all.extend(parts),
            _ => contents.push((role, parts)),
        }
    }
    let contents = contents.into_iter().map(|(role, parts)| json!({"role": role, "parts": parts}));
    fields.insert("contents".to_owned(), contents.collect());
    for part in fields.get_mut("systemInstruction").map(all_parts).into_iter().flatten() {
        *part = one_form(part, wants_ids).unwrap_or_else(|| part.clone());
    }
    if let Some(config) = fields.get_mut("generationConfig").and_then(Value::as_object_mut) {
        config.retain(|name, value| name != "stopSequences" || *value != json!([]));
        for name in ["temperature", "topP"] {
            if let Some(number) = config.get(name).and_then(Value::as_f64) {
                config.insert(name.to_owned(), number.into());
            }
        }
    }
    let (mut functions, mut others) = (Vec::new(), Vec::new());
    for (name, tool) in list(&fields.remove("tools").unwrap_or_default()).filter_map(Value::as_object).flatten() {
        match name.as_str() {
            "functionDeclarations" => functions.extend(list(tool).map(function)),
            _ => others.push(json!({name: tool})),
        }
    }
    fields.insert("tools".to_owned(), json!({"functions": functions, "others": others}));
    fields.retain(|_, value| *value != json!({}) && *value != json!({"parts": []}));
    fields.into()
}

/// A function in its one form.
fn function(declared: &Value) -> Value {
    let mut declared = declared.clone();
    let Value::Object(fields) = &mut declared else { return declared };
    let schema = ["parameters", "parametersJsonSchema"].iter().find_map(|name| fields.remove(*name));
    if let Some(schema) = schema.filter(|schema| schema["properties"].as_object().is_some_and(|all| !all.is_empty())) {
        fields.insert("parameters".to_owned(), lower_types(&schema));
    }
    fields.retain(|name, value| name != "description" || *value != "");
    declared
}

/// A part in its one form; `None` for an empty text.
fn one_form(part: &Value, wants_ids: bool) -> Option<Value> {
    let mut part = part.clone();
    let Value::Object(fields) = &mut part else { return Some(part) };
    fields.retain(|name, value| match name.as_str() {
        "thought" => *value != false,
        "thoughtSignature" => *value != "skip_thought_signature_validator",
        _ => true,
    });
    for name in ["functionCall", "functionResponse"] {
        if let Some(Value::Object(call)) = fields.get_mut(name) {
            if !wants_ids {
                call.remove("id");
            }
            if name == "functionCall" {
                call.entry("args").or_insert(json!({}));
            }
        }
    }
    (part != json!({"text": ""})).then_some(part)
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
                read_part(part, &mut reading);
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
    match reading.finish_reason.as_str() {
        "stop" | "" if !reading.calls.is_empty() => reading.finish_reason = "tool_calls".to_owned(),
        "" => reading.finish_reason = "other".to_owned(),
        _ => {}
    }
    reading.usage = usage(&reading.raw_usage);
    reading
}

/// Thoughts are counted beside the answer, and what the provider's own tools read beside the prompt. A count of zero is
/// left out: what the others leave of the total is the one that is missing.
fn usage(raw: &Value) -> Option<[u64; 5]> {
    let count = |name: &str| raw[name].as_u64();
    let (prompt, answer) = (count("promptTokenCount"), count("candidatesTokenCount"));
    let thoughts = count("thoughtsTokenCount").unwrap_or(0);
    let by_tools = count("toolUsePromptTokenCount").unwrap_or(0);
    let known = prompt.or(answer)? + thoughts + by_tools;
    let rest = count("totalTokenCount").and_then(|total| total.checked_sub(known)).unwrap_or(0);
    let (prompt, answer) = (prompt.unwrap_or(rest), answer.unwrap_or(rest));
    Some([prompt + by_tools, count("cachedContentTokenCount").unwrap_or(0), 0, answer + thoughts, thoughts])
}

fn read_part(part: &Value, reading: &mut Reading) {
    let signature = part["thoughtSignature"].as_str().map(str::to_owned);
    let given = signature.clone().filter(|signature| !signature.is_empty());
    match (part.get("functionCall").filter(|call| !call.is_null()), part["text"].as_str()) {
        (Some(call), _) => {
            let args = Some(&call["args"]).filter(|args| args.is_object()).cloned();
            reading.calls.push((text(&call["id"]), text(&call["name"]), args.unwrap_or_else(|| "".into())));
            reading.signatures.extend(given);
        }
        (None, Some(said)) if part["thought"] == true => {
            reading.thinking += said;
            reading.signatures.extend(given);
        }
        (None, Some(said)) => {
            reading.text += said;
            let alone = json!({"thoughtSignature": signature});
            let kept = if said.is_empty() { part.clone() } else { alone };
            reading.opaque.extend(signature.is_some().then_some(kept));
        }
        _ => reading.opaque.push(part.clone()),
    }
}
