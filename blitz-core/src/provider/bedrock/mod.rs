//! Amazon Bedrock Converse, by API key or signature.
//!
//! [`request`] maps a request to its wire form, [`response`] puts the answer together from binary
//! event frames, [`sign`] makes the signature.

mod request;
mod response;
mod sign;

use std::sync::Arc;

use super::wire::endpoint::{Auth, Endpoint};
use super::wire::{Dialect, Encoded, Link, http_provider, left_out, must_call};
use super::{Profile, profile};
use crate::domain::{ModelRequest, Secret};
use crate::error::{Error, Result};
use crate::net::parse_base_url;

pub use sign::AwsCredentials;

/// A provider that speaks Amazon Bedrock Converse.
///
/// ```
/// use blitz::provider::{Bedrock, Provider};
/// let bedrock = Bedrock::with_api_key("us-east-1", blitz::Secret::new("key"))?;
/// assert_eq!(bedrock.name(), "bedrock");
/// # Ok::<(), blitz::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bedrock {
    link: Link,
}

impl Bedrock {
    /// A provider in a region that signs its requests (SigV4).
    ///
    /// Errors: `InvalidInput` if the region or the credentials hold characters that they cannot have.
    pub fn new(region: &str, credentials: AwsCredentials) -> Result<Self> {
        credentials.check()?;
        let (own_region, secrets) = (region.to_owned(), credentials.secrets());
        let signer = Arc::new(move |url: &reqwest::Url, body: &[u8]| {
            sign::sign(&credentials, "POST", url, body, &own_region, "bedrock", jiff::Timestamp::now())
        });
        Self::by(region, Auth::Signed { signer, secrets })
    }

    /// A provider in a region that shows an API key. Errors: as [`Bedrock::new`].
    pub fn with_api_key(region: &str, key: Secret) -> Result<Self> {
        Self::by(region, Auth::bearer(Some(key))?)
    }

    fn by(region: &str, auth: Auth) -> Result<Self> {
        if region.is_empty() || !region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(Error::invalid("a region of aws holds letters, digits and '-' only"));
        }
        let base = format!("https://bedrock-runtime.{region}.amazonaws.com");
        Ok(Self { link: Link::new(Endpoint::new("bedrock", &base, auth)?, Converse) })
    }

    /// The same provider at another address, such as a private endpoint. Errors: `InvalidInput`.
    pub fn with_base_url(mut self, base_url: &str) -> Result<Self> {
        Arc::make_mut(&mut self.link.endpoint).base = parse_base_url(base_url)?;
        Ok(self)
    }
}

http_provider!(Bedrock);

struct Converse;

impl Dialect for Converse {
    fn profile(&self, model_name: &str) -> Profile {
        Profile { native_schema: false, ..profile::of(model_name) }
    }

    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, _: bool) -> Result<Encoded> {
        let streams = request.settings.stream != Some(false);
        let verb = if streams { "converse-stream" } else { "converse" };
        // Names hold colons, those of profiles slashes too: both belong to one piece of the path.
        let name = sign::encoded(&request.model_name);
        let body = request::encode(&endpoint.name, request)?;
        let url = endpoint.url("", &format!("/model/{name}/{verb}"));
        let settings = &request.settings;
        let left_out = left_out(
            request,
            &[
                ("seed", settings.seed.is_some()),
                ("reasoning_effort", settings.reasoning_effort.is_some()),
                ("parallel_tool_calls", settings.parallel_tool_calls.is_some() && !request.tools.is_empty()),
                ("tool_choice", must_call(request) && request::forced(request).is_none()),
            ],
        )?;
        Ok(Encoded::plain(url, body, streams, response::Decoder::new(&endpoint.name, request)).without(left_out))
    }
}
