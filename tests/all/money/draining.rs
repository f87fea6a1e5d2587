//! Answers that nobody waits for any more: read on within bounds, booked by what they say at their end.

use std::time::Duration;

use blitz::provider::{FunctionProvider, Reply as Answer};
use blitz::{
    AuditRecord, CostFilter, Drain, Engine, EngineSettings, EntryKind, ErrorCode, EventData, ExecutionFilter,
    ExecutionId, ExecutionStatus, LedgerEntry, Limits, ListOptions, ModelLimits, Money, NewAgent, NewBudget, NewModel,
    Price, Provenance, RetryPolicy, Session, Usage, UsageQuery,
};
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::canary::shown;
use crate::support::folder::Folder;
use crate::support::server::{Reply, Server};

const PATIENCE: Duration = Duration::from_secs(20);

/// Bounds that no test comes to.
fn far() -> Drain {
    Drain::new(3_600, 1 << 20)
}

fn text(text: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {"content": text}}]})
}

/// The end of an answer that used so much.
fn ended(reply: Reply, input: u64, output: u64) -> Reply {
    let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    reply
        .event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        .event(&json!({"choices": [], "usage": usage}))
        .send("data: [DONE]\n\n")
}

/// An answer whose first words come at once, and whose rest once the gate is open.
fn gated(gate: &watch::Sender<bool>) -> Reply {
    Reply::events().event(&text("so many words")).until(gate).event(&text(" and more that nobody hears"))
}

fn gate() -> watch::Sender<bool> {
    watch::Sender::new(false)
}

/// An engine on this database that reads on, with the agent `a` on the model at this server, a thousand nano-dollars
/// a token, under a budget that counts everything.
async fn at(database: &str, server: &Server, drain: Option<Drain>) -> (Engine, Session) {
    let builder = Engine::builder(database);
    let engine = drain.into_iter().fold(builder, blitz::EngineBuilder::with_drain).open().await.unwrap();
    let me = engine.root("test");
    let model = NewModel::new("m", "openai", "any").with_base_url(server.url()).with_api_key("sk-canary");
    me.models().put(model.with_price(Price::per_million("1", "1").unwrap())).await.unwrap();
    me.agents().put(NewAgent::new("a", "m").retry(RetryPolicy::never())).await.unwrap();
    me.budgets().put(NewBudget::per_execution("each", Money::parse("100").unwrap())).await.unwrap();
    (engine, me)
}

async fn entries(me: &Session) -> Vec<LedgerEntry> {
    me.costs().list(CostFilter::all(), ListOptions::limit(1000)).await.unwrap().items
}

async fn adjusted(me: &Session) -> Option<LedgerEntry> {
    entries(me).await.into_iter().find(|entry| entry.kind == EntryKind::Adjust)
}

/// Waits for the correction of an estimate.
async fn correction(me: &Session) -> LedgerEntry {
    let waiting = async {
        loop {
            if let Some(entry) = adjusted(me).await {
                return entry;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the late count is booked")
}

/// Posted and pending of the one execution there is.
async fn window(me: &Session) -> (i64, i64) {
    let budget = me.budgets().find("each").await.unwrap().id;
    let window = me.budgets().windows(budget, ListOptions::default()).await.unwrap().items.remove(0);
    (window.posted.units(), window.pending.units())
}

async fn late_lines(me: &Session) -> Vec<AuditRecord> {
    let trail = me.audit().list(ListOptions::limit(1000)).await.unwrap().items;
    trail.into_iter().filter(|line| line.action == "ledger.late_usage").collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Leaves {
    /// The reader of its events goes away.
    Events,
    /// It is asked to end.
    Cancel,
    /// Its time is over.
    Time,
}

/// Begins an execution whose model has said its first words, and lets it be ended so. Gives it once it has ended.
async fn leave(me: &Session, leaves: Leaves) -> ExecutionId {
    if leaves == Leaves::Time {
        let limits = Limits::default().with_timeout(Duration::from_millis(500));
        me.agents().put(NewAgent::new("a", "m").retry(RetryPolicy::never()).limits(limits)).await.unwrap();
    }
    let mut events = match leaves {
        Leaves::Events => me.stream("a", "a question").await.unwrap(),
        _ => me.start("a", "a question").await.unwrap().events(),
    };
    let mut id = ExecutionId(0);
    loop {
        let event = events.next().await.unwrap().unwrap();
        id = ExecutionId(id.0.max(event.execution_id.0));
        if matches!(event.data, EventData::ModelDelta { .. }) {
            break;
        }
    }
    match leaves {
        Leaves::Events => drop(events),
        Leaves::Cancel => me.executions().cancel(id).await.unwrap(),
        Leaves::Time => {}
    }
    tokio::time::timeout(PATIENCE, me.executions().wait(id)).await.expect("it ends, whatever comes").unwrap();
    id
}

#[tokio::test]
async fn t12_what_is_cancelled_is_booked_at_once_and_exactly_once_the_answer_ends() {
    // Above the estimate, below it, nothing at all, and exactly it as far as the cost goes.
    for (leaves, input, output) in
        [(Leaves::Events, 50, 700), (Leaves::Cancel, 3, 4), (Leaves::Time, 0, 0), (Leaves::Events, 7, 1)]
    {
        let gate = gate();
        let server = Server::start([ended(gated(&gate), input, output)]).await;
        let (engine, me) = at(":memory:", &server, Some(far())).await;
        let id = leave(&me, leaves).await;
        let execution = me.executions().get(id).await.unwrap();
        let status = if leaves == Leaves::Time { ExecutionStatus::Failed } else { ExecutionStatus::Cancelled };
        assert_eq!(execution.status, status, "{leaves:?}");
        let estimate = execution.cost.unwrap().nanos();
        assert!(estimate > 0);
        assert_eq!(window(&me).await, (estimate, 0), "{leaves:?}: nothing is open while it is read on");
        let settled = entries(&me).await.remove(0);
        assert_eq!(settled.usage.unwrap().provenance, Provenance::Estimated);
        assert_eq!(adjusted(&me).await, None, "nobody knows better yet");

        gate.send_replace(true);
        let exact = i64::try_from(input + output).unwrap() * 1_000;
        let adjust = correction(&me).await;
        assert_eq!(adjust.amount, Some(Money::from_nanos(exact - estimate)), "{leaves:?}");
        assert_eq!(adjust.reason.as_deref(), Some("late usage of the provider"));
        assert_eq!(adjust.reservation_id, settled.reservation_id);
        assert_eq!(window(&me).await, (exact, 0), "{leaves:?}");
        let summary = me.costs().summary(CostFilter::of_execution(id)).await.unwrap();
        assert_eq!(
            (summary.cost.nanos(), summary.usage.input_tokens, summary.usage.output_tokens),
            (exact, input, output)
        );
        let total = me.usage().query(UsageQuery::default()).await.unwrap().total;
        assert_eq!((total.cost.nanos(), total.input_tokens, total.output_tokens), (exact, input as i64, output as i64));
        assert_eq!((total.calls, total.attempts), (1, 1), "it is the same call");
        me.budgets().verify().await.unwrap();
        let lines = late_lines(&me).await;
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].details["amount"], json!(adjust.amount));
        // Its own outcome is what it was when it ended, and nothing of the rest was told.
        assert_eq!(me.executions().get(id).await.unwrap().cost.unwrap().nanos(), estimate);
        let events: Vec<_> = me.executions().events(id, 0).map(Result::unwrap).collect().await;
        assert!(!json!(events).to_string().contains("nobody hears"));
        engine.close().await.unwrap();
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn t13_a_future_that_is_dropped_is_read_on_too() {
    let gate = gate();
    let server = Server::start([ended(gated(&gate), 10, 20)]).await;
    let (_engine, me) = at(":memory:", &server, Some(far())).await;
    tokio::select! {
        done = me.run("a", "a question") => panic!("{done:?}"),
        () = server.asked(1) => {}
    }
    let all = me.executions().list(ExecutionFilter::default(), ListOptions::default()).await.unwrap().items;
    assert_eq!(me.executions().wait(all[0].id).await.unwrap().status, ExecutionStatus::Cancelled);
    gate.send_replace(true);
    correction(&me).await;
    assert_eq!(window(&me).await, (30_000, 0));
}

/// The estimate is all there is, and nothing is open.
async fn estimate_stays(me: &Session) {
    let entries = entries(me).await;
    assert_eq!(entries.iter().map(|entry| entry.kind).collect::<Vec<_>>(), [EntryKind::Settle]);
    assert_eq!(entries[0].usage.unwrap().provenance, Provenance::Estimated);
    assert_eq!(window(me).await, (entries[0].amount.unwrap().nanos(), 0));
    assert_eq!(late_lines(me).await.len(), 0);
    me.budgets().verify().await.unwrap();
}

#[tokio::test]
async fn t12_beyond_its_bounds_an_answer_is_not_read_and_the_estimate_stays() {
    let words = Reply::events().event(&text("so many words"));
    // The server writes until its client has gone.
    let endless = words.clone().endless(format!("data: {}\n\n", text("and more")));
    for (reply, drain) in [(endless, Drain::new(3_600, 1_000)), (words.hang(), Drain::new(1, 1_000))] {
        let server = Server::start([reply]).await;
        let (_engine, me) = at(":memory:", &server, Some(drain)).await;
        leave(&me, Leaves::Events).await;
        server.connections_ended(1).await;
        estimate_stays(&me).await;
    }
}

#[tokio::test]
async fn t12_an_answer_that_breaks_or_says_nothing_leaves_the_estimate() {
    let broken = |gate: &watch::Sender<bool>| gated(gate).send("data: {");
    let silent = |gate: &watch::Sender<bool>| {
        let stop = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        gated(gate).event(&stop).send("data: [DONE]\n\n")
    };
    let absurd = |gate: &watch::Sender<bool>| ended(gated(gate), u64::MAX / 4, 1);
    for reply in [broken, silent, absurd] {
        let gate = gate();
        let server = Server::start([reply(&gate)]).await;
        let folder = Folder::new();
        let path = folder.path().join("blitz.db").to_str().unwrap().to_owned();
        let (engine, me) = at(&path, &server, Some(far())).await;
        leave(&me, Leaves::Events).await;
        gate.send_replace(true);
        // It waits until nothing is read any more.
        engine.close_within(PATIENCE).await.unwrap();
        estimate_stays(&Engine::open(&path).await.unwrap().root("test")).await;
    }
}

#[tokio::test]
async fn t12_an_engine_that_closes_or_goes_waits_for_no_answer() {
    for closes in [true, false] {
        let folder = Folder::new();
        let path = folder.path().join("blitz.db").to_str().unwrap().to_owned();
        let server = Server::start([Reply::events().event(&text("so many words")).hang()]).await;
        let (engine, me) = at(&path, &server, Some(far())).await;
        leave(&me, Leaves::Events).await;
        if closes {
            let grace = Duration::from_millis(20);
            tokio::time::timeout(PATIENCE, engine.close_within(grace)).await.expect("no longer").unwrap();
        }
        drop((engine, me));
        // The answer is let go of: no task is left that reads it.
        server.connections_ended(1).await;
        let engine = Engine::open(&path).await.unwrap();
        estimate_stays(&engine.root("test")).await;
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn t12_within_the_grace_of_a_close_an_answer_still_counts() {
    let folder = Folder::new();
    let path = folder.path().join("blitz.db").to_str().unwrap().to_owned();
    let gate = gate();
    let server = Server::start([ended(gated(&gate), 10, 20)]).await;
    let (engine, me) = at(&path, &server, Some(far())).await;
    leave(&me, Leaves::Events).await;
    gate.send_replace(true);
    engine.close_within(PATIENCE).await.unwrap();
    let engine = Engine::open(&path).await.unwrap();
    assert_eq!(window(&engine.root("test")).await, (30_000, 0));
}

#[tokio::test]
async fn what_is_read_on_keeps_its_place_in_its_limits() {
    let gate = gate();
    let server = Server::start([ended(gated(&gate), 10, 20), ended(Reply::events().event(&text("hi")), 1, 1)]).await;
    let (_engine, me) = at(":memory:", &server, Some(far())).await;
    let mut limits = ModelLimits::default();
    limits.max_concurrent = Some(1);
    let model = NewModel::new("m", "openai", "any").with_base_url(server.url()).with_api_key("sk-canary");
    let model = model.with_price(Price::per_million("1", "1").unwrap());
    me.models().put(model.with_limits(limits)).await.unwrap();
    leave(&me, Leaves::Events).await;
    let second = tokio::spawn({
        let me = me.clone();
        async move { me.run("a", "another question").await.unwrap() }
    });
    gate.send_replace(true);
    server.asked(2).await;
    assert!(adjusted(&me).await.is_some(), "the second call is sent behind the end of the first");
    assert_eq!(second.await.unwrap().text(), "hi");
}

#[tokio::test]
async fn off_or_of_a_function_of_the_host_nothing_is_read_on() {
    let server = Server::start([Reply::events().event(&text("so many words")).hang()]).await;
    let (_engine, me) = at(":memory:", &server, None).await;
    leave(&me, Leaves::Events).await;
    server.connections_ended(1).await;
    estimate_stays(&me).await;

    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    let function = FunctionProvider::new("own", move |_, call| {
        let told = told.clone();
        tokio::spawn(async move {
            call.emit_text("so many words");
            call.cancel.cancelled().await;
            told.send(()).unwrap();
        });
        std::future::pending::<blitz::Result<Answer>>().boxed()
    });
    let engine = Engine::builder(":memory:").with_provider(function.remote()).with_drain(far()).open().await.unwrap();
    let me = engine.root("test");
    let model = NewModel::new("m", "own", "any").with_price(Price::per_million("1", "1").unwrap());
    me.models().put(model).await.unwrap();
    me.agents().put(NewAgent::new("a", "m").retry(RetryPolicy::never())).await.unwrap();
    me.budgets().put(NewBudget::per_execution("each", Money::parse("100").unwrap())).await.unwrap();
    leave(&me, Leaves::Events).await;
    tokio::time::timeout(PATIENCE, tells.recv()).await.expect("it is told to end").unwrap();
    estimate_stays(&me).await;
}

#[tokio::test]
async fn an_answer_that_somebody_waits_for_is_as_ever() {
    let server =
        Server::start([ended(Reply::events().event(&text("hello")), 5, 6), Reply::json(500, &json!({}))]).await;
    let (_engine, me) = at(":memory:", &server, Some(far())).await;
    let heard: Vec<_> = me.stream("a", "x").await.unwrap().map(|event| event.unwrap().data).collect().await;
    assert!(heard.iter().any(|data| matches!(data, EventData::ModelDelta { .. })));
    let summary = me.costs().summary(CostFilter::all()).await.unwrap();
    assert_eq!((summary.cost.nanos(), summary.usage), (11_000, Usage::new(5, 6)));
    assert_eq!(me.run("a", "x").await.unwrap().error.unwrap().code, ErrorCode::Unavailable);
    assert_eq!(adjusted(&me).await, None);
}

#[tokio::test]
async fn the_bounds_are_settings_and_wrong_ones_are_told() {
    let read = |drain: Value| EngineSettings::from_json(json!({"database_url": ":memory:", "drain": drain}));
    assert_eq!(read(json!({"seconds": 5, "bytes": 9})).unwrap().drain, Some(Drain::new(5, 9)));
    assert_eq!(read(json!({})).unwrap().drain, Some(Drain::default()));
    assert_eq!(read(json!(null)).unwrap().drain, None);
    assert_eq!(EngineSettings::new(":memory:").drain, None);
    for wrong in [json!(true), json!(5), json!({"seconds": -1}), json!({"seconds": 1.5}), json!({"minutes": 1})] {
        let error = read(wrong.clone()).unwrap_err();
        assert!(error.code() == ErrorCode::InvalidInput && shown(&error).contains("drain"), "{wrong}: {error}");
    }
    for wrong in [json!({"seconds": 0}), json!({"bytes": 0}), json!({"seconds": 3_601})] {
        let error = Engine::open_with(read(wrong.clone()).unwrap()).await.err().unwrap();
        assert!(error.code() == ErrorCode::InvalidInput && shown(&error).contains("drain"), "{wrong}: {error}");
    }
}
