//! Python functions as tools.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use blitz::tool::{FunctionNode, FunctionTool, NodeOutput, ToolError};
use blitz::{Effect, NewTool, NodeTypeInfo};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::call::{Around, Failure, Function, Job, call};
use crate::convert::to_json;
use crate::session::Session;

/// What a tool is put with.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) input_schema: Value,
    pub(crate) effect: Effect,
    pub(crate) timeout: Option<Duration>,
    pub(crate) sequential: bool,
    pub(crate) secrets: BTreeMap<String, String>,
}

/// The tool that a Python function is.
pub(crate) fn tool(named: Named, function: Function) -> FunctionTool {
    let function = Arc::new(function);
    let called = move |arguments: Value, context| {
        let called = call(Arc::clone(&function), arguments, Around { context: Some(context), model: None });
        async move { called.await.map_err(failed) }
    };
    let tool = FunctionTool::from_json_schema(named.name, named.description, named.input_schema, called)
        .with_blocking()
        .with_effect(named.effect)
        .with_timeout(named.timeout.unwrap_or(NewTool::DEFAULT_TIMEOUT));
    let secrets = named.secrets.into_iter();
    let tool = secrets.fold(tool, |tool, (argument, secret)| tool.with_secret(argument, secret));
    if named.sequential { tool.sequential() } else { tool }
}

/// The type of workflow nodes that a Python function is. It gets settings and input, and gives `{port, output}`.
pub(crate) fn node(info: NodeTypeInfo, function: Function) -> FunctionNode {
    let function = Arc::new(function);
    FunctionNode::new(info, move |work, context| {
        let work = json!({"config": work.config, "input": work.input});
        let called = call(Arc::clone(&function), work, Around { context: Some(context), model: None });
        async move {
            let mut given = called.await.map_err(failed)?;
            let output = given.get_mut("output").map(Value::take).unwrap_or_default();
            Ok(NodeOutput::by(given["port"].as_str().unwrap_or("out"), output))
        }
    })
}

fn failed(failure: Failure) -> ToolError {
    match failure {
        Failure::Failed(message) => ToolError::Failed(message),
        Failure::Retry(hint) => ToolError::Retry(hint),
        Failure::Typed(error) => ToolError::typed(error),
        Failure::Fatal(error) => ToolError::fatal(error),
    }
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

    fn heartbeat(&self) {
        self.context.heartbeat();
    }

    fn log(&self, message: &Bound<'_, PyAny>) -> PyResult<()> {
        self.context.log(to_json(message, "the message")?);
        Ok(())
    }

    /// The session of whoever called.
    #[getter]
    fn session(&self, py: Python<'_>) -> PyResult<Session> {
        self.context.session().map(Session::new).map_err(|error| crate::error::to_py(py, &error))
    }
}
