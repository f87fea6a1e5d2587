//! Tokens of a login: opaque ones, JSON web tokens, refresh tokens, and what ends them.

use std::time::Duration;

use blitz::{
    Engine, ErrorCode, ListOptions, Login, NewUser, Role, Session, SessionSettings, TokenAlgorithm, TokenKind, User,
    UserUpdate,
};
use serde_json::json;

use super::{PASSWORD, member};
use crate::bad_input::code;
use crate::support::engine::scripted;
use crate::support::folder::Folder;

async fn settings(change: impl FnOnce(&mut SessionSettings)) -> (Engine, Session, User) {
    let mut settings = SessionSettings::default();
    change(&mut settings);
    let engine = Engine::builder(":memory:").with_sessions(settings).open().await.unwrap();
    let root = engine.root("test");
    let ana = root.users().create(NewUser::new("ana@example.com", PASSWORD)).await.unwrap();
    (engine, root, ana)
}

async fn works(session: &Session) -> Result<(), ErrorCode> {
    session.agents().list(ListOptions::default()).await.map(drop).map_err(|error| error.code())
}

#[tokio::test]
async fn each_kind_of_token_opens_a_session_of_its_user() {
    for algorithm in [TokenAlgorithm::Hs256, TokenAlgorithm::EdDsa] {
        let (engine, _, ana) = settings(|settings| settings.jwt_algorithm = algorithm).await;
        let login = engine.login("ana@example.com", PASSWORD).await.unwrap();
        for kind in [TokenKind::Session, TokenKind::Jwt] {
            let tokens = login.sessions().tokens(kind).await.unwrap();
            assert_eq!(tokens.user_id, ana.id);
            assert_eq!(tokens.refresh_token.is_some(), kind == TokenKind::Jwt);
            let session = engine.authenticate(&tokens.access_token).await.unwrap();
            assert_eq!(session.users().me().await.unwrap().id, ana.id);
            assert!(!format!("{tokens:?} {session:?}").contains(&tokens.access_token), "no token is printed");
            let again = session.sessions().tokens(kind).await;
            assert_eq!(code(again), ErrorCode::PermissionDenied, "a token does not prolong itself");
        }
    }
}

#[tokio::test]
async fn what_is_no_token_opens_nothing() {
    let (engine, _, _) = settings(|_| {}).await;
    let login = engine.login("ana@example.com", PASSWORD).await.unwrap();
    let tokens = login.sessions().tokens(TokenKind::Jwt).await.unwrap();
    let refresh = tokens.refresh_token.unwrap();
    for wrong in ["", "x", "a.b.c", "bs_", PASSWORD, &refresh, &"a".repeat(100_000), &tokens.access_token[1..]] {
        let error = engine.authenticate(wrong).await.map(drop).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unauthenticated, "{wrong:.40}");
        assert!(wrong.len() < 3 || !error.to_string().contains(wrong));
    }
    for wrong in ["", "x", "br_", &tokens.access_token, &refresh[..40]] {
        assert_eq!(code(engine.refresh(wrong).await), ErrorCode::Unauthenticated, "{wrong:.40}");
    }
}

#[tokio::test]
async fn t30_every_token_ends_with_what_it_was_given_for() {
    let (engine, root, _) = scripted(vec![]).await;
    for (number, what) in
        ["logout", "password", "role", "disabled", "deleted", "revoked", "all"].into_iter().enumerate()
    {
        let (user, login) = member(&engine, &root, &format!("user{number}@example.com"), Role::BusinessUser).await;
        let opaque = login.sessions().tokens(TokenKind::Session).await.unwrap();
        let jwt = login.sessions().tokens(TokenKind::Jwt).await.unwrap();
        let held = engine.authenticate(&jwt.access_token).await.unwrap();
        works(&held).await.unwrap();
        let mut update = UserUpdate::default();
        match what {
            "logout" => held.sessions().logout().await.unwrap(),
            "revoked" => root.sessions().revoke(jwt.session_id).await.unwrap(),
            "all" => held.sessions().revoke_all(None).await.unwrap(),
            "deleted" => root.users().delete(user.id).await.unwrap(),
            "password" => update.password = Some(blitz::Secret::new("sk-canary other passphrase")),
            "role" => update.role = Some(Role::Admin),
            _ => update.active = Some(false),
        }
        if update != UserUpdate::default() {
            root.users().update(user.id, update).await.unwrap();
        }
        for session in [&login, &held] {
            assert_eq!(works(session).await, Err(ErrorCode::Unauthenticated), "{what}");
        }
        for token in [&opaque.access_token, &jwt.access_token] {
            assert_eq!(code(engine.authenticate(token).await), ErrorCode::Unauthenticated, "{what}");
        }
        assert_eq!(code(engine.refresh(&jwt.refresh_token.unwrap()).await), ErrorCode::Unauthenticated, "{what}");
    }
}

#[tokio::test]
async fn t31_a_refresh_token_is_good_once_and_its_replay_ends_the_login() {
    let (engine, root, ana) = settings(|_| {}).await;
    let login = engine.login("ana@example.com", PASSWORD).await.unwrap();
    let first = login.sessions().tokens(TokenKind::Jwt).await.unwrap();
    let stolen = first.refresh_token.unwrap();
    let second = engine.refresh(&stolen).await.unwrap();
    let third = engine.refresh(&second.refresh_token.clone().unwrap()).await.unwrap();
    works(&engine.authenticate(&third.access_token).await.unwrap()).await.unwrap();

    assert_eq!(code(engine.refresh(&stolen).await), ErrorCode::Unauthenticated);

    for token in [&first.access_token, &second.access_token, &third.access_token] {
        assert_eq!(code(engine.authenticate(token).await), ErrorCode::Unauthenticated, "the family is taken back");
    }
    assert_eq!(code(engine.refresh(&third.refresh_token.unwrap()).await), ErrorCode::Unauthenticated);
    let trail = root.audit().list(ListOptions::limit(1000)).await.unwrap().items;
    let replay = trail.iter().find(|line| line.action == "session.replayed").expect("it is in the trail");
    assert_eq!(
        (replay.principal.as_str(), replay.outcome),
        (&*format!("user:{}", ana.id), blitz::AuditOutcome::Denied)
    );
}

#[tokio::test]
async fn t32_each_login_is_a_session_and_a_token_of_its_own() {
    let (engine, _, _) = settings(|_| {}).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let login = engine.login("ana@example.com", PASSWORD).await.unwrap();
        let tokens = login.sessions().tokens(TokenKind::Session).await.unwrap();
        assert!(seen.insert((tokens.session_id, tokens.access_token.clone())));
        let next = login.sessions().tokens(TokenKind::Session).await.unwrap();
        assert_ne!(next.access_token, tokens.access_token);
        assert_eq!(code(engine.authenticate(&tokens.access_token).await), ErrorCode::Unauthenticated, "it was rotated");
    }
    let login = engine.login("ana@example.com", PASSWORD).await.unwrap();
    assert_eq!(login.sessions().list(None, ListOptions::default()).await.unwrap().items.len(), 4);
}

#[tokio::test]
async fn a_login_ends_when_it_is_left_alone_and_at_its_latest_day() {
    for change in
        [(|settings| settings.idle_seconds = 0) as fn(&mut SessionSettings), |settings| settings.max_seconds = 0]
    {
        let (engine, _, _) = settings(change).await;
        let login = engine.login("ana@example.com", PASSWORD).await.unwrap();
        assert_eq!(works(&login).await, Err(ErrorCode::Unauthenticated));
    }
    let (engine, _, _) = settings(|settings| settings.jwt_seconds = 0).await;
    let login = engine.login("ana@example.com", PASSWORD).await.unwrap();
    let jwt = login.sessions().tokens(TokenKind::Jwt).await.unwrap();
    // Within the leeway of clocks it is read, and holds for nothing.
    if let Ok(session) = engine.authenticate(&jwt.access_token).await {
        assert_eq!(works(&session).await, Err(ErrorCode::Unauthenticated));
    }
    works(&login).await.unwrap();
}

#[tokio::test]
async fn t29_a_token_for_others_is_refused() {
    let folder = Folder::new();
    let path = folder.path().join("a.db").to_str().unwrap().to_owned();
    let open = async |audience: &str, issuer: &str| {
        let settings = json!({"database_url": path, "sessions": {"audience": audience, "issuer": issuer}});
        Engine::open_with(blitz::EngineSettings::from_json(settings).unwrap()).await.unwrap()
    };
    let engine = open("shop", "blitz").await;
    engine.root("test").users().create(NewUser::new("ana@example.com", PASSWORD)).await.unwrap();
    let login = engine.login("ana@example.com", PASSWORD).await.unwrap();
    let token = login.sessions().tokens(TokenKind::Jwt).await.unwrap().access_token;
    assert!(engine.authenticate(&token).await.is_ok());
    engine.close().await.unwrap();
    for (audience, issuer, expected) in [("bank", "blitz", false), ("shop", "other", false), ("shop", "blitz", true)] {
        let engine = open(audience, issuer).await;
        assert_eq!(engine.authenticate(&token).await.is_ok(), expected, "{audience} {issuer}");
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_token_key_is_rotated_and_the_old_tokens_hold_or_end() {
    let (engine, root, _) = settings(|_| {}).await;
    let token = async || {
        let login = engine.login("ana@example.com", PASSWORD).await.unwrap();
        login.sessions().tokens(TokenKind::Jwt).await.unwrap().access_token
    };
    let old = token().await;
    let key = root.sessions().rotate_token_key(Some(TokenAlgorithm::EdDsa), false).await.unwrap();
    assert!(key.public_key.is_some());
    let new = token().await;
    assert!(engine.authenticate(&old).await.is_ok() && engine.authenticate(&new).await.is_ok());
    root.sessions().rotate_token_key(None, true).await.unwrap();
    for token in [&old, &new] {
        assert_eq!(code(engine.authenticate(token).await), ErrorCode::Unauthenticated);
    }
    assert_eq!(root.sessions().token_keys().await.unwrap().len(), 1);
    assert!(engine.authenticate(&token().await).await.is_ok());
    let login = engine.login("ana@example.com", PASSWORD).await.unwrap();
    assert_eq!(code(login.sessions().rotate_token_key(None, true).await), ErrorCode::PermissionDenied);
    assert_eq!(code(login.sessions().token_keys().await), ErrorCode::PermissionDenied);
}

#[tokio::test]
async fn only_the_host_opens_a_login_for_somebody() {
    let (engine, root, _) = scripted(vec![]).await;
    let (ana, _) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let (_, admin) = member(&engine, &root, "admin@example.com", Role::Admin).await;
    let tokens = root.sessions().open(ana.id, TokenKind::Session, Some("sso".into())).await.unwrap();
    assert_eq!(engine.authenticate(&tokens.access_token).await.unwrap().users().me().await.unwrap().id, ana.id);
    let refused = admin.sessions().open(ana.id, TokenKind::Session, None).await;
    assert_eq!(code(refused), ErrorCode::PermissionDenied);
}

#[tokio::test]
async fn t39_sessions_of_others_are_not_seen_nor_ended() {
    let (engine, root, _) = scripted(vec![]).await;
    let (ana, session) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let (_, ben) = member(&engine, &root, "ben@example.com", Role::BusinessUser).await;
    let of_ana = session.sessions().list(None, ListOptions::default()).await.unwrap().items;
    assert_eq!(of_ana.len(), 1);
    assert_eq!(code(ben.sessions().list(Some(ana.id), ListOptions::default()).await), ErrorCode::PermissionDenied);
    assert_eq!(code(ben.sessions().revoke(of_ana[0].id).await), ErrorCode::NotFound);
    assert_eq!(code(ben.sessions().revoke_all(Some(ana.id)).await), ErrorCode::PermissionDenied);
    works(&session).await.unwrap();
    assert_eq!(root.sessions().list(None, ListOptions::default()).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn t34_a_place_that_guesses_is_held_back_and_others_are_not() {
    let (engine, root, _) = scripted(vec![]).await;
    let ana = "ana@example.com";
    member(&engine, &root, ana, Role::BusinessUser).await;
    for number in 0..16 {
        let guess = Login::new(format!("nobody{number}@example.com"), PASSWORD).from("203.0.113.7");
        assert_eq!(code(engine.login_with(guess).await), ErrorCode::Unauthenticated);
    }
    let held = engine.login_with(Login::new(ana, PASSWORD).from("203.0.113.7")).await;
    assert_eq!(code(held), ErrorCode::Unauthenticated, "the right password from there fails too");
    assert!(engine.login_with(Login::new(ana, PASSWORD).from("198.51.100.1")).await.is_ok());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(engine.login_with(Login::new(ana, PASSWORD).from("203.0.113.7")).await.is_ok(), "never for good");
    let odd = engine.login_with(Login::new(ana, PASSWORD).from("a\nb")).await;
    assert_eq!(code(odd), ErrorCode::InvalidInput);
}
