//! Maps a request to its wire form.

use serde_json::{Value, json};

use super::super::wire::media::{self, Source};
use super::super::wire::text::argument_object;
use super::super::wire::{check_extra, family, lay_over, to_body};
use crate::domain::{Message, MessageRole, ModelRequest, Part, ToolChoice};
use crate::error::{Error, Result};

/// Fields of the wire form that belong to the engine: `settings.extra` must not hold them.
const OWN_FIELDS: &[&str] = &[
    "model",
    "messages",
    "tools",
    "stream",
    "options.num_predict",
    "options.temperature",
    "options.top_p",
    "options.seed",
    "options.stop",
];

/// Errors: `InvalidInput` if `extra` holds a field of the engine, or a message what the API cannot take.
pub(super) fn encode(provider: &str, request: &ModelRequest) -> Result<Vec<u8>> {
    check_extra(request, OWN_FIELDS)?;
    let settings = &request.settings;
    let mut messages = Vec::new();
    for message in &request.messages {
        take(provider, message, &mut messages)?;
    }
    let mut body = json!({"model": request.model_name, "messages": messages, "stream": settings.stream != Some(false)});
    let mut options = json!({});
    for (name, value) in [("temperature", settings.temperature), ("top_p", settings.top_p)] {
        if let Some(value) = value {
            options[name] = value.into();
        }
    }
    if let Some(cap) = settings.max_output_tokens {
        options["num_predict"] = cap.into();
    }
    if let Some(seed) = settings.seed {
        options["seed"] = seed.into();
    }
    if !settings.stop.is_empty() {
        options["stop"] = settings.stop.clone().into();
    }
    body["options"] = options;
    // There is no tool choice: what must not be called is not shown.
    let chosen = |name: &str| match &request.tool_choice {
        ToolChoice::None => false,
        ToolChoice::Tool(chosen) => name == chosen,
        ToolChoice::Auto | ToolChoice::Required => true,
    };
    let tools: Vec<_> = request.tools.iter().filter(|tool| chosen(&tool.name)).collect();
    if !tools.is_empty() {
        let tools = tools.iter().map(|tool| {
            let function = json!({"name": tool.name, "description": tool.description, "parameters": tool.input_schema});
            json!({"type": "function", "function": function})
        });
        body["tools"] = tools.collect();
    }
    if let Some(output) = &request.output_schema {
        body["format"] = output.schema.clone();
    }
    if let Some((think, _)) = thinking(request) {
        body["think"] = think;
    }
    lay_over(&mut body, &settings.extra);
    to_body(&body)
}

/// How the model is asked to think, and whether that is what the effort says or only the nearest to it.
///
/// GPT-OSS takes a word and always thinks, the others can only be told to think or not. A word that Ollama does not
/// know is refused. Source: Ollama's page on thinking, and its issues 17859 and 15831, read 2026-11-24.
pub(super) fn thinking(request: &ModelRequest) -> Option<(Value, bool)> {
    let effort = request.settings.reasoning_effort.as_deref()?;
    let is_off = matches!(effort, "none" | "off");
    if !family(request).contains("gpt-oss") {
        return Some(((!is_off).into(), is_off));
    }
    let word = match effort {
        "none" | "off" | "minimal" => "low",
        "xhigh" | "max" => "high",
        word => word,
    };
    Some((word.into(), word == effort))
}

fn take(provider: &str, message: &Message, messages: &mut Vec<Value>) -> Result<()> {
    let role = match message.role {
        MessageRole::System => "system",
        MessageRole::Assistant => "assistant",
        MessageRole::User | MessageRole::Tool => "user",
    };
    let (mut content, mut thinking, mut images, mut calls) = (String::new(), String::new(), Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Text { text } | Part::Refusal { text } => content.push_str(text),
            Part::Thinking { text, provider: Some(maker), .. } if maker == provider => thinking.push_str(text),
            Part::ToolCall(call) => calls.push(json!({
                "type": "function",
                "function": {"name": call.name, "arguments": argument_object(&call.arguments)},
            })),
            Part::ToolResult(result) => {
                let said = result.as_text();
                let said = if result.is_error { format!("error: {said}") } else { said };
                messages.push(json!({"role": "tool", "tool_name": result.name, "content": said}));
            }
            Part::Image { media_type, data } => match media::source(media_type, data) {
                Source::Inline(_, data) => images.push(data),
                Source::Url(_) | Source::Id(_) => {
                    return Err(Error::invalid("ollama takes the bytes of an image, not its address"));
                }
            },
            Part::File { .. } => return Err(Error::invalid("ollama takes no files: put their text into the message")),
            _ => {}
        }
    }
    let said_nothing = content.is_empty() && images.is_empty() && calls.is_empty() && thinking.is_empty();
    if said_nothing && !message.parts.is_empty() {
        return Ok(());
    }
    let mut wire = json!({"role": role, "content": content});
    if !thinking.is_empty() {
        wire["thinking"] = thinking.into();
    }
    if !images.is_empty() {
        wire["images"] = images.into();
    }
    if !calls.is_empty() {
        wire["tool_calls"] = calls.into();
    }
    messages.push(wire);
    Ok(())
}
