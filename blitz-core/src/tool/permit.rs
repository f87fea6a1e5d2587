//! How many effects of an engine run at once, and what one of them gives back while it waits for others.
//!
//! An effect is a model call, a tool call or the work of a node. What waits for a person, a moment or a child is none,
//! and neither is a tool as long as it waits for an execution that it began: so nesting cannot deadlock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most effects at once; they get their turns in the order in which they ask.
#[derive(Debug, Clone)]
pub(crate) struct Bound(Arc<Semaphore>);

impl Bound {
    pub(crate) fn new(most: u32) -> Self {
        Self(Arc::new(Semaphore::new((most as usize).min(Semaphore::MAX_PERMITS))))
    }

    /// Waits for the turn of an effect. Dropped meanwhile, it leaves its place in the line.
    pub(crate) async fn permit(&self) -> Permit {
        Permit::new(Arc::clone(&self.0), take(&self.0).await)
    }

    /// What may run now, if its turn is now.
    pub(crate) fn permit_now(&self) -> Option<Permit> {
        let held = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(Permit::new(Arc::clone(&self.0), Some(held)))
    }
}

/// The semaphore is never closed.
async fn take(all: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(all).acquire_owned().await.ok()
}

/// That an effect may run; the next one may once all copies are dropped.
#[derive(Clone)]
pub(crate) struct Permit(Arc<Held>);

struct Held {
    all: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    /// Not there while the effect waits for others.
    permit: Option<OwnedSemaphorePermit>,
    /// For how many it waits.
    apart: usize,
}

impl Permit {
    fn new(all: Arc<Semaphore>, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self(Arc::new(Held { all, state: Mutex::new(State { permit, apart: 0 }) }))
    }

    /// The effect, as the code knows it that runs it; of none where there is no bound.
    pub(crate) fn scope(permit: Option<&Self>) -> EffectScope {
        EffectScope(permit.map(|permit| Arc::downgrade(&permit.0)).unwrap_or_default())
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

tokio::task_local! {
    static SCOPE: EffectScope;
}

/// The effect that some code is part of: a model call, a tool call or the work of a node.
///
/// While such code waits for what it asked the engine to run, it does not count against
/// [`EngineSettings::max_parallel`](crate::EngineSettings::max_parallel). Code that goes on in another task, or on
/// another thread, takes the scope along.
///
/// ```
/// use blitz::tool::EffectScope;
///
/// let scope = EffectScope::current();
/// std::thread::spawn(move || scope.enter(|| "what is asked of the engine here is asked by the same effect"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct EffectScope(Weak<Held>);

impl EffectScope {
    /// The effect that runs here; outside of one, a scope that changes nothing.
    pub fn current() -> Self {
        SCOPE.try_with(Clone::clone).unwrap_or_default()
    }

    /// Whether it is the effect of an engine that bounds them: else it changes nothing.
    pub fn is_bounded(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Does work as part of the effect.
    pub async fn run<F: Future>(self, work: F) -> F::Output {
        if self.is_bounded() { SCOPE.scope(self, work).await } else { work.await }
    }

    /// Calls a function as part of the effect; what it waits for on this thread is part of it too.
    pub fn enter<T>(self, function: impl FnOnce() -> T) -> T {
        SCOPE.sync_scope(self, function)
    }

    fn lend(self) -> Option<Lent> {
        let held = self.0.upgrade()?;
        let mut state = held.lock();
        state.apart += 1;
        // Given back behind the lock.
        let permit = state.permit.take();
        drop(state);
        drop(permit);
        Some(Lent(self.0))
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

/// Waits for something that runs effects of its own. The effect that waits is none meanwhile; it goes on in its turn.
///
/// The effect is the one whose session asks, else the one that runs here.
pub(crate) async fn apart<F: Future>(scope: &EffectScope, work: F) -> F::Output {
    let lent = if scope.is_bounded() { scope.clone().lend() } else { EffectScope::current().lend() };
    let done = work.await;
    if let Some(lent) = lent {
        lent.take_back().await;
    }
    done
}

/// That an effect waits. Where the wait is given up it goes on without a permit: nothing can wait for one there.
struct Lent(Weak<Held>);

impl Lent {
    async fn take_back(mut self) {
        let Some(all) = self.0.upgrade().map(|held| Arc::clone(&held.all)) else { return };
        let permit = take(&all).await;
        // From here on the wait is over: nothing is left to give up.
        if let Some(held) = std::mem::take(&mut self.0).upgrade() {
            let mut state = held.lock();
            state.apart -= 1;
            // It may wait for something else as well: whoever comes last keeps the permit.
            if state.apart == 0 {
                state.permit = permit;
            }
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(held) = self.0.upgrade() {
            held.lock().apart -= 1;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    async fn apart<F: Future>(work: F) -> F::Output {
        super::apart(&EffectScope::default(), work).await
    }

    #[tokio::test]
    async fn turns_come_in_order_and_nobody_overtakes() {
        let bound = Bound::new(1);
        let first = bound.permit_now().unwrap();
        let (mut second, mut third) = (Box::pin(bound.permit()), Box::pin(bound.permit()));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop(first);
        assert!(bound.permit_now().is_none() && (&mut third).now_or_never().is_none());
        // One that gives up lets the next one pass.
        drop(second);
        assert!(third.now_or_never().is_some() && bound.permit_now().is_some());
    }

    #[tokio::test]
    async fn an_effect_that_waits_is_none() {
        let bound = Bound::new(1);
        let permit = bound.permit_now().unwrap();
        let nested = async {
            let inner = bound.permit_now().unwrap();
            assert!(bound.permit_now().is_none());
            drop(inner);
            7
        };
        let scope = Permit::scope(Some(&permit));
        assert_eq!(scope.clone().run(apart(nested)).await, 7);
        assert!(bound.permit_now().is_none(), "it runs again");
        // Given up in the middle, it goes on without.
        assert!(scope.clone().run(apart(std::future::pending::<()>())).now_or_never().is_none());
        assert!(bound.permit_now().is_some());
        scope.clone().run(apart(async {})).await;
        assert!(bound.permit_now().is_none());
        drop(permit);
        assert!(bound.permit_now().is_some());
        // What outlives its effect holds nothing.
        scope.run(apart(async {})).await;
        assert!(bound.permit_now().is_some());
    }

    #[tokio::test]
    async fn two_waits_at_once_are_one() {
        let bound = Bound::new(1);
        let permit = bound.permit_now().unwrap();
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let both = async {
            let long = apart(told);
            let mut long = Box::pin(long);
            assert!((&mut long).now_or_never().is_none());
            apart(async {}).await;
            assert!(bound.permit_now().is_some(), "it still waits for the other");
            tell.send(()).unwrap();
            long.await.unwrap();
            assert!(bound.permit_now().is_none());
        };
        Permit::scope(Some(&permit)).run(both).await;
    }

    #[tokio::test]
    async fn a_thread_takes_it_along() {
        let bound = Bound::new(1);
        let permit = bound.permit_now().unwrap();
        let scope = Permit::scope(Some(&permit));
        let on_thread =
            std::thread::spawn(move || scope.enter(|| apart(async { bound.permit_now().is_some() }).now_or_never()));
        assert_eq!(on_thread.join().unwrap(), Some(true));
        assert!(!EffectScope::current().is_bounded());
        // A session knows whose it is, wherever it is used.
        let bound = Bound::new(1);
        let permit = bound.permit_now().unwrap();
        let scope = Permit::scope(Some(&permit));
        let free = super::apart(&scope, async { bound.permit_now().is_some() });
        assert_eq!(free.now_or_never(), Some(true));
    }
}
