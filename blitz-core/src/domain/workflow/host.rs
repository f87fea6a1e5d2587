//! What a form needs to know of a type of nodes, the engine's own or a host's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::NodeType;
use crate::domain::Effect;

/// A type of nodes: what it does, its settings and its ports.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeTypeInfo {
    /// The name of the type.
    #[serde(rename = "type")]
    pub kind: NodeType,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// JSON Schema of its settings.
    #[serde(default = "any_object")]
    pub config: Value,
    /// JSON Schema of what a node of it may be given, where the type says so; it is checked when the node runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The ports that every node of it has beside `error`. A switch and an approval add those that
    /// their settings name.
    #[serde(default = "out_only")]
    pub ports: Vec<String>,
    /// What it does to the world where a node states nothing.
    #[serde(default)]
    pub effect: Effect,
    /// Whether other nodes may be in it.
    #[serde(default)]
    pub container: bool,
}

impl NodeTypeInfo {
    /// A type of the host with the port `out` and free settings.
    pub fn host(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            kind: NodeType::Host(name.into()),
            description: description.into(),
            config: any_object(),
            input: None,
            ports: out_only(),
            effect: Effect::Unsafe,
            container: false,
        }
    }

    /// The same type with a schema of its settings.
    pub fn with_config(self, schema: Value) -> Self {
        Self { config: schema, ..self }
    }

    /// The same type with a schema of what its nodes may be given.
    pub fn with_input(self, schema: Value) -> Self {
        Self { input: Some(schema), ..self }
    }

    /// The same type with these ports.
    pub fn with_ports<P: Into<String>>(self, ports: impl IntoIterator<Item = P>) -> Self {
        Self { ports: ports.into_iter().map(Into::into).collect(), ..self }
    }

    /// The same type with an effect class.
    pub fn with_effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }
}

fn any_object() -> Value {
    serde_json::json!({"type": "object"})
}

fn out_only() -> Vec<String> {
    vec!["out".to_owned()]
}
