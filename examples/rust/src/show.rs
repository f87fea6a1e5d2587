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

/// Marks that take no room on a screen, so that the table counts its columns right; [`ink`] makes colours of them.
const RED: &str = "\u{2061}";
const YELLOW: &str = "\u{2062}";
const GREEN: &str = "\u{2063}";
const PLAIN: &str = "\u{2064}";

/// The score as a bar and a number.
pub fn gauge(score: f64) -> String {
    let tenths = (score / 10.0).round().clamp(0.0, 10.0) as usize;
    let colour = if score >= 70.0 {
        RED
    } else if score >= 40.0 {
        YELLOW
    } else {
        GREEN
    };
    format!("{colour}{}{PLAIN}{} {score:>3.0}", "█".repeat(tenths), "░".repeat(10 - tenths))
}

/// The text with its marks as colours, or without them.
pub fn ink(text: &str, colours: bool) -> String {
    let codes = [(RED, "\x1b[31m"), (YELLOW, "\x1b[33m"), (GREEN, "\x1b[32m"), (PLAIN, "\x1b[0m")];
    codes.iter().fold(text.to_owned(), |text, (mark, code)| text.replace(mark, if colours { code } else { "" }))
}

/// The words of a text in lines of at most so many characters.
pub fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < width => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A text on one line of a page, where no character of it means anything.
pub fn plain(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().fold(String::with_capacity(line.len()), |mut plain, c| {
        if r"\`*_{}[]<>#|~".contains(c) {
            plain.push('\\');
        }
        plain.push(c);
        plain
    })
}
