//! What `settings.extra` must not hold: fields of the engine, and those by which a call costs what nobody foresees.

use serde_json::{Map, Value};

use super::super::tokens;
use crate::domain::ModelRequest;
use crate::error::{Error, Result};

/// The most answers that one call may ask for.
const MAX_CHOICES: u64 = 16;

/// Why a field is barred that brings input from elsewhere.
pub(in crate::provider) const UNSEEN_INPUT: &str =
    "the input that it stands for is billed with the call and nobody here can count it, so no budget could hold";

/// What embeddings are made of and by whom, in the words of any provider.
const EMBEDDED: &[&str] =
    &["model", "models", "input", "inputs", "texts", "images", "messages", "requests", "content", "contents"];

/// Checks that `settings.extra` holds no field that the engine sets itself; `options.num_predict` is one in an object.
///
/// Errors: `InvalidInput`, also where more answers are asked for than one call may give.
pub(in crate::provider) fn check_extra(request: &ModelRequest, own_fields: &[&str]) -> Result<()> {
    let extra = &request.settings.extra;
    if let Some(field) = own_fields.iter().find(|field| !found(extra, field).is_empty()) {
        return Err(Error::invalid(format!("settings.extra must not hold {field}: the engine sets it itself")));
    }
    for field in tokens::CHOICES {
        let is_few = |asked: &Value| asked.is_null() || asked.as_u64().is_some_and(|n| (1..=MAX_CHOICES).contains(&n));
        if !found(extra, field).into_iter().all(is_few) {
            return Err(Error::invalid(format!("settings.extra.{field} must be 1 to {MAX_CHOICES}")));
        }
    }
    Ok(())
}

/// Checks that `settings.extra` holds none of these fields, of which each comes with the reason.
pub(in crate::provider) fn bar_extra(request: &ModelRequest, barred: &[(&str, &str)]) -> Result<()> {
    let holds = |field: &str| found(&request.settings.extra, field).into_iter().any(|value| !value.is_null());
    match barred.iter().find(|(field, _)| holds(field)) {
        Some((field, why)) => Err(Error::invalid(format!("settings.extra must not hold {field}: {why}"))),
        None => Ok(()),
    }
}

/// Checks that the `extra` of a call for embeddings changes nothing of its body but what is `open`.
pub(super) fn check_embedding(body: &Value, open: &[&str], extra: &Map<String, Value>) -> Result<()> {
    let own = body.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    let mut own = own.filter(|name| !open.contains(name)).chain(EMBEDDED.iter().copied());
    match own.find(|name| !found(extra, name).is_empty()) {
        Some(name) => Err(Error::invalid(format!("extra must not hold {name}: the engine sets it itself"))),
        None => Ok(()),
    }
}

/// What stands at a path, however its names are written: some servers take `max_tokens` as `maxTokens` too, some
/// in any case.
pub(in crate::provider) fn found<'a>(fields: &'a Map<String, Value>, path: &str) -> Vec<&'a Value> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let named = fields.iter().filter(|(key, _)| folded(key).eq(folded(name))).map(|(_, value)| value);
    let Some(rest) = rest else { return named.collect() };
    let within = |value: &'a Value| match value {
        Value::Object(inner) => found(inner, rest),
        // What is no object takes the place of the whole object.
        other => vec![other],
    };
    named.flat_map(within).collect()
}

fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_however_it_is_written() {
        let extra = json!({"generation_config": {"MaxOutputTokens": 1}, "ſeed": 2, "options": null, "top": {"k": 3}});
        let extra = extra.as_object().cloned().unwrap_or_default();
        for path in ["generationConfig.maxOutputTokens", "seed", "options.num_predict", "top.k"] {
            assert_eq!(found(&extra, path).len(), 1, "{path}");
        }
        for path in ["generationConfig.temperature", "maxOutputTokens", "see", "top.kk"] {
            assert!(found(&extra, path).is_empty(), "{path}");
        }
    }
}
