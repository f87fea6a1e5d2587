//! Who did what to what.

use super::Session;
use super::methods::{Method, Nothing, method};
use crate::access::gate::Target;
use crate::domain::{AuditCheck, AuditRecord, ListOptions, Page, Permission};
use crate::error::Result;

/// The audit trail, through a session.
pub struct AuditTrail {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("audit.list", AuditRead, ListOptions => Page<AuditRecord>, |s, options| s.audit().list(options)),
    method!("audit.verify", AuditVerify, Nothing => AuditCheck, |s, Nothing {}| s.audit().verify()),
];

impl AuditTrail {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// A page of the trail, oldest first.
    pub async fn list(&self, options: ListOptions) -> Result<Page<AuditRecord>> {
        self.session.read(Permission::AuditRead, Target::None, move |tx, _| crate::audit::list(tx, &options)).await
    }

    /// Reads the whole trail and names the first line that is not what was written.
    pub async fn verify(&self) -> Result<AuditCheck> {
        self.session.inner.gate.verify_audit(&self.session.caller).await
    }
}
