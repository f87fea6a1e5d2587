//! Events on their way to Python, in batches: one wake-up for all that are there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use blitz::{Event, EventStream, Result};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use pyo3::prelude::*;
use pyo3::types::PyList;
use tokio_util::sync::CancellationToken;

use crate::call::{Origin, Within};
use crate::convert::value_to_python;
use crate::error::to_py;
use crate::pending::Pending;
use crate::runtime::{Kept, is_forked};

/// The most events handed over at once.
const BATCH: usize = 256;

/// The events of one execution; dropped or closed, it lets go of them.
#[pyclass(frozen, module = "blitz._native")]
pub(crate) struct Events(Kept<Arc<Shared>>);

struct Shared {
    source: tokio::sync::Mutex<Source>,
    /// Read from the source and not yet given to Python: a reader that is cancelled loses none.
    ready: Mutex<VecDeque<Result<Event>>>,
    closed: CancellationToken,
    origin: Option<Arc<Origin>>,
    within: Within,
}

enum Source {
    Unopened(BoxFuture<'static, Result<EventStream>>),
    Open(EventStream),
    Ended,
}

impl Events {
    pub(crate) fn new(
        open: impl Future<Output = Result<EventStream>> + Send + 'static,
        origin: Option<Arc<Origin>>,
        within: Within,
    ) -> Self {
        let source = tokio::sync::Mutex::new(Source::Unopened(open.boxed()));
        let closed = CancellationToken::new();
        Self(Kept::new(Arc::new(Shared { source, ready: Mutex::default(), closed, origin, within })))
    }
}

impl Shared {
    fn ready(&self) -> std::sync::MutexGuard<'_, VecDeque<Result<Event>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads at least one event, and all others that are there.
    async fn fill(&self) {
        let mut source = self.source.lock().await;
        if !self.ready().is_empty() {
            return;
        }
        let read = async {
            if let Source::Unopened(open) = &mut *source {
                match open.await {
                    Ok(stream) => *source = Source::Open(stream),
                    Err(error) => {
                        *source = Source::Ended;
                        self.ready().push_back(Err(error));
                        return;
                    }
                }
            }
            let Source::Open(stream) = &mut *source else { return };
            let mut next = stream.next().await;
            while let Some(event) = next {
                self.ready().push_back(event);
                if self.ready().len() >= BATCH {
                    return;
                }
                match stream.next().now_or_never() {
                    Some(further) => next = further,
                    None => return,
                }
            }
            *source = Source::Ended;
        };
        let read = self.within.clone().run(read.map(Ok));
        let ended = self.closed.run_until_cancelled(read).await;
        match ended {
            Some(Ok(())) => {}
            Some(Err(cancelled)) => {
                *source = Source::Ended;
                self.ready().push_back(Err(cancelled));
            }
            None => *source = Source::Ended,
        }
    }

    /// What is ready, up to a failure, which comes when all before it was given.
    fn take(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        // Looked up first: behind the end nothing becomes ready any more. Whoever holds the source is reading.
        let ended = self.source.try_lock().is_ok_and(|source| matches!(*source, Source::Ended));
        // Taken out first: Python code that runs meanwhile may come here too.
        let mut events = Vec::new();
        {
            let mut ready = self.ready();
            while let Some(event) = ready.pop_front() {
                match event {
                    Ok(event) => events.push(event),
                    Err(error) if events.is_empty() => return Err(to_py(py, &error)),
                    Err(error) => {
                        ready.push_front(Err(error));
                        break;
                    }
                }
            }
        }
        let batch = PyList::empty(py);
        for event in &events {
            batch.append(value_to_python(py, event)?)?;
        }
        if batch.is_empty() && ended {
            return match self.origin.as_ref().and_then(|origin| origin.raised()) {
                Some(error) => Err(error),
                None => Ok(py.None()),
            };
        }
        Ok(batch.into_any().unbind())
    }
}

#[pymethods]
impl Events {
    /// Waits until there are events, or no more will come.
    fn fill(&self) -> Pending {
        let shared = Arc::clone(&self.0);
        let filled = async move {
            shared.fill().await;
            Ok(())
        };
        Pending::new(filled, |py, ()| Ok(py.None()))
    }

    /// The events that are there, as a list, which is empty where another reader took them; `None` behind the last.
    ///
    /// Apart from the wait: a reader that is cancelled in the very moment they come finds them later.
    fn take(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.0.take(py)
    }

    /// Lets go of the events; a stream that owns its execution cancels it.
    fn close(&self) {
        if is_forked() {
            return;
        }
        self.0.closed.cancel();
        // Whoever reads at the moment sees that it is closed and lets go.
        if let Ok(mut source) = self.0.source.try_lock() {
            *source = Source::Ended;
        }
        self.0.ready().clear();
    }
}
