//! Models: who serves them, settings, sealed keys, prices.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::catalog::{Catalog, Noun, Shared, Visible, catalog_rows};
use super::methods::{Method, Named, Update, method};
use crate::access::Target;
use crate::domain::{ImportedPrices, ListOptions, ModelLimits, NewModel, Page, Permission, Record, Share};
use crate::error::{Error, Result};
use crate::ledger::price_import;
use crate::net;

/// The models of the catalogue.
pub type Models = Catalog<NewModel>;

pub(super) const ROWS: &[Method] =
    catalog_rows!("models", models, NewModel, ModelsRead, ModelsCreate, ModelsManage, ModelsManage);

pub(super) const PRICE_ROWS: &[Method] = &[method!(
    "models.import_prices", PricesManage, ImportPrices => ImportedPrices,
    |s, import| async move { s.models().import_prices(&import.prices.into_text(), &import.source).await }
)];

/// A price map to import.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ImportPrices {
    /// The map: the text of its file, or the object itself.
    prices: MapText,
    /// Where it comes from, for the audit trail.
    #[serde(default)]
    source: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub(super) enum MapText {
    Text(String),
    Object(Map<String, Value>),
}

impl MapText {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Object(map) => Value::Object(map).to_string(),
        }
    }
}

impl Models {
    /// Reads a price map of LiteLLM's shape (`{"gpt-4o": {"litellm_provider": "openai",
    /// "input_cost_per_token": 2.5e-06, …}, …}`) and puts it in force as a version of its own.
    ///
    /// From then on a model without a price of its own gets this version's, by provider and model
    /// name, and where that has none the shipped table's. Executions under way keep their prices.
    /// What cannot be read exactly is left out and named. The same map twice is the same version.
    ///
    /// Errors: `InvalidInput` where the text is no JSON object of objects.
    pub async fn import_prices(&self, map: &str, source: &str) -> Result<ImportedPrices> {
        let (map, source) = (Arc::new(price_import::read(map)?), source.to_owned());
        self.session
            .write(Permission::PricesManage, Target::None, "models.import_prices", move |tx, grant| {
                let imported = map.keep(tx, grant.now(), None, &source)?;
                let details = serde_json::json!({"source": source, "taken": imported.taken});
                grant.audit(tx, &format!("prices:{}", imported.version), None, Some(map.hash()), details)?;
                Ok(imported)
            })
            .await
    }
}

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
        if let Some(price) = &self.price {
            price.check()?;
        }
        if let Some(ModelLimits { requests_per_minute, tokens_per_minute, max_concurrent, .. }) = self.limits
            && (requests_per_minute == Some(0) || tokens_per_minute == Some(0) || max_concurrent == Some(0))
        {
            return Err(Error::invalid("limits must be at least 1"));
        }
        if self.max_output_tokens == Some(0) || self.settings.max_output_tokens == Some(0) {
            return Err(Error::invalid("max_output_tokens must be at least 1"));
        }
        Ok(self)
    }
}
