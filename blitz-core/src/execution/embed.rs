//! A call for embeddings: reserved, sent and settled like any call to a model, in no execution.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Runtime;
use super::fresh_seed;
use super::limits::{DeploymentKey, LineKey, Pass};
use super::pin::ModelsOf;
use super::retry::RetryDecision;
use super::setup::lines;
use crate::access::{EngineWork, Grant};
use crate::domain::{ExecutionId, Metered, Money, NewModel, OnBehalf, ReservationId, RetryPolicy, Timestamp, Usage};
use crate::error::{Charged, Error, Result};
use crate::ledger::{self, Booked, Ended, ReserveOutcome, ReserveRequest};
use crate::provider::{CallContext, EmbeddingRequest, EmbeddingResponse, Provider, RequestHeaders};
use crate::store::Connection;

/// How long a call for embeddings may take, its turns, attempts and waits included.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much longer a provider may take to say itself that the time is over, and what of it is paid.
const GRACE: Duration = Duration::from_secs(1);

/// One call for embeddings: which attempt of it is made, and when it is too late for another.
#[derive(Clone)]
pub(crate) struct Attempt {
    id: ExecutionId,
    number: u32,
    retry: RetryPolicy,
    deadline: Timestamp,
    /// What it is counted under, where it is made for no execution.
    tags: Arc<BTreeMap<String, String>>,
    /// The execution that it is made for.
    on_behalf: Option<Arc<OnBehalf>>,
}

impl Attempt {
    /// The first attempt of a call.
    ///
    /// Errors: `Internal` where the system gives no randomness.
    pub(crate) fn first(
        retry: RetryPolicy,
        tags: BTreeMap<String, String>,
        on_behalf: Option<Arc<OnBehalf>>,
    ) -> Result<Self> {
        let deadline = Timestamp::now().plus(PATIENCE);
        Ok(Self { id: fresh_id()?, number: 1, retry, deadline, tags: Arc::new(tags), on_behalf })
    }

    /// The attempt behind this one, once its time has come.
    ///
    /// Errors: `Interrupted` where the engine closes before.
    pub(crate) async fn next(self, runtime: &Runtime, at: Timestamp) -> Result<Self> {
        tokio::select! {
            () = tokio::time::sleep(at.since(Timestamp::now())) => Ok(Self { number: self.number + 1, ..self }),
            () = runtime.closing.cancelled() => Err(Error::interrupted("the engine closed before the next attempt")),
        }
    }

    /// Waits for the turn of a call in its lines: what they refuse never holds money.
    ///
    /// Errors: where it may be tried again, when; `RateLimited`, `Interrupted`.
    pub(crate) async fn queue(&self, runtime: &Runtime, place: Place) -> Result<Result<Pass, Timestamp>> {
        let turn = runtime.deployments.queue(&place.lines, place.tokens, self.left()).wait();
        let pass = tokio::select! {
            pass = turn => pass,
            () = runtime.closing.cancelled() => Err(Error::interrupted("the engine closed before the call")),
            () = tokio::time::sleep(self.left()) => Err(Error::timeout("the time was over before the call's turn came")),
        };
        match pass {
            Ok(pass) => Ok(Ok(pass)),
            Err(error) => self.after(error).map(Err),
        }
    }

    fn left(&self) -> Duration {
        self.deadline.since(Timestamp::now())
    }

    /// What follows a failure: another attempt at this time, or the end.
    fn after(&self, error: Error) -> Result<Timestamp> {
        let seed = self.id.0.unsigned_abs();
        match self.retry.decide(self.number, &error, Timestamp::now(), self.deadline, seed, None) {
            RetryDecision::RetryAt(at) => Ok(at),
            _ if self.number > 1 => Err(Error::RetriesExhausted { attempts: self.number, last: Box::new(error) }),
            _ => Err(error),
        }
    }
}

/// What came of an attempt.
pub(crate) enum Attempted {
    /// Vectors.
    Done(Box<Embedded>),
    /// Nothing yet: another attempt may be made at this time.
    Again(Timestamp),
}

/// Where a call queues: in these lines, for so many tokens.
pub(crate) struct Place {
    lines: Vec<LineKey>,
    tokens: u64,
}

/// A call that is paid for and may be sent once its transaction has committed.
pub(crate) struct Embedding {
    reservation: ReservationId,
    provider: Arc<dyn Provider>,
    headers: RequestHeaders,
    deployment: Arc<DeploymentKey>,
    request: EmbeddingRequest,
    attempt: Attempt,
}

/// What a call gave, and what that cost.
pub(crate) struct Embedded {
    pub(crate) response: EmbeddingResponse,
    pub(crate) usage: Usage,
    pub(crate) cost: Option<Money>,
}

/// Finds where a call queues.
///
/// Errors: `NotFound` and `PermissionDenied` of the model.
pub(crate) fn place(
    tx: &mut dyn Connection,
    grant: &Grant,
    runtime: &Runtime,
    model: &str,
    request: &EmbeddingRequest,
) -> Result<Place> {
    let planned = ModelsOf { grant, providers: &runtime.providers }.find(tx, model)?;
    let spec = &planned.model.spec;
    let limits = ledger::limits::of(tx, grant.user_id(), grant.principal().key_id().map(|id| id.0))?;
    let lines = lines(&limits, spec, &DeploymentKey::new(spec));
    Ok(Place { lines, tokens: with_settings(request, spec).token_bound() })
}

/// Finds the model and holds the most that the call can cost. May run again: it changes nothing outside `tx`.
///
/// Errors: `NotFound` and `PermissionDenied` of the model, `BudgetExceeded`; `InvalidInput` where a tag is missing.
pub(crate) fn reserve(
    tx: &mut dyn Connection,
    grant: &Grant,
    runtime: &Runtime,
    model: &str,
    request: &EmbeddingRequest,
    attempt: &Attempt,
) -> Result<Embedding> {
    let planned = ModelsOf { grant, providers: &runtime.providers }.find(tx, model)?;
    let spec = &planned.model.spec;
    let secrets = grant.model_secrets(tx, &planned.model)?;
    let headers = RequestHeaders::of(&spec.provider, &secrets.headers)?;
    let provider = runtime.providers.connect(&spec.provider, spec.base_url.as_deref(), secrets.key)?;
    let request = with_settings(request, spec);
    let key_id = grant.principal().key_id().map(|id| id.0);
    let role = grant.user_id().map(|_| grant.role().name().to_owned());
    let on_behalf = match &attempt.on_behalf {
        Some(execution) => OnBehalf::clone(execution),
        None => {
            let bearer = ledger::tags::Bearer { user_id: grant.user_id(), role: role.as_deref(), key_id };
            let tags = ledger::tags::effective(tx, bearer, &attempt.tags)?;
            ledger::tags::keep(tx, attempt.id, &tags)?;
            OnBehalf { execution_id: attempt.id, root_id: attempt.id, agents: Vec::new(), workflow_id: None }
        }
    };
    let free = provider.profile(&spec.model_name).free;
    let held = ReserveRequest {
        execution_id: on_behalf.execution_id,
        root_id: on_behalf.root_id,
        // An execution may embed as often as it likes.
        path: attempt.on_behalf.as_ref().map_or_else(|| "embed".to_owned(), |_| format!("embed/{}", attempt.id)),
        attempt: attempt.number,
        user_id: grant.user_id(),
        role,
        key_id,
        agents: on_behalf.agents,
        workflow_id: on_behalf.workflow_id,
        prompt: None,
        model: spec.name.clone(),
        provider: spec.provider.clone(),
        service: ledger::service_of(spec),
        price: ledger::price_of(spec, free, planned.listed_price.as_ref()),
        listing: planned.listing.clone().filter(|_| spec.price.is_none() && !free),
        input_bound: request.token_bound(),
        output_cap: 0,
        metered: Metered::default(),
        clamp: false,
    };
    match ledger::reserve(tx, grant.now(), &runtime.boot_id, &held)? {
        ReserveOutcome::Refused(refusal) => Err(*refusal.error),
        ReserveOutcome::Reserved(reserved) => {
            let deployment = Arc::new(DeploymentKey::new(spec));
            Ok(Embedding { reservation: reserved.id, provider, headers, deployment, request, attempt: attempt.clone() })
        }
    }
}

/// A request in its model's own name, with the fields that its record adds.
fn with_settings(request: &EmbeddingRequest, spec: &NewModel) -> EmbeddingRequest {
    let mut request = EmbeddingRequest { model_name: spec.model_name.clone(), ..request.clone() };
    for (name, value) in &spec.settings.extra {
        request.extra.entry(name.clone()).or_insert_with(|| value.clone());
    }
    request
}

/// The id under which the books keep a call of no execution: higher than executions ever count, and
/// small enough for every JSON reader.
///
/// Errors: `Internal` where the system gives no randomness.
fn fresh_id() -> Result<ExecutionId> {
    const FIRST: i64 = 1 << 52;
    let random = i64::from_ne_bytes(fresh_seed()?.to_ne_bytes());
    Ok(ExecutionId(FIRST | (random & (FIRST - 1))))
}

impl Embedding {
    /// Sends the call and books what it used. Run to its end, whoever goes away: money was held for it.
    pub(crate) async fn perform(self, runtime: Arc<Runtime>, work: EngineWork, pass: Pass) -> Result<Attempted> {
        let (reservation, attempt) = (self.reservation, self.attempt.clone());
        let mut is_sent = false;
        let result = tokio::select! {
            result = self.send(&runtime, pass, &mut is_sent) => result,
            () = runtime.closing.cancelled() => Err(Error::interrupted("the engine closed during the call")),
        };
        let (usage, raw, is_free) = match &result {
            Ok(response) => (response.usage, response.raw_usage.clone(), false),
            Err(Error::Provider { usage: Some(reported), .. }) => (Some(reported.usage), reported.raw.clone(), false),
            // What was sent is never free unless its provider says so, or refuses what was asked.
            Err(error) => (None, serde_json::Value::Null, !is_sent || error.charged() == Charged::No),
        };
        let result = result.map_err(|error| attempt.after(error));
        let ended = match &result {
            Ok(_) => Ended::Well,
            Err(Ok(_)) => Ended::Retried,
            Err(Err(_)) => Ended::Failed,
        };
        let booked = work
            .write(move |tx, standing| match &usage {
                _ if is_free => ledger::void(tx, standing.now(), reservation, ended).map(|()| Booked::default()),
                Some(usage) => ledger::settle(tx, standing.now(), reservation, usage, &raw, ended),
                None => ledger::settle_unknown(tx, standing.now(), reservation, 0, ended),
            })
            .await?;
        runtime.bell.ring(&booked.alerts);
        match result {
            Ok(response) => {
                Ok(Attempted::Done(Box::new(Embedded { response, usage: booked.usage, cost: booked.cost })))
            }
            Err(follows) => follows.map(Attempted::Again),
        }
    }

    async fn send(self, runtime: &Runtime, mut pass: Pass, is_sent: &mut bool) -> Result<EmbeddingResponse> {
        let Self { provider, headers, deployment, request, attempt, .. } = self;
        let provider = runtime.providers.answering(provider)?;
        let trial = provider.is_remote().then(|| runtime.deployments.of(&deployment).enter()).transpose()?;
        pass.sent();
        *is_sent = true;
        let left = attempt.left();
        let context = CallContext::new(left).with_headers(headers);
        let call = pass.scope().run(provider.embed(request, context));
        let result = tokio::time::timeout(left + GRACE, call).await;
        let result = result.unwrap_or_else(|_| Err(Error::timeout("the time was over before the vectors were made")));
        if let Some(trial) = trial {
            trial.ended(result.as_ref().err());
        }
        pass.ended(result.as_ref().map(|response| response.usage));
        result
    }
}
