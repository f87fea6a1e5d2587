//! Cut off at a chosen place, opened again: what is finished stays, what is open goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use blitz::provider::Reply;
use blitz::{
    CostFilter, EntryKind, ErrorCode, Event, EventData, ExecutionFilter, ExecutionStatus, Limits, ListOptions, NewUser,
    Provenance, RetryPolicy, Role, Timestamp, UserUpdate, Visibility, Waiting,
};

use super::stage::{Stage, USAGE, attempts, busy, calls};

#[tokio::test]
async fn an_unanswered_model_call_is_booked_as_reserved_and_sent_again() {
    let stage = Stage::calling(&[]);
    stage.model.held.hold("a/1");
    let life = stage.open().await;
    let id = life.start().await;
    stage.model.was_asked(1).await;
    life.cut().await;
    stage.model.held.release("a/1");

    let life = stage.open().await;
    let left = life.get(id).await;
    assert!(left.interrupted && left.status == ExecutionStatus::Running, "open runs nothing: {left:?}");
    assert_eq!(stage.model.asked().len(), 1);
    let entries = life.me.costs().list(CostFilter::of_root(id), ListOptions::default()).await.unwrap().items;
    let settled = entries.iter().find(|entry| entry.kind == EntryKind::Settle).expect("open settles the dead");
    assert_eq!(settled.usage.unwrap().provenance, Provenance::Estimated);

    assert_eq!(life.engine.recover().await.unwrap(), [id]);
    let done = life.wait(id).await;

    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "done"));
    assert_eq!(stage.model.asked(), ["a/1", "a/1"]);
    let journal = life.journal(id).await;
    assert_eq!(attempts(&journal, id)["1/model"], 2);
    let reserved = journal.iter().find_map(|event| match &event.data {
        EventData::StepStarted(started) => started.reserved,
        _ => None,
    });
    assert_eq!(settled.amount, reserved, "what is in doubt is booked as it was reserved");
    let again: Vec<u32> = life
        .me
        .costs()
        .list(CostFilter::of_root(id), ListOptions::default())
        .await
        .unwrap()
        .items
        .iter()
        .filter(|entry| entry.kind == EntryKind::Settle)
        .map(|entry| entry.attempt)
        .collect();
    assert_eq!(again, [1, 2], "both attempts are booked");
    life.audit(&done).await;
}

#[tokio::test]
async fn pure_and_idempotent_tools_run_again_under_the_same_key() {
    for tool in ["pure", "idempotent"] {
        let tools: &'static [&'static str] = if tool == "pure" { &["pure", "child"] } else { &["idempotent"] };
        let stage = Stage::calling(tools);
        stage.tools.held.hold(tool);
        let life = stage.open().await;
        let id = life.start().await;
        stage.tools.was_called(tool, 1).await;
        let asked = if tool == "pure" { 2 } else { 1 };
        stage.model.was_asked(asked).await;
        life.cut().await;
        stage.tools.held.release(tool);

        let (life, taken) = stage.recovered().await;
        assert_eq!(taken, [id]);
        let done = life.wait(id).await;

        assert_eq!(done.status, ExecutionStatus::Completed, "{done:?}");
        let called = stage.tools.calls(tool);
        assert_eq!(called.iter().map(|call| call.attempt).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(called[0].key, called[1].key, "the world can tell that it is the same call");
        assert_eq!(stage.model.asked().iter().filter(|name| *name == "a/1").count(), 1, "an answer is asked for once");
        life.audit(&done).await;
    }
}

#[tokio::test]
async fn what_is_finished_is_not_done_again() {
    // Three turns; the cut comes in the third, and everything before it is behind it.
    let stage = Stage::new(|asked| match (asked.agent.as_str(), asked.turn) {
        ("a", 1) => calls(1, &["pure", "idempotent", "unsafe"], "help"),
        ("a", 2) => calls(2, &["child"], "help"),
        ("child", 1) => calls(1, &["idempotent"], "help"),
        ("a", 3) => calls(3, &["unsafe"], "help"),
        _ => Reply::text("done"),
    });
    stage.model.held.hold("a/4");
    let life = stage.open().await;
    let id = life.start().await;
    stage.model.was_asked(6).await;
    life.cut().await;
    stage.model.held.release("a/4");

    let (life, _) = stage.recovered().await;
    let done = life.wait(id).await;

    assert_eq!(done.status, ExecutionStatus::Completed);
    assert_eq!(stage.model.asked(), ["a/1", "a/2", "child/1", "child/2", "a/3", "a/4", "a/4"]);
    let called = |tool| stage.tools.calls(tool).len();
    assert_eq!((called("pure"), called("idempotent"), called("unsafe")), (1, 2, 2));
    life.audit(&done).await;
}

#[tokio::test]
async fn an_outcome_after_recovery_is_the_one_without_a_cut() {
    let script = |asked: &super::stage::Asked| match (asked.agent.as_str(), asked.turn) {
        ("a", 1) => calls(1, &["pure", "idempotent", "child"], "help"),
        ("a", 2) => calls(2, &["pure"], "help"),
        ("child", 1) => calls(1, &["idempotent"], "help"),
        _ => Reply::text("done"),
    };
    let whole = {
        let life = Stage::new(script).open().await;
        let id = life.start().await;
        life.wait(id).await
    };
    for held in ["a/1", "a/2", "a/3", "child/1", "child/2", "pure", "idempotent"] {
        let stage = Stage::new(script);
        let (model, tools) = (&stage.model.held, &stage.tools.held);
        if held.contains('/') {
            model.hold(held)
        } else {
            tools.hold(held)
        }
        let life = stage.open().await;
        let id = life.start().await;
        match held {
            "pure" | "idempotent" => stage.tools.was_called(held, 1).await,
            _ => {
                let place = ["a/1", "child/1", "child/2", "a/2", "a/3"].iter().position(|name| *name == held).unwrap();
                stage.model.was_asked(place + 1).await;
            }
        }
        life.cut().await;
        model.release(held);
        tools.release(held);
        let (life, _) = stage.recovered().await;
        let done = life.wait(id).await;
        assert_eq!(
            (&done.status, &done.output, &done.messages),
            (&whole.status, &whole.output, &whole.messages),
            "{held}"
        );
        assert_eq!(done.steps, whole.steps, "{held}");
        let lost = |event: &Event| match &event.data {
            EventData::StepRetrying { error, .. } => error.code == ErrorCode::Interrupted,
            _ => false,
        };
        let lost = life.journal(id).await.iter().filter(|event| lost(event)).count() as u64;
        assert_eq!(done.usage.requests, whole.usage.requests + lost, "{held}: only a call in doubt is paid again");
        assert!(lost > 0 || !held.contains('/'), "{held}");
        life.audit(&done).await;
    }
}

#[tokio::test]
async fn a_parent_goes_on_with_the_child_it_had() {
    let stage = Stage::calling(&["child"]);
    stage.model.held.hold("child/1");
    let life = stage.open().await;
    let id = life.start().await;
    stage.model.was_asked(2).await;
    life.cut().await;
    stage.model.held.release("child/1");

    let (life, taken) = stage.recovered().await;
    assert_eq!(taken, [id], "roots are taken up, their children with them");
    let done = life.wait(id).await;

    assert_eq!(stage.model.asked(), ["a/1", "child/1", "child/1", "a/2"]);
    let mut filter = ExecutionFilter::default();
    filter.children = true;
    let all = life.me.executions().list(filter, ListOptions::default()).await.unwrap().items;
    assert_eq!(all.len(), 2, "no second child");
    let child = all.iter().find(|execution| execution.parent_id == Some(id)).unwrap();
    assert_eq!((child.status, child.interrupted), (ExecutionStatus::Completed, false));
    assert_eq!(attempts(&life.journal(id).await, child.id)["1/model"], 2);
    life.audit(&done).await;
}

#[tokio::test]
async fn a_retry_keeps_its_time() {
    let failed = Arc::new(AtomicU32::new(0));
    let once = Arc::clone(&failed);
    let pause = Duration::from_millis(2500);
    let stage = Stage::new(move |_| match once.fetch_add(1, Ordering::SeqCst) {
        0 => busy(pause),
        _ => Reply::text("done"),
    });
    let stage = stage.with_agent(|agent| agent.retry(RetryPolicy::attempts(3, Duration::ZERO)));
    let life = stage.open().await;
    let id = life.start().await;
    let waiting = life.until(id, |execution| execution.status == ExecutionStatus::Waiting).await;
    let Waiting::Timer { at, .. } = waiting.waiting_for[0] else { panic!("{waiting:?}") };
    life.cut().await;

    let (life, _) = stage.recovered().await;
    let again = life.until(id, |execution| execution.status == ExecutionStatus::Waiting).await;
    assert_eq!(again.waiting_for, waiting.waiting_for, "the same moment, not a new wait");
    assert_eq!(stage.model.asked().len(), 1);
    let done = life.wait(id).await;
    assert!(Timestamp::now() >= at);
    assert_eq!((done.text().as_str(), stage.model.asked().len()), ("done", 2));
    assert_eq!(done.usage.requests, 1, "a failure without a charge is no request that is paid");
    life.audit(&done).await;
}

#[tokio::test]
async fn attempts_that_ended_with_their_process_are_no_failures() {
    let failed = Arc::new(AtomicU32::new(0));
    let once = Arc::clone(&failed);
    let stage = Stage::new(move |_| match once.fetch_add(1, Ordering::SeqCst) {
        0 => busy(Duration::ZERO),
        _ => Reply::text("done"),
    });
    let stage = stage.with_agent(|agent| agent.retry(RetryPolicy::attempts(2, Duration::ZERO)));
    stage.model.held.hold("a/1");
    let mut life = stage.open().await;
    let id = life.start().await;
    for times in 1..=3 {
        stage.model.was_asked(times).await;
        life.cut().await;
        life = stage.recovered().await.0;
    }
    stage.model.held.release("a/1");
    let done = life.wait(id).await;
    assert_eq!((done.status, stage.model.asked().len()), (ExecutionStatus::Completed, 5), "{:?}", done.error);
    life.audit(&done).await;
}

#[tokio::test]
async fn an_execution_whose_driver_broke_off_is_shown_and_taken_up_in_the_same_process() {
    let stage = Stage::calling(&["pure", "child"]);
    let life = stage.open().await;
    stage.model.panics(true);
    let id = life.start().await;
    let left = life.until(id, |execution| execution.interrupted).await;
    assert_eq!(left.status, ExecutionStatus::Running);
    stage.model.panics(false);
    assert_eq!(life.engine.recover().await.unwrap(), [id]);
    let done = life.wait(id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    assert_eq!(stage.model.asked(), ["a/1", "child/1", "a/2"]);
    life.audit(&done).await;

    // Or it is given up where it is.
    stage.model.panics(true);
    let id = life.start().await;
    life.until(id, |execution| execution.interrupted).await;
    life.me.executions().cancel(id).await.unwrap();
    let done = life.wait(id).await;
    assert_eq!(done.status, ExecutionStatus::Cancelled);
    assert_eq!(life.engine.recover().await.unwrap(), []);
    life.audit(&done).await;
}

#[tokio::test]
async fn a_time_limit_that_passed_meanwhile_ends_it_without_another_call() {
    let mut limits = Limits::default();
    limits.timeout_ms = 1200;
    for (tools, held) in [(&["pure"][..], "pure"), (&["child"][..], "child/1"), (&[][..], "a/1")] {
        let stage = Stage::calling(tools).with_agent(|agent| agent.limits(limits.clone()));
        if held.contains('/') {
            stage.model.held.hold(held)
        } else {
            stage.tools.held.hold(held)
        }
        let life = stage.open().await;
        let id = life.start().await;
        let asked = if held == "child/1" { 2 } else { 1 };
        stage.model.was_asked(asked).await;
        if held == "pure" {
            stage.tools.was_called("pure", 1).await;
        }
        life.cut().await;
        tokio::time::sleep(Duration::from_millis(1200)).await;

        let (life, taken) = stage.recovered().await;
        assert_eq!(taken, [id]);
        let done = life.wait(id).await;

        let error = done.error.clone().expect("it failed");
        assert_eq!(
            (error.code, error.details["limit"].as_str()),
            (ErrorCode::LimitExceeded, Some("wall_time")),
            "{held}"
        );
        assert_eq!((stage.model.asked().len(), stage.tools.calls("pure").len()), (asked, usize::from(held == "pure")));
        let open = life.me.executions().list(all(), ListOptions::default()).await.unwrap().items;
        assert!(open.iter().all(|execution| execution.status.is_final()), "{held}: {open:?}");
        life.audit(&done).await;
    }
}

fn all() -> ExecutionFilter {
    let mut filter = ExecutionFilter::default();
    filter.children = true;
    filter
}

#[tokio::test]
async fn a_function_that_is_not_here_leaves_it_visible_and_whole() {
    let stage = Stage::calling(&["pure"]);
    stage.tools.held.hold("pure");
    let life = stage.open().await;
    let id = life.start().await;
    stage.tools.was_called("pure", 1).await;
    life.cut().await;
    stage.tools.held.release("pure");

    let (life, taken) = stage.without("pure").recovered().await;
    assert_eq!(taken, [], "no error either");
    let left = life.get(id).await;
    assert!(left.interrupted && !left.status.is_final() && left.resume_attempts == 0, "{left:?}");
    let before = life.me.audit().verify(None).await.unwrap().records;
    assert_eq!(life.engine.recover().await.unwrap(), []);
    assert_eq!(life.me.audit().verify(None).await.unwrap().records, before + 1, "only the host's coming in");
    life.cut().await;

    let (life, taken) = stage.recovered().await;
    assert_eq!(taken, [id]);
    let done = life.wait(id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    life.audit(&done).await;
}

#[tokio::test]
async fn t42_a_resumed_execution_acts_for_whom_it_began() {
    let stage = Stage::calling(&["idempotent"]);
    stage.tools.held.hold("idempotent");
    let life = stage.open().await;
    let user = life.me.users().create(NewUser::new("ann@example.org", "sk-canary long password")).await.unwrap();
    assert_eq!(user.role, Role::BusinessUser);
    life.me.models().set_visibility("m", Visibility::Shared).await.unwrap();
    life.me.agents().set_visibility("a", Visibility::Shared).await.unwrap();
    life.me.agents().set_visibility("child", Visibility::Shared).await.unwrap();
    for (tool, _) in super::stage::EFFECTS {
        life.me.tools().set_visibility(tool, Visibility::Shared).await.unwrap();
    }
    let ann = life.engine.login("ann@example.org", "sk-canary long password").await.unwrap();
    let kept = ann.start("a", "go").await.unwrap().id();
    let stopped = ann.start("a", "go").await.unwrap().id();
    stage.tools.was_called("idempotent", 2).await;
    life.cut().await;
    stage.tools.held.release("idempotent");

    // Hers goes on as hers.
    let life = stage.open().await;
    life.me.executions().cancel(stopped).await.unwrap();
    assert_eq!(life.engine.recover().await.unwrap(), [kept]);
    let done = life.wait(kept).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    let called = stage.tools.calls("idempotent");
    assert!(called.iter().all(|call| call.principal.user_id() == Some(user.id)), "{called:?}");
    let spent = life.me.costs().summary(CostFilter::of_user(user.id)).await.unwrap();
    assert_eq!(spent.usage.requests, 3, "two of one, one of the other");

    // A user who was stopped meanwhile does not act any more.
    stage.tools.held.hold("idempotent");
    let ann = life.engine.login("ann@example.org", "sk-canary long password").await.unwrap();
    let id = ann.start("a", "go").await.unwrap().id();
    stage.tools.was_called("idempotent", 4).await;
    life.cut().await;
    let life = stage.open().await;
    let mut update = UserUpdate::default();
    update.active = Some(false);
    life.me.users().update(user.id, update).await.unwrap();
    assert_eq!(life.engine.recover().await.unwrap(), [id]);
    let done = life.wait(id).await;
    assert_eq!(done.error.as_ref().map(|error| error.code), Some(ErrorCode::PermissionDenied), "{done:?}");
    assert_eq!(stage.tools.calls("idempotent").len(), 4);
    life.audit(&done).await;
}

#[tokio::test]
async fn an_answer_that_has_come_when_the_engine_closes_is_kept() {
    // The model answers while the driver waits for the disk or is about to close: try many instants.
    for delay in 0..30_u64 {
        let stage = Stage::calling(&[]);
        let life = stage.open().await;
        let handle = life.me.start("a", "go").await.unwrap();
        stage.model.was_asked(1).await;
        tokio::time::sleep(Duration::from_micros(delay * 100)).await;
        life.cut().await;
        let (life, _) = stage.recovered().await;
        let done = life.wait(handle.id()).await;
        assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "done"));
        life.audit(&done).await;
        let paid = done.usage.input_tokens == USAGE.0;
        assert_eq!(stage.model.asked().len() == 1, paid, "asked once where it is paid once");
        life.cut().await;
    }
}
