//! Reads a recorded request into the engine's terms, and brings wire forms that mean the same to one.

use std::collections::HashMap;

use blitz::{
    Message, MessageRole, ModelRequest, ModelSettings, OutputSchema, Part, ProfileOverride, ToolCall, ToolChoice,
    ToolResult,
};
use serde_json::{Map, Value, json};

use crate::conformance::reading::{drop_unknown_formats, function_tools};

/// The recorded request as a program would have made it; `None` where the engine cannot say it at all.
pub fn decode(body: &Value) -> Option<ModelRequest> {
    let mut fields = body.as_object()?.clone();
    let model = fields.remove("model")?;
    let messages = messages(fields.remove("messages")?.as_array()?)?;
    let mut request = ModelRequest::new(model.as_str()?, messages);
    if let Some(tools) = fields.remove("tools") {
        request = request.with_tools(function_tools(&tools));
    }
    if let Some(choice) = fields.remove("tool_choice") {
        request = request.with_tool_choice(tool_choice(&choice));
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

fn tool_choice(choice: &Value) -> ToolChoice {
    match choice.as_str() {
        Some("none") => ToolChoice::None,
        Some("required") => ToolChoice::Required,
        Some("any") => ToolChoice::Required,
        None if choice.is_object() => ToolChoice::Tool(choice["function"]["name"].as_str().unwrap().to_owned()),
        _ => ToolChoice::Auto,
    }
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
    if let Some(text) = message["reasoning_content"].as_str() {
        parts.push(Part::Thinking {
            text: text.to_owned(),
            signature: None,
            provider: Some("openai".to_owned()),
            id: None,
        });
    }
    if let Some(details) = message.get("reasoning_details") {
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
        parts.push(Part::ToolCall(ToolCall::new(id, name, string(&call["function"]["arguments"]))));
    }
    Some(Message::new(role, parts))
}

fn content_part(part: &Value) -> Option<Part> {
    match part["type"].as_str()? {
        "text" => Some(Part::text(part["text"].as_str()?)),
        "image_url" => {
            let url = part["image_url"]["url"].as_str()?;
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
/// Content as text or as a list with that one text; a missing, null or empty content; image detail;
/// arguments as JSON, none as empty ones; the name of a document; fields at their defaults; formats that the strict schema form does not know.
pub fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    for message in body["messages"].as_array_mut().unwrap() {
        normalise_message(message);
    }
    let fields = body.as_object_mut().unwrap();
    let defaults = [("stream", json!(false)), ("tool_choice", json!("auto")), ("tool_choice", json!(null))];
    for (name, value) in &defaults {
        if fields.get(*name) == Some(value) {
            fields.remove(*name);
        }
    }
    if let Some(schema) = fields.get_mut("response_format") {
        drop_unknown_formats(schema);
    }
    if let Some(Value::String(stop)) = fields.get("stop") {
        fields.insert("stop".to_owned(), json!([stop]));
    }
    body
}

/// The same as Mistral wants it: without the word of the model that stands between a tool and a user, which some of
/// its models want; with the ids of calls as numbers, in the order they come: the recordings hide the ids behind ones
/// that it would not take itself.
pub fn for_mistral(body: &Value) -> Value {
    let mut body = normalised(body);
    let mut behind_tool = false;
    body["messages"].as_array_mut().unwrap().retain(|message| {
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
    for message in body["messages"].as_array_mut().unwrap() {
        for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            number(&mut call["id"]);
        }
        if let Some(id) = message.get_mut("tool_call_id") {
            number(id);
        }
    }
    body
}

fn normalise_message(message: &mut Value) {
    let content = match message["content"].take() {
        Value::Null => json!([]),
        Value::String(text) if text.is_empty() => json!([]),
        Value::String(text) => json!([{"type": "text", "text": text}]),
        other => other,
    };
    message["content"] = content;
    if message["prefix"] == false {
        message.as_object_mut().unwrap().remove("prefix");
    }
    if message["role"] == "tool" {
        let parts = message["content"].as_array().into_iter().flatten();
        let said: String = parts.filter_map(|part| part["text"].as_str()).collect();
        message["content"] = json!([{"type": "text", "text": said}]);
    }
    for part in message["content"].as_array_mut().unwrap() {
        part.as_object_mut().unwrap().remove("document_name");
        if let Some(image) = part.get_mut("image_url").and_then(Value::as_object_mut) {
            image.remove("detail");
        }
    }
    for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        call.as_object_mut().unwrap().remove("index");
        let arguments = call["function"]["arguments"].as_str().unwrap();
        call["function"]["arguments"] = serde_json::from_str(arguments).unwrap_or_else(|_| arguments.into());
        if call["function"]["arguments"].is_null() {
            call["function"]["arguments"] = json!({});
        }
    }
}
