//! Example programs
