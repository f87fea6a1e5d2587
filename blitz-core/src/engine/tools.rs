//! Tools: the host's functions and the builtins.

use std::sync::Arc;

use super::catalog::{Catalog, Noun, Shared, Visible, catalog_rows};
use super::methods::{Method, MethodKind, Named, Update, method, schema};
use crate::domain::{ListOptions, NewTool, Page, Permission, Record, Share, ToolKind, ToolSpec};
use crate::error::Result;
use crate::tool::Tool;
use crate::tool::registry::validate_tool;

/// The tools of the catalogue.
pub type Tools = Catalog<NewTool>;

pub(super) const ROWS: &[Method] =
    catalog_rows!("tools", tools, NewTool, ToolsRead, ToolsCreate, ToolsEdit, ToolsDelete);

pub(super) const HOST_ROWS: &[Method] = &[Method {
    name: "tools.register",
    kind: MethodKind::Host,
    permission: Some(Permission::ToolsCreate),
    since: "0.1",
    input: schema::<ToolSpec>,
    output: schema::<Record<NewTool>>,
    handler: None,
}];

impl Noun for NewTool {
    fn checked(self) -> Result<Self> {
        validate_tool(&self)?;
        Ok(self)
    }
}

impl Catalog<NewTool> {
    /// Registers a function of the host and puts its record into the catalogue.
    ///
    /// The function is there until the engine closes; a program registers it again when it starts,
    /// before it calls [`Engine::recover`](crate::Engine::recover).
    pub async fn register(&self, tool: impl Tool) -> Result<Record<NewTool>> {
        self.register_shared(Arc::new(tool)).await
    }

    /// Like [`Tools::register`], for a tool that is shared already.
    pub async fn register_shared(&self, tool: Arc<dyn Tool>) -> Result<Record<NewTool>> {
        let spec = tool.spec();
        let mut new = NewTool::function(spec.name, spec.description, spec.input_schema)
            .with_effect(tool.effect())
            .with_timeout(tool.timeout())
            .with_sequential(tool.sequential());
        new.secrets = tool.secrets();
        debug_assert_eq!(new.kind, ToolKind::Function);
        let record = self.put(new).await?;
        let runtime = &self.session.inner.runtime;
        runtime.tools.register(tool);
        runtime.setups.clear();
        Ok(record)
    }
}
