//! The time that a container may take as a whole, whatever runs in it.

use super::super::driver::Driver;
use super::super::turn::Turn;
use crate::domain::{Action, EventData, Timestamp};

impl Driver {
    /// Measures the time of the containers that run, and of no others.
    pub(in crate::execution) fn time_containers(&mut self) {
        let ended = |key: &&String| !self.state.expiries.contains_key(*key);
        let ended: Vec<String> = self.work.timed.iter().filter(ended).cloned().collect();
        for key in ended {
            self.work.timed.remove(&key);
            self.disarm(&key);
        }
        let new = self.state.expiries.iter().filter(|(key, _)| !self.work.timed.contains(*key));
        let new: Vec<_> = new.map(|(key, at)| (key.clone(), *at)).collect();
        for (key, at) in new {
            self.work.timed.insert(key.clone());
            self.arm(key, at);
        }
    }

    /// Ends the containers whose time is over, as far as the turn has room, without a look at their timers.
    pub(in crate::execution) fn expire_containers(&mut self, turn: &mut Turn) -> Vec<Action> {
        let now = Timestamp::now();
        let over = self.state.expiries.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone());
        let over: Vec<String> = over.collect();
        let mut actions = Vec::new();
        for key in &over {
            if turn.is_full() {
                break;
            }
            actions.extend(self.expired(key, turn));
        }
        actions
    }

    /// A timer rang that no step waits for: where it is a container's, its time is over.
    pub(in crate::execution) fn expired(&mut self, key: &str, turn: &mut Turn) -> Vec<Action> {
        if !self.state.expiries.contains_key(key) {
            return Vec::new();
        }
        let (path, node) = key.rsplit_once('/').unwrap_or(("", key));
        self.record(turn, path.to_owned(), EventData::NodeExpired { node: node.to_owned() }, None)
    }
}
