//! What an execution runs, ready to run: an agent or a workflow.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::pin::{Pinned, PinnedPart, Use};
use super::setup::{Around, Setup};
use super::state::State;
use crate::domain::schema::{SchemaCheck, describe};
use crate::domain::{Effect, Money, Node, Queued, ResourceId, WorkflowPlan};
use crate::error::{Error, Result};
use crate::provider::registry::Providers;
use crate::tool::http::Reading;
use crate::tool::registry::{HostTools, PreparedTool};
use crate::workflow::machine::WorkflowMachine;
use crate::workflow::plan::Plan;
use crate::workflow::task::{HttpBody, Task};
use crate::workflow::validate::validate;
use crate::workflow::values::Values;

/// An agent or a workflow with all that it needs.
#[derive(Clone)]
pub(crate) enum Runnable {
    /// An agent.
    Agent(Arc<Setup>),
    /// A workflow.
    Workflow(Arc<FlowSetup>),
}

/// What runs, and what its execution is counted under.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) setup: Runnable,
    pub(crate) tags: Arc<BTreeMap<String, String>>,
}

/// A workflow with all that its nodes need.
pub(crate) struct FlowSetup {
    pub(crate) pinned: Arc<WorkflowPlan>,
    pub(crate) hash: String,
    pub(crate) plan: Arc<Plan>,
    /// The workflow that it is a part of, itself where of none.
    pub(crate) outermost: ResourceId,
    /// By the node's place: what runs it with its own settings, then with each of its fallbacks.
    pub(crate) parts: HashMap<usize, Vec<Part>>,
    inputs: Option<SchemaCheck>,
    outputs: Option<SchemaCheck>,
}

/// What runs a node.
#[derive(Clone)]
pub(crate) enum Part {
    /// A child execution.
    Child(Runnable),
    /// A tool of the catalogue, or a function of the host (which has no id).
    Tool { id: Option<ResourceId>, tool: Arc<PreparedTool> },
}

impl Runnable {
    /// Makes what is pinned runnable.
    ///
    /// Errors: `InvalidInput` where a provider is unknown or a tool or node cannot run in this process.
    pub(crate) fn new(pinned: &Pinned, used: &Use, providers: &Providers, host: &HostTools) -> Result<Self> {
        Self::within(pinned, &Around { limits: &used.limits, workflow: None, providers, host })
    }

    fn within(pinned: &Pinned, around: &Around<'_>) -> Result<Self> {
        let host = around.host;
        match pinned {
            Pinned::Agent { plan, hash, keys } => {
                let setup = Setup::of(Arc::clone(plan), hash.clone(), keys, &[], around)?;
                Ok(Self::Agent(Arc::new(setup)))
            }
            Pinned::Workflow { plan, hash, parts } => {
                let outermost = around.workflow.unwrap_or(plan.id);
                let around = Around { workflow: Some(outermost), ..*around };
                let walked = validate(&plan.definition, &host.node_types()).into_plan()?;
                let mut ready = HashMap::with_capacity(parts.len());
                for (node, parts) in parts {
                    let Some(index) = walked.index(node) else { continue };
                    let spec = &walked.nodes[index];
                    let tasks = std::iter::once(&spec.task).chain(&spec.fallback);
                    let parts = parts.iter().zip(tasks).map(|(part, task)| Part::new(part, task, &spec.spec, &around));
                    ready.insert(index, parts.collect::<Result<Vec<_>>>()?);
                }
                let setup = FlowSetup::new(Arc::clone(plan), hash.clone(), Arc::new(walked), outermost, ready)?;
                Ok(Self::Workflow(Arc::new(setup)))
            }
        }
    }

    /// The hash of what it is pinned to.
    pub(crate) fn hash(&self) -> &str {
        match self {
            Self::Agent(setup) => &setup.hash,
            Self::Workflow(setup) => &setup.hash,
        }
    }

    /// The resource in the catalogue.
    pub(crate) fn id(&self) -> ResourceId {
        match self {
            Self::Agent(setup) => setup.plan.agent.id,
            Self::Workflow(setup) => setup.pinned.id,
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Agent(setup) => &setup.agent().name,
            Self::Workflow(setup) => &setup.pinned.definition.name,
        }
    }

    /// How long it may take.
    pub(crate) fn timeout(&self) -> Duration {
        match self {
            Self::Agent(setup) => Duration::from_millis(setup.agent().limits.timeout_ms),
            Self::Workflow(setup) => Duration::from_secs(setup.plan.limits.timeout_s),
        }
    }

    /// How deep executions may start executions.
    pub(crate) fn max_depth(&self) -> u32 {
        match self {
            Self::Agent(setup) => setup.agent().limits.max_depth,
            Self::Workflow(setup) => setup.plan.limits.max_depth,
        }
    }

    /// What it may cost with its children.
    pub(crate) fn max_cost(&self) -> Option<Money> {
        match self {
            Self::Agent(setup) => setup.agent().limits.max_cost,
            Self::Workflow(setup) => setup.plan.limits.max_cost,
        }
    }

    /// How many effects it may have under way.
    pub(crate) fn max_parallel(&self) -> u32 {
        match self {
            Self::Agent(setup) => setup.agent().limits.max_parallel_tools,
            Self::Workflow(setup) => setup.plan.limits.max_parallel,
        }
    }

    pub(crate) fn agent(&self) -> Option<&Arc<Setup>> {
        match self {
            Self::Agent(setup) => Some(setup),
            Self::Workflow(_) => None,
        }
    }

    pub(crate) fn workflow(&self) -> Option<&Arc<FlowSetup>> {
        match self {
            Self::Agent(_) => None,
            Self::Workflow(setup) => Some(setup),
        }
    }

    /// The state before the first record.
    ///
    /// Errors: `InvalidInput` where the input is off the schema, `Expression` where a prompt's
    /// template cannot be filled.
    pub(crate) fn state(&self, queued: &Queued) -> Result<State> {
        match self {
            Self::Agent(setup) => setup.state(queued),
            Self::Workflow(setup) => {
                setup.check_input(&queued.input)?;
                Ok(setup.state())
            }
        }
    }
}

impl Part {
    fn new(part: &PinnedPart, task: &Task, node: &Node, around: &Around<'_>) -> Result<Self> {
        let host = around.host;
        Ok(match part {
            PinnedPart::Run(pinned) => Self::Child(Runnable::within(pinned, around)?),
            PinnedPart::Tool(record) => {
                Self::Tool { id: Some(record.id), tool: host.prepare(&record.hash, &record.spec)? }
            }
            PinnedPart::Host(name) => Self::Tool { id: None, tool: host.node(name)? },
            PinnedPart::Http => Self::Tool { id: None, tool: host.http(reading(task, node.timeout_s))? },
        })
    }
}

/// How an HTTP node reads its answer, and what its request does to the world.
fn reading(task: &Task, timeout_s: Option<u64>) -> Reading {
    let Task::Http(http) = task else { return Reading::default() };
    let json = match http.response {
        HttpBody::Auto => None,
        HttpBody::Json => Some(true),
        HttpBody::Text => Some(false),
    };
    let effect = match http.method.as_str() {
        "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" => Effect::Idempotent,
        _ => Effect::Unsafe,
    };
    Reading { json, accept: http.accept.clone(), effect, timeout: timeout_s.map(Duration::from_secs) }
}

impl FlowSetup {
    /// A plan with what runs its nodes. Errors: `InvalidInput` where a schema of it is none.
    pub(crate) fn new(
        pinned: Arc<WorkflowPlan>,
        hash: String,
        plan: Arc<Plan>,
        outermost: ResourceId,
        parts: HashMap<usize, Vec<Part>>,
    ) -> Result<Self> {
        let check = |schema: &Option<Value>| schema.as_ref().map(SchemaCheck::new).transpose();
        let (inputs, outputs) = (check(&pinned.definition.inputs)?, check(&pinned.definition.outputs)?);
        Ok(Self { pinned, hash, plan, outermost, parts, inputs, outputs })
    }

    pub(super) fn check_input(&self, input: &Value) -> Result<()> {
        let Some(check) = &self.inputs else { return Ok(()) };
        let name = &self.pinned.definition.name;
        check.check(input).map_err(|problems| {
            let problems = describe(&problems);
            Error::invalid(format!("the input does not follow the schema of the workflow {name:?}: {problems}"))
        })
    }

    /// Errors: `BadOutput`.
    pub(crate) fn check_output(&self, output: &Value) -> Result<()> {
        let Some(check) = &self.outputs else { return Ok(()) };
        check.check(output).map_err(|problems| {
            Error::bad_output(format!("the output of the workflow is off its schema: {}", describe(&problems)))
        })
    }

    /// The state before the first record.
    pub(crate) fn state(&self) -> State {
        let machine = WorkflowMachine::new(Arc::clone(&self.plan));
        State::workflow(machine, Values::new(Arc::clone(&self.plan)))
    }

    /// What runs a node; `fallback` says with which of its settings.
    pub(crate) fn part(&self, node: usize, fallback: usize) -> Option<&Part> {
        let parts = self.parts.get(&node)?;
        parts.get(fallback).or_else(|| parts.first())
    }

    /// What a node does to the world: what it says itself, else what its tool says.
    pub(crate) fn effect(&self, node: usize, fallback: usize) -> Effect {
        let spec = &self.plan.nodes[node];
        match (spec.spec.effect, self.part(node, fallback)) {
            (Some(effect), _) => effect,
            (None, Some(Part::Tool { tool, .. })) => tool.effect(),
            (None, _) => spec.effect,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_http_node_hands_its_time_on() {
        let definition = serde_json::json!({"name": "w", "nodes": [
            {"id": "h", "type": "http", "config": {"url": "https://example.com"}, "timeout_s": 300}]});
        let plan = validate(&serde_json::from_value(definition).unwrap(), &[]).into_plan().unwrap();
        let node = &plan.nodes[0];
        assert_eq!(reading(&node.task, node.spec.timeout_s).timeout, Some(Duration::from_secs(300)));
    }
}
