//! The money of a model call: the engine's ledger by itself, and its statements by bare SQLite, as they are in
//! `store::ledger`.

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

const MATCHING: &str = "WITH wanted (scope, budget_of, id) AS (VALUES
        ('user', ?1, ?1), ('user', 0, ?1),
        ('execution', ?2, ?2), ('execution', 0, ?2),
        ('role', (SELECT id FROM budget_names WHERE name = ?3), (SELECT id FROM budget_names WHERE name = ?3)),
        ('role', 0, (SELECT id FROM budget_names WHERE name = ?3)),
        ('key', ?4, ?4), ('key', 0, ?4),
        ('model', (SELECT id FROM budget_names WHERE name = ?5), (SELECT id FROM budget_names WHERE name = ?5)),
        ('model', 0, (SELECT id FROM budget_names WHERE name = ?5)),
        ('provider', (SELECT id FROM budget_names WHERE name = ?6), (SELECT id FROM budget_names WHERE name = ?6)),
        ('provider', 0, (SELECT id FROM budget_names WHERE name = ?6)),
        ('workflow', ?7, ?7), ('workflow', 0, ?7),
        ('agent', ?8, ?8), ('agent', 0, ?8), ('agent', ?9, ?9), ('agent', 0, ?9),
        ('agent', ?10, ?10), ('agent', 0, ?10), ('agent', ?11, ?11), ('agent', 0, ?11),
        ('all', 0, 0)
        UNION ALL SELECT 'tag', tag_id, tag_id FROM execution_tags WHERE root_id = ?2
        UNION ALL SELECT 'tag', key_id, tag_id FROM execution_tags WHERE root_id = ?2)
    SELECT b.id, wanted.scope, wanted.id, CASE WHEN b.name IS NULL THEN 1 ELSE 0 END, b.unit, b.amount,
        CAST(coalesce((SELECT sum(r.amount) FROM budget_raises r
            WHERE r.budget_id = b.id AND r.from_at <= ?12 AND r.until_at > ?12), 0) AS BIGINT),
        b.hard, b.period, b.hours, b.time_zone, b.epoch, b.on_exceed, b.downgrade_to, b.on_unpriced,
        coalesce(w.posted, 0), coalesce(w.pending, 0)
    FROM wanted JOIN budgets b ON b.scope = wanted.scope AND b.scope_id = wanted.budget_of AND b.deleted_at IS NULL
    LEFT JOIN budget_windows w ON w.budget_id = b.id AND w.window_start = b.epoch
        AND w.scope_id = CASE b.period WHEN 'execution' THEN ?2 ELSE wanted.id END
    WHERE (b.model IS NULL OR b.model = ?5)";
const RESERVE: &str = "INSERT INTO reservations (execution_id, root_id, path, attempt, user_id, model, provider, price,
         input_bound, output_cap, amount, legs, state, boot_id, created_at, role, key_id, agent_id, workflow_id, prompt,
         listing)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'open', ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)
     ON CONFLICT (execution_id, path, attempt) DO NOTHING";
const HOLD: &str = "INSERT INTO budget_windows (budget_id, scope_id, window_start, posted, pending)
     VALUES (?1, ?2, ?3, 0, ?4)
     ON CONFLICT (budget_id, scope_id, window_start)
     DO UPDATE SET pending = budget_windows.pending + excluded.pending
     WHERE budget_windows.posted + budget_windows.pending + excluded.pending <= ?5";
const APPEND: &str = "INSERT INTO ledger_entries (at, kind, reservation_id, root_id, execution_id, user_id, model,
         provider, attempt, amount, released, legs, requests, input_tokens, output_tokens, cache_read_tokens,
         cache_write_tokens, reasoning_tokens, provenance, flag, raw_usage, cache_write_1h_tokens, role, key_id,
         agent_id, workflow_id, prompt, latency, failed, reason, price_version, priced)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
         ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32)";
const OPEN: &str = "SELECT execution_id, root_id, user_id, model, provider, attempt, price, input_bound, output_cap,
         amount, legs, role, key_id, agent_id, workflow_id, prompt, created_at, listing
     FROM reservations WHERE id = ?1 AND state = 'open'";
const RESOLVE: &str = "UPDATE reservations SET state = ?2 WHERE id = ?1";
const POST: &str = "UPDATE budget_windows SET pending = pending - ?4, posted = posted + ?5
     WHERE budget_id = ?1 AND scope_id = ?2 AND window_start = ?3 AND posted + ?5 >= 0";
const WATCHED: &str = "SELECT b.name, b.unit, b.amount, CAST(coalesce((SELECT sum(r.amount) FROM budget_raises r
             WHERE r.budget_id = b.id AND r.from_at <= ?4 AND r.until_at > ?4), 0) AS BIGINT),
         b.thresholds, b.burn_rate, b.projection, b.period, b.hours, b.time_zone, b.epoch, w.posted
     FROM budgets b JOIN budget_windows w ON w.budget_id = b.id AND w.scope_id = ?2 AND w.window_start = ?3
     WHERE b.id = ?1 AND b.name IS NOT NULL AND b.deleted_at IS NULL
         AND (b.thresholds <> '[]' OR b.burn_rate IS NOT NULL OR b.projection = 1)";

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
            Ok((row.get(0)?, row.get(5)?, row.get(15)?, row.get(16)?))
        };
        let none = None::<i64>;
        let mut statement = self.connection.prepare_cached(MATCHING)?;
        let caller = params![none, execution, none, none, "m", "bench", none, none, none, none, none, NOW];
        let budgets = statement.query_map(caller, matching)?;
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
            none,
            "m",
            "bench",
            self.price,
            USAGE.0 as i64,
            USAGE.1 as i64,
            COST,
            legs,
            "bench",
            NOW,
            none,
            none,
            none,
            none,
            none,
            none
        ];
        let id = self.connection.prepare_cached(RESERVE)?.insert(reservation)?;
        self.connection.prepare_cached(HOLD)?.execute(params![budget, execution, 0, COST, limit])?;
        self.append("reserve", id, execution, 0, &legs, None)?;
        Ok(id)
    }

    fn settle(&self, number: u64, id: i64) -> Result<()> {
        let execution = execution(number);
        let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(String, String, i64, String)> {
            Ok((row.get(3)?, row.get(6)?, row.get(9)?, row.get(10)?))
        };
        let (_, _, held, legs) = self.connection.prepare_cached(OPEN)?.query_row([id], read)?;
        self.connection.prepare_cached(RESOLVE)?.execute(params![id, "settled"])?;
        self.append("settle", id, execution, held, &legs, Some(USAGE))?;
        self.connection.prepare_cached(POST)?.execute(params![1, execution, 0, held, COST])?;
        let watched = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, i64)> { Ok((row.get(2)?, row.get(11)?)) };
        let watching = params![1, execution, 0, NOW];
        let (limit, posted) = self.connection.prepare_cached(WATCHED)?.query_row(watching, watched)?;
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
            none,
            count(|_| 0),
            none,
            none,
            none,
            none,
            none,
            count(|_| 1_000),
            count(|_| 0),
            none,
            none,
            none
        ])?;
        Ok(())
    }
}

fn legs(budget: i64, execution: i64) -> String {
    format!("[[{budget},{execution},0]]")
}
