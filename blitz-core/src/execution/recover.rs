//! Recovery: load the journal, step through it, perform what is open.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::bell::Bell;
use super::driver::{Driver, Work};
use super::owed::Owed;
use super::pin::Use;
use super::pin::flow::repin;
use super::redrive::Again;
use super::rest::{Ran, Rested};
use super::runnable::Runnable;
use super::setup::Opening;
use super::state::{State, Tally, doubt};
use super::turn::{Ids, alert_event};
use super::waits::ParentLine;
use super::{Runtime, Seat};
use crate::access::{Caller, EngineWork, ExecutionStore, Gate, Grant, Standing, Target};
use crate::audit::AuditLine;
use crate::domain::{
    Alert, Event, EventData, ExecutionId, ExecutionStatus, Finished, Outcome, Permission, Principal, Queued,
    RecoverySettlement, ResourceId, Waiting,
};
use crate::error::{Error, ErrorCode, Result};
use crate::ledger::{self, Booked, OpenReservation};
use crate::store::Connection;
use crate::store::boot::Boot;
use crate::store::executions::{self, Entry, ExecutionRow, StoredPlan};

/// Records, executions or reservations that one transaction takes.
const PAGE: u32 = 500;
/// How many executions are taken over at the same time: they share commits, and bound the memory.
const CLAIMS: usize = 64;
/// How often an execution is taken up again without one finished step in between.
const MAX_RESUMES: u32 = 10;
/// What an execution that is taken up in vain waits for: `rerun` tries again, `fail` ends it.
pub(crate) const RESUME_KEY: &str = "resume";

/// Settles what processes that are gone have left reserved: nobody knows what their calls gave.
pub(crate) async fn settle_dead(work: &EngineWork, boot: &Boot, bell: &Bell, policy: RecoverySettlement) -> Result<()> {
    let boots = work.read(|tx, _| ledger::boots_with_open_reservations(tx)).await?;
    for dead in boots.into_iter().filter(|id| !boot.is_alive(id)) {
        loop {
            let id = dead.clone();
            let settled = work.write(move |tx, standing| {
                let mut raised = Vec::new();
                let open = ledger::open_reservations_of(tx, &id, PAGE)?;
                for reservation in &open {
                    let booked = ledger::settle_dead(tx, standing.now(), reservation.id, policy)?;
                    let object = format!("execution:{}", reservation.execution_id);
                    standing.audit(tx, &settled_line(&object, reservation, &booked, policy))?;
                    let told = alert_entries(reservation.execution_id, &booked.alerts);
                    // What an embedding of no execution raised is in no journal.
                    if !told.is_empty() && executions::get(tx, reservation.root_id)?.is_some() {
                        executions::append(tx, standing.now(), reservation.root_id, None, told)?;
                    }
                    raised.extend(booked.alerts);
                }
                Ok((open.len(), raised))
            });
            let (settled, raised) = settled.await?;
            bell.ring(&raised);
            if settled < PAGE as usize {
                break;
            }
        }
    }
    Ok(())
}

/// The line of the trail about a call that was settled for whoever is gone.
fn settled_line<'a>(
    object: &'a str,
    reservation: &OpenReservation,
    booked: &Booked,
    policy: RecoverySettlement,
) -> AuditLine<'a> {
    let OpenReservation { path, attempt, .. } = reservation;
    let details = json!({"step": path, "attempt": attempt, "cost": booked.cost, "settlement": policy.name()});
    AuditLine::ok("ledger.settle_dead", object).with_details(details)
}

/// The records of alerts that the booking of a call of an execution raised.
fn alert_entries(execution_id: ExecutionId, alerts: &[Alert]) -> Vec<Entry> {
    let entry = |alert: &Alert| Entry { execution_id, path: String::new(), data: alert_event(alert.clone()) };
    alerts.iter().map(entry).collect()
}

/// Settles what a tree that nobody runs has left reserved; gives the alerts, and their records.
pub(super) fn settle_tree(
    tx: &mut dyn Connection,
    grant: &Grant,
    policy: RecoverySettlement,
    root_id: ExecutionId,
) -> Result<(Vec<Alert>, Vec<Entry>)> {
    let mut alerts = Vec::new();
    for reservation in ledger::open_in_tree(tx, root_id)? {
        let booked = ledger::settle_dead(tx, grant.now(), reservation.id, policy)?;
        let object = format!("execution:{}", reservation.execution_id);
        grant.audit_beside(tx, settled_line(&object, &reservation, &booked, policy))?;
        alerts.extend(booked.alerts);
    }
    let entries = alert_entries(root_id, &alerts);
    Ok((alerts, entries))
}

/// Notes that this process ends cleanly: what it leaves interrupted has not ended it.
pub(crate) async fn left_cleanly(work: &EngineWork, boot_id: &str) -> Result<()> {
    let boot = boot_id.to_owned();
    work.write(move |tx, _| executions::left_cleanly(tx, &boot)).await
}

/// Takes up every root execution whose process is gone and whose functions are here.
///
/// One that cannot be taken up does not keep the others. Errors: why, where none could be.
pub(crate) async fn recover_all(
    gate: &Arc<Gate>,
    caller: &Caller,
    runtime: &Arc<Runtime>,
    session: &(dyn Fn(Caller) -> Arc<dyn Any + Send + Sync> + Sync),
) -> Result<Vec<ExecutionId>> {
    let (mut taken, prepared) = (Vec::new(), &Arc::default());
    let mut failed = None;
    let mut after = ExecutionId(0);
    loop {
        let page = gate
            .read(caller, Permission::ExecutionsRecover, Target::None, move |tx, _| {
                executions::open_roots(tx, after, PAGE)
            })
            .await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        let orphans = page.into_iter().filter(|row| runtime.is_orphan(row));
        let claims = orphans.map(|row| async move { (row.id, take_up(gate, caller, runtime, prepared, row).await) });
        let mut claims = stream::iter(claims).buffer_unordered(CLAIMS);
        while let Some((id, claimed)) = claims.next().await {
            match claimed {
                Ok(None) => {}
                Ok(Some(claimed)) => {
                    let session = session(claimed.caller.clone());
                    runtime.relaunch(claimed, session);
                    taken.push(id);
                }
                Err(error) => {
                    tracing::warn!(
                        execution = id.0,
                        code = error.code().name(),
                        "an execution could not be taken up again"
                    );
                    failed.get_or_insert(error);
                }
            }
        }
    }
    taken.sort_unstable();
    match failed {
        Some(error) if taken.is_empty() => Err(error),
        _ => Ok(taken),
    }
}

/// Takes over one execution that nobody runs; `None` where it stays as it is.
async fn take_up(
    gate: &Arc<Gate>,
    caller: &Caller,
    runtime: &Arc<Runtime>,
    prepared: &Arc<PreparedHere>,
    row: ExecutionRow,
) -> Result<Option<Claimed>> {
    let id = row.id;
    let stopped_here = row.boot_id.as_deref() == Some(&runtime.boot_id);
    if stopped_here && !runtime.take_stopped(id) {
        // Another call of this process takes it up at this moment.
        return Ok(None);
    }
    let claimed = claim_prepared(gate, caller, runtime, prepared, row).await;
    if stopped_here && !matches!(claimed, Ok(Some(_))) {
        runtime.put_stopped(id);
    }
    claimed
}

async fn claim_prepared(
    gate: &Arc<Gate>,
    caller: &Caller,
    runtime: &Arc<Runtime>,
    prepared: &Arc<PreparedHere>,
    listed: ExecutionRow,
) -> Result<Option<Claimed>> {
    let target = Target::Execution(listed.id);
    let (host, prepared) = (Arc::clone(runtime), Arc::clone(prepared));
    // On a snapshot first: what cannot run here leaves no trace, however often it is asked.
    let (prepared, listed) = gate
        .read(caller, Permission::ExecutionsRecover, target.clone(), move |tx, grant| {
            Ok((prepared.get(tx, grant, &host, &listed)?, listed.clone()))
        })
        .await?;
    let Some(setup) = prepared else { return Ok(None) };
    let host = Arc::clone(runtime);
    gate.write(caller, Permission::ExecutionsRecover, target, "executions.recover", move |tx, grant| {
        claim(tx, grant, &host, &listed, &setup)
    })
    .await
}

/// What one recovery has made runnable, by whose and what it is: thousands of executions may wait in one agent.
#[derive(Default)]
struct PreparedHere(Mutex<HashMap<(Principal, String, ResourceId), Runnable>>);

impl PreparedHere {
    /// What an execution needs to run; `None` where a function of it is not here, or where it is parked.
    fn get(
        &self,
        tx: &mut dyn Connection,
        grant: &Grant,
        runtime: &Runtime,
        row: &ExecutionRow,
    ) -> Result<Option<Runnable>> {
        if is_parked(row) {
            return Ok(None);
        }
        let key = (row.principal.clone(), row.definition_hash.clone(), row.agent_id);
        let kept = |here: &Self| here.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(setup) = kept(self) {
            return Ok(Some(setup));
        }
        let store = grant.resumed_store(row.principal.clone(), row.agent_id)?;
        match runnable(tx, &grant.standing(&store), runtime, row) {
            Ok(setup) => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, setup.clone());
                Ok(Some(setup))
            }
            Err(error) if error.code() == ErrorCode::InvalidInput => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What an execution is pinned to, made runnable again.
///
/// Errors: `InvalidInput` where a function of it is not here.
pub(super) fn runnable(
    tx: &mut dyn Connection,
    standing: &Standing,
    runtime: &Runtime,
    row: &ExecutionRow,
) -> Result<Runnable> {
    let pinned = repin(tx, standing, &row.definition_hash)?;
    let limits = ledger::limits::of(tx, row.principal.user_id(), standing.key_id().map(|id| id.0))?;
    let used = Use { tags: BTreeMap::new(), limits };
    Runnable::new(&pinned, &used, &runtime.providers, &runtime.tools)
}

/// A root execution that this process has taken over.
pub(crate) struct Claimed {
    pub(super) ids: Ids,
    pub(super) setup: Runnable,
    pub(super) store: ExecutionStore,
    pub(crate) caller: Caller,
    pub(super) events: Vec<Event>,
    /// Raised by what it had left open.
    pub(super) alerts: Vec<Alert>,
}

/// Takes over one execution, in one transaction; `None` where somebody was faster, or where it was
/// taken up in vain too often.
fn claim(
    tx: &mut dyn Connection,
    grant: &Grant,
    runtime: &Runtime,
    listed: &ExecutionRow,
    setup: &Runnable,
) -> Result<Option<Claimed>> {
    let found = executions::get(tx, listed.id)?;
    let Some(row) = found.filter(|row| row.epoch == listed.epoch && row.finished.is_none()) else { return Ok(None) };
    let object = format!("execution:{}", row.id);
    if row.resume_attempts >= MAX_RESUMES {
        park(tx, &row)?;
        grant.audit(tx, &object, None, None, json!({"parked": true}))?;
        return Ok(None);
    }
    let epoch = executions::claim(tx, &row, &runtime.boot_id)?;
    // What this very process had left open; other processes' was settled when the engine opened.
    let (alerts, mut entries) = settle_tree(tx, grant, runtime.settlement, row.id)?;
    let data = EventData::ExecutionResumed { epoch };
    entries.push(Entry { execution_id: row.id, path: String::new(), data });
    let events = executions::append(tx, grant.now(), row.root_id, Some(epoch), entries)?;
    grant.audit(tx, &object, None, None, json!({"epoch": epoch}))?;
    Ok(Some(Claimed {
        ids: Ids { id: row.id, root_id: row.root_id, epoch, depth: row.depth },
        setup: setup.clone(),
        store: grant.resumed_store(row.principal.clone(), row.agent_id)?,
        caller: grant.resumed_caller(row.principal)?,
        events,
        alerts,
    }))
}

/// Lets an execution that ends its process again and again wait for somebody's decision.
fn park(tx: &mut dyn Connection, row: &ExecutionRow) -> Result<()> {
    let wait = Waiting::Decision { key: RESUME_KEY.to_owned(), digest: doubt(row.id, RESUME_KEY, row.epoch) };
    executions::set_status(tx, row.id, ExecutionStatus::Waiting, &[], &[wait])
}

fn is_parked(row: &ExecutionRow) -> bool {
    let waits = |wait: &Waiting| matches!(wait, Waiting::Decision { key, .. } if key == RESUME_KEY);
    row.resume_attempts >= MAX_RESUMES && row.waiting_for.iter().any(waits)
}

/// The state that an execution's journal says, and its last record.
pub(crate) fn replay(
    tx: &mut dyn Connection,
    row: &ExecutionRow,
    begin: &dyn Fn(&Queued) -> Result<State>,
) -> Result<(State, i64)> {
    let mut state: Option<State> = None;
    let mut after = 0;
    let mut owed = Owed::default();
    let again = Again::of(tx, row)?;
    loop {
        let mut events = executions::journal_of(tx, row.root_id, row.id, after, PAGE)?;
        for event in &mut events {
            after = event.seq;
            if let EventData::NodeFinished(finished) = &mut event.data
                && state.as_ref().and_then(State::values).is_some_and(|values| values.is_set(&finished.node))
            {
                executions::bring_output(tx, finished)?;
            }
            let event = &*event;
            owed.told(&event.path, &event.data);
            if let Some(state) = state.as_mut().filter(|_| !again.holds(event)) {
                if again.counts(event) {
                    state.tally.count(&event.data)?;
                }
                state.keep_progress(&event.data);
                continue;
            }
            if let (None, EventData::ExecutionQueued(queued)) = (&state, &event.data) {
                state = Some(begin(queued)?);
            }
            let state =
                state.as_mut().ok_or_else(|| Error::storage("the journal of an execution lacks its beginning"))?;
            if state.heeds(row.id, &event.path, &event.data) {
                owed.follows(state.absorb(event.ts, &event.path, &event.data));
            }
            state.tally.count(&event.data)?;
            if event.seq == row.redriven {
                again.resume(state, event);
            }
        }
        if events.len() < PAGE as usize {
            break;
        }
    }
    let mut state = state.ok_or_else(|| Error::storage("the journal of an execution is empty"))?;
    state.owed = owed.left();
    Ok((state, after))
}

/// The outcome of an execution that has ended, from its journal. Errors: `Conflict` while it has not.
pub(crate) fn outcome(tx: &mut dyn Connection, id: ExecutionId) -> Result<Outcome> {
    let row = executions::get(tx, id)?.ok_or_else(|| Error::not_found("there is no such execution"))?;
    let finished = row.finished.clone().ok_or_else(|| Error::conflict("the execution has not ended yet"))?;
    let mut plan = match executions::stored_plan(tx, &row.definition_hash)? {
        StoredPlan::Agent(plan) => *plan,
        StoredPlan::Workflow(_) => return workflow_outcome(tx, &row, finished),
    };
    if row.parent_id.is_some() {
        // A child is pinned inside its root's plan.
        plan = plan.of_agent(row.agent_id).ok_or_else(|| Error::storage("a child's plan is missing in its root's"))?;
    }
    let opening = Opening::new(&plan)?;
    let (state, _) = replay(tx, &row, &|queued| opening.state(&plan, queued))?;
    Ok(state.outcome(id, finished))
}

/// The outcome of a workflow: it has no conversation, so nothing is replayed but the count of its steps.
fn workflow_outcome(tx: &mut dyn Connection, row: &ExecutionRow, finished: Finished) -> Result<Outcome> {
    let mut tally = Tally::default();
    let mut after = 0;
    loop {
        let events = executions::journal_of(tx, row.root_id, row.id, after, PAGE)?;
        for event in &events {
            tally.count(&event.data)?;
            after = event.seq;
        }
        if events.len() < PAGE as usize {
            return Ok(Outcome::of(row.id, finished, Vec::new(), tally.steps));
        }
    }
}

impl Runtime {
    /// Drives an execution that was taken over, in a task of its own.
    pub(crate) fn relaunch(self: &Arc<Self>, claimed: Claimed, session: Arc<dyn Any + Send + Sync>) {
        let Claimed { ids, setup, store, events, alerts, .. } = claimed;
        self.bell.ring(&alerts);
        self.hub.publish(ids.root_id, events);
        let cancel = CancellationToken::new();
        let seat = self.enter(ids, &cancel, &store);
        let runtime = Arc::clone(self);
        let session = Some(session);
        let resumed = Resumed { runtime, store, setup, seat, ids, cancel, session, parent: None, rested: None };
        self.spawn(ids.id, resumed.run());
    }
}

/// An execution that goes on behind its last record: a root that was taken over, or a child of one.
pub(super) struct Resumed {
    pub(super) runtime: Arc<Runtime>,
    pub(super) store: ExecutionStore,
    pub(super) setup: Runnable,
    pub(super) seat: Seat,
    pub(super) ids: Ids,
    pub(super) cancel: CancellationToken,
    pub(super) session: Option<Arc<dyn Any + Send + Sync>>,
    pub(super) parent: Option<ParentLine>,
    /// What its driver knew, where it only rested.
    pub(super) rested: Option<Rested>,
}

impl Resumed {
    /// Gives the outcome of an execution that had ended, else goes on with it.
    pub(super) async fn run(mut self) -> Result<Ran> {
        let (id, setup) = (self.ids.id, self.setup.clone());
        let (row, mut state, mut last_seq) = self
            .store
            .read(move |tx, _| {
                let row = executions::get(tx, id)?.ok_or_else(|| Error::storage("an execution is missing"))?;
                let (state, last_seq) = replay(tx, &row, &|queued| setup.state(queued))?;
                Ok((row, state, last_seq))
            })
            .await?;
        if let Some(finished) = row.finished {
            self.seat.ended = true;
            return Ok(Ran::Ended(Box::new(state.outcome(id, finished))));
        }
        if self.rested.is_some() {
            // They count as read from here on, those that came behind the replay too.
            for event in self.decisions(last_seq).await? {
                last_seq = event.seq;
                if state.heeds(id, &event.path, &event.data) {
                    state.absorb(event.ts, &event.path, &event.data);
                }
                state.tally.count(&event.data)?;
            }
        }
        if row.cancel_requested {
            self.cancel.cancel();
        }
        let mut work = Work::new(self.setup.max_parallel(), row.deadline);
        (work.decisions_seen, work.last_seq, work.resumed) = (last_seq, last_seq, self.rested.is_none());
        // Whoever reads the events of a resumed execution came before it was resumed.
        let mut streams = true;
        if let Some(rested) = self.rested {
            (streams, work.status, work.told) = (rested.streams, rested.status, rested.told);
        }
        let driver = Box::new(Driver {
            runtime: self.runtime,
            store: self.store,
            setup: self.setup,
            seat: self.seat,
            ids: self.ids,
            state,
            deadline: row.deadline,
            cancel: self.cancel,
            streams,
            session: self.session,
            parent: self.parent,
            work,
        });
        if row.queued { driver.run_queued().await } else { driver.run_resumed().await }
    }
}
