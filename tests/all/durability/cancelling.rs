//! The end can be asked for at every stage of an execution's life.

use std::time::Duration;

use blitz::{ErrorCode, ExecutionFilter, ExecutionStatus, ListOptions, Outcome};

use super::stage::{Life, Stage};

/// What can be held while the end is asked for: a stage and where it is held.
const PLACES: [(&[&str], &str); 5] =
    [(&[], "a/1"), (&["pure"], "pure"), (&["unsafe"], "unsafe"), (&["child"], "child/1"), (&["child", "pure"], "pure")];

async fn held(tools: &'static [&'static str], place: &'static str) -> (Stage, Life, blitz::ExecutionId) {
    let stage = Stage::calling(tools);
    if place.contains('/') {
        stage.model.held.hold(place)
    } else {
        stage.tools.held.hold(place)
    }
    let life = stage.open().await;
    let id = life.start().await;
    match place {
        "a/1" => stage.model.was_asked(1).await,
        "child/1" => stage.model.was_asked(2).await,
        tool => stage.tools.was_called(tool, 1).await,
    }
    (stage, life, id)
}

async fn is_over(life: &Life, done: &Outcome) {
    assert_eq!((done.status, &done.error), (ExecutionStatus::Cancelled, &None));
    let mut filter = ExecutionFilter::default();
    filter.children = true;
    let all = life.me.executions().list(filter, ListOptions::default()).await.unwrap().items;
    assert!(all.iter().all(|execution| execution.status.is_final()), "children too: {all:?}");
    let again = life.me.executions().cancel(done.execution_id).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::Conflict);
    life.audit(done).await;
}

#[tokio::test]
async fn an_interrupted_execution_ends_where_it_is() {
    for (tools, place) in PLACES {
        let (stage, life, id) = held(tools, place).await;
        life.cut().await;
        let life = stage.open().await;
        life.me.executions().cancel(id).await.unwrap();
        let done = life.wait(id).await;
        is_over(&life, &done).await;
        assert!(done.usage.requests > 0, "{place}: what was sent is booked");
        assert_eq!(life.engine.recover().await.unwrap(), []);
        life.cut().await;
    }
}

#[tokio::test]
async fn b46_a_running_execution_ends_wherever_it_is() {
    for (tools, place) in PLACES {
        let (_stage, life, id) = held(tools, place).await;
        life.me.executions().cancel(id).await.unwrap();
        let done = life.wait(id).await;
        is_over(&life, &done).await;
        life.cut().await;
    }
}

#[tokio::test]
async fn an_end_that_was_asked_for_before_the_cut_is_not_forgotten() {
    for (tools, place) in PLACES {
        for recovers in [true, false] {
            // Another process asks; the owner is gone before it has looked.
            let (stage, life, id) = held(tools, place).await;
            let other = stage.builder().open().await.unwrap();
            other.root("another").executions().cancel(id).await.unwrap();
            life.cut().await;
            let (asked, called) = (stage.model.asked().len(), stage.tools.calls("pure").len());

            let life = stage.open().await;
            if recovers {
                let taken = life.engine.recover().await.unwrap();
                assert!(taken == [id] || life.get(id).await.status.is_final());
            } else if !life.get(id).await.status.is_final() {
                life.me.executions().cancel(id).await.unwrap();
            }
            let done = life.wait(id).await;
            is_over(&life, &done).await;
            assert_eq!(
                (stage.model.asked().len(), stage.tools.calls("pure").len()),
                (asked, called),
                "nothing new began"
            );
            life.cut().await;
            other.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_waits_for_a_decision_can_be_cancelled() {
    let (stage, life, id) = held(&["unsafe"], "unsafe").await;
    life.cut().await;
    let (life, _) = stage.recovered().await;
    life.waits_for_decisions(id).await;
    life.me.executions().cancel(id).await.unwrap();
    let done = life.wait(id).await;
    is_over(&life, &done).await;
    assert_eq!(stage.tools.calls("unsafe").len(), 1);
}

#[tokio::test]
async fn a_child_of_an_interrupted_execution_is_cancelled_once_it_goes_on() {
    let (stage, life, id) = held(&["child"], "child/1").await;
    life.cut().await;
    let life = stage.open().await;
    let mut filter = ExecutionFilter::default();
    filter.children = true;
    let all = life.me.executions().list(filter, ListOptions::default()).await.unwrap().items;
    let child = all.iter().find(|execution| execution.parent_id == Some(id)).unwrap().id;
    life.me.executions().cancel(child).await.unwrap();
    assert_eq!(life.engine.recover().await.unwrap(), [id]);
    let done = life.wait(id).await;
    assert_eq!(done.status, ExecutionStatus::Completed, "its parent is told and goes on");
    assert_eq!(life.get(child).await.status, ExecutionStatus::Cancelled);
    assert_eq!(stage.model.asked(), ["a/1", "child/1", "a/2"]);
    life.audit(&done).await;
}

#[tokio::test]
async fn whoever_stops_waiting_for_a_run_cancels_it_at_any_moment() {
    // Also in the middle of its first commit: then it has begun and nobody has its handle.
    for micros in (0..3000).step_by(100) {
        let stage = Stage::calling(&[]);
        stage.model.held.hold("a/1");
        let life = stage.open().await;
        let run = life.me.run("a", "go");
        assert!(tokio::time::timeout(Duration::from_micros(micros), run).await.is_err());
        // What was begun ends; what was not is not there.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let all =
                life.me.executions().list(ExecutionFilter::default(), ListOptions::default()).await.unwrap().items;
            if all.iter().all(|execution| execution.status == ExecutionStatus::Cancelled) {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{all:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        life.me.budgets().verify().await.unwrap();
        life.cut().await;
    }
}

#[tokio::test]
async fn a_broken_off_call_is_booked_by_what_may_have_come_of_it() {
    // Of a whole answer nothing was seen on the way: all of it may have been made, and is charged.
    for (whole, least) in [(true, 4096), (false, 0)] {
        let stage = Stage::calling(&[]);
        stage.model.held.hold("a/1");
        let life = stage.open().await;
        let started = tokio::spawn({
            let me = life.me.clone();
            async move { if whole { drop(me.run("a", "go").await) } else { drop(me.start("a", "go").await) } }
        });
        stage.model.was_asked(1).await;
        let all = life.me.executions().list(ExecutionFilter::default(), ListOptions::default()).await.unwrap().items;
        life.me.executions().cancel(all[0].id).await.unwrap();
        let done = life.wait(all[0].id).await;
        started.await.unwrap();
        assert_eq!((done.usage.requests, done.usage.output_tokens), (1, least));
        life.audit(&done).await;
    }
}
