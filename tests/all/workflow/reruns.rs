//! Reruns: what a new execution takes over from the one that it runs again.

use blitz::{ExecutionStatus, ListOptions, Rerun};
use serde_json::{Value, json};

use super::stage::{edges, end, engine, journal, put, run};

/// Writes the variables `log` and `n` in a map, a loop and a parallel, and reads them at its end.
fn writer() -> Value {
    json!({"name": "writer", "vars": {"log": {"default": [], "merge": "append"}, "n": {"default": 0, "merge": "add"}, "r": {"default": "none"}},
        "nodes": [
            {"id": "s", "type": "start"},
            {"id": "top", "type": "set", "config": {"vars": {"log": "top"}}},
            {"id": "m", "type": "map", "config": {"items": [1, 2, 3], "fail": "null"}},
            {"id": "w", "type": "work", "parent": "m", "config": {"give": "{{ item }}"}},
            {"id": "set", "type": "set", "parent": "m", "config": {"vars": {"log": "m{{ item }}", "n": 1}}},
            {"id": "odd", "type": "work", "parent": "m", "config": {"fail": "{{ 'tool_failed' if item == 2 else none }}"}},
            {"id": "l", "type": "loop", "config": {"max_iterations": 2, "carry": {"r": "{{ loop.count }}"}}},
            {"id": "k", "type": "set", "parent": "l", "config": {"vars": {"log": "l{{ loop.count }}"}}},
            {"id": "im", "type": "map", "parent": "l", "config": {"items": ["x"]}},
            {"id": "is", "type": "set", "parent": "im", "config": {"vars": {"n": 10}}},
            {"id": "p", "type": "parallel"},
            {"id": "q", "type": "set", "parent": "p", "config": {"vars": {"log": "p"}}},
            {"id": "last", "type": "work"},
            {"id": "e", "type": "end", "config": {"output": {"log": "{{ vars.log }}", "n": "{{ vars.n }}", "r": "{{ vars.r }}"}}}],
        "edges": edges("s>top top>m m>l l>p p>last last>e w>set set>odd k>im")})
}

#[tokio::test]
async fn w38_a_rerun_takes_over_what_its_containers_wrote_to_the_variables() {
    let (_engine, me, seen) = engine().await;
    let done = run(&me, writer(), json!({})).await;
    let expected = json!({"log": ["top", "m1", "m3", "l0", "l1", "p"], "n": 22, "r": 1});
    assert_eq!(done.output, expected, "{:?}", done.error);
    seen.lock().unwrap().clear();
    // A rerun of a rerun too: its own journal holds what was written.
    let mut of = done.execution_id;
    for _ in 0..2 {
        let again = end(&me.executions().rerun(of, Rerun::from("last")).await.unwrap()).await;
        assert_eq!((again.status, &again.output), (ExecutionStatus::Completed, &expected), "{:?}", again.error);
        of = again.execution_id;
    }
    assert_eq!(seen.lock().unwrap().len(), 2, "only `last` ran, once each time");
    // Who reads the events sees the variables as they are.
    let mut log = Value::Null;
    for event in journal(&me, of).await {
        if let blitz::EventData::VarSet { name, value, .. } = event.data
            && name == "log"
        {
            log = value;
        }
    }
    assert_eq!(log, expected["log"]);
    // From a container on, it writes again, and nothing twice.
    let again = end(&me.executions().rerun(of, Rerun::from("l")).await.unwrap()).await;
    assert_eq!(again.output, expected);
}

#[tokio::test]
async fn w38_a_rerun_counts_what_a_redrive_wrote_as_it_ended() {
    let (engine, me, _) = crate::support::engine::scripted(vec![]).await;
    let broken = super::stand::Broken::default();
    super::stand::register(&engine, &broken);
    broken.lock().unwrap().push("two".to_owned());
    put(
        &me,
        json!({"name": "mended", "vars": {"log": {"default": [], "merge": "append"}}, "nodes": [
            {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": ["one", "two"], "concurrency": 1}},
            {"id": "set", "type": "set", "parent": "m", "config": {"vars": {"log": "{{ item }}"}}},
            {"id": "w", "type": "work", "parent": "m", "config": {"breaks": "{{ item }}"}},
            {"id": "e", "type": "end", "config": {"output": "{{ vars.log }}"}}],
            "edges": edges("s>m m>e set>w")}),
    )
    .await;
    let failed = me.run("mended", json!({})).await.unwrap();
    assert_eq!(failed.status, ExecutionStatus::Failed);
    broken.lock().unwrap().clear();
    let mended = end(&me.executions().redrive(failed.execution_id).await.unwrap()).await;
    assert_eq!(mended.output, json!(["one", "two"]), "{:?}", mended.error);
    let again = end(&me.executions().rerun(failed.execution_id, Rerun::from("e")).await.unwrap()).await;
    assert_eq!(again.output, json!(["one", "two"]), "{:?}", again.error);
}

#[tokio::test]
async fn w38_a_rerun_reads_the_trigger_that_started_the_first() {
    let (_engine, me, _) = engine().await;
    put(
        &me,
        json!({"name": "hook", "triggers": [{"type": "webhook", "name": "orders"}], "nodes": [
            {"id": "s", "type": "start"},
            {"id": "e", "type": "end", "config": {"output": "{{ trigger.body.id }}"}}], "edges": edges("s>e")}),
    )
    .await;
    me.workflows().publish("hook").await.unwrap();
    let trigger = me.triggers().enable("hook").await.unwrap()[0].id;
    let fired = me.triggers().fire("orders", json!({"id": 7}), None).await.unwrap();
    let first = me.executions().wait(fired[0].execution_id.unwrap()).await.unwrap();
    assert_eq!(first.output, json!(7), "{:?}", first.error);
    for rerun in [Rerun::all(), Rerun::from("e")] {
        let again = end(&me.executions().rerun(first.execution_id, rerun).await.unwrap()).await;
        assert_eq!(again.output, json!(7), "{:?}", again.error);
    }
    assert_eq!(
        me.triggers().firings(trigger, ListOptions::default()).await.unwrap().items.len(),
        1,
        "a rerun is no firing"
    );
}
