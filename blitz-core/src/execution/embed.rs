//! A call for embeddings: reserved, sent and settled like any call to a model, in no execution.

use std::sync::Arc;
use std::time::Duration;

use super::Runtime;
use super::fresh_seed;
use super::limits::{DeploymentKey, LineKey};
use super::pin::ModelsOf;
use super::setup::lines;
use crate::access::{EngineWork, Grant};
use crate::domain::{ExecutionId, ModelResponse, Money, ReservationId, Usage};
use crate::error::{Charged, Error, ErrorCode, Result};
use crate::ledger::{self, Booked, Ended, ReserveOutcome, ReserveRequest};
use crate::provider::{CallContext, EmbeddingRequest, EmbeddingResponse, Provider};
use crate::store::Connection;

/// How long a call for embeddings may take, its turn included.
const PATIENCE: Duration = Duration::from_secs(120);

/// A call that is paid for and may be sent once its transaction has committed.
#[derive(Clone)]
pub(crate) struct Embedding {
    reservation: ReservationId,
    provider: Arc<dyn Provider>,
    deployment: Arc<DeploymentKey>,
    /// The lines of the limits that hold for it.
    lines: Vec<LineKey>,
    request: EmbeddingRequest,
}

/// What came of it.
pub(crate) struct Embedded {
    pub(crate) response: EmbeddingResponse,
    pub(crate) usage: Usage,
    pub(crate) cost: Option<Money>,
}

/// Finds the model and holds the most that the call can cost. May run again: it changes nothing outside `tx`.
///
/// Errors: `NotFound` and `PermissionDenied` of the model, `BudgetExceeded`.
pub(crate) fn reserve(
    tx: &mut dyn Connection,
    grant: &Grant,
    runtime: &Runtime,
    model: &str,
    request: &EmbeddingRequest,
    id: ExecutionId,
) -> Result<Embedding> {
    let planned = ModelsOf { grant, providers: &runtime.providers }.find(tx, model)?;
    let spec = &planned.model.spec;
    let key = grant.model_key(tx, &planned.model)?;
    let provider = runtime.providers.connect(&spec.provider, spec.base_url.as_deref(), key)?;
    let mut request = EmbeddingRequest { model_name: spec.model_name.clone(), ..request.clone() };
    for (name, value) in &spec.settings.extra {
        request.extra.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let key_id = grant.principal().key_id().map(|id| id.0);
    let free = provider.profile(&spec.model_name).free;
    let held = ReserveRequest {
        execution_id: id,
        root_id: id,
        path: "embed".to_owned(),
        attempt: 1,
        user_id: grant.user_id(),
        role: grant.user_id().map(|_| grant.role().name().to_owned()),
        key_id,
        agents: Vec::new(),
        workflow_id: None,
        prompt: None,
        model: spec.name.clone(),
        provider: spec.provider.clone(),
        price: ledger::price_of(spec, free, planned.listed_price.as_ref()),
        listing: planned.listing.clone().filter(|_| spec.price.is_none() && !free),
        input_bound: request.token_bound(),
        output_cap: 0,
        clamp: false,
    };
    match ledger::reserve(tx, grant.now(), &runtime.boot_id, &held)? {
        ReserveOutcome::Refused(refusal) => Err(*refusal.error),
        ReserveOutcome::Reserved(reserved) => {
            let deployment = Arc::new(DeploymentKey::new(spec));
            let limits = ledger::limits::of(tx, grant.user_id(), key_id)?;
            let lines = lines(&limits, spec, &deployment);
            Ok(Embedding { reservation: reserved.id, provider, deployment, lines, request })
        }
    }
}

/// The id under which the books keep a call of no execution: higher than executions ever count, and
/// small enough for every JSON reader.
///
/// Errors: `Internal` where the system gives no randomness.
pub(crate) fn fresh_id() -> Result<ExecutionId> {
    const FIRST: i64 = 1 << 52;
    let random = i64::from_ne_bytes(fresh_seed()?.to_ne_bytes());
    Ok(ExecutionId(FIRST | (random & (FIRST - 1))))
}

impl Embedding {
    /// Sends the call and books what it used. Run to its end, whoever goes away: money was held for it.
    pub(crate) async fn perform(self, runtime: Arc<Runtime>, work: EngineWork) -> Result<Embedded> {
        let reservation = self.reservation;
        let result = tokio::select! {
            result = self.send(&runtime) => result,
            () = runtime.closing.cancelled() => Err(Error::interrupted("the engine closed during the call")),
        };
        let (usage, raw, unsent) = match &result {
            Ok(response) => (response.usage, response.raw_usage.clone(), false),
            Err(Error::Provider { charged: Charged::Unknown, .. }) => (None, serde_json::Value::Null, false),
            Err(error) => (None, serde_json::Value::Null, error.code() != ErrorCode::Interrupted),
        };
        let booked = work
            .write(move |tx, standing| match &usage {
                _ if unsent => ledger::void(tx, standing.now(), reservation, Ended::Failed).map(|()| Booked::default()),
                Some(usage) => ledger::settle(tx, standing.now(), reservation, usage, &raw, Ended::Well),
                None => ledger::settle_unknown(tx, standing.now(), reservation, 0, Ended::Failed),
            })
            .await?;
        Ok(Embedded { response: result?, usage: booked.usage, cost: booked.cost })
    }

    async fn send(self, runtime: &Runtime) -> Result<EmbeddingResponse> {
        let Self { provider, deployment, lines, request, .. } = self;
        let provider = runtime.providers.answering(provider)?;
        let mut pass = runtime.deployments.queue(&lines, request.token_bound(), PATIENCE).wait().await?;
        let trial = provider.is_remote().then(|| runtime.deployments.of(&deployment).enter()).transpose()?;
        pass.sent();
        let result = provider.embed(request, CallContext::new(PATIENCE)).await;
        let (told, result) = match result {
            Ok(response) => {
                let told = ModelResponse { usage: response.usage, ..ModelResponse::new(Vec::new()) };
                (Ok(told), Ok(response))
            }
            Err(error) => (Err(Error::from(error.to_info())), Err(error)),
        };
        if let Some(trial) = trial {
            trial.ended(&told);
        }
        pass.ended(&told);
        result
    }
}
