//! Tools as the catalogue keeps them and as a model sees them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A tool as a model sees it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolSpec {
    /// `[A-Za-z0-9_-]`, at most 64 characters.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments; always an object.
    pub input_schema: Value,
}

impl ToolSpec {
    /// A tool with a schema of its arguments.
    pub fn new(name: impl Into<String>, description: impl Into<String>, input_schema: Value) -> Self {
        Self { name: name.into(), description: description.into(), input_schema }
    }
}

/// What happens to the world when a tool or node runs, and so what may be done after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing: it may run any number of times.
    Pure,
    /// Something, but twice is the same as once under the same idempotency key.
    Idempotent,
    /// Something that must not be repeated: in doubt after a crash it waits for a decision.
    #[default]
    Unsafe,
}

/// Where a tool's code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// A function that the host program registered.
    #[default]
    Function,
    /// One of the engine's own.
    Builtin,
}

/// A tool to put into the catalogue.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTool {
    /// The name agents and models use.
    pub name: String,
    /// What it does, for the model. A builtin has its own where this is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where its code is.
    #[serde(default)]
    pub kind: ToolKind,
    /// Which builtin, where its name differs from `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<String>,
    /// Settings of a builtin, such as `{"root": "/srv/documents"}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// JSON Schema of the arguments; a builtin has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// What happens to the world; `unsafe` where a function says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Time limit of one call in milliseconds; 60,000 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether an agent's calls of it run one after another, in the order of the model's; calls of other tools go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sequential: bool,
    /// Arguments that are secrets of `secrets.set`, each with the secret's name: filled in at the call. A model neither
    /// sees nor gives them, and what the call says of them is masked. Whoever puts the tool needs `secrets:use`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
}

impl NewTool {
    /// The time limit of a call where none is set.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

    /// A function of the host: its schema and description come with it.
    pub fn function(name: impl Into<String>, description: impl Into<String>, input_schema: Value) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            kind: ToolKind::Function,
            builtin: None,
            config: Map::new(),
            input_schema: Some(input_schema),
            effect: None,
            timeout_ms: None,
            sequential: false,
            secrets: BTreeMap::new(),
        }
    }

    /// One of the engine's own tools under its own name: `calculator`, `file_read`, `file_write`, `file_list`.
    pub fn builtin(name: impl Into<String>) -> Self {
        Self { kind: ToolKind::Builtin, input_schema: None, ..Self::function(name, "", json!(null)) }
    }

    /// The same builtin with a setting.
    pub fn with_config(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// The same builtin under another name.
    pub fn named(self, name: impl Into<String>) -> Self {
        let builtin = self.builtin.or(Some(self.name));
        Self { builtin, name: name.into(), ..self }
    }

    /// The same tool with an effect class.
    pub fn with_effect(self, effect: Effect) -> Self {
        Self { effect: Some(effect), ..self }
    }

    /// The same tool with a time limit of one call.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout_ms: Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)), ..self }
    }

    /// The same tool, whose calls by one agent run one after another.
    pub fn with_sequential(self, sequential: bool) -> Self {
        Self { sequential, ..self }
    }

    /// The same tool, whose argument is a secret by its name.
    pub fn with_secret(mut self, argument: impl Into<String>, name: impl Into<String>) -> Self {
        self.secrets.insert(argument.into(), name.into());
        self
    }

    /// The time limit of one call.
    pub fn timeout(&self) -> Duration {
        self.timeout_ms.map_or(Self::DEFAULT_TIMEOUT, Duration::from_millis)
    }
}
