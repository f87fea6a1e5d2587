//! How long a server asks to wait, in each of the forms that are in use.

use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::domain::Timestamp;

/// Longer waits than this are held at it.
const LONGEST: Duration = Duration::from_secs(86_400);

/// The wait that the headers of an answer ask for.
///
/// `retry-after-ms` wins over `Retry-After` (seconds or an HTTP date), which wins over the resets of
/// the `x-ratelimit-*` headers: the longest of the buckets that are used up, or the shortest of all
/// where none says so.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    text("retry-after-ms")
        .and_then(|ms| seconds(ms, 0.001))
        .or_else(|| text("retry-after").and_then(|value| seconds(value, 1.0).or_else(|| until_date(value, now))))
        .or_else(|| rate_limit_reset(headers, now))
        .map(|wait| wait.min(LONGEST))
}

fn seconds(text: &str, scale: f64) -> Option<Duration> {
    let number: f64 = text.parse().ok()?;
    number.is_finite().then(|| Duration::try_from_secs_f64(number.max(0.0) * scale).unwrap_or(LONGEST))
}

/// The time until an HTTP date; zero for one that has passed.
fn until_date(text: &str, now: Timestamp) -> Option<Duration> {
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp(date.timestamp().as_microsecond()).since(now))
}

fn rate_limit_reset(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let (mut used_up, mut all) = (None, None);
    for (name, value) in headers {
        let Some(bucket) = name.as_str().strip_prefix("x-ratelimit-reset") else { continue };
        let Some(wait) = value.to_str().ok().and_then(|text| reset(text.trim(), now)) else { continue };
        all = all.map_or(Some(wait), |least: Duration| Some(least.min(wait)));
        let remaining = headers.get(format!("x-ratelimit-remaining{bucket}"));
        if remaining.is_some_and(|left| left.as_bytes() == b"0") {
            used_up = used_up.max(Some(wait));
        }
    }
    used_up.or(all)
}

/// A reset as a duration (`6m0s`, `120ms`), as seconds, or as a moment (epoch in s or ms, RFC 3339).
fn reset(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(number) = text.parse::<f64>() {
        return match number {
            n if n >= 1e12 => Some(Timestamp((n * 1e3) as i64).since(now)),
            n if n >= 1e9 => Some(Timestamp((n * 1e6) as i64).since(now)),
            _ => seconds(text, 1.0),
        };
    }
    let moment = || text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_microsecond()).since(now));
    units(text).or_else(moment)
}

/// A sum of numbers with units: `1h2m3.5s`.
fn units(mut text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(digits);
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit);
        let scale = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total = total.saturating_add(seconds(number, scale)?);
        text = rest;
    }
    Some(total)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// 1994-11-06T08:49:37Z.
    const NOW: Timestamp = Timestamp(784_111_777_000_000);

    fn wait(headers: &[(&'static str, &str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        retry_after(&headers, NOW)
    }

    #[test]
    fn b41_every_form_of_retry_after_is_read() {
        let ms = |ms| Some(Duration::from_millis(ms));
        for (header, value, expected) in [
            ("retry-after", "7", ms(7_000)),
            ("retry-after", "1.5", ms(1_500)),
            ("retry-after", "-3", ms(0)),
            ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT", ms(60_000)),
            ("retry-after", "Sun, 06 Nov 1994 08:40:37 GMT", ms(0)),
            ("retry-after", "soon", None),
            ("retry-after", "NaN", None),
            ("retry-after", "1e300", ms(86_400_000)),
            ("retry-after-ms", "250", ms(250)),
            ("x-ratelimit-reset-requests", "6m0s", ms(360_000)),
            ("x-ratelimit-reset-tokens", "1h0m0.5s", ms(3_600_500)),
            ("x-ratelimit-reset-tokens", "120ms", ms(120)),
            ("x-ratelimit-reset", "12", ms(12_000)),
            ("x-ratelimit-reset", "784111787", ms(86_400_000)),
            ("x-ratelimit-reset", "s", None),
            ("x-ratelimit-reset", "1994-11-06T08:49:47Z", ms(10_000)),
        ] {
            assert_eq!(wait(&[(header, value)]), expected, "{header}: {value}");
        }
    }

    #[test]
    fn b41_the_nearest_word_of_the_server_wins() {
        assert_eq!(wait(&[("retry-after", "9"), ("retry-after-ms", "20")]), Some(Duration::from_millis(20)));
        assert_eq!(wait(&[("retry-after", "9"), ("x-ratelimit-reset-tokens", "1s")]), Some(Duration::from_secs(9)));
        let buckets = [("x-ratelimit-reset-requests", "2s"), ("x-ratelimit-reset-tokens", "30s")];
        assert_eq!(wait(&buckets), Some(Duration::from_secs(2)));
        let used_up = [buckets[0], buckets[1], ("x-ratelimit-remaining-tokens", "0")];
        assert_eq!(wait(&used_up), Some(Duration::from_secs(30)));
    }
}
