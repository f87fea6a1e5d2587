//! A Rust closure as a tool: `tool_fn!`, schema from types.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Tool, ToolContext, ToolError};
use crate::domain::{Effect, NewTool, ToolSpec};

type Call = dyn Fn(Value, ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> + Send + Sync;

/// A function of the host as a tool. [`tool_fn!`](crate::tool_fn) makes one.
#[derive(Clone)]
pub struct FunctionTool {
    spec: ToolSpec,
    effect: Effect,
    timeout: Duration,
    call: Arc<Call>,
}

impl FunctionTool {
    /// A tool of an async function; the schema of its arguments follows from their type.
    ///
    /// The function's error is a [`ToolError`], so `?` works on every error; the model is told its
    /// message. Without a stated effect it is `unsafe`: after a crash it waits for a decision.
    pub fn new<A, T, F, R>(name: impl Into<String>, description: impl Into<String>, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        T: Serialize + Send + 'static,
        F: Fn(A, ToolContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, ToolError>> + Send + 'static,
    {
        let schema = schema_of::<A>();
        let unit = schema.get("type") == Some(&json!("null"));
        let schema = if unit { json!({"type": "object", "properties": {}, "additionalProperties": false}) } else { schema };
        let call = move |arguments: Value, context: ToolContext| -> BoxFuture<'static, Result<Value, ToolError>> {
            let arguments = if unit { Value::Null } else { arguments };
            let running = serde_json::from_value(arguments).map(|arguments| function(arguments, context));
            Box::pin(async move {
                let value = running.map_err(|error| ToolError::Retry(format!("the arguments do not fit: {error}")))?.await?;
                serde_json::to_value(value).map_err(|error| ToolError::Failed(format!("the result has no JSON form: {error}")))
            })
        };
        Self::with_call(ToolSpec::new(name, description, schema), Arc::new(call))
    }

    /// A tool of a function over JSON, with a schema of its own: for hosts that make tools at run time.
    pub fn from_json_schema<F, R>(name: impl Into<String>, description: impl Into<String>, schema: Value, function: F) -> Self
    where
        F: Fn(Value, ToolContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, ToolError>> + Send + 'static,
    {
        let call = move |arguments, context| -> BoxFuture<'static, _> { Box::pin(function(arguments, context)) };
        Self::with_call(ToolSpec::new(name, description, schema), Arc::new(call))
    }

    fn with_call(spec: ToolSpec, call: Arc<Call>) -> Self {
        Self { spec, effect: Effect::Unsafe, timeout: NewTool::DEFAULT_TIMEOUT, call }
    }

    /// The same tool as one without any effect: it may run any number of times.
    pub fn pure(self) -> Self {
        Self { effect: Effect::Pure, ..self }
    }

    /// The same tool as one that may run twice under the same idempotency key.
    pub fn idempotent(self) -> Self {
        Self { effect: Effect::Idempotent, ..self }
    }

    /// The same tool with another time limit of one call.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl Tool for FunctionTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn call(&self, arguments: Value, context: ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> {
        (self.call)(arguments, context)
    }
}

impl std::fmt::Debug for FunctionTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionTool").field("name", &self.spec.name).field("effect", &self.effect).finish_non_exhaustive()
    }
}

/// The schema of a type, without what no model needs.
fn schema_of<A: JsonSchema>() -> Value {
    let mut schema = schemars::schema_for!(A).to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
        schema.remove("title");
    }
    schema
}

/// Makes a [`FunctionTool`](crate::tool::FunctionTool) of an async closure.
///
/// The argument's type gives the schema: any type with serde's `Deserialize` and schemars'
/// `JsonSchema`. The closure may take a [`ToolContext`](crate::tool::ToolContext) beside it.
///
/// ```
/// use blitz::tool_fn;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct AddArgs { a: f64, b: f64 }
///
/// let add = tool_fn!("add", "Add two numbers.", |args: AddArgs| async move { Ok(args.a + args.b) }).pure();
/// let keyed = tool_fn!("pay", "Pay an amount.", |args: AddArgs, context| async move {
///     Ok(format!("{} under {}", args.a, context.idempotency_key))
/// });
/// # let _ = (add, keyed);
/// ```
#[macro_export]
macro_rules! tool_fn {
    ($name:expr, $description:expr, |$args:tt : $type:ty $(,)?| $body:expr $(,)?) => {
        $crate::tool::FunctionTool::new($name, $description, move |$args: $type, _: $crate::tool::ToolContext| $body)
    };
    ($name:expr, $description:expr, |$args:tt : $type:ty, $context:tt $(: $context_type:ty)? $(,)?| $body:expr $(,)?) => {
        $crate::tool::FunctionTool::new($name, $description, move |$args: $type, $context: $crate::tool::ToolContext| $body)
    };
}
