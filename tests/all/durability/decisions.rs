//! An unsafe effect in doubt waits for somebody's decision, and the decision is what happens.

use blitz::{Decision, ErrorCode, EventData, ExecutionId, ExecutionStatus, MessageRole, Outcome, Part, Waiting};
use serde_json::{Value, json};

use super::stage::{Life, Stage, attempts, calls};

/// A stage on which `a` was cut off while its unsafe tool ran, and the execution.
async fn cut_in_unsafe(tools: &'static [&'static str]) -> (Stage, ExecutionId) {
    let stage = Stage::calling(tools);
    stage.tools.held.hold("unsafe");
    let life = stage.open().await;
    let id = life.start().await;
    let times = tools.iter().filter(|tool| **tool == "unsafe").count();
    stage.tools.was_called("unsafe", times).await;
    life.cut().await;
    stage.tools.held.release("unsafe");
    (stage, id)
}

/// What the model was told of each call.
fn told(outcome: &Outcome) -> Vec<(Value, bool)> {
    let tool = outcome.messages.iter().filter(|message| message.role == MessageRole::Tool);
    tool.flat_map(|message| &message.parts)
        .map(|part| match part {
            Part::ToolResult(result) => (result.content.clone(), result.is_error),
            other => panic!("no result: {other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn a_decision_right_behind_recovery_is_taken() {
    let (stage, id) = cut_in_unsafe(&["unsafe"]).await;
    let (life, taken) = stage.recovered().await;
    assert_eq!(taken, [id]);
    life.me.executions().decide(id, "1/tool/0", Decision::Rerun).await.unwrap();
    assert_eq!(life.wait(id).await.status, ExecutionStatus::Completed);
    assert_eq!(stage.tools.calls("unsafe").len(), 2);
}

#[tokio::test]
async fn each_decision_does_what_it_says() {
    let cases = [
        (Decision::Rerun, json!("unsafe done"), false, 2),
        (Decision::Skip { value: json!({"sent": true}) }, json!({"sent": true}), false, 1),
        (Decision::Fail { message: "it was not sent".into() }, json!("it was not sent"), true, 1),
    ];
    for (decision, content, is_error, times) in cases {
        let (stage, id) = cut_in_unsafe(&["unsafe"]).await;
        let (life, taken) = stage.recovered().await;
        assert_eq!(taken, [id]);
        let waiting = life.until(id, |execution| execution.status == ExecutionStatus::Waiting).await;
        let asked = &waiting.waiting_for[..];
        assert!(matches!(asked, [Waiting::Decision { key, .. }] if key == "1/tool/0"), "{asked:?}");
        assert!(!waiting.interrupted);
        assert_eq!(stage.tools.calls("unsafe").len(), 1, "it is never run again by itself");

        let executions = life.me.executions();
        let other = executions.decide(id, "1/tool/1", decision.clone()).await.unwrap_err();
        assert_eq!(other.code(), ErrorCode::Conflict);
        executions.decide(id, "1/tool/0", decision.clone()).await.unwrap();
        let again = executions.decide(id, "1/tool/0", decision.clone()).await.unwrap_err();
        assert_eq!(again.code(), ErrorCode::Conflict);
        let done = life.wait(id).await;

        assert_eq!(done.status, ExecutionStatus::Completed);
        assert_eq!(told(&done), [(content, is_error)]);
        let called = stage.tools.calls("unsafe");
        assert_eq!(called.len(), times);
        assert!(called.iter().all(|call| call.key == called[0].key));
        let journal = life.journal(id).await;
        assert_eq!(attempts(&journal, id)["1/tool/0"] as usize, times);
        let made = journal.iter().filter(|event| matches!(event.data, EventData::DecisionMade { .. }));
        assert_eq!(made.count(), 1);
        life.audit(&done).await;
    }
}

#[tokio::test]
async fn a_rerun_that_is_cut_off_is_in_doubt_again() {
    let (stage, id) = cut_in_unsafe(&["unsafe"]).await;
    stage.tools.held.hold("unsafe");
    let (life, _) = stage.recovered().await;
    life.waits_for_decisions(id).await;
    life.me.executions().decide(id, "1/tool/0", Decision::Rerun).await.unwrap();
    stage.tools.was_called("unsafe", 2).await;
    assert_eq!(life.get(id).await.status, ExecutionStatus::Running);
    life.cut().await;
    stage.tools.held.release("unsafe");

    let (life, _) = stage.recovered().await;
    assert_eq!(life.waits_for_decisions(id).await, ["1/tool/0"]);
    assert_eq!(stage.tools.calls("unsafe").len(), 2);
    life.me.executions().decide(id, "1/tool/0", Decision::Rerun).await.unwrap();
    let done = life.wait(id).await;
    let called: Vec<u32> = stage.tools.calls("unsafe").iter().map(|call| call.attempt).collect();
    assert_eq!(called, [1, 2, 3]);
    life.audit(&done).await;
}

fn doubt(execution: &blitz::Execution) -> Waiting {
    match &execution.waiting_for[..] {
        [wait @ Waiting::Decision { .. }] => wait.clone(),
        other => panic!("no doubt: {other:?}"),
    }
}

#[tokio::test]
async fn t72_a_decision_holds_for_one_execution_one_attempt_and_once() {
    let (stage, id) = cut_in_unsafe(&["unsafe"]).await;
    stage.tools.held.hold("unsafe");
    let (life, _) = stage.recovered().await;
    life.waits_for_decisions(id).await;
    let first = doubt(&life.get(id).await);
    let executions = life.me.executions();
    let forged = Waiting::Decision { key: "1/tool/0".into(), digest: "0".repeat(64) };
    let refused = executions.decide_about(id, &forged, Decision::Rerun).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Conflict);
    executions.decide_about(id, &first, Decision::Rerun).await.unwrap();
    stage.tools.was_called("unsafe", 2).await;
    life.cut().await;
    stage.tools.held.release("unsafe");

    // The second attempt is in doubt now: what was decided of the first says nothing about it.
    let (life, _) = stage.recovered().await;
    life.waits_for_decisions(id).await;
    let second = doubt(&life.get(id).await);
    assert_ne!(first, second);
    let executions = life.me.executions();
    let late = executions.decide_about(id, &first, Decision::Rerun).await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::Conflict, "it was about the attempt before");
    let none = Waiting::Timer { key: "1/tool/0".into(), at: blitz::Timestamp(0) };
    let none = executions.decide_about(id, &none, Decision::Rerun).await.unwrap_err();
    assert_eq!(none.code(), ErrorCode::InvalidInput);
    assert_eq!(stage.tools.calls("unsafe").len(), 2);
    let Waiting::Decision { key, digest } = &second else { unreachable!() };
    let decided = json!({"id": id, "key": key, "digest": digest, "decision": {"action": "skip", "value": "sent"}});
    life.me.call("executions.decide", decided.clone()).await.unwrap();
    assert_eq!(life.me.call("executions.decide", decided).await.unwrap_err().code(), ErrorCode::Conflict, "once");
    let done = life.wait(id).await;
    assert_eq!((done.status, told(&done)), (ExecutionStatus::Completed, vec![(json!("sent"), false)]));
    let bound = |event: &blitz::Event| match &event.data {
        EventData::DecisionMade { digest, .. } => Some(digest.clone()),
        _ => None,
    };
    let bound: Vec<String> = life.journal(id).await.iter().filter_map(bound).collect();
    let digests = [&first, &second].map(|wait| match wait {
        Waiting::Decision { digest, .. } => digest.clone(),
        _ => unreachable!(),
    });
    assert_eq!(bound, digests, "each record says what it answers");
}

#[tokio::test]
async fn t72_a_record_that_was_changed_or_copied_decides_nothing() {
    // Somebody who can write the file changes a decision that nobody has read yet, or puts an old one behind all else.
    let (stage, id) = cut_in_unsafe(&["unsafe"]).await;
    let (life, _) = stage.recovered().await;
    life.waits_for_decisions(id).await;
    life.cut().await;
    let life = stage.open().await;
    life.me.executions().decide(id, "1/tool/0", Decision::Rerun).await.unwrap();
    life.cut().await;
    let edit = |sql: &str| rusqlite::Connection::open(stage.path()).unwrap().execute(sql, []).unwrap();
    let forge = "UPDATE journal SET data = json_set(data, '$.data.digest', 'forged') WHERE type = 'decision.made'";
    assert_eq!(edit(forge), 1);
    let (life, _) = stage.recovered().await;
    assert_eq!(life.waits_for_decisions(id).await, ["1/tool/0"]);
    assert_eq!(stage.tools.calls("unsafe").len(), 1, "what was forged runs nothing");

    stage.tools.held.hold("unsafe");
    life.me.executions().decide(id, "1/tool/0", Decision::Rerun).await.unwrap();
    stage.tools.was_called("unsafe", 2).await;
    life.cut().await;
    stage.tools.held.release("unsafe");
    let copy = "INSERT INTO journal SELECT root_id, (SELECT max(seq) + 1 FROM journal), execution_id, at, path, type, schema, data, blob_hash
        FROM journal WHERE type = 'decision.made' ORDER BY seq DESC LIMIT 1";
    assert_eq!(edit(copy), 1);
    let (life, _) = stage.recovered().await;
    assert_eq!(life.waits_for_decisions(id).await, ["1/tool/0"]);
    assert_eq!(stage.tools.calls("unsafe").len(), 2, "what was decided of one attempt runs no other");
    life.me.executions().decide(id, "1/tool/0", Decision::Skip { value: json!("sent") }).await.unwrap();
    let done = life.wait(id).await;
    assert_eq!(told(&done), [(json!("sent"), false)]);
}

#[tokio::test]
async fn a_decision_may_come_while_nobody_runs_it() {
    for decision in [Decision::Rerun, Decision::Skip { value: json!("sent") }] {
        let (stage, id) = cut_in_unsafe(&["unsafe"]).await;
        let (life, _) = stage.recovered().await;
        life.waits_for_decisions(id).await;
        life.cut().await;

        let life = stage.open().await;
        assert_eq!(life.waits_for_decisions(id).await, ["1/tool/0"], "it is seen before it is taken up");
        life.me.executions().decide(id, "1/tool/0", decision.clone()).await.unwrap();
        let again = life.me.executions().decide(id, "1/tool/0", decision.clone()).await.unwrap_err();
        assert_eq!(again.code(), ErrorCode::Conflict);
        assert_eq!(life.engine.recover().await.unwrap(), [id]);
        let done = life.wait(id).await;
        assert_eq!(done.status, ExecutionStatus::Completed);
        let times = if decision == Decision::Rerun { 2 } else { 1 };
        assert_eq!(stage.tools.calls("unsafe").len(), times);
    }
}

#[tokio::test]
async fn decisions_that_come_at_once_are_all_heard() {
    // The driver writes what the first decision led to while the second is made.
    for round in 0..12 {
        let (stage, id) = cut_in_unsafe(&["unsafe", "unsafe", "unsafe", "unsafe"]).await;
        let (life, _) = stage.recovered().await;
        let keys = life.waits_for_decisions(id).await;
        assert_eq!(keys.len(), 4);
        let decide = keys.iter().enumerate().map(|(index, key)| {
            let executions = life.me.executions();
            let decision =
                if (round + index) % 2 == 0 { Decision::Rerun } else { Decision::Skip { value: json!("sent") } };
            async move {
                if round % 3 == 0 {
                    tokio::time::sleep(std::time::Duration::from_micros(600 * index as u64)).await;
                }
                executions.decide(id, key, decision).await
            }
        });
        let decided = futures_util::future::join_all(decide).await;
        assert!(decided.iter().all(Result::is_ok), "one can be decided while another runs: {decided:?}");
        let done = life.wait(id).await;
        assert_eq!(done.status, ExecutionStatus::Completed);
        assert_eq!(stage.tools.calls("unsafe").len(), 6);
        life.cut().await;
    }
}

#[tokio::test]
async fn a_decision_for_a_child_reaches_it_and_its_parent_shows_the_wait() {
    let stage = Stage::new(|asked| match (asked.agent.as_str(), asked.turn) {
        ("a", 1) => calls(1, &["child", "unsafe"], "help"),
        _ => blitz::provider::Reply::text("done"),
    });
    stage.tools.held.hold("unsafe");
    stage.model.held.hold("child/1");
    let life = stage.open().await;
    let id = life.start().await;
    stage.tools.was_called("unsafe", 1).await;
    stage.model.was_asked(2).await;
    life.cut().await;

    // The child runs: so the root does, and its own tool can be decided all the same.
    let (life, _) = stage.recovered().await;
    stage.model.was_asked(3).await;
    assert_eq!(life.get(id).await.status, ExecutionStatus::Running);
    let decided = decide_soon(&life, id, "1/tool/1").await;
    assert!(decided, "a decision may be made while something else runs");
    stage.model.held.release("child/1");
    let done = life.wait(id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    life.audit(&done).await;
}

/// Decides as soon as the driver has said that the step waits.
async fn decide_soon(life: &Life, id: ExecutionId, key: &str) -> bool {
    for _ in 0..400 {
        match life.me.executions().decide(id, key, Decision::Skip { value: json!("sent") }).await {
            Ok(()) => return true,
            Err(error) => assert_eq!(error.code(), ErrorCode::Conflict),
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    false
}
