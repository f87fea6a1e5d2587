//! Reserve: check every budget, then hold the most a call can cost on each.

use super::{MAX_CALL_COST, ReserveOutcome, ReserveRequest, Reserved};
use crate::domain::{EntryKind, Money, Price, Timestamp};
use crate::error::{Error, ErrorCode, Result, budget_exceeded};
use crate::store::ledger::{self as sql, Call, Leg, MatchedBudget, NewEntry, NewReservation};
use crate::store::sql::Connection;

/// A clamped cap is not lowered below this: fewer tokens are no answer.
const MIN_CLAMPED_OUTPUT: u64 = 16;

/// The least that a call with a price can cost; so an exhausted budget stops each of them.
const LEAST: Money = Money::from_nanos(1);

/// Holds the most a call can cost on every budget that counts it, or refuses and writes nothing.
///
/// A model that is free passes any budget; one whose price is unknown is refused where a hard
/// budget with a limit counts it. Soft budgets count and never refuse. Errors: `Conflict` where
/// this attempt has a reservation already: a call may not be paid twice.
pub(crate) fn reserve(
    tx: &mut dyn Connection,
    now: Timestamp,
    boot_id: &str,
    request: &ReserveRequest,
) -> Result<ReserveOutcome> {
    // What is free touches no budget, so none is asked.
    let budgets = match &request.price {
        Some(price) if price.is_free() => Vec::new(),
        _ => sql::matching_budgets(tx, request.user_id, request.root_id, request.execution_id)?,
    };
    match estimate(request, &budgets) {
        Ok(estimate) => write(tx, now, boot_id, request, &budgets, estimate).map(ReserveOutcome::Reserved),
        Err(refusal) => Ok(ReserveOutcome::Refused(refusal)),
    }
}

/// What is held for a call, and the output cap that this pays for.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    amount: Option<Money>,
    output_cap: u64,
}

/// The worst case of a call. `Err` is the refusal: nothing else can fail here.
fn estimate(request: &ReserveRequest, budgets: &[MatchedBudget]) -> Result<Estimate> {
    let whole = |amount| Estimate { amount, output_cap: request.output_cap };
    match &request.price {
        Some(price) if price.is_free() => Ok(whole(Some(Money::ZERO))),
        Some(price) => priced(request, price, budgets),
        None => match budgets.iter().find(|budget| left(budget).is_some()) {
            Some(budget) => Err(unpriced(request, budget)),
            None => Ok(whole(None)),
        },
    }
}

fn priced(request: &ReserveRequest, price: &Price, budgets: &[MatchedBudget]) -> Result<Estimate> {
    let headroom = budgets.iter().filter_map(room).min().unwrap_or(MAX_CALL_COST).min(MAX_CALL_COST);
    let bound = |output_cap| price.upper_bound(request.input_bound, output_cap).map(|amount| amount.max(LEAST));
    let held = |output_cap| match bound(output_cap) {
        Ok(amount) if amount <= headroom => Some(Estimate { amount: Some(amount), output_cap }),
        _ => None,
    };
    if let Some(estimate) = held(request.output_cap) {
        return Ok(estimate);
    }
    let smallest = if request.clamp { MIN_CLAMPED_OUTPUT.min(request.output_cap) } else { request.output_cap };
    let paid_for = price.output_within(request.input_bound, headroom).unwrap_or(0).min(request.output_cap);
    match held(paid_for).filter(|_| request.clamp && paid_for >= smallest) {
        Some(estimate) => Ok(estimate),
        None => Err(refusal(budgets, bound(smallest).unwrap_or(Money::MAX))),
    }
}

/// What a hard budget has left; `None` for one that refuses nothing.
fn left(budget: &MatchedBudget) -> Option<Money> {
    let limit = budget.limit.filter(|_| budget.hard)?;
    let spent = budget.posted.saturating_add(budget.pending);
    Some(limit.sub(spent).unwrap_or(Money::ZERO).max(Money::ZERO))
}

/// What may still be held on a budget's window: what is left of its limit, else of the largest amount.
fn room(budget: &MatchedBudget) -> Option<Money> {
    left(budget).or_else(|| Money::MAX.sub(budget.posted.saturating_add(budget.pending)).ok())
}

fn refusal(budgets: &[MatchedBudget], needed: Money) -> Error {
    let least = needed.min(MAX_CALL_COST);
    let refusing =
        budgets.iter().find_map(|budget| room(budget).filter(|room| *room < least).map(|room| (budget, room)));
    match refusing {
        Some((budget, _)) if budget.is_cap => cost_limit(budget),
        Some((budget, room)) => budget_exceeded(budget.leg.0, budget.limit.unwrap_or(Money::MAX), room, needed, None),
        None => Error::invalid(format!(
            "the call may cost more than {MAX_CALL_COST}, the most that one call is given: lower its output cap"
        )),
    }
}

/// The cap of an execution is a limit of its agent, not a budget that the user can look up.
fn cost_limit(cap: &MatchedBudget) -> Error {
    Error::LimitExceeded { limit: "cost", value: cap.limit.unwrap_or(Money::MAX).to_string() }
}

fn unpriced(request: &ReserveRequest, budget: &MatchedBudget) -> Error {
    let counted_by =
        if budget.is_cap { "a cost limit".to_owned() } else { format!("the hard budget {}", budget.leg.0) };
    let message =
        format!("the price of model {} is unknown and {counted_by} counts it: give the model a price", request.model);
    let id = (!budget.is_cap).then_some(budget.leg.0);
    Error::new(ErrorCode::BudgetExceeded, message)
        .with_details(serde_json::json!({"budget": id, "model": request.model}))
}

/// Writes what was checked: nothing can have come between, for one transaction holds the writer.
fn write(
    tx: &mut dyn Connection,
    now: Timestamp,
    boot_id: &str,
    request: &ReserveRequest,
    budgets: &[MatchedBudget],
    Estimate { amount, output_cap }: Estimate,
) -> Result<Reserved> {
    let call = Call {
        execution_id: request.execution_id,
        root_id: request.root_id,
        user_id: request.user_id,
        model: &request.model,
        provider: &request.provider,
        attempt: request.attempt,
    };
    let legs: Vec<Leg> = if amount.is_some() { budgets.iter().map(|budget| budget.leg).collect() } else { Vec::new() };
    let reservation = NewReservation {
        call,
        path: &request.path,
        price: request.price.as_ref(),
        input_bound: request.input_bound,
        output_cap,
        amount,
        boot_id,
    };
    let id = sql::insert_reservation(tx, now, &reservation, &legs)?.ok_or_else(|| {
        Error::conflict(format!("attempt {} of step {} has a reservation already", request.attempt, request.path))
    })?;
    if let Some(amount) = amount {
        hold(tx, budgets, amount)?;
    }
    let entry = NewEntry {
        kind: EntryKind::Reserve,
        reservation: id,
        call,
        amount,
        released: Money::ZERO,
        legs: &legs,
        usage: None,
        flag: None,
        raw_usage: None,
    };
    sql::append(tx, now, &entry)?;
    Ok(Reserved { id, amount, output_cap })
}

fn hold(tx: &mut dyn Connection, budgets: &[MatchedBudget], amount: Money) -> Result<()> {
    for budget in budgets {
        let limit = budget.limit.filter(|_| budget.hard).unwrap_or(Money::MAX);
        if !sql::hold(tx, budget.leg, amount, limit)? {
            return Err(Error::internal(format!("budget {} has less room than it had a moment ago", budget.leg.0)));
        }
    }
    Ok(())
}
