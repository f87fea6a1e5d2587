//! Who did what to what: append only, chained by a keyed hash.
//!
//! Line i carries `h[i] = HMAC-SHA-256(key, h[i-1] || line i)`. The key is not in the database, so
//! whoever edits, deletes or reorders lines there cannot mend the chain. A cut tail leaves a whole,
//! shorter chain: it shows only against a head that was kept elsewhere.
//!
//! The words of a line (how the principal came in, the further values, the request's number) stand in the
//! chain as a salted hash. So they can be redacted: words and salt go, the hash stays, and nobody can
//! guess them from it. What was redacted by the engine carries its mark; who else blanks a line is found.

use std::sync::atomic::{AtomicI64, Ordering};

use ring::{digest, hmac};
use serde_json::Value;

use crate::domain::{AuditCheck, AuditOutcome, AuditRedaction, AuditSegment, Timestamp};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::audit::{self as lines, Segment, StoredLine, Words};
use crate::store::seal::{hex, random};
use crate::store::sql::to_json;

/// Lines read in one transaction of a check.
const PAGE: i64 = 1000;

/// Bytes of the salt of a line's words.
const SALT: usize = 16;

/// What the first line is chained to.
const GENESIS: [u8; 32] = [0; 32];

/// Writes and checks the trail.
pub(crate) struct Audit {
    key: hmac::Key,
    /// The newest line that was written here, committed or not: a hint that there is a new head.
    newest: AtomicI64,
}

/// Who acts, as the trail names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actor<'a> {
    /// `root`, `user:7`, `engine`, `anonymous`.
    pub(crate) principal: &'a str,
    /// How the principal came in; for the host its reason.
    pub(crate) via: &'a str,
}

/// What is written of one deed. Never content: no prompt, no body, no secret.
#[derive(Debug, Clone)]
pub(crate) struct AuditLine<'a> {
    /// `noun.verb`.
    pub(crate) action: &'a str,
    /// `agent:12`.
    pub(crate) object: &'a str,
    /// How it ended.
    pub(crate) outcome: AuditOutcome,
    /// Hash of the object before, where it changed.
    pub(crate) before: Option<&'a str>,
    /// Hash of the object after, where it changed.
    pub(crate) after: Option<&'a str>,
    /// Further values.
    pub(crate) details: Value,
    /// The host's own number of the request.
    pub(crate) request_id: Option<&'a str>,
}

impl<'a> AuditLine<'a> {
    /// A deed that was done.
    pub(crate) fn ok(action: &'a str, object: &'a str) -> Self {
        Self {
            action,
            object,
            outcome: AuditOutcome::Ok,
            before: None,
            after: None,
            details: Value::Null,
            request_id: None,
        }
    }

    /// The same line with another outcome.
    pub(crate) fn with_outcome(self, outcome: AuditOutcome) -> Self {
        Self { outcome, ..self }
    }

    /// The same line with the object's hashes before and after.
    pub(crate) fn with_change(self, before: Option<&'a str>, after: Option<&'a str>) -> Self {
        Self { before, after, ..self }
    }

    /// The same line with the host's own number of the request.
    pub(crate) fn with_request(self, request_id: Option<&'a str>) -> Self {
        Self { request_id, ..self }
    }

    /// The same line with further values.
    pub(crate) fn with_details(self, details: Value) -> Self {
        Self { details, ..self }
    }
}

/// How far a check has come.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    seq: i64,
    hash: Vec<u8>,
    records: u64,
    first_bad: Option<i64>,
}

/// The newest line at some time, kept outside the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    seq: i64,
    hash: String,
}

impl Audit {
    pub(crate) fn new(key: hmac::Key) -> Self {
        Self { key, newest: AtomicI64::new(0) }
    }

    /// The newest line that was written here, committed or not.
    pub(crate) fn newest(&self) -> i64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Adds a line to the trail, inside the transaction of the deed: neither is without the other.
    pub(crate) fn append(
        &self,
        tx: &mut dyn Connection,
        now: Timestamp,
        actor: Actor<'_>,
        line: &AuditLine<'_>,
    ) -> Result<()> {
        let (last, previous) = match lines::last(tx)? {
            Some(last) => last,
            // Nothing is left of the lines: the chain goes on behind the last sealed segment.
            None => lines::segments(tx)?.pop().map_or((0, GENESIS.to_vec()), |last| (last.last_seq, last.last_hash)),
        };
        let mut stored = StoredLine {
            seq: last + 1,
            at: now,
            principal: actor.principal.to_owned(),
            via: actor.via.to_owned(),
            action: line.action.to_owned(),
            object: line.object.to_owned(),
            outcome: line.outcome.name().to_owned(),
            before: line.before.map(str::to_owned),
            after: line.after.map(str::to_owned),
            details: to_json(&line.details)?,
            request_id: line.request_id.map(str::to_owned),
            hash: Vec::new(),
            words: Words::Plain,
        };
        let salt = random::<SALT>().to_vec();
        stored.words = Words::Hashed { hash: words_hash(&salt, &stored), salt };
        stored.hash = self.link(&previous, &stored).as_ref().to_vec();
        self.newest.fetch_max(stored.seq, Ordering::AcqRel);
        lines::insert(tx, stored)
    }

    /// Checks the next lines of the trail; call it until [`Progress`] says that it is done.
    pub(crate) fn check(&self, tx: &mut dyn Connection, mut at: Progress, head: Option<&Head>) -> Result<Step> {
        if at.records == 0 && at.seq == 0 && !self.skip_segments(tx, &mut at)? {
            return Ok(Step::Done(at.into_check()));
        }
        let page = lines::lines(tx, at.seq, PAGE)?;
        let last_page = (page.len() as i64) < PAGE;
        for line in page {
            at.records += 1;
            if let Some(bad) = self.first_fault(&at, &line, head) {
                at.first_bad = Some(bad);
                return Ok(Step::Done(at.into_check()));
            }
            (at.seq, at.hash) = (line.seq, line.hash);
        }
        if !last_page {
            return Ok(Step::More(at));
        }
        at.first_bad = head.filter(|head| head.seq > at.seq).map(|_| at.seq + 1);
        Ok(Step::Done(at.into_check()))
    }

    /// Goes behind what was sealed and pruned; false where a seal is not ours, which is then the first fault.
    fn skip_segments(&self, tx: &mut dyn Connection, at: &mut Progress) -> Result<bool> {
        for segment in lines::segments(tx)? {
            let ours = hmac::verify(&self.key, &sealed_bytes(&segment), &segment.mac).is_ok();
            if !ours || segment.first_seq != at.seq + 1 || segment.last_seq < segment.first_seq {
                at.first_bad = Some(at.seq + 1);
                return Ok(false);
            }
            (at.seq, at.hash) = (segment.last_seq, segment.last_hash);
        }
        Ok(true)
    }

    /// Seals the lines up to one, so that they may be pruned. Errors: `NotFound` where there is no such line.
    pub(crate) fn seal(&self, tx: &mut dyn Connection, last_seq: i64, now: Timestamp) -> Result<AuditSegment> {
        let first_seq = lines::segments(tx)?.pop().map_or(1, |segment| segment.last_seq + 1);
        let line =
            lines::lines(tx, last_seq - 1, 1)?.pop().filter(|line| line.seq == last_seq && first_seq <= last_seq);
        let line = line.ok_or_else(|| Error::not_found("there is no such line of the trail to prune up to"))?;
        let mut segment = Segment { first_seq, last_seq, last_hash: line.hash, sealed_at: now, mac: Vec::new() };
        segment.mac = hmac::sign(&self.key, &sealed_bytes(&segment)).as_ref().to_vec();
        let sealed = AuditSegment::new(first_seq, last_seq, format!("{last_seq}:{}", hex(&segment.last_hash)), now);
        lines::insert_segment(tx, segment)?;
        Ok(sealed)
    }

    /// Forgets the words of the next lines behind a place that somebody wrote or that are about them: how they
    /// came in, the further values, the request's number. Their salted hash stays, and so the chain.
    ///
    /// Gives the place of the rest, where there is any.
    pub(crate) fn redact(
        &self,
        tx: &mut dyn Connection,
        about: &str,
        after: i64,
    ) -> Result<(AuditRedaction, Option<i64>)> {
        const SLICE: u32 = 500;
        let found = lines::lines_about(tx, about, after, SLICE)?;
        let mut done = AuditRedaction::default();
        for (seq, hash) in &found {
            match hash {
                Some(hash) => {
                    lines::redact(tx, *seq, hmac::sign(&self.key, &redacted_bytes(*seq, hash)).as_ref().to_vec())?;
                    done.redacted += 1;
                }
                None => done.kept += 1,
            }
        }
        let more = found.len() == SLICE as usize;
        Ok((done, found.last().map(|(seq, _)| *seq).filter(|_| more)))
    }

    /// Whether the words of a line are those that it was written with, or were redacted by the engine.
    fn has_its_words(&self, line: &StoredLine) -> bool {
        match &line.words {
            Words::Plain => true,
            Words::Hashed { salt, hash } => words_hash(salt, line) == *hash,
            Words::Redacted { hash, mac } => {
                let blank = line.via.is_empty() && line.details == "null" && line.request_id.is_none();
                blank && hmac::verify(&self.key, &redacted_bytes(line.seq, hash), mac).is_ok()
            }
        }
    }

    /// The number of the first line that is not what was written, if `line` shows it.
    fn first_fault(&self, at: &Progress, line: &StoredLine, head: Option<&Head>) -> Option<i64> {
        if line.seq != at.seq + 1 {
            return Some(at.seq + 1);
        }
        let true_hash = self.link(&at.hash, line);
        let forked = head.is_some_and(|head| head.seq == line.seq && head.hash != hex(&line.hash));
        (true_hash.as_ref() != line.hash || forked || !self.has_its_words(line)).then_some(line.seq)
    }

    fn link(&self, previous: &[u8], line: &StoredLine) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(previous);
        context.update(&canonical(line));
        context.sign()
    }
}

/// A sealed segment as bytes. The first word keeps it apart from every line of the chain.
fn sealed_bytes(segment: &Segment) -> Vec<u8> {
    let mut bytes = b"segment".to_vec();
    bytes.extend(segment.first_seq.to_be_bytes());
    bytes.extend(segment.last_seq.to_be_bytes());
    bytes.extend(segment.sealed_at.0.to_be_bytes());
    bytes.extend(&segment.last_hash);
    bytes
}

/// The newest line as it is kept elsewhere: `seq:hash`; `None` before the first.
pub(crate) fn head(tx: &mut dyn Connection) -> Result<Option<String>> {
    Ok(lines::last(tx)?.map(|(seq, hash)| format!("{seq}:{}", hex(&hash))))
}

/// What a step of a check gives.
pub(crate) enum Step {
    /// There are more lines.
    More(Progress),
    /// The whole trail was read, or up to its first fault.
    Done(AuditCheck),
}

impl Progress {
    /// Before the first line.
    pub(crate) fn start() -> Self {
        Self { seq: 0, hash: GENESIS.to_vec(), records: 0, first_bad: None }
    }

    fn into_check(self) -> AuditCheck {
        let head = format!("{}:{}", self.seq, hex(&self.hash));
        AuditCheck { records: self.records, first_bad: self.first_bad, head }
    }
}

impl Head {
    /// Reads a head as [`AuditCheck::head`] gives it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("the head is none of a check: pass the `head` of an earlier one");
        let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
        let seq = seq.parse().ok().filter(|seq| *seq >= 0).ok_or_else(wrong)?;
        let plausible = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        plausible.then(|| Self { seq, hash: hash.to_ascii_lowercase() }).ok_or_else(wrong)
    }
}

/// A line as bytes that no other line has: every text is led by its length.
fn canonical(line: &StoredLine) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(160 + line.details.len());
    match &line.words {
        Words::Hashed { hash, .. } | Words::Redacted { hash, .. } => {
            // The first word keeps it apart from a line whose words are in the chain themselves.
            bytes.extend(b"line");
            bytes.extend(line.seq.to_be_bytes());
            bytes.extend(line.at.0.to_be_bytes());
            for text in [&line.principal, &line.action, &line.object, &line.outcome] {
                push(&mut bytes, text);
            }
            push_change(&mut bytes, line);
            bytes.extend(hash);
        }
        Words::Plain => {
            bytes.extend(line.seq.to_be_bytes());
            bytes.extend(line.at.0.to_be_bytes());
            for text in [&line.principal, &line.via, &line.action, &line.object, &line.outcome, &line.details] {
                push(&mut bytes, text);
            }
            push_change(&mut bytes, line);
            if let Some(request_id) = &line.request_id {
                push(&mut bytes, request_id);
            }
        }
    }
    bytes
}

fn push_change(bytes: &mut Vec<u8>, line: &StoredLine) {
    for hash in [&line.before, &line.after] {
        bytes.push(u8::from(hash.is_some()));
        push(bytes, hash.as_deref().unwrap_or_default());
    }
}

/// What stands in the chain for the words of a line. Without the salt it tells nothing of them.
fn words_hash(salt: &[u8], line: &StoredLine) -> Vec<u8> {
    let mut bytes = salt.to_vec();
    push(&mut bytes, &line.via);
    push(&mut bytes, &line.details);
    bytes.push(u8::from(line.request_id.is_some()));
    push(&mut bytes, line.request_id.as_deref().unwrap_or_default());
    digest::digest(&digest::SHA256, &bytes).as_ref().to_vec()
}

/// A redaction as bytes. The first word keeps it apart from lines and segments.
fn redacted_bytes(seq: i64, words_hash: &[u8]) -> Vec<u8> {
    let mut bytes = b"redacted".to_vec();
    bytes.extend(seq.to_be_bytes());
    bytes.extend(words_hash);
    bytes
}

fn push(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_be_bytes());
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests;
