//! What a call is booked at that was answered by a failure, with status 200 and with what the provider says it used.

use blitz::provider::EmbeddingRequest;
use blitz::{
    CostFilter, Engine, EntryKind, LedgerEntry, ListOptions, NewAgent, NewModel, Outcome, Price, Provenance,
    RetryPolicy, Session,
};
use serde_json::{Value, json};

use crate::support::server::{Reply, Server};

/// The most output tokens of a call here.
const CAP: u64 = 50;

/// An engine whose model `m` is at a server with these replies, a dollar for a million tokens each way.
pub(super) async fn at(provider: &str, streams: bool, replies: Vec<Reply>) -> (Engine, Session, Server) {
    let server = Server::start(replies).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let price = Price::per_million("1", "1").unwrap();
    let model = NewModel::new("m", provider, "any").with_base_url(server.url()).with_api_key("sk-canary");
    me.models().put(model.with_price(price).with_max_output_tokens(CAP)).await.unwrap();
    let settings = serde_json::from_value(json!({"stream": streams})).unwrap();
    me.agents().put(NewAgent::new("a", "m").retry(RetryPolicy::never()).settings(settings)).await.unwrap();
    (engine, me, server)
}

/// The one entry that ended a call.
pub(super) async fn booked(me: &Session) -> LedgerEntry {
    let entries = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items;
    let mut ends = entries.into_iter().filter(|entry| matches!(entry.kind, EntryKind::Settle | EntryKind::Void));
    let end = ends.next().expect("the call was booked");
    assert!(ends.next().is_none(), "it was booked once");
    end
}

/// A run and what was booked for it.
pub(super) async fn run(provider: &str, streams: bool, reply: Reply) -> (Outcome, LedgerEntry) {
    let (_engine, me, _server) = at(provider, streams, vec![reply]).await;
    let done = me.run("a", "a question").await.unwrap();
    (done, booked(&me).await)
}

fn tokens(entry: &LedgerEntry) -> (u64, u64, Provenance) {
    let usage = entry.usage.expect("it has usage");
    (usage.input_tokens, usage.output_tokens, usage.provenance)
}

fn stream(events: &[Value]) -> Reply {
    events.iter().fold(Reply::events(), Reply::event)
}

#[tokio::test]
async fn t07_a_failed_answer_is_booked_by_what_its_provider_says_it_used() {
    let failed = json!({"object": "response", "id": "r", "status": "failed", "output": [],
        "error": {"code": "server_error", "message": "x"}, "usage": {"input_tokens": 10, "output_tokens": 5}});
    let cohere = json!({"id": "c", "finish_reason": "ERROR", "message": {"content": []},
        "usage": {"billed_units": {"input_tokens": 10, "output_tokens": 0}}});
    let openrouter = json!({"id": "g", "error": {"code": 502, "message": "x"},
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}});
    let none = json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 0}});
    for (provider, body, input, output) in [
        ("openai_responses", failed, 10, 5),
        ("cohere", cohere, 10, 0),
        ("openai", openrouter, 10, 5),
        ("openai", none, 10, 0),
    ] {
        let (done, entry) = run(provider, false, Reply::json(200, &body)).await;
        assert!(done.error.is_some(), "{provider}");
        assert_eq!(
            (entry.usage.unwrap().input_tokens, entry.usage.unwrap().output_tokens),
            (input, output),
            "{provider}"
        );
        assert_eq!(entry.amount.unwrap().nanos(), i64::try_from(input + output).unwrap() * 1_000, "{provider}");
    }
}

#[tokio::test]
async fn t12_an_error_that_costs_nothing_is_booked_at_nothing_before_any_output() {
    let quota = json!({"error": {"code": "insufficient_quota", "message": "x"}});
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "x"}});
    let begun = json!({"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 9}}});
    for (provider, reply) in [
        ("openai", Reply::json(200, &json!({"error": {"code": 429, "message": "x"}}))),
        ("openai", stream(std::slice::from_ref(&quota))),
        ("anthropic", stream(std::slice::from_ref(&overloaded))),
        ("anthropic", stream(&[begun, overloaded])),
    ] {
        let (done, entry) = run(provider, true, reply).await;
        assert!(done.error.is_some(), "{provider}");
        assert_eq!((entry.kind, entry.amount.unwrap().nanos()), (EntryKind::Void, 0), "{provider}");
    }
}

#[tokio::test]
async fn t12_what_ends_without_output_is_booked_with_none() {
    for reply in [
        Reply::json(200, &json!({"error": {"message": "x"}})),
        Reply::body(200, "text/html", "<html>login</html>"),
        Reply::json(200, &json!({"choices": []})),
    ] {
        let (done, entry) = run("openai", false, reply).await;
        let (input, output, provenance) = tokens(&entry);
        assert!(done.error.is_some() && input > 10, "its input may be charged");
        assert_eq!((output, provenance), (0, Provenance::Estimated));
    }
    // Of a body that breaks off nobody knows how much of the answer was made.
    let cut = Reply::head(200, &[("content-length", "500")]).send(r#"{"choices":[{"#);
    let (_, entry) = run("openai", false, cut).await;
    assert_eq!(tokens(&entry).1, CAP);
}

#[tokio::test]
async fn t12_an_answer_that_breaks_off_is_booked_by_its_count_of_input_and_by_what_came() {
    let begun = json!({"type": "message_start", "message": {"id": "m", "content": [],
        "usage": {"input_tokens": 9, "output_tokens": 1}}});
    let text =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "twelve bytes"}});
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "x"}});
    for reply in [stream(&[begun.clone(), text.clone(), error.clone()]), stream(&[begun.clone(), text])] {
        let (done, entry) = run("anthropic", true, reply).await;
        assert!(done.error.is_some());
        assert_eq!(tokens(&entry), (9, 12, Provenance::Estimated));
    }
    // Work that nobody is shown was done all the same.
    for hidden in [json!({"type": "redacted_thinking", "data": "x"}), json!({"type": "server_tool_use", "id": "s"})] {
        let hidden = json!({"type": "content_block_start", "index": 0, "content_block": hidden});
        let (_, entry) = run("anthropic", true, stream(&[begun.clone(), hidden, error.clone()])).await;
        assert_eq!((entry.kind, tokens(&entry).0), (EntryKind::Settle, 9));
    }
}

#[tokio::test]
async fn t07_embeddings_that_are_too_few_are_booked_by_what_was_reported() {
    let usage = json!({"prompt_tokens": 4, "total_tokens": 4});
    let few = Reply::json(200, &json!({"data": [{"index": 0, "embedding": [1.0]}], "usage": usage}));
    let (_engine, me, _server) = at("openai", false, vec![few]).await;
    let request = EmbeddingRequest::texts("", ["a text of some length", "another one"]);
    me.models().embed_retried("m", request, RetryPolicy::never()).await.unwrap_err();
    let entry = booked(&me).await;
    assert_eq!((tokens(&entry), entry.amount.unwrap().nanos()), ((4, 0, Provenance::Provider), 4_000));
}
