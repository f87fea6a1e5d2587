//! JSON that comes in: what a program could lose unnoticed is refused.

use std::ffi::c_char;

use blitz::{Error, Result, integer_past_64_bits};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::handle;

/// JSON text. Errors: `InvalidInput` for NULL, for what is no JSON, and for integers that do not fit 64 bits.
pub(crate) fn read(given: *const c_char, name: &str) -> Result<Value> {
    parse(handle::text(given, name)?, name)
}

/// JSON text that may be NULL.
pub(crate) fn read_optional(given: *const c_char, name: &str) -> Result<Option<Value>> {
    handle::optional_text(given, name)?.map(|text| parse(text, name)).transpose()
}

/// JSON text as a type of the engine. Errors: as [`read`], and `InvalidInput` where it does not fit.
pub(crate) fn read_as<T: DeserializeOwned>(given: *const c_char, name: &str) -> Result<T> {
    fit(read(given, name)?, name)
}

/// JSON as a type of the engine. Errors: `InvalidInput` where it does not fit.
pub(crate) fn fit<T: DeserializeOwned>(value: Value, name: &str) -> Result<T> {
    // The cause may quote a value, which may be a secret in the wrong field: it is told only where it names fields.
    serde_json::from_value(value).map_err(|error| {
        let cause = error.to_string();
        let tells = ["unknown field", "missing field", "a reply has"].iter().any(|start| cause.starts_with(start));
        let what = if tells { cause } else { "a value is of a wrong type".to_owned() };
        Error::invalid(format!("{name} does not fit: {what}"))
    })
}

/// A value as JSON text.
pub(crate) fn write<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("a result has no JSON form").with_source(error))
}

fn parse(text: &str, name: &str) -> Result<Value> {
    let value = serde_json::from_str(text).map_err(|error| {
        // The error's own text may quote the input.
        Error::invalid(format!("{name} is not JSON: see line {} column {}", error.line(), error.column()))
    })?;
    match integer_past_64_bits(text) {
        Some((at, _)) => {
            Err(Error::invalid(format!("{name} has an integer past 64 bits at byte {at}: give it as text")))
        }
        None => Ok(value),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_whole() {
        let text = r#"{"a": [1, -2.5, "x\"9\\", null], "b": 18446744073709551615, "c": -9223372036854775808}"#;
        assert_eq!(parse(text, "input").unwrap(), serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(parse("1e300", "input").unwrap(), 1e300);
        assert_eq!(parse(r#""99999999999999999999999""#, "input").unwrap(), "99999999999999999999999");
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        for text in [
            "",
            "{",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e999",
            "18446744073709551616",
            "[1, -9223372036854775809]",
            r#"{"\"": 99999999999999999999}"#,
            r#""\ud800""#,
            "[1] 2",
            "'x'",
        ] {
            let error = parse(text, "input").unwrap_err();
            assert_eq!(error.code(), blitz::ErrorCode::InvalidInput, "{text}");
        }
        assert!(parse(&"[".repeat(100_000), "input").is_err());
    }

    #[test]
    fn no_error_quotes_the_input() {
        for text in [r#"{"password": "canary" canary"#, "canary", r#"["canary", 99999999999999999999]"#] {
            assert!(!parse(text, "input").unwrap_err().to_string().contains("canary"));
        }
    }
}
