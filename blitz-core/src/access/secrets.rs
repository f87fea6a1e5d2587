//! Secrets with names, and another master key in place of the one before.

use serde_json::json;

use super::caller::Caller;
use super::gate::{Gate, Grant, Target};
use crate::audit::{Actor, AuditLine};
use crate::domain::{ListOptions, Page, Permission, Reach, Secret, SecretName, Timestamp};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::access;
use crate::store::catalog::check_name;
use crate::store::seal::MasterKey;

/// The largest secret in bytes.
const MAX_BYTES: usize = 64 << 10;

/// Values that one transaction seals anew.
const SLICE: u32 = 200;

impl Gate {
    /// Keeps a secret under a name, in place of the one before. Nothing reads it back.
    ///
    /// Errors: `PermissionDenied` for somebody else's, unless the permission reaches everybody's.
    pub(crate) async fn set_named_secret(&self, caller: &Caller, name: String, value: Secret) -> Result<SecretName> {
        check_name(&name)?;
        if value.expose().is_empty() || value.expose().len() > MAX_BYTES {
            return Err(Error::invalid("a secret has 1 to 65,536 bytes"));
        }
        self.write(caller, Permission::SecretsSet, Target::None, "secrets.set", move |tx, grant| {
            let before = access::secret_name(tx, &name)?;
            if let Some(before) = &before {
                may_replace(grant, before)?;
            }
            let keys = grant.keys();
            let set = access::put_named_secret(tx, keys, &name, grant.user_id(), &value, grant.now())?;
            let details = json!({"name": name, "replaced": before.is_some()});
            grant.audit(tx, &format!("secret:{}", set.id), None, None, details)?;
            Ok(set)
        })
        .await
    }

    /// A page of the names of secrets, for those who may refer to them.
    pub(crate) async fn secret_names(&self, caller: &Caller, options: ListOptions) -> Result<Page<SecretName>> {
        let body = move |tx: &mut dyn Connection, _: &Grant| access::secret_names(tx, &options);
        self.read(caller, Permission::SecretsUse, Target::None, body).await
    }

    /// Forgets a secret. What refers to it fails from then on and says why.
    pub(crate) async fn delete_named_secret(&self, caller: &Caller, name: String) -> Result<()> {
        self.write(caller, Permission::SecretsSet, Target::None, "secrets.delete", move |tx, grant| {
            let found = access::secret_name(tx, &name)?.ok_or_else(|| Error::not_found("there is no such secret"))?;
            may_replace(grant, &found)?;
            access::delete_named_secret(tx, found.id)?;
            grant.audit(tx, &format!("secret:{}", found.id), None, None, json!({"name": name}))
        })
        .await
    }

    /// Seals everything under another master key: the host's new one, or a new key in the key file.
    ///
    /// Ended in the middle, it goes on when the engine is opened again, with either key. Errors:
    /// `Conflict` while a change to another key is under way.
    pub(crate) async fn rotate_master_key(&self, caller: &Caller, new: Option<Secret>) -> Result<()> {
        self.begin_master_key(caller, new).await?;
        self.finish_master_key().await
    }

    pub(super) async fn begin_master_key(&self, caller: &Caller, new: Option<Secret>) -> Result<()> {
        self.read(caller, Permission::SystemConfig, Target::None, |_, _| Ok(())).await?;
        let keys = &self.parts.keys;
        let next = match (new, keys.are_the_hosts()) {
            (Some(key), true) => MasterKey::parse(&key)?,
            (None, false) => MasterKey::random(),
            (None, true) => {
                return Err(Error::invalid("the host keeps the master key of this engine: give the new one"));
            }
            (Some(_), false) => {
                return Err(Error::invalid("a file keeps the master key of this engine, and makes the new one itself"));
            }
        };
        if keys.previous_id().is_some() {
            // A change was broken off: the same key goes on with it, another one must wait.
            return match next.id() == keys.key_id() || !keys.are_the_hosts() {
                true => Ok(()),
                false => Err(Error::conflict("a change to another master key is under way: give that key")),
            };
        }
        if next.id() == keys.key_id() {
            return Err(Error::invalid("this is the master key already: give a new one"));
        }
        let change = keys.change_to(&next);
        self.write(caller, Permission::SystemConfig, Target::None, "secrets.rotate_master_key", move |tx, grant| {
            if access::info(tx, "next_key_id")?.is_some() {
                return Err(Error::conflict("another process changes the master key at this moment"));
            }
            access::set_info(tx, "next_key_id", &change.next_id)?;
            access::set_info(tx, "next_key", &change.next)?;
            access::set_info(tx, "previous_key", &change.previous)?;
            grant.audit(tx, "", None, None, json!({"key_id": change.next_id}))
        })
        .await?;
        keys.begin_change(&next);
        Ok(())
    }

    /// Seals the next few values anew; true once none is left.
    pub(super) async fn reseal_slice(&self) -> Result<bool> {
        let parts = self.parts.clone();
        let resealed = self.parts.store.write(move |tx| {
            let Some(previous) = parts.keys.previous_id() else { return Ok(true) };
            let rows = access::sealed_under(tx, &previous, SLICE)?;
            for row in &rows {
                let plain = parts.keys.unseal(&row.table, row.id, &row.column, &row.sealed)?;
                let plain = zeroize::Zeroizing::new(plain);
                let sealed = parts.keys.seal(&row.table, row.id, &row.column, &plain);
                access::reseal(tx, row, sealed, &parts.keys.key_id())?;
            }
            Ok(rows.is_empty())
        });
        resealed.await
    }

    /// Goes on with a change of the master key to its end.
    pub(super) async fn finish_master_key(&self) -> Result<()> {
        let keys = &self.parts.keys;
        let Some(previous) = keys.previous_id() else { return Ok(()) };
        loop {
            while !self.reseal_slice().await? {}
            keys.write_next_file()?;
            let (parts, previous) = (self.parts.clone(), previous.clone());
            let ended = self.parts.store.write(move |tx| {
                if !access::sealed_under(tx, &previous, 1)?.is_empty() {
                    return Ok(false);
                }
                let key_id = parts.keys.key_id();
                if access::info(tx, "key_id")?.as_ref() != Some(&key_id) {
                    access::set_info(tx, "key_id", &key_id)?;
                    access::set_info(tx, "carried_keys", &parts.keys.carried())?;
                    for line in ["next_key_id", "next_key", "previous_key"] {
                        access::drop_info(tx, line)?;
                    }
                    let actor = Actor { principal: "engine", via: "engine" };
                    let line = AuditLine::ok("secrets.master_key_changed", "").with_details(json!({"key_id": key_id}));
                    parts.audit.append(tx, Timestamp::now(), actor, &line)?;
                }
                Ok(true)
            });
            if ended.await? {
                return keys.end_change();
            }
        }
    }
}

/// Whoever has the permission for their own replaces only what they set.
fn may_replace(grant: &Grant, found: &SecretName) -> Result<()> {
    if grant.reach() == Reach::All || (found.created_by.is_some() && found.created_by == grant.user_id()) {
        return Ok(());
    }
    Err(grant.refuse(Error::denied("this secret was set by somebody else: use another name, or ask an admin")))
}
