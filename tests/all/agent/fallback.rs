//! Fallback models: who is asked next and when, what it costs, what readers see, what a crash leaves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use blitz::error::Charged;
use blitz::provider::{FunctionProvider, ProviderCall, Reply};
use blitz::tool::FunctionTool;
use blitz::{
    CostFilter, Engine, EngineBuilder, EntryKind, Error, ErrorCode, Event, EventData, ExecutionStatus, Fallback,
    ListOptions, Money, NewAgent, NewBudget, NewModel, Part, Price, RetryPolicy, Session, Usage,
};
use futures_util::StreamExt;
use serde_json::json;

use crate::support::folder::Folder;
use crate::support::server::{Reply as HttpReply, Server};

/// Who was asked, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// A provider of this name that answers by a function and notes that it was asked.
fn provider(
    name: &'static str,
    asked: &Asked,
    answer: impl Fn(&ProviderCall) -> Result<Reply, Error> + Send + Sync + 'static,
) -> FunctionProvider {
    let (asked, answer) = (Arc::clone(asked), Arc::new(answer));
    FunctionProvider::new(name, move |_, call| {
        asked.lock().unwrap().push(name.to_owned());
        let answer = Arc::clone(&answer);
        async move { answer(&call).map(|reply| reply.with_usage(Usage::new(10, 10))) }
    })
}

fn failing(code: ErrorCode) -> impl Fn(&ProviderCall) -> Result<Reply, Error> {
    move |_| {
        Err(Error::Provider {
            code,
            provider: "p".into(),
            status: None,
            retry_after: None,
            retryable: code.retryable(),
            charged: Charged::No,
            usage: None,
            message: "it failed".into(),
            source: None,
        })
    }
}

fn saying(text: &'static str) -> impl Fn(&ProviderCall) -> Result<Reply, Error> {
    move |_| Ok(Reply::text(text))
}

/// An engine with these providers; the model of each has its name and costs as many dollars a million
/// tokens as its place.
async fn with(builder: EngineBuilder, providers: Vec<FunctionProvider>) -> (Engine, Session) {
    use blitz::provider::Provider as _;
    let names: Vec<String> = providers.iter().map(|provider| provider.name().to_owned()).collect();
    let engine = providers.into_iter().fold(builder, EngineBuilder::with_provider).open().await.unwrap();
    let me = engine.root("test");
    for (place, name) in names.iter().enumerate() {
        let dollars = (place + 1).to_string();
        let price = Price::per_million(&dollars, &dollars).unwrap();
        me.models().put(NewModel::new(name, name, "x").with_price(price)).await.unwrap();
    }
    (engine, me)
}

async fn engine(providers: Vec<FunctionProvider>) -> (Engine, Session) {
    with(Engine::builder(":memory:"), providers).await
}

fn agent(fallback: Fallback) -> NewAgent {
    NewAgent::new("a", "one").fallback(fallback).retry(RetryPolicy::attempts(2, Duration::from_millis(1)))
}

fn asked(by: &Asked) -> Vec<String> {
    by.lock().unwrap().clone()
}

async fn journal(me: &Session, agent: &str) -> Vec<Event> {
    let mut stream = me.stream(agent, json!("go")).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event.unwrap());
    }
    events
}

#[tokio::test]
async fn b44_the_next_model_is_asked_once_the_first_has_failed_for_good() {
    let by = Asked::default();
    let (one, two) = (provider("one", &by, failing(ErrorCode::Unavailable)), provider("two", &by, saying("hello")));
    let (_engine, me) = engine(vec![one, two]).await;
    me.agents().put(agent(Fallback::to(["two"]))).await.unwrap();
    let events = journal(&me, "a").await;
    assert_eq!(asked(&by), ["one", "one", "two"]);

    let finished = events.iter().find_map(|event| match &event.data {
        EventData::StepFinished(step) => Some(step),
        _ => None,
    });
    let finished = finished.unwrap();
    assert_eq!((finished.model.as_deref(), finished.attempt), (Some("two"), 3), "the record says who answered");
    assert_eq!(finished.cost.unwrap().to_string(), "0.00004", "20 tokens at the price of the one that answered");
    let retried: Vec<Option<(String, u32)>> = events
        .iter()
        .filter_map(|event| match &event.data {
            EventData::StepRetrying { fallback, .. } => Some(fallback.as_ref().map(|to| (to.model.clone(), to.place))),
            _ => None,
        })
        .collect();
    assert_eq!(retried, [None, Some(("two".to_owned(), 1))]);
    let started: Vec<&str> = events
        .iter()
        .filter_map(|event| match &event.data {
            EventData::StepStarted(started) => Some(started.name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(started, ["one", "one", "two"]);

    let entries = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items;
    let ends: Vec<_> =
        entries.iter().filter(|entry| matches!(entry.kind, EntryKind::Settle | EntryKind::Void)).collect();
    let ends: Vec<_> =
        ends.iter().map(|entry| (entry.model.as_str(), entry.provider.as_str(), entry.attempt)).collect();
    assert_eq!(ends, [("one", "one", 1), ("one", "one", 2), ("two", "two", 3)], "every attempt is booked");
}

/// A model of one dialect that thinks and calls a tool, and one of another that goes on where it fails.
#[tokio::test]
async fn b44_the_next_model_gets_the_conversation_in_its_own_form() {
    let call = json!({"id": "call:1|x", "type": "function", "function": {"name": "f", "arguments": "{\"n\":1}"}});
    let said = json!({"content": "let me see", "reasoning_content": "secret thought", "tool_calls": [call]});
    let first = json!({"choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}]});
    let content = json!([{"type": "text", "text": "{\"city\": \"Oslo\"}"}]);
    let last = json!({"type": "message", "id": "m", "role": "assistant", "model": "claude-sonnet-4-6",
        "content": content, "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let chat = Server::start([HttpReply::json(200, &first), HttpReply::json(503, &json!({}))]).await;
    let claude = Server::start([HttpReply::json(200, &last)]).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let one = NewModel::new("one", "openai_compatible", "local").with_base_url(chat.url());
    me.models().put(one).await.unwrap();
    let two =
        NewModel::new("two", "anthropic", "claude-sonnet-4-6").with_base_url(claude.url()).with_api_key("sk-canary");
    me.models().put(two).await.unwrap();
    let input = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let tool = FunctionTool::from_json_schema("f", "F.", input.clone(), |_, _| async { Ok(json!("seven")) });
    me.tools().register(tool).await.unwrap();
    let schema = json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
    let fallback = Fallback::to(["two"]);
    let agent = agent(fallback).tool("f").instructions("Be brief.").output_schema(schema).retry(RetryPolicy::never());
    me.agents().put(agent).await.unwrap();

    let done = me.run("a", "Where?").await.unwrap();

    assert_eq!(done.output, json!({"city": "Oslo"}), "{:?}", done.error);
    let asked = chat.last_request().json();
    assert_eq!(asked["messages"][2]["reasoning_content"], "secret thought", "it goes back to whoever thought it");
    let mut sent = claude.last_request().json();
    assert_eq!(sent["max_tokens"].take(), 4096);
    let id = sent["messages"][1]["content"][1]["id"].take();
    assert_eq!(sent["messages"][2]["content"][0]["tool_use_id"].take(), id);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    assert!(id.as_str().unwrap().chars().all(fits), "{id}");
    let closed = json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}},
        "additionalProperties": false});
    let expected = json!({
        "model": "claude-sonnet-4-6", "max_tokens": null,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Where?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": null, "name": "f", "input": {"n": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": null,
                "content": [{"type": "text", "text": "seven"}]}]},
        ],
        "tools": [{"name": "f", "description": "F.", "input_schema": input}],
        "output_config": {"format": {"type": "json_schema", "schema": closed}},
    });
    assert_eq!(sent, expected);
}

/// Two resources of one kind: the second goes on where the first fails, and cannot read what the first sealed.
#[tokio::test]
async fn b29_b44_a_sealed_thought_stays_with_the_place_that_made_it() {
    let thought = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"});
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"});
    let first = json!({"object": "response", "id": "r", "status": "completed", "output": [thought, call]});
    let said = json!([{"type": "message", "content": [{"type": "output_text", "text": "done"}]}]);
    let last = json!({"object": "response", "id": "s", "status": "completed", "output": said});
    let east = Server::start([HttpReply::json(200, &first), HttpReply::json(503, &json!({}))]).await;
    let west = Server::start([HttpReply::json(200, &last)]).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    for (name, server) in [("east", &east), ("west", &west)] {
        let model = NewModel::new(name, "azure_responses", "gpt-5").with_base_url(server.url());
        me.models().put(model.with_api_key("sk-canary")).await.unwrap();
    }
    let tool =
        FunctionTool::from_json_schema("f", "F.", json!({"type": "object"}), |_, _| async { Ok(json!("seven")) });
    me.tools().register(tool).await.unwrap();
    let settings = serde_json::from_value(json!({"stream": false})).unwrap();
    let agent = NewAgent::new("a", "east").tool("f").settings(settings).retry(RetryPolicy::never());
    me.agents().put(agent.fallback(Fallback::to(["west"]))).await.unwrap();
    let done = me.run("a", "go").await.unwrap();
    assert_eq!(done.output, json!("done"), "{:?}", done.error);

    let sent = |server: &Server| {
        let request = server.last_request().json();
        let items = request["input"].as_array().unwrap().clone();
        (items.iter().any(|item| item["type"] == "reasoning"), items.iter().any(|item| item["type"] == "function_call"))
    };
    assert_eq!(sent(&east), (true, true), "who thought it gets it back");
    assert_eq!(sent(&west), (false, true));
}

#[tokio::test]
async fn only_the_chosen_errors_lead_on() {
    let by = Asked::default();
    let (one, two) = (provider("one", &by, failing(ErrorCode::InvalidInput)), provider("two", &by, saying("hello")));
    let (_engine, me) = engine(vec![one, two]).await;
    me.agents().put(agent(Fallback::to(["two"]))).await.unwrap();
    let failed = me.run("a", json!("go")).await.unwrap();
    assert_eq!((failed.status, failed.error.unwrap().code), (ExecutionStatus::Failed, ErrorCode::InvalidInput));
    me.agents().put(agent(Fallback::to(["two"]).on([ErrorCode::InvalidInput]))).await.unwrap();
    assert_eq!(me.run("a", json!("go")).await.unwrap().text(), "hello");
    assert_eq!(asked(&by), ["one", "one", "two"]);
}

#[tokio::test]
async fn where_all_fail_the_last_ones_error_tells_of_all_attempts() {
    let by = Asked::default();
    let one = provider("one", &by, failing(ErrorCode::Unavailable));
    let two = provider("two", &by, failing(ErrorCode::RateLimited));
    let (_engine, me) = engine(vec![one, two]).await;
    me.agents().put(agent(Fallback::to(["two"]))).await.unwrap();
    let failed = me.run("a", json!("go")).await.unwrap();
    let error = failed.error.unwrap();
    assert_eq!(error.code, ErrorCode::RateLimited);
    assert!(error.message.contains("4 attempts"), "{}", error.message);
    assert_eq!(asked(&by), ["one", "one", "two", "two"]);
}

#[tokio::test]
async fn a_bad_answer_leads_on_where_it_is_chosen_and_is_paid_for() {
    let answers: [(ErrorCode, fn() -> Reply); 3] = [
        (ErrorCode::Refused, || Reply::parts(vec![Part::Refusal { text: "no".into() }])),
        (ErrorCode::BadOutput, || Reply::text("  ")),
        (ErrorCode::BadOutput, || Reply::parts(Vec::new())),
    ];
    for (code, answer) in answers {
        let by = Asked::default();
        let one = provider("one", &by, move |_| Ok(answer()));
        let two = provider("two", &by, saying("hello"));
        let (_engine, me) = engine(vec![one, two]).await;
        me.agents().put(agent(Fallback::to(["two"]).on([code]))).await.unwrap();
        let done = me.run("a", json!("go")).await.unwrap();
        assert_eq!(done.text(), "hello");
        assert_eq!(asked(&by), ["one", "two"]);
        // 20 tokens at a dollar, 20 at two.
        assert_eq!(done.cost.unwrap().to_string(), "0.00006");
        assert_eq!(done.usage.requests, 2);
        assert!(done.messages.iter().all(|message| message.parts.iter().all(|p| !matches!(p, Part::Refusal { .. }))));
    }
}

#[tokio::test]
async fn b27_what_a_stream_had_shown_is_taken_back_before_the_next_model_speaks() {
    let by = Asked::default();
    let one = provider("one", &by, |call| {
        call.emit_text("half an ans");
        failing(ErrorCode::Unavailable)(call)
    });
    let two = provider("two", &by, |call| {
        call.emit_text("declining");
        Ok(Reply::parts(vec![Part::Refusal { text: "no".into() }]))
    });
    let three = provider("three", &by, |call| {
        call.emit_text("whole");
        Ok(Reply::text("whole"))
    });
    let (_engine, me) = engine(vec![one, two, three]).await;
    let fallback = Fallback::to(["two", "three"]).on([ErrorCode::Unavailable, ErrorCode::Refused]);
    me.agents().put(agent(fallback).retry(RetryPolicy::never())).await.unwrap();
    let mut shown = String::new();
    for event in journal(&me, "a").await {
        match event.data {
            EventData::ModelDelta { attempt, delta: blitz::Delta::Text { text }, .. } => {
                shown.push_str(&format!("{attempt}:{text} "));
            }
            EventData::ModelReset { attempt } => shown.push_str(&format!("{attempt}:reset ")),
            _ => {}
        }
    }
    assert_eq!(shown.trim(), "1:half an ans 1:reset 2:declining 2:reset 3:whole");
}

#[tokio::test]
async fn t73_a_dearer_model_is_reserved_anew_or_not_asked() {
    let by = Asked::default();
    let (one, two) = (provider("one", &by, failing(ErrorCode::Unavailable)), provider("two", &by, saying("hello")));
    let (_engine, me) = engine(vec![one, two]).await;
    let dear = Price::per_million("1000000", "1000000").unwrap();
    me.models().put(NewModel::new("two", "two", "x").with_price(dear)).await.unwrap();
    me.budgets().create(NewBudget::per_execution("cap", Money::parse("1").unwrap())).await.unwrap();
    me.agents().put(agent(Fallback::to(["two"]))).await.unwrap();
    let refused = me.run("a", json!("go")).await.unwrap();
    assert_eq!(refused.error.unwrap().code, ErrorCode::BudgetExceeded);
    me.models().update("two", serde_json::from_value(json!({"price": null})).unwrap()).await.unwrap();
    let refused = me.run("a", json!("go")).await.unwrap();
    assert_eq!(refused.error.unwrap().code, ErrorCode::BudgetExceeded, "an unknown price is refused too");
    assert_eq!(asked(&by), ["one", "one", "one", "one"]);
}

#[tokio::test]
async fn a_fallback_that_was_cut_off_goes_on_with_the_model_it_had_come_to() {
    let folder = Folder::new();
    let builder = || Engine::builder(folder.path().join("a.db").to_str().unwrap());
    let by = Asked::default();
    let one = provider("one", &by, failing(ErrorCode::Unavailable));
    let (tell, mut reached) = tokio::sync::mpsc::unbounded_channel();
    let two = provider("two", &by, move |_| {
        tell.send(()).unwrap();
        Ok(Reply::text("never").with_delay(Duration::from_secs(3_600)))
    });
    let (engine, me) = with(builder(), vec![one, two]).await;
    me.agents().put(agent(Fallback::to(["two"]))).await.unwrap();
    let id = me.start("a", json!("go")).await.unwrap().id();
    reached.recv().await.unwrap();
    engine.close_within(Duration::ZERO).await.unwrap();

    let one = provider("one", &by, failing(ErrorCode::Unavailable));
    let two = provider("two", &by, saying("hello"));
    let (engine, me) = with(builder(), vec![one, two]).await;
    assert_eq!(engine.recover().await.unwrap(), [id]);
    let done = me.executions().handle(id).wait().await.unwrap();
    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "hello"));
    assert_eq!(asked(&by), ["one", "one", "two", "two"]);
}

#[tokio::test]
async fn a_chain_that_asks_a_model_twice_or_nobody_is_refused() {
    let by = Asked::default();
    let (_engine, me) = engine(vec![provider("one", &by, saying("x")), provider("two", &by, saying("x"))]).await;
    for models in [vec!["one"], vec!["two", "two"], vec![]] {
        let error = me.agents().put(agent(Fallback::to(models))).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
    }
    me.agents().put(agent(Fallback::to(["nobody"]))).await.unwrap();
    assert_eq!(me.run("a", json!("go")).await.unwrap_err().code(), ErrorCode::NotFound);
}
