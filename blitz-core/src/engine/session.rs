//! A session: the way in, with a handle for each noun.

use std::any::Any;
use std::sync::Arc;

use serde_json::Value;

use super::{
    Agents, Alerts, AuditTrail, Budgets, Costs, EventStream, ExecutionHandle, Executions, Inner, Keys, Models, Prices,
    Prompts, RateLimits, Roles, Secrets, Sessions, Tools, Triggers, Usages, Users, Webhooks, Workflows, methods,
};
use crate::access::{Caller, Grant, Target};
use crate::domain::{OnBehalf, Outcome, Permission, Principal, ResourceRef};
use crate::error::{Error, Result};
use crate::provider::ProviderCall;
use crate::store::Connection;
use crate::tool::{EffectScope, ToolContext};

/// An authenticated way into an engine: it speaks for the host or for a user.
///
/// Cloning it is cheap; it may be used from any thread. What it may do is looked up at each call.
#[derive(Clone)]
pub struct Session {
    pub(crate) inner: Arc<Inner>,
    pub(crate) caller: Caller,
    host: Option<Arc<dyn Any + Send + Sync>>,
    /// The execution whose tool has it.
    on_behalf: Option<Arc<OnBehalf>>,
    /// The call of that tool: it is no effect while it waits for what it asks of the engine.
    pub(super) scope: EffectScope,
}

impl Session {
    pub(super) fn new(inner: Arc<Inner>, caller: Caller) -> Self {
        Self { inner, caller, host: None, on_behalf: None, scope: EffectScope::default() }
    }

    /// The same session with a value of the host's own: tools find it in the session they are handed, and functions
    /// that are providers by [`ProviderCall::host`].
    pub fn with_host(self, value: Arc<dyn Any + Send + Sync>) -> Self {
        Self { host: Some(value), ..self }
    }

    /// The same session in a request of the host's: its number, cut at 200 characters, stands in each line
    /// of the audit trail that the session writes. It decides nothing.
    pub fn with_request_id(self, id: &str) -> Self {
        Self { caller: self.caller.with_request(id), ..self }
    }

    /// The session as the tools of its executions have it.
    pub(super) fn acting(&self) -> Self {
        Self { caller: self.caller.acting(), on_behalf: None, scope: EffectScope::default(), ..self.clone() }
    }

    /// The execution that it acts for, where a tool has it.
    pub(super) fn on_behalf(&self) -> Option<Arc<OnBehalf>> {
        self.on_behalf.clone()
    }

    /// The value that the host gave this session.
    pub fn host(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.host.as_ref()
    }

    /// Who it speaks for.
    pub fn principal(&self) -> &Principal {
        self.caller.principal()
    }

    /// Models: who serves them, settings, keys, prices.
    pub fn models(&self) -> Models {
        Models::new(self.clone())
    }

    /// Prompts and their versions.
    pub fn prompts(&self) -> Prompts {
        Prompts::new(self.clone())
    }

    /// Tools: the host's functions and the builtins.
    pub fn tools(&self) -> Tools {
        Tools::new(self.clone())
    }

    /// Agents.
    pub fn agents(&self) -> Agents {
        Agents::new(self.clone())
    }

    /// Workflows: drafts and published versions.
    pub fn workflows(&self) -> Workflows {
        Workflows::new(self.clone())
    }

    /// Executions: what runs and what has run.
    pub fn executions(&self) -> Executions {
        Executions::new(self.clone())
    }

    /// Triggers of workflows and what they fired.
    pub fn triggers(&self) -> Triggers {
        Triggers::new(self.clone())
    }

    /// Imported prices and what models are listed at.
    pub fn prices(&self) -> Prices {
        Prices::new(self.clone())
    }

    /// Usage over time.
    pub fn usage(&self) -> Usages {
        Usages::new(self.clone())
    }

    /// Limits of use.
    pub fn limits(&self) -> RateLimits {
        RateLimits::new(self.clone())
    }

    /// Alerts of budgets.
    pub fn alerts(&self) -> Alerts {
        Alerts::new(self.clone())
    }

    /// Who outside is told of alerts.
    pub fn webhooks(&self) -> Webhooks {
        Webhooks::new(self.clone())
    }

    /// Users and their roles.
    pub fn users(&self) -> Users {
        Users::new(self.clone())
    }

    /// Roles of the host's own.
    pub fn roles(&self) -> Roles {
        Roles::new(self.clone())
    }

    /// API keys.
    pub fn keys(&self) -> Keys {
        Keys::new(self.clone())
    }

    /// Secrets with names, which nothing reads back.
    pub fn secrets(&self) -> Secrets {
        Secrets::new(self.clone())
    }

    /// Logins and their tokens.
    pub fn sessions(&self) -> Sessions {
        Sessions::new(self.clone())
    }

    /// Budgets and their windows.
    pub fn budgets(&self) -> Budgets {
        Budgets::new(self.clone())
    }

    /// What was spent.
    pub fn costs(&self) -> Costs {
        Costs::new(self.clone())
    }

    /// Who did what to what.
    pub fn audit(&self) -> AuditTrail {
        AuditTrail::new(self.clone())
    }

    /// Runs an agent to its end. Dropping the future cancels the execution.
    ///
    /// The outcome of an agent that failed is an `Ok` whose status says so: its messages, usage and
    /// cost are there all the same. Errors: the execution could not begin (`NotFound`,
    /// `InvalidInput`, `PermissionDenied`, …) or the engine closed (`Interrupted`).
    pub async fn run(&self, agent: impl Into<ResourceRef>, input: impl Into<Value>) -> Result<Outcome> {
        self.agents().run(agent, input).await
    }

    /// Starts an agent and lets it run by itself, whatever becomes of the handle.
    pub async fn start(&self, agent: impl Into<ResourceRef>, input: impl Into<Value>) -> Result<ExecutionHandle> {
        self.agents().start(agent, input).await
    }

    /// Starts an agent and gives its events as they happen. Dropping the stream cancels the execution.
    pub async fn stream(&self, agent: impl Into<ResourceRef>, input: impl Into<Value>) -> Result<EventStream> {
        self.agents().stream(agent, input).await
    }

    /// Calls a method of the table by its name, with JSON in and out.
    ///
    /// Errors: `NotFound` for an unknown method, `InvalidInput` for an input off its schema, and
    /// what the method itself gives.
    pub async fn call(&self, method: &str, input: Value) -> Result<Value> {
        methods::call(self.clone(), method, input).await
    }
}

impl Session {
    /// Asks the gate and changes something, in one transaction.
    pub(super) async fn write<T, F>(
        &self,
        permission: impl Into<Option<Permission>>,
        target: Target,
        action: &'static str,
        body: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection, &Grant) -> Result<T> + Send + 'static,
    {
        self.inner.gate.write(&self.caller, permission, target, action, body).await
    }

    /// Asks the gate and reads, on one snapshot.
    pub(super) async fn read<T, F>(
        &self,
        permission: impl Into<Option<Permission>>,
        target: Target,
        body: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection, &Grant) -> Result<T> + Send + 'static,
    {
        self.inner.gate.read(&self.caller, permission, target, body).await
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Session").field(&self.principal().label()).finish()
    }
}

impl ProviderCall {
    /// The value that the host gave the session of whoever asked: see [`Session::with_host`].
    pub fn host(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.asker.0.as_ref()?.downcast_ref::<Session>()?.host()
    }
}

impl ToolContext {
    /// The session of the caller: a tool that calls the engine acts as who called it. What it embeds counts for
    /// the execution and its agents.
    ///
    /// Errors: `InvalidInput` outside an execution.
    pub fn session(&self) -> Result<Session> {
        self.session
            .as_ref()
            .and_then(|session| session.downcast_ref::<Session>())
            .map(|session| Session { on_behalf: self.on_behalf.clone(), scope: self.scope.clone(), ..session.clone() })
            .ok_or_else(|| Error::invalid("this tool was not called by an execution: there is no session"))
    }
}
