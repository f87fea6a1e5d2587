//! Where a provider is reached and as whom.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::error::Failure;
use super::headers::RequestHeaders;
use crate::domain::Secret;
use crate::error::{Charged, Error, ErrorCode, Result};
use crate::net::{Answer, Http, MAX_ERROR_BODY, Patience, parse_base_url};

/// Gives a token for one request: called before each, so that the host may renew it.
pub type TokenSource = Arc<dyn Fn() -> BoxFuture<'static, Result<Secret>> + Send + Sync>;

/// Adds headers to a request that is ready otherwise, such as a signature over it.
pub(in crate::provider) type Signer = Arc<dyn Fn(&Url, &[u8]) -> Result<HeaderMap> + Send + Sync>;

/// How a request says who sends it.
#[derive(Clone)]
pub(in crate::provider) enum Auth {
    /// Not at all: a local server.
    None,
    /// By a key in a header, behind a word such as `Bearer `.
    Key { header: HeaderName, word: &'static str, key: Secret },
    /// By a bearer token that the host gives for each request.
    Token(TokenSource),
    /// By a signature; the secrets are what no message may show.
    #[cfg_attr(not(feature = "bedrock"), allow(dead_code, reason = "only Bedrock signs"))]
    Signed { signer: Signer, secrets: Vec<Secret> },
}

impl Auth {
    /// A key as `Authorization: Bearer …`; none where there is no key.
    pub(in crate::provider) fn bearer(key: Option<Secret>) -> Result<Self> {
        Self::key(AUTHORIZATION, "Bearer ", key)
    }

    /// A key in a header, white space around it dropped; none where nothing is left of it.
    ///
    /// Errors: `InvalidInput` if the key holds characters that no header can carry.
    pub(in crate::provider) fn key(header: HeaderName, word: &'static str, key: Option<Secret>) -> Result<Self> {
        let key = key.map(|key| Secret::trimmed(key.expose())).filter(|key| !key.expose().is_empty());
        let Some(key) = key else { return Ok(Self::None) };
        secret_value(word, &key)?;
        Ok(Self::Key { header, word, key })
    }

    /// What no message may show.
    pub(in crate::provider) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let secrets = match self {
            Self::None | Self::Token(_) => &[],
            Self::Key { key, .. } => std::slice::from_ref(key),
            Self::Signed { secrets, .. } => secrets.as_slice(),
        };
        secrets.iter()
    }

    async fn headers(&self, url: &Url, body: &[u8]) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        match self {
            Self::None => {}
            Self::Key { header, word, key } => drop(headers.insert(header, secret_value(word, key)?)),
            Self::Token(source) => {
                let token = source().await?;
                headers.insert(AUTHORIZATION, secret_value("Bearer ", &Secret::trimmed(token.expose()))?);
            }
            Self::Signed { signer, .. } => headers = signer(url, body)?,
        }
        Ok(headers)
    }
}

fn secret_value(word: &str, key: &Secret) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{word}{}", key.expose()))
        .map_err(|_| Error::invalid("the api_key holds a line break or other characters that a key cannot have"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Where a provider is reached and as whom.
#[derive(Clone)]
pub(in crate::provider) struct Endpoint {
    /// The name that model records use; thinking of this provider carries it.
    pub name: String,
    /// The address that a user gave, or the usual one.
    pub base: Url,
    pub auth: Auth,
    /// What goes with each request beside its dialect's own.
    pub headers: RequestHeaders,
    pub http: Http,
}

impl Endpoint {
    /// Why a request was never sent: so nothing of it is charged.
    pub(in crate::provider) fn unsaid(&self, error: Error) -> Error {
        match error {
            Error::Failed { code: code @ ErrorCode::InvalidInput, message, source, .. } => Error::Provider {
                code,
                provider: self.name.clone(),
                status: None,
                retry_after: None,
                retryable: false,
                charged: Charged::No,
                usage: None,
                message,
                source,
            },
            other => other,
        }
    }

    /// Errors: `InvalidInput` if the address is not a plain `http(s)` URL.
    pub(in crate::provider) fn new(name: &str, base: &str, auth: Auth) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            base: parse_base_url(base)?,
            auth,
            headers: RequestHeaders::default(),
            http: Http::new(),
        })
    }

    /// The base with this path behind its own; `root` stands in where the base has none.
    pub(in crate::provider) fn url(&self, root: &str, path: &str) -> Url {
        let mut url = self.base.clone();
        let own = url.path().trim_end_matches('/');
        let whole = match own {
            "" => format!("{root}{path}"),
            own if own.ends_with(path) => own.to_owned(),
            own => format!("{own}{path}"),
        };
        url.set_path(&whole);
        url
    }

    /// The same place, asked with these headers.
    pub(in crate::provider) fn with_headers(self: &Arc<Self>, headers: &RequestHeaders) -> Arc<Self> {
        if headers.is_empty() {
            return Arc::clone(self);
        }
        Arc::new(Self { headers: headers.clone(), ..Self::clone(self) })
    }

    pub(in crate::provider) async fn post(
        &self,
        url: Url,
        mut headers: HeaderMap,
        body: Vec<u8>,
        patience: Patience,
    ) -> Result<Answer> {
        self.headers.lay_over(&mut headers);
        headers.extend(self.auth.headers(&url, &body).await?);
        self.http.post_json(url, headers, body, patience).await.map_err(|error| self.broken(error))
    }

    pub(in crate::provider) async fn failure(&self, answer: Answer) -> Failure {
        let (status, headers) = (answer.status(), answer.headers().clone());
        Failure::new(status, &headers, &answer.prefix(MAX_ERROR_BODY).await)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.base.host_str();
        f.debug_struct("Endpoint").field("name", &self.name).field("host", &host).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fault_the_address_of_a_call_follows_from_any_base_url() {
        for (base, expected) in [
            ("http://h:1", "http://h:1/v1/chat/completions"),
            ("http://h:1/", "http://h:1/v1/chat/completions"),
            ("http://h:1/v1", "http://h:1/v1/chat/completions"),
            ("http://h:1/v1/", "http://h:1/v1/chat/completions"),
            ("https://h/v1beta/openai/", "https://h/v1beta/openai/chat/completions"),
            ("https://h/v1/chat/completions", "https://h/v1/chat/completions"),
            ("https://h/v1?version=2", "https://h/v1/chat/completions?version=2"),
        ] {
            let endpoint = Endpoint::new("p", base, Auth::None).unwrap();
            assert_eq!(endpoint.url("/v1", "/chat/completions").as_str(), expected);
        }
    }

    #[tokio::test]
    async fn b36_a_key_is_trimmed_and_never_shown() {
        let auth = Auth::bearer(Some(Secret::new(" canary\n"))).unwrap();
        let endpoint = Endpoint::new("p", "http://h", auth).unwrap();
        let headers = endpoint.auth.headers(&endpoint.base, b"").await.unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer canary");
        assert!(!format!("{endpoint:?} {headers:?}").contains("canary"));
        let error = Auth::bearer(Some(Secret::new("can\nary"))).err().unwrap();
        assert_eq!(error.code(), crate::ErrorCode::InvalidInput);
        assert!(matches!(Auth::bearer(Some(Secret::new("\n"))), Ok(Auth::None)));
    }

    #[tokio::test]
    async fn b35_a_token_is_asked_for_with_each_request() {
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let source: TokenSource = Arc::new(move || {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Box::pin(async move { Ok(Secret::new(&format!("t{number}"))) })
        });
        let auth = Auth::Token(source);
        let url = parse_base_url("http://h").unwrap();
        assert_eq!(auth.headers(&url, b"").await.unwrap()[AUTHORIZATION], "Bearer t0");
        assert_eq!(auth.headers(&url, b"").await.unwrap()[AUTHORIZATION], "Bearer t1");
    }
}
