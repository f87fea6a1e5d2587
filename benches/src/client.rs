//! The least a program can do to speak to a model: the hand-written clients of the floors.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::TcpStream;

use crate::Result;

const COMPLETIONS: &str = "/v1/chat/completions";
const TOOLS: &str = r#"[{"type":"function","function":{"name":"add","description":"Add two numbers.","parameters":{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}}}]"#;

/// A client that sends a body to a path and gives the answer's body.
pub trait Post {
    /// Sends one request.
    fn post(&mut self, path: &str, body: Vec<u8>) -> impl Future<Output = Result<Bytes>> + Send;
}

/// One execution of an agent with one tool call, by hand: two round trips and an addition.
pub async fn execution(client: &mut impl Post) -> Result<String> {
    execution_with(client, |a, b| Ok(a + b)).await
}

/// The same with an addition of the caller's.
pub async fn execution_with(client: &mut impl Post, add: impl FnOnce(f64, f64) -> Result<f64>) -> Result<String> {
    let tools: &RawValue = serde_json::from_str(TOOLS)?;
    let mut messages = vec![Message { role: "user", content: Some("2 + 3?".into()), ..Message::default() }];
    let body = serde_json::to_vec(&ChatRequest { model: "mock", messages: &messages, tools })?;
    let Say::Add { id, a, b } = Say::of(&client.post(COMPLETIONS, body).await?)? else {
        return Err("the model made no call".into());
    };
    let function = Function { name: "add".into(), arguments: format!("{{\"a\":{a},\"b\":{b}}}").into() };
    let call = Call { id: id.clone().into(), kind: "function".into(), function };
    messages.push(Message { role: "assistant", tool_calls: vec![call], ..Message::default() });
    let result = Some(add(a, b)?.to_string().into());
    messages.push(Message { role: "tool", content: result, tool_call_id: Some(&id), ..Message::default() });
    let body = serde_json::to_vec(&ChatRequest { model: "mock", messages: &messages, tools })?;
    match Say::of(&client.post(COMPLETIONS, body).await?)? {
        Say::Text(text) => Ok(text),
        Say::Add { .. } => Err("the model called again".into()),
    }
}

/// One kept-alive connection by bare hyper.
pub struct Hyper {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Hyper {
    /// Opens a connection; its task ends with the client.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_string() })
    }

    /// Asks for `path`.
    pub async fn get(&mut self, path: &str) -> Result<Bytes> {
        self.send(Request::get(path), Bytes::new()).await
    }

    async fn send(&mut self, request: hyper::http::request::Builder, body: Bytes) -> Result<Bytes> {
        let request = request.header("host", &self.host).header("content-type", "application/json");
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(body))?).await?;
        if !response.status().is_success() {
            return Err(format!("the server answered {}", response.status()).into());
        }
        Ok(response.into_body().collect().await?.to_bytes())
    }
}

impl Post for Hyper {
    async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Bytes> {
        self.send(Request::post(path), Bytes::from(body)).await
    }
}

/// A reqwest client, as most programs use it.
#[derive(Clone)]
pub struct Reqwest {
    client: reqwest::Client,
    base: String,
}

impl Reqwest {
    /// A client with a pool of its own, for the server at `address`.
    pub fn new(address: SocketAddr) -> Result<Self> {
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?;
        Ok(Self { client, base: format!("http://{address}") })
    }

    /// Sends one request and reads the tokens of its stream.
    pub async fn stream(&self, path: &str, body: Vec<u8>) -> Result<u64> {
        let mut tokens = SseTokens::default();
        self.pieces(path, body, |piece| tokens.feed(piece, |_| ())).await?;
        Ok(tokens.count())
    }

    /// Sends one request and hands over its answer in the pieces in which it comes.
    pub async fn pieces(&self, path: &str, body: Vec<u8>, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut response = self.send(path, body).await?;
        while let Some(piece) = response.chunk().await? {
            take(&piece)?;
        }
        Ok(())
    }

    async fn send(&self, path: &str, body: Vec<u8>) -> Result<reqwest::Response> {
        let request = self.client.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        Ok(request.body(body).send().await?.error_for_status()?)
    }
}

impl Post for Reqwest {
    async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Bytes> {
        Ok(self.send(path, body).await?.bytes().await?)
    }
}

/// What the model said.
#[derive(Debug, PartialEq)]
pub enum Say {
    /// A text: the end.
    Text(String),
    /// A call of the tool `add`.
    Add {
        /// The id of the call.
        id: String,
        /// The first summand.
        a: f64,
        /// The second summand.
        b: f64,
    },
}

impl Say {
    /// Reads a completion.
    pub fn of(body: &[u8]) -> Result<Self> {
        let completion: Completion<'_> = serde_json::from_slice(body)?;
        let choice = completion.choices.into_iter().next().ok_or("a completion without a choice")?;
        match choice.message.tool_calls.into_iter().next() {
            Some(call) => {
                let AddArguments { a, b } = serde_json::from_str(&call.function.arguments)?;
                Ok(Self::Add { id: call.id.into_owned(), a, b })
            }
            None => Ok(Self::Text(choice.message.content.unwrap_or_default().into_owned())),
        }
    }
}

/// Reads the tokens of an event stream that comes in pieces.
#[derive(Default)]
pub struct SseTokens {
    pending: Vec<u8>,
    tokens: u64,
}

impl SseTokens {
    /// Takes the next piece and gives its tokens.
    pub fn feed(&mut self, piece: &[u8], mut give: impl FnMut(&str)) -> Result<()> {
        self.pending.extend_from_slice(piece);
        let mut read = 0;
        while let Some(length) = self.pending[read..].windows(2).position(|two| two == b"\n\n") {
            let event = &self.pending[read..read + length];
            read += length + 2;
            let Some(data) = event.strip_prefix(b"data: ").filter(|data| *data != b"[DONE]") else { continue };
            let chunk: Chunk<'_> = serde_json::from_slice(data)?;
            let text = chunk.choices.first().and_then(|choice| choice.delta.content.as_deref());
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                self.tokens += 1;
                give(text);
            }
        }
        self.pending.drain(..read);
        Ok(())
    }

    /// How many tokens came so far.
    pub fn count(&self) -> u64 {
        self.tokens
    }
}

#[derive(Serialize)]
struct ChatRequest<'a> {
    model: &'a str,
    messages: &'a [Message<'a>],
    tools: &'a RawValue,
}

#[derive(Default, Serialize)]
struct Message<'a> {
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Serialize, Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    arguments: Cow<'a, str>,
}

#[derive(Deserialize)]
struct AddArguments {
    a: f64,
    b: f64,
}

#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Answer<'a>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tool_calls: Vec<Call<'a>>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<ChunkChoice<'a>>,
}

#[derive(Deserialize)]
struct ChunkChoice<'a> {
    #[serde(borrow)]
    delta: Delta<'a>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
}
