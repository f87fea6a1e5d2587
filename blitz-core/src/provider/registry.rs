//! Where providers come from: the host's own by name, then the engine's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Offline, Provider, connect};
use crate::domain::Secret;
use crate::error::{Charged, Error, ErrorCode, Result};
use crate::net::Http;

/// The providers that this process serves.
#[derive(Default)]
pub(crate) struct Providers {
    host: RwLock<HashMap<String, Arc<dyn Provider>>>,
    /// Who answers in everybody's place.
    stand_in: RwLock<Option<Arc<dyn Provider>>>,
    /// Whether nobody outside this process may be asked.
    stays_inside: AtomicBool,
    /// Counts the changes.
    generation: AtomicU64,
    http: Http,
}

impl Providers {
    /// Serves a provider under its name from now on, in place of an earlier one.
    pub(crate) fn register(&self, provider: Arc<dyn Provider>) {
        let name = provider.name().to_owned();
        let replaced = self.host.write().unwrap_or_else(PoisonError::into_inner).insert(name, provider);
        self.generation.fetch_add(1, Ordering::Release);
        // It may be the host's own code that goes with it: no lock is held here.
        drop(replaced);
    }

    /// Lets one provider answer in everybody's place, until there is none again.
    pub(crate) fn stand_in(&self, provider: Option<Arc<dyn Provider>>) {
        let replaced = std::mem::replace(&mut *self.stand_in.write().unwrap_or_else(PoisonError::into_inner), provider);
        self.generation.fetch_add(1, Ordering::Release);
        drop(replaced);
    }

    /// Says whether somebody outside this process may be asked.
    pub(crate) fn allow_remote(&self, allowed: bool) {
        self.stays_inside.store(!allowed, Ordering::Release);
    }

    /// Who answers the next call of a provider.
    ///
    /// Errors: `PermissionDenied` where that one is outside this process and nobody there may be asked.
    pub(crate) fn answering(&self, provider: Arc<dyn Provider>) -> Result<Arc<dyn Provider>> {
        let provider = self.standing_in().unwrap_or(provider);
        if provider.is_remote() && self.stays_inside.load(Ordering::Acquire) {
            return Err(no_real_requests(provider.name()));
        }
        Ok(provider)
    }

    fn standing_in(&self) -> Option<Arc<dyn Provider>> {
        self.stand_in.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts the changes: what was connected at one count holds while it lasts.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The provider of a model. Errors: `InvalidInput` for a name that nobody serves.
    pub(crate) fn connect(&self, name: &str, base_url: Option<&str>, key: Option<Secret>) -> Result<Arc<dyn Provider>> {
        if let Some(provider) = self.standing_in() {
            return Ok(provider);
        }
        let host = self.host.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = host.get(name) {
            return Ok(Arc::clone(provider));
        }
        drop(host);
        if name == Offline::NAME {
            return Ok(Arc::new(Offline::new()));
        }
        connect(name, base_url, key, &self.http)
    }
}

fn no_real_requests(provider: &str) -> Error {
    Error::Provider {
        code: ErrorCode::PermissionDenied,
        provider: provider.to_owned(),
        status: None,
        retry_after: None,
        retryable: false,
        charged: Charged::No,
        message: "real requests are off in this engine: allow_real_requests lets them through, override_models \
                  answers in their place"
            .to_owned(),
        source: None,
    }
}
