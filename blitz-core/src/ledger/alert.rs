//! Thresholds: at each booking, one alert for each that is crossed the first time in its window.

use crate::domain::{Alert, Money, Timestamp};
use crate::error::Result;
use crate::store::ledger::{self as sql, Leg, Watched};
use crate::store::sql::Connection;

/// The alerts that a booking raises on one window, by what is booked there now.
///
/// A budget that was deleted while the call ran, or has no limit, raises none.
pub(super) fn raise(tx: &mut dyn Connection, now: Timestamp, leg: Leg) -> Result<Vec<Alert>> {
    let Some(Watched { budget, limit, thresholds, posted }) = sql::watched(tx, leg)? else { return Ok(Vec::new()) };
    let mut alerts = Vec::new();
    for threshold in thresholds.into_iter().filter(|&threshold| is_crossed(posted, limit, threshold)) {
        if sql::insert_alert(tx, now, leg, threshold, posted)? {
            let budget = budget.clone();
            alerts.push(Alert { budget_id: leg.0, budget, scope_id: leg.1, threshold, posted, limit });
        }
    }
    Ok(alerts)
}

/// Whether so many percent of the limit are booked. Nothing booked crosses nothing.
fn is_crossed(posted: Money, limit: Money, percent: u32) -> bool {
    posted > Money::ZERO && i128::from(posted.nanos()) * 100 >= i128::from(limit.nanos()) * i128::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_crossed_at_its_exact_nano() {
        let crossed = |posted, limit, percent| is_crossed(Money::from_nanos(posted), Money::from_nanos(limit), percent);
        assert!(crossed(80, 100, 80) && !crossed(79, 100, 80));
        assert!(crossed(1, 0, 100) && !crossed(0, 0, 100));
        assert!(crossed(i64::MAX, i64::MAX, 100) && !crossed(i64::MAX - 1, i64::MAX, 100));
    }
}
