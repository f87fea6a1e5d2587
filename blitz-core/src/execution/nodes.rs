//! Nodes of a workflow: what its machine wants becomes starts, what happens to a node its record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::begin::Launch;
use super::driver::{Driver, RunningWhat, Timer};
use super::effects::wait_until;
use super::retry::node_retry_at;
use super::runnable::{FlowSetup, Part, Runnable};
use super::state::{Progress, WorkflowMind};
use super::turn::{Begin, Blob, ChildStart, Draft, ToolStart, Turn};
use crate::domain::{
    Action, Answer, ApprovalRequested, Close, Decision, Effect, EventData, Finish, ItemFinished, Money, NodeFinished,
    NodeRetrying, NodeStarted, NodeStatus, NodeWaiting, Outcome, OutputRef, Place, Timestamp, ToolCall, Usage, Waiting,
};
use crate::error::{Error, ErrorCode, ErrorInfo, Result};
use crate::store::{content_hash, executions};
use crate::workflow::evaluate::{Desk, Handled, Prepared, check_output, handled, is_effect};
use crate::workflow::expr::no_secrets;
use crate::workflow::machine::container_of;
use crate::workflow::task::{LoopTask, OnCap, Task};

/// Outputs over so many bytes are kept by their hash.
const INLINE_BYTES: usize = 64 * 1024;
/// How much of a large output its reference shows.
const PREVIEW: usize = 1024;

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

    // Reading -----------------------------------------------------------------------------------

    /// Brings the large outputs that what comes next reads.
    pub(super) async fn bring(&mut self, actions: &[Action]) -> Result<()> {
        let Some(setup) = self.flow() else { return Ok(()) };
        let Some(WorkflowMind { values, .. }) = self.state.as_workflow() else { return Ok(()) };
        let plan = &setup.plan;
        let ends = |scope: Option<usize>| scope.map_or(&[][..], |scope| plan.scopes[scope].ends.as_slice());
        let mut hashes = BTreeSet::new();
        for place in self.work.ready.values() {
            hashes.extend(values.missing(&place.path, Some(place.node), &plan.nodes[place.node].reads));
        }
        for action in actions {
            match action {
                Action::RunNode(place) => {
                    hashes.extend(values.missing(&place.path, Some(place.node), &plan.nodes[place.node].reads));
                }
                Action::CloseNode { place, .. } => {
                    hashes.extend(values.missing_at_end(&place.key, ends(plan.nodes[place.node].body)));
                }
                Action::CloseItem { path, .. } => {
                    if let Some(container) = container_node(&setup, path) {
                        let node = &plan.nodes[container];
                        hashes.extend(values.missing_at_end(path, ends(node.body)));
                        hashes.extend(values.missing(path, None, &node.after));
                    }
                }
                Action::Conclude => {
                    hashes.extend(values.missing_at_end("", ends(Some(0))));
                    hashes.extend(values.missing("", None, &plan.output_reads));
                }
                _ => {}
            }
        }
        if hashes.is_empty() {
            return Ok(());
        }
        let bodies = self.store.read(move |tx, _| {
            hashes.iter().map(|hash| Ok((hash.clone(), executions::blob(tx, hash)?))).collect::<Result<Vec<_>>>()
        });
        for (hash, body) in bodies.await? {
            if let Some(WorkflowMind { values, .. }) = self.state.as_workflow() {
                values.load(hash, body);
            }
        }
        Ok(())
    }

    fn desk<'a>(&'a self, setup: &'a FlowSetup, values: &'a crate::workflow::values::Values) -> Desk<'a> {
        Desk { plan: &setup.plan, values, id: self.ids.id, now: Timestamp::now(), secrets: &no_secrets }
    }

    fn evaluate<T>(&self, setup: &FlowSetup, what: impl FnOnce(Desk<'_>) -> Result<T>) -> Result<T> {
        let values = self.state.values().ok_or_else(|| Error::internal("a workflow has no values"))?;
        what(self.desk(setup, values))
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
                Decision::Fail { message } => {
                    let error = Error::new(ErrorCode::ToolFailed, message);
                    return self.node_ended(place, attempt, Err(error), Spent::default(), turn);
                }
            },
            _ => {}
        }
        if is_effect(&node.kind) && node.spec.pin.is_none() && !node.spec.disabled {
            self.work.ready.insert((node.rank, place.node, place.key.clone()), place);
            return Vec::new();
        }
        self.begin_node(&setup, place, turn)
    }

    /// Begins the effects whose turn has come.
    pub(super) fn begin_ready(&mut self, turn: &mut Turn) -> Vec<Action> {
        let Some(setup) = self.flow() else { return Vec::new() };
        let mut actions = Vec::new();
        while actions.is_empty() && self.under_way(turn) < setup.plan.limits.max_parallel.max(1) as usize {
            let Some((_, place)) = self.work.ready.pop_first() else { break };
            actions.extend(self.begin_node(&setup, place, turn));
        }
        actions
    }

    /// How many effects run. A child that waits gives up its place.
    fn under_way(&self, turn: &Turn) -> usize {
        let runs = |what: &RunningWhat| !matches!(what, RunningWhat::Child { waits: true, .. });
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
        let spent = Spent::default();
        match prepared {
            Err(error) => self.node_ended(place, attempt, Err(error), spent, turn),
            Ok(Prepared::Skipped) => {
                let id = setup.plan.nodes[place.node].id.clone();
                let finished = NodeFinished::new(id, NodeStatus::Skipped, 0);
                self.record_node(turn, &place, finished, None)
            }
            Ok(Prepared::Done { output, port }) => {
                let pinned = setup.plan.nodes[place.node].spec.pin.is_some();
                let status = if pinned { NodeStatus::Pinned } else { NodeStatus::Completed };
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
        turn.tools.push(ToolStart {
            key: place.key.clone(),
            attempt,
            call,
            arguments,
            tool_id: *id,
            effect: self.node_effect(setup, &place),
            node: Some((place.path, setup.plan.nodes[place.node].id.clone(), shown)),
        });
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
        let begin = Begin {
            seed: super::derived_seed(self.state.seed, &format!("{}#{attempt}", place.key)),
            deadline: now.plus(own).min(self.deadline),
            launch: Launch { input, messages, max_depth: Some(max_depth), ..Launch::default() },
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

    fn disarm(&mut self, key: &str) {
        if let Some(timer) = self.work.timers.remove(key) {
            timer.handle.abort();
        }
    }

    // Ending ------------------------------------------------------------------------------------

    /// An attempt of a node has ended: what follows is another one, or its end.
    pub(super) fn node_ended(
        &mut self,
        place: Place,
        attempt: u32,
        result: Result<Value>,
        spent: Spent,
        turn: &mut Turn,
    ) -> Vec<Action> {
        self.node_ended_by(place, attempt, "out", result, spent, turn)
    }

    /// The same, by a port of the node's choice.
    pub(super) fn node_ended_by(
        &mut self,
        place: Place,
        attempt: u32,
        port: &str,
        result: Result<Value>,
        spent: Spent,
        turn: &mut Turn,
    ) -> Vec<Action> {
        let Some(setup) = self.flow() else { return Vec::new() };
        let node = &setup.plan.nodes[place.node];
        let stopped = matches!(self.state.open_action(&place.key), Some(Action::CancelNode(_)));
        let result = result.and_then(|output| {
            if !node.ports.iter().any(|known| known == port) {
                return Err(Error::bad_output(format!("the node has no port {port:?}")));
            }
            let bytes = serde_json::to_string(&output).map_or(usize::MAX, |json| json.len());
            check_output(&setup.plan, node, &output, bytes).map(|()| output)
        });
        let error = match result {
            Ok(output) => {
                let done = NodeDone { status: NodeStatus::Completed, port: Some(port.to_owned()), output, error: None };
                return self.node_done(&place, attempt, done, spent, turn);
            }
            Err(error) => error,
        };
        let info = error.to_info();
        if stopped || error.code() == ErrorCode::Cancelled {
            let done = NodeDone { status: NodeStatus::Cancelled, port: None, output: Value::Null, error: None };
            return self.node_done(&place, attempt, done, spent, turn);
        }
        let now = Timestamp::now();
        let failures = self.state.failures(&place.key, attempt);
        let began = self.state.values().and_then(|values| values.started_at(&place.path, place.node)).unwrap_or(now);
        let retry = node.spec.retry.as_ref();
        let at =
            retry.and_then(|retry| node_retry_at(retry, failures, &error, began, now, self.deadline, self.state.seed));
        let fallback = self.state.place(&place.key);
        let next =
            (at.is_none() && fallback < node.fallback.len() && now < self.deadline && may_fall_back(error.code()))
                .then_some(fallback + 1);
        if at.is_some() || next.is_some() {
            let mut retrying = NodeRetrying::new(node.id.clone(), attempt, info, at.unwrap_or(now));
            (retrying.usage, retrying.cost) = (spent.usage, spent.cost);
            retrying.fallback = next.and_then(|next| u32::try_from(next).ok());
            let mut actions = self.record(turn, place.path, EventData::NodeRetrying(retrying), None);
            actions.extend(self.open_action(&place.key));
            return actions;
        }
        let done = match handled(node, error.code()) {
            Handled::Port { port, output } => {
                NodeDone { status: NodeStatus::Failed, port: Some(port), output, error: Some(info) }
            }
            Handled::Not => {
                let info = located(info, &node.id, &place.path, attempt);
                NodeDone { status: NodeStatus::Failed, port: None, output: Value::Null, error: Some(info) }
            }
        };
        self.node_done(&place, attempt, done, spent, turn)
    }

    fn node_done(&mut self, place: &Place, attempt: u32, done: NodeDone, spent: Spent, turn: &mut Turn) -> Vec<Action> {
        let Some(setup) = self.flow() else { return Vec::new() };
        let mut finished = NodeFinished::new(setup.plan.nodes[place.node].id.clone(), done.status, attempt);
        (finished.port, finished.error) = (done.port, done.error);
        (finished.usage, finished.cost) = (spent.usage, spent.cost);
        let now = Timestamp::now();
        let began = self.state.values().and_then(|values| values.started_at(&place.path, place.node));
        finished.ms = began.map_or(0, |began| u64::try_from(now.since(began).as_millis()).unwrap_or(u64::MAX));
        let (output, output_ref, blob) = match kept(done.output) {
            Ok(kept) => kept,
            Err(error) => {
                finished.status = NodeStatus::Failed;
                finished.port = None;
                finished.error = Some(error.to_info());
                (Value::Null, None, None)
            }
        };
        (finished.output, finished.output_ref) = (output, output_ref);
        self.record_node(turn, place, finished, blob)
    }

    /// Puts a node's end into the turn, with the variables that it set.
    fn record_node(
        &mut self,
        turn: &mut Turn,
        place: &Place,
        finished: NodeFinished,
        blob: Option<Blob>,
    ) -> Vec<Action> {
        self.disarm(&place.key);
        self.work.asked.remove(&place.key);
        self.bring_own(blob.as_ref());
        let mut data = EventData::NodeFinished(finished);
        let actions = self.state.absorb(Timestamp::now(), &place.path, &data);
        let mut changed = Vec::new();
        if let (EventData::NodeFinished(finished), Some(mind)) = (&mut data, self.state.as_workflow()) {
            finished.progress = mind.machine.progress();
            changed = mind.values.changed_by(&place.path, finished);
        }
        turn.drafts.push(Draft { path: place.path.clone(), data, settle: None, blob });
        for (name, value) in changed {
            let data = EventData::VarSet { name, value };
            turn.drafts.push(Draft { path: place.path.clone(), data, settle: None, blob: None });
        }
        actions
    }

    /// What was just made need not be read again.
    fn bring_own(&mut self, blob: Option<&Blob>) {
        if let (Some(blob), Some(mind)) = (blob, self.state.as_workflow())
            && let Ok(value) = serde_json::from_slice(&blob.body)
        {
            mind.values.load(blob.hash.clone(), value);
        }
    }

    /// A child of a node has ended.
    pub(super) fn node_child_ended(
        &mut self,
        place: Place,
        attempt: u32,
        outcome: Outcome,
        turn: &mut Turn,
    ) -> Vec<Action> {
        let spent = Spent { usage: outcome.usage, cost: outcome.cost };
        let result = match (outcome.status, outcome.error) {
            (crate::domain::ExecutionStatus::Completed, _) => Ok(outcome.output),
            (_, Some(error)) => Err(self.child_error(&place, error)),
            _ => Err(Error::cancelled("the child execution was cancelled")),
        };
        self.node_ended(place, attempt, result, spent, turn)
    }

    /// The child's error as the node's: where the node's own time was over, it is that.
    fn child_error(&self, place: &Place, error: ErrorInfo) -> Error {
        let limit = self.flow().and_then(|setup| setup.plan.nodes[place.node].spec.timeout_s);
        let out_of_time = error.code == ErrorCode::LimitExceeded
            && error.details.get("limit").and_then(Value::as_str) == Some("wall_time");
        match limit {
            Some(seconds) if out_of_time => {
                Error::timeout(format!("the node took longer than its {seconds} s")).with_details(error.details)
            }
            _ => Error::from(error),
        }
    }

    // Containers --------------------------------------------------------------------------------

    /// A container has come to its end.
    pub(super) fn close_node(&mut self, place: Place, close: Close, turn: &mut Turn) -> Vec<Action> {
        let Some(setup) = self.flow() else { return Vec::new() };
        let node = &setup.plan.nodes[place.node];
        let cancelled = NodeDone { status: NodeStatus::Cancelled, port: None, output: Value::Null, error: None };
        let capped = || Error::LimitExceeded {
            limit: "max_iterations",
            value: match &node.task {
                Task::Loop(rounds) => rounds.max_iterations.to_string(),
                _ => String::new(),
            },
        };
        let result = match (close, &node.task) {
            (Close::Cancelled, _) => return self.node_done(&place, 1, cancelled, Spent::default(), turn),
            (Close::Failed(error), _) => Err(Error::from(error)),
            (Close::Capped, Task::Loop(rounds)) => match **rounds {
                LoopTask { on_cap: OnCap::Error, .. } => Err(capped()),
                LoopTask { on_cap: OnCap::Port, .. } => match self.evaluate(&setup, |desk| desk.container(&place)) {
                    Err(error) => Err(error),
                    Ok(output) => {
                        let port = Some("cap".to_owned());
                        let done = NodeDone { status: NodeStatus::Completed, port, output, error: None };
                        return self.node_done(&place, 1, done, Spent::default(), turn);
                    }
                },
            },
            _ => self.evaluate(&setup, |desk| desk.container(&place)),
        };
        self.node_ended(place, 1, result, Spent::default(), turn)
    }

    /// An item or a round has come to its end.
    pub(super) fn close_item(&mut self, path: String, close: Close, turn: &mut Turn) -> Vec<Action> {
        let Some(setup) = self.flow() else { return Vec::new() };
        let (Some(container), Some(index)) = (container_node(&setup, &path), container_of(&path).1) else {
            return Vec::new();
        };
        let mut item = ItemFinished::new(setup.plan.nodes[container].id.clone(), index, NodeStatus::Completed);
        let mut carried = Vec::new();
        let mut blob = None;
        let result = match close {
            Close::Failed(error) => Err(Some(error)),
            Close::Cancelled => Err(None),
            Close::Done | Close::Capped => self
                .evaluate(&setup, |desk| Ok((desk.item(container, &path)?, desk.round(container, &path)?)))
                .and_then(|(output, round)| Ok((kept(output)?, round)))
                .map_err(|error| Some(error.to_info())),
        };
        match result {
            Ok(((output, output_ref, body), (carry, last))) => {
                (item.output, item.output_ref, item.last) = (output, output_ref, last);
                item.vars = carry.iter().cloned().collect();
                (carried, blob) = (carry, body);
            }
            Err(Some(error)) => (item.status, item.error) = (NodeStatus::Failed, Some(error)),
            Err(None) => item.status = NodeStatus::Cancelled,
        }
        self.bring_own(blob.as_ref());
        let data = EventData::ItemFinished(item);
        let actions = self.state.absorb(Timestamp::now(), &path, &data);
        turn.drafts.push(Draft { path: path.clone(), data, settle: None, blob });
        for (name, _) in carried {
            let value = self.state.values().and_then(|values| values.var(&path, &name)).cloned().unwrap_or_default();
            let data = EventData::VarSet { name, value };
            turn.drafts.push(Draft { path: path.clone(), data, settle: None, blob: None });
        }
        actions
    }

    /// All nodes are decided: the workflow ends with its output.
    pub(super) fn conclude(&mut self) -> Finish {
        let Some(setup) = self.flow() else { return Finish::Cancelled };
        let output = self.evaluate(&setup, |desk| desk.output()).and_then(|output| {
            setup.check_output(&output)?;
            Ok(output)
        });
        match output {
            Ok(output) => Finish::Completed { output },
            Err(error) => Finish::failed(&error),
        }
    }

    // Stopping ----------------------------------------------------------------------------------

    /// Stops a node: what has not begun ends at once, an effect when it hears of it.
    pub(super) fn cancel_node(&mut self, place: Place, turn: &mut Turn) -> Vec<Action> {
        let Some(setup) = self.flow() else { return Vec::new() };
        let node = &setup.plan.nodes[place.node];
        self.work.ready.remove(&(node.rank, place.node, place.key.clone()));
        self.work.in_doubt.retain(|key| *key != place.key);
        turn.tools.retain(|tool| tool.key != place.key);
        turn.children.retain(|child| child.key != place.key);
        if let Some(running) = self.work.running.get(&place.key) {
            running.what.stop();
            return Vec::new();
        }
        if let Some(Progress::Child { id, .. }) = self.state.open.get(&place.key).cloned() {
            // It was interrupted: it goes on only to end.
            self.resume_node(&setup, &place, id);
            if let Some(running) = self.work.running.get(&place.key) {
                running.what.stop();
            }
            return Vec::new();
        }
        let attempt = u32::from(self.state.open.contains_key(&place.key));
        let done = NodeDone { status: NodeStatus::Cancelled, port: None, output: Value::Null, error: None };
        self.node_done(&place, attempt, done, Spent::default(), turn)
    }

    /// The record of a node that was stopped because its execution ends.
    pub(super) fn stopped_node(&self, place: &Place, attempt: u32, spent: Spent) -> Option<Draft> {
        let setup = self.flow()?;
        let mut finished = NodeFinished::new(setup.plan.nodes[place.node].id.clone(), NodeStatus::Cancelled, attempt);
        (finished.usage, finished.cost) = (spent.usage, spent.cost);
        Some(Draft { path: place.path.clone(), data: EventData::NodeFinished(finished), settle: None, blob: None })
    }

    /// Whether code of the host runs a node: it says by which port it leaves.
    pub(super) fn is_host_node(&self, place: &Place) -> bool {
        self.setup.workflow().is_some_and(|setup| matches!(setup.plan.nodes[place.node].task, Task::Host { .. }))
    }

    /// The place of a node that is open.
    pub(super) fn open_place(&self, key: &str) -> Option<Place> {
        match self.open_action(key)? {
            Action::RunNode(place) | Action::CancelNode(place) => Some(place),
            _ => None,
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

/// The node whose item or round a path is.
fn container_node(setup: &FlowSetup, path: &str) -> Option<usize> {
    let id = container_of(path).0.rsplit('/').next()?;
    setup.plan.index(id)
}

/// A value as a record keeps it: a large one is kept apart, by its hash.
fn kept(output: Value) -> Result<(Value, Option<OutputRef>, Option<Blob>)> {
    let is_small = match &output {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() < INLINE_BYTES / 2,
        _ => false,
    };
    if is_small {
        return Ok((output, None, None));
    }
    if !crate::domain::schema::can_be_kept(&output) {
        return Err(Error::too_large("the output is nested too deep to be kept"));
    }
    let json =
        serde_json::to_string(&output).map_err(|error| Error::internal("a value is no JSON").with_source(error))?;
    if json.len() <= INLINE_BYTES {
        return Ok((output, None, None));
    }
    let hash = content_hash(json.as_bytes());
    let preview = json[..json.floor_char_boundary(PREVIEW)].to_owned();
    let at = OutputRef::new(hash.clone(), json.len() as u64, preview);
    Ok((Value::Null, Some(at), Some(Blob { hash, body: json.into_bytes() })))
}

/// An error with the place where it happened.
fn located(mut info: ErrorInfo, node: &str, path: &str, attempt: u32) -> ErrorInfo {
    let mut details = match info.details.take() {
        Value::Object(details) => details,
        Value::Null => serde_json::Map::new(),
        other => serde_json::Map::from_iter([("details".to_owned(), other)]),
    };
    // The innermost place stays: a container fails with the error of what is in it.
    if !details.contains_key("node") {
        details.insert("node".to_owned(), json!(node));
        details.insert("path".to_owned(), json!(path));
        details.insert("attempt".to_owned(), json!(attempt));
    }
    info.details = Value::Object(details);
    info
}

/// Whether other settings of a node are tried on such a failure.
fn may_fall_back(code: ErrorCode) -> bool {
    !matches!(code, ErrorCode::Cancelled | ErrorCode::BudgetExceeded | ErrorCode::PermissionDenied)
}
