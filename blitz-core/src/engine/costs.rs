//! What was spent.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use crate::access::{Grant, Target};
use crate::domain::{CostFilter, CostSummary, LedgerEntry, ListOptions, Page, Permission, Reach};
use crate::error::Result;
use crate::ledger;

/// The costs, through a session: everybody sees their own, admins all.
pub struct Costs {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("costs.summary", CostsRead, CostFilter => CostSummary, |s, filter| s.costs().summary(filter)),
    method!("costs.list", CostsRead, ListCosts => Page<LedgerEntry>, |s, list| s.costs().list(list.filter, list.page)),
];

/// A page of costs.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListCosts {
    /// Which ones; all that the caller may see where absent.
    #[serde(default)]
    filter: CostFilter,
    /// Which part of the list.
    #[serde(default)]
    page: ListOptions,
}

impl Costs {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// The sum of what the filter meets.
    pub async fn summary(&self, filter: CostFilter) -> Result<CostSummary> {
        self.session
            .read(Permission::CostsRead, Target::None, move |tx, grant| {
                ledger::summary(tx, &within_reach(grant, &filter))
            })
            .await
    }

    /// The bookings that the filter meets, oldest first.
    pub async fn list(&self, filter: CostFilter, options: ListOptions) -> Result<Page<LedgerEntry>> {
        self.session
            .read(Permission::CostsRead, Target::None, move |tx, grant| {
                ledger::list_entries(tx, &within_reach(grant, &filter), &options)
            })
            .await
    }
}

/// Whoever may see only their own sees only their own, whatever they ask for.
fn within_reach(grant: &Grant, filter: &CostFilter) -> CostFilter {
    let mut filter = *filter;
    if grant.reach() != Reach::All {
        filter.user_id = grant.user_id();
    }
    filter
}
