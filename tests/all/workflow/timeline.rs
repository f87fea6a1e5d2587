//! What the timeline of an execution tells of its parts: what each cost, used, and when it ran.

use blitz::provider::{Reply, Scripted};
use blitz::{Engine, Error, ErrorCode, ExecutionStatus, ModelRequest, NewAgent, NodeStatus, Usage};
use serde_json::json;

use super::stage::{Gates, edges, end, put, run, start, timeline_tells, until, with_work};
use crate::support::engine::{priced, with_provider};
use crate::support::folder::Folder;

/// Answers with as many tokens as the question is long; an agent that has a tool or another agent calls it first.
fn model() -> Scripted {
    Scripted::from_fn(|request: &ModelRequest| {
        let asked = request.messages.last().map(|message| message.text_content()).unwrap_or_default();
        let first = request.messages.iter().all(|message| message.role != blitz::MessageRole::Tool);
        let reply = match request.tools.first() {
            Some(tool) if first => Reply::tool_call(&tool.name, json!({"input": "x"})),
            _ if asked == "fails" => Reply::error(Error::new(ErrorCode::Refused, "no")),
            _ => Reply::text("said"),
        };
        reply.with_usage(Usage::new(10 + asked.len() as u64, 7))
    })
}

#[tokio::test]
async fn nested_nodes_tell_what_they_cost_and_each_container_what_is_in_it() {
    let (engine, me, _) = with_provider(model()).await;
    with_work(&engine);
    me.agents().put(NewAgent::new("inner", "m").instructions("Help.")).await.unwrap();
    me.agents().put(NewAgent::new("outer", "m").instructions("Help.").agent("inner")).await.unwrap();
    put(
        &me,
        json!({"name": "sub", "nodes": [{"id": "m", "type": "map", "config": {"items": [1, 2]}},
        {"id": "q", "type": "llm", "parent": "m", "config": {"model": "m", "prompt": "{{ item }}"}}], "edges": []}),
    )
    .await;
    let definition = json!({"name": "nested", "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": [1, 2, 3], "concurrency": 2}},
        {"id": "l", "type": "loop", "parent": "m", "config": {"max_iterations": 2}},
        {"id": "p", "type": "parallel", "parent": "l"},
        {"id": "q", "type": "llm", "parent": "p", "config": {"model": "m", "prompt": "a question of {{ execution.id }}"}},
        {"id": "f", "type": "llm", "parent": "p", "config": {"model": "m", "prompt": "fails"}, "on_error": "continue",
            "fallback": [{"prompt": "fails"}, {"prompt": "again"}]},
        {"id": "a", "type": "agent", "parent": "p", "config": {"agent": "outer"}, "input": {"x": 1}},
        {"id": "w", "type": "subflow", "parent": "m", "config": {"workflow": "sub"}},
        {"id": "t", "type": "work", "config": {"give": 1}}, {"id": "e", "type": "end"}],
        "edges": edges("s>m l>w m>t t>e")});
    let done = run(&me, definition, json!({})).await;
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    let all = timeline_tells(&me, done.execution_id).await;
    let of = |path: &str, name: &str| {
        let found = all.iter().find(|e| e.execution_id == done.execution_id && e.path == path && e.name == name);
        found.unwrap_or_else(|| panic!("{path} {name}: {all:#?}"))
    };
    // Of three items with two rounds each: a question, two that fail and one that does not, two agents; and a subflow of two.
    let requests = |entry: &blitz::TimelineEntry| entry.usage.requests;
    assert!(of("", "m").cost == done.cost && requests(of("", "m")) == requests(of("m/0", "l")) * 3 + 3 * 2);
    assert_eq!(of("", "t").cost, Some(blitz::Money::ZERO));
}

#[tokio::test]
async fn what_goes_on_in_another_process_tells_the_whole() {
    let folder = Folder::new();
    let path = folder.path().join("a.db").to_str().unwrap().to_owned();
    let open = || async {
        let engine = Engine::builder(&path).with_provider(model()).open().await.unwrap();
        let me = engine.root("test");
        me.models().put(priced("m")).await.unwrap();
        let gates = Gates::new(&engine);
        (engine, me, gates)
    };
    let (engine, me, gates) = open().await;
    let definition = json!({"name": "kept", "nodes": [
        {"id": "s", "type": "start"}, {"id": "l", "type": "loop", "config": {"max_iterations": 2}},
        {"id": "q", "type": "llm", "parent": "l", "config": {"model": "m", "prompt": "before"}},
        {"id": "g", "type": "gate", "parent": "l", "effect": "idempotent", "config": {"name": "g{{ loop.count }}"}},
        {"id": "r", "type": "llm", "parent": "l", "config": {"model": "m", "prompt": "behind"}}, {"id": "e", "type": "end"}],
        "edges": edges("s>l q>g g>r l>e")});
    let id = start(&me, definition, json!({})).await.id();
    let reached = |gates: Gates| async move {
        tokio::select! {
            () = gates.reached("g0", 1) => "g0",
            () = gates.reached("g1", 1) => "g1",
        }
    };
    let first = reached(gates).await;
    engine.close_within(std::time::Duration::ZERO).await.unwrap();

    let (engine, me, gates) = open().await;
    ["g0", "g1", "g2"].iter().for_each(|door| gates.open(door));
    assert_eq!(engine.recover().await.unwrap(), [id]);
    let done = end(&me.executions().handle(id)).await;
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    until(&me, id, |execution| execution.status == ExecutionStatus::Completed).await;
    let all = timeline_tells(&me, id).await;
    let gate = all.iter().find(|entry| entry.name == "g").unwrap();
    let ends: Vec<_> = gate.attempts.iter().map(|attempt| (attempt.error, attempt.finished_at.is_some())).collect();
    assert_eq!(ends, [(Some(ErrorCode::Interrupted), false), (None, true)], "{first}");
    let loops = all.iter().find(|entry| entry.name == "l").unwrap();
    assert_eq!((loops.cost, loops.usage.requests, loops.status), (done.cost, 4, NodeStatus::Completed));
    engine.close().await.unwrap();
}
