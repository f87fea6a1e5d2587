//! Joins a character that a server cut in two: the escapes of its halves come in two pieces of an answer.

use std::borrow::Cow;

/// The first half of a character that the last piece ended with.
#[derive(Debug, Default)]
pub(in crate::provider) struct Halves {
    open: Option<String>,
}

/// What stands for half a character whose other half never came.
const LOST: &str = "\\ufffd";

impl Halves {
    /// A piece of JSON with whole characters only: a first half at the end of a text waits for the piece with the
    /// second one, any other half is lost.
    pub(in crate::provider) fn joined<'a>(&mut self, json: &'a str) -> Cow<'a, str> {
        if memchr::memchr(b'\\', json.as_bytes()).is_none() || !json.contains("\\ud") && !json.contains("\\uD") {
            return json.into();
        }
        let mut whole = String::with_capacity(json.len());
        let mut rest = json;
        while let Some(at) = rest.find('\\') {
            whole.push_str(&rest[..at]);
            rest = &rest[at..];
            let taken = match half(rest) {
                Some(Half::First) if matches!(rest.get(6..).and_then(half), Some(Half::Second)) => {
                    whole.push_str(&rest[..12]);
                    12
                }
                Some(Half::First) if rest[6..].starts_with('"') => {
                    self.open = Some(rest[..6].to_owned());
                    6
                }
                Some(Half::First) => {
                    whole.push_str(LOST);
                    6
                }
                Some(Half::Second) => {
                    match self.open.take() {
                        Some(first) => whole.extend([first.as_str(), &rest[..6]]),
                        None => whole.push_str(LOST),
                    }
                    6
                }
                // Another escape, with the character behind it.
                None => {
                    let taken = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                    whole.push_str(&rest[..taken]);
                    taken
                }
            };
            rest = &rest[taken..];
        }
        whole.push_str(rest);
        whole.into()
    }
}

enum Half {
    First,
    Second,
}

/// Which half of a character the escape at the beginning is.
fn half(text: &str) -> Option<Half> {
    let code = u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    match code {
        0xD800..=0xDBFF => Some(Half::First),
        0xDC00..=0xDFFF => Some(Half::Second),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b21_halves_of_a_character_are_joined_or_lost() {
        let mut halves = Halves::default();
        for (piece, whole) in [
            (r#"{"a":"plain","b":"\n\u00e9"}"#, r#"{"a":"plain","b":"\n\u00e9"}"#),
            (r#"{"a":"\ud83d\ude00"}"#, r#"{"a":"\ud83d\ude00"}"#),
            (r#"{"a":"x\ud83d"}"#, r#"{"a":"x"}"#),
            (r#"{"a":"\uDE00y"}"#, r#"{"a":"\ud83d\uDE00y"}"#),
            (r#"{"a":"\ude00y"}"#, r#"{"a":"\ufffdy"}"#),
            (r#"{"a":"\ud83dy"}"#, r#"{"a":"\ufffdy"}"#),
            (r#"{"a":"\\ud83dy"}"#, r#"{"a":"\\ud83dy"}"#),
            (r#"{"a":"\ud8"#, r#"{"a":"\ud8"#),
            (r#"{"a":"\ud83d"#, r#"{"a":"\ufffd"#),
            ("\\ud☃x", "\\ud☃x"),
        ] {
            assert_eq!(halves.joined(piece), whole);
        }
    }
}
