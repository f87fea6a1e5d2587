//! A hard budget stops an agent that would call its tool for ever, before the money is spent.

#![allow(clippy::print_stdout, reason = "this is a program: the screen is its face")]

use blitz::provider::{Reply, Scripted};
use blitz::{CostFilter, Engine, EventData, ListOptions, Money, NewAgent, NewBudget, NewModel, Price, tool_fn};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct SearchArgs {
    words: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A model that is never content: each answer asks for one more search, and the conversation grows.
    let restless = Scripted::from_fn(|_| Reply::tool_call("search", json!({"words": "one more thing"})));
    let engine = Engine::builder(":memory:").with_provider(restless).open().await?;
    let me = engine.root("budget");
    let price = Price::per_million("15", "75")?;
    let model = NewModel::new("restless", "scripted", "restless").with_price(price).with_max_output_tokens(100);
    me.models().put(model).await?;
    let search =
        tool_fn!(
            "search",
            "Search for words.",
            |a: SearchArgs| async move { Ok(format!("nothing new about {}", a.words)) }
        );
    me.tools().register(search.pure()).await?;
    me.agents().put(NewAgent::new("searcher", "restless").instructions("Find everything.").tool("search")).await?;

    let limit = Money::parse("0.03")?;
    me.budgets().put(NewBudget::per_execution("three cents", limit).with_thresholds(vec![50, 80])).await?;
    println!("every execution may cost ${limit}; a call is held at the most it can cost before it is sent\n");

    let handle = me.start("searcher", "Find everything about rivers.").await?;
    let done = handle.wait().await?;
    let bookings = me.costs().list(CostFilter::of_root(done.execution_id), ListOptions::default()).await?;
    for entry in &bookings.items {
        if let (Some(cost), Some(usage)) = (entry.amount, entry.usage) {
            println!("{:>5} tokens  ${cost}", usage.total_tokens());
        }
    }
    let steps = me.executions().steps(done.execution_id, ListOptions::limit(100)).await?;
    let calls = steps.items.iter().filter(|step| matches!(step.data, EventData::StepFinished(_))).count();
    let spent = me.costs().summary(CostFilter::all()).await?;
    println!("\n{} after {calls} model calls: ${} spent", done.status.name(), spent.cost);
    if let Some(error) = done.error {
        println!("{}: {}", error.code, error.message);
    }
    engine.close().await?;
    Ok(())
}
