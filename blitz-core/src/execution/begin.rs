//! Begins an execution: pinned, set up and reserved in the transaction that authorises it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Runtime;
use super::cache::{Generation, SetupKey};
use super::pin::pin;
use super::setup::Setup;
use super::turn::{Begin, Begun, Desk};
use crate::access::{ExecutionStore, Grant};
use crate::domain::{Event, RunOptions};
use crate::error::{Error, Result};
use crate::store::sql::to_json;
use crate::store::{Connection, catalog, content_hash};

/// A root execution behind its first commit.
pub(crate) struct Beginning {
    pub(crate) setup: Arc<Setup>,
    pub(crate) begun: Begun,
    pub(crate) events: Vec<Event>,
    pub(crate) store: ExecutionStore,
    /// Under what the setup may be kept, once the transaction has committed.
    pub(crate) key: SetupKey,
    pub(crate) generation: Generation,
}

/// Begins an execution of the agent that the call is about. May run again: it changes nothing outside `tx`.
///
/// Errors: `NotFound`, `PermissionDenied` for what the agent names, `InvalidInput` for an input off
/// its prompt's schema or a tool that this process does not have.
pub(crate) fn begin(
    tx: &mut dyn Connection,
    grant: &Grant,
    runtime: &Runtime,
    input: &Value,
    options: &RunOptions,
    seed: u64,
) -> Result<Beginning> {
    let store = grant.execution_store()?;
    let standing = grant.standing(&store);
    let agent = grant.resource().ok_or_else(|| Error::internal("a run has no agent as its target"))?;
    let key = SetupKey {
        agent: agent.id,
        user: grant.user_id(),
        role: grant.role().clone(),
        powers: grant.powers(),
        key: standing.key_id(),
        options: hash_of(options)?,
    };
    let generation = Generation {
        catalog: catalog::generation(tx, grant.now())?,
        functions: runtime.tools.generation(),
        providers: runtime.providers.generation(),
    };
    let kept = if grant.asks_host() { None } else { runtime.setups.get(&key, generation) };
    let setup = match kept {
        Some(setup) => setup,
        None => {
            let pinned = pin(tx, grant, agent, options, &standing)?;
            Arc::new(Setup::new(&pinned, &runtime.providers, &runtime.tools)?)
        }
    };
    let now = grant.now();
    let deadline = now.plus(Duration::from_millis(setup.agent().limits.timeout_ms));
    let begin = Begin { setup: Arc::clone(&setup), input: input.clone(), seed, deadline, max_tokens: None };
    let desk = Desk {
        standing: &standing,
        principal: grant.principal(),
        boot_id: &runtime.boot_id,
        store_id: &runtime.store_id,
    };
    let (begun, events) = begin.write(tx, now, &desk)?;
    grant.audit(tx, &format!("execution:{}", begun.ids.id), None, Some(&setup.hash), Value::Null)?;
    Ok(Beginning { setup, begun, events, store, key, generation })
}

fn hash_of(options: &RunOptions) -> Result<Option<String>> {
    if options.is_default() {
        return Ok(None);
    }
    to_json(options).map(|json| Some(content_hash(json.as_bytes())))
}
