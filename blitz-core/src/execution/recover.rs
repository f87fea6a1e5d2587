//! Recovery: load the journal, step through it, perform what is open.

use std::any::Any;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::driver::{Driver, ParentLine, Work};
use super::pin::{Pinned, keys};
use super::setup::{Setup, first_state};
use super::state::State;
use super::turn::Ids;
use super::Runtime;
use crate::access::{Caller, EngineWork, ExecutionStore, Gate, Grant, Target};
use crate::audit::AuditLine;
use crate::domain::{Event, EventData, ExecutionId, ExecutionPlan, ExecutionStatus, Outcome, Permission, Timestamp, Waiting};
use crate::error::{Error, ErrorCode, Result};
use crate::ledger;
use crate::store::Connection;
use crate::store::boot::Boot;
use crate::store::executions::{self, Entry, ExecutionRow};

/// Records, executions or reservations that one transaction takes.
const PAGE: u32 = 500;
/// How often an execution is taken up again without one finished step in between.
const MAX_RESUMES: u32 = 10;
/// What an execution that is taken up in vain waits for: `rerun` tries again, `fail` ends it.
pub(crate) const RESUME_KEY: &str = "resume";

/// Settles what processes that are gone have left reserved: nobody knows what their calls gave.
pub(crate) async fn settle_dead(work: &EngineWork, boot: &Boot) -> Result<()> {
    let boots = work.read(|tx, _| ledger::boots_with_open_reservations(tx)).await?;
    for dead in boots.into_iter().filter(|id| !boot.is_alive(id)) {
        loop {
            let id = dead.clone();
            let settled = work.write(move |tx, standing| {
                let open = ledger::open_reservations_of(tx, &id, PAGE)?;
                for reservation in &open {
                    let booked = ledger::settle_dead(tx, standing.now(), reservation.id)?;
                    let object = format!("execution:{}", reservation.execution_id);
                    let details = json!({"step": reservation.path, "attempt": reservation.attempt, "cost": booked.cost});
                    standing.audit(tx, &AuditLine::ok("ledger.settle_dead", &object).with_details(details))?;
                }
                Ok(open.len())
            });
            if settled.await? < PAGE as usize {
                break;
            }
        }
    }
    Ok(())
}

/// Takes up every root execution whose process is gone and whose functions are here.
pub(crate) async fn recover_all(
    gate: &Arc<Gate>,
    caller: &Caller,
    runtime: &Arc<Runtime>,
    session: &(dyn Fn(Caller) -> Arc<dyn Any + Send + Sync> + Sync),
) -> Result<Vec<ExecutionId>> {
    let mut taken = Vec::new();
    let mut after = ExecutionId(0);
    loop {
        let page = gate
            .read(caller, Permission::ExecutionsRecover, Target::None, move |tx, _| executions::open_roots(tx, after, PAGE))
            .await?;
        let Some(last) = page.last() else { return Ok(taken) };
        after = last.id;
        for row in page.into_iter().filter(|row| is_orphan(runtime, row)) {
            let (id, host) = (row.id, Arc::clone(runtime));
            let claimed = gate
                .write(caller, Permission::ExecutionsRecover, Target::Execution(id), "executions.recover", move |tx, grant| {
                    claim(tx, grant, &host, &row)
                })
                .await?;
            if let Some(claimed) = claimed {
                runtime.hub.publish(id, claimed.events.clone());
                let session = session(claimed.caller.clone());
                runtime.relaunch(claimed, session);
                taken.push(id);
            }
        }
    }
}

/// Whether nobody runs an execution: its process is gone, or it is ours and its driver has stopped.
pub(crate) fn is_orphan(runtime: &Runtime, row: &ExecutionRow) -> bool {
    match row.boot_id.as_deref() {
        Some(id) if id == runtime.boot_id => !runtime.runs(row.id),
        Some(id) => !runtime.boot.is_alive(id),
        None => true,
    }
}

/// A root execution that this process has taken over.
pub(crate) struct Claimed {
    ids: Ids,
    setup: Arc<Setup>,
    state: State,
    deadline: Timestamp,
    cancel_requested: bool,
    last_seq: i64,
    store: ExecutionStore,
    caller: Caller,
    events: Vec<Event>,
}

/// Takes over one execution, in one transaction; `None` where another process was faster, where a
/// function is not here, or where it was taken up in vain too often.
fn claim(tx: &mut dyn Connection, grant: &Grant, runtime: &Runtime, row: &ExecutionRow) -> Result<Option<Claimed>> {
    let store = grant.resumed_store(row.principal.clone(), row.agent_id)?;
    let standing = grant.standing(&store);
    let plan = executions::plan(tx, &row.definition_hash)?;
    let keys = keys(tx, &standing, &plan)?;
    let pinned = Pinned { plan: Arc::new(plan), hash: row.definition_hash.clone(), keys };
    let setup = match Setup::new(&pinned, &runtime.providers, &runtime.tools) {
        Ok(setup) => Arc::new(setup),
        Err(error) if error.code() == ErrorCode::InvalidInput => return skip(tx, grant, row),
        Err(error) => return Err(error),
    };
    if row.resume_attempts >= MAX_RESUMES {
        park(tx, row)?;
        return skip(tx, grant, row);
    }
    if !executions::claim(tx, row, &runtime.boot_id)? {
        return skip(tx, grant, row);
    }
    // What this very process had left open; other processes' was settled when the engine opened.
    for reservation in ledger::open_in_tree(tx, row.id)? {
        ledger::settle_dead(tx, grant.now(), reservation)?;
    }
    let epoch = row.epoch + 1;
    let resumed = Entry { execution_id: row.id, path: String::new(), data: EventData::ExecutionResumed { epoch } };
    let events = executions::append(tx, grant.now(), row.root_id, Some(epoch), vec![resumed])?;
    let (state, last_seq) = replay(tx, row, &setup.plan)?;
    grant.audit(tx, &format!("execution:{}", row.id), None, None, json!({"epoch": epoch}))?;
    Ok(Some(Claimed {
        ids: Ids { id: row.id, root_id: row.root_id, epoch, depth: row.depth },
        setup,
        state,
        deadline: row.deadline,
        cancel_requested: row.cancel_requested,
        last_seq,
        store,
        caller: grant.resumed_caller(row.principal.clone())?,
        events,
    }))
}

/// Leaves an execution as it is; the trail says so.
fn skip<T>(tx: &mut dyn Connection, grant: &Grant, row: &ExecutionRow) -> Result<Option<T>> {
    grant.audit(tx, &format!("execution:{}", row.id), None, None, json!({"left": true}))?;
    Ok(None)
}

/// Lets an execution that ends its process again and again wait for somebody's decision.
fn park(tx: &mut dyn Connection, row: &ExecutionRow) -> Result<()> {
    let wait = Waiting::Decision { key: RESUME_KEY.to_owned() };
    executions::set_status(tx, row.id, ExecutionStatus::Waiting, &[wait])
}

/// The state that an execution's journal says, and its last record.
pub(crate) fn replay(tx: &mut dyn Connection, row: &ExecutionRow, plan: &ExecutionPlan) -> Result<(State, i64)> {
    let mut state: Option<State> = None;
    let mut after = 0;
    loop {
        let events = executions::journal_of(tx, row.root_id, row.id, after, PAGE)?;
        for event in &events {
            if let (None, EventData::ExecutionQueued(queued)) = (&state, &event.data) {
                state = Some(first_state(plan, &queued.input)?);
            }
            let state = state.as_mut().ok_or_else(|| Error::storage("the journal of an execution lacks its beginning"))?;
            state.absorb(event.ts, &event.path, &event.data);
            state.tally.count(&event.data)?;
            after = event.seq;
        }
        if events.len() < PAGE as usize {
            break;
        }
    }
    state.map(|state| (state, after)).ok_or_else(|| Error::storage("the journal of an execution is empty"))
}

/// The outcome of an execution that has ended, from its journal. Errors: `Conflict` while it has not.
pub(crate) fn outcome(tx: &mut dyn Connection, id: ExecutionId) -> Result<Outcome> {
    let row = executions::get(tx, id)?.ok_or_else(|| Error::not_found("there is no such execution"))?;
    let finished = row.finished.clone().ok_or_else(|| Error::conflict("the execution has not ended yet"))?;
    let mut plan = executions::plan(tx, &row.definition_hash)?;
    if row.parent_id.is_some() {
        // A child is pinned inside its root's plan.
        plan = plan.of_agent(row.agent_id).ok_or_else(|| Error::storage("a child's plan is missing in its root's"))?;
    }
    let (state, _) = replay(tx, &row, &plan)?;
    Ok(state.outcome(id, finished))
}

impl Runtime {
    /// Drives an execution that was taken over, in a task of its own.
    pub(crate) fn relaunch(
        self: &Arc<Self>,
        claimed: Claimed,
        session: Arc<dyn Any + Send + Sync>,
    ) {
        let cancel = CancellationToken::new();
        if claimed.cancel_requested {
            cancel.cancel();
        }
        let mut work = Work::new(claimed.setup.agent().limits.max_parallel_tools);
        (work.last_seq, work.resumed) = (claimed.last_seq, true);
        let driver = Driver {
            runtime: Arc::clone(self),
            store: claimed.store,
            work,
            setup: claimed.setup,
            ids: claimed.ids,
            state: claimed.state,
            deadline: claimed.deadline,
            cancel,
            session: Some(session),
            parent: None,
        };
        let (_, driving) = self.start(driver, Driver::run_resumed);
        self.spawn(driving);
    }
}

/// A child execution whose parent goes on.
pub(super) struct Child {
    pub(super) id: ExecutionId,
    pub(super) setup: Arc<Setup>,
    pub(super) parent: Ids,
    pub(super) line: ParentLine,
    pub(super) cancel: CancellationToken,
    pub(super) session: Option<Arc<dyn Any + Send + Sync>>,
}

impl Child {
    /// Gives the outcome of a child that had ended, else goes on with it.
    pub(super) async fn resume(self, runtime: Arc<Runtime>, store: ExecutionStore) -> Result<Outcome> {
        let (id, setup) = (self.id, Arc::clone(&self.setup));
        let (row, state, last_seq) = store
            .read(move |tx, _| {
                let row = executions::get(tx, id)?.ok_or_else(|| Error::storage("a child execution is missing"))?;
                let (state, last_seq) = replay(tx, &row, &setup.plan)?;
                Ok((row, state, last_seq))
            })
            .await?;
        if let Some(finished) = row.finished {
            return Ok(state.outcome(id, finished));
        }
        let mut work = Work::new(self.setup.agent().limits.max_parallel_tools);
        work.last_seq = last_seq;
        work.status = (row.status, row.waiting_for);
        let driver = Driver {
            runtime,
            store,
            work,
            ids: Ids { id, root_id: self.parent.root_id, epoch: self.parent.epoch, depth: row.depth },
            setup: self.setup,
            state,
            deadline: row.deadline,
            cancel: self.cancel,
            session: self.session,
            parent: Some(self.line),
        };
        driver.run_resumed().await
    }
}
