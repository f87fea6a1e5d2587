//! Budgets, reservations and entries: the SQL, written once.
//!
//! This file is the hot path of every model call: reservations, windows, entries. `budgets` keeps
//! the budgets themselves, `costs` asks what was booked.

pub(crate) mod budgets;
pub(crate) mod costs;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sql::{self, Connection, Row, SqlValue, params};
use crate::domain::{
    BudgetId, EntryFlag, EntryKind, ExecutionId, Money, Price, ReservationId, Timestamp, Usage, UserId,
};
use crate::error::{Error, Result};

/// A window that a reservation holds money on; in JSON `[budget id, scope id, window start]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Leg(pub(crate) BudgetId, pub(crate) i64, pub(crate) Timestamp);

impl Leg {
    /// The one window of a budget without a period.
    pub(crate) fn endless(budget: BudgetId, scope_id: i64) -> Self {
        Self(budget, scope_id, Timestamp(0))
    }
}

/// The model call that a reservation or entry is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) execution_id: ExecutionId,
    pub(crate) root_id: ExecutionId,
    pub(crate) user_id: Option<UserId>,
    pub(crate) model: &'a str,
    pub(crate) provider: &'a str,
    pub(crate) attempt: u32,
}

// Reservations ------------------------------------------------------------------------------------

/// A reservation to write.
pub(crate) struct NewReservation<'a> {
    pub(crate) call: Call<'a>,
    pub(crate) path: &'a str,
    pub(crate) price: Option<&'a Price>,
    pub(crate) input_bound: u64,
    pub(crate) output_cap: u64,
    pub(crate) amount: Option<Money>,
    pub(crate) boot_id: &'a str,
}

/// A reservation as it was written.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) id: ReservationId,
    execution_id: ExecutionId,
    root_id: ExecutionId,
    user_id: Option<UserId>,
    model: String,
    provider: String,
    attempt: u32,
    pub(crate) price: Option<Price>,
    pub(crate) input_bound: u64,
    pub(crate) output_cap: u64,
    pub(crate) amount: Option<Money>,
    pub(crate) legs: Vec<Leg>,
}

impl Reservation {
    /// The call it was made for.
    pub(crate) fn call(&self) -> Call<'_> {
        Call {
            execution_id: self.execution_id,
            root_id: self.root_id,
            user_id: self.user_id,
            model: &self.model,
            provider: &self.provider,
            attempt: self.attempt,
        }
    }

    /// The money it holds; nothing where the price is unknown.
    pub(crate) fn held(&self) -> Money {
        self.amount.unwrap_or(Money::ZERO)
    }
}

/// How a reservation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Its call is booked.
    Settled,
    /// Its call was not made, or costs nothing.
    Void,
}

/// Writes an open reservation; `None` where this attempt has one already.
pub(crate) fn insert_reservation(
    tx: &mut dyn Connection,
    now: Timestamp,
    new: &NewReservation<'_>,
    legs: &[Leg],
) -> Result<Option<ReservationId>> {
    let id = tx.insert(
        "INSERT INTO reservations (execution_id, root_id, path, attempt, user_id, model, provider, price,
             input_bound, output_cap, amount, legs, state, boot_id, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'open', ?13, ?14)
         ON CONFLICT (execution_id, path, attempt) DO NOTHING",
        params![
            new.call.execution_id,
            new.call.root_id,
            new.path,
            new.call.attempt,
            new.call.user_id,
            new.call.model,
            new.call.provider,
            new.price.map(sql::to_json).transpose()?,
            sql::tokens(new.input_bound),
            sql::tokens(new.output_cap),
            new.amount,
            legs_json(legs)?,
            new.boot_id,
            now,
        ],
    )?;
    Ok(id.map(ReservationId))
}

/// Ends an open reservation and gives it; `None` where there is none such, or it has ended.
pub(crate) fn resolve_reservation(
    tx: &mut dyn Connection,
    id: ReservationId,
    resolution: Resolution,
) -> Result<Option<Reservation>> {
    let state = match resolution {
        Resolution::Settled => "settled",
        Resolution::Void => "void",
    };
    let open = tx.query_one(
        "SELECT execution_id, root_id, user_id, model, provider, attempt, price, input_bound, output_cap, amount, legs
         FROM reservations WHERE id = ?1 AND state = 'open'",
        params![id],
    )?;
    let Some(open) = open else { return Ok(None) };
    tx.execute("UPDATE reservations SET state = ?2 WHERE id = ?1", params![id, state])?;
    reservation(id, &open).map(Some)
}

fn reservation(id: ReservationId, row: &Row) -> Result<Reservation> {
    Ok(Reservation {
        id,
        execution_id: ExecutionId(row.int(0)?),
        root_id: ExecutionId(row.int(1)?),
        user_id: row.opt_int(2)?.map(UserId),
        model: row.text(3)?.to_owned(),
        provider: row.text(4)?.to_owned(),
        attempt: count(row, 5)?,
        price: row.opt_json(6)?,
        input_bound: count(row, 7)?,
        output_cap: count(row, 8)?,
        amount: row.opt_int(9)?.map(Money::from_nanos),
        legs: legs(row, 10)?,
    })
}

/// A reservation without an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenReservation {
    pub(crate) id: ReservationId,
    pub(crate) boot_id: String,
    pub(crate) root_id: ExecutionId,
    pub(crate) execution_id: ExecutionId,
    pub(crate) path: String,
    pub(crate) attempt: u32,
}

/// The processes, by boot id, that left reservations open; live ones are among them.
pub(crate) fn boots_with_open_reservations(tx: &mut dyn Connection) -> Result<Vec<String>> {
    let rows = tx
        .query_all("SELECT DISTINCT boot_id FROM reservations WHERE state = 'open' ORDER BY boot_id LIMIT 1000", &[])?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// At most `limit` open reservations of one process, oldest first.
pub(crate) fn open_reservations_of(tx: &mut dyn Connection, boot_id: &str, limit: u32) -> Result<Vec<OpenReservation>> {
    let rows = tx.query_all(
        "SELECT id, root_id, execution_id, path, attempt FROM reservations
         WHERE boot_id = ?1 AND state = 'open' ORDER BY id LIMIT ?2",
        params![boot_id, limit],
    )?;
    let open = |row: &Row| {
        Ok(OpenReservation {
            id: ReservationId(row.int(0)?),
            boot_id: boot_id.to_owned(),
            root_id: ExecutionId(row.int(1)?),
            execution_id: ExecutionId(row.int(2)?),
            path: row.text(3)?.to_owned(),
            attempt: count(row, 4)?,
        })
    };
    rows.iter().map(open).collect()
}

/// The open reservations of a tree of executions, whichever process made them.
pub(crate) fn open_in_tree(tx: &mut dyn Connection, root_id: ExecutionId) -> Result<Vec<ReservationId>> {
    let rows = tx.query_all(
        "SELECT id FROM reservations WHERE state = 'open' AND root_id = ?1 ORDER BY id LIMIT 1000",
        params![root_id],
    )?;
    rows.iter().map(|row| row.int(0).map(ReservationId)).collect()
}

// Windows -----------------------------------------------------------------------------------------

/// A budget that counts a call, with its window as it stands.
#[derive(Debug)]
pub(crate) struct MatchedBudget {
    pub(crate) leg: Leg,
    /// None of the user's own: the cap of one execution.
    pub(crate) is_cap: bool,
    pub(crate) limit: Option<Money>,
    pub(crate) hard: bool,
    pub(crate) posted: Money,
    pub(crate) pending: Money,
}

macro_rules! matching_sql {
    ($scope:literal, $of:literal, $budgets:literal) => {
        concat!(
            "SELECT b.id, ",
            $of,
            ", CASE WHEN b.name IS NULL THEN 1 ELSE 0 END, b.amount, b.hard,
                coalesce(w.posted, 0), coalesce(w.pending, 0)
             FROM budgets b LEFT JOIN budget_windows w
                 ON w.budget_id = b.id AND w.scope_id = ",
            $of,
            " AND w.window_start = 0
             WHERE b.scope = '",
            $scope,
            "' AND b.scope_id = ",
            $budgets,
            " AND b.deleted_at IS NULL"
        )
    };
}

// Four look-ups in one index: the budgets of this id, and those of each id on its own. An `IN` list
// would be two, and a temporary table at each call.
macro_rules! matching {
    () => {
        concat!(
            matching_sql!("user", "?1", "?1"),
            " UNION ALL ",
            matching_sql!("user", "?1", "0 AND ?1 IS NOT NULL"),
            " UNION ALL ",
            matching_sql!("execution", "?2", "?2"),
            " UNION ALL ",
            matching_sql!("execution", "?2", "0"),
        )
    };
}

const MATCHING: &str = matching!();

// The same for a child, and the caps of the executions from it up to its root, each on its own. Caps
// are looked up by their executions, not by what all of them have: that they have no name.
const MATCHING_CHILD: &str = concat!(
    "WITH RECURSIVE above (id, parent_id) AS (
         SELECT id, parent_id FROM executions WHERE id = ?3
         UNION ALL
         SELECT e.id, e.parent_id FROM executions e JOIN above a ON e.id = a.parent_id
     ) ",
    matching!(),
    " UNION ALL
     SELECT b.id, a.id, 1, b.amount, b.hard, coalesce(w.posted, 0), coalesce(w.pending, 0)
     FROM above a CROSS JOIN budgets b
     LEFT JOIN budget_windows w ON w.budget_id = b.id AND w.scope_id = a.id AND w.window_start = 0
     WHERE a.parent_id IS NOT NULL AND b.scope = 'execution' AND b.scope_id = a.id
         AND coalesce(b.name, '') = '' AND b.deleted_at IS NULL"
);

/// Every budget that counts a call of this user in this execution of a root's tree, in order of id.
pub(crate) fn matching_budgets(
    tx: &mut dyn Connection,
    user_id: Option<UserId>,
    root_id: ExecutionId,
    execution_id: ExecutionId,
) -> Result<Vec<MatchedBudget>> {
    let rows = if execution_id == root_id {
        tx.query_all(MATCHING, params![user_id, root_id])?
    } else {
        tx.query_all(MATCHING_CHILD, params![user_id, root_id, execution_id])?
    };
    let matched = |row: &Row| {
        Ok(MatchedBudget {
            leg: Leg::endless(BudgetId(row.int(0)?), row.int(1)?),
            is_cap: row.bool(2)?,
            limit: row.opt_int(3)?.map(Money::from_nanos),
            hard: row.bool(4)?,
            posted: Money::from_nanos(row.int(5)?),
            pending: Money::from_nanos(row.int(6)?),
        })
    };
    let mut budgets = rows.iter().map(matched).collect::<Result<Vec<_>>>()?;
    budgets.sort_unstable_by_key(|budget| budget.leg);
    Ok(budgets)
}

/// Holds an amount on a window unless posted and pending would pass `limit`; says whether it is held.
pub(crate) fn hold(tx: &mut dyn Connection, leg: Leg, amount: Money, limit: Money) -> Result<bool> {
    let changed = tx.execute(
        "INSERT INTO budget_windows (budget_id, scope_id, window_start, posted, pending) VALUES (?1, ?2, ?3, 0, ?4)
         ON CONFLICT (budget_id, scope_id, window_start)
         DO UPDATE SET pending = budget_windows.pending + excluded.pending
         WHERE budget_windows.posted + budget_windows.pending + excluded.pending <= ?5",
        params![leg.0, leg.1, leg.2, amount, limit],
    )?;
    Ok(changed == 1)
}

/// Gives back what was held on a window and books what was spent; false where there is no such window.
pub(crate) fn post(tx: &mut dyn Connection, leg: Leg, released: Money, booked: Money) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE budget_windows SET pending = pending - ?4, posted = posted + ?5
         WHERE budget_id = ?1 AND scope_id = ?2 AND window_start = ?3",
        params![leg.0, leg.1, leg.2, released, booked],
    )?;
    Ok(changed == 1)
}

/// A window of a budget that has a limit and thresholds.
pub(crate) struct Watched {
    pub(crate) budget: String,
    pub(crate) limit: Money,
    /// In percent of the limit.
    pub(crate) thresholds: Vec<u32>,
    pub(crate) posted: Money,
}

/// What a window has booked and where its budget raises alerts; `None` where it raises none.
pub(crate) fn watched(tx: &mut dyn Connection, leg: Leg) -> Result<Option<Watched>> {
    let row = tx.query_one(
        "SELECT b.name, b.amount, b.thresholds, w.posted FROM budgets b
         JOIN budget_windows w ON w.budget_id = b.id AND w.scope_id = ?2 AND w.window_start = ?3
         WHERE b.id = ?1 AND b.name IS NOT NULL AND b.amount IS NOT NULL AND b.thresholds <> '[]' AND b.deleted_at IS NULL",
        params![leg.0, leg.1, leg.2],
    )?;
    let watched = |row: Row| {
        Ok(Watched {
            budget: row.text(0)?.to_owned(),
            limit: Money::from_nanos(row.int(1)?),
            thresholds: row.json(2)?,
            posted: Money::from_nanos(row.int(3)?),
        })
    };
    row.map(watched).transpose()
}

/// Writes an alert; false where this threshold of this window has one.
pub(crate) fn insert_alert(
    tx: &mut dyn Connection,
    now: Timestamp,
    leg: Leg,
    threshold: u32,
    posted: Money,
) -> Result<bool> {
    let changed = tx.execute(
        "INSERT INTO alerts (budget_id, scope_id, window_start, threshold, posted, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (budget_id, scope_id, window_start, threshold) DO NOTHING",
        params![leg.0, leg.1, leg.2, threshold, posted, now],
    )?;
    Ok(changed == 1)
}

// Entries -----------------------------------------------------------------------------------------

/// An entry to append.
pub(crate) struct NewEntry<'a> {
    pub(crate) kind: EntryKind,
    pub(crate) reservation: ReservationId,
    pub(crate) call: Call<'a>,
    pub(crate) amount: Option<Money>,
    pub(crate) released: Money,
    pub(crate) legs: &'a [Leg],
    pub(crate) usage: Option<&'a Usage>,
    pub(crate) flag: Option<EntryFlag>,
    pub(crate) raw_usage: Option<&'a Value>,
}

/// What the provider said of a call is kept up to this length; more is no usage.
const RAW_USAGE_BYTES: usize = 8 * 1024;

/// Appends an entry.
pub(crate) fn append(tx: &mut dyn Connection, now: Timestamp, entry: &NewEntry<'_>) -> Result<()> {
    let counted = |count: fn(&Usage) -> u64| entry.usage.map_or(SqlValue::Null, |usage| sql::tokens(count(usage)));
    let raw_usage = entry.raw_usage.map(sql::to_json).transpose()?.filter(|text| text.len() <= RAW_USAGE_BYTES);
    tx.execute(
        "INSERT INTO ledger_entries (at, kind, reservation_id, root_id, execution_id, user_id, model, provider, attempt,
             amount, released, legs, requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
             reasoning_tokens, provenance, flag, raw_usage, cache_write_1h_tokens)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)",
        params![
            now,
            entry.kind.name(),
            entry.reservation,
            entry.call.root_id,
            entry.call.execution_id,
            entry.call.user_id,
            entry.call.model,
            entry.call.provider,
            entry.call.attempt,
            entry.amount,
            entry.released,
            legs_json(entry.legs)?,
            counted(|usage| usage.requests),
            counted(|usage| usage.input_tokens),
            counted(|usage| usage.output_tokens),
            counted(|usage| usage.cache_read_tokens),
            counted(|usage| usage.cache_write_tokens),
            counted(|usage| usage.reasoning_tokens),
            entry.usage.map(|usage| usage.provenance.name()),
            entry.flag.map(EntryFlag::name),
            raw_usage,
            counted(|usage| usage.cache_write_1h_tokens),
        ],
    )?;
    Ok(())
}

// Columns -----------------------------------------------------------------------------------------

fn legs_json(legs: &[Leg]) -> Result<String> {
    if legs.is_empty() { Ok("[]".to_owned()) } else { sql::to_json(legs) }
}

fn legs(row: &Row, column: usize) -> Result<Vec<Leg>> {
    if row.text(column)? == "[]" { Ok(Vec::new()) } else { row.json(column) }
}

/// A count that is never negative.
fn count<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<T> {
    T::try_from(row.int(column)?).map_err(|_| Error::storage("a count is out of range: the file is damaged"))
}

/// A word of a closed list, as the list's JSON form has it.
fn word<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_value(Value::from(text)).map_err(|error| {
        Error::storage("a stored word is not known: the file is damaged or from a newer version").with_source(error)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The queries whose cost would grow with the ledger if they missed their index.
    #[tokio::test]
    async fn budgets_are_matched_and_costs_narrowed_by_index() {
        let [summary_all, entries_all] = [costs::SUMMARY[3], costs::ENTRIES[3]];
        let queries = [MATCHING, MATCHING_CHILD].into_iter().chain(costs::SUMMARY).chain(costs::ENTRIES);
        for query in queries.filter(|&query| query != summary_all && query != entries_all) {
            let explain: &'static str = format!("EXPLAIN QUERY PLAN {query}").leak();
            let places = (1..=7).rev().find(|n| query.contains(&format!("?{n}"))).unwrap();
            let plan =
                crate::store::memory().store.write(move |tx| tx.query_all(explain, &vec![SqlValue::Null; places]));
            let plan: Vec<_> = plan.await.unwrap().iter().map(|row| row.text(3).unwrap().to_owned()).collect();
            // The few executions above one are gone through, and for each its cap is looked up.
            let through = |step: &String| step.starts_with("SCAN") && step != "SCAN a";
            assert!(!plan.iter().any(through), "{query}: {plan:?}");
            assert!(!plan.iter().any(|step| step.contains("budgets_name") || step.ends_with("(scope=?)")), "{plan:?}");
        }
    }
}
