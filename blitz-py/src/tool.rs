//! Python functions as tools.

use std::sync::Arc;
use std::time::Duration;

use blitz::tool::{FunctionTool, ToolError};
use blitz::{Effect, NewTool};
use pyo3::prelude::*;
use serde_json::Value;

use crate::call::{Around, Failure, Function, call};
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
                Failure::Fatal(error) => ToolError::Fatal(error),
            })
        }
    };
    FunctionTool::from_json_schema(named.name, named.description, named.input_schema, called)
        .with_effect(named.effect)
        .with_timeout(named.timeout.unwrap_or(NewTool::DEFAULT_TIMEOUT))
}

/// What a tool gets beside its arguments.
#[pyclass(frozen, module = "blitz._native")]
pub(crate) struct ToolContext(blitz::tool::ToolContext);

impl ToolContext {
    pub(crate) fn new(context: blitz::tool::ToolContext) -> Self {
        Self(context)
    }
}

#[pymethods]
impl ToolContext {
    #[getter]
    fn execution_id(&self) -> i64 {
        self.0.execution_id.0
    }

    #[getter]
    fn call_id(&self) -> &str {
        &self.0.call_id
    }

    #[getter]
    fn idempotency_key(&self) -> &str {
        &self.0.idempotency_key
    }

    #[getter]
    fn attempt(&self) -> u32 {
        self.0.attempt
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// The session of whoever called.
    #[getter]
    fn session(&self, py: Python<'_>) -> PyResult<Session> {
        self.0.session().map(Session::new).map_err(|error| crate::error::to_py(py, &error))
    }
}
