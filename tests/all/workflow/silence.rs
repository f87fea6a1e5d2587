//! Nodes that say that they are alive, and nodes that do not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use blitz::tool::{FunctionNode, FunctionTool, NodeOutput};
use blitz::{Engine, ErrorCode, EventData, ExecutionStatus, NodeStatus, NodeTypeInfo, Session};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::stand::{self, edges, publish};
use crate::support::engine::scripted;

/// No arguments.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

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
async fn what_blocks_in_one_engine_holds_up_no_other() {
    let (_one, me, _) = scripted(vec![]).await;
    let (_two, other, _) = scripted(vec![]).await;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let hangs = FunctionTool::blocking("hangs", "Blocks until it is let go.", move |_: Nothing, _| {
        released.lock().unwrap().recv().ok();
        Ok(json!("done"))
    });
    me.tools().register(hangs.idempotent()).await.unwrap();
    other
        .tools()
        .register(FunctionTool::blocking("quick", "Blocks for a moment.", |_: Nothing, _| Ok(json!("quick"))))
        .await
        .unwrap();
    // More calls than there are threads for such tools: all of them are taken, and some wait.
    let items: Vec<u32> = (0..100).collect();
    let all = json!({"name": "all", "limits": {"max_parallel": 100}, "nodes": [
        {"id": "m", "type": "map", "config": {"items": items, "concurrency": 100}},
        {"id": "t", "type": "tool", "parent": "m", "config": {"tool": "hangs"}, "input": {}}]});
    publish(&me, all).await;
    let handle = me.start("all", json!({})).await.unwrap();
    let mut events = handle.events();
    let mut began = 0;
    while began < 100 {
        began += u32::from(
            matches!(events.next().await.unwrap().unwrap().data, EventData::NodeStarted(node) if node.node == "t"),
        );
    }
    publish(
        &other,
        json!({"name": "one", "nodes": [{"id": "t", "type": "tool", "config": {"tool": "quick"}, "input": {}}]}),
    )
    .await;
    assert_eq!(stand::run(&other, "one", json!({})).await.output, json!("quick"));
    drop(release);
    assert_eq!(handle.wait().await.unwrap().status, ExecutionStatus::Completed);
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

#[tokio::test]
async fn w33_a_blocking_node_ends_by_itself_in_its_grace() {
    let (_engine, me, _) = scripted(vec![]).await;
    let (hears, heard) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let cleaned = Arc::new(AtomicBool::new(false));
    let clean = Arc::clone(&cleaned);
    let tool = FunctionTool::blocking("tidy", "Tidies up once it is asked to end.", move |_: Nothing, context| {
        while !context.cancel.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        hears.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        clean.store(true, Ordering::SeqCst);
        Ok(json!("tidy"))
    });
    me.tools().register(tool).await.unwrap();
    publish(
        &me,
        json!({"name": "tidies", "nodes": [{"id": "s", "type": "start"},
            {"id": "t", "type": "tool", "config": {"tool": "tidy"}, "input": {}}], "edges": edges("s>t")}),
    )
    .await;
    let handle = me.start("tidies", json!({})).await.unwrap();
    let mut events = handle.events();
    while !matches!(events.next().await.unwrap().unwrap().data, EventData::NodeStarted(node) if node.node == "t") {}
    handle.cancel().await.unwrap();
    tokio::task::spawn_blocking(move || heard.recv().unwrap()).await.unwrap();
    let execution = me.executions().get(handle.id()).await.unwrap();
    assert!(!execution.status.is_final(), "it is waited for: {execution:?}");
    release.send(()).unwrap();
    assert_eq!(handle.wait().await.unwrap().status, ExecutionStatus::Cancelled);
    assert!(cleaned.load(Ordering::SeqCst), "it came to its own end");
    let nodes = me.executions().nodes(handle.id(), "").await.unwrap();
    assert_eq!(nodes.iter().find(|node| node.node == "t").unwrap().status, NodeStatus::Cancelled);
}
