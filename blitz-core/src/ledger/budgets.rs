//! Budgets as records: put, edit, list. An edit applies to the next reserve.

use serde_json::Value;

use crate::domain::{
    Budget, BudgetId, BudgetWindow, ExecutionId, ListOptions, Money, NewBudget, Page, Patch, Timestamp,
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

/// A page of the budgets, in order of id. Errors: `InvalidInput` for a cursor that no page gave.
pub(crate) fn list_budgets(tx: &mut dyn Connection, options: &ListOptions) -> Result<Page<Budget>> {
    page(options, |after, limit| sql::list(tx, BudgetId(after), limit), |budget| budget.id.0)
}

/// A page of what a budget has counted, for each user or execution, in order of their ids.
///
/// Errors: `NotFound`; `InvalidInput` for a cursor that no page gave.
pub(crate) fn list_windows(tx: &mut dyn Connection, id: BudgetId, options: &ListOptions) -> Result<Page<BudgetWindow>> {
    get_budget(tx, id)?;
    page(options, |after, limit| sql::windows_of(tx, id, after, limit), |window| window.scope_id)
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
    if spec.scope != budget.spec.scope {
        return Err(Error::conflict("a budget's scope cannot change: delete it and make another"));
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
    if spec.scope_id.is_some_and(|id| id < 1) {
        return Err(Error::invalid("scope_id is the id of a user or execution; leave it out for each one on its own"));
    }
    spec.limit = spec.limit.map(not_negative).transpose()?;
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
