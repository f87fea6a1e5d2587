//! Blitz.
#![allow(dead_code, unused_imports, unused_macros, missing_docs, reason = "the rooms are being filled")]

pub mod access;
mod agent;
mod audit;
mod domain;
mod engine;
pub mod error;
mod execution;
mod ledger;
mod net;
pub mod provider;
mod store;
pub mod tool;

pub use domain::*;
pub use error::{Error, ErrorCode, Result};
