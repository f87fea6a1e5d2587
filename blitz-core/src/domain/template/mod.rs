//! Templates of prompts: two formats, both strict about names and bounded in work and size.
//!
//! Values are put in as they are: what a value holds is never read as a template again.

mod braces;
pub(crate) mod jinja;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::prompt::TemplateFormat;
use crate::error::{Error, Result};

/// The most bytes of a template.
pub(crate) const MAX_TEMPLATE: usize = 1 << 20;
/// The most bytes of a text made from a template.
pub(crate) const MAX_OUTPUT: usize = 1 << 20;

/// The format of a text that states none: jinja where it holds `{{ `, `{%` or `{#`, else braces.
pub(crate) fn detect(template: &str) -> TemplateFormat {
    let jinja = ["{{ ", "{%", "{#"].iter().any(|mark| template.contains(mark));
    if jinja { TemplateFormat::Jinja } else { TemplateFormat::Braces }
}

/// Whether a template can be used; asked when it is saved.
///
/// Errors: `TooLarge`; `Expression` with the line, for what is no template.
pub(crate) fn check(format: TemplateFormat, template: &str) -> Result<()> {
    if template.len() > MAX_TEMPLATE {
        return Err(Error::too_large(format!("the template is over {} KiB", MAX_TEMPLATE / 1024)));
    }
    match resolved(format, template) {
        TemplateFormat::Jinja => jinja::check(template),
        _ => Ok(()),
    }
}

/// The variables that a template names, without their fields. Errors: as [`check`].
pub(crate) fn variables(format: TemplateFormat, template: &str) -> Result<BTreeSet<String>> {
    match resolved(format, template) {
        TemplateFormat::Jinja => jinja::variables(template),
        _ => Ok(braces::variables(template)),
    }
}

/// The text of a template with these values; objects and lists as JSON.
///
/// Errors: `Expression` with the line, for a name without a value and for too much work; `TooLarge`.
/// No error holds a value or the text.
pub(crate) fn render(format: TemplateFormat, template: &str, values: &Map<String, Value>) -> Result<String> {
    match resolved(format, template) {
        TemplateFormat::Jinja => jinja::render(template, values),
        _ => render_braces(template, |name| values.get(name), || values.keys().map(String::as_str).collect()),
    }
}

/// The text of a template of the other format, whose values are asked for by their names; `known` names all, for errors.
pub(crate) fn render_braces<'v>(
    template: &str,
    value: impl Fn(&str) -> Option<&'v Value>,
    known: impl Fn() -> Vec<&'v str>,
) -> Result<String> {
    braces::render(template, value, known)
}

fn resolved(format: TemplateFormat, template: &str) -> TemplateFormat {
    if format == TemplateFormat::Auto { detect(template) } else { format }
}

/// A name that has no value, with the names that have one.
fn unknown(line: usize, name: &str, values: &[&str]) -> Error {
    const SHOWN: usize = 20;
    let mut known: Vec<&str> = values.iter().copied().take(SHOWN + 1).collect();
    if known.len() > SHOWN {
        known[SHOWN] = "…";
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Error::expression(format!("line {line}: {name} has no value; there is: {known}"))
}

fn output_too_large() -> Error {
    Error::too_large(format!("the text made from the template is over {} KiB", MAX_OUTPUT / 1024))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
