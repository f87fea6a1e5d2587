//! A Rust closure as a tool: `tool_fn!`, schema from types.
