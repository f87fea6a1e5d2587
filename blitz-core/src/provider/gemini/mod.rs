//! Google Gemini: `generateContent` and `streamGenerateContent`.
//!
//! [`request`] maps a request to its wire form, [`schema`] brings schemas into the subset that the
//! API knows, [`response`] puts the answer together.

mod request;
mod response;
mod schema;

use reqwest::header::HeaderName;
use serde_json::json;

use super::wire::embed::{self, EmbeddingCall};
use super::wire::endpoint::{Auth, Endpoint};
use super::wire::{Dialect, Encoded, Link, asks_cache, http_provider, left_out};
use super::{EmbeddingRequest, EmbeddingResponse};
use crate::domain::{ModelRequest, Part, Secret};
use crate::error::{Error, Result};

/// A provider that speaks Google's Gemini API.
///
/// ```
/// use blitz::provider::{Gemini, Provider};
/// let gemini = Gemini::new(Gemini::BASE_URL, Some(blitz::Secret::new("key")))?;
/// assert_eq!(gemini.name(), "gemini");
/// # Ok::<(), blitz::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Gemini {
    link: Link,
}

impl Gemini {
    /// Where Google itself is reached.
    pub const BASE_URL: &'static str = "https://generativelanguage.googleapis.com";

    /// A provider at `base_url` with a key, which goes in a header and never into the address. An
    /// address without a path means its `/v1beta`.
    ///
    /// Errors: `InvalidInput` if the address is not a plain `http(s)` URL or the key holds
    /// characters that no header can carry.
    pub fn new(base_url: &str, api_key: Option<Secret>) -> Result<Self> {
        let auth = Auth::key(HeaderName::from_static("x-goog-api-key"), "", api_key)?;
        Ok(Self { link: Link::new(Endpoint::new("gemini", base_url, auth)?, Content) })
    }
}

http_provider!(Gemini);

struct Content;

impl Dialect for Content {
    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, _: bool) -> Result<Encoded> {
        let streams = request.settings.stream != Some(false);
        let path = path(&request.model_name)?;
        let verb = if streams { "streamGenerateContent" } else { "generateContent" };
        let mut url = endpoint.url("/v1beta", &format!("{path}:{verb}"));
        if streams {
            url.query_pairs_mut().append_pair("alt", "sse");
        }
        let body = request::encode(&endpoint.name, request)?;
        let settings = &request.settings;
        let is_said = request::thinking(request).is_some_and(|(_, is_exact)| is_exact);
        let left_out = left_out(
            request,
            &[
                ("reasoning_effort", settings.reasoning_effort.is_some() && !is_said),
                ("parallel_tool_calls", settings.parallel_tool_calls.is_some() && !request.tools.is_empty()),
                ("prompt_cache", asks_cache(request)),
            ],
        )?;
        Ok(Encoded::plain(url, body, streams, response::Decoder::new(&endpoint.name, request)).without(left_out))
    }

    fn embed(&self, endpoint: &Endpoint, request: &EmbeddingRequest) -> Option<Result<EmbeddingCall>> {
        Some(embedding(endpoint, request))
    }

    fn most_inputs(&self, _: &[Part]) -> usize {
        100
    }
}

/// The place of a model in the API.
fn path(name: &str) -> Result<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if !name.chars().all(fits) || name.contains("..") {
        return Err(Error::invalid("a model name of gemini holds letters, digits, '-', '_', '.' and '/' only"));
    }
    Ok(if name.contains('/') { format!("/{name}") } else { format!("/models/{name}") })
}

fn embedding(endpoint: &Endpoint, request: &EmbeddingRequest) -> Result<EmbeddingCall> {
    let path = path(&request.model_name)?;
    let requests = embed::texts(endpoint, request)?.into_iter().map(|text| {
        let mut one = json!({"model": path.trim_start_matches('/'), "content": {"parts": [{"text": text}]}});
        if let Some(count) = request.dimensions {
            one["outputDimensionality"] = count.into();
        }
        one
    });
    Ok(EmbeddingCall {
        url: endpoint.url("/v1beta", &format!("{path}:batchEmbedContents")),
        body: json!({"requests": requests.collect::<Vec<_>>()}),
        open: &[],
        read: |answer| {
            let found = answer["embeddings"].as_array().into_iter().flatten();
            let vectors = found.map(|one| embed::vector(&one["values"])).collect();
            EmbeddingResponse { vectors, ..EmbeddingResponse::default() }
        },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::{Message, PromptCache};

    fn left_out(request: &ModelRequest) -> Vec<&'static str> {
        let endpoint = Endpoint::new("gemini", "http://h", Auth::None).unwrap();
        Content.encode(&endpoint, request, false).unwrap().left_out
    }

    #[test]
    fn b34_an_effort_that_is_only_the_nearest_is_named() {
        for (model, effort, is_named) in [
            ("gemini-3-pro", "none", true),
            ("gemini-3-pro", "minimal", true),
            ("gemini-3-flash", "minimal", false),
            ("gemini-3-flash", "xhigh", true),
            ("gemini-3-pro", "high", false),
            ("gemini-2.5-pro", "none", true),
            ("gemini-2.5-flash", "none", false),
            ("gemini-2.5-pro", "max", false),
            ("gemini-2.0-flash", "low", true),
        ] {
            let mut request = ModelRequest::new(model, vec![Message::user("?")]);
            request.settings.reasoning_effort = Some(effort.into());
            assert_eq!(left_out(&request) == ["reasoning_effort"], is_named, "{model} {effort}");
        }
    }

    #[test]
    fn each_text_to_embed_has_the_fields_of_extra() {
        let endpoint = Endpoint::new("gemini", "http://h", Auth::None).unwrap();
        let request = EmbeddingRequest::texts("e", ["a", "b"]).with_dimensions(3);
        let made = |request: EmbeddingRequest| {
            let mut call = embedding(&endpoint, &request)?;
            call.pass(&request.extra).map(|()| call.body)
        };
        let body = made(request.clone().with_extra("taskType", "RETRIEVAL_QUERY")).unwrap();
        let one = |text: &str| {
            json!({"model": "models/e", "content": {"parts": [{"text": text}]}, "outputDimensionality": 3,
                "taskType": "RETRIEVAL_QUERY"})
        };
        assert_eq!(body, json!({"requests": [one("a"), one("b")]}));
        for own in ["model", "content", "requests", "output_dimensionality"] {
            assert!(made(request.clone().with_extra(own, "x")).is_err(), "{own}");
        }
    }

    #[test]
    fn b34_a_prompt_cache_is_named_as_left_out() {
        let mut request = ModelRequest::new("gemini-3-pro", vec![Message::user("?")]);
        request.settings.prompt_cache = Some(PromptCache::everything());
        assert_eq!(left_out(&request), ["prompt_cache"]);
        request.settings.prompt_cache = Some(PromptCache::default());
        assert!(left_out(&request).is_empty());
    }
}
