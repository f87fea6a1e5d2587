//! What expressions read: only what is there, and only what has run before.

use serde_json::json;

use super::super::expr::{Names, Shape};
use super::graph::{Graph, nearest, shown};
use super::nodes::Compiled;
use crate::domain::{NodeType, Problem, ProblemCode};

/// For each node, the nodes of its scope that run before it.
pub(super) struct Before {
    rows: Vec<Vec<u64>>,
}

impl Before {
    pub(super) fn of(graph: &Graph) -> Self {
        let count = graph.nodes.len();
        let width = count.div_ceil(64);
        let mut rows = vec![vec![0u64; width]; count];
        let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
        graph.edges.iter().for_each(|edge| next[edge.from].push(edge.to));
        // From each node forwards: a circle ends where it was before.
        for from in 0..count {
            let mut open = vec![from];
            while let Some(node) = open.pop() {
                for to in &next[node] {
                    let (word, bit) = (from / 64, 1u64 << (from % 64));
                    if rows[*to][word] & bit == 0 {
                        rows[*to][word] |= bit;
                        open.push(*to);
                    }
                }
            }
        }
        Self { rows }
    }

    /// Whether `one` runs before `other` in their scope.
    pub(super) fn is_before(&self, one: usize, other: usize) -> bool {
        self.rows[other][one / 64] & (1 << (one % 64)) != 0
    }
}

/// Where an expression stands.
struct Place<'g, 'a> {
    graph: &'g Graph<'a>,
    before: &'g Before,
    /// The node; `None` for the fields of the result.
    node: Option<usize>,
    /// Whether it is evaluated when a round or item of the node's body has ended.
    after: bool,
    /// Whether the node's own input is there.
    input: bool,
    /// Whether secrets may be named.
    secrets: bool,
    path: String,
}

pub(super) fn check(graph: &Graph, compiled: &[Compiled], outputs: &[(String, Shape)], problems: &mut Vec<Problem>) {
    let before = Before::of(graph);
    for (index, parts) in compiled.iter().enumerate() {
        let path = format!("/nodes/{}", graph.places[index]);
        let kind = &graph.nodes[index].kind;
        let may = matches!(kind, NodeType::Http | NodeType::Tool | NodeType::Agent);
        let place = |path: String, input: bool, secrets: bool, after: bool| Place {
            graph,
            before: &before,
            node: Some(index),
            after,
            input,
            secrets,
            path,
        };
        if let Some(expr) = &parts.when {
            place(format!("{path}/when"), false, false, false).check(expr.names(), problems);
        }
        if let Some(input) = &parts.input {
            place(format!("{path}/input"), false, false, false).check(input.names(), problems);
        }
        if let Some(key) = &parts.cache_key {
            place(format!("{path}/cache/key"), true, false, false).check(key.names(), problems);
        }
        let tasks = parts.task.iter().map(|task| (task, format!("{path}/config")));
        let fallback = parts.fallback.iter().enumerate().map(|(at, task)| (task, format!("{path}/fallback/{at}")));
        for (task, path) in tasks.chain(fallback) {
            place(path.clone(), true, may, false).check(&task.names(), problems);
            place(path, true, false, true).check(&task.names_after(), problems);
        }
        for var in parts.writes() {
            if !graph.definition.vars.contains_key(var) {
                problems.push(unknown_var(graph, var).at_node(&graph.nodes[index].id).at(format!("{path}/config")));
            }
        }
    }
    for (key, shape) in outputs {
        let path = format!("/outputs/properties/{}/value", super::super::task::escaped(key));
        let place = Place { graph, before: &before, node: None, after: false, input: false, secrets: false, path };
        place.check(shape.names(), problems);
    }
}

impl Place<'_, '_> {
    fn report(&self, problem: Problem, problems: &mut Vec<Problem>) {
        let problem = problem.at(&self.path);
        problems.push(match self.node {
            Some(node) => problem.at_node(&self.graph.nodes[node].id),
            None => problem,
        });
    }

    fn check(&self, names: &Names, problems: &mut Vec<Problem>) {
        for id in &names.nodes {
            if let Some(problem) = self.wrong_node(id) {
                self.report(problem, problems);
            }
        }
        for (id, field) in &names.fields {
            let message = format!("nodes.{id} has output, error, status and usage, and no {}", shown(field));
            let fix = json!({"from": format!("nodes.{id}.{field}"), "to": format!("nodes.{id}.output.{field}")});
            let problem = Problem::new(ProblemCode::UnknownName, message);
            self.report(problem.fix("replace_text", "Read its output", fix), problems);
        }
        for var in names.vars.iter().filter(|var| !self.graph.definition.vars.contains_key(*var)) {
            self.report(unknown_var(self.graph, var), problems);
        }
        for message in &names.absent {
            self.report(Problem::new(ProblemCode::UnknownFilter, message), problems);
        }
        for root in &names.open {
            let code = if root == "secrets" { ProblemCode::Secret } else { ProblemCode::UnknownName };
            let message = format!("{root} must be followed by a name that stands in the text: {root}.name");
            self.report(Problem::new(code, message), problems);
        }
        for name in &names.unknown {
            let near =
                nearest(name, ["inputs", "vars", "nodes", "item", "index", "loop", "execution", "trigger"].into_iter());
            let as_input = self.graph.definition.inputs.as_ref().and_then(|schema| schema.get("properties"));
            let hint = if as_input.is_some_and(|fields| fields.get(name).is_some()) {
                format!(": say inputs.{name}")
            } else if self.graph.index(name).is_some() {
                format!(": say nodes.{name}.output")
            } else {
                near.map_or(String::new(), |near| format!("; did you mean {near}?"))
            };
            self.report(Problem::new(ProblemCode::UnknownName, format!("there is no {}{hint}", shown(name))), problems);
        }
        self.check_body(names, problems);
        if !names.secrets.is_empty() && !self.secrets {
            let message = "secrets are read in the settings of http, tool and agent nodes only";
            self.report(Problem::new(ProblemCode::Secret, message), problems);
        }
        if names.input && !self.input {
            let message = "`input` is the node's own input: it is there in its settings only";
            self.report(Problem::new(ProblemCode::UnknownName, message), problems);
        }
        if names.error && (self.node.is_none() || self.node != self.graph.handler) {
            let message = "`error` is there in the handler of errors only: say nodes.<id>.error";
            self.report(Problem::new(ProblemCode::UnknownName, message), problems);
        }
    }

    /// `item`, `index` and `loop` are there inside of a body, and when a round or item of it ends.
    fn check_body(&self, names: &Names, problems: &mut Vec<Problem>) {
        let parents = |node: usize| std::iter::successors(self.graph.parent(node), |node| self.graph.parent(*node));
        let own = self.node.filter(|_| self.after);
        let around: Vec<&NodeType> = own
            .into_iter()
            .chain(self.node.into_iter().flat_map(parents))
            .map(|node| &self.graph.nodes[node].kind)
            .collect();
        let asked = [
            ("item", names.item, NodeType::Map),
            ("index", names.index, NodeType::Map),
            ("loop", names.rounds, NodeType::Loop),
        ];
        for (name, read, kind) in asked {
            if read && !around.contains(&&kind) {
                let message = format!("`{name}` is there in the body of a {kind} only");
                self.report(Problem::new(ProblemCode::OutsideBody, message), problems);
            }
        }
    }

    /// What is wrong with reading a node from here.
    fn wrong_node(&self, id: &str) -> Option<Problem> {
        let Some(read) = self.graph.index(id) else {
            let near = nearest(id, self.graph.nodes.iter().map(|node| node.id.as_str()));
            let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
            let problem = Problem::new(ProblemCode::UnknownName, format!("there is no node {}{hint}", shown(id)));
            return Some(match near {
                Some(near) => {
                    let fix = json!({"from": format!("nodes.{id}"), "to": format!("nodes.{near}")});
                    problem.fix("replace_text", format!("Read {near}"), fix)
                }
                None => problem,
            });
        };
        if self.sees(read) {
            return None;
        }
        let mut containers = std::iter::successors(self.graph.parent(read), |node| self.graph.parent(*node));
        let seen = containers.find(|container| self.sees(*container));
        Some(match seen {
            Some(container) => {
                let container = &self.graph.nodes[container].id;
                let message = format!("nodes.{id} is inside of {container}: read nodes.{container}.output");
                let fix = json!({"from": format!("nodes.{id}.output"), "to": format!("nodes.{container}.output")});
                Problem::new(ProblemCode::NotUpstream, message).fix("replace_text", format!("Read {container}"), fix)
            }
            None => {
                let message = format!("nodes.{id} does not run before this: no edges lead from it to here");
                let fix = json!({"from": id, "to": self.node.map(|node| self.graph.nodes[node].id.clone())});
                Problem::new(ProblemCode::NotUpstream, message).fix(
                    "add_edge",
                    format!("Lead an edge from {id} to here"),
                    fix,
                )
            }
        })
    }

    /// Whether a node has run, or was skipped, when the expression is evaluated.
    fn sees(&self, read: usize) -> bool {
        let scope = self.graph.scope(read);
        let Some(node) = self.node else { return scope == 0 };
        if Some(node) == self.graph.handler {
            return scope == 0 && read != node;
        }
        if self.after && self.graph.body(node) == Some(scope) {
            return true;
        }
        let mut around = std::iter::successors(Some(node), |node| self.graph.parent(*node));
        around.any(|at| self.graph.scope(at) == scope && self.before.is_before(read, at))
    }
}

fn unknown_var(graph: &Graph, var: &str) -> Problem {
    let near = nearest(var, graph.definition.vars.keys().map(String::as_str));
    let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
    let problem = Problem::new(ProblemCode::UnknownName, format!("there is no variable {}{hint}", shown(var)));
    problem.fix("declare_var", "Declare the variable", json!({"name": var}))
}
