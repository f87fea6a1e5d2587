//! Alerts: at each booking, one for each line that is crossed the first time in its window.

use super::outbox;
use super::window;
use crate::domain::{Alert, AlertKind, Amount, BudgetPeriod, ListOptions, Page, Timestamp};
use crate::error::Result;
use crate::store::ledger::Leg;
use crate::store::ledger::alerts::{self as sql, NewAlert};
use crate::store::ledger::matching::{self, Watched};
use crate::store::sql::Connection;

const HOUR: i64 = 3_600_000_000;
/// How far back an hour is compared.
const BURN_HOURS: i64 = 24;
/// So many hours must have booked something before one can be unusual.
const BURN_NEEDS: usize = 3;

/// The alerts that a booking of so many units raises on one window, by what is booked there now.
///
/// A budget that was deleted while the call ran raises none.
pub(super) fn raise(tx: &mut dyn Connection, now: Timestamp, leg: Leg, booked: i64) -> Result<Vec<Alert>> {
    let Some(watched) = matching::watched(tx, now, leg)? else { return Ok(Vec::new()) };
    let mut raised = Vec::new();
    thresholds(tx, now, leg, &watched, &mut raised)?;
    burn_rate(tx, now, leg, &watched, booked, &mut raised)?;
    exhaustion(tx, now, leg, &watched, &mut raised)?;
    Ok(raised)
}

/// A page of the alerts, oldest first. Errors: `InvalidInput` for a cursor that no page gave.
pub(crate) fn list(tx: &mut dyn Connection, options: &ListOptions) -> Result<Page<Alert>> {
    super::budgets::page(options, |after, limit| sql::list(tx, after, limit), |alert| alert.id)
}

fn thresholds(
    tx: &mut dyn Connection,
    now: Timestamp,
    leg: Leg,
    watched: &Watched,
    raised: &mut Vec<Alert>,
) -> Result<()> {
    let (Some(limit), false) = (watched.limit, watched.thresholds.is_empty()) else { return Ok(()) };
    let rolling = watched.period.kind == BudgetPeriod::Rolling;
    let since = Timestamp(now.0.saturating_sub(window::reach(&watched.period)));
    let posted = if rolling { matching::series(tx, leg.budget, leg.scope_id, since)?.posted } else { watched.posted };
    for &threshold in watched.thresholds.iter().filter(|&&threshold| is_crossed(posted, limit, threshold)) {
        // A rolling period is one window, though its rows are of an hour each.
        if rolling && sql::crossed_since(tx, leg, threshold, since)? {
            continue;
        }
        let new = NewAlert { kind: AlertKind::Threshold, threshold, posted, bound: limit, exhausted_at: None };
        raised.extend(insert(tx, now, leg, watched, &new)?);
    }
    Ok(())
}

fn burn_rate(
    tx: &mut dyn Connection,
    now: Timestamp,
    leg: Leg,
    watched: &Watched,
    booked: i64,
    raised: &mut Vec<Alert>,
) -> Result<()> {
    let Some(times) = watched.burn_rate else { return Ok(()) };
    let hour = window::hour_of(now);
    let posted = sql::add_to_hour(tx, leg, hour, booked)?;
    let before = sql::hours(tx, leg, Timestamp(hour.0 - BURN_HOURS * HOUR), hour)?;
    let Some(usual) = median(&before) else { return Ok(()) };
    if i128::from(posted) > i128::from(usual) * i128::from(times) {
        let new = NewAlert { kind: AlertKind::BurnRate, threshold: times, posted, bound: usual, exhausted_at: None };
        // Its window is the hour.
        raised.extend(insert(tx, now, Leg { start: hour, ..leg }, watched, &new)?);
    }
    Ok(())
}

/// The middle of what hours booked, in rising order; `None` where there are too few to tell.
fn median(rising: &[i64]) -> Option<i64> {
    if rising.len() < BURN_NEEDS {
        return None;
    }
    let upper = rising[rising.len() / 2];
    let lower = rising[(rising.len() - 1) / 2];
    i64::try_from((i128::from(lower) + i128::from(upper)) / 2).ok()
}

fn exhaustion(
    tx: &mut dyn Connection,
    now: Timestamp,
    leg: Leg,
    watched: &Watched,
    raised: &mut Vec<Alert>,
) -> Result<()> {
    let calendar = !matches!(watched.period.kind, BudgetPeriod::None | BudgetPeriod::Execution | BudgetPeriod::Rolling);
    let (Some(limit), true, true) = (watched.limit, watched.projection, calendar) else { return Ok(()) };
    let Ok((_, ends)) = window::span(&watched.period, leg.start.max(now)) else { return Ok(()) };
    let Some(at) = exhausted_at(leg.start, now, ends, watched.posted, limit) else { return Ok(()) };
    let new = NewAlert {
        kind: AlertKind::Exhaustion,
        threshold: 100,
        posted: watched.posted,
        bound: limit,
        exhausted_at: Some(at),
    };
    raised.extend(insert(tx, now, leg, watched, &new)?);
    Ok(())
}

/// When a window passes its limit if it goes on as it began; `None` where it lasts, has passed it, or
/// is too young to tell: under a twentieth of it.
fn exhausted_at(start: Timestamp, now: Timestamp, end: Timestamp, posted: i64, limit: i64) -> Option<Timestamp> {
    let (elapsed, whole) = (i128::from(now.0 - start.0), i128::from(end.0 - start.0));
    if posted <= 0 || posted >= limit || elapsed <= 0 || elapsed * 20 < whole {
        return None;
    }
    let at = i128::from(start.0) + elapsed * i128::from(limit) / i128::from(posted);
    i64::try_from(at).ok().map(Timestamp).filter(|at| *at < end)
}

fn insert(
    tx: &mut dyn Connection,
    now: Timestamp,
    leg: Leg,
    watched: &Watched,
    new: &NewAlert,
) -> Result<Option<Alert>> {
    let Some(id) = sql::insert(tx, now, leg, new)? else { return Ok(None) };
    let alert = Alert {
        id,
        at: now,
        kind: new.kind,
        budget_id: leg.budget,
        budget: watched.budget.clone(),
        scope_id: leg.scope_id,
        window_start: leg.start,
        threshold: new.threshold,
        posted: Amount::of(watched.unit, new.posted),
        limit: Amount::of(watched.unit, new.bound),
        exhausted_at: new.exhausted_at,
    };
    outbox::enqueue(tx, now, "budget.alert", &alert)?;
    Ok(Some(alert))
}

/// Whether so many percent of the limit are booked. Nothing booked crosses nothing.
fn is_crossed(posted: i64, limit: i64, percent: u32) -> bool {
    posted > 0 && i128::from(posted) * 100 >= i128::from(limit) * i128::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_crossed_at_its_exact_nano() {
        assert!(is_crossed(80, 100, 80) && !is_crossed(79, 100, 80));
        assert!(is_crossed(1, 0, 100) && !is_crossed(0, 0, 100));
        assert!(is_crossed(i64::MAX, i64::MAX, 100) && !is_crossed(i64::MAX - 1, i64::MAX, 100));
    }

    #[test]
    fn the_usual_is_the_middle_and_needs_a_few_hours() {
        assert_eq!(median(&[1, 2]), None);
        assert_eq!(median(&[1, 2, 9]), Some(2));
        assert_eq!(median(&[1, 2, 4, 9]), Some(3));
        assert_eq!(median(&[i64::MAX; 4]), Some(i64::MAX));
    }

    #[test]
    fn exhaustion_is_told_where_the_pace_passes_the_limit() {
        let at = |now, posted| exhausted_at(Timestamp(0), Timestamp(now), Timestamp(1000), posted, 100);
        assert_eq!(at(500, 60), Some(Timestamp(833)));
        assert_eq!((at(500, 50), at(500, 49)), (None, None));
        assert_eq!((at(49, 99), at(500, 100), at(500, 0)), (None, None, None));
    }
}
