//! What several topics need.

pub mod canary;
pub(crate) mod disk;
pub(crate) mod engine;
pub(crate) mod folder;
pub mod server;
pub mod variables;
