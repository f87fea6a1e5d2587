//! JSON Schemas from strangers: checked once, prepared once, used often, bounded in work.
//!
//! A schema may come from any user who may store a tool, prompt or agent. So it reaches nothing
//! outside itself, its patterns run in linear time, and its size, depth and recursion are capped
//! before it is prepared.

mod bounds;

use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::error::{Error, Result};

/// The field that holds an answer which is no object, where a model can be asked for objects only.
pub(crate) const ANSWER: &str = "answer";
/// The most problems that one check reports.
const MAX_PROBLEMS: usize = 20;
/// The most characters of one problem's message, and of its path.
const MAX_MESSAGE: usize = 200;
/// Bytes that one compiled pattern may take.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// A prepared JSON Schema. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SchemaCheck {
    validator: Arc<Validator>,
    /// How deep a value may be nested before checking it could cost too much.
    max_value_depth: usize,
}

/// One thing that is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SchemaProblem {
    /// Where, as a JSON pointer; empty for the value itself.
    pub(crate) path: String,
    /// What; never the value.
    pub(crate) message: String,
}

impl std::fmt::Display for SchemaProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = if self.path.is_empty() { "(root)" } else { &self.path };
        write!(f, "{path}: {}", self.message)
    }
}

impl std::fmt::Debug for SchemaCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SchemaCheck").finish_non_exhaustive()
    }
}

impl SchemaCheck {
    /// Prepares a schema.
    ///
    /// Errors: `InvalidInput` for what is no schema, refers outside itself, or could cost too much.
    pub(crate) fn new(schema: &Value) -> Result<Self> {
        let max_value_depth = bounds::admit(schema)?;
        let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
        let validator = jsonschema::options()
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .offline()
            .build(schema)
            .map_err(|error| {
                let problem = problem(&error);
                Error::invalid(format!("not a usable JSON Schema: {problem}"))
            })?;
        Ok(Self { validator: Arc::new(validator), max_value_depth })
    }

    /// Checks a value: nothing, or what is wrong with it, 20 problems at most.
    pub(crate) fn check(&self, value: &Value) -> Result<(), Vec<SchemaProblem>> {
        if !depth_within(value, self.max_value_depth) {
            let message = format!("nested deeper than the {} levels that this schema allows", self.max_value_depth);
            return Err(vec![SchemaProblem { path: String::new(), message }]);
        }
        if self.validator.is_valid(value) {
            return Ok(());
        }
        Err(self.validator.iter_errors(value).take(MAX_PROBLEMS).map(|error| problem(&error)).collect())
    }
}

/// Whether a value is nested `max` levels at most; a scalar has none.
pub(crate) fn depth_within(value: &Value, max: usize) -> bool {
    match value {
        Value::Array(items) => max > 0 && items.iter().all(|item| depth_within(item, max - 1)),
        Value::Object(map) => max > 0 && map.values().all(|item| depth_within(item, max - 1)),
        _ => true,
    }
}

/// How deep a value from outside may be nested: what is kept is read again by a parser that stops at 128.
const MAX_KEPT_DEPTH: usize = 100;

/// Whether a value can be kept in a record of the journal and read again.
pub(crate) fn can_be_kept(value: &Value) -> bool {
    depth_within(value, MAX_KEPT_DEPTH)
}

/// Lets go of a value that may be nested to any depth: level by level, not by a recursion that ends with the stack.
pub(crate) fn discard(value: Value) {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => left.extend(fields.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
}

/// Deeper values are not walked by what recurses, nor dropped by it.
const MAX_WALKED_DEPTH: usize = 1_000;

/// A value of a caller. One that is nested so deep that walking it could end the process is let go of here; what is
/// less deep and yet too deep is told where it is used.
///
/// Errors: `InvalidInput`.
pub(crate) fn taken(what: &str, value: Value) -> Result<Value> {
    if depth_within(&value, MAX_WALKED_DEPTH) {
        return Ok(value);
    }
    discard(value);
    Err(Error::invalid(format!("{what} is nested deeper than {MAX_WALKED_DEPTH} levels")))
}

/// Refuses a value that could not be read again; `what` is the value in the message.
///
/// Errors: `InvalidInput`.
pub(crate) fn admit_kept(what: &str, value: &Value) -> Result<()> {
    if can_be_kept(value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} is nested deeper than {MAX_KEPT_DEPTH} levels")))
}

/// All problems in one line, for a message.
pub(crate) fn describe(problems: &[SchemaProblem]) -> String {
    problems.iter().map(SchemaProblem::to_string).collect::<Vec<_>>().join("; ")
}

fn problem(error: &jsonschema::ValidationError<'_>) -> SchemaProblem {
    let mut message = error.masked_with("the value").to_string();
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    SchemaProblem { path: cut(error.instance_path().as_str(), MAX_MESSAGE), message: cut(&message, MAX_MESSAGE) }
}

fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
