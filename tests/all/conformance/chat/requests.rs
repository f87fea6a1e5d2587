//! Reads a recorded request into the engine's terms, and brings wire forms that mean the same to one.

use std::collections::HashMap;

use blitz::{
    Message, MessageRole, ModelRequest, ModelSettings, OutputSchema, Part, ProfileOverride, ToolCall, ToolChoice,
    ToolResult,
};
use serde_json::{Map, Value, json};

use crate::conformance::reading::{drop_unknown_formats, function_tools, list};

/// The recorded request as a program would have made it; `None` where the engine cannot say it at all.
pub fn decode(body: &Value) -> Option<ModelRequest> {
    let mut fields = body.as_object()?.clone();
    fields.retain(|_, value| !value.is_null());
    let model = fields.remove("model")?;
    let messages = messages(fields.remove("messages")?.as_array()?)?;
    let mut request = ModelRequest::new(model.as_str()?, messages);
    if let Some(tools) = fields.remove("tools") {
        let is_function = |tool: &Value| tool.get("type").is_none_or(|kind| kind == "function");
        if !list(&tools).all(is_function) {
            return None;
        }
        request = request.with_tools(function_tools(&tools));
    }
    if let Some(choice) = fields.remove("tool_choice") {
        request = request.with_tool_choice(tool_choice(&choice)?);
    }
    if fields.get("response_format").is_some_and(|format| format["type"] == "json_schema") {
        let schema = &fields.remove("response_format")?["json_schema"];
        request = request.with_output_schema(OutputSchema::new(schema["name"].as_str()?, schema["schema"].clone()));
    }
    let mut settings = settings(fields)?;
    if request.output_schema.is_some() && !request.tools.is_empty() {
        // Whoever sent both says that the model takes both.
        let mut profile = ProfileOverride::default();
        profile.schema_with_tools = Some(true);
        settings.profile = Some(profile);
    }
    Some(request.with_settings(settings))
}

fn settings(mut fields: Map<String, Value>) -> Option<ModelSettings> {
    let mut settings = ModelSettings::default();
    fields.remove("stream_options");
    settings.stream = Some(fields.remove("stream").is_some_and(|stream| stream == true));
    settings.max_output_tokens =
        ["max_tokens", "max_completion_tokens"].iter().find_map(|name| fields.remove(*name)?.as_u64());
    settings.temperature = match fields.remove("temperature") {
        Some(number) => Some(number.as_f64()?),
        None => None,
    };
    settings.top_p = fields.remove("top_p").and_then(|number| number.as_f64());
    settings.seed = fields.remove("seed").and_then(|number| number.as_i64());
    settings.reasoning_effort = fields.remove("reasoning_effort").and_then(|effort| effort.as_str().map(str::to_owned));
    settings.parallel_tool_calls = fields.remove("parallel_tool_calls").and_then(|parallel| parallel.as_bool());
    settings.stop = match fields.remove("stop") {
        Some(Value::String(one)) => vec![one],
        Some(list) => serde_json::from_value(list).ok()?,
        None => Vec::new(),
    };
    settings.extra = fields;
    Some(settings)
}

/// The choice; `None` where it is of no function.
fn tool_choice(choice: &Value) -> Option<ToolChoice> {
    Some(match choice.as_str() {
        Some("none") => ToolChoice::None,
        Some("required" | "any") => ToolChoice::Required,
        None if choice.is_object() => ToolChoice::Tool(choice["function"]["name"].as_str()?.to_owned()),
        _ => ToolChoice::Auto,
    })
}

fn messages(messages: &[Value]) -> Option<Vec<Message>> {
    let mut tool_names = HashMap::new();
    messages.iter().map(|message| self::message(message, &mut tool_names)).collect()
}

fn message(message: &Value, tool_names: &mut HashMap<String, String>) -> Option<Message> {
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let role = match message["role"].as_str()? {
        "system" | "developer" => MessageRole::System,
        "user" => MessageRole::User,
        "assistant" => MessageRole::Assistant,
        "tool" => {
            let id = string(&message["tool_call_id"]);
            let name = tool_names.get(&id).cloned().unwrap_or_default();
            let content = match &message["content"] {
                Value::Array(parts) => parts.iter().map(|part| string(&part["text"])).collect::<String>().into(),
                said => said.clone(),
            };
            let result = ToolResult::new(&id, name, content);
            return Some(Message::new(MessageRole::Tool, vec![Part::ToolResult(result)]));
        }
        _ => return None,
    };
    let mut parts = Vec::new();
    let thoughts = [("reasoning_content", None), ("reasoning", Some("reasoning"))];
    if let Some((text, id)) = thoughts.iter().find_map(|(name, id)| Some((message[*name].as_str()?, id))) {
        parts.push(Part::Thinking {
            text: text.to_owned(),
            signature: None,
            provider: Some("openai".to_owned()),
            id: id.map(str::to_owned),
        });
    }
    if let Some(details) = message.get("reasoning_details").filter(|details| !details.is_null()) {
        let data = json!({"reasoning_details": details});
        parts.push(Part::Opaque { provider: "openai".to_owned(), data });
    }
    match &message["content"] {
        Value::String(text) => parts.push(Part::text(text)),
        Value::Array(list) => parts.extend(list.iter().map(content_part).collect::<Option<Vec<_>>>()?),
        _ => {}
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let (id, name) = (string(&call["id"]), string(&call["function"]["name"]));
        tool_names.insert(id.clone(), name.clone());
        let arguments = &call["function"]["arguments"];
        let arguments = if arguments.is_object() { arguments.to_string() } else { string(arguments) };
        parts.push(Part::ToolCall(ToolCall::new(id, name, arguments)));
    }
    Some(Message::new(role, parts))
}

fn content_part(part: &Value) -> Option<Part> {
    match part["type"].as_str()? {
        "text" => Some(Part::text(part["text"].as_str()?)),
        "refusal" => Some(Part::Refusal { text: part["refusal"].as_str()?.to_owned() }),
        "image_url" => {
            let url = part["image_url"]["url"].as_str().or(part["image_url"].as_str())?;
            let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
            let (media_type, data) = inline.unwrap_or(("image/*", url));
            Some(Part::Image { media_type: media_type.to_owned(), data: data.to_owned() })
        }
        "video_url" => Some(file("video/mp4", part["video_url"]["url"].as_str()?, None)),
        "document_url" => Some(file("application/pdf", part["document_url"].as_str()?, part["document_name"].as_str())),
        "input_audio" => {
            let audio = &part["input_audio"];
            Some(file(&format!("audio/{}", audio["format"].as_str()?), audio["data"].as_str()?, None))
        }
        "file" => {
            let file = &part["file"];
            let id = file["file_id"].as_str().map(|id| format!("file-id:{id}"));
            let data = file["file_data"].as_str().map(str::to_owned).or(id)?;
            Some(self::file("application/pdf", &data, file["filename"].as_str()))
        }
        _ => None,
    }
}

fn file(media_type: &str, data: &str, name: Option<&str>) -> Part {
    Part::File { media_type: media_type.to_owned(), data: data.to_owned(), name: name.map(str::to_owned) }
}

/// A wire request with everything that may differ without harm brought to one form.
///
/// Fields that are null or at their defaults, and those that mean nothing without tools; how usage of a stream is asked
/// for; the name of the cap; formats that the strict schema form does not know; `strict` of a tool; instructions that
/// lead as one message.
pub fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    let Some(fields) = body.as_object_mut() else { return body };
    fields.retain(|name, value| !value.is_null() && name != "stream_options");
    if let Some(Value::Array(messages)) = fields.get_mut("messages") {
        messages.iter_mut().for_each(normalise_message);
        merge_instructions(messages);
    }
    for (name, value) in [("stream", json!(false)), ("tool_choice", json!("auto")), ("tools", json!([]))] {
        if fields.get(name) == Some(&value) {
            fields.remove(name);
        }
    }
    for tool in fields.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(function) = tool["function"].as_object_mut() {
            function
                .retain(|name, value| name != "strict" && !value.is_null() && !(name == "description" && value == ""));
        }
    }
    if !fields.contains_key("tools") {
        fields.retain(|name, _| name != "tool_choice" && name != "parallel_tool_calls");
    }
    if let Some(cap) = fields.remove("max_completion_tokens") {
        fields.insert("max_tokens".to_owned(), cap);
    }
    if let Some(schema) = fields.get_mut("response_format") {
        drop_unknown_formats(schema);
    }
    match fields.get("stop") {
        Some(Value::String(stop)) => drop(fields.insert("stop".to_owned(), json!([stop]))),
        Some(Value::Array(stop)) if stop.is_empty() => drop(fields.remove("stop")),
        _ => {}
    }
    body
}

/// The same for a server that no thought goes back to.
pub fn without_thoughts(body: &Value) -> Value {
    let mut body = normalised(body);
    for message in body["messages"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        message.retain(|name, _| !["reasoning", "reasoning_content"].contains(&name.as_str()));
    }
    body
}

/// The same for a server that reads a choice by name as none: it is shown that tool alone.
pub fn for_unnamed_choice(body: &Value) -> Value {
    let mut body = normalised(body);
    let Some(name) = body["tool_choice"]["function"]["name"].as_str().map(str::to_owned) else { return body };
    body["tool_choice"] = json!("required");
    if let Some(tools) = body["tools"].as_array_mut() {
        tools.retain(|tool| tool["function"]["name"] == name.as_str());
    }
    body
}

/// The same as Mistral wants it: without the word of the model that stands between a tool and a user, which some of
/// its models want; with the ids of calls as numbers, in the order they come: the recordings hide the ids behind ones
/// that it would not take itself.
pub fn for_mistral(body: &Value) -> Value {
    let mut body = normalised(body);
    let mut behind_tool = false;
    let Some(messages) = body["messages"].as_array_mut() else { return body };
    messages.retain(|message| {
        let is_word = behind_tool && message["content"] == json!([{"type": "text", "text": "OK."}]);
        behind_tool = message["role"] == "tool";
        !is_word
    });
    let mut ids: Vec<Value> = Vec::new();
    let mut number = |id: &mut Value| {
        let place = ids.iter().position(|known| known == id).unwrap_or_else(|| {
            ids.push(id.clone());
            ids.len() - 1
        });
        *id = json!(place);
    };
    for message in messages {
        for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            number(&mut call["id"]);
        }
        if let Some(id) = message.get_mut("tool_call_id") {
            number(id);
        }
    }
    body
}

/// Instructions under one name; content as a list without what says nothing, what the model or a tool said as one
/// text; image detail and the name of a document; a thought that is blank or told twice; arguments as JSON, none as
/// empty ones.
fn normalise_message(message: &mut Value) {
    let Some(fields) = message.as_object_mut() else { return };
    fields.retain(|name, value| {
        let is_blank = value.as_str().is_some_and(|text| text.trim().is_empty());
        let is_thought = ["reasoning", "reasoning_content"].contains(&name.as_str());
        let says_nothing = value.is_null() || *value == json!([]) || name == "prefix" && *value == false;
        !(says_nothing || is_thought && is_blank)
    });
    if fields.contains_key("reasoning_details") {
        fields.remove("reasoning");
    }
    if fields.get("role").is_some_and(|role| role == "developer") {
        fields.insert("role".to_owned(), "system".into());
    }
    let mut content = match fields.remove("content").unwrap_or_default() {
        Value::Array(parts) => parts,
        Value::Null => Vec::new(),
        said => vec![json!({"type": "text", "text": said})],
    };
    let is_said = |part: &Value| ["text", "refusal"].iter().any(|name| part["type"] == *name);
    if message["role"] == "tool" || message["role"] == "assistant" && content.iter().all(is_said) {
        let texts = content.iter().filter_map(|part| part["text"].as_str().or(part["refusal"].as_str()));
        content = vec![json!({"type": "text", "text": texts.collect::<String>()})];
    }
    content.retain(|part| !(part["type"] == "text" && part["text"] == ""));
    for part in &mut content {
        if let Some(url) = part.get("image_url").filter(|url| url.is_string()).cloned() {
            part["image_url"] = json!({"url": url});
        }
        if let Some(image) = part.get_mut("image_url").and_then(Value::as_object_mut) {
            image.remove("detail");
        }
        if let Some(fields) = part.as_object_mut() {
            fields.remove("document_name");
        }
    }
    message["content"] = content.into();
    for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = call.as_object_mut() {
            fields.remove("index");
        }
        let arguments = &mut call["function"]["arguments"];
        if let Some(text) = arguments.as_str() {
            *arguments = serde_json::from_str(text).unwrap_or_else(|_| text.into());
        }
        if arguments.is_null() || *arguments == "" {
            *arguments = json!({});
        }
    }
}

/// Makes one message of several that lead with instructions.
fn merge_instructions(messages: &mut Vec<Value>) {
    let leading = messages.iter().take_while(|message| message["role"] == "system").count();
    if leading > 1 {
        let merged: Vec<Value> = messages.drain(..leading).collect();
        let texts: Vec<&str> = merged
            .iter()
            .flat_map(|message| list(&message["content"]))
            .filter_map(|part| part["text"].as_str())
            .collect();
        let text = json!([{"type": "text", "text": texts.join("\n\n")}]);
        messages.insert(0, json!({"role": "system", "content": text}));
    }
}

#[test]
fn conformance_of_chat_knows_requests_that_mean_the_same() {
    let messages = |messages: Value| json!({"model": "m", "messages": messages});
    let with = |name: &str, value: Value| json!({"model": "m", "messages": [], name: value});
    let plain = messages(json!([]));
    for (one, other) in [
        (with("temperature", json!(null)), plain.clone()),
        (with("stop", json!(null)), plain.clone()),
        (with("stop", json!("x")), with("stop", json!(["x"]))),
        (with("stream_options", json!({"include_usage": true, "include_obfuscation": false})), plain.clone()),
        (with("max_completion_tokens", json!(5)), with("max_tokens", json!(5))),
        (with("parallel_tool_calls", json!(true)), plain.clone()),
        (with("tool_choice", json!("auto")), plain),
        (
            messages(
                json!([{"role": "developer", "content": "a"}, {"role": "system", "content": [{"type": "text", "text": "b"}]}]),
            ),
            messages(json!([{"role": "system", "content": "a\n\nb"}])),
        ),
        (
            messages(
                json!([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "refusal": null}]),
            ),
            messages(json!([{"role": "assistant", "content": "ab", "tool_calls": [], "reasoning_content": " "}])),
        ),
    ] {
        assert_eq!(normalised(&one), normalised(&other), "{one}");
    }
}

#[test]
fn conformance_of_chat_reads_what_a_request_asks_for() {
    let ask = |name: &str, value: Value| decode(&json!({"model": "m", "messages": [], name: value}));
    for name in ["temperature", "stop", "max_tokens", "tool_choice", "tools"] {
        let request = ask(name, json!(null)).unwrap();
        assert!(!request.settings.extra.contains_key(name), "{name}");
    }
    for choice in [json!({"type": "allowed_tools", "allowed_tools": {}}), json!({"type": "custom", "custom": {}})] {
        assert!(ask("tool_choice", choice).is_none());
    }
    assert!(ask("tools", json!([{"type": "web_search"}])).is_none());
}
