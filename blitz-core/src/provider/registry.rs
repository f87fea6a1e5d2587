//! Where providers come from: the host's own by name, then the engine's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Offline, Provider, connect};
use crate::domain::Secret;
use crate::error::Result;
use crate::net::Http;

/// The providers that this process serves.
#[derive(Default)]
pub(crate) struct Providers {
    host: RwLock<HashMap<String, Arc<dyn Provider>>>,
    /// Counts the changes.
    generation: AtomicU64,
    http: Http,
}

impl Providers {
    /// Serves a provider under its name from now on, in place of an earlier one.
    pub(crate) fn register(&self, provider: Arc<dyn Provider>) {
        let name = provider.name().to_owned();
        self.host.write().unwrap_or_else(PoisonError::into_inner).insert(name, provider);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Counts the changes: what was connected at one count holds while it lasts.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The provider of a model. Errors: `InvalidInput` for a name that nobody serves.
    pub(crate) fn connect(&self, name: &str, base_url: Option<&str>, key: Option<Secret>) -> Result<Arc<dyn Provider>> {
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
