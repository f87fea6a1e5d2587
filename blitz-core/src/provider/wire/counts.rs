//! Reads a provider's report of usage: what it says, what it leaves out, and what of it does not hold.

use std::cell::Cell;

use serde_json::Value;

use crate::domain::Usage;

/// The largest count that is believed; more is held at it, so that sums stay in range.
pub(in crate::provider) const MAX_COUNT: u64 = 1 << 40;

/// The counts of a report, forgiving in everything that servers get wrong; what was forgiven is noted.
pub(in crate::provider) struct Counts<'a> {
    raw: &'a Value,
    odd: Cell<bool>,
}

impl<'a> Counts<'a> {
    pub(in crate::provider) fn new(raw: &'a Value) -> Self {
        Self { raw, odd: Cell::new(false) }
    }

    /// The first count at one of these places: names behind slashes, none of them with a slash or a tilde.
    pub(in crate::provider) fn first(&self, pointers: &[&str]) -> Option<u64> {
        let at = |pointer: &&str| pointer.split('/').skip(1).try_fold(self.raw, |value, name| value.get(name));
        pointers.iter().filter_map(at).find_map(|value| self.count(value))
    }

    /// One count. A fraction is rounded up and digits in a string count, which is odd; what is negative is none.
    pub(in crate::provider) fn count(&self, value: &Value) -> Option<u64> {
        if let Some(count) = value.as_u64() {
            return Some(count.min(MAX_COUNT));
        }
        if value.is_null() {
            return None;
        }
        self.note(true);
        let number = match value {
            Value::Number(number) => number.as_f64()?,
            Value::String(digits) => digits.trim().parse().ok()?,
            _ => return None,
        };
        // A float holds every count up to the bound exactly, and the cast saturates.
        (number >= 0.0).then(|| (number.ceil() as u64).min(MAX_COUNT))
    }

    /// A part of a whole, which is never more than it.
    pub(in crate::provider) fn part(&self, part: u64, whole: u64) -> u64 {
        self.note(part > whole);
        part.min(whole)
    }

    /// Notes that the report contradicts itself.
    pub(in crate::provider) fn note(&self, odd: bool) {
        self.odd.set(self.odd.get() || odd);
    }

    /// The sums of a report, where it has any. A side that is missing is left open, with what is known of it.
    pub(in crate::provider) fn usage(&self, input: Option<u64>, output: Option<u64>) -> Option<Usage> {
        let usage = Usage::new(input.unwrap_or(0), output.unwrap_or(0));
        match (input, output) {
            (None, None) => None,
            (Some(_), Some(_)) => Some(usage),
            (None, Some(_)) => Some(usage.with_open_input()),
            (Some(_), None) => Some(usage.with_open_output()),
        }
    }

    /// The usage that was read, with whether anything had to be forgiven.
    pub(in crate::provider) fn checked(&self, usage: Usage) -> Usage {
        if self.odd.get() { usage.doubted() } else { usage }
    }
}
