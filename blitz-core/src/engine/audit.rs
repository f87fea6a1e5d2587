//! Who did what to what.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use crate::domain::{
    AuditCheck, AuditExport, AuditFormat, AuditRecord, AuditRedaction, AuditSegment, ListOptions, Page, Timestamp,
};
use crate::error::Result;

/// The audit trail, through a session.
pub struct AuditTrail {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("audit.list", AuditRead, ListOptions => Page<AuditRecord>, |s, options| s.audit().list(options)),
    method!("audit.verify", AuditVerify, Verify => AuditCheck, |s, verify| s.audit().verify(verify.head.as_deref())),
    method!("audit.export", AuditExport, Export => AuditExport, |s, export| async move {
        s.audit().export(export.format, export.page).await
    }),
    method!("audit.redact", SystemConfig, Redact => AuditRedaction, |s, redact| async move {
        s.audit().redact(&redact.about).await
    }),
    method!("audit.prune", SystemConfig, Prune => AuditSegment, |s, prune| s.audit().prune(prune.before)),
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

    /// A part of the trail, written out, oldest first; the export itself is a line of the trail.
    pub async fn export(&self, format: AuditFormat, options: ListOptions) -> Result<AuditExport> {
        self.session.inner.gate.export_audit(&self.session.caller, format, options).await
    }

    /// Forgets the words of every line that somebody wrote or that is about them (`user:7`): how they came in,
    /// the further values, the request's number. A salted hash of them stays, so the chain stays whole.
    ///
    /// That it was done is a line of the trail.
    pub async fn redact(&self, about: &str) -> Result<AuditRedaction> {
        self.session.inner.gate.redact_audit(&self.session.caller, about).await
    }

    /// Seals the lines from before a time and deletes them: the chain stays whole behind the seal. Export
    /// them first.
    ///
    /// Errors: `Conflict` where the trail is damaged, `NotFound` where no line is that old.
    pub async fn prune(&self, before: Timestamp) -> Result<AuditSegment> {
        self.session.inner.gate.prune_audit(&self.session.caller, before).await
    }
}

/// A part of the trail to write out.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Export {
    /// `jsonl` or `csv`.
    #[serde(default)]
    format: AuditFormat,
    /// Which part: at most 1,000 lines.
    #[serde(default)]
    page: ListOptions,
}

/// Whose words are redacted.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Redact {
    /// A principal or an object, as lines name it: `user:7`.
    about: String,
}

/// How far back the trail is kept.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Prune {
    /// Lines from before this time go.
    before: Timestamp,
}

/// A check of the trail.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Verify {
    /// The `head` of an earlier check.
    #[serde(default)]
    head: Option<String>,
}
