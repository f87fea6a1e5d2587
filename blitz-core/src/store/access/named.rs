//! Secrets with names, and the state of a change of the master key.

use crate::domain::{ListOptions, Page, Secret, SecretName, Timestamp, UserId};
use crate::error::{Error, Result};
use crate::store::seal::Keys;
use crate::store::sql::params;
use crate::store::{Connection, Row};

const TABLE: &str = "named_secrets";
const COLUMN: &str = "value";

macro_rules! name_sql {
    ($rest:literal) => {
        concat!("SELECT id, name, created_by, created_at, updated_at FROM named_secrets WHERE ", $rest)
    };
}

/// The record of a name, without its value.
pub(crate) fn secret_name(tx: &mut dyn Connection, name: &str) -> Result<Option<SecretName>> {
    tx.query_one(name_sql!("name = ?1"), params![name])?.as_ref().map(record).transpose()
}

/// A page of names.
pub(crate) fn secret_names(tx: &mut dyn Connection, options: &ListOptions) -> Result<Page<SecretName>> {
    let rows = tx.query_all(name_sql!("id > ?1 ORDER BY id LIMIT ?2"), params![options.after_id()?, options.rows()])?;
    let records = rows.iter().map(record).collect::<Result<_>>()?;
    Ok(Page::cut(records, options, |name: &SecretName| name.id))
}

/// Keeps a value under a name, in place of the one before.
pub(crate) fn put_named_secret(
    tx: &mut dyn Connection,
    keys: &Keys,
    name: &str,
    by: Option<UserId>,
    value: &Secret,
    now: Timestamp,
) -> Result<SecretName> {
    let id = match secret_name(tx, name)? {
        Some(found) => {
            tx.execute("UPDATE named_secrets SET updated_at = ?2 WHERE id = ?1", params![found.id, now])?;
            found.id
        }
        None => {
            let id = tx.insert(
                "INSERT INTO named_secrets (name, created_by, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)",
                params![name, by, now],
            )?;
            id.ok_or_else(|| Error::internal("an insert gave no id"))?
        }
    };
    super::set_secret(tx, keys, TABLE, id, COLUMN, value, now)?;
    secret_name(tx, name)?.ok_or_else(|| Error::internal("a secret that was just set is missing"))
}

/// The value of a name.
pub(crate) fn named_secret(tx: &mut dyn Connection, keys: &Keys, name: &str) -> Result<Option<Secret>> {
    match secret_name(tx, name)? {
        Some(found) => super::secret(tx, keys, TABLE, found.id, COLUMN),
        None => Ok(None),
    }
}

pub(crate) fn delete_named_secret(tx: &mut dyn Connection, id: i64) -> Result<()> {
    super::drop_secrets(tx, TABLE, id)?;
    tx.execute("DELETE FROM named_secrets WHERE id = ?1", params![id])?;
    Ok(())
}

/// A sealed value with its place.
pub(crate) struct SealedRow {
    pub(crate) table: String,
    pub(crate) id: i64,
    pub(crate) column: String,
    pub(crate) sealed: Vec<u8>,
}

/// The next values that are sealed under a master key, at most `limit`.
pub(crate) fn sealed_under(tx: &mut dyn Connection, key_id: &str, limit: u32) -> Result<Vec<SealedRow>> {
    let rows = tx.query_all(
        "SELECT owner_table, owner_id, owner_column, sealed FROM secrets WHERE key_id = ?1 LIMIT ?2",
        params![key_id, limit],
    )?;
    let sealed = |row: &Row| {
        Ok(SealedRow {
            table: row.text(0)?.to_owned(),
            id: row.int(1)?,
            column: row.text(2)?.to_owned(),
            sealed: row.blob(3)?.to_vec(),
        })
    };
    rows.iter().map(sealed).collect()
}

/// Keeps a value that is sealed anew.
pub(crate) fn reseal(tx: &mut dyn Connection, row: &SealedRow, sealed: Vec<u8>, key_id: &str) -> Result<()> {
    tx.execute(
        "UPDATE secrets SET sealed = ?4, key_id = ?5 WHERE owner_table = ?1 AND owner_id = ?2 AND owner_column = ?3",
        params![&row.table, row.id, &row.column, sealed, key_id],
    )?;
    Ok(())
}

/// What the store says of itself under a name.
pub(crate) fn info(tx: &mut dyn Connection, key: &str) -> Result<Option<String>> {
    let row = tx.query_one("SELECT value FROM store_info WHERE key = ?1", params![key])?;
    row.map(|row| Ok(row.text(0)?.to_owned())).transpose()
}

pub(crate) fn set_info(tx: &mut dyn Connection, key: &str, value: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO store_info (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![key, value],
    )?;
    Ok(())
}

pub(crate) fn drop_info(tx: &mut dyn Connection, key: &str) -> Result<()> {
    tx.execute("DELETE FROM store_info WHERE key = ?1", params![key])?;
    Ok(())
}

fn record(row: &Row) -> Result<SecretName> {
    Ok(SecretName {
        id: row.int(0)?,
        name: row.text(1)?.to_owned(),
        created_by: row.opt_int(2)?.map(UserId),
        created_at: Timestamp(row.int(3)?),
        updated_at: Timestamp(row.int(4)?),
    })
}
