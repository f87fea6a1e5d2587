//! An agent whose model and tool are functions of this process: its steps cost what the engine costs.

use std::path::Path;

use blitz::provider::{FunctionProvider, ProviderCall, Reply};
use blitz::{
    Durability, Engine, ExecutionStatus, MessageRole, ModelRequest, NewAgent, NewModel, Price, Session, Usage, tool_fn,
};
use serde::Deserialize;
use serde_json::json;

use crate::Result;

/// Tools that the agent calls, one in a turn.
const CALLS: usize = 9;
/// Steps of an execution: a model's and a tool's for each call, and the answer.
pub const STEPS: u64 = 2 * CALLS as u64 + 1;

const AGENT: &str = "stepper";

#[derive(Deserialize, schemars::JsonSchema)]
struct AddArgs {
    a: f64,
    b: f64,
}

/// An engine on a file, each commit on the disk, with the agent that takes steps.
pub struct Stepping {
    me: Session,
    _engine: Engine,
}

impl Stepping {
    /// In a folder.
    pub async fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("blitz.db");
        let path = path.to_str().ok_or("the folder's name is not UTF-8")?;
        let engine = Engine::builder(path).with_durability(Durability::Full).open().await?;
        engine.register_provider(FunctionProvider::new(
            "inside",
            |request: ModelRequest, _: ProviderCall| async move {
                let called = request.messages.iter().filter(|message| message.role == MessageRole::Tool).count();
                let reply = if called < CALLS {
                    Reply::tool_call("add", json!({"a": 2, "b": called}))
                } else {
                    Reply::text("The answer is 5.")
                };
                Ok(reply.with_usage(Usage::new(40, 12)))
            },
        ));
        let me = engine.root("benchmark");
        me.models().put(NewModel::new("m", "inside", "any").with_price(Price::per_million("2.50", "10")?)).await?;
        let add = tool_fn!("add", "Add two numbers.", |a: AddArgs| async move { Ok(a.a + a.b) });
        me.tools().register(add).await?;
        me.agents().put(NewAgent::new(AGENT, "m").tool("add")).await?;
        Ok(Self { me, _engine: engine })
    }

    /// Runs the agent once: [`STEPS`] steps.
    pub async fn execution(&self) -> Result<()> {
        let done = self.me.run(AGENT, "2 + 3?").await?;
        match (done.status, u64::from(done.steps)) {
            (ExecutionStatus::Completed, STEPS) => Ok(()),
            (status, steps) => Err(format!("{} after {steps} steps", status.name()).into()),
        }
    }
}
