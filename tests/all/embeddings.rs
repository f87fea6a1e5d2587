//! Embeddings through the engine: paid like any call, by every name a model has.

use std::sync::Arc;
use std::time::Duration;

use blitz::provider::{CallContext, Cohere, EmbeddingRequest, FunctionProvider, Gemini, Provider, Reply as Answer};
use blitz::{
    Amount, CostFilter, Engine, EntryKind, ErrorCode, ListOptions, Money, NewBudget, NewModel, NewUser, Part, Price,
    Provenance, RetryPolicy, Session, Visibility,
};
use serde_json::{Value, json};

use crate::support::server::{Reply, Server};

const KEY: &str = "sk-canary-key";

async fn engine(replies: Vec<Reply>) -> (Engine, Session, Server) {
    let server = Server::start(replies).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let model = NewModel::new("e", "openai", "small").with_base_url(server.url()).with_api_key(KEY);
    me.models().put(model.with_price(Price::per_million("1", "1").unwrap())).await.unwrap();
    (engine, me, server)
}

fn vectors(usage: Value) -> Reply {
    let data = json!([{"index": 1, "embedding": [0.5, 2]}, {"index": 0, "embedding": [1, -0.25]}]);
    Reply::json(200, &json!({"data": data, "model": "small-1", "usage": usage}))
}

async fn kinds(me: &Session) -> Vec<EntryKind> {
    let entries = me.costs().list(CostFilter::default(), ListOptions::default()).await.unwrap().items;
    entries.iter().map(|entry| entry.kind).collect()
}

#[tokio::test]
async fn texts_become_vectors_in_order_and_are_booked() {
    let (_engine, me, server) = engine(vec![vectors(json!({"prompt_tokens": 9, "total_tokens": 9}))]).await;
    let budget = me.budgets().create(NewBudget::per_execution("cap", Money::parse("1").unwrap())).await.unwrap();
    let made = me.models().embed("e", ["a", "b"]).await.unwrap();
    assert_eq!(made.vectors, [[1.0, -0.25], [0.5, 2.0]]);
    assert_eq!((made.model_name.as_str(), made.usage.input_tokens), ("small-1", 9));
    assert_eq!(made.cost, Some(Money::from_nanos(9_000)));
    assert_eq!(kinds(&me).await, [EntryKind::Settle]);
    let windows = me.budgets().windows(budget.id, ListOptions::default()).await.unwrap().items;
    assert_eq!(
        (windows[0].posted, windows[0].pending),
        (Amount::Usd(Money::from_nanos(9_000)), Amount::Usd(Money::ZERO))
    );
    assert_eq!(server.last_request().header("authorization"), Some("Bearer sk-canary-key"));
    assert_eq!(server.last_request().json(), json!({"model": "small", "input": ["a", "b"]}));
}

#[tokio::test]
async fn vectors_of_unequal_length_or_under_one_index_are_bad_output() {
    let one = |index: Value, embedding: Value| json!({"index": index, "embedding": embedding});
    for data in [
        json!([one(json!(0), json!([1, 2])), one(json!(1), json!([1]))]),
        json!([one(json!(0), json!([1, 2])), one(json!(1), json!([1, "x"]))]),
        json!([one(json!(0), json!([1, 2])), one(json!(0), json!([3, 4]))]),
        json!([one(json!(0), json!([1, 2])), one(json!(7), json!([3, 4]))]),
        json!([one(json!(0), json!([1, 2])), one(json!(null), json!([3, 4]))]),
    ] {
        let (_engine, me, _server) = engine(vec![Reply::json(200, &json!({"data": data}))]).await;
        assert_eq!(me.models().embed("e", ["a", "b"]).await.unwrap_err().code(), ErrorCode::BadOutput, "{data}");
    }
    let plain = json!([{"embedding": [1, 2]}, {"embedding": [3, 4]}]);
    let (_engine, me, _server) = engine(vec![Reply::json(200, &json!({"data": plain}))]).await;
    assert_eq!(me.models().embed("e", ["a", "b"]).await.unwrap().vectors, [[1.0, 2.0], [3.0, 4.0]]);
}

#[tokio::test]
async fn the_method_takes_texts_parts_dimensions_and_unknown_fields() {
    let (_engine, me, server) = engine(vec![vectors(json!({"prompt_tokens": 9}))]).await;
    let input =
        json!({"model": "e", "inputs": ["a", {"type": "text", "text": "b"}], "dimensions": 2, "extra": {"user": "u"}});
    let made = me.call("models.embed", input).await.unwrap();
    assert_eq!((&made["vectors"], &made["cost"]), (&json!([[1.0, -0.25], [0.5, 2.0]]), &json!("0.000009")));
    assert_eq!(
        server.last_request().json(),
        json!({"model": "small", "input": ["a", "b"], "dimensions": 2, "user": "u"})
    );
    for wrong in [
        json!({"model": "e", "inputs": []}),
        json!({"model": "e", "inputs": ["a"], "dimensions": 0}),
        json!({"model": "e", "inputs": [7]}),
        json!({"inputs": ["a"]}),
    ] {
        assert_eq!(me.call("models.embed", wrong).await.unwrap_err().code(), ErrorCode::InvalidInput);
    }
    assert_eq!(me.models().embed("nobody", ["a"]).await.unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn t06_without_a_report_it_is_booked_as_an_estimate() {
    let (_engine, me, _server) = engine(vec![vectors(Value::Null)]).await;
    let made = me.models().embed("e", ["a", "b"]).await.unwrap();
    assert_eq!(made.usage.provenance, Provenance::Estimated);
    assert!(made.cost.unwrap() > Money::ZERO);
}

#[tokio::test]
async fn a_refusal_is_void_and_a_break_is_booked() {
    let refused = Reply::json(429, &json!({"error": {"code": "rate_limit_exceeded", "message": KEY}}));
    let (_engine, me, _server) = engine(vec![refused, Reply::close(), vectors(json!({"prompt_tokens": 1}))]).await;
    let mut codes = Vec::new();
    for inputs in [vec!["a", "b"], vec!["a", "b"], vec!["only one"]] {
        let request = EmbeddingRequest::texts("", inputs);
        let error = me.models().embed_retried("e", request, RetryPolicy::never()).await.unwrap_err();
        assert!(!format!("{error:?} {error}").contains("canary"));
        codes.push(error.code());
    }
    assert_eq!(codes, [ErrorCode::RateLimited, ErrorCode::Unavailable, ErrorCode::BadOutput]);
    assert_eq!(kinds(&me).await, [EntryKind::Void, EntryKind::Settle, EntryKind::Settle]);
}

#[tokio::test]
async fn b42_an_embedding_of_the_hosts_that_hangs_ends_with_its_time_and_is_booked() {
    let asked = Arc::new(tokio::sync::Notify::new());
    let asks = Arc::clone(&asked);
    let provider = FunctionProvider::new("host", |_, _| std::future::ready(Ok(Answer::text("never"))));
    let provider = provider.with_embedding(move |_, _| {
        asks.notify_one();
        std::future::pending()
    });
    let engine = Engine::builder(":memory:").with_provider(provider).open().await.unwrap();
    let me = engine.root("test");
    let model = NewModel::new("e", "host", "m").with_price(Price::per_million("1", "1").unwrap());
    me.models().put(model).await.unwrap();
    let models = me.models();
    let request = EmbeddingRequest::texts("", ["a", "b"]);
    let call = tokio::spawn(async move { models.embed_retried("e", request, RetryPolicy::never()).await });
    asked.notified().await;
    tokio::time::pause();
    assert_eq!(call.await.unwrap().unwrap_err().code(), ErrorCode::Timeout);
    assert_eq!(kinds(&me).await, [EntryKind::Settle], "nobody knows what was made of it");
}

#[tokio::test]
async fn more_inputs_than_one_call_takes_are_split_in_order() {
    let cohere = |from: usize, count: usize| {
        let vectors: Vec<_> = (from..from + count).map(|index| [index, 0]).collect();
        let meta = json!({"billed_units": {"input_tokens": count}});
        Reply::json(200, &json!({"embeddings": vectors, "meta": meta}))
    };
    let texts = |count: usize| (0..count).map(|index| format!("t{index}"));
    let server = Server::start([cohere(0, 96), cohere(96, 4), cohere(0, 1), cohere(1, 1)]).await;
    let call = || CallContext::new(Duration::from_secs(60));
    let provider = Cohere::new(server.url(), None).unwrap();
    let made = provider.embed(EmbeddingRequest::texts("m", texts(100)), call()).await.unwrap();
    assert!(made.vectors.iter().enumerate().all(|(index, vector)| vector[0] == index as f32));
    assert_eq!((made.vectors.len(), made.usage.unwrap().input_tokens, server.requests().len()), (100, 100, 2));
    assert_eq!(server.last_request().json()["texts"], json!(["t96", "t97", "t98", "t99"]));
    let image = Part::Image { media_type: "image/png".into(), data: "AAAA".into() };
    let made = provider.embed(EmbeddingRequest::new("m", vec![image.clone(), image.clone()]), call()).await.unwrap();
    assert_eq!((made.vectors, server.requests().len()), (vec![vec![0.0, 0.0], vec![1.0, 0.0]], 4));
    let mixed = provider.embed(EmbeddingRequest::new("m", vec![image, Part::text("a")]), call()).await;
    assert_eq!((mixed.unwrap_err().code(), server.requests().len()), (ErrorCode::InvalidInput, 4));

    let gemini = |count: usize| Reply::json(200, &json!({"embeddings": vec![json!({"values": [1]}); count]}));
    let server = Server::start([gemini(100), gemini(1)]).await;
    let provider = Gemini::new(server.url(), None).unwrap();
    assert_eq!(provider.embed(EmbeddingRequest::texts("m", texts(101)), call()).await.unwrap().vectors.len(), 101);
}

#[tokio::test]
async fn t06_what_came_before_a_part_that_fails_is_booked() {
    let first = json!({"embeddings": vec![[1]; 96], "meta": {"billed_units": {"input_tokens": 7}}});
    let refused = Reply::json(400, &json!({"message": "no"}));
    let server = Server::start([Reply::json(200, &first), refused, Reply::json(200, &first), Reply::close()]).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let model = NewModel::new("e", "cohere", "m").with_base_url(server.url()).with_api_key(KEY);
    me.models().put(model.with_price(Price::per_million("1", "1").unwrap())).await.unwrap();
    for (code, at_least, at_most) in [(ErrorCode::InvalidInput, 7, 7), (ErrorCode::Unavailable, 97, 10_000)] {
        let request = EmbeddingRequest::texts("", vec!["a"; 97]);
        let error = me.models().embed_retried("e", request, RetryPolicy::never()).await.unwrap_err();
        assert_eq!(error.code(), code);
        let entries = me.costs().list(CostFilter::default(), ListOptions::default()).await.unwrap().items;
        let usage = entries.iter().max_by_key(|entry| entry.seq).unwrap().usage.unwrap();
        assert!((at_least..=at_most).contains(&usage.input_tokens), "{code}: {usage:?}");
    }
    assert_eq!(kinds(&me).await, [EntryKind::Settle, EntryKind::Settle]);
}

fn quick(max_attempts: u32) -> RetryPolicy {
    RetryPolicy::attempts(max_attempts, Duration::ZERO)
}

#[tokio::test]
async fn b41_b42_it_is_tried_again_by_the_rule_of_all_calls() {
    let busy = || Reply::json(503, &json!({"error": {"message": "busy"}}));
    let replies = vec![busy(), Reply::close(), vectors(json!({"prompt_tokens": 9})), busy(), busy()];
    let (_engine, me, server) = engine(replies).await;
    let request = EmbeddingRequest::texts("", ["a", "b"]);
    let made = me.models().embed_retried("e", request.clone(), quick(3)).await.unwrap();
    assert_eq!((made.vectors.len(), made.usage.input_tokens, server.requests().len()), (2, 9, 3));
    // A refusal costs nothing, a break may have: three attempts, each in the books by itself.
    assert_eq!(kinds(&me).await, [EntryKind::Void, EntryKind::Settle, EntryKind::Settle]);

    let error = me.models().embed_retried("e", request, quick(2)).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (ErrorCode::Unavailable, false));
    assert_eq!(error.details()["retries_exhausted"], json!(2));
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn b41_what_never_retries_is_asked_for_once() {
    let replies = [
        Reply::json(400, &json!({"error": {"message": "too long"}})),
        Reply::json(401, &json!({"error": {"message": "who"}})),
        Reply::json(429, &json!({"error": {"code": "insufficient_quota"}})),
    ];
    for reply in replies {
        let (_engine, me, server) = engine(vec![reply]).await;
        let request = EmbeddingRequest::texts("", ["a"]);
        assert!(me.models().embed_retried("e", request, quick(4)).await.is_err());
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_budget_and_a_switch_hold_before_anything_is_sent() {
    let (engine, me, server) = engine(vec![]).await;
    engine.allow_real_requests(false);
    assert_eq!(me.models().embed("e", ["a"]).await.unwrap_err().code(), ErrorCode::PermissionDenied);
    engine.allow_real_requests(true);
    me.budgets().create(NewBudget::per_execution("none", Money::from_nanos(5))).await.unwrap();
    assert_eq!(me.models().embed("e", ["a"]).await.unwrap_err().code(), ErrorCode::BudgetExceeded);
    me.models().put(NewModel::new("o", "offline", "offline")).await.unwrap();
    assert_eq!(me.models().embed("o", ["a"]).await.unwrap_err().code(), ErrorCode::InvalidInput);
    assert!(server.requests().is_empty());
    assert_eq!(kinds(&me).await, [EntryKind::Void, EntryKind::Void]);
}

#[tokio::test]
async fn a_user_embeds_by_models_that_are_open_to_it() {
    let (engine, me, _server) = engine(vec![vectors(json!({"prompt_tokens": 9}))]).await;
    me.users().create(NewUser::new("ana@example.com", "sk-canary long passphrase")).await.unwrap();
    let ana = engine.login("ana@example.com", "sk-canary long passphrase").await.unwrap();
    assert_eq!(ana.models().embed("e", ["a", "b"]).await.unwrap_err().code(), ErrorCode::NotFound);
    me.models().set_visibility("e", Visibility::Shared).await.unwrap();
    let request = EmbeddingRequest::texts("whatever", ["a", "b"]);
    assert_eq!(ana.models().embed_parts("e", request).await.unwrap().vectors.len(), 2);
}
