//! Calls are rated anew by a later list of prices, as who manages prices does it.

use blitz::provider::{FunctionProvider, Reply};
use blitz::{
    CostFilter, Engine, EntryKind, ErrorCode, ListOptions, NewAgent, NewModel, NewRole, NewUser, Permission, Rerate,
    Role, Scope, Session, Usage, UsageBy, UsageQuery,
};
use serde_json::json;

/// A service whose calls always use as much, and its model of a list.
async fn world() -> (Engine, Session) {
    let answer = |_, _| async { Ok(Reply::text("done").with_usage(Usage::new(1_000, 100))) };
    let provider = FunctionProvider::new("mistral", answer);
    let engine = Engine::builder(":memory:").with_provider(provider).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "mistral", "m-1")).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    (engine, me)
}

async fn import(me: &Session, rate: &str) -> i64 {
    let list =
        json!({"m-1": {"litellm_provider": "mistral", "input_cost_per_token": rate, "output_cost_per_token": rate}});
    let imported = me.call("prices.import", json!({"prices": list, "source": "the provider's page"})).await.unwrap();
    imported["version"].as_i64().unwrap()
}

async fn spent(me: &Session) -> (String, u64) {
    let summary = me.costs().summary(CostFilter::all()).await.unwrap();
    (summary.cost.to_string(), summary.unpriced_calls)
}

#[tokio::test]
async fn calls_are_rated_anew_by_a_later_list() {
    let (_engine, me) = world().await;
    me.run("a", "before any list").await.unwrap();
    assert_eq!(spent(&me).await, ("0".to_owned(), 1));
    import(&me, "0.000001").await;
    me.run("a", "by the first list").await.unwrap();
    let second = import(&me, "0.000002").await;
    assert_eq!(spent(&me).await, ("0.0011".to_owned(), 1));

    let would = me.costs().rerate(Rerate::all("a letter of the provider").only_tell()).await.unwrap();
    assert_eq!(spent(&me).await, ("0.0011".to_owned(), 1));
    let done = me.call("costs.rerate", json!({"reason": "a letter of the provider", "model": "m"})).await.unwrap();
    assert_eq!(done, serde_json::to_value(would).unwrap());
    assert_eq!(
        done,
        json!({"version": second, "calls": 2, "changed": 2, "unlisted": 0, "sealed": 0, "amount": "0.0033"})
    );
    assert_eq!(spent(&me).await, ("0.0044".to_owned(), 0));
    let usage = me.usage().query(UsageQuery::by([UsageBy::Model])).await.unwrap();
    assert_eq!((usage.total.cost.to_string().as_str(), usage.total.calls, usage.total.unpriced), ("0.0044", 2, 0));
    let entries = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items;
    let kinds: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.price_version)).collect();
    let (settled, adjusted) = (EntryKind::Settle, EntryKind::Adjust);
    assert_eq!(kinds, [(settled, None), (settled, Some(1)), (adjusted, Some(2)), (adjusted, Some(2))]);
    let trail = me.audit().list(ListOptions::limit(1000)).await.unwrap().items;
    let line = trail.iter().rfind(|line| line.action == "costs.rerate").unwrap();
    assert_eq!((line.object.as_str(), &line.details["amount"]), ("prices:2", &json!("0.0033")));
    me.budgets().verify().await.unwrap();
}

#[tokio::test]
async fn t70_only_who_manages_prices_and_budgets_rates_anew() {
    let (engine, me) = world().await;
    me.run("a", "x").await.unwrap();
    import(&me, "0.000001").await;
    me.roles().create(NewRole::new("lister", [Scope::all(Permission::PricesManage)])).await.unwrap();
    for (email, role) in [("ana@example.org", "business_user"), ("ben@example.org", "lister")] {
        let new = NewUser::new(email, "sk-canary long password").with_role(Role::from_name(role).unwrap());
        me.users().create(new).await.unwrap();
        let session = engine.login(email, "sk-canary long password").await.unwrap();
        let denied = session.costs().rerate(Rerate::all("cheaper for me")).await.unwrap_err();
        assert_eq!(denied.code(), ErrorCode::PermissionDenied, "{role}");
    }
    assert_eq!(spent(&me).await, ("0".to_owned(), 1));
}
