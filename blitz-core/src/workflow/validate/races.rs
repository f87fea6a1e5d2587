//! Writers of one variable that may run side by side, where the rule is that the new value stands.

use std::collections::BTreeMap;

use super::graph::{Graph, Reach};
use super::nodes::Compiled;
use super::reads::Before;
use crate::domain::{MergeRule, NodeType, OnError, Problem, ProblemCode};

pub(super) fn check(graph: &Graph, compiled: &[Compiled], reach: &Reach, problems: &mut Vec<Problem>) {
    let mut writers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, parts) in compiled.iter().enumerate().filter(|(index, _)| reach.is_reachable(*index)) {
        for var in parts.writes() {
            let rule = graph.definition.vars.get(var).map(|var| var.merge);
            if rule == Some(MergeRule::Replace) {
                writers.entry(var).or_default().push(index);
            }
        }
    }
    if writers.values().all(|writers| writers.len() < 2) {
        return;
    }
    let before = Before::of(graph);
    for (var, writers) in writers {
        for (at, one) in writers.iter().enumerate() {
            let other = writers[at + 1..].iter().find(|other| side_by_side(graph, &before, reach, *one, **other));
            if let Some(other) = other {
                let (one, other) = (&graph.nodes[*one].id, &graph.nodes[*other].id);
                let message = format!("{one} and {other} may run side by side and both replace vars.{var}");
                let fix = serde_json::json!({"path": format!("/vars/{}/merge", super::super::task::escaped(var)), "value": "append"});
                let problem = Problem::new(ProblemCode::Race, message).at_node(other);
                problems.push(problem.fix("set", "Give the variable a merge rule", fix));
            }
        }
    }
}

/// Whether two nodes may run at the same time in one execution.
fn side_by_side(graph: &Graph, before: &Before, reach: &Reach, one: usize, other: usize) -> bool {
    let way = |node: usize| std::iter::successors(Some(node), |node| graph.parent(*node));
    let pair = way(one)
        .flat_map(|one| way(other).map(move |other| (one, other)))
        .find(|(one, other)| graph.scope(*one) == graph.scope(*other));
    let Some((one, other)) = pair else { return false };
    // In one container: its body is where they meet, which the pair above has found first.
    if one == other || before.is_before(one, other) || before.is_before(other, one) {
        return false;
    }
    !excluded(graph, before, reach, one, other)
}

/// Whether some node takes only one of its ports, and each of the two needs another of them.
fn excluded(graph: &Graph, before: &Before, reach: &Reach, one: usize, other: usize) -> bool {
    let scope = graph.scope(one);
    graph.members(scope).iter().copied().any(|fork| {
        let node = graph.nodes[fork];
        let forks = matches!(node.kind, NodeType::If | NodeType::Switch | NodeType::Approval | NodeType::Host(_))
            || (node.kind == NodeType::Loop || node.on_error == OnError::Branch);
        if !forks || !before.is_before(fork, one) || !before.is_before(fork, other) {
            return false;
        }
        let ports = graph.ports(fork);
        let needs =
            |target: usize| ports.iter().position(|port| !reached_without(graph, reach, scope, fork, port, target));
        matches!((needs(one), needs(other)), (Some(one), Some(other)) if one != other)
    })
}

/// Whether a node is reached when the edges of one port are left out.
fn reached_without(graph: &Graph, reach: &Reach, scope: usize, fork: usize, port: &str, target: usize) -> bool {
    let mut seen = vec![false; graph.nodes.len()];
    let mut open: Vec<usize> = reach.starts(scope).to_vec();
    while let Some(node) = open.pop() {
        if std::mem::replace(&mut seen[node], true) {
            continue;
        }
        let edges = graph.edges.iter().filter(|edge| edge.from == node && !(node == fork && edge.out == port));
        open.extend(edges.map(|edge| edge.to));
    }
    seen[target]
}
