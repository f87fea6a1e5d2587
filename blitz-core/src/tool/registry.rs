//! From a tool record to something that runs: argument check by schema, time limit, result cap.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::Value;

use super::arguments;
use super::builtin;
use super::{Tool, ToolContext, ToolError};
use crate::domain::schema::{SchemaCheck, describe};
use crate::domain::{Effect, NewTool, ToolCall, ToolKind, ToolResult, ToolSpec};
use crate::error::{Error, Result};

/// The most bytes of a result that a model is shown.
const MAX_RESULT: usize = 256 << 10;
/// Prepared tools that are kept; more than any catalogue needs at once.
const MAX_PREPARED: usize = 4096;

/// The functions that the host has registered, and the tools that are ready to run.
#[derive(Default)]
pub(crate) struct HostTools {
    functions: RwLock<HashMap<String, Arc<dyn Tool>>>,
    prepared: Mutex<HashMap<String, Arc<PreparedTool>>>,
}

impl HostTools {
    /// Makes a function available under its name; one that was there is replaced.
    pub(crate) fn register(&self, tool: Arc<dyn Tool>) {
        let name = tool.spec().name;
        self.functions.write().unwrap_or_else(PoisonError::into_inner).insert(name, tool);
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The tool of a record, ready to run. `hash` is the record's content hash.
    ///
    /// Errors: `InvalidInput` where the host has not registered the function, or has another one of
    /// that name; where a builtin's settings do not hold.
    pub(crate) fn prepare(&self, hash: &str, record: &NewTool) -> Result<Arc<PreparedTool>> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tool) = prepared.get(hash) {
            return Ok(Arc::clone(tool));
        }
        let tool = Arc::new(PreparedTool::new(record, self)?);
        if prepared.len() >= MAX_PREPARED {
            prepared.clear();
        }
        prepared.insert(hash.to_owned(), Arc::clone(&tool));
        Ok(tool)
    }

    fn function(&self, record: &NewTool) -> Result<Arc<dyn Tool>> {
        let functions = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        let function = functions.get(&record.name).ok_or_else(|| {
            Error::invalid(format!("the tool {:?} is a function that this process has not registered", record.name))
        })?;
        if record.input_schema.as_ref().is_some_and(|schema| *schema != function.spec().input_schema) {
            let message = format!("the function {:?} of this process takes other arguments than its record says", record.name);
            return Err(Error::invalid(message));
        }
        Ok(Arc::clone(function))
    }
}

/// A tool that is ready to run.
pub(crate) struct PreparedTool {
    spec: ToolSpec,
    effect: Effect,
    timeout: Duration,
    check: SchemaCheck,
    tool: Arc<dyn Tool>,
}

/// What came of a call. It is always something that the model can be told.
#[derive(Debug)]
pub(crate) struct ToolOutcome {
    /// What the model is told.
    pub(crate) result: ToolResult,
    /// The tool ends the whole execution.
    pub(crate) fatal: Option<Error>,
}

impl PreparedTool {
    fn new(record: &NewTool, host: &HostTools) -> Result<Self> {
        let tool = match record.kind {
            ToolKind::Function => host.function(record)?,
            ToolKind::Builtin => builtin::prepare(record.builtin.as_deref().unwrap_or(&record.name), &record.config)?,
        };
        let own = tool.spec();
        let description = if record.description.is_empty() { own.description } else { record.description.clone() };
        let spec = ToolSpec::new(record.name.clone(), description, own.input_schema);
        Ok(Self {
            check: SchemaCheck::new(&spec.input_schema)?,
            spec,
            effect: record.effect.unwrap_or_else(|| tool.effect()),
            timeout: record.timeout_ms.map_or_else(|| tool.timeout(), Duration::from_millis),
            tool,
        })
    }

    /// The tool as a model sees it.
    pub(crate) fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// What happens to the world when it runs.
    pub(crate) fn effect(&self) -> Effect {
        self.effect
    }

    /// The arguments of a call, read and checked; else what the model is told.
    pub(crate) fn arguments(&self, call: &ToolCall) -> std::result::Result<Value, ToolResult> {
        let refused = |message: String| ToolResult::error(&call.id, &call.name, message);
        let value = arguments::read(&call.arguments).map_err(&refused)?;
        match self.check.check(&value) {
            Ok(()) => Ok(value),
            Err(problems) => Err(refused(format!("the arguments do not follow the schema: {}", describe(&problems)))),
        }
    }

    /// Runs a call with arguments that were checked. Panics, time-outs and failures become the result.
    pub(crate) async fn run(&self, call: &ToolCall, arguments: Value, context: ToolContext) -> ToolOutcome {
        let cancel = context.cancel.clone();
        let running = AssertUnwindSafe(async { self.tool.call(arguments, context).await });
        let ended = tokio::time::timeout(self.timeout, running.catch_unwind()).await;
        let failed = |message: String| ToolResult::error(&call.id, &call.name, shortened(message));
        let (result, fatal) = match ended {
            Ok(Ok(Ok(value))) => (ToolResult::new(&call.id, &call.name, capped(value)), None),
            Ok(Ok(Err(ToolError::Failed(message)))) => (failed(format!("the tool failed: {message}")), None),
            Ok(Ok(Err(ToolError::Retry(hint)))) => (failed(format!("call it again in another way: {hint}")), None),
            Ok(Ok(Err(ToolError::Fatal(error)))) => (failed("the tool ended the execution".to_owned()), Some(error)),
            Ok(Err(_)) => (failed("the tool panicked".to_owned()), None),
            Err(_) => {
                cancel.cancel();
                (failed(format!("the tool did not answer within {:?}", self.timeout)), None)
            }
        };
        ToolOutcome { result, fatal }
    }
}

/// A result of at most [`MAX_RESULT`] bytes; what is cut off is said.
fn capped(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(shortened(text)),
        other => match other.to_string() {
            text if text.len() > MAX_RESULT => Value::String(shortened(text)),
            _ => other,
        },
    }
}

fn shortened(mut text: String) -> String {
    let whole = text.len();
    if whole > MAX_RESULT {
        let end = (0..=MAX_RESULT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(&format!("\n[cut off: the first {end} of {whole} bytes are shown]"));
    }
    text
}

/// Refuses a tool record that no process could run.
pub(crate) fn validate_tool(record: &NewTool) -> Result<()> {
    let name = &record.name;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err(Error::invalid("a tool's name has 1 to 64 letters, digits, underscores or hyphens"));
    }
    if record.timeout_ms == Some(0) {
        return Err(Error::invalid("timeout_ms must be at least 1"));
    }
    match (record.kind, &record.input_schema) {
        (ToolKind::Builtin, Some(_)) => Err(Error::invalid("a builtin has its own input_schema: leave it out")),
        (ToolKind::Builtin, None) => {
            builtin::prepare(record.builtin.as_deref().unwrap_or(name), &record.config).map(drop)
        }
        (ToolKind::Function, _) if !record.config.is_empty() || record.builtin.is_some() => {
            Err(Error::invalid("config and builtin are for tools of the kind builtin"))
        }
        (ToolKind::Function, None) => Err(Error::invalid("a function needs an input_schema")),
        (ToolKind::Function, Some(schema)) => {
            if schema.get("type").and_then(Value::as_str) != Some("object") {
                return Err(Error::invalid("the input_schema of a tool must have the type object at its root"));
            }
            SchemaCheck::new(schema).map(drop)
        }
    }
}

#[cfg(test)]
mod tests;
