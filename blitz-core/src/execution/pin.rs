//! Pins an agent: everything that a run of it uses, found and allowed in one transaction.

pub(super) mod flow;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::access::{Grant, ModelSecrets, Standing};
use crate::domain::{
    AgentRecord, ExecutionPlan, ModelRecord, NewModel, Permission, PlannedModel, Price, PriceListing, PromptRef,
    PromptVersion, RateLimit, ResourceId, ResourceKind, ResourceRef, RunOptions, Timestamp, ToolRecord, UserId,
    Visibility, WorkflowPlan,
};
use crate::error::{Error, ErrorCode, Result};
use crate::ledger;
use crate::provider::registry::Providers;
use crate::provider::{named_by_environment, split_name};
use crate::store::catalog::{self, ResourceRow};
use crate::store::sql::to_json;
use crate::store::{Connection, content_hash, executions};

/// How deep agents may name agents.
const MAX_NESTING: usize = 16;

/// What an execution is pinned to, with what is not written down in it.
pub(crate) enum Pinned {
    /// An agent.
    Agent {
        plan: Arc<ExecutionPlan>,
        hash: String,
        /// The secrets of its models, unsealed for this process only.
        keys: Keys,
    },
    /// A workflow, and what runs its nodes.
    Workflow { plan: Arc<WorkflowPlan>, hash: String, parts: BTreeMap<String, Vec<PinnedPart>> },
}

/// What runs one node of a pinned workflow.
pub(crate) enum PinnedPart {
    Run(Pinned),
    Tool(Box<ToolRecord>),
    Host(String),
    Http,
}

/// What holds for the caller of an execution: kept with it or by its process, not in its plan.
#[derive(Debug, Clone, Default)]
pub(crate) struct Use {
    /// What the execution is counted under.
    pub(crate) tags: BTreeMap<String, String>,
    /// The limits of use.
    pub(crate) limits: Vec<RateLimit>,
}

impl Use {
    /// Errors: `InvalidInput` where a tag that must be there is missing.
    pub(crate) fn of(
        tx: &mut dyn Connection,
        grant: &Grant,
        standing: &Standing,
        asked: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let key_id = standing.key_id().map(|id| id.0);
        let role = grant.user_id().map(|_| grant.role().name());
        let bearer = ledger::tags::Bearer { user_id: grant.user_id(), role, key_id };
        let tags = ledger::tags::effective(tx, bearer, asked)?;
        let limits = ledger::limits::of(tx, grant.user_id(), key_id)?;
        Ok(Self { tags, limits })
    }
}

impl Pinned {
    pub(crate) fn hash(&self) -> &str {
        match self {
            Self::Agent { hash, .. } | Self::Workflow { hash, .. } => hash,
        }
    }
}

/// The secrets of the models of a plan, by the model's id.
pub(crate) type Keys = HashMap<ResourceId, ModelSecrets>;

/// Pins an agent with what this run says of it, and keeps the plan under its hash.
///
/// Errors: `NotFound` or `PermissionDenied` for what the caller may not use.
pub(crate) fn pin(
    tx: &mut dyn Connection,
    grant: &Grant,
    agent: &ResourceRow,
    options: &RunOptions,
    standing: &Standing,
    providers: &Providers,
) -> Result<Pinned> {
    let models = ModelsOf { grant, providers };
    let mut plan = plan(tx, &models, agent, options.model.as_deref(), &mut Vec::new())?;
    options.apply(&mut plan.agent.spec);
    keep_agent(tx, standing, plan)
}

fn keep_agent(tx: &mut dyn Connection, standing: &Standing, plan: ExecutionPlan) -> Result<Pinned> {
    let hash = keep(tx, &plan)?;
    let keys = keys(tx, standing, &plan)?;
    Ok(Pinned::Agent { plan: Arc::new(plan), hash, keys })
}

/// Keeps a plan under its hash.
fn keep<T: serde::Serialize>(tx: &mut dyn Connection, plan: &T) -> Result<String> {
    let body = to_json(plan)?;
    let hash = content_hash(body.as_bytes());
    executions::put_definition(tx, &hash, &body)?;
    Ok(hash)
}

/// The secrets of a plan's models and of its children's.
pub(crate) fn keys(tx: &mut dyn Connection, standing: &Standing, plan: &ExecutionPlan) -> Result<Keys> {
    let mut keys = Keys::new();
    let mut plans = vec![plan];
    while let Some(plan) = plans.pop() {
        let others = plan.fallbacks.iter().chain(&plan.downgrades).map(|planned| &planned.model);
        for model in std::iter::once(&plan.model).chain(others) {
            keys.insert(model.id, standing.model_secrets(tx, model)?);
        }
        plans.extend(&plan.agents);
    }
    Ok(keys)
}

fn plan(
    tx: &mut dyn Connection,
    models: &ModelsOf<'_>,
    row: &ResourceRow,
    model: Option<&str>,
    above: &mut Vec<ResourceId>,
) -> Result<ExecutionPlan> {
    if above.contains(&row.id) || above.len() >= MAX_NESTING {
        return Err(circle(&row.name));
    }
    let agent: AgentRecord = row.record()?;
    let (spec, grant) = (&agent.spec, models.grant);
    let PlannedModel { model, listed_price, listing, .. } = models.find(tx, model.unwrap_or(&spec.model))?;
    let fallbacks = spec.fallback.iter().flat_map(|fallback| &fallback.models);
    let fallbacks = fallbacks.map(|model| models.find(tx, model)).collect::<Result<_>>()?;
    let mut downgrades = Vec::new();
    for model in ledger::downgrades(tx)? {
        // What the caller may not use is not for it.
        match models.find(tx, &model) {
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
        agents.push(plan(tx, models, &child, None, above)?);
    }
    above.pop();
    let new = ExecutionPlan::new(agent, model, prompt, tools, agents);
    Ok(ExecutionPlan { listed_price, listing, fallbacks, downgrades, ..new })
}

/// The id of a model that is no record: no record has it.
const NO_RECORD: ResourceId = ResourceId(0);

/// Where the models of a call come from.
pub(crate) struct ModelsOf<'a> {
    pub(crate) grant: &'a Grant,
    pub(crate) providers: &'a Providers,
}

impl ModelsOf<'_> {
    /// The model of a catalogue name, else of a `provider:model`, with the price that is listed for it.
    ///
    /// Errors: `NotFound`; `PermissionDenied` for a user who names a `provider:model` where the host does
    /// not let users do that: the keys of the environment are the host's own.
    pub(crate) fn find(&self, tx: &mut dyn Connection, model: &str) -> Result<PlannedModel> {
        let found = self.grant.find(tx, Permission::ModelsUse, ResourceKind::Model, &name(model));
        let model: ModelRecord = match (found, self.providers.split(model)) {
            (Err(error), Some((provider, own))) if error.code() == ErrorCode::NotFound => {
                self.grant.require(Permission::ModelsUse)?;
                if self.grant.user_id().is_some() && !self.providers.allows_names() {
                    return Err(not_for_users(model));
                }
                self.unrecorded(NewModel::new(model, provider, own))
            }
            // Nothing is told that the name does not say itself.
            (Err(error), None) if error.code() == ErrorCode::NotFound && model.contains(':') => {
                let why = split_name(model).err().map_or(String::new(), |error| format!(": {error}"));
                return Err(Error::not_found(format!("there is no model {model:?}, or it is not open to you{why}")));
            }
            (found, _) => found?.record()?,
        };
        let listed = self.listed(tx, &model.spec)?;
        Ok(PlannedModel::new(model, listed))
    }

    /// The price that is listed for what a model really is: at the address that the environment names, and
    /// of the model behind a deployment. A provider of the host's own is at no address.
    fn listed(&self, tx: &mut dyn Connection, model: &NewModel) -> Result<(Option<Price>, Option<PriceListing>)> {
        let mut meant = model.clone();
        let own = model.settings.profile.as_ref().and_then(|profile| profile.family.clone());
        let behind = match model.base_url {
            Some(_) => None,
            None => named_by_environment(&model.provider, &model.model_name).1,
        };
        meant.base_url = self.providers.address(&model.provider, model.base_url.as_deref());
        meant.model_name = own.or(behind).unwrap_or(meant.model_name);
        ledger::listed(tx, self.grant.now(), &meant)
    }

    /// The model of a reference, with the price that is listed for it.
    pub(super) fn find_by(&self, tx: &mut dyn Connection, model: &ResourceRef) -> Result<PlannedModel> {
        let model: ModelRecord = self.grant.find(tx, Permission::ModelsUse, ResourceKind::Model, model)?.record()?;
        let listed = self.listed(tx, &model.spec)?;
        Ok(PlannedModel::new(model, listed))
    }

    /// A model that is in no catalogue, as a record.
    fn unrecorded(&self, spec: NewModel) -> ModelRecord {
        let hash = content_hash(spec.name.as_bytes());
        // A moment of its own would make a plan of its own of each run.
        let now = Timestamp(0);
        let (owner_id, visibility) = (None::<UserId>, Visibility::Private);
        ModelRecord { id: NO_RECORD, owner_id, visibility, revision: 1, hash, created_at: now, updated_at: now, spec }
    }
}

fn not_for_users(model: &str) -> Error {
    Error::denied(format!(
        "{model:?} is no model of the catalogue, and what the environment pays for is the host's: name one of the \
         catalogue, or let the host allow such names to users"
    ))
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
