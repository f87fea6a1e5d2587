//! Schedules of five fields, and the moments that they mean in a time zone.
//!
//! Where clocks are set forward, a fixed time that does not exist is the first moment behind the gap,
//! once. Where they are set back, a fixed time that is there twice means the first. A schedule of
//! every hour follows time itself: it leaves out what is not there, and takes what is there twice.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneTransition};

use crate::domain::Timestamp;

/// Name, bounds and names of the values of a field.
const FIELDS: [(&str, u32, u32, &[&str]); 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day", 1, 31, &[]),
    ("month", 1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    ("weekday", 0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// How many days are looked at: the 29th of February comes back within eight years.
const DAYS: i32 = 366 * 9;
/// How far behind a moment its local times are looked at again where clocks are set about then: none is set back further.
const BACK: i64 = 4 * 3600 * 1_000_000;

/// A schedule: each field as the set of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
    /// Whether the hour is `*` or a step of it.
    every_hour: bool,
}

impl Cron {
    /// Reads five fields, or one of the usual names such as `@daily`. Errors: what is wrong, for people.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err("a schedule has five fields: minute, hour, day, month and weekday".to_owned());
        };
        if text.len() > 256 {
            return Err("a schedule has at most 256 characters".to_owned());
        }
        let weekdays = field(weekday, 4)?;
        Ok(Self {
            minutes: field(minute, 0)?,
            hours: field(hour, 1)?,
            days: field(day, 2)?,
            months: field(month, 3)?,
            // Sunday is 0 and 7.
            weekdays: (weekdays | (weekdays >> 7)) & 0x7f,
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
            every_hour: hour.starts_with('*'),
        })
    }

    /// The first moment behind another; `None` where there is none, as of the 30th of February.
    pub(crate) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = jiff::Timestamp::from_microsecond(after.0).ok()?;
        self.next_from(from, looks_from(from, zone)?, zone)
    }

    /// The same, by the local times behind one.
    fn next_from(&self, from: jiff::Timestamp, mut local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
        let mut best: Option<jiff::Timestamp> = None;
        loop {
            local = match self.next_local(local) {
                Some(local) => local,
                None => break,
            };
            let [first, second] = self.moments(local, zone);
            if let (Some(first), Some(best)) = (first, best)
                && first > best
            {
                break;
            }
            for moment in [first, second].into_iter().flatten().filter(|moment| *moment > from) {
                best = Some(best.map_or(moment, |best| best.min(moment)));
            }
        }
        best.map(|moment| Timestamp(moment.as_microsecond()))
    }

    /// The moments that a local time means: none, one, or two.
    fn moments(&self, local: DateTime, zone: &TimeZone) -> [Option<jiff::Timestamp>; 2] {
        let at = |offset: jiff::tz::Offset| offset.to_timestamp(local).ok();
        match zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => [at(offset), None],
            AmbiguousOffset::Gap { .. } if self.every_hour => [None, None],
            AmbiguousOffset::Gap { after, .. } => {
                // Read by the later offset it lies before the gap; the next change of clocks is its end.
                let before = at(after);
                [before.and_then(|before| zone.following(before).next().map(|change| change.timestamp())), None]
            }
            AmbiguousOffset::Fold { before, after } => [at(before), at(after).filter(|_| self.every_hour)],
        }
    }

    /// The first local time behind another that the fields allow.
    fn next_local(&self, after: DateTime) -> Option<DateTime> {
        let mut date = after.date();
        let (mut hour, mut minute) = (after.hour(), after.minute() + 1);
        for _ in 0..DAYS {
            if self.has_day(date)
                && let Some((hour, minute)) = self.next_time(hour, minute)
            {
                return Some(date.at(hour, minute, 0, 0));
            }
            date = date.tomorrow().ok()?;
            (hour, minute) = (0, 0);
        }
        None
    }

    /// The first time of a day, from another on, that the fields allow.
    fn next_time(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        let right =
            |hour: i8, from: i8| (from..60).find(|minute| has(self.minutes, *minute)).map(|minute| (hour, minute));
        let this = if has(self.hours, hour) { right(hour, minute) } else { None };
        this.or_else(|| (hour + 1..24).find(|hour| has(self.hours, *hour)).and_then(|hour| right(hour, 0)))
    }

    /// Where both are bounded, the day of the month or that of the week will do.
    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let fits = if self.any_day || self.any_weekday { day && weekday } else { day || weekday };
        fits && has(self.months, date.month())
    }
}

/// Behind which local time those are that may mean a moment behind another. Where clocks are set about then, a
/// local time may come again, or stand for a moment that is not there.
fn looks_from(from: jiff::Timestamp, zone: &TimeZone) -> Option<DateTime> {
    let local = zone.to_datetime(from);
    let changes = [zone.preceding(from).next(), zone.following(from).next()];
    let near = |change: &TimeZoneTransition<'_>| {
        change.timestamp().as_microsecond().abs_diff(from.as_microsecond()) <= BACK.unsigned_abs()
    };
    let is_near = changes.iter().flatten().any(near);
    if is_near { local.checked_sub(jiff::SignedDuration::from_micros(BACK)).ok() } else { Some(local) }
}

fn has(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| set & (1 << value) != 0)
}

fn field(text: &str, index: usize) -> Result<u64, String> {
    let (name, least, most, names) = FIELDS[index];
    let wrong =
        || format!("the {name} of the schedule is none: `*`, numbers from {least} to {most}, ranges, lists and steps");
    text.split(',').try_fold(0, |set, part| Ok(set | part_of(part, least, most, names).ok_or_else(wrong)?))
}

/// The values of one part of a list, such as `*`, `3`, `1-5` or `*/10`.
fn part_of(part: &str, least: u32, most: u32, names: &[&str]) -> Option<u64> {
    let number = |text: &str| {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let named = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + least);
        let plain = || text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        named.or_else(plain).filter(|number| (least..=most).contains(number))
    };
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| (1..=most).contains(step))?)),
        None => (part, None),
    };
    let (from, to) = match range.split_once('-') {
        _ if range == "*" => (least, most),
        Some((from, to)) => (number(from)?, number(to)?),
        // `5/10` goes on from 5.
        None => (number(range)?, if step.is_some() { most } else { number(range)? }),
    };
    let values = (from..=to).step_by(step.unwrap_or(1) as usize);
    (from <= to).then(|| values.fold(0, |set, value| set | 1 << value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn zone() -> TimeZone {
        // Central European rules, written out, so that no test needs the machine's tables.
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn following(cron: &str, from: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(cron).unwrap();
        let from: jiff::Timestamp = from.parse().unwrap();
        let mut at = Timestamp(from.as_microsecond());
        (0..count)
            .map(|_| {
                at = cron.next(at, &zone()).unwrap();
                at.to_rfc3339()
            })
            .collect()
    }

    #[test]
    fn fields_say_when() {
        assert_eq!(
            following("*/30 9-10 * * mon", "2026-11-22T00:00:00Z", 5),
            [
                "2026-11-23T08:00:00Z",
                "2026-11-23T08:30:00Z",
                "2026-11-23T09:00:00Z",
                "2026-11-23T09:30:00Z",
                "2026-11-30T08:00:00Z"
            ]
        );
        assert_eq!(following("0 0 29 2 *", "2026-01-01T00:00:00Z", 1), ["2028-02-28T23:00:00Z"]);
        // A day of the month or one of the week.
        assert_eq!(
            following("0 12 1 * 7", "2026-11-23T00:00:00Z", 2),
            ["2026-11-29T11:00:00Z", "2026-12-01T11:00:00Z"]
        );
        let never = Cron::parse("0 0 30 2 *").unwrap();
        assert_eq!(never.next(Timestamp(0), &zone()), None);
        for wrong in ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *", "x * * * *"]
        {
            assert!(Cron::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn w40_a_time_that_does_not_exist_is_the_end_of_the_gap_once() {
        // 2026-03-29: 02:00 becomes 03:00 at 01:00 UTC.
        assert_eq!(
            following("30 2 * * *", "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            following("0,30 2 * * *", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]
        );
        assert_eq!(
            following("30 * * * *", "2026-03-29T00:00:00Z", 3),
            ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"]
        );
    }

    #[test]
    fn w40_a_time_that_is_there_twice_is_the_first() {
        // 2026-10-25: 03:00 becomes 02:00 at 01:00 UTC.
        assert_eq!(
            following("30 2 * * *", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        assert_eq!(following("30 2 * * *", "2026-10-25T00:45:00Z", 1), ["2026-10-26T01:30:00Z"]);
        assert_eq!(
            following("30 * * * *", "2026-10-24T23:45:00Z", 3),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"]
        );
    }

    #[test]
    fn w40_what_lies_behind_is_looked_at_again_only_near_a_change_of_clocks() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        let seen = |text: &str| looks_from(at(text), &zone()).unwrap().to_string();
        assert_eq!(seen("2026-07-01T10:00:00Z"), "2026-07-01T12:00:00");
        assert_eq!(seen("2026-03-28T20:00:00Z"), "2026-03-28T21:00:00");
        assert_eq!(seen("2026-03-29T00:59:00Z"), "2026-03-28T21:59:00");
        assert_eq!(seen("2026-03-29T01:30:00Z"), "2026-03-28T23:30:00");
        assert_eq!(seen("2026-10-25T01:30:00Z"), "2026-10-24T22:30:00");
        assert_eq!(seen("2026-10-25T06:00:00Z"), "2026-10-25T07:00:00");
        // It changes nothing: around both changes of clocks each moment has the same next one.
        let crons =
            ["* * * * *", "*/7 * * * *", "30 2 * * *", "0,30 2-3 * * *", "59 1 * * sun", "15 */2 * * *", "0 3 * * *"];
        for cron in crons.map(|text| Cron::parse(text).unwrap()) {
            for start in ["2026-03-28T18:00:00Z", "2026-10-24T18:00:00Z"] {
                for minutes in 0..18 * 6 {
                    let from = at(start) + jiff::SignedDuration::from_secs(minutes * 600 + minutes % 3);
                    let local = zone().to_datetime(from);
                    let far = local.checked_sub(jiff::SignedDuration::from_micros(BACK)).unwrap();
                    let (near, far) = (looks_from(from, &zone()).unwrap(), cron.next_from(from, far, &zone()));
                    assert_eq!(cron.next_from(from, near, &zone()), far, "{cron:?} behind {from}");
                }
            }
        }
    }
}
