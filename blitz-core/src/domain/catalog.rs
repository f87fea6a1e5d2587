//! What every catalogue record carries beside its own fields, and pages of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::{ShareLevel, Visibility};
use super::agent::NewAgent;
use super::header::Headers;
use super::id::{ResourceId, UserId};
use super::model::NewModel;
use super::permission::Permission;
use super::prompt::NewPrompt;
use super::secret::Secret;
use super::time::Timestamp;
use super::tool::NewTool;
use super::workflow::WorkflowDefinition;
use crate::error::{Error, Result};

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
    /// A workflow: a draft and its published versions.
    Workflow,
}

impl ResourceKind {
    /// The noun, singular.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Prompt => "prompt",
            Self::Tool => "tool",
            Self::Agent => "agent",
            Self::Workflow => "workflow",
        }
    }

    /// The namespace in which names are unique: agents share theirs with workflows.
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Agent | Self::Workflow => "runnable",
            other => other.name(),
        }
    }

    /// The noun of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Model, Self::Prompt, Self::Tool, Self::Agent, Self::Workflow]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// The permission that a deed on such a resource needs.
    pub(crate) fn permission(self, deed: Deed) -> Permission {
        match (self, deed) {
            (Self::Model, Deed::Read) => Permission::ModelsRead,
            (Self::Model, Deed::Use) => Permission::ModelsUse,
            (Self::Model, Deed::Create) => Permission::ModelsCreate,
            (Self::Model, Deed::Edit | Deed::Delete | Deed::Share) => Permission::ModelsManage,
            (Self::Prompt, Deed::Read | Deed::Use) => Permission::PromptsRead,
            (Self::Prompt, Deed::Create) => Permission::PromptsCreate,
            (Self::Prompt, Deed::Edit) => Permission::PromptsEdit,
            (Self::Prompt, Deed::Delete | Deed::Share) => Permission::PromptsDelete,
            (Self::Tool, Deed::Read) => Permission::ToolsRead,
            (Self::Tool, Deed::Use) => Permission::ToolsUse,
            (Self::Tool, Deed::Create) => Permission::ToolsCreate,
            (Self::Tool, Deed::Edit) => Permission::ToolsEdit,
            (Self::Tool, Deed::Delete | Deed::Share) => Permission::ToolsDelete,
            (Self::Agent, Deed::Read) => Permission::AgentsRead,
            (Self::Agent, Deed::Use) => Permission::AgentsRun,
            (Self::Agent, Deed::Create) => Permission::AgentsCreate,
            (Self::Agent, Deed::Edit) => Permission::AgentsEdit,
            (Self::Agent, Deed::Delete | Deed::Share) => Permission::AgentsDelete,
            (Self::Workflow, Deed::Read) => Permission::WorkflowsRead,
            (Self::Workflow, Deed::Use) => Permission::WorkflowsRun,
            (Self::Workflow, Deed::Create) => Permission::WorkflowsCreate,
            (Self::Workflow, Deed::Edit) => Permission::WorkflowsEdit,
            (Self::Workflow, Deed::Delete | Deed::Share) => Permission::WorkflowsDelete,
        }
    }
}

/// What is done to a resource. Sharing it on needs what deleting it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// See its fields.
    Read,
    /// Run or use it.
    Use,
    /// Make one.
    Create,
    /// Change it.
    Edit,
    /// Remove it.
    Delete,
    /// Open it to others.
    Share,
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
/// A stored workflow: its draft. Published versions are apart.
pub type WorkflowRecord = Record<WorkflowDefinition>;

/// What the catalogue must know of the fields of each noun to keep them.
pub(crate) trait Spec: Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static {
    /// The noun.
    const KIND: ResourceKind;
    /// Whether its revisions are kept as immutable versions.
    const VERSIONED: bool = false;
    /// The field that is sealed apart and is in no stored body.
    const SECRET: Option<&'static str> = None;

    /// The name it is put under.
    fn name(&self) -> &str;

    /// The secret that came with it.
    fn secret(&self) -> Option<&Secret> {
        None
    }

    /// Headers whose texts are sealed apart.
    fn headers(&self) -> Option<&Headers> {
        None
    }

    /// The names of the secrets that it refers to; whoever puts it must be allowed to use secrets.
    fn secret_names(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Where its secrets are sent. A change of it drops the stored secret, so that nobody can send a
    /// key he cannot read to a host of his own.
    fn secret_target(&self) -> Option<String> {
        None
    }

    /// The other resources it names; whoever puts it must be allowed to use them.
    fn references(&self) -> Vec<Reference<'_>> {
        Vec::new()
    }

    /// What whoever puts it must be allowed to do beside: a tool with a folder or an address of its
    /// own reaches out of the engine.
    fn needs(&self) -> &'static [Permission] {
        &[]
    }
}

/// A resource that another one names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// Its noun.
    pub(crate) kind: ResourceKind,
    /// Its name.
    pub(crate) name: &'a str,
    /// The version, where one is pinned.
    pub(crate) version: Option<u32>,
}

impl Spec for NewModel {
    const KIND: ResourceKind = ResourceKind::Model;
    const SECRET: Option<&'static str> = Some("api_key");

    fn name(&self) -> &str {
        &self.name
    }

    fn secret(&self) -> Option<&Secret> {
        self.api_key.as_ref()
    }

    fn headers(&self) -> Option<&Headers> {
        Some(&self.headers)
    }

    fn secret_names(&self) -> Vec<&str> {
        self.api_key_secret.as_deref().into_iter().chain(self.headers.secret_names()).collect()
    }

    fn secret_target(&self) -> Option<String> {
        let url = self.base_url.as_deref().unwrap_or_default();
        let origin: Vec<&str> = url.splitn(4, '/').take(3).collect();
        Some(format!("{} {}", self.provider, origin.join("/").to_lowercase()))
    }
}

impl Spec for NewPrompt {
    const KIND: ResourceKind = ResourceKind::Prompt;
    const VERSIONED: bool = true;

    fn name(&self) -> &str {
        &self.name
    }
}

impl Spec for NewTool {
    const KIND: ResourceKind = ResourceKind::Tool;

    fn needs(&self) -> &'static [Permission] {
        if self.config.is_empty() { &[] } else { &[Permission::ConnectionsManage] }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn secret_names(&self) -> Vec<&str> {
        self.secrets.values().map(String::as_str).collect()
    }
}

impl Spec for NewAgent {
    const KIND: ResourceKind = ResourceKind::Agent;

    fn name(&self) -> &str {
        &self.name
    }

    fn references(&self) -> Vec<Reference<'_>> {
        let mut all = vec![Reference { kind: ResourceKind::Model, name: &self.model, version: None }];
        all.extend(self.prompt.iter().map(|prompt| Reference {
            kind: ResourceKind::Prompt,
            name: &prompt.name,
            version: prompt.version,
        }));
        all.extend(self.tools.iter().map(|name| Reference { kind: ResourceKind::Tool, name, version: None }));
        // An agent may call itself: it is there as soon as it is put.
        let others = self.agents.iter().filter(|name| **name != self.name);
        all.extend(others.map(|name| Reference { kind: ResourceKind::Agent, name, version: None }));
        all
    }
}

/// A draft may name what is not there yet: what it names is looked for when it is published, and again
/// for the caller of each execution.
impl Spec for WorkflowDefinition {
    const KIND: ResourceKind = ResourceKind::Workflow;

    fn name(&self) -> &str {
        &self.name
    }
}

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum ResourceRef {
    /// By id.
    Id(i64),
    /// By name: the caller's own, then the shared one; or `owner@example.com/name`.
    Name(String),
}

impl<'de> Deserialize<'de> for ResourceRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(IdOrName)
    }
}

/// Reads a [`ResourceRef`]; what is none is told what was expected.
struct IdOrName;

impl serde::de::Visitor<'_> for IdOrName {
    type Value = ResourceRef;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an id, which is a whole number, or a name")
    }

    fn visit_i64<E: serde::de::Error>(self, id: i64) -> std::result::Result<ResourceRef, E> {
        Ok(ResourceRef::Id(id))
    }

    fn visit_u64<E: serde::de::Error>(self, id: u64) -> std::result::Result<ResourceRef, E> {
        let past = || E::invalid_value(serde::de::Unexpected::Unsigned(id), &self);
        i64::try_from(id).map(ResourceRef::Id).map_err(|_| past())
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> std::result::Result<ResourceRef, E> {
        Ok(ResourceRef::Name(name.to_owned()))
    }
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

    /// How many records the page may hold.
    pub(crate) fn size(&self) -> usize {
        self.limit.clamp(1, Self::MAX_LIMIT) as usize
    }

    /// How many rows to ask for: one more than the page holds, to know whether another follows.
    pub(crate) fn rows(&self) -> i64 {
        i64::from(self.limit.clamp(1, Self::MAX_LIMIT)) + 1
    }

    /// The id behind which the page begins; 0 for the first page.
    pub(crate) fn after_id(&self) -> Result<i64> {
        let Some(cursor) = &self.cursor else { return Ok(0) };
        cursor
            .parse()
            .ok()
            .filter(|id| *id >= 0)
            .ok_or_else(|| Error::invalid("the cursor is none of a page: pass the next_cursor of the page before"))
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
    pub(crate) fn new(items: Vec<T>, next_cursor: Option<String>) -> Self {
        Self { items, next_cursor }
    }

    /// The page of what [`ListOptions::rows`] asked for.
    pub(crate) fn cut(mut items: Vec<T>, options: &ListOptions, id: impl Fn(&T) -> i64) -> Self {
        let more = items.len() > options.size();
        items.truncate(options.size());
        let next_cursor = items.last().filter(|_| more).map(|last| id(last).to_string());
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
