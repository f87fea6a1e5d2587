//! Headers that somebody else than the engine names.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, Result};

/// The most headers of a request and the most bytes of one.
const MAX_HEADERS: usize = 64;
const MAX_HEADER: usize = 8 << 10;

/// What says where a message begins, ends or goes.
const OURS: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "proxy-authorization",
    "proxy-connection",
];

/// The headers of a request, their values kept out of every log.
///
/// Errors: `InvalidInput` for what is no header, for those that say where a message begins, ends or
/// goes, and for `barred` ones.
pub(crate) fn headers<'a>(given: impl IntoIterator<Item = (&'a str, &'a str)>, barred: &[&str]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Error::invalid("headers: a name is not one that a header can have"))?;
        if OURS.contains(&name.as_str()) || barred.contains(&name.as_str()) {
            return Err(Error::invalid(format!("headers: {name} is the engine's own to set: leave it out")));
        }
        let value = HeaderValue::from_str(value).ok().filter(|value| value.len() <= MAX_HEADER);
        let mut value = value.ok_or_else(|| {
            Error::invalid("headers: a value holds a line break or another control character, or is over 8 KiB")
        })?;
        value.set_sensitive(true);
        headers.append(name, value);
        if headers.len() > MAX_HEADERS {
            return Err(Error::invalid(format!("headers: there are more than {MAX_HEADERS}")));
        }
    }
    Ok(headers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn b36_what_would_break_a_message_or_stand_for_the_key_is_no_header() {
        let good = headers([("X-Tenant", "canary"), ("anthropic-beta", "a")], &["authorization"]).unwrap();
        assert_eq!(good["x-tenant"], "canary");
        assert!(!format!("{good:?}").contains("canary"));
        for (name, value) in [
            ("X-A", "canary\r\nX-B: 1"),
            ("X-A", "canary\n"),
            ("X-A", "canary\0"),
            ("X-A\r\nX-B", "canary"),
            ("canary x", ""),
            ("", "canary"),
            ("Host", "canary"),
            ("Transfer-Encoding", "canary"),
            ("Connection", "canary"),
            ("Authorization", "canary"),
        ] {
            let error = headers([(name, value)], &["authorization"]).unwrap_err();
            assert_eq!(error.code(), crate::ErrorCode::InvalidInput, "{name}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        }
        assert!(headers([("x", "y".repeat(MAX_HEADER + 1).as_str())], &[]).is_err());
        assert!(headers((0..=MAX_HEADERS).map(|_| ("x", "y")), &[]).is_err());
    }
}
