//! The settings of an engine as data: for files, and for hosts in other languages.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EngineBuilder, methods};
use crate::domain::{Drain, RecoverySettlement, Secret, SessionSettings};
use crate::error::Result;
use crate::provider::Network;
use crate::store::Durability;
use crate::tool::Egress;

/// How an engine is opened: see [`Engine::open_with`](super::Engine::open_with).
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use blitz::{Engine, EngineSettings};
/// use serde_json::json;
///
/// let settings = EngineSettings::from_json(json!({"database_url": ":memory:", "durability": "process"}))?;
/// let engine = Engine::open_with(settings).await?;
/// # engine.close().await
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineSettings {
    /// A path, `sqlite:path`, or `:memory:`.
    pub database_url: String,
    /// How much of a commit must be on the disk before it counts.
    #[serde(default)]
    pub durability: Durability,
    /// How many milliseconds a write waits for another process to let go of the database; 10,000 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_timeout_ms: Option<u64>,
    /// The key that secrets are sealed with: 32 bytes, as 64 hex digits. Where absent, a file beside the database has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key: Option<Secret>,
    /// Whether models outside this process may be asked; true where absent.
    #[serde(default = "allowed")]
    pub real_requests: bool,
    /// Where the HTTP calls of workflows may go; nowhere where absent.
    #[serde(default)]
    pub egress: Egress,
    /// By which proxy providers are reached and who may vouch for them; as the environment says where absent.
    #[serde(default)]
    pub network: Network,
    /// What a call is booked at whose process died: all that was reserved where absent.
    #[serde(default)]
    pub recovery_settlement: RecoverySettlement,
    /// How far an answer is read on that nobody waits for any more; not at all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// How logins and their tokens last.
    #[serde(default)]
    pub sessions: SessionSettings,
    /// Whether users may name a model `provider:model`, paid by the environment's keys; only the host may where absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub model_names_for_users: bool,
    /// How many model calls, tool calls and works of nodes run at once, over all executions; as many as there are where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
}

impl EngineSettings {
    /// The usual settings for a database.
    pub fn new(database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            durability: Durability::default(),
            busy_timeout_ms: None,
            master_key: None,
            real_requests: allowed(),
            egress: Egress::default(),
            network: Network::default(),
            recovery_settlement: RecoverySettlement::default(),
            drain: None,
            sessions: SessionSettings::default(),
            model_names_for_users: false,
            max_parallel: None,
        }
    }

    /// Reads settings from JSON. Errors: `InvalidInput`, which never repeats a value: one may be the key.
    pub fn from_json(settings: Value) -> Result<Self> {
        methods::input(settings)
    }

    pub(super) fn builder(self) -> EngineBuilder {
        let mut builder = EngineBuilder::new(self.database_url)
            .with_durability(self.durability)
            .with_real_requests(self.real_requests)
            .with_egress(self.egress)
            .with_network(self.network)
            .with_recovery_settlement(self.recovery_settlement)
            .with_sessions(self.sessions)
            .with_model_names_for_users(self.model_names_for_users);
        if let Some(drain) = self.drain {
            builder = builder.with_drain(drain);
        }
        if let Some(limit) = self.busy_timeout_ms {
            builder = builder.with_busy_limit(Duration::from_millis(limit));
        }
        if let Some(most) = self.max_parallel {
            builder = builder.with_max_parallel(most);
        }
        if let Some(key) = self.master_key {
            builder = builder.with_master_key(key.expose());
        }
        builder
    }
}

fn allowed() -> bool {
    true
}
