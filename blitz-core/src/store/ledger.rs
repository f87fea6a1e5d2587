//! Budgets, reservations and entries: the SQL, written once.
//!
//! This file and `matching` are the hot path of every model call: reservations and entries, windows.
//! `budgets` keeps the budgets themselves, `costs` and `usage` ask what was booked.

pub(crate) mod alerts;
pub(crate) mod budgets;
pub(crate) mod costs;
pub(crate) mod limits;
pub(crate) mod matching;
pub(crate) mod tags;
pub(crate) mod usage;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::sql::{self, Connection, Row, SqlValue, params};
use crate::domain::{
    EntryFlag, EntryKind, ExecutionId, Money, Price, PriceListing, ReservationId, ResourceId, Timestamp, Usage,
    UsageDetails, UserId,
};
use crate::error::{Error, Result};
pub(crate) use matching::{Count, Leg};

/// The model call that a reservation or entry is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) execution_id: ExecutionId,
    pub(crate) root_id: ExecutionId,
    pub(crate) user_id: Option<UserId>,
    pub(crate) role: Option<&'a str>,
    pub(crate) key_id: Option<i64>,
    pub(crate) agent_id: Option<ResourceId>,
    pub(crate) workflow_id: Option<ResourceId>,
    /// The prompt version, `name@version`.
    pub(crate) prompt: Option<&'a str>,
    pub(crate) model: &'a str,
    pub(crate) provider: &'a str,
    /// The service behind it, where that has another name and budgets are asked.
    pub(crate) service: Option<&'a str>,
    pub(crate) attempt: u32,
}

// Reservations ------------------------------------------------------------------------------------

/// A reservation to write.
pub(crate) struct NewReservation<'a> {
    pub(crate) call: Call<'a>,
    pub(crate) path: &'a str,
    pub(crate) price: Option<&'a Price>,
    pub(crate) listing: Option<&'a PriceListing>,
    pub(crate) input_bound: u64,
    pub(crate) output_cap: u64,
    /// What it may use at most beside tokens.
    pub(crate) beside: &'a UsageDetails,
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
    role: Option<String>,
    key_id: Option<i64>,
    agent_id: Option<ResourceId>,
    workflow_id: Option<ResourceId>,
    prompt: Option<String>,
    model: String,
    provider: String,
    attempt: u32,
    pub(crate) price: Option<Price>,
    pub(crate) listing: Option<PriceListing>,
    pub(crate) input_bound: u64,
    pub(crate) output_cap: u64,
    /// What it was allowed at most beside tokens.
    pub(crate) beside: UsageDetails,
    pub(crate) amount: Option<Money>,
    pub(crate) legs: Vec<Leg>,
    pub(crate) created_at: Timestamp,
}

impl Reservation {
    /// The call it was made for.
    pub(crate) fn call(&self) -> Call<'_> {
        Call {
            execution_id: self.execution_id,
            root_id: self.root_id,
            user_id: self.user_id,
            role: self.role.as_deref(),
            key_id: self.key_id,
            agent_id: self.agent_id,
            workflow_id: self.workflow_id,
            prompt: self.prompt.as_deref(),
            model: &self.model,
            provider: &self.provider,
            service: None,
            attempt: self.attempt,
        }
    }

    /// The version of prices that was in force.
    pub(crate) fn price_version(&self) -> Option<i64> {
        self.listing.as_ref().and_then(|listing| listing.version)
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
             input_bound, output_cap, amount, legs, state, boot_id, created_at, role, key_id, agent_id, workflow_id, prompt,
             listing, beside)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'open', ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
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
            new.call.role,
            new.call.key_id,
            new.call.agent_id,
            new.call.workflow_id,
            new.call.prompt,
            new.listing.map(sql::to_json).transpose()?,
            Some(new.beside).filter(|beside| !beside.is_empty()).map(sql::to_json).transpose()?,
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
        "SELECT execution_id, root_id, user_id, model, provider, attempt, price, input_bound, output_cap, amount, legs,
             role, key_id, agent_id, workflow_id, prompt, created_at, listing, beside
         FROM reservations WHERE id = ?1 AND state = 'open'",
        params![id],
    )?;
    let Some(open) = open else { return Ok(None) };
    tx.execute("UPDATE reservations SET state = ?2 WHERE id = ?1", params![id, state])?;
    reservation(id, &open).map(Some)
}

/// A reservation that has ended with a booking.
pub(crate) fn settled_reservation(tx: &mut dyn Connection, id: ReservationId) -> Result<Option<Reservation>> {
    let row = tx.query_one(
        "SELECT execution_id, root_id, user_id, model, provider, attempt, price, input_bound, output_cap, amount, legs,
             role, key_id, agent_id, workflow_id, prompt, created_at, listing, beside
         FROM reservations WHERE id = ?1 AND state = 'settled'",
        params![id],
    )?;
    row.map(|row| reservation(id, &row)).transpose()
}

fn reservation(id: ReservationId, row: &Row) -> Result<Reservation> {
    Ok(Reservation {
        id,
        execution_id: ExecutionId(row.int(0)?),
        root_id: ExecutionId(row.int(1)?),
        user_id: row.opt_int(2)?.map(UserId),
        role: row.opt_text(11)?.map(str::to_owned),
        key_id: row.opt_int(12)?,
        agent_id: row.opt_int(13)?.map(ResourceId),
        workflow_id: row.opt_int(14)?.map(ResourceId),
        prompt: row.opt_text(15)?.map(str::to_owned),
        model: row.text(3)?.to_owned(),
        provider: row.text(4)?.to_owned(),
        attempt: count(row, 5)?,
        price: row.opt_json(6)?,
        listing: row.opt_json(17)?,
        input_bound: count(row, 7)?,
        output_cap: count(row, 8)?,
        beside: row.opt_json(18)?.unwrap_or_default(),
        amount: row.opt_int(9)?.map(Money::from_nanos),
        legs: legs(row, 10)?,
        created_at: Timestamp(row.int(16)?),
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
        "SELECT id, root_id, execution_id, path, attempt, boot_id FROM reservations
         WHERE boot_id = ?1 AND state = 'open' ORDER BY id LIMIT ?2",
        params![boot_id, limit],
    )?;
    rows.iter().map(open_reservation).collect()
}

/// The open reservations of a tree of executions, whichever process made them.
pub(crate) fn open_in_tree(tx: &mut dyn Connection, root_id: ExecutionId) -> Result<Vec<OpenReservation>> {
    let rows = tx.query_all(
        "SELECT id, root_id, execution_id, path, attempt, boot_id FROM reservations
         WHERE state = 'open' AND root_id = ?1 ORDER BY id LIMIT 1000",
        params![root_id],
    )?;
    rows.iter().map(open_reservation).collect()
}

fn open_reservation(row: &Row) -> Result<OpenReservation> {
    Ok(OpenReservation {
        id: ReservationId(row.int(0)?),
        boot_id: row.text(5)?.to_owned(),
        root_id: ExecutionId(row.int(1)?),
        execution_id: ExecutionId(row.int(2)?),
        path: row.text(3)?.to_owned(),
        attempt: count(row, 4)?,
    })
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
    /// Microseconds since the reservation, and how the attempt ended: 0 well, 1 failed, 2 failed and made again.
    pub(crate) ended: Option<(u64, i64)>,
    /// Why, where it corrects another.
    pub(crate) reason: Option<&'a str>,
    /// By which prices.
    pub(crate) rated: Rated,
}

/// By which prices an entry was rated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rated {
    /// The imported version, where one was in force. On an `adjust` it says that the call was rated anew.
    pub(crate) version: Option<i64>,
    /// Whether this entry gives a price to a call that had none.
    pub(crate) prices: bool,
}

/// What the provider said of a call is kept up to this length; more is no usage.
const RAW_USAGE_BYTES: usize = 8 * 1024;

/// Appends an entry.
pub(crate) fn append(tx: &mut dyn Connection, now: Timestamp, entry: &NewEntry<'_>) -> Result<()> {
    append_corrected(tx, now, entry, &TokenChange::default(), entry.usage.map(|usage| &usage.details))
}

/// By how much an entry corrects what a call counted, up or down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TokenChange {
    pub(crate) input: i64,
    pub(crate) output: i64,
    pub(crate) cache_read: i64,
    pub(crate) cache_write: i64,
    pub(crate) cache_write_1h: i64,
    pub(crate) reasoning: i64,
}

impl TokenChange {
    /// Of the input, by so many.
    pub(crate) fn of_input(input: i64) -> Self {
        Self { input, ..Self::default() }
    }

    /// From these sums to a count.
    pub(crate) fn between(before: &Self, now: &Usage) -> Self {
        let change = |now: u64, before: i64| i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(before);
        Self {
            input: change(now.input_tokens, before.input),
            output: change(now.output_tokens, before.output),
            cache_read: change(now.cache_read_tokens, before.cache_read),
            cache_write: change(now.cache_write_tokens, before.cache_write),
            cache_write_1h: change(now.cache_write_1h_tokens, before.cache_write_1h),
            reasoning: change(now.reasoning_tokens, before.reasoning),
        }
    }

    /// Of both together.
    pub(crate) fn total(&self) -> i64 {
        self.input.saturating_add(self.output)
    }
}

/// Appends an entry without usage of its own that corrects the tokens of a call, and what of them has its own price.
pub(crate) fn append_corrected(
    tx: &mut dyn Connection,
    now: Timestamp,
    entry: &NewEntry<'_>,
    change: &TokenChange,
    details: Option<&UsageDetails>,
) -> Result<()> {
    let counted = |count: fn(&Usage) -> u64| entry.usage.map_or(SqlValue::Null, |usage| sql::tokens(count(usage)));
    let tokens = |change: i64, count: fn(&Usage) -> u64| if change == 0 { counted(count) } else { change.into() };
    let raw_usage = entry.raw_usage.map(sql::to_json).transpose()?.filter(|text| text.len() <= RAW_USAGE_BYTES);
    let details = details.filter(|details| !details.is_empty());
    let details = details.map(sql::to_json).transpose()?;
    tx.execute(
        "INSERT INTO ledger_entries (at, kind, reservation_id, root_id, execution_id, user_id, model, provider, attempt,
             amount, released, legs, requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
             reasoning_tokens, provenance, flag, raw_usage, cache_write_1h_tokens, role, key_id, agent_id, workflow_id,
             prompt, latency, failed, reason, price_version, priced, usage_details)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
             ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)",
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
            tokens(change.input, |usage| usage.input_tokens),
            tokens(change.output, |usage| usage.output_tokens),
            tokens(change.cache_read, |usage| usage.cache_read_tokens),
            tokens(change.cache_write, |usage| usage.cache_write_tokens),
            tokens(change.reasoning, |usage| usage.reasoning_tokens),
            entry.usage.map(|usage| usage.provenance.name()),
            entry.flag.map(EntryFlag::name),
            raw_usage,
            tokens(change.cache_write_1h, |usage| usage.cache_write_1h_tokens),
            entry.call.role,
            entry.call.key_id,
            entry.call.agent_id,
            entry.call.workflow_id,
            entry.call.prompt,
            entry.ended.map(|(latency, _)| i64::try_from(latency).unwrap_or(i64::MAX)),
            entry.ended.map(|(_, failed)| failed),
            entry.reason,
            entry.rated.version,
            entry.rated.prices.then_some(1_i64),
            details,
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
        let queries =
            [matching::MATCHING, matching::MATCHING_CHILD].into_iter().chain(costs::SUMMARY).chain(costs::ENTRIES);
        for query in queries.filter(|&query| query != summary_all && query != entries_all) {
            let explain: &'static str = format!("EXPLAIN QUERY PLAN {query}").leak();
            let places = (1..=14).rev().find(|n| query.contains(&format!("?{n}"))).unwrap();
            let plan =
                crate::store::memory().store.write(move |tx| tx.query_all(explain, &vec![SqlValue::Null; places]));
            let plan: Vec<_> = plan.await.unwrap().iter().map(|row| row.text(3).unwrap().to_owned()).collect();
            assert!(
                !plan.iter().any(|step| step.starts_with("SCAN")
                    && !step.ends_with("wanted")
                    // The few executions above one are gone through.
                    && !matches!(step.as_str(), "SCAN a" | "SCAN above")
                    && !step.contains("CONSTANT ROW")),
                "{query}: {plan:?}"
            );
        }
    }
}
