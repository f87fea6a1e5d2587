//! Logins, refresh tokens, and the keys that sign JSON web tokens.

use crate::domain::{ListOptions, Page, SessionId, SessionRecord, Timestamp, TokenAlgorithm, UserId};
use crate::error::{Error, Result};
use crate::store::sql::params;
use crate::store::{Connection, Row};

macro_rules! session_sql {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, via, source, created_at, seen_at, expires_at, ended_at, session_version FROM sessions \
             WHERE ",
            $rest
        )
    };
}

/// A login as it is checked.
#[derive(Debug, Clone)]
pub(crate) struct SessionRow {
    pub(crate) record: SessionRecord,
    pub(crate) session_version: i64,
    pub(crate) ended: bool,
}

/// A login to store.
pub(crate) struct SessionDraft<'a> {
    pub(crate) user_id: UserId,
    pub(crate) session_version: i64,
    pub(crate) via: &'a str,
    pub(crate) source: Option<&'a str>,
    pub(crate) expires_at: Timestamp,
}

pub(crate) fn insert_session(tx: &mut dyn Connection, draft: &SessionDraft<'_>, now: Timestamp) -> Result<SessionId> {
    let id = tx.insert(
        "INSERT INTO sessions (user_id, session_version, via, source, created_at, seen_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
        params![draft.user_id, draft.session_version, draft.via, draft.source, now, draft.expires_at],
    )?;
    id.map(SessionId).ok_or_else(|| Error::internal("an insert gave no id"))
}

pub(crate) fn session(tx: &mut dyn Connection, id: SessionId) -> Result<Option<SessionRow>> {
    tx.query_one(session_sql!("id = ?1"), params![id])?.as_ref().map(session_row).transpose()
}

pub(crate) fn session_by_token(tx: &mut dyn Connection, hash: Vec<u8>) -> Result<Option<SessionRow>> {
    tx.query_one(session_sql!("token_hash = ?1"), params![hash])?.as_ref().map(session_row).transpose()
}

/// A page of the logins that have not ended: a user's, or everybody's.
pub(crate) fn sessions(
    tx: &mut dyn Connection,
    user: Option<UserId>,
    now: Timestamp,
    options: &ListOptions,
) -> Result<Page<SessionRecord>> {
    let (after, limit) = (options.after_id()?, options.rows());
    let rows = match user {
        Some(user) => tx.query_all(
            session_sql!("user_id = ?1 AND id > ?2 AND ended_at IS NULL AND expires_at > ?3 ORDER BY id LIMIT ?4"),
            params![user, after, now, limit],
        )?,
        None => tx.query_all(
            session_sql!("id > ?1 AND ended_at IS NULL AND expires_at > ?2 ORDER BY id LIMIT ?3"),
            params![after, now, limit],
        )?,
    };
    let records = rows.iter().map(|row| Ok(session_row(row)?.record)).collect::<Result<_>>()?;
    Ok(Page::cut(records, options, |record: &SessionRecord| record.id.0))
}

/// Gives a login another token in place of the one before.
pub(crate) fn set_session_token(tx: &mut dyn Connection, id: SessionId, hash: Vec<u8>) -> Result<()> {
    tx.execute("UPDATE sessions SET token_hash = ?2 WHERE id = ?1", params![id, hash])?;
    Ok(())
}

pub(crate) fn touch_session(tx: &mut dyn Connection, id: SessionId, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE sessions SET seen_at = ?2 WHERE id = ?1 AND seen_at < ?2", params![id, now])?;
    Ok(())
}

pub(crate) fn end_session(tx: &mut dyn Connection, id: SessionId, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE sessions SET ended_at = ?2 WHERE id = ?1 AND ended_at IS NULL", params![id, now])?;
    Ok(())
}

pub(crate) fn end_sessions_of(tx: &mut dyn Connection, user: UserId, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE sessions SET ended_at = ?2 WHERE user_id = ?1 AND ended_at IS NULL", params![user, now])?;
    Ok(())
}

/// Forgets logins that ended before `until`, a few at a time: at each new login.
pub(crate) fn forget_sessions(tx: &mut dyn Connection, until: Timestamp) -> Result<()> {
    tx.execute(
        "DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE expires_at < ?1 LIMIT 20)",
        params![until],
    )?;
    tx.execute(
        "DELETE FROM sessions WHERE id IN (SELECT s.id FROM sessions s WHERE s.expires_at < ?1
         AND NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.session_id = s.id) LIMIT 20)",
        params![until],
    )?;
    Ok(())
}

pub(crate) fn insert_refresh(tx: &mut dyn Connection, hash: Vec<u8>, id: SessionId, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO refresh_tokens (hash, session_id, created_at) VALUES (?1, ?2, ?3)",
        params![hash, id, now],
    )?;
    Ok(())
}

/// The login of a refresh token, and whether the token was used before.
pub(crate) fn refresh_token(tx: &mut dyn Connection, hash: Vec<u8>) -> Result<Option<(SessionId, bool)>> {
    let row = tx.query_one("SELECT session_id, used_at FROM refresh_tokens WHERE hash = ?1", params![hash])?;
    row.map(|row| Ok((SessionId(row.int(0)?), row.opt_int(1)?.is_some()))).transpose()
}

pub(crate) fn use_refresh(tx: &mut dyn Connection, hash: Vec<u8>, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE refresh_tokens SET used_at = ?2 WHERE hash = ?1", params![hash, now])?;
    Ok(())
}

/// A key that signs tokens, without its secret part.
#[derive(Debug, Clone)]
pub(crate) struct TokenKeyRow {
    pub(crate) id: i64,
    pub(crate) kid: String,
    pub(crate) algorithm: TokenAlgorithm,
    pub(crate) public_key: Option<Vec<u8>>,
    pub(crate) created_at: Timestamp,
    pub(crate) retired_at: Option<Timestamp>,
}

macro_rules! token_key_sql {
    ($rest:literal) => {
        concat!("SELECT id, kid, algorithm, public_key, created_at, retired_at FROM token_keys WHERE ", $rest)
    };
}

pub(crate) fn insert_token_key(
    tx: &mut dyn Connection,
    kid: &str,
    algorithm: TokenAlgorithm,
    public_key: Option<Vec<u8>>,
    now: Timestamp,
) -> Result<i64> {
    let id = tx.insert(
        "INSERT INTO token_keys (kid, algorithm, public_key, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![kid, algorithm.name(), public_key, now],
    )?;
    id.ok_or_else(|| Error::internal("an insert gave no id"))
}

/// The key of a name.
pub(crate) fn token_key(tx: &mut dyn Connection, kid: &str) -> Result<Option<TokenKeyRow>> {
    tx.query_one(token_key_sql!("kid = ?1"), params![kid])?.as_ref().map(token_key_row).transpose()
}

/// The key that new tokens are signed with.
pub(crate) fn signing_key(tx: &mut dyn Connection, algorithm: TokenAlgorithm) -> Result<Option<TokenKeyRow>> {
    let row = tx.query_one(
        token_key_sql!("algorithm = ?1 AND retired_at IS NULL ORDER BY id DESC LIMIT 1"),
        params![algorithm.name()],
    )?;
    row.as_ref().map(token_key_row).transpose()
}

pub(crate) fn token_keys(tx: &mut dyn Connection) -> Result<Vec<TokenKeyRow>> {
    let rows = tx.query_all(token_key_sql!("id > 0 ORDER BY id DESC LIMIT 100"), &[])?;
    rows.iter().map(token_key_row).collect()
}

pub(crate) fn retire_token_keys(tx: &mut dyn Connection, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE token_keys SET retired_at = ?1 WHERE retired_at IS NULL", params![now])?;
    Ok(())
}

/// Forgets a retired key, after its last token has ended.
pub(crate) fn delete_token_key(tx: &mut dyn Connection, id: i64) -> Result<()> {
    super::drop_secrets(tx, "token_keys", id)?;
    tx.execute("DELETE FROM token_keys WHERE id = ?1", params![id])?;
    Ok(())
}

pub(crate) fn insert_reset(
    tx: &mut dyn Connection,
    hash: Vec<u8>,
    user: UserId,
    session_version: i64,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    // One at a time: a new token takes the place of the one before.
    tx.execute("DELETE FROM password_resets WHERE user_id = ?1 OR expires_at < ?2", params![user, now])?;
    tx.execute(
        "INSERT INTO password_resets (hash, user_id, session_version, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![hash, user, session_version, now, expires_at],
    )?;
    Ok(())
}

/// Whose password a reset token sets, the version of their standing when it was made, and its end.
pub(crate) fn reset(tx: &mut dyn Connection, hash: Vec<u8>) -> Result<Option<(UserId, i64, Timestamp)>> {
    let row = tx
        .query_one("SELECT user_id, session_version, expires_at FROM password_resets WHERE hash = ?1", params![hash])?;
    row.map(|row| Ok((UserId(row.int(0)?), row.int(1)?, Timestamp(row.int(2)?)))).transpose()
}

pub(crate) fn delete_resets(tx: &mut dyn Connection, user: UserId) -> Result<()> {
    tx.execute("DELETE FROM password_resets WHERE user_id = ?1", params![user])?;
    Ok(())
}

fn session_row(row: &Row) -> Result<SessionRow> {
    Ok(SessionRow {
        record: SessionRecord {
            id: SessionId(row.int(0)?),
            user_id: UserId(row.int(1)?),
            via: row.text(2)?.to_owned(),
            source: row.opt_text(3)?.map(str::to_owned),
            created_at: Timestamp(row.int(4)?),
            seen_at: Timestamp(row.int(5)?),
            expires_at: Timestamp(row.int(6)?),
        },
        ended: row.opt_int(7)?.is_some(),
        session_version: row.int(8)?,
    })
}

fn token_key_row(row: &Row) -> Result<TokenKeyRow> {
    Ok(TokenKeyRow {
        id: row.int(0)?,
        kid: row.text(1)?.to_owned(),
        algorithm: TokenAlgorithm::from_name(row.text(2)?)
            .ok_or_else(|| Error::storage("a token key has an algorithm this version does not know"))?,
        public_key: match row.0.get(3) {
            Some(crate::store::SqlValue::Blob(bytes)) => Some(bytes.clone()),
            _ => None,
        },
        created_at: Timestamp(row.int(4)?),
        retired_at: row.opt_int(5)?.map(Timestamp),
    })
}
