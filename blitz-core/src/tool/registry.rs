//! From a tool record to something that runs: argument check by schema, time limit, result cap.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;

use super::builtin::Builtin;
use super::{Tool, ToolContext, ToolError, arguments};
use crate::domain::schema::{SchemaCheck, can_be_kept, describe};
use crate::domain::{Effect, NewTool, ToolCall, ToolKind, ToolResult, ToolSpec};
use crate::error::{Error, Result};

/// The most bytes of a result that a model is shown.
const MAX_RESULT: usize = 256 * 1024;
/// The most characters of a tool's name, as providers bound it.
const MAX_NAME: usize = 64;
/// The longest time limit of one call: a day.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Prepared tools that are kept; more than any catalogue needs at once.
const MAX_PREPARED: usize = 4096;

/// The functions that the host has registered in this process, and the tools that are ready to run.
#[derive(Default)]
pub(crate) struct HostTools {
    functions: RwLock<BTreeMap<String, Arc<dyn Tool>>>,
    /// Counts the registrations.
    generation: AtomicU64,
    /// By the content hash of the record.
    prepared: Mutex<HashMap<String, Arc<PreparedTool>>>,
}

impl HostTools {
    /// Registers a function under its own name, in place of an earlier one.
    pub(crate) fn register(&self, tool: Arc<dyn Tool>) {
        let name = tool.spec().name;
        let replaced = self.functions.write().unwrap_or_else(PoisonError::into_inner).insert(name, tool);
        let prepared = std::mem::take(&mut *self.prepared.lock().unwrap_or_else(PoisonError::into_inner));
        self.generation.fetch_add(1, Ordering::Release);
        // What goes with them may be a destructor of the host's that calls the engine: no lock is held here.
        drop((replaced, prepared));
    }

    /// Counts the registrations: what was prepared at one count holds while it lasts.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The tool of a record with this content hash, ready to run.
    ///
    /// Errors: `InvalidInput` where it is a function that this process has not registered, or has
    /// registered with other arguments, and where a builtin's settings do not hold.
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
            let message =
                format!("the function {:?} of this process takes other arguments than its record says", record.name);
            return Err(Error::invalid(message));
        }
        Ok(Arc::clone(function))
    }
}

/// What one call gave. There is always a result: whatever went wrong is told to the model.
#[derive(Debug)]
pub(crate) struct ToolOutcome {
    /// For the model.
    pub(crate) result: ToolResult,
    /// Set where the tool says that the execution must end.
    pub(crate) fatal: Option<Error>,
}

/// A tool record with its code, ready to be called.
pub(crate) struct PreparedTool {
    tool: Arc<dyn Tool>,
    check: SchemaCheck,
    spec: ToolSpec,
    effect: Effect,
    timeout: Duration,
}

impl PreparedTool {
    /// Finds a record's code. The record's name, description, effect and time limit win.
    fn new(record: &NewTool, host: &HostTools) -> Result<Self> {
        let tool = match record.kind {
            ToolKind::Builtin => Builtin::of(record)?.open(&record.config)?,
            ToolKind::Function => host.function(record)?,
        };
        let own = tool.spec();
        let description = if record.description.is_empty() { own.description } else { record.description.clone() };
        Ok(Self {
            check: SchemaCheck::new(&own.input_schema)?,
            effect: record.effect.unwrap_or(tool.effect()),
            timeout: if record.timeout_ms.is_some() { record.timeout() } else { tool.timeout() },
            spec: ToolSpec::new(&record.name, description, own.input_schema),
            tool,
        })
    }

    /// Name, description and schema, as a model sees them.
    pub(crate) fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// What happens to the world when it runs.
    pub(crate) fn effect(&self) -> Effect {
        self.effect
    }

    /// The arguments that a call means. Errors: what is wrong with them, for the model.
    pub(crate) fn arguments(&self, call: &ToolCall) -> Result<Value, String> {
        let value = arguments::parse(&call.arguments)?;
        self.check.check(&value).map_err(|problems| format!("the arguments do not fit: {}", describe(&problems)))?;
        Ok(value)
    }

    /// Runs one call with arguments that were checked: time limited, panics caught, result capped.
    ///
    /// Dropping the future drops the tool's. `context.cancel` of the tool is a child of the given one
    /// and is set when the time is over.
    pub(crate) async fn run(&self, call: &ToolCall, arguments: Value, context: ToolContext) -> ToolOutcome {
        match self.call(arguments, context).await {
            Ok(content) if !can_be_kept(&content) => failure(call, "the tool's result is nested too deep to be used"),
            Ok(content) => ToolOutcome { result: ToolResult::new(&call.id, &call.name, capped(content)), fatal: None },
            Err(ToolError::Failed(message) | ToolError::Retry(message)) => failure(call, message),
            Err(ToolError::Fatal(error)) => ToolOutcome { fatal: Some(error), ..failure(call, "the tool gave up") },
        }
    }

    async fn call(&self, arguments: Value, mut context: ToolContext) -> Result<Value, ToolError> {
        let cancel = context.cancel.child_token();
        context.cancel = cancel.clone();
        let tool = Arc::clone(&self.tool);
        // The tool's own code begins inside, so that a panic before its first await is caught too.
        let work = AssertUnwindSafe(async move { tool.call(arguments, context).await }).catch_unwind();
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ToolError::failed("the tool panicked")),
            Err(_) => {
                cancel.cancel();
                Err(ToolError::failed(format!("the tool timed out after {} ms", self.timeout.as_millis())))
            }
        }
    }
}

impl std::fmt::Debug for PreparedTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedTool").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

/// Whether a model can be offered something under this name.
pub(crate) fn is_callable(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(plain)
}

/// Whether a tool may be put into the catalogue. Errors: `InvalidInput`, saying what to change.
pub(crate) fn validate_tool(tool: &NewTool) -> Result<()> {
    if !is_callable(&tool.name) {
        return Err(Error::invalid(format!("a tool's name is 1 to {MAX_NAME} of the characters A-Z a-z 0-9 _ -")));
    }
    if tool.timeout().is_zero() || tool.timeout() > MAX_TIMEOUT {
        return Err(Error::invalid("timeout_ms is between 1 and 86400000"));
    }
    match tool.kind {
        ToolKind::Function => validate_function(tool),
        ToolKind::Builtin if tool.input_schema.is_some() => Err(Error::invalid("a builtin has its own input_schema")),
        ToolKind::Builtin => Builtin::of(tool)?.check(&tool.config),
    }
}

fn validate_function(tool: &NewTool) -> Result<()> {
    if tool.builtin.is_some() || !tool.config.is_empty() {
        return Err(Error::invalid("builtin and config are for kind builtin"));
    }
    let schema = tool.input_schema.as_ref().ok_or_else(|| Error::invalid("a function needs an input_schema"))?;
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(Error::invalid("input_schema must have type object at its root"));
    }
    SchemaCheck::new(schema).map(drop)
}

fn failure(call: &ToolCall, message: impl Into<String>) -> ToolOutcome {
    let mut result = ToolResult::error(&call.id, &call.name, message);
    result.content = capped(result.content);
    ToolOutcome { result, fatal: None }
}

/// A result as it is, or its beginning with a note where it is too long for a model.
fn capped(content: Value) -> Value {
    let text = match &content {
        Value::String(text) if text.len() <= MAX_RESULT => return content,
        Value::String(text) => text,
        Value::Array(_) | Value::Object(_) => &content.to_string(),
        _ => return content,
    };
    if text.len() <= MAX_RESULT {
        return content;
    }
    let shown = &text[..text.floor_char_boundary(MAX_RESULT)];
    Value::String(format!("{shown}\n[cut: the first {} of {} bytes are shown]", shown.len(), text.len()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
