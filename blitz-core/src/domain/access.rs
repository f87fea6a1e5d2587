//! Users, roles, permissions and the principal that every call is made by.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::id::{KeyId, UserId};
use super::permission::Powers;
use super::secret::Secret;
use super::time::Timestamp;

/// Who may see a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Its owner, admins and those it is shared with.
    #[default]
    Private,
    /// Everybody may see and use it.
    Shared,
}

impl Visibility {
    /// The visibility as JSON and the database show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Shared => "shared",
        }
    }

    /// The visibility of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Private, Self::Shared].into_iter().find(|visibility| visibility.name() == name)
    }
}

/// What a share lets others do; each level holds the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShareLevel {
    /// Read it.
    View,
    /// Run or use it.
    Use,
    /// Change it.
    Edit,
    /// Delete it and share it on.
    Manage,
}

impl ShareLevel {
    /// Its rank as the database keeps it: the greatest of several shares counts.
    pub(crate) fn rank(self) -> i64 {
        match self {
            Self::View => 1,
            Self::Use => 2,
            Self::Edit => 3,
            Self::Manage => 4,
        }
    }

    /// The level of a rank.
    pub(crate) fn from_rank(rank: i64) -> Option<Self> {
        [Self::View, Self::Use, Self::Edit, Self::Manage].into_iter().find(|level| level.rank() == rank)
    }
}

/// What a user is: one of the two built-in roles, or one of the host's own, by its name.
///
/// `admin` may do everything, `business_user` uses what is shared and owns drafts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Role {
    /// Everything.
    Admin,
    /// Uses what is shared, owns drafts, sees its own executions and costs.
    #[default]
    BusinessUser,
    /// A role made by `roles.create`.
    Custom(RoleName),
}

/// The name of a role of the host's own: lower-case letters, digits, `_` and `-`, a letter first, at most 64.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoleName(Arc<str>);

impl Role {
    /// The role's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Admin => "admin",
            Self::BusinessUser => "business_user",
            Self::Custom(name) => &name.0,
        }
    }

    /// The role of a name; `None` for a text that can be none. Whether there is such a role is not asked here.
    pub fn from_name(name: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        match name {
            "admin" => Some(Self::Admin),
            "business_user" => Some(Self::BusinessUser),
            // What a reader of the trail would take for somebody else.
            "root" | "engine" | "anonymous" => None,
            _ => (name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(plain))
                .then(|| Self::Custom(RoleName(name.into()))),
        }
    }

    /// What a built-in role may; those of a role of the host's own are in the store.
    pub(crate) fn powers(&self) -> Option<Powers> {
        match self {
            Self::Admin => Some(Powers::everything()),
            Self::BusinessUser => Some(Powers::of_business_user()),
            Self::Custom(_) => None,
        }
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom("a role is admin, business_user or one of yours"))
    }
}

impl schemars::JsonSchema for Role {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Role".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "`admin`, `business_user`, or the name of a role made by `roles.create`.",
        })
    }
}

/// Who a session speaks for. Stored with each execution, without any token or password.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Principal {
    /// The host program itself, trusted and audited.
    Root {
        /// Why it acts, in the host's words; every audit line of the session shows it.
        reason: String,
    },
    /// A user who logged in.
    User {
        /// Whose id.
        id: UserId,
        /// The version of the user's standing at login: a password or role change ends older sessions.
        session_version: i64,
        /// The API key it came in with, which may allow less than the user's role.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_id: Option<KeyId>,
    },
}

impl Principal {
    /// The user's id; `None` for the host itself.
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::Root { .. } => None,
            Self::User { id, .. } => Some(*id),
        }
    }

    /// The API key's id; `None` where it came in otherwise.
    pub fn key_id(&self) -> Option<KeyId> {
        match self {
            Self::Root { .. } => None,
            Self::User { key_id, .. } => *key_id,
        }
    }

    /// A short text for audit lines: `root` or `user:7`.
    pub fn label(&self) -> String {
        match self {
            Self::Root { .. } => "root".to_owned(),
            Self::User { id, .. } => format!("user:{id}"),
        }
    }
}

/// A user to create.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// E-mail address; unique without regard to case.
    pub email: String,
    /// The password, write only: 8 to 1,024 bytes.
    pub password: Secret,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What the user may do.
    #[serde(default)]
    pub role: Role,
    /// Whether the password may be a weak one: for demonstrations, and by the host alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_weak: bool,
}

/// A user of another program, with its password hash.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedUser {
    /// E-mail address; unique without regard to case.
    pub email: String,
    /// The hash, write only: werkzeug's `scrypt:N:r:p$salt$hex` or `pbkdf2:sha256:n$salt$hex`.
    pub password_hash: Secret,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What the user may do.
    #[serde(default)]
    pub role: Role,
}

impl ImportedUser {
    /// A business user with this hash.
    pub fn new(email: impl Into<String>, password_hash: &str) -> Self {
        let password_hash = Secret::new(password_hash);
        Self { email: email.into(), password_hash, name: String::new(), role: Role::BusinessUser }
    }
}

impl NewUser {
    /// A business user with this address and password.
    pub fn new(email: impl Into<String>, password: &str) -> Self {
        Self {
            email: email.into(),
            password: Secret::new(password),
            name: String::new(),
            role: Role::BusinessUser,
            allow_weak: false,
        }
    }

    /// The same user, whose password may be a weak one.
    pub fn with_weak_password(self) -> Self {
        Self { allow_weak: true, ..self }
    }

    /// The same user with another role.
    pub fn with_role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same user with a name for people.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }
}

/// A stored user. The password hash is never in it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// E-mail address, normalised.
    pub email: String,
    /// For people.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// Whether the user may log in and act.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A change to a user; absent fields stay.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UserUpdate {
    /// A new name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A new role; ends the user's sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// `false` stops the user and its executions at their next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// A new password; ends the user's sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// One line of the audit trail.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditRecord {
    /// Its place in the chain, from 1.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who: `root`, `user:7`, `engine`; `anonymous` for a failed login.
    pub principal: String,
    /// How the principal came in: `password`, `execution`; for the host its reason.
    pub via: String,
    /// What was done, `noun.verb`.
    pub action: String,
    /// To what: `agent:12`.
    pub object: String,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Hash of the object before, where it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Hash of the object after, where it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Further values, never content.
    pub details: serde_json::Value,
    /// The host's own number of the request in which it was done: see `Session::with_request_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Whether its words were redacted: how the principal came in, the further values and the request's number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

/// What a redaction of the trail came to.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditRedaction {
    /// How many lines were redacted.
    pub redacted: u64,
    /// Lines from before words could be redacted, which only a seal and its pruning take away.
    pub kept: u64,
}

/// How the trail is written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditFormat {
    /// A JSON object on each line.
    #[default]
    Jsonl,
    /// Comma-separated values, the first line with their names. A cell that a spreadsheet would take for
    /// a formula has an apostrophe in front.
    Csv,
}

/// A part of the trail, written out.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditExport {
    /// The lines.
    pub text: String,
    /// How many records they hold.
    pub records: u64,
    /// Where the next part begins; absent where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl AuditExport {
    pub(crate) fn new(text: String, records: u64, next_cursor: Option<String>) -> Self {
        Self { text, records, next_cursor }
    }
}

/// Lines of the trail that were sealed and pruned: the chain goes on behind them.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditSegment {
    /// The first line.
    pub first_seq: i64,
    /// The last line.
    pub last_seq: i64,
    /// The last line as `seq:hash`, to keep with what was exported.
    pub head: String,
    /// When it was sealed.
    pub sealed_at: Timestamp,
}

impl AuditSegment {
    pub(crate) fn new(first_seq: i64, last_seq: i64, head: String, sealed_at: Timestamp) -> Self {
        Self { first_seq, last_seq, head, sealed_at }
    }
}

/// How an audited action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// Done.
    Ok,
    /// Refused.
    Denied,
    /// Tried and failed.
    Failed,
}

impl AuditOutcome {
    /// The outcome as JSON and the database show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    /// The outcome of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ok, Self::Denied, Self::Failed].into_iter().find(|outcome| outcome.name() == name)
    }
}

/// What a check of the audit chain found.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditCheck {
    /// How many records were read.
    pub records: u64,
    /// The first record that is not what was written; `None` where all are.
    pub first_bad: Option<i64>,
    /// The newest record as `seq:hash`, to keep elsewhere: only with it is a cut tail seen.
    pub head: String,
}
