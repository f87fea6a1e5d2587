//! How nodes of a workflow end: another attempt, an output, an error that is handled or is not; what
//! containers gather, and what is stopped.

use serde_json::Value;

use super::super::driver::Driver;
use super::super::retry::node_retry_at;
use super::super::state::Progress;
use super::super::turn::{Blob, Draft, Turn};
use super::{NodeDone, Spent, container_node, turn_of};
use crate::domain::{
    Action, Close, EventData, ExecutionStatus, Finish, ItemFinished, NodeFinished, NodeRetrying, NodeStatus, Outcome,
    OutputRef, Place, Timestamp,
};
use crate::error::{Error, ErrorCode, ErrorInfo, ErrorPlace, Result};
use crate::store::executions;
use crate::workflow::evaluate::{Handled, check_output, handled};
use crate::workflow::machine::container_of;
use crate::workflow::task::{LoopTask, OnCap, Task};

impl Driver {
    // Ending ------------------------------------------------------------------------------------

    /// An attempt of a node has ended: what follows is another one, or its end.
    pub(in crate::execution) fn node_ended(
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
    pub(in crate::execution) fn node_ended_by(
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
        let result = self.work.hand.without_secrets(result).and_then(|output| {
            // Ends have no port, and yet an output.
            let named = matches!(node.task, Task::Host { .. });
            if named && !node.ports.iter().any(|known| known == port) {
                return Err(Error::bad_output(format!("the node has no port {port:?}")));
            }
            if !crate::domain::schema::can_be_kept(&output) {
                return Err(Error::too_large("the output is nested too deep to be kept"));
            }
            check_output(&setup.plan, node, &output)?;
            if let (Task::Set { .. }, Value::Object(written), Some(values)) = (&node.task, &output, self.state.values())
            {
                values.admit(&place.path, written)?;
            }
            Ok(output)
        });
        let error = match result {
            Ok(output) => {
                let done = NodeDone { status: NodeStatus::Completed, port: Some(port.to_owned()), output, error: None };
                return self.node_done(&place, attempt, done, spent, turn);
            }
            Err(error) => error,
        };
        let info = error.to_info();
        // One that was cancelled by itself, such as a child alone, has failed: whoever waits for it is told.
        if stopped || (error.code() == ErrorCode::Cancelled && self.cancel.is_cancelled()) {
            let done = NodeDone { status: NodeStatus::Cancelled, port: None, output: Value::Null, error: None };
            return self.node_done(&place, attempt, done, spent, turn);
        }
        let info = info.at(ErrorPlace::new(&node.id, &place.path, attempt));
        let now = Timestamp::now();
        let failures = self.state.failures(&place.key, attempt);
        let began = self.state.values().and_then(|values| values.started_at(&place.path, place.node)).unwrap_or(now);
        // A container is no attempt of its own: what is in it was tried again there.
        let is_leaf = node.body.is_none();
        let retry = node.spec.retry.as_ref().filter(|_| is_leaf);
        let at =
            retry.and_then(|retry| node_retry_at(retry, failures, &error, began, now, self.deadline, self.state.seed));
        let fallback = self.state.place(&place.key);
        let next = (at.is_none()
            && is_leaf
            && fallback < node.fallback.len()
            && now < self.deadline
            && may_fall_back(error.code()))
        .then_some(fallback + 1);
        if at.is_some() || next.is_some() {
            let mut retrying = NodeRetrying::new(node.id.clone(), attempt, info, at.unwrap_or(now));
            (retrying.usage, retrying.cost) = (spent.usage, spent.cost);
            retrying.fallback = next.and_then(|next| u32::try_from(next).ok());
            let mut actions = self.record(turn, place.path, EventData::NodeRetrying(retrying), None);
            actions.extend(self.state.open_action(&place.key));
            return actions;
        }
        self.node_failed(place, attempt, &error, spent, turn)
    }

    /// A node has failed for good: it is not tried again, with these settings or others.
    pub(super) fn node_failed(
        &mut self,
        place: Place,
        attempt: u32,
        error: &Error,
        spent: Spent,
        turn: &mut Turn,
    ) -> Vec<Action> {
        let Some(setup) = self.flow() else { return Vec::new() };
        let node = &setup.plan.nodes[place.node];
        let info = error.to_info().at(ErrorPlace::new(&node.id, &place.path, attempt));
        let done = match handled(node) {
            Handled::Port { port, output } => {
                NodeDone { status: NodeStatus::Failed, port: Some(port), output, error: Some(info) }
            }
            Handled::Not => NodeDone { status: NodeStatus::Failed, port: None, output: Value::Null, error: Some(info) },
        };
        self.node_done(&place, attempt, done, spent, turn)
    }

    pub(super) fn node_done(
        &mut self,
        place: &Place,
        attempt: u32,
        done: NodeDone,
        spent: Spent,
        turn: &mut Turn,
    ) -> Vec<Action> {
        let Some(setup) = self.flow() else { return Vec::new() };
        let mut finished = NodeFinished::new(setup.plan.nodes[place.node].id.clone(), done.status, attempt);
        (finished.port, finished.error) = (done.port, done.error);
        (finished.usage, finished.cost) = (spent.usage, spent.cost);
        let now = Timestamp::now();
        let began = self.state.values().and_then(|values| values.started_at(&place.path, place.node));
        finished.ms = began.map_or(0, |began| u64::try_from(now.since(began).as_millis()).unwrap_or(u64::MAX));
        let kept = match &setup.plan.nodes[place.node].task {
            // What variables are set to is read from the record itself.
            Task::Set { .. } if !setup.plan.nodes[place.node].spec.disabled => Ok((done.output, None, None)),
            _ => kept(done.output),
        };
        let (output, output_ref, blob) = match kept {
            Ok(kept) => kept,
            Err(error) => {
                finished.status = NodeStatus::Failed;
                finished.port = None;
                finished.error = Some(error.to_info().at(ErrorPlace::new(&finished.node, &place.path, attempt)));
                (Value::Null, None, None)
            }
        };
        (finished.output, finished.output_ref) = (output, output_ref);
        self.record_node(turn, place, finished, blob)
    }

    /// Puts a node's end into the turn, with the variables that it set.
    pub(super) fn record_node(
        &mut self,
        turn: &mut Turn,
        place: &Place,
        finished: NodeFinished,
        blob: Option<Blob>,
    ) -> Vec<Action> {
        self.disarm(&place.key);
        self.work.asked.remove(&place.key);
        self.bring_own(blob.as_ref());
        self.keep_output(place, &finished, turn);
        let writes = self.state.values().map(|values| values.writes_of(&place.path, &finished)).unwrap_or_default();
        let mut data = EventData::NodeFinished(finished);
        let actions = self.state.absorb(Timestamp::now(), &place.path, &data);
        if let (EventData::NodeFinished(finished), Some(mind)) = (&mut data, self.state.as_workflow()) {
            finished.progress = mind.machine.progress();
        }
        turn.drafts.push(Draft { path: place.path.clone(), data, settle: None, blob });
        self.tell_writes(turn, &place.path, writes);
        actions
    }

    /// Tells of the variables that were written.
    fn tell_writes(&self, turn: &mut Turn, path: &str, writes: Vec<(String, Value)>) {
        let told = self.state.values().map(|values| values.told(path, writes)).unwrap_or_default();
        let draft = |data| Draft { path: path.to_owned(), data, settle: None, blob: None };
        turn.drafts.extend(told.into_iter().map(draft));
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
    pub(in crate::execution) fn node_child_ended(
        &mut self,
        place: Place,
        attempt: u32,
        outcome: Outcome,
        turn: &mut Turn,
    ) -> Vec<Action> {
        let spent = Spent { usage: outcome.usage, cost: outcome.cost };
        let result = match (outcome.status, outcome.error) {
            (ExecutionStatus::Completed, _) => Ok(outcome.output),
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
    pub(in crate::execution) fn close_node(&mut self, place: Place, close: Close, turn: &mut Turn) -> Vec<Action> {
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
            (_, task) => self.evaluate(&setup, |desk| desk.container(&place)).and_then(|output| {
                if let (Task::Map(_), Some(values)) = (task, self.state.values()) {
                    values.admit_items(&place.path, &place.key)?;
                }
                Ok(output)
            }),
        };
        self.node_ended(place, 1, result, Spent::default(), turn)
    }

    /// An item or a round has come to its end.
    pub(in crate::execution) fn close_item(&mut self, path: String, close: Close, turn: &mut Turn) -> Vec<Action> {
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
                .and_then(|(output, round)| {
                    if let Some(values) = self.state.values() {
                        values.admit(&path, round.0.iter().map(|(name, value)| (name, value)))?;
                    }
                    Ok((kept(output)?, round))
                })
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
        let mut data = EventData::ItemFinished(item);
        let actions = self.state.absorb(Timestamp::now(), &path, &data);
        if let (EventData::ItemFinished(item), Some(mind)) = (&mut data, self.state.as_workflow()) {
            item.progress = mind.machine.progress();
        }
        turn.drafts.push(Draft { path: path.clone(), data, settle: None, blob });
        self.tell_writes(turn, &path, carried);
        actions
    }

    /// All nodes are decided: the workflow ends with its output.
    pub(in crate::execution) fn conclude(&mut self) -> Finish {
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
    pub(in crate::execution) fn cancel_node(&mut self, place: Place, turn: &mut Turn) -> Vec<Action> {
        let Some(setup) = self.flow() else { return Vec::new() };
        let node = &setup.plan.nodes[place.node];
        self.work.ready.remove(&turn_of(node.rank, &place));
        self.work.in_doubt.retain(|key| *key != place.key);
        turn.tools.retain(|tool| tool.key != place.key);
        turn.children.retain(|child| child.key != place.key);
        self.take_back(&place.key);
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
    pub(in crate::execution) fn stopped_node(&self, place: &Place, attempt: u32, spent: Spent) -> Option<Draft> {
        let setup = self.flow()?;
        let mut finished = NodeFinished::new(setup.plan.nodes[place.node].id.clone(), NodeStatus::Cancelled, attempt);
        (finished.usage, finished.cost, finished.progress) = (spent.usage, spent.cost, self.state.progress());
        Some(Draft { path: place.path.clone(), data: EventData::NodeFinished(finished), settle: None, blob: None })
    }

    /// Whether code of the host runs a node: it says by which port it leaves.
    pub(in crate::execution) fn is_host_node(&self, place: &Place) -> bool {
        self.setup.workflow().is_some_and(|setup| matches!(setup.plan.nodes[place.node].task, Task::Host { .. }))
    }

    /// The place of a node that is open.
    pub(in crate::execution) fn open_place(&self, key: &str) -> Option<Place> {
        match self.state.open_action(key)? {
            Action::RunNode(place) | Action::CancelNode(place) => Some(place),
            _ => None,
        }
    }
}

/// A value as a record keeps it: a large one is kept apart, by its hash.
fn kept(output: Value) -> Result<(Value, Option<OutputRef>, Option<Blob>)> {
    let is_small = match &output {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() < executions::INLINE_BYTES / 2,
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
    let Some(large) = executions::large(&json) else { return Ok((output, None, None)) };
    let blob = Blob { hash: large.hash.clone(), body: json.into_bytes() };
    Ok((Value::Null, Some(large), Some(blob)))
}

/// Whether other settings of a node are tried on such a failure.
fn may_fall_back(code: ErrorCode) -> bool {
    !matches!(code, ErrorCode::Cancelled | ErrorCode::BudgetExceeded | ErrorCode::PermissionDenied)
}
