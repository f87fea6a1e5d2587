//! The same execution one at a time, durable: how long one user waits for it.

use super::runtime;
use crate::client::{self, Hyper};
use crate::engine::Opened;
use crate::measure::{Sample, one_by_one};
use crate::sqlite;
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "execution-alone",
    about: "an agent execution with one tool call, one at a time, FULL",
    metric: Metric::WallPerItem,
    variants: &[
        Variant { name: "hyper + rusqlite", bar: None, run: floor },
        Variant { name: "blitz FULL", bar: Some(Bar::Ratio(1.3)), run: ours },
        Variant { name: "  unsafe tool", bar: None, run: ours_unsafe },
    ],
};

/// As many commits as an execution with two model calls and one tool needs.
const COMMITS: u64 = 3;

fn floor(context: &Context) -> Result<Sample> {
    let database = sqlite::create(&context.folder)?;
    let mut step = sqlite::step_statement(&database)?;
    let runtime = runtime()?;
    let mut client = runtime.block_on(Hyper::connect(context.mock))?;
    one_by_one(context.items(500), |number| {
        runtime.block_on(client::execution(&mut client))?;
        (0..COMMITS).try_for_each(|commit| sqlite::write_step(&mut step, number * COMMITS + commit))
    })
}

fn ours(context: &Context) -> Result<Sample> {
    alone(context, Opened::durable(context, ""))
}

/// Its tool costs a commit more: that it begins is on the disk before it does.
fn ours_unsafe(context: &Context) -> Result<Sample> {
    alone(context, Opened::durable_unsafe(context))
}

fn alone(context: &Context, opening: impl Future<Output = Result<Opened>>) -> Result<Sample> {
    let runtime = runtime()?;
    let opened = runtime.block_on(opening)?;
    one_by_one(context.items(500), |_| runtime.block_on(opened.execution()).map(drop))
}
