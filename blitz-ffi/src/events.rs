//! Events, one after the other.

use std::ffi::c_char;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use blitz::{Error, Event, EventStream, Result};
use futures_util::StreamExt;
use tokio::sync::Notify;

use crate::engine::Host;
use crate::error::Failure;
use crate::guard::{Status, guard, status_of};
use crate::handle::{self, Noun, Out};
use crate::json;

/// The events of an execution and its children, in order.
pub struct Events {
    host: Arc<Host>,
    /// Gone behind the last event.
    stream: Mutex<Option<EventStream>>,
    freed: Notify,
}

impl Noun for Events {
    const NAME: &'static str = "reader of events";
}

impl Events {
    pub(crate) fn new(host: &Arc<Host>, stream: EventStream) -> Self {
        Self { host: Arc::clone(host), stream: Mutex::new(Some(stream)), freed: Notify::new() }
    }

    /// The next event; `None` behind the last. Errors: `Timeout` where none came in time, `Conflict` while another
    /// thread reads, `Cancelled` where the reader was freed meanwhile.
    fn next(&self, limit: Option<Duration>) -> Result<Option<Event>> {
        let mut place = match self.stream.try_lock() {
            Ok(place) => place,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Error::conflict("another thread waits for the next event")),
        };
        let workers = self.host.workers()?;
        let Some(stream) = place.as_mut() else { return Ok(None) };
        let next = async {
            tokio::select! {
                biased;
                event = stream.next() => event.transpose(),
                () = self.freed.notified() => Err(Error::cancelled("the reader was freed")),
            }
        };
        let late = || Error::timeout("there was no event in this time");
        let event = workers.wait(async {
            match limit {
                Some(limit) => tokio::time::timeout(limit, next).await.unwrap_or_else(|_| Err(late())),
                None => next.await,
            }
        })?;
        if event.is_none() {
            *place = None;
        }
        Ok(event)
    }
}

/// Waits for the next event, as JSON; behind the last one *out_json is NULL with BLITZ_OK. It waits timeout_ms at most,
/// and BLITZ_TIMEOUT says that there was none: call again. A negative timeout waits as long as it takes. On BLITZ_OK the
/// caller owns *out_json: blitz_string_free(). One thread at a time: BLITZ_CONFLICT for a second one.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_events_next(
    events: *const Events,
    timeout_ms: i64,
    out_json: *mut *mut c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_json, "out_json")?;
        let events = handle::get(events)?;
        let limit = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        if let Some(event) = events.next(limit)? {
            out.set_text(json::write(&event)?);
        }
        Ok(())
    })
}

/// Frees a reader; one of blitz_stream() cancels its execution where that has not ended. A thread that waits for the next
/// event gets BLITZ_CANCELLED. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_events_free(events: *mut Events) -> Status {
    status_of(|| {
        if let Some(events) = handle::take(events)? {
            events.freed.notify_one();
        }
        Ok(())
    })
}
