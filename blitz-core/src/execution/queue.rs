//! Executions of a workflow that wait for their turn, and who lets the next one begin.

use std::sync::Arc;
use std::time::Duration;

use super::Runtime;
use super::driver::{Driver, left_interrupted};
use super::perform::may_pass;
use crate::access::ExecutionStore;
use crate::domain::{Event, EventData, ExecutionId, Finish, Input, Outcome, Timestamp};
use crate::error::Result;
use crate::store::executions::{self, Entry};

/// How often one that may be next looks whether another process has made room.
const SOON: Duration = Duration::from_secs(1);
/// How often any other does.
const LATER: Duration = Duration::from_secs(30);

impl Driver {
    /// Waits for its turn, then runs as any other. It may be cancelled before.
    pub(crate) async fn run_queued(mut self: Box<Self>) -> Result<Outcome> {
        let mut turn = super::turn::Turn::default();
        let actions = loop {
            if self.cancel.is_cancelled() {
                let stop = Input::Stop { finish: &Finish::Cancelled };
                break self.state.tell(Timestamp::now(), stop);
            }
            let pause = match self.take_turn().await {
                Ok(Some(events)) => {
                    self.runtime.hub.publish(self.ids.root_id, events);
                    break self.state.open_actions();
                }
                Ok(None) => LATER,
                Err(error) if may_pass(&error) => SOON,
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = self.runtime.closing.cancelled() => return Err(left_interrupted()),
                () = self.cancel.cancelled() => {}
                () = self.seat.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        };
        // What is asked of it meanwhile was no decision.
        turn.resumed = false;
        self.drive(actions, turn).await
    }

    /// Lets the next of its queue begin, now that it has ended.
    pub(super) async fn make_room(&self) {
        let queues = self.setup.workflow().is_some_and(|setup| setup.plan.limits.max_concurrent.is_some());
        if queues && self.ids.id == self.ids.root_id {
            self.runtime.wake_next(&self.store, self.ids.id).await;
        }
    }

    /// Begins where its turn has come; its time counts from there on.
    async fn take_turn(&mut self) -> Result<Option<Vec<Event>>> {
        let (ids, runtime, time) = (self.ids, Arc::clone(&self.runtime), self.setup.timeout());
        let taken = self.store.write(move |tx, standing| {
            let deadline = standing.now().plus(time);
            if !executions::take_turn(tx, ids.id, deadline, &|root, boot| runtime.has_owner(root, boot))? {
                return Ok(None);
            }
            let data = EventData::ExecutionStarted { epoch: ids.epoch };
            let entry = Entry { execution_id: ids.id, path: String::new(), data };
            let events = executions::append(tx, standing.now(), ids.root_id, Some(ids.epoch), vec![entry])?;
            Ok(Some((deadline, events)))
        });
        let Some((deadline, events)) = taken.await? else { return Ok(None) };
        self.deadline = deadline;
        let left = deadline.since(Timestamp::now());
        self.work.deadline.as_mut().reset(tokio::time::Instant::now() + left);
        Ok(Some(events))
    }
}

impl Runtime {
    /// Wakes those of this process whose turn has come, because one of their queue has ended.
    pub(super) async fn wake_next(self: &Arc<Self>, store: &ExecutionStore, ended: ExecutionId) {
        let runtime = Arc::clone(self);
        let next =
            store.read(move |tx, _| executions::next_in_queue(tx, ended, &|root, boot| runtime.has_owner(root, boot)));
        // Where it cannot be read now, each of them looks by itself in a while.
        for id in next.await.unwrap_or_default() {
            self.wake(id);
        }
    }
}
