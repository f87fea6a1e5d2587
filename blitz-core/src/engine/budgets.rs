//! Budgets and what they have counted.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, Nothing, PageOf, method};
use crate::access::Target;
use crate::domain::{Budget, BudgetId, BudgetWindow, ListOptions, NewBudget, Page, Patch, Permission};
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
];

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
                let budget = ledger::put_budget(tx, grant.now(), &new)?;
                grant.audit_change(tx, &label(budget.id), None, Some(&budget.spec))?;
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

fn label(id: BudgetId) -> String {
    format!("budget:{id}")
}
