//! Tools: the host's functions and the builtins.

use std::sync::Arc;

use super::catalog::{Actions, Catalog, Noun, Shared, Visible, actions, catalog_rows};
use super::methods::{Method, MethodKind, Named, Update, method, schema};
use crate::access::gate::{Grant, Tx};
use crate::domain::{ListOptions, NewTool, Page, Permission, Record, Share, ToolKind, ToolSpec};
use crate::error::{Error, Result};
use crate::tool::Tool;
use crate::tool::registry::validate_tool;

/// The tools of the catalogue.
pub type Tools = Catalog<NewTool>;

pub(super) const ROWS: &[Method] = catalog_rows!("tools", tools, NewTool, ToolsRead, ToolsCreate, ToolsEdit, ToolsDelete);

pub(super) const HOST_ROWS: &[Method] = &[Method {
    name: "tools.register",
    kind: MethodKind::Host,
    permission: Permission::ToolsCreate,
    since: "0.1",
    input: schema::<ToolSpec>,
    output: schema::<Record<NewTool>>,
    handler: None,
}];

impl Noun for NewTool {
    const READ: Permission = Permission::ToolsRead;
    const CREATE: Permission = Permission::ToolsCreate;
    const EDIT: Permission = Permission::ToolsEdit;
    const DELETE: Permission = Permission::ToolsDelete;
    const ACTIONS: Actions = actions!("tools");

    fn check(&mut self) -> Result<()> {
        validate_tool(self)
    }

    /// A tool with settings reaches out of the engine: that takes a permission of its own.
    fn check_in(&self, _tx: &mut Tx<'_>, grant: &Grant, before: Option<&Self>) -> Result<()> {
        let reaches_out = !self.config.is_empty() && before.is_none_or(|before| before.config != self.config);
        if reaches_out && !grant.allows(Permission::ConnectionsManage) {
            return Err(Error::denied("a tool with a folder or address of its own needs the permission connections:manage"));
        }
        Ok(())
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
        let new = NewTool::function(spec.name, spec.description, spec.input_schema)
            .with_effect(tool.effect())
            .with_timeout(tool.timeout());
        debug_assert_eq!(new.kind, ToolKind::Function);
        let record = self.put(new).await?;
        self.session.inner.runtime.tools.register(tool);
        Ok(record)
    }
}
