//! What happens to the nodes of a workflow: the values of `node.*`, `edge.*`, `item.*`, `var.set` and
//! `approval.*`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::EventData;
use super::id::ExecutionId;
use super::money::Money;
use super::time::Timestamp;
use super::tool::Effect;
use super::usage::Usage;
use crate::error::ErrorInfo;

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeStatus {
    /// Ready; its turn has not come.
    Pending,
    /// It runs.
    Running,
    /// It waits: for a time, an answer, a decision or a child that waits.
    Waiting,
    /// It ended with an output.
    Completed,
    /// It ended with an error.
    Failed,
    /// It was stopped.
    Cancelled,
    /// No taken edge leads to it, or its condition does not hold.
    Skipped,
    /// The execution ended before it could run, or nothing leads to it.
    NotRun,
    /// It ended with the output of an earlier run of the same work.
    Cached,
    /// It ended with the output that its definition pins.
    Pinned,
}

impl NodeStatus {
    /// The status as JSON shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::NotRun => "not_run",
            Self::Cached => "cached",
            Self::Pinned => "pinned",
        }
    }
}

/// The values of `node.started`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NodeStarted {
    /// The node.
    pub node: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// What happens to the world, where it is an effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// The same for every attempt, and for no other effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The child execution, where it runs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_id: Option<ExecutionId>,
    /// What it was given, unless it is large; the items of a map.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// Where a large input is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_ref: Option<OutputRef>,
    /// How many items a map has, or how many rounds a loop may make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
}

/// The values of `node.finished`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NodeFinished {
    /// The node.
    pub node: String,
    /// How it ended.
    pub status: NodeStatus,
    /// The attempt that ended it, from 1; 0 where none was made.
    pub attempt: u32,
    /// The execution whose end of the node was taken over, in one that runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<ExecutionId>,
    /// The port it left by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// What came out, unless it is large.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Where a large output is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_ref: Option<OutputRef>,
    /// Why it failed, also where that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// What was written to the variables inside of a container that was taken over: names and values, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<(String, Value)>,
    /// What all its attempts used.
    #[serde(default, skip_serializing_if = "is_unused")]
    pub usage: Usage,
    /// What they cost; absent where a price is unknown, and where nothing was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// From its start to its end, in milliseconds.
    #[serde(default)]
    pub ms: u64,
    /// How much of the workflow's known work is decided, in hundredths of a percent; it never falls.
    #[serde(default)]
    pub progress: u32,
}

fn is_unused(usage: &Usage) -> bool {
    *usage == Usage::default()
}

impl EventData {
    /// The same record, with how far its workflow has come where it is a node's end.
    pub(crate) fn with_progress(mut self, progress: u32) -> Self {
        if let Self::NodeFinished(finished) = &mut self {
            finished.progress = progress;
        }
        self
    }
}

impl NodeFinished {
    /// Whether the error was its last word: nothing of the node handles it.
    pub(crate) fn is_fatal(&self) -> bool {
        self.status == NodeStatus::Failed && self.port.is_none()
    }
}

/// A large output, kept by the hash of its JSON.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OutputRef {
    /// Its hash; `executions.output` gives the whole.
    #[serde(rename = "ref")]
    pub hash: String,
    /// The bytes of its JSON.
    pub bytes: u64,
    /// Its beginning.
    pub preview: String,
}

/// Which edge: the values of `edge.taken` and `edge.skipped`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EdgeAt {
    /// The node it leaves.
    pub from: String,
    /// By which port.
    pub out: String,
    /// The node it leads to.
    pub to: String,
    /// To which port.
    #[serde(rename = "in")]
    pub input: String,
}

/// The values of `item.finished`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ItemFinished {
    /// The map or loop.
    pub node: String,
    /// Which item or round, from 0.
    pub index: u64,
    /// How it ended.
    pub status: NodeStatus,
    /// What came out, unless it is large.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Where a large output is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_ref: Option<OutputRef>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// The variables that a round leaves for the next.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub vars: serde_json::Map<String, Value>,
    /// Where these are, when they are large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vars_ref: Option<OutputRef>,
    /// Whether a loop's condition is met.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
    /// How much of the workflow's known work is decided, in hundredths of a percent; it never falls.
    #[serde(default)]
    pub progress: u32,
}

/// The values of `node.retrying`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NodeRetrying {
    /// The node.
    pub node: String,
    /// The attempt that failed, from 1.
    pub attempt: u32,
    /// Why.
    pub error: ErrorInfo,
    /// When the next one starts.
    pub at: Timestamp,
    /// What the failed attempt used.
    #[serde(default, skip_serializing_if = "is_unused")]
    pub usage: Usage,
    /// What it cost, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// Which of the node's fallback configurations makes the next attempt, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<u32>,
}

/// The values of `node.waiting`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NodeWaiting {
    /// The node.
    pub node: String,
    /// Until when, at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The values of `approval.requested`: a question that people answer.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ApprovalRequested {
    /// The node.
    pub node: String,
    /// What the answer is given to: `executions.approve` with this key.
    pub key: String,
    /// What is asked.
    pub message: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// The answers that may be given; each is a port of the node.
    pub options: Vec<String>,
    /// JSON Schema of what an answer may bring with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Value>,
    /// Hash of the question: an answer that names it answers this question and no other.
    pub digest: String,
    /// When it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// The values of `approval.answered`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ApprovalAnswered {
    /// The node.
    pub node: String,
    /// The key of the approval.
    pub key: String,
    /// What was answered.
    pub answer: Answer,
    /// By whom: `root` or `user:7`.
    pub by: String,
}

/// An answer to an approval.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// One of the approval's options: `approved` or `rejected` where it names none of its own.
    pub option: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// What the answer brings with it; the node's output holds it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// The question's digest, where the answer must be to that very question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Answer {
    /// One of the approval's options.
    pub fn new(option: impl Into<String>) -> Self {
        Self { option: option.into(), comment: String::new(), value: Value::Null, digest: None }
    }

    /// Yes.
    pub fn approve() -> Self {
        Self::new("approved")
    }

    /// No.
    pub fn reject() -> Self {
        Self::new("rejected")
    }

    /// Says why.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = comment.into();
        self
    }

    /// Brings a value with it.
    #[must_use]
    pub fn value(mut self, value: Value) -> Self {
        self.value = value;
        self
    }

    /// Answers this very question only.
    #[must_use]
    pub fn digest(mut self, digest: impl Into<String>) -> Self {
        self.digest = Some(digest.into());
        self
    }
}

macro_rules! constructors {
    ($($name:ident { $($field:ident: $type:ty),* $(; $($rest:ident = $value:expr),*)? })*) => {$(
        impl $name {
            #[allow(clippy::too_many_arguments, reason = "one argument a field of a plain record")]
            pub(crate) fn new($($field: $type),*) -> Self { Self { $($field,)* $($($rest: $value),*)? } }
        }
    )*};
}

constructors! {
    NodeStarted { node: String, attempt: u32; effect = None, idempotency_key = None, child_id = None, input = Value::Null, input_ref = None, items = None }
    NodeFinished { node: String, status: NodeStatus, attempt: u32; reused_from = None, port = None, output = Value::Null, output_ref = None, error = None, writes = Vec::new(), usage = Usage::default(), cost = None, ms = 0, progress = 0 }
    OutputRef { hash: String, bytes: u64, preview: String }
    ItemFinished { node: String, index: u64, status: NodeStatus; output = Value::Null, output_ref = None, error = None, vars = serde_json::Map::new(), vars_ref = None, last = false, progress = 0 }
    NodeRetrying { node: String, attempt: u32, error: ErrorInfo, at: Timestamp; usage = Usage::default(), cost = None, fallback = None }
    NodeWaiting { node: String, until: Option<Timestamp> }
    ApprovalRequested { node: String, key: String, message: String, data: Value, options: Vec<String>, form: Option<Value>, digest: String, expires_at: Option<Timestamp> }
    ApprovalAnswered { node: String, key: String, answer: Answer, by: String }
}

impl EdgeAt {
    pub(crate) fn new(from: &str, out: &str, to: &str, input: &str) -> Self {
        Self { from: from.to_owned(), out: out.to_owned(), to: to.to_owned(), input: input.to_owned() }
    }
}

/// How one node of an execution stands: for tables, timelines and overlays.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NodeState {
    /// The node.
    pub node: String,
    /// The containers it is in, with item or round: `review/3`; empty at the top.
    pub path: String,
    /// How it stands.
    pub status: NodeStatus,
    /// How many attempts were begun.
    pub attempts: u32,
    /// When the first began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The port it left by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// What the last attempt was given.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// What came out, unless it is large.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Where a large output is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_ref: Option<OutputRef>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// The child execution of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_id: Option<ExecutionId>,
    /// What all attempts used.
    pub usage: Usage,
    /// What they cost; `None` where a price is unknown.
    pub cost: Option<Money>,
    /// Items of a map or rounds of a loop: how many there are, and how many have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemCount>,
}

/// Items of a map or rounds of a loop.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ItemCount {
    /// Items of the map; rounds that the loop may make.
    pub total: u64,
    /// That have ended, however they did.
    pub finished: u64,
    /// That have failed.
    pub failed: u64,
}

impl NodeState {
    /// A node of which nothing is known yet.
    pub(crate) fn new(node: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            path: path.into(),
            status: NodeStatus::Pending,
            attempts: 0,
            started_at: None,
            finished_at: None,
            port: None,
            input: Value::Null,
            output: Value::Null,
            output_ref: None,
            error: None,
            child_id: None,
            usage: Usage::default(),
            cost: Some(Money::ZERO),
            items: None,
        }
    }
}
