//! Models: who serves them, settings, sealed keys, prices.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::catalog::{Catalog, Noun, Shared, Visible, catalog_rows};
use super::methods::{Method, Named, Update, method};
use super::session::Session;
use crate::access::Target;
use crate::domain::{
    ImportedPrices, ListOptions, ModelLimits, Money, NewModel, Page, Part, Permission, Record, RetryPolicy, Share,
    Usage,
};
use crate::error::{Error, Result};
use crate::execution::embed::{self, Attempt, Attempted, Embedded};
use crate::ledger::{BadRows, price_import};
use crate::net;
use crate::provider::{EmbeddingRequest, RequestHeaders};
use crate::tool::permit::apart;

/// The models of the catalogue.
pub type Models = Catalog<NewModel>;

pub(super) const ROWS: &[Method] =
    catalog_rows!("models", models, NewModel, ModelsRead, ModelsCreate, ModelsManage, ModelsManage);

pub(super) const PRICE_ROWS: &[Method] = &[method!(
    "models.import_prices", PricesManage, ImportPrices => ImportedPrices,
    |s, import| async move { s.models().import_prices(&import.prices.into_text(), &import.source).await }
)];

pub(super) const EMBED_ROWS: &[Method] = &[method!(
    "models.embed", ModelsUse, Embed => Embeddings, |s, embed| async move { s.models().embed_with(embed).await }
)];

/// What is to be embedded.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Embed {
    /// The model: a catalogue name, or `provider:model`.
    model: String,
    /// Texts, or images where the model sees; each becomes one vector.
    inputs: Vec<EmbedInput>,
    /// How long the vectors should be, where the model can choose.
    #[serde(default)]
    dimensions: Option<u64>,
    /// Fields of the provider's request that the engine does not know, passed through as they are.
    #[serde(default)]
    extra: Map<String, Value>,
    /// When a failed attempt is made again.
    #[serde(default)]
    retry: RetryPolicy,
    /// What it is counted under; a call that a tool makes is counted under its execution's.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
enum EmbedInput {
    Text(String),
    Part(Part),
}

/// The vectors of texts or images, and what they cost.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Embeddings {
    /// One vector for each input, in order.
    pub vectors: Vec<Vec<f32>>,
    /// The model that answered, in the provider's words.
    pub model_name: String,
    /// What it used.
    pub usage: Usage,
    /// What that cost; `None` where the price is unknown.
    pub cost: Option<Money>,
}

impl From<Embedded> for Embeddings {
    fn from(Embedded { response, usage, cost }: Embedded) -> Self {
        Self { vectors: response.vectors, model_name: response.model_name, usage, cost }
    }
}

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
    /// name, and where the map does not name it the shipped table's. Executions under way keep their prices.
    /// A model that is sold in a way that cannot be charged exactly is left out and named, and has no price in
    /// this version. The same map twice is the same version.
    ///
    /// Errors: `InvalidInput` where the text is no JSON object of objects, or where rows hold a number that is
    /// none: `rows` of its details names them, and nothing is kept ([`Prices::import_what_is_good`](super::Prices::import_what_is_good) leaves them out).
    pub async fn import_prices(&self, map: &str, source: &str) -> Result<ImportedPrices> {
        let (map, source) = (Arc::new(price_import::read(map, BadRows::Refuse)?), source.to_owned());
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

/// The most inputs of one call.
const MAX_INPUTS: usize = 2_048;

impl Models {
    /// Makes vectors of texts. The call is reserved and booked like any call of a model, in no execution.
    ///
    /// It is tried again as an agent's calls are, each attempt booked by itself. A caller that goes away
    /// leaves an attempt that is booked to its end. Errors: `NotFound` for the model, `BudgetExceeded`,
    /// `InvalidInput` where the provider makes no embeddings, and what the provider gives.
    pub async fn embed<T: Into<String>>(&self, model: &str, texts: impl IntoIterator<Item = T>) -> Result<Embeddings> {
        self.embed_parts(model, EmbeddingRequest::texts("", texts)).await
    }

    /// Makes vectors of whatever a request holds; its model is the one that is named. Errors: as [`Models::embed`].
    pub async fn embed_parts(&self, model: &str, request: EmbeddingRequest) -> Result<Embeddings> {
        self.embed_retried(model, request, RetryPolicy::default()).await
    }

    /// The same, tried again by a policy. Errors: as [`Models::embed`].
    pub async fn embed_retried(
        &self,
        model: &str,
        request: EmbeddingRequest,
        retry: RetryPolicy,
    ) -> Result<Embeddings> {
        self.embed_tagged(model, request, retry, BTreeMap::new()).await
    }

    /// The same, counted under tags; what a tool embeds is counted under its execution's. Errors: as
    /// [`Models::embed`]; `InvalidInput` where a tag is malformed, or one that is required is missing.
    pub async fn embed_tagged(
        &self,
        model: &str,
        request: EmbeddingRequest,
        retry: RetryPolicy,
        tags: BTreeMap<String, String>,
    ) -> Result<Embeddings> {
        if request.inputs.is_empty() || request.inputs.len() > MAX_INPUTS {
            return Err(Error::invalid(format!("embed wants 1 to {MAX_INPUTS} inputs")));
        }
        if request.dimensions == Some(0) {
            return Err(Error::invalid("dimensions must be at least 1"));
        }
        let runtime = Arc::clone(&self.session.inner.runtime);
        let mut attempt = Attempt::first(retry, tags, self.session.on_behalf())?;
        loop {
            // The attempt that is made is booked to its end; the next one is made for a caller who still waits.
            let once = embed_once(self.session.clone(), model.to_owned(), request.clone(), attempt.clone());
            match apart(&self.session.scope, runtime.to_its_end(once)).await? {
                Attempted::Done(done) => return Ok((*done).into()),
                Attempted::Again(at) => attempt = attempt.next(&runtime, at).await?,
            }
        }
    }

    async fn embed_with(&self, embed: Embed) -> Result<Embeddings> {
        let parts = embed.inputs.into_iter().map(|input| match input {
            EmbedInput::Text(text) => Part::text(text),
            EmbedInput::Part(part) => part,
        });
        let mut request = EmbeddingRequest::new("", parts.collect());
        (request.dimensions, request.extra) = (embed.dimensions, embed.extra);
        self.embed_tagged(&embed.model, request, embed.retry, embed.tags).await
    }
}

/// One attempt of a call: in its turn asked for and reserved in one transaction, then sent and booked.
async fn embed_once(session: Session, model: String, request: EmbeddingRequest, attempt: Attempt) -> Result<Attempted> {
    let (runtime, work) = (Arc::clone(&session.inner.runtime), session.inner.work.clone());
    let (host, name, asked) = (Arc::clone(&runtime), model.clone(), request.clone());
    let place = session
        .read(Permission::ModelsUse, Target::None, move |tx, grant| embed::place(tx, grant, &host, &name, &asked));
    let pass = match attempt.queue(&runtime, place.await?).await? {
        Ok(pass) => pass,
        Err(again) => return Ok(Attempted::Again(again)),
    };
    let host = Arc::clone(&runtime);
    let held = session.write(Permission::ModelsUse, Target::None, "models.embed", move |tx, grant| {
        embed::reserve(tx, grant, &host, &model, &request, &attempt)
    });
    held.await?.perform(runtime, work, pass).await
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
        check_headers(&self)?;
        if let Some(price) = &self.price {
            price.check()?;
        }
        if let Some(ModelLimits { requests_per_minute, tokens_per_minute, max_concurrent, .. }) = self.limits
            && (requests_per_minute == Some(0) || tokens_per_minute == Some(0) || max_concurrent == Some(0))
        {
            return Err(Error::invalid("limits must be at least 1"));
        }
        check_output_cap(self.max_output_tokens)?;
        check_output_cap(self.settings.max_output_tokens)?;
        Ok(self)
    }
}

/// The most output tokens that a cap may say. No model gives as many, and a budget that a call is clamped to would
/// be held whole for it.
const MAX_OUTPUT_CAP: u64 = 10_000_000;

/// Errors: `InvalidInput` for a cap that lets nothing be said, or caps nothing.
pub(super) fn check_output_cap(cap: Option<u64>) -> Result<()> {
    match cap {
        Some(cap) if !(1..=MAX_OUTPUT_CAP).contains(&cap) => {
            Err(Error::invalid(format!("max_output_tokens must be between 1 and {MAX_OUTPUT_CAP}")))
        }
        _ => Ok(()),
    }
}

/// Errors: `InvalidInput` for a header that could not be sent, or that stands twice under names in other cases.
fn check_headers(model: &NewModel) -> Result<()> {
    let mut names: Vec<String> = model.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid("headers: one stands there twice, in upper and lower case"));
    }
    let given: Vec<_> = model.headers.iter().map(|(name, header)| (name.to_owned(), header.shape())).collect();
    RequestHeaders::of(&model.provider, &given).map(drop)
}
