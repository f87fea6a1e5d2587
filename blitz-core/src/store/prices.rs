//! Versions of imported prices: the SQL, written once.

use std::collections::BTreeMap;

use super::sql::{Connection, Row, params, to_json};
use crate::domain::{Price, PriceVersion, Timestamp};
use crate::error::{Error, Result};

/// Prices by the provider's name of the model; without one where a version names a model and cannot price it.
pub(crate) type Prices = BTreeMap<String, Option<Price>>;
/// Prices by provider.
pub(crate) type Book = BTreeMap<String, Prices>;

/// Keeps a book as the version in force and gives its number; the same content again is the same version.
pub(crate) fn put(
    tx: &mut dyn Connection,
    now: Timestamp,
    effective_from: Timestamp,
    source: &str,
    hash: &str,
    book: &Book,
) -> Result<i64> {
    let newest = tx.query_one(
        "SELECT id, hash, coalesce(effective_from, created_at) FROM price_books ORDER BY id DESC LIMIT 1",
        &[],
    )?;
    if let Some(newest) = newest
        && newest.text(1)? == hash
        && newest.int(2)? <= effective_from.0
    {
        return newest.int(0);
    }
    let id = tx.insert(
        "INSERT INTO price_books (created_at, source, hash, effective_from) VALUES (?1, ?2, ?3, ?4)",
        params![now, source, hash, effective_from],
    )?;
    let id = id.ok_or_else(|| Error::storage("a version of prices was not kept"))?;
    for (provider, prices) in book {
        tx.execute(
            "INSERT INTO price_rates (book_id, provider, prices) VALUES (?1, ?2, ?3)",
            params![id, provider.as_str(), to_json(prices)?],
        )?;
    }
    Ok(id)
}

/// The version in force at a moment: of those that hold by then, the one that holds last; of two, the newer.
pub(crate) fn version_at(tx: &mut dyn Connection, at: Timestamp) -> Result<Option<i64>> {
    let row = tx.query_one(
        "SELECT id FROM price_books WHERE coalesce(effective_from, created_at) <= ?1
         ORDER BY coalesce(effective_from, created_at) DESC, id DESC LIMIT 1",
        params![at],
    )?;
    row.map(|row| row.int(0)).transpose()
}

/// Whether there is a version of this number.
pub(crate) fn is_version(tx: &mut dyn Connection, version: i64) -> Result<bool> {
    Ok(tx.query_one("SELECT id FROM price_books WHERE id = ?1", params![version])?.is_some())
}

/// The prices of one provider's models in a version.
pub(crate) fn of_version(tx: &mut dyn Connection, version: i64, provider: &str) -> Result<Prices> {
    let row = tx
        .query_one("SELECT prices FROM price_rates WHERE book_id = ?1 AND provider = ?2", params![version, provider])?;
    row.map_or_else(|| Ok(BTreeMap::new()), |row| row.json(0))
}

/// At most `limit` versions behind one, in order.
pub(crate) fn versions(tx: &mut dyn Connection, after: i64, limit: u32) -> Result<Vec<PriceVersion>> {
    let rows = tx.query_all(
        "SELECT id, created_at, coalesce(effective_from, created_at), source, hash FROM price_books
         WHERE id > ?1 ORDER BY id LIMIT ?2",
        params![after, limit],
    )?;
    let version = |row: &Row| {
        Ok(PriceVersion {
            version: row.int(0)?,
            created_at: Timestamp(row.int(1)?),
            effective_from: Timestamp(row.int(2)?),
            source: row.text(3)?.to_owned(),
            hash: row.text(4)?.to_owned(),
        })
    };
    rows.iter().map(version).collect()
}
