//! The workflow machine: pure control of which node runs when.
//!
//! Every edge ends taken or skipped, exactly once; a node decides when its join can. A container's
//! body is an [`Instance`] of its scope: one for each item of a map, for each round of a loop. An
//! instance ends when all its nodes are decided; one that fails stops what runs in it first, and
//! then its container knows. Values are not here: the driver evaluates, the machine is told ports.

mod joins;
mod scopes;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::task::Task;
use crate::domain::{Action, EventData, Finish, Input, Machine, NodeEnd, Place, Timestamp};
use crate::error::{Error, ErrorInfo};

/// All of the work, in basis points.
const WHOLE: u64 = 10_000;

/// Control of one execution of a workflow.
#[derive(Debug, Clone)]
pub(crate) struct WorkflowMachine {
    plan: Arc<Plan>,
    layout: Arc<Layout>,
    control: Control,
}

/// Where nodes and edges are in the lists of an instance of their scope.
#[derive(Debug)]
struct Layout {
    nodes: Vec<usize>,
    edges: Vec<usize>,
    /// How many edges each scope has.
    widths: Vec<usize>,
}

/// All that changes while a workflow runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Control {
    /// The scopes that run, by path.
    instances: BTreeMap<String, Instance>,
    /// The maps, loops and parallels that run, by key.
    containers: BTreeMap<String, Container>,
    /// What was given out and has no outcome yet.
    open: BTreeMap<String, Action>,
    /// How many nodes were begun.
    begun: u64,
    /// Whether the node that is told of the workflow's failure was begun.
    handler_begun: bool,
    /// Basis points of the work that is decided; it never falls.
    progress: u32,
    ended: bool,
}

/// A scope that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Instance {
    scope: usize,
    /// By the node's place in the scope.
    nodes: Vec<NodeState>,
    /// By the place of the edge in the scope.
    edges: Vec<EdgeState>,
    /// Nodes that may still run or do.
    undecided: usize,
    /// Nodes that run.
    active: usize,
    /// Why it fails.
    failure: Option<ErrorInfo>,
    /// Nothing more is begun in it.
    stopping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum NodeState {
    Idle,
    Active,
    Decided,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum EdgeState {
    Open,
    Taken,
    Skipped,
}

/// A container that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Container {
    place: Place,
    /// Items of a map, rounds that a loop may make; 1 for a parallel.
    total: u64,
    /// The first that has not begun.
    next: u64,
    live: u64,
    failed: u64,
    failure: Option<ErrorInfo>,
    stopping: bool,
}

/// What follows from one input, while it is worked out.
#[derive(Default)]
struct Flow {
    actions: Vec<Action>,
    /// Edges that were decided: path, edge, whether it is taken.
    edges: VecDeque<(String, usize, bool)>,
    /// Instances of which something ended.
    touched: VecDeque<String>,
}

impl WorkflowMachine {
    /// A machine that has not begun.
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        let layout = Arc::new(Layout::of(&plan));
        Self { plan, layout, control: Control::default() }
    }

    /// How much of the known work is decided, in hundredths of a percent; it never falls.
    pub(crate) fn progress(&self) -> u32 {
        self.control.progress
    }

    /// Whether it has ended: nothing follows any more.
    pub(crate) fn is_over(&self) -> bool {
        self.control.ended
    }

    /// The seconds that a node may take, where it says so.
    pub(crate) fn time_of(&self, id: &str) -> Option<u64> {
        self.plan.index(id).and_then(|node| self.plan.nodes[node].spec.timeout_s)
    }

    /// What was given out at a key and has no outcome.
    pub(crate) fn open_at(&self, key: &str) -> Option<Action> {
        self.control.open.get(key).cloned()
    }

    fn start(&mut self, flow: &mut Flow) {
        if self.control.instances.is_empty() && !self.control.ended {
            self.open_scope(String::new(), 0, flow);
        }
    }

    fn give(&mut self, flow: &mut Flow, action: Action) {
        let key = action.key().unwrap_or_default().to_owned();
        self.control.open.insert(key, action.clone());
        flow.actions.push(action);
    }

    fn finish(&mut self, finish: Finish) -> Vec<Action> {
        self.control.ended = true;
        self.control.open.clear();
        let action = Action::Finish(finish);
        self.control.open.insert(String::new(), action.clone());
        vec![action]
    }

    /// Begins a node, unless the execution has begun too many.
    fn begin(&mut self, path: &str, node: usize, flow: &mut Flow) {
        let limit = self.plan.limits.max_steps;
        if self.control.begun >= limit {
            let error = Error::LimitExceeded { limit: "steps", value: limit.to_string() }.to_info();
            self.fail_scope("", &error, flow);
            return;
        }
        self.control.begun += 1;
        let plan = Arc::clone(&self.plan);
        let Some(instance) = self.control.instances.get_mut(path) else { return };
        instance.nodes[self.layout.nodes[node]] = NodeState::Active;
        instance.active += 1;
        let key = join(path, &plan.nodes[node].id);
        self.give(flow, Action::RunNode(Place { key, path: path.to_owned(), node }));
    }

    fn node_ended(&mut self, key: &str, end: NodeEnd<'_>, flow: &mut Flow) {
        let Some(place) = self.close_node(key) else { return };
        self.control.containers.remove(key);
        let plan = Arc::clone(&self.plan);
        let node = &plan.nodes[place.node];
        let Some(instance) = self.control.instances.get_mut(&place.path) else { return };
        let state = &mut instance.nodes[self.layout.nodes[place.node]];
        if *state == NodeState::Active {
            *state = NodeState::Decided;
            instance.active -= 1;
            instance.undecided -= 1;
        }
        let stopping = instance.stopping;
        flow.touched.push_back(place.path.clone());
        if let NodeEnd::Failed(error) = end {
            self.fail_scope(&place.path, error, flow);
            return;
        }
        if stopping {
            return;
        }
        for (port, edges) in &node.outgoing {
            let taken = match end {
                NodeEnd::Port(taken) => taken == port,
                NodeEnd::PassedThrough => port != "error",
                _ => false,
            };
            flow.edges.extend(edges.iter().map(|edge| (place.path.clone(), *edge, taken)));
        }
    }

    /// Takes a node off the list of what is open; gives where it is.
    fn close_node(&mut self, key: &str) -> Option<Place> {
        match self.control.open.remove(key)? {
            Action::RunNode(place) | Action::CancelNode(place) | Action::CloseNode { place, .. } => Some(place),
            other => {
                self.control.open.insert(key.to_owned(), other);
                None
            }
        }
    }

    /// Works off what was decided until nothing follows any more.
    fn settle(&mut self, flow: &mut Flow) {
        loop {
            if let Some((path, edge, taken)) = flow.edges.pop_front() {
                self.decide_edge(&path, edge, taken, flow);
            } else if let Some(path) = flow.touched.pop_front() {
                self.look_for_end(&path, flow);
            } else {
                break;
            }
        }
        self.note_progress();
    }

    /// Basis points of decided work: a container counts by its items.
    fn note_progress(&mut self) {
        let now = u32::try_from(self.decided("")).unwrap_or(u32::MAX);
        self.control.progress = self.control.progress.max(now.min(WHOLE as u32));
    }

    /// How much of a scope is decided, in basis points, the containers in it by their items.
    fn decided(&self, path: &str) -> u64 {
        let Some(instance) = self.control.instances.get(path) else { return 0 };
        let known = instance.nodes.len().max(1) as u64;
        let decided = (instance.nodes.len() - instance.undecided.min(instance.nodes.len())) as u64 * WHOLE;
        let inside: u64 = self.plan.scopes[instance.scope]
            .nodes
            .iter()
            .filter(|node| self.plan.nodes[**node].body.is_some())
            .filter_map(|node| self.control.containers.get(&join(path, &self.plan.nodes[*node].id)))
            .map(|container| match self.plan.nodes[container.place.node].task {
                Task::Parallel => self.decided(&container.place.key),
                _ => self.part_done(container) * WHOLE / container.total.max(1),
            })
            .sum();
        (decided + inside) / known
    }

    /// Keeps the progress from falling below what was told before.
    pub(crate) fn at_least(&mut self, progress: u32) {
        self.control.progress = self.control.progress.max(progress);
    }

    fn part_done(&self, container: &Container) -> u64 {
        match self.plan.nodes[container.place.node].task {
            Task::Map(_) => container.next.saturating_sub(container.live),
            // How many rounds a loop makes is not known before.
            _ => 0,
        }
    }
}

impl Machine for WorkflowMachine {
    fn step(&mut self, _now: Timestamp, input: Input<'_>) -> Vec<Action> {
        if self.control.ended {
            return Vec::new();
        }
        let mut flow = Flow::default();
        match input {
            Input::Start => self.start(&mut flow),
            Input::NodeEntered { key, items } => self.entered(key, items, &mut flow),
            Input::NodeBroken { key, error } => self.broken(key, error, &mut flow),
            Input::NodeEnded { key, end } => self.node_ended(key, end, &mut flow),
            Input::ItemEnded { path, end } => self.item_ended(path, end, &mut flow),
            Input::Stop { finish } => return self.finish(finish.clone()),
            _ => {}
        }
        self.settle(&mut flow);
        let progress = self.control.progress;
        for action in &mut flow.actions {
            if let Action::Emit { data, .. } = action
                && let EventData::NodeFinished(finished) = data.as_mut()
            {
                finished.progress = progress;
            }
        }
        flow.actions
    }

    fn open(&self) -> Vec<Action> {
        self.control.open.values().cloned().collect()
    }
}

impl Layout {
    fn of(plan: &Plan) -> Self {
        let mut layout =
            Self { nodes: vec![0; plan.nodes.len()], edges: Vec::new(), widths: vec![0; plan.scopes.len()] };
        for scope in &plan.scopes {
            for (place, node) in scope.nodes.iter().enumerate() {
                layout.nodes[*node] = place;
            }
        }
        for edge in &plan.edges {
            let width = &mut layout.widths[plan.nodes[edge.from].scope];
            layout.edges.push(*width);
            *width += 1;
        }
        layout
    }
}

/// A node's key or an item's path: what it is in, and its own name.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// The key of the container that a path is in, and the item or round: `a/3` gives `a` and 3.
pub(crate) fn container_of(path: &str) -> (&str, Option<u64>) {
    match path.rsplit_once('/') {
        Some((container, last)) => match last.parse() {
            Ok(index) => (container, Some(index)),
            Err(_) => (path, None),
        },
        None => (path, None),
    }
}
