//! Black-box tests of the engine, one module per topic.

#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it stands")]

mod agent;
mod dependencies;
mod errors_doc;
mod house;
mod source;
mod support;
