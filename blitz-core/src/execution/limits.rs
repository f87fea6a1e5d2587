//! What one deployment of a provider is asked at most, shared by all executions of the process:
//! requests and tokens a minute, calls at once, and a pause where it keeps failing.
//!
//! A call queues here behind its reservation and before it is sent, so what gives up waiting was
//! never sent and costs nothing. None of this stands in for a budget.

mod breaker;
mod rate;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::domain::{ModelLimits, ModelResponse, NewModel};
use crate::error::{Charged, Error, ErrorCode, Result};
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

    pub(crate) fn provider(&self) -> &str {
        &self.provider
    }

    /// Whether there is anything to limit.
    pub(crate) fn has_limits(&self) -> bool {
        self.limits.is_some()
    }
}

/// The most deployments that are remembered.
const MAX_KEPT: usize = 4_096;

/// Every deployment that this process has asked.
#[derive(Default)]
pub(crate) struct Deployments {
    known: Mutex<HashMap<Arc<DeploymentKey>, Arc<Deployment>>>,
}

impl Deployments {
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
}

/// One deployment: how much of its minute is used up, who is on it, how it has fared.
pub(crate) struct Deployment {
    provider: String,
    began: Instant,
    permits: Option<Arc<Semaphore>>,
    state: Mutex<Gauges>,
}

struct Gauges {
    requests: Option<Rate>,
    tokens: Option<Rate>,
    breaker: Breaker,
}

impl Deployment {
    fn new(key: &DeploymentKey) -> Self {
        let limits = key.limits.unwrap_or_default();
        let requests = limits.requests_per_minute.map(|limit| Rate::per_minute(u64::from(limit)));
        let tokens = limits.tokens_per_minute.map(Rate::per_minute);
        Self {
            provider: key.provider.clone(),
            began: Instant::now(),
            permits: limits.max_concurrent.map(|most| Arc::new(Semaphore::new(most as usize))),
            state: Mutex::new(Gauges { requests, tokens, breaker: Breaker::default() }),
        }
    }

    /// Waits until a call of at most so many tokens may be sent.
    ///
    /// Errors: `Unavailable` while it pauses because it keeps failing, `RateLimited` where its turn
    /// would come later than `within`; neither was sent.
    pub(crate) async fn admit(self: &Arc<Self>, tokens: u64, within: Duration) -> Result<Pass> {
        let until = Instant::now() + within;
        self.check()?;
        let permit = match &self.permits {
            // The semaphore is never closed; the caller's own time limit ends the wait.
            Some(permits) => Arc::clone(permits).acquire_owned().await.ok(),
            None => None,
        };
        let (turn, mut pass) = self.book(tokens, permit);
        if turn > until {
            let wait = turn.saturating_duration_since(Instant::now());
            return Err(self.refusal(ErrorCode::RateLimited, wait, "the model's own limits are used up"));
        }
        // Even a wait for nothing lasts until the timer's next tick.
        if turn > Instant::now() {
            // Dropped in here, the pass gives back what it booked.
            tokio::time::sleep_until(turn).await;
        }
        pass.tries = self.enter()?;
        (pass.sent, pass.entered) = (true, true);
        Ok(pass)
    }

    /// Books a place in the minute; gives when its turn comes.
    fn book(self: &Arc<Self>, tokens: u64, permit: Option<OwnedSemaphorePermit>) -> (Instant, Pass) {
        let now = self.now();
        let mut state = self.lock();
        let request = state.requests.as_mut().map(|rate| rate.book(now, 1));
        let booked = state.tokens.as_mut().map(|rate| rate.book(now, tokens));
        drop(state);
        let turn = [request, booked].into_iter().flatten().map(|booking| booking.at).max().unwrap_or(now);
        let turn = self.began + Duration::from_nanos(turn);
        (
            turn,
            Pass {
                deployment: Arc::clone(self),
                request,
                booked,
                held: tokens,
                used: 0,
                sent: false,
                entered: false,
                tries: false,
                _permit: permit,
            },
        )
    }

    /// Whether it pauses; changes nothing.
    fn check(&self) -> Result<()> {
        let pause = self.lock().breaker.pause(self.now());
        pause.map_or(Ok(()), |pause| Err(self.paused(pause)))
    }

    /// Whether this call is the one that tries behind a pause. Errors: it pauses.
    fn enter(&self) -> Result<bool> {
        let entered = self.lock().breaker.enter(self.now());
        entered.map_err(|pause| self.paused(pause))
    }

    fn paused(&self, pause: u64) -> Error {
        let message = "it failed again and again and is left alone for a while";
        self.refusal(ErrorCode::Unavailable, Duration::from_nanos(pause), message)
    }

    fn refusal(&self, code: ErrorCode, wait: Duration, message: &str) -> Error {
        Error::Provider {
            code,
            provider: self.provider.clone(),
            status: None,
            retry_after: Some(wait),
            retryable: true,
            charged: Charged::No,
            message: format!("{message}: the call was not sent"),
            source: None,
        }
    }

    /// Nanoseconds of the monotonic clock.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Gauges> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call's place on a deployment. Dropping it gives back what it did not use.
pub(crate) struct Pass {
    deployment: Arc<Deployment>,
    /// Its place among the requests of the minute, and that of its tokens.
    request: Option<Booking>,
    booked: Option<Booking>,
    held: u64,
    used: u64,
    sent: bool,
    /// Whether the breaker waits to hear how it ends.
    entered: bool,
    /// Whether it is the call that tries behind a pause.
    tries: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Pass {
    /// Corrects what was booked by how the call ended.
    pub(crate) fn ended(mut self, result: &Result<ModelResponse>) {
        let fails = match result {
            Ok(response) => {
                self.used = response.usage.map_or(self.held, |usage| usage.total_tokens());
                false
            }
            Err(error) => {
                let unsent = matches!(error, Error::Provider { charged: Charged::No, .. });
                self.used = if unsent { 0 } else { self.held };
                match (error, error.code()) {
                    (_, ErrorCode::Unavailable) | (Error::Provider { .. }, ErrorCode::Timeout) => true,
                    (Error::Provider { .. }, _) => false,
                    // Whatever else went wrong, the execution's own deadline too, says nothing of the deployment.
                    _ => return,
                }
            }
        };
        self.entered = false;
        let now = self.deployment.now();
        self.deployment.lock().breaker.ended(now, fails);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let now = self.deployment.now();
        let mut state = self.deployment.lock();
        if self.entered {
            if self.tries {
                // Nobody knows how it would have ended: the next call tries in its place.
                state.breaker.gave_up();
            }
            self.used = self.held.max(self.used);
        }
        if let (false, Some(requests), Some(request)) = (self.sent, &mut state.requests, self.request) {
            requests.correct(now, request, 0);
        }
        if let (Some(tokens), Some(booked)) = (&mut state.tokens, self.booked) {
            tokens.correct(now, booked, self.used);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::Usage;

    fn deployment(limits: ModelLimits) -> Arc<Deployment> {
        let model = NewModel::new("m", "p", "x").with_limits(limits);
        Deployments::default().of(&Arc::new(DeploymentKey::new(&model)))
    }

    fn answer(tokens: u64) -> Result<ModelResponse> {
        Ok(ModelResponse::new(Vec::new()).with_usage(Usage::new(tokens, 0)))
    }

    fn failure() -> Result<ModelResponse> {
        Err(Error::Provider {
            code: ErrorCode::Unavailable,
            provider: "p".into(),
            status: Some(503),
            retry_after: None,
            retryable: true,
            charged: Charged::No,
            message: String::new(),
            source: None,
        })
    }

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn b42_requests_come_no_faster_than_their_limit() {
        let deployment = deployment(ModelLimits::default().requests(60));
        let began = Instant::now();
        for _ in 0..61 {
            deployment.admit(1, LONG).await.unwrap().ended(&answer(1));
        }
        assert!(began.elapsed() >= Duration::from_secs(59), "{:?}", began.elapsed());
        assert!(began.elapsed() <= Duration::from_secs(61), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn b42_tokens_are_held_then_corrected_by_what_was_used() {
        let deployment = deployment(ModelLimits::default().tokens(6_000));
        let began = Instant::now();
        // Ten seconds' worth is held for each, a hundredth of it used.
        for _ in 0..10 {
            deployment.admit(1_000, LONG).await.unwrap().ended(&answer(10));
        }
        assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
        deployment.admit(6_000, LONG).await.unwrap().ended(&answer(6_000));
        let began = Instant::now();
        deployment.admit(1, LONG).await.unwrap().ended(&answer(1));
        assert!(began.elapsed() >= Duration::from_secs(58), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_too_late_is_refused_unsent_and_given_back() {
        let deployment = deployment(ModelLimits::default().tokens(60));
        deployment.admit(600, LONG).await.unwrap().ended(&answer(600));
        for _ in 0..3 {
            let error = deployment.admit(600, Duration::from_secs(1)).await.err().unwrap();
            assert_eq!((error.code(), error.is_retryable()), (ErrorCode::RateLimited, true));
            let wait = error.retry_after().unwrap();
            assert!(wait > Duration::from_secs(500) && wait <= Duration::from_secs(600), "{wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_calls_at_once_and_the_next_when_one_ends() {
        let deployment = deployment(ModelLimits::default().concurrent(2));
        let (one, _two) = (deployment.admit(1, LONG).await.unwrap(), deployment.admit(1, LONG).await.unwrap());
        let third = tokio::time::timeout(Duration::from_secs(60), deployment.admit(1, LONG)).await;
        assert!(third.is_err(), "it waits");
        drop(one);
        assert!(deployment.admit(1, LONG).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn b42_what_keeps_failing_is_left_alone_then_tried_by_one() {
        let deployment = deployment(ModelLimits::default());
        let before = deployment.admit(1, LONG).await.unwrap();
        for _ in 0..breaker::THRESHOLD {
            deployment.admit(1, LONG).await.unwrap().ended(&failure());
        }
        let error = deployment.admit(1, LONG).await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        tokio::time::sleep(error.retry_after().unwrap()).await;
        let probe = deployment.admit(1, LONG).await.unwrap();
        assert!(deployment.admit(1, LONG).await.is_err(), "one tries");
        drop(probe);
        let probe = deployment.admit(1, LONG).await.unwrap();
        drop(before);
        assert!(deployment.admit(1, LONG).await.is_err(), "who was sent before the pause does not try");
        probe.ended(&failure());
        let longer = deployment.admit(1, LONG).await.err().unwrap().retry_after().unwrap();
        assert!(longer > error.retry_after().unwrap(), "each pause is longer");
        tokio::time::sleep(longer).await;
        deployment.admit(1, LONG).await.unwrap().ended(&answer(1));
        for _ in 0..3 {
            deployment.admit(1, LONG).await.unwrap().ended(&answer(1));
        }
    }
}
