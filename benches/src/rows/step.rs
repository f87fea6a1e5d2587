//! A durable step while 64 executions take theirs: the commits are shared.

use crate::measure::{Meter, Sample};
use crate::sqlite;
use crate::{Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "step",
    about: "a durable step, 64 executions at once, FULL",
    metric: Metric::CpuPerItem,
    variants: &[Variant { name: "rusqlite", bar: None, run: floor }],
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
