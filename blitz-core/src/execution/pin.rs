//! Pins an agent: everything that a run of it uses, found and allowed in one transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::access::{Grant, Standing};
use crate::domain::{
    AgentRecord, ExecutionPlan, ModelRecord, Permission, PlannedModel, PromptRef, PromptVersion, RateLimit, ResourceId,
    ResourceKind, ResourceRef, RunOptions, Secret,
};
use crate::error::{Error, ErrorCode, Result};
use crate::ledger;
use crate::store::catalog::{self, ResourceRow};
use crate::store::sql::to_json;
use crate::store::{Connection, content_hash, executions};

/// How deep agents may name agents.
const MAX_NESTING: usize = 16;

/// A plan with what is not written down in it.
pub(crate) struct Pinned {
    pub(crate) plan: Arc<ExecutionPlan>,
    pub(crate) hash: String,
    /// The keys of its models, unsealed for this process only.
    pub(crate) keys: Keys,
    /// What the execution is counted under; kept with it, not in its plan.
    pub(crate) tags: BTreeMap<String, String>,
    /// The limits of use that hold for it; kept by its process, not in its plan.
    pub(crate) limits: Vec<RateLimit>,
}

/// The keys of the models of a plan, by the model's id.
pub(crate) type Keys = HashMap<ResourceId, Secret>;

/// Pins an agent with what this run says of it, and keeps the plan under its hash.
///
/// Errors: `NotFound` or `PermissionDenied` for what the caller may not use.
pub(crate) fn pin(
    tx: &mut dyn Connection,
    grant: &Grant,
    agent: &ResourceRow,
    options: &RunOptions,
    standing: &Standing,
) -> Result<Pinned> {
    let mut plan = plan(tx, grant, agent, &mut Vec::new())?;
    options.apply(&mut plan.agent.spec);
    let body = to_json(&plan)?;
    let hash = content_hash(body.as_bytes());
    executions::put_definition(tx, &hash, &body)?;
    let keys = keys(tx, standing, &plan)?;
    let key_id = standing.key_id().map(|id| id.0);
    let role = grant.user_id().map(|_| grant.role().name());
    let bearer = ledger::tags::Bearer { user_id: grant.user_id(), role, key_id };
    let tags = ledger::tags::effective(tx, bearer, &options.tags)?;
    let limits = ledger::limits::of(tx, grant.user_id(), key_id)?;
    Ok(Pinned { plan: Arc::new(plan), hash, keys, tags, limits })
}

/// The keys of a plan's models and of its children's.
pub(crate) fn keys(tx: &mut dyn Connection, standing: &Standing, plan: &ExecutionPlan) -> Result<Keys> {
    let mut keys = Keys::new();
    let mut plans = vec![plan];
    while let Some(plan) = plans.pop() {
        let others = plan.fallbacks.iter().chain(&plan.downgrades).map(|planned| &planned.model);
        for model in std::iter::once(&plan.model).chain(others) {
            if let Some(key) = standing.model_key(tx, model.id)? {
                keys.insert(model.id, key);
            }
        }
        plans.extend(&plan.agents);
    }
    Ok(keys)
}

fn plan(
    tx: &mut dyn Connection,
    grant: &Grant,
    row: &ResourceRow,
    above: &mut Vec<ResourceId>,
) -> Result<ExecutionPlan> {
    if above.contains(&row.id) || above.len() >= MAX_NESTING {
        return Err(circle(&row.name));
    }
    let agent: AgentRecord = row.record()?;
    let spec = &agent.spec;
    let PlannedModel { model, listed_price, .. } = planned_model(tx, grant, &spec.model)?;
    let fallbacks = spec.fallback.iter().flat_map(|fallback| &fallback.models);
    let fallbacks = fallbacks.map(|model| planned_model(tx, grant, model)).collect::<Result<_>>()?;
    let mut downgrades = Vec::new();
    for model in ledger::downgrades(tx)? {
        // What the caller may not use is not for it.
        match planned_model(tx, grant, &model) {
            Ok(model) => downgrades.push(model),
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::PermissionDenied) => {}
            Err(error) => return Err(error),
        }
    }
    let prompt = spec.prompt.as_ref().map(|prompt| prompt_version(tx, grant, prompt)).transpose()?;
    let mut tools = Vec::with_capacity(spec.tools.len());
    for tool in &spec.tools {
        tools.push(grant.find(tx, Permission::ToolsUse, ResourceKind::Tool, &name(tool))?.record()?);
    }
    above.push(row.id);
    let mut agents = Vec::with_capacity(spec.agents.len());
    for child in &spec.agents {
        let child = grant.find(tx, Permission::AgentsRun, ResourceKind::Agent, &name(child))?;
        agents.push(plan(tx, grant, &child, above)?);
    }
    above.pop();
    Ok(ExecutionPlan { listed_price, fallbacks, downgrades, ..ExecutionPlan::new(agent, model, prompt, tools, agents) })
}

fn planned_model(tx: &mut dyn Connection, grant: &Grant, model: &str) -> Result<PlannedModel> {
    let model: ModelRecord = grant.find(tx, Permission::ModelsUse, ResourceKind::Model, &name(model))?.record()?;
    let listed_price = ledger::listed_price(tx, grant.now(), &model.spec)?;
    Ok(PlannedModel::new(model, listed_price))
}

fn prompt_version(tx: &mut dyn Connection, grant: &Grant, prompt: &PromptRef) -> Result<PromptVersion> {
    let row = grant.find(tx, Permission::PromptsRead, ResourceKind::Prompt, &name(&prompt.name))?;
    let version = prompt.version.unwrap_or(row.revision);
    catalog::version(tx, row.id, version)?
        .ok_or_else(|| Error::not_found(format!("the prompt {:?} has no version {version}", prompt.name)))
}

fn name(name: &str) -> ResourceRef {
    ResourceRef::Name(name.to_owned())
}

fn circle(name: &str) -> Error {
    Error::invalid(format!("the agent {name:?} calls itself, by way of the agents it may call: take one of them out"))
}
