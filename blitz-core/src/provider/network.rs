//! How the engine reaches providers.

use serde::{Deserialize, Serialize};

use crate::domain::Secret;
use crate::error::Result;
use crate::net::{Http, Ways};

/// How the providers of this crate are reached: see [`EngineBuilder::with_network`](crate::EngineBuilder::with_network).
///
/// `http` on this machine is always asked directly, as are the hosts of `NO_PROXY`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// The proxy, such as `http://user:password@proxy:3128`; empty for none. Where absent the environment says it,
    /// by `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Secret>,
    /// Certificates in PEM form of who vouches for servers, beside those that the machine trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_certificates: Option<String>,
}

impl Network {
    /// The same by this proxy; by none where it is empty.
    pub fn with_proxy(self, proxy: &str) -> Self {
        Self { proxy: Some(Secret::new(proxy)), ..self }
    }

    /// The same with certificates in PEM form that are trusted beside those of the machine.
    pub fn with_root_certificates(self, pem: impl Into<String>) -> Self {
        Self { root_certificates: Some(pem.into()), ..self }
    }

    /// Errors: `InvalidInput` where the proxy is no URL or there is no certificate.
    pub(super) fn http(&self) -> Result<Http> {
        let ways = Ways::new(self.proxy.as_ref().map(Secret::expose), self.root_certificates.as_deref())?;
        Ok(Http::by(ways))
    }
}
