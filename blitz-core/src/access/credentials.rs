//! How a user gets and changes a password: the first admin, one's own, a forgotten one, an imported one.

use std::time::Duration;

use serde_json::json;

use super::caller::Caller;
use super::gate::{Gate, Target};
use super::legacy::LegacyHash;
use super::password::check_new;
use super::token;
use super::users;
use crate::audit::{Actor, AuditLine};
use crate::domain::{
    AuditOutcome, ImportedUser, NewUser, PasswordReset, Permission, Role, Secret, Timestamp, User, UserId,
};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::access::{self, UserRow};

/// How long a token for a new password is good.
const RESET_LIFE: Duration = Duration::from_secs(3600);

impl Gate {
    /// The user that the caller is. Errors: `NotFound` for the host itself.
    pub(crate) async fn me(&self, caller: &Caller) -> Result<User> {
        self.read(caller, None, Target::None, |tx, grant| {
            let id = grant.user_id().ok_or_else(|| Error::not_found("the host is no user"))?;
            Ok(users::found(tx, id)?.user)
        })
        .await
    }

    /// Makes the first admin, where there is none. Errors: `Conflict` where there is one.
    pub(crate) async fn bootstrap(&self, caller: &Caller, new: NewUser) -> Result<User> {
        let probe = |tx: &mut dyn Connection| match access::another_admin(tx, UserId(0))? {
            true => Err(Error::conflict("there is an admin already: ask them for an account")),
            false => Ok(()),
        };
        self.read(caller, Permission::UsersManage, Target::None, move |tx, grant| {
            grant.require_host("only the host makes the first admin")?;
            probe(tx)
        })
        .await?;
        let new = new.with_role(Role::Admin);
        let (email, name) = (users::normalise(&new.email)?, users::checked_name(&new.name)?);
        let hash = self.passwords.hash(&new.password).await?;
        self.write(caller, Permission::UsersManage, Target::None, "users.bootstrap", move |tx, grant| {
            grant.require_host("only the host makes the first admin")?;
            probe(tx)?;
            users::create(tx, grant, &email, &name, &Role::Admin, &hash)
        })
        .await
    }

    /// Adds a user whose password hash comes from another program; the first login makes it one of ours.
    ///
    /// Errors: `InvalidInput` for a hash of another kind than werkzeug's `scrypt` and `pbkdf2`.
    pub(crate) async fn import_user(&self, caller: &Caller, new: ImportedUser) -> Result<User> {
        let (email, name) = (users::normalise(&new.email)?, users::checked_name(&new.name)?);
        if LegacyHash::parse(new.password_hash.expose()).is_none() {
            return Err(Error::invalid(
                "this is no password hash of the kinds scrypt:N:r:p or pbkdf2:digest:iterations",
            ));
        }
        self.write(caller, Permission::UsersManage, Target::None, "users.import", move |tx, grant| {
            users::create(tx, grant, &email, &name, &new.role, &new.password_hash)
        })
        .await
    }

    /// Changes the caller's own password, which ends all its sessions. Guesses of the old one are held
    /// back as at a login.
    ///
    /// The account is judged as it is behind the comparison, so that guesses made at the same time are held
    /// back like others.
    pub(crate) async fn change_password(&self, caller: &Caller, old: Secret, new: Secret) -> Result<()> {
        let parts = self.parts.clone();
        let (row, stored) = self
            .read(caller, None, Target::None, move |tx, grant| {
                let id = grant.user_id().ok_or_else(|| Error::invalid("the host has no password"))?;
                if grant.principal().key_id().is_some() {
                    return Err(grant.refuse(Error::denied("a password is changed by a login, not by an API key")));
                }
                Ok((users::found(tx, id)?, users::password_hash(tx, &parts.keys, id)?))
            })
            .await?;
        let id = row.user.id;
        // Said in front of the comparison, so that it tells nothing of it.
        check_new(&new)?;
        let refused = || Error::denied("the old password is wrong, or there were too many attempts: check it or wait");
        let matches = self.passwords.compare(&old, stored).await?.matches;
        let now = Timestamp::now();
        let held = move |row: &UserRow| row.locked_until.is_some_and(|until| until > now);
        if !matches {
            let parts = self.parts.clone();
            let label = format!("user:{id}");
            let failed = self.parts.store.write(move |tx| {
                let Some(row) = access::user(tx, id)?.filter(|row| !held(row)) else { return Ok(()) };
                let failed = row.failed_logins.saturating_add(1);
                access::set_failures(tx, id, failed, super::login::hold(failed).map(|time| now.plus(time)))?;
                let actor = Actor { principal: &label, via: "password" };
                let line = AuditLine::ok("users.change_password", &label);
                parts.audit.append(tx, now, actor, &line.with_outcome(AuditOutcome::Denied))
            });
            failed.await?;
            return Err(refused());
        }
        if self.parts.store.read(move |tx| access::user(tx, id)).await?.is_none_or(|row| held(&row)) {
            return Err(refused());
        }
        let hash = self.passwords.hash(&new).await?;
        let version = row.session_version;
        self.write(caller, None, Target::None, "users.change_password", move |tx, grant| {
            let row = users::found(tx, id)?;
            if held(&row) {
                return Err(grant.refuse(refused()));
            }
            if row.session_version != version {
                return Err(Error::conflict("the password or the role was changed meanwhile: log in again"));
            }
            users::give_password(tx, grant.keys(), row, &hash, grant.now())?;
            grant.audit(tx, &format!("user:{id}"), None, None, json!({"password": true}))
        })
        .await
    }

    /// A token with which a user sets a new password. The host sends it to them.
    pub(crate) async fn reset_password(&self, caller: &Caller, id: UserId) -> Result<PasswordReset> {
        self.write(caller, Permission::UsersManage, Target::User(id), "users.reset_password", move |tx, grant| {
            let row = users::found(tx, id)?;
            users::may_rule(tx, grant, &row.user)?;
            let token = token::new(token::RESET);
            let hash = token::hash(token::RESET, &token).ok_or_else(|| Error::internal("a new token is none"))?;
            let end = grant.now().plus(RESET_LIFE);
            access::insert_reset(tx, hash, id, row.session_version, grant.now(), end)?;
            grant.audit(tx, &format!("user:{id}"), None, None, json!({"expires_at": end}))?;
            Ok(PasswordReset::new(token, end))
        })
        .await
    }

    /// Sets a new password by a token, which is used up; ends all sessions of the user.
    ///
    /// Errors: `Unauthenticated` for a token that is not good, or not any more.
    pub(crate) async fn set_password(&self, given: &Secret, new: &Secret) -> Result<()> {
        let now = Timestamp::now();
        let wrong = || Error::unauthenticated("this token for a new password is not good any more: ask for another");
        let Some(hash) = token::hash(token::RESET, given.expose()) else { return Err(wrong()) };
        let good = move |tx: &mut dyn Connection, hash: &[u8]| {
            let Some((id, version, end)) = access::reset(tx, hash.to_vec())? else { return Ok(None) };
            let row = access::user(tx, id)?;
            Ok::<_, Error>(row.filter(|row| now < end && row.session_version == version && row.user.active))
        };
        let known = hash.clone();
        if self.parts.store.read(move |tx| good(tx, &known)).await?.is_none() {
            self.parts.note_failed("session.set_password", "reset", now).await;
            return Err(wrong());
        }
        let password = self.passwords.hash(new).await?;
        let parts = self.parts.clone();
        let set = self.parts.store.write(move |tx| {
            let Some(row) = good(tx, &hash)? else { return Ok(false) };
            let label = format!("user:{}", row.user.id);
            users::give_password(tx, &parts.keys, row, &password, now)?;
            let actor = Actor { principal: &label, via: "reset" };
            parts.audit.append(tx, now, actor, &AuditLine::ok("users.set_password", &label))?;
            Ok(true)
        });
        if set.await? { Ok(()) } else { Err(wrong()) }
    }
}
