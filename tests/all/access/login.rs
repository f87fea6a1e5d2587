//! Logging in, and sessions that outlive what they were given for.

use blitz::{Engine, ErrorCode, ListOptions, NewUser, Role, Secret, UserUpdate};

use super::{PASSWORD, member};
use crate::bad_input::code;
use crate::support::engine::scripted;

fn update(change: impl FnOnce(&mut UserUpdate)) -> UserUpdate {
    let mut update = UserUpdate::default();
    change(&mut update);
    update
}

#[tokio::test]
async fn t33_every_failed_login_is_the_same_error() {
    let (engine, root, _) = scripted(vec![]).await;
    member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let (ben, _) = member(&engine, &root, "ben@example.com", Role::BusinessUser).await;
    let (cem, _) = member(&engine, &root, "cem@example.com", Role::BusinessUser).await;
    root.users().update(ben.id, update(|user| user.active = Some(false))).await.unwrap();
    root.users().delete(cem.id).await.unwrap();
    let mut shown = Vec::new();
    for (email, password) in [
        ("ana@example.com", "sk-canary wrong passphrase"),
        ("ben@example.com", PASSWORD),
        ("cem@example.com", PASSWORD),
        ("nobody@example.com", PASSWORD),
        ("no address", PASSWORD),
        ("", ""),
        ("ana@example.com", ""),
        ("ana@example.com\0", PASSWORD),
        ("ana@example.com", " sk-canary long passphrase"),
        ("ana@example.com", "SK-canary long passphrase"),
    ] {
        let error = engine.login(email, password).await.map(drop).unwrap_err();
        shown.push((error.code(), error.to_string(), error.details()));
    }
    assert_eq!(shown[0].0, ErrorCode::Unauthenticated);
    assert!(shown.iter().all(|each| *each == shown[0]), "{shown:#?}");
    assert!(!shown[0].1.contains("passphrase"));
}

/// The time of a login tells nothing either. By the clock, so only where the machine is left alone: `make torture`.
#[tokio::test]
async fn t33_an_unknown_address_takes_as_long_as_a_wrong_password() {
    if std::env::var_os("BLITZ_TORTURE").is_none() {
        return;
    }
    let (engine, root, _) = scripted(vec![]).await;
    member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let mut times = [Vec::new(), Vec::new()];
    // A thousand tries in all.
    for _ in 0..500 {
        for (email, times) in ["ana@example.com", "nobody@example.com"].into_iter().zip(&mut times) {
            let began = std::time::Instant::now();
            assert_eq!(code(engine.login(email, "sk-canary wrong passphrase").await), ErrorCode::Unauthenticated);
            times.push(began.elapsed());
        }
    }
    let [known, unknown] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    println!("login: {known:?} for a wrong password, {unknown:?} for an unknown address");
    let (low, high) = (known.min(unknown), known.max(unknown));
    assert!(high - low < low / 20, "{known:?} and {unknown:?}");
}

/// However many guess, few are worked on at once and few are written down: memory stays flat, the trail short.
///
/// A process of its own, so that what other tests hold is not counted. 10,000 guesses in `make torture`.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t34_thousands_of_wrong_passwords_take_no_more_memory_than_a_few() {
    use futures_util::StreamExt as _;
    const NAME: &str = "access::login::t34_thousands_of_wrong_passwords_take_no_more_memory_than_a_few";
    const MOST: u64 = 96 << 10;
    let guesses = if std::env::var_os("BLITZ_TORTURE").is_some() { 10_000 } else { 160 };
    if !crate::support::variables::set(NAME, &[("BLITZ_TEST_GUESSES", &guesses.to_string())]) {
        return;
    }
    let guesses: usize = std::env::var("BLITZ_TEST_GUESSES").unwrap().parse().unwrap();
    let (engine, root, _) = scripted(vec![]).await;
    let (admin, _) = member(&engine, &root, "ana@example.com", Role::Admin).await;
    // The most memory that the process had since the mark was set back, in kilobytes.
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let guess = async |many: usize| {
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        // All at once, as far as 256 come at once.
        let all =
            futures_util::stream::iter(0..many).map(|_| engine.login("ana@example.com", "sk-canary wrong passphrase"));
        let codes: Vec<_> = all.buffer_unordered(256).map(code).collect().await;
        assert!(codes.len() == many && codes.iter().all(|code| *code == ErrorCode::Unauthenticated));
        peak()
    };
    let few = guess(8).await;
    let many = guess(guesses).await;
    // Each hash alone takes 19 megabytes.
    assert!(many < few + MOST, "{guesses} guesses took {many} kB, 8 took {few}");
    let trail = root.audit().list(ListOptions::limit(1000)).await.unwrap().items;
    let denied = trail.iter().filter(|line| line.action == "session.login").count();
    assert!((1..=100).contains(&denied), "{denied} lines of {guesses} guesses");
    // Not for good: the right password sets it free, once somebody who may sets another.
    root.users()
        .update(admin.id, update(|user| user.password = Some(Secret::new("sk-canary other passphrase"))))
        .await
        .unwrap();
    assert!(engine.login("ana@example.com", "sk-canary other passphrase").await.is_ok());
}

#[tokio::test]
async fn t35_odd_passwords_are_refused_before_they_are_hashed() {
    let (engine, root, _) = scripted(vec![]).await;
    member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let endless = "x".repeat(1 << 20);
    assert_eq!(code(engine.login("ana@example.com", &endless).await), ErrorCode::InvalidInput);
    for weak in ["", "short", "password123", &endless] {
        assert_eq!(
            code(root.users().create(NewUser::new("ben@example.com", weak)).await),
            ErrorCode::InvalidInput,
            "{weak:.20}"
        );
    }
    for email in [
        "",
        "ben",
        "ben@",
        "@example.com",
        "ben@example..com",
        "bén@example.com",
        "ben@example.com\n.org",
        &"b".repeat(300),
    ] {
        assert_eq!(
            code(root.users().create(NewUser::new(email, PASSWORD)).await),
            ErrorCode::InvalidInput,
            "{email:.20}"
        );
    }
    assert_eq!(root.users().list(ListOptions::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn t43_an_address_is_taken_whatever_its_case_and_space() {
    let (engine, root, _) = scripted(vec![]).await;
    member(&engine, &root, "Ana@Example.com", Role::BusinessUser).await;
    for same in ["ana@example.com", " ANA@EXAMPLE.COM ", "ana@example.com."] {
        assert_eq!(code(root.users().create(NewUser::new(same, PASSWORD)).await), ErrorCode::Conflict, "{same:?}");
        assert!(engine.login(same, PASSWORD).await.is_ok(), "{same:?}");
    }
}

/// Whether a session still may do what everybody may.
async fn works(session: &blitz::Session) -> Result<(), ErrorCode> {
    session.agents().list(ListOptions::default()).await.map(drop).map_err(|error| error.code())
}

#[tokio::test]
async fn t30_a_session_ends_with_the_standing_it_was_given_for() {
    let (engine, root, _) = scripted(vec![]).await;
    let changes: [(&str, UserUpdate); 4] = [
        ("role", update(|user| user.role = Some(Role::Admin))),
        ("disabled", update(|user| user.active = Some(false))),
        ("password", update(|user| user.password = Some(Secret::new("sk-canary other passphrase")))),
        ("name", update(|user| user.name = Some("Ana".into()))),
    ];
    for (number, (what, change)) in changes.into_iter().enumerate() {
        let (user, session) = member(&engine, &root, &format!("user{number}@example.com"), Role::BusinessUser).await;
        works(&session).await.unwrap();
        root.users().update(user.id, change).await.unwrap();
        let expected = if what == "name" { Ok(()) } else { Err(ErrorCode::Unauthenticated) };
        assert_eq!(works(&session).await, expected, "{what}");
        assert_eq!(
            session.run("nothing", "x").await.map(drop).map_err(|error| error.code()),
            expected.and(Err(ErrorCode::NotFound))
        );
    }
    let (user, session) = member(&engine, &root, "last@example.com", Role::BusinessUser).await;
    root.users().delete(user.id).await.unwrap();
    assert_eq!(works(&session).await, Err(ErrorCode::Unauthenticated), "deleted");
    root.users().create(NewUser::new("last@example.com", PASSWORD)).await.unwrap();
    assert_eq!(works(&session).await, Err(ErrorCode::Unauthenticated), "the next user of that address is another one");
}

#[tokio::test]
async fn a_user_that_is_enabled_again_logs_in_anew() {
    let (engine, root, _) = scripted(vec![]).await;
    let (user, session) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    root.users().update(user.id, update(|user| user.active = Some(false))).await.unwrap();
    root.users().update(user.id, update(|user| user.active = Some(true))).await.unwrap();
    assert_eq!(works(&session).await, Err(ErrorCode::Unauthenticated));
    works(&engine.login("ana@example.com", PASSWORD).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn t41_the_last_active_admin_stays() {
    let (engine, root, _) = scripted(vec![]).await;
    let (admin, session) = member(&engine, &root, "admin@example.com", Role::Admin).await;
    let demoted = || update(|user| user.role = Some(Role::BusinessUser));
    let disabled = || update(|user| user.active = Some(false));
    for by in [&root, &session] {
        assert_eq!(code(by.users().update(admin.id, demoted()).await), ErrorCode::Conflict);
        assert_eq!(code(by.users().update(admin.id, disabled()).await), ErrorCode::Conflict);
        assert_eq!(code(by.users().delete(admin.id).await), ErrorCode::Conflict);
    }
    member(&engine, &root, "second@example.com", Role::Admin).await;
    root.users().update(admin.id, demoted()).await.unwrap();
}

#[tokio::test]
async fn a_session_of_one_engine_opens_no_other() {
    let (engine, root, _) = scripted(vec![]).await;
    member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let other = Engine::open(":memory:").await.unwrap();
    assert_eq!(code(other.login("ana@example.com", PASSWORD).await), ErrorCode::Unauthenticated);
}
