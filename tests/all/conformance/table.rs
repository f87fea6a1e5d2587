//! The table of docs/providers.md: what of each provider's behaviour the recordings prove, written by the suites.
//!
//! A suite writes and compares its own row. A row carries a mark of the recordings that it was made from:
//! over other recordings nothing is compared.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::player::Suite;
use super::reading::Reading;
use super::recorded::{Exchange, mark};
use blitz::{ModelRequest, Part};

/// What an exchange shows beside a plain question and answer.
pub const BEHAVIOURS: &[&str] =
    &["streamed", "tools", "calls", "parallel", "schema", "thinking", "media", "cached", "cut off", "errors"];

/// Which of [`BEHAVIOURS`] an exchange shows.
pub fn shows(exchange: &Exchange, request: Option<&ModelRequest>, reading: Option<&Reading>) -> Vec<bool> {
    let of_request = |shows: &dyn Fn(&ModelRequest) -> bool| request.is_some_and(shows);
    let of_answer = |shows: &dyn Fn(&Reading) -> bool| reading.is_some_and(shows);
    let is_media = |part: &Part| matches!(part, Part::Image { .. } | Part::File { .. });
    let has_media = |request: &ModelRequest| request.messages.iter().any(|message| message.parts.iter().any(is_media));
    vec![
        exchange.streams(),
        of_request(&|request| !request.tools.is_empty()),
        of_answer(&|reading| !reading.calls.is_empty()),
        of_answer(&|reading| reading.calls.len() > 1),
        of_request(&|request| request.output_schema.is_some()),
        of_answer(&|reading| !reading.thinking.is_empty()),
        of_request(&has_media),
        of_answer(&|reading| reading.usage.is_some_and(|usage| usage[1] > 0)),
        of_answer(&|reading| reading.finish_reason == "length"),
        !exchange.is_answer(),
    ]
}

/// A row that is complete.
pub struct Row {
    pub name: String,
    pub exchanges: usize,
    pub right: usize,
    pub excepted: usize,
    /// How many exchanges that were read right show each of [`BEHAVIOURS`].
    pub counts: Vec<usize>,
}

impl Row {
    fn text(&self, mark: &str) -> String {
        let blank_zero = |count: usize| if count == 0 { String::new() } else { count.to_string() };
        let Self { name, exchanges, right, excepted, counts } = self;
        let mut text = format!("| {name} | {exchanges} | {right} | {} |", blank_zero(*excepted));
        for count in counts {
            let _ = write!(text, " {} |", blank_zero(*count));
        }
        text + &format!(" {mark} |")
    }
}

/// Compares a suite's row with the one in docs/providers.md, or writes it where `BLITZ_BLESS` is set.
pub fn compare(suite: &Suite, row: &Row) {
    let Some(mark) = mark(&suite.file) else { return };
    let (text, begin) = (row.text(&mark), format!("| {} | ", row.name));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/providers.md");
    let bless = std::env::var_os("BLITZ_BLESS").is_some();
    let _lock = bless.then(Lock::take);
    let page = std::fs::read_to_string(&path).unwrap();
    let found = page.lines().find(|line| line.starts_with(&begin) && line.matches('|').count() > 12);
    if bless {
        let page = match found {
            Some(line) => page.replace(line, &text),
            None => page.replace("<!-- end of the table -->", &format!("{text}\n<!-- end of the table -->")),
        };
        std::fs::write(&path, page).unwrap();
        return;
    }
    let is_of_these = |line: &&str| line.ends_with(&format!(" {mark} |"));
    if let Some(line) = found.filter(is_of_these) {
        assert_eq!(line, text, "docs/providers.md: write it anew with BLITZ_BLESS=1 make conformance");
    }
}

/// One suite writes the page at a time, whichever process it runs in.
struct Lock(PathBuf);

impl Lock {
    fn take() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("providers.md.lock");
        while std::fs::OpenOptions::new().write(true).create_new(true).open(&path).is_err() {
            std::thread::yield_now();
        }
        Self(path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
