//! One owner: an execution is run by one engine at a time, and whoever asks something of it reaches that one.

use std::time::Duration;

use blitz::{Decision, ErrorCode, ExecutionFilter, ExecutionStatus, ListOptions};
use serde_json::json;

use super::stage::{Stage, calls};

#[tokio::test]
async fn another_engine_leaves_what_runs_alone_and_sees_its_end() {
    let stage = Stage::calling(&["unsafe"]);
    stage.tools.held.hold("unsafe");
    let owner = stage.open().await;
    let id = owner.start().await;
    stage.tools.was_called("unsafe", 1).await;

    let (other, taken) = stage.recovered().await;
    assert_eq!(taken, []);
    let seen = other.get(id).await;
    assert_eq!((seen.status, seen.interrupted), (ExecutionStatus::Running, false));
    let waits = tokio::spawn({
        let me = other.me.clone();
        async move { me.executions().wait(id).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    stage.tools.held.release("unsafe");
    let mine = owner.wait(id).await;
    assert_eq!(waits.await.unwrap().unwrap(), mine);
    assert_eq!(stage.tools.calls("unsafe").len(), 1);
}

#[tokio::test]
async fn the_second_owner_is_heard_and_the_first_is_not() {
    let stage = Stage::calling(&["pure"]);
    stage.tools.held.hold("pure");
    let first = stage.open().await;
    let id = first.start().await;
    stage.tools.was_called("pure", 1).await;
    first.cut().await;
    let (second, taken) = stage.recovered().await;
    assert_eq!(taken, [id]);
    stage.tools.was_called("pure", 2).await;
    let (third, taken) = stage.recovered().await;
    assert_eq!(taken, [], "the second lives");
    let waits = tokio::spawn(async move { third.wait(id).await });
    stage.tools.held.release("pure");
    assert_eq!(second.wait(id).await, waits.await.unwrap());
    assert_eq!(stage.tools.calls("pure").len(), 2);
}

#[tokio::test]
async fn a_cancellation_from_another_engine_reaches_the_owner() {
    for tools in [&["unsafe"][..], &["child"][..]] {
        let stage = Stage::calling(tools);
        stage.tools.held.hold("unsafe");
        stage.model.held.hold("child/1");
        let owner = stage.open().await;
        let id = owner.start().await;
        let other = stage.open().await;
        other.me.executions().cancel(id).await.unwrap();
        assert_eq!(other.wait(id).await.status, ExecutionStatus::Cancelled);
        let done = owner.wait(id).await;
        owner.audit(&done).await;
    }
}

#[tokio::test]
async fn what_is_asked_of_a_resumed_child_reaches_its_owner() {
    // The child was made by a process that is gone; its new owner has to be found.
    for cancels in [true, false] {
        let stage = Stage::new(|asked| match (asked.agent.as_str(), asked.turn) {
            ("a", 1) => calls(1, &["child"], "help"),
            ("child", 1) => calls(1, &["unsafe"], "help"),
            _ => blitz::provider::Reply::text("done"),
        })
        .with_child_tool("unsafe");
        stage.tools.held.hold("unsafe");
        let first = stage.open().await;
        let id = first.start().await;
        stage.tools.was_called("unsafe", 1).await;
        first.cut().await;

        let (owner, _) = stage.recovered().await;
        let mut filter = ExecutionFilter::default();
        filter.children = true;
        let all = owner.me.executions().list(filter, ListOptions::default()).await.unwrap().items;
        let child = all.iter().find(|execution| execution.parent_id == Some(id)).unwrap().id;
        assert_eq!(owner.waits_for_decisions(child).await, ["1/tool/0"]);
        let root = owner.until(id, |execution| execution.status == ExecutionStatus::Waiting).await;
        assert!(matches!(root.waiting_for[..], [blitz::Waiting::Child { execution_id, .. }] if execution_id == child));

        let other = stage.open().await;
        assert!(!other.get(child).await.interrupted, "its owner lives");
        if cancels {
            other.me.executions().cancel(child).await.unwrap();
        } else {
            let sent = Decision::Skip { value: json!("sent") };
            other.me.executions().decide(child, "1/tool/0", sent.clone()).await.unwrap();
            let again = other.me.executions().decide(child, "1/tool/0", sent).await.unwrap_err();
            assert_eq!(again.code(), ErrorCode::Conflict);
        }
        let done = other.wait(id).await;
        assert_eq!(done.status, ExecutionStatus::Completed);
        let expected = if cancels { ExecutionStatus::Cancelled } else { ExecutionStatus::Completed };
        assert_eq!(other.get(child).await.status, expected);
        assert_eq!(stage.tools.calls("unsafe").len(), 1);
        owner.audit(&done).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn recovering_while_executions_begin_runs_none_twice() {
    let stage = Stage::calling(&["pure"]);
    let life = stage.open().await;
    let recovering = tokio::spawn({
        let engine = life.engine.clone();
        async move {
            loop {
                assert_eq!(engine.recover().await.unwrap(), [], "what runs here is not taken up");
            }
        }
    });
    let runs = (0..60).map(|_| life.me.run("a", "go"));
    for done in futures_util::future::join_all(runs).await {
        assert_eq!(done.unwrap().status, ExecutionStatus::Completed);
    }
    assert!(!recovering.is_finished());
    recovering.abort();
    assert_eq!(stage.model.asked().len(), 120);
    assert_eq!(stage.tools.calls("pure").len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn engines_that_recover_at_once_share_the_work() {
    let stage = Stage::calling(&["idempotent"]);
    stage.tools.held.hold("idempotent");
    let life = stage.open().await;
    for _ in 0..20 {
        life.start().await;
    }
    stage.tools.was_called("idempotent", 20).await;
    life.cut().await;
    stage.tools.held.release("idempotent");

    let lives = futures_util::future::join_all((0..3).map(|_| stage.open())).await;
    // Each engine twice at once.
    let calls = lives.iter().chain(&lives).map(|life| life.engine.recover());
    let mut taken: Vec<_> = futures_util::future::join_all(calls).await.into_iter().flat_map(Result::unwrap).collect();
    taken.sort_unstable();
    let whole = taken.len();
    taken.dedup();
    assert_eq!((taken.len(), whole), (20, 20), "each is taken up, and by one");
    for id in taken {
        assert_eq!(lives[0].wait(id).await.status, ExecutionStatus::Completed);
    }
    assert_eq!(stage.tools.calls("idempotent").len(), 40);
    assert_eq!(stage.model.asked().len(), 40);
}
