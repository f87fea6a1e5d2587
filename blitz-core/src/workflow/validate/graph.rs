//! The structure: which nodes and edges there are, in what order they come, and what is reached.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::super::config;
use crate::domain::{Effect, Node, NodeType, NodeTypeInfo, Problem, ProblemCode, WorkflowDefinition};

/// How deep containers may be nested.
const MAX_CONTAINERS: usize = 16;

/// The nodes and edges that can be understood. Notes are no part of it.
pub(super) struct Graph<'a> {
    pub(super) definition: &'a WorkflowDefinition,
    pub(super) nodes: Vec<&'a Node>,
    /// Where each node stands in the definition.
    pub(super) places: Vec<usize>,
    pub(super) edges: Vec<GraphEdge<'a>>,
    pub(super) handler: Option<usize>,
    /// Whether every edge and parent of the definition is understood.
    whole: bool,
    ids: BTreeMap<&'a str, usize>,
    parents: Vec<Option<usize>>,
    scope_of: Vec<usize>,
    members: Vec<Vec<usize>>,
    owners: Vec<Option<usize>>,
    bodies: Vec<Option<usize>>,
    types: &'a [NodeTypeInfo],
    /// Edges that cross a border, drawn between the nodes of one scope that hold their ends.
    lifted: Vec<(usize, usize)>,
}

pub(super) struct GraphEdge<'a> {
    pub(super) from: usize,
    pub(super) out: &'a str,
    pub(super) to: usize,
    pub(super) input: &'a str,
}

/// Whether a text may be an id.
pub(in super::super) fn is_id(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    first && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

impl<'a> Graph<'a> {
    pub(super) fn of(
        definition: &'a WorkflowDefinition,
        types: &'a [NodeTypeInfo],
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut graph = Self {
            definition,
            nodes: Vec::new(),
            places: Vec::new(),
            edges: Vec::new(),
            handler: None,
            whole: true,
            ids: BTreeMap::new(),
            parents: Vec::new(),
            scope_of: Vec::new(),
            members: vec![Vec::new()],
            owners: vec![None],
            bodies: Vec::new(),
            types,
            lifted: Vec::new(),
        };
        graph.add_nodes(problems);
        graph.add_parents(problems);
        graph.add_scopes();
        graph.add_edges(problems);
        graph.add_handler(problems);
        graph
    }

    fn add_nodes(&mut self, problems: &mut Vec<Problem>) {
        let mut notes = BTreeSet::new();
        for (place, node) in self.definition.nodes.iter().enumerate() {
            let path = format!("/nodes/{place}");
            if !is_id(&node.id) {
                let message = "an id is a letter or `_`, then letters, digits, `_` and `-`, 64 at most";
                let fix = json!({"node": node.id, "to": proposed_id(&node.id)});
                let problem = Problem::new(ProblemCode::Id, message).at_node(&node.id).at(format!("{path}/id"));
                problems.push(problem.fix("rename_node", "Give it another id", fix));
            }
            if self.ids.contains_key(node.id.as_str()) || notes.contains(&node.id) {
                let problem = Problem::new(ProblemCode::DuplicateId, "another node has this id");
                let fix = json!({"path": format!("{path}/id"), "value": self.free_id(&node.id)});
                problems.push(problem.at_node(&node.id).at(format!("{path}/id")).fix("set", "Give it another id", fix));
                self.whole = false;
                continue;
            }
            if node.kind == NodeType::Note {
                notes.insert(node.id.clone());
                continue;
            }
            if let NodeType::Host(name) = &node.kind
                && self.host(&node.kind).is_none()
            {
                let problem = Problem::new(ProblemCode::UnknownType, unknown_type(name, self.types));
                problems.push(problem.at_node(&node.id).at(format!("{path}/type")));
            }
            self.ids.insert(&node.id, self.nodes.len());
            self.nodes.push(node);
            self.places.push(place);
        }
        if self.nodes.is_empty() && self.whole {
            problems.push(Problem::new(ProblemCode::Empty, "there is no node: add one").at("/nodes"));
        }
    }

    fn add_parents(&mut self, problems: &mut Vec<Problem>) {
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(parent) = &node.parent else {
                self.parents.push(None);
                continue;
            };
            let found = self.ids.get(parent.as_str()).copied();
            let wrong = match found {
                None => Some((ProblemCode::MissingNode, format!("its parent {} is no node", shown(parent)))),
                Some(found) if found == index => {
                    Some((ProblemCode::Parent, "a node cannot be its own parent".to_owned()))
                }
                Some(found) if !self.is_container(found) => {
                    let kind = &self.nodes[found].kind;
                    Some((ProblemCode::Parent, format!("its parent {parent} is of type {kind}, which holds no nodes")))
                }
                Some(_) => None,
            };
            let usable = wrong.is_none();
            if let Some((code, message)) = wrong {
                let path = format!("/nodes/{}/parent", self.places[index]);
                let fix = json!({"path": path});
                let problem = Problem::new(code, message).at_node(&node.id).at(&path);
                problems.push(problem.fix("remove", "Take it out of the container", fix));
                self.whole = false;
            }
            self.parents.push(found.filter(|_| usable));
        }
        for index in 0..self.nodes.len() {
            let (mut at, mut depth) = (self.parents[index], 0);
            while let Some(parent) = at {
                depth += 1;
                if parent == index || depth > self.nodes.len() {
                    break;
                }
                at = self.parents[parent];
            }
            let node = self.nodes[index];
            let path = format!("/nodes/{}/parent", self.places[index]);
            if at.is_some() {
                let problem = Problem::new(ProblemCode::Parent, "containers hold each other");
                problems.push(problem.at_node(&node.id).at(path));
                self.parents[index] = None;
                self.whole = false;
            } else if depth > MAX_CONTAINERS {
                let message = format!("containers are nested deeper than {MAX_CONTAINERS}");
                problems.push(Problem::new(ProblemCode::TooDeep, message).at_node(&node.id).at(path));
            }
        }
    }

    fn add_scopes(&mut self) {
        for index in 0..self.nodes.len() {
            let body = self.is_container(index).then(|| {
                self.members.push(Vec::new());
                self.owners.push(Some(index));
                self.members.len() - 1
            });
            self.bodies.push(body);
        }
        for index in 0..self.nodes.len() {
            let scope = self.parents[index].and_then(|parent| self.bodies[parent]).unwrap_or(0);
            self.scope_of.push(scope);
            self.members[scope].push(index);
        }
    }

    fn add_edges(&mut self, problems: &mut Vec<Problem>) {
        let mut ids = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for (place, edge) in self.definition.edges.iter().enumerate() {
            let name = edge.id.clone().unwrap_or_else(|| place.to_string());
            let path = format!("/edges/{place}");
            let mut report = |code, message: String, field: &str| {
                let path = if field.is_empty() { path.clone() } else { format!("{path}/{field}") };
                let fix = json!({"edge": name});
                let problem = Problem::new(code, message).at_edge(&name).at(path);
                problems.push(problem.fix("remove_edge", "Remove the edge", fix));
            };
            if edge.id.as_ref().is_some_and(|id| !ids.insert(id.clone())) {
                report(ProblemCode::DuplicateId, "another edge has this id".to_owned(), "id");
            }
            let note = |id: &str| {
                self.definition.nodes.iter().any(|node| node.kind == NodeType::Note && node.id == id)
                    && !self.ids.contains_key(id)
            };
            let mut ends = [None, None];
            for (end, (id, field)) in ends.iter_mut().zip([(&edge.from, "from"), (&edge.to, "to")]) {
                *end = self.ids.get(id.as_str()).copied();
                if note(id) {
                    report(ProblemCode::NoteEdge, format!("{} is a note, which has no edges", shown(id)), field);
                } else if end.is_none() {
                    report(ProblemCode::MissingNode, format!("there is no node {}", shown(id)), field);
                }
            }
            // Both ports are looked at even where the other end is missing.
            if let Some(from) = ends[0]
                && let Some(message) = self.wrong_out(from, &edge.out)
            {
                report(ProblemCode::UnknownPort, message, "out");
            }
            if let Some(to) = ends[1] {
                if edge.input != "in" {
                    let message = format!("{} has no port {} to come in by, only `in`", edge.to, shown(&edge.input));
                    report(ProblemCode::UnknownPort, message, "in");
                }
                if self.nodes[to].kind == NodeType::Start {
                    let message = format!("{} is a start: no edge may come in", edge.to);
                    report(ProblemCode::StartIncoming, message, "to");
                }
            }
            let [Some(from), Some(to)] = ends else {
                self.whole = false;
                continue;
            };
            if from == to {
                report(ProblemCode::SelfEdge, format!("it leads from {} to itself: put it into a loop", edge.from), "");
                self.whole = false;
                continue;
            }
            if self.scope_of[from] != self.scope_of[to] {
                let message = "it crosses the border of a container: lead it to the container itself".to_owned();
                report(ProblemCode::Border, message, "");
                self.whole = false;
                self.lifted.extend(self.lift(from, to));
                continue;
            }
            if !seen.insert((from, edge.out.as_str(), to, edge.input.as_str())) {
                report(ProblemCode::DuplicateId, "the same edge stands twice".to_owned(), "");
                continue;
            }
            self.edges.push(GraphEdge { from, out: &edge.out, to, input: &edge.input });
        }
    }

    fn add_handler(&mut self, problems: &mut Vec<Problem>) {
        let Some(id) = &self.definition.on_error else { return };
        let handler = self.ids.get(id.as_str()).copied();
        let message = match handler {
            None => {
                let problem = Problem::new(ProblemCode::MissingNode, format!("the handler {} is no node", shown(id)));
                problems.push(problem.at("/on_error"));
                return;
            }
            Some(handler) => {
                let node = self.nodes[handler];
                let edges = self.edges.iter().any(|edge| edge.from == handler || edge.to == handler);
                let unfit = matches!(node.kind, NodeType::Start | NodeType::End | NodeType::Input | NodeType::Note);
                if edges {
                    Some("it has edges: a handler stands alone")
                } else if node.parent.is_some() {
                    Some("it is in a container: a handler belongs to the workflow itself")
                } else if unfit {
                    Some("a node of its type handles nothing")
                } else {
                    None
                }
            }
        };
        if let Some(message) = message {
            let problem = Problem::new(ProblemCode::Handler, format!("{} cannot be the handler: {message}", shown(id)));
            problems.push(problem.at_node(id).at("/on_error"));
        }
        self.handler = handler;
    }

    /// The two nodes of one scope that hold the ends of an edge, or are them.
    fn lift(&self, from: usize, to: usize) -> Option<(usize, usize)> {
        let ways = [from, to].map(|node| {
            let mut way = vec![node];
            way.extend(std::iter::successors(self.parents[node], |parent| self.parents[*parent]));
            way
        });
        let pairs = ways[0].iter().flat_map(|from| ways[1].iter().map(|to| (*from, *to)));
        pairs.into_iter().find(|(from, to)| self.scope_of[*from] == self.scope_of[*to] && from != to)
    }

    fn wrong_out(&self, from: usize, out: &str) -> Option<String> {
        let node = self.nodes[from];
        if matches!(node.kind, NodeType::Host(_)) && self.host(&node.kind).is_none() {
            return None;
        }
        let ports = self.ports(from);
        if ports.iter().any(|port| port == out) {
            return None;
        }
        if out == "error" {
            return Some(format!("{} does not branch on errors: set its on_error to \"branch\"", node.id));
        }
        let known = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
        Some(format!("{} has no port {}, only: {known}", node.id, shown(out)))
    }

    fn free_id(&self, id: &str) -> String {
        let base = proposed_id(id);
        let base: String = base.chars().take(58).collect();
        let taken = |id: &str| self.definition.nodes.iter().any(|node| node.id == id);
        let mut candidates = (2..).map(|n| format!("{base}_{n}"));
        candidates.find(|candidate| !taken(candidate)).unwrap_or(base)
    }

    pub(super) fn index(&self, id: &str) -> Option<usize> {
        self.ids.get(id).copied()
    }

    pub(super) fn host(&self, kind: &NodeType) -> Option<&'a NodeTypeInfo> {
        self.types.iter().find(|known| known.kind == *kind && matches!(kind, NodeType::Host(_)))
    }

    pub(super) fn is_container(&self, index: usize) -> bool {
        self.nodes[index].kind.is_container()
    }

    pub(super) fn ports(&self, index: usize) -> Vec<String> {
        config::ports(self.nodes[index], self.host(&self.nodes[index].kind))
    }

    pub(super) fn effect(&self, index: usize) -> Effect {
        config::effect(self.nodes[index], self.host(&self.nodes[index].kind))
    }

    pub(super) fn scope(&self, index: usize) -> usize {
        self.scope_of[index]
    }

    pub(super) fn scopes(&self) -> usize {
        self.members.len()
    }

    pub(super) fn members(&self, scope: usize) -> &[usize] {
        &self.members[scope]
    }

    pub(super) fn owner(&self, scope: usize) -> Option<usize> {
        self.owners[scope]
    }

    pub(super) fn body(&self, index: usize) -> Option<usize> {
        self.bodies[index]
    }

    pub(super) fn parent(&self, index: usize) -> Option<usize> {
        self.parents[index]
    }

    pub(super) fn incoming(&self, index: usize) -> Vec<usize> {
        self.edges_where(|edge| edge.to == index)
    }

    pub(super) fn outgoing(&self, index: usize) -> Vec<usize> {
        self.edges_where(|edge| edge.from == index)
    }

    fn edges_where(&self, holds: impl Fn(&GraphEdge) -> bool) -> Vec<usize> {
        self.edges.iter().enumerate().filter(|(_, edge)| holds(edge)).map(|(index, _)| index).collect()
    }

    /// Sorts the nodes of each scope so that edges lead forwards; reports circles.
    pub(super) fn order(&self, problems: &mut Vec<Problem>) -> Order {
        let count = self.nodes.len();
        let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (from, to) in self.edges.iter().map(|edge| (edge.from, edge.to)).chain(self.lifted.iter().copied()) {
            next[from].push(to);
        }
        let mut waits = vec![0usize; count];
        next.iter().flatten().for_each(|to| waits[*to] += 1);
        let mut ready: BTreeSet<usize> = (0..count).filter(|node| waits[*node] == 0).collect();
        let mut order = Order { sorted: Vec::new(), ranks: vec![0; count], whole: self.whole };
        while let Some(node) = ready.pop_first() {
            order.sorted.push(node);
            for to in &next[node] {
                order.ranks[*to] = order.ranks[*to].max(order.ranks[node] + 1);
                waits[*to] -= 1;
                if waits[*to] == 0 {
                    ready.insert(*to);
                }
            }
        }
        let left: BTreeSet<usize> = (0..count).filter(|node| waits[*node] > 0).collect();
        if !left.is_empty() {
            order.whole = false;
            self.report_circles(&left, &next, problems);
        }
        order
    }

    /// One problem for each circle: the nodes that reach each other.
    fn report_circles(&self, left: &BTreeSet<usize>, next: &[Vec<usize>], problems: &mut Vec<Problem>) {
        let reached = |from: usize| {
            let mut seen = vec![false; next.len()];
            let mut open = vec![from];
            while let Some(node) = open.pop() {
                let fresh = |to: &usize| left.contains(to) && !std::mem::replace(&mut seen[*to], true);
                open.extend(next[node].iter().copied().filter(fresh));
            }
            seen
        };
        let reaches: BTreeMap<usize, Vec<bool>> = left.iter().map(|node| (*node, reached(*node))).collect();
        let mut told = BTreeSet::new();
        for node in left {
            let both = |other: &usize| reaches[node][*other] && reaches[other][*node];
            let circle: Vec<usize> = left.iter().copied().filter(both).collect();
            if circle.is_empty() || !told.insert(circle.clone()) {
                continue;
            }
            let ids: Vec<&str> = circle.iter().map(|index| self.nodes[*index].id.as_str()).collect();
            let shown = ids.iter().take(8).copied().collect::<Vec<_>>().join(", ");
            let message = format!("edges lead in a circle: {shown}; repetition belongs into a loop");
            let fix = json!({"nodes": ids});
            let problem = Problem::new(ProblemCode::Cycle, message).at_node(ids[0]);
            problems.push(problem.fix("wrap_in_loop", "Put these nodes into a loop", fix));
        }
    }

    /// Finds where each scope begins and what is reached from there.
    pub(super) fn reach(&self, order: &Order, problems: &mut Vec<Problem>) -> Reach {
        let mut reach = Reach { starts: Vec::new(), reachable: vec![false; self.nodes.len()] };
        for scope in 0..self.scopes() {
            let begins: Vec<usize> = self.members[scope]
                .iter()
                .copied()
                .filter(|node| Some(*node) != self.handler && !self.edges.iter().any(|edge| edge.to == *node))
                .collect();
            let stated = begins.iter().any(|node| self.nodes[*node].kind == NodeType::Start);
            let is_start = |node: &usize| matches!(self.nodes[*node].kind, NodeType::Start | NodeType::Input);
            let starts: Vec<usize> = begins.into_iter().filter(|node| !stated || is_start(node)).collect();
            let members =
                self.members[scope].len() - usize::from(self.handler.is_some_and(|h| self.scope_of[h] == scope));
            let owner = self.owners[scope].map(|owner| self.nodes[owner]);
            if let (Some(owner), 0) = (owner, members) {
                let message = format!("the {} {} has no body: put a node into it", owner.kind, owner.id);
                problems.push(Problem::new(ProblemCode::EmptyBody, message).at_node(&owner.id));
            } else if members == 0 && !self.nodes.is_empty() {
                let message = "there is no node beside the handler of errors: add one";
                problems.push(Problem::new(ProblemCode::Empty, message).at("/nodes"));
            }
            reach.starts.push(starts);
        }
        let mut open: Vec<usize> = reach.starts[0].clone();
        while let Some(node) = open.pop() {
            if std::mem::replace(&mut reach.reachable[node], true) {
                continue;
            }
            open.extend(self.edges.iter().filter(|edge| edge.from == node).map(|edge| edge.to));
            if let Some(body) = self.bodies[node] {
                open.extend(&reach.starts[body]);
            }
        }
        if order.whole {
            for (index, node) in self.nodes.iter().enumerate() {
                if !reach.reachable[index] && Some(index) != self.handler {
                    let problem = Problem::new(ProblemCode::Unreachable, "no path leads here: it will never run");
                    let fix = json!({"node": node.id});
                    problems.push(problem.at_node(&node.id).fix("remove_node", "Remove the node", fix));
                }
            }
        }
        reach
    }
}

/// The nodes in an order in which edges lead forwards, as far as there is one.
pub(super) struct Order {
    pub(super) sorted: Vec<usize>,
    ranks: Vec<u32>,
    whole: bool,
}

impl Order {
    /// Whether the whole structure is understood and has no circle.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn rank(&self, index: usize) -> u32 {
        self.ranks[index]
    }
}

/// Where scopes begin and what is reached.
pub(super) struct Reach {
    starts: Vec<Vec<usize>>,
    reachable: Vec<bool>,
}

impl Reach {
    pub(super) fn starts(&self, scope: usize) -> &[usize] {
        &self.starts[scope]
    }

    pub(super) fn is_reachable(&self, index: usize) -> bool {
        self.reachable[index]
    }

    /// Whose outputs are a scope's result.
    pub(super) fn ends(&self, graph: &Graph, scope: usize) -> Vec<usize> {
        let reached = || graph.members(scope).iter().copied().filter(|node| self.reachable[*node]);
        let gives = |node: &usize| matches!(graph.nodes[*node].kind, NodeType::End | NodeType::Output);
        let stated: Vec<usize> = reached().filter(gives).collect();
        if !stated.is_empty() {
            return stated;
        }
        reached().filter(|node| !graph.edges.iter().any(|edge| edge.from == *node)).collect()
    }
}

/// A text of the author's in a message: cut and escaped.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    format!("`{cut}`")
}

pub(in super::super) fn proposed_id(id: &str) -> String {
    let mut proposed: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(60).collect();
    if !proposed.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        proposed.insert_str(0, "n_");
    }
    proposed
}

fn unknown_type(name: &str, types: &[NodeTypeInfo]) -> String {
    let known = NodeType::ALL.iter().map(NodeType::name).chain(types.iter().map(|info| info.kind.name()));
    let near = nearest(name, known);
    let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
    format!("no type {} is known to the engine or registered by the host{near}", shown(name))
}

/// The known name that a misspelt one is nearest to.
pub(in crate::workflow) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let most = (name.chars().count() / 2).min(2);
    let near = known.map(|known| (distance(name, known), known)).filter(|(distance, _)| *distance <= most);
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// How many letters must change to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().take(64).enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = before + usize::from(!a.eq_ignore_ascii_case(b));
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
