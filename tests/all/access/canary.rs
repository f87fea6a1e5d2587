//! Ways in are secrets: none of them stands in a log, an error, a file, the trail or what is printed.

use std::fmt::Write as _;

use blitz::{Engine, ListOptions, Login, NewKey, NewModel, NewUser, Secret, TokenAlgorithm, TokenKind, UserUpdate};
use serde_json::json;

use super::PASSWORD;
use crate::support::canary;
use crate::support::folder::Folder;

/// An error in every form that it can be shown in.
fn told<T>(shown: &mut String, result: blitz::Result<T>) {
    if let Err(error) = result {
        shown.push_str(&canary::shown(&error));
    }
}

#[tokio::test]
async fn t58_t59_no_way_in_stands_anywhere() {
    let log = canary::Log::read();
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
    let root = engine.root("test");
    let mut shown = String::new();
    let mut secrets = vec![PASSWORD.to_owned(), "sk-canary other passphrase".to_owned(), "sk-canary-named".to_owned()];

    let ana = root.users().create(NewUser::new("ana@example.com", PASSWORD)).await.unwrap();
    let login = engine.login_with(Login::new("ana@example.com", PASSWORD).from("203.0.113.7")).await.unwrap();
    let opaque = login.sessions().tokens(TokenKind::Session).await.unwrap();
    let jwt = login.sessions().tokens(TokenKind::Jwt).await.unwrap();
    let next = engine.refresh(jwt.refresh_token.as_deref().unwrap()).await.unwrap();
    let key = login.keys().create(NewKey::new("k")).await.unwrap();
    let rotated = login.keys().rotate(key.record.id, std::time::Duration::ZERO, None).await.unwrap();
    let reset = root.users().reset_password(ana.id).await.unwrap();
    let _ = write!(shown, "{opaque:?} {jwt:?} {key:?} {reset:?} {:?}", Login::new("a", PASSWORD));
    root.secrets().set("named", Secret::new("sk-canary-named")).await.unwrap();
    root.models().put(NewModel::new("m", "openai", "x").with_api_key_secret("named")).await.unwrap();
    root.sessions().rotate_token_key(Some(TokenAlgorithm::EdDsa), false).await.unwrap();
    let ed = login.sessions().tokens(TokenKind::Jwt).await.unwrap();
    for tokens in [&opaque, &jwt, &next, &ed] {
        secrets.push(tokens.access_token.clone());
        secrets.extend(tokens.refresh_token.clone());
    }
    secrets.extend([key.key[16..].to_owned(), rotated.key[16..].to_owned(), reset.token.clone()]);

    // Each of them in every wrong place.
    for secret in secrets.clone() {
        told(&mut shown, engine.authenticate(&format!("{secret}x")).await);
        told(&mut shown, engine.api_key(&format!("bz_0123456789ab_{secret}")).await);
        told(&mut shown, engine.refresh(&format!("{secret}x")).await);
        told(&mut shown, engine.set_password(&format!("{secret}x"), &secret).await);
        told(&mut shown, engine.login(&secret, &secret).await);
        for (method, input) in [
            ("keys.create", json!({"name": "k", "scopes": [secret]})),
            ("keys.create", json!({"name": "k", "expires_at": secret})),
            ("keys.revoke", json!({"id": secret})),
            ("sessions.tokens", json!({"kind": secret})),
            ("sessions.revoke", json!({"id": secret})),
            ("roles.create", json!({"name": secret, "permissions": [secret]})),
            ("users.create", json!({"email": secret, "password": secret})),
            ("users.create", json!({"email": "x@example.com", "password": "x", "role": secret})),
            ("users.import", json!({"email": "x@example.com", "password_hash": secret})),
            ("users.change_password", json!({"old_password": secret, "new_password": secret})),
            ("secrets.set", json!({"name": "a/b", "value": secret})),
            ("secrets.rotate_master_key", json!({"key": secret})),
            ("audit.verify", json!({"head": secret})),
        ] {
            told(&mut shown, root.call(method, input).await);
        }
    }
    // A webhook with its secret, calls by each way in, and everything that is written out.
    secrets.push("sk-canary-of-a-webhook".to_owned());
    let hook = json!({"name": "h", "url": "https://hooks.example.com/in", "events": ["budget.alert"],
        "secret": "sk-canary-of-a-webhook"});
    shown.push_str(&root.call("webhooks.put", hook).await.unwrap().to_string());
    root.models().put(NewModel::new("off", "offline", "offline")).await.unwrap();
    root.models().set_visibility("off", blitz::Visibility::Shared).await.unwrap();
    root.agents().put(blitz::NewAgent::new("a", "off")).await.unwrap();
    root.agents().set_visibility("a", blitz::Visibility::Shared).await.unwrap();
    engine.api_key(&rotated.key).await.unwrap().run("a", "rivers carry water").await.unwrap();
    engine.authenticate(&next.access_token).await.unwrap().run("a", "rivers carry water").await.unwrap();
    root.clone().with_request_id("r-1").run("a", "rivers carry water").await.unwrap();
    let everything = json!(["user", "role", "key", "model", "provider", "agent", "workflow", "prompt", "tags"]);
    for (method, input) in [
        ("usage.query", json!({"by": everything, "every": "hour"})),
        ("usage.export", json!({"query": {"by": everything}, "format": "csv"})),
        ("usage.export", json!({"query": {"by": everything}, "format": "jsonl"})),
        ("audit.export", json!({"format": "csv", "page": {"limit": 1000}})),
        ("audit.export", json!({"format": "jsonl", "page": {"limit": 1000}})),
        ("costs.list", json!({})),
        ("costs.summary", json!({})),
        ("executions.list", json!({})),
        ("webhooks.list", json!({})),
        ("alerts.list", json!({})),
        ("prices.versions", json!({})),
    ] {
        shown.push_str(&root.call(method, input).await.unwrap().to_string());
    }
    // A replay, and the end of everything.
    told(&mut shown, engine.refresh(jwt.refresh_token.as_deref().unwrap()).await);
    engine.set_password(&reset.token, "sk-canary other passphrase").await.unwrap();
    root.secrets().rotate_master_key(None).await.unwrap();
    let mut off = UserUpdate::default();
    off.password = Some(Secret::new("sk-canary other passphrase"));
    let _ = write!(shown, "{off:?}");

    for method in
        ["audit.list", "users.list", "keys.list", "sessions.list", "secrets.list", "roles.list", "models.list"]
    {
        shown.push_str(&root.call(method, json!({})).await.unwrap().to_string());
    }
    shown.push_str(&serde_json::to_string(&root.audit().list(ListOptions::limit(1000)).await.unwrap()).unwrap());
    shown.push_str(&root.call("sessions.token_keys", json!({})).await.unwrap().to_string());
    shown.push_str(&log.text());
    let master = std::fs::read_to_string(folder.path().join("a.db.key")).unwrap();
    secrets.push(master.trim().to_owned());
    for secret in &secrets {
        assert!(!shown.contains(secret.as_str()), "{:.12}… is shown", secret);
    }
    let files = |when: &str| {
        for file in std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()) {
            let bytes = std::fs::read(&file).unwrap();
            for secret in secrets.iter().filter(|_| !file.to_string_lossy().contains(".key")) {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{:.12}… is in {} {when}", secret, file.display());
            }
        }
    };
    files("while it is open");
    engine.close().await.unwrap();
    files("once it is closed");
}
