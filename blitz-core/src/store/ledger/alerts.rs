//! Alerts, and what is still to be told to whom: the SQL, written once.

use super::{Leg, count, word};
use crate::domain::{Alert, AlertKind, Amount, BudgetId, BudgetUnit, Delivery, NewWebhook, Timestamp, Webhook};
use crate::error::Result;
use crate::store::sql::{self, Connection, Row, params};

/// An alert to write, in the units of its budget.
pub(crate) struct NewAlert {
    pub(crate) kind: AlertKind,
    pub(crate) threshold: u32,
    pub(crate) posted: i64,
    pub(crate) bound: i64,
    pub(crate) exhausted_at: Option<Timestamp>,
}

/// Writes an alert and gives its id; `None` where this line of this window has one.
pub(crate) fn insert(tx: &mut dyn Connection, now: Timestamp, leg: Leg, alert: &NewAlert) -> Result<Option<i64>> {
    tx.insert(
        "INSERT INTO alerts (budget_id, scope_id, window_start, kind, threshold, posted, bound, exhausted_at, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (budget_id, scope_id, window_start, kind, threshold) DO NOTHING",
        params![
            leg.budget,
            leg.scope_id,
            leg.start,
            alert.kind.name(),
            alert.threshold,
            alert.posted,
            alert.bound,
            alert.exhausted_at,
            now
        ],
    )
}

/// Whether a line of a series was crossed in a window that begins at a moment or later.
pub(crate) fn crossed_since(tx: &mut dyn Connection, leg: Leg, threshold: u32, from: Timestamp) -> Result<bool> {
    let row = tx.query_one(
        "SELECT id FROM alerts WHERE budget_id = ?1 AND scope_id = ?2 AND window_start >= ?3
             AND kind = 'threshold' AND threshold = ?4 LIMIT 1",
        params![leg.budget, leg.scope_id, from, threshold],
    )?;
    Ok(row.is_some())
}

/// At most `limit` alerts behind one, in order.
pub(crate) fn list(tx: &mut dyn Connection, after: i64, limit: u32) -> Result<Vec<Alert>> {
    let rows = tx.query_all(
        "SELECT a.id, a.at, a.kind, a.budget_id, coalesce(b.name, ''), a.scope_id, a.window_start, a.threshold, a.posted,
             a.bound, a.exhausted_at, b.unit
         FROM alerts a JOIN budgets b ON b.id = a.budget_id WHERE a.id > ?1 ORDER BY a.id LIMIT ?2",
        params![after, limit],
    )?;
    let alert = |row: &Row| {
        let unit: BudgetUnit = word(row.text(11)?)?;
        Ok(Alert {
            id: row.int(0)?,
            at: Timestamp(row.int(1)?),
            kind: word(row.text(2)?)?,
            budget_id: BudgetId(row.int(3)?),
            budget: row.text(4)?.to_owned(),
            scope_id: row.int(5)?,
            window_start: Timestamp(row.int(6)?),
            threshold: count(row, 7)?,
            posted: Amount::of(unit, row.int(8)?),
            limit: Amount::of(unit, row.int(9)?),
            exhausted_at: row.opt_int(10)?.map(Timestamp),
        })
    };
    rows.iter().map(alert).collect()
}

/// Adds to what a series booked in an hour and gives the sum.
pub(crate) fn add_to_hour(tx: &mut dyn Connection, leg: Leg, hour: Timestamp, booked: i64) -> Result<i64> {
    tx.execute(
        "INSERT INTO budget_hours (budget_id, scope_id, hour, posted) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (budget_id, scope_id, hour) DO UPDATE SET posted = budget_hours.posted + excluded.posted",
        params![leg.budget, leg.scope_id, hour, booked],
    )?;
    let row = tx.query_one(
        "SELECT posted FROM budget_hours WHERE budget_id = ?1 AND scope_id = ?2 AND hour = ?3",
        params![leg.budget, leg.scope_id, hour],
    )?;
    row.map_or(Ok(booked), |row| row.int(0))
}

/// What a series booked in each hour between two moments, least first.
pub(crate) fn hours(tx: &mut dyn Connection, leg: Leg, from: Timestamp, to: Timestamp) -> Result<Vec<i64>> {
    let rows = tx.query_all(
        "SELECT posted FROM budget_hours WHERE budget_id = ?1 AND scope_id = ?2 AND hour >= ?3 AND hour < ?4
         ORDER BY posted LIMIT 1000",
        params![leg.budget, leg.scope_id, from, to],
    )?;
    rows.iter().map(|row| row.int(0)).collect()
}

// Webhooks ----------------------------------------------------------------------------------------

/// Writes a webhook; `None` where a live one has its name.
pub(crate) fn insert_webhook(tx: &mut dyn Connection, now: Timestamp, new: &NewWebhook) -> Result<Option<i64>> {
    tx.insert(
        "INSERT INTO webhooks (name, url, events, active, allow_local, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT (name) WHERE deleted_at IS NULL DO NOTHING",
        params![&new.name, &new.url, sql::to_json(&new.events)?, new.active, new.allow_local, now],
    )
}

/// Replaces the fields of a live webhook.
pub(crate) fn update_webhook(tx: &mut dyn Connection, now: Timestamp, id: i64, new: &NewWebhook) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE webhooks SET name = ?2, url = ?3, events = ?4, active = ?5, allow_local = ?6, updated_at = ?7
         WHERE id = ?1 AND deleted_at IS NULL",
        params![id, &new.name, &new.url, sql::to_json(&new.events)?, new.active, new.allow_local, now],
    )?;
    Ok(changed == 1)
}

/// Ends a webhook; what was still to be told to it is given up.
pub(crate) fn delete_webhook(tx: &mut dyn Connection, now: Timestamp, id: i64) -> Result<bool> {
    let changed =
        tx.execute("UPDATE webhooks SET deleted_at = ?2 WHERE id = ?1 AND deleted_at IS NULL", params![id, now])?;
    tx.execute(
        "UPDATE outbox SET next_at = NULL, error = 'the webhook was deleted' WHERE webhook_id = ?1 AND next_at IS NOT NULL",
        params![id],
    )?;
    Ok(changed == 1)
}

/// A live webhook.
pub(crate) fn webhook(tx: &mut dyn Connection, id: i64) -> Result<Option<Webhook>> {
    let row = tx.query_one(
        "SELECT id, name, url, events, active, allow_local, created_at, updated_at FROM webhooks
         WHERE id = ?1 AND deleted_at IS NULL",
        params![id],
    )?;
    row.as_ref().map(to_webhook).transpose()
}

/// The live webhook of a name.
pub(crate) fn find_webhook(tx: &mut dyn Connection, name: &str) -> Result<Option<Webhook>> {
    let row = tx.query_one(
        "SELECT id, name, url, events, active, allow_local, created_at, updated_at FROM webhooks
         WHERE name = ?1 AND deleted_at IS NULL",
        params![name],
    )?;
    row.as_ref().map(to_webhook).transpose()
}

/// At most `limit` live webhooks behind one, in order.
pub(crate) fn webhooks(tx: &mut dyn Connection, after: i64, limit: u32) -> Result<Vec<Webhook>> {
    let rows = tx.query_all(
        "SELECT id, name, url, events, active, allow_local, created_at, updated_at FROM webhooks
         WHERE id > ?1 AND deleted_at IS NULL ORDER BY id LIMIT ?2",
        params![after, limit],
    )?;
    rows.iter().map(to_webhook).collect()
}

fn to_webhook(row: &Row) -> Result<Webhook> {
    Ok(Webhook {
        id: row.int(0)?,
        name: row.text(1)?.to_owned(),
        url: row.text(2)?.to_owned(),
        events: row.json(3)?,
        active: row.bool(4)?,
        allow_local: row.bool(5)?,
        created_at: Timestamp(row.int(6)?),
        updated_at: Timestamp(row.int(7)?),
    })
}

// The outbox --------------------------------------------------------------------------------------

/// Puts a message into the outbox, due at once.
pub(crate) fn enqueue(tx: &mut dyn Connection, now: Timestamp, webhook: i64, event: &str, body: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO outbox (webhook_id, event, body, attempts, next_at, created_at) VALUES (?1, ?2, ?3, 0, ?4, ?4)",
        params![webhook, event, body, now],
    )?;
    Ok(())
}

/// A message that is due.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    pub(crate) id: i64,
    pub(crate) webhook_id: i64,
    pub(crate) event: String,
    pub(crate) body: String,
    pub(crate) attempts: u32,
}

/// Takes at most `limit` messages that are due; nobody else takes them before `until`.
pub(crate) fn take_due(tx: &mut dyn Connection, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Due>> {
    let rows = tx.query_all(
        "SELECT id, webhook_id, event, body, attempts FROM outbox
         WHERE next_at IS NOT NULL AND next_at <= ?1 ORDER BY next_at, id LIMIT ?2",
        params![now, limit],
    )?;
    let mut due = Vec::with_capacity(rows.len());
    for row in &rows {
        let attempts: u32 = count(row, 4)?;
        let taken = Due {
            id: row.int(0)?,
            webhook_id: row.int(1)?,
            event: row.text(2)?.to_owned(),
            body: row.text(3)?.to_owned(),
            attempts: attempts.saturating_add(1),
        };
        tx.execute(
            "UPDATE outbox SET next_at = ?2, attempts = ?3 WHERE id = ?1",
            params![taken.id, until, taken.attempts],
        )?;
        due.push(taken);
    }
    Ok(due)
}

/// Notes that a message was delivered.
pub(crate) fn delivered(tx: &mut dyn Connection, now: Timestamp, id: i64) -> Result<()> {
    tx.execute("UPDATE outbox SET next_at = NULL, delivered_at = ?2, error = NULL WHERE id = ?1", params![id, now])?;
    Ok(())
}

/// Notes that a message was not delivered, and when it is tried again; never where `None`.
pub(crate) fn failed(tx: &mut dyn Connection, id: i64, next: Option<Timestamp>, error: &str) -> Result<()> {
    tx.execute(
        "UPDATE outbox SET next_at = ?2, error = ?3 WHERE id = ?1 AND delivered_at IS NULL",
        params![id, next, error],
    )?;
    Ok(())
}

/// When the next message is due.
pub(crate) fn next_due(tx: &mut dyn Connection) -> Result<Option<Timestamp>> {
    let row = tx.query_one("SELECT min(next_at) FROM outbox WHERE next_at IS NOT NULL", &[])?;
    row.map_or(Ok(None), |row| Ok(row.opt_int(0)?.map(Timestamp)))
}

/// Makes what a webhook still has to be told due now, also what was given up; says how much.
pub(crate) fn retry(tx: &mut dyn Connection, now: Timestamp, webhook: i64) -> Result<usize> {
    tx.execute("UPDATE outbox SET next_at = ?2 WHERE webhook_id = ?1 AND delivered_at IS NULL", params![webhook, now])
}

/// At most `limit` messages of a webhook behind one, in order.
pub(crate) fn deliveries(tx: &mut dyn Connection, webhook: i64, after: i64, limit: u32) -> Result<Vec<Delivery>> {
    let rows = tx.query_all(
        "SELECT id, event, attempts, next_at, delivered_at, error, created_at FROM outbox
         WHERE webhook_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
        params![webhook, after, limit],
    )?;
    let delivery = |row: &Row| {
        Ok(Delivery {
            id: row.int(0)?,
            webhook_id: webhook,
            event: row.text(1)?.to_owned(),
            attempts: count(row, 2)?,
            next_at: row.opt_int(3)?.map(Timestamp),
            delivered_at: row.opt_int(4)?.map(Timestamp),
            error: row.opt_text(5)?.map(str::to_owned),
            created_at: Timestamp(row.int(6)?),
        })
    };
    rows.iter().map(delivery).collect()
}
