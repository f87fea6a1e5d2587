//! Nodes and edges as Blitz 1.0, its designer and React Flow keep them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::super::config;
use super::super::picture::layout;
use super::super::validate::graph::{is_id, proposed_id};
use super::{Fields, read_all, shared_fields};
use crate::domain::{Edge, Node, NodeType, OnError, Position, Problem, WorkflowDefinition};

/// Types by other names.
const TYPES: &[(&str, &str)] = &[
    ("trigger", "start"),
    ("begin", "start"),
    ("finish", "end"),
    ("model", "llm"),
    ("prompt", "llm"),
    ("chat", "llm"),
    ("api", "http"),
    ("http_request", "http"),
    ("webhook", "http"),
    ("condition", "if"),
    ("conditional", "if"),
    ("decision", "if"),
    ("branch", "if"),
    ("router", "switch"),
    ("foreach", "map"),
    ("for_each", "map"),
    ("iterator", "map"),
    ("iteration", "map"),
    ("while", "loop"),
    ("workflow", "subflow"),
    ("sub_workflow", "subflow"),
    ("subworkflow", "subflow"),
    ("delay", "wait"),
    ("sleep", "wait"),
    ("human", "approval"),
    ("human_input", "approval"),
    ("error", "fail"),
    ("comment", "note"),
    ("sticky", "note"),
    ("sticky_note", "note"),
    ("variable", "set"),
    ("group", "parallel"),
];

/// Settings by other names: the type, theirs, ours.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("agent", "agent_id", "agent"),
    ("agent", "agentId", "agent"),
    ("agent", "agent_name", "agent"),
    ("tool", "tool_id", "tool"),
    ("tool", "toolId", "tool"),
    ("tool", "tool_name", "tool"),
    ("tool", "parameters", "arguments"),
    ("llm", "model_id", "model"),
    ("llm", "model_name", "model"),
    ("llm", "prompt_template", "prompt"),
    ("llm", "user_prompt", "prompt"),
    ("llm", "system_prompt", "system"),
    ("input", "default_value", "default"),
    ("input", "defaultValue", "default"),
    ("input", "key", "name"),
    ("output", "key", "name"),
    ("if", "expression", "expr"),
    ("http", "endpoint", "url"),
    ("template", "text", "template"),
    ("template", "content", "template"),
    ("map", "list", "items"),
    ("map", "collection", "items"),
    ("loop", "maxIterations", "max_iterations"),
    ("subflow", "workflow_id", "workflow"),
    ("subflow", "workflowId", "workflow"),
    ("wait", "duration", "seconds"),
    ("wait", "delay", "seconds"),
    ("approval", "prompt", "message"),
    ("note", "content", "text"),
];

/// Ports by other names.
const PORTS: &[(&str, &str)] = &[
    ("yes", "true"),
    ("then", "true"),
    ("no", "false"),
    ("else", "false"),
    ("otherwise", "default"),
    ("onError", "error"),
    ("on_error", "error"),
    ("failure", "error"),
    ("catch", "error"),
    ("approve", "approved"),
    ("reject", "rejected"),
];

pub(super) fn read(
    nodes: Vec<Value>,
    edges: Vec<Value>,
    definition: &mut WorkflowDefinition,
    problems: &mut Vec<Problem>,
) {
    let ids = Ids::of(&nodes);
    definition.nodes =
        read_all(nodes, "nodes", "a node", &mut definition.x, problems, |fields, place| node(fields, place, &ids));
    definition.edges = read_all(edges, "edges", "an edge", &mut definition.x, problems, |fields, _| edge(fields, &ids));
    for at in 0..definition.edges.len() {
        settle_ports(definition, at);
    }
    let placed = layout::positions(definition);
    for (node, place) in definition.nodes.iter_mut().zip(placed) {
        node.position.get_or_insert(place);
    }
}

/// Ids that ours may not be, and what they become.
struct Ids {
    renamed: BTreeMap<String, String>,
}

impl Ids {
    fn of(nodes: &[Value]) -> Self {
        let given: BTreeSet<String> = nodes.iter().filter_map(|node| node.get("id").and_then(text)).collect();
        let mut taken: BTreeSet<String> = given.iter().filter(|id| is_id(id)).cloned().collect();
        let mut renamed = BTreeMap::new();
        for id in given.iter().filter(|id| !is_id(id)) {
            let base = proposed_id(id);
            let mut candidates = std::iter::once(base.clone()).chain((2..).map(|n| format!("{base}_{n}")));
            let free = candidates.find(|candidate| !taken.contains(candidate)).unwrap_or(base);
            taken.insert(free.clone());
            renamed.insert(id.clone(), free);
        }
        Self { renamed }
    }

    fn ours(&self, id: &str) -> String {
        self.renamed.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }
}

/// A text or a whole number as text: ids come as both.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn node(mut fields: Fields, place: usize, ids: &Ids) -> Node {
    let given = fields.first(&["id"]).as_ref().and_then(text);
    let id = given.as_ref().map_or_else(|| format!("node_{}", place + 1), |id| ids.ours(id));
    fields.node = Some(id.clone());
    if given.is_none() {
        fields.report("id", "the field id is missing");
    }
    let mut data = match fields.first(&["data", "config", "configuration"]) {
        Some(Value::Object(data)) => data,
        Some(other) => Map::from_iter([("value".to_owned(), other)]),
        None => Map::new(),
    };
    let kind = kind(&mut fields, &mut data);
    let mut node = Node::new(id, kind);
    node.label = label(&mut fields, &mut data);
    if let Some(parent) = fields.first(&["parentId", "parentNode", "parent_id"]).as_ref().and_then(text) {
        node.parent = Some(ids.ours(&parent));
    }
    if let Some(Value::String(parent)) = fields.left.get_mut("parent") {
        *parent = ids.ours(parent);
    }
    node.position = position(&mut fields);
    settings(&mut node, &mut data);
    // What a node may have under its own name may stand among its data too.
    let mut inner = Fields::new(std::mem::take(&mut data), format!("{}/data", fields.path), fields.problems);
    inner.node = Some(node.id.clone());
    shared_fields(&mut inner, &mut node);
    let kept = inner.rest(false);
    shared_fields(&mut fields, &mut node);
    if let Some(given) = given.filter(|given| *given != node.id) {
        fields.left.insert("id".to_owned(), given.into());
    }
    if !kept.is_empty() {
        fields.left.insert("data".to_owned(), kept.into());
    }
    node.x = fields.rest(false);
    node
}

/// The type: pages keep it among the data where their own type is how a node is drawn.
fn kind(fields: &mut Fields, data: &mut Map<String, Value>) -> NodeType {
    let drawn = fields.first(&["type"]).as_ref().and_then(text);
    let known = |name: &str| {
        let name = name.trim().trim_end_matches("Node").trim_end_matches("_node").trim_end_matches('-');
        let lower = name.to_lowercase().replace([' ', '-'], "_");
        let ours = TYPES.iter().find(|(theirs, _)| *theirs == lower).map_or(lower.as_str(), |(_, ours)| *ours);
        let found = NodeType::from_name(ours);
        if found.is_builtin() { Some(found) } else { None }
    };
    if let Some(found) = drawn.as_deref().and_then(known) {
        return found;
    }
    for key in ["type", "nodeType", "node_type", "kind"] {
        if let Some(found) = data.get(key).and_then(Value::as_str).and_then(known) {
            data.remove(key);
            if let Some(drawn) = drawn {
                fields.left.insert("type".to_owned(), drawn.into());
            }
            return found;
        }
    }
    match drawn {
        Some(name) => NodeType::from_name(&name),
        None => {
            fields.report("type", "the field type is missing");
            NodeType::from_name("unknown")
        }
    }
}

fn label(fields: &mut Fields, data: &mut Map<String, Value>) -> String {
    let own = fields.first(&["label", "name", "title"]).as_ref().and_then(text);
    own.or_else(|| {
        let found = data.get("label").and_then(text);
        found.inspect(|_| {
            data.remove("label");
        })
    })
    .unwrap_or_default()
}

fn position(fields: &mut Fields) -> Option<Position> {
    let given = fields.left.get("position")?;
    let side = |name: &str| given.get(name).and_then(Value::as_f64);
    let place = Position { x: side("x")?, y: side("y")? };
    fields.left.remove("position");
    Some(place)
}

/// Takes what the type knows from the data, by our name or theirs.
fn settings(node: &mut Node, data: &mut Map<String, Value>) {
    let kind = node.kind.name().to_owned();
    if !node.kind.is_builtin() {
        node.config = std::mem::take(data);
        return;
    }
    let schema = config::schema(&node.kind);
    let known: Vec<String> =
        schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
    for key in &known {
        if let Some(value) = data.remove(key) {
            node.config.insert(key.clone(), value);
        }
    }
    for (_, theirs, ours) in SETTINGS.iter().filter(|(of, ..)| *of == kind) {
        if let Some(value) = data.get(*theirs).filter(|value| !value.is_null())
            && !node.config.contains_key(*ours)
        {
            // Ids come as texts too.
            let id = value.as_str().filter(|_| theirs.ends_with("_id") || theirs.ends_with("Id"));
            let id = id.and_then(|text| text.parse::<i64>().ok());
            let value = id.map_or_else(|| value.clone(), Value::from);
            data.remove(*theirs);
            node.config.insert((*ours).to_owned(), value);
        }
    }
    // A condition that is text is an expression.
    if node.kind == NodeType::If
        && let Some(Value::String(_)) = node.config.get("condition")
        && let Some(condition) = node.config.remove("condition")
    {
        node.config.insert("expr".to_owned(), condition);
    }
    if matches!(node.kind, NodeType::Input | NodeType::Output) && !node.config.contains_key("name") {
        let name = if node.label.is_empty() { node.id.clone() } else { node.label.clone() };
        node.config.insert("name".to_owned(), name.into());
    }
}

fn edge(mut fields: Fields, ids: &Ids) -> Edge {
    let mut end = |keys: &[&str]| {
        let found = fields.first(keys).as_ref().and_then(text);
        if found.is_none() {
            fields.report(keys[0], &format!("the field {} is missing", keys[0]));
        }
        ids.ours(&found.unwrap_or_default())
    };
    let (from, to) = (
        end(&["source", "from", "source_node_id", "source_id"]),
        end(&["target", "to", "target_node_id", "target_id"]),
    );
    let mut edge = Edge::new(from, to);
    edge.id = fields.first(&["id"]).as_ref().and_then(text);
    let mut port = |keys: &[&str]| fields.first(keys).as_ref().and_then(text).filter(|port| !port.is_empty());
    if let Some(out) = port(&["sourceHandle", "source_handle", "out", "sourcePort"]) {
        edge.out = out;
    }
    if let Some(input) = port(&["targetHandle", "target_handle", "in", "targetPort"]) {
        edge.input = input;
    }
    edge.x = fields.rest(false);
    edge
}

/// Handles are named by how a page draws them; a port of ours is taken where one can be told.
fn settle_ports(definition: &mut WorkflowDefinition, at: usize) {
    let edge = &mut definition.edges[at];
    if edge.input != "in" {
        let handle = std::mem::replace(&mut edge.input, "in".to_owned());
        edge.x.insert("targetHandle".to_owned(), handle.into());
    }
    let Some(node) = definition.nodes.iter_mut().find(|node| node.id == edge.from) else { return };
    let ports = config::ports(node, None);
    if ports.contains(&edge.out) {
        return;
    }
    let named = PORTS.iter().find(|(theirs, _)| *theirs == edge.out).map_or(edge.out.as_str(), |(_, ours)| *ours);
    let port = if named == "error" {
        node.on_error = OnError::Branch;
        Some("error".to_owned())
    } else if ports.iter().any(|port| port == named) {
        Some(named.to_owned())
    } else {
        ports.iter().find(|port| *port == "out").cloned()
    };
    if let Some(port) = port {
        let handle = std::mem::replace(&mut edge.out, port);
        edge.x.insert("sourceHandle".to_owned(), handle.into());
    }
}
