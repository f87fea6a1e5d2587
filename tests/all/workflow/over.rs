//! Budgets that branches hit at once: nothing more starts, what runs ends as its workflow says, and only what a provider
//! reports beyond what was held goes over, booked as that.

use std::sync::Arc;
use std::time::Duration;

use blitz::provider::{FunctionProvider, Reply};
use blitz::{
    BudgetScope, CostFilter, Engine, EntryKind, ErrorCode, ExecutionStatus, ListOptions, ModelRequest, Money,
    NewBudget, Session, Usage,
};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::sync::watch;

use super::stage::{end, put, run, start};
use crate::support::engine::priced;

/// At a dollar for a million tokens: five calls of at most 1,000 output tokens fit, and a sixth that is held to what is
/// left then; none is left for another.
const LIMIT: &str = "0.0059";

/// How many calls were begun.
type Begun = Arc<watch::Sender<usize>>;

/// How many calls fit into it.
const FIT: usize = 6;

/// An engine whose model answers once `fit` calls are under way, and reports so many output tokens, or all that it may
/// give where that is less and it is `honest`.
async fn opened(fit: usize, output_tokens: u64, honest: bool) -> (Engine, Session, Begun) {
    let (begun, barrier) = (Begun::default(), Arc::new(Barrier::new(fit)));
    let count = Arc::clone(&begun);
    let model = FunctionProvider::new("scripted", move |request: ModelRequest, _| {
        let most = request.settings.max_output_tokens.filter(|_| honest).unwrap_or(u64::MAX);
        let (count, barrier) = (Arc::clone(&count), Arc::clone(&barrier));
        async move {
            count.send_modify(|begun| *begun += 1);
            barrier.wait().await;
            Ok(Reply::text("said").with_usage(Usage::new(1, output_tokens.min(most))))
        }
    });
    let engine = Engine::builder(":memory:").with_provider(model).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(priced("m")).await.unwrap();
    let limit = Money::parse(LIMIT).unwrap();
    me.budgets().put(NewBudget::new("all", BudgetScope::All).with_limit(limit)).await.unwrap();
    (engine, me, begun)
}

/// Twenty questions at once.
fn questions(name: &str, fail: &str) -> Value {
    json!({"name": name, "limits": {"max_parallel": 20}, "nodes": [
        {"id": "m", "type": "map", "config": {"items": (0..20).collect::<Vec<u32>>(), "fail": fail, "concurrency": 20}},
        {"id": "q", "type": "llm", "parent": "m", "config": {"model": "m", "prompt": "Say it.", "settings": {"max_output_tokens": 1000}}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.m.output }}"}}], "edges": [{"from": "m", "to": "e"}]})
}

#[tokio::test]
async fn w45_what_runs_when_a_budget_is_hit_finishes_where_the_workflow_goes_on() {
    let (_engine, me, begun) = opened(FIT, 900, true).await;
    let done = run(&me, questions("goes", "null"), json!({})).await;
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    let answers = done.output.as_array().unwrap().iter().filter(|answer| !answer.is_null()).count();
    assert_eq!((answers, *begun.borrow()), (FIT, FIT), "as many as were paid for, and all of them");
    assert!(done.cost.unwrap() >= Money::from_nanos(5 * 901 * 1000));
    assert!(done.cost.unwrap() <= Money::parse(LIMIT).unwrap());
    me.budgets().verify().await.unwrap();
}

#[tokio::test]
async fn w45_what_runs_when_a_budget_is_hit_is_cancelled_where_the_workflow_fails() {
    // More would have to be under way than are paid for: they wait for ever.
    let (_engine, me, begun) = opened(21, 900, true).await;
    let handle = start(&me, questions("stops", "stop"), json!({})).await;
    let done = end(&handle).await;
    assert_eq!((done.status, done.error.unwrap().code), (ExecutionStatus::Failed, ErrorCode::BudgetExceeded));
    assert!(*begun.borrow() <= FIT, "{}", *begun.borrow());
    let booked = me.costs().summary(CostFilter::of_root(done.execution_id)).await.unwrap();
    assert_eq!(booked.known_cost(), done.cost);
    assert!(done.cost.unwrap() <= Money::parse(LIMIT).unwrap(), "what was broken off costs no more than was held");
    me.budgets().verify().await.unwrap();
}

#[tokio::test]
async fn w45_only_what_a_provider_reports_beyond_what_was_held_goes_over_and_is_booked_as_that() {
    let (_engine, me, begun) = opened(FIT, 5000, false).await;
    let done = run(&me, questions("over", "null"), json!({})).await;
    let limit = Money::parse(LIMIT).unwrap();
    assert_eq!((done.status, *begun.borrow()), (ExecutionStatus::Completed, FIT), "{:?}", done.error);
    assert_eq!(done.cost, Some(Money::from_nanos(6 * 5001 * 1000)), "all of it is told");
    assert!(done.cost.unwrap() > limit);
    let entries =
        me.costs().list(CostFilter::of_root(done.execution_id), ListOptions::limit(1000)).await.unwrap().items;
    let of = |kind: EntryKind| entries.iter().filter(move |entry| entry.kind == kind);
    assert_eq!((of(EntryKind::Settle).count(), of(EntryKind::Overage).count()), (FIT, FIT), "{entries:#?}");
    let held: i64 = of(EntryKind::Settle).map(|entry| entry.amount.unwrap().nanos()).sum();
    assert!(held <= limit.nanos(), "without the overage it is within its limit: {held}");
    // The next one is refused before it is sent, in another execution too.
    put(&me, questions("next", "null")).await;
    let next = tokio::time::timeout(Duration::from_secs(30), me.run("next", json!({}))).await.unwrap().unwrap();
    assert!(next.output.as_array().unwrap().iter().all(Value::is_null) && *begun.borrow() == FIT);
    me.budgets().verify().await.unwrap();
}
