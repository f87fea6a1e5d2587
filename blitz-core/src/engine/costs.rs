//! What was spent.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use crate::access::{Grant, Target};
use crate::domain::{Correction, CostFilter, CostSummary, LedgerEntry, ListOptions, Page, Permission, Reach};
use crate::error::Result;
use crate::ledger;

/// The costs, through a session: everybody sees their own, admins all.
pub struct Costs {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("costs.summary", CostsRead, CostFilter => CostSummary, |s, filter| s.costs().summary(filter)),
    method!("costs.list", CostsRead, ListCosts => Page<LedgerEntry>, |s, list| s.costs().list(list.filter, list.page)),
    method!("costs.adjust", BudgetsManage, Correction => LedgerEntry, |s, correction| s.costs().adjust(correction)),
    method!("costs.refund", BudgetsManage, Correction => LedgerEntry, |s, correction| s.costs().refund(correction)),
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

impl Costs {
    /// Books a correction of what a call cost, up or down; the entry before stays as it is.
    ///
    /// Errors: `NotFound` where no call was booked under the reservation; `InvalidInput` where the call
    /// would come to less than nothing; `Conflict` where one of its windows is sealed.
    pub async fn adjust(&self, correction: Correction) -> Result<LedgerEntry> {
        self.session
            .write(Permission::BudgetsManage, Target::None, "costs.adjust", move |tx, grant| {
                let entry = ledger::adjust(tx, grant.now(), &correction)?;
                grant.audit_change(tx, &format!("entry:{}", entry.seq), None, Some(&correction))?;
                Ok(entry)
            })
            .await
    }

    /// Gives back a part of what a call cost, or all of it. Errors: as [`Costs::adjust`].
    pub async fn refund(&self, correction: Correction) -> Result<LedgerEntry> {
        self.session
            .write(Permission::BudgetsManage, Target::None, "costs.refund", move |tx, grant| {
                let entry = ledger::refund(tx, grant.now(), &correction)?;
                grant.audit_change(tx, &format!("entry:{}", entry.seq), None, Some(&correction))?;
                Ok(entry)
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
