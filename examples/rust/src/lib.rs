//! What the example programs share: the parts of `review`, which reviews documents for risks.
//!
//! - [`setup`]: an engine with a model, tools, a prompt and agents; [`prompt`]: what is asked and answered.
//! - [`flow`]: the workflow that reviews a batch, and its node that is a function of the program.
//! - [`documents`]: the files, and their copies in the one folder that the agent may read.
//! - [`batch`]: one execution for all documents, and how to go on where a dead process was.
//! - [`progress`]: what happens, live, from the engine's stream of events.
//! - [`screen`]: what is said before and after.
//! - [`report`]: the figures, from the database: a table and a page; [`spark`]: numbers as a line of bars.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "these are programs: the screen is their face")]

pub mod batch;
pub mod documents;
pub mod flow;
pub mod progress;
pub mod prompt;
pub mod report;
pub mod screen;
pub mod setup;
pub mod show;
pub mod spark;

/// What an example program may end with: an error of the engine, or one of its own in words.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
