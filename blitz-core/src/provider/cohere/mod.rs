//! Cohere's chat API, version 2.

mod request;
mod response;

use serde_json::{Map, Value, json};

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
        Some(images) => {
            let mut body = json!({"images": images, "input_type": "image"});
            // The caller's own types stand in place of these, not behind them.
            if !request.extra.contains_key("embedding_types") {
                body["embedding_types"] = json!(["float"]);
            }
            body
        }
        None => json!({"texts": embed::texts(endpoint, request)?, "input_type": "search_document"}),
    };
    body["model"] = request.model_name.as_str().into();
    if let Some(count) = request.dimensions {
        body["output_dimension"] = count.into();
    }
    Ok(EmbeddingCall { url, body, open: &["input_type", "embedding_types"], read: embedded })
}

/// Vectors alone, or by the type of their numbers: floats where there are any, else the first type that there is.
fn embedded(answer: &Value) -> EmbeddingResponse {
    let found = &answer["embeddings"];
    let by_type = || found.as_object().into_iter().flat_map(Map::values).find_map(Value::as_array);
    let found = found.get("float").unwrap_or(found).as_array().or_else(by_type).into_iter().flatten();
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
    fn vectors_are_read_whichever_type_of_number_was_asked_for() {
        for (embeddings, expected) in [
            (json!([[1, 2]]), vec![vec![1.0, 2.0]]),
            (json!({"int8": [[9, 9]], "float": [[0.5, 2]]}), vec![vec![0.5, 2.0]]),
            (json!({"float": null, "int8": [[-3, 4]]}), vec![vec![-3.0, 4.0]]),
            (json!({"ubinary": [[255], [0]]}), vec![vec![255.0], vec![0.0]]),
            (json!({"base64": ["AACAPwAAAL8="]}), vec![vec![1.0, -0.5]]),
            (json!({}), vec![]),
        ] {
            assert_eq!(embedded(&json!({"embeddings": embeddings})).vectors, expected, "{embeddings}");
        }
        let endpoint = Endpoint::new("p", "http://h", Auth::None).unwrap();
        let image = Part::Image { media_type: "image/png".into(), data: "AAAA".into() };
        let request = EmbeddingRequest::new("m", vec![image]);
        assert_eq!(embedding(&endpoint, &request).unwrap().body["embedding_types"], json!(["float"]));
        let request = request.with_extra("embedding_types", json!(["int8"]));
        assert_eq!(embedding(&endpoint, &request).unwrap().body.get("embedding_types"), None);
    }

    #[test]
    fn b34_a_prompt_cache_is_named_as_left_out() {
        let endpoint = Endpoint::new("p", "http://h", Auth::None).unwrap();
        let mut request = ModelRequest::new("m", vec![Message::user("?")]);
        request.settings.prompt_cache = Some(PromptCache::everything());
        let left_out = Chat.encode(&endpoint, &request, false).unwrap().left_out;
        assert_eq!(left_out, ["prompt_cache"]);
    }
}
