//! Amazon Bedrock Converse against its traffic, where the feature is on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use blitz::provider::{AwsCredentials, Bedrock};
use blitz::{
    Message, MessageRole, ModelRequest, Part, PromptCache, Secret, ToolCall, ToolChoice, ToolResult, ToolSpec,
};
use serde_json::{Value, json};

use super::player::{KEY, Suite, conform, conform_elsewhere, conform_to};
use super::reading::{Reading, arguments, list, text};
use super::recorded::{Exchange, unescaped};
use crate::dialect_faults::frame;

#[tokio::test]
async fn bedrock_agrees_with_its_recordings() {
    conform(with_key("bedrock".to_owned())).await;
}

#[tokio::test]
async fn conformance_of_bedrock_in_the_other_recordings() {
    conform_elsewhere("bedrock", &["bedrock"], with_key).await;
}

/// What the reference of Converse names and no recording shows.
#[tokio::test]
async fn conformance_of_bedrock_in_what_nobody_recorded() {
    const PATH: &str = "/model/us.anthropic.claude-sonnet-4-6/converse";
    const ARN: &str = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse";
    let said = |role: &str, content: Value| json!({"role": role, "content": content});
    let (mark, hour) = (json!({"cachePoint": {"type": "default"}}), json!({"type": "default", "ttl": "1h"}));
    let tool = json!({"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}}});
    let answer = |content: Value, reason: &str| {
        let usage = json!({"inputTokens": 3, "outputTokens": 1});
        json!({"output": {"message": said("assistant", content)}, "stopReason": reason, "usage": usage})
    };
    let plain = answer(json!([{"text": "hi"}]), "end_turn");
    let asked = json!({"messages": [said("user", json!([{"text": "?"}]))]});
    let formats = ["txt", "md", "csv", "html", "pdf", "doc", "docx", "xls", "xlsx"];
    let file = |format: &&str| json!({"document": {"format": format, "name": format, "source": {"bytes": "AAAA"}}});
    let mut media: Vec<Value> = formats.iter().map(file).collect();
    let mut citing = json!({"document": {"format": "pdf", "name": "c", "source": {"bytes": "AAAA"}}});
    citing["document"]["citations"] = json!({"enabled": true});
    media.push(citing);
    media.push(json!({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a.png"}}}}));
    media.push(
        json!({"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/a.mp4", "bucketOwner": "1"}}}}),
    );
    let call = |id: &str| json!({"toolUse": {"toolUseId": id, "name": "f", "input": {}}});
    let result =
        |id: &str, content: Value| json!({"toolResult": {"toolUseId": id, "content": content, "status": "success"}});
    let cited =
        json!({"citationsContent": {"content": [{"text": "It"}, {"text": " is."}], "citations": [{"title": "a"}]}});
    let thought = |fields: Value| json!({"reasoningContent": fields});
    let history = json!([
        said("user", json!([{"text": "?"}])),
        said(
            "assistant",
            json!([
                thought(json!({"reasoningText": {"text": "hm"}})),
                cited.clone(),
                thought(json!({"redactedContent": "AAAA"})),
                call("a"),
                call("b"),
                call("c"),
                call("d")
            ])
        ),
        said(
            "user",
            json!([
                result("a", json!([{"text": "x"}, {"text": "y"}])),
                result("b", json!([])),
                result("c", json!([{"json": [1, 2]}])),
                result("d", json!([{"text": " "}])),
                result("e", json!([{"text": "z"}]))
            ])
        ),
    ]);
    let cached = json!({
        "system": [{"text": "s"}, mark],
        "messages": [said("user", json!([{"text": "?"}, {"cachePoint": hour}]))],
        "toolConfig": {"tools": [tool, {"cachePoint": hour}], "toolChoice": {"auto": {}}},
        "inferenceConfig": {"temperature": 0},
    });
    let mut exchanges = Vec::new();
    for (path, request, answer) in [
        (ARN, &asked, &plain),
        ("/model/amazon.nova-lite-v1:0/converse", &cached, &plain),
        (PATH, &json!({"messages": [said("user", media.into())]}), &plain),
        (PATH, &json!({"messages": history, "toolConfig": {"tools": [tool]}}), &plain),
        (PATH, &asked, &answer(json!([{"text": "no"}]), "guardrail_intervened")),
        (PATH, &asked, &answer(json!([]), "content_filtered")),
        (PATH, &asked, &answer(json!([{"text": "a"}]), "model_context_window_exceeded")),
        (PATH, &asked, &answer(json!([{"text": "So: "}, cited, {"image": {"format": "png"}}]), "end_turn")),
        (PATH, &asked, &answer(json!([thought(json!({"redactedContent": "AAAA"})), call("a")]), "tool_use")),
        (
            PATH,
            &asked,
            &json!({"output": {"message": said("assistant", json!([{"text": "a"}]))}, "stopReason": "end_turn"}),
        ),
    ] {
        let name = format!("made:bedrock#{}", exchanges.len());
        exchanges.push(Exchange::made(name, path, request, "application/json", answer.to_string().as_bytes()));
    }
    let event =
        |name: &str, data: Value| frame(&[(":message-type", "event"), (":event-type", name)], &data.to_string());
    let start =
        |index: u64, start: Value| event("contentBlockStart", json!({"contentBlockIndex": index, "start": start}));
    let delta =
        |index: u64, delta: Value| event("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta}));
    let stop = event("messageStop", json!({"stopReason": "end_turn"}));
    let redacted = delta(0, thought(json!({"redactedContent": "AAAA"})));
    let image =
        [start(1, json!({"image": {"format": "png"}})), delta(1, json!({"image": {"source": {"bytes": "AAAA"}}}))];
    let cites = |title: &str| delta(2, json!({"citation": {"title": title}}));
    let cited = [delta(2, json!({"text": "It"})), cites("a"), delta(2, json!({"text": " is."})), cites("b")];
    let counts = event("metadata", json!({"usage": {"inputTokens": 3, "outputTokens": 1}}));
    let slow = [(":message-type", "exception"), (":exception-type", "throttlingException")];
    for body in [
        [redacted.clone(), image.concat(), cited.concat(), stop, counts].concat(),
        [redacted, frame(&slow, r#"{"message": "slow down"}"#)].concat(),
    ] {
        let (name, path) = (format!("made:bedrock#{}", exchanges.len()), format!("{PATH}-stream"));
        exchanges.push(Exchange::made(name, &path, &asked, "application/vnd.amazon.eventstream", &body));
    }
    conform_to(&with_key("made".to_owned()), &exchanges).await;
}

fn with_key(file: String) -> Suite {
    suite(
        file,
        |_, base| {
            let model = Bedrock::with_api_key("us-east-1", Secret::new(KEY)).unwrap();
            Arc::new(model.with_base_url(base).unwrap())
        },
        ("authorization", "Bearer sk-canary-recorded"),
    )
}

#[tokio::test]
async fn bedrock_signed_agrees_with_its_recordings() {
    conform(suite(
        "bedrock".to_owned(),
        |_, base| {
            let credentials = AwsCredentials::new("AKIDEXAMPLE", Secret::new(KEY)).with_session_token(Secret::new("t"));
            Arc::new(Bedrock::new("us-east-1", credentials).unwrap().with_base_url(base).unwrap())
        },
        ("x-amz-security-token", "t"),
    ))
    .await;
}

fn suite(
    file: String,
    provider: fn(&str, &str) -> Arc<dyn blitz::provider::Provider>,
    key: (&'static str, &'static str),
) -> Suite {
    Suite {
        file,
        end: "",
        takes: |exchange| exchange.path.contains("/converse"),
        provider,
        decode,
        normalised,
        reading,
        key,
    }
}

fn decode(exchange: &Exchange) -> Option<ModelRequest> {
    let mut fields = exchange.request.as_object()?.clone();
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let mut messages = Vec::new();
    let mut names = HashMap::new();
    let system = take("system");
    let system: Vec<_> = list(&system).map(|block| part(block, &mut names)).collect::<Option<_>>()?;
    if !system.is_empty() {
        messages.push(Message::new(MessageRole::System, system));
    }
    for message in list(&take("messages")) {
        let role = if message["role"] == "assistant" { MessageRole::Assistant } else { MessageRole::User };
        let parts = list(&message["content"]).map(|block| part(block, &mut names)).collect::<Option<_>>()?;
        messages.push(Message::new(role, parts));
    }
    let path = exchange.path.split_once("/model/")?.1.rsplit_once("/converse")?.0;
    let mut request = ModelRequest::new(unescaped(path), messages);
    let tools = take("toolConfig");
    let (specs, marks): (Vec<&Value>, Vec<&Value>) =
        list(&tools["tools"]).partition(|tool| tool.get("toolSpec").is_some());
    let specs = specs.into_iter().map(|tool| {
        let spec = &tool["toolSpec"];
        ToolSpec::new(text(&spec["name"]), text(&spec["description"]), spec["inputSchema"]["json"].clone())
    });
    request.tools = specs.collect::<Vec<_>>().into();
    for mark in marks {
        let mut cache = PromptCache::default();
        cache.tools = Some(text(&mark.get("cachePoint")?["ttl"]));
        request.settings.prompt_cache = Some(cache);
    }
    let choice = &tools["toolChoice"];
    request.tool_choice = match choice.get("any") {
        Some(_) => ToolChoice::Required,
        None if choice.get("tool").is_some() => ToolChoice::Tool(text(&choice["tool"]["name"])),
        None => ToolChoice::Auto,
    };
    let config = take("inferenceConfig");
    let settings = &mut request.settings;
    settings.max_output_tokens = config["maxTokens"].as_u64();
    settings.temperature = config["temperature"].as_f64();
    settings.top_p = config["topP"].as_f64();
    settings.stop = list(&config["stopSequences"]).map(text).collect();
    settings.stream = Some(exchange.path.ends_with("-stream"));
    settings.extra = fields;
    Some(request)
}

fn part(block: &Value, names: &mut HashMap<String, String>) -> Option<Part> {
    let (kind, inner) = block.as_object()?.iter().next()?;
    let opaque = || Part::Opaque { provider: "bedrock".to_owned(), data: block.clone() };
    Some(match kind.as_str() {
        "text" => Part::text(text(inner)),
        "document" => match plain_media(inner).zip(media_type(&inner["format"])) {
            Some((data, media_type)) => {
                Part::File { media_type: media_type.to_owned(), data, name: Some(text(&inner["name"])) }
            }
            None => opaque(),
        },
        "image" => match plain_media(inner).zip(inner["format"].as_str()) {
            Some((data, format)) => Part::Image { media_type: format!("image/{format}"), data },
            None => opaque(),
        },
        "toolUse" => {
            names.insert(text(&inner["toolUseId"]), text(&inner["name"]));
            Part::ToolCall(ToolCall::new(text(&inner["toolUseId"]), text(&inner["name"]), inner["input"].to_string()))
        }
        "toolResult" => {
            let id = text(&inner["toolUseId"]);
            let name = names.get(&id).cloned().unwrap_or_default();
            let mut result = ToolResult::new(id, name, said(&inner["content"])?);
            result.is_error = inner["status"] == "error";
            Part::ToolResult(result)
        }
        "cachePoint" => Part::CachePoint { ttl: inner["ttl"].as_str().map(str::to_owned) },
        "reasoningContent" if inner.get("reasoningText").is_some() => Part::Thinking {
            text: text(&inner["reasoningText"]["text"]),
            signature: inner["reasoningText"]["signature"].as_str().map(str::to_owned),
            provider: Some("bedrock".to_owned()),
            id: None,
        },
        _ => opaque(),
    })
}

/// The bytes or the address of an image or file about which nothing else is said.
fn plain_media(block: &Value) -> Option<String> {
    let is_known = |name: &String| ["format", "name", "source"].contains(&name.as_str());
    let source = block["source"].as_object().filter(|source| source.len() == 1)?;
    let place = source.get("s3Location").and_then(Value::as_object).filter(|place| place.len() == 1);
    let data = source.get("bytes").or_else(|| place?.get("uri"))?.as_str()?;
    block.as_object()?.keys().all(is_known).then(|| data.to_owned())
}

fn media_type(format: &Value) -> Option<&'static str> {
    const WORD: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    const SHEET: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    Some(match format.as_str()? {
        "txt" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" => "text/html",
        "pdf" => "application/pdf",
        "doc" => "application/msword",
        "docx" => WORD,
        "xls" => "application/vnd.ms-excel",
        "xlsx" => SHEET,
        _ => return None,
    })
}

/// What a tool said: one JSON value, or texts as one. The engine has no images in a result.
fn said(content: &Value) -> Option<Value> {
    let blocks: Vec<&Value> = list(content).collect();
    if let [block] = blocks.as_slice()
        && let Some(json) = block.get("json")
    {
        return Some(json.clone());
    }
    blocks.iter().map(|block| block["text"].as_str()).collect::<Option<String>>().map(Value::from)
}

/// Settings that say nothing; turns of one role as one; what a tool said as one block; no thought without a signature.
fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    let mut turns: Vec<(Value, Vec<Value>)> = Vec::new();
    for message in list(&body["messages"]) {
        let unsigned = |block: &&Value| {
            let thought = block.pointer("/reasoningContent/reasoningText");
            thought.is_none_or(|thought| thought["signature"].is_string())
        };
        let blocks = list(&message["content"]).filter(unsigned).cloned().map(as_one);
        match turns.last_mut() {
            Some((role, all)) if *role == message["role"] => all.extend(blocks),
            _ => turns.push((message["role"].clone(), blocks.collect())),
        }
    }
    body["messages"] = turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    let says_nothing =
        |value: &Value| value.is_null() || *value == json!({}) || *value == json!([]) || *value == json!({"auto": {}});
    for name in ["inferenceConfig", "toolConfig"] {
        if let Some(fields) = body.get_mut(name).and_then(Value::as_object_mut) {
            fields.retain(|_, value| !says_nothing(value));
        }
    }
    body.as_object_mut().into_iter().for_each(|fields| fields.retain(|_, value| !says_nothing(value)));
    body
}

fn as_one(mut block: Value) -> Value {
    let Some(result) = block.get_mut("toolResult").and_then(Value::as_object_mut) else { return block };
    result.retain(|name, value| name != "status" || value != "success");
    let one = match result.get("content").and_then(said) {
        Some(json @ Value::Object(_)) => json!({"json": json}),
        Some(Value::String(text)) if text.trim().is_empty() => json!({"json": {"result": text}}),
        Some(Value::String(text)) => json!({"text": text}),
        Some(other) => json!({"text": other.to_string()}),
        None => return block,
    };
    result.insert("content".to_owned(), json!([one]));
    block
}

/// Reads frames by their lengths alone, and takes the type from the text of the headers.
fn frames(mut bytes: &[u8]) -> Vec<(String, Value)> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let (whole, headers) = (number(bytes), number(&bytes[4..]));
        let head = String::from_utf8_lossy(&bytes[12..12 + headers]).into_owned();
        let kinds = ["messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata"];
        let kind = kinds.iter().find(|kind| head.contains(**kind)).copied().unwrap_or_default();
        events.push((kind.to_owned(), serde_json::from_slice(&bytes[12 + headers..whole - 4]).unwrap()));
        bytes = &bytes[whole..];
    }
    events
}

fn reading(exchange: &Exchange) -> Reading {
    let mut answer = if exchange.streams() { json!({}) } else { exchange.json() };
    let mut blocks: Vec<Value> = list(&answer["output"]["message"]["content"]).cloned().collect();
    if exchange.streams() {
        let mut open: BTreeMap<u64, Value> = BTreeMap::new();
        for (kind, event) in frames(&exchange.body) {
            let block = open.entry(event["contentBlockIndex"].as_u64().unwrap_or(0));
            match kind.as_str() {
                "contentBlockStart" => put_together(block.or_insert_with(|| json!({})), &event["start"]),
                "contentBlockDelta" => put_together(block.or_insert_with(|| json!({})), &event["delta"]),
                "messageStop" => answer["stopReason"] = event["stopReason"].clone(),
                "metadata" => answer["usage"] = event["usage"].clone(),
                _ => {}
            }
        }
        blocks = open.into_values().collect();
    }
    let usage = &answer["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    let (read, write) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
    let counts = ["inputTokens", "outputTokens"].iter().any(|name| usage[name].is_u64());
    let mut reading = Reading {
        finish_reason: match text(&answer["stopReason"]).as_str() {
            "end_turn" | "stop_sequence" => "stop",
            "tool_use" => "tool_calls",
            "max_tokens" => "length",
            "model_context_window_exceeded" => "context_window",
            "guardrail_intervened" | "content_filtered" => "content_filter",
            _ => "other",
        }
        .to_owned(),
        usage: counts.then(|| [count("inputTokens") + read + write, read, write, count("outputTokens"), 0]),
        raw_usage: usage.clone(),
        ..Reading::default()
    };
    blocks.iter().flat_map(Value::as_object).flatten().for_each(|(kind, inner)| take(kind, inner, &mut reading));
    reading
}

/// Puts a piece to what came of its block before: texts behind one another, citations in a list, and of what only
/// Amazon understands one field beside the other.
fn put_together(block: &mut Value, piece: &Value) {
    let grow = |whole: &mut Value, piece: &Value| *whole = json!(text(whole) + &text(piece));
    for (kind, piece) in piece.as_object().into_iter().flatten() {
        match (kind.as_str(), piece.as_object()) {
            ("text", _) => grow(&mut block["text"], piece),
            ("citation", _) => {
                let all = list(&block["citations"]).cloned().chain([piece.clone()]);
                block["citations"] = all.collect();
            }
            ("toolUse" | "reasoningContent", Some(fields)) => {
                for (name, piece) in fields {
                    match name.as_str() {
                        "input" => grow(&mut block[kind][name], piece),
                        "text" | "signature" => grow(&mut block[kind]["reasoningText"][name], piece),
                        _ => block[kind][name] = piece.clone(),
                    }
                }
            }
            (_, Some(fields)) => {
                for (name, piece) in fields {
                    block[kind][name] = piece.clone();
                }
            }
            (_, None) if piece.is_array() => {
                let all = list(&block[kind]).chain(list(piece)).cloned();
                block[kind] = all.collect();
            }
            _ => block[kind] = piece.clone(),
        }
    }
}

/// One field of a block: there is only one, but for the citations of a streamed text.
fn take(kind: &str, inner: &Value, reading: &mut Reading) {
    match kind {
        "text" => reading.text += &text(inner),
        "toolUse" => {
            let input = match &inner["input"] {
                Value::String(input) => arguments(input),
                Value::Null => "".into(),
                input => input.clone(),
            };
            reading.calls.push((text(&inner["toolUseId"]), text(&inner["name"]), input));
        }
        "reasoningContent" => {
            let thought = &inner["reasoningText"];
            reading.thinking += &text(&thought["text"]);
            reading.signatures.extend(thought["signature"].as_str().map(str::to_owned));
            if let Some(hidden) = inner.get("redactedContent") {
                reading.opaque.push(json!({"reasoningContent": {"redactedContent": hidden}}));
            }
        }
        "citationsContent" => {
            reading.text += &list(&inner["content"]).map(|cited| text(&cited["text"])).collect::<String>();
            take("citations", &inner["citations"], reading);
        }
        "citations" if list(inner).next().is_some() => reading.opaque.push(json!({"citations": inner})),
        "citations" => {}
        _ => reading.opaque.push(json!({kind: inner})),
    }
}
