//! The C face
