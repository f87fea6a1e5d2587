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
use crate::access::Target;
use crate::domain::schema::admit_kept;
use crate::domain::{Decision, Event, ExecutionId, Outcome, Permission, ResourceRef, RunOptions};
use crate::error::{Error, Result};
use crate::execution::begin::{Beginning, What, begin};
use crate::execution::rerun::Rerun;
use crate::execution::{Started, fresh_seed, recover, redrive};

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
    /// What it is given.
    #[serde(default)]
    pub(super) input: Value,
    /// What holds for this run.
    #[serde(default)]
    pub(super) options: RunOptions,
}

/// A root execution that ends when its caller goes away.
pub(super) struct Owned {
    started: Started,
    guard: DropGuard,
}

impl Session {
    /// Begins an execution in one transaction and drives it in a task of its own.
    ///
    /// Whoever stops waiting for this in the middle leaves no execution that nobody drives.
    pub(super) async fn begin(
        &self,
        run: Run,
        cancel: CancellationToken,
        audience: Audience,
    ) -> Result<(Started, Option<Ear>)> {
        admit_kept("the input", &run.input)?;
        run.options.check()?;
        let session = self.clone();
        self.inner.runtime.to_its_end(async move { session.begin_here(run, cancel, audience).await }).await
    }

    async fn begin_here(
        &self,
        run: Run,
        cancel: CancellationToken,
        audience: Audience,
    ) -> Result<(Started, Option<Ear>)> {
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
        Ok(self.launch(beginning, cancel, audience))
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
        let id = self.executions().get(of).await?.agent_id;
        let runtime = Arc::clone(&self.inner.runtime);
        let seed = fresh_seed()?;
        let target = Target::Runnable(id.into());
        let beginning = self
            .write(Permission::AgentsRun, target, "executions.rerun", move |tx, grant| {
                begin(tx, grant, &runtime, &What::Again { of, rerun: &rerun }, seed)
            })
            .await?;
        Ok(self.launch(beginning, CancellationToken::new(), Audience::Open).0.id)
    }

    /// Runs what failed of a workflow's execution again; it runs by itself.
    pub(super) async fn redrive(&self, id: ExecutionId) -> Result<()> {
        let session = self.clone();
        self.inner.runtime.to_its_end(async move { session.redrive_here(id).await }).await
    }

    async fn redrive_here(&self, id: ExecutionId) -> Result<()> {
        let workflow = self.executions().get(id).await?.agent_id;
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

    /// Begins an execution whose caller owns it: one that goes away while it begins cancels it too.
    pub(super) async fn begin_owned(&self, run: Run) -> Result<Owned> {
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let (started, _) = self.begin(run, cancel, Audience::Outcome).await?;
        Ok(Owned { started, guard })
    }

    /// The same for a caller that reads its events: it hears the first one too.
    pub(super) async fn begin_heard(&self, run: Run) -> Result<HeardRun> {
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let (Started { id, outcome }, ear) = self.begin(run, cancel.clone(), Audience::Events).await?;
        let events = match ear {
            Some(ear) => EventStream::from_the_first(self.clone(), id, ear),
            None => EventStream::new(self.clone(), id, 0),
        };
        Ok(HeardRun { events: events.owning(guard), cancel, outcome })
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
        recover::settle_dead(&self.inner.work, &self.inner.runtime.boot).await?;
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
    /// Waits for the end; dropping this future cancels.
    pub(super) async fn outcome(self) -> Result<Outcome> {
        let outcome = self.started.outcome.await.map_err(|_| broken_off())?;
        self.guard.disarm();
        outcome
    }
}

fn broken_off() -> Error {
    Error::interrupted("the runtime ended while the execution ran")
}

/// A run whose caller hears its events; dropped before the end, it cancels the execution.
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
    outcome: oneshot::Receiver<Result<Outcome>>,
}

impl HeardRun {
    /// The next event; `None` behind the last. Errors: it cannot be read; the execution goes on all the same.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        self.events.next().await
    }

    /// Asks for the end of the execution.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the end, whether the events were read or not. Dropping the future cancels.
    ///
    /// Errors: `Interrupted` where the engine closes first.
    pub async fn outcome(self) -> Result<Outcome> {
        let Self { mut events, outcome, .. } = self;
        let outcome = outcome.await.map_err(|_| broken_off())?;
        events.disown();
        outcome
    }

    /// The events alone; they own the execution.
    pub(super) fn into_events(self) -> EventStream {
        self.events
    }
}
