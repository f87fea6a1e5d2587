//! Sums of usage by quarters of an hour: the SQL, written once.

use serde::{Deserialize, Serialize};

use super::costs::is_unpriced;
use super::word;
use crate::domain::{EntryKind, ExecutionId, ResourceId, Timestamp};
use crate::error::Result;
use crate::store::sql::{self, Connection, Row, params};

/// What the sums of a quarter of an hour are told apart by; 0 and "" stand for none.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Dims {
    /// When the quarter begins.
    pub(crate) start: Timestamp,
    pub(crate) user_id: i64,
    pub(crate) role: String,
    pub(crate) key_id: i64,
    pub(crate) model: String,
    pub(crate) provider: String,
    pub(crate) agent_id: i64,
    pub(crate) workflow_id: i64,
    pub(crate) prompt: String,
    /// `team=blue,tier=free`, in order.
    pub(crate) tags: String,
}

/// Sums over entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub(crate) cost: i64,
    /// Falls again where a call gets a price later.
    pub(crate) unpriced: i64,
    pub(crate) calls: u64,
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    pub(crate) input: i64,
    pub(crate) output: i64,
    pub(crate) cache_read: i64,
    pub(crate) cache_write: i64,
    pub(crate) reasoning: i64,
    pub(crate) latency: u64,
    pub(crate) max_latency: u64,
}

/// One entry as usage sees it.
pub(crate) struct Used {
    pub(crate) seq: i64,
    pub(crate) at: Timestamp,
    pub(crate) root_id: ExecutionId,
    pub(crate) kind: EntryKind,
    /// All but the quarter and the tags.
    pub(crate) dims: Dims,
    pub(crate) amount: Option<i64>,
    /// Input, output, cache read, cache write, reasoning.
    pub(crate) tokens: [i64; 5],
    pub(crate) latency: Option<i64>,
    /// 0 well, 1 failed, 2 failed and made again.
    pub(crate) failed: i64,
    /// Whether it books a call that has no price, or a part without one.
    pub(crate) is_unpriced: bool,
    /// Whether it gives a price to a call that had none.
    pub(crate) prices: bool,
}

/// At most `limit` entries behind a place, in order.
pub(crate) fn entries(tx: &mut dyn Connection, after: i64, limit: u32) -> Result<Vec<Used>> {
    let rows = tx.query_all(
        concat!(
            "SELECT seq, at, root_id, kind, coalesce(user_id, 0), coalesce(role, ''), coalesce(key_id, 0), model, provider,
             coalesce(agent_id, 0), coalesce(workflow_id, 0), coalesce(prompt, ''), attempt, amount,
             coalesce(input_tokens, 0), coalesce(output_tokens, 0), coalesce(cache_read_tokens, 0),
             coalesce(cache_write_tokens, 0), coalesce(reasoning_tokens, 0), latency, coalesce(failed, 0), priced, ",
            is_unpriced!(),
            " FROM ledger_entries WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        ),
        params![after, limit],
    )?;
    let used = |row: &Row| {
        Ok(Used {
            seq: row.int(0)?,
            at: Timestamp(row.int(1)?),
            root_id: ExecutionId(row.int(2)?),
            kind: word(row.text(3)?)?,
            dims: Dims {
                start: Timestamp(0),
                user_id: row.int(4)?,
                role: row.text(5)?.to_owned(),
                key_id: row.int(6)?,
                model: row.text(7)?.to_owned(),
                provider: row.text(8)?.to_owned(),
                agent_id: row.int(9)?,
                workflow_id: row.int(10)?,
                prompt: row.text(11)?.to_owned(),
                tags: String::new(),
            },
            amount: row.opt_int(13)?,
            tokens: [row.int(14)?, row.int(15)?, row.int(16)?, row.int(17)?, row.int(18)?],
            latency: row.opt_int(19)?,
            failed: row.int(20)?,
            is_unpriced: row.opt_int(22)?.is_some(),
            prices: row.opt_int(21)?.is_some(),
        })
    };
    rows.iter().map(used).collect()
}

/// Up to which entry the sums are folded.
pub(crate) fn folded(tx: &mut dyn Connection) -> Result<i64> {
    let row = tx.query_one("SELECT seq FROM usage_state WHERE id = 1", &[])?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// Notes up to which entry the sums are folded.
pub(crate) fn set_folded(tx: &mut dyn Connection, seq: i64) -> Result<()> {
    tx.execute("UPDATE usage_state SET seq = ?1 WHERE id = 1", params![seq])?;
    Ok(())
}

/// The sums of one row.
pub(crate) fn sums(tx: &mut dyn Connection, dims: &Dims) -> Result<Option<Sums>> {
    let row = tx.query_one(
        "SELECT sums FROM usage_rollups WHERE start = ?1 AND user_id = ?2 AND role = ?3 AND key_id = ?4 AND model = ?5
             AND provider = ?6 AND agent_id = ?7 AND workflow_id = ?8 AND prompt = ?9 AND tags = ?10",
        &key(dims),
    )?;
    row.map(|row| row.json(0)).transpose()
}

/// Writes the sums of one row.
pub(crate) fn put(tx: &mut dyn Connection, dims: &Dims, sums: &Sums) -> Result<()> {
    let mut values = key(dims).to_vec();
    values.push(sql::to_json(sums)?.into());
    tx.execute(
        "INSERT INTO usage_rollups (start, user_id, role, key_id, model, provider, agent_id, workflow_id, prompt, tags, sums)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (start, user_id, role, key_id, model, provider, agent_id, workflow_id, prompt, tags)
         DO UPDATE SET sums = excluded.sums",
        &values,
    )?;
    Ok(())
}

/// At most `limit` rows behind one, from one quarter on and before another, in order.
pub(crate) fn rollups(
    tx: &mut dyn Connection,
    (from, to): (Timestamp, Timestamp),
    after: &Dims,
    limit: u32,
) -> Result<Vec<(Dims, Sums)>> {
    let mut values = key(after).to_vec();
    values.extend([from.into(), to.into(), limit.into()]);
    let rows = tx.query_all(
        "SELECT start, user_id, role, key_id, model, provider, agent_id, workflow_id, prompt, tags, sums
         FROM usage_rollups
         WHERE (start, user_id, role, key_id, model, provider, agent_id, workflow_id, prompt, tags)
             > (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) AND start >= ?11 AND start < ?12
         ORDER BY start, user_id, role, key_id, model, provider, agent_id, workflow_id, prompt, tags LIMIT ?13",
        &values,
    )?;
    let rollup = |row: &Row| {
        let dims = Dims {
            start: Timestamp(row.int(0)?),
            user_id: row.int(1)?,
            role: row.text(2)?.to_owned(),
            key_id: row.int(3)?,
            model: row.text(4)?.to_owned(),
            provider: row.text(5)?.to_owned(),
            agent_id: row.int(6)?,
            workflow_id: row.int(7)?,
            prompt: row.text(8)?.to_owned(),
            tags: row.text(9)?.to_owned(),
        };
        Ok((dims, row.json(10)?))
    };
    rows.iter().map(rollup).collect()
}

/// The name of a resource, be it live or not.
pub(crate) fn resource_name(tx: &mut dyn Connection, id: ResourceId) -> Result<Option<String>> {
    let row = tx.query_one("SELECT name FROM resources WHERE id = ?1", params![id])?;
    row.map(|row| row.text(0).map(str::to_owned)).transpose()
}

fn key(dims: &Dims) -> [sql::SqlValue; 10] {
    [
        dims.start.into(),
        dims.user_id.into(),
        (&dims.role).into(),
        dims.key_id.into(),
        (&dims.model).into(),
        (&dims.provider).into(),
        dims.agent_id.into(),
        dims.workflow_id.into(),
        (&dims.prompt).into(),
        (&dims.tags).into(),
    ]
}
