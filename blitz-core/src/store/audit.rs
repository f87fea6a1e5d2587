//! The audit trail: the SQL, written once.

use super::sql::params;
use super::{Connection, Row};
use crate::domain::{AuditOutcome, AuditRecord, ListOptions, Page, Timestamp};
use crate::error::{Error, Result};

/// A line as the table holds it. The hash is over the text of `details`, so the text is kept.
pub(crate) struct StoredLine {
    pub(crate) seq: i64,
    pub(crate) at: Timestamp,
    pub(crate) principal: String,
    pub(crate) via: String,
    pub(crate) action: String,
    pub(crate) object: String,
    pub(crate) outcome: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) details: String,
    pub(crate) request_id: Option<String>,
    pub(crate) hash: Vec<u8>,
    pub(crate) words: Words,
}

/// How the words of a line stand in the chain: `via`, `details` and `request_id`, which may be redacted.
pub(crate) enum Words {
    /// Themselves: a line from before words could be redacted.
    Plain,
    /// As the hash of a salt and of them.
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
    /// As that hash; they and the salt are gone, and `mac` says that the engine did it.
    Redacted { hash: Vec<u8>, mac: Vec<u8> },
}

/// What was sealed, and may be pruned.
pub(crate) struct Segment {
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
    pub(crate) last_hash: Vec<u8>,
    pub(crate) sealed_at: Timestamp,
    pub(crate) mac: Vec<u8>,
}

/// Number and hash of the newest line.
pub(crate) fn last(tx: &mut dyn Connection) -> Result<Option<(i64, Vec<u8>)>> {
    let row = tx.query_one("SELECT seq, hash FROM audit_logs ORDER BY seq DESC LIMIT 1", &[])?;
    row.map(|row| Ok((row.int(0)?, row.blob(1)?.to_vec()))).transpose()
}

pub(crate) fn insert(tx: &mut dyn Connection, line: StoredLine) -> Result<()> {
    let (salt, words_hash) = match line.words {
        Words::Hashed { salt, hash } => (Some(salt), Some(hash)),
        Words::Plain | Words::Redacted { .. } => (None, None),
    };
    tx.execute(
        "INSERT INTO audit_logs (seq, at, principal, via, action, object, outcome, before, after, details, hash,
         request_id, salt, words_hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            line.seq,
            line.at,
            line.principal,
            line.via,
            line.action,
            line.object,
            line.outcome,
            line.before,
            line.after,
            line.details,
            line.hash,
            line.request_id,
            salt,
            words_hash
        ],
    )?;
    Ok(())
}

/// The lines behind `after`, in order.
pub(crate) fn lines(tx: &mut dyn Connection, after: i64, limit: i64) -> Result<Vec<StoredLine>> {
    let rows = tx.query_all(
        "SELECT seq, at, principal, via, action, object, outcome, before, after, details, hash, request_id, salt,
             words_hash, redacted
         FROM audit_logs WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        params![after, limit],
    )?;
    rows.iter().map(line).collect()
}

/// At most `limit` lines behind one that somebody wrote or that are about them, with the hash of their
/// words where those can be redacted. Lines that are redacted already, and those that say so, are left out.
pub(crate) fn lines_about(
    tx: &mut dyn Connection,
    about: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<(i64, Option<Vec<u8>>)>> {
    let rows = tx.query_all(
        "SELECT seq, words_hash FROM audit_logs
         WHERE seq > ?2 AND (principal = ?1 OR object = ?1) AND redacted IS NULL AND action <> 'audit.redact'
         ORDER BY seq LIMIT ?3",
        params![about, after, limit],
    )?;
    rows.iter().map(|row| Ok((row.int(0)?, row.opt_blob(1)?.map(<[u8]>::to_vec)))).collect()
}

/// Forgets the words of a line and their salt; the chain stays over their hash.
pub(crate) fn redact(tx: &mut dyn Connection, seq: i64, mac: Vec<u8>) -> Result<()> {
    tx.execute(
        "UPDATE audit_logs SET via = '', details = 'null', request_id = NULL, salt = NULL, redacted = ?2 WHERE seq = ?1",
        params![seq, mac],
    )?;
    Ok(())
}

/// A page of the trail, oldest first.
pub(crate) fn page(tx: &mut dyn Connection, options: &ListOptions) -> Result<Page<AuditRecord>> {
    let lines = lines(tx, options.after_id()?, options.rows())?;
    let records = lines.into_iter().map(record).collect::<Result<_>>()?;
    Ok(Page::cut(records, options, |record| record.seq))
}

/// The last line before the first one that is as new as `before`; the newest line of all is never given.
pub(crate) fn last_older(tx: &mut dyn Connection, before: Timestamp) -> Result<Option<i64>> {
    let row = tx.query_one(
        "SELECT min(coalesce((SELECT min(seq) FROM audit_logs WHERE at >= ?1), (SELECT max(seq) FROM audit_logs)),
         (SELECT max(seq) FROM audit_logs)) - 1",
        params![before],
    )?;
    let Some(last) = row.map(|row| row.opt_int(0)).transpose()?.flatten() else { return Ok(None) };
    let row = tx.query_one("SELECT seq FROM audit_logs WHERE seq = ?1", params![last])?;
    Ok(row.map(|_| last))
}

/// The sealed segments, oldest first.
pub(crate) fn segments(tx: &mut dyn Connection) -> Result<Vec<Segment>> {
    let rows = tx.query_all(
        "SELECT first_seq, last_seq, last_hash, sealed_at, mac FROM audit_segments ORDER BY id LIMIT 100000",
        &[],
    )?;
    let segment = |row: &Row| {
        Ok(Segment {
            first_seq: row.int(0)?,
            last_seq: row.int(1)?,
            last_hash: row.blob(2)?.to_vec(),
            sealed_at: Timestamp(row.int(3)?),
            mac: row.blob(4)?.to_vec(),
        })
    };
    rows.iter().map(segment).collect()
}

pub(crate) fn insert_segment(tx: &mut dyn Connection, segment: Segment) -> Result<()> {
    tx.execute(
        "INSERT INTO audit_segments (first_seq, last_seq, last_hash, sealed_at, mac) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![segment.first_seq, segment.last_seq, segment.last_hash, segment.sealed_at, segment.mac],
    )?;
    Ok(())
}

/// Deletes the next lines that are sealed, at most `limit`, and gives how many they were.
pub(crate) fn prune(tx: &mut dyn Connection, up_to: i64, limit: u32) -> Result<usize> {
    tx.execute(
        "DELETE FROM audit_logs WHERE seq IN (SELECT seq FROM audit_logs WHERE seq <= ?1 ORDER BY seq LIMIT ?2)",
        params![up_to, limit],
    )
}

fn line(row: &Row) -> Result<StoredLine> {
    Ok(StoredLine {
        seq: row.int(0)?,
        at: Timestamp(row.int(1)?),
        principal: row.text(2)?.to_owned(),
        via: row.text(3)?.to_owned(),
        action: row.text(4)?.to_owned(),
        object: row.text(5)?.to_owned(),
        outcome: row.text(6)?.to_owned(),
        before: row.opt_text(7)?.map(str::to_owned),
        after: row.opt_text(8)?.map(str::to_owned),
        details: row.text(9)?.to_owned(),
        hash: row.blob(10)?.to_vec(),
        request_id: row.opt_text(11)?.map(str::to_owned),
        words: match (row.opt_blob(12)?, row.opt_blob(13)?, row.opt_blob(14)?) {
            (_, Some(hash), Some(mac)) => Words::Redacted { hash: hash.to_vec(), mac: mac.to_vec() },
            (Some(salt), Some(hash), None) => Words::Hashed { salt: salt.to_vec(), hash: hash.to_vec() },
            // With a part of it missing it is a line that nobody wrote: its hash will not fit.
            _ => Words::Plain,
        },
    })
}

fn record(line: StoredLine) -> Result<AuditRecord> {
    let damaged = || Error::storage("an audit record cannot be read: verify the trail");
    Ok(AuditRecord {
        seq: line.seq,
        at: line.at,
        principal: line.principal,
        via: line.via,
        action: line.action,
        object: line.object,
        outcome: AuditOutcome::from_name(&line.outcome).ok_or_else(damaged)?,
        before: line.before,
        after: line.after,
        details: serde_json::from_str(&line.details).map_err(|_| damaged())?,
        request_id: line.request_id,
        redacted: matches!(line.words, Words::Redacted { .. }),
    })
}
