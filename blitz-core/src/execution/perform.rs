//! Commits a turn and performs what it started; stops what still runs at the end.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::driver::{Driver, Running, RunningWhat, Work};
use super::effects::{Delivered, Granted, Happening, InTurn, ModelCall, Permits, Places, ToolEnd, call_tool, live};
use super::nodes::{Secrets, Spent, fill};
use super::rest::{Ran, to_the_end};
use super::runnable::{Part, Runnable};
use super::setup::Offer;
use super::turn::{Begun, ChildStart, Committed, Desk, Draft, Settle, ToolStart, Turn, idempotency_key};
use super::waits::{ParentLine, Waits};
use crate::domain::{
    Action, Effect, EventData, ExecutionId, Finish, Finished, Input, ModelRequest, OnBehalf, Outcome, StepFinished,
    StepKind, Timestamp, ToolCall, ToolResult,
};
use crate::error::{Error, ErrorCode, ErrorInfo, Result};
use crate::ledger::Reserved;
use crate::provider::choice_bound;
use crate::store;
use crate::tool::registry::ToolOutcome;
use crate::tool::{Pulse, ToolContext};
use crate::workflow::machine::join;

/// How long behind its execution's deadline a call may go on, were it not ended by the driver.
const BEYOND_THE_DEADLINE: Duration = Duration::from_secs(1);
/// How long a node's effect that blocks may take to end once it is asked to.
///
/// Async code of the host gets none, other than the grace of five seconds that any node might have: what asks it to
/// end is that its future is dropped, which Rust's destructors and the tasks of Python's loops are told at once. Were
/// it waited for, each one that never looks at `cancel` would hold a cancelled execution for all of the five seconds.
/// Code that wants to end by itself says that it blocks (`Tool::blocks`, `NodeHandler::blocks`).
const GRACE: Duration = Duration::from_secs(5);

/// What a commit leads to.
pub(super) enum After {
    /// Actions that follow from refusals.
    Follow(Vec<Action>),
    /// The end.
    Ended(Box<Finished>),
}

/// Whether a write that failed so may go well later, and nothing of it is kept.
pub(super) fn may_pass(error: &Error) -> bool {
    error.code() == ErrorCode::StorageFull || store::tells_busy(error)
}

impl Driver {
    /// Writes the turn, then performs what it started.
    pub(super) async fn commit(&mut self, mut turn: Turn) -> Result<After> {
        turn.resumed = turn.gets_further() && std::mem::take(&mut self.work.resumed);
        let turn = Arc::new(turn);
        let Committed { events, reserved, denied, children, alerts, revoked } = self.write(&turn).await?;
        turn.abandoned.iter().for_each(Delivered::book);
        self.runtime.bell.ring(&alerts);
        let (mut ended, starts) = (None, turn.starts());
        self.work.last_seq = events.last().map_or(self.work.last_seq, |event| event.seq);
        for event in &events {
            if event.execution_id != self.ids.id {
                continue;
            }
            self.state.tally.count(&event.data)?;
            match &event.data {
                EventData::StepStarted(_) | EventData::ToolStarted(_) if starts.contains(event.path.as_str()) => {
                    self.state.absorb(event.ts, &event.path, &event.data);
                }
                EventData::NodeStarted(started) if starts.contains(join(&event.path, &started.node).as_str()) => {
                    self.state.absorb(event.ts, &event.path, &event.data);
                }
                EventData::ExecutionFinished(finished) => {
                    let mut finished = Box::new(finished.clone());
                    // The record names a large output by its hash: whoever waits for the end has it whole.
                    if let (Some(_), Some(Finish::Completed { output })) = (finished.output_ref.take(), &turn.finish) {
                        finished.output.clone_from(output);
                    }
                    ended = Some(finished);
                }
                _ => {}
            }
        }
        self.runtime.hub.publish(self.ids.root_id, events);
        if let Some(finished) = ended {
            return Ok(After::Ended(finished));
        }
        if let Some(error) = revoked {
            let finish = Finish::Failed { error };
            return Ok(After::Follow(self.state.tell(Timestamp::now(), Input::Stop { finish: &finish })));
        }
        let mut follow = Vec::new();
        for (start, outcome) in turn.models.iter().zip(reserved) {
            if let Some(request) = self.work.requests.remove(&start.key) {
                follow.extend(self.send_or_refuse(start.key.clone(), start.attempt, start.place, request, outcome));
            }
        }
        for start in &turn.tools {
            if denied.contains(&start.key) { self.deny(start) } else { self.call(start) }
        }
        for (start, begun) in turn.children.iter().zip(children) {
            self.start_child(start, begun);
        }
        Ok(After::Follow(follow))
    }

    /// Writes the turn; waits for space where the disk is full, and for others who hold the database.
    async fn write(&self, turn: &Arc<Turn>) -> Result<Committed> {
        let mut pause = Duration::from_millis(50);
        loop {
            let (turn, setup, tally, ids) = (Arc::clone(turn), self.setup.clone(), self.state.tally.clone(), self.ids);
            let (runtime, principal) = (Arc::clone(&self.runtime), self.store.principal().clone());
            let written = self.store.write(move |tx, standing| {
                let desk = Desk::of(&runtime, standing, &principal);
                turn.write(tx, Timestamp::now(), &desk, ids, &setup, &tally)
            });
            match written.await {
                Err(error) if may_pass(&error) && Timestamp::now() < self.deadline => {
                    tracing::warn!(execution = self.ids.id.0, %error, "the execution waits until it can be written");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
                        () = self.runtime.closing.cancelled() => return Err(error),
                    }
                }
                other => return other,
            }
        }
    }

    pub(super) fn send_or_refuse(
        &mut self,
        key: String,
        attempt: u32,
        place: usize,
        mut request: ModelRequest,
        outcome: Result<Reserved, ErrorInfo>,
    ) -> Vec<Action> {
        // Where the call is refused, its place in the lines goes back with it.
        let pass = self.work.passes.remove(&key);
        let reserved = match outcome {
            Ok(reserved) => reserved,
            Err(error) => return self.refused(key, attempt, place, error),
        };
        let Some(setup) = self.setup.agent() else { return Vec::new() };
        // Money is held for all its answers, each of which has the cap.
        let answers = choice_bound(&request);
        request.settings.max_output_tokens = Some(reserved.output_cap / answers);
        let delivered = Delivered::new(*request.settings.stream.get_or_insert(self.streams), answers);
        let call = ModelCall {
            key: key.clone(),
            attempt,
            reservation: reserved.id,
            request,
            provider: Arc::clone(&setup.model_at(place).provider),
            headers: setup.model_at(place).headers.clone(),
            deployment: Arc::clone(&setup.model_at(place).deployment),
            pass,
            ids: self.ids,
            // The driver itself ends the call at the deadline, and says that it was the limit.
            timeout: self.deadline.since(Timestamp::now()) + BEYOND_THE_DEADLINE,
            delivered: delivered.clone(),
            session: self.session.clone(),
            partial: setup.partial(),
            store: self.store.clone(),
        };
        let handle = self.work.effects.spawn(call.perform(Arc::clone(&self.runtime)));
        let what = RunningWhat::Model { attempt, reservation: reserved.id, delivered };
        self.work.running.insert(key, Running { handle, what });
        Vec::new()
    }

    /// What becomes of a call that its budgets refuse: it fails, another model is asked, or somebody decides.
    fn refused(&mut self, key: String, attempt: u32, place: usize, error: ErrorInfo) -> Vec<Action> {
        match error.details.get("on_exceed").and_then(Value::as_str) {
            Some("ask") => {
                self.work.in_doubt.push(key);
                return Vec::new();
            }
            Some("downgrade") => {
                let named = error.details.get("downgrade_to").and_then(Value::as_str);
                // Only forward, so that it comes to an end.
                if let Some(place) = self.setup.agent().and_then(|setup| setup.downgrade(named, place)) {
                    let happening = Happening::Downgraded { key, attempt, place, error: error.into() };
                    self.work.effects.spawn(std::future::ready(happening));
                    return Vec::new();
                }
            }
            _ => {}
        }
        self.state.tell(Timestamp::now(), Input::Refused { key: &key, error: &error })
    }

    /// Runs the one pure tool of a turn before it is written: nothing in the world waits for its record.
    ///
    /// Where it is done at once it goes into the turn with its result, and what follows is given; where
    /// it is not, it goes on while its start is written. Several calls begin together, behind their
    /// starts. Where a user may have lost the right to a tool, only the transaction knows, so it comes first.
    pub(super) fn run_at_once(&mut self, turn: &mut Turn) -> Vec<Action> {
        let [start] = turn.tools.as_slice() else { return Vec::new() };
        let asks = self.store.principal().user_id().is_some() || start.effect != Effect::Pure || start.node.is_some();
        if asks || self.work.running.contains_key(&start.key) {
            return Vec::new();
        }
        let Some((effect, cancel)) = self.effect(start) else { return Vec::new() };
        let mut effect = effect.boxed();
        match effect.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                self.spawn_tool(start, effect, cancel);
                Vec::new()
            }
            Poll::Ready(end) => {
                let (path, started) = start.record(&self.runtime.store_id, self.ids.id);
                turn.tools.clear();
                let mut actions = self.record(turn, path, started, None);
                actions.extend(self.tool_ended(end, turn));
                actions
            }
        }
    }

    fn call(&mut self, start: &ToolStart) {
        if !self.work.running.contains_key(&start.key)
            && let Some((effect, cancel)) = self.effect(start)
        {
            self.spawn_tool(start, effect, cancel);
        }
    }

    fn spawn_tool(
        &mut self,
        start: &ToolStart,
        effect: impl Future<Output = ToolEnd> + Send + 'static,
        cancel: CancellationToken,
    ) {
        let handle = self.work.effects.spawn(effect.map(Happening::Tool));
        let what = RunningWhat::Tool { attempt: start.attempt, call: start.call.clone(), cancel };
        self.work.running.insert(start.key.clone(), Running { handle, what });
    }

    /// One call of a tool, not begun, and what asks it to end.
    fn effect(
        &mut self,
        start: &ToolStart,
    ) -> Option<(impl Future<Output = ToolEnd> + Send + use<>, CancellationToken)> {
        let mut one_by_one = false;
        let (tool, limit, silence) = match &self.setup {
            Runnable::Agent(setup) => match setup.offer(&start.call.name) {
                Some(Offer::Tool { tool, .. }) => {
                    one_by_one = tool.sequential();
                    (tool, None, None)
                }
                _ => return None,
            },
            Runnable::Workflow(setup) => {
                let place = self.open_place(&start.key)?;
                match setup.part(place.node, self.state.place(&start.key)) {
                    Some(Part::Tool { tool, .. }) => {
                        let spec = &setup.plan.nodes[place.node].spec;
                        (tool, spec.timeout_s, spec.heartbeat_s)
                    }
                    _ => return None,
                }
            }
        };
        let cancel = self.cancel.child_token();
        let pulse = Arc::new(Pulse { show: self.shows(start), ..Pulse::default() });
        let context = ToolContext {
            pulse: Arc::clone(&pulse),
            execution_id: self.ids.id,
            call_id: start.call.id.clone(),
            idempotency_key: idempotency_key(&self.runtime.store_id, self.ids.id, &start.key),
            attempt: start.attempt,
            cancel: cancel.clone(),
            session: self.session.clone(),
            on_behalf: Some(Arc::new(self.on_behalf())),
            threads: Arc::clone(&self.runtime.threads),
            scope: start.granted.as_ref().map(Granted::scope).unwrap_or_default(),
        };
        let limits = NodeLimits {
            time: limit.map(Duration::from_secs),
            grace: if tool.blocks() { GRACE } else { Duration::ZERO },
            silence: silence.map(Duration::from_secs).map(|silence| (silence, pulse)),
        };
        let tool = Arc::clone(tool);
        let permits = match &start.granted {
            Some(granted) => Permits::Granted(granted.clone()),
            None => Permits::Of(self.places(&start.call, one_by_one)),
        };
        let secrets = Secrets {
            told: self.state.secrets.clone(),
            arguments: tool.secrets().clone(),
            others: self.setup.agent().map(|setup| setup.secrets.clone()).unwrap_or_default(),
        };
        let (arguments, store) = (start.arguments.clone(), self.store.clone());
        let (call_key, attempt, call) = (start.key.clone(), start.attempt, start.call.clone());
        let call = async move {
            if secrets.is_empty() {
                return call_tool(call_key, call, arguments, tool, context, permits).await;
            }
            match fill(store, secrets, arguments).await {
                Ok((arguments, redactor)) => {
                    let end = call_tool(call_key, call, arguments, tool, context, permits).await;
                    ToolEnd { outcome: redactor.outcome(end.outcome), ..end }
                }
                Err(error) => {
                    let result = ToolResult::error(&call.id, &call.name, error.to_string());
                    ToolEnd { key: call_key, attempt, outcome: ToolOutcome { result, fatal: None, error: Some(error) } }
                }
            }
        };
        let stop = start.node.as_ref().map(|_| cancel.clone());
        let (key, attempt, call_of) = (start.key.clone(), start.attempt, start.call.clone());
        Some((bounded(call, key, attempt, call_of, limits, stop), cancel))
    }

    /// The places of a call in its execution: one of those that run one after another is behind the last one.
    pub(super) fn places(&mut self, call: &ToolCall, one_by_one: bool) -> Places {
        let turn = one_by_one.then(|| {
            let (done, end) = oneshot::channel();
            InTurn { before: self.work.ends.insert(call.name.clone(), end), _done: done }
        });
        Places { all: Arc::clone(&self.work.permits), turn }
    }

    /// What is paid through the session of its tools counts where its own calls do.
    fn on_behalf(&self) -> OnBehalf {
        let (agents, workflow_id) = match &self.setup {
            Runnable::Agent(setup) => (setup.lineage.clone(), setup.workflow),
            Runnable::Workflow(setup) => (Vec::new(), Some(setup.outermost)),
        };
        OnBehalf { execution_id: self.ids.id, root_id: self.ids.root_id, agents, workflow_id }
    }

    /// What shows a node's messages to whoever reads along.
    fn shows(&self, start: &ToolStart) -> Option<Box<dyn Fn(Value) + Send + Sync>> {
        let (path, node, _) = start.node.clone()?;
        let (runtime, ids, attempt) = (Arc::clone(&self.runtime), self.ids, start.attempt);
        let clean = self.work.hand.redactor();
        Some(Box::new(move |message| {
            runtime.hub.tell(ids.root_id, || {
                let data = EventData::NodeLog { node: node.clone(), attempt, message: clean.value(message) };
                vec![live(ids.id, &path, data)]
            });
        }))
    }

    /// Tells the model that the caller may not use the tool; the record goes into the next turn.
    fn deny(&mut self, start: &ToolStart) {
        let message = "permission denied: the caller may not use this tool";
        let result = ToolResult::error(&start.call.id, &start.call.name, message);
        let (key, attempt) = (start.key.clone(), start.attempt);
        let error = Some(Error::denied("the caller may not use this tool"));
        let outcome = ToolOutcome { result, fatal: None, error };
        self.work.effects.spawn(std::future::ready(Happening::Tool(ToolEnd { key, attempt, outcome })));
    }

    fn start_child(&mut self, start: &ChildStart, begun: Begun) {
        let cancel = self.cancel.child_token();
        let id = begun.ids.id;
        let child = Box::new(Driver {
            seat: self.runtime.enter(begun.ids, &cancel, &self.store),
            runtime: Arc::clone(&self.runtime),
            store: self.store.clone(),
            work: Work::new(start.begin.setup.max_parallel(), begun.deadline),
            setup: start.begin.setup.clone(),
            ids: begun.ids,
            state: begun.state,
            deadline: begun.deadline,
            cancel: cancel.clone(),
            streams: self.streams,
            session: self.session.clone(),
            parent: Some(self.line(&start.key)),
        });
        self.spawn_child(start.key.clone(), id, cancel, async move {
            child.run_new(begun.first, begun.requests, begun.reserved).await
        });
    }

    /// The line on which a child at a step tells whether it waits.
    pub(super) fn line(&self, key: &str) -> ParentLine {
        ParentLine { key: key.to_owned(), tell: self.work.children.0.clone() }
    }

    pub(super) fn spawn_child(
        &mut self,
        key: String,
        id: ExecutionId,
        cancel: CancellationToken,
        run: impl Future<Output = Result<Ran>> + Send + 'static,
    ) {
        // Boxed, because a driver may hold drivers.
        let run: futures_util::future::BoxFuture<'static, Result<Outcome>> = Box::pin(to_the_end(Box::pin(run)));
        let child_key = key.clone();
        let handle = self.work.effects.spawn(async move { Happening::Child { key: child_key, outcome: run.await } });
        self.work
            .running
            .insert(key, Running { handle, what: RunningWhat::Child { id, cancel, waits: Waits::default() } });
    }

    /// Ends what still runs because the execution ends: models and tools at once, children in order.
    ///
    /// Errors: a child stopped without its end, so this execution cannot end either.
    pub(super) async fn stop_effects(&mut self, turn: &mut Turn) -> Result<()> {
        let cancelled = Error::cancelled("the execution ended before this was done");
        let mut children = 0;
        for (key, running) in std::mem::take(&mut self.work.running) {
            match &running.what {
                RunningWhat::Model { attempt, reservation, delivered } => {
                    delivered.abandon();
                    running.handle.abort();
                    let mut step = StepFinished::new(StepKind::Model, *attempt);
                    let mut error = cancelled.to_info();
                    let text = delivered.text();
                    if !text.is_empty() {
                        error = error.with_detail("partial_text", text.as_str());
                        if let Some(Finish::Failed { error }) = &mut turn.finish {
                            *error = error.clone().with_detail("partial_text", text);
                        }
                    }
                    step.error = Some(error);
                    let (reservation, delivered_tokens) = (*reservation, delivered.bytes());
                    let settle = if delivered.withdraw() {
                        Settle::Void { reservation }
                    } else {
                        turn.abandoned.push(delivered.clone());
                        Settle::Unknown { reservation, delivered_tokens }
                    };
                    turn.drafts.push(Draft {
                        path: key,
                        data: EventData::StepFinished(step),
                        settle: Some(settle),
                        blob: None,
                    });
                }
                // Nothing of it was reserved: its place goes back when the wait is dropped.
                RunningWhat::Queued => running.handle.abort(),
                RunningWhat::Tool { cancel, .. } if self.setup.workflow().is_some() => {
                    // It hears of the end, and has a grace to come to its own.
                    cancel.cancel();
                    children += 1;
                    self.work.running.insert(key, running);
                }
                RunningWhat::Tool { attempt, call, .. } => {
                    running.handle.abort();
                    turn.drafts.push(stopped_tool(key, *attempt, &call.id, &call.name));
                }
                RunningWhat::Child { cancel, .. } => {
                    cancel.cancel();
                    children += 1;
                    self.work.running.insert(key, running);
                }
            }
        }
        while children > 0 {
            match self.work.effects.join_next().await {
                Some(Ok(Happening::Child { key, outcome })) => {
                    children -= 1;
                    self.child_ended_late(key, outcome?, turn);
                }
                Some(Ok(Happening::Tool(end))) => {
                    if let Some(Running { what: RunningWhat::Tool { attempt, call, .. }, .. }) =
                        self.work.running.remove(&end.key)
                    {
                        children -= 1;
                        turn.drafts.push(stopped_tool(end.key, attempt, &call.id, &call.name));
                    }
                }
                // Effects that were aborted come out as errors; one that had just ended is superseded.
                Some(_) => {}
                None => return Err(Error::internal("a child stopped without a word")),
            }
        }
        Ok(())
    }

    /// A child that ended because its parent does: its cost still goes up.
    pub(super) fn child_ended_late(&mut self, key: String, outcome: Outcome, turn: &mut Turn) {
        self.work.running.remove(&key);
        if let Some(place) = self.open_place(&key) {
            let spent = Spent { usage: outcome.usage, cost: outcome.cost };
            turn.drafts.extend(self.stopped_node(&place, 1, spent));
            return;
        }
        let mut step = StepFinished::new(StepKind::Child, 1);
        (step.usage, step.cost, step.error) = (outcome.usage, outcome.cost, outcome.error);
        turn.drafts.push(Draft { path: key, data: EventData::StepFinished(step), settle: None, blob: None });
    }

    /// Stops what runs where it is, because the execution does not go on here. What had just ended is
    /// kept: nobody pays for an answer twice that has come.
    pub(super) async fn break_off(&mut self, mut turn: Turn) {
        // Children see by themselves that the engine closes; else nothing tells them.
        let closing = self.runtime.closing.is_cancelled();
        // What was about to start does not.
        turn.without_starts();
        let running = self.work.running.values();
        let stopped = running.filter(|running| !closing || !matches!(running.what, RunningWhat::Child { .. }));
        stopped.for_each(|running| running.handle.abort());
        self.work.timers.values().for_each(|timer| timer.handle.abort());
        while let Some(joined) = self.work.effects.join_next().await {
            match joined {
                // Its end would be the execution's, which is not written here: it stays in doubt.
                Err(_)
                | Ok(
                    Happening::Admitted { .. }
                    | Happening::Permitted { .. }
                    | Happening::Looked { .. }
                    | Happening::Downgraded { .. }
                    | Happening::Tool(ToolEnd { outcome: ToolOutcome { fatal: Some(_), .. }, .. }),
                ) => {}
                Ok(happening) => {
                    // What follows is found again by the next replay; an error is a child's that stopped too.
                    let _ = self.happened(happening, &mut turn);
                }
            }
        }
        turn.without_end(turn.drafts.len());
        if turn.drafts.is_empty() {
            return;
        }
        if let Err(error) = self.write(&Arc::new(turn)).await {
            tracing::warn!(execution = self.ids.id.0, code = error.code().name(), "the last step was not kept");
        }
    }
}

/// The record of a tool that was stopped because its execution ends.
pub(super) fn stopped_tool(key: String, attempt: u32, id: &str, name: &str) -> Draft {
    let result = ToolResult::error(id, name, "cancelled: the execution ended before the tool did");
    Draft { path: key, data: EventData::ToolFinished { attempt, result }, settle: None, blob: None }
}

/// How long a node's effect may take, and how long it may be silent.
struct NodeLimits {
    time: Option<Duration>,
    /// How long it may go on once it is asked to stop.
    grace: Duration,
    silence: Option<(Duration, Arc<Pulse>)>,
}

/// A node's effect with the node's own limits, and an end soon after it is asked to stop.
async fn bounded(
    call: impl Future<Output = ToolEnd>,
    key: String,
    attempt: u32,
    of: ToolCall,
    limits: NodeLimits,
    stop: Option<CancellationToken>,
) -> ToolEnd {
    let Some(stop) = stop else { return call.await };
    let late = async {
        match limits.time {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let silent = async {
        match &limits.silence {
            Some((longest, pulse)) => while tokio::time::timeout(*longest, pulse.beat.notified()).await.is_ok() {},
            None => std::future::pending().await,
        }
    };
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(limits.grace).await;
    };
    let error = tokio::select! {
        biased;
        end = call => return end,
        () = stopped => Error::cancelled("the execution ended before the tool did"),
        () = late => {
            stop.cancel();
            Error::timeout(format!("the node took longer than its {} s", limits.time.unwrap_or_default().as_secs()))
        }
        () = silent => {
            stop.cancel();
            let longest = limits.silence.as_ref().map_or(0, |(longest, _)| longest.as_secs());
            Error::new(ErrorCode::Heartbeat, format!("nothing was heard of the node for {longest} s"))
        }
    };
    let result = ToolResult::error(&of.id, &of.name, error.to_string());
    ToolEnd { key, attempt, outcome: ToolOutcome { result, fatal: None, error: Some(error) } }
}
