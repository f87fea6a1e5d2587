//! API keys: made, listed, rotated, taken back, and used to come in.

use std::time::Duration;

use serde_json::json;

use super::caller::{Caller, TOUCH};
use super::gate::{Gate, Grant, Target};
use super::policy::Way;
use super::token;
use crate::domain::{
    IssuedKey, KeyId, KeyRecord, ListOptions, NewKey, Page, Permission, Powers, Principal, Reach, Scope, Secret,
    Timestamp, UserId,
};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::access::{self, KeyDraft, KeyRow, UserStanding};

/// The longest time that a key goes on beside its successor.
const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest name of a key in characters.
const MAX_NAME: usize = 200;

impl Gate {
    /// A session by an API key.
    ///
    /// Errors: `Unauthenticated`, whatever the reason.
    pub(crate) async fn api_key(&self, key: &Secret) -> Result<Caller> {
        let now = Timestamp::now();
        let (parts, given) = (self.parts.clone(), key.clone());
        let found = self.parts.store.read(move |tx| {
            let row = match token::public_part(&given) {
                Some(public) => access::key_by_public(tx, public)?,
                None => None,
            };
            let matches = token::matches(parts.keys.api_keys(), &given, row.as_ref().map(|row| row.mac.as_slice()));
            let Some(row) = row.filter(|row| matches && is_live(row, now)) else { return Ok(None) };
            let user = access::standing(tx, row.record.user_id)?.filter(|user| user.active);
            Ok(user.map(|user| (row, user)))
        });
        let Some((row, user)) = found.await? else {
            self.parts.note_failed("session.api_key", "api_key", now).await;
            return Err(Error::unauthenticated("this is no API key of this engine, or it has ended: use another"));
        };
        let (id, record) = (row.record.id, row.record);
        if record.used_at.is_none_or(|used| now >= used.plus(TOUCH)) {
            self.parts.store.write(move |tx| access::key_used(tx, id, now)).await?;
        }
        let principal = Principal::User { id: record.user_id, session_version: user.session_version, key_id: Some(id) };
        Ok(Caller::new(principal, &format!("key:{id}"), Way::Key))
    }

    /// Makes a key and shows it, once.
    ///
    /// Errors: `PermissionDenied` for more than the owner or the caller may.
    pub(crate) async fn create_key(&self, caller: &Caller, new: NewKey) -> Result<IssuedKey> {
        let name = checked_name(&new.name)?;
        self.write(caller, Permission::KeysManage, Target::None, "keys.create", move |tx, grant| {
            let owner = new.user_id.or(grant.user_id()).ok_or_else(|| {
                Error::invalid("the host has no keys of its own: say by user_id whose key it is to be")
            })?;
            let user = owner_of(tx, grant, owner)?;
            if new.expires_at.is_some_and(|end| end <= grant.now()) {
                return Err(Error::invalid("a key ends in the future, or never"));
            }
            let scopes = new.scopes.as_deref();
            may_carry(tx, grant, &user, scopes)?;
            issue(tx, grant, owner, &name, scopes, new.expires_at)
        })
        .await
    }

    /// One key.
    pub(crate) async fn key(&self, caller: &Caller, id: KeyId) -> Result<KeyRecord> {
        self.read(caller, Permission::KeysManage, Target::None, move |tx, grant| Ok(found(tx, grant, id)?.record)).await
    }

    /// A page of keys: the caller's own, or everybody's.
    pub(crate) async fn keys(
        &self,
        caller: &Caller,
        user: Option<UserId>,
        options: ListOptions,
    ) -> Result<Page<KeyRecord>> {
        self.read(caller, Permission::KeysManage, Target::None, move |tx, grant| {
            access::keys(tx, grant.whose(user)?, &options)
        })
        .await
    }

    /// Takes a key back: it ends at once, and so do executions that run by it at their next step.
    pub(crate) async fn revoke_key(&self, caller: &Caller, id: KeyId) -> Result<()> {
        self.write(caller, Permission::KeysManage, Target::None, "keys.revoke", move |tx, grant| {
            let before = found(tx, grant, id)?.record;
            access::revoke_key(tx, id, grant.now())?;
            let (after, details) = (found(tx, grant, id)?.record, json!({"user": before.user_id}));
            grant.audit_change_with(tx, &format!("key:{id}"), Some(&before), Some(&after), details)
        })
        .await
    }

    /// Makes a key that takes another's place; the old one goes on for the overlap.
    ///
    /// Errors: `Conflict` for a key that has ended or has a successor.
    pub(crate) async fn rotate_key(
        &self,
        caller: &Caller,
        id: KeyId,
        overlap: Duration,
        expires_at: Option<Timestamp>,
    ) -> Result<IssuedKey> {
        if overlap > MAX_OVERLAP {
            return Err(Error::invalid("a key goes on beside its successor for at most 30 days"));
        }
        self.write(caller, Permission::KeysManage, Target::None, "keys.rotate", move |tx, grant| {
            let old = found(tx, grant, id)?;
            if !is_live(&old, grant.now()) || old.record.replaced_by.is_some() {
                return Err(Error::conflict("this key has ended or has a successor already: make a new one"));
            }
            if expires_at.is_some_and(|end| end <= grant.now()) {
                return Err(Error::invalid("a key ends in the future, or never"));
            }
            let owner = old.record.user_id;
            let user = owner_of(tx, grant, owner)?;
            let scopes = old.record.scopes.as_deref();
            may_carry(tx, grant, &user, scopes)?;
            let issued = issue(tx, grant, owner, &old.record.name, scopes, expires_at.or(old.record.expires_at))?;
            let end = grant.now().plus(overlap);
            let end = old.record.expires_at.map_or(end, |own| own.min(end));
            access::replace_key(tx, id, issued.record.id, end)?;
            Ok(issued)
        })
        .await
    }
}

/// Whether a key opens anything at this time.
fn is_live(row: &KeyRow, now: Timestamp) -> bool {
    row.record.revoked_at.is_none() && row.record.expires_at.is_none_or(|end| now < end)
}

/// A key that the caller may rule over; another's looks like none.
fn found(tx: &mut dyn Connection, grant: &Grant, id: KeyId) -> Result<KeyRow> {
    let row = access::key(tx, id)?;
    let open = |row: &KeyRow| grant.reach() == Reach::All || Some(row.record.user_id) == grant.user_id();
    row.filter(open).ok_or_else(|| Error::not_found("there is no such key, or it is not open to you"))
}

/// The owner of a key to be, if the caller may make keys for it.
fn owner_of(tx: &mut dyn Connection, grant: &Grant, owner: UserId) -> Result<UserStanding> {
    if grant.reach() != Reach::All && Some(owner) != grant.user_id() {
        return Err(grant.refuse(Error::denied("a key for somebody else takes the permission keys:manage:all")));
    }
    access::standing(tx, owner)?
        .filter(|user| user.active)
        .ok_or_else(|| Error::not_found("there is no such user, or it is disabled"))
}

/// Refuses a key that may what its owner or its maker may not.
fn may_carry(tx: &mut dyn Connection, grant: &Grant, user: &UserStanding, scopes: Option<&[Scope]>) -> Result<()> {
    let owner = access::powers(tx, &user.role)?;
    let powers = scopes.map_or(owner, Powers::of);
    if let Some(scope) = owner.lacking(powers) {
        return Err(grant.refuse(Error::denied(format!("the owner of this key does not have {scope} itself"))));
    }
    grant.lends(powers)
}

fn issue(
    tx: &mut dyn Connection,
    grant: &Grant,
    user_id: UserId,
    name: &str,
    scopes: Option<&[Scope]>,
    expires_at: Option<Timestamp>,
) -> Result<IssuedKey> {
    let (public, key) = token::new_key();
    let mac = token::mac(grant.keys().api_keys(), &key);
    let draft = KeyDraft { user_id, name, public: &public, mac: &mac, scopes, expires_at };
    let id = access::insert_key(tx, &draft, grant.now())?;
    let details = json!({"user": user_id, "scopes": scopes, "expires_at": expires_at});
    let row = access::key(tx, id)?.ok_or_else(|| Error::internal("a key that was just made is missing"))?;
    grant.audit_change_with(tx, &format!("key:{id}"), None, Some(&row.record), details)?;
    Ok(IssuedKey::new(key, row.record))
}

fn checked_name(name: &str) -> Result<String> {
    let name = name.trim();
    let ok = name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    ok.then(|| name.to_owned()).ok_or_else(|| {
        Error::invalid(format!("a key's name has at most {MAX_NAME} characters, none of them a control"))
    })
}
