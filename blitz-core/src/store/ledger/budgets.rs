//! The budgets themselves: the SQL, written once.

use super::matching::number_of;
use super::{count, word};
use crate::domain::{
    Amount, Budget, BudgetId, BudgetRaise, BudgetRevision, BudgetScope, BudgetUnit, BudgetWindow, ExecutionId, Money,
    NewBudget, Timestamp,
};
use crate::error::Result;
use crate::store::sql::{self, Connection, Row, SqlValue, params};

/// A scope id that stands for each user, execution … on its own.
const EACH: i64 = 0;

/// The columns that a budget's fields are kept in.
fn columns(tx: &mut dyn Connection, spec: &NewBudget) -> Result<Vec<SqlValue>> {
    let of = match &spec.subject {
        Some(name) => number_of(tx, name)?,
        None => spec.scope_id.unwrap_or(EACH),
    };
    Ok(vec![
        (&spec.name).into(),
        spec.scope.name().into(),
        of.into(),
        spec.limit.map(Amount::units).into(),
        spec.hard.into(),
        sql::to_json(&spec.thresholds)?.into(),
        spec.subject.clone().into(),
        spec.model.clone().into(),
        spec.unit.name().into(),
        spec.period.name().into(),
        spec.hours.into(),
        spec.time_zone.clone().into(),
        spec.on_exceed.name().into(),
        spec.downgrade_to.clone().into(),
        spec.on_unpriced.name().into(),
        spec.burn_rate.into(),
        spec.projection.into(),
    ])
}

/// Writes a budget at revision 1; `None` where a live one has its name.
pub(crate) fn insert(tx: &mut dyn Connection, now: Timestamp, spec: &NewBudget) -> Result<Option<BudgetId>> {
    let mut values = columns(tx, spec)?;
    values.push(now.into());
    let id = tx.insert(
        "INSERT INTO budgets (name, scope, scope_id, amount, hard, thresholds, subject, model, unit, period, hours,
             time_zone, on_exceed, downgrade_to, on_unpriced, burn_rate, projection, revision, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, 1, ?18, ?18)
         ON CONFLICT (name) WHERE deleted_at IS NULL DO NOTHING",
        &values,
    )?;
    let Some(id) = id.map(BudgetId) else { return Ok(None) };
    keep_revision(tx, now, id, spec)?;
    Ok(Some(id))
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
    let mut values = columns(tx, spec)?;
    values.extend([now.into(), id.into()]);
    let changed = tx.execute(
        "UPDATE budgets SET name = ?1, scope = ?2, scope_id = ?3, amount = ?4, hard = ?5, thresholds = ?6, subject = ?7,
             model = ?8, unit = ?9, period = ?10, hours = ?11, time_zone = ?12, on_exceed = ?13, downgrade_to = ?14,
             on_unpriced = ?15, burn_rate = ?16, projection = ?17, revision = revision + 1, updated_at = ?18
         WHERE id = ?19 AND deleted_at IS NULL",
        &values,
    )?;
    if changed == 1 {
        keep_revision(tx, now, id, spec)?;
    }
    Ok(changed == 1)
}

fn keep_revision(tx: &mut dyn Connection, now: Timestamp, id: BudgetId, spec: &NewBudget) -> Result<()> {
    tx.execute(
        "INSERT INTO budget_revisions (budget_id, revision, at, spec)
         VALUES (?1, (SELECT revision FROM budgets WHERE id = ?1), ?2, ?3)",
        params![id, now, sql::to_json(spec)?],
    )?;
    Ok(())
}

/// At most `limit` states of a budget behind one, in order.
pub(crate) fn revisions(tx: &mut dyn Connection, id: BudgetId, after: i64, limit: u32) -> Result<Vec<BudgetRevision>> {
    let rows = tx.query_all(
        "SELECT revision, at, spec FROM budget_revisions WHERE budget_id = ?1 AND revision > ?2 ORDER BY revision LIMIT ?3",
        params![id, after, limit],
    )?;
    let revision = |row: &Row| {
        let mut spec: NewBudget = row.json(2)?;
        spec.limit = spec.limit.map(|limit| limit.in_unit(spec.unit)).transpose()?;
        Ok(BudgetRevision { revision: count(row, 0)?, at: Timestamp(row.int(1)?), spec })
    };
    rows.iter().map(revision).collect()
}

/// Lets every window of a budget begin anew; the old ones stay.
pub(crate) fn set_epoch(tx: &mut dyn Connection, id: BudgetId, epoch: Timestamp) -> Result<()> {
    tx.execute("UPDATE budgets SET epoch = ?2 WHERE id = ?1", params![id, epoch])?;
    Ok(())
}

/// When the newest window of a budget begins.
pub(crate) fn newest_start(tx: &mut dyn Connection, id: BudgetId) -> Result<Option<Timestamp>> {
    let row = tx.query_one("SELECT max(window_start) FROM budget_windows WHERE budget_id = ?1", params![id])?;
    row.map_or(Ok(None), |row| Ok(row.opt_int(0)?.map(Timestamp)))
}

/// Seals the windows of a budget that begin before a moment.
pub(crate) fn seal(tx: &mut dyn Connection, id: BudgetId, before: Timestamp) -> Result<()> {
    tx.execute("UPDATE budgets SET sealed_before = ?2 WHERE id = ?1 AND sealed_before < ?2", params![id, before])?;
    Ok(())
}

/// Up to when the windows of a budget are sealed, be it live or not.
pub(crate) fn sealed_before(tx: &mut dyn Connection, id: BudgetId) -> Result<Timestamp> {
    let row = tx.query_one("SELECT sealed_before FROM budgets WHERE id = ?1", params![id])?;
    row.map_or(Ok(Timestamp(0)), |row| row.int(0).map(Timestamp))
}

/// Writes a raise and gives its id.
pub(crate) fn insert_raise(tx: &mut dyn Connection, raise: &BudgetRaise) -> Result<Option<i64>> {
    tx.insert(
        "INSERT INTO budget_raises (budget_id, amount, from_at, until_at, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![raise.budget_id, raise.amount.units(), raise.from, raise.until, &raise.reason],
    )
}

/// At most `limit` raises of a budget behind one, in order.
pub(crate) fn raises(
    tx: &mut dyn Connection,
    id: BudgetId,
    unit: BudgetUnit,
    after: i64,
    limit: u32,
) -> Result<Vec<BudgetRaise>> {
    let rows = tx.query_all(
        "SELECT id, amount, from_at, until_at, reason FROM budget_raises
         WHERE budget_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
        params![id, after, limit],
    )?;
    rows.iter().map(|row| raise(row, id, unit)).collect()
}

/// The newest raises of a budget, the last one first.
pub(crate) fn newest_raises(tx: &mut dyn Connection, id: BudgetId, unit: BudgetUnit) -> Result<Vec<BudgetRaise>> {
    let rows = tx.query_all(
        "SELECT id, amount, from_at, until_at, reason FROM budget_raises WHERE budget_id = ?1 ORDER BY id DESC LIMIT 1000",
        params![id],
    )?;
    rows.iter().map(|row| raise(row, id, unit)).collect()
}

fn raise(row: &Row, id: BudgetId, unit: BudgetUnit) -> Result<BudgetRaise> {
    Ok(BudgetRaise {
        id: row.int(0)?,
        budget_id: id,
        amount: Amount::of(unit, row.int(1)?),
        from: Timestamp(row.int(2)?),
        until: Timestamp(row.int(3)?),
        reason: row.text(4)?.to_owned(),
    })
}

/// Ends the raises of a budget that hold at a moment or later; says how many there were.
pub(crate) fn end_raises(tx: &mut dyn Connection, id: BudgetId, now: Timestamp) -> Result<usize> {
    tx.execute("UPDATE budget_raises SET until_at = ?2 WHERE budget_id = ?1 AND until_at > ?2", params![id, now])
}

/// The models that live budgets name to be asked instead of a dearer one.
pub(crate) fn downgrades(tx: &mut dyn Connection) -> Result<Vec<String>> {
    let rows = tx.query_all(
        "SELECT DISTINCT downgrade_to FROM budgets
         WHERE downgrade_to IS NOT NULL AND on_exceed = 'downgrade' AND deleted_at IS NULL ORDER BY downgrade_to LIMIT 20",
        &[],
    )?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
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
        "SELECT id, name, scope, scope_id, amount, hard, thresholds, revision, created_at, updated_at, subject, model, unit,
             period, hours, time_zone, on_exceed, downgrade_to, on_unpriced, burn_rate, projection, sealed_before,
             epoch
         FROM budgets WHERE id = ?1 AND name IS NOT NULL AND deleted_at IS NULL",
        params![id],
    )?;
    row.as_ref().map(budget).transpose()
}

/// The live budget of a name.
pub(crate) fn find(tx: &mut dyn Connection, name: &str) -> Result<Option<Budget>> {
    let row = tx.query_one(
        "SELECT id, name, scope, scope_id, amount, hard, thresholds, revision, created_at, updated_at, subject, model, unit,
             period, hours, time_zone, on_exceed, downgrade_to, on_unpriced, burn_rate, projection, sealed_before,
             epoch
         FROM budgets WHERE name = ?1 AND deleted_at IS NULL",
        params![name],
    )?;
    row.as_ref().map(budget).transpose()
}

/// At most `limit` live budgets with a name behind an id, in order of id.
pub(crate) fn list(tx: &mut dyn Connection, after: BudgetId, limit: u32) -> Result<Vec<Budget>> {
    let rows = tx.query_all(
        "SELECT id, name, scope, scope_id, amount, hard, thresholds, revision, created_at, updated_at, subject, model, unit,
             period, hours, time_zone, on_exceed, downgrade_to, on_unpriced, burn_rate, projection, sealed_before,
             epoch
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
        "SELECT w.budget_id, w.scope_id, w.window_start, w.posted, w.pending, b.unit, NULL
         FROM budget_windows w JOIN budgets b ON b.id = w.budget_id
         WHERE (w.budget_id, w.scope_id, w.window_start) > (?1, ?2, ?3)
         ORDER BY w.budget_id, w.scope_id, w.window_start LIMIT ?4",
        params![after.0, after.1, after.2, limit],
    )?;
    rows.iter().map(window).collect()
}

/// At most `limit` windows of one budget behind one, in order of scope id and start.
pub(crate) fn windows_of(
    tx: &mut dyn Connection,
    id: BudgetId,
    after: (i64, Timestamp),
    limit: u32,
) -> Result<Vec<BudgetWindow>> {
    let rows = tx.query_all(
        "SELECT w.budget_id, w.scope_id, w.window_start, w.posted, w.pending, b.unit,
             CASE WHEN b.scope IN ('role', 'model', 'provider', 'tag') AND b.period <> 'execution' THEN n.name END
         FROM budget_windows w JOIN budgets b ON b.id = w.budget_id LEFT JOIN budget_names n ON n.id = w.scope_id
         WHERE w.budget_id = ?1 AND (w.scope_id, w.window_start) > (?2, ?3)
         ORDER BY w.scope_id, w.window_start LIMIT ?4",
        params![id, after.0, after.1, limit],
    )?;
    rows.iter().map(window).collect()
}

fn budget(row: &Row) -> Result<Budget> {
    let scope: BudgetScope = word(row.text(2)?)?;
    let unit: BudgetUnit = word(row.text(12)?)?;
    let scope_id = row.int(3)?;
    let sealed_before = row.int(21)?;
    Ok(Budget {
        id: BudgetId(row.int(0)?),
        spec: NewBudget {
            name: row.text(1)?.to_owned(),
            scope,
            scope_id: (scope_id != EACH && !scope.is_named()).then_some(scope_id),
            subject: row.opt_text(10)?.map(str::to_owned),
            model: row.opt_text(11)?.map(str::to_owned),
            unit,
            period: word(row.text(13)?)?,
            hours: row.opt_int(14)?.map(|_| count(row, 14)).transpose()?,
            time_zone: row.opt_text(15)?.map(str::to_owned),
            limit: row.opt_int(4)?.map(|limit| Amount::of(unit, limit)),
            hard: row.bool(5)?,
            thresholds: row.json(6)?,
            on_exceed: word(row.text(16)?)?,
            downgrade_to: row.opt_text(17)?.map(str::to_owned),
            on_unpriced: word(row.text(18)?)?,
            burn_rate: row.opt_int(19)?.map(|_| count(row, 19)).transpose()?,
            projection: row.bool(20)?,
        },
        revision: count(row, 7)?,
        created_at: Timestamp(row.int(8)?),
        updated_at: Timestamp(row.int(9)?),
        sealed_before: (sealed_before > 0).then_some(Timestamp(sealed_before)),
        reset_at: Some(row.int(22)?).filter(|epoch| *epoch > 0).map(Timestamp),
    })
}

fn window(row: &Row) -> Result<BudgetWindow> {
    let unit: BudgetUnit = word(row.text(5)?)?;
    Ok(BudgetWindow {
        budget_id: BudgetId(row.int(0)?),
        scope_id: row.int(1)?,
        subject: row.opt_text(6)?.map(str::to_owned),
        window_start: Timestamp(row.int(2)?),
        posted: Amount::of(unit, row.int(3)?),
        pending: Amount::of(unit, row.int(4)?),
    })
}
