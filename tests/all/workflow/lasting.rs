//! What lasts: versions, reruns, owners, engines that end, clocks, and what is taken away meanwhile.

use std::path::Path;
use std::sync::{Arc, Mutex};

use blitz::tool::{FunctionNode, NodeOutput};
use blitz::{
    Answer, Decision, Durability, Effect, Engine, ErrorCode, EventData, ExecutionId, ExecutionStatus, NodeTypeInfo,
    Session, Waiting,
};
use serde_json::{Value, json};

use super::stage::{Gates, Seen, edges, end, engine, journal, put, run, start, until, with_work};
use crate::support::disk::SmallDisk;
use crate::support::engine::scripted;
use crate::support::folder::Folder;

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

/// An engine on a file, with the nodes of the tests.
async fn on(folder: &Path) -> (Engine, Session, Seen, Gates) {
    let path = folder.join("blitz.db");
    let engine = Engine::builder(path.to_string_lossy()).with_durability(Durability::Process).open().await.unwrap();
    let (seen, gates) = (with_work(&engine), Gates::new(&engine));
    let me = engine.root("test");
    (engine, me, seen, gates)
}

async fn cut(engine: Engine) {
    engine.close_within(std::time::Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn w31_a_question_is_answered_behind_a_restart() {
    let folder = Folder::new();
    let (engine, me, _, _) = on(folder.path()).await;
    let definition = json!({"name": "ask", "nodes": [
        {"id": "s", "type": "start"}, {"id": "w", "type": "work", "config": {"give": 1}},
        {"id": "ok", "type": "approval", "config": {"message": "?"}}, {"id": "e", "type": "end", "config": {"output": "{{ nodes.ok.output.option }}"}}],
        "edges": edges("s>w w>ok ok.approved>e ok.rejected>e")});
    let handle = start(&me, definition, json!({})).await;
    let before = until(&me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
    cut(engine).await;

    // It is answered while nobody runs it, and goes on when somebody does.
    let (engine, me, seen, _) = on(folder.path()).await;
    let asked = me.executions().get(handle.id()).await.unwrap();
    assert_eq!(asked.waiting_for, before.waiting_for);
    me.executions().approve(handle.id(), "ok", Answer::reject()).await.unwrap();
    assert_eq!(engine.recover().await.unwrap(), [handle.id()]);
    let done = me.executions().wait(handle.id()).await.unwrap();
    assert_eq!(done.output, json!("rejected"));
    assert!(seen.lock().unwrap().is_empty(), "what was done is not done again");
}

#[tokio::test]
async fn w33_a_cancellation_of_what_is_being_resumed() {
    let folder = Folder::new();
    let (engine, me, _, gates) = on(folder.path()).await;
    let definition = json!({"name": "long", "nodes": [{"id": "s", "type": "start"}, {"id": "g", "type": "gate", "config": {"name": "g"}, "effect": "idempotent"},
        {"id": "e", "type": "end"}], "edges": edges("s>g g>e")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("g", 1).await;
    cut(engine).await;
    let (engine, me, _, gates) = on(folder.path()).await;
    let executions = me.executions();
    let (recovered, cancelled) = tokio::join!(engine.recover(), executions.cancel(handle.id()));
    recovered.unwrap();
    cancelled.unwrap();
    assert_eq!(me.executions().wait(handle.id()).await.unwrap().status, ExecutionStatus::Cancelled);
    assert!(gates.count("g") <= 1);
    assert_eq!(engine.recover().await.unwrap(), []);
}

#[tokio::test]
async fn w36_an_unsafe_node_in_doubt_waits_for_a_decision() {
    let choices = [
        (Decision::Rerun, json!({"n": 1}), 1),
        (Decision::Skip { value: json!({"n": "by hand"}) }, json!({"n": "by hand"}), 0),
        (Decision::Fail { message: "it is not known".into() }, Value::Null, 0),
    ];
    for (decision, output, calls) in choices {
        let folder = Folder::new();
        let (engine, me, _, gates) = on(folder.path()).await;
        let definition = json!({"name": "doubt", "nodes": [
            {"id": "s", "type": "start"}, {"id": "g", "type": "gate", "config": {"name": "g", "give": {"n": 1}}},
            {"id": "e", "type": "end"}], "edges": edges("s>g g>e")});
        let handle = start(&me, definition, json!({})).await;
        gates.reached("g", 1).await;
        cut(engine).await;
        let (engine, me, _, gates) = on(folder.path()).await;
        gates.open("g");
        engine.recover().await.unwrap();
        let waiting = until(&me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
        assert!(matches!(&waiting.waiting_for[..], [Waiting::Decision { key, .. }] if key == "g"), "{waiting:?}");
        assert_eq!(gates.count("g"), 0, "it is not run again by itself");
        me.executions().decide(handle.id(), "g", decision).await.unwrap();
        let done = me.executions().wait(handle.id()).await.unwrap();
        assert_eq!((done.output, gates.count("g")), (output, calls));
        assert_eq!(done.status == ExecutionStatus::Failed, done.error.is_some());
    }
}

#[tokio::test]
async fn w36_a_decision_to_fail_ends_an_unsafe_node_whatever_would_try_it_again() {
    let again = json!({"max_attempts": 5, "initial_ms": 1, "on": ["tool_failed"]});
    for more in [json!({"retry": again}), json!({"fallback": [{"name": "other"}]})] {
        let folder = Folder::new();
        let (engine, me, _, gates) = on(folder.path()).await;
        let mut node =
            json!({"id": "g", "type": "gate", "config": {"name": "g"}, "effect": "unsafe", "on_error": "branch"});
        node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let definition = json!({"name": "doubt", "nodes": [
            {"id": "s", "type": "start"}, node, {"id": "good", "type": "end", "config": {"output": "it ran"}},
            {"id": "bad", "type": "end", "config": {"output": "{{ nodes.g.error.message }}"}}],
            "edges": edges("s>g g>good g.error>bad")});
        let handle = start(&me, definition, json!({})).await;
        gates.reached("g", 1).await;
        cut(engine).await;
        let (engine, me, _, gates) = on(folder.path()).await;
        gates.open("g");
        gates.open("other");
        engine.recover().await.unwrap();
        until(&me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
        let fail = Decision::Fail { message: "it is not known".into() };
        me.executions().decide(handle.id(), "g", fail).await.unwrap();
        let done = me.executions().wait(handle.id()).await.unwrap();
        assert_eq!(done.output, json!("it is not known"), "{more}: {:?}", done.error);
        assert_eq!((gates.count("g"), gates.count("other")), (0, 0), "{more}");
        engine.close().await.unwrap();
    }
}

/// Starts a workflow that has come to its gate `g`, and lets go of the engine, the session and the handle.
async fn left(folder: &Path) -> (ExecutionId, Gates, std::sync::Weak<Mutex<Vec<Value>>>) {
    let (_engine, me, seen, gates) = on(folder).await;
    let definition = json!({"name": "left", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": "A"}},
        {"id": "g", "type": "gate", "config": {"name": "g", "give": "G"}, "effect": "idempotent"},
        {"id": "e", "type": "end", "config": {"output": ["{{ nodes.a.output }}", "{{ nodes.g.output }}"]}}],
        "edges": edges("s>a a>g g>e")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("g", 1).await;
    // The nodes of the engine hold what they saw: once that is gone, so is the engine.
    (handle.id(), gates, Arc::downgrade(&seen))
}

async fn ended_well(me: &Session, id: ExecutionId) {
    let done = me.executions().wait(id).await.unwrap();
    assert_eq!(done.output, json!(["A", "G"]), "{:?}", done.error);
    let told = journal(me, id).await;
    assert!(told.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    let ends = told.iter().filter(|event| matches!(event.data, EventData::ExecutionFinished(_))).count();
    assert_eq!(ends, 1);
}

#[tokio::test]
async fn w50_what_was_started_comes_to_its_end_where_nobody_holds_the_engine_and_nothing_stays() {
    let folder = Folder::new();
    let (id, gates, seen) = left(folder.path()).await;
    gates.open("g");
    let gone = async {
        while seen.strong_count() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("nothing of it is left");
    let (engine, me, _, _) = on(folder.path()).await;
    assert_eq!(engine.recover().await.unwrap(), [], "it has ended");
    ended_well(&me, id).await;
    engine.close().await.unwrap();
}

#[test]
fn w50_a_runtime_that_ends_leaves_a_journal_to_go_on_from() {
    let folder = Folder::new();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let first = runtime();
    let (id, _, seen) = first.block_on(left(folder.path()));
    drop(first);
    assert_eq!(seen.strong_count(), 0, "no task of it is left");
    runtime().block_on(async {
        let (engine, me, seen, gates) = on(folder.path()).await;
        gates.open("g");
        assert_eq!(engine.recover().await.unwrap(), [id]);
        ended_well(&me, id).await;
        assert!(seen.lock().unwrap().is_empty(), "what had ended is not run again");
        engine.close().await.unwrap();
    });
}

#[tokio::test]
async fn w37_a_store_that_others_hold_is_waited_for() {
    let folder = Folder::new();
    let (engine, me, seen, gates) = on(folder.path()).await;
    let definition = json!({"name": "busy", "nodes": [
        {"id": "s", "type": "start"}, {"id": "g", "type": "gate", "config": {"name": "g"}}, {"id": "w", "type": "work", "config": {"give": 1}},
        {"id": "e", "type": "end"}], "edges": edges("s>g g>w w>e")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("g", 1).await;
    let other = rusqlite::Connection::open(folder.path().join("blitz.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    gates.open("g");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(seen.lock().unwrap().is_empty(), "nothing starts before what came before is written");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(end(&handle).await.output, json!({"w_output": 1}));
    engine.close().await.unwrap();
}

#[tokio::test]
async fn w37_a_full_disk_is_waited_for_and_nothing_runs_twice() {
    let Some(disk) = SmallDisk::mount() else { return };
    let (engine, me, seen, gates) = on(disk.folder.path()).await;
    let definition = json!({"name": "full", "nodes": [
        {"id": "s", "type": "start"}, {"id": "g", "type": "gate", "config": {"name": "g", "give": "x".repeat(40_000)}},
        {"id": "w", "type": "work", "config": {"give": 1}}, {"id": "e", "type": "end"}], "edges": edges("s>g g>w w>e")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("g", 1).await;
    let filler = disk.fill();
    let refused = me.start("full", json!({"text": "x".repeat(40_000)})).await;
    assert_eq!(refused.err().map(|error| (error.code(), error.is_retryable())), Some((ErrorCode::StorageFull, true)));
    gates.open("g");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(seen.lock().unwrap().is_empty(), "nothing starts before what came before is written");
    assert_eq!(me.executions().get(handle.id()).await.unwrap().status, ExecutionStatus::Running);
    std::fs::remove_file(filler).unwrap();

    assert_eq!(end(&handle).await.output, json!({"w_output": 1}));
    assert_eq!((gates.count("g"), seen.lock().unwrap().len()), (1, 1));
    engine.close().await.unwrap();
}

#[tokio::test]
async fn w38_a_rerun_with_the_latest_version_runs_what_has_changed() {
    let (_engine, me, seen) = engine().await;
    let definition = |b: &str, with_c: bool| {
        let mut definition = json!({"name": "changes", "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": {"a": "A"}}},
            {"id": "b", "type": "work", "config": {"give": {"b": b}}}, {"id": "j", "type": "work"}],
            "edges": edges("s>a s>b a>j b>j")});
        if with_c {
            definition["nodes"]
                .as_array_mut()
                .unwrap()
                .push(json!({"id": "c", "type": "work", "config": {"give": {"c": 1}}}));
            definition["edges"].as_array_mut().unwrap().extend(edges("s>c c>j").as_array().unwrap().clone());
        }
        definition
    };
    put(&me, definition("one", true)).await;
    me.workflows().publish("changes").await.unwrap();
    let first = me.run("changes", json!({})).await.unwrap();
    assert_eq!(first.output, json!({"a": "A", "b": "one", "c": 1}));
    put(&me, definition("two", false)).await;
    me.workflows().publish("changes").await.unwrap();
    seen.lock().unwrap().clear();
    let executions = me.executions();
    let again = executions.rerun(first.execution_id, blitz::Rerun::from("j").latest()).await.unwrap();
    assert_eq!(end(&again).await.output, json!({"a": "A", "b": "two"}));
    assert_eq!(seen.lock().unwrap().len(), 2, "b, which has changed, and j behind it; a is taken over");
    let gone = executions.rerun(first.execution_id, blitz::Rerun::from("c").latest()).await.unwrap_err();
    assert_eq!(gone.code(), ErrorCode::InvalidInput, "a node that is not there any more");
    let same = executions.rerun(first.execution_id, blitz::Rerun::from("c")).await.unwrap();
    assert_eq!(end(&same).await.output, json!({"a": "A", "b": "one", "c": 1}));
}

#[tokio::test]
async fn w39_what_is_deleted_while_it_runs_still_runs() {
    let (engine, me, _) = {
        let (engine, me, script) = scripted(vec![blitz::provider::Reply::text("said")]).await;
        with_work(&engine);
        (engine, me, script)
    };
    let gates = Gates::new(&engine);
    me.agents().put(blitz::NewAgent::new("helper", "m")).await.unwrap();
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Said {
        said: String,
    }
    let shout = blitz::tool_fn!("shout", "Shouts.", |it: Said| async move { Ok(it.said.to_uppercase()) });
    me.tools().register(shout).await.unwrap();
    let definition = json!({"name": "gone", "nodes": [
        {"id": "s", "type": "start"}, {"id": "g", "type": "gate", "config": {"name": "g"}},
        {"id": "a", "type": "agent", "config": {"agent": "helper"}},
        {"id": "t", "type": "tool", "config": {"tool": "shout"}, "input": {"said": "{{ nodes.a.output }}"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.t.output }}"}}], "edges": edges("s>g g>a a>t t>e")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("g", 1).await;
    me.workflows().delete("gone").await.unwrap();
    me.agents().delete("helper").await.unwrap();
    me.tools().delete("shout").await.unwrap();
    me.models().delete("m").await.unwrap();
    gates.open("g");
    let done = end(&handle).await;
    assert_eq!(done.output, json!("SAID"), "it holds what it began with: {:?}", done.error);
    assert_eq!(me.run("gone", json!({})).await.unwrap_err().code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn w49_host_code_that_panics_fails_its_node_and_may_use_the_engine() {
    let (engine, me, _) = engine().await;
    let panics = FunctionNode::new(NodeTypeInfo::host("panics", "Panics."), |work, _| async move {
        assert!(work.input.is_null(), "the host's code panics");
        Ok(NodeOutput::new(1))
    });
    engine.register_node(panics).unwrap();
    let again = FunctionNode::new(NodeTypeInfo::host("again", "Runs another workflow."), |work, context| async move {
        let me = context.session()?;
        let done = me.run("inner", work.input).await?;
        Ok(NodeOutput::new(done.output))
    });
    engine.register_node(again).unwrap();
    put(&me, json!({"name": "inner", "nodes": [{"id": "w", "type": "work", "config": {"give": "inside"}}]})).await;
    let definition = json!({"name": "calls", "nodes": [
        {"id": "s", "type": "start"}, {"id": "p", "type": "panics", "on_error": "continue"}, {"id": "r", "type": "again"},
        {"id": "e", "type": "end", "config": {"output": {"p": "{{ nodes.p.error.code }}", "r": "{{ nodes.r.output }}"}}}],
        "edges": edges("s>p s>r p>e r>e")});
    let done = run(&me, definition, json!({})).await;
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    assert_eq!(done.output["r"], json!("inside"));
    assert!(["panic", "tool_failed"].contains(&done.output["p"].as_str().unwrap()), "{}", done.output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w50_an_engine_that_is_dropped_leaves_no_task_and_a_whole_journal() {
    let folder = Folder::new();
    let alive = Arc::new(Mutex::new(Vec::new()));
    let id = {
        let (engine, me, _, _) = on(folder.path()).await;
        let held = Arc::clone(&alive);
        let node = FunctionNode::new(
            NodeTypeInfo::host("held", "Never ends.").with_effect(Effect::Idempotent),
            move |_, _| {
                let token = Arc::new(());
                held.lock().unwrap().push(Arc::downgrade(&token));
                async move {
                    std::future::pending::<()>().await;
                    drop(token);
                    Ok(NodeOutput::new(1))
                }
            },
        );
        engine.register_node(node).unwrap();
        let definition = json!({"name": "held", "nodes": [{"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": [1, 2, 3]}},
            {"id": "h", "type": "held", "parent": "m"}], "edges": edges("s>m")});
        let handle = start(&me, definition, json!({})).await;
        while alive.lock().unwrap().len() < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        cut(engine).await;
        handle.id()
    };
    assert!(alive.lock().unwrap().iter().all(|task| task.upgrade().is_none()), "no task is left");
    let (engine, me, _, _) = on(folder.path()).await;
    let left = me.executions().get(id).await.unwrap();
    assert!(left.interrupted && !left.status.is_final(), "{left:?}");
    let done = FunctionNode::new(NodeTypeInfo::host("held", "Ends.").with_effect(Effect::Idempotent), |_, _| async {
        Ok(NodeOutput::new(1))
    });
    engine.register_node(done).unwrap();
    engine.recover().await.unwrap();
    assert_eq!(me.executions().wait(id).await.unwrap().output, json!([1, 1, 1]));
    let events = journal(&me, id).await;
    assert!((1..).zip(&events).all(|(place, event)| event.seq == place));
}

/// Runs one engine's `recover` against the other's, over and over; gives who got each execution.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w51_of_two_that_resume_one_execution_one_wins() {
    for _ in 0..8 {
        let folder = Folder::new();
        let (engine, me, _, gates) = on(folder.path()).await;
        let definition = json!({"name": "one", "nodes": [
            {"id": "s", "type": "start"}, {"id": "g", "type": "gate", "config": {"name": "g"}, "effect": "idempotent"},
            {"id": "m", "type": "map", "config": {"items": [1, 2, 3]}}, {"id": "w", "type": "work", "parent": "m", "effect": "idempotent"}],
            "edges": edges("s>g g>m")});
        put(&me, definition).await;
        let mut ids: Vec<ExecutionId> = Vec::new();
        for _ in 0..3 {
            ids.push(me.start("one", json!({})).await.unwrap().id());
        }
        gates.reached("g", 3).await;
        cut(engine).await;
        let (one, first, seen_one, gates_one) = on(folder.path()).await;
        let (two, _, seen_two, gates_two) = on(folder.path()).await;
        let (a, b) = tokio::join!(one.recover(), two.recover());
        let mut taken: Vec<ExecutionId> = a.unwrap().into_iter().chain(b.unwrap()).collect();
        taken.sort_unstable();
        assert_eq!(taken, ids, "each by one of the two");
        gates_one.open("g");
        gates_two.open("g");
        for id in ids {
            let done = first.executions().wait(id).await.unwrap();
            assert_eq!(done.status, ExecutionStatus::Completed);
            let resumed = journal(&first, id).await;
            let resumed =
                resumed.iter().filter(|event| matches!(event.data, EventData::ExecutionResumed { .. })).count();
            assert_eq!(resumed, 1);
        }
        assert_eq!(gates_one.count("g") + gates_two.count("g"), 3);
        assert_eq!(seen_one.lock().unwrap().len() + seen_two.lock().unwrap().len(), 9);
    }
}
