//! Tags: what the principal's policies say wins over what a caller says.

use std::collections::BTreeMap;

use crate::domain::{BudgetScope, ExecutionId, TagPolicy, Timestamp, UserId, check_tag_key, check_tags};
use crate::error::{Error, Result};
use crate::store::ledger::tags as sql;
pub(crate) use crate::store::ledger::tags::keep;
use crate::store::sql::Connection;

/// Whose tags are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bearer<'a> {
    pub(crate) user_id: Option<UserId>,
    pub(crate) role: Option<&'a str>,
    pub(crate) key_id: Option<i64>,
}

/// The tags that an execution carries: the caller's, under those of the policies that hold for it.
///
/// Errors: `InvalidInput` where a tag is malformed, or one that is required is missing.
pub(crate) fn effective(
    tx: &mut dyn Connection,
    bearer: Bearer<'_>,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    check_tags(given)?;
    let policies = [
        (BudgetScope::All, Some(String::new())),
        (BudgetScope::Role, bearer.role.map(str::to_owned)),
        (BudgetScope::User, bearer.user_id.map(|id| id.to_string())),
        (BudgetScope::Key, bearer.key_id.map(|id| id.to_string())),
    ];
    let (mut tags, mut required) = (given.clone(), Vec::new());
    for (scope, subject) in policies {
        let Some(subject) = subject else { continue };
        if let Some((set, needs)) = sql::rules(tx, scope, &subject)? {
            tags.extend(set);
            required.extend(needs);
        }
    }
    match required.into_iter().find(|key| !tags.contains_key(key)) {
        Some(key) => Err(Error::invalid(format!("the tag {key} is required: give it with the options"))),
        None => Ok(tags),
    }
}

/// The tags of a root execution.
pub(crate) fn of(tx: &mut dyn Connection, root_id: ExecutionId) -> Result<BTreeMap<String, String>> {
    let pair = |tag: String| tag.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    Ok(sql::of_root(tx, root_id)?.into_iter().filter_map(pair).collect())
}

/// Keeps a policy in place of the one before. Errors: `InvalidInput`.
pub(crate) fn put_policy(tx: &mut dyn Connection, now: Timestamp, policy: &TagPolicy) -> Result<()> {
    check_tags(&policy.tags)?;
    policy.required.iter().try_for_each(|key| check_tag_key(key))?;
    sql::put(tx, now, &subject(policy.scope, policy.scope_id, policy.subject.as_deref())?, policy)
}

/// The policy that one of the same scope and subject would take the place of. Errors: `InvalidInput`.
pub(crate) fn policy_like(tx: &mut dyn Connection, like: &TagPolicy) -> Result<Option<TagPolicy>> {
    let rules = sql::rules(tx, like.scope, &subject(like.scope, like.scope_id, like.subject.as_deref())?)?;
    Ok(rules.map(|(tags, required)| TagPolicy { tags, required, ..like.clone() }))
}

/// Removes a policy. Errors: `NotFound`; `InvalidInput`.
pub(crate) fn delete_policy(
    tx: &mut dyn Connection,
    scope: BudgetScope,
    scope_id: Option<i64>,
    name: Option<&str>,
) -> Result<()> {
    if sql::delete(tx, scope, &subject(scope, scope_id, name)?)? {
        return Ok(());
    }
    Err(Error::not_found("there is no policy of tags for them"))
}

/// All policies.
pub(crate) fn list_policies(tx: &mut dyn Connection) -> Result<Vec<TagPolicy>> {
    let policies = sql::list(tx)?;
    let policy = |(scope, subject, (tags, required)): (BudgetScope, String, sql::Rules)| {
        let mut policy = TagPolicy { scope, scope_id: None, subject: None, tags, required };
        match scope {
            BudgetScope::User | BudgetScope::Key => policy.scope_id = subject.parse().ok(),
            BudgetScope::Role => policy.subject = Some(subject),
            _ => {}
        }
        policy
    };
    Ok(policies.into_iter().map(policy).collect())
}

fn subject(scope: BudgetScope, scope_id: Option<i64>, name: Option<&str>) -> Result<String> {
    match (scope, scope_id, name) {
        (BudgetScope::User | BudgetScope::Key, Some(id), None) => Ok(id.to_string()),
        (BudgetScope::Role, None, Some(role)) if !role.is_empty() => Ok(role.to_owned()),
        (BudgetScope::All, None, None) => Ok(String::new()),
        _ => {
            Err(Error::invalid("a policy of tags is for a user or key by scope_id, for a role by subject, or for all"))
        }
    }
}
