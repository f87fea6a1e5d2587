//! Anthropic Messages.
//!
//! [`request`] maps a request to its wire form, where [`thinking`] asks for thought; [`response`] puts the answer
//! together.

mod request;
mod response;
mod thinking;

use reqwest::header::HeaderName;

use super::wire::endpoint::{Auth, Endpoint};
use super::wire::{Dialect, Encoded, Link, http_provider};
use crate::domain::{ModelRequest, Secret};
use crate::error::Result;

/// A provider that speaks Anthropic Messages.
///
/// ```
/// use blitz::provider::{Anthropic, Provider};
/// let claude = Anthropic::new(Anthropic::BASE_URL, Some(blitz::Secret::new("key")))?;
/// assert_eq!(claude.name(), "anthropic");
/// # Ok::<(), blitz::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Anthropic {
    link: Link,
}

impl Anthropic {
    /// Where Anthropic itself is reached.
    pub const BASE_URL: &'static str = "https://api.anthropic.com";

    /// A provider at `base_url` with a key. An address without a path means its `/v1`.
    ///
    /// Errors: `InvalidInput` if the address is not a plain `http(s)` URL or the key holds
    /// characters that no header can carry.
    pub fn new(base_url: &str, api_key: Option<Secret>) -> Result<Self> {
        let auth = Auth::key(HeaderName::from_static("x-api-key"), "", api_key)?;
        Ok(Self { link: Link::new(Endpoint::new("anthropic", base_url, auth)?, Messages) })
    }
}

http_provider!(Anthropic);

struct Messages;

impl Dialect for Messages {
    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, _: bool) -> Result<Encoded> {
        let wire = request::encode(&endpoint.name, request)?;
        Ok(Encoded {
            url: endpoint.url("/v1", "/messages"),
            headers: wire.headers,
            body: wire.body,
            streams: wire.streams,
            decoder: Box::new(response::Decoder::new(&endpoint.name, request, wire.reading)),
            left_out: wire.left_out,
        })
    }
}
