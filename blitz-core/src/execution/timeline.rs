//! The timeline of an execution and its children, read from its journal.

use std::collections::{HashMap, HashSet};

use crate::domain::{Event, EventData, ExecutionId, ListOptions, Money, NodeStatus, Page, TimelineEntry, Usage};
use crate::error::{Error, ErrorInfo, Result};
use crate::store::Connection;
use crate::store::executions;
use crate::workflow::machine::container_of;

/// Records that one read takes.
const PAGE: u32 = 500;

/// The nodes and steps of an execution and its children, in the order in which they began.
pub(crate) fn timeline(tx: &mut dyn Connection, id: ExecutionId, page: &ListOptions) -> Result<Page<TimelineEntry>> {
    let row = executions::get(tx, id)?
        .ok_or_else(|| Error::not_found("there is no such execution, or it is not open to you"))?;
    let mut reading = Reading { tree: HashSet::from([id]), ..Reading::default() };
    let mut after = 0;
    loop {
        let events = executions::journal(tx, row.root_id, after, PAGE)?;
        for event in &events {
            after = event.seq;
            reading.take(event)?;
        }
        if events.len() < PAGE as usize {
            break;
        }
    }
    if row.finished.is_some() {
        let open = |entry: &&mut TimelineEntry| matches!(entry.status, NodeStatus::Running | NodeStatus::Waiting);
        reading.entries.iter_mut().filter(open).for_each(|entry| entry.status = NodeStatus::Cancelled);
    }
    let from = usize::try_from(page.after_id()?).unwrap_or(usize::MAX);
    let rows = usize::try_from(page.rows()).unwrap_or(usize::MAX);
    let numbered: Vec<(i64, TimelineEntry)> = (1_i64..).zip(reading.entries).skip(from).take(rows).collect();
    let page = Page::cut(numbered, page, |(number, _)| *number);
    Ok(Page { items: page.items.into_iter().map(|(_, entry)| entry).collect(), next_cursor: page.next_cursor })
}

#[derive(Default)]
struct Reading {
    /// The execution and those below it.
    tree: HashSet<ExecutionId>,
    entries: Vec<TimelineEntry>,
    places: HashMap<(ExecutionId, String, String), usize>,
}

impl Reading {
    fn take(&mut self, event: &Event) -> Result<()> {
        if !self.tree.contains(&event.execution_id) {
            return Ok(());
        }
        match &event.data {
            EventData::NodeStarted(started) => {
                self.tree.extend(started.child_id);
                let entry = self.entry(event, &event.path, &started.node);
                entry.begins(started.attempt, event.ts);
                entry.child_id = started.child_id;
            }
            EventData::NodeWaiting(waiting) => {
                let entry = self.entry(event, &event.path, &waiting.node);
                entry.started_at.get_or_insert(event.ts);
                entry.status = NodeStatus::Waiting;
            }
            EventData::NodeRetrying(retrying) => {
                let entry = self.entry(event, &event.path, &retrying.node);
                entry.ends(event.ts, Some(retrying.error.code));
                entry.status = NodeStatus::Waiting;
                spend(entry, &retrying.usage, retrying.cost)?;
                self.inside(event, &retrying.usage, retrying.cost)?;
            }
            EventData::NodeFinished(finished) => {
                let entry = self.entry(event, &event.path, &finished.node);
                entry.ends(event.ts, code(finished.error.as_ref()));
                (entry.status, entry.finished_at) = (finished.status, Some(event.ts));
                spend(entry, &finished.usage, finished.cost)?;
                self.inside(event, &finished.usage, finished.cost)?;
            }
            EventData::StepStarted(started) => {
                self.tree.extend(started.child_id);
                let entry = self.entry(event, "", &event.path);
                entry.begins(started.attempt, event.ts);
                entry.child_id = started.child_id;
            }
            EventData::StepRetrying { error, usage, cost, .. } => {
                let entry = self.entry(event, "", &event.path);
                entry.ends(event.ts, Some(error.code));
                entry.status = NodeStatus::Waiting;
                spend(entry, usage, *cost)?;
            }
            EventData::StepFinished(finished) => {
                let entry = self.entry(event, "", &event.path);
                entry.ends(event.ts, code(finished.error.as_ref()));
                entry.status = if finished.error.is_some() { NodeStatus::Failed } else { NodeStatus::Completed };
                entry.finished_at = Some(event.ts);
                spend(entry, &finished.usage, finished.cost)?;
            }
            EventData::ToolStarted(started) => self.entry(event, "", &event.path).begins(started.attempt, event.ts),
            EventData::ToolFinished { result, .. } => {
                let entry = self.entry(event, "", &event.path);
                entry.ends(event.ts, None);
                entry.status = if result.is_error { NodeStatus::Failed } else { NodeStatus::Completed };
                entry.finished_at = Some(event.ts);
            }
            _ => {}
        }
        Ok(())
    }

    /// What is inside a container is its usage too.
    fn inside(&mut self, event: &Event, usage: &Usage, cost: Option<Money>) -> Result<()> {
        let mut path = event.path.as_str();
        while !path.is_empty() {
            let key = container_of(path).0;
            let (around, container) = key.rsplit_once('/').unwrap_or(("", key));
            spend(self.entry(event, around, container), usage, cost)?;
            path = around;
        }
        Ok(())
    }

    fn entry(&mut self, event: &Event, path: &str, name: &str) -> &mut TimelineEntry {
        let key = (event.execution_id, path.to_owned(), name.to_owned());
        let place = *self.places.entry(key).or_insert_with(|| {
            self.entries.push(TimelineEntry::new(event.execution_id, path.to_owned(), name.to_owned()));
            self.entries.len() - 1
        });
        &mut self.entries[place]
    }
}

fn code(error: Option<&ErrorInfo>) -> Option<crate::error::ErrorCode> {
    error.map(|error| error.code)
}

fn spend(entry: &mut TimelineEntry, usage: &Usage, cost: Option<Money>) -> Result<()> {
    entry.usage.add(usage);
    entry.cost = match (entry.cost, cost) {
        (Some(sum), Some(cost)) => Some(sum.add(cost)?),
        (sum, None) if usage.requests == 0 => sum,
        _ => None,
    };
    Ok(())
}
