//! Prompts: versioned templates with schemas.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::catalog::{Catalog, Noun, Shared, Visible, catalog_rows};
use super::methods::{Method, Named, PageOf, Update, method};
use crate::domain::schema::SchemaCheck;
use crate::domain::{
    ListOptions, NewPrompt, Page, PromptVersion, Record, ResourceRef, Share, TemplateFormat, template,
};
use crate::error::Result;

/// The prompts of the catalogue.
pub type Prompts = Catalog<NewPrompt>;

pub(super) const ROWS: &[Method] =
    catalog_rows!("prompts", prompts, NewPrompt, PromptsRead, PromptsCreate, PromptsEdit, PromptsDelete);

pub(super) const VERSION_ROWS: &[Method] = &[
    method!("prompts.versions", PromptsRead, PageOf<ResourceRef> => Page<PromptVersion>, |s, of| {
        let (id, page) = of.split();
        async move { s.prompts().versions(id, page).await }
    }),
    method!("prompts.version", PromptsRead, AtVersion => PromptVersion, |s, at| s.prompts().version(at.id, at.version)),
    method!("prompts.render", PromptsRead, Render => String, |s, r| s.prompts().render(r.id, r.version, r.variables)),
];

/// One version of a prompt.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct AtVersion {
    /// The prompt's id, its name, or `owner/name`.
    id: ResourceRef,
    /// The version's number.
    version: u32,
}

/// A prompt to fill.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Render {
    /// The prompt's id, its name, or `owner/name`.
    id: ResourceRef,
    /// The version; the newest where absent.
    #[serde(default)]
    version: Option<u32>,
    /// What goes into its holes.
    #[serde(default)]
    variables: Map<String, Value>,
}

impl Noun for NewPrompt {
    fn checked(mut self) -> Result<Self> {
        if self.format == TemplateFormat::Auto {
            self.format = template::detect(&self.template);
        }
        template::check(self.format, &self.template)?;
        for schema in [&self.input_schema, &self.output_schema].into_iter().flatten() {
            SchemaCheck::new(schema)?;
        }
        Ok(self)
    }
}

impl Catalog<NewPrompt> {
    /// The versions of a prompt, oldest first.
    pub async fn versions(&self, id: impl Into<ResourceRef>, options: ListOptions) -> Result<Page<PromptVersion>> {
        self.session.inner.gate.prompt_versions(&self.session.caller, id.into(), options).await
    }

    /// One version of a prompt.
    pub async fn version(&self, id: impl Into<ResourceRef>, version: u32) -> Result<PromptVersion> {
        self.session.inner.gate.prompt_version(&self.session.caller, id.into(), version).await
    }

    /// Fills a prompt, as an execution would.
    ///
    /// Errors: `InvalidInput` where the variables are off its schema, `Expression` where one is missing.
    pub async fn render(
        &self,
        id: impl Into<ResourceRef>,
        version: Option<u32>,
        variables: Map<String, Value>,
    ) -> Result<String> {
        let id = id.into();
        let spec = match version {
            Some(version) => self.version(id, version).await?.spec,
            None => self.get(id).await?.spec,
        };
        spec.fill(&variables)
    }
}
