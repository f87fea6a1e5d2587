//! Who speaks to models: one port, [`Provider`], and an implementation for each dialect.
//!
//! A provider maps a [`ModelRequest`] to its wire form and the answer back, as a stream that ends
//! with the whole [`ModelResponse`]. It knows no prices, no users and no store. It does not retry:
//! the driver does, by data. Non-streaming is the folded stream.

mod anthropic;
mod azure;
#[cfg(feature = "bedrock")]
mod bedrock;
mod cohere;
mod connect;
mod embed;
mod function;
mod gemini;
mod network;
pub(crate) mod offline;
mod ollama;
pub(crate) mod openai;
mod profile;
pub(crate) mod registry;
mod reply;
mod responses;
pub(crate) mod scripted;
pub(crate) mod structured;
mod tokens;
mod wire;

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};

use crate::domain::{Delta, ModelRequest, ModelResponse, ProfileOverride, ThinkingRule};
use crate::error::{Error, Result};

pub use anthropic::Anthropic;
pub use azure::AzureOpenAi;
pub use azure::AzureSettings;
#[cfg(feature = "bedrock")]
pub use bedrock::{AwsCredentials, Bedrock};
pub use cohere::Cohere;
pub(crate) use connect::{connect, named_by_environment};
pub use connect::{from_name, name_in_environment, names, split_name, variables};
pub use embed::{EmbeddingRequest, EmbeddingResponse};
pub use function::{FunctionProvider, ProviderCall};
pub use gemini::Gemini;
pub use network::Network;
pub use offline::Offline;
pub use ollama::Ollama;
pub use openai::{ChatServer, OpenAi};
pub use reply::Reply;
pub use responses::OpenAiResponses;
pub use scripted::Scripted;
pub(crate) use tokens::{CLASS_FIELDS, choice_bound, metered};
pub(crate) use wire::headers::RequestHeaders;
pub use wire::token::{Token, TokenSource};

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

/// Embeddings on their way. Dropping it ends the request.
pub type EmbeddingFuture = BoxFuture<'static, Result<EmbeddingResponse>>;

/// How long a call may take, and for whom it is made.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct CallContext {
    /// From sending to the last byte.
    pub timeout: Duration,
    /// Between two pieces of a streamed answer, and until its first.
    pub idle_timeout: Duration,
    pub(crate) asker: Asker,
    pub(crate) headers: RequestHeaders,
}

/// The session of whoever asked, as the engine keeps it: nothing of it is known here.
#[derive(Clone, Default)]
pub(crate) struct Asker(pub(crate) Option<Arc<dyn Any + Send + Sync>>);

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Asker").finish_non_exhaustive()
    }
}

impl CallContext {
    /// A call that may take `timeout` in all and may fall silent for two minutes at most.
    pub fn new(timeout: Duration) -> Self {
        let idle_timeout = timeout.min(Duration::from_secs(120));
        Self { timeout, idle_timeout, asker: Asker::default(), headers: RequestHeaders::default() }
    }

    /// The same call with these headers.
    pub(crate) fn with_headers(self, headers: RequestHeaders) -> Self {
        Self { headers, ..self }
    }

    /// The same call with a header beside the provider's own, which a record's would be.
    ///
    /// ```
    /// use blitz::provider::CallContext;
    /// let call = CallContext::new(std::time::Duration::from_secs(60));
    /// let call = call.with_header("OpenAI-Project", "proj_1")?;
    /// assert!(call.with_header("Host", "example.com").is_err());
    /// # Ok::<(), blitz::Error>(())
    /// ```
    ///
    /// The provider's key goes over it. Errors: `InvalidInput` for what is no header, or says where a
    /// message begins, ends or goes.
    pub fn with_header(self, name: &str, value: &str) -> Result<Self> {
        Ok(Self { headers: self.headers.with(name, value)?, ..self })
    }

    /// The same call, made for this session.
    pub(crate) fn asked_by(self, session: Option<Arc<dyn Any + Send + Sync>>) -> Self {
        Self { asker: Asker(session), ..self }
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

    /// Under which name a conversation keeps what only it understands (thoughts, signatures): its own, and with a mark of
    /// the place where it is not reached at its usual address. Nobody else is sent that.
    fn maker(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.name())
    }

    /// Whether it asks somebody outside this process: [`Engine::allow_real_requests`](crate::Engine::allow_real_requests)
    /// may forbid that. A test double says `false`.
    fn is_remote(&self) -> bool {
        true
    }

    /// Whether an answer is worth reading on that nobody waits for any more, where the host's settings allow it
    /// ([`EngineBuilder::with_drain`](crate::EngineBuilder::with_drain)): whoever bills for it says at its end what
    /// it used.
    fn reads_on(&self) -> bool {
        self.is_remote()
    }

    /// Makes vectors of texts or images, where the provider does that. Nothing is sent before the future is polled.
    fn embed(&self, _request: EmbeddingRequest, _context: CallContext) -> EmbeddingFuture {
        let error = Error::invalid(format!("provider {} makes no embeddings", self.name()));
        Box::pin(std::future::ready(Err(error)))
    }

    /// The most input tokens that this request can count as: never less than what is billed.
    ///
    /// Units: tokens. The default is the byte length (a byte-level tokenizer makes no more tokens
    /// than bytes) plus what each message and tool adds, with a fixed bound for an image. With the
    /// feature `tokens` texts are counted exactly where the encoding of the model is known. A provider whose server
    /// puts a text of its own before the request says how long that may be by overriding this.
    fn input_token_bound(&self, request: &ModelRequest) -> u64 {
        tokens::input_bound(request, None)
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

/// What a model family can do and how it is asked.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The most input and output tokens together, where known.
    pub context_window: Option<u64>,
    /// The most output tokens, where known.
    pub max_output_tokens: Option<u64>,
    /// Whether it takes tools.
    pub tools: bool,
    /// Whether it takes a JSON Schema for the answer.
    pub native_schema: bool,
    /// Whether a schema and tools may be in one request.
    pub schema_with_tools: bool,
    /// Whether the cap is called `max_completion_tokens` and sampling settings are refused.
    pub reasoning: bool,
    /// Whether temperature and nucleus sampling are taken.
    pub sampling: bool,
    /// How it is asked to think, where that is known: else by the word for the effort.
    pub thinking: Option<ThinkingRule>,
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
            tools: true,
            native_schema: true,
            schema_with_tools: true,
            reasoning: false,
            sampling: true,
            thinking: None,
            stream_usage: true,
            free: false,
        }
    }
}

impl Profile {
    /// The same profile with what a user says to the contrary.
    pub fn overridden(self, by: Option<&ProfileOverride>) -> Self {
        let Some(by) = by else { return self };
        Self {
            context_window: by.context_window.or(self.context_window),
            max_output_tokens: by.max_output_tokens.or(self.max_output_tokens),
            tools: by.tools.unwrap_or(self.tools),
            native_schema: by.native_schema.unwrap_or(self.native_schema),
            schema_with_tools: by.schema_with_tools.unwrap_or(self.schema_with_tools),
            reasoning: by.reasoning.unwrap_or(self.reasoning),
            // What is said of reasoning alone says the same of sampling.
            sampling: by.sampling.or(by.reasoning.map(|reasons| !reasons)).unwrap_or(self.sampling),
            thinking: by.thinking.or(self.thinking),
            stream_usage: by.stream_usage.unwrap_or(self.stream_usage),
            free: self.free,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_without_an_answer_is_bad_output() {
        let empty = futures_util::stream::empty().boxed();
        assert_eq!(complete(empty).await.unwrap_err().code(), crate::ErrorCode::BadOutput);
    }
}
