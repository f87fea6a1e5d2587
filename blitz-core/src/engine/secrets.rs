//! Secrets with names.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use crate::domain::{ListOptions, Page, Secret, SecretName};
use crate::error::Result;

/// The secrets, through a session: set, named, deleted, and never read back.
pub struct Secrets {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("secrets.set", SecretsSet, SetSecret => SecretName, |s, set| s.secrets().set(set.name, set.value)),
    method!("secrets.list", SecretsUse, ListOptions => Page<SecretName>, |s, options| s.secrets().list(options)),
    method!("secrets.delete", SecretsSet, OneSecret => (), |s, one| s.secrets().delete(one.name)),
    method!("secrets.rotate_master_key", SystemConfig, NewMasterKey => (), |s, new| async move {
        s.secrets().rotate_master_key(new.key).await
    }),
];

/// A secret to keep.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetSecret {
    /// Its name: what a model's `api_key_secret` says.
    name: String,
    /// Its value, write only.
    value: Secret,
}

/// One secret.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneSecret {
    /// Its name.
    name: String,
}

/// Another master key.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewMasterKey {
    /// 32 bytes, as 64 hex digits; absent where a file keeps the key.
    #[serde(default)]
    key: Option<Secret>,
}

impl Secrets {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Keeps a secret under a name, in place of the one before. Models refer to it by `api_key_secret`.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use blitz::{Engine, ListOptions, NewModel, Secret};
    ///
    /// let engine = Engine::open(":memory:").await?;
    /// let me = engine.root("setup");
    /// me.secrets().set("openai", Secret::new("sk-of-the-host")).await?;
    /// me.models().put(NewModel::new("m", "openai", "gpt-4o").with_api_key_secret("openai")).await?;
    /// assert_eq!(me.secrets().list(ListOptions::default()).await?.items[0].name, "openai");
    /// # engine.close().await
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn set(&self, name: impl Into<String>, value: Secret) -> Result<SecretName> {
        self.session.inner.gate.set_named_secret(&self.session.caller, name.into(), value).await
    }

    /// A page of the names, in order of id.
    pub async fn list(&self, options: ListOptions) -> Result<Page<SecretName>> {
        self.session.inner.gate.secret_names(&self.session.caller, options).await
    }

    /// Forgets a secret. A model that refers to it cannot be run until there is one of the name again.
    pub async fn delete(&self, name: impl Into<String>) -> Result<()> {
        self.session.inner.gate.delete_named_secret(&self.session.caller, name.into()).await
    }

    /// Seals everything under another master key: the host's new one, or where a file keeps it one that
    /// the engine makes. Ended in the middle, it goes on at the next open, with either key.
    ///
    /// Other processes that have the database open must open it again to read secrets.
    pub async fn rotate_master_key(&self, new: Option<Secret>) -> Result<()> {
        self.session.inner.gate.rotate_master_key(&self.session.caller, new).await
    }
}
