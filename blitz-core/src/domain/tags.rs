//! Tags: what an execution is counted under beside who, what and how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::budget::BudgetScope;
use crate::error::{Error, Result};

/// The most tags of an execution.
const MAX_TAGS: usize = 16;
/// The longest name and the longest value of a tag, in bytes.
const MAX_KEY: usize = 64;
const MAX_VALUE: usize = 200;

/// The tags that all executions of somebody carry, whatever they say, and those they must have.
///
/// Where several hold, the more special one wins: that of the key, the user, the role, of all.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagPolicy {
    /// Whose: `user`, `role`, `key` or `all`.
    pub scope: BudgetScope,
    /// Which user or key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_id: Option<i64>,
    /// Which role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The tags they carry; what a caller gives for one of them is ignored.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The tags that a caller must give, where no policy does.
    #[serde(default)]
    pub required: Vec<String>,
}

impl TagPolicy {
    /// A policy for one user.
    pub fn of_user(id: i64) -> Self {
        Self { scope: BudgetScope::User, scope_id: Some(id), ..Self::of_all() }
    }

    /// A policy for everybody with a role.
    pub fn of_role(role: impl Into<String>) -> Self {
        Self { scope: BudgetScope::Role, subject: Some(role.into()), ..Self::of_all() }
    }

    /// A policy for everybody.
    pub fn of_all() -> Self {
        Self { scope: BudgetScope::All, scope_id: None, subject: None, tags: BTreeMap::new(), required: Vec::new() }
    }

    /// The same policy with one more tag.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// The same policy with one more tag that must be given.
    pub fn require(mut self, key: impl Into<String>) -> Self {
        self.required.push(key.into());
        self
    }
}

/// Refuses tags that cannot be told apart or kept.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<()> {
    if tags.len() > MAX_TAGS {
        return Err(Error::invalid(format!("there may be {MAX_TAGS} tags at most")));
    }
    for (key, value) in tags {
        check_tag_key(key)?;
        // A comma stands between the tags of a row of usage.
        let unfit = |c: char| c.is_control() || c == ',';
        if value.is_empty() || value.len() > MAX_VALUE || value.chars().any(unfit) {
            return Err(Error::invalid(format!(
                "a tag's value has 1 to {MAX_VALUE} bytes, no commas and no control characters"
            )));
        }
    }
    Ok(())
}

/// Refuses what is no name of a tag.
pub(crate) fn check_tag_key(key: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    if key.is_empty() || key.len() > MAX_KEY || !key.chars().all(plain) {
        return Err(Error::invalid(format!(
            "a tag's name has 1 to {MAX_KEY} of a-z, 0-9, underscore, hyphen and point"
        )));
    }
    Ok(())
}
