//! A closure as a tool: its argument type gives the schema.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Tool, ToolContext, ToolError};
use crate::domain::{Effect, NewTool, ToolSpec};

/// Makes a tool of an async closure or function whose argument is a struct with a JSON Schema.
///
/// The closure gives a `Result` whose error is a [`ToolError`]; `?` turns every
/// [`std::error::Error`] into one. A second argument, the [`ToolContext`], is optional. A tool that
/// says nothing is `unsafe`: after a crash in the middle of a call it is not run again by itself.
///
/// ```
/// use blitz::tool::{ToolContext, tool_fn};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct AddArgs {
///     a: f64,
///     b: f64,
/// }
///
/// let add = tool_fn!("add", "Add two numbers.", |a: AddArgs| async move { Ok(a.a + a.b) }).pure();
/// let key = tool_fn!("key", "Gives the key.", |_: (), context: ToolContext| async move {
///     Ok(context.idempotency_key)
/// });
/// ```
#[macro_export]
macro_rules! tool_fn {
    ($name:expr, $description:expr, |_: $arguments:ty, $context:ident: $type:ty| $body:expr) => {
        $crate::tool::FunctionTool::with_context($name, $description, |_: $arguments, $context: $type| $body)
    };
    ($name:expr, $description:expr, |$given:ident: $arguments:ty, $context:ident: $type:ty| $body:expr) => {
        $crate::tool::FunctionTool::with_context($name, $description, |$given: $arguments, $context: $type| $body)
    };
    ($name:expr, $description:expr, move |_: $arguments:ty, $context:ident: $type:ty| $body:expr) => {
        $crate::tool::FunctionTool::with_context($name, $description, move |_: $arguments, $context: $type| $body)
    };
    ($name:expr, $description:expr, move |$given:ident: $arguments:ty, $context:ident: $type:ty| $body:expr) => {
        $crate::tool::FunctionTool::with_context($name, $description, move |$given: $arguments, $context: $type| $body)
    };
    ($name:expr, $description:expr, $function:expr) => {
        $crate::tool::FunctionTool::new($name, $description, $function)
    };
}

/// What a function of the host is called by.
type Function = dyn Fn(Value, ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> + Send + Sync;

/// A function of the host as a tool; made by [`tool_fn!`](crate::tool_fn) or the constructors here.
#[derive(Clone)]
pub struct FunctionTool {
    spec: ToolSpec,
    effect: Effect,
    timeout: Duration,
    blocks: bool,
    sequential: bool,
    secrets: BTreeMap<String, String>,
    function: Arc<Function>,
}

impl FunctionTool {
    /// An async function of its arguments.
    pub fn new<A, T, F, Fut>(name: impl Into<String>, description: impl Into<String>, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        T: Serialize,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, ToolError>> + Send + 'static,
    {
        Self::with_context(name, description, move |arguments: A, _: ToolContext| function(arguments))
    }

    /// An async function of its arguments and the context of the call.
    pub fn with_context<A, T, F, Fut>(name: impl Into<String>, description: impl Into<String>, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        T: Serialize,
        F: Fn(A, ToolContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, ToolError>> + Send + 'static,
    {
        let call = move |arguments, context| -> BoxFuture<'static, _> {
            match typed::<A>(arguments) {
                Ok(arguments) => {
                    let future = function(arguments, context);
                    async move { to_json(future.await?) }.boxed()
                }
                Err(error) => std::future::ready(Err(error)).boxed(),
            }
        };
        Self::of(ToolSpec::new(name, description, schema_of::<A>()), call)
    }

    /// A plain function that may block: it runs on the engine's own threads, never on the async ones.
    ///
    /// Past its time limit its result is void, but it is not interrupted: look at `context.cancel`.
    pub fn blocking<A, T, F>(name: impl Into<String>, description: impl Into<String>, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        T: Serialize,
        F: Fn(A, ToolContext) -> Result<T, ToolError> + Send + Sync + 'static,
    {
        let spec = ToolSpec::new(name, description, schema_of::<A>());
        Self::of(spec, off_thread(move |given, context| to_json(function(typed(given)?, context)?))).with_blocking()
    }

    /// An async function over plain JSON, for hosts that make their schemas themselves.
    pub fn from_json_schema<F, Fut>(
        name: impl Into<String>,
        description: impl Into<String>,
        input_schema: Value,
        function: F,
    ) -> Self
    where
        F: Fn(Value, ToolContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, ToolError>> + Send + 'static,
    {
        let spec = ToolSpec::new(name, description, input_schema);
        Self::of(spec, move |arguments, context| function(arguments, context).boxed())
    }

    /// A plain function over plain JSON that may block; see [`FunctionTool::blocking`].
    pub fn blocking_from_json_schema<F>(
        name: impl Into<String>,
        description: impl Into<String>,
        input_schema: Value,
        function: F,
    ) -> Self
    where
        F: Fn(Value, ToolContext) -> Result<Value, ToolError> + Send + Sync + 'static,
    {
        Self::of(ToolSpec::new(name, description, input_schema), off_thread(function)).with_blocking()
    }

    fn of<F>(spec: ToolSpec, function: F) -> Self
    where
        F: Fn(Value, ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> + Send + Sync + 'static,
    {
        let (effect, timeout) = (Effect::Unsafe, NewTool::DEFAULT_TIMEOUT);
        Self {
            spec,
            effect,
            timeout,
            blocks: false,
            sequential: false,
            secrets: BTreeMap::new(),
            function: Arc::new(function),
        }
    }

    /// The same tool, which goes on by itself where its future is dropped: see [`Tool::blocks`].
    pub fn with_blocking(self) -> Self {
        Self { blocks: true, ..self }
    }

    /// The same tool, whose calls by one agent run one after another: see [`Tool::sequential`].
    pub fn sequential(self) -> Self {
        Self { sequential: true, ..self }
    }

    /// The same tool, which gets the secret `name` of `secrets.set` as this argument: see [`NewTool::secrets`].
    pub fn with_secret(mut self, argument: impl Into<String>, name: impl Into<String>) -> Self {
        self.secrets.insert(argument.into(), name.into());
        self
    }

    /// The same tool, known to change nothing: it may run any number of times.
    pub fn pure(self) -> Self {
        self.with_effect(Effect::Pure)
    }

    /// The same tool, known to do the same once or twice under one idempotency key.
    pub fn idempotent(self) -> Self {
        self.with_effect(Effect::Idempotent)
    }

    /// The same tool with an effect class.
    pub fn with_effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
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

    fn blocks(&self) -> bool {
        self.blocks
    }

    fn sequential(&self) -> bool {
        self.sequential
    }

    fn secrets(&self) -> BTreeMap<String, String> {
        self.secrets.clone()
    }

    fn call(&self, arguments: Value, context: ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> {
        (self.function)(arguments, context)
    }
}

impl std::fmt::Debug for FunctionTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionTool").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

fn off_thread<F>(
    function: F,
) -> impl Fn(Value, ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> + Send + Sync + 'static
where
    F: Fn(Value, ToolContext) -> Result<Value, ToolError> + Send + Sync + 'static,
{
    let function = Arc::new(function);
    move |arguments, context| {
        let function = Arc::clone(&function);
        let threads = Arc::clone(&context.threads);
        async move {
            threads
                .run(move || function(arguments, context))
                .await
                .unwrap_or_else(|| Err(ToolError::failed("the tool panicked")))
        }
        .boxed()
    }
}

/// The schema of an argument type: always an object, closed to unknown fields unless the type says otherwise.
pub(super) fn schema_of<A: JsonSchema + 'static>() -> Value {
    let mut schema =
        schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<A>().to_value();
    if is_unit::<A>() {
        return json!({"type": "object", "properties": {}, "additionalProperties": false});
    }
    // A type that takes any JSON has the schema `true`.
    let Some(map) = schema.as_object_mut() else { return json!({"type": "object"}) };
    map.shift_remove("$schema");
    map.shift_remove("title");
    let open = ["additionalProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf", "oneOf"];
    if !open.iter().any(|key| map.contains_key(*key)) {
        map.insert("additionalProperties".into(), json!(false));
    }
    schema
}

/// Arguments as their type. They have passed the schema; a type may be stricter than its schema.
fn typed<A: DeserializeOwned + 'static>(arguments: Value) -> Result<A, ToolError> {
    let arguments = if is_unit::<A>() { Value::Null } else { arguments };
    A::deserialize(arguments).map_err(|error| ToolError::retry(format!("the arguments do not fit: {error}")))
}

/// Whether a tool takes nothing: `()` is null in JSON, while arguments are always an object.
fn is_unit<A: 'static>() -> bool {
    TypeId::of::<A>() == TypeId::of::<()>()
}

fn to_json<T: Serialize>(result: T) -> Result<Value, ToolError> {
    serde_json::to_value(result).map_err(|error| ToolError::failed(format!("the result is no JSON: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, JsonSchema)]
    struct AddArgs {
        /// The first number.
        a: f64,
        b: f64,
    }

    async fn call(tool: &FunctionTool, arguments: Value) -> Result<Value, ToolError> {
        tool.call(arguments, ToolContext::detached("key")).await
    }

    #[tokio::test]
    async fn a_closure_that_only_says_ok_is_a_tool() {
        let add = tool_fn!("add", "Add two numbers.", |a: AddArgs| async move { Ok(a.a + a.b) });
        assert_eq!(call(&add, json!({"a": 2, "b": 3})).await.unwrap(), json!(5.0));
        assert_eq!(
            (add.spec().name.as_str(), add.effect(), add.timeout()),
            ("add", Effect::Unsafe, NewTool::DEFAULT_TIMEOUT)
        );
        let schema = add.spec().input_schema;
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["required"], json!(["a", "b"]));
        assert_eq!(schema["properties"]["a"]["description"], "The first number.");
        assert_eq!(schema["additionalProperties"], false);
    }

    #[tokio::test]
    async fn context_functions_and_question_marks_work() {
        let suffix = "!".to_owned();
        let key = tool_fn!("key", "", move |_: (), context: ToolContext| {
            let suffix = suffix.clone();
            async move { Ok(context.idempotency_key + &suffix) }
        });
        assert_eq!(call(&key, json!({})).await.unwrap(), "key!");
        async fn parse(text: AddArgs) -> Result<i32, ToolError> {
            Ok(format!("{}x", text.a).parse::<i32>()?)
        }
        let parse = tool_fn!("parse", "", parse).idempotent().with_timeout(Duration::from_secs(1));
        assert!(
            matches!(call(&parse, json!({"a": 1, "b": 1})).await, Err(ToolError::Failed(text)) if text.contains("invalid digit"))
        );
        assert_eq!((parse.effect(), parse.timeout()), (Effect::Idempotent, Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn no_arguments_are_an_empty_object() {
        let tool = tool_fn!("now", "", |_: ()| async { Ok("noon") });
        assert_eq!(
            tool.spec().input_schema,
            json!({"type": "object", "properties": {}, "additionalProperties": false})
        );
        assert_eq!(call(&tool, json!({})).await.unwrap(), "noon");
    }

    #[tokio::test]
    async fn blocking_functions_run_on_threads_of_the_engine() {
        let tool =
            FunctionTool::blocking("thread", "", |_: (), _| Ok(std::thread::current().name().map(str::to_owned)));
        assert_eq!(call(&tool, json!({})).await.unwrap(), "blitz-tool");
        let tool = FunctionTool::blocking_from_json_schema("echo", "", json!({"type": "object"}), |given, _| Ok(given));
        assert_eq!(call(&tool, json!({"x": 1})).await.unwrap(), json!({"x": 1}));
        let tool =
            FunctionTool::from_json_schema("echo", "", json!({"type": "object"}), |given, _| async { Ok(given) });
        assert_eq!(call(&tool, json!({"x": 1})).await.unwrap(), json!({"x": 1}));
    }

    #[tokio::test]
    async fn arguments_off_their_type_ask_for_another_try() {
        let add = tool_fn!("add", "", |a: AddArgs| async move { Ok(a.a + a.b) });
        assert!(matches!(call(&add, json!({"a": 2})).await, Err(ToolError::Retry(_))));
    }
}
