//! Engines: opening, closing, and the threads that they work on.

use std::collections::HashMap;
use std::ffi::c_char;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use blitz::provider::{Provider, Scripted};
use blitz::{EngineSettings, Error, ErrorCode, Result};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::callback::give_up_seat;
use crate::error::Failure;
use crate::guard::{Status, guard};
use crate::handle::{self, Noun, Out};
use crate::json;

/// How long closing waits for what runs, where nothing else is said.
const GRACE: Duration = Duration::from_secs(5);
/// How long the last user of the threads waits for callbacks that still run.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most threads that the engine's own work gets; callbacks have others.
const MAX_WORKERS: usize = 4;
/// The most threads for callbacks and for what blocks in the engine.
const MAX_BLOCKING: usize = 4096;

/// One engine on one store, with its threads.
pub struct Engine {
    pub(crate) host: Arc<Host>,
}

impl Noun for Engine {
    const NAME: &'static str = "engine";
}

/// What the handles of one engine share.
pub(crate) struct Host {
    pub(crate) engine: blitz::Engine,
    /// From the moment that closing begins: the engine takes no new work, what runs may still call it.
    closing: AtomicBool,
    /// Once closing has ended.
    closed: AtomicBool,
    /// Gone once the engine is freed; calls under way keep it till they end.
    workers: RwLock<Option<Arc<Workers>>>,
    known: Mutex<HashMap<String, Known>>,
}

/// A provider that was registered through this face.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) script: Option<Scripted>,
}

impl Host {
    fn open(settings: EngineSettings) -> Result<Self> {
        handle::claim_process()?;
        let workers = Workers::start()?;
        let engine = workers.wait(blitz::Engine::open_with(settings))?;
        let workers = RwLock::new(Some(Arc::new(workers)));
        Ok(Self {
            engine,
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            workers,
            known: Mutex::default(),
        })
    }

    /// Errors: `Closed` once closing has ended.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// The threads, for a call of several parts. Errors: `Closed`.
    pub(crate) fn workers(&self) -> Result<Arc<Workers>> {
        self.check_open()?;
        self.threads()
    }

    /// Waits for a call of the engine. Errors: `Closed`.
    pub(crate) fn wait<T: Send>(&self, call: impl Future<Output = T> + Send) -> Result<T> {
        Ok(self.workers()?.wait(call))
    }

    fn threads(&self) -> Result<Arc<Workers>> {
        // Nothing panics while it is held.
        self.workers.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }

    /// Closes the engine, once. Errors: `Closed` for the second time.
    fn close(&self, grace: Duration) -> Result<()> {
        if self.closing.swap(true, Ordering::AcqRel) {
            return Err(closed());
        }
        let ended = self.threads()?.wait(self.engine.close_within(grace));
        self.closed.store(true, Ordering::Release);
        // A function of the host may hold a session, which keeps this: the two would keep each other. Scripts stay, they
        // hold nothing and say what they were asked.
        let known = std::mem::take(&mut *self.lock_known());
        let (scripts, gone): (HashMap<_, _>, HashMap<_, _>) =
            known.into_iter().partition(|(_, known)| known.script.is_some());
        self.lock_known().extend(scripts);
        drop(gone);
        ended
    }

    /// Whether an engine that may be gone waits for nothing any more.
    pub(crate) fn is_over(host: &Weak<Self>) -> bool {
        host.upgrade().is_none_or(|host| host.closed.load(Ordering::Acquire))
    }

    pub(crate) fn remember(&self, name: String, provider: Arc<dyn Provider>, script: Option<Scripted>) {
        // A replaced provider may run a destructor of the host: not while the lock is held.
        let replaced = self.lock_known().insert(name, Known { provider, script });
        drop(replaced);
    }

    pub(crate) fn known(&self, name: &str) -> Result<Known> {
        let found = self.lock_known().get(name).cloned();
        found.ok_or_else(|| Error::not_found("no provider of this name was registered by this library"))
    }

    fn lock_known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> Error {
    Error::closed("the engine is closed")
}

/// The threads of an engine.
pub(crate) struct Workers {
    /// There until it is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Workers {
    fn start() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores.clamp(2, MAX_WORKERS))
            .max_blocking_threads(MAX_BLOCKING)
            .thread_name("blitz")
            .enable_all()
            .build()
            .map_err(|error| Error::new(ErrorCode::Unavailable, "no thread can be had").with_source(error))?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    /// Waits for a future on the calling thread, whatever thread that is.
    pub(crate) fn wait<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        give_up_seat();
        // A destructor of the host may run on a thread of the engine's own work, or of one that waits here already:
        // the thread's work is handed to another one for so long.
        tokio::task::block_in_place(|| self.handle.block_on(future))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if Handle::try_current().is_ok() {
            // One of its own threads cannot wait for their end.
            runtime.shutdown_background();
        } else {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

/// Opens an engine. settings_json is an object with `database_url` (a path, or ":memory:"), and if wanted `durability`
/// ("full", "process"), `busy_timeout_ms`, `master_key` (64 hex digits), `real_requests` (false: no provider may ask
/// anybody outside this process), `egress` (`{"hosts": [...]}`: where the HTTP calls of workflows may go, nowhere where it
/// is absent), `network` (`{"proxy": "http://host:port", "root_certificates": "PEM"}`: how providers are reached; as the
/// environment says where it is absent), `recovery_settlement` ("reserved", "floor": what a call is booked at whose
/// process died), `drain` (`{"seconds": 30, "bytes": 262144}`: how far a model's answer is read on that nobody waits for
/// any more, so that what it says it used is booked; not at all where it is absent), `max_parallel` (how many model calls,
/// tool calls and works of nodes run at once; all where it is absent), `sessions` and `model_names_for_users`. What a
/// process that died has left is settled, nothing is run: see blitz_engine_recover(). On BLITZ_OK the caller
/// owns *out_engine: blitz_engine_free().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_open(
    settings_json: *const c_char,
    out_engine: *mut *mut Engine,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_engine, "out_engine")?;
        let settings = EngineSettings::from_json(json::read(settings_json, "settings_json")?)?;
        out.set_handle(Engine { host: Arc::new(Host::open(settings)?) })
    })
}

/// Goes on with the executions whose process is gone, and gives their ids as a JSON array. Call it once the host has
/// registered its functions: an execution that needs one which is not there stays as it is. On BLITZ_OK the caller
/// owns *out_json: blitz_string_free(); out_json may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_recover(
    engine: *const Engine,
    out_json: *mut *mut c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::optional(out_json);
        let host = Arc::clone(&handle::get(engine)?.host);
        let ids = host.wait(host.engine.recover())??;
        if let Some(out) = out {
            out.set_text(json::write(&ids)?);
        }
        Ok(())
    })
}

/// Closes the engine: it takes no new work, waits five seconds for what runs, leaves the rest for the next
/// blitz_engine_recover(), and closes the file. Its handles stay until they are freed; calls with them give BLITZ_CLOSED,
/// closing twice too. Thread: any, also from a callback.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_close(engine: *const Engine, out_error: *mut *mut Failure) -> Status {
    guard(out_error, || handle::get(engine)?.host.close(GRACE))
}

/// Like blitz_engine_close(), but waits grace_ms; 0 or less does not wait.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_close_within(
    engine: *const Engine,
    grace_ms: i64,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let grace = Duration::from_millis(u64::try_from(grace_ms).unwrap_or(0));
        handle::get(engine)?.host.close(grace)
    })
}

/// Closes the engine where that was not done, and frees it. Sessions and executions of it stay until they are freed
/// themselves, and give BLITZ_CLOSED. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_free(engine: *mut Engine) -> Status {
    crate::guard::status_of(|| {
        let Some(engine) = handle::take(engine)? else { return Ok(()) };
        let closed = match engine.host.close(GRACE) {
            Err(error) if error.code() == ErrorCode::Closed => Ok(()),
            other => other,
        };
        let workers = engine.host.workers.write().unwrap_or_else(PoisonError::into_inner).take();
        // The last call under way ends the threads.
        drop(workers);
        closed
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn any_thread_may_wait_and_end_the_threads() {
        let workers = Arc::new(Workers::start().unwrap());
        let inner = Arc::clone(&workers);
        // A destructor of the host runs on a thread of the engine's own work, and calls the engine.
        let within = async move { inner.wait(async { tokio::time::sleep(Duration::from_millis(1)).await }) };
        workers.wait(workers.handle.spawn(within)).unwrap();
        let (handle, last) = (workers.handle.clone(), Workers::start().unwrap());
        handle.block_on(handle.spawn(async move { drop(last) })).unwrap();
        drop(workers);
    }

    /// Far more than any of it takes: only a deadlock reaches it.
    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_worker_that_waits_hands_its_other_work_to_another() {
        let workers = Arc::new(Workers::start().unwrap());
        let inner = Arc::clone(&workers);
        let within = async move {
            // It is next on this very thread, and no other one takes it away from a thread that stands still.
            let next = tokio::spawn(async { 7 });
            inner.wait(next).unwrap()
        };
        let done = workers.handle.spawn(within);
        assert_eq!(workers.wait(async { tokio::time::timeout(LONG, done).await }).unwrap().unwrap(), 7);
    }

    /// Something of the host's whose destructor calls the engine.
    struct Held(Arc<Workers>, std::sync::mpsc::Sender<u8>);

    impl Drop for Held {
        fn drop(&mut self) {
            let value = self.0.wait(async {
                tokio::task::yield_now().await;
                7
            });
            self.1.send(value).ok();
        }
    }

    #[test]
    fn a_destructor_may_call_the_engine_inside_of_any_wait() {
        let workers = Arc::new(Workers::start().unwrap());
        let (tell, told) = std::sync::mpsc::channel();
        let held = || Held(Arc::clone(&workers), tell.clone());
        workers.wait({
            let held = held();
            async move { drop(held) }
        });
        let (inner, held) = (Arc::clone(&workers), held());
        let callback = crate::callback::on_a_thread(None, move || inner.wait(async move { drop(held) }));
        assert!(workers.wait(callback).is_some(), "it panicked");
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [7, 7]);
    }

    #[test]
    fn a_panic_of_a_call_reaches_its_caller_from_another_thread_too() {
        let workers = Arc::new(Workers::start().unwrap());
        let inner = Arc::clone(&workers);
        let within = async move { crate::guard::status_of(|| inner.wait(async { panic!("on purpose") })) };
        let status = workers.wait(workers.handle.spawn(within)).unwrap();
        assert_eq!(status, ErrorCode::Panic as Status);
    }
}
