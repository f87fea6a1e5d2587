//! What readers have not been told yet: a crash between two parts of a turn leaves what a record led to unsaid.
//!
//! What is to be done is in the machine's list of open actions; what is only to be told is not. So a replay
//! notes what it is told again by the machine, and takes off what the journal says already.

use std::collections::VecDeque;

use crate::domain::{Action, EventData, NodeStatus};

/// What follows from the records read so far and is no record itself.
#[derive(Debug, Default)]
pub(super) struct Owed(VecDeque<Action>);

impl Owed {
    /// Notes what is to be told of what follows from a record.
    pub(super) fn follows(&mut self, actions: Vec<Action>) {
        self.0.extend(actions.into_iter().filter(|action| matches!(action, Action::Emit { .. })));
    }

    /// Takes off what a record tells.
    pub(super) fn told(&mut self, path: &str, data: &EventData) {
        let is_told = match data {
            EventData::EdgeTaken(_) | EventData::EdgeSkipped(_) | EventData::ItemStarted { .. } => true,
            EventData::NodeFinished(finished) => {
                finished.attempt == 0 && matches!(finished.status, NodeStatus::Skipped | NodeStatus::Cancelled)
            }
            _ => false,
        };
        if !is_told {
            return;
        }
        // They are told in the order in which they follow, so it is the first but for old journals.
        let is_it =
            |action: &Action| matches!(action, Action::Emit { path: at, data: owed } if at == path && same(owed, data));
        if let Some(place) = self.0.iter().position(is_it) {
            self.0.remove(place);
        }
    }

    /// What is still to be told.
    pub(super) fn left(self) -> Vec<Action> {
        self.0.into()
    }
}

/// Whether two records tell the same. How much was done by then is no part of it.
fn same(one: &EventData, other: &EventData) -> bool {
    match (one, other) {
        (EventData::EdgeTaken(one), EventData::EdgeTaken(other))
        | (EventData::EdgeSkipped(one), EventData::EdgeSkipped(other)) => one == other,
        (EventData::ItemStarted { node, index }, EventData::ItemStarted { node: other, index: at }) => {
            index == at && node == other
        }
        (EventData::NodeFinished(one), EventData::NodeFinished(other)) => {
            one.node == other.node && one.status == other.status
        }
        _ => false,
    }
}
