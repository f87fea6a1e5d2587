//! Catalogue records: names, revisions, sharing, secrets.

use serde_json::json;

use super::{World, code};
use crate::access::Target;
use crate::domain::{
    ListOptions, NewAgent, NewModel, NewPrompt, NewTool, Patch, Permission, ResourceKind, ResourceRef, Role, Share,
    ShareLevel, Visibility,
};
use crate::error::ErrorCode;

fn patch(value: serde_json::Value) -> Patch {
    value.as_object().unwrap().clone()
}

fn by(name: &str) -> ResourceRef {
    ResourceRef::from(name)
}

#[tokio::test]
async fn putting_twice_changes_nothing() {
    let world = World::new();
    let (gate, root) = (&world.gate, &world.root);
    let first = gate.put(root, NewPrompt::new("greet", "Hello {name}"), Visibility::Private).await.unwrap();
    let again = gate.put(root, NewPrompt::new("greet", "Hello {name}"), Visibility::Shared).await.unwrap();
    assert_eq!(first, again);
    let changed = gate.put(root, NewPrompt::new("greet", "Hi {name}"), Visibility::Private).await.unwrap();
    assert_eq!((changed.id, changed.revision), (first.id, 2));
    assert_ne!(changed.hash, first.hash);

    let back = gate.put(root, NewPrompt::new("greet", "Hello {name}"), Visibility::Private).await.unwrap();
    assert_eq!((back.revision, &back.hash), (3, &first.hash));
    let versions = gate.prompt_versions(root, by("greet"), ListOptions::default()).await.unwrap().items;
    let texts: Vec<_> = versions.iter().map(|v| (v.version, v.spec.template.as_str())).collect();
    assert_eq!(texts, [(1, "Hello {name}"), (2, "Hi {name}"), (3, "Hello {name}")]);
    assert_eq!(gate.prompt_version(root, by("greet"), 2).await.unwrap().hash, changed.hash);
    assert_eq!(code(gate.prompt_version(root, by("greet"), 9).await), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn the_hash_does_not_depend_on_the_order_of_fields() {
    let world = World::new();
    let tool = |schema: &str| NewTool::function("t", "A tool.", serde_json::from_str(schema).unwrap());
    let (one, other) =
        (r#"{"type":"object","properties":{"b":{},"a":{}}}"#, r#"{"properties":{"a":{},"b":{}},"type":"object"}"#);
    let first = world.gate.put(&world.root, tool(one), Visibility::Private).await.unwrap();
    let again = world.gate.put(&world.root, tool(other), Visibility::Private).await.unwrap();
    assert_eq!((again.revision, &again.hash), (1, &first.hash));
    let stored = world.gate.get::<NewTool>(&world.root, by("t")).await.unwrap();
    assert_eq!(stored.spec.input_schema.unwrap().to_string(), one, "the order that models see is kept");
}

#[tokio::test]
async fn names_are_refused_where_people_would_mix_them_up() {
    let world = World::new();
    let long = "x".repeat(129);
    for bad in ["", " a", "a ", "a/b", "a\nb", "a\0", "z\u{200b}z", "re\u{301}sume\u{301}", long.as_str()] {
        let result = world.gate.create(&world.root, NewPrompt::new(bad, "x"), Visibility::Private).await;
        assert_eq!(code(result), Some(ErrorCode::InvalidInput), "{bad:?}");
    }
    for good in ["a", "r\u{e9}sum\u{e9} v2", "\u{65e5}\u{672c}", &"x".repeat(128)] {
        world.gate.create(&world.root, NewPrompt::new(good, "x"), Visibility::Private).await.unwrap();
    }
}

#[tokio::test]
async fn names_are_unique_per_owner_and_among_shared_ones() {
    let world = World::new();
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    let (_, bob) = world.user("bob@example.com", Role::BusinessUser).await;
    let (_, admin) = world.user("admin@example.com", Role::Admin).await;
    let gate = &world.gate;
    let prompt = |text: &str| NewPrompt::new("p", text);
    gate.create(&ana, prompt("ana's"), Visibility::Private).await.unwrap();
    gate.create(&bob, prompt("bob's"), Visibility::Private).await.unwrap();
    assert_eq!(code(gate.create(&ana, prompt("x"), Visibility::Private).await), Some(ErrorCode::Conflict));
    let shared = gate.create(&admin, prompt("shared"), Visibility::Shared).await.unwrap();
    assert_eq!(code(gate.create(&world.root, prompt("x"), Visibility::Shared).await), Some(ErrorCode::Conflict));

    let text = async |caller, name: &str| gate.get::<NewPrompt>(caller, by(name)).await.map(|r| r.spec.template);
    assert_eq!(text(&ana, "p").await.unwrap(), "ana's", "one's own comes before the shared one");
    gate.delete::<NewPrompt>(&ana, by("p")).await.unwrap();
    assert_eq!(text(&ana, "p").await.unwrap(), "shared");
    assert_eq!(code(text(&ana, "bob@example.com/p").await), Some(ErrorCode::NotFound));
    assert_eq!(text(&admin, "Bob@example.com/p").await.unwrap(), "bob's");
    gate.create(&ana, prompt("new"), Visibility::Private).await.unwrap();

    gate.set_visibility::<NewPrompt>(&admin, shared.id.into(), Visibility::Private).await.unwrap();
    let bobs = || by("bob@example.com/p");
    gate.set_visibility::<NewPrompt>(&admin, bobs(), Visibility::Shared).await.unwrap();
    let taken = gate.set_visibility::<NewPrompt>(&admin, shared.id.into(), Visibility::Shared).await;
    assert_eq!(code(taken), Some(ErrorCode::Conflict));
}

#[tokio::test]
async fn only_admins_open_to_everybody() {
    let world = World::new();
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    let denied = Some(ErrorCode::PermissionDenied);
    assert_eq!(code(world.gate.create(&ana, NewPrompt::new("p", "x"), Visibility::Shared).await), denied);
    world.gate.create(&ana, NewPrompt::new("p", "x"), Visibility::Private).await.unwrap();
    let opened = world.gate.set_visibility::<NewPrompt>(&ana, by("p"), Visibility::Shared).await;
    assert_eq!(code(opened), denied);
    assert_eq!(world.trail_lines().await.iter().filter(|line| line.ends_with("denied")).count(), 2);
}

#[tokio::test]
async fn t39_shares_open_as_far_as_they_say() {
    let world = World::new();
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    let (bob_id, bob) = world.user("bob@example.com", Role::BusinessUser).await;
    let gate = &world.gate;
    let id = gate.create(&ana, NewPrompt::new("p", "x"), Visibility::Private).await.unwrap().id;
    let edit = async || gate.update::<NewPrompt>(&bob, id.into(), patch(json!({"template": "y"})), Ok).await;
    assert_eq!(code(edit().await), Some(ErrorCode::NotFound));
    gate.share::<NewPrompt>(&ana, id.into(), Share::with_role("business_user", ShareLevel::View)).await.unwrap();
    assert_eq!(code(edit().await), Some(ErrorCode::PermissionDenied));
    gate.share::<NewPrompt>(&ana, id.into(), Share::with_user("BOB@example.com", ShareLevel::Edit)).await.unwrap();
    assert_eq!(edit().await.unwrap().revision, 2);
    let on = gate.share::<NewPrompt>(&bob, id.into(), Share::with_user("bob@example.com", ShareLevel::Manage)).await;
    assert_eq!(code(on), Some(ErrorCode::PermissionDenied), "who may edit may not share on");
    assert_eq!(gate.shares::<NewPrompt>(&ana, id.into()).await.unwrap().len(), 2);

    let share = || Share::with_user(bob_id.to_string(), ShareLevel::View);
    gate.unshare::<NewPrompt>(&ana, id.into(), share()).await.unwrap();
    assert_eq!(code(gate.unshare::<NewPrompt>(&ana, id.into(), share()).await), Some(ErrorCode::NotFound));
    assert_eq!(code(edit().await), Some(ErrorCode::PermissionDenied));
    let nobody = Share::with_user("eve@example.com", ShareLevel::View);
    assert_eq!(code(gate.share::<NewPrompt>(&ana, id.into(), nobody).await), Some(ErrorCode::NotFound));
    let nothing = Share { user: None, role: None, level: ShareLevel::View };
    assert_eq!(code(gate.share::<NewPrompt>(&ana, id.into(), nothing).await), Some(ErrorCode::InvalidInput));
}

#[tokio::test]
async fn the_host_is_not_met_by_shares_with_roles() {
    let world = World::new();
    world.model().await;
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    world.agent(&world.root, "hosts", Visibility::Private).await;
    assert_eq!(code(world.gate.get::<NewAgent>(&ana, by("hosts")).await), Some(ErrorCode::NotFound));
    assert!(world.gate.list::<NewAgent>(&ana, ListOptions::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn lists_hold_what_is_open_in_pages() {
    let world = World::new();
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    let (_, bob) = world.user("bob@example.com", Role::BusinessUser).await;
    let gate = &world.gate;
    for name in ["a1", "a2", "a3"] {
        gate.create(&ana, NewPrompt::new(name, "x"), Visibility::Private).await.unwrap();
    }
    gate.create(&world.root, NewPrompt::new("all", "x"), Visibility::Shared).await.unwrap();
    gate.create(&bob, NewPrompt::new("b", "x"), Visibility::Private).await.unwrap();
    gate.share::<NewPrompt>(&bob, by("b"), Share::with_user("ana@example.com", ShareLevel::View)).await.unwrap();
    gate.delete::<NewPrompt>(&ana, by("a2")).await.unwrap();

    let mut names = Vec::new();
    let mut options = ListOptions::limit(2);
    loop {
        let page = gate.list::<NewPrompt>(&ana, options).await.unwrap();
        assert!(page.items.len() <= 2);
        names.extend(page.items.into_iter().map(|record| record.spec.name));
        let Some(cursor) = page.next_cursor else { break };
        options = ListOptions::limit(2).after(cursor);
    }
    assert_eq!(names, ["a1", "a3", "all", "b"]);
    assert_eq!(gate.list::<NewPrompt>(&bob, ListOptions::limit(0)).await.unwrap().items.len(), 1);
    assert_eq!(gate.list::<NewPrompt>(&world.root, ListOptions::limit(9999)).await.unwrap().items.len(), 4);
}

#[tokio::test]
async fn a_patch_changes_the_fields_it_names() {
    let world = World::new();
    world.model().await;
    let (gate, root) = (&world.gate, &world.root);
    world.agent(root, "a", Visibility::Private).await;
    world.agent(root, "taken", Visibility::Private).await;
    let update = async |change| gate.update::<NewAgent>(root, by("a"), patch(change), Ok).await;
    let record = update(json!({"description": "new", "limits": {"max_turns": 3}})).await.unwrap();
    assert_eq!((record.spec.description.as_str(), record.revision), ("new", 2));
    let record = update(json!({"description": null})).await.unwrap();
    assert_eq!(record.spec.description, "");
    let unknown = update(json!({"owner_id": 1})).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.to_string().contains("`owner_id`")), (ErrorCode::InvalidInput, true));
    let wrong = update(json!({"description": "fine", "tools": "sk-in-the-wrong-field"})).await.unwrap_err();
    assert!(wrong.to_string().contains("`tools`") && !wrong.chain().contains("sk-in"), "{}", wrong.chain());
    assert_eq!(code(update(json!({"name": "taken"})).await), Some(ErrorCode::Conflict));
    assert_eq!(code(update(json!({"model": "none"})).await), Some(ErrorCode::NotFound));
    let renamed = update(json!({"name": "b"})).await.unwrap();
    assert_eq!(gate.get::<NewAgent>(root, by("b")).await.unwrap(), renamed);
    assert_eq!(code(gate.get::<NewAgent>(root, by("a")).await), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn an_agent_names_only_what_its_author_may_use() {
    let world = World::new();
    world.model().await;
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    let (_, admin) = world.user("admin@example.com", Role::Admin).await;
    let gate = &world.gate;
    gate.create(&admin, NewModel::new("secret", "offline", "x"), Visibility::Private).await.unwrap();
    world.agent(&ana, "fine", Visibility::Private).await;
    let refused = async |model: &str| {
        let error = gate.create(&ana, NewAgent::new("x", model), Visibility::Private).await.unwrap_err();
        (error.code(), error.chain().replace(model, "m"))
    };
    let absent = refused("admin@example.com/absent").await;
    assert_eq!(absent.0, ErrorCode::NotFound);
    assert_eq!(refused("admin@example.com/secret").await, absent);
    let lines = world.trail_lines().await;
    assert_eq!(
        lines.iter().filter(|line| line.contains("agents.create model:") && line.ends_with("denied")).count(),
        1
    );
}

#[tokio::test]
async fn t69_a_business_user_registers_no_tool_and_no_model() {
    let world = World::new();
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    let tool = NewTool::builtin("file_read").with_config("root", "/");
    let denied = Some(ErrorCode::PermissionDenied);
    assert_eq!(code(world.gate.put(&ana, tool, Visibility::Private).await), denied);
    let model = NewModel::new("m", "openai", "x").with_base_url("http://127.0.0.1:1");
    assert_eq!(code(world.gate.put(&ana, model, Visibility::Private).await), denied);
}

#[tokio::test]
async fn a_key_is_sealed_kept_and_dropped_with_its_host() {
    let world = World::new();
    let (gate, root) = (&world.gate, &world.root);
    let model = || NewModel::new("m", "openai", "x").with_base_url("https://one.example/v1");
    let record = gate.put(root, model().with_api_key("sk-canary"), Visibility::Private).await.unwrap();
    assert_eq!(record.spec.api_key, None);
    let key = async || {
        let model = record.clone();
        let read = world.work.read(move |tx, standing| standing.model_secrets(tx, &model));
        read.await.unwrap().key.map(|key| key.expose().to_owned())
    };
    assert_eq!(key().await.as_deref(), Some("sk-canary"));
    let kept = gate.put(root, model(), Visibility::Private).await.unwrap();
    assert_eq!((kept.revision, key().await.as_deref()), (1, Some("sk-canary")));
    let update = async |change| gate.update::<NewModel>(root, by("m"), patch(change), Ok).await.unwrap();
    update(json!({"base_url": "https://ONE.example/v2"})).await;
    assert_eq!(key().await.as_deref(), Some("sk-canary"), "another path of the same host");
    update(json!({"base_url": "https://two.example/v1"})).await;
    assert_eq!(key().await, None);
    let changed = update(json!({"api_key": "sk-other"})).await;
    assert_eq!((changed.spec.api_key, key().await.as_deref()), (None, Some("sk-other")));
    update(json!({"api_key": null})).await;
    assert_eq!(key().await, None);

    let count = world.work.read(|tx, _| {
        let bodies = tx.query_all("SELECT body FROM definitions LIMIT 1000", &[])?;
        let details = tx.query_all("SELECT details FROM audit_logs LIMIT 1000", &[])?;
        let texts: Vec<_> = bodies.iter().chain(&details).map(|row| row.text(0).unwrap().to_owned()).collect();
        Ok(texts.iter().filter(|text| text.contains("sk-") || text.contains("***")).count())
    });
    assert_eq!(count.await.unwrap(), 0);
}

#[tokio::test]
async fn a_reference_of_another_noun_is_not_found() {
    let world = World::new();
    world.model().await;
    let agent = world.agent(&world.root, "a", Visibility::Private).await;
    assert_eq!(code(world.gate.get::<NewModel>(&world.root, agent.id.into()).await), Some(ErrorCode::NotFound));
    let target = Target::Resource(ResourceKind::Agent, by("a"));
    let seen = world
        .gate
        .read(&world.root, Permission::AgentsRun, target, |_, grant| Ok(grant.resource().map(|row| row.name.clone())));
    assert_eq!(seen.await.unwrap().as_deref(), Some("a"));
    assert_eq!(
        code(world.gate.get::<NewAgent>(&world.root, by(&"x".repeat(100_000))).await),
        Some(ErrorCode::NotFound)
    );
}
