//! What every catalogue record carries beside its own fields, and pages of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::{ShareLevel, Visibility};
use super::agent::NewAgent;
use super::id::{ResourceId, UserId};
use super::model::NewModel;
use super::prompt::NewPrompt;
use super::time::Timestamp;
use super::tool::NewTool;

/// The nouns of the catalogue.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// A model of a provider.
    Model,
    /// A prompt with its versions.
    Prompt,
    /// A tool.
    Tool,
    /// An agent.
    Agent,
}

impl ResourceKind {
    /// The noun, singular.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Prompt => "prompt",
            Self::Tool => "tool",
            Self::Agent => "agent",
        }
    }

    /// The namespace in which names are unique: agents share theirs with workflows.
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Agent => "runnable",
            other => other.name(),
        }
    }
}

/// A stored catalogue record: the fields it was put with, and who, when and which revision.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Record<S> {
    /// Its id.
    pub id: ResourceId,
    /// Who owns it; absent where the host itself does.
    pub owner_id: Option<UserId>,
    /// Who may see it.
    pub visibility: Visibility,
    /// Counts its changes from 1; for a prompt this is its newest version.
    pub revision: u32,
    /// Hash of its content.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The fields it was put with.
    #[serde(flatten)]
    pub spec: S,
}

/// A stored model. Its key is never in it.
pub type ModelRecord = Record<NewModel>;
/// A stored prompt at its newest version.
pub type PromptRecord = Record<NewPrompt>;
/// A stored tool.
pub type ToolRecord = Record<NewTool>;
/// A stored agent.
pub type AgentRecord = Record<NewAgent>;

/// One immutable version of a prompt.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PromptVersion {
    /// Its number, from 1.
    pub version: u32,
    /// Hash of its content.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub spec: NewPrompt,
}

/// A resource by its id, its name or `owner/name`. In JSON a number or a string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum ResourceRef {
    /// By id.
    Id(i64),
    /// By name: the caller's own, then the shared one; or `owner@example.com/name`.
    Name(String),
}

impl From<&str> for ResourceRef {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}
impl From<String> for ResourceRef {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}
impl From<&String> for ResourceRef {
    fn from(name: &String) -> Self {
        Self::Name(name.clone())
    }
}
impl From<ResourceId> for ResourceRef {
    fn from(id: ResourceId) -> Self {
        Self::Id(id.0)
    }
}

/// Which part of a list is wanted.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListOptions {
    /// At most this many; 1 to 1,000, more is held at 1,000.
    pub limit: u32,
    /// Where the page before ended: its `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl ListOptions {
    /// The largest page.
    pub const MAX_LIMIT: u32 = 1000;

    /// A page of at most `limit` records.
    pub fn limit(limit: u32) -> Self {
        Self { limit, cursor: None }
    }

    /// The page behind a cursor.
    pub fn after(self, cursor: impl Into<String>) -> Self {
        Self { cursor: Some(cursor.into()), ..self }
    }
}

impl Default for ListOptions {
    fn default() -> Self {
        Self { limit: 100, cursor: None }
    }
}

/// A page of records, in order of id.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Page<T> {
    /// The records.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    pub(crate) fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next_cursor: self.next_cursor }
    }

    pub(crate) fn new(items: Vec<T>, next_cursor: Option<String>) -> Self {
        Self { items, next_cursor }
    }
}

/// To open a resource to a user or a role.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The user's e-mail address or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Or everybody with this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What they may do with it.
    pub level: ShareLevel,
}

impl Share {
    /// Opens it to one user.
    pub fn with_user(email: impl Into<String>, level: ShareLevel) -> Self {
        Self { user: Some(email.into()), role: None, level }
    }

    /// Opens it to everybody with a role.
    pub fn with_role(role: impl Into<String>, level: ShareLevel) -> Self {
        Self { user: None, role: Some(role.into()), level }
    }
}

/// A JSON merge patch (RFC 7396) of a record's own fields.
pub type Patch = serde_json::Map<String, Value>;
