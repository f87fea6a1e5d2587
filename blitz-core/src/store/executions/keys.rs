//! Keys of callers' own: the SQL, written once.

use crate::domain::{ExecutionId, Timestamp};
use crate::error::Result;
use crate::store::sql::{Connection, params};

/// Keys that one beginning forgets.
const SLICE: u32 = 100;

/// What a principal's key stands for since a moment: the hash of what was asked for, and the execution.
pub(crate) fn client_key(
    tx: &mut dyn Connection,
    principal: &str,
    key: &str,
    since: Timestamp,
) -> Result<Option<(String, ExecutionId)>> {
    let row = tx.query_one(
        "SELECT body_hash, execution_id FROM client_keys WHERE principal = ?1 AND key = ?2 AND created_at > ?3",
        params![principal, key, since],
    )?;
    row.map(|row| Ok((row.text(0)?.to_owned(), ExecutionId(row.int(1)?)))).transpose()
}

/// Lets a principal's key, with the hash of what was asked for, stand for an execution.
pub(crate) fn put_client_key(
    tx: &mut dyn Connection,
    now: Timestamp,
    (principal, key, body_hash): (&str, &str, &str),
    id: ExecutionId,
) -> Result<()> {
    tx.execute(
        "INSERT INTO client_keys (principal, key, body_hash, execution_id, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (principal, key) DO UPDATE SET body_hash = excluded.body_hash,
             execution_id = excluded.execution_id, created_at = excluded.created_at",
        params![principal, key, body_hash, id, now],
    )?;
    Ok(())
}

/// Forgets a few keys from up to a moment.
pub(crate) fn forget_client_keys(tx: &mut dyn Connection, until: Timestamp) -> Result<()> {
    tx.execute(
        "DELETE FROM client_keys WHERE (principal, key) IN
             (SELECT principal, key FROM client_keys WHERE created_at <= ?1 ORDER BY created_at LIMIT ?2)",
        params![until, SLICE],
    )?;
    Ok(())
}
