//! Calls of Python functions by the engine: on threads of Python's own, or on an event loop.
//!
//! A plain function runs on a thread that Python started, in a loop written in Python (`_calls.py`),
//! so that no frame of Rust lies below a function that outlives the interpreter. An async function
//! runs as a task of the loop that awaits its execution. Either way the engine's threads only leave
//! the call in a queue; they never wait for the GIL.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use blitz::provider::ProviderCall;
use blitz::tool::EffectScope;
use blitz::{Error, ErrorCode};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::convert::{to_json, to_python};
use crate::error::from_py;
use crate::mailbox::Mailbox;
use crate::runtime::{Stay, attached, is_exiting, runtime};
use crate::tool::ToolContext;

/// The most plain functions at work at once; one that waits for the engine is not counted.
const MAX_AT_WORK: usize = 64;

/// How long whoever awaits the execution has to be cancelled together with a function on the same loop.
const CANCELLED_TOO: Duration = Duration::from_millis(200);

/// How often what a function waits for looks whether the function itself was cancelled.
const LOOKS_UP: Duration = Duration::from_millis(50);

/// Whether a function was ever called by an engine that bounds its effects.
static BOUNDED: AtomicBool = AtomicBool::new(false);

static QUEUE: LazyLock<Queue> = LazyLock::new(Queue::default);
static ROOM: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_AT_WORK)));

thread_local! {
    /// The room that the function at work on this thread takes.
    static TAKEN: RefCell<Option<OwnedSemaphorePermit>> = const { RefCell::new(None) };
}

/// A function of the host that the engine calls; it gets a [`Call`].
pub(crate) struct Function {
    pub(crate) function: Py<PyAny>,
    pub(crate) is_async: bool,
}

/// Who asked for the execution that calls, and from where.
#[derive(Default)]
pub(crate) struct Origin {
    /// The loop that awaits the execution.
    pub(crate) mailbox: Option<Py<Mailbox>>,
    /// The context variables it was asked with.
    pub(crate) context: Option<Py<PyAny>>,
    /// What a function raised that is no failure of a tool: whoever waits gets it.
    pub(crate) raised: Mutex<Option<PyErr>>,
}

impl Origin {
    /// Takes what a function raised.
    pub(crate) fn raised(&self) -> Option<PyErr> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Why a function gave no value.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The model is told this.
    Failed(String),
    /// The model is told to call again in another way.
    Retry(String),
    /// It failed with an error of its own: the model is told its message, a workflow goes by its code.
    Typed(Error),
    /// The execution ends.
    Fatal(Error),
}

impl Failure {
    fn gone() -> Self {
        Self::Failed("the function was not called to its end".to_owned())
    }
}

/// One call on its way.
pub(crate) struct Job {
    function: Arc<Function>,
    input: Value,
    context: Option<blitz::tool::ToolContext>,
    model: Option<ProviderCall>,
    origin: Option<Arc<Origin>>,
    /// The effect that it is the work of.
    scope: EffectScope,
    answer: Mutex<Option<oneshot::Sender<Result<Value, Failure>>>>,
}

impl Job {
    fn answer(&self, answer: Result<Value, Failure>) {
        if let Some(give) = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody may be waiting any more: then the result is void.
            let _ = give.send(answer);
        }
    }

    /// Whether somebody waits for its answer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_awaited() == Some(true)
    }

    /// As [`Job::is_wanted`]; `None` where it is answered.
    fn is_awaited(&self) -> Option<bool> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|give| !give.is_closed())
    }

    /// Whether it was told to end.
    fn is_told(&self) -> bool {
        self.model.as_ref().is_some_and(|model| model.cancel.is_cancelled())
            || self.context.as_ref().is_some_and(|context| context.cancel.is_cancelled())
    }

    /// Ends the execution, and lets whoever waits for it get this very exception.
    fn raise_to_caller(&self, py: Python<'_>, error: PyErr) {
        let kind = error.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
        if let Some(origin) = &self.origin {
            *origin.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        let message = format!("a function of the host raised {kind}");
        self.answer(Err(Failure::Fatal(Error::new(ErrorCode::ToolFailed, message))));
    }
}

/// The call within which something is asked of the engine, where there is one: what it asks ends where it is cancelled.
#[derive(Clone)]
pub(crate) struct Within(Weak<Job>);

impl Within {
    pub(crate) fn new(call: Option<&Bound<'_, Call>>) -> Self {
        Self(call.map(|call| Arc::downgrade(&call.get().0)).unwrap_or_default())
    }

    /// Does the work, until the call is cancelled. Errors: those of the work; `Cancelled`.
    pub(crate) async fn run<T>(self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut work = pin!(work);
        // What goes on behind the function's end is nobody's but its own.
        while let Some((job, awaited)) = self.0.upgrade().and_then(|job| job.is_awaited().map(|awaited| (job, awaited)))
        {
            if !awaited || job.is_told() {
                let message = "the function that asks was cancelled: it begins nothing more";
                return Err(Error::new(ErrorCode::Cancelled, message));
            }
            drop(job);
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(LOOKS_UP) => {}
            }
        }
        work.await
    }
}

/// The effect whose function runs here, where its engine bounds them: what the function waits for is part of it.
pub(crate) fn effect_here() -> Option<EffectScope> {
    static AT_WORK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if !BOUNDED.load(Ordering::Relaxed) {
        return None;
    }
    attached(|py| {
        let call = AT_WORK.import(py, "blitz._calls", "at_work").ok()?.call0().ok()?;
        call.cast::<Call>().ok().map(|call| call.get().0.scope.clone())
    })
    .flatten()
}

/// What a function is called with beside its input.
#[derive(Default)]
pub(crate) struct Around {
    pub(crate) context: Option<blitz::tool::ToolContext>,
    pub(crate) model: Option<ProviderCall>,
}

/// Calls a function of the host. Dropping the future voids its result, and cancels it on its loop.
pub(crate) async fn call(function: Arc<Function>, input: Value, around: Around) -> Result<Value, Failure> {
    let host = match &around {
        Around { context: Some(context), .. } => context.session().ok().and_then(|session| session.host().cloned()),
        Around { model: Some(model), .. } => model.host().cloned(),
        Around { .. } => None,
    };
    let origin = host.and_then(|host| host.downcast::<Origin>().ok());
    let is_async = function.is_async;
    let (give, take) = oneshot::channel();
    let Around { context, model } = around;
    let answer = Mutex::new(Some(give));
    let scope = EffectScope::current();
    if scope.is_bounded() {
        BOUNDED.store(true, Ordering::Relaxed);
    }
    let job = Arc::new(Job { function, input, context, model, origin, scope, answer });
    if is_async { on_loop(job, take).await } else { on_thread(job, take).await }
}

type Answer = oneshot::Receiver<Result<Value, Failure>>;

async fn on_thread(job: Arc<Job>, answer: Answer) -> Result<Value, Failure> {
    let room = Arc::clone(&ROOM).acquire_owned().await.map_err(|_| Failure::gone())?;
    if QUEUE.push(job, room) {
        let started = tokio::task::spawn_blocking(|| attached(start_thread)).await;
        if !matches!(started, Ok(Some(Ok(())))) {
            QUEUE.drop_one();
        }
    }
    answer.await.unwrap_or_else(|_| Err(Failure::gone()))
}

fn start_thread(py: Python<'_>) -> PyResult<()> {
    static START: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    START.import(py, "blitz._calls", "start_thread")?.call0().map(drop)
}

async fn on_loop(job: Arc<Job>, answer: Answer) -> Result<Value, Failure> {
    let own = match &job.origin {
        Some(origin) if origin.mailbox.is_some() => None,
        _ => Some(own_mailbox().await?),
    };
    let mut task = OnLoop { origin: job.origin.clone(), own, task: Arc::default(), ended: false };
    let slot = Arc::clone(&task.task);
    task.post(move |py| match begin(py, Arc::clone(&job)) {
        Ok(begun) => *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun),
        Err(error) if error.is_instance_of::<PyException>(py) => job.answer(Err(Failure::Failed(error.to_string()))),
        Err(error) => job.raise_to_caller(py, error),
    });
    let answer = answer.await.unwrap_or_else(|_| Err(Failure::gone()));
    task.ended = true;
    answer
}

fn begin(py: Python<'_>, job: Arc<Job>) -> PyResult<Py<PyAny>> {
    static BEGIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let call = Py::new(py, Call(job))?;
    Ok(BEGIN.import(py, "blitz._calls", "begin")?.call1((call,))?.unbind())
}

/// A call as a task of a loop. It does not hold the call: one that nobody can answer any more is answered by that.
struct OnLoop {
    origin: Option<Arc<Origin>>,
    own: Option<&'static Py<Mailbox>>,
    task: Arc<Mutex<Option<Py<PyAny>>>>,
    ended: bool,
}

impl OnLoop {
    fn post(&self, work: impl FnOnce(Python<'_>) + Send + 'static) {
        let theirs = self.origin.as_ref().and_then(|origin| origin.mailbox.as_ref());
        if let Some(mailbox) = self.own.or(theirs) {
            mailbox.get().post(work);
        }
    }
}

impl Drop for OnLoop {
    fn drop(&mut self) {
        if !self.ended {
            let task = Arc::clone(&self.task);
            self.post(move |py| {
                let task = task.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(task) = task
                    && let Err(error) = task.call_method0(py, "cancel")
                {
                    error.write_unraisable(py, None);
                }
            });
        }
    }
}

/// The mailbox of the engine's own loop, which is started when it is first needed.
async fn own_mailbox() -> Result<&'static Py<Mailbox>, Failure> {
    static OWN: OnceLock<Py<Mailbox>> = OnceLock::new();
    if let Some(mailbox) = OWN.get() {
        return Ok(mailbox);
    }
    let made = tokio::task::spawn_blocking(|| {
        attached(|py| -> PyResult<Py<Mailbox>> {
            Ok(py.import("blitz._loop")?.call_method0("own_mailbox")?.cast_into::<Mailbox>()?.unbind())
        })
    });
    match made.await {
        // Two calls may come here at once; Python gives both the same.
        Ok(Some(Ok(mailbox))) => Ok(OWN.get_or_init(|| mailbox)),
        _ => Err(Failure::Failed("no event loop can be started".to_owned())),
    }
}

/// The plain functions that wait for a thread.
#[derive(Default)]
struct Queue {
    state: Mutex<Line>,
    arrived: Condvar,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<(Arc<Job>, OwnedSemaphorePermit)>,
    idle: usize,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call; gives whether one more thread is needed.
    fn push(&self, job: Arc<Job>, room: OwnedSemaphorePermit) -> bool {
        let mut line = self.lock();
        line.waiting.push_back((job, room));
        let needed = line.idle < line.waiting.len();
        drop(line);
        self.arrived.notify_one();
        needed
    }

    /// Gives up a call for which no thread can be had; dropping it tells its caller.
    fn drop_one(&self) {
        let dropped = self.lock().waiting.pop_back();
        drop(dropped);
    }

    fn next(&self, linger: Duration) -> Option<(Arc<Job>, OwnedSemaphorePermit)> {
        let mut line = self.lock();
        loop {
            if is_exiting() {
                return None;
            }
            while let Some((job, room)) = line.waiting.pop_front() {
                if job.is_wanted() {
                    return Some((job, room));
                }
            }
            line.idle += 1;
            let (woken, late) = self.arrived.wait_timeout(line, linger).unwrap_or_else(PoisonError::into_inner);
            line = woken;
            line.idle -= 1;
            if late.timed_out() && line.waiting.is_empty() {
                return None;
            }
        }
    }
}

/// The next call for a thread of Python's; `None` when none came for `linger` seconds, or at the end.
#[pyfunction]
pub(crate) fn next_call(py: Python<'_>, linger: f64) -> Option<Call> {
    make_room();
    let _stay = Stay::begin()?;
    let linger = Duration::try_from_secs_f64(linger).unwrap_or(Duration::from_secs(10));
    let (job, room) = py.detach(|| QUEUE.next(linger))?;
    TAKEN.with_borrow_mut(|taken| *taken = Some(room));
    Some(Call(job))
}

/// Gives up the room of the function on this thread, if it is one.
pub(crate) fn make_room() {
    TAKEN.with_borrow_mut(|taken| drop(taken.take()));
}

/// Lets idle threads look up: the interpreter exits.
pub(crate) fn wake_all() {
    // None looks for the exit and goes to sleep behind this.
    let _line = QUEUE.lock();
    QUEUE.arrived.notify_all();
}

/// One call of a Python function by the engine; answered once.
#[pyclass(frozen, module = "blitz._native")]
pub(crate) struct Call(Arc<Job>);

#[pymethods]
impl Call {
    /// What is called, with this object.
    #[getter]
    fn function(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.function.function.clone_ref(py)
    }

    /// What it is given.
    fn input<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.0.input)
    }

    /// The context of a tool's call.
    #[getter]
    fn context(&self) -> Option<ToolContext> {
        self.0.context.clone().map(|context| ToolContext::new(context, Arc::downgrade(&self.0)))
    }

    /// The context variables of whoever asked for the execution.
    #[getter]
    fn contextvars(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.origin.as_ref()?.context.as_ref().map(|context| context.clone_ref(py))
    }

    /// Hands a piece of a model's text to whoever reads the events.
    fn emit_text(&self, text: String) {
        if let Some(model) = &self.0.model {
            model.emit_text(text);
        }
    }

    /// Whether nobody waits for the answer any more.
    #[getter]
    fn cancelled(&self) -> bool {
        !self.0.is_wanted() || self.0.is_told()
    }

    /// Answers. Errors: `InvalidInputError` for what has no JSON form; then it is not answered.
    fn give(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = to_json(value, "the result")?;
        self.0.answer(Ok(value));
        Ok(())
    }

    /// Answers that it failed, in words for the model. Lone surrogates are replaced: it is answered whatever the text is.
    fn fail(&self, message: &Bound<'_, PyString>) {
        self.0.answer(Err(Failure::Failed(message.to_string_lossy().into_owned())));
    }

    /// Answers that it failed with an error of this code, whether a model call of it was charged, and whether and when it
    /// may be tried again. Lone surrogates are replaced.
    #[pyo3(signature = (code, message, charged=None, retryable=None, retry_after_ms=None))]
    fn fail_as(
        &self,
        code: &str,
        message: &Bound<'_, PyString>,
        charged: Option<&str>,
        retryable: Option<bool>,
        retry_after_ms: Option<u64>,
    ) {
        let code = ErrorCode::from_name(code).unwrap_or(ErrorCode::ToolFailed);
        let mut error = Error::new(code, message.to_string_lossy().into_owned());
        if let Some(charged) = charged {
            error = error.with_details(json!({"charged": charged}));
        }
        if let Some(retryable) = retryable {
            error = error.with_retryable(retryable);
        }
        if let Some(wait) = retry_after_ms {
            error = error.with_retry_after(Duration::from_millis(wait));
        }
        self.0.answer(Err(Failure::Typed(error)));
    }

    /// Answers that the model should call again in another way.
    fn retry(&self, hint: &Bound<'_, PyString>) {
        self.0.answer(Err(Failure::Retry(hint.to_string_lossy().into_owned())));
    }

    /// Answers, in a moment, that its task was cancelled: where its loop ends, whoever awaits the execution
    /// there is cancelled too, and that comes first.
    fn fail_cancelled(&self) {
        let job = Arc::clone(&self.0);
        let answer = async move {
            tokio::time::sleep(CANCELLED_TOO).await;
            job.answer(Err(Failure::Failed("the function was cancelled".to_owned())));
        };
        if let Ok(runtime) = runtime() {
            runtime.spawn(answer);
        }
    }

    /// Ends the execution by an error.
    fn end(&self, py: Python<'_>, error: &Bound<'_, PyAny>) {
        let error = PyErr::from_value(error.clone());
        self.0.answer(Err(Failure::Fatal(from_py(py, &error, ErrorCode::ToolFailed))));
    }

    /// Ends the execution, and lets whoever waits for it get this very exception.
    fn raise_to_caller(&self, py: Python<'_>, error: &Bound<'_, PyAny>) {
        self.0.raise_to_caller(py, PyErr::from_value(error.clone()));
    }
}
