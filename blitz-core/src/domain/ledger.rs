//! What the ledger books, and what was spent.

use serde::{Deserialize, Serialize};

use super::id::{ExecutionId, ReservationId, ResourceId, UserId};
use super::money::Money;
use super::price::Price;
use super::time::Timestamp;
use super::usage::{ServiceTier, Usage};
use crate::error::{Error, Result};

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

/// What a call is booked at whose process died before anybody heard how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecoverySettlement {
    /// All that was reserved for it: never less than the provider's bill.
    #[default]
    Reserved,
    /// All its input at the dearest rate and no output: what is certain, for the call was sent.
    Floor,
}

impl RecoverySettlement {
    /// The word JSON uses.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Floor => "floor",
        }
    }
}

/// How far the answer of a model is read on that nobody waits for any more, for the sake of what it says it used.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// For so many seconds at most; 30 where absent.
    pub seconds: u32,
    /// For so many bytes of the answer at most; 262,144 where absent.
    pub bytes: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Self { seconds: 30, bytes: 256 * 1024 }
    }
}

impl Drain {
    /// For so many seconds and bytes of the answer at most.
    pub fn new(seconds: u32, bytes: u64) -> Self {
        Self { seconds, bytes }
    }

    /// Errors: `InvalidInput` for a bound that lets nothing be read, or for more than an hour.
    pub(crate) fn check(&self) -> Result<()> {
        if self.bytes == 0 || !(1..=3600).contains(&self.seconds) {
            return Err(Error::invalid("drain reads on for 1 to 3,600 seconds and for 1 byte at least"));
        }
        Ok(())
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
    /// The provider ran a tool or searched, and no price says what that costs: the amount is the cost of all else,
    /// and the call counts as unpriced.
    UnpricedPart,
    /// An estimate was corrected to the provider's own count, which came behind the call's end.
    LateUsage,
}

impl EntryFlag {
    /// The word JSON and the database use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InconsistentUsage => "inconsistent_usage",
            Self::ImplausibleUsage => "implausible_usage",
            Self::UnpricedPart => "unpriced_part",
            Self::LateUsage => "late_usage",
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
    /// The role that the user had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The API key that it came in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<i64>,
    /// The agent that called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<ResourceId>,
    /// The workflow that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<ResourceId>,
    /// The prompt version, `name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
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
    /// The version of prices that it was rated by, where an imported one was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<i64>,
    /// What is doubtful about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<EntryFlag>,
    /// How long the attempt took from its reservation on, in microseconds, on the entry that ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// Whether the attempt failed, on the entry that ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<bool>,
    /// Why, where it corrects what was booked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A correction of what a call was booked at, by somebody who manages budgets.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// The reservation of the call, as its ledger entries name it.
    pub reservation_id: ReservationId,
    /// By how much, decimal USD: what an adjustment adds (it may be negative), what a refund gives back.
    #[serde(default)]
    pub amount: Money,
    /// Tokens that were used beyond what was reported; of an adjustment only.
    #[serde(default)]
    pub tokens: i64,
    /// Why.
    pub reason: String,
}

impl Correction {
    /// A correction of a call by an amount.
    pub fn new(reservation_id: ReservationId, amount: Money, reason: impl Into<String>) -> Self {
        Self { reservation_id, amount, tokens: 0, reason: reason.into() }
    }

    /// The same correction with tokens.
    pub fn with_tokens(self, tokens: i64) -> Self {
        Self { tokens, ..self }
    }
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

/// A version of imported prices: none is ever changed.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PriceVersion {
    /// Its number.
    pub version: i64,
    /// When it was imported.
    pub created_at: Timestamp,
    /// Since when it is in force.
    pub effective_from: Timestamp,
    /// Where it comes from.
    pub source: String,
    /// The hash of the text it was read from.
    pub hash: String,
}

/// What a model costs, and by which word.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ListedPrice {
    /// The price; absent where nobody lists one.
    pub price: Option<Price>,
    /// The imported version in force, where there is one; the shipped table fills its gaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
}

/// By which name the price of a model is listed, and where it was looked up.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PriceListing {
    /// Whose list: `openai`.
    pub service: String,
    /// The name in it.
    pub model: String,
    /// The imported version that was in force; absent where none was, and the shipped table alone held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// The class of service that was asked for: a price that comes later is looked up at it.
    #[serde(default, skip_serializing_if = "ServiceTier::is_standard")]
    pub service_tier: ServiceTier,
}

/// Calls to rate anew by a version of prices: all that meet every field that is given.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rerate {
    /// By which version of prices; the one in force now where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Reserved at this moment or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Reserved before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// One model's, by its catalogue name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// One provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// One user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Whether only to say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Why.
    pub reason: String,
}

impl Rerate {
    /// Every call whose price was looked up, by the version in force now.
    pub fn all(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }

    /// The same calls by another version.
    pub fn by_version(self, version: i64) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Of the same calls those of one model, by its catalogue name.
    pub fn of_model(self, model: impl Into<String>) -> Self {
        Self { model: Some(model.into()), ..self }
    }

    /// Of the same calls those that were reserved from one moment on and before another.
    pub fn between(self, from: Timestamp, to: Timestamp) -> Self {
        Self { from: Some(from), to: Some(to), ..self }
    }

    /// The same question, and nothing is booked.
    pub fn only_tell(self) -> Self {
        Self { dry_run: true, ..self }
    }
}

/// What rating calls anew came to.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Rerated {
    /// The version that they were rated by.
    pub version: i64,
    /// How many calls were looked at.
    pub calls: u64,
    /// How many of them cost something else now.
    pub changed: u64,
    /// Calls that keep what they cost, for no list has their price: it is their record's own, or unknown.
    pub unlisted: u64,
    /// Calls that keep what they cost, for a window that counts them is sealed.
    pub sealed: u64,
    /// By how much all of them together cost more now; less where it is negative.
    pub amount: Money,
}

impl Rerated {
    /// This with what further calls came to.
    pub(crate) fn and(self, more: &Rerated) -> Result<Self> {
        Ok(Self {
            version: more.version,
            calls: self.calls + more.calls,
            changed: self.changed + more.changed,
            unlisted: self.unlisted + more.unlisted,
            sealed: self.sealed + more.sealed,
            amount: self.amount.add(more.amount)?,
        })
    }
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
