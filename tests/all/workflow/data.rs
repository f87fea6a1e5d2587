//! Data: what is large, deep, odd or missing; expressions; many readers; imports that run.

use blitz::provider::{Reply, Scripted};
use blitz::tool::{FunctionNode, NodeOutput};
use blitz::{ErrorCode, ExecutionStatus, NodeTypeInfo, ResourceRef};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::stage::{Gates, by_id, edges, end, engine, put, run, start, with_work};
use crate::support::engine::with_provider;

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
    assert_eq!(me.executions().output(done.execution_id, &kept.hash).await.unwrap(), json!(big));
    // Whoever says the hash in a value of their own has not got the output.
    let named = json!({"ref": kept.hash, "bytes": 200_002, "preview": ""});
    let other =
        json!({"name": "other", "nodes": [{"id": "a", "type": "work", "config": {"give": "{{ inputs.big }}"}}]});
    let other = run(&me, other, json!({"big": named})).await.execution_id;
    let refused = me.executions().output(other, kept.hash).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn w41_no_event_holds_a_large_value_and_whoever_asks_has_it() {
    let folder = crate::support::folder::Folder::new();
    let path = folder.path().join("large.db").display().to_string();
    let engine = blitz::Engine::open(&path).await.unwrap();
    let seen = with_work(&engine);
    let me = engine.root("a test");
    let texts: Vec<String> = (0..3).map(|n| n.to_string().repeat(70_000)).collect();
    let definition = json!({"name": "large", "vars": {"x": {}, "y": {}}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "v", "type": "set", "config": {"vars": {"x": "{{ inputs.texts }}"}}},
        {"id": "m", "type": "map", "config": {"items": "{{ vars.x }}", "concurrency": 1}},
        {"id": "w", "type": "work", "parent": "m", "config": {"give": "{{ item }}"}},
        {"id": "l", "type": "loop", "config": {"max_iterations": 1, "carry": {"y": "{{ inputs.texts[0] }}"}}},
        {"id": "i", "type": "code", "parent": "l", "config": {"expr": "1"}},
        {"id": "ask", "type": "approval", "config": {"message": "?"}},
        {"id": "e", "type": "end", "config": {"output": ["{{ vars.x }}", "{{ vars.y }}", "{{ nodes.m.output }}", "{{ nodes.v.output.x }}"]}}],
        "edges": edges("s>v v>m m>l l>ask ask.approved>e")});
    let handle = start(&me, definition, json!({"texts": texts})).await;
    let id = handle.id();
    super::stage::until(&me, id, |execution| execution.status == ExecutionStatus::Waiting).await;
    let input = me.executions().nodes(id, "").await.unwrap().into_iter().find(|node| node.node == "m").unwrap().input;
    assert_eq!(input, json!(texts), "the items of the map");
    engine.close().await.unwrap();
    // It goes on from its journal as if nothing had been.
    let engine = blitz::Engine::open(&path).await.unwrap();
    with_work(&engine);
    let me = engine.root("a test");
    engine.recover().await.unwrap();
    me.executions().approve(id, "ask", blitz::Answer::approve()).await.unwrap();
    let done = me.executions().wait(id).await.unwrap();
    assert_eq!(done.output, json!([texts, texts[0], texts, texts]), "{:?}", done.error);
    assert_eq!(me.executions().get(id).await.unwrap().input, json!({"texts": texts}));
    let mut kinds = Vec::new();
    for event in super::stage::journal(&me, id).await {
        let told = serde_json::to_value(&event).unwrap();
        assert!(
            told.to_string().len() < 8_000,
            "{} {} of {}",
            event.data.type_name(),
            event.path,
            told.to_string().len()
        );
        for (field, at) in told["data"].as_object().into_iter().flatten() {
            if field.ends_with("_ref") {
                kinds.push(event.data.type_name());
                let whole = me.executions().output(id, at["ref"].as_str().unwrap()).await.unwrap();
                assert_eq!(json!(whole.to_string().len()), at["bytes"], "{field}");
            }
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    let large = ["execution.finished", "execution.queued", "item.finished", "node.finished", "node.started", "var.set"];
    assert_eq!(kinds, large);
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn w41_the_text_of_an_error_is_cut() {
    let (engine, me, _) = engine().await;
    let fails = FunctionNode::new(NodeTypeInfo::host("fails", "Fails."), |_, _| async move {
        Err::<NodeOutput, _>(blitz::tool::ToolError::typed(blitz::Error::new(
            ErrorCode::InvalidInput,
            "ä".repeat(300_000),
        )))
    });
    engine.register_node(fails).unwrap();
    let definition = json!({"name": "loud", "nodes": [{"id": "s", "type": "start"}, {"id": "f", "type": "fails"}], "edges": edges("s>f")});
    let error = run(&me, definition, json!({})).await.error.expect("it fails");
    assert!(error.message.len() < 9_000 && error.message.starts_with("ä"), "{} bytes", error.message.len());
    assert!(error.message.ends_with("(600000 bytes in all)"), "{}", &error.message[error.message.len() - 40..]);
}

#[tokio::test]
async fn w41_a_map_whose_items_give_too_much_fails_at_once_whatever_it_does_with_failures() {
    // Its list could never be kept: the items that were not begun are not paid for.
    for fail in [json!("stop"), json!("null"), json!("drop"), json!({"threshold": "100%"})] {
        let (_engine, me, seen) = engine().await;
        let definition = |items: u32, bytes: u32| {
            json!({"name": "much", "limits": {"output_bytes": 10_000}, "nodes": [
                {"id": "s", "type": "start"},
                {"id": "m", "type": "map", "config": {"items": (0..items).collect::<Vec<u32>>(), "concurrency": 2, "fail": fail}},
                {"id": "w", "type": "work", "parent": "m", "config": {"give": "x".repeat(bytes as usize)}},
                {"id": "e", "type": "end"}], "edges": edges("s>m m>e")})
        };
        let done = run(&me, definition(1000, 997), json!({})).await;
        let error = done.error.expect("too much");
        assert_eq!((error.code, error.node.as_deref()), (ErrorCode::TooLarge, Some("m")), "{}", error.message);
        let began = seen.lock().unwrap().len();
        assert!((10..=13).contains(&began), "{began}");
        // Ten times 999 bytes with a comma each and the brackets are 10,001, and nine are enough.
        let done = run(&me, definition(10, 997), json!({})).await;
        assert_eq!(done.error.expect("a byte too much").code, ErrorCode::TooLarge);
        let done = run(&me, definition(9, 997), json!({})).await;
        assert_eq!(done.status, blitz::ExecutionStatus::Completed, "{:?}", done.error);
    }
}

#[tokio::test]
async fn w41_an_output_beyond_its_limit_is_a_named_error_and_can_be_handled() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "huge", "limits": {"output_bytes": 100_000}, "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": "{{ inputs.big }}"}, "on_error": "continue"},
        {"id": "c", "type": "code", "config": {"expr": "inputs.big"}, "on_error": "continue"},
        {"id": "e", "type": "end", "config": {"output": ["{{ nodes.a.error.code }}", "{{ nodes.c.error.code }}"]}}],
        "edges": edges("s>a s>c a>e c>e")});
    let done = run(&me, definition, json!({"big": "x".repeat(100_001)})).await;
    assert_eq!(done.output, json!(["too_large", "too_large"]));
}

#[tokio::test]
async fn w41_large_outputs_pass_through_many_nodes() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "chain", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": {"text": "{{ inputs.big }}"}}},
        {"id": "w", "type": "work", "config": {"give": 1}},
        {"id": "p", "type": "code", "config": {"expr": "1"}}, {"id": "q", "type": "code", "config": {"expr": "nodes.a.output.text | length"}},
        {"id": "m", "type": "map", "config": {"items": [1, 2, 3]}},
        {"id": "i", "type": "work", "parent": "m", "config": {"give": "{{ nodes.a.output.text }}"}},
        {"id": "e", "type": "end", "config": {"output": {"q": "{{ nodes.q.output }}", "n": "{{ nodes.m.output | length }}", "last": "{{ nodes.m.output[2] | length }}"}}}],
        "edges": edges("s>a a>w w>p p>q q>m m>e")});
    let done = run(&me, definition, json!({"big": "x".repeat(80_000)})).await;
    assert_eq!(done.output, json!({"q": 80_000, "n": 3, "last": 80_000}), "{:?}", done.error);
}

#[tokio::test]
async fn w41_a_megabyte_of_a_node_or_a_tool_is_kept_whole() {
    let (engine, me, _) = engine().await;
    let large = FunctionNode::new(NodeTypeInfo::host("large", "Gives 1 MB."), |_, _| async move {
        Ok(NodeOutput::new("x".repeat(1_000_000)))
    });
    engine.register_node(large).unwrap();
    me.tools()
        .register(blitz::tool_fn!("tool", "Gives 1 MB.", |_: ()| async { Ok("y".repeat(1_000_000)) }))
        .await
        .unwrap();
    let definition = json!({"name": "whole", "nodes": [
        {"id": "s", "type": "start"}, {"id": "n", "type": "large"}, {"id": "t", "type": "tool", "config": {"tool": "tool"}, "input": {}},
        {"id": "e", "type": "end", "config": {"output": ["{{ nodes.n.output | length }}", "{{ nodes.t.output | length }}"]}}],
        "edges": edges("s>n s>t n>e t>e")});
    let done = run(&me, definition, json!({})).await;
    assert_eq!(done.output, json!([1_000_000, 1_000_000]), "{:?}", done.error);
}

#[tokio::test]
async fn w41_numbers_and_nulls_come_out_as_they_went_in() {
    let (_engine, me, _) = engine().await;
    let odd =
        json!({"big": 9_007_199_254_740_993_i64, "max": u64::MAX, "null": null, "half": 0.5, "text": "\u{0}\u{fffd}ü"});
    let definition = json!({"name": "odd", "nodes": [
        {"id": "s", "type": "start"}, {"id": "w", "type": "work", "input": {"all": "{{ inputs }}", "big": "{{ inputs.big }}"}},
        {"id": "c", "type": "code", "config": {"expr": "nodes.w.output.big"}},
        {"id": "n", "type": "code", "config": {"expr": "inputs.null is none and inputs.gone is undefined"}},
        {"id": "e", "type": "end", "config": {"output": {"w": "{{ nodes.w.output }}", "c": "{{ nodes.c.output }}", "n": "{{ nodes.n.output }}"}}}],
        "edges": edges("s>w w>c c>n n>e")});
    let done = run(&me, definition, odd.clone()).await;
    assert_eq!(
        done.output,
        json!({"w": {"all": odd, "big": odd["big"]}, "c": odd["big"], "n": true}),
        "{:?}",
        done.error
    );
}

#[tokio::test]
async fn w41_what_is_too_deep_too_large_or_no_json_is_an_error_and_harms_nothing() {
    let (engine, me, _) = engine().await;
    let large = FunctionNode::new(NodeTypeInfo::host("large", "Gives 100 MB."), |_, _| async move {
        Ok(NodeOutput::new("x".repeat(100_000_000)))
    });
    engine.register_node(large).unwrap();
    let deep = FunctionNode::new(NodeTypeInfo::host("deep", "Gives 10,000 levels."), |_, _| async move {
        Ok(NodeOutput::new((0..10_000).fold(json!(1), |inner, _| Value::Array(vec![inner]))))
    });
    engine.register_node(deep).unwrap();
    for (kind, codes) in [("large", &[ErrorCode::TooLarge][..]), ("deep", &[ErrorCode::TooLarge, ErrorCode::BadOutput])]
    {
        let definition = json!({"name": kind, "nodes": [
            {"id": "s", "type": "start"}, {"id": "n", "type": kind}], "edges": edges("s>n")});
        let done = run(&me, definition, json!({})).await;
        let error = done.error.unwrap_or_else(|| panic!("{kind} gave {:.200}", done.output.to_string()));
        assert!(codes.contains(&error.code) && error.node.as_deref() == Some("n"), "{kind}: {}", error.code);
    }
    let levels = (0..1_000).fold(json!(1), |inner, _| json!([inner]));
    let refused = me.run("deep", json!({"levels": levels})).await.unwrap_err();
    assert!(matches!(refused.code(), ErrorCode::InvalidInput | ErrorCode::TooLarge), "{refused}");
    for expr in ["1e308 * 10", "1.0 / 0", "(1e308 * 10) - (1e308 * 10)"] {
        let definition = json!({"name": "number", "nodes": [
            {"id": "s", "type": "start"}, {"id": "c", "type": "code", "config": {"expr": expr}}], "edges": edges("s>c")});
        let done = run(&me, definition, json!({})).await;
        let error = done.error.unwrap_or_else(|| panic!("{expr} gave {}", done.output));
        assert_eq!((error.code, error.node.as_deref()), (ErrorCode::Expression, Some("c")), "{expr}");
    }
}

#[tokio::test]
async fn w42_expressions_that_fail_are_errors_of_their_node() {
    let (_engine, me, _) = engine().await;
    for expr in ["inputs.gone", "1 + 'a'", "range(100000000) | sum", "inputs.x.y.z"] {
        let definition = json!({"name": "fails", "nodes": [
            {"id": "s", "type": "start"}, {"id": "c", "type": "code", "config": {"expr": expr}}], "edges": edges("s>c")});
        let done = run(&me, definition, json!({"x": 1})).await;
        let error = done.error.expect(expr);
        assert!(
            matches!(error.code, ErrorCode::Expression | ErrorCode::TooLarge | ErrorCode::LimitExceeded),
            "{expr}: {error:?}"
        );
        assert_eq!(error.node.as_deref(), Some("c"), "{expr}");
    }
}

#[tokio::test]
async fn w42_what_a_model_says_is_never_evaluated() {
    let says = "{{ inputs.private }} {{ 1 + 1 }} {private}";
    let (engine, me, asked) = with_provider(Scripted::from_fn(move |_| Reply::text(says))).await;
    with_work(&engine);
    let definition = json!({"name": "said", "nodes": [
        {"id": "s", "type": "start"}, {"id": "q", "type": "llm", "config": {"model": "m", "prompt": "Say it."}},
        {"id": "t", "type": "template", "config": {"template": "<{{ nodes.q.output }}>"}},
        {"id": "r", "type": "llm", "config": {"model": "m", "prompt": "Again: {{ nodes.t.output }}"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.t.output }}"}}], "edges": edges("s>q q>t t>r r>e")});
    let done = run(&me, definition, json!({"private": "canary"})).await;
    assert_eq!(done.output, json!(format!("<{says}>")), "{:?}", done.error);
    let prompt = asked.requests()[1].messages.last().unwrap().text_content();
    assert_eq!(prompt, format!("Again: <{says}>"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w48_a_thousand_readers_and_one_that_does_not_read() {
    let (engine, me, _) = engine().await;
    let gates = Gates::new(&engine);
    let definition = json!({"name": "watched", "nodes": [
        {"id": "s", "type": "start"}, {"id": "g", "type": "gate", "config": {"name": "g"}},
        {"id": "m", "type": "map", "config": {"items": (0..50).collect::<Vec<u32>>()}}, {"id": "w", "type": "work", "parent": "m"}],
        "edges": edges("s>g g>m")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("g", 1).await;
    let idle = handle.events();
    let read = |events: blitz::EventStream| async move {
        events.map(Result::unwrap).map(|event| event.seq).collect::<Vec<i64>>().await
    };
    let readers: Vec<_> = (0..1000).map(|_| tokio::spawn(read(handle.events()))).collect();
    gates.open("g");
    let done = end(&handle).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    let late = read(handle.events()).await;
    for reader in readers {
        assert_eq!(reader.await.unwrap(), late);
    }
    assert_eq!(read(idle).await, late, "who reads late misses nothing");
}

#[tokio::test]
async fn w55_all_three_shapes_are_imported_and_run() {
    let (engine, me, _) = with_provider(Scripted::from_fn(|_| Reply::text("said"))).await;
    with_work(&engine);
    let agent = me.agents().put(blitz::NewAgent::new("helper", "m")).await.unwrap().id;
    let nodes = json!([{"id": "start-1", "type": "start"}, {"id": "agent-1", "type": "agent", "data": {"agent_id": agent}}, {"id": "end-1", "type": "end"}]);
    let lines = json!([{"source": "start-1", "target": "agent-1", "sourceHandle": ""}, {"source": "agent-1", "target": "end-1"}]);
    let api = json!({"name": "api", "definition": {"nodes": nodes, "edges": lines}});
    let designer = json!({"name": "designer", "nodes": nodes, "connections": lines});
    let flow = json!({"nodes": [{"id": "1", "type": "custom", "data": {"type": "start"}, "position": {"x": 0, "y": 0}},
        {"id": "2", "type": "agent", "data": {"agent_id": agent}}, {"id": "3", "type": "end"}],
        "edges": [{"id": "a", "source": "1", "target": "2"}, {"id": "b", "source": "2", "target": "3"}], "viewport": {"x": 0, "y": 0, "zoom": 1}});
    for (name, shape) in [("api", api), ("designer", designer), ("flow", flow)] {
        let imported = me.workflows().import(shape, Some(name.to_owned())).await.unwrap();
        assert!(
            imported.problems.iter().all(|problem| !problem.code.name().starts_with("E_")),
            "{:?}",
            imported.problems
        );
        me.workflows().publish(ResourceRef::Name(name.to_owned())).await.unwrap();
        let done = me.run(name, json!({"text": "hello"})).await.unwrap();
        assert_eq!(done.status, ExecutionStatus::Completed, "{name}: {:?}", done.error);
        assert!(done.output.to_string().contains("said"), "{name}: {}", done.output);
        assert!(by_id(&me, done.execution_id).await.len() == 3);
    }
}

#[tokio::test]
async fn t62_an_import_that_is_wrong_leaves_what_was_there() {
    let (_engine, me, _) = engine().await;
    put(&me, json!({"name": "mine", "nodes": [{"id": "w", "type": "work", "config": {"give": "mine"}}]})).await;
    let before = me.workflows().export("mine", None).await.unwrap();
    for wrong in [
        json!({"format": "blitz.workflow/2", "name": "mine", "nodes": [], "edges": []}),
        json!("&a [*a, *a]"),
        json!({"name": "mine", "nodes": "../../etc/passwd"}),
        json!({"name": "../mine", "format": "blitz.workflow/9"}),
    ] {
        let refused: Result<_, blitz::Error> = me.workflows().import(wrong.clone(), Some("mine".to_owned())).await;
        assert_eq!(refused.unwrap_err().code(), ErrorCode::InvalidInput, "{wrong}");
    }
    assert_eq!(me.workflows().export("mine", None).await.unwrap(), before);
    assert_eq!(me.run("mine", Value::Null).await.unwrap().output, json!("mine"));
}

#[tokio::test]
async fn w41_the_large_output_of_the_last_round_is_read_in_the_next_and_by_until() {
    let (_engine, me, _) = engine().await;
    let rounds = |name: &str, config: Value, body: Value| {
        json!({"name": name, "nodes": [
            {"id": "s", "type": "start"}, {"id": "l", "type": "loop", "config": config},
            {"id": "z", "type": "work", "parent": "l", "config": {"give": 1, "ms": 1}}, body,
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.l.output[1:] }}"}}],
            "edges": edges("s>l z>w l>e")})
    };
    let list = "[inputs.big, loop.count, (loop.last[0] | length if loop.last else 0)]";
    let big = json!({"big": "x".repeat(70_000)});
    let code = json!({"id": "w", "type": "code", "parent": "l", "config": {"expr": list}});
    let work = json!({"id": "w", "type": "work", "parent": "l", "config": {"give": format!("{{{{ {list} }}}}")}});
    for (name, body) in [("code", code.clone()), ("work", work)] {
        let done = run(&me, rounds(name, json!({"max_iterations": 3}), body), big.clone()).await;
        assert_eq!(done.output, json!([2, 70_000]), "{name}: {:?}", done.error);
    }
    let until = json!({"max_iterations": 5, "until": "loop.last is not none and loop.last[1] >= 1"});
    let done = run(&me, rounds("until", until, code), big).await;
    assert_eq!(done.output, json!([2, 70_000]), "{:?}", done.error);
}
