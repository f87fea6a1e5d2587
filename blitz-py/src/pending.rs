//! One operation that has not begun: a blocking method waits for it, its `a…` twin awaits it.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use blitz::{Error, ErrorCode};
use futures_util::FutureExt as _;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::call::{effect_here, make_room};
use crate::error::to_py;
use crate::mailbox::Mailbox;
use crate::runtime::{Kept, is_exiting, runtime, wait};

/// Makes the Python result of what came out.
type Make = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// An operation of the engine; dropped before its end, it is broken off.
#[pyclass(frozen, module = "blitz._native")]
pub(crate) struct Pending(Kept<Mutex<State>>);

enum State {
    Ready(BoxFuture<'static, Make>),
    Begun { _task: Begun },
    Taken,
}

/// A task that ends with its operation.
struct Begun(AbortHandle);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pending {
    /// An operation whose result `make` turns into a Python value. A panic in it becomes an error.
    pub(crate) fn new<T, F, M>(future: F, make: M) -> Self
    where
        T: Send + 'static,
        F: Future<Output = blitz::Result<T>> + Send + 'static,
        M: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let future = AssertUnwindSafe(future).catch_unwind().map(|outcome| {
            let outcome = outcome.unwrap_or_else(|_| Err(Error::new(ErrorCode::Panic, "a panic was caught")));
            let made: Make = match outcome {
                Ok(value) => Box::new(|py| make(py, value)),
                Err(error) => Box::new(move |py| Err(to_py(py, &error))),
            };
            made
        });
        let future = match effect_here() {
            Some(effect) => effect.run(future).boxed(),
            None => future.boxed(),
        };
        Self(Kept::new(Mutex::new(State::Ready(future))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> PyResult<BoxFuture<'static, Make>> {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Ready(future) => Ok(future),
            other => {
                *state = other;
                Err(PyRuntimeError::new_err("this operation has begun already"))
            }
        }
    }
}

#[pymethods]
impl Pending {
    /// Waits for the end without the GIL.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let future = self.take()?;
        wait(py, future)?(py)
    }

    /// Begins, and settles an asyncio future on its loop at the end.
    fn start(&self, py: Python<'_>, mailbox: Py<Mailbox>, future: Py<PyAny>) -> PyResult<()> {
        let runtime = runtime().map_err(|error| to_py(py, &error))?;
        if is_exiting() {
            // Nobody leaves anything in a mailbox any more.
            return Err(to_py(py, &Error::closed("the interpreter is exiting: nothing can be awaited any more")));
        }
        // As a function of the host that waits: the ones it waits for need the room.
        make_room();
        let work = self.take()?;
        let (task, broken_off) = AbortHandle::new_pair();
        let id = mailbox.get().keep(task.clone());
        Mailbox::tick(&mailbox, py, runtime);
        let awaited = Awaited { id, mailbox };
        let work = async move {
            let made = work.await;
            awaited.mailbox.get().post(move |py| settle(py, future.bind(py), made));
        };
        *self.state() = State::Begun { _task: Begun(task) };
        runtime.spawn(Abortable::new(work, broken_off));
        Ok(())
    }

    /// Breaks it off; does nothing where it has ended.
    fn abort(&self) {
        // Dropped outside the lock: what it drops may be anything.
        let state = std::mem::replace(&mut *self.state(), State::Taken);
        drop(state);
    }
}

/// An operation that a loop awaits, for as long as it is under way.
struct Awaited {
    mailbox: Py<Mailbox>,
    id: u64,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.mailbox.get().ended(self.id);
    }
}

/// Gives a future its result, unless whoever waited has gone.
fn settle(py: Python<'_>, future: &Bound<'_, PyAny>, made: Make) {
    let done = future.call_method0(intern!(py, "done")).and_then(|done| done.is_truthy());
    if done.unwrap_or(true) {
        return;
    }
    let settled = match made(py) {
        Ok(value) => future.call_method1(intern!(py, "set_result"), (value,)),
        Err(error) => future.call_method1(intern!(py, "set_exception"), (error,)),
    };
    if let Err(error) = settled {
        error.write_unraisable(py, Some(future));
    }
}
