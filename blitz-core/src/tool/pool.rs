//! Threads of the engine's own for tools that block: as many as needed, up to a bound.
//!
//! The async threads of the host stay free, and a tool that hangs takes none of them with it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::permit::EffectScope;

/// The most tools that block at once; more wait in line.
const MAX_THREADS: usize = 64;
/// How long a thread without work stays.
const LINGER: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// The threads of one engine. What it was dropped with still runs; then its threads end.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    max_threads: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
    ends: bool,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(MAX_THREADS)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().ends = true;
        self.shared.arrived.notify_all();
    }
}

impl Pool {
    fn new(max_threads: usize) -> Self {
        Self { shared: Arc::default(), max_threads }
    }

    /// Runs a blocking function; `None` where it panicked.
    ///
    /// Dropping the future before the function began means that it never runs; one that runs is not
    /// interrupted, only its result is void.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (give, take) = oneshot::channel();
        let scope = EffectScope::current();
        self.submit(Box::new(move || {
            if !give.is_closed() {
                let outcome = catch_unwind(AssertUnwindSafe(|| scope.enter(work)));
                // Nobody may be waiting any more: then the result is void.
                give.send(outcome.ok()).ok();
            }
        }));
        take.await.ok().flatten()
    }

    fn submit(&self, job: Job) {
        let mut state = self.shared.lock();
        state.waiting.push_back(job);
        if state.idle < state.waiting.len() && state.threads < self.max_threads {
            let shared = Arc::clone(&self.shared);
            let spawned = std::thread::Builder::new().name("blitz-tool".into()).spawn(move || shared.work());
            state.threads += usize::from(spawned.is_ok());
            if state.threads == 0 {
                // No thread can be had at all: dropping the job tells its caller.
                state.waiting.pop_back();
            }
        }
        drop(state);
        self.shared.arrived.notify_one();
    }
}

impl Shared {
    /// A panic never happens while the lock is held, so a poisoned lock guards sound data.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of one thread: job after job, until none comes for a while.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                drop(state);
                job();
                state = self.lock();
                continue;
            }
            if state.ends {
                state.threads -= 1;
                return;
            }
            state.idle += 1;
            let (woken, timeout) = self.arrived.wait_timeout(state, LINGER).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.waiting.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn results_come_back_and_a_panic_is_none() {
        let pool = Pool::default();
        assert_eq!(pool.run(|| 2 + 3).await, Some(5));
        assert_eq!(pool.run(|| -> i32 { panic!("on purpose") }).await, None);
        assert_eq!(pool.run(|| 7).await, Some(7));
    }

    #[tokio::test]
    async fn no_more_threads_than_the_bound_and_all_jobs_run() {
        let pool = Pool::new(2);
        let jobs = (0..20).map(|i| pool.run(move || i));
        let results = futures_util::future::join_all(jobs).await;
        assert_eq!(results, (0..20).map(Some).collect::<Vec<_>>());
        assert!(pool.shared.lock().threads <= 2);
    }

    #[tokio::test]
    async fn its_threads_end_with_it_behind_their_work() {
        let pool = Pool::new(1);
        let shared = Arc::clone(&pool.shared);
        let (release, released) = mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        let work = pool.run(move || {
            began.send(()).ok();
            released.recv().ok();
            "done"
        });
        let mut work = Box::pin(work);
        assert!((&mut work).now_or_never().is_none());
        begun.await.unwrap();
        release.send(()).unwrap();
        assert_eq!(work.await, Some("done"));
        drop(pool);
        while shared.lock().threads > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_never_starts() {
        let pool = Pool::new(1);
        let (release, released) = mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        let (ran, has_run) = mpsc::channel::<&str>();
        let late = ran.clone();
        let hold = pool.run(move || {
            began.send(()).ok();
            released.recv().ok();
        });
        let void = pool.run(move || late.send("void").ok());
        let mut hold = Box::pin(hold);
        assert!((&mut hold).now_or_never().is_none());
        begun.await.unwrap();
        let mut void = Box::pin(void);
        assert!((&mut void).now_or_never().is_none());
        drop(void);
        release.send(()).unwrap();
        hold.await;
        pool.run(move || ran.send("last").ok()).await;
        assert_eq!(has_run.try_iter().collect::<Vec<_>>(), ["last"]);
    }
}
