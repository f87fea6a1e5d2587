//! Plain values with serde: no I/O, no async, no clock of their own.

pub mod access;
pub mod agent;
pub mod catalog;
pub mod event;
pub mod execution;
pub mod id;
pub mod ledger;
pub mod machine;
pub mod message;
pub mod model;
pub mod money;
pub mod prompt;
pub mod schema;
pub mod secret;
pub mod template;
pub mod time;
pub mod tool;
pub mod usage;

pub use access::*;
pub use agent::*;
pub use catalog::*;
pub use event::*;
pub use execution::*;
pub use id::*;
pub use ledger::*;
pub use machine::*;
pub use message::*;
pub use model::*;
pub use money::*;
pub use prompt::*;
pub use secret::*;
pub use time::*;
pub use tool::*;
pub use usage::*;
