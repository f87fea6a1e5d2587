//! The stage: one file, one engine after the other on it, and a model and tools that stop where a
//! test wants them to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blitz::error::Charged;
use blitz::provider::{CallContext, ModelStream, Provider, Reply, Scripted};
use blitz::tool::{Tool, ToolContext, ToolError};
use blitz::{
    CostFilter, CostSummary, Effect, Engine, EngineBuilder, Error, ErrorCode, Event, EventData, Execution, ExecutionId,
    ExecutionStatus, MessageRole, ModelRequest, NewAgent, NewModel, Outcome, Part, Price, Principal,
    RecoverySettlement, Result, Session, ToolCall, ToolSpec, Usage, Waiting,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::folder::Folder;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every model call of the stage uses: 100 + 10 tokens at a dollar a million.
pub(super) const USAGE: (u64, u64) = (100, 10);

/// The world that stays when an engine goes: the file, the model service, what tools have done.
#[derive(Clone)]
pub(super) struct Stage {
    folder: Arc<Folder>,
    pub(super) model: Model,
    pub(super) tools: Tools,
    agent: NewAgent,
    child: NewAgent,
    without: BTreeSet<&'static str>,
    settlement: RecoverySettlement,
}

/// One engine on the file.
pub(super) struct Life {
    pub(super) engine: Engine,
    pub(super) me: Session,
    /// The file stays for as long as an engine is on it.
    _folder: Arc<Folder>,
}

/// A place where a request or a call waits until it is let go; clones are the same place.
#[derive(Clone)]
pub(super) struct Held(Arc<watch::Sender<BTreeSet<String>>>);

impl Held {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeSet::new())))
    }

    pub(super) fn hold(&self, name: &str) {
        self.0.send_if_modified(|held| held.insert(name.to_owned()));
    }

    pub(super) fn release(&self, name: &str) {
        self.0.send_if_modified(|held| held.remove(name));
    }

    async fn pass(&self, name: &str) {
        let mut held = self.0.subscribe();
        held.wait_for(|held| !held.contains(name)).await.expect("the sender lives");
    }
}

/// A request as the model service saw it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The agent's instructions.
    pub(super) agent: String,
    /// Which model call of the agent it is, from 1.
    pub(super) turn: usize,
}

impl Asked {
    fn new(request: &ModelRequest) -> Self {
        let agent = request.messages.first().map(|message| message.text_content()).unwrap_or_default();
        let turn = request.messages.iter().filter(|message| message.role == MessageRole::Assistant).count() + 1;
        Self { agent, turn }
    }

    /// The name the request is held by: `a/1`.
    fn name(&self) -> String {
        format!("{}/{}", self.agent, self.turn)
    }
}

/// A model service: it answers by a script and remembers every request it was sent.
#[derive(Clone)]
pub(super) struct Model {
    script: Scripted,
    asked: Arc<watch::Sender<Vec<Asked>>>,
    pub(super) held: Held,
    panics: Arc<AtomicBool>,
}

impl Model {
    fn new(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let script = Scripted::from_fn(move |request| {
            let reply = script(&Asked::new(request));
            if reply.is_error() { reply } else { reply.with_usage(usage()) }
        });
        let asked = Arc::new(watch::Sender::new(Vec::new()));
        Self { script, asked, held: Held::new(), panics: Arc::default() }
    }

    /// Lets the host's code panic where the engine counts the tokens of a second turn.
    pub(super) fn panics(&self, panics: bool) {
        self.panics.store(panics, Ordering::SeqCst);
    }

    /// Every request so far by name, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.borrow().iter().map(Asked::name).collect()
    }

    /// Waits until so many requests have come.
    pub(super) async fn was_asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        let come = asked.wait_for(|asked| asked.len() >= times);
        tokio::time::timeout(PATIENCE, come).await.expect("the request comes").expect("the sender lives");
    }
}

impl Provider for Model {
    fn name(&self) -> &str {
        "staged"
    }

    fn stream(&self, request: ModelRequest, context: CallContext) -> ModelStream {
        let model = self.clone();
        async move {
            let asked = Asked::new(&request);
            let name = asked.name();
            model.asked.send_modify(|all| all.push(asked));
            model.held.pass(&name).await;
            model.script.stream(request, context)
        }
        .into_stream()
        .flatten()
        .boxed()
    }

    fn input_token_bound(&self, request: &ModelRequest) -> u64 {
        assert!(!self.panics.load(Ordering::SeqCst) || Asked::new(request).turn == 1, "the host's code panics");
        1000
    }
}

/// A call as a tool saw it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Called {
    pub(super) tool: String,
    pub(super) key: String,
    pub(super) attempt: u32,
    pub(super) principal: Principal,
}

/// The host's functions `pure`, `idempotent` and `unsafe`, and everything they were called with.
#[derive(Clone)]
pub(super) struct Tools {
    calls: Arc<watch::Sender<Vec<Called>>>,
    pub(super) held: Held,
}

impl Tools {
    fn new() -> Self {
        Self { calls: Arc::new(watch::Sender::new(Vec::new())), held: Held::new() }
    }

    /// The calls of one tool so far.
    pub(super) fn calls(&self, tool: &str) -> Vec<Called> {
        self.calls.borrow().iter().filter(|call| call.tool == tool).cloned().collect()
    }

    /// Waits until a tool was called so many times.
    pub(super) async fn was_called(&self, tool: &str, times: usize) {
        let mut calls = self.calls.subscribe();
        let come = calls.wait_for(|calls| calls.iter().filter(|call| call.tool == tool).count() >= times);
        tokio::time::timeout(PATIENCE, come).await.expect("the call comes").expect("the sender lives");
    }
}

struct Probe {
    tools: Tools,
    name: &'static str,
    effect: Effect,
}

impl Tool for Probe {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(self.name, "Does it.", json!({"type": "object"}))
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn call(&self, _: Value, context: ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> {
        let (tools, tool) = (self.tools.clone(), self.name.to_owned());
        async move {
            let principal = context.session()?.principal().clone();
            let (key, attempt) = (context.idempotency_key, context.attempt);
            tools.calls.send_modify(|calls| calls.push(Called { tool: tool.clone(), key, attempt, principal }));
            tools.held.pass(&tool).await;
            Ok(json!(format!("{tool} done")))
        }
        .boxed()
    }
}

pub(super) const EFFECTS: [(&str, Effect); 3] =
    [("pure", Effect::Pure), ("idempotent", Effect::Idempotent), ("unsafe", Effect::Unsafe)];

impl Stage {
    /// A stage whose agents `a` and `child` (offered to `a`) answer by a script.
    pub(super) fn new(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let tools =
            EFFECTS.iter().fold(NewAgent::new("a", "m").instructions("a"), |agent, (tool, _)| agent.tool(*tool));
        Self {
            folder: Arc::new(Folder::new()),
            model: Model::new(script),
            tools: Tools::new(),
            agent: tools.agent("child"),
            child: NewAgent::new("child", "m").instructions("child").tool("idempotent"),
            without: BTreeSet::new(),
            settlement: RecoverySettlement::default(),
        }
    }

    /// A stage on which `a` first calls these tools at once and then answers.
    pub(super) fn calling(tools: &'static [&'static str]) -> Self {
        Self::new(move |asked| match asked.turn {
            1 if asked.agent == "a" && !tools.is_empty() => calls(1, tools, "help"),
            _ => Reply::text("done"),
        })
    }

    /// The same stage with a change to agent `a`.
    pub(super) fn with_agent(self, change: impl FnOnce(NewAgent) -> NewAgent) -> Self {
        Self { agent: change(self.agent), ..self }
    }

    /// The same stage with one more tool for agent `child`.
    pub(super) fn with_child_tool(self, tool: &str) -> Self {
        Self { child: self.child.tool(tool), ..self }
    }

    /// The same world, for an engine whose host does not register one of the functions.
    pub(super) fn without(&self, tool: &'static str) -> Self {
        Self { without: BTreeSet::from([tool]), ..self.clone() }
    }

    /// The same world, for engines that settle by this policy.
    pub(super) fn with_settlement(self, settlement: RecoverySettlement) -> Self {
        Self { settlement, ..self }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("blitz.db")
    }

    pub(super) fn builder(&self) -> EngineBuilder {
        let builder = Engine::builder(self.path().to_string_lossy()).with_provider(self.model.clone());
        builder.with_recovery_settlement(self.settlement)
    }

    /// An engine on the file, set up as a program does at each of its starts. It recovers nothing.
    pub(super) async fn open(&self) -> Life {
        self.open_by(self.builder()).await
    }

    /// The same, with settings of its own.
    pub(super) async fn open_by(&self, builder: EngineBuilder) -> Life {
        let engine = builder.open().await.expect("opens");
        let me = engine.root("test");
        let price = Price::per_million("1", "1").expect("a price");
        me.models().put(NewModel::new("m", "staged", "staged").with_price(price)).await.expect("a model");
        for (name, effect) in EFFECTS.into_iter().filter(|(name, _)| !self.without.contains(name)) {
            let probe = Probe { tools: self.tools.clone(), name, effect };
            me.tools().register(probe).await.expect("a tool");
        }
        me.agents().put(self.child.clone()).await.expect("a child");
        me.agents().put(self.agent.clone()).await.expect("an agent");
        Life { engine, me, _folder: Arc::clone(&self.folder) }
    }

    /// An engine on the file that goes on with what was cut off.
    pub(super) async fn recovered(&self) -> (Life, Vec<ExecutionId>) {
        let life = self.open().await;
        let taken = life.engine.recover().await.expect("recovers");
        (life, taken)
    }
}

impl Stage {
    /// A life that ends without a word in the middle of `part`'s work, as a killed process does.
    pub(super) async fn killed<T, F>(&self, part: impl FnOnce(Life) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let stage = self.clone();
        let life = move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async move { part(stage.open().await).await })
            // Here the runtime is dropped, and with it every task where it stands.
        };
        let others = self.alive();
        let told = tokio::task::spawn_blocking(life).await.expect("it does not panic");
        // Threads of the store may hold the last handle on the engine for a moment more.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.alive() > others {
            assert!(tokio::time::Instant::now() < deadline, "its lock is never let go");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        told
    }

    /// How many engines have the file open.
    fn alive(&self) -> usize {
        let files = std::fs::read_dir(self.folder.path()).expect("the folder").flatten();
        files.filter(|file| file.file_name().to_string_lossy().contains("-boot-")).count()
    }
}

impl Life {
    /// Starts agent `a`.
    pub(super) async fn start(&self) -> ExecutionId {
        self.me.start("a", "go").await.expect("starts").id()
    }

    /// Ends the engine at once: what runs is left where it is.
    pub(super) async fn cut(self) {
        self.engine.close_within(Duration::ZERO).await.expect("closes");
    }

    pub(super) async fn get(&self, id: ExecutionId) -> Execution {
        self.me.executions().get(id).await.expect("is there")
    }

    pub(super) async fn wait(&self, id: ExecutionId) -> Outcome {
        tokio::time::timeout(PATIENCE, self.me.executions().wait(id)).await.expect("ends in time").expect("ends")
    }

    /// Waits until an execution waits for decisions, and gives their keys.
    pub(super) async fn waits_for_decisions(&self, id: ExecutionId) -> Vec<String> {
        let execution = self.until(id, |execution| execution.status == ExecutionStatus::Waiting).await;
        execution.waiting_for.iter().map(decision_key).collect()
    }

    /// Waits until an execution is as wanted.
    pub(super) async fn until(&self, id: ExecutionId, wanted: impl Fn(&Execution) -> bool) -> Execution {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let execution = self.get(id).await;
            if wanted(&execution) {
                return execution;
            }
            assert!(tokio::time::Instant::now() < deadline, "it never came: {execution:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The whole journal of a tree that has ended.
    pub(super) async fn journal(&self, root: ExecutionId) -> Vec<Event> {
        let events = self.me.executions().events(root, 0).map(|event| event.expect("an event")).collect::<Vec<_>>();
        let events = tokio::time::timeout(PATIENCE, events).await.expect("it has ended");
        for (place, event) in (1..).zip(&events) {
            assert_eq!(event.seq, place, "no gap in the journal");
        }
        events
    }

    /// What the ledger has booked for a tree.
    pub(super) async fn booked(&self, root: ExecutionId) -> CostSummary {
        self.me.costs().summary(CostFilter::of_root(root)).await.expect("a sum")
    }

    /// Holds an outcome against the ledger, the budgets' windows and the trail.
    pub(super) async fn audit(&self, outcome: &Outcome) {
        let booked = self.booked(outcome.execution_id).await;
        assert_eq!((outcome.cost, outcome.usage), (booked.known_cost(), booked.usage), "the outcome is what is booked");
        self.me.budgets().verify().await.expect("the windows follow from the ledger");
        assert_eq!(self.me.audit().verify(None).await.expect("reads").first_bad, None);
    }
}

fn decision_key(wait: &Waiting) -> String {
    match wait {
        Waiting::Decision { key, .. } => key.clone(),
        other => panic!("it waits for something else: {other:?}"),
    }
}

fn usage() -> Usage {
    Usage::new(USAGE.0, USAGE.1)
}

/// Calls of several tools at once, with ids that do not depend on who answers; `child` is told `input`.
pub(super) fn calls(turn: usize, tools: &[&str], input: &str) -> Reply {
    let call = |(index, tool): (usize, &&str)| {
        let arguments = if *tool == "child" { json!({"input": input}) } else { json!({}) };
        Part::ToolCall(ToolCall::new(format!("call_{turn}_{index}"), *tool, arguments.to_string()))
    };
    Reply::parts(tools.iter().enumerate().map(call).collect())
}

/// A failure that may pass, with a wait that the provider asks for.
pub(super) fn busy(retry_after: Duration) -> Reply {
    Reply::error(Error::Provider {
        code: ErrorCode::RateLimited,
        provider: "staged".into(),
        status: Some(429),
        retry_after: Some(retry_after),
        retryable: true,
        charged: Charged::No,
        usage: None,
        message: "busy".into(),
        source: None,
    })
}

/// Each attempt of the steps of a kind that a journal shows, as `path#attempt`.
pub(super) fn attempts(journal: &[Event], of: ExecutionId) -> BTreeMap<String, u32> {
    let mut attempts = BTreeMap::new();
    for event in journal.iter().filter(|event| event.execution_id == of) {
        let attempt = match &event.data {
            EventData::StepStarted(started) => started.attempt,
            EventData::ToolStarted(started) => started.attempt,
            _ => continue,
        };
        attempts.insert(event.path.clone(), attempt);
    }
    attempts
}
