//! A process that dies behind each record of a journal in turn: the outcome is always the same.

use std::collections::{BTreeMap, BTreeSet};

use blitz::Message;

use super::kills::{Worker, say, settle};
use super::worker::{Role, World};
use crate::support::folder::Folder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_that_dies_behind_any_of_its_records_ends_as_if_it_had_not() {
    let folder = Folder::new();
    let world = World::new(folder.path(), 1);
    world.found().await;
    // The first one lives, and shows how many records there are.
    let whole = run(&world, i64::MAX);
    let (engine, me) = world.open().await;
    let (whole, lived) = whole.into_iter().next().expect("it began");
    let expected = me.executions().outcome(whole).await.expect("it has ended");
    let mut events = me.executions().events(whole, 0);
    let mut records = 0;
    while let Some(event) = futures_util::StreamExt::next(&mut events).await {
        records = event.expect("an event").seq;
    }
    engine.close().await.expect("closes");

    let mut acknowledged = BTreeMap::new();
    for seq in 1..records {
        acknowledged.extend(run(&world, seq));
    }
    let verdict = settle(&world, &acknowledged).await;
    say(format_args!("died behind each of {} records: {verdict:?}", records - 1));
    assert!(verdict.begun_again > 0);

    let (engine, me) = world.open().await;
    let mut cut = BTreeSet::new();
    for (id, label) in &acknowledged {
        let outcome = me.executions().outcome(*id).await.expect("it has ended");
        assert_eq!((&outcome.status, &outcome.output), (&expected.status, &expected.output));
        assert_eq!(said(&outcome.messages, label), said(&expected.messages, &lived));
        assert_eq!(outcome.steps, expected.steps);
        cut.insert(outcome.usage.requests);
    }
    assert!(cut.contains(&expected.usage.requests), "some died between two model calls");
    engine.close().await.expect("closes");
}

/// Runs a worker that dies behind a record, and gives what it had begun.
fn run(world: &World, seq: i64) -> BTreeMap<blitz::ExecutionId, String> {
    Worker::start(Role::DieBehind(seq), world.folder(), seq.unsigned_abs()).heard()
}

/// All that was said, without the label that the execution was given.
fn said(messages: &[Message], label: &str) -> Vec<String> {
    messages.iter().map(|message| serde_json::to_string(message).expect("is JSON").replace(label, "it")).collect()
}
