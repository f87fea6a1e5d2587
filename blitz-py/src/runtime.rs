//! The one async runtime of the process, waiting on it from Python, and the fork check.
//!
//! Waiting lets go of the GIL and looks for signals, so Ctrl-C works in the middle. A process that
//! was forked from one that uses the engine has none of its threads: there every call is refused, and
//! what was inherited is neither used nor dropped.

use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use blitz::{Error, Result};
use futures_util::future::join_all;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::call;
use crate::engine::Engine;
use crate::error::to_py;

/// How often a wait looks for signals.
const SIGNALS: Duration = Duration::from_millis(50);

static HOST: OnceLock<Host> = OnceLock::new();
static EXITING: AtomicBool = AtomicBool::new(false);

/// Threads that the interpreter must not end now: Rust is on their stack, and they want the GIL.
static STAYING: Mutex<usize> = Mutex::new(0);
static LEFT: Condvar = Condvar::new();

struct Host {
    runtime: Runtime,
    pid: u32,
}

/// The runtime of this process. Errors: `Closed` in a forked child.
pub(crate) fn runtime() -> Result<&'static Runtime> {
    if let Some(host) = HOST.get() {
        return if host.pid == std::process::id() { Ok(&host.runtime) } else { Err(forked()) };
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
    let runtime =
        Builder::new_multi_thread().worker_threads(threads).thread_name("blitz").enable_all().build().map_err(
            |error| Error::new(blitz::ErrorCode::Unavailable, "no thread can be started").with_source(error),
        )?;
    // Two threads may come here at once: one runtime wins, the other goes away unused.
    let host = HOST.get_or_init(|| Host { runtime, pid: std::process::id() });
    Ok(&host.runtime)
}

fn forked() -> Error {
    Error::closed(
        "this process was forked from one that uses blitz, whose threads it has not: \
         open the engine behind the fork, or start processes by \"spawn\"",
    )
}

/// Whether this process is a fork of the one that uses the engine.
pub(crate) fn is_forked() -> bool {
    HOST.get().is_some_and(|host| host.pid != std::process::id())
}

/// Whether the interpreter is on its way out.
pub(crate) fn is_exiting() -> bool {
    EXITING.load(Ordering::Acquire)
}

/// A thread that the interpreter's exit waits for.
pub(crate) struct Stay(());

impl Stay {
    /// Keeps the interpreter from going away; `None` where it is on its way out already.
    ///
    /// A thread that asks for the GIL behind the exit is ended on the spot, and with Rust on its stack it
    /// takes the process with it.
    pub(crate) fn begin() -> Option<Self> {
        let mut staying = staying();
        if is_exiting() {
            return None;
        }
        *staying += 1;
        Some(Self(()))
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        *staying() -= 1;
        LEFT.notify_all();
    }
}

fn staying() -> MutexGuard<'static, usize> {
    STAYING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something in Python on a thread of the engine; nothing where the interpreter is on its way out.
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _stay = Stay::begin()?;
    Python::try_attach(work)
}

/// At the interpreter's exit: lets the threads that serve Python functions end, and closes what is open.
///
/// What runs gets a grace; all together takes so many seconds at most. No thread of Python's is started:
/// some versions refuse that by then.
#[pyfunction]
pub(crate) fn shut_down(py: Python<'_>, engines: Vec<Py<Engine>>, grace: f64, limit: f64) -> PyResult<()> {
    if is_forked() {
        return Ok(());
    }
    let seconds = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    py.detach(|| {
        let staying = staying();
        EXITING.store(true, Ordering::Release);
        call::wake_all();
        // One may wait for something that does not come.
        let left = LEFT.wait_timeout_while(staying, seconds(limit), |staying| *staying > 0);
        drop(left);
    });
    let closing = engines.iter().map(|engine| engine.get().engine().clone());
    let closing = closing.map(|engine| async move { engine.close_within(seconds(grace)).await });
    let closed = join_all(closing.collect::<Vec<_>>());
    // Nobody is left to hear of a failure; what was acknowledged is on the disk.
    wait(py, async { tokio::time::timeout(seconds(limit), closed).await }).map(drop)
}

/// Waits for a future without the GIL; a signal's exception ends the wait and drops the future.
pub(crate) fn wait<T: Send>(py: Python<'_>, future: impl Future<Output = T> + Send) -> PyResult<T> {
    let runtime = runtime().map_err(|error| to_py(py, &error))?;
    // A function of the host that waits for the engine makes room for the ones it waits for.
    call::make_room();
    let exiting = is_exiting();
    py.detach(|| {
        let waited = async {
            let mut future = pin!(future);
            loop {
                tokio::select! {
                    biased;
                    done = &mut future => return Ok(done),
                    () = tokio::time::sleep(SIGNALS) => check_signals()?,
                }
            }
        };
        let done = if Handle::try_current().is_ok() {
            // On a thread of the runtime itself, where a finalizer of Python may come to run.
            tokio::task::block_in_place(|| runtime.block_on(waited))
        } else {
            runtime.block_on(waited)
        };
        // What still waits at the interpreter's exit are daemon threads, which end there without a word.
        while !exiting && is_exiting() {
            std::thread::park();
        }
        done
    })
}

fn check_signals() -> PyResult<()> {
    Python::try_attach(|py| py.check_signals())
        .unwrap_or_else(|| Err(PyRuntimeError::new_err("the interpreter is shutting down")))
}

/// Something of the engine's that a forked child must not drop: its threads and locks are not there.
pub(crate) struct Kept<T>(Option<T>);

impl<T> Kept<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    #[allow(clippy::expect_used, reason = "it is taken out by drop alone")]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        if is_forked() {
            std::mem::forget(self.0.take());
        }
    }
}
