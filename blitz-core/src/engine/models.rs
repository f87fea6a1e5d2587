//! Models: who serves them, settings, sealed keys, prices.

use super::catalog::{Actions, Catalog, Noun, Shared, Visible, actions, catalog_rows};
use super::methods::{Method, Named, Update, method};
use crate::domain::{ListOptions, NewModel, Page, Permission, Record, Secret, Share};
use crate::error::{Error, Result};
use crate::net;

/// The models of the catalogue.
pub type Models = Catalog<NewModel>;

pub(super) const ROWS: &[Method] =
    catalog_rows!("models", models, NewModel, ModelsRead, ModelsCreate, ModelsManage, ModelsManage);

impl Noun for NewModel {
    const READ: Permission = Permission::ModelsRead;
    const CREATE: Permission = Permission::ModelsCreate;
    const EDIT: Permission = Permission::ModelsManage;
    const DELETE: Permission = Permission::ModelsManage;
    const ACTIONS: Actions = actions!("models");

    fn check(&mut self) -> Result<()> {
        for (field, value) in [("provider", &self.provider), ("model_name", &self.model_name)] {
            if value.trim().is_empty() {
                return Err(Error::invalid(format!("a model's {field} may not be empty")));
            }
        }
        if let Some(url) = &self.base_url {
            net::check_base_url(url)?;
        }
        if self.max_output_tokens == Some(0) || self.settings.max_output_tokens == Some(0) {
            return Err(Error::invalid("max_output_tokens must be at least 1"));
        }
        Ok(())
    }

    fn take_secret(&mut self) -> Option<Secret> {
        self.api_key.take()
    }

    /// A key is for one host: where another is named, the key stays behind.
    fn outdates_secret(&self, before: &Self) -> bool {
        self.base_url != before.base_url || self.provider != before.provider
    }
}
