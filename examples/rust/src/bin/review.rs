//! Reviews documents for risks: a workflow that asks an agent about each document, and a second one where it is risky.
//!
//! Killed in the middle and started again it goes on where it was, and pays nothing twice.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a program: the screen is its face")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use blitz::{Engine, PictureFormat, Session};
use blitz_examples::batch::{self, Batch};
use blitz_examples::documents::{self, Document};
use blitz_examples::progress::Progress;
use blitz_examples::report::{self, Report, Row};
use blitz_examples::setup::{self, Choice, Places};
use blitz_examples::{Result, screen};
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
    #[arg(long, value_name = "FOLDER", default_value = screen::USUAL_FOLDER)]
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
    let batch = Batch::of(&me, &documents, &choice, &batch::reviews(&me).await?).await?;
    screen::before(&me, &choice, &places, &batch, documents.len()).await?;

    let (number, asked) = (batch.order.batch, batch.order.documents.clone());
    let names = asked.iter().map(|question| question.document.as_str());
    let progress = Progress::new(names, asked.len(), batch.ended);
    let ran = or_stop(&engine, &progress, batch.run(&engine, &me, &progress)).await;
    progress.end();
    let Some(id) = ran? else {
        println!("\nStopped: {}. Nothing is lost: the same command goes on where this one was.", progress.in_words());
        return Ok(ExitCode::from(130));
    };

    let report = report(&me, number, &documents).await?;
    std::fs::write(&places.picture, me.executions().picture(id, PictureFormat::Svg).await?)?;
    let said = me.executions().outcome(id).await?.output["report"].as_str().unwrap_or_default().to_owned();
    let picture = places.picture.file_name().unwrap_or_default().to_string_lossy();
    std::fs::write(&places.page, report.page(&choice.in_words(), &said, &picture))?;
    println!();
    print(&report);
    screen::after(&places, &choice, number)?;
    engine.close().await?;
    Ok(if report.reviewed() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs to the end, or until Ctrl-C: then what runs gets the engine's grace, and stays in the database as it is.
async fn or_stop<T>(engine: &Engine, progress: &Progress, run: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    let mut run = std::pin::pin!(run);
    tokio::select! {
        ran = &mut run => return ran.map(Some),
        _ = tokio::signal::ctrl_c() => {}
    }
    progress.tell("  Stopping: what is under way has five seconds to end. Ctrl-C again stops at once.");
    tokio::select! {
        // What runs now ends with the engine: whatever it gives, it is to be continued.
        (closed, _) = futures_util::future::join(engine.close(), run) => closed?,
        _ = tokio::signal::ctrl_c() => engine.close_within(Duration::ZERO).await?,
    }
    Ok(None)
}

/// The figures of a batch, with the documents that could not be read.
async fn report(me: &Session, number: u64, documents: &[Document]) -> Result<Report> {
    let mut rows: Vec<Row> = documents.iter().filter_map(Row::unreadable).collect();
    rows.extend(report::rows(me, &batch::reviews(me).await?, number).await?);
    Ok(Report::new(number, rows))
}

async fn show_again(folder: &Path, number: Option<u64>) -> Result<ExitCode> {
    let places = Places::below(folder);
    if !places.database.exists() {
        return Err(format!("{}: there is no such database; run `make demo` first", places.database.display()).into());
    }
    let engine = Engine::open(places.database.to_string_lossy()).await?;
    let me = engine.root("figures of a batch");
    let newest = batch::reviews(&me).await?.iter().map(|review| review.order.batch).max();
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
