//! The strict form of a JSON Schema, which the API can hold a model to, and the way back.
//!
//! In the strict form every object is closed and every property required; an optional one becomes
//! nullable. The answer then says `null` where the caller's schema wants nothing, so
//! [`without_added_nulls`] takes those out again. Annotations and bounds that the API refuses are
//! left out: the engine checks every answer against the whole schema itself.
//!
//! An API takes objects only. What is none is put into one, as [`ANSWER`], and the answer taken out of it.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::domain::schema::ANSWER;

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
struct Strict {
    schema: Value,
    /// Whether an optional property was made nullable.
    made_nullable: bool,
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

/// A schema as it goes out, and how its answer is read.
#[derive(Debug, PartialEq)]
pub(in crate::provider) struct Sent {
    pub schema: Value,
    /// Whether it is in the strict form.
    pub strict: bool,
    /// `None` where an answer to it is an answer to the caller's schema.
    pub reading: Option<Reading>,
}

/// How an answer to what was sent becomes one to the caller's schema.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::provider) struct Reading {
    /// The schema whose optional fields were made nullable.
    nullable: Option<Value>,
    /// Whether the answer is inside an object.
    wrapped: bool,
}

impl Reading {
    pub(in crate::provider) fn of(nullable: Option<Value>, wrapped: bool) -> Option<Self> {
        (wrapped || nullable.is_some()).then_some(Self { nullable, wrapped })
    }

    /// The answer in the caller's terms; `None` where it is that already.
    pub(in crate::provider) fn read(&self, answer: &str) -> Option<String> {
        let clean = self.nullable.as_ref().and_then(|schema| without_added_nulls(schema, answer));
        let inner = if self.wrapped { unwrapped(clean.as_deref().unwrap_or(answer)) } else { None };
        inner.or(clean)
    }
}

/// A schema as OpenAI takes it: an object, in the strict form where it has one.
pub(in crate::provider) fn sent(schema: &Value) -> Sent {
    let (whole, wraps) = as_object(schema);
    let Some(strict) = strict(&whole) else {
        return Sent { schema: whole.into_owned(), strict: false, reading: Reading::of(None, wraps) };
    };
    let nullable = strict.made_nullable.then(|| whole.into_owned());
    Sent { schema: strict.schema, strict: true, reading: Reading::of(nullable, wraps) }
}

/// The form in which Anthropic holds a model to a schema: objects are closed and values unbounded.
pub(in crate::provider) fn closed(schema: &Value) -> Option<Sent> {
    let (whole, wraps) = as_object(schema);
    if is_recursive(&whole) {
        return None;
    }
    let schema = rewrite(&whole, Rules::Anthropic)?.schema;
    Some(Sent { schema, strict: true, reading: Reading::of(None, wraps) })
}

/// Whether a schema has a part that leads back to itself.
fn is_recursive(whole: &Value) -> bool {
    /// Whether a reference is met again on the way that began at it.
    fn returns<'a>(whole: &'a Value, part: &'a Value, way: &mut Vec<&'a str>, seen: &mut HashSet<&'a str>) -> bool {
        let inner: Vec<&Value> = match part {
            Value::Object(fields) => fields.values().collect(),
            Value::Array(items) => items.iter().collect(),
            _ => return false,
        };
        if let Some(reference) = part.get("$ref").and_then(Value::as_str) {
            if way.contains(&reference) {
                return true;
            }
            if seen.insert(reference) {
                let target = reference.strip_prefix('#').and_then(|pointer| whole.pointer(pointer));
                way.push(reference);
                let found = target.is_some_and(|target| returns(whole, target, way, seen));
                way.pop();
                if found {
                    return true;
                }
            }
        }
        inner.into_iter().any(|inner| returns(whole, inner, way, seen))
    }
    returns(whole, whole, &mut Vec::new(), &mut HashSet::new())
}

/// A schema of an object as it is, any other inside one; whether it is inside.
pub(in crate::provider) fn as_object(schema: &Value) -> (Cow<'_, Value>, bool) {
    if is_object(schema) { (Cow::Borrowed(schema), false) } else { (Cow::Owned(wrapped(schema)), true) }
}

/// Whether every API takes it as the schema of an object.
pub(in crate::provider) fn is_object(schema: &Value) -> bool {
    const REFUSED: &[&str] = &["anyOf", "oneOf", "allOf", "enum", "not"];
    schema["type"] == "object" && REFUSED.iter().all(|keyword| schema.get(*keyword).is_none())
}

/// The schema of an object that holds an answer to this one.
pub(in crate::provider) fn wrapped(schema: &Value) -> Value {
    let mut inner = schema.clone();
    let mut shared = Map::new();
    if let Some(fields) = inner.as_object_mut() {
        for name in ["$schema", "$defs", "definitions"] {
            shared.extend(fields.shift_remove(name).map(|value| (name.to_owned(), value)));
        }
    }
    let mut whole = json!({
        "type": "object", "properties": {ANSWER: inner}, "required": [ANSWER], "additionalProperties": false
    });
    for (name, value) in shared {
        whole[name] = value;
    }
    lead_inside(&mut whole);
    whole
}

/// References begin at the root: those to what is inside now lead there; what is shared stayed where it was.
fn lead_inside(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(rest) = reference.strip_prefix('#')
                && !["/$defs/", "/definitions/"].iter().any(|shared| rest.starts_with(shared))
            {
                *reference = format!("#/properties/{ANSWER}{rest}");
            }
            fields.values_mut().for_each(lead_inside);
        }
        Value::Array(items) => items.iter_mut().for_each(lead_inside),
        _ => {}
    }
}

/// What is inside the object that an answer was put into; `None` where it is not in one.
pub(in crate::provider) fn unwrapped(answer: &str) -> Option<String> {
    let mut whole: Map<String, Value> = serde_json::from_str(answer).ok()?;
    if whole.len() == 1 { whole.shift_remove(ANSWER).map(|inner| inner.to_string()) } else { None }
}

/// The strict form of a schema; `None` where it has none.
fn strict(schema: &Value) -> Option<Strict> {
    rewrite(schema, Rules::OpenAi)
}

fn rewrite(schema: &Value, rules: Rules) -> Option<Strict> {
    if !is_object(schema) {
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
        // OpenAI takes nothing beside a reference; what it says there only describes, or the own check makes it good.
        if self.rules == Rules::OpenAi
            && let Some(reference) = schema.get("$ref")
        {
            return reference.as_str()?.starts_with('#').then(|| json!({"$ref": reference}));
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
        if !["type", "$ref", "anyOf"].iter().any(|keyword| strict.contains_key(*keyword)) {
            strict.insert("type".to_owned(), implied_type(schema)?);
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

/// The type that a schema means without saying it: of its fields or items, or of the values that it lists.
/// `None` where it means any.
fn implied_type(schema: &Map<String, Value>) -> Option<Value> {
    if schema.contains_key("properties") {
        return Some("object".into());
    }
    if schema.contains_key("items") {
        return Some("array".into());
    }
    let listed = schema.get("enum").map(|values| values.as_array().map(Vec::as_slice));
    let listed = listed.or_else(|| schema.get("const").map(|value| Some(std::slice::from_ref(value))))??;
    let mut names: Vec<&str> = Vec::new();
    for value in listed {
        let name = match value {
            Value::String(_) => "string",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::Bool(_) => "boolean",
            Value::Null => "null",
            Value::Array(_) | Value::Object(_) => return None,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match names.as_slice() {
        [] => None,
        [one] => Some((*one).into()),
        several => Some(several.into()),
    }
}

fn required(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether `null` passes a schema, as far as it can be seen without following references.
fn accepts_null(schema: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return schema == &Value::Bool(true) };
    let listed = |list: &Value| list.as_array().is_some_and(|values| values.contains(&Value::Null));
    let any = ["anyOf", "oneOf"].iter().find_map(|keyword| schema.get(*keyword)?.as_array());
    let untyped = !["type", "$ref", "anyOf", "oneOf"].iter().any(|keyword| schema.contains_key(*keyword));
    let typed = untyped || types(schema).any(|name| name == "null");
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
fn without_added_nulls(schema: &Value, answer: &str) -> Option<String> {
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
mod tests;
