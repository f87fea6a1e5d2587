//! Workflows as the catalogue keeps them: the definition `blitz.workflow/1`.
//!
//! The definition is data: nodes and edges in flat lists, expressions as text. What is wrong with
//! one is found by `workflow::validate`, all at once; these types only hold it. Durations are whole
//! seconds or milliseconds, money is a decimal string, and only a node's place on the canvas is a
//! float.

mod build;
mod host;
mod kind;
mod node;
mod problem;
mod record;

pub use build::*;
pub use host::*;
pub use kind::*;
pub use node::*;
pub use problem::*;
pub use record::*;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::money::Money;

/// A workflow: nodes, edges between them, and what holds for the whole.
///
/// A draft may be broken: it is kept as it is and cannot be published.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowDefinition {
    /// `blitz.workflow/1`.
    #[serde(default = "WorkflowDefinition::format")]
    pub format: String,
    /// An id of the author's own; the engine gives records theirs.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The name it is run by; agents and workflows share their names.
    pub name: String,
    /// For people, and for a model that is offered this workflow as a tool.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// JSON Schema of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Value>,
    /// JSON Schema of the output. A property may hold `value`, an expression that gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Value>,
    /// Variables that nodes write and read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Var>,
    /// The nodes, those of containers too.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// The edges; their order decides between equals.
    #[serde(default)]
    pub edges: Vec<Edge>,
    /// Where an execution must stop.
    #[serde(default)]
    pub limits: WorkflowLimits,
    /// The node that runs where an execution fails; it reads `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<String>,
    /// What starts it beside a call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    /// Viewport, notes and groups of a designer page; no part of the content.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub ui: Value,
    /// What an import found and the engine does not know; kept for the way back.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub x: Map<String, Value>,
}

impl WorkflowDefinition {
    /// What it is made of: an import that cannot read one of these puts it under `x`.
    pub(crate) const FIELDS: &'static [&'static str] = &[
        "name",
        "description",
        "labels",
        "inputs",
        "outputs",
        "vars",
        "nodes",
        "edges",
        "limits",
        "on_error",
        "triggers",
        "ui",
    ];

    /// The name of this format.
    pub const FORMAT: &'static str = "blitz.workflow/1";

    fn format() -> String {
        Self::FORMAT.to_owned()
    }

    /// An empty workflow.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            format: Self::format(),
            reference: None,
            name: name.into(),
            description: String::new(),
            labels: Vec::new(),
            inputs: None,
            outputs: None,
            vars: BTreeMap::new(),
            nodes: Vec::new(),
            edges: Vec::new(),
            limits: WorkflowLimits::default(),
            on_error: None,
            triggers: Vec::new(),
            ui: Value::Null,
            x: Map::new(),
        }
    }

    /// The node of an id.
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }
}

/// A variable of a workflow.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Var {
    /// JSON Schema of its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Its value at the start; null where absent.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub default: Value,
    /// What a write does to the value that is there.
    pub merge: MergeRule,
}

impl Var {
    /// A variable with this value at the start.
    pub fn new(default: impl Into<Value>, merge: MergeRule) -> Self {
        Self { schema: None, default: default.into(), merge }
    }
}

/// What a write to a variable does to the value that is there: it makes parallel writes defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeRule {
    /// The new value stands.
    #[default]
    Replace,
    /// The new value is put at the end of the list; the items of a list one by one.
    Append,
    /// Numbers are added.
    Add,
    /// The fields of the new object are put into the old one.
    MergeKeys,
}

/// Where an execution of a workflow must stop.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkflowLimits {
    /// Wall time in seconds, waits included.
    pub timeout_s: u64,
    /// Model and tool calls that run at the same time.
    pub max_parallel: u32,
    /// Starts of nodes, those in bodies included.
    pub max_steps: u64,
    /// Items of one map.
    pub max_items: u64,
    /// Nodes of the definition.
    pub max_nodes: u32,
    /// Cost of the execution and its children, decimal USD. No limit where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Money>,
    /// Executions of one concurrency key at the same time, those without a key among themselves; the
    /// others wait for their turn. No limit where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// How deep executions may start executions.
    pub max_depth: u32,
    /// Bytes of one node's output.
    pub output_bytes: u64,
}

impl Default for WorkflowLimits {
    fn default() -> Self {
        Self {
            timeout_s: 1800,
            max_parallel: 10,
            max_steps: 100_000,
            max_items: 100_000,
            max_nodes: 200,
            max_cost: None,
            max_concurrent: None,
            max_depth: 8,
            output_bytes: 8 << 20,
        }
    }
}

/// What starts a workflow beside a call. The host brings the transport.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// A person.
    Manual {},
    /// A call from outside under a name of its own.
    Webhook {
        /// The name that the host's route passes on.
        name: String,
        /// What the input is made of; the request's body where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
    },
    /// The clock.
    Schedule {
        /// Five fields: minute, hour, day, month, weekday.
        cron: String,
        /// An IANA time zone, such as `Europe/Berlin`.
        #[serde(default = "utc")]
        zone: String,
        /// What happens where the execution before still runs.
        #[serde(default)]
        overlap: Overlap,
        /// The input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
    },
    /// An event that the host tells the engine of.
    Event {
        /// The event's name.
        name: String,
        /// An expression over `trigger` that must be true.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        when: Option<String>,
        /// What the input is made of; the event's data where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
    },
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What a schedule does where the execution before still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Nothing: this firing is left out.
    #[default]
    Skip,
    /// Start when it has ended.
    Queue,
    /// Start beside it.
    Allow,
}

/// Reads a field that may be null and must be told from an absent one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
