//! Variables: who writes them, as which item sees them, and what a write makes of a value.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Number, Value, json};

use super::{Values, parent};
use crate::domain::schema::{SchemaCheck, describe};
use crate::domain::{MergeRule, NodeFinished, NodeStatus, Var};
use crate::error::{Error, Result};
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

    fn rule(&self, name: &str) -> MergeRule {
        self.plan.vars.get(name).map_or(MergeRule::Replace, |var| var.merge)
    }

    /// Whether these writes can be made at a path, one behind the other, and leave what the variables promise.
    ///
    /// Errors: `BadOutput`, which names the variable.
    pub(crate) fn admit<'w>(
        &self,
        path: &str,
        writes: impl IntoIterator<Item = (&'w String, &'w Value)>,
    ) -> Result<()> {
        let refused = |name: &str, why: String| {
            Error::bad_output(format!("vars.{name} cannot be written: {why}")).with_details(json!({"var": name}))
        };
        let mut after: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, value) in writes {
            let rule = self.rule(name);
            if rule == MergeRule::Replace {
                after.insert(name, value.clone());
                continue;
            }
            let now = after.entry(name).or_insert_with(|| self.var(path, name).cloned().unwrap_or_default());
            merge(now, value.clone(), rule).map_err(|why| refused(name, why.to_owned()))?;
        }
        for (name, value) in after {
            if let Some(why) = self.plan.vars.get(name).and_then(|var| off_schema(var, &value)) {
                return Err(refused(name, why));
            }
        }
        Ok(())
    }

    /// The same for all that the items of a map have written, at its end.
    pub(crate) fn admit_items(&self, path: &str, key: &str) -> Result<()> {
        let copies = self.contents.get(key).into_iter().flat_map(|contents| contents.copies.values());
        self.admit(path, copies.flat_map(|copy| &copy.writes).map(|(name, value)| (name, value)))
    }

    pub(super) fn write(&mut self, path: &str, name: &str, value: Value) {
        let rule = self.rule(name);
        // What clashes was refused before it came into a record.
        match self.item_of(path) {
            None => {
                let slot = self.vars.entry(name.to_owned()).or_default();
                let _ = merge(slot, value, rule);
            }
            Some((key, index)) => {
                let mut now = self.var(path, name).cloned().unwrap_or_default();
                let _ = merge(&mut now, value.clone(), rule);
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

/// What a write makes of the value that is there. Errors: why the two do not go together; nothing is changed then.
fn merge(now: &mut Value, new: Value, rule: MergeRule) -> std::result::Result<(), &'static str> {
    match (rule, now, new) {
        (MergeRule::Replace, now, new) => *now = new,
        (MergeRule::Append, Value::Array(list), Value::Array(more)) => list.extend(more),
        (MergeRule::Append, Value::Array(list), one) => list.push(one),
        (MergeRule::Append, now @ Value::Null, one) => {
            *now = if one.is_array() { one } else { Value::Array(vec![one]) };
        }
        (MergeRule::Append, ..) => return Err("append wants a list to append to"),
        (MergeRule::MergeKeys, Value::Object(fields), Value::Object(more)) => fields.extend(more),
        (MergeRule::MergeKeys, now @ Value::Null, new @ Value::Object(_)) => *now = new,
        (MergeRule::MergeKeys, ..) => return Err("merge_keys puts the keys of two objects together"),
        (MergeRule::Add, now @ Value::Null, new @ Value::Number(_)) => *now = new,
        (MergeRule::Add, Value::Number(now), Value::Number(new)) => {
            *now = sum(now, &new).ok_or("the sum is more than a number can be")?;
        }
        (MergeRule::Add, ..) => return Err("add takes numbers only"),
    }
    Ok(())
}

/// The sum of two numbers: that of whole ones is whole. `None` where there is no such number.
fn sum(one: &Number, other: &Number) -> Option<Number> {
    if one.is_f64() || other.is_f64() {
        return Number::from_f64(one.as_f64()? + other.as_f64()?);
    }
    let sum = one.as_i128()? + other.as_i128()?;
    i64::try_from(sum).map(Number::from).or_else(|_| u64::try_from(sum).map(Number::from)).ok()
}

/// Why a variable cannot have this default; `None` where it can. Null is none.
pub(in crate::workflow) fn wrong_default(var: &Var) -> Option<String> {
    if var.default.is_null() {
        return None;
    }
    let neutral = match var.merge {
        MergeRule::Replace => return off_schema(var, &var.default),
        MergeRule::Append => Value::Array(Vec::new()),
        MergeRule::MergeKeys => Value::Object(serde_json::Map::new()),
        MergeRule::Add => 0.into(),
    };
    match merge(&mut var.default.clone(), neutral, var.merge) {
        Ok(()) => off_schema(var, &var.default),
        Err(why) => Some(why.to_owned()),
    }
}

/// How a value is off the schema of its variable; a schema that cannot be used is a problem of the definition.
fn off_schema(var: &Var, value: &Value) -> Option<String> {
    let check = SchemaCheck::new(var.schema.as_ref()?).ok()?;
    check.check(value).err().map(|problems| format!("off its schema: {}", describe(&problems)))
}
