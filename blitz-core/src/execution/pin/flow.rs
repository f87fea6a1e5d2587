//! Pins a workflow: every agent, model, tool and workflow that its nodes name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{MAX_NESTING, ModelsOf, Pinned, PinnedPart, keep, keep_agent, keys, plan};
use crate::access::{Grant, Standing};
use crate::domain::{
    AgentRecord, ExecutionPlan, NewAgent, Node, NodeTypeInfo, Permission, PlannedModel, PlannedPart, ResourceId,
    ResourceKind, ResourceRef, WorkflowDefinition, WorkflowPlan,
};
use crate::error::{Error, Result};
use crate::provider::registry::Providers;
use crate::store::Connection;
use crate::store::catalog::{self, ResourceRow};
use crate::store::executions::{self, StoredPlan};
use crate::workflow::task::{LlmTask, Task};
use crate::workflow::validate::validate;

/// A workflow of the catalogue at one version.
pub(crate) struct FoundWorkflow {
    pub(crate) row: ResourceRow,
    /// `None` for the draft.
    pub(crate) version: Option<u32>,
    pub(crate) definition: WorkflowDefinition,
}

/// Whoever pins, and what the host registered.
pub(crate) struct Pinning<'a> {
    pub(crate) grant: &'a Grant,
    pub(crate) standing: &'a Standing,
    pub(crate) types: &'a [NodeTypeInfo],
    pub(crate) providers: &'a Providers,
}

impl Pinning<'_> {
    /// Pins a workflow. `above` are the workflows that it is a part of.
    ///
    /// Errors: `NotFound`, `PermissionDenied` for what the caller may not use, `InvalidInput` for a
    /// definition that cannot run, with all its problems.
    pub(crate) fn workflow(
        &self,
        tx: &mut dyn Connection,
        found: &FoundWorkflow,
        above: &mut Vec<ResourceId>,
    ) -> Result<Pinned> {
        let row = &found.row;
        if above.contains(&row.id) || above.len() >= MAX_NESTING {
            let message =
                format!("the workflow {:?} runs itself, by way of its subflows: take one of them out", row.name);
            return Err(Error::invalid(message));
        }
        let plan = validate(&found.definition, self.types).into_plan()?;
        // Whoever published a version could use its secrets; a draft is its author's word alone.
        if found.version.is_none() && plan.names_secrets() {
            self.grant.require(Permission::SecretsUse)?;
        }
        above.push(row.id);
        let mut parts = BTreeMap::new();
        for node in &plan.nodes {
            let mut own = Vec::new();
            for task in std::iter::once(&node.task).chain(&node.fallback) {
                own.extend(self.task(tx, found, &node.spec, task, above)?);
            }
            if !own.is_empty() {
                parts.insert(node.id.clone(), own);
            }
        }
        above.pop();
        let planned = parts.iter().map(|(node, parts)| (node.clone(), parts.iter().map(PinnedPart::planned).collect()));
        let plan = WorkflowPlan::new(row.id, found.version, found.definition.clone(), planned.collect());
        let hash = keep(tx, &plan)?;
        Ok(Pinned::Workflow { plan: Arc::new(plan), hash, parts })
    }

    fn task(
        &self,
        tx: &mut dyn Connection,
        found: &FoundWorkflow,
        node: &Node,
        task: &Task,
        above: &mut Vec<ResourceId>,
    ) -> Result<Option<PinnedPart>> {
        Ok(Some(match task {
            Task::Agent { agent, .. } => {
                let row = self.grant.find(tx, Permission::AgentsRun, ResourceKind::Agent, agent)?;
                let plan = plan(tx, &self.models(), &row, None, &mut Vec::new())?;
                PinnedPart::Run(keep_agent(tx, self.standing, plan)?)
            }
            Task::Llm(llm) => {
                let plan = self.asks(tx, found, node, llm)?;
                PinnedPart::Run(keep_agent(tx, self.standing, plan)?)
            }
            Task::Subflow { workflow, version } => {
                let row = self.grant.find(tx, Permission::WorkflowsRun, ResourceKind::Workflow, workflow)?;
                let inner = FoundWorkflow::of(tx, row, *version)?;
                PinnedPart::Run(self.workflow(tx, &inner, above)?)
            }
            Task::Tool { tool, .. } => {
                let row = self.grant.find(tx, Permission::ToolsUse, ResourceKind::Tool, tool)?;
                PinnedPart::Tool(Box::new(row.record()?))
            }
            Task::Http(_) => PinnedPart::Http,
            Task::Host { .. } => PinnedPart::Host(node.kind.name().to_owned()),
            _ => return Ok(None),
        }))
    }

    fn models(&self) -> ModelsOf<'_> {
        ModelsOf { grant: self.grant, providers: self.providers }
    }

    /// One question to a model is an agent without tools.
    fn asks(
        &self,
        tx: &mut dyn Connection,
        found: &FoundWorkflow,
        node: &Node,
        llm: &LlmTask,
    ) -> Result<ExecutionPlan> {
        let row = &found.row;
        let PlannedModel { model, listed_price, .. } = match &llm.model {
            ResourceRef::Name(name) => self.models().find(tx, name)?,
            id => self.models().find_by(tx, id)?,
        };
        let mut spec = NewAgent::new(format!("{}/{}", row.name, node.id), model.spec.name.clone());
        spec.output_schema.clone_from(&llm.output_schema);
        if let Some(settings) = &llm.settings {
            spec.settings = serde_json::from_value(settings.clone())
                .map_err(|error| Error::invalid(format!("the settings of the node {:?}: {error}", node.id)))?;
        }
        let agent = AgentRecord {
            id: row.id,
            owner_id: row.owner_id,
            visibility: row.visibility,
            revision: row.revision,
            hash: row.hash.clone(),
            created_at: row.created_at,
            updated_at: row.updated_at,
            spec,
        };
        Ok(ExecutionPlan { listed_price, ..ExecutionPlan::new(agent, model, None, Vec::new(), Vec::new()) })
    }
}

impl PinnedPart {
    fn planned(&self) -> PlannedPart {
        match self {
            Self::Run(pinned) => PlannedPart::Run(pinned.hash().to_owned()),
            Self::Tool(record) => PlannedPart::Tool(record.clone()),
            Self::Host(name) => PlannedPart::Host(name.clone()),
            Self::Http => PlannedPart::Http,
        }
    }
}

/// What an execution was pinned to, read again by its hash.
pub(crate) fn repin(tx: &mut dyn Connection, standing: &Standing, hash: &str) -> Result<Pinned> {
    let hash = hash.to_owned();
    match executions::stored_plan(tx, &hash)? {
        StoredPlan::Agent(plan) => {
            let keys = keys(tx, standing, &plan)?;
            Ok(Pinned::Agent { plan: Arc::new(*plan), hash, keys })
        }
        StoredPlan::Workflow(plan) => {
            let mut parts = BTreeMap::new();
            for (node, planned) in &plan.parts {
                let mut own = Vec::with_capacity(planned.len());
                for part in planned {
                    own.push(match part {
                        PlannedPart::Run(hash) => PinnedPart::Run(repin(tx, standing, hash)?),
                        PlannedPart::Tool(record) => PinnedPart::Tool(record.clone()),
                        PlannedPart::Host(name) => PinnedPart::Host(name.clone()),
                        PlannedPart::Http => PinnedPart::Http,
                    });
                }
                parts.insert(node.clone(), own);
            }
            Ok(Pinned::Workflow { plan: Arc::new(*plan), hash, parts })
        }
    }
}

impl FoundWorkflow {
    /// A workflow at a version, or at its newest; a draft that was never published runs as it is.
    ///
    /// Errors: `NotFound` where it has no such version.
    pub(crate) fn of(tx: &mut dyn Connection, row: ResourceRow, version: Option<u32>) -> Result<Self> {
        let published =
            match version {
                Some(version) => {
                    let found = catalog::workflow_version(tx, row.id, version)?;
                    Some(found.ok_or_else(|| {
                        Error::not_found(format!("the workflow {:?} has no version {version}", row.name))
                    })?)
                }
                None => catalog::newest_version(tx, row.id)?,
            };
        Ok(match published {
            Some(published) => Self { row, version: Some(published.version), definition: published.spec },
            None => {
                let definition = row.record::<WorkflowDefinition>()?.spec;
                Self { row, version: None, definition }
            }
        })
    }
}
