//! Where providers come from: the host's own by name, then the engine's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::connect::base_in_environment;
use super::{Network, Offline, Provider, connect, split_name};
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
    /// Whether no provider of the host is kept any more.
    closed: AtomicBool,
    /// Whether users may name a model `provider:model`, as the host may.
    names_for_users: AtomicBool,
    /// Counts the changes.
    generation: AtomicU64,
    http: Http,
}

impl Providers {
    /// Serves a provider under its name from now on, in place of an earlier one.
    pub(crate) fn register(&self, provider: Arc<dyn Provider>) {
        let name = provider.name().to_owned();
        let mut host = self.host.write().unwrap_or_else(PoisonError::into_inner);
        let gone = if self.closed.load(Ordering::Acquire) { Some(provider) } else { host.insert(name, provider) };
        drop(host);
        self.generation.fetch_add(1, Ordering::Release);
        // The host's destructor may come here again: it runs while nothing is locked.
        drop(gone);
    }

    /// What providers are reached by that the engine makes itself.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// Lets one provider answer in everybody's place, until there is none again.
    pub(crate) fn stand_in(&self, provider: Option<Arc<dyn Provider>>) {
        let mut stand_in = self.stand_in.write().unwrap_or_else(PoisonError::into_inner);
        let gone =
            if self.closed.load(Ordering::Acquire) { provider } else { std::mem::replace(&mut *stand_in, provider) };
        drop(stand_in);
        self.generation.fetch_add(1, Ordering::Release);
        drop(gone);
    }

    /// Lets go of the host's providers, for good.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let gone = std::mem::take(&mut *self.host.write().unwrap_or_else(PoisonError::into_inner));
        let stood_in = self.stand_in.write().unwrap_or_else(PoisonError::into_inner).take();
        drop((gone, stood_in));
    }

    /// Says whether somebody outside this process may be asked.
    pub(crate) fn allow_remote(&self, allowed: bool) {
        self.stays_inside.store(!allowed, Ordering::Release);
    }

    /// Reaches providers by other ways from now on. Errors: `InvalidInput` where they are none.
    pub(crate) fn reach_by(&mut self, network: &Network) -> Result<()> {
        self.http = network.http()?;
        Ok(())
    }

    /// Says whether users may name a model `provider:model`: what the environment pays for is the host's.
    pub(crate) fn allow_names(&self, allowed: bool) {
        self.names_for_users.store(allowed, Ordering::Release);
    }

    /// Whether users may name a model `provider:model`.
    pub(crate) fn allows_names(&self) -> bool {
        self.names_for_users.load(Ordering::Acquire)
    }

    /// The provider and the model of a name such as `openai:gpt-4o`; `None` where nobody serves it here.
    pub(crate) fn split<'a>(&self, name: &'a str) -> Option<(&'a str, &'a str)> {
        let (provider, model) = name.split_once(':').filter(|(_, model)| !model.is_empty())?;
        let host = self.host.read().unwrap_or_else(PoisonError::into_inner);
        (host.contains_key(provider) || split_name(name).is_ok()).then_some((provider, model))
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

impl Providers {
    /// The address that a model is asked at: its record's, else the one that the environment gives its
    /// provider; `None` for the provider's usual one, and where the host answers itself.
    pub(crate) fn address(&self, name: &str, base_url: Option<&str>) -> Option<String> {
        let of_host = || self.host.read().unwrap_or_else(PoisonError::into_inner).contains_key(name);
        match base_url {
            Some(url) => Some(url.to_owned()),
            None if self.standing_in().is_some() || of_host() => None,
            None => base_in_environment(name),
        }
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
        usage: None,
        message: "real requests are off in this engine: allow_real_requests lets them through, override_models \
                  answers in their place"
            .to_owned(),
        source: None,
    }
}
