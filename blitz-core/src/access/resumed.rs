//! What a grant gives to executions that go on: their store and caller, as whoever started them.

use std::sync::Arc;

use super::caller::Caller;
use super::gate::Grant;
use super::policy::Way;
use super::standing::ExecutionStore;
use crate::domain::{Permission, Principal, ResourceId};
use crate::error::{Error, Result};

impl Grant {
    /// Whether what a principal began is the caller's own. A key may do less than its user: it owns only
    /// what was begun by itself.
    pub(crate) fn is_own(&self, principal: &Principal) -> bool {
        let key = self.principal().key_id();
        principal.user_id() == self.user_id() && (key.is_none() || key == principal.key_id())
    }

    /// The store of an execution that is resumed for the principal it was started by.
    pub(crate) fn resumed_store(&self, principal: Principal, agent: ResourceId) -> Result<ExecutionStore> {
        if self.permission != Some(Permission::ExecutionsRecover) {
            return Err(Error::internal("another's execution is resumed only by a call that recovers"));
        }
        Ok(ExecutionStore::new(Arc::clone(&self.parts), principal, agent, None))
    }

    /// The store of an execution of the workflow that this call runs, for the principal it was started by.
    ///
    /// Errors: `PermissionDenied` for another's, to whoever may not take up others' executions.
    pub(crate) fn redriven_store(&self, principal: Principal) -> Result<ExecutionStore> {
        if self.permission != Some(Permission::WorkflowsRun) {
            return Err(Error::internal("an execution is redriven only by a call that runs its workflow"));
        }
        if !self.is_own(&principal) {
            self.require(Permission::ExecutionsRecover)?;
        }
        Ok(ExecutionStore::new(Arc::clone(&self.parts), principal, self.target()?.id, None))
    }

    /// The caller that a resumed execution's tools act as: the principal it was started by.
    pub(crate) fn resumed_caller(&self, principal: Principal) -> Result<Caller> {
        let own = self.permission == Some(Permission::WorkflowsRun) && self.is_own(&principal);
        if !own {
            self.require(Permission::ExecutionsRecover)?;
        }
        Ok(Caller::new(principal, "execution", Way::Acting))
    }
}
