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
use super::effects::{Delivered, Happening};
use super::limits::Pass;
use super::nodes::Hand;
use super::perform::After;
use super::rest::Ran;
use super::runnable::Runnable;
use super::state::State;
use super::turn::{Ids, ModelStart, ToolStart, Turn};
use super::waits::{ChildWaits, ParentLine, Waits};
use super::{Runtime, Seat};
use crate::access::ExecutionStore;
use crate::domain::{
    Action, ExecutionId, ExecutionStatus, Finish, Finished, Input, ModelRequest, Place, ReservationId, Timestamp,
    ToolCall, Waiting,
};
use crate::error::{Error, ErrorCode, ErrorInfo, Result};
use crate::ledger::Reserved;

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
    /// A timer was taken back, the clock was looked at, or nothing has happened.
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
        let open = self.state.open_again();
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
            if turn.is_full() && turn.finish.is_none() {
                actions = self.part(&mut turn, actions).await?;
                continue;
            }
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
            self.note_status(&mut turn, false);
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
            match self.hear(&mut turn, false).await {
                Ok(follow) => actions = follow,
                Err(error) => {
                    self.break_off(turn).await;
                    return Err(error);
                }
            }
        }
    }

    /// Writes a part of what follows at once, however much that is, and looks up from it: what happened
    /// meanwhile is heard, and what must end the execution or a container ends it. Gives what follows then.
    async fn part(&mut self, turn: &mut Turn, rest: Vec<Action>) -> Result<Vec<Action>> {
        self.let_go();
        self.time_containers();
        self.note_status(turn, true);
        // What is only to be told is told in the order in which it came about; what is to be done may be undone.
        let (mut told, rest): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|action| matches!(action, Action::Emit { .. }));
        if let After::Follow(follow) = self.commit(std::mem::take(turn)).await?
            && !follow.is_empty()
        {
            return Ok(told.into_iter().chain(follow).chain(rest).collect());
        }
        // Others of this thread have their turn too.
        tokio::task::yield_now().await;
        let mut heard = match self.hear(turn, true).await {
            Ok(heard) => heard,
            Err(error) => {
                self.break_off(std::mem::take(turn)).await;
                return Err(error);
            }
        };
        if let Some(finish) = self.overdue() {
            heard.extend(self.state.tell(Timestamp::now(), Input::Stop { finish: &finish }));
            return Ok(heard);
        }
        heard.extend(self.expire_containers(turn));
        told.extend(heard.into_iter().chain(rest));
        Ok(told)
    }

    /// Waits for something to happen, or only looks whether something has; gives what follows from all
    /// that is there by then.
    ///
    /// Errors: the execution cannot go on here; what has ended so far is in the turn.
    async fn hear(&mut self, turn: &mut Turn, at_once: bool) -> Result<Vec<Action>> {
        let woken = self.wait(at_once).await;
        let mut actions = self.take_in(woken, turn).await?;
        // Whatever else is ready goes into the same commit, as far as it has room.
        while !turn.is_full()
            && let Some(more) = self.work.effects.try_join_next()
        {
            actions.extend(self.take_in(Woken::by(more), turn).await?);
        }
        if self.cancel.is_cancelled() {
            // What has just ended may have ended because of it: nothing follows from that, and nothing is told
            // to follow.
            actions.retain(|action| !matches!(action, Action::Emit { .. }));
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

    async fn wait(&mut self, at_once: bool) -> Woken {
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
            () = std::future::ready(()), if at_once => Woken::Nothing,
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
}

/// Why a driver stops where it is.
pub(super) fn left_interrupted() -> Error {
    Error::interrupted("the engine closed while the execution ran: recover() goes on with it")
}

/// Effects catch their own panics, so this is a driver's, or the end of the host's runtime.
fn broken() -> Error {
    Error::new(ErrorCode::Panic, "a part of the execution broke off: report this, recover() goes on with it")
}
