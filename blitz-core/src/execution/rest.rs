//! Executions that rest: nothing of them runs, and nothing of them stays in memory but what wakes them.
//!
//! One that waits for somebody, or for a moment that is far, may wait for days, and thousands may. All that its
//! driver knows is in the journal, so the driver goes, and another takes the execution up where its records end,
//! as recovery does. Nobody can tell from outside: its place among those that run here, whoever reads its events
//! and whoever awaits its outcome stay as they are, and no record says that it rested.

use std::pin::Pin;
use std::time::Duration;

use super::clock;
use super::driver::{Driver, left_interrupted};
use super::recover::Resumed;
use super::state::Progress;
use super::turn::Turn;
use super::waits::Waits;
use crate::domain::{Action, ExecutionStatus, Finished, Outcome, Timestamp, Waiting};
use crate::error::Result;

/// A journal that is read again at once, so that its execution rests as soon as it can.
const SHORT: i64 = 64;
/// How long one with a longer journal must have been idle: answers that come one upon another find it awake.
const IDLE: Duration = Duration::from_secs(2);
/// One that goes on by itself so soon stays awake.
const SOON: Duration = Duration::from_secs(5);

/// What a driver leaves behind.
pub(super) enum Ran {
    Ended(Box<Outcome>),
    Rests(Box<Resting>),
}

/// An execution that rests.
pub(super) struct Resting {
    resumed: Resumed,
    /// When it goes on by itself, at the latest to look at its deadline.
    until: Timestamp,
}

/// What a driver that rested knew and the journal does not say.
pub(super) struct Rested {
    pub(super) streams: bool,
    pub(super) status: (ExecutionStatus, Vec<Waiting>),
    pub(super) told: Waits,
}

/// Runs an execution to its end, through all its rests. What runs comes in a box: its memory goes where it rests.
pub(super) async fn to_the_end(run: Pin<Box<impl Future<Output = Result<Ran>>>>) -> Result<Outcome> {
    let mut ran = run.await?;
    loop {
        match ran {
            Ran::Ended(outcome) => return Ok(*outcome),
            Ran::Rests(resting) => {
                tracing::debug!(execution = resting.resumed.ids.id.0, "the execution rests");
                resting.until_woken().await?;
                ran = Box::pin(resting.resumed.run()).await?;
            }
        }
    }
}

impl Resting {
    /// Errors: `Interrupted` where the engine closes.
    async fn until_woken(&self) -> Result<()> {
        tokio::select! {
            biased;
            () = self.resumed.runtime.closing.cancelled() => Err(left_interrupted()),
            () = self.resumed.cancel.cancelled() => Ok(()),
            () = self.resumed.seat.wake.notified() => Ok(()),
            () = clock::until(self.until) => Ok(()),
        }
    }
}

impl Driver {
    pub(super) async fn drive(mut self: Box<Self>, actions: Vec<Action>, turn: Turn) -> Result<Ran> {
        Ok(match self.turns(actions, turn).await? {
            Some(finished) => Ran::Ended(Box::new(self.ended(finished).await)),
            None => Ran::Rests(Box::new(self.rest())),
        })
    }

    async fn ended(mut self: Box<Self>, finished: Finished) -> Outcome {
        self.seat.ended = true;
        self.make_room().await;
        self.state.outcome(self.ids.id, finished)
    }

    /// Waits as long as it must have been idle; gives whether it then rests.
    pub(super) async fn goes_to_rest(&self) -> bool {
        if !self.may_rest() {
            return false;
        }
        if self.work.resumed || self.work.last_seq <= SHORT {
            return true;
        }
        tokio::select! {
            biased;
            () = self.runtime.closing.cancelled() => false,
            () = self.cancel.cancelled() => false,
            () = self.seat.wake.notified() => {
                // It is for whoever listens next.
                self.seat.wake.notify_one();
                false
            }
            () = tokio::time::sleep(IDLE) => true,
        }
    }

    /// Whether the journal says all that it knows, and nothing of it goes on by itself soon.
    fn may_rest(&self) -> bool {
        let work = &self.work;
        let idle = work.running.is_empty()
            && work.effects.len() == work.timers.len()
            && work.requests.is_empty()
            && work.queued.is_empty()
            && work.passes.is_empty()
            && work.ready.is_empty()
            && work.looked.is_empty();
        // A budget that asks has refused without a record: a new driver would ask it again.
        let told = |key: &String| matches!(self.state.open.get(key), Some(Progress::Started { .. }));
        idle && work.status.0 == ExecutionStatus::Waiting
            && work.in_doubt.iter().all(told)
            && !self.cancel.is_cancelled()
            && self.goes_on_at() > Timestamp::now().plus(SOON)
    }

    /// When it goes on, should nobody wake it.
    fn goes_on_at(&self) -> Timestamp {
        let timers = self.work.timers.values().map(|timer| timer.at);
        timers.min().map_or(self.deadline, |at| at.min(self.deadline))
    }

    fn rest(self: Box<Self>) -> Resting {
        let until = self.goes_on_at();
        let Self { runtime, store, setup, seat, ids, cancel, streams, session, parent, work, .. } = *self;
        let rested = Some(Rested { streams, status: work.status, told: work.told });
        Resting { resumed: Resumed { runtime, store, setup, seat, ids, cancel, session, parent, rested }, until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn what_stays_of_one_that_rests_is_little() {
        let runs = async {
            let large = [0_u8; 4096];
            std::future::pending::<()>().await;
            Err(Error::internal(format!("{large:?}")))
        };
        let waits = size_of_val(&to_the_end(Box::pin(runs)));
        assert!(size_of::<Resting>() + waits <= 1024, "{} + {waits} bytes", size_of::<Resting>());
    }
}
