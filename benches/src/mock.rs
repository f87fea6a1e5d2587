//! A model server without latency: speaks the chat completions format, thinks nothing.
//!
//! The first part of the path chooses how it answers `POST …/v1/chat/completions`:
//! - `/v1/…`: a conversation that does not end with a tool's result gets a call of `add` with 2 and
//!   3, one that does gets a text; streamed if the request asks for it.
//! - `/stream/<tokens>/<burst>/<gap µs>/v1/…`: so many tokens in bursts, each a packet of its own.
//! - `/hold/<ms>/v1/…`: answers like `/v1/…`, after holding the connection open.
//!
//! `GET /stats` gives the counters as JSON.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::Result;

const COMPLETIONS: &str = "/v1/chat/completions";

/// What the server has seen and has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Completions asked for since it began.
    pub requests: u64,
    /// Connections opened since it began.
    pub connections: u64,
    /// Requests that are held open at this moment.
    pub holding: u64,
}

/// Serves on `listener` until the process ends.
pub async fn serve(listener: TcpListener) -> Result<()> {
    let server = Arc::new(Server::new());
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(Arc::clone(&server).connection(socket));
    }
}

/// Serves on a free port of this machine, in the background of the current runtime.
pub async fn spawn() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener));
    Ok(address)
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

struct Server {
    requests: AtomicU64,
    connections: AtomicU64,
    holding: AtomicU64,
    call: Answers,
    text: Answers,
}

/// One answer in both forms, built once.
struct Answers {
    whole: Bytes,
    events: Bytes,
}

impl Server {
    fn new() -> Self {
        Self {
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            holding: AtomicU64::new(0),
            call: Answers::tool_call(),
            text: Answers::text("The answer is 5."),
        }
    }

    async fn connection(self: Arc<Self>, socket: TcpStream) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let service = service_fn(|request| {
            let server = Arc::clone(&self);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        // A client that hangs up is no failure of the server.
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.method() == Method::GET && request.uri().path() == "/stats" {
            return whole(StatusCode::OK, Bytes::from(json!(self.stats()).to_string()));
        }
        let Some(mode) = Mode::of_path(request.uri().path()) else {
            return failure(StatusCode::NOT_FOUND, "there is nothing at this path");
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        let Ok(body) = request.into_body().collect().await else {
            return failure(StatusCode::BAD_REQUEST, "the request was cut off");
        };
        match serde_json::from_slice::<Asked<'_>>(&body.to_bytes()) {
            Ok(asked) => self.perform(mode, &asked).await,
            Err(_) => failure(StatusCode::BAD_REQUEST, "the request is no chat completion"),
        }
    }

    async fn perform(&self, mode: Mode, asked: &Asked<'_>) -> Answer {
        match mode {
            Mode::Stream { tokens, burst, gap } => return bursts(tokens, burst, gap),
            Mode::Hold(time) => {
                let _held = Held::new(&self.holding);
                tokio::time::sleep(time).await;
            }
            Mode::Plain => {}
        }
        let ends_with_result = asked.messages.last().is_some_and(|message| message.role == "tool");
        let answers = if ends_with_result { &self.text } else { &self.call };
        if asked.stream {
            events(Full::new(answers.events.clone()).boxed_unsync())
        } else {
            whole(StatusCode::OK, answers.whole.clone())
        }
    }

    fn stats(&self) -> Stats {
        Stats {
            requests: self.requests.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            holding: self.holding.load(Ordering::Relaxed),
        }
    }
}

/// Counts a held request for as long as it is held, also if the client hangs up.
struct Held<'a>(&'a AtomicU64);

impl<'a> Held<'a> {
    fn new(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the server reads of a request.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(default)]
    stream: bool,
    #[serde(borrow)]
    messages: Vec<AskedMessage<'a>>,
}

#[derive(Deserialize)]
struct AskedMessage<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
}

#[derive(Debug, PartialEq)]
enum Mode {
    Plain,
    Stream { tokens: usize, burst: usize, gap: Duration },
    Hold(Duration),
}

impl Mode {
    fn of_path(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_suffix(COMPLETIONS)?.split('/').skip(1).collect();
        match parts[..] {
            [] => Some(Self::Plain),
            ["hold", millis] => Some(Self::Hold(Duration::from_millis(millis.parse().ok()?))),
            ["stream", tokens, burst, gap] => Some(Self::Stream {
                tokens: tokens.parse().ok()?,
                burst: burst.parse().ok().filter(|burst| *burst > 0)?,
                gap: Duration::from_micros(gap.parse().ok()?),
            }),
            _ => None,
        }
    }
}

impl Answers {
    fn text(text: &str) -> Self {
        let mut events = event(&chunk(json!({"role": "assistant", "content": ""}), None));
        events += &token(text);
        events += &ending("stop", 1);
        let message = json!({"role": "assistant", "content": text});
        Self { whole: completion(&message, "stop"), events: Bytes::from(events) }
    }

    fn tool_call() -> Self {
        let function = |arguments: &str| json!({"name": "add", "arguments": arguments});
        let call = json!({"id": "call_1", "type": "function", "function": function("{\"a\":2,\"b\":3}")});
        let first = json!({"index": 0, "id": "call_1", "type": "function", "function": function("")});
        let rest = json!({"index": 0, "function": {"arguments": "{\"a\":2,\"b\":3}"}});
        let opening = json!({"role": "assistant", "content": null, "tool_calls": [first]});
        let mut events = event(&chunk(opening, None));
        events += &event(&chunk(json!({"tool_calls": [rest]}), None));
        events += &ending("tool_calls", 12);
        let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        Self { whole: completion(&message, "tool_calls"), events: Bytes::from(events) }
    }
}

fn completion(message: &serde_json::Value, finish_reason: &str) -> Bytes {
    let completion = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "mock",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": usage(12),
    });
    Bytes::from(completion.to_string())
}

fn usage(output: usize) -> serde_json::Value {
    json!({"prompt_tokens": 40, "completion_tokens": output, "total_tokens": 40 + output})
}

fn chunk(delta: serde_json::Value, finish_reason: Option<&str>) -> serde_json::Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "mock",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    })
}

fn event(value: &serde_json::Value) -> String {
    format!("data: {value}\n\n")
}

fn token(text: &str) -> String {
    event(&chunk(json!({"content": text}), None))
}

/// The finish, the usage and the end mark of a stream.
fn ending(finish_reason: &str, tokens: usize) -> String {
    let mut last = chunk(json!({}), None);
    last["choices"] = json!([]);
    last["usage"] = usage(tokens);
    event(&chunk(json!({}), Some(finish_reason))) + &event(&last) + "data: [DONE]\n\n"
}

/// `tokens` tokens, `burst` of them in each packet, with a pause between packets.
fn bursts(tokens: usize, burst: usize, gap: Duration) -> Answer {
    let packet = Bytes::from(token(" word").repeat(burst));
    let last = Bytes::from(token(" word").repeat(tokens % burst) + &ending("stop", tokens));
    let frames = stream::unfold(tokens / burst + 1, move |left| {
        let bytes = match left {
            0 => None,
            1 => Some(last.clone()),
            _ => Some(packet.clone()),
        };
        async move {
            let frame = Ok::<_, Infallible>(Frame::data(bytes?));
            tokio::time::sleep(gap).await;
            Some((frame, left - 1))
        }
    });
    events(StreamBody::new(frames).boxed_unsync())
}

fn events(body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer
}

fn whole(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn failure(status: StatusCode, message: &str) -> Answer {
    whole(status, Bytes::from(json!({"error": {"message": message}}).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Hyper, Post, Say, SseTokens};

    const CALL: &str = r#"{"messages":[{"role":"user","content":"2 + 3?"}]}"#;
    const RESULT: &str = r#"{"messages":[{"role":"tool","content":"5"}]}"#;
    const STREAMED: &str = r#"{"stream":true,"messages":[{"role":"user","content":"2 + 3?"}]}"#;

    async fn connected() -> Hyper {
        Hyper::connect(spawn().await.expect("a free port")).await.expect("the server listens")
    }

    async fn stats(client: &mut Hyper) -> Stats {
        serde_json::from_slice(&client.get("/stats").await.expect("it answers")).expect("it is JSON")
    }

    #[tokio::test]
    async fn a_question_gets_a_call_and_a_result_gets_a_text() {
        let mut client = connected().await;
        let call = client.post("/v1/chat/completions", CALL.into()).await.expect("it answers");
        assert_eq!(Say::of(&call).expect("it is a completion"), Say::Add { id: "call_1".into(), a: 2.0, b: 3.0 });
        let text = client.post("/v1/chat/completions", RESULT.into()).await.expect("it answers");
        assert_eq!(Say::of(&text).expect("it is a completion"), Say::Text("The answer is 5.".into()));
        assert_eq!(stats(&mut client).await, Stats { requests: 2, connections: 1, holding: 0 });
    }

    #[tokio::test]
    async fn streams_carry_every_token() {
        let mut client = connected().await;
        for path in ["/stream/10/4/0", "/stream/8/4/0", "/stream/3/1/100"] {
            let body = client.post(&format!("{path}/v1/chat/completions"), STREAMED.into()).await.expect("it answers");
            let mut tokens = SseTokens::default();
            tokens.feed(&body, |token| assert_eq!(token, " word")).expect("it is a stream of events");
            assert_eq!(tokens.count().to_string(), path.split('/').nth(2).expect("a count"), "{path}");
        }
    }

    #[tokio::test]
    async fn held_requests_are_counted_while_they_are_held() {
        let address = spawn().await.expect("a free port");
        let mut held = Hyper::connect(address).await.expect("the server listens");
        let mut client = Hyper::connect(address).await.expect("the server listens");
        let waiting = tokio::spawn(async move { held.post("/hold/60000/v1/chat/completions", CALL.into()).await });
        while stats(&mut client).await.holding == 0 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        while stats(&mut client).await.holding == 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_no_completion_is_refused() {
        let mut client = connected().await;
        for (path, body) in
            [("/nothing", CALL), ("/v1/chat/completions", "{"), ("/stream/5/0/0/v1/chat/completions", CALL)]
        {
            client.post(path, body.into()).await.expect_err(path);
        }
    }
}
