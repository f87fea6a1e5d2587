//! Workflows: what a definition is, and what running one does.

mod caching;
mod definition;
mod definition_problems;
mod picture;
mod queues;
mod redrive;
mod running;
mod schedules;
mod secrets;
mod silence;
pub(crate) mod stand;
