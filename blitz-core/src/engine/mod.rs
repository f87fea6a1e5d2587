//! The façade: an [`Engine`], its [`Session`]s, a handle for each noun, and the method table.
//!
//! Handles are thin: each of their methods asks the gate and calls the room that does the work. The
//! [`methods`] table holds one row for each of them; Python, C and HTTP are made from the rows.

mod agents;
mod alerts;
mod audit;
mod budgets;
mod builder;
mod catalog;
mod costs;
mod executions;
mod keys;
mod limits;
pub(crate) mod methods;
mod models;
mod prices;
mod prompts;
mod roles;
mod run;
mod secrets;
mod session;
mod sessions;
mod settings;
mod stream;
mod tools;
mod triggers;
mod usage;
mod users;
mod webhooks;
mod workflows;

pub use agents::Agents;
pub use alerts::Alerts;
pub use audit::AuditTrail;
pub use budgets::Budgets;
pub use builder::EngineBuilder;
pub use costs::Costs;
pub use executions::{ExecutionFilter, Executions};
pub use keys::Keys;
pub use limits::RateLimits;
pub use methods::{Method, MethodKind};
pub use models::{Embeddings, Models};
pub use prices::Prices;
pub use prompts::Prompts;
pub use roles::Roles;
pub use run::{ExecutionHandle, HeardRun};
pub use secrets::Secrets;
pub use session::Session;
pub use sessions::Sessions;
pub use settings::EngineSettings;
pub use stream::EventStream;
pub use tools::Tools;
pub use triggers::Triggers;
pub use usage::Usages;
pub use users::Users;
pub use webhooks::Webhooks;
pub use workflows::{ImportedWorkflow, Workflows, draw};

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::DropGuard;

use crate::access::{EngineWork, Gate};
use crate::domain::{ExecutionId, Login, Secret, Tokens};
use crate::error::{Error, ErrorCode, Result};
use crate::execution::{Runtime, recover};
use crate::provider::{AzureOpenAi, Provider};
use crate::tool::NodeHandler;

/// How long [`Engine::close`] waits for what still runs.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// One engine on one store: what a program links.
///
/// Cloning it is cheap. The only ways in are [`Engine::root`], for the host itself, and
/// [`Engine::login`]; both give a [`Session`], which has everything else.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use blitz::{Engine, NewAgent, NewModel};
/// use serde_json::json;
///
/// let engine = Engine::open(":memory:").await?;
/// let me = engine.root("an example");
/// me.models().put(NewModel::new("m", "offline", "offline")).await?;
/// me.agents().put(NewAgent::new("helper", "m")).await?;
/// let done = me.run("helper", json!("Rivers carry water to the sea.")).await?;
/// assert!(done.text().contains("Rivers"));
/// engine.close().await?;
/// # Ok::<(), blitz::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) gate: Arc<Gate>,
    pub(crate) work: EngineWork,
    pub(crate) runtime: Arc<Runtime>,
    /// Wakes the dispatcher of schedules; it begins with the first word.
    pub(crate) dispatch: Arc<tokio::sync::Notify>,
    /// Ends the courier and the dispatcher with the engine.
    _courier: DropGuard,
}

impl Engine {
    /// Opens the database at a path, and makes it where there is none; `:memory:` keeps nothing.
    ///
    /// What a process that died has left is settled here, and nothing is run: see
    /// [`Engine::recover`].
    ///
    /// Errors: `Storage` where the file is no database of this engine, is damaged, read-only or from
    /// a newer version; nothing is changed then.
    pub async fn open(database_url: impl Into<String>) -> Result<Self> {
        Self::builder(database_url).open().await
    }

    /// Opens a database by settings that are data: from a file, or from another language.
    ///
    /// Errors: as [`Engine::open`].
    pub async fn open_with(settings: EngineSettings) -> Result<Self> {
        settings.builder().open().await
    }

    /// An engine with other settings than the usual ones.
    pub fn builder(database_url: impl Into<String>) -> EngineBuilder {
        EngineBuilder::new(database_url.into())
    }

    fn new(gate: Arc<Gate>, work: EngineWork, runtime: Arc<Runtime>) -> Self {
        let (bell, over) = (Arc::clone(&runtime.bell), runtime.over.clone());
        let dispatch = Arc::<tokio::sync::Notify>::default();
        let guard = over.clone().drop_guard();
        let inner = Arc::new(Inner { gate, work, runtime, dispatch: Arc::clone(&dispatch), _courier: guard });
        tokio::spawn(triggers::dispatcher(Arc::downgrade(&inner), dispatch, over.clone()));
        tokio::spawn(webhooks::courier(Arc::downgrade(&inner), bell, over));
        Self { inner }
    }

    /// The host's own session: trusted, and audited with the reason it gives.
    pub fn root(&self, reason: &str) -> Session {
        Session::new(Arc::clone(&self.inner), self.inner.gate.root(reason))
    }

    /// A user's session. Errors: `Unauthenticated`, the same for an unknown user, a wrong password and a disabled user.
    pub async fn login(&self, email: &str, password: &str) -> Result<Session> {
        self.login_with(Login::new(email, password)).await
    }

    /// A user's session, from a place that the host knows: failures from there are held back together.
    ///
    /// Errors: as [`Engine::login`].
    pub async fn login_with(&self, login: Login) -> Result<Session> {
        let caller = self.inner.gate.login(&login).await?;
        Ok(Session::new(Arc::clone(&self.inner), caller))
    }

    /// A session by a token that a login was given: an opaque one, or a JSON web token.
    ///
    /// Errors: `Unauthenticated`, whatever the reason.
    pub async fn authenticate(&self, token: &str) -> Result<Session> {
        let caller = self.inner.gate.authenticate(&Secret::new(token)).await?;
        Ok(Session::new(Arc::clone(&self.inner), caller))
    }

    /// A session by an API key. It may what the key's scopes and its owner's role both allow.
    ///
    /// Errors: `Unauthenticated`, whatever the reason.
    pub async fn api_key(&self, key: &str) -> Result<Session> {
        let caller = self.inner.gate.api_key(&Secret::new(key)).await?;
        Ok(Session::new(Arc::clone(&self.inner), caller))
    }

    /// The next tokens for a refresh token, which is good once. A second use ends the login.
    ///
    /// Errors: `Unauthenticated`, whatever the reason.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens> {
        self.inner.gate.refresh(&Secret::new(refresh_token)).await
    }

    /// Sets a new password by a token of [`Users::reset_password`], and ends all logins of the user.
    ///
    /// Errors: `Unauthenticated` for a token that is not good any more, `InvalidInput` for a weak password.
    pub async fn set_password(&self, token: &str, password: &str) -> Result<()> {
        self.inner.gate.set_password(&Secret::new(token), &Secret::new(password)).await
    }

    /// Serves a provider of the host under its name from now on, in place of an earlier one of that name.
    ///
    /// An execution that has begun keeps the one it began with.
    pub fn register_provider(&self, provider: impl Provider) {
        self.inner.runtime.providers.register(Arc::new(provider));
        self.inner.runtime.setups.clear();
    }

    /// Serves deployments of Azure under their name as [`Engine::register_provider`] does, reached as the engine's
    /// [`Network`](crate::provider::Network) says. Gives the provider as it is served.
    pub fn register_azure(&self, azure: AzureOpenAi) -> AzureOpenAi {
        let azure = azure.with_http(self.inner.runtime.providers.http());
        self.register_provider(azure.clone());
        azure
    }

    /// Serves a type of workflow nodes from now on, in place of an earlier one of its name.
    ///
    /// Errors: `InvalidInput` where the engine has a type of this name, it is no name, or a schema cannot be used.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use blitz::tool::FunctionNode;
    /// use blitz::{Engine, NodeTypeInfo};
    /// use serde_json::json;
    ///
    /// let engine = Engine::open(":memory:").await?;
    /// engine.register_node(FunctionNode::new(NodeTypeInfo::host("double", "Doubles."), |work, _| async move {
    ///     Ok(json!(work.input["n"].as_i64().unwrap_or(0) * 2).into())
    /// }))?;
    /// let me = engine.root("an example");
    /// me.call("workflows.put", json!({
    ///     "name": "twice",
    ///     "nodes": [{"id": "s", "type": "start"}, {"id": "d", "type": "double"}, {"id": "e", "type": "end", "config": {"output": "{{ nodes.d.output }}"}}],
    ///     "edges": [{"from": "s", "to": "d"}, {"from": "d", "to": "e"}],
    /// })).await?;
    /// assert_eq!(me.run("twice", json!({"n": 21})).await?.output, 42);
    /// # engine.close().await
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn register_node(&self, node: impl NodeHandler) -> Result<()> {
        self.inner.runtime.tools.register_node(Arc::new(node))?;
        // What was prepared with the earlier one holds it.
        self.inner.runtime.setups.clear();
        Ok(())
    }

    /// Lets one provider answer every model call of this engine, until `None` ends it: for tests.
    ///
    /// It holds from the next model call on, in executions that run already too; one that begins
    /// meanwhile keeps the stand-in to its end. Models keep their prices.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use std::sync::Arc;
    /// use blitz::provider::{Reply, Scripted};
    /// use blitz::{Engine, NewAgent, NewModel};
    ///
    /// let engine = Engine::open(":memory:").await?;
    /// let me = engine.root("a test");
    /// me.models().put(NewModel::new("m", "openai", "gpt-4o").with_api_key("none")).await?;
    /// me.agents().put(NewAgent::new("helper", "m")).await?;
    /// engine.allow_real_requests(false);
    /// engine.override_models(Some(Arc::new(Scripted::new([Reply::text("as told")]))));
    /// assert_eq!(me.run("helper", "Hello?").await?.text(), "as told");
    /// engine.override_models(None);
    /// let refused = me.run("helper", "Hello?").await?.error.expect("nothing was sent");
    /// assert_eq!(refused.code, blitz::ErrorCode::PermissionDenied);
    /// # engine.close().await
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn override_models(&self, provider: Option<Arc<dyn Provider>>) {
        self.inner.runtime.providers.stand_in(provider);
    }

    /// Says whether models outside this process may be asked; they may where nothing is said.
    ///
    /// Where not, such a call fails with `PermissionDenied` before anything is sent. It holds from the
    /// next model call on. Providers say by [`Provider::is_remote`] whom they ask.
    pub fn allow_real_requests(&self, allowed: bool) {
        self.inner.runtime.providers.allow_remote(allowed);
    }

    /// Goes on with the executions whose process is gone, and gives their ids.
    ///
    /// Call it once the host has registered its functions: an execution that needs one which is not
    /// there stays as it is, visible as interrupted.
    pub async fn recover(&self) -> Result<Vec<ExecutionId>> {
        self.root("recover").executions().recover().await
    }

    /// Takes no new work, waits five seconds for what runs, leaves the rest interrupted, and closes the file.
    ///
    /// The functions and providers of the host are let go, so they may hold the engine themselves. Later calls of this engine, its sessions and handles give `Closed`.
    pub async fn close(&self) -> Result<()> {
        self.close_within(CLOSE_GRACE).await
    }

    /// Like [`Engine::close`], with another grace.
    pub async fn close_within(&self, grace: Duration) -> Result<()> {
        let Inner { work, runtime, .. } = &*self.inner;
        runtime.close(grace).await;
        if let Err(error) = recover::left_cleanly(work, &runtime.boot_id).await
            && error.code() != ErrorCode::Closed
        {
            tracing::warn!(code = error.code().name(), "what still ran will count as taken up in vain");
        }
        let inner = Arc::clone(&self.inner);
        // The store waits for its threads.
        let closing = tokio::task::spawn_blocking(move || {
            inner.gate.close();
            inner.runtime.boot.release();
            // What the host gave may hold this engine: the two would keep each other for good.
            inner.runtime.tools.close();
            inner.runtime.providers.close();
            inner.runtime.bell.close();
            inner.runtime.setups.clear();
        });
        closing.await.map_err(|error| Error::internal("closing the engine was broken off").with_source(error))
    }
}
