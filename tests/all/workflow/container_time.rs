//! `timeout_s` of a container: the time that it may take as a whole.

use std::time::Duration;

use blitz::{Answer, Engine, ErrorCode, EventData, ExecutionStatus, NodeStatus};
use serde_json::{Value, json};

use super::stage::{Gates, by_id, edges, end, engine, journal, run, start, until};
use crate::support::folder::Folder;

/// A container of a kind with a second, in which a node waits at the door `door`.
fn slow(name: &str, kind: &str, more: Value) -> Value {
    let config = match kind {
        "map" => json!({"items": "{{ [1, 2, 3] }}", "concurrency": 2, "fail": "null"}),
        "loop" => json!({"max_iterations": 2}),
        _ => json!({}),
    };
    let mut container = json!({"id": "c", "type": kind, "config": config, "timeout_s": 1});
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"name": name, "nodes": [{"id": "s", "type": "start"}, container,
        {"id": "g", "type": "gate", "parent": "c", "config": {"name": "door", "give": 1}},
        {"id": "after", "type": "template", "parent": "c", "config": {"template": "x"}},
        {"id": "e", "type": "end", "config": {"output": "done"}}],
        "edges": edges("s>c c>e g>after")})
}

#[tokio::test]
async fn a_container_whose_time_is_over_ends_with_all_that_runs_in_it() {
    let (engine, me, _) = engine().await;
    let _gates = Gates::new(&engine);
    for kind in ["map", "loop", "parallel"] {
        let done = run(&me, slow(kind, kind, json!({})), json!({})).await;
        let error = done.error.unwrap();
        assert_eq!((done.status, error.code), (ExecutionStatus::Failed, ErrorCode::Timeout), "{kind}: {error:?}");
        assert_eq!(error.message, "the node took longer than its 1 s");
        // A handled one lets the others go on.
        let taken = format!("{kind}2");
        let done = run(&me, slow(&taken, kind, json!({"on_error": "continue"})), json!({})).await;
        assert_eq!((done.status, &done.output), (ExecutionStatus::Completed, &json!("done")), "{kind}");
        let events = journal(&me, done.execution_id).await;
        let ended = |node: &str| {
            let of = |data: &EventData| match data {
                EventData::NodeFinished(finished) if finished.node == node => Some(finished.status),
                _ => None,
            };
            events.iter().filter_map(|event| of(&event.data)).collect::<Vec<_>>()
        };
        let width = if kind == "map" { 2 } else { 1 };
        assert_eq!((ended("g"), ended("c")), (vec![NodeStatus::Cancelled; width], vec![NodeStatus::Failed]), "{kind}");
        assert_eq!(ended("after"), [], "nothing more is begun");
        let kinds = events.iter().filter(|event| event.data.type_name() == "node.expired").count();
        assert_eq!(kinds, 1);
    }
}

#[tokio::test]
async fn a_container_in_time_leaves_no_clock_behind() {
    let (engine, me, _) = engine().await;
    let gates = Gates::new(&engine);
    gates.open("door");
    let mut definition = slow("quick", "map", json!({"timeout_s": 3600}));
    let nodes = definition["nodes"].as_array_mut().unwrap();
    nodes.extend([
        json!({"id": "ask", "type": "approval", "timeout_s": 3600}),
        json!({"id": "more", "type": "approval"}),
    ]);
    definition["edges"] = edges("s>c c>ask ask.approved>more more.approved>e g>after");
    let handle = start(&me, definition, json!({})).await;
    for key in ["ask", "more"] {
        let waits = until(&me, handle.id(), |execution| json!(execution.waiting_for).to_string().contains(key)).await;
        assert_eq!(waits.waiting_for.len(), 1, "{:?}", waits.waiting_for);
        me.executions().approve(handle.id(), key, Answer::approve()).await.unwrap();
    }
    assert_eq!(end(&handle).await.status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn the_time_of_a_container_goes_on_while_its_process_is_gone_and_begins_anew_by_a_redrive() {
    let dir = Folder::new();
    let path = dir.path().join("blitz.db");
    let open = async || {
        let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
        let gates = Gates::new(&engine);
        let me = engine.root("test");
        (engine, me, gates)
    };
    let (engine, me, gates) = open().await;
    let mut definition = slow("lasting", "map", json!({"timeout_s": 2}));
    definition["nodes"][2]["effect"] = json!("idempotent");
    let handle = start(&me, definition, json!({})).await;
    gates.reached("door", 2).await;
    engine.close_within(Duration::ZERO).await.unwrap();

    let (engine, me, _gates) = open().await;
    assert_eq!(engine.recover().await.unwrap(), [handle.id()]);
    let done = me.executions().wait(handle.id()).await.unwrap();
    assert_eq!(done.error.unwrap().code, ErrorCode::Timeout);
    engine.close().await.unwrap();

    let (engine, me, gates) = open().await;
    gates.open("door");
    me.executions().redrive(handle.id()).await.unwrap();
    let done = me.executions().wait(handle.id()).await.unwrap();
    assert_eq!((done.status, &done.output), (ExecutionStatus::Completed, &json!("done")), "{:?}", done.error);
    assert_eq!(by_id(&me, handle.id()).await["c"], NodeStatus::Completed);
    engine.close().await.unwrap();
}
