//! What is asked of an execution from outside: its end, a decision.

use serde_json::json;

use super::Runtime;
use super::recover::{RESUME_KEY, settle_tree};
use crate::access::Grant;
use crate::domain::schema::{SchemaCheck, admit_kept, describe};
use crate::domain::{
    Alert, Answer, ApprovalAnswered, CostFilter, Decision, EventData, ExecutionId, ExecutionStatus, Finished, Money,
    Usage, Waiting,
};
use crate::error::{Error, Result};
use crate::ledger;
use crate::store::Connection;
use crate::store::catalog::shown;
use crate::store::executions::{self, Entry, ExecutionRow};

/// Notes that the end of an execution is asked for; ends it here where no process runs it. Gives the alerts that
/// this raised.
pub(crate) fn cancel(tx: &mut dyn Connection, grant: &Grant, runtime: &Runtime, id: ExecutionId) -> Result<Vec<Alert>> {
    let row = find(tx, id)?;
    if row.finished.is_some() {
        return Err(Error::conflict("the execution has ended"));
    }
    let root = find(tx, row.root_id)?;
    if executions::request_cancel(tx, id)? {
        let entry = Entry { execution_id: id, path: String::new(), data: EventData::ExecutionCancelling };
        executions::append(tx, grant.now(), row.root_id, None, vec![entry])?;
    }
    // Also where it was asked for before: its process may have died since.
    let alerts = match row.id == row.root_id && runtime.is_orphan(&root) {
        true => end_tree(tx, grant, runtime, id, None)?,
        false => Vec::new(),
    };
    grant.audit(tx, &format!("execution:{id}"), None, None, json!({}))?;
    Ok(alerts)
}

/// Ends a tree that nobody runs: its money is settled, its executions are cancelled, or failed by
/// an error, children first.
fn end_tree(
    tx: &mut dyn Connection,
    grant: &Grant,
    runtime: &Runtime,
    root_id: ExecutionId,
    error: Option<&Error>,
) -> Result<Vec<Alert>> {
    let now = grant.now();
    let status = if error.is_some() { ExecutionStatus::Failed } else { ExecutionStatus::Cancelled };
    let (alerts, told) = settle_tree(tx, grant, runtime.settlement, root_id)?;
    executions::append(tx, now, root_id, None, told)?;
    for row in executions::open_tree(tx, root_id)? {
        let (cost, usage) = spent(tx, &row)?;
        let finished = Finished::new(status, serde_json::Value::Null, error.map(Error::to_info), usage, cost);
        executions::finish(tx, now, row.id, &finished)?;
        let entry = Entry { execution_id: row.id, path: String::new(), data: EventData::ExecutionFinished(finished) };
        executions::append(tx, now, root_id, None, vec![entry])?;
    }
    Ok(alerts)
}

/// What an execution cost whose children have all ended, and they.
fn spent(tx: &mut dyn Connection, row: &ExecutionRow) -> Result<(Option<Money>, Usage)> {
    if row.parent_id.is_none() {
        return ledger::execution_cost(tx, &CostFilter::of_root(row.id));
    }
    let (mut cost, mut usage) = ledger::execution_cost(tx, &CostFilter::of_execution(row.id))?;
    for child in executions::ended_children(tx, row.id)? {
        usage.add(&child.usage);
        cost = match (cost, child.cost) {
            (Some(own), Some(more)) => Some(own.add(more)?),
            _ => None,
        };
    }
    Ok((cost, usage))
}

/// Answers a wait. The record is the decision, bound by its digest to what is in doubt: whoever runs the
/// execution reads it. Gives the alerts that this raised.
///
/// Errors: `Conflict` where that step does not wait for a decision, or where another attempt than that of
/// `digest` is in doubt.
pub(crate) fn decide(
    tx: &mut dyn Connection,
    grant: &Grant,
    runtime: &Runtime,
    id: ExecutionId,
    key: &str,
    digest: Option<&str>,
    decision: &Decision,
) -> Result<Vec<Alert>> {
    if let Decision::Skip { value } = decision {
        admit_kept("the value", value)?;
    }
    let row = find(tx, id)?;
    let asked = row.waiting_for.iter().find_map(|wait| match wait {
        Waiting::Decision { key: waits, digest } if waits == key => Some(digest.clone()),
        _ => None,
    });
    let Some(asked) = asked.filter(|_| row.finished.is_none()) else {
        return Err(Error::conflict(format!(
            "the step {} does not wait for a decision: see waiting_for of the execution",
            shown(key)
        )));
    };
    if digest.is_some_and(|digest| digest != asked) {
        return Err(Error::conflict("another attempt is in doubt since it was read: read it again and decide on that"));
    }
    let still: Vec<Waiting> = row.waiting_for.iter().filter(|wait| !is_decision(wait, key)).cloned().collect();
    let (by, digest) = (grant.principal().label(), asked);
    let details = json!({"key": key, "decision": decision.name(), "digest": digest});
    let data = EventData::DecisionMade { decision: decision.clone(), by, digest };
    let entry = Entry { execution_id: id, path: key.to_owned(), data };
    executions::append(tx, grant.now(), row.root_id, None, vec![entry])?;
    executions::decided(tx, id, &still)?;
    let mut alerts = Vec::new();
    if key == RESUME_KEY {
        match decision {
            Decision::Rerun => executions::made_progress(tx, id)?,
            Decision::Fail { message } => {
                alerts = end_tree(tx, grant, runtime, id, Some(&Error::interrupted(message)))?;
            }
            Decision::Skip { .. } => {
                return Err(Error::invalid("a whole execution cannot be skipped: rerun it or let it fail"));
            }
        }
    }
    grant.audit(tx, &format!("execution:{id}"), None, None, details)?;
    Ok(alerts)
}

/// Answers a question that an execution asks. The record is the answer, bound to the question by its
/// digest: whoever runs the execution reads it.
///
/// Errors: `Conflict` where the question is answered, over or another one; `InvalidInput` for an
/// option that it does not have or a value off its form.
pub(crate) fn approve(
    tx: &mut dyn Connection,
    grant: &Grant,
    id: ExecutionId,
    key: &str,
    answer: &Answer,
) -> Result<()> {
    admit_kept("the value", &answer.value)?;
    let row = find(tx, id)?;
    let is_it = |wait: &Waiting| matches!(wait, Waiting::Approval { key: waits, .. } if waits == key);
    let still: Vec<Waiting> = row.waiting_for.iter().filter(|wait| !is_it(wait)).cloned().collect();
    let question = match executions::question(tx, row.root_id, id, key)? {
        Some(question) if still.len() < row.waiting_for.len() && row.finished.is_none() => question,
        _ => {
            let message = format!(
                "the step {} does not ask for an approval, or does no more: see waiting_for of the execution",
                shown(key)
            );
            return Err(Error::conflict(message));
        }
    };
    let (path, asked) = question;
    if asked.expires_at.is_some_and(|until| until <= grant.now()) {
        return Err(Error::conflict("the time for an answer is over"));
    }
    if answer.digest.as_ref().is_some_and(|digest| *digest != asked.digest) {
        return Err(Error::conflict("the question has changed since it was read: read it again and answer that"));
    }
    if !asked.options.contains(&answer.option) {
        let message = format!("{} is no answer: give one of {}", shown(&answer.option), asked.options.join(", "));
        return Err(Error::invalid(message));
    }
    if let Some(form) = &asked.form {
        SchemaCheck::new(form)?
            .check(&answer.value)
            .map_err(|problems| Error::invalid(format!("the value is off the form: {}", describe(&problems))))?;
    }
    let bound = answer.clone().digest(asked.digest.clone());
    let answered = ApprovalAnswered::new(asked.node, key.to_owned(), bound, grant.principal().label());
    let entry = Entry { execution_id: id, path, data: EventData::ApprovalAnswered(answered) };
    executions::append(tx, grant.now(), row.root_id, None, vec![entry])?;
    executions::decided(tx, id, &still)?;
    let details = json!({"key": key, "option": answer.option, "digest": asked.digest});
    grant.audit(tx, &format!("execution:{id}"), None, None, details)
}

fn is_decision(wait: &Waiting, key: &str) -> bool {
    matches!(wait, Waiting::Decision { key: waits, .. } if waits == key)
}

fn find(tx: &mut dyn Connection, id: ExecutionId) -> Result<ExecutionRow> {
    executions::get(tx, id)?.ok_or_else(|| Error::not_found("there is no such execution, or it is not open to you"))
}
