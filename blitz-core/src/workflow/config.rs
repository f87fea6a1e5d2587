//! The settings of each type of node: one JSON Schema each, for checks and for forms.
//!
//! A title and a description in each let a page draw the form without code of its own. What may be
//! an expression says so by `x-expression`: `expr` (always one), `template` (a value with `{{ … }}`
//! in it) or `prompt` (a template that also fills the old `{name}` fields).

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::task::approval_options;
use crate::domain::schema::SchemaCheck;
use crate::domain::{Effect, Node, NodeType, NodeTypeInfo, OnError};
use crate::error::ErrorCode;

/// The largest number of rounds of a loop.
const MAX_ROUNDS: u32 = 1_000_000;

/// What is known of all types of the engine, in the order of a palette.
pub(crate) fn builtin() -> Vec<NodeTypeInfo> {
    let info = |kind: &NodeType| NodeTypeInfo {
        config: schema(kind),
        ports: ports_of_type(kind).into_iter().map(str::to_owned).collect(),
        effect: kind.effect(),
        container: kind.is_container(),
        ..NodeTypeInfo::host("", kind.meaning()).of_kind(kind.clone())
    };
    NodeType::ALL.iter().map(info).collect()
}

impl NodeTypeInfo {
    fn of_kind(self, kind: NodeType) -> Self {
        Self { kind, ..self }
    }
}

static CHECKS: LazyLock<Vec<(NodeType, Option<SchemaCheck>)>> = LazyLock::new(|| {
    let check = |kind: &NodeType| (kind.clone(), SchemaCheck::new(&schema(kind)).ok());
    NodeType::ALL.iter().map(check).collect()
});

/// The prepared schema of a type of the engine.
pub(super) fn check(kind: &NodeType) -> Option<&'static SchemaCheck> {
    CHECKS.iter().find(|(known, _)| known == kind).and_then(|(_, check)| check.as_ref())
}

fn ports_of_type(kind: &NodeType) -> Vec<&'static str> {
    match kind {
        NodeType::If => vec!["true", "false"],
        NodeType::Switch => vec!["default"],
        NodeType::Approval => vec!["timeout"],
        NodeType::End | NodeType::Fail | NodeType::Note => vec![],
        _ => vec!["out"],
    }
}

/// The ports of one node.
pub(super) fn ports(node: &Node, host: Option<&NodeTypeInfo>) -> Vec<String> {
    let mut ports: Vec<String> = match &node.kind {
        NodeType::Switch => {
            let cases = node.config.get("cases").and_then(Value::as_array);
            let named = cases.into_iter().flatten().filter_map(|case| case.get("port").and_then(Value::as_str));
            let mut ports: Vec<String> = Vec::new();
            for port in named.chain(["default"]) {
                if !ports.iter().any(|known| known == port) {
                    ports.push(port.to_owned());
                }
            }
            ports
        }
        NodeType::Approval => approval_options(&node.config).into_iter().chain(["timeout".to_owned()]).collect(),
        NodeType::Loop if node.config.get("on_cap").and_then(Value::as_str) == Some("port") => {
            vec!["out".to_owned(), "cap".to_owned()]
        }
        NodeType::Host(_) => host.map_or_else(|| vec!["out".to_owned()], |info| info.ports.clone()),
        kind => ports_of_type(kind).into_iter().map(str::to_owned).collect(),
    };
    if node.on_error == OnError::Branch && !ports.iter().any(|port| port == "error") {
        ports.push("error".to_owned());
    }
    ports
}

/// The effect class of a node: its own, else its type's.
pub(super) fn effect(node: &Node, host: Option<&NodeTypeInfo>) -> Effect {
    // A request that only reads may be sent again.
    let reads = node.kind == NodeType::Http
        && node
            .config
            .get("method")
            .and_then(Value::as_str)
            .is_none_or(|method| ["GET", "HEAD", "OPTIONS"].contains(&method.to_ascii_uppercase().as_str()));
    let usual = match host {
        Some(info) => info.effect,
        None if reads => Effect::Idempotent,
        None => node.kind.effect(),
    };
    node.effect.unwrap_or(usual)
}

/// JSON Schema of the settings of a type.
pub(crate) fn schema(kind: &NodeType) -> Value {
    let (required, properties): (&[&str], Vec<(&str, Value)>) = match kind {
        NodeType::Start | NodeType::Parallel => (&[], vec![]),
        NodeType::End => (&[], vec![("output", template("Output", "What this end gives; its input where absent."))]),
        NodeType::Input => (
            &["name"],
            vec![
                ("name", text("Name", "The field of the input.")),
                ("default", titled(json!({}), "Default", "Its value where the input has no such field.")),
            ],
        ),
        NodeType::Output => (
            &["name"],
            vec![
                ("name", text("Name", "The field of the result.")),
                ("value", template("Value", "What it is; the node's input where absent.")),
            ],
        ),
        NodeType::Agent => (
            &["agent"],
            vec![
                ("agent", reference("Agent", "agent", "The agent that runs.")),
                ("values", template("Values", "Fields that join its input; they may hold secrets.")),
            ],
        ),
        NodeType::Llm => (
            &["model"],
            vec![
                ("model", reference("Model", "model", "The model that is asked.")),
                ("system", prompt("System", "What the model is told first.")),
                ("prompt", prompt("Prompt", "The question, where there are no messages.")),
                ("messages", messages()),
                ("output_schema", json_schema("Output schema", "JSON Schema that the answer must follow.")),
                ("settings", titled(json!({"type": "object"}), "Settings", "Settings that win over the model's.")),
            ],
        ),
        NodeType::Tool => (
            &["tool"],
            vec![
                ("tool", reference("Tool", "tool", "The tool that is called.")),
                ("arguments", template("Arguments", "Fields that join its input; they may hold secrets.")),
            ],
        ),
        NodeType::Http => (&["url"], http()),
        NodeType::Template => (&["template"], vec![("template", prompt("Template", "The text to make."))]),
        NodeType::Set => (
            &["vars"],
            vec![(
                "vars",
                expression(
                    json!({"type": "object", "minProperties": 1, "maxProperties": 100}),
                    "template",
                    "Variables",
                    "Names of variables and their new values.",
                ),
            )],
        ),
        NodeType::Code => (&["expr"], vec![("expr", expr("Expression", "What is evaluated."))]),
        NodeType::If => (
            &[],
            vec![
                ("expr", expr("Expression", "The port `true` is taken where it is true.")),
                ("condition", condition("Condition", "The same as a form: left, operator, right; and, or, not.")),
            ],
        ),
        NodeType::Switch => {
            (&["cases"], vec![("value", expr("Value", "What the cases are compared with.")), ("cases", cases())])
        }
        NodeType::Map => (&["items"], map()),
        NodeType::Loop => (&["max_iterations"], rounds()),
        NodeType::Subflow => (
            &["workflow"],
            vec![
                ("workflow", reference("Workflow", "workflow", "The workflow that runs.")),
                ("version", whole("Version", "Its version; the newest at the start where absent.", 1, u32::MAX)),
            ],
        ),
        NodeType::Wait => (
            &[],
            vec![
                (
                    "seconds",
                    expression(
                        json!({"type": ["integer", "string"], "minimum": 0, "maximum": 31_622_400}),
                        "template",
                        "Seconds",
                        "For how long.",
                    ),
                ),
                (
                    "until",
                    expression(
                        json!({"type": ["integer", "string"]}),
                        "template",
                        "Until",
                        "A moment: RFC 3339 text, or microseconds since 1970.",
                    ),
                ),
            ],
        ),
        NodeType::Approval => (&[], approval()),
        NodeType::Fail => (
            &["message"],
            vec![
                ("message", template("Message", "What is said.")),
                (
                    "code",
                    titled(
                        json!({"type": "string", "enum": codes()}),
                        "Code",
                        "The error code; `tool_failed` where absent.",
                    ),
                ),
            ],
        ),
        NodeType::Note => (&[], vec![("text", text_of(20_000, "Text", "What it says."))]),
        NodeType::Host(_) => return json!({"type": "object"}),
    };
    let properties: Map<String, Value> =
        properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    let either = |one: &str, other: &str| {
        json!([
            {"required": [one], "not": {"required": [other]}},
            {"required": [other], "not": {"required": [one]}},
        ])
    };
    match kind {
        NodeType::Llm => schema["oneOf"] = either("prompt", "messages"),
        NodeType::If => schema["oneOf"] = either("expr", "condition"),
        NodeType::Wait => schema["oneOf"] = either("seconds", "until"),
        _ => {}
    }
    schema
}

fn http() -> Vec<(&'static str, Value)> {
    let methods = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
    vec![
        ("method", titled(json!({"type": "string", "enum": methods, "default": "GET"}), "Method", "How it is sent.")),
        ("url", expression(json!({"type": "string", "minLength": 1}), "template", "Address", "http or https.")),
        ("headers", strings("Headers", "They may hold `{{ secrets.name }}`.")),
        ("query", template("Query", "Fields that join the address.")),
        ("body", template("Body", "A text is sent as it is, all else as JSON.")),
        (
            "response",
            titled(
                json!({"type": "string", "enum": ["auto", "json", "text"], "default": "auto"}),
                "Answer",
                "How the answer's body is read: a text by its charset, JSON as what it says; with auto, what is neither comes as base64, and `encoding` says so.",
            ),
        ),
        (
            "accept",
            titled(
                json!({"type": "array", "items": {"type": "integer", "minimum": 100, "maximum": 599}, "maxItems": 100}),
                "Accepted",
                "Statuses that count as success beside 2xx.",
            ),
        ),
    ]
}

fn map() -> Vec<(&'static str, Value)> {
    vec![
        ("items", expression(json!({"type": ["string", "array"]}), "expr", "Items", "The list.")),
        ("concurrency", whole("Concurrency", "Items at the same time; 1 is strict order.", 1, 10_000)),
        (
            "fail",
            titled(
                json!({"default": "stop", "oneOf": [
                    {"enum": ["stop", "null", "drop"]},
                    {
                        "type": "object",
                        "properties": {"threshold": {"oneOf": [
                            {"type": "integer", "minimum": 0},
                            {"type": "string", "pattern": "^(100|[0-9]{1,2})%$"},
                        ]}},
                        "required": ["threshold"],
                        "additionalProperties": false,
                    },
                ]}),
                "Failed items",
                "Stop the map; put null in their place; leave them out; or null until too many have failed.",
            ),
        ),
        ("batch", whole("Batch", "Items that one run of the body takes; then `item` is a list.", 1, 100_000)),
        ("output", template("Output", "What one run gives; what its ends give where absent.")),
    ]
}

fn rounds() -> Vec<(&'static str, Value)> {
    vec![
        ("max_iterations", whole("Rounds", "The most rounds.", 0, MAX_ROUNDS)),
        ("until", condition("Until", "Checked after each round; without it every round runs.")),
        (
            "carry",
            expression(
                json!({"type": "object", "maxProperties": 100}),
                "template",
                "Carry",
                "Variables that each round leaves for the next.",
            ),
        ),
        (
            "on_cap",
            titled(
                json!({"type": "string", "enum": ["error", "port"], "default": "error"}),
                "After the last round",
                "Where `until` is still false: fail, or take the port `cap`.",
            ),
        ),
    ]
}

fn approval() -> Vec<(&'static str, Value)> {
    vec![
        ("message", prompt("Message", "What the person is asked.")),
        ("details", template("Details", "What the person is shown beside.")),
        (
            "options",
            titled(
                json!({"type": "array", "items": port(), "minItems": 1, "maxItems": 20, "uniqueItems": true,
                    "default": ["approved", "rejected"]}),
                "Answers",
                "Each is a port.",
            ),
        ),
        ("form", json_schema("Form", "JSON Schema of what the person may fill in.")),
        ("expires_s", whole("Expires", "After so many seconds the port `timeout` is taken.", 1, 31_622_400)),
    ]
}

fn cases() -> Value {
    let case = json!({
        "type": "object",
        "properties": {
            "port": port(),
            "value": {"title": "Value", "description": "Fits where the switch's value is this."},
            "expr": condition("Expression", "Fits where this is true."),
        },
        "required": ["port"],
        "oneOf": [
            {"required": ["value"], "not": {"required": ["expr"]}},
            {"required": ["expr"], "not": {"required": ["value"]}},
        ],
        "additionalProperties": false,
    });
    titled(
        json!({"type": "array", "items": case, "minItems": 1, "maxItems": 100}),
        "Cases",
        "The first that fits is taken.",
    )
}

fn messages() -> Value {
    let message = json!({
        "type": "object",
        "properties": {
            "role": {"enum": ["system", "user", "assistant"]},
            "content": prompt("Content", "What it says."),
        },
        "required": ["role", "content"],
        "additionalProperties": false,
    });
    titled(
        json!({"type": "array", "items": message, "minItems": 1, "maxItems": 1000}),
        "Messages",
        "In place of a prompt.",
    )
}

/// The name of a port that settings may choose.
fn port() -> Value {
    json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]{0,63}$", "not": {"enum": ["default", "error", "timeout"]}})
}

/// The codes that a node may fail with. Cancelled is what others do to it.
fn codes() -> Vec<&'static str> {
    let all = ErrorCode::ALL.iter().filter(|code| **code != ErrorCode::Cancelled);
    all.map(|code| code.name()).collect()
}

fn titled(mut schema: Value, title: &str, description: &str) -> Value {
    schema["title"] = title.into();
    schema["description"] = description.into();
    schema
}

fn expression(mut schema: Value, kind: &str, title: &str, description: &str) -> Value {
    schema["x-expression"] = kind.into();
    titled(schema, title, description)
}

fn expr(title: &str, description: &str) -> Value {
    expression(json!({"type": ["string", "boolean", "number"]}), "expr", title, description)
}

fn condition(title: &str, description: &str) -> Value {
    expression(json!({"type": ["string", "boolean", "object", "array"]}), "expr", title, description)
}

fn template(title: &str, description: &str) -> Value {
    expression(json!({}), "template", title, description)
}

fn prompt(title: &str, description: &str) -> Value {
    expression(json!({"type": "string"}), "prompt", title, description)
}

fn strings(title: &str, description: &str) -> Value {
    let strings = json!({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 200});
    expression(strings, "template", title, description)
}

fn text(title: &str, description: &str) -> Value {
    text_of(128, title, description)
}

fn text_of(longest: usize, title: &str, description: &str) -> Value {
    titled(json!({"type": "string", "minLength": 1, "maxLength": longest}), title, description)
}

fn whole(title: &str, description: &str, least: u32, most: u32) -> Value {
    titled(json!({"type": "integer", "minimum": least, "maximum": most}), title, description)
}

/// A resource by name or id; a form offers those of the catalogue.
fn reference(title: &str, noun: &str, description: &str) -> Value {
    let schema = json!({"type": ["string", "integer"], "minLength": 1, "maxLength": 400, "x-resource": noun});
    titled(schema, title, description)
}

fn json_schema(title: &str, description: &str) -> Value {
    titled(json!({"type": ["object", "boolean"]}), title, description)
}
