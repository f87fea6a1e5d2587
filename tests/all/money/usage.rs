//! Questions about usage, and their answers in every form.

use blitz::{
    BudgetScope, CostFilter, ErrorCode, ExportFormat, ListOptions, Method, Money, NewAgent, NewBudget, NewPrompt,
    NewUser, NewWebhook, PromptRef, RunOptions, Timestamp, UsageBy, UsageQuery, UsageStep, Visibility,
};
use serde_json::json;

use super::engine;

#[tokio::test]
async fn usage_is_told_by_everything_that_a_call_has() {
    let (engine, me) = engine().await;
    me.prompts().put(NewPrompt::new("greet", "Hello {name}")).await.unwrap();
    me.agents().put(NewAgent::new("greeter", "cheap").prompt(PromptRef::latest("greet"))).await.unwrap();
    for name in ["dear", "cheap"] {
        me.models().set_visibility(name, Visibility::Shared).await.unwrap();
    }
    for agent in ["a", "greeter"] {
        me.agents().set_visibility(agent, Visibility::Shared).await.unwrap();
    }
    me.prompts().set_visibility("greet", Visibility::Shared).await.unwrap();
    let ana = me.users().create(NewUser::new("ana@example.org", "sk-canary long password")).await.unwrap();
    let session = engine.login("ana@example.org", "sk-canary long password").await.unwrap();
    me.run("a", "go").await.unwrap();
    session.run("greeter", json!({"name": "Ana"})).await.unwrap();
    session.agents().run_with("a", "go", RunOptions::default().with_tag("team", "blue")).await.unwrap();

    let everything = [
        UsageBy::User,
        UsageBy::Role,
        UsageBy::Model,
        UsageBy::Provider,
        UsageBy::Agent,
        UsageBy::Prompt,
        UsageBy::Tags,
    ];
    let report = me.usage().query(UsageQuery::by(everything.clone()).every(UsageStep::Day)).await.unwrap();
    assert_eq!(report.rows.len(), 3);
    let greeted = report.rows.iter().find(|row| row.prompt.is_some()).unwrap();
    assert_eq!((greeted.prompt.as_deref(), greeted.agent.as_deref()), (Some("greet@1"), Some("greeter")));
    assert_eq!((greeted.user_id, greeted.role.as_deref()), (Some(ana.id), Some("business_user")));
    assert_eq!((greeted.model.as_deref(), greeted.cost), (Some("cheap"), Money::from_nanos(10_000_000)));
    assert_eq!((greeted.calls, greeted.attempts, greeted.failures, greeted.input_tokens), (1, 1, 0, 10));
    assert!(greeted.latency_us.is_some() && greeted.max_latency_us >= greeted.latency_us);
    assert!(report.rows.iter().any(|row| row.tags.as_deref() == Some("team=blue")));
    let ledger = me.costs().summary(CostFilter::all()).await.unwrap();
    assert_eq!(report.total.cost, ledger.cost);
    // The same again, now that the sums are folded.
    assert_eq!(me.usage().query(UsageQuery::by(everything).every(UsageStep::Day)).await.unwrap(), report);
    // Everybody sees their own, whatever they ask for.
    let theirs = session.usage().query(UsageQuery::by([UsageBy::User])).await.unwrap();
    assert_eq!((theirs.rows.len(), theirs.total.calls), (1, 2));
    let teams = me.call("usage.query", json!({"by": ["tag:team"]})).await.unwrap();
    let teams: Vec<_> =
        teams["rows"].as_array().unwrap().iter().map(|row| (row["tags"].as_str(), row["calls"].as_u64())).collect();
    assert_eq!(teams, [(None, Some(2)), (Some("team=blue"), Some(1))]);
    let csv = me.usage().export(UsageQuery::by([UsageBy::Model]), ExportFormat::Csv).await.unwrap();
    assert_eq!(csv.lines().count(), 3);
    let lines = me.call("usage.export", json!({"query": {"by": ["model"]}, "format": "jsonl"})).await.unwrap();
    assert_eq!(lines.as_str().unwrap().lines().count(), 2);
}

#[tokio::test]
async fn t75_pages_are_capped_and_what_is_no_cursor_is_refused() {
    let (_engine, me) = engine().await;
    for n in 0..3 {
        me.budgets().put(NewBudget::new(format!("b{n}"), BudgetScope::All)).await.unwrap();
    }
    me.run("a", "go").await.unwrap();
    let paged: Vec<_> = Method::all()
        .filter(|method| method.input_schema()["properties"].get("cursor").is_some() && method.name.ends_with("list"))
        .map(|method| method.name)
        .collect();
    assert!(paged.len() >= 6, "{paged:?}");
    for name in paged {
        let much = me.call(name, json!({"limit": 1_000_000_000})).await.unwrap();
        assert!(much["items"].as_array().is_some_and(|items| items.len() <= 1000), "{name}");
        for cursor in ["' OR 1=1 --", "-1", "99999999999999999999", "1e3", ""] {
            let refused = me.call(name, json!({"cursor": cursor})).await;
            let error = refused.err().unwrap_or_else(|| panic!("{name} took {cursor:?}"));
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{name} {cursor:?}");
        }
    }
    // Lists of one thing: its windows, what became of it.
    let budget = me.budgets().find("b0").await.unwrap().id;
    let flow = json!({"name": "flow", "triggers": [{"type": "webhook", "name": "hook"}],
        "nodes": [{"id": "s", "type": "start"}, {"id": "e", "type": "end"}], "edges": [{"from": "s", "to": "e"}]});
    me.call("workflows.put", flow).await.unwrap();
    me.workflows().publish("flow").await.unwrap();
    let trigger = me.triggers().enable("flow").await.unwrap()[0].id;
    let webhook = me.webhooks().put(NewWebhook::new("w", "https://example.com", "a secret of theirs")).await.unwrap();
    let of = |id: serde_json::Value| {
        move |mut page: serde_json::Value| {
            page["id"] = id.clone();
            page
        }
    };
    type Input<'a> = Box<dyn Fn(serde_json::Value) -> serde_json::Value + 'a>;
    let lists: [(&str, Input<'_>); 7] = [
        ("budgets.windows", Box::new(of(json!(budget)))),
        ("budgets.revisions", Box::new(of(json!(budget)))),
        ("budgets.raises", Box::new(of(json!(budget)))),
        ("webhooks.deliveries", Box::new(of(json!(webhook.id)))),
        ("prices.versions", Box::new(|page| page)),
        ("workflows.versions", Box::new(of(json!("flow")))),
        ("triggers.firings", Box::new(of(json!(trigger)))),
    ];
    for (name, input) in lists {
        let much = me.call(name, input(json!({"limit": 1_000_000_000}))).await.unwrap();
        assert!(much["items"].as_array().is_some_and(|items| items.len() <= 1000), "{name}");
        for cursor in ["' OR 1=1 --", "-1", "99999999999999999999", "1e3", ""] {
            let refused = me.call(name, input(json!({"cursor": cursor}))).await;
            let error = refused.err().unwrap_or_else(|| panic!("{name} took {cursor:?}"));
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{name} {cursor:?}");
        }
    }
    let mut injected = UsageQuery::default();
    injected.model = Some("' OR 1=1 --".into());
    assert_eq!(me.usage().query(injected).await.unwrap().total.calls, 0);
    let ends = UsageQuery::default().between(Timestamp(i64::MIN), Timestamp(i64::MAX));
    assert_eq!(me.usage().query(ends).await.unwrap().total.calls, 1);
}

#[tokio::test]
async fn prices_come_into_force_at_their_moment_and_executions_keep_theirs() {
    let (_engine, me) = engine().await;
    let map = |rate: &str| json!({"m-1": {"litellm_provider": "openai", "input_cost_per_token": rate, "output_cost_per_token": rate}});
    let first = me.call("prices.import", json!({"prices": map("0.001"), "source": "test"})).await.unwrap();
    let later = Timestamp::now().plus(std::time::Duration::from_secs(3_600));
    let second = json!({"prices": map("0.002"), "source": "test", "effective_from": later});
    me.call("prices.import", second).await.unwrap();
    let price = |at: Option<Timestamp>| {
        let me = me.clone();
        async move { me.prices().find("openai", "m-1", at).await.unwrap() }
    };
    let (now, then) = (price(None).await, price(Some(later)).await);
    assert_eq!((now.version, now.price.unwrap().input.to_string().as_str()), (first["version"].as_i64(), "0.001"));
    assert_eq!((then.version, then.price.unwrap().input.to_string().as_str()), (Some(2), "0.002"));
    let versions = me.prices().versions(ListOptions::default()).await.unwrap().items;
    assert_eq!(versions.iter().map(|version| version.version).collect::<Vec<_>>(), [1, 2]);
    let broken = me.call("prices.import", json!({"prices": "{\"a\":"})).await.unwrap_err();
    assert_eq!(broken.code(), ErrorCode::InvalidInput);
    assert_eq!(me.prices().versions(ListOptions::default()).await.unwrap().items.len(), 2);
}
