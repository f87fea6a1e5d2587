//! Executions that wait for their turn: so many of one workflow and key run at a time.

use crate::domain::{ExecutionId, ResourceId, Timestamp};
use crate::error::Result;
use crate::store::sql::{Connection, params};

/// Executions of a queue that one read takes.
const PAGE: i64 = 100;

/// A place in a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueuePlace<'a> {
    pub(crate) key: &'a str,
    pub(crate) limit: u32,
    pub(crate) priority: i32,
}

/// Puts a new execution into its queue; gives whether it must wait.
pub(crate) fn enqueue(
    tx: &mut dyn Connection,
    id: ExecutionId,
    workflow: ResourceId,
    place: QueuePlace<'_>,
) -> Result<bool> {
    tx.execute(
        "UPDATE executions SET queue = ?2, queue_limit = ?3, priority = ?4, status = 'pending' WHERE id = ?1",
        params![id, place.key, i64::from(place.limit), i64::from(place.priority)],
    )?;
    // Whoever waits already goes first, also where its process is gone for the moment.
    let first = heads(tx, workflow, place.key, &|_, _| true)?;
    if !first.contains(&id) {
        return Ok(true);
    }
    tx.execute("UPDATE executions SET status = 'running' WHERE id = ?1", params![id])?;
    Ok(false)
}

/// Lets an execution run whose turn has come, until a deadline; gives whether it has.
pub(crate) fn take_turn(
    tx: &mut dyn Connection,
    id: ExecutionId,
    deadline: Timestamp,
    has_owner: &dyn Fn(ExecutionId, &str) -> bool,
) -> Result<bool> {
    if !next_in_queue(tx, id, has_owner)?.contains(&id) {
        return Ok(false);
    }
    tx.execute(
        "UPDATE executions SET status = 'running', deadline = ?2 WHERE id = ?1 AND status = 'pending'",
        params![id, deadline],
    )?;
    Ok(true)
}

/// The executions that may begin now, of the queue that one is in. Those that nobody owns are passed over.
pub(crate) fn next_in_queue(
    tx: &mut dyn Connection,
    id: ExecutionId,
    has_owner: &dyn Fn(ExecutionId, &str) -> bool,
) -> Result<Vec<ExecutionId>> {
    let row =
        tx.query_one("SELECT agent_id, queue FROM executions WHERE id = ?1 AND queue IS NOT NULL", params![id])?;
    match row {
        Some(row) => heads(tx, ResourceId(row.int(0)?), row.text(1)?, has_owner),
        None => Ok(Vec::new()),
    }
}

fn heads(
    tx: &mut dyn Connection,
    workflow: ResourceId,
    key: &str,
    has_owner: &dyn Fn(ExecutionId, &str) -> bool,
) -> Result<Vec<ExecutionId>> {
    let running = tx.query_one(
        "SELECT count(*) FROM executions
         WHERE agent_id = ?1 AND queue = ?2 AND finished_at IS NULL AND status <> 'pending'",
        params![workflow, key],
    )?;
    let running = running.map(|row| row.int(0)).transpose()?.unwrap_or(0);
    let rows = tx.query_all(
        "SELECT id, boot_id, queue_limit FROM executions
         WHERE agent_id = ?1 AND queue = ?2 AND finished_at IS NULL AND status = 'pending'
         ORDER BY priority DESC, id LIMIT ?3",
        params![workflow, key, PAGE],
    )?;
    let mut heads = Vec::new();
    for row in &rows {
        let (id, limit) = (ExecutionId(row.int(0)?), row.opt_int(2)?.unwrap_or(1));
        if running + i64::try_from(heads.len()).unwrap_or(i64::MAX) >= limit {
            break;
        }
        if row.opt_text(1)?.is_some_and(|boot| has_owner(id, boot)) {
            heads.push(id);
        }
    }
    Ok(heads)
}
