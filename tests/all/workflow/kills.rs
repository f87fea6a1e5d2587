//! Processes that run workflows and are killed at random instants, over and over: nothing is lost,
//! repeated or paid twice, whether they map, wait, ask a person or a model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use blitz::provider::{Reply, Scripted};
use blitz::tool::{FunctionNode, NodeOutput};
use blitz::{
    Answer, CostFilter, Decision, Engine, ErrorCode, EventData, Execution, ExecutionFilter, ExecutionId,
    ExecutionStatus, ListOptions, NodeTypeInfo, Session, Usage, Waiting,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::random::make::Dice;
use super::random::seed;
use super::stage::{edges, journal, timeline_tells};
use crate::support::engine::priced;
use crate::support::folder::Folder;

const FOLDER: &str = "BLITZ_TEST_FLOWS";
/// How many executions a worker keeps going.
const AT_ONCE: usize = 6;
const ITEMS: usize = 6;

/// A map of effects of each class, an approval, a timer, a model, variables, and an effect that is retried.
fn definition() -> Value {
    let deed = |id: &str, parent: Option<&str>, effect: &str, label: &str| {
        let mut node = json!({"id": id, "type": "deed", "effect": effect, "config": {"label": label}});
        if let Some(parent) = parent {
            node["parent"] = json!(parent);
        }
        node
    };
    json!({"name": "all", "vars": {"done": {"default": [], "merge": "append"}}, "nodes": [
        {"id": "s", "type": "start"},
        {"id": "m", "type": "map", "config": {"items": (0..ITEMS).collect::<Vec<usize>>(), "concurrency": 3}},
        deed("one", Some("m"), "unsafe", "{{ inputs.label }}/one/{{ index }}"),
        deed("two", Some("m"), "idempotent", "{{ inputs.label }}/two/{{ index }}"),
        {"id": "set", "type": "set", "parent": "m", "config": {"vars": {"done": "{{ index }}"}}},
        {"id": "q", "type": "llm", "config": {"model": "m", "prompt": "{{ inputs.label }}"}},
        {"id": "w", "type": "wait", "config": {"seconds": "{{ inputs.seconds }}"}},
        {"id": "ok", "type": "approval", "config": {"message": "Go on with {{ inputs.label }}?"}},
        deed("last", None, "unsafe", "{{ inputs.label }}/last"),
        {"id": "e", "type": "end", "config": {"output": {"m": "{{ nodes.m.output | length }}", "done": "{{ vars.done }}",
            "said": "{{ nodes.q.output }}", "last": "{{ nodes.last.output }}"}}}],
        "edges": edges("s>m s>q s>w one>two two>set m>ok q>ok w>ok ok.approved>last last>e")})
}

fn expected() -> Value {
    json!({"m": ITEMS, "done": (0..ITEMS).collect::<Vec<usize>>(), "said": "said", "last": "done"})
}

/// What happened outside of the engine, a line each.
fn tell(folder: &Path, line: &str) {
    let file = OpenOptions::new().append(true).create(true).open(folder.join("truth.txt"));
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).expect("writes");
}

fn told(folder: &Path) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(folder.join("truth.txt")).unwrap_or_default();
    let mut told = BTreeMap::new();
    text.lines().for_each(|line| *told.entry(line.to_owned()).or_default() += 1);
    told
}

async fn open(folder: &Path) -> (Engine, Session) {
    let at = folder.to_owned();
    let model = Scripted::from_fn(move |request| {
        let label = request.messages.last().map(|message| message.text_content()).unwrap_or_default();
        tell(&at, &format!("asked {label}"));
        Reply::text("said").with_usage(Usage::new(100, 10)).with_delay(Duration::from_millis(3))
    });
    let path = folder.join("blitz.db");
    let engine = Engine::builder(path.to_string_lossy()).with_provider(model).open().await.expect("opens");
    let at = folder.to_owned();
    let deed = FunctionNode::new(NodeTypeInfo::host("deed", "Does it."), move |work, context| {
        let at = at.clone();
        async move {
            let pause = u64::from(context.idempotency_key.as_bytes()[0] % 7);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            tell(&at, work.config["label"].as_str().unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(pause)).await;
            Ok(NodeOutput::new("done"))
        }
    });
    engine.register_node(deed).expect("a type");
    let me = engine.root("worker");
    me.models().put(priced("m")).await.expect("a model");
    me.call("workflows.put", definition()).await.unwrap_or_else(|error| panic!("{}", error.details()));
    (engine, me)
}

async fn every(me: &Session) -> Vec<Execution> {
    let mut found = Vec::new();
    let mut options = ListOptions::default();
    loop {
        let page = me.executions().list(ExecutionFilter::default(), options.clone()).await.expect("lists");
        found.extend(page.items);
        match page.next_cursor {
            Some(next) => options.cursor = Some(next),
            None => return found,
        }
    }
}

/// Answers what is asked, and decides what is in doubt by what really happened.
async fn answer(folder: &Path, me: &Session) {
    let waiting = |execution: &Execution| !execution.status.is_final() && !execution.waiting_for.is_empty();
    for execution in every(me).await.into_iter().filter(waiting) {
        let label = execution.input["label"].as_str().unwrap_or_default().to_owned();
        for wait in execution.waiting_for {
            let answered = match wait {
                Waiting::Approval { key, .. } => me.executions().approve(execution.id, key, Answer::approve()).await,
                Waiting::Decision { key, .. } if key == "resume" => {
                    me.executions().decide(execution.id, key, Decision::Rerun).await
                }
                Waiting::Decision { key, .. } => {
                    let line = match key.split('/').collect::<Vec<_>>()[..] {
                        ["m", index, "one"] => format!("{label}/one/{index}"),
                        _ => format!("{label}/{key}"),
                    };
                    let decision = match told(folder).contains_key(&line) {
                        true => Decision::Skip { value: json!("done") },
                        false => Decision::Rerun,
                    };
                    me.executions().decide(execution.id, key, decision).await
                }
                _ => continue,
            };
            if let Err(error) = answered {
                assert_eq!(error.code(), ErrorCode::Conflict, "{error}");
            }
        }
    }
}

/// What a worker does; in a plain run of the tests nobody asks it to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let (engine, me) = open(&folder).await;
    let (at, asker, again) = (folder.clone(), me.clone(), engine.clone());
    tokio::spawn(async move {
        loop {
            answer(&at, &asker).await;
            again.recover().await.expect("recovers");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut going = JoinSet::new();
    for number in 0.. {
        while going.len() >= AT_ONCE {
            going.join_next().await;
        }
        let label = format!("{}-{number}", std::process::id());
        let input = json!({"label": label, "seconds": u64::from(number % 5 == 0)});
        let id = me.start("all", input).await.expect("starts").id();
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "\nstarted {id} {label}").and_then(|()| out.flush());
        let me = me.clone();
        going.spawn(async move { drop(me.executions().wait(id).await) });
    }
}

struct Worker {
    child: Child,
    heard: Option<JoinHandle<BTreeMap<ExecutionId, String>>>,
}

impl Worker {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "workflow::kills::worker", "--nocapture"]).env(FOLDER, folder);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("a worker");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let heard = std::thread::spawn(move || {
            let mut started = BTreeMap::new();
            for line in out.lines().map_while(Result::ok) {
                if let ["started", id, label] = line.split_whitespace().collect::<Vec<_>>()[..] {
                    started.insert(ExecutionId(id.parse().expect("an id")), label.to_owned());
                }
            }
            started
        });
        Self { child, heard: Some(heard) }
    }

    /// Kills it without a word; gives what it had acknowledged.
    fn kill(mut self) -> BTreeMap<ExecutionId, String> {
        let ended = self.child.try_wait().expect("its state");
        assert!(ended.is_none(), "the worker ended by itself: {ended:?}");
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it has ended");
        self.heard.take().expect("heard once").join().expect("it was heard")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Brings everything to its end and holds it against what really happened.
async fn judge(folder: &Path, acknowledged: &BTreeMap<ExecutionId, String>) -> (usize, usize) {
    let (engine, me) = open(folder).await;
    let end = async {
        loop {
            engine.recover().await.expect("recovers");
            answer(folder, &me).await;
            if every(&me).await.iter().all(|execution| execution.status.is_final()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), end).await.expect("all come to their end");
    let all = every(&me).await;
    for (id, label) in acknowledged {
        let kept = all.iter().find(|execution| execution.id == *id);
        assert_eq!(kept.map(|kept| &kept.input["label"]), Some(&json!(label)), "{id} was acknowledged and is lost");
    }
    let told = told(folder);
    let mut again = 0;
    for execution in &all {
        let label = execution.input["label"].as_str().expect("a label");
        assert_eq!((execution.status, &execution.output), (ExecutionStatus::Completed, &expected()), "{label}");
        let events = journal(&me, execution.id).await;
        let mut ended = BTreeSet::new();
        let mut begun: BTreeMap<String, usize> = BTreeMap::new();
        for (place, event) in (1..).zip(&events) {
            assert_eq!(event.seq, place, "a gap in the journal of {label}");
            match &event.data {
                EventData::NodeFinished(end) => {
                    assert!(
                        ended.insert((event.execution_id, event.path.clone(), end.node.clone())),
                        "{label}: {end:?} twice"
                    );
                }
                EventData::NodeStarted(started) if event.execution_id == execution.id => {
                    let key = format!("{}/{}", event.path, started.node);
                    assert!(
                        !ended.contains(&(event.execution_id, event.path.clone(), started.node.clone())),
                        "{label}: {key} behind its end"
                    );
                    *begun.entry(key).or_default() += 1;
                }
                _ => {}
            }
        }
        again += begun.values().map(|times| times - 1).sum::<usize>();
        for index in 0..ITEMS {
            let times = |what: &str| told.get(&format!("{label}/{what}/{index}")).copied().unwrap_or_default();
            assert_eq!(times("one"), 1, "{label}/one/{index} is unsafe");
            assert!((1..=begun[&format!("m/{index}/two")]).contains(&times("two")), "{label}/two/{index}");
        }
        assert_eq!(told.get(&format!("{label}/last")), Some(&1), "{label}/last is unsafe");
        let asked = told.get(&format!("asked {label}")).copied().unwrap_or_default();
        let booked = me.costs().summary(CostFilter::of_root(execution.id)).await.expect("a sum");
        assert_eq!((execution.cost, execution.usage.requests), (booked.known_cost(), booked.usage.requests), "{label}");
        timeline_tells(&me, execution.id).await;
        assert!(booked.usage.requests >= asked as u64 && asked >= 1, "{label}: {asked} asked, {booked:?}");
    }
    me.budgets().verify().await.expect("the windows follow from the ledger");
    assert_eq!(me.audit().verify(None).await.expect("reads").first_bad, None);
    engine.close().await.expect("closes");
    (all.len(), again)
}

async fn campaign(kills: u64, at_once: usize) {
    let seed = seed();
    println!("{kills} kills of {at_once}, BLITZ_SEED={seed}");
    let mut dice = Dice::new(seed);
    let folder = Folder::new();
    let (engine, _) = open(folder.path()).await;
    engine.close().await.expect("closes");
    let mut acknowledged = BTreeMap::new();
    let mut workers: Vec<Worker> = (0..at_once).map(|_| Worker::start(folder.path())).collect();
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(60 + dice.below(340)));
        let victim = dice.below(at_once as u64) as usize;
        let victim = std::mem::replace(&mut workers[victim], Worker::start(folder.path()));
        acknowledged.extend(victim.kill());
    }
    for worker in workers {
        acknowledged.extend(worker.kill());
    }
    let (executions, again) = judge(folder.path(), &acknowledged).await;
    println!("{kills} kills of {at_once}: {executions} executions, {again} steps begun again");
    assert!(again > 0, "no kill came in the middle of a step: the test shows nothing");
}

fn kills(short: u64, long: u64) -> u64 {
    let count = std::env::var("BLITZ_KILLS").ok().and_then(|count| count.parse().ok());
    count.unwrap_or(if std::env::var_os("BLITZ_TORTURE").is_some() { long } else { short })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w34_workflows_of_a_process_that_is_killed_again_and_again_lose_and_repeat_nothing() {
    campaign(kills(8, 80), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w51_processes_that_share_a_file_never_run_one_workflow_both() {
    campaign(kills(6, 60), 2).await;
}
