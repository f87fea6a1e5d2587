//! The engine from Python, beside a bare loop in Rust that asyncio awaits. The figures are of Python's process.

use crate::measure::Sample;
use crate::python::measure;
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const EXECUTION: Row = Row {
    name: "py-execution",
    about: "from Python, an agent execution with one tool call, 64 coroutines at once",
    metric: Metric::CpuPerItem,
    variants: &[
        Variant { name: "pyo3 + asyncio", bar: None, run: |context| execution(context, "floor") },
        Variant { name: "blitz in memory", bar: Some(Bar::Ratio(1.5)), run: |context| execution(context, "memory") },
        Variant { name: "  async tool", bar: Some(Bar::Ratio(1.5)), run: |context| execution(context, "async tool") },
        Variant { name: "blitz FULL", bar: Some(Bar::Ratio(2.0)), run: |context| execution(context, "full") },
        // What is left of the above without Python.
        Variant { name: "Rust, in memory", bar: None, run: super::execution::ours_in_memory },
        Variant { name: "Rust, FULL", bar: None, run: super::execution::ours },
    ],
};

pub(super) const THREADS: Row = Row {
    name: "py-threads",
    about: "from Python, an agent execution with one tool call, blocking in 64 threads at once",
    metric: Metric::CpuPerItem,
    variants: &[
        Variant { name: "pyo3", bar: None, run: |context| threads(context, "floor") },
        Variant { name: "blitz in memory", bar: None, run: |context| threads(context, "memory") },
    ],
};

pub(super) const ALONE: Row = Row {
    name: "py-alone",
    about: "from Python, an agent execution with one tool call, blocking, one at a time, FULL",
    metric: Metric::WallPerItem,
    variants: &[
        Variant { name: "pyo3 + rusqlite", bar: None, run: |context| alone(context, "floor") },
        Variant { name: "blitz FULL", bar: Some(Bar::Ratio(1.3)), run: |context| alone(context, "full") },
    ],
};

pub(super) const BURSTS: Row = Row {
    name: "py-stream-bursts",
    about: "from Python, a token of a streamed answer, 50 in a packet",
    metric: Metric::CpuPerItem,
    variants: &[
        Variant { name: "pyo3 + asyncio", bar: None, run: |context| bursts(context, "floor") },
        Variant { name: "blitz astream", bar: Some(Bar::AtMost(38.0)), run: |context| bursts(context, "astream") },
        Variant { name: "blitz stream", bar: Some(Bar::AtMost(38.0)), run: |context| bursts(context, "stream") },
    ],
};

pub(super) const PACKETS: Row = Row {
    name: "py-stream-packets",
    about: "from Python, a token of a streamed answer, each in its own packet",
    metric: Metric::CpuPerItem,
    variants: &[
        Variant { name: "pyo3 + asyncio", bar: None, run: |context| packets(context, "floor") },
        Variant { name: "blitz astream", bar: None, run: |context| packets(context, "astream") },
        Variant { name: "blitz stream", bar: None, run: |context| packets(context, "stream") },
    ],
};

fn execution(context: &Context, who: &str) -> Result<Sample> {
    measure(context, "execution", who, context.items(10_000))
}

fn threads(context: &Context, who: &str) -> Result<Sample> {
    measure(context, "threads", who, context.items(5_000))
}

fn alone(context: &Context, who: &str) -> Result<Sample> {
    measure(context, "alone", who, context.items(500))
}

fn bursts(context: &Context, who: &str) -> Result<Sample> {
    measure(context, "bursts", who, context.items(50_000))
}

fn packets(context: &Context, who: &str) -> Result<Sample> {
    measure(context, "packets", who, context.items(1_500))
}
