//! Steps of workflows: ten in sequence, a hundred side by side, a map of 10,000; one execution alone
//! and 64 at once; with each commit on the disk and without.

use blitz::Durability;

use super::runtime;
use crate::flows::{Flows, Shape};
use crate::measure::{Meter, Sample};
use crate::sqlite;
use crate::{Bar, Context, Metric, Result, Row, Variant};

/// Items of the one large map, and of each of the 64.
const MANY: u64 = 10_000;
const SOME: u64 = 160;
/// How many rows share a commit where many executions or branches are under way.
const BATCH: u64 = 100;

const SEQUENCE: u8 = 0;
const FAN_OUT: u8 = 1;
const MAP: u8 = 2;

macro_rules! rows {
    ($($row:ident, $name:literal, $about:literal, $metric:ident, $shape:ident, $at_once:literal, $batch:expr, $usual:literal, $bar:literal;)*) => {
        $(pub(super) const $row: Row = Row {
            name: $name,
            about: $about,
            metric: Metric::$metric,
            variants: &[
                Variant { name: "rusqlite FULL", bar: None, run: floor::<true, $batch, $usual> },
                Variant {
                    name: "blitz FULL",
                    bar: Some(Bar::Ratio($bar)),
                    run: ours::<$shape, $at_once, true, $usual>,
                },
                Variant { name: "rusqlite NORMAL", bar: None, run: floor::<false, $batch, $usual> },
                Variant { name: "blitz NORMAL", bar: None, run: ours::<$shape, $at_once, false, $usual> },
            ],
        };)*
    };
}

rows! {
    SEQUENCE_TOGETHER, "workflow-sequence", "CPU of a step: ten in sequence, 64 executions at once", CpuPerItem, SEQUENCE, 64, BATCH, 20_000, 3.0;
    SEQUENCE_RATE, "workflow-sequence-rate", "time of a step: ten in sequence, 64 executions at once", WallPerItem, SEQUENCE, 64, BATCH, 20_000, 3.0;
    SEQUENCE_ALONE, "workflow-sequence-alone", "time of a step: ten in sequence, one execution", WallPerItem, SEQUENCE, 1, 1, 1_000, 1.3;
    FAN_OUT_TOGETHER, "workflow-fan-out", "CPU of a step: a hundred side by side, 64 executions at once", CpuPerItem, FAN_OUT, 64, BATCH, 20_000, 3.0;
    FAN_OUT_ALONE, "workflow-fan-out-alone", "time of a step: a hundred side by side, one execution", WallPerItem, FAN_OUT, 1, BATCH, 10_000, 3.0;
    FAN_OUT_RATE, "workflow-fan-out-rate", "time of a step: a hundred side by side, 64 executions at once", WallPerItem, FAN_OUT, 64, BATCH, 20_000, 3.0;
    MAP_TOGETHER, "workflow-map", "CPU of a step: maps, 64 executions at once", CpuPerItem, MAP, 64, BATCH, 20_000, 3.0;
    MAP_TOGETHER_RATE, "workflow-map-rate-64", "time of a step: maps, 64 executions at once", WallPerItem, MAP, 64, BATCH, 20_000, 3.0;
    MAP_ALONE, "workflow-map-alone", "CPU of a step: a map of 10,000 items, one execution", CpuPerItem, MAP, 1, BATCH, 10_000, 3.0;
    MAP_RATE, "workflow-map-rate", "time of a step: a map of 10,000 items, one execution", WallPerItem, MAP, 1, BATCH, 10_000, 3.0;
}

/// The plainest statements that could keep as many steps.
fn floor<const FULL: bool, const BATCH: u64, const USUAL: u32>(context: &Context) -> Result<Sample> {
    let database = sqlite::create(&context.folder)?;
    if !FULL {
        database.pragma_update(None, "synchronous", "normal")?;
    }
    let mut step = sqlite::step_statement(&database)?;
    let commits = context.items(USUAL).div_ceil(BATCH);
    let meter = Meter::start();
    for commit in 0..commits {
        let transaction = database.unchecked_transaction()?;
        (0..BATCH).try_for_each(|row| sqlite::write_step(&mut step, commit * BATCH + row))?;
        transaction.commit()?;
    }
    Ok(meter.stop(commits * BATCH))
}

fn ours<const SHAPE: u8, const AT_ONCE: u64, const FULL: bool, const USUAL: u32>(context: &Context) -> Result<Sample> {
    let items = context.items(USUAL);
    let shape = match SHAPE {
        SEQUENCE => Shape::Sequence,
        FAN_OUT => Shape::FanOut,
        _ if AT_ONCE == 1 => Shape::Map(items.min(MANY)),
        _ => Shape::Map(SOME),
    };
    let durability = if FULL { Durability::Full } else { Durability::Process };
    runtime()?.block_on(async {
        let flows = Flows::open(&context.folder, shape, durability).await?;
        let share = items.div_ceil(shape.steps() * AT_ONCE);
        // The first ones are not measured: they prepare statements and plans.
        flows.executions(AT_ONCE, if shape.steps() < 1_000 { 1 } else { 0 }).await?;
        let meter = Meter::start();
        flows.executions(AT_ONCE, share).await?;
        let sample = meter.stop(share * AT_ONCE * shape.steps());
        flows.close().await?;
        Ok(sample)
    })
}
