//! Secrets in workflows: there at the call, and nowhere else.

use std::sync::{Arc, Mutex};

use blitz::provider::{Reply, Scripted};
use blitz::tool::{FunctionTool, ToolError};
use blitz::{ErrorCode, ExecutionStatus, NewUser, Session, Visibility};
use serde_json::{Value, json};

use super::stand::{self, edges, publish};
use crate::support::engine::{agent, scripted};

const CANARY: &str = "sk-canary-6f1e \"q\"";

/// What the tool `send` was called with.
type Given = Arc<Mutex<Vec<Value>>>;

/// An engine with the secret `key` and a tool `send` that gives what it is given, or fails with `fail`.
async fn engine(replies: Vec<Reply>) -> (blitz::Engine, Session, Scripted, Given) {
    let (engine, me, script) = scripted(replies).await;
    let given = Given::default();
    let log = Arc::clone(&given);
    let tool =
        FunctionTool::from_json_schema("send", "Sends.", json!({"type": "object"}), move |arguments: Value, _| {
            log.lock().unwrap().push(arguments.clone());
            async move {
                match arguments["fail"].as_str() {
                    Some(message) => Err(ToolError::failed(message)),
                    None => Ok(arguments),
                }
            }
        });
    me.tools().register(tool).await.unwrap();
    me.call("secrets.set", json!({"name": "key", "value": CANARY})).await.unwrap();
    (engine, me, script, given)
}

/// A node that calls `send` with these arguments.
fn send(id: &str, arguments: Value) -> Value {
    json!({"id": id, "type": "tool", "config": {"tool": "send", "arguments": arguments}, "on_error": "continue"})
}

/// Everything that is kept of an execution, as text.
async fn kept(me: &Session, id: blitz::ExecutionId) -> String {
    let mut all = String::new();
    let mut events = me.executions().events(id, 0);
    while let Some(event) = futures_util::StreamExt::next(&mut events).await {
        all += &serde_json::to_string(&event.unwrap()).unwrap();
    }
    all += &serde_json::to_string(&me.executions().nodes(id, "").await.unwrap()).unwrap();
    all += &serde_json::to_string(&me.executions().outcome(id).await.unwrap()).unwrap();
    all
}

#[tokio::test]
async fn w43_a_secret_is_there_at_the_call_and_in_no_record() {
    let (_engine, me, _, given) = engine(vec![]).await;
    let definition = json!({"name": "quiet", "nodes": [
        {"id": "s", "type": "start"}, send("a", json!({"echo": "got {{ secrets.key }}", "plain": "{{ inputs.n }}"})),
        send("b", json!({"fail": "refused {{ secrets.key }}"})),
        {"id": "e", "type": "end", "config": {"output": {"a": "{{ nodes.a.output }}", "b": "{{ nodes.b.error.message }}"}}}],
        "edges": edges("s>a s>b a>e b>e")});
    publish(&me, definition).await;
    let done = stand::run(&me, "quiet", json!({"n": 3})).await;
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    assert_eq!(done.output, json!({"a": {"echo": "got ***", "plain": 3, "n": 3}, "b": "refused ***"}));
    let given = given.lock().unwrap().clone();
    assert!(given.iter().any(|call| call["echo"] == format!("got {CANARY}")), "it is there at the call");
    let kept = kept(&me, done.execution_id).await;
    assert!(!kept.contains("canary-6f1e"), "{kept}");
    assert!(kept.contains("got ***"));
    let exported = me.workflows().export("quiet", None).await.unwrap();
    assert!(exported.to_string().contains("secrets.key"));
}

#[tokio::test]
async fn w43_a_secret_is_read_at_the_call_not_at_the_start() {
    let (_engine, me, _, given) = engine(vec![]).await;
    publish(
        &me,
        json!({"name": "late", "nodes": [
            {"id": "s", "type": "start"}, {"id": "ok", "type": "approval"},
            send("a", json!({"token": "{{ secrets.key }}"})), send("gone", json!({"token": "{{ secrets.other }}"})),
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.gone.error.code }}"}}],
            "edges": edges("s>ok ok.approved>a a>gone gone>e")}),
    )
    .await;
    let handle = me.start("late", json!({})).await.unwrap();
    wait_for_question(&me, &handle).await;
    me.call("secrets.set", json!({"name": "key", "value": "sk-canary-second"})).await.unwrap();
    me.executions().approve(handle.id(), "ok", blitz::Answer::approve()).await.unwrap();
    let done = handle.wait().await.unwrap();
    assert_eq!(done.output, json!("invalid_input"), "{:?}", done.error);
    assert_eq!(given.lock().unwrap()[0]["token"], "sk-canary-second");
    assert!(!kept(&me, handle.id()).await.contains("sk-canary-second"));
}

async fn wait_for_question(me: &Session, handle: &blitz::ExecutionHandle) {
    let mut events = handle.events();
    while let Some(event) = futures_util::StreamExt::next(&mut events).await {
        if matches!(event.unwrap().data, blitz::EventData::ExecutionWaiting { .. }) {
            return;
        }
    }
    panic!("it never waits: {:?}", me.executions().get(handle.id()).await);
}

#[tokio::test]
async fn w43_an_agent_knows_a_secret_by_name_and_its_tool_by_value() {
    let call = Reply::tool_call("send", json!({"token": "[[secret:key]]", "other": "[[secret:none]]"}));
    let (_engine, me, script, given) = engine(vec![call, Reply::text("done")]).await;
    me.agents().put(agent("sender", &["send"])).await.unwrap();
    publish(
        &me,
        json!({"name": "send", "nodes": [
            {"id": "s", "type": "start"},
            {"id": "a", "type": "agent", "config": {"agent": "sender", "values": {"token": "{{ secrets.key }}"}}, "input": {"to": "x"}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.a.output }}"}}],
            "edges": edges("s>a a>e")}),
    )
    .await;
    let done = stand::run(&me, "send", json!({})).await;
    assert_eq!(done.output, json!("done"), "{:?}", done.error);
    assert_eq!(given.lock().unwrap()[0], json!({"token": CANARY, "other": "[[secret:none]]"}));
    let asked = format!("{:?}", script.requests());
    assert!(asked.contains("[[secret:key]]") && !asked.contains("canary-6f1e"), "{asked}");
    assert!(!kept(&me, done.execution_id).await.contains("canary-6f1e"));
}

#[tokio::test]
async fn w43_a_later_call_that_repeats_a_secret_shows_none() {
    let call = Reply::tool_call("send", json!({"token": "[[secret:key]]"}));
    let (_engine, me, script, given) =
        engine(vec![call, Reply::tool_call("repeat", json!({})), Reply::text("done")]).await;
    let log = Arc::clone(&given);
    let repeat = FunctionTool::from_json_schema("repeat", "Repeats.", json!({"type": "object"}), move |_: Value, _| {
        let said = log.lock().unwrap()[0]["token"].clone();
        async move { Ok::<_, ToolError>(json!({"said": said})) }
    });
    me.tools().register(repeat).await.unwrap();
    me.agents().put(agent("sender", &["send", "repeat"])).await.unwrap();
    publish(
        &me,
        json!({"name": "send", "nodes": [
            {"id": "s", "type": "start"},
            {"id": "a", "type": "agent", "config": {"agent": "sender", "values": {"token": "{{ secrets.key }}"}}, "input": {"to": "x"}}],
            "edges": edges("s>a")}),
    )
    .await;
    let done = stand::run(&me, "send", json!({})).await;
    assert_eq!(done.output, json!("done"), "{:?}", done.error);
    assert_eq!(given.lock().unwrap()[0]["token"], CANARY);
    let asked = format!("{:?}", script.requests());
    assert!(asked.contains("***") && !asked.contains("canary-6f1e"), "{asked}");
    assert!(!kept(&me, done.execution_id).await.contains("canary-6f1e"));
}

#[tokio::test]
async fn w43_a_draft_with_secrets_needs_the_right_to_use_them() {
    let (engine, me, _, _) = engine(vec![]).await;
    me.users().create(NewUser::new("ana@example.com", "sk-canary long passphrase")).await.unwrap();
    let ana = engine.login("ana@example.com", "sk-canary long passphrase").await.unwrap();
    let steal = json!({"name": "steal", "nodes": [
        {"id": "s", "type": "start"}, send("a", json!({"token": "{{ secrets.key }}"}))],
        "edges": edges("s>a")});
    ana.call("workflows.put", steal.clone()).await.unwrap();
    let refused = ana.run("steal", json!({})).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PermissionDenied, "{} {}", refused.chain(), refused.details());
    // What somebody published who may is for everyone who may run it.
    me.tools().set_visibility("send", Visibility::Shared).await.unwrap();
    let mut shared = steal;
    shared["name"] = json!("shared");
    publish(&me, shared).await;
    me.workflows().set_visibility("shared", Visibility::Shared).await.unwrap();
    assert_eq!(stand::run(&ana, "shared", json!({})).await.output, json!({"token": "***"}));
}
