//! Headers that a record adds to the requests of its model: sent to its host with every kind of call,
//! and shown to nobody.

use blitz::provider::{Anthropic, CallContext, OpenAi, Provider, complete};
use blitz::{Engine, ErrorCode, Message, ModelRequest, NewAgent, NewModel, Patch, RetryPolicy, Secret, Session};
use serde_json::{Value, json};

use crate::bad_input::code;
use crate::support::canary::{Log, shown};
use crate::support::folder::Folder;
use crate::support::server::{Reply, Server};

const CANARY: &str = "canary-of-a-header";

fn answer() -> Reply {
    Reply::json(200, &json!({"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}]}))
}

fn vectors() -> Reply {
    Reply::json(200, &json!({"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1}}))
}

fn patch(change: Value) -> Patch {
    serde_json::from_value(change).unwrap()
}

fn model(server: &Server) -> NewModel {
    NewModel::new("m", "openai", "any").with_base_url(server.url()).with_api_key("sk-canary")
}

async fn root(path: &str) -> (Engine, Session) {
    let engine = Engine::open(path).await.unwrap();
    let me = engine.root("test");
    (engine, me)
}

#[tokio::test]
async fn b36_headers_of_a_record_go_with_every_call_and_are_in_clear_nowhere() {
    let log = Log::read();
    let server = Server::start([answer(), vectors(), Reply::json(400, &json!({"error": {"code": CANARY}}))]).await;
    let folder = Folder::new();
    let (engine, me) = root(folder.path().join("a.db").to_str().unwrap()).await;
    me.secrets().set("gateway", Secret::new("sk-canary-of-a-secret")).await.unwrap();
    let new = model(&server).with_header("X-Tenant", CANARY).with_header_secret("X-Gateway-Key", "gateway");
    assert!(!format!("{new:?} {}", json!(new)).contains("canary"));
    let record = me.models().put(new).await.unwrap();
    assert_eq!(json!(record)["headers"], json!({"X-Gateway-Key": {"secret": "gateway"}, "X-Tenant": "***"}));
    me.agents().put(NewAgent::new("a", "m").retry(RetryPolicy::never())).await.unwrap();

    let done = me.run("a", "x").await.unwrap();
    assert_eq!(done.text(), "hello");
    me.models().embed("m", ["x"]).await.unwrap();
    for request in server.requests() {
        assert_eq!(request.header("x-tenant"), Some(CANARY));
        assert_eq!(request.header("x-gateway-key"), Some("sk-canary-of-a-secret"));
        assert_eq!(request.header("authorization"), Some("Bearer sk-canary"));
    }
    let failed = me.run("a", "x").await.unwrap();
    let mut seen = format!("{done:?} {failed:?}");
    for (method, input) in [
        ("models.get", json!({"id": "m"})),
        ("models.list", json!({})),
        ("audit.export", json!({})),
        ("executions.list", json!({})),
        ("executions.get", json!({"id": done.execution_id})),
    ] {
        seen.push_str(&me.call(method, input).await.unwrap().to_string());
    }
    assert!(!seen.contains("canary"), "{seen}");
    engine.close().await.unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"canary"), "a value is in clear in a file");
    }
    assert!(!log.text().contains(CANARY) && !log.text().contains("sk-canary-of-a-secret"), "a value is in a log line");
}

#[tokio::test]
async fn b36_a_value_stays_until_it_is_changed_or_the_model_is_asked_elsewhere() {
    let (server, other) = (Server::start([]).await, Server::start([]).await);
    let (_engine, me) = root(":memory:").await;
    me.models().put(model(&server).with_header("X-A", "first").with_header("X-B", "kept")).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    let sent = async |server: &Server| {
        server.push(answer());
        me.run("a", "x").await.unwrap();
        let request = server.last_request();
        ["x-a", "x-b"].map(|name| request.header(name).map(str::to_owned))
    };
    let texts = |values: [&str; 2]| values.map(|value| Some(value.to_owned()));
    assert_eq!(sent(&server).await, texts(["first", "kept"]));

    let change = patch(json!({"headers": {"X-A": "second"}, "description": "x"}));
    me.models().update("m", change).await.unwrap();
    assert_eq!(sent(&server).await, texts(["second", "kept"]));
    // What was read can be put back: it says which values are there, not what they are.
    let read = me.models().get("m").await.unwrap().spec;
    me.models().put(read).await.unwrap();
    assert_eq!(sent(&server).await, texts(["second", "kept"]));
    me.models().update("m", patch(json!({"headers": {"X-A": null}}))).await.unwrap();
    assert_eq!(sent(&server).await, [None, Some("kept".to_owned())]);

    let moved = json!({"base_url": other.url()});
    let refused = me.models().update("m", patch(moved.clone())).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidInput);
    assert!(refused.to_string().contains("give the value again"), "{refused}");
    let mut moved = patch(moved);
    moved.insert("headers".to_owned(), json!({"X-B": "new"}));
    me.models().update("m", moved).await.unwrap();
    assert_eq!(sent(&other).await, [None, Some("new".to_owned())]);
    me.models().put(NewModel::new("m", "openai", "any").with_base_url(other.url())).await.unwrap();
    assert_eq!(sent(&other).await, [None, None], "a record that names none has none");
}

#[tokio::test]
async fn b36_what_is_no_header_or_is_the_engines_own_is_refused_unseen() {
    let (_engine, me) = root(":memory:").await;
    for (provider, name, value) in [
        ("openai", "Authorization", CANARY),
        ("azure", "api-key", CANARY),
        ("anthropic", "X-Api-Key", CANARY),
        ("gemini", "x-goog-api-key", CANARY),
        ("openai", "Host", CANARY),
        ("openai", "Connection", CANARY),
        ("openai", "Transfer-Encoding", CANARY),
        ("openai", "Content-Type", CANARY),
        ("openai", "X-A", "canary\r\nAuthorization: canary"),
        ("openai", "X-A", "canary\n"),
        ("openai", "X A canary", "canary"),
        ("openai", "X-A", "***"),
    ] {
        let error = me.models().put(NewModel::new("m", provider, "x").with_header(name, value)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{name}");
        assert!(shown(&error).contains("headers:") && !shown(&error).contains("canary"), "{}", shown(&error));
    }
    let twice = NewModel::new("m", "openai", "x").with_header("X-A", "1").with_header("x-a", "2");
    assert_eq!(code(me.models().put(twice).await), ErrorCode::InvalidInput);
    let wrong = json!({"name": "m", "provider": "openai", "model_name": "x", "headers": {"X-A": ["canary"]}});
    let error = me.call("models.put", wrong).await.unwrap_err();
    assert!(!shown(&error).contains("canary"), "{error}");
    let gone = NewModel::new("m", "openai", "x").with_header_secret("X-A", "gone");
    assert_eq!(code(me.models().put(gone).await), ErrorCode::NotFound);
}

#[tokio::test]
async fn b36_headers_do_not_follow_a_redirect_and_go_under_the_key() {
    let other = Server::start([answer()]).await;
    let server = Server::start([Reply::head(307, &[("location", other.url()), ("content-length", "0")])]).await;
    let provider = OpenAi::new(server.url(), Some(Secret::new("sk-canary"))).unwrap();
    let context = CallContext::new(std::time::Duration::from_secs(60));
    let context = context.with_header("X-Tenant", CANARY).unwrap().with_header("Authorization", CANARY).unwrap();
    assert!(!format!("{context:?}").contains("canary"));
    let request = ModelRequest::new("m", vec![Message::user("?")]);
    let error = complete(provider.stream(request.clone(), context.clone())).await.unwrap_err();
    assert!(!shown(&error).contains("canary"), "{error}");
    let sent = server.last_request();
    assert_eq!((sent.header("x-tenant"), sent.header("authorization")), (Some(CANARY), Some("Bearer sk-canary")));
    assert_eq!(other.connections(), 0);

    let server = Server::start([]).await;
    let provider = Anthropic::new(server.url(), None).unwrap();
    let context = context.with_header("anthropic-version", "2099-01-01").unwrap();
    let context = context.with_header("anthropic-beta", "theirs").unwrap();
    let mut request = request;
    request.settings.extra.insert("anthropic_beta".to_owned(), json!(["ours"]));
    complete(provider.stream(request, context)).await.unwrap_err();
    let sent = server.last_request();
    assert_eq!(sent.header("anthropic-version"), Some("2099-01-01"));
    assert_eq!(sent.header("anthropic-beta"), Some("ours,theirs"));
}
