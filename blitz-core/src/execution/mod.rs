//! The one driver: performs actions, commits what happened, publishes events, recovers, cancels.
//!
//! A machine says what to do ([`crate::agent`]); a [`driver::Driver`] does it. Each turn is one
//! transaction ([`turn`]): the steps that ended, their money, the audit line, the events, and the
//! reservations and starts that follow. What a journal says is folded by [`state`], live and on
//! recovery alike. There is no second loop.

pub(crate) mod begin;
pub(crate) mod control;
pub(crate) mod driver;
pub(crate) mod effects;
pub(crate) mod events;
mod perform;
mod pin;
mod plan;
pub(crate) mod recover;
pub(crate) mod retry;
pub(crate) mod setup;
pub(crate) mod state;
pub(crate) mod turn;

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::ExecutionStore;
use crate::domain::{ExecutionId, Outcome};
use crate::error::{Error, Result};
use crate::store::boot::Boot;
use crate::store::executions;
use crate::tool::registry::HostTools;
use driver::{Driver, Work};
use events::Hub;
use setup::{Providers, Setup};
use turn::{Begun, Ids};

/// How often this process looks whether another one asked for a cancellation or made a decision.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// What all executions of one process share.
pub(crate) struct Runtime {
    /// This process among those that have the database open.
    pub(crate) boot: Boot,
    pub(crate) boot_id: String,
    pub(crate) store_id: String,
    pub(crate) providers: Providers,
    pub(crate) tools: HostTools,
    pub(crate) hub: Hub,
    /// Set when what still runs must stop where it is.
    pub(crate) closing: CancellationToken,
    tasks: TaskTracker,
    live: Mutex<HashMap<ExecutionId, Live>>,
    /// Whether somebody looks for what other processes ask.
    watched: AtomicBool,
}

/// How an execution that runs here is reached.
#[derive(Clone)]
struct Live {
    cancel: CancellationToken,
    wake: Arc<Notify>,
}

/// A root execution that was started here: what comes of it, and how it is stopped.
pub(crate) struct Started {
    pub(crate) id: ExecutionId,
    pub(crate) outcome: oneshot::Receiver<Result<Outcome>>,
    pub(crate) cancel: CancellationToken,
}

impl Runtime {
    pub(crate) fn new(boot: Boot, store_id: String, providers: Providers) -> Arc<Self> {
        Arc::new(Self {
            boot_id: boot.id().to_owned(),
            boot,
            store_id,
            providers,
            tools: HostTools::default(),
            hub: Hub::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            live: Mutex::default(),
            watched: AtomicBool::new(false),
        })
    }

    /// Runs what an execution needs in a task of its own, which closing waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// A root execution that has begun, and what drives it to its end.
    pub(crate) fn launch(
        self: &Arc<Self>,
        store: ExecutionStore,
        setup: Arc<Setup>,
        begun: Begun,
        session: Option<Arc<dyn Any + Send + Sync>>,
    ) -> (Started, impl Future<Output = ()> + Send + 'static) {
        let Begun { ids, state, deadline, first, reserved } = begun;
        let driver = Driver {
            runtime: Arc::clone(self),
            store,
            work: Work::new(setup.agent().limits.max_parallel_tools),
            setup,
            ids,
            state,
            deadline,
            cancel: CancellationToken::new(),
            session,
            parent: None,
        };
        self.start(driver, |driver| driver.run_new(first, reserved))
    }

    fn start<R, F>(self: &Arc<Self>, driver: Driver, run: R) -> (Started, impl Future<Output = ()> + Send + use<R, F>)
    where
        R: FnOnce(Driver) -> F,
        F: Future<Output = Result<Outcome>> + Send + 'static,
    {
        let (id, cancel) = (driver.ids.id, driver.cancel.clone());
        let (tell, outcome) = oneshot::channel();
        self.enter(id, &cancel);
        self.watch(&driver.store);
        let run = run(driver);
        let driving = async move {
            let ended = run.await;
            if let Err(error) = &ended {
                tracing::warn!(execution = id.0, code = error.code().name(), "an execution stopped without an end: recover() goes on with it");
            }
            // Nobody may be waiting.
            let _ = tell.send(ended);
        };
        (Started { id, outcome, cancel }, driving)
    }

    /// Refuses new work once the engine closes.
    pub(crate) fn open_for_work(&self) -> Result<()> {
        if self.tasks.is_closed() { Err(Error::closed("the engine is closed")) } else { Ok(()) }
    }

    /// Makes an execution reachable; gives what wakes its driver.
    pub(crate) fn enter(&self, id: ExecutionId, cancel: &CancellationToken) -> Arc<Notify> {
        let mut live = self.lock();
        let entry = live.entry(id).or_insert_with(|| Live { cancel: cancel.clone(), wake: Arc::new(Notify::new()) });
        Arc::clone(&entry.wake)
    }

    /// Forgets an execution that no longer runs here.
    pub(crate) fn leave(&self, ids: &Ids) {
        self.lock().remove(&ids.id);
        if ids.id == ids.root_id {
            self.hub.close(ids.root_id);
        }
    }

    /// Whether an execution runs in this process.
    pub(crate) fn runs(&self, id: ExecutionId) -> bool {
        self.lock().contains_key(&id)
    }

    /// Stops an execution that runs here, from any thread. Does nothing where it does not.
    pub(crate) fn cancel(&self, id: ExecutionId) {
        if let Some(live) = self.lock().get(&id) {
            live.cancel.cancel();
        }
    }

    /// Lets an execution that runs here look for decisions.
    pub(crate) fn wake(&self, id: ExecutionId) {
        if let Some(live) = self.lock().get(&id) {
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
    ///
    /// Called behind [`Runtime::enter`]: a watcher that ends says so under the lock that showed it
    /// that nothing runs, so that either it sees the new execution or this sees that it has ended.
    fn watch(self: &Arc<Self>, store: &ExecutionStore) {
        if self.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let (runtime, store) = (Arc::downgrade(self), store.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(WATCH_EVERY).await;
                let Some(runtime) = runtime.upgrade() else { return };
                if !runtime.still_watches() {
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

    /// Whether there is still something to watch; noted under the lock that shows it.
    fn still_watches(&self) -> bool {
        let live = self.lock();
        let watches = !live.is_empty() && !self.closing.is_cancelled();
        self.watched.store(watches, Ordering::Release);
        watches
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ExecutionId, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
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
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("the system gives no random numbers"))?;
    Ok(u64::from_le_bytes(bytes))
}
