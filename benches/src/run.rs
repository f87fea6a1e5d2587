//! Runs the measurements: each in a process of its own, floor and others in turn.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::measure::Sample;
use crate::report::Finding;
use crate::{Context, Result, Row};

/// How the rows are measured.
pub struct Plan {
    /// How often each variant is measured.
    pub rounds: u32,
    /// How much of the usual number of items to do, 1 for all.
    pub scale: f64,
}

impl Plan {
    /// Measures all variants of `row`, in turn, `rounds` times.
    pub fn measure(&self, row: &'static Row, mock: &Mock) -> Result<Vec<Finding>> {
        let mut findings: Vec<Finding> = row.variants.iter().map(|variant| Finding::new(row, variant)).collect();
        for _ in 0..self.rounds {
            for finding in &mut findings {
                finding.samples.push(self.sample(row, finding.variant.name, mock)?);
            }
        }
        Ok(findings)
    }

    fn sample(&self, row: &Row, variant: &str, mock: &Mock) -> Result<Sample> {
        let program = std::env::current_exe()?;
        let folder = tempfile::tempdir_in(program.parent().unwrap_or(Path::new(".")))?;
        let output = Command::new(&program)
            .args(["run", row.name, variant, "--mock", &mock.address.to_string()])
            .args(["--scale", &self.scale.to_string()])
            .arg("--folder")
            .arg(folder.path())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("{} by {variant} ended with {}", row.name, output.status).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Does one measurement in this process: the child's side.
pub fn run_here(row: &str, variant: &str, context: &Context) -> Result<Sample> {
    allow_many_files()?;
    let row = crate::rows::named(row).ok_or_else(|| format!("there is no row {row}"))?;
    let variant = row.variants.iter().find(|one| one.name == variant);
    let variant = variant.ok_or_else(|| format!("the row {} has no such variant", row.name))?;
    (variant.run)(context)
}

/// Lets this process open as many connections as the system allows it at most.
pub fn allow_many_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// The model server in its own process; it ends with this value.
pub struct Mock {
    process: Child,
    address: SocketAddr,
}

impl Mock {
    /// Starts the program `mock` that lies beside this one.
    pub fn start() -> Result<Self> {
        let program = beside_this_program("mock")?;
        let mut process = Command::new(&program).stdout(Stdio::piped()).spawn().map_err(|error| {
            format!("{} cannot be started ({error}): build it with `cargo build -p blitz-benches`", program.display())
        })?;
        let output = process.stdout.take().ok_or("the output of the model server is not there")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| "the model server did not say where it listens")?;
        Ok(Self { process, address })
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after this.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn beside_this_program(name: &str) -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name).with_extension(std::env::consts::EXE_EXTENSION))
}
