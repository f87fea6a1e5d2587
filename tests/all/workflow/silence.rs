//! Nodes that say that they are alive, and nodes that do not.

use std::time::{Duration, Instant};

use blitz::tool::{FunctionNode, NodeOutput};
use blitz::{Engine, ErrorCode, EventData, ExecutionStatus, NodeStatus, NodeTypeInfo, Session};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::stand::{self, edges, publish};
use crate::support::engine::scripted;

/// An engine with nodes `hang`: one that beats goes on, one that does not hangs for good on its first attempt.
async fn engine() -> (Engine, Session) {
    let (engine, me, _) = scripted(vec![]).await;
    let node = FunctionNode::new(NodeTypeInfo::host("hang", "Hangs."), |work, context| async move {
        if work.config["beats"] == true {
            for beat in 0..6 {
                tokio::time::sleep(Duration::from_millis(300)).await;
                context.log(json!({"beat": beat}));
            }
        } else if context.attempt == 1 {
            std::future::pending::<()>().await;
        }
        Ok(NodeOutput::new(json!(context.attempt)))
    });
    engine.register_node(node).unwrap();
    (engine, me)
}

fn flow(name: &str, config: Value, retry: Value) -> Value {
    json!({"name": name, "nodes": [
        {"id": "s", "type": "start"},
        {"id": "h", "type": "hang", "config": config, "heartbeat_s": 1, "retry": retry},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.h.output }}"}}],
        "edges": edges("s>h h>e")})
}

#[tokio::test]
async fn a_silent_node_fails_and_one_that_beats_does_not() {
    let (_engine, me) = engine().await;
    publish(&me, flow("silent", json!({}), json!(null))).await;
    let silent = stand::run(&me, "silent", json!({})).await;
    assert_eq!(silent.error.unwrap().code, ErrorCode::Heartbeat);
    publish(&me, flow("again", json!({}), json!({"max_attempts": 2, "initial_ms": 1, "on": ["heartbeat"]}))).await;
    assert_eq!(stand::run(&me, "again", json!({})).await.output, json!(2));
    publish(&me, flow("beats", json!({"beats": true}), json!(null))).await;
    let mut events = me.stream("beats", json!({})).await.unwrap();
    let (mut said, mut last) = (Vec::new(), None);
    while let Some(event) = events.next().await {
        match event.unwrap().data {
            EventData::NodeLog { node, message, .. } => said.push((node, message)),
            EventData::ExecutionFinished(finished) => last = Some(finished.output),
            _ => {}
        }
    }
    assert_eq!(last, Some(json!(1)));
    assert_eq!(said.first(), Some(&("h".to_owned(), json!({"beat": 0}))));
}

#[tokio::test]
async fn w33_an_async_node_that_hangs_does_not_hold_a_cancelled_execution() {
    let (_engine, me) = engine().await;
    let mut flow = flow("held", json!({}), json!(null));
    flow["nodes"][1].as_object_mut().unwrap().remove("heartbeat_s");
    publish(&me, flow).await;
    let handle = me.start("held", json!({})).await.unwrap();
    let mut events = handle.events();
    while !matches!(events.next().await.unwrap().unwrap().data, EventData::NodeStarted(node) if node.node == "h") {}
    let asked = Instant::now();
    handle.cancel().await.unwrap();
    assert_eq!(handle.wait().await.unwrap().status, ExecutionStatus::Cancelled);
    assert!(asked.elapsed() < Duration::from_secs(4), "the grace is for what blocks");
    let nodes = me.executions().nodes(handle.id(), "").await.unwrap();
    assert_eq!(nodes.iter().find(|node| node.node == "h").unwrap().status, NodeStatus::Cancelled);
}
