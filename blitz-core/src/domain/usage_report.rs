//! Questions about usage over time, and their answers.

use serde::{Deserialize, Serialize};

use super::id::{ResourceId, UserId};
use super::money::Money;
use super::time::Timestamp;

/// What usage is told apart by.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageBy {
    /// By user.
    User,
    /// By the role that the user had.
    Role,
    /// By API key.
    Key,
    /// By model.
    Model,
    /// By provider.
    Provider,
    /// By agent.
    Agent,
    /// By workflow.
    Workflow,
    /// By prompt version.
    Prompt,
    /// By all the tags that an execution carries together.
    Tags,
}

/// How long the spans of time are that usage is told for.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageStep {
    /// Hours.
    Hour,
    /// Days of the calendar.
    Day,
    /// Weeks of the calendar, from Monday.
    Week,
    /// Months of the calendar.
    Month,
}

/// A question about usage: over which calls, told apart by what.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UsageQuery {
    /// What rows are told apart by.
    pub by: Vec<UsageBy>,
    /// How long a row's span of time is; all of it where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<UsageStep>,
    /// Whose calendar days, weeks and months are, `Europe/Berlin`; UTC where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// From the hour of this moment on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Until the end of the hour before this moment's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// One user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Of those with a role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// By one API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<i64>,
    /// One model's, by its catalogue name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// One provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// One agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<ResourceId>,
    /// One workflow's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<ResourceId>,
    /// One prompt version's, `name@version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What carries a tag, `team=blue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

impl UsageQuery {
    /// All usage, told apart by these.
    pub fn by(by: impl IntoIterator<Item = UsageBy>) -> Self {
        Self { by: by.into_iter().collect(), ..Self::default() }
    }

    /// The same question over spans of time.
    pub fn every(self, step: UsageStep) -> Self {
        Self { every: Some(step), ..self }
    }

    /// The same question from one moment on and before another, in whole hours around both.
    pub fn between(self, from: Timestamp, to: Timestamp) -> Self {
        Self { from: Some(from), to: Some(to), ..self }
    }

    /// The same question about one tag, `team=blue`.
    pub fn tagged(self, tag: impl Into<String>) -> Self {
        Self { tag: Some(tag.into()), ..self }
    }
}

/// One row of usage: what it is of, and its sums.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct UsageRow {
    /// When its span of time begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Which user; absent for the host itself too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Which role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Which API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<i64>,
    /// Which model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Which provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Which agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<ResourceId>,
    /// The agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Which workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<ResourceId>,
    /// Which prompt version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Which tags, `team=blue,tier=free`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// What was booked, as far as prices are known.
    pub cost: Money,
    /// Attempts whose price is unknown: their cost is in no sum.
    pub unpriced: u64,
    /// Model calls; several attempts at one are one.
    pub calls: u64,
    /// Attempts, those that were not charged too.
    pub attempts: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Input tokens, cached ones included.
    pub input_tokens: i64,
    /// Output tokens, reasoning included.
    pub output_tokens: i64,
    /// Input tokens read from a cache.
    pub cache_read_tokens: i64,
    /// Input tokens written to a cache.
    pub cache_write_tokens: i64,
    /// Reasoning tokens.
    pub reasoning_tokens: i64,
    /// The mean time of an attempt that did not fail, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// The longest time of an attempt that did not fail, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency_us: Option<u64>,
}

/// The answer to a question about usage.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UsageReport {
    /// The first moment that is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// The first moment behind what is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// In order of time, then of what they are told apart by.
    pub rows: Vec<UsageRow>,
    /// The sums over all rows.
    pub total: UsageRow,
}

/// In which form something is exported.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// Comma-separated values with a head, RFC 4180; a text that a spreadsheet would run is quoted by `'`.
    #[default]
    Csv,
    /// A JSON object a line.
    Jsonl,
}
