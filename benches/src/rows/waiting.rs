//! The memory of an execution that waits on a slow model with its connection open.

use std::time::Duration;

use super::runtime;
use crate::client::{Hyper, Post};
use crate::engine::{AGENT, Opened, QUESTION};
use crate::measure::{Meter, Sample};
use crate::mock::Stats;
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "waiting",
    about: "memory of an execution that waits on a slow model, connection open",
    metric: Metric::MemoryPerItem,
    variants: &[
        Variant { name: "hyper", bar: None, run: floor },
        Variant { name: "blitz FULL", bar: Some(Bar::AtMost(33.0)), run: ours },
    ],
};

/// Longer than any measurement takes: the answer is not awaited.
const HOLD: &str = "/hold/600000";
const REQUEST: &str = r#"{"model":"mock","messages":[{"role":"user","content":"2 + 3?"}]}"#;

fn floor(context: &Context) -> Result<Sample> {
    let path = format!("{HOLD}/v1/chat/completions");
    runtime()?.block_on(async {
        measure(context, async || {
            let (mut client, path) = (Hyper::connect(context.mock).await?, path.clone());
            tokio::spawn(async move { client.post(&path, REQUEST.into()).await });
            Ok(())
        })
        .await
    })
}

fn ours(context: &Context) -> Result<Sample> {
    runtime()?.block_on(async {
        let opened = Opened::durable(context, HOLD).await?;
        measure(context, async || opened.me.start(AGENT, QUESTION).await.map(drop).map_err(Into::into)).await
    })
}

/// Starts as many as are to wait, and measures once the server holds them all.
async fn measure(context: &Context, begin: impl AsyncFn() -> Result<()>) -> Result<Sample> {
    let waiting = context.items(5_000);
    let mut observer = Hyper::connect(context.mock).await?;
    let before = held(&mut observer).await?;
    let meter = Meter::start();
    for _ in 0..waiting {
        begin().await?;
    }
    while held(&mut observer).await? < before + waiting {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(meter.stop(waiting))
}

async fn held(observer: &mut Hyper) -> Result<u64> {
    let stats: Stats = serde_json::from_slice(&observer.get("/stats").await?)?;
    Ok(stats.holding)
}
