//! What follows at once, however much it is: it is written in parts, and looked up from between them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use blitz::tool::{FunctionNode, NodeOutput};
use blitz::{Engine, ErrorCode, EventData, ExecutionHandle, ExecutionStatus, NodeStatus, NodeTypeInfo, Session};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::stage::{by_id, edges, end, engine, journal, run, start, until};

/// A container of nodes that do nothing in the world, so that all of it follows at once.
fn pure(name: &str, kind: &str, count: u32, more: Value) -> Value {
    let config = match kind {
        "map" => json!({"items": format!("{{{{ range({count}) | list }}}}")}),
        _ => json!({"max_iterations": count}),
    };
    let mut container = json!({"id": "m", "type": kind, "config": config});
    container.as_object_mut().unwrap().extend(more["node"].as_object().cloned().unwrap_or_default());
    json!({"name": name, "limits": more.get("limits").cloned().unwrap_or(json!({})), "nodes": [
        {"id": "s", "type": "start"}, container, {"id": "w", "type": "code", "parent": "m", "config": {"expr": "1"}},
        {"id": "e", "type": "end", "config": {"output": "over"}}], "edges": edges("s>m m>e")})
}

/// Waits until somebody can read that the first item has ended.
async fn under_way(handle: &ExecutionHandle) {
    let mut events = handle.events();
    let first = async {
        while let Some(event) = events.next().await {
            if matches!(event.unwrap().data, EventData::ItemFinished(_)) {
                return;
            }
        }
        panic!("it ended without an item");
    };
    tokio::time::timeout(Duration::from_secs(30), first).await.expect("an item ends");
}

fn items(events: &[blitz::Event]) -> usize {
    events.iter().filter(|event| matches!(event.data, EventData::ItemFinished(_))).count()
}

#[tokio::test]
async fn w24_a_map_or_loop_of_pure_nodes_is_cancelled_in_its_middle() {
    let (_engine, me, _) = engine().await;
    for kind in ["map", "loop"] {
        let handle = start(&me, pure(kind, kind, 20_000, json!({})), json!({})).await;
        under_way(&handle).await;
        handle.cancel().await.unwrap();
        assert_eq!(end(&handle).await.status, ExecutionStatus::Cancelled, "{kind}");
        let ended = items(&journal(&me, handle.id()).await);
        assert!(ended < 20_000, "{kind}: all of its {ended} items ran");
        let states = by_id(&me, handle.id()).await;
        assert_eq!((states["m"], states["e"]), (NodeStatus::Cancelled, NodeStatus::NotRun), "{kind}");
    }
}

#[tokio::test]
async fn others_run_while_a_map_of_pure_nodes_does() {
    let (_engine, me, _) = engine().await;
    let small = json!({"name": "small", "nodes": [{"id": "c", "type": "code", "config": {"expr": "2"}}], "edges": []});
    let handle = start(&me, pure("large", "map", 20_000, json!({})), json!({})).await;
    under_way(&handle).await;
    assert_eq!(run(&me, small, json!({})).await.output, json!(2));
    assert_eq!(me.executions().get(handle.id()).await.unwrap().status, ExecutionStatus::Running);
    handle.cancel().await.unwrap();
    end(&handle).await;
}

#[tokio::test]
async fn the_time_of_an_execution_and_of_a_container_ends_a_map_of_pure_nodes() {
    let (_engine, me, _) = engine().await;
    let late = pure("late", "map", 60_000, json!({"limits": {"timeout_s": 1}}));
    let handle = start(&me, late, json!({})).await;
    let done = end(&handle).await;
    assert_eq!((done.status, done.error.unwrap().code), (ExecutionStatus::Failed, ErrorCode::LimitExceeded));
    assert!(items(&journal(&me, handle.id()).await) < 60_000);
    for kind in ["map", "loop"] {
        let slow =
            pure(&format!("slow_{kind}"), kind, 60_000, json!({"node": {"timeout_s": 1, "on_error": "continue"}}));
        let handle = start(&me, slow, json!({})).await;
        let done = end(&handle).await;
        assert_eq!((done.status, done.output), (ExecutionStatus::Completed, json!("over")), "{kind}");
        let container = me.executions().nodes(handle.id(), "").await.unwrap().remove(1);
        assert_eq!(container.error.unwrap().code, ErrorCode::Timeout, "{kind}");
    }
}

#[tokio::test]
async fn what_waits_beside_a_map_of_pure_nodes_goes_on_meanwhile() {
    let (_engine, me, seen) = engine().await;
    let mut definition = pure("beside", "map", 20_000, json!({}));
    let nodes = definition["nodes"].as_array_mut().unwrap();
    nodes.push(json!({"id": "a", "type": "work", "config": {"give": 1, "ms": 1}}));
    nodes.push(json!({"id": "b", "type": "work", "config": {"give": 2}}));
    definition["edges"] = edges("s>a a>b s>m m>e");
    let handle = start(&me, definition, json!({})).await;
    until(&me, handle.id(), |_| seen.lock().unwrap().len() == 2).await;
    assert_eq!(me.executions().get(handle.id()).await.unwrap().status, ExecutionStatus::Running);
    handle.cancel().await.unwrap();
    end(&handle).await;
}

/// A map of 1,000 items at once, and a node beside it. Each node works as it is told.
fn crowd(max_parallel: u32, item: Value, beside: Value) -> Value {
    json!({"name": "crowd", "limits": {"max_parallel": max_parallel}, "nodes": [
        {"id": "b", "type": "work", "config": beside},
        {"id": "m", "type": "map", "config": {"items": "{{ range(1000) | list }}", "concurrency": 1000}},
        {"id": "w", "type": "work", "parent": "m", "config": item},
        {"id": "e", "type": "end"}], "edges": edges("m>e")})
}

#[tokio::test]
async fn w24_nothing_begins_whose_node_is_stopped_however_many_are() {
    let (_engine, me, seen) = engine().await;
    let done = run(&me, crowd(10, json!({"fail": "invalid_input"}), json!({})), json!({})).await;
    assert_eq!(done.status, ExecutionStatus::Failed);
    let events = journal(&me, done.execution_id).await;
    let failed = |event: &blitz::Event| matches!(&event.data, EventData::ItemFinished(item) if item.status == NodeStatus::Failed);
    let stopped = events.iter().position(failed).expect("an item fails");
    let begins =
        |event: &&blitz::Event| matches!(&event.data, EventData::NodeStarted(started) if started.items.is_none());
    assert_eq!(events[stopped..].iter().filter(begins).count(), 0);
    assert_eq!(events.iter().filter(begins).count(), seen.lock().unwrap().len());
}

#[tokio::test]
async fn w24_that_an_item_began_is_told_before_how_it_ended() {
    let (_engine, me, _) = engine().await;
    // It fails, and with it all else, before most items have begun.
    let done = run(&me, crowd(1000, json!({}), json!({"fail": "invalid_input"})), json!({})).await;
    assert_eq!(done.status, ExecutionStatus::Failed);
    let mut began = BTreeSet::new();
    let (mut ended, events) = (0, journal(&me, done.execution_id).await);
    for event in &events {
        match &event.data {
            EventData::ItemStarted { .. } => assert!(began.insert(event.path.as_str()), "{} began twice", event.path),
            EventData::NodeFinished(finished) if finished.node == "w" => {
                assert!(began.contains(event.path.as_str()), "{} ended and had not begun", event.path);
                ended += 1;
            }
            _ => {}
        }
    }
    assert_eq!((began.len(), ended), (1000, 1000));
}

/// An engine whose nodes of type `last` wait for each other, so many of them; the last one cancels their execution
/// before any of them is heard of.
async fn all_at_once(count: usize) -> (Engine, Session) {
    let (engine, me, _) = engine().await;
    let come = Arc::new(watch::Sender::new(0));
    let (session, ended) = (me.clone(), Arc::new(AtomicUsize::new(0)));
    let node = FunctionNode::new(NodeTypeInfo::host("last", "Ends last."), move |_, context| {
        let (come, ended, session) = (Arc::clone(&come), Arc::clone(&ended), session.clone());
        async move {
            come.send_modify(|come| *come += 1);
            come.subscribe().wait_for(|come| *come == count).await.unwrap();
            if ended.fetch_add(1, Ordering::SeqCst) + 1 == count {
                // On a thread of its own: until it is done, nothing else runs on this one.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let cancel = move || runtime.block_on(session.executions().cancel(context.execution_id));
                std::thread::spawn(cancel).join().unwrap().unwrap();
            }
            Ok(NodeOutput::new(1))
        }
    });
    engine.register_node(node).unwrap();
    (engine, me)
}

/// On one thread: what is heard at once does not depend on its luck.
#[tokio::test]
async fn w33_a_stop_behind_more_ends_than_a_turn_has_room_for_is_not_lost() {
    let (_engine, me) = all_at_once(600).await;
    let definition = json!({"name": "wide", "limits": {"max_parallel": 600}, "nodes": [
        {"id": "m", "type": "map", "config": {"items": "{{ range(600) | list }}"}},
        {"id": "l", "type": "last", "parent": "m"}, {"id": "e", "type": "end"}], "edges": edges("m>e")});
    let handle = start(&me, definition, json!({})).await;
    assert_eq!(end(&handle).await.status, ExecutionStatus::Cancelled);
    let ends = |event: &blitz::Event| matches!(event.data, EventData::ExecutionFinished(_));
    assert_eq!(journal(&me, handle.id()).await.iter().filter(|event| ends(event)).count(), 1);
}
