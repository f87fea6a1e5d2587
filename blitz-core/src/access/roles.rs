//! Roles of the host's own.

use super::caller::Caller;
use super::gate::{Gate, Target};
use crate::domain::{
    ListOptions, NewRole, Page, Permission, Powers, Reach, Role, RoleRecord, RoleUpdate, Scope, Timestamp,
};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::access;

/// The longest description of a role in characters.
const MAX_DESCRIPTION: usize = 1000;

impl Gate {
    /// Makes a role. Errors: `Conflict` where the name is taken; `PermissionDenied` for what the caller lacks.
    pub(crate) async fn create_role(&self, caller: &Caller, new: NewRole) -> Result<RoleRecord> {
        check_description(&new.description)?;
        self.write(caller, Permission::RolesManage, Target::None, "roles.create", move |tx, grant| {
            let Some(Role::Custom(_)) = Role::from_name(&new.name) else {
                return Err(Error::invalid(
                    "a role's name has lower-case letters, digits, _ and -, a letter first, at most 64, and is none of \
                     the built-in ones",
                ));
            };
            if access::role_record(tx, &new.name)?.is_some() {
                return Err(Error::conflict("there is a role of this name already"));
            }
            grant.lends(Powers::of(&new.permissions))?;
            let permissions = sorted(&new.permissions);
            access::insert_role(tx, &new.name, &new.description, &permissions, grant.now())?;
            let record = found(tx, &new.name)?;
            grant.audit_change(tx, &format!("role:{}", record.id), None, Some(&record))?;
            Ok(record)
        })
        .await
    }

    /// One role, a built-in one too.
    pub(crate) async fn role(&self, caller: &Caller, name: String) -> Result<RoleRecord> {
        self.read(caller, Permission::UsersRead, Target::None, move |tx, _| match built_in(&name) {
            Some(record) => Ok(record),
            None => found(tx, &name),
        })
        .await
    }

    /// A page of the host's own roles, by id; the first page begins with the two built-in ones.
    pub(crate) async fn roles(&self, caller: &Caller, options: ListOptions) -> Result<Page<RoleRecord>> {
        self.read(caller, Permission::UsersRead, Target::None, move |tx, _| {
            let mut page = access::roles(tx, &options)?;
            if options.cursor.is_none() {
                page.items.splice(0..0, ["admin", "business_user"].into_iter().filter_map(built_in));
            }
            Ok(page)
        })
        .await
    }

    /// Changes what a role allows, from the next call of its users on.
    pub(crate) async fn update_role(&self, caller: &Caller, name: String, update: RoleUpdate) -> Result<RoleRecord> {
        check_description(update.description.as_deref().unwrap_or_default())?;
        self.write(caller, Permission::RolesManage, Target::None, "roles.update", move |tx, grant| {
            let before = changeable(tx, &name)?;
            // Whoever changes a role rules over its users: it takes all that they may, before and after.
            grant.lends(Powers::of(&before.permissions))?;
            let mut after = before.clone();
            if let Some(permissions) = &update.permissions {
                grant.lends(Powers::of(permissions))?;
                after.permissions = sorted(permissions);
            }
            after.description = update.description.clone().unwrap_or(after.description);
            after.updated_at = grant.now();
            access::update_role(tx, &after)?;
            grant.audit_change(tx, &format!("role:{}", after.id), Some(&before), Some(&after))?;
            Ok(after)
        })
        .await
    }

    /// Deletes a role and takes back what was shared with it. Errors: `Conflict` while users have it.
    pub(crate) async fn delete_role(&self, caller: &Caller, name: String) -> Result<()> {
        self.write(caller, Permission::RolesManage, Target::None, "roles.delete", move |tx, grant| {
            let record = changeable(tx, &name)?;
            grant.lends(Powers::of(&record.permissions))?;
            if access::role_in_use(tx, &name)? {
                return Err(Error::conflict("there are users with this role: give them another first"));
            }
            access::delete_role(tx, &name)?;
            grant.audit_change(tx, &format!("role:{}", record.id), Some(&record), None)
        })
        .await
    }
}

fn found(tx: &mut dyn Connection, name: &str) -> Result<RoleRecord> {
    access::role_record(tx, name)?.ok_or_else(|| Error::not_found("there is no such role"))
}

fn changeable(tx: &mut dyn Connection, name: &str) -> Result<RoleRecord> {
    if built_in(name).is_some() {
        return Err(Error::invalid("a built-in role cannot be changed: make one of your own"));
    }
    found(tx, name)
}

/// A built-in role as a record.
fn built_in(name: &str) -> Option<RoleRecord> {
    let powers = Role::from_name(name)?.powers()?;
    let permissions = Permission::ALL.iter().filter_map(|permission| match powers.reach(*permission) {
        Reach::None => None,
        Reach::Own => Some(Scope::own(*permission)),
        Reach::All => Some(Scope::all(*permission)),
    });
    Some(RoleRecord {
        id: 0,
        name: name.to_owned(),
        description: String::new(),
        permissions: permissions.collect(),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
    })
}

fn sorted(permissions: &[Scope]) -> Vec<Scope> {
    let mut permissions = permissions.to_vec();
    permissions.sort_unstable();
    permissions.dedup();
    permissions
}

fn check_description(description: &str) -> Result<()> {
    match description.chars().count() <= MAX_DESCRIPTION {
        true => Ok(()),
        false => Err(Error::invalid(format!("a description has at most {MAX_DESCRIPTION} characters"))),
    }
}
