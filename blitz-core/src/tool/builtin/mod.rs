//! The few tools the engine ships: calculator and files below one folder.

pub(crate) mod calculator;
pub(crate) mod files;
