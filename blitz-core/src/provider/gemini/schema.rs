//! The subsets of JSON Schema that Gemini knows for the arguments of a function and for an answer.
//!
//! For arguments references are written out, `const` becomes an `enum` of one, a type that may be null becomes
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

/// The schema of an answer without what the API does not read: `const` becomes an `enum` of one, `allOf` of one is
/// written out, and nothing stands beside a reference. What else it does not read is left: the engine checks the answer.
///
/// Source: Google's reference of `responseJsonSchema`, read 2026-11-23.
pub(super) fn of_answer(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let only = fields.get("allOf").and_then(Value::as_array).map(Vec::as_slice);
    if let Some([Value::Object(only)]) = only
        && only
            .keys()
            .all(|keyword| !fields.contains_key(keyword) || matches!(keyword.as_str(), "title" | "description"))
    {
        let own = fields.iter().filter(|(keyword, _)| *keyword != "allOf");
        let merged = only.iter().chain(own).map(|(keyword, value)| (keyword.clone(), value.clone()));
        return of_answer(&merged.collect());
    }
    if fields.contains_key("$ref") {
        let own = fields.iter().filter(|(keyword, _)| keyword.starts_with('$'));
        return own.map(|(keyword, value)| (keyword.clone(), of_keyword(keyword, value))).collect();
    }
    let mut found = Map::new();
    for (keyword, value) in fields {
        match (keyword.as_str(), value) {
            ("const", Value::String(_) | Value::Number(_)) => {
                keep(&mut found, "enum", &json!([value]));
                let kind = if value.is_string() { "string" } else { "number" };
                found.entry("type").or_insert_with(|| kind.into());
            }
            (_, value) => drop(found.insert(keyword.clone(), of_keyword(keyword, value))),
        }
    }
    found.into()
}

/// The value of a keyword, with the schemas in it rewritten.
fn of_keyword(keyword: &str, value: &Value) -> Value {
    match (keyword, value) {
        ("properties" | "$defs" | "definitions", Value::Object(named)) => {
            named.iter().map(|(name, schema)| (name.clone(), of_answer(schema))).collect()
        }
        ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(schemas)) => schemas.iter().map(of_answer).collect(),
        ("items" | "additionalProperties", schema) => of_answer(schema),
        _ => value.clone(),
    }
}

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
    // A list must say of what.
    let says = |items: &Value| items.as_object().is_some_and(|items| !items.is_empty());
    if found.get("type").is_some_and(|kind| kind == "array") && !found.get("items").is_some_and(says) {
        return None;
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
        several if several.iter().any(|name| *name == "array") => return None,
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
    fn b14_a_list_that_does_not_say_of_what_is_sent_as_it_is() {
        let of = |schema: Value| subset(&json!({"type": "object", "properties": {"a": schema}}));
        for bare in [
            json!({"type": "array"}),
            json!({"type": "array", "items": {}}),
            json!({"type": ["array", "null"]}),
            json!({"type": ["string", "array"], "items": {"type": "string"}}),
            json!({"anyOf": [{"type": "array"}, {"type": "string"}]}),
        ] {
            assert_eq!(of(bare.clone()), None, "{bare}");
        }
        let listed = json!({"type": ["array", "null"], "items": {"type": "string"}});
        assert_eq!(of(listed).unwrap()["properties"]["a"]["items"], json!({"type": "string"}));
    }

    #[test]
    fn b14_of_an_answers_schema_what_the_api_does_not_read_is_said_otherwise() {
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["kind"],
            "properties": {
                "kind": {"const": "k"}, "count": {"type": "integer", "const": 1}, "const": {"type": "string"},
                "a": {"$ref": "#/$defs/A", "description": "here"}, "b": {"allOf": [{"$ref": "#/$defs/A"}], "title": "B"},
                "c": {"allOf": [{"type": "string"}], "description": "c"},
                "d": {"type": "array", "items": {"oneOf": [{"const": "x"}, {"type": "null"}]}}},
            "$defs": {"A": {"type": "object", "properties": {"v": {"const": 2}}}}});
        let a = json!({"$ref": "#/$defs/A"});
        let expected = json!({"type": "object", "additionalProperties": false, "required": ["kind"],
            "properties": {
                "kind": {"type": "string", "enum": ["k"]}, "count": {"type": "integer", "enum": [1]},
                "const": {"type": "string"}, "a": a, "b": a, "c": {"type": "string", "description": "c"},
                "d": {"type": "array", "items": {"oneOf": [{"type": "string", "enum": ["x"]}, {"type": "null"}]}}},
            "$defs": {"A": {"type": "object", "properties": {"v": {"type": "number", "enum": [2]}}}}});
        assert_eq!(of_answer(&schema), expected);
        assert_eq!(of_answer(&expected), expected);
        let root = json!({"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"type": "string"}}});
        assert_eq!(of_answer(&root), json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}}));
    }

    #[test]
    fn b13_a_recursive_reference_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert_eq!(subset(&schema), None);
        assert_eq!(subset(&json!({"not": {"type": "string"}})), None);
    }
}
