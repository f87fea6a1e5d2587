//! What the tests of workflows share: an engine with a node type that does as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blitz::tool::{FunctionNode, NodeOutput, ToolError};
use blitz::{
    CostFilter, Engine, ErrorCode, Event, Execution, ExecutionHandle, ExecutionId, ListOptions, NodeStatus,
    NodeTypeInfo, Outcome, Session, TimelineEntry,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::engine::scripted;

/// What the nodes of type `work` were given, in the order in which they began.
pub(super) type Seen = Arc<Mutex<Vec<Value>>>;

/// An engine whose nodes of type `work` give what their settings say: `give`, or `fail` with a code,
/// after `ms` milliseconds; without either they give their input.
pub(super) async fn engine() -> (Engine, Session, Seen) {
    let (engine, me, _) = scripted(vec![]).await;
    let seen = with_work(&engine);
    (engine, me, seen)
}

/// Registers the nodes of type `work`.
pub(super) fn with_work(engine: &Engine) -> Seen {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let node = FunctionNode::new(NodeTypeInfo::host("work", "Works."), move |work, context| {
        let log = Arc::clone(&log);
        async move {
            log.lock().unwrap().push(json!({"config": work.config, "input": work.input, "attempt": context.attempt}));
            if let Some(ms) = work.config["ms"].as_u64() {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            let until = work.config["fail_until"].as_u64().unwrap_or(u64::MAX);
            if let Some(code) = work.config["fail"].as_str().filter(|_| u64::from(context.attempt) < until) {
                let code = ErrorCode::from_name(code).unwrap();
                return Err(ToolError::typed(blitz::Error::new(code, "it broke")));
            }
            match work.config.get("give") {
                Some(value) => Ok(NodeOutput::new(value.clone())),
                None => Ok(NodeOutput::new(work.input)),
            }
        }
    });
    engine.register_node(node).unwrap();
    seen
}

pub(super) async fn put(me: &Session, definition: Value) {
    me.call("workflows.put", definition).await.unwrap_or_else(|error| panic!("{} {}", error.chain(), error.details()));
}

pub(super) async fn run(me: &Session, definition: Value, input: Value) -> Outcome {
    let name = definition["name"].as_str().unwrap().to_owned();
    put(me, definition).await;
    tokio::time::timeout(Duration::from_secs(30), me.run(name.as_str(), input)).await.expect("ends").unwrap()
}

/// Edges written as `a>b` and `a.port>b`.
pub(super) fn edges(text: &str) -> Value {
    let edge = |part: &str| {
        let (from, to) = part.split_once('>').unwrap();
        match from.split_once('.') {
            Some((from, port)) => json!({"from": from, "out": port, "to": to}),
            None => json!({"from": from, "to": to}),
        }
    };
    Value::Array(text.split_whitespace().map(edge).collect())
}

pub(super) async fn states(me: &Session, done: &Outcome) -> Vec<(String, NodeStatus)> {
    let nodes = me.executions().nodes(done.execution_id, "").await.unwrap();
    nodes.into_iter().map(|node| (node.node, node.status)).collect()
}

pub(super) fn status(states: &[(String, NodeStatus)], id: &str) -> NodeStatus {
    states.iter().find(|(node, _)| node == id).unwrap().1
}

/// Everything that was recorded of an execution that has ended.
pub(super) async fn journal(me: &Session, id: ExecutionId) -> Vec<Event> {
    let events = me.executions().events(id, 0).map(|event| event.unwrap()).collect::<Vec<_>>();
    tokio::time::timeout(Duration::from_secs(30), events).await.expect("it has ended")
}

/// Holds the timeline of a root that has ended against its books: what each container, each child and the whole used is
/// what is in it, and what all that calls models used is what was booked. Gives the timeline.
pub(super) async fn timeline_tells(me: &Session, root: ExecutionId) -> Vec<TimelineEntry> {
    let mut all: Vec<TimelineEntry> = Vec::new();
    let mut options = ListOptions::limit(7);
    loop {
        let page = me.executions().timeline(root, options.clone()).await.unwrap();
        all.extend(page.items);
        match page.next_cursor {
            // Each page is read from the whole journal: a few small ones, then large ones.
            Some(next) => (options.limit, options.cursor) = (500, Some(next)),
            None => break,
        }
    }
    let sum = |wanted: &dyn Fn(&TimelineEntry) -> bool| {
        let of = all.iter().filter(|entry| wanted(entry));
        let requests: u64 = of.clone().map(|entry| entry.usage.requests).sum();
        let tokens: u64 = of.clone().map(|entry| entry.usage.total_tokens()).sum();
        (requests, tokens, of.map(|entry| entry.cost.unwrap().nanos()).sum::<i64>())
    };
    let shown = |entry: &TimelineEntry| (entry.usage.requests, entry.usage.total_tokens(), entry.cost.unwrap().nanos());
    let key = |entry: &TimelineEntry| match entry.path.as_str() {
        "" => entry.name.clone(),
        path => format!("{path}/{}", entry.name),
    };
    // What is in an item, a round or a branch of it, not in a container further in.
    let inside = |entry: &TimelineEntry| {
        let (id, key) = (entry.execution_id, key(entry));
        let is_item = move |path: &str| {
            let item = path.strip_prefix(&key).and_then(|rest| rest.strip_prefix('/'));
            path == key || item.is_some_and(|item| item.parse::<u64>().is_ok())
        };
        move |other: &TimelineEntry| other.execution_id == id && is_item(&other.path)
    };
    let mut leaves = BTreeSet::new();
    for (place, entry) in all.iter().enumerate() {
        let inside = inside(entry);
        if let Some(child) = entry.child_id {
            let whole = |other: &TimelineEntry| other.execution_id == child && other.path.is_empty();
            // Each attempt has a child of its own, and the last one is named.
            if entry.attempts.len() == 1 {
                assert_eq!(shown(entry), sum(&whole), "a child: {entry:?}");
            }
        } else if all.iter().any(&inside) {
            assert_eq!(shown(entry), sum(&inside), "a container: {entry:?}");
        } else {
            leaves.insert(place);
        }
        if entry.status == NodeStatus::Completed && !entry.attempts.is_empty() {
            assert!(entry.started_at.is_some() && entry.started_at <= entry.finished_at, "{entry:?}");
            assert!(entry.attempts.last().unwrap().finished_at.is_some(), "{entry:?}");
        }
        for attempt in &entry.attempts {
            let seen = attempt.finished_at.is_some() || attempt.error == Some(ErrorCode::Interrupted);
            assert!(seen, "it ended, or its process was gone: {entry:?}");
        }
    }
    let booked = me.costs().summary(CostFilter::of_root(root)).await.unwrap();
    let booked = (booked.usage.requests, booked.usage.total_tokens(), booked.known_cost().unwrap().nanos());
    let of_leaves =
        leaves.iter().map(|place| shown(&all[*place])).fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
    assert_eq!(of_leaves, booked, "what was booked: {all:#?}");
    assert_eq!(sum(&|entry| entry.execution_id == root && entry.path.is_empty()), booked, "the whole");
    all
}

/// Doors that nodes of type `gate` wait at; clones are the same doors.
#[derive(Clone)]
pub(super) struct Gates {
    open: Arc<watch::Sender<BTreeSet<String>>>,
    reached: Arc<watch::Sender<Vec<String>>>,
}

impl Gates {
    /// Registers the nodes of type `gate`: each waits until its door `name` opens, or it is cancelled,
    /// and gives `give`, or else its input. With `deaf` it does not hear that it is cancelled.
    pub(super) fn new(engine: &Engine) -> Self {
        let gates = Self { open: Arc::new(watch::Sender::default()), reached: Arc::new(watch::Sender::default()) };
        let all = gates.clone();
        let node = FunctionNode::new(NodeTypeInfo::host("gate", "Waits."), move |work, context| {
            let gates = all.clone();
            async move {
                let name = work.config["name"].as_str().unwrap_or_default().to_owned();
                gates.reached.send_modify(|reached| reached.push(name.clone()));
                let mut open = gates.open.subscribe();
                let cancelled = async {
                    match work.config["deaf"].as_bool() {
                        Some(true) => std::future::pending().await,
                        _ => context.cancel.cancelled().await,
                    }
                };
                tokio::select! {
                    _ = open.wait_for(|open| open.contains(&name)) => {}
                    () = cancelled => return Err(ToolError::typed(blitz::Error::new(ErrorCode::Cancelled, "stopped"))),
                }
                Ok(NodeOutput::new(work.config.get("give").cloned().unwrap_or(work.input)))
            }
        });
        engine.register_node(node).unwrap();
        gates
    }

    pub(super) fn open(&self, name: &str) {
        self.open.send_if_modified(|open| open.insert(name.to_owned()));
    }

    /// Waits until a door was reached so many times.
    pub(super) async fn reached(&self, name: &str, times: usize) {
        let mut reached = self.reached.subscribe();
        let come = reached.wait_for(|reached| reached.iter().filter(|one| *one == name).count() >= times);
        tokio::time::timeout(Duration::from_secs(20), come).await.expect("it comes").expect("the sender lives");
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.reached.borrow().iter().filter(|one| *one == name).count()
    }
}

/// Waits until an execution is as wanted.
pub(super) async fn until(me: &Session, id: ExecutionId, wanted: impl Fn(&Execution) -> bool) -> Execution {
    for _ in 0..4000 {
        let execution = me.executions().get(id).await.unwrap();
        if wanted(&execution) {
            return execution;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came: {:?}", me.executions().get(id).await);
}

/// The status of the nodes at the top, by id.
pub(super) async fn by_id(me: &Session, id: ExecutionId) -> BTreeMap<String, NodeStatus> {
    let nodes = me.executions().nodes(id, "").await.unwrap();
    nodes.into_iter().map(|node| (node.node, node.status)).collect()
}

/// Starts a workflow that was not put before.
pub(super) async fn start(me: &Session, definition: Value, input: Value) -> ExecutionHandle {
    let name = definition["name"].as_str().unwrap().to_owned();
    put(me, definition).await;
    me.start(name.as_str(), input).await.unwrap()
}

/// Waits for an end that must come.
pub(super) async fn end(handle: &ExecutionHandle) -> Outcome {
    tokio::time::timeout(Duration::from_secs(30), handle.wait()).await.expect("ends").unwrap()
}
