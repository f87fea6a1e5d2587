//! Fields that the engine does not know: none of them makes a call dearer than what is held for it.

use blitz::{
    CostFilter, Engine, ErrorCode, ListOptions, ModelSettings, Money, NewAgent, NewBudget, NewModel, Price,
    RetryPolicy, Session,
};
use serde_json::{Value, json};

use crate::support::server::{Reply, Server};

/// An agent `a` and a model `e` at a provider that refuses whatever reaches it.
async fn at(provider: &str, model: &str) -> (Engine, Session, Server) {
    let refused = |_| Reply::json(400, &json!({"error": {"message": "no"}}));
    let server = Server::start((0..8).map(refused)).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let new = NewModel::new("e", provider, model).with_base_url(server.url()).with_api_key("sk-canary");
    me.models().put(new.with_price(Price::per_million("1", "1").unwrap())).await.unwrap();
    (engine, me, server)
}

fn agent(extra: &Value, cap: u64) -> NewAgent {
    let mut settings = ModelSettings::default();
    (settings.max_output_tokens, settings.extra) = (Some(cap), extra.as_object().unwrap().clone());
    NewAgent::new("a", "e").settings(settings).retry(RetryPolicy::never())
}

async fn run(me: &Session, extra: &Value) -> blitz::ErrorInfo {
    me.agents().put(agent(extra, 50)).await.unwrap();
    me.run("a", "go").await.unwrap().error.unwrap()
}

/// Each of `bad` is refused before anything is sent or paid; each of `good` is sent as it is said.
async fn passes_only(provider: &str, bad: Vec<Value>, good: Vec<Value>) {
    let (_engine, me, server) = at(provider, "some-model").await;
    for extra in bad {
        let error = run(&me, &extra).await;
        assert_eq!(error.code, ErrorCode::InvalidInput, "{provider}: {extra}: {}", error.message);
        assert!(error.message.contains("settings.extra"), "{provider}: {}", error.message);
        assert!(server.requests().is_empty(), "{provider}: {extra} was sent");
    }
    assert_eq!(me.costs().summary(CostFilter::all()).await.unwrap().cost, Money::ZERO);
    for extra in good {
        let sent = server.requests().len();
        let error = run(&me, &extra).await;
        assert_eq!(server.requests().len(), sent + 1, "{provider}: {extra}: {}", error.message);
        let body = server.last_request().json();
        assert!(holds(&body, &extra), "{provider}: {body} has no {extra}");
        assert!(body.to_string().contains(":50"), "{provider}: the cap is as it was: {body}");
    }
}

/// Whether a body holds all of some fields.
fn holds(body: &Value, fields: &Value) -> bool {
    match fields.as_object() {
        Some(fields) => fields.iter().all(|(name, value)| holds(&body[name], value)),
        None => body == fields,
    }
}

#[tokio::test]
async fn t11_openai_keeps_its_cap_its_model_and_a_few_answers() {
    let bad = vec![
        json!({"max_tokens": 9_000}),
        json!({"maxTokens": 9_000}),
        json!({"Max_Completion_Tokens": 9_000}),
        json!({"n_predict": 9_000}),
        json!({"models": ["a/dear-one"]}),
        json!({"n": 17}),
        json!({"n": "2"}),
        json!({"n": 0}),
    ];
    passes_only("openai", bad.clone(), vec![json!({"top_k": 3, "n": 2}), json!({"n": 1})]).await;
    passes_only("openrouter", bad, vec![json!({"provider": {"order": ["a"]}})]).await;
}

#[tokio::test]
async fn t11_responses_keeps_its_cap_and_brings_no_input_from_elsewhere() {
    let bad = vec![
        json!({"max_output_tokens": 9_000}),
        json!({"previous_response_id": "resp_1"}),
        json!({"conversation": {"id": "conv_1"}}),
        json!({"prompt": {"id": "pmpt_1"}}),
    ];
    passes_only("openai_responses", bad, vec![json!({"previous_response_id": null, "store": false})]).await;
}

#[tokio::test]
async fn t11_anthropic_keeps_its_cap() {
    let bad = vec![json!({"max_tokens": 9_000}), json!({"MaxTokens": 9_000}), json!({"system": "more"})];
    passes_only("anthropic", bad, vec![json!({"top_k": 3, "metadata": {"user_id": "u"}})]).await;
}

#[tokio::test]
async fn t11_gemini_keeps_its_cap_inside_its_settings() {
    let bad = vec![
        json!({"generationConfig": {"maxOutputTokens": 9_000}}),
        json!({"generationConfig": {"max_output_tokens": 9_000}}),
        json!({"generation_config": {"maxOutputTokens": 9_000}}),
        json!({"generationConfig": null}),
        json!({"generationConfig": {"stopSequences": []}}),
        json!({"generationConfig": {"candidateCount": 99}}),
        json!({"system_instruction": {"parts": []}}),
        json!({"cachedContent": "cachedContents/1"}),
    ];
    let good = vec![
        json!({"generationConfig": {"topK": 3, "thinkingConfig": {"thinkingBudget": 0}}}),
        json!({"generationConfig": {"candidateCount": 2}, "safetySettings": []}),
    ];
    passes_only("gemini", bad, good).await;
}

#[tokio::test]
async fn t11_ollama_keeps_its_cap_inside_its_options() {
    let bad = vec![
        json!({"options": {"num_predict": -1}}),
        json!({"Options": {"num_predict": -1}}),
        json!({"options": []}),
        json!({"model": "another"}),
    ];
    passes_only("ollama", bad, vec![json!({"options": {"num_ctx": 99}, "keep_alive": 5})]).await;
}

#[tokio::test]
async fn t11_cohere_keeps_its_cap() {
    passes_only("cohere", vec![json!({"max_tokens": 9_000}), json!({"Model": "x"})], vec![json!({"k": 3})]).await;
}

#[tokio::test]
async fn t11_money_is_held_for_each_of_several_answers() {
    for (provider, extra, cap) in [
        ("openai", json!({"n": 4}), "/max_tokens"),
        ("gemini", json!({"generationConfig": {"candidateCount": 4}}), "/generationConfig/maxOutputTokens"),
    ] {
        let (_engine, me, server) = at(provider, "some-model").await;
        // It pays for the input and two hundred tokens: fifty for each of four answers, not for fifty-one.
        me.agents().put(agent(&extra, 1_000)).await.unwrap();
        let limit = Money::from_nanos(1_000_000);
        me.budgets().create(NewBudget::per_execution("b", limit)).await.unwrap();
        me.run("a", "go").await.unwrap();
        let sent = server.last_request().json();
        let cap = sent.pointer(cap).unwrap().as_i64().unwrap();
        assert!(cap > 16 && cap * 4 * 1_000 <= limit.nanos(), "{provider}: {cap} for each of four");
    }
}

#[tokio::test]
async fn t18_fields_that_the_engine_does_not_know_are_input_too() {
    let (_engine, me, server) = at("openai", "some-model").await;
    me.budgets().create(NewBudget::per_execution("b", Money::from_nanos(2_000_000))).await.unwrap();
    let documents = |bytes: usize| json!({"documents": ["x".repeat(bytes)]});
    assert_eq!(run(&me, &documents(4_000)).await.code, ErrorCode::BudgetExceeded);
    assert!(server.requests().is_empty());
    assert_ne!(run(&me, &documents(4)).await.code, ErrorCode::BudgetExceeded);
    assert_eq!(server.requests().len(), 1);
}

// Embeddings --------------------------------------------------------------------------------------

async fn embed(me: &Session, extra: &Value) -> ErrorCode {
    let input = json!({"model": "e", "inputs": ["a"], "dimensions": 2, "extra": extra, "retry": {"max_attempts": 1}});
    me.call("models.embed", input).await.unwrap_err().code()
}

#[tokio::test]
async fn t11_t18_embeddings_keep_their_model_and_their_inputs() {
    for (provider, own) in [
        ("openai", vec!["model", "input", "Input", "dimensions", "messages", "models"]),
        ("mistral", vec!["model", "input", "output_dimension"]),
        ("azure", vec!["model", "input", "dimensions"]),
        ("gemini", vec!["model", "requests", "content", "output_dimensionality"]),
        ("cohere", vec!["model", "texts", "images", "inputs", "output_dimension"]),
        ("ollama", vec!["model", "INPUT", "dimensions"]),
    ] {
        let (_engine, me, server) = at(provider, "some-model").await;
        for name in own {
            assert_eq!(embed(&me, &json!({name: ["dear"]})).await, ErrorCode::InvalidInput, "{provider}: {name}");
            assert!(server.requests().is_empty(), "{provider}: {name} was sent");
        }
        // Nothing was sent, so nothing is paid; what is unknown passes.
        let entries = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items;
        assert!(entries.iter().all(|entry| entry.amount == Some(Money::ZERO)), "{provider}: {entries:?}");
        embed(&me, &json!({"user": "u", "input_type": "search_query"})).await;
        let sent = server.last_request().json();
        // Gemini has a request for each input.
        let sent = sent.pointer("/requests/0").unwrap_or(&sent);
        assert_eq!((&sent["user"], &sent["input_type"]), (&json!("u"), &json!("search_query")), "{provider}");
    }
}

#[tokio::test]
async fn t18_embeddings_count_fields_that_the_engine_does_not_know() {
    let (_engine, me, server) = at("openai", "some-model").await;
    me.budgets().create(NewBudget::per_execution("b", Money::from_nanos(2_000_000))).await.unwrap();
    assert_eq!(embed(&me, &json!({"instruction": "x".repeat(4_000)})).await, ErrorCode::BudgetExceeded);
    assert!(server.requests().is_empty());
    assert_ne!(embed(&me, &json!({"instruction": "x"})).await, ErrorCode::BudgetExceeded);
    assert_eq!(server.requests().len(), 1);
}
