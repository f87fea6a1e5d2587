//! Agents and other workflows inside of a workflow.

use blitz::{Answer, ErrorCode, EventData, ExecutionFilter, ExecutionStatus, ListOptions, NodeStatus, Waiting};
use futures_util::StreamExt as _;
use serde_json::json;

use super::stage::{Gates, by_id, edges, end, engine, journal, put, run, start, until};
use crate::support::engine::scripted;

#[tokio::test]
async fn w30_agents_and_subflows_are_children_whose_cost_goes_up() {
    let (_engine, me, _) =
        scripted(vec![blitz::provider::Reply::text("seven"), blitz::provider::Reply::text("eight")]).await;
    me.agents().put(blitz::NewAgent::new("counter", "m")).await.unwrap();
    put(
        &me,
        json!({"name": "inner", "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "agent", "config": {"agent": "counter"}},
            {"id": "q", "type": "llm", "config": {"model": "m", "prompt": "after {{ nodes.a.output }}"}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.q.output }}"}}],
            "edges": edges("s>a a>q q>e")}),
    )
    .await;
    let done = run(
        &me,
        json!({"name": "outer", "nodes": [
            {"id": "s", "type": "start"}, {"id": "f", "type": "subflow", "config": {"workflow": "inner"}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.f.output }}"}}],
            "edges": edges("s>f f>e")}),
        json!({"q": 1}),
    )
    .await;
    assert_eq!(done.output, json!("eight"), "{:?}", done.error);
    assert_eq!(done.usage.requests, 2);
    assert!(done.cost.unwrap() > blitz::Money::ZERO);
}

#[tokio::test]
async fn w30_depth_is_limited_and_a_workflow_that_runs_itself_is_found() {
    let (_engine, me, _) = engine().await;
    put(&me, json!({"name": "f0", "nodes": [{"id": "w", "type": "work", "config": {"give": "deep"}}]})).await;
    for depth in 1..=9 {
        put(
            &me,
            json!({"name": format!("f{depth}"), "nodes": [
            {"id": "f", "type": "subflow", "config": {"workflow": format!("f{}", depth - 1)}}]}),
        )
        .await;
    }
    assert_eq!(me.run("f8", json!({})).await.unwrap().output, json!("deep"));
    let done = me.run("f9", json!({})).await.unwrap();
    let error = done.error.unwrap();
    assert_eq!((error.code, &error.details["limit"]), (ErrorCode::LimitExceeded, &json!("depth")), "{error:?}");
    let itself = json!({"name": "self", "nodes": [{"id": "f", "type": "subflow", "config": {"workflow": "self"}}]});
    let found = me.workflows().validate(itself.clone()).await.unwrap();
    assert!(found.problems.iter().any(|problem| problem.code.name() == "E_RECURSION"));
    put(&me, itself).await;
    assert_eq!(me.run("self", json!({})).await.unwrap_err().code(), ErrorCode::InvalidInput);
}

#[tokio::test]
async fn w30_the_childs_deadline_is_the_nearer_one() {
    let (engine, me, _) = engine().await;
    let _gates = Gates::new(&engine);
    put(&me, json!({"name": "long", "limits": {"timeout_s": 3600}, "nodes": [{"id": "g", "type": "gate", "config": {"name": "never"}}]})).await;
    let by_node = json!({"name": "node", "nodes": [{"id": "f", "type": "subflow", "timeout_s": 1, "config": {"workflow": "long"}}]});
    assert_eq!(run(&me, by_node, json!({})).await.error.unwrap().code, ErrorCode::Timeout);
    let by_parent = json!({"name": "parent", "limits": {"timeout_s": 1}, "nodes": [{"id": "f", "type": "subflow", "config": {"workflow": "long"}}]});
    let error = run(&me, by_parent, json!({})).await.error.unwrap();
    assert_eq!((error.code, &error.details["limit"]), (ErrorCode::LimitExceeded, &json!("wall_time")));
}

#[tokio::test]
async fn w30_a_child_is_cancelled_where_its_parent_fails() {
    let (engine, me, _) = engine().await;
    let gates = Gates::new(&engine);
    put(&me, json!({"name": "child", "nodes": [{"id": "g", "type": "gate", "config": {"name": "child"}}]})).await;
    let definition = json!({"name": "parent", "nodes": [
        {"id": "f", "type": "subflow", "config": {"workflow": "child"}},
        {"id": "g", "type": "gate", "config": {"name": "go"}}, {"id": "bad", "type": "fail", "config": {"message": "no"}}],
        "edges": edges("g>bad")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("child", 1).await;
    gates.open("go");
    assert_eq!(end(&handle).await.status, ExecutionStatus::Failed);
    let mut all = ExecutionFilter::default();
    all.children = true;
    let found = me.executions().list(all, ListOptions::default()).await.unwrap().items;
    let child = found.iter().find(|execution| execution.parent_id.is_some()).unwrap();
    assert_eq!(child.status, ExecutionStatus::Cancelled);
    assert_eq!(by_id(&me, handle.id()).await["f"], NodeStatus::Cancelled);
}

#[tokio::test]
async fn w30_a_question_of_a_child_is_shown_at_its_parent() {
    let (_engine, me, _) = engine().await;
    put(&me, json!({"name": "asks", "nodes": [{"id": "ok", "type": "approval", "config": {"message": "Sure?"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.ok.output.option }}"}}], "edges": edges("ok.approved>e")})).await;
    let handle = start(
        &me,
        json!({"name": "outer", "nodes": [{"id": "f", "type": "subflow", "config": {"workflow": "asks"}}]}),
        json!({}),
    )
    .await;
    let waiting = until(&me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
    let [Waiting::Child { key, execution_id }] = &waiting.waiting_for[..] else { panic!("{waiting:?}") };
    assert_eq!(key, "f");
    let child = me.executions().get(*execution_id).await.unwrap();
    assert!(matches!(&child.waiting_for[..], [Waiting::Approval { key, .. }] if key == "ok"), "{child:?}");
    me.executions().approve(child.id, "ok", Answer::approve()).await.unwrap();
    assert_eq!(end(&handle).await.output, json!("approved"));
}

#[tokio::test]
async fn w30_a_question_of_a_child_is_shown_while_its_parent_works() {
    let (engine, me, _) = engine().await;
    let gates = Gates::new(&engine);
    // In the child too something runs beside the question, and between it and the root is another workflow.
    put(&me, json!({"name": "asks", "nodes": [{"id": "ok", "type": "approval", "config": {"message": "Sure?"}},
        {"id": "g", "type": "gate", "config": {"name": "inner"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.ok.output.option }}"}}], "edges": edges("ok.approved>e g>e")})).await;
    put(&me, json!({"name": "between", "nodes": [{"id": "f", "type": "subflow", "config": {"workflow": "asks"}}]}))
        .await;
    let definition = json!({"name": "outer", "nodes": [
        {"id": "f", "type": "subflow", "config": {"workflow": "between"}}, {"id": "g", "type": "gate", "config": {"name": "outer"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.f.output }}"}}], "edges": edges("f>e g>e")});
    let handle = start(&me, definition, json!({})).await;
    // Its stream tells of the question.
    let mut events = handle.events();
    let asked = loop {
        let event = events.next().await.unwrap().unwrap();
        if matches!(event.data, EventData::ApprovalRequested(_)) {
            break event.execution_id;
        }
    };
    gates.reached("outer", 1).await;
    gates.reached("inner", 1).await;
    let mut at = handle.id();
    for _ in 0..2 {
        let waits = until(&me, at, |execution| !execution.waiting_for.is_empty()).await;
        assert_eq!(waits.status, ExecutionStatus::Running, "it is asked, and it runs");
        let [Waiting::Child { key, execution_id }] = &waits.waiting_for[..] else { panic!("{waits:?}") };
        assert_eq!(key, "f");
        at = *execution_id;
    }
    assert_eq!(at, asked);
    me.executions().approve(asked, "ok", Answer::approve()).await.unwrap();
    until(&me, handle.id(), |execution| execution.waiting_for.is_empty()).await;
    gates.open("inner");
    gates.open("outer");
    assert_eq!(end(&handle).await.output, json!("approved"));
}

#[tokio::test]
async fn w30_w38_a_running_execution_keeps_the_versions_it_began_with() {
    let (engine, me, _) = engine().await;
    let gates = Gates::new(&engine);
    let inner = |says: &str| json!({"name": "inner", "nodes": [{"id": "w", "type": "work", "config": {"give": says}}]});
    let outer = |says: &str| {
        json!({"name": "outer", "nodes": [
        {"id": "g", "type": "gate", "config": {"name": "g"}}, {"id": "f", "type": "subflow", "config": {"workflow": "inner"}},
        {"id": "e", "type": "end", "config": {"output": {"outer": says, "inner": "{{ nodes.f.output }}"}}}], "edges": edges("g>f f>e")})
    };
    put(&me, inner("one")).await;
    me.workflows().publish("inner").await.unwrap();
    put(&me, outer("one")).await;
    me.workflows().publish("outer").await.unwrap();
    let handle = me.start("outer", json!({})).await.unwrap();
    gates.reached("g", 1).await;
    for definition in [inner("two"), outer("two")] {
        let name = definition["name"].as_str().unwrap().to_owned();
        put(&me, definition).await;
        me.workflows().publish(name.as_str()).await.unwrap();
    }
    gates.open("g");
    assert_eq!(end(&handle).await.output, json!({"outer": "one", "inner": "one"}));
    assert_eq!(me.run("outer", json!({})).await.unwrap().output, json!({"outer": "two", "inner": "two"}));
}

#[tokio::test]
async fn w33_nothing_follows_from_what_ends_because_all_is_cancelled() {
    let (_engine, me, _) = engine().await;
    put(
        &me,
        json!({"name": "asks", "nodes": [{"id": "q", "type": "approval", "config": {"message": "?"}}], "edges": []}),
    )
    .await;
    let definition = json!({"name": "asked", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "code", "config": {"expr": "1"}},
        {"id": "x", "type": "subflow", "config": {"workflow": "asks"}}, {"id": "y", "type": "subflow", "config": {"workflow": "asks"}},
        {"id": "j", "type": "work"}, {"id": "b", "type": "work"}],
        "edges": edges("s>a s>x s>y a>j x>j y>b")});
    put(&me, definition).await;
    // Whether a child or its parent hears of it first is chance.
    for _ in 0..15 {
        let handle = me.start("asked", json!({})).await.unwrap();
        until(&me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
        handle.cancel().await.unwrap();
        assert_eq!(end(&handle).await.status, ExecutionStatus::Cancelled);
        let states = by_id(&me, handle.id()).await;
        assert_eq!((states["x"], states["y"]), (NodeStatus::Cancelled, NodeStatus::Cancelled), "{states:?}");
        assert_eq!((states["j"], states["b"]), (NodeStatus::NotRun, NodeStatus::NotRun), "{states:?}");
        let told = journal(&me, handle.id()).await.into_iter().any(|event| match event.data {
            EventData::EdgeTaken(at) | EventData::EdgeSkipped(at) => ["x", "y"].contains(&at.from.as_str()),
            _ => false,
        });
        assert!(!told, "an edge behind a cancelled node is decided");
    }
}
