//! Jinja: strict about names, no templates but the one at hand, bounded in work and size.

use std::collections::BTreeSet;
use std::io;
use std::sync::LazyLock;

use minijinja::value::{Serde, Value as JinjaValue, ValueKind};
use minijinja::{Environment, ErrorKind, Output, State, Template, UndefinedBehavior};
use serde_json::{Map, Value};

use super::{MAX_OUTPUT, output_too_large, unknown};
use crate::error::{Error, Result};

/// Units of work of one rendering: about one per instruction, item or 64 bytes.
const FUEL: u64 = 100_000;
/// The most bytes that a value can grow to when it is turned to text. Fuel is taken for a text only
/// after it is made, so what a template may multiply is bounded before it runs.
const MAX_GROWTH: u64 = 256 << 20;
const MAX_RECURSION: usize = 100;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| environment(FUEL));

/// An environment with these bounds, for what is no prompt too: the expressions of workflows.
pub(crate) fn environment(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(fuel));
    environment.set_recursion_limit(MAX_RECURSION);
    // Only so do errors name the variable that is missing.
    environment.set_debug(true);
    environment.set_formatter(format);
    environment.add_filter("tojson", |value: &JinjaValue| json(value));
    environment.remove_global("debug");
    // A namespace carries values from one turn of a loop to the next: growth without a bound.
    environment.remove_global("namespace");
    environment
}

pub(super) fn check(template: &str) -> Result<()> {
    compile(template).map(drop)
}

pub(super) fn variables(template: &str) -> Result<BTreeSet<String>> {
    let names = compile(template)?.undeclared_variables(false);
    let globals: BTreeSet<&str> = ENVIRONMENT.globals().map(|(name, _)| name).collect();
    Ok(names.into_iter().filter(|name| !globals.contains(name.as_str())).collect())
}

pub(super) fn render(template: &str, values: &Map<String, Value>) -> Result<String> {
    let known = || values.keys().map(String::as_str).collect();
    let given = || serde_json::to_string(values).map_or(u64::MAX, |text| text.len() as u64);
    render_in(&ENVIRONMENT, template, JinjaValue::from(Serde(values)), given, known)
}

/// The text of a template in an environment made by [`environment`]; `given` says how many bytes the values have,
/// `known` names what there is, for errors.
pub(crate) fn render_in<'k>(
    environment: &Environment<'static>,
    template: &str,
    values: JinjaValue,
    given: impl Fn() -> u64,
    known: impl Fn() -> Vec<&'k str>,
) -> Result<String> {
    // Text that only prints multiplies nothing; the values need not be measured for it.
    let growth = growth(template);
    if growth > 1 && growth.saturating_mul(given().saturating_add(template.len() as u64)) > MAX_GROWTH {
        return Err(Error::expression(
            "the template multiplies what it is given too often: take lists out of its sets and loops",
        ));
    }
    let mut text = Capped::default();
    compile_in(environment, template)?
        .render_captured_to(values, &mut text)
        .map_err(|error| render_error(&error, &known()))?;
    String::from_utf8(text.bytes).map_err(|_| Error::internal("a template made a text that is not UTF-8"))
}

fn compile<'a>(template: &'a str) -> Result<Template<'a, 'a>> {
    compile_in(&ENVIRONMENT, template)
}

/// Reads a template in an environment. Errors: `Expression` with the line.
pub(crate) fn compile_in<'a>(environment: &'a Environment<'a>, template: &'a str) -> Result<Template<'a, 'a>> {
    // What the parser says names kinds of tokens, never the text around them.
    environment.template_from_str(template).map_err(|error| syntax_error(&error))
}

/// What the parser says, with the line.
pub(crate) fn syntax_error(error: &minijinja::Error) -> Error {
    let detail = error.detail().unwrap_or("not a template");
    Error::expression(format!("line {}: {detail}", error.line().unwrap_or(1)))
}

/// How many times over the tags of a template can repeat a value: each one that names values can
/// hold them once more than it has commas, and the next can hold that again. What is printed is not
/// carried on.
fn growth(template: &str) -> u64 {
    let (mut carried, mut printed): (u64, u64) = (1, 1);
    let mut rest = template;
    while let Some(at) = first_tag(rest) {
        let prints = rest[at..].starts_with("{{");
        rest = &rest[at + 2..];
        let mut commas = 0;
        let mut quote = None;
        let mut escaped = false;
        let end = rest.char_indices().find_map(|(index, c)| {
            match quote {
                Some(open) if !escaped && c == open => quote = None,
                Some(_) => escaped = !escaped && c == '\\',
                None if matches!(c, '"' | '\'') => (quote, escaped) = (Some(c), false),
                None if matches!(c, '%' | '}') && rest[index + 1..].starts_with('}') => return Some(index),
                None => commas += u64::from(c == ','),
            }
            None
        });
        if prints {
            printed = printed.max(commas + 1);
        } else {
            carried = carried.saturating_mul(commas + 1);
        }
        rest = end.map_or("", |end| &rest[end..]);
    }
    carried.saturating_mul(printed)
}

fn first_tag(text: &str) -> Option<usize> {
    [text.find("{%"), text.find("{{")].into_iter().flatten().min()
}

/// Writes objects and lists as JSON, and all else as it is.
fn format(out: &mut Output, state: &mut State, value: &JinjaValue) -> Result<(), minijinja::Error> {
    match value.kind() {
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => out.write_str(&json(value)?).map_err(Into::into),
        ValueKind::None => out.write_str("null").map_err(Into::into),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// A value as JSON. It stops at the size of the largest text: lists that hold each other many times
/// are small in memory and endless on paper.
fn json(value: &JinjaValue) -> Result<String, minijinja::Error> {
    let mut text = Capped::default();
    serde_json::to_writer(&mut text, value).map_err(|_| minijinja::Error::from(ErrorKind::WriteFailure))?;
    String::from_utf8(text.bytes).map_err(|_| minijinja::Error::from(ErrorKind::BadSerialization))
}

/// Says what is wrong without the engine's own words, which may hold values.
pub(crate) fn render_error(error: &minijinja::Error, values: &[&str]) -> Error {
    let line = error.line().unwrap_or(1);
    let what = match error.kind() {
        ErrorKind::WriteFailure => return output_too_large(),
        ErrorKind::UndefinedError => return unknown(line, missing_name(error).unwrap_or("a name"), values),
        ErrorKind::OutOfFuel => "the template does too much work: make its loops shorter".to_owned(),
        // These name words of the template.
        kind @ (ErrorKind::UnknownFilter
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownTest
        | ErrorKind::UnknownMethod) => {
            let detail = error.detail().filter(|detail| detail.len() <= LONGEST);
            detail.map_or_else(|| kind.to_string(), str::to_owned)
        }
        kind @ (ErrorKind::TooManyArguments | ErrorKind::MissingArgument | ErrorKind::CannotUnpack) => kind.to_string(),
        ErrorKind::InvalidOperation => operation(error.detail().unwrap_or_default()),
        _ => "the template cannot be evaluated".to_owned(),
    };
    match missing_name(error) {
        Some(name) => unknown(line, name, values),
        None => Error::expression(format!("line {line}: {what}")),
    }
}

/// What an operation cannot do, by its operator and the types of both sides: never their values.
fn operation(detail: &str) -> String {
    let types =
        detail.strip_prefix("tried to use ").and_then(|rest| rest.split_once(" operator on unsupported types "));
    if let Some((operator, types)) = types
        && let Some((left, right)) = types.split_once(" and ")
        && let (Some(left), Some(right)) = (kind_named(left), kind_named(right))
        && operator.len() <= 2
    {
        return format!("the operator {operator} does not go with {left} and {right}");
    }
    let sliced = detail.strip_prefix("value of type ").and_then(|rest| rest.strip_suffix(" cannot be sliced"));
    if let Some(kind) = sliced.and_then(kind_named) {
        return format!("{kind} has no slices");
    }
    let converted = detail.strip_prefix("cannot convert ").and_then(|rest| rest.split_once(" to "));
    if let Some(kind) = converted.and_then(|(kind, _)| kind_named(kind)) {
        return format!("a filter or operator takes no {}", kind.trim_start_matches("a ").trim_start_matches("an "));
    }
    let told = match detail {
        _ if detail.starts_with("unable to calculate") => "a calculation has no result: divided by 0, or out of range",
        "cannot perform a containment check on this value" => "in asks a text, a list or an object, and nothing else",
        "cannot slice by step size of 0" => "a slice goes on by 1 at least",
        "strings can only be multiplied with integers" => "a text is multiplied by whole numbers only",
        "sequences and iterables can only be multiplied with integers" => "a list is multiplied by whole numbers only",
        "repeated string is too large" | "repeated sequence is too large" => "the product is too large",
        "recursion limit exceeded" => "it is nested too deep",
        _ => "an operator or filter does not go with the types of its values",
    };
    told.to_owned()
}

/// A type as people name it; `None` for what is none.
fn kind_named(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "undefined" => "a missing value",
        "none" => "null",
        "bool" => "a boolean",
        "number" => "a number",
        "string" => "a text",
        "sequence" | "iterator" | "iterable" => "a list",
        "map" => "an object",
        _ => return None,
    })
}

/// The longest piece of a template's code that an error holds.
const LONGEST: usize = 100;

/// The expression that an error calls undefined: a piece of the template's code.
fn missing_name(error: &minijinja::Error) -> Option<&str> {
    let (before, _) = error.detail()?.split_once("` is undefined")?;
    let (_, name) = before.rsplit_once('`')?;
    (name.len() <= LONGEST).then_some(name)
}

/// Bytes up to the largest text.
#[derive(Default)]
struct Capped {
    bytes: Vec<u8>,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
