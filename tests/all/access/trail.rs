//! The audit trail: written out, pruned behind a seal, its head given to the host, requests by number.

use std::sync::{Arc, Mutex};

use blitz::{AuditFormat, Engine, ErrorCode, ListOptions, NewPrompt, Role, Session, Timestamp, UserUpdate};
use serde_json::{Value, json};

use super::member;
use crate::bad_input::code;
use crate::support::engine::scripted;
use crate::support::folder::Folder;

async fn write(root: &Session, lines: usize) {
    for number in 0..lines {
        root.prompts().put(NewPrompt::new("p", format!("text {number}"))).await.unwrap();
    }
}

fn soon() -> Timestamp {
    Timestamp(Timestamp::now().0 + 1_000_000)
}

#[tokio::test]
async fn the_trail_is_written_out_in_parts() {
    let (_engine, root, _) = scripted(vec![]).await;
    write(&root, 20).await;
    root.clone().with_request_id("=req,1\n").prompts().put(NewPrompt::new("q", "x")).await.unwrap();
    let mut records = Vec::new();
    let mut options = ListOptions::limit(8);
    loop {
        let part = root.audit().export(AuditFormat::Jsonl, options).await.unwrap();
        assert_eq!(part.text.lines().count() as u64, part.records);
        records.extend(part.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        match part.next_cursor {
            Some(cursor) if records.len() < 24 => options = ListOptions::limit(8).after(cursor),
            _ => break,
        }
    }
    assert!(records.iter().enumerate().all(|(at, record)| record["seq"] == json!(at + 1)), "{records:?}");
    assert!(records.iter().any(|record| record["request_id"] == "=req,1"));
    let csv = root.audit().export(AuditFormat::Csv, ListOptions::limit(1000)).await.unwrap().text;
    assert!(csv.starts_with("seq,at,principal,via,action,"));
    assert!(csv.contains(",\"'=req,1\"\r\n"), "{csv}");
    assert_eq!(root.audit().verify(None).await.unwrap().first_bad, None, "the numbers are in the chain");
}

#[tokio::test]
async fn t75_no_list_or_export_is_longer_than_a_page() {
    let (_engine, root, _) = scripted(vec![]).await;
    for (method, input) in [
        ("audit.export", json!({"page": {"limit": 1_000_000_000}})),
        ("audit.list", json!({"limit": 1_000_000_000})),
        ("keys.list", json!({"page": {"limit": 1_000_000_000}})),
        ("sessions.list", json!({"page": {"limit": 1_000_000_000}})),
        ("roles.list", json!({"limit": 1_000_000_000})),
        ("secrets.list", json!({"limit": 1_000_000_000})),
        ("users.list", json!({"limit": 1_000_000_000})),
    ] {
        assert!(root.call(method, input).await.is_ok(), "{method}");
    }
    write(&root, 1010).await;
    let part = root.audit().export(AuditFormat::Jsonl, ListOptions::limit(u32::MAX)).await.unwrap();
    assert_eq!(part.records, 1000);
    for cursor in ["-1", "1; DROP TABLE users", "1 OR 1=1", "", "99999999999999999999"] {
        for method in ["audit.list", "users.list", "roles.list", "secrets.list"] {
            assert_eq!(code(root.call(method, json!({"cursor": cursor})).await), ErrorCode::InvalidInput, "{method}");
        }
    }
    assert!(root.call("audit.list", json!({"cursor": "9223372036854775807"})).await.unwrap()["items"] == json!([]));
}

#[tokio::test]
async fn what_is_pruned_leaves_a_chain_that_is_whole() {
    let (_engine, root, _) = scripted(vec![]).await;
    assert_eq!(code(root.audit().prune(Timestamp(0)).await), ErrorCode::NotFound);
    write(&root, 10).await;
    for _ in 0..2 {
        let sealed = root.audit().prune(soon()).await.unwrap();
        assert!(sealed.first_seq <= sealed.last_seq && sealed.head.starts_with(&format!("{}:", sealed.last_seq)));
        let left = root.audit().list(ListOptions::limit(1000)).await.unwrap().items;
        assert_eq!(left[0].seq, sealed.last_seq + 1);
        write(&root, 10).await;
        let check = root.audit().verify(None).await.unwrap();
        assert_eq!(check.first_bad, None);
        assert_eq!(root.audit().verify(Some(&check.head)).await.unwrap().first_bad, None);
    }
}

#[tokio::test]
async fn the_words_of_a_user_are_redacted_and_the_chain_stays_whole() {
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
    let root = engine.root("test");
    let (ana, _) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let login = |password: &'static str| {
        let login = blitz::Login::new("ana@example.com", password).from("203.0.113.77");
        async { engine.login_with(login).await }
    };
    login("sk-canary wrong passphrase").await.map(drop).unwrap_err();
    let session = login(super::PASSWORD).await.unwrap().with_request_id("req-of-ana");
    session.prompts().put(NewPrompt::new("p", "x")).await.unwrap();
    let about = format!("user:{}", ana.id);
    let shown =
        || async { serde_json::to_string(&root.audit().list(ListOptions::limit(1000)).await.unwrap()).unwrap() };
    assert!(shown().await.contains("203.0.113.77") && shown().await.contains("req-of-ana"));
    let head = root.audit().verify(None).await.unwrap().head;

    assert_eq!(code(session.audit().redact(&about).await), ErrorCode::PermissionDenied);
    for nothing in ["", &"x".repeat(201)] {
        assert_eq!(code(root.audit().redact(nothing).await), ErrorCode::InvalidInput);
    }
    let done = root.call("audit.redact", json!({"about": about})).await.unwrap();
    assert!(done["redacted"].as_u64().unwrap() >= 4 && done["kept"] == json!(0), "{done}");
    let after = shown().await;
    assert!(!after.contains("203.0.113.77") && !after.contains("req-of-ana"), "{after}");
    let lines = root.audit().list(ListOptions::limit(1000)).await.unwrap().items;
    let own = lines.iter().filter(|line| line.principal == about || line.object == about);
    assert!(own.clone().all(|line| line.redacted == (line.action != "audit.redact")));
    assert!(own.clone().any(|line| line.action == "prompts.put" && line.after.is_some()), "hashes stay");
    assert_eq!(lines.last().unwrap().action, "audit.redact");
    assert_eq!(root.audit().verify(Some(&head)).await.unwrap().first_bad, None);
    assert!(root.audit().export(AuditFormat::Csv, ListOptions::default()).await.unwrap().text.contains(",true,"));

    // The file lets nobody else do it, and whoever takes the lock off it is found.
    let file = rusqlite::Connection::open(&path).unwrap();
    let whole = "UPDATE audit_logs SET via = '', details = 'null', request_id = NULL, salt = NULL, redacted = x'00'";
    assert!(file.execute("UPDATE audit_logs SET details = 'null'", []).is_err());
    assert!(file.execute(&format!("{whole}, object = 'x' WHERE redacted IS NULL"), []).is_err());
    assert!(file.execute(&format!("{whole} WHERE redacted IS NOT NULL"), []).is_err());
    file.execute(&format!("{whole} WHERE seq = (SELECT max(seq) FROM audit_logs)"), []).unwrap();
    assert!(root.audit().verify(None).await.unwrap().first_bad.is_some());
    engine.close().await.unwrap();
}

#[tokio::test]
async fn changes_are_kept_as_hashes_of_before_and_behind() {
    let (_engine, root, _) = scripted(vec![]).await;
    let call = |method: &'static str, input: Value| {
        let root = root.clone();
        async move { root.call(method, input).await.unwrap() }
    };
    call("prompts.put", json!({"name": "p", "template": "x"})).await;
    let user = call("users.create", json!({"email": "ana@example.com", "password": super::PASSWORD})).await;
    let budget = call("budgets.put", json!({"name": "b", "scope": "all", "limit": "1"})).await["id"].clone();
    let key = call("keys.create", json!({"name": "k", "user_id": user["id"]})).await;
    let until = soon();
    let changes = [
        ("budgets.put", json!({"name": "b", "scope": "all", "limit": "2"})),
        ("budgets.update", json!({"id": budget, "patch": {"limit": "3"}})),
        ("budgets.raise", json!({"id": budget, "amount": "1", "until": until, "reason": "x"})),
        ("budgets.end_raises", json!({"id": budget})),
        ("budgets.reset", json!({"id": budget})),
        ("budgets.seal", json!({"id": budget, "before": Timestamp(Timestamp::now().0 - 1_000_000)})),
        ("budgets.put_tags", json!({"scope": "all", "tags": {"team": "blue"}})),
        ("budgets.put_tags", json!({"scope": "all", "tags": {"team": "red"}})),
        ("budgets.delete_tags", json!({"scope": "all"})),
        ("budgets.delete", json!({"id": budget})),
        ("limits.put", json!({"scope": "all", "limits": {"requests_per_minute": 5}})),
        ("limits.put", json!({"scope": "all", "limits": {"requests_per_minute": 6}})),
        ("limits.delete", json!({"scope": "all", "limits": {}})),
        ("prompts.share", json!({"id": "p", "share": {"user": "ana@example.com", "level": "view"}})),
        ("prompts.unshare", json!({"id": "p", "share": {"user": "ana@example.com", "level": "view"}})),
        ("prompts.set_visibility", json!({"id": "p", "visibility": "shared"})),
        ("prompts.delete", json!({"id": "p"})),
        ("keys.revoke", json!({"id": key["record"]["id"]})),
        ("users.update", json!({"id": user["id"], "update": {"name": "Ana"}})),
        ("users.delete", json!({"id": user["id"]})),
    ];
    for (method, input) in changes {
        call(method, input.clone()).await;
        let line = root.audit().list(ListOptions::limit(1000)).await.unwrap().items.pop().unwrap();
        assert_eq!(line.action, method);
        let (before, after) = (line.before, line.after);
        assert!(before != after, "{method} {input}: {before:?} {after:?}");
        let (is_first, is_last) =
            (input["tags"]["team"] == "blue" || input["limits"]["requests_per_minute"] == 5, method.contains("delete"));
        assert_eq!((before.is_some(), after.is_some()), (!is_first, !is_last), "{method} {input}");
    }
}

#[tokio::test]
async fn t60_a_seal_that_was_forged_moved_or_taken_out_is_found() {
    for (what, sql) in [
        ("a line of the segment is kept out", "UPDATE audit_segments SET last_seq = last_seq - 1"),
        ("the hash is another", "UPDATE audit_segments SET last_hash = x'00'"),
        ("the seal is gone", "DELETE FROM audit_segments"),
        (
            "a seal is made up",
            "INSERT INTO audit_segments (first_seq, last_seq, last_hash, sealed_at, mac)
            SELECT last_seq + 1, last_seq + 2, last_hash, 0, mac FROM audit_segments",
        ),
    ] {
        let folder = Folder::new();
        let path = folder.path().join("a.db");
        let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
        let root = engine.root("test");
        write(&root, 10).await;
        root.audit().prune(soon()).await.unwrap();
        write(&root, 5).await;
        assert_eq!(root.audit().verify(None).await.unwrap().first_bad, None);
        let file = rusqlite::Connection::open(&path).unwrap();
        let refused = file.execute("DELETE FROM audit_logs WHERE seq > 11", []);
        assert!(refused.is_err(), "what is not sealed is not deleted");
        for trigger in ["audit_segments_no_update", "audit_segments_no_delete"] {
            file.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
        }
        assert!(file.execute(sql, []).unwrap() > 0);
        assert!(root.audit().verify(None).await.unwrap().first_bad.is_some(), "{what}");
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn t60_a_damaged_trail_is_not_sealed() {
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
    let root = engine.root("test");
    write(&root, 5).await;
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch("DROP TRIGGER audit_no_update; UPDATE audit_logs SET principal = 'user:9' WHERE seq = 3")
        .unwrap();
    let refused = root.audit().prune(soon()).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Conflict);
    assert!(refused.to_string().contains('3'), "{refused}");
    engine.close().await.unwrap();
}

#[tokio::test]
async fn t60_the_head_goes_out_every_few_lines_and_shows_a_cut_tail() {
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    let builder = Engine::builder(path.to_str().unwrap());
    let builder = builder.with_audit_heads(5, move |head| kept.lock().unwrap().push(head.to_owned()));
    let engine = builder.open().await.unwrap();
    let root = engine.root("test");
    write(&root, 23).await;
    let heads = heads.lock().unwrap().clone();
    assert!((4..=5).contains(&heads.len()), "{heads:?}");
    for head in &heads {
        assert_eq!(root.audit().verify(Some(head)).await.unwrap().first_bad, None);
    }
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch("DROP TRIGGER audit_no_delete; DELETE FROM audit_logs WHERE seq >= 18").unwrap();
    assert_eq!(root.audit().verify(heads.last().map(String::as_str)).await.unwrap().first_bad, Some(18));
    engine.close().await.unwrap();
}

#[tokio::test]
async fn t61_what_cannot_be_audited_is_not_done() {
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
    let root = engine.root("test");
    let (ana, session) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch("CREATE TRIGGER full BEFORE INSERT ON audit_logs BEGIN SELECT RAISE(ABORT, 'no room'); END")
        .unwrap();
    let mut rename = UserUpdate::default();
    rename.name = Some("Ana".into());
    rename.role = Some(Role::Admin);
    assert_eq!(code(root.users().update(ana.id, rename).await), ErrorCode::Internal);
    for refused in [
        code(root.secrets().set("k", blitz::Secret::new("x")).await.map(drop)),
        code(session.keys().create(blitz::NewKey::new("k")).await.map(drop)),
        code(root.roles().create(blitz::NewRole::new("r", [])).await.map(drop)),
        code(engine.login("ana@example.com", super::PASSWORD).await.map(drop)),
    ] {
        assert_eq!(refused, ErrorCode::Internal);
    }
    file.execute_batch("DROP TRIGGER full").unwrap();
    let now = root.users().get(ana.id).await.unwrap();
    assert_eq!((now.role, now.name.as_str()), (Role::BusinessUser, ""));
    assert!(root.secrets().list(ListOptions::default()).await.unwrap().items.is_empty());
    assert!(session.keys().list(None, ListOptions::default()).await.unwrap().items.is_empty());
    assert_eq!(root.sessions().list(Some(ana.id), ListOptions::default()).await.unwrap().items.len(), 1);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_change_of_a_user_carries_the_hashes_before_and_after() {
    let (engine, root, _) = scripted(vec![]).await;
    let (ana, _) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let mut rename = UserUpdate::default();
    rename.name = Some("Ana".into());
    root.users().update(ana.id, rename).await.unwrap();
    root.users().delete(ana.id).await.unwrap();
    let trail = root.audit().list(ListOptions::limit(1000)).await.unwrap().items;
    let line = |action: &str| trail.iter().find(|line| line.action == action).unwrap().clone();
    let (created, updated, deleted) = (line("users.create"), line("users.update"), line("users.delete"));
    assert_eq!((created.before, created.after.is_some()), (None, true));
    assert_eq!((updated.before, deleted.before), (created.after, updated.after));
    assert!(deleted.after.is_none());
}
