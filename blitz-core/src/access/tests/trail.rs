//! What the trail holds of calls, and that no call is without it.

use super::{World, code};
use crate::access::Target;
use crate::domain::{ListOptions, NewAgent, NewPrompt, Permission, ResourceKind, Role, Visibility};
use crate::error::ErrorCode;

#[tokio::test]
async fn every_change_has_its_line_with_hashes() {
    let world = World::new();
    let (id, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    let first = world.gate.put(&ana, NewPrompt::new("p", "x"), Visibility::Private).await.unwrap();
    let second = world.gate.put(&ana, NewPrompt::new("p", "y"), Visibility::Private).await.unwrap();
    world.gate.delete::<NewPrompt>(&ana, first.id.into()).await.unwrap();
    let lines: Vec<_> = world.trail().await.into_iter().filter(|r| r.principal == format!("user:{id}")).collect();
    let seen: Vec<_> = lines.iter().map(|r| (r.action.as_str(), r.before.as_ref(), r.after.as_ref())).collect();
    assert_eq!(
        seen,
        [
            ("prompts.put", None, Some(&first.hash)),
            ("prompts.put", Some(&first.hash), Some(&second.hash)),
            ("prompts.delete", Some(&second.hash), None),
        ]
    );
    assert!(lines.iter().all(|r| r.object == format!("prompt:{}", first.id) && r.via == "password"));
}

#[tokio::test]
async fn a_line_is_written_for_a_body_that_writes_none() {
    let world = World::new();
    world.model().await;
    let id = world.agent(&world.root, "a", Visibility::Private).await.id;
    let target = Target::Resource(ResourceKind::Agent, "a".into());
    world.gate.write(&world.root, Permission::AgentsRun, target, "agents.run", |_, _| Ok(())).await.unwrap();
    assert_eq!(world.trail_lines().await.pop().unwrap(), format!("root agents.run agent:{id} ok"));
}

#[tokio::test]
async fn t61_without_its_line_no_change_is_kept() {
    let world = World::new();
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    world.sql("CREATE TRIGGER broken BEFORE INSERT ON audit_logs BEGIN SELECT RAISE(ABORT, 'no'); END", vec![]).await;
    let put = world.gate.put(&ana, NewPrompt::new("p", "x"), Visibility::Private).await;
    assert!(put.is_err());
    // Also where the body leaves the line to the gate.
    let plain = world.gate.write(&ana, Permission::PromptsCreate, Target::None, "prompts.create", |tx, _| {
        tx.execute("INSERT INTO store_info (key, value) VALUES ('x', 'y')", &[]).map(drop)
    });
    assert!(plain.await.is_err());
    // A refusal stays a refusal.
    let denied = world.gate.users(&ana, ListOptions::default()).await;
    assert_eq!(code(denied), Some(ErrorCode::PermissionDenied));
    world.sql("DROP TRIGGER broken", vec![]).await;
    assert!(world.gate.list::<NewPrompt>(&ana, ListOptions::default()).await.unwrap().items.is_empty());
    let kept = world.work.read(|tx, _| tx.query_one("SELECT 1 FROM store_info WHERE key = 'x'", &[]));
    assert!(kept.await.unwrap().is_none());
}

#[tokio::test]
async fn a_denied_call_changes_nothing_but_the_trail() {
    let world = World::new();
    world.model().await;
    let (id, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    let hidden = world.agent(&world.root, "h", Visibility::Private).await.id;
    // The body writes first and reaches too far afterwards.
    let call = world.gate.write(&ana, Permission::PromptsCreate, Target::None, "prompts.create", move |tx, grant| {
        tx.execute("INSERT INTO store_info (key, value) VALUES ('x', 'y')", &[])?;
        grant.find(tx, Permission::AgentsRun, ResourceKind::Agent, &hidden.into()).map(drop)
    });
    assert_eq!(code(call.await), Some(ErrorCode::NotFound));
    let kept = world.work.read(|tx, _| tx.query_one("SELECT 1 FROM store_info WHERE key = 'x'", &[]));
    assert!(kept.await.unwrap().is_none());
    let last = world.trail_lines().await.pop().unwrap();
    assert_eq!(last, format!("user:{id} prompts.create agent:{hidden} denied"));
}

#[tokio::test]
async fn t39_what_is_hidden_looks_like_what_is_not_there() {
    let world = World::new();
    world.model().await;
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    let hidden = world.agent(&world.root, "h", Visibility::Private).await.id;
    let there = world.gate.get::<NewAgent>(&ana, hidden.into()).await.unwrap_err();
    let not = world.gate.get::<NewAgent>(&ana, crate::ResourceId(999).into()).await.unwrap_err();
    assert_eq!(there.to_info(), not.to_info());
    let denied = world.trail_lines().await.into_iter().filter(|line| line.ends_with("denied")).count();
    assert_eq!(denied, 1, "what is not there is no denial");
}

#[tokio::test]
async fn denials_without_end_do_not_fill_the_disk() {
    let world = World::new();
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    for _ in 0..50 {
        assert!(world.gate.users(&ana, ListOptions::default()).await.is_err());
    }
    assert_eq!(world.trail_lines().await.iter().filter(|line| line.ends_with("denied")).count(), 10);
}

#[tokio::test]
async fn t60_a_cut_tail_shows_against_the_kept_head() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.gate.put(&world.root, NewPrompt::new(name, "x"), Visibility::Private).await.unwrap();
    }
    let whole = world.gate.verify_audit(&world.root, None).await.unwrap();
    assert_eq!((whole.records, whole.first_bad), (4, None));
    world.sql("DROP TRIGGER audit_no_delete", vec![]).await;
    world.sql("DELETE FROM audit_logs WHERE seq > 2", vec![]).await;
    assert_eq!(world.gate.verify_audit(&world.root, None).await.unwrap().first_bad, None);
    assert_eq!(world.gate.verify_audit(&world.root, Some(&whole.head)).await.unwrap().first_bad, Some(3));
    assert_eq!(code(world.gate.verify_audit(&world.root, Some("nonsense")).await), Some(ErrorCode::InvalidInput));
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    assert_eq!(code(world.gate.verify_audit(&ana, None).await), Some(ErrorCode::PermissionDenied));
}
