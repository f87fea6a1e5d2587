//! What an answer says, in a form that both readings of it can be brought to.

use blitz::{ErrorCode, FinishReason, ModelResponse, Part, ToolSpec};
use serde_json::Value;

#[derive(Debug, Default, PartialEq)]
pub struct Reading {
    pub text: String,
    pub thinking: String,
    pub refusal: String,
    /// Id, name and arguments as JSON; arguments that are not JSON stay text.
    pub calls: Vec<(String, String, Value)>,
    pub finish_reason: String,
    /// Input, read from the cache, written to it, output and reasoning tokens.
    pub usage: Option<[u64; 5]>,
    pub raw_usage: Value,
    pub model: String,
    pub id: String,
    /// Signatures and encrypted forms of thoughts and calls, in order.
    pub signatures: Vec<String>,
    /// What only the provider understands.
    pub opaque: Vec<Value>,
}

/// What the provider under test made of an answer.
pub fn provided(response: &ModelResponse) -> Reading {
    let mut reading = Reading {
        finish_reason: match response.finish_reason {
            FinishReason::Stop => "stop",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::Length => "length",
            FinishReason::ContextWindow => "context_window",
            FinishReason::ContentFilter => "content_filter",
            FinishReason::Paused => "paused",
            FinishReason::Other => "other",
        }
        .to_owned(),
        usage: response.usage.map(|usage| {
            let (read, write) = (usage.cache_read_tokens, usage.cache_write_tokens);
            [usage.input_tokens, read, write, usage.output_tokens, usage.reasoning_tokens]
        }),
        raw_usage: response.raw_usage.clone(),
        model: response.model_name.clone(),
        id: response.response_id.clone().unwrap_or_default(),
        ..Reading::default()
    };
    for part in &response.message.parts {
        match part {
            Part::Text { text } => reading.text += text,
            Part::Thinking { text, signature, .. } => {
                reading.thinking += text;
                reading.signatures.extend(signature.clone());
            }
            Part::Refusal { text } => reading.refusal += text,
            Part::ToolCall(call) => {
                let id = call.provider_id.as_ref().unwrap_or(&call.id).clone();
                reading.calls.push((id, call.name.clone(), arguments(&call.arguments)));
                reading.signatures.extend(call.signature.clone());
            }
            Part::Opaque { data, .. } => reading.opaque.push(data.clone()),
            other => panic!("an answer holds {other:?}"),
        }
    }
    reading
}

/// Whether a code is what a recorded error means: the expected one, or a finer one that its words bear out.
pub fn agrees(code: ErrorCode, status: u16, body: &str) -> bool {
    let expected = error_code(status, body);
    let said = body.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    // Words that the plain reading knows by themselves leave no choice.
    let is_plain = expected == error_code(status, "");
    code == expected
        || (is_plain && (400..500).contains(&status))
            && match code {
                ErrorCode::ContextOverflow => says(&["context", "token", "too long", "too large", "length"]),
                ErrorCode::ContentFiltered => says(&["filter", "safety", "policy", "moderation", "flagged"]),
                ErrorCode::ProviderAuth => says(&["key", "quota", "billing", "credit", "balance"]),
                ErrorCode::NotFound => says(&["model"]),
                _ => false,
            }
}

/// Why a model stopped, in the words of [`Reading`], by those of Chat Completions and of all that copy it.
pub fn finish_reason(said: &str, calls: bool) -> String {
    match said {
        "stop" | "eos" | "end_turn" | "stop_sequence" => "stop",
        "tool_calls" | "tool_call" | "function_call" => "tool_calls",
        "length" | "max_tokens" | "model_length" => "length",
        "content_filter" => "content_filter",
        "" if calls => "tool_calls",
        _ => "other",
    }
    .to_owned()
}

/// A thought that a server leaves in the text: what is between `<think>` at its beginning and `</think>`.
pub fn without_thought(reading: &mut Reading) {
    if let Some(rest) = reading.text.trim_start().strip_prefix("<think>") {
        let (thought, answer) = rest.split_once("</think>").unwrap_or((rest, ""));
        reading.thinking += thought;
        reading.text = answer.trim_start().to_owned();
    }
}

/// The code that a recorded error means: its status, but for what servers say in words.
pub fn error_code(status: u16, body: &str) -> ErrorCode {
    let said = body.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match status {
        400 if says(&["context_length_exceeded", "exceed_context_size_error", "prompt is too long"]) => {
            ErrorCode::ContextOverflow
        }
        400 if says(&["incorrect api key", "api key not valid"]) => ErrorCode::ProviderAuth,
        400 if says(&["model_not_found"]) => ErrorCode::NotFound,
        400 | 403
            if says(&[
                "content_filter",
                "content_policy_violation",
                "responsibleaipolicyviolation",
                "flagged",
                "content filtering policy",
            ]) =>
        {
            ErrorCode::ContentFiltered
        }
        429 if says(&["insufficient_quota"]) => ErrorCode::ProviderAuth,
        401..=403 => ErrorCode::ProviderAuth,
        404 => ErrorCode::NotFound,
        408 => ErrorCode::Timeout,
        409 | 425 => ErrorCode::Unavailable,
        413 => ErrorCode::TooLarge,
        429 => ErrorCode::RateLimited,
        500.. => ErrorCode::Unavailable,
        _ => ErrorCode::InvalidInput,
    }
}

/// The status that the error inside of an answer with status 200 states: as a number, or by a kind that all who
/// have it mean the same by.
pub fn stated(body: &str) -> Option<u16> {
    const KINDS: &[(&str, u16)] = &[
        ("rate_limit", 429),
        ("resource_exhausted", 429),
        ("overloaded_error", 529),
        ("authentication_error", 401),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("invalid_request_error", 400),
        ("server_error", 500),
        ("api_error", 500),
    ];
    let pieces = body.lines().map(|line| line.strip_prefix("data:").unwrap_or(line).trim()).chain([body]);
    let mut objects = pieces.filter_map(|piece| serde_json::from_str::<Value>(piece).ok());
    let error = objects.find_map(|said| {
        let error = ["/error", "/response/error", "/choices/0/error"]
            .iter()
            .find_map(|path| said.pointer(path).filter(|it| it.is_object()));
        error.cloned().or_else(|| (said["type"] == "error").then_some(said))
    })?;
    let number = error["code"].as_u64().or_else(|| error["code"].as_str()?.parse().ok());
    let kind = ["code", "type", "status"].map(|name| text(&error[name]).to_lowercase()).join(" ");
    let kind = || KINDS.iter().find(|(name, _)| kind.contains(name)).map(|(_, status)| u64::from(*status));
    number.filter(|number| (400..600).contains(number)).or_else(kind)?.try_into().ok()
}

#[test]
fn conformance_reads_which_error_an_answer_with_status_200_states() {
    for (body, status) in [
        ("data: {\"choices\": []}\n\ndata: {\"error\": {\"code\": 429, \"message\": \"x\"}}\n\n", Some(429)),
        (r#"data: {"type": "error", "error": {"type": "overloaded_error"}}"#, Some(529)),
        (r#"data: {"type": "response.failed", "response": {"error": {"code": "server_error"}}}"#, Some(500)),
        (r#"data: {"type": "error", "code": "rate_limit_exceeded"}"#, Some(429)),
        (r#"{"error": {"code": 503, "status": "UNAVAILABLE"}}"#, Some(503)),
        (r#"{"error": "something"}"#, None),
        (r#"{"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "x"}}]}"#, Some(502)),
        (r#"data: {"choices": []}"#, None),
    ] {
        assert_eq!(stated(body), status, "{body}");
    }
}

/// Functions on offer in the form of Chat Completions, which most others took over.
pub fn function_tools(tools: &Value) -> Vec<ToolSpec> {
    let spec = |function: &Value| {
        ToolSpec::new(text(&function["name"]), text(&function["description"]), function["parameters"].clone())
    };
    list(tools).map(|tool| spec(&tool["function"])).collect()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub fn arguments(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// A list, or nothing.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> + Clone {
    value.as_array().into_iter().flatten()
}

/// Takes out the formats that the strict form of a schema does not know.
pub fn drop_unknown_formats(schema: &mut Value) {
    const KNOWN: &[&str] =
        &["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];
    match schema {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "format" || value.as_str().is_none_or(|name| KNOWN.contains(&name)));
            fields.values_mut().for_each(drop_unknown_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_unknown_formats),
        _ => {}
    }
}
