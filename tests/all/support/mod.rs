//! What several topics need.

pub(crate) mod engine;
pub mod server;
pub mod variables;
