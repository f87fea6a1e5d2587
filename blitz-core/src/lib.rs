//! Blitz.
#![allow(dead_code, unused_imports, missing_docs, reason = "the rooms are being filled")]
mod domain;
pub mod error;
mod net;
pub mod provider;
mod store;
pub mod tool;
pub use domain::*;
pub use error::{Error, ErrorCode, Result};
