//! Conditions as a form builder writes them: they become the text of an expression.

use serde_json::Value;

use crate::error::{Error, Result};

/// How deep groups may be nested.
const MAX_GROUPS: usize = 16;

/// Operators with two sides: their names, and the expression with `L` and `R`.
const BINARY: &[(&[&str], &str)] = &[
    (&["eq", "==", "equals", "is"], "(L) == (R)"),
    (&["ne", "!=", "not_equals", "is_not"], "(L) != (R)"),
    (&["gt", ">"], "(L) > (R)"),
    (&["gte", ">="], "(L) >= (R)"),
    (&["lt", "<"], "(L) < (R)"),
    (&["lte", "<="], "(L) <= (R)"),
    (&["in"], "(L) in (R)"),
    (&["not_in"], "(L) not in (R)"),
    (&["contains"], "(R) in (L)"),
    (&["not_contains"], "(R) not in (L)"),
    (&["starts_with"], "(L) is startingwith(R)"),
    (&["ends_with"], "(L) is endingwith(R)"),
];

/// Operators with one side. `D` is the left side as it was written: a path that may be missing.
const UNARY: &[(&[&str], &str)] = &[
    (&["exists", "is_defined"], "D is defined"),
    (&["not_exists", "is_undefined"], "D is undefined"),
    (&["is_null"], "(L) is none"),
    (&["is_not_null"], "(L) is not none"),
    (&["is_empty"], "(L)|length == 0"),
    (&["is_not_empty"], "(L)|length > 0"),
    (&["is_true"], "(L) == true"),
    (&["is_false"], "(L) == false"),
];

/// The expression of a condition: `{left, operator, right}`, `{and: […]}`, `{or: […]}`, `{not: …}`.
///
/// `left` is an expression. `right` is a value; a string that is `{{ … }}` is an expression.
/// Errors: `Expression` for what is no condition.
pub(crate) fn condition(value: &Value) -> Result<String> {
    group(value, 0)
}

fn group(value: &Value, depth: usize) -> Result<String> {
    if depth > MAX_GROUPS {
        return Err(Error::expression(format!("the condition is nested deeper than {MAX_GROUPS} groups")));
    }
    match value {
        Value::Bool(value) => return Ok(value.to_string()),
        Value::String(text) => return Ok(format!("({})", expression(text))),
        Value::Array(all) => return joined(all, " and ", depth),
        _ => {}
    }
    let object = value.as_object().ok_or_else(|| Error::expression("a condition is an object, a text or a boolean"))?;
    let only = |name: &str| if object.len() == 1 { object.get(name) } else { None };
    if let Some(all) = only("and").or(only("all")).and_then(Value::as_array) {
        return joined(all, " and ", depth);
    }
    if let Some(any) = only("or").or(only("any")).and_then(Value::as_array) {
        return joined(any, " or ", depth);
    }
    if let Some(inner) = only("not") {
        return Ok(format!("(not {})", group(inner, depth + 1)?));
    }
    comparison(object)
}

fn joined(parts: &[Value], with: &str, depth: usize) -> Result<String> {
    if parts.is_empty() {
        return Err(Error::expression("a group of conditions is empty"));
    }
    let parts = parts.iter().map(|part| group(part, depth + 1)).collect::<Result<Vec<_>>>()?;
    Ok(format!("({})", parts.join(with)))
}

fn comparison(object: &serde_json::Map<String, Value>) -> Result<String> {
    let known = ["left", "operator", "op", "right"];
    if let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) {
        let key: String = key.chars().take(40).collect();
        return Err(Error::expression(format!("a condition has no field {key:?}: use left, operator and right")));
    }
    let left = match object.get("left") {
        Some(Value::String(text)) => expression(text).to_owned(),
        Some(other) => literal(other)?,
        None => return Err(Error::expression("a condition has no `left`")),
    };
    let operator = object.get("operator").or(object.get("op")).and_then(Value::as_str).unwrap_or_default();
    let find = |table: &'static [(&[&str], &'static str)]| {
        table.iter().find(|(names, _)| names.contains(&operator)).map(|(_, form)| *form)
    };
    let (form, right) = match (find(BINARY), find(UNARY), object.get("right")) {
        (Some(form), _, Some(right)) => (form, side(right)?),
        (Some(_), _, None) => return Err(Error::expression(format!("the operator {operator} wants a `right`"))),
        (None, Some(form), _) => (form, String::new()),
        (None, None, _) => {
            let all: Vec<&str> = BINARY.iter().chain(UNARY).map(|(names, _)| names[0]).collect();
            return Err(Error::expression(format!("there is no such operator: use one of {}", all.join(", "))));
        }
    };
    // One pass, so that what stands on a side is never taken for a mark.
    let mut text = String::from("(");
    for c in form.chars() {
        match c {
            'L' | 'D' => text.push_str(&left),
            'R' => text.push_str(&right),
            c => text.push(c),
        }
    }
    text.push(')');
    Ok(text)
}

fn side(value: &Value) -> Result<String> {
    match value {
        Value::String(text) if text != expression(text) => Ok(expression(text).to_owned()),
        other => literal(other),
    }
}

/// What is inside, where a text is one `{{ … }}`; else the text.
fn expression(text: &str) -> &str {
    super::only_tag(text).unwrap_or(text).trim()
}

/// A JSON value as the text of an expression.
fn literal(value: &Value) -> Result<String> {
    Ok(match value {
        Value::Null => "none".to_owned(),
        Value::Array(items) => {
            let items = items.iter().map(literal).collect::<Result<Vec<_>>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Object(_) => return Err(Error::expression("a condition compares with no object")),
        other => other.to_string(),
    })
}
