//! Variables: who writes them, as which item sees them, and what a write makes of a value.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Values, parent};
use crate::domain::{MergeRule, NodeFinished, NodeStatus};
use crate::workflow::evaluate::ALL_PORTS;
use crate::workflow::machine::container_of;
use crate::workflow::task::Task;

impl Values {
    /// Whether a node has set variables by its end: one that is disabled passes its input on and sets none.
    pub(super) fn sets(&self, node: usize, finished: &NodeFinished) -> bool {
        matches!(self.plan.nodes[node].task, Task::Set { .. })
            && finished.status == NodeStatus::Completed
            && finished.port.as_deref() != Some(ALL_PORTS)
    }

    /// The map's item that a path is in, as container and index.
    pub(super) fn item_of(&self, path: &str) -> Option<(String, u64)> {
        let mut path = path;
        loop {
            let (key, index) = container_of(path);
            let is_map = || {
                let id = key.rsplit('/').next().unwrap_or_default();
                self.index(id).is_some_and(|node| matches!(self.plan.nodes[node].task, Task::Map(_)))
            };
            match index {
                Some(index) if is_map() => return Some((key.to_owned(), index)),
                _ => path = parent(key)?,
            }
        }
    }

    pub(super) fn write(&mut self, path: &str, name: &str, value: Value) {
        let rule = self.plan.vars.get(name).map_or(MergeRule::Replace, |var| var.merge);
        match self.item_of(path) {
            None => {
                let slot = self.vars.entry(name.to_owned()).or_default();
                merge(slot, value, rule);
            }
            Some((key, index)) => {
                let mut now = self.var(path, name).cloned().unwrap_or_default();
                merge(&mut now, value.clone(), rule);
                if let Some(contents) = self.contents.get_mut(&key) {
                    let copy = contents.copies.entry(index).or_default();
                    copy.now.insert(name.to_owned(), now);
                    copy.writes.push((name.to_owned(), value));
                }
            }
        }
    }

    /// A variable as a path sees it.
    pub(crate) fn var(&self, path: &str, name: &str) -> Option<&Value> {
        let mut path = path.to_owned();
        while let Some((key, index)) = self.item_of(&path) {
            let copy = self.contents.get(&key).and_then(|contents| contents.copies.get(&index));
            if let Some(value) = copy.and_then(|copy| copy.now.get(name)) {
                return Some(value);
            }
            match parent(&key) {
                Some(outer) => path = outer.to_owned(),
                None => break,
            }
        }
        self.vars.get(name)
    }

    /// The variables whose values a finished node or map has changed, or a container that was taken over.
    pub(crate) fn changed_by(&self, path: &str, finished: &NodeFinished) -> Vec<(String, Value)> {
        let Some(node) = self.index(&finished.node) else { return Vec::new() };
        let names: Vec<&String> = match (&self.plan.nodes[node].task, &finished.output) {
            _ if !finished.writes.is_empty() => {
                let names: BTreeSet<&String> = finished.writes.iter().map(|(name, _)| name).collect();
                names.into_iter().collect()
            }
            (Task::Set { vars }, _) if self.sets(node, finished) => vars.iter().map(|(name, _)| name).collect(),
            (Task::Map(_), _) if finished.status == NodeStatus::Completed => {
                self.plan.vars.keys().filter(|name| self.writes_below(node, name)).collect()
            }
            _ => return Vec::new(),
        };
        names.into_iter().filter_map(|name| Some((name.clone(), self.var(path, name)?.clone()))).collect()
    }

    /// Whether a node in the body of a container writes a variable.
    fn writes_below(&self, container: usize, name: &str) -> bool {
        self.plan.nodes.iter().enumerate().any(|(index, node)| {
            let inside = || self.plan.containers(index).any(|outer| outer == container);
            match &node.task {
                Task::Set { vars } => vars.iter().any(|(var, _)| var == name) && inside(),
                Task::Loop(rounds) => rounds.carry.iter().any(|(var, _)| var == name) && inside(),
                _ => false,
            }
        })
    }
}

/// What a write makes of the value that is there.
fn merge(now: &mut Value, new: Value, rule: MergeRule) {
    match (rule, now, new) {
        (MergeRule::Append, Value::Array(list), Value::Array(more)) => list.extend(more),
        (MergeRule::Append, Value::Array(list), one) => list.push(one),
        (MergeRule::Append, now @ Value::Null, one) => {
            *now = if one.is_array() { one } else { Value::Array(vec![one]) };
        }
        (MergeRule::MergeKeys, Value::Object(fields), Value::Object(more)) => fields.extend(more),
        (MergeRule::Add, now, new) => *now = sum(now, &new),
        (_, now, new) => *now = new,
    }
}

/// The sum of two numbers: whole ones stay whole while they fit.
fn sum(one: &Value, other: &Value) -> Value {
    if let (Some(one), Some(other)) = (one.as_i64(), other.as_i64())
        && let Some(sum) = one.checked_add(other)
    {
        return sum.into();
    }
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => serde_json::Number::from_f64(one + other).map_or(Value::Null, Value::Number),
        (None, Some(_)) => other.clone(),
        _ => one.clone(),
    }
}
