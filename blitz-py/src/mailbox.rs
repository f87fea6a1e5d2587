//! From the engine's threads to an asyncio loop, without the GIL.
//!
//! A loop has one mailbox and reads its socket. The engine's threads leave work in it and wake the
//! loop by one byte for a whole batch; the loop's own thread does the work. Nobody calls into a loop
//! from outside, so one that is closed meanwhile is simply never woken.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::AbortHandle;
use pyo3::prelude::*;
use tokio::runtime::Runtime;

use crate::runtime::{Stay, is_exiting, is_forked};

/// What is done on the loop's thread.
type Work = Box<dyn FnOnce(Python<'_>) + Send>;

/// The mailbox of one event loop.
#[pyclass(frozen, module = "blitz._native")]
pub(crate) struct Mailbox {
    waiting: Mutex<Vec<Work>>,
    /// What the loop awaits.
    awaited: Mutex<HashMap<u64, AbortHandle>>,
    /// Whether somebody wakes the loop from time to time.
    ticking: AtomicBool,
    /// What the loop reads, and what wakes it; gone once the loop is.
    sockets: Mutex<Option<(UnixStream, UnixStream)>>,
}

/// How often a loop that awaits something is woken. A signal that comes in the moment before a loop
/// goes to sleep does not wake it: without this a Ctrl-C could wait for as long as the engine does.
const TICK: Duration = Duration::from_millis(200);

impl Mailbox {
    /// Leaves work for the loop; from any thread.
    pub(crate) fn post(&self, work: impl FnOnce(Python<'_>) + Send + 'static) {
        if is_exiting() {
            // A loop that still runs then is a daemon thread's, and ends without a word.
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(Box::new(work));
        if waiting.len() == 1 {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some((_, write)) = self.sockets().as_mut() {
            // A full socket means that the loop has enough to wake up for.
            let _ = write.write(&[1]);
        }
    }

    fn sockets(&self) -> MutexGuard<'_, Option<(UnixStream, UnixStream)>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the loop from time to time, while it awaits anything.
    pub(crate) fn tick(mailbox: &Py<Self>, py: Python<'_>, runtime: &Runtime) {
        if mailbox.get().ticking.swap(true, Ordering::AcqRel) {
            return;
        }
        let mailbox = mailbox.clone_ref(py);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let mailbox = mailbox.get();
                let awaited = mailbox.awaited.lock().unwrap_or_else(PoisonError::into_inner);
                if awaited.is_empty() || is_exiting() {
                    mailbox.ticking.store(false, Ordering::Release);
                    return;
                }
                drop(awaited);
                mailbox.wake();
            }
        });
    }

    /// Keeps what the loop awaits, until [`Mailbox::ended`] is told its number.
    pub(crate) fn keep(&self, task: AbortHandle) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(id, task);
        id
    }

    /// Lets go of what has ended.
    pub(crate) fn ended(&self, id: u64) {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> PyResult<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        let sockets = Mutex::new(Some((read, write)));
        Ok(Self { waiting: Mutex::default(), awaited: Mutex::default(), ticking: AtomicBool::new(false), sockets })
    }

    /// Breaks off what the loop awaited: it is closed and will never hear of it. Whoever holds the mailbox holds no
    /// descriptor.
    fn abandon(&self) {
        if is_forked() {
            return;
        }
        drop(self.sockets().take());
        let awaited = std::mem::take(&mut *self.awaited.lock().unwrap_or_else(PoisonError::into_inner));
        awaited.into_values().for_each(|task| task.abort());
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        drop(waiting);
    }

    /// The file descriptor that the loop reads; -1 where the loop is gone.
    fn fileno(&self) -> i32 {
        self.sockets().as_ref().map_or(-1, |(read, _)| read.as_raw_fd())
    }

    /// Does what waits; the loop calls it when the descriptor can be read.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let mut bytes = [0; 64];
        while let Some((read, _)) = self.sockets().as_mut() {
            match read.read(&mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some(_stay) = Stay::begin() else { return Ok(()) };
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(|work| work(py));
        Ok(())
    }
}
