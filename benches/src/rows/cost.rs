//! What a model call costs, from its usage and its price.

use std::hint::black_box;

use blitz::{Price, Usage};

use crate::measure::{Meter, Sample};
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "cost",
    about: "the cost of a model call",
    metric: Metric::CpuPerItem,
    variants: &[
        Variant { name: "arithmetic", bar: None, run: floor },
        Variant { name: "blitz", bar: Some(Bar::AtMost(1.0)), run: ours },
    ],
};

const ITEMS: u32 = 5_000_000;

/// Four products, their sum, and one rounding of pico- to nano-dollars, half to even.
fn floor(context: &Context) -> Result<Sample> {
    let (tokens, picos) = ([960i128, 40, 88, 12], [2_500_000i128, 1_250_000, 10_000_000, 10_000_000]);
    let items = context.items(ITEMS);
    let meter = Meter::start();
    for _ in 0..items {
        let (tokens, picos) = (black_box(&tokens), black_box(&picos));
        let sum: i128 = tokens.iter().zip(picos).map(|(count, rate)| count * rate).sum();
        let (nanos, rest) = (sum / 1_000, sum % 1_000);
        let up = rest > 500 || (rest == 500 && nanos % 2 == 1);
        black_box(nanos + i128::from(up));
    }
    Ok(meter.stop(items))
}

fn ours(context: &Context) -> Result<Sample> {
    let price = Price::per_million("2.50", "10")?;
    let usage = Usage::new(1_000, 100).with_cache(40, 0).with_reasoning(12);
    let items = context.items(ITEMS);
    let meter = Meter::start();
    for _ in 0..items {
        black_box(black_box(&price).cost(black_box(&usage))?);
    }
    Ok(meter.stop(items))
}
