//! One agent execution with one tool call, that is two model round trips, 64 at once.

use std::future::Future;

use tokio::task::JoinSet;

use super::runtime;
use crate::client::{self, Hyper, Post, Reqwest};
use crate::measure::{Meter, Sample};
use crate::{Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "execution",
    about: "an agent execution with one tool call, 64 at once",
    metric: Metric::CpuPerItem,
    variants: &[Variant { name: "hyper", bar: None, run: floor }, Variant { name: "reqwest", bar: None, run: reqwest }],
};

const AT_ONCE: u64 = 64;

fn floor(context: &Context) -> Result<Sample> {
    measure(context, || Hyper::connect(context.mock))
}

fn reqwest(context: &Context) -> Result<Sample> {
    let client = Reqwest::new(context.mock)?;
    measure(context, || std::future::ready(Ok(client.clone())))
}

/// Gives each of the 64 a client and its share of the executions; the first of each is not measured.
fn measure<C, F>(context: &Context, connect: impl Fn() -> F) -> Result<Sample>
where
    C: Post + Send + 'static,
    F: Future<Output = Result<C>>,
{
    let share = context.items(20_000).div_ceil(AT_ONCE);
    runtime()?.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..AT_ONCE {
            let mut client = connect().await?;
            client::execution(&mut client).await?;
            clients.push(client);
        }
        let meter = Meter::start();
        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        for mut client in clients {
            tasks.spawn(async move {
                for _ in 0..share {
                    client::execution(&mut client).await?;
                }
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(meter.stop(share * AT_ONCE))
    })
}
