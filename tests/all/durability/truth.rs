//! What really happened, as the world outside saw it: lines that outlive whoever wrote them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use blitz::Timestamp;
use serde::{Deserialize, Serialize};

/// One thing that happened outside of the engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    /// The process it came from.
    pub(super) process: u32,
    #[serde(flatten)]
    pub(super) fact: Fact,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fact {
    /// The model service was sent a request.
    Asked(Request),
    /// It gave its answer, which it charges for.
    Answered(Request),
    /// A tool did what it does.
    Done { tool: String, key: String },
}

/// A request as the model service can tell it: whose it is, from which agent, at which turn.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) label: String,
    pub(super) agent: String,
    pub(super) turn: usize,
}

/// A file that every process appends to, a whole line at a time.
pub(super) struct Truth {
    path: PathBuf,
    file: File,
}

impl Truth {
    pub(super) fn at(folder: &Path) -> Self {
        let path = folder.join("truth");
        let file = File::options().create(true).append(true).open(&path).expect("the truth is kept");
        Self { path, file }
    }

    /// Writes a line. Once this returns, a killed process has left it behind.
    pub(super) fn tell(&self, fact: Fact) {
        let line = Line { at: Timestamp::now(), process: std::process::id(), fact };
        // A line break on both sides: were one line ever torn, its neighbours stay whole.
        let text = format!("\n{}\n", serde_json::to_string(&line).expect("is JSON"));
        (&self.file).write_all(text.as_bytes()).expect("the truth is kept");
    }

    /// Writes a line that is on the disk once this returns.
    pub(super) fn tell_for_good(&self, fact: Fact) {
        self.tell(fact);
        self.file.sync_data().expect("the truth is kept");
    }

    /// Everything that happened so far, in order.
    pub(super) fn lines(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.path).expect("the truth is read");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Whether a call of a tool has happened.
    pub(super) fn is_done(&self, wanted: &str) -> bool {
        self.lines().iter().any(|line| matches!(&line.fact, Fact::Done { key, .. } if key == wanted))
    }

    /// Requests and calls by what they are of.
    pub(super) fn sorted(&self) -> Sorted {
        let mut sorted = Sorted::default();
        for line in self.lines() {
            match line.fact.clone() {
                Fact::Asked(request) => sorted.asked.entry(request).or_default().push(line),
                Fact::Answered(request) => *sorted.answered.entry(request.label).or_default() += 1,
                Fact::Done { key, .. } => sorted.done.entry(key).or_default().push(line),
            }
        }
        sorted
    }
}

#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) asked: BTreeMap<Request, Vec<Line>>,
    /// Answers by the label of the root.
    pub(super) answered: BTreeMap<String, u64>,
    /// Calls by their idempotency key.
    pub(super) done: BTreeMap<String, Vec<Line>>,
}
