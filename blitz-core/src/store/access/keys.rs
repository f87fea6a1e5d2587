//! API keys.

use crate::domain::{KeyId, KeyRecord, ListOptions, Page, Powers, Scope, Timestamp, UserId};
use crate::error::{Error, Result};
use crate::store::sql::{params, to_json};
use crate::store::{Connection, Row};

macro_rules! key_sql {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, name, public, scopes, created_at, expires_at, used_at, revoked_at, replaced_by, mac \
             FROM api_keys WHERE ",
            $rest
        )
    };
}

/// A key as it is checked: what is stored and its keyed hash.
pub(crate) struct KeyRow {
    pub(crate) record: KeyRecord,
    pub(crate) mac: Vec<u8>,
}

impl KeyRow {
    /// What the key allows at most; `None` where that is all its owner may.
    pub(crate) fn powers(&self) -> Option<Powers> {
        self.record.scopes.as_deref().map(Powers::of)
    }
}

/// A key to store.
pub(crate) struct KeyDraft<'a> {
    pub(crate) user_id: UserId,
    pub(crate) name: &'a str,
    pub(crate) public: &'a str,
    pub(crate) mac: &'a [u8],
    pub(crate) scopes: Option<&'a [Scope]>,
    pub(crate) expires_at: Option<Timestamp>,
}

pub(crate) fn insert_key(tx: &mut dyn Connection, draft: &KeyDraft<'_>, now: Timestamp) -> Result<KeyId> {
    let id = tx.insert(
        "INSERT INTO api_keys (user_id, name, public, mac, scopes, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            draft.user_id,
            draft.name,
            draft.public,
            draft.mac.to_vec(),
            draft.scopes.map(to_json).transpose()?,
            now,
            draft.expires_at
        ],
    )?;
    id.map(KeyId).ok_or_else(|| Error::internal("an insert gave no id"))
}

/// The key of an id.
pub(crate) fn key(tx: &mut dyn Connection, id: KeyId) -> Result<Option<KeyRow>> {
    tx.query_one(key_sql!("id = ?1"), params![id])?.as_ref().map(key_row).transpose()
}

/// The key of the part that is no secret.
pub(crate) fn key_by_public(tx: &mut dyn Connection, public: &str) -> Result<Option<KeyRow>> {
    tx.query_one(key_sql!("public = ?1"), params![public])?.as_ref().map(key_row).transpose()
}

/// A page of keys: a user's, or everybody's.
pub(crate) fn keys(tx: &mut dyn Connection, user: Option<UserId>, options: &ListOptions) -> Result<Page<KeyRecord>> {
    let (after, limit) = (options.after_id()?, options.rows());
    let rows = match user {
        Some(user) => {
            tx.query_all(key_sql!("user_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3"), params![user, after, limit])?
        }
        None => tx.query_all(key_sql!("id > ?1 ORDER BY id LIMIT ?2"), params![after, limit])?,
    };
    let records = rows.iter().map(|row| Ok(key_row(row)?.record)).collect::<Result<_>>()?;
    Ok(Page::cut(records, options, |record: &KeyRecord| record.id.0))
}

/// Takes a key back.
pub(crate) fn revoke_key(tx: &mut dyn Connection, id: KeyId, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL", params![id, now])?;
    Ok(())
}

/// Lets a key end once its successor has taken over.
pub(crate) fn replace_key(tx: &mut dyn Connection, id: KeyId, by: KeyId, expires_at: Timestamp) -> Result<()> {
    tx.execute("UPDATE api_keys SET replaced_by = ?2, expires_at = ?3 WHERE id = ?1", params![id, by, expires_at])?;
    Ok(())
}

pub(crate) fn key_used(tx: &mut dyn Connection, id: KeyId, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE api_keys SET used_at = ?2 WHERE id = ?1", params![id, now])?;
    Ok(())
}

fn key_row(row: &Row) -> Result<KeyRow> {
    let time = |column| Ok::<_, Error>(row.opt_int(column)?.map(Timestamp));
    Ok(KeyRow {
        record: KeyRecord {
            id: KeyId(row.int(0)?),
            user_id: UserId(row.int(1)?),
            name: row.text(2)?.to_owned(),
            prefix: format!("bz_{}", row.text(3)?),
            scopes: row.opt_json(4)?,
            created_at: Timestamp(row.int(5)?),
            expires_at: time(6)?,
            used_at: time(7)?,
            revoked_at: time(8)?,
            replaced_by: row.opt_int(9)?.map(KeyId),
        },
        mac: row.blob(10)?.to_vec(),
    })
}
