//! From a definition to a plan, or to everything that is wrong with it at once.
//!
//! Checks come in layers, and each goes as far as it can over what the ones before found: ids and
//! parents, edges and ports, circles and reach, settings and expressions, then what expressions
//! read. A problem never hides another of a different place. A plan is made where no problem is an
//! error that stops it: a pinned output, a trigger or a filter that is not there refuses the publication alone, so
//! what an engine published before it knew of a problem goes on.

mod bounds;
pub(super) mod graph;
pub(super) mod nodes;
mod races;
mod reads;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::sync::Arc;

use super::plan::{Plan, PlanEdge, PlanNode, Reads, Scope};
use crate::domain::{NodeTypeInfo, Problem, WorkflowDefinition};
use crate::error::{Error, Result};
use graph::Graph;
use nodes::Compiled;
pub(crate) use nodes::references;

/// What a check found.
#[derive(Debug)]
pub(crate) struct Checked {
    /// In the order of the definition, layer by layer.
    pub(crate) problems: Vec<Problem>,
    /// The plan, where nothing keeps the definition from running.
    pub(crate) plan: Option<Plan>,
}

impl Checked {
    /// The plan. Errors: `InvalidInput` with all problems in its details.
    pub(crate) fn into_plan(self) -> Result<Plan> {
        match self.plan {
            Some(plan) => Ok(plan),
            None => Err(refused(&self.problems)),
        }
    }
}

/// The error that says what is wrong with a definition; its details hold all problems.
pub(crate) fn refused(problems: &[Problem]) -> Error {
    let errors: Vec<&Problem> = problems.iter().filter(|problem| problem.is_error()).collect();
    let first = errors.first().map_or(String::new(), |problem| {
        let place = problem.node.as_ref().map_or(String::new(), |node| format!(" at node {node}"));
        format!(": {}{place}: {}", problem.code.name(), problem.message)
    });
    let more = errors.len().saturating_sub(1);
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    let details = serde_json::json!({"problems": problems});
    let cannot = if errors.iter().any(|problem| problem.code.stops()) { "run" } else { "be published" };
    Error::invalid(format!("the workflow cannot {cannot}{first}{more}")).with_details(details)
}

/// Checks a definition and makes its plan. `types` are those that the host registered.
pub(crate) fn validate(definition: &WorkflowDefinition, types: &[NodeTypeInfo]) -> Checked {
    let mut problems = Vec::new();
    if !bounds::admit(definition, &mut problems) {
        return Checked { problems, plan: None };
    }
    bounds::limits(definition, &mut problems);
    bounds::set_aside(definition, &mut problems);
    let graph = Graph::of(definition, types, &mut problems);
    let compiled = nodes::compile(&graph, &mut problems);
    let outputs = nodes::outputs(definition, &mut problems);
    nodes::triggers(definition, &mut problems);
    let order = graph.order(&mut problems);
    let reach = graph.reach(&order, &mut problems);
    reads::check(&graph, &compiled, &outputs, &mut problems);
    if order.is_whole() {
        races::check(&graph, &compiled, &reach, &mut problems);
    }
    let plan = if problems.iter().any(|problem| problem.code.stops()) {
        None
    } else {
        plan(&graph, compiled, outputs, &order, &reach)
    };
    Checked { problems, plan }
}

fn plan(
    graph: &Graph,
    compiled: Vec<Compiled>,
    outputs: Vec<(String, super::expr::Shape)>,
    order: &graph::Order,
    reach: &graph::Reach,
) -> Option<Plan> {
    let read = |names: super::expr::Names| {
        let mut nodes: Vec<usize> = names.nodes.iter().filter_map(|id| graph.index(id)).collect();
        nodes.sort_unstable();
        Reads { nodes, names }
    };
    let nodes = compiled
        .into_iter()
        .enumerate()
        .map(|(index, compiled)| {
            let spec = graph.nodes[index];
            let (names, after) = (compiled.names(), compiled.names_after());
            let mut outgoing: Vec<(String, Vec<usize>)> = Vec::new();
            for edge in graph.outgoing(index) {
                let out = &graph.edges[edge].out;
                match outgoing.iter_mut().find(|(port, _)| port == out) {
                    Some((_, edges)) => edges.push(edge),
                    None => outgoing.push((out.to_string(), vec![edge])),
                }
            }
            Some(PlanNode {
                id: spec.id.clone(),
                kind: spec.kind.clone(),
                scope: graph.scope(index),
                body: graph.body(index),
                rank: order.rank(index),
                incoming: graph.incoming(index),
                outgoing,
                ports: graph.ports(index),
                reachable: reach.is_reachable(index),
                join: spec.join,
                reads: read(names),
                after: read(after),
                effect: graph.effect(index),
                when: compiled.when,
                input: compiled.input,
                cache_key: compiled.cache_key,
                task: compiled.task?,
                fallback: compiled.fallback,
                spec: Arc::new(spec.clone()),
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let edges = graph.edges.iter().map(|edge| PlanEdge {
        from: edge.from,
        out: edge.out.to_owned(),
        to: edge.to,
        input: edge.input.to_owned(),
    });
    let scopes = (0..graph.scopes()).map(|scope| Scope {
        owner: graph.owner(scope),
        nodes: graph.members(scope).to_vec(),
        starts: reach.starts(scope).to_vec(),
        ends: reach.ends(graph, scope),
    });
    let mut output_names = super::expr::Names::default();
    outputs.iter().for_each(|(_, shape)| output_names.extend(shape.names()));
    Some(Plan {
        nodes,
        edges: edges.collect(),
        scopes: scopes.collect(),
        limits: graph.definition.limits.clone(),
        handler: graph.handler,
        vars: graph.definition.vars.clone(),
        output_reads: read(output_names),
        outputs,
    })
}
