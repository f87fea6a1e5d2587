//! Edges and joins: when a node may run, and when it never will.

use std::sync::Arc;

use super::{EdgeState, Flow, NodeState, WorkflowMachine, join};
use crate::domain::{Action, EdgeAt, EventData, JoinMode, NodeFinished, NodeStatus};
use crate::workflow::plan::PlanNode;

/// What a join says of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Wait,
    Run,
    Skip,
}

/// How many of a node's incoming edges are taken, skipped and open.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    taken: u32,
    skipped: u32,
    open: u32,
}

fn verdict(node: &PlanNode, count: Count) -> Verdict {
    let Count { taken, skipped, open } = count;
    let needed = match node.join.mode {
        JoinMode::AnyTaken if open > 0 => return Verdict::Wait,
        JoinMode::AnyTaken | JoinMode::First => 1,
        JoinMode::All => taken + skipped + open,
        JoinMode::N => node.join.n.unwrap_or(1),
    };
    if taken >= needed {
        Verdict::Run
    } else if taken + open < needed {
        Verdict::Skip
    } else {
        Verdict::Wait
    }
}

impl WorkflowMachine {
    /// Ends an edge, and decides the node it leads to where that can be.
    pub(super) fn decide_edge(&mut self, path: &str, edge: usize, taken: bool, flow: &mut Flow) {
        let plan = Arc::clone(&self.plan);
        let spec = &plan.edges[edge];
        let Some(instance) = self.control.instances.get_mut(path) else { return };
        let state = &mut instance.edges[self.layout.edges[edge]];
        if instance.stopping || *state != EdgeState::Open {
            return;
        }
        *state = if taken { EdgeState::Taken } else { EdgeState::Skipped };
        let at = EdgeAt::new(&plan.nodes[spec.from].id, &spec.out, &plan.nodes[spec.to].id, &spec.input);
        let data = if taken { EventData::EdgeTaken(at) } else { EventData::EdgeSkipped(at) };
        flow.actions.push(Action::Emit { path: path.to_owned(), data: Box::new(data) });
        self.decide_node(path, spec.to, flow);
    }

    fn decide_node(&mut self, path: &str, node: usize, flow: &mut Flow) {
        let plan = Arc::clone(&self.plan);
        let (spec, Some(instance)) = (&plan.nodes[node], self.control.instances.get(path)) else { return };
        if instance.nodes[self.layout.nodes[node]] != NodeState::Idle {
            return;
        }
        let mut count = Count::default();
        for edge in &spec.incoming {
            match instance.edges[self.layout.edges[*edge]] {
                EdgeState::Open => count.open += 1,
                EdgeState::Taken => count.taken += 1,
                EdgeState::Skipped => count.skipped += 1,
            }
        }
        match verdict(spec, count) {
            Verdict::Wait => {}
            Verdict::Run => {
                self.begin(path, node, flow);
                if spec.join.cancel_rest {
                    self.cancel_rest(path, node, flow);
                }
            }
            Verdict::Skip => self.drop_node(path, node, NodeStatus::Skipped, flow),
        }
    }

    /// Decides a node that has not begun and never will; what leads on from it is skipped.
    pub(super) fn drop_node(&mut self, path: &str, node: usize, status: NodeStatus, flow: &mut Flow) {
        let plan = Arc::clone(&self.plan);
        let (spec, Some(instance)) = (&plan.nodes[node], self.control.instances.get_mut(path)) else { return };
        instance.nodes[self.layout.nodes[node]] = NodeState::Decided;
        instance.undecided -= 1;
        let data = EventData::NodeFinished(NodeFinished::new(spec.id.clone(), status, 0));
        flow.actions.push(Action::Emit { path: path.to_owned(), data: Box::new(data) });
        for (_, edges) in &spec.outgoing {
            flow.edges.extend(edges.iter().map(|edge| (path.to_owned(), *edge, false)));
        }
        flow.touched.push_back(path.to_owned());
    }

    /// Ends what only feeds a join that has already begun.
    fn cancel_rest(&mut self, path: &str, join_node: usize, flow: &mut Flow) {
        let plan = Arc::clone(&self.plan);
        let Some(instance) = self.control.instances.get(path) else { return };
        let scope = &plan.scopes[instance.scope];
        let undecided = |node: &usize| instance.nodes[self.layout.nodes[*node]] != NodeState::Decided;
        let mut only_feeds = vec![join_node];
        loop {
            let before = only_feeds.len();
            for node in scope.nodes.iter().filter(|node| undecided(node)) {
                let mut targets = plan.nodes[*node].outgoing.iter().flat_map(|(_, edges)| edges).peekable();
                let leads_on = targets.peek().is_some();
                if leads_on
                    && !only_feeds.contains(node)
                    && targets.all(|edge| only_feeds.contains(&plan.edges[*edge].to))
                {
                    only_feeds.push(*node);
                }
            }
            if only_feeds.len() == before {
                break;
            }
        }
        for node in only_feeds.into_iter().skip(1) {
            let state = self.control.instances.get(path).map(|instance| instance.nodes[self.layout.nodes[node]]);
            match state {
                Some(NodeState::Idle) => self.drop_node(path, node, NodeStatus::Cancelled, flow),
                Some(NodeState::Active) => self.stop_node(&join(path, &plan.nodes[node].id), flow),
                _ => {}
            }
        }
    }
}
