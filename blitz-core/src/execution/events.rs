//! Live delivery of events: a wake-up for readers, never the record itself.
//!
//! State events are in the journal before they are published here. A reader that falls behind, or
//! that sees a gap, reads the journal; deltas are live only and may be lost for it. An execution
//! without readers costs nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::domain::{Event, ExecutionId};

/// How many batches a reader may fall behind before it is sent to the journal.
const BACKLOG: usize = 1024;

/// What is told at once: the events of a commit, or the deltas that came together.
pub(crate) type Batch = Arc<Vec<Event>>;

/// The readers of each root execution.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    roots: Mutex<HashMap<ExecutionId, broadcast::Sender<Batch>>>,
}

impl Hub {
    /// Hears the events of a root from now on.
    pub(crate) fn subscribe(&self, root: ExecutionId) -> broadcast::Receiver<Batch> {
        let mut roots = self.lock();
        roots.entry(root).or_insert_with(|| broadcast::channel(BACKLOG).0).subscribe()
    }

    /// A reader of a root has gone: a root without readers is not kept.
    pub(crate) fn left(&self, root: ExecutionId) {
        let mut roots = self.lock();
        if roots.get(&root).is_some_and(|sender| sender.receiver_count() == 0) {
            roots.remove(&root);
        }
    }

    /// Whether anybody hears the events of a root.
    #[cfg(test)]
    fn has_readers(&self, root: ExecutionId) -> bool {
        self.lock().get(&root).is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Hands events to the readers of a root. Never waits.
    pub(crate) fn publish(&self, root: ExecutionId, events: Vec<Event>) {
        if !events.is_empty() {
            self.tell(root, || events);
        }
    }

    /// The same with events that are made only where somebody hears them.
    pub(crate) fn tell(&self, root: ExecutionId, events: impl FnOnce() -> Vec<Event>) {
        Teller::default().tell(self, root, events);
    }

    /// The way to the readers of a root, if it has any.
    fn sender(&self, root: ExecutionId) -> Option<broadcast::Sender<Batch>> {
        self.lock().get(&root).filter(|sender| sender.receiver_count() > 0).cloned()
    }

    /// Forgets a root that has ended: its readers see the channel close behind the last event.
    pub(crate) fn close(&self, root: ExecutionId) {
        self.lock().remove(&root);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ExecutionId, broadcast::Sender<Batch>>> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the readers of one root, looked up once for many batches. The readers hear no end before
/// it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Teller(Option<broadcast::Sender<Batch>>);

impl Teller {
    /// As [`Hub::tell`].
    pub(crate) fn tell(&mut self, hub: &Hub, root: ExecutionId, events: impl FnOnce() -> Vec<Event>) {
        if self.0.as_ref().is_none_or(|sender| sender.receiver_count() == 0) {
            self.0 = hub.sender(root);
        }
        if let Some(sender) = &self.0 {
            // An error means that nobody listens any more.
            let _ = sender.send(Arc::new(events()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_forgotten_with_its_last_reader() {
        let (hub, root) = (Hub::default(), ExecutionId(1));
        let (first, second) = (hub.subscribe(root), hub.subscribe(root));
        drop(first);
        hub.left(root);
        assert!(hub.has_readers(root));
        drop(second);
        hub.left(root);
        assert!(hub.lock().is_empty());
    }
}
