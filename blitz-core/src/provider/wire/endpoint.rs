//! Where a provider is reached and as whom.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::error::Failure;
use super::headers::RequestHeaders;
use super::maker;
use super::token::Tokens;
use crate::domain::Secret;
use crate::error::{Charged, Error, ErrorCode, Result};
use crate::net::{Answer, Http, MAX_ERROR_BODY, Patience, parse_base_url};

/// Adds headers to a request that is ready otherwise, such as a signature over it.
pub(in crate::provider) type Signer = Arc<dyn Fn(&Url, &[u8]) -> Result<HeaderMap> + Send + Sync>;

/// How a request says who sends it.
#[derive(Clone)]
pub(in crate::provider) enum Auth {
    /// Not at all: a local server.
    None,
    /// By a key in a header, behind a word such as `Bearer `.
    Key { header: HeaderName, word: &'static str, key: Secret },
    /// By a bearer token that a function of the host gives.
    Token(Arc<Tokens>),
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
    pub(in crate::provider) fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::None => Vec::new(),
            Self::Token(tokens) => tokens.sent().into_iter().collect(),
            Self::Key { key, .. } => vec![key.clone()],
            Self::Signed { secrets, .. } => secrets.clone(),
        }
    }

    /// Says who sends a request; gives the token that says so, where it was kept from an earlier one.
    async fn sign(&self, url: &Url, body: &[u8], headers: &mut HeaderMap) -> Result<Option<Secret>> {
        match self {
            Self::None => {}
            Self::Key { header, word, key } => drop(headers.insert(header, secret_value(word, key)?)),
            Self::Token(tokens) => {
                let (token, is_fresh) = tokens.get().await?;
                headers.insert(AUTHORIZATION, secret_value("Bearer ", &Secret::trimmed(token.expose()))?);
                return Ok(Some(token).filter(|_| !is_fresh));
            }
            Self::Signed { signer, .. } => headers.extend(signer(url, body)?),
        }
        Ok(None)
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

    /// The name under which what only this place understands is kept.
    pub(in crate::provider) fn maker(&self) -> Cow<'_, str> {
        maker::of(&self.name, &self.base)
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
        let kept = self.sign(&url, &body, &mut headers, patience).await?;
        let (Some(token), Auth::Token(tokens)) = (kept, &self.auth) else {
            return self.http.post_json(url, headers, body, patience).await.map_err(|error| self.broken(error));
        };
        let answer = self.http.post_json(url.clone(), headers.clone(), body.clone(), patience).await;
        let answer = answer.map_err(|error| self.broken(error))?;
        if answer.status() != 401 {
            return Ok(answer);
        }
        // It ended before its time: nothing was done, and a new one may be had.
        drop(patience.wait(tokens.forget(&token)).await);
        self.sign(&url, &body, &mut headers, patience).await?;
        self.http.post_json(url, headers, body, patience).await.map_err(|error| self.broken(error))
    }

    /// Says who sends a request, as long as it has time: gives the token that says so, where it was kept.
    async fn sign(
        &self,
        url: &Url,
        body: &[u8],
        headers: &mut HeaderMap,
        patience: Patience,
    ) -> Result<Option<Secret>> {
        match patience.wait(self.auth.sign(url, body, headers)).await {
            Ok(signed) => signed.map_err(|error| self.unsigned(error)),
            Err(_) => Err(self.without_token(&Error::timeout(""), "the function that gives it took too long")),
        }
    }

    /// Why a request was not sent: nobody could say who sends it. What the host's own function says of that is not told
    /// on: it may hold secrets.
    fn unsigned(&self, error: Error) -> Error {
        match &self.auth {
            Auth::Token(_) => self.without_token(&error, "the function that gives it failed"),
            _ => error,
        }
    }

    fn without_token(&self, error: &Error, why: &str) -> Error {
        Error::Provider {
            code: error.code(),
            provider: self.name.clone(),
            status: None,
            retry_after: error.retry_after(),
            retryable: error.is_retryable(),
            charged: Charged::No,
            usage: None,
            message: format!("no token could be had: {why}"),
            source: None,
        }
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
    use std::time::Duration;

    use super::super::token::Token;
    use super::*;
    use crate::domain::Timestamp;

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
    async fn b35_b42_a_token_function_that_hangs_ends_with_the_time_of_its_call() {
        let count = std::sync::atomic::AtomicU32::new(0);
        // The first one is near its end, so the next call asks anew; another waits behind that.
        let tokens = Tokens::new(Arc::new(move || match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Box::pin(std::future::ready(Ok(Token::new(Secret::new("t")).until(Timestamp::now())))),
            _ => Box::pin(std::future::pending()),
        }));
        tokens.get().await.unwrap();
        let endpoint = Endpoint::new("p", "http://127.0.0.1:1", Auth::Token(Arc::new(tokens))).unwrap();
        let post = || {
            let patience = Patience::new(Duration::from_millis(30), None);
            endpoint.post(endpoint.base.clone(), HeaderMap::new(), Vec::new(), patience)
        };
        let (one, other) = tokio::join!(post(), post());
        for error in [one, other].map(|result| result.err().unwrap()) {
            assert_eq!((error.code(), error.charged()), (ErrorCode::Timeout, Charged::No), "{error}");
        }
    }

    #[tokio::test]
    async fn b36_a_key_is_trimmed_and_never_shown() {
        let auth = Auth::bearer(Some(Secret::new(" canary\n"))).unwrap();
        let endpoint = Endpoint::new("p", "http://h", auth).unwrap();
        let mut headers = HeaderMap::new();
        endpoint.auth.sign(&endpoint.base, b"", &mut headers).await.unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer canary");
        assert!(!format!("{endpoint:?} {headers:?}").contains("canary"));
        let error = Auth::bearer(Some(Secret::new("can\nary"))).err().unwrap();
        assert_eq!(error.code(), crate::ErrorCode::InvalidInput);
        assert!(matches!(Auth::bearer(Some(Secret::new("\n"))), Ok(Auth::None)));
    }
}
