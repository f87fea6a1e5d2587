//! One lenient reader for every shape that a workflow comes in.
//!
//! It takes `blitz.workflow/1`, the two shapes of Blitz 1.0 (`definition.nodes` and `edges`; `nodes`
//! and `connections`) and what React Flow keeps. What it does not know goes to `x`, what has the
//! wrong form is a problem and goes to `x` too; only what is no workflow at all, of another version
//! of the format, or too big is an error, and then nothing is read. A broken graph becomes a draft:
//! `validate` says what is wrong with it.

mod foreign;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::plain::plain_secrets;
use super::task::escaped;
use crate::domain::parse;
use crate::domain::schema::depth_within;
use crate::domain::{Edge, Node, NodeType, Problem, ProblemCode, Trigger, Var, WorkflowDefinition};
use crate::error::{Error, ErrorCode, Result};

/// How deep the whole may be nested: what is kept is read again by a parser that stops at 128.
const MAX_DEPTH: usize = 80;
/// The most nodes or edges that are read at all.
const MAX_PARTS: usize = 20_000;

/// What was read.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) definition: WorkflowDefinition,
    /// What was left out or could not be understood, not what is wrong with the graph.
    pub(crate) problems: Vec<Problem>,
}

/// Fields of a catalogue record that are none of the definition's.
const RECORD: &[&str] = &[
    "id",
    "owner_id",
    "visibility",
    "revision",
    "hash",
    "content_hash",
    "version",
    "created_at",
    "updated_at",
    "created_by",
    "is_active",
    "nodes_count",
    "connections_count",
];

/// Reads a workflow of any known shape.
///
/// Errors: `InvalidInput` for what is none or is of a format of another version, `TooLarge`.
pub(crate) fn read(value: &Value) -> Result<Imported> {
    if !depth_within(value, MAX_DEPTH) {
        return Err(Error::too_large(format!("the workflow is nested deeper than {MAX_DEPTH} levels")));
    }
    let object = value.as_object().ok_or_else(|| Error::invalid("a workflow is a JSON object"))?;
    let inner = object.get("definition").and_then(Value::as_object);
    // Counted before anything is copied.
    for fields in [Some(object), inner].into_iter().flatten() {
        ["nodes", "edges", "connections"].iter().try_for_each(|key| admit_count(key, fields.get(*key)))?;
    }
    let mut flat = match inner {
        Some(inner) => {
            // A record around a definition: its own fields win over those of the same name inside.
            let mut flat = inner.clone();
            let outer = object.iter().filter(|(key, value)| *key != "definition" && !value.is_null());
            flat.extend(outer.map(|(key, value)| (key.clone(), value.clone())));
            flat
        }
        None => object.clone(),
    };
    let own = match flat.get("format") {
        None | Some(Value::Null) => false,
        Some(format) if format == WorkflowDefinition::FORMAT => true,
        Some(_) => {
            let message = format!("the format is none that this engine reads: {:?} is", WorkflowDefinition::FORMAT);
            return Err(Error::invalid(message));
        }
    };
    if !["nodes", "edges", "connections"].iter().any(|key| flat.contains_key(*key)) && !own {
        return Err(Error::invalid("this is no workflow: it has no nodes"));
    }
    let reference = flat.get("id").and_then(Value::as_str).map(str::to_owned);
    flat.retain(|key, _| !RECORD.contains(&key.as_str()));
    let mut problems = Vec::new();
    let mut fields = Fields::new(flat, String::new(), &mut problems);
    let nodes = fields.list(&["nodes"]);
    let edges = fields.list(&["edges", "connections"]);
    let mut definition = WorkflowDefinition::new(fields.take::<String>("name").unwrap_or_default());
    fields.left.remove("format");
    definition.reference = fields.take("ref").or(reference);
    definition.description = fields.take("description").unwrap_or_default();
    definition.labels = fields.take("labels").unwrap_or_default();
    definition.inputs = fields.take("inputs");
    definition.outputs = fields.take("outputs");
    definition.vars = fields.each::<Var>("vars");
    definition.limits = fields.take("limits").unwrap_or_default();
    definition.on_error = fields.take("on_error");
    definition.triggers = fields.triggers();
    definition.ui = fields.take("ui").unwrap_or_default();
    definition.x = fields.rest(own);
    if definition.name.is_empty() {
        definition.name = "imported".to_owned();
    }
    if own {
        definition.nodes = read_all(nodes, "nodes", "a node", &mut definition.x, &mut problems, own_node);
        definition.edges = read_all(edges, "edges", "an edge", &mut definition.x, &mut problems, own_edge);
    } else {
        foreign::read(nodes, edges, &mut definition, &mut problems);
    }
    Ok(Imported { definition, problems })
}

/// Adds what a check of the definition found to what the reader could not read; what was set aside is told once.
pub(crate) fn found(read: &mut Vec<Problem>, checked: Vec<Problem>) {
    let told: Vec<String> = read.iter().map(|problem| problem.path.clone()).collect();
    let below =
        |path: &str, told: &str| told.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let again =
        |problem: &Problem| problem.code == ProblemCode::Shape && told.iter().any(|told| below(&problem.path, told));
    read.extend(checked.into_iter().filter(|problem| !again(problem)));
}

fn admit_count(noun: &str, parts: Option<&Value>) -> Result<()> {
    let count = match parts {
        Some(Value::Array(parts)) => parts.len(),
        Some(Value::Object(parts)) => parts.len(),
        None | Some(Value::Null) => 0,
        // Read as none, it would take the place of what is there.
        Some(_) => return Err(Error::invalid(format!("{noun} is a list"))),
    };
    if count > MAX_PARTS {
        return Err(Error::too_large(format!("there are {count} {noun}; {MAX_PARTS} is the most that is read")));
    }
    Ok(())
}

/// The definition as JSON without secrets: keys that stand in the clear become names of secrets, or a mask where
/// secrets are not read.
pub(crate) fn export(definition: &WorkflowDefinition) -> Result<Value> {
    let mut clean = serde_json::to_value(definition)
        .map_err(|error| Error::internal("a definition has no JSON form").with_source(error))?;
    for (index, node) in definition.nodes.iter().enumerate() {
        for plain in plain_secrets(node) {
            if let Some(field) = clean.pointer_mut(&format!("/nodes/{index}{}", plain.place)) {
                *field = plain.instead.into();
            }
        }
    }
    Ok(clean)
}

fn read_all<T>(
    values: Vec<Value>,
    list: &str,
    noun: &str,
    x: &mut Map<String, Value>,
    problems: &mut Vec<Problem>,
    read: impl Fn(Fields, usize) -> T,
) -> Vec<T> {
    let (mut all, mut aside) = (Vec::new(), Vec::new());
    for (place, value) in values.into_iter().enumerate() {
        let path = format!("/{list}/{place}");
        match value {
            Value::Object(fields) => all.push(read(Fields::new(fields, path, problems), place)),
            other => {
                problems.push(Problem::new(ProblemCode::Shape, format!("{noun} is an object")).at(path));
                aside.push(other);
            }
        }
    }
    if !aside.is_empty() {
        x.insert(list.to_owned(), Value::Array(aside));
    }
    all
}

fn own_node(mut fields: Fields, place: usize) -> Node {
    let id = fields.needed("id").unwrap_or_else(|| format!("node_{}", place + 1));
    fields.node = Some(id.clone());
    let kind: NodeType = fields.needed("type").unwrap_or_else(|| NodeType::from_name("unknown"));
    let mut node = Node::new(id, kind);
    if let Some(config) = fields.take("config") {
        node.config = config;
    }
    shared_fields(&mut fields, &mut node);
    node.x = fields.rest(true);
    node
}

/// The fields of a node that every shape may have under their own names.
fn shared_fields(fields: &mut Fields, node: &mut Node) {
    if let Some(label) = fields.take("label") {
        node.label = label;
    }
    if let Some(disabled) = fields.take("disabled") {
        node.disabled = disabled;
    }
    if let Some(join) = fields.take("join") {
        node.join = join;
    }
    if let Some(on_error) = fields.take("on_error") {
        node.on_error = on_error;
    }
    if let Some(fallback) = fields.take("fallback") {
        node.fallback = fallback;
    }
    // A pinned null is a pin.
    if let Some(pin) = fields.left.remove("pin") {
        node.pin = Some(pin);
    }
    node.parent = fields.take("parent").or(node.parent.take());
    node.position = fields.take("position").or(node.position);
    node.input = fields.take("input").or(node.input.take());
    node.output_schema = fields.take("output_schema").or(node.output_schema.take());
    node.when = fields.take("when").or(node.when.take());
    node.timeout_s = fields.take("timeout_s").or(node.timeout_s);
    node.heartbeat_s = fields.take("heartbeat_s").or(node.heartbeat_s);
    fields.known_failures();
    node.retry = fields.take("retry").or(node.retry.take());
    node.cache = fields.take("cache").or(node.cache.take());
    node.effect = fields.take("effect").or(node.effect);
}

fn own_edge(mut fields: Fields, _: usize) -> Edge {
    let (from, to) = (fields.needed::<String>("from"), fields.needed::<String>("to"));
    let mut edge = Edge::new(from.unwrap_or_default(), to.unwrap_or_default());
    edge.id = fields.take("id");
    if let Some(out) = fields.take::<String>("out").filter(|out| !out.is_empty()) {
        edge.out = out;
    }
    if let Some(input) = fields.take::<String>("in").filter(|input| !input.is_empty()) {
        edge.input = input;
    }
    edge.x = fields.rest(true);
    edge
}

/// The fields of an object, taken one by one. What nobody takes is kept.
struct Fields<'p> {
    left: Map<String, Value>,
    path: String,
    node: Option<String>,
    problems: &'p mut Vec<Problem>,
    x: Map<String, Value>,
}

impl<'p> Fields<'p> {
    fn new(mut left: Map<String, Value>, path: String, problems: &'p mut Vec<Problem>) -> Self {
        let x = match left.remove("x") {
            Some(Value::Object(x)) => x,
            Some(other) => Map::from_iter([("x".to_owned(), other)]),
            None => Map::new(),
        };
        Self { left, path, node: None, problems, x }
    }

    /// A field in its own form; null counts as absent, and what does not fit is a problem and kept.
    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.left.remove(key).filter(|value| !value.is_null())?;
        match serde_json::from_value(value.clone()) {
            Ok(read) => Some(read),
            Err(error) => {
                self.report(key, &format!("the field {key} does not take this value: {}", parse::told(&error)));
                self.x.insert(key.to_owned(), value);
                None
            }
        }
    }

    fn needed<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        if self.left.get(key).is_none_or(Value::is_null) {
            self.report(key, &format!("the field {key} is missing"));
            return None;
        }
        self.take(key)
    }

    /// Puts a retry aside that names failures which do not exist, and says which.
    fn known_failures(&mut self) {
        let on = self.left.get("retry").and_then(|retry| retry.get("on")).and_then(Value::as_array);
        let is_unknown = |code: &Value| code.as_str().is_some_and(|code| ErrorCode::from_name(code).is_none());
        let unknown = on.into_iter().flatten().enumerate().filter(|(_, code)| is_unknown(code));
        let unknown: Vec<(usize, String)> =
            unknown.map(|(place, code)| (place, ErrorCode::no_such(code.as_str().unwrap_or_default()))).collect();
        if unknown.is_empty() {
            return;
        }
        self.x.extend(self.left.remove_entry("retry"));
        for (place, message) in unknown {
            let key = format!("retry/on/{place}");
            let fix = json!({"path": format!("{}/{key}", self.path)});
            self.push(Problem::new(ProblemCode::RetryOn, message).fix("remove", "Leave it out", fix), &key);
        }
    }

    /// The first of these fields that is there.
    fn first(&mut self, keys: &[&str]) -> Option<Value> {
        let key = keys.iter().find(|key| self.left.get(**key).is_some_and(|value| !value.is_null()))?;
        self.left.remove(*key)
    }

    /// A list, or an object whose keys are ids.
    fn list(&mut self, keys: &[&str]) -> Vec<Value> {
        match self.first(keys) {
            None => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(Value::Object(by_id)) => {
                let keyed = |(id, mut value): (String, Value)| {
                    if let Some(fields) = value.as_object_mut() {
                        fields.entry("id").or_insert(Value::String(id));
                    }
                    value
                };
                by_id.into_iter().map(keyed).collect()
            }
            Some(_) => {
                self.report(keys[0], &format!("{} is a list", keys[0]));
                Vec::new()
            }
        }
    }

    /// An object of parts, each read by itself.
    fn each<T: DeserializeOwned>(&mut self, key: &str) -> BTreeMap<String, T> {
        let parts: Map<String, Value> = self.take(key).unwrap_or_default();
        let (mut read, mut aside) = (BTreeMap::new(), Map::new());
        for (name, value) in parts {
            match serde_json::from_value(value.clone()) {
                Ok(part) => {
                    read.insert(name, part);
                }
                Err(error) => {
                    self.report(&format!("{key}/{}", escaped(&name)), &parse::told(&error));
                    aside.insert(name, value);
                }
            }
        }
        if !aside.is_empty() {
            self.x.insert(key.to_owned(), Value::Object(aside));
        }
        read
    }

    fn triggers(&mut self) -> Vec<Trigger> {
        let parts: Vec<Value> = self.take("triggers").unwrap_or_default();
        let (mut read, mut aside) = (Vec::new(), Vec::new());
        for (place, value) in parts.into_iter().enumerate() {
            match serde_json::from_value(value.clone()) {
                Ok(trigger) => read.push(trigger),
                Err(error) => {
                    self.report(&format!("triggers/{place}"), &parse::told(&error));
                    aside.push(value);
                }
            }
        }
        if !aside.is_empty() {
            self.x.insert("triggers".to_owned(), Value::Array(aside));
        }
        read
    }

    /// What is left, kept for the way back. In our own format each is worth a word.
    fn rest(mut self, tell: bool) -> Map<String, Value> {
        let left = std::mem::take(&mut self.left);
        for (key, value) in left {
            if tell {
                let shown: String = key.chars().take(64).flat_map(char::escape_debug).collect();
                let message = format!("the engine does not know `{shown}`: it is kept and does nothing");
                self.push(Problem::new(ProblemCode::UnknownKey, message), &key);
            }
            self.x.insert(key, value);
        }
        self.x
    }

    fn report(&mut self, key: &str, message: &str) {
        self.push(Problem::new(ProblemCode::Shape, message), key);
    }

    fn push(&mut self, problem: Problem, key: &str) {
        let problem = problem.at(format!("{}/{}", self.path, key));
        self.problems.push(match &self.node {
            Some(node) => problem.at_node(node),
            None => problem,
        });
    }
}
