//! Keys of callers' own: a run that is asked for twice under one key is begun once.
//!
//! It only ever saves a run: what was begun under a key is booked like any other, and what runs is never
//! held back from a provider by it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::access::Grant;
use crate::domain::{ExecutionId, RunOptions, Timestamp};
use crate::error::{Error, Result};
use crate::store::catalog::{ResourceRow, sorted};
use crate::store::sql::to_json;
use crate::store::{Connection, content_hash, executions};

/// How long a key stands for its run.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A caller's key, and the run that is asked for by it.
pub(super) struct ClientKey {
    principal: String,
    key: String,
    /// Hash of what is asked for.
    body: String,
    resource: String,
}

impl ClientKey {
    /// The key of a run, where its caller gave one.
    pub(super) fn of(
        grant: &Grant,
        resource: &ResourceRow,
        input: &Value,
        options: &RunOptions,
    ) -> Result<Option<Self>> {
        let Some(key) = &options.client_key else { return Ok(None) };
        // The same fields in another order ask for the same.
        let body = to_json(&sorted(&json!({"resource": resource.id, "input": input, "options": options})))?;
        Ok(Some(Self {
            principal: grant.principal().label(),
            key: key.clone(),
            body: content_hash(body.as_bytes()),
            resource: resource.label(),
        }))
    }

    /// The execution that the key stands for. Errors: `Conflict` where that was asked for differently.
    pub(super) fn known(&self, tx: &mut dyn Connection, grant: &Grant) -> Result<Option<ExecutionId>> {
        let since = grant.now().minus(LIFE);
        match executions::client_key(tx, &self.principal, &self.key, since)? {
            None => Ok(None),
            Some((body, id)) if body == self.body => Ok(Some(id)),
            Some(_) => {
                let message = "this client_key stands for another run: a new run takes a new key";
                Err(grant.refuse_about(Error::conflict(message), self.resource.clone()))
            }
        }
    }

    /// Lets the key stand for an execution from now on.
    pub(super) fn keep(&self, tx: &mut dyn Connection, now: Timestamp, id: ExecutionId) -> Result<()> {
        executions::forget_client_keys(tx, now.minus(LIFE))?;
        executions::put_client_key(tx, now, (&self.principal, &self.key, &self.body), id)
    }
}
