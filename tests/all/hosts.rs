//! What a host brings and sets: settings as data, providers of its own, handles on known executions.

use std::sync::Arc;

use blitz::provider::{FunctionProvider, OpenAi, Profile, ProviderCall, Reply, Scripted};
use blitz::{
    CostFilter, Durability, Engine, EngineSettings, ErrorCode, EventData, ExecutionId, ExecutionStatus, ModelRequest,
    NewAgent, NewModel, Price, RetryPolicy, Session,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::bad_input::code;
use crate::support::engine::{agent, scripted, with_provider};
use crate::support::folder::Folder;
use crate::support::server::Server;

/// An engine in memory, its root session, and an agent `a` on the provider `own`.
async fn on_own() -> (Engine, Session) {
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "own", "any")).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    (engine, me)
}

fn settings(value: Value) -> blitz::Result<EngineSettings> {
    EngineSettings::from_json(value)
}

#[tokio::test]
async fn settings_are_data() {
    let folder = Folder::new();
    let path = folder.path().join("a.db");
    let all = json!({
        "database_url": path.to_str().unwrap(), "durability": "process", "busy_timeout_ms": 50,
        "master_key": "ab".repeat(32)
    });
    let read = settings(all.clone()).unwrap();
    assert_eq!((read.durability, read.busy_timeout_ms), (Durability::Process, Some(50)));
    let engine = Engine::open_with(read).await.unwrap();
    engine.root("test").models().put(NewModel::new("m", "offline", "offline")).await.unwrap();
    engine.close().await.unwrap();
    assert!(!folder.path().join("a.db.key").exists(), "the host has the key");

    let other = settings(json!({"database_url": path.to_str().unwrap(), "master_key": "cd".repeat(32)})).unwrap();
    assert!(Engine::open_with(other).await.is_err(), "another key opens nothing");
    Engine::open_with(settings(all).unwrap()).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn settings_that_are_wrong_are_refused_and_not_repeated() {
    for wrong in [
        json!({}),
        json!({"database_url": 5}),
        json!({"database_url": ":memory:", "durability": "canary"}),
        json!({"database_url": ":memory:", "busy_timeout_ms": -1}),
        json!({"database_url": ":memory:", "busy_timeout_ms": "canary"}),
        json!({"database_url": ":memory:", "unknown": "canary"}),
        json!({"database_url": ":memory:", "master_key": ["canary"]}),
        json!("canary"),
    ] {
        let error = settings(wrong.clone()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{wrong}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{wrong}: {error}");
    }
    let canary = settings(json!({"database_url": ":memory:", "master_key": "canary"})).unwrap();
    assert!(!format!("{canary:?} {}", json!(canary)).contains("canary"));
    let error = Engine::open_with(canary).await.err().unwrap();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}

#[tokio::test]
async fn a_provider_may_come_late_and_be_replaced() {
    let (engine, me) = on_own().await;
    let error = me.run("a", "x").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert!(error.to_string().contains("own"), "{error}");

    let first = Scripted::from_fn(|_| Reply::text("first")).named("own");
    engine.register_provider(first.clone());
    for _ in 0..2 {
        assert_eq!(me.run("a", "x").await.unwrap().text(), "first");
    }
    // The agent is prepared by now: the new provider must be asked all the same.
    engine.register_provider(Scripted::from_fn(|_| Reply::text("second")).named("own"));
    assert_eq!(me.run("a", "x").await.unwrap().text(), "second");
    assert_eq!(first.requests().len(), 2);
}

#[tokio::test]
async fn a_function_answers_and_streams() {
    let (engine, me) = on_own().await;
    let mut profile = Profile::default();
    profile.free = true;
    let own = FunctionProvider::new("own", |request: ModelRequest, call: ProviderCall| async move {
        call.emit_text("you ");
        call.emit_text("said ");
        Ok(Reply::text(format!("you said {}", request.messages.last().unwrap().text_content())))
    });
    engine.register_provider(own.with_profile(profile));
    let mut stream = me.stream("a", "hello").await.unwrap();
    let (mut deltas, mut last) = (0, None);
    while let Some(event) = stream.next().await {
        match event.unwrap().data {
            EventData::ModelDelta { .. } => deltas += 1,
            data => last = Some(data),
        }
    }
    assert_eq!(deltas, 2, "the pieces are the function's own");
    let Some(EventData::ExecutionFinished(finished)) = last else { panic!("{last:?}") };
    assert_eq!((finished.status, finished.output), (ExecutionStatus::Completed, json!("you said hello")));
    assert_eq!(me.run("a", "x").await.unwrap().cost.map(|cost| cost.nanos()), Some(0), "free as its profile says");
}

#[tokio::test]
async fn a_function_finds_what_the_host_gave_whoever_asks() {
    let (engine, me) = on_own().await;
    let own = FunctionProvider::new("own", |_, call: ProviderCall| async move {
        let name = call.host().and_then(|host| host.downcast_ref::<String>()).cloned();
        Ok(Reply::text(name.unwrap_or_else(|| "nobody".into())))
    });
    engine.register_provider(own);
    let ana = me.clone().with_host(Arc::new("ana".to_owned()));
    assert_eq!(ana.run("a", "x").await.unwrap().text(), "ana");
    assert_eq!(me.run("a", "x").await.unwrap().text(), "nobody");
}

#[tokio::test]
async fn a_function_that_says_no_price_costs_nobody_knows_what() {
    let (engine, me) = on_own().await;
    engine.register_provider(FunctionProvider::new("own", |_, _| async { Ok(Reply::text("x")) }));
    assert_eq!(me.run("a", "x").await.unwrap().cost, None);
}

#[tokio::test]
async fn a_function_that_fails_or_panics_fails_its_execution_only() {
    let (engine, me) = on_own().await;
    engine.register_provider(FunctionProvider::new("own", |request: ModelRequest, _| async move {
        match request.messages.last().unwrap().text_content().as_str() {
            "panic" => panic!("a host's function panics"),
            "refuse" => Err(blitz::Error::new(ErrorCode::ContentFiltered, "not this")),
            _ => Ok(Reply::text("fine")),
        }
    }));
    assert_eq!(me.run("a", "panic").await.unwrap().error.unwrap().code, ErrorCode::Panic);
    assert_eq!(me.run("a", "refuse").await.unwrap().error.unwrap().code, ErrorCode::ContentFiltered);
    assert_eq!(me.run("a", "x").await.unwrap().text(), "fine");
}

#[tokio::test]
async fn b46_a_cancelled_execution_tells_the_function() {
    let (engine, me) = on_own().await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    engine.register_provider(FunctionProvider::new("own", move |_, call: ProviderCall| {
        tell.send(call.cancel).unwrap();
        std::future::pending()
    }));
    let handle = me.start("a", "x").await.unwrap();
    let cancel = told.recv().await.unwrap();
    assert!(!cancel.is_cancelled());
    handle.cancel().await.unwrap();
    cancel.cancelled().await;
    assert_eq!(handle.wait().await.unwrap().status, ExecutionStatus::Cancelled);
}

#[tokio::test]
async fn a_known_execution_has_a_handle() {
    let (_engine, me, _) = scripted(vec![Reply::text("done")]).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let id = me.start("a", "x").await.unwrap().id();
    let handle = me.executions().handle(id);
    assert_eq!(handle.id(), id);
    assert_eq!(handle.wait().await.unwrap().text(), "done");
    let events: Vec<_> = handle.events().collect().await;
    assert!(matches!(events.last(), Some(Ok(event)) if matches!(event.data, EventData::ExecutionFinished(_))));
    assert_eq!(code(handle.cancel().await), ErrorCode::Conflict);
    let nobodys = me.executions().handle(ExecutionId(id.0 + 1));
    assert_eq!(code(nobodys.wait().await), ErrorCode::NotFound);
}

#[tokio::test]
async fn replies_are_read_from_data() {
    let replies: Vec<Reply> =
        serde_json::from_value(json!([{"text": "hi", "usage": {"input_tokens": 9, "output_tokens": 1}}])).unwrap();
    let (_engine, me, _) = with_provider(Scripted::new(replies)).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let done = me.run("a", "x").await.unwrap();
    assert_eq!((done.text().as_str(), done.usage.requests, done.usage.input_tokens), ("hi", 1, 9));
}

/// An engine in memory whose agent `a` asks a real server, and the server.
async fn on_a_server() -> (Engine, Session, Server) {
    let server = Server::start([]).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let model = NewModel::new("m", "openai_compatible", "x").with_base_url(server.url()).with_api_key("sk-canary-key");
    me.models().put(model.with_price(Price::per_million("1", "1").unwrap())).await.unwrap();
    me.agents().put(NewAgent::new("a", "m").retry(RetryPolicy::attempts(3, std::time::Duration::ZERO))).await.unwrap();
    (engine, me, server)
}

#[tokio::test]
async fn forbidden_real_requests_are_refused_before_anything_is_sent() {
    let (engine, me, server) = on_a_server().await;
    engine.allow_real_requests(false);
    let done = me.run("a", "x").await.unwrap();
    let error = done.error.unwrap();
    assert_eq!((error.code, error.retryable), (ErrorCode::PermissionDenied, false));
    assert!(error.message.contains("allow_real_requests"), "{}", error.message);
    assert_eq!(done.cost.map(|cost| cost.nanos()), Some(0));
    assert_eq!(server.connections(), 0);
    assert_eq!(me.costs().summary(CostFilter::of_root(done.execution_id)).await.unwrap().cost.nanos(), 0);

    engine.allow_real_requests(true);
    me.run("a", "x").await.unwrap();
    assert!(!server.requests().is_empty(), "the very same agent is asked again");
}

#[tokio::test]
async fn a_hosts_own_remote_provider_is_refused_and_a_stand_in_is_not() {
    let own = OpenAi::new("http://127.0.0.1:9", None).unwrap().named("own");
    let settings = settings(json!({"database_url": ":memory:", "real_requests": false})).unwrap();
    let engine = Engine::open_with(settings).await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "own", "any")).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    let refused = async || me.run("a", "x").await.unwrap().error.unwrap().code;

    engine.register_provider(own);
    assert_eq!(refused().await, ErrorCode::PermissionDenied);
    engine.register_provider(FunctionProvider::new("own", |_, _| async { Ok(Reply::text("x")) }).remote());
    assert_eq!(refused().await, ErrorCode::PermissionDenied);
    engine.register_provider(FunctionProvider::new("own", |_, _| async { Ok(Reply::text("inside")) }));
    assert_eq!(me.run("a", "x").await.unwrap().text(), "inside");
    me.models().put(NewModel::new("m", "offline", "offline")).await.unwrap();
    assert_eq!(me.run("a", "x").await.unwrap().error, None);
}

#[tokio::test]
async fn the_builder_forbids_them_too() {
    let engine = Engine::builder(":memory:").with_real_requests(false).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "openai_compatible", "x").with_base_url("http://127.0.0.1:9")).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    assert_eq!(me.run("a", "x").await.unwrap().error.unwrap().code, ErrorCode::PermissionDenied);
}

#[tokio::test]
async fn an_override_answers_every_model_until_it_ends() {
    let (engine, me, provider) = scripted(vec![Reply::text("own")]).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    me.models().put(NewModel::new("other", "nobody serves this", "x")).await.unwrap();
    me.agents().put(NewAgent::new("b", "other")).await.unwrap();

    let stand_in = Scripted::from_fn(|request| Reply::text(format!("stand-in for {}", request.model_name)));
    engine.override_models(Some(Arc::new(stand_in.clone())));
    let done = me.run("a", "x").await.unwrap();
    assert_eq!(done.text(), "stand-in for scripted");
    assert!(done.cost.unwrap().nanos() > 0, "the model keeps its price");
    assert_eq!(me.run("b", "x").await.unwrap().text(), "stand-in for x");
    assert!(provider.requests().is_empty());

    engine.override_models(None);
    assert_eq!(me.run("a", "x").await.unwrap().text(), "own");
    assert_eq!(code(me.run("b", "x").await), ErrorCode::InvalidInput);
    assert_eq!(stand_in.requests().len(), 2);
}

#[tokio::test]
async fn an_override_takes_over_in_the_middle_of_an_execution() {
    let (engine, me, provider) = scripted(vec![Reply::tool_call("switch", json!({}))]).await;
    let (own, stand_in) = (engine.clone(), Scripted::new([Reply::text("taken over")]));
    let switch = blitz::tool_fn!("switch", "", move |_: Nothing| {
        own.override_models(Some(Arc::new(stand_in.clone())));
        async { Ok("switched") }
    });
    me.tools().register(switch.pure()).await.unwrap();
    me.agents().put(agent("a", &["switch"])).await.unwrap();
    assert_eq!(me.run("a", "x").await.unwrap().text(), "taken over");
    assert_eq!(provider.requests().len(), 1);
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}
