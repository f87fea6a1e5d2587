//! JSON Schema checks, bounded and without any network.
