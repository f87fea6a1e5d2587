//! Money: reserve before a call, settle after it, in the transaction that changes the execution.
//!
//! A call is sent only after [`reserve`] has held the most it can cost on every budget that counts
//! it, and is ended once: by [`settle`], [`settle_unknown`], [`settle_dead`] or [`void`]. All of
//! them run inside the caller's transaction. A refusal is a value, decided before anything is
//! written, so the rest of the turn commits without it. The ledger is append only; windows are its
//! running sums, and [`verify_windows`] rebuilds them from it.

mod adjust;
mod alert;
mod budgets;
mod costs;
pub(crate) mod limits;
pub(crate) mod outbox;
mod price;
mod rerate;
mod reserve;
mod settle;
pub(crate) mod tags;
pub(crate) mod usage;
mod window;

#[cfg(test)]
mod invariants;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::domain::{
    Alert, ExecutionId, Metered, Money, Price, PriceListing, ReservationId, ResourceId, Usage, UserId,
};
use crate::error::Error;

pub(crate) use crate::store::ledger::budgets::downgrades;
pub(crate) use crate::store::ledger::{
    OpenReservation, boots_with_open_reservations, open_in_tree, open_reservations_of,
};
pub(crate) use adjust::{Corrected, adjust, late, refund};
pub(crate) use alert::list as list_alerts;
pub(crate) use budgets::{
    cap_execution, create_budget, delete_budget, end_raises, find_budget, get_budget, list_budgets, list_raises,
    list_revisions, list_windows, named_budget, newest_raises, put_budget, raise_budget, reset_budget, seal_budget,
    update_budget,
};
#[cfg(test)]
pub(crate) use costs::rebuild_windows;
pub(crate) use costs::{booked, embedded, execution_cost, list_entries, summary, verify_windows};
pub(crate) use price::import::BadRows;
pub(crate) use price::{
    find as find_price, import as price_import, list as list_prices, listed, may_give_priority, price_of, service_of,
};
pub(crate) use rerate::rerate;
pub(crate) use reserve::reserve;
pub(crate) use settle::{Ended, settle, settle_dead, settle_unknown, void};

/// The most that one call is taken to cost: a million dollars. It keeps every sum far from the
/// largest amount; a reservation above it is refused, a report above it is not believed.
const MAX_CALL_COST: Money = Money::from_nanos(1_000_000 * 1_000_000_000);

/// The most tokens of a kind that one call is taken to use.
const MAX_CALL_TOKENS: u64 = 1_000_000_000_000;

/// A model call that needs money held: one attempt of one step.
#[derive(Debug, Clone)]
pub(crate) struct ReserveRequest {
    /// The execution that calls.
    pub(crate) execution_id: ExecutionId,
    /// Its root; budgets by execution count roots.
    pub(crate) root_id: ExecutionId,
    /// The key of the step.
    pub(crate) path: String,
    /// Which attempt of the step, from 1. An attempt is reserved once.
    pub(crate) attempt: u32,
    /// As whom; nobody where the host itself runs it, and then no user's budget counts it.
    pub(crate) user_id: Option<UserId>,
    /// The role that the user has now.
    pub(crate) role: Option<String>,
    /// The API key that it came in by.
    pub(crate) key_id: Option<i64>,
    /// The agent that calls and those that called it, the nearest first.
    pub(crate) agents: Vec<ResourceId>,
    /// The workflow that started it.
    pub(crate) workflow_id: Option<ResourceId>,
    /// The prompt version, `name@version`.
    pub(crate) prompt: Option<String>,
    /// The catalogue name of the model.
    pub(crate) model: String,
    /// Who serves it.
    pub(crate) provider: String,
    /// The service behind it, where that has another name: its budgets count the call too.
    pub(crate) service: Option<String>,
    /// What its tokens cost; unknown where absent.
    pub(crate) price: Option<Price>,
    /// By which name that price is listed, where it is not the model's own.
    pub(crate) listing: Option<PriceListing>,
    /// The most input tokens the call can count as.
    pub(crate) input_bound: u64,
    /// The most output tokens it asks for.
    pub(crate) output_cap: u64,
    /// What it may use beside tokens.
    pub(crate) metered: Metered,
    /// Whether the cap may be lowered to what the budgets pay for.
    pub(crate) clamp: bool,
}

/// Money is held: the call may be sent once the transaction has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reserved {
    /// What to settle or void.
    pub(crate) id: ReservationId,
    /// How much is held on each budget; `None` where the price is unknown.
    pub(crate) amount: Option<Money>,
    /// The output cap to send; lower than asked for where it was clamped.
    pub(crate) output_cap: u64,
}

/// Whether money is held. A refusal has written nothing.
#[derive(Debug)]
pub(crate) enum ReserveOutcome {
    /// It is.
    Reserved(Reserved),
    /// It is not, and the call must not be sent.
    Refused(Refusal),
}

/// Why nothing is held, and what the budget wants to become of the call.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// For whoever runs it.
    pub(crate) error: Box<Error>,
    /// What follows.
    pub(crate) follow: Follow,
}

/// What becomes of a call that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Follow {
    /// It fails.
    Deny,
    /// Another model is asked: this one, or the agent's next.
    Downgrade(Option<String>),
    /// Somebody decides.
    Ask,
}

/// What the end of a call booked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Booked {
    /// What the call cost in all; `None` where its price is unknown.
    pub(crate) cost: Option<Money>,
    /// How much of that is beyond what was reserved.
    pub(crate) overage: Option<Money>,
    /// What was used, with every part within its whole.
    pub(crate) usage: Usage,
    /// The thresholds that were crossed by it, each for the first time in its window.
    pub(crate) alerts: Vec<Alert>,
}
