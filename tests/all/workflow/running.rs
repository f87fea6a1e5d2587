//! Running workflows: joins, containers, failures, waits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use blitz::tool::{FunctionNode, NodeOutput, ToolError};
use blitz::{
    Answer, Engine, ErrorCode, EventData, ExecutionStatus, NodeStatus, NodeTypeInfo, Outcome, Session, Waiting,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::engine::scripted;

/// What the nodes of type `work` were given, in the order in which they began.
type Seen = Arc<Mutex<Vec<Value>>>;

/// An engine whose nodes of type `work` give what their settings say: `give`, or `fail` with a code,
/// after `ms` milliseconds; without either they give their input.
async fn engine() -> (Engine, Session, Seen) {
    let (engine, me, _) = scripted(vec![]).await;
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let node = FunctionNode::new(NodeTypeInfo::host("work", "Works."), move |work, context| {
        let log = Arc::clone(&log);
        async move {
            log.lock().unwrap().push(json!({"config": work.config, "input": work.input, "attempt": context.attempt}));
            if let Some(ms) = work.config["ms"].as_u64() {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            let until = work.config["fail_until"].as_u64().unwrap_or(u64::MAX);
            if let Some(code) = work.config["fail"].as_str().filter(|_| u64::from(context.attempt) < until) {
                let code = ErrorCode::from_name(code).unwrap();
                return Err(ToolError::typed(blitz::Error::new(code, "it broke")));
            }
            match work.config.get("give") {
                Some(value) => Ok(NodeOutput::new(value.clone())),
                None => Ok(NodeOutput::new(work.input)),
            }
        }
    });
    engine.register_node(node).unwrap();
    (engine, me, seen)
}

async fn put(me: &Session, definition: Value) {
    me.call("workflows.put", definition).await.unwrap_or_else(|error| panic!("{} {}", error.chain(), error.details()));
}

async fn run(me: &Session, definition: Value, input: Value) -> Outcome {
    let name = definition["name"].as_str().unwrap().to_owned();
    put(me, definition).await;
    tokio::time::timeout(Duration::from_secs(30), me.run(name.as_str(), input)).await.expect("ends").unwrap()
}

#[tokio::test]
async fn a_definition_off_its_shape_is_refused_with_the_place() {
    let (engine, me, _) = engine().await;
    let nodes = json!([{"id": "s", "type": "start"}, {"id": "w", "type": "work", "input": "{{ a_secret }}"}]);
    let error = me.call("workflows.put", json!({"name": "bad", "nodes": nodes})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert!(error.chain().contains("/nodes/1/input"), "{}", error.chain());
    assert!(!error.chain().contains("a_secret"), "{}", error.chain());
    engine.close().await.unwrap();
}

/// Edges written as `a>b` and `a.port>b`.
fn edges(text: &str) -> Value {
    let edge = |part: &str| {
        let (from, to) = part.split_once('>').unwrap();
        match from.split_once('.') {
            Some((from, port)) => json!({"from": from, "out": port, "to": to}),
            None => json!({"from": from, "to": to}),
        }
    };
    Value::Array(text.split_whitespace().map(edge).collect())
}

async fn states(me: &Session, done: &Outcome) -> Vec<(String, NodeStatus)> {
    let nodes = me.executions().nodes(done.execution_id, "").await.unwrap();
    nodes.into_iter().map(|node| (node.node, node.status)).collect()
}

fn status(states: &[(String, NodeStatus)], id: &str) -> NodeStatus {
    states.iter().find(|(node, _)| node == id).unwrap().1
}

#[tokio::test]
async fn w01_a_diamond_joins_once_behind_both_with_inputs_in_edge_order() {
    let (_engine, me, seen) = engine().await;
    let done = run(
        &me,
        json!({"name": "diamond", "nodes": [
            {"id": "s", "type": "start"},
            {"id": "a", "type": "work", "config": {"give": "A", "ms": 30}},
            {"id": "b", "type": "work", "config": {"give": "B"}},
            {"id": "j", "type": "work"}, {"id": "e", "type": "end"}],
            "edges": edges("s>a s>b a>j b>j j>e")}),
        json!({}),
    )
    .await;
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    let joined = seen.lock().unwrap().iter().filter(|work| work["config"].as_object().unwrap().is_empty()).count();
    assert_eq!(joined, 1);
    assert_eq!(done.output, json!({"a_output": "A", "b_output": "B"}));
    let keys: Vec<&String> = done.output.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["a_output", "b_output"], "by the order of the edges, not of the finish");
}

#[tokio::test]
async fn w02_w03_w04_skipped_sides_and_nested_ifs() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "ifs", "nodes": [
        {"id": "s", "type": "start"},
        {"id": "x", "type": "if", "config": {"expr": "inputs.x"}},
        {"id": "y", "type": "if", "config": {"expr": "inputs.y"}},
        {"id": "a", "type": "work", "config": {"give": {"a": 1}}},
        {"id": "b", "type": "work", "config": {"give": {"b": 1}}},
        {"id": "c", "type": "work", "config": {"give": {"c": 1}}},
        {"id": "j", "type": "work"}, {"id": "e", "type": "end"}],
        "edges": edges("s>x x.true>y x.false>c y.true>a y.false>b a>j b>j c>j j>e")});
    for (input, output) in [
        (json!({"x": true, "y": true}), json!({"a": 1})),
        (json!({"x": true, "y": false}), json!({"b": 1})),
        (json!({"x": false, "y": true}), json!({"c": 1})),
    ] {
        let done = run(&me, definition.clone(), input).await;
        assert_eq!(done.output, output);
    }
    let both = json!({"name": "none", "nodes": [
        {"id": "s", "type": "start"}, {"id": "x", "type": "if", "config": {"expr": "false"}},
        {"id": "a", "type": "work"}, {"id": "b", "type": "work"}, {"id": "j", "type": "work"}, {"id": "e", "type": "end"}],
        "edges": edges("s>x x.true>a x.true>b a>j b>j j>e")});
    let done = run(&me, both, json!({})).await;
    assert_eq!((done.status, &done.output), (ExecutionStatus::Completed, &Value::Null));
    let states = states(&me, &done).await;
    assert_eq!(status(&states, "j"), NodeStatus::Skipped);
    assert_eq!(status(&states, "e"), NodeStatus::Skipped);
}

#[tokio::test]
async fn w06_a_switch_without_a_match_is_an_error() {
    let (_engine, me, _) = engine().await;
    let done = run(
        &me,
        json!({"name": "switch", "nodes": [
            {"id": "s", "type": "start"},
            {"id": "w", "type": "switch", "config": {"value": "inputs.k", "cases": [{"value": 1, "port": "one"}]}},
            {"id": "e", "type": "end"}], "edges": edges("s>w w.one>e")}),
        json!({"k": 2}),
    )
    .await;
    assert_eq!(done.error.unwrap().code, ErrorCode::Expression);
}

#[tokio::test]
async fn w08_a_first_join_runs_once_and_cancels_the_loser() {
    let (_engine, me, seen) = engine().await;
    let done = run(
        &me,
        json!({"name": "first", "nodes": [
            {"id": "s", "type": "start"},
            {"id": "slow", "type": "work", "config": {"give": {"slow": 1}, "ms": 20000}},
            {"id": "fast", "type": "work", "config": {"give": {"fast": 1}}},
            {"id": "j", "type": "work", "join": {"mode": "first", "cancel_rest": true}}, {"id": "e", "type": "end"}],
            "edges": edges("s>slow s>fast slow>j fast>j j>e")}),
        json!({}),
    )
    .await;
    assert_eq!(done.output, json!({"fast": 1}));
    assert_eq!(seen.lock().unwrap().len(), 3);
    assert_eq!(status(&states(&me, &done).await, "slow"), NodeStatus::Cancelled);
}

#[tokio::test]
async fn w09_a_count_join_that_can_no_longer_be_reached_is_skipped_at_once() {
    let (_engine, me, _) = engine().await;
    let done = run(
        &me,
        json!({"name": "count", "nodes": [
            {"id": "s", "type": "start"}, {"id": "x", "type": "if", "config": {"expr": "false"}},
            {"id": "a", "type": "work", "config": {"give": 1}}, {"id": "b", "type": "work", "config": {"give": 2}},
            {"id": "j", "type": "work", "join": {"mode": "n", "n": 2}}, {"id": "e", "type": "end"}],
            "edges": edges("s>x s>a x.true>b a>j b>j j>e")}),
        json!({}),
    )
    .await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    assert_eq!(status(&states(&me, &done).await, "j"), NodeStatus::Skipped);
}

#[tokio::test]
async fn w15_a_failure_cancels_the_siblings_and_keeps_its_cause() {
    let (_engine, me, _) = engine().await;
    let done = run(
        &me,
        json!({"name": "fails", "nodes": [
            {"id": "s", "type": "start"},
            {"id": "bad", "type": "work", "config": {"fail": "tool_failed", "ms": 20}},
            {"id": "slow", "type": "work", "config": {"ms": 30000}},
            {"id": "never", "type": "work"}, {"id": "e", "type": "end"}],
            "edges": edges("s>bad s>slow slow>never bad>e never>e")}),
        json!({}),
    )
    .await;
    assert_eq!(done.status, ExecutionStatus::Failed);
    let error = done.error.clone().unwrap();
    assert_eq!((error.code, &error.details["node"]), (ErrorCode::ToolFailed, &json!("bad")));
    let states = states(&me, &done).await;
    assert_eq!(status(&states, "slow"), NodeStatus::Cancelled);
    assert_eq!(status(&states, "never"), NodeStatus::NotRun);
}

#[tokio::test]
async fn w17_w18_w19_error_ports_retries_and_going_on() {
    let (_engine, me, seen) = engine().await;
    let done = run(
        &me,
        json!({"name": "handled", "nodes": [
            {"id": "s", "type": "start"},
            {"id": "again", "type": "work", "config": {"fail": "unavailable", "fail_until": 3, "give": "at last"},
                "retry": {"max_attempts": 5, "initial_ms": 1}},
            {"id": "branch", "type": "work", "config": {"fail": "tool_failed"}, "on_error": "branch"},
            {"id": "value", "type": "work", "config": {"fail": "tool_failed"}, "on_error": {"value": 7}},
            {"id": "on", "type": "work", "config": {"fail": "tool_failed"}, "on_error": "continue"},
            {"id": "caught", "type": "template", "config": {"template": "{{ nodes.branch.error.code }}"}},
            {"id": "e", "type": "end", "config": {"output": {
                "again": "{{ nodes.again.output }}", "value": "{{ nodes.value.output }}",
                "on": "{{ nodes.on.output }}", "caught": "{{ nodes.caught.output }}"}}}],
            "edges": edges("s>again s>branch s>value s>on branch.error>caught again>e value>e on>e caught>e")}),
        json!({}),
    )
    .await;
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    assert_eq!(done.output, json!({"again": "at last", "value": 7, "on": null, "caught": "tool_failed"}));
    assert_eq!(done.handled_errors, 3);
    let nodes = me.executions().nodes(done.execution_id, "").await.unwrap();
    let again: Vec<_> = nodes.iter().filter(|node| node.node == "again").collect();
    assert_eq!((again.len(), again[0].attempts, again[0].status), (1, 3, NodeStatus::Completed));
    assert_eq!(seen.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn w24_maps_keep_the_order_of_their_items() {
    let (_engine, me, seen) = engine().await;
    let map = |name: &str, config: Value| {
        let mut config = config;
        config["items"] = json!("{{ inputs.items }}");
        json!({"name": name, "nodes": [
            {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": config},
            {"id": "w", "type": "work", "parent": "m", "config": {"give": "{{ item.n * 10 }}", "ms": "{{ item.ms }}",
                "fail": "{{ item.fail }}"}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.m.output }}"}}],
            "edges": edges("s>m m>e")})
    };
    let items = |fails: bool| {
        json!({"items": [{"n": 1, "ms": 30, "fail": null}, {"n": 2, "ms": 1, "fail": fails.then_some("tool_failed")},
            {"n": 3, "ms": 10, "fail": null}]})
    };
    let done = run(&me, map("order", json!({})), items(false)).await;
    assert_eq!(done.output, json!([10, 20, 30]), "{:?}", done.error);
    seen.lock().unwrap().clear();
    let done = run(&me, map("one", json!({"concurrency": 1})), items(false)).await;
    assert_eq!(done.output, json!([10, 20, 30]));
    let order: Vec<i64> = seen.lock().unwrap().iter().map(|work| work["config"]["give"].as_i64().unwrap()).collect();
    assert_eq!(order, [10, 20, 30]);
    assert_eq!(run(&me, map("none", json!({})), json!({"items": []})).await.output, json!([]));
    assert_eq!(run(&me, map("null", json!({"fail": "null"})), items(true)).await.output, json!([10, null, 30]));
    assert_eq!(run(&me, map("drop", json!({"fail": "drop"})), items(true)).await.output, json!([10, 30]));
    let stopped = run(&me, map("stop", json!({"fail": "stop"})), items(true)).await;
    assert_eq!((stopped.status, stopped.error.unwrap().code), (ExecutionStatus::Failed, ErrorCode::ToolFailed));
    let most = run(&me, map("most", json!({"fail": {"threshold": 1}})), items(true)).await;
    assert_eq!(most.output, json!([10, null, 30]));
}

#[tokio::test]
async fn w25_map_items_write_variables_in_index_order() {
    let (_engine, me, _) = engine().await;
    let done = run(
        &me,
        json!({"name": "vars", "vars": {"log": {"default": [], "merge": "append"}}, "nodes": [
            {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": "{{ inputs.items }}"}},
            {"id": "w", "type": "work", "parent": "m", "config": {"give": 1, "ms": "{{ item }}"}},
            {"id": "set", "type": "set", "parent": "m", "config": {"vars": {"log": "{{ index }}"}}},
            {"id": "e", "type": "end", "config": {"output": "{{ vars.log }}"}}],
            "edges": edges("s>m w>set m>e")}),
        json!({"items": [40, 1, 20]}),
    )
    .await;
    assert_eq!(done.output, json!([0, 1, 2]), "{:?}", done.error);
}

#[tokio::test]
async fn w27_w28_w29_loops_carry_end_and_are_capped() {
    let (_engine, me, _) = engine().await;
    let count = |name: &str, max: u32, extra: Value| {
        let mut config = json!({"max_iterations": max, "until": "vars.n >= 3"});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"name": name, "vars": {"n": {"default": 0}}, "nodes": [
            {"id": "s", "type": "start"}, {"id": "l", "type": "loop", "config": config},
            {"id": "add", "type": "set", "parent": "l", "config": {"vars": {"n": "{{ vars.n + 1 }}"}}},
            {"id": "e", "type": "end", "config": {"output": "{{ vars.n }}"}}],
            "edges": edges("s>l l>e")})
    };
    assert_eq!(run(&me, count("three", 10, json!({})), json!({})).await.output, json!(3));
    let capped = run(&me, count("capped", 2, json!({})), json!({})).await;
    assert_eq!(capped.error.unwrap().code, ErrorCode::LimitExceeded);
    assert_eq!(run(&me, count("zero", 0, json!({})), json!({})).await.output, json!(0));
}

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
async fn w38_a_rerun_takes_over_what_is_not_behind_its_node() {
    let (_engine, me, seen) = engine().await;
    let done = run(
        &me,
        json!({"name": "again", "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": "A"}},
            {"id": "b", "type": "work", "config": {"give": "B"}}, {"id": "c", "type": "work"}, {"id": "e", "type": "end"}],
            "edges": edges("s>a s>b a>c b>c c>e")}),
        json!({}),
    )
    .await;
    seen.lock().unwrap().clear();
    let again = me.executions().rerun(done.execution_id, blitz::Rerun::from("b")).await.unwrap().wait().await.unwrap();
    assert_eq!((again.status, &again.output), (ExecutionStatus::Completed, &done.output));
    let ran = seen.lock().unwrap().len();
    assert_eq!(ran, 2, "b and what is behind it");
    let nodes = me.executions().nodes(again.execution_id, "").await.unwrap();
    assert_eq!(nodes.iter().find(|node| node.node == "a").unwrap().attempts, 0);
}

#[tokio::test]
async fn w41_large_outputs_are_kept_by_their_hash() {
    let (_engine, me, _) = engine().await;
    let big = "x".repeat(200_000);
    let done = run(
        &me,
        json!({"name": "big", "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": "{{ inputs.big }}"}},
            {"id": "b", "type": "code", "config": {"expr": "nodes.a.output | length"}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.b.output }}"}}],
            "edges": edges("s>a a>b b>e")}),
        json!({"big": big}),
    )
    .await;
    assert_eq!(done.output, json!(200_000), "{:?}", done.error);
    let nodes = me.executions().nodes(done.execution_id, "").await.unwrap();
    let kept = nodes.iter().find(|node| node.node == "a").unwrap().output_ref.clone().unwrap();
    assert_eq!(me.executions().output(done.execution_id, kept.hash).await.unwrap(), json!(big));
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
