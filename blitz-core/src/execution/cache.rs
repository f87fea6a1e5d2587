//! Setups of agents that run often: found, allowed and prepared once for each caller.
//!
//! An entry holds while nothing that a run may use has changed: neither the catalogue, its shares
//! and secrets (counted in the database, whichever process changes them) nor the host's functions
//! and providers. Whether the caller may run the agent is asked anew each time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::runnable::Prepared;
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
    kept: Mutex<HashMap<SetupKey, (Generation, Prepared)>>,
}

impl Setups {
    /// The setup of this very generation, if it is kept.
    pub(crate) fn get(&self, key: &SetupKey, generation: Generation) -> Option<Prepared> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(at, _)| *at == generation).map(|(_, setup)| setup.clone())
    }

    /// Keeps a setup whose transaction has committed.
    pub(crate) fn keep(&self, key: SetupKey, generation: Generation, setup: Prepared) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let full = if kept.len() >= MAX_KEPT { std::mem::take(&mut *kept) } else { HashMap::new() };
        let replaced = kept.insert(key, (generation, setup));
        // They may be the last to hold functions of the host, whose destructors may begin an execution.
        drop(kept);
        drop((full, replaced));
    }

    /// Lets go of all that are kept.
    pub(crate) fn clear(&self) {
        let gone = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        drop(gone);
    }
}
