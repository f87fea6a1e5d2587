//! Crash points: a workflow is stopped behind each of its commits, torn ones too, and goes on in a
//! new process. What comes out is what would have come without the crash.
//!
//! A run writes its commits into SQLite's log, one behind the other. A copy of the file with the log
//! cut off behind one of them is what a crash at that moment leaves, to the byte.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blitz::provider::{Reply, Scripted};
use blitz::tool::{FunctionNode, FunctionTool, NodeOutput, ToolContext, ToolError};
use blitz::{
    Answer, CostFilter, Decision, Durability, Effect, Engine, ErrorCode, Event, EventData, ExecutionFilter,
    ExecutionId, ExecutionStatus, ListOptions, NewAgent, NodeTypeInfo, Outcome, Session, Usage, Waiting,
};
use serde_json::{Value, json};

use super::random::make::{Dice, Wanted, make};
use super::random::shape::{Flow, Kind, plus, verdict};
use super::random::{compare, flows, input, seed};
use super::stage::{edges, journal, timeline_tells};
use crate::support::engine::{agent, priced};
use crate::support::folder::Folder;

/// A call of host code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Called {
    /// The node's key.
    at: String,
    /// The idempotency key.
    key: String,
    attempt: u32,
}

/// One engine on a file, and what its host code was called with.
struct Life {
    engine: Engine,
    me: Session,
    calls: Arc<Mutex<Vec<Called>>>,
}

/// A world: what the host registers, and the workflow that runs.
#[derive(Clone)]
struct World {
    effect: Effect,
    definition: Value,
    input: Value,
    /// Whether what comes out does not depend on which of two was faster.
    certain: bool,
}

impl World {
    async fn open(&self, folder: &Path) -> Life {
        let path = folder.join("blitz.db");
        let said = Scripted::from_fn(|request| {
            let calls_tool = request.tools.iter().any(|tool| tool.name == "deed");
            let answered = request.messages.iter().any(|message| message.role == blitz::MessageRole::Tool);
            let reply = if calls_tool && !answered { Reply::tool_call("deed", json!({})) } else { Reply::text("said") };
            reply.with_usage(Usage::new(100, 10))
        });
        let builder = Engine::builder(path.to_string_lossy()).with_provider(said);
        let engine = builder.with_durability(Durability::Process).open().await.expect("opens");
        let me = engine.root("test");
        me.models().put(priced("m")).await.expect("a model");
        let calls: Arc<Mutex<Vec<Called>>> = Arc::default();
        let log = Arc::clone(&calls);
        let info = NodeTypeInfo::host("work", "Works.").with_effect(self.effect);
        let node = FunctionNode::new(info, move |work, context| {
            let log = Arc::clone(&log);
            async move {
                let called = Called { at: context.call_id, key: context.idempotency_key, attempt: context.attempt };
                log.lock().unwrap().push(called);
                let until = work.config["fail_until"].as_u64().unwrap_or(0);
                if u64::from(context.attempt) < until {
                    return Err(ToolError::typed(blitz::Error::new(ErrorCode::Unavailable, "it broke")));
                }
                Ok(NodeOutput::new(work.config.get("give").cloned().unwrap_or(work.input)))
            }
        });
        engine.register_node(node).expect("a type");
        let log = Arc::clone(&calls);
        let deed = blitz::tool_fn!("deed", "Does it.", move |_: Nothing, context: ToolContext| {
            let log = Arc::clone(&log);
            async move {
                let at = format!("tool:{}", context.execution_id);
                log.lock().unwrap().push(Called { at, key: context.idempotency_key, attempt: context.attempt });
                Ok("deed done")
            }
        });
        me.tools().register(deed.with_effect(Effect::Idempotent)).await.expect("a tool");
        let log = Arc::clone(&calls);
        let twice = move |given: Value, context: ToolContext| {
            let called = Called { at: context.call_id, key: context.idempotency_key, attempt: context.attempt };
            log.lock().unwrap().push(called);
            std::future::ready(Ok(json!(2 * given["n"].as_i64().expect("a number"))))
        };
        let twice = FunctionTool::from_json_schema("twice", "Doubles.", json!({"type": "object"}), twice);
        me.tools().register(twice.with_effect(self.effect)).await.expect("a tool");
        Life { engine, me, calls }
    }

    /// Sets the file up: everything but the run.
    async fn found(&self, folder: &Path) {
        let life = self.open(folder).await;
        let helper: NewAgent = agent("helper", &["deed"]);
        life.me.agents().put(helper).await.expect("an agent");
        life.me.agents().put(agent("aide", &[])).await.expect("an agent");
        let inner = json!({"name": "inner", "nodes": [{"id": "i", "type": "work"}, {"id": "d", "type": "code", "config": {"expr": "'deep'"}}],
            "edges": edges("i>d")});
        for definition in [inner, plus(), self.definition.clone()] {
            life.me.call("workflows.put", definition).await.unwrap_or_else(|error| panic!("{}", error.details()));
        }
        life.engine.close().await.expect("closes");
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

impl Life {
    /// Goes on until the end, and answers what is asked on the way.
    async fn see_to_its_end(&self, id: ExecutionId) -> Outcome {
        let executions = self.me.executions();
        let end = executions.wait(id);
        let help = async {
            loop {
                self.answer().await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let ended = async {
            tokio::select! { outcome = end => outcome.expect("ends"), () = help => unreachable!("it goes on for ever") }
        };
        match tokio::time::timeout(Duration::from_secs(20), ended).await {
            Ok(outcome) => outcome,
            Err(_) => panic!("it never ended: {:?}", self.me.executions().get(id).await.map(|left| left.waiting_for)),
        }
    }

    /// Answers what the executions ask, of children too.
    async fn answer(&self) {
        let executions = self.me.executions();
        let mut waiting = ExecutionFilter::default();
        waiting.children = true;
        for execution in executions.list(waiting, ListOptions::default()).await.expect("lists").items {
            for wait in execution.waiting_for {
                let answered = match wait {
                    Waiting::Decision { key, .. } => {
                        // What is in doubt was not run again by itself.
                        let called = self.calls.lock().unwrap().iter().filter(|call| call.at == key).count();
                        assert_eq!(called, 0, "{key} is in doubt and was called");
                        executions.decide(execution.id, key, Decision::Rerun).await
                    }
                    Waiting::Approval { key, digest, .. } => {
                        let answer = Answer::new(verdict(&key)).digest(digest);
                        executions.approve(execution.id, key, answer).await
                    }
                    _ => continue,
                };
                if let Err(error) = answered {
                    assert_eq!(error.code(), ErrorCode::Conflict, "{error}");
                }
            }
        }
    }

    async fn the_execution(&self) -> Option<ExecutionId> {
        let page = ListOptions::default();
        let found = self.me.executions().list(ExecutionFilter::default(), page).await.expect("lists").items;
        found.first().map(|execution| execution.id)
    }
}

/// A run without a crash: what it gave, and how far its log was behind each of its commits.
struct Whole {
    outcome: Outcome,
    events: Vec<Event>,
    calls: Vec<Called>,
    base: Folder,
    log: Vec<u8>,
    commits: Vec<usize>,
}

/// Where each commit of a log of SQLite's ends, behind a place.
fn commits(log: &[u8], behind: usize) -> Vec<usize> {
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap()) as usize;
    let frame = 24 + number(8);
    let ends = (32..).step_by(frame).take_while(|at| at + frame <= log.len());
    // A frame that ends a commit says how large the file is then; those of an older round have another salt.
    let is_commit = |at: &usize| number(at + 4) > 0 && log[at + 8..at + 16] == log[16..24];
    ends.filter(is_commit).map(|at| at + frame).filter(|end| *end > behind).collect()
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("blitz.db-wal")
}

/// Copies a file and its key, without its log.
fn copy(from: &Path, to: &Path) {
    for name in ["blitz.db", "blitz.db.key"] {
        std::fs::copy(from.join(name), to.join(name)).expect("copies");
    }
}

async fn whole(world: &World) -> Whole {
    let base = Folder::new();
    world.found(base.path()).await;
    let folder = Folder::new();
    copy(base.path(), folder.path());
    let life = world.open(folder.path()).await;
    // For as long as somebody reads what was before, nothing of the log is folded into the file.
    let reader = rusqlite::Connection::open(folder.path().join("blitz.db")).expect("opens");
    reader.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;").expect("reads");
    let behind = std::fs::read(log_of(folder.path())).expect("a log").len();
    let id = life.me.start(world.definition["name"].as_str().unwrap(), world.input.clone()).await.expect("starts").id();
    let outcome = life.see_to_its_end(id).await;
    let events = journal(&life.me, id).await;
    let log = std::fs::read(log_of(folder.path())).expect("a log");
    drop(reader);
    let calls = life.calls.lock().unwrap().clone();
    life.engine.close().await.expect("closes");
    let commits = commits(&log, behind);
    assert!(!commits.is_empty());
    Whole { outcome, events, calls, base, log, commits }
}

/// What a crash behind one commit comes to. `torn` leaves half of what came next.
async fn crash(world: &World, whole: &Whole, commit: usize, torn: bool) -> Option<(Outcome, Vec<Event>)> {
    let folder = Folder::new();
    // What opening the file wrote is in the log, which is of the file as it was before.
    copy(whole.base.path(), folder.path());
    let end = whole.commits[commit];
    let more = if torn { 2000.min(whole.log.len() - end) } else { 0 };
    std::fs::write(log_of(folder.path()), &whole.log[..end + more]).expect("writes");
    let life = world.open(folder.path()).await;
    let id = life.the_execution().await?;
    life.engine.recover().await.expect("recovers");
    let outcome = life.see_to_its_end(id).await;
    let events = journal(&life.me, id).await;
    let booked = life.me.costs().summary(CostFilter::of_root(id)).await.expect("a sum");
    assert_eq!((outcome.cost, outcome.usage), (booked.known_cost(), booked.usage), "the outcome is what is booked");
    timeline_tells(&life.me, id).await;
    life.me.budgets().verify().await.expect("the windows follow from the ledger");
    judge_calls(&life.calls.lock().unwrap(), whole, &events);
    let lost = |event: &&Event| match &event.data {
        EventData::StepRetrying { error, .. } => error.code == ErrorCode::Interrupted,
        _ => false,
    };
    let lost = events.iter().filter(lost).count() as u64;
    if world.certain {
        assert_eq!(outcome.usage.requests, whole.outcome.usage.requests + lost, "only a call in doubt is paid again");
        assert!(outcome.cost.unwrap() >= whole.outcome.cost.unwrap());
    }
    life.engine.close().await.expect("closes");
    Some((outcome, events))
}

/// Holds the calls behind the crash against the journal before it.
fn judge_calls(calls: &[Called], whole: &Whole, events: &[Event]) {
    let resumed = events.iter().position(|event| matches!(event.data, EventData::ExecutionResumed { .. }));
    let before = &events[..resumed.unwrap_or(events.len())];
    let finished: BTreeSet<String> = before
        .iter()
        .filter_map(|event| match &event.data {
            EventData::NodeFinished(ended) if event.path.is_empty() => Some(ended.node.clone()),
            EventData::NodeFinished(ended) => Some(format!("{}/{}", event.path, ended.node)),
            _ => None,
        })
        .collect();
    let keys: BTreeMap<&str, &str> = whole.calls.iter().map(|call| (call.at.as_str(), call.key.as_str())).collect();
    let mut seen = BTreeSet::new();
    for call in calls {
        assert!(!finished.contains(&call.at), "{call:?} had ended and was called again");
        assert!(seen.insert(call.clone()), "{call:?} twice");
        if let Some(key) = keys.get(call.at.as_str()).filter(|_| !call.at.starts_with("tool:")) {
            assert_eq!(*key, call.key, "one key for all attempts of {}", call.at);
        }
    }
}

/// Crashes a world behind its commits, all of them or so many by chance.
async fn campaign(world: &World, points: Option<u64>, dice: &mut Dice, check: impl Fn(&Outcome, &[Event])) -> u64 {
    let whole = whole(world).await;
    check(&whole.outcome, &whole.events);
    let count = whole.commits.len() as u64;
    let chosen: BTreeSet<u64> = match points {
        Some(points) if points < count => (0..points).map(|_| dice.below(count)).collect(),
        _ => (0..count).collect(),
    };
    for commit in &chosen {
        let torn = dice.is(30);
        let Some((outcome, events)) = crash(world, &whole, *commit as usize, torn).await else { continue };
        println!("  behind commit {commit} of {count}{}", if torn { ", torn" } else { "" });
        check(&outcome, &events);
        if world.certain {
            assert_eq!((&outcome.status, &outcome.output), (&whole.outcome.status, &whole.outcome.output));
        }
    }
    chosen.len() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w35_random_workflows_end_the_same_whatever_commit_they_crash_behind() {
    let (flows, seed) = (flows(6, 60), seed());
    let points = std::env::var_os("BLITZ_TORTURE").is_none().then_some(10);
    println!("{flows} workflows, BLITZ_SEED={seed}");
    let mut crashes = 0;
    for number in 0..flows {
        let mut dice = Dice::new(seed.wrapping_add(number));
        // Every other one has joins that are races, and failures that nothing handles.
        let certain = number % 2 == 0;
        let wanted = Wanted { races: !certain, failures: !certain, models: true, people: true };
        let mut flow: Flow = make(&mut dice, wanted);
        for node in &mut flow.nodes {
            // What fails for good fails also where a crash has added an attempt.
            if let Kind::Work { fails, .. } = &mut node.kind
                && *fails >= node.attempts
            {
                *fails = 1000;
            }
        }
        let input = input(&mut dice);
        let effect = [Effect::Pure, Effect::Idempotent, Effect::Unsafe][(number % 3) as usize];
        println!("BLITZ_SEED={} {effect:?}", seed.wrapping_add(number));
        let world = World { effect, definition: flow.definition("flow", 10), input: input.clone(), certain };
        crashes += campaign(&world, points, &mut dice, |outcome, events| {
            compare(&flow, &input, outcome, events)
                .unwrap_or_else(|wrong| panic!("{wrong}\n{:#}", flow.definition("flow", 10)));
        })
        .await;
    }
    println!("{crashes} crashes");
}

/// A workflow of all that takes its time: a map with a wait, an agent that uses a tool, another workflow,
/// an approval, variables and a large output.
fn of_all_kinds() -> Value {
    json!({"name": "all", "vars": {"log": {"default": [], "merge": "append"}}, "nodes": [
        {"id": "s", "type": "start"},
        {"id": "m", "type": "map", "config": {"items": [0, 1, 2, 3], "concurrency": 2}},
        {"id": "w", "type": "work", "parent": "m", "config": {"give": "{{ index }}"}},
        {"id": "z", "type": "wait", "parent": "m", "config": {"seconds": 0}},
        {"id": "log", "type": "set", "parent": "m", "config": {"vars": {"log": "{{ nodes.w.output }}"}}},
        {"id": "help", "type": "agent", "config": {"agent": "helper"}},
        {"id": "sub", "type": "subflow", "config": {"workflow": "inner"}},
        {"id": "again", "type": "work", "config": {"fail": "unavailable", "fail_until": 3, "give": "at last"},
            "retry": {"max_attempts": 5, "initial_ms": 1}},
        {"id": "big", "type": "work", "config": {"give": "{{ inputs.big }}"}},
        {"id": "ok", "type": "approval", "config": {"message": "Go on?"}},
        {"id": "j", "type": "code", "config": {"expr": "nodes.big.output | length"}},
        {"id": "l", "type": "loop", "config": {"max_iterations": 3}},
        {"id": "r", "type": "work", "parent": "l", "config": {"give": "{{ loop.count }}"}},
        {"id": "e", "type": "end", "config": {"output": {"help": "{{ nodes.help.output }}", "sub": "{{ nodes.sub.output }}",
            "log": "{{ vars.log }}", "big": "{{ nodes.j.output }}", "by": "{{ nodes.ok.output.option }}",
            "again": "{{ nodes.again.output }}", "last": "{{ nodes.l.output }}", "map": "{{ nodes.m.output }}"}}}],
        "edges": edges("s>m s>help s>sub s>big s>again m>ok help>ok sub>ok again>ok big>ok ok.approved>j j>l l>e w>z z>log")})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w34_a_workflow_of_all_kinds_ends_the_same_whatever_commit_it_crashes_behind() {
    let seed = seed();
    let points = std::env::var_os("BLITZ_TORTURE").is_none().then_some(25);
    println!("BLITZ_SEED={seed}");
    let mut dice = Dice::new(seed);
    for effect in [Effect::Idempotent, Effect::Unsafe] {
        let input = json!({"big": "x".repeat(70_000)});
        let world = World { effect, definition: of_all_kinds(), input, certain: true };
        let crashes = campaign(&world, points, &mut dice, |outcome, _| {
            assert_eq!(outcome.status, ExecutionStatus::Completed, "{:?}", outcome.error);
            assert_eq!(outcome.output["log"], json!([0, 1, 2, 3]));
            assert_eq!((&outcome.output["big"], &outcome.output["last"]), (&json!(70_000), &json!(2)));
        })
        .await;
        println!("{crashes} crashes");
    }
}

/// What happened, each time with where.
fn told(events: &[Event]) -> BTreeMap<String, u32> {
    let mut told = BTreeMap::new();
    for event in events {
        let what = match &event.data {
            EventData::ItemStarted { index, .. } => format!("{index} begins"),
            EventData::ItemFinished(item) => format!("{} {:?}", item.index, item.status),
            EventData::NodeFinished(ended) => format!("{} {:?} {}", ended.node, ended.status, ended.output),
            EventData::EdgeTaken(at) => format!("taken {at:?}"),
            EventData::EdgeSkipped(at) => format!("skipped {at:?}"),
            EventData::VarSet { name, value, .. } => format!("{name} {value:?}"),
            _ => continue,
        };
        *told.entry(format!("{} {what}", event.path)).or_default() += 1;
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w35_what_follows_at_once_and_is_written_in_parts_goes_on_between_any_two_of_them() {
    // More items begin at once than one commit takes, and each says what it skips.
    let definition = json!({"name": "parts", "vars": {"log": {"default": [], "merge": "append"}}, "nodes": [
        {"id": "s", "type": "start"},
        {"id": "m", "type": "map", "config": {"items": "{{ range(700) | list }}", "concurrency": 600}},
        {"id": "if", "type": "if", "parent": "m", "config": {"expr": "index % 2 == 0"}},
        {"id": "even", "type": "code", "parent": "m", "config": {"expr": "'even'"}},
        {"id": "odd", "type": "set", "parent": "m", "config": {"vars": {"log": "{{ index }}"}}},
        {"id": "j", "type": "code", "parent": "m", "config": {"expr": "nodes.even.status ~ nodes.odd.status"}},
        {"id": "e", "type": "end", "config": {"output": {"of": "{{ nodes.m.output }}", "log": "{{ vars.log }}"}}}],
        "edges": edges("s>m m>e if.true>even if.false>odd even>j odd>j")});
    let world = World { effect: Effect::Pure, definition, input: json!({}), certain: true };
    let whole = whole(&world).await;
    assert_eq!(whole.outcome.status, ExecutionStatus::Completed, "{:?}", whole.outcome.error);
    assert_eq!(whole.outcome.output["of"][1], json!("skippedcompleted"));
    assert!(whole.commits.len() > 10, "{} commits of {} records", whole.commits.len(), whole.events.len());
    let mut dice = Dice::new(seed());
    for commit in (0..5).map(|_| dice.below(whole.commits.len() as u64 - 1) as usize) {
        let Some((outcome, events)) = crash(&world, &whole, commit, false).await else { continue };
        assert_eq!((outcome.status, &outcome.output), (ExecutionStatus::Completed, &whole.outcome.output));
        let (is, must) = (told(&events), told(&whole.events));
        let differs: Vec<_> = must.iter().filter(|(what, times)| is.get(*what) != Some(times)).take(5).collect();
        assert!(is == must, "behind commit {commit}: {differs:?} of {} and {}", is.len(), must.len());
    }
}
