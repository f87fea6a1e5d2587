//! An engine that closes: what runs is left for the next, what comes later is told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use blitz::provider::{Reply, Scripted};
use blitz::tool::FunctionTool;
use blitz::{
    BudgetScope, CostFilter, Decision, Engine, EntryKind, ErrorCode, EventData, ExecutionStatus, ListOptions, Money,
    NewBudget, Session, Waiting, tool_fn,
};
use futures_util::StreamExt;
use serde_json::json;

use super::code;
use crate::support::engine::{agent, priced};
use crate::support::folder::Folder;

/// How long the engines of these tests wait for what runs.
const GRACE: Duration = Duration::from_millis(30);

/// An engine on a file, over this provider.
async fn open(folder: &Folder, provider: Scripted) -> (Engine, Session) {
    let path = folder.path().join("blitz.db").display().to_string();
    let engine = Engine::builder(path).with_provider(provider).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(priced("m")).await.unwrap();
    (engine, me)
}

fn silent() -> Scripted {
    Scripted::from_fn(|_| Reply::text("late").with_delay(Duration::from_secs(3_600)))
}

async fn asked(provider: &Scripted) {
    while provider.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_run_that_the_engine_closes_on_is_interrupted_and_the_next_engine_finishes_it() {
    let folder = Folder::new();
    let provider = silent();
    let (engine, me) = open(&folder, provider.clone()).await;
    let limit = Money::parse("1").unwrap();
    let budget = me.budgets().create(NewBudget::per_execution("each", limit)).await.unwrap();
    assert_eq!(budget.spec.scope, BudgetScope::Execution);
    me.agents().put(agent("a", &[])).await.unwrap();
    let runner = me.clone();
    let running = tokio::spawn(async move { runner.run("a", "x").await });
    asked(&provider).await;

    engine.close_within(GRACE).await.unwrap();

    let error = running.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (ErrorCode::Interrupted, true));

    let (engine, me) = open(&folder, Scripted::new([Reply::text("here I am")])).await;
    let left = me.executions().list(Default::default(), ListOptions::default()).await.unwrap().items.remove(0);
    assert_eq!((left.interrupted, left.status), (true, ExecutionStatus::Running));
    assert_eq!(engine.recover().await.unwrap(), [left.id]);
    let done = me.executions().wait(left.id).await.unwrap();
    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "here I am"));
    let entries = me.costs().list(CostFilter::of_root(left.id), ListOptions::default()).await.unwrap().items;
    let booked: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.attempt)).collect();
    assert_eq!(booked, [(EntryKind::Settle, 1), (EntryKind::Settle, 2)], "the lost attempt is booked too");
    let window = me.budgets().windows(budget.id, ListOptions::default()).await.unwrap().items.remove(0);
    assert_eq!((window.pending.money(), Some(window.posted.money())), (Money::ZERO, done.cost));
    assert_eq!(engine.recover().await.unwrap(), [], "there is nothing left to recover");
    assert_eq!(me.audit().verify(None).await.unwrap().first_bad, None);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn what_ends_within_the_grace_ends_well() {
    let folder = Folder::new();
    let provider = Scripted::from_fn(|_| Reply::text("just in time").with_delay(Duration::from_millis(50)));
    let (engine, me) = open(&folder, provider.clone()).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let runner = me.clone();
    let running = tokio::spawn(async move { runner.run("a", "x").await });
    asked(&provider).await;
    engine.close().await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().text(), "just in time");
}

#[tokio::test]
async fn a_stream_that_the_engine_closes_on_ends_with_interrupted() {
    let folder = Folder::new();
    let provider = silent();
    let (engine, me) = open(&folder, provider.clone()).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let mut events = me.stream("a", "x").await.unwrap();
    asked(&provider).await;
    engine.close_within(GRACE).await.unwrap();
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event);
    }
    let error = last.expect("it says why").unwrap_err();
    assert!(matches!(error.code(), ErrorCode::Interrupted | ErrorCode::Closed), "{error}");
}

#[tokio::test]
async fn everything_after_close_is_closed() {
    let folder = Folder::new();
    let (engine, me) = open(&folder, Scripted::new([Reply::text("hi")])).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let handle = me.start("a", "x").await.unwrap();
    handle.wait().await.unwrap();

    engine.close().await.unwrap();
    engine.close().await.unwrap();

    let page = ListOptions::default;
    let (other, executions) = (engine.root("later"), me.executions());
    let codes = [
        code(me.run("a", "x").await),
        code(me.start("a", "x").await),
        code(me.stream("a", "x").await),
        code(me.agents().list(page()).await),
        code(me.agents().put(agent("b", &[])).await),
        code(me.tools().register(tool_fn!("t", "", |_: ()| async { Ok(1) })).await),
        code(me.call("agents.list", json!({})).await),
        code(other.models().get("m").await),
        code(engine.login("ana@example.com", "sk-canary long passphrase").await),
        code(engine.recover().await),
        code(executions.get(handle.id()).await),
        code(handle.wait().await),
        code(handle.cancel().await),
        code(handle.events().next().await.expect("the stream says why")),
        code(me.audit().verify(None).await),
        code(me.costs().summary(CostFilter::all()).await),
    ];
    assert_eq!(codes, [ErrorCode::Closed; 16]);
    let (_engine, me) = open(&folder, silent()).await;
    assert_eq!(me.executions().outcome(handle.id()).await.unwrap().text(), "hi", "nothing was lost");
}

/// A tool that says when it was called and then hangs.
fn hanging(calls: &Arc<AtomicU32>) -> FunctionTool {
    let calls = Arc::clone(calls);
    tool_fn!("press", "", move |_: ()| {
        calls.fetch_add(1, Ordering::SeqCst);
        async {
            std::future::pending::<()>().await;
            Ok(())
        }
    })
}

#[tokio::test]
async fn an_unsafe_tool_in_doubt_waits_for_a_decision_and_never_runs_again_by_itself() {
    for (decision, told) in [
        (Decision::Rerun, "pressed"),
        (Decision::Skip { value: json!("as if pressed") }, "as if pressed"),
        (Decision::Fail { message: "the press is broken".into() }, "the press is broken"),
    ] {
        let folder = Folder::new();
        let (engine, me) = open(&folder, Scripted::new([Reply::tool_call("press", json!({}))])).await;
        let calls = Arc::new(AtomicU32::new(0));
        me.tools().register(hanging(&calls)).await.unwrap();
        me.agents().put(agent("a", &["press"])).await.unwrap();
        let id = me.start("a", "x").await.unwrap().id();
        while calls.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        engine.close_within(GRACE).await.unwrap();

        let provider = Scripted::new([Reply::text("done")]);
        let (engine, me) = open(&folder, provider.clone()).await;
        assert_eq!(engine.recover().await.unwrap(), [], "its function is not registered");
        let counter = Arc::clone(&calls);
        let press = tool_fn!("press", "", move |_: ()| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok("pressed") }
        });
        me.tools().register(press).await.unwrap();
        assert_eq!(engine.recover().await.unwrap(), [id]);
        let key = loop {
            let execution = me.executions().get(id).await.unwrap();
            if let [Waiting::Decision { key, .. }] = execution.waiting_for.as_slice() {
                break key.clone();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert_eq!(calls.load(Ordering::SeqCst), 1, "it ran again by itself");
        assert_eq!(code(me.executions().decide(id, "9/tool/9", Decision::Rerun).await), ErrorCode::Conflict);
        let deep = Decision::Skip { value: super::nested(200) };
        assert_eq!(code(me.executions().decide(id, &key, deep).await), ErrorCode::InvalidInput);

        me.executions().decide(id, &key, decision.clone()).await.unwrap();

        assert_eq!(me.executions().wait(id).await.unwrap().text(), "done");
        assert_eq!(super::told(&provider)[0].as_text(), told);
        assert_eq!(calls.load(Ordering::SeqCst), 1 + u32::from(decision == Decision::Rerun));
        assert_eq!(code(me.executions().decide(id, &key, Decision::Rerun).await), ErrorCode::Conflict);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_second_engine_on_the_file_leaves_the_first_ones_executions_alone() {
    let folder = Folder::new();
    let provider = silent();
    let (_first, me) = open(&folder, provider.clone()).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let handle = me.start("a", "x").await.unwrap();
    asked(&provider).await;

    let (second, there) = open(&folder, silent()).await;

    assert_eq!(second.recover().await.unwrap(), []);
    let seen = there.executions().get(handle.id()).await.unwrap();
    assert_eq!((seen.interrupted, seen.status), (false, ExecutionStatus::Running));
    there.executions().cancel(handle.id()).await.unwrap();
    let ended =
        tokio::time::timeout(Duration::from_secs(20), handle.wait()).await.expect("the first engine hears of it");
    assert_eq!(ended.unwrap().status, ExecutionStatus::Cancelled);
    let last = there.executions().events(handle.id(), 0).map(Result::unwrap).collect::<Vec<_>>().await.pop().unwrap();
    assert!(matches!(last.data, EventData::ExecutionFinished(_)));
}

#[tokio::test]
async fn cancelling_what_nobody_runs_ends_it_and_its_money() {
    let folder = Folder::new();
    let provider = silent();
    let (engine, me) = open(&folder, provider.clone()).await;
    let budget = me.budgets().create(NewBudget::per_execution("each", Money::parse("1").unwrap())).await.unwrap();
    me.agents().put(agent("a", &[])).await.unwrap();
    let id = me.start("a", "x").await.unwrap().id();
    asked(&provider).await;
    engine.close_within(GRACE).await.unwrap();

    let (_engine, me) = open(&folder, silent()).await;
    me.executions().cancel(id).await.unwrap();

    let done = me.executions().outcome(id).await.unwrap();
    assert_eq!(done.status, ExecutionStatus::Cancelled);
    let window = me.budgets().windows(budget.id, ListOptions::default()).await.unwrap().items.remove(0);
    assert_eq!((window.pending.money(), Some(window.posted.money())), (Money::ZERO, done.cost));
    assert!(window.posted.money() > Money::ZERO, "the call was sent");
    assert_eq!(code(me.executions().cancel(id).await), ErrorCode::Conflict);
}
