//! Outputs that are used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use blitz::provider::Reply;
use blitz::tool::{FunctionTool, ToolError};
use blitz::{Money, NewUser, NodeStatus, Session, Visibility};
use serde_json::{Value, json};

use super::stand::{self, edges, publish};
use crate::support::engine::{agent, scripted};

/// A tool `look` that counts its calls and fails where it is told to.
async fn counting(me: &Session) -> Arc<AtomicUsize> {
    let calls = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&calls);
    let tool =
        FunctionTool::from_json_schema("look", "Looks.", json!({"type": "object"}), move |arguments: Value, _| {
            let call = count.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                if arguments["fail"] == true {
                    return Err(ToolError::failed("not now"));
                }
                Ok(json!({"call": call, "big": "x".repeat(arguments["big"].as_u64().unwrap_or(0) as usize)}))
            }
        });
    me.tools().register(tool).await.unwrap();
    me.tools().set_visibility("look", Visibility::Shared).await.unwrap();
    calls
}

fn flow(name: &str, cache: Value, more: Value) -> Value {
    let mut node = json!({"id": "n", "type": "tool", "config": {"tool": "look"}, "cache": cache,
        "input": {"q": "{{ inputs.q }}", "fail": "{{ inputs.fail | default(false) }}", "big": "{{ inputs.big | default(0) }}"}});
    node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"name": name, "nodes": [{"id": "s", "type": "start"}, node,
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.n.output.call }}"}}], "edges": edges("s>n n>e")})
}

#[tokio::test]
async fn w44_the_same_settings_and_input_are_worked_out_once() {
    let (_engine, me, _) = scripted(vec![]).await;
    let calls = counting(&me).await;
    publish(&me, flow("one", json!({"ttl_s": 60}), json!({}))).await;
    publish(&me, flow("two", json!({"ttl_s": 60}), json!({"label": "another name", "retry": {"max_attempts": 2}})))
        .await;
    publish(&me, flow("other", json!({"ttl_s": 60}), json!({"config": {"tool": "look", "arguments": {"deep": 1}}})))
        .await;
    assert_eq!(stand::run(&me, "one", json!({"q": 1})).await.output, json!(1));
    let again = stand::run(&me, "one", json!({"q": 1})).await;
    assert_eq!((again.output, again.cost), (json!(1), Some(Money::ZERO)));
    let nodes = me.executions().nodes(again.execution_id, "").await.unwrap();
    let node = nodes.iter().find(|node| node.node == "n").unwrap();
    assert_eq!((node.status, node.attempts), (NodeStatus::Cached, 0));
    // The same work in another workflow is the same; other settings or another input are not.
    assert_eq!(stand::run(&me, "two", json!({"q": 1})).await.output, json!(1));
    assert_eq!(stand::run(&me, "other", json!({"q": 1})).await.output, json!(2));
    assert_eq!(stand::run(&me, "one", json!({"q": 2})).await.output, json!(3));
    // A large output is kept too.
    assert_eq!(stand::run(&me, "one", json!({"q": 1, "big": 200_000})).await.output, json!(4));
    assert_eq!(stand::run(&me, "one", json!({"q": 1, "big": 200_000})).await.output, json!(4));
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn w44_failures_and_pins_are_not_kept() {
    let (_engine, me, _) = scripted(vec![]).await;
    let calls = counting(&me).await;
    publish(&me, flow("fails", json!({"ttl_s": 60}), json!({"on_error": {"value": {"call": "none"}}}))).await;
    for _ in 0..2 {
        assert_eq!(stand::run(&me, "fails", json!({"q": 1, "fail": true})).await.output, json!("none"));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    let mut pinned = flow("pinned", json!({"ttl_s": 60}), json!({"pin": {"call": "pinned"}}));
    me.call("workflows.put", pinned.clone()).await.unwrap();
    assert_eq!(stand::run(&me, "pinned", json!({"q": 7})).await.output, json!("pinned"));
    pinned["nodes"][1].as_object_mut().unwrap().remove("pin");
    me.call("workflows.put", pinned).await.unwrap();
    assert_eq!(stand::run(&me, "pinned", json!({"q": 7})).await.output, json!(3));
}

#[tokio::test]
async fn w44_no_user_gets_anothers_output_and_a_key_of_ones_own_decides() {
    let (engine, me, _) = scripted(vec![]).await;
    let calls = counting(&me).await;
    publish(&me, flow("mine", json!({"ttl_s": 60, "key": "{{ input.q }}"}), json!({}))).await;
    me.workflows().set_visibility("mine", Visibility::Shared).await.unwrap();
    for name in ["ana", "bo"] {
        me.users().create(NewUser::new(format!("{name}@example.com"), "sk-canary long passphrase")).await.unwrap();
    }
    let ana = engine.login("ana@example.com", "sk-canary long passphrase").await.unwrap();
    let bo = engine.login("bo@example.com", "sk-canary long passphrase").await.unwrap();
    assert_eq!(stand::run(&ana, "mine", json!({"q": 1})).await.output, json!(1));
    assert_eq!(stand::run(&bo, "mine", json!({"q": 1})).await.output, json!(2));
    assert_eq!(stand::run(&me, "mine", json!({"q": 1})).await.output, json!(3));
    // Only what the key names counts.
    assert_eq!(stand::run(&ana, "mine", json!({"q": 1, "big": 5})).await.output, json!(1));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn w43_w44_a_secret_is_no_part_of_what_an_output_is_kept_by() {
    let (_engine, me, _) = scripted(vec![]).await;
    let calls = counting(&me).await;
    let config = json!({"tool": "look", "arguments": {"token": "{{ secrets.key }}"}});
    publish(&me, flow("quiet", json!({"ttl_s": 60}), json!({"config": config}))).await;
    me.call("secrets.set", json!({"name": "key", "value": "sk-canary-one"})).await.unwrap();
    assert_eq!(stand::run(&me, "quiet", json!({"q": 1})).await.output, json!(1));
    // Another value is the same work, as two keys of one account are: only what it is given else counts.
    me.call("secrets.set", json!({"name": "key", "value": "sk-canary-two"})).await.unwrap();
    assert_eq!(stand::run(&me, "quiet", json!({"q": 1})).await.output, json!(1));
    assert_eq!(stand::run(&me, "quiet", json!({"q": 2})).await.output, json!(2));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn w44_an_agents_answer_is_paid_once_until_the_agent_changes() {
    let (_engine, me, script) = scripted(vec![Reply::text("one"), Reply::text("two")]).await;
    me.agents().put(agent("helper", &[])).await.unwrap();
    publish(
        &me,
        json!({"name": "asks", "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "agent", "config": {"agent": "helper"}, "cache": {"ttl_s": 3600}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.a.output }}"}}],
            "edges": edges("s>a a>e")}),
    )
    .await;
    assert!(stand::run(&me, "asks", json!({"q": 1})).await.cost.unwrap() > Money::ZERO);
    let again = stand::run(&me, "asks", json!({"q": 1})).await;
    assert_eq!((again.output, again.cost), (json!("one"), Some(Money::ZERO)));
    me.agents().put(agent("helper", &[]).instructions("Otherwise.")).await.unwrap();
    assert_eq!(stand::run(&me, "asks", json!({"q": 1})).await.output, json!("two"));
    assert_eq!(script.requests().len(), 2);
}
