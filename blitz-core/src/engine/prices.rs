//! Prices: imported versions, and what a model is listed at.

use std::sync::Arc;

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use super::models::MapText;
use crate::access::Target;
use crate::domain::{ImportedPrices, ListOptions, ListedPrice, NewModel, Page, Permission, PriceVersion, Timestamp};
use crate::error::Result;
use crate::ledger::{self, BadRows, price_import};

/// The imported prices, through a session.
pub struct Prices {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("prices.import", PricesManage, ImportPrices => ImportedPrices, |s, import| async move {
        let bad_rows = if import.leave_out_bad { BadRows::LeaveOut } else { BadRows::Refuse };
        s.prices().keep(&import.prices.into_text(), &import.source, import.effective_from, bad_rows).await
    }),
    method!("prices.versions", ModelsRead, ListOptions => Page<PriceVersion>, |s, page| s.prices().versions(page)),
    method!("prices.find", ModelsRead, FindPrice => ListedPrice, |s, find| async move {
        s.prices().find(&find.provider, &find.model_name, find.at).await
    }),
];

/// A price map to import.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ImportPrices {
    /// The map: the text of its file, or the object itself.
    prices: MapText,
    /// Where it comes from, for the audit trail.
    #[serde(default)]
    source: String,
    /// Since when it is in force; now where absent or past.
    #[serde(default)]
    effective_from: Option<Timestamp>,
    /// Whether rows that hold a number that is none are left out and named; else one refuses the whole map.
    #[serde(default)]
    leave_out_bad: bool,
}

/// A model whose price is asked for.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct FindPrice {
    /// Who serves it.
    provider: String,
    /// The provider's name of it.
    model_name: String,
    /// At which moment; now where absent.
    #[serde(default)]
    at: Option<Timestamp>,
}

impl Prices {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Reads a price map of LiteLLM's shape and keeps it as a version: in force from now on, or from a
    /// later moment. A model that is sold in a way that cannot be charged exactly is left out and named: in
    /// this version it has no price, not even the shipped one, which holds for what the map does not name.
    ///
    /// Errors: `InvalidInput` where the text is no JSON object of objects, or where rows hold a number that is
    /// none: `rows` of its details names them. Nothing is kept then.
    pub async fn import(&self, map: &str, source: &str, effective_from: Option<Timestamp>) -> Result<ImportedPrices> {
        self.keep(map, source, effective_from, BadRows::Refuse).await
    }

    /// The same, where rows that hold a number that is none are left out and named too.
    ///
    /// Errors: `InvalidInput` where the text is no JSON object of objects; nothing is kept then.
    pub async fn import_what_is_good(
        &self,
        map: &str,
        source: &str,
        effective_from: Option<Timestamp>,
    ) -> Result<ImportedPrices> {
        self.keep(map, source, effective_from, BadRows::LeaveOut).await
    }

    async fn keep(
        &self,
        map: &str,
        source: &str,
        effective_from: Option<Timestamp>,
        bad_rows: BadRows,
    ) -> Result<ImportedPrices> {
        let (map, source) = (Arc::new(price_import::read(map, bad_rows)?), source.to_owned());
        self.session
            .write(Permission::PricesManage, Target::None, "prices.import", move |tx, grant| {
                let imported = map.keep(tx, grant.now(), effective_from, &source)?;
                let details = serde_json::json!({"source": source, "taken": imported.taken});
                grant.audit(tx, &format!("prices:{}", imported.version), None, Some(map.hash()), details)?;
                Ok(imported)
            })
            .await
    }

    /// A page of the imported versions, oldest first.
    pub async fn versions(&self, options: ListOptions) -> Result<Page<PriceVersion>> {
        self.session.read(Permission::ModelsRead, Target::None, move |tx, _| ledger::list_prices(tx, &options)).await
    }

    /// What a model without a price of its own is listed at, at a moment.
    pub async fn find(&self, provider: &str, model_name: &str, at: Option<Timestamp>) -> Result<ListedPrice> {
        let model = NewModel::new("priced", provider, model_name);
        self.session
            .read(Permission::ModelsRead, Target::None, move |tx, grant| {
                ledger::find_price(tx, at.unwrap_or_else(|| grant.now()), &model)
            })
            .await
    }
}
