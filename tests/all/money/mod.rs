//! Money as a user sees it: what follows a full budget, limits, who is told, and what it all came to.
//!
//! The ledger's own rules are tested beside it; here they are met through executions.

mod calls;
mod draining;
mod embedding;
mod extra;
mod failed;
mod following;
mod limits;
mod own_tools;
mod race;
mod reports;
mod rerating;
mod services;
mod usage;
mod webhooks;

use blitz::provider::{FunctionProvider, Reply};
use blitz::{Engine, EngineBuilder, NewAgent, NewModel, Price, Session, Usage};
use serde_json::json;

/// A price by the call alone: what is held is what it costs.
fn by_the_call(dollars: &str) -> Price {
    serde_json::from_value(json!({"input": "0", "output": "0", "request": dollars})).unwrap()
}

fn saying(name: &str, text: &'static str) -> FunctionProvider {
    FunctionProvider::new(name, move |_, _| async move { Ok(Reply::text(text).with_usage(Usage::new(10, 10))) })
}

fn model(name: &str, price: &str) -> NewModel {
    NewModel::new(name, name, "x").with_price(by_the_call(price))
}

/// An engine in memory with the models `dear` at ten cents and `cheap` at one, and the agent `a` on the dear one.
async fn engine() -> (Engine, Session) {
    let builder = Engine::builder(":memory:");
    let providers = [saying("dear", "a dear answer"), saying("cheap", "a cheap answer")];
    let engine = providers.into_iter().fold(builder, EngineBuilder::with_provider).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(model("dear", "0.1")).await.unwrap();
    me.models().put(model("cheap", "0.01")).await.unwrap();
    me.agents().put(NewAgent::new("a", "dear")).await.unwrap();
    (engine, me)
}
