//! A model call's money: every budget checked, the worst case held, then what it cost booked. Two commits.

use std::sync::Arc;

use blitz::Durability;
use tokio::task::JoinSet;

use super::runtime;
use crate::ledger::{self, Bare};
use crate::measure::{Meter, Sample, one_by_one};
use crate::sqlite::EXECUTIONS;
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const TOGETHER: Row = Row {
    name: "budget",
    about: "budget check, reserve and settle, 64 at once, NORMAL",
    metric: Metric::WallPerItem,
    variants: &[
        Variant { name: "rusqlite", bar: None, run: |context| bare_together(context, Durability::Process) },
        Variant { name: "blitz", bar: BAR, run: |context| together(context, Durability::Process) },
    ],
};

pub(super) const TOGETHER_FULL: Row = Row {
    name: "budget-full",
    about: "budget check, reserve and settle, 64 at once, FULL",
    metric: Metric::WallPerItem,
    variants: &[
        Variant { name: "rusqlite", bar: None, run: |context| bare_together(context, Durability::Full) },
        Variant { name: "blitz", bar: BAR, run: |context| together(context, Durability::Full) },
    ],
};

pub(super) const ALONE: Row = Row {
    name: "budget-alone",
    about: "budget check, reserve and settle, one alone, NORMAL",
    metric: Metric::WallPerItem,
    variants: &[
        Variant { name: "rusqlite", bar: None, run: |context| bare_alone(context, Durability::Process) },
        Variant { name: "blitz", bar: BAR, run: |context| alone(context, Durability::Process) },
    ],
};

pub(super) const ALONE_FULL: Row = Row {
    name: "budget-alone-full",
    about: "budget check, reserve and settle, one alone, FULL",
    metric: Metric::WallPerItem,
    variants: &[
        Variant { name: "rusqlite", bar: None, run: |context| bare_alone(context, Durability::Full) },
        Variant { name: "blitz", bar: BAR, run: |context| alone(context, Durability::Full) },
    ],
};

const BAR: Option<Bar> = Some(Bar::Ratio(1.5));

/// Calls that are measured: fewer where each waits for the disk by itself.
fn items(context: &Context, durability: Durability, together: bool) -> u64 {
    let usual = if together || durability == Durability::Process { 50_000 } else { 2_000 };
    context.items(usual).next_multiple_of(EXECUTIONS)
}

fn bare(context: &Context, durability: Durability) -> Result<Bare> {
    let made = runtime()?.block_on(ledger::open(&context.folder, durability))?;
    made.close();
    Bare::open(&context.folder, durability)
}

fn bare_together(context: &Context, durability: Durability) -> Result<Sample> {
    let (bare, items) = (bare(context, durability)?, items(context, durability, true));
    let meter = Meter::start();
    for first in (0..items).step_by(usize::try_from(EXECUTIONS)?) {
        bare.pairs(first..first + EXECUTIONS)?;
    }
    Ok(meter.stop(items))
}

fn bare_alone(context: &Context, durability: Durability) -> Result<Sample> {
    let bare = bare(context, durability)?;
    one_by_one(items(context, durability, false), |number| bare.pairs(number..number + 1))
}

fn together(context: &Context, durability: Durability) -> Result<Sample> {
    let items = items(context, durability, true);
    runtime()?.block_on(async {
        let (ledger, price) = (ledger::open(&context.folder, durability).await?, Arc::new(ledger::price()?));
        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        let meter = Meter::start();
        for task in 0..EXECUTIONS {
            let (ledger, price) = (ledger.clone(), Arc::clone(&price));
            tasks.spawn(async move {
                for round in 0..items / EXECUTIONS {
                    ledger::pair(&ledger, &price, round * EXECUTIONS + task).await?;
                }
                Ok(())
            });
        }
        tasks.join_all().await.into_iter().collect::<Result<()>>()?;
        Ok(meter.stop(items))
    })
}

fn alone(context: &Context, durability: Durability) -> Result<Sample> {
    let runtime = runtime()?;
    let (ledger, price) = (runtime.block_on(ledger::open(&context.folder, durability))?, ledger::price()?);
    one_by_one(items(context, durability, false), |number| runtime.block_on(ledger::pair(&ledger, &price, number)))
}
