//! How figures look on a screen.

use std::time::Duration;

use blitz::Money;

/// `31204` as `31,204`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

/// A count with its noun: `1 issue`, `2 issues`.
pub fn counted(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// A cost in dollars; one whose price nobody knows is never shown as nothing.
pub fn cost(cost: Option<Money>) -> String {
    cost.map_or_else(|| "unknown".to_owned(), |cost| format!("${cost}"))
}

/// A time as people read it.
pub fn time(time: Duration) -> String {
    match (time.as_secs(), time.as_millis()) {
        (0, millis) => format!("{millis} ms"),
        (seconds @ ..60, _) => format!("{seconds}.{} s", time.subsec_millis() / 100),
        (seconds, _) => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// The first characters of a text, with a sign that there is more.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}
