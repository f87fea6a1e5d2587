//! Every dialect against servers that fail: what the caller is told, whether it may try again, and
//! that no key goes anywhere but to the provider. What all share is held in `provider_faults`.

use std::sync::Arc;
use std::time::Duration;

use blitz::error::Charged;
use blitz::provider::{
    Anthropic, AzureOpenAi, CallContext, ChatServer, Cohere, Gemini, Ollama, OpenAi, OpenAiResponses, Provider,
    complete,
};
use blitz::{Error, ErrorCode, Message, ModelRequest, ModelResponse, Secret};
use serde_json::{Value, json};

use crate::support::canary;
use crate::support::server::{Reply, Server};

const KEY: &str = "sk-canary-key";

type Make = fn(&str, Option<Secret>) -> blitz::Result<Arc<dyn Provider>>;

/// Each dialect, how its stream begins, and whether its pieces are lines.
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
];

async fn ask(make: Make, server: &Server) -> Result<ModelResponse, Error> {
    canary::Log::of_process();
    let provider = make(server.url(), Some(Secret::new(&format!(" {KEY}\n")))).unwrap();
    let request = ModelRequest::new("m", vec![Message::user("canary prompt")]);
    complete(provider.stream(request, CallContext::new(Duration::from_secs(60)))).await
}

/// What each dialect tells of the same reply, and no secret in it.
async fn told(name: &str, make: Make, reply: Reply) -> (ErrorCode, bool, Option<Duration>, Charged) {
    let server = Server::start([reply]).await;
    let error = ask(make, &server).await.expect_err(name);
    assert_eq!(server.requests().len(), 1, "{name} asked again");
    let shown = format!("{} {}", canary::shown(&error), canary::Log::of_process().text());
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
    for (name, make, _) in DIALECTS {
        for (status, error, code) in [
            (400, json!({"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}), ContextOverflow),
            (400, json!({"error": {"code": "context_length_exceeded"}}), ContextOverflow),
            (400, json!({"error": {"code": "content_filter"}}), ContentFiltered),
            (429, json!({"error": {"code": "insufficient_quota"}}), ProviderAuth),
        ] {
            let (found, retryable, ..) = told(name, *make, failing(status, &[], &error)).await;
            assert_eq!((found, retryable), (code, false), "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn fault_b35_azure_tells_an_unknown_deployment_and_a_missing_version() {
    let make = DIALECTS.iter().find(|(name, ..)| *name == "azure").unwrap().1;
    let unknown = json!({"error": {"code": "DeploymentNotFound", "message": "canary does not exist"}});
    assert_eq!(told("azure", make, failing(404, &[], &unknown)).await.0, ErrorCode::NotFound);
    let no_version = json!({"error": {"code": "BadRequest", "message": "api-version query parameter is required"}});
    assert_eq!(told("azure", make, failing(400, &[], &no_version)).await.0, ErrorCode::InvalidInput);
    // Without a version the address is the v1 API's, which wants none.
    let server = Server::start([failing(404, &[], &unknown)]).await;
    let plain = AzureOpenAi::new(server.url(), Some(Secret::new(KEY))).unwrap();
    let request = ModelRequest::new("no-such-deployment", vec![Message::user("?")]);
    let error = complete(plain.stream(request, CallContext::new(Duration::from_secs(60)))).await.unwrap_err();
    assert!(error.to_string().contains("DeploymentNotFound"), "{error}");
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
        let piece = if *name == "ollama" { format!("{begins}\n") } else { format!("data: {begins}\n\n") };
        let html = Reply::body(200, "text/html", "<!doctype html><p>canary");
        for (what, reply, code) in [
            ("nothing", Reply::events(), Unavailable),
            ("cut", Reply::events().send(&piece), Unavailable),
            ("half a piece", Reply::events().send(&piece[..piece.len() / 2]), Unavailable),
            ("a web page", html, BadOutput),
            ("another kind of JSON", Reply::events().send("data: 7\n\n"), BadOutput),
            ("a whole answer of another kind of JSON", Reply::json(200, &json!({"type": "canary"})), BadOutput),
            ("no JSON", Reply::events().send("data: canary\n\n"), BadOutput),
        ] {
            let (found, _, _, charged) = told(name, *make, reply).await;
            // Lines that are no lines at all end before anything was read.
            let expected =
                if *name == "ollama" && what.ends_with("JSON") { [BadOutput, Unavailable] } else { [code; 2] };
            assert!(expected.contains(&found), "{name}: {what} is {found}");
            assert_eq!(charged, Charged::Unknown, "{name}: {what}");
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
        let body = if *name == "ollama" {
            format!("{begins}\n{error}\n")
        } else {
            format!("data: {begins}\n\ndata: {error}\n\n")
        };
        let (found, retryable, _, charged) = told(name, *make, Reply::events().send(body)).await;
        assert_eq!((found, retryable, charged), (code, true, Charged::Unknown), "{name}");
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
