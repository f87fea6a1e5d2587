#![allow(clippy::unwrap_used)]

use ring::hmac;
use serde_json::json;

use super::*;
use crate::domain::AuditCheck;
use crate::store::{SqlValue, Store, memory};

struct Trail {
    store: Store,
    key: hmac::Key,
}

impl Trail {
    /// A trail of `lines` lines whose triggers are gone, as for whoever has the file.
    async fn open(lines: usize) -> Self {
        let opened = memory();
        let trail = Self { key: opened.keys.audit_key(), store: opened.store };
        trail.append(lines).await;
        trail.sql("DROP TRIGGER audit_no_update", vec![]).await;
        trail.sql("DROP TRIGGER audit_no_delete", vec![]).await;
        trail
    }

    fn audit(&self) -> Audit {
        Audit::new(self.key.clone())
    }

    async fn append(&self, lines: usize) {
        let audit = self.audit();
        let written = self.store.write(move |tx| {
            for n in 0..lines {
                let object = format!("agent:{n}");
                let line = AuditLine::ok("agents.put", &object)
                    .with_change(None, Some("abc"))
                    .with_details(json!({"n": n, "b": 1, "a": 2}));
                audit.append(tx, Timestamp(n as i64), Actor { principal: "user:1", via: "password" }, &line)?;
            }
            Ok(())
        });
        written.await.unwrap();
    }

    async fn sql(&self, sql: &'static str, params: Vec<SqlValue>) {
        self.store.write(move |tx| tx.execute(sql, &params).map(drop)).await.unwrap();
    }

    async fn check(&self, head: Option<&str>) -> AuditCheck {
        let head = head.map(|head| Head::parse(head).unwrap());
        let audit = self.audit();
        let read = self.store.read(move |tx| {
            let mut progress = Progress::start();
            loop {
                match audit.check(tx, progress, head.as_ref())? {
                    Step::Done(check) => return Ok(check),
                    Step::More(further) => progress = further,
                }
            }
        });
        read.await.unwrap()
    }
}

#[tokio::test]
async fn a_whole_trail_is_whole_also_over_several_pages() {
    for lines in [0, 1, 999, 1000, 1001, 2500] {
        let trail = Trail::open(lines).await;
        let check = trail.check(None).await;
        assert_eq!((check.records, check.first_bad), (lines as u64, None));
        assert_eq!(trail.check(Some(&check.head)).await, check);
    }
}

#[tokio::test]
async fn t60_an_edit_of_any_column_is_found() {
    let edits = [
        "UPDATE audit_logs SET at = at + 1 WHERE seq = 3",
        "UPDATE audit_logs SET principal = 'root' WHERE seq = 3",
        "UPDATE audit_logs SET via = 'x' WHERE seq = 3",
        "UPDATE audit_logs SET action = 'agents.get' WHERE seq = 3",
        "UPDATE audit_logs SET object = 'agent:9' WHERE seq = 3",
        "UPDATE audit_logs SET outcome = 'denied' WHERE seq = 3",
        "UPDATE audit_logs SET before = '' WHERE seq = 3",
        "UPDATE audit_logs SET after = NULL WHERE seq = 3",
        "UPDATE audit_logs SET details = '{}' WHERE seq = 3",
        "UPDATE audit_logs SET hash = x'00' WHERE seq = 3",
        "UPDATE audit_logs SET request_id = 'r' WHERE seq = 3",
        "UPDATE audit_logs SET salt = x'00' WHERE seq = 3",
        "UPDATE audit_logs SET salt = NULL WHERE seq = 3",
        "UPDATE audit_logs SET words_hash = x'00' WHERE seq = 3",
        "UPDATE audit_logs SET words_hash = NULL, salt = NULL WHERE seq = 3",
        "UPDATE audit_logs SET redacted = x'00' WHERE seq = 3",
        // Blanked by somebody without the key.
        "UPDATE audit_logs SET via = '', details = 'null', salt = NULL, redacted = x'00' WHERE seq = 3",
        "UPDATE audit_logs SET via = '', details = 'null', salt = NULL, redacted = hash WHERE seq = 3",
        // Text moved over the border between two columns.
        "UPDATE audit_logs SET principal = 'user:1p', via = 'assword' WHERE seq = 3",
    ];
    for edit in edits {
        let trail = Trail::open(5).await;
        trail.sql(edit, vec![]).await;
        assert_eq!(trail.check(None).await.first_bad, Some(3), "{edit}");
    }
}

#[tokio::test]
async fn t60_nothing_but_the_words_of_a_line_can_be_taken_out() {
    let opened = memory();
    let trail = Trail { key: opened.keys.audit_key(), store: opened.store };
    trail.append(5).await;
    macro_rules! blanked {
        ($($also:literal)*) => {
            [$(concat!(
                "UPDATE audit_logs SET via = '', details = 'null', salt = NULL, redacted = x'00'", $also, " WHERE seq = 3"
            )),*]
        };
    }
    let others = blanked![
        ", at = NULL" ", principal = NULL" ", action = NULL" ", object = NULL" ", outcome = NULL" ", before = 'x'"
        ", after = NULL" ", words_hash = NULL" ", words_hash = x'00'" ", hash = NULL" ", hash = x'00'" ", via = NULL"
        ", details = NULL"
    ];
    for edit in others {
        let refused = trail.store.write(move |tx| tx.execute(edit, &[]).map(drop)).await;
        assert!(refused.is_err(), "{edit}");
    }
    trail.sql(blanked![""][0], vec![]).await;
}

#[tokio::test]
async fn t60_redacted_words_leave_the_chain_whole_and_their_mark_fits_no_other_line() {
    let trail = Trail::open(5).await;
    let head = trail.check(None).await.head;
    let audit = trail.audit();
    let done = trail.store.write(move |tx| audit.redact(tx, "agent:2", 0)).await.unwrap();
    assert_eq!((done.0.redacted, done.0.kept, done.1), (1, 0, None));
    assert_eq!(trail.check(Some(&head)).await.first_bad, None);
    let audit = trail.audit();
    let again = trail.store.write(move |tx| audit.redact(tx, "agent:2", 0)).await.unwrap();
    assert_eq!(again.0.redacted, 0);
    // What was put back in its place was not there.
    trail.sql("UPDATE audit_logs SET details = '{\"n\":9}' WHERE seq = 3", vec![]).await;
    assert_eq!(trail.check(None).await.first_bad, Some(3));
    trail.sql("UPDATE audit_logs SET details = 'null' WHERE seq = 3", vec![]).await;
    let moved = "UPDATE audit_logs SET via = '', details = 'null', salt = NULL,
         redacted = (SELECT o.redacted FROM audit_logs o WHERE o.seq = 3) WHERE seq = 4";
    trail.sql(moved, vec![]).await;
    assert_eq!(trail.check(None).await.first_bad, Some(4));
}

#[tokio::test]
async fn a_line_from_before_words_could_be_redacted_is_kept_and_still_checked() {
    let trail = Trail::open(1).await;
    // As such a line was written: its words are in the chain themselves.
    let key = trail.key.clone();
    let written = trail.store.write(move |tx| {
        let (last, previous) = lines::last(tx)?.unwrap();
        let mut old = StoredLine {
            seq: last + 1,
            at: Timestamp(7),
            principal: "user:1".into(),
            via: "password".into(),
            action: "agents.put".into(),
            object: "agent:7".into(),
            outcome: "ok".into(),
            before: None,
            after: None,
            details: "{}".into(),
            request_id: Some("r-1".into()),
            hash: Vec::new(),
            words: Words::Plain,
        };
        old.hash = Audit::new(key.clone()).link(&previous, &old).as_ref().to_vec();
        lines::insert(tx, old)
    });
    written.await.unwrap();
    trail.append(1).await;
    assert_eq!(trail.check(None).await.first_bad, None);
    let audit = trail.audit();
    let done = trail.store.write(move |tx| audit.redact(tx, "user:1", 0)).await.unwrap().0;
    assert_eq!((done.redacted, done.kept), (2, 1));
    assert_eq!(trail.check(None).await.first_bad, None);
    trail.sql("UPDATE audit_logs SET details = 'null' WHERE seq = 2", vec![]).await;
    assert_eq!(trail.check(None).await.first_bad, Some(2));
}

#[tokio::test]
async fn t60_deleted_and_reordered_lines_are_found() {
    let trail = Trail::open(5).await;
    trail.sql("DELETE FROM audit_logs WHERE seq = 3", vec![]).await;
    assert_eq!(trail.check(None).await.first_bad, Some(3));
    // Closing the gap does not help.
    trail.sql("UPDATE audit_logs SET seq = seq - 1 WHERE seq = 4", vec![]).await;
    assert_eq!(trail.check(None).await.first_bad, Some(3));

    let trail = Trail::open(5).await;
    for (from, to) in [(2_i64, 100_i64), (3, 2), (100, 3)] {
        trail.sql("UPDATE audit_logs SET seq = ?2 WHERE seq = ?1", vec![from.into(), to.into()]).await;
    }
    assert_eq!(trail.check(None).await.first_bad, Some(2));

    let trail = Trail::open(5).await;
    trail.sql("DELETE FROM audit_logs WHERE seq = 1", vec![]).await;
    assert_eq!(trail.check(None).await.first_bad, Some(1));
}

#[tokio::test]
async fn t60_a_cut_tail_needs_the_kept_head() {
    let trail = Trail::open(5).await;
    let head = trail.check(None).await.head;
    trail.sql("DELETE FROM audit_logs WHERE seq > 3", vec![]).await;
    assert_eq!(trail.check(None).await.first_bad, None);
    assert_eq!(trail.check(Some(&head)).await.first_bad, Some(4));
    // A tail grown anew, by the engine itself, is not the one that was cut.
    trail.append(4).await;
    assert_eq!(trail.check(None).await.first_bad, None);
    assert_eq!(trail.check(Some(&head)).await.first_bad, Some(5));
}

#[tokio::test]
async fn another_key_makes_another_chain() {
    let mut trail = Trail::open(2).await;
    trail.key = hmac::Key::new(hmac::HMAC_SHA256, b"another");
    assert_eq!(trail.check(None).await.first_bad, Some(1));
}

#[test]
fn a_head_that_is_none_is_refused() {
    let hash = "0".repeat(64);
    assert!(Head::parse(&format!("0:{hash}")).is_ok());
    for bad in
        [String::new(), hash.clone(), format!("-1:{hash}"), format!("1:{hash}0"), format!("1:{}", "g".repeat(64))]
    {
        assert!(Head::parse(&bad).is_err(), "{bad}");
    }
}
