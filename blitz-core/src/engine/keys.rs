//! API keys.

use std::time::Duration;

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use crate::domain::{IssuedKey, KeyId, KeyRecord, ListOptions, NewKey, Page, Timestamp, UserId};
use crate::error::Result;

/// The API keys, through a session: everybody's own, with `keys:manage:all` everybody's.
pub struct Keys {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("keys.create", KeysManage, NewKey => IssuedKey, |s, new| s.keys().create(new)),
    method!("keys.get", KeysManage, OneKey => KeyRecord, |s, one| s.keys().get(one.id)),
    method!("keys.list", KeysManage, ListKeys => Page<KeyRecord>, |s, list| s.keys().list(list.user_id, list.page)),
    method!("keys.rotate", KeysManage, RotateKey => IssuedKey, |s, rotate| async move {
        s.keys().rotate(rotate.id, Duration::from_secs(rotate.overlap_seconds), rotate.expires_at).await
    }),
    method!("keys.revoke", KeysManage, OneKey => (), |s, one| s.keys().revoke(one.id)),
];

/// One key.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneKey {
    /// The key's id.
    id: KeyId,
}

/// A page of keys.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListKeys {
    /// Whose; everybody's that the caller may see where absent.
    #[serde(default)]
    user_id: Option<UserId>,
    /// Which part of the list.
    #[serde(default)]
    page: ListOptions,
}

/// A key to replace.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct RotateKey {
    /// The key's id.
    id: KeyId,
    /// How many seconds the old key goes on; a day where absent, 30 days at most.
    #[serde(default = "a_day")]
    overlap_seconds: u64,
    /// When the new key ends; as the old one where absent.
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

fn a_day() -> u64 {
    24 * 3600
}

impl Keys {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Makes a key. It is shown this once.
    ///
    /// Errors: `PermissionDenied` for scopes beyond what its owner or the caller may.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use blitz::{Engine, ErrorCode, ListOptions, NewKey, NewUser, Permission, Scope};
    ///
    /// let engine = Engine::open(":memory:").await?;
    /// engine.root("setup").users().create(NewUser::new("ana@example.com", "a long passphrase")).await?;
    /// let ana = engine.login("ana@example.com", "a long passphrase").await?;
    /// let new = NewKey::new("nightly job").with_scopes([Scope::own(Permission::AgentsRead)]);
    /// let issued = ana.keys().create(new).await?;
    ///
    /// let job = engine.api_key(&issued.key).await?;
    /// assert!(job.agents().list(ListOptions::default()).await.is_ok());
    /// let refused = job.costs().list(Default::default(), ListOptions::default()).await.unwrap_err();
    /// assert_eq!(refused.code(), ErrorCode::PermissionDenied);
    /// # engine.close().await
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn create(&self, new: NewKey) -> Result<IssuedKey> {
        self.session.inner.gate.create_key(&self.session.caller, new).await
    }

    /// One key, without what opens the engine.
    pub async fn get(&self, id: KeyId) -> Result<KeyRecord> {
        self.session.inner.gate.key(&self.session.caller, id).await
    }

    /// A page of keys, in order of id.
    pub async fn list(&self, user: Option<UserId>, options: ListOptions) -> Result<Page<KeyRecord>> {
        self.session.inner.gate.keys(&self.session.caller, user, options).await
    }

    /// Makes a key that takes another's place. The old one goes on for the overlap, so that both may be
    /// in use while it is changed everywhere.
    pub async fn rotate(&self, id: KeyId, overlap: Duration, expires_at: Option<Timestamp>) -> Result<IssuedKey> {
        self.session.inner.gate.rotate_key(&self.session.caller, id, overlap, expires_at).await
    }

    /// Takes a key back, at once.
    pub async fn revoke(&self, id: KeyId) -> Result<()> {
        self.session.inner.gate.revoke_key(&self.session.caller, id).await
    }
}
