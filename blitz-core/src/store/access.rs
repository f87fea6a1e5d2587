//! Users, their standing, ways in, and sealed values: the SQL, written once.

mod keys;
mod named;
mod roles;
mod sessions;

use super::seal::Keys;
use super::sql::params;
use super::{Connection, Row};
use crate::domain::{ExecutionId, ListOptions, Page, Role, Secret, Timestamp, User, UserId};
use crate::error::{Error, Result};
pub(crate) use keys::*;
pub(crate) use named::*;
pub(crate) use roles::*;
pub(crate) use sessions::*;

/// What a session depends on, read again in every transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserStanding {
    pub(crate) role: Role,
    pub(crate) active: bool,
    pub(crate) session_version: i64,
}

/// A live user as the table holds it.
#[derive(Debug, Clone)]
pub(crate) struct UserRow {
    pub(crate) user: User,
    pub(crate) session_version: i64,
    pub(crate) failed_logins: i64,
    pub(crate) locked_until: Option<Timestamp>,
}

macro_rules! user_sql {
    ($rest:literal) => {
        concat!(
            "SELECT id, email, name, role, active, created_at, updated_at, session_version, failed_logins, \
             locked_until FROM users WHERE deleted_at IS NULL AND ",
            $rest
        )
    };
}

/// The standing of a user that is not deleted.
pub(crate) fn standing(tx: &mut dyn Connection, id: UserId) -> Result<Option<UserStanding>> {
    let row = tx.query_one(
        "SELECT role, active, session_version FROM users WHERE id = ?1 AND deleted_at IS NULL",
        params![id],
    )?;
    row.map(|row| Ok(UserStanding { role: role(&row, 0)?, active: row.bool(1)?, session_version: row.int(2)? }))
        .transpose()
}

pub(crate) fn user(tx: &mut dyn Connection, id: UserId) -> Result<Option<UserRow>> {
    tx.query_one(user_sql!("id = ?1"), params![id])?.as_ref().map(user_row).transpose()
}

/// The user of a normalised address.
pub(crate) fn user_by_email(tx: &mut dyn Connection, email: &str) -> Result<Option<UserRow>> {
    tx.query_one(user_sql!("email = ?1"), params![email])?.as_ref().map(user_row).transpose()
}

pub(crate) fn users(tx: &mut dyn Connection, options: &ListOptions) -> Result<Page<User>> {
    let rows = tx.query_all(user_sql!("id > ?1 ORDER BY id LIMIT ?2"), params![options.after_id()?, options.rows()])?;
    let users = rows.iter().map(|row| Ok(user_row(row)?.user)).collect::<Result<_>>()?;
    Ok(Page::cut(users, options, |user: &User| user.id.0))
}

pub(crate) fn insert_user(
    tx: &mut dyn Connection,
    email: &str,
    name: &str,
    role: &Role,
    now: Timestamp,
) -> Result<UserId> {
    let id = tx.insert(
        "INSERT INTO users (email, name, role, active, session_version, created_at, updated_at)
         VALUES (?1, ?2, ?3, 1, 1, ?4, ?4)",
        params![email, name, role.name(), now],
    )?;
    id.map(UserId).ok_or_else(|| Error::internal("an insert gave no id"))
}

/// Writes everything of a user that may change.
pub(crate) fn update_user(tx: &mut dyn Connection, row: &UserRow) -> Result<()> {
    let user = &row.user;
    tx.execute(
        "UPDATE users SET name = ?2, role = ?3, active = ?4, session_version = ?5, failed_logins = ?6,
         locked_until = ?7, updated_at = ?8 WHERE id = ?1",
        params![
            user.id,
            &user.name,
            user.role.name(),
            user.active,
            row.session_version,
            row.failed_logins,
            row.locked_until,
            user.updated_at
        ],
    )?;
    Ok(())
}

/// Marks a user deleted, which frees the address, and takes back what was shared with it.
pub(crate) fn delete_user(tx: &mut dyn Connection, id: UserId, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE users SET deleted_at = ?2, active = 0, session_version = session_version + 1 WHERE id = ?1",
        params![id, now],
    )?;
    tx.execute("DELETE FROM shares WHERE user_id = ?1", params![id])?;
    end_sessions_of(tx, id, now)?;
    tx.execute("UPDATE api_keys SET revoked_at = ?2 WHERE user_id = ?1 AND revoked_at IS NULL", params![id, now])?;
    drop_secrets(tx, "users", id.0)
}

/// Whether an active admin other than `id` is left.
pub(crate) fn another_admin(tx: &mut dyn Connection, id: UserId) -> Result<bool> {
    let row = tx.query_one(
        "SELECT id FROM users WHERE role = 'admin' AND active = 1 AND deleted_at IS NULL AND id <> ?1 LIMIT 1",
        params![id],
    )?;
    Ok(row.is_some())
}

/// Notes the outcome of a login: how many failed in a row, and until when the account is held back.
pub(crate) fn set_failures(
    tx: &mut dyn Connection,
    id: UserId,
    failed: i64,
    locked_until: Option<Timestamp>,
) -> Result<()> {
    tx.execute(
        "UPDATE users SET failed_logins = ?2, locked_until = ?3 WHERE id = ?1",
        params![id, failed, locked_until],
    )?;
    Ok(())
}

/// Counts a failed login in the store, whether or not the account exists.
pub(crate) fn count_failed_login(tx: &mut dyn Connection) -> Result<()> {
    tx.execute(
        "INSERT INTO store_info (key, value) VALUES ('failed_logins', '1')
         ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(store_info.value AS BIGINT) + 1 AS TEXT)",
        &[],
    )?;
    Ok(())
}

/// Whose an execution is: `None` if there is none, `Some(None)` for the host's own.
pub(crate) fn execution_owner(tx: &mut dyn Connection, id: ExecutionId) -> Result<Option<Option<UserId>>> {
    let row = tx.query_one("SELECT user_id FROM executions WHERE id = ?1", params![id])?;
    row.map(|row| Ok(row.opt_int(0)?.map(UserId))).transpose()
}

/// Seals a secret of a record in place of the one before.
pub(crate) fn set_secret(
    tx: &mut dyn Connection,
    keys: &Keys,
    table: &str,
    id: i64,
    column: &str,
    secret: &Secret,
    now: Timestamp,
) -> Result<()> {
    // Another process may have changed the master key since this one opened the store.
    let key_id = keys.key_id();
    let known = tx.query_one(
        "SELECT value FROM store_info WHERE key IN ('key_id', 'next_key_id') AND value = ?1",
        params![&key_id],
    )?;
    if known.is_none() {
        return Err(Error::storage("the master key was changed by another process: open the engine again"));
    }
    let sealed = keys.seal(table, id, column, secret.expose().as_bytes());
    tx.execute(
        "INSERT INTO secrets (owner_table, owner_id, owner_column, key_id, sealed, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (owner_table, owner_id, owner_column)
         DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed, updated_at = excluded.updated_at",
        params![table, id, column, key_id, sealed, now],
    )?;
    Ok(())
}

/// A record's secret, if it has one.
pub(crate) fn secret(
    tx: &mut dyn Connection,
    keys: &Keys,
    table: &str,
    id: i64,
    column: &str,
) -> Result<Option<Secret>> {
    let row = tx.query_one(
        "SELECT sealed FROM secrets WHERE owner_table = ?1 AND owner_id = ?2 AND owner_column = ?3",
        params![table, id, column],
    )?;
    let Some(row) = row else { return Ok(None) };
    let plain = keys.unseal(table, id, column, row.blob(0)?)?;
    let text = std::str::from_utf8(&plain).map_err(|_| Error::storage("a sealed value is damaged: set it again"))?;
    Ok(Some(Secret::new(text)))
}

/// Forgets one secret of a record.
pub(crate) fn drop_secret(tx: &mut dyn Connection, table: &str, id: i64, column: &str) -> Result<()> {
    tx.execute(
        "DELETE FROM secrets WHERE owner_table = ?1 AND owner_id = ?2 AND owner_column = ?3",
        params![table, id, column],
    )?;
    Ok(())
}

/// Forgets every secret of a record.
pub(crate) fn drop_secrets(tx: &mut dyn Connection, table: &str, id: i64) -> Result<()> {
    tx.execute("DELETE FROM secrets WHERE owner_table = ?1 AND owner_id = ?2", params![table, id])?;
    Ok(())
}

fn user_row(row: &Row) -> Result<UserRow> {
    Ok(UserRow {
        user: User {
            id: UserId(row.int(0)?),
            email: row.text(1)?.to_owned(),
            name: row.text(2)?.to_owned(),
            role: role(row, 3)?,
            active: row.bool(4)?,
            created_at: Timestamp(row.int(5)?),
            updated_at: Timestamp(row.int(6)?),
        },
        session_version: row.int(7)?,
        failed_logins: row.int(8)?,
        locked_until: row.opt_int(9)?.map(Timestamp),
    })
}

fn role(row: &Row, column: usize) -> Result<Role> {
    Role::from_name(row.text(column)?)
        .ok_or_else(|| Error::storage("a user has a role this version does not know: use a newer version"))
}
