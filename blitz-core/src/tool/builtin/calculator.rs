//! Arithmetic, safe and bounded.
