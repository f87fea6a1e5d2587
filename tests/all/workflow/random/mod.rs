//! Random workflows against a small obvious model of what they mean.
//!
//! `BLITZ_SEED` repeats a campaign, `BLITZ_FLOWS` says how many workflows it has. A workflow that
//! goes wrong is made smaller, node by node, for as long as it does, and then shown.

pub(super) mod make;
pub(super) mod model;
pub(super) mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use blitz::provider::{Reply, Scripted};
use blitz::tool::FunctionTool;
use blitz::{Answer, ErrorCode, Event, EventData, ExecutionId, ExecutionStatus, Outcome, Session};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use self::make::{Dice, Wanted, make};
use self::model::{Expected, Shown, expect};
use self::shape::{Flow, plus, verdict};
use super::stage::{journal, put, with_work};
use crate::support::engine::{agent, with_provider};

/// How many workflows: so many in a short run, so many in a long one.
pub(super) fn flows(short: u64, long: u64) -> u64 {
    let count = std::env::var("BLITZ_FLOWS").ok().and_then(|count| count.parse().ok());
    count.unwrap_or(if std::env::var_os("BLITZ_TORTURE").is_some() { long } else { short })
}

/// The seed of a campaign, printed so that it can be given again.
pub(super) fn seed() -> u64 {
    let seed = std::env::var("BLITZ_SEED").ok().and_then(|seed| seed.parse().ok());
    seed.unwrap_or_else(|| RandomState::new().hash_one(0))
}

/// The input of each of them.
pub(super) fn input(dice: &mut Dice) -> Value {
    let items: Vec<u64> = (0..dice.below(4)).collect();
    json!({"k": dice.below(100), "flag": dice.is(50), "items": items})
}

/// An engine whose models always say the same, and what flows call.
async fn engine() -> (blitz::Engine, Session) {
    let (engine, me, _) = with_provider(Scripted::from_fn(|_| Reply::text("said"))).await;
    with_work(&engine);
    let twice = FunctionTool::from_json_schema("twice", "Doubles.", json!({"type": "object"}), |given, _| async move {
        Ok(json!(2 * given["n"].as_i64().expect("a number")))
    });
    me.tools().register(twice).await.expect("a tool");
    me.agents().put(agent("aide", &[])).await.expect("an agent");
    put(&me, plus()).await;
    (engine, me)
}

/// One run: its outcome and its journal.
async fn run(me: &Session, definition: &Value, input: &Value) -> Result<(Outcome, Vec<Event>), String> {
    me.call("workflows.put", definition.clone()).await.map_err(|error| format!("{} {}", error, error.details()))?;
    let name = definition["name"].as_str().unwrap_or_default();
    let handle = me.start(name, input.clone()).await.map_err(|error| error.chain())?;
    let answered = async {
        let mut events = handle.events();
        while let Some(event) = events.next().await {
            if let EventData::ApprovalRequested(asked) = event.expect("an event").data {
                let answer = Answer::new(verdict(&asked.key)).digest(asked.digest);
                match handle.approve(&asked.key, answer).await {
                    // A join may have cancelled the question meanwhile.
                    Err(error) if error.code() != ErrorCode::Conflict => panic!("{}", error.chain()),
                    _ => {}
                }
            }
        }
        handle.wait().await
    };
    let run = tokio::time::timeout(Duration::from_secs(20), answered);
    let done = run.await.map_err(|_| "it never ended".to_owned())?.map_err(|error| error.chain())?;
    let events = journal(me, done.execution_id).await;
    Ok((done, events))
}

/// What happened, without what differs from run to run.
fn order_of(events: &[Event]) -> Vec<String> {
    let said = |event: &Event| {
        let what = match &event.data {
            EventData::NodeStarted(started) => format!("{} {}", started.node, started.attempt),
            EventData::NodeFinished(ended) => {
                format!("{} {:?} {:?} {}", ended.node, ended.status, ended.port, ended.output)
            }
            EventData::EdgeTaken(at) | EventData::EdgeSkipped(at) => format!("{at:?}"),
            EventData::VarSet { name, value, .. } => format!("{name} {value}"),
            _ => String::new(),
        };
        format!("{} {} {what}", event.path, event.data.type_name())
    };
    events.iter().map(said).collect()
}

/// Puts `some` in the place of each error, whose text is not looked at.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let plain = |(name, value): (&String, &Value)| {
                let is_error = name == "error" && value.get("code").is_some();
                (name.clone(), if is_error { json!("some") } else { plain(value) })
            };
            Value::Object(fields.iter().map(plain).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        other => other.clone(),
    }
}

/// The events of the execution at the top, without those of its children.
fn own(events: &[Event]) -> impl Iterator<Item = &Event> {
    let root = events.first().map(|event| event.execution_id);
    events.iter().filter(move |event| Some(event.execution_id) == root)
}

/// What a run has shown of how its nodes ended.
pub(super) fn shown(events: &[Event]) -> Result<Shown, String> {
    let mut shown = Shown::default();
    for event in own(events) {
        if let EventData::NodeFinished(ended) = &event.data {
            let key = if event.path.is_empty() { ended.node.clone() } else { format!("{}/{}", event.path, ended.node) };
            if shown.states.insert(key.clone(), ended.status).is_some() {
                return Err(format!("{key} ended twice"));
            }
            shown.arrivals.push(key);
        }
    }
    Ok(shown)
}

fn is_loose(expected: &Expected, key: &str) -> bool {
    let below = |at: &String| {
        at.is_empty()
            || key == at
            || (key.starts_with(at.as_str()) && (at.ends_with('/') || key[at.len()..].starts_with('/')))
    };
    expected.loose.iter().any(below)
}

/// Holds a run against the model.
pub(super) fn compare(flow: &Flow, input: &Value, done: &Outcome, events: &[Event]) -> Result<(), String> {
    let shown = shown(events)?;
    let expected = expect(flow, input, &shown);
    match expected.result.as_ref() {
        Some(Ok(output)) => {
            if done.status != ExecutionStatus::Completed {
                return Err(format!("it must complete with {output}: {:?} {:?}", done.status, done.error));
            }
            if plain(&done.output) != *output {
                return Err(format!("it must give {output} and gives {}", done.output));
            }
        }
        Some(Err(nodes)) => {
            let at = done.error.as_ref().and_then(|error| error.node.as_deref()).unwrap_or_default();
            if done.status != ExecutionStatus::Failed || !nodes.contains(at) {
                return Err(format!("it must fail at one of {nodes:?}: {:?} {:?}", done.status, done.error));
            }
        }
        None => return Err("the model says nothing".to_owned()),
    }
    let keys: BTreeSet<&String> = shown.states.keys().chain(expected.states.keys()).collect();
    for key in keys {
        let (is, must) = (shown.states.get(key), expected.states.get(key));
        if is != must && !is_loose(&expected, key) {
            return Err(format!("{key} must be {must:?} and is {is:?}"));
        }
    }
    let resumed = events.iter().any(|event| matches!(event.data, EventData::ExecutionResumed { .. }));
    // Behind a crash a call in doubt is asked again.
    if expected.loose.is_empty() && !resumed && done.usage.requests != expected.asked {
        return Err(format!("the model must be asked {} times: {}", expected.asked, done.usage.requests));
    }
    edges_end_once(events)?;
    seq_and_progress(events)
}

fn edges_end_once(events: &[Event]) -> Result<(), String> {
    let mut ended: BTreeMap<String, u32> = BTreeMap::new();
    for event in own(events) {
        if let EventData::EdgeTaken(at) | EventData::EdgeSkipped(at) = &event.data {
            *ended.entry(format!("{} {at:?}", event.path)).or_default() += 1;
        }
    }
    match ended.iter().find(|(_, times)| **times > 1) {
        Some((edge, times)) => Err(format!("{edge} was decided {times} times")),
        None => Ok(()),
    }
}

fn seq_and_progress(events: &[Event]) -> Result<(), String> {
    for (place, event) in (1..).zip(events) {
        if event.seq != place {
            return Err(format!("a gap at {place}: {event:?}"));
        }
    }
    // Of each execution by itself, of items too, in containers however deep, and behind a crash.
    let mut progress: BTreeMap<ExecutionId, u32> = BTreeMap::new();
    for event in events {
        let told = match &event.data {
            EventData::NodeFinished(ended) => ended.progress,
            EventData::ItemFinished(item) => item.progress,
            _ => continue,
        };
        let before = progress.insert(event.execution_id, told).unwrap_or_default();
        if told < before || told > 10_000 {
            return Err(format!("progress goes from {before} to {told}: {event:?}"));
        }
    }
    match events.last().map(|event| &event.data) {
        Some(EventData::ExecutionFinished(_)) => Ok(()),
        other => Err(format!("the last event is {other:?}")),
    }
}

/// Runs a flow one effect at a time, twice, and many at a time, and holds each against the model.
async fn judge(me: &Session, flow: &Flow, input: &Value, wanted: Wanted) -> Result<(), String> {
    let mut before: Option<Vec<String>> = None;
    for max_parallel in [1, 1, 10] {
        let (done, events) = run(me, &flow.definition("flow", max_parallel), input).await?;
        compare(flow, input, &done, &events).map_err(|wrong| format!("{wrong} (max_parallel {max_parallel})"))?;
        if max_parallel == 1 {
            let order = order_of(&events);
            // Who answers when, and what comes of a timer, is not the engine's to say.
            if !wanted.people
                && let Some(before) = &before
                && *before != order
            {
                let at = before.iter().zip(&order).position(|(one, other)| one != other).unwrap_or_default();
                return Err(format!("the order of events differs at {at}: {:?} {:?}", before.get(at), order.get(at)));
            }
            before = Some(order);
        }
    }
    Ok(())
}

/// The smallest part of a flow that still goes wrong.
async fn smaller(me: &Session, flow: Flow, input: &Value, wanted: Wanted) -> (Flow, String) {
    let mut least = flow;
    let mut wrong = judge(me, &least, input, wanted).await.err().unwrap_or_else(|| "only now and then".to_owned());
    loop {
        let mut found = None;
        for id in least.nodes.iter().map(|node| node.id.clone()) {
            let less = least.without(&id);
            match judge(me, &less, input, wanted).await {
                Err(still) if !less.nodes.is_empty() && !still.contains("E_") => found = Some((less, still)),
                _ => continue,
            }
            break;
        }
        match found {
            Some((less, still)) => (least, wrong) = (less, still),
            None => return (least, wrong),
        }
    }
}

async fn campaign(flows: u64, wanted: Wanted) {
    let seed = seed();
    println!("{flows} workflows, BLITZ_SEED={seed}");
    let (_engine, me) = engine().await;
    for number in 0..flows {
        let mut dice = Dice::new(seed.wrapping_add(number));
        let flow = make(&mut dice, wanted);
        let input = input(&mut dice);
        if let Err(wrong) = judge(&me, &flow, &input, wanted).await {
            let (least, still) = smaller(&me, flow, &input, wanted).await;
            panic!(
                "BLITZ_SEED={} {wrong}\nsmaller: {still}\ninput {input}\n{:#}",
                seed.wrapping_add(number),
                least.definition("flow", 10)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w46_random_workflows_give_what_an_obvious_model_says() {
    campaign(flows(40, 700), Wanted { races: false, failures: false, models: false, people: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_workflows_with_failures_and_races_give_what_an_obvious_model_says() {
    campaign(flows(40, 700), Wanted { races: true, failures: true, models: true, people: true }).await;
}
