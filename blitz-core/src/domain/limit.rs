//! Limits of use: how much may be asked in a minute and at once.

use serde::{Deserialize, Serialize};

use super::model::ModelLimits;

/// Of whom or of what a limit is. Places are taken in this order.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitScope {
    /// Of everything that this engine does.
    All,
    /// Of a provider, by the name in its models' records or that of its service: the dialects of one service
    /// share a line.
    Provider,
    /// Of a model, by its catalogue name.
    Model,
    /// Of a user.
    User,
    /// Of an API key.
    Key,
    /// Of the deployment that a model's record names, by the record itself.
    #[serde(skip)]
    Deployment,
}

impl LimitScope {
    /// The word JSON and the database use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::User => "user",
            Self::Key => "key",
            Self::Deployment => "deployment",
        }
    }
}

/// A limit to put: so many calls and tokens a minute, so many calls at once.
///
/// All executions of a process share it; those that have begun keep what held then.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Of whom or of what.
    pub scope: LimitScope,
    /// Which user or key; each one on its own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_id: Option<i64>,
    /// Which model or provider; each one on its own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How much.
    pub limits: ModelLimits,
}

impl RateLimit {
    /// A limit of each of a scope.
    pub fn new(scope: LimitScope, limits: ModelLimits) -> Self {
        Self { scope, scope_id: None, subject: None, limits }
    }

    /// The same limit of one user or key only.
    pub fn only(self, id: i64) -> Self {
        Self { scope_id: Some(id), ..self }
    }

    /// The same limit of one model or provider only.
    pub fn of(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }
}
