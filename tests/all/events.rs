//! The one stream of everything that happens: whole, in order, the same for every reader.

use std::sync::Arc;
use std::time::Duration;

use blitz::provider::{Reply, Scripted};
use blitz::{
    Budget, ErrorCode, Event, EventData, ExecutionId, ExecutionStatus, ListOptions, Money, NewAgent, NewBudget,
    Session, tool_fn,
};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;

use crate::bad_input::code;
use crate::support::engine::{agent, scripted, with_provider};

/// A tool that gives its argument back.
fn echo() -> blitz::tool::FunctionTool {
    #[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
    struct Number {
        n: u32,
    }
    tool_fn!("echo", "", |number: Number| async move { Ok(number) }).pure()
}

/// A provider that never answers.
fn silent() -> Scripted {
    Scripted::from_fn(|_| Reply::text("late").with_delay(Duration::from_secs(3_600)))
}

async fn read(mut events: blitz::EventStream) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        all.push(event.unwrap());
    }
    assert!(events.next().await.is_none(), "it has ended still");
    all
}

fn is_live(event: &Event) -> bool {
    matches!(event.data, EventData::ModelDelta { .. } | EventData::ModelReset { .. })
}

/// The state events of a stream, which must be 1..n without a gap and end with the root's end.
fn states(events: &[Event], root: ExecutionId) -> Vec<Event> {
    let states: Vec<Event> = events.iter().filter(|event| !is_live(event)).cloned().collect();
    let seqs: Vec<i64> = states.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>(), "a gap or a wrong order");
    let last = events.last().unwrap();
    assert!(matches!(last.data, EventData::ExecutionFinished(_)) && last.execution_id == root, "{last:?}");
    states
}

/// A budget that counts every execution.
async fn budget(me: &Session) -> Budget {
    me.budgets().create(NewBudget::per_execution("all", Money::parse("100").unwrap())).await.unwrap()
}

async fn nothing_reserved(me: &Session, budget: &Budget) {
    for window in me.budgets().windows(budget.id, ListOptions::default()).await.unwrap().items {
        assert_eq!(window.pending, Money::ZERO, "something stays reserved: {window:?}");
    }
}

/// The only execution there is, once it has ended.
async fn the_ended_one(me: &Session) -> blitz::Outcome {
    let listed = me.executions().list(Default::default(), ListOptions::default()).await.unwrap().items;
    assert_eq!(listed.len(), 1);
    let executions = me.executions();
    let waited = tokio::time::timeout(Duration::from_secs(20), executions.wait(listed[0].id));
    waited.await.expect("it ends").unwrap()
}

#[tokio::test]
async fn a_stream_is_whole_and_a_replay_from_anywhere_is_the_same() {
    let replies = vec![
        Reply::tool_calls(vec![("echo", json!({"n": 1})), ("echo", json!({"n": 2}))]),
        Reply::text("one two three"),
    ];
    let (_engine, me, _) = scripted(replies).await;
    me.tools().register(echo()).await.unwrap();
    me.agents().put(agent("a", &["echo"])).await.unwrap();

    let live = read(me.stream("a", "x").await.unwrap()).await;

    let root = live[0].execution_id;
    let states = states(&live, root);
    let names: Vec<&str> = states.iter().map(|event| event.data.type_name()).collect();
    assert_eq!(names[..3], ["execution.queued", "execution.started", "step.started"]);
    assert_eq!(names.iter().filter(|name| **name == "tool.finished").count(), 2);
    for after in 0..states.len() {
        let replayed = read(me.executions().events(root, after as i64)).await;
        assert_eq!(replayed, states[after..], "a replay behind {after}");
    }
    assert!(read(me.executions().events(root, states.len() as i64)).await.is_empty(), "nothing comes behind the end");
}

#[tokio::test]
async fn who_has_read_all_and_asks_for_more_hears_that_it_has_ended() {
    let (_engine, me, _) = scripted(vec![Reply::text("x")]).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let id = me.run("a", "x").await.unwrap().execution_id;
    let last = read(me.executions().events(id, 0)).await.last().unwrap().seq;
    for after in [last, last + 1, 999, i64::MAX] {
        assert!(read(me.executions().events(id, after)).await.is_empty(), "{after}");
    }
}

#[tokio::test]
async fn deltas_carry_the_seq_of_the_last_state_event_and_count_from_zero() {
    let (_engine, me, _) = scripted(vec![Reply::text("one two three four")]).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let events = read(me.stream("a", "x").await.unwrap()).await;
    let mut last = 0;
    let mut indices = Vec::new();
    for event in &events {
        match &event.data {
            EventData::ModelDelta { attempt, index, .. } => {
                assert_eq!((event.seq, *attempt, event.path.as_str()), (last, 1, "1/model"));
                indices.push(*index);
            }
            _ => last = event.seq,
        }
    }
    assert_eq!(indices, [0, 1, 2, 3]);
}

#[tokio::test]
async fn the_events_of_children_are_in_the_stream_of_their_root() {
    let provider = Scripted::from_fn(|request| {
        let answered = request.messages.len() > 2;
        match (request.messages[0].text_content().as_str(), answered) {
            ("parent", false) => {
                Reply::tool_calls(vec![("child", json!({"input": "a"})), ("child", json!({"input": "b"}))])
            }
            ("parent", true) => Reply::text("done"),
            _ => Reply::text("of a child"),
        }
    });
    let (_engine, me, _) = with_provider(provider).await;
    me.agents().put(NewAgent::new("child", "m").instructions("child")).await.unwrap();
    me.agents().put(NewAgent::new("parent", "m").instructions("parent").agent("child")).await.unwrap();

    let events = read(me.stream("parent", "x").await.unwrap()).await;

    let root = events[0].execution_id;
    let states = states(&events, root);
    let ends = states.iter().filter(|event| matches!(event.data, EventData::ExecutionFinished(_)));
    let ended: Vec<ExecutionId> = ends.map(|event| event.execution_id).collect();
    assert_eq!((ended.len(), *ended.last().unwrap()), (3, root), "two children, then the root");
    let deltas_of_children = events.iter().filter(|event| is_live(event) && event.execution_id != root).count();
    assert!(deltas_of_children > 0, "deltas of children too");
    assert_eq!(read(me.executions().events(root, 0)).await, states);
}

#[tokio::test]
async fn a_slow_reader_loses_no_state_event() {
    let calls: Vec<_> = (0..700).map(|n| ("echo", json!({"n": n}))).collect();
    let (_engine, me, _) = scripted(vec![Reply::tool_calls(calls), Reply::text("done")]).await;
    me.tools().register(echo()).await.unwrap();
    me.agents().put(agent("a", &["echo"])).await.unwrap();
    let handle = me.start("a", "x").await.unwrap();
    let mut slow = handle.events();
    let first = slow.next().await.unwrap().unwrap();

    let done = handle.wait().await.unwrap();
    let mut events = vec![first];
    events.extend(read(slow).await);

    assert_eq!(done.text(), "done");
    let states = states(&events, handle.id());
    assert!(states.len() > 1_400, "{} events", states.len());
    assert_eq!(read(handle.events()).await, states);
}

#[tokio::test]
async fn a_reader_that_comes_late_gets_all_that_is_written_while_nothing_new_happens() {
    let calls: Vec<_> = (0..700).map(|n| ("echo", json!({"n": n}))).collect();
    let late = Reply::text("late").with_delay(Duration::from_secs(3_600));
    let (_engine, me, _) = scripted(vec![Reply::tool_calls(calls), late]).await;
    me.tools().register(echo()).await.unwrap();
    me.agents().put(agent("a", &["echo"])).await.unwrap();
    let handle = me.start("a", "x").await.unwrap();
    let second_call = |event: &Event| event.path == "2/model" && matches!(event.data, EventData::StepStarted(_));
    let until_then = |mut events: blitz::EventStream| async move {
        let mut count = 1;
        while !second_call(&events.next().await.unwrap().unwrap()) {
            count += 1;
        }
        count
    };
    let count = until_then(handle.events()).await;
    // The model is silent now: whoever comes must not wait for it.
    let again = tokio::time::timeout(Duration::from_secs(20), until_then(handle.events())).await;
    assert!(again.expect("all of it comes at once") <= count);
    handle.cancel().await.unwrap();
    assert_eq!(handle.wait().await.unwrap().status, ExecutionStatus::Cancelled);
}

#[tokio::test]
async fn dropping_the_stream_cancels_and_settles() {
    let (_engine, me, provider) = with_provider(silent()).await;
    let budget = budget(&me).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let mut events = me.stream("a", "x").await.unwrap();
    while provider.requests().is_empty() {
        events.next().await.unwrap().unwrap();
        tokio::task::yield_now().await;
    }
    drop(events);
    let done = the_ended_one(&me).await;
    assert_eq!((done.status, done.usage.requests), (ExecutionStatus::Cancelled, 1));
    assert!(done.cost.unwrap() > Money::ZERO, "the call was sent");
    nothing_reserved(&me, &budget).await;
}

#[tokio::test]
async fn dropping_the_future_of_a_run_cancels_and_settles() {
    let (_engine, me, provider) = with_provider(silent()).await;
    let budget = budget(&me).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let running = me.run("a", "x");
    tokio::select! {
        _ = running => panic!("the model never answers"),
        () = async { while provider.requests().is_empty() { tokio::time::sleep(Duration::from_millis(1)).await } } => {}
    }
    let done = the_ended_one(&me).await;
    assert_eq!(done.status, ExecutionStatus::Cancelled);
    nothing_reserved(&me, &budget).await;
}

#[tokio::test]
async fn t13_a_run_that_is_dropped_while_it_begins_leaves_nothing_open() {
    let (_engine, me, _) = with_provider(silent()).await;
    let budget = budget(&me).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    assert!(me.run("a", "x").now_or_never().is_none(), "polled once, then dropped");
    let begun = async {
        while me.executions().list(Default::default(), ListOptions::default()).await.unwrap().items.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begun).await.expect("it was queued");
    assert_eq!(the_ended_one(&me).await.status, ExecutionStatus::Cancelled);
    nothing_reserved(&me, &budget).await;
}

#[tokio::test]
async fn start_detaches() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let (_engine, me, _) = scripted(vec![Reply::tool_call("wait", json!({})), Reply::text("done")]).await;
    let wait = tool_fn!("wait", "", move |_: ()| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    });
    me.tools().register(wait).await.unwrap();
    me.agents().put(agent("a", &["wait"])).await.unwrap();
    let handle = me.start("a", "x").await.unwrap();
    let id = handle.id();
    drop(handle.events());
    drop(handle);
    opened.add_permits(1);
    assert_eq!(me.executions().wait(id).await.unwrap().text(), "done");
}

#[tokio::test]
async fn a_cancel_comes_from_any_thread_and_only_once() {
    let (_engine, me, _) = with_provider(silent()).await;
    let budget = budget(&me).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let handle = me.start("a", "x").await.unwrap();
    let elsewhere = handle.clone();
    let cancelling = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(elsewhere.cancel())
    });
    let done = handle.wait().await.unwrap();
    cancelling.join().unwrap().unwrap();
    assert_eq!((done.status, done.error), (ExecutionStatus::Cancelled, None));
    assert_eq!(code(handle.cancel().await), ErrorCode::Conflict);
    let names: Vec<&str> = read(handle.events()).await.iter().map(|event| event.data.type_name()).collect();
    assert_eq!(names.iter().filter(|name| **name == "execution.cancelling").count(), 1, "{names:?}");
    nothing_reserved(&me, &budget).await;
}

#[tokio::test]
async fn a_cancel_reaches_children_and_their_tools() {
    let provider = Scripted::from_fn(|request| match request.messages[0].text_content().as_str() {
        "parent" => Reply::tool_call("child", json!({"input": "a"})),
        _ => Reply::tool_call("hang", json!({})),
    });
    let (_engine, me, _) = with_provider(provider).await;
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let hang = blitz::tool::FunctionTool::with_context("hang", "", move |_: (), context: blitz::tool::ToolContext| {
        began.send(context.cancel.clone()).unwrap();
        async move {
            std::future::pending::<()>().await;
            Ok(())
        }
    });
    me.tools().register(hang).await.unwrap();
    me.agents().put(NewAgent::new("child", "m").instructions("child").tool("hang")).await.unwrap();
    me.agents().put(NewAgent::new("parent", "m").instructions("parent").agent("child")).await.unwrap();
    let handle = me.start("parent", "x").await.unwrap();
    let token = begun.recv().await.unwrap();

    handle.cancel().await.unwrap();

    assert_eq!(handle.wait().await.unwrap().status, ExecutionStatus::Cancelled);
    assert!(token.is_cancelled(), "the tool was told");
    let events = read(handle.events()).await;
    let ends = events.iter().filter_map(|event| match &event.data {
        EventData::ExecutionFinished(finished) => Some(finished.status),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [ExecutionStatus::Cancelled; 2]);
}

#[tokio::test]
async fn executions_one_after_the_other_leave_no_tasks_behind() {
    let (_engine, me, _) = with_provider(Scripted::from_fn(|_| Reply::text("hi"))).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    for _ in 0..50 {
        me.run("a", "x").await.unwrap();
    }
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(tasks <= 5, "{tasks} tasks are alive");
}
