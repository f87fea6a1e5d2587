//! A picture of a workflow's execution: its definition, with what became of its nodes and edges.

use std::collections::{BTreeMap, HashMap};

use super::view;
use crate::domain::{
    EventData, ExecutionId, ExecutionStatus, Money, Node, NodeState, NodeStatus, PictureFormat, WorkflowPlan,
};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::executions::{self, ExecutionRow, StoredPlan};
use crate::workflow::picture::{self, NodeState as Drawn, States};

/// Records that one read takes.
const PAGE: u32 = 500;

/// Draws an execution of a workflow as it stands.
///
/// Errors: `NotFound`, `InvalidInput` for an execution of an agent.
pub(crate) fn draw(tx: &mut dyn Connection, id: ExecutionId, format: PictureFormat) -> Result<String> {
    let top = view::nodes(tx, id, "")?;
    let row = executions::get(tx, id)?.ok_or_else(view::missing)?;
    let StoredPlan::Workflow(plan) = executions::stored_plan(tx, &row.definition_hash)? else {
        return Err(Error::internal("a workflow became none"));
    };
    let states = states(tx, &row, &plan, &top)?;
    Ok(picture::draw(&plan.definition, &states, format))
}

fn states(tx: &mut dyn Connection, row: &ExecutionRow, plan: &WorkflowPlan, top: &[NodeState]) -> Result<States> {
    let WorkflowPlan { definition, .. } = plan;
    let ended = row.finished.as_ref().map(|finished| finished.status);
    let mut states = States { caption: caption(row, ended), ..States::default() };
    for state in top {
        let node = definition.node(&state.node);
        states.nodes.insert(state.node.clone(), Drawn { status: name(state.status), detail: detail(state, node) });
    }
    let mut inside: BTreeMap<String, Inside> = BTreeMap::new();
    // Two edges between the same ports share their fate.
    let mut edges: HashMap<[&str; 4], Vec<usize>> = HashMap::new();
    for (at, edge) in definition.edges.iter().enumerate() {
        edges.entry([&edge.from, &edge.out, &edge.to, &edge.input]).or_default().push(at);
    }
    let mut after = 0;
    loop {
        let events = executions::journal_of(tx, row.root_id, row.id, after, PAGE)?;
        for event in &events {
            after = event.seq;
            match &event.data {
                EventData::EdgeTaken(at) | EventData::EdgeSkipped(at) => {
                    let key: [&str; 4] = [&at.from, &at.out, &at.to, &at.input];
                    // In a body an edge counts as taken where one of the items took it.
                    let taken = matches!(event.data, EventData::EdgeTaken(_));
                    for edge in edges.get(&key).into_iter().flatten() {
                        *states.edges.entry(*edge).or_default() |= taken;
                    }
                }
                data if !event.path.is_empty() => note(&mut inside, &event.path, data)?,
                _ => {}
            }
        }
        if events.len() < PAGE as usize {
            break;
        }
    }
    for (node, found) in inside {
        states.nodes.insert(node, found.drawn(ended));
    }
    // What stands in a container that nobody entered.
    if ended.is_some() {
        for node in &definition.nodes {
            let quiet = || Drawn { status: name(NodeStatus::NotRun), detail: String::new() };
            if node.kind.name() != "note" {
                states.nodes.entry(node.id.clone()).or_insert_with(quiet);
            }
        }
    }
    Ok(states)
}

/// How the executions of one node of a body stand together, one for each item.
#[derive(Default)]
struct Inside {
    /// By the path of the item: how the last record left it.
    at: HashMap<String, NodeStatus>,
    attempts: u32,
    cost: Option<Money>,
}

fn note(inside: &mut BTreeMap<String, Inside>, path: &str, data: &EventData) -> Result<()> {
    let mut stands = |node: &String, status: NodeStatus, attempt: u32, cost: Option<Money>| {
        let found = inside.entry(node.clone()).or_default();
        found.at.insert(path.to_owned(), status);
        found.attempts = found.attempts.max(attempt);
        if let Some(cost) = cost {
            found.cost = Some(found.cost.unwrap_or(Money::ZERO).add(cost)?);
        }
        Ok(())
    };
    match data {
        EventData::NodeStarted(started) => stands(&started.node, NodeStatus::Running, started.attempt, None),
        EventData::NodeWaiting(waiting) => stands(&waiting.node, NodeStatus::Waiting, 0, None),
        EventData::NodeRetrying(again) => stands(&again.node, NodeStatus::Waiting, again.attempt, again.cost),
        EventData::NodeFinished(end) => stands(&end.node, end.status, end.attempt, end.cost),
        _ => Ok(()),
    }
}

impl Inside {
    fn drawn(self, ended: Option<ExecutionStatus>) -> Drawn {
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for status in self.at.into_values() {
            let open = matches!(status, NodeStatus::Running | NodeStatus::Waiting);
            let status = if open && ended.is_some() { NodeStatus::Cancelled } else { status };
            *counts.entry(status.name()).or_default() += 1;
        }
        // What still moves is seen first, then what went wrong.
        let order = ["running", "waiting", "failed", "cancelled", "completed", "cached", "pinned", "skipped"];
        let status = order.into_iter().find(|status| counts.contains_key(status)).unwrap_or("pending");
        let all: usize = counts.values().sum();
        let mut words = Vec::new();
        if all > 1 {
            words.push(format!("{} of {all}", counts.get(status).copied().unwrap_or_default()));
        }
        if self.attempts > 1 {
            words.push(format!("up to {} attempts", self.attempts));
        }
        words.extend(self.cost.and_then(price));
        Drawn { status: status.to_owned(), detail: words.join(" · ") }
    }
}

/// The words beside a node's status.
fn detail(state: &NodeState, node: Option<&Node>) -> String {
    let mut words = Vec::new();
    if let Some(items) = &state.items {
        let failed = if items.failed > 0 { format!(", {} failed", items.failed) } else { String::new() };
        words.push(format!("{} of {}{failed}", items.finished, items.total));
    }
    if state.attempts > 1 {
        let most = node.and_then(|node| node.retry.as_ref()).map(|retry| format!(" of {}", retry.max_attempts));
        words.push(format!("attempt {}{}", state.attempts, most.unwrap_or_default()));
    }
    if state.status == NodeStatus::Failed {
        words.extend(state.error.as_ref().map(|error| error.code.name().to_owned()));
    }
    words.extend(match state.cost {
        Some(cost) => price(cost),
        None => Some("cost unknown".to_owned()),
    });
    words.join(" · ")
}

fn caption(row: &ExecutionRow, ended: Option<ExecutionStatus>) -> String {
    match ended {
        Some(status) => format!("execution {}: {}", row.id, status.name()),
        None => format!("execution {}", row.id),
    }
}

/// What was paid, where something was.
fn price(cost: Money) -> Option<String> {
    (cost != Money::ZERO).then(|| format!("${cost}"))
}

fn name(status: NodeStatus) -> String {
    status.name().to_owned()
}
