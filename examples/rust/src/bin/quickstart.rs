//! Fifteen lines: an agent with a tool, on a stand-in that needs no key.

#![allow(clippy::print_stdout, reason = "this is a program: the screen is its face")]

use blitz::{Engine, NewAgent, NewModel, tool_fn};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct AddArgs {
    a: f64,
    b: f64,
}

#[tokio::main]
#[rustfmt::skip]
async fn main() -> Result<(), blitz::Error> {
    let engine = Engine::open(":memory:").await?;                       // or "blitz.db"
    let me = engine.root("quickstart");
    me.models().put(NewModel::new("m", "offline", "offline")).await?;   // or "openai", "gpt-4o"
    me.tools().register(tool_fn!("add", "Add two numbers.", |a: AddArgs| async move { Ok(a.a + a.b) })).await?;
    me.agents().put(NewAgent::new("solver", "m").instructions("Solve it with tools.").tool("add")).await?;
    let done = me.run("solver", json!({"question": "2 + 3?"})).await?;
    println!("{} ({} steps, {} tokens)", done.text(), done.steps, done.usage.total_tokens());   // and done.cost, done.messages
    engine.close().await
}
