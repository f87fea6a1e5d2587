//! Waits for moments of the wall clock.
//!
//! What a timer of the process measures stands still while the machine is suspended, and knows nothing of a clock
//! that is set. So a wait looks at the clock again from time to time.

use std::time::Duration;

use crate::domain::Timestamp;

/// The longest that a wait goes without a look at the clock: a moment that a jump has passed is heard of so late.
const LOOK: Duration = Duration::from_secs(30);

/// How long to sleep before the clock is looked at again; zero where the moment has come.
pub(super) fn next_look(at: Timestamp, now: Timestamp) -> Duration {
    at.since(now).min(LOOK)
}

/// Waits for a moment.
pub(super) async fn until(at: Timestamp) {
    until_by(at, Timestamp::now).await;
}

async fn until_by(at: Timestamp, clock: impl Fn() -> Timestamp) {
    loop {
        let pause = next_look(at, clock());
        if pause.is_zero() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};
    use tokio::time::Instant;

    /// A clock that goes with the time of the tests, and by how much it was set since.
    fn clock(set: &AtomicI64) -> impl Fn() -> Timestamp {
        let began = Instant::now();
        move || Timestamp(1_000_000).plus(began.elapsed()).shifted(set.load(Ordering::Relaxed))
    }

    impl Timestamp {
        fn shifted(self, seconds: i64) -> Self {
            Self(self.0 + seconds * 1_000_000)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn w40_a_clock_that_jumps_forward_ends_a_wait_soon() {
        let (set, began) = (AtomicI64::new(0), Instant::now());
        let clock = clock(&set);
        let at = clock().plus(Duration::from_secs(3600));
        let jump = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            set.store(7200, Ordering::Relaxed);
        };
        tokio::join!(until_by(at, &clock), jump);
        assert!(began.elapsed() <= Duration::from_secs(31), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn w40_a_clock_that_is_set_back_ends_no_wait_early() {
        let (set, began) = (AtomicI64::new(0), Instant::now());
        let clock = clock(&set);
        let at = clock().plus(Duration::from_secs(60));
        let jump = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            set.store(-3600, Ordering::Relaxed);
        };
        tokio::join!(until_by(at, &clock), jump);
        assert!(clock() >= at && began.elapsed() >= Duration::from_secs(3660), "{:?}", began.elapsed());
    }
}
