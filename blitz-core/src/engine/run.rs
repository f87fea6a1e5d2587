//! Starting agents, and the handle on what was started.

use std::any::Any;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Session;
use super::stream::{EventStream, Live};
use crate::access::Target;
use crate::domain::schema::admit_kept;
use crate::domain::{Decision, ExecutionId, Outcome, Permission, ResourceKind, ResourceRef, RunOptions};
use crate::error::{Error, Result};
use crate::execution::begin::{Beginning, begin};
use crate::execution::{Started, fresh_seed, recover};

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
    ) -> Result<(Started, Option<Live>)> {
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
    ) -> Result<(Started, Option<Live>)> {
        let Run { agent, input, options } = run;
        let runtime = Arc::clone(&self.inner.runtime);
        let seed = fresh_seed()?;
        let target = Target::Resource(ResourceKind::Agent, agent);
        let beginning = self
            .write(Permission::AgentsRun, target, "agents.run", move |tx, grant| {
                begin(tx, grant, &runtime, &input, &options, seed)
            })
            .await?;
        let Beginning { setup, begun, events, store, key, generation } = beginning;
        let (runtime, root) = (&self.inner.runtime, begun.ids.root_id);
        runtime.setups.keep(key, generation, Arc::clone(&setup));
        let live = (audience == Audience::Events).then(|| runtime.hub.subscribe(root));
        runtime.hub.publish(root, events);
        Ok((runtime.launch(store, setup, begun, cancel, audience != Audience::Outcome, Some(self.shared())), live))
    }

    /// Begins an execution whose caller owns it: one that goes away while it begins cancels it too.
    pub(super) async fn begin_owned(&self, run: Run) -> Result<Owned> {
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let (started, _) = self.begin(run, cancel, Audience::Outcome).await?;
        Ok(Owned { started, guard })
    }

    /// The same for a caller that reads its events: it hears the first one too.
    pub(super) async fn begin_heard(&self, run: Run) -> Result<EventStream> {
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let (started, live) = self.begin(run, cancel, Audience::Events).await?;
        let events = match live {
            Some(live) => EventStream::from_the_first(self.clone(), started.id, live),
            None => EventStream::new(self.clone(), started.id, 0),
        };
        Ok(events.owning(guard))
    }

    /// Goes on with every interrupted execution that this process can run.
    pub(super) async fn recover_all(&self) -> Result<Vec<ExecutionId>> {
        let session = self.clone();
        self.inner.runtime.to_its_end(async move { session.recover_here().await }).await
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
        let outcome =
            self.started.outcome.await.map_err(|_| Error::interrupted("the runtime ended while the execution ran"))?;
        self.guard.disarm();
        outcome
    }
}
