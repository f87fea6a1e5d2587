//! How many effects an engine runs at once: what is bounded, what waits, and what waits for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use blitz::provider::{FunctionProvider, Reply};
use blitz::tool::{EffectScope, FunctionNode, FunctionTool, NodeOutput, ToolContext, ToolError, tool_fn};
use blitz::{
    Engine, EngineSettings, ErrorCode, Event, EventData, ExecutionStatus, ModelRequest, NewAgent, NewModel, NodeStatus,
    NodeTypeInfo, Session,
};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::stage::{Gates, by_id, edges, end, journal, put, run, start, until, with_work};
use crate::support::folder::Folder;

/// Counts what runs at once.
#[derive(Clone, Default)]
struct Count(Arc<(AtomicUsize, AtomicUsize)>);

impl Count {
    /// Something that takes a moment.
    async fn one(&self) {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    /// A tool that counts itself.
    fn tool(&self, name: &str) -> FunctionTool {
        let count = self.clone();
        tool_fn!(name, "Counts.", move |_: ()| {
            let count = count.clone();
            async move {
                count.one().await;
                Ok(1)
            }
        })
    }
}

/// An engine of so many effects at once, with nodes, tools and models that count themselves, and an agent `solver`
/// that calls tools.
async fn counted(most: u32) -> (Engine, Session, Count) {
    let count = Count::default();
    let (of_model, of_vectors, of_node) = (count.clone(), count.clone(), count.clone());
    let model = FunctionProvider::new("counted", move |request: ModelRequest, _| {
        let count = of_model.clone();
        async move {
            count.one().await;
            let calls = ["step", "step", "alone", "alone", "alone"].map(|name| (name, json!({})));
            Ok(if request.messages.len() < 3 { Reply::tool_calls(calls.into()) } else { Reply::text("done") })
        }
    });
    let model = model.with_embedding(move |_, _| {
        let count = of_vectors.clone();
        async move {
            count.one().await;
            Ok(Reply::vectors(vec![vec![1.0]]))
        }
    });
    let engine = Engine::builder(":memory:").with_provider(model).with_max_parallel(most).open().await.unwrap();
    let node = FunctionNode::new(NodeTypeInfo::host("count", "Counts."), move |_, _| {
        let count = of_node.clone();
        async move {
            count.one().await;
            Ok(NodeOutput::new(1))
        }
    });
    engine.register_node(node).unwrap();
    let me = engine.root("test");
    me.tools().register(count.tool("step")).await.unwrap();
    me.tools().register(count.tool("alone").sequential()).await.unwrap();
    me.models().put(NewModel::new("m", "counted", "any")).await.unwrap();
    me.agents().put(NewAgent::new("solver", "m").instructions("Help.").tool("step").tool("alone")).await.unwrap();
    (engine, me, count)
}

async fn opened(most: u32) -> (Engine, Session) {
    let engine = Engine::builder(":memory:").with_max_parallel(most).open().await.unwrap();
    let me = engine.root("test");
    (engine, me)
}

#[tokio::test]
async fn w52_never_more_effects_than_the_engine_allows_over_all_executions() {
    let (_engine, me, count) = counted(3).await;
    let definition = json!({"name": "wide", "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": "{{ range(6) | list }}"}},
        {"id": "c", "type": "count", "parent": "m"}, {"id": "a", "type": "agent", "config": {"agent": "solver"}},
        {"id": "t", "type": "tool", "config": {"tool": "step"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.m.output | length }}"}}],
        "edges": edges("s>m s>a s>t m>e a>e t>e")});
    put(&me, definition).await;
    let runs = join_all((0..10).map(|_| me.run("wide", json!({}))));
    let models = me.models();
    let embeds = join_all((0..10).map(|_| models.embed("m", ["a text"])));
    let both = async { tokio::join!(runs, embeds) };
    let (runs, embeds) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("it ends");
    for done in runs {
        let done = done.unwrap();
        assert_eq!((done.status, &done.output), (ExecutionStatus::Completed, &json!(6)), "{:?}", done.error);
    }
    embeds.into_iter().for_each(|embedded| drop(embedded.unwrap()));
    assert!(count.most() <= 3, "{} ran at once", count.most());
}

#[tokio::test]
async fn w52_as_many_run_as_the_engine_allows_and_the_next_one_begins_when_one_ends() {
    let (engine, me) = opened(3).await;
    let gates = Gates::new(&engine);
    put(&me, json!({"name": "f", "nodes": [{"id": "g", "type": "gate", "config": {"name": "{{ inputs.x }}"}}]})).await;
    let mut all = Vec::new();
    for x in ["a", "b", "c", "d"] {
        all.push(me.start("f", json!({"x": x})).await.unwrap());
        if x != "d" {
            gates.reached(x, 1).await;
        }
    }
    // Whatever it does, the fourth has not begun as long as nobody ends.
    let fourth = me.executions().nodes(all[3].id(), "").await.unwrap();
    assert!(fourth.iter().all(|node| node.status != NodeStatus::Running) && gates.count("d") == 0);
    gates.open("b");
    gates.reached("d", 1).await;
    ["a", "c", "d"].iter().for_each(|door| gates.open(door));
    for handle in &all {
        assert_eq!(end(handle).await.status, ExecutionStatus::Completed);
    }
}

#[tokio::test]
async fn w52_containers_children_and_workflows_in_workflows_hold_no_permit() {
    let (_engine, me, count) = counted(1).await;
    put(&me, json!({"name": "level0", "nodes": [{"id": "n", "type": "count"}]})).await;
    for depth in 1..8 {
        let inner = format!("level{}", depth - 1);
        let definition = json!({"name": format!("level{depth}"), "nodes": [
            {"id": "l", "type": "loop", "config": {"max_iterations": 1}}, {"id": "p", "type": "parallel", "parent": "l"},
            {"id": "w", "type": "subflow", "parent": "p", "config": {"workflow": inner}},
            {"id": "n", "type": "count", "parent": "p"}], "edges": []});
        put(&me, definition).await;
    }
    me.agents()
        .put(NewAgent::new("outer", "m").instructions("Help.").agent("solver").tool("step").tool("alone"))
        .await
        .unwrap();
    let runs = (0..20).map(|i| me.run(if i % 4 == 0 { "outer" } else { "level7" }, json!({})));
    for done in tokio::time::timeout(Duration::from_secs(120), join_all(runs)).await.expect("no deadlock") {
        let done = done.unwrap();
        assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    }
    assert_eq!(count.most(), 1);
}

#[tokio::test]
async fn w20_waits_for_people_for_a_moment_and_for_another_attempt_hold_no_permit() {
    let (engine, me) = opened(1).await;
    with_work(&engine);
    let waiting = [
        json!({"id": "n", "type": "approval", "config": {"message": "May it?"}}),
        json!({"id": "n", "type": "wait", "config": {"seconds": 3600}}),
        json!({"id": "n", "type": "work", "config": {"fail": "timeout"}, "retry": {"max_attempts": 2, "initial_ms": 3_600_000, "max_ms": 3_600_000, "jitter": "none"}}),
    ];
    for (i, node) in waiting.into_iter().enumerate() {
        let nodes = json!([node, {"id": "e", "type": "end"}]);
        let port = if i == 0 { "n.approved>e" } else { "n>e" };
        let handle = start(
            &me,
            json!({"name": format!("w{i}"), "limits": {"timeout_s": 86400}, "nodes": nodes, "edges": edges(port)}),
            json!({}),
        )
        .await;
        until(&me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
    }
    let work = json!({"name": "works", "nodes": [{"id": "n", "type": "work", "config": {"give": 7}}]});
    assert_eq!(run(&me, work, json!({})).await.status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn w33_what_waits_for_its_turn_is_cancelled_at_once_and_was_never_begun() {
    let (engine, me, _) = counted(1).await;
    let gates = Gates::new(&engine);
    let gate = |name: &str| json!({"name": name, "nodes": [{"id": "g", "type": "gate", "config": {"name": name, "deaf": true}}]});
    let first = start(&me, gate("first"), json!({})).await;
    gates.reached("first", 1).await;
    let second = start(&me, gate("second"), json!({})).await;
    let agent = me.start("solver", "x").await.unwrap();
    for handle in [&second, &agent] {
        handle.cancel().await.unwrap();
        let done = end(handle).await;
        assert_eq!((done.status, done.cost), (ExecutionStatus::Cancelled, Some(blitz::Money::ZERO)));
        let begun = |event: &Event| matches!(event.data, EventData::StepStarted(_) | EventData::NodeStarted(_));
        assert!(!journal(&me, handle.id()).await.iter().any(begun), "nothing was begun or reserved");
    }
    assert_eq!(gates.count("second"), 0);
    gates.open("first");
    assert_eq!(end(&first).await.status, ExecutionStatus::Completed);
    // Whoever gave up its place in the line left it to the next.
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(30), me.run("solver", "x")).await.unwrap().unwrap().text(),
        "done"
    );
}

#[tokio::test]
async fn w8_a_loser_that_waits_for_its_turn_is_cancelled_before_it_begins() {
    let (engine, me) = opened(2).await;
    let (gates, seen) = (Gates::new(&engine), with_work(&engine));
    let holds = start(
        &me,
        json!({"name": "holds", "nodes": [{"id": "g", "type": "gate", "config": {"name": "holds"}}]}),
        json!({}),
    )
    .await;
    gates.reached("holds", 1).await;
    let definition = json!({"name": "race", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "gate", "config": {"name": "a", "give": "a"}},
        {"id": "b", "type": "work", "config": {"give": "b"}},
        {"id": "j", "type": "code", "config": {"expr": "2"}, "join": {"mode": "first", "cancel_rest": true}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.a.output }}"}}],
        "edges": edges("s>a s>b a>j b>j j>e")});
    let race = start(&me, definition, json!({})).await;
    gates.reached("a", 1).await;
    gates.open("a");
    let done = end(&race).await;
    assert_eq!((done.status, done.output), (ExecutionStatus::Completed, json!("a")), "{:?}", done.error);
    assert_eq!(by_id(&me, race.id()).await["b"], NodeStatus::Cancelled);
    assert!(seen.lock().unwrap().is_empty());
    gates.open("holds");
    end(&holds).await;
}

/// Tools that ask the engine themselves, each in another way.
async fn nesting(me: &Session) {
    let failed = |error: blitz::Error| ToolError::failed(error.chain());
    // By the session that it is handed, also in a task of its own.
    let by_context = tool_fn!("by_context", "Runs.", move |_: (), context: ToolContext| async move {
        let session = context.session().map_err(failed)?;
        let done = tokio::spawn(async move { session.run("solver", "x").await }).await?;
        Ok(done.map_err(failed)?.text())
    });
    // By a session that it holds.
    let held = me.clone();
    let by_held = tool_fn!("by_held", "Runs.", move |_: ()| {
        let held = held.clone();
        async move {
            held.models().embed("m", ["a text"]).await.map_err(failed)?;
            let handle = held.start("solver", "x").await.map_err(failed)?;
            Ok(handle.wait().await.map_err(failed)?.text())
        }
    });
    // Reading along.
    let held = me.clone();
    let by_stream = tool_fn!("by_stream", "Runs.", move |_: ()| {
        let held = held.clone();
        async move {
            let mut events = held.stream("solver", "x").await.map_err(failed)?;
            let mut last = 0;
            while let Some(event) = events.next().await {
                last = event.map_err(failed)?.seq;
            }
            Ok(last)
        }
    });
    // On a thread, and on a thread behind that.
    let (held, handle) = (me.clone(), tokio::runtime::Handle::current());
    let by_thread = FunctionTool::blocking("by_thread", "Runs.", move |_: (), _: ToolContext| {
        let (inner, runtime) = (held.clone(), handle.clone());
        handle.block_on(held.run("solver", "x")).map_err(failed)?;
        let scope = EffectScope::current();
        let ran = std::thread::spawn(move || scope.enter(|| runtime.block_on(inner.run("solver", "x"))));
        let done = ran.join().map_err(|_| ToolError::failed("it panicked"))?;
        Ok(done.map_err(failed)?.text())
    });
    for tool in [by_context, by_held, by_stream, by_thread] {
        me.tools().register(tool).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w52_a_tool_that_waits_for_the_engine_gives_its_permit_to_what_it_began() {
    let (_engine, me, count) = counted(1).await;
    nesting(&me).await;
    for name in ["by_context", "by_held", "by_stream", "by_thread"] {
        // Two at once: while one waits the other one runs.
        put(
            &me,
            json!({"name": name, "nodes": [{"id": "a", "type": "tool", "config": {"tool": name}},
            {"id": "b", "type": "tool", "config": {"tool": name}}], "edges": []}),
        )
        .await;
        let done = tokio::time::timeout(Duration::from_secs(60), me.run(name, json!({}))).await.expect(name).unwrap();
        assert_eq!(done.status, ExecutionStatus::Completed, "{name}: {:?}", done.error);
    }
    assert_eq!(count.most(), 1);
}

#[tokio::test]
async fn w36_an_unsafe_node_that_only_waited_for_its_turn_is_in_no_doubt_after_a_restart() {
    let folder = Folder::new();
    let path = folder.path().join("a.db").to_str().unwrap().to_owned();
    let definition =
        |name: &str| json!({"name": name, "nodes": [{"id": "g", "type": "gate", "config": {"name": name}}]});
    let open = || async { Engine::builder(&path).with_max_parallel(1).open().await.unwrap() };
    let engine = open().await;
    let (me, gates) = (engine.root("test"), Gates::new(&engine));
    let first = start(&me, definition("first"), json!({})).await.id();
    gates.reached("first", 1).await;
    let second = start(&me, definition("second"), json!({})).await.id();
    engine.close_within(Duration::ZERO).await.unwrap();

    let engine = open().await;
    let (me, gates) = (engine.root("test"), Gates::new(&engine));
    ["first", "second"].iter().for_each(|door| gates.open(door));
    assert_eq!(engine.recover().await.unwrap().len(), 2);
    let waits = |status| move |execution: &blitz::Execution| execution.status == status;
    until(&me, second, waits(ExecutionStatus::Completed)).await;
    until(&me, first, waits(ExecutionStatus::Waiting)).await;
    engine.close_within(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn the_bound_is_a_setting_and_at_least_one() {
    let settings = |most: Value| EngineSettings::from_json(json!({"database_url": ":memory:", "max_parallel": most}));
    assert_eq!(settings(json!(2)).unwrap().max_parallel, Some(2));
    assert!(settings(json!(-1)).is_err() && settings(json!("canary")).is_err());
    let error = Engine::open_with(settings(json!(0)).unwrap()).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    let engine = Engine::open_with(settings(json!(1)).unwrap()).await.unwrap();
    with_work(&engine);
    let done = run(&engine.root("test"), json!({"name": "f", "nodes": [{"id": "n", "type": "work"}]}), json!({})).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
}
