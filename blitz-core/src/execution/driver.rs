//! The loop: take in what happened, let the machine say what follows, commit, perform.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::clock::next_look;
use super::effects::{Delivered, Happening, ToolEnd, live};
use super::limits::Pass;
use super::nodes::{Hand, Spent};
use super::perform::After;
use super::rest::Ran;
use super::retry::RetryDecision;
use super::runnable::Runnable;
use super::state::{Progress, State};
use super::turn::{Draft, Ids, ModelStart, Settle, ToolStart, Turn};
use super::waits::{ChildWaits, ParentLine, Waits};
use super::{Runtime, Seat};
use crate::access::ExecutionStore;
use crate::domain::{
    Action, EventData, ExecutionId, ExecutionStatus, FallbackTo, Finish, Finished, Input, ModelRequest, ModelResponse,
    Outcome, Place, ReservationId, StepFinished, StepKind, Timestamp, ToolCall, ToolResult, Usage, Waiting,
};
use crate::error::{Error, ErrorCode, ErrorInfo, Result};
use crate::ledger::Reserved;
use crate::tool::NodeOutput;
use crate::tool::registry::for_a_model;

/// One execution in the hands of this process. Boxed where it is handed on: each future that holds it
/// by value would be as large as it is, for as long as a model thinks.
pub(crate) struct Driver {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) store: ExecutionStore,
    pub(crate) setup: Runnable,
    pub(crate) seat: Seat,
    pub(crate) ids: Ids,
    pub(crate) state: State,
    pub(crate) deadline: Timestamp,
    /// Set when the end is asked for; a child's hangs below its parent's.
    pub(crate) cancel: CancellationToken,
    /// Whether answers are streamed where neither agent nor model says so: someone may read along.
    pub(crate) streams: bool,
    /// The session that tools may act through.
    pub(crate) session: Option<Arc<dyn Any + Send + Sync>>,
    /// Where a child tells its parent whether it waits.
    pub(crate) parent: Option<ParentLine>,
    pub(crate) work: Work,
}

/// What a driver has under way.
pub(crate) struct Work {
    pub(super) effects: JoinSet<Happening>,
    pub(super) running: HashMap<String, Running>,
    /// Requests of model calls that are being reserved.
    pub(super) requests: HashMap<String, ModelRequest>,
    /// Model calls that wait in the lines of their limits.
    pub(super) queued: HashMap<String, (ModelStart, ModelRequest)>,
    /// The places in those lines of calls that are being reserved.
    pub(super) passes: HashMap<String, Pass>,
    /// Tool calls that wait for their turn among the effects of the engine.
    pub(super) unstarted: HashMap<String, ToolStart>,
    /// Steps that wait for a decision.
    pub(super) in_doubt: Vec<String>,
    /// Nodes whose effects wait for their turn, in the order in which they get it.
    pub(super) ready: BTreeMap<(u32, usize, Vec<u64>), Place>,
    /// Questions to people, by key.
    pub(super) asked: BTreeMap<String, Waiting>,
    pub(super) timers: HashMap<String, Timer>,
    /// Containers whose time is measured.
    pub(super) timed: BTreeSet<String>,
    pub(super) permits: Arc<Semaphore>,
    /// The end of the last call of each tool whose calls run one after another.
    pub(super) ends: HashMap<String, oneshot::Receiver<()>>,
    /// Rings at the execution's deadline, and before it to look at the clock.
    pub(super) deadline: Pin<Box<Sleep>>,
    /// Where the database says that the execution stands.
    pub(super) status: (ExecutionStatus, Vec<Waiting>),
    /// What the parent was told of it last.
    pub(super) told: Waits,
    pub(super) children: (mpsc::UnboundedSender<ChildWaits>, mpsc::UnboundedReceiver<ChildWaits>),
    /// Whether the execution was taken up again and has not got further since.
    pub(super) resumed: bool,
    /// Nodes whose outputs were looked for, and by what.
    pub(super) looked: HashMap<String, String>,
    /// What this turn reads that is not in memory.
    pub(super) hand: Hand,
    /// The last decision that was read, or a record behind which none is older.
    pub(super) decisions_seen: i64,
    /// The last record that was written or read.
    pub(super) last_seq: i64,
}

/// An effect that runs in a task of its own.
pub(super) struct Running {
    pub(super) handle: AbortHandle,
    pub(super) what: RunningWhat,
}

pub(super) enum RunningWhat {
    Model {
        attempt: u32,
        reservation: ReservationId,
        delivered: Delivered,
    },
    Tool {
        attempt: u32,
        call: ToolCall,
        cancel: CancellationToken,
    },
    Child {
        id: ExecutionId,
        cancel: CancellationToken,
        waits: Waits,
    },
    /// A model or tool call that waits for its turn, or a node whose output is looked for: nothing has begun.
    Queued,
}

/// A wait for a moment.
pub(super) struct Timer {
    pub(super) handle: AbortHandle,
    pub(super) at: Timestamp,
}

impl Work {
    pub(crate) fn new(max_parallel_tools: u32, deadline: Timestamp) -> Self {
        Self {
            effects: JoinSet::new(),
            running: HashMap::new(),
            requests: HashMap::new(),
            queued: HashMap::new(),
            passes: HashMap::new(),
            unstarted: HashMap::new(),
            in_doubt: Vec::new(),
            ready: BTreeMap::new(),
            asked: BTreeMap::new(),
            timers: HashMap::new(),
            timed: BTreeSet::new(),
            deadline: Box::pin(tokio::time::sleep(next_look(deadline, Timestamp::now()))),
            permits: Arc::new(Semaphore::new(max_parallel_tools.clamp(1, 1024) as usize)),
            ends: HashMap::new(),
            status: (ExecutionStatus::Running, Vec::new()),
            told: Waits::default(),
            children: mpsc::unbounded_channel(),
            resumed: false,
            looked: HashMap::new(),
            hand: Hand::default(),
            decisions_seen: 0,
            last_seq: 0,
        }
    }
}

/// Why the loop woke up.
#[allow(clippy::large_enum_variant, reason = "made and taken apart at once")]
enum Woken {
    Happened(Happening),
    Decisions,
    ChildStatus(String, Waits),
    Stop(Finish),
    Closing,
    /// A timer was taken back, or the clock was looked at.
    Nothing,
    /// A part of it panicked.
    Broken,
}

impl Woken {
    fn by(joined: std::result::Result<Happening, JoinError>) -> Self {
        match joined {
            Ok(happening) => Self::Happened(happening),
            Err(error) if error.is_cancelled() => Self::Nothing,
            Err(_) => Self::Broken,
        }
    }
}

impl Driver {
    /// Goes on from the first commit of a new execution.
    pub(super) async fn run_new(
        mut self: Box<Self>,
        first: Vec<Action>,
        requests: Vec<ModelRequest>,
        reserved: Vec<Result<Reserved, ErrorInfo>>,
    ) -> Result<Ran> {
        if self.runtime.closing.is_cancelled() {
            return Err(left_interrupted());
        }
        let mut follow = Vec::new();
        let mut calls = requests.into_iter().zip(reserved);
        for action in first {
            if let Action::CallModel { key, .. } = &action
                && let Some((request, outcome)) = calls.next()
            {
                follow.extend(self.send_or_refuse(key.clone(), 1, 0, request, outcome));
            } else {
                // A call that waits for its turn before its money is reserved, or the end of one that has no token.
                follow.push(action);
            }
        }
        self.drive(follow, Turn::default()).await
    }

    /// Goes on behind the last record of an execution that was interrupted.
    pub(super) async fn run_resumed(mut self: Box<Self>) -> Result<Ran> {
        let mut turn = Turn::default();
        let open = self.state.open_actions();
        let ends = open.iter().any(|action| matches!(action, Action::Finish(_)));
        let actions = match self.overdue() {
            None => open,
            Some(_) if ends => open,
            // Nothing is started any more; what was under way is ended, as it would have been then.
            Some(finish) => {
                self.end_open(open, &mut turn);
                self.state.tell(Timestamp::now(), Input::Stop { finish: &finish })
            }
        };
        self.drive(actions, turn).await
    }

    /// Runs until its end, or until it rests; then gives nothing.
    pub(super) async fn turns(&mut self, mut actions: Vec<Action>, mut turn: Turn) -> Result<Option<Finished>> {
        loop {
            self.bring(&actions).await?;
            actions = self.plan(actions, &mut turn)?;
            if !actions.is_empty() {
                continue;
            }
            self.let_go();
            actions = self.run_at_once(&mut turn);
            if !actions.is_empty() {
                continue;
            }
            if turn.finish.is_some() {
                let ended = turn.drafts.len();
                if let Err(error) = self.stop_effects(&mut turn).await {
                    turn.without_end(ended);
                    self.break_off(turn).await;
                    return Err(error);
                }
                // Whoever was told that it is cancelled finds it cancelled, whatever failed at that moment.
                if self.cancel.is_cancelled() && matches!(turn.finish, Some(Finish::Failed { .. })) {
                    turn.finish = Some(Finish::Cancelled);
                }
            }
            self.time_containers();
            self.note_status(&mut turn);
            if !turn.is_empty() {
                let doubts = self.work.in_doubt.len();
                match self.commit(std::mem::take(&mut turn)).await? {
                    After::Ended(finished) => return Ok(Some(*finished)),
                    After::Follow(follow) if !follow.is_empty() => {
                        actions = follow;
                        continue;
                    }
                    // A budget asks: that it waits is written before anything else is heard.
                    After::Follow(follow) if self.work.in_doubt.len() > doubts => {
                        actions = follow;
                        continue;
                    }
                    After::Follow(_) => {}
                }
            }
            // What it waits for is written by now.
            self.seat.taken_up.cancel();
            if self.goes_to_rest().await {
                return Ok(None);
            }
            match self.hear(&mut turn).await {
                Ok(follow) => actions = follow,
                Err(error) => {
                    self.break_off(turn).await;
                    return Err(error);
                }
            }
        }
    }

    /// Waits for something to happen; gives what follows from all that is there by then.
    ///
    /// Errors: the execution cannot go on here; what has ended so far is in the turn.
    async fn hear(&mut self, turn: &mut Turn) -> Result<Vec<Action>> {
        let woken = self.wait().await;
        let mut actions = self.take_in(woken, turn).await?;
        // Whatever else is ready goes into the same commit.
        while let Some(more) = self.work.effects.try_join_next() {
            actions.extend(self.take_in(Woken::by(more), turn).await?);
        }
        if self.cancel.is_cancelled() {
            // What has just ended may have ended because of it: nothing follows from that.
            actions.extend(self.state.tell(Timestamp::now(), Input::Stop { finish: &Finish::Cancelled }));
        }
        Ok(actions)
    }

    /// Why the execution must end at once, if it must.
    fn overdue(&self) -> Option<Finish> {
        if self.cancel.is_cancelled() {
            Some(Finish::Cancelled)
        } else if self.deadline <= Timestamp::now() {
            Some(self.out_of_time())
        } else {
            None
        }
    }

    fn out_of_time(&self) -> Finish {
        let limit = self.setup.timeout();
        Finish::failed(&Error::LimitExceeded { limit: "wall_time", value: format!("{limit:?}") })
    }

    async fn wait(&mut self) -> Woken {
        let closing = self.runtime.closing.clone();
        tokio::select! {
            biased;
            () = closing.cancelled() => Woken::Closing,
            Some(joined) = self.work.effects.join_next(), if !self.work.effects.is_empty() => Woken::by(joined),
            () = self.cancel.cancelled() => Woken::Stop(Finish::Cancelled),
            Some((key, told)) = self.work.children.1.recv() => Woken::ChildStatus(key, told),
            () = self.seat.wake.notified() => Woken::Decisions,
            () = &mut self.work.deadline => match next_look(self.deadline, Timestamp::now()) {
                Duration::ZERO => Woken::Stop(self.out_of_time()),
                left => {
                    self.work.deadline.as_mut().reset(Instant::now() + left);
                    Woken::Nothing
                }
            },
        }
    }

    async fn take_in(&mut self, woken: Woken, turn: &mut Turn) -> Result<Vec<Action>> {
        match woken {
            Woken::Happened(happening) => {
                // The time for an answer is over: one that was taken before counts all the same.
                let mut actions = match &happening {
                    Happening::Timer { key } if self.work.asked.contains_key(key) => self.decisions().await?,
                    _ => Vec::new(),
                };
                actions.extend(self.happened(happening, turn)?);
                Ok(actions)
            }
            Woken::Stop(finish) => Ok(self.state.tell(Timestamp::now(), Input::Stop { finish: &finish })),
            Woken::ChildStatus(key, now_waits) => {
                if let Some(Running { what: RunningWhat::Child { waits, .. }, .. }) = self.work.running.get_mut(&key) {
                    *waits = now_waits;
                }
                Ok(Vec::new())
            }
            Woken::Decisions => self.decisions().await,
            Woken::Nothing => Ok(Vec::new()),
            Woken::Closing => Err(left_interrupted()),
            Woken::Broken => Err(broken()),
        }
    }

    // What happened -----------------------------------------------------------------------------

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
        let Some(Action::CallTool { call, .. }) = self.state.open_action(&key) else { return Vec::new() };
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

/// Why a driver stops where it is.
pub(super) fn left_interrupted() -> Error {
    Error::interrupted("the engine closed while the execution ran: recover() goes on with it")
}

/// Effects catch their own panics, so this is a driver's, or the end of the host's runtime.
fn broken() -> Error {
    Error::new(ErrorCode::Panic, "a part of the execution broke off: report this, recover() goes on with it")
}

/// What the caller's model is told of a child's end.
fn child_result(call: &ToolCall, outcome: &Outcome) -> ToolResult {
    match (outcome.status, &outcome.error) {
        (ExecutionStatus::Completed, _) => ToolResult::new(&call.id, &call.name, outcome.output.clone()),
        (_, Some(error)) => ToolResult::error(&call.id, &call.name, format!("the agent failed: {}", error.message)),
        _ => ToolResult::error(&call.id, &call.name, "the agent was cancelled"),
    }
}
