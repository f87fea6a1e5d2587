//! Users and their roles.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, Nothing, method};
use crate::domain::{ImportedUser, ListOptions, NewUser, Page, PasswordReset, Secret, User, UserId, UserUpdate};
use crate::error::Result;

/// The users of the engine, through a session.
pub struct Users {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("users.create", UsersManage, NewUser => User, |s, new| s.users().create(new)),
    method!("users.get", UsersRead, OneUser => User, |s, one| s.users().get(one.id)),
    method!("users.list", UsersRead, ListOptions => Page<User>, |s, options| s.users().list(options)),
    method!("users.update", UsersManage, UpdateUser => User, |s, update| s.users().update(update.id, update.update)),
    method!("users.delete", UsersManage, OneUser => (), |s, one| s.users().delete(one.id)),
    method!("users.me", anyone, Nothing => User, |s, _| s.users().me()),
    method!("users.change_password", anyone, ChangePassword => (), |s, change| async move {
        s.users().change_password(change.old_password, change.new_password).await
    }),
    method!("users.reset_password", UsersManage, OneUser => PasswordReset, |s, one| s.users().reset_password(one.id)),
    method!("users.bootstrap", UsersManage, NewUser => User, |s, new| s.users().bootstrap(new)),
    method!("users.import", UsersManage, ImportedUser => User, |s, new| s.users().import(new)),
];

/// One user.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneUser {
    /// The user's id.
    id: UserId,
}

/// A change to a user.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateUser {
    /// The user's id.
    id: UserId,
    /// What changes.
    update: UserUpdate,
}

/// A new password of one's own.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    /// The password until now.
    old_password: Secret,
    /// The password from now on.
    new_password: Secret,
}

impl Users {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Adds a user. Errors: `Conflict` where the address is taken, `InvalidInput` for a weak password.
    pub async fn create(&self, new: NewUser) -> Result<User> {
        self.session.inner.gate.create_user(&self.session.caller, new).await
    }

    /// One user.
    pub async fn get(&self, id: UserId) -> Result<User> {
        self.session.inner.gate.user(&self.session.caller, id).await
    }

    /// A page of users, in order of id.
    pub async fn list(&self, options: ListOptions) -> Result<Page<User>> {
        self.session.inner.gate.users(&self.session.caller, options).await
    }

    /// Changes a user. A new role, password or a stop ends its sessions.
    ///
    /// Errors: `Conflict` where it would leave no active admin.
    pub async fn update(&self, id: UserId, update: UserUpdate) -> Result<User> {
        self.session.inner.gate.update_user(&self.session.caller, id, update).await
    }

    /// Deletes a user: its sessions and executions stop, its records stay.
    ///
    /// Errors: `Conflict` where it would leave no active admin.
    pub async fn delete(&self, id: UserId) -> Result<()> {
        self.session.inner.gate.delete_user(&self.session.caller, id).await
    }
    /// The user that this session speaks for. Errors: `NotFound` for the host itself.
    pub async fn me(&self) -> Result<User> {
        self.session.inner.gate.me(&self.session.caller).await
    }

    /// Changes the caller's own password, which ends all its logins, this one too.
    ///
    /// Errors: `PermissionDenied` where the old one is wrong, `InvalidInput` for a weak new one.
    pub async fn change_password(&self, old: Secret, new: Secret) -> Result<()> {
        self.session.inner.gate.change_password(&self.session.caller, old, new).await
    }

    /// A token with which the user sets a new password within an hour: [`Engine::set_password`](super::Engine::set_password).
    pub async fn reset_password(&self, id: UserId) -> Result<PasswordReset> {
        self.session.inner.gate.reset_password(&self.session.caller, id).await
    }

    /// Makes the first admin of a new store. For the host alone.
    ///
    /// Errors: `Conflict` where there is an active admin, so it may be called at each start.
    pub async fn bootstrap(&self, new: NewUser) -> Result<User> {
        self.session.inner.gate.bootstrap(&self.session.caller, new).await
    }

    /// Adds a user of another program with its password hash: it logs in with the password it has.
    pub async fn import(&self, new: ImportedUser) -> Result<User> {
        self.session.inner.gate.import_user(&self.session.caller, new).await
    }
}
