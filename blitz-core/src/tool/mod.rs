//! What runs tools: one port, [`Tool`], implemented by host functions and by the builtins.
//!
//! A tool knows no user, no store and no provider. Its arguments are checked by its schema before
//! it is called; whatever goes wrong in it is told to the model, it does not end the execution.

mod arguments;
pub(crate) mod builtin;
pub(crate) mod function;
pub(crate) mod http;
pub(crate) mod node;
pub(crate) mod permit;
pub(crate) mod pool;
pub(crate) mod registry;

pub use crate::tool_fn;
pub use function::FunctionTool;
pub use http::Egress;
pub use node::{FunctionNode, NodeHandler, NodeOutput, NodeWork};
pub use permit::EffectScope;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::domain::{Effect, ExecutionId, NewTool, OnBehalf, ToolSpec};
use crate::error::Error;
use pool::Pool;

/// Something a model may call.
pub trait Tool: Send + Sync + 'static {
    /// Name, description and argument schema, as a model sees them.
    fn spec(&self) -> ToolSpec;

    /// What happens to the world when it runs.
    fn effect(&self) -> Effect {
        Effect::Unsafe
    }

    /// The time limit of one call.
    fn timeout(&self) -> Duration {
        NewTool::DEFAULT_TIMEOUT
    }

    /// Whether an agent's calls of it run one after another, in the order of the model's.
    fn sequential(&self) -> bool {
        false
    }

    /// Its arguments that are secrets, each with the secret's name: see [`NewTool::secrets`].
    fn secrets(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Whether it goes on by itself where its future is dropped, as code on another thread does.
    ///
    /// A node of a workflow that is stopped waits five seconds for such a call, and not for any other.
    fn blocks(&self) -> bool {
        true
    }

    /// Runs it. The arguments have passed the schema.
    fn call(&self, arguments: Value, context: ToolContext) -> BoxFuture<'static, Result<Value, ToolError>>;
}

/// What a tool gets beside its arguments. Host state comes by closure.
#[non_exhaustive]
#[derive(Clone)]
pub struct ToolContext {
    /// The execution that calls.
    pub execution_id: ExecutionId,
    /// The model's call.
    pub call_id: String,
    /// The same for every attempt of this call, and for no other call: hand it to the service you call.
    pub idempotency_key: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Set when the execution is cancelled or its time is over.
    pub cancel: CancellationToken,
    /// The session of the caller, as the engine keeps it.
    pub(crate) session: Option<Arc<dyn Any + Send + Sync>>,
    /// What the calls count for that are made through that session.
    pub(crate) on_behalf: Option<Arc<OnBehalf>>,
    /// Where signs of life go.
    pub(crate) pulse: Arc<Pulse>,
    /// The engine's threads for what blocks.
    pub(crate) threads: Arc<Pool>,
    /// The call among the effects of the engine.
    pub(crate) scope: EffectScope,
}

/// What a call tells of itself while it runs.
#[derive(Default)]
pub(crate) struct Pulse {
    pub(crate) beat: tokio::sync::Notify,
    /// Shows what it says to whoever reads the events.
    pub(crate) show: Option<Box<dyn Fn(Value) + Send + Sync>>,
}

impl ToolContext {
    /// A context for calling a tool outside an execution, as tests do.
    pub fn detached(idempotency_key: impl Into<String>) -> Self {
        Self {
            execution_id: ExecutionId(0),
            call_id: String::new(),
            idempotency_key: idempotency_key.into(),
            attempt: 1,
            cancel: CancellationToken::new(),
            session: None,
            on_behalf: None,
            pulse: Arc::default(),
            threads: Arc::default(),
            scope: EffectScope::default(),
        }
    }

    /// Says that the call is alive: a node with `heartbeat_s` fails where it is silent for longer.
    pub fn heartbeat(&self) {
        self.pulse.beat.notify_one();
    }

    /// Says how far a node of a workflow has come, to whoever reads its events; it is alive, too.
    ///
    /// It is shown live, as `node.log`, and not kept.
    pub fn log(&self, message: impl Into<Value>) {
        self.heartbeat();
        if let Some(show) = &self.pulse.show {
            show(message.into());
        }
    }
}

/// Why a tool did not give a value.
#[non_exhaustive]
#[derive(Debug)]
pub enum ToolError {
    /// It failed; the model is told this.
    Failed(String),
    /// The model should call again in another way; it is told this hint.
    Retry(String),
    /// It failed with an error of its own: a workflow's retries go by its code, a model is told its message.
    Typed(Box<Error>),
    /// The execution must end.
    Fatal(Box<Error>),
}

impl ToolError {
    /// It failed; the model is told this.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// It failed with an error of its own: a workflow's retries go by its code, a model is told its message.
    pub fn typed(error: Error) -> Self {
        Self::Typed(Box::new(error))
    }

    /// The execution must end.
    pub fn fatal(error: Error) -> Self {
        Self::Fatal(Box::new(error))
    }

    /// The model should call again in another way; it is told this hint.
    pub fn retry(hint: impl Into<String>) -> Self {
        Self::Retry(hint.into())
    }
}

impl<E: std::error::Error> From<E> for ToolError {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}
