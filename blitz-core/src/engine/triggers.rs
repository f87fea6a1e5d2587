//! Triggers: what starts workflows beside calls, and the dispatcher of their schedules.
//!
//! A definition says what its triggers are; somebody enables them, and their executions are that
//! user's, checked at each firing. The host brings the transport: its route calls
//! [`Triggers::fire`], whatever tells it of an event [`Triggers::emit`]. A schedule fires by itself
//! while an engine is open that has recovered or enabled, once, whichever process is first: a firing
//! is a row, and its slot is unique.

pub(super) mod enabled;

use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::methods::{Method, PageOf, method};
use super::run::Audience;
use super::{Inner, Session};
use crate::access::{Grant, Target};
use crate::domain::schema::admit_kept;
use crate::domain::{
    EnabledTrigger, Firing, FiringStatus, ListOptions, Overlap, Page, Permission, ResourceKind, ResourceRef,
    RunOptions, Timestamp, Trigger,
};
use crate::error::{Error, ErrorCode, ErrorInfo, Result};
use crate::execution::begin::{Beginning, Begins, What, begin};
use crate::execution::{Runtime, fresh_seed};
use crate::store::catalog::{self, shown};
use crate::store::triggers::{self, TriggerRow};
use crate::store::{Connection, tells_busy};
use crate::workflow::cron::Cron;
use crate::workflow::expr::{Expr, Scope, Shape, Strings};

/// Schedules or queued firings that one read takes.
const PAGE: u32 = 100;
/// The longest sleep of the dispatcher: what other processes enable is seen by then.
const LONGEST: Duration = Duration::from_secs(30);
/// How often queued firings are looked at.
const QUEUED: Duration = Duration::from_secs(1);
/// Missed moments that are counted one by one.
const COUNTED: u32 = 1000;
/// The longest key of a delivery, in bytes.
const MAX_KEY: usize = 200;

/// The triggers, through a session.
pub struct Triggers {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("triggers.enable", SchedulesManage, Enable => Vec<EnabledTrigger>, |s, given| async move {
        s.triggers().enable_from(given.workflow, given.from).await
    }),
    method!("triggers.disable", SchedulesManage, OfWorkflow => (), |s, of| s.triggers().disable(of.workflow)),
    method!("triggers.list", SchedulesManage, ListOptions => Page<EnabledTrigger>, |s, page| s.triggers().list(page)),
    method!("triggers.firings", SchedulesManage, PageOf<i64> => Page<Firing>, |s, of| {
        let (id, page) = of.split();
        async move { s.triggers().firings(id, page).await }
    }),
    method!("triggers.fire", SchedulesManage, Delivery => Vec<Firing>, |s, given| async move {
        s.triggers().fire(given.name, given.data, given.key).await
    }),
    method!("triggers.emit", SchedulesManage, Delivery => Vec<Firing>, |s, given| async move {
        s.triggers().emit(given.name, given.data, given.key).await
    }),
    method!("triggers.tick", SchedulesManage, Tick => Vec<Firing>, |s, tick| s.triggers().tick(tick.at)),
];

/// A workflow whose triggers are enabled.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Enable {
    /// The workflow's id, its name, or `owner/name`.
    workflow: ResourceRef,
    /// From when on its schedules fire; from now on where absent.
    #[serde(default)]
    from: Option<Timestamp>,
}

/// The triggers of a workflow.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfWorkflow {
    /// The workflow's id, its name, or `owner/name`.
    workflow: ResourceRef,
}

/// A call from outside, or an event.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Delivery {
    /// The name that triggers have.
    name: String,
    /// The request's body, or the event's data.
    #[serde(default)]
    data: Value,
    /// What makes a repetition known: the same key fires once.
    #[serde(default)]
    key: Option<String>,
}

/// A look at the clock.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tick {
    /// What time it is taken to be; the machine's where absent.
    #[serde(default)]
    at: Option<Timestamp>,
}

impl Triggers {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Enables the triggers of a workflow's newest version. Their executions are the caller's.
    ///
    /// A later version's triggers take their places when the same caller publishes it; new ones of
    /// somebody else's version stay disabled. Errors: `NotFound` where it has no version,
    /// `InvalidInput` for a zone that this machine does not know; `PermissionDenied` where somebody
    /// else enabled them and the caller may not edit the workflow.
    pub async fn enable(&self, workflow: impl Into<ResourceRef>) -> Result<Vec<EnabledTrigger>> {
        self.enable_from(workflow, None).await
    }

    /// The same, with schedules that fire from a moment on.
    pub async fn enable_from(
        &self,
        workflow: impl Into<ResourceRef>,
        from: Option<Timestamp>,
    ) -> Result<Vec<EnabledTrigger>> {
        let workflow = workflow.into();
        let enabled = self
            .session
            .write(Permission::SchedulesManage, Target::None, "triggers.enable", move |tx, grant| {
                let row = grant.find(tx, Permission::WorkflowsRun, ResourceKind::Workflow, &workflow)?;
                let version = catalog::newest_version(tx, row.id)?.ok_or_else(|| {
                    Error::not_found(format!("the workflow {} has no published version", shown(&row.name)))
                })?;
                let now = from.unwrap_or(grant.now());
                enabled::admit_change(tx, grant, &row)?;
                enabled::take_over(tx, now, row.id, &version.spec.triggers, grant.principal())?;
                let enabled = triggers::of_workflow(tx, row.id)?;
                grant.audit(tx, &row.label(), None, None, json!({"triggers": enabled.len()}))?;
                Ok(enabled.into_iter().map(TriggerRow::show).collect())
            })
            .await?;
        self.session.inner.dispatch.notify_one();
        Ok(enabled)
    }

    /// Ends the triggers of a workflow; what they have started goes on. What was fired stays known.
    ///
    /// Errors: `PermissionDenied` where somebody else enabled them and the caller may not edit the workflow.
    pub async fn disable(&self, workflow: impl Into<ResourceRef>) -> Result<()> {
        let workflow = workflow.into();
        self.session
            .write(Permission::SchedulesManage, Target::None, "triggers.disable", move |tx, grant| {
                let row = grant.find(tx, Permission::WorkflowsRun, ResourceKind::Workflow, &workflow)?;
                enabled::admit_change(tx, grant, &row)?;
                triggers::of_workflow(tx, row.id)?.iter().try_for_each(|trigger| triggers::delete(tx, trigger.id))?;
                grant.audit(tx, &row.label(), None, None, Value::Null)
            })
            .await
    }

    /// A page of the triggers that are enabled, of workflows that are open to the caller.
    pub async fn list(&self, options: ListOptions) -> Result<Page<EnabledTrigger>> {
        self.session
            .read(Permission::SchedulesManage, Target::None, move |tx, grant| {
                triggers::list(tx, grant.viewer(), grant.reach_of(Permission::WorkflowsRead), &options)
            })
            .await
    }

    /// A page of what a trigger has fired, newest first; of one that was disabled too.
    ///
    /// Errors: `NotFound` where there is no such trigger, or its workflow is not open to the caller.
    pub async fn firings(&self, trigger: i64, options: ListOptions) -> Result<Page<Firing>> {
        self.session
            .read(Permission::SchedulesManage, Target::None, move |tx, grant| {
                let workflow = triggers::workflow_of(tx, trigger)?;
                let row = workflow.map(|id| catalog::by_id_once_live(tx, grant.viewer(), id)).transpose()?.flatten();
                match row.filter(|row| grant.sees(row)) {
                    Some(_) => triggers::firings(tx, trigger, &options),
                    None => Err(Error::not_found("there is no such trigger, or it is not open to you")),
                }
            })
            .await
    }

    /// Tells the engine of a call from outside: every enabled webhook trigger of this name fires.
    ///
    /// With a key a repetition is known: it fires nothing, and gives what was fired. Errors:
    /// `NotFound` where no trigger has this name.
    pub async fn fire(&self, name: impl Into<String>, body: Value, key: Option<String>) -> Result<Vec<Firing>> {
        let name = name.into();
        let fired = self.deliver("webhook", name.clone(), body, key).await?;
        fired.ok_or_else(|| Error::not_found(format!("no enabled webhook is named {}", shown(&name))))
    }

    /// Tells the engine of an event: every enabled event trigger of this name fires whose condition holds.
    ///
    /// With a key a repetition is known: it fires nothing, and gives what was fired.
    pub async fn emit(&self, name: impl Into<String>, data: Value, key: Option<String>) -> Result<Vec<Firing>> {
        Ok(self.deliver("event", name.into(), data, key).await?.unwrap_or_default())
    }

    /// Fires the schedules that are due and starts what was queued, as the dispatcher does by itself.
    ///
    /// `at` is what time it is taken to be, for tests and for hosts with a clock of their own. A
    /// schedule that has missed several moments fires once, for the last, and its firing says how many.
    pub async fn tick(&self, at: Option<Timestamp>) -> Result<Vec<Firing>> {
        self.session.read(Permission::SchedulesManage, Target::None, |_, _| Ok(())).await?;
        let inner = Arc::clone(&self.session.inner);
        let runtime = Arc::clone(&inner.runtime);
        runtime.to_its_end(async move { tick(&inner, at.unwrap_or_else(Timestamp::now)).await }).await
    }

    /// Fires all triggers of a name; `None` where there is none.
    async fn deliver(
        &self,
        kind: &'static str,
        name: String,
        data: Value,
        key: Option<String>,
    ) -> Result<Option<Vec<Firing>>> {
        admit_kept("the data", &data)?;
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_KEY) {
            return Err(Error::invalid(format!("the key of a delivery has 1 to {MAX_KEY} bytes")));
        }
        let wanted = name.clone();
        let found = self
            .session
            .read(Permission::SchedulesManage, Target::None, move |tx, _| triggers::named(tx, kind, &wanted))
            .await?;
        if found.is_empty() {
            return Ok(None);
        }
        let field = if kind == "webhook" { "body" } else { "data" };
        let data = json!({"type": kind, "name": name, field: data, "at": Timestamp::now()});
        let slot = match key {
            Some(key) => format!("key:{key}"),
            None => format!("once:{:016x}", fresh_seed()?),
        };
        let inner = Arc::clone(&self.session.inner);
        let runtime = Arc::clone(&inner.runtime);
        let fired = runtime.to_its_end(async move {
            let mut fired = Vec::new();
            for trigger in found {
                let (slot, data) = (slot.clone(), data.clone());
                let slot = Slot { slot, at: Timestamp::now(), missed: 0, data, due: None, next: None };
                fired.extend(fire(&inner, trigger, slot).await?);
            }
            Ok(fired)
        });
        fired.await.map(Some)
    }
}

fn read(cron: &str, zone: &str) -> Result<(Cron, TimeZone)> {
    let cron = Cron::parse(cron).map_err(Error::invalid)?;
    let zone = TimeZone::get(zone).map_err(|_| {
        let zone = shown(zone);
        Error::invalid(format!(
            "this machine knows no time zone {zone}: write it as Europe/Berlin, and install tzdata where it is missing"
        ))
    })?;
    Ok((cron, zone))
}

/// What a trigger fires for.
#[derive(Debug, Clone)]
struct Slot {
    slot: String,
    at: Timestamp,
    missed: u32,
    data: Value,
    /// The moment of a schedule that this is for.
    due: Option<Timestamp>,
    /// When a schedule fires next; outer `None` for what is no schedule.
    next: Option<Option<Timestamp>>,
}

/// What came of one transaction of a firing.
type Fired = (Option<Firing>, Option<Beginning>);

/// Fires a trigger as whoever enabled it. `None` where its condition does not hold, or it is gone.
async fn fire(inner: &Arc<Inner>, trigger: TriggerRow, slot: Slot) -> Result<Option<Firing>> {
    let id = trigger.id;
    let (runtime, seed) = (Arc::clone(&inner.runtime), fresh_seed()?);
    let tried = slot.clone();
    let result = as_owner(inner, &trigger, move |tx, grant| {
        let Some(trigger) = triggers::get(tx, id)? else { return Ok((None, None)) };
        if tried.due.is_some_and(|due| trigger.next_at.is_none_or(|next| next > due)) {
            // Another process has fired it, or a later moment that counts this one as missed.
            return Ok((triggers::of_slot(tx, id, &tried.slot)?, None));
        }
        if let Some(next) = tried.next {
            triggers::advance(tx, id, next)?;
        }
        if !holds(&trigger.spec, &tried.data)? {
            return Ok((None, None));
        }
        let Some(firing) = triggers::take(tx, tried.at, id, &tried.slot, tried.missed, &tried.data)? else {
            return Ok((triggers::of_slot(tx, id, &tried.slot)?, None));
        };
        let overlap = match &trigger.spec {
            Trigger::Schedule { overlap, .. } => *overlap,
            _ => Overlap::Allow,
        };
        let mut beginning = None;
        if overlap == Overlap::Allow || !triggers::is_busy(tx, id, firing)? {
            beginning = Some(start(tx, grant, &runtime, &trigger.spec, firing, &tried.data, seed)?);
        } else if overlap == Overlap::Skip {
            triggers::settle(tx, firing, FiringStatus::Skipped, None, None)?;
        }
        Ok((triggers::of_slot(tx, id, &tried.slot)?, beginning))
    });
    match result.await {
        Ok(firing) => Ok(firing),
        Err(error) if may_pass(&error) => Err(error),
        Err(error) => failed(inner, id, slot, error.to_info()).await.map(Some),
    }
}

/// Starts a firing that was queued, once nothing before it runs.
async fn release(inner: &Arc<Inner>, queued: Firing) -> Result<Option<Firing>> {
    let (id, slot) = (queued.trigger_id, queued.slot.clone());
    // On a snapshot first: as long as it must wait, nothing is written.
    let before = queued.id;
    let look = inner.work.read(move |tx, _| {
        let trigger = triggers::get(tx, id)?;
        let waits = trigger.is_some() && triggers::is_busy(tx, id, before)?;
        Ok((trigger, waits))
    });
    let (trigger, waits) = look.await?;
    if waits {
        return Ok(None);
    }
    let Some(trigger) = trigger else {
        let gone = Error::not_found("its trigger was disabled").to_info();
        return settle_failed(inner, queued, gone).await.map(Some);
    };
    let (runtime, seed) = (Arc::clone(&inner.runtime), fresh_seed()?);
    let spec = trigger.spec.clone();
    let result = as_owner(inner, &trigger, move |tx, grant| {
        let firing = triggers::of_slot(tx, id, &slot)?.filter(|firing| firing.status == FiringStatus::Queued);
        let Some(firing) = firing else { return Ok((None, None)) };
        if triggers::is_busy(tx, id, firing.id)? {
            return Ok((None, None));
        }
        let beginning = start(tx, grant, &runtime, &spec, firing.id, &firing.data, seed)?;
        Ok((triggers::of_slot(tx, id, &slot)?, Some(beginning)))
    });
    match result.await {
        Ok(firing) => Ok(firing),
        Err(error) if may_pass(&error) => Err(error),
        Err(error) => settle_failed(inner, queued, error.to_info()).await.map(Some),
    }
}

/// Does one transaction as whoever enabled a trigger, and drives what it began.
async fn as_owner<F>(inner: &Arc<Inner>, trigger: &TriggerRow, body: F) -> Result<Option<Firing>>
where
    F: Fn(&mut dyn Connection, &Grant) -> Result<Fired> + Send + 'static,
{
    let session = Session::new(Arc::clone(inner), inner.work.acting(trigger.principal.clone()));
    let target = Target::Runnable(trigger.workflow_id.into());
    let (firing, beginning) = session.write(Permission::WorkflowsRun, target, "triggers.fire", body).await?;
    if let Some(beginning) = beginning {
        session.launch(beginning, CancellationToken::new(), Audience::Open);
    }
    Ok(firing)
}

fn start(
    tx: &mut dyn Connection,
    grant: &Grant,
    runtime: &Runtime,
    spec: &Trigger,
    firing: i64,
    data: &Value,
    seed: u64,
) -> Result<Beginning> {
    let input = input(spec, data)?;
    admit_kept("the input", &input)?;
    let what = What::Run { input: &input, options: &RunOptions::default(), trigger: data };
    let Begins::New(beginning) = begin(tx, grant, runtime, &what, seed)? else {
        return Err(Error::internal("a firing has no key of a caller's own"));
    };
    triggers::settle(tx, firing, FiringStatus::Started, Some(beginning.begun.ids.id), None)?;
    Ok(*beginning)
}

fn scope(data: &Value) -> Scope {
    Scope::from_iter([("trigger".to_owned(), data.clone())])
}

/// Whether the condition of an event holds.
fn holds(spec: &Trigger, data: &Value) -> Result<bool> {
    match spec {
        Trigger::Event { when: Some(when), .. } => Expr::compile(when)?.is_true(&scope(data)),
        _ => Ok(true),
    }
}

/// What the execution is given.
fn input(spec: &Trigger, data: &Value) -> Result<Value> {
    let (shape, own) = match spec {
        Trigger::Manual {} => (&None, None),
        Trigger::Webhook { input, .. } => (input, data.get("body")),
        Trigger::Schedule { input, .. } => (input, None),
        Trigger::Event { input, .. } => (input, data.get("data")),
    };
    match shape {
        Some(shape) => Shape::compile(shape, Strings::Tags)?.evaluate(&scope(data)),
        None => Ok(own.cloned().unwrap_or_else(|| json!({}))),
    }
}

/// Whether a firing may go well later, so that nothing is written of it.
fn may_pass(error: &Error) -> bool {
    tells_busy(error) || matches!(error.code(), ErrorCode::Storage | ErrorCode::StorageFull | ErrorCode::Closed)
}

/// Notes a firing that could not start; the trigger of a workflow that is gone goes with it.
async fn failed(inner: &Arc<Inner>, trigger: i64, slot: Slot, error: ErrorInfo) -> Result<Firing> {
    inner
        .work
        .write(move |tx, _| {
            if let Some(next) = slot.next {
                triggers::advance(tx, trigger, next)?;
            }
            if let Some(firing) = triggers::take(tx, slot.at, trigger, &slot.slot, slot.missed, &slot.data)? {
                triggers::settle(tx, firing, FiringStatus::Failed, None, Some(&error))?;
            }
            if error.code == ErrorCode::NotFound
                && let Some(row) = triggers::get(tx, trigger)?
                && !catalog::is_live(tx, row.workflow_id)?
            {
                triggers::delete(tx, trigger)?;
            }
            triggers::of_slot(tx, trigger, &slot.slot)?.ok_or_else(|| Error::internal("a firing was not kept"))
        })
        .await
}

async fn settle_failed(inner: &Arc<Inner>, queued: Firing, error: ErrorInfo) -> Result<Firing> {
    inner
        .work
        .write(move |tx, _| {
            triggers::settle(tx, queued.id, FiringStatus::Failed, None, Some(&error))?;
            // Another process may have started it meanwhile.
            let firing = triggers::of_slot(tx, queued.trigger_id, &queued.slot)?;
            firing.ok_or_else(|| Error::internal("a firing was not kept"))
        })
        .await
}

/// Starts what was queued, fires what is due. One that cannot be fired does not keep the others.
async fn tick(inner: &Arc<Inner>, now: Timestamp) -> Result<Vec<Firing>> {
    let (mut fired, mut failed) = (Vec::new(), None);
    for queued in inner.work.read(|tx, _| triggers::queued(tx, PAGE)).await? {
        match release(inner, queued).await {
            Ok(firing) => fired.extend(firing),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    loop {
        let due = inner.work.read(move |tx, _| triggers::due(tx, now, PAGE)).await?;
        let over = due.is_empty() || inner.runtime.closing.is_cancelled();
        for trigger in due.into_iter().filter(|_| !over) {
            match fire_schedule(inner, trigger, now).await {
                Ok(firing) => fired.extend(firing),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // What failed is still due: it is looked at again in a later round.
        match failed {
            Some(error) => return Err(error),
            None if over => return Ok(fired),
            None => {}
        }
    }
}

async fn fire_schedule(inner: &Arc<Inner>, trigger: TriggerRow, now: Timestamp) -> Result<Option<Firing>> {
    let (Trigger::Schedule { cron, zone, .. }, Some(first)) = (&trigger.spec, trigger.next_at) else {
        return Ok(None);
    };
    let (cron, zone) = match read(cron, zone) {
        Ok(read) => read,
        Err(error) => {
            // The machine has lost the zone: it is said once, and the schedule rests.
            let data = json!({"type": "schedule", "at": first, "missed": 0});
            let slot = Slot { slot: first.0.to_string(), at: now, missed: 0, data, due: Some(first), next: Some(None) };
            return failed(inner, trigger.id, slot, error.to_info()).await.map(Some);
        }
    };
    let (last, missed) = last_due(&cron, &zone, first, now);
    let data = json!({"type": "schedule", "at": last, "missed": missed});
    let next = Some(cron.next(now.max(last), &zone));
    let slot = Slot { slot: last.0.to_string(), at: now, missed, data, due: Some(last), next };
    fire(inner, trigger, slot).await
}

/// The last moment of a schedule up to now, and how many there were before it since `first`.
fn last_due(cron: &Cron, zone: &TimeZone, first: Timestamp, now: Timestamp) -> (Timestamp, u32) {
    let (mut last, mut missed) = (first, 0);
    while let Some(next) = cron.next(last, zone).filter(|next| *next <= now) {
        last = next;
        missed += 1;
        if missed == COUNTED {
            // So many that they are not counted any further.
            return (newest(cron, zone, now).unwrap_or(last), COUNTED);
        }
    }
    (last, missed)
}

/// The last moment of a schedule up to now, looked for ever further back.
fn newest(cron: &Cron, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    const HOUR: i64 = 3_600_000_000;
    [1, 24, 31 * 24, 366 * 24, 9 * 366 * 24].into_iter().find_map(|hours| {
        let moments =
            std::iter::successors(cron.next(Timestamp(now.0 - hours * HOUR), zone), |at| cron.next(*at, zone));
        moments.take_while(|at| *at <= now).last()
    })
}

/// Fires schedules for as long as the engine is open, from the first word on.
pub(super) async fn dispatcher(engine: Weak<Inner>, wake: Arc<tokio::sync::Notify>, over: CancellationToken) {
    let mut wait = None;
    loop {
        let due = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over.cancelled() => return,
            () = wake.notified() => {}
            () = due => {}
        }
        // An engine that nobody holds is closed: nothing of it is held here while this waits.
        let Some(inner) = engine.upgrade() else { return };
        match round(&inner).await {
            Ok(next) => wait = Some(next),
            Err(error) if error.code() == ErrorCode::Closed => return,
            Err(error) => {
                tracing::warn!(code = error.code().name(), "schedules could not be looked at: they are again soon");
                wait = Some(LONGEST);
            }
        }
    }
}

async fn round(inner: &Arc<Inner>) -> Result<Duration> {
    let (runtime, held) = (Arc::clone(&inner.runtime), Arc::clone(inner));
    runtime.to_its_end(async move { tick(&held, Timestamp::now()).await }).await?;
    let (next, queued) = inner.work.read(|tx, _| triggers::next_due(tx)).await?;
    let next = next.map_or(LONGEST, |next| next.since(Timestamp::now()).max(Duration::from_millis(5)));
    Ok(next.min(if queued { QUEUED } else { LONGEST }))
}
