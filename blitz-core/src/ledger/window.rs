//! Windows: when the one began that holds now, and what is in it.
//!
//! A window is found by its computed start and never reset. Its start never goes back: where the
//! clock does, the newest window goes on.

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneTransition};
use jiff::{ToSpan as _, Zoned};

use crate::domain::{BudgetPeriod, Timestamp};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::ledger::matching::{self as sql, MatchedBudget, Period};

const HOUR: i64 = 3_600_000_000;

/// The longest rolling period: a leap year's hours.
pub(super) const MAX_HOURS: u32 = 8_784;

/// The window of a budget that holds now, with what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: Timestamp,
    /// Posted and pending of the whole period, which may be several rows.
    pub(super) counted: i64,
    /// Whether `counted` is one row's: then the row itself can hold the limit.
    pub(super) is_whole: bool,
    /// When it makes room; `None` where it never does by itself.
    pub(super) resets_at: Option<Timestamp>,
}

/// Finds the window of a budget that counts a call now.
///
/// Errors: `InvalidInput` where the machine does not know the time zone.
pub(super) fn current(tx: &mut dyn Connection, now: Timestamp, budget: &MatchedBudget) -> Result<Window> {
    let period = &budget.period;
    let endless = Window {
        start: period.epoch,
        counted: budget.posted.saturating_add(budget.pending),
        is_whole: true,
        resets_at: None,
    };
    match period.kind {
        BudgetPeriod::None | BudgetPeriod::Execution => Ok(endless),
        BudgetPeriod::Rolling => {
            let reach = reach(period);
            let this_hour = floor(now, HOUR).max(period.epoch);
            let Some(scope_id) = budget.scope_id else {
                return Ok(Window { start: this_hour, counted: 0, is_whole: false, resets_at: None });
            };
            // What a row of an hour holds may be of its last moment: it leaves when all of it has.
            let from = Timestamp(now.0.saturating_sub(reach).saturating_sub(HOUR).saturating_add(1)).max(period.epoch);
            let sums = sql::series(tx, budget.id, scope_id, from)?;
            Ok(Window {
                start: sums.last.map_or(this_hour, |last| last.max(this_hour)),
                counted: sums.posted.saturating_add(sums.pending),
                is_whole: false,
                resets_at: sums.first.map(|first| Timestamp(floor(first, HOUR).0 + HOUR + reach)),
            })
        }
        _ => {
            let (begins, ends) = span(period, now)?;
            let start = begins.max(period.epoch);
            let newest = match budget.scope_id {
                Some(scope_id) => sql::newest_window(tx, budget.id, scope_id, start)?,
                None => None,
            };
            let fresh = Window { start, counted: 0, is_whole: true, resets_at: Some(ends) };
            Ok(newest.map_or(fresh, |(start, posted, pending)| Window {
                start,
                counted: posted.saturating_add(pending),
                ..fresh
            }))
        }
    }
}

/// How far a rolling period reaches back, in microseconds.
pub(super) fn reach(period: &Period) -> i64 {
    i64::from(period.hours.unwrap_or(1)) * HOUR
}

/// When an hour of the ledger began.
pub(super) fn hour_of(at: Timestamp) -> Timestamp {
    floor(at, HOUR)
}

/// The last multiple of a step up to a moment.
pub(super) fn floor(at: Timestamp, step: i64) -> Timestamp {
    Timestamp(at.0.saturating_sub(at.0.rem_euclid(step)))
}

/// The calendar's span that a moment lies in: its first moment, and the first behind it.
///
/// Errors: `InvalidInput` where the machine does not know the time zone.
pub(super) fn span(period: &Period, at: Timestamp) -> Result<(Timestamp, Timestamp)> {
    let zone = zone(period.time_zone.as_deref())?;
    let local = jiff::Timestamp::from_microsecond(at.0).map_err(|_| beyond())?.to_zoned(zone.clone());
    if period.kind == BudgetPeriod::Hour {
        // The hour of the clock, in zones that are half an hour off too; clocks that are set by half an hour
        // cut it short.
        let offset = i64::from(local.offset().seconds()) * 1_000_000;
        let start = at.0 - (at.0 + offset).rem_euclid(HOUR);
        let (set, next_set) = clocks_set(&zone, at)?;
        return Ok((Timestamp(start).max(set), Timestamp(start + HOUR).min(next_set)));
    }
    let today = local.date();
    let (first, next) = days(period.kind, today).map_err(|_| beyond())?;
    let (start, end) = (midnight(first, &zone)?, midnight(next, &zone)?);
    Ok((start.min(at), end))
}

/// When the clocks of a zone were last set, up to a moment, and when they will be set next.
fn clocks_set(zone: &TimeZone, at: Timestamp) -> Result<(Timestamp, Timestamp)> {
    let moment = |micros| jiff::Timestamp::from_microsecond(micros).map_err(|_| beyond());
    let last = zone.preceding(moment(at.0.saturating_add(1))?).next();
    let next = zone.following(moment(at.0)?).next();
    let micros = |set: TimeZoneTransition<'_>| Timestamp(set.timestamp().as_microsecond());
    Ok((last.map_or(Timestamp(i64::MIN), micros), next.map_or(Timestamp(i64::MAX), micros)))
}

fn days(kind: BudgetPeriod, today: Date) -> Result<(Date, Date), jiff::Error> {
    Ok(match kind {
        BudgetPeriod::Week => {
            let monday = today.checked_sub(i64::from(today.weekday().to_monday_zero_offset()).days())?;
            (monday, monday.checked_add(7.days())?)
        }
        BudgetPeriod::Month => (today.first_of_month(), today.first_of_month().checked_add(1.month())?),
        BudgetPeriod::Year => (today.first_of_year(), today.first_of_year().checked_add(1.year())?),
        _ => (today, today.checked_add(1.day())?),
    })
}

/// The first moment of a day: behind a gap where clocks skip midnight, the first of two where they repeat it.
fn midnight(day: Date, zone: &TimeZone) -> Result<Timestamp> {
    let zoned: Zoned = day.to_zoned(zone.clone()).map_err(|_| beyond())?;
    Ok(Timestamp(zoned.timestamp().as_microsecond()))
}

/// The time zone of a name; UTC where there is none.
///
/// Errors: `InvalidInput` for a name that the machine does not know.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone> {
    match name {
        None | Some("UTC") => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|_| {
            let shown: String = name.chars().take(60).collect();
            Error::invalid(format!(
                "this machine knows no time zone {shown:?}: write it as Europe/Berlin, and install tzdata where it is missing"
            ))
        }),
    }
}

fn beyond() -> Error {
    Error::invalid("the moment is out of the calendar's range")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZONES: [&str; 8] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Havana",
        "Africa/Cairo",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Pacific/Apia",
    ];
    const KINDS: [BudgetPeriod; 5] =
        [BudgetPeriod::Hour, BudgetPeriod::Day, BudgetPeriod::Week, BudgetPeriod::Month, BudgetPeriod::Year];

    fn period(kind: BudgetPeriod, zone: &str) -> Period {
        Period { kind, hours: None, time_zone: Some(zone.to_owned()), epoch: Timestamp(0) }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    #[test]
    fn t21_months_and_days_begin_where_the_zone_says() {
        let month = |zone: &str, now: &str| span(&period(BudgetPeriod::Month, zone), at(now)).unwrap();
        assert_eq!(
            month("Europe/Berlin", "2026-03-31T22:30:00Z"),
            (at("2026-03-31T22:00:00Z"), at("2026-04-30T22:00:00Z"))
        );
        assert_eq!(month("UTC", "2026-02-28T23:59:59Z"), (at("2026-02-01T00:00:00Z"), at("2026-03-01T00:00:00Z")));
        // Years behind the ends of 32-bit clocks.
        assert_eq!(month("UTC", "2038-01-19T03:14:08Z").0, at("2038-01-01T00:00:00Z"));
        assert_eq!(month("UTC", "2106-02-07T06:28:16Z").0, at("2106-02-01T00:00:00Z"));
        let day = |zone: &str, now: &str| span(&period(BudgetPeriod::Day, zone), at(now)).unwrap();
        // Clocks skip midnight in Cairo: the day begins at one.
        assert_eq!(day("Africa/Cairo", "2024-04-26T05:00:00Z").0, at("2024-04-25T22:00:00Z"));
        // They repeat it in Havana: the day begins at the first of the two.
        assert_eq!(
            day("America/Havana", "2024-11-03T05:30:00Z"),
            (at("2024-11-03T04:00:00Z"), at("2024-11-04T05:00:00Z"))
        );
        // Samoa had no 30 December 2011.
        assert_eq!(day("Pacific/Apia", "2011-12-30T09:30:00Z").1, at("2011-12-30T10:00:00Z"));
        assert!(zone(Some("Mars/Olympus")).is_err());
        assert!(zone(Some("../../etc/passwd")).is_err());
    }

    #[test]
    fn t21_hours_are_cut_where_clocks_are_set_by_half_an_hour() {
        let hour = |now: &str| span(&period(BudgetPeriod::Hour, "Australia/Lord_Howe"), at(now)).unwrap();
        // From 02:00 at +11 back to 01:30 at +10:30, in April 2026.
        assert_eq!(hour("2026-04-04T14:59:59Z"), (at("2026-04-04T14:00:00Z"), at("2026-04-04T15:00:00Z")));
        assert_eq!(hour("2026-04-04T15:00:00Z"), (at("2026-04-04T15:00:00Z"), at("2026-04-04T15:30:00Z")));
        assert_eq!(hour("2026-04-04T15:30:00Z"), (at("2026-04-04T15:30:00Z"), at("2026-04-04T16:30:00Z")));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
        /// Spans follow each other without a gap or an overlap, and none is skipped.
        #[test]
        fn t21_spans_tile_the_time(kind in 0usize..5, zone in 0usize..8, secs in 0i64..4_300_000_000, micros in 0i64..1_000_000) {
            let period = period(KINDS[kind], ZONES[zone]);
            let now = Timestamp(secs * 1_000_000 + micros);
            let (start, end) = span(&period, now).unwrap();
            prop_assert!(start <= now && now < end);
            prop_assert_eq!(span(&period, start).unwrap(), (start, end));
            prop_assert_eq!(span(&period, Timestamp(end.0 - 1)).unwrap(), (start, end));
            prop_assert_eq!(span(&period, end).unwrap().0, end);
        }
    }
}
