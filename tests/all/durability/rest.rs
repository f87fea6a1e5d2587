//! Executions that rest while they wait: their drivers are gone, and nobody notices.

use std::time::Duration;

use blitz::{Answer, Engine, Event, EventData, ExecutionHandle, ExecutionId, ExecutionStatus, Session};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::canary::Log;
use crate::support::folder::Folder;

const ASKS_TWICE: &str = r#"{"name": "asks", "nodes": [
    {"id": "s", "type": "start"}, {"id": "t", "type": "template", "config": {"template": "Pay {{ inputs.n }}?"}},
    {"id": "a", "type": "approval", "config": {"message": "{{ nodes.t.output }}"}},
    {"id": "b", "type": "approval", "config": {"message": "Really?"}},
    {"id": "e", "type": "end", "config": {"output": "{{ nodes.t.output }} {{ nodes.a.output.option }}"}}],
    "edges": [{"from": "s", "to": "t"}, {"from": "t", "to": "a"}, {"from": "a", "out": "approved", "to": "b"},
        {"from": "a", "out": "rejected", "to": "e"}, {"from": "b", "out": "approved", "to": "e"},
        {"from": "b", "out": "rejected", "to": "e"}]}"#;

async fn open(path: &str) -> (Engine, Session) {
    Log::read();
    let engine = Engine::open(path).await.unwrap();
    let me = engine.root("test");
    let definition: Value = serde_json::from_str(ASKS_TWICE).unwrap();
    me.call("workflows.put", definition).await.unwrap();
    (engine, me)
}

/// How often an execution of this process went to rest.
fn rests(id: ExecutionId) -> usize {
    let log = Log::read().text();
    let line = format!("message=the execution rests\nexecution={}\n", id.0);
    log.matches(&line).count()
}

async fn until_it_rests(id: ExecutionId, times: usize) {
    while rests(id) < times {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn end_of(handle: &ExecutionHandle) -> (ExecutionStatus, Value) {
    let done = handle.wait().await.unwrap();
    (done.status, done.output)
}

#[tokio::test]
async fn one_that_waits_for_people_rests_and_goes_on_where_it_was() {
    let (_engine, me) = open(":memory:").await;
    let handle = me.start("asks", json!({"n": 5})).await.unwrap();
    let reader = handle.events();
    let id = handle.id();
    for (key, times) in [("a", 1), ("b", 2)] {
        until_it_rests(id, times).await;
        assert_eq!(me.executions().get(id).await.unwrap().status, ExecutionStatus::Waiting);
        me.executions().approve(id, key, Answer::approve()).await.unwrap();
    }
    assert_eq!(end_of(&handle).await, (ExecutionStatus::Completed, json!("Pay 5? approved")));

    let read: Vec<Event> = reader.map(Result::unwrap).collect().await;
    let kept: Vec<Event> = me.executions().events(id, 0).map(Result::unwrap).collect().await;
    let seqs = |events: &[Event]| events.iter().map(|event| event.seq).filter(|seq| *seq > 0).collect::<Vec<_>>();
    assert_eq!(seqs(&read), seqs(&kept), "whoever reads along misses nothing and gets nothing twice");
    let told = |of: fn(&EventData) -> bool| kept.iter().filter(|event| of(&event.data)).count();
    assert_eq!(told(|data| matches!(data, EventData::ExecutionResumed { .. })), 0, "no record says that it rested");
    assert_eq!(told(|data| matches!(data, EventData::ExecutionWaiting { .. })), 2, "it is told once that it waits");
    assert_eq!(told(|data| matches!(data, EventData::ApprovalRequested(_))), 2);
}

/// Its records are many, so it rests only once it has been idle for a while.
#[tokio::test]
async fn one_with_a_long_journal_rests_when_it_has_been_idle_and_goes_on_where_it_was() {
    let (_engine, me) = open(":memory:").await;
    let definition = json!({"name": "long", "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": (0..40).collect::<Vec<u32>>()}},
        {"id": "t", "type": "template", "parent": "m", "config": {"template": "{{ item }}"}},
        {"id": "a", "type": "approval", "config": {"message": "Go on?"}},
        {"id": "b", "type": "approval", "config": {"message": "Really?"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.m.output | length }}"}}],
        "edges": [{"from": "s", "to": "m"}, {"from": "m", "to": "a"}, {"from": "a", "out": "approved", "to": "b"},
            {"from": "b", "out": "approved", "to": "e"}]});
    me.call("workflows.put", definition).await.unwrap();
    let handle = me.start("long", json!({})).await.unwrap();
    let id = handle.id();
    for (key, times) in [("a", 1), ("b", 2)] {
        until_it_rests(id, times).await;
        let waits = me.executions().get(id).await.unwrap();
        assert_eq!((waits.status, waits.waiting_for.len()), (ExecutionStatus::Waiting, 1));
        me.executions().approve(id, key, Answer::approve()).await.unwrap();
    }
    assert_eq!(end_of(&handle).await, (ExecutionStatus::Completed, json!(40)));
    let kept: Vec<Event> = me.executions().events(id, 0).map(Result::unwrap).collect().await;
    let asked = kept.iter().find(|event| matches!(event.data, EventData::ApprovalRequested(_))).unwrap();
    assert!(asked.seq > 64, "its journal was long when it rested: {}", asked.seq);
}

#[tokio::test]
async fn one_that_rests_is_cancelled_at_once() {
    let (_engine, me) = open(":memory:").await;
    let handle = me.start("asks", json!({"n": 1})).await.unwrap();
    until_it_rests(handle.id(), 1).await;
    handle.cancel().await.unwrap();
    assert_eq!(end_of(&handle).await.0, ExecutionStatus::Cancelled);
    assert!(me.executions().get(handle.id()).await.unwrap().waiting_for.is_empty());
}

#[tokio::test]
async fn many_that_rest_are_answered_all_at_once() {
    let (_engine, me) = open(":memory:").await;
    let mut handles = Vec::new();
    for n in 0..50 {
        handles.push(me.start("asks", json!({"n": n})).await.unwrap());
    }
    for handle in &handles {
        until_it_rests(handle.id(), 1).await;
    }
    let answers = handles.iter().map(|handle| {
        let (me, id) = (me.clone(), handle.id());
        async move { me.executions().approve(id, "a", Answer::reject()).await }
    });
    for answered in futures_util::future::join_all(answers).await {
        answered.unwrap();
    }
    for (n, handle) in handles.iter().enumerate() {
        assert_eq!(end_of(handle).await, (ExecutionStatus::Completed, json!(format!("Pay {n}? rejected"))));
    }
}

#[tokio::test]
async fn one_that_rested_when_its_process_ended_is_taken_up_by_the_next() {
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let path = path.to_str().unwrap();
    let (engine, me) = open(path).await;
    let handle = me.start("asks", json!({"n": 7})).await.unwrap();
    let id = handle.id();
    until_it_rests(id, 1).await;
    engine.close_within(Duration::ZERO).await.unwrap();
    drop((engine, me, handle));

    let (engine, me) = open(path).await;
    me.executions().approve(id, "a", Answer::approve()).await.unwrap();
    assert_eq!(engine.recover().await.unwrap(), [id]);
    until_it_rests(id, 2).await;
    me.executions().approve(id, "b", Answer::reject()).await.unwrap();
    let events: Vec<Event> = me.executions().events(id, 0).map(Result::unwrap).collect().await;
    let Some(EventData::ExecutionFinished(finished)) = events.last().map(|event| &event.data) else {
        panic!("{events:?}")
    };
    assert_eq!((finished.status, &finished.output), (ExecutionStatus::Completed, &json!("Pay 7? approved")));
}
