//! What follows where a budget has no room: refusal, a cheaper model, a decision.

use std::time::Duration;

use blitz::{
    BudgetPeriod, BudgetScope, Correction, CostFilter, Decision, ErrorCode, ExecutionStatus, Fallback, ListOptions,
    Money, NewAgent, NewBudget, NewUser, OnExceed, Outcome, RunOptions, Session, TagPolicy, Timestamp, Visibility,
    Waiting,
};
use serde_json::json;

use super::engine;

fn cents(cents: i64) -> Money {
    Money::from_nanos(cents * 10_000_000)
}

fn code(outcome: &Outcome) -> Option<ErrorCode> {
    outcome.error.as_ref().map(|error| error.code)
}

async fn spent(me: &Session) -> Money {
    me.costs().summary(CostFilter::all()).await.unwrap().cost
}

#[tokio::test]
async fn a_budget_lets_the_next_model_answer_where_it_has_no_room() {
    let (_engine, me) = engine().await;
    me.agents().put(NewAgent::new("a", "dear").fallback(Fallback::to(["cheap"]))).await.unwrap();
    let budget = NewBudget::new("b", BudgetScope::All).with_limit(cents(12)).on_exceed(OnExceed::Downgrade);
    me.budgets().put(budget).await.unwrap();
    assert_eq!(me.run("a", "go").await.unwrap().text(), "a dear answer");
    assert_eq!(me.run("a", "go").await.unwrap().text(), "a cheap answer");
    assert_eq!(me.run("a", "go").await.unwrap().text(), "a cheap answer");
    // The last one has no room for either.
    assert_eq!(code(&me.run("a", "go").await.unwrap()), Some(ErrorCode::BudgetExceeded));
    assert_eq!(spent(&me).await, cents(12));
}

#[tokio::test]
async fn a_budget_names_the_cheaper_model_itself() {
    let (_engine, me) = engine().await;
    me.run("a", "what is set up is kept").await.unwrap();
    let budget = NewBudget::new("b", BudgetScope::Model).of("dear").with_limit(cents(10)).downgrade_to("cheap");
    let budget = me.budgets().put(budget).await.unwrap();
    assert_eq!(me.run("a", "go").await.unwrap().text(), "a dear answer");
    let done = me.run("a", "go").await.unwrap();
    assert_eq!((done.text().as_ref(), done.cost), ("a cheap answer", Some(cents(1))));
    me.budgets().delete(budget.id).await.unwrap();
    assert_eq!(me.run("a", "go").await.unwrap().text(), "a dear answer");
}

#[tokio::test]
async fn t73_a_chain_of_models_reserves_each_before_it_is_asked() {
    let (_engine, me) = engine().await;
    // From the cheap one to a dearer one that the budget does not pay for.
    me.agents().put(NewAgent::new("a", "cheap").fallback(Fallback::to(["dear"]))).await.unwrap();
    let full = NewBudget::new("b", BudgetScope::Model).of("cheap").with_limit(cents(0)).on_exceed(OnExceed::Downgrade);
    me.budgets().put(full).await.unwrap();
    me.budgets().put(NewBudget::new("all", BudgetScope::All).with_limit(cents(9))).await.unwrap();
    assert_eq!(code(&me.run("a", "go").await.unwrap()), Some(ErrorCode::BudgetExceeded));
    assert_eq!(spent(&me).await, Money::ZERO);
}

/// Waits until an execution waits for a decision, and gives the key of the step.
async fn asks(me: &Session, id: blitz::ExecutionId) -> String {
    for _ in 0..2_000 {
        let execution = me.executions().get(id).await.unwrap();
        if let (ExecutionStatus::Waiting, [Waiting::Decision { key, .. }]) =
            (execution.status, execution.waiting_for.as_slice())
        {
            return key.clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never asked");
}

#[tokio::test]
async fn a_budget_asks_and_goes_on_behind_a_raise() {
    let (_engine, me) = engine().await;
    let budget = NewBudget::new("b", BudgetScope::All).with_limit(cents(5)).on_exceed(OnExceed::Ask);
    let budget = me.budgets().put(budget).await.unwrap();
    let handle = me.start("a", "go").await.unwrap();
    let key = asks(&me, handle.id()).await;
    assert_eq!(spent(&me).await, Money::ZERO);
    // Nothing has changed: it asks again.
    me.executions().decide(handle.id(), &key, Decision::Rerun).await.unwrap();
    let key = asks(&me, handle.id()).await;
    let now = Timestamp::now();
    me.budgets().raise(budget.id, cents(5), now, now.plus(Duration::from_secs(60)), "a demo").await.unwrap();
    me.executions().decide(handle.id(), &key, Decision::Rerun).await.unwrap();
    let done = handle.wait().await.unwrap();
    assert_eq!((done.text().as_ref(), done.cost), ("a dear answer", Some(cents(10))));

    let handle = me.start("a", "go").await.unwrap();
    let key = asks(&me, handle.id()).await;
    me.executions().decide(handle.id(), &key, Decision::Fail { message: "not this month".into() }).await.unwrap();
    let done = handle.wait().await.unwrap();
    let error = done.error.unwrap();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::BudgetExceeded, "not this month"));
}

#[tokio::test]
async fn windows_raises_and_resets_through_the_rows() {
    let (_engine, me) = engine().await;
    let call = |name: &'static str, input: serde_json::Value| {
        let me = me.clone();
        async move { me.call(name, input).await.unwrap() }
    };
    let budget = json!({"name": "b", "scope": "all", "period": "month", "time_zone": "Europe/Berlin", "limit": "0.1"});
    let id = call("budgets.put", budget).await["id"].clone();
    me.run("a", "go").await.unwrap();
    assert_eq!(code(&me.run("a", "go").await.unwrap()), Some(ErrorCode::BudgetExceeded));
    let until = Timestamp::now().plus(Duration::from_secs(60));
    call("budgets.raise", json!({"id": id, "amount": "0.1", "until": until, "reason": "x"})).await;
    assert_eq!(code(&me.run("a", "go").await.unwrap()), None);
    call("budgets.end_raises", json!({"id": id})).await;
    assert_eq!(code(&me.run("a", "go").await.unwrap()), Some(ErrorCode::BudgetExceeded));
    call("budgets.reset", json!({"id": id})).await;
    assert_eq!(code(&me.run("a", "go").await.unwrap()), None);
    let windows = call("budgets.windows", json!({"id": id, "limit": 1})).await;
    let rest = call("budgets.windows", json!({"id": id, "cursor": windows["next_cursor"]})).await;
    assert_eq!((&windows["items"][0]["posted"], &rest["items"][0]["posted"]), (&json!("0.2"), &json!("0.1")));
    me.budgets().verify().await.unwrap();
}

#[tokio::test]
async fn t17_the_tags_of_a_policy_win_through_a_run() {
    let (engine, me) = engine().await;
    let ana = me.users().create(NewUser::new("ana@example.org", "sk-canary long password")).await.unwrap();
    me.models().set_visibility("dear", Visibility::Shared).await.unwrap();
    me.agents().set_visibility("a", Visibility::Shared).await.unwrap();
    me.budgets().put(NewBudget::new("blue", BudgetScope::Tag).of("team=blue").with_limit(cents(10))).await.unwrap();
    let policy = TagPolicy::of_user(ana.id.0).tag("team", "blue").require("project");
    me.budgets().put_tags(policy).await.unwrap();
    let session = engine.login("ana@example.org", "sk-canary long password").await.unwrap();
    let run = |options: RunOptions| {
        let session = session.clone();
        async move { session.agents().run_with("a", "go", options).await }
    };
    let missing = run(RunOptions::default().with_tag("team", "green")).await.unwrap_err();
    assert_eq!(missing.code(), ErrorCode::InvalidInput);
    let dodging = || RunOptions::default().with_tag("team", "green").with_tag("project", "x");
    assert_eq!(code(&run(dodging()).await.unwrap()), None);
    assert_eq!(code(&run(dodging()).await.unwrap()), Some(ErrorCode::BudgetExceeded));
}

#[tokio::test]
async fn t18_a_caller_sets_no_price_of_its_own() {
    let (_engine, me) = engine().await;
    for options in [json!({"price": {"input": "0"}}), json!({"limits": {"price": "0"}})] {
        let refused = me.call("agents.run", json!({"agent": "a", "input": "go", "options": options})).await;
        assert_eq!(refused.unwrap_err().code(), ErrorCode::InvalidInput);
    }
    assert_eq!(spent(&me).await, Money::ZERO);
}

#[tokio::test]
async fn t70_money_is_changed_by_those_who_manage_it() {
    let (engine, me) = engine().await;
    me.users().create(NewUser::new("ana@example.org", "sk-canary long password")).await.unwrap();
    let budget = me.budgets().put(NewBudget::per_user("b", cents(100)).every(BudgetPeriod::Month)).await.unwrap();
    me.run("a", "go").await.unwrap();
    let entry = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items.remove(0);
    let ana = engine.login("ana@example.org", "sk-canary long password").await.unwrap();
    let back = || Correction::new(entry.reservation_id, cents(1), "a gift to myself");
    let now = Timestamp::now();
    let denied = [
        ana.costs().refund(back()).await.map(drop),
        ana.costs().adjust(back()).await.map(drop),
        ana.budgets().put(NewBudget::per_user("b", cents(9_999))).await.map(drop),
        ana.budgets().reset(budget.id).await.map(drop),
        ana.budgets().raise(budget.id, cents(1), now, now.plus(Duration::from_secs(9)), "x").await.map(drop),
        ana.budgets().put_tags(TagPolicy::of_all()).await,
        ana.webhooks().list(ListOptions::default()).await.map(drop),
        ana.limits().list().await.map(drop),
    ];
    for denied in denied {
        assert_eq!(denied.unwrap_err().code(), ErrorCode::PermissionDenied);
    }
    me.costs().refund(back()).await.unwrap();
    assert_eq!(spent(&me).await, cents(9));
}
