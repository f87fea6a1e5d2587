//! Maps a request to its wire form.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::profile;
use super::super::wire::calls::WireIds;
use super::super::wire::media::{self, Source};
use super::super::wire::schema::{self, Reading, Sent};
use super::super::wire::{bar_extra, check_extra, left_out, prompted, to_body};
use super::response::{CHUNKS, REASONING};
use super::server::{Cap, Quirks, Thought, WithTools};
use crate::domain::{Message, MessageRole, ModelRequest, ModelSettings, Part, ToolChoice, ToolResult, ToolSpec};
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
    // The cap again, in the words of llama.cpp and others.
    "n_predict",
    "max_new_tokens",
    "max_output_tokens",
    "temperature",
    "top_p",
    "stop",
    "seed",
    "reasoning_effort",
    "stream",
    "stream_options",
];

/// Fields that no call can have: gateways' ways to name another model than the one that money is held for.
const BARRED: &[(&str, &str)] = &[("models", OTHER_MODEL), ("preset", OTHER_MODEL)];
const OTHER_MODEL: &str = "another model might answer than the one that money is held for: use the agent's fallback";

/// Who is asked.
pub(super) struct Dialect<'a> {
    /// The name that thinking of this provider carries.
    pub provider: &'a str,
    /// How far it follows OpenAI itself.
    pub quirks: &'a Quirks,
    /// The model behind the name of the request, where it differs.
    pub family: Option<&'a str>,
}

/// A request ready to be sent.
pub(super) struct Encoded {
    /// The JSON body.
    pub body: Vec<u8>,
    /// Whether a stream is asked for.
    pub streams: bool,
    /// How the answer is read, where the schema was sent in another form.
    pub reading: Option<Reading>,
    /// The settings that it does not say.
    pub left_out: Vec<&'static str>,
}

/// The body of a request. `with_usage` asks for usage at the end of a stream.
///
/// Errors: `InvalidInput` if `extra` holds a field of the engine or an image is where none can be.
pub(super) fn encode(request: &ModelRequest, dialect: &Dialect<'_>, with_usage: bool) -> Result<Encoded> {
    let (settings, quirks) = (&request.settings, dialect.quirks);
    check_extra(request, OWN_FIELDS)?;
    bar_extra(request, BARRED)?;
    if request.output_schema.is_some() {
        check_extra(request, &["response_format"])?;
    }
    // What a user says of the model holds against what is known of the server.
    let own = settings.profile.as_ref();
    let profile = quirks.narrowed(profile::of_request(request, dialect.family)).overridden(own);
    // A gateway knows itself what each model refuses.
    let reasoning = profile.reasoning && quirks.cap == Cap::ByModel;
    let streams = settings.stream != Some(false);
    let shown = shown_tools(request, quirks);
    let has_tools = !shown.is_empty();
    // Some servers call no tool where a schema is given.
    let uncalled = quirks.schema_with_tools == WithTools::Uncalled && request.tool_choice == ToolChoice::None;
    let beside_tools = profile.schema_with_tools || uncalled;
    let holds_to_schema = quirks.schemas && profile.native_schema && (beside_tools || !has_tools);
    let (response_format, reading) = match holds_to_schema {
        true => response_format(request),
        false if quirks.json_object && !has_tools => {
            let object = request.output_schema.as_ref().filter(|output| schema::is_object(&output.schema));
            (object.map(|_| json!({"type": "json_object"})), None)
        }
        false => (None, None),
    };
    let cap = settings.max_output_tokens;
    let (cap, reasoning_cap) = if reasoning || quirks.cap == Cap::Completion { (None, cap) } else { (cap, None) };
    let takes_sampling = profile.sampling || quirks.cap != Cap::ByModel;
    let sampling = if takes_sampling { settings } else { &ModelSettings::default() };
    let left_out = left_out(
        request,
        &[
            ("temperature", !takes_sampling && settings.temperature.is_some()),
            ("top_p", !takes_sampling && settings.top_p.is_some()),
            ("stop", !takes_sampling && !settings.stop.is_empty()),
        ],
    )?;
    let (seed, random_seed) = if quirks.random_seed { (None, settings.seed) } else { (settings.seed, None) };
    let thinks = settings.extra.get("thinking").is_none_or(|thinking| thinking["type"] != "disabled");
    let mut messages = messages(&request.messages, dialect, thinks)?;
    if let Some(output) = request.output_schema.as_ref().filter(|_| !holds_to_schema) {
        messages.insert(0, WireMessage::new("system", Some(Content::Text(prompted(&output.schema).into()))));
    }
    if !quirks.official {
        merge_leading_system(&mut messages);
    }
    let wire = WireRequest {
        model: &request.model_name,
        messages,
        tools: shown.into_iter().map(WireTool::from).collect(),
        tool_choice: if has_tools { tool_choice(&request.tool_choice, quirks) } else { None },
        parallel_tool_calls: settings.parallel_tool_calls.filter(|_| has_tools),
        response_format,
        max_tokens: cap,
        max_completion_tokens: reasoning_cap,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        stop: &sampling.stop,
        seed,
        random_seed,
        reasoning_effort: settings.reasoning_effort.as_deref(),
        stream: streams,
        stream_options: (streams && with_usage && quirks.stream_options && profile.stream_usage)
            .then_some(StreamOptions { include_usage: true }),
        extra: &settings.extra,
    };
    Ok(Encoded { body: to_body(&wire)?, streams, reading, left_out })
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
    random_seed: Option<i64>,
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

fn tool_choice(choice: &ToolChoice, quirks: &Quirks) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!("none")),
        ToolChoice::Tool(name) if quirks.named_choice => Some(json!({"type": "function", "function": {"name": name}})),
        ToolChoice::Required | ToolChoice::Tool(_) => Some(json!(quirks.required)),
    }
}

/// The tools that a request shows: only the chosen one where the server would not hold to a choice by name.
fn shown_tools<'a>(request: &'a ModelRequest, quirks: &Quirks) -> Vec<&'a ToolSpec> {
    let is_shown = |tool: &&ToolSpec| match &request.tool_choice {
        ToolChoice::Tool(chosen) if !quirks.named_choice => tool.name == *chosen,
        _ => true,
    };
    request.tools.iter().filter(is_shown).collect()
}

/// The schema in its strict form where there is one, and how the answer is read if it differs.
fn response_format(request: &ModelRequest) -> (Option<Value>, Option<Reading>) {
    let Some(output) = &request.output_schema else { return (None, None) };
    let Sent { schema, strict, reading } = schema::sent(&output.schema);
    let format = json!({"name": schema::name(&output.name), "schema": schema, "strict": strict});
    (Some(json!({"type": "json_schema", "json_schema": format})), reading)
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_details: Option<&'a Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
}

impl<'a> WireMessage<'a> {
    fn new(role: &'static str, content: Option<Content<'a>>) -> Self {
        Self {
            role,
            content,
            reasoning_content: None,
            reasoning: None,
            reasoning_details: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }

    /// Whether it says nothing and calls no tool.
    fn is_empty(&self) -> bool {
        self.tool_calls.is_empty() && self.content.as_ref().is_none_or(Content::is_empty)
    }

    /// Puts a thought in front of what is said.
    fn think(&mut self, thought: Option<String>) {
        let Some(thought) = thought else { return };
        let mut parts =
            vec![ContentPart::Thinking { thinking: json!([{"type": "text", "text": thought}]), closed: true }];
        if let Some(Content::Text(text)) = self.content.take().filter(|content| !content.is_empty()) {
            parts.push(ContentPart::Text { text });
        }
        self.content = Some(Content::Parts(parts));
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<ContentPart<'a>>),
}

impl Content<'_> {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart<'a> {
    Text { text: Cow<'a, str> },
    Thinking { thinking: Value, closed: bool },
    ImageUrl { image_url: Address<'a> },
    VideoUrl { video_url: Address<'a> },
    File { file: Value },
    DocumentUrl { document_url: Cow<'a, str> },
    InputAudio { input_audio: Value },
}

impl ContentPart<'_> {
    fn text(&self) -> Option<&str> {
        if let Self::Text { text } = self { Some(text) } else { None }
    }
}

#[derive(Serialize)]
struct Address<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CalledFunction<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: Cow<'a, str>,
}

/// What the model is taken to have said between the results of its calls and the next word of the user.
const UNDERSTOOD: &str = "OK.";

/// A thought that nobody has, for servers that want one: they take an empty one for none.
const NO_THOUGHT: &str = " ";

fn messages<'a>(messages: &'a [Message], dialect: &Dialect<'_>, thinks: bool) -> Result<Vec<WireMessage<'a>>> {
    let mut wire = Vec::with_capacity(messages.len());
    let mut ids = WireIds::by(dialect.quirks.ids);
    let strict = dialect.quirks.strict_turns;
    for message in messages {
        for part in &message.parts {
            if let Part::ToolResult(result) = part {
                wire.push(tool_result(result, &ids));
            }
        }
        match message.role {
            MessageRole::Tool => {}
            MessageRole::System => wire.push(WireMessage::new("system", Some(text_only(message, dialect)?))),
            MessageRole::User => {
                let Some(content) = user(message, dialect)? else { continue };
                if strict && wire.last().is_some_and(|last| last.role == "tool") {
                    wire.push(WireMessage::new("assistant", Some(Content::Text(UNDERSTOOD.into()))));
                }
                wire.push(WireMessage::new("user", Some(content)));
            }
            MessageRole::Assistant => {
                let mut said = assistant(message, &mut ids, dialect)?;
                let among_calls = !said.tool_calls.is_empty() || wire.last().is_some_and(|last| last.role == "tool");
                if thinks && dialect.quirks.wants_thoughts && among_calls {
                    said.reasoning_content.get_or_insert_with(|| NO_THOUGHT.to_owned());
                }
                if !(strict && said.is_empty()) {
                    wire.push(said);
                }
            }
        }
    }
    Ok(wire)
}

/// Makes one message of several that lead with instructions: the templates of many servers take one only.
fn merge_leading_system(messages: &mut Vec<WireMessage<'_>>) {
    let leading = messages.iter().take_while(|message| message.role == "system").count();
    if leading < 2 {
        return;
    }
    let texts: Vec<String> = messages
        .drain(..leading)
        .flat_map(|message| match message.content {
            Some(Content::Text(text)) => vec![text.into_owned()],
            Some(Content::Parts(parts)) => parts.iter().filter_map(ContentPart::text).map(str::to_owned).collect(),
            None => Vec::new(),
        })
        .collect();
    messages.insert(0, WireMessage::new("system", Some(Content::Text(texts.join("\n\n").into()))));
}

fn tool_result<'a>(result: &'a ToolResult, ids: &WireIds<'a>) -> WireMessage<'a> {
    let text = match &result.content {
        Value::String(text) if !result.is_error => Cow::Borrowed(text.as_str()),
        _ if !result.is_error => Cow::Owned(result.as_text()),
        _ => Cow::Owned(format!("error: {}", result.as_text())),
    };
    WireMessage { tool_call_id: Some(ids.result(result)), ..WireMessage::new("tool", Some(Content::Text(text))) }
}

fn text_only<'a>(message: &'a Message, dialect: &Dialect<'_>) -> Result<Content<'a>> {
    check_media(message)?;
    let mut texts =
        message.parts.iter().filter_map(|part| content_part(part, dialect).transpose()).collect::<Result<Vec<_>>>()?;
    Ok(content(&mut texts))
}

fn check_media(message: &Message) -> Result<()> {
    let is_media = |part: &Part| matches!(part, Part::Image { .. } | Part::File { .. });
    match message.parts.iter().any(is_media) {
        true => Err(Error::invalid("an image or file can only be in a user message")),
        false => Ok(()),
    }
}

/// A user message; `None` where it held tool results only.
fn user<'a>(message: &'a Message, dialect: &Dialect<'_>) -> Result<Option<Content<'a>>> {
    let parts = message.parts.iter().filter_map(|part| content_part(part, dialect).transpose());
    let mut parts = parts.collect::<Result<Vec<_>>>()?;
    let results_only = parts.is_empty() && !message.parts.is_empty();
    Ok((!results_only).then(|| content(&mut parts)))
}

/// One text stays plain text; all else is a list of parts.
fn content<'a>(parts: &mut Vec<ContentPart<'a>>) -> Content<'a> {
    match parts.as_slice() {
        [] => Content::Text("".into()),
        [ContentPart::Text { text }] => Content::Text(text.clone()),
        _ => Content::Parts(std::mem::take(parts)),
    }
}

fn content_part<'a>(part: &'a Part, dialect: &Dialect<'_>) -> Result<Option<ContentPart<'a>>> {
    Ok(match part {
        Part::Text { text } => Some(ContentPart::Text { text: text.into() }),
        Part::Image { media_type, data } => {
            let url = media::url(media_type, data)
                .ok_or_else(|| Error::invalid("this provider takes no image by the id of an upload"))?;
            Some(ContentPart::ImageUrl { image_url: Address { url } })
        }
        Part::File { media_type, data, name } => Some(file(media_type, data, name.as_deref(), dialect)?),
        _ => None,
    })
}

fn file<'a>(media_type: &'a str, data: &'a str, name: Option<&str>, dialect: &Dialect<'_>) -> Result<ContentPart<'a>> {
    let by_id = || Error::invalid("this provider takes no such file by the id of an upload");
    match (media::source(media_type, data), media_type.split_once('/')) {
        (Source::Inline(_, data), Some(("audio", format))) => {
            let format = if format == "mpeg" { "mp3" } else { format };
            Ok(ContentPart::InputAudio { input_audio: json!({"data": data, "format": format}) })
        }
        (_, Some(("video", _))) => {
            let url = media::url(media_type, data).ok_or_else(by_id)?;
            Ok(ContentPart::VideoUrl { video_url: Address { url } })
        }
        _ if dialect.quirks.document_url => {
            Ok(ContentPart::DocumentUrl { document_url: media::url(media_type, data).ok_or_else(by_id)? })
        }
        (Source::Id(id), _) => Ok(ContentPart::File { file: json!({"file_id": id}) }),
        (Source::Url(url), _) => {
            Ok(ContentPart::File { file: json!({"filename": name.unwrap_or("file"), "file_data": url}) })
        }
        (Source::Inline(media_type, data), _) => {
            let data = format!("data:{media_type};base64,{data}");
            Ok(ContentPart::File { file: json!({"filename": name.unwrap_or("file"), "file_data": data}) })
        }
    }
}

/// What the model said: text, refusal and calls; thinking only to a provider that made it and takes it back.
fn assistant<'a>(message: &'a Message, ids: &mut WireIds<'a>, dialect: &Dialect<'_>) -> Result<WireMessage<'a>> {
    check_media(message)?;
    let (mut said, mut thought, mut name, mut details) = (String::new(), String::new(), None, None);
    for part in &message.parts {
        match part {
            Part::Text { text } | Part::Refusal { text } => said.push_str(text),
            Part::Thinking { text, provider: Some(maker), id, .. } if maker == dialect.provider => {
                thought.push_str(text);
                name = name.or(id.as_deref());
            }
            Part::Opaque { provider: maker, data } if maker == dialect.provider => {
                details = data.get("reasoning_details").or(details);
            }
            _ => {}
        }
    }
    let calls = ids.calls(message).into_iter();
    let tool_calls: Vec<_> = calls
        .map(|(id, call)| {
            let function = CalledFunction { name: &call.name, arguments: arguments(&call.arguments, dialect) };
            // A signature in another form is of another dialect.
            let extra_content = call.signature.as_deref().filter(|signature| signature.starts_with('{'));
            let extra_content = extra_content.and_then(|signature| serde_json::from_str(signature).ok());
            WireCall { id, kind: "function", function, extra_content }
        })
        .collect();
    let content = (!said.is_empty() || tool_calls.is_empty()).then_some(Content::Text(said.into()));
    let mut wire = WireMessage { tool_calls, ..WireMessage::new("assistant", content) };
    let thought = Some(thought).filter(|thought| !thought.is_empty());
    match (dialect.quirks.thought, name) {
        (Thought::Dropped, _) => {}
        (Thought::Chunks, _) | (Thought::AsTheyCame, Some(CHUNKS)) => wire.think(thought),
        (Thought::AsTheyCame, Some(REASONING)) => wire.reasoning = thought,
        (Thought::AsTheyCame, _) => wire.reasoning_content = thought,
        (Thought::ReasoningDetails, _) if details.is_some() => wire.reasoning_details = details,
        (Thought::ReasoningDetails, _) => wire.reasoning = thought,
    }
    Ok(wire)
}

/// Arguments as the model wrote them; servers that render them through a template must get an object.
fn arguments<'a>(text: &'a str, dialect: &Dialect<'_>) -> Cow<'a, str> {
    if matches!(text.trim(), "" | "null") {
        return "{}".into();
    }
    if dialect.quirks.official || serde_json::from_str::<Map<String, Value>>(text).is_ok() {
        return text.into();
    }
    json!({"invalid_arguments": text}).to_string().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
