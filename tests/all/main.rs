//! Black-box tests of the engine, one module per topic: what a user relies on, through the public API.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod provider_faults;
mod support;
