//! Maps a request to its wire form.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::profile;
use super::schema;
use crate::domain::{
    Message, MessageRole, ModelRequest, ModelSettings, OutputSchema, Part, ToolCall, ToolChoice, ToolResult, ToolSpec,
};
use crate::error::{Error, Result};

/// Fields of the wire form that belong to the engine: `settings.extra` must not hold them.
const OWN_FIELDS: &[&str] = &[
    "model",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "stop",
    "seed",
    "reasoning_effort",
    "stream",
    "stream_options",
];

/// How far a server follows OpenAI itself.
pub(super) struct Dialect<'a> {
    /// The name that thinking of this provider carries.
    pub provider: &'a str,
    /// OpenAI itself: it knows no `reasoning_content`, and takes tool arguments as the model wrote them.
    pub official: bool,
}

/// A request ready to be sent.
pub(super) struct Encoded {
    /// The JSON body.
    pub body: Vec<u8>,
    /// Whether a stream is asked for.
    pub streams: bool,
    /// The schema of the answer, where its optional fields were sent as required and nullable.
    pub nullable: Option<Arc<OutputSchema>>,
}

/// The body of a request. `with_usage` asks for usage at the end of a stream.
///
/// Errors: `InvalidInput` if `extra` holds a field of the engine or an image is where none can be.
pub(super) fn encode(request: &ModelRequest, dialect: &Dialect<'_>, with_usage: bool) -> Result<Encoded> {
    let settings = &request.settings;
    check_extra(request)?;
    let profile = profile::of(&request.model_name);
    let streams = settings.stream != Some(false);
    let (response_format, nullable) = response_format(request);
    let (cap, reasoning_cap) =
        if profile.reasoning { (None, settings.max_output_tokens) } else { (settings.max_output_tokens, None) };
    let sampling = if profile.reasoning { &ModelSettings::default() } else { settings };
    let has_tools = !request.tools.is_empty();
    let wire = WireRequest {
        model: &request.model_name,
        messages: messages(&request.messages, dialect)?,
        tools: request.tools.iter().map(WireTool::from).collect(),
        tool_choice: if has_tools { tool_choice(&request.tool_choice) } else { None },
        parallel_tool_calls: settings.parallel_tool_calls.filter(|_| has_tools),
        response_format,
        max_tokens: cap,
        max_completion_tokens: reasoning_cap,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        stop: &sampling.stop,
        seed: settings.seed,
        reasoning_effort: settings.reasoning_effort.as_deref(),
        stream: streams,
        stream_options: (streams && with_usage && profile.stream_usage)
            .then_some(StreamOptions { include_usage: true }),
        extra: &settings.extra,
    };
    let body = serde_json::to_vec(&wire)
        .map_err(|error| Error::internal("a request could not be written as JSON").with_source(error))?;
    Ok(Encoded { body, streams, nullable })
}

fn check_extra(request: &ModelRequest) -> Result<()> {
    let extra = &request.settings.extra;
    let taken = |field: &&&str| extra.contains_key(**field);
    let format =
        (request.output_schema.is_some() && extra.contains_key("response_format")).then_some("response_format");
    match OWN_FIELDS.iter().find(taken).copied().or(format) {
        Some(field) => Err(Error::invalid(format!("settings.extra must not hold {field}: the engine sets it itself"))),
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct WireRequest<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a Value,
}

impl<'a> From<&'a ToolSpec> for WireTool<'a> {
    fn from(tool: &'a ToolSpec) -> Self {
        let function =
            WireFunction { name: &tool.name, description: &tool.description, parameters: &tool.input_schema };
        Self { kind: "function", function }
    }
}

fn tool_choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!("none")),
        ToolChoice::Required => Some(json!("required")),
        ToolChoice::Tool(name) => Some(json!({"type": "function", "function": {"name": name}})),
    }
}

/// The schema in its strict form where there is one, and the schema to read the answer by if it differs.
fn response_format(request: &ModelRequest) -> (Option<Value>, Option<Arc<OutputSchema>>) {
    let Some(output) = &request.output_schema else { return (None, None) };
    let name = schema_name(&output.name);
    let format = |schema: &Value, strict: bool| {
        Some(json!({"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": strict}}))
    };
    match schema::strict(&output.schema) {
        Some(strict) => (format(&strict.schema, true), strict.made_nullable.then(|| output.clone())),
        None => (format(&output.schema, false), None),
    }
}

/// A name as the API takes it: `[A-Za-z0-9_-]`, 1 to 64 characters.
fn schema_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name: String = name.chars().take(64).map(|c| if fits(c) { c } else { '_' }).collect();
    if name.is_empty() { "output".to_owned() } else { name }
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

impl<'a> WireMessage<'a> {
    fn new(role: &'static str, content: Option<Content<'a>>) -> Self {
        Self { role, content, reasoning_content: None, tool_calls: Vec::new(), tool_call_id: None }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: Cow<'a, str>,
}

fn messages<'a>(messages: &'a [Message], dialect: &Dialect<'_>) -> Result<Vec<WireMessage<'a>>> {
    let mut wire = Vec::with_capacity(messages.len());
    // The engine's id of each call so far, and the id that the provider knows it by.
    let mut ids = HashMap::new();
    for message in messages {
        for part in &message.parts {
            if let Part::ToolResult(result) = part {
                wire.push(tool_result(result, &ids));
            }
        }
        match message.role {
            MessageRole::Tool => {}
            MessageRole::System => wire.push(WireMessage::new("system", Some(text_only(message)?))),
            MessageRole::User => wire.extend(user(message).map(|content| WireMessage::new("user", Some(content)))),
            MessageRole::Assistant => wire.push(assistant(message, &mut ids, dialect)?),
        }
    }
    Ok(wire)
}

fn tool_result<'a>(result: &'a ToolResult, ids: &HashMap<&'a str, &'a str>) -> WireMessage<'a> {
    let text = match &result.content {
        Value::String(text) if !result.is_error => Cow::Borrowed(text.as_str()),
        _ if !result.is_error => Cow::Owned(result.as_text()),
        _ => Cow::Owned(format!("error: {}", result.as_text())),
    };
    let id = ids.get(result.id.as_str()).copied().unwrap_or(&result.id);
    WireMessage { tool_call_id: Some(id), ..WireMessage::new("tool", Some(Content::Text(text))) }
}

fn text_only(message: &Message) -> Result<Content<'_>> {
    if message.parts.iter().any(|part| matches!(part, Part::Image { .. })) {
        return Err(Error::invalid("an image can only be in a user message"));
    }
    let mut texts: Vec<_> = message.parts.iter().filter_map(content_part).collect();
    Ok(content(&mut texts))
}

/// A user message; `None` where it held tool results only.
fn user(message: &Message) -> Option<Content<'_>> {
    let mut parts: Vec<_> = message.parts.iter().filter_map(content_part).collect();
    let results_only = parts.is_empty() && !message.parts.is_empty();
    (!results_only).then(|| content(&mut parts))
}

/// One text stays plain text; all else is a list of parts.
fn content<'a>(parts: &mut Vec<ContentPart<'a>>) -> Content<'a> {
    match parts.as_slice() {
        [] => Content::Text("".into()),
        [ContentPart::Text { text }] => Content::Text((*text).into()),
        _ => Content::Parts(std::mem::take(parts)),
    }
}

fn content_part(part: &Part) -> Option<ContentPart<'_>> {
    match part {
        Part::Text { text } => Some(ContentPart::Text { text }),
        Part::Image { media_type, data } => {
            let is_url = ["http://", "https://", "data:"].iter().any(|scheme| data.starts_with(scheme));
            let url =
                if is_url { Cow::Borrowed(data.as_str()) } else { format!("data:{media_type};base64,{data}").into() };
            Some(ContentPart::ImageUrl { image_url: ImageUrl { url } })
        }
        _ => None,
    }
}

/// What the model said: text, refusal and calls; thinking only to a provider that made it and takes it back.
fn assistant<'a>(
    message: &'a Message,
    ids: &mut HashMap<&'a str, &'a str>,
    dialect: &Dialect<'_>,
) -> Result<WireMessage<'a>> {
    let (mut said, mut thought) = (String::new(), String::new());
    for part in &message.parts {
        match part {
            Part::Text { text } | Part::Refusal { text } => said.push_str(text),
            Part::Thinking { text, provider: Some(maker), .. } if maker == dialect.provider && !dialect.official => {
                thought.push_str(text);
            }
            Part::Image { .. } => return Err(Error::invalid("an image can only be in a user message")),
            _ => {}
        }
    }
    let tool_calls = tool_calls(message, ids, dialect);
    let content = (!said.is_empty() || tool_calls.is_empty()).then(|| Content::Text(said.into()));
    let reasoning_content = (!thought.is_empty()).then_some(thought);
    Ok(WireMessage { reasoning_content, tool_calls, ..WireMessage::new("assistant", content) })
}

/// The calls of one message, under the provider's own ids unless it gave one of them twice.
fn tool_calls<'a>(
    message: &'a Message,
    ids: &mut HashMap<&'a str, &'a str>,
    dialect: &Dialect<'_>,
) -> Vec<WireCall<'a>> {
    let own_id = |call: &'a ToolCall| call.provider_id.as_deref().filter(|id| !id.is_empty()).unwrap_or(&call.id);
    let mut seen = HashSet::new();
    let unique = message.tool_calls().all(|call| seen.insert(own_id(call)));
    message
        .tool_calls()
        .map(|call| {
            let id = if unique { own_id(call) } else { &call.id };
            ids.insert(&call.id, id);
            let function = CalledFunction { name: &call.name, arguments: arguments(&call.arguments, dialect) };
            WireCall { id, kind: "function", function }
        })
        .collect()
}

/// Arguments as the model wrote them; servers that render them through a template must get an object.
fn arguments<'a>(text: &'a str, dialect: &Dialect<'_>) -> Cow<'a, str> {
    if text.trim().is_empty() {
        return "{}".into();
    }
    if dialect.official || serde_json::from_str::<Map<String, Value>>(text).is_ok() {
        return text.into();
    }
    json!({"invalid_arguments": text}).to_string().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
