//! Ollama's own dialect: `/api/chat`, one JSON value a line.

mod request;
mod response;

use serde_json::{Value, json};

use super::wire::embed::{self, EmbeddingCall};
use super::wire::endpoint::{Auth, Endpoint};
use super::wire::text::first_count;
use super::wire::{Dialect, Encoded, Link, http_provider};
use super::{EmbeddingRequest, EmbeddingResponse, Profile, profile};
use crate::domain::{ModelRequest, Secret, Usage};
use crate::error::Result;

/// A provider that speaks to Ollama.
///
/// ```
/// use blitz::provider::{Ollama, Provider};
/// let local = Ollama::new(Ollama::BASE_URL, None)?;
/// assert_eq!(local.name(), "ollama");
/// # Ok::<(), blitz::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ollama {
    link: Link,
}

impl Ollama {
    /// Where Ollama listens on a machine of one's own.
    pub const BASE_URL: &'static str = "http://localhost:11434";

    /// A provider at `base_url`, with a key where one is wanted. An address without a path means its `/api`.
    ///
    /// Errors: `InvalidInput` if the address is not a plain `http(s)` URL or the key holds
    /// characters that no header can carry.
    pub fn new(base_url: &str, api_key: Option<Secret>) -> Result<Self> {
        let endpoint = Endpoint::new("ollama", base_url, Auth::bearer(api_key)?)?;
        Ok(Self { link: Link::new(endpoint, Chat) })
    }
}

http_provider!(Ollama);

struct Chat;

impl Dialect for Chat {
    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, _: bool) -> Result<Encoded> {
        let (body, streams) = (request::encode(&endpoint.name, request)?, request.settings.stream != Some(false));
        let decoder = response::Decoder::new(&endpoint.name, request);
        Ok(Encoded::plain(endpoint.url("/api", "/chat"), body, streams, decoder))
    }

    fn profile(&self, model_name: &str) -> Profile {
        // Held to a schema, it calls no tool.
        Profile { schema_with_tools: false, ..profile::of(model_name) }
    }

    fn embed(&self, endpoint: &Endpoint, request: &EmbeddingRequest) -> Option<Result<EmbeddingCall>> {
        let url = endpoint.url("/api", "/embed");
        let body = embed::openai_body(endpoint, request, "dimensions");
        let read = |answer: &Value| {
            let found = answer["embeddings"].as_array().into_iter().flatten();
            let used = first_count(answer, &["/prompt_eval_count"]);
            EmbeddingResponse {
                vectors: found.map(embed::vector).collect(),
                usage: used.map(|tokens| Usage::new(tokens, 0)),
                raw_usage: json!({"prompt_eval_count": used}),
                model_name: answer["model"].as_str().unwrap_or_default().to_owned(),
            }
        };
        Some(body.map(|body| EmbeddingCall { url, body, open: &[], read }))
    }
}
