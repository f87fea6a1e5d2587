//! One run of an agent: its record, its steps and what the user gets at its end.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::{EventData, StepKind};
use super::id::{ExecutionId, ResourceId, UserId};
use super::message::Message;
use super::money::Money;
use super::time::Timestamp;
use super::usage::Usage;
use crate::error::{Error, ErrorInfo, Result};

/// The execution that somebody acts for: what is paid on its behalf counts where its own calls do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnBehalf {
    pub(crate) execution_id: ExecutionId,
    pub(crate) root_id: ExecutionId,
    /// Its agent and those that it is called by, the nearest first.
    pub(crate) agents: Vec<ResourceId>,
    /// The workflow that it is a part of.
    pub(crate) workflow_id: Option<ResourceId>,
}

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Accepted, not begun.
    Pending,
    /// Something runs or is ready to.
    Running,
    /// Nothing runs: see `waiting_for`.
    Waiting,
    /// Ended with an output.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended because someone asked for it.
    Cancelled,
}

impl ExecutionStatus {
    /// Whether it has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The status as JSON and the database show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Running, Self::Waiting, Self::Completed, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

/// What a waiting execution waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Waiting {
    /// A decision about an effect in doubt: `executions.decide` with this key.
    Decision {
        /// The step.
        key: String,
        /// Hash of what is in doubt: this attempt of this step of this execution.
        digest: String,
    },
    /// A moment: a retry's back-off among them.
    Timer {
        /// The step.
        key: String,
        /// When.
        at: Timestamp,
    },
    /// A person's answer: `executions.approve` with this key.
    Approval {
        /// The step.
        key: String,
        /// Hash of the question.
        digest: String,
        /// When it is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    /// A child execution that itself waits.
    Child {
        /// The step.
        key: String,
        /// The child.
        execution_id: ExecutionId,
    },
}

/// A stored execution.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Execution {
    /// Its id.
    pub id: ExecutionId,
    /// The execution at the top of the tree: itself where nobody called it.
    pub root_id: ExecutionId,
    /// The execution that called it.
    pub parent_id: Option<ExecutionId>,
    /// The agent it runs, where it runs one.
    pub agent_id: Option<ResourceId>,
    /// The workflow it runs, or is a question of.
    pub workflow_id: Option<ResourceId>,
    /// The name of the agent or workflow.
    pub name: String,
    /// Whose it is; absent for the host's own.
    pub user_id: Option<UserId>,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// What it waits for; what people and deciders are asked also while something else runs.
    pub waiting_for: Vec<Waiting>,
    /// Whether its cancellation was asked for.
    pub cancel_requested: bool,
    /// Whether the process that ran it is gone: `recover()` goes on with it.
    pub interrupted: bool,
    /// How often it was taken up again after an interruption.
    pub resume_attempts: u32,
    /// What it was given.
    pub input: Value,
    /// What came out, once completed.
    pub output: Value,
    /// Why it failed.
    pub error: Option<ErrorInfo>,
    /// What it and its children used, once it has ended; the costs of one that runs are in `costs`.
    pub usage: Usage,
    /// What that cost, once it has ended; `None` where a price is unknown.
    pub cost: Option<Money>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// One step of an execution, read from its journal.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Step {
    /// Its place in the root's journal.
    pub seq: i64,
    /// The execution it belongs to.
    pub execution_id: ExecutionId,
    /// Its path, such as `1/model` or `1/tool/0`.
    pub path: String,
    /// What it did.
    pub kind: StepKind,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The record.
    pub data: EventData,
}

impl Step {
    pub(crate) fn new(
        seq: i64,
        execution_id: ExecutionId,
        path: String,
        kind: StepKind,
        finished_at: Timestamp,
        data: EventData,
    ) -> Self {
        Self { seq, execution_id, path, kind, finished_at, data }
    }
}

/// What a user gets at the end of an execution.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Outcome {
    /// The execution.
    pub execution_id: ExecutionId,
    /// How it ended.
    pub status: ExecutionStatus,
    /// What came out: text, or JSON where the agent has an output schema.
    pub output: Value,
    /// Why it failed; partial messages and usage are here all the same.
    pub error: Option<ErrorInfo>,
    /// The conversation, as far as it went.
    pub messages: Vec<Message>,
    /// What it and its children used.
    pub usage: Usage,
    /// What that cost; `None` where a price is unknown.
    pub cost: Option<Money>,
    /// How many steps finished: model calls, tool calls, children, nodes.
    pub steps: u32,
    /// Failures of nodes that a workflow went on from.
    #[serde(default, skip_serializing_if = "super::event::is_zero")]
    pub handled_errors: u32,
}

impl Outcome {
    pub(crate) fn of(
        execution_id: ExecutionId,
        finished: super::event::Finished,
        messages: Vec<Message>,
        steps: u32,
    ) -> Self {
        let super::event::Finished { status, output, error, usage, cost, handled_errors, .. } = finished;
        Self { execution_id, status, output, error, messages, usage, cost, steps, handled_errors }
    }

    /// The output as text: a string as it is, all else as JSON.
    pub fn text(&self) -> String {
        match &self.output {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// The output read into a type. Errors: `BadOutput` where it does not fit.
    pub fn output_as<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.output.clone())
            .map_err(|error| Error::bad_output("the output does not fit the type that is asked for").with_source(error))
    }
}

/// Everything an execution is pinned to; stored by hash, never changed.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionPlan {
    /// Version of this form.
    pub schema: u32,
    /// The agent.
    pub agent: super::catalog::AgentRecord,
    /// Its model.
    pub model: super::catalog::ModelRecord,
    /// The prompt version in use.
    pub prompt: Option<super::catalog::PromptVersion>,
    /// The tools it may call, in the order they are offered.
    pub tools: Vec<super::catalog::ToolRecord>,
    /// The agents it may call as tools, each with all it is pinned to.
    pub agents: Vec<ExecutionPlan>,
    /// The price that was listed for its model, where the record has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_price: Option<super::price::Price>,
    /// By which name that price was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<super::ledger::PriceListing>,
    /// The models that it falls back to, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<PlannedModel>,
    /// The models that budgets name to be asked instead of a dearer one, behind those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downgrades: Vec<PlannedModel>,
}

/// Everything an execution of a workflow is pinned to; stored by hash, never changed.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowPlan {
    /// Version of this form.
    pub schema: u32,
    /// The workflow.
    pub id: ResourceId,
    /// Its published version; `None` for a draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// What it says.
    #[serde(rename = "workflow")]
    pub definition: super::workflow::WorkflowDefinition,
    /// What runs its nodes, by their ids: their own settings', then their fallbacks'.
    pub parts: std::collections::BTreeMap<String, Vec<PlannedPart>>,
}

/// What runs one node of a pinned workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedPart {
    /// An agent or workflow, by the hash of what that is pinned to.
    Run(String),
    /// A tool.
    Tool(Box<super::catalog::ToolRecord>),
    /// A function of the host, by its type.
    Host(String),
    /// The engine's own HTTP client.
    Http,
}

impl WorkflowPlan {
    pub(crate) const SCHEMA: u32 = 1;

    pub(crate) fn new(
        id: ResourceId,
        version: Option<u32>,
        definition: super::workflow::WorkflowDefinition,
        parts: std::collections::BTreeMap<String, Vec<PlannedPart>>,
    ) -> Self {
        Self { schema: Self::SCHEMA, id, version, definition, parts }
    }
}

/// A model that an execution is pinned to.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedModel {
    /// The model.
    pub model: super::catalog::ModelRecord,
    /// The price that was listed for it, where the record has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_price: Option<super::price::Price>,
    /// By which name that price was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<super::ledger::PriceListing>,
}

impl PlannedModel {
    pub(crate) fn new(
        model: super::catalog::ModelRecord,
        (listed_price, listing): (Option<super::price::Price>, Option<super::ledger::PriceListing>),
    ) -> Self {
        Self { model, listed_price, listing }
    }
}

impl ExecutionPlan {
    pub(crate) const SCHEMA: u32 = 1;

    pub(crate) fn new(
        agent: super::catalog::AgentRecord,
        model: super::catalog::ModelRecord,
        prompt: Option<super::catalog::PromptVersion>,
        tools: Vec<super::catalog::ToolRecord>,
        agents: Vec<ExecutionPlan>,
    ) -> Self {
        Self {
            schema: Self::SCHEMA,
            agent,
            model,
            prompt,
            tools,
            agents,
            listed_price: None,
            listing: None,
            fallbacks: Vec::new(),
            downgrades: Vec::new(),
        }
    }

    /// The plan of an agent, this one's or one that it may call.
    pub(crate) fn of_agent(self, id: ResourceId) -> Option<ExecutionPlan> {
        if self.agent.id == id {
            return Some(self);
        }
        self.agents.into_iter().find_map(|plan| plan.of_agent(id))
    }
}
