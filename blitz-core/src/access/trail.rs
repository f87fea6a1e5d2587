//! The audit trail as callers read and check it.

use super::caller::Caller;
use super::gate::{Gate, Grant, Target};
use crate::audit::{Head, Progress, Step};
use crate::domain::{AuditCheck, AuditRecord, ListOptions, Page, Permission};
use crate::error::Result;
use crate::store::{Connection, audit};

impl Gate {
    /// A page of the trail, oldest first.
    pub(crate) async fn audit_records(&self, caller: &Caller, options: ListOptions) -> Result<Page<AuditRecord>> {
        let body = move |tx: &mut dyn Connection, _: &Grant| audit::page(tx, &options);
        self.read(caller, Permission::AuditRead, Target::None, body).await
    }

    /// Checks the trail and names its first bad line. With the `head` of an earlier check, kept
    /// elsewhere, a cut tail is seen too.
    pub(crate) async fn verify_audit(&self, caller: &Caller, head: Option<&str>) -> Result<AuditCheck> {
        let head = head.map(Head::parse).transpose()?;
        let mut progress = Progress::start();
        loop {
            let (at, head, parts) = (progress, head.clone(), self.parts.clone());
            let body = move |tx: &mut dyn Connection, _: &Grant| parts.audit.check(tx, at.clone(), head.as_ref());
            match self.read(caller, Permission::AuditVerify, Target::None, body).await? {
                Step::Done(check) => return Ok(check),
                Step::More(further) => progress = further,
            }
        }
    }
}
