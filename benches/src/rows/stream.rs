//! Reading a streamed answer: the CPU of one token, when many come in a packet and when each comes alone.

use super::runtime;
use crate::client::Reqwest;
use crate::measure::{Meter, Sample};
use crate::{Context, Metric, Result, Row, Variant};

pub(super) const BURSTS: Row = Row {
    name: "stream-bursts",
    about: "a token of a streamed answer, 50 in a packet",
    metric: Metric::CpuPerItem,
    variants: &[Variant { name: "reqwest", bar: None, run: floor_bursts }],
};

pub(super) const PACKETS: Row = Row {
    name: "stream-packets",
    about: "a token of a streamed answer, each in its own packet",
    metric: Metric::CpuPerItem,
    variants: &[Variant { name: "reqwest", bar: None, run: floor_packets }],
};

const QUESTION: &str = r#"{"model":"mock","stream":true,"messages":[{"role":"user","content":"Tell me."}]}"#;

/// The pause between packets, in µs: long enough that the client sleeps and is woken for each.
const GAP: u32 = 1_000;

fn floor_bursts(context: &Context) -> Result<Sample> {
    floor(context, context.items(50_000), 50)
}

fn floor_packets(context: &Context) -> Result<Sample> {
    floor(context, context.items(1_500), 1)
}

fn floor(context: &Context, tokens: u64, burst: u32) -> Result<Sample> {
    let client = Reqwest::new(context.mock)?;
    runtime()?.block_on(async {
        client.stream("/v1/chat/completions", QUESTION.into()).await?;
        let path = format!("/stream/{tokens}/{burst}/{GAP}/v1/chat/completions");
        let meter = Meter::start();
        let count = client.stream(&path, QUESTION.into()).await?;
        let sample = meter.stop(count);
        if count != tokens { Err(format!("{count} of {tokens} tokens came").into()) } else { Ok(sample) }
    })
}
