//! The catalogue as callers use it: the same few methods for every noun.

use serde_json::{Value, json};

use super::caller::Caller;
use super::gate::{Gate, Grant, Target};
use super::model::HEADERS;
use crate::domain::{
    Deed, ListOptions, Page, Patch, Permission, PromptVersion, Reach, Record, ResourceKind, ResourceRef, Role,
    SealedHeaders, Secret, Share, Spec, UserId, Visibility,
};
use crate::error::{Error, ErrorCode, Result};
use crate::store::catalog::{self, Grantee, ResourceRow};
use crate::store::{Connection, access};

impl Gate {
    /// Adds a record. Errors: `Conflict` where the name is taken.
    pub(crate) async fn create<S: Spec>(&self, caller: &Caller, spec: S, visibility: Visibility) -> Result<Record<S>> {
        let permission = S::KIND.permission(Deed::Create);
        self.write(caller, permission, Target::None, action(S::KIND, "create"), move |tx, grant| {
            create(tx, grant, &spec, visibility)
        })
        .await
    }

    /// Adds a record or changes the caller's own of that name; no new revision where nothing changed.
    ///
    /// `visibility` is that of a new record; an old one keeps its own, and its secret where the new
    /// fields bring none.
    pub(crate) async fn put<S: Spec>(&self, caller: &Caller, spec: S, visibility: Visibility) -> Result<Record<S>> {
        let permission = S::KIND.permission(Deed::Create);
        self.write(caller, permission, Target::None, action(S::KIND, "put"), move |tx, grant| {
            match catalog::own(tx, grant.viewer(), S::KIND, spec.name())? {
                Some(row) if row.kind == S::KIND => {
                    grant.may(S::KIND.permission(Deed::Edit), &row)?;
                    replace(tx, grant, &row, &spec, false)
                }
                _ => create(tx, grant, &spec, visibility),
            }
        })
        .await
    }

    /// A record. Errors: `NotFound` where there is none or the caller may not know of it.
    pub(crate) async fn get<S: Spec>(&self, caller: &Caller, reference: ResourceRef) -> Result<Record<S>> {
        let target = Target::Resource(S::KIND, reference);
        self.read(caller, S::KIND.permission(Deed::Read), target, |_, grant| grant.target()?.record()).await
    }

    /// A page of the records that are open to the caller, by id.
    pub(crate) async fn list<S: Spec>(&self, caller: &Caller, options: ListOptions) -> Result<Page<Record<S>>> {
        self.read(caller, S::KIND.permission(Deed::Read), Target::None, move |tx, grant| {
            catalog::list(tx, grant.viewer(), grant.reach() == Reach::All, &options)
        })
        .await
    }

    /// Changes some fields of a record by a merge patch; `null` takes a field away. `check` brings the
    /// fields into their stored form or refuses them.
    ///
    /// Errors: `InvalidInput` naming an unknown field; `Conflict` where a new name is taken.
    pub(crate) async fn update<S: Spec>(
        &self,
        caller: &Caller,
        reference: ResourceRef,
        patch: Patch,
        check: fn(S) -> Result<S>,
    ) -> Result<Record<S>> {
        let target = Target::Resource(S::KIND, reference);
        let permission = S::KIND.permission(Deed::Edit);
        self.write(caller, permission, target, action(S::KIND, "update"), move |tx, grant| {
            let row = grant.target()?;
            let spec = check(catalog::patched::<S>(&row.body, &patch)?)?;
            let forget = S::SECRET.is_some_and(|field| patch.get(field) == Some(&Value::Null));
            replace(tx, grant, row, &spec, forget)
        })
        .await
    }

    /// Deletes a record and frees its name. Executions that run with it go on.
    pub(crate) async fn delete<S: Spec>(&self, caller: &Caller, reference: ResourceRef) -> Result<()> {
        let target = Target::Resource(S::KIND, reference);
        let permission = S::KIND.permission(Deed::Delete);
        self.write(caller, permission, target, action(S::KIND, "delete"), |tx, grant| {
            let row = grant.target()?;
            catalog::delete(tx, row.id, grant.now())?;
            grant.audit(tx, &row.label(), Some(&row.hash), None, Value::Null)
        })
        .await
    }

    /// Opens a record to everybody, or closes it.
    ///
    /// Opening puts a name before everybody who names no owner, so it takes a role that reaches
    /// everybody's records; owners without it share with users and roles.
    pub(crate) async fn set_visibility<S: Spec>(
        &self,
        caller: &Caller,
        reference: ResourceRef,
        visibility: Visibility,
    ) -> Result<Record<S>> {
        let target = Target::Resource(S::KIND, reference);
        let permission = S::KIND.permission(Deed::Share);
        self.write(caller, permission, target, action(S::KIND, "set_visibility"), move |tx, grant| {
            if visibility == Visibility::Shared {
                refuse_publishing(grant, S::KIND)?;
            }
            let before = grant.target()?;
            let row = catalog::set_visibility::<S>(tx, before, visibility, grant.now())?;
            let details = json!({"visibility": visibility});
            grant.audit_change_with(tx, &row.label(), Some(&before.visibility), Some(&visibility), details)?;
            row.record()
        })
        .await
    }

    /// Opens a record to a user or a role, or changes how far.
    pub(crate) async fn share<S: Spec>(&self, caller: &Caller, reference: ResourceRef, share: Share) -> Result<()> {
        let target = Target::Resource(S::KIND, reference);
        let permission = S::KIND.permission(Deed::Share);
        self.write(caller, permission, target, action(S::KIND, "share"), move |tx, grant| {
            let row = grant.target()?;
            let grantee = grantee(tx, &share)?;
            let before = catalog::shares(tx, row.id)?;
            catalog::share(tx, row.id, &grantee, share.level, grant.now())?;
            let (after, details) =
                (catalog::shares(tx, row.id)?, json!({"with": label(&grantee), "level": share.level}));
            grant.audit_change_with(tx, &row.label(), Some(&before), Some(&after), details)
        })
        .await
    }

    /// Takes a share back, whatever its level. Errors: `NotFound` where there is none.
    pub(crate) async fn unshare<S: Spec>(&self, caller: &Caller, reference: ResourceRef, share: Share) -> Result<()> {
        let target = Target::Resource(S::KIND, reference);
        let permission = S::KIND.permission(Deed::Share);
        self.write(caller, permission, target, action(S::KIND, "unshare"), move |tx, grant| {
            let row = grant.target()?;
            let grantee = grantee(tx, &share)?;
            let before = catalog::shares(tx, row.id)?;
            if !catalog::unshare(tx, row.id, &grantee)? {
                return Err(Error::not_found("it is not shared with this user or role"));
            }
            let (after, details) = (catalog::shares(tx, row.id)?, json!({"with": label(&grantee)}));
            grant.audit_change_with(tx, &row.label(), Some(&before), Some(&after), details)
        })
        .await
    }

    /// To whom a record is open beside its owner.
    pub(crate) async fn shares<S: Spec>(&self, caller: &Caller, reference: ResourceRef) -> Result<Vec<Share>> {
        let target = Target::Resource(S::KIND, reference);
        self.read(caller, S::KIND.permission(Deed::Share), target, |tx, grant| catalog::shares(tx, grant.target()?.id))
            .await
    }

    /// A page of a prompt's versions, oldest first.
    pub(crate) async fn prompt_versions(
        &self,
        caller: &Caller,
        reference: ResourceRef,
        options: ListOptions,
    ) -> Result<Page<PromptVersion>> {
        let target = Target::Resource(ResourceKind::Prompt, reference);
        self.read(caller, Permission::PromptsRead, target, move |tx, grant| {
            catalog::versions(tx, grant.target()?.id, &options)
        })
        .await
    }

    /// One version of a prompt.
    pub(crate) async fn prompt_version(
        &self,
        caller: &Caller,
        reference: ResourceRef,
        version: u32,
    ) -> Result<PromptVersion> {
        let target = Target::Resource(ResourceKind::Prompt, reference);
        self.read(caller, Permission::PromptsRead, target, move |tx, grant| found_version(tx, grant.target()?, version))
            .await
    }
}

fn create<S: Spec>(tx: &mut dyn Connection, grant: &Grant, spec: &S, visibility: Visibility) -> Result<Record<S>> {
    if visibility == Visibility::Shared {
        refuse_publishing(grant, S::KIND)?;
    }
    check_references(tx, grant, spec)?;
    let row = catalog::insert(tx, grant.user_id(), visibility, spec, grant.now())?;
    if let (Some(secret), Some(column)) = (spec.secret(), S::SECRET) {
        set_secret(tx, grant, &row, column, secret)?;
    }
    seal_headers(tx, grant, &row, spec, &SealedHeaders::default())?;
    grant.audit(tx, &row.label(), None, Some(&row.hash), Value::Null)?;
    row.record()
}

/// Gives a record new fields. `forget` drops its secret; so does sending it elsewhere, unless the
/// new fields bring one.
fn replace<S: Spec>(
    tx: &mut dyn Connection,
    grant: &Grant,
    row: &ResourceRow,
    spec: &S,
    forget: bool,
) -> Result<Record<S>> {
    check_references(tx, grant, spec)?;
    let changed = catalog::replace(tx, row, spec, grant.now())?;
    let moved = row.record::<S>()?.spec.secret_target() != spec.secret_target();
    match (S::SECRET, spec.secret()) {
        (Some(column), Some(secret)) => set_secret(tx, grant, row, column, secret)?,
        (Some(column), None) if forget || moved => access::drop_secret(tx, "resources", row.id.0, column)?,
        _ => {}
    }
    if spec.headers().is_some() {
        let sealed = grant.parts().sealed_headers(tx, row.id)?;
        if moved {
            access::drop_secret(tx, "resources", row.id.0, HEADERS)?;
        }
        seal_headers(tx, grant, row, spec, &if moved { SealedHeaders::default() } else { sealed })?;
    }
    let details = if S::SECRET.is_some() { json!({"secret": spec.secret().is_some()}) } else { Value::Null };
    grant.audit(tx, &row.label(), Some(&row.hash), Some(&changed.hash), details)?;
    changed.record()
}

fn set_secret(tx: &mut dyn Connection, grant: &Grant, row: &ResourceRow, column: &str, secret: &Secret) -> Result<()> {
    grant.require(Permission::SecretsSet)?;
    access::set_secret(tx, grant.keys(), "resources", row.id.0, column, secret, grant.now())
}

/// Seals the texts of a record's headers in place of those that are `sealed`; one that reads `***` stays.
fn seal_headers<S: Spec>(
    tx: &mut dyn Connection,
    grant: &Grant,
    row: &ResourceRow,
    spec: &S,
    sealed: &SealedHeaders,
) -> Result<()> {
    let Some(headers) = spec.headers() else { return Ok(()) };
    let settled = headers.settled(sealed)?;
    match settled.is_empty() {
        _ if settled == *sealed => Ok(()),
        true => access::drop_secret(tx, "resources", row.id.0, HEADERS),
        false => set_secret(tx, grant, row, HEADERS, &settled.to_secret()?),
    }
}

/// Checks that everything a record names is there and may be used by whoever puts it.
fn check_references<S: Spec>(tx: &mut dyn Connection, grant: &Grant, spec: &S) -> Result<()> {
    spec.needs().iter().try_for_each(|permission| grant.require(*permission))?;
    for name in spec.secret_names() {
        grant.require(Permission::SecretsUse)?;
        if access::secret_name(tx, name)?.is_none() {
            return Err(Error::not_found(format!("there is no secret {}: set it first", catalog::shown(name))));
        }
    }
    for reference in spec.references() {
        let name = ResourceRef::from(reference.name);
        let found = grant.find(tx, reference.kind.permission(Deed::Use), reference.kind, &name);
        let is_missing = found.as_ref().is_err_and(|error| error.code() == ErrorCode::NotFound);
        if is_missing && reference.kind == ResourceKind::Model && names_a_provider(reference.name) {
            // No record is meant. Who serves it, and whether this caller may use it, is asked when it runs.
            continue;
        }
        let row = found.map_err(|error| {
            let (noun, name) = (reference.kind.name(), catalog::shown(reference.name));
            Error::new(error.code(), format!("the {noun} {name} is not there or not open to you")).with_source(error)
        })?;
        if let Some(version) = reference.version {
            found_version(tx, &row, version)?;
        }
    }
    Ok(())
}

/// Whether a name has the form `provider:model`.
fn names_a_provider(name: &str) -> bool {
    name.split_once(':').is_some_and(|(provider, model)| !provider.is_empty() && !model.is_empty())
}

fn found_version(tx: &mut dyn Connection, prompt: &ResourceRow, version: u32) -> Result<PromptVersion> {
    catalog::version(tx, prompt.id, version)?.ok_or_else(|| {
        let name = catalog::shown(&prompt.name);
        Error::not_found(format!("the prompt {name} has no version {version}: its newest is {}", prompt.revision))
    })
}

/// Opening to everybody takes the permission to publish where there is one, else reach over everybody's.
fn refuse_publishing(grant: &Grant, kind: ResourceKind) -> Result<()> {
    if grant.reach() == Reach::All || (kind == ResourceKind::Prompt && grant.has(Permission::PromptsPublish)) {
        return Ok(());
    }
    Err(grant
        .refuse(Error::denied("only an admin opens a resource to everybody: share it with users or roles instead")))
}

fn grantee(tx: &mut dyn Connection, share: &Share) -> Result<Grantee> {
    match (&share.user, &share.role) {
        (Some(user), None) => {
            let row = match user.parse() {
                Ok(id) => access::user(tx, UserId(id))?,
                Err(_) => access::user_by_email(tx, &super::users::normalise(user)?)?,
            };
            row.map(|row| Grantee::User(row.user.id)).ok_or_else(|| Error::not_found("there is no such user"))
        }
        (None, Some(role)) => {
            let missing = || Error::invalid("there is no such role: use admin, business_user or one of your own");
            let role = Role::from_name(role).ok_or_else(missing)?;
            if access::role_exists(tx, &role)? { Ok(Grantee::Role(role)) } else { Err(missing()) }
        }
        _ => Err(Error::invalid("a share is with a user or with a role: give one of the two")),
    }
}

fn label(grantee: &Grantee) -> String {
    match grantee {
        Grantee::User(id) => format!("user:{id}"),
        Grantee::Role(role) => format!("role:{}", role.name()),
    }
}

fn action(kind: ResourceKind, verb: &str) -> String {
    format!("{}s.{verb}", kind.name())
}
