//! Setups of agents that run often: found, allowed and prepared once for each caller.
//!
//! An entry holds while nothing that a run may use has changed: neither the catalogue, its shares
//! and secrets (counted in the database, whichever process changes them) nor the host's functions
//! and providers. Whether the caller may run the agent is asked anew each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::setup::Setup;
use crate::domain::{ResourceId, Role, UserId};

/// The most setups that are kept.
const MAX_KEPT: usize = 1024;

/// For whom which agent was set up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SetupKey {
    pub(crate) agent: ResourceId,
    pub(crate) user: Option<UserId>,
    pub(crate) role: Role,
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
        let kept = self.lock();
        kept.get(key).filter(|(at, _)| *at == generation).map(|(_, setup)| Arc::clone(setup))
    }

    /// Keeps a setup whose transaction has committed.
    pub(crate) fn keep(&self, key: SetupKey, generation: Generation, setup: Arc<Setup>) {
        let mut kept = self.lock();
        let all = if kept.len() >= MAX_KEPT { std::mem::take(&mut *kept) } else { HashMap::new() };
        let replaced = kept.insert(key, (generation, setup));
        drop(kept);
        // What goes with them may be a destructor of the host's that calls the engine: no lock is held here.
        drop((all, replaced));
    }

    /// Lets go of all: a function of the host that was replaced goes with them, once no execution uses it.
    pub(crate) fn forget(&self) {
        let all = std::mem::take(&mut *self.lock());
        drop(all);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SetupKey, (Generation, Arc<Setup>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
