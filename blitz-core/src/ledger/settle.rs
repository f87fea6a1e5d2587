//! Settle and void: each reservation ends once, and what was spent is booked.

use serde_json::Value;

use super::{Booked, MAX_CALL_COST, MAX_CALL_TOKENS, alert};
use crate::domain::{
    BudgetUnit, EntryFlag, EntryKind, Meter, Meters, Money, Price, Provenance, RecoverySettlement, ReservationId,
    Timestamp, Usage, UsageDetails,
};
use crate::error::{Error, Result};
use crate::store::ledger::matching;
use crate::store::ledger::{self as sql, Leg, NewEntry, Rated, Reservation, Resolution};
use crate::store::sql::Connection;

/// How the attempt ended that a reservation was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It gave an answer.
    Well,
    /// It did not, and no other follows.
    Failed,
    /// It did not, and another follows.
    Retried,
}

/// Books what a call used, as the provider says (`raw_usage` is kept in its own words).
///
/// A cost beyond what was reserved is booked all the same, as an overage: it was spent. Errors:
/// `Internal` where the reservation has ended already.
pub(crate) fn settle(
    tx: &mut dyn Connection,
    now: Timestamp,
    reservation: ReservationId,
    usage: &Usage,
    raw_usage: &Value,
    ended: Ended,
) -> Result<Booked> {
    let reservation = resolve(tx, reservation, Resolution::Settled)?;
    let booking = Booking::reported(&reservation, usage, now);
    book(tx, now, &reservation, &booking, Some(raw_usage).filter(|raw| !raw.is_null()), ended)
}

/// Gives back what was held: the call was provably not sent, or failed without a charge.
///
/// Errors: `Internal` where the reservation has ended already.
pub(crate) fn void(tx: &mut dyn Connection, now: Timestamp, reservation: ReservationId, ended: Ended) -> Result<()> {
    let reservation = resolve(tx, reservation, Resolution::Void)?;
    for &leg in &reservation.legs {
        post(tx, &reservation, leg, Money::ZERO)?;
    }
    let voided = entry(EntryKind::Void, &reservation, &reservation.legs, Some(Money::ZERO), reservation.held());
    sql::append(tx, now, &NewEntry { ended: ended_at(&reservation, now, ended), ..voided })
}

/// Books a call whose outcome is unknown: aborted, timed out, cancelled, or answered without usage.
///
/// It was sent, so it is never free: all its input at the dearest rate and the output that arrived,
/// but no more than was reserved, for an estimate makes no overage.
pub(crate) fn settle_unknown(
    tx: &mut dyn Connection,
    now: Timestamp,
    reservation: ReservationId,
    delivered_output_tokens: u64,
    ended: Ended,
) -> Result<Booked> {
    let reservation = resolve(tx, reservation, Resolution::Settled)?;
    let booking = Booking::estimated(&reservation, delivered_output_tokens.min(reservation.output_cap));
    book(tx, now, &reservation, &booking, None, ended)
}

/// Books a call that a dead process left behind: nobody knows what arrived, so by the host's policy.
pub(crate) fn settle_dead(
    tx: &mut dyn Connection,
    now: Timestamp,
    reservation: ReservationId,
    policy: RecoverySettlement,
) -> Result<Booked> {
    let reservation = resolve(tx, reservation, Resolution::Settled)?;
    let booking = match policy {
        RecoverySettlement::Reserved => {
            Booking { cost: reservation.amount, ..Booking::estimated(&reservation, reservation.output_cap) }
        }
        RecoverySettlement::Floor => Booking::estimated(&reservation, 0),
    };
    book(tx, now, &reservation, &booking, None, Ended::Retried)
}

/// What is booked for a call; of one with a part that has no price, the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Booking {
    pub(super) cost: Option<Money>,
    pub(super) usage: Usage,
    pub(super) flag: Option<EntryFlag>,
}

impl Booking {
    /// By the provider's report and the hour. Where it is beyond all reason, or its cost, by what was reserved.
    pub(super) fn reported(reservation: &Reservation, reported: &Usage, now: Timestamp) -> Self {
        let mended = reported.mended(reservation.input_bound, reservation.output_cap);
        let (usage, flag) = within_reason(&mended);
        let flag = flag.or(reported.open.odd.then_some(EntryFlag::InconsistentUsage));
        let price = reservation.price.as_ref();
        // A part without a rate is not nothing: nobody knows what the whole costs, and the rest was spent.
        let has_other_tools = usage.details.other_tools && !price.is_some_and(Price::is_free);
        let has_unpriced_part =
            has_other_tools || price.is_some_and(|price| Meters::used(&usage.details).without_rate(price).is_some());
        let cost = |price: &Price| price.at(now).cost(&mended).ok().filter(|cost| *cost <= MAX_CALL_COST);
        match (flag, price.map(cost)) {
            (Some(EntryFlag::ImplausibleUsage), Some(_)) | (_, Some(None)) => {
                Self { cost: reservation.amount, usage, flag: Some(EntryFlag::ImplausibleUsage) }
            }
            (Some(EntryFlag::ImplausibleUsage), None) => Self { cost: None, usage, flag },
            (_, cost) if has_unpriced_part => Self { cost: cost.flatten(), usage, flag: Some(EntryFlag::UnpricedPart) },
            (flag, cost) => Self { cost: cost.flatten(), usage, flag },
        }
    }

    /// What the call cost, where all of it is known.
    fn whole_cost(&self) -> Option<Money> {
        self.cost.filter(|_| self.flag != Some(EntryFlag::UnpricedPart))
    }

    /// By what was sent, so much output, and all else that it was allowed.
    fn estimated(reservation: &Reservation, output_tokens: u64) -> Self {
        let usage = Usage::new(reservation.input_bound, output_tokens)
            .with_details(reservation.beside)
            .with_provenance(Provenance::Estimated);
        let bound = |price: &Price| {
            let bound = price.upper_bound_with(usage.input_tokens, usage.output_tokens, &usage.details);
            bound.unwrap_or(Money::MAX)
        };
        let cost = reservation.price.as_ref().map(|price| bound(price).min(reservation.held()));
        Self { cost, usage: within_reason(&usage).0, flag: None }
    }
}

/// Usage with every part within its whole and every count within reason, and what had to be mended.
fn within_reason(reported: &Usage) -> (Usage, Option<EntryFlag>) {
    let b = reported.buckets();
    let held = |count: u64| count.min(MAX_CALL_TOKENS);
    let mut details = UsageDetails {
        audio_input_tokens: held(b.audio_input),
        image_input_tokens: held(b.image_input),
        cache_read_audio_tokens: held(b.cache_read_audio),
        audio_output_tokens: held(b.audio_output),
        image_output_tokens: held(b.image_output),
        ..reported.details
    };
    for meter in Meter::ALL {
        let count = meter.of(&mut details);
        *count = held(*count);
    }
    let usage = Usage {
        requests: held(reported.requests),
        input_tokens: held(reported.input_tokens),
        output_tokens: held(reported.output_tokens),
        cache_read_tokens: held(b.cache_read.saturating_add(b.cache_read_audio)),
        cache_write_tokens: held(b.cache_write.saturating_add(b.cache_write_1h)),
        cache_write_1h_tokens: held(b.cache_write_1h),
        reasoning_tokens: held(b.reasoning),
        provenance: reported.provenance,
        details,
        ..Usage::default()
    };
    let whole = [reported.requests, reported.input_tokens, reported.output_tokens];
    let whole = whole.into_iter().chain(Meter::ALL.map(|meter| meter.count(&reported.details)));
    let parts = |usage: &Usage| {
        let Usage { cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, .. } = *usage;
        ([cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens], usage.details)
    };
    let flag = if whole.into_iter().any(|count| count > MAX_CALL_TOKENS) {
        Some(EntryFlag::ImplausibleUsage)
    } else if parts(&usage) != parts(reported) {
        Some(EntryFlag::InconsistentUsage)
    } else {
        None
    };
    (usage, flag)
}

fn resolve(tx: &mut dyn Connection, id: ReservationId, resolution: Resolution) -> Result<Reservation> {
    sql::resolve_reservation(tx, id, resolution)?
        .ok_or_else(|| Error::internal(format!("reservation {id} has ended already or was never made")))
}

/// Moves a call's money from pending to posted on every window, and writes it down.
fn book(
    tx: &mut dyn Connection,
    now: Timestamp,
    reservation: &Reservation,
    booking: &Booking,
    raw_usage: Option<&Value>,
    ended: Ended,
) -> Result<Booked> {
    let held = reservation.held();
    let legs: Vec<Leg> = reservation.legs.iter().map(|&leg| leg.used(used_of(leg, booking))).collect();
    let overage = booking.cost.and_then(|cost| cost.sub(held).ok()).filter(|beyond| *beyond > Money::ZERO);
    let settled = entry(EntryKind::Settle, reservation, &legs, booking.cost.map(|cost| cost.min(held)), held);
    let ended = ended_at(reservation, now, ended);
    sql::append(tx, now, &NewEntry { usage: Some(&booking.usage), flag: booking.flag, raw_usage, ended, ..settled })?;
    if overage.is_some() {
        let of_money: Vec<Leg> = legs.iter().copied().filter(|leg| leg.count.is_none()).collect();
        sql::append(tx, now, &entry(EntryKind::Overage, reservation, &of_money, overage, Money::ZERO))?;
    }
    let cost = booking.cost.unwrap_or_default();
    let mut alerts = Vec::new();
    for &leg in &legs {
        post(tx, reservation, leg, cost)?;
        let booked = leg.count.map_or(cost.nanos(), |count| count.used);
        if booked > 0 {
            alerts.extend(alert::raise(tx, now, leg, booked)?);
        }
    }
    Ok(Booked { cost: booking.whole_cost(), overage, usage: booking.usage, alerts })
}

/// What a call used of what a leg counts. A report that cannot be believed counts as what was held.
fn used_of(leg: Leg, booking: &Booking) -> i64 {
    let Some(count) = leg.count else { return 0 };
    let used = match count.unit {
        _ if booking.flag == Some(EntryFlag::ImplausibleUsage) => return count.held,
        BudgetUnit::Requests => booking.usage.requests,
        _ => booking.usage.total_tokens(),
    };
    i64::try_from(used).unwrap_or(i64::MAX)
}

fn ended_at(reservation: &Reservation, now: Timestamp, ended: Ended) -> Option<(u64, i64)> {
    let latency = u64::try_from(now.since(reservation.created_at).as_micros()).unwrap_or(u64::MAX);
    Some((latency, ended as i64))
}

/// Gives back what a leg holds and books what was used of it; `cost` is that of a leg of money.
fn post(tx: &mut dyn Connection, reservation: &Reservation, leg: Leg, cost: Money) -> Result<()> {
    let (released, booked) = match leg.count {
        None => (reservation.held().nanos(), cost.nanos()),
        Some(count) => (count.held, count.used),
    };
    if matching::post(tx, leg, released, booked)? {
        return Ok(());
    }
    Err(Error::internal(format!("budget {} lost the window that a reservation holds", leg.budget)))
}

/// An entry that ends a reservation, without usage.
fn entry<'a>(
    kind: EntryKind,
    reservation: &'a Reservation,
    legs: &'a [Leg],
    amount: Option<Money>,
    released: Money,
) -> NewEntry<'a> {
    NewEntry {
        kind,
        reservation: reservation.id,
        call: reservation.call(),
        amount,
        released,
        legs,
        usage: None,
        flag: None,
        raw_usage: None,
        ended: None,
        reason: None,
        rated: Rated { version: reservation.price_version(), prices: false },
    }
}
