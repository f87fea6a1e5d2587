//! Users: addresses, roles, the last admin.

use super::{PASSWORD, World, code};
use crate::access::users::normalise;
use crate::domain::{ListOptions, NewUser, Role, Secret, UserUpdate};
use crate::error::ErrorCode;

#[test]
fn t43_addresses_that_look_alike_are_one_or_none() {
    for same in ["ana@example.com", "  ANA@EXAMPLE.COM\n", "Ana@Example.com."] {
        assert_eq!(normalise(same).unwrap(), "ana@example.com", "{same:?}");
    }
    let refused = [
        "",
        "ana",
        "@example.com",
        "ana@",
        "a b@example.com",
        "ana@@example.com",
        "an\u{430}@example.com",
        "\u{ff41}na@example.com",
        "ana@ex\u{e4}mple.com",
        "ana.@example.com",
        ".ana@example.com",
        "ana@example..com",
        "ana@-example.com",
        "ana@example.com..",
        "ana/x@example.com",
        "ana\0@example.com",
        "ana\u{200b}@example.com",
    ];
    for bad in refused {
        assert_eq!(code(normalise(bad)), Some(ErrorCode::InvalidInput), "{bad:?}");
    }
    assert!(normalise(&format!("{}@example.com", "a".repeat(65))).is_err());
    assert_eq!(normalise("o'neil+work@mail.example.co.uk").unwrap(), "o'neil+work@mail.example.co.uk");
}

#[tokio::test]
async fn t43_an_address_is_taken_once() {
    let world = World::new();
    let user = world.gate.create_user(&world.root, NewUser::new("Ana@Example.com", PASSWORD)).await.unwrap();
    assert_eq!((user.email.as_str(), user.role, user.active), ("ana@example.com", Role::BusinessUser, true));
    let again = world.gate.create_user(&world.root, NewUser::new("ana@example.com.", PASSWORD)).await;
    assert_eq!(code(again), Some(ErrorCode::Conflict));
}

#[tokio::test]
async fn t40_nobody_gives_himself_a_role() {
    let world = World::new();
    let (id, session) = world.user("ana@example.com", Role::BusinessUser).await;
    let promote = UserUpdate { role: Some(Role::Admin), ..UserUpdate::default() };
    assert_eq!(code(world.gate.update_user(&session, id, promote).await), Some(ErrorCode::PermissionDenied));
    assert_eq!(world.gate.user(&world.root, id).await.unwrap().role, Role::BusinessUser);
    for smuggled in [r#"{"is_admin":true}"#, r#"{"session_version":1}"#, r#"{"role":"root"}"#, r#"{"id":1}"#] {
        assert!(serde_json::from_str::<UserUpdate>(smuggled).is_err(), "{smuggled}");
    }
    let lines = world.trail_lines().await;
    assert!(lines.iter().any(|line| *line == format!("user:{id} users:manage user:{id} denied")), "{lines:?}");
}

#[tokio::test]
async fn t39_a_business_user_learns_nothing_of_users() {
    let world = World::new();
    let (ana, session) = world.user("ana@example.com", Role::BusinessUser).await;
    let (bob, _) = world.user("bob@example.com", Role::BusinessUser).await;
    let gate = &world.gate;
    let denied = Some(ErrorCode::PermissionDenied);
    assert_eq!(code(gate.users(&session, ListOptions::default()).await), denied);
    for id in [ana, bob, crate::UserId(999)] {
        assert_eq!(code(gate.user(&session, id).await), denied);
        assert_eq!(code(gate.delete_user(&session, id).await), denied);
    }
    assert_eq!(code(gate.create_user(&session, NewUser::new("eve@example.com", PASSWORD)).await), denied);
    assert_eq!(gate.users(&world.root, ListOptions::default()).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn t41_the_last_active_admin_stays() {
    let world = World::new();
    let (first, session) = world.user("first@example.com", Role::Admin).await;
    let (second, _) = world.user("second@example.com", Role::Admin).await;
    let gate = &world.gate;
    let demote = || UserUpdate { role: Some(Role::BusinessUser), ..UserUpdate::default() };
    let disable = || UserUpdate { active: Some(false), ..UserUpdate::default() };
    gate.update_user(&session, second, disable()).await.unwrap();
    for caller in [&session, &world.root] {
        assert_eq!(code(gate.update_user(caller, first, demote()).await), Some(ErrorCode::Conflict));
        assert_eq!(code(gate.update_user(caller, first, disable()).await), Some(ErrorCode::Conflict));
        assert_eq!(code(gate.delete_user(caller, first).await), Some(ErrorCode::Conflict));
    }
    let enable = UserUpdate { active: Some(true), ..UserUpdate::default() };
    gate.update_user(&session, second, enable).await.unwrap();
    let demoted = gate.update_user(&session, first, demote()).await.unwrap();
    assert_eq!(demoted.role, Role::BusinessUser);
    // A disabled admin may go at any time.
    gate.update_user(&world.root, first, UserUpdate { role: Some(Role::Admin), ..disable() }).await.unwrap();
    gate.delete_user(&world.root, first).await.unwrap();
}

#[tokio::test]
async fn t41_two_admins_cannot_demote_each_other_at_once() {
    let world = World::new();
    let (first, one) = world.user("first@example.com", Role::Admin).await;
    let (second, two) = world.user("second@example.com", Role::Admin).await;
    let demote = || UserUpdate { role: Some(Role::BusinessUser), ..UserUpdate::default() };
    let (a, b) =
        tokio::join!(world.gate.update_user(&one, second, demote()), world.gate.update_user(&two, first, demote()));
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1);
}

#[tokio::test]
async fn lists_are_paged_and_updates_show() {
    let world = World::new();
    for email in ["a@example.com", "b@example.com", "c@example.com"] {
        world.user(email, Role::BusinessUser).await;
    }
    let first = world.gate.users(&world.root, ListOptions::limit(2)).await.unwrap();
    let rest = ListOptions::limit(2).after(first.next_cursor.clone().unwrap());
    let second = world.gate.users(&world.root, rest).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next_cursor), (2, 1, None));
    let id = second.items[0].id;
    let update = UserUpdate { name: Some(" Cleo ".into()), ..UserUpdate::default() };
    world.gate.update_user(&world.root, id, update).await.unwrap();
    assert_eq!(world.gate.user(&world.root, id).await.unwrap().name, "Cleo");
    let wrong = ListOptions::default().after("-1");
    assert_eq!(code(world.gate.users(&world.root, wrong).await), Some(ErrorCode::InvalidInput));
    let weak = UserUpdate { password: Some(Secret::new("short")), ..UserUpdate::default() };
    assert_eq!(code(world.gate.update_user(&world.root, id, weak).await), Some(ErrorCode::InvalidInput));
    assert_eq!(code(world.gate.user(&world.root, crate::UserId(999)).await), Some(ErrorCode::NotFound));
}
