//! Maps a request to its wire form.

use serde_json::{Map, Value, json};

use super::super::profile;
use super::super::tokens::is_billed_by_the_prompt;
use super::super::wire::calls::{IdRule, WireIds};
use super::super::wire::extra::{UNSEEN_INPUT, found};
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
    "generationConfig.maxOutputTokens",
    "generationConfig.temperature",
    "generationConfig.topP",
    "generationConfig.seed",
    "generationConfig.stopSequences",
];
/// Those of an answer that has a schema.
const SCHEMA_FIELDS: &[&str] =
    &["generationConfig.responseMimeType", "generationConfig.responseSchema", "generationConfig.responseJsonSchema"];
/// How a function is chosen; what narrows the choice is the caller's.
const CHOICE_MODE: &str = "toolConfig.functionCallingConfig.mode";
/// Fields that no call can have.
const BARRED: &[(&str, &str)] = &[("cachedContent", UNSEEN_INPUT)];

/// Errors: `InvalidInput` if `extra` holds a field of the engine or an image is where none can be.
pub(super) fn encode(provider: &str, request: &ModelRequest) -> Result<Vec<u8>> {
    check_extra(request, OWN_FIELDS)?;
    bar_extra(request, BARRED)?;
    if found(&request.settings.extra, CHOICE_MODE).into_iter().any(|mode| !mode.is_null() && mode != "VALIDATED") {
        check_extra(request, &[CHOICE_MODE])?;
    }
    if request.output_schema.is_some() {
        check_extra(request, SCHEMA_FIELDS)?;
    }
    let (leading, rest) = split_system(&request.messages);
    let mut body = json!({"contents": contents(provider, rest, request)?});
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
    choose_tool(request, &mut body);
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
    if shows_own_tools(request) {
        body["toolConfig"] = json!({"includeServerSideToolInvocations": true});
    }
}

/// Says which function is to be called, over what the caller says of that.
fn choose_tool(request: &ModelRequest, body: &mut Value) {
    let (mode, names) = match &request.tool_choice {
        _ if request.tools.is_empty() => return,
        ToolChoice::Auto => return,
        ToolChoice::None => ("NONE", Some(Vec::new())),
        ToolChoice::Required => ("ANY", None),
        ToolChoice::Tool(name) => ("ANY", Some(vec![name.as_str()])),
    };
    let object = |value: Option<Value>| match value {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let mut config = object(body.get_mut("toolConfig").map(Value::take));
    let mut choice = object(config.remove("functionCallingConfig"));
    choice.insert("mode".to_owned(), mode.into());
    if let Some(names) = names {
        choice.insert("allowedFunctionNames".to_owned(), names.into());
    }
    choice.retain(|_, value| *value != json!([]));
    config.insert("functionCallingConfig".to_owned(), choice.into());
    body["toolConfig"] = config.into();
}

/// Whether what the provider's own tools do is part of the conversation, with ids on all calls: the API wants it so
/// from its third generation on where functions stand beside them. Vertex does not know the field.
///
/// Source: ai.google.dev/gemini-api/docs/tool-combination.
fn shows_own_tools(request: &ModelRequest) -> bool {
    let extra = &request.settings.extra;
    if let Some(asked) = found(extra, "toolConfig.includeServerSideToolInvocations").first() {
        return **asked == true;
    }
    let tools = extra.get("tools").and_then(Value::as_array);
    let is_own =
        |tool: &Value| tool.as_object().is_some_and(|tool| tool.keys().any(|name| !name.starts_with("function")));
    let has_own = tools.is_some_and(|tools| tools.iter().any(is_own));
    has_own && !request.tools.is_empty() && is_third(&request.model_name) && !request.model_name.contains("publishers/")
}

/// Whether a model is Gemini's from the third generation on, which refuses calls in its conversation that nobody signed.
fn is_third(model_name: &str) -> bool {
    let name = model_name.rsplit('/').next().unwrap_or(model_name);
    name.starts_with("gemini-") && !is_billed_by_the_prompt(model_name)
}

/// In the place of a signature on a call that another model made. Source: ai.google.dev/gemini-api/docs/thought-signatures.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// Turns of one role are one content; results are matched to calls by name and order, and by ids where those are wanted.
fn contents(provider: &str, messages: &[Message], request: &ModelRequest) -> Result<Vec<Value>> {
    let (wants_signatures, wants_ids) = (is_third(&request.model_name), shows_own_tools(request));
    let mut ids = WireIds::by(IdRule::Any);
    let mut contents: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages {
        let role = if message.role == MessageRole::Assistant { "model" } else { "user" };
        let mut parts = match contents.pop_if(|(last, _)| *last == role) {
            Some((_, parts)) => parts,
            None => Vec::new(),
        };
        let mut calls = ids.calls(message).into_iter();
        for part in &message.parts {
            match part {
                Part::Text { text } | Part::Refusal { text } if !text.is_empty() => parts.push(json!({"text": text})),
                Part::Thinking { text, signature, provider: Some(maker), .. } if maker == provider => {
                    parts.push(signed(json!({"text": text, "thought": true}), signature.as_deref()));
                }
                Part::ToolCall(call) => {
                    let args = argument_object(&call.arguments);
                    let mut wire = json!({"functionCall": {"name": call.name, "args": args}});
                    if let Some((id, _)) = calls.next().filter(|_| wants_ids) {
                        wire["functionCall"]["id"] = id.into();
                    }
                    // Of calls made at once the first is signed; the API wants it so from its third generation on.
                    let is_first = !parts.iter().any(|part| part.get("functionCall").is_some());
                    let stand_in = (is_first && wants_signatures).then_some(UNSIGNED);
                    parts.push(signed(wire, call.signature.as_deref().or(stand_in)));
                }
                Part::ToolResult(result) => {
                    let mut wire = response(result);
                    if wants_ids {
                        wire["functionResponse"]["id"] = ids.result(result).into();
                    }
                    parts.push(wire);
                }
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
    fn b08_b44_calls_of_another_model_stand_with_a_stand_in_where_gemini_wants_a_signature() {
        let parts = ["f", "g"].map(|name| Part::ToolCall(ToolCall::new(name, name, "{}")));
        let said = Message::new(MessageRole::Assistant, parts.into());
        let results = ["f", "g"].map(|name| Part::ToolResult(ToolResult::new(name, name, json!(1))));
        let messages = vec![Message::user("?"), said, Message::new(MessageRole::Tool, results.into())];
        let signatures = |name: &str| {
            let parts = body(&ModelRequest::new(name, messages.clone()))["contents"][1]["parts"].clone();
            (parts[0]["thoughtSignature"].clone(), parts[1]["thoughtSignature"].clone())
        };
        assert_eq!(signatures("gemini-3-pro"), (json!(UNSIGNED), Value::Null), "the first of those made at once");
        assert_eq!(signatures("models/gemini-2.5-flash"), (Value::Null, Value::Null));
    }

    #[test]
    fn b08_functions_beside_own_tools_have_ids_and_say_so_from_gemini_3_on() {
        let call = Part::ToolCall(ToolCall::new("c1", "f", "{}"));
        let result = Part::ToolResult(ToolResult::new("c1", "f", json!(1)));
        let messages = vec![
            Message::user("?"),
            Message::new(MessageRole::Assistant, vec![call]),
            Message::new(MessageRole::Tool, vec![result]),
        ];
        let asked = |model: &str, tools: Value, config: Value| {
            let mut request = ModelRequest::new(model, messages.clone()).with_tools(vec![ToolSpec::new(
                "f",
                "",
                json!({"type": "object"}),
            )]);
            request.settings.extra.insert("tools".into(), tools);
            if !config.is_null() {
                request.settings.extra.insert("toolConfig".into(), config);
            }
            let body = body(&request);
            let part = |turn: usize, field: &str| body["contents"][turn]["parts"][0][field]["id"].clone();
            assert_eq!(part(1, "functionCall"), part(2, "functionResponse"));
            (body["toolConfig"].clone(), part(1, "functionCall") == "c1")
        };
        let (search, flag) = (json!([{"googleSearch": {}}]), |on| json!({"includeServerSideToolInvocations": on}));
        assert_eq!(asked("gemini-3-flash", search.clone(), Value::Null), (flag(true), true));
        assert_eq!(asked("gemini-3-flash", search.clone(), flag(false)), (flag(false), false));
        let places = json!({"retrievalConfig": {"languageCode": "de"}});
        let mut both = places.clone();
        lay_over(&mut both, flag(true).as_object().unwrap());
        assert_eq!(asked("gemini-3-flash", search.clone(), places), (both, true));
        for other in ["gemini-2.5-flash", "publishers/google/models/gemini-3-flash"] {
            assert_eq!(asked(other, search.clone(), Value::Null), (Value::Null, false), "{other}");
        }
        let functions = json!([{"functionDeclarations": [{"name": "g"}]}]);
        assert_eq!(asked("gemini-3-flash", functions, Value::Null), (Value::Null, false));
    }

    #[test]
    fn b11_a_caller_may_narrow_the_choice_of_a_function_and_not_make_it() {
        let asked = |choice: ToolChoice, config: Value| {
            let mut request = ModelRequest::new("gemini-3-pro", vec![Message::user("?")])
                .with_tools(vec![ToolSpec::new("f", "", json!({"type": "object"}))])
                .with_tool_choice(choice);
            request.settings.extra.insert("toolConfig".into(), json!({"functionCallingConfig": config}));
            encode("gemini", &request).map(|wire| {
                serde_json::from_slice::<Value>(&wire).unwrap()["toolConfig"]["functionCallingConfig"].clone()
            })
        };
        let names = json!({"allowedFunctionNames": ["f", "g"]});
        let checked = json!({"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]});
        assert_eq!(asked(ToolChoice::Auto, checked.clone()).unwrap(), checked);
        let any = |names: &[&str]| json!({"mode": "ANY", "allowedFunctionNames": names});
        assert_eq!(asked(ToolChoice::Required, names.clone()).unwrap(), any(&["f", "g"]));
        assert_eq!(asked(ToolChoice::Tool("f".into()), names).unwrap(), any(&["f"]));
        assert_eq!(asked(ToolChoice::None, checked).unwrap(), json!({"mode": "NONE"}));
        assert!(asked(ToolChoice::Auto, json!({"mode": "ANY"})).is_err());
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
