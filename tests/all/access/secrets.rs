//! Secrets with names: set, listed, deleted, referred to, and never read back.

use std::sync::{Arc, Mutex};

use blitz::provider::{Reply, Scripted};
use blitz::tool::{FunctionTool, ToolError};
use blitz::{
    Engine, EngineSettings, ErrorCode, ListOptions, NewModel, NewRole, NewTool, NewUser, Permission, Role, Scope,
    Secret, tool_fn,
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{PASSWORD, member};
use crate::bad_input::code;
use crate::support::engine::scripted;
use crate::support::folder::Folder;

const CANARY: &str = "sk-canary-of-a-named-secret";

#[tokio::test]
async fn t59_a_named_secret_is_sealed_and_nothing_reads_it_back() {
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
    let root = engine.root("test");
    let set = root.secrets().set("openai", Secret::new(CANARY)).await.unwrap();
    assert_eq!(set.name, "openai");
    root.models().put(NewModel::new("m", "openai", "gpt-4o").with_api_key_secret("openai")).await.unwrap();
    let mut shown = format!("{set:?}");
    for (method, input) in [
        ("secrets.list", json!({})),
        ("secrets.set", json!({"name": "openai", "value": CANARY})),
        ("models.get", json!({"id": "m"})),
        ("models.list", json!({})),
        ("audit.list", json!({"limit": 1000})),
        ("audit.export", json!({})),
    ] {
        shown.push_str(&root.call(method, input).await.unwrap().to_string());
    }
    assert!(!shown.contains("canary"), "{shown}");
    assert!(blitz::Method::all().filter(|m| m.name.starts_with("secrets.")).all(|m| !m.name.ends_with(".get")));
    engine.close().await.unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()));
    }
}

#[tokio::test]
async fn t59_a_value_moved_to_another_row_does_not_open() {
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let engine = Engine::open(path.to_str().unwrap()).await.unwrap();
    let root = engine.root("test");
    for name in ["one", "two"] {
        root.secrets().set(name, Secret::new(CANARY)).await.unwrap();
    }
    root.models().put(NewModel::new("m", "openai", "gpt-4o").with_api_key_secret("two")).await.unwrap();
    root.agents().put(blitz::NewAgent::new("a", "m")).await.unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    let swap = "UPDATE secrets SET sealed = (SELECT o.sealed FROM secrets o WHERE o.owner_table = 'named_secrets' AND \
                o.owner_id = 1) WHERE owner_table = 'named_secrets' AND owner_id = 2";
    assert_eq!(file.execute(swap, []).unwrap(), 1);
    engine.allow_real_requests(false);
    assert_eq!(code(root.run("a", "x").await), ErrorCode::Storage);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn who_may_set_refer_to_and_delete_a_secret() {
    let (engine, root, _) = scripted(vec![]).await;
    let setter = [Scope::own(Permission::SecretsSet), Scope::own(Permission::ModelsCreate)];
    root.roles().create(NewRole::new("setter", setter)).await.unwrap();
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::from_name("setter").unwrap()).await;
    let (_, ben) = member(&engine, &root, "ben@example.com", Role::BusinessUser).await;
    root.secrets().set("hosts", Secret::new(CANARY)).await.unwrap();
    let denied = ErrorCode::PermissionDenied;

    ana.secrets().set("anas", Secret::new(CANARY)).await.unwrap();
    ana.secrets().set("anas", Secret::new("sk-canary-another")).await.unwrap();
    assert_eq!(code(ana.secrets().set("hosts", Secret::new("sk-canary-stolen")).await), denied);
    assert_eq!(code(ana.secrets().delete("hosts").await), denied);
    assert_eq!(code(ana.secrets().list(ListOptions::default()).await), denied, "setting is not using");
    let model = NewModel::new("x", "openai", "y").with_base_url("https://evil.example").with_api_key_secret("hosts");
    assert_eq!(code(ana.models().put(model).await), denied, "no key goes where its user may not send it");
    for refused in [
        code(ben.secrets().set("x", Secret::new("y")).await),
        code(ben.secrets().list(ListOptions::default()).await),
        code(ben.secrets().delete("anas").await),
        code(ben.secrets().rotate_master_key(None).await),
    ] {
        assert_eq!(refused, denied);
    }
    let gone = NewModel::new("x", "openai", "y").with_api_key_secret("gone");
    assert_eq!(code(root.models().put(gone).await), ErrorCode::NotFound);
    for (name, value) in [("", "x"), ("a/b", "x"), ("x", ""), ("x", &"y".repeat(70_000))] {
        assert_eq!(code(root.secrets().set(name, Secret::new(value)).await), ErrorCode::InvalidInput, "{name}");
    }
    root.secrets().delete("anas").await.unwrap();
    assert_eq!(code(root.secrets().delete("anas").await), ErrorCode::NotFound);
    let names = root.secrets().list(ListOptions::default()).await.unwrap().items;
    assert_eq!(names.iter().map(|secret| secret.name.as_str()).collect::<Vec<_>>(), ["hosts"]);
}

#[tokio::test]
async fn a_model_whose_secret_is_gone_says_so() {
    let (_engine, root, _) = scripted(vec![]).await;
    root.secrets().set("k", Secret::new(CANARY)).await.unwrap();
    root.models().put(NewModel::new("with", "scripted", "any").with_api_key_secret("k")).await.unwrap();
    root.agents().put(blitz::NewAgent::new("a", "with")).await.unwrap();
    root.secrets().delete("k").await.unwrap();
    let error = root.run("a", "x").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert!(error.to_string().contains("secret") && !error.to_string().contains("canary"), "{error}");
}

#[tokio::test]
async fn the_master_key_of_a_host_is_replaced() {
    let folder = Folder::new();
    let path = folder.path().join("a.db").to_str().unwrap().to_owned();
    let (old, new) = ("07".repeat(32), "08".repeat(32));
    let open = async |key: &str| {
        let settings = json!({"database_url": path, "master_key": key});
        Engine::open_with(EngineSettings::from_json(settings).unwrap()).await
    };
    let engine = open(&old).await.unwrap();
    let root = engine.root("test");
    root.users().create(NewUser::new("ana@example.com", PASSWORD)).await.unwrap();
    let key = engine.login("ana@example.com", PASSWORD).await.unwrap().keys();
    let key = key.create(blitz::NewKey::new("k")).await.unwrap().key;
    for wrong in [None, Some("short"), Some(old.as_str())] {
        let refused = root.secrets().rotate_master_key(wrong.map(Secret::new)).await;
        assert_eq!(code(refused), ErrorCode::InvalidInput);
    }
    root.secrets().rotate_master_key(Some(Secret::new(&new))).await.unwrap();
    engine.close().await.unwrap();
    assert_eq!(code(open(&old).await), ErrorCode::Storage);
    let engine = open(&new).await.unwrap();
    assert!(engine.login("ana@example.com", PASSWORD).await.is_ok() && engine.api_key(&key).await.is_ok());
    assert_eq!(engine.root("test").audit().verify(None).await.unwrap().first_bad, None);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_secret_by_its_name_goes_with_every_kind_of_call_and_is_read_anew_for_each() {
    use crate::support::server::{Reply, Server};
    let answer = json!({"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}]});
    let vectors = json!({"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1}});
    let server = Server::start([
        Reply::json(200, &answer),
        Reply::json(200, &vectors),
        Reply::json(200, &answer),
        Reply::json(200, &vectors),
    ])
    .await;
    let engine = Engine::open(":memory:").await.unwrap();
    let root = engine.root("test");
    root.secrets().set("key", Secret::new(CANARY)).await.unwrap();
    let model = NewModel::new("m", "openai", "any").with_base_url(server.url()).with_api_key_secret("key");
    root.models().put(model).await.unwrap();
    root.agents().put(blitz::NewAgent::new("a", "m")).await.unwrap();
    for value in [CANARY, "sk-the-next-one"] {
        root.secrets().set("key", Secret::new(value)).await.unwrap();
        root.run("a", "x").await.unwrap().text();
        let bearer = format!("Bearer {value}");
        assert_eq!(server.last_request().header("authorization"), Some(bearer.as_str()), "a run");
        root.models().embed("m", ["x"]).await.unwrap();
        assert_eq!(server.last_request().header("authorization"), Some(bearer.as_str()), "an embedding");
    }
    root.secrets().delete("key").await.unwrap();
    assert_eq!(code(root.models().embed("m", ["x"]).await), ErrorCode::InvalidInput);
    assert_eq!(code(root.run("a", "x").await), ErrorCode::InvalidInput);
}

/// Whatever the model says, the tool gets the secret; whatever the tool says, nobody reads it.
#[tokio::test]
async fn t51_t58_t59_an_agents_tool_is_given_a_secret_that_its_model_never_sees() {
    let replies = [
        Reply::tool_calls(vec![("send", json!({"to": "ana"})), ("send", json!({"to": "ben", "token": "guess"}))]),
        Reply::tool_call("repeat", json!({})),
        Reply::text("done"),
    ];
    let folder = Folder::new();
    let script = Scripted::new(replies);
    let path = folder.path().join("a.db");
    let engine = Engine::builder(path.to_str().unwrap()).with_provider(script.clone()).open().await.unwrap();
    let root = engine.root("test");
    root.models().put(crate::support::engine::priced("m")).await.unwrap();
    root.secrets().set("github", Secret::new(CANARY)).await.unwrap();
    let given = Arc::new(Mutex::new(Vec::new()));
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["to", "token"],
        "properties": {"to": {"type": "string"}, "token": {"type": "string"}}});
    let log = Arc::clone(&given);
    let send = FunctionTool::from_json_schema("send", "Sends.", schema, move |arguments: Value, _| {
        log.lock().unwrap().push(arguments.clone());
        async move { Ok::<_, ToolError>(json!({"sent_with": arguments["token"]})) }
    });
    root.tools().register(send.with_secret("token", "github")).await.unwrap();
    let repeat = tool_fn!("repeat", "", |_: ()| async { Ok(format!("I remember {CANARY}")) });
    root.tools().register(repeat).await.unwrap();
    root.agents().put(crate::support::engine::agent("a", &["send", "repeat"])).await.unwrap();
    let done = root.run("a", "x").await.unwrap();

    assert_eq!(
        *given.lock().unwrap(),
        [json!({"to": "ana", "token": CANARY})],
        "what the model may not give it may not guess"
    );
    let asked = format!("{:?}", script.requests());
    assert!(!asked.contains(CANARY) && asked.contains("sent_with") && asked.contains("I remember ***"), "{asked}");
    let seen = serde_json::to_string(&script.requests()[0].tools).unwrap();
    assert!(seen.contains("\"to\"") && !seen.contains("token"), "{seen}");
    let events: Vec<_> = root.executions().events(done.execution_id, 0).map(Result::unwrap).collect().await;
    assert!(!format!("{done:?} {events:?}").contains(CANARY));

    // Another value is read at the next call; without one the model is told, and no call is made.
    root.secrets().delete("github").await.unwrap();
    let more = Scripted::new([Reply::tool_call("send", json!({"to": "cem"})), Reply::text("done")]).named("more");
    engine.register_provider(more.clone());
    root.models().put(NewModel::new("m", "more", "x")).await.unwrap();
    root.run("a", "x").await.unwrap();
    assert_eq!(given.lock().unwrap().len(), 1);
    assert!(format!("{:?}", more.requests()[1]).contains("github"), "{:?}", more.requests()[1]);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_tool_names_secrets_that_are_there_for_arguments_that_it_has() {
    let (engine, root, _) = scripted(vec![]).await;
    root.secrets().set("k", Secret::new(CANARY)).await.unwrap();
    let schema = json!({"type": "object", "properties": {"token": {"type": "string"}}});
    let tool = |name: &str| NewTool::function(name, "", schema.clone());
    assert_eq!(code(root.tools().put(tool("t").with_secret("token", "none")).await), ErrorCode::NotFound);
    assert_eq!(code(root.tools().put(tool("t").with_secret("other", "k")).await), ErrorCode::InvalidInput);
    let builtin = NewTool::builtin("calculator").with_secret("token", "k");
    assert_eq!(code(root.tools().put(builtin).await), ErrorCode::InvalidInput);
    let kept = root.tools().put(tool("t").with_secret("token", "k")).await.unwrap();
    assert_eq!(kept.spec.secrets["token"], "k");
    // Whoever may make tools and use no secrets puts none that is given one.
    let maker = json!({"name": "maker", "permissions": ["tools:create", "tools:read", "tools:edit"]});
    root.call("roles.create", maker).await.unwrap();
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::from_name("maker").unwrap()).await;
    assert_eq!(code(ana.tools().put(tool("mine").with_secret("token", "k")).await), ErrorCode::PermissionDenied);
    assert!(ana.tools().put(tool("mine")).await.is_ok());
}
