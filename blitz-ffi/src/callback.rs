//! Functions of the host: their C types, the threads they run on, and what becomes of their user data.
//!
//! A callback may block and may call the engine again, so it never runs on a thread that the engine's
//! own work needs. There are `AT_ONCE` of them at a time, not counting those that wait in a call of
//! the engine: nested callbacks cannot starve each other.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Arc, LazyLock};

use blitz::tool::EffectScope;
use blitz::{Error, ErrorCode, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::guard::Status;
use crate::handle::Lent;
use crate::provider::Reply;
use crate::tool::{Call, ToolResult};

/// Hears one event of an execution, as JSON that is there until it returns, on the thread that called blitz_run. Anything
/// but 0 cancels the execution; the function is not called again then.
pub type EventFn = Option<unsafe extern "C" fn(user_data: *mut c_void, event_json: *const c_char) -> c_int>;

/// A tool or a node: does what a model or a workflow asks for. The arguments have passed the schema. It answers by one of the functions of
/// `result` and gives BLITZ_OK; one that sets nothing gives null. Any other status is a failure: a model is told, a node fails.
/// It runs on threads of the library, several at once; call, arguments_json and result are there until it returns.
pub type ToolFn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        call: *const Call,
        arguments_json: *const c_char,
        result: *mut ToolResult,
    ) -> Status,
>;

/// A provider: answers a model request. It answers by one of the functions of `reply` and gives BLITZ_OK; any other status
/// is the error of the model call. It runs on threads of the library, several at once; request_json and reply are there
/// until it returns.
pub type ProviderFn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, request_json: *const c_char, reply: *mut Reply) -> Status>;

/// Hears one alert, as JSON that is there until it returns. It runs on threads of the library, once at a time.
pub type AlertFn = Option<unsafe extern "C" fn(user_data: *mut c_void, alert_json: *const c_char)>;

/// Frees user data: rule DATA.
pub type FreeFn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// What the host hands over with a function; its destructor runs once, when this goes.
pub(crate) struct UserData {
    data: *mut c_void,
    destroy: FreeFn,
}

// SAFETY: rule DATA: the host lets any thread use its user data, several at once, and free it.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) fn new(data: *mut c_void, destroy: FreeFn) -> Self {
        Self { data, destroy }
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: rule DATA: the destructor fits its user data; this value is the only one that holds it.
            unsafe { destroy(self.data) }
        }
    }
}

/// A tool's function with its user data.
pub(crate) struct ToolFunction {
    function: ToolFn,
    data: UserData,
}

impl ToolFunction {
    /// Errors: `InvalidInput` where there is no function; the user data is freed then.
    pub(crate) fn new(function: ToolFn, data: UserData) -> Result<Self> {
        function.ok_or_else(|| Error::invalid("the function is NULL"))?;
        Ok(Self { function, data })
    }

    /// Calls it; what it was lent ends with the call.
    pub(crate) fn call(&self, call: &Lent<Call>, arguments: CString, result: &Lent<ToolResult>) -> Status {
        let Some(function) = self.function else { return ErrorCode::Internal as Status };
        // SAFETY: rule CALLBACK: the function is callable as long as its user data is not freed, takes what it is
        // lent until it returns, and throws nothing.
        unsafe { function(self.data.data, call.handle(), arguments.as_ptr(), result.handle()) }
    }
}

/// A provider's function with its user data.
pub(crate) struct ProviderFunction {
    function: ProviderFn,
    data: UserData,
}

impl ProviderFunction {
    /// Errors: `InvalidInput` where there is no function; the user data is freed then.
    pub(crate) fn new(function: ProviderFn, data: UserData) -> Result<Self> {
        function.ok_or_else(|| Error::invalid("the function is NULL"))?;
        Ok(Self { function, data })
    }

    /// Calls it; what it was lent ends with the call.
    pub(crate) fn call(&self, request: CString, reply: &Lent<Reply>) -> Status {
        let Some(function) = self.function else { return ErrorCode::Internal as Status };
        // SAFETY: rule CALLBACK: as for a tool.
        unsafe { function(self.data.data, request.as_ptr(), reply.handle()) }
    }
}

/// A function that hears alerts, with its user data.
pub(crate) struct AlertFunction {
    function: AlertFn,
    data: UserData,
}

impl AlertFunction {
    /// Errors: `InvalidInput` where there is no function; the user data is freed then.
    pub(crate) fn new(function: AlertFn, data: UserData) -> Result<Self> {
        function.ok_or_else(|| Error::invalid("the function is NULL"))?;
        Ok(Self { function, data })
    }

    /// Tells it an alert.
    pub(crate) fn tell(&self, alert: CString) {
        if let Some(function) = self.function {
            // SAFETY: rule CALLBACK: as for a tool.
            unsafe { function(self.data.data, alert.as_ptr()) }
        }
    }
}

/// An event function with its user data, which stays the caller's.
#[derive(Clone, Copy)]
pub(crate) struct EventFunction {
    function: EventFn,
    data: *mut c_void,
}

impl EventFunction {
    pub(crate) fn new(function: EventFn, data: *mut c_void) -> Self {
        Self { function, data }
    }

    /// Whether there is somebody who listens.
    pub(crate) fn listens(self) -> bool {
        self.function.is_some()
    }

    /// Tells it an event; `false` asks for the end.
    pub(crate) fn tell(self, event: CString) -> bool {
        // SAFETY: rule CALLBACK: it runs on its caller's thread during the caller's call, and throws nothing.
        self.function.is_none_or(|function| unsafe { function(self.data, event.as_ptr()) } == 0)
    }
}

/// Callbacks that run at once.
const AT_ONCE: usize = 64;

static SEATS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));

thread_local! {
    /// The seat of the callback on this thread, until that waits in a call of the engine.
    static SEAT: RefCell<Option<OwnedSemaphorePermit>> = const { RefCell::new(None) };
    /// Set when the callback on this thread is to end; not there for one that nothing cancels.
    static CANCEL: RefCell<Option<CancellationToken>> = const { RefCell::new(None) };
}

/// Runs a callback on a thread of its own; `None` where the runtime ends first.
///
/// Dropping the future before it has a seat means that it never runs; one that runs is not interrupted.
/// What it begins with [`within`] ends where `cancel` is set.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    cancel: Option<CancellationToken>,
    callback: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let seat = Arc::clone(&SEATS).acquire_owned().await.ok()?;
    // What it asks of the engine is part of the effect that calls it.
    let scope = EffectScope::current();
    let running = tokio::task::spawn_blocking(move || {
        let _inside = Inside::new(seat, cancel);
        scope.enter(callback)
    });
    running.await.ok()
}

/// While a thread runs a callback.
struct Inside;

impl Inside {
    fn new(seat: OwnedSemaphorePermit, cancel: Option<CancellationToken>) -> Self {
        SEAT.set(Some(seat));
        CANCEL.set(cancel);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        give_up_seat();
        CANCEL.take();
    }
}

/// Work that the callback on this thread asks for, if one runs here: where it is cancelled the work is broken off, and
/// none begins. Errors: those of the work; `Cancelled`.
pub(crate) fn within<T>(work: impl Future<Output = Result<T>>) -> impl Future<Output = Result<T>> {
    let cancel = CANCEL.with_borrow(Clone::clone);
    async move {
        let Some(cancel) = cancel else { return work.await };
        let message = "the function that asks was cancelled: it begins nothing more";
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::new(ErrorCode::Cancelled, message)),
            done = work => done,
        }
    }
}

/// Lets another callback run while this one waits; it keeps running without a seat afterwards.
pub(crate) fn give_up_seat() {
    SEAT.take();
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    unsafe extern "C" fn count(data: *mut c_void) {
        // SAFETY: the tests below hand over a counter that outlives the user data.
        unsafe { &*data.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
    }

    #[test]
    fn user_data_is_freed_once_also_without_a_function() {
        let freed = AtomicUsize::new(0);
        let data = || UserData::new((&raw const freed).cast_mut().cast(), Some(count));
        assert!(ToolFunction::new(None, data()).is_err());
        assert!(ProviderFunction::new(None, data()).is_err());
        drop(data());
        assert_eq!(freed.load(Ordering::SeqCst), 3);
        drop(UserData::new(std::ptr::null_mut(), None));
    }

    #[test]
    fn a_callback_that_waits_gives_its_seat_to_others() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Each holds on until its nested one is done: more of them than seats.
        let deep = |_| async {
            on_a_thread(None, || {
                give_up_seat();
                let inner = tokio::runtime::Builder::new_current_thread().build().unwrap();
                inner.block_on(on_a_thread(None, || 1)).unwrap()
            })
            .await
        };
        let all = runtime.block_on(futures_util::future::join_all((0..3 * AT_ONCE).map(deep)));
        assert_eq!(all.into_iter().flatten().sum::<usize>(), 3 * AT_ONCE);
    }
}
