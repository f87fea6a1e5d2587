//! Where nodes stand: in layers from left to right, bodies inside of their containers.
//!
//! Layers come from the longest way to a node; within a layer nodes are sorted by the middle of
//! their neighbours, a few times to and fro. Edges that would close a circle are left out of it.

use std::collections::BTreeMap;

use crate::domain::{NodeType, Position, WorkflowDefinition};

pub(super) const WIDTH: f64 = 180.0;
pub(super) const HEIGHT: f64 = 52.0;
const GAP_X: f64 = 70.0;
const GAP_Y: f64 = 28.0;
/// Room in a container around its body, and for its title above.
const PADDING: f64 = 18.0;
pub(super) const TITLE: f64 = 34.0;
const SWEEPS: usize = 4;

/// Where a node stands and how big it is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The place of each node, in the order of the definition: of a node in a body, within its container.
pub(crate) fn positions(definition: &WorkflowDefinition) -> Vec<Position> {
    let areas = areas(definition);
    let parents = parents(definition);
    let within = |index: usize| match parents[index] {
        Some(parent) => Position { x: areas[index].x - areas[parent].x, y: areas[index].y - areas[parent].y },
        None => Position { x: areas[index].x, y: areas[index].y },
    };
    (0..areas.len()).map(within).collect()
}

/// The container of each node. A parent that is none, or one inside of the node itself, counts as none.
pub(super) fn parents(definition: &WorkflowDefinition) -> Vec<Option<usize>> {
    let ids = ids(definition);
    let named: Vec<Option<usize>> = definition
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let parent = ids.get(node.parent.as_deref()?).copied()?;
            (parent != index && definition.nodes[parent].kind.is_container()).then_some(parent)
        })
        .collect();
    let circles = |index: usize| {
        let ways = std::iter::successors(named[index], |parent| named[*parent]).take(named.len() + 1);
        ways.count() > named.len()
    };
    (0..named.len()).map(|index| named[index].filter(|_| !circles(index))).collect()
}

/// The first node of each id.
pub(super) fn ids(definition: &WorkflowDefinition) -> BTreeMap<&str, usize> {
    let mut ids = BTreeMap::new();
    for (index, node) in definition.nodes.iter().enumerate() {
        ids.entry(node.id.as_str()).or_insert(index);
    }
    ids
}

/// The places of all nodes on one canvas.
pub(super) fn areas(definition: &WorkflowDefinition) -> Vec<Area> {
    let parents = parents(definition);
    let ids = ids(definition);
    let edges: Vec<(usize, usize)> = definition
        .edges
        .iter()
        .filter_map(|edge| Some((*ids.get(edge.from.as_str())?, *ids.get(edge.to.as_str())?)))
        .filter(|(from, to)| from != to && parents[*from] == parents[*to])
        .collect();
    let mut plan = Layout { parents: &parents, edges: &edges, areas: vec![Area::default(); parents.len()] };
    for (area, node) in plan.areas.iter_mut().zip(&definition.nodes) {
        let lines = if node.kind == NodeType::Note { 1.4 } else { 1.0 };
        (area.width, area.height) = (WIDTH, HEIGHT * lines);
    }
    plan.scope(None);
    plan.shift(None, 0.0, 0.0);
    plan.areas
}

struct Layout<'a> {
    parents: &'a [Option<usize>],
    edges: &'a [(usize, usize)],
    areas: Vec<Area>,
}

impl Layout<'_> {
    /// Places the nodes of a scope from its own corner; gives its size.
    fn scope(&mut self, owner: Option<usize>) -> (f64, f64) {
        let members: Vec<usize> = (0..self.parents.len()).filter(|node| self.parents[*node] == owner).collect();
        for node in &members {
            if self.parents.contains(&Some(*node)) {
                let (width, height) = self.scope(Some(*node));
                let area = &mut self.areas[*node];
                area.width = (width + 2.0 * PADDING).max(WIDTH);
                area.height = height + 2.0 * PADDING + TITLE;
            }
        }
        let layers = self.layers(&members);
        let tall = |layer: &[usize], areas: &[Area]| {
            let heights: f64 = layer.iter().map(|node| areas[*node].height).sum();
            heights + GAP_Y * (layer.len().saturating_sub(1)) as f64
        };
        let height = layers.iter().map(|layer| tall(layer, &self.areas)).fold(0.0, f64::max);
        let mut x = 0.0;
        for layer in &layers {
            let mut y = (height - tall(layer, &self.areas)) / 2.0;
            let width = layer.iter().map(|node| self.areas[*node].width).fold(0.0, f64::max);
            for node in layer {
                let area = &mut self.areas[*node];
                (area.x, area.y) = (x, y);
                y += area.height + GAP_Y;
            }
            x += width + GAP_X;
        }
        ((x - GAP_X).max(0.0), height)
    }

    fn layers(&self, members: &[usize]) -> Vec<Vec<usize>> {
        let mut rank: BTreeMap<usize, usize> = members.iter().map(|node| (*node, 0)).collect();
        let edges: Vec<(usize, usize)> =
            self.edges.iter().copied().filter(|(from, _)| rank.contains_key(from)).collect();
        let forward = self.forward(members, &edges);
        // Forward edges lead along the order, so one pass over it settles every rank.
        for (from, to) in &forward {
            let least = rank[from] + 1;
            rank.entry(*to).and_modify(|rank| *rank = (*rank).max(least));
        }
        let mut layers: Vec<Vec<usize>> = Vec::new();
        for node in members {
            let at = rank[node];
            if layers.len() <= at {
                layers.resize(at + 1, Vec::new());
            }
            layers[at].push(*node);
        }
        layers.retain(|layer| !layer.is_empty());
        self.untangle(&mut layers, &forward);
        layers
    }

    /// The edges that close no circle, sorted so that all edges to a node come before those from it.
    fn forward(&self, members: &[usize], edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
        let mut next: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        edges.iter().for_each(|(from, to)| next.entry(*from).or_default().push(*to));
        let none = Vec::new();
        let (mut done, mut open, mut order) = (Vec::new(), Vec::new(), Vec::new());
        done.resize(self.parents.len(), false);
        open.resize(self.parents.len(), false);
        let mut back = Vec::new();
        for start in members {
            if done[*start] {
                continue;
            }
            let mut way = vec![(*start, 0)];
            open[*start] = true;
            while let Some((node, at)) = way.last_mut() {
                let node = *node;
                match next.get(&node).unwrap_or(&none).get(*at) {
                    Some(to) => {
                        *at += 1;
                        if open[*to] {
                            back.push((node, *to));
                        } else if !done[*to] {
                            open[*to] = true;
                            way.push((*to, 0));
                        }
                    }
                    None => {
                        (open[node], done[node]) = (false, true);
                        order.push(node);
                        way.pop();
                    }
                }
            }
        }
        let mut forward = Vec::new();
        for node in order.into_iter().rev() {
            let edges = next.get(&node).unwrap_or(&none).iter().map(|to| (node, *to));
            forward.extend(edges.filter(|edge| !back.contains(edge)));
        }
        forward
    }

    /// Sorts each layer by the middle of its neighbours, to and fro.
    fn untangle(&self, layers: &mut [Vec<usize>], edges: &[(usize, usize)]) {
        for sweep in 0..SWEEPS {
            let mut place: BTreeMap<usize, f64> = BTreeMap::new();
            for layer in layers.iter() {
                layer.iter().enumerate().for_each(|(at, node)| {
                    place.insert(*node, at as f64);
                });
            }
            let forth = sweep % 2 == 0;
            for layer in layers.iter_mut() {
                let middle = |node: usize| {
                    let near = edges.iter().filter_map(|(from, to)| match forth {
                        true if *to == node => place.get(from),
                        false if *from == node => place.get(to),
                        _ => None,
                    });
                    let near: Vec<f64> = near.copied().collect();
                    if near.is_empty() { place[&node] } else { near.iter().sum::<f64>() / near.len() as f64 }
                };
                let mut keyed: Vec<(f64, usize)> = layer.iter().map(|node| (middle(*node), *node)).collect();
                keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
                *layer = keyed.into_iter().map(|(_, node)| node).collect();
            }
        }
    }

    /// Moves each scope to where its container stands.
    fn shift(&mut self, owner: Option<usize>, x: f64, y: f64) {
        for node in 0..self.parents.len() {
            if self.parents[node] == owner {
                self.areas[node].x += x;
                self.areas[node].y += y;
                let Area { x, y, .. } = self.areas[node];
                self.shift(Some(node), x + PADDING, y + PADDING + TITLE);
            }
        }
    }
}
