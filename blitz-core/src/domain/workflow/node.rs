//! Nodes and edges.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{NodeType, present};
use crate::domain::Effect;
use crate::error::ErrorCode;

/// One node of a workflow.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Unique in the whole definition: a letter or `_`, then letters, digits, `_` and `-`, 64 at most.
    pub id: String,
    /// What it does.
    #[serde(rename = "type")]
    pub kind: NodeType,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// The container whose body it is part of; the workflow itself where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Its place on the canvas; no part of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// It does nothing and passes its input through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Settings of its type.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// Its input: literals and `{{ expressions }}`. Where absent, what the edges bring, merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Map<String, Value>>,
    /// JSON Schema that its output must follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// An expression, a boolean or a condition; the node is skipped where it is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Value>,
    /// When it runs, where several edges come in.
    #[serde(default, skip_serializing_if = "Join::is_usual")]
    pub join: Join,
    /// Time limit of one attempt in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// The longest silence of an attempt in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_s: Option<u64>,
    /// When a failed attempt is tried again; never where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<NodeRetry>,
    /// What its failure means.
    #[serde(default, skip_serializing_if = "OnError::is_fail")]
    pub on_error: OnError,
    /// Other settings, tried in order where the ones before failed for good; each replaces the
    /// fields that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<Map<String, Value>>,
    /// Whether an output is used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheRule>,
    /// What it does to the world; its type's class where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// An output to use in place of running, for tests; no version with one can be published.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub pin: Option<Value>,
    /// What an import found and the engine does not know.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub x: Map<String, Value>,
}

impl Node {
    /// What it is made of beside its id and type, which other shapes keep under `x` on purpose.
    pub(crate) const FIELDS: &'static [&'static str] = &[
        "label",
        "parent",
        "position",
        "disabled",
        "config",
        "input",
        "output_schema",
        "when",
        "join",
        "timeout_s",
        "heartbeat_s",
        "retry",
        "on_error",
        "fallback",
        "cache",
        "effect",
        "pin",
    ];

    /// A node of this id and type.
    pub fn new(id: impl Into<String>, kind: impl Into<NodeType>) -> Self {
        Self {
            id: id.into(),
            kind: kind.into(),
            label: String::new(),
            parent: None,
            position: None,
            disabled: false,
            config: Map::new(),
            input: None,
            output_schema: None,
            when: None,
            join: Join::default(),
            timeout_s: None,
            heartbeat_s: None,
            retry: None,
            on_error: OnError::Fail,
            fallback: Vec::new(),
            cache: None,
            effect: None,
            pin: None,
            x: Map::new(),
        }
    }

    /// The effect class: its own, else its type's.
    pub fn effect(&self) -> Effect {
        self.effect.unwrap_or_else(|| self.kind.effect())
    }
}

/// A place on the canvas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// To the right.
    pub x: f64,
    /// Downwards.
    pub y: f64,
}

/// When a node runs, where several edges come in.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Join {
    /// On what.
    pub mode: JoinMode,
    /// How many edges, for the mode `n`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// Whether what feeds only this join is cancelled once it runs; for `first` and `n`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancel_rest: bool,
}

impl Join {
    /// Runs in this mode.
    pub fn new(mode: JoinMode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Runs once `n` edges are taken.
    pub fn count(n: u32) -> Self {
        Self { mode: JoinMode::N, n: Some(n), cancel_rest: false }
    }

    /// The same join, cancelling what feeds only it.
    pub fn cancel_rest(self) -> Self {
        Self { cancel_rest: true, ..self }
    }

    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// What a join waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinMode {
    /// All edges are decided and one is taken.
    #[default]
    AnyTaken,
    /// All edges are taken.
    All,
    /// The first edge is taken.
    First,
    /// So many edges are taken.
    N,
}

/// When a failed attempt of a node is tried again.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NodeRetry {
    /// All attempts, the first included.
    pub max_attempts: u32,
    /// The wait before the second attempt, in milliseconds.
    pub initial_ms: u64,
    /// What each wait is multiplied by to get the next.
    pub factor: u32,
    /// The longest wait, in milliseconds.
    pub max_ms: u64,
    /// Whether waits are drawn by chance below their length.
    pub jitter: Jitter,
    /// On which failures; `rate_limited`, `unavailable` and `timeout` where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "codes")]
    pub on: Vec<ErrorCode>,
    /// No attempt begins later than so many seconds after the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_elapsed_s: Option<u64>,
}

fn codes(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    schemars::json_schema!({"type": "array", "items": {"type": "string", "enum": names}})
}

impl Default for NodeRetry {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_ms: 1000,
            factor: 2,
            max_ms: 60_000,
            jitter: Jitter::Full,
            on: Vec::new(),
            max_elapsed_s: None,
        }
    }
}

impl NodeRetry {
    /// Failures that may pass by themselves.
    pub const USUAL: [ErrorCode; 3] = [ErrorCode::RateLimited, ErrorCode::Unavailable, ErrorCode::Timeout];

    /// Failures that no other attempt would change: they are never tried again.
    pub const NEVER: [ErrorCode; 6] = [
        ErrorCode::InvalidInput,
        ErrorCode::ProviderAuth,
        ErrorCode::Unauthenticated,
        ErrorCode::PermissionDenied,
        ErrorCode::BudgetExceeded,
        ErrorCode::Cancelled,
    ];

    /// So many attempts in all.
    pub fn attempts(max_attempts: u32) -> Self {
        Self { max_attempts, ..Self::default() }
    }

    /// The same on just these failures.
    pub fn on(self, codes: impl IntoIterator<Item = ErrorCode>) -> Self {
        Self { on: codes.into_iter().collect(), ..self }
    }

    /// The same with another first wait and no chance in it.
    pub fn every(self, wait_ms: u64) -> Self {
        Self { initial_ms: wait_ms, factor: 1, jitter: Jitter::None, ..self }
    }

    /// Whether such a failure is tried again.
    pub fn covers(&self, code: ErrorCode) -> bool {
        let on: &[ErrorCode] = if self.on.is_empty() { &Self::USUAL } else { &self.on };
        on.contains(&code) && !Self::NEVER.contains(&code)
    }
}

/// Whether a wait is drawn by chance below its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Anywhere from nothing to the whole wait.
    #[default]
    Full,
    /// The whole wait.
    None,
}

/// What a node's failure means, once its retries and fallbacks are over.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The execution fails.
    #[default]
    Fail,
    /// The port `error` is taken.
    Branch,
    /// It goes on with null; the error stays readable.
    Continue,
    /// It goes on with this output.
    Value(Value),
}

impl OnError {
    fn is_fail(&self) -> bool {
        *self == Self::Fail
    }
}

/// Whether the output of a node that works in the world is used again: of an agent, a model, a tool, a
/// request, a subflow or a type of the host. Failures and pins never are, and no user gets another's.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheRule {
    /// For how many seconds.
    pub ttl_s: u64,
    /// A template of what takes the place of the input in the key: outputs of the same settings are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl CacheRule {
    /// Outputs are used again for so many seconds.
    pub fn seconds(ttl_s: u64) -> Self {
        Self { ttl_s, key: None }
    }
}

/// A connection from one node's port to another node.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// For pictures and problems; its place in the list where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The node that it leaves.
    pub from: String,
    /// The port that it leaves by.
    #[serde(default = "Edge::usual_out", skip_serializing_if = "Edge::is_usual_out")]
    pub out: String,
    /// The node that it reaches.
    pub to: String,
    /// The port that it reaches.
    #[serde(default = "Edge::usual_in", rename = "in", skip_serializing_if = "Edge::is_usual_in")]
    pub input: String,
    /// What an import found and the engine does not know.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub x: Map<String, Value>,
}

impl Edge {
    /// What it is made of beside its ends.
    pub(crate) const FIELDS: &'static [&'static str] = &["id", "out", "in"];

    /// From the usual port of one node to another.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        let (out, input) = (Self::usual_out(), Self::usual_in());
        Self { id: None, from: from.into(), out, to: to.into(), input, x: Map::new() }
    }

    /// The same edge from another port.
    pub fn port(self, out: impl Into<String>) -> Self {
        Self { out: out.into(), ..self }
    }

    fn usual_out() -> String {
        "out".to_owned()
    }

    fn usual_in() -> String {
        "in".to_owned()
    }

    fn is_usual_out(port: &String) -> bool {
        port == "out"
    }

    fn is_usual_in(port: &String) -> bool {
        port == "in"
    }
}
