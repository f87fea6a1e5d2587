//! The agent machine: pure control of the model and tool loop.
