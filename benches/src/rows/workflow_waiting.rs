//! Workflows that wait for people: the memory of each, and how soon 1,000 of them go on in a new process.

use std::process::Command;
use std::time::Duration;

use blitz::{Engine, ExecutionFilter, ExecutionStatus, ListOptions, Session};
use serde_json::json;

use super::runtime;
use crate::measure::{Meter, Sample};
use crate::sqlite;
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const MEMORY: Row = Row {
    name: "workflow-waiting",
    about: "memory of a workflow that waits for an approval",
    metric: Metric::MemoryPerItem,
    variants: &[
        Variant { name: "a parked task", bar: None, run: super::waiting_idle::floor },
        Variant { name: "blitz FULL", bar: None, run: waiting },
    ],
};

pub(super) const RESUME: Row = Row {
    name: "workflow-recovery",
    about: "1,000 interrupted workflows: from opening the file until all wait again",
    metric: Metric::WallPerItem,
    variants: &[
        Variant { name: "rusqlite reads the steps", bar: None, run: floor },
        Variant { name: "blitz FULL", bar: Some(Bar::AtMost(1_000_000.0)), run: resumed },
    ],
};

/// Set in the process that makes what is measured in another.
const PREPARES: &str = "BLITZ_BENCH_PREPARES";
const USUAL: u32 = 1_000;
/// Records that an execution has when it waits.
const RECORDS: u64 = 8;

async fn open(context: &Context) -> Result<(Engine, Session)> {
    let path = context.folder.join("blitz.db");
    let engine = Engine::open(path.to_str().ok_or("the folder's name is not UTF-8")?).await?;
    let me = engine.root("benchmark");
    let nodes = json!([
        {"id": "s", "type": "start"}, {"id": "t", "type": "template", "config": {"template": "Pay {{ inputs.n }}?"}},
        {"id": "ok", "type": "approval", "config": {"message": "{{ nodes.t.output }}"}}, {"id": "e", "type": "end"}]);
    let edges =
        json!([{"from": "s", "to": "t"}, {"from": "t", "to": "ok"}, {"from": "ok", "out": "approved", "to": "e"}]);
    me.call("workflows.put", json!({"name": "asks", "nodes": nodes, "edges": edges})).await?;
    Ok((engine, me))
}

/// Starts what waits; measured as it is made.
async fn start(context: &Context) -> Result<(Engine, Session)> {
    let (engine, me) = open(context).await?;
    for n in 0..context.items(USUAL) {
        me.start("asks", json!({ "n": n })).await?;
    }
    all_wait(&me).await?;
    Ok((engine, me))
}

async fn all_wait(me: &Session) -> Result<()> {
    let running = ExecutionFilter::in_status(ExecutionStatus::Running);
    while !me.executions().list(running, ListOptions::limit(1)).await?.items.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Leaves interrupted executions behind, in a process of its own.
fn prepared() -> Result<bool> {
    if std::env::var_os(PREPARES).is_some() {
        return Ok(false);
    }
    let made = Command::new(std::env::current_exe()?).args(std::env::args().skip(1)).env(PREPARES, "1").output()?;
    if !made.status.success() {
        return Err(format!("nothing was prepared: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    Ok(true)
}

fn left(context: &Context) -> Result<Sample> {
    runtime()?.block_on(async {
        let meter = Meter::start();
        let (engine, _) = start(context).await?;
        engine.close_within(Duration::ZERO).await?;
        Ok(meter.stop(context.items(USUAL)))
    })
}

fn waiting(context: &Context) -> Result<Sample> {
    if !prepared()? {
        return left(context);
    }
    runtime()?.block_on(async {
        let (engine, me) = open(context).await?;
        let meter = Meter::start();
        engine.recover().await?;
        all_wait(&me).await?;
        Ok(meter.stop(context.items(USUAL)))
    })
}

fn resumed(context: &Context) -> Result<Sample> {
    if !prepared()? {
        return left(context);
    }
    runtime()?.block_on(async {
        let meter = Meter::start();
        let (engine, me) = open(context).await?;
        let taken = engine.recover().await?.len() as u64;
        all_wait(&me).await?;
        let sample = meter.stop(1);
        if taken != context.items(USUAL) {
            return Err(format!("{taken} executions were taken up").into());
        }
        Ok(sample)
    })
}

fn floor(context: &Context) -> Result<Sample> {
    let database = sqlite::create(&context.folder)?;
    database.execute_batch("BEGIN")?;
    let mut step = sqlite::step_statement(&database)?;
    (0..context.items(USUAL) * RECORDS).try_for_each(|number| sqlite::write_step(&mut step, number))?;
    drop(step);
    database.execute_batch("COMMIT")?;
    drop(database);
    let meter = Meter::start();
    sqlite::read_all(&context.folder)?;
    Ok(meter.stop(1))
}
