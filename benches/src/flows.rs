//! Workflows whose nodes are functions of this process: their steps cost what the engine costs.

use std::path::Path;
use std::sync::Arc;

use blitz::tool::{FunctionNode, NodeOutput};
use blitz::{Durability, Effect, Engine, ExecutionStatus, NodeTypeInfo, Session};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Result;

/// What a workflow looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Ten nodes, one behind the other.
    Sequence,
    /// A hundred nodes side by side.
    FanOut,
    /// A map of so many items, with one node in its body.
    Map(u64),
}

impl Shape {
    /// Nodes that call the host in one execution.
    pub fn steps(self) -> u64 {
        match self {
            Self::Sequence => 10,
            Self::FanOut => 100,
            Self::Map(items) => items,
        }
    }

    fn definition(self) -> Value {
        let step = |id: String| json!({"id": id, "type": "step", "config": {"n": 1}});
        let mut nodes = vec![json!({"id": "s", "type": "start"})];
        let mut edges = Vec::new();
        match self {
            Self::Sequence => {
                let mut from = "s".to_owned();
                for number in 0..self.steps() {
                    let id = format!("n{number}");
                    edges.push(json!({"from": from, "to": id}));
                    nodes.push(step(id.clone()));
                    from = id;
                }
            }
            Self::FanOut => {
                for number in 0..self.steps() {
                    let id = format!("n{number}");
                    edges.push(json!({"from": "s", "to": id}));
                    nodes.push(step(id));
                }
            }
            Self::Map(_) => {
                nodes.push(json!({"id": "m", "type": "map", "config": {"items": "{{ inputs.items }}"}}));
                let mut body = step("n".to_owned());
                body["parent"] = json!("m");
                nodes.push(body);
                edges.push(json!({"from": "s", "to": "m"}));
            }
        }
        json!({"name": "flow", "nodes": nodes, "edges": edges, "limits": {"max_parallel": 100, "max_nodes": 200}})
    }

    fn input(self) -> Value {
        match self {
            Self::Map(items) => json!({"items": (0..items).collect::<Vec<u64>>()}),
            _ => json!({}),
        }
    }
}

/// An engine on a file with one workflow of a shape.
pub struct Flows {
    me: Session,
    engine: Engine,
    shape: Shape,
}

impl Flows {
    /// In a folder.
    pub async fn open(folder: &Path, shape: Shape, durability: Durability) -> Result<Arc<Self>> {
        let path = folder.join("blitz.db");
        let path = path.to_str().ok_or("the folder's name is not UTF-8")?;
        let engine = Engine::builder(path).with_durability(durability).open().await?;
        let info = NodeTypeInfo::host("step", "Takes a step.").with_effect(Effect::Idempotent);
        engine.register_node(FunctionNode::new(info, |work, _| async move { Ok(NodeOutput::new(work.config)) }))?;
        let me = engine.root("benchmark");
        me.call("workflows.put", shape.definition()).await?;
        Ok(Arc::new(Self { me, engine, shape }))
    }

    /// Runs the workflow once.
    pub async fn execution(&self) -> Result<()> {
        let done = self.me.run("flow", self.shape.input()).await?;
        match done.status {
            ExecutionStatus::Completed => Ok(()),
            status => Err(format!("an execution ended as {}: {:?}", status.name(), done.error).into()),
        }
    }

    /// Runs it so many times, `at_once` of them side by side.
    pub async fn executions(self: &Arc<Self>, at_once: u64, share: u64) -> Result<()> {
        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        for _ in 0..at_once {
            let flows = Arc::clone(self);
            tasks.spawn(async move {
                for _ in 0..share {
                    flows.execution().await?;
                }
                Ok(())
            });
        }
        tasks.join_all().await.into_iter().collect()
    }

    /// Ends the engine.
    pub async fn close(&self) -> Result<()> {
        Ok(self.engine.close().await?)
    }
}
