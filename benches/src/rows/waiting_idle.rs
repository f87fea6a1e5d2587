//! The memory of an execution that waits for somebody's decision: nothing runs and nothing is connected.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blitz::provider::{FunctionProvider, Reply};
use blitz::{Engine, ExecutionFilter, ExecutionStatus, ListOptions, NewAgent, NewModel, tool_fn};
use serde_json::json;
use tokio::sync::oneshot;

use super::runtime;
use crate::measure::{Meter, Sample};
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "waiting-idle",
    about: "memory of an execution that waits for a decision, no connection",
    metric: Metric::MemoryPerItem,
    variants: &[
        Variant { name: "a parked task", bar: None, run: floor },
        Variant { name: "blitz FULL", bar: Some(Bar::AtMost(2.0)), run: ours },
    ],
};

/// Set in the process that makes the interrupted executions: what it grew by is not measured.
const PREPARES: &str = "BLITZ_BENCH_PREPARES";
const USUAL: u32 = 10_000;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

pub(super) fn floor(context: &Context) -> Result<Sample> {
    let items = context.items(USUAL);
    runtime()?.block_on(async {
        let mut parked = Vec::new();
        let meter = Meter::start();
        for _ in 0..items {
            let (tell, told) = oneshot::channel::<()>();
            parked.push(tell);
            tokio::spawn(told);
        }
        tokio::task::yield_now().await;
        Ok(meter.stop(items))
    })
}

fn ours(context: &Context) -> Result<Sample> {
    if std::env::var_os(PREPARES).is_some() {
        return runtime()?.block_on(prepare(context));
    }
    let prepared = Command::new(std::env::current_exe()?).args(std::env::args().skip(1)).env(PREPARES, "1").output()?;
    if !prepared.status.success() {
        return Err(format!("nothing was prepared: {}", String::from_utf8_lossy(&prepared.stderr)).into());
    }
    runtime()?.block_on(measure(context))
}

/// Leaves executions whose unsafe tool was cut off.
async fn prepare(context: &Context) -> Result<Sample> {
    let called = Arc::new(AtomicU64::new(0));
    let (engine, items) = (open(context, Arc::clone(&called)).await?, context.items(USUAL));
    let me = engine.root("benchmark");
    let meter = Meter::start();
    for _ in 0..items {
        me.start("a", "x").await?;
    }
    while called.load(Ordering::Relaxed) < items {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    engine.close_within(Duration::ZERO).await?;
    Ok(meter.stop(items))
}

/// Takes them up again: each finds its tool in doubt and waits.
async fn measure(context: &Context) -> Result<Sample> {
    let (engine, items) = (open(context, Arc::default()).await?, context.items(USUAL));
    let me = engine.root("benchmark");
    let meter = Meter::start();
    let taken = engine.recover().await?.len() as u64;
    if taken != items {
        return Err(format!("{taken} executions were taken up").into());
    }
    let running = ExecutionFilter::in_status(ExecutionStatus::Running);
    while !me.executions().list(running, ListOptions::limit(1)).await?.items.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sample = meter.stop(items);
    let waiting = ExecutionFilter::in_status(ExecutionStatus::Waiting);
    if me.executions().list(waiting, ListOptions::limit(1)).await?.items.is_empty() {
        return Err("no execution waits".into());
    }
    Ok(sample)
}

async fn open(context: &Context, called: Arc<AtomicU64>) -> Result<Engine> {
    let path = context.folder.join("blitz.db");
    let engine = Engine::open(path.to_str().ok_or("the folder's name is not UTF-8")?).await?;
    engine.register_provider(FunctionProvider::new("inside", |_, _| async { Ok(Reply::tool_call("send", json!({}))) }));
    let me = engine.root("benchmark");
    let send = tool_fn!("send", "Sends a letter.", move |_: Nothing| {
        called.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<std::result::Result<(), blitz::tool::ToolError>>()
    });
    me.tools().register(send).await?;
    me.models().put(NewModel::new("m", "inside", "any")).await?;
    me.agents().put(NewAgent::new("a", "m").tool("send")).await?;
    Ok(engine)
}
