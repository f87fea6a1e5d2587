//! Variables: what they may be, how writes come together, and what clashes.

use blitz::{ErrorCode, ExecutionStatus, Outcome};
use serde_json::{Value, json};

use super::stage::{edges, engine, journal, run};

/// A workflow whose node `w` sets the variable `x`.
fn sets(var: Value, value: Value) -> Value {
    json!({"name": "sets", "vars": {"x": var}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "w", "type": "set", "config": {"vars": {"x": value}}},
        {"id": "e", "type": "end", "config": {"output": "{{ vars.x }}"}}], "edges": edges("s>w w>e")})
}

fn refused(done: &Outcome, node: &str) {
    let error = done.error.clone().unwrap_or_else(|| panic!("it gave {}", done.output));
    assert_eq!((error.code, error.node.as_deref()), (ErrorCode::BadOutput, Some(node)), "{error:?}");
    assert!(error.message.contains("vars.x"), "{error:?}");
}

#[tokio::test]
async fn w42_a_variable_keeps_to_its_schema() {
    let (_engine, me, _) = engine().await;
    let var = json!({"schema": {"type": "integer", "maximum": 9}, "default": 1});
    assert_eq!(run(&me, sets(var.clone(), json!(9)), json!({})).await.output, json!(9));
    refused(&run(&me, sets(var.clone(), json!("nine")), json!({})).await, "w");
    // What comes of the write counts, not the write alone.
    let sum = json!({"schema": {"maximum": 9}, "default": 8, "merge": "add"});
    assert_eq!(run(&me, sets(sum.clone(), json!(1)), json!({})).await.output, json!(9));
    refused(&run(&me, sets(sum, json!(2)), json!({})).await, "w");
    let mut handled = sets(var, json!("nine"));
    handled["nodes"][1]["on_error"] = json!("continue");
    assert_eq!(run(&me, handled, json!({})).await.output, json!(1), "a refused write changes nothing");
}

#[tokio::test]
async fn w42_a_default_that_cannot_be_is_a_problem() {
    let (_engine, me, _) = engine().await;
    for (var, wrong) in [
        (json!({"schema": {"type": "integer"}, "default": "one"}), true),
        (json!({"schema": {"type": "integer"}, "default": 1}), false),
        (json!({"schema": {"type": "integer"}}), false),
        (json!({"default": "one", "merge": "append"}), true),
        (json!({"default": [], "merge": "append"}), false),
        (json!({"default": [], "merge": "merge_keys"}), true),
        (json!({"default": "0", "merge": "add"}), true),
        (json!({"default": 0.5, "merge": "add"}), false),
    ] {
        let found = me.workflows().validate(sets(var.clone(), json!(1))).await.unwrap();
        let at =
            found.problems.iter().any(|problem| problem.code.name() == "E_SCHEMA" && problem.path == "/vars/x/default");
        assert_eq!(at, wrong, "{var}: {:?}", found.problems);
    }
}

#[tokio::test]
async fn w42_a_write_that_clashes_fails_its_node() {
    let (_engine, me, _) = engine().await;
    for (default, merge, value) in [
        (json!(1), "add", json!("text")),
        (json!(1), "add", json!(null)),
        (json!(u64::MAX), "add", json!(1)),
        (json!(i64::MIN), "add", json!(-1)),
        (json!(1e308), "add", json!(1e308)),
        (json!({"a": 1}), "merge_keys", json!([1])),
        (json!({"a": 1}), "merge_keys", json!(null)),
    ] {
        let var = json!({"default": default, "merge": merge});
        refused(&run(&me, sets(var, value), json!({})).await, "w");
    }
    for (default, merge, value, gives) in [
        (json!(i64::MAX), "add", json!(1), json!(9_223_372_036_854_775_808_u64)),
        (json!(9_007_199_254_740_993_u64), "add", json!(2), json!(9_007_199_254_740_995_u64)),
        (json!(1), "add", json!(0.5), json!(1.5)),
        (json!(null), "add", json!(3), json!(3)),
        (json!(null), "append", json!(3), json!([3])),
        (json!({"a": 1}), "merge_keys", json!({"b": 2}), json!({"a": 1, "b": 2})),
        (json!({"a": 1}), "replace", json!([]), json!([])),
    ] {
        let var = json!({"default": default, "merge": merge});
        let done = run(&me, sets(var, value), json!({})).await;
        assert_eq!(done.output, gives, "{:?}", done.error);
    }
}

#[tokio::test]
async fn w25_what_the_items_of_a_map_wrote_is_refused_where_it_does_not_go_together() {
    let (_engine, me, _) = engine().await;
    let definition = |on_error: Value| {
        json!({"name": "items", "vars": {"x": {"default": 0, "merge": "add", "schema": {"maximum": 9}}}, "nodes": [
            {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": [5, 5]}, "on_error": on_error},
            {"id": "w", "type": "set", "parent": "m", "config": {"vars": {"x": "{{ item }}"}}},
            {"id": "e", "type": "end", "config": {"output": "{{ vars.x }}"}}], "edges": edges("s>m m>e")})
    };
    // Each of them alone may: the two together may not.
    refused(&run(&me, definition(json!("fail")), json!({})).await, "m");
    assert_eq!(run(&me, definition(json!("continue")), json!({})).await.output, json!(0));
}

#[tokio::test]
async fn w29_a_round_that_carries_what_a_variable_cannot_be_fails() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "rounds", "vars": {"x": {"default": 0, "schema": {"type": "integer", "maximum": 1}}}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "l", "type": "loop", "config": {"max_iterations": 3, "carry": {"x": "{{ loop.count }}"}}},
        {"id": "c", "type": "code", "parent": "l", "config": {"expr": "1"}}], "edges": edges("s>l")});
    refused(&run(&me, definition, json!({})).await, "l");
}

#[tokio::test]
async fn w41_a_variable_may_be_large_and_is_there_after_all() {
    let (_engine, me, _) = engine().await;
    let big = "x".repeat(200_000);
    let definition = json!({"name": "large", "vars": {"x": {}}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "w", "type": "set", "config": {"vars": {"x": "{{ inputs.big }}"}}},
        {"id": "e", "type": "end", "config": {"output": "{{ vars.x | length }}"}}], "edges": edges("s>w w>e")});
    let done = run(&me, definition, json!({"big": big})).await;
    assert_eq!((done.status, &done.output), (ExecutionStatus::Completed, &json!(200_000)), "{:?}", done.error);
    // Who reads the events is told where its value is, whole.
    let told = journal(&me, done.execution_id).await;
    let set = told.iter().find_map(|event| match &event.data {
        blitz::EventData::VarSet { value_ref, .. } => value_ref.clone(),
        _ => None,
    });
    let set = set.expect("its value by its hash");
    assert_eq!(me.executions().output(done.execution_id, set.hash).await.unwrap(), json!(big));
}

#[tokio::test]
async fn w25_a_loop_that_appends_writes_what_it_appends() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "log", "vars": {"log": {"default": [], "merge": "append"}}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "l", "type": "loop", "config": {"max_iterations": 300}},
        {"id": "w", "type": "set", "parent": "l", "config": {"vars": {"log": "{{ inputs.text }}"}}},
        {"id": "e", "type": "end", "config": {"output": "{{ vars.log | length }}"}}], "edges": edges("s>l l>e")});
    let done = run(&me, definition, json!({"text": "x".repeat(100)})).await;
    assert_eq!(done.output, json!(300), "{:?}", done.error);
    let told = journal(&me, done.execution_id).await;
    let sets = told.iter().filter(|event| event.data.type_name() == "var.set");
    let bytes: usize = sets.map(|event| serde_json::to_string(event).unwrap().len()).sum();
    assert!(bytes < 200_000, "{bytes} bytes of 300 writes of 100 each");
}
