//! What the machine holds while it runs.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::domain::{ItemEnd, NodeEnd};
use crate::workflow::validate::validate;

fn machine(definition: serde_json::Value) -> WorkflowMachine {
    let definition = serde_json::from_value(definition).unwrap();
    WorkflowMachine::new(Arc::new(validate(&definition, &[]).into_plan().unwrap()))
}

/// Lets every node in `actions` end by its port, and every item; gives what is left to do.
fn done(machine: &mut WorkflowMachine, actions: Vec<Action>) -> Vec<Action> {
    let mut next = Vec::new();
    for action in actions {
        let now = Timestamp(0);
        next.extend(match &action {
            Action::RunNode(place) => {
                let port = machine.plan.nodes[place.node].ports.first().map_or("out", String::as_str).to_owned();
                machine.step(now, Input::NodeEnded { key: &place.key, end: NodeEnd::Port(&port) })
            }
            Action::CloseItem { path, .. } => {
                machine.step(now, Input::ItemEnded { path, end: ItemEnd::Done { last: false } })
            }
            _ => Vec::new(),
        });
    }
    next
}

/// The bytes of everything that the machine has to remember.
fn bytes(machine: &WorkflowMachine) -> usize {
    serde_json::to_vec(&machine.control).unwrap().len()
}

#[test]
fn w24_a_map_costs_the_machine_its_live_items_and_nothing_for_the_others() {
    let map = |items: u64, concurrency: u64| {
        let mut machine = machine(json!({"name": "w", "nodes": [
            {"id": "m", "type": "map", "config": {"items": "{{ inputs.items }}", "concurrency": concurrency}},
            {"id": "a", "type": "template", "parent": "m", "config": {"template": "x"}},
            {"id": "b", "type": "template", "parent": "m", "config": {"template": "x"}}],
            "edges": [{"from": "a", "to": "b"}]}));
        machine.step(Timestamp(0), Input::Start);
        let mut open = machine.step(Timestamp(0), Input::NodeEntered { key: "m", items });
        let (mut most, mut live) = (0, 0);
        while !open.iter().any(|action| matches!(action, Action::CloseNode { .. })) {
            most = most.max(bytes(&machine));
            live = live.max(machine.control.instances.len() as u64 - 1);
            open = done(&mut machine, open);
        }
        assert_eq!(live, concurrency.min(items));
        most
    };
    let (few, many, wide) = (map(100, 8), map(10_000, 8), map(10_000, 80));
    // Only the digits of the numbers in it grow with the count of items.
    assert!(many < few + 8 * 50, "{few} bytes for 100 items, {many} for 10,000");
    assert!(many < 8 * 500, "{many} bytes for eight live items");
    assert!(wide < 80 * 500, "{wide} bytes for eighty live items");
}
