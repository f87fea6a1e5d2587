//! Maps a request to its wire form.

use serde_json::{Value, json};

use super::super::profile;
use super::super::wire::calls::{IdRule, WireIds};
use super::super::wire::extra::UNSEEN_INPUT;
use super::super::wire::media::{self, Source};
use super::super::wire::schema::{self, Reading, Sent};
use super::super::wire::{bar_extra, check_extra, lay_over, left_out, to_body};
use super::PHASE;
use crate::domain::{Message, MessageRole, ModelRequest, Part, ToolChoice, ToolResult};
use crate::error::{Error, Result};

/// Fields of the wire form that belong to the engine: `settings.extra` must not hold them.
const OWN_FIELDS: &[&str] =
    &["model", "input", "max_output_tokens", "temperature", "top_p", "parallel_tool_calls", "stream"];
/// Fields that no call can have.
const BARRED: &[(&str, &str)] =
    &[("previous_response_id", UNSEEN_INPUT), ("conversation", UNSEEN_INPUT), ("prompt", UNSEEN_INPUT)];

pub(super) struct Wire {
    pub body: Vec<u8>,
    pub streams: bool,
    /// How the answer is read, where the schema was sent in another form.
    pub reading: Option<Reading>,
    /// The settings that it does not say.
    pub left_out: Vec<&'static str>,
}

/// Errors: `InvalidInput` if `extra` holds a field of the engine, an image is where none can be, or
/// texts are set that end the answer, which the API does not know, and nothing says that they may be left out.
pub(super) fn encode(provider: &str, family: Option<&str>, request: &ModelRequest) -> Result<Wire> {
    check_extra(request, OWN_FIELDS)?;
    bar_extra(request, BARRED)?;
    let settings = &request.settings;
    if !settings.stop.is_empty() && settings.unsupported.is_none() {
        return Err(Error::invalid("the Responses API knows no stop texts: take them out of the settings"));
    }
    let streams = settings.stream != Some(false);
    let ids = WireIds::by(IdRule::Short);
    let mut input = Input { provider, items: Vec::new(), ids, stored: stored(request), phase: None };
    for message in &request.messages {
        input.take(message)?;
    }
    let items = without_open_thoughts(input.items);
    let mut body = json!({"model": request.model_name, "input": items});
    tools(request, &mut body)?;
    let reading = output(request, &mut body);
    if let Some(cap) = settings.max_output_tokens {
        body["max_output_tokens"] = cap.into();
    }
    if let Some(effort) = &settings.reasoning_effort {
        body["reasoning"] = json!({"effort": effort});
    }
    let profile = profile::of_request(request, family);
    let left_out = left_out(
        request,
        &[
            ("stop", !settings.stop.is_empty()),
            ("seed", settings.seed.is_some()),
            ("temperature", !profile.sampling && settings.temperature.is_some()),
            ("top_p", !profile.sampling && settings.top_p.is_some()),
        ],
    )?;
    if profile.reasoning {
        body["include"] = json!(["reasoning.encrypted_content"]);
    }
    if profile.sampling {
        for (name, value) in [("temperature", settings.temperature), ("top_p", settings.top_p)] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
    }
    if streams {
        body["stream"] = true.into();
    }
    lay_over(&mut body, &settings.extra);
    if let Some(Value::Array(include)) = body.get_mut("include") {
        include.dedup();
    }
    Ok(Wire { body: to_body(&body)?, streams, reading, left_out })
}

/// Whether the provider keeps the answer, so that a thought may be named by its id alone.
fn stored(request: &ModelRequest) -> bool {
    request.settings.extra.get("store") != Some(&Value::Bool(false))
}

fn tools(request: &ModelRequest, body: &mut Value) -> Result<()> {
    if request.tools.is_empty() {
        return Ok(());
    }
    let tools = request.tools.iter().map(|tool| {
        // Strict is the default here, and would make every optional argument a required one.
        let mut wire = json!({"type": "function", "name": tool.name, "parameters": tool.input_schema, "strict": false});
        if !tool.description.is_empty() {
            wire["description"] = tool.description.as_str().into();
        }
        wire
    });
    body["tools"] = tools.collect();
    let choice = match &request.tool_choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!("none")),
        ToolChoice::Required => Some(json!("required")),
        ToolChoice::Tool(name) => Some(json!({"type": "function", "name": name})),
    };
    if let Some(choice) = choice {
        check_extra(request, &["tool_choice"])?;
        body["tool_choice"] = choice;
    }
    if let Some(parallel) = request.settings.parallel_tool_calls {
        body["parallel_tool_calls"] = parallel.into();
    }
    Ok(())
}

/// The schema in its strict form where there is one, and how the answer is read if it differs.
fn output(request: &ModelRequest, body: &mut Value) -> Option<Reading> {
    let output = request.output_schema.as_ref()?;
    let Sent { schema, strict, reading } = schema::sent(&output.schema);
    let name = schema::name(&output.name);
    body["text"] = json!({"format": {"type": "json_schema", "name": name, "schema": schema, "strict": strict}});
    reading
}

/// The items without the thoughts behind which the model said and did nothing: the API refuses such.
fn without_open_thoughts(items: Vec<Value>) -> Vec<Value> {
    let mut kept = Vec::with_capacity(items.len());
    let mut followed = false;
    for item in items.into_iter().rev() {
        match item["type"].as_str().unwrap_or_default() {
            "reasoning" if !followed => continue,
            "reasoning" => {}
            "message" => followed = item["role"] == "assistant",
            kind => followed = !kind.ends_with("_output"),
        }
        kept.push(item);
    }
    kept.reverse();
    kept
}

/// The items of a conversation so far.
struct Input<'a> {
    provider: &'a str,
    items: Vec<Value>,
    ids: WireIds<'a>,
    stored: bool,
    /// The phase of the texts that follow.
    phase: Option<&'a str>,
}

impl<'a> Input<'a> {
    fn take(&mut self, message: &'a Message) -> Result<()> {
        let calls = self.ids.calls(message);
        let mut calls = calls.into_iter();
        let role = match message.role {
            MessageRole::System => "system",
            MessageRole::Assistant => "assistant",
            MessageRole::User | MessageRole::Tool => "user",
        };
        let mut content = Vec::new();
        self.phase = None;
        for part in &message.parts {
            match part {
                Part::Text { text } if role == "assistant" => {
                    // Several servers refuse a text without its notes.
                    content.push(json!({"type": "output_text", "text": text, "annotations": []}));
                }
                Part::Refusal { text } => content.push(json!({"type": "refusal", "refusal": text})),
                Part::Text { text } => content.push(json!({"type": "input_text", "text": text})),
                Part::Image { .. } | Part::File { .. } if role != "user" => {
                    return Err(Error::invalid("an image or file can only be in a user message"));
                }
                Part::Image { media_type, data } => content.push(image(media_type, data)),
                Part::File { media_type, data, name } => content.push(file(media_type, data, name.as_deref())),
                Part::Thinking { text, signature, provider: Some(maker), id: Some(id) } if maker == self.provider => {
                    self.flush(role, &mut content);
                    self.thought(message, id, text, signature.as_deref());
                }
                Part::Opaque { provider, data } if provider == self.provider => {
                    self.flush(role, &mut content);
                    if data["type"] == PHASE {
                        self.phase = data["phase"].as_str();
                    } else if self.stored || !is_name_alone(data) {
                        self.items.push(data.clone());
                    }
                }
                Part::ToolCall(call) => {
                    self.flush(role, &mut content);
                    let id = calls.next().map_or(call.id.as_str().into(), |(id, _)| id);
                    let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
                    self.items.push(
                        json!({"type": "function_call", "call_id": id, "name": call.name, "arguments": arguments}),
                    );
                }
                Part::ToolResult(result) => {
                    self.flush(role, &mut content);
                    let output = shown(result);
                    let id = self.ids.result(result);
                    self.items.push(json!({"type": "function_call_output", "call_id": id, "output": output}));
                }
                _ => {}
            }
        }
        self.flush(role, &mut content);
        Ok(())
    }

    fn flush(&mut self, role: &str, content: &mut Vec<Value>) {
        if !content.is_empty() {
            let content = std::mem::take(content);
            let mut message = json!({"type": "message", "role": role, "content": content});
            if let Some(phase) = self.phase {
                message["phase"] = phase.into();
            }
            self.items.push(message);
        }
    }

    /// A thought goes back as it came; one that is kept whole beside goes back in that form.
    fn thought(&mut self, message: &Message, id: &str, text: &str, encrypted: Option<&str>) {
        let whole = |part: &Part| matches!(part, Part::Opaque { data, .. } if data["id"] == id);
        if message.parts.iter().any(whole) || encrypted.is_none() && !self.stored {
            return;
        }
        let summary = if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) };
        let mut item = json!({"type": "reasoning", "id": id, "summary": summary});
        if let Some(encrypted) = encrypted {
            item["encrypted_content"] = encrypted.into();
        }
        self.items.push(item);
    }
}

/// Whether an item is a thought that says no more than its id to whoever has not kept it.
fn is_name_alone(item: &Value) -> bool {
    let says = item["encrypted_content"].as_str().is_some_and(|text| !text.is_empty())
        || item["content"].as_array().is_some_and(|content| !content.is_empty());
    item["type"] == "reasoning" && !says
}

fn shown(result: &ToolResult) -> String {
    if result.is_error { format!("error: {}", result.as_text()) } else { result.as_text() }
}

fn image(media_type: &str, data: &str) -> Value {
    match media::url(media_type, data) {
        Some(url) => json!({"type": "input_image", "image_url": url}),
        None => json!({"type": "input_image", "file_id": data.trim_start_matches("file-id:")}),
    }
}

fn file(media_type: &str, data: &str, name: Option<&str>) -> Value {
    match media::source(media_type, data) {
        Source::Url(url) => json!({"type": "input_file", "file_url": url}),
        Source::Id(id) => json!({"type": "input_file", "file_id": id}),
        Source::Inline(media_type, data) => json!({
            "type": "input_file",
            "filename": name.unwrap_or("file"),
            "file_data": format!("data:{media_type};base64,{data}"),
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::{ToolCall, ToolSpec};

    fn body(request: &ModelRequest) -> Value {
        serde_json::from_slice(&encode("p", None, request).unwrap().body).unwrap()
    }

    fn thought(signature: Option<&str>) -> Part {
        Part::Thinking {
            text: "hm".into(),
            signature: signature.map(str::to_owned),
            provider: Some("p".into()),
            id: Some("rs_1".into()),
        }
    }

    #[test]
    fn b29_a_thought_goes_back_before_what_followed_it() {
        let said = vec![thought(Some("e")), Part::text("ok"), Part::ToolCall(ToolCall::new("c", "f", ""))];
        let result = Part::ToolResult(ToolResult::error("c", "f", "broke"));
        let messages = vec![Message::new(MessageRole::Assistant, said), Message::new(MessageRole::Tool, vec![result])];
        let input = body(&ModelRequest::new("m", messages))["input"].clone();
        let kinds: Vec<_> = input.as_array().unwrap().iter().map(|item| &item["type"]).collect();
        assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call_output"]);
        assert_eq!(input[0]["encrypted_content"], "e");
        assert_eq!(input[1]["content"], json!([{"type": "output_text", "text": "ok", "annotations": []}]));
        assert_eq!((&input[2]["arguments"], &input[3]["output"]), (&json!("{}"), &json!("error: broke")));
    }

    #[test]
    fn b43_a_thought_that_is_kept_nowhere_is_left_out() {
        let whole = |item: Value| Part::Opaque { provider: "p".into(), data: item };
        let named = json!({"type": "reasoning", "id": "rs_2", "summary": [{"text": "a"}, {"text": "b"}]});
        let read = json!({"type": "reasoning", "id": "rs_3", "summary": [], "content": [{"text": "c"}]});
        let said = vec![thought(None), whole(named), whole(read), Part::text("ok")];
        let mut request = ModelRequest::new("m", vec![Message::new(MessageRole::Assistant, said)]);
        assert_eq!(body(&request)["input"].as_array().unwrap().len(), 4);
        request.settings.extra.insert("store".into(), false.into());
        let input = body(&request)["input"].clone();
        assert_eq!((input.as_array().unwrap().len(), &input[0]["id"]), (2, &json!("rs_3")));
    }

    #[test]
    fn b19_b29_a_thought_that_nothing_followed_is_left_out() {
        let whole = json!({"type": "reasoning", "id": "rs_2", "encrypted_content": "e", "summary": []});
        let whole = || Part::Opaque { provider: "p".into(), data: whole.clone() };
        let search = json!({"type": "web_search_call", "id": "ws"});
        let search = Part::Opaque { provider: "p".into(), data: search };
        let said = |parts: Vec<Part>| Message::new(MessageRole::Assistant, parts);
        let call = Part::ToolCall(ToolCall::new("c", "f", "{}"));
        let result = Part::ToolResult(ToolResult::new("c", "f", json!(1)));
        let input = body(&ModelRequest::new(
            "m",
            vec![
                Message::user("?"),
                said(vec![thought(Some("e")), whole()]),
                Message::user("your answer is empty"),
                said(vec![thought(Some("e")), search, whole()]),
                Message::user("your answer is empty"),
                said(vec![whole(), call, thought(Some("e"))]),
                Message::new(MessageRole::Tool, vec![result]),
            ],
        ))["input"]
            .clone();
        let kinds: Vec<_> = input.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
        let turns = [
            ["message", "message"].as_slice(),
            &["reasoning", "web_search_call", "message"],
            &["reasoning", "function_call", "function_call_output"],
        ];
        assert_eq!(kinds, turns.concat());
    }

    #[test]
    fn b29_each_message_goes_back_in_its_phase() {
        let phase = |provider: &str, phase: Value| Part::Opaque {
            provider: provider.into(),
            data: json!({"type": "phase", "phase": phase}),
        };
        let said = |parts: Vec<Part>| Message::new(MessageRole::Assistant, parts);
        let request = ModelRequest::new(
            "m",
            vec![
                said(vec![
                    phase("p", json!("commentary")),
                    Part::text("I look."),
                    phase("p", json!("final_answer")),
                    Part::text("4"),
                    phase("p", json!(null)),
                    Part::text("!"),
                ]),
                Message::user("?"),
                said(vec![phase("another", json!("commentary")), Part::text("5")]),
            ],
        );
        let input = body(&request)["input"].clone();
        let phases: Vec<_> = input.as_array().unwrap().iter().map(|item| item.get("phase").cloned()).collect();
        assert_eq!(phases, [Some(json!("commentary")), Some(json!("final_answer")), None, None, None]);
    }

    #[test]
    fn unknown_fields_lie_over_the_engines_own() {
        let mut request = ModelRequest::new("gpt-5", vec![Message::user("?")]);
        request.tools = vec![ToolSpec::new("f", "", json!({"type": "object"}))].into();
        request.settings.reasoning_effort = Some("low".into());
        request.settings.temperature = Some(0.5);
        for (name, value) in [
            ("reasoning", json!({"summary": "auto"})),
            ("include", json!(["reasoning.encrypted_content"])),
            ("tools", json!([{"type": "web_search"}])),
        ] {
            request.settings.extra.insert(name.into(), value);
        }
        let body = body(&request);
        assert_eq!(body["reasoning"], json!({"effort": "low", "summary": "auto"}));
        assert_eq!(body["include"], json!(["reasoning.encrypted_content"]));
        assert_eq!((body["tools"].as_array().unwrap().len(), body.get("temperature")), (2, None));
        request.settings.stop = vec!["x".into()];
        assert!(encode("p", None, &request).is_err());
    }
}
