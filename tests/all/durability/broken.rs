//! Drivers that break off: what had ended stays, what is settled for them is told, a replay is what was.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blitz::provider::{CallContext, ModelStream, Provider, Reply, StreamItem};
use blitz::tool::{Tool, ToolContext, ToolError};
use blitz::{
    Answer, Decision, Effect, Engine, Error, EventData, ExecutionId, ExecutionStatus, Limits, ListOptions, MessageRole,
    ModelRequest, ModelResponse, Money, NewAgent, NewBudget, NewModel, NodeStatus, Part, RecoverySettlement, Session,
    ToolCall, ToolSpec,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::stage::{Life, Stage, calls};
use crate::support::folder::Folder;

/// A budget that only a call which is booked as it was reserved brings to its threshold.
async fn watched(life: &Life) {
    let budget = NewBudget::per_execution("watched", Money::parse("0.02").unwrap()).with_thresholds(vec![20]);
    life.me.budgets().create(budget).await.unwrap();
}

async fn change(life: &Life, agent: &str, patch: Value) {
    life.me.agents().update(agent, serde_json::from_value(patch).unwrap()).await.unwrap();
}

/// The thresholds that the journal of a tree tells of.
async fn alerts(life: &Life, id: ExecutionId) -> Vec<u32> {
    let told = |data: &EventData| match data {
        EventData::BudgetAlert { threshold, .. } => Some(*threshold),
        _ => None,
    };
    life.journal(id).await.iter().filter_map(|event| told(&event.data)).collect()
}

#[tokio::test]
async fn an_alert_by_a_dead_call_is_told_when_the_engine_opens() {
    let stage = Stage::calling(&[]);
    stage.model.held.hold("a/1");
    let life = stage.open().await;
    watched(&life).await;
    let id = life.start().await;
    stage.model.was_asked(1).await;
    life.cut().await;
    stage.model.held.release("a/1");

    let (life, _) = stage.recovered().await;
    let done = life.wait(id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    assert_eq!(alerts(&life, id).await, [20]);
    life.audit(&done).await;
}

/// `a` calls two agents at once: the model keeps one of them waiting, the other one's driver breaks off.
pub(super) async fn broken_off(settlement: RecoverySettlement) -> (Stage, Life, ExecutionId) {
    let stage = Stage::new(|asked| match (asked.agent.as_str(), asked.turn) {
        ("a", 1) => {
            let call = |name: &str| Part::ToolCall(ToolCall::new(name, name, json!({"input": "help"}).to_string()));
            Reply::parts(vec![call("child"), call("other")])
        }
        ("other", 1) => calls(1, &["idempotent"], ""),
        _ => Reply::text("done"),
    })
    .with_settlement(settlement);
    stage.model.held.hold("child/1");
    let life = stage.open().await;
    let other = NewAgent::new("other", "m").instructions("other").tool("idempotent");
    life.me.agents().put(other).await.unwrap();
    change(&life, "a", json!({"agents": ["child", "other"]})).await;
    watched(&life).await;
    stage.model.panics(true);
    let id = life.start().await;
    life.until(id, |execution| execution.interrupted).await;
    stage.model.panics(false);
    stage.model.held.release("child/1");
    (stage, life, id)
}

#[tokio::test]
async fn an_alert_by_a_dead_call_is_told_when_this_process_takes_it_up_again() {
    let (_stage, life, id) = broken_off(RecoverySettlement::Reserved).await;
    assert_eq!(life.engine.recover().await.unwrap(), [id]);
    let done = life.wait(id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    assert_eq!(alerts(&life, id).await, [20]);
    life.audit(&done).await;
}

#[tokio::test]
async fn an_alert_by_a_dead_call_is_told_when_its_execution_is_given_up() {
    let (_stage, life, id) = broken_off(RecoverySettlement::Reserved).await;
    life.me.executions().cancel(id).await.unwrap();
    let done = life.wait(id).await;
    assert_eq!(done.status, ExecutionStatus::Cancelled);
    assert_eq!(alerts(&life, id).await, [20]);
    life.audit(&done).await;
}

/// A tool that ends its first call when its gate opens, and any other at once.
struct Gated {
    name: &'static str,
    effect: Effect,
    gate: Mutex<Option<oneshot::Receiver<()>>>,
    called: mpsc::UnboundedSender<()>,
}

impl Tool for Gated {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(self.name, "Waits.", json!({"type": "object"}))
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn call(&self, _: Value, _: ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> {
        let (name, gate) = (self.name, self.gate.lock().unwrap().take());
        self.called.send(()).unwrap();
        async move {
            if let Some(gate) = gate {
                gate.await?;
            }
            if name == "fatal" { Err(ToolError::fatal(Error::invalid("no more"))) } else { Ok(json!("done")) }
        }
        .boxed()
    }
}

/// On one thread: tasks run in the order in which their gates open.
#[tokio::test]
async fn what_ended_in_the_last_turn_is_kept_where_a_child_breaks_off() {
    let stage = Stage::new(|asked| match (asked.agent.as_str(), asked.turn) {
        ("a", 1) => calls(1, &["fatal", "sent", "child"], "help"),
        ("child", 1) => calls(1, &["last"], "help"),
        _ => Reply::text("done"),
    });
    let life = stage.open().await;
    let (called, mut calls) = mpsc::unbounded_channel();
    let mut gates = Vec::new();
    for (name, effect) in [("fatal", Effect::Unsafe), ("sent", Effect::Unsafe), ("last", Effect::Pure)] {
        let (open, gate) = oneshot::channel();
        gates.push(open);
        let tool = Gated { name, effect, gate: Mutex::new(Some(gate)), called: called.clone() };
        life.me.tools().register(tool).await.unwrap();
    }
    change(&life, "a", json!({"tools": ["fatal", "sent"]})).await;
    change(&life, "child", json!({"tools": ["last"]})).await;
    let id = life.start().await;
    for _ in 0..3 {
        calls.recv().await.unwrap();
    }
    // The child breaks off behind its tool, before it sees that it is to end.
    stage.model.panics(true);
    gates.into_iter().for_each(|gate| gate.send(()).unwrap());
    life.until(id, |execution| execution.interrupted).await;
    stage.model.panics(false);

    let steps = life.me.executions().steps(id, ListOptions::default()).await.unwrap().items;
    let ended: Vec<&str> = steps.iter().filter(|step| step.execution_id == id).map(|step| step.path.as_str()).collect();
    assert_eq!(ended, ["1/model", "1/tool/1"], "the end that would be the execution's is not there");
    assert_eq!(life.engine.recover().await.unwrap(), [id]);
    assert_eq!(life.waits_for_decisions(id).await, ["1/tool/0"], "only what nobody has heard of is in doubt");
    life.me.executions().decide(id, "1/tool/0", Decision::Fail { message: "it gave up".into() }).await.unwrap();
    let done = life.wait(id).await;
    assert_eq!(done.text(), "done");
    life.audit(&done).await;
}

/// On one thread: the turn of `sent` comes, is heard of, and then the child breaks off.
#[tokio::test]
async fn w36_what_was_about_to_start_where_a_child_breaks_off_is_in_no_doubt() {
    let stage = Stage::new(|asked| if asked.turn == 1 { calls(1, &["last"], "") } else { Reply::text("done") });
    let life = stage.open_by(stage.builder().with_max_parallel(2)).await;
    let (called, mut calls) = mpsc::unbounded_channel();
    let mut gates = Vec::new();
    for name in ["last", "first", "sent"] {
        let (open, gate) = oneshot::channel();
        let gate = (name != "sent").then_some(gate);
        let effect = if name == "last" { Effect::Pure } else { Effect::Unsafe };
        gates.push(open);
        life.me.tools().register(Gated { name, effect, gate: Mutex::new(gate), called: called.clone() }).await.unwrap();
    }
    change(&life, "child", json!({"tools": ["last"]})).await;
    let definition = json!({"name": "f", "nodes": [
        {"id": "c", "type": "agent", "config": {"agent": "child"}},
        {"id": "f", "type": "tool", "config": {"tool": "first"}},
        {"id": "p", "type": "approval", "config": {"message": "May it?"}},
        {"id": "b", "type": "tool", "config": {"tool": "sent"}}],
        "edges": [{"from": "p", "out": "approved", "to": "b"}]});
    life.me.call("workflows.put", definition).await.unwrap();
    let id = life.me.start("f", json!({})).await.unwrap().id();
    for _ in 0..2 {
        calls.recv().await.unwrap();
    }
    life.me.executions().approve(id, "p", Answer::approve()).await.unwrap();
    let mut events = life.me.executions().events(id, 0);
    while let Some(event) = events.next().await {
        // What follows from it has asked for its turn by then.
        if matches!(event.unwrap().data, EventData::NodeFinished(finished) if finished.node == "p") {
            break;
        }
    }
    stage.model.panics(true);
    gates.drain(..2).for_each(|gate| gate.send(()).unwrap());
    life.until(id, |execution| execution.interrupted).await;
    stage.model.panics(false);

    let nodes = life.me.executions().nodes(id, "").await.unwrap();
    let status = |id: &str| nodes.iter().find(|node| node.node == id).unwrap().status;
    assert_eq!((status("f"), status("b")), (NodeStatus::Completed, NodeStatus::Pending));
    assert_eq!(life.engine.recover().await.unwrap(), [id]);
    assert_eq!(life.wait(id).await.status, ExecutionStatus::Completed, "nobody has to decide");
}

/// A model that never says what it used, and does not answer its second request the first time.
#[derive(Clone, Default)]
struct Silent {
    held: Arc<AtomicBool>,
}

impl Provider for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    fn stream(&self, request: ModelRequest, _: CallContext) -> ModelStream {
        let answered = request.messages.iter().any(|message| message.role == MessageRole::Assistant);
        let part = if answered { Part::text("done") } else { Part::ToolCall(ToolCall::new("c0", "nothing", "{}")) };
        let waits = answered && !self.held.swap(true, Ordering::SeqCst);
        async move {
            if waits {
                std::future::pending::<()>().await;
            }
            Ok(StreamItem::Done(Box::new(ModelResponse::new(vec![part]))))
        }
        .into_stream()
        .boxed()
    }
}

async fn asking(path: &str, model: &Silent) -> (Engine, Session) {
    let engine = Engine::builder(path).with_provider(model.clone()).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "silent", "any")).await.unwrap();
    me.tools().register(blitz::tool_fn!("nothing", "", |_: ()| async { Ok(()) }).pure()).await.unwrap();
    let mut limits = Limits::default();
    limits.max_tokens = Some(10);
    me.agents().put(NewAgent::new("a", "m").tool("nothing").limits(limits)).await.unwrap();
    (engine, me)
}

#[tokio::test]
async fn an_answer_without_usage_counts_the_same_when_it_is_replayed() {
    let folder = Folder::new();
    let path = folder.path().join("a.db").to_str().unwrap().to_owned();
    let model = Silent::default();
    let (engine, me) = asking(&path, &model).await;
    let id = me.start("a", "x").await.unwrap().id();
    while !model.held.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    engine.close_within(Duration::ZERO).await.unwrap();

    let (engine, me) = asking(&path, &model).await;
    assert_eq!(engine.recover().await.unwrap(), [id]);
    let done = me.executions().wait(id).await.unwrap();
    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "done"), "{:?}", done.error);
    engine.close().await.unwrap();
}
