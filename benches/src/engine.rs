//! The engine as a program uses it: a priced model on the mock, a tool, an agent and a hard budget.

use std::path::Path;

use blitz::{
    Durability, Effect, Engine, ExecutionStatus, Money, NewAgent, NewBudget, NewModel, Outcome, Price, Session, tool_fn,
};
use serde::Deserialize;

use crate::{Context, Result};

/// The agent that adds.
pub const AGENT: &str = "solver";
/// What it is asked.
pub const QUESTION: &str = "2 + 3?";

#[derive(Deserialize, schemars::JsonSchema)]
struct AddArgs {
    a: f64,
    b: f64,
}

/// An open engine and a root session of it.
pub struct Opened {
    /// The engine, which lives as long as this.
    pub engine: Engine,
    /// The way in.
    pub me: Session,
}

impl Opened {
    /// On a file in the context's folder, everything on, every commit on the disk.
    pub async fn durable(context: &Context, mode: &str) -> Result<Self> {
        Self::open(&path(&context.folder.join("blitz.db"))?, context, mode, Effect::Pure).await
    }

    /// The same, with a tool of which nobody has said that it changes nothing: that it begins is on the disk first.
    pub async fn durable_unsafe(context: &Context) -> Result<Self> {
        Self::open(&path(&context.folder.join("blitz.db"))?, context, "", Effect::Unsafe).await
    }

    /// In memory: the journal, the ledger and the audit are kept, no disk is waited for.
    pub async fn in_memory(context: &Context, mode: &str) -> Result<Self> {
        Self::open(":memory:", context, mode, Effect::Pure).await
    }

    async fn open(database: &str, context: &Context, mode: &str, effect: Effect) -> Result<Self> {
        let engine = Engine::builder(database).with_durability(Durability::Full).open().await?;
        let me = engine.root("benchmark");
        let model = NewModel::new("m", "openai_compatible", "mock")
            .with_base_url(format!("http://{}{mode}/v1", context.mock))
            .with_price(Price::per_million("2.50", "10")?);
        me.models().put(model).await?;
        let add = tool_fn!("add", "Add two numbers.", |a: AddArgs| async move { Ok(a.a + a.b) });
        me.tools().register(add.with_effect(effect)).await?;
        me.agents().put(NewAgent::new(AGENT, "m").instructions("Solve it with tools.").tool("add")).await?;
        me.budgets().put(NewBudget::per_execution("each", Money::parse("1")?)).await?;
        Ok(Self { engine, me })
    }

    /// Runs the agent once and makes sure that it answered.
    pub async fn execution(&self) -> Result<Outcome> {
        let done = self.me.run(AGENT, QUESTION).await?;
        match done.status {
            ExecutionStatus::Completed => Ok(done),
            status => Err(format!("an execution ended as {}", status.name()).into()),
        }
    }
}

fn path(path: &Path) -> Result<String> {
    Ok(path.to_str().ok_or("the folder's name is not UTF-8")?.to_owned())
}
