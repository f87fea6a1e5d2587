//! Tells this process of alerts: its callbacks at once, and whoever empties the outbox.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::Alert;

type Callback = Arc<dyn Fn(&Alert) + Send + Sync>;

/// Rings when alerts were committed.
#[derive(Default)]
pub(crate) struct Bell {
    callbacks: Mutex<Vec<Callback>>,
    outbox: Notify,
}

impl Bell {
    /// Calls a function of the host for each alert from now on.
    pub(crate) fn on_alert(&self, callback: impl Fn(&Alert) + Send + Sync + 'static) {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(callback));
    }

    /// Lets go of the functions.
    pub(crate) fn close(&self) {
        let gone = std::mem::take(&mut *self.callbacks.lock().unwrap_or_else(PoisonError::into_inner));
        // They may run code of the host as they go: not while the lock is held.
        drop(gone);
    }

    /// Tells of alerts that were committed.
    pub(crate) fn ring(&self, alerts: &[Alert]) {
        if alerts.is_empty() {
            return;
        }
        self.outbox.notify_one();
        let callbacks = self.callbacks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for callback in callbacks {
            for alert in alerts {
                // What a host's function does is its own matter: the execution goes on.
                if catch_unwind(AssertUnwindSafe(|| callback(alert))).is_err() {
                    tracing::warn!("a function that is told of alerts panicked");
                }
            }
        }
    }

    /// Says that the outbox has something that is due.
    pub(crate) fn wake(&self) {
        self.outbox.notify_one();
    }

    /// Waits until there may be something in the outbox.
    pub(crate) async fn woken(&self) {
        self.outbox.notified().await;
    }
}
