//! Tags of executions, and the policies that settle them: the SQL, written once.

use std::collections::BTreeMap;

use super::matching::number_of;
use super::word;
use crate::domain::{BudgetScope, ExecutionId, TagPolicy, Timestamp};
use crate::error::Result;
use crate::store::sql::{self, Connection, Row, params};

/// Keeps the tags of a root execution.
pub(crate) fn keep(tx: &mut dyn Connection, root_id: ExecutionId, tags: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in tags {
        let (tag, key) = (number_of(tx, &format!("{key}={value}"))?, number_of(tx, key)?);
        tx.execute(
            "INSERT INTO execution_tags (root_id, tag_id, key_id) VALUES (?1, ?2, ?3)
             ON CONFLICT (root_id, tag_id) DO NOTHING",
            params![root_id, tag, key],
        )?;
    }
    Ok(())
}

/// The tags of a root execution, each as `team=blue`, in order.
pub(crate) fn of_root(tx: &mut dyn Connection, root_id: ExecutionId) -> Result<Vec<String>> {
    let rows = tx.query_all(
        "SELECT n.name FROM execution_tags t JOIN budget_names n ON n.id = t.tag_id
         WHERE t.root_id = ?1 ORDER BY n.name LIMIT 100",
        params![root_id],
    )?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// Writes a policy in place of the one before.
pub(crate) fn put(tx: &mut dyn Connection, now: Timestamp, subject: &str, policy: &TagPolicy) -> Result<()> {
    tx.execute(
        "INSERT INTO tag_policies (scope, subject, tags, required, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (scope, subject) DO UPDATE SET tags = excluded.tags, required = excluded.required,
             updated_at = excluded.updated_at",
        params![policy.scope.name(), subject, sql::to_json(&policy.tags)?, sql::to_json(&policy.required)?, now],
    )?;
    Ok(())
}

/// Removes a policy; false where there is none.
pub(crate) fn delete(tx: &mut dyn Connection, scope: BudgetScope, subject: &str) -> Result<bool> {
    let changed =
        tx.execute("DELETE FROM tag_policies WHERE scope = ?1 AND subject = ?2", params![scope.name(), subject])?;
    Ok(changed == 1)
}

/// The tags and the required ones of a policy.
pub(crate) type Rules = (BTreeMap<String, String>, Vec<String>);

/// What a policy says, where there is one.
pub(crate) fn rules(tx: &mut dyn Connection, scope: BudgetScope, subject: &str) -> Result<Option<Rules>> {
    let row = tx.query_one(
        "SELECT tags, required FROM tag_policies WHERE scope = ?1 AND subject = ?2",
        params![scope.name(), subject],
    )?;
    row.map(|row| Ok((row.json(0)?, row.json(1)?))).transpose()
}

/// All policies, with their subjects as they are stored; there are 1,000 at most.
pub(crate) fn list(tx: &mut dyn Connection) -> Result<Vec<(BudgetScope, String, Rules)>> {
    let rows = tx
        .query_all("SELECT scope, subject, tags, required FROM tag_policies ORDER BY scope, subject LIMIT 1000", &[])?;
    let policy = |row: &Row| Ok((word(row.text(0)?)?, row.text(1)?.to_owned(), (row.json(2)?, row.json(3)?)));
    rows.iter().map(policy).collect()
}
