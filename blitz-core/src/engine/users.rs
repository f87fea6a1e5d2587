//! Users and their roles.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use crate::access::gate::Target;
use crate::access::users;
use crate::domain::{ListOptions, NewUser, Page, Permission, User, UserId, UserUpdate};
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
        let hash = self.session.inner.gate.hash_password(&new.password).await?;
        self.session
            .write(Permission::UsersManage, Target::None, "users.create", move |tx, grant| users::create(tx, grant, &new, &hash))
            .await
    }

    /// One user.
    pub async fn get(&self, id: UserId) -> Result<User> {
        self.session.read(Permission::UsersRead, Target::User(id), move |tx, grant| users::get(tx, grant, id)).await
    }

    /// A page of users, in order of id.
    pub async fn list(&self, options: ListOptions) -> Result<Page<User>> {
        self.session.read(Permission::UsersRead, Target::None, move |tx, grant| users::list(tx, grant, &options)).await
    }

    /// Changes a user. A new role, password or a stop ends its sessions.
    ///
    /// Errors: `Conflict` where it would leave no active admin.
    pub async fn update(&self, id: UserId, update: UserUpdate) -> Result<User> {
        let hash = match &update.password {
            Some(password) => Some(self.session.inner.gate.hash_password(password).await?),
            None => None,
        };
        self.session
            .write(Permission::UsersManage, Target::User(id), "users.update", move |tx, grant| {
                users::update(tx, grant, id, &update, hash.as_ref())
            })
            .await
    }

    /// Deletes a user: its sessions and executions stop, its records stay.
    ///
    /// Errors: `Conflict` where it would leave no active admin.
    pub async fn delete(&self, id: UserId) -> Result<()> {
        self.session
            .write(Permission::UsersManage, Target::User(id), "users.delete", move |tx, grant| users::delete(tx, grant, id))
            .await
    }
}
