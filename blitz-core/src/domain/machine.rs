//! The words of the machines: what happened goes in, what to do comes out.
//!
//! A machine is plain serialisable control state. It holds no values: outputs and messages live in
//! the journal under step keys, the driver brings what an action needs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::EventData;
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
    /// A node of a workflow opened its scope: its body runs now.
    NodeEntered {
        /// The key of the node.
        key: &'a str,
        /// How many items a map has, or rounds a loop may make.
        items: u64,
    },
    /// A container of a workflow fails as a whole: its time is over, or what it gathers is too much.
    NodeBroken {
        /// The key of the node.
        key: &'a str,
        /// What it fails with.
        error: &'a ErrorInfo,
    },
    /// A node of a workflow ended for good.
    NodeEnded {
        /// The key of the node.
        key: &'a str,
        /// How.
        end: NodeEnd<'a>,
    },
    /// One item of a map or round of a loop ended.
    ItemEnded {
        /// Its path, such as `review/3`.
        path: &'a str,
        /// How.
        end: ItemEnd<'a>,
    },
    /// Stop: someone asked, a limit of time is over, or the principal may no longer act.
    Stop {
        /// How the execution ends.
        finish: &'a Finish,
    },
}

/// How a node of a workflow ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum NodeEnd<'a> {
    /// It left by this port.
    Port(&'a str),
    /// It is disabled: what came in goes out by every port but `error`.
    PassedThrough,
    /// It did not run, because its condition does not hold.
    Skipped,
    /// It failed, and nothing of its own handles that.
    Failed(&'a ErrorInfo),
    /// It was stopped.
    Cancelled,
}

/// How an item of a map or a round of a loop ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ItemEnd<'a> {
    /// With an output; `last` where a loop's condition is met.
    Done {
        /// Whether no further round follows.
        last: bool,
    },
    /// With an error.
    Failed(&'a ErrorInfo),
    /// It was stopped.
    Cancelled,
}

/// Why a scope of a workflow has come to its end.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Close {
    /// All its nodes are decided.
    Done,
    /// A loop has made all its rounds, and its condition is not met.
    Capped,
    /// A node in it failed.
    Failed(ErrorInfo),
    /// It was stopped from outside.
    Cancelled,
}

/// Where a node of a workflow runs.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its key: path and id, such as `review/3/read`.
    pub key: String,
    /// The containers it is in, with item or round: `review/3`.
    pub path: String,
    /// Its place in the list of the definition.
    pub node: usize,
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
        /// Whether no tool may be called any more.
        last: bool,
    },
    /// Run a tool, or an agent that is offered as one.
    CallTool {
        /// Its key, such as `2/tool/0`.
        key: String,
        /// The call as the model made it.
        call: ToolCall,
    },
    /// Run a node of a workflow, whatever its type does.
    RunNode(Place),
    /// Stop a node that runs: nothing is wanted of it any more.
    CancelNode(Place),
    /// A container has come to its end: gather what came of it.
    CloseNode {
        /// The container.
        place: Place,
        /// Why.
        close: Close,
    },
    /// An item of a map or a round of a loop has come to its end.
    CloseItem {
        /// Its path, such as `review/3`.
        path: String,
        /// Why.
        close: Close,
    },
    /// All nodes of a workflow are decided: make its output.
    Conclude,
    /// Tell readers what follows from what happened.
    Emit {
        /// The containers that it happened in.
        path: String,
        /// What.
        data: Box<EventData>,
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
            Self::RunNode(place) | Self::CancelNode(place) | Self::CloseNode { place, .. } => Some(&place.key),
            Self::CloseItem { path, .. } => Some(path),
            Self::Conclude | Self::Emit { .. } | Self::Finish(_) => None,
        }
    }
}
