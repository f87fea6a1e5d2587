//! Rating calls anew by a version of prices: differences are booked, entries are never changed.

use super::adjust::{self, Difference};
use super::{MAX_CALL_COST, price};
use crate::domain::{Alert, EntryKind, Meters, Money, Price, Provenance, Rerate, Rerated, ReservationId, Timestamp};
use crate::error::{Error, ErrorCode, Result};
use crate::store::ledger::costs::{self, Ratable};
use crate::store::ledger::{self as sql, Rated, Reservation, TokenChange};
use crate::store::{Connection, prices};

/// How many calls one transaction rates: each may write an entry, its windows and an alert.
const SLICE: u32 = 100;

/// What one transaction rated.
pub(crate) struct Slice {
    pub(crate) done: Rerated,
    /// The place of the rest, where there is any.
    pub(crate) next: Option<i64>,
    /// The alerts that it raised.
    pub(crate) alerts: Vec<Alert>,
}

/// Rates the next calls behind a place anew.
///
/// Errors: `NotFound` where there is no such version; `InvalidInput` without a reason.
pub(crate) fn rerate(tx: &mut dyn Connection, now: Timestamp, asked: &Rerate, after: i64) -> Result<Slice> {
    let reason = adjust::checked_reason(&asked.reason)?;
    let version = match asked.version {
        Some(version) if prices::is_version(tx, version)? => version,
        Some(version) => return Err(Error::not_found(format!("there is no version {version} of prices"))),
        None => prices::version_at(tx, now)?
            .ok_or_else(|| Error::not_found("no prices were imported: import them first"))?,
    };
    let mut done = Rerated { version, ..Rerated::default() };
    let mut alerts = Vec::new();
    let ids = costs::settled_like(tx, asked, after, SLICE)?;
    for &id in &ids {
        done.calls += 1;
        match one(tx, now, id, version, reason, asked.dry_run)? {
            Verdict::Same => {}
            Verdict::Unlisted => done.unlisted += 1,
            Verdict::Sealed => done.sealed += 1,
            Verdict::Changed(amount, raised) => {
                done.changed += 1;
                alerts.extend(raised);
                done.amount = done.amount.add(amount)?;
            }
        }
    }
    let more = ids.len() == SLICE as usize;
    Ok(Slice { done, next: ids.last().map(|id| id.0).filter(|_| more), alerts })
}

enum Verdict {
    Same,
    Unlisted,
    Sealed,
    Changed(Money, Vec<Alert>),
}

fn one(
    tx: &mut dyn Connection,
    now: Timestamp,
    id: ReservationId,
    version: i64,
    reason: &str,
    dry_run: bool,
) -> Result<Verdict> {
    let Some(reservation) = sql::settled_reservation(tx, id)? else { return Ok(Verdict::Unlisted) };
    let Some(listing) = &reservation.listing else { return Ok(Verdict::Unlisted) };
    let Some(price) = price::in_version(tx, Some(version), listing)? else { return Ok(Verdict::Unlisted) };
    let Some(ratable) = costs::ratable(tx, id)? else { return Ok(Verdict::Unlisted) };
    // What is booked by a bound is bound at the class that was asked for, as money was held for it. A call
    // that had no price is of no price either that does not name the class it asked for.
    let asked = listing.service_tier;
    let class = if by_bound(&ratable) { asked } else { ratable.usage.details.service_tier };
    if !price.names(class) || (reservation.price.is_none() && !price.names(asked)) {
        return Ok(Verdict::Unlisted);
    }
    let (details, used) = (&ratable.usage.details, Meters::used(&ratable.usage.details));
    let has_other_part = ratable.has_unpriced_part && used == Meters::default();
    if details.other_tools || has_other_part || used.without_rate(&price).is_some() {
        return Ok(Verdict::Unlisted);
    }
    let price = price.asked_at(reservation.price.as_ref().map_or(asked, |price| price.service_tier));
    let Some(cost) = cost(&reservation, &ratable, &price) else { return Ok(Verdict::Unlisted) };
    // What a person gave back is not given back twice.
    let amount = cost.sub(ratable.rated)?.max(Money::ZERO.sub(ratable.booked)?);
    if amount == Money::ZERO && !ratable.is_unpriced {
        return Ok(Verdict::Same);
    }
    let difference = Difference {
        amount,
        tokens: TokenChange::default(),
        reason,
        rated: Rated { version: Some(version), prices: ratable.is_unpriced },
        late: None,
    };
    let legs = match adjust::legs(tx, &reservation, &difference) {
        Err(error) if error.code() == ErrorCode::Conflict => return Ok(Verdict::Sealed),
        legs => legs?,
    };
    let alerts = match dry_run {
        true => Vec::new(),
        false => adjust::book(tx, now, EntryKind::Adjust, &reservation, &difference, &legs)?,
    };
    Ok(Verdict::Changed(amount, alerts))
}

/// Whether nobody knows what a call used, or nobody believes it.
fn by_bound(ratable: &Ratable) -> bool {
    ratable.is_implausible || ratable.usage.provenance == Provenance::Estimated
}

/// What a call costs at a price, by the rules of its settle; `None` where that is beyond all reason.
fn cost(reservation: &Reservation, ratable: &Ratable, price: &Price) -> Option<Money> {
    let bound = |input, output| price.upper_bound_with(input, output, &reservation.beside).ok();
    let cost = match ratable.usage.provenance {
        Provenance::Estimated => bound(ratable.usage.input_tokens, ratable.usage.output_tokens),
        _ if ratable.is_implausible => bound(reservation.input_bound, reservation.output_cap),
        _ => price.at(ratable.settled_at).cost(&ratable.usage).ok(),
    };
    cost.filter(|cost| *cost <= MAX_CALL_COST)
}
