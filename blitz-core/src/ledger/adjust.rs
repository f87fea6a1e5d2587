//! Corrections: adjust and refund. An entry is never changed, another one is added.

use crate::domain::{
    Alert, BudgetUnit, Correction, EntryFlag, EntryKind, LedgerEntry, Money, ReservationId, Timestamp, Usage,
    UsageDetails,
};
use crate::error::{Error, ErrorCode, Result};
use crate::store::ledger::costs;
use crate::store::ledger::matching;
use crate::store::ledger::{self as sql, Count, Leg, NewEntry, Rated, Reservation, TokenChange};
use crate::store::sql::Connection;

use super::alert;
use super::settle::Booking;

/// The longest reason of a correction, in bytes.
const MAX_REASON: usize = 500;

/// The reason of what [`late`] books.
const LATE: &str = "late usage of the provider";

/// A correction as it was booked, and the alerts that it raised.
pub(crate) type Corrected = (LedgerEntry, Vec<Alert>);

/// Books a correction of what a call cost: late usage, a wrong price. It may be negative.
///
/// Errors: `NotFound` where no call was booked under this reservation; `InvalidInput` where the call
/// would come to less than nothing; `Conflict` where one of its windows is sealed.
pub(crate) fn adjust(tx: &mut dyn Connection, now: Timestamp, correction: &Correction) -> Result<Corrected> {
    correct(tx, now, EntryKind::Adjust, correction, correction.amount)
}

/// Gives back a part of what a call cost, or all of it. Errors: as [`adjust`].
pub(crate) fn refund(tx: &mut dyn Connection, now: Timestamp, correction: &Correction) -> Result<Corrected> {
    if correction.amount <= Money::ZERO || correction.tokens != 0 {
        return Err(Error::invalid("a refund is an amount of money above zero"));
    }
    correct(tx, now, EntryKind::Refund, correction, Money::ZERO.sub(correction.amount)?)
}

fn correct(
    tx: &mut dyn Connection,
    now: Timestamp,
    kind: EntryKind,
    correction: &Correction,
    amount: Money,
) -> Result<Corrected> {
    let reason = checked_reason(&correction.reason)?;
    if amount == Money::ZERO && correction.tokens == 0 {
        return Err(Error::invalid("a correction corrects something: give an amount or tokens"));
    }
    let reservation = sql::settled_reservation(tx, correction.reservation_id)?
        .ok_or_else(|| Error::not_found("no call was booked under this reservation"))?;
    let booked = costs::booked_of(tx, reservation.id)?;
    let after = booked.cost.add(amount)?;
    let tokens_after = booked.tokens.total().checked_add(correction.tokens).unwrap_or(i64::MAX);
    if after < Money::ZERO || tokens_after < 0 {
        return Err(Error::invalid(format!(
            "the call was booked at {}: it cannot come to less than nothing",
            booked.cost
        )));
    }
    let tokens = TokenChange::of_input(correction.tokens);
    let difference = Difference { amount, tokens, reason, rated: Rated::default(), late: None };
    let legs = legs(tx, &reservation, &difference)?;
    let alerts = book(tx, now, kind, &reservation, &difference, &legs)?;
    let entry = costs::last_of(tx, reservation.id)?.ok_or_else(|| Error::internal("an entry was not kept"))?;
    Ok((entry, alerts))
}

/// Books what a call really used, as its provider said behind its end, in the place of an estimate. Gives by how
/// much that differs, and the alerts; nothing where it does not, or where it cannot be booked any more.
pub(crate) fn late(
    tx: &mut dyn Connection,
    now: Timestamp,
    id: ReservationId,
    usage: &Usage,
) -> Result<Option<(Money, Vec<Alert>)>> {
    let Some(reservation) = sql::settled_reservation(tx, id)? else { return Ok(None) };
    let booked = costs::booked_of(tx, id)?;
    let usage = usage.with_delivered(u64::try_from(booked.tokens.output).unwrap_or(0));
    let booking = Booking::reported(&reservation, &usage, now);
    if matches!(booking.flag, Some(EntryFlag::ImplausibleUsage | EntryFlag::UnpricedPart)) {
        return Ok(None);
    }
    let amount = booking.cost.map_or(Ok(Money::ZERO), |cost| cost.sub(booked.cost))?;
    let tokens = TokenChange::between(&booked.tokens, &booking.usage);
    if amount == Money::ZERO && tokens == TokenChange::default() {
        return Ok(None);
    }
    let late = Some(&booking.usage.details);
    let difference = Difference { amount, tokens, reason: LATE, rated: Rated::default(), late };
    match legs(tx, &reservation, &difference) {
        Err(error) if error.code() == ErrorCode::Conflict => Ok(None),
        legs => {
            book(tx, now, EntryKind::Adjust, &reservation, &difference, &legs?).map(|alerts| Some((amount, alerts)))
        }
    }
}

/// What is booked beside what a call was settled at.
pub(super) struct Difference<'a> {
    pub(super) amount: Money,
    pub(super) tokens: TokenChange,
    pub(super) reason: &'a str,
    pub(super) rated: Rated,
    /// What of the usage has a price of its own, where it takes the place of an estimate.
    pub(super) late: Option<&'a UsageDetails>,
}

/// A reason as it is kept. Errors: `InvalidInput` for none, or for a long one.
pub(super) fn checked_reason(reason: &str) -> Result<&str> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > MAX_REASON {
        return Err(Error::invalid(format!("a correction has a reason of 1 to {MAX_REASON} bytes")));
    }
    Ok(reason)
}

/// The windows that a difference moves. Errors: `Conflict` where one of them is sealed.
pub(super) fn legs(tx: &mut dyn Connection, reservation: &Reservation, by: &Difference<'_>) -> Result<Vec<Leg>> {
    let mut legs = Vec::with_capacity(reservation.legs.len());
    for leg in &reservation.legs {
        let leg = match leg.count {
            None => *leg,
            Some(count) => {
                let used = if count.unit == BudgetUnit::Tokens { by.tokens.total() } else { 0 };
                Leg { count: Some(Count { held: 0, used, ..count }), ..*leg }
            }
        };
        if leg.count.map_or(by.amount.nanos(), |count| count.used) == 0 {
            continue;
        }
        if leg.start < crate::store::ledger::budgets::sealed_before(tx, leg.budget)? {
            return Err(Error::conflict(format!(
                "the window of budget {} is sealed: nothing is corrected in it",
                leg.budget
            )));
        }
        legs.push(leg);
    }
    Ok(legs)
}

/// Books a difference on these windows and writes it down; gives the alerts that it raised.
pub(super) fn book(
    tx: &mut dyn Connection,
    now: Timestamp,
    kind: EntryKind,
    reservation: &Reservation,
    by: &Difference<'_>,
    legs: &[Leg],
) -> Result<Vec<Alert>> {
    let entry = NewEntry {
        kind,
        reservation: reservation.id,
        call: reservation.call(),
        amount: Some(by.amount),
        released: Money::ZERO,
        legs,
        usage: None,
        flag: by.late.map(|_| EntryFlag::LateUsage),
        raw_usage: None,
        ended: None,
        reason: Some(by.reason),
        rated: by.rated,
    };
    let mut alerts = Vec::new();
    for &leg in legs {
        let units = leg.count.map_or(by.amount.nanos(), |count| count.used);
        if !matching::post(tx, leg, 0, units)? {
            return Err(Error::invalid(format!("budget {} would have counted less than nothing", leg.budget)));
        }
        if units > 0 {
            alerts.extend(alert::raise(tx, now, leg, units)?);
        }
    }
    sql::append_corrected(tx, now, &entry, &by.tokens, by.late)?;
    Ok(alerts)
}
