//! Agents as a user runs them: the model and tool loop to its true end.

mod children;
mod fallback;
mod inputs;
mod limits;
mod loops;
mod options;
