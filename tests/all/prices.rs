//! Prices as a user meets them: the listed ones, imported ones, and what stays unknown.

use std::collections::BTreeSet;

use blitz::provider::{FunctionProvider, Reply};
use blitz::{
    CostFilter, Engine, EntryKind, ErrorCode, EventData, ExecutionStatus, ListOptions, ModelSettings, Money, NewAgent,
    NewBudget, NewModel, Outcome, Price, Rate, ServiceTier, Session, Usage,
};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::server::{self, Server};

/// An engine whose provider `mistral` is a function that always uses as much.
async fn engine(usage: Usage) -> (Engine, Session) {
    let answer = move |_, _| async move { Ok(Reply::text("done").with_usage(usage)) };
    let provider = FunctionProvider::new("mistral", answer);
    let engine = Engine::builder(":memory:").with_provider(provider).open().await.unwrap();
    let me = engine.root("test");
    (engine, me)
}

async fn run(me: &Session, model: NewModel) -> Outcome {
    me.models().put(model).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    me.run("a", json!("go")).await.unwrap()
}

fn model(name: &str) -> NewModel {
    NewModel::new("m", "mistral", name)
}

fn usage() -> Usage {
    Usage::new(1_000, 100).with_cache(200, 0)
}

fn cost(outcome: &Outcome) -> Option<String> {
    assert_eq!(outcome.status, ExecutionStatus::Completed, "{:?}", outcome.error);
    outcome.cost.map(|cost| cost.to_string())
}

#[tokio::test]
async fn a_model_without_a_price_has_the_listed_one() {
    let (_engine, me) = engine(usage()).await;
    // 800 × 0.50 + 200 × 0.05 + 100 × 1.50, USD per million
    assert_eq!(cost(&run(&me, model("mistral-large-2512")).await).as_deref(), Some("0.00056"));
}

#[tokio::test]
async fn a_price_of_the_models_own_wins() {
    let (_engine, me) = engine(usage()).await;
    let own = model("mistral-large-2512").with_price(Price::per_million("1", "1").unwrap());
    assert_eq!(cost(&run(&me, own).await).as_deref(), Some("0.0011"));
}

#[tokio::test]
async fn another_service_tier_has_no_listed_price_and_is_not_guessed() {
    let (_engine, me) = engine(usage()).await;
    for (tier, expected) in [("default", Some("0.00056")), ("flex", None), ("priority", None)] {
        let mut settings = ModelSettings::default();
        settings.extra.insert("service_tier".into(), tier.into());
        let tiered = model("mistral-large-2512").with_settings(settings.clone());
        assert_eq!(cost(&run(&me, tiered).await).as_deref(), expected, "{tier}");
        let own = model("mistral-large-2512").with_settings(settings).with_price(Price::per_million("1", "1").unwrap());
        assert_eq!(cost(&run(&me, own).await).as_deref(), Some("0.0011"), "{tier}");
    }
}

#[tokio::test]
async fn b40_t10_an_unknown_model_stays_unpriced_and_is_refused_under_a_hard_budget() {
    let (_engine, me) = engine(usage()).await;
    assert_eq!(cost(&run(&me, model("nobody-lists-this")).await), None);
    me.budgets().create(NewBudget::per_execution("cap", Money::parse("1").unwrap())).await.unwrap();
    let refused = run(&me, model("nobody-lists-this")).await;
    assert_eq!(refused.error.unwrap().code, ErrorCode::BudgetExceeded);
    assert!(cost(&run(&me, model("mistral-large-2512")).await).is_some());
}

#[tokio::test]
async fn an_imported_price_wins_over_the_table_and_holds_at_once() {
    let (_engine, me) = engine(usage()).await;
    assert_eq!(cost(&run(&me, model("mistral-large-2512")).await).as_deref(), Some("0.00056"));
    let map = r#"{
        "sample_spec": {"input_cost_per_token": 0.0},
        "mistral/mistral-large-2512": {"litellm_provider": "mistral", "input_cost_per_token": 2e-06, "output_cost_per_token": 6e-06},
        "mistral/of-this-year": {"litellm_provider": "mistral", "input_cost_per_token": "0.000001", "output_cost_per_token": "0.000001"},
        "mistral/ministral-3b-2512": {"litellm_provider": "mistral", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "output_cost_per_image": 0.04},
        "flux": {"litellm_provider": "fal_ai", "output_cost_per_image": 0.04}
    }"#;
    let imported = me.models().import_prices(map, "a test").await.unwrap();
    assert_eq!((imported.version, imported.taken), (1, 2));
    let left_out: Vec<_> = imported.left_out.iter().map(|left| left.model.as_str()).collect();
    assert_eq!(left_out, ["flux", "mistral/ministral-3b-2512"]);
    // 1,000 × 2 + 100 × 6: the map says nothing of cached tokens
    assert_eq!(cost(&run(&me, model("Mistral-Large-2512")).await).as_deref(), Some("0.0026"));
    assert_eq!(cost(&run(&me, model("of-this-year")).await).as_deref(), Some("0.0011"));
    assert!(cost(&run(&me, model("ministral-8b-2410")).await).is_some(), "the map does not name it");
    assert_eq!(cost(&run(&me, model("ministral-3b-2512")).await), None, "it names it, and not by tokens alone");
    // By the method table, as an object; the same content by the same text is the same version.
    let again = me.models().import_prices(map, "a test").await.unwrap();
    assert_eq!(again.version, 1);
    let map = json!({"mistral/mistral-large-2512": {"litellm_provider": "mistral", "input_cost_per_token": 0.000001, "output_cost_per_token": 1e-6}});
    let by_name = me.call("models.import_prices", json!({"prices": map})).await.unwrap();
    assert_eq!((&by_name["version"], &by_name["taken"]), (&json!(2), &json!(1)));
    assert_eq!(cost(&run(&me, model("mistral-large-2512")).await).as_deref(), Some("0.0011"));
}

#[tokio::test]
async fn t04_an_import_that_is_no_map_changes_nothing() {
    let (_engine, me) = engine(usage()).await;
    for text in ["", "[1]", "{\"a\": ", "nothing"] {
        assert_eq!(me.models().import_prices(text, "").await.unwrap_err().code(), ErrorCode::InvalidInput);
    }
    assert_eq!(cost(&run(&me, model("mistral-large-2512")).await).as_deref(), Some("0.00056"));
}

/// One row that is none refuses the map, names itself and leaves what was in force; asked to, the import goes on
/// without it, and the model has no price rather than an older one.
#[tokio::test]
async fn t04_a_bad_row_refuses_the_whole_map_and_is_named() {
    let (_engine, me) = engine(usage()).await;
    let row = |rate: Value| json!({"litellm_provider": "mistral", "input_cost_per_token": rate, "output_cost_per_token": 1e-6});
    let bad = [json!("NaN"), json!(-5), json!("1,5"), json!("0.12345678901234567890")];
    let names = ["a", "b", "c", "mistral-large-2512"];
    let mut map: serde_json::Map<String, Value> =
        names.iter().zip(bad).map(|(name, rate)| ((*name).to_owned(), row(rate))).collect();
    map.insert("good".to_owned(), row(json!("0.000001")));
    let text = Value::Object(map.clone()).to_string();
    for refused in [me.prices().import(&text, "", None).await, me.models().import_prices(&text, "").await] {
        let error = refused.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        let details = error.details();
        let named: Vec<&str> =
            details["rows"].as_array().unwrap().iter().map(|row| row["model"].as_str().unwrap()).collect();
        assert_eq!(named, names);
        assert!(names.iter().all(|name| error.to_string().contains(name)), "{error}");
    }
    assert!(me.prices().versions(ListOptions::default()).await.unwrap().items.is_empty(), "nothing is kept");
    assert_eq!(cost(&run(&me, model("good")).await), None);
    assert_eq!(cost(&run(&me, model("mistral-large-2512")).await).as_deref(), Some("0.00056"), "as shipped");

    let asked = json!({"prices": map, "leave_out_bad": true});
    let imported = me.call("prices.import", asked).await.unwrap();
    assert_eq!((&imported["taken"], imported["left_out"].as_array().unwrap().len()), (&json!(1), 4));
    assert!(cost(&run(&me, model("good")).await).is_some());
    assert_eq!(cost(&run(&me, model("mistral-large-2512")).await), None, "named, and not priced");
}

/// Where nobody listens, and no price list holds.
const ELSEWHERE: &str = "http://127.0.0.1:9/v1";

#[tokio::test]
async fn t10_a_server_that_the_environment_names_has_no_listed_price() {
    // The environment is a process's: this test runs again in one of its own.
    if std::env::var("OPENAI_BASE_URL").as_deref() != Ok(ELSEWHERE) {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "prices::t10_a_server_that_the_environment_names_has_no_listed_price";
        command.args(["--exact", name]).env("OPENAI_BASE_URL", ELSEWHERE).env("OPENAI_API_KEY", "k");
        assert!(command.status().unwrap().success(), "in a process whose environment names a server");
        return;
    }
    let (engine, me) = engine(usage()).await;
    me.budgets().create(NewBudget::per_execution("cap", Money::parse("1").unwrap())).await.unwrap();
    let refused = run(&me, NewModel::new("m", "openai", "gpt-4o")).await.error.unwrap();
    assert_eq!(refused.code, ErrorCode::BudgetExceeded, "{refused:?}");
    let own = NewModel::new("m", "openai", "gpt-4o").with_base_url("https://api.openai.com.example.net");
    assert_eq!(run(&me, own).await.error.unwrap().code, ErrorCode::BudgetExceeded);
    // A provider of the host's own under this name is at no address.
    engine.register_provider(FunctionProvider::new("openai", |_, _| async { Ok(Reply::text("hello")) }));
    assert!(cost(&run(&me, NewModel::new("m", "openai", "gpt-4o")).await).is_some());
}

/// One row of `prices.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Billed {
    by_hand: String,
    provider: String,
    price: Value,
    usage: Value,
    /// Further fields of the answer.
    #[serde(default)]
    answer: Value,
    nanos: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bills {
    #[allow(dead_code, reason = "for who reads the file")]
    about: String,
    recorded: Vec<Billed>,
    written: Vec<Billed>,
}

/// A price of USD per million as the engine takes it: USD per token. A search is no million.
fn per_token(price: &Value) -> Value {
    let one = |(name, value): (&String, &Value)| {
        let value = match (name.as_str(), value) {
            ("tiers", Value::Array(tiers)) => tiers.iter().map(per_token).collect(),
            ("service_tier" | "search", _) => value.clone(),
            (_, Value::String(rate)) => json!(Rate::parse_per_million(rate).unwrap()),
            _ => value.clone(),
        };
        (name.clone(), value)
    };
    price.as_object().unwrap().iter().map(one).collect()
}

/// A whole answer of a dialect with this usage.
fn whole(provider: &str, usage: &Value) -> Value {
    match provider {
        "anthropic" => json!({"type": "message", "id": "i", "model": "m", "stop_reason": "end_turn", "usage": usage,
            "content": [{"type": "text", "text": "done"}]}),
        "gemini" => json!({"candidates": [{"content": {"parts": [{"text": "done"}]}, "finishReason": "STOP"}],
            "usageMetadata": usage}),
        "cohere" => json!({"id": "i", "finish_reason": "COMPLETE", "usage": usage,
            "message": {"content": [{"type": "text", "text": "done"}]}}),
        "openai_responses" | "xai" => json!({"object": "response", "id": "i", "status": "completed", "usage": usage,
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "done"}]}]}),
        _ => {
            json!({"choices": [{"index": 0, "message": {"content": "done"}, "finish_reason": "stop"}], "usage": usage})
        }
    }
}

#[tokio::test]
async fn b37_b38_reported_usage_costs_what_a_hand_computes_to_the_nano_dollar() {
    let bills: Bills = serde_json::from_str(include_str!("prices.json")).unwrap();
    let providers: BTreeSet<_> = bills.recorded.iter().map(|bill| &bill.provider).collect();
    assert!(bills.recorded.len() >= 20 && providers.len() >= 6);
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    for Billed { by_hand, provider, price, usage, answer, nanos } in bills.recorded.into_iter().chain(bills.written) {
        let mut whole = whole(&provider, &usage);
        whole.as_object_mut().unwrap().extend(answer.as_object().cloned().unwrap_or_default());
        let server = Server::start([server::Reply::json(200, &whole)]).await;
        let price: Price = serde_json::from_value(per_token(&price)).unwrap();
        let model = NewModel::new("m", provider, "m").with_base_url(server.url()).with_api_key("sk-canary");
        let done = run(&me, model.with_price(price.clone())).await;
        assert_eq!(done.output, "done", "{by_hand}: {:?}", done.error);
        assert_eq!(done.cost, Some(Money::from_nanos(nanos)), "{by_hand}");
        // I9: what the books hold is enough to compute the same again.
        let mut filter = CostFilter::default();
        filter.root_id = Some(done.execution_id);
        let entries = me.costs().list(filter, ListOptions::default()).await.unwrap().items;
        let booked = entries.iter().find_map(|entry| entry.usage).unwrap();
        assert_eq!(price.cost(&booked).unwrap().nanos(), nanos, "{by_hand}");
    }
}

#[tokio::test]
async fn b38_what_a_class_of_service_costs_is_held_where_it_is_asked_for() {
    let usage = Usage::new(1_000, 100).with_service_tier(ServiceTier::Priority);
    let answer = move |_, _| async move { Ok(Reply::text("done").with_usage(usage)) };
    let provider = FunctionProvider::new("openai", answer);
    let engine = Engine::builder(":memory:").with_provider(provider).open().await.unwrap();
    let me = engine.root("test");
    let asking = |tier: &str| {
        let mut settings = ModelSettings::default();
        settings.extra.insert("service_tier".into(), tier.into());
        NewModel::new("m", "openai", "gpt-5").with_settings(settings)
    };
    // 1,000 × 2.50 + 100 × 20
    assert_eq!(cost(&run(&me, asking("priority")).await).as_deref(), Some("0.0045"));
    // A list that names no such class prices none.
    assert_eq!(cost(&run(&me, asking("scale")).await), None);
    // What is booked is never more than is held where the class was asked for.
    let overages = async |tier: &str| {
        let done = run(&me, asking(tier)).await;
        let mut filter = CostFilter::default();
        filter.root_id = Some(done.execution_id);
        let entries = me.costs().list(filter, ListOptions::default()).await.unwrap().items;
        entries.iter().filter(|entry| entry.kind == EntryKind::Overage).count()
    };
    assert_eq!(overages("priority").await, 0);
}

#[tokio::test]
async fn the_dearer_class_is_held_where_the_provider_chooses() {
    let answer = |_, _| async { Ok(Reply::text("done").with_usage(usage())) };
    let engine = Engine::builder(":memory:");
    let engine = engine.with_provider(FunctionProvider::new("openai", answer));
    let engine = engine.with_provider(FunctionProvider::new("gemini", answer)).open().await.unwrap();
    let me = engine.root("test");
    let held = async |provider: &str, model: &str, tier: Option<&str>| {
        let mut settings = ModelSettings::default();
        settings.extra.extend(tier.map(|tier| ("service_tier".to_owned(), tier.into())));
        let done = run(&me, NewModel::new("m", provider, model).with_settings(settings)).await;
        let events: Vec<_> = me.executions().events(done.execution_id, 0).map(Result::unwrap).collect().await;
        let started = events.iter().find_map(|event| match &event.data {
            EventData::StepStarted(started) => Some(started.reserved.unwrap().nanos()),
            _ => None,
        });
        started.unwrap()
    };
    let (priority, usual) =
        (held("openai", "gpt-5", Some("priority")).await, held("openai", "gpt-5", Some("default")).await);
    assert_eq!(priority, 2 * usual);
    // Fast mode is its other name. Ultrafast is dearer still.
    assert_eq!(held("openai", "gpt-5", Some("fast")).await, priority);
    let (fast, ultrafast) =
        (held("openai", "gpt-6-astra", Some("fast")), held("openai", "gpt-6-astra", Some("ultrafast")));
    assert_eq!(fast.await * 3, ultrafast.await);
    // A project's setting may answer these at priority.
    assert_eq!(held("openai", "gpt-5", None).await, priority);
    assert_eq!(held("openai", "gpt-5", Some("auto")).await, priority);
    // Nobody gives it unasked here, and nobody sells it there.
    let gemini = "gemini-2.5-pro";
    assert_eq!(held("gemini", gemini, None).await, held("gemini", gemini, Some("standard")).await);
    assert_eq!(held("openai", "gpt-4", None).await, held("openai", "gpt-4", Some("default")).await);
}
