//! Agents: a model, a prompt, tools and limits; and running them.

use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::catalog::{Catalog, Noun, Shared, Visible, catalog_rows};
use super::methods::{Method, MethodKind, Named, Update, method, schema};
use super::models::check_output_cap;
use super::run::{Audience, HeardRun, Run};
use super::{EventStream, ExecutionHandle};
use crate::domain::schema::SchemaCheck;
use crate::domain::{
    Event, ExecutionId, Fallback, ListOptions, Money, NewAgent, Outcome, Page, Permission, Record, ResourceRef,
    RunOptions, Share, ToolChoice,
};
use crate::error::{Error, Result};
use crate::tool::registry::is_callable;

/// The agents of the catalogue.
pub type Agents = Catalog<NewAgent>;

pub(super) const ROWS: &[Method] =
    catalog_rows!("agents", agents, NewAgent, AgentsRead, AgentsCreate, AgentsEdit, AgentsDelete);

pub(super) const RUN_ROWS: &[Method] = &[
    method!("agents.run", AgentsRun, Run => Outcome, |s, run| async move {
        s.agents().run_with(run.agent, run.input, run.options).await
    }),
    method!("agents.start", AgentsRun, Run => StartedAs, |s, run| async move {
        let handle = s.agents().start_with(run.agent, run.input, run.options).await?;
        Ok::<_, Error>(StartedAs { execution_id: handle.id() })
    }),
    Method {
        name: "agents.stream",
        kind: MethodKind::Stream,
        permission: Some(Permission::AgentsRun),
        since: "0.1",
        input: schema::<Run>,
        output: schema::<Event>,
        handler: None,
    },
];

/// What was started.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct StartedAs {
    /// The execution.
    execution_id: ExecutionId,
}

impl Noun for NewAgent {
    fn checked(self) -> Result<Self> {
        if let Some(schema) = &self.output_schema {
            SchemaCheck::new(schema)?;
        }
        let limits = &self.limits;
        let counts = [("max_turns", limits.max_turns), ("max_parallel_tools", limits.max_parallel_tools)];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(Error::invalid(format!("limits.{name} must be at least 1")));
        }
        if limits.max_tokens == Some(0) {
            return Err(Error::invalid("limits.max_tokens must be at least 1: leave it out for no limit"));
        }
        if limits.timeout_ms == 0 || Duration::from_millis(limits.timeout_ms) > Duration::from_secs(366 * 86_400) {
            return Err(Error::invalid("limits.timeout_ms must be between 1 and a year"));
        }
        if limits.max_cost.is_some_and(|cost| cost < Money::ZERO) {
            return Err(Error::invalid("limits.max_cost may not be negative"));
        }
        if self.retry.max_attempts == 0 {
            return Err(Error::invalid("retry.max_attempts must be at least 1"));
        }
        check_output_cap(self.settings.max_output_tokens)?;
        if let Some(fallback) = &self.fallback {
            check_fallback(&self.model, fallback)?;
        }
        check_offer(&self)?;
        Ok(self)
    }
}

/// The most models that an agent may fall back to.
const MAX_FALLBACKS: usize = 8;

fn check_fallback(own: &str, fallback: &Fallback) -> Result<()> {
    if !(1..=MAX_FALLBACKS).contains(&fallback.models.len()) || fallback.on.is_empty() {
        return Err(Error::invalid(format!("fallback wants 1 to {MAX_FALLBACKS} models, and one error code to be on")));
    }
    let mut names: Vec<&str> = fallback.models.iter().map(String::as_str).chain([own]).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::invalid(format!("the model {:?} is asked twice: name it once", pair[0]))),
        None => Ok(()),
    }
}

/// Whether a model can be offered what an agent may call: each under a name of its own that a tool may have.
fn check_offer(agent: &NewAgent) -> Result<()> {
    // A reference may name the owner too; the model sees the name alone.
    let shown = |reference: &'_ String| reference.rsplit('/').next().unwrap_or_default().to_owned();
    let mut names: Vec<String> = agent.tools.iter().chain(&agent.agents).map(shown).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid(format!("the name {:?} is on offer twice", pair[0])));
    }
    if agent.agents.contains(&agent.name) {
        return Err(Error::invalid(format!("the agent {:?} may not call itself", agent.name)));
    }
    if let Some(name) = agent.agents.iter().map(shown).find(|name| !is_callable(name)) {
        let message = "cannot be called by a model: a name for that is 1 to 64 of the characters A-Z a-z 0-9 _ -";
        return Err(Error::invalid(format!("the agent {name:?} {message}")));
    }
    match &agent.tool_choice {
        Some(ToolChoice::Tool(chosen)) if !names.contains(chosen) => {
            Err(Error::invalid(format!("tool_choice names {chosen:?}, which is none of the agent's tools")))
        }
        _ => Ok(()),
    }
}

impl Catalog<NewAgent> {
    /// Runs an agent to its end. Dropping the future cancels the execution.
    ///
    /// Errors: as [`Session::run`](super::Session::run).
    pub async fn run(&self, agent: impl Into<ResourceRef>, input: impl Into<Value>) -> Result<Outcome> {
        self.run_with(agent, input, RunOptions::default()).await
    }

    /// Runs an agent to its end, with what holds for this run alone.
    ///
    /// Errors: as [`Session::run`](super::Session::run); `InvalidInput` for a schema or limit that is none.
    pub async fn run_with(
        &self,
        agent: impl Into<ResourceRef>,
        input: impl Into<Value>,
        options: RunOptions,
    ) -> Result<Outcome> {
        self.session.begin_owned(Run::new(agent.into(), input.into(), options)?).await?.outcome().await
    }

    /// Starts an agent and lets it run by itself.
    pub async fn start(&self, agent: impl Into<ResourceRef>, input: impl Into<Value>) -> Result<ExecutionHandle> {
        self.start_with(agent, input, RunOptions::default()).await
    }

    /// Starts an agent and lets it run by itself, with what holds for this run alone.
    pub async fn start_with(
        &self,
        agent: impl Into<ResourceRef>,
        input: impl Into<Value>,
        options: RunOptions,
    ) -> Result<ExecutionHandle> {
        let run = Run::new(agent.into(), input.into(), options)?;
        let first = self.session.begin(run, CancellationToken::new(), Audience::Open).await?;
        Ok(ExecutionHandle::new(self.session.clone(), first.id()))
    }

    /// Starts an agent and gives its events. Dropping the stream cancels the execution.
    pub async fn stream(&self, agent: impl Into<ResourceRef>, input: impl Into<Value>) -> Result<EventStream> {
        self.stream_with(agent, input, RunOptions::default()).await
    }

    /// Starts an agent and gives its events, with what holds for this run alone.
    pub async fn stream_with(
        &self,
        agent: impl Into<ResourceRef>,
        input: impl Into<Value>,
        options: RunOptions,
    ) -> Result<EventStream> {
        Ok(self.run_heard(agent, input, options).await?.into_events())
    }

    /// Runs an agent to its end, for a caller that hears its events on the way.
    ///
    /// Errors: as [`Agents::run_with`](super::Agents::run_with).
    pub async fn run_heard(
        &self,
        agent: impl Into<ResourceRef>,
        input: impl Into<Value>,
        options: RunOptions,
    ) -> Result<HeardRun> {
        self.session.begin_heard(Run::new(agent.into(), input.into(), options)?).await
    }
}
