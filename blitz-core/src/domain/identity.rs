//! Ways in: API keys, login sessions, tokens, and the roles of the host's own.

use serde::{Deserialize, Serialize};

use super::id::{KeyId, SessionId, UserId};
use super::permission::Scope;
use super::secret::Secret;
use super::time::Timestamp;

/// A role to make: what its users may, a part of what its maker may.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// Lower-case letters, digits, `_` and `-`, a letter first, at most 64.
    pub name: String,
    /// What it allows.
    pub permissions: Vec<Scope>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl NewRole {
    /// A role that allows these.
    pub fn new(name: impl Into<String>, permissions: impl IntoIterator<Item = Scope>) -> Self {
        Self { name: name.into(), permissions: permissions.into_iter().collect(), description: String::new() }
    }

    /// The same role with a description for people.
    pub fn with_description(self, description: impl Into<String>) -> Self {
        Self { description: description.into(), ..self }
    }
}

/// A stored role. The two built-in ones have the id 0 and cannot be changed.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RoleRecord {
    /// Its id.
    pub id: i64,
    /// Its name: what a user's `role` says.
    pub name: String,
    /// For people.
    pub description: String,
    /// What it allows.
    pub permissions: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A change to a role; absent fields stay.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoleUpdate {
    /// What it allows from now on, in place of what it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<Scope>>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// An API key to make.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewKey {
    /// For people.
    pub name: String,
    /// What it allows at most, within what its owner may; all of that where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
    /// When it ends; never where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whose it is; the caller's own where absent. Another's takes `keys:manage:all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
}

impl NewKey {
    /// A key that may do what its owner may.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The same key, held to these scopes.
    pub fn with_scopes(self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self { scopes: Some(scopes.into_iter().collect()), ..self }
    }

    /// The same key with an end.
    pub fn with_expiry(self, expires_at: Timestamp) -> Self {
        Self { expires_at: Some(expires_at), ..self }
    }

    /// The same key for a user.
    pub fn for_user(self, user_id: UserId) -> Self {
        Self { user_id: Some(user_id), ..self }
    }
}

/// A stored API key. The key itself is not in it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct KeyRecord {
    /// Its id: what budgets and costs by key name.
    pub id: KeyId,
    /// Whose it is.
    pub user_id: UserId,
    /// For people.
    pub name: String,
    /// The part of the key that is no secret: `bz_` and twelve characters.
    pub prefix: String,
    /// What it allows at most; absent where that is all its owner may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
    /// When it was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// The key that takes its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<KeyId>,
}

/// A new API key: the one time that it is shown. Of it only a keyed hash is kept.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IssuedKey {
    /// The key itself.
    pub key: String,
    /// What is stored of it.
    pub record: KeyRecord,
}

impl IssuedKey {
    pub(crate) fn new(key: String, record: KeyRecord) -> Self {
        Self { key, record }
    }
}

impl std::fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedKey").field("key", &"***").field("record", &self.record).finish()
    }
}

/// A login by address and password.
#[non_exhaustive]
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The e-mail address.
    pub email: String,
    /// The password.
    pub password: Secret,
    /// Where it comes from, such as an IP address: failures from one place are held back together.
    #[serde(default)]
    pub source: Option<String>,
}

impl Login {
    /// A login from nowhere in particular.
    pub fn new(email: impl Into<String>, password: &str) -> Self {
        Self { email: email.into(), password: Secret::new(password), source: None }
    }

    /// The same login from a place.
    pub fn from(self, source: impl Into<String>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

/// A login that lasts: it ends by itself when it is not used for a while, or at its latest day.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// How it began: `password`, `root`.
    pub via: String,
    /// Where it came from, as the host said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub seen_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
}

/// What kind of token a client is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// A random text that means nothing by itself: for browsers' cookies.
    #[default]
    Session,
    /// A JSON web token of a short life, and a refresh token for the next one.
    Jwt,
}

/// Tokens for a client: the one time that they are shown. Of them only hashes are kept.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Tokens {
    /// What comes with each call.
    pub access_token: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Gives the next pair, once; only beside a JSON web token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The login they belong to.
    pub session_id: SessionId,
    /// Whose they are.
    pub user_id: UserId,
}

impl Tokens {
    pub(crate) fn new(
        access_token: String,
        expires_at: Timestamp,
        refresh_token: Option<String>,
        session_id: SessionId,
        user_id: UserId,
    ) -> Self {
        Self { access_token, expires_at, refresh_token, session_id, user_id }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let refresh = self.refresh_token.as_ref().map(|_| "***");
        f.debug_struct("Tokens")
            .field("access_token", &"***")
            .field("expires_at", &self.expires_at)
            .field("refresh_token", &refresh)
            .field("session_id", &self.session_id)
            .finish_non_exhaustive()
    }
}

/// How JSON web tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256: only this engine can check them.
    #[default]
    #[serde(rename = "HS256")]
    Hs256,
    /// Ed25519: whoever has the public key can check them.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl TokenAlgorithm {
    /// The algorithm as a token's header and the database name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of a name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Hs256, Self::EdDsa].into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// A key that signs JSON web tokens, without its secret part.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TokenKey {
    /// Its name in a token's header.
    pub kid: String,
    /// The one algorithm it is used with.
    pub algorithm: TokenAlgorithm,
    /// The public key of an `EdDSA` key, base64url as in a JSON web key's `x`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When another took its place; until its last token ends it still verifies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
}

/// How logins and their tokens last.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionSettings {
    /// A login that is not used for so many seconds ends; two hours where absent.
    pub idle_seconds: u32,
    /// A login ends so many seconds after it began; a week where absent.
    pub max_seconds: u32,
    /// The life of a JSON web token in seconds; an hour where absent.
    pub jwt_seconds: u32,
    /// How new JSON web tokens are signed.
    pub jwt_algorithm: TokenAlgorithm,
    /// Who issues JSON web tokens (`iss`).
    pub issuer: String,
    /// Whom they are for (`aud`).
    pub audience: String,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            idle_seconds: 2 * 3600,
            max_seconds: 7 * 24 * 3600,
            jwt_seconds: 3600,
            jwt_algorithm: TokenAlgorithm::Hs256,
            issuer: "blitz".to_owned(),
            audience: "blitz".to_owned(),
        }
    }
}

/// A token with which a user sets a new password: the one time that it is shown.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PasswordReset {
    /// The token, good once.
    pub token: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl PasswordReset {
    pub(crate) fn new(token: String, expires_at: Timestamp) -> Self {
        Self { token, expires_at }
    }
}

impl std::fmt::Debug for PasswordReset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordReset").field("token", &"***").field("expires_at", &self.expires_at).finish()
    }
}
