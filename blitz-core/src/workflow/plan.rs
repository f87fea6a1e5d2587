//! What the workflow machine walks: a definition with its names resolved to places.
//!
//! Only `validate` makes one, so a plan has no cycle, no edge to nowhere, no expression that cannot
//! be read and no container border crossed. Notes are left out. Places are indexes into the lists
//! of the plan; nodes keep the order of the definition.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expr::{Expr, Names, Shape};
use super::task::Task;
use crate::domain::{Effect, Join, Node, NodeType, Var, WorkflowLimits};

/// A definition that can be run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<PlanNode>,
    pub(crate) edges: Vec<PlanEdge>,
    /// The workflow itself comes first, then the body of each container.
    pub(crate) scopes: Vec<Scope>,
    pub(crate) limits: WorkflowLimits,
    /// The node that handles a failure of the whole; it is in no scope's starts and has no edges.
    pub(crate) handler: Option<usize>,
    pub(crate) vars: BTreeMap<String, Var>,
    /// The fields of the result that have an expression of their own. Where there is none, the
    /// result is what the ends give.
    pub(crate) outputs: Vec<(String, Shape)>,
    /// What the expressions of `outputs` read.
    pub(crate) output_reads: Reads,
}

/// The workflow itself or the body of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// The container; `None` for the workflow itself, which is scope 0.
    pub(crate) owner: Option<usize>,
    pub(crate) nodes: Vec<usize>,
    /// Where it begins: its start and input nodes, or else every node without an edge coming in.
    pub(crate) starts: Vec<usize>,
    /// Whose outputs are its result: its end and output nodes that can be reached, or else every reachable
    /// node without an edge going out.
    pub(crate) ends: Vec<usize>,
}

/// A node with what its text means.
#[derive(Debug, Clone)]
pub(crate) struct PlanNode {
    pub(crate) id: String,
    pub(crate) kind: NodeType,
    /// The scope it is in.
    pub(crate) scope: usize,
    /// The scope that is its body, for a container.
    pub(crate) body: Option<usize>,
    /// How many edges the longest way to it has, within its scope.
    pub(crate) rank: u32,
    /// Edges in the order of the definition.
    pub(crate) incoming: Vec<usize>,
    /// The edges of each port that has one; ports in the order of their first edge.
    pub(crate) outgoing: Vec<(String, Vec<usize>)>,
    /// Every port it may take: those of its type, and `error` where it branches on errors.
    pub(crate) ports: Vec<String>,
    /// Whether any path leads to it.
    pub(crate) reachable: bool,
    pub(crate) join: Join,
    /// What must be loaded before it can begin: for `when`, its input, its settings and its fallbacks.
    pub(crate) reads: Reads,
    /// What must be loaded when a round or an item of it ends: for `until`, `carry` and a map's `output`.
    pub(crate) after: Reads,
    pub(crate) effect: Effect,
    pub(crate) when: Option<Expr>,
    /// By what an output is kept, where its cache rule says so.
    pub(crate) cache_key: Option<Shape>,
    /// Its input; where absent, what the edges bring, merged.
    pub(crate) input: Option<Shape>,
    pub(crate) task: Task,
    /// What is tried in order where the task failed for good.
    pub(crate) fallback: Vec<Task>,
    /// The node as it was written.
    pub(crate) spec: Arc<Node>,
}

/// An edge between places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlanEdge {
    pub(crate) from: usize,
    pub(crate) out: String,
    pub(crate) to: usize,
    pub(crate) input: String,
}

/// What expressions read, nodes by their place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// In rising order.
    pub(crate) nodes: Vec<usize>,
    pub(crate) names: Names,
}

impl Plan {
    /// The place of a node.
    pub(crate) fn index(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// Whether any node reads a secret.
    pub(crate) fn names_secrets(&self) -> bool {
        self.nodes.iter().any(|node| !node.reads.names.secrets.is_empty())
    }

    /// The containers around a node, the innermost first.
    pub(crate) fn containers(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let owner = |node: usize| self.scopes[self.nodes[node].scope].owner;
        std::iter::successors(owner(node), move |container| owner(*container))
    }
}

impl PlanNode {
    /// What it does with its own settings, or with one of its fallbacks from 1.
    pub(crate) fn at(&self, fallback: usize) -> &Task {
        fallback.checked_sub(1).and_then(|index| self.fallback.get(index)).unwrap_or(&self.task)
    }

    /// Whether it has a port that an edge leaves by.
    pub(crate) fn has_edge(&self, port: &str) -> bool {
        self.outgoing.iter().any(|(name, _)| name == port)
    }
}
