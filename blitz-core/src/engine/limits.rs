//! Limits of use: so many calls and tokens a minute, so many calls at once.

use super::Session;
use super::methods::{Method, Nothing, method};
use crate::access::Target;
use crate::domain::{Permission, RateLimit};
use crate::error::Result;
use crate::ledger;

/// The limits of use, through a session.
pub struct RateLimits {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("limits.put", QuotasManage, RateLimit => (), |s, limit| s.limits().put(limit)),
    method!("limits.list", QuotasManage, Nothing => Vec<RateLimit>, |s, Nothing {}| s.limits().list()),
    method!("limits.delete", QuotasManage, RateLimit => (), |s, limit| s.limits().delete(limit)),
];

impl RateLimits {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Sets a limit in place of the one before: it holds for executions that begin from now on.
    ///
    /// Errors: `InvalidInput` for a limit of nothing, or of nobody.
    pub async fn put(&self, limit: RateLimit) -> Result<()> {
        self.session
            .write(Permission::QuotasManage, Target::None, "limits.put", move |tx, grant| {
                let before = ledger::limits::limit_like(tx, &limit)?;
                ledger::limits::put_limit(tx, grant.now(), &limit)?;
                grant.audit_change(tx, "limits", before.as_ref(), Some(&limit))
            })
            .await
    }

    /// All limits, beside those of the models' own records.
    pub async fn list(&self) -> Result<Vec<RateLimit>> {
        self.session.read(Permission::QuotasManage, Target::None, |tx, _| ledger::limits::list(tx)).await
    }

    /// Removes the limit of this scope and subject. Errors: `NotFound`.
    pub async fn delete(&self, limit: RateLimit) -> Result<()> {
        self.session
            .write(Permission::QuotasManage, Target::None, "limits.delete", move |tx, grant| {
                let before = ledger::limits::limit_like(tx, &limit)?;
                ledger::limits::delete_limit(tx, &limit)?;
                grant.audit_change(tx, "limits", before.as_ref(), None)
            })
            .await
    }
}
