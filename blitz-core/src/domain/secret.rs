//! A secret on its way in: prints as `***` in every form, and is wiped when dropped.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// A password or key. `Debug` and JSON show `***`; only the engine reads it.
#[derive(Clone, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Secret(#[schemars(with = "String")] SecretString);

impl Secret {
    /// Takes a secret exactly as it is.
    pub fn new(secret: &str) -> Self {
        Self(secret.to_owned().into())
    }

    /// Takes a key without the white space around it: a stray newline is the usual copying accident.
    pub fn trimmed(secret: &str) -> Self {
        Self::new(secret.trim())
    }

    /// The secret itself, for the one place that needs it.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}
