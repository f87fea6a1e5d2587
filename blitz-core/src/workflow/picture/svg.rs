//! A drawing that stands by itself: no script, no style sheet, nothing from elsewhere.

use std::fmt::Write;

use super::layout::{Area, TITLE, areas, ids, parents};
use super::{States, lines, look};
use crate::domain::{NodeType, WorkflowDefinition};

const MARGIN: f64 = 20.0;

/// Draws a definition.
pub(crate) fn svg(definition: &WorkflowDefinition, states: &States) -> String {
    let areas = areas(definition);
    let parents = parents(definition);
    let width = areas.iter().map(|area| area.x + area.width).fold(0.0, f64::max) + 2.0 * MARGIN;
    let height = areas.iter().map(|area| area.y + area.height).fold(0.0, f64::max) + 2.0 * MARGIN;
    let caption = if states.caption.is_empty() { String::new() } else { format!(", {}", states.caption) };
    let name = escaped(&format!("{}{caption}", definition.name));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\" aria-label=\"workflow {name}\" font-family=\"system-ui, sans-serif\">\n\
         <title>workflow {name}</title>\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" fill=\"#64748b\"/></marker></defs>\n\
         <g transform=\"translate({MARGIN:.0} {MARGIN:.0})\">\n"
    );
    // Containers first, the outermost at the very back, so that bodies and edges lie on them.
    let depth = |node: usize| std::iter::successors(parents[node], |parent| parents[*parent]).count();
    let mut order: Vec<usize> = (0..areas.len()).filter(|node| parents.contains(&Some(*node))).collect();
    order.sort_by_key(|node| depth(*node));
    for node in &order {
        shape(definition, states, *node, areas[*node], true, &mut text);
    }
    edges(definition, states, &areas, &mut text);
    for node in (0..areas.len()).filter(|node| !order.contains(node)) {
        shape(definition, states, node, areas[node], false, &mut text);
    }
    text.push_str("</g>\n</svg>\n");
    text
}

fn edges(definition: &WorkflowDefinition, states: &States, areas: &[Area], text: &mut String) {
    let ids = ids(definition);
    for (place, edge) in definition.edges.iter().enumerate() {
        let (Some(from), Some(to)) = (ids.get(edge.from.as_str()), ids.get(edge.to.as_str())) else { continue };
        let (from, to) = (areas[*from], areas[*to]);
        let (x1, y1) = (from.x + from.width, from.y + from.height / 2.0);
        let (x2, y2) = (to.x, to.y + to.height / 2.0);
        let bend = ((x2 - x1).abs() / 2.0).max(30.0);
        let (stroke, dash) = match states.edges.get(&place) {
            Some(true) => ("#15803d", ""),
            Some(false) => ("#94a3b8", " stroke-dasharray=\"4 4\""),
            None => ("#64748b", ""),
        };
        let _ = writeln!(
            text,
            "<path d=\"M{x1:.0} {y1:.0}C{:.0} {y1:.0} {:.0} {y2:.0} {x2:.0} {y2:.0}\" fill=\"none\" \
             stroke=\"{stroke}\" stroke-width=\"1.6\"{dash} marker-end=\"url(#arrow)\"/>",
            x1 + bend,
            x2 - bend
        );
        if edge.out != "out" {
            let (x, y) = (x1 + 6.0, y1 - 5.0 + (y2 - y1).signum() * 10.0);
            let port: String = edge.out.chars().take(14).collect();
            let _ = writeln!(
                text,
                "<text x=\"{x:.0}\" y=\"{y:.0}\" font-size=\"10\" fill=\"#475569\">{}</text>",
                escaped(&port)
            );
        }
    }
}

fn shape(
    definition: &WorkflowDefinition,
    states: &States,
    index: usize,
    area: Area,
    container: bool,
    text: &mut String,
) {
    let node = &definition.nodes[index];
    let state = states.nodes.get(&node.id);
    let (_, fill, border) = look(state.map_or("", |state| &state.status));
    let (title, below) = lines(node, states);
    let Area { x, y, width, height } = area;
    let round = match node.kind {
        NodeType::Start | NodeType::End => height / 2.0,
        NodeType::If | NodeType::Switch => 2.0,
        _ => 8.0,
    };
    let opacity = if container { " fill-opacity=\"0.45\"" } else { "" };
    let dash = if node.disabled || node.kind == NodeType::Note { " stroke-dasharray=\"3 3\"" } else { "" };
    let _ = writeln!(
        text,
        "<g><title>{} ({})</title><rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         rx=\"{round:.0}\" fill=\"{fill}\"{opacity} stroke=\"{border}\" stroke-width=\"1.4\"{dash}/>",
        escaped(&node.id),
        escaped(node.kind.name())
    );
    let (first, second) =
        if container { (y + 18.0, y + TITLE) } else { (y + height / 2.0 - 3.0, y + height / 2.0 + 13.0) };
    let middle = x + width / 2.0;
    let line = |y: f64, size: u32, color: &str, words: &str| {
        format!(
            "<text x=\"{middle:.0}\" y=\"{y:.0}\" text-anchor=\"middle\" font-size=\"{size}\" fill=\"{color}\">{}</text>",
            escaped(words)
        )
    };
    let _ = writeln!(text, "{}{}</g>", line(first, 13, "#0f172a", &title), line(second, 10, "#475569", &below));
}

/// Text that means nothing to a page.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
