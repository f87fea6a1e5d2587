//! Limits of a deployment and what keeps failing: shared by all executions, never paid for unsent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use blitz::error::Charged;
use blitz::provider::{FunctionProvider, Reply};
use blitz::{
    CostFilter, Engine, Error, ErrorCode, ExecutionStatus, Fallback, ListOptions, ModelLimits, NewAgent, NewModel,
    Price, RetryPolicy, Session, Usage,
};
use serde_json::json;

use crate::support::server::{Reply as HttpReply, Server};

async fn engine(providers: Vec<FunctionProvider>) -> (Engine, Session) {
    use blitz::EngineBuilder;
    let builder = Engine::builder(":memory:");
    let engine = providers.into_iter().fold(builder, EngineBuilder::with_provider).open().await.unwrap();
    let me = engine.root("test");
    (engine, me)
}

fn model(name: &str) -> NewModel {
    NewModel::new(name, name, "x").with_price(Price::per_million("1", "1").unwrap())
}

fn agent() -> NewAgent {
    NewAgent::new("a", "one").retry(RetryPolicy::never())
}

fn saying(name: &str, text: &'static str) -> FunctionProvider {
    FunctionProvider::new(name, move |_, _| async move { Ok(Reply::text(text).with_usage(Usage::new(10, 10))) })
}

/// A provider outside the process that is down, and how often it was asked.
fn down(name: &str) -> (FunctionProvider, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let provider = FunctionProvider::new(name, move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async {
            Err(Error::Provider {
                code: ErrorCode::Unavailable,
                provider: "one".into(),
                status: Some(503),
                retry_after: None,
                retryable: true,
                charged: Charged::No,
                usage: None,
                message: "down".into(),
                source: None,
            })
        }
    });
    (provider.remote(), asked)
}

/// Anthropic's word for a full context window, which no cap makes wider.
#[tokio::test]
async fn b32_an_answer_cut_at_the_end_of_the_context_window_says_so() {
    let body = json!({"type": "message", "id": "m", "content": [{"type": "text", "text": "half an"}],
        "stop_reason": "model_context_window_exceeded", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let server = Server::start([HttpReply::json(200, &body)]).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "anthropic", "any").with_base_url(server.url())).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    let error = me.run("a", "go").await.unwrap().error.unwrap();
    assert_eq!(error.code, ErrorCode::ContextOverflow, "{}", error.message);
    assert!(!error.message.contains("max_output_tokens"), "{}", error.message);
}

#[tokio::test]
async fn b42_all_executions_together_keep_to_so_many_calls_at_once() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let one = FunctionProvider::new("one", move |_, _| {
        let (running, seen) = (Arc::clone(&running), Arc::clone(&seen));
        async move {
            seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(Reply::text("done"))
        }
    });
    let (_engine, me) = engine(vec![one]).await;
    me.models().put(model("one").with_limits(ModelLimits::default().concurrent(2))).await.unwrap();
    me.agents().put(agent()).await.unwrap();
    let runs = futures_util::future::join_all((0..12).map(|_| me.run("a", json!("go")))).await;
    assert!(runs.iter().all(|run| run.as_ref().unwrap().status == ExecutionStatus::Completed));
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}

#[tokio::test]
async fn a_call_whose_turn_comes_too_late_is_not_sent_and_costs_nothing() {
    let (_engine, me) = engine(vec![saying("one", "hello"), saying("two", "from the other")]).await;
    me.models().put(model("one").with_limits(ModelLimits::default().tokens(1))).await.unwrap();
    me.models().put(model("two")).await.unwrap();
    me.agents().put(agent()).await.unwrap();
    assert_eq!(me.run("a", json!("go")).await.unwrap().text(), "hello");
    // Twenty tokens are twenty minutes of this limit, and the agent has five.
    let refused = me.run("a", json!("go")).await.unwrap();
    assert_eq!(refused.error.as_ref().unwrap().code, ErrorCode::RateLimited);
    let costs = CostFilter::of_root(refused.execution_id);
    let entries = me.costs().list(costs, ListOptions::default()).await.unwrap().items;
    assert!(entries.is_empty(), "what is refused held no money: {entries:?}");
    me.agents().put(agent().fallback(Fallback::to(["two"]))).await.unwrap();
    assert_eq!(me.run("a", json!("go")).await.unwrap().text(), "from the other");
}

#[tokio::test]
async fn b42_what_keeps_failing_is_not_asked_and_the_next_model_is() {
    let (one, asked) = down("one");
    let (_engine, me) = engine(vec![one, saying("two", "hello")]).await;
    me.models().put(model("one")).await.unwrap();
    me.models().put(model("two")).await.unwrap();
    me.agents().put(agent()).await.unwrap();
    for _ in 0..5 {
        assert_eq!(me.run("a", json!("go")).await.unwrap().error.unwrap().code, ErrorCode::Unavailable);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 5);
    me.agents().put(agent().fallback(Fallback::to(["two"]))).await.unwrap();
    assert_eq!(me.run("a", json!("go")).await.unwrap().text(), "hello");
    assert!(asked.load(Ordering::SeqCst) <= 6, "it is left alone, or tried once where this took long");
}

#[tokio::test]
async fn b41_a_retry_after_that_is_too_long_leads_to_the_next_model_at_once() {
    let busy = HttpReply::head(429, &[("retry-after", "3600"), ("content-length", "0")]);
    let server = Server::start([busy]).await;
    let (_engine, me) = engine(vec![saying("two", "hello")]).await;
    let one = NewModel::new("one", "openai_compatible", "x").with_base_url(server.url());
    me.models().put(one).await.unwrap();
    me.models().put(model("two")).await.unwrap();
    let patient = RetryPolicy::attempts(5, Duration::from_millis(1));
    me.agents().put(agent().retry(patient).fallback(Fallback::to(["two"]))).await.unwrap();
    assert_eq!(me.run("a", json!("go")).await.unwrap().text(), "hello");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn limits_of_nothing_are_refused() {
    let (_engine, me) = engine(vec![saying("one", "x")]).await;
    let none = ModelLimits::default();
    for limits in [none.requests(0), none.tokens(0), none.concurrent(0)] {
        assert_eq!(
            me.models().put(model("one").with_limits(limits)).await.unwrap_err().code(),
            ErrorCode::InvalidInput
        );
    }
}
