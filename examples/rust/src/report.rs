//! The figures of a batch: a table for the screen and a page, both from the database alone.

use std::collections::BTreeMap;
use std::time::Duration;

use blitz::{CostFilter, CostSummary, EventData, Execution, Money, Provenance, Session};
use comfy_table::{Cell, CellAlignment, ContentLineStyle, LineStyle, Table, TableStyle};
use futures_util::StreamExt as _;

use crate::Result;
use crate::batch::{self, Item, Review};
use crate::documents::Document;
use crate::progress::{Items, RunningTime};
use crate::prompt::{Issue, Question, Severity, Verdict};
use crate::show;

const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('╭', '─', '┬', '╮'))
    .header_lines(ContentLineStyle::new('│', '│', '│'))
    .header_separator(LineStyle::new('├', '─', '┼', '┤'))
    .content_lines(ContentLineStyle::new('│', '│', '│'))
    .bottom_border(LineStyle::new('╰', '─', '┴', '╯'));

/// What became of one document.
pub struct Row {
    document: String,
    /// Where it was found.
    source: String,
    /// The verdict, or why there is none.
    verdict: std::result::Result<Verdict, String>,
    /// What was booked for it; nothing where it was never asked about.
    spent: Option<CostSummary>,
    /// How long it ran, pauses of a dead process left out.
    time: Option<Duration>,
}

impl Row {
    /// The figures of a document: what came out, what the ledger booked, how long it ran.
    async fn of(me: &Session, question: &Question, item: Item, time: Option<Duration>) -> Result<Self> {
        let verdict = match item.ended {
            Some(Ok(verdict)) => serde_json::from_value(verdict).map_err(|error| error.to_string()),
            Some(Err(reason)) => Err(reason),
            None => Err("not reviewed yet".to_owned()),
        };
        let mut spent = CostSummary::default();
        for child in item.children {
            let of_child = me.costs().summary(CostFilter::of_execution(child)).await?;
            spent.cost = spent.cost.saturating_add(of_child.cost);
            spent.unpriced_calls += of_child.unpriced_calls;
            spent.usage.add(&of_child.usage);
        }
        let (document, source) = (question.document.clone(), question.source.clone());
        Ok(Self { document, source, verdict, spent: Some(spent), time })
    }

    /// A document that cannot be reviewed, if it is one.
    pub fn unreadable(document: &Document) -> Option<Self> {
        let reason = document.fingerprint.as_ref().err()?;
        let verdict = Err(format!("not reviewed: {reason}"));
        let (document, source) = (document.name.clone(), document.source.to_string_lossy().into_owned());
        Some(Self { document, source, verdict, spent: None, time: None })
    }

    /// Whether it has a verdict.
    pub fn is_reviewed(&self) -> bool {
        self.verdict.is_ok()
    }
}

/// The rows of a batch: each document as the newest execution that reviewed it left it.
pub async fn rows(me: &Session, reviews: &[Review], batch: u64) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for review in reviews.iter().filter(|review| review.order.batch == batch) {
        let times = running_times(me, &review.execution).await?;
        for (index, question) in review.order.documents.iter().enumerate() {
            let is_known = !question.verdict.is_null() || rows.iter().any(|row| row.document == question.document);
            if !is_known {
                let item = batch::item(me, &review.execution, index).await?;
                rows.push(Row::of(me, question, item, times.get(&index).copied()).await?);
            }
        }
    }
    Ok(rows)
}

/// How long each document of an execution that has ended was worked on.
async fn running_times(me: &Session, execution: &Execution) -> Result<BTreeMap<usize, Duration>> {
    let mut running: BTreeMap<usize, RunningTime> = BTreeMap::new();
    let mut items = Items::default();
    if !execution.status.is_final() {
        return Ok(BTreeMap::new());
    }
    let mut events = me.executions().events(execution.id, 0);
    while let Some(event) = events.next().await {
        let event = event?;
        if matches!(event.data, EventData::ExecutionResumed { .. }) {
            running.values_mut().for_each(RunningTime::pause);
        }
        if let Some(index) = items.of(&event) {
            running.entry(index).or_default().see(&event);
        }
    }
    Ok(running.into_iter().map(|(index, running)| (index, running.time)).collect())
}

/// The figures of a batch, the greatest risk first.
pub struct Report {
    /// The number of the batch.
    pub batch: u64,
    rows: Vec<Row>,
}

impl Report {
    /// Of these rows.
    pub fn new(batch: u64, mut rows: Vec<Row>) -> Self {
        let risk = |row: &Row| row.verdict.as_ref().map_or(-1.0, |verdict| verdict.risk_score);
        rows.sort_by(|a, b| risk(b).total_cmp(&risk(a)).then_with(|| a.document.cmp(&b.document)));
        Self { batch, rows }
    }

    /// The table, for a screen with colours or without.
    pub fn table(&self, colours: bool) -> String {
        let mut table = Table::new();
        table.load_style(STYLE);
        table.set_header(["Document", "Risk score", "Issues found", "Tokens", "Cost", "Time"]);
        for row in &self.rows {
            let (risk, issues) = match &row.verdict {
                Ok(verdict) => (show::gauge(verdict.risk_score), severities(&verdict.issues)),
                Err(reason) => ("—".to_owned(), show::wrapped(reason, 34)),
            };
            let [tokens, cost, time] = figures(row.spent.as_ref(), row.time).map(right);
            table.add_row([
                Cell::new(show::shortened(&row.document, 32)),
                Cell::new(risk),
                Cell::new(issues),
                tokens,
                cost,
                time,
            ]);
        }
        let spent = self.spent();
        let issues = self.rows.iter().flat_map(|row| &row.verdict).map(|verdict| verdict.issues.len()).sum();
        let [tokens, cost, time] = figures(Some(&spent), self.longest()).map(right);
        let reviewed = format!("{} of {} reviewed", self.reviewed(), self.rows.len());
        table.add_row([
            Cell::new(reviewed),
            Cell::new(""),
            Cell::new(show::counted(issues, "issue")),
            tokens,
            cost,
            time,
        ]);
        let mut lines: Vec<String> = table.lines().collect();
        // The sum stands apart: below the same line as the header is above.
        if let Some(rule) = lines.get(2).cloned() {
            lines.insert(lines.len() - 2, rule);
        }
        show::ink(&lines.join("\n"), colours)
    }

    /// How many documents have a verdict.
    pub fn reviewed(&self) -> usize {
        self.rows.iter().filter(|row| row.is_reviewed()).count()
    }

    /// What all reviews used and cost, by the ledger.
    pub fn spent(&self) -> CostSummary {
        let mut sum = CostSummary::default();
        for spent in self.rows.iter().filter_map(|row| row.spent.as_ref()) {
            sum.cost = sum.cost.saturating_add(spent.cost);
            sum.unpriced_calls += spent.unpriced_calls;
            sum.usage.add(&spent.usage);
        }
        sum
    }

    /// They run side by side, so the longest is the time of all.
    fn longest(&self) -> Option<Duration> {
        self.rows.iter().filter_map(|row| row.time).max()
    }

    /// The page: the table, and what was found in each document.
    pub fn page(&self, model: &str, report: &str, picture: &str) -> String {
        let mut page = format!(
            "# Review of {}\n\nBatch {}, by {model}. {}\n\n![What ran]({picture})\n\n",
            show::counted(self.rows.len(), "document"),
            self.batch,
            show::plain(report)
        );
        page += "| Document | Risk score | Issues found | Tokens | Cost | Time |\n|---|--:|---|--:|--:|--:|\n";
        for row in &self.rows {
            let (risk, issues) = match &row.verdict {
                Ok(verdict) => (format!("{:.0}", verdict.risk_score), severities(&verdict.issues)),
                Err(reason) => ("—".to_owned(), reason.clone()),
            };
            let [tokens, cost, time] = figures(row.spent.as_ref(), row.time);
            page += &format!(
                "| {} | {risk} | {} | {tokens} | {cost} | {time} |\n",
                show::plain(&row.document),
                show::plain(&issues)
            );
        }
        let [tokens, cost, time] = figures(Some(&self.spent()), self.longest());
        page += &format!("| {} of {} reviewed | | | {tokens} | {cost} | {time} |\n", self.reviewed(), self.rows.len());
        self.rows
            .iter()
            .filter_map(|row| Some((row, row.verdict.as_ref().ok()?)))
            .fold(page, |page, (row, verdict)| page + &chapter(row, verdict))
    }
}

fn chapter(row: &Row, verdict: &Verdict) -> String {
    let (document, source, summary) =
        (show::plain(&row.document), show::plain(&row.source), show::plain(&verdict.summary));
    let mut text = format!("\n## {document}: {:.0} of 100\n\n*{source}*\n\n{summary}\n", verdict.risk_score);
    if let Some(second) = &verdict.second {
        text += &format!("\n**Second opinion: {:.0} of 100.** {}\n", second.risk_score, show::plain(&second.summary));
    }
    for issue in &verdict.issues {
        text += &format!(
            "\n- **{}** ({})\n  > {}\n",
            show::plain(&issue.title),
            word(issue.severity),
            show::plain(&issue.quote)
        );
    }
    text
}

fn figures(spent: Option<&CostSummary>, time: Option<Duration>) -> [String; 3] {
    let tokens = spent.map_or("—".to_owned(), |spent| at_most(spent, show::count(spent.usage.total_tokens())));
    let cost = spent.map_or("—".to_owned(), |spent| match spent.known_cost() {
        Some(Money::ZERO) => show::cost(Some(Money::ZERO)),
        cost => at_most(spent, show::cost(cost)),
    });
    [tokens, cost, time.map_or("—".to_owned(), show::time)]
}

/// A call whose process died under way is booked at its bound: then so is the sum.
fn at_most(spent: &CostSummary, figure: String) -> String {
    if spent.usage.provenance == Provenance::Estimated { format!("≤ {figure}") } else { figure }
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "high",
        Severity::Medium => "medium",
        Severity::Low => "low",
    }
}

/// `7 (2 high, 5 low)`.
fn severities(issues: &[Issue]) -> String {
    let parts = [Severity::High, Severity::Medium, Severity::Low].into_iter().filter_map(|severity| {
        let count = issues.iter().filter(|issue| issue.severity == severity).count();
        (count > 0).then(|| format!("{count} {}", word(severity)))
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "none".to_owned() } else { format!("{:>2} ({})", issues.len(), parts.join(", ")) }
}
