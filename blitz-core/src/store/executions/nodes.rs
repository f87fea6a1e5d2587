//! What a workflow's records are read for: its nodes, its questions and what was decided, its large outputs.

use super::events;
use super::large::{self, whole_events};
use crate::domain::{ApprovalRequested, Event, EventData, ExecutionId, Timestamp};
use crate::error::{Error, Result};
use crate::store::sql::{Connection, params};

/// So many decisions are read at once.
const PAGE: usize = 1000;

/// Keeps a large body under its hash.
pub(crate) fn put_blob(tx: &mut dyn Connection, hash: &str, body: &[u8]) -> Result<()> {
    tx.execute(
        "INSERT INTO blobs (hash, body) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING",
        params![hash, body.to_vec()],
    )?;
    Ok(())
}

/// Keeps an output for a while, and lets go of some whose time is over.
pub(crate) fn put_cached(
    tx: &mut dyn Connection,
    now: Timestamp,
    key: &str,
    body: &str,
    expires_at: Timestamp,
) -> Result<()> {
    tx.execute(
        "DELETE FROM node_cache WHERE key IN (SELECT key FROM node_cache WHERE expires_at <= ?1 ORDER BY expires_at LIMIT 100)",
        params![now],
    )?;
    tx.execute(
        "INSERT INTO node_cache (key, body, expires_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET body = excluded.body, expires_at = excluded.expires_at",
        params![key, body, expires_at],
    )?;
    Ok(())
}

/// An output that is kept and whose time is not over.
pub(crate) fn cached<T: serde::de::DeserializeOwned>(
    tx: &mut dyn Connection,
    now: Timestamp,
    key: &str,
) -> Result<Option<T>> {
    let row = tx.query_one("SELECT body FROM node_cache WHERE key = ?1 AND expires_at > ?2", params![key, now])?;
    row.map(|row| row.json(0)).transpose()
}

/// The JSON that is kept under a hash.
pub(crate) fn blob<T: serde::de::DeserializeOwned>(tx: &mut dyn Connection, hash: &str) -> Result<T> {
    let row = tx
        .query_one("SELECT body FROM blobs WHERE hash = ?1", params![hash])?
        .ok_or_else(|| Error::storage("the body of a journal record is missing"))?;
    serde_json::from_slice(row.blob(0)?)
        .map_err(|error| Error::storage("a journal record cannot be read: it is damaged").with_source(error))
}

/// The records of one execution in a scope of it and below, behind `after`.
pub(crate) fn journal_below(
    tx: &mut dyn Connection,
    root_id: ExecutionId,
    id: ExecutionId,
    path: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<Event>> {
    let below = if path.is_empty() { "%".to_owned() } else { format!("{}/%", path.replace('_', "\\_")) };
    let rows = tx.query_all(
        "SELECT seq, execution_id, at, path, type, schema, data, blob_hash FROM journal
         WHERE root_id = ?1 AND execution_id = ?2 AND seq > ?3 AND (path = ?4 OR path LIKE ?5 ESCAPE '\\')
            AND type IN ('node.started', 'node.waiting', 'node.retrying', 'node.finished', 'item.finished')
         ORDER BY seq LIMIT ?6",
        params![root_id, id, after, path, below, limit.min(1000)],
    )?;
    whole_events(tx, &rows)
}

/// Whether a record of an execution names a large output by its hash. Where that stands in a value of the caller's own
/// it names nothing.
pub(crate) fn names_output(tx: &mut dyn Connection, root_id: ExecutionId, hash: &str) -> Result<bool> {
    let rows = tx.query_all(
        "SELECT j.seq, j.execution_id, j.at, j.path, j.type, j.schema, j.data, j.blob_hash
         FROM journal j LEFT JOIN blobs b ON b.hash = j.blob_hash
         WHERE j.root_id = ?1 AND j.type IN ('execution.queued', 'execution.finished', 'node.started', 'node.finished', 'item.finished', 'var.set')
            AND coalesce(j.data, CAST(b.body AS TEXT)) LIKE ?2 ORDER BY j.seq LIMIT 1000",
        params![root_id, format!("%\"ref\":\"{hash}\"%")],
    )?;
    let mut events = events(tx, &rows)?;
    Ok(events.iter_mut().any(|event| large::names(&mut event.data, hash)))
}

/// The newest question that an execution asks at a key, with its path.
pub(crate) fn question(
    tx: &mut dyn Connection,
    root_id: ExecutionId,
    id: ExecutionId,
    key: &str,
) -> Result<Option<(String, ApprovalRequested)>> {
    // Many items may ask at once; a scope of them has no more questions than nodes.
    let path = key.rsplit_once('/').map_or("", |(path, _)| path);
    let rows = tx.query_all(
        "SELECT seq, execution_id, at, path, type, schema, data, blob_hash FROM journal
         WHERE root_id = ?1 AND execution_id = ?2 AND path = ?3 AND type = 'approval.requested' ORDER BY seq DESC LIMIT 1000",
        params![root_id, id, path],
    )?;
    let asked = whole_events(tx, &rows)?.into_iter().filter_map(|event| match event.data {
        EventData::ApprovalRequested(asked) if asked.key == key => Some((event.path, asked)),
        _ => None,
    });
    Ok(asked.into_iter().next())
}

/// The decisions on steps of an execution behind `after`; from now on they count as read.
pub(crate) fn take_decisions(
    tx: &mut dyn Connection,
    root_id: ExecutionId,
    id: ExecutionId,
    after: i64,
) -> Result<Vec<Event>> {
    tx.execute("UPDATE executions SET next_wake = NULL WHERE id = ?1 AND next_wake = 0", params![id])?;
    let mut taken: Vec<Event> = Vec::new();
    loop {
        let rows = tx.query_all(
            "SELECT seq, execution_id, at, path, type, schema, data, blob_hash FROM journal
             WHERE root_id = ?1 AND seq > ?3 AND execution_id = ?2 AND type IN ('decision.made', 'approval.answered') ORDER BY seq LIMIT ?4",
            params![root_id, id, taken.last().map_or(after, |event| event.seq), PAGE as i64],
        )?;
        taken.extend(events(tx, &rows)?);
        if rows.len() < PAGE {
            return Ok(taken);
        }
    }
}
