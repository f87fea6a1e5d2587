//! What every noun of the catalogue can do: create, put, get, list, update, delete, share.

use std::marker::PhantomData;

use super::Session;
use crate::domain::{ListOptions, Page, Patch, Record, ResourceRef, Share, Spec, Visibility};
use crate::error::Result;

/// A noun of the catalogue, with what makes a record of it valid. Sealed: the nouns are the engine's own.
#[doc(hidden)]
#[allow(private_bounds, reason = "the bound is what seals it")]
pub trait Noun: Spec {
    /// Brings the fields into their stored form; refuses what can be seen to be wrong by itself.
    #[doc(hidden)]
    fn checked(self) -> Result<Self>;
}

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
        self.session.inner.gate.create(&self.session.caller, new.checked()?, Visibility::Private).await
    }

    /// Creates a record, or updates the caller's own of that name: a program may run twice.
    ///
    /// There is no new revision where nothing changed.
    pub async fn put(&self, new: S) -> Result<Record<S>> {
        self.session.inner.gate.put(&self.session.caller, new.checked()?, Visibility::Private).await
    }

    /// One record.
    pub async fn get(&self, id: impl Into<ResourceRef>) -> Result<Record<S>> {
        self.session.inner.gate.get(&self.session.caller, id.into()).await
    }

    /// A page of what the caller may see, in order of id.
    pub async fn list(&self, options: ListOptions) -> Result<Page<Record<S>>> {
        self.session.inner.gate.list(&self.session.caller, options).await
    }

    /// Changes some fields: a JSON merge patch of them, in which `null` takes a field away.
    ///
    /// Errors: `InvalidInput` for an unknown field, `Conflict` where a new name is taken.
    pub async fn update(&self, id: impl Into<ResourceRef>, patch: Patch) -> Result<Record<S>> {
        self.session.inner.gate.update(&self.session.caller, id.into(), patch, S::checked).await
    }

    /// Deletes a record and frees its name; executions that began with it go on.
    pub async fn delete(&self, id: impl Into<ResourceRef>) -> Result<()> {
        self.session.inner.gate.delete::<S>(&self.session.caller, id.into()).await
    }

    /// Opens a record to a user or a role; a second share with the same replaces the first.
    pub async fn share(&self, id: impl Into<ResourceRef>, share: Share) -> Result<()> {
        self.session.inner.gate.share::<S>(&self.session.caller, id.into(), share).await
    }

    /// Takes a share back, whatever its level. Errors: `NotFound` where there was none.
    pub async fn unshare(&self, id: impl Into<ResourceRef>, share: Share) -> Result<()> {
        self.session.inner.gate.unshare::<S>(&self.session.caller, id.into(), share).await
    }

    /// To whom a record is opened beside its owner.
    pub async fn shares(&self, id: impl Into<ResourceRef>) -> Result<Vec<Share>> {
        self.session.inner.gate.shares::<S>(&self.session.caller, id.into()).await
    }

    /// Lets everybody see and use a record, or only its owner again; admins only.
    ///
    /// Errors: `Conflict` where another shared record has the name.
    pub async fn set_visibility(&self, id: impl Into<ResourceRef>, visibility: Visibility) -> Result<Record<S>> {
        self.session.inner.gate.set_visibility(&self.session.caller, id.into(), visibility).await
    }
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
            method!(concat!($noun, ".shares"), $delete, Named => Vec<Share>, |s, named| s.$handle().shares(named.id)),
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
