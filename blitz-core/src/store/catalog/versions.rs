//! Published versions of workflows: numbered from 1, never changed.

use super::super::sql::params;
use super::super::{Connection, Row};
use super::{Body, define};
use crate::domain::{ListOptions, Page, ResourceId, Timestamp, WorkflowDefinition, WorkflowVersion};
use crate::error::{Error, Result};

macro_rules! version_sql {
    ($rest:literal) => {
        concat!(
            "SELECT v.version, v.hash, v.created_at, d.body FROM resource_versions v \
             JOIN definitions d ON d.hash = v.hash WHERE v.resource_id = ?1 ",
            $rest
        )
    };
}

/// A page of a workflow's versions, oldest first.
pub(crate) fn workflow_versions(
    tx: &mut dyn Connection,
    workflow: ResourceId,
    options: &ListOptions,
) -> Result<Page<WorkflowVersion>> {
    let rows = tx.query_all(
        version_sql!("AND v.version > ?2 ORDER BY v.version LIMIT ?3"),
        params![workflow, options.after_id()?, options.rows()],
    )?;
    let versions = rows.iter().map(read).collect::<Result<_>>()?;
    Ok(Page::cut(versions, options, |version: &WorkflowVersion| i64::from(version.version)))
}

/// One version of a workflow.
pub(crate) fn workflow_version(
    tx: &mut dyn Connection,
    workflow: ResourceId,
    version: u32,
) -> Result<Option<WorkflowVersion>> {
    let row = tx.query_one(version_sql!("AND v.version = ?2"), params![workflow, version])?;
    row.as_ref().map(read).transpose()
}

/// The version that runs: the newest.
pub(crate) fn newest_version(tx: &mut dyn Connection, workflow: ResourceId) -> Result<Option<WorkflowVersion>> {
    let row = tx.query_one(version_sql!("ORDER BY v.version DESC LIMIT 1"), params![workflow])?;
    row.as_ref().map(read).transpose()
}

/// Keeps a definition as the newest version; what is the newest already makes none.
pub(crate) fn publish(
    tx: &mut dyn Connection,
    workflow: ResourceId,
    definition: &WorkflowDefinition,
    now: Timestamp,
) -> Result<WorkflowVersion> {
    let newest = newest_version(tx, workflow)?;
    let content_hash = content_hash(definition)?;
    if let Some(newest) = newest.as_ref().filter(|newest| newest.content_hash == content_hash) {
        return Ok(newest.clone());
    }
    let version = newest.map_or(0, |newest| newest.version) + 1;
    let body = Body::of(definition)?;
    define(tx, &body)?;
    tx.execute(
        "INSERT INTO resource_versions (resource_id, version, hash, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![workflow, version, body.hash(), now],
    )?;
    let hash = body.hash().to_owned();
    Ok(WorkflowVersion { version, hash, content_hash, created_at: now, spec: definition.clone() })
}

/// The hash of what the engine reads of a definition: not its layout.
fn content_hash(definition: &WorkflowDefinition) -> Result<String> {
    Ok(Body::of_value(&definition.content())?.hash().to_owned())
}

fn read(row: &Row) -> Result<WorkflowVersion> {
    let version = u32::try_from(row.int(0)?).map_err(|_| Error::storage("a version of a workflow is damaged"))?;
    let spec: WorkflowDefinition = row.json(3)?;
    Ok(WorkflowVersion {
        version,
        hash: row.text(1)?.to_owned(),
        content_hash: content_hash(&spec)?,
        created_at: Timestamp(row.int(2)?),
        spec,
    })
}
