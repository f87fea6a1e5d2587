//! How big a definition may be, and the ranges of its numbers.

use serde_json::{Map, Value};

use super::super::values::vars::wrong_default;
use crate::domain::schema::{SchemaCheck, depth_within};
use crate::domain::{Edge, JoinMode, Money, Node, NodeRetry, Problem, ProblemCode, WorkflowDefinition, WorkflowLimits};

/// The most nodes of any definition, whatever its limits say.
const MOST_NODES: usize = 2_000;
const MOST_EDGES: usize = 10_000;
const MOST_VARS: usize = 500;
const MOST_TRIGGERS: usize = 100;
const MOST_LABELS: usize = 100;
/// How deep a value in a definition may be nested.
const MAX_DEPTH: usize = 60;
/// A year, in seconds.
const YEAR: u64 = 366 * 86_400;

/// Whether a definition is small enough to be looked at.
pub(super) fn admit(definition: &WorkflowDefinition, problems: &mut Vec<Problem>) -> bool {
    let counts = [
        ("nodes", definition.nodes.len(), MOST_NODES),
        ("edges", definition.edges.len(), MOST_EDGES),
        ("vars", definition.vars.len(), MOST_VARS),
        ("triggers", definition.triggers.len(), MOST_TRIGGERS),
        ("labels", definition.labels.len(), MOST_LABELS),
    ];
    let before = problems.len();
    for (name, count, most) in counts {
        if count > most {
            let message = format!("there are {count} {name}; {most} is the most");
            problems.push(Problem::new(ProblemCode::TooLarge, message).at(format!("/{name}")));
        }
    }
    if problems.len() > before {
        return false;
    }
    let deep = |value: &Value| !depth_within(value, MAX_DEPTH);
    let mut refuse = |path: String, node: Option<&Node>| {
        let problem = Problem::new(ProblemCode::TooLarge, format!("a value is nested deeper than {MAX_DEPTH} levels"));
        let problem = problem.at(path);
        problems.push(match node {
            Some(node) => problem.at_node(&node.id),
            None => problem,
        });
    };
    for (name, value) in [("inputs", &definition.inputs), ("outputs", &definition.outputs)] {
        if value.as_ref().is_some_and(deep) {
            refuse(format!("/{name}"), None);
        }
    }
    if deep(&definition.ui) {
        refuse("/ui".to_owned(), None);
    }
    for (name, var) in &definition.vars {
        if deep(&var.default) || var.schema.as_ref().is_some_and(deep) {
            refuse(format!("/vars/{}", super::super::task::escaped(name)), None);
        }
    }
    for (index, node) in definition.nodes.iter().enumerate() {
        let maps = [Some(&node.config), node.input.as_ref(), Some(&node.x)].into_iter().flatten();
        let mut maps = maps.chain(&node.fallback);
        let values = [&node.when, &node.pin, &node.output_schema];
        if maps.any(|map| map.values().any(deep)) || values.into_iter().flatten().any(deep) {
            refuse(format!("/nodes/{index}"), Some(node));
        }
    }
    problems.len() == before
}

/// Fields that an import set aside as they have the wrong form: without them it would run with what is usual.
pub(super) fn set_aside(definition: &WorkflowDefinition, problems: &mut Vec<Problem>) {
    let mut look = |x: &Map<String, Value>, known: &[&str], path: &str, node: Option<&Node>| {
        for (key, _) in x.iter().filter(|(key, value)| known.contains(&key.as_str()) && !value.is_null()) {
            let message = format!(
                "the field {key} does not take the value that stands under x: state it anew, or remove it there"
            );
            let fix = serde_json::json!({"path": format!("{path}/x/{key}")});
            let problem = Problem::new(ProblemCode::Shape, message).at(format!("{path}/{key}"));
            let problem = problem.fix("remove", "Go on without it", fix);
            problems.push(match node {
                Some(node) => problem.at_node(&node.id),
                None => problem,
            });
        }
    };
    look(&definition.x, WorkflowDefinition::FIELDS, "", None);
    for (index, node) in definition.nodes.iter().enumerate() {
        look(&node.x, Node::FIELDS, &format!("/nodes/{index}"), Some(node));
    }
    for (index, edge) in definition.edges.iter().enumerate() {
        look(&edge.x, Edge::FIELDS, &format!("/edges/{index}"), None);
    }
}

/// The numbers, schemas and names of the whole.
pub(super) fn limits(definition: &WorkflowDefinition, problems: &mut Vec<Problem>) {
    if definition.format != WorkflowDefinition::FORMAT {
        let message = format!("the format is none that this engine reads: write {:?}", WorkflowDefinition::FORMAT);
        let fix = serde_json::json!({"path": "/format", "value": WorkflowDefinition::FORMAT});
        problems.push(Problem::new(ProblemCode::Format, message).at("/format").fix("set", "Set the format", fix));
    }
    let letters = definition.name.chars().count();
    if letters == 0 || letters > 128 || definition.name.trim() != definition.name || definition.name.contains('/') {
        let message = "a name has 1 to 128 characters, no slash and no white space around it";
        problems.push(Problem::new(ProblemCode::Name, message).at("/name"));
    }
    let limits = &definition.limits;
    let WorkflowLimits { timeout_s, max_parallel, max_steps, max_items, max_nodes, max_cost, .. } = limits;
    let WorkflowLimits { max_concurrent, max_depth, output_bytes, .. } = limits;
    let ranges = [
        ("timeout_s", *timeout_s, YEAR),
        ("max_parallel", u64::from(*max_parallel), 10_000),
        ("max_steps", *max_steps, 100_000_000),
        ("max_items", *max_items, 10_000_000),
        ("max_nodes", u64::from(*max_nodes), MOST_NODES as u64),
        ("max_concurrent", u64::from(max_concurrent.unwrap_or(1)), 1_000_000),
        ("max_depth", u64::from(*max_depth), 32),
        ("output_bytes", *output_bytes, 1 << 30),
    ];
    for (name, value, most) in ranges {
        range(name, Some(value), (1, most), &format!("/limits/{name}"), None, problems);
    }
    if max_cost.is_some_and(|cost| cost < Money::ZERO) {
        let problem = Problem::new(ProblemCode::Range, "max_cost may not be negative");
        problems.push(problem.at("/limits/max_cost"));
    }
    let counted = definition.nodes.len();
    if counted > *max_nodes as usize && counted <= MOST_NODES {
        let message = format!("there are {counted} nodes and limits.max_nodes is {max_nodes}");
        let fix = serde_json::json!({"path": "/limits/max_nodes", "value": counted});
        problems.push(Problem::new(ProblemCode::TooManyNodes, message).fix("set", "Raise the limit", fix));
    }
    for (name, schema) in [("inputs", &definition.inputs), ("outputs", &definition.outputs)] {
        check_schema(schema.as_ref(), &format!("/{name}"), None, problems);
    }
    for (name, var) in &definition.vars {
        let path = format!("/vars/{}", super::super::task::escaped(name));
        if !super::graph::is_id(name) {
            let message = "the name of a variable is a letter or `_`, then letters, digits, `_` and `-`, 64 at most";
            problems.push(Problem::new(ProblemCode::Id, message).at(&path));
        }
        check_schema(var.schema.as_ref(), &format!("{path}/schema"), None, problems);
        if let Some(why) = wrong_default(var) {
            let message = format!("the default of vars.{name} cannot be: {why}");
            problems.push(Problem::new(ProblemCode::Schema, message).at(format!("{path}/default")));
        }
    }
}

/// The numbers of one node. `incoming` is how many edges come in.
pub(super) fn node(node: &Node, incoming: usize, path: &str, problems: &mut Vec<Problem>) {
    let some = Some(node);
    range("timeout_s", node.timeout_s, (1, YEAR), &format!("{path}/timeout_s"), some, problems);
    range("heartbeat_s", node.heartbeat_s, (1, YEAR), &format!("{path}/heartbeat_s"), some, problems);
    if let Some(retry) = &node.retry {
        let ranges = [
            ("max_attempts", u64::from(retry.max_attempts), (1, 100)),
            ("initial_ms", retry.initial_ms, (0, YEAR * 1000)),
            ("max_ms", retry.max_ms, (0, YEAR * 1000)),
            ("factor", u64::from(retry.factor), (1, 100)),
        ];
        for (name, value, bounds) in ranges {
            range(name, Some(value), bounds, &format!("{path}/retry/{name}"), some, problems);
        }
        for (place, code) in retry.on.iter().enumerate().filter(|(_, code)| NodeRetry::NEVER.contains(code)) {
            let at = format!("{path}/retry/on/{place}");
            let message = format!("{} is never tried again: no other attempt would change it", code.name());
            let problem = Problem::new(ProblemCode::RetryOn, message).at_node(&node.id).at(&at);
            problems.push(problem.fix("remove", "Leave it out", serde_json::json!({ "path": at })));
        }
        range("max_elapsed_s", retry.max_elapsed_s, (1, YEAR), &format!("{path}/retry/max_elapsed_s"), some, problems);
    }
    if let Some(cache) = &node.cache {
        range("ttl_s", Some(cache.ttl_s), (1, 10 * YEAR), &format!("{path}/cache/ttl_s"), some, problems);
    }
    if node.fallback.len() > 8 {
        let problem = Problem::new(ProblemCode::Range, "at most 8 fallbacks are tried");
        problems.push(problem.at_node(&node.id).at(format!("{path}/fallback")));
    }
    check_schema(node.output_schema.as_ref(), &format!("{path}/output_schema"), some, problems);
    join(node, incoming, path, problems);
}

fn join(node: &Node, incoming: usize, path: &str, problems: &mut Vec<Problem>) {
    let join = &node.join;
    let message = match (join.mode, join.n) {
        (JoinMode::N, None | Some(0)) => "the join mode n wants a count `n` of 1 at least".to_owned(),
        (JoinMode::N, Some(n)) if n as usize > incoming => {
            format!("the join waits for {n} edges and {incoming} come in")
        }
        (JoinMode::AnyTaken | JoinMode::All | JoinMode::First, Some(_)) => {
            "a count `n` belongs to the join mode n".to_owned()
        }
        (JoinMode::AnyTaken | JoinMode::All, None) if join.cancel_rest => {
            "cancel_rest belongs to the join modes first and n: the others wait for every edge".to_owned()
        }
        _ => return,
    };
    problems.push(Problem::new(ProblemCode::Join, message).at_node(&node.id).at(format!("{path}/join")));
}

fn range(
    name: &str,
    value: Option<u64>,
    (least, most): (u64, u64),
    path: &str,
    node: Option<&Node>,
    problems: &mut Vec<Problem>,
) {
    if value.is_none_or(|value| (least..=most).contains(&value)) {
        return;
    }
    let problem = Problem::new(ProblemCode::Range, format!("{name} is a whole number from {least} to {most}")).at(path);
    problems.push(match node {
        Some(node) => problem.at_node(&node.id),
        None => problem,
    });
}

pub(super) fn check_schema(schema: Option<&Value>, path: &str, node: Option<&Node>, problems: &mut Vec<Problem>) {
    let Some(Err(error)) = schema.map(SchemaCheck::new) else { return };
    let problem = Problem::new(ProblemCode::Schema, error.to_string()).at(path);
    problems.push(match node {
        Some(node) => problem.at_node(&node.id),
        None => problem,
    });
}
