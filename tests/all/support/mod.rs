//! What the topics share.

pub(crate) mod engine;
