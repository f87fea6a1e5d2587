//! Who may do what: the one door to the store.
//!
//! [`Gate`] holds the engine's only store. A call comes with a [`Caller`], a permission and a
//! [`Target`]; the gate reads the caller's standing, judges and acts in one transaction, and lends
//! the body a [`Grant`] as proof. The trail is written in that same transaction.
//!
//! The driver acts for an execution over a long time: its [`ExecutionStore`] is made from a grant
//! and reads the user's standing again at every step. What no user asked for (settling the money
//! of dead processes) goes through [`EngineWork`], which only opening the gate gives.

mod authorizer;
mod caller;
mod catalog;
mod credentials;
mod denials;
mod gate;
mod jwt;
mod keys;
mod legacy;
mod login;
mod model;
mod password;
mod policy;
mod reach;
mod resumed;
mod roles;
mod secrets;
mod sessions;
mod sources;
mod standing;
mod token;
mod trail;
mod users;
mod webhook;

pub(crate) use authorizer::Policy;
pub use authorizer::{AccessObject, AccessRequest, Authorizer};
pub(crate) use caller::Caller;
pub(crate) use gate::{Gate, Grant, OpenGate, Rules, Target};
pub(crate) use model::ModelSecrets;
pub(crate) use standing::{EngineWork, ExecutionStore, Standing};
pub(crate) use trail::Heads;

#[cfg(test)]
mod tests;
