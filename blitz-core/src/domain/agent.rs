//! Agents as the catalogue keeps them: a model, instructions or a prompt, tools and limits.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::{ModelSettings, ToolChoice};
use super::money::Money;
use crate::error::ErrorCode;

/// An agent to put into the catalogue.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAgent {
    /// The name it is run by.
    pub name: String,
    /// For people, and for a model that is offered this agent as a tool.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its model: a catalogue name, or `provider:model` by what the environment holds, which only the host may
    /// use unless it lets users too.
    pub model: String,
    /// What the model is told to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instructions: String,
    /// The prompt that makes a message of the input; without one the input itself is the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptRef>,
    /// Names of the tools it may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Names of the agents it may call as tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// Which tool must be called first; later turns are free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Settings that win over the model's.
    #[serde(default)]
    pub settings: ModelSettings,
    /// JSON Schema of the output; without one the output is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Where it must stop.
    #[serde(default)]
    pub limits: Limits,
    /// When a failed model call is tried again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// What else is asked where its model fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

/// A prompt by name, at a version or at its newest.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(from = "PromptRefText")]
pub struct PromptRef {
    /// The prompt's name.
    pub name: String,
    /// Its version; the newest where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

impl PromptRef {
    /// The newest version of a prompt.
    pub fn latest(name: impl Into<String>) -> Self {
        Self { name: name.into(), version: None }
    }

    /// One version of a prompt.
    pub fn at(name: impl Into<String>, version: u32) -> Self {
        Self { name: name.into(), version: Some(version) }
    }
}

/// A prompt is named by a string or by an object.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
enum PromptRefText {
    Name(String),
    Full {
        name: String,
        #[serde(default)]
        version: Option<u32>,
    },
}

impl From<PromptRefText> for PromptRef {
    fn from(text: PromptRefText) -> Self {
        match text {
            PromptRefText::Name(name) => Self { name, version: None },
            PromptRefText::Full { name, version } => Self { name, version },
        }
    }
}

/// Where an execution must stop. Children get what is left of their parent's.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Model calls of the agent's loop.
    pub max_turns: u32,
    /// Wall time in milliseconds, from start to end, waits included.
    pub timeout_ms: u64,
    /// Input and output tokens of the execution and its children; no limit where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Cost of the execution and its children, decimal USD; a hard budget of its own. No limit where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Money>,
    /// How deep agents may call agents.
    pub max_depth: u32,
    /// Tool calls that run at the same time.
    pub max_parallel_tools: u32,
    /// Whether one more model call follows where `max_turns` is reached: without tools, to answer with what is there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub last_turn: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_turns: 20,
            timeout_ms: 300_000,
            max_tokens: None,
            max_cost: None,
            max_depth: 8,
            max_parallel_tools: 16,
            last_turn: false,
        }
    }
}

impl Limits {
    /// The same limits with another wall time.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX), ..self }
    }

    /// The same limits with another bound on model calls.
    pub fn with_max_turns(self, max_turns: u32) -> Self {
        Self { max_turns, ..self }
    }

    /// The same limits, with one more model call where the turns are over: without tools, to answer with what is there.
    pub fn with_last_turn(self) -> Self {
        Self { last_turn: true, ..self }
    }

    /// The same limits with a cap on the cost.
    pub fn with_max_cost(self, max_cost: Money) -> Self {
        Self { max_cost: Some(max_cost), ..self }
    }
}

/// When a failed attempt is tried again. Plain data: `execution::retry` decides by it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// All attempts, the first included; 1 means never again.
    pub max_attempts: u32,
    /// The wait before the second attempt, in milliseconds; it doubles from there, with full jitter.
    pub initial_ms: u64,
    /// The longest wait, in milliseconds. A longer Retry-After ends the retries.
    pub max_ms: u64,
    /// What each wait is multiplied by to get the next.
    pub factor: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 4, initial_ms: 500, max_ms: 60_000, factor: 2 }
    }
}

impl RetryPolicy {
    /// One attempt only.
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// So many attempts in all, the first wait as given.
    pub fn attempts(max_attempts: u32, initial: Duration) -> Self {
        Self { max_attempts, initial_ms: u64::try_from(initial.as_millis()).unwrap_or(u64::MAX), ..Self::default() }
    }
}

/// Which models are asked, one after the other, where the one before failed for good.
///
/// Each is asked with its own provider, settings and price, and each attempt is booked. What a
/// stream had shown of a failed attempt is taken back by a `model.reset` before the next one speaks.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// The models, in the order they are asked: catalogue names, or `provider:model`.
    pub models: Vec<String>,
    /// On which failures. Bad answers count by what is wrong with them: `content_filtered`, `refused`, and
    /// `bad_output` for one that is cut off, empty or off the output's schema. By default what may be one
    /// provider's trouble: `rate_limited`, `unavailable`, `timeout`, `provider_auth`, `context_overflow`.
    #[serde(default = "Fallback::usual")]
    #[schemars(with = "Vec<String>")]
    pub on: Vec<ErrorCode>,
}

impl Fallback {
    /// These models, on what may be one provider's trouble.
    pub fn to<N: Into<String>>(models: impl IntoIterator<Item = N>) -> Self {
        Self { models: models.into_iter().map(Into::into).collect(), on: Self::usual() }
    }

    /// The same models on just these failures.
    pub fn on(self, codes: impl IntoIterator<Item = ErrorCode>) -> Self {
        Self { on: codes.into_iter().collect(), ..self }
    }

    fn usual() -> Vec<ErrorCode> {
        use ErrorCode::{ContextOverflow, ProviderAuth, RateLimited, Timeout, Unavailable};
        vec![RateLimited, Unavailable, Timeout, ProviderAuth, ContextOverflow]
    }
}

impl NewAgent {
    /// An agent `name` on the catalogue model `model`.
    pub fn new(name: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            model: model.into(),
            instructions: String::new(),
            prompt: None,
            tools: Vec::new(),
            agents: Vec::new(),
            tool_choice: None,
            settings: ModelSettings::default(),
            output_schema: None,
            limits: Limits::default(),
            retry: RetryPolicy::default(),
            fallback: None,
        }
    }

    /// What the model is told to do.
    pub fn instructions(self, text: impl Into<String>) -> Self {
        Self { instructions: text.into(), ..self }
    }

    /// For people, and for models that are offered this agent.
    pub fn description(self, text: impl Into<String>) -> Self {
        Self { description: text.into(), ..self }
    }

    /// The prompt that makes a message of the input.
    pub fn prompt(self, prompt: PromptRef) -> Self {
        Self { prompt: Some(prompt), ..self }
    }

    /// One more tool it may call.
    pub fn tool(mut self, name: impl Into<String>) -> Self {
        self.tools.push(name.into());
        self
    }

    /// One more agent it may call as a tool.
    pub fn agent(mut self, name: impl Into<String>) -> Self {
        self.agents.push(name.into());
        self
    }

    /// JSON Schema of the output.
    pub fn output_schema(self, schema: Value) -> Self {
        Self { output_schema: Some(schema), ..self }
    }

    /// Where it must stop.
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// When a failed model call is tried again.
    pub fn retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// What else is asked where its model fails.
    pub fn fallback(self, fallback: Fallback) -> Self {
        Self { fallback: Some(fallback), ..self }
    }

    /// Settings that win over the model's.
    pub fn settings(self, settings: ModelSettings) -> Self {
        Self { settings, ..self }
    }

    /// Which tool must be called first.
    pub fn tool_choice(self, choice: ToolChoice) -> Self {
        Self { tool_choice: Some(choice), ..self }
    }
}
