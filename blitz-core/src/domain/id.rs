//! Typed ids: 64-bit integers, so that an agent's id cannot be passed for a user's.

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[doc = $doc:literal])* $name:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.0.fmt(f) }
        }
        impl From<i64> for $name { fn from(id: i64) -> Self { Self(id) } }
        impl From<$name> for i64 { fn from(id: $name) -> i64 { id.0 } }
    )*};
}

ids! {
    /// Id of a user.
    UserId;
    /// Id of an API key.
    KeyId;
    /// Id of a login session.
    SessionId;
    /// Id of a catalogue resource: a model, prompt, tool or agent.
    ResourceId;
    /// Id of an execution.
    ExecutionId;
    /// Id of a budget.
    BudgetId;
    /// Id of a reservation.
    ReservationId;
}
