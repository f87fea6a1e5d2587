//! Workflows: what a definition is, and what running one does.

mod definition;
mod definition_problems;
mod redrive;
mod running;
mod secrets;
pub(crate) mod stand;
