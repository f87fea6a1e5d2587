//! OpenAI Chat Completions, for OpenAI itself and every server that copies it.
//!
//! [`request`] maps a request to its wire form, [`response`] reads what comes back, [`stream`] puts
//! it together; [`server`] says what each server makes of the dialect.

mod request;
pub(super) mod response;
mod server;
mod stream;

use super::wire::embed::{self, EmbeddingCall};
use super::wire::endpoint::{Auth, Endpoint};
use super::wire::error::Failure;
use super::wire::{Dialect, Encoded, Link, http_provider};
use super::{EmbeddingRequest, Profile, profile};
use crate::domain::{ModelRequest, Secret};
use crate::error::Result;

pub use server::ChatServer;

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
    link: Link,
}

impl OpenAi {
    /// A provider at `base_url`, with the key it wants, if any. Which server it is shows in the address.
    ///
    /// An address without a path means its `/v1`. White space around the key is dropped. Nothing
    /// is sent. Errors: `InvalidInput` if the address is not a plain `http(s)` URL or the key holds
    /// characters that no header can carry.
    pub fn new(base_url: &str, api_key: Option<Secret>) -> Result<Self> {
        let endpoint = Endpoint::new("openai", base_url, Auth::bearer(api_key)?)?;
        let server = ChatServer::at(endpoint.base.host_str().unwrap_or_default());
        Ok(Self { link: Link::new(endpoint, Chat { server, family: None }) })
    }

    /// A provider at `base_url` that is this server, wherever it stands. Errors: as [`OpenAi::new`].
    pub fn on(server: ChatServer, base_url: &str, api_key: Option<Secret>) -> Result<Self> {
        let endpoint = Endpoint::new("openai", base_url, Auth::bearer(api_key)?)?;
        Ok(Self { link: Link::new(endpoint, Chat { server, family: None }) })
    }
}

http_provider!(OpenAi);

/// The dialect.
pub(super) struct Chat {
    pub server: ChatServer,
    /// The model behind the name, where a deployment hides it.
    pub family: Option<String>,
}

impl Dialect for Chat {
    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, plain: bool) -> Result<Encoded> {
        let dialect =
            request::Dialect { provider: &endpoint.name, quirks: self.server.quirks(), family: self.family.as_deref() };
        let encoded = request::encode(request, &dialect, !plain)?;
        let assembly = stream::Assembly::new(&endpoint.name, request, encoded.reading);
        let decoder = assembly.with_think_tags(self.server.quirks().think_tags);
        let url = endpoint.url(self.server.root(), "/chat/completions");
        Ok(Encoded::plain(url, encoded.body, encoded.streams, decoder).without(encoded.left_out))
    }

    fn profile(&self, model_name: &str) -> Profile {
        self.server.quirks().narrowed(profile::of(self.family.as_deref().unwrap_or(model_name)))
    }

    fn embed(&self, endpoint: &Endpoint, request: &EmbeddingRequest) -> Option<Result<EmbeddingCall>> {
        let dimensions = if self.server == ChatServer::Mistral { "output_dimension" } else { "dimensions" };
        let url = endpoint.url(self.server.root(), "/embeddings");
        let body = embed::openai_body(endpoint, request, dimensions);
        Some(body.map(|body| EmbeddingCall { url, body, open: &[], read: embed::openai_answer }))
    }

    fn has_plainer(&self, failure: &Failure) -> bool {
        failure.is_about_stream_options()
    }
}
