//! Who comes to the gate, and how it came in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::gate::Gate;
use super::policy::{Way, is_live};
use crate::audit::Actor;
use crate::domain::{Principal, Timestamp};
use crate::error::Result;
use crate::store::access;

/// How often it is written at most that a login is in use.
const TOUCH: Duration = Duration::from_secs(60);

/// Somebody who came in: the only thing that opens the gate. Made by [`Gate::root`] and
/// [`Gate::login`] alone; cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Identity>);

struct Identity {
    principal: Principal,
    label: String,
    via: String,
    way: Way,
    /// When it was last written that this login is in use, in µs.
    touched: AtomicI64,
    /// Whether the trail knows that the host came in. Users are in the trail from their login.
    announced: AtomicBool,
}

impl Caller {
    pub(super) fn new(principal: Principal, via: &str, way: Way) -> Self {
        let announced = AtomicBool::new(way != Way::Host);
        let touched = AtomicI64::new(Timestamp::now().0);
        Self(Arc::new(Identity { label: principal.label(), principal, via: via.to_owned(), way, touched, announced }))
    }

    /// The caller as the tools of its execution act: bound to its user and key, not to its login.
    pub(crate) fn acting(&self) -> Self {
        Self::new(self.0.principal.clone(), &self.0.via, Way::Acting)
    }

    /// How it came in.
    pub(super) fn way(&self) -> Way {
        self.0.way
    }

    /// Who it is.
    pub(crate) fn principal(&self) -> &Principal {
        &self.0.principal
    }

    pub(super) fn actor(&self) -> Actor<'_> {
        Actor { principal: &self.0.label, via: &self.0.via }
    }

    /// The duty to tell the trail that the host came in, taken by one call at a time.
    pub(super) fn announcement(&self) -> Option<Announcement<'_>> {
        let taken = self.0.announced.swap(true, Ordering::AcqRel);
        (!taken).then(|| Announcement { announced: &self.0.announced, made: false })
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.0.label).finish()
    }
}

/// Given back when dropped unmade, so that a failed or abandoned call leaves the duty to the next.
pub(super) struct Announcement<'a> {
    announced: &'a AtomicBool,
    made: bool,
}

impl Announcement<'_> {
    pub(super) fn made(mut self) {
        self.made = true;
    }
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        if !self.made {
            self.announced.store(false, Ordering::Release);
        }
    }
}

impl Gate {
    /// Notes once in a while that a login is in use. What has ended stays so: the call itself finds out.
    pub(super) async fn touch(&self, caller: &Caller, now: Timestamp) -> Result<()> {
        let Way::Login { session: Some(session), .. } = caller.0.way else { return Ok(()) };
        let last = caller.0.touched.load(Ordering::Acquire);
        let interval = TOUCH.min(Duration::from_secs(self.parts.rules.sessions.idle_seconds.into()) / 4);
        if now < Timestamp(last).plus(interval) {
            return Ok(());
        }
        let parts = Arc::clone(&self.parts);
        let written = self.parts.store.write(move |tx| match access::session(tx, session)? {
            Some(row) if is_live(&row, &parts.rules.sessions, now) => access::touch_session(tx, session, now),
            _ => Ok(()),
        });
        written.await?;
        caller.0.touched.store(now.0, Ordering::Release);
        Ok(())
    }
}
