//! Budgets and what the ledger books.

use serde::{Deserialize, Serialize};

use super::id::{BudgetId, ExecutionId, ReservationId, UserId};
use super::money::Money;
use super::time::Timestamp;
use super::usage::Usage;

/// Whose spending a budget counts.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetScope {
    /// One user's, or each user's where no id is given.
    User,
    /// One root execution's with its children, or each one's where no id is given.
    Execution,
}

impl BudgetScope {
    /// The word JSON and the database use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Execution => "execution",
        }
    }
}

/// A budget to put: a limit of money for a scope.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBudget {
    /// The name it is put by; unique.
    pub name: String,
    /// Whose spending it counts.
    pub scope: BudgetScope,
    /// Which user or execution; each one on its own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_id: Option<i64>,
    /// The limit, decimal USD; 0 blocks, absent is without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Money>,
    /// Hard refuses before the call is sent; soft only raises an alert.
    #[serde(default = "yes")]
    pub hard: bool,
    /// Percent of the limit at which one alert is raised; 80 and 100 where absent.
    #[serde(default = "usual_thresholds")]
    pub thresholds: Vec<u32>,
}

fn yes() -> bool {
    true
}

fn usual_thresholds() -> Vec<u32> {
    vec![80, 100]
}

impl NewBudget {
    /// A hard budget on each user's spending.
    pub fn per_user(name: impl Into<String>, limit: Money) -> Self {
        Self {
            name: name.into(),
            scope: BudgetScope::User,
            scope_id: None,
            limit: Some(limit),
            hard: true,
            thresholds: usual_thresholds(),
        }
    }

    /// A hard budget on each root execution's spending.
    pub fn per_execution(name: impl Into<String>, limit: Money) -> Self {
        Self { scope: BudgetScope::Execution, ..Self::per_user(name, limit) }
    }

    /// The same budget for one user or execution only.
    pub fn only(self, id: i64) -> Self {
        Self { scope_id: Some(id), ..self }
    }

    /// The same budget as a soft one: alerts, no refusal.
    pub fn soft(self) -> Self {
        Self { hard: false, ..self }
    }

    /// The same budget with alerts at these percents of the limit.
    pub fn with_thresholds(self, percents: Vec<u32>) -> Self {
        Self { thresholds: percents, ..self }
    }
}

/// A stored budget.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Budget {
    /// Its id.
    pub id: BudgetId,
    /// Counts its changes from 1; an edit applies to the next reserve.
    pub revision: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The fields it was put with.
    #[serde(flatten)]
    pub spec: NewBudget,
}

/// What a budget has counted for one user or execution.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BudgetWindow {
    /// Of which budget.
    pub budget_id: BudgetId,
    /// Which user or execution.
    pub scope_id: i64,
    /// When the window began; 0 for a budget without a period.
    pub window_start: Timestamp,
    /// Booked for good.
    pub posted: Money,
    /// Held by calls under way.
    pub pending: Money,
}

/// What a ledger entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Holds money before a call.
    Reserve,
    /// Books what the call cost, up to what was held.
    Settle,
    /// Gives back what was held: the call was not made.
    Void,
    /// Books what the call cost beyond what was held.
    Overage,
    /// Corrects what was booked.
    Adjust,
    /// Gives back what was booked.
    Refund,
}

impl EntryKind {
    /// The word JSON and the database use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Settle => "settle",
            Self::Void => "void",
            Self::Overage => "overage",
            Self::Adjust => "adjust",
            Self::Refund => "refund",
        }
    }
}

/// What is doubtful about the usage that an entry books.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryFlag {
    /// A part was more than its whole (cached tokens than input): it is held at the whole.
    InconsistentUsage,
    /// No call can use or cost as much: the numbers are held at a bound, and where the cost cannot be
    /// known, what was reserved is booked. The provider's own words are kept beside it.
    ImplausibleUsage,
}

impl EntryFlag {
    /// The word JSON and the database use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InconsistentUsage => "inconsistent_usage",
            Self::ImplausibleUsage => "implausible_usage",
        }
    }
}

/// One line of the append-only ledger.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LedgerEntry {
    /// Its place in the ledger, from 1.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// What it does.
    pub kind: EntryKind,
    /// For which reservation.
    pub reservation_id: ReservationId,
    /// For which root execution.
    pub root_id: ExecutionId,
    /// For which execution.
    pub execution_id: ExecutionId,
    /// Whose.
    pub user_id: Option<UserId>,
    /// The catalogue name of the model.
    pub model: String,
    /// The provider.
    pub provider: String,
    /// Which attempt of the step, from 1.
    pub attempt: u32,
    /// The amount; `None` where the price is unknown.
    pub amount: Option<Money>,
    /// What was used, on the entry that settles.
    pub usage: Option<Usage>,
    /// What is doubtful about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<EntryFlag>,
}

/// A budget that crossed one of its thresholds: raised once for each window.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Alert {
    /// Which budget.
    pub budget_id: BudgetId,
    /// Its name.
    pub budget: String,
    /// Of which user or execution.
    pub scope_id: i64,
    /// Percent of the limit that was crossed.
    pub threshold: u32,
    /// What is booked.
    pub posted: Money,
    /// The limit.
    pub limit: Money,
}

/// What an import of prices came to.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ImportedPrices {
    /// The version of prices that is now in force.
    pub version: i64,
    /// How many models were taken.
    pub taken: u64,
    /// The models that were not, each with why.
    pub left_out: Vec<LeftOut>,
}

/// A model that an import left out: its price stays as unknown as it was.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LeftOut {
    /// Its name in the map.
    pub model: String,
    /// Why.
    pub reason: String,
}

/// Which costs are meant: all that meet every field that is given.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CostFilter {
    /// One user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// One root execution's with all its children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_id: Option<ExecutionId>,
    /// One execution's alone, without its children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<ExecutionId>,
    /// Booked at this moment or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Booked before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

impl CostFilter {
    /// All costs.
    pub fn all() -> Self {
        Self::default()
    }

    /// One user's costs.
    pub fn of_user(id: UserId) -> Self {
        Self { user_id: Some(id), ..Self::default() }
    }

    /// The costs of one root execution with all its children.
    pub fn of_root(id: ExecutionId) -> Self {
        Self { root_id: Some(id), ..Self::default() }
    }

    /// The costs of one execution alone.
    pub fn of_execution(id: ExecutionId) -> Self {
        Self { execution_id: Some(id), ..Self::default() }
    }

    /// The same costs, booked from one moment on and before another.
    pub fn between(self, from: Timestamp, to: Timestamp) -> Self {
        Self { from: Some(from), to: Some(to), ..self }
    }
}

/// What was spent, over a filter.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CostSummary {
    /// The sum of all booked costs that are known.
    pub cost: Money,
    /// Model calls whose price is unknown: their cost is in no sum.
    pub unpriced_calls: u64,
    /// Tokens and calls.
    pub usage: Usage,
}

impl CostSummary {
    /// The whole cost; `None` where a part of it is unknown.
    pub fn known_cost(&self) -> Option<Money> {
        (self.unpriced_calls == 0).then_some(self.cost)
    }
}
