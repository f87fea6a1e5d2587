//! What a call is booked at whose provider searched, or ran another tool of its own.

use blitz::{
    CostFilter, Engine, EntryFlag, ErrorCode, ListOptions, Money, NewAgent, NewBudget, NewModel, Price, RetryPolicy,
    Session,
};
use serde_json::{Value, json};

use super::failed::booked;
use crate::support::server::{Reply, Server};

/// A dollar for a million tokens each way, and a cent for each search where that is known.
fn price(search: bool) -> Price {
    let search = if search { json!("0.01") } else { json!(null) };
    serde_json::from_value(json!({"input": "0.000001", "output": "0.000001", "search": search})).unwrap()
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
    let (_engine, me, _server) = at(provider, name, price(search), extra, &body).await;
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
    (entry.usage.unwrap().details.searches, summary.known_cost().map(Money::nanos))
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
    let mut output: Vec<Value> = items.iter().map(|kind| json!({"type": kind, "id": "i"})).collect();
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
