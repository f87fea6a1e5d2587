//! Starting agents, and the handle on what was started.

use std::any::Any;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::sync::DropGuard;

use super::stream::{EventStream, Live};
use super::Session;
use crate::access::Target;
use crate::domain::schema::admit_kept;
use crate::domain::{Decision, ExecutionId, Outcome, Permission, ResourceKind, ResourceRef};
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

/// A root execution that ends when its caller goes away.
pub(super) struct Owned {
    started: Started,
    guard: DropGuard,
}

impl Session {
    /// Begins an execution and drives it, in a task of its own: it runs whatever becomes of this future.
    pub(super) async fn begin(&self, agent: ResourceRef, input: Value) -> Result<ExecutionId> {
        let (started, _) = self.begin_for(Interest::None, agent, input).await?;
        Ok(started.id)
    }

    /// Begins an execution whose caller owns it: one that goes away while it begins cancels it too.
    pub(super) async fn begin_owned(&self, agent: ResourceRef, input: Value) -> Result<Owned> {
        let (started, _) = self.begin_for(Interest::Outcome, agent, input).await?;
        Ok(Owned::new(started))
    }

    /// The same for a caller that reads its events: it hears the first one too.
    pub(super) async fn begin_heard(&self, agent: ResourceRef, input: Value) -> Result<EventStream> {
        let (started, live) = self.begin_for(Interest::Events, agent, input).await?;
        let Owned { started, guard } = Owned::new(started);
        let events = match live {
            Some(live) => EventStream::from_the_first(self.clone(), started.id, live),
            None => EventStream::new(self.clone(), started.id, 0),
        };
        Ok(events.owning(guard))
    }

    async fn begin_for(&self, interest: Interest, agent: ResourceRef, input: Value) -> Result<(Started, Option<Live>)> {
        admit_kept("the input", &input)?;
        self.inner.runtime.open_for_work()?;
        let session = self.clone();
        let (tell, told) = oneshot::channel();
        // What is queued for the store is written even if nobody waits: then somebody must drive it.
        self.inner.runtime.spawn(async move {
            let beginning = match session.write_beginning(agent, input).await {
                Ok(beginning) => beginning,
                Err(error) => {
                    let _ = tell.send(Err(error));
                    return;
                }
            };
            let Beginning { setup, begun, events, store } = beginning;
            let (runtime, root) = (&session.inner.runtime, begun.ids.root_id);
            let live = (interest == Interest::Events).then(|| runtime.hub.subscribe(root));
            runtime.hub.publish(root, events);
            let (started, driving) = runtime.launch(store, setup, begun, Some(session.shared()));
            let cancel = started.cancel.clone();
            if tell.send(Ok((started, live))).is_err() && interest != Interest::None {
                cancel.cancel();
            }
            driving.await;
        });
        told.await.map_err(|_| Error::interrupted("the runtime ended while the execution began"))?
    }

    /// Writes the beginning of an execution in one transaction.
    async fn write_beginning(&self, agent: ResourceRef, input: Value) -> Result<Beginning> {
        let runtime = Arc::clone(&self.inner.runtime);
        let seed = fresh_seed()?;
        let target = Target::Resource(ResourceKind::Agent, agent);
        self.write(Permission::AgentsRun, target, "agents.run", move |tx, grant| begin(tx, grant, &runtime, &input, seed))
            .await
    }

    /// Goes on with every interrupted execution that this process can run.
    pub(super) async fn recover_all(&self) -> Result<Vec<ExecutionId>> {
        self.inner.runtime.open_for_work()?;
        recover::settle_dead(&self.inner.work, &self.inner.runtime.boot).await?;
        recover::recover_all(&self.inner.gate, &self.caller, &self.inner.runtime, &|caller| {
            Session::new(Arc::clone(&self.inner), caller).shared()
        })
        .await
    }

    /// The session as tools are handed it.
    fn shared(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(self.clone())
    }
}

/// What the caller that begins an execution waits for; where it waits, the execution ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    None,
    Outcome,
    Events,
}

impl Owned {
    fn new(started: Started) -> Self {
        let guard = started.cancel.clone().drop_guard();
        Self { started, guard }
    }

    /// Waits for the end; dropping this future cancels.
    pub(super) async fn outcome(self) -> Result<Outcome> {
        let outcome = self.started.outcome.await.map_err(|_| Error::interrupted("the runtime ended while the execution ran"))?;
        self.guard.disarm();
        outcome
    }
}
