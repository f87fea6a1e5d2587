//! What one run says of itself: another output schema, lower limits; pinned, so that recovery holds it too.

use std::time::Duration;

use blitz::provider::{FunctionProvider, Reply, Scripted};
use blitz::{
    Engine, ErrorCode, EventData, Money, NewAgent, NewModel, NewPrompt, PromptRef, RunLimits, RunOptions, Session,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::bad_input::code;
use crate::support::engine::{agent, scripted, with_provider};
use crate::support::folder::Folder;

fn city() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false})
}

fn asks_for_a_city() -> RunOptions {
    RunOptions::default().with_output_schema(city())
}

const OSLO: &str = r#"{"city": "Oslo"}"#;

#[tokio::test]
async fn the_runs_schema_holds_in_place_of_the_agents() {
    let replies = [r#"{"n": 1}"#, OSLO, r#"{"n": 2}"#, "just text", OSLO].map(Reply::text);
    let (_engine, me, provider) = scripted(replies.into()).await;
    let numbers = json!({"type": "object", "required": ["n"]});
    me.agents().put(agent("a", &[]).output_schema(numbers.clone())).await.unwrap();

    let agents = me.agents();
    assert_eq!(agents.run("a", "x").await.unwrap().output, json!({"n": 1}));
    let done = agents.run_with("a", "x", asks_for_a_city()).await.unwrap();
    assert_eq!(done.output, json!({"city": "Oslo"}));
    assert_eq!(agents.run("a", "x").await.unwrap().output, json!({"n": 2}), "the agent is as it was");
    assert_eq!(agents.get("a").await.unwrap().spec.output_schema, Some(numbers.clone()));
    let corrected = agents.run_with("a", "x", asks_for_a_city()).await.unwrap();
    assert_eq!((corrected.output, corrected.steps), (json!({"city": "Oslo"}), 2), "an answer off it is corrected");

    let schemas: Vec<Value> =
        provider.requests().iter().map(|request| request.output_schema.as_ref().unwrap().schema.clone()).collect();
    assert_eq!(schemas, [numbers.clone(), city(), numbers, city(), city()]);
    assert_eq!(me.executions().outcome(done.execution_id).await.unwrap(), done, "the journal says the same");
}

#[tokio::test]
async fn it_wins_over_the_prompts_schema_too() {
    let (_engine, me, _) = scripted(vec![Reply::text(OSLO)]).await;
    let prompt = NewPrompt::new("p", "Where is {{ who }}?").with_output_schema(json!({"type": "array"}));
    me.prompts().put(prompt).await.unwrap();
    me.agents().put(agent("a", &[]).prompt(PromptRef::latest("p"))).await.unwrap();
    let done = me.agents().run_with("a", json!({"who": "Ana"}), asks_for_a_city()).await.unwrap();
    assert_eq!(done.output, json!({"city": "Oslo"}));
}

#[tokio::test]
async fn start_stream_and_the_methods_take_options_too() {
    let (_engine, me, _) = with_provider(Scripted::from_fn(|_| Reply::text(OSLO))).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let wanted = json!({"city": "Oslo"});

    let handle = me.agents().start_with("a", "x", asks_for_a_city()).await.unwrap();
    assert_eq!(handle.wait().await.unwrap().output, wanted);
    let events: Vec<_> = me.agents().stream_with("a", "x", asks_for_a_city()).await.unwrap().collect().await;
    let Some(Ok(last)) = events.last() else { panic!("{events:?}") };
    let EventData::ExecutionFinished(finished) = &last.data else { panic!("{last:?}") };
    assert_eq!(finished.output, wanted);

    let run = json!({"agent": "a", "input": "x", "options": {"output_schema": city()}});
    assert_eq!(me.call("agents.run", run.clone()).await.unwrap()["output"], wanted);
    let started = me.call("agents.start", run).await.unwrap();
    assert_eq!(me.call("executions.wait", json!({"id": started["execution_id"]})).await.unwrap()["output"], wanted);
    let plain = json!({"agent": "a", "input": "x", "options": {}});
    assert_eq!(me.call("agents.run", plain).await.unwrap()["output"], OSLO);
}

#[tokio::test]
async fn limits_are_lowered_and_never_raised() {
    let again = |_: &blitz::ModelRequest| Reply::tool_call("nothing", json!({}));
    let (_engine, me, provider) = with_provider(Scripted::from_fn(again)).await;
    me.tools().register(blitz::tool_fn!("nothing", "", |_: Empty| async { Ok(()) }).pure()).await.unwrap();
    me.agents().put(agent("a", &["nothing"]).limits(blitz::Limits::default().with_max_turns(3))).await.unwrap();

    let turns = async |limits: RunLimits| {
        let before = provider.requests().len();
        let done = me.agents().run_with("a", "x", RunOptions::default().with_limits(limits)).await.unwrap();
        assert_eq!(done.error.unwrap().code, ErrorCode::LimitExceeded);
        provider.requests().len() - before
    };
    assert_eq!(turns(RunLimits::default().with_max_turns(1)).await, 1);
    assert_eq!(turns(RunLimits::default().with_max_turns(100)).await, 3);
    assert_eq!(turns(RunLimits::default()).await, 3);
    assert_eq!(turns(RunLimits::default().with_max_tokens(1)).await, 1);

    // A token costs a thousand nanos: nothing is sent that this cannot pay for.
    let poor = RunOptions::default().with_limits(RunLimits::default().with_max_cost(Money::from_nanos(10)));
    let before = provider.requests().len();
    let done = me.agents().run_with("a", "x", poor).await.unwrap();
    assert_eq!(done.error.unwrap().code, ErrorCode::LimitExceeded);
    assert_eq!(provider.requests().len(), before);
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Empty {}

#[tokio::test]
async fn options_that_are_wrong_begin_nothing() {
    let (_engine, me, provider) = scripted(vec![]).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    for options in [
        json!({"output_schema": {"type": "nonsense"}}),
        json!({"output_schema": {"$ref": "https://example.com/schema"}}),
        json!({"output_schema": 5}),
        json!({"limits": {"max_turns": 0}}),
        json!({"limits": {"max_turns": -1}}),
        json!({"limits": {"timeout_ms": 0}}),
        json!({"limits": {"max_tokens": 0}}),
        json!({"limits": {"max_cost": "-1"}}),
        json!({"limits": {"turns": 1}}),
        json!({"schema": {}}),
        json!("fast"),
    ] {
        let call = me.call("agents.run", json!({"agent": "a", "input": "x", "options": options})).await;
        assert_eq!(code(call), ErrorCode::InvalidInput, "{options}");
    }
    assert!(me.executions().list(Default::default(), Default::default()).await.unwrap().items.is_empty());
    assert!(provider.requests().is_empty());
}

/// An engine on a file, with the agent `a` on the provider `own`.
async fn opened(path: &str) -> (Engine, Session) {
    let engine = Engine::open(path).await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "own", "any")).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    (engine, me)
}

#[tokio::test]
async fn a_recovered_run_is_held_to_its_own_schema() {
    let folder = Folder::new();
    let path = folder.path().join("a.db").to_str().unwrap().to_owned();
    let (engine, me) = opened(&path).await;
    let (tell, mut asked) = tokio::sync::mpsc::unbounded_channel();
    engine.register_provider(FunctionProvider::new("own", move |_, _| {
        tell.send(()).unwrap();
        std::future::pending()
    }));
    let id = me.agents().start_with("a", "x", asks_for_a_city()).await.unwrap().id();
    asked.recv().await.unwrap();
    engine.close_within(Duration::ZERO).await.unwrap();

    let (engine, me) = opened(&path).await;
    let provider = Scripted::new([Reply::text("no city"), Reply::text(OSLO)]).named("own");
    engine.register_provider(provider.clone());
    assert_eq!(engine.recover().await.unwrap(), [id]);
    let done = me.executions().wait(id).await.unwrap();
    assert_eq!(done.output, json!({"city": "Oslo"}));
    assert_eq!(provider.requests()[0].output_schema.as_ref().unwrap().schema, city());
    engine.close().await.unwrap();
}
