//! Bodies of catalogue records: their text, their hash, changes to them, and names.

use icu_normalizer::ComposingNormalizerBorrowed;
use ring::digest;
use serde_json::{Map, Value};

use crate::domain::schema::depth_within;
use crate::domain::{Patch, Spec};
use crate::error::{Error, Result};
use crate::store::seal::hex;
use crate::store::sql::to_json;

/// The longest body in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// How deep a body may be nested. An execution's plan holds bodies below bodies, and the parser that
/// reads it again stops at 128.
const MAX_DEPTH: usize = 80;

/// The longest name in characters.
const MAX_NAME: usize = 128;

/// The stored form of a definition and the hash of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    text: String,
    hash: String,
}

impl Body {
    /// The body of a record's fields, without its secret.
    pub(crate) fn of<S: Spec>(spec: &S) -> Result<Self> {
        let mut value = to_value(spec)?;
        if let (Some(field), Some(fields)) = (S::SECRET, value.as_object_mut()) {
            fields.remove(field);
        }
        Self::of_value(&value)
    }

    /// The body of any definition. Errors: `TooLarge` over 1 MiB, `InvalidInput` where it is nested too deep.
    pub(crate) fn of_value(value: &Value) -> Result<Self> {
        if !depth_within(value, MAX_DEPTH) {
            return Err(Error::invalid(format!("a definition is nested deeper than {MAX_DEPTH} levels")));
        }
        let text = to_json(value)?;
        if text.len() > MAX_BODY {
            return Err(Error::too_large("a definition is larger than 1 MiB: make it smaller"));
        }
        // The stored text keeps the order of fields, which models may care about; the hash does not.
        let hash = digest::digest(&digest::SHA256, to_json(&sorted(value))?.as_bytes());
        Ok(Self { text, hash: hex(hash.as_ref()) })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Reads stored fields.
pub(super) fn read<S: Spec>(text: &str) -> Result<S> {
    serde_json::from_str(text).map_err(|error| {
        Error::storage("a stored record cannot be read: it is damaged or from a newer version").with_source(error)
    })
}

/// The stored fields with a merge patch (RFC 7396) applied.
///
/// Errors: `InvalidInput` naming the field that is unknown or does not take its value.
pub(crate) fn patched<S: Spec>(text: &str, patch: &Patch) -> Result<S> {
    let stored: Value = read_value(text)?;
    let apply = |patch: &Patch| {
        let mut value = stored.clone();
        merge(&mut value, patch);
        serde_json::from_value::<S>(value)
    };
    apply(patch).map_err(|error| {
        let alone = |key: &String, value: &Value| Patch::from_iter([(key.clone(), value.clone())]);
        let field = patch.iter().find(|(key, value)| apply(&alone(key, value)).is_err()).map(|(key, _)| key);
        // The parser's own words may quote the value, and a value may be a secret in the wrong field.
        let unknown = error.to_string().starts_with("unknown field");
        let noun = S::KIND.name();
        Error::invalid(match (field, unknown) {
            (Some(field), true) => format!("a {noun} has no field {}", shown(field)),
            (Some(field), false) => format!("the field {} of a {noun} does not take this value", shown(field)),
            (None, _) => format!("the changed fields do not make a {noun} together"),
        })
    })
}

/// Refuses a name that people could not tell from another or could not type.
///
/// 1 to 128 characters, no `/`, no control or invisible characters, no white space around it, in
/// composed Unicode form (NFC).
pub(crate) fn check_name(name: &str) -> Result<()> {
    let count = name.chars().count();
    let problem = if count == 0 || count > MAX_NAME {
        "must have 1 to 128 characters"
    } else if name.trim() != name {
        "must not begin or end with white space"
    } else if name.contains('/') {
        "must not hold a slash, which separates an owner from a name"
    } else if name.chars().any(is_invisible) {
        "must not hold control or invisible characters"
    } else if !ComposingNormalizerBorrowed::new_nfc().is_normalized(name) {
        "must be in composed Unicode form (NFC)"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("a name {problem}")))
}

/// A caller's text as it is shown in a message: escaped and cut.
pub(crate) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(MAX_NAME).flat_map(char::escape_debug).collect();
    format!("`{cut}`")
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn to_value<S: Spec>(spec: &S) -> Result<Value> {
    serde_json::to_value(spec).map_err(|error| Error::internal("a value of ours has no JSON form").with_source(error))
}

fn read_value(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::storage("a stored record cannot be read").with_source(error))
}

fn merge(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (key, change) in patch {
        match change {
            Value::Null => {
                fields.remove(key);
            }
            Value::Object(inner) => merge(fields.entry(key.as_str()).or_insert(Value::Null), inner),
            other => {
                fields.insert(key.clone(), other.clone());
            }
        }
    }
}

/// The same value with the fields of every object in order of their names.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut pairs: Vec<_> = fields.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            Value::Object(pairs.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
