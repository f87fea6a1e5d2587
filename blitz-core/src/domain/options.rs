//! What one run may say beside its input.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agent::{Limits, NewAgent};
use super::money::Money;
use super::workflow::WorkflowDefinition;
use crate::error::{Error, Result};

/// What holds for one run of an agent, whatever its record says. Pinned with the execution.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use blitz::provider::{Reply, Scripted};
/// use blitz::{Engine, NewAgent, NewModel, RunLimits, RunOptions};
/// use serde_json::json;
///
/// let engine = Engine::open(":memory:").await?;
/// engine.register_provider(Scripted::new([Reply::text(r#"{"city": "Oslo"}"#)]));
/// let me = engine.root("an example");
/// me.models().put(NewModel::new("m", "scripted", "any")).await?;
/// me.agents().put(NewAgent::new("helper", "m")).await?;
/// let options = RunOptions::default()
///     .with_output_schema(json!({"type": "object", "required": ["city"]}))
///     .with_limits(RunLimits::default().with_max_turns(3));
/// let done = me.agents().run_with("helper", "Where?", options).await?;
/// assert_eq!(done.output["city"], "Oslo");
/// # engine.close().await
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunOptions {
    /// JSON Schema of this run's output, in place of the agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// The model of this run, in place of the agent's: its catalogue name, or `provider:model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Limits of this run: of each, the lower of the agent's and this one holds.
    pub limits: RunLimits,
    /// Who goes first where executions of a workflow wait for their turn: the highest.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Which executions of a workflow share its `max_concurrent`: those of one key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// What this run is counted under; what a policy of the caller says wins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The caller's own key of this run: for a day the same run by the same key is the one that there is, and
    /// another run by it is a conflict. Whoever repeats a request that may have been heard pays once: such a run
    /// goes on where its caller goes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
}

/// The longest key of a caller's own, in bytes.
const MAX_CLIENT_KEY: usize = 200;

/// Limits that one run lowers; see [`Limits`]. What is absent stays the agent's.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunLimits {
    /// Model calls of the agent's loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// Wall time in milliseconds, from start to end, waits included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Input and output tokens of the execution and its children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Cost of the execution and its children, decimal USD; a hard budget of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Money>,
    /// How deep agents may call agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<u32>,
    /// Tool calls that run at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel_tools: Option<u32>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

impl RunOptions {
    /// The longest concurrency key in bytes.
    const MAX_KEY: usize = 200;

    /// The same options with a place in the queue: the highest goes first.
    pub fn with_priority(self, priority: i32) -> Self {
        Self { priority, ..self }
    }

    /// The same options among the executions of one key.
    pub fn with_concurrency_key(self, key: impl Into<String>) -> Self {
        Self { concurrency_key: Some(key.into()), ..self }
    }

    /// What of them decides what runs, and not when.
    pub(crate) fn without_queue(&self) -> Self {
        Self { priority: 0, concurrency_key: None, ..self.clone() }
    }

    /// The same options with a schema of the output.
    pub fn with_output_schema(self, schema: Value) -> Self {
        Self { output_schema: Some(schema), ..self }
    }

    /// The same options with another model than the agent's.
    pub fn with_model(self, model: impl Into<String>) -> Self {
        Self { model: Some(model.into()), ..self }
    }

    /// The same options with limits that are lower than the agent's.
    pub fn with_limits(self, limits: RunLimits) -> Self {
        Self { limits, ..self }
    }

    /// The same options with one more tag.
    pub fn with_tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// The same options with a key of the caller's own.
    pub fn with_client_key(self, key: impl Into<String>) -> Self {
        Self { client_key: Some(key.into()), ..self }
    }

    /// Whether they change nothing.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Errors: `InvalidInput` for a limit that no agent may have. The schema is checked where it is prepared.
    pub(crate) fn check(&self) -> Result<()> {
        if self.client_key.as_ref().is_some_and(|key| !(1..=MAX_CLIENT_KEY).contains(&key.len())) {
            return Err(Error::invalid(format!("client_key has 1 to {MAX_CLIENT_KEY} bytes")));
        }
        let limits = &self.limits;
        if limits.max_turns == Some(0) || limits.max_parallel_tools == Some(0) || limits.timeout_ms == Some(0) {
            return Err(Error::invalid("limits.max_turns, max_parallel_tools and timeout_ms must be at least 1"));
        }
        if limits.max_tokens == Some(0) {
            return Err(Error::invalid("limits.max_tokens must be at least 1: leave it out for the agent's own"));
        }
        if self.concurrency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > Self::MAX_KEY) {
            return Err(Error::invalid(format!("a concurrency_key has 1 to {} bytes", Self::MAX_KEY)));
        }
        if limits.max_cost.is_some_and(|cost| cost < Money::ZERO) {
            return Err(Error::invalid("limits.max_cost may not be negative"));
        }
        Ok(())
    }

    /// Makes them hold for a workflow. Errors: `InvalidInput` for what only an agent has.
    pub(crate) fn apply_to_workflow(&self, workflow: &mut WorkflowDefinition) -> Result<()> {
        let RunLimits { max_turns, timeout_ms, max_tokens, max_cost, max_depth, max_parallel_tools } = &self.limits;
        if self.output_schema.is_some() || self.model.is_some() || max_turns.is_some() || max_tokens.is_some() {
            let message =
                "output_schema, model, limits.max_turns and limits.max_tokens are for agents: a workflow has none";
            return Err(Error::invalid(message));
        }
        let limits = &mut workflow.limits;
        if let Some(timeout) = timeout_ms {
            limits.timeout_s = limits.timeout_s.min(timeout.div_ceil(1000));
        }
        if let Some(cost) = max_cost {
            limits.max_cost = Some(limits.max_cost.map_or(*cost, |own| own.min(*cost)));
        }
        limits.max_depth = max_depth.map_or(limits.max_depth, |depth| limits.max_depth.min(depth));
        limits.max_parallel = max_parallel_tools.map_or(limits.max_parallel, |most| limits.max_parallel.min(most));
        Ok(())
    }

    /// Makes them hold for an agent.
    pub(crate) fn apply(&self, agent: &mut NewAgent) {
        if let Some(schema) = &self.output_schema {
            agent.output_schema = Some(schema.clone());
        }
        if let Some(model) = self.model.as_ref().filter(|model| **model != agent.model) {
            agent.model.clone_from(model);
            // What is said of a model says nothing of another.
            agent.settings.profile = None;
        }
        self.limits.lower(&mut agent.limits);
    }
}

impl RunLimits {
    /// The same limits with a bound on model calls.
    pub fn with_max_turns(self, max_turns: u32) -> Self {
        Self { max_turns: Some(max_turns), ..self }
    }

    /// The same limits with a wall time in milliseconds.
    pub fn with_timeout_ms(self, timeout_ms: u64) -> Self {
        Self { timeout_ms: Some(timeout_ms), ..self }
    }

    /// The same limits with a bound on tokens.
    pub fn with_max_tokens(self, max_tokens: u64) -> Self {
        Self { max_tokens: Some(max_tokens), ..self }
    }

    /// The same limits with a cap on the cost.
    pub fn with_max_cost(self, max_cost: Money) -> Self {
        Self { max_cost: Some(max_cost), ..self }
    }

    fn lower(&self, limits: &mut Limits) {
        let Self { max_turns, timeout_ms, max_tokens, max_cost, max_depth, max_parallel_tools } = self;
        lower(&mut limits.max_turns, *max_turns);
        lower(&mut limits.timeout_ms, *timeout_ms);
        lower(&mut limits.max_depth, *max_depth);
        lower(&mut limits.max_parallel_tools, *max_parallel_tools);
        limits.max_tokens = [limits.max_tokens, *max_tokens].into_iter().flatten().min();
        limits.max_cost = [limits.max_cost, *max_cost].into_iter().flatten().min();
    }
}

fn lower<T: Ord + Copy>(limit: &mut T, to: Option<T>) {
    *limit = to.map_or(*limit, |to| to.min(*limit));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_lowered_and_never_raised() {
        let mut agent = NewAgent::new("a", "m");
        agent.limits.max_tokens = Some(100);
        let all = |n: u32| RunLimits {
            max_turns: Some(n),
            timeout_ms: Some(n.into()),
            max_tokens: Some(n.into()),
            max_cost: Some(Money::from_nanos(n.into())),
            max_depth: Some(n),
            max_parallel_tools: Some(n),
        };
        let before = agent.clone();
        RunOptions::default().apply(&mut agent);
        assert_eq!(agent, before);
        RunOptions::default().with_limits(RunLimits { max_cost: None, ..all(u32::MAX) }).apply(&mut agent);
        assert_eq!(agent, before);
        RunOptions::default().with_limits(all(2)).apply(&mut agent);
        let two = Limits {
            max_turns: 2,
            timeout_ms: 2,
            max_tokens: Some(2),
            max_cost: Some(Money::from_nanos(2)),
            max_depth: 2,
            max_parallel_tools: 2,
            last_turn: false,
        };
        assert_eq!(agent.limits, two);
        RunOptions::default().with_limits(all(3)).apply(&mut agent);
        assert_eq!(agent.limits, two);
    }

    #[test]
    fn limits_of_nothing_are_refused() {
        for limits in [
            RunLimits::default().with_max_turns(0),
            RunLimits::default().with_timeout_ms(0),
            RunLimits::default().with_max_tokens(0),
            RunLimits { max_parallel_tools: Some(0), ..RunLimits::default() },
            RunLimits::default().with_max_cost(Money::from_nanos(-1)),
        ] {
            assert!(RunOptions::default().with_limits(limits).check().is_err());
        }
    }
}
