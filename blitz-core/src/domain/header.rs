//! Headers that a user adds to the requests of a model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use crate::error::{Error, Result};

/// Headers that go with every request of a model, beside the engine's own, by their names.
///
/// Whoever reads the model sees the names. The values are sealed as keys are and read `***`; put back so, a
/// value stays what it was.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Headers(BTreeMap<String, Header>);

/// The value of a header: a text, or the secret of `secrets.set` that it is, by its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Header {
    /// A text, write only.
    Text(Secret),
    /// A secret by its name.
    Named {
        /// The name.
        secret: String,
    },
}

impl Header {
    /// How a value reads that is there and not shown.
    const KEPT: &'static str = "***";

    /// What can be seen of the value before it is sent: a secret by its name may have any.
    pub(crate) fn shape(&self) -> Secret {
        match self {
            Self::Text(text) => text.clone(),
            Self::Named { .. } => Secret::new(Self::KEPT),
        }
    }
}

impl Headers {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same headers and this one, in place of an earlier one of its name.
    pub fn with(mut self, name: impl Into<String>, header: Header) -> Self {
        self.0.insert(name.into(), header);
        self
    }

    /// The headers in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Header)> {
        self.0.iter().map(|(name, header)| (name.as_str(), header))
    }

    /// The names of the secrets that they are.
    pub(crate) fn secret_names(&self) -> impl Iterator<Item = &str> {
        self.iter().filter_map(|(_, header)| match header {
            Header::Named { secret } => Some(secret.as_str()),
            Header::Text(_) => None,
        })
    }

    /// The texts, each as it came.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.iter().filter_map(|(name, header)| match header {
            Header::Text(text) => Some((name, text)),
            Header::Named { .. } => None,
        })
    }

    /// The texts, those that are kept taken from what is sealed.
    ///
    /// Errors: `InvalidInput` for one that is to be kept where nothing is.
    pub(crate) fn settled(&self, sealed: &SealedHeaders) -> Result<SealedHeaders> {
        let settle = |(name, text): (&str, &Secret)| {
            let text = if text.expose() == Header::KEPT { sealed.0.get(name) } else { Some(text) };
            let text = text.ok_or_else(|| {
                Error::invalid(
                    "headers: no value is kept for one that reads ***, for it is new or the model is asked elsewhere \
                     now: give the value again",
                )
            })?;
            Ok((name.to_owned(), text.clone()))
        };
        self.texts().map(settle).collect::<Result<_>>().map(SealedHeaders)
    }
}

/// The values of headers by name, as they are sealed together.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct SealedHeaders(BTreeMap<String, Secret>);

impl SealedHeaders {
    pub(crate) fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text that is sealed. Errors: `Internal`, never.
    pub(crate) fn to_secret(&self) -> Result<Secret> {
        let plain: BTreeMap<&str, &str> = self.0.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        let text = serde_json::to_string(&plain).map_err(|_| Error::internal("headers have no JSON form"))?;
        Ok(Secret::new(&text))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn b36_values_are_never_shown_and_stay_where_they_are_put_back() {
        let given = r#"{"X-Tenant": "canary", "X-Key": {"secret": "gateway"}}"#;
        let headers: Headers = serde_json::from_str(given).unwrap();
        let shown = serde_json::to_string(&headers).unwrap();
        assert_eq!(shown, r#"{"X-Key":{"secret":"gateway"},"X-Tenant":"***"}"#);
        assert!(!format!("{headers:?}").contains("canary"));
        let sealed = headers.settled(&SealedHeaders::default()).unwrap();
        assert!(!format!("{sealed:?}").contains("canary"));
        let read: SealedHeaders = serde_json::from_str(sealed.to_secret().unwrap().expose()).unwrap();
        assert_eq!(read, sealed);
        let back: Headers = serde_json::from_str(&shown).unwrap();
        assert_eq!(back.settled(&sealed).unwrap(), sealed);
        assert_eq!(back.settled(&SealedHeaders::default()).unwrap_err().code(), crate::ErrorCode::InvalidInput);
        assert!(serde_json::from_str::<Headers>(r#"{"x": 5}"#).is_err());
    }
}
