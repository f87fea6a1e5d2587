//! The driver's way in: a store for one execution, its user's standing read again at every step.

use std::sync::{Arc, Mutex, PoisonError};

use super::caller::Caller;
use super::gate::{Parts, Refused};
use super::policy::{Subject, Way};
use crate::audit::{Actor, AuditLine};
use crate::domain::{
    Deed, KeyId, Permission, Powers, Principal, ResourceId, ResourceKind, ResourceRef, Role, Secret, Timestamp, UserId,
};
use crate::error::{Error, ErrorCode, ErrorInfo, Result};
use crate::store::Connection;
use crate::store::catalog::{self, ResourceRow};

/// The store as one execution may use it. Made only from a [`Grant`](super::Grant).
#[derive(Clone)]
pub(crate) struct ExecutionStore(Arc<Inner>);

struct Inner {
    parts: Arc<Parts>,
    principal: Principal,
    label: String,
    via: String,
    /// The root execution's agent.
    agent: ResourceId,
    /// For what standing the agent was last found open, so that the usual step costs one look-up.
    cleared_for: Mutex<Option<Cleared>>,
}

/// A role and what it allowed.
type Cleared = (Role, Powers);

/// How an execution's principal stands in this transaction.
pub(crate) struct Standing {
    inner: Option<Arc<Inner>>,
    parts: Arc<Parts>,
    subject: Result<Subject, ErrorInfo>,
    now: Timestamp,
    refused: Refused,
}

/// The engine's own work, in nobody's name: settling and listing at open. Given out by opening the
/// gate, and by nothing else.
#[derive(Clone)]
pub(crate) struct EngineWork {
    parts: Arc<Parts>,
}

/// How the trail names the engine itself.
const ENGINE: Actor<'static> = Actor { principal: "engine", via: "engine" };

impl ExecutionStore {
    pub(super) fn new(
        parts: Arc<Parts>,
        principal: Principal,
        agent: ResourceId,
        cleared_for: Option<Cleared>,
    ) -> Self {
        let via = match &principal {
            Principal::Root { reason } => reason.clone(),
            Principal::User { .. } => "execution".to_owned(),
        };
        let label = principal.label();
        Self(Arc::new(Inner { parts, principal, label, via, agent, cleared_for: Mutex::new(cleared_for) }))
    }

    /// Runs `body` in one write transaction, with the principal's standing in it.
    ///
    /// The body runs also where the principal has lost its standing: what was spent is settled and
    /// the end is written, but nothing new may begin ([`Standing::still`]). The job is queued by the
    /// call itself: dropping the future does not take it back.
    pub(crate) fn write<T, F>(&self, body: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection, &Standing) -> Result<T> + Send + 'static,
    {
        let (job, refusals) = self.job(body);
        let written = self.0.parts.store.write(job);
        async move {
            let result = written.await;
            refusals.note().await;
            result
        }
    }

    /// Runs `body` on a snapshot, with the principal's standing in it.
    pub(crate) fn read<T, F>(&self, body: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection, &Standing) -> Result<T> + Send + 'static,
    {
        let (job, refusals) = self.job(body);
        let read = self.0.parts.store.read(job);
        async move {
            let result = read.await;
            refusals.note().await;
            result
        }
    }

    /// The standing that the gate has just found, in the transaction in which it did.
    pub(super) fn standing_as(&self, subject: Subject, now: Timestamp, refused: Refused) -> Standing {
        Standing {
            inner: Some(Arc::clone(&self.0)),
            parts: Arc::clone(&self.0.parts),
            subject: Ok(subject),
            now,
            refused,
        }
    }

    /// For whom the execution runs.
    pub(crate) fn principal(&self) -> &Principal {
        &self.0.principal
    }

    fn job<T, F>(&self, body: F) -> (impl Fn(&mut dyn Connection) -> Result<T> + Send + use<T, F>, Refusals)
    where
        F: Fn(&mut dyn Connection, &Standing) -> Result<T> + Send + 'static,
    {
        let now = Timestamp::now();
        let refused = Refused::default();
        let refusals = Refusals { inner: Arc::clone(&self.0), refused: refused.clone(), now };
        let inner = Arc::clone(&self.0);
        let job = move |tx: &mut dyn Connection| {
            refused.clear();
            let subject = inner.subject(tx)?;
            let standing = Standing {
                parts: Arc::clone(&inner.parts),
                inner: Some(Arc::clone(&inner)),
                subject,
                now,
                refused: refused.clone(),
            };
            body(tx, &standing)
        };
        (job, refusals)
    }
}

impl Inner {
    /// Reads the principal's standing: the user's row, and the agent where the role is another than
    /// the one it was last found open to. The outer error is the store's.
    fn subject(&self, tx: &mut dyn Connection) -> Result<Result<Subject, ErrorInfo>> {
        let checked = Subject::of_execution(tx, &self.parts.rules, &self.principal).and_then(|subject| {
            let cleared = subject.user.is_none() || (!subject.asks_host() && self.is_cleared(&subject));
            if !cleared {
                self.check_agent(tx, &subject)?;
                let now = Some((subject.role.clone(), subject.powers));
                *self.cleared_for.lock().unwrap_or_else(PoisonError::into_inner) = now;
            }
            Ok(subject)
        });
        match checked {
            Ok(subject) => Ok(Ok(subject)),
            Err(error) if error.code() == crate::error::ErrorCode::PermissionDenied => Ok(Err(error.to_info())),
            Err(error) => Err(error),
        }
    }

    fn check_agent(&self, tx: &mut dyn Connection, subject: &Subject) -> Result<()> {
        let row = catalog::by_id_once_live(tx, subject.viewer(), self.agent)?;
        match row.map(|row| subject.allow(row.kind.permission(Deed::Use), &row)) {
            Some(Ok(())) => Ok(()),
            _ => Err(Error::denied("the user of this execution may no longer run its agent or workflow")),
        }
    }

    fn is_cleared(&self, subject: &Subject) -> bool {
        let cleared = self.cleared_for.lock().unwrap_or_else(PoisonError::into_inner);
        cleared.as_ref().is_some_and(|(role, powers)| *role == subject.role && *powers == subject.powers)
    }
}

/// What is left to do for the trail once a transaction has ended.
struct Refusals {
    inner: Arc<Inner>,
    refused: Refused,
    now: Timestamp,
}

impl Refusals {
    async fn note(self) {
        let actor = Actor { principal: &self.inner.label, via: &self.inner.via };
        self.inner.parts.note_refusal(&self.refused, actor, "execution.step", self.now).await;
        self.inner.parts.tell_head().await;
    }
}

impl Standing {
    /// The role that the principal has now, or why it may do nothing new.
    pub(crate) fn still(&self) -> Result<&Role, &ErrorInfo> {
        self.subject.as_ref().map(|subject| &subject.role)
    }

    /// For whom the execution runs; `None` for the host and the engine itself.
    pub(crate) fn user_id(&self) -> Option<UserId> {
        self.inner.as_ref().and_then(|inner| inner.principal.user_id())
    }

    /// The API key it runs by; `None` where it was started otherwise.
    pub(crate) fn key_id(&self) -> Option<KeyId> {
        self.inner.as_ref().and_then(|inner| inner.principal.key_id())
    }

    /// When the transaction was asked for.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Finds a resource and checks a permission on it as the principal stands now: a tool at its
    /// call, an agent at its start as a child.
    pub(crate) fn find(
        &self,
        tx: &mut dyn Connection,
        permission: Permission,
        kind: ResourceKind,
        reference: &ResourceRef,
    ) -> Result<ResourceRow> {
        let subject = self.subject.clone().map_err(Error::from)?;
        subject.find(tx, permission, kind, reference).map_err(|refusal| self.refused.set(refusal))
    }

    /// Whether the principal may call this tool now; the host always may.
    pub(crate) fn may_use_tool(&self, tx: &mut dyn Connection, tool: ResourceId) -> Result<bool> {
        if self.user_id().is_none() {
            return Ok(true);
        }
        match self.find(tx, Permission::ToolsUse, ResourceKind::Tool, &ResourceRef::from(tool)) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::PermissionDenied) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a line of the trail in the principal's name.
    pub(crate) fn audit(&self, tx: &mut dyn Connection, line: &AuditLine<'_>) -> Result<()> {
        let named = self.inner.as_ref().map(|inner| Actor { principal: &inner.label, via: &inner.via });
        self.parts.audit.append(tx, self.now, named.unwrap_or(ENGINE), line)
    }

    /// What secrets are sealed with.
    pub(super) fn keys(&self) -> &crate::store::seal::Keys {
        &self.parts.keys
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The value of a secret by its name, for what refers to it.
    ///
    /// Errors: `InvalidInput` where there is none any more.
    pub(crate) fn named_secret(&self, tx: &mut dyn Connection, name: &str) -> Result<Secret> {
        self.parts.named_secret(tx, name)
    }
}

impl EngineWork {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Runs `body` in one write transaction in the engine's own name.
    pub(crate) fn write<T, F>(&self, body: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection, &Standing) -> Result<T> + Send + 'static,
    {
        let standing = self.standing();
        self.parts.store.write(move |tx| body(tx, &standing))
    }

    /// Runs `body` on a snapshot in the engine's own name.
    pub(crate) fn read<T, F>(&self, body: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection, &Standing) -> Result<T> + Send + 'static,
    {
        let standing = self.standing();
        self.parts.store.read(move |tx| body(tx, &standing))
    }

    /// The caller that a trigger fires as: whoever enabled it.
    pub(crate) fn acting(&self, principal: Principal) -> Caller {
        Caller::new(principal, "trigger", Way::Acting)
    }

    fn standing(&self) -> Standing {
        let parts = Arc::clone(&self.parts);
        Standing {
            inner: None,
            parts,
            subject: Ok(Subject::host()),
            now: Timestamp::now(),
            refused: Refused::default(),
        }
    }
}
