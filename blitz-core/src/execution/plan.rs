//! What follows: the machine's actions become the starts of a turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::Value;

use super::begin::Launch;
use super::driver::{Driver, Running, RunningWhat, Timer};
use super::effects::{Granted, Happening, wait_until};
use super::limits::{Admission, Pass};
use super::recover::Resumed;
use super::runnable::Runnable;
use super::setup::{Offer, Setup, Tools};
use super::state::Progress;
use super::turn::{Begin, ChildStart, Draft, Ids, ModelStart, Settle, ToolStart, Turn};
use crate::domain::schema::admit_kept;
use crate::domain::{
    Action, Decision, Effect, EventData, ExecutionId, Input, ModelRequest, Place, StepFinished, StepKind, Timestamp,
    ToolCall, ToolResult, Usage,
};
use crate::error::{Error, ErrorCode, Result};
use crate::store::catalog::shown;

impl Driver {
    /// Puts what the machine wants into the turn. Gives what can be planned only once what it reads is
    /// brought, and what the turn has no room for.
    pub(super) fn plan(&mut self, actions: Vec<Action>, turn: &mut Turn) -> Result<Vec<Action>> {
        let mut queue = VecDeque::from(actions);
        // An end waits for no room, and nothing begins beside it.
        while !turn.is_full() || turn.finish.is_some() || self.state.is_over() {
            let Some(action) = queue.pop_front() else { break };
            if !self.is_wanted(&action) {
                continue;
            }
            if self.lacks(&action) {
                self.work.hand.put_off(action);
                continue;
            }
            match action {
                Action::CallModel { key, first, last, .. } => {
                    queue.extend(self.plan_model(key, Tools::of(first, last), turn));
                }
                Action::CallTool { key, call } => queue.extend(self.plan_tool(key, call, turn)?),
                Action::RunNode(place) => queue.extend(self.plan_node(place, turn)),
                Action::CancelNode(place) => queue.extend(self.cancel_node(place, turn)),
                Action::CloseNode { place, close } => queue.extend(self.close_node(place, close, turn)),
                Action::CloseItem { path, close } => queue.extend(self.close_item(path, close, turn)),
                Action::Conclude => turn.finish = Some(self.conclude()),
                Action::Emit { path, data } => {
                    let data = data.with_progress(self.state.progress());
                    turn.drafts.push(Draft { path, data, settle: None, blob: None });
                }
                Action::Finish(finish) => turn.finish = Some(finish),
            }
            if queue.is_empty() && turn.finish.is_none() {
                queue.extend(self.begin_ready(turn));
            }
        }
        if turn.finish.is_none() && !queue.is_empty() {
            // The turn is full, and more follows at once: effects do not wait for the end of that.
            queue.extend(self.begin_ready(turn));
            self.keep_wanted(turn);
        } else if turn.finish.is_none() {
            let more = self.begin_ready(turn);
            if !more.is_empty() {
                return self.plan(more, turn);
            }
        }
        if turn.finish.is_some() {
            turn.without_starts();
            self.work.passes.clear();
        }
        self.share_tokens(turn);
        let mut left = self.work.hand.take_put_off();
        left.extend(queue);
        Ok(if turn.finish.is_some() { Vec::new() } else { left })
    }

    /// Whether what is asked of a node still stands: it may have ended, or been stopped, since it was asked.
    pub(super) fn is_wanted(&self, action: &Action) -> bool {
        match action {
            Action::RunNode(Place { key, .. })
            | Action::CancelNode(Place { key, .. })
            | Action::CloseNode { place: Place { key, .. }, .. }
            | Action::CloseItem { path: key, .. } => self.state.open_action(key).as_ref() == Some(action),
            _ => true,
        }
    }

    /// Divides the tokens that are left among the children that run and those that are called, in this turn or behind it.
    fn share_tokens(&self, turn: &mut Turn) {
        let Some(left) = self.state.tokens_left() else { return };
        let Some(setup) = self.setup.agent().filter(|_| !turn.children.is_empty()) else { return };
        let is_child = |action: &Action| match action {
            Action::CallTool { call, .. } => matches!(setup.offer(&call.name), Some(Offer::Agent { .. })),
            _ => false,
        };
        let children = self.state.open_actions().iter().filter(|action| is_child(action)).count();
        let share = left / children.max(1) as u64;
        turn.children.iter_mut().for_each(|child| child.begin.launch.max_tokens = Some(share));
    }

    fn plan_model(&mut self, key: String, tools: Tools, turn: &mut Turn) -> Vec<Action> {
        let attempt = match self.state.open.get(&key) {
            None => 1,
            Some(Progress::Retry { attempt, at }) => {
                let (attempt, at) = (*attempt, *at);
                if at > Timestamp::now() {
                    let handle = self.work.effects.spawn(wait_until(key.clone(), at));
                    self.work.timers.insert(key, Timer { handle, at });
                    return Vec::new();
                }
                attempt
            }
            // Sent by a process that is gone: its money was settled when the engine opened.
            Some(Progress::Started { attempt }) => {
                let attempt = *attempt;
                let error = Error::interrupted("the process ended before the model answered").to_info();
                let now = Timestamp::now();
                let (cost, usage) = (None, Usage::default());
                let data = EventData::StepRetrying { attempt, error, at: now, cost, usage, fallback: None };
                self.record(turn, key.clone(), data, Some(Settle::Dead { attempt }));
                attempt + 1
            }
            // A budget had no room for it, and somebody decided.
            Some(Progress::Decided { attempt, decision }) => match decision {
                Decision::Rerun => *attempt + 1,
                Decision::Fail { message } => {
                    let error = Error::new(ErrorCode::BudgetExceeded, message.clone()).to_info();
                    return self.state.tell(Timestamp::now(), Input::Refused { key: &key, error: &error });
                }
                Decision::Skip { .. } => {
                    let message = "a model call cannot be skipped: it was refused, as its budget has no room for it";
                    let error = Error::new(ErrorCode::BudgetExceeded, message).to_info();
                    return self.state.tell(Timestamp::now(), Input::Refused { key: &key, error: &error });
                }
            },
            Some(Progress::Child { .. } | Progress::Waits { .. } | Progress::Answered { .. }) => return Vec::new(),
        };
        let place = self.state.place(&key);
        let (Some(setup), Some(agent)) = (self.setup.agent(), self.state.as_agent()) else { return Vec::new() };
        let request = setup.request(&mut agent.transcript, tools, place);
        let start = ModelStart::new(key, attempt, place, setup, &request);
        self.queue(start, request, turn);
        Vec::new()
    }

    /// Lets a model call through the lines of its limits; what has to wait is not reserved yet.
    fn queue(&mut self, start: ModelStart, request: ModelRequest, turn: &mut Turn) {
        let key = start.key.clone();
        let Some(setup) = self.setup.agent().map(Arc::clone) else { return };
        let lines = &setup.model_at(start.place).lines;
        if lines.is_empty() && self.runtime.deployments.effects.is_none() {
            self.admitted(start, request, None, turn);
            return;
        }
        let tokens = start.input_bound.saturating_add(start.output_cap);
        match self.runtime.deployments.queue(lines, tokens, self.deadline.since(Timestamp::now())) {
            Admission::Now(pass) => self.admitted(start, request, Some(pass), turn),
            waits => {
                let told = key.clone();
                let wait = async move { Happening::Admitted { key: told, result: waits.wait().await } };
                let handle = self.work.effects.spawn(wait);
                self.work.running.insert(key.clone(), Running { handle, what: RunningWhat::Queued });
                self.work.queued.insert(key, (start, request));
            }
        }
    }

    pub(super) fn admitted(&mut self, start: ModelStart, request: ModelRequest, pass: Option<Pass>, turn: &mut Turn) {
        if let Some(pass) = pass {
            self.work.passes.insert(start.key.clone(), pass);
        }
        self.work.requests.insert(start.key.clone(), request);
        turn.models.push(start);
    }

    fn plan_tool(&mut self, key: String, call: ToolCall, turn: &mut Turn) -> Result<Vec<Action>> {
        let progress = self.state.open.get(&key).cloned();
        let Some(setup) = self.setup.agent().map(Arc::clone) else { return Ok(Vec::new()) };
        match setup.offer(&call.name) {
            None => {
                let message = format!("there is no tool {}; on offer: {}", shown(&call.name), setup.offered_names());
                Ok(self.tool_result(turn, key, ToolResult::error(&call.id, &call.name, message)))
            }
            Some(Offer::Agent { setup: child, takes_text }) => {
                Ok(self.plan_child(key, call, child, *takes_text, progress, turn))
            }
            Some(Offer::Tool { id, tool }) => {
                let attempt = match progress {
                    None => 1,
                    Some(Progress::Started { .. }) if tool.effect() == Effect::Unsafe => {
                        self.work.in_doubt.push(key);
                        return Ok(Vec::new());
                    }
                    Some(Progress::Started { attempt } | Progress::Retry { attempt, .. }) => attempt + 1,
                    Some(Progress::Decided { attempt, decision }) => match decision {
                        Decision::Rerun => attempt + 1,
                        Decision::Skip { value } => {
                            return Ok(self.tool_result(turn, key, ToolResult::new(&call.id, &call.name, value)));
                        }
                        Decision::Fail { message } => {
                            return Ok(self.tool_result(turn, key, ToolResult::error(&call.id, &call.name, message)));
                        }
                    },
                    Some(Progress::Child { .. } | Progress::Waits { .. } | Progress::Answered { .. }) => {
                        return Err(Error::storage("the journal names a child where a tool was called"));
                    }
                };
                match tool.arguments(&call) {
                    Err(problem) => Ok(self.tool_result(turn, key, ToolResult::error(&call.id, &call.name, problem))),
                    Ok(arguments) => {
                        let start = ToolStart {
                            key,
                            attempt,
                            call,
                            arguments,
                            tool_id: Some(*id),
                            effect: tool.effect(),
                            node: None,
                            granted: None,
                        };
                        let one_by_one = tool.sequential();
                        self.start_tool(start, one_by_one, turn);
                        Ok(Vec::new())
                    }
                }
            }
        }
    }

    /// Starts a tool call. Where the effects of the engine are bounded, it first waits for its turn: nothing has begun
    /// until then, so a process that dies leaves no doubt about it.
    pub(super) fn start_tool(&mut self, start: ToolStart, one_by_one: bool, turn: &mut Turn) {
        let Some(bound) = self.runtime.deployments.effects.clone() else {
            turn.tools.push(start);
            return;
        };
        let mut grant = self.places(&start.call, one_by_one).grant(Some(bound)).boxed();
        if let Some(granted) = (&mut grant).now_or_never() {
            turn.tools.push(ToolStart { granted: Some(granted), ..start });
            return;
        }
        let key = start.key.clone();
        let wait = async move { Happening::Permitted { key, granted: grant.await } };
        let handle = self.work.effects.spawn(wait);
        self.work.running.insert(start.key.clone(), Running { handle, what: RunningWhat::Queued });
        self.work.unstarted.insert(start.key.clone(), start);
    }

    /// A tool call's turn has come, unless it was taken back meanwhile.
    pub(super) fn permitted(&mut self, key: &str, granted: Granted, turn: &mut Turn) -> Vec<Action> {
        if let Some(start) = self.work.unstarted.remove(key) {
            self.work.running.remove(key);
            turn.tools.push(ToolStart { granted: Some(granted), ..start });
        }
        Vec::new()
    }

    /// Takes a tool call back that still waits for its turn.
    pub(super) fn take_back(&mut self, key: &str) {
        if self.work.unstarted.remove(key).is_some()
            && let Some(running) = self.work.running.remove(key)
        {
            running.handle.abort();
        }
    }

    /// The result of a call that was not run, or not again.
    fn tool_result(&mut self, turn: &mut Turn, key: String, result: ToolResult) -> Vec<Action> {
        let attempt = match self.state.open.get(&key) {
            Some(Progress::Started { attempt } | Progress::Decided { attempt, .. }) => *attempt,
            _ => 1,
        };
        self.record(turn, key, EventData::ToolFinished { attempt, result }, None)
    }

    fn plan_child(
        &mut self,
        key: String,
        call: ToolCall,
        child: &Arc<Setup>,
        takes_text: bool,
        progress: Option<Progress>,
        turn: &mut Turn,
    ) -> Vec<Action> {
        let refuse = |message: String| ToolResult::error(&call.id, &call.name, message);
        if let Some(Progress::Child { id, .. }) = progress {
            self.resume_child(key, id, &Runnable::Agent(Arc::clone(child)));
            return Vec::new();
        }
        let max_depth = self.state.max_depth(self.setup.max_depth());
        if self.ids.depth >= max_depth {
            let result = refuse(format!("agents may call agents {max_depth} deep, and this is the limit"));
            return self.tool_result(turn, key, result);
        }
        let input = match child_input(&call, takes_text).and_then(|input| child.admit_called(&input).map(|()| input)) {
            Ok(input) => input,
            Err(error) => {
                let result = refuse(error.chain());
                return self.tool_result(turn, key, result);
            }
        };
        let own = Timestamp::now().plus(Duration::from_millis(child.agent().limits.timeout_ms));
        let begin = Begin {
            setup: Runnable::Agent(Arc::clone(child)),
            // Its share of the tokens is known once all that the turn starts is: see `share_tokens`.
            launch: Launch { input, max_depth: Some(max_depth), ..Launch::default() },
            seed: super::derived_seed(self.state.seed, &key),
            deadline: own.min(self.deadline),
        };
        turn.children.push(ChildStart { key, attempt: 1, call: Some(call), node: None, begin });
        Vec::new()
    }

    pub(super) fn resume_child(&mut self, key: String, id: ExecutionId, child: &Runnable) {
        let cancel = self.cancel.child_token();
        let ids = Ids { id, depth: self.ids.depth + 1, ..self.ids };
        let resumed = Resumed {
            runtime: Arc::clone(&self.runtime),
            store: self.store.clone(),
            setup: child.clone(),
            seat: self.runtime.enter(ids, &cancel, &self.store),
            ids,
            cancel: cancel.clone(),
            session: self.session.clone(),
            parent: Some(self.line(&key)),
            rested: None,
        };
        self.spawn_child(key, id, cancel, resumed.run());
    }

    /// Ends what an execution had open that goes on only to end: its children end by themselves, a
    /// call that was sent is booked as it was settled.
    pub(super) fn end_open(&mut self, open: Vec<Action>, turn: &mut Turn) {
        for action in open {
            let Some(progress) = action.key().and_then(|key| self.state.open.get(key)).cloned() else { continue };
            match (action, progress) {
                (Action::RunNode(place) | Action::CancelNode(place), Progress::Child { .. }) => {
                    self.cancel_node(place, turn);
                }
                (Action::CallModel { key, .. }, Progress::Started { attempt }) => {
                    let mut step = StepFinished::new(StepKind::Model, attempt);
                    step.error = Some(Error::interrupted("the process ended before the model answered").to_info());
                    let settle = Some(Settle::Dead { attempt });
                    turn.drafts.push(Draft { path: key, data: EventData::StepFinished(step), settle, blob: None });
                }
                (Action::CallTool { key, call }, Progress::Child { id, .. }) => {
                    let setup = self.setup.agent().map(Arc::clone);
                    if let Some(Offer::Agent { setup: child, .. }) = setup.as_ref().and_then(|s| s.offer(&call.name)) {
                        self.resume_child(key, id, &Runnable::Agent(Arc::clone(child)));
                    }
                }
                _ => {}
            }
        }
    }
}

/// What a child is given: the text of the call where it takes text, else its arguments.
fn child_input(call: &ToolCall, takes_text: bool) -> Result<Value> {
    let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    let arguments: Value =
        serde_json::from_str(text).map_err(|error| Error::invalid(format!("the arguments are not JSON: {error}")))?;
    if !arguments.is_object() {
        return Err(Error::invalid("the arguments must be a JSON object"));
    }
    admit_kept("the input", &arguments)?;
    if !takes_text {
        return Ok(arguments);
    }
    match arguments.get("input") {
        Some(input) => Ok(input.clone()),
        None => Err(Error::invalid("the argument \"input\" is missing")),
    }
}
