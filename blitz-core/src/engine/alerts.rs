//! Alerts of budgets, for whoever asks for them.

use super::methods::{Method, method};
use super::{Engine, Session};
use crate::access::Target;
use crate::domain::{Alert, ListOptions, Page, Permission};
use crate::error::Result;
use crate::ledger;

/// The alerts that were raised, through a session.
pub struct Alerts {
    session: Session,
}

pub(super) const ROWS: &[Method] =
    &[method!("alerts.list", BudgetsRead, ListOptions => Page<Alert>, |s, page| s.alerts().list(page))];

impl Alerts {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// A page of the alerts, oldest first; the cursor of the last page asks for what came since.
    pub async fn list(&self, options: ListOptions) -> Result<Page<Alert>> {
        self.session.read(Permission::BudgetsRead, Target::None, move |tx, _| ledger::list_alerts(tx, &options)).await
    }
}

impl Engine {
    /// Calls a function for every alert that an execution of this process raises, behind its commit.
    ///
    /// It runs on a thread of the host's runtime, so it must not block. Alerts of other processes are
    /// in [`Alerts::list`].
    pub fn on_alert(&self, callback: impl Fn(&Alert) + Send + Sync + 'static) {
        self.inner.runtime.bell.on_alert(callback);
    }
}
