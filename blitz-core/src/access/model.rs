//! What the requests of a model carry that nobody sees: its key and the values of its headers.

use super::gate::{Grant, Parts};
use super::standing::Standing;
use crate::domain::{Header, ModelRecord, Permission, ResourceId, SealedHeaders, Secret};
use crate::error::{Error, Result};
use crate::store::Connection;

/// Where the values of a record's headers are sealed.
pub(super) const HEADERS: &str = "headers";

/// What goes with each request of a model and is kept nowhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelSecrets {
    /// Its own key, or the secret that it names.
    pub(crate) key: Option<Secret>,
    /// Its headers, by name.
    pub(crate) headers: Vec<(String, Secret)>,
}

impl Parts {
    /// The values of a record's headers, as they are sealed.
    pub(super) fn sealed_headers(&self, tx: &mut dyn Connection, id: ResourceId) -> Result<SealedHeaders> {
        let Some(text) = self.secret(tx, id, HEADERS)? else { return Ok(SealedHeaders::default()) };
        serde_json::from_str(text.expose()).map_err(|_| Error::storage("sealed headers are damaged: set them again"))
    }

    /// A header that was taken from the record since `model` was read is not sent any more.
    fn model_secrets(&self, tx: &mut dyn Connection, model: &ModelRecord) -> Result<ModelSecrets> {
        let key = match (self.secret(tx, model.id, "api_key")?, &model.spec.api_key_secret) {
            (None, Some(name)) => Some(self.named_secret(tx, name)?),
            (own, _) => own,
        };
        let mut headers = Vec::new();
        if !model.spec.headers.is_empty() {
            let sealed = self.sealed_headers(tx, model.id)?;
            for (name, header) in model.spec.headers.iter() {
                let value = match header {
                    Header::Named { secret } => Some(self.named_secret(tx, secret)?),
                    Header::Text(_) => sealed.get(name).cloned(),
                };
                headers.extend(value.map(|value| (name.to_owned(), value)));
            }
        }
        Ok(ModelSecrets { key, headers })
    }
}

impl Grant {
    /// The secrets of a model that the caller may use.
    ///
    /// Errors: `InvalidInput` where it names a secret that is gone.
    pub(crate) fn model_secrets(&self, tx: &mut dyn Connection, model: &ModelRecord) -> Result<ModelSecrets> {
        if self.permission() != Some(Permission::ModelsUse) {
            return Err(Error::internal("a model's key is read only by a call that uses models"));
        }
        self.parts().model_secrets(tx, model)
    }
}

impl Standing {
    /// The secrets of a model of an execution.
    ///
    /// Errors: `InvalidInput` where it names a secret that is gone.
    pub(crate) fn model_secrets(&self, tx: &mut dyn Connection, model: &ModelRecord) -> Result<ModelSecrets> {
        self.parts().model_secrets(tx, model)
    }
}
