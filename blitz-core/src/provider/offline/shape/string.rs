//! Strings within the bounds of a schema.

use serde_json::Value;

use super::bound;

/// Said where nothing is known.
const NEUTRAL: &str = "n/a";
/// What a text that is too short is filled up with.
const FILLER: &str = " n/a";
/// The most characters that are made up.
const MAX_MADE_UP: u64 = 100_000;

/// A string that fits: the wanted text, cut or filled up, else a neutral one.
pub(super) fn fitted(schema: &Value, wanted: Option<String>, variant: usize) -> String {
    if let Some(text) = schema.get("format").and_then(Value::as_str).and_then(|format| of_format(format, variant)) {
        return text;
    }
    let min = bound(schema, "minLength", 0).min(MAX_MADE_UP) as usize;
    let max = usize::try_from(bound(schema, "maxLength", u64::MAX)).unwrap_or(usize::MAX);
    let text = wanted.unwrap_or_else(|| NEUTRAL.to_owned());
    let text = if variant == 0 { text } else { format!("{} {text}", in_base_36(variant)) };
    filled(cut(text, max), min)
}

/// A neutral value of a format that is checked.
fn of_format(format: &str, variant: usize) -> Option<String> {
    let (byte, word) = (variant % 256, variant % 65_536);
    let day = format!("2000-01-{:02}", 1 + variant % 28);
    Some(match format {
        "date" => day,
        "date-time" => format!("{day}T00:{:02}:{:02}Z", variant / 60 % 60, variant % 60),
        "time" => format!("00:{:02}:{:02}Z", variant / 60 % 60, variant % 60),
        "duration" => format!("P{}D", 1 + variant),
        "email" | "idn-email" => format!("nobody{variant}@example.com"),
        "hostname" | "idn-hostname" => format!("host{variant}.example.com"),
        "ipv4" => format!("192.0.2.{byte}"),
        "ipv6" => format!("2001:db8::{word:x}"),
        "uri" | "uri-reference" | "iri" | "iri-reference" => format!("https://example.com/{variant}"),
        "uuid" => format!("00000000-0000-4000-8000-{variant:012x}"),
        "json-pointer" => format!("/{variant}"),
        "regex" => format!("a{{{variant}}}"),
        _ => return None,
    })
}

fn in_base_36(mut number: usize) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.extend(char::from_digit((number % 36) as u32, 36));
        number /= 36;
    }
    digits.into_iter().rev().collect()
}

/// A text of at most `max` characters: whole sentences, else whole words, else what there is room for.
fn cut(text: String, max: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(max) else { return text };
    let kept = &text[..end];
    let least = end / 2;
    if let Some(stop) = kept.rfind(". ").filter(|stop| *stop >= least) {
        return kept[..=stop].to_owned();
    }
    // One character less makes room for the mark of what is missing.
    let shorter = kept.char_indices().next_back().map_or("", |(last, _)| &kept[..last]);
    match shorter.rfind(char::is_whitespace).filter(|space| *space >= least) {
        Some(space) => format!("{}…", shorter[..space].trim_end()),
        None => kept.to_owned(),
    }
}

fn filled(mut text: String, min: usize) -> String {
    let missing = min.saturating_sub(text.chars().count());
    text.extend(FILLER.chars().cycle().take(missing));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_cut_at_sentences_then_words() {
        let text = "The rent is due. The deposit is due too.";
        let fit = |max: u64| fitted(&json!({"maxLength": max}), Some(text.to_owned()), 0);
        assert_eq!(fit(40), text);
        assert_eq!(fit(20), "The rent is due.");
        assert_eq!(fit(13), "The rent is…");
        assert_eq!(fit(2), "Th");
        assert_eq!(fit(0), "");
    }

    #[test]
    fn short_texts_are_filled_up() {
        let text = fitted(&json!({"minLength": 9, "maxLength": 9}), None, 0);
        assert_eq!(text, "n/a n/a n");
    }

    #[test]
    fn lengths_count_characters_not_bytes() {
        let text = fitted(&json!({"minLength": 4, "maxLength": 4}), Some("üüüüüü".into()), 0);
        assert_eq!(text, "üüüü");
    }
}
