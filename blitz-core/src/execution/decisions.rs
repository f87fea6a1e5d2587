//! Decisions and answers that came from outside, heard by the driver that waits for them.

use std::time::Duration;

use super::driver::{Driver, left_interrupted};
use super::perform::may_pass;
use super::recover::Resumed;
use crate::domain::{Action, Event, EventData};
use crate::error::Result;
use crate::store::executions;

/// How soon decisions are looked for again that could not be read.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Driver {
    /// Reads the decisions that were made since the last look.
    pub(super) async fn decisions(&mut self) -> Result<Vec<Action>> {
        let (ids, after) = (self.ids, self.work.decisions_seen);
        let read = self.store.write(move |tx, _| executions::take_decisions(tx, ids.root_id, ids.id, after)).await;
        let events = match read {
            Err(error) if may_pass(&error) => {
                // They stay where they are: it looks again.
                tokio::time::sleep(LOOK_AGAIN).await;
                self.seat.wake.notify_one();
                return Ok(Vec::new());
            }
            read => read?,
        };
        let mut actions = Vec::new();
        for event in events {
            self.work.decisions_seen = event.seq;
            if !self.state.heeds(self.ids.id, &event.path, &event.data) {
                continue;
            }
            if let EventData::ApprovalAnswered(answered) = &event.data {
                if self.work.asked.contains_key(&answered.key) {
                    actions.extend(self.state.absorb(event.ts, &event.path, &event.data));
                    actions.extend(self.state.open_action(&answered.key));
                }
            } else if self.work.in_doubt.contains(&event.path) {
                self.work.in_doubt.retain(|key| *key != event.path);
                actions.extend(self.state.absorb(event.ts, &event.path, &event.data));
                actions.extend(self.state.open_action(&event.path));
            }
        }
        Ok(actions)
    }
}

impl Resumed {
    /// Takes the decisions behind its last record, of whatever step: those before are in its state.
    pub(super) async fn decisions(&self, after: i64) -> Result<Vec<Event>> {
        let ids = self.ids;
        loop {
            let read = self.store.write(move |tx, _| executions::take_decisions(tx, ids.root_id, ids.id, after)).await;
            match read {
                Err(error) if may_pass(&error) => tokio::select! {
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                    () = self.runtime.closing.cancelled() => return Err(left_interrupted()),
                },
                read => return read,
            }
        }
    }
}
