//! What several topics need.

pub mod server;
