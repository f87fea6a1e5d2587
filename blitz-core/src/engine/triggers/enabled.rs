//! Which triggers of a workflow are enabled, and as whom they act.

use super::read;
use crate::access::Grant;
use crate::domain::{Permission, Principal, ResourceId, Timestamp, Trigger};
use crate::error::Result;
use crate::store::Connection;
use crate::store::catalog::ResourceRow;
use crate::store::triggers::{self, TriggerRow};

/// Refuses whoever would end or take over triggers that somebody else enabled, unless it may change
/// the workflow anyway.
pub(super) fn admit_change(tx: &mut dyn Connection, grant: &Grant, workflow: &ResourceRow) -> Result<()> {
    if triggers::of_workflow(tx, workflow.id)?.iter().all(|trigger| grant.is_own(&trigger.principal)) {
        return Ok(());
    }
    grant.may(Permission::WorkflowsEdit, workflow)
}

/// Makes the enabled triggers of a workflow those of a definition, all of them for a principal.
pub(super) fn take_over(
    tx: &mut dyn Connection,
    now: Timestamp,
    workflow: ResourceId,
    wanted: &[Trigger],
    principal: &Principal,
) -> Result<()> {
    let before = triggers::of_workflow(tx, workflow)?;
    delete_gone(tx, &before, wanted)?;
    for kept in before.iter().filter(|trigger| wanted.contains(&trigger.spec)) {
        if kept.principal != *principal {
            triggers::hand_over(tx, kept.id, principal)?;
        }
        // A schedule that rests, or was enabled from a later moment on, is due as a new one is.
        match next_of(&kept.spec, now)? {
            Some(next) if kept.next_at.is_none_or(|at| at > next) => triggers::rearm(tx, kept.id, next)?,
            _ => {}
        }
    }
    insert_missing(tx, now, workflow, wanted, &before, principal)
}

/// Brings the enabled triggers of a workflow in line with a version that was published.
///
/// What that no longer has is over, whoever publishes. What it newly has acts as whoever enabled the
/// others, so only they bring it by publishing: anybody else could let it run with their rights.
pub(in crate::engine) fn follow(
    tx: &mut dyn Connection,
    grant: &Grant,
    workflow: ResourceId,
    wanted: &[Trigger],
) -> Result<()> {
    let before = triggers::of_workflow(tx, workflow)?;
    delete_gone(tx, &before, wanted)?;
    match before.first() {
        Some(TriggerRow { principal, .. }) if grant.is_own(principal) => {
            insert_missing(tx, grant.now(), workflow, wanted, &before, principal)
        }
        _ => Ok(()),
    }
}

fn delete_gone(tx: &mut dyn Connection, before: &[TriggerRow], wanted: &[Trigger]) -> Result<()> {
    let gone = before.iter().filter(|trigger| !wanted.contains(&trigger.spec));
    gone.into_iter().try_for_each(|trigger| triggers::delete(tx, trigger.id))
}

fn insert_missing(
    tx: &mut dyn Connection,
    now: Timestamp,
    workflow: ResourceId,
    wanted: &[Trigger],
    before: &[TriggerRow],
    principal: &Principal,
) -> Result<()> {
    for spec in wanted.iter().filter(|spec| !matches!(spec, Trigger::Manual {})) {
        if !before.iter().any(|trigger| trigger.spec == *spec) {
            triggers::insert(tx, now, workflow, spec, principal, next_of(spec, now)?)?;
        }
    }
    Ok(())
}

/// When a schedule fires behind a moment.
fn next_of(spec: &Trigger, after: Timestamp) -> Result<Option<Timestamp>> {
    let Trigger::Schedule { cron, zone, .. } = spec else { return Ok(None) };
    let (cron, zone) = read(cron, zone)?;
    Ok(cron.next(after, &zone))
}
