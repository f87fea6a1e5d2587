//! Cohere's chat API, version 2.

mod request;
mod response;

use reqwest::header::HeaderMap;

use super::profile;
use super::wire::endpoint::{Auth, Endpoint};
use super::wire::{Dialect, Encoded, Link, http_provider};
use crate::domain::{ModelRequest, Secret};
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

http_provider!(Cohere, profile::of);

struct Chat;

impl Dialect for Chat {
    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, _: bool) -> Result<Encoded> {
        Ok(Encoded {
            url: endpoint.url("/v2", "/chat"),
            headers: HeaderMap::new(),
            body: request::encode(&endpoint.name, request)?,
            streams: request.settings.stream != Some(false),
            decoder: Box::new(response::Decoder::new(&endpoint.name, request)),
        })
    }
}
