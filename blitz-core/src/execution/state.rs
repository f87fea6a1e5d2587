//! What an execution's journal says, folded: the machine, the conversation, what is open.
//!
//! Live work and recovery go through the same [`State::absorb`]: a record is applied once, when it
//! happens or when it is read again. So a replay cannot differ from what was.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::turn::Ids;
use crate::agent::AgentMachine;
use crate::agent::history::Transcript;
use crate::domain::{
    Action, Answer, ApprovalAnswered, Decision, EventData, ExecutionId, Finished, Input, ItemEnd, ItemFinished,
    Machine, Money, NodeEnd, NodeFinished, NodeStatus, Outcome, Provenance, StepFinished, StepKind, Timestamp,
    ToolResult, Usage,
};
use crate::error::{Error, ErrorCode, Result};
use crate::ledger;
use crate::store::{Connection, content_hash};
use crate::workflow::evaluate::ALL_PORTS;
use crate::workflow::machine::{WorkflowMachine, container_of, join};
use crate::workflow::values::Values;

/// How far an open step has come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Progress {
    /// This attempt was sent or called and has no end.
    Started { attempt: u32 },
    /// A child execution runs it.
    Child { id: ExecutionId, attempt: u32 },
    /// The next attempt starts at a time.
    Retry { attempt: u32, at: Timestamp },
    /// Someone decided what becomes of an effect in doubt.
    Decided { attempt: u32, decision: Decision },
    /// A node waits for a time, at the latest.
    Waits {
        until: Option<Timestamp>,
        /// Of the question, where somebody is asked.
        digest: Option<String>,
    },
    /// Someone answered the question that a node asks.
    Answered { answer: Answer, by: String },
}

/// The state of one execution in memory.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) mind: Mind,
    pub(crate) tally: Tally,
    /// The progress of each open step, by its key. A step that is not here was never started.
    pub(crate) open: BTreeMap<String, Progress>,
    /// Until when each container may run that says how long it may.
    pub(crate) expiries: BTreeMap<String, Timestamp>,
    /// What follows from the records that were read and none of them tells.
    pub(crate) owed: Vec<Action>,
    pub(crate) seed: u64,
    /// Secrets that tools may be handed by name.
    pub(crate) secrets: Vec<String>,
    /// How deep the executions above let agents call agents.
    above: Option<u32>,
    /// How many attempts of each open step ended with their process: no failures, so no policy counts them.
    lost: BTreeMap<String, u32>,
    /// Which model makes the attempts of an open step that fell back, and how many others had made before.
    fallen: BTreeMap<String, (usize, u32)>,
}

/// The machine that says what follows, and the values that go with it.
#[allow(clippy::large_enum_variant, reason = "there is one for an execution, and it is moved with its driver")]
#[derive(Debug)]
pub(crate) enum Mind {
    /// An agent and its conversation.
    Agent(AgentMind),
    /// A workflow and what its nodes gave.
    Workflow(WorkflowMind),
}

/// An agent at work.
#[derive(Debug)]
pub(crate) struct AgentMind {
    pub(crate) machine: AgentMachine,
    pub(crate) transcript: Transcript,
    offered: Arc<HashSet<String>>,
}

/// A workflow at work.
#[derive(Debug)]
pub(crate) struct WorkflowMind {
    pub(crate) machine: WorkflowMachine,
    pub(crate) values: Values,
}

impl State {
    /// An agent before its first record.
    pub(crate) fn agent(machine: AgentMachine, transcript: Transcript, offered: Arc<HashSet<String>>) -> Self {
        Self::new(Mind::Agent(AgentMind { machine, transcript, offered }))
    }

    /// A workflow before its first record.
    pub(crate) fn workflow(machine: WorkflowMachine, values: Values) -> Self {
        Self::new(Mind::Workflow(WorkflowMind { machine, values }))
    }

    fn new(mind: Mind) -> Self {
        Self {
            mind,
            tally: Tally::default(),
            open: BTreeMap::new(),
            expiries: BTreeMap::new(),
            owed: Vec::new(),
            seed: 0,
            secrets: Vec::new(),
            above: None,
            lost: BTreeMap::new(),
            fallen: BTreeMap::new(),
        }
    }

    /// The agent, where it is one.
    pub(crate) fn as_agent(&mut self) -> Option<&mut AgentMind> {
        match &mut self.mind {
            Mind::Agent(agent) => Some(agent),
            Mind::Workflow(_) => None,
        }
    }

    /// The workflow, where it is one.
    pub(crate) fn as_workflow(&mut self) -> Option<&mut WorkflowMind> {
        match &mut self.mind {
            Mind::Agent(_) => None,
            Mind::Workflow(workflow) => Some(workflow),
        }
    }

    /// The actions that were given out and have no outcome.
    pub(crate) fn open_actions(&self) -> Vec<Action> {
        match &self.mind {
            Mind::Agent(agent) => agent.machine.open(),
            Mind::Workflow(workflow) => workflow.machine.open(),
        }
    }

    /// What is to be told still, and what is to be done: where a new driver goes on.
    pub(super) fn open_again(&mut self) -> Vec<Action> {
        let mut actions = std::mem::take(&mut self.owed);
        actions.extend(self.open_actions());
        actions
    }

    /// Whether its machine has ended: what is open is its end.
    pub(crate) fn is_over(&self) -> bool {
        match &self.mind {
            Mind::Agent(agent) => agent.machine.is_over(),
            Mind::Workflow(workflow) => workflow.machine.is_over(),
        }
    }

    /// What the machine wants done at a key that is open.
    pub(crate) fn open_action(&self, key: &str) -> Option<Action> {
        match &self.mind {
            Mind::Agent(agent) => agent.machine.open().into_iter().find(|action| action.key() == Some(key)),
            Mind::Workflow(workflow) => workflow.machine.open_at(key),
        }
    }

    /// What the nodes of a workflow gave.
    pub(crate) fn values(&self) -> Option<&Values> {
        match &self.mind {
            Mind::Agent(_) => None,
            Mind::Workflow(workflow) => Some(&workflow.values),
        }
    }

    /// How much of a workflow's known work is decided, in hundredths of a percent.
    pub(crate) fn progress(&self) -> u32 {
        match &self.mind {
            Mind::Agent(_) => 0,
            Mind::Workflow(workflow) => workflow.machine.progress(),
        }
    }

    /// The tokens that are left for a child, where there is a limit.
    pub(crate) fn tokens_left(&self) -> Option<u64> {
        match &self.mind {
            Mind::Agent(agent) => agent.machine.tokens_left(),
            Mind::Workflow(_) => None,
        }
    }

    /// Applies one record and gives the actions that follow from it.
    pub(crate) fn absorb(&mut self, now: Timestamp, path: &str, data: &EventData) -> Vec<Action> {
        let actions = self.apply(now, path, data);
        for action in &actions {
            match (&mut self.mind, action) {
                (Mind::Agent(agent), Action::CallModel { feedback: Some(text), .. }) => agent.transcript.feedback(text),
                // How a node ends that never ran follows from the record: nothing else tells the values of it.
                (Mind::Workflow(workflow), Action::Emit { path, data }) => {
                    if let EventData::NodeFinished(finished) = data.as_ref() {
                        workflow.values.finished(path, finished);
                    }
                }
                _ => {}
            }
        }
        actions
    }

    /// Tells the machine something that is no record of its own; gives the actions that follow.
    pub(crate) fn tell(&mut self, now: Timestamp, input: Input<'_>) -> Vec<Action> {
        match &mut self.mind {
            Mind::Agent(agent) => agent.machine.step(now, input),
            Mind::Workflow(workflow) => workflow.machine.step(now, input),
        }
    }

    /// How deep agents may call agents: as its own limit says, and each above it.
    pub(crate) fn max_depth(&self, own: u32) -> u32 {
        self.above.map_or(own, |above| above.min(own))
    }

    /// How often the model that a step asks has failed, when this attempt does.
    pub(crate) fn failures(&self, path: &str, attempt: u32) -> u32 {
        let before = self.fallen.get(path).map_or(0, |(_, before)| *before);
        attempt.saturating_sub(self.lost.get(path).copied().unwrap_or_default()).saturating_sub(before).max(1)
    }

    /// How often a step has failed with all its models, when this attempt does.
    pub(crate) fn attempts(&self, path: &str, attempt: u32) -> u32 {
        if self.fallen.contains_key(path) { attempt } else { self.failures(path, attempt) }
    }

    /// Which of the agent's models an open step asks: 0 is its own.
    pub(crate) fn place(&self, path: &str) -> usize {
        self.fallen.get(path).map_or(0, |(place, _)| *place)
    }

    /// What the user gets, once the execution has ended.
    pub(crate) fn outcome(self, execution_id: ExecutionId, finished: Finished) -> Outcome {
        let messages = match self.mind {
            Mind::Agent(agent) => agent.transcript.into_messages(),
            Mind::Workflow(_) => Vec::new(),
        };
        Outcome::of(execution_id, finished, messages, self.tally.steps)
    }

    fn apply(&mut self, now: Timestamp, path: &str, data: &EventData) -> Vec<Action> {
        match data {
            EventData::ExecutionQueued(queued) => {
                self.seed = queued.seed;
                self.above = queued.max_depth;
                self.secrets.clone_from(&queued.secrets);
                match &mut self.mind {
                    Mind::Agent(agent) => {
                        if let Some(left) = queued.max_tokens {
                            agent.machine.cap_tokens(left);
                        }
                    }
                    Mind::Workflow(workflow) => workflow.values.begin(now, queued),
                }
                self.tell(now, Input::Start)
            }
            EventData::StepStarted(started) => {
                let progress = match started.child_id {
                    Some(id) => Progress::Child { id, attempt: started.attempt },
                    None => Progress::Started { attempt: started.attempt },
                };
                self.open.insert(path.to_owned(), progress);
                Vec::new()
            }
            EventData::ToolStarted(started) => {
                self.open.insert(path.to_owned(), Progress::Started { attempt: started.attempt });
                Vec::new()
            }
            EventData::StepRetrying { attempt, at, error, usage, fallback, .. } => {
                // What is estimated at the commit is not known here yet: only what came with an answer counts.
                if usage.provenance != Provenance::Estimated
                    && let Mind::Agent(agent) = &mut self.mind
                {
                    agent.machine.count(usage);
                }
                let place = fallback.as_ref().map(|fallback| fallback.place);
                self.retrying(path, *attempt, *at, error.code, place);
                Vec::new()
            }
            EventData::DecisionMade { decision, .. } => {
                let attempt = self.attempt_of(path);
                self.open.insert(path.to_owned(), Progress::Decided { attempt, decision: decision.clone() });
                Vec::new()
            }
            EventData::ApprovalRequested(asked) => {
                let progress = Progress::Waits { until: asked.expires_at, digest: Some(asked.digest.clone()) };
                self.open.insert(asked.key.clone(), progress);
                Vec::new()
            }
            EventData::ApprovalAnswered(answered) => {
                let progress = Progress::Answered { answer: answered.answer.clone(), by: answered.by.clone() };
                self.open.insert(answered.key.clone(), progress);
                Vec::new()
            }
            EventData::StepFinished(finished) => {
                self.close(path);
                self.step_finished(now, path, finished)
            }
            EventData::ToolFinished { result, .. } => {
                self.close(path);
                self.tool_finished(now, path, result, Usage::default())
            }
            EventData::NodeStarted(_)
            | EventData::NodeRetrying(_)
            | EventData::NodeWaiting(_)
            | EventData::NodeExpired { .. }
            | EventData::NodeFinished(_)
            | EventData::ItemFinished(_) => self.node_happened(now, path, data),
            _ => Vec::new(),
        }
    }

    /// The newest attempt of an open step that was begun; 0 where none was.
    fn attempt_of(&self, key: &str) -> u32 {
        match self.open.get(key) {
            Some(
                Progress::Started { attempt } | Progress::Child { attempt, .. } | Progress::Decided { attempt, .. },
            ) => *attempt,
            // The one that follows is still to be made.
            Some(Progress::Retry { attempt, .. }) => attempt.saturating_sub(1),
            Some(Progress::Waits { .. } | Progress::Answered { .. }) | None => 0,
        }
    }

    /// Hash of what somebody decides about an open step of an execution: it says which attempt is in doubt.
    pub(crate) fn doubt(&self, id: ExecutionId, key: &str) -> String {
        doubt(id, key, i64::from(self.attempt_of(key)))
    }

    /// Whether a record may be applied: a decision or an answer counts for the execution, the step and
    /// the question that it was given to, and once.
    pub(crate) fn heeds(&self, id: ExecutionId, path: &str, data: &EventData) -> bool {
        match data {
            EventData::DecisionMade { digest, .. } => *digest == self.doubt(id, path),
            EventData::ApprovalAnswered(ApprovalAnswered { key, answer, .. }) => match self.open.get(key) {
                Some(Progress::Waits { digest: asked @ Some(_), .. }) => answer.digest == *asked,
                _ => false,
            },
            _ => true,
        }
    }

    /// Lets a step go on whose last attempt has ended badly: `attempt` was its number.
    pub(crate) fn again(&mut self, key: &str, attempt: u32, at: Timestamp, child: Option<ExecutionId>) {
        let progress = match child {
            Some(id) => Progress::Child { id, attempt },
            None => Progress::Retry { attempt: attempt + 1, at },
        };
        // What came before counts for no policy.
        self.lost.insert(key.to_owned(), attempt);
        self.open.insert(key.to_owned(), progress);
    }

    /// Gives containers that go on their whole time again.
    pub(crate) fn renew(&mut self, at: Timestamp) {
        let Mind::Workflow(workflow) = &self.mind else { return };
        for (key, until) in &mut self.expiries {
            let node = key.rsplit('/').next().unwrap_or_default();
            *until = at.plus(Duration::from_secs(workflow.machine.time_of(node).unwrap_or_default()));
        }
    }

    /// What was told of the progress before stays true.
    pub(crate) fn keep_progress(&mut self, data: &EventData) {
        let progress = match data {
            EventData::NodeFinished(finished) => finished.progress,
            EventData::ItemFinished(item) => item.progress,
            _ => 0,
        };
        if let Mind::Workflow(workflow) = &mut self.mind {
            workflow.machine.at_least(progress);
        }
    }

    fn close(&mut self, key: &str) {
        self.open.remove(key);
        self.lost.remove(key);
        self.fallen.remove(key);
    }

    /// Another attempt follows: of the same model or configuration at a time, or of the next one.
    fn retrying(&mut self, key: &str, attempt: u32, at: Timestamp, code: ErrorCode, place: Option<u32>) {
        if let Some(place) = place {
            self.lost.remove(key);
            self.fallen.insert(key.to_owned(), (place as usize, attempt));
        } else if code == ErrorCode::Interrupted {
            *self.lost.entry(key.to_owned()).or_default() += 1;
        }
        self.open.insert(key.to_owned(), Progress::Retry { attempt: attempt + 1, at });
    }

    fn step_finished(&mut self, now: Timestamp, path: &str, finished: &StepFinished) -> Vec<Action> {
        match (finished.kind, &finished.response, &finished.result, &finished.error) {
            (StepKind::Model, Some(response), _, _) => {
                if let Mind::Agent(agent) = &mut self.mind {
                    agent.transcript.answer(response);
                }
                // What is estimated at the commit is not known live: only what came with the answer counts.
                let usage = response.usage.unwrap_or_default();
                self.tell(now, Input::ModelAnswered { key: path, response, usage })
            }
            (StepKind::Model, None, _, Some(error)) => self.tell(now, Input::ModelFailed { key: path, error }),
            (_, _, Some(result), _) => self.tool_finished(now, path, result, finished.usage),
            _ => Vec::new(),
        }
    }

    fn tool_finished(&mut self, now: Timestamp, path: &str, result: &ToolResult, usage: Usage) -> Vec<Action> {
        let Mind::Agent(agent) = &mut self.mind else { return Vec::new() };
        let unknown = !agent.offered.contains(&result.name);
        if let Some(index) = path.rsplit('/').next().and_then(|index| index.parse().ok()) {
            agent.transcript.result(index, result.clone());
        }
        agent.machine.step(now, Input::ToolFinished { key: path, unknown, usage })
    }

    /// A record of a workflow: what it gave is kept, the machine is told the rest.
    fn node_happened(&mut self, now: Timestamp, path: &str, data: &EventData) -> Vec<Action> {
        match data {
            EventData::NodeStarted(started) => {
                let key = join(path, &started.node);
                let progress = match started.child_id {
                    Some(id) => Progress::Child { id, attempt: started.attempt },
                    None => Progress::Started { attempt: started.attempt },
                };
                self.open.insert(key.clone(), progress);
                let Mind::Workflow(workflow) = &mut self.mind else { return Vec::new() };
                workflow.values.started(now, path, started);
                let Some(items) = started.items else { return Vec::new() };
                if let Some(seconds) = workflow.machine.time_of(&started.node) {
                    self.expiries.insert(key.clone(), now.plus(Duration::from_secs(seconds)));
                }
                workflow.machine.step(now, Input::NodeEntered { key: &key, items })
            }
            EventData::NodeExpired { node } => {
                let key = join(path, node);
                self.expiries.remove(&key);
                let Mind::Workflow(workflow) = &mut self.mind else { return Vec::new() };
                let seconds = workflow.machine.time_of(node).unwrap_or_default();
                let error = Error::timeout(format!("the node took longer than its {seconds} s")).to_info();
                workflow.machine.step(now, Input::NodeBroken { key: &key, error: &error })
            }
            EventData::NodeRetrying(retrying) => {
                let key = join(path, &retrying.node);
                self.retrying(&key, retrying.attempt, retrying.at, retrying.error.code, retrying.fallback);
                if let Mind::Workflow(workflow) = &mut self.mind {
                    workflow.values.retrying(path, retrying);
                }
                Vec::new()
            }
            EventData::NodeWaiting(waiting) => {
                let progress = Progress::Waits { until: waiting.until, digest: None };
                self.open.insert(join(path, &waiting.node), progress);
                Vec::new()
            }
            EventData::NodeFinished(finished) => {
                let key = join(path, &finished.node);
                let Mind::Workflow(workflow) = &mut self.mind else { return Vec::new() };
                if finished.attempt == 0 && workflow.machine.open_at(&key).is_none() {
                    // It never ran: it was taken in with the record that this follows from.
                    return Vec::new();
                }
                self.close(&key);
                self.expiries.remove(&key);
                let Mind::Workflow(workflow) = &mut self.mind else { return Vec::new() };
                workflow.values.finished(path, finished);
                workflow.machine.step(now, Input::NodeEnded { key: &key, end: node_end(finished) })
            }
            EventData::ItemFinished(item) => {
                let Mind::Workflow(workflow) = &mut self.mind else { return Vec::new() };
                let mut actions = Vec::new();
                if let Some(over) = workflow.values.item_finished(path, item) {
                    let (key, error) = (container_of(path).0, over.to_info());
                    actions = workflow.machine.step(now, Input::NodeBroken { key, error: &error });
                }
                actions.extend(workflow.machine.step(now, Input::ItemEnded { path, end: item_end(item) }));
                actions
            }
            _ => Vec::new(),
        }
    }
}

/// Hash of a doubt: about which attempt of which step of which execution.
pub(crate) fn doubt(id: ExecutionId, key: &str, attempt: i64) -> String {
    content_hash(json!([id, key, attempt]).to_string().as_bytes())
}

/// What the machine is told of a node's end.
fn node_end(finished: &NodeFinished) -> NodeEnd<'_> {
    match (finished.status, &finished.port, &finished.error) {
        (NodeStatus::Cancelled, ..) => NodeEnd::Cancelled,
        (NodeStatus::Skipped, ..) => NodeEnd::Skipped,
        (_, Some(port), _) if port == ALL_PORTS => NodeEnd::PassedThrough,
        (_, Some(port), _) => NodeEnd::Port(port),
        (_, None, Some(error)) => NodeEnd::Failed(error),
        (_, None, None) => NodeEnd::Cancelled,
    }
}

fn item_end(item: &ItemFinished) -> ItemEnd<'_> {
    match (item.status, &item.error) {
        (NodeStatus::Completed, _) => ItemEnd::Done { last: item.last },
        (_, Some(error)) => ItemEnd::Failed(error),
        _ => ItemEnd::Cancelled,
    }
}

/// What the finished attempts of an execution and its children used and cost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) usage: Usage,
    pub(crate) steps: u32,
    /// Failures of nodes that the workflow went on from.
    pub(crate) handled: u32,
    cost: Money,
    unpriced: bool,
    /// Whether host code ran: it may have made embeddings, which are in no record.
    called: bool,
}

impl Tally {
    /// Counts one record, after its cost is booked.
    pub(crate) fn count(&mut self, data: &EventData) -> Result<()> {
        match data {
            EventData::StepFinished(finished) => {
                self.steps += 1;
                self.add(&finished.usage, finished.cost)
            }
            EventData::StepRetrying { usage, cost, .. } => self.add(usage, *cost),
            EventData::NodeRetrying(retrying) => self.add(&retrying.usage, retrying.cost),
            EventData::NodeFinished(finished) => {
                self.called = true;
                self.steps += u32::from(finished.attempt > 0);
                self.handled += u32::from(finished.error.is_some() && !finished.is_fatal());
                self.add(&finished.usage, finished.cost)
            }
            EventData::ToolFinished { .. } => {
                self.called = true;
                self.steps += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What all of it cost; `None` as soon as the price of one call is unknown.
    pub(crate) fn cost(&self) -> Option<Money> {
        (!self.unpriced).then_some(self.cost)
    }

    /// The same with what its tools have embedded.
    pub(crate) fn with_embedded(&self, tx: &mut dyn Connection, ids: Ids) -> Result<Self> {
        let mut tally = self.clone();
        if self.called
            && let Some((cost, usage)) = ledger::embedded(tx, ids.root_id, ids.id)?
        {
            tally.add(&usage, cost)?;
        }
        Ok(tally)
    }

    fn add(&mut self, usage: &Usage, cost: Option<Money>) -> Result<()> {
        self.usage.add(usage);
        match cost {
            Some(cost) => self.cost = self.cost.add(cost)?,
            // An attempt that used nothing costs nothing, whatever the price is.
            None if usage.requests > 0 => self.unpriced = true,
            None => {}
        }
        Ok(())
    }
}
