//! Limits of use come before money: what they refuse never held any.

use blitz::{
    CostFilter, ErrorCode, LimitScope, ListOptions, ModelLimits, NewAgent, NewUser, RateLimit, RetryPolicy, Visibility,
};
use serde_json::json;

use super::engine;

#[tokio::test]
async fn a_refused_call_reserves_no_money_and_says_whose_limit_it_was() {
    let (_engine, me) = engine().await;
    me.agents().put(NewAgent::new("a", "dear").retry(RetryPolicy::never())).await.unwrap();
    let limits = ModelLimits::default().tokens(1);
    for limit in [
        RateLimit::new(LimitScope::All, limits),
        RateLimit::new(LimitScope::Model, limits).of("dear"),
        RateLimit::new(LimitScope::Provider, limits),
    ] {
        me.limits().put(limit.clone()).await.unwrap();
        assert_eq!(me.limits().list().await.unwrap(), std::slice::from_ref(&limit));
        // The first takes minutes' worth of tokens, the second's turn comes too late.
        let before = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items.len();
        assert!(me.run("a", "go").await.unwrap().error.is_none());
        let refused = me.run("a", "go").await.unwrap().error.unwrap();
        assert_eq!(refused.code, ErrorCode::RateLimited);
        let scope = serde_json::to_value(limit.scope).unwrap();
        assert_eq!((&refused.details["scope"], &refused.details["limit"]), (&scope, &json!("1 tokens a minute")));
        assert!(refused.details["retry_after_ms"].as_u64().unwrap() > 0 && refused.retryable);
        let entries = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items;
        assert_eq!(entries.len(), before + 1, "the refused one is in no entry, not even a void one");
        me.limits().delete(limit).await.unwrap();
    }
    assert!(me.run("a", "go").await.unwrap().error.is_none());
}

#[tokio::test]
async fn each_user_has_a_line_of_its_own() {
    let (engine, me) = engine().await;
    me.models().set_visibility("dear", Visibility::Shared).await.unwrap();
    me.agents().put(NewAgent::new("a", "dear").retry(RetryPolicy::never())).await.unwrap();
    me.agents().set_visibility("a", Visibility::Shared).await.unwrap();
    me.limits().put(RateLimit::new(LimitScope::User, ModelLimits::default().tokens(1))).await.unwrap();
    let mut sessions = vec![];
    for name in ["ana", "bob"] {
        let email = format!("{name}@example.org");
        me.users().create(NewUser::new(&email, "a long password")).await.unwrap();
        sessions.push(engine.login(&email, "a long password").await.unwrap());
    }
    for session in &sessions {
        assert!(session.run("a", "go").await.unwrap().error.is_none());
        assert_eq!(session.run("a", "go").await.unwrap().error.unwrap().details["scope"], "user");
    }
    // The host is no user.
    assert!(me.run("a", "go").await.unwrap().error.is_none());
    assert!(me.run("a", "go").await.unwrap().error.is_none());
}

#[tokio::test]
async fn limits_of_nothing_or_nobody_are_refused() {
    let (_engine, me) = engine().await;
    let some = ModelLimits::default().requests(1);
    for bad in [
        RateLimit::new(LimitScope::All, ModelLimits::default()),
        RateLimit::new(LimitScope::All, ModelLimits::default().requests(0)),
        RateLimit::new(LimitScope::All, some).only(1),
        RateLimit::new(LimitScope::User, some).of("ana"),
        RateLimit::new(LimitScope::Model, some).only(1),
    ] {
        assert_eq!(me.limits().put(bad.clone()).await.unwrap_err().code(), ErrorCode::InvalidInput, "{bad:?}");
    }
    let missing = me.limits().delete(RateLimit::new(LimitScope::All, some)).await;
    assert_eq!(missing.unwrap_err().code(), ErrorCode::NotFound);
}
