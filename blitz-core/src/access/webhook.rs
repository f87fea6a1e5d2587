//! The secrets that webhooks are signed with: sealed like every other, given to the engine's own work alone.

use super::gate::Grant;
use super::standing::Standing;
use crate::domain::Secret;
use crate::error::Result;
use crate::store::{Connection, access};

const TABLE: &str = "webhooks";
const COLUMN: &str = "secret";

impl Grant {
    /// Seals what a webhook is signed with.
    pub(crate) fn set_webhook_secret(&self, tx: &mut dyn Connection, id: i64, secret: &Secret) -> Result<()> {
        access::set_secret(tx, self.keys(), TABLE, id, COLUMN, secret, self.now())
    }

    /// Forgets what a webhook was signed with.
    pub(crate) fn drop_webhook_secret(&self, tx: &mut dyn Connection, id: i64) -> Result<()> {
        access::drop_secrets(tx, TABLE, id)
    }

    /// Whether a webhook has something to be signed with.
    pub(crate) fn has_webhook_secret(&self, tx: &mut dyn Connection, id: i64) -> Result<bool> {
        Ok(access::secret(tx, self.keys(), TABLE, id, COLUMN)?.is_some())
    }
}

impl Standing {
    /// What a webhook is signed with, to be used for one message and kept nowhere.
    pub(crate) fn webhook_secret(&self, tx: &mut dyn Connection, id: i64) -> Result<Option<Secret>> {
        access::secret(tx, self.keys(), TABLE, id, COLUMN)
    }
}
