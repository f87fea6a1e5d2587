//! Users: who may log in, and as what.

use serde_json::json;

use super::caller::Caller;
use super::gate::{Gate, Grant, Target};
use crate::domain::{ListOptions, NewUser, Page, Permission, Role, Secret, Timestamp, User, UserId, UserUpdate};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::access::{self, UserRow};
use crate::store::seal::Keys;

/// The longest name of a user in characters.
const MAX_NAME: usize = 200;

impl Gate {
    /// Adds a user.
    ///
    /// Errors: `Conflict` where the address is taken; `InvalidInput` for a bad address or password.
    pub(crate) async fn create_user(&self, caller: &Caller, new: NewUser) -> Result<User> {
        self.read(caller, Permission::UsersManage, Target::None, |_, _| Ok(())).await?;
        let email = normalise(&new.email)?;
        let name = checked_name(&new.name)?;
        let hash = self.passwords.hash(&new.password).await?;
        let role = new.role;
        self.write(caller, Permission::UsersManage, Target::None, "users.create", move |tx, grant| {
            create(tx, grant, &email, &name, &role, &hash)
        })
        .await
    }

    /// A user by id.
    pub(crate) async fn user(&self, caller: &Caller, id: UserId) -> Result<User> {
        self.read(caller, Permission::UsersRead, Target::User(id), move |tx, _| Ok(found(tx, id)?.user)).await
    }

    /// A page of users.
    pub(crate) async fn users(&self, caller: &Caller, options: ListOptions) -> Result<Page<User>> {
        let body = move |tx: &mut dyn Connection, _: &Grant| access::users(tx, &options);
        self.read(caller, Permission::UsersRead, Target::None, body).await
    }

    /// Changes a user. Another role, another password and being disabled end the user's sessions.
    ///
    /// Errors: `Conflict` where no active admin would be left.
    pub(crate) async fn update_user(&self, caller: &Caller, id: UserId, update: UserUpdate) -> Result<User> {
        self.read(caller, Permission::UsersManage, Target::User(id), move |tx, _| found(tx, id).map(drop)).await?;
        let name = update.name.as_deref().map(checked_name).transpose()?;
        let update = UserUpdate { name, ..update };
        let hash = match &update.password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        self.write(caller, Permission::UsersManage, Target::User(id), "users.update", move |tx, grant| {
            apply(tx, grant, id, &update, hash.as_ref())
        })
        .await
    }

    /// Deletes a user: frees the address, ends the sessions, takes back what was shared with it.
    ///
    /// What the user owned stays, for admins. Errors: `Conflict` for the last active admin.
    pub(crate) async fn delete_user(&self, caller: &Caller, id: UserId) -> Result<()> {
        self.write(caller, Permission::UsersManage, Target::User(id), "users.delete", move |tx, grant| {
            let row = found(tx, id)?;
            may_rule(tx, grant, &row.user)?;
            keep_an_admin(tx, &row.user)?;
            access::delete_user(tx, id, grant.now())
        })
        .await
    }
}

fn create(tx: &mut dyn Connection, grant: &Grant, email: &str, name: &str, role: &Role, hash: &Secret) -> Result<User> {
    if access::user_by_email(tx, email)?.is_some() {
        return Err(Error::conflict("there is a user with this e-mail address already"));
    }
    may_give(tx, grant, role)?;
    let id = access::insert_user(tx, email, name, role, grant.now())?;
    set_password_hash(tx, grant.keys(), id, hash, grant.now())?;
    grant.audit(tx, &format!("user:{id}"), None, None, json!({"role": role}))?;
    Ok(found(tx, id)?.user)
}

fn apply(
    tx: &mut dyn Connection,
    grant: &Grant,
    id: UserId,
    update: &UserUpdate,
    hash: Option<&Secret>,
) -> Result<User> {
    let mut row = found(tx, id)?;
    let before = row.user.clone();
    may_rule(tx, grant, &before)?;
    if let Some(role) = &update.role {
        may_give(tx, grant, role)?;
    }
    let user = &mut row.user;
    user.role = update.role.clone().unwrap_or_else(|| user.role.clone());
    user.active = update.active.unwrap_or(user.active);
    user.name = update.name.clone().unwrap_or_else(|| user.name.clone());
    user.updated_at = grant.now();
    if user.role != Role::Admin || !user.active {
        keep_an_admin(tx, &before)?;
    }
    if user.role != before.role || user.active != before.active || hash.is_some() {
        row.session_version += 1;
    }
    if let Some(hash) = hash {
        (row.failed_logins, row.locked_until) = (0, None);
        set_password_hash(tx, grant.keys(), id, hash, grant.now())?;
    }
    access::update_user(tx, &row)?;
    // Of the name and the password only that they were set.
    let details = json!({
        "role": update.role, "active": update.active, "name": update.name.is_some(), "password": hash.is_some(),
    });
    grant.audit(tx, &format!("user:{id}"), None, None, details)?;
    Ok(row.user)
}

/// Refuses to give a role that is not there, or that may what the caller may not.
fn may_give(tx: &mut dyn Connection, grant: &Grant, role: &Role) -> Result<()> {
    if !access::role_exists(tx, role)? {
        return Err(Error::invalid("there is no such role: use admin, business_user or one of your own"));
    }
    let powers = access::powers(tx, role)?;
    grant.lends(powers)
}

/// Refuses to rule over somebody who may more than the caller: a new password would be a way up.
fn may_rule(tx: &mut dyn Connection, grant: &Grant, user: &User) -> Result<()> {
    let powers = access::powers(tx, &user.role)?;
    grant.lends(powers)
}

/// Refuses to take away the last active admin.
fn keep_an_admin(tx: &mut dyn Connection, user: &User) -> Result<()> {
    if user.role == Role::Admin && user.active && !access::another_admin(tx, user.id)? {
        return Err(Error::conflict(
            "the last active admin cannot be demoted, disabled or deleted: make another admin first",
        ));
    }
    Ok(())
}

fn found(tx: &mut dyn Connection, id: UserId) -> Result<UserRow> {
    access::user(tx, id)?.ok_or_else(|| Error::not_found("there is no such user"))
}

/// A user's sealed password hash.
pub(super) fn password_hash(tx: &mut dyn Connection, keys: &Keys, id: UserId) -> Result<Option<Secret>> {
    access::secret(tx, keys, "users", id.0, "password_hash")
}

pub(super) fn set_password_hash(
    tx: &mut dyn Connection,
    keys: &Keys,
    id: UserId,
    hash: &Secret,
    now: Timestamp,
) -> Result<()> {
    access::set_secret(tx, keys, "users", id.0, "password_hash", hash, now)
}

/// An e-mail address in the one form it is stored and compared in.
///
/// Plain ASCII, lower case, no trailing dot: two addresses that look alike are the same or refused.
/// Errors: `InvalidInput`; an international domain is written in its `xn--` form.
pub(super) fn normalise(email: &str) -> Result<String> {
    let wrong = || Error::invalid("this is no plain e-mail address such as ana@example.com");
    let email = email.trim().to_ascii_lowercase();
    let email = email.strip_suffix('.').unwrap_or(&email);
    let (local, domain) = email.rsplit_once('@').ok_or_else(wrong)?;
    let local_ok = (1..=64).contains(&local.len())
        && local.split('.').all(|part| !part.is_empty())
        && local.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".!#$%&'*+-=?^_`{|}~".contains(&byte));
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let ok = local_ok && email.len() <= 254 && domain.split('.').all(label_ok);
    ok.then(|| email.to_owned()).ok_or_else(wrong)
}

fn checked_name(name: &str) -> Result<String> {
    let name = name.trim();
    let ok = name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    ok.then(|| name.to_owned()).ok_or_else(|| {
        Error::invalid(format!("a user's name has at most {MAX_NAME} characters, none of them a control"))
    })
}
