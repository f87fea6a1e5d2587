//! Pictures of executions: what became of nodes and edges.

use std::time::Duration;

use blitz::tool::{FunctionNode, NodeOutput, ToolError};
use blitz::{Engine, ErrorCode, EventData, NodeTypeInfo, PictureFormat, Session};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::engine::{agent, scripted};

/// An engine whose nodes of type `work` give what `give` says, or fail where `fail` is set and the attempt below `until`.
async fn engine() -> (Engine, Session) {
    let (engine, me, _) = scripted(vec![blitz::provider::Reply::text("fine")]).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let node = FunctionNode::new(NodeTypeInfo::host("work", "Works."), |work, context| async move {
        let until = work.config["until"].as_u64().unwrap_or(u64::MAX);
        if work.config["fail"] == true && u64::from(context.attempt) < until {
            return Err(ToolError::typed(blitz::Error::new(ErrorCode::Unavailable, "it broke")));
        }
        Ok(NodeOutput::new(work.config["give"].clone()))
    });
    engine.register_node(node).unwrap();
    (engine, me)
}

fn definition() -> Value {
    json!({"name": "shown", "nodes": [
        {"id": "s", "type": "start"},
        {"id": "again", "type": "work", "config": {"fail": true, "until": 3}, "retry": {"max_attempts": 4, "initial_ms": 1}},
        {"id": "big", "type": "if", "config": {"expr": "inputs.big"}},
        {"id": "each", "type": "map", "config": {"items": "inputs.items", "fail": "null"}},
        {"id": "one", "type": "work", "parent": "each", "config": {"fail": "{{ item == 2 }}", "give": "{{ item }}"}},
        {"id": "after", "type": "work", "parent": "each"},
        {"id": "ask", "type": "approval", "config": {"message": "right?"}},
        {"id": "read", "type": "agent", "config": {"agent": "a"}},
        {"id": "e", "type": "end"}],
    "edges": [{"from": "s", "to": "again"}, {"from": "again", "to": "big"}, {"from": "big", "out": "true", "to": "ask"},
        {"from": "ask", "out": "approved", "to": "e"}, {"from": "big", "out": "false", "to": "each"},
        {"from": "one", "to": "after"}, {"from": "each", "to": "read"}, {"from": "read", "to": "e"}]})
}

#[tokio::test]
async fn an_execution_is_drawn_with_what_became_of_it() {
    let (engine, me) = engine().await;
    me.call("workflows.put", definition()).await.unwrap();
    let done = me.run("shown", json!({"big": false, "items": [1, 2, 3]})).await.unwrap();
    let drawn = me.executions().picture(done.execution_id, PictureFormat::Mermaid).await.unwrap();
    for expected in [
        "again<br/><small>completed · attempt 3 of 4</small>",
        "each<br/><small>completed · 3 of 3, 1 failed</small>",
        "one<br/><small>failed · 1 of 3</small>",
        "after<br/><small>completed · 2 of 2</small>",
        "ask<br/><small>skipped</small>",
        "n2 -.->|\"true\"| n6",
        "n2 -->|\"false\"| n3",
    ] {
        assert!(drawn.contains(expected), "{expected} is not in {drawn}");
    }
    // The same by its name, and through the handle.
    let input = json!({"id": done.execution_id, "format": "svg"});
    let svg = me.call("executions.picture", input).await.unwrap();
    let handle = me.executions().handle(done.execution_id);
    assert_eq!(svg.as_str().unwrap(), handle.picture(PictureFormat::Svg).await.unwrap());
    assert!(svg.as_str().unwrap().contains(&format!("execution {}: completed", done.execution_id)), "{svg}");
    engine.close().await.unwrap();
}

#[tokio::test]
async fn what_waits_and_what_never_ran_is_seen() {
    let (engine, me) = engine().await;
    me.call("workflows.put", definition()).await.unwrap();
    let handle = me.start("shown", json!({"big": true, "items": []})).await.unwrap();
    let mut events = handle.events();
    let asks = async {
        while let Some(event) = events.next().await {
            if matches!(event.unwrap().data, EventData::ApprovalRequested(_)) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asks).await.expect("it asks");
    let drawn = handle.picture(PictureFormat::Mermaid).await.unwrap();
    assert!(drawn.contains("ask<br/><small>waiting</small>"), "{drawn}");
    assert!(drawn.contains("class n6 waiting"), "{drawn}");
    handle.cancel().await.unwrap();
    handle.wait().await.unwrap();
    let drawn = handle.picture(PictureFormat::Mermaid).await.unwrap();
    assert!(
        drawn.contains("ask<br/><small>cancelled</small>") && drawn.contains("e<br/><small>not_run</small>"),
        "{drawn}"
    );
    engine.close().await.unwrap();
}

#[tokio::test]
async fn an_execution_of_an_agent_has_no_picture() {
    let (engine, me) = engine().await;
    let done = me.run("a", "hello").await.unwrap();
    let error = me.executions().picture(done.execution_id, PictureFormat::Svg).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    let error = me.executions().picture(blitz::ExecutionId(99), PictureFormat::Svg).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_type_says_what_its_nodes_take() {
    let (engine, me) = engine().await;
    let counts = json!({"type": "object", "properties": {"limit": {"$ref": "#/$defs/limit"}}, "required": ["limit"],
        "$defs": {"limit": {"type": "integer"}}});
    let info = NodeTypeInfo::host("count", "Counts.")
        .with_config(counts)
        .with_input(json!({"type": "object", "required": ["text"]}));
    engine
        .register_node(FunctionNode::new(info, |work, _| async move { Ok(work.config["limit"].clone().into()) }))
        .unwrap();
    let with = |limit: Value, input: Value| {
        json!({"name": "counted", "nodes": [{"id": "s", "type": "start"},
            {"id": "c", "type": "count", "config": {"limit": limit}, "input": input},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.c.output }}"}}],
            "edges": [{"from": "s", "to": "c"}, {"from": "c", "to": "e"}]})
    };
    let run = async |definition: Value, input: Value| {
        me.call("workflows.put", definition).await.unwrap();
        me.run("counted", input).await.unwrap()
    };
    let text = json!({"text": "x"});
    // An expression is looked at when it has been evaluated, a value at once.
    let valid = me.workflows().validate(with(json!("{{ inputs.n }}"), text.clone())).await.unwrap();
    assert!(valid.valid, "{:?}", valid.problems);
    assert!(!me.workflows().validate(with(json!("three"), text.clone())).await.unwrap().valid);
    assert_eq!(run(with(json!("{{ inputs.n }}"), text.clone()), json!({"n": 3})).await.output, 3);
    let wrong = run(with(json!("{{ inputs.n }}"), text), json!({"n": "three"})).await.error.unwrap();
    assert_eq!(wrong.code, ErrorCode::InvalidInput, "{}", wrong.message);
    let wrong = run(with(json!(1), json!({"other": "x"})), json!({})).await.error.unwrap();
    assert!(wrong.code == ErrorCode::InvalidInput && wrong.message.contains("input"), "{}", wrong.message);
    let bad = NodeTypeInfo::host("bad", "").with_config(json!({"type": "nothing"}));
    let refused =
        engine.register_node(FunctionNode::new(bad, |_, _| async move { Ok(Value::Null.into()) })).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidInput);
    engine.close().await.unwrap();
}
