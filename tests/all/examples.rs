//! The example programs, run as a user runs them: what they show, what they leave, what a kill costs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use blitz::{
    CostFilter, Engine, Execution, ExecutionFilter, ExecutionStatus, ListOptions, Provenance, Session, StepKind,
};
use serde_json::{Value, json};

use crate::source::{text, workspace};
use crate::support::folder::Folder;
use crate::support::server::{Reply, Server};

/// An example, built as this test is: cargo knows whether there is anything to do.
fn program(name: &str) -> Command {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap().to_owned();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // The whole workspace is named, so that the features are the ones of the tests.
        cargo.args(["build", "--workspace", "--locked", "--quiet"]).current_dir(workspace());
        cargo.args([
            "--bin",
            "review",
            "--bin",
            "quickstart",
            "--bin",
            "streaming",
            "--bin",
            "budget",
            "--bin",
            "blitz_report",
        ]);
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the examples do not build");
        folder
    });
    let mut program = Command::new(folder.join(name));
    blitz::provider::variables().for_each(|name| {
        program.env_remove(name);
    });
    let own = ["BLITZ_BASE_URL", "BLITZ_MODEL", "BLITZ_API_KEY", "NO_COLOR", "CLICOLOR_FORCE"];
    own.iter().chain(&["BLITZ_PRICE_INPUT", "BLITZ_PRICE_OUTPUT", "BLITZ_DEMO_SLOW"]).for_each(|name| {
        program.env_remove(name);
    });
    program
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a program that succeeds prints.
fn shown(mut program: Command) -> String {
    let output = program.output().unwrap();
    let (stdout, stderr) = (stdout(&output), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    stdout
}

/// A folder with documents, and what `review` makes beside them.
struct Desk {
    folder: Folder,
    files: Vec<PathBuf>,
}

const LEASE: &str = "The tenant is liable for all damages to the house. The rent is due on the first day of each month. \
    The landlord may terminate this lease without notice. The garden has an apple tree.";
const LICENSE: &str = "The software comes without warranty of any kind. You may copy it. \
    In no event shall the author be liable for any damages.";
const NOTE: &str = "The river is calm in the morning. Ducks swim on it. People walk beside it in the evening.";

impl Desk {
    fn new(documents: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let file = |(name, text): &(&str, &str)| {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
            file
        };
        let files = documents.iter().map(file).collect();
        Self { folder, files }
    }

    /// Three small documents of different risk.
    fn usual() -> Self {
        Self::new(&[("lease.txt", LEASE), ("licence.txt", LICENSE), ("note.md", NOTE)])
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    fn review(&self) -> Command {
        let mut review = program("review");
        review.arg("--output").arg(self.output()).args(&self.files);
        review
    }

    fn report(&self) -> Command {
        let mut report = program("review");
        report.arg("--output").arg(self.output()).arg("--report");
        report
    }

    fn page(&self) -> String {
        text(&self.output().join("review.md"))
    }

    async fn open(&self) -> (Engine, Session) {
        let engine = Engine::open(self.output().join("review.db").to_str().unwrap()).await.unwrap();
        let me = engine.root("test");
        (engine, me)
    }
}

async fn executions(me: &Session) -> Vec<Execution> {
    me.executions().list(ExecutionFilter::default(), ListOptions::default()).await.unwrap().items
}

/// The executions of the agent that reviews: one for each document.
async fn reviews(me: &Session) -> Vec<Execution> {
    let filter = ExecutionFilter::default().with_children();
    let all = me.executions().list(filter, ListOptions::default()).await.unwrap().items;
    all.into_iter().filter(|execution| execution.name == "risk_reviewer").collect()
}

/// The paths of the model calls of an execution that ended well, in order.
async fn model_steps(me: &Session, execution: &Execution) -> Vec<String> {
    let steps = me.executions().steps(execution.id, ListOptions::default()).await.unwrap().items;
    steps.into_iter().filter(|step| step.kind == StepKind::Model).map(|step| step.path).collect()
}

/// The model calls of an execution in the ledger: those whose usage is known, and those in doubt.
async fn booked(me: &Session, execution: &Execution) -> (Vec<i64>, usize) {
    let entries = me.costs().list(CostFilter::of_execution(execution.id), ListOptions::default()).await.unwrap().items;
    let calls = entries.iter().filter_map(|entry| Some((entry.seq, entry.usage?.provenance)));
    let (doubt, known): (Vec<_>, Vec<_>) = calls.partition(|(_, provenance)| *provenance == Provenance::Estimated);
    (known.into_iter().map(|(seq, _)| seq).collect(), doubt.len())
}

/// The lines of a table: from its upper edge to its lower one.
fn table(shown: &str) -> Vec<&str> {
    let from = shown.lines().skip_while(|line| !line.starts_with('╭'));
    let lines: Vec<&str> = from.take_while(|line| !line.is_empty()).collect();
    assert!(lines.len() > 4 && lines.last().unwrap().starts_with('╰'), "no table in:\n{shown}");
    lines
}

/// Risk, issues and tokens of each document, as the question in SQL that `review` leaves gives them.
fn asked_by_sql(desk: &Desk) -> Vec<(String, String)> {
    let database = rusqlite::Connection::open(desk.output().join("review.db")).unwrap();
    let models: i64 =
        database.query_row("SELECT count(*) FROM execution_steps WHERE kind = 'model'", [], |row| row.get(0)).unwrap();
    assert_eq!(models, 9, "three calls for each of three documents");
    let mut query = database.prepare(&text(&desk.output().join("figures.sql"))).unwrap();
    let figures = query.query_map([], |row| {
        let (document, risk): (String, f64) = (row.get("document")?, row.get("risk")?);
        let (issues, tokens, dollars): (i64, i64, f64) = (row.get("issues")?, row.get("tokens")?, row.get("dollars")?);
        assert_eq!(dollars, 0.0);
        assert!(row.get::<_, f64>("seconds")? > 0.0);
        Ok((document, format!("{risk}|{issues}|{tokens}")))
    });
    let figures: Vec<_> = figures.unwrap().map(Result::unwrap).collect();
    assert_eq!(figures.len(), 3);
    figures
}

fn row<'a>(table: &[&'a str], document: &str) -> Vec<&'a str> {
    let begin = format!("│ {document} ");
    let line = table.iter().find(|line| line.starts_with(&begin));
    let line = line.unwrap_or_else(|| panic!("no row of {document} in:\n{}", table.join("\n")));
    line.trim_matches('│').split('│').map(str::trim).collect()
}

#[test]
fn quickstart_adds() {
    let shown = shown(program("quickstart"));
    assert!(shown.contains('5') && shown.contains("3 steps"), "{shown}");
}

#[test]
fn the_readme_shows_the_quickstarts() {
    let readme = text(&workspace().join("README.md"));
    for (path, language) in [
        ("examples/rust/src/bin/quickstart.rs", "rust"),
        ("examples/c/quickstart.c", "c"),
        ("examples/cpp/quickstart.cpp", "cpp"),
    ] {
        let quickstart = text(&workspace().join(path));
        let code = readme.split(&format!("<!-- {path} -->\n```{language}\n")).nth(1).expect(path);
        let lines: Vec<&str> = code.lines().take_while(|line| *line != "```").collect();
        assert!(lines.len() >= 6, "{path}");
        // An example keeps nothing; the page shows a file.
        let shown = lines.iter().filter(|line| !line.contains("blitz.db"));
        for line in shown {
            assert!(quickstart.contains(line), "{path} lacks: {line}");
        }
    }
}

#[test]
fn streaming_shows_events_in_order() {
    let shown = shown(program("streaming"));
    let mut rest = shown.as_str();
    for part in
        ["execution.started", "step.started", "tool.started", "12 * (3 + 4)", "tool.finished", "84", "step.finished"]
    {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part} is missing or late in:\n{shown}"));
        rest = &rest[at + part.len()..];
    }
    assert!(rest.contains("execution.finished   completed"), "{shown}");
    assert!(rest.contains("read again"), "{shown}");
}

#[test]
fn a_hard_budget_stops_the_loop() {
    let shown = shown(program("budget"));
    assert!(shown.contains("budget_exceeded") && shown.contains("failed after"), "{shown}");
    let spent = shown.split(": $").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let spent = blitz::Money::parse(spent).unwrap();
    assert!(spent > blitz::Money::ZERO && spent <= blitz::Money::parse("0.03").unwrap(), "{shown}");
}

#[tokio::test]
async fn review_shows_what_the_database_holds() {
    let desk = Desk::usual();
    let reviewed = shown(desk.review());
    assert!(reviewed.contains("Offline, which is no model"), "{reviewed}");
    let shown_table = table(&reviewed);
    assert!(!reviewed.contains('\x1b'), "there are colours without a terminal:\n{reviewed}");
    let lease = row(&shown_table, "lease.txt");
    let note = row(&shown_table, "note.md");
    let risk = |row: &[&str]| row[1].split(' ').next_back().unwrap().parse::<u32>().unwrap();
    assert!(risk(&lease) > risk(&note), "{reviewed}");
    assert!(row(&shown_table, "3 of 3 reviewed")[3].replace(',', "").parse::<u64>().unwrap() > 0, "{reviewed}");

    let page = desk.page();
    assert!(
        page.contains("## lease.txt") && page.contains("The landlord may terminate this lease without notice."),
        "{page}"
    );

    assert_eq!(table(&shown(desk.report())), shown_table, "the report from the database differs");
    for (document, figures) in asked_by_sql(&desk) {
        let cells = row(&shown_table, &document);
        let issues = cells[2].split(' ').next().unwrap().replace("none", "0");
        assert_eq!(format!("{}|{issues}|{}", risk(&cells), cells[3].replace(',', "")), figures, "{document}");
    }

    let picture = text(&desk.output().join("review.svg"));
    assert!(page.contains("![What ran](review.svg)") && page.contains("3 of 3 reviewed, 0 of them twice"), "{page}");
    assert!(picture.starts_with("<svg") && picture.contains("completed · 3 of 3"), "{picture}");
    assert!(!reviewed.contains(" is risky"), "nothing here is");

    let (engine, me) = desk.open().await;
    let whole = executions(&me).await;
    assert_eq!((whole.len(), whole[0].name.as_str()), (1, "document_review"), "one execution reviews the batch");
    assert_eq!(me.workflows().versions("document_review", ListOptions::default()).await.unwrap().items.len(), 1);
    let executions = reviews(&me).await;
    assert_eq!(executions.len(), 3);
    for execution in &executions {
        assert_eq!(execution.status, ExecutionStatus::Completed);
        assert_eq!(model_steps(&me, execution).await.len(), 3, "read, compute, answer");
    }
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_finished_batch_is_followed_by_a_new_one() {
    let desk = Desk::new(&[("lease.txt", LEASE)]);
    assert!(shown(desk.review()).contains("Batch      1, new"));
    assert!(shown(desk.review()).contains("Batch      2, new"));
    let (engine, me) = desk.open().await;
    assert_eq!(executions(&me).await.len(), 2);
    engine.close().await.unwrap();
}

#[test]
fn files_that_cannot_be_reviewed_get_a_clear_line() {
    let mut desk = Desk::new(&[
        ("lease.txt", LEASE),
        ("b/lease.txt", NOTE),
        ("empty.txt", " \n"),
        ("large.txt", &"a ".repeat(70_000)),
    ]);
    let binary = desk.folder.path().join("image.png");
    std::fs::write(&binary, [0x89, b'P', b'N', b'G', 0, 0xff]).unwrap();
    desk.files.extend([binary, desk.folder.path().join("missing.txt"), desk.folder.path().join("b")]);
    let shown = shown(desk.review());
    let table = table(&shown);
    for (document, reason) in [
        ("empty.txt", "empty"),
        ("large.txt", "too large: 137 KB"),
        ("image.png", "not a text file"),
        ("missing.txt", "there is no such"),
        ("b", "a folder"),
    ] {
        assert!(row(&table, document)[2].contains(reason), "{document} in:\n{shown}");
    }
    assert_eq!(row(&table, "lease-2.txt").len(), 6);
    row(&table, "2 of 7 reviewed");
}

/// Starts a slow review and gives it back once a line of its progress holds `word`.
fn review_until(desk: &Desk, word: &str) -> Child {
    let mut review = desk.review();
    review.env("BLITZ_DEMO_SLOW", "0.4").env("BLITZ_PRICE_INPUT", "2.50").env("BLITZ_PRICE_OUTPUT", "10");
    let mut child = review.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let seen = lines.by_ref().map(Result::unwrap).find(|line| line.contains(word));
    assert!(seen.is_some(), "no line of the progress holds {word:?}");
    // What comes is read, so that the program never waits for its reader.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

#[tokio::test]
async fn killed_and_started_again_it_pays_nothing_twice() {
    // The larger one takes longer: it is in the middle when the other has ended.
    let large = format!("{LICENSE}\n").repeat(900);
    let desk = Desk::new(&[("large.txt", &large), ("small.txt", LEASE)]);
    let mut child = review_until(&desk, "✓ small.txt");
    child.kill().unwrap();
    child.wait().unwrap();

    let (engine, me) = desk.open().await;
    let whole = executions(&me).await;
    assert!(whole.len() == 1 && whole[0].interrupted && !whole[0].status.is_final(), "{whole:?}");
    let before = reviews(&me).await;
    assert_eq!(before.len(), 2);
    let mut calls = Vec::new();
    for execution in &before {
        let is_small = execution.input["document"] == "small.txt";
        assert_eq!(execution.status.is_final(), is_small, "{execution:?}");
        calls.push(booked(&me, execution).await);
    }
    engine.close().await.unwrap();

    let mut again = desk.review();
    again.env("BLITZ_PRICE_INPUT", "2.50").env("BLITZ_PRICE_OUTPUT", "10");
    let shown = shown(again);
    assert!(shown.contains("Batch      1, begun before: 1 finished, 1 go on where they were, 0 begin"), "{shown}");
    row(&table(&shown), "2 of 2 reviewed");

    let (engine, me) = desk.open().await;
    let whole = executions(&me).await;
    assert_eq!((whole.len(), whole[0].status, &whole[0].input["batch"]), (1, ExecutionStatus::Completed, &json!(1)));
    let after = reviews(&me).await;
    assert_eq!(after.len(), 2, "each document was reviewed once");
    for (execution, (known_before, doubt_before)) in after.iter().zip(&calls) {
        assert_eq!(execution.status, ExecutionStatus::Completed);
        assert_eq!(model_steps(&me, execution).await, ["1/model", "2/model", "3/model"]);
        let (known, doubt) = booked(&me, execution).await;
        assert_eq!(known.len(), 3, "each call whose answer came is booked once");
        assert!(known.starts_with(known_before), "what was booked stays");
        assert_eq!((doubt, doubt <= 1), (*doubt_before, true), "only a call under way at the kill is made again");
    }
    engine.close().await.unwrap();
}

#[tokio::test]
async fn ctrl_c_leaves_what_can_go_on() {
    let desk = Desk::usual();
    let mut review = desk.review();
    review.env("BLITZ_DEMO_SLOW", "60").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = review.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let interrupt = |child: &Child| {
        let sent = Command::new("sh").args(["-c", "kill -INT $0", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    };
    assert_eq!(lines.by_ref().filter(|line| line.contains("begins")).take(3).count(), 3);
    interrupt(&child);
    assert!(lines.any(|line| line.contains("Stopping")));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(stdout(&output).contains("Nothing is lost"), "{}", stdout(&output));

    let shown = shown(desk.review());
    assert!(shown.contains("begun before: 0 finished, 3 go on where they were, 0 begin"), "{shown}");
    row(&table(&shown), "3 of 3 reviewed");
}

#[tokio::test]
async fn a_document_that_changed_in_between_is_reviewed_as_it_is_now() {
    let desk = Desk::new(&[("lease.txt", LEASE)]);
    let mut child = review_until(&desk, "reads lease.txt");
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(&desk.files[0], NOTE).unwrap();

    let shown = shown(desk.review());
    assert!(shown.contains("Batch      1, new"), "{shown}");
    assert_eq!(row(&table(&shown), "lease.txt")[2], "none");
    let (engine, me) = desk.open().await;
    let statuses: Vec<ExecutionStatus> = executions(&me).await.iter().map(|execution| execution.status).collect();
    assert_eq!(statuses, [ExecutionStatus::Completed, ExecutionStatus::Cancelled]);
    engine.close().await.unwrap();
}

#[test]
fn on_a_terminal_lines_are_live_and_no_color_is_heeded() {
    // `script` gives a program a terminal of its own.
    if Command::new("script").arg("--version").output().is_err() {
        return;
    }
    let desk = Desk::new(&[("lease.txt", LEASE)]);
    let on_terminal = |no_color: bool| {
        let review = desk.review();
        let words =
            std::iter::once(review.get_program()).chain(review.get_args()).map(|word| format!("'{}'", word.display()));
        let command = words.collect::<Vec<_>>().join(" ");
        let mut script = Command::new("script");
        script
            .args(["-qec", &command])
            .arg(desk.folder.path().join("typescript"))
            .env("TERM", "xterm-256color")
            .env("BLITZ_DEMO_SLOW", "0.2");
        script.env_remove("BLITZ_BASE_URL").env_remove("NO_COLOR");
        blitz::provider::variables().for_each(|name| {
            script.env_remove(name);
        });
        if no_color {
            script.env("NO_COLOR", "1");
        }
        shown(script)
    };
    let coloured = on_terminal(false);
    assert!(coloured.contains('⠙') && coloured.contains("0 of 1 reviewed"), "{coloured}");
    assert!(coloured.contains("\x1b[32m"), "{coloured}");
    let plain = on_terminal(true);
    assert!(plain.contains('⠙'), "{plain}");
    assert!(!plain.contains("\x1b[3"), "{plain}");
}

fn chunk(delta: &Value, finish: Option<&str>) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

/// A streamed answer of a chat server, of a thousand input tokens and ten output tokens.
fn answer(delta: &Value, finish: &str) -> Reply {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 10}});
    Reply::events()
        .event(&chunk(delta, None))
        .event(&chunk(&json!({}), Some(finish)))
        .event(&usage)
        .send("data: [DONE]\n\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_is_asked_once_for_each_step_across_a_kill() {
    let read = json!({"name": "file_read", "arguments": "{\"path\": \"lease.txt\"}"});
    let read = json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": read}]});
    let server = Server::start([answer(&read, "tool_calls"), Reply::events().hang()]).await;
    let desk = Desk::new(&[("lease.txt", LEASE)]);
    let review = || {
        let mut review = desk.review();
        review.env("BLITZ_BASE_URL", format!("{}/v1", server.url())).env("BLITZ_MODEL", "llama");
        review
    };

    let mut child = review().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while server.requests().len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let verdict = json!({"summary": "A lease.", "risk_score": 61, "issues":
        [{"title": "Notice", "severity": "high", "quote": "The landlord may terminate this lease without notice."}]});
    server.push(answer(&json!({"content": verdict.to_string()}), "stop"));
    // That is a high risk: another agent is asked, on its own.
    let second = json!({"summary": "A hard lease.", "risk_score": 72, "issues": []});
    server.push(answer(&json!({"content": second.to_string()}), "stop"));
    let mut command = review();
    let shown = tokio::task::spawn_blocking(move || {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        stdout(&output)
    });
    let shown = shown.await.unwrap();
    assert!(shown.contains("llama at http://127.0.0.1"), "{shown}");
    assert!(shown.contains("Price      unknown"), "{shown}");
    assert!(shown.contains("1 model call kept"), "{shown}");
    assert!(shown.contains("1 call under way at its end"), "{shown}");
    let cells = row(&table(&shown), "lease.txt").join("|");
    assert!(cells.contains(" 72|") && cells.contains("1 high") && cells.contains("unknown"), "{shown}");
    let page = desk.page();
    assert!(
        page.contains("**Second opinion: 72 of 100.** A hard lease.") && page.contains("1 of them twice"),
        "{page}"
    );

    let requests = server.requests();
    assert_eq!(requests.len(), 4, "the first answer was not asked for again");
    let opinion = requests[3].json().to_string();
    assert!(opinion.contains("second opinions") && !opinion.contains("61"), "it is not told what the first one found");
    let last = requests[2].json();
    let last = last["messages"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["role"], &last["tool_call_id"]), (&json!("tool"), &json!("call_1")));
    assert!(last["content"].as_str().unwrap().contains("terminate this lease"));
}

#[test]
fn blitz_report_shows_what_was_spent_by_model_over_days() {
    let folder = Folder::new();
    let file = folder.path().join("spent.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let scripted = blitz::provider::Scripted::from_fn(|_| {
            blitz::provider::Reply::text("hello").with_usage(blitz::Usage::new(1_000, 100))
        });
        let engine = Engine::builder(file.to_str().unwrap()).with_provider(scripted).open().await.unwrap();
        let me = engine.root("test");
        for (model, input) in [("small", "1"), ("large", "10")] {
            let price = blitz::Price::per_million(input, input).unwrap();
            me.models().put(blitz::NewModel::new(model, "scripted", model).with_price(price)).await.unwrap();
            me.agents().put(blitz::NewAgent::new(format!("{model}_agent"), model)).await.unwrap();
            me.run(format!("{model}_agent").as_str(), "go").await.unwrap();
        }
        engine.close().await.unwrap();
    });
    let mut report = program("blitz_report");
    report.arg(&file).args(["--by", "model", "--by", "agent"]);
    let shown = shown(report);
    let row = |name: &str| shown.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {shown}"));
    assert!(row("large_agent").contains("0.011") && row("small_agent").contains("0.0011"), "{shown}");
    assert!(row("large_agent").contains('█'), "a sparkline: {shown}");
    assert!(shown.contains("0.0121"), "the sum: {shown}");
    // Without a dimension there is a table for each that tells anything apart.
    let mut every = program("blitz_report");
    every.arg(&file);
    let shown = self::shown(every);
    for (dimension, value) in [("model", "large"), ("provider", "scripted"), ("agent", "small_agent")] {
        let header = shown.lines().position(|line| line.starts_with(&format!("| {dimension} "))).expect(dimension);
        assert!(shown.lines().skip(header).any(|line| line.contains(value)), "{dimension}: {shown}");
    }
    assert!(!shown.contains("| workflow ") && !shown.contains("| tags "), "{shown}");
    let mut tagged = program("blitz_report");
    tagged.arg(&file).args(["--by", "model", "--tag", "team=blue"]);
    assert!(!self::shown(tagged).contains("large"));
    let mut unknown = program("blitz_report");
    let output = unknown.arg(&file).args(["--by", "colour"]).output().unwrap();
    assert!(!output.status.success());
}
