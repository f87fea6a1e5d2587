//! Starting agents, and the handle on what was started.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::DropGuard;

use super::{EventStream, Session};
use crate::access::gate::{Grant, Target};
use crate::domain::{ExecutionId, Outcome, Permission, ResourceKind, ResourceRef, Timestamp};
use crate::error::{Error, Result};
use crate::execution::Started;
use crate::execution::plan_of::pin;
use crate::execution::setup::Setup;
use crate::execution::turn::{Begin, Desk};

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
    pub async fn decide(&self, key: &str, decision: crate::Decision) -> Result<()> {
        self.session.executions().decide(self.id, key, decision).await
    }
}

/// A root execution that ends when its caller goes away.
pub(super) struct Owned {
    pub(super) started: Started,
    pub(super) guard: DropGuard,
}

impl Session {
    /// Begins an execution in one transaction and drives it in a task of its own.
    pub(super) async fn begin(&self, agent: ResourceRef, input: Value) -> Result<Started> {
        let runtime = Arc::clone(&self.inner.runtime);
        let seed = crate::execution::fresh_seed()?;
        let target = Target::Resource(ResourceKind::Agent, agent);
        let begin = move |tx: &mut dyn crate::store::Connection, grant: &Grant| {
            let pinned = pin(tx, grant)?;
            let setup = Setup::new(&pinned, &runtime.providers, &runtime.tools)?;
            let now = grant.now();
            let deadline = now.plus(Duration::from_millis(setup.agent().limits.timeout_ms));
            let begin = Begin { setup: Arc::new(setup), input: input.clone(), seed, deadline };
            let standing = grant.standing();
            let desk = Desk { standing: &standing, boot_id: &runtime.boot_id, store_id: &runtime.store_id };
            let (begun, events) = begin.write(tx, now, &desk)?;
            grant.audit(tx, &format!("execution:{}", begun.ids.id), None, Some(&begin.setup.hash), Value::Null)?;
            Ok((begin.setup, begun, events, grant.execution_store()))
        };
        let (setup, begun, events, store) =
            self.inner.gate.write(&self.caller, Permission::AgentsRun, target, "agents.run", begin).await?;
        self.inner.runtime.hub.publish(begun.ids.root_id, events);
        let session: Arc<dyn Any + Send + Sync> = Arc::new(self.clone());
        Ok(self.inner.runtime.launch(store, setup, begun, Some(session)))
    }

    pub(super) async fn begin_owned(&self, agent: ResourceRef, input: Value) -> Result<Owned> {
        let started = self.begin(agent, input).await?;
        let guard = started.cancel.clone().drop_guard();
        Ok(Owned { started, guard })
    }
}

impl Owned {
    /// Waits for the end; dropping this future cancels.
    pub(super) async fn outcome(self) -> Result<Outcome> {
        let outcome = self.started.outcome.await.map_err(|_| Error::interrupted("the runtime ended while the execution ran"))?;
        self.guard.disarm();
        outcome
    }
}
