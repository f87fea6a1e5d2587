//! What happened becomes records of a turn, and what follows from them.

use std::sync::Arc;

use super::driver::Driver;
use super::effects::{Happening, ToolEnd, live};
use super::nodes::Spent;
use super::perform::stopped_tool;
use super::retry::RetryDecision;
use super::state::Progress;
use super::turn::{Draft, Settle, Turn};
use crate::domain::{
    Action, EventData, ExecutionStatus, FallbackTo, Finish, Input, ModelResponse, Outcome, ReservationId, StepFinished,
    StepKind, Timestamp, ToolCall, ToolResult, Usage,
};
use crate::error::{Error, ErrorCode, Result};
use crate::tool::NodeOutput;
use crate::tool::registry::for_a_model;

impl Driver {
    /// Turns what happened into records of the turn, gives the actions that follow.
    ///
    /// Errors: a child's driver's. The child has not ended then, so its parent cannot go on either.
    pub(super) fn happened(&mut self, happening: Happening, turn: &mut Turn) -> Result<Vec<Action>> {
        Ok(match happening {
            Happening::Downgraded { key, attempt, place, error } => {
                self.again_at(turn, key, attempt, &error, Timestamp::now(), Some(place), None, Usage::default())
            }
            Happening::Admitted { key, result } => {
                self.work.running.remove(&key);
                match (self.work.queued.remove(&key), result) {
                    (Some((start, request)), Ok(pass)) => self.admitted(start, request, Some(pass), turn),
                    (Some((start, _)), Err(error)) => {
                        return Ok(self.attempt_failed(key, start.attempt, error, None, turn));
                    }
                    (None, _) => {}
                }
                Vec::new()
            }
            Happening::Permitted { key, granted } => self.permitted(&key, granted, turn),
            Happening::Model { key, attempt, reservation, result, delivered } => {
                self.work.running.remove(&key);
                self.model_ended(key, attempt, reservation, result, delivered, turn)
            }
            Happening::Tool(end) => {
                self.work.running.remove(&end.key);
                self.tool_ended(end, turn)
            }
            Happening::Looked { key, found } => {
                self.work.running.remove(&key);
                self.looked(&key, found.map(|found| *found), turn)
            }
            Happening::Child { key, outcome } => self.child_ended(key, outcome?, turn),
            Happening::Timer { key } => {
                self.work.timers.remove(&key);
                match self.state.open_action(&key) {
                    Some(action) => vec![action],
                    None => self.expired(&key, turn),
                }
            }
        })
    }

    fn model_ended(
        &mut self,
        key: String,
        attempt: u32,
        reservation: ReservationId,
        result: Result<ModelResponse>,
        delivered: u64,
        turn: &mut Turn,
    ) -> Vec<Action> {
        let now = Timestamp::now();
        let Some(setup) = self.setup.agent().map(Arc::clone) else { return Vec::new() };
        let place = self.state.place(&key);
        let next = setup.fallback(place + 1).map(|model| model.name.clone());
        let fallback = setup.agent().fallback.as_ref().filter(|_| next.is_some());
        match result {
            Ok(mut response) => {
                response.forget_what_cannot_be_kept();
                let settle = Settle::answered(reservation, &response, delivered);
                let used = response.usage.unwrap_or_default();
                let problem = fallback.and_then(|fallback| {
                    let problem = self.state.as_agent()?.machine.problem(&response)?;
                    (fallback.on.contains(&problem.code()) && now < self.deadline).then_some(problem)
                });
                let Some(problem) = problem else {
                    let mut step = StepFinished::new(StepKind::Model, attempt);
                    step.usage = used;
                    step.model = (place > 0).then(|| setup.model_at(place).name.clone());
                    step.response = Some(Arc::new(response));
                    return self.record(turn, key, EventData::StepFinished(step), Some(settle));
                };
                // Nobody acts on it: what of it was shown is taken back before the next model speaks.
                let reset = || vec![live(self.ids.id, &key, EventData::ModelReset { attempt })];
                self.runtime.hub.tell(self.ids.root_id, reset);
                self.again(turn, key, attempt, &problem, now, next, Some(settle), used)
            }
            Err(error) => {
                let settle = Settle::failed(reservation, &error, delivered);
                self.attempt_failed(key, attempt, error, Some(settle), turn)
            }
        }
    }

    /// What follows an attempt that gave no answer: another one, another model, or the end of the step.
    fn attempt_failed(
        &mut self,
        key: String,
        attempt: u32,
        error: Error,
        settle: Option<Settle>,
        turn: &mut Turn,
    ) -> Vec<Action> {
        let (now, used) = (Timestamp::now(), Usage::default());
        let Some(setup) = self.setup.agent().map(Arc::clone) else { return Vec::new() };
        let next = setup.fallback(self.state.place(&key) + 1).map(|model| model.name.clone());
        let fallback = setup.agent().fallback.as_ref().filter(|_| next.is_some());
        let failures = self.state.failures(&key, attempt);
        let policy = &setup.agent().retry;
        match policy.decide(failures, &error, now, self.deadline, self.state.seed, fallback) {
            RetryDecision::RetryAt(at) => self.again(turn, key, attempt, &error, at, None, settle, used),
            RetryDecision::NextFallback => self.again(turn, key, attempt, &error, now, next, settle, used),
            RetryDecision::Fail => {
                let attempts = self.state.attempts(&key, attempt);
                let error =
                    if attempts > 1 { Error::RetriesExhausted { attempts, last: Box::new(error) } } else { error };
                let mut step = StepFinished::new(StepKind::Model, attempt);
                step.error = Some(error.to_info());
                self.record(turn, key, EventData::StepFinished(step), settle)
            }
        }
    }

    /// Notes that an attempt failed and another follows: at a time by the same model, or by the next one.
    #[allow(clippy::too_many_arguments, reason = "one argument a field of the record")]
    fn again(
        &mut self,
        turn: &mut Turn,
        key: String,
        attempt: u32,
        error: &Error,
        at: Timestamp,
        next: Option<String>,
        settle: Option<Settle>,
        usage: Usage,
    ) -> Vec<Action> {
        let place = next.map(|_| self.state.place(&key) + 1);
        self.again_at(turn, key, attempt, error, at, place, settle, usage)
    }

    /// The same, where the next attempt is made by the model at a place.
    #[allow(clippy::too_many_arguments, reason = "one argument a field of the record")]
    fn again_at(
        &mut self,
        turn: &mut Turn,
        key: String,
        attempt: u32,
        error: &Error,
        at: Timestamp,
        place: Option<usize>,
        settle: Option<Settle>,
        usage: Usage,
    ) -> Vec<Action> {
        let fallback = place.zip(self.setup.agent()).map(|(place, setup)| {
            let model = setup.model_at(place).name.clone();
            FallbackTo::new(model, u32::try_from(place).unwrap_or(u32::MAX))
        });
        let data = EventData::StepRetrying { attempt, error: error.to_info(), at, cost: None, usage, fallback };
        let mut actions = self.record(turn, key.clone(), data, settle);
        actions.extend(self.state.open_action(&key));
        actions
    }

    pub(super) fn tool_ended(&mut self, end: ToolEnd, turn: &mut Turn) -> Vec<Action> {
        let ToolEnd { key, attempt, outcome } = end;
        if let Some(place) = self.open_place(&key) {
            let result = match (outcome.fatal.or(outcome.error), outcome.result) {
                (Some(error), _) => Err(error),
                (None, result) if result.is_error => Err(Error::new(ErrorCode::ToolFailed, result.as_text())),
                (None, result) => Ok(result.content),
            };
            return match result {
                Ok(given) if self.is_host_node(&place) => {
                    let NodeOutput { port, output } = NodeOutput::from_value(given);
                    self.node_ended_by(place, attempt, &port, Ok(output), Spent::default(), turn)
                }
                result => self.node_ended(place, attempt, result, Spent::default(), turn),
            };
        }
        if self.setup.workflow().is_some() {
            // All is stopped already: what it gave goes nowhere, and is not shown. Without that end it is in doubt.
            turn.drafts.push(stopped_tool(key.clone(), attempt, &outcome.result.id, &outcome.result.name));
            turn.fatal.push(key);
            return Vec::new();
        }
        let data = EventData::ToolFinished { attempt, result: for_a_model(outcome.result) };
        let mut actions = self.record(turn, key.clone(), data, None);
        if let Some(fatal) = outcome.fatal {
            turn.fatal.push(key);
            let finish = Finish::failed(&fatal);
            actions.extend(self.state.tell(Timestamp::now(), Input::Stop { finish: &finish }));
        }
        actions
    }

    fn child_ended(&mut self, key: String, outcome: Outcome, turn: &mut Turn) -> Vec<Action> {
        self.work.running.remove(&key);
        if let Some(place) = self.open_place(&key) {
            let attempt = match self.state.open.get(&key) {
                Some(Progress::Child { attempt, .. }) => *attempt,
                _ => 1,
            };
            return self.node_child_ended(place, attempt, outcome, turn);
        }
        let Some(Action::CallTool { call, .. }) = self.state.open_action(&key) else {
            // All is stopped already, and yet its cost goes up.
            if self.setup.workflow().is_some() {
                self.child_ended_late(key, outcome, turn);
            }
            return Vec::new();
        };
        let mut step = StepFinished::new(StepKind::Child, 1);
        (step.usage, step.cost) = (outcome.usage, outcome.cost);
        step.result = Some(child_result(&call, &outcome));
        self.record(turn, key, EventData::StepFinished(step), None)
    }

    /// Puts a record into the turn and applies it.
    pub(super) fn record(
        &mut self,
        turn: &mut Turn,
        path: String,
        data: EventData,
        settle: Option<Settle>,
    ) -> Vec<Action> {
        let actions = self.state.absorb(Timestamp::now(), &path, &data);
        turn.drafts.push(Draft { path, data, settle, blob: None });
        actions
    }
}

/// What the caller's model is told of a child's end.
fn child_result(call: &ToolCall, outcome: &Outcome) -> ToolResult {
    match (outcome.status, &outcome.error) {
        (ExecutionStatus::Completed, _) => ToolResult::new(&call.id, &call.name, outcome.output.clone()),
        (_, Some(error)) => ToolResult::error(&call.id, &call.name, format!("the agent failed: {}", error.message)),
        _ => ToolResult::error(&call.id, &call.name, "the agent was cancelled"),
    }
}
