//! Runs a workflow again from one of its nodes: what came before is taken over.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Runtime;
use super::begin::Launch;
use super::pin::Use;
use super::pin::flow::{FoundWorkflow, Pinning};
use super::redrive::Again;
use super::runnable::Runnable;
use crate::access::{Grant, Standing};
use crate::domain::{
    EventData, ExecutionId, ItemFinished, Node, NodeFinished, NodeStatus, NodeType, WorkflowDefinition,
};
use crate::error::{Error, Result};
use crate::ledger;
use crate::store::Connection;
use crate::store::catalog::ResourceRow;
use crate::store::executions::{self, StoredPlan};
use crate::workflow::evaluate::ALL_PORTS;
use crate::workflow::machine::join;
use crate::workflow::plan::Plan;

/// Records that one read takes.
const PAGE: u32 = 500;

/// How a workflow is run again.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rerun {
    /// The node that runs again, with everything behind it. Everything runs again where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Another input; the first one's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Which version runs.
    #[serde(default)]
    pub version: RerunVersion,
}

/// Which version of a workflow runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RerunVersion {
    /// The one that ran.
    #[default]
    Same,
    /// The newest.
    Latest,
}

impl Rerun {
    /// From a node on, with the same version and input.
    pub fn from(node: impl Into<String>) -> Self {
        Self { from: Some(node.into()), input: None, version: RerunVersion::Same }
    }

    /// Everything.
    pub fn all() -> Self {
        Self { from: None, input: None, version: RerunVersion::Same }
    }

    /// The same with another input.
    #[must_use]
    pub fn input(mut self, input: Value) -> Self {
        self.input = Some(input);
        self
    }

    /// The same with the newest version.
    #[must_use]
    pub fn latest(mut self) -> Self {
        self.version = RerunVersion::Latest;
        self
    }
}

/// What a rerun begins with.
pub(super) fn prepare(
    tx: &mut dyn Connection,
    grant: &Grant,
    standing: &Standing,
    runtime: &Runtime,
    resource: &ResourceRow,
    of: ExecutionId,
    rerun: &Rerun,
) -> Result<(Runnable, Launch)> {
    let old = executions::get(tx, of)?
        .filter(|row| row.agent_id == resource.id)
        .ok_or_else(|| Error::not_found("there is no such execution, or it is not open to you"))?;
    let StoredPlan::Workflow(before) = executions::stored_plan(tx, &old.definition_hash)? else {
        return Err(Error::invalid("only executions of workflows run again: run the agent anew"));
    };
    if old.parent_id.is_some() {
        return Err(Error::invalid("this is a part of another execution: run that one again"));
    }
    if old.finished.is_none() {
        return Err(Error::conflict("the execution has not ended yet: cancel it first, or wait for its end"));
    }
    let found = match rerun.version {
        RerunVersion::Same => {
            FoundWorkflow { row: resource.clone(), version: before.version, definition: before.definition.clone() }
        }
        RerunVersion::Latest => FoundWorkflow::of(tx, resource.clone(), None)?,
    };
    let types = runtime.tools.node_types();
    let pinned = Pinning { grant, standing, types: &types, providers: &runtime.providers }.workflow(
        tx,
        &found,
        &mut Vec::new(),
    )?;
    let tags = ledger::tags::of(tx, of)?;
    let used = Use::of(tx, grant, standing, &tags)?;
    let setup = Runnable::new(&pinned, &used, &runtime.providers, &runtime.tools)?;
    let flow = setup.workflow().ok_or_else(|| Error::internal("a workflow became none"))?;
    let History { input, trigger, ended } = History::of(tx, &old, &before.definition)?;
    let reused = match &rerun.from {
        None => Vec::new(),
        Some(from) => reusable(&flow.plan, &before.definition, from, ended)?,
    };
    let input = rerun.input.clone().unwrap_or(input);
    Ok((setup, Launch { input, trigger, reused, rerun_of: Some(of), tags: Arc::new(used.tags), ..Launch::default() }))
}

/// What an execution was given, and how its nodes at the top ended, in order.
#[derive(Default)]
struct History {
    input: Value,
    trigger: Value,
    ended: Vec<NodeFinished>,
}

impl History {
    fn of(tx: &mut dyn Connection, old: &executions::ExecutionRow, definition: &WorkflowDefinition) -> Result<Self> {
        // What a redrive has run again counts as it ended then.
        let again = Again::of(tx, old)?;
        let mut history = Self::default();
        let mut writes = Writes::of(definition);
        let mut after = 0;
        loop {
            let events = executions::journal_of(tx, old.root_id, old.id, after, PAGE)?;
            let full = events.len() >= PAGE as usize;
            for event in events {
                after = event.seq;
                if !again.holds(&event) {
                    continue;
                }
                match event.data {
                    EventData::ExecutionQueued(queued) => {
                        (history.input, history.trigger) = (queued.input, queued.trigger)
                    }
                    EventData::NodeFinished(mut finished) => {
                        if writes.is(&finished.node, &NodeType::Set) {
                            executions::bring_output(tx, &mut finished)?;
                        }
                        writes.node_finished(&event.path, &finished);
                        if event.path.is_empty() {
                            finished.writes.extend(writes.take(&finished.node));
                            history.ended.push(finished);
                        }
                    }
                    EventData::ItemFinished(item) => writes.item_finished(&event.path, item),
                    _ => {}
                }
            }
            if !full {
                return Ok(history);
            }
        }
    }
}

/// What was written to the variables in containers, as the records tell it: writes, not the values that came of
/// them, as others may have written between. What an item of a map wrote counts once the map has ended well.
struct Writes<'a> {
    kinds: HashMap<&'a str, &'a NodeType>,
    /// By the path of the item that wrote them, or by the node at the top.
    held: BTreeMap<String, Vec<(String, Value)>>,
}

impl<'a> Writes<'a> {
    fn of(definition: &'a WorkflowDefinition) -> Self {
        let kinds = definition.nodes.iter().map(|node| (node.id.as_str(), &node.kind)).collect();
        Self { kinds, held: BTreeMap::new() }
    }

    fn is(&self, node: &str, kind: &NodeType) -> bool {
        self.kinds.get(node).is_some_and(|known| *known == kind)
    }

    /// What was written in a node at the top.
    fn take(&mut self, node: &str) -> Vec<(String, Value)> {
        self.held.remove(node).unwrap_or_default()
    }

    /// Where writes at a path are held: at the innermost item of a map that it is in, else at the node at the top.
    fn place<'p>(&self, path: &'p str) -> &'p str {
        let mut inner = path;
        while let Some((outer, last)) = inner.rsplit_once('/') {
            let container = outer.rsplit('/').next().unwrap_or(outer);
            if last.parse::<u64>().is_ok() && self.is(container, &NodeType::Map) {
                return inner;
            }
            inner = outer;
        }
        inner
    }

    fn hold(&mut self, path: &str, writes: impl IntoIterator<Item = (String, Value)>) {
        self.held.entry(self.place(path).to_owned()).or_default().extend(writes);
    }

    fn node_finished(&mut self, path: &str, finished: &NodeFinished) {
        let completed = finished.status == NodeStatus::Completed;
        if self.is(&finished.node, &NodeType::Map) {
            let key = join(path, &finished.node);
            let below = format!("{key}/");
            let held = std::mem::take(&mut self.held);
            let (inside, rest) = held.into_iter().partition(|(at, _)| at.starts_with(&below));
            self.held = rest;
            let inside: BTreeMap<String, Vec<_>> = inside;
            if completed {
                let index = |at: &str| at[below.len()..].parse::<u64>().ok();
                let by_item: BTreeMap<u64, Vec<_>> =
                    inside.into_iter().filter_map(|(at, writes)| Some((index(&at)?, writes))).collect();
                // The map's own writes are of the scope that it is in.
                let scope = if path.is_empty() { key.as_str() } else { path };
                self.hold(scope, by_item.into_values().flatten());
            }
        } else if let Value::Object(values) = &finished.output
            && self.is(&finished.node, &NodeType::Set)
            && completed
            && !path.is_empty()
            && finished.port.as_deref() != Some(ALL_PORTS)
        {
            self.hold(path, values.clone());
        }
    }

    fn item_finished(&mut self, path: &str, item: ItemFinished) {
        if self.is(&item.node, &NodeType::Map) && item.status != NodeStatus::Completed {
            self.held.remove(path);
        }
        self.hold(path, item.vars);
    }
}

/// The ends of nodes that hold again: of nodes that are not behind `from`, have not changed, and
/// stand behind only such nodes.
fn reusable(
    plan: &Plan,
    before: &WorkflowDefinition,
    from: &str,
    ended: Vec<NodeFinished>,
) -> Result<Vec<NodeFinished>> {
    let start = plan.index(from).filter(|node| plan.nodes[*node].scope == 0).ok_or_else(|| {
        let name: String = from.chars().take(64).flat_map(char::escape_debug).collect();
        let top = plan.nodes.iter().filter(|node| node.scope == 0).map(|node| node.id.as_str());
        let mut top: Vec<&str> = top.take(31).collect();
        if top.len() > 30 {
            top[30] = "…";
        }
        let inside = if plan.index(from).is_some() { " (it is in a container, and runs with it)" } else { "" };
        Error::invalid(format!(
            "from {name} names no node at the top of the workflow{inside}; there are {}",
            top.join(", ")
        ))
    })?;
    let behind = behind(plan, start);
    let mut kept = HashSet::new();
    let mut by_rank: Vec<usize> = plan.scopes.first().map(|scope| scope.nodes.clone()).unwrap_or_default();
    by_rank.sort_by_key(|node| plan.nodes[*node].rank);
    for node in by_rank {
        let spec = &plan.nodes[node];
        let stands = spec.incoming.iter().all(|edge| kept.contains(&plan.edges[*edge].from));
        let same = before.node(&spec.id).is_some_and(|old| content(old) == content(&spec.spec))
            && inside(before, &spec.id) == inside_plan(plan, node);
        if !behind.contains(&node) && stands && same {
            kept.insert(node);
        }
    }
    let ids: HashSet<&str> = kept.iter().map(|node| plan.nodes[*node].id.as_str()).collect();
    let holds = |end: &NodeFinished| {
        ids.contains(end.node.as_str()) && (end.port.is_some() || matches!(end.status, NodeStatus::Skipped))
    };
    Ok(ended.into_iter().filter(holds).collect())
}

/// A node and everything that can come after it.
fn behind(plan: &Plan, start: usize) -> HashSet<usize> {
    let mut seen = HashSet::from([start]);
    let mut queue = vec![start];
    while let Some(node) = queue.pop() {
        for edge in plan.nodes[node].outgoing.iter().flat_map(|(_, edges)| edges) {
            let to = plan.edges[*edge].to;
            if seen.insert(to) {
                queue.push(to);
            }
        }
    }
    seen
}

/// A node without its place on the canvas.
fn content(node: &Node) -> Value {
    let mut content = json!(node);
    if let Some(fields) = content.as_object_mut() {
        for field in ["position", "label", "x"] {
            fields.remove(field);
        }
    }
    content
}

/// What is in a container, by id.
fn inside(definition: &WorkflowDefinition, id: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut containers = vec![id.to_owned()];
    while let Some(container) = containers.pop() {
        for node in definition.nodes.iter().filter(|node| node.parent.as_ref() == Some(&container)) {
            containers.push(node.id.clone());
            found.insert(node.id.clone(), content(node));
        }
    }
    found
}

fn inside_plan(plan: &Plan, container: usize) -> BTreeMap<String, Value> {
    let is_inside = |(index, _): &(usize, _)| plan.containers(*index).any(|outer| outer == container);
    plan.nodes.iter().enumerate().filter(is_inside).map(|(_, node)| (node.id.clone(), content(&node.spec))).collect()
}
