//! OpenAI Responses against the traffic of OpenAI, of xAI and of OpenRouter.

use std::collections::HashMap;
use std::sync::Arc;

use blitz::provider::OpenAiResponses;
use blitz::{
    Message, MessageRole, ModelRequest, OutputSchema, Part, Secret, ToolCall, ToolChoice, ToolResult, ToolSpec,
};
use serde_json::{Value, json};

use super::player::{KEY, Suite, conform, conform_elsewhere};
use super::reading::{Reading, arguments, drop_unknown_formats, list, text};
use super::recorded::Exchange;

const OWN: &str = "openai_responses";

macro_rules! suites {
    ($($test:ident: $file:literal;)*) => {$(
        #[tokio::test]
        async fn $test() {
            conform(suite($file.to_owned())).await;
        }
    )*};
}

suites! {
    openai_responses_agrees_with_its_recordings: "openai";
    xai_responses_agrees_with_its_recordings: "xai";
    openrouter_responses_agrees_with_its_recordings: "openrouter";
}

/// What the path of every exchange ends with.
const END: &str = "/responses";

fn suite(file: String) -> Suite {
    Suite {
        file,
        takes: |exchange| exchange.path.ends_with(END) && exchange.method == "POST",
        end: END,
        provider: |_, base| Arc::new(OpenAiResponses::new(base, Some(Secret::new(KEY))).unwrap()),
        decode: |exchange| decode(&exchange.request),
        normalised,
        reading,
        key: ("authorization", "Bearer sk-canary-recorded"),
    }
}

/// The same dialect by whoever else was recorded with it.
#[tokio::test]
async fn conformance_of_responses_in_the_other_recordings() {
    conform_elsewhere("responses", &["openai", "xai", "openrouter"], suite).await;
}

fn decode(body: &Value) -> Option<ModelRequest> {
    let mut fields = without_nulls(body).as_object()?.clone();
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let mut messages: Vec<Message> = take("instructions").as_str().map(Message::system).into_iter().collect();
    let mut names = HashMap::new();
    let input = take("input");
    if let Some(text) = input.as_str() {
        messages.push(Message::user(text));
    }
    for item in list(&input) {
        messages.push(message(item, &mut names)?);
    }
    let mut request = ModelRequest::new(take("model").as_str()?, messages);
    let (own, theirs): (Vec<Value>, Vec<Value>) =
        list(&take("tools")).cloned().partition(|tool| tool["type"] == "function");
    let specs = own
        .iter()
        .map(|tool| ToolSpec::new(text(&tool["name"]), text(&tool["description"]), tool["parameters"].clone()));
    request.tools = specs.collect::<Vec<_>>().into();
    let choice = take("tool_choice");
    request.tool_choice = match (choice.as_str(), choice["type"].as_str()) {
        (Some("none"), _) => ToolChoice::None,
        (Some("required"), _) => ToolChoice::Required,
        (_, Some("function")) => ToolChoice::Tool(text(&choice["name"])),
        _ => ToolChoice::Auto,
    };
    let mut output = take("text");
    if output["format"]["type"] == "json_schema" {
        let format = output["format"].take();
        output.as_object_mut()?.remove("format");
        request = request.with_output_schema(OutputSchema::new(text(&format["name"]), format["schema"].clone()));
    }
    request.settings.max_output_tokens = take("max_output_tokens").as_u64();
    request.settings.temperature = take("temperature").as_f64();
    request.settings.top_p = take("top_p").as_f64();
    request.settings.parallel_tool_calls = take("parallel_tool_calls").as_bool();
    request.settings.stream = Some(take("stream") == true);
    let mut reasoning = take("reasoning");
    request.settings.reasoning_effort = reasoning["effort"].as_str().map(str::to_owned);
    if let Some(reasoning) = reasoning.as_object_mut() {
        reasoning.remove("effort");
    }
    // A choice that is of no function is one of the provider's own tools.
    if choice.is_object() && choice["type"] != "function" {
        fields.insert("tool_choice".to_owned(), choice);
    }
    for (name, value) in [("text", output), ("reasoning", reasoning)] {
        if value.as_object().is_some_and(|value| !value.is_empty()) {
            fields.insert(name.to_owned(), value);
        }
    }
    if !theirs.is_empty() {
        fields.insert("tools".to_owned(), theirs.into());
    }
    request.settings.extra = fields;
    Some(request)
}

fn message(item: &Value, names: &mut HashMap<String, String>) -> Option<Message> {
    let get = |name: &str| text(&item[name]);
    let (role, parts) = match item["type"].as_str().unwrap_or("message") {
        "message" => {
            let role = match item["role"].as_str()? {
                "system" | "developer" => MessageRole::System,
                "assistant" => MessageRole::Assistant,
                _ => MessageRole::User,
            };
            let phase = item["phase"].as_str().map(|phase| json!({"type": "phase", "phase": phase}));
            let mut parts: Vec<Part> =
                phase.into_iter().map(|data| Part::Opaque { provider: OWN.to_owned(), data }).collect();
            match &item["content"] {
                Value::String(text) => parts.push(Part::text(text)),
                other => parts.extend(list(other).map(content).collect::<Option<Vec<_>>>()?),
            }
            (role, parts)
        }
        "function_call" => {
            names.insert(get("call_id"), get("name"));
            let call = ToolCall::new(get("call_id"), get("name"), get("arguments"));
            (MessageRole::Assistant, vec![Part::ToolCall(call)])
        }
        "function_call_output" => {
            let name = names.get(&get("call_id")).cloned().unwrap_or_default();
            let output = match &item["output"] {
                Value::Array(parts) if parts.iter().all(|part| part["text"].is_string()) => joined(parts).into(),
                // A picture or a file, which no result holds.
                Value::Array(_) => return None,
                said => said.clone(),
            };
            (MessageRole::Tool, vec![Part::ToolResult(ToolResult::new(get("call_id"), name, output))])
        }
        "reasoning" if item["id"].is_string() && !is_more_than_a_thought(item) => {
            let thought = Part::Thinking {
                text: list(&item["summary"]).map(|piece| text(&piece["text"])).collect(),
                signature: cipher(item),
                provider: Some(OWN.to_owned()),
                id: Some(get("id")),
            };
            (MessageRole::Assistant, vec![thought])
        }
        _ => (MessageRole::Assistant, vec![Part::Opaque { provider: OWN.to_owned(), data: item.clone() }]),
    };
    Some(Message::new(role, parts))
}

fn content(part: &Value) -> Option<Part> {
    let get = |name: &str| text(&part[name]);
    Some(match part["type"].as_str()? {
        "input_text" | "output_text" => Part::text(get("text")),
        "refusal" => Part::Refusal { text: get("refusal") },
        "input_image" => {
            let data = part["image_url"].as_str().map_or_else(|| format!("file-id:{}", get("file_id")), str::to_owned);
            Part::Image { media_type: "image/*".to_owned(), data }
        }
        "input_file" => {
            let data = ["file_url", "file_data"].map(get).into_iter().find(|data| !data.is_empty());
            let data = data.unwrap_or_else(|| format!("file-id:{}", get("file_id")));
            Part::File {
                media_type: "application/pdf".to_owned(),
                data,
                name: part["filename"].as_str().map(str::to_owned),
            }
        }
        _ => return None,
    })
}

/// The texts of parts, one behind the other.
fn joined(parts: &[Value]) -> String {
    parts.iter().map(|part| text(&part["text"])).collect()
}

/// A thought in the form that only its server reads.
fn cipher(item: &Value) -> Option<String> {
    item["encrypted_content"].as_str().filter(|cipher| !cipher.is_empty()).map(str::to_owned)
}

/// Whether a thought has more than one text and a cipher, so that it is kept whole.
fn is_more_than_a_thought(item: &Value) -> bool {
    list(&item["summary"]).count() > 1 || list(&item["content"]).next().is_some()
}

/// A body without the fields that are null, and without those of objects in it: they mean what absent ones do.
fn without_nulls(body: &Value) -> Value {
    let mut body = body.clone();
    let Some(fields) = body.as_object_mut() else { return body };
    for name in ["reasoning", "text"] {
        if let Some(inner) = fields.get_mut(name).and_then(Value::as_object_mut) {
            inner.retain(|_, value| !value.is_null());
        }
    }
    fields.retain(|_, value| !value.is_null());
    body
}

/// Instructions as the first message, items of one form; fields at their defaults; the provider's own tools behind
/// the others, `strict` of a tool; the asking for encrypted thoughts, which cost nothing.
fn normalised(body: &Value) -> Value {
    let mut body = without_nulls(body);
    let Some(fields) = body.as_object_mut() else { return body };
    let instructions = fields.remove("instructions").unwrap_or_default();
    let mut items = Vec::new();
    if instructions.is_string() {
        items.push(json!({"type": "message", "role": "system", "content": instructions}));
    }
    match fields.remove("input").unwrap_or_default() {
        Value::String(text) => items.push(json!({"type": "message", "role": "user", "content": text})),
        list => items.extend(list.as_array().cloned().unwrap_or_default()),
    }
    items.iter_mut().for_each(normalise_item);
    fields.insert("input".to_owned(), items.into());
    fields.remove("include");
    if let Some(schema) = fields.get_mut("text").and_then(|text| text["format"].get_mut("schema")) {
        drop_unknown_formats(schema);
    }
    if let Some(tools) = fields.get_mut("tools").and_then(Value::as_array_mut) {
        tools.sort_by_key(|tool| tool["type"] != "function");
        for tool in tools.iter_mut().filter_map(Value::as_object_mut) {
            tool.retain(|name, value| name != "strict" && !(name == "description" && (value.is_null() || value == "")));
        }
    }
    let defaults =
        [("stream", json!(false)), ("tool_choice", json!("auto")), ("tools", json!([])), ("text", json!({}))];
    for (name, value) in [("reasoning", json!({})), ("background", json!(false))].iter().chain(&defaults) {
        if fields.get(*name) == Some(value) {
            fields.remove(*name);
        }
    }
    if !fields.contains_key("tools") {
        // Nothing can be called.
        fields.retain(|name, _| name != "parallel_tool_calls" && name != "tool_choice");
    }
    body
}

/// An item with its type; content as a list; instructions under one name; no ids and states that the server itself gave.
fn normalise_item(item: &mut Value) {
    let Some(fields) = item.as_object_mut() else { return };
    fields.entry("type").or_insert_with(|| "message".into());
    let kind = text(&fields["type"]);
    fields.retain(|name, value| !value.is_null() && name != "status" && (name != "id" || kind == "reasoning"));
    match kind.as_str() {
        "message" => {
            if item["role"] == "developer" {
                item["role"] = "system".into();
            }
            let kind = if item["role"] == "assistant" { "output_text" } else { "input_text" };
            if let Some(text) = item["content"].as_str() {
                item["content"] = json!([{"type": kind, "text": text}]);
            }
            for part in item["content"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                part.retain(|name, value| !value.is_null() && !["detail", "logprobs"].contains(&name.as_str()));
                // Which notes a text had is the reader's; that it may have some is the server's.
                if part.get("type").is_some_and(|kind| kind == "output_text") {
                    part.insert("annotations".to_owned(), json!([]));
                }
            }
        }
        "function_call" => {
            item["arguments"] = match item["arguments"].as_str() {
                Some(text) if text.trim().is_empty() => json!({}),
                Some(text) => arguments(text),
                None => item["arguments"].take(),
            };
        }
        "function_call_output" => {
            if let Value::Array(parts) = &item["output"] {
                item["output"] = joined(parts).into();
            }
        }
        "reasoning" if item["content"] == json!([]) => {
            item.as_object_mut().map(|fields| fields.remove("content"));
        }
        _ => {}
    }
}

/// The last frame of a stream holds the whole answer, or the items before it do; the pieces are what the deltas show.
fn reading(exchange: &Exchange) -> Reading {
    let response = match exchange.streams() {
        false => exchange.json(),
        true => {
            let ends = ["response.completed", "response.incomplete", "response.cancelled"];
            let events = exchange.events();
            let last = events.iter().rfind(|event| ends.contains(&event["type"].as_str().unwrap_or_default()));
            let mut response = last.map(|event| event["response"].clone()).unwrap_or_default();
            // Some gateways tell the items once only.
            if list(&response["output"]).next().is_none() {
                let whole = events.iter().filter(|event| event["type"] == "response.output_item.done");
                response["output"] = whole.map(|event| event["item"].clone()).collect();
            }
            response
        }
    };
    let reason = text(&response["incomplete_details"]["reason"]);
    let mut reading = Reading {
        finish_reason: match (text(&response["status"]).as_str(), reason.as_str()) {
            ("completed", _) => "stop",
            (_, "max_output_tokens" | "max_tokens") => "length",
            (_, "content_filter") => "content_filter",
            _ => "other",
        }
        .to_owned(),
        usage: response["usage"].is_object().then(|| usage(&response["usage"])),
        raw_usage: response["usage"].clone(),
        model: text(&response["model"]),
        id: text(&response["id"]),
        ..Reading::default()
    };
    let mut phased = false;
    for item in list(&response["output"]) {
        match item["type"].as_str().unwrap_or_default() {
            "message" => {
                phased |= item["phase"].is_string();
                if phased {
                    reading.opaque.push(json!({"type": "phase", "phase": item["phase"]}));
                }
                for part in list(&item["content"]) {
                    reading.text += &text(&part["text"]);
                    reading.refusal += &text(&part["refusal"]);
                }
            }
            "function_call" => {
                reading.calls.push((text(&item["call_id"]), text(&item["name"]), arguments(&text(&item["arguments"]))));
                if reading.finish_reason == "stop" {
                    reading.finish_reason = "tool_calls".to_owned();
                }
            }
            "reasoning" => {
                let pieces = list(&item["summary"]).chain(list(&item["content"]));
                reading.thinking.extend(pieces.map(|piece| text(&piece["text"])));
                reading.signatures.extend(cipher(item));
                if is_more_than_a_thought(item) {
                    reading.opaque.push(item.clone());
                }
            }
            _ => reading.opaque.push(item.clone()),
        }
    }
    reading
}

fn usage(usage: &Value) -> [u64; 5] {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let (input, output) = (count("/input_tokens"), count("/output_tokens"));
    let reasoning = count("/output_tokens_details/reasoning_tokens");
    // xAI counts thoughts beside its output in some answers.
    let beside = if count("/total_tokens") == input + output + reasoning { reasoning } else { 0 };
    let cache = "/input_tokens_details";
    let cached = [count(&format!("{cache}/cached_tokens")), count(&format!("{cache}/cache_write_tokens"))];
    [input, cached[0], cached[1], output + beside, reasoning]
}

#[test]
fn conformance_of_responses_knows_requests_that_mean_the_same() {
    let tools = json!([{"type": "function", "name": "f", "parameters": {}}]);
    for (one, other) in [
        (json!({"input": [{"role": "developer", "content": "x"}]}), json!({"input": [], "instructions": "x"})),
        (json!({"input": "?", "tools": tools, "tool_choice": "auto"}), json!({"input": "?", "tools": tools})),
        (json!({"input": "?", "temperature": null, "reasoning": {"effort": null}}), json!({"input": "?"})),
        (json!({"input": "?", "stream": false, "tools": [], "parallel_tool_calls": true}), json!({"input": "?"})),
        (
            json!({"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "4"}]}]}),
            json!({"input": [{"type": "function_call_output", "call_id": "c", "output": "4", "status": null}]}),
        ),
        (
            json!({"input": [{"type": "reasoning", "id": "r", "summary": [], "status": "completed", "content": []}]}),
            json!({"input": [{"type": "reasoning", "id": "r", "summary": [], "encrypted_content": null}]}),
        ),
    ] {
        assert_eq!(normalised(&one), normalised(&other), "{one}");
    }
}

#[test]
fn conformance_of_responses_reads_what_a_request_asks_for() {
    let ask = |name: &str, value: Value| decode(&json!({"model": "m", "input": "?", name: value}));
    for choice in [
        json!({"type": "mcp", "server_label": "s"}),
        json!({"type": "web_search_preview"}),
        json!({"type": "allowed_tools", "mode": "auto", "tools": []}),
    ] {
        assert_eq!(ask("tool_choice", choice.clone()).unwrap().settings.extra["tool_choice"], choice);
    }
    let named = ask("tool_choice", json!({"type": "function", "name": "f"})).unwrap();
    assert_eq!(named.tool_choice, ToolChoice::Tool("f".to_owned()));
    assert!(!ask("tool_choice", json!("auto")).unwrap().settings.extra.contains_key("tool_choice"));
    let result = |output: Value| {
        decode(&json!({"model": "m", "input": [{"type": "function_call_output", "call_id": "c", "output": output}]}))
    };
    assert!(result(json!([{"type": "input_text", "text": "4"}])).is_some());
    assert!(result(json!([{"type": "input_image", "image_url": "https://h"}])).is_none());
    let thought = |more: Value| {
        let mut item = json!({"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "e"});
        item.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        decode(&json!({"model": "m", "input": [item]})).unwrap().messages[0].parts[0].clone()
    };
    assert!(matches!(thought(json!({})), Part::Thinking { .. }));
    assert!(matches!(thought(json!({"content": [{"text": "hm"}]})), Part::Opaque { .. }));
    assert!(matches!(thought(json!({"encrypted_content": ""})), Part::Thinking { signature: None, .. }));
}

#[test]
fn conformance_of_responses_reads_the_items_of_a_stream_whose_end_repeats_none() {
    let item = json!({"type": "message", "content": [{"type": "output_text", "text": "hi"}]});
    let events = [
        json!({"type": "response.output_item.done", "item": item}),
        json!({"type": "response.completed", "response": {"status": "completed", "output": []}}),
    ];
    let reading = reading(&Exchange::streamed(&events));
    assert_eq!((reading.text.as_str(), reading.finish_reason.as_str()), ("hi", "stop"));
}
