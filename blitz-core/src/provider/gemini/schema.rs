//! The subset of JSON Schema that Gemini knows for the arguments of a function.
//!
//! References are written out, `const` becomes an `enum` of one, a type that may be null becomes
//! `nullable`, and what only narrows or describes is left out: the engine checks arguments against
//! the whole schema itself.

use serde_json::{Map, Value, json};

/// References within references, as far as they are followed.
const MAX_DEPTH: usize = 12;

/// Keywords that mean the same.
const KEPT: &[&str] = &[
    "type",
    "enum",
    "title",
    "description",
    "nullable",
    "default",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "pattern",
    "required",
    "propertyOrdering",
    "example",
];
const FORMATS: &[&str] = &["float", "double", "int32", "int64", "enum", "date-time"];
/// Keywords that cannot be left out without meaning something else.
const MEANT: &[&str] = &["not", "if", "then", "else", "patternProperties", "prefixItems", "dependentSchemas"];

/// The schema in the subset; `None` where it says something that the subset cannot.
pub(super) fn subset(schema: &Value) -> Option<Value> {
    node(schema, schema, 0)
}

fn node(root: &Value, schema: &Value, depth: usize) -> Option<Value> {
    let schema = schema.as_object()?;
    if depth > MAX_DEPTH {
        return None;
    }
    if let Some(reference) = schema.get("$ref") {
        let target = root.pointer(reference.as_str()?.strip_prefix('#')?)?;
        let mut target = node(root, target, depth + 1)?;
        if let (Some(description), Value::Object(target)) = (schema.get("description"), &mut target) {
            target.insert("description".to_owned(), description.clone());
        }
        return Some(target);
    }
    let mut found = Map::new();
    for (keyword, value) in schema {
        match keyword.as_str() {
            keyword if MEANT.contains(&keyword) => return None,
            "type" => types(value, &mut found)?,
            "enum" => values(value.as_array()?, &mut found),
            "const" => values(std::slice::from_ref(value), &mut found),
            "format" if value.as_str().is_some_and(|format| FORMATS.contains(&format)) => {
                keep(&mut found, keyword, value)
            }
            keyword if KEPT.contains(&keyword) => keep(&mut found, keyword, value),
            "items" => keep(&mut found, keyword, &node(root, value, depth + 1)?),
            "properties" => {
                let properties = value.as_object()?.iter();
                let properties =
                    properties.map(|(name, property)| Some((name.clone(), node(root, property, depth + 1)?)));
                found.insert(keyword.clone(), Value::Object(properties.collect::<Option<_>>()?));
            }
            "anyOf" | "oneOf" => alternatives(root, value.as_array()?, depth, &mut found)?,
            "allOf" => {
                let [only] = value.as_array()?.as_slice() else { return None };
                let Value::Object(merged) = node(root, only, depth + 1)? else { return None };
                found.extend(merged);
            }
            _ => {}
        }
    }
    if found.get("properties").and_then(Value::as_object).is_some_and(Map::is_empty) {
        found.remove("properties");
    }
    if found.contains_key("enum") && !found.contains_key("type") {
        keep(&mut found, "type", &json!("string"));
    }
    Some(found.into())
}

fn keep(found: &mut Map<String, Value>, keyword: &str, value: &Value) {
    found.insert(keyword.to_owned(), value.clone());
}

/// One type, or several of which one is null.
fn types(value: &Value, found: &mut Map<String, Value>) -> Option<()> {
    let Value::Array(names) = value else {
        keep(found, "type", value);
        return Some(());
    };
    let others: Vec<_> = names.iter().filter(|name| *name != "null").collect();
    if others.len() < names.len() {
        keep(found, "nullable", &json!(true));
    }
    match others.as_slice() {
        [] => keep(found, "type", &json!("null")),
        [one] => keep(found, "type", one),
        several => keep(found, "anyOf", &several.iter().map(|name| json!({"type": name})).collect()),
    }
    Some(())
}

/// Enumerated values; only texts can be enumerated, others are left open.
fn values(values: &[Value], found: &mut Map<String, Value>) {
    let texts: Vec<_> = values.iter().filter(|value| value.is_string()).cloned().collect();
    if values.iter().any(Value::is_null) {
        keep(found, "nullable", &json!(true));
    }
    if !texts.is_empty() {
        keep(found, "enum", &texts.into());
    }
}

fn alternatives(root: &Value, branches: &[Value], depth: usize, found: &mut Map<String, Value>) -> Option<()> {
    let is_null = |branch: &&Value| branch["type"] == "null";
    if branches.iter().any(|branch| is_null(&branch)) {
        keep(found, "nullable", &json!(true));
    }
    let others: Option<Vec<_>> =
        branches.iter().filter(|branch| !is_null(branch)).map(|branch| node(root, branch, depth + 1)).collect();
    match others?.as_slice() {
        [Value::Object(one)] => found.extend(one.clone()),
        several => keep(found, "anyOf", &several.to_vec().into()),
    }
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn b14_references_constants_and_nulls_are_rewritten() {
        let schema = json!({"$schema": "x", "type": "object", "additionalProperties": false, "required": ["a"],
            "properties": {
                "a": {"$ref": "#/$defs/A", "description": "here"}, "b": {"type": ["integer", "null"], "format": "uint8"},
                "c": {"const": "k"}, "d": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                "e": {"oneOf": [{"type": "number"}, {"type": "string"}]}},
            "$defs": {"A": {"type": "array", "items": {"type": "string"}, "description": "there"}}});
        let expected = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "array", "items": {"type": "string"}, "description": "here"},
            "b": {"nullable": true, "type": "integer"}, "c": {"enum": ["k"], "type": "string"},
            "d": {"nullable": true, "type": "number"}, "e": {"anyOf": [{"type": "number"}, {"type": "string"}]}}});
        assert_eq!(subset(&schema).unwrap(), expected);
        assert_eq!(subset(&expected).unwrap(), expected);
    }

    #[test]
    fn b13_a_recursive_reference_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert_eq!(subset(&schema), None);
        assert_eq!(subset(&json!({"not": {"type": "string"}})), None);
    }
}
