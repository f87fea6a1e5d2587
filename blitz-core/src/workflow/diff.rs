//! What differs between two definitions.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::task::escaped;
use crate::domain::{Edge, FieldChange, NodeChange, WorkflowDefinition, WorkflowDiff};

/// From an older definition to a newer one.
pub(crate) fn diff(older: &WorkflowDefinition, newer: &WorkflowDefinition) -> WorkflowDiff {
    let mut diff = WorkflowDiff { same: older.content() == newer.content(), ..WorkflowDiff::default() };
    for node in &newer.nodes {
        match older.node(&node.id) {
            None => diff.added.push(node.id.clone()),
            Some(before) => {
                let mut fields = Vec::new();
                changes("", Some(&json!(before)), Some(&json!(node)), &mut fields);
                if !fields.is_empty() {
                    diff.changed.push(NodeChange { id: node.id.clone(), fields });
                }
            }
        }
    }
    let gone = older.nodes.iter().filter(|node| newer.node(&node.id).is_none());
    diff.removed = gone.map(|node| node.id.clone()).collect();
    let (before, after): (Vec<String>, Vec<String>) =
        (older.edges.iter().map(name).collect(), newer.edges.iter().map(name).collect());
    diff.edges_added = only(&after, &before);
    diff.edges_removed = only(&before, &after);
    let kept = |all: &[String], others: &[String]| -> Vec<String> {
        let others: BTreeSet<&String> = others.iter().collect();
        all.iter().filter(|edge| others.contains(edge)).cloned().collect()
    };
    diff.edges_reordered = kept(&before, &after) != kept(&after, &before);
    let rest = |definition: &WorkflowDefinition| {
        let mut value = json!(definition);
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|field, _| field != "nodes" && field != "edges");
        }
        value
    };
    changes("", Some(&rest(older)), Some(&rest(newer)), &mut diff.fields);
    diff
}

fn name(edge: &Edge) -> String {
    let input = if edge.input == "in" { String::new() } else { format!(".{}", edge.input) };
    format!("{}.{} -> {}{input}", edge.from, edge.out, edge.to)
}

fn only(these: &[String], those: &[String]) -> Vec<String> {
    let those: BTreeSet<&String> = those.iter().collect();
    these.iter().filter(|edge| !those.contains(edge)).cloned().collect()
}

/// The innermost values that differ; lists are compared as a whole.
fn changes(path: &str, before: Option<&Value>, after: Option<&Value>, out: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, after) else {
        out.push(FieldChange::new(path, before.cloned(), after.cloned()));
        return;
    };
    for key in keys(old, new) {
        changes(&format!("{path}/{}", escaped(key)), old.get(key), new.get(key), out);
    }
}

fn keys<'a>(old: &'a Map<String, Value>, new: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
    old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))).map(String::as_str)
}
