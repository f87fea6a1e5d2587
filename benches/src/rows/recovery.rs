//! From opening a file with interrupted executions to the first one that asks its model again.

use std::time::{Duration, Instant};

use super::runtime;
use crate::client::Hyper;
use crate::engine::{AGENT, Opened, QUESTION};
use crate::measure::{Meter, Sample};
use crate::mock::Stats;
use crate::sqlite;
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "recovery",
    about: "1,000 interrupted executions: from opening the file to the first resumed step",
    metric: Metric::WallPerItem,
    variants: &[
        Variant { name: "rusqlite reads the steps", bar: None, run: floor },
        Variant { name: "blitz FULL", bar: Some(Bar::AtMost(1_000_000.0)), run: ours },
    ],
};

const HOLD: &str = "/hold/600000";
/// Records that an execution has when it waits for its first answer.
const RECORDS: u64 = 3;

fn floor(context: &Context) -> Result<Sample> {
    let database = sqlite::create(&context.folder)?;
    database.execute_batch("BEGIN")?;
    let mut step = sqlite::step_statement(&database)?;
    (0..context.items(1_000) * RECORDS).try_for_each(|number| sqlite::write_step(&mut step, number))?;
    drop(step);
    database.execute_batch("COMMIT")?;
    drop(database);
    let meter = Meter::start();
    sqlite::read_all(&context.folder)?;
    Ok(meter.stop(1))
}

fn ours(context: &Context) -> Result<Sample> {
    runtime()?.block_on(async {
        let mut observer = Hyper::connect(context.mock).await?;
        let opened = Opened::durable(context, HOLD).await?;
        for _ in 0..context.items(1_000) {
            opened.me.start(AGENT, QUESTION).await?;
        }
        opened.engine.close_within(Duration::ZERO).await?;
        drop(opened);
        wait_until(&mut observer, |holding| holding == 0).await?;
        let meter = Meter::start();
        let opened = Opened::durable(context, HOLD).await?;
        let engine = opened.engine.clone();
        let recovering = tokio::spawn(async move { engine.recover().await });
        wait_until(&mut observer, |holding| holding > 0).await?;
        let sample = meter.stop(1);
        let taken = recovering.await??;
        if taken.len() as u64 != context.items(1_000) {
            return Err(format!("{} executions were taken up", taken.len()).into());
        }
        opened.engine.close_within(Duration::ZERO).await?;
        Ok(sample)
    })
}

/// Asks the server how many requests it holds until that will do.
async fn wait_until(observer: &mut Hyper, enough: impl Fn(u64) -> bool) -> Result<()> {
    let begin = Instant::now();
    loop {
        let stats: Stats = serde_json::from_slice(&observer.get("/stats").await?)?;
        if enough(stats.holding) {
            return Ok(());
        }
        if begin.elapsed() > Duration::from_secs(60) {
            return Err(format!("the server still holds {} requests", stats.holding).into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
