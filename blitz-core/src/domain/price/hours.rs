//! Rates that hold at some hours of the week only.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::time::Timestamp;
use super::{Price, PriceTier};
use crate::error::{Error, Result};

const MINUTES: u16 = 24 * 60;

/// The rates of calls that end within some hours of the week. What is missing costs as at all other hours.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OffPeak {
    /// When.
    pub hours: Vec<PriceHours>,
    /// What then holds in place of the price's own rates.
    pub rates: PriceTier,
}

impl OffPeak {
    /// These rates at these hours.
    pub fn new(hours: Vec<PriceHours>, rates: PriceTier) -> Self {
        Self { hours, rates }
    }
}

/// A span of some days of the week, in UTC.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceHours {
    /// Days of the week, Monday is 1 and Sunday 7; every day where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<u8>,
    /// From this minute of the day on.
    pub from: TimeOfDay,
    /// Until before this one; at or before `from` it lies on the next day.
    pub to: TimeOfDay,
}

impl PriceHours {
    /// From one minute of the day until before another, on these days.
    pub fn new(days: Vec<u8>, from: TimeOfDay, to: TimeOfDay) -> Self {
        Self { days, from, to }
    }

    fn hold(&self, day: u8, minute: u16) -> bool {
        let is_one = |day: u8| self.days.is_empty() || self.days.contains(&day);
        let before = if day == 1 { 7 } else { day - 1 };
        match (self.from.0, self.to.0) {
            (from, to) if from < to => is_one(day) && (from..to).contains(&minute),
            (from, to) => (is_one(day) && minute >= from) || (is_one(before) && minute < to),
        }
    }
}

/// A minute of the day, `"16:30"` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl FromStr for TimeOfDay {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |digits: &str, below: u16| {
            let is_plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|number| is_plain && *number < below)
        };
        let parts = text.split_once(':').and_then(|(hours, minutes)| Some((number(hours, 24)?, number(minutes, 60)?)));
        let bad = || Error::invalid("a time of day such as \"16:30\" is expected");
        parts.map(|(hours, minutes)| Self(hours * 60 + minutes)).ok_or_else(bad)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for TimeOfDay {
    fn schema_name() -> Cow<'static, str> {
        "TimeOfDay".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"})
    }
}

impl Price {
    /// The price of calls that end at a moment.
    pub fn at(&self, moment: Timestamp) -> Cow<'_, Price> {
        match self.off_peak.as_ref().filter(|off_peak| off_peak.holds(moment)) {
            Some(off_peak) => Cow::Owned(self.at_rates(&off_peak.rates)),
            None => Cow::Borrowed(self),
        }
    }

    /// The price of calls outside of its usual hours, where it has such.
    pub(super) fn off_peak(&self) -> Option<Price> {
        self.off_peak.as_ref().map(|off_peak| self.at_rates(&off_peak.rates))
    }

    fn at_rates(&self, rates: &PriceTier) -> Price {
        Price {
            input: rates.input.unwrap_or(self.input),
            output: rates.output.unwrap_or(self.output),
            cache_read: rates.cache_read.or(self.cache_read),
            cache_write: rates.cache_write.or(self.cache_write),
            cache_write_1h: rates.cache_write_1h.or(self.cache_write_1h),
            reasoning: rates.reasoning.or(self.reasoning),
            audio_input: rates.audio_input.or(self.audio_input),
            image_input: rates.image_input.or(self.image_input),
            cache_read_audio: rates.cache_read_audio.or(self.cache_read_audio),
            audio_output: rates.audio_output.or(self.audio_output),
            image_output: rates.image_output.or(self.image_output),
            off_peak: None,
            ..self.clone()
        }
    }
}

impl OffPeak {
    /// Refuses days that no week has: such hours would never hold.
    pub(super) fn check(&self) -> Result<()> {
        match self.hours.iter().flat_map(|hours| &hours.days).find(|day| !(1..=7).contains(*day)) {
            Some(day) => Err(Error::invalid(format!("there is no day {day} of the week: Monday is 1 and Sunday 7"))),
            None => Ok(()),
        }
    }

    fn holds(&self, moment: Timestamp) -> bool {
        const MINUTE: i64 = 60_000_000;
        let minutes = moment.0.div_euclid(MINUTE);
        let minute = u16::try_from(minutes.rem_euclid(i64::from(MINUTES))).unwrap_or(0);
        // The first day of the epoch was a Thursday.
        let day = u8::try_from((minutes.div_euclid(i64::from(MINUTES)) + 3).rem_euclid(7) + 1).unwrap_or(1);
        self.hours.iter().any(|hours| hours.hold(day, minute))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::{Rate, Usage};

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn hours(days: &[u8], from: &str, to: &str) -> PriceHours {
        PriceHours::new(days.to_vec(), from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn b38_hours_of_the_week_have_their_own_rates() {
        let rate = |text: &str| Rate::parse_per_million(text).unwrap();
        let rates = PriceTier { cache_read: Some(rate("0.01")), ..PriceTier::above(0).rates(rate("1"), rate("2")) };
        let hours = vec![hours(&[1, 2, 3, 4, 5], "22:00", "02:30"), hours(&[6, 7], "00:00", "00:00")];
        let usual = Price::per_million("4", "8").unwrap();
        let price = Price { off_peak: Some(OffPeak::new(hours, rates)), ..usual.clone() };
        let usage = Usage::new(100, 10).with_cache(50, 0);
        // 50 × 1 + 50 × 0.01 + 10 × 2, else 100 × 4 + 10 × 8
        for (moment, nanos) in [
            ("2026-11-23T21:59:59Z", 480_000), // a Monday
            ("2026-11-23T22:00:00Z", 70_500),
            ("2026-11-24T02:29:59Z", 70_500),
            ("2026-11-24T02:30:00Z", 480_000),
            ("2026-11-28T01:00:00Z", 70_500), // Friday's night, and Saturday
            ("2026-11-28T12:00:00Z", 70_500),
            ("2026-11-29T23:59:59Z", 70_500),  // Sunday
            ("2026-11-30T00:00:00Z", 480_000), // Monday again: Sunday's span is over, and none begins
            ("1969-12-27T12:00:00Z", 70_500),  // a Saturday before the epoch
        ] {
            assert_eq!(price.at(at(moment)).cost(&usage).unwrap().nanos(), nanos, "{moment}");
        }
        // What is held is the dearest of all hours.
        assert_eq!(price.upper_bound(100, 10).unwrap(), usual.upper_bound(100, 10).unwrap());
        let dear = Price { off_peak: Some(OffPeak::new(vec![], usual.own())), ..price.at_rates(&rates) };
        assert_eq!(dear.upper_bound(100, 10).unwrap(), usual.upper_bound(100, 10).unwrap());
        let json = serde_json::to_string(&price).unwrap();
        assert_eq!(serde_json::from_str::<Price>(&json).unwrap(), price);
    }

    #[test]
    fn days_that_no_week_has_are_refused() {
        let check = |days: &[u8]| {
            let off_peak = OffPeak::new(vec![hours(days, "01:00", "02:00")], PriceTier::above(0));
            Price { off_peak: Some(off_peak), ..Price::FREE }.check()
        };
        assert!(check(&[]).is_ok() && check(&[1, 7]).is_ok());
        for days in [&[0][..], &[1, 8], &[255]] {
            assert_eq!(check(days).unwrap_err().code(), crate::error::ErrorCode::InvalidInput);
        }
    }

    #[test]
    fn t04_a_time_that_is_none_is_refused() {
        for text in ["", "24:00", "12:60", "1:00", "12", "12:0", "-1:00", "+1:00", "12:00:00", "aa:bb"] {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text}");
        }
        assert_eq!("07:05".parse::<TimeOfDay>().unwrap().to_string(), "07:05");
    }
}
