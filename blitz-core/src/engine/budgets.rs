//! Budgets and what they have counted.

use serde::Deserialize;
use serde_json::json;

use super::Session;
use super::methods::{Method, Nothing, PageOf, method};
use crate::access::Target;
use crate::domain::{
    Amount, Budget, BudgetId, BudgetRaise, BudgetRevision, BudgetScope, BudgetWindow, ListOptions, NewBudget, Page,
    Patch, Permission, TagPolicy, Timestamp,
};
use crate::error::Result;
use crate::ledger;

/// The budgets of the engine, through a session.
pub struct Budgets {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("budgets.create", BudgetsManage, NewBudget => Budget, |s, new| s.budgets().create(new)),
    method!("budgets.put", BudgetsManage, NewBudget => Budget, |s, new| s.budgets().put(new)),
    method!("budgets.get", BudgetsRead, OneBudget => Budget, |s, one| s.budgets().get(one.id)),
    method!("budgets.find", BudgetsRead, ByName => Budget, |s, by| s.budgets().find(by.name)),
    method!("budgets.verify", BudgetsRead, Nothing => (), |s, Nothing {}| s.budgets().verify()),
    method!("budgets.list", BudgetsRead, ListOptions => Page<Budget>, |s, options| s.budgets().list(options)),
    method!("budgets.update", BudgetsManage, UpdateBudget => Budget, |s, update| s.budgets().update(update.id, update.patch)),
    method!("budgets.delete", BudgetsManage, OneBudget => (), |s, one| s.budgets().delete(one.id)),
    method!("budgets.windows", BudgetsRead, PageOf<BudgetId> => Page<BudgetWindow>, |s, of| {
        let (id, page) = of.split();
        async move { s.budgets().windows(id, page).await }
    }),
    method!("budgets.revisions", BudgetsRead, PageOf<BudgetId> => Page<BudgetRevision>, |s, of| {
        let (id, page) = of.split();
        async move { s.budgets().revisions(id, page).await }
    }),
    method!("budgets.reset", BudgetsManage, OneBudget => Budget, |s, one| s.budgets().reset(one.id)),
    method!("budgets.seal", BudgetsManage, SealBudget => Budget, |s, seal| s.budgets().seal(seal.id, seal.before)),
    method!("budgets.raise", BudgetsManage, RaiseBudget => BudgetRaise, |s, raise| async move {
        let from = raise.from.unwrap_or_else(Timestamp::now);
        s.budgets().raise(raise.id, raise.amount, from, raise.until, &raise.reason).await
    }),
    method!("budgets.raises", BudgetsRead, PageOf<BudgetId> => Page<BudgetRaise>, |s, of| {
        let (id, page) = of.split();
        async move { s.budgets().raises(id, page).await }
    }),
    method!("budgets.end_raises", BudgetsManage, OneBudget => (), |s, one| s.budgets().end_raises(one.id)),
    method!("budgets.put_tags", BudgetsManage, TagPolicy => (), |s, policy| s.budgets().put_tags(policy)),
    method!("budgets.delete_tags", BudgetsManage, WhoseTags => (), |s, whose| {
        async move { s.budgets().delete_tags(whose.scope, whose.scope_id, whose.subject).await }
    }),
    method!("budgets.list_tags", BudgetsRead, Nothing => Vec<TagPolicy>, |s, Nothing {}| s.budgets().list_tags()),
];

/// Windows to seal.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct SealBudget {
    /// The budget's id.
    id: BudgetId,
    /// Those that begin before this moment.
    before: Timestamp,
}

/// More room for a while.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct RaiseBudget {
    /// The budget's id.
    id: BudgetId,
    /// By how much, in the budget's unit.
    amount: Amount,
    /// From this moment on; now where absent.
    #[serde(default)]
    from: Option<Timestamp>,
    /// Until this moment.
    until: Timestamp,
    /// Why.
    reason: String,
}

/// Whose policy of tags.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct WhoseTags {
    /// `user`, `role`, `key` or `all`.
    scope: BudgetScope,
    /// Which user or key.
    #[serde(default)]
    scope_id: Option<i64>,
    /// Which role.
    #[serde(default)]
    subject: Option<String>,
}

/// One budget.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneBudget {
    /// The budget's id.
    id: BudgetId,
}

/// A budget by its name.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ByName {
    /// The budget's name.
    name: String,
}

/// A change to a budget.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateBudget {
    /// The budget's id.
    id: BudgetId,
    /// A JSON merge patch of its fields.
    patch: Patch,
}

impl Budgets {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Adds a budget; it counts from the next call on. Errors: `Conflict` where the name is taken.
    pub async fn create(&self, new: NewBudget) -> Result<Budget> {
        self.session
            .write(Permission::BudgetsManage, Target::None, "budgets.create", move |tx, grant| {
                let budget = ledger::create_budget(tx, grant.now(), &new)?;
                grant.audit_change(tx, &label(budget.id), None, Some(&budget.spec))?;
                Ok(budget)
            })
            .await
    }

    /// Creates a budget, or updates the one of that name; no new revision where nothing changed.
    pub async fn put(&self, new: NewBudget) -> Result<Budget> {
        self.session
            .write(Permission::BudgetsManage, Target::None, "budgets.put", move |tx, grant| {
                let before = ledger::named_budget(tx, &new.name)?;
                let budget = ledger::put_budget(tx, grant.now(), &new)?;
                let before = before.as_ref().map(|before| &before.spec);
                grant.audit_change(tx, &label(budget.id), before, Some(&budget.spec))?;
                Ok(budget)
            })
            .await
    }

    /// One budget.
    pub async fn get(&self, id: BudgetId) -> Result<Budget> {
        self.session.read(Permission::BudgetsRead, Target::None, move |tx, _| ledger::get_budget(tx, id)).await
    }

    /// The budget of a name.
    pub async fn find(&self, name: impl Into<String>) -> Result<Budget> {
        let name = name.into();
        self.session.read(Permission::BudgetsRead, Target::None, move |tx, _| ledger::find_budget(tx, &name)).await
    }

    /// Proves that what every budget has counted follows from the ledger's entries alone.
    ///
    /// Errors: `Storage` with the first window that does not.
    pub async fn verify(&self) -> Result<()> {
        self.session.read(Permission::BudgetsRead, Target::None, |tx, _| ledger::verify_windows(tx)).await
    }

    /// A page of budgets, in order of id.
    pub async fn list(&self, options: ListOptions) -> Result<Page<Budget>> {
        self.session.read(Permission::BudgetsRead, Target::None, move |tx, _| ledger::list_budgets(tx, &options)).await
    }

    /// Changes some fields; what is booked stays, the next reserve sees the new limit.
    pub async fn update(&self, id: BudgetId, patch: Patch) -> Result<Budget> {
        self.session
            .write(Permission::BudgetsManage, Target::None, "budgets.update", move |tx, grant| {
                let before = ledger::get_budget(tx, id)?;
                let budget = ledger::update_budget(tx, grant.now(), id, &patch)?;
                grant.audit_change(tx, &label(id), Some(&before.spec), Some(&budget.spec))?;
                Ok(budget)
            })
            .await
    }

    /// Deletes a budget: it no longer counts or refuses.
    pub async fn delete(&self, id: BudgetId) -> Result<()> {
        self.session
            .write(Permission::BudgetsManage, Target::None, "budgets.delete", move |tx, grant| {
                let before = ledger::get_budget(tx, id)?;
                ledger::delete_budget(tx, grant.now(), id)?;
                grant.audit_change(tx, &label(id), Some(&before.spec), None)
            })
            .await
    }

    /// What a budget has counted, for each user or execution.
    pub async fn windows(&self, id: BudgetId, options: ListOptions) -> Result<Page<BudgetWindow>> {
        self.session
            .read(Permission::BudgetsRead, Target::None, move |tx, _| ledger::list_windows(tx, id, &options))
            .await
    }
}

impl Budgets {
    /// What a budget said from one change to the next, oldest first.
    pub async fn revisions(&self, id: BudgetId, options: ListOptions) -> Result<Page<BudgetRevision>> {
        self.session
            .read(Permission::BudgetsRead, Target::None, move |tx, _| ledger::list_revisions(tx, id, &options))
            .await
    }

    /// Lets every window of a budget begin anew from now on; what the old ones counted stays readable.
    pub async fn reset(&self, id: BudgetId) -> Result<Budget> {
        self.session
            .write(Permission::BudgetsManage, Target::None, "budgets.reset", move |tx, grant| {
                let before = ledger::get_budget(tx, id)?;
                let budget = ledger::reset_budget(tx, grant.now(), id)?;
                grant.audit_change(tx, &label(id), Some(&before), Some(&budget))?;
                Ok(budget)
            })
            .await
    }

    /// Seals the windows that begin before a moment: no correction changes them any more.
    pub async fn seal(&self, id: BudgetId, before: Timestamp) -> Result<Budget> {
        self.session
            .write(Permission::BudgetsManage, Target::None, "budgets.seal", move |tx, grant| {
                let unsealed = ledger::get_budget(tx, id)?;
                let budget = ledger::seal_budget(tx, grant.now(), id, before)?;
                grant.audit_change_with(tx, &label(id), Some(&unsealed), Some(&budget), json!({"before": before}))?;
                Ok(budget)
            })
            .await
    }

    /// Raises a budget's limit by an amount between two moments; the limit itself stays.
    pub async fn raise(
        &self,
        id: BudgetId,
        amount: impl Into<Amount>,
        from: Timestamp,
        until: Timestamp,
        reason: &str,
    ) -> Result<BudgetRaise> {
        let (amount, reason) = (amount.into(), reason.to_owned());
        self.session
            .write(Permission::BudgetsManage, Target::None, "budgets.raise", move |tx, grant| {
                let before = ledger::newest_raises(tx, id)?;
                let raise = ledger::raise_budget(tx, id, amount, (from, until), &reason)?;
                let after = ledger::newest_raises(tx, id)?;
                grant.audit_change_with(tx, &label(id), Some(&before), Some(&after), json!({"raise": raise.id}))?;
                Ok(raise)
            })
            .await
    }

    /// The raises of a budget, those that are over too.
    pub async fn raises(&self, id: BudgetId, options: ListOptions) -> Result<Page<BudgetRaise>> {
        self.session
            .read(Permission::BudgetsRead, Target::None, move |tx, _| ledger::list_raises(tx, id, &options))
            .await
    }

    /// Ends every raise of a budget now.
    pub async fn end_raises(&self, id: BudgetId) -> Result<()> {
        self.session
            .write(Permission::BudgetsManage, Target::None, "budgets.end_raises", move |tx, grant| {
                let before = ledger::newest_raises(tx, id)?;
                let ended = ledger::end_raises(tx, grant.now(), id)?;
                let after = ledger::newest_raises(tx, id)?;
                grant.audit_change_with(tx, &label(id), Some(&before), Some(&after), json!({"ended": ended}))
            })
            .await
    }

    /// Sets the tags that all executions of somebody carry, and those that their callers must give.
    pub async fn put_tags(&self, policy: TagPolicy) -> Result<()> {
        self.session
            .write(Permission::BudgetsManage, Target::None, "budgets.put_tags", move |tx, grant| {
                let before = ledger::tags::policy_like(tx, &policy)?;
                ledger::tags::put_policy(tx, grant.now(), &policy)?;
                grant.audit_change(tx, "tags", before.as_ref(), Some(&policy))
            })
            .await
    }

    /// Removes a policy of tags. Errors: `NotFound`.
    pub async fn delete_tags(&self, scope: BudgetScope, scope_id: Option<i64>, subject: Option<String>) -> Result<()> {
        self.session
            .write(Permission::BudgetsManage, Target::None, "budgets.delete_tags", move |tx, grant| {
                let gone = TagPolicy { scope, scope_id, subject: subject.clone(), ..TagPolicy::of_all() };
                let before = ledger::tags::policy_like(tx, &gone)?;
                ledger::tags::delete_policy(tx, scope, scope_id, subject.as_deref())?;
                grant.audit_change(tx, "tags", before.as_ref(), None)
            })
            .await
    }

    /// All policies of tags.
    pub async fn list_tags(&self) -> Result<Vec<TagPolicy>> {
        self.session.read(Permission::BudgetsRead, Target::None, |tx, _| ledger::tags::list_policies(tx)).await
    }
}

fn label(id: BudgetId) -> String {
    format!("budget:{id}")
}
