//! The Python face
