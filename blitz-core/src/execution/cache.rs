//! Setups of agents that run often: found, allowed and prepared once for each caller.
//!
//! An entry holds while nothing that a run may use has changed: neither the catalogue, its shares
//! and secrets (counted in the database, whichever process changes them) nor the host's functions
//! and providers. Whether the caller may run the agent is asked anew each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::setup::Setup;
use crate::domain::{KeyId, Powers, ResourceId, Role, UserId};

/// The most setups that are kept.
const MAX_KEPT: usize = 1024;

/// For whom which agent was set up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SetupKey {
    pub(crate) agent: ResourceId,
    pub(crate) user: Option<UserId>,
    pub(crate) role: Role,
    /// What it allowed, within the caller's API key.
    pub(crate) powers: Powers,
    /// The API key that it came in by: its tags and limits may be its own.
    pub(crate) key: Option<KeyId>,
    /// The hash of the run's options, where it has any.
    pub(crate) options: Option<String>,
}

/// When it was set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) catalog: i64,
    pub(crate) functions: u64,
    pub(crate) providers: u64,
}

/// The setups that are kept.
#[derive(Default)]
pub(crate) struct Setups {
    kept: Mutex<HashMap<SetupKey, (Generation, Arc<Setup>)>>,
}

impl Setups {
    /// The setup of this very generation, if it is kept.
    pub(crate) fn get(&self, key: &SetupKey, generation: Generation) -> Option<Arc<Setup>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(at, _)| *at == generation).map(|(_, setup)| Arc::clone(setup))
    }

    /// Keeps a setup whose transaction has committed.
    pub(crate) fn keep(&self, key: SetupKey, generation: Generation, setup: Arc<Setup>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(key, (generation, setup));
    }
}
