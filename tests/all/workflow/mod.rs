//! Workflows: what a definition is, and what running one does.

mod definition;
mod definition_problems;
mod picture;
mod running;
