//! Users and their roles.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use crate::domain::{ListOptions, NewUser, Page, User, UserId, UserUpdate};
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
}
