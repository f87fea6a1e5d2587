//! What a call is booked at whose provider searched, or ran another tool of its own.

use blitz::provider::{FunctionProvider, Reply as Answer};
use blitz::{
    CostFilter, Engine, EntryFlag, ErrorCode, ListOptions, Money, NewAgent, NewBudget, NewModel, Price, Rerate,
    RetryPolicy, Session, Usage, UsageDetails, UsageQuery,
};
use serde_json::{Value, json};

use super::failed::booked;
use crate::support::server::{Reply, Server};

/// A dollar for a million tokens each way, and a cent for each search where that is known.
fn price(search: bool) -> Price {
    let search = if search { json!({"search": "0.01"}) } else { json!({}) };
    with_rates(&search)
}

/// The same with these rates for what is counted beside tokens.
fn with_rates(rates: &Value) -> Price {
    let mut price = json!({"input": "0.000001", "output": "0.000001"});
    for (name, rate) in rates.as_object().unwrap() {
        price[name] = rate.clone();
    }
    serde_json::from_value(price).unwrap()
}

/// An engine with the agent `a` on a model at a server with this answer, which passes these fields on.
async fn at(provider: &str, name: &str, price: Price, extra: Value, body: &Value) -> (Engine, Session, Server) {
    let server = Server::start([Reply::json(200, body)]).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let model = NewModel::new("m", provider, name).with_base_url(server.url()).with_api_key("sk-canary");
    me.models().put(model.with_price(price).with_max_output_tokens(50)).await.unwrap();
    let settings = serde_json::from_value(json!({"stream": false, "extra": extra})).unwrap();
    me.agents().put(NewAgent::new("a", "m").retry(RetryPolicy::never()).settings(settings)).await.unwrap();
    (engine, me, server)
}

/// How many searches were booked, and the cost in nano-dollars where all of it is known; the tokens are paid all the
/// same.
async fn paid(provider: &str, name: &str, search: bool, extra: Value, body: Value) -> (u64, Option<i64>) {
    let (details, cost) = counted(provider, name, price(search), extra, body).await;
    (details.searches, cost)
}

/// What was counted beside tokens, and the cost in nano-dollars where all of it is known.
async fn counted(provider: &str, name: &str, price: Price, extra: Value, body: Value) -> (UsageDetails, Option<i64>) {
    let (_engine, me, _server) = at(provider, name, price, extra, &body).await;
    let done = me.run("a", "a question").await.unwrap();
    assert!(done.error.is_none(), "{:?}", done.error);
    let entry = booked(&me).await;
    let summary = me.costs().summary(CostFilter::all()).await.unwrap();
    me.budgets().verify().await.unwrap();
    let is_partly = entry.flag == Some(EntryFlag::UnpricedPart);
    assert_eq!((summary.unpriced_calls, done.cost.is_none()), (u64::from(is_partly), is_partly));
    if is_partly {
        assert_eq!((summary.cost.nanos(), entry.amount), (15_000, Some(summary.cost)), "never refunded to nothing");
    }
    (entry.usage.unwrap().details, summary.known_cost().map(Money::nanos))
}

fn chat() -> Value {
    json!({"choices": [{"index": 0, "message": {"content": "found"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5}})
}

fn responses(items: &[&str], more: &Value) -> Value {
    let mut usage = json!({"input_tokens": 10, "output_tokens": 5});
    for (name, value) in more.as_object().into_iter().flatten() {
        usage[name] = value.clone();
    }
    let mut output: Vec<Value> = items
        .iter()
        .map(|item| {
            let (kind, container) = item.split_once(' ').unwrap_or((item, ""));
            let container = if container.is_empty() { json!(null) } else { json!(container) };
            json!({"type": kind, "id": "i", "container_id": container})
        })
        .collect();
    output.push(json!({"type": "message", "content": [{"type": "output_text", "text": "found"}]}));
    json!({"object": "response", "id": "r", "status": "completed", "output": output, "usage": usage})
}

#[tokio::test]
async fn b37_each_call_of_a_search_model_and_each_search_that_a_report_counts_is_paid() {
    let none = || json!({});
    let options = json!({"web_search_options": {}});
    assert_eq!(paid("openai", "gpt-4o-search-preview", true, none(), chat()).await, (1, Some(10_015_000)));
    assert_eq!(paid("openai", "gpt-4o", true, options, chat()).await, (1, Some(10_015_000)));
    for name in ["gpt-4o", "product-search", "ft:gpt-4o-mini:org:job-search-bot:id"] {
        assert_eq!(paid("openai", name, true, none(), chat()).await, (0, Some(15_000)), "{name}");
    }
    let tools = || json!({"tools": [{"type": "web_search"}, {"type": "x_search"}]});
    let told = json!({"num_server_side_tools_used": 3,
        "server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 1, "code_interpreter_calls": 0}});
    let answer = responses(&["web_search_call"], &told);
    assert_eq!(paid("openai_responses", "grok-4", true, tools(), answer).await, (3, Some(30_015_000)));
    let answer = responses(&[], &json!({"num_server_side_tools_used": 2}));
    assert_eq!(paid("openai_responses", "grok-4", true, tools(), answer).await, (2, Some(20_015_000)));
    let answer = responses(&["web_search_call"], &json!({}));
    assert_eq!(paid("openai_responses", "gpt-5", true, tools(), answer).await, (1, Some(10_015_000)));
}

#[tokio::test]
async fn b37_what_a_search_or_another_tool_costs_that_nobody_lists_is_unknown() {
    let options = json!({"web_search_options": {}});
    assert_eq!(paid("openai", "gpt-4o", false, options, chat()).await, (1, None));
    // What did not search costs its tokens.
    let tools = |kind: &str| json!({"tools": [{"type": kind}]});
    assert_eq!(
        paid("openai_responses", "gpt-5", false, tools("web_search"), responses(&[], &json!({}))).await,
        (0, Some(15_000))
    );
    for kind in ["file_search", "code_interpreter", "image_generation"] {
        let answer = responses(&[&format!("{kind}_call")], &json!({}));
        assert_eq!(paid("openai_responses", "gpt-5", true, tools(kind), answer).await, (0, None), "{kind}");
        assert_eq!(
            paid("openai_responses", "gpt-5", true, tools(kind), responses(&[], &json!({}))).await.1,
            Some(15_000)
        );
    }
}

#[tokio::test]
async fn b37_each_work_of_a_providers_own_tool_is_paid_at_its_rate() {
    let rates = || {
        with_rates(
            &json!({"search": "0.01", "file_search": "0.0025", "document_search": "0.01", "code_session": "0.03",
            "generated_image": "0.04", "second": "0.0001"}),
        )
    };
    let tools = |kinds: &[&str]| {
        let auto = |kind: &&str| match *kind {
            "code_interpreter" => json!({"type": kind, "container": {"type": "auto"}}),
            kind => json!({"type": kind}),
        };
        json!({"tools": kinds.iter().map(auto).collect::<Vec<_>>()})
    };
    let none = UsageDetails::default();
    let with = |change: fn(&mut UsageDetails)| {
        let mut details = none;
        change(&mut details);
        details
    };
    // Two searches in files, one container that ran twice and another one, one picture: 5 + 60 + 40 thousandths.
    let items = [
        "file_search_call",
        "file_search_call",
        "code_interpreter_call c1",
        "code_interpreter_call c1",
        "code_interpreter_call c2",
        "image_generation_call",
    ];
    let all = tools(&["file_search", "code_interpreter", "image_generation"]);
    let expected = with(|d| (d.file_searches, d.code_sessions, d.generated_images) = (2, 2, 1));
    let found = counted("openai_responses", "gpt-5", rates(), all, responses(&items, &json!({}))).await;
    assert_eq!(found, (expected, Some(105_015_000)));
    // xAI counts them itself: 1 x 10 + 3 x 2.5 + 2 x 10 + 4 x 30 thousandths, remote tools for nothing.
    let told = json!({"server_side_tool_usage_details": {"web_search_calls": 1, "file_search_calls": 3,
        "document_search_calls": 2, "code_interpreter_calls": 4, "mcp_calls": 9}});
    let expected = with(|d| (d.searches, d.file_searches, d.document_searches, d.code_sessions) = (1, 3, 2, 4));
    let asked = tools(&["web_search", "collections_search", "attachment_search", "code_execution"]);
    let found = counted("openai_responses", "grok-4", rates(), asked, responses(&["web_search_call"], &told)).await;
    assert_eq!(found, (expected, Some(157_515_000)));
    // Mistral's sound by the second.
    let mut heard = chat();
    heard["usage"]["prompt_audio_seconds"] = json!(12);
    let found = counted("mistral", "voxtral-small-latest", rates(), json!({}), heard).await;
    assert_eq!(found, (with(|d| d.seconds = 12), Some(1_215_000)));
    // A container of another size, or one by the hour, has no rate that a report could be counted by.
    let big = json!({"tools": [{"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "16g"}}]});
    let answer = responses(&["code_interpreter_call c1"], &json!({}));
    let found = counted("openai_responses", "gpt-5", rates(), big, answer).await;
    assert_eq!(found, (with(|d| d.other_tools = true), None));
}

#[tokio::test]
async fn b37_what_grounds_an_answer_of_gemini_is_paid_by_the_prompt_or_by_the_query() {
    let rates = || with_rates(&json!({"search": "0.035", "map_search": "0.025"}));
    let answer = || {
        json!({"candidates": [{"content": {"parts": [{"text": "found"}]}, "finishReason": "STOP", "groundingMetadata": {
            "webSearchQueries": ["a", "b"], "groundingChunks": [{"maps": {"uri": "https://x", "title": "x"}}]}}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5}})
    };
    let tools = || json!({"tools": [{"googleSearch": {}}, {"googleMaps": {}}]});
    let (details, cost) = counted("gemini", "gemini-2.5-flash", rates(), tools(), answer()).await;
    assert_eq!((details.searches, details.map_searches, cost), (1, 1, Some(60_015_000)));
    let rates = with_rates(&json!({"map_search": "0.025"}));
    let (details, cost) = counted("gemini", "gemini-3-flash-preview", rates, tools(), answer()).await;
    assert_eq!((details.searches, details.map_searches, details.other_tools, cost), (2, 0, true, None));
}

#[tokio::test]
async fn t10_what_a_request_bounds_is_held_and_a_missing_rate_is_named() {
    let bounded = || json!({"max_tool_calls": 4, "tools": [{"type": "file_search", "vector_store_ids": ["v"]}]});
    let answer = responses(&["file_search_call"], &json!({}));
    let (_engine, me, server) =
        at("openai_responses", "gpt-5", with_rates(&json!({"file_search": "0.0025"})), bounded(), &answer).await;
    // Four searches are a cent: what does not pay for them is not sent.
    me.budgets().put(NewBudget::per_execution("each", Money::parse("0.0099").unwrap())).await.unwrap();
    let done = me.run("a", "a question").await.unwrap();
    assert_eq!(done.error.unwrap().code, ErrorCode::BudgetExceeded);
    assert_eq!(server.requests().len(), 0);
    me.budgets().put(NewBudget::per_execution("each", Money::parse("0.02").unwrap())).await.unwrap();
    let done = me.run("a", "a question").await.unwrap();
    assert_eq!(done.cost.map(Money::nanos), Some(2_515_000), "{:?}", done.error);

    let (_engine, me, _server) = at("openai_responses", "gpt-5", price(true), bounded(), &answer).await;
    me.budgets().put(NewBudget::per_execution("each", Money::parse("1").unwrap())).await.unwrap();
    let error = me.run("a", "a question").await.unwrap().error.unwrap();
    assert!(error.message.contains("`file_search`"), "{}", error.message);
}

#[tokio::test]
async fn t10_a_part_that_gets_a_rate_later_is_rated_by_its_count() {
    let answer = |_, _| async {
        let details: UsageDetails = serde_json::from_value(json!({"file_searches": 2, "pages": 3})).unwrap();
        Ok(Answer::text("done").with_usage(Usage::new(10, 5).with_details(details)))
    };
    let engine = Engine::builder(":memory:").with_provider(FunctionProvider::new("mistral", answer)).open().await;
    let engine = engine.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "mistral", "m-1")).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    let import = async |more: Value| {
        let mut list =
            json!({"litellm_provider": "mistral", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6});
        more.as_object().unwrap().iter().for_each(|(name, rate)| list[name] = rate.clone());
        me.call("prices.import", json!({"prices": {"m-1": list}, "source": "the page"})).await.unwrap();
    };
    let spent = async || {
        let summary = me.costs().summary(CostFilter::all()).await.unwrap();
        (summary.cost.nanos(), summary.unpriced_calls)
    };
    let rerate = async || {
        let done = me.costs().rerate(Rerate::all("the page says more")).await.unwrap();
        me.budgets().verify().await.unwrap();
        (done.changed, done.unlisted, done.amount.nanos())
    };
    import(json!({})).await;
    assert_eq!(me.run("a", "a question").await.unwrap().cost, None);
    assert_eq!((rerate().await, spent().await), ((0, 1, 0), (15_000, 1)));
    import(json!({"file_search_cost_per_1k_calls": 2.5})).await;
    assert_eq!(rerate().await, (0, 1, 0), "the pages have no rate yet");
    import(json!({"file_search_cost_per_1k_calls": 2.5, "ocr_cost_per_page": 0.001})).await;
    assert_eq!((rerate().await, spent().await), ((1, 0, 8_000_000), (8_015_000, 0)));
    assert_eq!(rerate().await, (0, 0, 0), "once is enough");
    let usage = me.usage().query(UsageQuery::default()).await.unwrap();
    assert_eq!((usage.total.cost.nanos(), usage.total.unpriced), (8_015_000, 0));
}

#[tokio::test]
async fn t10_a_tool_without_a_rate_is_refused_under_a_hard_budget() {
    for (price, extra, refused) in [
        (price(false), json!({"web_search_options": {}}), true),
        (price(false), json!({"tools": [{"type": "web_search"}]}), true),
        (price(true), json!({"tools": [{"type": "file_search"}]}), true),
        (price(true), json!({"tools": [{"type": "image_generation"}]}), true),
        (price(true), json!({"web_search_options": {}}), false),
        (price(false), json!({}), false),
    ] {
        let (_engine, me, server) = at("openai", "gpt-4o", price, extra.clone(), &chat()).await;
        me.budgets().put(NewBudget::per_execution("each", Money::parse("1").unwrap())).await.unwrap();
        let done = me.run("a", "a question").await.unwrap();
        assert_eq!(
            done.error.as_ref().map(|error| error.code),
            refused.then_some(ErrorCode::BudgetExceeded),
            "{extra}"
        );
        assert_eq!(server.requests().len(), usize::from(!refused), "{extra}: nothing is sent");
        let all = me.costs().list(CostFilter::all(), ListOptions::default()).await.unwrap().items;
        assert_eq!(all.is_empty(), refused, "{extra}: nothing is held");
    }
}
