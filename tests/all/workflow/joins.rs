//! Joins, ends, starts, and the order of it all.

use blitz::{ErrorCode, EventData, ExecutionStatus, NodeStatus};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::stage::{Gates, by_id, edges, end, engine, journal, run, start, states, status};

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
async fn w02_a_diamond_with_a_skipped_side_joins_once_with_the_taken_one() {
    let (_engine, me, seen) = engine().await;
    let definition = json!({"name": "half", "nodes": [
        {"id": "s", "type": "start"}, {"id": "x", "type": "if", "config": {"expr": "inputs.x"}},
        {"id": "a", "type": "work", "config": {"give": {"a": 1}}}, {"id": "b", "type": "work", "config": {"give": {"b": 1}}},
        {"id": "j", "type": "work"}, {"id": "e", "type": "end"}], "edges": edges("s>x x.true>a x.false>b a>j b>j j>e")});
    for (x, given, skipped) in [(true, json!({"a": 1}), "b"), (false, json!({"b": 1}), "a")] {
        seen.lock().unwrap().clear();
        let done = run(&me, definition.clone(), json!({"x": x})).await;
        assert_eq!(done.output, given);
        assert_eq!(seen.lock().unwrap().len(), 2, "the taken side and the join, each once");
        assert_eq!(status(&states(&me, &done).await, skipped), NodeStatus::Skipped);
    }
}

#[tokio::test]
async fn w03_a_join_whose_sides_are_both_skipped_is_skipped_and_so_is_the_end_behind_it() {
    let (_engine, me, seen) = engine().await;
    let definition = json!({"name": "none", "nodes": [
        {"id": "s", "type": "start"}, {"id": "x", "type": "if", "config": {"expr": "false"}},
        {"id": "a", "type": "work"}, {"id": "b", "type": "work"}, {"id": "j", "type": "work"}, {"id": "e", "type": "end"}],
        "edges": edges("s>x x.true>a x.true>b a>j b>j j>e")});
    let done = run(&me, definition, json!({})).await;
    assert_eq!((done.status, &done.output), (ExecutionStatus::Completed, &Value::Null));
    let states = states(&me, &done).await;
    assert!(["a", "b", "j", "e"].iter().all(|id| status(&states, id) == NodeStatus::Skipped), "{states:?}");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn w04_nested_ifs_join_three_levels_up() {
    let (_engine, me, seen) = engine().await;
    let definition = json!({"name": "ifs", "nodes": [
        {"id": "s", "type": "start"}, {"id": "x", "type": "if", "config": {"expr": "inputs.n < 3"}},
        {"id": "y", "type": "if", "config": {"expr": "inputs.n < 2"}}, {"id": "z", "type": "if", "config": {"expr": "inputs.n < 1"}},
        {"id": "a", "type": "work", "config": {"give": {"a": 1}}}, {"id": "b", "type": "work", "config": {"give": {"b": 1}}},
        {"id": "c", "type": "work", "config": {"give": {"c": 1}}}, {"id": "d", "type": "work", "config": {"give": {"d": 1}}},
        {"id": "j", "type": "work"}, {"id": "e", "type": "end"}],
        "edges": edges("s>x x.true>y y.true>z z.true>a z.false>b y.false>c x.false>d a>j b>j c>j d>j j>e")});
    for (n, taken) in [(0, "a"), (1, "b"), (2, "c"), (3, "d")] {
        seen.lock().unwrap().clear();
        let done = run(&me, definition.clone(), json!({ "n": n })).await;
        assert_eq!(done.output, json!({ taken: 1 }));
        assert_eq!(seen.lock().unwrap().len(), 2, "one branch and the join, each once");
    }
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
async fn w06_w41_a_switch_tells_large_integers_apart() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "large", "nodes": [
        {"id": "s", "type": "start"},
        {"id": "w", "type": "switch", "config": {"value": "inputs.k", "cases": [
            {"value": 9_007_199_254_740_992_u64, "port": "even"}, {"value": 9_007_199_254_740_993_u64, "port": "odd"},
            {"value": u64::MAX, "port": "most"}, {"value": 1, "port": "one"}, {"value": 0.5, "port": "half"}]}},
        {"id": "t", "type": "end", "config": {"output": "{{ nodes.w.output.k }}"}}],
        "edges": edges("s>w w.odd>t w.most>t w.one>t w.half>t")});
    for (given, taken) in [
        (json!(9_007_199_254_740_993_u64), "odd"),
        (json!(9_007_199_254_740_992_u64), "even"),
        (json!(u64::MAX), "most"),
        (json!(1.0), "one"),
        (json!(1), "one"),
        (json!(0.5), "half"),
    ] {
        let done = run(&me, definition.clone(), json!({"k": given})).await;
        let nodes = me.executions().nodes(done.execution_id, "").await.unwrap();
        let port = nodes.iter().find(|node| node.node == "w").unwrap().port.clone();
        assert_eq!(port.as_deref(), Some(taken), "{given}: {:?}", done.error);
    }
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
async fn w09_it_is_skipped_while_what_it_might_have_waited_for_runs() {
    let (engine, me, _) = engine().await;
    let gates = Gates::new(&engine);
    let definition = json!({"name": "early", "nodes": [
        {"id": "s", "type": "start"}, {"id": "x", "type": "if", "config": {"expr": "false"}},
        {"id": "a", "type": "gate", "config": {"name": "a"}}, {"id": "b", "type": "work"},
        {"id": "j", "type": "work", "join": {"mode": "n", "n": 2}}, {"id": "behind", "type": "work"}],
        "edges": edges("s>x s>a x.true>b a>j b>j j>behind")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("a", 1).await;
    let mut events = handle.events();
    let mut skipped = std::collections::BTreeSet::new();
    while !skipped.contains("behind") {
        if let EventData::NodeFinished(node) = events.next().await.expect("it is told").unwrap().data
            && node.status == NodeStatus::Skipped
        {
            skipped.insert(node.node);
        }
    }
    assert!(skipped.contains("j"), "{skipped:?}");
    assert_eq!(by_id(&me, handle.id()).await["a"], NodeStatus::Running);
    gates.open("a");
    assert_eq!(end(&handle).await.status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn w05_two_edges_between_the_same_two_nodes() {
    let (_engine, me, seen) = engine().await;
    let definition = json!({"name": "both", "nodes": [
        {"id": "s", "type": "start"}, {"id": "x", "type": "if", "config": {"expr": "inputs.x"}},
        {"id": "j", "type": "work"}, {"id": "k", "type": "work", "join": {"mode": "all"}}, {"id": "e", "type": "end"}],
        "edges": edges("s>x x.true>j x.false>j x.true>k x.false>k j>e k>e")});
    for x in [true, false] {
        let done = run(&me, definition.clone(), json!({"x": x})).await;
        assert_eq!(done.status, ExecutionStatus::Completed);
        let states = states(&me, &done).await;
        assert_eq!((status(&states, "j"), status(&states, "k")), (NodeStatus::Completed, NodeStatus::Skipped));
    }
    assert_eq!(seen.lock().unwrap().len(), 2, "j once each time");
}

#[tokio::test]
async fn w07_an_if_inside_of_a_parallel_branch_and_a_join_behind() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "inside", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": {"a": 1}, "ms": 5}},
        {"id": "x", "type": "if", "config": {"expr": "inputs.x"}}, {"id": "b", "type": "work", "config": {"give": {"b": 1}}},
        {"id": "j", "type": "work"}, {"id": "e", "type": "end"}],
        "edges": edges("s>a s>x x.true>b a>j b>j x.false>j j>e")});
    assert_eq!(run(&me, definition.clone(), json!({"x": true})).await.output, json!({"a": 1, "b": 1}));
    assert_eq!(run(&me, definition, json!({"x": false})).await.output, json!({"a": 1, "x": false}));
}

#[tokio::test]
async fn w08_a_late_arrival_is_ignored_and_its_branch_runs_to_its_end() {
    let (engine, me, seen) = engine().await;
    let gates = Gates::new(&engine);
    let definition = json!({"name": "late", "nodes": [
        {"id": "s", "type": "start"}, {"id": "fast", "type": "work", "config": {"give": {"fast": 1}}},
        {"id": "slow", "type": "gate", "config": {"name": "slow", "give": {"slow": 1}}},
        {"id": "j", "type": "work", "join": {"mode": "first"}}, {"id": "k", "type": "gate", "config": {"name": "k"}},
        {"id": "e", "type": "end"}],
        "edges": edges("s>fast s>slow slow>j fast>j j>k k>e")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("k", 1).await;
    gates.open("slow");
    gates.open("k");
    let done = end(&handle).await;
    assert_eq!(done.output, json!({"fast": 1}));
    assert_eq!(seen.lock().unwrap().len(), 2, "fast and j once");
    assert!(by_id(&me, done.execution_id).await.values().all(|status| *status == NodeStatus::Completed));
}

#[tokio::test]
async fn w08_a_join_that_waits_for_its_turn_is_given_what_came_first() {
    // One effect at a time: the join has to wait, and the other source ends meanwhile.
    let (_engine, me, seen) = engine().await;
    let definition = json!({"name": "turn", "limits": {"max_parallel": 1}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": {"a": 1}}},
        {"id": "b", "type": "work", "config": {"give": {"b": 1}}},
        {"id": "j", "type": "work", "join": {"mode": "first"}}, {"id": "e", "type": "end"}],
        "edges": edges("s>a s>b a>j b>j j>e")});
    let done = run(&me, definition, json!({})).await;
    assert_eq!(done.output, json!({"a": 1}));
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn w08_what_a_join_cancels_ends_once() {
    // Both become ready by the same end: the join runs and cancels what has not begun.
    let (_engine, me, seen) = engine().await;
    for kind in ["work", "code"] {
        let config = if kind == "code" { json!({"expr": "1"}) } else { json!({}) };
        let definition = json!({"name": format!("once {kind}"), "nodes": [
            {"id": "s", "type": "start"}, {"id": "b", "type": kind, "config": config},
            {"id": "j", "type": "code", "config": {"expr": "2"}, "join": {"mode": "first", "cancel_rest": true}}],
            "edges": edges("s>b s>j b>j")});
        let done = run(&me, definition, json!({})).await;
        let events = journal(&me, done.execution_id).await;
        let ends = events.iter().filter(|event| matches!(&event.data, EventData::NodeFinished(end) if end.node == "b"));
        assert_eq!(ends.count(), 1);
        assert_eq!(by_id(&me, done.execution_id).await["b"], NodeStatus::Cancelled);
    }
    assert!(seen.lock().unwrap().is_empty(), "what was cancelled before it began is not run");
}

#[tokio::test]
async fn w10_several_starts_and_none() {
    let (_engine, me, _) = engine().await;
    let two = json!({"name": "two", "nodes": [
        {"id": "s", "type": "start"}, {"id": "t", "type": "start"}, {"id": "a", "type": "work"}, {"id": "b", "type": "work"},
        {"id": "e", "type": "end", "join": {"mode": "all"}, "config": {"output": "both"}}],
        "edges": edges("s>a t>b a>e b>e")});
    assert_eq!(run(&me, two, json!({"x": 1})).await.output, json!("both"));
    let none = json!({"name": "none", "nodes": [
        {"id": "a", "type": "work"}, {"id": "b", "type": "work"}, {"id": "c", "type": "code", "config": {"expr": "inputs.x"}}],
        "edges": edges("a>c b>c")});
    assert_eq!(run(&me, none, json!({"x": 7})).await.output, json!(7));
    let led = json!({"name": "led", "nodes": [{"id": "a", "type": "work"}, {"id": "s", "type": "start"}], "edges": edges("a>s")});
    let found = me.workflows().validate(led).await.unwrap();
    assert!(found.problems.iter().any(|problem| problem.code.name() == "E_START_INCOMING"), "{:?}", found.problems);
}

#[tokio::test]
async fn w11_an_end_waits_for_what_else_runs() {
    let (engine, me, _) = engine().await;
    let gates = Gates::new(&engine);
    let definition = json!({"name": "ends", "nodes": [
        {"id": "s", "type": "start"}, {"id": "one", "type": "end", "config": {"output": 1}},
        {"id": "slow", "type": "gate", "config": {"name": "slow"}}, {"id": "two", "type": "end", "config": {"output": 2}}],
        "edges": edges("s>one s>slow slow>two")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("slow", 1).await;
    assert!(!me.executions().get(handle.id()).await.unwrap().status.is_final());
    gates.open("slow");
    assert_eq!(end(&handle).await.output, json!({"one": 1, "two": 2}));
}

#[tokio::test]
async fn the_result_is_what_output_nodes_give_by_name_also_beside_an_end() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "named", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": 1}},
        {"id": "x", "type": "if", "config": {"expr": "inputs.x"}},
        {"id": "one", "type": "output", "config": {"name": "first", "value": "{{ nodes.a.output }}"}, "join": {"mode": "all"}},
        {"id": "two", "type": "output", "config": {"name": "second"}}, {"id": "e", "type": "end", "config": {"output": "the end"}}],
        "edges": edges("s>a s>x a>one x.true>one x.true>two one>e a>e")});
    let both = run(&me, definition.clone(), json!({"x": true})).await;
    assert_eq!(both.output, json!({"first": 1, "second": {"x": true}}), "{:?}", both.error);
    let neither = run(&me, definition, json!({"x": false})).await;
    assert_eq!(neither.output, json!("the end"), "where none was reached it is the end's");
}

#[tokio::test]
async fn w12_what_no_path_leads_to_is_not_run() {
    let (_engine, me, seen) = engine().await;
    let definition = json!({"name": "island", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "work"}, {"id": "island", "type": "work"},
        {"id": "j", "type": "code", "config": {"expr": "'on'"}}], "edges": edges("s>a a>j island>j")});
    let found = me.workflows().validate(definition.clone()).await.unwrap();
    assert!(found.valid && found.problems.iter().any(|problem| problem.code.name() == "W_UNREACHABLE"), "{found:?}");
    let done = run(&me, definition, json!({})).await;
    assert_eq!(done.output, json!("on"));
    assert_eq!(by_id(&me, done.execution_id).await["island"], NodeStatus::NotRun);
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn w13_w14_everything_wrong_is_said_at_once_and_nothing_runs() {
    let (_engine, me, _) = engine().await;
    let wrong = json!({"name": "wrong", "nodes": [
        {"id": "a", "type": "work"}, {"id": "a", "type": "work"}, {"id": "b", "type": "no_such"}, {"id": "c", "type": "code", "config": {"expr": "1"}},
        {"id": "d", "type": "code", "config": {"expr": "1"}}, {"id": "m", "type": "parallel"}, {"id": "in", "type": "work", "parent": "m"}],
        "edges": edges("c>c c>d d>c b.nowhere>c c>gone c>in")});
    let found = me.workflows().validate(wrong.clone()).await.unwrap();
    let codes: std::collections::BTreeSet<&str> = found.problems.iter().map(|problem| problem.code.name()).collect();
    for code in ["E_DUPLICATE_ID", "E_UNKNOWN_TYPE", "E_SELF_EDGE", "E_MISSING_NODE", "E_BORDER", "E_CYCLE"] {
        assert!(codes.contains(code), "{code} in {codes:?}");
    }
    me.call("workflows.put", wrong).await.expect("a draft may be broken");
    assert_eq!(me.run("wrong", json!({})).await.unwrap_err().code(), ErrorCode::InvalidInput);
    let empty = me.workflows().validate(json!({"name": "empty", "nodes": []})).await.unwrap();
    assert!(empty.problems.iter().any(|problem| problem.code.name() == "E_EMPTY"));
}

#[tokio::test]
async fn w47_numbers_have_no_gap_the_end_is_last_and_who_comes_late_sees_the_same() {
    use futures_util::StreamExt as _;
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "numbers", "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": [1, 2, 3, 4, 5]}},
        {"id": "w", "type": "work", "parent": "m", "config": {"ms": 2}}], "edges": edges("s>m")});
    let handle = start(&me, definition, json!({})).await;
    let early: Vec<_> = handle.events().map(Result::unwrap).collect().await;
    let late = journal(&me, handle.id()).await;
    let state = |events: &[blitz::Event]| {
        let kept = events.iter().filter(|event| !matches!(event.data, EventData::ModelDelta { .. }));
        kept.map(|event| (event.seq, event.path.clone(), event.data.clone())).collect::<Vec<_>>()
    };
    assert_eq!(state(&early), state(&late));
    assert!((1..).zip(&late).all(|(place, event)| event.seq == place));
    assert!(matches!(late.last().unwrap().data, EventData::ExecutionFinished(_)));
    let from: Vec<_> = handle.events_after(7).map(Result::unwrap).collect().await;
    assert_eq!(state(&from), state(&late)[7..]);
}

#[tokio::test]
async fn w52_one_effect_at_a_time_and_containers_in_containers_come_to_their_end() {
    let (_engine, me, _) = engine().await;
    let inner = json!({"name": "inner", "limits": {"max_parallel": 1}, "nodes": [{"id": "i", "type": "work", "config": {"give": 1}}]});
    me.call("workflows.put", inner).await.unwrap();
    let definition = json!({"name": "nested", "limits": {"max_parallel": 1}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": [1, 2, 3]}},
        {"id": "l", "type": "loop", "parent": "m", "config": {"max_iterations": 2}},
        {"id": "p", "type": "parallel", "parent": "l"},
        {"id": "a", "type": "work", "parent": "p", "config": {"ms": 1}}, {"id": "b", "type": "subflow", "parent": "p", "config": {"workflow": "inner"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.m.output | length }}"}}],
        "edges": edges("s>m m>e")});
    assert_eq!(run(&me, definition, json!({})).await.output, json!(3));
}

#[tokio::test]
async fn w53_a_disabled_node_passes_on_and_a_false_when_skips() {
    let (_engine, me, seen) = engine().await;
    let flow = |field: &str, value: Value| {
        let mut definition = json!({"name": field, "vars": {"x": {"default": 0}}, "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": 1}},
            {"id": "v", "type": "set", "config": {"vars": {"x": 9}}}, {"id": "b", "type": "work"},
            {"id": "e", "type": "end", "config": {"output": {"b": "{{ nodes.b.output | default('none') }}", "x": "{{ vars.x }}"}}}],
            "edges": edges("s>a a>v v>b b>e s>e")});
        for node in [1, 2] {
            definition["nodes"][node][field] = value.clone();
        }
        definition
    };
    let passed = run(&me, flow("disabled", json!(true)), json!({"x": 5})).await;
    assert_eq!(passed.output, json!({"b": {"x": 5}, "x": 0}), "a disabled set sets nothing, whatever comes in");
    let skipped = run(&me, flow("when", json!("inputs.x > 5")), json!({"x": 5})).await;
    assert_eq!(skipped.output, json!({"b": "none", "x": 0}));
    let states = by_id(&me, skipped.execution_id).await;
    assert_eq!(
        (states["a"], states["b"], states["e"]),
        (NodeStatus::Skipped, NodeStatus::Skipped, NodeStatus::Completed)
    );
    assert_eq!(seen.lock().unwrap().len(), 1, "only b, where a was passed by");
}

#[tokio::test]
async fn w35_how_a_node_ended_that_never_ran_can_be_read() {
    let (_engine, me, _) = engine().await;
    let skipped = json!({"name": "skipped", "nodes": [
        {"id": "s", "type": "start"}, {"id": "i", "type": "if", "config": {"expr": "true"}},
        {"id": "a", "type": "code", "config": {"expr": "1"}}, {"id": "b", "type": "code", "config": {"expr": "2"}},
        {"id": "j", "type": "code", "config": {"expr": "[nodes.b.status, nodes.b.error, nodes.b.usage.requests, nodes.b.output | default(7)]"}}],
        "edges": edges("s>i i.true>a i.false>b a>j b>j")});
    assert_eq!(run(&me, skipped, json!({})).await.output, json!(["skipped", null, 0, 7]));
    let dropped = json!({"name": "dropped", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"ms": 2000}},
        {"id": "b", "type": "code", "config": {"expr": "2"}}, {"id": "c", "type": "work", "config": {"ms": 1}},
        {"id": "j", "type": "code", "config": {"expr": "nodes.b.status"}, "join": {"mode": "first", "cancel_rest": true}}],
        "edges": edges("s>a a>b b>j s>c c>j")});
    assert_eq!(run(&me, dropped, json!({})).await.output, json!("cancelled"));
    let told = json!({"name": "told", "on_error": "tell", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "fail", "config": {"message": "no"}, "on_error": "branch"},
        {"id": "b", "type": "code", "config": {"expr": "inputs.gone"}}, {"id": "c", "type": "code", "config": {"expr": "1"}},
        {"id": "tell", "type": "work", "input": {"told": "{{ [nodes.a.status, nodes.b.status, nodes.c.status] }}"}}],
        "edges": edges("s>a a.error>b b>c")});
    let done = run(&me, told, json!({})).await;
    let nodes = me.executions().nodes(done.execution_id, "").await.unwrap();
    let tell = nodes.iter().find(|node| node.node == "tell").unwrap();
    assert_eq!(tell.output["told"], json!(["failed", "failed", "not_run"]), "{:?}", tell.error);
}
