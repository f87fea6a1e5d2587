//! What a start is: the record of a tool, the bounds of a model call, the key of an effect.

use super::super::Runtime;
use super::super::setup::Setup;
use super::{Desk, ModelStart, ToolStart};
use crate::access::Standing;
use crate::domain::{EventData, ExecutionId, ModelRequest, NodeStarted, Principal, ToolStarted};
use crate::provider::{choice_bound, metered};

impl ToolStart {
    /// The record of the start, with its path.
    pub(crate) fn record(&self, store_id: &str, id: ExecutionId) -> (String, EventData) {
        let key = idempotency_key(store_id, id, &self.key);
        match &self.node {
            None => {
                let started = ToolStarted::new(self.attempt, self.call.clone(), self.effect, key);
                (self.key.clone(), EventData::ToolStarted(started))
            }
            Some((path, node, input)) => {
                let mut started = NodeStarted::new(node.clone(), self.attempt);
                (started.effect, started.idempotency_key) = (Some(self.effect), Some(key));
                started.input = input.clone();
                (path.clone(), EventData::NodeStarted(started))
            }
        }
    }
}

impl<'a> Desk<'a> {
    pub(crate) fn of(runtime: &'a Runtime, standing: &'a Standing, principal: &'a Principal) -> Self {
        let Runtime { boot_id, store_id, deployments, .. } = runtime;
        Self { standing, principal, boot_id, store_id, bounded: deployments.effects.is_some() }
    }
}

impl ModelStart {
    /// The bounds of a request, for its reservation.
    pub(crate) fn new(key: String, attempt: u32, place: usize, setup: &Setup, request: &ModelRequest) -> Self {
        Self {
            key,
            attempt,
            place,
            input_bound: setup.model_at(place).provider.input_token_bound(request),
            output_cap: request.settings.max_output_tokens.unwrap_or(0).saturating_mul(choice_bound(request)),
            metered: metered(request),
        }
    }
}

/// The key that an effect carries to the world: the same for each attempt of one call, and for no other.
pub(crate) fn idempotency_key(store_id: &str, id: ExecutionId, key: &str) -> String {
    crate::store::content_hash(format!("{store_id}\0{id}\0{key}").as_bytes())
}
