//! What a parser says, in words for people, and without the value that it quotes.

/// The longest message.
const LONGEST: usize = 800;
/// The most digits of a number in one.
const LONGEST_NUMBER: usize = 40;

/// The message of a serde error without the value that it quotes, which may be a secret in the wrong
/// field, and without the names that types have in the code.
pub fn told(error: &serde_json::Error) -> String {
    plain(&error.to_string()).chars().take(LONGEST).collect()
}

/// The first integer of a JSON text that no 64 bits hold: read as a number with a fraction it would be another. Gives
/// the byte where it begins, and its digits, cut to a length that can be shown.
pub fn integer_past_64_bits(json: &str) -> Option<(usize, &str)> {
    let bytes = json.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let from = at;
                while at < bytes.len() && matches!(bytes[at], b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
                    at += 1;
                }
                let number = &json[from..at];
                let whole = number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
                if whole && number.len() > 18 && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some((from, &number[..number.len().min(LONGEST_NUMBER)]));
                }
            }
            _ => at += 1,
        }
    }
    None
}

fn plain(message: &str) -> String {
    let quotes = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "];
    if message.starts_with("data did not match") {
        return "it has none of the forms that it may have".to_owned();
    }
    match message.rsplit_once(", expected ") {
        Some((quoted, expected)) if quotes.iter().any(|start| quoted.starts_with(start)) => {
            // Of a line and a column people know nothing: it is a value that was read.
            let expected = expected.split_once(" at line ").map_or(expected, |(expected, _)| expected);
            format!("expected {}", named(expected))
        }
        _ => message.to_owned(),
    }
}

/// What is expected, as people name it.
fn named(expected: &str) -> String {
    let first = expected.split(' ').next().unwrap_or_default();
    let name = match first {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "struct" | "map" | "internally" | "adjacently" => "an object",
        "tuple" | "sequence" => "a list",
        "unit" => "null",
        "enum" => "one of its names",
        "string" | "str" => "a string",
        "option" => "a value or null",
        _ => match expected {
            "a map" => "an object",
            "a sequence" => "a list",
            "a borrowed string" => "a string",
            "a boolean" => "true or false",
            other => other,
        },
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_people_name_them_and_no_value_is_quoted() {
        for (message, told) in [
            ("invalid type: string \"sk-1, expected u8\", expected u64", "expected a whole number, 0 or more"),
            ("invalid value: integer `300`, expected u8", "expected a whole number from 0 to 255"),
            ("invalid type: map, expected i64", "expected a whole number"),
            ("invalid type: floating point `1.5`, expected u32", "expected a whole number from 0 to 4294967295"),
            ("invalid type: integer `1`, expected struct NewAgent", "expected an object"),
            ("invalid type: integer `1`, expected a sequence", "expected a list"),
            ("invalid type: integer `1`, expected a boolean at line 1 column 4", "expected true or false"),
            ("unknown variant `sk-1`, expected `text` or `json`", "expected `text` or `json`"),
            ("unknown variant `sk-1`, expected one of `a`, `b`", "expected one of `a`, `b`"),
            ("data did not match any variant of untagged enum Given", "it has none of the forms that it may have"),
            ("missing field `name`", "missing field `name`"),
        ] {
            assert_eq!(plain(message), told, "{message}");
        }
    }
}
