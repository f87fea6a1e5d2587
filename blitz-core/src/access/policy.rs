//! The rules: what a subject may do with a resource.

use std::time::Duration;

use super::authorizer::{AccessObject, AccessRequest, Policy};
use super::caller::Caller;
use super::gate::Rules;
use crate::domain::{
    Deed, KeyId, Permission, Powers, Principal, Reach, ResourceKind, ResourceRef, Role, SessionId, SessionSettings,
    ShareLevel, Timestamp, UserId, Visibility,
};
use crate::error::{Error, Result};
use crate::store::access::SessionRow;
use crate::store::catalog::{self, ResourceRow, Viewer, shown};
use crate::store::{Connection, access};

/// A principal with what it may do at this moment.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// The user; `None` for the host itself.
    pub(super) user: Option<UserId>,
    /// What it is; the host is an admin.
    pub(super) role: Role,
    /// What it may: the role's powers, within those of its API key.
    pub(super) powers: Powers,
    /// The API key it came in with.
    key: Option<KeyId>,
    policy: Policy,
}

/// How a caller came in: what must still hold for it to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is the host.
    Host,
    /// A login, or a token that hangs on one.
    Login {
        /// The login; `None` for one that was never stored.
        session: Option<SessionId>,
        /// When the token ends, where it ends before the login.
        until: Option<Timestamp>,
    },
    /// An API key.
    Key,
    /// A tool of an execution: it acts as who started it, whatever became of the login.
    Acting,
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
    /// Of a name that agents and workflows share: neither is there, or open.
    pub(super) fn or_workflow(self, workflow: Self) -> Self {
        let error = Error::not_found("there is no such agent or workflow, or it is not open to you");
        Self { error: Box::new(error), object: self.object.or(workflow.object) }
    }

    /// A refusal that the trail is told of.
    pub(super) fn of(error: Error, object: String) -> Self {
        Self { error: Box::new(error), object: Some(object) }
    }
}

impl Subject {
    /// The host itself.
    pub(super) fn host() -> Self {
        Self { user: None, role: Role::Admin, powers: Powers::everything(), key: None, policy: Policy::default() }
    }

    /// The subject of a caller, as it stands now.
    ///
    /// Errors: `Unauthenticated` where the user is gone or disabled, or its login or key has ended.
    pub(super) fn of_caller(tx: &mut dyn Connection, rules: &Rules, caller: &Caller, now: Timestamp) -> Result<Self> {
        let Principal::User { id, session_version, key_id } = caller.principal() else { return Ok(Self::host()) };
        let user = access::standing(tx, *id)?.filter(|user| user.active).ok_or_else(ended)?;
        if let Way::Login { session, until } = caller.way() {
            let fresh = user.session_version == *session_version && until.is_none_or(|until| now < until);
            let live = match session {
                Some(session) => access::session(tx, session)?.is_some_and(|row| is_live(&row, &rules.sessions, now)),
                None => true,
            };
            if !(fresh && live) {
                return Err(ended());
            }
        }
        Self::of_user(tx, rules, *id, user.role, *key_id, (caller.way() == Way::Key).then_some(now))?
            .ok_or_else(|| Error::unauthenticated("the API key has ended or was taken back: use another"))
    }

    /// The subject of an execution, as it stands now. A login or key that came to its end since does not count.
    ///
    /// Errors: `PermissionDenied` where the user is gone, disabled or may no longer run it.
    pub(super) fn of_execution(tx: &mut dyn Connection, rules: &Rules, principal: &Principal) -> Result<Self> {
        let Principal::User { id, key_id, .. } = principal else { return Ok(Self::host()) };
        let Some(now) = access::standing(tx, *id)?.filter(|now| now.active) else {
            return Err(Error::denied("the user of this execution is disabled or deleted"));
        };
        Self::of_user(tx, rules, *id, now.role, *key_id, None)?
            .ok_or_else(|| Error::denied("the API key of this execution was taken back"))
    }

    /// A user within its key; `None` where the key is gone, or has ended at the time that is given.
    fn of_user(
        tx: &mut dyn Connection,
        rules: &Rules,
        id: UserId,
        role: Role,
        key: Option<KeyId>,
        at: Option<Timestamp>,
    ) -> Result<Option<Self>> {
        let mut powers = access::powers(tx, &role)?;
        if let Some(key) = key {
            let ended = |end: Option<Timestamp>| end.zip(at).is_some_and(|(end, now)| end <= now);
            let row = access::key(tx, key)?.filter(|row| {
                row.record.user_id == id && row.record.revoked_at.is_none() && !ended(row.record.expires_at)
            });
            let Some(row) = row else { return Ok(None) };
            powers = row.powers().map_or(powers, |scopes| powers.and(scopes));
        }
        Ok(Some(Self { user: Some(id), role, powers, key, policy: rules.policy.clone() }))
    }

    /// How far a permission reaches for this subject.
    pub(super) fn reach(&self, permission: Permission) -> Reach {
        self.powers.reach(permission)
    }

    /// Whether the host's policy is asked too, so that nothing may be kept of what it allowed.
    pub(super) fn asks_host(&self) -> bool {
        self.user.is_some() && self.policy.is_there()
    }

    /// Asks the host's own policy.
    pub(super) fn host_allows(&self, permission: Permission, object: Option<AccessObject<'_>>) -> Result<()> {
        let Some(user_id) = self.user else { return Ok(()) };
        let request = AccessRequest { user_id, key_id: self.key, role: &self.role, permission, object };
        if self.policy.allows(&request) {
            return Ok(());
        }
        Err(Error::denied(format!("the policy of this host does not allow {} here", permission.name())))
    }

    /// Refuses where the subject does not have a permission at all.
    pub(super) fn require(&self, permission: Permission) -> Result<()> {
        match self.reach(permission) {
            Reach::None if self.key.is_some() => Err(Error::denied(format!(
                "this API key does not have the permission {}, or its owner does not: use another key",
                permission.name()
            ))),
            Reach::None => Err(Error::denied(format!(
                "the role {} does not have the permission {}: ask an admin",
                self.role.name(),
                permission.name()
            ))),
            Reach::Own | Reach::All => self.host_allows(permission, None),
        }
    }

    /// Judges a permission on a resource.
    pub(super) fn judge(&self, permission: Permission, row: &ResourceRow) -> Verdict {
        if self.reaches(permission, row) {
            Verdict::Allowed
        } else if self.reaches(row.kind.permission(Deed::Read), row) {
            Verdict::Denied
        } else {
            Verdict::Hidden
        }
    }

    /// The judgement as an error for the caller and a line for the trail.
    pub(super) fn allow(&self, permission: Permission, row: &ResourceRow) -> Result<(), Refusal> {
        let error = match self.judge(permission, row) {
            Verdict::Allowed => match self.host_allows(permission, Some(object(row))) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
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
        &self,
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
    pub(super) fn viewer(&self) -> Viewer<'_> {
        Viewer { user: self.user, role: self.role.name() }
    }

    fn reaches(&self, permission: Permission, row: &ResourceRow) -> bool {
        match self.reach(permission) {
            Reach::All => true,
            Reach::Own => self.level(row) >= Some(permission.level()),
            Reach::None => false,
        }
    }

    /// How far a resource is open to this subject, whatever its role: `None` where it is closed.
    fn level(&self, row: &ResourceRow) -> Option<ShareLevel> {
        if row.owner_id == self.user {
            return Some(ShareLevel::Manage);
        }
        let open_to_all = (row.visibility == Visibility::Shared).then_some(ShareLevel::Use);
        row.level.max(open_to_all)
    }
}

/// Whether a login still holds: not ended, not too old, not left alone for too long.
pub(super) fn is_live(row: &SessionRow, settings: &SessionSettings, now: Timestamp) -> bool {
    let idle = Duration::from_secs(settings.idle_seconds.into());
    !row.ended && now < row.record.expires_at && now < row.record.seen_at.plus(idle)
}

/// One and the same answer for every login that does not hold any more.
pub(super) fn ended() -> Error {
    Error::unauthenticated("the session has ended: log in again")
}

fn object(row: &ResourceRow) -> AccessObject<'_> {
    AccessObject {
        kind: row.kind.name(),
        id: row.id.0,
        name: Some(&row.name),
        owner_id: row.owner_id,
        visibility: Some(row.visibility),
    }
}

/// One and the same answer for a thing that is not there and one the caller may not know of.
fn missing(kind: ResourceKind) -> Error {
    Error::not_found(format!("there is no such {}, or it is not open to you", kind.name()))
}
