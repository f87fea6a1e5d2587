//! Budgets as records: put, edit, list. An edit applies to the next reserve.

use serde_json::Value;

use super::window;
use crate::domain::{
    Amount, Budget, BudgetId, BudgetPeriod, BudgetRaise, BudgetRevision, BudgetScope, BudgetWindow, ExecutionId,
    ListOptions, Money, NewBudget, OnExceed, Page, Patch, Timestamp,
};
use crate::error::{Error, Result};
use crate::store::catalog::shown;
use crate::store::ledger::budgets as sql;
use crate::store::sql::Connection;

/// The longest name of a budget, in bytes.
const MAX_NAME: usize = 200;
/// The most thresholds of a budget.
const MAX_THRESHOLDS: usize = 20;
/// The highest threshold, in percent of the limit.
const MAX_PERCENT: u32 = 1000;

/// Makes a budget. Errors: `InvalidInput`; `Conflict` where its name is taken.
pub(crate) fn create_budget(tx: &mut dyn Connection, now: Timestamp, new: &NewBudget) -> Result<Budget> {
    let spec = checked(new.clone())?;
    let id = sql::insert(tx, now, &spec)?.ok_or_else(|| taken(&spec.name))?;
    get_budget(tx, id)
}

/// Makes a budget, or gives the one of this name these fields; nothing changes where they are the same.
///
/// Errors: `InvalidInput`; `Conflict` where it would count users instead of executions or the reverse.
pub(crate) fn put_budget(tx: &mut dyn Connection, now: Timestamp, new: &NewBudget) -> Result<Budget> {
    match sql::find(tx, &new.name)? {
        Some(budget) => replace(tx, now, budget, new.clone()),
        None => create_budget(tx, now, new),
    }
}

/// Changes some fields of a budget by a merge patch.
///
/// Errors: `NotFound`; `InvalidInput`; `Conflict` where the new name is taken or the scope would change.
pub(crate) fn update_budget(tx: &mut dyn Connection, now: Timestamp, id: BudgetId, patch: &Patch) -> Result<Budget> {
    let budget = get_budget(tx, id)?;
    let spec = patched(&budget.spec, patch)?;
    if spec.name != budget.spec.name && sql::find(tx, &spec.name)?.is_some() {
        return Err(taken(&spec.name));
    }
    replace(tx, now, budget, spec)
}

/// Ends a budget: it counts nothing more and its name is free. Errors: `NotFound`.
pub(crate) fn delete_budget(tx: &mut dyn Connection, now: Timestamp, id: BudgetId) -> Result<()> {
    if sql::delete(tx, now, id)? { Ok(()) } else { Err(missing(id)) }
}

/// A budget by its id. Errors: `NotFound`.
pub(crate) fn get_budget(tx: &mut dyn Connection, id: BudgetId) -> Result<Budget> {
    sql::get(tx, id)?.ok_or_else(|| missing(id))
}

/// A budget by its name. Errors: `NotFound`.
pub(crate) fn find_budget(tx: &mut dyn Connection, name: &str) -> Result<Budget> {
    sql::find(tx, name)?.ok_or_else(|| Error::not_found(format!("there is no budget {}", shown(name))))
}

/// The budget of a name, where there is one.
pub(crate) fn named_budget(tx: &mut dyn Connection, name: &str) -> Result<Option<Budget>> {
    sql::find(tx, name)
}

/// A page of the budgets, in order of id. Errors: `InvalidInput` for a cursor that no page gave.
pub(crate) fn list_budgets(tx: &mut dyn Connection, options: &ListOptions) -> Result<Page<Budget>> {
    page(options, |after, limit| sql::list(tx, BudgetId(after), limit), |budget| budget.id.0)
}

/// A page of what a budget has counted, for each user, execution …, in order of their ids and of time.
///
/// Errors: `NotFound`; `InvalidInput` for a cursor that no page gave.
pub(crate) fn list_windows(tx: &mut dyn Connection, id: BudgetId, options: &ListOptions) -> Result<Page<BudgetWindow>> {
    get_budget(tx, id)?;
    let bad = || Error::invalid("the cursor is none that a page of windows gave");
    let after = match options.cursor.as_deref().map(|cursor| cursor.split_once(':').ok_or_else(bad)).transpose()? {
        None => (i64::MIN, Timestamp(i64::MIN)),
        Some((scope, start)) => (scope.parse().map_err(|_| bad())?, Timestamp(start.parse().map_err(|_| bad())?)),
    };
    let limit = options.limit.clamp(1, ListOptions::MAX_LIMIT);
    let mut items = sql::windows_of(tx, id, after, limit + 1)?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(|last| format!("{}:{}", last.scope_id, last.window_start.0));
    Ok(Page::new(items, next))
}

/// A page of what a budget said from one change to the next. Errors: `NotFound`; `InvalidInput`.
pub(crate) fn list_revisions(
    tx: &mut dyn Connection,
    id: BudgetId,
    options: &ListOptions,
) -> Result<Page<BudgetRevision>> {
    get_budget(tx, id)?;
    page(options, |after, limit| sql::revisions(tx, id, after, limit), |revision| i64::from(revision.revision))
}

/// Lets every window of a budget begin anew from now on; the old ones stay as they are.
///
/// Errors: `NotFound`.
pub(crate) fn reset_budget(tx: &mut dyn Connection, now: Timestamp, id: BudgetId) -> Result<Budget> {
    get_budget(tx, id)?;
    // Behind a clock that was ahead, the new windows still begin behind the old ones.
    let newest = sql::newest_start(tx, id)?.map_or(now, |start| Timestamp(start.0.saturating_add(1)));
    sql::set_epoch(tx, id, now.max(newest))?;
    get_budget(tx, id)
}

/// Seals the windows of a budget that begin before a moment. Errors: `NotFound`; `InvalidInput` for
/// a moment to come.
pub(crate) fn seal_budget(tx: &mut dyn Connection, now: Timestamp, id: BudgetId, before: Timestamp) -> Result<Budget> {
    if before > now {
        return Err(Error::invalid("a window that has not begun cannot be sealed"));
    }
    get_budget(tx, id)?;
    sql::seal(tx, id, before)?;
    get_budget(tx, id)
}

/// Gives a budget more room between two moments. Errors: `NotFound`; `InvalidInput`.
pub(crate) fn raise_budget(
    tx: &mut dyn Connection,
    id: BudgetId,
    amount: Amount,
    (from, until): (Timestamp, Timestamp),
    reason: &str,
) -> Result<BudgetRaise> {
    let budget = get_budget(tx, id)?;
    let amount = amount.in_unit(budget.spec.unit)?;
    if amount.units() <= 0 || until <= from {
        return Err(Error::invalid("a raise is an amount above zero, from one moment until a later one"));
    }
    let raise = BudgetRaise { id: 0, budget_id: id, amount, from, until, reason: reason.trim().to_owned() };
    if raise.reason.is_empty() || raise.reason.len() > MAX_NAME {
        return Err(Error::invalid(format!("a raise has a reason of 1 to {MAX_NAME} bytes")));
    }
    let id = sql::insert_raise(tx, &raise)?.ok_or_else(|| Error::internal("a raise was not kept"))?;
    Ok(BudgetRaise { id, ..raise })
}

/// A page of a budget's raises, those that are over too. Errors: `NotFound`; `InvalidInput`.
pub(crate) fn list_raises(tx: &mut dyn Connection, id: BudgetId, options: &ListOptions) -> Result<Page<BudgetRaise>> {
    let unit = get_budget(tx, id)?.spec.unit;
    page(options, |after, limit| sql::raises(tx, id, unit, after, limit), |raise| raise.id)
}

/// The newest raises of a budget, as the trail holds one state against the next. Errors: `NotFound`.
pub(crate) fn newest_raises(tx: &mut dyn Connection, id: BudgetId) -> Result<Vec<BudgetRaise>> {
    let unit = get_budget(tx, id)?.spec.unit;
    sql::newest_raises(tx, id, unit)
}

/// Ends a budget's raises now. Errors: `NotFound`.
pub(crate) fn end_raises(tx: &mut dyn Connection, now: Timestamp, id: BudgetId) -> Result<usize> {
    get_budget(tx, id)?;
    sql::end_raises(tx, id, now)
}

/// Holds an execution with its children to a cost, as its agent's limits say: a hard budget that no list shows.
///
/// Errors: `InvalidInput` for a negative limit.
pub(crate) fn cap_execution(tx: &mut dyn Connection, now: Timestamp, id: ExecutionId, limit: Money) -> Result<()> {
    sql::insert_cap(tx, now, id, not_negative(limit)?)
}

fn replace(tx: &mut dyn Connection, now: Timestamp, budget: Budget, spec: NewBudget) -> Result<Budget> {
    let spec = checked(spec)?;
    if spec == budget.spec {
        return Ok(budget);
    }
    // A window is found by the id of what it counts: user 7 may not inherit what execution 7 spent.
    let counts =
        |spec: &NewBudget| (spec.scope, spec.unit, spec.period, spec.hours, spec.time_zone.clone(), spec.model.clone());
    if counts(&spec) != counts(&budget.spec) {
        return Err(Error::conflict(
            "what a budget counts (scope, model, unit, period) cannot change: delete it and make another",
        ));
    }
    if !sql::update(tx, now, budget.id, &spec)? {
        return Err(missing(budget.id));
    }
    get_budget(tx, budget.id)
}

fn patched(spec: &NewBudget, patch: &Patch) -> Result<NewBudget> {
    let invalid = |error: serde_json::Error| Error::invalid("a budget does not take these fields").with_source(error);
    let mut value = serde_json::to_value(spec).map_err(invalid)?;
    if let Value::Object(fields) = &mut value {
        for (name, field) in patch {
            // No field of a budget is an object, so a merge is one level deep.
            match field {
                Value::Null => fields.remove(name),
                given => fields.insert(name.clone(), given.clone()),
            };
        }
    }
    serde_json::from_value(value).map_err(invalid)
}

/// The fields as they are stored, or what is wrong with them. Thresholds come in order, each once.
fn checked(mut spec: NewBudget) -> Result<NewBudget> {
    if spec.name.trim().is_empty() || spec.name.trim() != spec.name || spec.name.len() > MAX_NAME {
        return Err(Error::invalid(format!("a budget's name has 1 to {MAX_NAME} bytes and no space around it")));
    }
    whom(&spec)?;
    over_what(&spec)?;
    spec.limit = spec.limit.map(|limit| limit.in_unit(spec.unit)).transpose()?;
    if spec.limit.is_some_and(|limit| limit.units() < 0) {
        return Err(Error::invalid("a limit may not be negative"));
    }
    if spec.downgrade_to.is_some() && spec.on_exceed != OnExceed::Downgrade {
        return Err(Error::invalid("downgrade_to goes with on_exceed: downgrade"));
    }
    if spec.burn_rate.is_some_and(|times| !(2..=MAX_PERCENT).contains(&times)) {
        return Err(Error::invalid(format!("burn_rate is how many times the usual: 2 to {MAX_PERCENT}")));
    }
    spec.thresholds.sort_unstable();
    spec.thresholds.dedup();
    if spec.thresholds.len() > MAX_THRESHOLDS
        || spec.thresholds.iter().any(|percent| !(1..=MAX_PERCENT).contains(percent))
    {
        return Err(Error::invalid(format!(
            "a budget has at most {MAX_THRESHOLDS} thresholds of 1 to {MAX_PERCENT} percent"
        )));
    }
    Ok(spec)
}

/// Whose spending is counted must be told by an id or by a name, as the scope has it.
fn whom(spec: &NewBudget) -> Result<()> {
    if spec.scope_id.is_some_and(|id| id < 1) {
        return Err(Error::invalid("scope_id is the id of a user, execution …; leave it out for each one on its own"));
    }
    let names = [&spec.subject, &spec.model, &spec.downgrade_to];
    if names.into_iter().flatten().any(|name| name.is_empty() || name.len() > MAX_NAME) {
        return Err(Error::invalid(format!("a name has 1 to {MAX_NAME} bytes")));
    }
    match spec.scope {
        BudgetScope::All if spec.scope_id.is_some() || spec.subject.is_some() => {
            Err(Error::invalid("a budget on everything has no scope_id and no subject"))
        }
        BudgetScope::Tag if spec.subject.is_none() => {
            Err(Error::invalid("a budget on a tag names it as its subject: team=blue, or team for each of its values"))
        }
        scope if scope.is_named() && spec.scope_id.is_some() => {
            Err(Error::invalid(format!("a budget by {} is told by its subject, not by an id", scope.name())))
        }
        scope if !scope.is_named() && spec.subject.is_some() => {
            Err(Error::invalid(format!("a budget by {} is told by its scope_id, not by a subject", scope.name())))
        }
        _ => Ok(()),
    }
}

/// The period must be whole: a rolling one has hours, a calendar's a time zone that is known here.
fn over_what(spec: &NewBudget) -> Result<()> {
    match (spec.period, spec.hours) {
        (BudgetPeriod::Rolling, Some(1..=window::MAX_HOURS)) | (_, None)
            if spec.period != BudgetPeriod::Rolling || spec.hours.is_some() => {}
        (BudgetPeriod::Rolling, _) => {
            return Err(Error::invalid(format!("a rolling period has hours: 1 to {}", window::MAX_HOURS)));
        }
        _ => return Err(Error::invalid("hours go with period: rolling")),
    }
    let calendar = !matches!(spec.period, BudgetPeriod::None | BudgetPeriod::Execution | BudgetPeriod::Rolling);
    if spec.time_zone.is_some() && !calendar {
        return Err(Error::invalid("time_zone goes with a period of the calendar: hour, day, week, month, year"));
    }
    if spec.projection && !calendar {
        return Err(Error::invalid("projection goes with a period of the calendar: hour, day, week, month, year"));
    }
    window::zone(spec.time_zone.as_deref()).map(drop)
}

fn not_negative(limit: Money) -> Result<Money> {
    if limit >= Money::ZERO { Ok(limit) } else { Err(Error::invalid("a limit of money may not be negative")) }
}

fn taken(name: &str) -> Error {
    Error::conflict(format!("there is a budget {name:?} already"))
}

fn missing(id: BudgetId) -> Error {
    Error::not_found(format!("there is no budget {id}"))
}

/// A page in order of a number above zero; its cursor is the number of its last item.
pub(super) fn page<T>(
    options: &ListOptions,
    fetch: impl FnOnce(i64, u32) -> Result<Vec<T>>,
    place: impl Fn(&T) -> i64,
) -> Result<Page<T>> {
    let after = options.after_id()?;
    let limit = options.limit.clamp(1, ListOptions::MAX_LIMIT);
    // One more than asked for tells whether another page follows.
    let mut items = fetch(after, limit + 1)?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(|last| place(last).to_string());
    Ok(Page::new(items, next))
}
