//! Providers against recorded traffic: each recorded answer is played back by a local server, whole
//! and cut into pieces, and what the provider makes of it is compared with a plain reading of the
//! recording. Each recorded request is read into a [`blitz::ModelRequest`], sent again, and compared.
//!
//! The recordings are no part of the project: `BLITZ_RECORDINGS` names their folder.

mod chat;
mod oracle;
mod recorded;
mod requests;
