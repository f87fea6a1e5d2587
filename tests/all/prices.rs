//! Prices as a user meets them: the listed ones, imported ones, and what stays unknown.

use blitz::provider::{FunctionProvider, Reply};
use blitz::{Engine, ErrorCode, ExecutionStatus, Money, NewAgent, NewBudget, NewModel, Outcome, Price, Session, Usage};
use serde_json::json;

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
async fn t10_an_unknown_model_stays_unpriced_and_is_refused_under_a_hard_budget() {
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
        "mistral/wrong": {"litellm_provider": "mistral", "input_cost_per_token": -1, "output_cost_per_token": 1},
        "flux": {"litellm_provider": "fal_ai", "output_cost_per_image": 0.04}
    }"#;
    let imported = me.models().import_prices(map, "a test").await.unwrap();
    assert_eq!((imported.version, imported.taken), (1, 2));
    let left_out: Vec<_> = imported.left_out.iter().map(|left| left.model.as_str()).collect();
    assert_eq!(left_out, ["flux", "mistral/wrong"]);
    // 1,000 × 2 + 100 × 6: the map says nothing of cached tokens
    assert_eq!(cost(&run(&me, model("Mistral-Large-2512")).await).as_deref(), Some("0.0026"));
    assert_eq!(cost(&run(&me, model("of-this-year")).await).as_deref(), Some("0.0011"));
    assert!(cost(&run(&me, model("ministral-8b-2410")).await).is_some());
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
