//! Every dialect against servers that fail: what the caller is told, whether it may try again, and
//! that no key goes anywhere but to the provider. What all share is held in `provider_faults`.

use std::sync::Arc;
use std::time::Duration;

use blitz::error::Charged;
#[cfg(feature = "bedrock")]
use blitz::provider::Bedrock;
use blitz::provider::{
    Anthropic, AzureOpenAi, CallContext, ChatServer, Cohere, Gemini, Ollama, OpenAi, OpenAiResponses, Provider,
    complete,
};
use blitz::{Error, ErrorCode, Message, ModelRequest, ModelResponse, ModelSettings, Secret, ToolSpec, Unsupported};
use serde_json::{Value, json};

use crate::support::canary;
use crate::support::server::{Reply, Server};

const KEY: &str = "sk-canary-key";

type Make = fn(&str, Option<Secret>) -> blitz::Result<Arc<dyn Provider>>;

/// Each dialect, and how its stream begins.
const DIALECTS: &[(&str, Make, &str)] = &[
    (
        "openai",
        |base, key| Ok(Arc::new(OpenAi::new(base, key)?)),
        r#"{"choices":[{"index":0,"delta":{"content":"h"}}]}"#,
    ),
    (
        "mistral",
        |base, key| Ok(Arc::new(OpenAi::on(ChatServer::Mistral, base, key)?)),
        r#"{"choices":[{"index":0,"delta":{"content":"h"}}]}"#,
    ),
    (
        "azure",
        |base, key| Ok(Arc::new(AzureOpenAi::new(base, key)?.dated("2024-10-21"))),
        r#"{"choices":[{"index":0,"delta":{"content":"h"}}]}"#,
    ),
    (
        "responses",
        |base, key| Ok(Arc::new(OpenAiResponses::new(base, key)?)),
        r#"{"type":"response.output_text.delta","output_index":0,"delta":"h"}"#,
    ),
    (
        "anthropic",
        |base, key| Ok(Arc::new(Anthropic::new(base, key)?)),
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"h"}}"#,
    ),
    (
        "gemini",
        |base, key| Ok(Arc::new(Gemini::new(base, key)?)),
        r#"{"candidates":[{"content":{"parts":[{"text":"h"}]},"index":0}]}"#,
    ),
    ("ollama", |base, key| Ok(Arc::new(Ollama::new(base, key)?)), r#"{"message":{"content":"h"},"done":false}"#),
    (
        "cohere",
        |base, key| Ok(Arc::new(Cohere::new(base, key)?)),
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"h"}}}}"#,
    ),
    #[cfg(feature = "bedrock")]
    (
        "bedrock",
        |base, key| Ok(Arc::new(Bedrock::with_api_key("us-east-1", key.unwrap())?.with_base_url(base)?)),
        r#"{"contentBlockIndex":0,"delta":{"text":"h"}}"#,
    ),
];

/// A piece of a stream as a dialect cuts it: a line, a binary frame, or an event.
fn piece(name: &str, json: &str) -> Vec<u8> {
    match name {
        "ollama" => format!("{json}\n").into_bytes(),
        "bedrock" => frame(&[(":message-type", "event"), (":event-type", "contentBlockDelta")], json),
        _ => format!("data: {json}\n\n").into_bytes(),
    }
}

/// One of Amazon's event frames: lengths, their checksum, headers, payload, checksum.
pub fn frame(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let checked = |mut bytes: Vec<u8>| {
        let mut sum = flate2::Crc::new();
        sum.update(&bytes);
        bytes.extend(sum.sum().to_be_bytes());
        bytes
    };
    let number = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    let head: Vec<u8> = headers
        .iter()
        .flat_map(|(name, value)| {
            let length = u8::try_from(value.len()).unwrap();
            [&[u8::try_from(name.len()).unwrap()], name.as_bytes(), &[7, 0, length], value.as_bytes()].concat()
        })
        .collect();
    let prelude = checked([number(16 + head.len() + payload.len()), number(head.len())].concat());
    checked([prelude.as_slice(), &head, payload.as_bytes()].concat())
}

async fn ask(make: Make, server: &Server) -> Result<ModelResponse, Error> {
    canary::Log::read();
    let provider = make(server.url(), Some(Secret::new(&format!(" {KEY}\n")))).unwrap();
    let request = ModelRequest::new("m", vec![Message::user("canary prompt")]);
    complete(provider.stream(request, CallContext::new(Duration::from_secs(60)))).await
}

/// What each dialect tells of the same reply, and no secret in it.
async fn told(name: &str, make: Make, reply: Reply) -> (ErrorCode, bool, Option<Duration>, Charged) {
    let server = Server::start([reply]).await;
    let error = ask(make, &server).await.expect_err(name);
    assert_eq!(server.requests().len(), 1, "{name} asked again");
    let shown = format!("{} {}", canary::shown(&error), canary::Log::read().text());
    assert!(!shown.contains("canary prompt") && !shown.contains(KEY), "{name}: {shown}");
    assert!(!canary::shown(&error).contains("canary"), "{name}: {shown}");
    match error {
        Error::Provider { code, retryable, retry_after, charged, .. } => (code, retryable, retry_after, charged),
        other => panic!("{name}: not an error of a provider: {other}"),
    }
}

fn failing(status: u16, headers: &[(&str, &str)], body: &Value) -> Reply {
    let body = body.to_string();
    let length = body.len().to_string();
    let fixed = [("content-type", "application/json"), ("content-length", length.as_str())];
    Reply::head(status, &[headers, fixed.as_slice()].concat()).send(body)
}

#[tokio::test]
async fn fault_b41_every_dialect_reads_429_529_and_retry_after() {
    use ErrorCode::*;
    let error = json!({"error": {"message": "canary"}, "message": "canary"});
    for (name, make, _) in DIALECTS {
        for (status, headers, code, wait) in [
            (429, [("retry-after", "7")].as_slice(), RateLimited, Some(Duration::from_secs(7))),
            (503, &[("retry-after-ms", "250")], Unavailable, Some(Duration::from_millis(250))),
            (529, &[], Unavailable, None),
            (500, &[], Unavailable, None),
            (400, &[], InvalidInput, None),
            (401, &[], ProviderAuth, None),
            (403, &[], ProviderAuth, None),
            (404, &[], NotFound, None),
            (408, &[], Timeout, None),
            (413, &[], TooLarge, None),
        ] {
            let found = told(name, *make, failing(status, headers, &error)).await;
            let charged = if status == 408 { Charged::Unknown } else { Charged::No };
            assert_eq!(found, (code, code.retryable(), wait, charged), "{name}: {status}");
        }
    }
}

#[tokio::test]
async fn fault_b32_b18_b41_overflow_filter_and_quota_are_named_and_never_retried() {
    use ErrorCode::*;
    let said = |message: &str| json!({"error": {"message": message}, "message": message});
    let violation = json!({"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"});
    let for_a_day = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "x.QuotaFailure", "violations": [violation]}, {"retryDelay": "34s"}]}});
    for (name, make, _) in DIALECTS {
        for (status, error, code) in [
            (400, json!({"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}), ContextOverflow),
            (400, json!({"error": {"code": "context_length_exceeded"}}), ContextOverflow),
            (400, said("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"), ContextOverflow),
            (400, json!({"code": "x", "error": "This model's maximum prompt length is 131072."}), ContextOverflow),
            (400, said("Input Tokens Exceeded: Number of input tokens exceeds maximum length."), ContextOverflow),
            (400, json!({"error": {"code": "content_filter"}}), ContentFiltered),
            (429, json!({"error": {"code": "insufficient_quota"}}), ProviderAuth),
            (
                429,
                json!({"code": "x", "error": "Your team has either used all available credits or more."}),
                ProviderAuth,
            ),
            (429, said("You are using a Trial key, which is limited to 1000 API calls / month."), ProviderAuth),
            (429, for_a_day.clone(), ProviderAuth),
        ] {
            let (found, retryable, ..) = told(name, *make, failing(status, &[], &error)).await;
            assert_eq!((found, retryable), (code, false), "{name}: {error}");
        }
        // What a minute or a second gives back is worth a wait.
        let by_the_minute = said("You are using a Trial key, which is limited to 10 API calls / minute.");
        assert_eq!(told(name, *make, failing(429, &[], &by_the_minute)).await.0, RateLimited, "{name}");
    }
}

#[tokio::test]
async fn fault_b35_azure_tells_an_unknown_deployment_and_a_missing_version() {
    let make = DIALECTS.iter().find(|(name, ..)| *name == "azure").unwrap().1;
    let unknown = json!({"error": {"code": "DeploymentNotFound", "message": "canary does not exist"}});
    assert_eq!(told("azure", make, failing(404, &[], &unknown)).await.0, ErrorCode::NotFound);
    let no_version = json!({"error": {"code": "BadRequest", "message": "api-version query parameter is required"}});
    assert_eq!(told("azure", make, failing(400, &[], &no_version)).await.0, ErrorCode::InvalidInput);
    let server = Server::start([failing(404, &[], &no_version)]).await;
    let error = ask(make, &server).await.unwrap_err();
    assert!(error.to_string().contains("AZURE_OPENAI_API_VERSION"), "{error}");
    // Without a version the address is the v1 API's, which wants none.
    let server = Server::start([failing(404, &[], &unknown)]).await;
    let plain = AzureOpenAi::new(server.url(), Some(Secret::new(KEY))).unwrap();
    let request = ModelRequest::new("no-such-deployment", vec![Message::user("?")]);
    let error = complete(plain.stream(request, CallContext::new(Duration::from_secs(60)))).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("DeploymentNotFound") && said.contains("the name of its deployment"), "{error}");
    assert_eq!(server.last_request().path, "/openai/v1/chat/completions");
}

#[tokio::test]
async fn b36_no_dialect_follows_a_redirect_with_its_key() {
    for (name, make, _) in DIALECTS {
        let elsewhere = Server::start([]).await;
        let (code, ..) = told(name, *make, failing(307, &[("location", elsewhere.url())], &json!({}))).await;
        assert_eq!((code, elsewhere.connections()), (ErrorCode::InvalidInput, 0), "{name}");
    }
}

#[tokio::test]
async fn b21_every_dialect_tells_a_cut_stream_from_a_bad_one() {
    use ErrorCode::*;
    for (name, make, begins) in DIALECTS {
        let begin = piece(name, begins);
        let strange = |json: &str| piece(if *name == "ollama" { "events" } else { name }, json);
        let html = Reply::body(200, "text/html", "<!doctype html><p>canary");
        for (what, reply, code) in [
            ("nothing", Reply::events(), Unavailable),
            ("cut", Reply::events().send(&begin), Unavailable),
            ("half a piece", Reply::events().send(&begin[..begin.len() / 2]), Unavailable),
            ("a web page", html, BadOutput),
            ("another kind of JSON", Reply::events().send(strange("7")), BadOutput),
            ("a whole answer of another kind of JSON", Reply::json(200, &json!({"type": "canary"})), BadOutput),
            ("no JSON", Reply::events().send(strange("canary")), BadOutput),
        ] {
            let (found, _, _, charged) = told(name, *make, reply).await;
            // Lines that are no lines at all end before anything was read.
            let expected =
                if *name == "ollama" && what.ends_with("JSON") { [BadOutput, Unavailable] } else { [code; 2] };
            assert!(expected.contains(&found), "{name}: {what} is {found}");
            let ends = *name != "ollama" && what == "a whole answer of another kind of JSON";
            let is_read = ends || what == "a web page";
            assert_eq!(charged == Charged::Delivered, is_read, "{name}: {what}");
            assert_ne!(charged, Charged::No, "{name}: {what}");
        }
    }
}

#[tokio::test]
async fn b21_every_dialect_reads_an_error_in_the_middle_of_its_stream() {
    for (name, make, begins) in DIALECTS {
        let error = match *name {
            "responses" => json!({"type": "error", "code": "rate_limit_exceeded", "message": "canary"}),
            "anthropic" => json!({"type": "error", "error": {"type": "rate_limit_error", "message": "canary"}}),
            "gemini" => json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "canary"}}),
            "cohere" => json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "canary"}}),
            "ollama" => json!({"error": "canary"}),
            _ => json!({"error": {"code": 429, "message": "canary"}}),
        };
        let says_nothing_more = matches!(*name, "cohere" | "ollama");
        let code = if says_nothing_more { ErrorCode::Unavailable } else { ErrorCode::RateLimited };
        let error = match *name {
            "bedrock" => frame(
                &[(":message-type", "exception"), (":exception-type", "throttlingException")],
                r#"{"message": "canary"}"#,
            ),
            _ => piece(name, &error.to_string()),
        };
        let body = [piece(name, begins), error].concat();
        let (found, retryable, _, charged) = told(name, *make, Reply::events().send(body)).await;
        assert_eq!((found, retryable, charged), (code, true, Charged::Delivered), "{name}");
    }
}

/// Every setting there is, for a model of each dialect that cannot take all of them, and those it cannot.
fn everything(name: &str) -> (ModelRequest, &'static [&'static str]) {
    let (model, left_out): (_, &[_]) = match name {
        "openai" | "azure" => ("o4-mini", &["temperature", "top_p", "stop"]),
        "responses" => ("o4-mini", &["stop", "seed", "temperature", "top_p"]),
        "anthropic" => ("claude-opus-4-8", &["temperature", "top_p", "seed"]),
        "gemini" => ("gemini-2.0-flash", &["reasoning_effort", "parallel_tool_calls"]),
        "ollama" => ("m", &["reasoning_effort", "parallel_tool_calls"]),
        "cohere" => ("m", &["parallel_tool_calls"]),
        "bedrock" => ("m", &["seed", "reasoning_effort", "parallel_tool_calls"]),
        _ => ("m", &[]),
    };
    let mut settings = ModelSettings::default();
    (settings.temperature, settings.top_p, settings.seed) = (Some(0.5), Some(0.5), Some(1));
    (settings.stop, settings.reasoning_effort) = (vec!["x".into()], Some("low".into()));
    (settings.parallel_tool_calls, settings.max_output_tokens) = (Some(false), Some(9));
    let tool = ToolSpec::new("f", "", json!({"type": "object"}));
    (ModelRequest::new(model, vec![Message::user("?")]).with_tools(vec![tool]).with_settings(settings), left_out)
}

#[tokio::test]
async fn b34_what_a_model_cannot_be_asked_is_left_out_by_name_or_refused() {
    for (name, make, _) in DIALECTS {
        let text = json!([{"type": "text", "text": "a"}]);
        let answer = match *name {
            "responses" => json!({"object": "response", "id": "r", "status": "completed", "output": [
                {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]}),
            "anthropic" => json!({"type": "message", "id": "m", "role": "assistant", "model": "m", "content": text,
                "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}),
            "gemini" => json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}),
            "ollama" => json!({"message": {"content": "a"}, "done": true, "done_reason": "stop"}),
            "cohere" => json!({"id": "c", "finish_reason": "COMPLETE", "message": {"content": text}}),
            "bedrock" => json!({"output": {"message": {"content": [{"text": "a"}]}}, "stopReason": "end_turn",
                "usage": {"inputTokens": 1, "outputTokens": 1}}),
            _ => json!({"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}),
        };
        let (mut request, names) = everything(name);
        let server = Server::start([Reply::json(200, &answer)]).await;
        let provider = make(server.url(), Some(Secret::new(KEY))).unwrap();
        let ask = |request: &ModelRequest| {
            complete(provider.stream(request.clone(), CallContext::new(Duration::from_secs(60))))
        };
        request.settings.unsupported = Some(Unsupported::Error);
        if !names.is_empty() {
            let error = ask(&request).await.expect_err(name);
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{name}: {error}");
            assert!(
                names.iter().all(|left| error.to_string().contains(&format!("settings.{left}"))),
                "{name}: {error}"
            );
            assert!(server.requests().is_empty(), "{name}: nothing is sent");
        }
        request.settings.unsupported = Some(Unsupported::Drop);
        let response = ask(&request).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let told = response.extra.get("settings_left_out").cloned().unwrap_or_else(|| json!([]));
        assert_eq!(told, json!(names), "{name}");
        let sent = server.last_request().json().to_string();
        let hides = |left: &&str| *left == "stop" || !sent.contains(&format!("\"{left}\""));
        assert!(names.iter().all(hides), "{name}: {sent}");
    }
}

#[test]
fn b36_a_key_that_no_header_can_carry_is_refused_without_being_shown() {
    for (name, make, _) in DIALECTS {
        let error = make("http://h", Some(Secret::new("can\nary"))).err().expect(name);
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{name}");
        assert!(!format!("{error} {error:?}").contains("ary"), "{name}");
    }
}
