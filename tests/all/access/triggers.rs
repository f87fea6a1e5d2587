//! Triggers of somebody else's workflow: who sees them, ends them, takes them over, and as whom they act.

use blitz::{Engine, ErrorCode, ListOptions, NewRole, Permission, Role, Scope, Session, Share, ShareLevel};
use serde_json::{Value, json};

use super::member;
use crate::support::engine::scripted;

/// Ana, an admin, has enabled the webhook `old` of her workflow; others plan, with a role that reaches their own.
async fn world() -> (Engine, Session, Session) {
    let (engine, root, _) = scripted(vec![]).await;
    let powers = [
        Permission::SchedulesManage,
        Permission::WorkflowsRead,
        Permission::WorkflowsRun,
        Permission::WorkflowsEdit,
        Permission::WorkflowsPublish,
    ];
    root.roles().create(NewRole::new("planner", powers.map(Scope::own))).await.unwrap();
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::Admin).await;
    ana.call("workflows.put", definition(&["old"])).await.unwrap();
    ana.workflows().publish("hers").await.unwrap();
    ana.triggers().enable("hers").await.unwrap();
    (engine, root, ana)
}

/// A planner to whom the workflow is open so far.
async fn planner(engine: &Engine, root: &Session, ana: &Session, name: &str, level: Option<ShareLevel>) -> Session {
    let email = format!("{name}@example.com");
    let (_, session) = member(engine, root, &email, Role::from_name("planner").unwrap()).await;
    if let Some(level) = level {
        ana.workflows().share("hers", Share::with_user(email, level)).await.unwrap();
    }
    session
}

fn definition(webhooks: &[&str]) -> Value {
    let triggers: Vec<Value> = webhooks.iter().map(|name| json!({"type": "webhook", "name": name})).collect();
    json!({"name": "hers", "triggers": triggers, "nodes": [{"id": "s", "type": "start"}, {"id": "e", "type": "end"}],
        "edges": [{"from": "s", "to": "e"}]})
}

async fn publish(me: &Session, webhooks: &[&str]) {
    let change = json!({"id": "ana@example.com/hers", "patch": {"triggers": definition(webhooks)["triggers"]}});
    me.call("workflows.update", change).await.unwrap();
    me.workflows().publish("ana@example.com/hers").await.unwrap();
}

async fn enabled(me: &Session) -> Vec<(String, String)> {
    let page = me.triggers().list(ListOptions::default()).await.unwrap();
    let name = |trigger: &blitz::EnabledTrigger| json!(trigger.trigger)["name"].as_str().unwrap().to_owned();
    page.items.iter().map(|trigger| (name(trigger), trigger.runs_as.clone())).collect()
}

#[tokio::test]
async fn t39_a_version_of_another_brings_no_trigger_that_acts_as_who_enabled_the_others() {
    let (engine, root, ana) = world().await;
    let bo = planner(&engine, &root, &ana, "bo", Some(ShareLevel::Manage)).await;
    let runs_as = enabled(&ana).await[0].1.clone();
    publish(&bo, &["old", "sly"]).await;
    assert_eq!(enabled(&ana).await, [("old".to_owned(), runs_as.clone())]);
    assert_eq!(bo.triggers().fire("sly", json!({}), None).await.unwrap_err().code(), ErrorCode::NotFound);
    // Her own version brings its new ones; whoever publishes ends what is gone.
    publish(&ana, &["old", "new"]).await;
    assert_eq!(enabled(&ana).await, [("old".to_owned(), runs_as.clone()), ("new".to_owned(), runs_as.clone())]);
    publish(&bo, &["new", "sly"]).await;
    assert_eq!(enabled(&ana).await, [("new".to_owned(), runs_as.clone())]);
    // Enabling takes all over: what they start is his then.
    bo.triggers().enable("ana@example.com/hers").await.unwrap();
    let now = enabled(&ana).await;
    assert_eq!(now.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["new", "sly"]);
    assert!(now.iter().all(|(_, as_whom)| *as_whom != runs_as), "{now:?}");
}

#[tokio::test]
async fn t39_triggers_of_a_workflow_that_is_not_open_are_not_seen() {
    let (engine, root, ana) = world().await;
    let trigger = ana.triggers().list(ListOptions::default()).await.unwrap().items[0].id;
    ana.triggers().fire("old", json!({"to": "ana"}), None).await.unwrap();
    let (dee, eve) = (
        planner(&engine, &root, &ana, "dee", None).await,
        planner(&engine, &root, &ana, "eve", Some(ShareLevel::View)).await,
    );
    let denials = || async { root.audit().list(ListOptions::default()).await.unwrap() };
    let before = denials().await.items.len();
    assert_eq!(enabled(&dee).await, []);
    let hidden = dee.triggers().firings(trigger, ListOptions::default()).await.unwrap_err();
    let missing = dee.triggers().firings(12_345, ListOptions::default()).await.unwrap_err();
    assert_eq!((hidden.code(), hidden.to_string()), (ErrorCode::NotFound, missing.to_string()));
    assert_eq!(denials().await.items.len(), before, "to look at what is there is no attempt");
    assert_eq!(enabled(&eve).await.len(), 1);
    assert_eq!(eve.triggers().firings(trigger, ListOptions::default()).await.unwrap().items.len(), 1);
    // What was fired stays known behind the trigger's end.
    ana.triggers().disable("hers").await.unwrap();
    assert_eq!(eve.triggers().firings(trigger, ListOptions::default()).await.unwrap().items.len(), 1);
    assert_eq!(enabled(&ana).await, []);
}

#[tokio::test]
async fn t39_who_may_only_run_a_workflow_ends_and_takes_over_nothing_of_others() {
    let (engine, root, ana) = world().await;
    let cy = planner(&engine, &root, &ana, "cy", Some(ShareLevel::Use)).await;
    let fay = planner(&engine, &root, &ana, "fay", Some(ShareLevel::Edit)).await;
    let name = "ana@example.com/hers";
    for refused in [cy.triggers().disable(name).await.unwrap_err(), cy.triggers().enable(name).await.unwrap_err()] {
        assert_eq!(refused.code(), ErrorCode::PermissionDenied);
    }
    assert_eq!(enabled(&cy).await.len(), 1);
    // Whoever may change the workflow may; and once nobody has them, they are anybody's who may run it.
    fay.triggers().disable(name).await.unwrap();
    cy.triggers().enable(name).await.unwrap();
    cy.triggers().disable(name).await.unwrap();
    assert_eq!(enabled(&ana).await, []);
}
