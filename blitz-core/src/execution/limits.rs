//! What may be asked at most, shared by all executions of an engine: requests and tokens a minute
//! and calls at once, of a model's record, a user, a key, a model, a provider and everything; effects at
//! once; and a pause where a deployment keeps failing.
//!
//! A call queues here **before** its money is reserved: what is refused or gives up waiting never
//! held anything. Places are taken in one order, so nobody waits in a circle. None of this stands in
//! for a budget.

mod breaker;
mod rate;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::domain::{LimitScope, ModelLimits, NewModel, Usage};
use crate::error::{Charged, Error, ErrorCode, Result};
use crate::tool::permit::{Bound, EffectScope, Permit};
use breaker::Breaker;
use rate::{Booking, Rate};

/// Who is asked: a provider at an address for one of its models.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DeploymentKey {
    provider: String,
    base_url: Option<String>,
    model_name: String,
    limits: Option<ModelLimits>,
}

impl DeploymentKey {
    pub(crate) fn new(model: &NewModel) -> Self {
        Self {
            provider: model.provider.clone(),
            base_url: model.base_url.clone(),
            model_name: model.model_name.clone(),
            limits: model.limits,
        }
    }
}

/// The most gauges and deployments that are remembered, each.
const MAX_KEPT: usize = 4_096;

/// One line that calls queue in: of whom, and how much.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LineKey {
    scope: LimitScope,
    /// Which user, key …; a deployment's provider, address and model name.
    subject: String,
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u64>,
    max_concurrent: Option<u32>,
}

impl LineKey {
    pub(crate) fn new(scope: LimitScope, subject: String, limits: ModelLimits) -> Self {
        let ModelLimits { requests_per_minute, tokens_per_minute, max_concurrent, .. } = limits;
        Self { scope, subject, requests_per_minute, tokens_per_minute, max_concurrent }
    }

    /// The line of a deployment, where its record has limits.
    pub(crate) fn of_deployment(key: &DeploymentKey) -> Option<Self> {
        let DeploymentKey { provider, base_url, model_name, limits } = key;
        let subject = format!("{provider}\0{}\0{model_name}", base_url.as_deref().unwrap_or_default());
        limits.map(|limits| Self::new(LimitScope::Deployment, subject, limits))
    }
}

/// Every line that this engine has queued in, and every deployment that it has asked.
#[derive(Default)]
pub(crate) struct Deployments {
    known: Mutex<HashMap<Arc<DeploymentKey>, Arc<Deployment>>>,
    lines: Mutex<HashMap<LineKey, Arc<Line>>>,
    /// The most effects at once, where that is bounded: a call asks for its permit last, so whoever holds one waits
    /// for nobody.
    pub(crate) effects: Option<Bound>,
}

impl Deployments {
    /// With so many effects at once; with as many as there are where it is `None`.
    pub(crate) fn new(max_parallel: Option<u32>) -> Self {
        Self { effects: max_parallel.map(Bound::new), ..Self::default() }
    }

    pub(crate) fn of(&self, key: &Arc<DeploymentKey>) -> Arc<Deployment> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deployment) = known.get(key) {
            return Arc::clone(deployment);
        }
        if known.len() >= MAX_KEPT {
            // What is in use stays: somebody holds it.
            known.retain(|_, deployment| Arc::strong_count(deployment) > 1);
        }
        let deployment = Arc::new(Deployment::new(key));
        known.insert(Arc::clone(key), Arc::clone(&deployment));
        deployment
    }

    /// A place for a call of at most so many tokens in every line, in their order.
    ///
    /// Gives it at once where nothing has to be waited for, else what waits for it.
    pub(crate) fn queue(&self, keys: &[LineKey], tokens: u64, within: Duration) -> Admission {
        let effects = self.effects.clone();
        let lines: Vec<Arc<Line>> = {
            let mut known = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MAX_KEPT {
                known.retain(|_, line| Arc::strong_count(line) > 1);
            }
            let line = |key: &LineKey| match known.get(key) {
                Some(line) => Arc::clone(line),
                None => {
                    let line = Arc::new(Line::new(key));
                    known.insert(key.clone(), Arc::clone(&line));
                    line
                }
            };
            keys.iter().map(line).collect()
        };
        let until = Instant::now() + within;
        let mut pass = Pass::default();
        for line in &lines {
            match line.permits.as_ref().map(|permits| Arc::clone(permits).try_acquire_owned()) {
                Some(Ok(permit)) => pass.permits.push(permit),
                Some(Err(_)) => return Admission::Later(Queue { lines, tokens, until, effects }),
                None => {}
            }
        }
        match book(&lines, tokens, pass, until) {
            Ok((turn, mut pass)) if turn <= Instant::now() => match &self.effects {
                None => Admission::Now(pass),
                Some(bound) => {
                    pass.permit = bound.permit_now();
                    if pass.permit.is_some() { Admission::Now(pass) } else { Admission::Turn(turn, pass, effects) }
                }
            },
            Ok((turn, pass)) => Admission::Turn(turn, pass, effects),
            Err(error) => Admission::Refused(error),
        }
    }
}

/// How a call stands in its lines.
pub(crate) enum Admission {
    /// It may be reserved and sent.
    Now(Pass),
    /// It may at this moment, as soon as few enough effects run.
    Turn(Instant, Pass, Option<Bound>),
    /// Others are on it: it waits until they are done.
    Later(Queue),
    /// Its turn would come too late.
    Refused(Error),
}

/// A call that waits behind others.
pub(crate) struct Queue {
    lines: Vec<Arc<Line>>,
    tokens: u64,
    until: Instant,
    effects: Option<Bound>,
}

impl Admission {
    /// Waits for the call's turn. Dropped meanwhile, it gives back what it took.
    ///
    /// Errors: `RateLimited` where its turn would come too late.
    pub(crate) async fn wait(self) -> Result<Pass> {
        let (turn, mut pass, effects) = match self {
            Self::Now(pass) => return Ok(pass),
            Self::Refused(error) => return Err(error),
            Self::Turn(turn, pass, effects) => (turn, pass, effects),
            Self::Later(Queue { lines, tokens, until, effects }) => {
                let mut pass = Pass::default();
                for line in &lines {
                    if let Some(permits) = &line.permits {
                        // The semaphore is never closed; the execution's deadline ends the wait.
                        pass.permits.extend(Arc::clone(permits).acquire_owned().await.ok());
                    }
                }
                let (turn, pass) = book(&lines, tokens, pass, until)?;
                (turn, pass, effects)
            }
        };
        // Even a wait for nothing lasts until the timer's next tick.
        if turn > Instant::now() {
            tokio::time::sleep_until(turn).await;
        }
        if let Some(bound) = effects {
            pass.permit = Some(bound.permit().await);
        }
        Ok(pass)
    }
}

/// Books a place in the minute of every line; gives when the last of them lets it through.
fn book(lines: &[Arc<Line>], tokens: u64, mut pass: Pass, until: Instant) -> Result<(Instant, Pass)> {
    let mut turn = Instant::now();
    for line in lines {
        let (of_line, request, booked) = line.book(tokens);
        pass.places.push(Place { line: Arc::clone(line), request, booked, held: tokens });
        if of_line > until {
            // What was booked so far goes back with the pass.
            return Err(line.refusal(of_line.saturating_duration_since(Instant::now())));
        }
        turn = turn.max(of_line);
    }
    Ok((turn, pass))
}

/// One line: how much of its minute is used up, and who is on it.
pub(crate) struct Line {
    key: LineKey,
    began: Instant,
    permits: Option<Arc<Semaphore>>,
    rates: Mutex<Rates>,
}

struct Rates {
    requests: Option<Rate>,
    tokens: Option<Rate>,
}

impl Line {
    fn new(key: &LineKey) -> Self {
        let requests = key.requests_per_minute.map(|limit| Rate::per_minute(u64::from(limit)));
        let tokens = key.tokens_per_minute.map(Rate::per_minute);
        Self {
            began: Instant::now(),
            permits: key.max_concurrent.map(|most| Arc::new(Semaphore::new(most as usize))),
            rates: Mutex::new(Rates { requests, tokens }),
            key: key.clone(),
        }
    }

    /// Books a place in the minute: when it lets a call of so many tokens through, and what was booked for it.
    fn book(&self, tokens: u64) -> (Instant, Option<Booking>, Option<Booking>) {
        let now = nanos_since(self.began);
        let mut rates = self.lock();
        let request = rates.requests.as_mut().map(|rate| rate.book(now, 1));
        let booked = rates.tokens.as_mut().map(|rate| rate.book(now, tokens));
        drop(rates);
        let turn = [request, booked].into_iter().flatten().map(|booking| booking.at).max().unwrap_or(now);
        (self.began + Duration::from_nanos(turn), request, booked)
    }

    fn refusal(&self, wait: Duration) -> Error {
        let limit = match (self.key.requests_per_minute, self.key.tokens_per_minute) {
            (Some(requests), Some(tokens)) => format!("{requests} requests or {tokens} tokens a minute"),
            (Some(requests), None) => format!("{requests} requests a minute"),
            (None, tokens) => format!("{} tokens a minute", tokens.unwrap_or_default()),
        };
        Error::RateLimited { scope: self.key.scope.name(), limit, retry_after: wait }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nanoseconds of the monotonic clock.
fn nanos_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A call's place in every line. Dropping it gives back what it did not use.
#[derive(Default)]
pub(crate) struct Pass {
    places: Vec<Place>,
    permits: Vec<OwnedSemaphorePermit>,
    /// That it may run among all effects of the engine, where these are bounded.
    permit: Option<Permit>,
    sent: bool,
    used: Option<u64>,
}

struct Place {
    line: Arc<Line>,
    /// Its place among the requests of the minute, and that of its tokens.
    request: Option<Booking>,
    booked: Option<Booking>,
    held: u64,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl Pass {
    /// The call is on its way: from here on it counts.
    pub(crate) fn sent(&mut self) {
        self.sent = true;
    }

    /// The call as the provider's code knows it.
    pub(crate) fn scope(&self) -> EffectScope {
        Permit::scope(self.permit.as_ref())
    }

    /// Corrects what was booked by how the call ended: with this usage, where it was told, or this error.
    pub(crate) fn ended(mut self, result: Result<Option<Usage>, &Error>) {
        self.used = match result {
            Ok(usage) => usage.map(|usage| usage.total_tokens()),
            Err(Error::Provider { usage: Some(reported), .. }) => Some(reported.usage.total_tokens()),
            Err(error) if error.charged() == Charged::No => Some(0),
            Err(_) => None,
        };
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        for Place { line, request, booked, held } in &self.places {
            // What was sent and nobody knows of counts as all that it may be.
            let used = if self.sent { self.used.unwrap_or(*held) } else { 0 };
            let now = nanos_since(line.began);
            let mut rates = line.lock();
            if let (false, Some(requests), Some(request)) = (self.sent, &mut rates.requests, *request) {
                requests.correct(now, request, 0);
            }
            if let (Some(tokens), Some(booked)) = (&mut rates.tokens, *booked) {
                tokens.correct(now, booked, used);
            }
        }
    }
}

/// One deployment: how it has fared.
pub(crate) struct Deployment {
    provider: String,
    began: Instant,
    breaker: Mutex<Breaker>,
}

impl Deployment {
    fn new(key: &DeploymentKey) -> Self {
        Self { provider: key.provider.clone(), began: Instant::now(), breaker: Mutex::default() }
    }

    /// Whether it pauses; where a pause is over, this call is the one that tries.
    ///
    /// Errors: `Unavailable` while it is left alone because it keeps failing; nothing was sent.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Trial> {
        let entered = self.lock().enter(nanos_since(self.began));
        match entered {
            Ok(tries) => Ok(Trial { deployment: Arc::clone(self), tries, open: true }),
            Err(pause) => Err(Error::Provider {
                code: ErrorCode::Unavailable,
                provider: self.provider.clone(),
                status: None,
                retry_after: Some(Duration::from_nanos(pause)),
                retryable: true,
                charged: Charged::No,
                usage: None,
                message: "it failed again and again and is left alone for a while: the call was not sent".to_owned(),
                source: None,
            }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call of a deployment, whose end the breaker waits to hear of.
pub(crate) struct Trial {
    deployment: Arc<Deployment>,
    /// Whether it is the call that tries behind a pause.
    tries: bool,
    open: bool,
}

impl Trial {
    /// Tells how the call ended: well, or with this error.
    pub(crate) fn ended(mut self, error: Option<&Error>) {
        let fails = match error {
            None => false,
            Some(error) => match (error, error.code()) {
                (_, ErrorCode::Unavailable) | (Error::Provider { .. }, ErrorCode::Timeout) => true,
                (Error::Provider { .. }, _) => false,
                // Whatever else went wrong, the execution's own deadline too, says nothing of the deployment.
                _ => return,
            },
        };
        self.open = false;
        self.deployment.lock().ended(nanos_since(self.deployment.began), fails);
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if self.open && self.tries {
            // Nobody knows how it would have ended: the next call tries in its place.
            self.deployment.lock().gave_up();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
