//! Variables: who writes them, as which item sees them, and what a write makes of a value.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Number, Value, json};

use super::{Contents, Copy, Values, parent};
use crate::domain::schema::{SchemaCheck, describe};
use crate::domain::{EventData, MergeRule, NodeFinished, NodeStatus, Var};
use crate::error::{Error, Result};
use crate::workflow::evaluate::ALL_PORTS;
use crate::workflow::machine::{container_of, join};
use crate::workflow::task::Task;

impl Values {
    /// Whether a node has set variables by its end: one that is disabled passes its input on and sets none.
    pub(super) fn sets(&self, node: usize, finished: &NodeFinished) -> bool {
        matches!(self.plan.nodes[node].task, Task::Set { .. })
            && finished.status == NodeStatus::Completed
            && finished.port.as_deref() != Some(ALL_PORTS)
    }

    /// Whether a node sets variables: its record is read for what it writes.
    pub(crate) fn is_set(&self, node: &str) -> bool {
        self.index(node).is_some_and(|node| matches!(self.plan.nodes[node].task, Task::Set { .. }))
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
            // Without a schema only its kind counts: a long list need not be copied to see whether it is one.
            let whole = self.plan.vars.get(name).is_some_and(|var| var.schema.is_some());
            let value = if whole { value.clone() } else { outline(value) };
            if rule == MergeRule::Replace {
                after.insert(name, value);
                continue;
            }
            let now = after.entry(name).or_insert_with(|| match self.var(path, name, whole) {
                Some(now) if whole => now.as_ref().clone(),
                Some(now) => outline(&now),
                None => Value::Null,
            });
            merge(now, value, rule).map_err(|why| refused(name, why.to_owned()))?;
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
                let _ = merge(Arc::make_mut(slot), value, rule);
            }
            Some((key, index)) => {
                let known =
                    |contents: &Contents| contents.copies.get(&index).is_some_and(|copy| copy.base.contains_key(name));
                let base = match self.contents.get(&key) {
                    Some(contents) if !known(contents) => self.var(path, name, true).unwrap_or_default(),
                    _ => Arc::default(),
                };
                if let Some(contents) = self.contents.get_mut(&key) {
                    let copy = contents.copies.entry(index).or_default();
                    copy.base.entry(name.to_owned()).or_insert(base);
                    copy.writes.push((name.to_owned(), value));
                }
            }
        }
    }

    /// A variable as a path sees it: with what its item has written, or, where only its kind counts, an outline.
    fn var(&self, path: &str, name: &str, whole: bool) -> Option<Arc<Value>> {
        let mut path = path.to_owned();
        while let Some((key, index)) = self.item_of(&path) {
            let copy = self.contents.get(&key).and_then(|contents| contents.copies.get(&index));
            if let Some((copy, base)) = copy.and_then(|copy| Some((copy, copy.base.get(name)?))) {
                return Some(copy.seen(name, base, self.rule(name), whole));
            }
            match parent(&key) {
                Some(outer) => path = outer.to_owned(),
                None => break,
            }
        }
        self.vars.get(name).cloned()
    }

    /// A variable as a path sees it.
    pub(super) fn seen(&self, path: &str, name: &str) -> Option<Arc<Value>> {
        self.var(path, name, true)
    }

    /// What the end of a node or map is about to write, or that of a container that was taken over: to each variable
    /// one value, that of all writes together.
    pub(crate) fn writes_of(&self, path: &str, finished: &NodeFinished) -> Vec<(String, Value)> {
        let Some(node) = self.index(&finished.node) else { return Vec::new() };
        let mut all = BTreeMap::new();
        if !finished.writes.is_empty() {
            finished.writes.iter().for_each(|(name, value)| self.gather(&mut all, name, value));
        } else if self.sets(node, finished)
            && let Value::Object(written) = &finished.output
        {
            return written.clone().into_iter().collect();
        } else if let (Some(contents), NodeStatus::Completed) =
            (self.contents.get(&join(path, &finished.node)), finished.status)
        {
            let writes = contents.copies.values().flat_map(|copy| &copy.writes);
            writes.for_each(|(name, value)| self.gather(&mut all, name, value));
        }
        all.into_iter().collect()
    }

    fn gather(&self, all: &mut BTreeMap<String, Value>, name: &str, value: &Value) {
        let slot = all.entry(name.to_owned()).or_default();
        let _ = merge(slot, value.clone(), self.rule(name));
    }

    /// What readers are told of writes that were made: the values that came of them where these are small, else what
    /// was written, and by which rule.
    pub(crate) fn told(&self, path: &str, writes: Vec<(String, Value)>) -> Vec<EventData> {
        let tell = |(name, written): (String, Value)| {
            let rule = self.rule(&name);
            let (value, rule) = match self.small(path, &name) {
                _ if rule == MergeRule::Replace => (written, None),
                Some(now) => (now.as_ref().clone(), None),
                None => (written, Some(rule)),
            };
            EventData::VarSet { name, value, rule, value_ref: None }
        };
        writes.into_iter().map(tell).collect()
    }

    /// A variable as a path sees it, where it is small; nothing is made of a large one to see that.
    fn small(&self, path: &str, name: &str) -> Option<Arc<Value>> {
        const MOST: usize = 1024;
        let copy = self.item_of(path).and_then(|(key, index)| self.contents.get(&key)?.copies.get(&index));
        let written = copy.into_iter().flat_map(|copy| copy.writes.iter().filter(|(written, _)| written == name));
        let parts = written.map(|(_, value)| value);
        let base = copy.and_then(|copy| copy.base.get(name)).or_else(|| self.vars.get(name));
        let left = base.map(AsRef::as_ref).into_iter().chain(parts).try_fold(MOST, left_of);
        left.and_then(|_| self.seen(path, name)).filter(|now| left_of(MOST, now).is_some())
    }
}

impl Copy {
    /// A variable as its item sees it.
    fn seen(&self, name: &str, base: &Arc<Value>, rule: MergeRule, whole: bool) -> Arc<Value> {
        let mut writes = self.writes.iter().filter(|(written, _)| written == name).map(|(_, value)| value);
        if rule == MergeRule::Replace {
            return writes.next_back().map_or_else(|| Arc::clone(base), |last| Arc::new(last.clone()));
        }
        let mut now = if whole { base.as_ref().clone() } else { outline(base) };
        for value in writes {
            let value = if whole { value.clone() } else { outline(value) };
            let _ = merge(&mut now, value, rule);
        }
        Arc::new(now)
    }
}

/// What stands for a value where only its kind counts: an empty list or object, else the value.
fn outline(value: &Value) -> Value {
    match value {
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Object(_) => Value::Object(serde_json::Map::new()),
        Value::String(_) => Value::String(String::new()),
        other => other.clone(),
    }
}

/// What is left of so many bytes behind a value; `None` where it is longer, which is known without reading all of it.
fn left_of(bytes: usize, value: &Value) -> Option<usize> {
    struct Left(usize);
    impl std::io::Write for Left {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut left = Left(bytes);
    serde_json::to_writer(&mut left, value).ok().map(|()| left.0)
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
