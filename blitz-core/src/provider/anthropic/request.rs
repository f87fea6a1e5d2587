//! Maps a request to its wire form.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::super::profile::{self, claude_version};
use super::super::wire::calls::{IdRule, WireIds};
use super::super::wire::media::{self, Source};
use super::super::wire::schema::{self, Reading, Sent};
use super::super::wire::text::{argument_object, is_blank};
use super::super::wire::{cache, check_extra, family, lay_over, left_out, must_call, prompted, split_system, to_body};
use super::thinking;
use crate::domain::{Message, MessageRole, ModelRequest, Part, ToolChoice, ToolResult};
use crate::error::{Error, Result};

/// Fields of the wire form that belong to the engine: `settings.extra` must not hold them.
const OWN_FIELDS: &[&str] =
    &["model", "messages", "system", "max_tokens", "temperature", "top_p", "stop_sequences", "stream", "tool_choice"];
/// The output cap where nobody sets one: the wire form demands one.
const DEFAULT_CAP: u64 = 4_096;

pub(super) struct Wire {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub streams: bool,
    /// How the answer is read, where the schema was sent in another form.
    pub reading: Option<Reading>,
    /// The settings that it does not say.
    pub left_out: Vec<&'static str>,
}

/// Errors: `InvalidInput` if `extra` holds a field of the engine or an image is where none can be.
pub(super) fn encode(provider: &str, request: &ModelRequest) -> Result<Wire> {
    check_extra(request, OWN_FIELDS)?;
    let settings = &request.settings;
    let mut extra = settings.extra.clone();
    let betas = extra.remove("anthropic_beta");
    let streams = settings.stream != Some(false);
    let cap = cap(request);
    let (leading, rest) = split_system(&request.messages);
    let mut body = json!({"model": request.model_name, "max_tokens": cap});
    let native = native_schema(request);
    let system = system(leading, request, native.is_some())?;
    if !system.is_empty() {
        body["system"] = system.into();
    }
    let mut turns = Turns::new(provider, request);
    for message in rest {
        turns.take(message)?;
    }
    let container = turns.container.take().filter(|_| goes_on(rest));
    let (messages, uploads) = turns.finish();
    body["messages"] = messages;
    if let Some(id) = container {
        // What else a container is to hold is said beside its id.
        body["container"] = if extra.get("container").is_some_and(Value::is_object) { json!({"id": id}) } else { id };
    }
    tools(request, &mut body);
    let reading = native.and_then(|native| {
        body["output_config"] = json!({"format": {"type": "json_schema", "schema": native.schema}});
        native.reading
    });
    let thinks = thinking::ask(request, cap, &mut body, &extra);
    choose_tool(request, thinks, &mut body);
    sampling(request, thinks, &mut body);
    let said = body.pointer("/output_config/effort");
    let must_call = must_call(request) || request.tool_choice == ToolChoice::Required && has_own_tools(request);
    let is_made_to_call = matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool"));
    let is_another = |effort: &str| !thinks || said.is_some_and(|said| said != effort);
    let left_out = left_out(
        request,
        &[
            ("temperature", settings.temperature.is_some() && body.get("temperature").is_none()),
            ("top_p", settings.top_p.is_some() && body.get("top_p").is_none()),
            ("seed", settings.seed.is_some()),
            ("tool_choice", must_call && !is_made_to_call),
            ("reasoning_effort", thinking::effort(settings).is_some_and(is_another)),
        ],
    )?;
    if let Some(ttl) = settings.prompt_cache.as_ref().and_then(|cache| cache.conversation.as_ref()) {
        body["cache_control"] = cache_control(Some(ttl));
    }
    if streams {
        body["stream"] = true.into();
    }
    lay_over(&mut body, &extra);
    let elsewhere = usize::from(body.get("cache_control").is_some());
    cache::thin_out(&mut body, "cache_control", elsewhere);
    Ok(Wire { headers: headers(betas, uploads)?, body: to_body(&body)?, streams, reading, left_out })
}

/// The output cap that is sent.
pub(super) fn cap(request: &ModelRequest) -> u64 {
    request.settings.max_output_tokens.unwrap_or(DEFAULT_CAP)
}

fn headers(betas: Option<Value>, uploads: bool) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    let mut names: Vec<String> = match betas {
        Some(Value::String(one)) => vec![one],
        Some(list) => serde_json::from_value(list)
            .map_err(|_| Error::invalid("settings.extra.anthropic_beta must be a list of names"))?,
        None => Vec::new(),
    };
    if uploads {
        names.push("files-api-2025-04-14".to_owned());
    }
    if !names.is_empty() {
        let value = HeaderValue::from_str(&names.join(","))
            .map_err(|_| Error::invalid("settings.extra.anthropic_beta holds what no header can carry"))?;
        headers.insert(HeaderName::from_static("anthropic-beta"), value);
    }
    Ok(headers)
}

/// The instructions that lead the conversation, and the schema where it can only be told.
fn system(leading: &[Message], request: &ModelRequest, has_native: bool) -> Result<Vec<Value>> {
    let mut blocks = Vec::new();
    for part in leading.iter().flat_map(|message| &message.parts) {
        match part {
            Part::Text { text } if is_blank(text) => {}
            Part::Text { text } => blocks.push(json!({"type": "text", "text": text})),
            Part::CachePoint { ttl } => mark(&mut blocks, ttl.as_deref()),
            Part::Image { .. } | Part::File { .. } => {
                return Err(Error::invalid("an image or file can only be in a user message"));
            }
            _ => {}
        }
    }
    if let Some(ttl) = request.settings.prompt_cache.as_ref().and_then(|cache| cache.system.as_deref()) {
        mark(&mut blocks, Some(ttl));
    }
    if let Some(output) = request.output_schema.as_ref().filter(|_| !has_native) {
        blocks.push(json!({"type": "text", "text": prompted(&output.schema)}));
    }
    Ok(blocks)
}

/// The schema of the answer in its closed form, where the model can be held to it.
fn native_schema(request: &ModelRequest) -> Option<Sent> {
    let output = request.output_schema.as_ref()?;
    profile::of_request(request, None).native_schema.then(|| schema::closed(&output.schema)).flatten()
}

fn tools(request: &ModelRequest, body: &mut Value) {
    let mut tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            let mut wire = json!({"name": tool.name, "input_schema": tool.input_schema});
            if !tool.description.is_empty() {
                wire["description"] = tool.description.as_str().into();
            }
            wire
        })
        .collect();
    if let Some(ttl) = request.settings.prompt_cache.as_ref().and_then(|cache| cache.tools.as_deref()) {
        mark(&mut tools, Some(ttl));
    }
    if !tools.is_empty() {
        body["tools"] = tools.into();
    }
}

/// Whether the provider's own tools are there.
fn has_own_tools(request: &ModelRequest) -> bool {
    request.settings.extra.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty())
}

fn choose_tool(request: &ModelRequest, thinks: bool, body: &mut Value) {
    let settings = &request.settings;
    if request.tools.is_empty() && !has_own_tools(request) {
        return;
    }
    let thinks = thinks || !profile::takes_forced_calls(&family(request));
    let mut choice = match &request.tool_choice {
        ToolChoice::None => json!({"type": "none"}),
        // A model that thinks cannot be made to call, nor can some others.
        ToolChoice::Required if !thinks => json!({"type": "any"}),
        ToolChoice::Tool(name) if !thinks => json!({"type": "tool", "name": name}),
        _ => json!({"type": "auto"}),
    };
    if settings.parallel_tool_calls == Some(false) && choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = true.into();
    }
    if choice != json!({"type": "auto"}) {
        body["tool_choice"] = choice;
    }
}

fn sampling(request: &ModelRequest, thinks: bool, body: &mut Value) {
    let settings = &request.settings;
    if !settings.stop.is_empty() {
        body["stop_sequences"] = settings.stop.clone().into();
    }
    if thinks || !profile::of_request(request, None).sampling {
        return;
    }
    match (settings.temperature, settings.top_p) {
        (Some(temperature), _) => body["temperature"] = temperature.into(),
        (None, Some(top_p)) => body["top_p"] = top_p.into(),
        (None, None) => {}
    }
}

/// Messages under construction: roles alternate, the results of a turn come first in one message.
struct Turns<'a> {
    provider: &'a str,
    turns: Vec<(&'static str, Vec<Value>)>,
    ids: WireIds<'a>,
    knows_system: bool,
    uploads: bool,
    /// The id of the last container that ran code.
    container: Option<Value>,
}

impl<'a> Turns<'a> {
    fn new(provider: &'a str, request: &'a ModelRequest) -> Self {
        let knows_system = claude_version(&request.model_name).is_some_and(|version| version >= (4, 8));
        let ids = WireIds::by(IdRule::Word);
        Self { provider, turns: Vec::new(), ids, knows_system, uploads: false, container: None }
    }

    fn take(&mut self, message: &'a Message) -> Result<()> {
        let role = match message.role {
            MessageRole::Assistant => "assistant",
            MessageRole::System if self.knows_system => "system",
            _ => "user",
        };
        let calls = self.ids.calls(message);
        let mut calls = calls.into_iter();
        let mut blocks = match self.turns.pop_if(|(last, _)| *last == role) {
            Some((_, blocks)) => blocks,
            None => Vec::new(),
        };
        for part in &message.parts {
            match part {
                Part::Text { text } | Part::Refusal { text } if !is_blank(text) => {
                    blocks.push(json!({"type": "text", "text": text}));
                }
                Part::Thinking { text, signature: Some(signature), provider: Some(maker), .. }
                    if maker == self.provider =>
                {
                    blocks.push(json!({"type": "thinking", "thinking": text, "signature": signature}));
                }
                Part::ToolCall(call) => {
                    let id = calls.next().map_or(call.id.as_str().into(), |(id, _)| id);
                    let input = argument_object(&call.arguments);
                    blocks.push(json!({"type": "tool_use", "id": id, "name": call.name, "input": input}));
                }
                Part::ToolResult(result) => blocks.push(self.result(result)),
                Part::Image { media_type, data } => {
                    blocks.push(json!({"type": "image", "source": self.source(media_type, data)}));
                }
                Part::File { media_type, data, name } => {
                    let source = match media::text(media_type, data) {
                        Some(text) => json!({"type": "text", "media_type": "text/plain", "data": text}),
                        None => self.source(media_type, data),
                    };
                    let mut block = json!({"type": "document", "source": source});
                    if let Some(name) = name {
                        block["title"] = name.as_str().into();
                    }
                    blocks.push(block);
                }
                Part::CachePoint { ttl } => mark(&mut blocks, ttl.as_deref()),
                Part::Opaque { provider, data } if provider == self.provider => match data.get("container") {
                    Some(container) if data.get("type").is_none() => self.container = container.get("id").cloned(),
                    _ => opaque(&mut blocks, data),
                },
                _ => {}
            }
        }
        if !blocks.is_empty() {
            self.turns.push((role, blocks));
        }
        Ok(())
    }

    fn result(&self, result: &'a ToolResult) -> Value {
        let mut block = json!({"type": "tool_result", "tool_use_id": self.ids.result(result)});
        let text = result.as_text();
        if !is_blank(&text) {
            block["content"] = json!([{"type": "text", "text": text}]);
        }
        if result.is_error {
            block["is_error"] = true.into();
        }
        block
    }

    fn source(&mut self, media_type: &str, data: &str) -> Value {
        match media::source(media_type, data) {
            Source::Inline(media_type, data) => json!({"type": "base64", "media_type": media_type, "data": data}),
            Source::Url(url) => json!({"type": "url", "url": url}),
            Source::Id(id) => {
                self.uploads = true;
                json!({"type": "file", "file_id": id})
            }
        }
    }

    /// The messages, and whether any names an upload.
    fn finish(mut self) -> (Value, bool) {
        // The API refuses an unfinished answer that ends in white space.
        if let Some(("assistant", blocks)) = self.turns.last_mut()
            && let Some(Value::String(text)) = blocks.last_mut().and_then(|block| block.get_mut("text"))
        {
            text.truncate(text.trim_end().len());
        }
        let messages = self.turns.into_iter().map(|(role, mut blocks)| {
            if role == "user" {
                blocks.sort_by_key(|block| block["type"] != "tool_result");
            }
            json!({"role": role, "content": blocks})
        });
        (messages.collect(), self.uploads)
    }
}

/// A part that came from here: citations belong to the text before them and who called to the call, all else stands alone.
fn opaque(blocks: &mut Vec<Value>, data: &Value) {
    if data.get("type").is_some() {
        return blocks.push(data.clone());
    }
    let beside = [("citations", "text"), ("caller", "tool_use")];
    match beside.iter().find_map(|(field, kind)| Some((field, kind, data.get(*field)?))) {
        // Without the block that it belongs to it is left out.
        Some((field, kind, value)) => {
            if let Some(block) = blocks.last_mut().filter(|block| block["type"] == *kind) {
                block[*field] = value.clone();
            }
        }
        None => blocks.push(data.clone()),
    }
}

/// Whether an answer goes on that has begun: its calls are answered, or it paused.
fn goes_on(messages: &[Message]) -> bool {
    let answers = |part: &Part| matches!(part, Part::ToolResult(_));
    messages.last().is_some_and(|last| last.role == MessageRole::Assistant || last.parts.iter().any(answers))
}

/// Asks to keep everything up to the last block that can be marked.
fn mark(blocks: &mut [Value], ttl: Option<&str>) {
    let markable = |block: &&mut Value| !matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"));
    if let Some(block) = blocks.iter_mut().rev().find(markable) {
        block["cache_control"] = cache_control(ttl);
    }
}

fn cache_control(ttl: Option<&str>) -> Value {
    match ttl.filter(|ttl| !ttl.is_empty()) {
        Some(ttl) => json!({"type": "ephemeral", "ttl": ttl}),
        None => json!({"type": "ephemeral"}),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::domain::{ModelSettings, PromptCache, ToolCall, ToolSpec};

    fn body(request: &ModelRequest) -> Value {
        serde_json::from_slice(&encode("anthropic", request).unwrap().body).unwrap()
    }

    fn ask(messages: Vec<Message>) -> ModelRequest {
        ModelRequest::new("claude-sonnet-4-6", messages)
    }

    #[test]
    fn b08_b19_b26_texts_of_white_space_are_left_out() {
        let call = ToolCall::new("a", "f", "");
        let messages = vec![
            Message::system(" \n"),
            Message::user("go"),
            Message::new(MessageRole::Assistant, vec![Part::text("\n\n"), Part::ToolCall(call)]),
            Message::new(MessageRole::Tool, vec![Part::ToolResult(ToolResult::new("a", "f", json!(" \t")))]),
            Message::user("  "),
        ];
        let wire = body(&ask(messages));
        assert_eq!(wire.get("system"), None);
        assert_eq!(wire["messages"].as_array().unwrap().len(), 3);
        assert_eq!(wire["messages"][1]["content"].as_array().unwrap().len(), 1, "{wire}");
        assert_eq!(wire["messages"][2]["content"], json!([{"type": "tool_result", "tool_use_id": "a"}]));
    }

    #[test]
    fn b08_all_results_of_a_turn_are_first_in_one_user_message() {
        let calls = ["a", "b"].map(|id| Part::ToolCall(ToolCall::new(id, "f", "")));
        let messages = vec![
            Message::user("go"),
            Message::new(MessageRole::Assistant, calls.into()),
            Message::new(MessageRole::Tool, vec![Part::ToolResult(ToolResult::new("a", "f", json!(1)))]),
            Message::new(
                MessageRole::Tool,
                vec![Part::text("also"), Part::ToolResult(ToolResult::error("b", "f", "broke"))],
            ),
            Message::user("and?"),
        ];
        let wire = body(&ask(messages))["messages"].clone();
        assert_eq!(wire.as_array().unwrap().len(), 3);
        assert_eq!(wire[1]["content"][0]["input"], json!({}));
        let kinds: Vec<_> = wire[2]["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
        assert_eq!(kinds, ["tool_result", "tool_result", "text", "text"]);
        assert_eq!(wire[2]["content"][1]["is_error"], true);
    }

    #[test]
    fn b11_a_model_that_thinks_is_not_made_to_call_and_takes_no_temperature() {
        let tool = ToolSpec::new("f", "", json!({"type": "object"}));
        let settings = ModelSettings {
            reasoning_effort: Some("high".into()),
            temperature: Some(0.2),
            max_output_tokens: Some(4_096),
            ..ModelSettings::default()
        };
        let mut request = ask(vec![]).with_tools(vec![tool]).with_tool_choice(ToolChoice::Required);
        request.settings = settings;
        let adaptive = body(&request);
        assert_eq!(adaptive["thinking"], json!({"type": "adaptive"}));
        assert_eq!(adaptive["output_config"], json!({"effort": "high"}));
        assert!(adaptive.get("tool_choice").is_none() && adaptive.get("temperature").is_none());
        request.model_name = "claude-sonnet-4-5".into();
        assert_eq!(body(&request)["thinking"]["budget_tokens"], 3_584);
        request.settings.reasoning_effort = None;
        assert_eq!(body(&request)["tool_choice"], json!({"type": "any"}));
        assert_eq!(body(&request)["temperature"], 0.2);
        // Its largest cannot be made to call from 5.1 on, and says so.
        for (name, can_be_made) in [("claude-opus-5", true), ("claude-opus-5-5", false), ("claude-haiku-5-5", true)] {
            request.model_name = name.into();
            let named = encode("anthropic", &request).unwrap().left_out.contains(&"tool_choice");
            assert_eq!((body(&request).get("tool_choice").is_some(), named), (can_be_made, !can_be_made), "{name}");
        }
    }

    #[test]
    fn b29_thinking_goes_back_to_its_maker_only() {
        let thought = |provider: &str| Part::Thinking {
            text: "hm".into(),
            signature: Some("s".into()),
            provider: Some(provider.into()),
            id: None,
        };
        let said = vec![thought("anthropic"), thought("openai"), Part::text("ok")];
        let wire = body(&ask(vec![Message::new(MessageRole::Assistant, said), Message::user("?")]));
        let content = wire["messages"][0]["content"].as_array().unwrap();
        assert_eq!(content.len(), 2);
        assert_eq!(content[0], json!({"type": "thinking", "thinking": "hm", "signature": "s"}));
    }

    #[test]
    fn b29_a_container_and_who_called_go_back_while_the_calls_are_answered() {
        let own = |data: Value| Part::Opaque { provider: "anthropic".into(), data };
        let caller = json!({"type": "code_execution_20260120", "tool_id": "srvtoolu_1"});
        let said = vec![
            own(json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "code_execution", "input": {}})),
            Part::ToolCall(ToolCall::new("a", "f", "{}")),
            own(json!({"caller": caller})),
            own(json!({"container": {"id": "container_1", "expires_at": "2026-11-24T00:00:00Z"}})),
        ];
        let result = Part::ToolResult(ToolResult::new("a", "f", json!(1)));
        let mut request = ask(vec![
            Message::user("go"),
            Message::new(MessageRole::Assistant, said),
            Message::new(MessageRole::Tool, vec![result]),
        ]);
        let wire = body(&request);
        assert_eq!(wire["container"], "container_1");
        assert_eq!(wire["messages"][1]["content"].as_array().unwrap().len(), 2, "{wire}");
        assert_eq!(wire["messages"][1]["content"][1]["caller"], caller);
        let skills = json!({"skills": [{"type": "anthropic", "skill_id": "pptx"}]});
        request.settings.extra.insert("container".into(), skills.clone());
        assert_eq!(body(&request)["container"], json!({"id": "container_1", "skills": skills["skills"]}));
        request.settings.extra.insert("container".into(), json!("mine"));
        assert_eq!(body(&request)["container"], "mine");
        // Another question needs none, and the old one may be gone by then.
        request.settings.extra.clear();
        request.messages.extend([Message::assistant("done"), Message::user("and?")]);
        assert_eq!(body(&request).get("container"), None);
    }

    #[test]
    fn b11_a_choice_of_tool_is_said_where_only_the_providers_tools_are_there() {
        let mut request = ask(vec![Message::user("hi")]).with_tool_choice(ToolChoice::None);
        assert_eq!(body(&request).get("tool_choice"), None);
        let search = json!([{"type": "web_search_20250305", "name": "web_search"}]);
        request.settings.extra.insert("tools".into(), search);
        assert_eq!(body(&request)["tool_choice"], json!({"type": "none"}));
        request.tool_choice = ToolChoice::Required;
        assert_eq!(body(&request)["tool_choice"], json!({"type": "any"}));
        request.model_name = "claude-opus-5-5".into();
        assert_eq!(encode("anthropic", &request).unwrap().left_out, ["tool_choice"]);
    }

    #[test]
    fn cache_points_and_settings_mark_what_may_be_kept() {
        let system = vec![Part::text("rules"), Part::CachePoint { ttl: Some("1h".into()) }];
        let mut request = ask(vec![Message::new(MessageRole::System, system), Message::user("hi")]);
        request.tools = vec![ToolSpec::new("f", "", json!({"type": "object"}))].into();
        request.settings.prompt_cache = Some(PromptCache::everything());
        let wire = body(&request);
        assert_eq!(wire["cache_control"], json!({"type": "ephemeral"}));
        assert_eq!(wire["tools"][0]["cache_control"], json!({"type": "ephemeral"}));
        assert_eq!(wire["system"][0]["cache_control"]["type"], "ephemeral");
        request.settings.prompt_cache = None;
        assert_eq!(body(&request)["system"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    }

    #[test]
    fn a_request_has_no_more_cache_marks_than_the_api_takes() {
        let said = |text: &str| vec![Part::text(text), Part::CachePoint { ttl: None }];
        let turn = |role, text| Message::new(role, said(text));
        let (user, assistant) = (MessageRole::User, MessageRole::Assistant);
        let messages = vec![Message::system("rules"), turn(user, "1"), turn(assistant, "2"), turn(user, "3")];
        let mut request = ask(messages);
        request.tools = vec![ToolSpec::new("f", "", json!({"type": "object"}))].into();
        request.settings.prompt_cache = Some(PromptCache::everything());
        let wire = body(&request);
        assert_eq!(wire.to_string().matches("cache_control").count(), 4, "{wire}");
        let marks = |index: usize| wire["messages"][index]["content"][0].get("cache_control").is_some();
        assert_eq!([0, 1, 2].map(marks), [false, false, true]);
        let own = json!({"type": "web_search_20250305", "name": "web_search", "cache_control": {"type": "ephemeral"}});
        request.settings.extra.insert("tools".into(), json!([own]));
        assert_eq!(body(&request).to_string().matches("cache_control").count(), 4);
    }

    #[test]
    fn unknown_fields_and_the_providers_own_tools_pass_through() {
        let mut request = ask(vec![Message::user("hi")]);
        request.tools = vec![ToolSpec::new("f", "", json!({"type": "object"}))].into();
        request.settings.extra = Map::from_iter([
            ("tools".to_owned(), json!([{"type": "web_search_20250305", "name": "web_search"}])),
            ("top_k".to_owned(), json!(5)),
            ("anthropic_beta".to_owned(), json!(["b1"])),
        ]);
        let wire = encode("anthropic", &request).unwrap();
        let body: Value = serde_json::from_slice(&wire.body).unwrap();
        assert_eq!((body["tools"].as_array().unwrap().len(), &body["top_k"]), (2, &json!(5)));
        assert_eq!(wire.headers["anthropic-beta"], "b1");
        request.settings.extra = Map::from_iter([("model".to_owned(), json!("x"))]);
        assert!(encode("anthropic", &request).is_err());
    }
}
