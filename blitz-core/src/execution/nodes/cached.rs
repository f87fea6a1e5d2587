//! Outputs that are used again: looked for before a node's work begins, kept with its end.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::driver::{Driver, Running, RunningWhat};
use super::super::effects::Happening;
use super::super::runnable::FlowSetup;
use super::super::turn::{Cached, Turn};
use crate::domain::{Action, NodeFinished, NodeStatus, OutputRef, Place, Timestamp};
use crate::error::{Error, Result};
use crate::store::{content_hash, executions};
use crate::workflow::evaluate::Prepared;

/// The end of a node as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeptEnd {
    port: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    output: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_ref: Option<OutputRef>,
}

impl Driver {
    /// Looks whether an output is kept, where the node's rule says so and nobody has looked yet. Then
    /// nothing begins before the answer is there.
    pub(super) fn looks_up(&mut self, setup: &FlowSetup, place: &Place, prepared: &Prepared) -> Result<bool> {
        if setup.plan.nodes[place.node].spec.cache.is_none() {
            return Ok(false);
        }
        let Some(by) = self.evaluate(setup, |desk| desk.kept_by(place, prepared))? else { return Ok(false) };
        let kept = self.cache_key(setup, place, &by)?;
        if self.work.looked.get(&place.key) == Some(&kept) {
            return Ok(false);
        }
        let (key, store) = (place.key.clone(), self.store.clone());
        let found = kept.clone();
        let look = async move {
            let read = store.read(move |tx, _| executions::cached::<KeptEnd>(tx, Timestamp::now(), &found));
            // What cannot be read is worked out again.
            Happening::Looked { key, found: read.await.unwrap_or_default().map(Box::new) }
        };
        let handle = self.work.effects.spawn(look);
        self.work.looked.insert(place.key.clone(), kept);
        self.work.running.insert(place.key.clone(), Running { handle, what: RunningWhat::Queued });
        Ok(true)
    }

    /// Hash of whose output it is, of all that the node's settings lead to, and of what they are given.
    fn cache_key(&self, setup: &FlowSetup, place: &Place, by: &Value) -> Result<String> {
        let fallback = self.state.place(&place.key);
        let node = &setup.plan.nodes[place.node];
        let changes = fallback.checked_sub(1).and_then(|index| node.spec.fallback.get(index));
        let parts = setup.pinned.parts.get(&node.id);
        let part = parts.and_then(|parts| parts.get(fallback).or_else(|| parts.first()));
        let settings = json!([node.kind, node.spec.config, changes, node.spec.output_schema, part]);
        let whole = serde_json::to_vec(&json!([self.store.principal().user_id(), settings, by]))
            .map_err(|error| Error::internal("a value is no JSON").with_source(error))?;
        Ok(content_hash(&whole))
    }

    /// What a look found: the node ends with it, or its work begins.
    pub(in crate::execution) fn looked(&mut self, key: &str, found: Option<KeptEnd>, turn: &mut Turn) -> Vec<Action> {
        let place = match self.state.open_action(key) {
            Some(Action::RunNode(place)) => place,
            other => return other.into_iter().collect(),
        };
        let (Some(setup), Some(found)) = (self.flow(), found) else { return vec![Action::RunNode(place)] };
        self.work.looked.remove(key);
        let id = setup.plan.nodes[place.node].id.clone();
        let mut finished = NodeFinished::new(id, NodeStatus::Cached, 0);
        finished.port = Some(found.port);
        (finished.output, finished.output_ref) = (found.output, found.output_ref);
        self.record_node(turn, &place, finished, None)
    }

    /// Keeps the output of a node that has ended well, where it was looked for in vain.
    pub(super) fn keep_output(&mut self, place: &Place, finished: &NodeFinished, turn: &mut Turn) {
        let Some(key) = self.work.looked.remove(&place.key) else { return };
        let (Some(setup), Some(port)) = (self.flow(), &finished.port) else { return };
        let Some(rule) = setup.plan.nodes[place.node].spec.cache.as_ref() else { return };
        if finished.status != NodeStatus::Completed {
            return;
        }
        let (output, output_ref) = (finished.output.clone(), finished.output_ref.clone());
        if let Ok(body) = serde_json::to_string(&KeptEnd { port: port.clone(), output, output_ref }) {
            let expires_at = Timestamp::now().plus(std::time::Duration::from_secs(rule.ttl_s));
            turn.cached.push(Cached { key, body, expires_at });
        }
    }
}
