//! Prompts: versioned templates with a schema for what goes in and what comes out.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::schema::{self, SchemaCheck};
use super::template;
use crate::error::{Error, Result};

/// How a template's holes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TemplateFormat {
    /// Decided once, on save: jinja where the text holds `{{ `, `{%` or `{#`, else braces.
    #[default]
    Auto,
    /// `{name}` and `{name.field}`; `{{` and `}}` are literal braces; all other braces stay.
    Braces,
    /// Jinja: loops, conditions, filters; strict about names, bounded in work and size.
    Jinja,
}

/// A prompt to put into the catalogue. A changed text, schema or format makes a new version.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrompt {
    /// The name agents use.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The text with its holes.
    pub template: String,
    /// How the holes are written; a stored prompt never says `auto`.
    #[serde(default)]
    pub format: TemplateFormat,
    /// JSON Schema of the variables, checked before the text is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema of the answer, for agents that set none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}

impl NewPrompt {
    /// A prompt `name` with this template.
    pub fn new(name: impl Into<String>, template: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            template: template.into(),
            format: TemplateFormat::Auto,
            input_schema: None,
            output_schema: None,
        }
    }

    /// The same prompt in a stated format.
    pub fn with_format(self, format: TemplateFormat) -> Self {
        Self { format, ..self }
    }

    /// The same prompt with a schema of its variables.
    pub fn with_input_schema(self, schema: Value) -> Self {
        Self { input_schema: Some(schema), ..self }
    }

    /// The same prompt with a schema of the answer.
    pub fn with_output_schema(self, schema: Value) -> Self {
        Self { output_schema: Some(schema), ..self }
    }
}

impl NewPrompt {
    /// The text with its holes filled.
    ///
    /// Errors: `InvalidInput` where the variables are off the schema, `Expression` where one is missing.
    pub(crate) fn fill(&self, variables: &Map<String, Value>) -> Result<String> {
        if let Some(schema) = &self.input_schema {
            SchemaCheck::new(schema)?.check(&Value::Object(variables.clone())).map_err(|problems| {
                let problems = schema::describe(&problems);
                Error::invalid(format!(
                    "the input does not follow the schema of the prompt {:?}: {problems}",
                    self.name
                ))
            })?;
        }
        template::render(self.format, &self.template, variables)
    }
}
