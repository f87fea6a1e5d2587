//! The codes that an execution ends with, whatever gave them; and that each code of the table has a test.

use blitz::error::Charged;
use blitz::provider::{CallContext, ModelStream, Provider, Reply, Scripted};
use blitz::{
    Engine, Error, ErrorCode, EventData, ExecutionStatus, FinishReason, ListOptions, ModelRequest, Money, NewAgent,
    NewBudget, NewModel, Part, RetryPolicy,
};
use serde_json::json;

use crate::source::{files, text};
use crate::support::engine::{agent, scripted, with_provider};

fn failure(code: ErrorCode) -> Error {
    Error::Provider {
        code,
        provider: "scripted".into(),
        status: None,
        retry_after: None,
        retryable: false,
        charged: Charged::No,
        usage: None,
        message: "it failed".into(),
        source: None,
    }
}

#[tokio::test]
async fn what_a_provider_fails_with_is_what_the_execution_fails_with() {
    for code in [
        ErrorCode::RateLimited,
        ErrorCode::Unavailable,
        ErrorCode::Timeout,
        ErrorCode::ProviderAuth,
        ErrorCode::ContextOverflow,
        ErrorCode::ContentFiltered,
        ErrorCode::BadOutput,
        ErrorCode::TooLarge,
    ] {
        let (_engine, me, provider) = scripted(vec![Reply::error(failure(code))]).await;
        me.agents().put(agent("a", &[])).await.unwrap();
        let done = me.run("a", "x").await.unwrap();
        assert_eq!((done.status, done.error.unwrap().code), (ExecutionStatus::Failed, code));
        assert_eq!((done.cost, provider.requests().len()), (Some(Money::ZERO), 1));
    }
}

#[tokio::test]
async fn a_refusal_has_a_code_of_its_own() {
    let refusal: Part = serde_json::from_value(json!({"type": "refusal", "text": "I may not."})).unwrap();
    let (_engine, me, _) = scripted(vec![Reply::parts(vec![refusal])]).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    assert_eq!(me.run("a", "x").await.unwrap().error.unwrap().code, ErrorCode::Refused);
}

#[tokio::test]
async fn an_exhausted_budget_refuses_before_anything_is_sent() {
    let (_engine, me, provider) = scripted(vec![Reply::text("never")]).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let budget = me.budgets().create(NewBudget::per_execution("none", Money::ZERO)).await.unwrap();
    let done = me.run("a", "x").await.unwrap();
    let error = done.error.unwrap();
    assert_eq!((error.code, provider.requests().len()), (ErrorCode::BudgetExceeded, 0));
    assert_eq!((error.details["budget"].as_i64(), error.details["left"].as_str()), (Some(budget.id.0), Some("0")));
    assert_eq!(done.cost, Some(Money::ZERO));
}

#[tokio::test]
async fn t10_a_model_without_a_price_is_refused_where_a_hard_budget_counts_it() {
    let engine =
        Engine::builder(":memory:").with_provider(Says(blitz::ModelResponse::new(vec![Part::text("hi")]))).open();
    let engine = engine.await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "says", "x")).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    let done = me.run("a", "x").await.unwrap();
    assert_eq!((done.text().as_str(), done.cost), ("hi", None), "without a budget it runs, and nobody knows the cost");
    let budget = me.budgets().create(NewBudget::per_execution("b", Money::parse("1").unwrap())).await.unwrap();
    let error = me.run("a", "x").await.unwrap().error.unwrap();
    assert_eq!((error.code, &error.details["model"]), (ErrorCode::BudgetExceeded, &json!("m")));
    assert_eq!(error.details["budget"], json!(budget.id));
    me.budgets().put(NewBudget::per_execution("b", Money::parse("1").unwrap()).soft()).await.unwrap();
    assert_eq!(me.run("a", "x").await.unwrap().status, ExecutionStatus::Completed, "a soft budget refuses nothing");
}

/// A provider of a host that panics when it is asked, or when its answer is read.
struct Panics {
    at_once: bool,
}

impl Provider for Panics {
    fn name(&self) -> &str {
        "panics"
    }

    fn stream(&self, _: ModelRequest, _: CallContext) -> ModelStream {
        assert!(!self.at_once, "canary words");
        Box::pin(futures_util::stream::poll_fn(|_| panic!("canary words")))
    }
}

#[tokio::test]
async fn a_provider_that_panics_ends_the_execution_and_nothing_else() {
    for at_once in [true, false] {
        let engine = Engine::builder(":memory:").with_provider(Panics { at_once }).open().await.unwrap();
        let me = engine.root("test");
        me.models().put(NewModel::new("m", "panics", "x")).await.unwrap();
        me.agents().put(NewAgent::new("a", "m").retry(RetryPolicy::never())).await.unwrap();
        let done = me.run("a", "x").await.unwrap();
        let error = done.error.unwrap();
        assert_eq!(error.code, ErrorCode::Panic);
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        assert!(me.run("a", "x").await.is_ok(), "the engine goes on");
    }
}

#[tokio::test]
async fn a_step_that_a_cancellation_broke_off_says_so() {
    let slow = Scripted::from_fn(|_| Reply::text("late").with_delay(std::time::Duration::from_secs(3_600)));
    let (_engine, me, provider) = with_provider(slow).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let handle = me.start("a", "x").await.unwrap();
    while provider.requests().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    handle.cancel().await.unwrap();
    handle.wait().await.unwrap();
    let steps = me.executions().steps(handle.id(), ListOptions::default()).await.unwrap().items;
    let EventData::StepFinished(step) = &steps[0].data else { panic!("{steps:?}") };
    assert_eq!(step.error.as_ref().unwrap().code, ErrorCode::Cancelled);
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_bad_output() {
    let response = |reason| blitz::ModelResponse::new(vec![Part::text("half")]).with_finish_reason(reason);
    for (reason, code) in
        [(FinishReason::Length, ErrorCode::BadOutput), (FinishReason::ContentFilter, ErrorCode::ContentFiltered)]
    {
        let engine = Engine::builder(":memory:").with_provider(Says(response(reason))).open().await.unwrap();
        let me = engine.root("test");
        me.models().put(NewModel::new("m", "says", "x")).await.unwrap();
        me.agents().put(NewAgent::new("a", "m")).await.unwrap();
        assert_eq!(me.run("a", "x").await.unwrap().error.unwrap().code, code);
    }
}

/// A provider of a host that gives one and the same answer.
struct Says(blitz::ModelResponse);

impl Provider for Says {
    fn name(&self) -> &str {
        "says"
    }

    fn stream(&self, _: ModelRequest, _: CallContext) -> ModelStream {
        let done = blitz::provider::StreamItem::Done(Box::new(self.0.clone()));
        Box::pin(futures_util::stream::iter([Ok(done)]))
    }
}

/// Codes that no test of these raises, each with its reason.
const NOT_RAISED: &[(ErrorCode, &str)] = &[(ErrorCode::Internal, "it is a bug of the engine wherever it is raised")];

#[test]
fn each_code_of_the_table_is_asserted_by_a_test() {
    let all: String = files("tests/all", "rs").iter().map(|path| text(path)).collect();
    for code in ErrorCode::ALL {
        let asserted = all.contains(&format!("ErrorCode::{code:?}"));
        let excused = NOT_RAISED.iter().any(|(excused, _)| excused == code);
        assert!(asserted || excused, "no test asserts {code:?}");
    }
}
