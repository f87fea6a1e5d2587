//! What is said on the screen before a batch runs, and after.

use std::env;

use blitz::{Price, Rate, Session};

use crate::batch::Batch;
use crate::setup::{Choice, Places};
use crate::{Result, show};

/// The figures of a batch as a question in SQL; the batch is still to be named.
const QUERY: &str = include_str!("figures.sql");

/// Where everything is kept, unless another folder is named.
pub const USUAL_FOLDER: &str = "demo-output";

/// Says who reviews what, and what is done already.
pub async fn before(me: &Session, choice: &Choice, places: &Places, batch: &Batch, documents: usize) -> Result<()> {
    println!("Blitz reviews {}.\n", show::counted(documents, "document"));
    println!("  Model      {}", choice.in_words());
    if choice.is_offline() {
        println!(
            "             For a real one set a provider's key (OPENAI_API_KEY, AZURE_OPENAI_…, …), or BLITZ_BASE_URL and BLITZ_MODEL."
        );
    }
    println!("  Price      {}", price(choice));
    println!("  Documents  copied to {}, the only folder the agent can read", places.documents.display());
    let Batch { order, ended, begun, .. } = batch;
    if ended + begun == 0 {
        println!("  Batch      {}, new", order.batch);
    } else {
        let begin = order.documents.len() - ended - begun;
        println!(
            "  Batch      {}, begun before: {ended} finished, {begun} go on where they were, {begin} begin",
            order.batch
        );
        let calls = batch.calls_before(me).await?;
        if calls.kept > 0 {
            println!("             {} kept: not made and not paid again.", show::counted(calls.kept, "model call"));
        }
        if calls.in_doubt > 0 {
            let calls = show::counted(calls.in_doubt, "call");
            println!("             {calls} under way at its end: booked at the most they can cost, and made again.");
        }
    }
    if choice.slow.is_some() {
        let id = std::process::id();
        println!("  Slow       as asked. To stop it in the middle: Ctrl-C here, or elsewhere: kill -9 {id}");
    }
    println!();
    Ok(())
}

/// Says where everything is, and how to see that nothing finished is done twice.
pub fn after(places: &Places, choice: &Choice, batch: u64) -> Result<()> {
    std::fs::write(&places.query, QUERY.replace("{batch}", &batch.to_string()))?;
    let (program, here) = (env::current_exe()?, env::current_dir()?);
    let program = program.strip_prefix(&here).unwrap_or(&program).display();
    let (database, query) = (places.database.display(), places.query.display());
    println!("  Report     {}", places.page.display());
    println!("  Picture    {}", places.picture.display());
    println!("  Database   {database}");
    let output = places.folder.display().to_string();
    let output = if output == USUAL_FOLDER { String::new() } else { format!(" --output {output}") };
    println!("  Ask it     {program}{output} --report {batch}");
    if is_installed("sqlite3") {
        println!("             sqlite3 -box {database} < {query}");
    }
    if choice.is_offline() && choice.slow.is_none() {
        println!("  Kill it    BLITZ_DEMO_SLOW=1 make demo    and in the middle Ctrl-C, or kill -9 from elsewhere");
        println!("             make demo                      goes on where it was, and pays nothing twice");
    }
    Ok(())
}

fn price(choice: &Choice) -> String {
    match &choice.model.price {
        Some(Price { input, output, .. }) => {
            format!("${} and ${} for a million tokens in and out", million(input), million(output))
        }
        None if choice.is_offline() => "none".to_owned(),
        None => {
            "unknown: set BLITZ_PRICE_INPUT and BLITZ_PRICE_OUTPUT, dollars for a million tokens in and out".to_owned()
        }
    }
}

fn million(rate: &Rate) -> blitz::Money {
    blitz::Money::from_nanos(rate.picos().saturating_mul(1000))
}

fn is_installed(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
