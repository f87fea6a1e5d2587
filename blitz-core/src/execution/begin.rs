//! Begins an execution: pinned, set up and reserved in the transaction that authorises it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Runtime;
use super::cache::{Generation, SetupKey};
use super::client_key::ClientKey;
use super::pin::flow::{FoundWorkflow, Pinning};
use super::pin::{Use, pin};
use super::rerun::{self, Rerun};
use super::runnable::{Prepared, Runnable};
use super::turn::{Begin, Begun, Desk};
use crate::access::{ExecutionStore, Grant, Standing};
use crate::domain::{Event, ExecutionId, Message, NodeFinished, ResourceKind, RunOptions};
use crate::error::{Error, Result};
use crate::store::catalog::ResourceRow;
use crate::store::executions::{self, QueuePlace};
use crate::store::sql::to_json;
use crate::store::{Connection, catalog, content_hash};

/// What an execution begins with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Launch {
    pub(crate) input: Value,
    /// What the conversation begins with, where a workflow asks a model itself.
    pub(crate) messages: Vec<Message>,
    /// Secrets that its tools may be handed by name.
    pub(crate) secrets: Vec<String>,
    /// What started it, beside a call.
    pub(crate) trigger: Value,
    /// Where it waits for its turn, where its workflow runs so many at a time only.
    pub(crate) queue: Option<Queue>,
    /// What the execution is counted under.
    pub(crate) tags: Arc<BTreeMap<String, String>>,
    /// Ends of nodes that are taken over from another execution, in order.
    pub(crate) reused: Vec<NodeFinished>,
    /// The execution that this one runs again.
    pub(crate) rerun_of: Option<ExecutionId>,
    /// Its share of the tokens that the parent has left, where that has a limit.
    pub(crate) max_tokens: Option<u64>,
    /// How deep the parent lets executions start executions.
    pub(crate) max_depth: Option<u32>,
}

/// A queue of the executions of one workflow, and a place in it.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    /// The concurrency key; empty where none was given.
    pub(crate) key: String,
    /// How many run at the same time.
    pub(crate) limit: u32,
    /// The highest goes first.
    pub(crate) priority: i32,
}

impl<'a> From<&'a Queue> for QueuePlace<'a> {
    fn from(queue: &'a Queue) -> Self {
        Self { key: &queue.key, limit: queue.limit, priority: queue.priority }
    }
}

impl Queue {
    fn of(setup: &Runnable, options: &RunOptions) -> Option<Self> {
        let limit = setup.workflow()?.plan.limits.max_concurrent?;
        let key = options.concurrency_key.clone().unwrap_or_default();
        Some(Self { key, limit: limit.max(1), priority: options.priority })
    }

    /// The same place for what runs again: of the key and the priority that it had, if it had any.
    fn again(setup: &Runnable, before: Option<(String, i32)>) -> Option<Self> {
        let limit = setup.workflow()?.plan.limits.max_concurrent?;
        let (key, priority) = before.unwrap_or_default();
        Some(Self { key, limit: limit.max(1), priority })
    }
}

/// What is to be begun.
pub(crate) enum What<'a> {
    /// A run with an input.
    Run { input: &'a Value, options: &'a RunOptions, trigger: &'a Value },
    /// A workflow again.
    Again { of: ExecutionId, rerun: &'a Rerun },
}

/// A root execution behind its first commit.
pub(crate) struct Beginning {
    pub(crate) setup: Runnable,
    pub(crate) begun: Begun,
    pub(crate) events: Vec<Event>,
    pub(crate) store: ExecutionStore,
    /// Under what the setup may be kept, once the transaction has committed.
    pub(crate) keep: Option<(SetupKey, Generation, Prepared)>,
}

/// What comes of a call that begins an execution.
pub(crate) enum Begins {
    /// A new one.
    New(Box<Beginning>),
    /// The one that the caller's own key stands for already, and the way to it where it is the caller's.
    Known(ExecutionId, Option<ExecutionStore>),
}

/// Begins an execution of what the call is about. May run again: it changes nothing outside `tx`.
///
/// Errors: `NotFound`, `PermissionDenied` for what it names, `InvalidInput` for an input off its
/// schema, a definition that cannot run or a tool that this process does not have; `Conflict` where the
/// caller's own key stands for another run.
pub(crate) fn begin(
    tx: &mut dyn Connection,
    grant: &Grant,
    runtime: &Runtime,
    what: &What<'_>,
    seed: u64,
) -> Result<Begins> {
    let store = grant.execution_store()?;
    let standing = grant.standing(&store);
    let resource = grant.resource().ok_or_else(|| Error::internal("a run has nothing as its target"))?;
    let client_key = match what {
        What::Run { input, options, .. } => ClientKey::of(grant, resource, input, options)?,
        What::Again { .. } => None,
    };
    if let Some(key) = &client_key
        && let Some(known) = key.known(tx, grant)?
    {
        // Its user may have begun it, and its key may do less: what it may not read stays closed to it.
        let is_own = executions::get(tx, known)?.is_some_and(|row| grant.is_own(&row.principal));
        return Ok(Begins::Known(known, is_own.then_some(store)));
    }
    let (setup, launch, keep) = match what {
        What::Run { input, options, trigger } => {
            let (prepared, key, generation) = prepared(tx, grant, &standing, runtime, resource, options)?;
            let launch = Launch {
                input: (*input).clone(),
                trigger: (*trigger).clone(),
                tags: Arc::clone(&prepared.tags),
                queue: Queue::of(&prepared.setup, options),
                ..Launch::default()
            };
            (prepared.setup.clone(), launch, Some((key, generation, prepared)))
        }
        What::Again { of, rerun } => {
            let (setup, mut launch) = rerun::prepare(tx, grant, &standing, runtime, resource, *of, rerun)?;
            let before = executions::queued_by(tx, *of)?;
            launch.queue = Queue::again(&setup, before);
            (setup, launch, None)
        }
    };
    let now = grant.now();
    let begin = Begin { deadline: now.plus(setup.timeout()), setup: setup.clone(), launch, seed };
    let desk = Desk::of(runtime, &standing, grant.principal());
    let (begun, events) = begin.write(tx, now, &desk)?;
    grant.audit(tx, &format!("execution:{}", begun.ids.id), None, Some(setup.hash()), Value::Null)?;
    if let Some(key) = &client_key {
        key.keep(tx, now, begun.ids.id)?;
    }
    Ok(Begins::New(Box::new(Beginning { setup, begun, events, store, keep })))
}

/// What is to run, pinned and made runnable, or as it was kept.
fn prepared(
    tx: &mut dyn Connection,
    grant: &Grant,
    standing: &Standing,
    runtime: &Runtime,
    resource: &ResourceRow,
    options: &RunOptions,
) -> Result<(Prepared, SetupKey, Generation)> {
    let key = SetupKey {
        agent: resource.id,
        user: grant.user_id(),
        role: grant.role().clone(),
        powers: grant.powers(),
        key: standing.key_id(),
        options: hash_of(&options.without_queue())?,
    };
    let generation = Generation {
        catalog: catalog::generation(tx, grant.now())?,
        functions: runtime.tools.generation(),
        providers: runtime.providers.generation(),
    };
    let kept = if grant.asks_host() { None } else { runtime.setups.get(&key, generation) };
    if let Some(kept) = kept {
        return Ok((kept, key, generation));
    }
    let pinned = if resource.kind == ResourceKind::Workflow {
        let types = runtime.tools.node_types();
        let mut found = FoundWorkflow::of(tx, resource.clone(), None)?;
        options.apply_to_workflow(&mut found.definition)?;
        Pinning { grant, standing, types: &types, providers: &runtime.providers }.workflow(
            tx,
            &found,
            &mut Vec::new(),
        )?
    } else {
        pin(tx, grant, resource, options, standing, &runtime.providers)?
    };
    let used = Use::of(tx, grant, standing, &options.tags)?;
    let setup = Runnable::new(&pinned, &used, &runtime.providers, &runtime.tools)?;
    Ok((Prepared { setup, tags: Arc::new(used.tags) }, key, generation))
}

fn hash_of(options: &RunOptions) -> Result<Option<String>> {
    // A key of the caller's own says nothing of what runs.
    let options = RunOptions { client_key: None, ..options.clone() };
    if options.is_default() {
        return Ok(None);
    }
    to_json(&options).map(|json| Some(content_hash(json.as_bytes())))
}
