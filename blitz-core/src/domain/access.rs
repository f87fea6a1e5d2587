//! Users, roles, permissions and the principal that every call is made by.

use serde::{Deserialize, Serialize};

use super::id::UserId;
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

/// A role's name. `admin` may do everything, `business_user` uses what is shared and owns drafts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Everything.
    Admin,
    /// Uses what is shared, owns drafts, sees its own executions and costs.
    #[default]
    BusinessUser,
}

macro_rules! permissions {
    ($($name:ident = $text:literal, $business:expr;)*) => {
        /// Everything that can be allowed: a closed list, `noun:verb`.
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Permission { $(#[doc = concat!("`", $text, "`")] $name,)* }

        impl Permission {
            /// Every permission.
            pub const ALL: &'static [Permission] = &[$(Permission::$name,)*];

            /// The permission as text.
            pub fn name(self) -> &'static str { match self { $(Permission::$name => $text,)* } }

            /// How far a role reaches with it.
            pub fn reach(self, role: Role) -> Reach {
                match role {
                    Role::Admin => Reach::All,
                    Role::BusinessUser => match self { $(Permission::$name => $business,)* },
                }
            }
        }
    };
}

/// How far a permission reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Not at all.
    None,
    /// One's own, and what is shared as far as its share goes.
    Own,
    /// Everybody's.
    All,
}

permissions! {
    ModelsRead = "models:read", Reach::Own;
    ModelsUse = "models:use", Reach::Own;
    ModelsCreate = "models:create", Reach::None;
    ModelsManage = "models:manage", Reach::None;
    SecretsSet = "secrets:set", Reach::None;
    PromptsRead = "prompts:read", Reach::Own;
    PromptsCreate = "prompts:create", Reach::Own;
    PromptsEdit = "prompts:edit", Reach::Own;
    PromptsDelete = "prompts:delete", Reach::Own;
    ToolsRead = "tools:read", Reach::Own;
    ToolsUse = "tools:use", Reach::Own;
    ToolsCreate = "tools:create", Reach::None;
    ToolsEdit = "tools:edit", Reach::None;
    ToolsDelete = "tools:delete", Reach::None;
    ConnectionsManage = "connections:manage", Reach::None;
    AgentsRead = "agents:read", Reach::Own;
    AgentsRun = "agents:run", Reach::Own;
    AgentsCreate = "agents:create", Reach::Own;
    AgentsEdit = "agents:edit", Reach::Own;
    AgentsDelete = "agents:delete", Reach::Own;
    WorkflowsRead = "workflows:read", Reach::Own;
    WorkflowsRun = "workflows:run", Reach::Own;
    WorkflowsCreate = "workflows:create", Reach::Own;
    WorkflowsEdit = "workflows:edit", Reach::Own;
    WorkflowsPublish = "workflows:publish", Reach::Own;
    WorkflowsDelete = "workflows:delete", Reach::Own;
    ExecutionsRead = "executions:read", Reach::Own;
    ExecutionsCancel = "executions:cancel", Reach::Own;
    ExecutionsDecide = "executions:decide", Reach::Own;
    ExecutionsRecover = "executions:recover", Reach::None;
    CostsRead = "costs:read", Reach::Own;
    BudgetsRead = "budgets:read", Reach::None;
    BudgetsManage = "budgets:manage", Reach::None;
    PricesManage = "prices:manage", Reach::None;
    UsersRead = "users:read", Reach::None;
    UsersManage = "users:manage", Reach::None;
    AuditRead = "audit:read", Reach::None;
    AuditVerify = "audit:verify", Reach::None;
}

impl Permission {
    /// The level a share must have for this permission on somebody else's resource.
    pub(crate) fn level(self) -> ShareLevel {
        match self {
            Self::ModelsUse | Self::ToolsUse | Self::AgentsRun | Self::WorkflowsRun => ShareLevel::Use,
            // Who may change an agent changes what everybody runs; so does who publishes a workflow.
            Self::SecretsSet
            | Self::PromptsEdit
            | Self::ToolsEdit
            | Self::AgentsEdit
            | Self::WorkflowsEdit
            | Self::WorkflowsPublish => ShareLevel::Edit,
            Self::ModelsManage
            | Self::PromptsDelete
            | Self::ToolsDelete
            | Self::AgentsDelete
            | Self::WorkflowsDelete => ShareLevel::Manage,
            _ => ShareLevel::View,
        }
    }
}

impl Role {
    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::BusinessUser => "business_user",
        }
    }

    /// The role of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Admin, Self::BusinessUser].into_iter().find(|role| role.name() == name)
    }
}

/// Who a session speaks for. Stored with each execution, without any token or password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
}

impl NewUser {
    /// A business user with this address and password.
    pub fn new(email: impl Into<String>, password: &str) -> Self {
        Self { email: email.into(), password: Secret::new(password), name: String::new(), role: Role::BusinessUser }
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
