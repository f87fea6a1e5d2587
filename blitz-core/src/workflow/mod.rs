//! Workflows: from a definition to a plan, the machine that walks it, and what can be said without running it.
//!
//! A [`plan::Plan`] comes from [`validate`] alone: whoever holds one need not check again. Nothing
//! here has a clock, chance or I/O; what only the world knows (which types a host registered) comes
//! in as a value, and which agents and tools there are is asked where the catalogue is.

pub(crate) mod config;
pub(crate) mod cron;
pub(crate) mod diff;
pub(crate) mod evaluate;
pub(crate) mod expr;
pub(crate) mod import;
pub(crate) mod machine;
pub(crate) mod picture;
pub(crate) mod plain;
pub(crate) mod plan;
pub(crate) mod task;
pub(crate) mod validate;
pub(crate) mod values;
