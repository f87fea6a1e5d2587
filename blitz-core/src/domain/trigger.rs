//! What starts workflows beside calls, once it is enabled, and what came of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::{ExecutionId, ResourceId};
use super::time::Timestamp;
use super::workflow::Trigger;
use crate::error::ErrorInfo;

/// A trigger of a workflow that is enabled.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EnabledTrigger {
    /// Its id.
    pub id: i64,
    /// The workflow that it starts.
    pub workflow_id: ResourceId,
    /// What the workflow's definition says of it.
    pub trigger: Trigger,
    /// Whose executions it starts: `root` or `user:7`, who enabled it.
    pub runs_as: String,
    /// When a schedule fires next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// When it was enabled.
    pub created_at: Timestamp,
}

/// What came of a firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FiringStatus {
    /// It started an execution.
    Started,
    /// It waits until the execution before has ended.
    Queued,
    /// The execution before still ran: it was left out.
    Skipped,
    /// It could not start one.
    Failed,
}

impl FiringStatus {
    /// The status as JSON and the database show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Queued => "queued",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Started, Self::Queued, Self::Skipped, Self::Failed].into_iter().find(|status| status.name() == name)
    }
}

/// One firing of a trigger. There is one for each slot, whichever process made it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Firing {
    /// Its id.
    pub id: i64,
    /// The trigger.
    pub trigger_id: i64,
    /// What it stands for: a schedule's moment in microseconds, or the key of a delivery.
    pub slot: String,
    /// When it fired.
    pub at: Timestamp,
    /// Moments of the schedule before this one that nobody was there for: they are not made up for.
    pub missed: u32,
    /// What came of it.
    pub status: FiringStatus,
    /// The execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<ExecutionId>,
    /// What the execution reads as `trigger`.
    pub data: Value,
    /// Why it could not start one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
}
