//! What the trail is told of a call that goes through the gate.

use serde_json::Value;

use super::Grant;
use crate::audit::AuditLine;
use crate::error::Result;
use crate::store::sql::to_json;
use crate::store::{Connection, content_hash};

impl Grant {
    /// Writes the line of this action. `object` is `noun:id`, `before` and `after` content hashes.
    pub(crate) fn audit(
        &self,
        tx: &mut dyn Connection,
        object: &str,
        before: Option<&str>,
        after: Option<&str>,
        details: Value,
    ) -> Result<()> {
        let line = AuditLine::ok(&self.action, object).with_change(before, after).with_details(details);
        let line = line.with_request(self.caller.request_id());
        self.parts.audit.append(tx, self.now, self.caller.actor(), &line)?;
        self.audited.set(true);
        Ok(())
    }

    /// Writes a line of something else that this call led to; its own is written beside.
    pub(crate) fn audit_beside(&self, tx: &mut dyn Connection, line: AuditLine<'_>) -> Result<()> {
        let line = line.with_request(self.caller.request_id());
        self.parts.audit.append(tx, self.now, self.caller.actor(), &line)
    }

    /// Writes the line of a change with the content hashes of the object before and after it.
    pub(crate) fn audit_change<T: serde::Serialize>(
        &self,
        tx: &mut dyn Connection,
        object: &str,
        before: Option<&T>,
        after: Option<&T>,
    ) -> Result<()> {
        self.audit_change_with(tx, object, before, after, Value::Null)
    }

    /// The same with further values.
    pub(crate) fn audit_change_with<T: serde::Serialize>(
        &self,
        tx: &mut dyn Connection,
        object: &str,
        before: Option<&T>,
        after: Option<&T>,
        details: Value,
    ) -> Result<()> {
        let hash = |value: &T| to_json(value).map(|json| content_hash(json.as_bytes()));
        let (before, after) = (before.map(hash).transpose()?, after.map(hash).transpose()?);
        self.audit(tx, object, before.as_deref(), after.as_deref(), details)
    }
}
