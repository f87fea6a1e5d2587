//! Permissions: the closed list of everything that can be allowed, and how far each reaches.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::access::{Role, ShareLevel};
use crate::error::{Error, Result};

/// How far a permission reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Not at all.
    None,
    /// One's own, and what is shared as far as its share goes.
    Own,
    /// Everybody's.
    All,
}

macro_rules! permissions {
    ($($name:ident = $text:literal, $whose:ident, $business:ident;)*) => {
        /// Everything that can be allowed: a closed list, `noun:verb`.
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Permission { $(#[doc = concat!("`", $text, "`")] $name,)* }

        impl Permission {
            /// Every permission.
            pub const ALL: &'static [Permission] = &[$(Permission::$name,)*];

            /// The permission as text.
            pub fn name(self) -> &'static str { match self { $(Permission::$name => $text,)* } }

            /// Whether what it is about has owners, so that it may reach one's own or everybody's.
            pub fn has_owners(self) -> bool { match self { $(Permission::$name => permissions!(@$whose),)* } }

            /// How far a business user reaches with it.
            const fn of_business_user(self) -> Reach { match self { $(Permission::$name => Reach::$business,)* } }
        }
    };
    (@owned) => { true };
    (@common) => { false };
}

// The last column is what a business user may.
permissions! {
    ModelsRead = "models:read", owned, Own;
    ModelsUse = "models:use", owned, Own;
    ModelsCreate = "models:create", owned, None;
    ModelsManage = "models:manage", owned, None;
    SecretsSet = "secrets:set", owned, None;
    SecretsUse = "secrets:use", common, None;
    PromptsRead = "prompts:read", owned, Own;
    PromptsCreate = "prompts:create", owned, Own;
    PromptsEdit = "prompts:edit", owned, Own;
    PromptsPublish = "prompts:publish", owned, None;
    PromptsDelete = "prompts:delete", owned, Own;
    ToolsRead = "tools:read", owned, Own;
    ToolsUse = "tools:use", owned, Own;
    ToolsCreate = "tools:create", owned, None;
    ToolsEdit = "tools:edit", owned, None;
    ToolsApprove = "tools:approve", owned, None;
    ToolsDelete = "tools:delete", owned, None;
    AgentsRead = "agents:read", owned, Own;
    AgentsRun = "agents:run", owned, Own;
    AgentsCreate = "agents:create", owned, Own;
    AgentsEdit = "agents:edit", owned, Own;
    AgentsDelete = "agents:delete", owned, Own;
    WorkflowsRead = "workflows:read", owned, Own;
    WorkflowsRun = "workflows:run", owned, Own;
    WorkflowsCreate = "workflows:create", owned, Own;
    WorkflowsEdit = "workflows:edit", owned, Own;
    WorkflowsPublish = "workflows:publish", owned, None;
    WorkflowsDelete = "workflows:delete", owned, Own;
    ExecutionsRead = "executions:read", owned, Own;
    ExecutionsCancel = "executions:cancel", owned, Own;
    ExecutionsApprove = "executions:approve", owned, Own;
    ExecutionsDecide = "executions:decide", owned, Own;
    ExecutionsRecover = "executions:recover", owned, None;
    ConversationsRead = "conversations:read", owned, Own;
    ConversationsEdit = "conversations:edit", owned, Own;
    FilesRead = "files:read", owned, Own;
    FilesWrite = "files:write", owned, Own;
    SchedulesManage = "schedules:manage", common, None;
    WebhooksManage = "webhooks:manage", common, None;
    ConnectionsManage = "connections:manage", common, None;
    CostsRead = "costs:read", owned, Own;
    CostsExport = "costs:export", owned, Own;
    BudgetsRead = "budgets:read", common, None;
    BudgetsManage = "budgets:manage", common, None;
    PricesManage = "prices:manage", common, None;
    QuotasManage = "quotas:manage", common, None;
    UsersRead = "users:read", common, None;
    UsersManage = "users:manage", common, None;
    RolesManage = "roles:manage", common, None;
    KeysManage = "keys:manage", owned, Own;
    AuditRead = "audit:read", common, None;
    AuditVerify = "audit:verify", common, None;
    AuditExport = "audit:export", common, None;
    SqlExecute = "sql:execute", common, None;
    SystemConfig = "system:config", common, None;
    SystemBackup = "system:backup", common, None;
}

impl Permission {
    /// The permission of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|permission| permission.name() == name)
    }

    /// How far one of the two built-in roles reaches with it; of a role of the host's own it knows nothing.
    pub fn reach(self, role: &Role) -> Reach {
        role.powers().map_or(Reach::None, |powers| powers.reach(self))
    }

    /// The level a share must have for this permission on somebody else's resource.
    pub(crate) fn level(self) -> ShareLevel {
        match self {
            Self::ModelsUse | Self::ToolsUse | Self::AgentsRun | Self::WorkflowsRun => ShareLevel::Use,
            Self::SecretsSet
            | Self::PromptsEdit
            | Self::ToolsEdit
            | Self::AgentsEdit
            | Self::WorkflowsEdit
            | Self::ConversationsEdit
            | Self::FilesWrite => ShareLevel::Edit,
            Self::ModelsManage
            | Self::PromptsPublish
            | Self::PromptsDelete
            | Self::ToolsApprove
            | Self::ToolsDelete
            | Self::AgentsDelete
            | Self::WorkflowsPublish
            | Self::WorkflowsDelete => ShareLevel::Manage,
            _ => ShareLevel::View,
        }
    }

    fn bit(self) -> u128 {
        1 << (self as u32)
    }
}

/// What somebody may do: for each permission how far it reaches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Powers {
    own: u128,
    all: u128,
}

impl Powers {
    /// Everything: the host and admins.
    pub(crate) fn everything() -> Self {
        let bits = Permission::ALL.iter().fold(0, |bits, permission| bits | permission.bit());
        Self { own: bits, all: bits }
    }

    /// What a business user may.
    pub(crate) fn of_business_user() -> Self {
        Permission::ALL
            .iter()
            .fold(Self::default(), |powers, permission| powers.with(*permission, permission.of_business_user()))
    }

    /// The powers that scopes give.
    pub(crate) fn of(scopes: &[Scope]) -> Self {
        scopes.iter().fold(Self::default(), |powers, scope| powers.with(scope.permission, scope.reach))
    }

    fn with(self, permission: Permission, reach: Reach) -> Self {
        let bit = permission.bit();
        match reach {
            Reach::None => self,
            Reach::Own => Self { own: self.own | bit, ..self },
            Reach::All => Self { own: self.own | bit, all: self.all | bit },
        }
    }

    /// How far a permission reaches.
    pub(crate) fn reach(self, permission: Permission) -> Reach {
        let bit = permission.bit();
        match (self.own & bit != 0, self.all & bit != 0) {
            (_, true) => Reach::All,
            (true, false) => Reach::Own,
            (false, false) => Reach::None,
        }
    }

    /// What both allow.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { own: self.own & other.own, all: self.all & other.all }
    }

    /// Whether these hold all of the others.
    pub(crate) fn hold(self, others: Self) -> bool {
        self.and(others) == others
    }

    /// A permission of the others that these lack, to be named in an error.
    pub(crate) fn lacking(self, others: Self) -> Option<Scope> {
        Permission::ALL.iter().find_map(|permission| {
            let reach = others.reach(*permission);
            (reach > self.reach(*permission)).then(|| Scope::new(*permission, reach))
        })
    }
}

impl std::fmt::Debug for Powers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scopes = Permission::ALL.iter().filter_map(|permission| match self.reach(*permission) {
            Reach::None => None,
            reach => Some(Scope::new(*permission, reach)),
        });
        f.debug_list().entries(scopes).finish()
    }
}

/// A permission and how far it reaches, as roles and API keys list them: `agents:run` reaches one's own
/// and what is shared, `agents:run:all` everybody's. What has no owners (`budgets:read`) has one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    permission: Permission,
    reach: Reach,
}

impl Scope {
    fn new(permission: Permission, reach: Reach) -> Self {
        Self { permission, reach: if permission.has_owners() { reach } else { Reach::All } }
    }

    /// A permission over one's own and what is shared.
    pub fn own(permission: Permission) -> Self {
        Self::new(permission, Reach::Own)
    }

    /// A permission over everybody's.
    pub fn all(permission: Permission) -> Self {
        Self::new(permission, Reach::All)
    }

    /// Reads a scope. Errors: `InvalidInput` for a text that is none.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("a scope is a permission such as agents:run, with :all for everybody's");
        if let Some(permission) = Permission::from_name(text) {
            return Ok(Self::own(permission));
        }
        let permission = text.strip_suffix(":all").and_then(Permission::from_name);
        permission.filter(|permission| permission.has_owners()).map(Self::all).ok_or_else(wrong)
    }

    /// What it allows.
    pub fn permission(self) -> Permission {
        self.permission
    }

    /// How far.
    pub fn reach(self) -> Reach {
        self.reach
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.permission.name())?;
        if self.permission.has_owners() && self.reach == Reach::All { f.write_str(":all") } else { Ok(()) }
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Scope {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scope".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A permission such as `agents:run`; with `:all` it reaches everybody's.",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_reads_back_as_it_is_written() {
        for permission in Permission::ALL {
            for scope in [Scope::own(*permission), Scope::all(*permission)] {
                assert_eq!(Scope::parse(&scope.to_string()).unwrap(), scope);
            }
        }
        for wrong in ["", "agents", "agents:run:own", "agents:run:all:all", "budgets:read:all", "AGENTS:RUN", "*"] {
            assert!(Scope::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn powers_are_an_intersection_and_a_subset() {
        let all = Powers::everything();
        let business = Powers::of_business_user();
        let run = Powers::of(&[Scope::own(Permission::AgentsRun)]);
        assert!(all.hold(business) && business.hold(run) && !run.hold(business));
        assert_eq!(business.and(Powers::of(&[Scope::all(Permission::AgentsRun)])), run, "a key adds nothing to a role");
        assert_eq!(business.lacking(all).map(|scope| scope.to_string()), Some("models:read:all".to_owned()));
        assert_eq!(all.lacking(business), None);
        assert_eq!(run.reach(Permission::AgentsEdit), Reach::None);
    }

    #[test]
    fn every_permission_has_a_bit_of_its_own() {
        assert!(Permission::ALL.len() < 128);
        let all = Powers::everything();
        assert_eq!(all.own.count_ones() as usize, Permission::ALL.len());
    }
}
