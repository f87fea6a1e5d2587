//! The one stream of everything that happens: an [`Event`] is a journal record and what readers see.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::budget::Amount;
use super::execution::{ExecutionStatus, Waiting};
use super::id::{BudgetId, ExecutionId};
use super::message::{Message, ToolCall, ToolResult};
use super::model::{Delta, ModelResponse};
use super::money::Money;
use super::node::{
    ApprovalAnswered, ApprovalRequested, EdgeAt, ItemFinished, NodeFinished, NodeRetrying, NodeStarted, NodeWaiting,
    OutputRef,
};
use super::time::Timestamp;
use super::tool::Effect;
use super::usage::Usage;
use super::workflow::MergeRule;
use crate::error::ErrorInfo;

/// Something that happened in an execution or one of its children.
///
/// State events are journal records: they have a `seq` of their own and can be read again from any
/// place. [`EventData::ModelDelta`] and [`EventData::ModelReset`] are live only: they carry the
/// `seq` of the record before them, and may be merged or dropped for a slow reader.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Event {
    /// Counts the state events of the root execution from 1.
    pub seq: i64,
    /// When.
    pub ts: Timestamp,
    /// The execution it happened in: the root or one of its children.
    pub execution_id: ExecutionId,
    /// The step it belongs to, such as `2/tool/0`; empty for the execution itself.
    #[serde(default)]
    pub path: String,
    /// What happened.
    #[serde(flatten)]
    pub data: EventData,
}

/// What happened: `type` names it, `data` holds its values.
#[allow(clippy::large_enum_variant, reason = "a record is made once and handed on, never kept in bulk")]
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum EventData {
    /// It was accepted and will run.
    #[serde(rename = "execution.queued")]
    ExecutionQueued(Queued),
    /// It began.
    #[serde(rename = "execution.started")]
    ExecutionStarted {
        /// The epoch of its owner, from 1; each resume counts one up.
        epoch: i64,
    },
    /// Nothing runs: it waits for what is named.
    #[serde(rename = "execution.waiting")]
    ExecutionWaiting {
        /// What it waits for.
        waiting_for: Vec<Waiting>,
    },
    /// It goes on: after a restart, or after a decision.
    #[serde(rename = "execution.resumed")]
    ExecutionResumed {
        /// The epoch of its owner.
        epoch: i64,
    },
    /// Its failed and cancelled parts run again; what had ended well is kept.
    #[serde(rename = "execution.redriven")]
    ExecutionRedriven {
        /// The epoch of its owner.
        epoch: i64,
        /// The nodes whose child executions go on too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        children: Vec<String>,
        /// Who asked: `root` or `user:7`.
        by: String,
    },
    /// Its cancellation was asked for.
    #[serde(rename = "execution.cancelling")]
    ExecutionCancelling,
    /// It ended; the root's is the last event of its stream, until it is redriven.
    #[serde(rename = "execution.finished")]
    ExecutionFinished(Finished),
    /// A model call or child execution was sent, its money is reserved.
    #[serde(rename = "step.started")]
    StepStarted(StepStarted),
    /// A model call or child execution ended.
    #[serde(rename = "step.finished")]
    StepFinished(StepFinished),
    /// An attempt failed and will be made again.
    #[serde(rename = "step.retrying")]
    StepRetrying {
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Why.
        error: ErrorInfo,
        /// When the next one starts.
        at: Timestamp,
        /// What the failed attempt cost, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Money>,
        /// What the failed attempt used.
        #[serde(default)]
        usage: Usage,
        /// The model that makes the next attempt, where it is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fallback: Option<FallbackTo>,
    },
    /// A tool is called.
    #[serde(rename = "tool.started")]
    ToolStarted(ToolStarted),
    /// A tool answered or failed; either way the model is told.
    #[serde(rename = "tool.finished")]
    ToolFinished {
        /// Which attempt, from 1; a tool runs again only after a crash or by a decision.
        attempt: u32,
        /// What it gave.
        result: ToolResult,
    },
    /// Someone decided what an open wait becomes.
    #[serde(rename = "decision.made")]
    DecisionMade {
        /// What was decided.
        decision: Decision,
        /// By whom: `root` or `user:7`.
        by: String,
        /// Hash of what was in doubt: the record counts for that attempt of that step alone.
        digest: String,
    },
    /// A node of a workflow began an attempt, or a container opened.
    #[serde(rename = "node.started")]
    NodeStarted(NodeStarted),
    /// An attempt of a node failed, and another follows.
    #[serde(rename = "node.retrying")]
    NodeRetrying(NodeRetrying),
    /// A node waits.
    #[serde(rename = "node.waiting")]
    NodeWaiting(NodeWaiting),
    /// The time of a container is over: what runs in it is ended.
    #[serde(rename = "node.expired")]
    NodeExpired {
        /// The map, loop or parallel.
        node: String,
    },
    /// A node ended, however it did.
    #[serde(rename = "node.finished")]
    NodeFinished(NodeFinished),
    /// The way that an execution went on by.
    #[serde(rename = "edge.taken")]
    EdgeTaken(EdgeAt),
    /// A way that it did not take.
    #[serde(rename = "edge.skipped")]
    EdgeSkipped(EdgeAt),
    /// An item of a map or a round of a loop began.
    #[serde(rename = "item.started")]
    ItemStarted {
        /// The map or loop.
        node: String,
        /// Which item or round, from 0.
        index: u64,
    },
    /// An item of a map or a round of a loop ended.
    #[serde(rename = "item.finished")]
    ItemFinished(ItemFinished),
    /// A variable of a workflow has a new value. Where that is large and came of a write by a merge rule, the record
    /// holds the write and the rule: a reader who keeps the variables merges it into what it knows.
    #[serde(rename = "var.set")]
    VarSet {
        /// Its name.
        name: String,
        /// What it holds now; where there is a `rule`, what was written.
        #[serde(default)]
        value: Value,
        /// How `value` was merged into what was there: `append`, `add` or `merge_keys`. Absent where `value` is all that
        /// it holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<MergeRule>,
        /// Where a large `value` is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value_ref: Option<OutputRef>,
    },
    /// Somebody is asked.
    #[serde(rename = "approval.requested")]
    ApprovalRequested(ApprovalRequested),
    /// Somebody answered.
    #[serde(rename = "approval.answered")]
    ApprovalAnswered(ApprovalAnswered),
    /// A budget crossed a threshold.
    #[serde(rename = "budget.alert")]
    BudgetAlert {
        /// Which budget.
        budget_id: BudgetId,
        /// Its name.
        budget: String,
        /// Percent of the limit that was crossed.
        threshold: u32,
        /// What is booked.
        posted: Amount,
        /// The limit.
        limit: Amount,
    },
    /// A piece of a model's answer, live.
    #[serde(rename = "model.delta")]
    ModelDelta {
        /// Which attempt of the step, from 1.
        attempt: u32,
        /// Counts the pieces of this attempt from 0.
        index: u64,
        /// The piece.
        delta: Delta,
    },
    /// The output of an agent with an output schema as far as its answer goes, live: whole JSON that
    /// fits the schema but for what is still missing. The output itself comes with `execution.finished`.
    #[serde(rename = "model.partial")]
    ModelPartial {
        /// Which attempt of the step, from 1.
        attempt: u32,
        /// The output so far; each one holds all of those before it.
        output: Value,
    },
    /// What a node says of itself while it runs; live only.
    #[serde(rename = "node.log")]
    NodeLog {
        /// The node.
        node: String,
        /// Which attempt, from 1.
        attempt: u32,
        /// What it says.
        message: Value,
    },
    /// The attempt failed after it showed text: drop what was shown.
    #[serde(rename = "model.reset")]
    ModelReset {
        /// The attempt whose text is void.
        attempt: u32,
    },
}

impl EventData {
    /// The name of the type, as in JSON.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::ExecutionQueued(_) => "execution.queued",
            Self::ExecutionStarted { .. } => "execution.started",
            Self::ExecutionWaiting { .. } => "execution.waiting",
            Self::ExecutionResumed { .. } => "execution.resumed",
            Self::ExecutionRedriven { .. } => "execution.redriven",
            Self::ExecutionCancelling => "execution.cancelling",
            Self::ExecutionFinished(_) => "execution.finished",
            Self::StepStarted(_) => "step.started",
            Self::StepFinished(_) => "step.finished",
            Self::StepRetrying { .. } => "step.retrying",
            Self::ToolStarted(_) => "tool.started",
            Self::ToolFinished { .. } => "tool.finished",
            Self::DecisionMade { .. } => "decision.made",
            Self::NodeStarted(_) => "node.started",
            Self::NodeLog { .. } => "node.log",
            Self::NodeRetrying(_) => "node.retrying",
            Self::NodeWaiting(_) => "node.waiting",
            Self::NodeExpired { .. } => "node.expired",
            Self::NodeFinished(_) => "node.finished",
            Self::EdgeTaken(_) => "edge.taken",
            Self::EdgeSkipped(_) => "edge.skipped",
            Self::ItemStarted { .. } => "item.started",
            Self::ItemFinished(_) => "item.finished",
            Self::VarSet { .. } => "var.set",
            Self::ApprovalRequested(_) => "approval.requested",
            Self::ApprovalAnswered(_) => "approval.answered",
            Self::BudgetAlert { .. } => "budget.alert",
            Self::ModelDelta { .. } => "model.delta",
            Self::ModelPartial { .. } => "model.partial",
            Self::ModelReset { .. } => "model.reset",
        }
    }
}

/// The values of `execution.queued`: all that the machine starts from.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Queued {
    /// The agent's catalogue name.
    pub name: String,
    /// What it was given, unless it is large.
    #[serde(default)]
    pub input: Value,
    /// Where a large input is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_ref: Option<OutputRef>,
    /// Hash of the pinned definition.
    pub definition_hash: String,
    /// Seed of everything that looks random inside.
    pub seed: u64,
    /// The execution that called it, where it is a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<ExecutionId>,
    /// Its share of the tokens that its parent has left, where the parent has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The messages it begins with, where a workflow asks a model itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// Names of the secrets that its tools may be handed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// What started it, beside a call.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub trigger: Value,
    /// Where a large trigger is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_ref: Option<OutputRef>,
    /// The execution that this one runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<ExecutionId>,
    /// How deep the executions above it let agents call agents, where it is a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<u32>,
}

/// The values of `execution.finished`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Finished {
    /// How it ended.
    pub status: ExecutionStatus,
    /// What came out, when completed, unless it is large.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Where a large output is, in the event; the outcome has it whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_ref: Option<OutputRef>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// What it and its children used.
    pub usage: Usage,
    /// What that cost; `None` where a price is unknown.
    pub cost: Option<Money>,
    /// Failures of nodes that a workflow went on from.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub handled_errors: u32,
}

pub(crate) fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The values of `step.started`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StepStarted {
    /// What kind of step.
    pub kind: StepKind,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The model's or agent's catalogue name.
    pub name: String,
    /// What is held for it; `None` where the price is unknown or it is no model call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Money>,
    /// The child execution, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_id: Option<ExecutionId>,
    /// The call it answers, where a model asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<ToolCall>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// It asks a model.
    Model,
    /// It runs a tool.
    Tool,
    /// It runs another agent.
    Child,
}

/// The values of `step.finished`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StepFinished {
    /// What kind of step.
    pub kind: StepKind,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The catalogue name of the model that answered, where it is not the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model's answer, where it is a model call that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Arc<ModelResponse>>,
    /// What a child gave, as its caller's model is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ToolResult>,
    /// Why it failed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// What this attempt used; a child's usage is in its own steps.
    #[serde(default)]
    pub usage: Usage,
    /// What that cost; `None` where the price is unknown.
    #[serde(default)]
    pub cost: Option<Money>,
}

/// The model that an execution falls back to.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FallbackTo {
    /// Its catalogue name.
    pub model: String,
    /// Its place in the agent's `fallback.models`, from 1.
    pub place: u32,
}

/// The values of `tool.started`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolStarted {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The call.
    pub call: ToolCall,
    /// What happens to the world.
    pub effect: Effect,
    /// The same for every attempt of this call, and for no other call.
    pub idempotency_key: String,
}

/// What becomes of an unsafe effect whose end is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Decision {
    /// Run it again: the caller knows that it did not happen, or that twice does no harm.
    Rerun,
    /// Go on with this result: the caller knows that it happened.
    Skip {
        /// What the tool gave.
        value: Value,
    },
    /// Tell the model that it failed.
    Fail {
        /// Why.
        message: String,
    },
}

impl Decision {
    /// The word JSON uses.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Rerun => "rerun",
            Self::Skip { .. } => "skip",
            Self::Fail { .. } => "fail",
        }
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
    Event { seq: i64, ts: Timestamp, execution_id: ExecutionId, path: String, data: EventData }
    Queued { name: String, input: Value, definition_hash: String, seed: u64, parent_id: Option<ExecutionId>, max_tokens: Option<u64>, max_depth: Option<u32>; input_ref = None, messages = Vec::new(), secrets = Vec::new(), trigger = Value::Null, trigger_ref = None, rerun_of = None }
    Finished { status: ExecutionStatus, output: Value, error: Option<ErrorInfo>, usage: Usage, cost: Option<Money>; output_ref = None, handled_errors = 0 }
    ToolStarted { attempt: u32, call: ToolCall, effect: Effect, idempotency_key: String }
    StepStarted { kind: StepKind, attempt: u32, name: String; reserved = None, child_id = None, call = None }
    FallbackTo { model: String, place: u32 }
    StepFinished { kind: StepKind, attempt: u32; model = None, response = None, result = None, error = None, usage = Usage::default(), cost = None }
}
