//! What a host brings and sets: settings as data, providers of its own, handles on known executions.

use blitz::provider::{FunctionProvider, Profile, ProviderCall, Reply, Scripted};
use blitz::{
    Durability, Engine, EngineSettings, ErrorCode, EventData, ExecutionId, ExecutionStatus, ModelRequest, NewAgent,
    NewModel, Session,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::bad_input::code;
use crate::support::engine::{agent, scripted, with_provider};

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
    let folder = tempfile::tempdir().unwrap();
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
async fn a_cancelled_execution_tells_the_function() {
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
