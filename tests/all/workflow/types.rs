//! Types of nodes that the other tests do not come by.

use blitz::provider::Reply;
use blitz::{ErrorCode, ExecutionStatus, MessageRole, Timestamp, Waiting};
use serde_json::json;

use super::stage::{by_id, edges, end, engine, put, run, start, until};
use crate::support::engine::scripted;

#[tokio::test]
async fn inputs_and_outputs_are_fields_and_a_note_is_nothing() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "fields", "nodes": [
        {"id": "x", "type": "input", "config": {"name": "x"}}, {"id": "y", "type": "input", "config": {"name": "y", "default": 5}},
        {"id": "n", "type": "note", "config": {"text": "{{ not.an.expression }}"}},
        {"id": "sum", "type": "output", "config": {"name": "sum", "value": "{{ nodes.x.output + nodes.y.output }}"}},
        {"id": "same", "type": "output", "config": {"name": "same"}}],
        "edges": edges("x>sum y>sum y>same")});
    let done = run(&me, definition, json!({"x": 3})).await;
    assert_eq!(done.output, json!({"sum": 8, "same": {"y_output": 5}}), "{:?}", done.error);
    assert!(!by_id(&me, done.execution_id).await.contains_key("n"), "a note does not run");
    let done = me.run("fields", json!({"x": 3, "y": null})).await.unwrap();
    assert_eq!(done.error.unwrap().code, ErrorCode::Expression, "null is given, so it is not the default");
    let error = me.run("fields", json!({"y": 1})).await.unwrap().error.unwrap();
    assert_eq!((error.code, error.node.as_deref()), (ErrorCode::InvalidInput, Some("x")), "{error:?}");
}

#[tokio::test]
async fn a_wait_is_until_a_moment() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "moment", "nodes": [
        {"id": "s", "type": "start"}, {"id": "w", "type": "wait", "config": {"until": "{{ inputs.at }}"}},
        {"id": "e", "type": "end", "config": {"output": "there"}}], "edges": edges("s>w w>e")});
    assert_eq!(run(&me, definition.clone(), json!({"at": "2020-01-31T09:00:00Z"})).await.output, json!("there"));
    assert_eq!(me.run("moment", json!({"at": 7})).await.unwrap().output, json!("there"));
    let handle = start(&me, definition, json!({"at": "2190-01-31T09:00:00+01:00"})).await;
    let waiting = until(&me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
    let [Waiting::Timer { key, at }] = &waiting.waiting_for[..] else { panic!("{waiting:?}") };
    assert_eq!((key.as_str(), at.to_rfc3339().starts_with("2190-01-31T08:00:00")), ("w", true), "{at:?}");
    assert!(*at > Timestamp::now());
    handle.cancel().await.unwrap();
    assert_eq!(end(&handle).await.status, ExecutionStatus::Cancelled);
    let wrong = me.run("moment", json!({"at": "tomorrow"})).await.unwrap().error.unwrap();
    assert_eq!((wrong.code, wrong.node.as_deref()), (ErrorCode::Expression, Some("w")));
}

#[tokio::test]
async fn a_model_is_asked_with_messages() {
    let (_engine, me, asked) = scripted(vec![Reply::text("yes")]).await;
    let messages = json!([{"role": "user", "content": "{{ inputs.q }}"}, {"role": "assistant", "content": "Which?"},
        {"role": "user", "content": "{{ inputs.n }}"}]);
    let definition = json!({"name": "talk", "nodes": [
        {"id": "s", "type": "start"}, {"id": "q", "type": "llm", "config": {"model": "m", "system": "Be brief.", "messages": messages}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.q.output }}"}}], "edges": edges("s>q q>e")});
    assert_eq!(run(&me, definition, json!({"q": "One?", "n": 2})).await.output, json!("yes"));
    let sent: Vec<_> =
        asked.requests()[0].messages.iter().map(|message| (message.role, message.text_content())).collect();
    let text = |role, text: &str| (role, text.to_owned());
    assert_eq!(
        sent,
        [
            text(MessageRole::System, "Be brief."),
            text(MessageRole::User, "One?"),
            text(MessageRole::Assistant, "Which?"),
            text(MessageRole::User, "2")
        ]
    );
}

#[tokio::test]
async fn an_if_takes_a_condition_of_a_form() {
    let (_engine, me, _) = engine().await;
    let condition = json!({"or": [
        {"and": [{"left": "inputs.n", "operator": ">=", "right": 3}, {"left": "inputs.kind", "operator": "eq", "right": "a"}]},
        {"not": {"left": "inputs.list", "operator": "not_contains", "right": "{{ inputs.n }}"}},
        {"left": "inputs.gone", "operator": "exists"}]});
    put(
        &me,
        json!({"name": "form", "nodes": [
            {"id": "s", "type": "start"}, {"id": "i", "type": "if", "config": {"condition": condition}},
            {"id": "t", "type": "end", "config": {"output": true}}, {"id": "f", "type": "end", "config": {"output": false}}],
            "edges": edges("s>i i.true>t i.false>f")}),
    )
    .await;
    for (input, taken) in [
        (json!({"n": 3, "kind": "a", "list": []}), true),
        (json!({"n": 3, "kind": "b", "list": []}), false),
        (json!({"n": 2, "kind": "a", "list": [1]}), false),
        (json!({"n": 2, "kind": "b", "list": [2]}), true),
        (json!({"n": 2, "kind": "b", "list": [], "gone": null}), true),
    ] {
        let done = me.run("form", input.clone()).await.unwrap();
        assert_eq!(done.output, json!(taken), "{input}: {:?}", done.error);
    }
}
