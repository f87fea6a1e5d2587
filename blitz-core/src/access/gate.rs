//! Authorise and act in one transaction.

mod line;

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::authorizer::{AccessObject, Policy};
use super::caller::{Announcement, Caller};
use super::denials::Denials;
use super::password::Passwords;
use super::policy::{Refusal, Subject, Verdict, Way};
use super::sources::Sources;
use super::standing::{EngineWork, ExecutionStore, Standing};
use super::trail::Heads;
use crate::audit::{Actor, Audit, AuditLine};
use crate::domain::{
    AuditOutcome, Deed, ExecutionId, Permission, Powers, Principal, Reach, ResourceId, ResourceKind, ResourceRef, Role,
    Secret, SessionId, SessionSettings, Timestamp, UserId,
};
use crate::error::{Error, ErrorCode, Result};
use crate::store::boot::Boot;
use crate::store::catalog::{self, ResourceRow, Viewer};
use crate::store::seal::Keys;
use crate::store::{self, Connection, Store, access};

/// What no tool may do in its execution's name: an approval is worth something only from somebody else.
const NOT_BY_TOOLS: &[Permission] =
    &[Permission::ExecutionsApprove, Permission::ExecutionsDecide, Permission::ToolsApprove, Permission::SqlExecute];

/// The longest reason of a root session in characters: it stands in every line of the trail.
const MAX_REASON: usize = 200;

/// The one holder of the engine's store: every call goes through it.
pub(crate) struct Gate {
    pub(super) parts: Arc<Parts>,
    pub(super) passwords: Passwords,
    pub(super) sources: Sources,
}

/// A gate that was just opened, and what goes with it.
pub(crate) struct OpenGate {
    pub(crate) gate: Arc<Gate>,
    /// The way in for what the engine does in nobody's name.
    pub(crate) work: EngineWork,
    /// The random name of this store.
    pub(crate) store_id: String,
    /// Who of the processes with this database is alive; held for the engine's life.
    pub(crate) boot: Boot,
}

/// What a host sets for its gate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// How logins and their tokens last.
    pub(crate) sessions: SessionSettings,
    /// What the host forbids on its own.
    pub(crate) policy: Policy,
    /// To whom the head of the audit trail is given.
    pub(crate) heads: Option<Heads>,
}

/// What the gate shares with the proofs it hands out.
pub(super) struct Parts {
    pub(super) rules: Rules,
    pub(super) store: Store,
    pub(super) keys: Arc<Keys>,
    pub(super) audit: Audit,
    pub(super) denials: Denials,
}

/// What a call is about.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Nothing that is there already: create, list.
    None,
    /// A catalogue record.
    Resource(ResourceKind, ResourceRef),
    /// An agent or a workflow to run: they share their names. Each asks for its own permission.
    Runnable(ResourceRef),
    /// An execution.
    Execution(ExecutionId),
    /// A user.
    User(UserId),
}

/// Proof that a caller may do what it asked for, good for one transaction. Only the gate makes one.
pub(crate) struct Grant {
    pub(super) parts: Arc<Parts>,
    caller: Caller,
    subject: Subject,
    /// `None` where whoever came in may do it.
    pub(super) permission: Option<Permission>,
    action: Arc<str>,
    resource: Option<ResourceRow>,
    now: Timestamp,
    refused: Refused,
    audited: Cell<bool>,
}

/// The object of the last refusal in a transaction, carried out of it to be written afterwards.
#[derive(Clone, Default)]
pub(super) struct Refused(Arc<Mutex<Option<String>>>);

/// Whether a call changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
}

impl Gate {
    /// Opens the database behind a new gate.
    ///
    /// The engine's own work is given out once, here: whoever opens the gate settles what dead
    /// processes left.
    pub(crate) async fn open(options: store::OpenOptions, rules: Rules) -> Result<OpenGate> {
        let opening = tokio::task::spawn_blocking(move || store::open(&options));
        let opened = opening
            .await
            .map_err(|error| Error::internal("opening the database was broken off").with_source(error))??;
        let open = Self::over(opened, rules);
        if open.gate.parts.keys.resumes() {
            open.gate.finish_master_key().await?;
        }
        Ok(open)
    }

    /// A gate before an open store.
    pub(super) fn over(opened: store::Opened, rules: Rules) -> OpenGate {
        let store::Opened { store, keys, store_id, boot } = opened;
        let audit = Audit::new(keys.audit_key());
        let parts = Arc::new(Parts { rules, store, keys, audit, denials: Denials::default() });
        let work = EngineWork::new(Arc::clone(&parts));
        let gate = Arc::new(Gate { parts, passwords: Passwords::default(), sources: Sources::default() });
        OpenGate { gate, work, store_id, boot }
    }

    /// The host program itself, which may do everything. `reason` stands in every line of the trail, cut
    /// at 200 characters.
    pub(crate) fn root(&self, reason: &str) -> Caller {
        let reason = reason.trim();
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let reason = if reason.is_empty() { "no reason given".to_owned() } else { reason };
        let principal = Principal::Root { reason: reason.clone() };
        Caller::new(principal, &reason, Way::Host)
    }

    /// Checks a caller and runs `body` in one write transaction with its line in the trail.
    ///
    /// Where the body writes no line by [`Grant::audit`], one is written for it. Errors:
    /// `Unauthenticated` for an ended session; `NotFound` for what is missing or hidden from the
    /// caller; `PermissionDenied` for what it sees and may not do.
    pub(crate) async fn write<T, F>(
        &self,
        caller: &Caller,
        permission: impl Into<Option<Permission>>,
        target: Target,
        action: impl Into<Cow<'static, str>>,
        body: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection, &Grant) -> Result<T> + Send + 'static,
    {
        self.call(caller, permission.into(), target, action.into(), Mode::Write, body).await
    }

    /// Checks a caller and runs `body` on a snapshot. Only a refusal goes to the trail.
    pub(crate) async fn read<T, F>(
        &self,
        caller: &Caller,
        permission: impl Into<Option<Permission>>,
        target: Target,
        body: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection, &Grant) -> Result<T> + Send + 'static,
    {
        let permission = permission.into();
        let action = permission.map_or("session.read", Permission::name);
        self.call(caller, permission, target, action.into(), Mode::Read, body).await
    }

    /// Ends the work of the store: what is queued is still done.
    pub(crate) fn close(&self) {
        self.parts.store.close();
    }

    async fn call<T, F>(
        &self,
        caller: &Caller,
        permission: Option<Permission>,
        target: Target,
        action: Cow<'static, str>,
        mode: Mode,
        body: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection, &Grant) -> Result<T> + Send + 'static,
    {
        let now = Timestamp::now();
        self.touch(caller, now).await?;
        let refused = Refused::default();
        let announcement = caller.announcement();
        let announces = announcement.is_some();
        let call = Call {
            parts: Arc::clone(&self.parts),
            caller: caller.clone(),
            permission,
            target,
            action: action.into(),
            now,
            refused: refused.clone(),
        };
        let action = Arc::clone(&call.action);
        let job = move |tx: &mut dyn Connection| {
            let grant = call.authorise(tx)?;
            if announces {
                grant.announce(tx)?;
            }
            let value = body(tx, &grant)?;
            if mode == Mode::Write && !grant.audited.get() {
                let object = grant.resource().map_or_else(|| call.target.label(), ResourceRow::label);
                grant.audit(tx, &object, None, None, Value::Null)?;
            }
            Ok(value)
        };
        // The host's announcement is a write, whatever the call itself is.
        let result = match mode {
            Mode::Read if !announces => self.parts.store.read(job).await,
            _ => self.parts.store.write(job).await,
        };
        if result.is_ok() {
            announcement.into_iter().for_each(Announcement::made);
        }
        self.parts.note_refusal(&refused, caller.actor(), &action, now).await;
        self.parts.tell_head().await;
        result
    }
}

impl Parts {
    /// Writes the refusal of a transaction, if there was one, in a transaction of its own.
    pub(super) async fn note_refusal(
        self: &Arc<Self>,
        refused: &Refused,
        actor: Actor<'_>,
        action: &str,
        now: Timestamp,
    ) {
        let Some(object) = refused.take() else { return };
        if !self.denials.admit(actor.principal, action, now) {
            return;
        }
        let parts = Arc::clone(self);
        let (principal, via, action) = (actor.principal.to_owned(), actor.via.to_owned(), action.to_owned());
        let written = self.store.write(move |tx| {
            let actor = Actor { principal: &principal, via: &via };
            let line = AuditLine::ok(&action, &object).with_outcome(AuditOutcome::Denied);
            parts.audit.append(tx, now, actor, &line)
        });
        // The call is refused either way; a store that cannot write says so at the next change.
        if let Err(error) = written.await {
            tracing::warn!(code = %error.code(), "a denial could not be written to the audit trail");
        }
    }

    /// Tells the trail of somebody who could not come in, in a transaction of its own.
    pub(super) async fn note_failed(self: &Arc<Self>, action: &str, via: &str, now: Timestamp) {
        let refused = Refused::default();
        let _ = refused.set(Refusal::of(Error::unauthenticated(""), String::new()));
        self.note_refusal(&refused, Actor { principal: "anonymous", via }, action, now).await;
    }

    /// The sealed secret of a catalogue record.
    pub(super) fn secret(&self, tx: &mut dyn Connection, id: ResourceId, column: &str) -> Result<Option<Secret>> {
        access::secret(tx, &self.keys, "resources", id.0, column)
    }

    /// The value of a secret by its name, for what refers to it.
    ///
    /// Errors: `InvalidInput` where there is none any more.
    pub(super) fn named_secret(&self, tx: &mut dyn Connection, name: &str) -> Result<Secret> {
        access::named_secret(tx, &self.keys, name)?
            .ok_or_else(|| Error::invalid(format!("the secret {} is gone: set it again", catalog::shown(name))))
    }
}

/// One call on its way through the gate.
struct Call {
    parts: Arc<Parts>,
    caller: Caller,
    permission: Option<Permission>,
    target: Target,
    action: Arc<str>,
    now: Timestamp,
    refused: Refused,
}

impl Call {
    fn authorise(&self, tx: &mut dyn Connection) -> Result<Grant> {
        self.refused.clear();
        let (subject, resource) = self.judge(tx).map_err(|refusal| self.refused.set(refusal))?;
        let permission = match (&self.target, &resource) {
            (Target::Runnable(_), Some(row)) => Some(row.kind.permission(Deed::Use)),
            _ => self.permission,
        };
        Ok(Grant {
            parts: Arc::clone(&self.parts),
            caller: self.caller.clone(),
            subject,
            permission,
            action: Arc::clone(&self.action),
            resource,
            now: self.now,
            refused: self.refused.clone(),
            audited: Cell::new(false),
        })
    }

    fn judge(&self, tx: &mut dyn Connection) -> Result<(Subject, Option<ResourceRow>), Refusal> {
        let denied = |error| Refusal::of(error, self.target.label());
        let subject = Subject::of_caller(tx, &self.parts.rules, &self.caller, self.now).map_err(denied)?;
        if self.caller.way() == Way::Acting
            && self.permission.is_some_and(|permission| NOT_BY_TOOLS.contains(&permission))
        {
            return Err(denied(Error::denied("this is not for tools of an execution: a person decides")));
        }
        let Some(permission) = self.permission else { return Ok((subject, None)) };
        match &self.target {
            Target::None | Target::User(_) => subject.require(permission).map_err(denied)?,
            Target::Resource(kind, reference) => {
                let row = subject.find(tx, permission, *kind, reference)?;
                return Ok((subject, Some(row)));
            }
            Target::Runnable(reference) => {
                let row = subject.find(tx, Permission::AgentsRun, ResourceKind::Agent, reference);
                let row = match row {
                    Err(refusal) if refusal.error.code() == ErrorCode::NotFound => subject
                        .find(tx, Permission::WorkflowsRun, ResourceKind::Workflow, reference)
                        .map_err(|other| match other.error.code() {
                            ErrorCode::NotFound => refusal.or_workflow(other),
                            _ => other,
                        }),
                    other => other,
                };
                return Ok((subject, Some(row?)));
            }
            Target::Execution(id) => self.judge_execution(tx, &subject, permission, *id)?,
        }
        Ok((subject, None))
    }

    fn judge_execution(
        &self,
        tx: &mut dyn Connection,
        subject: &Subject,
        permission: Permission,
        id: ExecutionId,
    ) -> Result<(), Refusal> {
        let missing = || Error::not_found("there is no such execution, or it is not open to you");
        let Some(owner) = access::execution_owner(tx, id)? else { return Err(missing().into()) };
        let reaches = |permission| match subject.reach(permission) {
            Reach::All => true,
            Reach::Own => owner == subject.user,
            Reach::None => false,
        };
        let error = match (reaches(permission), reaches(Permission::ExecutionsRead)) {
            (true, _) => {
                let object =
                    AccessObject { kind: "execution", id: id.0, name: None, owner_id: owner, visibility: None };
                return subject
                    .host_allows(permission, Some(object))
                    .map_err(|error| Refusal::of(error, self.target.label()));
            }
            (false, true) => Error::denied(format!("{} on this execution is not open to you", permission.name())),
            (false, false) => missing(),
        };
        Err(Refusal::of(error, self.target.label()))
    }
}

impl Target {
    /// The target as the trail names it where it was not found as a resource.
    fn label(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Resource(kind, ResourceRef::Id(id)) => format!("{}:{id}", kind.name()),
            Self::Resource(kind, ResourceRef::Name(_)) => kind.name().to_owned(),
            Self::Runnable(ResourceRef::Id(id)) => format!("resource:{id}"),
            Self::Runnable(ResourceRef::Name(_)) => "resource".to_owned(),
            Self::Execution(id) => format!("execution:{id}"),
            Self::User(id) => format!("user:{id}"),
        }
    }
}

impl Grant {
    /// Who acts.
    pub(crate) fn principal(&self) -> &Principal {
        self.caller.principal()
    }

    /// The user who acts; `None` for the host itself.
    pub(crate) fn user_id(&self) -> Option<UserId> {
        self.subject.user
    }

    /// The caller's role at this moment.
    pub(crate) fn role(&self) -> &Role {
        &self.subject.role
    }

    /// What the caller may do at this moment.
    pub(crate) fn powers(&self) -> Powers {
        self.subject.powers
    }

    /// Whether the host has a policy of its own for this caller: nothing that it allowed may be kept.
    pub(crate) fn asks_host(&self) -> bool {
        self.subject.asks_host()
    }

    /// The login the caller came in by, where it is stored.
    pub(super) fn session_id(&self) -> Option<SessionId> {
        match self.caller.way() {
            Way::Login { session, .. } => session,
            _ => None,
        }
    }

    /// How far that permission reaches: lists hold everybody's or the caller's own.
    pub(crate) fn reach(&self) -> Reach {
        let own = if self.user_id().is_none() { Reach::All } else { Reach::Own };
        self.permission.map_or(own, |permission| self.subject.reach(permission))
    }

    /// How far another permission reaches: for lists of what hangs on something else.
    pub(crate) fn reach_of(&self, permission: Permission) -> Reach {
        self.subject.reach(permission)
    }

    /// Whether the caller may know of a resource. It asks nobody and leaves no line in the trail.
    pub(crate) fn sees(&self, row: &ResourceRow) -> bool {
        self.subject.judge(row.kind.permission(Deed::Read), row) == Verdict::Allowed
    }

    /// The resource the call is about, found and allowed.
    pub(crate) fn resource(&self) -> Option<&ResourceRow> {
        self.resource.as_ref()
    }

    /// The resource of a call whose target is one.
    pub(super) fn target(&self) -> Result<&ResourceRow> {
        self.resource.as_ref().ok_or_else(|| Error::internal("this call has no resource as its target"))
    }

    /// When the call came in.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Through whose eyes the catalogue is read.
    pub(crate) fn viewer(&self) -> Viewer<'_> {
        self.subject.viewer()
    }

    /// Refuses where the caller's role does not have a permission at all.
    pub(crate) fn require(&self, permission: Permission) -> Result<()> {
        self.subject.require(permission).map_err(|error| self.refuse(error))
    }

    /// Refuses to give others what the caller lacks itself.
    pub(super) fn lends(&self, powers: Powers) -> Result<()> {
        match self.subject.powers.lacking(powers) {
            None => Ok(()),
            Some(scope) => Err(self.refuse(Error::denied(format!(
                "nobody gives what they lack, and you do not have {scope}: ask an admin"
            )))),
        }
    }

    /// Whether the caller has a permission at all.
    pub(super) fn has(&self, permission: Permission) -> bool {
        self.subject.require(permission).is_ok()
    }

    /// A refusal of the call itself, on its way to the caller and to the trail.
    pub(super) fn refuse(&self, error: Error) -> Error {
        let object = self.resource.as_ref().map(ResourceRow::label).unwrap_or_default();
        self.refused.set(Refusal::of(error, object))
    }

    /// The same about something that the trail names otherwise.
    pub(crate) fn refuse_about(&self, error: Error, object: String) -> Error {
        self.refused.set(Refusal::of(error, object))
    }

    /// Refuses where the caller may not do this with a further resource.
    pub(crate) fn may(&self, permission: Permission, row: &ResourceRow) -> Result<()> {
        self.subject.allow(permission, row).map_err(|refusal| self.refused.set(refusal))
    }

    /// Finds a further resource and checks a permission on it: an agent's model, prompt, tools.
    pub(crate) fn find(
        &self,
        tx: &mut dyn Connection,
        permission: Permission,
        kind: ResourceKind,
        reference: &ResourceRef,
    ) -> Result<ResourceRow> {
        self.subject.find(tx, permission, kind, reference).map_err(|refusal| self.refused.set(refusal))
    }

    /// The store of the execution that this call starts. Its later steps are checked again.
    pub(crate) fn execution_store(&self) -> Result<ExecutionStore> {
        if !matches!(self.permission, Some(Permission::AgentsRun | Permission::WorkflowsRun)) {
            return Err(Error::internal("an execution's store is made only by a call that runs something"));
        }
        let agent = self.target()?.id;
        let principal = self.principal().clone();
        Ok(ExecutionStore::new(Arc::clone(&self.parts), principal, agent, Some((self.role().clone(), self.powers()))))
    }

    /// The standing of the principal in this very transaction, for the first step of its execution.
    pub(crate) fn standing(&self, store: &ExecutionStore) -> Standing {
        store.standing_as(self.subject.clone(), self.now, self.refused.clone())
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// How the caller came in, as the trail names it.
    pub(super) fn via(&self) -> &str {
        self.caller.actor().via
    }

    /// What the call was allowed.
    pub(super) fn permission(&self) -> Option<Permission> {
        self.permission
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.parts.keys
    }

    fn announce(&self, tx: &mut dyn Connection) -> Result<()> {
        self.parts.audit.append(tx, self.now, self.caller.actor(), &AuditLine::ok("session.root", ""))
    }
}

impl Refused {
    pub(super) fn clear(&self) {
        self.take();
    }

    /// Keeps what the trail is told and gives what the caller is told.
    pub(super) fn set(&self, refusal: Refusal) -> Error {
        if refusal.object.is_some() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = refusal.object;
        }
        *refusal.error
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
