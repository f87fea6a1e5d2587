//! A durable step with nobody to share its commit with: how long it takes.

use crate::measure::{Sample, one_by_one};
use crate::sqlite;
use crate::{Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "step-alone",
    about: "a durable step, one alone, FULL",
    metric: Metric::WallPerItem,
    variants: &[Variant { name: "rusqlite", bar: None, run: floor }],
};

fn floor(context: &Context) -> Result<Sample> {
    let database = sqlite::create(&context.folder)?;
    let mut step = sqlite::step_statement(&database)?;
    one_by_one(context.items(1_000), |number| sqlite::write_step(&mut step, number))
}
