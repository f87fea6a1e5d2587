//! Tokens that a host's function gives, kept until shortly before they end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::domain::{Secret, Timestamp};
use crate::error::{Error, ErrorCode, Result};

/// Gives a token: asked before each request, unless the one before says that it lasts.
pub type TokenSource = Arc<dyn Fn() -> BoxFuture<'static, Result<Token>> + Send + Sync>;

/// A token is asked for anew so long before it ends.
const NEAR: Duration = Duration::from_secs(300);

/// A token of a host's function.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Token {
    /// What the request carries.
    pub secret: Secret,
    /// When it ends; where absent, the function is asked before each request and keeps the token itself.
    pub expires_at: Option<Timestamp>,
}

impl Token {
    /// A token that is asked for anew before each request.
    pub fn new(secret: Secret) -> Self {
        Self { secret, expires_at: None }
    }

    /// The same token, which is used until shortly before this moment, unless it is refused.
    pub fn until(self, expires_at: Timestamp) -> Self {
        Self { expires_at: Some(expires_at), ..self }
    }

    /// A token as hosts in other languages give it: its text, or an object of `token` and, in microseconds since 1970,
    /// `expires_at`.
    ///
    /// Errors: `ProviderAuth`, which never repeats what was given.
    pub fn from_json(given: &Value) -> Result<Self> {
        let none = || Error::new(ErrorCode::ProviderAuth, "the token function gave no token");
        let (text, ends) = match given {
            Value::String(text) => (text.as_str(), &Value::Null),
            Value::Object(fields) => {
                let text = fields.get("token").and_then(Value::as_str).ok_or_else(none)?;
                (text, fields.get("expires_at").unwrap_or(&Value::Null))
            }
            _ => return Err(none()),
        };
        let token = Self::new(Secret::new(text));
        match (ends, ends.as_i64()) {
            _ if text.trim().is_empty() => Err(none()),
            (Value::Null, _) => Ok(token),
            (_, Some(micros)) => Ok(token.until(Timestamp(micros))),
            _ => Err(Error::new(ErrorCode::ProviderAuth, "the end of a token is a number of microseconds since 1970")),
        }
    }

    fn lasts(&self) -> bool {
        self.expires_at.is_some_and(|end| end > Timestamp::now().plus(NEAR))
    }
}

impl From<Secret> for Token {
    fn from(secret: Secret) -> Self {
        Self::new(secret)
    }
}

/// The tokens of one function.
pub(in crate::provider) struct Tokens {
    source: TokenSource,
    /// Held while the function is asked, once it is known to give tokens that last: one asks for all.
    kept: tokio::sync::Mutex<Option<Token>>,
    lasting: AtomicBool,
    /// The last one that was sent: no message may show it.
    sent: Mutex<Option<Secret>>,
}

impl Tokens {
    pub(in crate::provider) fn new(source: TokenSource) -> Self {
        Self { source, kept: tokio::sync::Mutex::default(), lasting: AtomicBool::new(false), sent: Mutex::default() }
    }

    /// A token, and whether it was asked for only now. Errors: those of the function.
    pub(in crate::provider) async fn get(&self) -> Result<(Secret, bool)> {
        if !self.lasting.load(Ordering::Acquire) {
            let token = (self.source)().await?;
            self.note(&token);
            if token.expires_at.is_some() {
                self.lasting.store(true, Ordering::Release);
                *self.kept.lock().await = Some(token.clone());
            }
            return Ok((token.secret, true));
        }
        let mut kept = self.kept.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| token.lasts()) {
            return Ok((token.secret.clone(), false));
        }
        let token = (self.source)().await?;
        self.note(&token);
        *kept = Some(token.clone());
        Ok((token.secret, true))
    }

    /// Forgets a token that was refused; another one may have come meanwhile.
    pub(in crate::provider) async fn forget(&self, refused: &Secret) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|token| token.secret.expose() == refused.expose()) {
            *kept = None;
        }
    }

    /// What no message may show.
    pub(in crate::provider) fn sent(&self) -> Option<Secret> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, token: &Token) {
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.secret.clone());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use serde_json::json;

    use super::*;

    /// Tokens `t0`, `t1` … that last so long.
    fn counted(lasting: Option<Duration>) -> Tokens {
        let count = AtomicU32::new(0);
        Tokens::new(Arc::new(move || {
            let secret = Secret::new(&format!("t{}", count.fetch_add(1, Ordering::Relaxed)));
            let token = Token::new(secret);
            let token = match lasting {
                Some(lasting) => token.until(Timestamp::now().plus(lasting)),
                None => token,
            };
            Box::pin(std::future::ready(Ok(token)))
        }))
    }

    async fn told(tokens: &Tokens) -> (String, bool) {
        let (secret, fresh) = tokens.get().await.unwrap();
        (secret.expose().to_owned(), fresh)
    }

    #[tokio::test]
    async fn b35_a_token_is_kept_until_shortly_before_its_end_or_until_it_is_refused() {
        let none = counted(None);
        assert_eq!([told(&none).await, told(&none).await], [("t0".into(), true), ("t1".into(), true)]);
        let soon = counted(Some(NEAR));
        assert_eq!([told(&soon).await, told(&soon).await], [("t0".into(), true), ("t1".into(), true)]);
        let long = counted(Some(NEAR * 2));
        assert_eq!([told(&long).await, told(&long).await], [("t0".into(), true), ("t0".into(), false)]);
        long.forget(&Secret::new("other")).await;
        assert_eq!(told(&long).await, ("t0".into(), false));
        long.forget(&Secret::new("t0")).await;
        assert_eq!([told(&long).await, told(&long).await], [("t1".into(), true), ("t1".into(), false)]);
        assert_eq!(long.sent().unwrap().expose(), "t1");
    }

    #[test]
    fn b35_a_token_is_its_text_or_has_an_end() {
        let token = Token::from_json(&json!({"token": "sk-canary", "expires_at": 5})).unwrap();
        assert_eq!((token.secret.expose(), token.expires_at), ("sk-canary", Some(Timestamp(5))));
        assert!(Token::from_json(&json!("sk-canary")).unwrap().expires_at.is_none());
        assert!(!format!("{token:?}").contains("canary"));
        for given in
            [json!(null), json!(""), json!(" "), json!(7), json!({}), json!({"token": 1}), json!(["sk-canary"])]
        {
            let error = Token::from_json(&given).unwrap_err();
            assert_eq!((error.code(), error.to_string().contains("canary")), (ErrorCode::ProviderAuth, false));
        }
        assert!(Token::from_json(&json!({"token": "sk-canary", "expires_at": "soon"})).is_err());
    }
}
