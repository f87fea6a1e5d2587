//! Usage over time: sums of quarters of an hour folded from the entries, and what is behind them from
//! the entries themselves. So every answer is exact to the ledger at its moment: clocks of all zones
//! differ by whole quarters.

use std::collections::{BTreeMap, HashMap};

use super::window;
use crate::domain::{
    BudgetPeriod, EntryKind, ExecutionId, ExportFormat, Money, ResourceId, Timestamp, UsageBy, UsageQuery, UsageReport,
    UsageRow, UsageStep, UserId,
};
use crate::error::{Error, Result};
use crate::store::ledger::matching::Period;
use crate::store::ledger::tags;
use crate::store::ledger::usage::{self as sql, Dims, Sums, Used};
use crate::store::sql::{Connection, to_json};

/// How many entries one fold takes.
const SLICE: u32 = 500;
/// The most rows of an answer.
const MAX_ROWS: usize = 10_000;
const QUARTER: i64 = 900_000_000;

/// Folds the next entries into the sums of their quarters; says whether there are more.
pub(crate) fn fold(tx: &mut dyn Connection) -> Result<bool> {
    let after = sql::folded(tx)?;
    let used = sql::entries(tx, after, SLICE)?;
    let Some(last) = used.last().map(|last| last.seq) else { return Ok(false) };
    let more = used.len() == SLICE as usize;
    let mut tags = Tags::default();
    let mut sums: BTreeMap<Dims, Sums> = BTreeMap::new();
    for used in &used {
        if used.kind != EntryKind::Reserve {
            let dims = tags.place(tx, used)?;
            sums.entry(dims).or_default().count(used)?;
        }
    }
    for (dims, more) in &sums {
        let mut whole = sql::sums(tx, dims)?.unwrap_or_default();
        whole.add(more)?;
        sql::put(tx, dims, &whole)?;
    }
    sql::set_folded(tx, last)?;
    Ok(more)
}

/// Answers a question. Errors: `InvalidInput` for a time zone that is not known, or where the answer
/// would be over 10,000 rows.
pub(crate) fn report(tx: &mut dyn Connection, query: &UsageQuery) -> Result<UsageReport> {
    let from = query.from.map_or(Timestamp(i64::MIN / 2), quarter_of);
    let to = query.to.map_or(Timestamp(i64::MAX / 2), |to| quarter_of(Timestamp(to.0.saturating_add(QUARTER - 1))));
    let mut answer = Answer { query, groups: BTreeMap::new(), total: Sums::default(), span: None };
    let mut after = Dims { start: Timestamp(i64::MIN), ..Dims::default() };
    loop {
        let rollups = sql::rollups(tx, (from, to), &after, 1000)?;
        for (dims, sums) in &rollups {
            answer.take(dims, sums)?;
        }
        match rollups.into_iter().next_back() {
            Some((dims, _)) => after = dims,
            None => break,
        }
    }
    let mut tags = Tags::default();
    let mut seq = sql::folded(tx)?;
    loop {
        let tail = sql::entries(tx, seq, 1000)?;
        let Some(last) = tail.last() else { break };
        seq = last.seq;
        for used in tail.iter().filter(|used| used.kind != EntryKind::Reserve && used.at >= from && used.at < to) {
            let mut sums = Sums::default();
            sums.count(used)?;
            answer.take(&tags.place(tx, used)?, &sums)?;
        }
    }
    let Answer { groups, total, .. } = answer;
    let mut names = HashMap::new();
    let mut rows = Vec::with_capacity(groups.len());
    for (dims, sums) in &groups {
        let mut row = row(query, dims, sums);
        if let Some(id) = row.agent_id {
            row.agent = match names.get(&id) {
                Some(name) => Option::clone(name),
                None => names.entry(id).or_insert(sql::resource_name(tx, id)?).clone(),
            };
        }
        rows.push(row);
    }
    let total = row(&UsageQuery::default(), &Dims::default(), &total);
    Ok(UsageReport { from: query.from.map(|_| from), to: query.to.map(|_| to), rows, total })
}

/// The sums as the entries alone make them, to hold the folded ones against.
#[cfg(test)]
pub(crate) fn rebuilt(tx: &mut dyn Connection, up_to: i64) -> Result<BTreeMap<Dims, Sums>> {
    let mut tags = Tags::default();
    let mut sums: BTreeMap<Dims, Sums> = BTreeMap::new();
    let mut seq = 0;
    loop {
        let used = sql::entries(tx, seq, 1000)?;
        let Some(last) = used.last() else { return Ok(sums) };
        seq = last.seq;
        for used in used.iter().filter(|used| used.kind != EntryKind::Reserve && used.seq <= up_to) {
            sums.entry(tags.place(tx, used)?).or_default().count(used)?;
        }
    }
}

/// The quarter of an hour that a moment lies in.
fn quarter_of(at: Timestamp) -> Timestamp {
    window::floor(at, QUARTER)
}

struct Answer<'a> {
    query: &'a UsageQuery,
    groups: BTreeMap<Dims, Sums>,
    total: Sums,
    /// The span that was found last: what follows mostly lies in it too.
    span: Option<(Timestamp, Timestamp)>,
}

impl Answer<'_> {
    fn take(&mut self, dims: &Dims, sums: &Sums) -> Result<()> {
        if !meets(self.query, dims) {
            return Ok(());
        }
        self.total.add(sums)?;
        let start = self.start(dims.start)?;
        let by = |by: UsageBy| self.query.by.contains(&by);
        let text = |by_it: bool, text: &String| if by_it { text.clone() } else { String::new() };
        let number = |by_it: bool, number: i64| if by_it { number } else { 0 };
        let group = Dims {
            start,
            user_id: number(by(UsageBy::User), dims.user_id),
            role: text(by(UsageBy::Role), &dims.role),
            key_id: number(by(UsageBy::Key), dims.key_id),
            model: text(by(UsageBy::Model), &dims.model),
            provider: text(by(UsageBy::Provider), &dims.provider),
            agent_id: number(by(UsageBy::Agent), dims.agent_id),
            workflow_id: number(by(UsageBy::Workflow), dims.workflow_id),
            prompt: text(by(UsageBy::Prompt), &dims.prompt),
            tags: if by(UsageBy::Tags) { dims.tags.clone() } else { self.asked_of(&dims.tags) },
        };
        if self.groups.len() >= MAX_ROWS && !self.groups.contains_key(&group) {
            return Err(Error::invalid(format!(
                "the answer has over {MAX_ROWS} rows: ask for a shorter time, longer spans or fewer dimensions"
            )));
        }
        self.groups.entry(group).or_default().add(sums)
    }

    /// Of all tags those whose keys rows are told apart by.
    fn asked_of(&self, tags: &str) -> String {
        let is_asked = |tag: &&str| {
            let key = tag.split_once('=').map_or(*tag, |(key, _)| key);
            self.query.by.iter().any(|by| matches!(by, UsageBy::Tag(asked) if asked == key))
        };
        tags.split(',').filter(is_asked).collect::<Vec<_>>().join(",")
    }

    /// When the span begins that a quarter lies in.
    fn start(&mut self, quarter: Timestamp) -> Result<Timestamp> {
        if let Some((start, end)) = self.span
            && start <= quarter
            && quarter < end
        {
            return Ok(start);
        }
        let kind = match self.query.every {
            None => return Ok(Timestamp(0)),
            Some(UsageStep::Hour) => BudgetPeriod::Hour,
            Some(UsageStep::Day) => BudgetPeriod::Day,
            Some(UsageStep::Week) => BudgetPeriod::Week,
            Some(UsageStep::Month) => BudgetPeriod::Month,
        };
        let period = Period { kind, hours: None, time_zone: self.query.time_zone.clone(), epoch: Timestamp(0) };
        let span = window::span(&period, quarter)?;
        self.span = Some(span);
        Ok(span.0)
    }
}

fn meets(query: &UsageQuery, dims: &Dims) -> bool {
    let number = |wanted: Option<i64>, is: i64| wanted.is_none_or(|wanted| wanted == is);
    let text = |wanted: &Option<String>, is: &String| wanted.as_ref().is_none_or(|wanted| wanted == is);
    number(query.user_id.map(|id| id.0), dims.user_id)
        && text(&query.role, &dims.role)
        && number(query.key_id, dims.key_id)
        && text(&query.model, &dims.model)
        && text(&query.provider, &dims.provider)
        && number(query.agent_id.map(|id| id.0), dims.agent_id)
        && number(query.workflow_id.map(|id| id.0), dims.workflow_id)
        && text(&query.prompt, &dims.prompt)
        && query.tag.as_ref().is_none_or(|tag| dims.tags.split(',').any(|is| is == tag))
}

fn row(query: &UsageQuery, dims: &Dims, sums: &Sums) -> UsageRow {
    let number = |number: i64| (number != 0).then_some(number);
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let well = sums.attempts.saturating_sub(sums.failures);
    UsageRow {
        start: query.every.map(|_| dims.start),
        user_id: number(dims.user_id).map(UserId),
        role: text(&dims.role),
        key_id: number(dims.key_id),
        model: text(&dims.model),
        provider: text(&dims.provider),
        agent_id: number(dims.agent_id).map(ResourceId),
        agent: None,
        workflow_id: number(dims.workflow_id).map(ResourceId),
        prompt: text(&dims.prompt),
        tags: text(&dims.tags),
        cost: Money::from_nanos(sums.cost),
        unpriced: u64::try_from(sums.unpriced).unwrap_or(0),
        calls: sums.calls,
        attempts: sums.attempts,
        failures: sums.failures,
        input_tokens: sums.input,
        output_tokens: sums.output,
        cache_read_tokens: sums.cache_read,
        cache_write_tokens: sums.cache_write,
        reasoning_tokens: sums.reasoning,
        latency_us: sums.latency.checked_div(well),
        max_latency_us: (well > 0).then_some(sums.max_latency),
    }
}

impl Sums {
    /// Counts one entry.
    fn count(&mut self, used: &Used) -> Result<()> {
        let ends = matches!(used.kind, EntryKind::Settle | EntryKind::Void);
        let [input, output, cache_read, cache_write, reasoning] = used.tokens;
        let latency = used.latency.and_then(|latency| u64::try_from(latency).ok()).filter(|_| ends && used.failed == 0);
        self.add(&Sums {
            cost: used.amount.unwrap_or(0),
            unpriced: i64::from(used.is_unpriced) - i64::from(used.prices),
            calls: u64::from(ends && used.failed != 2),
            attempts: u64::from(ends),
            failures: u64::from(ends && used.failed != 0),
            input,
            output,
            cache_read,
            cache_write,
            reasoning,
            latency: latency.unwrap_or(0),
            max_latency: latency.unwrap_or(0),
        })
    }

    fn add(&mut self, more: &Sums) -> Result<()> {
        let out_of_range = || Error::storage("the sums of the ledger are out of range");
        for (sum, more) in [
            (&mut self.cost, more.cost),
            (&mut self.unpriced, more.unpriced),
            (&mut self.input, more.input),
            (&mut self.output, more.output),
            (&mut self.cache_read, more.cache_read),
            (&mut self.cache_write, more.cache_write),
            (&mut self.reasoning, more.reasoning),
        ] {
            *sum = sum.checked_add(more).ok_or_else(out_of_range)?;
        }
        for (sum, more) in [
            (&mut self.calls, more.calls),
            (&mut self.attempts, more.attempts),
            (&mut self.failures, more.failures),
            (&mut self.latency, more.latency),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.max_latency = self.max_latency.max(more.max_latency);
        Ok(())
    }
}

/// The tags of the roots that were looked up.
#[derive(Default)]
struct Tags(HashMap<ExecutionId, String>);

impl Tags {
    /// Where an entry is counted.
    fn place(&mut self, tx: &mut dyn Connection, used: &Used) -> Result<Dims> {
        let tags = match self.0.get(&used.root_id) {
            Some(tags) => tags.clone(),
            None => self.0.entry(used.root_id).or_insert(tags::of_root(tx, used.root_id)?.join(",")).clone(),
        };
        Ok(Dims { start: quarter_of(used.at), tags, ..used.dims.clone() })
    }
}

// Export ------------------------------------------------------------------------------------------

/// An answer as text.
pub(crate) fn export(report: &UsageReport, format: ExportFormat) -> Result<String> {
    let mut text = String::new();
    match format {
        ExportFormat::Jsonl => {
            for row in &report.rows {
                text.push_str(&to_json(row)?);
                text.push('\n');
            }
        }
        ExportFormat::Csv => {
            text.push_str(
                "start,user_id,role,key_id,model,provider,agent_id,agent,workflow_id,prompt,tags,cost,unpriced,calls,\
                 attempts,failures,input_tokens,output_tokens,cache_read_tokens,cache_write_tokens,reasoning_tokens,\
                 latency_us,max_latency_us\r\n",
            );
            for row in &report.rows {
                push_csv(&mut text, row);
            }
        }
    }
    Ok(text)
}

fn push_csv(text: &mut String, row: &UsageRow) {
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let count = |count: u64| count.to_string();
    let words = |words: &Option<String>| cell(words.as_deref().unwrap_or_default());
    let cells = [
        row.start.map(Timestamp::to_rfc3339).unwrap_or_default(),
        number(row.user_id.map(|id| id.0)),
        words(&row.role),
        number(row.key_id),
        words(&row.model),
        words(&row.provider),
        number(row.agent_id.map(|id| id.0)),
        words(&row.agent),
        number(row.workflow_id.map(|id| id.0)),
        words(&row.prompt),
        words(&row.tags),
        row.cost.to_string(),
        count(row.unpriced),
        count(row.calls),
        count(row.attempts),
        count(row.failures),
        row.input_tokens.to_string(),
        row.output_tokens.to_string(),
        row.cache_read_tokens.to_string(),
        row.cache_write_tokens.to_string(),
        row.reasoning_tokens.to_string(),
        row.latency_us.map(count).unwrap_or_default(),
        row.max_latency_us.map(count).unwrap_or_default(),
    ];
    text.push_str(&cells.join(","));
    text.push_str("\r\n");
}

/// A text as a cell. What a spreadsheet would take for a formula is a text again behind a `'`.
pub(crate) fn cell(text: &str) -> String {
    let runs = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let guard = if runs { "'" } else { "" };
    if runs || text.contains(['"', ',', '\n', '\r']) {
        return format!("\"{guard}{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t63_a_cell_that_a_spreadsheet_would_run_is_a_text() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert!(cell(formula).starts_with("\"'"), "{formula:?}");
        }
        assert_eq!(cell("=HYPERLINK(\"http://x\",\"y\")"), "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"");
        assert_eq!((cell("gpt-4o"), cell("a,b"), cell("a=b")), ("gpt-4o".into(), "\"a,b\"".into(), "a=b".into()));
    }
}
