//! A durable step with nobody to share its commit with: how long it takes.

use super::runtime;
use crate::measure::{Sample, one_by_one};
use crate::sqlite;
use crate::steps::{STEPS, Stepping};
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "step-alone",
    about: "a durable step, one alone, FULL",
    metric: Metric::WallPerItem,
    variants: &[
        Variant { name: "rusqlite", bar: None, run: floor },
        Variant { name: "blitz, an agent's", bar: Some(Bar::Ratio(1.3)), run: ours },
    ],
};

fn floor(context: &Context) -> Result<Sample> {
    let database = sqlite::create(&context.folder)?;
    let mut step = sqlite::step_statement(&database)?;
    one_by_one(context.items(1_000), |number| sqlite::write_step(&mut step, number))
}

/// Steps of one agent after the other: the median execution, a step's share of it.
fn ours(context: &Context) -> Result<Sample> {
    let runtime = runtime()?;
    let stepping = runtime.block_on(Stepping::open(&context.folder))?;
    let sample = one_by_one(context.items(100), |_| runtime.block_on(stepping.execution()))?;
    let steps = u32::try_from(STEPS)?;
    Ok(Sample { items: sample.items * STEPS, p50: sample.p50.map(|whole| whole / steps), ..sample })
}
