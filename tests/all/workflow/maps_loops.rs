//! Maps and loops.

use std::collections::BTreeSet;

use blitz::tool::{FunctionNode, NodeOutput};
use blitz::{ErrorCode, EventData, ExecutionStatus, NodeStatus, NodeTypeInfo};
use serde_json::{Value, json};

use super::stage::{Gates, by_id, edges, end, engine, journal, put, run, start};

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
    seen.lock().unwrap().clear();
    assert_eq!(run(&me, map("none", json!({})), json!({"items": []})).await.output, json!([]));
    assert!(seen.lock().unwrap().is_empty(), "the body of an empty list never runs");
    let single = json!({"items": [{"n": 4, "ms": 0, "fail": null}]});
    assert_eq!(run(&me, map("single", json!({})), single).await.output, json!([40]));
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
async fn w24_a_map_of_ten_thousand_items_keeps_their_order_and_few_of_them_in_hand() {
    let (_engine, me, seen) = engine().await;
    let definition = json!({"name": "many", "nodes": [
        {"id": "s", "type": "start"},
        {"id": "m", "type": "map", "config": {"items": "{{ inputs.items }}", "concurrency": 8}},
        {"id": "w", "type": "work", "parent": "m", "config": {"give": "{{ item * 2 }}"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.m.output }}"}}], "edges": edges("s>m m>e")});
    let items: Vec<u64> = (0..10_000).collect();
    put(&me, definition).await;
    let began = std::time::Instant::now();
    let done = me.run("many", json!({ "items": items })).await.unwrap();
    println!("10,000 items in {:?}", began.elapsed());
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    assert_eq!(done.output, json!(items.iter().map(|item| item * 2).collect::<Vec<u64>>()));
    assert_eq!(seen.lock().unwrap().len(), 10_000);
    // As its records say, no more items are ever under way than may be.
    let (mut live, mut most, mut next) = (BTreeSet::new(), 0, 0);
    let mut bytes = 0;
    for event in journal(&me, done.execution_id).await {
        let of_item = event.path.starts_with("m/");
        bytes += if of_item { serde_json::to_string(&event.data).unwrap().len() } else { 0 };
        match event.data {
            EventData::ItemStarted { index, .. } => {
                assert_eq!(index, next, "items begin in order");
                next += 1;
                live.insert(index);
                most = most.max(live.len());
            }
            EventData::ItemFinished(item) => assert!(live.remove(&item.index)),
            _ => {}
        }
    }
    assert_eq!((most, live.len(), next), (8, 0, 10_000));
    println!("{} bytes of records an item", bytes / 10_000);
    assert!(bytes < 10_000 * 1_000, "{bytes} bytes of records: an item begins and ends, and so does its node");
}

#[tokio::test]
async fn w24_one_place_is_given_to_the_items_in_their_order() {
    // More items are open than may run: each gets its turn by its place, also where it has two digits.
    let (_engine, me, seen) = engine().await;
    let definition = json!({"name": "turns", "limits": {"max_parallel": 1}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": (0..30).collect::<Vec<u32>>(), "concurrency": 20}},
        {"id": "w", "type": "work", "parent": "m", "config": {"give": "{{ index }}"}}], "edges": edges("s>m")});
    run(&me, definition, json!({})).await;
    let order: Vec<u64> = seen.lock().unwrap().iter().map(|work| work["config"]["give"].as_u64().unwrap()).collect();
    assert_eq!(order, (0..30).collect::<Vec<u64>>());
}

#[tokio::test]
async fn w24_a_map_is_cancelled_in_its_middle() {
    let (engine, me, _) = engine().await;
    let gates = Gates::new(&engine);
    let definition = json!({"name": "stops", "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": (0..50).collect::<Vec<u32>>(), "concurrency": 3}},
        {"id": "w", "type": "gate", "parent": "m", "config": {"name": "w"}}, {"id": "e", "type": "end"}], "edges": edges("s>m m>e")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("w", 3).await;
    handle.cancel().await.unwrap();
    assert_eq!(end(&handle).await.status, ExecutionStatus::Cancelled);
    assert_eq!(gates.count("w"), 3);
    let states = by_id(&me, handle.id()).await;
    assert_eq!((states["m"], states["e"]), (NodeStatus::Cancelled, NodeStatus::NotRun));
}

#[tokio::test]
async fn w24_maps_three_deep_with_ifs_and_joins_in_them() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "deep", "nodes": [
        {"id": "s", "type": "start"},
        {"id": "a", "type": "map", "config": {"items": [0, 1]}},
        {"id": "b", "type": "map", "parent": "a", "config": {"items": "{{ [item * 10, item * 10 + 1, item * 10 + 2] }}"}},
        {"id": "c", "type": "map", "parent": "b", "config": {"items": "{{ [item, item + 100] }}"}},
        {"id": "x", "type": "if", "parent": "c", "config": {"expr": "item >= 100"}},
        {"id": "big", "type": "work", "parent": "c", "config": {"give": "big"}},
        {"id": "small", "type": "work", "parent": "c", "config": {"give": "small", "ms": "{{ 3 - index }}"}},
        {"id": "j", "type": "code", "parent": "c", "config": {"expr": "coalesce(nodes.big.output, nodes.small.output) ~ item"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.a.output }}"}}],
        "edges": edges("s>a a>e x.true>big x.false>small big>j small>j")});
    let done = run(&me, definition, json!({})).await;
    let row = |n: u64| json!([format!("small{n}"), format!("big{}", n + 100)]);
    assert_eq!(done.output, json!([[row(0), row(1), row(2)], [row(10), row(11), row(12)]]), "{:?}", done.error);
}

#[tokio::test]
async fn w24_order_holds_under_random_delays_and_batches() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "batches", "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": (0..23).collect::<Vec<u32>>(), "batch": 5}},
        {"id": "w", "type": "work", "parent": "m", "config": {"give": "{{ item | sum }}", "ms": "{{ (index * 7) % 5 }}"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.m.output }}"}}], "edges": edges("s>m m>e")});
    assert_eq!(run(&me, definition, json!({})).await.output, json!([10, 35, 60, 85, 63]));
}

#[tokio::test]
async fn w24_a_part_of_the_items_may_fail() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "part", "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": "{{ inputs.items }}", "fail": {"threshold": "50%"}}},
        {"id": "w", "type": "work", "parent": "m", "config": {"give": "{{ index }}", "fail": "{{ 'tool_failed' if item else none }}"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.m.output }}"}}], "edges": edges("s>m m>e")});
    let half = run(&me, definition, json!({"items": [true, false, true, false]})).await;
    assert_eq!(half.output, json!([null, 1, null, 3]), "{:?}", half.error);
    for (items, fails) in [
        (json!([true, false, true, true]), true),
        (json!([true, false, false]), false),
        (json!([true, true, false]), true),
        (json!([true]), true),
        (json!([]), false),
    ] {
        let done = me.run("part", json!({"items": items})).await.unwrap();
        assert_eq!(done.status == ExecutionStatus::Failed, fails, "{items}: {:?}", done.error);
    }
}

#[tokio::test]
async fn w25_what_the_items_of_a_failed_map_wrote_is_undone() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "undone", "vars": {"log": {"default": [], "merge": "append"}}, "nodes": [
        {"id": "s", "type": "start"},
        {"id": "m", "type": "map", "config": {"items": [0, 1, 2, 3], "concurrency": 1}, "on_error": "continue"},
        {"id": "set", "type": "set", "parent": "m", "config": {"vars": {"log": "{{ index }}"}}},
        {"id": "w", "type": "work", "parent": "m", "config": {"fail": "{{ 'tool_failed' if index == 2 else none }}"}},
        {"id": "e", "type": "end", "config": {"output": "{{ vars.log }}"}}], "edges": edges("s>m m>e set>w")});
    let done = run(&me, definition.clone(), json!({})).await;
    assert_eq!((done.output, done.handled_errors), (json!([]), 1), "how far it came must not show");
    let mut dropping = definition;
    dropping["nodes"][1]["config"]["fail"] = json!("drop");
    assert_eq!(run(&me, dropping, json!({})).await.output, json!([0, 1, 3]));
}

#[tokio::test]
async fn w26_a_list_that_changes_behind_the_entry_changes_nothing() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "frozen", "vars": {"list": {"default": [1, 2, 3]}}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "l", "type": "loop", "config": {"max_iterations": 1}},
        {"id": "m", "type": "map", "parent": "l", "config": {"items": "{{ vars.list }}", "concurrency": 1}},
        {"id": "set", "type": "set", "parent": "m", "config": {"vars": {"list": "{{ [] }}"}}},
        {"id": "w", "type": "work", "parent": "m", "config": {"give": "{{ item }}"}},
        {"id": "e", "type": "end", "config": {"output": {"map": "{{ nodes.l.output }}", "list": "{{ vars.list }}"}}}],
        "edges": edges("s>l l>e set>w")});
    assert_eq!(run(&me, definition, json!({})).await.output, json!({"map": [1, 2, 3], "list": []}));
}

#[tokio::test]
async fn w27_no_value_of_a_round_leaks_into_the_next() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "rounds", "vars": {"seen": {"default": [], "merge": "append"}}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "l", "type": "loop", "config": {"max_iterations": 3}},
        {"id": "x", "type": "if", "parent": "l", "config": {"expr": "loop.count == 0"}},
        {"id": "a", "type": "work", "parent": "l", "config": {"give": "first", "ms": 3}},
        {"id": "b", "type": "work", "parent": "l", "config": {"give": "{{ loop.count }}"}},
        {"id": "j", "type": "set", "parent": "l", "config": {"vars": {"seen": {"a": "{{ nodes.a.output | default('none') }}", "b": "{{ nodes.b.output }}"}}}},
        {"id": "e", "type": "end", "config": {"output": "{{ vars.seen }}"}}],
        "edges": edges("s>l l>e x.true>a a>j b>j")});
    let done = run(&me, definition, json!({})).await;
    assert_eq!(
        done.output,
        json!([{"a": "first", "b": 0}, {"a": "none", "b": 1}, {"a": "none", "b": 2}]),
        "{:?}",
        done.error
    );
}

#[tokio::test]
async fn w28_a_cap_takes_its_port_where_that_is_set() {
    let (_engine, me, _) = engine().await;
    let definition = |until: &str| {
        json!({"name": "cap", "nodes": [
            {"id": "s", "type": "start"}, {"id": "l", "type": "loop", "config": {"max_iterations": 2, "until": until, "on_cap": "port"}},
            {"id": "w", "type": "work", "parent": "l", "config": {"give": "{{ loop.count }}"}},
            {"id": "ok", "type": "end", "config": {"output": "ok"}}, {"id": "over", "type": "end", "config": {"output": "over"}}],
            "edges": edges("s>l l>ok l.cap>over")})
    };
    assert_eq!(run(&me, definition("false"), json!({})).await.output, json!("over"));
    assert_eq!(run(&me, definition("loop.count == 1"), json!({})).await.output, json!("ok"));
}

#[tokio::test]
async fn w29_no_round_at_all_and_an_end_inside_of_another_container() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "inner", "vars": {"n": {"default": 0, "merge": "add"}}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "zero", "type": "loop", "config": {"max_iterations": 0, "until": "false"}},
        {"id": "never", "type": "work", "parent": "zero", "config": {"fail": "tool_failed"}},
        {"id": "outer", "type": "loop", "config": {"max_iterations": 3}},
        {"id": "m", "type": "map", "parent": "outer", "config": {"items": [1, 2]}},
        {"id": "inner", "type": "loop", "parent": "m", "config": {"max_iterations": 10, "until": "loop.count >= index"}},
        {"id": "add", "type": "set", "parent": "inner", "config": {"vars": {"n": 1}}},
        {"id": "e", "type": "end", "config": {"output": "{{ vars.n }}"}}],
        "edges": edges("s>zero zero>outer outer>e")});
    // The inner loop ends behind 1 and 2 rounds; the outer one makes its three all the same.
    assert_eq!(run(&me, definition, json!({})).await.output, json!(9));
}

#[tokio::test]
async fn t26_a_fan_out_beyond_the_limits_is_a_named_error() {
    let (_engine, me, seen) = engine().await;
    let items: Vec<u32> = (0..100_001).collect();
    let definition = json!({"name": "wide", "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": "{{ inputs.items }}"}},
        {"id": "w", "type": "work", "parent": "m"}], "edges": edges("s>m")});
    let done = run(&me, definition.clone(), json!({ "items": items })).await;
    let error = done.error.unwrap();
    assert_eq!((error.code, &error.details["limit"]), (ErrorCode::LimitExceeded, &json!("items")));
    assert!(seen.lock().unwrap().is_empty());
    let mut steps = definition;
    steps["limits"] = json!({"max_steps": 20});
    let done = run(&me, steps, json!({"items": (0..1000).collect::<Vec<u32>>()})).await;
    let error = done.error.unwrap();
    assert_eq!((error.code, &error.details["limit"]), (ErrorCode::LimitExceeded, &json!("steps")));
    assert!(seen.lock().unwrap().len() <= 20);
    let million = json!({"name": "range", "nodes": [
        {"id": "m", "type": "map", "config": {"items": "{{ range(1000000) | list }}"}}, {"id": "w", "type": "work", "parent": "m"}]});
    let done = run(&me, million, json!({})).await;
    let code = done.error.unwrap().code;
    assert!(matches!(code, ErrorCode::LimitExceeded | ErrorCode::Expression | ErrorCode::TooLarge), "{code:?}");
}

#[tokio::test]
async fn t26_a_value_of_a_hundred_thousand_levels_is_a_typed_error_wherever_it_comes_from() {
    let (engine, me, _) = engine().await;
    fn levels() -> Value {
        (0..100_000).fold(json!(1), |value, _| Value::Array(vec![value]))
    }
    let node =
        FunctionNode::new(NodeTypeInfo::host("deep", "Gives it."), |_, _| async { Ok(NodeOutput::new(levels())) });
    engine.register_node(node).unwrap();
    let definition = json!({"name": "gives", "nodes": [{"id": "d", "type": "deep"}]});
    let error = run(&me, definition, json!({})).await.error.expect("it cannot be kept");
    assert_eq!((error.code, error.node.as_deref()), (ErrorCode::TooLarge, Some("d")));
    let as_input = me.run("gives", levels()).await.unwrap_err();
    assert!(matches!(as_input.code(), ErrorCode::InvalidInput | ErrorCode::TooLarge), "{as_input}");
    let as_definition = me.workflows().validate(levels()).await.unwrap_err();
    assert!(matches!(as_definition.code(), ErrorCode::InvalidInput | ErrorCode::TooLarge), "{as_definition}");
}

#[tokio::test]
async fn t26_values_nested_too_deep_are_a_typed_error() {
    let (_engine, me, _) = engine().await;
    fn nested(levels: u32) -> Value {
        (0..levels).fold(json!(1), |value, _| json!([value]))
    }
    let refused = me.call(
        "workflows.put",
        json!({"name": "deep", "nodes": [{"id": "a", "type": "work", "config": {"give": nested(200)}}]}),
    );
    assert_eq!(refused.await.unwrap_err().code(), ErrorCode::InvalidInput);
    let definition = json!({"name": "grows", "vars": {"v": {"default": 1}}, "nodes": [
        {"id": "l", "type": "loop", "config": {"max_iterations": 500}},
        {"id": "set", "type": "set", "parent": "l", "config": {"vars": {"v": "{{ [vars.v] }}"}}}]});
    let done = run(&me, definition, json!({})).await;
    let code = done.error.map(|error| error.code);
    assert!(matches!(code, Some(ErrorCode::TooLarge | ErrorCode::Expression)), "{code:?}");
}
