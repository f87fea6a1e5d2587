//! The money of a model call: the engine's ledger by itself, and its statements by bare SQLite.

use std::path::Path;

use blitz::test_support::Ledger;
use blitz::{Durability, Money, NewBudget, Price, Usage};
use rusqlite::{Connection, params};

use crate::Result;
use crate::sqlite::EXECUTIONS;

const USAGE: (u64, u64) = (40, 12);
/// What a call of that usage costs, at most and in truth.
const COST: i64 = 220_000;
const NOW: i64 = 1_700_000_000_000_000;

/// The engine's ledger in a folder, with a hard budget on each execution.
pub async fn open(folder: &Path, durability: Durability) -> Result<Ledger> {
    let path = folder.join("blitz.db");
    let ledger = Ledger::open(path.to_str().ok_or("the folder's name is not UTF-8")?, durability)?;
    ledger.add(NewBudget::per_execution("each", Money::parse("1000000")?)).await?;
    Ok(ledger)
}

/// One call by the engine: checked and held, then booked.
pub async fn pair(ledger: &Ledger, price: &Price, number: u64) -> Result<()> {
    let usage = Usage::new(USAGE.0, USAGE.1);
    Ok(ledger.pair(execution(number), format!("{number}/model"), price.clone(), usage).await?)
}

/// What the calls cost.
pub fn price() -> Result<Price> {
    Ok(Price::per_million("2.50", "10")?)
}

fn execution(number: u64) -> i64 {
    (number % EXECUTIONS) as i64 + 1
}

/// The same tables and statements by bare rusqlite.
pub struct Bare {
    connection: Connection,
    price: String,
}

const MATCHING: &str = "SELECT b.id, 1, CASE WHEN b.name IS NULL THEN 1 ELSE 0 END, b.amount, b.hard,
        coalesce(w.posted, 0), coalesce(w.pending, 0)
     FROM budgets b LEFT JOIN budget_windows w
         ON w.budget_id = b.id AND w.scope_id = ?1 AND w.window_start = 0
     WHERE ?1 IS NOT NULL AND b.scope = 'user' AND b.scope_id IN (0, ?1) AND b.deleted_at IS NULL
     UNION ALL
     SELECT b.id, 0, CASE WHEN b.name IS NULL THEN 1 ELSE 0 END, b.amount, b.hard,
        coalesce(w.posted, 0), coalesce(w.pending, 0)
     FROM budgets b LEFT JOIN budget_windows w
         ON w.budget_id = b.id AND w.scope_id = ?2 AND w.window_start = 0
     WHERE b.scope = 'execution' AND b.scope_id IN (0, ?2) AND b.deleted_at IS NULL";
const RESERVE: &str = "INSERT INTO reservations (execution_id, root_id, path, attempt, user_id, model, provider, price,
         input_bound, output_cap, amount, legs, state, boot_id, created_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'open', ?13, ?14)
     ON CONFLICT (execution_id, path, attempt) DO NOTHING RETURNING id";
const HOLD: &str = "INSERT INTO budget_windows (budget_id, scope_id, window_start, posted, pending)
     VALUES (?1, ?2, ?3, 0, ?4)
     ON CONFLICT (budget_id, scope_id, window_start)
     DO UPDATE SET pending = budget_windows.pending + excluded.pending
     WHERE budget_windows.posted + budget_windows.pending + excluded.pending <= ?5";
const APPEND: &str = "INSERT INTO ledger_entries (at, kind, reservation_id, root_id, execution_id, user_id, model,
         provider, attempt, amount, released, legs, requests, input_tokens, output_tokens, cache_read_tokens,
         cache_write_tokens, reasoning_tokens, provenance, flag, raw_usage)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)";
const RESOLVE: &str = "UPDATE reservations SET state = ?2 WHERE id = ?1 AND state = 'open'
     RETURNING execution_id, root_id, user_id, model, provider, attempt, price, input_bound, output_cap, amount, legs";
const POST: &str = "UPDATE budget_windows SET pending = pending - ?4, posted = posted + ?5
     WHERE budget_id = ?1 AND scope_id = ?2 AND window_start = ?3 RETURNING posted";
const BUDGET: &str = "SELECT id, name, scope, scope_id, amount, hard, thresholds, revision, created_at, updated_at
     FROM budgets WHERE id = ?1 AND name IS NOT NULL AND deleted_at IS NULL";

impl Bare {
    /// On tables that the engine has made.
    pub fn open(folder: &Path, durability: Durability) -> Result<Self> {
        let connection = Connection::open(folder.join("blitz.db"))?;
        let synchronous = if durability == Durability::Full { "full" } else { "normal" };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.set_prepared_statement_cache_capacity(16);
        Ok(Self { connection, price: serde_json::to_string(&price()?)? })
    }

    /// Calls of these numbers: all held in one commit, all booked in the next.
    pub fn pairs(&self, numbers: std::ops::Range<u64>) -> Result<()> {
        let mut held = Vec::new();
        self.commit(|| {
            for number in numbers {
                held.push((number, self.reserve(number)?));
            }
            Ok(())
        })?;
        self.commit(|| held.iter().try_for_each(|(number, id)| self.settle(*number, *id)))
    }

    fn commit(&self, body: impl FnOnce() -> Result<()>) -> Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        body()?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    fn reserve(&self, number: u64) -> Result<i64> {
        let (execution, path) = (execution(number), format!("{number}/model"));
        let matching = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, i64, i64, i64)> {
            Ok((row.get(0)?, row.get(3)?, row.get(5)?, row.get(6)?))
        };
        let mut statement = self.connection.prepare_cached(MATCHING)?;
        let budgets = statement.query_map(params![None::<i64>, execution], matching)?;
        let budgets = budgets.collect::<rusqlite::Result<Vec<_>>>()?;
        let [(budget, limit, posted, pending)] = budgets[..] else { return Err("there is one budget".into()) };
        if posted + pending + COST > limit {
            return Err("the budget is spent".into());
        }
        let legs = legs(budget, execution);
        let reservation = params![
            execution,
            execution,
            path,
            1,
            None::<i64>,
            "m",
            "bench",
            self.price,
            USAGE.0 as i64,
            USAGE.1 as i64,
            COST,
            legs,
            "bench",
            NOW
        ];
        let id = self.connection.prepare_cached(RESERVE)?.query_row(reservation, |row| row.get(0))?;
        self.connection.prepare_cached(HOLD)?.execute(params![budget, execution, 0, COST, limit])?;
        self.append("reserve", id, execution, 0, &legs, None)?;
        Ok(id)
    }

    fn settle(&self, number: u64, id: i64) -> Result<()> {
        let execution = execution(number);
        let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(String, String, i64, String)> {
            Ok((row.get(3)?, row.get(6)?, row.get(9)?, row.get(10)?))
        };
        let (_, _, held, legs) = self.connection.prepare_cached(RESOLVE)?.query_row(params![id, "settled"], read)?;
        self.append("settle", id, execution, held, &legs, Some(USAGE))?;
        let posted: i64 =
            self.connection.prepare_cached(POST)?.query_row(params![1, execution, 0, held, COST], |row| row.get(0))?;
        let limit: i64 = self.connection.prepare_cached(BUDGET)?.query_row([1], |row| row.get(4))?;
        if posted * 100 >= limit * 80 { Err("a threshold is crossed".into()) } else { Ok(()) }
    }

    fn append(
        &self,
        kind: &str,
        id: i64,
        execution: i64,
        released: i64,
        legs: &str,
        usage: Option<(u64, u64)>,
    ) -> Result<()> {
        let none = None::<i64>;
        let count = |count: fn((u64, u64)) -> u64| usage.map(|usage| count(usage) as i64);
        self.connection.prepare_cached(APPEND)?.execute(params![
            NOW,
            kind,
            id,
            execution,
            execution,
            none,
            "m",
            "bench",
            1,
            COST,
            released,
            legs,
            count(|_| 1),
            count(|usage| usage.0),
            count(|usage| usage.1),
            count(|_| 0),
            count(|_| 0),
            count(|_| 0),
            usage.map(|_| "provider"),
            none,
            none
        ])?;
        Ok(())
    }
}

fn legs(budget: i64, execution: i64) -> String {
    format!("[[{budget},{execution},0]]")
}
