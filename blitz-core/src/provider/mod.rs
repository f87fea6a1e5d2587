//! Who speaks to models: one port, [`Provider`], and an implementation for each dialect.
//!
//! A provider maps a [`ModelRequest`] to its wire form and the answer back, as a stream that ends
//! with the whole [`ModelResponse`]. It knows no prices, no users and no store. It does not retry:
//! the driver does, by data. Non-streaming is the folded stream.

mod anthropic;
mod azure;
mod cohere;
mod gemini;
pub(crate) mod offline;
mod ollama;
pub(crate) mod openai;
mod profile;
mod responses;
pub(crate) mod scripted;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt};

use crate::domain::{Delta, Message, ModelRequest, ModelResponse, Part, Secret};
use crate::error::{Error, ErrorCode, Result};
use crate::net::Http;

pub use anthropic::Anthropic;
pub use azure::AzureOpenAi;
pub use cohere::Cohere;
pub use gemini::Gemini;
pub use offline::Offline;
pub use ollama::Ollama;
pub use openai::{ChatServer, OpenAi};
pub use responses::OpenAiResponses;
pub use wire::endpoint::TokenSource;
pub use scripted::{Reply, Scripted};

/// What a model stream gives.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    /// A piece of the answer; for readers only, nothing is decided by it.
    Delta(Delta),
    /// The whole answer: the last item of a stream that went well.
    Done(Box<ModelResponse>),
}

/// A model's answer on its way. Dropping it ends the request.
pub type ModelStream = BoxStream<'static, Result<StreamItem>>;

/// How long a call may take.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct CallContext {
    /// From sending to the last byte.
    pub timeout: Duration,
    /// Between two pieces of a streamed answer, and until its first.
    pub idle_timeout: Duration,
}

impl CallContext {
    /// A call that may take `timeout` in all and may fall silent for two minutes at most.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, idle_timeout: timeout.min(Duration::from_secs(120)) }
    }

    /// The same call with another bound on silence.
    pub fn with_idle_timeout(self, idle_timeout: Duration) -> Self {
        Self { idle_timeout, ..self }
    }
}

/// Someone who serves models. Hosts may bring their own.
///
/// Errors of the stream are [`Error::Provider`]: code, status, Retry-After,
/// whether it may pass, and whether the provider may charge for it.
pub trait Provider: Send + Sync + 'static {
    /// The name that model records use.
    fn name(&self) -> &str;

    /// Asks a model. Nothing is sent before the stream is polled.
    fn stream(&self, request: ModelRequest, context: CallContext) -> ModelStream;

    /// What a model of this provider can do.
    fn profile(&self, _model_name: &str) -> Profile {
        Profile::default()
    }

    /// The most input tokens that this request can count as: never less than what is billed.
    ///
    /// Units: tokens. The default is the byte length (a byte-level tokenizer makes no more tokens
    /// than bytes) plus what each message and tool adds, with a fixed bound for an image.
    fn input_token_bound(&self, request: &ModelRequest) -> u64 {
        input_token_bound(request)
    }
}

/// The whole answer of a stream, its deltas left aside.
///
/// Errors: the stream's own; `BadOutput` if it ends without an answer.
pub async fn complete(mut stream: ModelStream) -> Result<ModelResponse> {
    while let Some(item) = stream.next().await {
        if let StreamItem::Done(response) = item? {
            return Ok(*response);
        }
    }
    Err(Error::bad_output("the provider's stream ended without an answer"))
}

/// Where OpenAI itself is reached.
const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

/// Connects a provider of this crate by the name that model records use. Nothing is sent.
///
/// Errors: `InvalidInput` for an unknown name or a bad address or key; `ProviderAuth` where OpenAI
/// itself is meant and there is no key.
pub(crate) fn connect(
    provider: &str,
    base_url: Option<&str>,
    api_key: Option<Secret>,
    http: &Http,
) -> Result<Arc<dyn Provider>> {
    let base_url = match (provider, base_url) {
        ("openai" | "openai_compatible", Some(base_url)) => base_url,
        ("openai", None) if api_key.as_ref().is_none_or(|key| key.expose().trim().is_empty()) => {
            return Err(Error::new(ErrorCode::ProviderAuth, "openai wants a key: set the model's api_key"));
        }
        ("openai", None) => OPENAI_BASE_URL,
        ("openai_compatible", None) => {
            return Err(Error::invalid("openai_compatible wants an address: set the model's base_url"));
        }
        _ => {
            return Err(Error::invalid(format!(
                "provider {provider:?} is not known: use openai, openai_compatible, offline or one that the host registered"
            )));
        }
    };
    Ok(Arc::new(OpenAi::new(base_url, api_key)?.named(provider).with_http(http)))
}

/// What a model family can do and how it is asked.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The most input and output tokens together, where known.
    pub context_window: Option<u64>,
    /// The most output tokens, where known.
    pub max_output_tokens: Option<u64>,
    /// Whether it takes a JSON Schema for the answer.
    pub native_schema: bool,
    /// Whether a schema and tools may be in one request.
    pub schema_with_tools: bool,
    /// Whether the cap is called `max_completion_tokens` and sampling settings are refused.
    pub reasoning: bool,
    /// Whether `stream_options.include_usage` is understood.
    pub stream_usage: bool,
    /// Whether it costs nothing because it runs inside this process.
    pub free: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            context_window: None,
            max_output_tokens: None,
            native_schema: true,
            schema_with_tools: true,
            reasoning: false,
            stream_usage: true,
            free: false,
        }
    }
}

/// Tokens that a message, tool or request may add around its text.
const OVERHEAD: u64 = 16;
/// Tokens that an image may count as; the largest fixed bound among the supported dialects.
const IMAGE: u64 = 6_000;
/// Tokens that a file may count as where its bytes are elsewhere: a hundred pages, each as text and image.
const FILE: u64 = 700_000;

fn input_token_bound(request: &ModelRequest) -> u64 {
    let len = |text: &str| text.len() as u64;
    let message = |message: &Message| {
        message.parts.iter().fold(OVERHEAD, |sum, part| {
            sum + OVERHEAD
                + match part {
                    Part::Text { text } | Part::Refusal { text } => len(text),
                    Part::Thinking { text, signature, .. } => {
                        len(text) + signature.as_ref().map_or(0, |signature| len(signature))
                    }
                    Part::ToolCall(call) => {
                        len(&call.id) + len(&call.name) + len(&call.arguments)
                            + call.signature.as_ref().map_or(0, |signature| len(signature))
                    }
                    Part::ToolResult(result) => len(&result.id) + len(&result.name) + len(&result.as_text()),
                    Part::Image { .. } => IMAGE,
                    Part::File { data, .. } => len(data).max(FILE),
                    Part::Opaque { data, .. } => json_len(data),
                    Part::CachePoint { .. } => 0,
                }
        })
    };
    let messages: u64 = request.messages.iter().map(message).sum();
    let tools: u64 = request
        .tools
        .iter()
        .map(|tool| OVERHEAD + len(&tool.name) + len(&tool.description) + json_len(&tool.input_schema))
        .sum();
    let schema = request.output_schema.as_ref().map_or(0, |schema| OVERHEAD + json_len(&schema.schema));
    OVERHEAD + messages + tools + schema
}

/// How many bytes a value has as JSON, without making them.
fn json_len(value: &serde_json::Value) -> u64 {
    struct Counted(u64);

    impl std::io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut counted = Counted(0);
    // A counter takes every write, and a `Value` always has a JSON form.
    let _ = serde_json::to_writer(&mut counted, value);
    counted.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn connected(provider: &str, base_url: Option<&str>, key: Option<&str>) -> Result<Arc<dyn Provider>> {
        connect(provider, base_url, key.map(Secret::new), &Http::new())
    }

    #[test]
    fn builtin_providers_are_connected_by_name() {
        assert_eq!(connected("openai", None, Some("k")).unwrap().name(), "openai");
        assert_eq!(connected("openai", Some("http://localhost:1"), None).unwrap().name(), "openai");
        let compatible = connected("openai_compatible", Some("http://localhost:1/v1"), None);
        assert_eq!(compatible.unwrap().name(), "openai_compatible");
    }

    #[test]
    fn what_is_missing_is_named() {
        let code = |result: Result<Arc<dyn Provider>>| result.err().map(|error| error.code());
        assert_eq!(code(connected("openai", None, None)), Some(ErrorCode::ProviderAuth));
        assert_eq!(code(connected("openai", None, Some("\n"))), Some(ErrorCode::ProviderAuth));
        assert_eq!(code(connected("openai_compatible", None, Some("k"))), Some(ErrorCode::InvalidInput));
        let unknown = connected("opena\ni", None, None).err().unwrap();
        assert_eq!(unknown.code(), ErrorCode::InvalidInput);
        assert!(unknown.to_string().contains("openai_compatible"));
    }

    #[tokio::test]
    async fn a_stream_without_an_answer_is_bad_output() {
        let empty = futures_util::stream::empty().boxed();
        assert_eq!(complete(empty).await.unwrap_err().code(), ErrorCode::BadOutput);
    }
}
