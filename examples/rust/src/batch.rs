//! One execution of the workflow for a batch of documents; and how to go on where a process that died was.
//!
//! Nothing is kept beside the engine's database: an execution's input says which batch it is.

use std::collections::HashSet;

use blitz::{
    CostFilter, Decision, Engine, Execution, ExecutionFilter, ExecutionId, ExecutionStatus, ListOptions, NodeStatus,
    Provenance, Session, Waiting,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::Result;
use crate::documents::{Document, fingerprint};
use crate::flow::{self, EACH, REVIEW, SECOND, VERDICT};
use crate::progress::{Lines, Progress};
use crate::prompt::{Order, Question};
use crate::setup::Choice;

/// An execution of the workflow, with what it was asked.
pub struct Review {
    /// What was asked.
    pub order: Order,
    /// The execution as it stands.
    pub execution: Execution,
}

/// Every review in the database, newest first.
pub async fn reviews(me: &Session) -> Result<Vec<Review>> {
    let mut found = Vec::new();
    let named = executions(me, ExecutionFilter::default()).await?.into_iter().filter(|one| one.name == flow::NAME);
    for execution in named {
        found.push(Review { order: serde_json::from_value(execution.input.clone())?, execution });
    }
    Ok(found)
}

async fn executions(me: &Session, filter: ExecutionFilter) -> Result<Vec<Execution>> {
    let mut found = Vec::new();
    let mut page = ListOptions::limit(ListOptions::MAX_LIMIT);
    loop {
        let executions = me.executions().list(filter, page).await?;
        found.extend(executions.items);
        match executions.next_cursor {
            Some(cursor) => page = ListOptions::limit(ListOptions::MAX_LIMIT).after(cursor),
            None => return Ok(found),
        }
    }
}

/// How far the review of one document is.
pub struct Item {
    /// What became of it, once it has ended: its verdict, or why there is none.
    pub ended: Option<std::result::Result<Value, String>>,
    /// Whether it has begun.
    pub has_begun: bool,
    /// The agents' executions.
    pub children: Vec<ExecutionId>,
}

/// How far the review of a document is in its execution.
pub async fn item(me: &Session, execution: &Execution, index: usize) -> Result<Item> {
    let mut item = Item { ended: None, has_begun: false, children: Vec::new() };
    for node in me.executions().nodes(execution.id, format!("{EACH}/{index}")).await? {
        item.has_begun |= node.attempts > 0;
        match (node.node.as_str(), node.status) {
            (VERDICT, NodeStatus::Completed) => item.ended = Some(Ok(node.output)),
            // The second opinion may fail: the first one holds.
            (SECOND, _) => {}
            (_, NodeStatus::Failed) => {
                let why = node.error.map(|error| format!("{}: {}", error.code, error.message));
                item.ended = Some(Err(why.unwrap_or_else(|| "failed".to_owned())));
            }
            _ => {}
        }
        if [REVIEW, SECOND].contains(&node.node.as_str()) {
            item.children.extend(node.child_id);
        }
    }
    if item.ended.is_none() && execution.status.is_final() {
        let why = execution.error.as_ref().map(|error| format!("{}: {}", error.code, error.message));
        item.ended = Some(Err(why.unwrap_or_else(|| execution.status.name().to_owned())));
    }
    Ok(item)
}

/// Model calls of an earlier process.
#[derive(Default)]
pub struct Calls {
    /// Their answer is in the journal: they are neither made nor paid again.
    pub kept: usize,
    /// They were under way at its end: nobody knows whether they were paid.
    pub in_doubt: usize,
}

/// What is to be done for a batch.
enum Begin {
    /// It begins, in place of an execution that judges what has changed since, if there is one.
    Anew(Option<ExecutionId>),
    /// It has begun and has not ended: it runs elsewhere, or its process is gone.
    GoOn(Box<Execution>),
}

/// The review of a set of files.
pub struct Batch {
    /// What is asked.
    pub order: Order,
    /// Documents that are done already.
    pub ended: usize,
    /// Documents that are in the middle.
    pub begun: usize,
    begin: Begin,
}

impl Batch {
    /// The batch that these documents are in the middle of, else a new one.
    pub async fn of(me: &Session, documents: &[Document], choice: &Choice, reviews: &[Review]) -> Result<Self> {
        let sources: Vec<_> = documents.iter().map(|document| document.source.to_string_lossy()).collect();
        let files = json!([sources, choice.model.provider, choice.model.model_name]).to_string();
        let files = fingerprint(files.as_bytes());
        let last = reviews.iter().find(|review| review.order.files == files);
        let last = last.filter(|review| !has_ended(&review.execution));
        let highest = reviews.iter().map(|review| review.order.batch).max();
        let batch = last.map_or(highest.unwrap_or(0) + 1, |review| review.order.batch);

        let readable = documents.iter().filter_map(|document| Some((document, document.fingerprint.as_ref().ok()?)));
        let question = |(document, fingerprint): (&Document, &String)| Question {
            document: document.name.clone(),
            source: document.source.to_string_lossy().into_owned(),
            fingerprint: fingerprint.clone(),
            verdict: Value::Null,
        };
        let mut order = Order { files, batch, documents: readable.map(question).collect() };
        let Some(review) = last else {
            return Ok(Self { order, ended: 0, begun: 0, begin: Begin::Anew(None) });
        };

        let (mut ended, mut begun) = (0, 0);
        let is_current = order.documents.len() == review.order.documents.len()
            && order.documents.iter().zip(&review.order.documents).all(|(now, then)| now.is_the_same_as(then));
        if is_current && !review.execution.status.is_final() {
            for index in 0..order.documents.len() {
                let item = item(me, &review.execution, index).await?;
                ended += usize::from(item.ended.is_some());
                begun += usize::from(item.ended.is_none() && item.has_begun);
            }
            let begin = Begin::GoOn(Box::new(review.execution.clone()));
            return Ok(Self { order: review.order.clone(), ended, begun, begin });
        }
        // What was found out about texts that are as they were is kept.
        for (index, then) in review.order.documents.iter().enumerate() {
            let Some(now) = order.documents.iter_mut().find(|now| now.is_the_same_as(then)) else { continue };
            let known = match then.verdict.is_null() {
                true => item(me, &review.execution, index).await?.ended.and_then(std::result::Result::ok),
                false => Some(then.verdict.clone()),
            };
            ended += usize::from(known.is_some());
            now.verdict = known.unwrap_or_default();
        }
        let outdated = (!review.execution.status.is_final()).then_some(review.execution.id);
        Ok(Self { order, ended, begun: 0, begin: Begin::Anew(outdated) })
    }

    /// The model calls that are in the ledger already.
    pub async fn calls_before(&self, me: &Session) -> Result<Calls> {
        let mut calls = Calls::default();
        let Begin::GoOn(execution) = &self.begin else { return Ok(calls) };
        let mut page = ListOptions::limit(ListOptions::MAX_LIMIT);
        loop {
            let booked = me.costs().list(CostFilter::of_root(execution.id), page).await?;
            for usage in booked.items.iter().filter_map(|entry| entry.usage) {
                match usage.provenance {
                    Provenance::Estimated => calls.in_doubt += 1,
                    _ => calls.kept += 1,
                }
            }
            match booked.next_cursor {
                Some(cursor) => page = ListOptions::limit(ListOptions::MAX_LIMIT).after(cursor),
                None => return Ok(calls),
            }
        }
    }

    /// Runs the batch to its end and gives its execution.
    pub async fn run(self, engine: &Engine, me: &Session, progress: &Progress) -> Result<ExecutionId> {
        let mut lines = Lines::new(progress, &self.order.documents);
        let id = match self.begin {
            Begin::GoOn(execution) => {
                decide(me, &execution).await?;
                if execution.interrupted {
                    engine.recover().await?;
                }
                execution.id
            }
            Begin::Anew(outdated) => {
                if let Some(outdated) = outdated {
                    me.executions().cancel(outdated).await?;
                }
                me.start(flow::NAME, serde_json::to_value(&self.order)?).await?.id()
            }
        };
        // Everything on the screen is drawn from the one stream of events.
        let mut events = me.executions().events(id, 0);
        while let Some(event) = events.next().await {
            lines.show(&event?);
        }
        Ok(id)
    }
}

/// An execution that ended its process again and again waits for a decision: who starts once more has made it.
async fn decide(me: &Session, execution: &Execution) -> Result<()> {
    let all = executions(me, ExecutionFilter::in_status(ExecutionStatus::Waiting).with_children()).await?;
    let own = all.iter().filter(|one| one.root_id == execution.id && one.id != execution.id);
    let mut asked = HashSet::new();
    for one in own.chain([execution]) {
        for wait in &one.waiting_for {
            if let Waiting::Decision { key, .. } = wait
                && asked.insert((one.id, key))
            {
                me.executions().decide(one.id, key, Decision::Rerun).await?;
            }
        }
    }
    Ok(())
}

fn has_ended(execution: &Execution) -> bool {
    execution.status.is_final() && execution.status != ExecutionStatus::Cancelled
}
