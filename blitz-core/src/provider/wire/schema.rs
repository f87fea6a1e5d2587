//! The strict form of a JSON Schema, which the API can hold a model to, and the way back.
//!
//! In the strict form every object is closed and every property required; an optional one becomes
//! nullable. The answer then says `null` where the caller's schema wants nothing, so
//! [`without_added_nulls`] takes those out again. Annotations and bounds that the API refuses are
//! left out: the engine checks every answer against the whole schema itself.

use serde_json::{Map, Value, json};

/// Objects within objects, as far as the API goes.
const MAX_DEPTH: usize = 10;

/// Keywords that mean the same in the strict form.
const KEPT: &[&str] = &[
    "$schema",
    "$ref",
    "type",
    "enum",
    "const",
    "title",
    "description",
    "pattern",
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
];
/// Formats that the API knows.
const FORMATS: &[&str] = &["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];
/// Keywords that only narrow or describe: without them the schema is wider, which the own check makes good.
const DROPPED: &[&str] = &[
    "default",
    "examples",
    "$comment",
    "$id",
    "deprecated",
    "readOnly",
    "writeOnly",
    "minLength",
    "maxLength",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "contentEncoding",
    "contentMediaType",
];

/// A schema in its strict form.
#[derive(Debug, PartialEq)]
pub(in crate::provider) struct Strict {
    pub schema: Value,
    /// Whether an optional property was made nullable.
    pub made_nullable: bool,
}

/// Keywords that bound values, which OpenAI takes and Anthropic refuses.
const BOUNDS: &[&str] =
    &["pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"];

/// Whose rules the strict form follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    /// Every property is required.
    OpenAi,
    /// Properties may stay optional; values have no bounds.
    Anthropic,
}

/// The form in which Anthropic holds a model to a schema: objects are closed and values unbounded.
pub(in crate::provider) fn closed(schema: &Value) -> Option<Value> {
    rewrite(schema, Rules::Anthropic).map(|strict| strict.schema)
}

/// The strict form of a schema; `None` where it has none.
pub(in crate::provider) fn strict(schema: &Value) -> Option<Strict> {
    rewrite(schema, Rules::OpenAi)
}

fn rewrite(schema: &Value, rules: Rules) -> Option<Strict> {
    let root = schema.as_object()?;
    if root.get("type").and_then(Value::as_str) != Some("object") || root.contains_key("anyOf") {
        return None;
    }
    let mut rewriter = Rewriter { rules, made_nullable: false };
    let schema = rewriter.node(schema, 0)?;
    Some(Strict { schema, made_nullable: rewriter.made_nullable })
}

/// A name as the API takes it: `[A-Za-z0-9_-]`, 1 to 64 characters.
pub(in crate::provider) fn name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name: String = name.chars().take(64).map(|c| if fits(c) { c } else { '_' }).collect();
    if name.is_empty() { "output".to_owned() } else { name }
}

struct Rewriter {
    rules: Rules,
    made_nullable: bool,
}

impl Rewriter {
    fn node(&mut self, schema: &Value, depth: usize) -> Option<Value> {
        let schema = schema.as_object()?;
        let is_object = schema.contains_key("properties") || types(schema).any(|name| name == "object");
        if is_object && depth == MAX_DEPTH {
            return None;
        }
        let mut strict = Map::new();
        for (keyword, value) in schema {
            let value = match keyword.as_str() {
                "properties" | "required" | "additionalProperties" => continue,
                keyword if DROPPED.contains(&keyword) || keyword.starts_with("x-") => continue,
                keyword if self.rules == Rules::Anthropic && BOUNDS.contains(&keyword) => continue,
                "format" if !FORMATS.contains(&value.as_str()?) => continue,
                "$ref" if !value.as_str()?.starts_with('#') => return None,
                "format" => value.clone(),
                keyword if KEPT.contains(&keyword) => value.clone(),
                "items" => self.node(value, depth + 1)?,
                "anyOf" | "oneOf" => self.list(value, depth + 1)?,
                "$defs" | "definitions" => self.map(value, depth)?,
                _ => return None,
            };
            let keyword = if keyword == "oneOf" { "anyOf" } else { keyword };
            strict.insert(keyword.to_owned(), value);
        }
        if is_object {
            self.object(schema, &mut strict, depth)?;
        }
        Some(strict.into())
    }

    /// Closes an object and makes its optional properties required and nullable.
    fn object(&mut self, schema: &Map<String, Value>, strict: &mut Map<String, Value>, depth: usize) -> Option<()> {
        let closed = match schema.get("additionalProperties") {
            None => false,
            Some(Value::Bool(false)) => true,
            Some(_) => return None,
        };
        let none = Map::new();
        let properties = schema.get("properties").map_or(Some(&none), Value::as_object)?;
        // An open object without properties means "anything": closed it would mean "nothing".
        if properties.is_empty() && !closed {
            return None;
        }
        let mut required: Vec<&str> = required(schema).collect();
        if !required.iter().all(|name| properties.contains_key(*name)) {
            return None;
        }
        let mut rewritten = Map::new();
        for (name, property) in properties {
            let mut property = self.node(property, depth + 1)?;
            if self.rules == Rules::OpenAi && !required.contains(&name.as_str()) {
                required.push(name);
                if !accepts_null(&property) {
                    property = nullable(property)?;
                    self.made_nullable = true;
                }
            }
            rewritten.insert(name.clone(), property);
        }
        strict.insert("required".to_owned(), required.into());
        strict.insert("properties".to_owned(), rewritten.into());
        strict.insert("additionalProperties".to_owned(), false.into());
        Some(())
    }

    fn list(&mut self, schemas: &Value, depth: usize) -> Option<Value> {
        schemas.as_array()?.iter().map(|schema| self.node(schema, depth)).collect()
    }

    fn map(&mut self, schemas: &Value, depth: usize) -> Option<Value> {
        let entries = schemas.as_object()?.iter();
        entries.map(|(name, schema)| Some((name.clone(), self.node(schema, depth)?))).collect()
    }
}

fn types(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let (one, many) = match schema.get("type") {
        Some(Value::Array(types)) => (None, types.as_slice()),
        other => (other, [].as_slice()),
    };
    one.into_iter().chain(many).filter_map(Value::as_str)
}

fn required(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether `null` passes a schema, as far as it can be seen without following references.
fn accepts_null(schema: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return schema == &Value::Bool(true) };
    let listed = |list: &Value| list.as_array().is_some_and(|values| values.contains(&Value::Null));
    let any = ["anyOf", "oneOf"].iter().find_map(|keyword| schema.get(*keyword)?.as_array());
    let typed = types(schema).any(|name| name == "null");
    let constant = schema.get("const").is_none_or(Value::is_null);
    (typed && constant && schema.get("enum").is_none_or(listed)) || any.is_some_and(|any| any.iter().any(accepts_null))
}

/// The same schema with `null` let in; `None` where that cannot be said.
fn nullable(schema: Value) -> Option<Value> {
    let Value::Object(mut schema) = schema else { return None };
    if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
        any.push(json!({"type": "null"}));
        return Some(schema.into());
    }
    if schema.contains_key("$ref") || schema.contains_key("const") {
        return Some(json!({"anyOf": [schema, {"type": "null"}]}));
    }
    let mut names: Vec<Value> = types(&schema).map(Value::from).collect();
    if names.is_empty() {
        return None;
    }
    if !names.iter().any(|name| name == "null") {
        names.push("null".into());
    }
    schema.insert("type".to_owned(), names.into());
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
    Some(schema.into())
}

/// An answer to the strict form of `schema` as an answer to `schema` itself; `None` where nothing changes.
pub(in crate::provider) fn without_added_nulls(schema: &Value, answer: &str) -> Option<String> {
    let mut value: Value = serde_json::from_str(answer).ok()?;
    strip(schema, schema, &mut value, 0).then(|| value.to_string())
}

fn strip(root: &Value, schema: &Value, value: &mut Value, depth: usize) -> bool {
    if depth > 64 {
        return false;
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.is_some_and(|target| strip(root, target, value, depth + 1));
    }
    if let Some(branches) = ["anyOf", "oneOf"].iter().find_map(|keyword| schema.get(*keyword)?.as_array()) {
        let fitting = branches.iter().find(|branch| could_hold(root, branch, value));
        return fitting.is_some_and(|branch| strip(root, branch, value, depth + 1));
    }
    match value {
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return false };
            items.iter_mut().fold(false, |changed, item| strip(root, schema, item, depth + 1) | changed)
        }
        Value::Object(fields) => strip_object(root, schema, fields, depth),
        _ => false,
    }
}

fn strip_object(root: &Value, schema: &Value, fields: &mut Map<String, Value>, depth: usize) -> bool {
    let (Some(schema), Some(properties)) = (schema.as_object(), schema.get("properties").and_then(Value::as_object))
    else {
        return false;
    };
    let before = fields.len();
    fields.retain(|name, value| {
        let added = |property: &Value| required(schema).all(|required| required != name) && !accepts_null(property);
        !(value.is_null() && properties.get(name).is_some_and(added))
    });
    let mut changed = fields.len() != before;
    for (name, value) in fields {
        changed |= properties.get(name).is_some_and(|property| strip(root, property, value, depth + 1));
    }
    changed
}

/// Whether a value may belong to a branch: by its type, and an object by the names of its fields.
fn could_hold(root: &Value, branch: &Value, value: &Value) -> bool {
    let reference = branch.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    let branch = reference.and_then(|pointer| root.pointer(pointer)).unwrap_or(branch);
    match value {
        Value::Object(fields) => branch
            .get("properties")
            .and_then(Value::as_object)
            .is_some_and(|properties| fields.keys().all(|name| properties.contains_key(name))),
        Value::Array(_) => branch.get("items").is_some(),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn b13_a_strict_schema_stays_as_it_is() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "T", "type": "object",
            "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"type": ["integer", "null"]}},
            "$defs": {"A": {"type": "object", "properties": {"x": {"type": "string", "format": "date"}},
                "required": ["x"], "additionalProperties": false}},
            "required": ["a", "b"], "additionalProperties": false
        });
        assert_eq!(strict(&schema).unwrap(), Strict { schema, made_nullable: false });
    }

    #[test]
    fn b13_objects_are_closed_and_optional_properties_nullable() {
        let schema = json!({"type": "object", "required": ["list"], "properties": {
            "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            "kind": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "ref": {"$ref": "#/properties/kind"},
            "either": {"oneOf": [{"type": "string", "minLength": 2}, {"type": "number", "format": "double"}]},
        }});
        let expected = json!({"type": "object", "required": ["list", "kind", "ref", "either"], "additionalProperties": false,
            "properties": {
                "list": {"type": "array", "items": {"type": "object", "required": ["n"], "additionalProperties": false,
                    "properties": {"n": {"type": ["integer", "null"]}}}},
                "kind": {"type": ["string", "null"], "enum": ["a", "b", null]},
                "ref": {"anyOf": [{"$ref": "#/properties/kind"}, {"type": "null"}]},
                "either": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]},
        }});
        assert_eq!(strict(&schema).unwrap(), Strict { schema: expected, made_nullable: true });
    }

    #[test]
    fn b14_anthropic_closes_objects_and_leaves_the_rest_optional() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "integer", "minimum": 1}, "b": {"type": "string", "pattern": "x", "format": "date"}}});
        let expected = json!({"type": "object", "required": ["a"], "additionalProperties": false, "properties": {
            "a": {"type": "integer"}, "b": {"type": "string", "format": "date"}}});
        assert_eq!(closed(&schema).unwrap(), expected);
    }

    #[test]
    fn b13_what_has_no_strict_form_says_so() {
        let property = |schema: Value| json!({"type": "object", "properties": {"p": schema}, "required": ["p"]});
        for schema in [
            json!(true),
            json!({"type": "array", "items": {"type": "string"}}),
            json!({"type": "object"}),
            json!({"type": "object", "anyOf": [{"type": "object"}]}),
            property(json!(true)),
            property(json!({"type": "object", "additionalProperties": {"type": "string"}})),
            property(json!({"allOf": [{"type": "string"}]})),
            property(json!({"not": {"type": "string"}})),
            property(json!({"$ref": "https://example.com/schema"})),
            property(json!({"type": "string", "format": 7})),
            json!({"type": "object", "properties": {"anything": {}}}),
            json!({"type": "object", "properties": {"p": {"type": "string"}}, "required": ["q"]}),
        ] {
            assert_eq!(strict(&schema), None, "{schema}");
        }
        let deep = (0..20).fold(json!({"type": "string"}), |inner, _| property(inner));
        assert_eq!(strict(&deep), None);
    }

    #[test]
    fn b13_added_nulls_are_taken_out_and_others_stay() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": ["string", "null"]}, "b": {"type": "string"}, "c": {"type": ["string", "null"]},
            "list": {"type": "array", "items": {"$ref": "#/$defs/I"}},
            "one": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/I"}]}},
            "$defs": {"I": {"type": "object", "properties": {"n": {"type": "integer"}}}}});
        let answer = r#"{"a":null,"b":null,"c":null,"list":[{"n":null},{"n":1}],"one":{"n":null}}"#;
        let cleaned = without_added_nulls(&schema, answer).unwrap();
        assert_eq!(cleaned, r#"{"a":null,"c":null,"list":[{},{"n":1}],"one":{}}"#);
        assert_eq!(without_added_nulls(&schema, &cleaned), None);
        assert_eq!(without_added_nulls(&schema, "not json"), None);
    }
}
