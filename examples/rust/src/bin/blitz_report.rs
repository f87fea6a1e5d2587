//! What was spent, by whom, on what: tables from the ledger of a database, with a line for each day.
//!
//! `blitz_report blitz.db` has a table for each dimension that tells anything apart;
//! `blitz_report blitz.db --by model --by agent --days 14 --tag team=blue` has one of both together.

#![allow(clippy::print_stdout, reason = "this is a program: the screen is its face")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use blitz::{Engine, Money, Timestamp, UsageBy, UsageQuery, UsageReport, UsageRow, UsageStep};
use blitz_examples::spark::line;
use clap::Parser;
use comfy_table::{Cell, CellAlignment, Table};

const DAY: i64 = 86_400_000_000;

/// Everything that usage is told apart by.
const ALL: [UsageBy; 9] = [
    UsageBy::User,
    UsageBy::Role,
    UsageBy::Key,
    UsageBy::Model,
    UsageBy::Provider,
    UsageBy::Agent,
    UsageBy::Workflow,
    UsageBy::Prompt,
    UsageBy::Tags,
];

/// Prints what a database's ledger says was spent.
#[derive(Parser)]
struct Arguments {
    /// The database.
    database: PathBuf,
    /// What rows are told apart by: user, role, key, model, provider, agent, workflow, prompt, tags, or one tag by its
    /// key, tag:team. A table for each but the last where none is given.
    #[arg(long)]
    by: Vec<String>,
    /// How many days, today included.
    #[arg(long, default_value_t = 14)]
    days: u16,
    /// Only what carries this tag: team=blue.
    #[arg(long)]
    tag: Option<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { database, by, days, tag } = Arguments::parse();
    let by: Vec<UsageBy> = by.into_iter().map(UsageBy::try_from).collect::<Result<_, _>>()?;
    if !database.exists() {
        return Err(format!("there is no database {}", database.display()).into());
    }
    let engine = Engine::open(database.to_string_lossy()).await?;
    let usage = engine.root("blitz_report").usage();
    let span = Span::last(days);
    let asked = |by: &[UsageBy]| {
        let query = UsageQuery::by(by.to_vec()).between(span.from, span.to);
        if let Some(tag) = &tag { query.tagged(tag) } else { query }
    };
    let tables = if by.is_empty() { ALL.map(|by| vec![by]).into() } else { vec![by.clone()] };
    let mut total = UsageReport::default();
    for axes in tables {
        let whole = usage.query(asked(&axes)).await?;
        let daily = usage.query(asked(&axes).every(UsageStep::Day)).await?;
        let names: Vec<String> = axes.iter().cloned().map(String::from).collect();
        // A dimension that no call has says nothing.
        if !by.is_empty() || whole.rows.iter().any(|row| name(&axes, row) != "-") {
            println!("{}", table(&names.join(" / "), &axes, &span, &whole, &daily));
        }
        total = whole;
    }
    engine.close_within(Duration::from_secs(1)).await?;
    if total.total.unpriced > 0 {
        println!("{} calls have no price: their cost is in no sum", total.total.unpriced);
    }
    Ok(())
}

/// Whole days up to today.
struct Span {
    first: i64,
    days: usize,
    from: Timestamp,
    to: Timestamp,
}

impl Span {
    fn last(days: u16) -> Self {
        let (today, days) = (Timestamp::now().0 / DAY, days.clamp(1, 366));
        let first = today + 1 - i64::from(days);
        Self { first, days: days.into(), from: Timestamp(first * DAY), to: Timestamp((today + 1) * DAY) }
    }
}

/// A row for each thing, the dearest first, with what was spent on each day.
fn table(what: &str, by: &[UsageBy], span: &Span, whole: &UsageReport, daily: &UsageReport) -> Table {
    let mut spent: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in &daily.rows {
        let days = spent.entry(name(by, row)).or_insert_with(|| vec![0; span.days]);
        let day = row.start.map_or(0, |start| start.0 / DAY - span.first);
        if let Some(cost) = usize::try_from(day).ok().and_then(|day| days.get_mut(day)) {
            *cost += row.cost.nanos();
        }
    }
    let mut rows: Vec<&UsageRow> = whole.rows.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.cost));
    let mut table = Table::new();
    table.set_header([what, "USD", "calls", "failed", "tokens in", "out", "seconds", "by day"]);
    for row in rows {
        let name = name(by, row);
        let line = line(spent.get(&name).map_or(&[][..], Vec::as_slice));
        table.add_row(cells(name, row, line));
    }
    table.add_row(cells("all".to_owned(), &whole.total, String::new()));
    table
}

/// What a row is of, in one cell.
fn name(by: &[UsageBy], row: &UsageRow) -> String {
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
    let part = |by: &UsageBy| match by {
        UsageBy::User => number(row.user_id.map(|id| id.0)),
        UsageBy::Role => word(&row.role),
        UsageBy::Key => number(row.key_id),
        UsageBy::Model => word(&row.model),
        UsageBy::Provider => word(&row.provider),
        UsageBy::Agent => word(&row.agent),
        UsageBy::Workflow => number(row.workflow_id.map(|id| id.0)),
        UsageBy::Prompt => word(&row.prompt),
        UsageBy::Tags | UsageBy::Tag(_) => word(&row.tags),
        _ => "-".to_owned(),
    };
    by.iter().map(part).collect::<Vec<_>>().join(" / ")
}

fn cells(name: String, row: &UsageRow, line: String) -> Vec<Cell> {
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let seconds = row.latency_us.map_or("-".to_owned(), |us| format!("{}.{:02}", us / 1_000_000, us / 10_000 % 100));
    let cost: Money = row.cost;
    vec![
        Cell::new(name),
        right(cost.to_string()),
        right(row.calls.to_string()),
        right(row.failures.to_string()),
        right(row.input_tokens.to_string()),
        right(row.output_tokens.to_string()),
        right(seconds),
        Cell::new(line),
    ]
}
