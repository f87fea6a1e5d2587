//! Executions and their journal: the SQL, written once.

mod keys;
mod large;
mod nodes;
mod queue;

use serde_json::Value;

use super::sql::{Connection, Row, params, to_json};
use crate::domain::{
    Event, EventData, Execution, ExecutionId, ExecutionPlan, ExecutionStatus, Finished, ListOptions, Page, Principal,
    Queued, ResourceId, Step, StepKind, Timestamp, UserId, Waiting, WorkflowPlan,
};
use crate::error::{Error, Result};
pub(crate) use keys::{client_key, forget_client_keys, put_client_key};
pub(crate) use large::{bring_output, large};
pub(crate) use nodes::{blob, cached, journal_below, names_output, put_blob, put_cached, question, take_decisions};
pub(crate) use queue::{QueuePlace, enqueue, enqueue_again, front_of, queued_by, take_turn};

/// Version of the form of journal records.
const JOURNAL_SCHEMA: i64 = 2;
/// The form before: whole values, of which an older engine goes on.
const PLAIN_SCHEMA: i64 = 1;
/// Records over this many bytes are kept as blobs by hash.
pub(crate) const INLINE_BYTES: usize = 64 * 1024;

/// What a new execution is made of.
pub(crate) struct NewExecution<'a> {
    pub(crate) parent: Option<Parent<'a>>,
    pub(crate) agent_id: ResourceId,
    pub(crate) name: &'a str,
    pub(crate) principal: &'a Principal,
    pub(crate) definition_hash: &'a str,
    pub(crate) boot_id: &'a str,
    pub(crate) deadline: Timestamp,
}

/// Where a child hangs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parent<'a> {
    pub(crate) id: ExecutionId,
    pub(crate) root_id: ExecutionId,
    pub(crate) key: &'a str,
    pub(crate) depth: u32,
}

/// An execution as its driver needs it.
#[derive(Debug, Clone)]
pub(crate) struct ExecutionRow {
    pub(crate) id: ExecutionId,
    pub(crate) root_id: ExecutionId,
    pub(crate) parent_id: Option<ExecutionId>,
    pub(crate) agent_id: ResourceId,
    pub(crate) principal: Principal,
    pub(crate) definition_hash: String,
    pub(crate) depth: u32,
    pub(crate) waiting_for: Vec<Waiting>,
    pub(crate) cancel_requested: bool,
    pub(crate) boot_id: Option<String>,
    pub(crate) epoch: i64,
    pub(crate) resume_attempts: u32,
    pub(crate) deadline: Timestamp,
    pub(crate) finished: Option<Finished>,
    /// The record from which on its failed parts ran again; 0 where they never did.
    pub(crate) redriven: i64,
    /// Whether it waits for its turn: nothing of it has begun.
    pub(crate) queued: bool,
}

macro_rules! row_sql {
    ($rest:literal) => {
        concat!(
            "SELECT id, root_id, parent_id, agent_id, principal, definition_hash, depth, waiting_for, cancel_requested,
                boot_id, epoch, resume_attempts, deadline, finished, redriven,
                status = 'pending' FROM executions ",
            $rest
        )
    };
}

fn row(row: &Row) -> Result<ExecutionRow> {
    Ok(ExecutionRow {
        id: ExecutionId(row.int(0)?),
        root_id: ExecutionId(row.int(1)?),
        parent_id: row.opt_int(2)?.map(ExecutionId),
        agent_id: ResourceId(row.int(3)?),
        principal: row.json(4)?,
        definition_hash: row.text(5)?.to_owned(),
        depth: u32::try_from(row.int(6)?).unwrap_or(u32::MAX),
        waiting_for: row.opt_json(7)?.unwrap_or_default(),
        cancel_requested: row.bool(8)?,
        boot_id: row.opt_text(9)?.map(str::to_owned),
        epoch: row.int(10)?,
        resume_attempts: u32::try_from(row.int(11)?).unwrap_or(u32::MAX),
        deadline: Timestamp(row.int(12)?),
        finished: row.opt_json(13)?,
        redriven: row.int(14)?,
        queued: row.bool(15)?,
    })
}

fn status(name: &str) -> Result<ExecutionStatus> {
    ExecutionStatus::from_name(name).ok_or_else(|| Error::storage("an execution has a status that is not known here"))
}

/// Keeps an immutable body under its hash.
pub(crate) fn put_definition(tx: &mut dyn Connection, hash: &str, body: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO definitions (hash, body) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING",
        params![hash, body],
    )?;
    Ok(())
}

/// What an execution is pinned to.
pub(crate) enum StoredPlan {
    Agent(Box<ExecutionPlan>),
    Workflow(Box<WorkflowPlan>),
}

/// The plan that an execution is pinned to.
pub(crate) fn stored_plan(tx: &mut dyn Connection, hash: &str) -> Result<StoredPlan> {
    /// Only a workflow's plan has this field.
    #[derive(serde::Deserialize)]
    struct Kind {
        workflow: Option<serde::de::IgnoredAny>,
    }
    let row = tx
        .query_one("SELECT body FROM definitions WHERE hash = ?1", params![hash])?
        .ok_or_else(|| Error::storage("the definition of an execution is missing"))?;
    let kind: Kind = row.json(0)?;
    Ok(match kind.workflow {
        Some(_) => StoredPlan::Workflow(Box::new(row.json(0)?)),
        None => StoredPlan::Agent(Box::new(row.json(0)?)),
    })
}

/// Makes an execution's row; a root is its own root.
pub(crate) fn create(tx: &mut dyn Connection, now: Timestamp, new: &NewExecution<'_>) -> Result<ExecutionId> {
    let parent = new.parent.as_ref();
    let id = tx.insert(
        "INSERT INTO executions (id, root_id, parent_id, parent_key, agent_id, name, user_id, principal, definition_hash,
            depth, status, boot_id, epoch, deadline, created_at)
         VALUES ((SELECT coalesce(max(id), 0) + 1 FROM executions),
            coalesce(?1, (SELECT coalesce(max(id), 0) + 1 FROM executions)),
            ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'running', ?10, 1, ?11, ?12)",
        params![
            parent.map(|p| p.root_id),
            parent.map(|p| p.id),
            parent.map(|p| p.key),
            new.agent_id,
            new.name,
            new.principal.user_id(),
            to_json(new.principal)?,
            new.definition_hash,
            parent.map_or(0, |p| p.depth),
            new.boot_id,
            new.deadline,
            now,
        ],
    )?;
    id.map(ExecutionId).ok_or_else(no_id)
}

/// A record to append to a journal.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) execution_id: ExecutionId,
    pub(crate) path: String,
    pub(crate) data: EventData,
}

/// Appends records to the root's journal and gives them as events with their place, large values by their hash.
///
/// Errors: `Interrupted` where another process has taken the execution over: `epoch` is old.
pub(crate) fn append(
    tx: &mut dyn Connection,
    now: Timestamp,
    root_id: ExecutionId,
    epoch: Option<i64>,
    entries: Vec<Entry>,
) -> Result<Vec<Event>> {
    let root = tx
        .query_one(
            "SELECT epoch, (SELECT max(seq) FROM journal WHERE root_id = ?1) FROM executions WHERE id = ?1",
            params![root_id],
        )?
        .ok_or_else(|| Error::storage("an execution is missing: the file is damaged"))?;
    let root_epoch = root.int(0)?;
    if epoch.is_some_and(|epoch| root_epoch != epoch) {
        return Err(taken_over());
    }
    append_behind(tx, now, root_id, root.opt_int(1)?.unwrap_or(0), entries)
}

/// Appends the first records of a root that was made in this transaction.
pub(crate) fn append_first(
    tx: &mut dyn Connection,
    now: Timestamp,
    root_id: ExecutionId,
    entries: Vec<Entry>,
) -> Result<Vec<Event>> {
    append_behind(tx, now, root_id, 0, entries)
}

/// Appends records behind the last: a transaction has the writer to itself, so none comes between.
fn append_behind(
    tx: &mut dyn Connection,
    now: Timestamp,
    root_id: ExecutionId,
    last: i64,
    entries: Vec<Entry>,
) -> Result<Vec<Event>> {
    let mut events = Vec::with_capacity(entries.len());
    for (seq, mut entry) in (last + 1..).zip(entries) {
        let mut json = to_json(&entry.data)?;
        let mut schema = PLAIN_SCHEMA;
        if json.len() > INLINE_BYTES && large::take_out(tx, &mut entry.data)? {
            (json, schema) = (to_json(&entry.data)?, JOURNAL_SCHEMA);
        }
        let (data, blob) = if json.len() > INLINE_BYTES {
            let hash = super::content_hash(json.as_bytes());
            put_blob(tx, &hash, json.as_bytes())?;
            (None, Some(hash))
        } else {
            (Some(json), None)
        };
        tx.execute(
            "INSERT INTO journal (root_id, seq, execution_id, at, path, type, schema, data, blob_hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![root_id, seq, entry.execution_id, now, &entry.path, entry.data.type_name(), schema, data, blob],
        )?;
        events.push(Event::new(seq, now, entry.execution_id, entry.path, entry.data));
    }
    Ok(events)
}

fn no_id() -> Error {
    Error::internal("an insert gave no id")
}

fn taken_over() -> Error {
    Error::interrupted("another process has taken this execution over")
}

fn event(tx: &mut dyn Connection, row: &Row) -> Result<Event> {
    if row.int(5)? > JOURNAL_SCHEMA {
        return Err(Error::storage("a journal record is from a newer version of the engine"));
    }
    let data: EventData = match row.opt_text(6)? {
        Some(_) => row.json(6)?,
        None => blob(tx, row.text(7)?)?,
    };
    Ok(Event::new(row.int(0)?, Timestamp(row.int(2)?), ExecutionId(row.int(1)?), row.text(3)?.to_owned(), data))
}

fn events(tx: &mut dyn Connection, rows: &[Row]) -> Result<Vec<Event>> {
    rows.iter().map(|row| event(tx, row)).collect()
}

/// The records of a root's journal behind `after`, at most `limit`, as readers are shown them: large values by their hash.
pub(crate) fn journal(tx: &mut dyn Connection, root_id: ExecutionId, after: i64, limit: u32) -> Result<Vec<Event>> {
    let rows = tx.query_all(
        "SELECT seq, execution_id, at, path, type, schema, data, blob_hash FROM journal
         WHERE root_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
        params![root_id, after, limit.min(1000)],
    )?;
    events(tx, &rows)
}

/// All records of one execution, a child's without its siblings', behind `after`, whole but for the outputs of nodes.
pub(crate) fn journal_of(
    tx: &mut dyn Connection,
    root_id: ExecutionId,
    id: ExecutionId,
    after: i64,
    limit: u32,
) -> Result<Vec<Event>> {
    let rows = tx.query_all(
        "SELECT seq, execution_id, at, path, type, schema, data, blob_hash FROM journal
         WHERE root_id = ?1 AND execution_id = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4",
        params![root_id, id, after, limit.min(1000)],
    )?;
    large::whole_events(tx, &rows)
}

/// Where an execution stands, without an end, and where it stood as its driver last said.
///
/// Where a decision has come that its driver has not read, what was decided stays decided, and so does
/// the wake-up: the driver will read it, and say anew. What it waits for since is open all the same.
pub(crate) fn set_status(
    tx: &mut dyn Connection,
    id: ExecutionId,
    status: ExecutionStatus,
    before: &[Waiting],
    waiting: &[Waiting],
) -> Result<()> {
    let mut left: Option<Vec<Waiting>> = None;
    if before.iter().any(|wait| matches!(wait, Waiting::Decision { .. } | Waiting::Approval { .. })) {
        let unread = "SELECT waiting_for FROM executions WHERE id = ?1 AND next_wake = 0";
        if let Some(row) = tx.query_one(unread, params![id])? {
            left = Some(row.opt_json(0)?.unwrap_or_default());
        }
    }
    let decided = |wait: &Waiting| left.as_ref().is_some_and(|left| before.contains(wait) && !left.contains(wait));
    let waiting: Vec<&Waiting> = waiting.iter().filter(|wait| !decided(wait)).collect();
    let next_wake = waiting.iter().filter_map(|wait| match wait {
        Waiting::Timer { at, .. } => Some(*at),
        _ => None,
    });
    let waiting_json = if waiting.is_empty() { None } else { Some(to_json(&waiting)?) };
    tx.execute(
        "UPDATE executions SET status = ?2, waiting_for = ?3, next_wake = CASE WHEN next_wake = 0 THEN 0 ELSE ?4 END
         WHERE id = ?1",
        params![id, status.name(), waiting_json, next_wake.min()],
    )?;
    Ok(())
}

/// The end of an execution.
pub(crate) fn finish(tx: &mut dyn Connection, now: Timestamp, id: ExecutionId, finished: &Finished) -> Result<()> {
    let changed = tx.execute(
        "UPDATE executions SET status = ?2, waiting_for = NULL, next_wake = NULL, finished = ?3, finished_at = ?4
         WHERE id = ?1 AND finished_at IS NULL",
        params![id, finished.status.name(), to_json(finished)?, now],
    )?;
    if changed == 1 { Ok(()) } else { Err(Error::internal("an execution ended twice")) }
}

/// Notes that the end of an execution is asked for; false where it was before.
pub(crate) fn request_cancel(tx: &mut dyn Connection, id: ExecutionId) -> Result<bool> {
    let changed =
        tx.execute("UPDATE executions SET cancel_requested = 1 WHERE id = ?1 AND cancel_requested = 0", params![id])?;
    Ok(changed == 1)
}

/// One execution as its driver needs it.
pub(crate) fn get(tx: &mut dyn Connection, id: ExecutionId) -> Result<Option<ExecutionRow>> {
    let sql = row_sql!("WHERE id = ?1");
    tx.query_one(sql, params![id])?.as_ref().map(row).transpose()
}

/// How the children of an execution ended that have.
pub(crate) fn ended_children(tx: &mut dyn Connection, parent: ExecutionId) -> Result<Vec<Finished>> {
    let rows = tx.query_all(
        "SELECT finished FROM executions WHERE parent_id = ?1 AND finished IS NOT NULL ORDER BY id LIMIT 1000",
        params![parent],
    )?;
    rows.iter().map(|row| row.json(0)).collect()
}

/// The executions of a tree that have not ended, children before their parents.
pub(crate) fn open_tree(tx: &mut dyn Connection, root_id: ExecutionId) -> Result<Vec<ExecutionRow>> {
    let sql = row_sql!(
        "WHERE (id = ?1 OR (root_id = ?1 AND parent_id IS NOT NULL)) AND finished_at IS NULL 
         ORDER BY id DESC LIMIT 1000"
    );
    tx.query_all(sql, params![root_id])?.iter().map(row).collect()
}

/// Root executions that have not ended, with the process that has each, behind an id.
pub(crate) fn open_roots(tx: &mut dyn Connection, after: ExecutionId, limit: u32) -> Result<Vec<ExecutionRow>> {
    let sql = row_sql!("WHERE finished_at IS NULL AND parent_id IS NULL AND id > ?1 ORDER BY id LIMIT ?2");
    tx.query_all(sql, params![after, limit])?.iter().map(row).collect()
}

/// What others asked of the executions that a process runs.
#[derive(Debug, Default)]
pub(crate) struct AskedFor {
    pub(crate) cancelled: Vec<ExecutionId>,
    pub(crate) decided: Vec<ExecutionId>,
}

/// Of the given process's executions, those that were asked to stop or whose waits were decided.
pub(crate) fn asked_for(tx: &mut dyn Connection, boot_id: &str) -> Result<AskedFor> {
    let rows = tx.query_all(
        "SELECT id, cancel_requested, next_wake FROM executions
         WHERE boot_id = ?1 AND finished_at IS NULL AND (cancel_requested = 1 OR next_wake = 0) LIMIT 1000",
        params![boot_id],
    )?;
    let mut asked = AskedFor::default();
    for row in &rows {
        let id = ExecutionId(row.int(0)?);
        if row.bool(1)? {
            asked.cancelled.push(id);
        }
        if row.opt_int(2)? == Some(0) {
            asked.decided.push(id);
        }
    }
    Ok(asked)
}

/// Lets the owner of an execution, in whatever process, look for a decision: a wake-up time of 0 is due.
pub(crate) fn decided(tx: &mut dyn Connection, id: ExecutionId, still_waiting: &[Waiting]) -> Result<()> {
    tx.execute(
        "UPDATE executions SET waiting_for = ?2, next_wake = 0 WHERE id = ?1",
        params![id, to_json(still_waiting)?],
    )?;
    Ok(())
}

/// Takes a root and its open children over from a process that is gone; gives the new epoch. One that
/// only waits for its turn has ended no process: it is not counted as taken up in vain.
///
/// Errors: `Internal` where the row is not as it was read in this transaction.
pub(crate) fn claim(tx: &mut dyn Connection, root: &ExecutionRow, boot_id: &str) -> Result<i64> {
    let claimed = tx.execute(
        "UPDATE executions SET boot_id = ?3, epoch = epoch + 1,
            resume_attempts = resume_attempts + CASE WHEN status = 'pending' THEN 0 ELSE 1 END,
            status = CASE WHEN status = 'pending' THEN 'pending' ELSE 'running' END, waiting_for = NULL, next_wake = NULL
         WHERE id = ?1 AND epoch = ?2 AND finished_at IS NULL",
        params![root.id, root.epoch, boot_id],
    )?;
    if claimed != 1 {
        return Err(Error::internal("an execution changed under its claim"));
    }
    let epoch = root.epoch + 1;
    // Whoever asks something of a child must find its owner too.
    tx.execute(
        "UPDATE executions SET boot_id = ?2, status = 'running', waiting_for = NULL, next_wake = NULL
         WHERE root_id = ?1 AND parent_id IS NOT NULL AND finished_at IS NULL",
        params![root.id, boot_id],
    )?;
    Ok(epoch)
}

/// Opens an execution again that has ended; gives the new epoch.
pub(crate) fn reopen(tx: &mut dyn Connection, row: &ExecutionRow, boot_id: &str, deadline: Timestamp) -> Result<i64> {
    tx.execute(
        "UPDATE executions SET finished = NULL, finished_at = NULL, status = 'running', waiting_for = NULL,
            next_wake = NULL, cancel_requested = 0, resume_attempts = 0, boot_id = ?2, epoch = epoch + 1, deadline = ?3
         WHERE id = ?1",
        params![row.id, boot_id, deadline],
    )?;
    Ok(row.epoch + 1)
}

/// Notes the record from which on the failed parts of an execution ran again.
pub(crate) fn redriven(tx: &mut dyn Connection, id: ExecutionId, seq: i64) -> Result<()> {
    tx.execute("UPDATE executions SET redriven = ?2 WHERE id = ?1", params![id, seq])?;
    Ok(())
}

/// The executions that a process leaves interrupted at its clean end were not taken up in vain.
pub(crate) fn left_cleanly(tx: &mut dyn Connection, boot_id: &str) -> Result<()> {
    tx.execute(
        "UPDATE executions SET resume_attempts = 0 WHERE boot_id = ?1 AND finished_at IS NULL AND resume_attempts > 0",
        params![boot_id],
    )?;
    Ok(())
}

/// An execution that was taken up again has finished a step: its count of attempts begins anew.
pub(crate) fn made_progress(tx: &mut dyn Connection, root_id: ExecutionId) -> Result<()> {
    tx.execute("UPDATE executions SET resume_attempts = 0 WHERE id = ?1", params![root_id])?;
    Ok(())
}

/// Which executions a list shows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Filter {
    /// Only this user's.
    pub(crate) user_id: Option<UserId>,
    /// Only in this status.
    pub(crate) status: Option<ExecutionStatus>,
    /// Children too.
    pub(crate) children: bool,
}

macro_rules! public_sql {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, e.root_id, e.parent_id, e.agent_id, e.name, e.user_id, e.status, e.waiting_for, e.cancel_requested,
                e.boot_id, e.resume_attempts, e.finished, e.created_at, e.finished_at,
                (SELECT coalesce(j.data, CAST(b.body AS TEXT)) FROM journal j LEFT JOIN blobs b ON b.hash = j.blob_hash
                 WHERE j.root_id = e.root_id AND j.execution_id = e.id AND j.type = 'execution.queued' ORDER BY j.seq LIMIT 1),
                (SELECT r.kind FROM resources r WHERE r.id = e.agent_id)
             FROM executions e ",
            $rest
        )
    };
}

/// Tells whether somebody has the tree of a root in hand: the root, and the process that owns it.
pub(crate) type HasOwner<'a> = &'a dyn Fn(ExecutionId, &str) -> bool;

/// One execution as users see it.
pub(crate) fn show(tx: &mut dyn Connection, id: ExecutionId, has_owner: HasOwner<'_>) -> Result<Option<Execution>> {
    let row = tx.query_one(public_sql!("WHERE e.id = ?1"), params![id])?;
    row.as_ref().map(|row| public(tx, row, has_owner)).transpose()
}

/// A page of executions as users see them, newest first.
pub(crate) fn list(
    tx: &mut dyn Connection,
    filter: Filter,
    page: &ListOptions,
    has_owner: HasOwner<'_>,
) -> Result<Page<Execution>> {
    let before = super::cursor(page)?.unwrap_or(i64::MAX);
    let rows = tx.query_all(
        public_sql!(
            "WHERE e.id < ?1 AND (?2 IS NULL OR e.user_id = ?2) AND (?3 IS NULL OR e.status = ?3)
             AND (?4 = 1 OR e.parent_id IS NULL) ORDER BY e.id DESC LIMIT ?5"
        ),
        params![before, filter.user_id, filter.status.map(ExecutionStatus::name), filter.children, page.rows()],
    )?;
    let items = rows.iter().map(|row| public(tx, row, has_owner)).collect::<Result<Vec<_>>>()?;
    Ok(Page::cut(items, page, |execution| execution.id.0))
}

fn public(tx: &mut dyn Connection, row: &Row, has_owner: HasOwner<'_>) -> Result<Execution> {
    let finished: Option<Finished> = row.opt_json(11)?;
    let mut queued: Option<EventData> = row.opt_json(14)?;
    queued.as_mut().map(|queued| large::bring_back(tx, queued)).transpose()?;
    let input = match queued {
        Some(EventData::ExecutionQueued(Queued { input, .. })) => input,
        _ => Value::Null,
    };
    let ended = finished.is_some();
    let ran = ResourceId(row.int(3)?);
    let is_workflow = row.opt_text(15)? == Some("workflow");
    let root_id = ExecutionId(row.int(1)?);
    let status = status(row.text(6)?)?;
    // Also while something else runs: what is asked of people and deciders is open all the same.
    let waiting_for = row.opt_json(7)?.unwrap_or_default();
    Ok(Execution {
        id: ExecutionId(row.int(0)?),
        root_id,
        parent_id: row.opt_int(2)?.map(ExecutionId),
        agent_id: (!is_workflow).then_some(ran),
        workflow_id: is_workflow.then_some(ran),
        name: row.text(4)?.to_owned(),
        user_id: row.opt_int(5)?.map(UserId),
        status,
        waiting_for,
        cancel_requested: row.bool(8)?,
        interrupted: !ended && !row.opt_text(9)?.is_some_and(|boot| has_owner(root_id, boot)),
        resume_attempts: u32::try_from(row.int(10)?).unwrap_or(u32::MAX),
        input,
        output: finished.as_ref().map_or(Value::Null, |f| f.output.clone()),
        error: finished.as_ref().and_then(|f| f.error.clone()),
        usage: finished.as_ref().map(|f| f.usage).unwrap_or_default(),
        cost: finished.as_ref().and_then(|f| f.cost),
        created_at: Timestamp(row.int(12)?),
        finished_at: row.opt_int(13)?.map(Timestamp),
    })
}

/// The steps of an execution that have ended, in order.
pub(crate) fn steps(
    tx: &mut dyn Connection,
    root_id: ExecutionId,
    id: ExecutionId,
    page: &ListOptions,
) -> Result<Page<Step>> {
    let after = page.after_id()?;
    let rows = tx.query_all(
        "SELECT seq, execution_id, at, path, type, schema, data, blob_hash FROM journal
         WHERE root_id = ?1 AND execution_id = ?2 AND seq > ?3 AND type IN ('step.finished', 'tool.finished', 'node.finished')
         ORDER BY seq LIMIT ?4",
        params![root_id, id, after, page.rows()],
    )?;
    let items = events(tx, &rows)?
        .into_iter()
        .map(|event| {
            let kind = match &event.data {
                EventData::StepFinished(step) => step.kind,
                _ => StepKind::Tool,
            };
            Step::new(event.seq, event.execution_id, event.path, kind, event.ts, event.data)
        })
        .collect();
    Ok(Page::cut(items, page, |step: &Step| step.seq))
}
