//! The headers that a model record or a call adds to a request.

use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderValue};

use crate::domain::Secret;
use crate::error::Result;
use crate::net;
use crate::provider::connect::key_headers;

/// What a body is, and how an answer may be packed: the dialect and the client say it.
const OF_THE_BODY: &[&str] = &["content-type", "content-encoding", "accept", "accept-encoding"];

/// Headers beside those of a dialect, over which they go; under the key.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestHeaders(Arc<HeaderMap>);

impl RequestHeaders {
    /// Headers for a provider of this crate, or any other.
    ///
    /// Errors: `InvalidInput` for what is no header, for those that are the engine's to set and for the key's.
    pub(crate) fn of(provider: &str, given: &[(String, Secret)]) -> Result<Self> {
        if given.is_empty() {
            return Ok(Self::default());
        }
        let barred = [OF_THE_BODY, key_headers(provider)].concat();
        let headers = net::headers(given.iter().map(|(name, value)| (name.as_str(), value.expose())), &barred)?;
        Ok(Self(Arc::new(headers)))
    }

    pub(in crate::provider) fn with(mut self, name: &str, value: &str) -> Result<Self> {
        Arc::make_mut(&mut self.0).extend(net::headers([(name, value)], OF_THE_BODY)?);
        Ok(self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What no message may show. Shorter ones are in other words by chance, and no secrets.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter_map(|value| value.to_str().ok()).filter(|value| value.len() > 4)
    }

    /// Puts them over a dialect's own; what both ask for of Anthropic's betas is asked for together.
    pub(super) fn lay_over(&self, headers: &mut HeaderMap) {
        for (name, value) in self.0.iter() {
            let both = headers.get(name).filter(|_| name == "anthropic-beta").map(|own| {
                let both = [own.as_bytes(), b",", value.as_bytes()].concat();
                HeaderValue::from_bytes(&both).unwrap_or_else(|_| value.clone())
            });
            headers.insert(name, both.unwrap_or_else(|| value.clone()));
        }
    }
}
