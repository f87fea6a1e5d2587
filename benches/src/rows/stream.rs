//! Reading a streamed answer: the CPU of one token, when many come in a packet and when each comes alone.

use blitz::{Delta, EventData, ExecutionStatus};
use futures_util::TryStreamExt;

use super::runtime;
use crate::client::Reqwest;
use crate::engine::{AGENT, Opened, QUESTION};
use crate::measure::{Meter, Sample};
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const BURSTS: Row = Row {
    name: "stream-bursts",
    about: "a token of a streamed answer, 50 in a packet",
    metric: Metric::CpuPerItem,
    variants: &[
        Variant { name: "reqwest", bar: None, run: floor_bursts },
        Variant { name: "blitz in memory", bar: Some(Bar::Ratio(1.5)), run: ours_bursts },
    ],
};

pub(super) const PACKETS: Row = Row {
    name: "stream-packets",
    about: "a token of a streamed answer, each in its own packet",
    metric: Metric::CpuPerItem,
    variants: &[
        Variant { name: "reqwest", bar: None, run: floor_packets },
        Variant { name: "blitz in memory", bar: Some(Bar::Ratio(1.5)), run: ours_packets },
    ],
};

const REQUEST: &str = r#"{"model":"mock","stream":true,"messages":[{"role":"user","content":"Tell me."}]}"#;

/// What one measurement reads.
struct Answer {
    tokens: u64,
    burst: u32,
}

impl Answer {
    fn bursts(context: &Context) -> Self {
        Self { tokens: context.items(50_000), burst: 50 }
    }

    fn packets(context: &Context) -> Self {
        Self { tokens: context.items(1_500), burst: 1 }
    }

    /// Where the mock gives it. It pauses for a millisecond between packets, so that the client sleeps
    /// and is woken for each.
    fn mode(&self) -> String {
        format!("/stream/{}/{}/1000", self.tokens, self.burst)
    }
}

fn floor_bursts(context: &Context) -> Result<Sample> {
    floor(context, &Answer::bursts(context))
}

fn floor_packets(context: &Context) -> Result<Sample> {
    floor(context, &Answer::packets(context))
}

fn ours_bursts(context: &Context) -> Result<Sample> {
    ours(context, &Answer::bursts(context))
}

fn ours_packets(context: &Context) -> Result<Sample> {
    ours(context, &Answer::packets(context))
}

fn floor(context: &Context, answer: &Answer) -> Result<Sample> {
    let client = Reqwest::new(context.mock)?;
    runtime()?.block_on(async {
        client.stream("/v1/chat/completions", REQUEST.into()).await?;
        let path = format!("{}/v1/chat/completions", answer.mode());
        let meter = Meter::start();
        let count = client.stream(&path, REQUEST.into()).await?;
        let sample = meter.stop(count);
        if count != answer.tokens {
            Err(format!("{count} of {} tokens came", answer.tokens).into())
        } else {
            Ok(sample)
        }
    })
}

/// Reads the events as a program with a screen does: every delta, to the end.
fn ours(context: &Context, answer: &Answer) -> Result<Sample> {
    runtime()?.block_on(async {
        let opened = Opened::in_memory(context, &answer.mode()).await?;
        // The first one opens the connection, as the floor's first request does.
        read(&opened, answer).await?;
        let meter = Meter::start();
        read(&opened, answer).await?;
        Ok(meter.stop(answer.tokens))
    })
}

async fn read(opened: &Opened, answer: &Answer) -> Result<()> {
    let mut events = opened.me.stream(AGENT, QUESTION).await?;
    let (mut shown, mut output) = (0, None);
    while let Some(event) = events.try_next().await? {
        match event.data {
            EventData::ModelDelta { delta: Delta::Text { text }, .. } => shown += text.len(),
            EventData::ExecutionFinished(finished) => output = Some(finished),
            _ => {}
        }
    }
    let whole = answer.tokens * " word".len() as u64;
    match output {
        Some(finished) if finished.status == ExecutionStatus::Completed && shown as u64 == whole => Ok(()),
        other => Err(format!("{shown} of {whole} bytes were shown, and the end was {other:?}").into()),
    }
}
