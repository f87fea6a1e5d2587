//! Everything that happens in an execution, as it happens: the one stream of events.

#![allow(clippy::print_stdout, reason = "this is a program: the screen is its face")]

use std::io::Write as _;

use blitz::{Delta, Engine, Event, EventData, NewAgent, NewModel, NewTool, Session};
use futures_util::StreamExt as _;

const QUESTION: &str = "What is 12 * (3 + 4)?";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open(":memory:").await?;
    let me = engine.root("streaming");
    me.models().put(NewModel::new("m", "offline", "offline")).await?;
    me.tools().put(NewTool::builtin("calculator")).await?;
    me.agents().put(NewAgent::new("solver", "m").instructions("Solve it with tools.").tool("calculator")).await?;

    // `stream` owns its execution: dropping the stream cancels it. `start` would let it run by itself.
    let mut events = me.stream("solver", QUESTION).await?;
    let mut last = None;
    while let Some(event) = events.next().await {
        let event = event?;
        show(&event)?;
        last = Some(event);
    }
    if let Some(event) = last {
        again(&me, &event).await?;
    }
    engine.close().await?;
    Ok(())
}

/// State events have a number each; pieces of the answer come between them, live.
fn show(event: &Event) -> std::io::Result<()> {
    let (seq, name) = (event.seq, event.data.type_name());
    match &event.data {
        EventData::ModelDelta { delta: Delta::Text { text }, .. } => print!("{text}"),
        EventData::ModelDelta { .. } => {}
        EventData::ToolStarted(tool) => println!("{seq:>3}  {name:<20} {} {}", tool.call.name, tool.call.arguments),
        EventData::ToolFinished { result, .. } => println!("{seq:>3}  {name:<20} {}", result.as_text()),
        EventData::StepFinished(step) => {
            println!("\n{seq:>3}  {name:<20} {} tokens", step.usage.total_tokens());
        }
        EventData::ExecutionFinished(end) => println!("{seq:>3}  {name:<20} {}", end.status.name()),
        _ => println!("{seq:>3}  {name:<20} {}", event.path),
    }
    std::io::stdout().flush()
}

/// What is written can be read again from any place, after the end too.
async fn again(me: &Session, last: &Event) -> Result<(), blitz::Error> {
    let read: Vec<_> = me.executions().events(last.execution_id, last.seq - 2).collect().await;
    println!("\nread again, behind event {}:", last.seq - 2);
    for event in read {
        let event = event?;
        println!("{:>3}  {}", event.seq, event.data.type_name());
    }
    Ok(())
}
