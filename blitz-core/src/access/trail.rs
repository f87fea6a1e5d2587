//! The audit trail as callers read and check it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;

use super::caller::Caller;
use super::gate::{Gate, Grant, Parts, Target};
use crate::audit::{Head, Progress, Step};
use crate::domain::{
    AuditCheck, AuditExport, AuditFormat, AuditRecord, AuditRedaction, AuditSegment, ListOptions, Page, Permission,
    Timestamp,
};
use crate::error::{Error, Result};
use crate::store::sql::to_json;
use crate::store::{Connection, audit};

/// Lines that one transaction prunes.
const SLICE: u32 = 1000;

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
    /// A part of the trail, written out.
    pub(crate) async fn export_audit(
        &self,
        caller: &Caller,
        format: AuditFormat,
        options: ListOptions,
    ) -> Result<AuditExport> {
        self.write(caller, Permission::AuditExport, Target::None, "audit.export", move |tx, grant| {
            let page = audit::page(tx, &options)?;
            let text = match format {
                AuditFormat::Jsonl => jsonl(&page.items)?,
                AuditFormat::Csv => csv(&page.items, options.cursor.is_none())?,
            };
            let records = page.items.len() as u64;
            grant.audit(tx, "", None, None, json!({"format": format, "records": records}))?;
            Ok(AuditExport::new(text, records, page.next_cursor))
        })
        .await
    }

    /// Forgets the words of every line that somebody wrote or that is about them; the chain stays whole.
    pub(crate) async fn redact_audit(&self, caller: &Caller, about: &str) -> Result<AuditRedaction> {
        if about.is_empty() || about.len() > 200 {
            return Err(Error::invalid("say whose lines: user:7, or another principal or object of the trail"));
        }
        let (mut sum, mut after) = (AuditRedaction::default(), Some(0));
        while let Some(place) = after {
            let (parts, about) = (self.parts.clone(), about.to_owned());
            let (done, next) = self
                .write(caller, Permission::SystemConfig, Target::None, "audit.redact", move |tx, grant| {
                    let (done, next) = parts.audit.redact(tx, &about, place)?;
                    grant.audit(tx, &about, None, None, json!({"redacted": done.redacted, "kept": done.kept}))?;
                    Ok((done, next))
                })
                .await?;
            sum.redacted += done.redacted;
            sum.kept += done.kept;
            after = next;
        }
        Ok(sum)
    }

    /// Seals the lines before a time and prunes them. The chain stays whole: it goes on behind the seal.
    ///
    /// Errors: `Conflict` where the trail is damaged, `NotFound` where no line is that old.
    pub(crate) async fn prune_audit(&self, caller: &Caller, before: Timestamp) -> Result<AuditSegment> {
        let parts = self.parts.clone();
        let last = self
            .read(caller, Permission::SystemConfig, Target::None, move |tx, _| audit::last_older(tx, before))
            .await?
            .ok_or_else(|| Error::not_found("no line of the trail is that old"))?;
        // What is not whole is not sealed: the seal would say that it was.
        let mut progress = Progress::start();
        let check = loop {
            let (at, parts) = (progress, self.parts.clone());
            let checked = self.parts.store.read(move |tx| parts.audit.check(tx, at.clone(), None));
            match checked.await? {
                Step::Done(check) => break check,
                Step::More(further) => progress = further,
            }
        };
        if let Some(bad) = check.first_bad {
            return Err(Error::conflict(format!("line {bad} of the trail is not what was written: verify it first")));
        }
        let sealed = self
            .write(caller, Permission::SystemConfig, Target::None, "audit.prune", move |tx, grant| {
                let sealed = parts.audit.seal(tx, last, grant.now())?;
                let details = json!({"first_seq": sealed.first_seq, "last_seq": sealed.last_seq});
                grant.audit(tx, "", None, None, details)?;
                Ok(sealed)
            })
            .await?;
        while self.parts.store.write(move |tx| audit::prune(tx, last, SLICE)).await? > 0 {}
        Ok(sealed)
    }
}

impl Parts {
    /// Gives the newest head to the host, where it is time to.
    pub(super) async fn tell_head(self: &Arc<Self>) {
        let Some(heads) = &self.rules.heads else { return };
        let (told, newest) = (heads.told.load(Ordering::Acquire), self.audit.newest());
        let due = newest / heads.every > told / heads.every;
        let mine = due && heads.told.compare_exchange(told, newest, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !mine {
            return;
        }
        match self.store.read(crate::audit::head).await {
            Ok(Some(head)) => (heads.tell)(&head),
            Ok(None) => {}
            Err(error) => {
                // The next line tries again.
                heads.told.store(told, Ordering::Release);
                tracing::warn!(code = %error.code(), "the head of the audit trail could not be given out");
            }
        }
    }
}

/// Whom the head of the trail is given to, and how often.
#[derive(Clone)]
pub(crate) struct Heads {
    every: i64,
    told: Arc<AtomicI64>,
    tell: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Heads {
    /// Gives the head to `tell` whenever so many lines were written.
    pub(crate) fn every(lines: u32, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { every: i64::from(lines.max(1)), told: Arc::default(), tell: Arc::new(tell) }
    }
}

impl std::fmt::Debug for Heads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Heads(every {})", self.every)
    }
}

fn jsonl(records: &[AuditRecord]) -> Result<String> {
    let mut text = String::new();
    for record in records {
        text.push_str(&to_json(record)?);
        text.push('\n');
    }
    Ok(text)
}

fn csv(records: &[AuditRecord], with_names: bool) -> Result<String> {
    let mut text = String::new();
    if with_names {
        text.push_str("seq,at,principal,via,action,object,outcome,before,after,details,redacted,request_id\r\n");
    }
    for record in records {
        let cells = [
            record.seq.to_string(),
            record.at.to_rfc3339(),
            record.principal.clone(),
            record.via.clone(),
            record.action.clone(),
            record.object.clone(),
            record.outcome.name().to_owned(),
            record.before.clone().unwrap_or_default(),
            record.after.clone().unwrap_or_default(),
            to_json(&record.details)?,
            record.redacted.to_string(),
            record.request_id.clone().unwrap_or_default(),
        ];
        text.push_str(&cells.map(|cell| quoted(&cell)).join(","));
        text.push_str("\r\n");
    }
    Ok(text)
}

/// A cell of a table. What a spreadsheet would take for a formula is made plain text.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t63_a_cell_is_never_a_formula() {
        for (cell, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@a", "'@a"),
            ("\tx", "'\tx"),
            ("a,b", "\"a,b\""),
            ("say \"a\"", "\"say \"\"a\"\"\""),
            ("=a,b", "\"'=a,b\""),
            ("user:1", "user:1"),
            ("", ""),
        ] {
            assert_eq!(quoted(cell), expected);
        }
    }
}
