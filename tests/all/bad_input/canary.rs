//! What is secret and what is private is in no error, and what is secret is in no file.

use std::time::Duration;

use blitz::{
    Engine, ErrorCode, ExecutionStatus, ListOptions, NewAgent, NewModel, NewPrompt, NewUser, PromptRef, RetryPolicy,
    Role, Secret, UserUpdate, tool_fn,
};
use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use crate::support::canary::{Log, shown};
use crate::support::folder::Folder;
use crate::support::server::{Reply, Server};

const API_KEY: &str = "sk-canary-1f6a0c";
const PASSWORD: &str = "sk-canary passphrase 7d3e";
const PROMPT: &str = "canary question 9b21";

fn silent(text: &str, what: &str) {
    assert!(!text.contains("canary"), "a secret or a prompt is in {what}: {text}");
}

#[tokio::test]
async fn t58_no_error_repeats_a_key_a_password_or_a_prompt() {
    let echo = |status: u16| {
        let text = format!("{API_KEY} {PROMPT}");
        Reply::json(status, &json!({"error": {"code": API_KEY, "message": text, "param": PROMPT, "type": API_KEY}}))
    };
    let statuses = [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 529];
    let server = Server::start(statuses.map(echo)).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let model = NewModel::new("m", "openai", "test-model").with_base_url(server.url()).with_api_key(API_KEY);
    silent(&format!("{model:?} {}", serde_json::to_string(&model).unwrap()), "a model");
    me.models().put(model).await.unwrap();
    me.agents().put(NewAgent::new("a", "m").retry(blitz::RetryPolicy::never())).await.unwrap();
    for status in statuses {
        let done = me.run("a", PROMPT).await.unwrap();
        assert_eq!(done.status, ExecutionStatus::Failed);
        silent(&format!("{:?}", done.error), &format!("the error of a {status}"));
        let events: Vec<_> = me.executions().events(done.execution_id, 0).map(Result::unwrap).collect().await;
        silent(&format!("{:?}", &events[1..]), &format!("the events of a {status}"));
    }

    me.prompts().put(NewPrompt::new("p", "{text} {more}")).await.unwrap();
    let variables: Map<String, Value> = Map::from_iter([("text".to_owned(), json!(PROMPT))]);
    me.agents().put(NewAgent::new("b", "m").prompt(PromptRef::latest("p"))).await.unwrap();
    let new = NewUser::new("ana@example.com", PASSWORD);
    silent(&format!("{new:?} {}", serde_json::to_string(&new).unwrap()), "a new user");
    let user = me.users().create(new).await.unwrap();
    let mut weak = UserUpdate::default();
    weak.password = Some(Secret::new("canary"));
    silent(&format!("{weak:?}"), "an update");
    let errors = [
        me.prompts().render("p", None, variables.clone()).await.unwrap_err(),
        me.run("b", variables).await.map(drop).unwrap_err(),
        me.run("b", PROMPT).await.map(drop).unwrap_err(),
        me.users().update(user.id, weak).await.unwrap_err(),
        me.users().create(NewUser::new("ana@example.com", PASSWORD)).await.unwrap_err(),
        me.users().create(NewUser::new("canary address", PASSWORD)).await.unwrap_err(),
        engine.login("ana@example.com", "sk-canary guess").await.map(drop).unwrap_err(),
        engine.login(PASSWORD, PASSWORD).await.map(drop).unwrap_err(),
        me.models()
            .put(NewModel::new("x", "openai", "x").with_base_url("http://canary:canary@host"))
            .await
            .unwrap_err(),
        me.models().put(NewModel::new("y", "openai", "x").with_base_url("canary not a url")).await.unwrap_err(),
        me.prompts().put(NewPrompt::new("bad", "{% canary question %}")).await.unwrap_err(),
        me.call("agents.run", json!({"agent": "a", "input": PROMPT, "canary": PROMPT})).await.unwrap_err(),
    ];
    for (number, error) in errors.iter().enumerate() {
        let text = shown(error);
        let own_field = error.code() == ErrorCode::InvalidInput && text.contains("unknown field `canary`");
        if !own_field && number != 10 {
            silent(&text, &format!("error {number}"));
        }
        assert!(!text.contains(PROMPT) && !text.contains(API_KEY) && !text.contains(PASSWORD), "{text}");
    }
    let session = engine.login("ana@example.com", PASSWORD).await.unwrap();
    silent(&format!("{session:?} {:?}", session.principal()), "a session");
    silent(&format!("{:?}", me.models().get("m").await.unwrap()), "a stored model");
    silent(
        &serde_json::to_string(&me.models().list(ListOptions::default()).await.unwrap()).unwrap(),
        "a list of models",
    );
    let trail = me.audit().list(ListOptions::limit(1000)).await.unwrap();
    silent(&format!("{trail:?}"), "the audit trail");
}

/// Whatever a server of any dialect says back, the answer's text and its journal apart, nobody repeats it.
#[tokio::test]
async fn b36_t58_no_provider_shows_a_key_or_a_prompt_in_a_log_an_error_or_an_event() {
    let log = Log::read();
    let text = format!("{API_KEY} {PROMPT}");
    let error = json!({"error": {"code": API_KEY, "message": text, "param": PROMPT, "type": API_KEY, "status": text},
        "message": text, "detail": [{"msg": text, "input": PROMPT}], "type": "error"});
    let half = json!({"choices": [{"index": 0, "delta": {"content": text}}], "type": text, "message": text, "candidates": text});
    let replies = || {
        let statuses = [400, 401, 403, 404, 413, 422, 429, 500, 503, 529].map(|status| Reply::json(status, &error));
        let page = format!("<!doctype html><p>{text}");
        let redirect = Reply::head(307, &[("location", &format!("http://{API_KEY}.example/{PROMPT}"))]);
        let odd = [
            Reply::events().send(format!("data: {error}\n\n")),
            Reply::events().send(format!("data: {half}\n\n")),
            Reply::events().send(format!("data: {{\"{text}\n\n")),
            Reply::events().send(format!("event: {text}\ndata: 7\n\n")),
            Reply::body(200, "text/html", page.clone()),
            Reply::body(502, &text, page),
            Reply::json(200, &error),
            Reply::close(),
            redirect,
        ];
        statuses.into_iter().chain(odd)
    };
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let providers: Vec<&str> = blitz::provider::names().collect();
    assert!(providers.len() >= 12, "{providers:?}");
    for provider in providers {
        let server = Server::start(replies()).await;
        // Another model each time: one that keeps failing is left alone for a while.
        let base = match provider {
            // It reads its region from the address.
            "bedrock" => format!("{}/bedrock-runtime.us-east-1.local", server.url()),
            _ => server.url().to_owned(),
        };
        let model = |name: String| NewModel::new("m", provider, name).with_base_url(&base).with_api_key(API_KEY);
        for place in 0..replies().count() {
            me.models().put(model(format!("says-{place}"))).await.unwrap();
            me.agents().put(NewAgent::new("a", "m").retry(RetryPolicy::never())).await.unwrap();
            let done = me.run("a", PROMPT).await.unwrap();
            let events: Vec<_> = me.executions().events(done.execution_id, 0).map(Result::unwrap).collect().await;
            let Some(error) = done.error else { continue };
            silent(&format!("{error:?} {}", serde_json::to_string(&error).unwrap()), &format!("{provider}, {place}"));
            // The first event is the question itself.
            silent(&format!("{:?}", &events[1..]), &format!("the events of {provider}, {place}"));
        }
        assert_eq!(server.requests().len(), replies().count(), "{provider}");
        for (place, reply) in replies().enumerate() {
            server.push(reply);
            me.models().put(model(format!("embeds-{place}"))).await.unwrap();
            if let Err(error) = me.models().embed_retried("m", request(), RetryPolicy::never()).await {
                silent(&shown(&error), &format!("{provider}, embedding"));
            }
        }
    }
    let found = log.text();
    assert!(!found.contains(API_KEY) && !found.contains(PROMPT), "{found}");
}

fn request() -> blitz::provider::EmbeddingRequest {
    blitz::provider::EmbeddingRequest::texts("", [PROMPT])
}

#[tokio::test]
async fn t59_no_file_holds_a_key_or_a_password_in_clear() {
    let good = json!({"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}]});
    let server = Server::start([Reply::json(200, &good)]).await;
    let folder = Folder::new();
    let path = folder.path().join("blitz.db");
    let engine = Engine::open(path.display().to_string()).await.unwrap();
    let me = engine.root("test");
    let model = NewModel::new("m", "openai", "test-model").with_base_url(server.url()).with_api_key(API_KEY);
    me.models().put(model).await.unwrap();
    me.tools().register(tool_fn!("t", "", |_: ()| async { Ok(1) })).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    me.users().create(NewUser::new("ana@example.com", PASSWORD).with_role(Role::Admin)).await.unwrap();
    engine.login("ana@example.com", PASSWORD).await.unwrap().agents().list(ListOptions::default()).await.unwrap();
    engine.login("ana@example.com", "sk-canary guess 51c0").await.map(drop).unwrap_err();
    engine.login(PASSWORD, PASSWORD).await.map(drop).unwrap_err();
    assert_eq!(me.run("a", PROMPT).await.unwrap().text(), "hello");
    assert_eq!(
        server.last_request().header("authorization"),
        Some(format!("Bearer {API_KEY}").as_str()),
        "the key is in use"
    );

    let secrets = [API_KEY, PASSWORD, "sk-canary guess 51c0", "$argon2id$"];
    let clean = || {
        let mut looked_at = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let file = entry.unwrap().path();
            let bytes = std::fs::read(&file).unwrap();
            looked_at += bytes.len();
            for secret in secrets {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{secret:?} is in {}", file.display());
            }
        }
        looked_at
    };
    assert!(clean() > 50_000, "the database and its log were looked at");
    engine.close().await.unwrap();
    clean();
    let reopened = Engine::open(path.display().to_string()).await.unwrap();
    server.push(Reply::json(200, &good));
    assert_eq!(reopened.root("test").run("a", "x").await.unwrap().text(), "hello");
    assert_eq!(
        server.last_request().header("authorization"),
        Some(format!("Bearer {API_KEY}").as_str()),
        "it can be unsealed"
    );
    reopened.close_within(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_key_is_forgotten_with_its_model_and_with_its_host() {
    let good = || {
        Reply::json(200, &json!({"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}]}))
    };
    let (first, second) = (Server::start([good()]).await, Server::start([good(), good()]).await);
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let model = |url: &str| NewModel::new("m", "openai", "test-model").with_base_url(url);
    me.models().put(model(first.url()).with_api_key(API_KEY)).await.unwrap();
    me.models().put(model(first.url())).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    me.run("a", "x").await.unwrap();
    assert!(first.last_request().header("authorization").is_some(), "a put without a key keeps the one there is");

    let patch = |url: &str| Map::from_iter([("base_url".to_owned(), json!(url))]);
    me.models().update("m", patch(second.url())).await.unwrap();
    me.run("a", "x").await.unwrap();

    assert_eq!(second.last_request().header("authorization"), None, "the key went to another host");
    me.models().delete("m").await.unwrap();
    me.models().put(model(second.url())).await.unwrap();
    me.run("a", "x").await.unwrap();
    assert_eq!(second.last_request().header("authorization"), None, "the key outlived its model");
}
