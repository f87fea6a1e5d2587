//! Nodes of a workflow: what its machine wants becomes starts, what happens to a node its record.

mod cached;
mod ended;
mod expiry;
mod hand;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::begin::Launch;
use super::driver::{Driver, RunningWhat, Timer};
use super::effects::wait_until;
use super::runnable::{FlowSetup, Part, Runnable};
use super::state::Progress;
use super::turn::{Begin, ChildStart, ToolStart, Turn};
use super::waits::Waits;
use crate::domain::{
    Action, Answer, ApprovalRequested, Decision, Effect, EventData, Money, NodeFinished, NodeStarted, NodeStatus,
    NodeType, NodeWaiting, Place, Timestamp, ToolCall, Usage, Waiting,
};
use crate::error::{Error, ErrorCode, ErrorInfo, Result};
use crate::store::content_hash;
use crate::workflow::evaluate::{Prepared, is_effect};
use crate::workflow::machine::container_of;
use crate::workflow::task::Task;
pub(super) use cached::KeptEnd;
pub(super) use hand::{Hand, Secrets, fill};

/// What an attempt of a node used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) usage: Usage,
    pub(super) cost: Option<Money>,
}

/// How a node ended that its driver does nothing more with.
struct NodeDone {
    status: NodeStatus,
    port: Option<String>,
    output: Value,
    error: Option<ErrorInfo>,
}

impl Driver {
    fn flow(&self) -> Option<Arc<FlowSetup>> {
        self.setup.workflow().map(Arc::clone)
    }

    // Starting ----------------------------------------------------------------------------------

    /// Runs a node, or lets it wait for its turn among the effects.
    pub(super) fn plan_node(&mut self, place: Place, turn: &mut Turn) -> Vec<Action> {
        let Some(setup) = self.flow() else { return Vec::new() };
        let node = &setup.plan.nodes[place.node];
        match self.state.open.get(&place.key).cloned() {
            Some(Progress::Retry { at, .. }) if at > Timestamp::now() => {
                self.arm(place.key, at);
                return Vec::new();
            }
            Some(Progress::Waits { until, digest }) => {
                if let Some(digest) = digest {
                    let wait = Waiting::Approval { key: place.key.clone(), digest, expires_at: until };
                    self.work.asked.insert(place.key.clone(), wait);
                }
                return self.waited(&setup, place, until, turn);
            }
            Some(Progress::Answered { answer, by }) => return self.answered(place, &answer, &by, turn),
            Some(Progress::Child { id, .. }) => {
                self.resume_node(&setup, &place, id);
                return Vec::new();
            }
            Some(Progress::Started { .. }) if self.node_effect(&setup, &place) == Effect::Unsafe => {
                self.work.in_doubt.push(place.key);
                return Vec::new();
            }
            Some(Progress::Decided { attempt, decision }) => match decision {
                Decision::Rerun => {}
                Decision::Skip { value } => {
                    return self.node_ended(place, attempt, Ok(value), Spent::default(), turn);
                }
                // Whoever says so means the node: no retry and no fallback repeats what may have been done.
                Decision::Fail { message } => {
                    let error = Error::new(ErrorCode::ToolFailed, message);
                    return self.node_failed(place, attempt, &error, Spent::default(), turn);
                }
            },
            _ => {}
        }
        if is_effect(&node.kind) && node.spec.pin.is_none() && !node.spec.disabled {
            self.work.ready.insert(turn_of(node.rank, &place), place);
            return Vec::new();
        }
        self.begin_node(&setup, place, turn)
    }

    /// Begins the effects whose turn has come.
    pub(super) fn begin_ready(&mut self, turn: &mut Turn) -> Vec<Action> {
        let Some(setup) = self.flow() else { return Vec::new() };
        let mut actions = Vec::new();
        while actions.is_empty()
            && turn.may_start()
            && self.under_way(turn) < setup.plan.limits.max_parallel.max(1) as usize
        {
            let Some((_, place)) = self.work.ready.pop_first() else { break };
            let run = Action::RunNode(place.clone());
            if !self.is_wanted(&run) {
                continue;
            }
            if self.lacks(&run) {
                // Nothing overtakes it while what it reads is brought.
                self.work.hand.put_off(run);
                break;
            }
            actions.extend(self.begin_node(&setup, place, turn));
        }
        actions
    }

    /// Takes out of the turn what it would start though its node is stopped: what stops it has no room in it.
    pub(super) fn keep_wanted(&self, turn: &mut Turn) {
        let runs = |key: &str| matches!(self.state.open_action(key), Some(Action::RunNode(_)));
        turn.tools.retain(|tool| tool.node.is_none() || runs(&tool.key));
        turn.children.retain(|child| child.node.is_none() || runs(&child.key));
    }

    /// How many effects run. A child that waits gives up its place.
    fn under_way(&self, turn: &Turn) -> usize {
        let runs = |what: &RunningWhat| !matches!(what, RunningWhat::Child { waits: Waits { rests: true, .. }, .. });
        let running = self.work.running.values().filter(|running| runs(&running.what)).count();
        running + turn.tools.len() + turn.children.len()
    }

    fn node_effect(&self, setup: &FlowSetup, place: &Place) -> Effect {
        setup.effect(place.node, self.state.place(&place.key))
    }

    fn begin_node(&mut self, setup: &Arc<FlowSetup>, place: Place, turn: &mut Turn) -> Vec<Action> {
        let attempt = match self.state.open.get(&place.key) {
            None => 1,
            Some(Progress::Retry { attempt, .. }) => *attempt,
            Some(
                Progress::Started { attempt } | Progress::Decided { attempt, .. } | Progress::Child { attempt, .. },
            ) => attempt + 1,
            Some(Progress::Waits { .. } | Progress::Answered { .. }) => 1,
        };
        let fallback = self.state.place(&place.key);
        let prepared = self.evaluate(setup, |desk| desk.prepare(&place, fallback));
        let prepared = prepared.and_then(|prepared| Ok((self.looks_up(setup, &place, &prepared)?, prepared)));
        let prepared = match prepared {
            Ok((true, _)) => return Vec::new(),
            other => other.map(|(_, prepared)| prepared),
        };
        let spent = Spent::default();
        match prepared {
            Err(error) => self.node_ended(place, attempt, Err(error), spent, turn),
            Ok(Prepared::Skipped) => {
                let id = setup.plan.nodes[place.node].id.clone();
                let finished = NodeFinished::new(id, NodeStatus::Skipped, 0);
                self.record_node(turn, &place, finished, None)
            }
            Ok(Prepared::Done { output, port }) => {
                let node = &setup.plan.nodes[place.node].spec;
                // What only passes something on promises nothing.
                let passes = node.disabled || matches!(node.kind, NodeType::Start | NodeType::Input);
                let status = match (&node.pin, passes) {
                    (Some(_), _) => NodeStatus::Pinned,
                    (None, true) => NodeStatus::Completed,
                    // What it promises of its output is looked at as of any other.
                    (None, false) => return self.node_ended_by(place, attempt, &port, Ok(output), spent, turn),
                };
                self.node_done(&place, attempt, NodeDone { status, port: Some(port), output, error: None }, spent, turn)
            }
            Ok(Prepared::Child { input }) => self.begin_child(setup, place, attempt, input, Vec::new(), turn),
            Ok(Prepared::Ask { messages, input }) => self.begin_child(setup, place, attempt, input, messages, turn),
            Ok(Prepared::Call { arguments, shown }) => self.begin_call(setup, place, attempt, arguments, shown, turn),
            Ok(Prepared::Enter { input, items }) => {
                let mut started = NodeStarted::new(setup.plan.nodes[place.node].id.clone(), attempt);
                (started.input, started.items) = (input, Some(items));
                self.record(turn, place.path, EventData::NodeStarted(started), None)
            }
            Ok(Prepared::Wait { until }) => {
                let waiting = NodeWaiting::new(setup.plan.nodes[place.node].id.clone(), Some(until));
                self.record(turn, place.path.clone(), EventData::NodeWaiting(waiting), None);
                self.waited(setup, place, Some(until), turn)
            }
            Ok(Prepared::Approve { message, details, until }) => self.ask(setup, &place, message, details, until, turn),
        }
    }

    fn begin_call(
        &mut self,
        setup: &FlowSetup,
        place: Place,
        attempt: u32,
        arguments: Value,
        shown: Value,
        turn: &mut Turn,
    ) -> Vec<Action> {
        let Some(Part::Tool { id, tool }) = setup.part(place.node, self.state.place(&place.key)) else {
            let error = Error::internal("a node has nothing that runs it");
            return self.node_ended(place, attempt, Err(error), Spent::default(), turn);
        };
        if let Err(problem) = tool.admit(&arguments) {
            return self.node_ended(place, attempt, Err(Error::invalid(problem)), Spent::default(), turn);
        }
        let call = ToolCall::new(&place.key, &tool.spec().name, String::new());
        let start = ToolStart {
            key: place.key.clone(),
            attempt,
            call,
            arguments,
            tool_id: *id,
            effect: self.node_effect(setup, &place),
            node: Some((place.path, setup.plan.nodes[place.node].id.clone(), shown)),
            granted: None,
        };
        self.start_tool(start, false, turn);
        Vec::new()
    }

    fn begin_child(
        &mut self,
        setup: &FlowSetup,
        place: Place,
        attempt: u32,
        input: Value,
        messages: Vec<crate::domain::Message>,
        turn: &mut Turn,
    ) -> Vec<Action> {
        let child = match setup.part(place.node, self.state.place(&place.key)) {
            Some(Part::Child(child)) => child.clone(),
            _ => {
                let error = Error::internal("a node has nothing that runs it");
                return self.node_ended(place, attempt, Err(error), Spent::default(), turn);
            }
        };
        let max_depth = self.state.max_depth(setup.plan.limits.max_depth);
        let fits = if self.ids.depth >= max_depth {
            Err(Error::LimitExceeded { limit: "depth", value: max_depth.to_string() })
        } else {
            child.admit(&input, &messages)
        };
        if let Err(error) = fits {
            return self.node_ended(place, attempt, Err(error), Spent::default(), turn);
        }
        let now = Timestamp::now();
        let node = &setup.plan.nodes[place.node];
        let own =
            node.spec.timeout_s.map_or(child.timeout(), |seconds| child.timeout().min(Duration::from_secs(seconds)));
        let secrets = node.at(self.state.place(&place.key)).held_back();
        let begin = Begin {
            seed: super::derived_seed(self.state.seed, &format!("{}#{attempt}", place.key)),
            deadline: now.plus(own).min(self.deadline),
            launch: Launch { input, messages, secrets, max_depth: Some(max_depth), ..Launch::default() },
            setup: child,
        };
        let key = place.key.clone();
        turn.children.push(ChildStart { key, attempt, call: None, node: Some((place.path, node.id.clone())), begin });
        Vec::new()
    }

    /// Goes on with a child that was interrupted.
    fn resume_node(&mut self, setup: &FlowSetup, place: &Place, id: crate::domain::ExecutionId) {
        if let Some(Part::Child(child)) = setup.part(place.node, self.state.place(&place.key)) {
            self.resume_child(place.key.clone(), id, child);
        }
    }

    // Waiting -----------------------------------------------------------------------------------

    pub(super) fn arm(&mut self, key: String, at: Timestamp) {
        let handle = self.work.effects.spawn(wait_until(key.clone(), at));
        if let Some(before) = self.work.timers.insert(key, Timer { handle, at }) {
            before.handle.abort();
        }
    }

    /// Goes on from a wait whose time has come, else waits on.
    fn waited(&mut self, setup: &FlowSetup, place: Place, until: Option<Timestamp>, turn: &mut Turn) -> Vec<Action> {
        let node = &setup.plan.nodes[place.node];
        let is_approval = matches!(node.task, Task::Approval(_));
        match until {
            Some(at) if at > Timestamp::now() => self.arm(place.key.clone(), at),
            Some(_) => {
                self.work.asked.remove(&place.key);
                let port = if is_approval { "timeout" } else { "out" };
                let done = NodeDone {
                    status: NodeStatus::Completed,
                    port: Some(port.to_owned()),
                    output: Value::Null,
                    error: None,
                };
                return self.node_done(&place, 1, done, Spent::default(), turn);
            }
            None => {}
        }
        Vec::new()
    }

    fn ask(
        &mut self,
        setup: &FlowSetup,
        place: &Place,
        message: String,
        details: Value,
        until: Option<Timestamp>,
        turn: &mut Turn,
    ) -> Vec<Action> {
        let node = &setup.plan.nodes[place.node];
        let Task::Approval(approval) = &node.task else { return Vec::new() };
        let question = json!([self.ids.id, &place.key, &message, &details, &approval.options, until]);
        let digest = content_hash(question.to_string().as_bytes());
        let asked = ApprovalRequested::new(
            node.id.clone(),
            place.key.clone(),
            message,
            details,
            approval.options.clone(),
            approval.form.clone(),
            digest.clone(),
            until,
        );
        let waiting = NodeWaiting::new(node.id.clone(), until);
        self.record(turn, place.path.clone(), EventData::NodeWaiting(waiting), None);
        self.record(turn, place.path.clone(), EventData::ApprovalRequested(asked), None);
        let wait = Waiting::Approval { key: place.key.clone(), digest, expires_at: until };
        self.work.asked.insert(place.key.clone(), wait);
        if let Some(at) = until {
            self.arm(place.key.clone(), at);
        }
        Vec::new()
    }

    fn answered(&mut self, place: Place, answer: &Answer, by: &str, turn: &mut Turn) -> Vec<Action> {
        self.work.asked.remove(&place.key);
        self.disarm(&place.key);
        let output = json!({"option": answer.option, "comment": answer.comment, "value": answer.value, "by": by});
        let done = NodeDone { status: NodeStatus::Completed, port: Some(answer.option.clone()), output, error: None };
        self.node_done(&place, 1, done, Spent::default(), turn)
    }

    pub(super) fn disarm(&mut self, key: &str) {
        if let Some(timer) = self.work.timers.remove(key) {
            timer.handle.abort();
        }
    }
}

impl Runnable {
    /// Whether it takes an input, or messages in its place.
    ///
    /// Errors: `InvalidInput`, `Expression`, as at its start.
    fn admit(&self, input: &Value, messages: &[crate::domain::Message]) -> Result<()> {
        crate::domain::schema::admit_kept("the input", input)?;
        match self {
            Self::Agent(setup) if messages.is_empty() => setup.admit(input),
            Self::Agent(_) => Ok(()),
            Self::Workflow(setup) => setup.check_input(input),
        }
    }
}

impl RunningWhat {
    /// Asks it to end.
    fn stop(&self) {
        match self {
            Self::Child { cancel, .. } | Self::Tool { cancel, .. } => cancel.cancel(),
            Self::Model { .. } | Self::Queued => {}
        }
    }
}

/// When an effect gets its turn: by the rank of its node, its place in the list, the items it is in.
fn turn_of(rank: u32, place: &Place) -> (u32, usize, Vec<u64>) {
    (rank, place.node, place.path.split('/').filter_map(|part| part.parse().ok()).collect())
}

/// The node whose item or round a path is.
fn container_node(setup: &FlowSetup, path: &str) -> Option<usize> {
    let id = container_of(path).0.rsplit('/').next()?;
    setup.plan.index(id)
}
