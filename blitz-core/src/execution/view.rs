//! How the nodes of a workflow's execution stand, read from its journal.

use std::collections::BTreeMap;

use super::redrive::Again;
use crate::domain::{
    EventData, ExecutionId, ExecutionStatus, ItemCount, Money, NodeState, NodeStatus, Timestamp, Usage, WorkflowPlan,
};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::executions::{self, StoredPlan};
use crate::workflow::machine::{container_of, join};

/// Records that one read takes.
const PAGE: u32 = 500;

/// The nodes of one scope of an execution, in the order of the definition.
///
/// `path` is empty for the workflow itself, `review/3` for the body of an item. Errors: `NotFound`,
/// `InvalidInput` for an execution of an agent.
pub(crate) fn nodes(tx: &mut dyn Connection, id: ExecutionId, path: &str) -> Result<Vec<NodeState>> {
    let row = executions::get(tx, id)?.ok_or_else(missing)?;
    let StoredPlan::Workflow(plan) = executions::stored_plan(tx, &row.definition_hash)? else {
        return Err(Error::invalid("this is the execution of an agent: it has steps, and no nodes"));
    };
    let mut states = in_scope(&plan, path)?;
    let again = Again::of(tx, &row)?;
    // No record of its own says that a node's child goes on.
    for (key, attempt, child, since) in again.children() {
        let (at, node) = key.rsplit_once('/').unwrap_or(("", key));
        if let Some(state) = find(&mut states, node).filter(|_| at == path) {
            (state.status, state.attempts) = (NodeStatus::Running, attempt);
            (state.child_id, state.started_at) = (Some(child), Some(since));
        }
    }
    let mut after = 0;
    loop {
        let events = executions::journal_below(tx, row.root_id, id, path, after, PAGE)?;
        for event in &events {
            after = event.seq;
            if again.holds(event) {
                apply(&mut states, path, event.ts, &event.path, &event.data)?;
            } else if again.counts(event) {
                before(&mut states, path, &event.path, &event.data)?;
            }
        }
        if events.len() < PAGE as usize {
            break;
        }
    }
    let ended = row.finished.as_ref().map(|finished| finished.status);
    let mut nodes: Vec<NodeState> = states.into_values().map(|(_, state)| state).collect();
    if let Some(ended) = ended {
        nodes.iter_mut().for_each(|node| close(node, ended));
    }
    Ok(nodes)
}

pub(super) fn missing() -> Error {
    Error::not_found("there is no such execution, or it is not open to you")
}

/// The state of each node of a scope, by its place in the definition.
type States = BTreeMap<usize, (String, NodeState)>;

fn in_scope(plan: &WorkflowPlan, path: &str) -> Result<States> {
    let container = match path {
        "" => None,
        path => Some(container_of(path).0.rsplit('/').next().unwrap_or_default()),
    };
    if container.is_some_and(|id| plan.definition.node(id).is_none()) {
        return Err(Error::not_found("the workflow has no such container"));
    }
    let nodes = plan.definition.nodes.iter().enumerate();
    let inside = nodes.filter(|(_, node)| node.parent.as_deref() == container && node.kind.name() != "note");
    Ok(inside.map(|(index, node)| (index, (node.id.clone(), NodeState::new(&node.id, path)))).collect())
}

fn find<'s>(states: &'s mut States, id: &str) -> Option<&'s mut NodeState> {
    states.values_mut().find(|(node, _)| node == id).map(|(_, state)| state)
}

fn apply(states: &mut States, scope: &str, ts: Timestamp, path: &str, data: &EventData) -> Result<()> {
    match data {
        EventData::NodeStarted(started) if path == scope => {
            let Some(state) = find(states, &started.node) else { return Ok(()) };
            state.status = NodeStatus::Running;
            state.attempts = state.attempts.max(started.attempt);
            state.started_at.get_or_insert(ts);
            state.input = started.input.clone();
            state.child_id = started.child_id;
            state.items = started.items.map(|total| ItemCount { total, ..ItemCount::default() });
        }
        EventData::NodeWaiting(waiting) if path == scope => {
            let Some(state) = find(states, &waiting.node) else { return Ok(()) };
            state.status = NodeStatus::Waiting;
            state.started_at.get_or_insert(ts);
        }
        EventData::NodeRetrying(retrying) if path == scope => {
            let Some(state) = find(states, &retrying.node) else { return Ok(()) };
            state.status = NodeStatus::Waiting;
            state.error = Some(retrying.error.clone());
            add(state, &retrying.usage, retrying.cost)?;
        }
        EventData::NodeFinished(finished) if path == scope => {
            let Some(state) = find(states, &finished.node) else { return Ok(()) };
            state.status = finished.status;
            state.attempts = state.attempts.max(finished.attempt);
            state.finished_at = Some(ts);
            state.port.clone_from(&finished.port);
            state.output = finished.output.clone();
            state.output_ref.clone_from(&finished.output_ref);
            state.error.clone_from(&finished.error);
            add(state, &finished.usage, finished.cost)?;
        }
        EventData::ItemFinished(item) if join(scope, &item.node) == container_of(path).0 => {
            let Some(state) = find(states, &item.node) else { return Ok(()) };
            if let Some(items) = &mut state.items {
                items.finished += 1;
                items.failed += u64::from(item.status == NodeStatus::Failed);
            }
        }
        // What is inside a container is its usage too.
        EventData::NodeFinished(finished) => inside(states, scope, path, &finished.usage, finished.cost)?,
        EventData::NodeRetrying(retrying) => inside(states, scope, path, &retrying.usage, retrying.cost)?,
        _ => {}
    }
    Ok(())
}

/// What a node did before it ran again: only what that cost stays.
fn before(states: &mut States, scope: &str, path: &str, data: &EventData) -> Result<()> {
    let (node, usage, cost) = match data {
        EventData::NodeFinished(finished) => (&finished.node, &finished.usage, finished.cost),
        EventData::NodeRetrying(retrying) => (&retrying.node, &retrying.usage, retrying.cost),
        _ => return Ok(()),
    };
    if path != scope {
        return inside(states, scope, path, usage, cost);
    }
    match find(states, node) {
        Some(state) => add(state, usage, cost),
        None => Ok(()),
    }
}

fn inside(states: &mut States, scope: &str, path: &str, usage: &Usage, cost: Option<Money>) -> Result<()> {
    let below = if scope.is_empty() { Some(path) } else { path.strip_prefix(scope).and_then(|p| p.strip_prefix('/')) };
    let container = below.and_then(|below| below.split('/').next());
    match container.and_then(|id| find(states, id)) {
        Some(state) => add(state, usage, cost),
        None => Ok(()),
    }
}

fn add(state: &mut NodeState, usage: &Usage, cost: Option<Money>) -> Result<()> {
    state.usage.add(usage);
    state.cost = match (state.cost, cost) {
        (Some(sum), Some(cost)) => Some(sum.add(cost)?),
        (sum, None) if usage.requests == 0 => sum,
        _ => None,
    };
    Ok(())
}

/// What has not ended when the whole has.
fn close(node: &mut NodeState, ended: ExecutionStatus) {
    match node.status {
        NodeStatus::Pending => node.status = NodeStatus::NotRun,
        NodeStatus::Running | NodeStatus::Waiting => {
            let failed = ended == ExecutionStatus::Failed && node.error.is_some();
            node.status = if failed { NodeStatus::Failed } else { NodeStatus::Cancelled };
        }
        _ => {}
    }
}
