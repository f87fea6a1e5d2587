//! Opening an engine with other settings than the usual ones.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::access::{Authorizer, Gate, Heads, OpenGate, Policy, Rules};
use crate::domain::{Drain, RecoverySettlement, Secret, SessionSettings};
use crate::error::{Error, Result};
use crate::execution::bell::Bell;
use crate::execution::{Runtime, recover};
use crate::provider::registry::Providers;
use crate::provider::{Network, Provider};
use crate::store::{Durability, OpenOptions};
use crate::tool::Egress;

/// The settings of an engine that is about to open.
#[must_use = "an engine opens with `open`"]
pub struct EngineBuilder {
    options: OpenOptions,
    rules: Rules,
    providers: Providers,
    egress: Egress,
    network: Network,
    settlement: RecoverySettlement,
    drain: Option<Drain>,
    max_parallel: Option<u32>,
}

impl EngineBuilder {
    pub(super) fn new(database_url: String) -> Self {
        Self {
            options: OpenOptions::new(database_url),
            rules: Rules::default(),
            providers: Providers::default(),
            egress: Egress::default(),
            network: Network::default(),
            settlement: RecoverySettlement::default(),
            drain: None,
            max_parallel: None,
        }
    }

    /// How much of a commit must be on the disk before it counts; [`Durability::Full`] where nothing is said.
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// How long a write waits for another process to let go of the database; ten seconds where nothing is said.
    pub fn with_busy_limit(mut self, limit: Duration) -> Self {
        self.options.busy_limit = limit;
        self
    }

    /// The key that secrets are sealed with: 32 bytes, as 64 hex digits.
    ///
    /// Without one the engine keeps a key in a file beside the database.
    pub fn with_master_key(mut self, key: &str) -> Self {
        self.options.master_key = Some(Secret::new(key));
        self
    }

    /// How logins and their tokens last.
    pub fn with_sessions(mut self, settings: SessionSettings) -> Self {
        self.rules.sessions = settings;
        self
    }

    /// Asks the host's own policy too, wherever the engine's rules allow something to a user.
    pub fn with_authorizer(mut self, authorizer: impl Authorizer + 'static) -> Self {
        self.rules.policy = Policy::of(Arc::new(authorizer));
        self
    }

    /// Gives the head of the audit trail to the host whenever so many lines were written: `seq:hash`, to keep
    /// where nobody with the database can change it. [`AuditTrail::verify`](super::AuditTrail::verify) takes it.
    pub fn with_audit_heads(mut self, lines: u32, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.rules.heads = Some(Heads::every(lines, tell));
        self
    }

    /// Serves a provider of the host under its name.
    pub fn with_provider(self, provider: impl Provider) -> Self {
        self.providers.register(Arc::new(provider));
        self
    }

    /// Whether models outside this process may be asked: see [`Engine::allow_real_requests`].
    pub fn with_real_requests(self, allowed: bool) -> Self {
        self.providers.allow_remote(allowed);
        self
    }

    /// Where the HTTP calls of workflows may go; nowhere where nothing is said.
    pub fn with_egress(mut self, egress: Egress) -> Self {
        self.egress = egress;
        self
    }

    /// By which proxy providers are reached, and who may vouch for them beside those that the machine trusts.
    ///
    /// Providers that the host makes itself are not concerned: they read the environment.
    pub fn with_network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// What a call is booked at whose process died before anybody heard how it ended: all that was reserved,
    /// where nothing is said.
    ///
    /// It holds for what this engine settles: when it opens, recovers, or ends what nobody runs.
    pub fn with_recovery_settlement(mut self, settlement: RecoverySettlement) -> Self {
        self.settlement = settlement;
        self
    }

    /// How far the answer of a model is read on that nobody waits for any more; not at all where nothing is said.
    ///
    /// A call that is cancelled is booked at once by an estimate: its input, and the output that had come. Its
    /// provider goes on and says at the end what it used: where that is still read, an `adjust` puts it in the
    /// estimate's place. Nobody is told of what comes meanwhile, and the call keeps its place in its limits. Closing
    /// the engine ends it within the grace, with the estimate. Functions of the host are told to end instead.
    pub fn with_drain(mut self, drain: Drain) -> Self {
        self.drain = Some(drain);
        self
    }

    /// How many model calls, tool calls and works of nodes run at once, over all executions of the engine; as many
    /// as there are where nothing is said. More wait for their turn, in the order in which they ask.
    ///
    /// What waits counts for nothing: a container, a child, an approval, a timer, a pause before another attempt, and a
    /// tool as long as it waits for what it asked the engine to run.
    pub fn with_max_parallel(mut self, most: u32) -> Self {
        self.max_parallel = Some(most);
        self
    }

    /// Whether users may name a model `provider:model`, such as `openai:gpt-4o`. By default only the host
    /// may: the keys of the environment are its own.
    pub fn with_model_names_for_users(self, allowed: bool) -> Self {
        self.providers.allow_names(allowed);
        self
    }

    /// Opens the database.
    ///
    /// Errors: as [`Engine::open`]; `InvalidInput` where nothing could run at all.
    pub async fn open(mut self) -> Result<Engine> {
        if self.max_parallel == Some(0) {
            return Err(Error::invalid("max_parallel must be at least 1"));
        }
        self.providers.reach_by(&self.network)?;
        self.drain.as_ref().map_or(Ok(()), Drain::check)?;
        let OpenGate { gate, work, store_id, boot } = Gate::open(self.options, self.rules).await?;
        // Nobody listens yet; the courier reads the outbox when it begins.
        recover::settle_dead(&work, &boot, &Bell::default(), self.settlement).await?;
        let runtime = Runtime::new(boot, store_id, self.providers, self.settlement, self.drain, self.max_parallel);
        runtime.tools.allow_egress(self.egress);
        Ok(Engine::new(gate, work, runtime))
    }
}
