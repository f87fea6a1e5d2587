//! Limits of use as records: they are kept here and held by the executions' process.

use crate::domain::{LimitScope, RateLimit, Timestamp, UserId};
use crate::error::{Error, Result};
use crate::store::ledger::limits as sql;
pub(crate) use crate::store::ledger::limits::{delete, list, put};
use crate::store::sql::Connection;

/// The longest name of a model or provider, in bytes.
const MAX_NAME: usize = 200;

/// The limits that may hold for calls of a user and key. Those of each user or key name this one.
pub(crate) fn of(tx: &mut dyn Connection, user: Option<UserId>, key: Option<i64>) -> Result<Vec<RateLimit>> {
    let of_whom = |mut limit: RateLimit| {
        let caller = match limit.scope {
            LimitScope::User => user.map(|id| id.0),
            LimitScope::Key => key,
            _ => return Some(limit),
        };
        let meant = limit.scope_id.is_none() || limit.scope_id == caller;
        limit.scope_id = caller;
        (meant && caller.is_some()).then_some(limit)
    };
    Ok(sql::list(tx)?.into_iter().filter_map(of_whom).collect())
}

/// Keeps a limit in place of the one before. Errors: `InvalidInput`.
pub(crate) fn put_limit(tx: &mut dyn Connection, now: Timestamp, limit: &RateLimit) -> Result<()> {
    let limits = &limit.limits;
    let none =
        limits.requests_per_minute.is_none() && limits.tokens_per_minute.is_none() && limits.max_concurrent.is_none();
    if none {
        return Err(Error::invalid(
            "a limit limits something: requests_per_minute, tokens_per_minute or max_concurrent",
        ));
    }
    if limits.requests_per_minute == Some(0) || limits.tokens_per_minute == Some(0) || limits.max_concurrent == Some(0)
    {
        return Err(Error::invalid("limits must be at least 1; a quota of 0 blocks"));
    }
    put(tx, now, &subject(limit)?, limit)
}

/// The limit that one of the same scope and subject would take the place of. Errors: `InvalidInput`.
pub(crate) fn limit_like(tx: &mut dyn Connection, like: &RateLimit) -> Result<Option<RateLimit>> {
    let wanted = subject(like)?;
    let same = |limit: &RateLimit| limit.scope == like.scope && subject(limit).is_ok_and(|subject| subject == wanted);
    Ok(sql::list(tx)?.into_iter().find(same))
}

/// Removes a limit. Errors: `NotFound`; `InvalidInput`.
pub(crate) fn delete_limit(tx: &mut dyn Connection, limit: &RateLimit) -> Result<()> {
    if delete(tx, limit.scope, &subject(limit)?)? {
        return Ok(());
    }
    Err(Error::not_found("there is no such limit"))
}

/// Of whom a limit is, as it is stored.
fn subject(limit: &RateLimit) -> Result<String> {
    match (limit.scope, limit.scope_id, &limit.subject) {
        (LimitScope::All, None, None) => Ok(String::new()),
        (LimitScope::User | LimitScope::Key, Some(id), None) if id > 0 => Ok(id.to_string()),
        (LimitScope::Model | LimitScope::Provider, None, Some(name)) if (1..=MAX_NAME).contains(&name.len()) => {
            Ok(name.clone())
        }
        (LimitScope::User | LimitScope::Key | LimitScope::Model | LimitScope::Provider, None, None) => {
            Ok("*".to_owned())
        }
        _ => {
            Err(Error::invalid("a limit is of a user or key by scope_id, of a model or provider by subject, or of all"))
        }
    }
}
