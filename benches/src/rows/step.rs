//! A durable step while 64 executions take theirs: the commits are shared.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::runtime;
use crate::measure::{Meter, Sample};
use crate::sqlite;
use crate::steps::{STEPS, Stepping};
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "step",
    about: "a durable step, 64 executions at once, FULL",
    metric: Metric::CpuPerItem,
    variants: &[
        Variant { name: "rusqlite", bar: None, run: floor },
        Variant { name: "blitz, an agent's", bar: Some(Bar::Ratio(3.0)), run: ours },
    ],
};

/// How many rows share a commit.
const BATCH: u64 = 100;

fn floor(context: &Context) -> Result<Sample> {
    let database = sqlite::create(&context.folder)?;
    let mut step = sqlite::step_statement(&database)?;
    let commits = context.items(1_000);
    let meter = Meter::start();
    for commit in 0..commits {
        let transaction = database.unchecked_transaction()?;
        (0..BATCH).try_for_each(|row| sqlite::write_step(&mut step, commit * BATCH + row))?;
        transaction.commit()?;
    }
    Ok(meter.stop(commits * BATCH))
}

/// Steps of agents, a model's and a tool's in turn: what a step of a workflow will be made of.
fn ours(context: &Context) -> Result<Sample> {
    runtime()?.block_on(async {
        let stepping = Arc::new(Stepping::open(&context.folder).await?);
        let share = context.items(2_000).div_ceil(sqlite::EXECUTIONS);
        all_run(&stepping, share.div_ceil(10)).await?;
        let meter = Meter::start();
        all_run(&stepping, share).await?;
        Ok(meter.stop(share * sqlite::EXECUTIONS * STEPS))
    })
}

async fn all_run(stepping: &Arc<Stepping>, share: u64) -> Result<()> {
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..sqlite::EXECUTIONS {
        let stepping = Arc::clone(stepping);
        tasks.spawn(async move {
            for _ in 0..share {
                stepping.execution().await?;
            }
            Ok(())
        });
    }
    tasks.join_all().await.into_iter().collect()
}
