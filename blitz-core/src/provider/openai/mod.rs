//! OpenAI Chat Completions, for any base URL.
//!
//! Four parts: [`request`] maps a request to its wire form, [`response`] reads what comes back,
//! [`stream`] puts streamed pieces together (tool calls in [`calls`]), [`error`] says what went
//! wrong. A whole answer is read as a stream of one piece, so both ways agree by construction.

mod calls;
mod error;
mod request;
mod response;
mod schema;
mod stream;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt, TryStreamExt, once, try_unfold};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::{CallContext, ModelStream, Profile, Provider, StreamItem, profile};
use crate::domain::{ModelRequest, Secret};
use crate::error::{Error, Result};
use crate::net::{Answer, Http, MAX_ERROR_BODY, NetError, Patience, parse_base_url};
use stream::Reader;

/// Where OpenAI itself is reached.
pub(crate) const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// How long the usage behind a finished answer is waited for.
const TAIL: Duration = Duration::from_secs(10);
/// How long the end of the connection is waited for behind `[DONE]`, so that it can be used again.
const DRAIN: Duration = Duration::from_millis(20);

/// A provider that speaks OpenAI Chat Completions: OpenAI itself, or any server that copies it.
///
/// ```
/// use blitz::provider::{OpenAi, Provider};
/// let local = OpenAi::new("http://127.0.0.1:8080", None)?;
/// assert_eq!(local.name(), "openai");
/// # Ok::<(), blitz::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct OpenAi {
    endpoint: Arc<Endpoint>,
}

/// Where a provider is reached and as whom.
#[derive(Clone)]
struct Endpoint {
    name: String,
    url: Url,
    key: Option<Secret>,
    http: Http,
}

impl OpenAi {
    /// A provider at `base_url`, with the key it wants, if any.
    ///
    /// An address without a path means its `/v1`. White space around the key is dropped. Nothing
    /// is sent. Errors: `InvalidInput` if the address is not a plain `http(s)` URL or the key holds
    /// characters that no header can carry.
    pub fn new(base_url: &str, api_key: Option<Secret>) -> Result<Self> {
        let key = api_key.map(|key| Secret::trimmed(key.expose())).filter(|key| !key.expose().is_empty());
        let endpoint =
            Endpoint { name: "openai".to_owned(), url: chat_url(parse_base_url(base_url)?), key, http: Http::new() };
        endpoint.headers()?;
        Ok(Self { endpoint: Arc::new(endpoint) })
    }

    /// The same provider under another name.
    pub fn named(self, name: impl Into<String>) -> Self {
        self.with(|endpoint| endpoint.name = name.into())
    }

    /// The same provider on a client that others use too.
    pub(crate) fn with_http(self, http: &Http) -> Self {
        self.with(|endpoint| endpoint.http = http.clone())
    }

    fn with(mut self, change: impl FnOnce(&mut Endpoint)) -> Self {
        change(Arc::make_mut(&mut self.endpoint));
        self
    }
}

/// The address of the chat endpoint: `/v1` is added where the base has no path at all.
fn chat_url(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/');
    let path = match path {
        "" => "/v1/chat/completions".to_owned(),
        whole if whole.ends_with("/chat/completions") => whole.to_owned(),
        base => format!("{base}/chat/completions"),
    };
    url.set_path(&path);
    url
}

impl Provider for OpenAi {
    fn name(&self) -> &str {
        &self.endpoint.name
    }

    fn stream(&self, request: ModelRequest, context: CallContext) -> ModelStream {
        let endpoint = self.endpoint.clone();
        once(async move { Call::open(endpoint, request, context).await })
            .map_ok(|call| try_unfold(call, Call::next))
            .try_flatten()
            .boxed()
    }

    fn profile(&self, model_name: &str) -> Profile {
        profile::of(model_name)
    }
}

/// An answer on its way. Dropping it ends the request.
struct Call {
    endpoint: Arc<Endpoint>,
    answer: Answer,
    reader: Reader,
    ready: VecDeque<StreamItem>,
    ended: bool,
}

impl Call {
    async fn open(endpoint: Arc<Endpoint>, request: ModelRequest, context: CallContext) -> Result<Self> {
        let encoded = request::encode(&request, &endpoint.dialect(), true)?;
        // Silence is normal while an answer is made that is not streamed.
        let idle = encoded.streams.then_some(context.idle_timeout);
        let patience = Patience::new(context.timeout, idle);
        let mut answer = endpoint.post(encoded.body, patience).await?;
        if answer.status() >= 300 {
            let failure = endpoint.failure(answer).await;
            if !(encoded.streams && failure.is_about_stream_options()) {
                return Err(failure.into_error(&endpoint));
            }
            let plainer = request::encode(&request, &endpoint.dialect(), false)?;
            answer = endpoint.post(plainer.body, patience).await?;
            if answer.status() >= 300 {
                return Err(endpoint.failure(answer).await.into_error(&endpoint));
            }
        }
        let reader = Reader::new(&endpoint.name, &request, encoded.nullable);
        Ok(Self { endpoint, answer, reader, ready: VecDeque::new(), ended: false })
    }

    async fn next(mut self) -> Result<Option<(StreamItem, Self)>> {
        while self.ready.is_empty() && !self.ended {
            self.read().await?;
        }
        Ok(self.ready.pop_front().map(|item| (item, self)))
    }

    /// Reads one piece; at the end puts the whole answer behind the deltas.
    async fn read(&mut self) -> Result<()> {
        if self.reader.has_finish_reason() {
            self.answer.shorten_idle(TAIL);
        }
        match self.answer.chunk().await {
            Ok(Some(bytes)) => self.reader.push(&bytes, &mut self.ready).map_err(|e| self.endpoint.unreadable(e))?,
            Ok(None) => return self.end(),
            // The answer is complete, only its tail is missing: better without usage than not at all.
            Err(error) if self.reader.has_finish_reason() && !matches!(error, NetError::TooLarge(_)) => {
                return self.end();
            }
            Err(error) => return Err(self.endpoint.broken(error)),
        }
        if self.reader.is_done() {
            self.answer.shorten_idle(DRAIN);
            while let Ok(Some(_)) = self.answer.chunk().await {}
            self.end()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let response = self.reader.finish(&mut self.ready).map_err(|error| self.endpoint.unreadable(error))?;
        self.ready.push_back(StreamItem::Done(Box::new(response)));
        self.ended = true;
        Ok(())
    }
}

impl Endpoint {
    fn dialect(&self) -> request::Dialect<'_> {
        request::Dialect { provider: &self.name, official: self.url.host_str() == Some("api.openai.com") }
    }

    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).map_err(|_| {
                Error::invalid("the api_key holds a line break or other characters that a key cannot have")
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    async fn post(&self, body: Vec<u8>, patience: Patience) -> Result<Answer> {
        let sent = self.http.post_json(self.url.clone(), self.headers()?, body, patience).await;
        sent.map_err(|error| self.broken(error))
    }

    async fn failure(&self, answer: Answer) -> error::Failure {
        let (status, headers) = (answer.status(), answer.headers().clone());
        error::Failure::new(status, &headers, &answer.prefix(MAX_ERROR_BODY).await)
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_chat_address_follows_from_any_base() {
        for (base, expected) in [
            ("http://h:1", "http://h:1/v1/chat/completions"),
            ("http://h:1/", "http://h:1/v1/chat/completions"),
            ("http://h:1/v1", "http://h:1/v1/chat/completions"),
            ("http://h:1/v1/", "http://h:1/v1/chat/completions"),
            ("https://h/v1beta/openai/", "https://h/v1beta/openai/chat/completions"),
            ("https://h/v1/chat/completions", "https://h/v1/chat/completions"),
            ("https://h/v1?version=2", "https://h/v1/chat/completions?version=2"),
        ] {
            assert_eq!(chat_url(parse_base_url(base).unwrap()).as_str(), expected);
        }
    }

    #[test]
    fn b36_a_key_is_trimmed_and_never_shown() {
        let provider = OpenAi::new("http://h", Some(Secret::new(" canary\n"))).unwrap();
        assert_eq!(provider.endpoint.headers().unwrap()[AUTHORIZATION], "Bearer canary");
        assert!(!format!("{provider:?} {:?}", provider.endpoint.headers()).contains("canary"));
        let error = OpenAi::new("http://h", Some(Secret::new("can\nary"))).unwrap_err();
        assert_eq!(error.code(), crate::ErrorCode::InvalidInput);
        assert!(OpenAi::new("http://h", Some(Secret::new("\n"))).unwrap().endpoint.key.is_none());
    }
}
