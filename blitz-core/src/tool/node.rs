//! Types of workflow nodes that the host brings: a node is a tool with settings and ports.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::{Tool, ToolContext, ToolError};
use crate::domain::schema::{SchemaCheck, describe};
use crate::domain::{Effect, NodeTypeInfo, ToolSpec};
use crate::error::{Error, Result};

/// A type of workflow nodes that runs code of the host.
pub trait NodeHandler: Send + Sync + 'static {
    /// The name of the type, the schema of its settings, its ports, its effect.
    fn info(&self) -> NodeTypeInfo;

    /// Whether it goes on by itself where its future is dropped: see [`Tool::blocks`].
    fn blocks(&self) -> bool {
        true
    }

    /// Runs one node.
    fn run(
        &self,
        work: NodeWork,
        context: ToolContext,
    ) -> BoxFuture<'static, std::result::Result<NodeOutput, ToolError>>;
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
        // Moved, not written anew: how deep it is nested is looked at later.
        Value::Object(Map::from_iter([
            ("port".to_owned(), Value::String(self.port)),
            ("output".to_owned(), self.output),
        ]))
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

type RunNode =
    dyn Fn(NodeWork, ToolContext) -> BoxFuture<'static, std::result::Result<NodeOutput, ToolError>> + Send + Sync;

impl FunctionNode {
    /// A type of nodes that this function runs.
    pub fn new<F, R>(info: NodeTypeInfo, run: F) -> Self
    where
        F: Fn(NodeWork, ToolContext) -> R + Send + Sync + 'static,
        R: Future<Output = std::result::Result<NodeOutput, ToolError>> + Send + 'static,
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

    fn run(
        &self,
        work: NodeWork,
        context: ToolContext,
    ) -> BoxFuture<'static, std::result::Result<NodeOutput, ToolError>> {
        (self.run)(work, context)
    }
}

/// A type of nodes as the driver calls it: as a tool.
pub(crate) struct NodeTool {
    handler: Arc<dyn NodeHandler>,
    info: NodeTypeInfo,
    config: SchemaCheck,
    input: Option<SchemaCheck>,
}

impl NodeTool {
    /// Prepares a type. Errors: `InvalidInput` for a schema that cannot be used.
    pub(crate) fn new(handler: Arc<dyn NodeHandler>) -> Result<Self> {
        let info = handler.info();
        let config = SchemaCheck::new(&info.config)?;
        let input = info.input.as_ref().map(SchemaCheck::new).transpose()?;
        Ok(Self { handler, info, config, input })
    }

    /// Whether the type takes this. A definition shows settings before their expressions are evaluated, so they are looked
    /// at again here.
    fn admit(&self, work: &NodeWork) -> Result<()> {
        let fits = |check: &SchemaCheck, value: &Value, what: &str| {
            check.check(value).map_err(|problems| Error::invalid(format!("{what}: {}", describe(&problems))))
        };
        fits(&self.config, &work.config, "the settings do not fit")?;
        self.input.as_ref().map_or(Ok(()), |check| fits(check, &work.input, "the input does not fit"))
    }
}

impl Tool for NodeTool {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(self.info.kind.name(), self.info.description.clone(), json!({"type": "object"}))
    }

    fn effect(&self) -> Effect {
        self.info.effect
    }

    fn blocks(&self) -> bool {
        self.handler.blocks()
    }

    fn call(
        &self,
        mut arguments: Value,
        context: ToolContext,
    ) -> BoxFuture<'static, std::result::Result<Value, ToolError>> {
        let mut take = |name: &str| arguments.get_mut(name).map(Value::take).unwrap_or_default();
        let work = NodeWork { config: take("config"), input: take("input") };
        if let Err(error) = self.admit(&work) {
            return Box::pin(std::future::ready(Err(ToolError::typed(error))));
        }
        let run = self.handler.run(work, context);
        Box::pin(async move { run.await.map(NodeOutput::into_value) })
    }
}
