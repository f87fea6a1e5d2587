//! Passwords: the first admin, one's own, a forgotten one, an imported one.

use blitz::{Engine, ErrorCode, ImportedUser, ListOptions, NewKey, NewUser, Role, Secret, Session, TokenKind};

use super::{PASSWORD, member};
use crate::bad_input::code;
use crate::support::engine::scripted;
use crate::support::folder::Folder;

const NEW: &str = "sk-canary other passphrase";

#[tokio::test]
async fn the_first_admin_is_made_once_and_by_the_host() {
    let (engine, root, _) = scripted(vec![]).await;
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    assert_eq!(code(ana.users().bootstrap(NewUser::new("x@example.com", PASSWORD)).await), ErrorCode::PermissionDenied);
    let first = root.users().bootstrap(NewUser::new("admin@example.com", PASSWORD)).await.unwrap();
    assert_eq!(first.role, Role::Admin);
    let again = root.users().bootstrap(NewUser::new("second@example.com", PASSWORD)).await;
    assert_eq!(code(again), ErrorCode::Conflict);
    let admin = engine.login("admin@example.com", PASSWORD).await.unwrap();
    assert!(admin.users().list(ListOptions::default()).await.is_ok());
}

#[tokio::test]
async fn a_race_for_the_first_admin_has_one_winner() {
    let (_engine, root, _) = scripted(vec![]).await;
    let made = (0..4).map(|n| {
        let users = root.users();
        async move { users.bootstrap(NewUser::new(format!("a{n}@example.com"), PASSWORD)).await.is_ok() }
    });
    let made: Vec<bool> = futures_util::future::join_all(made).await;
    assert_eq!(made.iter().filter(|won| **won).count(), 1, "{made:?}");
}

#[tokio::test]
async fn a_password_is_changed_by_who_knows_it() {
    let (engine, root, _) = scripted(vec![]).await;
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let change = async |old: &str, new: &str| ana.users().change_password(Secret::new(old), Secret::new(new)).await;
    assert_eq!(code(change("sk-canary wrong passphrase", NEW).await), ErrorCode::PermissionDenied);
    assert_eq!(code(change(PASSWORD, "short").await), ErrorCode::InvalidInput);
    let key = ana.keys().create(NewKey::new("k")).await.unwrap().key;
    let by_key = engine.api_key(&key).await.unwrap();
    let refused = by_key.users().change_password(Secret::new(PASSWORD), Secret::new(NEW)).await;
    assert_eq!(code(refused), ErrorCode::PermissionDenied);
    let root_has_none = root.users().change_password(Secret::new(PASSWORD), Secret::new(NEW)).await;
    assert_eq!(code(root_has_none), ErrorCode::InvalidInput);

    change(PASSWORD, NEW).await.unwrap();

    assert_eq!(code(ana.users().me().await), ErrorCode::Unauthenticated);
    assert_eq!(code(engine.login("ana@example.com", PASSWORD).await), ErrorCode::Unauthenticated);
    assert!(engine.login("ana@example.com", NEW).await.is_ok());
}

/// A user whose next failure holds the account back for longer than a test may take on a busy machine.
async fn guessed_at() -> (Folder, Engine, Session) {
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
    let (_, ana) = member(&engine, &engine.root("test"), "ana@example.com", Role::BusinessUser).await;
    let outside = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(outside.execute("UPDATE users SET failed_logins = 12", []).unwrap(), 1);
    (folder, engine, ana)
}

#[tokio::test]
async fn t34_guesses_of_the_old_password_are_held_back_like_logins() {
    let (_folder, engine, ana) = guessed_at().await;
    for _ in 0..6 {
        let guess = ana.users().change_password(Secret::new("sk-canary wrong passphrase"), Secret::new(NEW)).await;
        assert_eq!(code(guess), ErrorCode::PermissionDenied);
    }
    assert_eq!(code(engine.login("ana@example.com", PASSWORD).await), ErrorCode::Unauthenticated, "it is held back");
}

/// Guesses that are compared at the same time do not get past what follows from them.
#[tokio::test]
async fn t34_guesses_of_the_old_password_at_once_are_held_back_too() {
    let (_folder, _engine, ana) = guessed_at().await;
    let guesses = ["one", "two", "three", "four", "right"].map(|guess| {
        let old = if guess == "right" { PASSWORD.to_owned() } else { format!("sk-canary wrong passphrase {guess}") };
        let users = ana.users();
        async move { users.change_password(Secret::new(&old), Secret::new(NEW)).await.err().map(|error| error.code()) }
    });
    let codes = futures_util::future::join_all(guesses).await;
    assert_eq!(codes, [Some(ErrorCode::PermissionDenied); 5], "the right one too, behind those that were wrong");
    for (new, expected) in [(NEW, ErrorCode::PermissionDenied), ("short", ErrorCode::InvalidInput)] {
        for old in [PASSWORD, "sk-canary wrong passphrase"] {
            let told = ana.users().change_password(Secret::new(old), Secret::new(new)).await;
            assert_eq!(code(told), expected, "the right one looks like any other");
        }
    }
    assert!(ana.users().me().await.is_ok(), "nothing was changed");
}

#[tokio::test]
async fn a_forgotten_password_is_set_by_a_token_that_is_good_once() {
    let (engine, root, _) = scripted(vec![]).await;
    let (user, ana) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let first = root.users().reset_password(user.id).await.unwrap();
    let reset = root.users().reset_password(user.id).await.unwrap();
    assert!(!format!("{reset:?}").contains(&reset.token));
    assert_eq!(code(ana.users().reset_password(user.id).await), ErrorCode::PermissionDenied);
    for wrong in ["", "x", first.token.as_str(), &reset.token[..20], &reset.token.replace("bp_", "bs_")] {
        assert_eq!(code(engine.set_password(wrong, NEW).await), ErrorCode::Unauthenticated, "{wrong:.20}");
    }
    assert_eq!(code(engine.set_password(&reset.token, "short").await), ErrorCode::InvalidInput);

    engine.set_password(&reset.token, NEW).await.unwrap();

    assert_eq!(code(engine.set_password(&reset.token, PASSWORD).await), ErrorCode::Unauthenticated);
    assert_eq!(code(ana.users().me().await), ErrorCode::Unauthenticated);
    let login = engine.login("ana@example.com", NEW).await.unwrap();
    // A change of password takes back what was sent before it.
    let stale = root.users().reset_password(user.id).await.unwrap();
    login.users().change_password(Secret::new(NEW), Secret::new(PASSWORD)).await.unwrap();
    assert_eq!(code(engine.set_password(&stale.token, NEW).await), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn an_imported_hash_lets_its_user_in_and_becomes_one_of_ours() {
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
    let root = engine.root("test");
    // Hashes are sealed: what can be seen of one is that another is there.
    let stored = || -> Vec<u8> {
        let database = rusqlite::Connection::open(&path).unwrap();
        let sql = "SELECT s.sealed FROM secrets s JOIN users u ON u.id = s.owner_id \
                   WHERE s.owner_table = 'users' AND u.email = 'old@example.com'";
        database.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    // PBKDF2-HMAC-SHA-256 of "passwd" and "salt" with one round: RFC 7914, section 11.
    let hash = "pbkdf2:sha256:1$salt$55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";
    root.users().import(ImportedUser::new("old@example.com", hash)).await.unwrap();
    assert_eq!(code(engine.login("old@example.com", "wrong").await), ErrorCode::Unauthenticated);
    assert_eq!(
        code(engine.login("old@example.com", hash).await),
        ErrorCode::Unauthenticated,
        "T36: a hash is no password"
    );
    let imported = stored();
    let mut renewed = None;
    for _ in 0..2 {
        let login = engine.login("old@example.com", "passwd").await.unwrap();
        let now = stored();
        assert_ne!(now, imported, "the first login puts another hash in its place");
        assert_eq!(*renewed.get_or_insert_with(|| now.clone()), now, "the second finds it good");
        login.sessions().tokens(TokenKind::Session).await.unwrap();
    }
    for wrong in ["", "passwd", "md5$salt$abcdef", "scrypt:1048576:8:1$salt$ab", "$argon2id$v=19$m=8,t=1,p=1$AA$AA"] {
        let refused = root.users().import(ImportedUser::new("new@example.com", wrong)).await;
        assert_eq!(code(refused), ErrorCode::InvalidInput, "{wrong}");
    }
}

#[tokio::test]
async fn t36_no_stored_hash_opens_anything() {
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
    let root = engine.root("test");
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    ana.keys().create(NewKey::new("k")).await.unwrap();
    ana.sessions().tokens(TokenKind::Session).await.unwrap();
    let database = rusqlite::Connection::open(&path).unwrap();
    let stored: Vec<Vec<u8>> =
        ["SELECT mac FROM api_keys", "SELECT token_hash FROM sessions WHERE token_hash IS NOT NULL"]
            .iter()
            .flat_map(|sql| {
                let mut rows = database.prepare(sql).unwrap();
                rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect::<Vec<Vec<u8>>>()
            })
            .collect();
    assert_eq!(stored.len(), 2);
    let public: String = database.query_row("SELECT public FROM api_keys", [], |row| row.get(0)).unwrap();
    for hash in stored {
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        for text in [hex.clone(), format!("bz_{public}_{}", &hex[..43]), format!("bs_{}", &hex[..43]), hex] {
            assert_eq!(code(engine.api_key(&text).await), ErrorCode::Unauthenticated);
            assert_eq!(code(engine.authenticate(&text).await), ErrorCode::Unauthenticated);
            assert_eq!(code(engine.login("ana@example.com", &text).await), ErrorCode::Unauthenticated);
        }
    }
}

#[tokio::test]
async fn only_the_host_gives_a_weak_password() {
    let (engine, root, _) = scripted(vec![]).await;
    let (_, admin) = member(&engine, &root, "admin@example.com", Role::Admin).await;
    let weak = |email: &str| NewUser::new(email, "demo").with_weak_password();
    assert_eq!(code(admin.users().create(weak("a@example.com")).await), ErrorCode::PermissionDenied);
    root.users().create(weak("b@example.com")).await.unwrap();
    assert!(engine.login("b@example.com", "demo").await.is_ok());
    let empty = NewUser::new("c@example.com", "").with_weak_password();
    assert_eq!(code(root.users().create(empty).await), ErrorCode::InvalidInput);
}
