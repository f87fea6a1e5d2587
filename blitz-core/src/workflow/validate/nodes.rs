//! Settings and expressions of each node, the fields of the result, and the triggers.

use serde_json::{Map, Value, json};

use super::super::config;
use super::super::cron::Cron;
use super::super::expr::{Expr, Names, Shape};
use super::super::plain::plain_secrets;
use super::super::task::{Reader, Task, escaped};
use super::bounds;
use super::graph::{Graph, shown};
use crate::domain::schema::{SchemaCheck, SchemaProblem};
use crate::domain::{Effect, Node, NodeType, OnError, Problem, ProblemCode, ResourceRef, Trigger, WorkflowDefinition};

/// What the text of a node means. What could not be read is missing, and a problem says why.
pub(super) struct Compiled {
    pub(super) when: Option<Expr>,
    pub(super) input: Option<Shape>,
    pub(super) task: Option<Task>,
    pub(super) fallback: Vec<Task>,
    pub(super) cache_key: Option<Shape>,
}

impl Compiled {
    /// What it reads before it begins.
    pub(super) fn names(&self) -> Names {
        let mut names = Names::default();
        self.when.iter().for_each(|expr| names.extend(expr.names()));
        self.input.iter().chain(&self.cache_key).for_each(|shape| names.extend(shape.names()));
        self.task.iter().chain(&self.fallback).for_each(|task| names.extend(&task.names()));
        names
    }

    /// What it reads when a round or an item ends.
    pub(super) fn names_after(&self) -> Names {
        let mut names = Names::default();
        self.task.iter().chain(&self.fallback).for_each(|task| names.extend(&task.names_after()));
        names
    }

    /// The variables that it writes.
    pub(super) fn writes(&self) -> impl Iterator<Item = &str> {
        let vars: &[(String, Shape)] = match &self.task {
            Some(Task::Set { vars }) => vars,
            Some(Task::Loop(rounds)) => &rounds.carry,
            _ => &[],
        };
        vars.iter().map(|(name, _)| name.as_str())
    }
}

pub(super) fn compile(graph: &Graph, problems: &mut Vec<Problem>) -> Vec<Compiled> {
    (0..graph.nodes.len()).map(|index| compile_node(graph, index, problems)).collect()
}

fn compile_node(graph: &Graph, index: usize, problems: &mut Vec<Problem>) -> Compiled {
    let node = graph.nodes[index];
    let path = format!("/nodes/{}", graph.places[index]);
    bounds::node(node, graph.incoming(index).len(), &path, problems);
    let task = read_task(graph, node, &node.config, &format!("{path}/config"), problems);
    let fallback: Vec<Option<Task>> = node
        .fallback
        .iter()
        .enumerate()
        .map(|(place, changes)| {
            let mut config = node.config.clone();
            config.extend(changes.iter().map(|(key, value)| (key.clone(), value.clone())));
            read_task(graph, node, &config, &format!("{path}/fallback/{place}"), problems)
        })
        .collect();
    let empty = Map::new();
    let mut reader = Reader { node, config: &empty, path: path.clone(), problems };
    let when = node.when.as_ref().and_then(|value| reader.test(&format!("{path}/when"), value));
    let input = node.input.as_ref().and_then(|input| {
        let input = Value::Object(input.clone());
        reader.shape_at(&format!("{path}/input"), &input)
    });
    let key = node.cache.as_ref().and_then(|cache| cache.key.clone());
    let cache_key = key.and_then(|key| reader.shape_at(&format!("{path}/cache/key"), &key.into()));
    further(graph, index, &path, problems);
    Compiled { when, input, task, fallback: fallback.into_iter().flatten().collect(), cache_key }
}

fn read_task(
    graph: &Graph,
    node: &Node,
    config: &Map<String, Value>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<Task> {
    let before = problems.len();
    let value = Value::Object(config.clone());
    let found = match graph.host(&node.kind) {
        Some(info) => match SchemaCheck::new(&info.config) {
            Ok(check) => check.check(&value).map_err(|found| {
                // What an expression will give is known when the node runs, and checked then.
                let is_text = |at: &SchemaProblem| {
                    value.pointer(&at.path).and_then(Value::as_str).is_some_and(|text| text.contains("{{"))
                };
                found.into_iter().filter(|at| !is_text(at)).collect()
            }),
            Err(error) => {
                let message = format!("the schema of the type {} cannot be used: {error}", node.kind);
                problems.push(Problem::new(ProblemCode::Schema, message).at_node(&node.id));
                Ok(())
            }
        },
        None => config::check(&node.kind).map_or(Ok(()), |check| check.check(&value)),
    };
    for problem in found.err().unwrap_or_default() {
        problems.push(config_problem(node, config, path, &problem));
    }
    for key in ["output_schema", "form"] {
        if matches!(node.kind, NodeType::Llm | NodeType::Approval) {
            bounds::check_schema(config.get(key), &format!("{path}/{key}"), Some(node), problems);
        }
    }
    // Expressions are looked at all the same, so that everything is said at once.
    let wrong = problems[before..].iter().any(Problem::is_error);
    let task = Reader { node, config, path: path.to_owned(), problems }.task();
    task.filter(|_| !wrong)
}

fn config_problem(node: &Node, config: &Map<String, Value>, path: &str, problem: &SchemaProblem) -> Problem {
    if node.kind == NodeType::Loop && !config.contains_key("max_iterations") && problem.path.is_empty() {
        let message = "a loop wants max_iterations: the most rounds it may take";
        let fix = json!({"path": format!("{path}/max_iterations"), "value": 10});
        let bound = Problem::new(ProblemCode::LoopBound, message).at_node(&node.id).at(path);
        return bound.fix("set", "At most ten rounds", fix);
    }
    let place = if problem.path.is_empty() { String::new() } else { format!("{}: ", &problem.path[1..]) };
    let message = format!("{place}{}", problem.message);
    Problem::new(ProblemCode::Config, message).at_node(&node.id).at(format!("{path}{}", problem.path))
}

/// What is wrong or odd beyond the schema.
fn further(graph: &Graph, index: usize, path: &str, problems: &mut Vec<Problem>) {
    let node = graph.nodes[index];
    if node.pin.is_some() {
        let fix = json!({"path": format!("{path}/pin")});
        let problem = Problem::new(ProblemCode::Pin, "its output is pinned, which is for tests only");
        problems.push(problem.at_node(&node.id).at(format!("{path}/pin")).fix("remove", "Unpin it", fix));
    }
    let retried = node.retry.as_ref().is_some_and(|retry| retry.max_attempts > 1);
    if retried && graph.effect(index) == Effect::Unsafe {
        let message = "it is tried again though its effect must not be repeated: state its effect";
        let fix = json!({"path": format!("{path}/effect"), "value": "idempotent"});
        let problem = Problem::new(ProblemCode::UnsafeRetry, message).at_node(&node.id).at(format!("{path}/retry"));
        problems.push(problem.fix("set", "It may be repeated under one idempotency key", fix));
    }
    let of_leaves = [("retry", node.retry.is_some()), ("fallback", !node.fallback.is_empty())];
    for (field, _) in of_leaves.into_iter().filter(|(_, stated)| *stated && node.kind.is_container()) {
        let message = format!("a {} has no {field} of its own: state it on the nodes in it", node.kind);
        let fix = json!({"path": format!("{path}/{field}")});
        let problem = Problem::new(ProblemCode::Ignored, message).at_node(&node.id).at(format!("{path}/{field}"));
        problems.push(problem.fix("remove", "Remove it", fix));
    }
    let ignored = [
        ("heartbeat_s", node.heartbeat_s.is_some() && !can_beat(&node.kind)),
        ("cache", node.cache.is_some() && !can_be_kept(&node.kind)),
        // It waits for as long as its settings say, and what only passes something on takes no time.
        ("timeout_s", node.timeout_s.is_some() && (node.kind == NodeType::Wait || only_leads_on(&node.kind))),
        ("retry", node.retry.is_some() && makes_no_attempts(&node.kind)),
        ("fallback", !node.fallback.is_empty() && makes_no_attempts(&node.kind)),
    ];
    for (field, _) in ignored.into_iter().filter(|(_, ignored)| *ignored) {
        let message = format!("{field} does nothing on {} nodes", node.kind);
        let fix = json!({"path": format!("{path}/{field}")});
        let problem = Problem::new(ProblemCode::Ignored, message).at_node(&node.id).at(format!("{path}/{field}"));
        problems.push(problem.fix("remove", "Remove it", fix));
    }
    let branches = node.on_error == OnError::Branch;
    if branches && !graph.edges.iter().any(|edge| edge.from == index && edge.out == "error") {
        let problem = Problem::new(ProblemCode::OpenPort, "it branches on errors and its port `error` has no edge");
        problems.push(problem.at_node(&node.id).at(format!("{path}/on_error")));
    }
    if node.kind == NodeType::Subflow
        && node.config.get("workflow").and_then(Value::as_str) == Some(graph.definition.name.as_str())
    {
        let problem = Problem::new(ProblemCode::Recursion, "the workflow runs itself");
        problems.push(problem.at_node(&node.id).at(format!("{path}/config/workflow")));
    }
    let cases = node.config.get("cases").and_then(Value::as_array);
    if node.kind == NodeType::Switch
        && !node.config.contains_key("value")
        && cases.is_some_and(|cases| cases.iter().any(|case| case.get("value").is_some()))
    {
        let problem = Problem::new(ProblemCode::Config, "a case compares a value and the switch has none");
        problems.push(problem.at_node(&node.id).at(format!("{path}/config")));
    }
    for plain in plain_secrets(node) {
        let place = format!("{path}{}", plain.place);
        let message = format!("{} may be a secret and stands in the clear", shown(plain.name));
        let problem = Problem::new(ProblemCode::PlainSecret, message).at_node(&node.id).at(&place);
        problems.push(if plain.from_secret {
            problem.fix("set", "Read it from a secret", json!({"path": place, "value": plain.instead}))
        } else {
            problem
        });
    }
}

/// Whether a node of a type does nothing but lead on.
fn only_leads_on(kind: &NodeType) -> bool {
    matches!(kind, NodeType::Start | NodeType::Input | NodeType::If | NodeType::Switch)
}

/// Whether a node of a type does nothing that another attempt would do better.
fn makes_no_attempts(kind: &NodeType) -> bool {
    only_leads_on(kind) || matches!(kind, NodeType::Wait | NodeType::Approval)
}

/// Whether a node of a type can say that it is alive.
fn can_beat(kind: &NodeType) -> bool {
    matches!(kind, NodeType::Tool | NodeType::Host(_))
}

/// Whether the output of a node of a type can be kept.
fn can_be_kept(kind: &NodeType) -> bool {
    let calls = [NodeType::Agent, NodeType::Llm, NodeType::Tool, NodeType::Http, NodeType::Subflow];
    calls.contains(kind) || matches!(kind, NodeType::Host(_))
}

/// The fields of the result that have an expression: `outputs.properties.<key>.value`.
pub(super) fn outputs(definition: &WorkflowDefinition, problems: &mut Vec<Problem>) -> Vec<(String, Shape)> {
    let properties = definition.outputs.as_ref().and_then(|outputs| outputs.get("properties"));
    let mut outputs = Vec::new();
    for (key, schema) in properties.and_then(Value::as_object).into_iter().flatten() {
        let Some(value) = schema.get("value") else { continue };
        match Shape::compile(value, super::super::expr::Strings::Tags) {
            Ok(shape) => outputs.push((key.clone(), shape)),
            Err(error) => {
                let path = format!("/outputs/properties/{}/value", escaped(key));
                problems.push(Problem::new(ProblemCode::Expression, error.to_string()).at(path));
            }
        }
    }
    outputs
}

/// Schedules, webhooks and events.
pub(super) fn triggers(definition: &WorkflowDefinition, problems: &mut Vec<Problem>) {
    for (place, trigger) in definition.triggers.iter().enumerate() {
        let (wrong, when, input, fields): (_, _, _, &[&str]) = match trigger {
            Trigger::Manual {} => (None, None, None, &[]),
            Trigger::Webhook { name, input } => {
                (wrong_name(name), None, input.as_ref(), &["type", "name", "body", "at"])
            }
            Trigger::Schedule { cron, zone, input, .. } => {
                let wrong = Cron::parse(cron).err().or_else(|| wrong_zone(zone));
                (wrong, None, input.as_ref(), &["type", "at", "missed"])
            }
            Trigger::Event { name, when, input } => {
                (wrong_name(name), when.as_ref(), input.as_ref(), &["type", "name", "data", "at"])
            }
        };
        let path = format!("/triggers/{place}");
        let mut wrongs: Vec<(String, String)> = wrong.map(|message| (path.clone(), message)).into_iter().collect();
        let when = when.map(|source| ("when", Expr::compile(source).map(|expr| expr.names().clone())));
        let input = input.map(|value| {
            ("input", Shape::compile(value, super::super::expr::Strings::Tags).map(|shape| shape.names().clone()))
        });
        for (field, names) in when.into_iter().chain(input) {
            let at = format!("{path}/{field}");
            match names {
                Ok(names) => {
                    let absent = names.absent.iter().cloned();
                    wrongs.extend(absent.chain(beyond_trigger(&names, fields)).map(|message| (at.clone(), message)));
                }
                Err(error) => wrongs.push((at, error.to_string())),
            }
        }
        for (at, message) in wrongs {
            problems.push(Problem::new(ProblemCode::Trigger, message).at(at));
        }
        let twin = definition.triggers[..place].iter().any(|earlier| earlier == trigger);
        if twin {
            problems.push(
                Problem::new(ProblemCode::Trigger, "the same trigger stands twice").at(format!("/triggers/{place}")),
            );
        }
    }
}

/// What an expression of a trigger names that is not there: nothing has run yet, so it reads the trigger alone.
fn beyond_trigger(names: &Names, fields: &[&str]) -> Option<String> {
    let other = names.roots().into_iter().find(|root| *root != "trigger");
    if let Some(other) = other {
        return Some(format!("{} is not there when a trigger fires: only trigger is", shown(other)));
    }
    let field = names.of_trigger.iter().find(|field| !fields.contains(&field.as_str()))?;
    Some(format!("such a trigger has no {}: it has {}", shown(field), fields.join(", ")))
}

fn wrong_name(name: &str) -> Option<String> {
    let right = (1..=128).contains(&name.chars().count()) && !name.chars().any(|c| c.is_control() || c.is_whitespace());
    (!right).then(|| "the name of a trigger has 1 to 128 characters and no white space".to_owned())
}

fn wrong_zone(zone: &str) -> Option<String> {
    let letters =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+".contains(&b));
    let right = zone.len() <= 64 && zone.split('/').all(letters);
    (!right).then(|| "the zone is none: an IANA name such as Europe/Berlin".to_owned())
}

/// The agents, tools, models and workflows that a definition names, with the node that names each.
pub(crate) fn references(definition: &WorkflowDefinition) -> Vec<(String, &'static str, ResourceRef, Option<u32>)> {
    let mut references = Vec::new();
    for node in &definition.nodes {
        let (noun, key) = match node.kind {
            NodeType::Agent => ("agent", "agent"),
            NodeType::Llm => ("model", "model"),
            NodeType::Tool => ("tool", "tool"),
            NodeType::Subflow => ("workflow", "workflow"),
            _ => continue,
        };
        for config in std::iter::once(&node.config).chain(&node.fallback) {
            let reference = match config.get(key) {
                Some(Value::String(name)) => ResourceRef::Name(name.clone()),
                Some(Value::Number(id)) => match id.as_i64() {
                    Some(id) => ResourceRef::Id(id),
                    None => continue,
                },
                _ => continue,
            };
            let version = config.get("version").and_then(Value::as_u64).and_then(|version| u32::try_from(version).ok());
            references.push((node.id.clone(), noun, reference, version));
        }
    }
    references
}
