//! Runs the failed and cancelled parts of a workflow again, in the same execution.
//!
//! The journal stays as it is. A replay leaves out the bad ends before the last redrive, and what led
//! to them: to the machine these nodes never ended, so it wants them run. Everything that had ended
//! well is absorbed as ever.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::Runtime;
use super::recover::{Claimed, runnable};
use super::state::State;
use super::turn::Ids;
use crate::access::Grant;
use crate::domain::{
    Action, Event, EventData, ExecutionId, ExecutionStatus, NodeFinished, NodeStatus, ResourceKind, Timestamp,
};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::executions::{self, Entry, ExecutionRow, StoredPlan};
use crate::workflow::machine::join;

/// Records that one read takes.
const PAGE: u32 = 500;

/// What of an execution's journal runs again.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// Nodes and items that ended badly: the record that says so.
    cut: BTreeMap<String, Cut>,
    /// Bad ends that are told again: what a child used until then is part of what it says at its end.
    told_again: BTreeSet<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Its bad end: nothing of it up to here holds.
    seq: i64,
    /// The last attempt that was begun; 0 where none was.
    attempt: u32,
    child: Option<ExecutionId>,
    /// Since when the child goes on, where it does.
    goes_on: Option<Timestamp>,
}

/// What is known of the nodes while the journal is read.
#[derive(Default)]
struct Reading {
    again: Again,
    /// The last attempt of each node that runs, and its child.
    begun: BTreeMap<String, (u32, Option<ExecutionId>)>,
    /// Nodes that were under way when the execution was ended from outside: no record tells of their ends.
    untold: BTreeSet<String>,
    /// Where this life of the execution began.
    life: i64,
}

impl Again {
    /// What runs again, of an execution as it was redriven last. Nothing where it never was.
    pub(super) fn of(tx: &mut dyn Connection, row: &ExecutionRow) -> Result<Self> {
        if row.redriven == 0 { Ok(Self::default()) } else { Self::until(tx, row, row.redriven) }
    }

    fn until(tx: &mut dyn Connection, row: &ExecutionRow, last: i64) -> Result<Self> {
        let mut reading = Reading::default();
        let mut after = 0;
        loop {
            let events = executions::journal_of(tx, row.root_id, row.id, after, PAGE)?;
            let full = events.len() >= PAGE as usize;
            for event in events.iter().filter(|event| event.seq <= last) {
                reading.take(event);
            }
            match events.last() {
                Some(event) if full && event.seq < last => after = event.seq,
                _ => break,
            }
        }
        // A child whose good end was not told yet is told, not run again.
        for key in reading.untold {
            let child = reading.again.cut.get(&key).and_then(|cut| cut.child);
            let child = child.map(|child| executions::get(tx, child)).transpose()?.flatten();
            if child.and_then(|child| child.finished).is_some_and(|end| end.status == ExecutionStatus::Completed) {
                reading.again.cut.remove(&key);
            }
        }
        Ok(reading.again)
    }

    /// Whether a record is part of what the execution goes on from.
    pub(super) fn holds(&self, event: &Event) -> bool {
        if self.cut.is_empty() {
            return true;
        }
        let key = match &event.data {
            // The items of a map stay as they were frozen.
            EventData::NodeStarted(started) if started.items.is_some() => return true,
            EventData::NodeStarted(started) => join(&event.path, &started.node),
            EventData::NodeRetrying(retrying) => join(&event.path, &retrying.node),
            EventData::NodeWaiting(waiting) => join(&event.path, &waiting.node),
            EventData::NodeExpired { node } => join(&event.path, node),
            EventData::NodeFinished(finished) => join(&event.path, &finished.node),
            EventData::ApprovalRequested(asked) => asked.key.clone(),
            EventData::ApprovalAnswered(answered) => answered.key.clone(),
            EventData::DecisionMade { .. } | EventData::ItemFinished(_) => event.path.clone(),
            _ => return true,
        };
        self.cut.get(&key).is_none_or(|cut| event.seq > cut.seq)
    }

    /// Whether a record that does not hold counts for what the execution used.
    pub(super) fn counts(&self, event: &Event) -> bool {
        !self.told_again.contains(&event.seq)
    }

    /// The nodes whose children go on: the key, the attempt, the child, and since when.
    pub(super) fn children(&self) -> impl Iterator<Item = (&str, u32, ExecutionId, Timestamp)> {
        self.cut.iter().filter_map(|(key, cut)| Some((key.as_str(), cut.attempt, cut.child?, cut.goes_on?)))
    }

    /// Lets the nodes that run again go on from their last attempts.
    pub(super) fn resume(&self, state: &mut State, mark: &Event) {
        state.renew(mark.ts);
        for (key, cut) in self.cut.iter().filter(|(_, cut)| cut.attempt > 0) {
            if matches!(state.open_action(key), Some(Action::RunNode(_))) {
                state.again(key, cut.attempt, mark.ts, cut.child.filter(|_| cut.goes_on.is_some()));
            }
        }
    }
}

impl Reading {
    fn take(&mut self, event: &Event) {
        match &event.data {
            EventData::NodeStarted(started) if started.items.is_none() => {
                let key = join(&event.path, &started.node);
                self.begun.insert(key, (started.attempt, started.child_id));
            }
            EventData::NodeFinished(finished) => {
                let key = join(&event.path, &finished.node);
                let begun = self.begun.remove(&key);
                self.untold.remove(&key);
                if ended_well(finished) {
                    if self.again.cut.get(&key).is_some_and(|cut| cut.seq > self.life) {
                        // Its time was over, and that was handled.
                        self.again.cut.remove(&key);
                    }
                    self.keep_below(&key);
                } else {
                    let (attempt, child) = begun.unwrap_or_default();
                    self.again.cut.insert(key, Cut { seq: event.seq, attempt, child, goes_on: None });
                }
            }
            EventData::NodeExpired { node } => {
                let cut = Cut { seq: event.seq, attempt: 0, child: None, goes_on: None };
                self.again.cut.insert(join(&event.path, node), cut);
            }
            EventData::ItemFinished(item) if item.status == NodeStatus::Completed => self.keep_below(&event.path),
            EventData::ItemFinished(_) => {
                let cut = Cut { seq: event.seq, attempt: 0, child: None, goes_on: None };
                self.again.cut.insert(event.path.clone(), cut);
            }
            EventData::ExecutionFinished(_) => {
                for (key, (attempt, child)) in self.begun.iter().filter(|(_, (_, child))| child.is_some()) {
                    let cut = Cut { seq: event.seq, attempt: *attempt, child: *child, goes_on: None };
                    self.again.cut.insert(key.clone(), cut);
                    self.untold.insert(key.clone());
                }
            }
            EventData::ExecutionRedriven { children, .. } => {
                self.life = event.seq;
                for key in children {
                    if let Some(cut) = self.again.cut.get_mut(key) {
                        cut.goes_on = Some(event.ts);
                        self.again.told_again.insert(cut.seq);
                    }
                }
            }
            _ => {}
        }
    }

    /// What failed inside was handled: it stays as it is.
    fn keep_below(&mut self, key: &str) {
        let (below, end) = (format!("{key}/"), format!("{key}0"));
        let life = self.life;
        let inside: Vec<String> = self.again.cut.range(below..end).map(|(key, _)| key.clone()).collect();
        for key in inside {
            if self.again.cut.get(&key).is_some_and(|cut| cut.seq > life) {
                self.again.cut.remove(&key);
            }
        }
    }
}

/// Whether a node's end stays: an error that was handled does.
fn ended_well(finished: &NodeFinished) -> bool {
    match finished.status {
        NodeStatus::Failed => finished.port.is_some(),
        NodeStatus::Cancelled => false,
        _ => true,
    }
}

/// Opens an execution again whose parts failed or were cancelled, with the children of these parts. One
/// that ran in a queue waits for its turn in it again.
///
/// Errors: `Conflict` for one that runs or has completed, `InvalidInput` for that of an agent or a
/// part of another execution, or where a function it needs is not here.
pub(crate) fn redrive(tx: &mut dyn Connection, grant: &Grant, runtime: &Runtime, id: ExecutionId) -> Result<Claimed> {
    let workflow = grant.resource().ok_or_else(|| Error::internal("a redrive has nothing as its target"))?;
    if workflow.kind != ResourceKind::Workflow {
        return Err(Error::invalid("only executions of workflows are redriven: run the agent anew"));
    }
    let workflow = workflow.id;
    let row = executions::get(tx, id)?
        .filter(|row| row.agent_id == workflow)
        .ok_or_else(|| Error::not_found("there is no such execution, or it is not open to you"))?;
    if row.parent_id.is_some() {
        return Err(Error::invalid("this is a part of another execution: redrive that one"));
    }
    match row.finished.as_ref().map(|finished| finished.status) {
        None => return Err(Error::conflict("the execution has not ended: cancel it first, or wait for its end")),
        Some(ExecutionStatus::Completed) => {
            return Err(Error::conflict("the execution has completed, nothing of it failed: rerun it"));
        }
        Some(_) => {}
    }
    let store = grant.redriven_store(row.principal.clone())?;
    let setup = runnable(tx, &grant.standing(&store), runtime, &row)?;
    let deadline = grant.now().plus(setup.timeout());
    let mut events = Vec::new();
    let epoch = row.epoch + 1;
    let open = Reopening { now: grant.now(), boot_id: &runtime.boot_id, epoch, by: grant.principal().label() };
    open.tree(tx, &row, deadline, &mut events)?;
    executions::enqueue_again(tx, id)?;
    grant.audit(tx, &format!("execution:{id}"), None, None, json!({"epoch": epoch}))?;
    Ok(Claimed {
        alerts: Vec::new(),
        ids: Ids { id, root_id: id, epoch, depth: row.depth },
        setup,
        store,
        caller: grant.resumed_caller(row.principal)?,
        events,
    })
}

struct Reopening<'a> {
    now: Timestamp,
    boot_id: &'a str,
    epoch: i64,
    by: String,
}

impl Reopening<'_> {
    fn tree(
        &self,
        tx: &mut dyn Connection,
        row: &ExecutionRow,
        deadline: Timestamp,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let again = Again::until(tx, row, i64::MAX)?;
        let mut children = Vec::new();
        for (key, cut) in &again.cut {
            let Some(child) = cut.child.map(|child| executions::get(tx, child)).transpose()?.flatten() else {
                continue;
            };
            let ended = child.finished.as_ref().map(|finished| finished.status);
            if !matches!(ended, Some(ExecutionStatus::Failed | ExecutionStatus::Cancelled)) {
                continue;
            }
            // An agent begins anew: its conversation has taken the turn that failed.
            if let StoredPlan::Workflow(plan) = executions::stored_plan(tx, &child.definition_hash)? {
                let own = std::time::Duration::from_secs(plan.definition.limits.timeout_s);
                self.tree(tx, &child, self.now.plus(own).min(deadline), events)?;
                children.push(key.clone());
            }
        }
        executions::reopen(tx, row, self.boot_id, deadline)?;
        let data = EventData::ExecutionRedriven { epoch: self.epoch, children, by: self.by.clone() };
        let entry = Entry { execution_id: row.id, path: String::new(), data };
        let told = executions::append(tx, self.now, row.root_id, None, vec![entry])?;
        if let Some(mark) = told.last() {
            executions::redriven(tx, row.id, mark.seq)?;
        }
        events.extend(told);
        Ok(())
    }
}
