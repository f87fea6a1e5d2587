//! So many executions of a workflow and key at a time: the others wait for their turn.

use blitz::{Answer, Engine, ErrorCode, EventData, ExecutionHandle, ExecutionId, ExecutionStatus, RunOptions, Session};
use futures_util::StreamExt as _;
use serde_json::json;

use super::stand::{self, Broken, edges, publish};
use crate::support::folder::Folder;

async fn open(path: &str) -> (Engine, Session) {
    let engine = Engine::open(path).await.unwrap();
    stand::register(&engine, &Broken::default());
    let me = engine.root("test");
    (engine, me)
}

/// A workflow that asks, one at a time for each key.
async fn asks(me: &Session) {
    publish(
        me,
        json!({"name": "asks", "limits": {"max_concurrent": 1}, "nodes": [
            {"id": "s", "type": "start"}, {"id": "ok", "type": "approval"}, {"id": "e", "type": "end"}],
            "edges": edges("s>ok ok.approved>e")}),
    )
    .await;
}

async fn start(me: &Session, key: &str, priority: i32) -> ExecutionHandle {
    let options = RunOptions::default().with_concurrency_key(key).with_priority(priority);
    me.agents().start_with("asks", json!({}), options).await.unwrap()
}

async fn status(me: &Session, id: ExecutionId) -> ExecutionStatus {
    me.executions().get(id).await.unwrap().status
}

/// Answers what an execution asks, once it does.
async fn answer(me: &Session, id: ExecutionId) {
    let mut after = 0;
    loop {
        let mut events = me.executions().events(id, after);
        while let Some(event) = events.next().await {
            let event = event.unwrap();
            after = event.seq;
            if matches!(event.data, EventData::ExecutionWaiting { .. }) {
                break;
            }
        }
        match me.executions().approve(id, "ok", Answer::approve()).await {
            // It was taken up again meanwhile and asks anew.
            Err(error) if error.code() == ErrorCode::Conflict => {}
            other => return other.unwrap(),
        }
    }
}

#[tokio::test]
async fn executions_of_one_key_run_in_turn_the_highest_first() {
    let (_engine, me) = open(":memory:").await;
    asks(&me).await;
    let first = start(&me, "a", 0).await;
    let (late, high, other) = (start(&me, "a", 0).await, start(&me, "a", 5).await, start(&me, "b", 0).await);
    // Another key is another queue.
    answer(&me, other.id()).await;
    other.wait().await.unwrap();
    assert_eq!(
        (status(&me, late.id()).await, status(&me, high.id()).await),
        (ExecutionStatus::Pending, ExecutionStatus::Pending)
    );
    answer(&me, first.id()).await;
    first.wait().await.unwrap();
    answer(&me, high.id()).await;
    assert_eq!(status(&me, late.id()).await, ExecutionStatus::Pending);
    high.wait().await.unwrap();
    answer(&me, late.id()).await;
    let done = late.wait().await.unwrap();
    assert_eq!(done.status, ExecutionStatus::Completed);
    let kinds: Vec<_> = late.events().map(|event| event.unwrap().data.type_name()).take(2).collect().await;
    assert_eq!(kinds, ["execution.queued", "execution.started"]);
}

#[tokio::test]
async fn w33_one_that_is_queued_is_cancelled_before_it_begins() {
    let (_engine, me) = open(":memory:").await;
    asks(&me).await;
    let (first, second, third) = (start(&me, "a", 0).await, start(&me, "a", 0).await, start(&me, "a", 0).await);
    second.cancel().await.unwrap();
    let done = second.wait().await.unwrap();
    assert_eq!((done.status, done.steps), (ExecutionStatus::Cancelled, 0));
    let kinds: Vec<_> = second.events().map(|event| event.unwrap().data.type_name()).collect().await;
    assert!(!kinds.contains(&"execution.started") && kinds.last() == Some(&"execution.finished"), "{kinds:?}");
    answer(&me, first.id()).await;
    answer(&me, third.id()).await;
    assert_eq!(third.wait().await.unwrap().status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn what_is_queued_survives_a_restart_and_keeps_its_turn() {
    let dir = Folder::new();
    let path = dir.path().join("blitz.db");
    let (engine, me) = open(path.to_str().unwrap()).await;
    asks(&me).await;
    let (first, late, high) =
        (start(&me, "a", 0).await.id(), start(&me, "a", 0).await.id(), start(&me, "a", 9).await.id());
    engine.close_within(std::time::Duration::ZERO).await.unwrap();
    let (engine, me) = open(path.to_str().unwrap()).await;
    assert_eq!(engine.recover().await.unwrap(), [first, late, high]);
    assert_eq!(
        (status(&me, late).await, status(&me, high).await),
        (ExecutionStatus::Pending, ExecutionStatus::Pending)
    );
    for id in [first, high, late] {
        answer(&me, id).await;
        assert_eq!(me.executions().wait(id).await.unwrap().status, ExecutionStatus::Completed);
    }
    engine.close().await.unwrap();
}

#[tokio::test]
async fn those_whose_process_is_gone_keep_nobody_else_from_its_turn_however_many_they_are() {
    let dir = Folder::new();
    let path = dir.path().join("blitz.db");
    let (engine, me) = open(path.to_str().unwrap()).await;
    asks(&me).await;
    let first = start(&me, "a", 0).await.id();
    for _ in 0..120 {
        start(&me, "a", 1).await;
    }
    engine.close_within(std::time::Duration::ZERO).await.unwrap();
    let (engine, me) = open(path.to_str().unwrap()).await;
    // One that has begun holds its place while its process is gone: what it does may be in doubt.
    let late = start(&me, "a", 0).await;
    assert_eq!(status(&me, late.id()).await, ExecutionStatus::Pending);
    me.executions().cancel(first).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(40), answer(&me, late.id())).await.expect("its turn comes");
    assert_eq!(late.wait().await.unwrap().status, ExecutionStatus::Completed);
    engine.close_within(std::time::Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn one_behind_another_process_looks_often_for_its_turn() {
    let dir = Folder::new();
    let path = dir.path().join("blitz.db");
    let (one, me) = open(path.to_str().unwrap()).await;
    let (other, they) = open(path.to_str().unwrap()).await;
    asks(&me).await;
    let first = start(&me, "a", 0).await;
    let (theirs, last) = (start(&they, "a", 0).await, start(&me, "a", 0).await);
    // The end of the first tells the other process nothing, nor the last, which is behind that.
    let turns = async {
        answer(&me, first.id()).await;
        answer(&they, theirs.id()).await;
        answer(&me, last.id()).await;
    };
    // Far below the half minute in which one looks that is told.
    tokio::time::timeout(std::time::Duration::from_secs(20), turns).await.expect("it looks by itself");
    assert_eq!(last.wait().await.unwrap().status, ExecutionStatus::Completed);
    one.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn waiting_in_a_queue_through_restarts_is_not_counted_as_taken_up_in_vain() {
    let dir = Folder::new();
    let path = dir.path().join("blitz.db");
    let (engine, me) = open(path.to_str().unwrap()).await;
    asks(&me).await;
    let (_first, waits) = (start(&me, "a", 0).await.id(), start(&me, "a", 0).await.id());
    engine.close_within(std::time::Duration::ZERO).await.unwrap();
    let (engine, me) = open(path.to_str().unwrap()).await;
    engine.recover().await.unwrap();
    assert_eq!(me.executions().get(waits).await.unwrap().resume_attempts, 0);
    engine.close_within(std::time::Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn what_runs_again_waits_for_its_turn_like_any_other() {
    let engine = Engine::open(":memory:").await.unwrap();
    let broken = Broken::default();
    stand::register(&engine, &broken);
    let me = engine.root("test");
    publish(
        &me,
        json!({"name": "asks", "limits": {"max_concurrent": 1}, "nodes": [
            {"id": "s", "type": "start"}, {"id": "w", "type": "work", "config": {"breaks": "w"}},
            {"id": "ok", "type": "approval"}, {"id": "e", "type": "end"}],
            "edges": edges("s>w w>ok ok.approved>e")}),
    )
    .await;
    broken.lock().unwrap().push("w".to_owned());
    let (failed, given_up) = (start(&me, "a", 3).await, start(&me, "a", 0).await);
    for handle in [&failed, &given_up] {
        assert_eq!(handle.wait().await.unwrap().status, ExecutionStatus::Failed);
    }
    broken.lock().unwrap().clear();
    let holds = start(&me, "a", 0).await;
    let rerun = me.executions().rerun(failed.id(), blitz::Rerun::all()).await.unwrap();
    for again in [&failed, &given_up] {
        me.executions().redrive(again.id()).await.unwrap();
    }
    for id in [rerun.id(), failed.id(), given_up.id()] {
        assert_eq!(status(&me, id).await, ExecutionStatus::Pending);
    }
    given_up.cancel().await.unwrap();
    assert_eq!(given_up.wait().await.unwrap().status, ExecutionStatus::Cancelled);
    answer(&me, holds.id()).await;
    // By priority and age, as they were started.
    answer(&me, failed.id()).await;
    assert_eq!(failed.wait().await.unwrap().status, ExecutionStatus::Completed);
    answer(&me, rerun.id()).await;
    assert_eq!(rerun.wait().await.unwrap().status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn progress_counts_items_and_what_is_skipped_and_never_falls() {
    let (_engine, me) = open(":memory:").await;
    publish(
        &me,
        json!({"name": "far", "nodes": [
            {"id": "s", "type": "start"}, {"id": "no", "type": "if", "config": {"expr": "false"}},
            {"id": "left", "type": "work"}, {"id": "out", "type": "work"},
            {"id": "m", "type": "map", "config": {"items": "{{ range(10) }}", "concurrency": 1}},
            {"id": "w", "type": "work", "parent": "m", "config": {"give": 1}}, {"id": "e", "type": "end"}],
            "edges": edges("s>no no.true>left left>out s>m m>e")}),
    )
    .await;
    let done = stand::run(&me, "far", json!({})).await;
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    let events: Vec<_> = me.executions().events(done.execution_id, 0).map(Result::unwrap).collect().await;
    let told: Vec<u32> = events
        .iter()
        .filter_map(|event| match &event.data {
            EventData::NodeFinished(node) => Some(node.progress),
            EventData::ItemFinished(item) => Some(item.progress),
            _ => None,
        })
        .collect();
    assert!(told.is_sorted() && told.first() > Some(&0) && told.last() == Some(&10_000), "{told:?}");
    let items = events.iter().filter_map(|event| match &event.data {
        EventData::ItemFinished(item) => Some(item.progress),
        _ => None,
    });
    let items: Vec<u32> = items.collect();
    assert!(items.windows(2).all(|pair| pair[0] < pair[1]), "each item is a step: {items:?}");
}
