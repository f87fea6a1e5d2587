//! What every noun of the catalogue can do: create, put, get, list, update, delete, share.

use std::marker::PhantomData;

use super::Session;
use crate::access::gate::{Grant, Target, Tx};
use crate::domain::{ListOptions, Page, Patch, Permission, Record, ResourceRef, Secret, Share, Spec, Visibility};
use crate::error::Result;

/// A noun of the catalogue: its permissions and what makes a record of it valid.
///
/// Sealed: the nouns are the engine's own.
#[doc(hidden)]
pub trait Noun: Spec {
    #[doc(hidden)]
    const READ: Permission;
    #[doc(hidden)]
    const CREATE: Permission;
    #[doc(hidden)]
    const EDIT: Permission;
    #[doc(hidden)]
    const DELETE: Permission;
    /// The audited actions: create, put, update, delete, share, unshare, visibility.
    #[doc(hidden)]
    const ACTIONS: Actions;

    /// Brings the fields into their stored form; refuses what can be seen to be wrong by itself.
    #[doc(hidden)]
    fn check(&mut self) -> Result<()>;

    /// Refuses what the caller may not use or do, by what else is in the catalogue.
    #[doc(hidden)]
    fn check_in(&self, _tx: &mut Tx<'_>, _grant: &Grant, _before: Option<&Self>) -> Result<()> {
        Ok(())
    }

    /// The secret among the fields: it is kept apart, sealed.
    #[doc(hidden)]
    fn take_secret(&mut self) -> Option<Secret> {
        None
    }

    /// Whether a secret that is stored is no longer for this record: its host has changed.
    #[doc(hidden)]
    fn outdates_secret(&self, _before: &Self) -> bool {
        false
    }
}

/// The names under which a noun's changes are audited.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Actions {
    pub(super) create: &'static str,
    pub(super) put: &'static str,
    pub(super) update: &'static str,
    pub(super) delete: &'static str,
    pub(super) share: &'static str,
    pub(super) unshare: &'static str,
    pub(super) visibility: &'static str,
}

macro_rules! actions {
    ($noun:literal) => {
        $crate::engine::catalog::Actions {
            create: concat!($noun, ".create"),
            put: concat!($noun, ".put"),
            update: concat!($noun, ".update"),
            delete: concat!($noun, ".delete"),
            share: concat!($noun, ".share"),
            unshare: concat!($noun, ".unshare"),
            visibility: concat!($noun, ".set_visibility"),
        }
    };
}
pub(super) use actions;

/// The records of one noun, through a session.
pub struct Catalog<S> {
    pub(super) session: Session,
    noun: PhantomData<fn() -> S>,
}

impl<S: Noun> Catalog<S> {
    pub(super) fn new(session: Session) -> Self {
        Self { session, noun: PhantomData }
    }

    /// Adds a record. Errors: `Conflict` where the name is taken, `InvalidInput` where a field is wrong.
    pub async fn create(&self, new: S) -> Result<Record<S>> {
        let (new, secret) = prepared(new)?;
        self.session
            .write(S::CREATE, Target::None, S::ACTIONS.create, move |tx, grant| {
                new.check_in(tx, grant, None)?;
                let record = grant.create(tx, &new)?;
                grant.keep_secret(tx, &record, secret.as_ref())?;
                Ok(record)
            })
            .await
    }

    /// Creates a record, or updates the caller's own of that name: a program may run twice.
    ///
    /// There is no new revision where nothing changed.
    pub async fn put(&self, new: S) -> Result<Record<S>> {
        let (new, secret) = prepared(new)?;
        self.session
            .write(S::CREATE, Target::None, S::ACTIONS.put, move |tx, grant| {
                let Some(before) = grant.own::<S>(tx, new.name())? else {
                    new.check_in(tx, grant, None)?;
                    let record = grant.create(tx, &new)?;
                    grant.keep_secret(tx, &record, secret.as_ref())?;
                    return Ok(record);
                };
                replace(tx, grant, &before, &new, secret.as_ref())
            })
            .await
    }

    /// One record.
    pub async fn get(&self, id: impl Into<ResourceRef>) -> Result<Record<S>> {
        self.session.read(S::READ, Target::Resource(S::KIND, id.into()), |_tx, grant| grant.record::<S>()).await
    }

    /// A page of what the caller may see, in order of id.
    pub async fn list(&self, options: ListOptions) -> Result<Page<Record<S>>> {
        self.session.read(S::READ, Target::None, move |tx, grant| grant.list::<S>(tx, &options)).await
    }

    /// Changes some fields: a JSON merge patch of them.
    ///
    /// Errors: `InvalidInput` for an unknown field, `Conflict` where a new name is taken.
    pub async fn update(&self, id: impl Into<ResourceRef>, patch: Patch) -> Result<Record<S>> {
        let target = Target::Resource(S::KIND, id.into());
        self.session
            .write(S::EDIT, target, S::ACTIONS.update, move |tx, grant| {
                let before = grant.record::<S>()?;
                let (new, secret) = prepared(grant.patched::<S>(&patch)?)?;
                replace(tx, grant, &before, &new, secret.as_ref())
            })
            .await
    }

    /// Deletes a record and frees its name; executions that began with it go on.
    pub async fn delete(&self, id: impl Into<ResourceRef>) -> Result<()> {
        let target = Target::Resource(S::KIND, id.into());
        self.session.write(S::DELETE, target, S::ACTIONS.delete, |tx, grant| grant.delete(tx)).await
    }

    /// Opens a record to a user or a role; a second share of the same replaces the first.
    pub async fn share(&self, id: impl Into<ResourceRef>, share: Share) -> Result<()> {
        let target = Target::Resource(S::KIND, id.into());
        self.session.write(S::DELETE, target, S::ACTIONS.share, move |tx, grant| grant.share(tx, &share)).await
    }

    /// Takes a share back. Errors: `NotFound` where there was none.
    pub async fn unshare(&self, id: impl Into<ResourceRef>, share: Share) -> Result<()> {
        let target = Target::Resource(S::KIND, id.into());
        self.session.write(S::DELETE, target, S::ACTIONS.unshare, move |tx, grant| grant.unshare(tx, &share)).await
    }

    /// To whom a record is opened.
    pub async fn shares(&self, id: impl Into<ResourceRef>) -> Result<Vec<Share>> {
        let target = Target::Resource(S::KIND, id.into());
        self.session.read(S::READ, target, |tx, grant| grant.shares(tx)).await
    }

    /// Lets everybody see and use a record, or only its owner again.
    ///
    /// Errors: `Conflict` where another shared record has the name.
    pub async fn set_visibility(&self, id: impl Into<ResourceRef>, visibility: Visibility) -> Result<Record<S>> {
        let target = Target::Resource(S::KIND, id.into());
        self.session
            .write(S::DELETE, target, S::ACTIONS.visibility, move |tx, grant| grant.set_visibility::<S>(tx, visibility))
            .await
    }
}

fn prepared<S: Noun>(mut new: S) -> Result<(S, Option<Secret>)> {
    let secret = new.take_secret();
    new.check()?;
    Ok((new, secret))
}

fn replace<S: Noun>(tx: &mut Tx<'_>, grant: &Grant, before: &Record<S>, new: &S, secret: Option<&Secret>) -> Result<Record<S>> {
    new.check_in(tx, grant, Some(&before.spec))?;
    let record = grant.replace(tx, before, new)?;
    if secret.is_none() && new.outdates_secret(&before.spec) {
        grant.drop_secret(tx, &record)?;
    }
    grant.keep_secret(tx, &record, secret)?;
    Ok(record)
}

/// The rows of the method table that every noun has.
macro_rules! catalog_rows {
    ($noun:literal, $handle:ident, $new:ty, $read:ident, $create:ident, $edit:ident, $delete:ident) => {
        &[
            method!(concat!($noun, ".create"), $create, $new => Record<$new>, |s, new| s.$handle().create(new)),
            method!(concat!($noun, ".put"), $create, $new => Record<$new>, |s, new| s.$handle().put(new)),
            method!(concat!($noun, ".get"), $read, Named => Record<$new>, |s, named| s.$handle().get(named.id)),
            method!(concat!($noun, ".list"), $read, ListOptions => Page<Record<$new>>, |s, options| s.$handle().list(options)),
            method!(concat!($noun, ".update"), $edit, Update => Record<$new>, |s, update| s.$handle().update(update.id, update.patch)),
            method!(concat!($noun, ".delete"), $delete, Named => (), |s, named| s.$handle().delete(named.id)),
            method!(concat!($noun, ".share"), $delete, Shared => (), |s, shared| s.$handle().share(shared.id, shared.share)),
            method!(concat!($noun, ".unshare"), $delete, Shared => (), |s, shared| s.$handle().unshare(shared.id, shared.share)),
            method!(concat!($noun, ".shares"), $read, Named => Vec<Share>, |s, named| s.$handle().shares(named.id)),
            method!(
                concat!($noun, ".set_visibility"), $delete, Visible => Record<$new>,
                |s, visible| s.$handle().set_visibility(visible.id, visible.visibility)
            ),
        ]
    };
}
pub(super) use catalog_rows;

/// A share of a record.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Shared {
    /// Its id, its name, or `owner/name`.
    pub(super) id: ResourceRef,
    /// To whom, and how far.
    pub(super) share: Share,
}

/// Who may see a record.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Visible {
    /// Its id, its name, or `owner/name`.
    pub(super) id: ResourceRef,
    /// Everybody or its owner.
    pub(super) visibility: Visibility,
}
