//! Pictures of a definition, and of an execution with what became of its nodes and edges.
//!
//! Both forms are text that depends on nothing but what it is made of, so a picture can be compared
//! and kept. Broken drafts are drawn too: edges to nowhere are left out.

pub(crate) mod layout;
mod mermaid;
mod svg;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::BTreeMap;

pub(crate) use mermaid::mermaid;
pub(crate) use svg::svg;

use crate::domain::{Node, PictureFormat, WorkflowDefinition};

/// What became of the nodes and edges of a definition in an execution.
#[derive(Debug, Clone, Default)]
pub(crate) struct States {
    /// By node id.
    pub(crate) nodes: BTreeMap<String, NodeState>,
    /// By the edge's place in the definition: whether it was taken.
    pub(crate) edges: BTreeMap<usize, bool>,
    /// Which execution it is, and how it ended; nothing for a definition.
    pub(crate) caption: String,
}

/// What became of a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeState {
    /// `running`, `completed`, `skipped`, … as events say it.
    pub(crate) status: String,
    /// A few words beside: `attempt 2 of 3`, `7 of 10 items`, `1.2 s`.
    pub(crate) detail: String,
}

/// Draws a definition.
pub(crate) fn draw(definition: &WorkflowDefinition, states: &States, format: PictureFormat) -> String {
    match format {
        PictureFormat::Mermaid => mermaid(definition, states),
        PictureFormat::Svg => svg(definition, states),
    }
}

/// How each status looks: its name, the fill, the border.
const LOOKS: &[(&str, &str, &str)] = &[
    ("pending", "#f1f5f9", "#64748b"),
    ("running", "#dbeafe", "#1d4ed8"),
    ("waiting", "#fef3c7", "#b45309"),
    ("completed", "#dcfce7", "#15803d"),
    ("failed", "#fee2e2", "#b91c1c"),
    ("cancelled", "#e5e7eb", "#374151"),
    ("skipped", "#f8fafc", "#94a3b8"),
    ("not_run", "#f8fafc", "#94a3b8"),
    ("cached", "#ede9fe", "#6d28d9"),
    ("pinned", "#ede9fe", "#6d28d9"),
];

/// The fill and border of a status; a node without one looks as if it were pending.
fn look(status: &str) -> (&'static str, &'static str, &'static str) {
    LOOKS.iter().find(|(name, ..)| *name == status).copied().unwrap_or(("pending", "#ffffff", "#475569"))
}

/// What stands on a node: its label or id, then its type and state.
fn lines(node: &Node, states: &States) -> (String, String) {
    const TITLE: usize = 26;
    const BELOW: usize = 36;
    let cut = |text: &str, longest: usize| {
        let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match plain.char_indices().nth(longest) {
            Some((end, _)) => format!("{}…", &plain[..end]),
            None => plain,
        }
    };
    let title = cut(if node.label.is_empty() { &node.id } else { &node.label }, TITLE);
    let below = match states.nodes.get(&node.id) {
        Some(state) if state.detail.is_empty() => state.status.clone(),
        Some(state) => format!("{} · {}", state.status, state.detail),
        None => node.kind.name().to_owned(),
    };
    (title, cut(&below, BELOW))
}
