//! Holds the engine's file against the truth: what must hold after any number of deaths.

use std::collections::{BTreeMap, BTreeSet};

use blitz::{
    BudgetWindow, CostFilter, EntryKind, Event, EventData, Execution, ExecutionFilter, ExecutionId, ExecutionStatus,
    LedgerEntry, ListOptions, Money, Page, Provenance, Session, StepKind, Timestamp,
};
use futures_util::StreamExt;

use super::truth::{Request, Sorted};
use super::worker::{CALL, World};

/// What a campaign shows when all is well.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) executions: usize,
    pub(super) cancelled: usize,
    pub(super) steps: usize,
    /// Steps that were begun again, because the process ended in the middle of them.
    pub(super) begun_again: usize,
    /// Model calls that were booked as they were reserved.
    pub(super) in_doubt: usize,
    /// How often an execution changed its owner.
    pub(super) taken_up: usize,
}

/// One step of an execution, as the journal tells it.
#[derive(Debug, Default)]
struct StepStory {
    is_model: bool,
    attempts: u32,
    /// Attempts that failed and were tried again, by their number.
    failed: Vec<u32>,
    key: Option<String>,
    finished: Vec<Timestamp>,
}

/// Judges everything on the file. Every execution must have ended, and `acknowledged` must be there.
pub(super) async fn judge(world: &World, me: &Session, acknowledged: &BTreeMap<ExecutionId, String>) -> Verdict {
    let truth = world.truth.sorted();
    let mut all = ExecutionFilter::default();
    all.children = true;
    let executions = pages(async |page| me.executions().list(all, page).await.expect("lists")).await;
    let entries = pages(async |page| me.costs().list(CostFilter::all(), page).await.expect("lists")).await;
    let roots: Vec<&Execution> = executions.iter().filter(|execution| execution.parent_id.is_none()).collect();

    let known: BTreeMap<ExecutionId, &str> =
        roots.iter().map(|root| (root.id, root.input.as_str().expect("a label"))).collect();
    for (id, label) in acknowledged {
        assert_eq!(known.get(id), Some(&label.as_str()), "execution {id} was acknowledged and is lost");
    }
    let unended: Vec<_> = executions.iter().filter(|execution| !execution.status.is_final()).collect();
    assert!(unended.is_empty(), "still open: {unended:?}");

    let mut verdict = Verdict { executions: roots.len(), ..Verdict::default() };
    let ledger = Ledger::of(&entries);
    for root in &roots {
        let journal = journal(me, root.id).await;
        let children = executions.iter().filter(|execution| execution.parent_id == Some(root.id));
        let agents: BTreeMap<ExecutionId, &str> =
            children.chain([*root]).map(|execution| (execution.id, execution.name.as_str())).collect();
        judge_tree(&truth, root, &journal, &agents, &mut verdict);
        ledger.judge(root, &journal, &truth, &mut verdict);
    }
    judge_budgets(me, &roots).await;
    let check = me.audit().verify(None).await.expect("reads");
    assert_eq!(check.first_bad, None, "the trail is whole");
    verdict
}

/// Holds one tree's journal against what the world saw of it.
fn judge_tree(
    truth: &Sorted,
    root: &Execution,
    journal: &[Event],
    agents: &BTreeMap<ExecutionId, &str>,
    verdict: &mut Verdict,
) {
    let label = root.input.as_str().expect("a label");
    let cancelled = root.status == ExecutionStatus::Cancelled;
    assert!(root.status == ExecutionStatus::Completed || (cancelled && root.cancel_requested), "{root:?}");
    verdict.cancelled += usize::from(cancelled);
    verdict.taken_up += journal.iter().filter(|event| matches!(event.data, EventData::ExecutionResumed { .. })).count();
    for ((execution, path), story) in stories(journal) {
        let place = format!("{label}: {path} of {execution}");
        verdict.steps += 1;
        verdict.begun_again += (story.attempts as usize).saturating_sub(1 + story.failed.len());
        assert!(story.finished.len() <= 1, "{place} was finished twice");
        assert!(cancelled || story.finished.len() == 1, "{place} was never finished");
        let seen = if story.is_model {
            let turn = path.split('/').next().and_then(|turn| turn.parse().ok()).expect("a turn");
            truth.asked.get(&Request { label: label.to_owned(), agent: agents[&execution].to_owned(), turn })
        } else {
            story.key.as_ref().and_then(|key| truth.done.get(key))
        };
        let seen = seen.map(Vec::as_slice).unwrap_or_default();
        assert!(seen.len() <= story.attempts as usize, "{place} happened {} times in {story:?}", seen.len());
        if let [finished] = story.finished[..] {
            let late: Vec<_> = seen.iter().filter(|line| line.at > finished).collect();
            assert!(late.is_empty(), "{place} was finished and happened again: {story:?} {late:?}");
        }
        if path.contains("tool") && is_unsafe(journal, execution, &path) {
            assert!(seen.len() <= 1, "{place} is unsafe and happened {} times", seen.len());
            assert!(cancelled || seen.len() == 1, "{place} is said to have happened, and did not");
        }
    }
    // Nobody runs what another has taken over: a process that has lost an execution never comes back to it.
    let mut seen: Vec<_> =
        truth.asked.iter().filter(|(request, _)| request.label == label).flat_map(|(_, lines)| lines).collect();
    seen.sort_by_key(|line| line.at);
    let mut gone = BTreeSet::new();
    for pair in seen.windows(2).filter(|pair| pair[0].process != pair[1].process) {
        gone.insert(pair[0].process);
        assert!(!gone.contains(&pair[1].process), "{label}: process {} ran it again: {seen:?}", pair[1].process);
    }
}

fn is_unsafe(journal: &[Event], execution: ExecutionId, path: &str) -> bool {
    journal.iter().any(|event| {
        event.execution_id == execution
            && event.path == path
            && matches!(&event.data, EventData::ToolStarted(started) if started.effect == blitz::Effect::Unsafe)
    })
}

fn stories(journal: &[Event]) -> BTreeMap<(ExecutionId, String), StepStory> {
    let mut stories: BTreeMap<(ExecutionId, String), StepStory> = BTreeMap::new();
    // The decision that a parked execution goes on is no step of it.
    for event in journal.iter().filter(|event| !event.path.is_empty() && event.path != "resume") {
        let story = stories.entry((event.execution_id, event.path.clone())).or_default();
        let mut starts = |attempt: u32| {
            assert_eq!(attempt, story.attempts + 1, "attempts count up: {event:?}");
            assert!(story.finished.is_empty(), "begun again behind its end: {event:?}");
            story.attempts = attempt;
        };
        match &event.data {
            EventData::StepStarted(started) => {
                starts(started.attempt);
                story.is_model = started.kind == StepKind::Model;
            }
            EventData::ToolStarted(started) => {
                starts(started.attempt);
                let key = story.key.get_or_insert_with(|| started.idempotency_key.clone());
                assert_eq!(*key, started.idempotency_key, "one key for all attempts");
            }
            EventData::StepRetrying { attempt, usage, .. } if usage.requests == 0 => story.failed.push(*attempt),
            EventData::StepFinished(_) | EventData::ToolFinished { .. } => story.finished.push(event.ts),
            _ => {}
        }
    }
    stories
}

/// The ledger's entries by root.
struct Ledger<'a>(BTreeMap<ExecutionId, Vec<&'a LedgerEntry>>);

impl<'a> Ledger<'a> {
    fn of(entries: &'a [LedgerEntry]) -> Self {
        let mut by_root: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for entry in entries {
            by_root.entry(entry.root_id).or_default().push(entry);
        }
        Self(by_root)
    }

    /// Each attempt that was reserved is booked once, and no less than the service charges.
    fn judge(&self, root: &Execution, journal: &[Event], truth: &Sorted, verdict: &mut Verdict) {
        let entries = self.0.get(&root.id).map(Vec::as_slice).unwrap_or_default();
        let ends = entries.iter().filter(|entry| matches!(entry.kind, EntryKind::Settle | EntryKind::Void));
        let mut ended: BTreeMap<_, u32> = BTreeMap::new();
        ends.for_each(|entry| *ended.entry(entry.reservation_id).or_default() += 1);
        let twice: Vec<_> = ended.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "settled more than once: {twice:?}");
        let sent = journal
            .iter()
            .filter(|event| matches!(&event.data, EventData::StepStarted(started) if started.kind == StepKind::Model));
        assert_eq!(ended.len(), sent.count(), "every reservation of execution {} has ended", root.id);

        let booked = entries.iter().filter_map(|entry| entry.amount);
        let booked = booked.fold(Money::ZERO, |sum, amount| sum.add(amount).expect("a sum"));
        assert_eq!(root.cost, Some(booked), "the outcome of {} costs what is booked", root.id);
        let label = root.input.as_str().expect("a label");
        let answered = truth.answered.get(label).copied().unwrap_or_default();
        let charged = Money::from_nanos(i64::try_from(answered * (CALL.0 + CALL.1) * 1000).expect("is small"));
        let estimated =
            entries.iter().filter(|entry| entry.usage.is_some_and(|usage| usage.provenance == Provenance::Estimated));
        let estimated = estimated.count();
        verdict.in_doubt += estimated;
        assert!(booked >= charged, "{label}: {answered} answers are charged, {booked} is booked");
        assert!(estimated > 0 || booked == charged, "{label}: without a doubt {booked} is what {charged} is");
    }
}

/// The windows follow from the ledger, nothing is held any more, and they count each tree.
async fn judge_budgets(me: &Session, roots: &[&Execution]) {
    me.budgets().verify().await.expect("the windows follow from the ledger");
    let mut spent = Money::ZERO;
    for (name, each) in [("executions", true), ("users", false)] {
        let budget = me.budgets().find(name).await.expect("a budget");
        let windows = pages(async |page| me.budgets().windows(budget.id, page).await.expect("lists")).await;
        let held: Vec<&BudgetWindow> = windows.iter().filter(|window| window.pending != Money::ZERO).collect();
        assert!(held.is_empty(), "money is still held: {held:?}");
        if each {
            let costs: BTreeMap<i64, Money> =
                windows.iter().map(|window| (window.scope_id, window.posted.money())).collect();
            for root in roots {
                let cost = root.cost.expect("a price is known");
                assert_eq!(costs.get(&root.id.0).copied().unwrap_or_default(), cost, "the window of {}", root.id);
                spent = spent.add(cost).expect("a sum");
            }
        } else {
            let posted = windows.iter().map(|window| window.posted.money()).collect::<Vec<_>>();
            assert_eq!(posted, [spent], "the user's window counts every tree once");
        }
    }
}

async fn journal(me: &Session, root: ExecutionId) -> Vec<Event> {
    let journal: Vec<Event> = me.executions().events(root, 0).map(|event| event.expect("an event")).collect().await;
    for (place, event) in (1..).zip(&journal) {
        assert_eq!(event.seq, place, "a gap in the journal of {root}");
    }
    journal
}

/// Every item of a list that comes in pages.
async fn pages<T>(mut list: impl AsyncFnMut(ListOptions) -> Page<T>) -> Vec<T> {
    let mut items = Vec::new();
    let mut options = ListOptions::default();
    loop {
        let page = list(options.clone()).await;
        items.extend(page.items);
        match page.next_cursor {
            Some(next) => options.cursor = Some(next),
            None => return items,
        }
    }
}
