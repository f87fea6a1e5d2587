//! Agents as a user runs them: the model and tool loop to its true end.

mod loops;
mod options;
