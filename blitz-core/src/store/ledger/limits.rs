//! Limits of use: the SQL, written once.

use super::word;
use crate::domain::{LimitScope, RateLimit, Timestamp};
use crate::error::Result;
use crate::store::sql::{self, Connection, Row, params};

/// Writes a limit in place of the one before.
pub(crate) fn put(tx: &mut dyn Connection, now: Timestamp, subject: &str, limit: &RateLimit) -> Result<()> {
    tx.execute(
        "INSERT INTO rate_limits (scope, subject, limits, updated_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (scope, subject) DO UPDATE SET limits = excluded.limits, updated_at = excluded.updated_at",
        params![limit.scope.name(), subject, sql::to_json(&limit.limits)?, now],
    )?;
    Ok(())
}

/// Removes a limit; false where there is none.
pub(crate) fn delete(tx: &mut dyn Connection, scope: LimitScope, subject: &str) -> Result<bool> {
    let changed =
        tx.execute("DELETE FROM rate_limits WHERE scope = ?1 AND subject = ?2", params![scope.name(), subject])?;
    Ok(changed == 1)
}

/// All limits; there are 1,000 at most.
pub(crate) fn list(tx: &mut dyn Connection) -> Result<Vec<RateLimit>> {
    let rows =
        tx.query_all("SELECT scope, subject, limits FROM rate_limits ORDER BY scope, subject LIMIT 1000", &[])?;
    let limit = |row: &Row| {
        let scope: LimitScope = word(row.text(0)?)?;
        let mut limit = RateLimit::new(scope, row.json(2)?);
        match (scope, row.text(1)?) {
            (_, "*" | "") => {}
            (LimitScope::User | LimitScope::Key, id) => limit.scope_id = id.parse().ok(),
            (_, name) => limit.subject = Some(name.to_owned()),
        }
        Ok(limit)
    };
    rows.iter().map(limit).collect()
}
