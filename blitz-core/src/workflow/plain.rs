//! Keys that stand in the clear in a definition: found by the names of their fields.

use serde_json::{Map, Value};

use super::task::escaped;
use crate::domain::{Node, NodeType};

/// A field that may hold a key in the clear.
pub(crate) struct Plain<'a> {
    /// Where it is in the node, as a JSON pointer.
    pub(crate) place: String,
    /// Its name.
    pub(crate) name: &'a str,
    /// What says the same without the key.
    pub(crate) instead: String,
    /// Whether that reads it from a secret; else it is a mask, as secrets are not read there.
    pub(crate) from_secret: bool,
}

/// What stands for a key where no secret is read.
const MASK: &str = "***";

/// The fields of a node, however deep, that may hold keys in the clear: of its input, and of the settings of what
/// calls other programs.
pub(crate) fn plain_secrets(node: &Node) -> Vec<Plain<'_>> {
    let reads = matches!(node.kind, NodeType::Http | NodeType::Tool | NodeType::Agent);
    let mut found = Vec::new();
    if reads || matches!(node.kind, NodeType::Host(_)) {
        walk(&node.config, "/config", reads, &mut found);
        for (place, changes) in node.fallback.iter().enumerate() {
            walk(changes, &format!("/fallback/{place}"), reads, &mut found);
        }
    }
    if let Some(input) = &node.input {
        walk(input, "/input", false, &mut found);
    }
    found
}

fn walk<'a>(fields: &'a Map<String, Value>, path: &str, from_secret: bool, found: &mut Vec<Plain<'a>>) {
    for (name, value) in fields {
        let place = format!("{path}/{}", escaped(name));
        look(name, value, place, from_secret, found);
    }
}

fn look<'a>(name: &'a str, value: &'a Value, place: String, from_secret: bool, found: &mut Vec<Plain<'a>>) {
    match value {
        Value::String(text) => {
            let instead = if is_marked(name) && is_plain(text) {
                Some(instead_of(name, from_secret))
            } else if name.eq_ignore_ascii_case("url") {
                without_keys(text, from_secret)
            } else {
                None
            };
            found.extend(instead.map(|instead| Plain { place, name, instead, from_secret }));
        }
        Value::Object(inner) => walk(inner, &place, from_secret, found),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if !item.is_string() {
                    look(name, item, format!("{place}/{index}"), from_secret, found);
                }
            }
        }
        _ => {}
    }
}

/// Whether a field of this name is likely to hold a key.
fn is_marked(name: &str) -> bool {
    const MARKS: &[&str] = &["authorization", "apikey", "token", "secret", "password", "cookie", "credential"];
    let name: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    MARKS.iter().any(|mark| name.contains(mark))
}

/// Whether a text is one that is sent as it stands, and says something.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text != MASK && !text.contains("{{")
}

fn instead_of(name: &str, from_secret: bool) -> String {
    if from_secret { format!("{{{{ secrets.{} }}}}", secret_name(name)) } else { MASK.to_owned() }
}

/// An address without a password and without keys in its query; `None` where it holds none.
fn without_keys(url: &str, from_secret: bool) -> Option<String> {
    let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
    let mut clean = address.to_owned();
    if let Some((scheme, rest)) = address.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        if let Some((user, _)) = host.rsplit_once('@')
            && is_plain(user)
        {
            clean = format!("{scheme}://{MASK}{}", &rest[user.len()..]);
        }
    }
    if let Some(query) = query {
        let (query, fragment) = query.split_once('#').map_or((query, None), |(query, rest)| (query, Some(rest)));
        let pair = |pair: &str| match pair.split_once('=') {
            Some((name, value)) if is_marked(name) && is_plain(value) => {
                format!("{name}={}", instead_of(name, from_secret))
            }
            _ => pair.to_owned(),
        };
        clean = format!("{clean}?{}", query.split('&').map(pair).collect::<Vec<_>>().join("&"));
        if let Some(fragment) = fragment {
            clean = format!("{clean}#{fragment}");
        }
    }
    (clean != url).then_some(clean)
}

/// The name of the secret that takes a field's place.
fn secret_name(field: &str) -> String {
    let name: String =
        field.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w43_an_address_keeps_all_but_its_keys() {
        let clean = |url: &str| without_keys(url, true);
        let expected = "https://a.example/x?q=1&api_key={{ secrets.api_key }}&n=2#top";
        assert_eq!(clean("https://a.example/x?q=1&api_key=sk-1&n=2#top").as_deref(), Some(expected));
        assert_eq!(clean("https://me:pass@a.example/x").as_deref(), Some("https://***@a.example/x"));
        for fine in
            ["https://a.example/@me?q=1", "https://a.example/?token={{ secrets.t }}", "{{ inputs.url }}", expected]
        {
            assert_eq!(clean(fine), None, "{fine}");
        }
    }
}
