//! One execution for each document, all at once; and how to go on where a process that died was.
//!
//! Nothing is kept beside the engine's database: each execution's input says which batch it belongs to.

use blitz::{
    CostFilter, Decision, Engine, Execution, ExecutionFilter, ExecutionId, ExecutionStatus, ListOptions, Provenance,
    Session, Waiting,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use crate::Result;
use crate::documents::{Document, fingerprint};
use crate::progress::{Line, Progress};
use crate::prompt::Question;
use crate::setup::{AGENT, Choice};

/// Reviews that run at the same time.
const AT_ONCE: usize = 16;

/// An execution of the agent, with what it was asked.
pub struct Review {
    /// What was asked.
    pub question: Question,
    /// The execution as it stands.
    pub execution: Execution,
}

/// Every review in the database, newest first.
pub async fn reviews(me: &Session) -> Result<Vec<Review>> {
    let mut found = Vec::new();
    let mut page = ListOptions::limit(ListOptions::MAX_LIMIT);
    loop {
        let executions = me.executions().list(ExecutionFilter::default(), page).await?;
        for execution in executions.items.into_iter().filter(|execution| execution.name == AGENT) {
            let question = serde_json::from_value(execution.input.clone())?;
            found.push(Review { question, execution });
        }
        match executions.next_cursor {
            Some(cursor) => page = ListOptions::limit(ListOptions::MAX_LIMIT).after(cursor),
            None => return Ok(found),
        }
    }
}

/// The newest review of each document in a batch.
pub fn of_batch(reviews: &[Review], batch: u64) -> Vec<&Review> {
    let mut newest: Vec<&Review> = Vec::new();
    for review in reviews.iter().filter(|review| review.question.batch == batch) {
        if !newest.iter().any(|known| known.question.document == review.question.document) {
            newest.push(review);
        }
    }
    newest
}

/// What is to be done for one document.
pub struct Task {
    /// What to ask.
    pub question: Question,
    /// How far it is already.
    pub standing: Standing,
}

/// How far the review of a document is.
pub enum Standing {
    /// It has to begin.
    New,
    /// It began for a text that has changed since: it is cancelled and begins anew.
    Outdated(ExecutionId),
    /// It began and has not ended: it runs elsewhere, or its process is gone.
    Begun(Box<Execution>),
    /// It has ended.
    Ended(ExecutionId),
}

/// Model calls of an earlier process.
#[derive(Default)]
pub struct Calls {
    /// Their answer is in the journal: they are neither made nor paid again.
    pub kept: usize,
    /// They were under way at its end: nobody knows whether they were paid.
    pub in_doubt: usize,
}

/// The reviews of a set of files.
pub struct Batch {
    /// Counts the batches of the database from 1.
    pub number: u64,
    /// One for each document that can be reviewed.
    pub tasks: Vec<Task>,
}

impl Batch {
    /// The batch that these documents are in the middle of, else a new one.
    pub fn of(documents: &[Document], choice: &Choice, reviews: &[Review]) -> Self {
        let readable = || documents.iter().filter_map(|document| Some((document, document.fingerprint.as_ref().ok()?)));
        let sources: Vec<_> = documents.iter().map(|document| document.source.to_string_lossy()).collect();
        let files = json!([sources, choice.model.provider, choice.model.model_name]).to_string();
        let files = fingerprint(files.as_bytes());

        let last = reviews.iter().find(|review| review.question.files == files).map(|review| review.question.batch);
        let earlier = last.map(|number| of_batch(reviews, number)).unwrap_or_default();
        let ended = |document: &Document| {
            let review = earlier.iter().find(|review| review.question.document == document.name);
            review.is_some_and(|review| has_ended(&review.execution))
        };
        let unfinished = last.filter(|_| !readable().all(|(document, _)| ended(document)));
        let highest = reviews.iter().map(|review| review.question.batch).max();
        let number = unfinished.unwrap_or(highest.unwrap_or(0) + 1);

        let task = |(document, fingerprint): (&Document, &String)| {
            let earlier = earlier.iter().filter(|_| unfinished.is_some());
            let review = earlier.copied().find(|review| review.question.document == document.name);
            let standing = review.map_or(Standing::New, |review| standing(review, fingerprint));
            let question = Question {
                document: document.name.clone(),
                source: document.source.to_string_lossy().into_owned(),
                fingerprint: fingerprint.clone(),
                files: files.clone(),
                batch: number,
            };
            Task { question, standing }
        };
        Self { number, tasks: readable().map(task).collect() }
    }

    /// How many of the tasks are so far.
    pub fn count(&self, is: impl Fn(&Standing) -> bool) -> usize {
        self.tasks.iter().filter(|task| is(&task.standing)).count()
    }

    /// The model calls that are in the ledger already.
    pub async fn calls_before(&self, me: &Session) -> Result<Calls> {
        let mut calls = Calls::default();
        for task in &self.tasks {
            let id = match &task.standing {
                Standing::Begun(execution) => execution.id,
                Standing::Ended(id) => *id,
                Standing::New | Standing::Outdated(_) => continue,
            };
            let booked = me.costs().list(CostFilter::of_root(id), ListOptions::limit(ListOptions::MAX_LIMIT)).await?;
            for usage in booked.items.iter().filter_map(|entry| entry.usage) {
                match usage.provenance {
                    Provenance::Estimated => calls.in_doubt += 1,
                    _ => calls.kept += 1,
                }
            }
        }
        Ok(calls)
    }

    /// Runs what has not ended, to its end.
    pub async fn run(self, engine: &Engine, me: &Session, progress: &Progress) -> Result<()> {
        for task in &self.tasks {
            match &task.standing {
                Standing::Outdated(id) => me.executions().cancel(*id).await?,
                Standing::Begun(execution) => decide(me, execution).await?,
                Standing::New | Standing::Ended(_) => {}
            }
        }
        if self.count(|standing| matches!(standing, Standing::Begun(execution) if execution.interrupted)) > 0 {
            engine.recover().await?;
        }
        let lines = stream::iter(self.tasks).map(|task| async move {
            let id = match task.standing {
                Standing::Ended(_) => return Ok(()),
                Standing::Begun(execution) => execution.id,
                Standing::New | Standing::Outdated(_) => {
                    me.start(AGENT, serde_json::to_value(&task.question)?).await?.id()
                }
            };
            follow(me, id, progress.line(&task.question.document)).await
        });
        lines.buffer_unordered(AT_ONCE).try_collect().await
    }
}

/// An execution that ended its process again and again waits for a decision: who starts once more has made it.
async fn decide(me: &Session, execution: &Execution) -> Result<()> {
    for wait in &execution.waiting_for {
        if let Waiting::Decision { key } = wait {
            me.executions().decide(execution.id, key, Decision::Rerun).await?;
        }
    }
    Ok(())
}

/// Shows what happens in an execution until it has ended, wherever it runs.
async fn follow(me: &Session, id: ExecutionId, mut line: Line<'_>) -> Result<()> {
    let mut events = me.executions().events(id, 0);
    while let Some(event) = events.next().await {
        line.show(&event?);
    }
    Ok(())
}

fn has_ended(execution: &Execution) -> bool {
    execution.status.is_final() && execution.status != ExecutionStatus::Cancelled
}

fn standing(review: &Review, fingerprint: &str) -> Standing {
    let execution = &review.execution;
    let is_current = review.question.fingerprint == fingerprint;
    match execution.status {
        ExecutionStatus::Completed if is_current => Standing::Ended(execution.id),
        // One that failed, or that judged another text.
        status if status.is_final() => Standing::New,
        _ if is_current => Standing::Begun(Box::new(execution.clone())),
        _ => Standing::Outdated(execution.id),
    }
}
