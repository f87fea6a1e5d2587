//! Catalogue records: the SQL, written once for all nouns.
//!
//! A record is a row of `resources` that points at its body in `definitions` by the hash of the
//! content. These functions keep names unique and count revisions; who may call them is decided in
//! `access`.

mod body;
mod shares;
mod versions;

use super::sql::params;
use super::{Connection, Row};
use crate::domain::{
    ListOptions, NewPrompt, Page, PromptVersion, Record, ResourceId, ResourceKind, ResourceRef, ShareLevel, Spec,
    Timestamp, UserId, Visibility,
};
use crate::error::{Error, Result};
pub(crate) use body::{Body, check_name, patched, shown, sorted};
pub(crate) use shares::{Grantee, share, shares, unshare};
pub(crate) use versions::{newest_version, publish, workflow_version, workflow_versions};

/// A live resource as one viewer meets it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResourceRow {
    pub(crate) id: ResourceId,
    pub(crate) kind: ResourceKind,
    pub(crate) name: String,
    pub(crate) owner_id: Option<UserId>,
    pub(crate) visibility: Visibility,
    pub(crate) revision: u32,
    pub(crate) hash: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// The greatest level shared with the viewer or its role.
    pub(crate) level: Option<ShareLevel>,
    /// The stored fields, as JSON text.
    pub(crate) body: String,
}

/// Through whose eyes resources are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Viewer<'a> {
    /// The user; `None` for the host itself.
    pub(crate) user: Option<UserId>,
    /// Its role's name.
    pub(crate) role: &'a str,
}

impl Viewer<'_> {
    /// What the owner column is compared with: the host's own records count as owned by 0.
    fn owner(self) -> i64 {
        owner_key(self.user)
    }

    /// What a share's user is compared with. Shares to roles carry 0, so the host must not be 0 here.
    pub(super) fn grantee(self) -> i64 {
        self.user.map_or(-1, |user| user.0)
    }
}

impl ResourceRow {
    /// The resource as audit lines name it: `agent:12`.
    pub(crate) fn label(&self) -> String {
        format!("{}:{}", self.kind.name(), self.id)
    }

    /// The record with its fields read.
    pub(crate) fn record<S: Spec>(&self) -> Result<Record<S>> {
        Ok(Record {
            id: self.id,
            owner_id: self.owner_id,
            visibility: self.visibility,
            revision: self.revision,
            hash: self.hash.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            spec: body::read(&self.body)?,
        })
    }
}

/// ?1 is the viewer's user as grantee, ?2 its role.
macro_rules! resource_sql {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.kind, r.name, r.owner_id, r.visibility, r.revision, r.hash, r.created_at, r.updated_at, \
             (SELECT max(s.level) FROM shares s WHERE s.resource_id = r.id AND (s.user_id = ?1 OR s.role = ?2)), \
             d.body FROM resources r JOIN definitions d ON d.hash = r.hash WHERE ",
            $rest
        )
    };
}

/// The resource that a reference names for this viewer: by id; its own, then the shared one; or
/// somebody's by `owner@example.com/name`. Whether the viewer may see it is not asked here.
pub(crate) fn find(
    tx: &mut dyn Connection,
    viewer: Viewer<'_>,
    kind: ResourceKind,
    reference: &ResourceRef,
) -> Result<Option<ResourceRow>> {
    let found = match reference {
        ResourceRef::Id(id) => by_id(tx, viewer, ResourceId(*id))?,
        ResourceRef::Name(name) => match name.split_once('/') {
            Some((owner, name)) => match owner_id(tx, owner)? {
                Some(owner) => owned(tx, viewer, owner.0, kind, name)?,
                None => None,
            },
            None => match owned(tx, viewer, viewer.owner(), kind, name)? {
                Some(own) => Some(own),
                None => shared(tx, viewer, kind, name)?,
            },
        },
    };
    Ok(found.filter(|row| row.kind == kind))
}

/// The viewer's own record of a name.
pub(crate) fn own(
    tx: &mut dyn Connection,
    viewer: Viewer<'_>,
    kind: ResourceKind,
    name: &str,
) -> Result<Option<ResourceRow>> {
    owned(tx, viewer, viewer.owner(), kind, name)
}

/// Whether a resource is there and was not deleted, whoever may see it.
pub(crate) fn is_live(tx: &mut dyn Connection, id: ResourceId) -> Result<bool> {
    Ok(tx.query_one("SELECT 1 FROM resources WHERE id = ?1 AND deleted_at IS NULL", params![id])?.is_some())
}

/// A resource by id even where it was deleted: an execution goes on with what it began with.
pub(crate) fn by_id_once_live(
    tx: &mut dyn Connection,
    viewer: Viewer<'_>,
    id: ResourceId,
) -> Result<Option<ResourceRow>> {
    let row = tx.query_one(resource_sql!("r.id = ?3"), params![viewer.grantee(), viewer.role, id])?;
    row.as_ref().map(resource).transpose()
}

/// A page of a noun: all records, or those that the viewer owns or that are open to it.
pub(crate) fn list<S: Spec>(
    tx: &mut dyn Connection,
    viewer: Viewer<'_>,
    all: bool,
    options: &ListOptions,
) -> Result<Page<Record<S>>> {
    const ALL: &str = resource_sql!("r.kind = ?3 AND r.deleted_at IS NULL AND r.id > ?4 ORDER BY r.id LIMIT ?5");
    const OPEN: &str = resource_sql!(
        "r.kind = ?3 AND r.deleted_at IS NULL AND r.id > ?4 AND (r.owner_id = ?1 OR r.visibility = 'shared' \
         OR EXISTS (SELECT 1 FROM shares s WHERE s.resource_id = r.id AND (s.user_id = ?1 OR s.role = ?2))) \
         ORDER BY r.id LIMIT ?5"
    );
    let params = params![viewer.grantee(), viewer.role, S::KIND.name(), options.after_id()?, options.rows()];
    let rows = tx.query_all(if all { ALL } else { OPEN }, params)?;
    let records = rows.iter().map(|row| resource(row)?.record()).collect::<Result<_>>()?;
    Ok(Page::cut(records, options, |record: &Record<S>| record.id.0))
}

/// How often anything that a run may use has changed: resources, shares, secrets, and versions of
/// prices that have come into force by now.
pub(crate) fn generation(tx: &mut dyn Connection, now: Timestamp) -> Result<i64> {
    let row = tx.query_one(
        "SELECT generation + (SELECT count(*) FROM price_books WHERE coalesce(effective_from, created_at) <= ?1)
         FROM catalog_state WHERE id = 1",
        params![now],
    )?;
    row.ok_or_else(|| Error::storage("the state of the catalogue is missing: the file is damaged"))?.int(0)
}

/// Keeps a body under its hash; the same content is kept once.
pub(crate) fn define(tx: &mut dyn Connection, body: &Body) -> Result<()> {
    tx.execute(
        "INSERT INTO definitions (hash, body) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING",
        params![body.hash(), body.text()],
    )?;
    Ok(())
}

/// Adds a record. Errors: `Conflict` where its name is taken.
pub(crate) fn insert<S: Spec>(
    tx: &mut dyn Connection,
    owner: Option<UserId>,
    visibility: Visibility,
    spec: &S,
    now: Timestamp,
) -> Result<ResourceRow> {
    check_name(spec.name())?;
    let body = Body::of(spec)?;
    refuse_taken::<S>(tx, ResourceId(0), owner, visibility, spec.name())?;
    define(tx, &body)?;
    let id = tx.insert(
        "INSERT INTO resources (kind, namespace, name, owner_id, visibility, revision, hash, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?7)",
        params![S::KIND.name(), S::KIND.namespace(), spec.name(), owner, visibility.name(), body.hash(), now],
    )?;
    let id = id.map(ResourceId).ok_or_else(|| Error::internal("an insert gave no id"))?;
    keep_version::<S>(tx, id, 1, body.hash(), now)?;
    Ok(ResourceRow {
        id,
        kind: S::KIND,
        name: spec.name().to_owned(),
        owner_id: owner,
        visibility,
        revision: 1,
        hash: body.hash().to_owned(),
        created_at: now,
        updated_at: now,
        level: None,
        body: body.into_text(),
    })
}

/// Gives a record new fields; a new revision only where its content differs.
///
/// Errors: `Conflict` where its new name is taken.
pub(crate) fn replace<S: Spec>(
    tx: &mut dyn Connection,
    row: &ResourceRow,
    spec: &S,
    now: Timestamp,
) -> Result<ResourceRow> {
    let body = Body::of(spec)?;
    if body.hash() == row.hash {
        return Ok(row.clone());
    }
    check_name(spec.name())?;
    if spec.name() != row.name {
        refuse_taken::<S>(tx, row.id, row.owner_id, row.visibility, spec.name())?;
    }
    define(tx, &body)?;
    let revision = row.revision + 1;
    tx.execute(
        "UPDATE resources SET name = ?2, revision = ?3, hash = ?4, updated_at = ?5 WHERE id = ?1",
        params![row.id, spec.name(), revision, body.hash(), now],
    )?;
    keep_version::<S>(tx, row.id, revision, body.hash(), now)?;
    Ok(ResourceRow {
        name: spec.name().to_owned(),
        revision,
        hash: body.hash().to_owned(),
        updated_at: now,
        body: body.into_text(),
        ..row.clone()
    })
}

/// Opens a record to everybody or closes it again. Errors: `Conflict` where its shared name is taken.
pub(crate) fn set_visibility<S: Spec>(
    tx: &mut dyn Connection,
    row: &ResourceRow,
    visibility: Visibility,
    now: Timestamp,
) -> Result<ResourceRow> {
    if visibility == row.visibility {
        return Ok(row.clone());
    }
    refuse_taken::<S>(tx, row.id, row.owner_id, visibility, &row.name)?;
    tx.execute(
        "UPDATE resources SET visibility = ?2, updated_at = ?3 WHERE id = ?1",
        params![row.id, visibility.name(), now],
    )?;
    Ok(ResourceRow { visibility, updated_at: now, ..row.clone() })
}

/// Marks a record deleted, which frees its name, and forgets its shares and secrets.
pub(crate) fn delete(tx: &mut dyn Connection, id: ResourceId, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE resources SET deleted_at = ?2, updated_at = ?2 WHERE id = ?1", params![id, now])?;
    tx.execute("DELETE FROM shares WHERE resource_id = ?1", params![id])?;
    super::access::drop_secrets(tx, "resources", id.0)
}

macro_rules! version_sql {
    ($rest:literal) => {
        concat!(
            "SELECT v.version, v.hash, v.created_at, d.body FROM resource_versions v \
             JOIN definitions d ON d.hash = v.hash WHERE v.resource_id = ?1 AND ",
            $rest
        )
    };
}

/// A page of a prompt's versions, oldest first.
pub(crate) fn versions(
    tx: &mut dyn Connection,
    prompt: ResourceId,
    options: &ListOptions,
) -> Result<Page<PromptVersion>> {
    let rows = tx.query_all(
        version_sql!("v.version > ?2 ORDER BY v.version LIMIT ?3"),
        params![prompt, options.after_id()?, options.rows()],
    )?;
    let versions = rows.iter().map(prompt_version).collect::<Result<_>>()?;
    Ok(Page::cut(versions, options, |version| i64::from(version.version)))
}

/// One version of a prompt.
pub(crate) fn version(tx: &mut dyn Connection, prompt: ResourceId, version: u32) -> Result<Option<PromptVersion>> {
    let row = tx.query_one(version_sql!("v.version = ?2"), params![prompt, version])?;
    row.as_ref().map(prompt_version).transpose()
}

fn by_id(tx: &mut dyn Connection, viewer: Viewer<'_>, id: ResourceId) -> Result<Option<ResourceRow>> {
    let row =
        tx.query_one(resource_sql!("r.id = ?3 AND r.deleted_at IS NULL"), params![viewer.grantee(), viewer.role, id])?;
    row.as_ref().map(resource).transpose()
}

fn owned(
    tx: &mut dyn Connection,
    viewer: Viewer<'_>,
    owner: i64,
    kind: ResourceKind,
    name: &str,
) -> Result<Option<ResourceRow>> {
    let row = tx.query_one(
        resource_sql!("r.namespace = ?3 AND coalesce(r.owner_id, 0) = ?4 AND r.name = ?5 AND r.deleted_at IS NULL"),
        params![viewer.grantee(), viewer.role, kind.namespace(), owner, name],
    )?;
    row.as_ref().map(resource).transpose()
}

fn shared(tx: &mut dyn Connection, viewer: Viewer<'_>, kind: ResourceKind, name: &str) -> Result<Option<ResourceRow>> {
    let row = tx.query_one(
        resource_sql!("r.namespace = ?3 AND r.name = ?4 AND r.visibility = 'shared' AND r.deleted_at IS NULL"),
        params![viewer.grantee(), viewer.role, kind.namespace(), name],
    )?;
    row.as_ref().map(resource).transpose()
}

fn owner_id(tx: &mut dyn Connection, email: &str) -> Result<Option<UserId>> {
    let email = email.trim().to_lowercase();
    let row = tx.query_one("SELECT id FROM users WHERE email = ?1 AND deleted_at IS NULL", params![email])?;
    row.map(|row| row.int(0).map(UserId)).transpose()
}

fn owner_key(owner: Option<UserId>) -> i64 {
    owner.map_or(0, |owner| owner.0)
}

/// Refuses a name that another live record of this owner has, or another shared one where this one
/// is shared too. `id` is the record itself, 0 for a new one.
fn refuse_taken<S: Spec>(
    tx: &mut dyn Connection,
    id: ResourceId,
    owner: Option<UserId>,
    visibility: Visibility,
    name: &str,
) -> Result<()> {
    let noun = if S::KIND.namespace() == "runnable" { "agent or workflow" } else { S::KIND.name() };
    let own = tx.query_one(
        "SELECT id FROM resources WHERE namespace = ?1 AND coalesce(owner_id, 0) = ?2 AND name = ?3
         AND deleted_at IS NULL AND id <> ?4",
        params![S::KIND.namespace(), owner_key(owner), name, id],
    )?;
    if own.is_some() {
        let message = format!("the name {} is taken by another {noun} of the same owner: choose another", shown(name));
        return Err(Error::conflict(message));
    }
    if visibility == Visibility::Private {
        return Ok(());
    }
    let shared = tx.query_one(
        "SELECT id FROM resources WHERE namespace = ?1 AND name = ?2 AND visibility = 'shared'
         AND deleted_at IS NULL AND id <> ?3",
        params![S::KIND.namespace(), name, id],
    )?;
    match shared {
        Some(_) => {
            Err(Error::conflict(format!("the name {} is taken by a shared {noun}: choose another", shown(name))))
        }
        None => Ok(()),
    }
}

fn keep_version<S: Spec>(
    tx: &mut dyn Connection,
    id: ResourceId,
    version: u32,
    hash: &str,
    now: Timestamp,
) -> Result<()> {
    if S::VERSIONED {
        tx.execute(
            "INSERT INTO resource_versions (resource_id, version, hash, created_at) VALUES (?1, ?2, ?3, ?4)",
            params![id, version, hash, now],
        )?;
    }
    Ok(())
}

fn resource(row: &Row) -> Result<ResourceRow> {
    let damaged = || Error::storage("a catalogue record cannot be read: it is damaged or from a newer version");
    Ok(ResourceRow {
        id: ResourceId(row.int(0)?),
        kind: ResourceKind::from_name(row.text(1)?).ok_or_else(damaged)?,
        name: row.text(2)?.to_owned(),
        owner_id: row.opt_int(3)?.map(UserId),
        visibility: Visibility::from_name(row.text(4)?).ok_or_else(damaged)?,
        revision: u32::try_from(row.int(5)?).map_err(|_| damaged())?,
        hash: row.text(6)?.to_owned(),
        created_at: Timestamp(row.int(7)?),
        updated_at: Timestamp(row.int(8)?),
        level: row.opt_int(9)?.map(|rank| ShareLevel::from_rank(rank).ok_or_else(damaged)).transpose()?,
        body: row.text(10)?.to_owned(),
    })
}

fn prompt_version(row: &Row) -> Result<PromptVersion> {
    let version = u32::try_from(row.int(0)?).map_err(|_| Error::storage("a prompt version is damaged"))?;
    let spec: NewPrompt = row.json(3)?;
    Ok(PromptVersion { version, hash: row.text(1)?.to_owned(), created_at: Timestamp(row.int(2)?), spec })
}
