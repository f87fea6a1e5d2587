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
    let mut fields = body.as_object()?.clone();
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
    if choice["type"] == "allowed_tools" {
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
            let parts = match &item["content"] {
                Value::String(text) => vec![Part::text(text)],
                other => list(other).map(content).collect::<Option<_>>()?,
            };
            (role, parts)
        }
        "function_call" => {
            names.insert(get("call_id"), get("name"));
            let call = ToolCall::new(get("call_id"), get("name"), get("arguments"));
            (MessageRole::Assistant, vec![Part::ToolCall(call)])
        }
        "function_call_output" => {
            let name = names.get(&get("call_id")).cloned().unwrap_or_default();
            (MessageRole::Tool, vec![Part::ToolResult(ToolResult::new(get("call_id"), name, item["output"].clone()))])
        }
        "reasoning" if list(&item["content"]).next().is_none() && list(&item["summary"]).count() < 2 => {
            let thought = Part::Thinking {
                text: list(&item["summary"]).map(|piece| text(&piece["text"])).collect(),
                signature: item["encrypted_content"].as_str().map(str::to_owned),
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
        "input_image" => Part::Image { media_type: "image/*".to_owned(), data: get("image_url") },
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

/// Instructions as the first message; content as a list; no ids and states that the server itself gave;
/// `strict` of a tool, and the asking for encrypted thoughts, which cost nothing.
fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    let fields = body.as_object_mut().unwrap();
    let instructions = fields.remove("instructions").unwrap_or_default();
    let mut items = Vec::new();
    if instructions.is_string() {
        items.push(json!({"type": "message", "role": "system", "content": instructions}));
    }
    match fields.remove("input").unwrap() {
        Value::String(text) => items.push(json!({"type": "message", "role": "user", "content": text})),
        list => items.extend(list.as_array().unwrap().clone()),
    }
    for item in &mut items {
        if item["type"] != "reasoning" {
            item.as_object_mut().unwrap().retain(|name, _| name != "id" && name != "status");
        }
        if item["type"] == "message" {
            let is_answer = item["role"] == "assistant";
            let kind = if is_answer { "output_text" } else { "input_text" };
            if let Some(text) = item["content"].as_str() {
                item["content"] = json!([{"type": kind, "text": text}]);
            }
            // Which notes a text had is the reader's; that it may have some is the server's.
            for part in item["content"].as_array_mut().into_iter().flatten() {
                if part["type"] == "output_text" {
                    part["annotations"] = json!([]);
                }
            }
        }
        if item["type"] == "function_call" {
            item["arguments"] = arguments(item["arguments"].as_str().unwrap());
        }
    }
    fields.insert("input".to_owned(), items.into());
    fields.remove("include");
    if let Some(schema) = fields.get_mut("text").and_then(|text| text["format"].get_mut("schema")) {
        drop_unknown_formats(schema);
    }
    for tool in fields.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        tool.as_object_mut().unwrap().remove("strict");
    }
    body
}

/// The last frame of a stream holds the whole answer; the pieces before it are what the deltas show.
fn reading(exchange: &Exchange) -> Reading {
    let response = match exchange.streams() {
        false => exchange.json(),
        true => {
            let ends = ["response.completed", "response.incomplete", "response.cancelled"];
            let events = exchange.events();
            let last = events.iter().rfind(|event| ends.contains(&event["type"].as_str().unwrap_or_default()));
            last.unwrap()["response"].clone()
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
                reading.signatures.extend(item["encrypted_content"].as_str().map(str::to_owned));
                if list(&item["summary"]).count() > 1 || list(&item["content"]).count() > 0 {
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
