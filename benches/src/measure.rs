//! Reads the clocks and the memory of this process around the measured part.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What one measurement found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How many items were done: executions, tokens, steps, connections.
    pub items: u64,
    /// CPU of the whole process, user and system, over all items.
    pub cpu: Duration,
    /// Time on the wall over all items.
    pub wall: Duration,
    /// The median time on the wall of one item, where they were done one after the other.
    pub p50: Option<Duration>,
    /// Growth of the resident memory, in bytes.
    pub memory: u64,
}

/// A measurement that is under way.
pub struct Meter {
    cpu: Duration,
    wall: Instant,
    memory: u64,
}

impl Meter {
    /// Begins. What came before, such as opening connections, does not count.
    pub fn start() -> Self {
        Self { memory: resident(), cpu: cpu(), wall: Instant::now() }
    }

    /// Ends, after `items` items.
    pub fn stop(self, items: u64) -> Sample {
        let (wall, cpu) = (self.wall.elapsed(), cpu() - self.cpu);
        Sample { items, cpu, wall, p50: None, memory: resident().saturating_sub(self.memory) }
    }
}

/// Does `deed` so many times, one after the other, and notes how long each took.
pub fn one_by_one<E>(items: u64, mut deed: impl FnMut(u64) -> Result<(), E>) -> Result<Sample, E> {
    let mut times = Vec::with_capacity(usize::try_from(items).unwrap_or_default());
    let meter = Meter::start();
    for item in 0..items {
        let begin = Instant::now();
        deed(item)?;
        times.push(begin.elapsed());
    }
    let sample = meter.stop(items);
    Ok(Sample { p50: Some(median(&mut times)), ..sample })
}

/// The value in the middle; the lower one of two.
///
/// # Panics
/// On an empty slice.
pub fn median<T: Copy + PartialOrd>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("measured values have an order"));
    values[(values.len() - 1) / 2]
}

/// CPU time of all threads of this process so far, user and system, also of those that ended.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Resident memory in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    bytes_of(&fs::read_to_string("/proc/self/status").unwrap_or_default(), "VmRSS:")
}

/// What the system says of a process's memory under a name, in bytes; 0 where it does not tell.
pub(crate) fn bytes_of(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4, 1, 3, 2]), 2);
    }

    #[test]
    fn work_is_seen_by_the_meter() {
        let meter = Meter::start();
        let worker = std::thread::spawn(|| {
            let begin = Instant::now();
            let mut touched = vec![0u8; 32 << 20];
            while begin.elapsed() < Duration::from_millis(20) || touched[0] == 0 {
                touched.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1) | 1);
            }
            touched
        });
        let touched = worker.join().expect("the worker ends");
        let sample = meter.stop(1);
        assert!(sample.cpu > Duration::ZERO && sample.wall >= Duration::from_millis(20), "{sample:?}");
        assert!(sample.memory >= 16 << 20, "{} of {} bytes seen", sample.memory, touched.len());
    }
}
