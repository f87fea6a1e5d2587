//! Executions of a workflow that wait for their turn, and who lets the next one begin.

use std::sync::Arc;
use std::time::Duration;

use super::Runtime;
use super::clock::next_look;
use super::driver::{Driver, left_interrupted};
use super::perform::may_pass;
use super::rest::Ran;
use crate::access::ExecutionStore;
use crate::domain::{Event, EventData, ExecutionId, Finish, Input, Timestamp};
use crate::error::Result;
use crate::store::executions::{self, Entry};

/// How often one that only others keep from its turn looks: nobody here is told when they make room.
const SOON: Duration = Duration::from_secs(1);
/// How often any other does: it is woken once it is next, this is for what goes wrong.
const LATER: Duration = Duration::from_secs(30);

/// What a look at the queue says of one that waits.
enum Look {
    /// Its turn has come, and these records say so.
    Taken(Vec<Event>),
    /// What is in front of it belongs to other processes.
    Next,
    /// Something of this process is in front of it.
    Behind,
}

impl Driver {
    /// Waits for its turn, then runs as any other. It may be cancelled before.
    pub(super) async fn run_queued(mut self: Box<Self>) -> Result<Ran> {
        let mut turn = super::turn::Turn::default();
        self.seat.taken_up.cancel();
        let actions = loop {
            if self.cancel.is_cancelled() {
                // One that goes on may have had something open when it was ended.
                let open = self.state.open_actions();
                self.end_open(open, &mut turn);
                let stop = Input::Stop { finish: &Finish::Cancelled };
                break self.state.tell(Timestamp::now(), stop);
            }
            let pause = match self.look_in_queue().await {
                Ok(Look::Taken(events)) => {
                    self.runtime.hub.publish(self.ids.root_id, events);
                    break self.state.open_again();
                }
                Ok(Look::Next) => SOON,
                Ok(Look::Behind) => LATER,
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

    /// Looks whether its turn has come. On a snapshot: as long as it must wait, nothing is written.
    async fn look_in_queue(&mut self) -> Result<Look> {
        let (id, runtime) = (self.ids.id, Arc::clone(&self.runtime));
        let front = self.store.read(move |tx, _| {
            executions::front_of(tx, id, &runtime.boot_id, &|root, boot| runtime.has_owner(root, boot))
        });
        let front = front.await?;
        if front.heads.contains(&id)
            && let Some(events) = self.take_turn().await?
        {
            return Ok(Look::Taken(events));
        }
        Ok(if front.next.contains(&id) { Look::Next } else { Look::Behind })
    }

    /// Begins where its turn has come; its time counts from there on.
    async fn take_turn(&mut self) -> Result<Option<Vec<Event>>> {
        let (ids, runtime, time) = (self.ids, Arc::clone(&self.runtime), self.setup.timeout());
        let taken = self.store.write(move |tx, standing| {
            let deadline = standing.now().plus(time);
            let has_owner = |root, boot: &str| runtime.has_owner(root, boot);
            if !executions::take_turn(tx, ids.id, deadline, &runtime.boot_id, &has_owner)? {
                return Ok(None);
            }
            let data = EventData::ExecutionStarted { epoch: ids.epoch };
            let entry = Entry { execution_id: ids.id, path: String::new(), data };
            let events = executions::append(tx, standing.now(), ids.root_id, Some(ids.epoch), vec![entry])?;
            Ok(Some((deadline, events)))
        });
        let Some((deadline, events)) = taken.await? else { return Ok(None) };
        self.deadline = deadline;
        let left = next_look(deadline, Timestamp::now());
        self.work.deadline.as_mut().reset(tokio::time::Instant::now() + left);
        Ok(Some(events))
    }
}

impl Runtime {
    /// Lets those of this process look whose turn may have come, because one of their queue has ended.
    pub(super) async fn wake_next(self: &Arc<Self>, store: &ExecutionStore, ended: ExecutionId) {
        let runtime = Arc::clone(self);
        let front = store.read(move |tx, _| {
            executions::front_of(tx, ended, &runtime.boot_id, &|root, boot| runtime.has_owner(root, boot))
        });
        // Where it cannot be read now, each of them looks by itself in a while. One that others keep from
        // its turn is woken too: from now on it looks often.
        for id in front.await.unwrap_or_default().next {
            self.wake(id);
        }
    }
}
