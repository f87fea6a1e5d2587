//! A service is one, however many dialects it speaks: its budgets and limits count all of them.

use blitz::{
    BudgetScope, Engine, EngineBuilder, ErrorCode, LimitScope, Limits, ModelLimits, Money, NewAgent, NewBudget,
    NewModel, Outcome, RateLimit, RetryPolicy, Session,
};

use super::{by_the_call, saying};

/// The dialects of OpenAI, then one of somebody else at an address of its own.
const MODELS: [(&str, &str); 4] =
    [("chat", "openai"), ("responses", "openai_responses"), ("compatible", "openai_compatible"), ("other", "mistral")];

/// Shorter than the wait for a third request, and long for all else.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

async fn engine() -> (Engine, Session) {
    let providers = MODELS.map(|(_, provider)| saying(provider, "an answer"));
    let builder = Engine::builder(":memory:");
    let engine = providers.into_iter().fold(builder, EngineBuilder::with_provider).open().await.unwrap();
    let me = engine.root("test");
    for (name, provider) in MODELS {
        me.models().put(NewModel::new(name, provider, "x").with_price(by_the_call("0.1"))).await.unwrap();
        me.agents().put(NewAgent::new(name, name).retry(RetryPolicy::never())).await.unwrap();
    }
    (engine, me)
}

async fn run(me: &Session, agent: &str) -> Outcome {
    me.run(agent, "go").await.unwrap()
}

async fn refused(me: &Session, agent: &str) -> Option<ErrorCode> {
    run(me, agent).await.error.map(|error| error.code)
}

#[tokio::test]
async fn b40_a_budget_of_a_service_is_not_walked_around_by_another_dialect() {
    let (_engine, me) = engine().await;
    let cents = |text| Money::parse(text).unwrap();
    let of_openai = NewBudget::new("b", BudgetScope::Provider).of("openai").with_limit(cents("0.2"));
    me.budgets().create(of_openai).await.unwrap();
    assert_eq!(refused(&me, "responses").await, None);
    assert_eq!(refused(&me, "compatible").await, None);
    for (agent, _) in &MODELS[..3] {
        assert_eq!(refused(&me, agent).await, Some(ErrorCode::BudgetExceeded), "{agent}");
    }
    assert_eq!(refused(&me, "other").await, None, "another service has nothing to do with it");
}

#[tokio::test]
async fn b40_a_budget_of_each_provider_counts_what_its_service_spends() {
    let (_engine, me) = engine().await;
    let each = NewBudget::new("each", BudgetScope::Provider).with_limit(Money::parse("0.2").unwrap());
    me.budgets().create(each).await.unwrap();
    assert_eq!([refused(&me, "responses").await, refused(&me, "chat").await], [None, None]);
    for (agent, _) in &MODELS[..3] {
        assert_eq!(refused(&me, agent).await, Some(ErrorCode::BudgetExceeded), "{agent}");
    }
    assert_eq!([refused(&me, "other").await, refused(&me, "other").await], [None, None]);
    assert_eq!(refused(&me, "other").await, Some(ErrorCode::BudgetExceeded));
}

#[tokio::test]
async fn a_budget_of_one_dialect_counts_that_alone() {
    let (_engine, me) = engine().await;
    me.budgets()
        .create(NewBudget::new("b", BudgetScope::Provider).of("openai_responses").with_limit(Money::ZERO))
        .await
        .unwrap();
    assert_eq!(refused(&me, "responses").await, Some(ErrorCode::BudgetExceeded));
    assert_eq!(refused(&me, "chat").await, None);
}

#[tokio::test]
async fn a_limit_of_a_service_holds_for_all_its_dialects() {
    let limits = ModelLimits::default().requests(2);
    for limit in
        [RateLimit::new(LimitScope::Provider, limits).of("openai"), RateLimit::new(LimitScope::Provider, limits)]
    {
        let (_engine, me) = engine().await;
        for (agent, _) in MODELS {
            me.agents()
                .put(
                    NewAgent::new(agent, agent)
                        .retry(RetryPolicy::never())
                        .limits(Limits::default().with_timeout(TIMEOUT)),
                )
                .await
                .unwrap();
        }
        me.limits().put(limit).await.unwrap();
        assert_eq!([refused(&me, "chat").await, refused(&me, "responses").await], [None, None], "two at once");
        let error = run(&me, "compatible").await.error.unwrap();
        assert_eq!((error.code, &error.details["scope"]), (ErrorCode::RateLimited, &"provider".into()));
        assert_eq!(refused(&me, "other").await, None);
    }
}
