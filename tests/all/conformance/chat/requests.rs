//! Reads a recorded request into the engine's terms, and brings wire forms that mean the same to one.

use std::collections::HashMap;

use blitz::{
    Message, MessageRole, ModelRequest, ModelSettings, OutputSchema, Part, ToolCall, ToolChoice, ToolResult, ToolSpec,
};
use serde_json::{Map, Value, json};

/// The recorded request as a program would have made it; `None` where the engine cannot say it at all.
pub fn decode(body: &Value) -> Option<ModelRequest> {
    let mut fields = body.as_object()?.clone();
    let model = fields.remove("model")?;
    let messages = messages(fields.remove("messages")?.as_array()?)?;
    let mut request = ModelRequest::new(model.as_str()?, messages);
    if let Some(tools) = fields.remove("tools") {
        request = request.with_tools(tools.as_array()?.iter().map(tool).collect::<Vec<_>>());
    }
    if let Some(choice) = fields.remove("tool_choice") {
        request = request.with_tool_choice(tool_choice(&choice));
    }
    if fields.get("response_format").is_some_and(|format| format["type"] == "json_schema") {
        let schema = &fields.remove("response_format")?["json_schema"];
        request = request.with_output_schema(OutputSchema::new(schema["name"].as_str()?, schema["schema"].clone()));
    }
    Some(request.with_settings(settings(fields)?))
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
    settings.parallel_tool_calls = fields.remove("parallel_tool_calls").and_then(|parallel| parallel.as_bool());
    settings.stop = match fields.remove("stop") {
        Some(Value::String(one)) => vec![one],
        Some(list) => serde_json::from_value(list).ok()?,
        None => Vec::new(),
    };
    settings.extra = fields;
    Some(settings)
}

fn tool(tool: &Value) -> ToolSpec {
    let function = &tool["function"];
    let text = |name: &str| function[name].as_str().unwrap_or_default();
    ToolSpec::new(text("name"), text("description"), function["parameters"].clone())
}

fn tool_choice(choice: &Value) -> ToolChoice {
    match choice.as_str() {
        Some("none") => ToolChoice::None,
        Some("required") => ToolChoice::Required,
        Some(_) => ToolChoice::Auto,
        None => ToolChoice::Tool(choice["function"]["name"].as_str().unwrap().to_owned()),
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
            let result = ToolResult::new(&id, tool_names.get(&id)?, message["content"].clone());
            return Some(Message::new(MessageRole::Tool, vec![Part::ToolResult(result)]));
        }
        _ => return None,
    };
    let mut parts = Vec::new();
    if let Some(text) = message["reasoning_content"].as_str() {
        parts.push(Part::Thinking { text: text.to_owned(), signature: None, provider: Some("openai".to_owned()), id: None });
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
        _ => None,
    }
}

/// A wire request with everything that may differ without harm brought to one form.
///
/// Content as text or as a list with that one text; a missing, null or empty content; image detail;
/// arguments as JSON; fields at their defaults; formats that the strict schema form does not know.
pub fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    for message in body["messages"].as_array_mut().unwrap() {
        normalise_message(message);
    }
    let fields = body.as_object_mut().unwrap();
    if fields.get("stream") == Some(&json!(false)) {
        fields.remove("stream");
    }
    if let Some(schema) = fields.get_mut("response_format") {
        drop_unknown_formats(schema);
    }
    if let Some(Value::String(stop)) = fields.get("stop") {
        fields.insert("stop".to_owned(), json!([stop]));
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
    for part in message["content"].as_array_mut().unwrap() {
        if let Some(image) = part.get_mut("image_url").and_then(Value::as_object_mut) {
            image.remove("detail");
        }
    }
    for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        let arguments = call["function"]["arguments"].as_str().unwrap();
        call["function"]["arguments"] = serde_json::from_str(arguments).unwrap_or_else(|_| arguments.into());
    }
}

fn drop_unknown_formats(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "format" || !matches!(value.as_str(), Some("uint8" | "double")));
            fields.values_mut().for_each(drop_unknown_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_unknown_formats),
        _ => {}
    }
}
