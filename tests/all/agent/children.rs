//! Agents that call agents: which limits come down to a child.

use std::time::Duration;

use blitz::provider::{Reply, Scripted};
use blitz::{
    Engine, ErrorCode, Execution, ExecutionFilter, ExecutionStatus, Limits, ListOptions, MessageRole, ModelRequest,
    Money, NewAgent, Outcome, Session, Usage,
};
use serde_json::{Value, json};

use crate::support::engine::with_provider;

/// The agent that asks, by its instructions, and which of its model calls it is, from 1.
fn asked(request: &ModelRequest) -> (String, usize) {
    let turns = request.messages.iter().filter(|message| message.role == MessageRole::Assistant).count();
    (request.messages[0].text_content(), turns + 1)
}

fn calls(agents: &[&str], input: &Value) -> Reply {
    Reply::tool_calls(agents.iter().map(|agent| (*agent, json!({"input": input}))).collect())
}

/// An agent whose instructions are its name.
fn named(name: &str) -> NewAgent {
    NewAgent::new(name, "m").instructions(name)
}

/// An engine whose model answers by agent and turn, each time with as many tokens.
async fn answering(
    answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    tokens: u64,
) -> (Engine, Session, Scripted) {
    let answer = move |request: &ModelRequest| {
        let (agent, turn) = asked(request);
        answer(&agent, turn).with_usage(Usage::new(tokens, 0))
    };
    with_provider(Scripted::from_fn(answer)).await
}

async fn run(me: &Session, agent: &str) -> Outcome {
    tokio::time::timeout(Duration::from_secs(20), me.run(agent, "x")).await.expect("it ends").unwrap()
}

async fn execution(me: &Session, name: &str) -> Execution {
    let mut all = ExecutionFilter::default();
    all.children = true;
    let all = me.executions().list(all, ListOptions::default()).await.unwrap().items;
    all.into_iter().find(|execution| execution.name == name).unwrap()
}

fn tokens(max: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_tokens = Some(max);
    limits
}

/// What the model was told of its calls, in its newest request.
fn told(provider: &Scripted, agent: &str) -> Vec<String> {
    let requests = provider.requests();
    let request = requests.iter().rev().find(|request| request.messages[0].text_content() == agent).unwrap();
    let results = request.messages.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
        blitz::Part::ToolResult(result) => Some(result.as_text()),
        _ => None,
    });
    results.collect()
}

#[tokio::test]
async fn a_child_for_which_no_token_is_left_ends_at_once() {
    let (_engine, me, provider) = answering(|_, _| calls(&["child"], &json!("go")), 100).await;
    me.agents().put(named("child")).await.unwrap();
    me.agents().put(named("parent").agent("child").limits(tokens(100))).await.unwrap();

    let done = run(&me, "parent").await;

    assert_eq!(done.error.as_ref().unwrap().details["limit"], "tokens");
    assert_eq!(provider.requests().len(), 1, "the child asks nobody");
    let child = execution(&me, "child").await;
    assert_eq!((child.status, child.error.as_ref().unwrap().code), (ExecutionStatus::Failed, ErrorCode::LimitExceeded));
    assert_eq!(me.executions().outcome(done.execution_id).await.unwrap(), done, "the journal says the same");
}

#[tokio::test]
async fn a_limit_of_no_tokens_is_refused() {
    let (_engine, me, _) = answering(|_, _| Reply::text("done"), 1).await;
    let error = me.agents().put(named("a").limits(tokens(0))).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert!(error.to_string().contains("max_tokens"), "{error}");
}

#[tokio::test]
async fn children_of_one_turn_share_the_tokens_that_are_left() {
    let answer = |agent: &str, _| match agent {
        "parent" => calls(&["one", "two"], &json!("go")),
        _ => Reply::tool_call("nothing", json!({})),
    };
    let (_engine, me, _) = answering(answer, 100).await;
    me.tools().register(blitz::tool_fn!("nothing", "", |_: ()| async { Ok(()) }).pure()).await.unwrap();
    for child in ["one", "two"] {
        me.agents().put(named(child).tool("nothing")).await.unwrap();
    }
    me.agents().put(named("parent").agent("one").agent("two").limits(tokens(450))).await.unwrap();

    let done = run(&me, "parent").await;

    // The parent's call leaves 350, so each child has 175 and stops behind its second call.
    assert_eq!((done.error.unwrap().details["limit"].as_str(), done.usage.requests), (Some("tokens"), 5));
}

#[tokio::test]
async fn t25_how_deep_agents_may_call_agents_holds_for_the_whole_tree() {
    let answer = |agent: &str, turn| match (agent, turn) {
        ("top", 1) => calls(&["middle"], &json!("go")),
        ("middle", 1) => calls(&["bottom"], &json!("go")),
        _ => Reply::text("done"),
    };
    let (_engine, me, provider) = answering(answer, 1).await;
    me.agents().put(named("bottom")).await.unwrap();
    me.agents().put(named("middle").agent("bottom")).await.unwrap();
    let mut limits = Limits::default();
    limits.max_depth = 1;
    me.agents().put(named("top").agent("middle").limits(limits)).await.unwrap();

    assert_eq!(run(&me, "top").await.text(), "done");
    assert!(provider.requests().iter().all(|request| asked(request).0 != "bottom"), "it is two deep");
    assert_eq!(told(&provider, "middle"), ["agents may call agents 1 deep, and this is the limit"]);
}

#[tokio::test]
async fn an_input_that_could_not_be_read_again_is_an_error_to_the_model() {
    let answer = |agent: &str, turn| match (agent, turn) {
        ("parent", 1) => calls(&["child"], &crate::bad_input::nested(115)),
        _ => Reply::text("done"),
    };
    let (_engine, me, provider) = answering(answer, 1).await;
    me.agents().put(named("child")).await.unwrap();
    me.agents().put(named("parent").agent("child")).await.unwrap();

    let done = run(&me, "parent").await;

    assert_eq!(done.text(), "done");
    assert!(told(&provider, "parent")[0].contains("nested deeper"), "{:?}", told(&provider, "parent"));
    assert_eq!(me.executions().outcome(done.execution_id).await.unwrap(), done);
}

#[tokio::test]
async fn the_cost_limit_of_an_agent_holds_where_it_is_called_and_for_its_own_children() {
    // A token costs a thousand nanos: two calls are paid, and what is left pays for no other.
    let answer = |agent: &str, turn| match (agent, turn) {
        ("top", 1) => calls(&["middle"], &json!("go")),
        ("middle", _) => calls(&["bottom"], &json!("go")),
        ("bottom", 1) => Reply::tool_call("nothing", json!({})),
        _ => Reply::text("done"),
    };
    let (_engine, me, provider) = answering(answer, 1_000).await;
    me.tools().register(blitz::tool_fn!("nothing", "", |_: ()| async { Ok(()) }).pure()).await.unwrap();
    me.agents().put(named("bottom").tool("nothing")).await.unwrap();
    let limit = Money::from_nanos(3_000_000);
    me.agents().put(named("middle").agent("bottom").limits(Limits::default().with_max_cost(limit))).await.unwrap();
    me.agents().put(named("top").agent("middle")).await.unwrap();

    let done = run(&me, "top").await;

    assert_eq!(done.text(), "done", "whoever called it goes on: {done:?}");
    assert!(told(&provider, "top")[0].contains("limit cost"), "{:?}", told(&provider, "top"));
    let middle = execution(&me, "middle").await;
    assert_eq!(middle.error.as_ref().unwrap().details["limit"], "cost");
    assert_eq!(middle.cost, Some(Money::from_nanos(2_000_000)), "with what its child cost");
    me.budgets().verify().await.unwrap();
}
