//! The words of the machines: what happened goes in, what to do comes out.
//!
//! A machine is plain serialisable control state. It holds no values: outputs and messages live in
//! the journal under step keys, the driver brings what an action needs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::ToolCall;
use super::model::ModelResponse;
use super::time::Timestamp;
use super::usage::Usage;
use crate::error::{Error, ErrorInfo};

/// What a machine is told. Each is journaled (or follows from what is) in the order it is told.
#[non_exhaustive]
#[derive(Debug)]
pub enum Input<'a> {
    /// Begin.
    Start,
    /// A model answered.
    ModelAnswered {
        /// The key of the action.
        key: &'a str,
        /// The answer.
        response: &'a ModelResponse,
        /// What all attempts of the call used.
        usage: Usage,
    },
    /// A model call failed for good: retries are the driver's, and are over.
    ModelFailed {
        /// The key of the action.
        key: &'a str,
        /// Why.
        error: &'a ErrorInfo,
    },
    /// A tool or child answered or failed: its result is in the journal.
    ToolFinished {
        /// The key of the action.
        key: &'a str,
        /// Whether the model had asked for a tool that is not on offer.
        unknown: bool,
        /// What a child used; nothing for a plain tool.
        usage: Usage,
    },
    /// The money for an action was refused: it was not performed.
    Refused {
        /// The key of the action.
        key: &'a str,
        /// Why.
        error: &'a ErrorInfo,
    },
    /// Stop: someone asked, a limit of time is over, or the principal may no longer act.
    Stop {
        /// How the execution ends.
        finish: &'a Finish,
    },
}

/// What a machine wants done. Each is returned once and has a key that is unique in its execution.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Ask the model, with the conversation so far.
    CallModel {
        /// Its key, such as `2/model`.
        key: String,
        /// What the engine tells the model first: why its last answer would not do.
        feedback: Option<String>,
        /// Whether the agent's tool choice holds for this call.
        first: bool,
    },
    /// Run a tool, or an agent that is offered as one.
    CallTool {
        /// Its key, such as `2/tool/0`.
        key: String,
        /// The call as the model made it.
        call: ToolCall,
    },
    /// The end: nothing follows.
    Finish(Finish),
}

/// How an execution ends.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Finish {
    /// With an output.
    Completed {
        /// The output.
        output: Value,
    },
    /// With an error.
    Failed {
        /// Why.
        error: ErrorInfo,
    },
    /// Because someone asked for it.
    Cancelled,
}

impl Finish {
    pub(crate) fn failed(error: &Error) -> Self {
        Self::Failed { error: error.to_info() }
    }
}

/// A pure machine: no I/O, no clock, no randomness. Time comes with each input.
pub trait Machine: Send {
    /// Takes in what happened, gives what to do now.
    fn step(&mut self, now: Timestamp, input: Input<'_>) -> Vec<Action>;

    /// The actions given out so far that have no outcome yet; for recovery only.
    fn open(&self) -> Vec<Action>;
}

impl Action {
    /// The key of the action; the end has none.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::CallModel { key, .. } | Self::CallTool { key, .. } => Some(key),
            Self::Finish(_) => None,
        }
    }
}
