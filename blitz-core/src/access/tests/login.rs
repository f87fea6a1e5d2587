//! Sessions: how they begin, and what ends them.

use super::{PASSWORD, World, code};
use crate::access::{Gate, Rules, Target};
use crate::domain::{Permission, Principal, Role, Secret, Timestamp, UserUpdate};
use crate::error::ErrorCode;
use crate::store::{OpenOptions, access};

#[tokio::test]
async fn root_says_why_and_is_announced_once() {
    let world = World::new();
    for (reason, kept) in [("", "no reason given"), (" \n", "no reason given"), (&"x".repeat(300), &"x".repeat(200))] {
        assert!(matches!(world.gate.root(reason).principal(), Principal::Root { reason } if reason == kept));
    }
    // The first transaction is a read: the announcement makes a write of it.
    world.gate.read(&world.root, Permission::ModelsRead, Target::None, |_, _| Ok(())).await.unwrap();
    world
        .gate
        .write(&world.root, Permission::ModelsCreate, Target::None, "models.create", |_, _| Ok(()))
        .await
        .unwrap();
    assert_eq!(world.trail_lines().await, ["root session.root  ok", "root models.create  ok"]);
    assert!(world.trail().await.iter().all(|record| record.via == "test"));
}

#[tokio::test]
async fn a_failed_first_call_leaves_the_announcement_to_the_next() {
    let world = World::new();
    let failing = world.gate.write(&world.root, Permission::ModelsCreate, Target::None, "models.create", |_, _| {
        Err::<(), _>(crate::Error::invalid("no"))
    });
    assert_eq!(code(failing.await), Some(ErrorCode::InvalidInput));
    assert_eq!(world.trail_lines().await, ["root session.root  ok"]);
}

#[tokio::test]
async fn t36_only_the_password_logs_in() {
    let world = World::new();
    let id = world.member("ana@example.com", Role::BusinessUser).await;
    let session = world.login(" Ana@Example.COM ", PASSWORD).await.unwrap();
    assert_eq!(session.principal().user_id(), Some(id));

    let parts = world.gate.parts.clone();
    let read = world.work.read(move |tx, _| access::secret(tx, &parts.keys, "users", id.0, "password_hash"));
    let hash = read.await.unwrap().unwrap();
    assert!(hash.expose().starts_with("$argon2id$"));
    assert_eq!(code(world.login("ana@example.com", hash.expose()).await), Some(ErrorCode::Unauthenticated));
    assert_eq!(code(world.login("ana@example.com", "a long passphrase ").await), Some(ErrorCode::Unauthenticated));
    assert_eq!(code(world.login("ana@example.com", "").await), Some(ErrorCode::Unauthenticated));
    let lines = world.trail_lines().await;
    assert!(lines.contains(&format!("user:{id} session.login user:{id} ok")));
    assert!(lines.contains(&format!("anonymous session.login user:{id} denied")));
}

#[tokio::test]
async fn t33_every_failed_login_looks_the_same() {
    let world = World::new();
    world.member("ana@example.com", Role::BusinessUser).await;
    let disabled = world.member("off@example.com", Role::BusinessUser).await;
    let off = UserUpdate { active: Some(false), ..UserUpdate::default() };
    world.gate.update_user(&world.root, disabled, off).await.unwrap();
    let mut messages = Vec::new();
    for (email, password) in [
        ("ana@example.com", "wrong password"),
        ("nobody@example.com", PASSWORD),
        ("off@example.com", PASSWORD),
        ("no address at all", PASSWORD),
    ] {
        let error = world.login(email, password).await.unwrap_err();
        messages.push((error.code(), error.chain(), error.details()));
    }
    assert!(messages.windows(2).all(|pair| pair[0] == pair[1]), "{messages:?}");
    let shown = world.trail_lines().await.join("\n");
    assert!(!shown.contains("nobody@example.com") && !shown.contains("no address"), "{shown}");
}

#[tokio::test]
async fn t34_failures_hold_an_account_back_but_not_for_good() {
    let world = World::new();
    let id = world.member("ana@example.com", Role::Admin).await;
    for _ in 0..5 {
        assert_eq!(code(world.login("ana@example.com", "wrong password").await), Some(ErrorCode::Unauthenticated));
    }
    // Held longer than this test may take, as more failures would do.
    world.sql("UPDATE users SET locked_until = ?1", vec![(Timestamp::now().0 + 3_600_000_000).into()]).await;
    assert_eq!(code(world.login("ana@example.com", PASSWORD).await), Some(ErrorCode::Unauthenticated));
    let row = world.work.read(move |tx, _| access::user(tx, id)).await.unwrap().unwrap();
    assert_eq!(row.failed_logins, 5, "what is tried meanwhile does not prolong it");

    world.sql("UPDATE users SET locked_until = ?1", vec![(Timestamp::now().0 - 1).into()]).await;
    world.login("ana@example.com", PASSWORD).await.unwrap();
    let row = world.work.read(move |tx, _| access::user(tx, id)).await.unwrap().unwrap();
    assert_eq!((row.failed_logins, row.locked_until), (0, None));
    let denied = world.trail_lines().await.iter().filter(|line| line.ends_with("denied")).count();
    assert_eq!(denied, 6);
}

#[tokio::test]
async fn t30_a_session_ends_with_what_it_stood_on() {
    let world = World::new();
    world.member("boss@example.com", Role::Admin).await;
    let changes = [
        UserUpdate { password: Some(Secret::new("another passphrase")), ..UserUpdate::default() },
        UserUpdate { role: Some(Role::Admin), ..UserUpdate::default() },
        UserUpdate { active: Some(false), ..UserUpdate::default() },
    ];
    let id = world.member("ana@example.com", Role::BusinessUser).await;
    let passwords = [PASSWORD, "another passphrase", "another passphrase"];
    for (update, password) in changes.into_iter().zip(passwords) {
        let session = world.login("ana@example.com", password).await.unwrap();
        let call = || world.gate.read(&session, Permission::AgentsRead, Target::None, |_, _| Ok(()));
        call().await.unwrap();
        let name = UserUpdate { name: Some("Ana".into()), ..UserUpdate::default() };
        world.gate.update_user(&world.root, id, name).await.unwrap();
        call().await.unwrap();
        world.gate.update_user(&world.root, id, update).await.unwrap();
        assert_eq!(code(call().await), Some(ErrorCode::Unauthenticated));
    }
    assert_eq!(code(world.login("ana@example.com", "another passphrase").await), Some(ErrorCode::Unauthenticated));
}

#[tokio::test]
async fn t30_a_deleted_user_is_out() {
    let world = World::new();
    let (id, session) = world.user("ana@example.com", Role::BusinessUser).await;
    world.gate.delete_user(&world.root, id).await.unwrap();
    let call = world.gate.read(&session, Permission::AgentsRead, Target::None, |_, _| Ok(()));
    assert_eq!(code(call.await), Some(ErrorCode::Unauthenticated));
    let again = world.member("ana@example.com", Role::BusinessUser).await;
    assert_ne!(again, id, "the address is free, the id is not given again");
}

#[tokio::test]
async fn a_gate_opens_a_database_off_the_async_threads() {
    let open = Gate::open(OpenOptions::new(":memory:"), Rules::default()).await.unwrap();
    let root = open.gate.root("test");
    assert_eq!(open.gate.verify_audit(&root, None).await.unwrap().records, 1);
    open.gate.close();
    assert_eq!(code(open.gate.verify_audit(&root, None).await), Some(ErrorCode::Closed));
}
