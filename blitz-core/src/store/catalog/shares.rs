//! Shares: a resource opened to a user or a role.

use crate::domain::{ResourceId, Role, Share, ShareLevel, Timestamp, UserId};
use crate::error::{Error, Result};
use crate::store::sql::params;
use crate::store::{Connection, Row};

/// To whom a resource is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grantee {
    /// One user.
    User(UserId),
    /// Everybody with this role.
    Role(Role),
}

impl Grantee {
    /// The columns `user_id` and `role`: one of them says something.
    fn key(&self) -> (i64, &str) {
        match self {
            Self::User(id) => (id.0, ""),
            Self::Role(role) => (0, role.name()),
        }
    }
}

/// Opens a resource, or changes the level at which it is open.
pub(crate) fn share(
    tx: &mut dyn Connection,
    id: ResourceId,
    grantee: &Grantee,
    level: ShareLevel,
    now: Timestamp,
) -> Result<()> {
    let (user, role) = grantee.key();
    tx.execute(
        "INSERT INTO shares (resource_id, user_id, role, level, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (resource_id, user_id, role) DO UPDATE SET level = excluded.level",
        params![id, user, role, level.rank(), now],
    )?;
    Ok(())
}

/// Takes a share back; false where there was none.
pub(crate) fn unshare(tx: &mut dyn Connection, id: ResourceId, grantee: &Grantee) -> Result<bool> {
    let (user, role) = grantee.key();
    let changed = tx
        .execute("DELETE FROM shares WHERE resource_id = ?1 AND user_id = ?2 AND role = ?3", params![id, user, role])?;
    Ok(changed > 0)
}

/// To whom a resource is open, the first 1,000.
pub(crate) fn shares(tx: &mut dyn Connection, id: ResourceId) -> Result<Vec<Share>> {
    let rows = tx.query_all(
        "SELECT u.email, s.role, s.level FROM shares s LEFT JOIN users u ON u.id = s.user_id
         WHERE s.resource_id = ?1 ORDER BY s.user_id, s.role LIMIT 1000",
        params![id],
    )?;
    rows.iter().map(share_row).collect()
}

fn share_row(row: &Row) -> Result<Share> {
    let level = ShareLevel::from_rank(row.int(2)?).ok_or_else(|| Error::storage("a share is damaged"))?;
    Ok(match row.opt_text(0)? {
        Some(email) => Share::with_user(email, level),
        None => Share::with_role(row.text(1)?, level),
    })
}
