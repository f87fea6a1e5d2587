//! Cohere's chat API, version 2.

mod request;
mod response;

use serde_json::{Value, json};

use super::wire::counts::Counts;
use super::wire::embed::{self, EmbeddingCall};
use super::wire::endpoint::{Auth, Endpoint};
use super::wire::{Dialect, Encoded, Link, asks_cache, http_provider, left_out};
use super::{EmbeddingRequest, EmbeddingResponse, Profile, profile};
use crate::domain::{ModelRequest, Part, Secret, Usage};
use crate::error::Result;

/// A provider that speaks to Cohere.
///
/// ```
/// use blitz::provider::{Cohere, Provider};
/// let cohere = Cohere::new(Cohere::BASE_URL, Some(blitz::Secret::new("key")))?;
/// assert_eq!(cohere.name(), "cohere");
/// # Ok::<(), blitz::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Cohere {
    link: Link,
}

impl Cohere {
    /// Where Cohere itself is reached.
    pub const BASE_URL: &'static str = "https://api.cohere.com";

    /// A provider at `base_url` with a key. An address without a path means its `/v2`.
    ///
    /// Errors: `InvalidInput` if the address is not a plain `http(s)` URL or the key holds
    /// characters that no header can carry.
    pub fn new(base_url: &str, api_key: Option<Secret>) -> Result<Self> {
        let endpoint = Endpoint::new("cohere", base_url, Auth::bearer(api_key)?)?;
        Ok(Self { link: Link::new(endpoint, Chat) })
    }
}

http_provider!(Cohere);

struct Chat;

impl Dialect for Chat {
    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, _: bool) -> Result<Encoded> {
        let ((body, reading), streams) =
            (request::encode(&endpoint.name, request)?, request.settings.stream != Some(false));
        let decoder = response::Decoder::new(&endpoint.name, request, reading);
        let left_out = left_out(
            request,
            &[
                ("parallel_tool_calls", request.settings.parallel_tool_calls.is_some() && !request.tools.is_empty()),
                ("prompt_cache", asks_cache(request)),
            ],
        )?;
        Ok(Encoded::plain(endpoint.url("/v2", "/chat"), body, streams, decoder).without(left_out))
    }

    fn profile(&self, model_name: &str) -> Profile {
        Profile { schema_with_tools: false, ..profile::of(model_name) }
    }

    fn embed(&self, endpoint: &Endpoint, request: &EmbeddingRequest) -> Option<Result<EmbeddingCall>> {
        Some(embedding(endpoint, request))
    }

    fn most_inputs(&self, inputs: &[Part]) -> usize {
        match inputs.iter().filter(|part| matches!(part, Part::Image { .. })).count() {
            0 => 96,
            all if all == inputs.len() => 1,
            // It takes one kind at a time, so these are refused together.
            _ => inputs.len(),
        }
    }
}

/// Texts or images: the API takes one kind at a time.
fn embedding(endpoint: &Endpoint, request: &EmbeddingRequest) -> Result<EmbeddingCall> {
    let mut url = endpoint.url("/v1", "/embed");
    let path = url.path().replace("/v2/", "/v1/");
    url.set_path(&path);
    let mut body = match embed::images(request).filter(|images| !images.is_empty()) {
        Some(images) => json!({"images": images, "input_type": "image", "embedding_types": ["float"]}),
        None => json!({"texts": embed::texts(endpoint, request)?, "input_type": "search_document"}),
    };
    body["model"] = request.model_name.as_str().into();
    if let Some(count) = request.dimensions {
        body["output_dimension"] = count.into();
    }
    Ok(EmbeddingCall { url, body, open: &["input_type", "embedding_types"], read: embedded })
}

/// Vectors alone, or by the type of their numbers.
fn embedded(answer: &Value) -> EmbeddingResponse {
    let found = &answer["embeddings"];
    let found = found.get("float").unwrap_or(found).as_array().into_iter().flatten();
    let billed = &answer["meta"]["billed_units"];
    let counts = Counts::new(billed);
    let used = counts.first(&["/input_tokens", "/image_tokens"]);
    EmbeddingResponse {
        vectors: found.map(embed::vector).collect(),
        usage: used.map(|tokens| counts.checked(Usage::new(tokens, 0))),
        raw_usage: billed.clone(),
        model_name: String::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::{Message, PromptCache};

    #[test]
    fn b34_a_prompt_cache_is_named_as_left_out() {
        let endpoint = Endpoint::new("p", "http://h", Auth::None).unwrap();
        let mut request = ModelRequest::new("m", vec![Message::user("?")]);
        request.settings.prompt_cache = Some(PromptCache::everything());
        let left_out = Chat.encode(&endpoint, &request, false).unwrap().left_out;
        assert_eq!(left_out, ["prompt_cache"]);
    }
}
