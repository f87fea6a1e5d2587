//! The budgets themselves: the SQL, written once.

use super::{count, word};
use crate::domain::{Budget, BudgetId, BudgetScope, BudgetWindow, ExecutionId, Money, NewBudget, Timestamp};
use crate::error::Result;
use crate::store::sql::{self, Connection, Row, params};

/// A scope id that stands for each user or execution on its own.
const EACH: i64 = 0;

/// Writes a budget at revision 1; `None` where a live one has its name.
pub(crate) fn insert(tx: &mut dyn Connection, now: Timestamp, spec: &NewBudget) -> Result<Option<BudgetId>> {
    let id = tx.insert(
        "INSERT INTO budgets (name, scope, scope_id, amount, hard, thresholds, revision, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7)
         ON CONFLICT (name) WHERE deleted_at IS NULL DO NOTHING",
        params![
            &spec.name,
            spec.scope.name(),
            spec.scope_id.unwrap_or(EACH),
            spec.limit,
            spec.hard,
            sql::to_json(&spec.thresholds)?,
            now,
        ],
    )?;
    Ok(id.map(BudgetId))
}

/// Writes a hard budget without a name for one execution.
pub(crate) fn insert_cap(tx: &mut dyn Connection, now: Timestamp, id: ExecutionId, limit: Money) -> Result<()> {
    tx.execute(
        "INSERT INTO budgets (scope, scope_id, amount, hard, thresholds, revision, created_at, updated_at)
         VALUES (?1, ?2, ?3, 1, '[]', 1, ?4, ?4)",
        params![BudgetScope::Execution.name(), id, limit, now],
    )?;
    Ok(())
}

/// Replaces the fields of a live budget; its revision goes up by one.
pub(crate) fn update(tx: &mut dyn Connection, now: Timestamp, id: BudgetId, spec: &NewBudget) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE budgets SET name = ?2, scope = ?3, scope_id = ?4, amount = ?5, hard = ?6, thresholds = ?7,
             revision = revision + 1, updated_at = ?8
         WHERE id = ?1 AND deleted_at IS NULL",
        params![
            id,
            &spec.name,
            spec.scope.name(),
            spec.scope_id.unwrap_or(EACH),
            spec.limit,
            spec.hard,
            sql::to_json(&spec.thresholds)?,
            now,
        ],
    )?;
    Ok(changed == 1)
}

/// Ends a live budget and frees its name; its windows stay.
pub(crate) fn delete(tx: &mut dyn Connection, now: Timestamp, id: BudgetId) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE budgets SET deleted_at = ?2 WHERE id = ?1 AND name IS NOT NULL AND deleted_at IS NULL",
        params![id, now],
    )?;
    Ok(changed == 1)
}

/// A live budget that has a name.
pub(crate) fn get(tx: &mut dyn Connection, id: BudgetId) -> Result<Option<Budget>> {
    let row = tx.query_one(
        "SELECT id, name, scope, scope_id, amount, hard, thresholds, revision, created_at, updated_at
         FROM budgets WHERE id = ?1 AND name IS NOT NULL AND deleted_at IS NULL",
        params![id],
    )?;
    row.as_ref().map(budget).transpose()
}

/// The live budget of a name.
pub(crate) fn find(tx: &mut dyn Connection, name: &str) -> Result<Option<Budget>> {
    let row = tx.query_one(
        "SELECT id, name, scope, scope_id, amount, hard, thresholds, revision, created_at, updated_at
         FROM budgets WHERE name = ?1 AND deleted_at IS NULL",
        params![name],
    )?;
    row.as_ref().map(budget).transpose()
}

/// At most `limit` live budgets with a name behind an id, in order of id.
pub(crate) fn list(tx: &mut dyn Connection, after: BudgetId, limit: u32) -> Result<Vec<Budget>> {
    let rows = tx.query_all(
        "SELECT id, name, scope, scope_id, amount, hard, thresholds, revision, created_at, updated_at
         FROM budgets WHERE id > ?1 AND name IS NOT NULL AND deleted_at IS NULL ORDER BY id LIMIT ?2",
        params![after, limit],
    )?;
    rows.iter().map(budget).collect()
}

/// At most `limit` windows behind one, in order of budget, scope id and start.
pub(crate) fn windows(
    tx: &mut dyn Connection,
    after: (BudgetId, i64, Timestamp),
    limit: u32,
) -> Result<Vec<BudgetWindow>> {
    let rows = tx.query_all(
        "SELECT budget_id, scope_id, window_start, posted, pending FROM budget_windows
         WHERE (budget_id, scope_id, window_start) > (?1, ?2, ?3)
         ORDER BY budget_id, scope_id, window_start LIMIT ?4",
        params![after.0, after.1, after.2, limit],
    )?;
    rows.iter().map(window).collect()
}

/// At most `limit` windows of one budget behind a scope id, in order of scope id.
pub(crate) fn windows_of(tx: &mut dyn Connection, id: BudgetId, after: i64, limit: u32) -> Result<Vec<BudgetWindow>> {
    let rows = tx.query_all(
        "SELECT budget_id, scope_id, window_start, posted, pending FROM budget_windows
         WHERE budget_id = ?1 AND scope_id > ?2 AND window_start = 0 ORDER BY scope_id LIMIT ?3",
        params![id, after, limit],
    )?;
    rows.iter().map(window).collect()
}

fn budget(row: &Row) -> Result<Budget> {
    let scope_id = row.int(3)?;
    Ok(Budget {
        id: BudgetId(row.int(0)?),
        spec: NewBudget {
            name: row.text(1)?.to_owned(),
            scope: word(row.text(2)?)?,
            scope_id: (scope_id != EACH).then_some(scope_id),
            limit: row.opt_int(4)?.map(Money::from_nanos),
            hard: row.bool(5)?,
            thresholds: row.json(6)?,
        },
        revision: count(row, 7)?,
        created_at: Timestamp(row.int(8)?),
        updated_at: Timestamp(row.int(9)?),
    })
}

fn window(row: &Row) -> Result<BudgetWindow> {
    Ok(BudgetWindow {
        budget_id: BudgetId(row.int(0)?),
        scope_id: row.int(1)?,
        window_start: Timestamp(row.int(2)?),
        posted: Money::from_nanos(row.int(3)?),
        pending: Money::from_nanos(row.int(4)?),
    })
}
