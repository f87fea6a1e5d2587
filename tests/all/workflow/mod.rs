//! Workflows: what a definition is, and what running one does.

mod caching;
mod children;
mod container_time;
mod crash;
mod data;
mod definition;
mod definition_problems;
mod errors;
mod http;
mod joins;
mod kills;
mod lasting;
mod long_turns;
mod maps_loops;
mod people;
mod picture;
mod queues;
mod random;
mod redrive;
mod reruns;
mod schedules;
mod secrets;
mod silence;
mod stage;
pub(crate) mod stand;
mod types;
mod variables;
