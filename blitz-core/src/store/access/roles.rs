//! Roles of the host's own.

use crate::domain::{ListOptions, Page, Powers, Role, RoleRecord, Scope, Timestamp};
use crate::error::{Error, Result};
use crate::store::sql::{params, to_json};
use crate::store::{Connection, Row};

macro_rules! role_sql {
    ($rest:literal) => {
        concat!("SELECT id, name, description, permissions, created_at, updated_at FROM roles WHERE ", $rest)
    };
}

/// What a role allows now; nothing where it is gone.
pub(crate) fn powers(tx: &mut dyn Connection, role: &Role) -> Result<Powers> {
    if let Some(powers) = role.powers() {
        return Ok(powers);
    }
    let row = tx.query_one("SELECT permissions FROM roles WHERE name = ?1", params![role.name()])?;
    row.map_or_else(|| Ok(Powers::default()), |row| Ok(Powers::of(&row.json::<Vec<Scope>>(0)?)))
}

/// Whether there is such a role.
pub(crate) fn role_exists(tx: &mut dyn Connection, role: &Role) -> Result<bool> {
    Ok(role.powers().is_some() || tx.query_one("SELECT id FROM roles WHERE name = ?1", params![role.name()])?.is_some())
}

/// The role of a name.
pub(crate) fn role_record(tx: &mut dyn Connection, name: &str) -> Result<Option<RoleRecord>> {
    tx.query_one(role_sql!("name = ?1"), params![name])?.as_ref().map(record).transpose()
}

/// A page of roles, by id.
pub(crate) fn roles(tx: &mut dyn Connection, options: &ListOptions) -> Result<Page<RoleRecord>> {
    let rows = tx.query_all(role_sql!("id > ?1 ORDER BY id LIMIT ?2"), params![options.after_id()?, options.rows()])?;
    let records = rows.iter().map(record).collect::<Result<_>>()?;
    Ok(Page::cut(records, options, |role: &RoleRecord| role.id))
}

pub(crate) fn insert_role(
    tx: &mut dyn Connection,
    name: &str,
    description: &str,
    permissions: &[Scope],
    now: Timestamp,
) -> Result<()> {
    let id = tx.insert(
        "INSERT INTO roles (name, description, permissions, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)",
        params![name, description, to_json(permissions)?, now],
    )?;
    id.map(drop).ok_or_else(|| Error::internal("an insert gave no id"))
}

pub(crate) fn update_role(tx: &mut dyn Connection, role: &RoleRecord) -> Result<()> {
    tx.execute(
        "UPDATE roles SET description = ?2, permissions = ?3, updated_at = ?4 WHERE id = ?1",
        params![role.id, &role.description, to_json(&role.permissions)?, role.updated_at],
    )?;
    Ok(())
}

/// Forgets a role and takes back what was shared with it.
pub(crate) fn delete_role(tx: &mut dyn Connection, name: &str) -> Result<()> {
    tx.execute("DELETE FROM shares WHERE role = ?1", params![name])?;
    tx.execute("DELETE FROM roles WHERE name = ?1", params![name])?;
    Ok(())
}

/// Whether a user that is not deleted has this role.
pub(crate) fn role_in_use(tx: &mut dyn Connection, name: &str) -> Result<bool> {
    let row = tx.query_one("SELECT id FROM users WHERE role = ?1 AND deleted_at IS NULL LIMIT 1", params![name])?;
    Ok(row.is_some())
}

fn record(row: &Row) -> Result<RoleRecord> {
    Ok(RoleRecord {
        id: row.int(0)?,
        name: row.text(1)?.to_owned(),
        description: row.text(2)?.to_owned(),
        permissions: row.json(3)?,
        created_at: Timestamp(row.int(4)?),
        updated_at: Timestamp(row.int(5)?),
    })
}
