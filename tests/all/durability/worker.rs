//! A process that runs executions until it is killed: this test program again, in a role.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blitz::error::Charged;
use blitz::provider::{CallContext, ModelStream, Provider, Reply, Scripted};
use blitz::tool::{Tool, ToolContext, ToolError};
use blitz::{
    Decision, Effect, Engine, Error, ErrorCode, EventData, Execution, ExecutionFilter, ExecutionId, ExecutionStatus,
    ListOptions, MessageRole, ModelRequest, NewAgent, NewBudget, NewModel, NewUser, Price, Result, RetryPolicy,
    Session, ToolSpec, Usage, Visibility, Waiting,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::stage::{EFFECTS, calls};
use super::truth::{Fact, Request, Truth};

/// Tells [`worker`] what to do; without it, it is a test that does nothing.
const ROLE: &str = "BLITZ_TEST_ROLE";
const FOLDER: &str = "BLITZ_TEST_FOLDER";
const SEED: &str = "BLITZ_TEST_SEED";

/// How many executions a worker keeps going.
const AT_ONCE: usize = 16;

/// What each model call uses and so costs, at a dollar a million tokens.
pub(super) const CALL: (u64, u64) = (100, 10);

const USER: (&str, &str) = ("ann@example.org", "sk-canary long password");

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// Recovers once, then starts executions and keeps them going.
    Run,
    /// The same, but recovers again and again, and cancels some that others run.
    Share,
    /// Starts one execution and dies behind this record of its journal.
    DieBehind(i64),
    /// Starts executions and holds each model call until a file appears.
    Hold,
}

impl Role {
    fn name(self) -> String {
        match self {
            Self::Run => "run".into(),
            Self::Share => "share".into(),
            Self::DieBehind(seq) => format!("die:{seq}"),
            Self::Hold => "hold".into(),
        }
    }

    fn named(name: &str) -> Self {
        match (name, name.strip_prefix("die:")) {
            ("run", _) => Self::Run,
            ("share", _) => Self::Share,
            ("hold", _) => Self::Hold,
            (_, Some(seq)) => Self::DieBehind(seq.parse().expect("a number")),
            _ => panic!("no such role: {name}"),
        }
    }
}

/// Starts a worker on a folder.
pub(super) fn start(role: Role, folder: &Path, seed: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "durability::worker::worker", "--nocapture"]);
    command.env(ROLE, role.name()).env(FOLDER, folder).env(SEED, seed.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("a worker")
}

/// What a worker does. In a plain run of the tests there is no role, and nothing happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let (Ok(role), Some(folder)) = (std::env::var(ROLE), std::env::var_os(FOLDER)) else { return };
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).expect("a seed");
    let world = World::new(&PathBuf::from(folder), seed);
    match Role::named(&role) {
        Role::Run => world.run(false).await,
        Role::Share => world.run(true).await,
        Role::DieBehind(seq) => world.die_behind(seq).await,
        Role::Hold => super::budgets::hold(&world).await,
    }
}

/// Tells whoever started this process.
pub(super) fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may listen any more.
    let _ = writeln!(out, "\n{line}").and_then(|()| out.flush());
}

/// A small generator, so that a run can be repeated by its seed.
pub(super) struct Chance(AtomicU64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1))
    }

    /// A number below `bound`.
    pub(super) fn below(&self, bound: u64) -> u64 {
        let step = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (step ^ (step >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Does something again and again, with a pause in milliseconds, for as long as the process lives.
fn again<F: Future<Output = ()> + Send>(pause: u64, deed: impl Fn() -> F + Send + 'static) {
    tokio::spawn(async move {
        loop {
            // Whatever panics here must not be silent: the campaign would go on and show less.
            if std::panic::AssertUnwindSafe(deed()).catch_unwind().await.is_err() {
                std::process::abort();
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    });
}

async fn recover(engine: Engine) {
    engine.recover().await.expect("recovers");
}

/// The file and the world around it, as every process sees them.
#[derive(Clone)]
pub(super) struct World {
    folder: PathBuf,
    pub(super) truth: Arc<Truth>,
    chance: Arc<Chance>,
    /// The pause before and behind what a tool or model does, at most; fixed for a steady world.
    pause: Pause,
}

#[derive(Debug, Clone, Copy)]
enum Pause {
    UpTo(u64),
    Of(u64),
}

impl World {
    pub(super) fn new(folder: &Path, seed: u64) -> Self {
        let truth = Arc::new(Truth::at(folder));
        Self { folder: folder.to_owned(), truth, chance: Arc::new(Chance::new(seed)), pause: Pause::UpTo(12) }
    }

    /// The same world in which everything takes this many milliseconds and nothing fails.
    fn steady(self, millis: u64) -> Self {
        Self { pause: Pause::Of(millis), ..self }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    async fn pause(&self) {
        let millis = match self.pause {
            Pause::UpTo(most) => self.chance.below(most),
            Pause::Of(millis) => millis,
        };
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    fn fails(&self) -> bool {
        matches!(self.pause, Pause::UpTo(_)) && self.chance.below(25) == 0
    }

    /// An engine on the file as a program sets it up at each of its starts.
    pub(super) async fn open(&self) -> (Engine, Session) {
        self.open_with(Service::new(self.clone())).await
    }

    /// The same over another model service.
    pub(super) async fn open_with(&self, service: impl Provider) -> (Engine, Session) {
        let path = self.folder.join("blitz.db");
        let engine = Engine::builder(path.to_string_lossy()).with_provider(service).open().await.expect("opens");
        let me = engine.root("worker");
        let price = Price::per_million("1", "1").expect("a price");
        me.models().put(NewModel::new("m", "service", "service").with_price(price)).await.expect("a model");
        let mut parent = NewAgent::new("parent", "m").instructions("parent");
        for (name, effect) in EFFECTS {
            me.tools().register(Deed { world: self.clone(), name, effect }).await.expect("a tool");
            parent = parent.tool(name);
        }
        let retry = RetryPolicy::attempts(100, Duration::from_millis(1));
        let child = NewAgent::new("child", "m").instructions("child").tool("idempotent").tool("unsafe");
        me.agents().put(child.retry(retry.clone())).await.expect("a child");
        me.agents().put(parent.agent("child").retry(retry)).await.expect("an agent");
        (engine, me)
    }

    /// What is made once: a user who may use it all, a budget on users and one on executions.
    pub(super) async fn found(&self) {
        let (engine, me) = self.open().await;
        me.users().create(NewUser::new(USER.0, USER.1)).await.expect("a user");
        me.models().set_visibility("m", Visibility::Shared).await.expect("shared");
        for agent in ["parent", "child"] {
            me.agents().set_visibility(agent, Visibility::Shared).await.expect("shared");
        }
        for (tool, _) in EFFECTS {
            me.tools().set_visibility(tool, Visibility::Shared).await.expect("shared");
        }
        let limit = |text| blitz::Money::parse(text).expect("an amount");
        me.budgets().put(NewBudget::per_user("users", limit("1000"))).await.expect("a budget");
        me.budgets().put(NewBudget::per_execution("executions", limit("1"))).await.expect("a budget");
        engine.close().await.expect("closes");
    }

    /// The user's way in.
    pub(super) async fn login(&self, engine: &Engine) -> Session {
        engine.login(USER.0, USER.1).await.expect("logs in")
    }

    /// Goes on with what there is and keeps executions going, until this process is killed.
    async fn run(&self, shares: bool) {
        let (engine, me) = self.open().await;
        let user = self.login(&engine).await;
        tell("ready");
        let mut going = JoinSet::new();
        let wait = |id: ExecutionId| {
            let me = me.clone();
            async move { drop(me.executions().wait(id).await) }
        };
        for id in engine.recover().await.expect("recovers") {
            going.spawn(wait(id));
        }
        let (world, asker) = (self.clone(), me.clone());
        again(20, move || world.clone().decide(asker.clone()));
        if shares {
            again(5, move || recover(engine.clone()));
            let (world, asker) = (self.clone(), me.clone());
            again(20, move || world.clone().cancel_one(asker.clone()));
        }
        for number in 0.. {
            while going.len() >= AT_ONCE {
                going.join_next().await;
            }
            let label = format!("{}-{number}", std::process::id());
            let id = user.start("parent", label.as_str()).await.expect("starts").id();
            tell(&format!("started {label} {id}"));
            going.spawn(wait(id));
        }
    }

    /// Starts one execution and dies as soon as a record of its journal is written.
    async fn die_behind(self, seq: i64) {
        let world = self.steady(10);
        let (engine, me) = world.open().await;
        let user = world.login(&engine).await;
        for id in engine.recover().await.expect("recovers") {
            world.see_to_its_end(&me, id).await;
        }
        let label = format!("{}-{seq}", std::process::id());
        let handle = user.start("parent", label.as_str()).await.expect("starts");
        tell(&format!("started {label} {}", handle.id()));
        let mut events = handle.events();
        while let Some(event) = events.next().await {
            if event.expect("an event").seq >= seq {
                std::process::abort();
            }
        }
        tell("ended");
    }

    /// Brings everything that is open to its end, as a process does that nobody kills.
    pub(super) async fn finish(&self, engine: &Engine, me: &Session) {
        loop {
            engine.recover().await.expect("recovers");
            let open = self.open_executions(me).await;
            if open.is_empty() {
                return;
            }
            for execution in open {
                self.see_to_its_end(me, execution.id).await;
            }
        }
    }

    async fn open_executions(&self, me: &Session) -> Vec<Execution> {
        let mut open = Vec::new();
        for status in [ExecutionStatus::Running, ExecutionStatus::Waiting] {
            let page = ListOptions::default();
            open.extend(me.executions().list(ExecutionFilter::in_status(status), page).await.expect("lists").items);
        }
        open
    }

    /// Waits for the end of an execution, deciding by the truth whatever is in doubt on the way.
    pub(super) async fn see_to_its_end(&self, me: &Session, id: ExecutionId) {
        let executions = me.executions();
        let end = executions.wait(id);
        let decide = async {
            loop {
                self.clone().decide(me.clone()).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), async {
            tokio::select! { outcome = end => drop(outcome.expect("ends")), () = decide => {} }
        });
        if ended.await.is_err() {
            panic!("it never ended: {:?}", me.executions().get(id).await);
        }
    }

    /// Decides each unsafe effect in doubt by what really happened.
    async fn decide(self, me: Session) {
        let mut waiting = ExecutionFilter::in_status(ExecutionStatus::Waiting);
        waiting.children = true;
        for execution in me.executions().list(waiting, ListOptions::default()).await.expect("lists").items {
            // Whoever ran it may be gone, and its tool with it; while it waits here, nobody runs its tool.
            for wait in execution.waiting_for {
                let Waiting::Decision { key, .. } = wait else { continue };
                let decision = if key == "resume" {
                    // Killed again and again before it got any further: try once more.
                    Decision::Rerun
                } else {
                    let called = self.idempotency_key(&me, execution.root_id, execution.id, &key).await;
                    match self.truth.is_done(&called) {
                        true => Decision::Skip { value: json!("unsafe done") },
                        false => Decision::Rerun,
                    }
                };
                match me.executions().decide(execution.id, key, decision).await {
                    Ok(()) => {}
                    // Another process was faster.
                    Err(error) => assert_eq!(error.code(), ErrorCode::Conflict, "{error}"),
                }
            }
        }
    }

    async fn idempotency_key(&self, me: &Session, root: ExecutionId, id: ExecutionId, path: &str) -> String {
        let mut events = me.executions().events(root, 0);
        while let Some(event) = events.next().await {
            let event = event.expect("an event");
            if event.execution_id == id
                && event.path == path
                && let EventData::ToolStarted(started) = event.data
            {
                return started.idempotency_key;
            }
        }
        panic!("a tool in doubt was never started");
    }

    /// Now and then asks for the end of an execution, whoever runs it.
    async fn cancel_one(self, me: Session) {
        if self.chance.below(8) > 0 {
            return;
        }
        let open = self.open_executions(&me).await;
        let Some(chosen) = open.get(self.chance.below(open.len().max(1) as u64) as usize) else { return };
        if let Err(error) = me.executions().cancel(chosen.id).await {
            assert_eq!(error.code(), ErrorCode::Conflict, "{error}");
        }
    }
}

/// The model service: it answers by a fixed script and notes what it is asked.
pub(super) struct Service {
    world: World,
    script: Scripted,
}

impl Service {
    pub(super) fn new(world: World) -> Self {
        let script = Scripted::from_fn(|request| {
            let Request { label, agent, turn } = request_of(request);
            let reply = match (agent.as_str(), turn) {
                ("parent", 1) => calls(1, &["pure", "idempotent", "unsafe"], &label),
                ("parent", 2) => calls(2, &["child", "pure"], &label),
                ("child", 1) => calls(1, &["idempotent", "unsafe"], &label),
                _ => Reply::text("done"),
            };
            reply.with_usage(Usage::new(CALL.0, CALL.1))
        });
        Self { world, script }
    }
}

/// Whose request it is: the label comes with the root's input, and with what the child is told.
pub(super) fn request_of(request: &ModelRequest) -> Request {
    let text =
        |role| request.messages.iter().find(|message| message.role == role).map(|message| message.text_content());
    let turn = request.messages.iter().filter(|message| message.role == MessageRole::Assistant).count() + 1;
    Request {
        label: text(MessageRole::User).unwrap_or_default(),
        agent: text(MessageRole::System).unwrap_or_default(),
        turn,
    }
}

impl Provider for Service {
    fn name(&self) -> &str {
        "service"
    }

    fn stream(&self, request: ModelRequest, context: CallContext) -> ModelStream {
        let (world, script) = (self.world.clone(), self.script.clone());
        async move {
            let of = request_of(&request);
            world.truth.tell(Fact::Asked(of.clone()));
            world.pause().await;
            if world.fails() {
                let busy = Error::Provider {
                    code: ErrorCode::Unavailable,
                    provider: "service".into(),
                    status: Some(503),
                    retry_after: None,
                    retryable: true,
                    charged: Charged::No,
                    usage: None,
                    message: "busy".into(),
                    source: None,
                };
                return futures_util::stream::iter([Err(busy)]).boxed();
            }
            world.truth.tell(Fact::Answered(of));
            script.stream(request, context)
        }
        .into_stream()
        .flatten()
        .boxed()
    }
}

/// A function of the host that does something to the world, and takes its time before and behind it.
struct Deed {
    world: World,
    name: &'static str,
    effect: Effect,
}

impl Tool for Deed {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(self.name, "Does it.", json!({"type": "object"}))
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn call(&self, _: Value, context: ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> {
        let (world, tool) = (self.world.clone(), self.name.to_owned());
        let lasts = self.effect == Effect::Unsafe;
        async move {
            world.pause().await;
            let done = Fact::Done { tool: tool.clone(), key: context.idempotency_key };
            if lasts {
                world.truth.tell_for_good(done)
            } else {
                world.truth.tell(done)
            }
            world.pause().await;
            Ok(json!(format!("{tool} done")))
        }
        .boxed()
    }
}
