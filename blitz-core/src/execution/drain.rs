//! Reads on what nobody waits for any more: the end of an answer says what it used.
//!
//! A call that is cancelled is booked at once, by an estimate. Where the host's settings say so its answer is read
//! on, within bounds, in a task of its own that tells nobody of what comes; the provider's own count then takes the
//! estimate's place in the ledger. The task ends with the engine.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;

use super::Runtime;
use super::effects::{Delivered, ModelCall};
use crate::access::ExecutionStore;
use crate::audit::AuditLine;
use crate::domain::{Drain, ExecutionId, ModelResponse, ReservationId, Usage};
use crate::error::Result;
use crate::ledger;

/// So many answers are read on at once; who comes then is not read on.
const AT_ONCE: usize = 64;

/// How an engine reads on.
pub(crate) struct Draining {
    bounds: Drain,
    places: Arc<Semaphore>,
}

impl Draining {
    pub(crate) fn new(bounds: Drain) -> Self {
        Self { bounds, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// How long an answer is read on.
    pub(super) fn time(&self) -> Duration {
        Duration::from_secs(self.bounds.seconds.into())
    }

    /// How much of an answer is read on, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bounds.bytes
    }
}

/// What is known of a call whose answer may be read on.
pub(super) struct Abandoned {
    execution_id: ExecutionId,
    key: String,
    attempt: u32,
    reservation: ReservationId,
    delivered: Delivered,
    store: ExecutionStore,
}

impl Abandoned {
    pub(super) fn of(call: &ModelCall) -> Self {
        Self {
            execution_id: call.ids.id,
            key: call.key.clone(),
            attempt: call.attempt,
            reservation: call.reservation,
            delivered: call.delivered.clone(),
            store: call.store.clone(),
        }
    }

    /// Reads an answer to its end, or to the bounds, and books what it says it used. Gives what came of it, where
    /// it came to its end.
    pub(super) async fn read_on(
        self,
        runtime: &Runtime,
        answer: impl Future<Output = Option<Result<ModelResponse>>>,
    ) -> Option<Result<ModelResponse>> {
        let draining = runtime.draining.as_ref()?;
        // Where its execution was cut off it is not booked yet: whoever takes that up does it.
        if !self.delivered.is_abandoned() {
            return None;
        }
        let _place = Arc::clone(&draining.places).try_acquire_owned().ok()?;
        let reading = async {
            let end = answer.await?;
            if let Ok(ModelResponse { usage: Some(_), .. }) = &end {
                self.delivered.booked().await;
            }
            Some(end)
        };
        let end = tokio::select! {
            biased;
            () = runtime.over.cancelled() => None,
            end = tokio::time::timeout(draining.time(), reading) => end.ok().flatten(),
        };
        if let Some(Ok(ModelResponse { usage: Some(usage), .. })) = &end {
            self.book(runtime, *usage).await;
        }
        end
    }

    async fn book(&self, runtime: &Runtime, usage: Usage) {
        let (reservation, object) = (self.reservation, format!("execution:{}", self.execution_id));
        let (key, attempt) = (self.key.clone(), self.attempt);
        let booked = self.store.write(move |tx, standing| {
            let Some((amount, alerts)) = ledger::late(tx, standing.now(), reservation, &usage)? else {
                return Ok(Vec::new());
            };
            let details = json!({"step": key, "attempt": attempt, "amount": amount});
            standing.audit(tx, &AuditLine::ok("ledger.late_usage", &object).with_details(details))?;
            Ok(alerts)
        });
        match booked.await {
            Ok(alerts) => runtime.bell.ring(&alerts),
            Err(error) => {
                let (execution, code) = (self.execution_id.0, error.code().name());
                tracing::warn!(execution, code, "the provider's late count was not booked: the estimate stays");
            }
        }
    }
}
