//! What becomes of an execution while what it uses is deleted or stopped: it holds what it began with, and only who
//! may no longer, or what may no longer be paid, ends it.

use blitz::provider::{Reply, Scripted};
use blitz::{
    BudgetScope, Decision, Engine, ErrorCode, ExecutionStatus, Money, NewAgent, NewBudget, OnExceed, Role, Session,
    Waiting,
};
use serde_json::{Value, json};

use super::stage::{Gates, edges, end, put, until, with_work};
use crate::access::member;
use crate::support::engine::{priced, with_provider};
use crate::support::folder::Folder;

/// A session's own model, agent, tool and workflows: `flow` waits at a gate before it uses them all.
async fn things(me: &Session) {
    me.agents().put(NewAgent::new("helper", "m")).await.unwrap();
    me.tools().register(shout()).await.unwrap();
    put(me, json!({"name": "inner", "nodes": [{"id": "w", "type": "work", "config": {"give": "inside"}}]})).await;
    put(me, flow("flow")).await;
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Said {
    said: String,
}

fn shout() -> blitz::tool::FunctionTool {
    blitz::tool_fn!("shout", "Shouts.", |it: Said| async move { Ok(it.said.to_uppercase()) })
}

fn flow(name: &str) -> Value {
    json!({"name": name, "triggers": [{"type": "webhook", "name": "hook"}], "nodes": [
        {"id": "s", "type": "start"}, {"id": "g", "type": "gate", "effect": "idempotent", "config": {"name": "g"}},
        {"id": "a", "type": "agent", "config": {"agent": "helper"}},
        {"id": "q", "type": "llm", "config": {"model": "m", "prompt": "Say."}},
        {"id": "t", "type": "tool", "config": {"tool": "shout"}, "input": {"said": "{{ nodes.a.output }}"}},
        {"id": "w", "type": "subflow", "config": {"workflow": "inner"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.t.output }} {{ nodes.q.output }} {{ nodes.w.output }}"}}],
        "edges": edges("s>g g>a a>q q>t t>w w>e")})
}

fn said() -> Scripted {
    Scripted::from_fn(|_| Reply::text("said"))
}

const WHOLE: &str = "SAID said inside";

async fn delete(me: &Session, kind: &str) {
    match kind {
        "workflow" => me.workflows().delete("flow").await.unwrap(),
        "inner" => me.workflows().delete("inner").await.unwrap(),
        "agent" => me.agents().delete("helper").await.unwrap(),
        "tool" => me.tools().delete("shout").await.unwrap(),
        _ => me.models().delete("m").await.unwrap(),
    }
}

#[tokio::test]
async fn w39_each_kind_that_is_deleted_while_it_runs_still_runs() {
    for kind in ["workflow", "inner", "agent", "tool", "model"] {
        let (engine, me, _) = with_provider(said()).await;
        let gates = Gates::new(&engine);
        with_work(&engine);
        things(&me).await;
        let handle = me.start("flow", json!({})).await.unwrap();
        gates.reached("g", 1).await;
        delete(&me, kind).await;
        gates.open("g");
        assert_eq!(end(&handle).await.output, json!(WHOLE), "{kind}");
        // The next one finds out before it begins.
        let next = me.start("flow", json!({})).await.unwrap_err();
        assert!([ErrorCode::NotFound, ErrorCode::InvalidInput].contains(&next.code()), "{kind}: {next}");
    }
}

#[tokio::test]
async fn w39_what_a_user_deletes_while_it_runs_still_runs() {
    let (engine, root, _) = with_provider(said()).await;
    let gates = Gates::new(&engine);
    with_work(&engine);
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::Admin).await;
    ana.models().put(priced("m")).await.unwrap();
    things(&ana).await;
    let handle = ana.start("flow", json!({})).await.unwrap();
    gates.reached("g", 1).await;
    for kind in ["workflow", "inner", "agent", "model"] {
        delete(&ana, kind).await;
    }
    gates.open("g");
    assert_eq!(end(&handle).await.output, json!(WHOLE));
}

#[tokio::test]
async fn w39_what_was_deleted_goes_on_in_the_next_process() {
    let folder = Folder::new();
    let path = folder.path().join("a.db").to_str().unwrap().to_owned();
    let open = || async {
        let engine = Engine::builder(&path).with_provider(said()).open().await.unwrap();
        let (me, gates) = (engine.root("test"), Gates::new(&engine));
        with_work(&engine);
        (engine, me, gates)
    };
    let (engine, me, gates) = open().await;
    me.models().put(priced("m")).await.unwrap();
    things(&me).await;
    let id = me.start("flow", json!({})).await.unwrap().id();
    gates.reached("g", 1).await;
    for kind in ["workflow", "inner", "agent", "tool", "model"] {
        delete(&me, kind).await;
    }
    engine.close_within(std::time::Duration::ZERO).await.unwrap();

    let (engine, me, gates) = open().await;
    me.tools().register(shout()).await.unwrap();
    gates.open("g");
    assert_eq!(engine.recover().await.unwrap(), [id]);
    let done = end(&me.executions().handle(id)).await;
    assert_eq!(done.output, json!(WHOLE), "{:?}", done.error);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn w39_triggers_that_are_disabled_while_their_execution_runs_fire_no_more_and_let_it_end() {
    let (engine, me, _) = with_provider(said()).await;
    let gates = Gates::new(&engine);
    with_work(&engine);
    things(&me).await;
    me.workflows().publish("inner").await.unwrap();
    me.workflows().publish("flow").await.unwrap();
    let trigger = me.triggers().enable("flow").await.unwrap()[0].id;
    me.triggers().fire("hook", json!({}), None).await.unwrap();
    gates.reached("g", 1).await;
    me.triggers().disable("flow").await.unwrap();
    assert_eq!(me.triggers().fire("hook", json!({}), None).await.unwrap_err().code(), ErrorCode::NotFound);
    gates.open("g");
    let firings = me.triggers().firings(trigger, blitz::ListOptions::default()).await.unwrap().items;
    let id = firings[0].execution_id.unwrap();
    assert_eq!(end(&me.executions().handle(id)).await.output, json!(WHOLE));
    // Enabled again, they fire again.
    me.triggers().enable("flow").await.unwrap();
    me.triggers().fire("hook", json!({}), None).await.unwrap();
}

/// A budget of nothing takes a model out of use at once, of what runs too, and gives it back.
#[tokio::test]
async fn w39_a_model_that_is_blocked_while_it_runs_is_asked_no_more() {
    for asks in [false, true] {
        let (engine, me, asked) = with_provider(said()).await;
        let gates = Gates::new(&engine);
        with_work(&engine);
        things(&me).await;
        let handle = me.start("flow", json!({})).await.unwrap();
        gates.reached("g", 1).await;
        let none = NewBudget::new("blocked", BudgetScope::Model).of("m").with_limit(Money::ZERO);
        let blocked = me.budgets().put(if asks { none.on_exceed(OnExceed::Ask) } else { none }).await.unwrap();
        gates.open("g");
        if asks {
            let waits = until(&me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
            let Waiting::Child { execution_id: child, .. } = &waits.waiting_for[0] else {
                panic!("{:?}", waits.waiting_for)
            };
            let child = me.executions().get(*child).await.unwrap();
            let Waiting::Decision { key, .. } = &child.waiting_for[0] else { panic!("{:?}", child.waiting_for) };
            me.budgets().delete(blocked.id).await.unwrap();
            me.executions().decide(child.id, key, Decision::Rerun).await.unwrap();
            assert_eq!(end(&handle).await.output, json!(WHOLE));
        } else {
            let done = end(&handle).await;
            assert_eq!((done.status, done.error.unwrap().code), (ExecutionStatus::Failed, ErrorCode::BudgetExceeded));
            assert!(asked.requests().is_empty());
        }
    }
}
