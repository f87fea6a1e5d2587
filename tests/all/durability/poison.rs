//! An execution that ends its process again and again is not tried for ever, and no other is taken for one.

use blitz::{Decision, ErrorCode, ExecutionId, ExecutionStatus};

use super::stage::{Life, Stage};

/// How often an execution is taken up again without getting any further.
const TRIES: usize = 10;

/// What `part` of the stage the process dies in.
async fn killed_in(stage: &Stage, name: &'static str, id: Option<ExecutionId>) -> ExecutionId {
    let world = stage.clone();
    stage
        .killed(move |life| async move {
            let (asked, called) = (world.model.asked().len(), world.tools.calls(name).len());
            let id = match id {
                None => life.start().await,
                Some(id) => {
                    assert_eq!(life.engine.recover().await.unwrap(), [id]);
                    id
                }
            };
            if name.contains('/') {
                world.model.was_asked(asked + 1).await;
            } else {
                world.tools.was_called(name, called + 1).await;
            }
            id
        })
        .await
}

async fn parked(stage: &Stage, id: ExecutionId) -> Life {
    let (life, taken) = stage.recovered().await;
    assert_eq!(taken, [], "it is tried no more");
    assert_eq!(life.waits_for_decisions(id).await, ["resume"]);
    assert_eq!(life.engine.recover().await.unwrap(), [], "however often it is asked");
    life
}

#[tokio::test]
async fn what_ends_its_process_again_and_again_waits_for_a_decision() {
    for name in ["pure", "a/1"] {
        let stage = Stage::calling(if name == "pure" { &["pure"] } else { &[] });
        stage.tools.held.hold("pure");
        stage.model.held.hold("a/1");
        if name == "pure" {
            stage.model.held.release("a/1");
        }
        let id = killed_in(&stage, name, None).await;
        for _ in 0..TRIES {
            killed_in(&stage, name, Some(id)).await;
        }

        let life = parked(&stage, id).await;
        life.me.executions().decide(id, "resume", Decision::Rerun).await.unwrap();
        let again = life.me.executions().decide(id, "resume", Decision::Rerun).await.unwrap_err();
        assert_eq!(again.code(), ErrorCode::Conflict);
        stage.tools.held.release("pure");
        stage.model.held.release("a/1");
        assert_eq!(life.engine.recover().await.unwrap(), [id]);
        let done = life.wait(id).await;
        assert_eq!(done.status, ExecutionStatus::Completed);
        life.audit(&done).await;
    }
}

#[tokio::test]
async fn a_parked_execution_can_be_given_up() {
    let stage = Stage::calling(&["pure"]);
    stage.tools.held.hold("pure");
    let id = killed_in(&stage, "pure", None).await;
    for _ in 0..TRIES {
        killed_in(&stage, "pure", Some(id)).await;
    }
    let life = parked(&stage, id).await;
    let skip = life.me.executions().decide(id, "resume", Decision::Skip { value: "x".into() }).await.unwrap_err();
    assert_eq!(skip.code(), ErrorCode::InvalidInput);
    assert_eq!(life.waits_for_decisions(id).await, ["resume"], "a refused decision changes nothing");
    life.me.executions().decide(id, "resume", Decision::Fail { message: "it kills us".into() }).await.unwrap();
    let done = life.wait(id).await;
    assert_eq!((done.status, done.error.as_ref().unwrap().code), (ExecutionStatus::Failed, ErrorCode::Interrupted));
    life.audit(&done).await;
}

#[tokio::test]
async fn a_clean_end_is_not_counted() {
    let stage = Stage::calling(&["pure"]);
    stage.tools.held.hold("pure");
    let life = stage.open().await;
    let id = life.start().await;
    stage.tools.was_called("pure", 1).await;
    life.cut().await;
    for times in 2..=TRIES + 3 {
        let (life, taken) = stage.recovered().await;
        assert_eq!(taken, [id]);
        stage.tools.was_called("pure", times).await;
        life.cut().await;
    }
    stage.tools.held.release("pure");
    let (life, _) = stage.recovered().await;
    assert_eq!(life.wait(id).await.status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn waiting_through_many_ends_is_not_counted() {
    let stage = Stage::calling(&["unsafe", "child"]);
    stage.tools.held.hold("unsafe");
    let id = killed_in(&stage, "unsafe", None).await;
    for _ in 0..TRIES + 2 {
        stage
            .killed(move |life| async move {
                assert_eq!(life.engine.recover().await.unwrap(), [id]);
                assert_eq!(life.waits_for_decisions(id).await, ["1/tool/0"]);
            })
            .await;
    }
    let (life, _) = stage.recovered().await;
    assert_eq!(life.waits_for_decisions(id).await, ["1/tool/0"]);
    life.me.executions().decide(id, "1/tool/0", Decision::Skip { value: "sent".into() }).await.unwrap();
    assert_eq!(life.wait(id).await.status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn a_child_that_gets_further_counts_for_its_root() {
    // Each life of the process brings the child one step further: the root has none of its own.
    let stage = Stage::new(|asked| match (asked.agent.as_str(), asked.turn) {
        ("a", 1) => super::stage::calls(1, &["child"], "help"),
        ("child", turn) if turn < 14 => super::stage::calls(turn, &["idempotent"], "help"),
        _ => blitz::provider::Reply::text("done"),
    });
    (2..14).for_each(|turn| stage.model.held.hold(&format!("child/{turn}")));
    let world = stage.clone();
    let id = stage
        .killed(move |life| async move {
            let id = life.start().await;
            world.model.was_asked(3).await;
            id
        })
        .await;
    for turn in 2..14 {
        stage.model.held.release(&format!("child/{turn}"));
        let world = stage.clone();
        stage
            .killed(move |life| async move {
                let asked = world.model.asked().len();
                assert_eq!(life.engine.recover().await.unwrap(), [id], "turn {turn}");
                // The call in doubt, sent again, and the next one.
                world.model.was_asked(asked + 2).await;
            })
            .await;
    }
    let (life, taken) = stage.recovered().await;
    if !taken.is_empty() {
        assert_eq!(life.wait(id).await.status, ExecutionStatus::Completed);
    }
    assert_eq!(life.get(id).await.status, ExecutionStatus::Completed);
}
