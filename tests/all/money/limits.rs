//! Limits of use come before money: what they refuse never held any.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use blitz::provider::{FunctionProvider, Reply};
use blitz::{
    CostFilter, Engine, ErrorCode, LimitScope, ListOptions, ModelLimits, NewAgent, NewKey, NewUser, Permission,
    RateLimit, RetryPolicy, Scope, Session, Visibility,
};
use serde_json::json;
use tokio::task::JoinSet;

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
        me.users().create(NewUser::new(&email, "sk-canary long password")).await.unwrap();
        sessions.push(engine.login(&email, "sk-canary long password").await.unwrap());
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
async fn each_key_has_a_line_of_its_own() {
    let (engine, me) = engine().await;
    me.models().set_visibility("dear", Visibility::Shared).await.unwrap();
    me.agents().put(NewAgent::new("a", "dear").retry(RetryPolicy::never())).await.unwrap();
    me.agents().set_visibility("a", Visibility::Shared).await.unwrap();
    let ana = me.users().create(NewUser::new("ana@example.org", "sk-canary long password")).await.unwrap().id;
    let mut keys = vec![];
    for name in ["one", "two"] {
        let scopes = [Permission::AgentsRun, Permission::ModelsUse].map(Scope::own);
        let issued = me.keys().create(NewKey::new(name).with_scopes(scopes).for_user(ana)).await.unwrap();
        keys.push((issued.record.id, engine.api_key(&issued.key).await.unwrap()));
    }
    let limit = RateLimit::new(LimitScope::Key, ModelLimits::default().tokens(1));
    me.limits().put(limit.clone()).await.unwrap();
    for (_, session) in &keys {
        assert!(session.run("a", "go").await.unwrap().error.is_none());
        assert_eq!(session.run("a", "go").await.unwrap().error.unwrap().details["scope"], "key");
    }
    // The user itself comes by no key.
    let login = engine.login("ana@example.org", "sk-canary long password").await.unwrap();
    assert!(login.run("a", "go").await.unwrap().error.is_none());
    me.limits().delete(limit).await.unwrap();
    // One for a single key leaves the other alone.
    let only = RateLimit::new(LimitScope::Key, ModelLimits::default().tokens(1)).only(keys[0].0.0);
    me.limits().put(only).await.unwrap();
    keys[0].1.run("a", "go").await.unwrap();
    assert_eq!(keys[0].1.run("a", "go").await.unwrap().error.unwrap().details["scope"], "key");
    assert!(keys[1].1.run("a", "go").await.unwrap().error.is_none());
}

/// Runs five at once and gives the most that were asked at the same time.
async fn at_once(session: &Session, most: &AtomicU32) -> u32 {
    most.store(0, Ordering::SeqCst);
    let mut runs = JoinSet::new();
    for _ in 0..5 {
        let session = session.clone();
        runs.spawn(async move { session.run("slow", "go").await.unwrap() });
    }
    while let Some(done) = runs.join_next().await {
        let done = done.unwrap();
        assert!(done.error.is_none(), "{:?}", done.error);
    }
    most.load(Ordering::SeqCst)
}

#[tokio::test]
async fn so_many_calls_at_once_by_user_key_and_provider() {
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (running, peak) = (Arc::clone(&now), Arc::clone(&most));
    let slow = FunctionProvider::new("slow", move |_, _| {
        let (running, peak) = (Arc::clone(&running), Arc::clone(&peak));
        async move {
            peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Long enough for all that may come to have come.
            tokio::time::sleep(Duration::from_millis(40)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(Reply::text("done"))
        }
    });
    let engine = Engine::builder(":memory:").with_provider(slow).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(super::model("slow", "0")).await.unwrap();
    me.models().set_visibility("slow", Visibility::Shared).await.unwrap();
    me.agents().put(NewAgent::new("slow", "slow")).await.unwrap();
    me.agents().set_visibility("slow", Visibility::Shared).await.unwrap();
    let ana = me.users().create(NewUser::new("ana@example.org", "sk-canary long password")).await.unwrap().id;
    let login = engine.login("ana@example.org", "sk-canary long password").await.unwrap();
    let scopes = [Permission::AgentsRun, Permission::ModelsUse].map(Scope::own);
    let issued = me.keys().create(NewKey::new("k").with_scopes(scopes).for_user(ana)).await.unwrap();
    let key = engine.api_key(&issued.key).await.unwrap();
    for (scope, session) in [(LimitScope::User, &login), (LimitScope::Key, &key), (LimitScope::Provider, &me)] {
        for limit in [1, 2] {
            let limited = RateLimit::new(scope, ModelLimits::default().concurrent(limit));
            me.limits().put(limited.clone()).await.unwrap();
            let seen = at_once(session, &most).await;
            assert!((1..=limit).contains(&seen), "{scope:?}: {seen} of {limit} at once");
            me.limits().delete(limited).await.unwrap();
        }
    }
    assert_eq!(now.load(Ordering::SeqCst), 0);
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
