//! From a tool record to something that runs: argument check by schema, time limit, result cap.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;

use super::builtin::Builtin;
use super::http::{Egress, HttpTool, Reading};
use super::node::{NodeHandler, NodeTool};
use super::{Tool, ToolContext, ToolError, arguments};
use crate::domain::schema::{SchemaCheck, can_be_kept, describe, discard};
use crate::domain::{Effect, NewTool, NodeTypeInfo, ToolCall, ToolKind, ToolResult, ToolSpec};
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
    /// Where HTTP calls may go.
    egress: RwLock<Egress>,
    /// Types of workflow nodes.
    nodes: RwLock<BTreeMap<String, Arc<dyn NodeHandler>>>,
    /// Whether no function is kept any more.
    closed: AtomicBool,
    /// Counts the registrations.
    generation: AtomicU64,
    /// By the content hash of the record.
    prepared: Mutex<HashMap<String, Arc<PreparedTool>>>,
}

impl HostTools {
    /// Registers a function under its own name, in place of an earlier one.
    pub(crate) fn register(&self, tool: Arc<dyn Tool>) {
        let name = tool.spec().name;
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        let gone = if self.closed.load(Ordering::Acquire) { Some(tool) } else { functions.insert(name, tool) };
        drop(functions);
        // The host's destructors may come here again: they run while nothing is locked.
        drop((gone, self.changed()));
    }

    /// Lets go of all functions, for good.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let gone = std::mem::take(&mut *self.functions.write().unwrap_or_else(PoisonError::into_inner));
        let nodes = std::mem::take(&mut *self.nodes.write().unwrap_or_else(PoisonError::into_inner));
        drop((gone, nodes, self.changed()));
    }

    /// Counts a change, and takes out what was prepared before it.
    fn changed(&self) -> HashMap<String, Arc<PreparedTool>> {
        let mut prepared = self.prepared();
        self.generation.fetch_add(1, Ordering::Release);
        std::mem::take(&mut *prepared)
    }

    fn prepared(&self) -> MutexGuard<'_, HashMap<String, Arc<PreparedTool>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a type of workflow nodes, in place of an earlier one of its name.
    ///
    /// Errors: `InvalidInput` where the engine has a type of this name, or it is no name.
    pub(crate) fn register_node(&self, node: Arc<dyn NodeHandler>) -> Result<()> {
        let info = node.info();
        let name = info.kind.name().to_owned();
        if info.kind.is_builtin() || !is_callable(&name) {
            let message =
                format!("a type of nodes has a name of its own, 1 to {MAX_NAME} of the characters A-Z a-z 0-9 _ -");
            return Err(Error::invalid(message));
        }
        NodeTool::new(Arc::clone(&node))?;
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        let gone = if self.closed.load(Ordering::Acquire) { Some(node) } else { nodes.insert(name, node) };
        drop(nodes);
        // The host's destructors may come here again: they run while nothing is locked.
        drop((gone, self.changed()));
        Ok(())
    }

    /// Says where the HTTP calls of nodes may go.
    pub(crate) fn allow_egress(&self, egress: Egress) {
        *self.egress.write().unwrap_or_else(PoisonError::into_inner) = egress;
    }

    /// What sends the requests of an HTTP node.
    pub(crate) fn http(&self, reading: Reading) -> Result<Arc<PreparedTool>> {
        let egress = self.egress.read().unwrap_or_else(PoisonError::into_inner).clone();
        PreparedTool::plain(Arc::new(HttpTool::new(&egress, reading))).map(Arc::new)
    }

    /// The types of nodes that the host registered.
    pub(crate) fn node_types(&self) -> Vec<NodeTypeInfo> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).values().map(|node| node.info()).collect()
    }

    /// A type of nodes, ready to run.
    ///
    /// Errors: `InvalidInput` where this process has not registered it.
    pub(crate) fn node(&self, name: &str) -> Result<Arc<PreparedTool>> {
        let node = self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let node = node.ok_or_else(|| {
            Error::invalid(format!("nodes of the type {name:?} need code that this process has not registered"))
        })?;
        PreparedTool::plain(Arc::new(NodeTool::new(node)?)).map(Arc::new)
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
        let found = self.prepared().get(hash).cloned();
        if let Some(tool) = found {
            return Ok(tool);
        }
        // The host's own code is asked here: nothing is locked.
        let generation = self.generation();
        let tool = Arc::new(PreparedTool::new(record, self)?);
        let mut prepared = self.prepared();
        if self.generation() != generation {
            return Ok(tool);
        }
        let full = if prepared.len() >= MAX_PREPARED { std::mem::take(&mut *prepared) } else { HashMap::new() };
        let replaced = prepared.insert(hash.to_owned(), Arc::clone(&tool));
        drop(prepared);
        drop((full, replaced));
        Ok(tool)
    }

    fn function(&self, record: &NewTool) -> Result<Arc<dyn Tool>> {
        let function = self.functions.read().unwrap_or_else(PoisonError::into_inner).get(&record.name).cloned();
        let function = function.ok_or_else(|| {
            Error::invalid(format!("the tool {:?} is a function that this process has not registered", record.name))
        })?;
        if record.input_schema.as_ref().is_some_and(|schema| *schema != function.spec().input_schema) {
            let message =
                format!("the function {:?} of this process takes other arguments than its record says", record.name);
            return Err(Error::invalid(message));
        }
        Ok(function)
    }
}

/// What one call gave. There is always a result: whatever went wrong is told to the model.
#[derive(Debug)]
pub(crate) struct ToolOutcome {
    /// For the model.
    pub(crate) result: ToolResult,
    /// Set where the tool says that the execution must end.
    pub(crate) fatal: Option<Error>,
    /// What went wrong, where it is more than that the tool failed: for a node of a workflow.
    pub(crate) error: Option<Error>,
}

/// A tool record with its code, ready to be called.
pub(crate) struct PreparedTool {
    tool: Arc<dyn Tool>,
    check: SchemaCheck,
    spec: ToolSpec,
    effect: Effect,
    timeout: Duration,
    sequential: bool,
    /// Arguments that are filled in at the call, with the names of their secrets.
    secrets: BTreeMap<String, String>,
}

impl PreparedTool {
    /// Finds a record's code. The record's name, description, effect and time limit win.
    fn new(record: &NewTool, host: &HostTools) -> Result<Self> {
        let tool = match record.kind {
            ToolKind::Builtin => Builtin::of(record)?.open(&record.config)?,
            ToolKind::Function => host.function(record)?,
        };
        let own = tool.spec();
        let schema = without(own.input_schema, &record.secrets);
        let description = if record.description.is_empty() { own.description } else { record.description.clone() };
        Ok(Self {
            check: SchemaCheck::new(&schema)?,
            effect: record.effect.unwrap_or(tool.effect()),
            timeout: if record.timeout_ms.is_some() { record.timeout() } else { tool.timeout() },
            sequential: record.sequential || tool.sequential(),
            spec: ToolSpec::new(&record.name, description, schema),
            secrets: record.secrets.clone(),
            tool,
        })
    }

    /// A tool that is in no catalogue. Its node's time limit holds.
    pub(crate) fn plain(tool: Arc<dyn Tool>) -> Result<Self> {
        let spec = tool.spec();
        let check = SchemaCheck::new(&spec.input_schema)?;
        let (effect, sequential, secrets) = (tool.effect(), tool.sequential(), BTreeMap::new());
        Ok(Self { check, effect, timeout: MAX_TIMEOUT, sequential, secrets, spec, tool })
    }

    /// Name, description and schema, as a model sees them.
    pub(crate) fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// What happens to the world when it runs.
    pub(crate) fn effect(&self) -> Effect {
        self.effect
    }

    /// Whether an agent's calls of it run one after another.
    pub(crate) fn sequential(&self) -> bool {
        self.sequential
    }

    /// Arguments that are filled in at the call, with the names of their secrets.
    pub(crate) fn secrets(&self) -> &BTreeMap<String, String> {
        &self.secrets
    }

    /// Whether it goes on by itself where its future is dropped.
    pub(crate) fn blocks(&self) -> bool {
        self.tool.blocks()
    }

    /// The arguments that a call means. Errors: what is wrong with them, for the model.
    pub(crate) fn arguments(&self, call: &ToolCall) -> Result<Value, String> {
        let value = arguments::parse(&call.arguments)?;
        self.check.check(&value).map_err(|problems| format!("the arguments do not fit: {}", describe(&problems)))?;
        Ok(value)
    }

    /// Whether arguments fit. Errors: what is wrong with them.
    pub(crate) fn admit(&self, arguments: &Value) -> Result<(), String> {
        self.check.check(arguments).map_err(|problems| format!("the arguments do not fit: {}", describe(&problems)))
    }

    /// Runs one call with arguments that were checked: time limited, panics caught. The result is whole:
    /// see [`for_a_model`].
    ///
    /// Dropping the future drops the tool's. `context.cancel` of the tool is a child of the given one
    /// and is set when the time is over.
    pub(crate) async fn run(&self, call: &ToolCall, arguments: Value, context: ToolContext) -> ToolOutcome {
        match self.call(arguments, context).await {
            Ok(content) if !can_be_kept(&content) => {
                discard(content);
                let error = Error::too_large("the tool's result is nested too deep to be used");
                ToolOutcome { error: Some(error), ..failure(call, "the tool's result is nested too deep to be used") }
            }
            Ok(content) => {
                ToolOutcome { result: ToolResult::new(&call.id, &call.name, content), fatal: None, error: None }
            }
            Err(ToolError::Failed(message) | ToolError::Retry(message)) => failure(call, message),
            Err(ToolError::Typed(error)) => {
                let outcome = failure(call, error.chain());
                ToolOutcome { error: Some(*error), ..outcome }
            }
            Err(ToolError::Fatal(error)) => ToolOutcome { fatal: Some(*error), ..failure(call, "the tool gave up") },
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
                let message = format!("the tool timed out after {} ms", self.timeout.as_millis());
                Err(ToolError::typed(Error::timeout(message)))
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
        ToolKind::Builtin if !tool.secrets.is_empty() => Err(Error::invalid("a builtin takes no secrets")),
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
    let takes = |argument: &String| schema.pointer("/properties").is_some_and(|all| all.get(argument).is_some());
    if !tool.secrets.keys().all(takes) {
        return Err(Error::invalid("secrets: each stands for one of the properties of input_schema"));
    }
    SchemaCheck::new(schema).map(drop)
}

/// A schema as a model sees it: what it does not give is not there.
fn without(mut schema: Value, secrets: &BTreeMap<String, String>) -> Value {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !secrets.contains_key(name));
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !name.as_str().is_some_and(|name| secrets.contains_key(name)));
    }
    schema
}

fn failure(call: &ToolCall, message: impl Into<String>) -> ToolOutcome {
    let result = for_a_model(ToolResult::error(&call.id, &call.name, message));
    ToolOutcome { result, fatal: None, error: None }
}

/// The result as a model reads it: one that is too long is its beginning with a note.
pub(crate) fn for_a_model(mut result: ToolResult) -> ToolResult {
    result.content = capped(result.content);
    result
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
