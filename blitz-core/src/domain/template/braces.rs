//! `{name}` and `{name.field}`; `{{` and the `}}` that closes it are literal; all other braces stay.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{MAX_OUTPUT, output_too_large, unknown};
use crate::error::Result;

/// A stretch of a template.
enum Piece<'a> {
    Text(&'a str),
    /// A dotted name, and the line it is on.
    Hole(&'a str, usize),
}

pub(super) fn variables(template: &str) -> BTreeSet<String> {
    let holes = pieces(template).filter_map(|piece| match piece {
        Piece::Hole(path, _) => path.split('.').next(),
        Piece::Text(_) => None,
    });
    holes.map(str::to_owned).collect()
}

pub(super) fn render<'v>(
    template: &str,
    value: impl Fn(&str) -> Option<&'v Value>,
    known: impl Fn() -> Vec<&'v str>,
) -> Result<String> {
    let mut text = String::with_capacity(template.len());
    for piece in pieces(template) {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Hole(path, line) => match look_up(&value, path) {
                Some(Value::String(value)) => text.push_str(value),
                Some(value) => text.push_str(&value.to_string()),
                None => return Err(unknown(line, path, &known())),
            },
        }
        if text.len() > MAX_OUTPUT {
            return Err(output_too_large());
        }
    }
    Ok(text)
}

fn look_up<'v>(value: impl Fn(&str) -> Option<&'v Value>, path: &str) -> Option<&'v Value> {
    let mut names = path.split('.');
    let first = value(names.next()?)?;
    names.try_fold(first, |value, name| match value {
        Value::Object(map) => map.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Splits a template in one pass. A `}}` is a literal brace only where a `{{` waits for it, so that
/// nested JSON in a prompt stays as it is.
fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = template;
    let mut line = 1;
    let mut open = 0usize;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, length) = next(rest, line, &mut open);
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
        Some(piece)
    })
}

/// The piece that a text begins with, and how many bytes of the text it takes.
fn next<'a>(text: &'a str, line: usize, open: &mut usize) -> (Piece<'a>, usize) {
    if text.starts_with("{{") {
        *open += 1;
        return (Piece::Text("{"), 2);
    }
    if *open > 0 && text.starts_with("}}") {
        *open -= 1;
        return (Piece::Text("}"), 2);
    }
    if let Some(path) = hole(text) {
        return (Piece::Hole(path, line), path.len() + 2);
    }
    let brace = text.char_indices().skip(1).find(|(_, c)| matches!(c, '{' | '}'));
    let length = brace.map_or(text.len(), |(at, _)| at);
    (Piece::Text(&text[..length]), length)
}

/// The dotted name between the braces that a text begins with.
fn hole(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let path = &inner[..inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')?];
    let named = path.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let whole = path.split('.').all(|name| !name.is_empty());
    (named && whole && inner[path.len()..].starts_with('}')).then_some(path)
}
