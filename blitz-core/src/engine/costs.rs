//! What was spent.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use crate::access::Target;
use crate::domain::{
    Correction, CostFilter, CostSummary, LedgerEntry, ListOptions, Page, Permission, Rerate, Rerated, Timestamp,
};
use crate::error::Result;
use crate::ledger::{self, Corrected};
use crate::store::Connection;

/// The costs, through a session: everybody sees their own, admins all.
pub struct Costs {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("costs.summary", CostsRead, CostFilter => CostSummary, |s, filter| s.costs().summary(filter)),
    method!("costs.list", CostsRead, ListCosts => Page<LedgerEntry>, |s, list| s.costs().list(list.filter, list.page)),
    method!("costs.adjust", BudgetsManage, Correction => LedgerEntry, |s, correction| s.costs().adjust(correction)),
    method!("costs.rerate", PricesManage, Rerate => Rerated, |s, asked| s.costs().rerate(asked)),
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
    ///
    /// Errors: `PermissionDenied` where another's is asked for by who may see only their own.
    pub async fn summary(&self, filter: CostFilter) -> Result<CostSummary> {
        self.session
            .read(Permission::CostsRead, Target::None, move |tx, grant| {
                ledger::summary(tx, &CostFilter { user_id: grant.whose(filter.user_id)?, ..filter })
            })
            .await
    }

    /// The bookings that the filter meets, oldest first. Errors: as [`Costs::summary`].
    pub async fn list(&self, filter: CostFilter, options: ListOptions) -> Result<Page<LedgerEntry>> {
        self.session
            .read(Permission::CostsRead, Target::None, move |tx, grant| {
                ledger::list_entries(tx, &CostFilter { user_id: grant.whose(filter.user_id)?, ..filter }, &options)
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
        self.correct("costs.adjust", correction, ledger::adjust).await
    }

    /// Gives back a part of what a call cost, or all of it. Errors: as [`Costs::adjust`].
    pub async fn refund(&self, correction: Correction) -> Result<LedgerEntry> {
        self.correct("costs.refund", correction, ledger::refund).await
    }

    async fn correct(
        &self,
        action: &'static str,
        correction: Correction,
        book: fn(&mut dyn Connection, Timestamp, &Correction) -> Result<Corrected>,
    ) -> Result<LedgerEntry> {
        let (entry, alerts) = self
            .session
            .write(Permission::BudgetsManage, Target::None, action, move |tx, grant| {
                let (entry, alerts) = book(tx, grant.now(), &correction)?;
                grant.audit_change(tx, &format!("entry:{}", entry.seq), None, Some(&correction))?;
                Ok((entry, alerts))
            })
            .await?;
        self.session.inner.runtime.bell.ring(&alerts);
        Ok(entry)
    }
}

impl Costs {
    /// Rates calls anew by a version of prices: where one costs something else by it, an `adjust` entry books
    /// the difference on the windows that counted the call. No entry and no version is changed, corrections by
    /// hand stay as they are, and what was rated by that version already changes nothing.
    ///
    /// Errors: `NotFound` where there is no such version; `InvalidInput` without a reason.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use blitz::{Engine, Rerate};
    ///
    /// let engine = Engine::open(":memory:").await?;
    /// let me = engine.root("the new price list");
    /// let list = r#"{"gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 2e-6, "output_cost_per_token": 8e-6}}"#;
    /// let version = me.prices().import(list, "the provider's letter", None).await?.version;
    /// let would = me.costs().rerate(Rerate::all("the new list").by_version(version).only_tell()).await?;
    /// assert_eq!((would.calls, would.changed), (0, 0));
    /// # engine.close().await
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn rerate(&self, asked: Rerate) -> Result<Rerated> {
        let (mut sum, mut after) = (Rerated::default(), Some(0));
        while let Some(place) = after {
            let asked = asked.clone();
            // The version in force may change between two slices: the first one decides.
            let asked = Rerate { version: asked.version.or((sum.version > 0).then_some(sum.version)), ..asked };
            let slice = self
                .session
                .write(Permission::PricesManage, Target::None, "costs.rerate", move |tx, grant| {
                    grant.require(Permission::BudgetsManage)?;
                    let slice = ledger::rerate(tx, grant.now(), &asked, place)?;
                    if slice.done.changed > 0 && !asked.dry_run {
                        let details = serde_json::to_value(slice.done).unwrap_or_default();
                        grant.audit(tx, &format!("prices:{}", slice.done.version), None, None, details)?;
                    }
                    Ok(slice)
                })
                .await?;
            self.session.inner.runtime.bell.ring(&slice.alerts);
            sum = sum.and(&slice.done)?;
            after = slice.next;
        }
        Ok(sum)
    }
}
