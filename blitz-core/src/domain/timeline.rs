//! What ran when, for charts: nodes and steps of an execution and its children.

use serde::{Deserialize, Serialize};

use super::id::ExecutionId;
use super::money::Money;
use super::node::NodeStatus;
use super::time::Timestamp;
use super::usage::Usage;
use crate::error::ErrorCode;

/// A node of a workflow or a step of an agent, on the timeline of its root.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TimelineEntry {
    /// The execution that it is a part of.
    pub execution_id: ExecutionId,
    /// The containers that a node is in, with item or round; empty for steps and at the top.
    pub path: String,
    /// The node's id, or the path of the step, such as `1/model`.
    pub name: String,
    /// How it stands.
    pub status: NodeStatus,
    /// When its first attempt began; absent where none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Its attempts, in order.
    pub attempts: Vec<TimelineAttempt>,
    /// The child execution of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_id: Option<ExecutionId>,
    /// What all attempts used; of a container, what is in it used.
    pub usage: Usage,
    /// What they cost; `None` where a price is unknown.
    pub cost: Option<Money>,
}

/// One attempt.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TimelineAttempt {
    /// Which, from 1.
    pub attempt: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; absent while it runs, and where its process ended in the middle of it (`interrupted`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub error: Option<ErrorCode>,
}

impl TimelineEntry {
    pub(crate) fn new(execution_id: ExecutionId, path: String, name: String) -> Self {
        Self {
            execution_id,
            path,
            name,
            status: NodeStatus::Pending,
            started_at: None,
            finished_at: None,
            attempts: Vec::new(),
            child_id: None,
            usage: Usage::default(),
            cost: Some(Money::ZERO),
        }
    }

    pub(crate) fn begins(&mut self, attempt: u32, at: Timestamp) {
        self.status = NodeStatus::Running;
        self.started_at.get_or_insert(at);
        self.finished_at = None;
        // Nobody saw the end of the one before: its process was gone.
        if let Some(before) = self.attempts.last_mut().filter(|before| before.finished_at.is_none()) {
            before.error = Some(ErrorCode::Interrupted);
        }
        self.attempts.push(TimelineAttempt { attempt, started_at: at, finished_at: None, error: None });
    }

    pub(crate) fn ends(&mut self, at: Timestamp, error: Option<ErrorCode>) {
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.finished_at.is_none()) {
            (attempt.finished_at, attempt.error) = (Some(at), error);
        }
    }
}
