//! Providers against recorded traffic: each recorded answer is played back by a local server, whole
//! and cut into pieces, and what the provider makes of it is compared with a plain reading of the
//! recording. Each recorded request is read into a [`blitz::ModelRequest`], sent again, and compared.
//!
//! The recordings are no part of the project: `BLITZ_RECORDINGS` names their folder. What the
//! engine cannot say is listed in `exceptions.json`, each with its reason.

mod anthropic;
#[cfg(feature = "bedrock")]
mod bedrock;
mod chat;
mod cohere;
mod embeddings;
mod forms;
mod gemini;
mod ollama;
mod player;
mod reading;
mod recorded;
mod responses;
mod table;
