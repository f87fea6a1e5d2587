//! The rules: what a subject may do with a resource.

use crate::domain::{
    Deed, Permission, Principal, Reach, ResourceKind, ResourceRef, Role, ShareLevel, UserId, Visibility,
};
use crate::error::{Error, Result};
use crate::store::catalog::{self, ResourceRow, Viewer, shown};
use crate::store::{Connection, access};

/// A principal with the role it has at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subject {
    /// The user; `None` for the host itself.
    pub(super) user: Option<UserId>,
    /// What it may do; the host is an admin.
    pub(super) role: Role,
}

/// What the rules say of a permission on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may.
    Allowed,
    /// It may not, and may know so: it sees the resource.
    Denied,
    /// It may not even know of it.
    Hidden,
}

/// A call that is turned away: what the caller is told, and what the trail is told.
#[derive(Debug)]
pub(super) struct Refusal {
    /// For the caller. Of a thing it may not see it says no more than of one that is not there.
    pub(super) error: Box<Error>,
    /// What it reached for, as the trail names it; `None` where there is nothing to tell.
    pub(super) object: Option<String>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error: Box::new(error), object: None }
    }
}

impl Refusal {
    /// A refusal that the trail is told of.
    pub(super) fn of(error: Error, object: String) -> Self {
        Self { error: Box::new(error), object: Some(object) }
    }
}

impl Subject {
    /// The host itself.
    pub(super) const HOST: Self = Self { user: None, role: Role::Admin };

    /// The subject of a session, as it stands now.
    ///
    /// Errors: `Unauthenticated` where the user is gone or disabled, or its sessions were ended.
    pub(super) fn of_session(tx: &mut dyn Connection, principal: &Principal) -> Result<Self> {
        let (id, session_version) = match principal {
            Principal::Root { .. } => return Ok(Self::HOST),
            Principal::User { id, session_version } => (id, session_version),
        };
        match access::standing(tx, *id)? {
            Some(now) if now.active && now.session_version == *session_version => {
                Ok(Self { user: Some(*id), role: now.role })
            }
            _ => Err(Error::unauthenticated("the session has ended: log in again")),
        }
    }

    /// The subject of an execution, as it stands now. A login that ended since does not count.
    ///
    /// Errors: `PermissionDenied` where the user is gone, disabled or may no longer run agents.
    pub(super) fn of_execution(tx: &mut dyn Connection, principal: &Principal) -> Result<Self> {
        let id = match principal {
            Principal::Root { .. } => return Ok(Self::HOST),
            Principal::User { id, .. } => id,
        };
        let Some(now) = access::standing(tx, *id)?.filter(|now| now.active) else {
            return Err(Error::denied("the user of this execution is disabled or deleted"));
        };
        let subject = Self { user: Some(*id), role: now.role };
        subject.require(Permission::AgentsRun).or_else(|error| {
            subject.require(Permission::WorkflowsRun).map_err(|_| error)
        })?;
        Ok(subject)
    }

    /// How far a permission reaches for this subject.
    pub(super) fn reach(self, permission: Permission) -> Reach {
        permission.reach(self.role)
    }

    /// Refuses where the role does not have a permission at all.
    pub(super) fn require(self, permission: Permission) -> Result<()> {
        match self.reach(permission) {
            Reach::None => Err(Error::denied(format!(
                "the role {} does not have the permission {}: ask an admin",
                self.role.name(),
                permission.name()
            ))),
            Reach::Own | Reach::All => Ok(()),
        }
    }

    /// Judges a permission on a resource.
    pub(super) fn judge(self, permission: Permission, row: &ResourceRow) -> Verdict {
        if self.reaches(permission, row) {
            Verdict::Allowed
        } else if self.reaches(row.kind.permission(Deed::Read), row) {
            Verdict::Denied
        } else {
            Verdict::Hidden
        }
    }

    /// The judgement as an error for the caller and a line for the trail.
    pub(super) fn allow(self, permission: Permission, row: &ResourceRow) -> Result<(), Refusal> {
        let error = match self.judge(permission, row) {
            Verdict::Allowed => return Ok(()),
            Verdict::Denied => Error::denied(format!(
                "{} on the {} {} is not open to you: ask its owner or an admin",
                permission.name(),
                row.kind.name(),
                shown(&row.name)
            )),
            Verdict::Hidden => missing(row.kind),
        };
        Err(Refusal::of(error, row.label()))
    }

    /// Finds a resource by its reference and refuses where the permission is not given on it.
    pub(super) fn find(
        self,
        tx: &mut dyn Connection,
        permission: Permission,
        kind: ResourceKind,
        reference: &ResourceRef,
    ) -> Result<ResourceRow, Refusal> {
        let Some(row) = catalog::find(tx, self.viewer(), kind, reference)? else {
            return Err(missing(kind).into());
        };
        self.allow(permission, &row)?;
        Ok(row)
    }

    /// Through whose eyes the catalogue is read.
    pub(super) fn viewer(self) -> Viewer {
        Viewer { user: self.user, role: self.role }
    }

    fn reaches(self, permission: Permission, row: &ResourceRow) -> bool {
        match self.reach(permission) {
            Reach::All => true,
            Reach::Own => self.level(row) >= Some(permission.level()),
            Reach::None => false,
        }
    }

    /// How far a resource is open to this subject, whatever its role: `None` where it is closed.
    fn level(self, row: &ResourceRow) -> Option<ShareLevel> {
        if row.owner_id == self.user {
            return Some(ShareLevel::Manage);
        }
        let open_to_all = (row.visibility == Visibility::Shared).then_some(ShareLevel::Use);
        row.level.max(open_to_all)
    }
}

/// One and the same answer for a thing that is not there and one the caller may not know of.
fn missing(kind: ResourceKind) -> Error {
    Error::not_found(format!("there is no such {}, or it is not open to you", kind.name()))
}
