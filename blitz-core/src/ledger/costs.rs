//! What was spent: sums, entries, and the proof that the windows follow from the entries.

use std::collections::BTreeMap;

use super::Booked;
use super::budgets::page;
use crate::domain::{
    Amount, BudgetId, BudgetUnit, BudgetWindow, CostFilter, CostSummary, EntryKind, ExecutionId, LedgerEntry,
    ListOptions, Money, Page, Timestamp, Usage,
};
use crate::error::{Error, Result};
use crate::store::ledger::budgets;
use crate::store::ledger::costs::{self as sql, Movement};
use crate::store::sql::Connection;

/// How many rows one look at the ledger takes.
const SLICE: u32 = 1000;

/// The sums over everything booked that the filter meets.
pub(crate) fn summary(tx: &mut dyn Connection, filter: &CostFilter) -> Result<CostSummary> {
    sql::summary(tx, filter)
}

/// What the filter meets so far cost and used; the cost is `None` where a part of it is unknown.
pub(crate) fn execution_cost(tx: &mut dyn Connection, filter: &CostFilter) -> Result<(Option<Money>, Usage)> {
    let summary = sql::summary(tx, filter)?;
    Ok((summary.known_cost(), summary.usage))
}

/// What the tools of an execution spent on embeddings so far; `None` where they made none.
pub(crate) fn embedded(
    tx: &mut dyn Connection,
    root_id: ExecutionId,
    execution_id: ExecutionId,
) -> Result<Option<(Option<Money>, Usage)>> {
    let summary = sql::embedded(tx, root_id, execution_id)?;
    Ok(summary.map(|summary| (summary.known_cost(), summary.usage)))
}

/// What one attempt of a step was booked at; `None` where it was void or never reserved.
pub(crate) fn booked(
    tx: &mut dyn Connection,
    execution_id: ExecutionId,
    path: &str,
    attempt: u32,
) -> Result<Option<Booked>> {
    let Some(reservation) = sql::reservation_of(tx, execution_id, path, attempt)? else { return Ok(None) };
    let filter = CostFilter::of_execution(execution_id);
    let mut booked: Option<Booked> = None;
    let mut after = 0;
    loop {
        let entries = sql::entries(tx, &filter, after, SLICE)?;
        let Some(last) = entries.last() else { return Ok(booked) };
        after = last.seq;
        for entry in entries.iter().filter(|entry| entry.reservation_id == reservation && entry.kind != EntryKind::Void)
        {
            let sum = booked.get_or_insert_default();
            sum.cost = match (sum.cost, entry.amount) {
                (Some(cost), Some(amount)) => Some(cost.add(amount)?),
                (None, amount) => amount,
                (cost, None) => cost,
            };
            sum.usage.add(&entry.usage.unwrap_or_default());
        }
    }
}

/// A page of the entries that the filter meets, oldest first. What merely holds money is left out.
///
/// Errors: `InvalidInput` for a cursor that no page gave.
pub(crate) fn list_entries(
    tx: &mut dyn Connection,
    filter: &CostFilter,
    options: &ListOptions,
) -> Result<Page<LedgerEntry>> {
    page(options, |after, limit| sql::entries(tx, filter, after, limit), |entry| entry.seq)
}

/// Every window as the entries alone make it, in order of budget, scope id and start.
pub(crate) fn rebuild_windows(tx: &mut dyn Connection) -> Result<Vec<BudgetWindow>> {
    let mut sums = BTreeMap::new();
    let mut after = 0;
    loop {
        let movements = sql::movements(tx, after, SLICE)?;
        let Some(last) = movements.last() else { break };
        after = last.seq;
        for movement in &movements {
            apply(&mut sums, movement)?;
        }
    }
    Ok(sums.into_iter().map(|(leg, sum)| window(leg, sum)).collect())
}

/// Compares every window with what the entries alone make of it.
///
/// Errors: `Storage` with the first window that differs.
pub(crate) fn verify_windows(tx: &mut dyn Connection) -> Result<()> {
    let rebuilt = rebuild_windows(tx)?;
    let stored = stored_windows(tx)?;
    let differs = (0..rebuilt.len().max(stored.len())).find(|&at| rebuilt.get(at) != stored.get(at));
    match differs {
        None => Ok(()),
        Some(at) => Err(Error::storage("a budget's window does not follow from the ledger: the file is damaged")
            .with_details(serde_json::json!({"stored": stored.get(at), "rebuilt": rebuilt.get(at)}))),
    }
}

fn stored_windows(tx: &mut dyn Connection) -> Result<Vec<BudgetWindow>> {
    let mut stored: Vec<BudgetWindow> = Vec::new();
    loop {
        let after = stored
            .last()
            .map_or((BudgetId(0), i64::MIN, Timestamp(i64::MIN)), |w| (w.budget_id, w.scope_id, w.window_start));
        let slice = budgets::windows(tx, after, SLICE)?;
        if slice.is_empty() {
            return Ok(stored);
        }
        stored.extend(slice);
    }
}

/// Posted and pending of a window, in the unit of its budget.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    posted: i64,
    pending: i64,
    is_count: bool,
}

/// Which window: budget, scope id and start.
type Place = (BudgetId, i64, Timestamp);

fn apply(sums: &mut BTreeMap<Place, Sums>, movement: &Movement) -> Result<()> {
    let held = if movement.kind == EntryKind::Reserve { movement.amount } else { Money::ZERO };
    let booked = if movement.kind == EntryKind::Reserve { Money::ZERO } else { movement.amount };
    let overflows = || Error::storage("the ledger's sums are out of range: the file is damaged");
    for leg in &movement.legs {
        let sum = sums.entry((leg.budget, leg.scope_id, leg.start)).or_default();
        let (held, released, booked) = match leg.count {
            None => (held.nanos(), movement.released.nanos(), booked.nanos()),
            Some(count) if movement.kind == EntryKind::Reserve => (count.held, 0, 0),
            Some(count) => (0, count.held, count.used),
        };
        sum.is_count = leg.count.is_some();
        let pending = sum.pending.checked_add(held).and_then(|pending| pending.checked_sub(released));
        sum.pending = pending.ok_or_else(overflows)?;
        sum.posted = sum.posted.checked_add(booked).ok_or_else(overflows)?;
    }
    Ok(())
}

fn window((budget_id, scope_id, window_start): Place, sum: Sums) -> BudgetWindow {
    let unit = if sum.is_count { BudgetUnit::Tokens } else { BudgetUnit::Usd };
    let (posted, pending) = (Amount::of(unit, sum.posted), Amount::of(unit, sum.pending));
    BudgetWindow { budget_id, scope_id, subject: None, window_start, posted, pending }
}
