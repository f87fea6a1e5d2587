//! Measures the rows beside their floors and prints how they compare.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use blitz_benches::run::{Mock, Plan, run_here};
use blitz_benches::{Context, Result, Row, report, rows};
use clap::{Parser, Subcommand};

/// Measures Blitz beside the least that any program must pay for the same.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The rows to measure; all when none is named.
    rows: Vec<String>,
    /// How often each variant is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How much of the usual number of items to do.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Names the rows and who is measured in each.
    List,
    /// Does one measurement in this process.
    #[command(hide = true)]
    Run {
        row: String,
        variant: String,
        #[arg(long)]
        mock: SocketAddr,
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        scale: f64,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        None => compare(&arguments),
        Some(Command::List) => list(),
        Some(Command::Run { row, variant, mock, folder, scale }) => {
            let sample = run_here(&row, &variant, &Context { mock, folder, scale })?;
            print(&serde_json::to_string(&sample)?)
        }
    }
}

fn compare(arguments: &Arguments) -> Result<()> {
    let plan = Plan { rounds: arguments.rounds, scale: arguments.scale };
    let rows = chosen(&arguments.rows)?;
    let mock = Mock::start()?;
    let mut all = Vec::new();
    for row in rows {
        let findings = plan.measure(row, &mock)?;
        if arguments.json {
            all.push(report::json(&findings));
        } else {
            print(&report::table(&findings))?;
        }
    }
    if arguments.json { print(&serde_json::to_string_pretty(&all)?) } else { Ok(()) }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(rows::ROWS.to_vec());
    }
    let unknown = |name: &String| format!("there is no row {name}: `bench list` names them").into();
    names.iter().map(|name| rows::named(name).ok_or_else(|| unknown(name))).collect()
}

fn list() -> Result<()> {
    rows::ROWS.iter().try_for_each(|row| {
        let variants: Vec<&str> = row.variants.iter().map(|variant| variant.name).collect();
        print(&format!("{:<18} {} ({})", row.name, row.about, variants.join(", ")))
    })
}

fn print(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
