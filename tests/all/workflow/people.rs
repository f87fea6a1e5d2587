//! Approvals, waits and cancellation.

use std::time::Duration;

use blitz::tool::{FunctionNode, ToolError};
use blitz::{Answer, Engine, ErrorCode, EventData, ExecutionStatus, NodeStatus, NodeTypeInfo, Waiting};
use futures_util::StreamExt as _;
use serde_json::json;

use super::stage::{Gates, by_id, edges, end, engine, put, start, until};
use crate::support::folder::Folder;

#[tokio::test]
async fn w31_an_approval_is_answered_once_by_whoever_is_first() {
    let (_engine, me, _) = engine().await;
    put(
        &me,
        json!({"name": "ask", "nodes": [
            {"id": "s", "type": "start"}, {"id": "ok", "type": "approval", "config": {"message": "Send {{ inputs.n }}?"}},
            {"id": "yes", "type": "work", "config": {"give": "sent"}}, {"id": "no", "type": "work", "config": {"give": "kept"}},
            {"id": "e", "type": "end"}],
            "edges": edges("s>ok ok.approved>yes ok.rejected>no yes>e no>e")}),
    )
    .await;
    let handle = me.start("ask", json!({"n": 5})).await.unwrap();
    let mut events = handle.events();
    let asked = loop {
        match events.next().await.unwrap().unwrap().data {
            EventData::ApprovalRequested(asked) => break asked,
            _ => continue,
        }
    };
    assert_eq!(asked.message, "Send 5?");
    while !matches!(events.next().await.unwrap().unwrap().data, EventData::ExecutionWaiting { .. }) {}
    let waiting = me.executions().get(handle.id()).await.unwrap().waiting_for;
    assert!(matches!(&waiting[..], [Waiting::Approval { key, .. }] if key == "ok"), "{waiting:?}");
    let wrong = me.executions().approve(handle.id(), "ok", Answer::new("perhaps")).await.unwrap_err();
    assert_eq!(wrong.code(), ErrorCode::InvalidInput);
    let other = me.executions().approve(handle.id(), "ok", Answer::approve().digest("x")).await.unwrap_err();
    assert_eq!(other.code(), ErrorCode::Conflict);
    let executions = me.executions();
    let (one, two) = tokio::join!(
        executions.approve(handle.id(), "ok", Answer::approve().digest(asked.digest.clone())),
        executions.approve(handle.id(), "ok", Answer::reject()),
    );
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
    let done = handle.wait().await.unwrap();
    let out = if one.is_ok() { "sent" } else { "kept" };
    assert_eq!(done.output, json!({(if one.is_ok() { "yes_output" } else { "no_output" }): out}));
}

#[tokio::test]
async fn w33_cancelling_reaches_what_runs_and_waits() {
    let (_engine, me, _) = engine().await;
    put(
        &me,
        json!({"name": "long", "nodes": [
            {"id": "s", "type": "start"}, {"id": "w", "type": "wait", "config": {"seconds": 3600}},
            {"id": "e", "type": "end"}], "edges": edges("s>w w>e")}),
    )
    .await;
    let handle = me.start("long", json!({})).await.unwrap();
    let mut events = handle.events();
    while !matches!(events.next().await.unwrap().unwrap().data, EventData::ExecutionWaiting { .. }) {}
    handle.cancel().await.unwrap();
    assert_eq!(handle.wait().await.unwrap().status, ExecutionStatus::Cancelled);
    assert_eq!(handle.cancel().await.unwrap_err().code(), ErrorCode::Conflict);
}

fn asked(execution: &blitz::Execution) -> Vec<(String, String)> {
    let question = |wait: &Waiting| match wait {
        Waiting::Approval { key, digest, .. } => Some((key.clone(), digest.clone())),
        _ => None,
    };
    execution.waiting_for.iter().filter_map(question).collect()
}

#[tokio::test]
async fn w31_several_questions_are_open_at_once_also_inside_of_a_map() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "several", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "approval", "config": {"message": "A?"}},
        {"id": "m", "type": "map", "config": {"items": [1, 2, 3]}},
        {"id": "b", "type": "approval", "parent": "m", "config": {"message": "{{ item }}?", "options": ["one", "two"]}},
        {"id": "o", "type": "code", "parent": "m", "config": {"expr": "nodes.b.output.option"}},
        {"id": "e", "type": "end", "config": {"output": {"a": "{{ nodes.a.output.option }}", "m": "{{ nodes.m.output }}"}}}],
        "edges": edges("s>a s>m a.approved>e a.rejected>e m>e b.one>o b.two>o")});
    let handle = start(&me, definition, json!({})).await;
    let waiting = until(&me, handle.id(), |execution| asked(execution).len() == 4).await;
    let mut keys: Vec<String> = asked(&waiting).into_iter().map(|(key, _)| key).collect();
    keys.sort();
    assert_eq!(keys, ["a", "m/0/b", "m/1/b", "m/2/b"]);
    let executions = me.executions();
    for (key, option) in [("m/2/b", "two"), ("m/0/b", "one"), ("a", "rejected"), ("m/1/b", "two")] {
        executions.approve(handle.id(), key, Answer::new(option)).await.unwrap();
    }
    assert_eq!(end(&handle).await.output, json!({"a": "rejected", "m": ["one", "two", "two"]}));
    let again = executions.approve(handle.id(), "a", Answer::approve()).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w31_a_question_is_open_once_it_is_told_whatever_was_answered_just_before() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "many", "nodes": [
        {"id": "m", "type": "map", "config": {"items": (0..60).collect::<Vec<u32>>(), "concurrency": 4}},
        {"id": "a", "type": "approval", "parent": "m", "config": {"message": "{{ index }}?"}},
        {"id": "o", "type": "code", "parent": "m", "config": {"expr": "index"}}], "edges": edges("a.approved>o")});
    let handle = start(&me, definition, json!({})).await;
    let mut events = handle.events();
    while let Some(event) = events.next().await {
        if let EventData::ApprovalRequested(asked) = event.unwrap().data {
            // While the driver writes the next question it has not read the answer to the one before.
            handle
                .approve(&asked.key, Answer::approve())
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", asked.key));
        }
    }
    assert_eq!(end(&handle).await.output, json!((0..60).collect::<Vec<u32>>()));
}

#[tokio::test]
async fn w31_an_answer_behind_the_time_for_it_is_refused() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "late", "nodes": [
        {"id": "s", "type": "start"}, {"id": "ok", "type": "approval", "config": {"message": "?", "expires_s": 1}},
        {"id": "w", "type": "wait", "config": {"seconds": 3600}}, {"id": "e", "type": "end", "config": {"output": "too late"}}],
        "edges": edges("s>ok s>w ok.timeout>e")});
    let handle = start(&me, definition, json!({})).await;
    until(&me, handle.id(), |execution| asked(execution).len() == 1).await;
    until(&me, handle.id(), |execution| asked(execution).is_empty()).await;
    let late = me.executions().approve(handle.id(), "ok", Answer::approve()).await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::Conflict);
    let states = by_id(&me, handle.id()).await;
    assert_eq!(states["e"], NodeStatus::Completed);
    handle.cancel().await.unwrap();
    end(&handle).await;
}

#[tokio::test]
async fn t72_an_answer_holds_for_one_execution_one_question_and_once() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "ask", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "approval", "config": {"message": "Pay {{ inputs.n }}?"}},
        {"id": "b", "type": "approval", "config": {"message": "Pay {{ inputs.n }}?"}}, {"id": "e", "type": "end"}],
        "edges": edges("s>a a.approved>b b.approved>e")});
    put(&me, definition).await;
    let mut digests = Vec::new();
    let mut handles = Vec::new();
    for n in [5, 5, 6] {
        let handle = me.start("ask", json!({ "n": n })).await.unwrap();
        let waiting = until(&me, handle.id(), |execution| asked(execution).len() == 1).await;
        digests.push(asked(&waiting)[0].1.clone());
        handles.push(handle);
    }
    assert!(digests[0] != digests[1] && digests[1] != digests[2], "the same question of another execution is another");
    let executions = me.executions();
    let approve = async |which: usize, key: &str, digest: &String| {
        executions.approve(handles[which].id(), key, Answer::approve().digest(digest.clone())).await
    };
    for (which, key, digest) in [(0, "a", &digests[1]), (0, "b", &digests[0]), (2, "a", &digests[0])] {
        assert_eq!(approve(which, key, digest).await.unwrap_err().code(), ErrorCode::Conflict);
    }
    approve(0, "a", &digests[0]).await.unwrap();
    let second = until(&me, handles[0].id(), |execution| asked(execution).iter().any(|(key, _)| key == "b")).await;
    let of_b = asked(&second)[0].1.clone();
    assert_ne!(of_b, digests[0], "the same words at another step are another question");
    assert_eq!(approve(0, "a", &digests[0]).await.unwrap_err().code(), ErrorCode::Conflict, "single use");
    assert_eq!(approve(0, "b", &digests[0]).await.unwrap_err().code(), ErrorCode::Conflict);
    approve(0, "b", &of_b).await.unwrap();
    assert_eq!(end(&handles[0]).await.status, ExecutionStatus::Completed);
    let forged = me.call(
        "executions.approve",
        json!({"id": handles[1].id(), "key": "a", "option": "approved", "by": "somebody else"}),
    );
    assert_eq!(forged.await.unwrap_err().code(), ErrorCode::InvalidInput, "who answers is who asks to");
}

#[tokio::test]
async fn w32_a_question_waits_while_its_siblings_run() {
    let (engine, me, _) = engine().await;
    let gates = Gates::new(&engine);
    let definition = json!({"name": "beside", "nodes": [
        {"id": "s", "type": "start"}, {"id": "ok", "type": "approval", "config": {"message": "?"}},
        {"id": "g", "type": "gate", "config": {"name": "g"}}, {"id": "w", "type": "work"}, {"id": "e", "type": "end", "config": {"output": "both"}}],
        "edges": edges("s>ok s>g g>w w>e ok.approved>e")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("g", 1).await;
    let running = until(&me, handle.id(), |execution| asked(execution).len() == 1).await;
    assert_eq!(running.status, ExecutionStatus::Running, "it is asked, and it runs");
    gates.open("g");
    let waiting = until(&me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
    assert_eq!(asked(&waiting).len(), 1);
    assert_eq!(by_id(&me, handle.id()).await["w"], NodeStatus::Completed);
    me.executions().approve(handle.id(), "ok", Answer::approve()).await.unwrap();
    assert_eq!(end(&handle).await.output, json!("both"));
}

#[tokio::test]
async fn w33_what_was_told_to_be_cancelled_is_also_where_a_node_fails_at_that_moment() {
    let (engine, me, _) = engine().await;
    let session = me.clone();
    let node = FunctionNode::new(
        NodeTypeInfo::host("gives_up", "Cancels its own execution, and fails."),
        move |_, context| {
            let session = session.clone();
            async move {
                session.executions().cancel(context.execution_id).await.expect("it is told so");
                Err(ToolError::typed(blitz::Error::new(ErrorCode::ToolFailed, "it broke")))
            }
        },
    );
    engine.register_node(node).unwrap();
    let nodes = json!([{"id": "s", "type": "start"}, {"id": "x", "type": "gives_up"}, {"id": "e", "type": "end"}]);
    let handle = start(&me, json!({"name": "both", "nodes": nodes, "edges": edges("s>x x>e")}), json!({})).await;
    let done = end(&handle).await;
    assert_eq!((done.status, done.error), (ExecutionStatus::Cancelled, None));
}

#[tokio::test]
async fn w31_an_answer_right_behind_recovery_is_taken() {
    let dir = Folder::new();
    let path = dir.path().join("blitz.db");
    let open = async || Engine::open(path.to_str().unwrap()).await.unwrap();
    let ask = json!([{"id": "s", "type": "start"}, {"id": "ok", "type": "approval"}, {"id": "e", "type": "end"}]);
    let inside = json!({"name": "inside", "nodes": ask, "edges": edges("s>ok ok.approved>e")});
    let nodes = json!([{"id": "s", "type": "start"}, {"id": "sub", "type": "subflow", "config": {"workflow": "inside"}},
        {"id": "ok", "type": "approval"}, {"id": "e", "type": "end"}]);
    let whole = json!({"name": "whole", "nodes": nodes, "edges": edges("s>sub s>ok sub>e ok.approved>e")});
    let engine = open().await;
    let me = engine.root("test");
    put(&me, inside).await;
    let id = start(&me, whole, json!({})).await.id();
    let asks = |execution: &blitz::Execution| execution.waiting_for.len() == 2;
    let waiting = until(&me, id, asks).await.waiting_for;
    let child = waiting.iter().find_map(|wait| match wait {
        Waiting::Child { execution_id, .. } => Some(*execution_id),
        _ => None,
    });
    let child = child.expect("the subflow waits");
    until(&me, child, |execution| !execution.waiting_for.is_empty()).await;
    engine.close_within(Duration::ZERO).await.unwrap();

    let engine = open().await;
    let me = engine.root("test");
    assert_eq!(engine.recover().await.unwrap(), [id]);
    me.executions().approve(child, "ok", Answer::approve()).await.unwrap();
    me.executions().approve(id, "ok", Answer::approve()).await.unwrap();
    assert_eq!(me.executions().wait(id).await.unwrap().status, ExecutionStatus::Completed);
    let late = me.executions().approve(id, "ok", Answer::approve()).await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::Conflict);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn w33_cancelling_twice_while_it_waits_for_its_turn_and_through_a_tool_that_does_not_hear() {
    let (engine, me, _) = engine().await;
    let gates = Gates::new(&engine);
    let definition = json!({"name": "deaf", "limits": {"max_parallel": 1}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "g", "type": "gate", "config": {"name": "g", "deaf": true}},
        {"id": "q", "type": "gate", "config": {"name": "q"}}, {"id": "e", "type": "end"}], "edges": edges("s>g s>q g>e q>e")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("g", 1).await;
    handle.cancel().await.unwrap();
    handle.cancel().await.expect("the same answer");
    let cancelling = me.executions().get(handle.id()).await.unwrap();
    assert!(cancelling.cancel_requested || cancelling.status.is_final());
    let done = tokio::time::timeout(Duration::from_secs(20), handle.wait()).await.expect("a grace, no more").unwrap();
    assert_eq!(done.status, ExecutionStatus::Cancelled);
    assert_eq!(gates.count("q"), 0, "what waited for its turn never began");
    assert_eq!(handle.cancel().await.unwrap_err().code(), ErrorCode::Conflict);
    let states = by_id(&me, handle.id()).await;
    assert_eq!(states["g"], NodeStatus::Cancelled);
}

#[tokio::test]
async fn w31_each_of_more_than_a_thousand_questions_is_answered_once() {
    const ASKED: usize = 1010;
    let folder = Folder::new();
    let path = folder.path().join("a.db").to_str().unwrap().to_owned();
    let engine = Engine::builder(&path).open().await.unwrap();
    let definition = json!({"name": "crowd", "limits": {"timeout_s": 86400}, "nodes": [
        {"id": "m", "type": "map", "config": {"items": format!("{{{{ range({ASKED}) | list }}}}"), "concurrency": ASKED}},
        {"id": "ok", "type": "approval", "parent": "m", "config": {"message": "May it?"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.m.output | length }}"}}], "edges": edges("m>e")});
    let me = engine.root("test");
    let id = start(&me, definition, json!({})).await.id();
    until(&me, id, |execution| execution.waiting_for.len() == ASKED).await;
    engine.close_within(Duration::ZERO).await.unwrap();

    // Nobody runs it while they answer.
    let engine = Engine::builder(&path).open().await.unwrap();
    let me = engine.root("test");
    for index in 0..ASKED {
        me.executions().approve(id, format!("m/{index}/ok"), Answer::approve()).await.unwrap();
    }
    assert_eq!(engine.recover().await.unwrap(), [id]);
    let done = tokio::time::timeout(Duration::from_secs(30), me.executions().wait(id)).await.expect("ends").unwrap();
    assert_eq!((done.status, done.output), (ExecutionStatus::Completed, json!(ASKED)));
}
