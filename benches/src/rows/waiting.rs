//! The memory of an execution that waits on a slow model with its connection open.

use std::time::Duration;

use super::runtime;
use crate::client::{Hyper, Post};
use crate::measure::{Meter, Sample};
use crate::mock::Stats;
use crate::{Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "waiting",
    about: "memory of an execution that waits on a slow model, connection open",
    metric: Metric::MemoryPerItem,
    variants: &[Variant { name: "hyper", bar: None, run: floor }],
};

/// Longer than any measurement takes: the answer is not awaited.
const HOLD: &str = "/hold/600000/v1/chat/completions";
const QUESTION: &str = r#"{"model":"mock","messages":[{"role":"user","content":"2 + 3?"}]}"#;

fn floor(context: &Context) -> Result<Sample> {
    let waiting = context.items(5_000);
    runtime()?.block_on(async {
        let mut observer = Hyper::connect(context.mock).await?;
        let before = held(&mut observer).await?;
        let meter = Meter::start();
        for _ in 0..waiting {
            let mut client = Hyper::connect(context.mock).await?;
            tokio::spawn(async move { client.post(HOLD, QUESTION.into()).await });
        }
        while held(&mut observer).await? < before + waiting {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(meter.stop(waiting))
    })
}

async fn held(observer: &mut Hyper) -> Result<u64> {
    let stats: Stats = serde_json::from_slice(&observer.get("/stats").await?)?;
    Ok(stats.holding)
}
