//! Prices as a user meets them: the listed ones, imported ones, and what stays unknown.

use std::collections::BTreeSet;

use blitz::provider::{FunctionProvider, Reply};
use blitz::{
    Engine, ErrorCode, ExecutionStatus, ModelSettings, Money, NewAgent, NewBudget, NewModel, Outcome, Price, Rate,
    Session, Usage,
};
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

/// Input, output, read from the cache, written to it for the usual time and for an hour; empty where there is none.
type Rates = [&'static str; 5];

/// What recorded answers reported, at prices in USD per million, and what a hand computes: of xAI also what it
/// billed itself.
const RECORDED: &[(&str, &str, Rates, i64)] = &[
    // 114 × 0.15 + 4,352 × 0.075 + 47 × 0.60
    (
        "openai",
        r#"{"prompt_tokens":4466,"completion_tokens":47,"total_tokens":4513,"prompt_tokens_details":{"audio_tokens":0,"cached_tokens":4352},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}"#,
        ["0.15", "0.60", "0.075", "", ""],
        371_700,
    ),
    // 76 × 0.15 + 4,480 × 0.075 + 4 × 0.60
    (
        "openai",
        r#"{"prompt_tokens":4556,"completion_tokens":4,"total_tokens":4560,"prompt_tokens_details":{"audio_tokens":0,"cached_tokens":4480},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}"#,
        ["0.15", "0.60", "0.075", "", ""],
        349_800,
    ),
    // 160 × 0.05 + 154 × 0.40
    (
        "openai",
        r#"{"prompt_tokens":160,"completion_tokens":154,"total_tokens":314,"prompt_tokens_details":{"audio_tokens":0,"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":128,"audio_tokens":0}}"#,
        ["0.05", "0.40", "0.005", "", ""],
        69_600,
    ),
    // 239 × 1.25 + 1,283 × 0.125 + 30 × 10
    (
        "openai_responses",
        r#"{"input_tokens":1522,"input_tokens_details":{"cache_write_tokens":0,"cached_tokens":1283},"output_tokens":30,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":1552}"#,
        ["1.25", "10", "0.125", "", ""],
        759_125,
    ),
    // 19 × 3 + 407 × 3.75 + 1,931 × 6 + 61 × 15
    (
        "anthropic",
        r#"{"input_tokens":19,"cache_creation_input_tokens":2338,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":407,"ephemeral_1h_input_tokens":1931},"output_tokens":61,"output_tokens_details":{"thinking_tokens":0},"service_tier":"standard"}"#,
        ["3", "15", "0.30", "3.75", "6"],
        14_084_250,
    ),
    // 28 × 3 + 1,425 × 6 + 13 × 15
    (
        "anthropic",
        r#"{"input_tokens":28,"cache_creation_input_tokens":1425,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":1425},"output_tokens":13,"output_tokens_details":{"thinking_tokens":7},"service_tier":"standard"}"#,
        ["3", "15", "0.30", "3.75", "6"],
        8_829_000,
    ),
    // 3 × 3 + 19 × 3.75 + 4,544 × 6 + 6 × 15
    (
        "anthropic",
        r#"{"input_tokens":3,"cache_creation_input_tokens":4563,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":19,"ephemeral_1h_input_tokens":4544},"output_tokens":6,"output_tokens_details":{"thinking_tokens":0},"service_tier":"standard"}"#,
        ["3", "15", "0.30", "3.75", "6"],
        27_434_250,
    ),
    // 3 × 3 + 19 × 3.75 + 4,546 × 6 + 6 × 15
    (
        "anthropic",
        r#"{"input_tokens":3,"cache_creation_input_tokens":4565,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":19,"ephemeral_1h_input_tokens":4546},"output_tokens":6,"output_tokens_details":{"thinking_tokens":0},"service_tier":"standard"}"#,
        ["3", "15", "0.30", "3.75", "6"],
        27_446_250,
    ),
    // 716 × 0.30 + 3,747 × 0.03 + 79 × 2.50
    (
        "gemini",
        r#"{"promptTokenCount":4463,"cachedContentTokenCount":3747,"candidatesTokenCount":17,"thoughtsTokenCount":62,"totalTokenCount":4542}"#,
        ["0.30", "2.50", "0.03", "", ""],
        524_710,
    ),
    // 819 × 0.30 + 3,692 × 0.03 + 51 × 2.50
    (
        "gemini",
        r#"{"promptTokenCount":4511,"cachedContentTokenCount":3692,"candidatesTokenCount":17,"thoughtsTokenCount":34,"totalTokenCount":4562}"#,
        ["0.30", "2.50", "0.03", "", ""],
        483_960,
    ),
    // 899 × 0.30 + 3,660 × 0.03 + 31 × 2.50
    (
        "gemini",
        r#"{"promptTokenCount":4559,"cachedContentTokenCount":3660,"candidatesTokenCount":3,"thoughtsTokenCount":28,"totalTokenCount":4590}"#,
        ["0.30", "2.50", "0.03", "", ""],
        457_000,
    ),
    // 155 × 0.28 + 1,024 × 0.028 + 78 × 0.42
    (
        "deepseek",
        r#"{"prompt_tokens":1179,"completion_tokens":78,"total_tokens":1257,"prompt_cache_hit_tokens":1024,"prompt_cache_miss_tokens":155,"completion_tokens_details":{"reasoning_tokens":0}}"#,
        ["0.28", "0.42", "0.028", "", ""],
        104_832,
    ),
    // 187 × 0.28 + 256 × 0.028 + 137 × 0.42
    (
        "deepseek",
        r#"{"prompt_tokens":443,"completion_tokens":137,"total_tokens":580,"prompt_cache_hit_tokens":256,"prompt_cache_miss_tokens":187,"completion_tokens_details":{"reasoning_tokens":32}}"#,
        ["0.28", "0.42", "0.028", "", ""],
        117_068,
    ),
    // 108 × 0.28 + 384 × 0.028 + 103 × 0.42
    (
        "deepseek",
        r#"{"prompt_tokens":492,"completion_tokens":103,"total_tokens":595,"prompt_cache_hit_tokens":384,"prompt_cache_miss_tokens":108,"completion_tokens_details":{"reasoning_tokens":25}}"#,
        ["0.28", "0.42", "0.028", "", ""],
        84_252,
    ),
    // 26 × 0.10 + 2,096 × 0.01 + 26 × 0.30
    (
        "mistral",
        r#"{"prompt_tokens":2122,"completion_tokens":26,"total_tokens":2148,"prompt_tokens_details":{"cached_tokens":2096},"service_tier":"standard"}"#,
        ["0.10", "0.30", "0.01", "", ""],
        31_360,
    ),
    // 45 × 0.50 + 1,760 × 0.05 + 4 × 1.50
    (
        "mistral",
        r#"{"prompt_tokens":1805,"completion_tokens":4,"total_tokens":1809,"prompt_tokens_details":{"cached_tokens":1760}}"#,
        ["0.50", "1.50", "0.05", "", ""],
        116_500,
    ),
    // 4,453 × 2.50 + 47 × 10
    (
        "cohere",
        r#"{"billed_units":{"input_tokens":4453,"output_tokens":47},"cached_tokens":112,"tokens":{"input_tokens":5890,"output_tokens":99}}"#,
        ["2.50", "10", "", "", ""],
        11_602_500,
    ),
    // 1,041 × 0.59 + 36 × 0.79
    (
        "groq",
        r#"{"prompt_tokens":1041,"completion_tokens":36,"total_tokens":1077,"queue_time":0.179872023,"total_time":0.153327955}"#,
        ["0.59", "0.79", "", "", ""],
        642_630,
    ),
    // 58 × 1.25 + 4,800 × 0.20 + 112 × 2.50
    (
        "xai",
        r#"{"input_tokens":4858,"input_tokens_details":{"cached_tokens":4800},"output_tokens":112,"output_tokens_details":{"reasoning_tokens":109},"total_tokens":4970,"cost_in_usd_ticks":13125000}"#,
        ["1.25", "2.50", "0.20", "", ""],
        1_312_500,
    ),
    // 4,666 × 1.25 + 192 × 0.20 + 113 × 2.50
    (
        "xai",
        r#"{"input_tokens":4858,"input_tokens_details":{"cached_tokens":192},"output_tokens":113,"output_tokens_details":{"reasoning_tokens":110},"total_tokens":4971,"cost_in_usd_ticks":61534000}"#,
        ["1.25", "2.50", "0.20", "", ""],
        6_153_400,
    ),
    // 647 × 1.25 + 192 × 0.20 + 432 × 2.50
    (
        "xai",
        r#"{"input_tokens":839,"input_tokens_details":{"cached_tokens":192},"output_tokens":432,"output_tokens_details":{"reasoning_tokens":390},"total_tokens":1271,"cost_in_usd_ticks":19271500}"#,
        ["1.25", "2.50", "0.20", "", ""],
        1_927_150,
    ),
];

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
async fn recorded_usage_costs_what_a_hand_computes_to_the_nano_dollar() {
    let providers: BTreeSet<_> = RECORDED.iter().map(|(provider, ..)| provider).collect();
    assert!(RECORDED.len() >= 20 && providers.len() >= 6);
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    for (provider, usage, [input, output, read, write, hour], expected) in RECORDED {
        let usage: Value = serde_json::from_str(usage).unwrap();
        let server = Server::start([server::Reply::json(200, &whole(provider, &usage))]).await;
        let rate = |text: &str| Rate::parse_per_million(text).unwrap();
        let mut price = Price::per_million(input, output).unwrap();
        if !read.is_empty() {
            price = price.with_cache_read(rate(read));
        }
        if !write.is_empty() {
            price = price.with_cache_write(rate(write), rate(hour));
        }
        let model = NewModel::new("m", *provider, "m").with_base_url(server.url()).with_api_key("k");
        let done = run(&me, model.with_price(price)).await;
        assert_eq!(done.output, "done", "{provider}: {:?}", done.error);
        assert_eq!(done.cost, Some(Money::from_nanos(*expected)), "{provider}: {usage}");
    }
}
