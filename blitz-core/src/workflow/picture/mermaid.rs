//! Text for Mermaid, which many pages draw by themselves.

use std::fmt::Write;

use super::layout::{ids, parents};
use super::{LOOKS, States, lines};
use crate::domain::{NodeType, WorkflowDefinition};

/// Draws a definition as a flowchart.
pub(crate) fn mermaid(definition: &WorkflowDefinition, states: &States) -> String {
    let mut text = String::from("flowchart LR\n");
    let parents = parents(definition);
    scope(definition, states, &parents, None, 1, &mut text);
    let ids = ids(definition);
    let mut links = Vec::new();
    for (place, edge) in definition.edges.iter().enumerate() {
        let (Some(from), Some(to)) = (ids.get(edge.from.as_str()), ids.get(edge.to.as_str())) else { continue };
        let taken = states.edges.get(&place);
        let arrow = if taken == Some(&false) { "-.->" } else { "-->" };
        let port = if edge.out == "out" { String::new() } else { format!("|\"{}\"|", escaped(&edge.out)) };
        let _ = writeln!(text, "    n{from} {arrow}{port} n{to}");
        links.push(taken.copied());
    }
    for (link, taken) in links.iter().enumerate() {
        if *taken == Some(true) {
            let _ = writeln!(text, "    linkStyle {link} stroke:#15803d,stroke-width:2px");
        }
    }
    for (status, fill, border) in LOOKS {
        let of = |node: &crate::domain::Node| states.nodes.get(&node.id).is_some_and(|state| state.status == *status);
        let nodes: Vec<String> =
            definition.nodes.iter().enumerate().filter(|(_, node)| of(node)).map(|(at, _)| format!("n{at}")).collect();
        if !nodes.is_empty() {
            let _ = writeln!(text, "    classDef {status} fill:{fill},stroke:{border},color:#0f172a");
            let _ = writeln!(text, "    class {} {status}", nodes.join(","));
        }
    }
    text
}

fn scope(
    definition: &WorkflowDefinition,
    states: &States,
    parents: &[Option<usize>],
    owner: Option<usize>,
    depth: usize,
    text: &mut String,
) {
    let indent = "    ".repeat(depth);
    for (index, node) in definition.nodes.iter().enumerate().filter(|(index, _)| parents[*index] == owner) {
        let (title, below) = lines(node, states);
        let label = format!("{}<br/><small>{}</small>", escaped(&title), escaped(&below));
        if parents.contains(&Some(index)) {
            let _ = writeln!(text, "{indent}subgraph n{index}[\"{label}\"]");
            scope(definition, states, parents, Some(index), depth + 1, text);
            let _ = writeln!(text, "{indent}end");
            continue;
        }
        let (open, close) = match node.kind {
            NodeType::Start | NodeType::End => ("([", "])"),
            NodeType::If | NodeType::Switch => ("{", "}"),
            NodeType::Approval | NodeType::Wait => ("{{", "}}"),
            NodeType::Subflow => ("[[", "]]"),
            NodeType::Input | NodeType::Output => ("[/", "/]"),
            _ => ("[", "]"),
        };
        let _ = writeln!(text, "{indent}n{index}{open}\"{label}\"{close}");
    }
}

/// Text that means nothing to Mermaid or a page.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '"' | '<' | '>' | '&' | '#' | '`' | '\\' | '|' | '{' | '}' | '[' | ']' | '(' | ')' | '%' | ';' => {
                let _ = write!(safe, "#{};", u32::from(c));
            }
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
