//! Models: who serves them, settings, sealed keys, prices.

use super::catalog::{Catalog, Noun, Shared, Visible, catalog_rows};
use super::methods::{Method, Named, Update, method};
use crate::domain::{ListOptions, NewModel, Page, Record, Share};
use crate::error::{Error, Result};
use crate::net;

/// The models of the catalogue.
pub type Models = Catalog<NewModel>;

pub(super) const ROWS: &[Method] =
    catalog_rows!("models", models, NewModel, ModelsRead, ModelsCreate, ModelsManage, ModelsManage);

impl Noun for NewModel {
    fn checked(self) -> Result<Self> {
        for (field, value) in [("provider", &self.provider), ("model_name", &self.model_name)] {
            if value.trim().is_empty() {
                return Err(Error::invalid(format!("a model's {field} may not be empty")));
            }
        }
        if let Some(url) = &self.base_url {
            net::parse_base_url(url)?;
        }
        if self.max_output_tokens == Some(0) || self.settings.max_output_tokens == Some(0) {
            return Err(Error::invalid("max_output_tokens must be at least 1"));
        }
        Ok(self)
    }
}
