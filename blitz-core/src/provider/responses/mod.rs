//! OpenAI Responses, for OpenAI itself, xAI and every server that copies it.
//!
//! [`request`] maps a request to its wire form, [`response`] puts the answer together.

mod places;
mod request;
mod response;
mod tools;

use super::EmbeddingRequest;
use super::wire::embed::{self, EmbeddingCall};
use super::wire::endpoint::{Auth, Endpoint};
use super::wire::{Dialect, Encoded, Link, http_provider};
use crate::domain::{ModelRequest, Secret};
use crate::error::Result;

/// A provider that speaks OpenAI Responses.
///
/// ```
/// use blitz::provider::{OpenAiResponses, Provider};
/// let local = OpenAiResponses::new("http://127.0.0.1:8080", None)?;
/// assert_eq!(local.name(), "openai_responses");
/// # Ok::<(), blitz::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct OpenAiResponses {
    link: Link,
}

impl OpenAiResponses {
    /// A provider at `base_url`, with the key it wants, if any. An address without a path means its `/v1`.
    ///
    /// Errors: `InvalidInput` if the address is not a plain `http(s)` URL or the key holds
    /// characters that no header can carry.
    pub fn new(base_url: &str, api_key: Option<Secret>) -> Result<Self> {
        let endpoint = Endpoint::new("openai_responses", base_url, Auth::bearer(api_key)?)?;
        Ok(Self { link: Link::new(endpoint, Responses { family: None }) })
    }
}

http_provider!(OpenAiResponses);

/// The type of a part that says of which phase the texts behind it are: `{"type": "phase", "phase": "commentary"}`.
const PHASE: &str = "phase";

/// The dialect.
pub(super) struct Responses {
    /// The model behind the name, where a deployment hides it.
    pub family: Option<String>,
}

impl Dialect for Responses {
    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, _: bool) -> Result<Encoded> {
        let wire = request::encode(&endpoint.name, self.family.as_deref(), request)?;
        let decoder = response::Decoder::new(&endpoint.name, request, wire.reading);
        Ok(Encoded::plain(endpoint.url("/v1", "/responses"), wire.body, wire.streams, decoder).without(wire.left_out))
    }

    fn embed(&self, endpoint: &Endpoint, request: &EmbeddingRequest) -> Option<Result<EmbeddingCall>> {
        let url = endpoint.url("/v1", "/embeddings");
        let body = embed::openai_body(endpoint, request, "dimensions");
        Some(body.map(|body| EmbeddingCall { url, body, open: &[], read: embed::openai_answer }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn embeddings_are_asked_for_where_the_answers_are() {
        let endpoint = Endpoint::new("openai_responses", "https://h", Auth::None).unwrap();
        let request = EmbeddingRequest::texts("m", ["a"]).with_dimensions(2);
        let call = Responses { family: None }.embed(&endpoint, &request).unwrap().unwrap();
        assert_eq!(call.url.as_str(), "https://h/v1/embeddings");
        assert_eq!(call.body, json!({"model": "m", "input": ["a"], "dimensions": 2}));
    }
}
