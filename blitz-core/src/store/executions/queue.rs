//! Executions that wait for their turn: so many of one workflow and key run at a time.
//!
//! An execution that has begun holds its place until its end, also while its process is gone: what it
//! began may be in doubt, and once it is taken up again it would be one too many. Only one that has
//! not begun is passed over while nobody owns it.

use std::collections::HashMap;

use super::HasOwner;
use crate::domain::{ExecutionId, ResourceId, Timestamp};
use crate::error::{Error, Result};
use crate::store::sql::{Connection, Row, params};

/// Executions of a queue that one read takes.
const PAGE: i64 = 100;

/// A place in a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueuePlace<'a> {
    pub(crate) key: &'a str,
    pub(crate) limit: u32,
    pub(crate) priority: i32,
}

/// Who is at the front of a queue.
#[derive(Debug, Default)]
pub(crate) struct Front {
    /// They may begin now.
    pub(crate) heads: Vec<ExecutionId>,
    /// They could if all that other processes have in it were out of the way: nobody here is told when it is.
    pub(crate) next: Vec<ExecutionId>,
}

/// Puts a new execution into its queue; gives whether it must wait.
pub(crate) fn enqueue(
    tx: &mut dyn Connection,
    id: ExecutionId,
    workflow: ResourceId,
    place: QueuePlace<'_>,
) -> Result<bool> {
    tx.execute(
        "UPDATE executions SET queue = ?2, queue_limit = ?3, priority = ?4 WHERE id = ?1",
        params![id, place.key, i64::from(place.limit), i64::from(place.priority)],
    )?;
    line_up(tx, id, workflow, place.key)
}

/// Puts an execution that was opened again back into the queue that it has run in, if it did in one.
pub(crate) fn enqueue_again(tx: &mut dyn Connection, id: ExecutionId) -> Result<()> {
    if let Some((workflow, key)) = queue_of(tx, id)? {
        line_up(tx, id, workflow, &key)?;
    }
    Ok(())
}

fn line_up(tx: &mut dyn Connection, id: ExecutionId, workflow: ResourceId, key: &str) -> Result<bool> {
    tx.execute("UPDATE executions SET status = 'pending' WHERE id = ?1", params![id])?;
    // Whoever waits already goes first, also where its process is gone for the moment.
    if !front(tx, workflow, key, &mut Look::new("", &|_, _| true))?.heads.contains(&id) {
        return Ok(true);
    }
    tx.execute("UPDATE executions SET status = 'running' WHERE id = ?1", params![id])?;
    Ok(false)
}

/// The key and the priority that an execution was queued by.
pub(crate) fn queued_by(tx: &mut dyn Connection, id: ExecutionId) -> Result<Option<(String, i32)>> {
    let row =
        tx.query_one("SELECT queue, priority FROM executions WHERE id = ?1 AND queue IS NOT NULL", params![id])?;
    let read = |row: Row| {
        let priority = i32::try_from(row.int(1)?);
        Ok((row.text(0)?.to_owned(), priority.map_err(|_| Error::storage("the priority of an execution is damaged"))?))
    };
    row.map(read).transpose()
}

/// Lets an execution run whose turn has come, until a deadline; gives whether it has.
pub(crate) fn take_turn(
    tx: &mut dyn Connection,
    id: ExecutionId,
    deadline: Timestamp,
    boot_id: &str,
    has_owner: HasOwner<'_>,
) -> Result<bool> {
    let heads = match queue_of(tx, id)? {
        Some((workflow, key)) => front(tx, workflow, &key, &mut Look::new(boot_id, has_owner))?.heads,
        None => Vec::new(),
    };
    if !heads.contains(&id) {
        return Ok(false);
    }
    // Children of one that goes on have waited as long: their time stands still with its own.
    tx.execute(
        "UPDATE executions SET deadline = deadline + (?2 - (SELECT deadline FROM executions WHERE id = ?1))
         WHERE root_id = ?1 AND parent_id IS NOT NULL AND finished_at IS NULL",
        params![id, deadline],
    )?;
    tx.execute(
        "UPDATE executions SET status = 'running', deadline = ?2 WHERE id = ?1 AND status = 'pending'",
        params![id, deadline],
    )?;
    Ok(true)
}

/// Who is at the front of the queue that an execution is in, as a process sees it. Those that nobody
/// owns are passed over.
pub(crate) fn front_of(
    tx: &mut dyn Connection,
    id: ExecutionId,
    boot_id: &str,
    has_owner: HasOwner<'_>,
) -> Result<Front> {
    match queue_of(tx, id)? {
        Some((workflow, key)) => front(tx, workflow, &key, &mut Look { far: true, ..Look::new(boot_id, has_owner) }),
        None => Ok(Front::default()),
    }
}

fn queue_of(tx: &mut dyn Connection, id: ExecutionId) -> Result<Option<(ResourceId, String)>> {
    let row =
        tx.query_one("SELECT agent_id, queue FROM executions WHERE id = ?1 AND queue IS NOT NULL", params![id])?;
    row.map(|row| Ok((ResourceId(row.int(0)?), row.text(1)?.to_owned()))).transpose()
}

fn front(tx: &mut dyn Connection, workflow: ResourceId, key: &str, look: &mut Look<'_>) -> Result<Front> {
    let running = tx.query_all(
        "SELECT id, boot_id FROM executions
         WHERE agent_id = ?1 AND queue = ?2 AND finished_at IS NULL AND status <> 'pending'",
        params![workflow, key],
    )?;
    let (mut all, mut own) = (running.len(), 0);
    for row in &running {
        own += usize::from(look.owner(row)? == Owner::Here);
    }
    let mut front = Front::default();
    let mut full = false;
    let (mut priority, mut after) = (i64::MAX, 0);
    loop {
        let rows = tx.query_all(
            "SELECT id, boot_id, queue_limit, priority FROM executions
             WHERE agent_id = ?1 AND queue = ?2 AND finished_at IS NULL AND status = 'pending'
                AND (priority < ?3 OR (priority = ?3 AND id > ?4))
             ORDER BY priority DESC, id LIMIT ?5",
            params![workflow, key, priority, after, PAGE],
        )?;
        for row in &rows {
            let (id, owner) = (ExecutionId(row.int(0)?), look.owner(row)?);
            let limit = usize::try_from(row.opt_int(2)?.unwrap_or(1)).unwrap_or(usize::MAX);
            (priority, after) = (row.int(3)?, id.0);
            // Nobody overtakes: behind the first that must wait all do.
            full |= all >= limit;
            if full && (own >= limit || !look.far) {
                return Ok(front);
            }
            if owner == Owner::Nobody {
                continue;
            }
            if !full {
                front.heads.push(id);
            }
            all += 1;
            if owner == Owner::Here {
                front.next.push(id);
                own += 1;
            }
        }
        if i64::try_from(rows.len()).unwrap_or(PAGE) < PAGE {
            return Ok(front);
        }
    }
}

/// As who a queue is looked at.
struct Look<'a> {
    boot_id: &'a str,
    has_owner: HasOwner<'a>,
    /// Whether it looks behind those that may begin.
    far: bool,
    /// Processes that were asked for: it takes a look at a file.
    alive: HashMap<String, bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Here,
    Elsewhere,
    Nobody,
}

impl<'a> Look<'a> {
    fn new(boot_id: &'a str, has_owner: HasOwner<'a>) -> Self {
        Self { boot_id, has_owner, far: false, alive: HashMap::new() }
    }

    /// Who has an execution, by its id and its process.
    fn owner(&mut self, row: &Row) -> Result<Owner> {
        let (id, Some(boot)) = (ExecutionId(row.int(0)?), row.opt_text(1)?) else { return Ok(Owner::Nobody) };
        if boot == self.boot_id {
            return Ok(if (self.has_owner)(id, boot) { Owner::Here } else { Owner::Nobody });
        }
        let alive = match self.alive.get(boot) {
            Some(alive) => *alive,
            None => {
                let alive = (self.has_owner)(id, boot);
                self.alive.insert(boot.to_owned(), alive);
                alive
            }
        };
        Ok(if alive { Owner::Elsewhere } else { Owner::Nobody })
    }
}
