//! A provider that fails in every way, through a whole execution: what the caller is told, how often
//! the provider is asked, what is booked, and that nothing stays reserved.

use std::time::{Duration, Instant};

use blitz::{
    Budget, CostFilter, Engine, EntryKind, ErrorCode, ErrorInfo, EventData, ExecutionStatus, LedgerEntry, Limits,
    ListOptions, Money, NewAgent, NewBudget, NewModel, NewUser, Outcome, Part, Price, Provenance, RetryPolicy, Session,
    Timestamp, ToolResult, Visibility, tool_fn,
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::engine::{agent, scripted};
use crate::support::server::{Reply, Server};

const KEY: &str = "sk-canary-key";
const PASSWORD: &str = "sk-canary long passphrase";
const PROMPT: &str = "canary prompt";

/// A user whose agent `a` asks a scripted server, with a budget for each user and each execution.
struct World {
    _engine: Engine,
    root: Session,
    ana: Session,
    server: Server,
    budgets: Vec<Budget>,
}

/// What an execution left in the books.
struct Books {
    entries: Vec<LedgerEntry>,
}

impl World {
    async fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let server = Server::start(replies).await;
        let url = server.url().to_owned();
        Self::at(server, &url).await
    }

    /// The same with the model at another address.
    async fn at(server: Server, url: &str) -> Self {
        let engine = Engine::open(":memory:").await.unwrap();
        let root = engine.root("test");
        let price = Price::per_million("1", "1").unwrap();
        let model = NewModel::new("m", "openai", "test-model").with_base_url(url).with_api_key(KEY).with_price(price);
        root.models().put(model).await.unwrap();
        root.models().set_visibility("m", Visibility::Shared).await.unwrap();
        let dollar = Money::parse("1").unwrap();
        let per_user = root.budgets().create(NewBudget::per_user("user", dollar)).await.unwrap();
        let per_execution = root.budgets().create(NewBudget::per_execution("execution", dollar)).await.unwrap();
        root.users().create(NewUser::new("ana@example.com", PASSWORD)).await.unwrap();
        let ana = engine.login("ana@example.com", PASSWORD).await.unwrap();
        let retry = RetryPolicy::attempts(3, Duration::from_millis(1));
        ana.agents().put(NewAgent::new("a", "m").retry(retry)).await.unwrap();
        Self { _engine: engine, root, ana, server, budgets: vec![per_user, per_execution] }
    }

    /// Lets the agent's execution take so long at most.
    async fn limit(&self, timeout_ms: u64) {
        let mut limits = Limits::default();
        limits.timeout_ms = timeout_ms;
        let agent = self.ana.agents().get("a").await.unwrap().spec.limits(limits);
        self.ana.agents().put(agent).await.unwrap();
    }

    async fn run(&self) -> Outcome {
        self.ana.run("a", PROMPT).await.unwrap()
    }

    /// Runs the agent, which must fail; the failure must say nothing secret.
    async fn fails(&self) -> (ErrorInfo, Outcome) {
        let done = self.run().await;
        assert_eq!(done.status, ExecutionStatus::Failed, "{done:?}");
        let error = done.error.clone().unwrap();
        let told = format!("{error:?}");
        assert!(!told.contains("canary"), "{told}");
        (error, done)
    }

    /// The bookings of an execution, in which nothing may be left open or out of step.
    async fn books(&self, outcome: &Outcome) -> Books {
        let filter = CostFilter::of_root(outcome.execution_id);
        let entries = self.root.costs().list(filter, ListOptions::default()).await.unwrap().items;
        let booked =
            entries.iter().filter_map(|entry| entry.amount).fold(Money::ZERO, |sum, amount| sum.add(amount).unwrap());
        for budget in &self.budgets {
            let windows = self.root.budgets().windows(budget.id, ListOptions::default()).await.unwrap().items;
            assert_eq!(windows.len(), 1, "the budget {} counts", budget.spec.name);
            assert_eq!(windows[0].pending, Money::ZERO, "something stays reserved on {}", budget.spec.name);
            assert_eq!(windows[0].posted, booked, "the budget {} counts what is booked", budget.spec.name);
        }
        assert_eq!(outcome.cost, Some(booked), "the outcome tells what is booked");
        assert_eq!(self.root.costs().summary(filter).await.unwrap().cost, booked);
        Books { entries }
    }
}

impl Books {
    fn kinds(&self) -> Vec<EntryKind> {
        self.entries.iter().map(|entry| entry.kind).collect()
    }

    fn attempts(&self) -> Vec<u32> {
        self.entries.iter().map(|entry| entry.attempt).collect()
    }

    fn provenances(&self) -> Vec<Provenance> {
        self.entries.iter().map(|entry| entry.usage.expect("a settled call has usage").provenance).collect()
    }

    fn amounts(&self) -> Vec<Money> {
        self.entries.iter().map(|entry| entry.amount.expect("the price is known")).collect()
    }
}

use EntryKind::{Settle, Void};

fn text(text: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
}

fn answer(usage: Option<Value>) -> Value {
    json!({"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}], "usage": usage})
}

fn good() -> Reply {
    Reply::json(200, &answer(Some(json!({"prompt_tokens": 10, "completion_tokens": 2}))))
}

/// An error object that repeats what it was sent, as some servers do.
fn echo(status: u16, code: &str) -> Reply {
    Reply::json(status, &json!({"error": {"code": code, "message": format!("{KEY} asked {PROMPT}"), "param": KEY}}))
}

fn nanos(nanos: i64) -> Money {
    Money::from_nanos(nanos)
}

#[tokio::test]
async fn down_is_tried_again_and_costs_nothing() {
    let gone = Server::start([]).await;
    let url = gone.url().to_owned();
    drop(gone);
    tokio::task::yield_now().await;
    let world = World::at(Server::start([]).await, &url).await;

    let (error, done) = world.fails().await;

    assert_eq!((error.code, &error.details["retries_exhausted"]), (ErrorCode::Unavailable, &json!(3)));
    assert!(!error.retryable, "an outer retry must skip it");
    let books = world.books(&done).await;
    assert_eq!((books.kinds(), books.attempts()), (vec![Void; 3], vec![1, 2, 3]));
    assert_eq!((done.cost, done.usage.requests), (Some(Money::ZERO), 0));
}

#[tokio::test]
async fn hanging_ends_at_the_deadline_and_is_booked_as_an_estimate() {
    let world = World::new([Reply::default().hang()]).await;
    world.limit(200).await;
    let began = Instant::now();

    let (error, done) = world.fails().await;

    assert_eq!((error.code, &error.details["limit"]), (ErrorCode::LimitExceeded, &json!("wall_time")));
    assert!(began.elapsed() < Duration::from_secs(5));
    let books = world.books(&done).await;
    assert_eq!((books.kinds(), books.provenances()), (vec![Settle], vec![Provenance::Estimated]));
    assert!(done.cost.unwrap() > Money::ZERO, "it was sent");
    assert_eq!(world.server.requests().len(), 1);
    world.server.connections_ended(1).await;
}

#[tokio::test]
async fn a_byte_a_second_ends_at_the_deadline() {
    let event = format!("data: {}\n\n", text("slow"));
    let slow = event.bytes().fold(Reply::events(), |reply, byte| reply.send([byte]).pause(Duration::from_secs(1)));
    let world = World::new([slow]).await;
    world.limit(300).await;

    let (error, done) = world.fails().await;

    assert_eq!((error.code, &error.details["limit"]), (ErrorCode::LimitExceeded, &json!("wall_time")));
    let books = world.books(&done).await;
    assert_eq!((books.kinds(), books.provenances()), (vec![Settle], vec![Provenance::Estimated]));
    assert_eq!(world.server.requests().len(), 1);
}

#[tokio::test]
async fn b39_a_stream_that_breaks_is_asked_again_and_both_attempts_are_booked() {
    let broken = Reply::events().event(&text("half an ")).event(&text("answ"));
    let world = World::new([broken, good()]).await;

    let events: Vec<_> = world.ana.stream("a", PROMPT).await.unwrap().map(Result::unwrap).collect().await;

    let names: Vec<&str> = events.iter().map(|event| event.data.type_name()).collect();
    let place =
        |name: &str| names.iter().position(|found| *found == name).unwrap_or_else(|| panic!("no {name} in {names:?}"));
    let last_place = |name: &str| names.iter().rposition(|found| *found == name).unwrap();
    assert!(place("model.delta") < place("model.reset"), "{names:?}");
    assert!(place("model.reset") < place("step.retrying"), "{names:?}");
    assert!(place("step.retrying") < last_place("model.delta"), "{names:?}");
    let reset = &events[place("model.reset")].data;
    assert!(matches!(reset, EventData::ModelReset { attempt: 1 }), "{reset:?}");
    let done = world.ana.executions().outcome(events[0].execution_id).await.unwrap();
    assert_eq!((done.text().as_str(), done.usage.requests), ("hello", 2));
    let books = world.books(&done).await;
    assert_eq!((books.kinds(), books.attempts()), (vec![Settle; 2], vec![1, 2]));
    assert_eq!(books.provenances(), [Provenance::Estimated, Provenance::Provider]);
    assert!(books.amounts()[0] > Money::ZERO);
    assert_eq!(books.amounts()[1], nanos(12_000));
    assert_eq!(world.server.requests().len(), 2);
}

#[tokio::test]
async fn a_web_page_is_bad_output_and_is_booked() {
    let page = Reply::body(200, "text/html", format!("<html><body>{KEY} {PROMPT}</body></html>"));
    let world = World::new([page]).await;
    let (error, done) = world.fails().await;
    assert_eq!((error.code, world.server.requests().len()), (ErrorCode::BadOutput, 1));
    let books = world.books(&done).await;
    assert_eq!((books.kinds(), books.provenances()), (vec![Settle], vec![Provenance::Estimated]));
}

#[tokio::test]
async fn what_is_refused_for_good_is_asked_once_and_costs_nothing() {
    for (status, identifier, code) in [
        (401, "invalid_api_key", ErrorCode::ProviderAuth),
        (403, "forbidden", ErrorCode::ProviderAuth),
        (404, "model_not_found", ErrorCode::NotFound),
        (400, "context_length_exceeded", ErrorCode::ContextOverflow),
        (400, "content_filter", ErrorCode::ContentFiltered),
        (413, "too_large", ErrorCode::TooLarge),
        (429, "insufficient_quota", ErrorCode::ProviderAuth),
    ] {
        let world = World::new([echo(status, identifier)]).await;
        let (error, done) = world.fails().await;
        assert_eq!((error.code, world.server.requests().len()), (code, 1), "{status} {identifier}");
        assert_eq!(error.details["status"], status);
        assert_eq!(error.details.get("retries_exhausted"), None, "one attempt is no retry");
        assert_eq!(world.books(&done).await.kinds(), [Void], "{status} {identifier}");
        assert_eq!(done.cost, Some(Money::ZERO));
    }
}

#[tokio::test]
async fn a_429_is_asked_again_with_and_without_retry_after() {
    let wait = Reply::head(429, &[("retry-after-ms", "20")]).send("{}");
    let world = World::new([echo(429, "rate_limit_exceeded"), wait, good()]).await;

    let done = world.run().await;

    assert_eq!((done.text().as_str(), world.server.requests().len()), ("hello", 3));
    assert_eq!(world.books(&done).await.kinds(), [Void, Void, Settle]);
    assert_eq!(done.cost, Some(nanos(12_000)));
}

#[tokio::test]
async fn b41_the_journal_shows_that_retry_after_is_a_lower_bound() {
    let wait = Reply::head(429, &[("Retry-After", "7")]).send("{}");
    let world = World::new([wait]).await;
    let began = Timestamp::now();
    let mut events = world.ana.stream("a", PROMPT).await.unwrap();
    let (id, at) = loop {
        let event = events.next().await.unwrap().unwrap();
        if let EventData::StepRetrying { at, error, .. } = event.data {
            assert_eq!((error.code, &error.details["retry_after_ms"]), (ErrorCode::RateLimited, &json!(7_000)));
            break (event.execution_id, at);
        }
    };
    assert!(at >= began.plus(Duration::from_secs(7)), "{} {}", began.to_rfc3339(), at.to_rfc3339());
    let waits = loop {
        let execution = world.ana.executions().get(id).await.unwrap();
        if execution.status == ExecutionStatus::Waiting {
            break execution.waiting_for;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(waits, [blitz::Waiting::Timer { key: "1/model".into(), at }]);
    drop(events);
    let done = world.ana.executions().wait(id).await.unwrap();
    assert_eq!((done.status, world.server.requests().len()), (ExecutionStatus::Cancelled, 1));
    assert_eq!(world.books(&done).await.kinds(), [Void]);
}

#[tokio::test]
async fn a_longer_wait_than_the_policy_allows_is_not_waited_for() {
    let world = World::new([Reply::head(429, &[("Retry-After", "86400")]).send("{}")]).await;
    let (error, done) = world.fails().await;
    assert_eq!((error.code, world.server.requests().len()), (ErrorCode::RateLimited, 1));
    assert_eq!(world.books(&done).await.kinds(), [Void]);
}

#[tokio::test]
async fn a_500_is_asked_again_until_the_attempts_are_used_up() {
    let world = World::new([echo(500, "oops"), echo(503, "oops"), echo(500, "oops"), good()]).await;
    let (error, done) = world.fails().await;
    assert_eq!((error.code, &error.details["retries_exhausted"]), (ErrorCode::Unavailable, &json!(3)));
    assert_eq!((&error.details["status"], world.server.requests().len()), (&json!(500), 3));
    assert_eq!(world.books(&done).await.kinds(), [Void; 3]);
    let steps = world.ana.executions().steps(done.execution_id, ListOptions::default()).await.unwrap();
    assert_eq!(steps.items.len(), 1, "three attempts are one step");
}

#[tokio::test]
async fn a_gateway_that_gave_up_waiting_may_have_charged() {
    let world = World::new([echo(504, "oops"), good()]).await;
    let done = world.run().await;
    assert_eq!(world.books(&done).await.provenances(), [Provenance::Estimated, Provenance::Provider]);
}

#[tokio::test]
async fn no_choices_are_bad_output() {
    for body in [json!({"choices": []}), json!({}), json!([])] {
        let world = World::new([Reply::json(200, &body)]).await;
        let (error, done) = world.fails().await;
        assert_eq!((error.code, world.server.requests().len()), (ErrorCode::BadOutput, 1), "{body}");
        assert_eq!(world.books(&done).await.provenances(), [Provenance::Estimated], "{body}");
    }
}

#[tokio::test]
async fn b22_null_deltas_do_no_harm() {
    let null = json!({"choices": [{"index": 0, "delta": null}]});
    let end = json!({"choices": [{"index": 0, "delta": {"content": null}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2}});
    let reply = Reply::events().event(&null).event(&text("hello")).event(&null).event(&end).send("data: [DONE]\n\n");
    let world = World::new([reply]).await;
    let done = world.run().await;
    assert_eq!(done.text(), "hello");
    assert_eq!(world.books(&done).await.amounts(), [nanos(12_000)]);
}

#[tokio::test]
async fn b06_a_call_of_a_tool_that_was_never_offered_is_told_to_the_model() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "rm_rf", "arguments": "{\"path\": \"/\"}"}});
    let asks = json!({"choices": [{"index": 0, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2}});
    let world = World::new([Reply::json(200, &asks), good()]).await;
    world.root.tools().register(tool_fn!("add", "Add.", |_: ()| async { Ok(1) })).await.unwrap();
    world.root.tools().set_visibility("add", Visibility::Shared).await.unwrap();
    let agent = world.ana.agents().get("a").await.unwrap().spec.tool("add");
    world.ana.agents().put(agent).await.unwrap();

    let done = world.run().await;

    assert_eq!((done.text().as_str(), world.server.requests().len()), ("hello", 2));
    let second = world.server.last_request().json();
    let told = &second["messages"].as_array().unwrap().last().unwrap();
    assert_eq!((told["role"].as_str(), told["tool_call_id"].as_str()), (Some("tool"), Some("c1")));
    assert!(told["content"].as_str().unwrap().contains("on offer: add"), "{told}");
    assert_eq!(world.books(&done).await.amounts(), [nanos(12_000); 2]);
}

#[tokio::test]
async fn t06_an_answer_without_usage_is_booked_as_an_estimate() {
    let world = World::new([Reply::json(200, &answer(None))]).await;
    let done = world.run().await;
    assert_eq!(done.text(), "hello");
    let books = world.books(&done).await;
    assert_eq!((books.kinds(), books.provenances()), (vec![Settle], vec![Provenance::Estimated]));
    assert!(done.cost.unwrap() > Money::ZERO, "what was sent is never free");
    assert_eq!((done.usage.requests, done.usage.provenance), (1, Provenance::Estimated));
}

#[tokio::test]
async fn t07_a_usage_of_zero_costs_zero() {
    let world =
        World::new([Reply::json(200, &answer(Some(json!({"prompt_tokens": 0, "completion_tokens": 0}))))]).await;
    let done = world.run().await;
    assert_eq!(world.books(&done).await.amounts(), [Money::ZERO]);
    assert_eq!((done.cost, done.usage.provenance), (Some(Money::ZERO), Provenance::Provider));
}

#[tokio::test]
async fn t05_a_usage_beyond_all_reason_is_flagged_and_stays_within_the_reservation() {
    for usage in [
        json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX}),
        json!({"prompt_tokens": 1e30, "completion_tokens": 1}),
        json!({"prompt_tokens": -5, "completion_tokens": -5}),
        json!({"prompt_tokens": "many", "completion_tokens": [1]}),
        json!({"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9_999}}),
    ] {
        let world = World::new([Reply::json(200, &answer(Some(usage.clone())))]).await;
        let done = world.run().await;
        let books = world.books(&done).await;
        assert_eq!(done.status, ExecutionStatus::Completed, "{usage}");
        assert!(
            done.cost.unwrap() >= Money::ZERO && done.cost.unwrap() < Money::parse("1").unwrap(),
            "{usage}: {books:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_nested_too_deep_can_still_be_read_again() {
    let deep = super::nested(115);
    let mut body = answer(Some(json!({"prompt_tokens": 10, "completion_tokens": 2, "details": deep.clone()})));
    body["unknown"] = deep;
    let world = World::new([Reply::json(200, &body)]).await;
    let done = world.run().await;
    assert_eq!(done.text(), "hello");
    assert_eq!(world.ana.executions().outcome(done.execution_id).await.unwrap(), done);
    assert_eq!(world.books(&done).await.amounts(), [nanos(12_000)]);
}

#[tokio::test]
async fn parts_that_are_nested_too_deep_can_still_be_read_again() {
    let opaque = |depth| Part::Opaque { provider: "own".into(), data: super::nested(depth) };
    let result = Part::ToolResult(ToolResult::new("c0", "search", super::nested(115)));
    let parts = vec![opaque(115), opaque(50), result, Part::text("hello")];
    let (_engine, me, _) = scripted(vec![blitz::provider::Reply::parts(parts)]).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let done = me.run("a", PROMPT).await.unwrap();
    assert_eq!(done.text(), "hello");
    assert_eq!(done.messages.last().unwrap().parts, [opaque(50), Part::text("hello")], "what can be kept is kept");
    assert_eq!(me.executions().outcome(done.execution_id).await.unwrap(), done);
}

impl std::fmt::Debug for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.entries).finish()
    }
}
