//! Roles of the host's own.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use crate::domain::{ListOptions, NewRole, Page, RoleRecord, RoleUpdate};
use crate::error::Result;

/// The roles, through a session: the two built-in ones, and those of the host.
pub struct Roles {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("roles.create", RolesManage, NewRole => RoleRecord, |s, new| s.roles().create(new)),
    method!("roles.get", UsersRead, OneRole => RoleRecord, |s, one| s.roles().get(one.name)),
    method!("roles.list", UsersRead, ListOptions => Page<RoleRecord>, |s, options| s.roles().list(options)),
    method!("roles.update", RolesManage, UpdateRole => RoleRecord, |s, update| async move {
        s.roles().update(update.name, update.update).await
    }),
    method!("roles.delete", RolesManage, OneRole => (), |s, one| s.roles().delete(one.name)),
];

/// One role.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneRole {
    /// The role's name.
    name: String,
}

/// A change to a role.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateRole {
    /// The role's name.
    name: String,
    /// What changes.
    update: RoleUpdate,
}

impl Roles {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Makes a role: a name for a part of what the caller may.
    ///
    /// Errors: `Conflict` where the name is taken; `PermissionDenied` for a permission that the caller lacks.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use blitz::{Engine, NewRole, NewUser, Permission, Role, Scope};
    ///
    /// let engine = Engine::open(":memory:").await?;
    /// let me = engine.root("setup");
    /// let may = [Scope::all(Permission::CostsRead), Scope::own(Permission::BudgetsRead)];
    /// let auditor = me.roles().create(NewRole::new("auditor", may)).await?;
    /// let role = Role::from_name(&auditor.name).expect("a role's name");
    /// me.users().create(NewUser::new("ana@example.com", "a long passphrase").with_role(role)).await?;
    /// # engine.close().await
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn create(&self, new: NewRole) -> Result<RoleRecord> {
        self.session.inner.gate.create_role(&self.session.caller, new).await
    }

    /// One role.
    pub async fn get(&self, name: impl Into<String>) -> Result<RoleRecord> {
        self.session.inner.gate.role(&self.session.caller, name.into()).await
    }

    /// A page of roles; the first one begins with the two built-in ones.
    pub async fn list(&self, options: ListOptions) -> Result<Page<RoleRecord>> {
        self.session.inner.gate.roles(&self.session.caller, options).await
    }

    /// Changes what a role allows: its users may it, or may it not, from their next call on.
    pub async fn update(&self, name: impl Into<String>, update: RoleUpdate) -> Result<RoleRecord> {
        self.session.inner.gate.update_role(&self.session.caller, name.into(), update).await
    }

    /// Deletes a role. Errors: `Conflict` while users have it.
    pub async fn delete(&self, name: impl Into<String>) -> Result<()> {
        self.session.inner.gate.delete_role(&self.session.caller, name.into()).await
    }
}
