//! Maps a request to its wire form.

use serde_json::{Value, json};

use super::super::wire::calls::WireIds;
use super::super::wire::schema::{self, Reading};
use super::super::wire::{check_extra, lay_over, media, prompted, to_body};
use super::response::TOOL_PLAN;
use crate::domain::{Message, MessageRole, ModelRequest, Part, ToolChoice};
use crate::error::{Error, Result};

/// Fields of the wire form that belong to the engine: `settings.extra` must not hold them.
const OWN_FIELDS: &[&str] = &[
    "model",
    "messages",
    "tools",
    "tool_choice",
    "max_tokens",
    "temperature",
    "p",
    "seed",
    "stop_sequences",
    "stream",
];

/// Errors: `InvalidInput` if `extra` holds a field of the engine, or a message what the API cannot take.
pub(super) fn encode(provider: &str, request: &ModelRequest) -> Result<(Vec<u8>, Option<Reading>)> {
    check_extra(request, OWN_FIELDS)?;
    let settings = &request.settings;
    let (mut messages, mut ids) = (Vec::new(), WireIds::default());
    for message in &request.messages {
        take(provider, message, &mut ids, &mut messages)?;
    }
    // A choice without tools is refused, and there is none by name: the others are not shown.
    let chosen = |name: &str| !matches!(&request.tool_choice, ToolChoice::Tool(chosen) if name != chosen);
    let tools: Vec<_> = request.tools.iter().filter(|tool| chosen(&tool.name)).collect();
    if let Some(output) = request.output_schema.as_ref().filter(|_| !tools.is_empty()) {
        messages.insert(0, json!({"role": "system", "content": prompted(&output.schema)}));
    }
    let mut body = json!({"model": request.model_name, "messages": messages});
    let mut reading = None;
    if !tools.is_empty() {
        let tools = tools.iter().map(|tool| {
            let function = json!({"name": tool.name, "description": tool.description, "parameters": tool.input_schema});
            json!({"type": "function", "function": function})
        });
        body["tools"] = tools.collect();
        match request.tool_choice {
            ToolChoice::Auto => {}
            ToolChoice::None => body["tool_choice"] = "NONE".into(),
            ToolChoice::Required | ToolChoice::Tool(_) => body["tool_choice"] = "REQUIRED".into(),
        }
    } else if let Some(output) = &request.output_schema {
        let (schema, wraps) = schema::as_object(&output.schema);
        body["response_format"] = json!({"type": "json_object", "json_schema": schema});
        reading = Reading::of(None, wraps);
    }
    if let Some(cap) = settings.max_output_tokens {
        body["max_tokens"] = cap.into();
    }
    for (name, value) in [("temperature", settings.temperature), ("p", settings.top_p)] {
        if let Some(value) = value {
            body[name] = value.into();
        }
    }
    if let Some(seed) = settings.seed {
        body["seed"] = seed.into();
    }
    if !settings.stop.is_empty() {
        body["stop_sequences"] = settings.stop.clone().into();
    }
    if let Some(effort) = settings.reasoning_effort.as_deref() {
        let kind = if matches!(effort, "none" | "off") { "disabled" } else { "enabled" };
        body["thinking"] = json!({"type": kind});
    }
    if settings.stream != Some(false) {
        body["stream"] = true.into();
    }
    lay_over(&mut body, &settings.extra);
    Ok((to_body(&body)?, reading))
}

fn take<'a>(provider: &str, message: &'a Message, ids: &mut WireIds<'a>, messages: &mut Vec<Value>) -> Result<()> {
    let role = match message.role {
        MessageRole::System => "system",
        MessageRole::Assistant => "assistant",
        MessageRole::User | MessageRole::Tool => "user",
    };
    let calls = ids.calls(message).into_iter().map(|(id, call)| {
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
        json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
    });
    let calls: Vec<_> = calls.collect();
    let (mut content, mut plan) = (Vec::new(), None);
    for part in &message.parts {
        match part {
            Part::Text { text } | Part::Refusal { text } => content.push(json!({"type": "text", "text": text})),
            Part::Thinking { text, provider: Some(maker), id, .. } if maker == provider => match id.as_deref() {
                Some(TOOL_PLAN) => plan = Some(text),
                _ => content.push(json!({"type": "thinking", "thinking": text})),
            },
            Part::Image { media_type, data } => {
                let url = media::url(media_type, data)
                    .ok_or_else(|| Error::invalid("cohere takes no image by the id of an upload"))?;
                content.push(json!({"type": "image_url", "image_url": {"url": url}}));
            }
            Part::File { .. } => {
                return Err(Error::invalid("cohere takes no files: put their text into settings.extra.documents"));
            }
            Part::ToolResult(result) => {
                let said = result.as_text();
                let said = if result.is_error { format!("error: {said}") } else { said };
                messages.push(json!({"role": "tool", "tool_call_id": ids.result(result), "content": said}));
            }
            _ => {}
        }
    }
    if content.is_empty() && calls.is_empty() && !message.parts.is_empty() {
        return Ok(());
    }
    let mut wire = json!({"role": role});
    if !content.is_empty() || calls.is_empty() {
        wire["content"] = content.into();
    }
    if !calls.is_empty() {
        wire["tool_calls"] = calls.into();
    }
    if let Some(plan) = plan {
        wire["tool_plan"] = plan.as_str().into();
    }
    messages.push(wire);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::ToolSpec;

    #[test]
    fn b11_a_tool_must_be_called_only_where_there_is_one() {
        let body = |request: &ModelRequest| -> Value {
            serde_json::from_slice(&encode("cohere", request).unwrap().0).unwrap()
        };
        let mut request = ModelRequest::new("command-a", vec![Message::user("?")]);
        for choice in [ToolChoice::Required, ToolChoice::Tool("f".into()), ToolChoice::None] {
            request.tool_choice = choice;
            let wire = body(&request);
            assert_eq!((wire.get("tools"), wire.get("tool_choice")), (None, None));
        }
        request.tools = ["f", "g"].map(|name| ToolSpec::new(name, "", json!({"type": "object"}))).into();
        request.tool_choice = ToolChoice::Required;
        assert_eq!(body(&request)["tool_choice"], "REQUIRED");
        request.tool_choice = ToolChoice::Tool("g".into());
        let wire = body(&request);
        assert_eq!((&wire["tool_choice"], wire["tools"].as_array().unwrap().len()), (&json!("REQUIRED"), 1));
        assert_eq!(wire["tools"][0]["function"]["name"], "g");
    }
}
