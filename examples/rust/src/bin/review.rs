//! Reviews documents for risks: one agent with a prompt and tools, one execution for each document.
//!
//! Killed in the middle and started again it goes on where it was, and pays nothing twice.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a program: the screen is its face")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use blitz::{Engine, Session};
use blitz_examples::batch::{self, Batch, Standing};
use blitz_examples::documents::{self, Document};
use blitz_examples::progress::Progress;
use blitz_examples::report::{Report, Row};
use blitz_examples::setup::{self, Choice, Places};
use blitz_examples::{Result, show};
use clap::Parser;

/// Reviews documents for risks, all at once, and keeps every step in a database.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The documents; the texts of common licences where none is named.
    files: Vec<PathBuf>,
    /// Shows the figures of a batch again, the newest where no number is given, and reviews nothing.
    #[arg(long, value_name = "BATCH", conflicts_with = "files")]
    report: Option<Option<u64>>,
    /// The folder for the database, the report and the copies of the documents.
    #[arg(long, value_name = "FOLDER", default_value = "demo-output")]
    output: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.report {
        Some(number) => show_again(&options.output, number).await,
        None => review(options).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

async fn review(options: Options) -> Result<ExitCode> {
    let choice = Choice::from_env()?;
    let places = Places::below(&options.output);
    let files = if options.files.is_empty() { documents::usual_files() } else { options.files.clone() };
    let documents = documents::copy(&documents::in_order(files), &places.documents)?;

    let engine = setup::open(&places, &choice).await?;
    let me = engine.root("review of documents");
    setup::fill_catalogue(&me, &places, &choice).await?;
    let batch = Batch::of(&documents, &choice, &batch::reviews(&me).await?);
    introduce(&me, &choice, &places, &batch, documents.len()).await?;

    let number = batch.number;
    let names = batch.tasks.iter().map(|task| task.question.document.as_str());
    let progress =
        Progress::new(names, batch.tasks.len(), batch.count(|standing| matches!(standing, Standing::Ended(_))));
    tokio::select! {
        ran = batch.run(&engine, &me, &progress) => ran?,
        _ = tokio::signal::ctrl_c() => {
            progress.end();
            return stop(&engine, &me, number).await;
        }
    }
    progress.end();

    let report = report(&me, number, &documents).await?;
    std::fs::write(&places.page, report.page(&choice.in_words()))?;
    print(&report);
    hints(&places, &choice, number)?;
    engine.close().await?;
    Ok(if report.reviewed() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says what is about to happen, and what has happened already.
async fn introduce(me: &Session, choice: &Choice, places: &Places, batch: &Batch, documents: usize) -> Result<()> {
    println!("Blitz reviews {}.\n", show::counted(documents, "document"));
    println!("  Model      {}", choice.in_words());
    if choice.is_offline() {
        println!("             For a real one set OPENAI_API_KEY, or BLITZ_BASE_URL and BLITZ_MODEL.");
    } else if choice.model.price.is_none() {
        println!(
            "             Its price is unknown: set BLITZ_PRICE_INPUT and BLITZ_PRICE_OUTPUT, dollars per million tokens."
        );
    }
    println!("  Documents  copied to {}, the only folder the agent can read", places.documents.display());
    let ended = batch.count(|standing| matches!(standing, Standing::Ended(_)));
    let begun = batch.count(|standing| matches!(standing, Standing::Begun(_)));
    if ended + begun == 0 {
        println!("  Batch      {}, new", batch.number);
    } else {
        let (new, calls) = (batch.tasks.len() - ended - begun, batch.calls_before(me).await?);
        println!(
            "  Batch      {}, begun before: {ended} finished, {begun} go on where they were, {new} begin",
            batch.number
        );
        println!("             {} of it are kept and not paid again.", show::counted(calls as usize, "model call"));
    }
    if choice.slow.is_some() {
        let id = std::process::id();
        println!("  Slow       as asked. To stop it in the middle: Ctrl-C here, or elsewhere  kill -9 {id}");
    }
    println!();
    Ok(())
}

/// Ends at Ctrl-C: what runs stays in the database as it is.
async fn stop(engine: &Engine, me: &Session, number: u64) -> Result<ExitCode> {
    let reviews = batch::reviews(me).await?;
    let reviews = batch::of_batch(&reviews, number);
    let finished = reviews.iter().filter(|review| review.execution.status.is_final()).count();
    engine.close_within(Duration::from_millis(200)).await?;
    println!("\nStopped with {finished} finished. Nothing is lost: the same command goes on where this one was.");
    Ok(ExitCode::from(130))
}

/// The figures of a batch, with the documents that could not be read.
async fn report(me: &Session, number: u64, documents: &[Document]) -> Result<Report> {
    let mut rows: Vec<Row> = documents.iter().filter_map(Row::unreadable).collect();
    for review in batch::of_batch(&batch::reviews(me).await?, number) {
        rows.push(Row::of(me, review).await?);
    }
    Ok(Report::new(number, rows))
}

async fn show_again(folder: &Path, number: Option<u64>) -> Result<ExitCode> {
    let places = Places::below(folder);
    if !places.database.exists() {
        return Err(format!("{}: there is no such database; run `make demo` first", places.database.display()).into());
    }
    let engine = Engine::open(places.database.to_string_lossy()).await?;
    let me = engine.root("figures of a batch");
    let newest = batch::reviews(&me).await?.iter().map(|review| review.question.batch).max();
    let number = number.or(newest).ok_or("no document has been reviewed yet")?;
    let report = report(&me, number, &[]).await?;
    println!("Batch {number}\n");
    print(&report);
    engine.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) {
    println!("{}\n", report.table(console::colors_enabled()));
}

/// Says where everything is, and how to see that nothing finished is done twice.
fn hints(places: &Places, choice: &Choice, number: u64) -> Result<()> {
    std::fs::write(&places.query, QUERY.replace("{batch}", &number.to_string()))?;
    let program = std::env::current_exe()?;
    let here = std::env::current_dir()?;
    let program = program.strip_prefix(&here).unwrap_or(&program).display();
    println!("  Report     {}", places.page.display());
    println!("  Database   {}", places.database.display());
    println!("             The same figures from it: {program} --report {number}");
    println!("             and by SQL: sqlite3 -box {} < {}", places.database.display(), places.query.display());
    if choice.slow.is_none() {
        println!(
            "  Kill it    BLITZ_DEMO_SLOW=1 make demo, then Ctrl-C or kill -9, then make demo: it goes on where it was."
        );
    }
    Ok(())
}

/// The same figures as a question in SQL, of a batch that is still to be named.
const QUERY: &str = include_str!("../figures.sql");
