//! Versions of imported prices: the SQL, written once.

use std::collections::BTreeMap;

use super::sql::{Connection, params, to_json};
use crate::domain::{Price, Timestamp};
use crate::error::{Error, Result};

/// Prices by provider, then by the provider's name of the model.
pub(crate) type Book = BTreeMap<String, BTreeMap<String, Price>>;

/// Keeps a book as the version in force and gives its number; the same content again is the same version.
pub(crate) fn put(tx: &mut dyn Connection, now: Timestamp, source: &str, hash: &str, book: &Book) -> Result<i64> {
    let newest = tx.query_one("SELECT id, hash FROM price_books ORDER BY id DESC LIMIT 1", &[])?;
    if let Some(newest) = newest
        && newest.text(1)? == hash
    {
        return newest.int(0);
    }
    let id = tx
        .insert("INSERT INTO price_books (created_at, source, hash) VALUES (?1, ?2, ?3)", params![now, source, hash])?;
    let id = id.ok_or_else(|| Error::storage("a version of prices was not kept"))?;
    for (provider, prices) in book {
        tx.execute(
            "INSERT INTO price_rates (book_id, provider, prices) VALUES (?1, ?2, ?3)",
            params![id, provider.as_str(), to_json(prices)?],
        )?;
    }
    Ok(id)
}

/// The prices of one provider's models in the version in force.
pub(crate) fn in_force(tx: &mut dyn Connection, provider: &str) -> Result<BTreeMap<String, Price>> {
    let row = tx.query_one(
        "SELECT prices FROM price_rates WHERE book_id = (SELECT max(id) FROM price_books) AND provider = ?1",
        params![provider],
    )?;
    row.map_or_else(|| Ok(BTreeMap::new()), |row| row.json(0))
}
