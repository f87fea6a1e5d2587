//! Redrive: the same execution, only what failed or was cancelled runs again.

use blitz::provider::{Reply, Scripted};
use blitz::{
    Answer, Engine, ErrorCode, EventData, ExecutionFilter, ExecutionHandle, ExecutionStatus, ListOptions, NewKey,
    NewUser, NodeStatus, Permission, Role, RunOptions, Scope, Session,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::stand::{self, Broken, Seen, edges, publish};
use crate::support::engine::scripted;
use crate::support::folder::Folder;

async fn engine(broken: &[&str]) -> (Engine, Session, Seen, Broken) {
    let (engine, me, _) = scripted(vec![]).await;
    let names = Broken::default();
    names.lock().unwrap().extend(broken.iter().map(|name| (*name).to_owned()));
    let seen = stand::register(&engine, &names);
    (engine, me, seen, names)
}

/// Which nodes ran, by what they give or break by, in order; forgets them.
fn ran(seen: &Seen) -> Vec<Value> {
    let named = |work: &Value| match &work["config"]["breaks"] {
        Value::Null => work["config"]["give"].clone(),
        name => name.clone(),
    };
    std::mem::take(&mut *seen.lock().unwrap()).iter().map(named).collect()
}

async fn redrive(me: &Session, id: blitz::ExecutionId) -> blitz::Outcome {
    let handle = me.executions().redrive(id).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    tokio::time::timeout(std::time::Duration::from_secs(30), handle.wait()).await.expect("ends").unwrap()
}

/// Waits until it waits, behind a place; gives where that was.
async fn until_it_waits(handle: &ExecutionHandle, after: i64) -> i64 {
    let mut events = handle.events_after(after);
    while let Some(event) = events.next().await {
        let event = event.unwrap();
        if matches!(event.data, EventData::ExecutionWaiting { .. }) {
            return event.seq;
        }
    }
    panic!("it never waits");
}

#[tokio::test]
async fn w38_a_redrive_runs_only_what_failed_in_the_same_execution() {
    let (_engine, me, seen, broken) = engine(&["b"]).await;
    publish(
        &me,
        json!({"name": "parts", "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": "A"}},
            {"id": "b", "type": "work", "config": {"breaks": "b", "give": "B"}}, {"id": "c", "type": "work", "config": {"give": "C"}},
            {"id": "e", "type": "end", "config": {"output": ["{{ nodes.a.output }}", "{{ nodes.b.output }}", "{{ nodes.c.output }}"]}}],
            "edges": edges("s>a a>b b>c c>e")}),
    )
    .await;
    let failed = stand::run(&me, "parts", json!({})).await;
    assert_eq!(failed.status, ExecutionStatus::Failed);
    assert_eq!(ran(&seen), [json!("A"), json!("b")]);
    // It fails again, and then it does not.
    let again = redrive(&me, failed.execution_id).await;
    assert_eq!((again.status, again.execution_id), (ExecutionStatus::Failed, failed.execution_id));
    assert_eq!(ran(&seen), [json!("b")]);
    broken.lock().unwrap().clear();
    let done = redrive(&me, failed.execution_id).await;
    assert_eq!((done.status, done.output), (ExecutionStatus::Completed, json!(["A", "B", "C"])), "{:?}", done.error);
    assert_eq!(ran(&seen), [json!("b"), json!("C")]);
    let nodes = me.executions().nodes(failed.execution_id, "").await.unwrap();
    let b = nodes.iter().find(|node| node.node == "b").unwrap();
    assert_eq!((b.status, b.attempts, b.error.is_none()), (NodeStatus::Completed, 3, true));
    // When each attempt ran, and how it ended.
    let timeline = me.executions().timeline(failed.execution_id, blitz::ListOptions::default()).await.unwrap().items;
    let b = timeline.iter().find(|entry| entry.name == "b").unwrap();
    let attempts: Vec<_> = b.attempts.iter().map(|attempt| (attempt.attempt, attempt.error)).collect();
    let broke = Some(ErrorCode::ToolFailed);
    assert_eq!((b.status, attempts), (NodeStatus::Completed, vec![(1, broke), (2, broke), (3, None)]));
    assert!(b.started_at < b.finished_at && b.attempts.is_sorted_by_key(|attempt| attempt.started_at));
    let execution = me.executions().get(failed.execution_id).await.unwrap();
    assert!(execution.workflow_id.is_some() && execution.agent_id.is_none());
    // One stream without a gap, and its last event is the last end.
    let events: Vec<_> = me.executions().events(failed.execution_id, 0).map(Result::unwrap).collect().await;
    let ends = events.iter().filter(|event| matches!(event.data, EventData::ExecutionFinished(_))).count();
    assert_eq!(ends, 3);
    assert!(
        matches!(&events.last().unwrap().data, EventData::ExecutionFinished(end) if end.status == ExecutionStatus::Completed)
    );
    assert!(events.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    let done = me.executions().redrive(failed.execution_id).await.unwrap_err();
    assert_eq!(done.code(), ErrorCode::Conflict);
}

#[tokio::test]
async fn w24_a_redrive_of_a_map_runs_its_failed_items_alone() {
    let (_engine, me, seen, broken) = engine(&["x2", "late"]).await;
    publish(
        &me,
        json!({"name": "items", "nodes": [
            {"id": "s", "type": "start"},
            {"id": "drop", "type": "map", "config": {"items": "{{ [1, 2] }}", "fail": "null", "concurrency": 1}},
            {"id": "d", "type": "work", "parent": "drop", "config": {"breaks": "x{{ item }}", "give": "{{ item }}"}},
            {"id": "m", "type": "map", "config": {"items": "{{ inputs.items }}", "concurrency": 1}},
            {"id": "p", "type": "work", "parent": "m", "config": {"give": "p{{ item }}"}},
            {"id": "w", "type": "work", "parent": "m", "config": {"breaks": "x{{ item }}", "give": "{{ item * 10 }}"}},
            {"id": "late", "type": "work", "config": {"breaks": "late", "give": "z"}},
            {"id": "e", "type": "end", "config": {"output": ["{{ nodes.drop.output }}", "{{ nodes.m.output }}"]}}],
            "edges": edges("s>drop drop>m p>w m>late late>e")}),
    )
    .await;
    let failed = stand::run(&me, "items", json!({"items": [1, 2, 3]})).await;
    assert_eq!(failed.status, ExecutionStatus::Failed);
    assert_eq!(ran(&seen), [json!("x1"), json!("x2"), json!("p1"), json!("x1"), json!("p2"), json!("x2")]);
    broken.lock().unwrap().retain(|name| name != "x2");
    let again = redrive(&me, failed.execution_id).await;
    assert_eq!(again.status, ExecutionStatus::Failed);
    // The handled failure of the first map stays handled; of the second only what had not ended runs.
    assert_eq!(ran(&seen), [json!("x2"), json!("p3"), json!("x3"), json!("late")]);
    broken.lock().unwrap().clear();
    let done = redrive(&me, failed.execution_id).await;
    assert_eq!(done.output, json!([[1, null], [10, 20, 30]]), "{:?}", done.error);
    assert_eq!(ran(&seen), [json!("late")]);
    let nodes = me.executions().nodes(failed.execution_id, "").await.unwrap();
    let items = nodes.iter().find(|node| node.node == "m").unwrap().items.unwrap();
    assert_eq!((items.total, items.finished, items.failed), (3, 3, 0));
}

#[tokio::test]
async fn w33_a_cancelled_execution_is_redriven_and_asks_as_before() {
    let dir = Folder::new();
    let path = dir.path().join("blitz.db");
    let open = || async {
        let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
        let seen = stand::register(&engine, &Broken::default());
        let me = engine.root("test");
        (engine, me, seen)
    };
    let (engine, me, seen) = open().await;
    publish(
        &me,
        json!({"name": "ask", "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": "A"}},
            {"id": "ok", "type": "approval", "config": {"message": "Go?"}}, {"id": "b", "type": "work", "config": {"give": "B"}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.b.output }}"}}],
            "edges": edges("s>a a>ok ok.approved>b b>e")}),
    )
    .await;
    let handle = me.start("ask", json!({})).await.unwrap();
    until_it_waits(&handle, 0).await;
    handle.cancel().await.unwrap();
    assert_eq!(handle.wait().await.unwrap().status, ExecutionStatus::Cancelled);
    let last = me
        .executions()
        .events(handle.id(), 0)
        .map(|event| event.unwrap().seq)
        .fold(0, |_, seq| async move { seq })
        .await;
    me.executions().redrive(handle.id()).await.unwrap();
    let last = until_it_waits(&handle, last).await;
    let id = handle.id();
    assert_eq!(ran(&seen), [json!("A")]);
    // The second life survives its process too.
    engine.close().await.unwrap();
    let (engine, me, seen) = open().await;
    assert_eq!(engine.recover().await.unwrap(), [id]);
    until_it_waits(&me.executions().handle(id), last).await;
    me.executions().approve(id, "ok", Answer::approve()).await.unwrap();
    assert_eq!(me.executions().wait(id).await.unwrap().output, json!("B"));
    assert_eq!(ran(&seen), [json!("B")]);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn w30_a_redrive_goes_on_inside_of_a_subflow() {
    let (_engine, me, seen, broken) = engine(&["b"]).await;
    publish(
        &me,
        json!({"name": "inner", "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"give": "A"}},
            {"id": "b", "type": "work", "config": {"breaks": "b", "give": "B"}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.b.output }}"}}],
            "edges": edges("s>a a>b b>e")}),
    )
    .await;
    publish(
        &me,
        json!({"name": "outer", "nodes": [
            {"id": "s", "type": "start"}, {"id": "f", "type": "subflow", "config": {"workflow": "inner"}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.f.output }}"}}],
            "edges": edges("s>f f>e")}),
    )
    .await;
    let failed = stand::run(&me, "outer", json!({})).await;
    assert_eq!(failed.status, ExecutionStatus::Failed);
    ran(&seen);
    broken.lock().unwrap().clear();
    let done = redrive(&me, failed.execution_id).await;
    assert_eq!((done.status, done.output), (ExecutionStatus::Completed, json!("B")), "{:?}", done.error);
    assert_eq!(ran(&seen), [json!("b")]);
}

#[tokio::test]
async fn w33_what_was_under_way_when_nobody_ran_it_is_done_by_a_redrive() {
    let dir = Folder::new();
    let path = dir.path().join("blitz.db");
    let open = |script: Scripted| {
        let path = path.to_str().unwrap().to_owned();
        async move {
            let engine = Engine::builder(path).with_provider(script).open().await.unwrap();
            let me = engine.root("test");
            (engine, me)
        }
    };
    let script = Scripted::new([Reply::text("never").with_delay(std::time::Duration::from_secs(3600))]);
    let (engine, me) = open(script.clone()).await;
    me.models().put(crate::support::engine::priced("m")).await.unwrap();
    publish(
        &me,
        json!({"name": "asks", "nodes": [
            {"id": "s", "type": "start"}, {"id": "q", "type": "llm", "config": {"model": "m", "prompt": "Say it."}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.q.output }}"}}], "edges": edges("s>q q>e")}),
    )
    .await;
    let id = me.start("asks", json!({})).await.unwrap().id();
    while script.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    engine.close_within(std::time::Duration::ZERO).await.unwrap();
    let (engine, me) = open(Scripted::new([Reply::text("said")])).await;
    me.executions().cancel(id).await.unwrap();
    assert_eq!(me.executions().get(id).await.unwrap().status, ExecutionStatus::Cancelled);
    let done = redrive(&me, id).await;
    assert_eq!((done.status, done.output), (ExecutionStatus::Completed, json!("said")), "{:?}", done.error);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_redrive_is_for_who_may_run_the_workflow() {
    let (engine, me, _, _) = engine(&["a"]).await;
    me.agents().put(crate::support::engine::agent("helper", &[])).await.unwrap();
    let agent = stand::run(&me, "helper", json!("x")).await;
    let refused = me.executions().redrive(agent.execution_id).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidInput, "{}", refused.chain());
    publish(
        &me,
        json!({"name": "mine", "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"breaks": "a"}}], "edges": edges("s>a")}),
    )
    .await;
    let failed = stand::run(&me, "mine", json!({})).await;
    me.users().create(NewUser::new("ana@example.com", "sk-canary long passphrase")).await.unwrap();
    let ana = engine.login("ana@example.com", "sk-canary long passphrase").await.unwrap();
    assert_eq!(ana.executions().redrive(failed.execution_id).await.unwrap_err().code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn t22_a_key_redrives_what_it_began_itself_and_nothing_of_its_users() {
    let (engine, me, _, broken) = engine(&["a"]).await;
    me.users()
        .create(NewUser::new("ana@example.com", "sk-canary long passphrase").with_role(Role::Admin))
        .await
        .unwrap();
    let ana = engine.login("ana@example.com", "sk-canary long passphrase").await.unwrap();
    publish(
        &ana,
        json!({"name": "hers", "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"breaks": "a", "give": "A"}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.a.output }}"}}], "edges": edges("s>a a>e")}),
    )
    .await;
    let scopes = [Permission::WorkflowsRun, Permission::ExecutionsRead].map(Scope::own);
    let key = ana.keys().create(NewKey::new("narrow").with_scopes(scopes)).await.unwrap();
    let by_key = engine.api_key(&key.key).await.unwrap();
    let whole = stand::run(&ana, "hers", json!({})).await;
    let narrow = stand::run(&by_key, "hers", json!({})).await;
    broken.lock().unwrap().clear();
    let refused = by_key.executions().redrive(whole.execution_id).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PermissionDenied, "{}", refused.chain());
    assert_eq!(redrive(&by_key, narrow.execution_id).await.status, ExecutionStatus::Completed);
    assert_eq!(redrive(&ana, whole.execution_id).await.status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn t14_a_run_with_a_key_of_its_callers_outlives_the_caller() {
    let (_engine, me, seen, _) = engine(&[]).await;
    publish(
        &me,
        json!({"name": "ask", "nodes": [
            {"id": "s", "type": "start"}, {"id": "ok", "type": "approval", "config": {"message": "Go?"}},
            {"id": "b", "type": "work", "config": {"give": "B"}},
            {"id": "e", "type": "end", "config": {"output": "{{ nodes.b.output }}"}}],
            "edges": edges("s>ok ok.approved>b b>e")}),
    )
    .await;
    let keyed = |key: &str| RunOptions::default().with_client_key(key);
    let begun = async |already: usize| loop {
        let all = me.executions().list(ExecutionFilter::default(), ListOptions::default()).await.unwrap().items;
        if all.len() > already {
            return me.executions().handle(all.iter().map(|execution| execution.id).max().unwrap());
        }
        tokio::task::yield_now().await;
    };
    for (already, key) in ["run", "stream"].into_iter().enumerate() {
        // Its caller waits until it asks, and goes away.
        let handle = if key == "run" {
            let agents = me.agents();
            let run = agents.run_with("ask", json!({}), keyed(key));
            tokio::select! {
                done = run => panic!("{done:?}"),
                handle = async { let handle = begun(already).await; until_it_waits(&handle, 0).await; handle } => handle,
            }
        } else {
            let events = me.agents().stream_with("ask", json!({}), keyed(key)).await.unwrap();
            let handle = begun(already).await;
            until_it_waits(&handle, 0).await;
            drop(events);
            handle
        };
        handle.approve("ok", Answer::approve()).await.unwrap();
        let again = me.agents().run_with("ask", json!({}), keyed(key)).await.unwrap();
        assert_eq!((again.status, again.execution_id), (ExecutionStatus::Completed, handle.id()));
        assert_eq!(ran(&seen), [json!("B")]);
    }
}

#[tokio::test]
async fn a_node_whose_child_goes_on_by_a_redrive_is_seen_to_run() {
    let (_engine, me, _, broken) = engine(&["b"]).await;
    publish(
        &me,
        json!({"name": "inner", "nodes": [
            {"id": "b", "type": "work", "config": {"breaks": "b", "give": "B"}},
            {"id": "q", "type": "approval", "config": {"message": "?"}}], "edges": edges("b>q")}),
    )
    .await;
    publish(
        &me,
        json!({"name": "outer", "nodes": [
            {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": [1]}},
            {"id": "g", "type": "subflow", "parent": "m", "config": {"workflow": "inner"}},
            {"id": "f", "type": "subflow", "config": {"workflow": "inner"}}], "edges": edges("s>m s>f")}),
    )
    .await;
    let failed = stand::run(&me, "outer", json!({})).await;
    assert_eq!(failed.status, ExecutionStatus::Failed);
    let id = failed.execution_id;
    let before = me.executions().nodes(id, "").await.unwrap().remove(2);
    broken.lock().unwrap().clear();
    let events = me.executions().redrive(id).await.unwrap();
    until_it_waits(&events, 0).await;
    for (path, place) in [("", 2), ("m/0", 0)] {
        let node = me.executions().nodes(id, path).await.unwrap().remove(place);
        assert_eq!((node.node.as_str(), node.status), (if path.is_empty() { "f" } else { "g" }, NodeStatus::Running));
        assert!(node.child_id.is_some() && node.started_at.is_some() && node.attempts == 1, "{node:?}");
    }
    let after = me.executions().nodes(id, "").await.unwrap().remove(2);
    assert_eq!(after.child_id, before.child_id);
    events.cancel().await.unwrap();
    assert_eq!(events.wait().await.unwrap().status, ExecutionStatus::Cancelled);
    assert_eq!(me.executions().nodes(id, "").await.unwrap().remove(2).status, NodeStatus::Cancelled);
}
