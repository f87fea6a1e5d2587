//! What the catalogue says of workflows beside their drafts: versions, problems, differences.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Problem, WorkflowDefinition};
use crate::domain::Timestamp;

/// One published version of a workflow. It never changes, and an execution keeps the one it began with.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WorkflowVersion {
    /// Its number, from 1.
    pub version: u32,
    /// Hash of all that is stored.
    pub hash: String,
    /// Hash of what the engine reads: without layout and other things of the canvas.
    pub content_hash: String,
    /// When it was published.
    pub created_at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub spec: WorkflowDefinition,
}

/// What a check of a definition found.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Validation {
    /// Whether it could be published.
    pub valid: bool,
    /// Everything that is wrong with it or odd.
    pub problems: Vec<Problem>,
    /// The definition as the engine reads it.
    pub definition: WorkflowDefinition,
}

impl Validation {
    pub(crate) fn new(definition: WorkflowDefinition, problems: Vec<Problem>) -> Self {
        Self { valid: !problems.iter().any(Problem::is_error), problems, definition }
    }
}

/// What differs between two definitions.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WorkflowDiff {
    /// Whether both say the same to the engine: only layout or remarks differ, if anything.
    pub same: bool,
    /// Ids of nodes that only the newer one has.
    pub added: Vec<String>,
    /// Ids of nodes that only the older one has.
    pub removed: Vec<String>,
    /// Nodes of both that differ.
    pub changed: Vec<NodeChange>,
    /// Edges that only the newer one has: `from.out -> to`.
    pub edges_added: Vec<String>,
    /// Edges that only the older one has.
    pub edges_removed: Vec<String>,
    /// Whether the edges of both are in another order, which decides between equals.
    pub edges_reordered: bool,
    /// What else differs, each at its place.
    pub fields: Vec<FieldChange>,
}

/// A node that differs.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NodeChange {
    /// Its id.
    pub id: String,
    /// What differs in it.
    pub fields: Vec<FieldChange>,
}

/// A value that differs.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FieldChange {
    /// Where, as a JSON pointer.
    pub path: String,
    /// What it was; absent where it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is; absent where it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl FieldChange {
    pub(crate) fn new(path: impl Into<String>, before: Option<Value>, after: Option<Value>) -> Self {
        Self { path: path.into(), before, after }
    }
}

/// How a picture is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PictureFormat {
    /// Text that many pages draw by themselves.
    #[default]
    Mermaid,
    /// A drawing.
    Svg,
}

impl WorkflowDefinition {
    /// What the engine reads of it: without the canvas, the author's own id and what it does not know.
    pub(crate) fn content(&self) -> Value {
        let mut content = json!(self);
        let drop = |value: &mut Value, fields: &[&str]| {
            if let Some(object) = value.as_object_mut() {
                object.retain(|field, _| !fields.contains(&field.as_str()));
            }
        };
        drop(&mut content, &["ui", "ref", "x"]);
        if let Some(nodes) = content.get_mut("nodes").and_then(Value::as_array_mut) {
            nodes.retain(|node| node.get("type").and_then(Value::as_str) != Some("note"));
            nodes.iter_mut().for_each(|node| drop(node, &["position", "x"]));
        }
        if let Some(edges) = content.get_mut("edges").and_then(Value::as_array_mut) {
            edges.iter_mut().for_each(|edge| drop(edge, &["id", "x"]));
        }
        content
    }
}
