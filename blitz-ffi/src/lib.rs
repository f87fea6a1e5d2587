//! The C face: the engine behind opaque handles and JSON, for C, C++ and whatever can call C.
//!
//! `include/blitz.h` is made from these files and is where their callers read on. There are no rules
//! here: what needs one is in the engine. A function reads its arguments, calls the engine, and gives
//! a status; a panic ends at `guard`. Raw pointers are followed in `handle` and `callback` only.

#![allow(
    unsafe_code,
    reason = "exported names are unsafe attributes; tests/all/house.rs holds where else unsafe stands"
)]

mod abi;
mod alert;
mod call;
mod callback;
mod engine;
mod error;
mod events;
mod execution;
mod guard;
mod handle;
mod json;
mod node;
mod provider;
mod run;
mod session;
mod ticket;
mod tool;

pub use abi::ABI_VERSION;
