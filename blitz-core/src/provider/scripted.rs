//! Answers from a list: for tests and examples.
