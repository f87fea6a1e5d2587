//! One HTTP client for everything that leaves the process.

pub(crate) mod sse;
