//! The least that a Python program can pay for an agent: the loops of the Rust floors, driven by one
//! thread, whose results asyncio awaits.
//!
//! Nothing is kept, checked or broken off here, and a failure panics: what is measured are two requests, the call of a Python
//! function, and the way back into the loop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use blitz_benches::client::{self, Hyper, Reqwest, SseTokens};
use blitz_benches::{Result, sqlite};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

/// One thread, which costs less than several, and is there as long as the process.
static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime of one thread");
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
});

/// One connection and a tool of Python's.
#[pyclass(frozen)]
struct Connection {
    hyper: Arc<tokio::sync::Mutex<Hyper>>,
    add: Arc<Py<PyAny>>,
}

#[pymethods]
impl Connection {
    #[new]
    fn new(py: Python<'_>, address: &str, add: Py<PyAny>) -> PyResult<Self> {
        let address = parsed(address)?;
        let hyper = py.detach(|| RUNTIME.block_on(Hyper::connect(address))).map_err(raised)?;
        Ok(Self { hyper: Arc::new(tokio::sync::Mutex::new(hyper)), add: Arc::new(add) })
    }

    /// One execution, whose text a future of `event_loop` gets.
    fn start(&self, event_loop: Py<PyAny>, future: Py<PyAny>) {
        let (hyper, add) = (Arc::clone(&self.hyper), Arc::clone(&self.add));
        RUNTIME.spawn(async move {
            let text = client::execution_with(&mut *hyper.lock().await, |a, b| call(&add, a, b)).await;
            let text = text.expect("the model answers");
            Python::attach(|py| {
                let set_result = future.getattr(py, "set_result")?;
                event_loop.call_method1(py, "call_soon_threadsafe", (set_result, text))
            })
            .expect("the loop is open");
        });
    }

    /// One execution, waited for.
    fn wait(&self, py: Python<'_>) -> PyResult<String> {
        let execution =
            async { client::execution_with(&mut *self.hyper.lock().await, |a, b| call(&self.add, a, b)).await };
        py.detach(|| RUNTIME.block_on(execution)).map_err(raised)
    }
}

/// A connection, a tool of Python's and a database, all used by the thread that waits.
#[pyclass(frozen)]
struct Alone {
    runtime: Mutex<(Runtime, Hyper, rusqlite::Connection, u64)>,
    add: Py<PyAny>,
}

/// As many commits as an execution with two model calls and one tool needs.
const COMMITS: u64 = 3;

#[pymethods]
impl Alone {
    #[new]
    fn new(address: &str, add: Py<PyAny>, folder: PathBuf) -> PyResult<Self> {
        let address = parsed(address)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let hyper = runtime.block_on(Hyper::connect(address)).map_err(raised)?;
        let database = sqlite::create(&folder).map_err(raised)?;
        Ok(Self { runtime: Mutex::new((runtime, hyper, database, 0)), add })
    }

    /// One execution, and the commits that one needs.
    fn wait(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| {
            let (runtime, hyper, database, done) = &mut *self.runtime.lock().expect("used by one thread");
            let text = runtime.block_on(client::execution_with(hyper, |a, b| call(&self.add, a, b)))?;
            let mut step = sqlite::step_statement(database)?;
            for _ in 0..COMMITS {
                sqlite::write_step(&mut step, *done)?;
                *done += 1;
            }
            Ok(text)
        })
        .map_err(raised)
    }
}

/// Reads a streamed answer: `give` gets the tokens on its loop, a list for each piece that came, and `None` at the end.
#[pyfunction]
fn stream(address: &str, path: String, body: String, event_loop: Py<PyAny>, give: Py<PyAny>) -> PyResult<()> {
    let client = Reqwest::new(parsed(address)?).map_err(raised)?;
    RUNTIME.spawn(async move {
        let hand_over = |tokens: Option<Vec<String>>| {
            Python::attach(|py| event_loop.call_method1(py, "call_soon_threadsafe", (&give, tokens)))
        };
        let mut reader = SseTokens::default();
        let read = client.pieces(&path, body.into_bytes(), |piece| {
            let mut tokens = Vec::new();
            reader.feed(piece, |token| tokens.push(token.to_owned()))?;
            hand_over(Some(tokens))?;
            Ok(())
        });
        read.await.expect("the model answers");
        hand_over(None).expect("the loop is open");
    });
    Ok(())
}

/// Calls the tool.
fn call(add: &Py<PyAny>, a: f64, b: f64) -> Result<f64> {
    Ok(Python::attach(|py| add.call1(py, (a, b))?.extract(py))?)
}

fn parsed(address: &str) -> PyResult<SocketAddr> {
    Ok(address.parse()?)
}

fn raised(error: Box<dyn std::error::Error + Send + Sync>) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// The floor of the Python rows.
#[pymodule]
mod blitz_floor {
    #[pymodule_export]
    use super::{Alone, Connection, stream};
}
