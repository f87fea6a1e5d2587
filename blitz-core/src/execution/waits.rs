//! What an execution waits for, as its row, its readers and its parent are told.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::driver::{Driver, RunningWhat, Timer};
use super::turn::Turn;
use crate::domain::{ExecutionId, ExecutionStatus, Waiting};

/// The step that a child hangs at, and how the child waits.
pub(super) type ChildWaits = (String, Waits);

/// How a child waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// Nothing of it runs, so it needs no place among what does.
    pub(crate) rests: bool,
    /// Somebody is asked in it, or to decide about it, whatever else of it runs.
    pub(crate) asks: bool,
}

/// Where an execution stands, and what it waited for as was said before.
#[derive(Debug)]
pub(crate) struct Stands {
    pub(crate) status: ExecutionStatus,
    pub(crate) before: Vec<Waiting>,
    pub(crate) waiting: Vec<Waiting>,
}

/// A child's line to its parent: the step it hangs at, and where its waiting is told.
#[derive(Clone)]
pub(crate) struct ParentLine {
    pub(crate) key: String,
    pub(crate) tell: mpsc::UnboundedSender<ChildWaits>,
}

impl Driver {
    fn doubted(&self, key: &str) -> Waiting {
        Waiting::Decision { key: key.to_owned(), digest: self.state.doubt(self.ids.id, key) }
    }

    /// Notes where the execution will stand, where that changes. It does not wait while it is `busy`.
    pub(super) fn note_status(&mut self, turn: &mut Turn, busy: bool) {
        let starts = busy || !turn.models.is_empty() || !turn.tools.is_empty() || !turn.children.is_empty();
        let resting = |what: &RunningWhat| matches!(what, RunningWhat::Child { waits: Waits { rests: true, .. }, .. });
        let rests = !starts && self.work.running.values().all(|running| resting(&running.what));
        // A decision may be made also while something else runs, here or in a child.
        let mut waiting: Vec<Waiting> = self.work.in_doubt.iter().map(|key| self.doubted(key)).collect();
        waiting.extend(self.work.asked.values().cloned());
        if rests {
            let timer = |(key, timer): (&String, &Timer)| Waiting::Timer { key: key.clone(), at: timer.at };
            let waits = |key: &str| !self.work.asked.contains_key(key) && !self.work.timed.contains(key);
            let timers = self.work.timers.iter().filter(|(key, _)| waits(key));
            waiting.extend(timers.map(timer));
        }
        let mut asks = !self.work.in_doubt.is_empty() || !self.work.asked.is_empty();
        let mut children = BTreeMap::new();
        for (key, running) in &self.work.running {
            if let RunningWhat::Child { id, waits, .. } = &running.what {
                asks |= waits.asks;
                if rests || waits.asks {
                    children.insert(key, *id);
                }
            }
        }
        let child = |(key, id): (&String, ExecutionId)| Waiting::Child { key: key.clone(), execution_id: id };
        waiting.extend(children.into_iter().map(child));
        let waits = rests && !waiting.is_empty();
        let status = if waits { ExecutionStatus::Waiting } else { ExecutionStatus::Running };
        if turn.finish.is_some() {
            return;
        }
        let told = Waits { rests: waits, asks };
        if let Some(parent) = &self.parent
            && told != self.work.told
        {
            // The parent may have ended; then nobody has to know.
            let _ = parent.tell.send((parent.key.clone(), told));
        }
        self.work.told = told;
        let next = (status, waiting);
        if next != self.work.status {
            let (_, before) = std::mem::replace(&mut self.work.status, next.clone());
            turn.status = Some(Stands { status: next.0, before, waiting: next.1 });
        }
    }
}
