//! One place of a schema with its references followed, its parts merged and its alternatives chosen.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value, json};

/// References and alternatives in a row that are followed.
const MAX_HOPS: usize = 32;
/// Keywords that say nothing about which values fit.
const NOTES: [&str; 8] =
    ["title", "description", "default", "examples", "$comment", "deprecated", "$defs", "definitions"];

/// How alternatives are chosen.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    /// Which one, counted from the first.
    pub(super) shift: usize,
    /// Whether the simplest comes first: that ends a recursion.
    pub(super) simple: bool,
}

/// The types that a schema names.
pub(super) fn types(schema: &Value) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Value::String(kind) => Some(vec![kind]),
        Value::Array(kinds) => Some(kinds.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

/// Makes one schema of a schema's `$ref`, its `allOf`, and one alternative each of its `anyOf` and
/// `oneOf`. `budget` is lowered by what is looked at and copied.
pub(super) fn flatten<'s>(schema: &'s Value, root: &'s Value, choice: Choice, budget: &mut usize) -> Cow<'s, Value> {
    let mut flat = Cow::Borrowed(schema);
    for _ in 0..MAX_HOPS {
        let next = match &flat {
            Cow::Borrowed(schema) => unfold(schema, root, choice),
            Cow::Owned(schema) => unfold(schema, root, choice).map(|next| Cow::Owned(next.into_owned())),
        };
        *budget = budget.saturating_sub(1);
        match next {
            None => break,
            Some(next) => flat = next,
        }
        if let Cow::Owned(copy) = &flat {
            *budget = budget.saturating_sub(size(copy));
        }
    }
    flat
}

/// How many values a value holds.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 1,
        Value::Object(map) => map.values().map(size).sum::<usize>() + 1,
        _ => 1,
    }
}

/// Takes one keyword away that points to other schemas, and puts those in its place.
fn unfold<'s>(schema: &'s Value, root: &'s Value, choice: Choice) -> Option<Cow<'s, Value>> {
    let map = schema.as_object()?;
    let list = |key: &str| map.get(key).and_then(Value::as_array).filter(|list| !list.is_empty());
    let (key, parts): (_, Vec<&Value>) = if let Some(target) = map.get("$ref").and_then(Value::as_str) {
        ("$ref", resolve(root, target).into_iter().collect())
    } else if let Some(all) = list("allOf") {
        ("allOf", all.iter().collect())
    } else {
        let key = ["anyOf", "oneOf"].into_iter().find(|key| list(key).is_some())?;
        (key, vec![choose(list(key)?, choice)?])
    };
    if let [part] = parts.as_slice()
        && map.keys().all(|other| other == key || NOTES.contains(&other.as_str()))
    {
        return Some(Cow::Borrowed(part));
    }
    let rest: Map<String, Value> =
        map.iter().filter(|(other, _)| *other != key).map(|(key, value)| (key.clone(), value.clone())).collect();
    Some(Cow::Owned(parts.into_iter().fold(Value::Object(rest), merge)))
}

/// What a reference inside the schema points to.
fn resolve<'s>(root: &'s Value, target: &str) -> Option<&'s Value> {
    root.pointer(target.strip_prefix('#')?)
}

fn choose(alternatives: &[Value], choice: Choice) -> Option<&Value> {
    let is_null = |schema: &Value| {
        types(schema).is_some_and(|types| types == ["null"]) || schema.get("const") == Some(&Value::Null)
    };
    let is_deep = |schema: &Value| {
        ["$ref", "properties", "items", "allOf", "anyOf", "oneOf"].iter().any(|key| schema.get(key).is_some())
    };
    let mut ordered: Vec<&Value> = alternatives.iter().collect();
    // The sort is stable: what is equal stays in the schema's order.
    ordered.sort_by_key(|schema| if choice.simple { is_deep(schema) } else { is_null(schema) });
    ordered.get(choice.shift % ordered.len().max(1)).copied()
}

/// A schema that asks for what both ask for, as far as one schema can say it.
fn merge(whole: Value, part: &Value) -> Value {
    match (whole, part) {
        (Value::Object(mut whole), Value::Object(part)) => {
            for (key, value) in part {
                let merged = match whole.get(key) {
                    Some(old) => merge_keyword(key, old, value),
                    None => Some(value.clone()),
                };
                match merged {
                    Some(merged) => whole.insert(key.clone(), merged),
                    // Both stand: the second becomes a part of its own, merged in its turn.
                    None => {
                        let own = json!({ key: value });
                        match whole.get_mut("allOf") {
                            Some(Value::Array(parts)) => parts.push(own),
                            _ => drop(whole.insert("allOf".to_owned(), json!([own]))),
                        }
                        continue;
                    }
                };
            }
            Value::Object(whole)
        }
        (_, Value::Bool(false)) => Value::Bool(false),
        (whole, _) => whole,
    }
}

/// What a keyword says that two schemas have; `None` where one keyword cannot say both.
fn merge_keyword(key: &str, old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return Some(old.clone());
    }
    let stricter = |wanted: Ordering| {
        let order = new.as_f64().zip(old.as_f64()).and_then(|(new, old)| new.partial_cmp(&old));
        if order == Some(wanted) { new.clone() } else { old.clone() }
    };
    let merged = match key {
        "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties" | "minContains" => {
            stricter(Ordering::Greater)
        }
        "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties" => stricter(Ordering::Less),
        "required" => union(old, new),
        "enum" => intersection(old, new),
        "type" => intersection(&listed(old), &listed(new)),
        "properties" => both_properties(old, new),
        "items" => json!({"allOf": [old, new]}),
        "additionalProperties" if old.is_boolean() => json!(old == &Value::Bool(true) && new != &Value::Bool(false)),
        "anyOf" | "oneOf" | "allOf" | "$ref" => return None,
        _ => new.clone(),
    };
    Some(merged)
}

fn listed(kind: &Value) -> Value {
    match kind {
        Value::Array(_) => kind.clone(),
        _ => json!([kind]),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn union(old: &Value, new: &Value) -> Value {
    items(old).chain(items(new).filter(|item| !items(old).any(|known| known == *item))).cloned().collect()
}

/// What is in both lists; a whole number is a number too.
fn intersection(old: &Value, new: &Value) -> Value {
    let holds =
        |list: &Value, item: &Value| items(list).any(|known| known == item || (known == "number" && item == "integer"));
    let kept = items(old).filter(|item| holds(new, item));
    let narrowed =
        items(new).filter(|item| *item == "integer" && holds(old, item) && !items(old).any(|known| known == *item));
    kept.chain(narrowed).cloned().collect()
}

fn both_properties(old: &Value, new: &Value) -> Value {
    let mut merged = old.as_object().cloned().unwrap_or_default();
    for (name, schema) in new.as_object().into_iter().flatten() {
        let both = merged.get(name).map(|old| json!({"allOf": [old, schema]}));
        merged.insert(name.clone(), both.unwrap_or_else(|| schema.clone()));
    }
    Value::Object(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(schema: &Value) -> Value {
        flatten(schema, schema, Choice { shift: 0, simple: false }, &mut 1_000).into_owned()
    }

    #[test]
    fn references_parts_and_alternatives_become_one_schema() {
        let schema = json!({
            "$ref": "#/$defs/base",
            "minimum": 2,
            "anyOf": [{"type": "null"}, {"type": "integer", "maximum": 9}],
            "$defs": {"base": {"allOf": [{"type": "number", "minimum": 1}, {"maximum": 50}]}}
        });
        let flat = flat(&schema);
        assert_eq!((&flat["type"], &flat["minimum"], &flat["maximum"]), (&json!(["integer"]), &json!(2), &json!(9)));
    }

    #[test]
    fn objects_in_parts_are_joined() {
        let schema = json!({"allOf": [
            {"properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"a": {"minLength": 2}, "b": {}}, "required": ["b", "a"]},
        ]});
        let flat = flat(&schema);
        assert_eq!(flat["required"], json!(["a", "b"]));
        assert_eq!(flat["properties"]["a"], json!({"allOf": [{"type": "string"}, {"minLength": 2}]}));
    }

    #[test]
    fn references_in_a_circle_end() {
        let mut budget = 1_000;
        let circle = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
        flatten(&circle, &circle, Choice { shift: 0, simple: false }, &mut budget);
        assert!(budget > 900);
        assert_eq!(flat(&json!({"$ref": "#/nowhere", "type": "string"})), json!({"type": "string"}));
    }
}
