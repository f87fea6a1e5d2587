//! Workflows: drafts, published versions, imports and pictures.
//!
//! The record of a workflow is its draft, which may be broken. Publishing keeps the draft as the
//! next version, which never changes; the newest version is what runs. A version that would say what
//! the newest says already is not made.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::catalog::{Catalog, Noun, Shared, Visible, catalog_rows};
use super::methods::{Method, Named, Nothing, PageOf, Update, method, schema};
use crate::access::{Grant, Target};
use crate::domain::schema::taken;
use crate::domain::{
    ListOptions, NodeTypeInfo, Page, Permission, PictureFormat, Problem, ProblemCode, Record, ResourceId, ResourceKind,
    ResourceRef, Share, Validation, WorkflowDefinition, WorkflowDiff, WorkflowVersion,
};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::catalog::{self, ResourceRow, shown};
use crate::workflow::picture::{self, States};
use crate::workflow::plan::Plan;
use crate::workflow::validate::{self, references, validate};
use crate::workflow::{config, diff, import};

/// The workflows of the catalogue.
pub type Workflows = Catalog<WorkflowDefinition>;

/// The most workflows that one may reach through its subflows.
const MAX_SUBFLOWS: usize = 1_000;

pub(super) const ROWS: &[Method] = catalog_rows!(
    "workflows",
    workflows,
    WorkflowDefinition,
    WorkflowsRead,
    WorkflowsCreate,
    WorkflowsEdit,
    WorkflowsDelete
);

pub(super) const VERSION_ROWS: &[Method] = &[
    method!("workflows.validate", WorkflowsRead, Given => Validation, |s, given| s.workflows().validate(given.definition)),
    method!("workflows.publish", WorkflowsPublish, Named => WorkflowVersion, |s, named| s.workflows().publish(named.id)),
    method!("workflows.versions", WorkflowsRead, PageOf<ResourceRef> => Page<WorkflowVersion>, |s, of| {
        let (id, page) = of.split();
        async move { s.workflows().versions(id, page).await }
    }),
    method!("workflows.version", WorkflowsRead, AtVersion => WorkflowVersion, |s, at| async move {
        s.workflows().version(at.id, at.version).await
    }),
    method!("workflows.diff", WorkflowsRead, Between => WorkflowDiff, |s, between| async move {
        s.workflows().diff(between.id, between.from, between.to).await
    }),
    method!("workflows.rollback", WorkflowsPublish, AtVersion => WorkflowVersion, |s, at| async move {
        s.workflows().rollback(at.id, at.version).await
    }),
    method!("workflows.import", WorkflowsCreate, ToImport => ImportedWorkflow, |s, given| async move {
        s.workflows().import(given.definition, given.name).await
    }),
    method!("workflows.export", WorkflowsRead, MaybeVersion => Value, |s, at| s.workflows().export(at.id, at.version)),
    method!("workflows.picture", WorkflowsRead, ToDraw => String, |s, at| async move {
        s.workflows().picture(at.id, at.version, at.format).await
    }),
    method!("workflows.schema", WorkflowsRead, Nothing => Value, |s, _nothing| async move {
        s.read(Permission::WorkflowsRead, Target::None, |_, _| Ok(())).await?;
        s.workflows().schema()
    }),
    method!("workflows.node_types", WorkflowsRead, Nothing => Vec<NodeTypeInfo>, |s, _nothing| async move {
        s.read(Permission::WorkflowsRead, Target::None, |_, _| Ok(())).await?;
        Ok::<_, Error>(s.workflows().node_types())
    }),
];

/// A workflow of any shape.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Given {
    /// `blitz.workflow/1` or any other shape that can be imported.
    definition: Value,
}

/// A workflow to read and keep.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToImport {
    /// `blitz.workflow/1`, what Blitz 1.0 or its designer kept, or what React Flow keeps.
    definition: Value,
    /// Another name than its own.
    #[serde(default)]
    name: Option<String>,
}

/// One version of a workflow.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct AtVersion {
    /// The workflow's id, its name, or `owner/name`.
    id: ResourceRef,
    /// The version's number.
    version: u32,
}

/// A version of a workflow, or its draft.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct MaybeVersion {
    /// The workflow's id, its name, or `owner/name`.
    id: ResourceRef,
    /// The version; the draft where absent.
    #[serde(default)]
    version: Option<u32>,
}

/// Two versions of a workflow.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Between {
    /// The workflow's id, its name, or `owner/name`.
    id: ResourceRef,
    /// The older one; the newest version where absent.
    #[serde(default)]
    from: Option<u32>,
    /// The newer one; the draft where absent.
    #[serde(default)]
    to: Option<u32>,
}

/// A picture to draw.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToDraw {
    /// The workflow's id, its name, or `owner/name`.
    id: ResourceRef,
    /// The version; the draft where absent.
    #[serde(default)]
    version: Option<u32>,
    /// How it is drawn.
    #[serde(default)]
    format: PictureFormat,
}

/// What an import made.
#[non_exhaustive]
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct ImportedWorkflow {
    /// The draft.
    pub workflow: Record<WorkflowDefinition>,
    /// What could not be read, and what keeps the draft from being published.
    pub problems: Vec<Problem>,
}

/// A picture of a definition that need not be in any catalogue, nor be right.
///
/// ```
/// use blitz::{PictureFormat, Workflow, draw};
///
/// let greet = Workflow::new("greet").start("s").template("hello", "Hello {{ inputs.name }}").end("e");
/// let greet = greet.edge("s", "hello").edge("hello", "e").build();
/// assert!(draw(&greet, PictureFormat::Mermaid).starts_with("flowchart LR"));
/// ```
pub fn draw(definition: &WorkflowDefinition, format: PictureFormat) -> String {
    picture::draw(definition, &States::default(), format)
}

impl Noun for WorkflowDefinition {
    /// A draft may be broken, but it must be of this format.
    fn checked(self) -> Result<Self> {
        if self.format != Self::FORMAT {
            let message = format!("the format is none that this engine reads: {:?} is", Self::FORMAT);
            return Err(Error::invalid(message));
        }
        Ok(self)
    }
}

impl Catalog<WorkflowDefinition> {
    /// Says everything that is wrong with a workflow of any shape, as far as can be seen without the
    /// catalogue.
    ///
    /// Errors: `InvalidInput` for what is no workflow, `TooLarge`.
    pub async fn validate(&self, definition: impl Into<Value>) -> Result<Validation> {
        let types = self.node_types();
        let definition = taken("the workflow", definition.into())?;
        self.read_only(move |tx, grant| {
            let read = import::read(&definition)?;
            let mut problems = read.problems;
            import::found(&mut problems, validate(&read.definition, &types).problems);
            problems.extend(missing(tx, grant, None, &read.definition)?);
            Ok(Validation::new(read.definition, problems))
        })
        .await
    }

    /// Publishes the draft: it becomes the newest version, which is what runs.
    ///
    /// Errors: `InvalidInput` with all problems in its details, where there is an error among them.
    pub async fn publish(&self, id: impl Into<ResourceRef>) -> Result<WorkflowVersion> {
        let types = self.node_types();
        let target = Target::Resource(ResourceKind::Workflow, id.into());
        self.session
            .write(Permission::WorkflowsPublish, target, "workflows.publish", move |tx, grant| {
                let row = workflow(grant)?;
                let draft = row.record::<WorkflowDefinition>()?.spec;
                publish(tx, grant, row, &draft, &types)
            })
            .await
    }

    /// Makes an older version the one that runs again: its content becomes the newest version. The
    /// draft stays as it is.
    ///
    /// Errors: `NotFound` for a version that is not there; as [`Workflows::publish`], where it names
    /// what is gone by now.
    pub async fn rollback(&self, id: impl Into<ResourceRef>, version: u32) -> Result<WorkflowVersion> {
        let types = self.node_types();
        let target = Target::Resource(ResourceKind::Workflow, id.into());
        self.session
            .write(Permission::WorkflowsPublish, target, "workflows.rollback", move |tx, grant| {
                let row = workflow(grant)?;
                let older = found(tx, row, version)?;
                publish(tx, grant, row, &older.spec, &types)
            })
            .await
    }

    /// The published versions of a workflow, oldest first.
    pub async fn versions(&self, id: impl Into<ResourceRef>, options: ListOptions) -> Result<Page<WorkflowVersion>> {
        self.read_one(id, move |tx, row| catalog::workflow_versions(tx, row.id, &options)).await
    }

    /// One published version of a workflow.
    pub async fn version(&self, id: impl Into<ResourceRef>, version: u32) -> Result<WorkflowVersion> {
        self.read_one(id, move |tx, row| found(tx, row, version)).await
    }

    /// What differs between two versions. Where `from` is absent it is the newest version, where `to`
    /// is absent it is the draft.
    ///
    /// Errors: `NotFound` for a version that is not there.
    pub async fn diff(&self, id: impl Into<ResourceRef>, from: Option<u32>, to: Option<u32>) -> Result<WorkflowDiff> {
        self.read_one(id, move |tx, row| {
            let older = match from {
                Some(version) => found(tx, row, version)?.spec,
                None => catalog::newest_version(tx, row.id)?.ok_or_else(|| unpublished(row))?.spec,
            };
            Ok(diff::diff(&older, &definition(tx, row, to)?))
        })
        .await
    }

    /// Reads a workflow of any known shape and keeps it as a draft: one of the caller's own of that
    /// name is changed.
    ///
    /// Errors: `InvalidInput` for what is none, `TooLarge`; nothing is kept then.
    pub async fn import(&self, definition: impl Into<Value>, name: Option<String>) -> Result<ImportedWorkflow> {
        let definition = taken("the workflow", definition.into())?;
        self.session.read(Permission::WorkflowsCreate, Target::None, |_, _| Ok(())).await?;
        let import::Imported { mut definition, mut problems } = import::read(&definition)?;
        if let Some(name) = name {
            definition.name = name;
        }
        import::found(&mut problems, validate(&definition, &self.node_types()).problems);
        let workflow = self.put(definition).await?;
        Ok(ImportedWorkflow { workflow, problems })
    }

    /// A workflow as JSON to give away: keys that stand in the clear become names of secrets.
    pub async fn export(&self, id: impl Into<ResourceRef>, version: Option<u32>) -> Result<Value> {
        self.read_one(id, move |tx, row| import::export(&definition(tx, row, version)?)).await
    }

    /// A picture of a workflow.
    pub async fn picture(
        &self,
        id: impl Into<ResourceRef>,
        version: Option<u32>,
        format: PictureFormat,
    ) -> Result<String> {
        self.read_one(id, move |tx, row| Ok(picture::draw(&definition(tx, row, version)?, &States::default(), format)))
            .await
    }

    /// JSON Schema of a definition.
    pub fn schema(&self) -> Result<Value> {
        let mut schema = schema::<WorkflowDefinition>();
        let fields = schema.as_object_mut().ok_or_else(|| Error::internal("a schema is no object"))?;
        fields.insert("$id".to_owned(), json!("blitz.workflow/1"));
        fields.insert("title".to_owned(), json!("blitz.workflow/1"));
        Ok(schema)
    }

    /// The types of nodes that can be used, with the schema of their settings.
    pub fn node_types(&self) -> Vec<NodeTypeInfo> {
        let mut types = config::builtin();
        types.extend(self.session.inner.runtime.tools.node_types());
        types
    }

    /// Reads one workflow on one snapshot.
    async fn read_one<T, F>(&self, id: impl Into<ResourceRef>, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection, &ResourceRow) -> Result<T> + Send + 'static,
    {
        let target = Target::Resource(ResourceKind::Workflow, id.into());
        let read = move |tx: &mut dyn Connection, grant: &Grant| body(tx, workflow(grant)?);
        self.session.read(Permission::WorkflowsRead, target, read).await
    }

    async fn read_only<T, F>(&self, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection, &Grant) -> Result<T> + Send + 'static,
    {
        self.session.read(Permission::WorkflowsRead, Target::None, body).await
    }
}

fn workflow(grant: &Grant) -> Result<&ResourceRow> {
    grant.resource().ok_or_else(|| Error::internal("a call about a workflow has none"))
}

/// A version, or the draft.
fn definition(tx: &mut dyn Connection, row: &ResourceRow, version: Option<u32>) -> Result<WorkflowDefinition> {
    match version {
        Some(version) => Ok(found(tx, row, version)?.spec),
        None => Ok(row.record::<WorkflowDefinition>()?.spec),
    }
}

fn found(tx: &mut dyn Connection, row: &ResourceRow, version: u32) -> Result<WorkflowVersion> {
    catalog::workflow_version(tx, row.id, version)?.ok_or_else(|| {
        Error::not_found(format!("the workflow {} has no published version {version}", shown(&row.name)))
    })
}

fn unpublished(row: &ResourceRow) -> Error {
    Error::not_found(format!("the workflow {} has no published version: publish its draft", shown(&row.name)))
}

fn publish(
    tx: &mut dyn Connection,
    grant: &Grant,
    row: &ResourceRow,
    definition: &WorkflowDefinition,
    types: &[NodeTypeInfo],
) -> Result<WorkflowVersion> {
    let validated = validate(definition, types);
    if validated.plan.as_ref().is_some_and(Plan::names_secrets) {
        grant.require(Permission::SecretsUse)?;
    }
    let mut problems = validated.problems;
    problems.extend(missing(tx, grant, Some(row.id), definition)?);
    if problems.iter().any(Problem::is_error) {
        return Err(validate::refused(&problems));
    }
    let before = catalog::newest_version(tx, row.id)?;
    let published = catalog::publish(tx, row.id, definition, grant.now())?;
    super::triggers::enabled::follow(tx, grant, row.id, &definition.triggers)?;
    let details = json!({"version": published.version});
    let before = before.map(|version| version.hash);
    grant.audit(tx, &row.label(), before.as_deref(), Some(&published.hash), details)?;
    Ok(published)
}

/// What a definition names and the caller cannot use, and whether it leads back to itself.
fn missing(
    tx: &mut dyn Connection,
    grant: &Grant,
    own: Option<ResourceId>,
    definition: &WorkflowDefinition,
) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for (node, noun, reference, version) in references(definition) {
        let (kind, permission) = match noun {
            "agent" => (ResourceKind::Agent, Permission::AgentsRun),
            "model" => (ResourceKind::Model, Permission::ModelsUse),
            "tool" => (ResourceKind::Tool, Permission::ToolsUse),
            _ => (ResourceKind::Workflow, Permission::WorkflowsRun),
        };
        // A workflow that names itself is told so already.
        if kind == ResourceKind::Workflow && reference == ResourceRef::Name(definition.name.clone()) {
            continue;
        }
        let name = match &reference {
            ResourceRef::Id(id) => id.to_string(),
            ResourceRef::Name(name) => shown(name),
        };
        let Ok(row) = grant.find(tx, permission, kind, &reference) else {
            let message = format!("the {noun} {name} is not there or not open to you");
            problems.push(Problem::new(ProblemCode::Reference, message).at_node(node));
            continue;
        };
        if kind != ResourceKind::Workflow {
            continue;
        }
        let child = match version {
            Some(version) => catalog::workflow_version(tx, row.id, version)?,
            None => catalog::newest_version(tx, row.id)?,
        };
        match (child, own) {
            (None, _) => {
                let which = version.map_or("published version".to_owned(), |version| format!("version {version}"));
                let message = format!("the workflow {name} has no {which}");
                problems.push(Problem::new(ProblemCode::Reference, message).at_node(node));
            }
            (Some(child), Some(own)) if row.id == own || leads_to(tx, grant, own, child.spec.clone())? => {
                let message = format!("the workflow {name} leads back to this one");
                problems.push(Problem::new(ProblemCode::Recursion, message).at_node(node));
            }
            _ => {}
        }
    }
    Ok(problems)
}

/// Whether the subflows of a definition reach a workflow.
fn leads_to(tx: &mut dyn Connection, grant: &Grant, wanted: ResourceId, from: WorkflowDefinition) -> Result<bool> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(definition) = open.pop() {
        for (_, noun, reference, version) in references(&definition) {
            if noun != "workflow" {
                continue;
            }
            let Ok(row) = grant.find(tx, Permission::WorkflowsRun, ResourceKind::Workflow, &reference) else {
                continue;
            };
            if row.id == wanted {
                return Ok(true);
            }
            if !seen.insert((row.id.0, version)) {
                continue;
            }
            if seen.len() > MAX_SUBFLOWS {
                return Err(Error::invalid(format!("the workflow reaches more than {MAX_SUBFLOWS} others")));
            }
            let child = match version {
                Some(version) => catalog::workflow_version(tx, row.id, version)?,
                None => catalog::newest_version(tx, row.id)?,
            };
            open.extend(child.map(|child| child.spec));
        }
    }
    Ok(false)
}
