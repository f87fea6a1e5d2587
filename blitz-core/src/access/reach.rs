//! How far a caller's permission reaches: to what is their own, or to everybody's.

use super::gate::Grant;
use crate::domain::{Reach, UserId};
use crate::error::{Error, Result};

impl Grant {
    /// Whose records are asked for: the caller's own where they may see no others'.
    ///
    /// Errors: `PermissionDenied` where another's are asked for all the same.
    pub(crate) fn whose(&self, asked: Option<UserId>) -> Result<Option<UserId>> {
        match asked {
            _ if self.reach() == Reach::All => Ok(asked),
            Some(other) if self.user_id() != Some(other) => {
                let error = Error::denied("these are somebody else's, and the permission is for one's own");
                Err(self.refuse_about(error, format!("user:{other}")))
            }
            _ => Ok(self.user_id()),
        }
    }
}
