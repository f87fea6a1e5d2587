//! Maps a request to its wire form.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::super::profile::takes_forced_calls;
use super::super::wire::calls::{IdRule, WireIds};
use super::super::wire::extra::found;
use super::super::wire::media::{self, Source};
use super::super::wire::text::{argument_object, is_blank};
use super::super::wire::{cache, check_extra, family, lay_over, prompted, split_system, to_body};
use crate::domain::{Message, MessageRole, ModelRequest, Part, ToolChoice, ToolResult};
use crate::error::{Error, Result};

/// Fields of the wire form that belong to the engine: `settings.extra` must not hold them.
const OWN_FIELDS: &[&str] = &[
    "modelId",
    "messages",
    "system",
    "toolConfig",
    "inferenceConfig.maxTokens",
    "inferenceConfig.temperature",
    "inferenceConfig.topP",
    "inferenceConfig.stopSequences",
    // The cap again, in the words of the models behind it.
    "additionalModelRequestFields.max_tokens",
    "additionalModelRequestFields.max_new_tokens",
    "additionalModelRequestFields.max_gen_len",
    "additionalModelRequestFields.max_completion_tokens",
    "additionalModelRequestFields.max_tokens_to_sample",
    "additionalModelRequestFields.inferenceConfig",
];

/// The most characters of a document's name, with room for a number behind it: the API takes 200.
const MAX_NAME: usize = 180;

/// Errors: `InvalidInput` if `extra` holds a field of the engine, or a message what the API cannot take.
pub(super) fn encode(provider: &str, request: &ModelRequest) -> Result<Vec<u8>> {
    check_extra(request, OWN_FIELDS)?;
    let (leading, rest) = split_system(&request.messages);
    let mut turns = Turns {
        provider,
        cites: is_claude_or_nova(&family(request)),
        turns: Vec::new(),
        ids: WireIds::by(IdRule::Word),
        names: HashSet::new(),
    };
    for message in rest {
        turns.take(message)?;
    }
    let has_calls = rest.iter().any(|message| message.tool_calls().next().is_some());
    let messages = turns.turns.into_iter().map(|(role, content)| json!({"role": role, "content": content}));
    let mut body = json!({"messages": messages.collect::<Vec<_>>()});
    let mut system = system(leading)?;
    let cache = request.settings.prompt_cache.as_ref();
    if let Some(ttl) = cache.and_then(|cache| cache.system.as_deref()).filter(|_| !system.is_empty()) {
        system.push(cache_point(Some(ttl)));
    }
    if let Some(output) = &request.output_schema {
        system.push(json!({"text": prompted(&output.schema)}));
    }
    if !system.is_empty() {
        body["system"] = system.into();
    }
    if let Some(ttl) = cache.and_then(|cache| cache.conversation.as_deref())
        && let Some(Value::Array(content)) =
            body["messages"].as_array_mut().and_then(|all| all.last_mut()?.get_mut("content"))
    {
        content.push(cache_point(Some(ttl)));
    }
    let config = config(request);
    if config.as_object().is_some_and(|config| !config.is_empty()) {
        body["inferenceConfig"] = config;
    }
    tools(request, has_calls, &mut body);
    cache::thin_out(&mut body, "cachePoint", 0);
    lay_over(&mut body, &request.settings.extra);
    to_body(&body)
}

fn system(leading: &[Message]) -> Result<Vec<Value>> {
    let mut blocks = Vec::new();
    for part in leading.iter().flat_map(|message| &message.parts) {
        match part {
            Part::Text { text } if !is_blank(text) => blocks.push(json!({"text": text})),
            Part::CachePoint { ttl } => blocks.push(cache_point(ttl.as_deref())),
            Part::Image { .. } | Part::File { .. } => {
                return Err(Error::invalid("an image or file can only be in a user message"));
            }
            _ => {}
        }
    }
    Ok(blocks)
}

fn config(request: &ModelRequest) -> Value {
    let settings = &request.settings;
    let mut config = json!({});
    if let Some(cap) = settings.max_output_tokens {
        config["maxTokens"] = cap.into();
    }
    for (name, value) in [("temperature", settings.temperature), ("topP", settings.top_p)] {
        if let Some(value) = value {
            config[name] = value.into();
        }
    }
    if !settings.stop.is_empty() {
        config["stopSequences"] = settings.stop.clone().into();
    }
    config
}

/// There is no "none": tools that must not be called are not shown, unless the conversation has calls,
/// which are refused without their tools.
fn tools(request: &ModelRequest, has_calls: bool, body: &mut Value) {
    let hidden = request.tool_choice == ToolChoice::None && !has_calls;
    if request.tools.is_empty() || hidden {
        return;
    }
    let mut tools: Vec<_> = request
        .tools
        .iter()
        .map(|tool| {
            let mut spec = json!({"name": tool.name, "inputSchema": {"json": tool.input_schema}});
            if !tool.description.is_empty() {
                spec["description"] = tool.description.as_str().into();
            }
            json!({"toolSpec": spec})
        })
        .collect();
    if let Some(ttl) = request.settings.prompt_cache.as_ref().and_then(|cache| cache.tools.as_deref()) {
        tools.push(cache_point(Some(ttl)));
    }
    body["toolConfig"] = json!({"tools": tools});
    if let Some(choice) = forced(request) {
        body["toolConfig"]["toolChoice"] = choice;
    }
}

/// What makes the model call a tool; `None` where none must be called, or the model cannot be made to.
///
/// Claude and Nova take any choice, Mistral Large none by name. Others refuse it, and so does a model that thinks.
/// Source: Amazon's reference of `ToolChoice`, read 2026-11-23.
pub(super) fn forced(request: &ModelRequest) -> Option<Value> {
    let model = family(request);
    let by_name = is_claude_or_nova(&model);
    let can_be_made = by_name && takes_forced_calls(&model) || model.contains("mistral-large");
    if thinks(request) || !can_be_made {
        return None;
    }
    match &request.tool_choice {
        ToolChoice::Tool(name) if by_name => Some(json!({"tool": {"name": name}})),
        ToolChoice::Tool(_) if request.tools.len() > 1 => None,
        ToolChoice::Tool(_) | ToolChoice::Required => Some(json!({"any": {}})),
        ToolChoice::Auto | ToolChoice::None => None,
    }
}

fn is_claude_or_nova(model: &str) -> bool {
    ["claude-", "nova-"].iter().any(|name| model.contains(name))
}

/// Whether the extra fields ask the model to think, in the words of Claude or of Nova.
fn thinks(request: &ModelRequest) -> bool {
    let fields = ["additionalModelRequestFields.thinking", "additionalModelRequestFields.reasoningConfig"];
    let mut asked = fields.iter().flat_map(|field| found(&request.settings.extra, field));
    asked.any(|asked| asked["type"] != "disabled")
}

/// Asks to keep everything up to here, for the usual time or for this one.
fn cache_point(ttl: Option<&str>) -> Value {
    match ttl.filter(|ttl| !ttl.is_empty()) {
        Some(ttl) => json!({"cachePoint": {"type": "default", "ttl": ttl}}),
        None => json!({"cachePoint": {"type": "default"}}),
    }
}

struct Turns<'a> {
    provider: &'a str,
    /// Whether the model is one of those that cite: others refuse citations.
    cites: bool,
    turns: Vec<(&'static str, Vec<Value>)>,
    ids: WireIds<'a>,
    /// Those of the documents so far.
    names: HashSet<String>,
}

impl<'a> Turns<'a> {
    fn take(&mut self, message: &'a Message) -> Result<()> {
        let role = if message.role == MessageRole::Assistant { "assistant" } else { "user" };
        let mut calls = self.ids.calls(message).into_iter();
        let mut blocks = match self.turns.pop_if(|(last, _)| *last == role) {
            Some((_, blocks)) => blocks,
            None => Vec::new(),
        };
        for part in &message.parts {
            match part {
                Part::Text { text } | Part::Refusal { text } if !is_blank(text) => blocks.push(json!({"text": text})),
                // What is not signed is refused, also by the model that thought it.
                Part::Thinking { text, signature: Some(signature), provider: Some(maker), .. }
                    if maker == self.provider =>
                {
                    let thought = json!({"text": text, "signature": signature});
                    blocks.push(json!({"reasoningContent": {"reasoningText": thought}}));
                }
                Part::ToolCall(call) => {
                    let id = calls.next().map_or(call.id.as_str().into(), |(id, _)| id);
                    let input = argument_object(&call.arguments);
                    blocks.push(json!({"toolUse": {"toolUseId": id, "name": call.name, "input": input}}));
                }
                Part::ToolResult(result) => blocks.push(self.result(result)),
                Part::Image { media_type, data } => blocks.push(json!({"image": media_block(media_type, data)?})),
                Part::File { media_type, data, .. } if media_type.starts_with("video/") => {
                    blocks.push(json!({"video": media_block(media_type, data)?}));
                }
                Part::File { media_type, data, name } => {
                    let mut block = media_block(media_type, data)?;
                    block["name"] = self.document_name(name.as_deref()).into();
                    blocks.push(json!({"document": block}));
                }
                Part::CachePoint { ttl } => blocks.push(cache_point(ttl.as_deref())),
                Part::Opaque { provider, data } if provider == self.provider => self.opaque(&mut blocks, data),
                _ => {}
            }
        }
        if !blocks.is_empty() {
            self.turns.push((role, blocks));
        }
        Ok(())
    }

    /// A part that came from here: citations belong to the text before them, all else stands alone.
    fn opaque(&self, blocks: &mut Vec<Value>, data: &Value) {
        let Some(citations) = data.get("citations") else { return blocks.push(data.clone()) };
        // The text may be left out, and with it what it cites.
        let said = blocks.last_mut().filter(|block| self.cites && block.get("text").is_some());
        if let Some(block) = said {
            *block = json!({"citationsContent": {"content": [block.take()], "citations": citations}});
        }
    }

    /// A name as the API takes it, which no document before it has.
    ///
    /// It holds letters, digits, single spaces, hyphens, underscores and brackets only.
    fn document_name(&mut self, given: Option<&str>) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_' | '(' | ')' | '[' | ']');
        let words = given.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        let plain: String = words.chars().take(MAX_NAME).map(|c| if fits(c) { c } else { '-' }).collect();
        let plain = if plain.is_empty() { "document" } else { plain.trim_end() };
        let (mut name, mut number) = (plain.to_owned(), 1);
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{plain} ({number})");
        }
        name
    }

    fn result(&self, result: &'a ToolResult) -> Value {
        let text = result.as_text();
        let said = match &result.content {
            content @ Value::Object(_) => json!({"json": content}),
            // A text of white space is refused.
            _ if is_blank(&text) => json!({"json": {"result": text}}),
            _ => json!({"text": text}),
        };
        let mut wire = json!({"toolUseId": self.ids.result(result), "content": [said]});
        if result.is_error {
            wire["status"] = "error".into();
        }
        json!({"toolResult": wire})
    }
}

fn media_block(media_type: &str, data: &str) -> Result<Value> {
    let (media_type, source) = match media::source(media_type, data) {
        Source::Inline(media_type, data) => (media_type, json!({"bytes": data})),
        Source::Url(uri) if uri.starts_with("s3://") => (media_type, json!({"s3Location": {"uri": uri}})),
        Source::Url(_) | Source::Id(_) => {
            return Err(Error::invalid("bedrock takes bytes or an s3:// address of an image or file"));
        }
    };
    Ok(json!({"format": format_of(media_type), "source": source}))
}

/// The word for a type: `pdf`, `png`, and so on.
fn format_of(media_type: &str) -> String {
    let plain = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let word = match plain.as_str() {
        "text/plain" => "txt",
        "text/markdown" => "md",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "image/jpg" => "jpeg",
        "video/quicktime" => "mov",
        "video/x-matroska" => "mkv",
        "video/x-flv" => "flv",
        "video/x-ms-wmv" => "wmv",
        "video/3gpp" => "three_gp",
        other => other.rsplit('/').next().unwrap_or(other),
    };
    word.to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::wire::Dialect;
    use super::super::super::wire::endpoint::{Auth, Endpoint};
    use super::*;
    use crate::domain::{OutputSchema, PromptCache, ToolCall, ToolSpec, Unsupported};
    use crate::provider::structured;

    fn body(request: &ModelRequest) -> Value {
        serde_json::from_slice(&encode("bedrock", request).unwrap()).unwrap()
    }

    #[test]
    fn b08_b19_b26_texts_of_white_space_are_left_out() {
        let call = ToolCall::new("a", "f", "");
        let messages = vec![
            Message::system(" \n"),
            Message::user("go"),
            Message::new(MessageRole::Assistant, vec![Part::text("\n\n"), Part::ToolCall(call)]),
            Message::new(MessageRole::Tool, vec![Part::ToolResult(ToolResult::new("a", "f", json!("  ")))]),
            Message::user("  "),
        ];
        let wire = body(&ModelRequest::new("m", messages));
        assert_eq!(wire.get("system"), None);
        assert_eq!(wire["messages"].as_array().unwrap().len(), 3);
        assert_eq!(wire["messages"][1]["content"].as_array().unwrap().len(), 1, "{wire}");
        let result = json!({"toolResult": {"toolUseId": "a", "content": [{"json": {"result": "  "}}]}});
        assert_eq!(wire["messages"][2]["content"], json!([result]));
    }

    #[test]
    fn b29_only_signed_thinking_goes_back() {
        let thought = |signature: Option<&str>| Part::Thinking {
            text: "hm".into(),
            signature: signature.map(str::to_owned),
            provider: Some("bedrock".into()),
            id: None,
        };
        let said = vec![thought(None), thought(Some("s")), Part::text("ok")];
        let messages = vec![Message::user("1"), Message::new(MessageRole::Assistant, said), Message::user("2")];
        let wire = body(&ModelRequest::new("us.deepseek.r1-v1:0", messages));
        let signed = json!({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}});
        assert_eq!(wire["messages"][1]["content"], json!([signed, {"text": "ok"}]));
    }

    #[test]
    fn b29_citations_go_back_with_their_text_to_models_that_cite() {
        let opaque = |data: Value| Part::Opaque { provider: "bedrock".into(), data };
        let cited = || opaque(json!({"citations": [{"title": "a"}]}));
        let hidden = json!({"reasoningContent": {"redactedContent": "AAAA"}});
        let said = vec![opaque(hidden.clone()), Part::text(" "), cited(), Part::text("Paris."), cited()];
        let messages = vec![Message::user("1"), Message::new(MessageRole::Assistant, said), Message::user("2")];
        let block = json!({"citationsContent": {"content": [{"text": "Paris."}], "citations": [{"title": "a"}]}});
        for (model, block) in [
            ("us.anthropic.claude-sonnet-4-6", block),
            ("us.meta.llama3-3-70b-instruct-v1:0", json!({"text": "Paris."})),
        ] {
            let wire = body(&ModelRequest::new(model, messages.clone()));
            assert_eq!(wire["messages"][1]["content"], json!([hidden, block]), "{model}");
        }
    }

    #[test]
    fn b11_b15_only_models_that_can_be_made_to_call_are_made_to() {
        let (any, named) = (json!({"any": {}}), json!({"tool": {"name": "f"}}));
        let tools = |names: &[&str]| names.iter().map(|name| ToolSpec::new(*name, "", json!({}))).collect::<Vec<_>>();
        let thinking = |kind: &str| json!({"thinking": {"type": kind}});
        for (model, fields, required, chosen, among_two) in [
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", json!({}), Some(&any), Some(&named), Some(&named)),
            ("anthropic.claude-sonnet-4-6", thinking("disabled"), Some(&any), Some(&named), Some(&named)),
            ("anthropic.claude-sonnet-4-6", thinking("adaptive"), None, None, None),
            ("amazon.nova-pro-v1:0", json!({"top_k": 3}), Some(&any), Some(&named), Some(&named)),
            ("amazon.nova-2-lite-v1:0", json!({"reasoningConfig": {"type": "enabled"}}), None, None, None),
            ("mistral.mistral-large-2407-v1:0", json!({}), Some(&any), Some(&any), None),
            ("mistral.mistral-small-2402-v1:0", json!({}), None, None, None),
            ("us.meta.llama3-3-70b-instruct-v1:0", json!({}), None, None, None),
        ] {
            let choice = |choice: ToolChoice, names: &[&str]| {
                let mut request = ModelRequest::new(model, vec![Message::user("?")]).with_tools(tools(names));
                request.settings.extra.insert("additionalModelRequestFields".into(), fields.clone());
                request.tool_choice = choice;
                body(&request)["toolConfig"].get("toolChoice").cloned()
            };
            assert_eq!(choice(ToolChoice::Required, &["f", "g"]).as_ref(), required, "{model}");
            assert_eq!(choice(ToolChoice::Tool("f".into()), &["f"]).as_ref(), chosen, "{model}");
            assert_eq!(choice(ToolChoice::Tool("f".into()), &["f", "g"]).as_ref(), among_two, "{model}");
        }
    }

    #[test]
    fn b34_a_choice_that_is_not_said_is_named_unless_it_is_the_engines_own() {
        let encoded = |request: &ModelRequest| {
            let endpoint = Endpoint::new("bedrock", "http://h", Auth::None).unwrap();
            super::super::Converse.encode(&endpoint, request, false).map(|encoded| encoded.left_out)
        };
        let mut request = ModelRequest::new("meta.llama3-3-70b-instruct-v1:0", vec![Message::user("?")]);
        request = request.with_tools(vec![ToolSpec::new("f", "", json!({}))]).with_tool_choice(ToolChoice::Required);
        assert_eq!(encoded(&request).unwrap(), ["tool_choice"]);
        request.settings.unsupported = Some(Unsupported::Error);
        assert!(encoded(&request).err().unwrap().to_string().contains("with tool_choice:"));
        // The tool that takes the answer is asked for, not named.
        request = request.with_tools(vec![]).with_tool_choice(ToolChoice::Auto);
        request = request.with_output_schema(OutputSchema::new("o", json!({"type": "object"})));
        let profile = super::super::Converse.profile(&request.model_name);
        structured::prepare(&mut request, &profile);
        assert!(matches!(&request.tool_choice, ToolChoice::Tool(_)) && encoded(&request).unwrap().is_empty());
    }

    #[test]
    fn documents_have_names_and_formats_that_the_api_takes() {
        let file = |kind: &str, name: Option<&str>| Part::File {
            media_type: kind.into(),
            data: "AAAA".into(),
            name: name.map(str::to_owned),
        };
        let long = "ü".repeat(300);
        let names = [Some("a  b\t_c.pdf"), Some("a b _c.pdf"), None, Some(" "), Some("document"), Some(long.as_str())];
        let mut parts: Vec<_> = names.into_iter().map(|name| file("application/pdf", name)).collect();
        let later = vec![file("text/plain; charset=utf-8", None)];
        let messages =
            |first| vec![Message::new(MessageRole::User, first), Message::new(MessageRole::User, later.clone())];
        let found = |parts: Vec<Part>| body(&ModelRequest::new("m", messages(parts)))["messages"][0]["content"].clone();
        let content = found(parts.clone());
        let found_names: Vec<_> = (0..7).map(|index| content[index]["document"]["name"].as_str().unwrap()).collect();
        let cut = "-".repeat(MAX_NAME);
        let expected =
            ["a b _c-pdf", "a b _c-pdf (2)", "document", "document (2)", "document (3)", &cut, "document (4)"];
        assert_eq!(found_names, expected);
        assert_eq!(content[6]["document"]["format"], "txt");
        parts.clear();
        parts.push(Part::Image { media_type: "image/jpg".into(), data: "AAAA".into() });
        parts.extend(["quicktime", "x-matroska", "3gpp", "mp4"].map(|kind| file(&format!("video/{kind}"), Some("v"))));
        let content = found(parts);
        assert_eq!(content[0]["image"]["format"], "jpeg");
        assert_eq!([1, 2, 3, 4].map(|index| &content[index]["video"]["format"]), ["mov", "mkv", "three_gp", "mp4"]);
    }

    #[test]
    fn cache_points_say_how_long_they_hold() {
        let (usual, hour) = (json!({"type": "default"}), json!({"type": "default", "ttl": "1h"}));
        let said = vec![Part::text("hi"), Part::CachePoint { ttl: Some("1h".into()) }, Part::text("?")];
        let mut request = ModelRequest::new("m", vec![Message::system("s"), Message::new(MessageRole::User, said)]);
        request.tools = vec![ToolSpec::new("f", "", json!({}))].into();
        let mut cache = PromptCache::everything();
        (cache.tools, cache.system) = (Some("1h".into()), Some("1h".into()));
        request.settings.prompt_cache = Some(cache);
        let wire = body(&request);
        assert_eq!(wire["toolConfig"]["tools"][1]["cachePoint"], hour);
        assert_eq!(wire["system"][1]["cachePoint"], hour);
        assert_eq!(wire["messages"][0]["content"][1]["cachePoint"], hour);
        assert_eq!(wire["messages"][0]["content"][3]["cachePoint"], usual);
        let mark = Part::CachePoint { ttl: None };
        request.messages.push(Message::new(MessageRole::User, vec![Part::text("and?"), mark.clone(), Part::text("!")]));
        let wire = body(&request);
        assert_eq!(wire.to_string().matches("cachePoint").count(), 4, "{wire}");
        assert_eq!(wire["messages"][0]["content"][1], json!({"text": "?"}), "the oldest of the messages goes");
    }

    #[test]
    fn t11_it_keeps_its_cap_inside_its_settings() {
        let encoded = |extra: Value| {
            let mut request = ModelRequest::new("m", vec![Message::user("?")]);
            request.settings.max_output_tokens = Some(50);
            request.settings.extra = extra.as_object().cloned().unwrap();
            encode("bedrock", &request)
        };
        for bad in [
            json!({"inferenceConfig": {"maxTokens": 9_000}}),
            json!({"inferenceConfig": 1}),
            json!({"additionalModelRequestFields": {"max_tokens": 9_000}}),
        ] {
            assert!(encoded(bad.clone()).is_err(), "{bad}");
        }
        let body = encoded(json!({"additionalModelRequestFields": {"top_k": 3}})).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&body["inferenceConfig"]["maxTokens"], &body["additionalModelRequestFields"]["top_k"]),
            (&json!(50), &json!(3))
        );
    }
}
