//! What one node or item gave: how it ended, and its output or where that is.

use std::sync::Arc;

use serde_json::Value;

use super::super::task::MapFail;
use crate::domain::{NodeStatus, OutputRef, Timestamp, Usage};
use crate::error::ErrorInfo;

/// What a node gave.
#[derive(Debug)]
pub(super) struct NodeValue {
    pub(super) status: NodeStatus,
    pub(super) started_at: Timestamp,
    pub(super) port: Option<String>,
    pub(super) output: Held,
    pub(super) error: Option<ErrorInfo>,
    pub(super) usage: Usage,
    /// The how-manieth it was to end.
    pub(super) place: u64,
}

/// A value, or where it is.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    Here(Arc<Value>),
    Elsewhere(OutputRef),
}

/// What an item of a map, or a round of a loop, gave.
#[derive(Debug)]
pub(super) struct ItemValue {
    pub(super) status: NodeStatus,
    pub(super) output: Held,
}

impl NodeValue {
    pub(super) fn new(started_at: Timestamp) -> Self {
        Self {
            status: NodeStatus::Running,
            started_at,
            port: None,
            output: Held::Here(Arc::new(Value::Null)),
            error: None,
            usage: Usage::default(),
            place: u64::MAX,
        }
    }

    pub(super) fn has_output(&self) -> bool {
        self.port.is_some() && self.port.as_deref() != Some("error")
    }

    /// Whether it left by a port.
    pub(super) fn left_by(&self, port: &str) -> bool {
        match self.port.as_deref() {
            Some("*") => port != "error",
            other => other == Some(port),
        }
    }
}

impl Held {
    pub(super) fn new(value: &Value, at: Option<&OutputRef>) -> Self {
        match at {
            Some(at) => Self::Elsewhere(at.clone()),
            None => Self::Here(Arc::new(value.clone())),
        }
    }
}

impl ItemValue {
    /// The bytes that it takes in the list of its map, with the comma behind it.
    pub(super) fn bytes(&self, fail: MapFail) -> u64 {
        match (&self.output, self.status, fail) {
            (Held::Elsewhere(at), NodeStatus::Completed, _) => at.bytes + 1,
            (Held::Here(value), NodeStatus::Completed, _) => length(value) + 1,
            (_, _, MapFail::Drop) => 0,
            _ => "null,".len() as u64,
        }
    }
}

/// How long a value is as JSON.
pub(in crate::workflow) fn length(value: &Value) -> u64 {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // A value is JSON, and counting never fails.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}
