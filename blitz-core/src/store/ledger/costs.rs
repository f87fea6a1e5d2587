//! What was booked: the SQL, written once.

use super::{Leg, TokenChange, count, legs, word};
use crate::domain::{
    CostFilter, CostSummary, EntryFlag, EntryKind, ExecutionId, LedgerEntry, Money, Provenance, Rerate, ReservationId,
    ResourceId, Timestamp, Usage, UsageDetails, UserId,
};
use crate::error::Result;
use crate::store::sql::{Connection, Row, SqlValue, params};

/// Whether an entry books a call that has no price, or a part without one.
macro_rules! is_unpriced {
    () => {
        "CASE WHEN kind = 'settle' AND (amount IS NULL OR flag = 'unpriced_part') THEN 1 END"
    };
}
pub(super) use is_unpriced;

/// What is summed over entries.
macro_rules! sums {
    () => {
        concat!(
            "SELECT CAST(coalesce(sum(amount), 0) AS BIGINT), count(",
            is_unpriced!(),
            ") - count(priced),
         CAST(coalesce(sum(requests), 0) AS BIGINT),
         CAST(coalesce(sum(input_tokens), 0) AS BIGINT),
         CAST(coalesce(sum(output_tokens), 0) AS BIGINT),
         CAST(coalesce(sum(cache_read_tokens), 0) AS BIGINT),
         CAST(coalesce(sum(cache_write_tokens), 0) AS BIGINT),
         CAST(coalesce(sum(reasoning_tokens), 0) AS BIGINT),
         coalesce(max(CASE provenance WHEN 'estimated' THEN 2 WHEN 'counted' THEN 1 ELSE 0 END), 0),
         CAST(coalesce(sum(cache_write_1h_tokens), 0) AS BIGINT)"
        )
    };
}

/// The embeddings that tools of an execution made.
macro_rules! embeddings {
    () => {
        "SELECT id FROM reservations WHERE execution_id = ?1 AND path >= 'embed/' AND path < 'embed0'"
    };
}

/// One query in four texts, each led by another index: root, execution, user, none. `kind <> 'reserve'`
/// is what those indexes hold.
macro_rules! by_index {
    ($select:expr, $end:literal) => {
        [
            by_index!(@ $select, "root_id = ?1 AND ", $end),
            by_index!(@ $select, "root_id = (SELECT root_id FROM reservations WHERE execution_id = ?2 LIMIT 1) AND ", $end),
            by_index!(@ $select, "user_id = ?3 AND ", $end),
            by_index!(@ $select, "", $end),
        ]
    };
    (@ $select:expr, $lead:literal, $end:literal) => {
        concat!(
            $select, " FROM ledger_entries WHERE ", $lead,
            "kind <> 'reserve' AND (?1 IS NULL OR root_id = ?1) AND (?2 IS NULL OR execution_id = ?2)
             AND (?3 IS NULL OR user_id = ?3) AND at >= ?4 AND at < ?5 ", $end
        )
    };
}

pub(super) static SUMMARY: [&str; 4] = by_index!(sums!(), "");

pub(super) static ENTRIES: [&str; 4] = by_index!(
    "SELECT seq, at, kind, reservation_id, root_id, execution_id, user_id, model, provider, attempt, amount,
         requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, provenance, flag,
         coalesce(cache_write_1h_tokens, 0), role, key_id, agent_id, workflow_id, prompt, latency, failed, reason,
         price_version, usage_details",
    "AND seq > ?6 ORDER BY seq LIMIT ?7"
);

/// The text of a query that reads least for this filter.
fn narrowest(texts: &[&'static str; 4], filter: &CostFilter) -> &'static str {
    match filter {
        CostFilter { root_id: Some(_), .. } => texts[0],
        CostFilter { execution_id: Some(_), .. } => texts[1],
        CostFilter { user_id: Some(_), .. } => texts[2],
        _ => texts[3],
    }
}

fn bounds(filter: &CostFilter) -> [SqlValue; 5] {
    let at = |bound: Option<Timestamp>, open: i64| SqlValue::Int(bound.map_or(open, |at| at.0));
    [
        filter.root_id.into(),
        filter.execution_id.into(),
        filter.user_id.into(),
        at(filter.from, i64::MIN),
        at(filter.to, i64::MAX),
    ]
}

/// The sums over everything booked that the filter meets. What is priced apart is on the entries alone.
pub(crate) fn summary(tx: &mut dyn Connection, filter: &CostFilter) -> Result<CostSummary> {
    let row = tx.query_one(narrowest(&SUMMARY, filter), &bounds(filter))?;
    row.as_ref().map_or_else(|| Ok(CostSummary::default()), summed)
}

fn summed(row: &Row) -> Result<CostSummary> {
    Ok(CostSummary {
        cost: Money::from_nanos(row.int(0)?),
        // A price may have come behind the time that is asked about, or for a call from before it.
        unpriced_calls: u64::try_from(row.int(1)?).unwrap_or(0),
        usage: Usage {
            provenance: match row.int(8)? {
                0 => Provenance::Provider,
                1 => Provenance::Counted,
                _ => Provenance::Estimated,
            },
            // Corrections may be younger than what they correct, and the filter may see them alone.
            ..usage_by(row, 2, 9, |row, column| row.int(column).map(|sum| u64::try_from(sum).unwrap_or(0)))?
        },
    })
}

/// At most `limit` entries behind a place that the filter meets, in order; what merely holds is left out.
pub(crate) fn entries(
    tx: &mut dyn Connection,
    filter: &CostFilter,
    after: i64,
    limit: u32,
) -> Result<Vec<LedgerEntry>> {
    let mut params = bounds(filter).to_vec();
    params.extend([after.into(), limit.into()]);
    let rows = tx.query_all(narrowest(&ENTRIES, filter), &params)?;
    rows.iter().map(entry).collect()
}

/// The reservation that was made for one attempt of a step.
pub(crate) fn reservation_of(
    tx: &mut dyn Connection,
    execution_id: ExecutionId,
    path: &str,
    attempt: u32,
) -> Result<Option<ReservationId>> {
    let row = tx.query_one(
        "SELECT id FROM reservations WHERE execution_id = ?1 AND path = ?2 AND attempt = ?3",
        params![execution_id, path, attempt],
    )?;
    row.map(|row| row.int(0).map(ReservationId)).transpose()
}

fn entry(row: &Row) -> Result<LedgerEntry> {
    let used = match row.opt_text(17)? {
        Some(provenance) => {
            Some(usage(row, 11, 19)?.with_provenance(word(provenance)?).with_details(details(row, 29)?))
        }
        None => None,
    };
    Ok(LedgerEntry {
        seq: row.int(0)?,
        at: Timestamp(row.int(1)?),
        kind: word(row.text(2)?)?,
        reservation_id: ReservationId(row.int(3)?),
        root_id: ExecutionId(row.int(4)?),
        execution_id: ExecutionId(row.int(5)?),
        user_id: row.opt_int(6)?.map(UserId),
        role: row.opt_text(20)?.map(str::to_owned),
        key_id: row.opt_int(21)?,
        agent_id: row.opt_int(22)?.map(ResourceId),
        workflow_id: row.opt_int(23)?.map(ResourceId),
        prompt: row.opt_text(24)?.map(str::to_owned),
        model: row.text(7)?.to_owned(),
        provider: row.text(8)?.to_owned(),
        attempt: count(row, 9)?,
        amount: row.opt_int(10)?.map(Money::from_nanos),
        usage: used,
        flag: row.opt_text(18)?.map(word).transpose()?,
        latency_us: row.opt_int(25)?.map(|_| count(row, 25)).transpose()?,
        failed: row.opt_int(26)?.map(|failed| failed != 0),
        reason: row.opt_text(27)?.map(str::to_owned),
        price_version: row.opt_int(28)?,
    })
}

/// What of a call's usage may have a price of its own: most have nothing of the kind.
fn details(row: &Row, index: usize) -> Result<UsageDetails> {
    if row.opt_text(index)?.is_some() { row.json(index) } else { Ok(UsageDetails::default()) }
}

/// The six counts that begin at a column, and the tokens written for an hour in another.
fn usage(row: &Row, first: usize, hour: usize) -> Result<Usage> {
    usage_by(row, first, hour, count)
}

fn usage_by(row: &Row, first: usize, hour: usize, count: fn(&Row, usize) -> Result<u64>) -> Result<Usage> {
    Ok(Usage {
        requests: count(row, first)?,
        input_tokens: count(row, first + 1)?,
        output_tokens: count(row, first + 2)?,
        cache_read_tokens: count(row, first + 3)?,
        cache_write_tokens: count(row, first + 4)?,
        cache_write_1h_tokens: count(row, hour)?,
        reasoning_tokens: count(row, first + 5)?,
        ..Usage::default()
    })
}

/// What a call was booked at so far.
#[derive(Default)]
pub(crate) struct BookedOf {
    pub(crate) cost: Money,
    pub(crate) tokens: TokenChange,
}

/// The sums over the entries of one reservation; the index of its root narrows them.
pub(crate) fn booked_of(tx: &mut dyn Connection, id: ReservationId) -> Result<BookedOf> {
    let row = tx.query_one(
        "SELECT CAST(coalesce(sum(amount), 0) AS BIGINT),
             CAST(coalesce(sum(input_tokens), 0) AS BIGINT), CAST(coalesce(sum(output_tokens), 0) AS BIGINT),
             CAST(coalesce(sum(cache_read_tokens), 0) AS BIGINT), CAST(coalesce(sum(cache_write_tokens), 0) AS BIGINT),
             CAST(coalesce(sum(cache_write_1h_tokens), 0) AS BIGINT), CAST(coalesce(sum(reasoning_tokens), 0) AS BIGINT)
         FROM ledger_entries WHERE root_id = (SELECT root_id FROM reservations WHERE id = ?1)
             AND kind <> 'reserve' AND reservation_id = ?1",
        params![id],
    )?;
    let Some(row) = row else { return Ok(BookedOf::default()) };
    let tokens = TokenChange {
        input: row.int(1)?,
        output: row.int(2)?,
        cache_read: row.int(3)?,
        cache_write: row.int(4)?,
        cache_write_1h: row.int(5)?,
        reasoning: row.int(6)?,
    };
    Ok(BookedOf { cost: Money::from_nanos(row.int(0)?), tokens })
}

/// What embeddings were booked at that were made for an execution by its tools; `None` where it made none.
pub(crate) fn embedded(
    tx: &mut dyn Connection,
    root_id: ExecutionId,
    execution_id: ExecutionId,
) -> Result<Option<CostSummary>> {
    if tx.query_one(concat!(embeddings!(), " LIMIT 1"), params![execution_id])?.is_none() {
        return Ok(None);
    }
    let row = tx.query_one(
        concat!(
            sums!(),
            " FROM ledger_entries WHERE root_id = ?2 AND kind <> 'reserve' AND reservation_id IN (",
            embeddings!(),
            ")"
        ),
        params![execution_id, root_id],
    )?;
    row.as_ref().map(summed).transpose()
}

/// The newest entry of one reservation.
pub(crate) fn last_of(tx: &mut dyn Connection, id: ReservationId) -> Result<Option<LedgerEntry>> {
    let row = tx.query_one(
        "SELECT seq, at, kind, reservation_id, root_id, execution_id, user_id, model, provider, attempt, amount,
             requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, provenance, flag,
             coalesce(cache_write_1h_tokens, 0), role, key_id, agent_id, workflow_id, prompt, latency, failed, reason,
             price_version, usage_details
         FROM ledger_entries WHERE root_id = (SELECT root_id FROM reservations WHERE id = ?1)
             AND kind <> 'reserve' AND reservation_id = ?1 ORDER BY seq DESC LIMIT 1",
        params![id],
    )?;
    row.as_ref().map(entry).transpose()
}

/// A call to rate anew: what it was held and booked for.
pub(crate) struct Ratable {
    /// What its settle booked, or the provider's own count that came later; with a flag where that is doubtful.
    pub(crate) usage: Usage,
    pub(crate) is_implausible: bool,
    /// Whether a part of it had no price when it was settled.
    pub(crate) has_unpriced_part: bool,
    /// When it was settled: its price may depend on the hour.
    pub(crate) settled_at: Timestamp,
    /// Whether its price, or that of a part, was unknown when it was settled, and still is.
    pub(crate) is_unpriced: bool,
    /// What it was rated at so far: by its end and by rating it anew, corrections by hand left out.
    pub(crate) rated: Money,
    /// What was booked for it in all.
    pub(crate) booked: Money,
}

/// At most `limit` settled reservations behind a place that are meant, in order.
pub(crate) fn settled_like(
    tx: &mut dyn Connection,
    asked: &Rerate,
    after: i64,
    limit: u32,
) -> Result<Vec<ReservationId>> {
    let at = |bound: Option<Timestamp>, open: i64| SqlValue::Int(bound.map_or(open, |at| at.0));
    let rows = tx.query_all(
        "SELECT id FROM reservations WHERE id > ?1 AND state = 'settled' AND created_at >= ?2 AND created_at < ?3
             AND (?4 IS NULL OR model = ?4) AND (?5 IS NULL OR provider = ?5) AND (?6 IS NULL OR user_id = ?6)
         ORDER BY id LIMIT ?7",
        params![
            after,
            at(asked.from, i64::MIN),
            at(asked.to, i64::MAX),
            asked.model.as_deref(),
            asked.provider.as_deref(),
            asked.user_id,
            limit
        ],
    )?;
    rows.iter().map(|row| row.int(0).map(ReservationId)).collect()
}

/// What one settled reservation was booked for; the index of its root narrows its entries.
pub(crate) fn ratable(tx: &mut dyn Connection, id: ReservationId) -> Result<Option<Ratable>> {
    let rows = tx.query_all(
        "SELECT kind, amount, requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
             reasoning_tokens, provenance, flag, coalesce(cache_write_1h_tokens, 0), price_version, priced,
             usage_details, at
         FROM ledger_entries WHERE root_id = (SELECT root_id FROM reservations WHERE id = ?1)
             AND kind <> 'reserve' AND reservation_id = ?1 ORDER BY seq LIMIT 1000",
        params![id],
    )?;
    let mut found: Option<Ratable> = None;
    for row in &rows {
        let (kind, amount): (EntryKind, _) = (word(row.text(0)?)?, row.opt_int(1)?);
        let flag = row.opt_text(9)?;
        let has = |one: EntryFlag| flag == Some(one.name());
        if let (EntryKind::Settle, Some(provenance)) = (kind, row.opt_text(8)?) {
            found = Some(Ratable {
                usage: usage(row, 2, 10)?.with_provenance(word(provenance)?).with_details(details(row, 13)?),
                is_implausible: has(EntryFlag::ImplausibleUsage),
                has_unpriced_part: has(EntryFlag::UnpricedPart),
                settled_at: Timestamp(row.int(14)?),
                is_unpriced: amount.is_none() || has(EntryFlag::UnpricedPart),
                rated: Money::ZERO,
                booked: Money::ZERO,
            });
        }
        let Some(ratable) = &mut found else { continue };
        let amount = Money::from_nanos(amount.unwrap_or(0));
        ratable.booked = ratable.booked.add(amount)?;
        if has(EntryFlag::LateUsage) {
            ratable.settled_at = Timestamp(row.int(14)?);
            ratable.is_implausible = false;
            ratable.usage = corrected(ratable.usage, row)?;
        }
        let rates = matches!(kind, EntryKind::Settle | EntryKind::Overage)
            || (kind == EntryKind::Adjust && (row.opt_int(11)?.is_some() || has(EntryFlag::LateUsage)));
        if rates {
            ratable.rated = ratable.rated.add(amount)?;
        }
        ratable.is_unpriced &= row.opt_int(12)?.is_none();
    }
    Ok(found)
}

/// An estimate with the provider's own count in its place, as the entry says by how much they differ.
fn corrected(estimate: Usage, row: &Row) -> Result<Usage> {
    let count = |before: u64, column| row.opt_int(column).map(|by| before.saturating_add_signed(by.unwrap_or(0)));
    Ok(Usage {
        input_tokens: count(estimate.input_tokens, 3)?,
        output_tokens: count(estimate.output_tokens, 4)?,
        cache_read_tokens: count(estimate.cache_read_tokens, 5)?,
        cache_write_tokens: count(estimate.cache_write_tokens, 6)?,
        reasoning_tokens: count(estimate.reasoning_tokens, 7)?,
        cache_write_1h_tokens: count(estimate.cache_write_1h_tokens, 10)?,
        provenance: Provenance::Provider,
        details: details(row, 13)?,
        ..estimate
    })
}

/// What an entry does to the windows on its legs.
pub(crate) struct Movement {
    pub(crate) seq: i64,
    pub(crate) kind: EntryKind,
    pub(crate) amount: Money,
    pub(crate) released: Money,
    pub(crate) legs: Vec<Leg>,
}

/// At most `limit` movements behind a place, in order.
pub(crate) fn movements(tx: &mut dyn Connection, after: i64, limit: u32) -> Result<Vec<Movement>> {
    let rows = tx.query_all(
        "SELECT seq, kind, coalesce(amount, 0), released, legs FROM ledger_entries
         WHERE seq > ?1 AND legs <> '[]' ORDER BY seq LIMIT ?2",
        params![after, limit],
    )?;
    let movement = |row: &Row| {
        Ok(Movement {
            seq: row.int(0)?,
            kind: word(row.text(1)?)?,
            amount: Money::from_nanos(row.int(2)?),
            released: Money::from_nanos(row.int(3)?),
            legs: legs(row, 4)?,
        })
    };
    rows.iter().map(movement).collect()
}
