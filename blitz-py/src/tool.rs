//! Python functions as tools.

use std::sync::{Arc, Weak};
use std::time::Duration;

use blitz::tool::{FunctionTool, ToolError};
use blitz::{Effect, NewTool};
use pyo3::prelude::*;
use serde_json::Value;

use crate::call::{Around, Failure, Function, Job, call};
use crate::session::Session;

/// What a tool is put with.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) input_schema: Value,
    pub(crate) effect: Effect,
    pub(crate) timeout: Option<Duration>,
}

/// The tool that a Python function is.
pub(crate) fn tool(named: Named, function: Function) -> FunctionTool {
    let function = Arc::new(function);
    let called = move |arguments: Value, context| {
        let called = call(Arc::clone(&function), arguments, Around { context: Some(context), model: None });
        async move {
            called.await.map_err(|failure| match failure {
                Failure::Failed(message) => ToolError::Failed(message),
                Failure::Retry(hint) => ToolError::Retry(hint),
                Failure::Fatal(error) => ToolError::fatal(error),
            })
        }
    };
    FunctionTool::from_json_schema(named.name, named.description, named.input_schema, called)
        .with_blocking()
        .with_effect(named.effect)
        .with_timeout(named.timeout.unwrap_or(NewTool::DEFAULT_TIMEOUT))
}

/// What a tool gets beside its arguments.
#[pyclass(frozen, module = "blitz._native")]
pub(crate) struct ToolContext {
    context: blitz::tool::ToolContext,
    /// Gone once the function has returned.
    job: Weak<Job>,
}

impl ToolContext {
    pub(crate) fn new(context: blitz::tool::ToolContext, job: Weak<Job>) -> Self {
        Self { context, job }
    }
}

#[pymethods]
impl ToolContext {
    #[getter]
    fn execution_id(&self) -> i64 {
        self.context.execution_id.0
    }

    #[getter]
    fn call_id(&self) -> &str {
        &self.context.call_id
    }

    #[getter]
    fn idempotency_key(&self) -> &str {
        &self.context.idempotency_key
    }

    #[getter]
    fn attempt(&self) -> u32 {
        self.context.attempt
    }

    #[getter]
    fn cancelled(&self) -> bool {
        // Nobody waits any more where the engine was closed, too.
        self.context.cancel.is_cancelled() || !self.job.upgrade().is_some_and(|job| job.is_wanted())
    }

    /// The session of whoever called.
    #[getter]
    fn session(&self, py: Python<'_>) -> PyResult<Session> {
        self.context.session().map(Session::new).map_err(|error| crate::error::to_py(py, &error))
    }
}
