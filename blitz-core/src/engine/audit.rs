//! Who did what to what.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use crate::domain::{AuditCheck, AuditRecord, ListOptions, Page};
use crate::error::Result;

/// The audit trail, through a session.
pub struct AuditTrail {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("audit.list", AuditRead, ListOptions => Page<AuditRecord>, |s, options| s.audit().list(options)),
    method!("audit.verify", AuditVerify, Verify => AuditCheck, |s, verify| s.audit().verify(verify.head.as_deref())),
];

impl AuditTrail {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// A page of the trail, oldest first.
    pub async fn list(&self, options: ListOptions) -> Result<Page<AuditRecord>> {
        self.session.inner.gate.audit_records(&self.session.caller, options).await
    }

    /// Reads the whole trail and names the first line that is not what was written.
    ///
    /// `head` is the `head` of an earlier check that was kept elsewhere: only with one is it seen
    /// that lines were cut off at the end.
    pub async fn verify(&self, head: Option<&str>) -> Result<AuditCheck> {
        self.session.inner.gate.verify_audit(&self.session.caller, head).await
    }
}

/// A check of the trail.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Verify {
    /// The `head` of an earlier check.
    #[serde(default)]
    head: Option<String>,
}
