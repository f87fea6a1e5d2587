//! API keys: scopes, expiry, rotation, owners, and executions that run by them.

use std::time::Duration;

use blitz::provider::{Reply, Scripted};
use blitz::{
    Engine, ErrorCode, ExecutionStatus, KeyId, ListOptions, NewAgent, NewKey, NewModel, Permission, Role, RunOptions,
    Scope, Timestamp, UserUpdate, Visibility,
};
use serde_json::json;

use super::{member, share_model};
use crate::bad_input::code;
use crate::support::canary;
use crate::support::engine::{scripted, with_provider};
use crate::support::folder::Folder;

fn within(seconds: i64) -> Timestamp {
    Timestamp(Timestamp::now().0 + seconds * 1_000_000)
}

async fn works(session: &blitz::Session) -> Result<(), ErrorCode> {
    session.agents().list(ListOptions::default()).await.map(drop).map_err(|error| error.code())
}

#[tokio::test]
async fn a_key_is_its_owner_within_its_scopes() {
    let (engine, root, _) = with_provider(Scripted::from_fn(|_| Reply::text("hi"))).await;
    share_model(&root).await;
    let (ana, session) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    session.agents().put(NewAgent::new("a", "m")).await.unwrap();
    let whole = session.keys().create(NewKey::new("all of it")).await.unwrap();
    let narrow = [Scope::own(Permission::AgentsRead)];
    let narrow = session.keys().create(NewKey::new("read").with_scopes(narrow)).await.unwrap();
    assert!(whole.key.starts_with("bz_") && whole.key.len() == 59);
    assert!(!format!("{whole:?}").contains(&whole.key));

    let by_whole = engine.api_key(&whole.key).await.unwrap();
    assert_eq!((by_whole.principal().user_id(), by_whole.principal().key_id()), (Some(ana.id), Some(whole.record.id)));
    let done = by_whole.run("a", "x").await.unwrap();
    assert_eq!(done.status, ExecutionStatus::Completed);
    let by_narrow = engine.api_key(&narrow.key).await.unwrap();
    works(&by_narrow).await.unwrap();
    for denied in [
        code(by_narrow.run("a", "x").await),
        code(by_narrow.prompts().list(ListOptions::default()).await),
        code(by_narrow.keys().list(None, ListOptions::default()).await),
        code(by_narrow.executions().get(done.execution_id).await.map_err(|error| {
            assert_eq!(error.code(), ErrorCode::NotFound);
            blitz::Error::new(ErrorCode::PermissionDenied, "")
        })),
    ] {
        assert_eq!(denied, ErrorCode::PermissionDenied);
    }
    let listed = session.keys().list(None, ListOptions::default()).await.unwrap().items;
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|key| key.used_at.is_some()), "{listed:?}");
    let stored = serde_json::to_string(&listed).unwrap();
    assert!(!stored.contains(&whole.key) && stored.contains(&whole.key[..15]), "{stored}");
}

#[tokio::test]
async fn t37_guessed_and_cut_keys_open_nothing_and_stand_nowhere() {
    let (engine, root, _) = scripted(vec![]).await;
    let (_, session) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let key = session.keys().create(NewKey::new("k")).await.unwrap().key;
    let other = session.keys().create(NewKey::new("k")).await.unwrap().key;
    let mixed = format!("{}{}", &key[..16], &other[16..]);
    let mut changed = key.clone();
    changed.replace_range(58..59, if key.ends_with('A') { "B" } else { "A" });
    let query = format!("?api_key={key}");
    let mut messages = std::collections::BTreeSet::new();
    for wrong in
        ["", "bz_", &key[..15], &key[..58], &mixed, &changed, &query, &format!("Bearer {key}"), &"b".repeat(1 << 20)]
    {
        let error = engine.api_key(wrong).await.map(drop).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unauthenticated, "{wrong:.20}");
        messages.insert(format!("{error} {error:?} {}", error.details()));
    }
    assert_eq!(messages.len(), 1, "each failure is the same: {messages:?}");
    assert_eq!(code(engine.authenticate(&key).await), ErrorCode::Unauthenticated, "a key is no token");
    let trail = serde_json::to_string(&root.audit().list(ListOptions::limit(1000)).await.unwrap().items).unwrap();
    assert!(trail.contains("session.api_key") && !trail.contains(&key[16..]) && !trail.contains(&other[16..]));
}

#[tokio::test]
async fn t37_an_address_with_a_key_in_it_is_refused_and_stands_nowhere() {
    let log = canary::Log::read();
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
    let root = engine.root("test");
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::Admin).await;
    let good = NewModel::new("m", "openai", "x").with_base_url("https://h.invalid/v1?api-version=preview");
    root.models().put(good.with_api_key("sk-canary-sealed")).await.unwrap();
    root.models().set_visibility("m", Visibility::Shared).await.unwrap();
    let mut seen = String::new();
    for address in [
        "https://user:KEY@h.invalid/v1",
        "https://KEY@h.invalid/v1",
        "https://h.invalid/v1?api_key=KEY",
        "https://h.invalid/v1?a=b&key=KEY",
        "https://h.invalid/v1?X-Api-Key=KEY",
        "https://h.invalid/v1?tenant=KEY",
        "https://h.invalid/v1#KEY",
        "KEY",
        "ftp://KEY/",
    ] {
        let address = address.replace("KEY", "sk-canary-in-an-address");
        let model = NewModel::new("n", "openai", "x").with_base_url(address.clone());
        let spoiled = json!({"id": "m", "patch": {"base_url": address}});
        for session in [&root, &ana] {
            let refusals = [
                session.models().put(model.clone()).await.map(drop),
                session.models().create(model.clone()).await.map(drop),
                session.call("models.put", json!(model)).await.map(drop),
                session.call("models.update", spoiled.clone()).await.map(drop),
            ];
            for (at, refused) in refusals.into_iter().enumerate() {
                let error = refused.expect_err(&format!("the call {at}"));
                assert_eq!(error.code(), ErrorCode::InvalidInput, "the call {at}: {error}");
                seen.push_str(&canary::shown(&error));
            }
        }
    }
    for address in ["https://user:KEY@h.invalid/", "https://KEY@h.invalid/", "KEY"] {
        let url = address.replace("KEY", "sk-canary-in-an-address");
        let refused = root.call("webhooks.put", json!({"name": "w", "url": url, "secret": "sk-canary long secret"}));
        let error = refused.await.unwrap_err();
        assert!(matches!(error.code(), ErrorCode::InvalidInput | ErrorCode::PermissionDenied), "{error}");
        seen.push_str(&canary::shown(&error));
    }
    // Nobody's key opens anything as a part of an address, whoever made the address.
    let key = ana.keys().create(NewKey::new("k")).await.unwrap().key;
    for way in [format!("https://h.invalid/?api_key={key}"), format!("/api/runs?key={key}"), format!("key={key}")] {
        for refused in [engine.api_key(&way).await.map(drop), engine.authenticate(&way).await.map(drop)] {
            let error = refused.unwrap_err();
            assert_eq!(error.code(), ErrorCode::Unauthenticated);
            seen.push_str(&canary::shown(&error));
        }
    }
    seen.push_str(&json!(root.audit().list(ListOptions::limit(1000)).await.unwrap().items).to_string());
    seen.push_str(&json!(root.models().list(ListOptions::default()).await.unwrap().items).to_string());
    seen.push_str(&log.text());
    assert!(!seen.contains("sk-canary") && !seen.contains(&key[16..]), "{seen}");
    // The folder is searched for the mark when it goes.
    engine.close().await.unwrap();
}

#[tokio::test]
async fn t38_a_key_that_has_ended_opens_nothing_and_reserves_nothing() {
    let (engine, root, provider) = with_provider(Scripted::from_fn(|_| Reply::text("hi"))).await;
    share_model(&root).await;
    let (_, session) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    session.agents().put(NewAgent::new("a", "m")).await.unwrap();
    let key = session.keys().create(NewKey::new("k").with_expiry(within(3600))).await.unwrap();
    let held = engine.api_key(&key.key).await.unwrap();
    let scoped = [Scope::own(Permission::AgentsRead)];
    let scoped = session.keys().create(NewKey::new("k").with_scopes(scoped)).await.unwrap();
    let scoped = engine.api_key(&scoped.key).await.unwrap();
    assert_eq!(code(scoped.run("a", "x").await), ErrorCode::PermissionDenied);

    session.keys().revoke(key.record.id).await.unwrap();

    assert_eq!(code(held.run("a", "x").await), ErrorCode::Unauthenticated);
    assert_eq!(code(engine.api_key(&key.key).await), ErrorCode::Unauthenticated);
    assert!(provider.requests().is_empty());
    assert!(root.costs().list(Default::default(), ListOptions::default()).await.unwrap().items.is_empty());
    let past = session.keys().create(NewKey::new("k").with_expiry(within(-1))).await;
    assert_eq!(code(past), ErrorCode::InvalidInput);
    let short =
        session.keys().create(NewKey::new("k").with_expiry(Timestamp(Timestamp::now().0 + 300_000))).await.unwrap();
    let held = engine.api_key(&short.key).await;
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(code(engine.api_key(&short.key).await), ErrorCode::Unauthenticated);
    if let Ok(held) = held {
        assert_eq!(works(&held).await, Err(ErrorCode::Unauthenticated));
    }
}

#[tokio::test]
async fn t44_a_key_dies_with_its_owner_and_outlives_a_login() {
    let (engine, root, _) = scripted(vec![]).await;
    let mut ended = Vec::new();
    for (number, what) in ["deleted", "disabled", "password", "role"].into_iter().enumerate() {
        let (user, session) = member(&engine, &root, &format!("u{number}@example.com"), Role::BusinessUser).await;
        let key = session.keys().create(NewKey::new("k")).await.unwrap().key;
        let held = engine.api_key(&key).await.unwrap();
        let mut update = UserUpdate::default();
        match what {
            "deleted" => root.users().delete(user.id).await.unwrap(),
            "disabled" => update.active = Some(false),
            "password" => update.password = Some(blitz::Secret::new("sk-canary other passphrase")),
            _ => update.role = Some(Role::Admin),
        }
        if what != "deleted" {
            root.users().update(user.id, update).await.unwrap();
        }
        let alive = engine.api_key(&key).await.is_ok();
        assert_eq!(works(&held).await.is_ok(), alive, "{what}");
        if !alive {
            ended.push(what);
        }
    }
    assert_eq!(ended, ["deleted", "disabled"]);
}

#[tokio::test]
async fn t68_no_key_reaches_further_than_its_owner_and_its_maker() {
    let (engine, root, _) = scripted(vec![]).await;
    let (ana, session) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let (ben, _) = member(&engine, &root, "ben@example.com", Role::BusinessUser).await;
    let (_, admin) = member(&engine, &root, "admin@example.com", Role::Admin).await;
    for wide in
        [Scope::own(Permission::UsersManage), Scope::all(Permission::AgentsRun), Scope::own(Permission::SqlExecute)]
    {
        let new = NewKey::new("wide").with_scopes([wide]);
        assert_eq!(code(session.keys().create(new.clone()).await), ErrorCode::PermissionDenied, "{wide}");
        assert_eq!(code(admin.keys().create(new.for_user(ana.id)).await), ErrorCode::PermissionDenied, "{wide}");
    }
    assert_eq!(code(session.keys().create(NewKey::new("k").for_user(ben.id)).await), ErrorCode::PermissionDenied);
    let given = admin.keys().create(NewKey::new("k").for_user(ben.id)).await.unwrap();
    assert_eq!(engine.api_key(&given.key).await.unwrap().principal().user_id(), Some(ben.id));
    assert_eq!(code(root.keys().create(NewKey::new("k")).await), ErrorCode::InvalidInput, "the host has no keys");

    // A key that makes keys makes none that may more than itself.
    let maker = [Scope::own(Permission::KeysManage), Scope::own(Permission::AgentsRead)];
    let maker = session.keys().create(NewKey::new("maker").with_scopes(maker)).await.unwrap();
    let by_maker = engine.api_key(&maker.key).await.unwrap();
    assert_eq!(code(by_maker.keys().create(NewKey::new("all")).await), ErrorCode::PermissionDenied);
    assert_eq!(code(by_maker.keys().rotate(given.record.id, Duration::ZERO, None).await), ErrorCode::NotFound);
    let narrow = NewKey::new("k").with_scopes([Scope::own(Permission::AgentsRead)]);
    assert!(by_maker.keys().create(narrow).await.is_ok());

    // No method moves a key; other users' keys are not there.
    assert!(blitz::Method::all().all(|method| method.name != "keys.update"));
    for (method, input) in [
        ("keys.get", json!({"id": given.record.id})),
        ("keys.revoke", json!({"id": given.record.id})),
        ("keys.rotate", json!({"id": given.record.id})),
    ] {
        assert_eq!(code(session.call(method, input).await), ErrorCode::NotFound, "{method}");
    }
    let moved = json!({"id": maker.record.id, "user_id": ben.id});
    assert_eq!(code(session.call("keys.rotate", moved).await), ErrorCode::InvalidInput);
    let odd = json!({"name": "k", "scopes": ["agents:fly"]});
    assert_eq!(code(session.call("keys.create", odd).await), ErrorCode::InvalidInput);
    assert_eq!(code(session.keys().get(KeyId(999)).await), ErrorCode::NotFound);
}

#[tokio::test]
async fn a_rotated_key_goes_on_for_its_overlap_and_not_longer() {
    let (engine, root, _) = scripted(vec![]).await;
    let (_, session) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let scopes = [Scope::own(Permission::AgentsRead)];
    let old = session.keys().create(NewKey::new("k").with_scopes(scopes)).await.unwrap();
    let new = session.keys().rotate(old.record.id, Duration::from_secs(60), None).await.unwrap();
    assert_eq!((new.record.scopes.as_deref(), new.record.name.as_str()), (Some(&scopes[..]), "k"));
    for key in [&old.key, &new.key] {
        assert!(engine.api_key(key).await.is_ok());
    }
    let replaced = session.keys().get(old.record.id).await.unwrap();
    assert_eq!(replaced.replaced_by, Some(new.record.id));
    assert!(replaced.expires_at.is_some_and(|end| end <= within(60)));
    assert_eq!(code(session.keys().rotate(old.record.id, Duration::ZERO, None).await), ErrorCode::Conflict);
    let third = session.keys().rotate(new.record.id, Duration::ZERO, None).await.unwrap();
    assert_eq!(code(engine.api_key(&new.key).await), ErrorCode::Unauthenticated);
    assert!(engine.api_key(&third.key).await.is_ok());
    let endless = session.keys().rotate(third.record.id, Duration::from_secs(90 * 24 * 3600), None).await;
    assert_eq!(code(endless), ErrorCode::InvalidInput);
}

#[tokio::test]
async fn t14_a_key_that_only_runs_hears_the_end_of_its_own_run_again() {
    let (engine, root, _) = with_provider(Scripted::from_fn(|_| Reply::text("hi"))).await;
    share_model(&root).await;
    let (_, session) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    session.agents().put(NewAgent::new("a", "m")).await.unwrap();
    let scopes = [Permission::AgentsRun, Permission::ModelsUse].map(Scope::own);
    let key = session.keys().create(NewKey::new("runs").with_scopes(scopes)).await.unwrap();
    let by_key = engine.api_key(&key.key).await.unwrap();
    let keyed = |key: &str| RunOptions::default().with_client_key(key);
    let first = by_key.agents().run_with("a", "x", keyed("mine")).await.unwrap();
    let again = by_key.agents().run_with("a", "x", keyed("mine")).await.unwrap();
    assert_eq!((again.execution_id, again.text()), (first.execution_id, first.text()));
    let heard = by_key.agents().run_heard("a", "x", keyed("mine")).await.unwrap();
    assert_eq!(heard.outcome().await.unwrap().execution_id, first.execution_id);
    assert_eq!(code(by_key.executions().get(first.execution_id).await), ErrorCode::NotFound);
    // What its user began by another way in, it does not read by knowing a key.
    session.agents().run_with("a", "x", keyed("hers")).await.unwrap();
    assert_eq!(code(by_key.agents().run_with("a", "x", keyed("hers")).await), ErrorCode::NotFound);
    assert_eq!(session.agents().run_with("a", "x", keyed("mine")).await.unwrap().execution_id, first.execution_id);
}
