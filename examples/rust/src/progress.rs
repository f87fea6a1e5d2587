//! What happens, as it happens: live lines on a terminal, plain ones elsewhere.
//!
//! Everything shown here comes from the engine's one stream of events.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use blitz::{Delta, Event, EventData, ExecutionId, ItemFinished, Money, NodeStatus, Timestamp, ToolCall};
use console::{Term, style};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::flow::{EACH, SECOND};
use crate::prompt::{Question, Verdict};
use crate::show;

/// How often a live line turns its wheel.
const TICK: Duration = Duration::from_millis(100);
/// The most characters of a document's name, and of what happens.
const NAME: usize = 28;
const PHASE: usize = 60;

/// The progress of all reviews of a batch.
pub struct Progress {
    began: (Instant, Timestamp),
    width: usize,
    tokens: AtomicU64,
    percent: AtomicU32,
    total: usize,
    done: AtomicUsize,
    live: Option<Live>,
}

/// The lines of a terminal: one for each review that runs, and one for all.
struct Live {
    lines: MultiProgress,
    all: ProgressBar,
}

impl Progress {
    /// The progress of a batch of `total` documents, of which so many are done.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>, total: usize, done: usize) -> Self {
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0).min(NAME);
        let term = Term::stderr();
        let is_live = term.features().is_attended() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let live = is_live.then(|| {
            let lines = MultiProgress::new();
            let all = ProgressBar::new(total as u64)
                .with_style(bar("  {bar:24.cyan/dim}  {pos} of {len} reviewed  {msg:.dim}"));
            let all = lines.add(all.with_position(done as u64));
            all.enable_steady_tick(TICK);
            Live { lines, all }
        });
        Self {
            began: (Instant::now(), Timestamp::now()),
            width,
            tokens: AtomicU64::new(0),
            percent: AtomicU32::new(0),
            total,
            done: AtomicUsize::new(done),
            live,
        }
    }

    /// The line of one review.
    fn line(&self, name: &str) -> Line<'_> {
        let name = format!("{:<width$}", show::shortened(name, NAME - 1), width = self.width);
        let bar = self.live.as_ref().map(|live| {
            let wheel = ProgressBar::new_spinner().with_style(bar("  {spinner:.cyan} {prefix}  {msg:.dim}"));
            let wheel = live.lines.insert_before(&live.all, wheel.with_prefix(name.clone()));
            wheel.enable_steady_tick(TICK);
            wheel
        });
        let (running, cost) = (RunningTime::default(), Some(Money::ZERO));
        Line { progress: self, name, bar, written: 0, running, tokens: 0, cost, second: None }
    }

    /// Takes the live lines away: what comes next has the screen to itself.
    pub fn end(&self) {
        if let Some(live) = &self.live {
            live.all.finish_and_clear();
        }
    }

    /// How far the batch is.
    pub fn in_words(&self) -> String {
        format!("{} of {} reviewed", self.done.load(Ordering::Relaxed), self.total)
    }

    /// Counts tokens as they are used.
    fn count(&self, tokens: u64) {
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
        self.message();
    }

    /// How much of the workflow is decided, in hundredths of a percent, as its events say.
    fn percent(&self, progress: u32) {
        self.percent.store(progress / 100, Ordering::Relaxed);
        self.message();
    }

    fn message(&self) {
        if let Some(live) = &self.live {
            let tokens = show::count(self.tokens.load(Ordering::Relaxed));
            live.all.set_message(format!("{} %  {tokens} tokens", self.percent.load(Ordering::Relaxed)));
        }
    }

    /// Tells a line that stays.
    pub fn tell(&self, text: &str) {
        match &self.live {
            // A line that cannot be shown is no reason to end the work.
            Some(live) => drop(live.lines.println(text)),
            None => eprintln!("{:>8} {text}", show::time(self.began.0.elapsed())),
        }
    }
}

/// The lines of the documents of one execution, drawn from its events.
pub struct Lines<'a> {
    progress: &'a Progress,
    documents: &'a [Question],
    lines: BTreeMap<usize, Line<'a>>,
    items: Items,
}

impl<'a> Lines<'a> {
    /// Lines for these documents; each comes when its review begins.
    pub fn new(progress: &'a Progress, documents: &'a [Question]) -> Self {
        Self { progress, documents, lines: BTreeMap::new(), items: Items::default() }
    }

    /// Shows an event of the execution or of one of its children.
    pub fn show(&mut self, event: &Event) {
        if let EventData::NodeFinished(finished) = &event.data
            && event.path.is_empty()
        {
            self.progress.percent(finished.progress);
        }
        if matches!(event.data, EventData::ExecutionResumed { .. }) {
            self.lines.values_mut().for_each(|line| line.running.pause());
        }
        let Some(index) = self.items.of(event) else { return };
        // What an earlier execution has found out is only handed through.
        let Some(document) = self.documents.get(index).filter(|document| document.verdict.is_null()) else { return };
        let progress = self.progress;
        let line = self.lines.entry(index).or_insert_with(|| progress.line(&document.document));
        line.show(event);
        if matches!(event.data, EventData::ItemFinished(_)) {
            self.lines.remove(&index);
        }
    }
}

/// Which events are about which document: those of its item in the map, and those of the agents that it runs.
#[derive(Default)]
pub struct Items {
    children: HashMap<ExecutionId, usize>,
}

impl Items {
    /// The document that an event is about, by its place.
    pub fn of(&mut self, event: &Event) -> Option<usize> {
        if let Some(index) = self.children.get(&event.execution_id) {
            return Some(*index);
        }
        let mut parts = event.path.split('/');
        let index = (parts.next()? == EACH).then(|| parts.next()).flatten()?.parse().ok()?;
        if let EventData::NodeStarted(started) = &event.data {
            self.children.extend(started.child_id.map(|child| (child, index)));
        }
        Some(index)
    }
}

/// The line of one review.
struct Line<'a> {
    progress: &'a Progress,
    name: String,
    bar: Option<ProgressBar>,
    written: usize,
    running: RunningTime,
    tokens: u64,
    cost: Option<Money>,
    /// The execution of the second opinion.
    second: Option<ExecutionId>,
}

impl Line<'_> {
    /// Shows an event of the review.
    fn show(&mut self, event: &Event) {
        self.running.see(event);
        match &event.data {
            EventData::StepFinished(step) => self.progress.count(step.usage.total_tokens()),
            EventData::StepStarted(_) => self.written = 0,
            EventData::ModelDelta { delta: Delta::Text { text }, .. } => self.written += text.chars().count(),
            EventData::NodeStarted(started) if started.node == SECOND => self.second = started.child_id,
            EventData::NodeFinished(finished) => {
                self.tokens += finished.usage.total_tokens();
                self.cost = match (self.cost, finished.cost) {
                    (Some(sum), Some(cost)) => Some(sum.saturating_add(cost)),
                    (sum, None) if finished.usage.requests == 0 => sum,
                    _ => None,
                };
            }
            EventData::ItemFinished(item) => return self.finish(event, item),
            _ => {}
        }
        let Some(phase) = phase(&event.data, self.written) else { return };
        let second = if self.second == Some(event.execution_id) { "second opinion: " } else { "" };
        let phase = show::shortened(&format!("{second}{phase}"), PHASE);
        match &self.bar {
            Some(bar) => bar.set_message(phase),
            None if self.deserves_a_line(event) => self.progress.tell(&format!("  {}  {phase}", self.name)),
            None => {}
        }
    }

    /// Whether an event is told where lines stay: not each piece of an answer, nothing of an earlier process.
    fn deserves_a_line(&self, event: &Event) -> bool {
        let passing = matches!(event.data, EventData::ModelDelta { .. } | EventData::StepStarted(_));
        !passing && self.is_new(event)
    }

    fn is_new(&self, event: &Event) -> bool {
        event.ts >= self.progress.began.1
    }

    fn finish(&mut self, event: &Event, item: &ItemFinished) {
        if let (Some(bar), Some(live)) = (&self.bar, &self.progress.live) {
            bar.finish_and_clear();
            live.lines.remove(bar);
        }
        // What ended in an earlier process is counted already.
        if !self.is_new(event) {
            return;
        }
        let verdict: Option<Verdict> = serde_json::from_value(item.output.clone()).ok();
        let (mark, end) = match (item.status, &item.error, verdict) {
            (NodeStatus::Completed, _, Some(verdict)) => {
                let issues = show::counted(verdict.issues.len(), "issue");
                let twice = if verdict.second.is_some() { "  two opinions" } else { "" };
                (style("✓").green(), format!("risk {:>3.0}  {issues:>9}{twice}", verdict.risk_score))
            }
            (_, Some(error), _) => {
                (style("✗").red(), show::shortened(&format!("{}: {}", error.code, error.message), PHASE))
            }
            (status, None, _) => (style("✗").red(), status.name().to_owned()),
        };
        let figures =
            [format!("{:>7} tokens", show::count(self.tokens)), show::cost(self.cost), show::time(self.running.time)];
        let figures = style(figures.join("  ")).for_stderr().dim();
        let margin = if self.bar.is_some() { "  " } else { "" };
        self.progress.tell(&format!("{margin}{} {}  {end}  {figures}", mark.for_stderr(), self.name));
        self.progress.done.fetch_add(1, Ordering::Relaxed);
        if let Some(live) = &self.progress.live {
            live.all.inc(1);
        }
    }
}

/// How long an execution has run, by its events: what passed before it was taken up again is left out.
#[derive(Default)]
pub struct RunningTime {
    /// The time so far.
    pub time: Duration,
    last: Option<Timestamp>,
}

impl RunningTime {
    /// Counts the time up to an event.
    pub fn see(&mut self, event: &Event) {
        if let Some(last) = self.last.filter(|_| !matches!(event.data, EventData::ExecutionResumed { .. })) {
            self.time += event.ts.since(last);
        }
        self.last = Some(event.ts);
    }

    /// Leaves out what passes until the next event.
    pub fn pause(&mut self) {
        self.last = None;
    }
}

/// What an event says about a review, in words; nothing where the line stays as it is.
fn phase(event: &EventData, written: usize) -> Option<String> {
    Some(match event {
        EventData::ExecutionStarted { .. } => "begins".to_owned(),
        EventData::NodeStarted(started) if started.node == SECOND => "is risky: another agent is asked".to_owned(),
        EventData::ExecutionResumed { .. } => "goes on where it was".to_owned(),
        EventData::StepStarted(step) => match step.reserved {
            Some(held) if held > Money::ZERO => format!("asks the model, ${held} reserved"),
            _ => "asks the model".to_owned(),
        },
        EventData::StepRetrying { error, .. } => format!("tries again: {}", error.message),
        EventData::ModelDelta { delta: Delta::ToolCall { name, .. }, .. } => format!("the model asks for {name}"),
        EventData::ModelDelta { delta: Delta::Text { .. }, .. } => {
            format!("the model writes: {} characters", show::count(written as u64))
        }
        EventData::ToolStarted(tool) => doing(&tool.call),
        EventData::ToolFinished { result, .. } if result.is_error => {
            format!("{} failed: {}", result.name, result.as_text())
        }
        EventData::ExecutionCancelling => "is being cancelled".to_owned(),
        EventData::BudgetAlert { budget, threshold, .. } => format!("{threshold} % of the budget {budget} is spent"),
        _ => return None,
    })
}

/// What a tool does, in words.
fn doing(call: &ToolCall) -> String {
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
    match (call.name.as_str(), &arguments["path"], &arguments["expression"]) {
        ("file_read", Value::String(path), _) => format!("reads {path}"),
        ("calculator", _, Value::String(expression)) => format!("computes {expression}"),
        (name, ..) => format!("calls {name}"),
    }
}

fn bar(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the templates of this file are right");
    style.progress_chars("━━─").tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}
