//! Starting agents, and the handle on what was started.

use std::any::Any;
use std::sync::Arc;

use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Session;
use super::stream::{Ear, EventStream};
use crate::access::{ExecutionStore, Target};
use crate::domain::schema::{admit_kept, taken};
use crate::domain::{
    Answer, Decision, Event, EventData, ExecutionId, NodeState, Outcome, Permission, PictureFormat, ResourceId,
    ResourceRef, RunOptions,
};
use crate::error::{Error, ErrorCode, Result};
use crate::execution::begin::{Beginning, Begins, What, begin};
use crate::execution::rerun::Rerun;
use crate::execution::{Runtime, Started, fresh_seed, recover, redrive};
use crate::tool::EffectScope;
use crate::tool::permit::apart;

/// An execution that was started: it runs by itself, whatever becomes of the handle.
#[derive(Clone, Debug)]
pub struct ExecutionHandle {
    session: Session,
    id: ExecutionId,
}

impl ExecutionHandle {
    pub(super) fn new(session: Session, id: ExecutionId) -> Self {
        Self { session, id }
    }

    /// Its id.
    pub fn id(&self) -> ExecutionId {
        self.id
    }

    /// Its events from the beginning: what is written is read again, what comes is awaited.
    ///
    /// Readers come and go and do not slow it. The last event is the root's `execution.finished`.
    pub fn events(&self) -> EventStream {
        self.events_after(0)
    }

    /// Its events behind a place.
    pub fn events_after(&self, seq: i64) -> EventStream {
        EventStream::new(self.session.clone(), self.id, seq)
    }

    /// Waits for its end, wherever it runs.
    pub async fn wait(&self) -> Result<Outcome> {
        self.session.executions().wait(self.id).await
    }

    /// Asks for its end. Asking twice is the same as once; one that has ended is a `Conflict`.
    pub async fn cancel(&self) -> Result<()> {
        self.session.executions().cancel(self.id).await
    }

    /// Answers a question that it asks a person.
    pub async fn approve(&self, key: &str, answer: Answer) -> Result<()> {
        self.session.executions().approve(self.id, key, answer).await
    }

    /// How the nodes of a workflow's execution stand: those of one scope, `""` for the workflow itself.
    pub async fn nodes(&self, path: &str) -> Result<Vec<NodeState>> {
        self.session.executions().nodes(self.id, path).await
    }

    /// A picture of a workflow's execution as it stands.
    pub async fn picture(&self, format: PictureFormat) -> Result<String> {
        self.session.executions().picture(self.id, format).await
    }

    /// Runs a workflow that has ended again, as a new execution.
    pub async fn rerun(&self, rerun: Rerun) -> Result<ExecutionHandle> {
        self.session.executions().rerun(self.id, rerun).await
    }

    /// Decides what becomes of a step that waits.
    pub async fn decide(&self, key: &str, decision: Decision) -> Result<()> {
        self.session.executions().decide(self.id, key, decision).await
    }
}

/// An agent to run.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// The agent's id, its name, or `owner/name`.
    pub(super) agent: ResourceRef,
    /// What it is given: text, any JSON, or `{"parts": […]}` of texts, images and files.
    #[serde(default)]
    pub(super) input: Value,
    /// What holds for this run.
    #[serde(default)]
    pub(super) options: RunOptions,
}

impl Run {
    /// Errors: `InvalidInput` for an input that is nested too deep to be looked at.
    pub(super) fn new(agent: ResourceRef, input: Value, options: RunOptions) -> Result<Self> {
        Ok(Self { agent, input: taken("the input", input)?, options })
    }
}

/// A root execution that ends when its caller goes away.
pub(super) struct Owned {
    ending: Ending,
    guard: Option<DropGuard>,
}

/// How the caller of a run hears of its end.
enum Ending {
    /// Whoever began it is told.
    Begun(oneshot::Receiver<Result<Outcome>>, EffectScope),
    /// It was begun before, under the same key of the caller's own.
    Known(Session, ExecutionId, Option<ExecutionStore>),
}

impl std::fmt::Debug for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Begun(..) => "Begun",
            Self::Known(..) => "Known",
        })
    }
}

impl Ending {
    async fn wait(self) -> Result<Outcome> {
        match self {
            Self::Begun(outcome, scope) => apart(&scope, outcome).await.map_err(|_| broken_off())?,
            Self::Known(session, id, None) => session.executions().wait(id).await,
            Self::Known(session, id, Some(store)) => own_outcome(session, id, store).await,
        }
    }
}

/// A run behind its first transaction.
pub(super) enum First {
    /// It was begun here.
    Begun(Started, Option<Ear>),
    /// It was begun before, under the same key of the caller's own.
    Known(ExecutionId, Option<ExecutionStore>),
}

impl First {
    /// The execution's id.
    pub(super) fn id(&self) -> ExecutionId {
        match self {
            Self::Begun(started, _) => started.id,
            Self::Known(id, _) => *id,
        }
    }
}

impl Session {
    /// Begins an execution in one transaction and drives it in a task of its own.
    ///
    /// Whoever stops waiting for this in the middle leaves no execution that nobody drives.
    pub(super) async fn begin(&self, run: Run, cancel: CancellationToken, audience: Audience) -> Result<First> {
        admit_kept("the input", &run.input)?;
        run.options.check()?;
        let session = self.clone();
        self.inner.runtime.to_its_end(async move { session.begin_here(run, cancel, audience).await }).await
    }

    async fn begin_here(&self, run: Run, cancel: CancellationToken, audience: Audience) -> Result<First> {
        let Run { agent, input, options } = run;
        let runtime = Arc::clone(&self.inner.runtime);
        let seed = fresh_seed()?;
        let target = Target::Runnable(agent);
        let beginning = self
            .write(Permission::AgentsRun, target, "agents.run", move |tx, grant| {
                let what = What::Run { input: &input, options: &options, trigger: &Value::Null };
                begin(tx, grant, &runtime, &what, seed)
            })
            .await?;
        Ok(match beginning {
            Begins::New(beginning) => {
                let (started, ear) = self.launch(*beginning, cancel, audience);
                First::Begun(started, ear)
            }
            Begins::Known(id, own) => First::Known(id, own),
        })
    }

    /// Runs a workflow again; the execution runs by itself.
    pub(super) async fn begin_again(&self, of: ExecutionId, rerun: Rerun) -> Result<ExecutionId> {
        if let Some(input) = &rerun.input {
            admit_kept("the input", input)?;
        }
        let session = self.clone();
        self.inner.runtime.to_its_end(async move { session.begin_again_here(of, rerun).await }).await
    }

    async fn begin_again_here(&self, of: ExecutionId, rerun: Rerun) -> Result<ExecutionId> {
        let id = self.ran(of).await?;
        let runtime = Arc::clone(&self.inner.runtime);
        let seed = fresh_seed()?;
        let target = Target::Runnable(id.into());
        let beginning = self
            .write(Permission::AgentsRun, target, "executions.rerun", move |tx, grant| {
                begin(tx, grant, &runtime, &What::Again { of, rerun: &rerun }, seed)
            })
            .await?;
        Ok(match beginning {
            Begins::New(beginning) => self.launch(*beginning, CancellationToken::new(), Audience::Open).0.id,
            Begins::Known(id, _) => id,
        })
    }

    /// Runs what failed of a workflow's execution again; it runs by itself.
    pub(super) async fn redrive(&self, id: ExecutionId) -> Result<()> {
        let session = self.clone();
        self.inner.runtime.to_its_end(async move { session.redrive_here(id).await }).await
    }

    /// What an execution runs.
    async fn ran(&self, id: ExecutionId) -> Result<ResourceId> {
        let execution = self.executions().get(id).await?;
        let ran = execution.agent_id.or(execution.workflow_id);
        ran.ok_or_else(|| Error::storage("an execution runs nothing"))
    }

    async fn redrive_here(&self, id: ExecutionId) -> Result<()> {
        let workflow = self.ran(id).await?;
        let runtime = Arc::clone(&self.inner.runtime);
        let target = Target::Runnable(workflow.into());
        let claimed = self
            .write(Permission::AgentsRun, target, "executions.redrive", move |tx, grant| {
                redrive::redrive(tx, grant, &runtime, id)
            })
            .await?;
        let acting = Session::new(Arc::clone(&self.inner), claimed.caller.clone()).shared();
        self.inner.runtime.relaunch(claimed, acting);
        Ok(())
    }

    pub(super) fn launch(
        &self,
        beginning: Beginning,
        cancel: CancellationToken,
        audience: Audience,
    ) -> (Started, Option<Ear>) {
        let Beginning { setup, begun, events, store, keep } = beginning;
        let (runtime, root) = (&self.inner.runtime, begun.ids.root_id);
        if let Some((key, generation, prepared)) = keep {
            runtime.setups.keep(key, generation, prepared);
        }
        let ear = || Ear { live: runtime.hub.subscribe(root), store: store.clone() };
        let ear = (audience == Audience::Events).then(ear);
        runtime.hub.publish(root, events);
        (runtime.launch(store, setup, begun, cancel, audience != Audience::Outcome, Some(self.shared())), ear)
    }

    /// Begins an execution whose caller owns it: one that goes away while it begins cancels it too, unless
    /// a key of its own stands for it, for whoever asks again by the key.
    pub(super) async fn begin_owned(&self, run: Run) -> Result<Owned> {
        let cancel = CancellationToken::new();
        let guard = run.options.client_key.is_none().then(|| cancel.clone().drop_guard());
        let ending = match self.begin(run, cancel, Audience::Outcome).await? {
            First::Begun(started, _) => Ending::Begun(started.outcome, self.scope.clone()),
            First::Known(id, own) => Ending::Known(self.clone(), id, own),
        };
        Ok(Owned { ending, guard })
    }

    /// The same for a caller that reads its events: it hears the first one too.
    pub(super) async fn begin_heard(&self, run: Run) -> Result<HeardRun> {
        let cancel = CancellationToken::new();
        let guard = run.options.client_key.is_none().then(|| cancel.clone().drop_guard());
        let (events, ending) = match self.begin(run, cancel.clone(), Audience::Events).await? {
            First::Begun(Started { id, outcome }, ear) => {
                let events = match ear {
                    Some(ear) => EventStream::from_the_first(self.clone(), id, ear),
                    None => EventStream::new(self.clone(), id, 0),
                };
                (events, Ending::Begun(outcome, self.scope.clone()))
            }
            First::Known(id, own) => {
                (EventStream::of_known(self.clone(), id, own.clone()), Ending::Known(self.clone(), id, own))
            }
        };
        Ok(HeardRun { events: events.owned_by(guard), cancel, ending })
    }

    /// Goes on with every interrupted execution that this process can run.
    pub(super) async fn recover_all(&self) -> Result<Vec<ExecutionId>> {
        let session = self.clone();
        let taken = self.inner.runtime.to_its_end(async move { session.recover_here().await }).await;
        // The host's functions are here by now: schedules may fire.
        self.inner.dispatch.notify_one();
        taken
    }

    async fn recover_here(&self) -> Result<Vec<ExecutionId>> {
        let Runtime { boot, bell, settlement, .. } = &*self.inner.runtime;
        recover::settle_dead(&self.inner.work, boot, bell, *settlement).await?;
        recover::recover_all(&self.inner.gate, &self.caller, &self.inner.runtime, &|caller| {
            Session::new(Arc::clone(&self.inner), caller).shared()
        })
        .await
    }

    /// The session as tools are handed it: it lasts as long as the execution, whatever becomes of the login.
    fn shared(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(self.acting())
    }
}

/// Who is there when an execution begins. For a caller that waits for the outcome alone the model's
/// answers are not streamed, unless its settings say so: whole ones cost less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Nobody yet; readers may come.
    Open,
    /// A caller that waits for the outcome.
    Outcome,
    /// A caller that reads its events.
    Events,
}

impl Owned {
    /// Waits for the end; dropping this future cancels, unless a key of the caller's stands for it.
    pub(super) async fn outcome(self) -> Result<Outcome> {
        let outcome = self.ending.wait().await;
        self.guard.map(DropGuard::disarm);
        outcome
    }
}

/// Waits for the end of the caller's own execution, which it need not be allowed to look up.
async fn own_outcome(session: Session, id: ExecutionId, store: ExecutionStore) -> Result<Outcome> {
    let mut events = EventStream::of_known(session, id, Some(store.clone()));
    let outcome = || store.read(move |tx, _| recover::outcome(tx, id));
    while let Some(event) = events.next().await {
        let event = event?;
        if event.execution_id == id && matches!(event.data, EventData::ExecutionFinished(_)) {
            match outcome().await {
                // It was redriven since.
                Err(error) if error.code() == ErrorCode::Conflict => {}
                outcome => return outcome,
            }
        }
    }
    outcome().await
}

fn broken_off() -> Error {
    Error::interrupted("the runtime ended while the execution ran")
}

/// A run whose caller hears its events; dropped before the end, it cancels the execution, unless it has a
/// `client_key`.
///
/// It is its caller's from the beginning to the end: a login that ends meanwhile takes neither the
/// events nor the outcome away.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use blitz::{Engine, NewAgent, NewModel, RunOptions};
///
/// let engine = Engine::open(":memory:").await?;
/// let me = engine.root("an example");
/// me.models().put(NewModel::new("m", "offline", "offline")).await?;
/// me.agents().put(NewAgent::new("helper", "m")).await?;
/// let mut run = me.agents().run_heard("helper", "Rivers carry water to the sea.", RunOptions::default()).await?;
/// let mut heard = 0;
/// while let Some(event) = run.next().await {
///     event?;
///     heard += 1;
/// }
/// assert!(heard > 0 && run.outcome().await?.text().contains("Rivers"));
/// # engine.close().await?;
/// # Ok::<(), blitz::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HeardRun {
    events: EventStream,
    cancel: CancellationToken,
    ending: Ending,
}

impl HeardRun {
    /// The next event; `None` behind the last. Errors: it cannot be read; the execution goes on all the same.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        self.events.next().await
    }

    /// Asks for the end of the execution; one that was begun before, under the same `client_key`, goes on.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the end, whether the events were read or not. Dropping the future cancels, unless the run
    /// has a `client_key`.
    ///
    /// Errors: `Interrupted` where the engine closes first.
    pub async fn outcome(self) -> Result<Outcome> {
        let Self { mut events, ending, .. } = self;
        let outcome = ending.wait().await;
        events.disown();
        outcome
    }

    /// The events alone; they own the execution.
    pub(super) fn into_events(self) -> EventStream {
        self.events
    }
}
