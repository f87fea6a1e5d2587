//! What the dialects have in common: how a call is sent, its answer read, and its failure told.
//!
//! A dialect brings two things. [`Dialect::encode`] maps a request to its wire form, and a
//! [`body::Decode`] puts the answer together from its pieces. Addresses and keys are in [`endpoint`],
//! errors in [`error`], tool calls in [`calls`], the answer under construction in [`draft`], strict
//! schemas in [`schema`].

pub(super) mod body;
pub(super) mod cache;
pub(super) mod calls;
pub(super) mod counts;
pub(super) mod draft;
pub(super) mod embed;
pub(super) mod endpoint;
pub(super) mod error;
pub(super) mod extra;
#[cfg(feature = "bedrock")]
pub(super) mod frames;
pub(super) mod halves;
pub(in crate::provider) mod headers;
pub(super) mod maker;
pub(super) mod media;
pub(super) mod repeat;
pub(super) mod schema;
pub(super) mod text;
pub(super) mod think;
pub(super) mod token;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::{CallContext, EmbeddingRequest, ModelStream, Profile, StreamItem, profile, tokens};
use crate::domain::{Message, MessageRole, ModelRequest, Part, PromptCache, ToolChoice, Unsupported};
use crate::error::{Error, Result};
use crate::net::{Answer, Http, NetError, Patience};
use body::{Decode, Out, Reader, Unreadable};
use embed::EmbeddingCall;
use endpoint::Endpoint;
use error::Failure;
pub(super) use extra::{bar_extra, check_extra};

/// How long the usage behind a finished answer is waited for, whatever else comes.
const TAIL: Duration = Duration::from_secs(10);
/// How long the end of the connection is waited for behind the last piece, so that it can be used again, whatever else
/// comes.
const DRAIN: Duration = Duration::from_millis(20);

/// One provider's way to say a request and to answer it.
pub(super) trait Dialect: Send + Sync + 'static {
    /// The request in its wire form. `plain` asks for the form that older servers know too.
    ///
    /// Errors: `InvalidInput` where the dialect cannot say what is asked.
    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, plain: bool) -> Result<Encoded>;

    /// What a model can do here.
    fn profile(&self, model_name: &str) -> Profile {
        profile::of(model_name)
    }

    /// The most input tokens that a request can count as here.
    fn input_bound(&self, request: &ModelRequest) -> u64 {
        tokens::served_bound(request, None)
    }

    /// A call for embeddings; `None` where the dialect knows none.
    fn embed(&self, _endpoint: &Endpoint, _request: &EmbeddingRequest) -> Option<Result<EmbeddingCall>> {
        None
    }

    /// The most of these inputs that one call for embeddings takes.
    fn most_inputs(&self, _inputs: &[Part]) -> usize {
        usize::MAX
    }

    /// Whether a refused request is worth a second try in its plain form.
    fn has_plainer(&self, _failure: &Failure) -> bool {
        false
    }
}

/// A request ready to be sent, and who reads its answer.
pub(super) struct Encoded {
    pub url: Url,
    /// Beside content type and key.
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Whether a stream is asked for.
    pub streams: bool,
    pub decoder: Box<dyn Decode>,
    /// The settings that it does not say.
    pub left_out: Vec<&'static str>,
}

impl Encoded {
    /// A request without headers of its own.
    pub(super) fn plain(url: Url, body: Vec<u8>, streams: bool, decoder: impl Decode + 'static) -> Self {
        Self { url, headers: HeaderMap::new(), body, streams, decoder: Box::new(decoder), left_out: Vec::new() }
    }

    /// The same request, which does not say these settings.
    pub(super) fn without(self, left_out: Vec<&'static str>) -> Self {
        Self { left_out, ..self }
    }
}

/// A provider as a dialect at an endpoint.
#[derive(Clone)]
pub(super) struct Link {
    pub endpoint: Arc<Endpoint>,
    pub dialect: Arc<dyn Dialect>,
}

impl Link {
    pub(super) fn new(endpoint: Endpoint, dialect: impl Dialect) -> Self {
        Self { endpoint: Arc::new(endpoint), dialect: Arc::new(dialect) }
    }

    pub(super) fn named(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.endpoint).name = name.into();
        self
    }

    pub(super) fn with_http(mut self, http: &Http) -> Self {
        Arc::make_mut(&mut self.endpoint).http = http.clone();
        self
    }

    pub(super) fn stream(&self, request: ModelRequest, context: CallContext) -> ModelStream {
        Box::pin(Reading::Opening(Box::pin(Call::open(self.clone(), request, context))))
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.endpoint.fmt(f)
    }
}

/// The stream of an answer: one state machine from the socket to the item, for each layer between is
/// paid for by every token.
enum Reading {
    Opening(BoxFuture<'static, Result<Box<Call>>>),
    Open(Box<Call>),
    Over,
}

impl Stream for Reading {
    type Item = Result<StreamItem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            *self = match &mut *self {
                Self::Opening(call) => match ready!(call.as_mut().poll(cx)) {
                    Ok(call) => Self::Open(call),
                    Err(error) => {
                        *self = Self::Over;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Self::Open(call) => match ready!(call.poll_item(cx)) {
                    None => Self::Over,
                    item => return Poll::Ready(item),
                },
                Self::Over => return Poll::Ready(None),
            }
        }
    }
}

/// An answer on its way. Dropping it ends the request.
struct Call {
    endpoint: Arc<Endpoint>,
    maker: String,
    answer: Answer,
    reader: Reader,
    left_out: Vec<&'static str>,
    /// Whether other answers than the one that is read may still be on their way.
    has_others: bool,
    ready: Out,
    /// Why it cannot be read any further, behind what is ready.
    failed: Option<Error>,
    ended: bool,
    /// Whether anything of an answer has come.
    spoke: bool,
}

impl Call {
    async fn open(
        Link { endpoint, dialect }: Link,
        mut request: ModelRequest,
        context: CallContext,
    ) -> Result<Box<Self>> {
        let endpoint = endpoint.with_headers(&context.headers);
        let maker = endpoint.maker().into_owned();
        maker::only_own(&mut request.messages, &maker, &endpoint.name);
        let encoded = dialect.encode(&endpoint, &request, false).map_err(|error| endpoint.unsaid(error))?;
        // Silence is normal while an answer is made that is not streamed.
        let idle = encoded.streams.then_some(context.idle_timeout);
        let patience = Patience::new(context.timeout, idle);
        let mut answer = endpoint.post(encoded.url, encoded.headers, encoded.body, patience).await?;
        let mut decoder = encoded.decoder;
        if answer.status() >= 300 {
            let failure = endpoint.failure(answer).await;
            if !dialect.has_plainer(&failure) {
                return Err(failure.into_error(&endpoint));
            }
            let plainer = dialect.encode(&endpoint, &request, true)?;
            answer = endpoint.post(plainer.url, plainer.headers, plainer.body, patience).await?;
            if answer.status() >= 300 {
                return Err(endpoint.failure(answer).await.into_error(&endpoint));
            }
            decoder = plainer.decoder;
        }
        let (reader, left_out) = (Reader::new(decoder), encoded.left_out);
        Ok(Box::new(Self {
            endpoint,
            maker,
            answer,
            reader,
            left_out,
            has_others: tokens::choice_bound(&request) > 1,
            ready: Out::new(),
            failed: None,
            ended: false,
            spoke: false,
        }))
    }

    fn poll_item(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Result<StreamItem>>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            // What came in front of it has come all the same.
            if let Some(error) = self.failed.take() {
                self.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            self.failed = ready!(self.poll_read(cx)).err();
        }
    }

    /// Reads one piece; at the end puts the whole answer behind the deltas.
    fn poll_read(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<()>> {
        let is_done = self.reader.is_done();
        if is_done {
            self.answer.end_within(DRAIN);
        } else if self.reader.is_at_tail() {
            match self.has_others {
                true => self.answer.shorten_idle(TAIL),
                false => self.answer.end_within(TAIL),
            }
        }
        Poll::Ready(match ready!(self.answer.poll_chunk(cx)) {
            Ok(Some(_)) if is_done => Ok(()),
            Ok(Some(bytes)) => {
                let pushed = self.reader.push(&bytes, &mut self.ready);
                self.spoke |= !self.ready.is_empty();
                pushed.map_err(|error| self.unreadable(error))
            }
            Ok(None) => self.end(),
            // The answer is complete, only its tail is missing: better without usage than not at all.
            Err(error) if is_done || self.reader.has_stopped() && !matches!(error, NetError::TooLarge(_)) => self.end(),
            Err(error) => Err(self.endpoint.broken(error).with_reported(self.reader.usage())),
        })
    }

    fn unreadable(&self, error: Unreadable) -> Error {
        self.endpoint.unreadable(error, self.spoke || self.reader.has_begun(), self.reader.usage())
    }

    fn end(&mut self) -> Result<()> {
        let finished = self.reader.finish(&mut self.ready);
        self.spoke |= !self.ready.is_empty();
        let mut response = finished.map_err(|error| self.unreadable(error))?;
        maker::mark(&mut response.message, &self.maker, &self.endpoint.name);
        if !self.left_out.is_empty() {
            response.extra.insert("settings_left_out".to_owned(), self.left_out.as_slice().into());
        }
        self.ready.push_back(StreamItem::Done(Box::new(response)));
        self.ended = true;
        Ok(())
    }
}

/// The JSON body of a request.
pub(super) fn to_body(wire: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(wire)
        .map_err(|error| Error::internal("a request could not be written as JSON").with_source(error))
}

/// Which settings a wire form leaves out, of those that are named with whether they are set and left out.
///
/// Errors: `InvalidInput` where the settings want none to be.
pub(super) fn left_out(request: &ModelRequest, settings: &[(&'static str, bool)]) -> Result<Vec<&'static str>> {
    let names: Vec<_> = settings.iter().filter(|(_, left_out)| *left_out).map(|(name, _)| *name).collect();
    if names.is_empty() || request.settings.unsupported != Some(Unsupported::Error) {
        return Ok(names);
    }
    // A choice of a tool is no field of the settings.
    let told = names.iter().map(|name| match *name {
        "tool_choice" => (*name).to_owned(),
        name => format!("settings.{name}"),
    });
    Err(Error::invalid(format!(
        "this model cannot be asked with {}: take that out, or let settings.unsupported be drop",
        told.collect::<Vec<_>>().join(", ")
    )))
}

/// Whether a request asks to keep anything in a prompt cache.
pub(super) fn asks_cache(request: &ModelRequest) -> bool {
    request.settings.prompt_cache.as_ref().is_some_and(|cache| *cache != PromptCache::default())
}

/// The name that tells the family of a request's model, in lower case.
pub(super) fn family(request: &ModelRequest) -> String {
    let own = request.settings.profile.as_ref().and_then(|own| own.family.as_deref());
    own.unwrap_or(&request.model_name).to_ascii_lowercase()
}

/// Whether a caller wants a tool to be called; the tool that takes the answer is the engine's own wish.
pub(super) fn must_call(request: &ModelRequest) -> bool {
    match &request.tool_choice {
        ToolChoice::Auto | ToolChoice::None => false,
        ToolChoice::Required => !request.tools.is_empty(),
        ToolChoice::Tool(name) => request.output_tool.as_ref().is_none_or(|own| *own.name != **name),
    }
}

/// Lays the unknown fields of the settings over a body: objects field by field, lists behind lists.
pub(super) fn lay_over(body: &mut Value, extra: &serde_json::Map<String, Value>) {
    let Value::Object(fields) = body else { return };
    for (name, value) in extra {
        match (fields.get_mut(name), value) {
            (Some(inner @ Value::Object(_)), Value::Object(more)) => lay_over(inner, more),
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more.iter().cloned()),
            _ => drop(fields.insert(name.clone(), value.clone())),
        }
    }
}

/// The messages that lead a conversation with instructions, and the others.
pub(super) fn split_system(messages: &[Message]) -> (&[Message], &[Message]) {
    let leading = messages.iter().take_while(|message| message.role == MessageRole::System).count();
    messages.split_at(leading)
}

/// What a model is told that cannot be held to a schema.
pub(super) fn prompted(schema: &Value) -> String {
    format!("Answer with one JSON value and nothing else. It must follow this JSON Schema:\n{schema}")
}

/// Makes a public provider of a struct that holds a [`Link`].
macro_rules! http_provider {
    ($name:ident) => {
        impl $name {
            /// The same provider under another name.
            pub fn named(self, name: impl Into<String>) -> Self {
                Self { link: self.link.named(name) }
            }

            /// The same provider on a client that others use too.
            pub(crate) fn with_http(self, http: &$crate::net::Http) -> Self {
                Self { link: self.link.with_http(http) }
            }
        }

        impl $crate::provider::Provider for $name {
            fn name(&self) -> &str {
                &self.link.endpoint.name
            }

            fn maker(&self) -> std::borrow::Cow<'_, str> {
                self.link.endpoint.maker()
            }

            fn stream(
                &self,
                request: $crate::domain::ModelRequest,
                context: $crate::provider::CallContext,
            ) -> $crate::provider::ModelStream {
                self.link.stream(request, context)
            }

            fn profile(&self, model_name: &str) -> $crate::provider::Profile {
                self.link.dialect.profile(model_name)
            }

            fn input_token_bound(&self, request: &$crate::domain::ModelRequest) -> u64 {
                self.link.dialect.input_bound(request)
            }

            fn embed(
                &self,
                request: $crate::provider::EmbeddingRequest,
                context: $crate::provider::CallContext,
            ) -> $crate::provider::EmbeddingFuture {
                Box::pin(self.link.clone().embed(request, context))
            }
        }
    };
}
pub(super) use http_provider;
