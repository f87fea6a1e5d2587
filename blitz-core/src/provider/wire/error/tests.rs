use super::*;
use crate::domain::Secret;
use crate::net::{Http, parse_base_url};
use crate::provider::RequestHeaders;
use crate::provider::wire::endpoint::Auth;
use serde_json::json;

fn endpoint() -> Endpoint {
    let auth = Auth::bearer(Some(Secret::new("canary_key"))).unwrap();
    Endpoint {
        name: "openai".to_owned(),
        base: parse_base_url("http://h").unwrap(),
        auth,
        headers: RequestHeaders::default(),
        http: Http::new(),
    }
}

fn failed(status: u16, body: &Value) -> Error {
    Failure::new(status, &HeaderMap::new(), body.to_string().as_bytes()).into_error(&endpoint())
}

fn in_stream(object: Value) -> Error {
    endpoint().unreadable(Unreadable::ErrorObject(object), true, None)
}

fn charged(error: &Error) -> Charged {
    match error {
        Error::Provider { charged, .. } => *charged,
        other => panic!("not a provider's error: {other}"),
    }
}

#[test]
fn b41_every_status_has_its_code() {
    use ErrorCode::*;
    for (status, code, retryable) in [
        (307, InvalidInput, false),
        (400, InvalidInput, false),
        (401, ProviderAuth, false),
        (402, ProviderAuth, false),
        (403, ProviderAuth, false),
        (404, NotFound, false),
        (408, Timeout, true),
        (409, Unavailable, true),
        (413, TooLarge, false),
        (422, InvalidInput, false),
        (429, RateLimited, true),
        (500, Unavailable, true),
        (503, Unavailable, true),
        (529, Unavailable, true),
    ] {
        let error = failed(status, &json!({"error": {"message": "m"}}));
        assert_eq!((error.code(), error.is_retryable()), (code, retryable), "{status}");
        assert!(error.to_string().contains(&status.to_string()));
    }
    assert_eq!(charged(&failed(500, &json!(null))), Charged::No);
    assert_eq!(charged(&failed(504, &json!(null))), Charged::Unknown);
}

#[test]
fn b18_b32_b41_the_error_object_decides_where_the_status_is_vague() {
    use ErrorCode::*;
    for (status, error, code) in [
        (400, json!({"code": "context_length_exceeded"}), ContextOverflow),
        (400, json!({"type": "exceed_context_size_error", "code": 400}), ContextOverflow),
        (400, json!({"message": "This model's maximum context length is 8192 tokens."}), ContextOverflow),
        (400, json!({"message": "prompt is too long: 210000 tokens > 200000 maximum"}), ContextOverflow),
        (
            400,
            json!({"message": "The input token count exceeds the maximum number of tokens allowed"}),
            ContextOverflow,
        ),
        (400, json!({"status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}), ProviderAuth),
        (400, json!({"message": "Your credit balance is too low to access the API"}), ProviderAuth),
        (400, json!({"code": "model_not_found"}), NotFound),
        (400, json!("Incorrect API key provided. You can obtain one at the console."), ProviderAuth),
        (400, json!({"code": "content_filter"}), ContentFiltered),
        (400, json!({"innererror": {"code": "ResponsibleAIPolicyViolation"}}), ContentFiltered),
        (
            400,
            json!({"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}),
            ContentFiltered,
        ),
        (
            400,
            json!({"code": "invalid_prompt", "type": "invalid_request_error",
                "message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy."}),
            ContentFiltered,
        ),
        (400, json!({"type": "invalid_request_error", "message": "Content Exists Risk"}), ContentFiltered),
        (
            403,
            json!({"code": 403, "message": "openai/gpt-4 requires moderation on OpenAI. Your input was flagged for \"x\"."}),
            ContentFiltered,
        ),
        (403, json!({"code": "forbidden", "message": "Content violates usage guidelines."}), ContentFiltered),
        (400, json!({"code": "invalid_prompt", "message": "Invalid prompt: it has no text"}), InvalidInput),
        (429, json!({"code": "insufficient_quota"}), ProviderAuth),
        (429, json!({"type": "insufficient_quota", "code": null}), ProviderAuth),
        (429, json!({"message": "context window"}), RateLimited),
        (500, json!("plain text"), Unavailable),
    ] {
        let failure = failed(status, &json!({"error": error}));
        assert_eq!(failure.code(), code, "{error}");
        assert_eq!(failure.is_retryable(), code.retryable());
    }
}

#[test]
fn b21_an_error_in_the_stream_gets_the_code_it_would_have_had() {
    use ErrorCode::*;
    for (object, code) in [
        (json!({"code": 429}), RateLimited),
        (json!({"code": "401"}), ProviderAuth),
        (json!({"type": "rate_limit_error"}), RateLimited),
        (json!({"type": "overloaded_error"}), Unavailable),
        (json!({"type": "invalid_request_error", "code": "context_length_exceeded"}), ContextOverflow),
        (json!({"type": "insufficient_quota"}), ProviderAuth),
        (json!("no luck"), Unavailable),
        (json!(null), Unavailable),
    ] {
        let error = in_stream(object.clone());
        // No status was sent but 200.
        assert!(error.to_string().contains("broke off with an error"), "{error}");
        assert!(!["401", "429", "503"].iter().any(|status| error.to_string().contains(&format!("answered {status}"))));
        assert_eq!((error.code(), charged(&error)), (code, Charged::Delivered), "{object}");
    }
}

#[test]
fn b36_only_plain_identifiers_are_shown() {
    let shown = failed(400, &json!({"error": {"code": "decimal_above_max_value", "type": "invalid_request_error"}}));
    assert!(shown.to_string().contains("(decimal_above_max_value, invalid_request_error)"), "{shown}");
    for leak in ["canary_key", "CANARY_KEY", "key", "my canary_key is", "sk-canary-1", "the prompt: hello"] {
        let error = failed(400, &json!({"error": {"code": leak, "type": leak, "message": leak}}));
        assert!(!format!("{error} {error:?} {}", error.details()).to_lowercase().contains(leak), "{leak}");
    }
}

#[test]
fn stream_options_are_recognised_in_the_refusal_only() {
    let failure = |status, message: &str| {
        Failure::new(status, &HeaderMap::new(), json!({"error": {"message": message}}).to_string().as_bytes())
    };
    assert!(failure(400, "Unknown field: stream_options").is_about_stream_options());
    assert!(failure(422, "include_usage: extra fields not permitted").is_about_stream_options());
    assert!(!failure(400, "Unknown field: tools").is_about_stream_options());
    assert!(!failure(500, "stream_options").is_about_stream_options());
}

#[test]
fn b41_the_wait_in_a_body_counts_where_no_header_has_one() {
    let body = json!({"error": {"code": 429, "details": [{"@type": "x.RetryInfo", "retryDelay": "34.5s"}]}});
    match failed(429, &body) {
        Error::Provider { retry_after, .. } => assert_eq!(retry_after, Some(Duration::from_millis(34_500))),
        other => panic!("{other}"),
    }
}
