//! Types of workflow nodes that the host brings: a node is a tool with settings and ports.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{Tool, ToolContext, ToolError};
use crate::domain::{Effect, NodeTypeInfo, ToolSpec};

/// A type of workflow nodes that runs code of the host.
pub trait NodeHandler: Send + Sync + 'static {
    /// The name of the type, the schema of its settings, its ports, its effect.
    fn info(&self) -> NodeTypeInfo;

    /// Whether it goes on by itself where its future is dropped: see [`Tool::blocks`].
    fn blocks(&self) -> bool {
        true
    }

    /// Runs one node.
    fn run(&self, work: NodeWork, context: ToolContext) -> BoxFuture<'static, Result<NodeOutput, ToolError>>;
}

/// What a node is given.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct NodeWork {
    /// Its settings, their expressions evaluated.
    pub config: Value,
    /// Its input.
    pub input: Value,
}

/// What a node gives.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct NodeOutput {
    /// The port it leaves by.
    pub port: String,
    /// Its output.
    pub output: Value,
}

impl NodeOutput {
    /// By the usual port, `out`.
    pub fn new(output: impl Into<Value>) -> Self {
        Self::by("out", output)
    }

    /// By one of its ports.
    pub fn by(port: impl Into<String>, output: impl Into<Value>) -> Self {
        Self { port: port.into(), output: output.into() }
    }

    /// As a tool gives it.
    fn into_value(self) -> Value {
        json!({"port": self.port, "output": self.output})
    }

    /// What a node's tool gave.
    pub(crate) fn from_value(mut value: Value) -> Self {
        let port = value.get("port").and_then(Value::as_str).unwrap_or("out").to_owned();
        Self { port, output: value.get_mut("output").map(Value::take).unwrap_or_default() }
    }
}

impl<V: Into<Value>> From<V> for NodeOutput {
    fn from(output: V) -> Self {
        Self::new(output)
    }
}

/// A type of nodes made of an asynchronous function.
///
/// ```
/// use blitz::tool::FunctionNode;
/// use blitz::NodeTypeInfo;
/// use serde_json::{Value, json};
///
/// let words = FunctionNode::new(NodeTypeInfo::host("words", "Counts words."), |work, _context| async move {
///     let text = work.input["text"].as_str().unwrap_or_default().to_owned();
///     Ok(json!({"words": text.split_whitespace().count()}).into())
/// });
/// ```
pub struct FunctionNode {
    info: NodeTypeInfo,
    run: Box<RunNode>,
}

type RunNode = dyn Fn(NodeWork, ToolContext) -> BoxFuture<'static, Result<NodeOutput, ToolError>> + Send + Sync;

impl FunctionNode {
    /// A type of nodes that this function runs.
    pub fn new<F, R>(info: NodeTypeInfo, run: F) -> Self
    where
        F: Fn(NodeWork, ToolContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<NodeOutput, ToolError>> + Send + 'static,
    {
        Self { info, run: Box::new(move |work, context| Box::pin(run(work, context))) }
    }
}

impl NodeHandler for FunctionNode {
    fn info(&self) -> NodeTypeInfo {
        self.info.clone()
    }

    fn blocks(&self) -> bool {
        false
    }

    fn run(&self, work: NodeWork, context: ToolContext) -> BoxFuture<'static, Result<NodeOutput, ToolError>> {
        (self.run)(work, context)
    }
}

/// A type of nodes as the driver calls it: as a tool.
pub(crate) struct NodeTool(pub(crate) Arc<dyn NodeHandler>);

impl Tool for NodeTool {
    fn spec(&self) -> ToolSpec {
        let info = self.0.info();
        ToolSpec::new(info.kind.name(), info.description, json!({"type": "object"}))
    }

    fn effect(&self) -> Effect {
        self.0.info().effect
    }

    fn blocks(&self) -> bool {
        self.0.blocks()
    }

    fn call(&self, mut arguments: Value, context: ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> {
        let mut take = |name: &str| arguments.get_mut(name).map(Value::take).unwrap_or_default();
        let work = NodeWork { config: take("config"), input: take("input") };
        let run = self.0.run(work, context);
        Box::pin(async move { run.await.map(NodeOutput::into_value) })
    }
}
