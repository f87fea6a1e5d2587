//! Python's side of a row: a measurement by `python/measure.py`, or a program's start.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::measure::{Meter, Sample, bytes_of, median};
use crate::{Context, Result};

const MEASURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/measure.py");
/// The interpreter of the environment that `make bench` makes: it has the wheel and the floor.
const INTERPRETER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/py-bench/bin/python");

/// A measurement in a process of Python's own.
pub fn measure(context: &Context, what: &str, who: &str, items: u64) -> Result<Sample> {
    let mut python = python()?;
    python.args([MEASURE, what, who, &context.mock.to_string()]).arg(&context.folder).arg(items.to_string());
    Ok(serde_json::from_slice(&output(&mut python)?)?)
}

/// Runs a program so many times: how long each takes from its start to its last line, and the most memory that each had.
pub fn start(program: &str, times: u64) -> Result<Sample> {
    let program = format!("{program}\n{TELL}");
    let (mut walls, mut memory) = (Vec::new(), 0);
    let meter = Meter::start();
    for _ in 0..times {
        let begin = Instant::now();
        let told = output(python()?.args(["-c", &program]))?;
        walls.push(begin.elapsed());
        memory += bytes_of(&String::from_utf8_lossy(&told), "VmHWM:");
    }
    Ok(Sample { p50: Some(median(&mut walls)), memory, ..meter.stop(times) })
}

/// The last lines of a program: it says what the system knows of it, and ends without tidying up.
const TELL: &str = "\
import os
if os.path.exists('/proc/self/status'):
    print(open('/proc/self/status').read(), flush=True)
os._exit(0)";

fn python() -> Result<Command> {
    if !Path::new(INTERPRETER).exists() {
        return Err(format!("{INTERPRETER} is not there: `make bench` makes it").into());
    }
    Ok(Command::new(INTERPRETER))
}

fn output(python: &mut Command) -> Result<Vec<u8>> {
    let output = python.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("Python ended with {}", output.status).into());
    }
    Ok(output.stdout)
}
