//! Processes that are killed at random instants, over and over: nothing is lost, repeated or paid twice.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use blitz::ExecutionId;

use super::verdict::{Verdict, judge};
use super::worker::{Chance, Role, World, start};
use crate::support::folder::Folder;

/// How many processes are killed: so many in a short run, so many in a long one.
fn kills(short: u64, long: u64) -> u64 {
    let count = std::env::var("BLITZ_KILLS").ok().and_then(|count| count.parse().ok());
    count.unwrap_or(if std::env::var_os("BLITZ_TORTURE").is_some() { long } else { short })
}

/// The seed of a campaign, printed so that it can be given again.
fn seed() -> u64 {
    let seed = std::env::var("BLITZ_SEED").ok().and_then(|seed| seed.parse().ok());
    seed.unwrap_or_else(|| RandomState::new().hash_one(0))
}

/// Tells what a campaign does and has seen, also where nobody asked for the output of tests.
pub(super) fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A worker and what it has said so far; it ends with the test, however that ends.
pub(super) struct Worker {
    child: Child,
    ready: Receiver<()>,
    began: Cell<bool>,
    reader: Option<JoinHandle<BTreeMap<ExecutionId, String>>>,
}

impl Worker {
    pub(super) fn start(role: Role, folder: &Path, seed: u64) -> Self {
        let mut child = start(role, folder, seed);
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let (tell, ready) = channel();
        let reader = std::thread::spawn(move || {
            let mut started = BTreeMap::new();
            for line in out.lines().map_while(Result::ok) {
                match line.split_whitespace().collect::<Vec<_>>()[..] {
                    ["ready"] => drop(tell.send(())),
                    ["started", label, id] => {
                        drop(started.insert(ExecutionId(id.parse().expect("an id")), label.to_owned()));
                    }
                    _ => {}
                }
            }
            started
        });
        Self { child, ready, began: Cell::new(false), reader: Some(reader) }
    }

    /// Waits until the worker begins its work.
    pub(super) fn is_ready(&self) {
        if !self.began.replace(true) {
            self.says_again();
        }
    }

    /// Waits until the worker says that it is ready, once more.
    pub(super) fn says_again(&self) {
        self.ready.recv_timeout(Duration::from_secs(60)).expect("the worker says so");
    }

    /// Kills it without a word, and gives what it had acknowledged.
    pub(super) fn kill(mut self) -> BTreeMap<ExecutionId, String> {
        let ended = self.child.try_wait().expect("its state");
        assert!(ended.is_none(), "the worker ended by itself: {ended:?}");
        self.child.kill().expect("it is killed");
        self.heard()
    }

    /// Waits for its own end, and gives what it had acknowledged.
    pub(super) fn heard(&mut self) -> BTreeMap<ExecutionId, String> {
        self.child.wait().expect("it has ended");
        self.reader.take().expect("heard once").join().expect("it was heard")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Brings what is left to its end and judges it all.
pub(super) async fn settle(world: &World, acknowledged: &BTreeMap<ExecutionId, String>) -> Verdict {
    let (engine, me) = world.open().await;
    world.finish(&engine, &me).await;
    let verdict = judge(world, &me, acknowledged).await;
    engine.close().await.expect("closes");
    verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_again_and_again_loses_repeats_and_pays_nothing_twice() {
    let (kills, seed) = (kills(12, 100), seed());
    say(format_args!("{kills} kills, BLITZ_SEED={seed}"));
    let chance = Chance::new(seed);
    let folder = Folder::new();
    let world = World::new(folder.path(), seed);
    world.found().await;
    let mut acknowledged = BTreeMap::new();
    for kill in 0..kills {
        let worker = Worker::start(Role::Run, folder.path(), seed ^ kill);
        // Some die while they open the file, most while they work.
        if chance.below(5) > 0 {
            worker.is_ready();
        }
        std::thread::sleep(Duration::from_millis(5 + chance.below(296)));
        acknowledged.extend(worker.kill());
    }
    let verdict = settle(&world, &acknowledged).await;
    say(format_args!("{kills} kills: {verdict:?}"));
    assert!(verdict.executions >= acknowledged.len());
    assert!(verdict.begun_again > 0, "no kill came in the middle of a step: the test shows nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_share_a_file_never_run_one_execution_both() {
    let (kills, seed) = (kills(8, 60), seed());
    say(format_args!("{kills} kills, BLITZ_SEED={seed}"));
    let chance = Chance::new(seed);
    let folder = Folder::new();
    let world = World::new(folder.path(), seed);
    world.found().await;
    let mut acknowledged = BTreeMap::new();
    let another = |kill: u64| Worker::start(Role::Share, folder.path(), seed ^ kill);
    let mut workers = [another(1 << 32), another(1 << 33)];
    for kill in 0..kills {
        workers.iter().for_each(Worker::is_ready);
        std::thread::sleep(Duration::from_millis(50 + chance.below(500)));
        let victim = std::mem::replace(&mut workers[chance.below(2) as usize], another(kill));
        acknowledged.extend(victim.kill());
    }
    for worker in workers {
        acknowledged.extend(worker.kill());
    }
    let verdict = settle(&world, &acknowledged).await;
    say(format_args!("{kills} kills of two: {verdict:?}"));
    assert!(verdict.begun_again > 0 && verdict.taken_up > 0);
}
