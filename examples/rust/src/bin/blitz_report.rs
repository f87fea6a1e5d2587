//! What was spent, by whom, on what: a table from the ledger of a database, with a line for each day.
//!
//! `blitz_report blitz.db --by model --by agent --days 14`

#![allow(clippy::print_stdout, reason = "this is a program: the screen is its face")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use blitz::{Engine, Money, Timestamp, UsageBy, UsageQuery, UsageRow, UsageStep};
use blitz_examples::spark::line;
use clap::Parser;
use comfy_table::{Cell, CellAlignment, Table};

const DAY: i64 = 86_400_000_000;

/// Prints what a database's ledger says was spent.
#[derive(Parser)]
struct Arguments {
    /// The database.
    database: PathBuf,
    /// What rows are told apart by: user, role, key, model, provider, agent, workflow, prompt, tags.
    #[arg(long, default_values_t = ["model".to_owned()])]
    by: Vec<String>,
    /// How many days, today included.
    #[arg(long, default_value_t = 14)]
    days: u16,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { database, by, days } = Arguments::parse();
    let by: Vec<UsageBy> = serde_json::from_value(serde_json::to_value(&by)?)
        .map_err(|_| "--by takes user, role, key, model, provider, agent, workflow, prompt or tags")?;
    let days = i64::from(days.clamp(1, 366));
    let today = Timestamp::now().0 / DAY;
    let (first, end) = (today + 1 - days, Timestamp((today + 1) * DAY));
    if !database.exists() {
        return Err(format!("there is no database {}", database.display()).into());
    }
    let engine = Engine::open(database.to_string_lossy()).await?;
    let usage = engine.root("blitz_report").usage();
    let span = |query: UsageQuery| query.between(Timestamp(first * DAY), end);
    let whole = usage.query(span(UsageQuery::by(by.clone()))).await?;
    let daily = usage.query(span(UsageQuery::by(by.clone()).every(UsageStep::Day))).await?;
    engine.close_within(Duration::from_secs(1)).await?;

    let mut spent: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in &daily.rows {
        let days = spent.entry(name(&by, row)).or_insert_with(|| vec![0; days as usize]);
        let day = row.start.map_or(0, |start| start.0 / DAY - first);
        if let Some(cost) = usize::try_from(day).ok().and_then(|day| days.get_mut(day)) {
            *cost += row.cost.nanos();
        }
    }
    let mut rows: Vec<&UsageRow> = whole.rows.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.cost));
    let mut table = Table::new();
    table.set_header(["what", "USD", "calls", "failed", "tokens in", "out", "seconds", "by day"]);
    for row in rows {
        let name = name(&by, row);
        let line = line(spent.get(&name).map_or(&[][..], Vec::as_slice));
        table.add_row(cells(name, row, line));
    }
    table.add_row(cells("all".to_owned(), &whole.total, String::new()));
    println!("{table}");
    if whole.total.unpriced > 0 {
        println!("{} calls have no price: their cost is in no sum", whole.total.unpriced);
    }
    Ok(())
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
        UsageBy::Tags => word(&row.tags),
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
