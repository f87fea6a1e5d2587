//! What a call is booked at when its caller goes away, and what identifies a call and what does not.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use blitz::provider::{FunctionProvider, Reply as Answer};
use blitz::{
    CostFilter, Engine, EntryKind, Error, ErrorCode, EventData, ExecutionFilter, ExecutionStatus, ListOptions, Money,
    NewAgent, NewBudget, NewModel, NewUser, Price, RetryPolicy, RunOptions, Session, UsageQuery, Visibility,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::engine;
use crate::bad_input::code;
use crate::support::server::{Reply, Server};

const PATIENCE: Duration = Duration::from_secs(20);

/// An engine whose model `m` is at this server, under a budget that counts everything.
async fn at(server: &Server) -> (Engine, Session) {
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let price = Price::per_million("1", "1").unwrap();
    me.models().put(NewModel::new("m", "openai", "any").with_base_url(server.url()).with_price(price)).await.unwrap();
    me.agents().put(NewAgent::new("a", "m").retry(blitz::RetryPolicy::never())).await.unwrap();
    me.budgets().put(NewBudget::per_execution("each", Money::parse("100").unwrap())).await.unwrap();
    (engine, me)
}

fn text(text: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {"content": text}}]})
}

/// The only execution, once it has ended: what was booked for it, with nothing left open.
async fn settled(me: &Session) -> (ExecutionStatus, Money) {
    let all = me.executions().list(ExecutionFilter::default(), ListOptions::default()).await.unwrap().items;
    assert_eq!(all.len(), 1);
    let executions = me.executions();
    let done = tokio::time::timeout(PATIENCE, executions.wait(all[0].id)).await.expect("it ends").unwrap();
    let budget = me.budgets().find("each").await.unwrap();
    for window in me.budgets().windows(budget.id, ListOptions::default()).await.unwrap().items {
        assert_eq!((window.pending.units(), window.posted.units()), (0, done.cost.unwrap().nanos()));
    }
    me.budgets().verify().await.unwrap();
    (done.status, done.cost.unwrap())
}

async fn until<F: Future<Output = bool>>(mut ready: impl FnMut() -> F) {
    let waiting = async {
        while !ready().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to that");
}

/// What the reader of a stream has seen when it goes away.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Nothing,
    Some,
    Everything,
}

#[tokio::test]
async fn t12_t13_whoever_goes_away_pays_the_floor_and_leaves_nothing_open() {
    let words = "so many words of an answer that were made and paid for";
    for seen in [Seen::Nothing, Seen::Some, Seen::Everything] {
        let finish = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        let reply = match seen {
            Seen::Nothing => Reply::events().hang(),
            Seen::Some => Reply::events().event(&text(words)).hang(),
            // All of it came; what it used did not.
            Seen::Everything => Reply::events().event(&text(words)).event(&finish).hang(),
        };
        let server = Server::start([reply]).await;
        let (_engine, me) = at(&server).await;
        let mut events = me.stream("a", "a question of some length").await.unwrap();
        until(|| async { !server.requests().is_empty() }).await;
        if seen != Seen::Nothing {
            while !matches!(events.next().await.unwrap().unwrap().data, EventData::ModelDelta { .. }) {}
        }
        drop(events);
        server.connections_ended(1).await;
        let (status, cost) = settled(&me).await;
        assert_eq!(status, ExecutionStatus::Cancelled, "{seen:?}");
        // A nano a thousandth: all of the input, and of the output what came.
        let least = "a question of some length".len() / 8 * 1_000;
        assert!(cost.nanos() >= least as i64, "{seen:?}: {cost}");
        let entries = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items;
        let usage = entries.iter().find(|entry| entry.kind == EntryKind::Settle).unwrap().usage.unwrap();
        assert_eq!(usage.provenance, blitz::Provenance::Estimated, "{seen:?}");
        assert_eq!(usage.output_tokens > 0, seen != Seen::Nothing, "{seen:?}");
    }
}

/// T12 and T13 give it a second: here it has none. The engine's clock stands still from the moment the caller goes, so
/// what is booked and let go waits for no timer, no lease and no sweep.
#[tokio::test(start_paused = true)]
async fn t12_t13_no_time_goes_by_before_nothing_is_open() {
    for seen in [Seen::Nothing, Seen::Some] {
        // The runtime's clock stands still while a blocking task runs, even where all else waits.
        let (still, held) = std::sync::mpsc::channel::<()>();
        let holding = tokio::task::spawn_blocking(move || held.recv());
        let asked = Arc::new(tokio::sync::Notify::new());
        let asks = Arc::clone(&asked);
        let provider = FunctionProvider::new("scripted", move |_, call| {
            let asks = Arc::clone(&asks);
            async move {
                if seen == Seen::Some {
                    call.emit_text("so many words of an answer that were made and paid for");
                }
                asks.notify_one();
                std::future::pending::<()>().await;
                Ok(Answer::text("never"))
            }
        });
        let engine = Engine::builder(":memory:").with_provider(provider).open().await.unwrap();
        let me = engine.root("test");
        me.models().put(crate::support::engine::priced("m")).await.unwrap();
        me.agents().put(NewAgent::new("a", "m").retry(RetryPolicy::never())).await.unwrap();
        let budget = me.budgets().put(NewBudget::per_execution("each", Money::parse("100").unwrap())).await.unwrap().id;
        let mut events = me.stream("a", "a question of some length").await.unwrap();
        asked.notified().await;
        while seen == Seen::Some && !matches!(events.next().await.unwrap().unwrap().data, EventData::ModelDelta { .. })
        {
        }
        let windows = async || me.budgets().windows(budget, ListOptions::default()).await.unwrap().items;
        assert!(windows().await[0].pending.units() > 0, "{seen:?}: the call is out");

        let (gone, patience) = (tokio::time::Instant::now(), std::time::Instant::now());
        drop(events);
        let window = loop {
            let window = windows().await.remove(0);
            if window.pending.units() == 0 {
                break window;
            }
            assert!(patience.elapsed() < PATIENCE, "{seen:?}: it waits for a clock that stands still: {window:?}");
            tokio::task::yield_now().await;
        };
        assert_eq!(gone.elapsed(), Duration::ZERO, "the clock stood still");
        assert!(
            window.posted.units() >= ("a question of some length".len() / 8 * 1_000) as i64,
            "{seen:?}: {window:?}"
        );
        me.budgets().verify().await.unwrap();
        drop(still);
        holding.await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn t13_a_future_that_is_dropped_in_the_middle_pays_the_floor() {
    let server = Server::start([Reply::events().hang()]).await;
    let (_engine, me) = at(&server).await;
    tokio::select! {
        done = me.run("a", "a question") => panic!("{done:?}"),
        () = until(|| async { !server.requests().is_empty() }) => {}
    }
    let (status, cost) = settled(&me).await;
    assert_eq!(status, ExecutionStatus::Cancelled);
    assert!(cost > Money::ZERO, "it was sent");
}

async fn executions(me: &Session) -> usize {
    me.executions().list(ExecutionFilter::default(), ListOptions::default()).await.unwrap().items.len()
}

#[tokio::test]
async fn t14_a_key_used_again_gives_the_run_there_is_and_for_another_run_it_is_a_conflict() {
    let (_engine, me) = engine().await;
    let keyed = || RunOptions::default().with_client_key("order-7");
    let agents = me.agents();
    let first = agents.run_with("a", "go", keyed()).await.unwrap();
    for _ in 0..2 {
        let again = agents.run_with("a", "go", keyed()).await.unwrap();
        assert_eq!((again.execution_id, again.output.clone()), (first.execution_id, first.output.clone()));
    }
    assert_eq!(agents.start_with("a", "go", keyed()).await.unwrap().id(), first.execution_id);
    let heard: Vec<_> = agents.stream_with("a", "go", keyed()).await.unwrap().map(Result::unwrap).collect().await;
    assert!(heard.iter().all(|event| event.execution_id == first.execution_id) && !heard.is_empty());
    let run = agents.run_heard("a", "go", keyed()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap().execution_id, first.execution_id);
    let called = json!({"agent": "a", "input": "go", "options": {"client_key": "order-7"}});
    assert_eq!(me.call("agents.run", called).await.unwrap()["execution_id"], json!(first.execution_id));
    let one = Money::parse("0.1").unwrap();
    assert_eq!((executions(&me).await, me.costs().summary(CostFilter::all()).await.unwrap().cost), (1, one));

    me.agents().put(NewAgent::new("b", "dear")).await.unwrap();
    assert_eq!(code(agents.run_with("a", "something else", keyed()).await), ErrorCode::Conflict);
    assert_eq!(code(agents.start_with("b", "go", keyed()).await), ErrorCode::Conflict);
    assert_eq!(code(agents.run_with("a", "go", keyed().with_tag("team", "blue")).await), ErrorCode::Conflict);
    let trail = me.audit().list(ListOptions::limit(1000)).await.unwrap().items;
    let denied = trail.iter().filter(|line| line.action == "agents.run" && line.outcome == blitz::AuditOutcome::Denied);
    assert!(denied.count() >= 1, "a conflict is audited");
    for bad in ["".to_owned(), "x".repeat(201)] {
        let options = RunOptions::default().with_client_key(bad);
        assert_eq!(code(agents.run_with("a", "go", options).await), ErrorCode::InvalidInput);
    }
    // It only saves a run: what runs without a key, or by another one, is booked.
    agents.run_with("a", "go", RunOptions::default().with_client_key("order-8")).await.unwrap();
    agents.run("a", "go").await.unwrap();
    assert_eq!(me.costs().summary(CostFilter::all()).await.unwrap().cost, one.add(one).unwrap().add(one).unwrap());
}

#[tokio::test]
async fn t14_of_many_at_once_by_one_key_one_runs() {
    let (_engine, me) = engine().await;
    let runs = (0..40).map(|_| {
        let me = me.clone();
        async move { me.agents().run_with("a", "go", RunOptions::default().with_client_key("k")).await.unwrap() }
    });
    let all = futures_util::future::join_all(runs).await;
    assert!(all.iter().all(|done| done.execution_id == all[0].execution_id));
    assert_eq!(executions(&me).await, 1);
}

#[tokio::test]
async fn t15_two_principals_have_keys_of_their_own() {
    let (engine, me) = engine().await;
    me.models().set_visibility("dear", Visibility::Shared).await.unwrap();
    me.agents().set_visibility("a", Visibility::Shared).await.unwrap();
    let mut ids = Vec::new();
    for email in ["ana@example.org", "ben@example.org"] {
        me.users().create(NewUser::new(email, "sk-canary long password")).await.unwrap();
        let session = engine.login(email, "sk-canary long password").await.unwrap();
        for input in ["go", "go"] {
            let options = RunOptions::default().with_client_key("the same");
            ids.push(session.agents().run_with("a", input, options).await.unwrap().execution_id);
        }
    }
    assert!(ids[0] == ids[1] && ids[2] == ids[3] && ids[0] != ids[2], "{ids:?}");
    assert_eq!(me.costs().summary(CostFilter::all()).await.unwrap().cost, Money::parse("0.2").unwrap());
}

#[tokio::test]
async fn t16_a_request_number_that_a_caller_makes_up_counts_for_nothing() {
    let (_engine, me) = engine().await;
    for _ in 0..3 {
        me.clone().with_request_id("req-1").run("a", "go").await.unwrap();
    }
    assert_eq!((executions(&me).await, me.costs().summary(CostFilter::all()).await.unwrap().usage.requests), (3, 3));
    assert_eq!(me.costs().summary(CostFilter::all()).await.unwrap().cost, Money::parse("0.3").unwrap());
}

#[tokio::test]
async fn t19_ids_of_a_provider_that_are_missing_or_repeat_lose_no_booking() {
    let answer = |id: Value| {
        let usage = json!({"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200});
        let choice = json!({"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"});
        Reply::json(200, &json!({"id": id, "choices": [choice], "usage": usage}))
    };
    let ids = [json!("same"), json!("same"), json!(null), json!(null), json!("")];
    let count = ids.len();
    let server = Server::start(ids.map(answer)).await;
    let (_engine, me) = at(&server).await;
    for _ in 0..count {
        assert_eq!(me.run("a", "x").await.unwrap().text(), "hello");
    }
    let entries = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items;
    assert_eq!(entries.iter().filter(|entry| entry.kind == EntryKind::Settle).count(), count);
    let summary = me.costs().summary(CostFilter::all()).await.unwrap();
    assert_eq!((summary.usage.requests, summary.cost.nanos()), (5, 5 * 200 * 1_000));
}

#[tokio::test]
async fn t20_five_hundred_runs_on_a_failing_provider_are_asked_and_booked_three_times_each() {
    let asked = Arc::new(AtomicI64::new(0));
    let count = Arc::clone(&asked);
    let down = FunctionProvider::new("down", move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Err::<Answer, _>(Error::new(ErrorCode::Unavailable, "down")) }
    });
    let engine = Engine::builder(":memory:").with_provider(down).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(super::model("down", "0.001")).await.unwrap();
    let retry = RetryPolicy::attempts(3, Duration::ZERO);
    me.agents().put(NewAgent::new("a", "down").retry(retry)).await.unwrap();
    let mut runs = JoinSet::new();
    for _ in 0..500 {
        let me = me.clone();
        runs.spawn(async move { me.run("a", "go").await.unwrap().error.unwrap() });
    }
    while let Some(error) = runs.join_next().await {
        let error = error.unwrap();
        assert_eq!((error.code, &error.details["retries_exhausted"]), (ErrorCode::Unavailable, &json!(3)));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1_500, "no attempt is made beyond the policy");
    let total = me.usage().query(UsageQuery::default()).await.unwrap().total;
    assert_eq!((total.attempts, total.failures, total.calls), (1_500, 1_500, 500));
    // What was sent is never free: each attempt is booked by itself.
    assert_eq!(total.cost, Money::from_nanos(1_500 * 1_000_000));
    me.budgets().verify().await.unwrap();
}

#[tokio::test]
async fn t14_a_key_stands_for_the_same_run_in_whatever_order_its_fields_come() {
    let (_engine, me) = engine().await;
    let keyed = || RunOptions::default().with_client_key("order-9");
    let first = json!({"a": 1, "b": {"c": [{"d": 1, "e": 2}], "f": 3}});
    let again = json!({"b": {"f": 3, "c": [{"e": 2, "d": 1}]}, "a": 1});
    let id = me.agents().run_with("a", first, keyed()).await.unwrap().execution_id;
    assert_eq!(me.agents().run_with("a", again, keyed()).await.unwrap().execution_id, id);
    let other = json!({"b": {"f": 3, "c": [{"e": 2, "d": 2}]}, "a": 1});
    assert_eq!(code(me.agents().run_with("a", other, keyed()).await), ErrorCode::Conflict);
}
