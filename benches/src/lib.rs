//! Benchmarks beside their floors.
//!
//! A [`Row`] is one question: what does this cost, next to the least that any program must pay for
//! it? Each of its variants is measured in a process of its own, interleaved with the others, so
//! that a noisy machine is noisy for all of them. The model server is a third process: the CPU that
//! is counted is the client's alone. Absolute figures do not carry over to other machines, ratios do.

pub mod client;
pub mod engine;
pub mod flows;
pub mod ledger;
pub mod measure;
pub mod mock;
pub mod python;
pub mod report;
pub mod row;
pub mod rows;
pub mod run;
pub mod sqlite;
pub mod steps;

pub use row::{Bar, Context, Metric, Row, Variant};

/// What a benchmark returns: any failure ends it with its message.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
