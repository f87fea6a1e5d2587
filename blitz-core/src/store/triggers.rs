//! Enabled triggers and their firings: the SQL, written once.

use serde_json::Value;

use super::catalog::Viewer;
use super::sql::{Connection, Row, params, to_json};
use crate::domain::{
    EnabledTrigger, ExecutionId, Firing, FiringStatus, ListOptions, Page, Principal, Reach, ResourceId, Timestamp,
    Trigger,
};
use crate::error::{Error, ErrorInfo, Result};

/// A trigger as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct TriggerRow {
    pub(crate) id: i64,
    pub(crate) workflow_id: ResourceId,
    pub(crate) spec: Trigger,
    pub(crate) principal: Principal,
    pub(crate) next_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl TriggerRow {
    /// As users see it.
    pub(crate) fn show(self) -> EnabledTrigger {
        EnabledTrigger {
            id: self.id,
            workflow_id: self.workflow_id,
            trigger: self.spec,
            runs_as: self.principal.label(),
            next_at: self.next_at,
            created_at: self.created_at,
        }
    }
}

macro_rules! trigger_sql {
    ($rest:literal) => {
        concat!("SELECT id, workflow_id, spec, principal, next_at, created_at FROM triggers ", $rest)
    };
}

fn trigger(row: &Row) -> Result<TriggerRow> {
    Ok(TriggerRow {
        id: row.int(0)?,
        workflow_id: ResourceId(row.int(1)?),
        spec: row.json(2)?,
        principal: row.json(3)?,
        next_at: row.opt_int(4)?.map(Timestamp),
        created_at: Timestamp(row.int(5)?),
    })
}

fn triggers(rows: &[Row]) -> Result<Vec<TriggerRow>> {
    rows.iter().map(trigger).collect()
}

/// The triggers of a workflow, in order.
pub(crate) fn of_workflow(tx: &mut dyn Connection, workflow: ResourceId) -> Result<Vec<TriggerRow>> {
    let rows =
        tx.query_all(trigger_sql!("WHERE workflow_id = ?1 AND ended = 0 ORDER BY id LIMIT 1000"), params![workflow])?;
    triggers(&rows)
}

/// A page of the triggers of the workflows that a viewer may read: of all, or of those that it owns or
/// that are open to it. The workflow may be deleted by now.
pub(crate) fn list(
    tx: &mut dyn Connection,
    viewer: Viewer<'_>,
    reach: Reach,
    page: &ListOptions,
) -> Result<Page<EnabledTrigger>> {
    const ALL: &str = trigger_sql!("WHERE id > ?1 AND ended = 0 ORDER BY id LIMIT ?2");
    const OPEN: &str = trigger_sql!(
        "WHERE id > ?1 AND ended = 0 AND EXISTS (SELECT 1 FROM resources r WHERE r.id = workflow_id
            AND (r.owner_id = ?3 OR r.visibility = 'shared'
                OR EXISTS (SELECT 1 FROM shares s WHERE s.resource_id = r.id AND (s.user_id = ?3 OR s.role = ?4))))
         ORDER BY id LIMIT ?2"
    );
    let (after, limit) = (page.after_id()?, page.rows());
    let rows = match reach {
        Reach::All => tx.query_all(ALL, params![after, limit])?,
        Reach::Own => tx.query_all(OPEN, params![after, limit, viewer.grantee(), viewer.role])?,
        Reach::None => Vec::new(),
    };
    let items = triggers(&rows)?.into_iter().map(TriggerRow::show).collect();
    Ok(Page::cut(items, page, |trigger: &EnabledTrigger| trigger.id))
}

/// Whose a trigger is, also one that was ended.
pub(crate) fn workflow_of(tx: &mut dyn Connection, id: i64) -> Result<Option<ResourceId>> {
    let row = tx.query_one("SELECT workflow_id FROM triggers WHERE id = ?1", params![id])?;
    row.map(|row| row.int(0).map(ResourceId)).transpose()
}

/// One trigger.
pub(crate) fn get(tx: &mut dyn Connection, id: i64) -> Result<Option<TriggerRow>> {
    tx.query_one(trigger_sql!("WHERE id = ?1 AND ended = 0"), params![id])?.as_ref().map(trigger).transpose()
}

/// The triggers of a kind and a name.
pub(crate) fn named(tx: &mut dyn Connection, kind: &str, name: &str) -> Result<Vec<TriggerRow>> {
    let sql = trigger_sql!("WHERE kind = ?1 AND name = ?2 AND ended = 0 ORDER BY id LIMIT 1000");
    triggers(&tx.query_all(sql, params![kind, name])?)
}

/// Schedules whose moment has come, the longest due first.
pub(crate) fn due(tx: &mut dyn Connection, now: Timestamp, limit: u32) -> Result<Vec<TriggerRow>> {
    let sql = trigger_sql!("WHERE next_at <= ?1 ORDER BY next_at, id LIMIT ?2");
    triggers(&tx.query_all(sql, params![now, limit])?)
}

/// When the next schedule is due, and whether firings are queued.
pub(crate) fn next_due(tx: &mut dyn Connection) -> Result<(Option<Timestamp>, bool)> {
    let row = tx.query_one(
        "SELECT min(next_at), EXISTS (SELECT 1 FROM firings WHERE status = 'queued')
         FROM triggers WHERE next_at IS NOT NULL",
        params![],
    )?;
    match row {
        Some(row) => Ok((row.opt_int(0)?.map(Timestamp), row.int(1)? > 0)),
        None => Ok((None, false)),
    }
}

/// Keeps a trigger.
pub(crate) fn insert(
    tx: &mut dyn Connection,
    now: Timestamp,
    workflow: ResourceId,
    spec: &Trigger,
    principal: &Principal,
    next_at: Option<Timestamp>,
) -> Result<()> {
    let (kind, name) = kind_of(spec);
    tx.insert(
        "INSERT INTO triggers (workflow_id, spec, kind, name, principal, next_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![workflow, to_json(spec)?, kind, name, to_json(principal)?, next_at, now],
    )?;
    Ok(())
}

fn kind_of(spec: &Trigger) -> (&'static str, Option<&str>) {
    match spec {
        Trigger::Manual {} => ("manual", None),
        Trigger::Webhook { name, .. } => ("webhook", Some(name)),
        Trigger::Schedule { .. } => ("schedule", None),
        Trigger::Event { name, .. } => ("event", Some(name)),
    }
}

/// Lets a trigger run as somebody else.
pub(crate) fn hand_over(tx: &mut dyn Connection, id: i64, principal: &Principal) -> Result<()> {
    tx.execute("UPDATE triggers SET principal = ?2 WHERE id = ?1", params![id, to_json(principal)?])?;
    Ok(())
}

/// Ends a trigger; what it fired stays known.
pub(crate) fn delete(tx: &mut dyn Connection, id: i64) -> Result<()> {
    tx.execute("UPDATE triggers SET ended = 1, next_at = NULL WHERE id = ?1", params![id])?;
    Ok(())
}

/// Says when a schedule fires next; it goes forward only.
pub(crate) fn advance(tx: &mut dyn Connection, id: i64, next_at: Option<Timestamp>) -> Result<()> {
    tx.execute(
        "UPDATE triggers SET next_at = ?2 WHERE id = ?1 AND (?2 IS NULL OR next_at IS NULL OR next_at < ?2)",
        params![id, next_at],
    )?;
    Ok(())
}

/// Says when a schedule fires next, also where that is earlier than was said before.
pub(crate) fn rearm(tx: &mut dyn Connection, id: i64, next_at: Timestamp) -> Result<()> {
    tx.execute("UPDATE triggers SET next_at = ?2 WHERE id = ?1 AND ended = 0", params![id, next_at])?;
    Ok(())
}

macro_rules! firing_sql {
    ($rest:literal) => {
        concat!("SELECT id, trigger_id, slot, at, missed, status, execution_id, data, error FROM firings ", $rest)
    };
}

fn firing(row: &Row) -> Result<Firing> {
    let status = FiringStatus::from_name(row.text(5)?)
        .ok_or_else(|| Error::storage("a firing has a status that is not known here"))?;
    Ok(Firing {
        id: row.int(0)?,
        trigger_id: row.int(1)?,
        slot: row.text(2)?.to_owned(),
        at: Timestamp(row.int(3)?),
        missed: u32::try_from(row.int(4)?).unwrap_or(u32::MAX),
        status,
        execution_id: row.opt_int(6)?.map(ExecutionId),
        data: row.json(7)?,
        error: row.opt_json(8)?,
    })
}

/// Takes a slot; `None` where it was taken before.
pub(crate) fn take(
    tx: &mut dyn Connection,
    now: Timestamp,
    trigger: i64,
    slot: &str,
    missed: u32,
    data: &Value,
) -> Result<Option<i64>> {
    if of_slot(tx, trigger, slot)?.is_some() {
        return Ok(None);
    }
    tx.insert(
        "INSERT INTO firings (trigger_id, slot, at, missed, status, data) VALUES (?1, ?2, ?3, ?4, 'queued', ?5)",
        params![trigger, slot, now, i64::from(missed), to_json(data)?],
    )
}

/// Says what came of a firing that is queued; what was said of it before stays.
pub(crate) fn settle(
    tx: &mut dyn Connection,
    id: i64,
    status: FiringStatus,
    execution: Option<ExecutionId>,
    error: Option<&ErrorInfo>,
) -> Result<()> {
    tx.execute(
        "UPDATE firings SET status = ?2, execution_id = ?3, error = ?4 WHERE id = ?1 AND status = 'queued'",
        params![id, status.name(), execution, error.map(to_json).transpose()?],
    )?;
    Ok(())
}

/// The firing of a slot.
pub(crate) fn of_slot(tx: &mut dyn Connection, trigger: i64, slot: &str) -> Result<Option<Firing>> {
    let row = tx.query_one(firing_sql!("WHERE trigger_id = ?1 AND slot = ?2"), params![trigger, slot])?;
    row.as_ref().map(firing).transpose()
}

/// A page of a trigger's firings, newest first.
pub(crate) fn firings(tx: &mut dyn Connection, trigger: i64, page: &ListOptions) -> Result<Page<Firing>> {
    let before = super::cursor(page)?.unwrap_or(i64::MAX);
    let sql = firing_sql!("WHERE trigger_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");
    let rows = tx.query_all(sql, params![trigger, before, page.rows()])?;
    let items = rows.iter().map(firing).collect::<Result<Vec<_>>>()?;
    Ok(Page::cut(items, page, |firing| firing.id))
}

/// Of each trigger the oldest firing that is queued.
pub(crate) fn queued(tx: &mut dyn Connection, limit: u32) -> Result<Vec<Firing>> {
    // The sign keeps the planner to the index of what is queued, which is short.
    let sql = firing_sql!(
        "WHERE id IN (SELECT min(id) FROM firings WHERE status = 'queued' GROUP BY +trigger_id) ORDER BY id LIMIT ?1"
    );
    tx.query_all(sql, params![limit])?.iter().map(firing).collect()
}

/// Whether the execution that a trigger started last has not ended, or a firing of it waits before another.
///
/// The last is enough: where this is asked, each began behind the end of the one before.
pub(crate) fn is_busy(tx: &mut dyn Connection, trigger: i64, before: i64) -> Result<bool> {
    let row = tx.query_one(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM firings WHERE trigger_id = ?1 AND status = 'queued' AND id < ?2)
            OR EXISTS (SELECT 1 FROM executions WHERE finished_at IS NULL AND id =
                (SELECT execution_id FROM firings WHERE trigger_id = ?1 AND status = 'started' AND id < ?2
                 ORDER BY id DESC LIMIT 1))",
        params![trigger, before],
    )?;
    Ok(row.is_some())
}
