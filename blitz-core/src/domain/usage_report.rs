//! Questions about usage over time, and their answers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::id::{ResourceId, UserId};
use super::money::Money;
use super::time::Timestamp;

/// What usage is told apart by.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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
    /// By one tag, of this key: in JSON `tag:team`. What carries none of it is a row of its own.
    Tag(String),
}

/// What usage is told apart by, and the words of JSON.
const WORDS: [(UsageBy, &str); 9] = [
    (UsageBy::User, "user"),
    (UsageBy::Role, "role"),
    (UsageBy::Key, "key"),
    (UsageBy::Model, "model"),
    (UsageBy::Provider, "provider"),
    (UsageBy::Agent, "agent"),
    (UsageBy::Workflow, "workflow"),
    (UsageBy::Prompt, "prompt"),
    (UsageBy::Tags, "tags"),
];

/// What stands before the key of a tag.
const TAG: &str = "tag:";

impl From<UsageBy> for String {
    fn from(by: UsageBy) -> Self {
        match by {
            UsageBy::Tag(key) => format!("{TAG}{key}"),
            by => WORDS.iter().find(|(known, _)| *known == by).map_or("", |(_, word)| *word).to_owned(),
        }
    }
}

impl TryFrom<String> for UsageBy {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        if let Some(key) = word.strip_prefix(TAG).filter(|key| !key.is_empty()) {
            return Ok(Self::Tag(key.to_owned()));
        }
        let known = WORDS.iter().find(|(_, known)| *known == word).map(|(by, _)| by.clone());
        known.ok_or_else(|| {
            let words: Vec<&str> = WORDS.iter().map(|(_, word)| *word).collect();
            format!("usage is told apart by {} or tag:<key>", words.join(", "))
        })
    }
}

impl schemars::JsonSchema for UsageBy {
    fn schema_name() -> Cow<'static, str> {
        "UsageBy".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let words = WORDS.map(|(_, word)| word);
        schemars::json_schema!({
            "description": "What usage is told apart by; `tag:` and a key for one tag.",
            "anyOf": [{"type": "string", "enum": words}, {"type": "string", "pattern": "^tag:.+$"}],
        })
    }
}

/// How long the spans of time are that usage is told for.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageStep {
    /// Hours of the clock.
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
    /// Whose hours, days, weeks and months are, `Europe/Berlin`; UTC where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// From the quarter of an hour of this moment on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Until the end of the quarter of an hour that this moment is in; one that begins a quarter is not in it.
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

    /// The same question from one moment on and before another, in whole quarters of an hour around both.
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
    /// Which tags, `team=blue,tier=free`: all, or those of the keys that were asked for.
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
