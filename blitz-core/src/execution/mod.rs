//! The one driver: performs actions, commits what happened, publishes events, recovers, cancels.
//!
//! A machine says what to do ([`crate::agent`]); a [`driver::Driver`] does it. Each turn is one
//! transaction ([`turn`]): the steps that ended, their money, the audit line, the events, and the
//! reservations and starts that follow. What a journal says is folded by [`state`], live and on
//! recovery alike. There is no second loop.

pub(crate) mod begin;
pub(crate) mod bell;
pub(crate) mod cache;
mod client_key;
mod clock;
pub(crate) mod control;
mod decisions;
pub(crate) mod drain;
pub(crate) mod driver;
pub(crate) mod effects;
pub(crate) mod embed;
pub(crate) mod events;
mod happened;
pub(crate) mod limits;
mod nodes;
mod owed;
mod perform;
pub(crate) mod picture;
mod pin;
mod plan;
mod queue;
pub(crate) mod recover;
pub(crate) mod redrive;
pub(crate) mod rerun;
mod rest;
pub(crate) mod retry;
pub(crate) mod runnable;
pub(crate) mod setup;
pub(crate) mod state;
pub(crate) mod timeline;
pub(crate) mod turn;
pub(crate) mod view;
mod waits;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::ExecutionStore;
use crate::domain::{Drain, ExecutionId, Outcome, RecoverySettlement};
use crate::error::{Error, Result};
use crate::provider::registry::Providers;
use crate::store::boot::Boot;
use crate::store::executions::{self, ExecutionRow};
use crate::tool::pool::Pool;
use crate::tool::registry::HostTools;
use bell::Bell;
use cache::Setups;
use drain::Draining;
use driver::{Driver, Work};
use events::Hub;
use limits::Deployments;
use rest::{Ran, to_the_end};
use runnable::Runnable;
use turn::{Begun, Ids};

/// How often this process looks whether another one asked for a cancellation or made a decision.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// What all executions of one engine share.
pub(crate) struct Runtime {
    /// This process among those that have the database open.
    pub(crate) boot: Boot,
    pub(crate) boot_id: String,
    pub(crate) store_id: String,
    pub(crate) providers: Providers,
    /// What a call is booked at whose process died.
    pub(crate) settlement: RecoverySettlement,
    /// How answers are read on that nobody waits for any more, where they are.
    pub(crate) draining: Option<Draining>,
    pub(crate) tools: HostTools,
    /// Where tools run that block: each engine has its own, so none waits for another's.
    pub(crate) threads: Arc<Pool>,
    pub(crate) setups: Setups,
    pub(crate) hub: Hub,
    pub(crate) deployments: Deployments,
    pub(crate) bell: Arc<Bell>,
    /// Set when what still runs must stop where it is.
    pub(crate) closing: CancellationToken,
    /// Set then, and when nobody holds the engine any more.
    pub(crate) over: CancellationToken,
    tasks: TaskTracker,
    here: Mutex<Here>,
}

/// The executions that this process has in its hands.
#[derive(Default)]
struct Here {
    live: HashMap<ExecutionId, Live>,
    /// Roots whose driver stopped without their end: `recover()` may take them up again.
    stopped: HashSet<ExecutionId>,
    /// Whether somebody looks for what other processes ask.
    watched: bool,
}

/// How an execution that runs here is reached.
struct Live {
    cancel: CancellationToken,
    wake: Arc<Notify>,
    taken_up: CancellationToken,
}

/// An execution's place among those that run here. However its driver ends, dropping it gives it up.
pub(crate) struct Seat {
    runtime: Arc<Runtime>,
    ids: Ids,
    pub(crate) wake: Arc<Notify>,
    /// Set once the database says what it waits for: one that is just taken up does not say so yet.
    pub(crate) taken_up: CancellationToken,
    /// Whether the execution has come to its end.
    pub(crate) ended: bool,
}

/// A root execution that was started here, and what comes of it.
pub(crate) struct Started {
    pub(crate) id: ExecutionId,
    pub(crate) outcome: oneshot::Receiver<Result<Outcome>>,
}

impl Runtime {
    pub(crate) fn new(
        boot: Boot,
        store_id: String,
        providers: Providers,
        settlement: RecoverySettlement,
        drain: Option<Drain>,
        max_parallel: Option<u32>,
    ) -> Arc<Self> {
        let closing = CancellationToken::new();
        Arc::new(Self {
            boot_id: boot.id().to_owned(),
            boot,
            store_id,
            providers,
            settlement,
            draining: drain.map(Draining::new),
            tools: HostTools::default(),
            threads: Arc::default(),
            setups: Setups::default(),
            hub: Hub::default(),
            deployments: Deployments::new(max_parallel),
            bell: Arc::default(),
            over: closing.child_token(),
            closing,
            tasks: TaskTracker::new(),
            here: Mutex::default(),
        })
    }

    /// Does something to its end, even if whoever asked for it goes away; `close` waits for it.
    ///
    /// Errors: `Closed` once the engine closes.
    pub(crate) async fn to_its_end<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if self.tasks.is_closed() {
            return Err(Error::closed("the engine is closed"));
        }
        let work = self.tasks.spawn(work);
        work.await.map_err(|error| Error::internal("a task of the engine was broken off").with_source(error))?
    }

    /// Drives a root execution that has begun, in a task of its own.
    pub(crate) fn launch(
        self: &Arc<Self>,
        store: ExecutionStore,
        setup: Runnable,
        begun: Begun,
        cancel: CancellationToken,
        streams: bool,
        session: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Started {
        let Begun { ids, state, deadline, queued, first, requests, reserved } = begun;
        let driver = Box::new(Driver {
            seat: self.enter(ids, &cancel, &store),
            runtime: Arc::clone(self),
            store,
            work: Work::new(setup.max_parallel(), deadline),
            setup,
            ids,
            state,
            deadline,
            cancel,
            streams,
            session,
            parent: None,
        });
        if queued {
            return self.spawn(ids.id, driver.run_queued());
        }
        self.spawn(ids.id, driver.run_new(first, requests, reserved))
    }

    /// Makes a call in a task of its own; `close` waits for it, as long as it waits for anything.
    fn spawn_call(&self, call: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(call);
    }

    fn spawn<F>(&self, id: ExecutionId, run: F) -> Started
    where
        F: Future<Output = Result<Ran>> + Send + 'static,
    {
        let (tell, outcome) = oneshot::channel();
        let run = to_the_end(Box::pin(run));
        self.tasks.spawn(async move {
            let ended = run.await;
            if let Err(error) = &ended {
                tracing::warn!(
                    execution = id.0,
                    code = error.code().name(),
                    "an execution stopped without an end: recover() goes on with it"
                );
            }
            // Nobody may be waiting.
            let _ = tell.send(ended);
        });
        Started { id, outcome }
    }

    /// Makes an execution reachable for as long as its seat is held.
    pub(crate) fn enter(self: &Arc<Self>, ids: Ids, cancel: &CancellationToken, store: &ExecutionStore) -> Seat {
        let (wake, taken_up) = (Arc::new(Notify::new()), CancellationToken::new());
        let mut here = self.lock();
        // Whoever has it now is its only driver: recover() must not take it up beside.
        here.stopped.remove(&ids.id);
        let live = Live { cancel: cancel.clone(), wake: Arc::clone(&wake), taken_up: taken_up.clone() };
        here.live.insert(ids.id, live);
        let watched = std::mem::replace(&mut here.watched, true);
        drop(here);
        if !watched {
            self.watch(store.clone());
        }
        Seat { runtime: Arc::clone(self), ids, wake, taken_up, ended: false }
    }

    /// Waits until an execution that runs here says what it waits for; gives whether it runs here. It may
    /// have said so just now.
    pub(crate) async fn when_taken_up(&self, id: ExecutionId) -> bool {
        let taken_up = self.lock().live.get(&id).map(|live| live.taken_up.clone());
        match taken_up {
            Some(taken_up) => {
                taken_up.cancelled().await;
                true
            }
            None => false,
        }
    }

    /// Whether an execution runs in this process.
    pub(crate) fn runs(&self, id: ExecutionId) -> bool {
        self.lock().live.contains_key(&id)
    }

    /// Whether nobody runs a root execution.
    pub(crate) fn is_orphan(&self, root: &ExecutionRow) -> bool {
        !root.boot_id.as_deref().is_some_and(|boot| self.has_owner(root.id, boot))
    }

    /// Whether the process that a root belongs to still runs it: it lives, and where it is this one, the
    /// root's driver has not stopped.
    pub(crate) fn has_owner(&self, root: ExecutionId, boot_id: &str) -> bool {
        if boot_id == self.boot_id { !self.lock().stopped.contains(&root) } else { self.boot.is_alive(boot_id) }
    }

    /// Takes a stopped execution in hand, so that no other call of this process does; gives whether it was there.
    fn take_stopped(&self, id: ExecutionId) -> bool {
        self.lock().stopped.remove(&id)
    }

    fn put_stopped(&self, id: ExecutionId) {
        self.lock().stopped.insert(id);
    }

    /// Stops an execution that runs here, from any thread. Does nothing where it does not.
    pub(crate) fn cancel(&self, id: ExecutionId) {
        if let Some(live) = self.lock().live.get(&id) {
            live.cancel.cancel();
        }
    }

    /// Lets an execution that runs here look for decisions.
    pub(crate) fn wake(&self, id: ExecutionId) {
        if let Some(live) = self.lock().live.get(&id) {
            live.wake.notify_one();
        }
    }

    /// Takes no new work, waits a grace for what runs, then leaves the rest interrupted.
    pub(crate) async fn close(&self, grace: Duration) {
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.closing.cancel();
            self.tasks.wait().await;
        }
        self.closing.cancel();
    }

    /// Looks for what other processes asked of the executions that run here, while any do.
    fn watch(self: &Arc<Self>, store: ExecutionStore) {
        let runtime = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(WATCH_EVERY).await;
                let Some(runtime) = runtime.upgrade() else { return };
                if runtime.watch_ends() {
                    return;
                }
                let boot = runtime.boot_id.clone();
                if let Ok(asked) = store.read(move |tx, _| executions::asked_for(tx, &boot)).await {
                    asked.cancelled.into_iter().for_each(|id| runtime.cancel(id));
                    asked.decided.into_iter().for_each(|id| runtime.wake(id));
                }
            }
        });
    }

    /// Whether nothing runs here any more; then the next execution begins another watch.
    fn watch_ends(&self) -> bool {
        let mut here = self.lock();
        here.watched = !here.live.is_empty() && !self.closing.is_cancelled();
        !here.watched
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Ids { id, root_id, .. } = self.ids;
        self.taken_up.cancel();
        let mut here = self.runtime.lock();
        // Somebody may have taken the execution up again in the meantime.
        if here.live.get(&id).is_some_and(|live| Arc::ptr_eq(&live.wake, &self.wake)) {
            here.live.remove(&id);
        }
        if id == root_id {
            if !self.ended {
                here.stopped.insert(id);
            }
            drop(here);
            self.runtime.hub.close(root_id);
        }
    }
}

/// A child's seed: it follows from its parent's, so a replay gives the same.
pub(crate) fn derived_seed(seed: u64, key: &str) -> u64 {
    key.bytes().fold(seed ^ 0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// A seed for a root execution. Errors: `Internal` where the system gives no randomness.
pub(crate) fn fresh_seed() -> Result<u64> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 8];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::internal("the system gives no random numbers"))?;
    Ok(u64::from_le_bytes(bytes))
}
