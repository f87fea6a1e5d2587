//! A provider against servers that fail in every way: what the caller is told, whether it may try
//! again, whether it may be charged, and that nothing secret is in any of it.

use std::io::Write;
use std::time::{Duration, Instant};

use blitz::error::Charged;
use blitz::provider::{Anthropic, CallContext, ModelStream, OpenAi, Provider, StreamItem, complete};
use blitz::{Error, ErrorCode, FinishReason, Message, ModelRequest, ModelResponse, Secret, Usage};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::server::{Reply, Server, http_chunk};

const KEY: &str = "sk-canary-key";
const PROMPT: &str = "canary prompt";

fn patient() -> CallContext {
    CallContext::new(Duration::from_secs(60))
}

fn ask(server: &Server, context: CallContext) -> ModelStream {
    ask_at(server.url(), true, context)
}

fn ask_at(url: &str, streams: bool, context: CallContext) -> ModelStream {
    let provider = OpenAi::new(url, Some(Secret::new(KEY))).unwrap();
    let mut request = ModelRequest::new("m", vec![Message::user(PROMPT)]);
    request.settings.stream = Some(streams);
    provider.stream(request, context)
}

/// The answer to one request to a server with one reply.
async fn answer(reply: Reply) -> Result<ModelResponse, Error> {
    let server = Server::start([reply]).await;
    complete(ask(&server, patient())).await
}

/// The error of a reply, which must hold neither key nor prompt, as code, retryable and charged.
async fn failure(reply: Reply) -> (ErrorCode, bool, Charged) {
    told(answer(reply).await.expect_err("the reply is a failure"))
}

fn told(error: Error) -> (ErrorCode, bool, Charged) {
    let shown = format!("{error} {error:?} {} {} {:?}", error.chain(), error.details(), error.to_info());
    assert!(!shown.contains("canary"), "{shown}");
    match error {
        Error::Provider { code, retryable, charged, .. } => (code, retryable, charged),
        other => panic!("not an error of a provider: {other}"),
    }
}

fn text(text: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
}

fn finish() -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
}

fn usage() -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
}

/// An error object that repeats what it was sent, as some servers do.
fn echo(code: &str) -> Value {
    json!({"error": {"code": code, "message": format!("key {KEY} asked {PROMPT}"), "param": KEY, "type": KEY}})
}

#[tokio::test]
async fn a_good_stream_is_read_to_its_usage() {
    let reply = Reply::events()
        .event(&text("hel"))
        .event(&text("lo"))
        .event(&finish())
        .event(&usage())
        .send("data: [DONE]\n\n");
    let response = answer(reply).await.unwrap();
    assert_eq!((response.message.text_content().as_str(), response.usage), ("hello", Some(Usage::new(3, 2))));
}

#[tokio::test]
async fn nobody_listens() {
    let server = Server::start([]).await;
    let url = server.url().to_owned();
    drop(server);
    tokio::task::yield_now().await;
    let error = complete(ask_at(&url, true, patient())).await.unwrap_err();
    assert_eq!(told(error), (ErrorCode::Unavailable, true, Charged::No));
}

#[tokio::test]
async fn no_such_host() {
    let error = complete(ask_at("http://no-such-host.invalid", true, patient())).await.unwrap_err();
    assert_eq!(told(error), (ErrorCode::Unavailable, true, Charged::No));
}

#[tokio::test]
async fn b28_silence_ends_by_the_idle_timeout() {
    let idle = patient().with_idle_timeout(Duration::from_millis(50));
    let server = Server::start([Reply::default().hang(), Reply::events().event(&text("a")).hang()]).await;
    for _ in 0..2 {
        let error = complete(ask(&server, idle.clone())).await.unwrap_err();
        assert_eq!(told(error), (ErrorCode::Timeout, true, Charged::Unknown));
    }
}

#[tokio::test]
async fn b24_pings_keep_an_answer_alive_for_longer_than_the_idle_timeout() {
    let pings = (0..30)
        .fold(Reply::events(), |reply, _| reply.event(&json!({"type": "ping"})).pause(Duration::from_millis(50)));
    let start = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "late"}});
    let delta = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}});
    let reply = pings.event(&start).event(&delta).event(&json!({"type": "message_stop"}));
    let server = Server::start([reply]).await;
    let provider = Anthropic::new(server.url(), Some(Secret::new(KEY))).unwrap();
    let context = patient().with_idle_timeout(Duration::from_secs(1));
    let request = ModelRequest::new("claude-sonnet-4-6", vec![Message::user(PROMPT)]);
    let response = complete(provider.stream(request, context)).await.unwrap();
    assert_eq!(response.message.text_content(), "late");
}

#[tokio::test]
async fn silence_is_normal_before_a_whole_answer() {
    let body = json!({"choices": [{"index": 0, "message": {"content": "late"}, "finish_reason": "stop"}]});
    let server = Server::start([Reply::default().pause(Duration::from_millis(200)).then_json(&body)]).await;
    let idle = patient().with_idle_timeout(Duration::from_millis(20));
    let response = complete(ask_at(server.url(), false, idle)).await.unwrap();
    assert_eq!(response.message.text_content(), "late");
}

#[tokio::test]
async fn a_drip_ends_by_the_total_timeout() {
    let drip = (0..200).fold(Reply::events(), |reply, _| reply.send(": hi\n").pause(Duration::from_millis(20)));
    let server = Server::start([drip]).await;
    let context = CallContext::new(Duration::from_millis(300)).with_idle_timeout(Duration::from_millis(200));
    let error = complete(ask(&server, context)).await.unwrap_err();
    assert_eq!(told(error), (ErrorCode::Timeout, true, Charged::Unknown));
}

#[tokio::test]
async fn b21_a_connection_that_breaks_may_have_cost_money() {
    let chunked = [("transfer-encoding", "chunked")];
    for reply in [
        Reply::close(),
        Reply::events(),
        Reply::events().event(&text("half an ans")),
        Reply::events().send(r#"data: {"choices":[{"index":0,"del"#),
        Reply::head(200, &chunked).send(http_chunk(format!("data: {}\n\n", text("half")).as_bytes())),
        Reply::head(200, &[("content-length", "500")]).send(r#"{"choices":[{"#),
    ] {
        assert_eq!(failure(reply).await, (ErrorCode::Unavailable, true, Charged::Unknown));
    }
}

#[tokio::test]
async fn b23_a_break_behind_the_finish_reason_loses_no_answer() {
    let head = || Reply::head(200, &[("transfer-encoding", "chunked")]);
    let body = format!("data: {}\n\ndata: {}\n\n", text("all"), finish());
    let usage = format!("data: {}\n\n", usage());
    for reply in [
        head().send(http_chunk(body.as_bytes())),
        Reply::events().send(&body),
        Reply::events().send(body.trim_end()),
        Reply::events().send(&body).send(&usage[..usage.len() / 2]),
        head().send(http_chunk(body.as_bytes())).send(http_chunk(&usage.as_bytes()[..usage.len() / 2])),
    ] {
        let response = answer(reply).await.unwrap();
        assert_eq!((response.message.text_content().as_str(), response.finish_reason), ("all", FinishReason::Stop));
        assert_eq!(response.usage, None);
    }
}

#[tokio::test]
async fn done_ends_the_answer_even_where_the_connection_stays_open() {
    let reply = Reply::events().event(&text("a")).event(&finish()).send("data: [DONE]\n\n").hang();
    let start = Instant::now();
    assert_eq!(answer(reply).await.unwrap().message.text_content(), "a");
    assert!(start.elapsed() < Duration::from_secs(30), "the whole time limit passed");
    // Nor does a server that keeps talking hold it back, behind the end or behind the finish reason.
    let drip = |reply: Reply| (0..4_000).fold(reply, |reply, _| reply.pause(Duration::from_millis(10)).send(": \n\n"));
    let stopped = Reply::events().event(&text("a")).event(&finish());
    let (start, ended) = (Instant::now(), stopped.clone().send("data: [DONE]\n\n"));
    let (tail, end) = tokio::join!(answer(drip(stopped)), async { (answer(drip(ended)).await, start.elapsed()) });
    assert_eq!((tail.unwrap().message.text_content(), end.0.unwrap().message.text_content()), ("a".into(), "a".into()));
    assert!(end.1 < Duration::from_secs(5) && start.elapsed() < Duration::from_secs(30), "the drip was read on");
}

#[tokio::test]
async fn b41_statuses_become_codes() {
    use ErrorCode::*;
    for (status, code, expected, retryable) in [
        (400, "bad_value", InvalidInput, false),
        (400, "context_length_exceeded", ContextOverflow, false),
        (400, "content_filter", ContentFiltered, false),
        (401, "invalid_api_key", ProviderAuth, false),
        (404, "model_not_found", NotFound, false),
        (408, "timeout", Timeout, true),
        (409, "conflict", Unavailable, true),
        (413, "too_large", TooLarge, false),
        (429, "rate_limit_exceeded", RateLimited, true),
        (429, "insufficient_quota", ProviderAuth, false),
        (500, KEY, Unavailable, true),
        (529, PROMPT, Unavailable, true),
    ] {
        let (found, may_retry, _) = failure(Reply::json(status, &echo(code))).await;
        assert_eq!((found, may_retry), (expected, retryable), "{status} {code}");
    }
}

#[tokio::test]
async fn a_web_page_is_no_answer() {
    let page = format!("<html><body>{KEY} {PROMPT}</body></html>");
    let page = |status| Reply::body(status, "text/html", &page);
    assert_eq!(failure(page(200)).await, (ErrorCode::BadOutput, false, Charged::Delivered));
    assert_eq!(failure(page(502)).await, (ErrorCode::Unavailable, true, Charged::No));
    assert_eq!(failure(page(404)).await, (ErrorCode::NotFound, false, Charged::No));
}

#[tokio::test]
async fn b41_retry_after_is_told_in_every_form() {
    let limited = |name: &str, value: &str| {
        let headers = [(name, value), ("content-type", "application/json")];
        Reply::head(429, &headers).send(echo("rate_limit_exceeded").to_string())
    };
    for (name, value, expected) in [
        ("Retry-After", "3", Some(3_000)),
        ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ("retry-after-ms", "1500", Some(1_500)),
        ("x-ratelimit-reset-tokens", "1m2.5s", Some(62_500)),
        ("x-other", "3", None),
    ] {
        let error = answer(limited(name, value)).await.unwrap_err();
        assert_eq!(error.retry_after(), expected.map(Duration::from_millis), "{name}: {value}");
        assert_eq!(error.details()["retry_after_ms"], json!(expected));
    }
}

#[tokio::test]
async fn answers_without_an_answer_are_bad_output() {
    for body in [json!({"choices": []}), json!({"choices": null}), json!({})] {
        assert_eq!(failure(Reply::json(200, &body)).await, (ErrorCode::BadOutput, false, Charged::Delivered), "{body}");
    }
    // An answer may be in what cannot be read.
    let odd = Reply::json(200, &json!({"choices": "none"}));
    assert_eq!(failure(odd).await, (ErrorCode::BadOutput, false, Charged::Unknown));
    let no_choice = Reply::events().event(&usage()).send("data: [DONE]\n\n");
    assert_eq!(failure(no_choice).await.0, ErrorCode::BadOutput);
    let no_json = Reply::events().event(&text("a")).send("data: {oops\n\n").event(&finish());
    assert_eq!(failure(no_json).await.0, ErrorCode::BadOutput);
}

#[tokio::test]
async fn b22_null_deltas_and_empty_choices_are_skipped() {
    let null = json!({"choices": [{"index": 0, "delta": null}], "model": ""});
    let reply = Reply::events()
        .event(&json!({"choices": []}))
        .event(&null)
        .event(&text("a"))
        .event(&json!({}))
        .event(&finish());
    assert_eq!(answer(reply).await.unwrap().message.text_content(), "a");
}

#[tokio::test]
async fn fault_b21_an_error_object_in_a_200_stream_is_an_error() {
    let after_text = |object: Value| Reply::events().event(&text("half")).event(&object);
    assert_eq!(failure(after_text(echo("server_error"))).await, (ErrorCode::Unavailable, true, Charged::Delivered));
    assert_eq!(failure(after_text(echo("rate_limit_exceeded"))).await.0, ErrorCode::RateLimited);
    let error = answer(after_text(json!({"error": {"message": "x"}}))).await.unwrap_err();
    assert!(error.to_string().contains("broke off") && !error.to_string().contains("503"), "{error}");
    let (code, _, charged) = failure(Reply::json(200, &echo("insufficient_quota"))).await;
    assert_eq!((code, charged), (ErrorCode::ProviderAuth, Charged::No), "nothing of an answer came before it");
}

#[tokio::test]
async fn fault_b21_a_character_cut_in_two_is_one_again() {
    let piece =
        |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    for (pieces, said) in
        [([r"a\ud83d", r"\ude00b"], "a\u{1f600}b"), ([r"a\ud83d", "b"], "ab"), ([r"a\ude00", "b"], "a\u{fffd}b")]
    {
        let reply = Reply::events().event(&text("- ")).send(piece(pieces[0])).send(piece(pieces[1])).event(&finish());
        assert_eq!(answer(reply).await.unwrap().message.text_content(), format!("- {said}"), "{pieces:?}");
    }
    let whole = r#"{"choices":[{"index":0,"message":{"content":"a\ud83db"},"finish_reason":"stop"}]}"#;
    let reply = Reply::body(200, "application/json", whole);
    assert_eq!(answer(reply).await.unwrap().message.text_content(), "a\u{fffd}b");
}

/// As OpenRouter tells of an upstream that failed in the middle: in the choice, not in the chunk.
#[tokio::test]
async fn fault_b21_an_error_in_a_choice_is_an_error() {
    let choice = |error: Value| json!({"index": 0, "delta": {"content": ""}, "error": error, "finish_reason": "error"});
    let last = |error: Value| json!({"choices": [choice(error)]});
    for (error, code) in [
        (json!({"code": 502, "message": "upstream"}), ErrorCode::Unavailable),
        (json!({"code": 429, "message": "slow"}), ErrorCode::RateLimited),
        (json!(null), ErrorCode::Unavailable),
    ] {
        let reply = Reply::events().event(&text("half")).event(&last(error.clone())).send("data: [DONE]\n\n");
        assert_eq!(failure(reply).await, (code, true, Charged::Delivered), "{error}");
        let whole =
            json!({"choices": [{"index": 0, "message": {"content": ""}, "error": error, "finish_reason": "error"}]});
        assert_eq!(failure(Reply::json(200, &whole)).await.0, code, "{error}");
    }
}

#[tokio::test]
async fn fault_b36_the_key_does_not_follow_a_redirect() {
    let elsewhere = Server::start([]).await;
    for status in [301, 302, 307, 308] {
        let location = format!("{}/v1/chat/completions", elsewhere.url());
        let redirect = Reply::head(status, &[("location", &location), ("content-length", "0")]);
        let error = answer(redirect).await.unwrap_err();
        assert!(error.to_string().contains("base_url"), "{error}");
        assert_eq!(told(error), (ErrorCode::InvalidInput, false, Charged::No));
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn b23_a_server_that_refuses_stream_options_is_asked_again_without() {
    let refusal = json!({"error": {"message": "stream_options: extra inputs are not permitted"}});
    let server = Server::start([Reply::json(400, &refusal), Reply::events().event(&text("a")).event(&finish())]).await;
    assert_eq!(complete(ask(&server, patient())).await.unwrap().message.text_content(), "a");
    let asked: Vec<_> = server.requests().iter().map(|request| request.json()["stream_options"].clone()).collect();
    assert_eq!(asked, [json!({"include_usage": true}), Value::Null]);

    let server = Server::start([Reply::json(400, &refusal), Reply::json(400, &refusal)]).await;
    assert_eq!(complete(ask(&server, patient())).await.unwrap_err().code(), ErrorCode::InvalidInput);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn nothing_is_asked_twice_by_the_provider() {
    let server = Server::start([Reply::json(500, &json!({})), Reply::close(), Reply::json(429, &json!({}))]).await;
    for asked in 1..=3 {
        complete(ask(&server, patient())).await.unwrap_err();
        assert_eq!(server.requests().len(), asked);
    }
}

#[tokio::test]
async fn b28_dropping_the_stream_drops_the_request() {
    let server = Server::start([Reply::events().event(&text("a")).hang()]).await;
    let mut stream = ask(&server, patient());
    assert!(matches!(stream.next().await, Some(Ok(StreamItem::Delta(_)))));
    drop(stream);
    server.connections_ended(1).await;
}

#[tokio::test]
async fn nothing_is_sent_before_the_stream_is_polled() {
    let server = Server::start([]).await;
    drop(ask(&server, patient()));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn fault_a_gzip_bomb_is_cut_off() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let blank = vec![b' '; 1 << 20];
    for _ in 0..80 {
        encoder.write_all(&blank).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let head = |status| Reply::head(status, &[("content-encoding", "gzip"), ("content-type", "application/json")]);
    assert_eq!(failure(head(200).send(&bomb)).await.0, ErrorCode::BadOutput);
    assert_eq!(failure(head(500).send(&bomb)).await, (ErrorCode::Unavailable, true, Charged::No));
}

#[tokio::test]
async fn fault_an_endless_body_and_a_line_of_100_mb_are_cut_off() {
    let megabyte = vec![b'x'; 1 << 20];
    let head = |status| Reply::head(status, &[("content-type", "application/json")]);
    assert_eq!(failure(head(200).send("{\"").endless(&megabyte)).await.0, ErrorCode::BadOutput);
    assert_eq!(failure(head(400).send("{\"").endless(&megabyte)).await.0, ErrorCode::InvalidInput);
    assert_eq!(failure(Reply::events().send("data: ").endless(&megabyte)).await.0, ErrorCode::BadOutput);
    assert_eq!(
        failure(Reply::events().endless([b": ", &megabyte[1 << 10..], b"\n\n"].concat())).await.0,
        ErrorCode::BadOutput
    );
}

#[tokio::test]
async fn fault_a_million_tiny_chunks_are_one_answer() {
    // In each run a tenth of them.
    let thousands = if std::env::var_os("BLITZ_TORTURE").is_some() { 10_000 } else { 1_000 };
    let piece = http_chunk(format!("data: {}\n\n", text("é")).as_bytes());
    let end = http_chunk(format!("data: {}\n\ndata: [DONE]\n\n", finish()).as_bytes());
    let head = Reply::head(200, &[("transfer-encoding", "chunked")]);
    let reply = head.repeat(piece.repeat(100), thousands).send(end).send("0\r\n\r\n");
    assert_eq!(answer(reply).await.unwrap().message.text_content().chars().count(), 100 * thousands);
}

#[tokio::test]
async fn fault_invalid_utf8_and_cr_only_line_ends_are_read() {
    let event = |text: &str, end: &str| format!("data: {}{end}{end}", self::text(text));
    let carriage_returns = event("a", "\r") + &event("b", "\r") + &format!("data: {}\r\r", finish());
    assert_eq!(answer(Reply::events().send(carriage_returns)).await.unwrap().message.text_content(), "ab");

    let mut invalid = event("a?b", "\n").into_bytes();
    let at = invalid.iter().position(|byte| *byte == b'?').unwrap();
    invalid[at] = 0xFF;
    let reply = Reply::events().send("\u{feff}").send(invalid).event(&finish());
    assert_eq!(answer(reply).await.unwrap().message.text_content(), "a\u{fffd}b");
}

#[tokio::test]
async fn fault_a_duplicate_final_chunk_and_a_wrong_content_type_do_no_harm() {
    let last = json!({"choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": "stop"}]});
    let body = format!("data: {}\n\ndata: {last}\n\ndata: {last}\n\ndata: [DONE]\n\n", text("hi"));
    for content_type in ["application/json", "text/plain", "text/html"] {
        let response = answer(Reply::body(200, content_type, &body)).await.unwrap();
        assert_eq!(response.message.text_content(), "hi!");
    }
    let whole = json!({"choices": [{"index": 0, "message": {"content": "whole"}, "finish_reason": "stop"}]});
    let response = answer(Reply::body(200, "text/event-stream", whole.to_string())).await.unwrap();
    assert_eq!(response.message.text_content(), "whole");
}

#[tokio::test]
async fn fault_b36_a_key_with_a_stray_newline_is_sent_trimmed_and_shown_nowhere() {
    let server = Server::start([Reply::json(401, &echo("invalid_api_key"))]).await;
    let provider = OpenAi::new(server.url(), Some(Secret::new(&format!(" {KEY}\r\n")))).unwrap();
    assert!(!format!("{provider:?}").contains("canary"));
    let request = ModelRequest::new("m", vec![Message::user(PROMPT)]);
    told(complete(provider.stream(request, patient())).await.unwrap_err());
    assert_eq!(server.last_request().header("authorization"), Some("Bearer sk-canary-key"));

    for (url, key) in [(server.url(), "sk-\ncanary"), ("http://user:canary@127.0.0.1", KEY), ("canary://", KEY)] {
        let error = OpenAi::new(url, Some(Secret::new(key))).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let body = format!("data: {}\n\ndata: {}\n\ndata: [DONE]\n\n", text("a"), finish());
    let kept = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let server = Server::start([Reply::raw(&kept).again(), Reply::raw(&kept)]).await;
    let provider = OpenAi::new(server.url(), None).unwrap();
    for _ in 0..2 {
        let request = ModelRequest::new("m", vec![Message::user("hi")]);
        assert_eq!(complete(provider.stream(request, patient())).await.unwrap().message.text_content(), "a");
    }
    assert_eq!((server.requests().len(), server.connections()), (2, 1));
}
