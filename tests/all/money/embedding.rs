//! Embeddings are calls like all others: tags, budgets, limits and alerts see them, whoever makes them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blitz::provider::{EmbeddingRequest, FunctionProvider, Reply};
use blitz::tool::ToolContext;
use blitz::{
    BudgetId, BudgetScope, CostFilter, Engine, ErrorCode, EventData, LimitScope, ListOptions, ModelLimits, Money,
    NewAgent, NewBudget, NewModel, Outcome, RateLimit, Result, RetryPolicy, Session, TagPolicy, Usage, UsageBy,
    UsageQuery, tool_fn,
};
use futures_util::StreamExt as _;
use serde_json::json;

use super::{by_the_call, saying};
use crate::support::folder::Folder;
use crate::support::server::{self, Server};

/// What a call for embeddings costs: a cent.
const FEE: i64 = 10_000_000;

/// An engine with the model `e`, which embeds, and the agent `a`, whose tool `embed` asks it.
async fn world() -> (Engine, Session, Server) {
    let server = vectors().await;
    let (engine, me) = on(":memory:", &server, |_| std::future::ready(())).await;
    (engine, me, server)
}

async fn vectors() -> Server {
    let vectors = json!({"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1_000}});
    Server::start((0..8).map(|_| server::Reply::json(200, &vectors))).await
}

/// The same on this database. Before the model of `a` answers behind the tool, it waits for `pause`.
async fn on<F, Fut>(database: &str, server: &Server, pause: F) -> (Engine, Session)
where
    F: Fn(()) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let calls = FunctionProvider::new("caller", move |request, _| {
        let answered = request.messages.iter().any(|message| message.role == blitz::MessageRole::Tool);
        let reply = if answered { Reply::text("done") } else { Reply::tool_call("embed", json!({})) };
        let pause = answered.then(|| pause(()));
        async move {
            if let Some(pause) = pause {
                pause.await;
            }
            Ok(reply.with_usage(Usage::new(1, 1)))
        }
    });
    let builder = Engine::builder(database).with_provider(calls).with_provider(saying("dear", "an answer"));
    let engine = builder.open().await.unwrap();
    let me = engine.root("test");
    let model = NewModel::new("e", "openai", "small").with_base_url(server.url()).with_api_key("sk-canary");
    me.models().put(model.with_price(by_the_call("0.01"))).await.unwrap();
    me.models().put(NewModel::new("caller", "caller", "x").with_price(by_the_call("0"))).await.unwrap();
    let embed = tool_fn!("embed", "", |_: (), context: ToolContext| async move {
        let made = embedded(&context.session()?).await;
        Ok(made.map_or_else(|error| error.code().name().to_owned(), |()| "made".to_owned()))
    });
    me.tools().register(embed).await.unwrap();
    me.agents().put(NewAgent::new("a", "caller").tool("embed")).await.unwrap();
    me.agents().put(NewAgent::new("above", "caller").tool("embed")).await.unwrap();
    (engine, me)
}

async fn embedded(me: &Session) -> Result<()> {
    let request = EmbeddingRequest::texts("", ["a text"]);
    me.models().embed_retried("e", request, RetryPolicy::never()).await.map(drop)
}

async fn tagged(me: &Session, key: &str, value: &str) -> Result<()> {
    let tags = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let request = EmbeddingRequest::texts("", ["a text"]);
    me.models().embed_tagged("e", request, RetryPolicy::never(), tags).await.map(drop)
}

async fn posted(me: &Session, budget: BudgetId) -> Vec<i64> {
    let windows = me.budgets().windows(budget, ListOptions::default()).await.unwrap().items;
    windows.iter().map(|window| window.posted.units()).collect()
}

#[tokio::test]
async fn t17_a_hard_budget_of_a_tag_and_a_required_tag_see_embeddings() {
    let (_engine, me, server) = world().await;
    let limit = Money::from_nanos(FEE);
    me.budgets().put(NewBudget::new("blue", BudgetScope::Tag).of("team=blue").with_limit(limit)).await.unwrap();
    tagged(&me, "team", "blue").await.unwrap();
    assert_eq!(tagged(&me, "team", "blue").await.unwrap_err().code(), ErrorCode::BudgetExceeded);
    tagged(&me, "team", "green").await.unwrap();
    // What a policy says holds, whatever the caller says.
    me.budgets().put_tags(TagPolicy::of_all().tag("team", "blue")).await.unwrap();
    assert_eq!(tagged(&me, "team", "green").await.unwrap_err().code(), ErrorCode::BudgetExceeded);
    assert_eq!(embedded(&me).await.unwrap_err().code(), ErrorCode::BudgetExceeded);
    me.budgets().put_tags(TagPolicy::of_all().require("project")).await.unwrap();
    assert_eq!(embedded(&me).await.unwrap_err().code(), ErrorCode::InvalidInput);
    assert_eq!(server.requests().len(), 2);
    me.call("models.embed", json!({"model": "e", "inputs": ["a"], "tags": {"project": "x"}})).await.unwrap();
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn t17_what_a_tool_embeds_counts_for_its_execution_and_its_agent() {
    let (_engine, me, _server) = world().await;
    let agent = me.agents().get("a").await.unwrap().id;
    let of_agent = me.budgets().put(NewBudget::new("agent", BudgetScope::Agent).only(agent.0)).await.unwrap().id;
    let each = me.budgets().put(NewBudget::per_execution("each", Money::from_nanos(FEE))).await.unwrap().id;
    let tag = me.budgets().put(NewBudget::new("tag", BudgetScope::Tag).of("team=blue")).await.unwrap().id;
    me.budgets().put_tags(TagPolicy::of_all().tag("team", "blue")).await.unwrap();

    let done = me.run("a", "go").await.unwrap();
    assert!(done.error.is_none(), "{:?}", done.error);
    assert_eq!((posted(&me, of_agent).await, posted(&me, each).await), (vec![FEE], vec![FEE]));
    assert_eq!(posted(&me, tag).await, [FEE]);
    let spent = me.costs().summary(CostFilter::of_execution(done.execution_id)).await.unwrap();
    assert_eq!(spent.cost, Money::from_nanos(FEE), "it is among the costs of the execution");
    // Two model calls of a token each way, and the embedding of a thousand.
    assert_eq!((done.cost, done.usage), (Some(spent.cost), spent.usage));
    assert_eq!((done.usage.input_tokens, done.usage.output_tokens, done.usage.requests), (1_002, 2, 3));
    let kept = me.executions().get(done.execution_id).await.unwrap();
    assert_eq!((kept.cost, kept.usage), (done.cost, done.usage));
    let asked = me.usage().query(UsageQuery::by([UsageBy::Agent])).await.unwrap();
    assert_eq!(asked.rows.iter().map(|row| (row.cost.nanos(), row.calls)).collect::<Vec<_>>(), [(FEE, 3)]);
    // Another agent's is not this one's.
    me.run("above", "go").await.unwrap();
    assert_eq!(posted(&me, of_agent).await, [FEE]);
}

#[tokio::test]
async fn t17_the_cap_of_an_execution_holds_for_what_its_tool_embeds() {
    let (_engine, me, server) = world().await;
    let mut limits = blitz::Limits::default();
    limits.max_cost = Some(Money::from_nanos(FEE - 1));
    me.agents().put(NewAgent::new("a", "caller").tool("embed").limits(limits)).await.unwrap();
    let done = me.run("a", "go").await.unwrap();
    let told = done.messages.iter().flat_map(|message| &message.parts).find_map(|part| match part {
        blitz::Part::ToolResult(result) => Some(result.as_text()),
        _ => None,
    });
    assert_eq!((told.as_deref(), server.requests().len()), (Some("limit_exceeded"), 0));
}

#[tokio::test]
async fn t17_what_a_tool_of_a_workflow_embeds_counts_for_the_workflow() {
    let (_engine, me, _server) = world().await;
    let definition = json!({
        "name": "flow",
        "nodes": [
            {"id": "s", "type": "start"},
            {"id": "t", "type": "tool", "config": {"tool": "embed"}},
            {"id": "e", "type": "end"},
        ],
        "edges": [{"from": "s", "to": "t"}, {"from": "t", "to": "e"}],
    });
    let made = me.call("workflows.put", definition).await.unwrap();
    let budget = NewBudget::new("flow", BudgetScope::Workflow).only(made["id"].as_i64().unwrap());
    let budget = me.budgets().put(budget).await.unwrap().id;
    let done = me.run("flow", json!({})).await.unwrap();
    assert!(done.error.is_none(), "{:?}", done.error);
    assert_eq!(posted(&me, budget).await, [FEE]);
    assert_eq!((done.cost, done.usage.input_tokens), (Some(Money::from_nanos(FEE)), 1_000));
}

/// What an execution says it cost, and what the ledger has for it and all below it.
async fn says_what_is_booked(me: &Session, done: &Outcome) {
    let booked = me.costs().summary(CostFilter::of_root(done.execution_id)).await.unwrap();
    assert_eq!((done.cost, done.usage), (booked.known_cost(), booked.usage));
    let mut events = me.executions().events(done.execution_id, 0);
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event.unwrap().data);
    }
    let Some(EventData::ExecutionFinished(finished)) = last else { panic!("{last:?}") };
    assert_eq!((finished.cost, finished.usage), (done.cost, done.usage));
}

#[tokio::test]
async fn what_children_embed_goes_up_and_counts_once() {
    let (_engine, me, _server) = world().await;
    let definition = json!({
        "name": "flow",
        "nodes": [
            {"id": "s", "type": "start"},
            {"id": "t", "type": "tool", "config": {"tool": "embed"}},
            {"id": "a", "type": "agent", "config": {"agent": "above"}},
            {"id": "e", "type": "end"},
        ],
        "edges": [{"from": "s", "to": "t"}, {"from": "t", "to": "a"}, {"from": "a", "to": "e"}],
    });
    me.call("workflows.put", definition).await.unwrap();
    let done = me.run("flow", json!({})).await.unwrap();
    assert!(done.error.is_none(), "{:?}", done.error);
    assert_eq!((done.cost, done.usage.input_tokens), (Some(Money::from_nanos(2 * FEE)), 2_002));
    says_what_is_booked(&me, &done).await;
}

#[tokio::test]
async fn an_embedding_without_a_price_makes_the_cost_unknown() {
    let (_engine, me, server) = world().await;
    let model = NewModel::new("e", "openai", "small").with_base_url(server.url()).with_api_key("sk-canary");
    me.models().put(model).await.unwrap();
    let done = me.run("a", "go").await.unwrap();
    assert!(done.error.is_none() && done.cost.is_none(), "{done:?}");
    says_what_is_booked(&me, &done).await;
}

#[tokio::test]
async fn what_was_embedded_before_a_cut_is_in_the_outcome_behind_it() {
    let folder = Folder::new();
    let path = folder.path().join("blitz.db").to_str().unwrap().to_owned();
    let server = vectors().await;
    let (asked, mut asks) = tokio::sync::mpsc::unbounded_channel();
    let (engine, me) = on(&path, &server, move |()| {
        asked.send(()).unwrap();
        std::future::pending()
    })
    .await;
    let id = me.start("a", "go").await.unwrap().id();
    asks.recv().await.unwrap();
    engine.close_within(Duration::ZERO).await.unwrap();
    drop((engine, me));

    let (engine, me) = on(&path, &server, |()| std::future::ready(())).await;
    assert_eq!(engine.recover().await.unwrap(), [id]);
    let done = me.executions().wait(id).await.unwrap();
    assert_eq!((done.text().as_str(), done.cost), ("done", Some(Money::from_nanos(FEE))));
    assert_eq!(server.requests().len(), 1, "nothing is embedded twice");
    says_what_is_booked(&me, &done).await;
    engine.close().await.unwrap();
}

#[tokio::test]
async fn what_a_limit_refuses_holds_no_money() {
    let (_engine, me, _server) = world().await;
    for limit in [
        RateLimit::new(LimitScope::All, ModelLimits::default().tokens(1)),
        RateLimit::new(LimitScope::Model, ModelLimits::default().tokens(1)).of("e"),
    ] {
        me.limits().put(limit.clone()).await.unwrap();
        let before = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items.len();
        embedded(&me).await.unwrap();
        // It took minutes' worth of tokens: the next one's turn comes too late.
        assert_eq!(embedded(&me).await.unwrap_err().code(), ErrorCode::RateLimited);
        let entries = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items;
        assert_eq!(entries.len(), before + 1, "the refused one is in no entry, not even a void one");
        me.limits().delete(limit).await.unwrap();
    }
}

#[tokio::test]
async fn t23_what_embeddings_and_corrections_raise_is_told() {
    let (engine, me, _server) = world().await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    engine.on_alert(move |alert| hears.lock().unwrap().push(alert.threshold));
    let budget = NewBudget::new("b", BudgetScope::All).with_limit(Money::from_nanos(2 * FEE)).soft();
    me.budgets().put(budget.with_thresholds(vec![50, 100, 150])).await.unwrap();
    embedded(&me).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), [50]);
    let entries = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items;
    let late = blitz::Correction::new(entries[0].reservation_id, Money::from_nanos(FEE), "late usage");
    me.costs().adjust(late.clone()).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), [50, 100]);
    me.costs().adjust(late).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), [50, 100, 150]);
}
