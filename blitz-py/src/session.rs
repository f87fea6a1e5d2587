//! A session: calls by name, running agents, registering functions; and the handle on an execution.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use blitz::{Effect, ExecutionId, ResourceRef, RunOptions};
use pyo3::prelude::*;

use crate::call::{Call, Function, Origin, Within};
use crate::convert::{to_json, to_typed, value_to_python};
use crate::error::to_py;
use crate::mailbox::Mailbox;
use crate::pending::Pending;
use crate::runtime::Kept;
use crate::stream::Events;
use crate::tool::{Named, tool};

/// An authenticated way into an engine.
#[pyclass(frozen, module = "blitz._native")]
pub(crate) struct Session(Kept<blitz::Session>);

impl Session {
    pub(crate) fn new(session: blitz::Session) -> Self {
        Self(Kept::new(session))
    }

    /// The session as an execution gets it: with who asked, and from where.
    fn asked_from(&self, mailbox: Option<Py<Mailbox>>, context: Option<Py<PyAny>>) -> (blitz::Session, Arc<Origin>) {
        let origin = Arc::new(Origin { mailbox, context, ..Origin::default() });
        (self.0.clone().with_host(Arc::clone(&origin) as _), origin)
    }
}

/// An agent, its input and the options of one run.
struct Run {
    agent: ResourceRef,
    input: serde_json::Value,
    options: RunOptions,
}

impl Run {
    fn read(agent: &Bound<'_, PyAny>, input: &Bound<'_, PyAny>, options: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            agent: to_typed(agent, "agent")?,
            input: to_json(input, "input")?,
            options: to_typed(options, "options")?,
        })
    }
}

#[pymethods]
impl Session {
    /// Who it speaks for.
    fn principal(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        value_to_python(py, self.0.principal())
    }

    /// Calls a method of the table by its name.
    fn call(&self, method: String, input: &Bound<'_, PyAny>) -> PyResult<Pending> {
        let session = self.0.clone();
        let input = to_json(input, "input")?;
        Ok(Pending::new(async move { session.call(&method, input).await }, |py, output| value_to_python(py, &output)))
    }

    /// Runs an agent to its end; broken off, it cancels the execution. A function's `call` that is cancelled breaks it off.
    fn run(
        &self,
        agent: &Bound<'_, PyAny>,
        input: &Bound<'_, PyAny>,
        options: &Bound<'_, PyAny>,
        mailbox: Option<Py<Mailbox>>,
        context: Option<Py<PyAny>>,
        call: Option<&Bound<'_, Call>>,
    ) -> PyResult<Pending> {
        let run = Run::read(agent, input, options)?;
        let (session, origin) = self.asked_from(mailbox, context);
        let outcome = async move { session.agents().run_with(run.agent, run.input, run.options).await };
        Ok(Pending::new(Within::new(call).run(outcome), move |py, outcome| match origin.raised() {
            Some(error) => Err(error),
            None => value_to_python(py, &outcome),
        }))
    }

    /// Starts an agent and lets it run by itself.
    fn start(
        &self,
        agent: &Bound<'_, PyAny>,
        input: &Bound<'_, PyAny>,
        options: &Bound<'_, PyAny>,
        mailbox: Option<Py<Mailbox>>,
        context: Option<Py<PyAny>>,
        call: Option<&Bound<'_, Call>>,
    ) -> PyResult<Pending> {
        let run = Run::read(agent, input, options)?;
        let (session, _) = self.asked_from(mailbox, context);
        let started = async move { session.agents().start_with(run.agent, run.input, run.options).await };
        Ok(Pending::new(Within::new(call).run(started), |py, handle| {
            Ok(Py::new(py, Execution(Kept::new(handle)))?.into_any())
        }))
    }

    /// The events of an execution that begins when the first is asked for.
    fn stream(
        &self,
        agent: &Bound<'_, PyAny>,
        input: &Bound<'_, PyAny>,
        options: &Bound<'_, PyAny>,
        mailbox: Option<Py<Mailbox>>,
        context: Option<Py<PyAny>>,
        call: Option<&Bound<'_, Call>>,
    ) -> PyResult<Events> {
        let run = Run::read(agent, input, options)?;
        let (session, origin) = self.asked_from(mailbox, context);
        let opened = async move { session.agents().stream_with(run.agent, run.input, run.options).await };
        Ok(Events::new(opened, Some(origin), Within::new(call)))
    }

    /// The handle on an execution whose id is known.
    fn execution(&self, id: i64) -> Execution {
        Execution(Kept::new(self.0.executions().handle(ExecutionId(id))))
    }

    /// Registers a Python function as a tool.
    #[allow(clippy::too_many_arguments, reason = "one for each keyword of the decorator")]
    fn register_tool(
        &self,
        py: Python<'_>,
        name: String,
        description: String,
        input_schema: &Bound<'_, PyAny>,
        effect: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        sequential: bool,
        secrets: BTreeMap<String, String>,
        function: Py<PyAny>,
        is_async: bool,
    ) -> PyResult<Pending> {
        let timeout = timeout.map(Duration::try_from_secs_f64).transpose();
        let timeout = timeout
            .map_err(|_| to_py(py, &blitz::Error::invalid("timeout is a number of seconds between 0.001 and 86400")))?;
        let effect: Effect = to_typed(effect, "effect")?;
        let input_schema = to_json(input_schema, "input_schema")?;
        let named = Named { name, description, input_schema, effect, timeout, sequential, secrets };
        let tool = tool(named, Function { function, is_async });
        let session = self.0.clone();
        Ok(Pending::new(async move { session.tools().register(tool).await }, |py, record| value_to_python(py, &record)))
    }
}

/// An execution that runs by itself.
#[pyclass(frozen, module = "blitz._native")]
pub(crate) struct Execution(Kept<blitz::ExecutionHandle>);

#[pymethods]
impl Execution {
    #[getter]
    fn id(&self) -> i64 {
        self.0.id().0
    }

    /// Waits for its end.
    fn wait(&self) -> Pending {
        let handle = self.0.clone();
        Pending::new(async move { handle.wait().await }, |py, outcome| value_to_python(py, &outcome))
    }

    /// Asks for its end.
    fn cancel(&self) -> Pending {
        let handle = self.0.clone();
        Pending::new(async move { handle.cancel().await }, |py, ()| Ok(py.None()))
    }

    /// Its events behind a place.
    fn events(&self, after: i64) -> Events {
        let handle = self.0.clone();
        Events::new(async move { Ok(handle.events_after(after)) }, None, Within::new(None))
    }
}
