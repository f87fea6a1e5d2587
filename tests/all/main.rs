//! Black-box tests of the engine, one module per topic: what a user relies on, through the public API.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a campaign says its seed and what it saw")]

mod access;
mod agent;
mod bad_input;
mod behaviours;
mod catalog;
mod conformance;
mod dependencies;
mod dialect_faults;
mod durability;
mod embeddings;
mod errors_doc;
mod events;
mod examples;
mod headers;
mod hosts;
mod house;
mod letting_go;
mod methods;
mod model_names;
mod money;
mod network;
mod parity;
mod prices;
mod provider_faults;
mod source;
mod structured;
mod support;
mod workflow;
