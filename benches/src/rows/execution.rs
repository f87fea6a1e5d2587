//! One agent execution with one tool call, that is two model round trips, 64 at once.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::runtime;
use crate::client::{self, Hyper, Post, Reqwest};
use crate::engine::Opened;
use crate::measure::{Meter, Sample};
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "execution",
    about: "an agent execution with one tool call, 64 at once",
    metric: Metric::CpuPerItem,
    variants: &[
        Variant { name: "hyper", bar: None, run: floor },
        Variant { name: "reqwest", bar: None, run: reqwest },
        Variant { name: "blitz in memory", bar: Some(Bar::Ratio(2.0)), run: ours_in_memory },
        Variant { name: "blitz FULL", bar: Some(Bar::Ratio(5.0)), run: ours },
        Variant { name: "  unsafe tool", bar: None, run: ours_unsafe },
    ],
};

const AT_ONCE: u64 = 64;

/// Who runs executions, one after the other.
trait Runner: Send + 'static {
    fn execution(&mut self) -> impl Future<Output = Result<()>> + Send;
}

struct ByHand<C>(C);

impl<C: Post + Send + 'static> Runner for ByHand<C> {
    async fn execution(&mut self) -> Result<()> {
        client::execution(&mut self.0).await.map(drop)
    }
}

impl Runner for Arc<Opened> {
    async fn execution(&mut self) -> Result<()> {
        Opened::execution(self).await.map(drop)
    }
}

fn floor(context: &Context) -> Result<Sample> {
    runtime()?.block_on(async {
        let mut runners = Vec::new();
        for _ in 0..AT_ONCE {
            runners.push(ByHand(Hyper::connect(context.mock).await?));
        }
        measure(context, runners).await
    })
}

fn reqwest(context: &Context) -> Result<Sample> {
    let client = Reqwest::new(context.mock)?;
    let runners = (0..AT_ONCE).map(|_| ByHand(client.clone())).collect();
    runtime()?.block_on(measure(context, runners))
}

pub(super) fn ours(context: &Context) -> Result<Sample> {
    runtime()?.block_on(async { measure(context, sharing(Opened::durable(context, "").await?)).await })
}

fn ours_unsafe(context: &Context) -> Result<Sample> {
    runtime()?.block_on(async { measure(context, sharing(Opened::durable_unsafe(context).await?)).await })
}

pub(super) fn ours_in_memory(context: &Context) -> Result<Sample> {
    runtime()?.block_on(async { measure(context, sharing(Opened::in_memory(context, "").await?)).await })
}

/// 64 users of one engine.
fn sharing(opened: Opened) -> Vec<Arc<Opened>> {
    let opened = Arc::new(opened);
    (0..AT_ONCE).map(|_| Arc::clone(&opened)).collect()
}

/// Lets all run their share at once. The first share is not measured: it opens the connections.
async fn measure<R: Runner>(context: &Context, mut runners: Vec<R>) -> Result<Sample> {
    let share = context.items(20_000).div_ceil(AT_ONCE);
    runners = all_run(runners, share.div_ceil(10)).await?;
    let meter = Meter::start();
    all_run(runners, share).await?;
    Ok(meter.stop(share * AT_ONCE))
}

async fn all_run<R: Runner>(runners: Vec<R>, share: u64) -> Result<Vec<R>> {
    let mut tasks: JoinSet<Result<R>> = JoinSet::new();
    for mut runner in runners {
        tasks.spawn(async move {
            for _ in 0..share {
                runner.execution().await?;
            }
            Ok(runner)
        });
    }
    tasks.join_all().await.into_iter().collect()
}
