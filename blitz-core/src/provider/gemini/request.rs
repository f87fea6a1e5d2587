//! Maps a request to its wire form.

use serde_json::{Value, json};

use super::super::profile;
use super::super::wire::extra::UNSEEN_INPUT;
use super::super::wire::media::{self, Source};
use super::super::wire::text::argument_object;
use super::super::wire::{bar_extra, check_extra, family, lay_over, prompted, split_system, to_body};
use super::schema;
use crate::domain::{Message, MessageRole, ModelRequest, Part, ThinkingRule, ToolChoice, ToolResult};
use crate::error::{Error, Result};

/// Fields of the wire form that belong to the engine: `settings.extra` must not hold them.
const OWN_FIELDS: &[&str] = &[
    "model",
    "contents",
    "systemInstruction",
    "toolConfig",
    "generationConfig.maxOutputTokens",
    "generationConfig.temperature",
    "generationConfig.topP",
    "generationConfig.seed",
    "generationConfig.stopSequences",
];
/// Those of an answer that has a schema.
const SCHEMA_FIELDS: &[&str] =
    &["generationConfig.responseMimeType", "generationConfig.responseSchema", "generationConfig.responseJsonSchema"];
/// Fields that no call can have.
const BARRED: &[(&str, &str)] = &[("cachedContent", UNSEEN_INPUT)];

/// Errors: `InvalidInput` if `extra` holds a field of the engine or an image is where none can be.
pub(super) fn encode(provider: &str, request: &ModelRequest) -> Result<Vec<u8>> {
    check_extra(request, OWN_FIELDS)?;
    bar_extra(request, BARRED)?;
    if request.output_schema.is_some() {
        check_extra(request, SCHEMA_FIELDS)?;
    }
    let (leading, rest) = split_system(&request.messages);
    let mut body = json!({"contents": contents(provider, rest)?});
    let mut system = Vec::new();
    for part in leading.iter().flat_map(|message| &message.parts) {
        match part {
            Part::Text { text } => system.push(json!({"text": text})),
            Part::Image { .. } | Part::File { .. } => {
                return Err(Error::invalid("an image or file can only be in a user message"));
            }
            _ => {}
        }
    }
    let mut config = config(request);
    if let Some(output) = &request.output_schema {
        if holds_to_schema(request) {
            config["responseMimeType"] = "application/json".into();
            config["responseJsonSchema"] = schema::of_answer(&output.schema);
        } else {
            system.push(json!({"text": prompted(&output.schema)}));
        }
    }
    if !system.is_empty() {
        body["systemInstruction"] = json!({"parts": system});
    }
    if config.as_object().is_some_and(|config| !config.is_empty()) {
        body["generationConfig"] = config;
    }
    tools(request, &mut body);
    lay_over(&mut body, &request.settings.extra);
    to_body(&body)
}

/// Whether the model is held to the schema, not only told it.
fn holds_to_schema(request: &ModelRequest) -> bool {
    let has_tools = !request.tools.is_empty() || request.settings.extra.contains_key("tools");
    let profile = profile::of_request(request, None);
    profile.native_schema && (profile.schema_with_tools || !has_tools)
}

fn config(request: &ModelRequest) -> Value {
    let settings = &request.settings;
    let mut config = json!({});
    if let Some(cap) = settings.max_output_tokens {
        config["maxOutputTokens"] = cap.into();
    }
    for (name, value) in [("temperature", settings.temperature), ("topP", settings.top_p)] {
        if let Some(value) = value {
            config[name] = value.into();
        }
    }
    if let Some(seed) = settings.seed {
        config["seed"] = seed.into();
    }
    if !settings.stop.is_empty() {
        config["stopSequences"] = settings.stop.clone().into();
    }
    if let Some((thinking, _)) = thinking(request) {
        config["thinkingConfig"] = thinking;
    }
    config
}

/// How the model is asked to think, and whether that is what the effort says or only the nearest to it.
///
/// Gemini 3 knows levels, the models before it a number of tokens; Pro always thinks.
/// Source: Google's page on thinking, read 2026-11-23.
pub(super) fn thinking(request: &ModelRequest) -> Option<(Value, bool)> {
    let effort = request.settings.reasoning_effort.as_deref()?;
    let is_pro = family(request).contains("-pro");
    let is_off = matches!(effort, "none" | "off");
    let (field, value, is_exact): (_, Value, _) = match profile::of_request(request, None).thinking {
        Some(ThinkingRule::Never) => return None,
        Some(ThinkingRule::Budget) => {
            let (least, most) = if is_pro { (128, 32_768) } else { (0, 24_576) };
            let budget = match effort {
                _ if is_off => least,
                "minimal" => 512,
                "low" => 1_024,
                "high" => 24_576,
                "xhigh" | "max" => most,
                _ => 8_192,
            };
            ("thinkingBudget", budget.into(), !(is_off && is_pro))
        }
        _ => {
            let level = match effort {
                "none" | "off" | "minimal" if is_pro => "low",
                "none" | "off" => "minimal",
                "xhigh" | "max" => "high",
                level => level,
            };
            ("thinkingLevel", level.into(), level == effort)
        }
    };
    let mut config = json!({field: value});
    if !is_off {
        config["includeThoughts"] = true.into();
    }
    Some((config, is_exact))
}

fn tools(request: &ModelRequest, body: &mut Value) {
    if request.tools.is_empty() {
        return;
    }
    let declarations = request.tools.iter().map(|tool| {
        let mut wire = json!({"name": tool.name, "description": tool.description});
        match schema::subset(&tool.input_schema) {
            // A function without parameters has none; an empty object is refused.
            Some(subset) if subset.get("properties").is_none() && subset["type"] == "object" => {}
            Some(subset) => wire["parameters"] = subset,
            None => wire["parametersJsonSchema"] = tool.input_schema.clone(),
        }
        wire
    });
    body["tools"] = json!([{"functionDeclarations": declarations.collect::<Vec<_>>()}]);
    let config = match &request.tool_choice {
        ToolChoice::Auto => return,
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Tool(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    };
    body["toolConfig"] = json!({"functionCallingConfig": config});
}

/// Turns of one role are one content; results are matched to calls by name and order.
fn contents(provider: &str, messages: &[Message]) -> Result<Vec<Value>> {
    let mut contents: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages {
        let role = if message.role == MessageRole::Assistant { "model" } else { "user" };
        let mut parts = match contents.pop_if(|(last, _)| *last == role) {
            Some((_, parts)) => parts,
            None => Vec::new(),
        };
        for part in &message.parts {
            match part {
                Part::Text { text } | Part::Refusal { text } if !text.is_empty() => parts.push(json!({"text": text})),
                Part::Thinking { text, signature, provider: Some(maker), .. } if maker == provider => {
                    parts.push(signed(json!({"text": text, "thought": true}), signature.as_deref()));
                }
                Part::ToolCall(call) => {
                    let args = argument_object(&call.arguments);
                    let wire = json!({"functionCall": {"name": call.name, "args": args}});
                    parts.push(signed(wire, call.signature.as_deref()));
                }
                Part::ToolResult(result) => parts.push(response(result)),
                Part::Image { media_type, data } | Part::File { media_type, data, .. } => {
                    parts.push(media(media_type, data));
                }
                Part::Opaque { provider: maker, data } if maker == provider => {
                    match (data.as_object(), parts.last_mut()) {
                        // A signature alone belongs to the text before it.
                        (Some(fields), Some(last)) if fields.len() == 1 && fields.contains_key("thoughtSignature") => {
                            last["thoughtSignature"] = data["thoughtSignature"].clone();
                        }
                        _ => parts.push(data.clone()),
                    }
                }
                _ => {}
            }
        }
        if !parts.is_empty() {
            contents.push((role, parts));
        }
    }
    Ok(contents.into_iter().map(|(role, parts)| json!({"role": role, "parts": parts})).collect())
}

fn signed(mut part: Value, signature: Option<&str>) -> Value {
    if let Some(signature) = signature {
        part["thoughtSignature"] = signature.into();
    }
    part
}

fn response(result: &ToolResult) -> Value {
    let said = if result.is_error { json!({"error": result.content}) } else { json!({"result": result.content}) };
    json!({"functionResponse": {"name": result.name, "response": said}})
}

fn media(media_type: &str, data: &str) -> Value {
    match media::source(media_type, data) {
        Source::Inline(media_type, data) => json!({"inlineData": {"mimeType": media_type, "data": data}}),
        Source::Url(uri) | Source::Id(uri) => json!({"fileData": {"mimeType": media_type, "fileUri": uri}}),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::{OutputSchema, ToolCall, ToolSpec};

    fn body(request: &ModelRequest) -> Value {
        serde_json::from_slice(&encode("gemini", request).unwrap()).unwrap()
    }

    #[test]
    fn b08_calls_keep_their_signatures_and_results_follow_by_name() {
        let mut call = ToolCall::new("call_0", "f", "{\"a\":1}");
        call.signature = Some("s".into());
        let said = vec![
            Part::text("hm"),
            Part::Opaque { provider: "gemini".into(), data: json!({"thoughtSignature": "t"}) },
            Part::ToolCall(call),
        ];
        let results = vec![Part::ToolResult(ToolResult::error("call_0", "f", "broke"))];
        let messages = vec![
            Message::new(MessageRole::Assistant, said),
            Message::new(MessageRole::Tool, results),
            Message::user("?"),
        ];
        let contents = body(&ModelRequest::new("gemini-3-pro", messages))["contents"].clone();
        assert_eq!(contents[0]["parts"][0], json!({"text": "hm", "thoughtSignature": "t"}));
        assert_eq!(contents[0]["parts"][1]["thoughtSignature"], "s");
        assert_eq!(contents[1]["parts"][0]["functionResponse"]["response"], json!({"error": "broke"}));
        assert_eq!(contents.as_array().unwrap().len(), 2);
    }

    #[test]
    fn b15_a_schema_and_tools_go_together_from_gemini_3_on() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let mut request = ModelRequest::new("gemini-2.5-flash", vec![Message::user("?")])
            .with_tools(vec![ToolSpec::new("f", "", json!({"type": "object"}))])
            .with_output_schema(OutputSchema::new("o", schema));
        assert!(body(&request)["systemInstruction"]["parts"][0]["text"].as_str().unwrap().contains("JSON Schema"));
        assert!(body(&request)["tools"][0]["functionDeclarations"][0].get("parameters").is_none());
        request.model_name = "gemini-3-pro".into();
        assert!(body(&request)["generationConfig"]["responseJsonSchema"].is_object());
    }

    #[test]
    fn b34_effort_is_a_level_or_a_number_of_tokens() {
        let asked = |name: &str, effort: &str| {
            let mut request = ModelRequest::new(name, vec![Message::user("?")]);
            request.settings.reasoning_effort = Some(effort.into());
            body(&request)["generationConfig"]["thinkingConfig"].clone()
        };
        const WORDS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
        let all = |name: &str, field: &str| WORDS.map(|effort| asked(name, effort)[field].clone());
        let pro =
            [json!("low"), json!("low"), json!("low"), json!("medium"), json!("high"), json!("high"), json!("high")];
        assert_eq!(all("gemini-3.1-pro-preview", "thinkingLevel"), pro);
        let (minimal, [_, _, rest @ ..]) = (json!("minimal"), &pro);
        assert_eq!(all("gemini-3-flash-preview", "thinkingLevel")[..2], [minimal.clone(), minimal]);
        assert_eq!(&all("gemini-3-flash-preview", "thinkingLevel")[2..], rest);
        let budgets = [128, 512, 1_024, 8_192, 24_576, 32_768, 32_768].map(Value::from);
        assert_eq!(all("gemini-2.5-pro", "thinkingBudget"), budgets);
        let budgets = [0, 512, 1_024, 8_192, 24_576, 24_576, 24_576].map(Value::from);
        assert_eq!(all("models/gemini-2.5-flash", "thinkingBudget"), budgets);
        assert_eq!(all("gemini-2.5-flash", "includeThoughts")[..2], [Value::Null, json!(true)]);
        assert_eq!(asked("gemini-2.0-flash", "low"), Value::Null);
    }
}
