//! What a schema may cost: found by looking at it, before it is prepared.

use std::collections::BTreeMap;

use serde_json::Value;

use super::depth_within;
use crate::error::{Error, Result};

/// The most bytes of a schema as JSON text.
const MAX_BYTES: usize = 256 * 1024;
/// The most levels of nesting of a schema.
const MAX_DEPTH: usize = 64;
/// The most levels of nesting of a value that is checked.
const MAX_VALUE_DEPTH: usize = 100;
/// The most patterns in a schema.
const MAX_PATTERNS: usize = 100;
/// The most subschemas that one place of a value may have to pass, references followed.
const MAX_WORK: u64 = 100_000;

/// Keywords whose value is data, not a schema.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Keywords whose value maps free names to schemas.
const NAMED: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// Keywords whose subschemas look at the same place of the value.
const IN_PLACE: [&str; 8] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"];
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Refuses a schema that is too big, refers outside itself or could cost too much; gives how deep a
/// value may be nested. Errors: `InvalidInput`.
pub(super) fn admit(schema: &Value) -> Result<usize> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err(Error::invalid("a JSON Schema is an object"));
    }
    if !depth_within(schema, MAX_DEPTH) {
        return Err(Error::invalid(format!("the schema is nested deeper than {MAX_DEPTH} levels")));
    }
    if schema.to_string().len() > MAX_BYTES {
        return Err(Error::invalid(format!("the schema is over {} KiB", MAX_BYTES / 1024)));
    }
    let mut patterns = 0;
    look(schema, &mut patterns)?;
    if patterns > MAX_PATTERNS {
        return Err(Error::invalid(format!("the schema has more than {MAX_PATTERNS} patterns")));
    }
    let mut walk = Walk { root: schema, weights: BTreeMap::new(), recursive: false };
    if walk.weight(schema) > MAX_WORK {
        return Err(too_much_work());
    }
    Ok(if walk.recursive { value_depth(walk.branching()?) } else { MAX_VALUE_DEPTH })
}

/// Refuses references to elsewhere and counts patterns, in every subschema.
fn look(schema: &Value, patterns: &mut usize) -> Result<()> {
    match schema {
        Value::Array(items) => items.iter().try_for_each(|item| look(item, patterns)),
        Value::Object(map) => map.iter().try_for_each(|(key, value)| match (key.as_str(), value) {
            (key, Value::String(target)) if REFERENCES.contains(&key) => admit_reference(key, target),
            ("pattern", Value::String(_)) => {
                *patterns += 1;
                Ok(())
            }
            (key, _) if DATA.contains(&key) => Ok(()),
            (key, Value::Object(named)) if NAMED.contains(&key) => {
                *patterns += if key == "patternProperties" { named.len() } else { 0 };
                named.values().try_for_each(|value| look(value, patterns))
            }
            (_, value) => look(value, patterns),
        }),
        _ => Ok(()),
    }
}

fn admit_reference(key: &str, target: &str) -> Result<()> {
    if target.starts_with('#') {
        return Ok(());
    }
    Err(Error::invalid(format!("{key} may only point inside the schema, such as #/$defs/name: nothing is fetched")))
}

/// How deep a value may be, when each level of it may be looked at `branching` times.
fn value_depth(branching: u64) -> usize {
    let mut depth = 0;
    let mut work = 1;
    while work <= MAX_WORK && depth < MAX_VALUE_DEPTH {
        work *= branching.max(1);
        depth += 1;
    }
    depth
}

/// Follows references; `None` marks a target that is being weighed, so meeting it again is recursion.
struct Walk<'a> {
    root: &'a Value,
    weights: BTreeMap<&'a str, Option<u64>>,
    recursive: bool,
}

impl<'a> Walk<'a> {
    /// How many subschemas a schema unfolds to; a recursion counts once.
    fn weight(&mut self, schema: &'a Value) -> u64 {
        let mut sum = 1u64;
        for (_, child) in subschemas(schema) {
            sum = sum.saturating_add(self.weight(child));
        }
        match reference(schema) {
            Some(target) => sum.saturating_add(self.target_weight(target)),
            None => sum,
        }
    }

    fn target_weight(&mut self, target: &'a str) -> u64 {
        match self.weights.get(target) {
            Some(Some(weight)) => return *weight,
            Some(None) => {
                self.recursive = true;
                return 1;
            }
            None => {}
        }
        self.weights.insert(target, None);
        let weight = resolve(self.root, target).map_or(1, |schema| self.weight(schema));
        self.weights.insert(target, Some(weight));
        weight
    }

    /// The most references that look at one and the same child of a value, over all targets.
    fn branching(&self) -> Result<u64> {
        let targets = self.weights.keys().filter_map(|target| resolve(self.root, target));
        let mut most = 1;
        for schema in std::iter::once(self.root).chain(targets) {
            let mut count = Count { root: self.root, per_child: BTreeMap::new(), open: Vec::new(), steps: 0 };
            count.visit(schema, "")?;
            most = count.per_child.into_values().fold(most, u64::max);
        }
        Ok(most)
    }
}

/// Counts the references to each child of a value, the way down to it without combinators.
struct Count<'a> {
    root: &'a Value,
    per_child: BTreeMap<String, u64>,
    /// References that are being followed in place.
    open: Vec<&'a str>,
    steps: u64,
}

impl<'a> Count<'a> {
    fn visit(&mut self, schema: &'a Value, child: &str) -> Result<()> {
        self.steps += 1;
        if self.steps > MAX_WORK {
            return Err(too_much_work());
        }
        if let Some(target) = reference(schema) {
            self.follow(target, child)?;
        }
        subschemas(schema).into_iter().try_for_each(|(step, below)| match step {
            Some(step) => self.visit(below, &format!("{child}/{step}")),
            None => self.visit(below, child),
        })
    }

    fn follow(&mut self, target: &'a str, child: &str) -> Result<()> {
        if !child.is_empty() {
            *self.per_child.entry(child.to_owned()).or_default() += 1;
        } else if !self.open.contains(&target)
            && let Some(schema) = resolve(self.root, target)
        {
            self.open.push(target);
            self.visit(schema, child)?;
            self.open.pop();
        }
        Ok(())
    }
}

fn too_much_work() -> Error {
    Error::invalid("the schema's references unfold to too much work: repeat fewer of them")
}

/// The subschemas that a value must pass, each with the step down into the value; `None` is in place.
fn subschemas(schema: &Value) -> Vec<(Option<String>, &Value)> {
    let keywords = schema.as_object().into_iter().flatten();
    let applied = keywords.filter(|(key, _)| !DATA.contains(&key.as_str()) && !is_shelf(key));
    applied
        .flat_map(|(key, value)| {
            let step = (!IN_PLACE.contains(&key.as_str())).then(|| key.clone());
            match value {
                Value::Object(named) if NAMED.contains(&key.as_str()) => named
                    .iter()
                    .map(|(name, schema)| (step.as_ref().map(|step| format!("{step}/{name}")), schema))
                    .collect(),
                Value::Object(_) => vec![(step, value)],
                Value::Array(items) => items.iter().map(|item| (step.clone(), item)).collect(),
                _ => Vec::new(),
            }
        })
        .collect()
}

/// Whether a keyword only keeps schemas for references to point at.
fn is_shelf(key: &str) -> bool {
    matches!(key, "$defs" | "definitions")
}

fn reference(schema: &Value) -> Option<&str> {
    REFERENCES.iter().find_map(|key| schema.get(key)?.as_str())
}

/// What `#/a/b` points at. An anchor resolves to the root: it weighs no less than what it names.
fn resolve<'a>(root: &'a Value, target: &str) -> Option<&'a Value> {
    let pointer = target.strip_prefix('#')?;
    if pointer.starts_with('/') { root.pointer(pointer) } else { Some(root) }
}
