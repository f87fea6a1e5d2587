//! Reserve: check every budget, then hold the most a call can use on each.

use super::window::{self, Window};
use super::{Follow, MAX_CALL_COST, MAX_CALL_TOKENS, Refusal, ReserveOutcome, ReserveRequest, Reserved};
use crate::domain::{Amount, BudgetUnit, EntryKind, Meter, Money, OnExceed, OnUnpriced, Price, Timestamp};
use crate::error::{Error, ErrorCode, Result};
use crate::store::ledger::matching::{self, Caller, MatchedBudget};
use crate::store::ledger::{self as sql, Call, Count, Leg, NewEntry, NewReservation, Rated};
use crate::store::sql::Connection;

/// A clamped cap is not lowered below this: fewer tokens are no answer.
const MIN_CLAMPED_OUTPUT: u64 = 16;

/// The least that a call with a price can cost; so an exhausted budget stops each of them.
const LEAST: Money = Money::from_nanos(1);

/// Holds the most a call can use on every budget that counts it, or refuses and writes nothing.
///
/// A model that is free passes any budget of money; one whose price is unknown is refused where a
/// hard budget of money with a limit counts it, unless that lets it pass. Soft budgets count and
/// never refuse. Errors: `Conflict` where this attempt has a reservation already: a call may not be
/// paid twice.
pub(crate) fn reserve(
    tx: &mut dyn Connection,
    now: Timestamp,
    boot_id: &str,
    request: &ReserveRequest,
) -> Result<ReserveOutcome> {
    let price = match &request.price {
        Some(price) if price.is_free() => Pricing::Free,
        Some(price) => Pricing::Known(price),
        None => Pricing::Unknown,
    };
    let counting = match counting(tx, now, request, &price)? {
        Ok(counting) => counting,
        Err(refusal) => return Ok(ReserveOutcome::Refused(refusal)),
    };
    match estimate(request, &price, &counting) {
        Ok(estimate) => write(tx, now, boot_id, request, counting, estimate).map(ReserveOutcome::Reserved),
        Err(refusal) => Ok(ReserveOutcome::Refused(refusal)),
    }
}

/// What a call costs, as far as that is known.
enum Pricing<'a> {
    Free,
    Known(&'a Price),
    Unknown,
}

/// A budget that counts a call, and the window that it counts it in.
struct Counting {
    budget: MatchedBudget,
    window: Window,
}

/// The budgets that count a call. `Err` is a refusal: a window cannot be told.
fn counting(
    tx: &mut dyn Connection,
    now: Timestamp,
    request: &ReserveRequest,
    price: &Pricing<'_>,
) -> Result<Result<Vec<Counting>, Refusal>> {
    // What is free asks no budget of money; without a quota none at all.
    let free = matches!(price, Pricing::Free);
    if free && !matching::any_quota(tx)? {
        return Ok(Ok(Vec::new()));
    }
    let caller = Caller { call: call(request), agents: &request.agents };
    let mut counting = Vec::new();
    for budget in matching::matching_budgets(tx, now, &caller)? {
        if free && budget.unit == BudgetUnit::Usd {
            continue;
        }
        match window::current(tx, now, &budget) {
            Ok(window) => counting.push(Counting { budget, window }),
            // Only what is hard stops a call over it.
            Err(error) if error.code() == ErrorCode::InvalidInput && budget.hard => {
                let error = Error::new(ErrorCode::BudgetExceeded, format!("budget {}: {error}", budget.id));
                return Ok(Err(Refusal { error: Box::new(error), follow: Follow::Deny }));
            }
            Err(error) if error.code() == ErrorCode::InvalidInput => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(counting))
}

/// What is held for a call, and the output cap that this pays for.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    amount: Option<Money>,
    output_cap: u64,
}

/// The worst case of a call. `Err` is the refusal: nothing else can fail here.
fn estimate(request: &ReserveRequest, price: &Pricing<'_>, counting: &[Counting]) -> Result<Estimate, Refusal> {
    let smallest = if request.clamp { MIN_CLAMPED_OUTPUT.min(request.output_cap) } else { request.output_cap };
    let output_cap = within_quotas(request, smallest, counting)?;
    match price {
        Pricing::Free => Ok(Estimate { amount: Some(Money::ZERO), output_cap }),
        Pricing::Known(price) => {
            if request.metered.at_most.other_tools || request.metered.may.without_rate(price).is_some() {
                known(request, counting)?;
            }
            priced(request, price, smallest, output_cap, counting)
        }
        Pricing::Unknown => {
            known(request, counting)?;
            Ok(Estimate { amount: None, output_cap })
        }
    }
}

/// `Err` where a budget counts a call that refuses what nobody can price.
fn known(request: &ReserveRequest, counting: &[Counting]) -> Result<(), Refusal> {
    let refusing = counting.iter().find(|counting| {
        let Counting { budget, .. } = counting;
        budget.unit == BudgetUnit::Usd && left(counting).is_some() && budget.on_unpriced == OnUnpriced::Refuse
    });
    refusing.map_or(Ok(()), |Counting { budget, .. }| Err(unpriced(request, budget)))
}

/// The output cap that the quotas leave. `Err` is the refusal of one that has no room.
fn within_quotas(request: &ReserveRequest, smallest: u64, counting: &[Counting]) -> Result<u64, Refusal> {
    let mut cap = request.output_cap;
    for counting in counting {
        let (Some(left), unit) = (left(counting), counting.budget.unit) else { continue };
        let left = u64::try_from(left).unwrap_or(0);
        match unit {
            BudgetUnit::Usd => {}
            BudgetUnit::Requests if left >= 1 => {}
            BudgetUnit::Tokens if left >= request.input_bound.saturating_add(smallest) => {
                cap = cap.min((left - request.input_bound).max(smallest));
            }
            BudgetUnit::Tokens | BudgetUnit::Requests => {
                return Err(refusal(request, smallest, Money::ZERO, vec![counting]));
            }
        }
        if !request.clamp && cap < request.output_cap {
            return Err(refusal(request, smallest, Money::ZERO, vec![counting]));
        }
    }
    Ok(cap)
}

fn priced(
    request: &ReserveRequest,
    price: &Price,
    smallest: u64,
    output_cap: u64,
    counting: &[Counting],
) -> Result<Estimate, Refusal> {
    let of_money: Vec<&Counting> = counting.iter().filter(|counting| counting.budget.unit == BudgetUnit::Usd).collect();
    let headroom = of_money.iter().map(|counting| Money::from_nanos(room(counting))).min();
    let headroom = headroom.unwrap_or(MAX_CALL_COST).min(MAX_CALL_COST);
    let (input, beside) = (request.input_bound, &request.metered.at_most);
    let bound = |output_cap| price.upper_bound_with(input, output_cap, beside).map(|amount| amount.max(LEAST));
    let held = |output_cap| match bound(output_cap) {
        Ok(amount) if amount <= headroom => Some(Estimate { amount: Some(amount), output_cap }),
        _ => None,
    };
    if let Some(estimate) = held(output_cap) {
        return Ok(estimate);
    }
    let paid_for = price.output_within_with(input, beside, headroom).unwrap_or(0).min(output_cap);
    match held(paid_for).filter(|_| request.clamp && paid_for >= smallest) {
        Some(estimate) => Ok(estimate),
        None => Err(refusal(request, smallest, bound(smallest).unwrap_or(Money::MAX), of_money)),
    }
}

/// What a hard budget has left, in its unit; `None` for one that refuses nothing.
fn left(Counting { budget, window }: &Counting) -> Option<i64> {
    let limit = budget.limit.filter(|_| budget.hard)?;
    Some(limit.saturating_sub(window.counted).max(0))
}

/// What may still be held on a budget's window: what is left of its limit, else of the largest amount.
fn room(counting: &Counting) -> i64 {
    left(counting).unwrap_or_else(|| i64::MAX.saturating_sub(counting.window.counted))
}

/// What a call needs at least of a budget, in its unit.
fn needed(request: &ReserveRequest, smallest: u64, money: Money, unit: BudgetUnit) -> i64 {
    match unit {
        BudgetUnit::Usd => money.nanos(),
        BudgetUnit::Tokens => i64::try_from(request.input_bound.saturating_add(smallest)).unwrap_or(i64::MAX),
        BudgetUnit::Requests => 1,
    }
}

fn refusal(request: &ReserveRequest, smallest: u64, money: Money, counting: Vec<&Counting>) -> Refusal {
    let mut follow = None;
    let mut named = None;
    for counting in counting {
        let needed = needed(request, smallest, money, counting.budget.unit);
        if room(counting) >= needed.min(MAX_CALL_COST.nanos()) {
            continue;
        }
        named.get_or_insert((counting, needed));
        let wish = wish(&counting.budget);
        // The sternest of those that refuse decides.
        follow = Some(match (follow.take(), wish) {
            (None, wish) => wish,
            (Some(Follow::Deny), _) | (_, Follow::Deny) => Follow::Deny,
            (Some(Follow::Ask), _) | (_, Follow::Ask) => Follow::Ask,
            (Some(before), _) => before,
        });
    }
    let error = match named {
        Some((Counting { budget, .. }, _)) if budget.is_cap => cost_limit(budget),
        Some((counting, needed)) => exceeded(counting, needed),
        None => Error::invalid(format!(
            "the call may cost more than {MAX_CALL_COST}, the most that one call is given: lower its output cap"
        )),
    };
    Refusal { error: Box::new(error), follow: follow.unwrap_or(Follow::Deny) }
}

fn wish(budget: &MatchedBudget) -> Follow {
    match budget.on_exceed {
        _ if budget.is_cap => Follow::Deny,
        OnExceed::Deny => Follow::Deny,
        OnExceed::Ask => Follow::Ask,
        OnExceed::Downgrade => Follow::Downgrade(budget.downgrade_to.clone()),
    }
}

fn exceeded(counting: &Counting, needed: i64) -> Error {
    let Counting { budget, window } = counting;
    let shown = |units| Amount::of(budget.unit, units).to_string();
    Error::BudgetExceeded {
        budget: budget.id,
        limit: shown(budget.limit.unwrap_or(i64::MAX)),
        left: shown(room(counting)),
        needed: shown(needed),
        resets_at: window.resets_at,
    }
}

/// The cap of an execution is a limit of its agent, not a budget that the user can look up.
fn cost_limit(cap: &MatchedBudget) -> Error {
    Error::LimitExceeded { limit: "cost", value: Money::from_nanos(cap.limit.unwrap_or(i64::MAX)).to_string() }
}

fn unpriced(request: &ReserveRequest, budget: &MatchedBudget) -> Refusal {
    let counted_by = if budget.is_cap { "a cost limit".to_owned() } else { format!("the hard budget {}", budget.id) };
    let model = &request.model;
    let message = match &request.price {
        None => format!("the price of model {model} is unknown and {counted_by} counts it: give the model a price"),
        Some(price) => match request.metered.may.without_rate(price).map(Meter::field) {
            Some(field) => format!(
                "the call of model {model} may use what its price has no rate for and {counted_by} counts it: give the \
                 price a rate for `{field}`"
            ),
            None => format!(
                "the call of model {model} lets the provider run tools whose price no report tells and {counted_by} \
                 counts it: take them out of settings.extra"
            ),
        },
    };
    let id = (!budget.is_cap).then_some(budget.id);
    let error = Error::new(ErrorCode::BudgetExceeded, message)
        .with_details(serde_json::json!({"budget": id, "model": request.model}));
    Refusal { error: Box::new(error), follow: wish(budget) }
}

fn call(request: &ReserveRequest) -> Call<'_> {
    Call {
        execution_id: request.execution_id,
        root_id: request.root_id,
        user_id: request.user_id,
        role: request.role.as_deref(),
        key_id: request.key_id,
        agent_id: request.agents.first().copied(),
        workflow_id: request.workflow_id,
        prompt: request.prompt.as_deref(),
        model: &request.model,
        provider: &request.provider,
        service: request.service.as_deref(),
        attempt: request.attempt,
    }
}

/// Writes what was checked: nothing can have come between, for one transaction holds the writer.
fn write(
    tx: &mut dyn Connection,
    now: Timestamp,
    boot_id: &str,
    request: &ReserveRequest,
    counting: Vec<Counting>,
    Estimate { amount, output_cap }: Estimate,
) -> Result<Reserved> {
    let tokens = request.input_bound.saturating_add(output_cap).min(2 * MAX_CALL_TOKENS);
    let mut legs = Vec::with_capacity(counting.len());
    let mut holds = Vec::with_capacity(counting.len());
    for Counting { budget, window } in counting {
        let held = match budget.unit {
            // Nothing of what nobody can price; the window is named all the same, for the day it gets a price.
            BudgetUnit::Usd => amount.map_or(0, Money::nanos),
            BudgetUnit::Tokens => i64::try_from(tokens).unwrap_or(i64::MAX),
            BudgetUnit::Requests => 1,
        };
        let scope_id = match budget.scope_id {
            Some(id) => id,
            None => matching::number_of(tx, named(request, &budget))?,
        };
        let count = (budget.unit != BudgetUnit::Usd).then_some(Count { unit: budget.unit, held, used: 0 });
        let leg = Leg { count, ..Leg::money(budget.id, scope_id, window.start) };
        // What was let pass without a price asks for no room.
        let asks = budget.hard && window.is_whole && held > 0;
        let limit = budget.limit.filter(|_| asks).unwrap_or(i64::MAX);
        legs.push(leg);
        holds.push((leg, held, limit));
    }
    let call = call(request);
    let reservation = NewReservation {
        call,
        path: &request.path,
        price: request.price.as_ref(),
        listing: request.listing.as_ref(),
        input_bound: request.input_bound,
        output_cap,
        beside: &request.metered.at_most,
        amount,
        boot_id,
    };
    let id = sql::insert_reservation(tx, now, &reservation, &legs)?.ok_or_else(|| {
        Error::conflict(format!("attempt {} of step {} has a reservation already", request.attempt, request.path))
    })?;
    for (leg, held, limit) in holds {
        if !matching::hold(tx, leg, held, limit)? {
            return Err(Error::internal(format!("budget {} has less room than it had a moment ago", leg.budget)));
        }
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
        ended: None,
        reason: None,
        rated: Rated::default(),
    };
    sql::append(tx, now, &entry)?;
    Ok(Reserved { id, amount, output_cap })
}

/// The name whose first window this is.
fn named<'a>(request: &'a ReserveRequest, budget: &MatchedBudget) -> &'a str {
    use crate::domain::BudgetScope;
    match budget.scope {
        BudgetScope::Role => request.role.as_deref().unwrap_or_default(),
        BudgetScope::Provider => request.service.as_ref().filter(|_| budget.by_service).unwrap_or(&request.provider),
        _ => &request.model,
    }
}
