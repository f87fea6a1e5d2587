//! What a benchmark is: a row, its variants, what is compared and how good it should be.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::Result;
use crate::measure::Sample;

/// One question, answered by several variants beside each other. The first variant is the floor.
pub struct Row {
    /// Its name, as the command line takes it.
    pub name: &'static str,
    /// What is measured, for people.
    pub about: &'static str,
    /// What is compared.
    pub metric: Metric,
    /// The floor first, then who is compared with it.
    pub variants: &'static [Variant],
}

/// One way to do what the row asks.
pub struct Variant {
    /// Its name: the library that does it, or `blitz`.
    pub name: &'static str,
    /// How good it should be; none for floors and neighbours.
    pub bar: Option<Bar>,
    /// Does it once, in a process of its own.
    pub run: fn(&Context) -> Result<Sample>,
}

/// The figure of a sample that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// CPU of the client for one item, in µs.
    CpuPerItem,
    /// Median wall time of one item, in µs.
    WallPerItem,
    /// Resident memory of one item, in KiB.
    MemoryPerItem,
}

/// How good a variant should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// At most so many times the floor.
    Ratio(f64),
    /// At most so much, in the unit of the metric.
    AtMost(f64),
    /// At most so much more than the floor, in the unit of the metric.
    Above(f64),
}

/// What a measurement is given.
pub struct Context {
    /// Where the model server listens.
    pub mock: SocketAddr,
    /// An empty folder on a real disk.
    pub folder: PathBuf,
    /// How much of the usual number of items to do, 1 for all.
    pub scale: f64,
}

impl Context {
    /// So many items at scale 1; at least one.
    pub fn items(&self, usual: u32) -> u64 {
        let scaled = (f64::from(usual) * self.scale).round().max(1.0);
        scaled as u64
    }
}

impl Metric {
    /// The figure, in its unit.
    pub fn of(self, sample: &Sample) -> f64 {
        let items = sample.items as f64;
        match self {
            Self::CpuPerItem => sample.cpu.as_secs_f64() * 1e6 / items,
            Self::WallPerItem => sample.p50.map_or(sample.wall.as_secs_f64() / items, |p50| p50.as_secs_f64()) * 1e6,
            Self::MemoryPerItem => sample.memory as f64 / 1024.0 / items,
        }
    }

    /// Its unit, for people.
    pub fn unit(self) -> &'static str {
        match self {
            Self::CpuPerItem => "us CPU",
            Self::WallPerItem => "us wall",
            Self::MemoryPerItem => "KiB",
        }
    }
}

impl Bar {
    /// Whether a figure holds it, beside the floor's.
    pub fn holds(self, value: f64, floor: f64) -> bool {
        match self {
            Self::Ratio(most) => value <= most * floor,
            Self::AtMost(most) => value <= most,
            Self::Above(most) => value <= floor + most,
        }
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ratio(most) => write!(f, "<= {most}x"),
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::Above(most) => write!(f, "<= floor + {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_holds_up_to_its_edge() {
        for bar in [Bar::Ratio(1.5), Bar::AtMost(30.0), Bar::Above(10.0)] {
            assert!(bar.holds(30.0, 20.0) && !bar.holds(30.1, 20.0), "{bar}");
        }
    }
}
