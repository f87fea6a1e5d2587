//! Budgets: whose spending they count, over which window, and what follows where it is too much.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::id::BudgetId;
use super::money::Money;
use super::time::Timestamp;
use crate::error::{Error, Result};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$each])* $variant,)* }

        impl $name {
            /// The word JSON and the database use.
            pub(crate) fn name(self) -> &'static str { match self { $(Self::$variant => $text,)* } }
        }
    };
}

words! {
    /// Whose spending a budget counts.
    BudgetScope {
        /// One user's, or each user's where no id is given.
        User = "user",
        /// That of everybody with a role, or of each role.
        Role = "role",
        /// What came in by one API key, or by each.
        Key = "key",
        /// One model's by its catalogue name, or each model's.
        Model = "model",
        /// One provider's, or each provider's. A call counts under the name in its model's record and under its
        /// service's: `openai` counts what goes to OpenAI by `openai_responses` too.
        Provider = "provider",
        /// One agent's with the agents it calls, or each agent's.
        Agent = "agent",
        /// One workflow's with all that it starts, or each workflow's.
        Workflow = "workflow",
        /// One root execution's with its children, or each one's where no id is given.
        Execution = "execution",
        /// What carries a tag, `team=blue`; or each value of a tag on its own, `team`.
        Tag = "tag",
        /// Everything.
        All = "all",
    }
}

impl BudgetScope {
    /// Whether it is told by a name and not by an id.
    pub(crate) fn is_named(self) -> bool {
        matches!(self, Self::Role | Self::Model | Self::Provider | Self::Tag)
    }
}

words! {
    /// What a budget counts in.
    BudgetUnit {
        /// Money, in USD.
        Usd = "usd",
        /// Tokens, input and output.
        Tokens = "tokens",
        /// Model calls; each attempt is one.
        Requests = "requests",
    }
}

words! {
    /// Over what a budget counts before it begins anew.
    BudgetPeriod {
        /// Without end.
        None = "none",
        /// Each root execution on its own.
        Execution = "execution",
        /// The last so many hours at any moment (`hours`).
        Rolling = "rolling",
        /// The hour of the clock.
        Hour = "hour",
        /// The day of the calendar.
        Day = "day",
        /// The week of the calendar, from Monday.
        Week = "week",
        /// The month of the calendar.
        Month = "month",
        /// The year of the calendar.
        Year = "year",
    }
}

words! {
    /// What becomes of a call that a hard budget has no room for.
    OnExceed {
        /// It is refused.
        Deny = "deny",
        /// The agent's next fallback model is asked instead, or the model that the budget names.
        Downgrade = "downgrade",
        /// The execution waits until somebody decides: `rerun` tries again, behind a raise; `fail` ends it.
        Ask = "ask",
    }
}

words! {
    /// What becomes of a call whose price is unknown, where a hard budget of money counts it.
    OnUnpriced {
        /// It is refused: what it costs cannot be held to the limit.
        Refuse = "refuse",
        /// It passes, and is booked without a cost.
        Record = "record",
    }
}

/// An amount in the unit of its budget.
///
/// JSON form: money as a decimal string of USD, tokens and requests as an integer. An integer that
/// is given for money is read as whole USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Amount {
    /// Money.
    Usd(Money),
    /// Tokens or requests.
    Count(i64),
}

impl Amount {
    /// A number of nano-USD, tokens or requests.
    pub(crate) fn of(unit: BudgetUnit, units: i64) -> Self {
        match unit {
            BudgetUnit::Usd => Self::Usd(Money::from_nanos(units)),
            BudgetUnit::Tokens | BudgetUnit::Requests => Self::Count(units),
        }
    }

    /// The number of nano-USD, tokens or requests.
    pub fn units(self) -> i64 {
        match self {
            Self::Usd(money) => money.nanos(),
            Self::Count(count) => count,
        }
    }

    /// The money; nothing where it is a count.
    pub fn money(self) -> Money {
        match self {
            Self::Usd(money) => money,
            Self::Count(_) => Money::ZERO,
        }
    }

    /// The same number in a unit, as JSON may have given it in another form.
    pub(crate) fn in_unit(self, unit: BudgetUnit) -> Result<Self> {
        match (self, unit) {
            (Self::Count(whole), BudgetUnit::Usd) => Money::parse(&whole.to_string()).map(Self::Usd),
            (Self::Usd(money), BudgetUnit::Tokens | BudgetUnit::Requests) => {
                const WHOLE: i64 = 1_000_000_000;
                if money.nanos() % WHOLE == 0 {
                    return Ok(Self::Count(money.nanos() / WHOLE));
                }
                Err(Error::invalid("tokens and requests are counted in whole numbers"))
            }
            (as_it_is, _) => Ok(as_it_is),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usd(money) => money.fmt(f),
            Self::Count(count) => count.fmt(f),
        }
    }
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self::Usd(money)
    }
}

impl PartialEq<Money> for Amount {
    fn eq(&self, other: &Money) -> bool {
        matches!(self, Self::Usd(money) if money == other)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Usd(money) => money.serialize(serializer),
            Self::Count(count) => serializer.serialize_i64(*count),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        match value.as_i64() {
            Some(count) => Ok(Self::Count(count)),
            None => serde_json::from_value(value).map(Self::Usd).map_err(serde::de::Error::custom),
        }
    }
}

impl schemars::JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "number"],
            "description": "decimal USD as a string; tokens and requests as an integer",
            "examples": ["0.25", 1000]
        })
    }
}

/// A budget to put: a limit of money, tokens or requests for a scope.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBudget {
    /// The name it is put by; unique.
    pub name: String,
    /// Whose spending it counts.
    pub scope: BudgetScope,
    /// Which user, key, agent, workflow or execution; each one on its own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_id: Option<i64>,
    /// Which role, model, provider or tag; each one on its own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Only calls of this model, by its catalogue name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What it counts in.
    #[serde(default = "usd", skip_serializing_if = "is_usd")]
    pub unit: BudgetUnit,
    /// Over what it counts before it begins anew.
    #[serde(default = "no_period", skip_serializing_if = "is_no_period")]
    pub period: BudgetPeriod,
    /// How many hours a rolling period has: 1 to 8,784.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u32>,
    /// The time zone of a calendar's period, `Europe/Berlin`; UTC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The limit: decimal USD, tokens or requests; 0 blocks, absent is without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Amount>,
    /// Hard refuses before the call is sent; soft only raises an alert.
    #[serde(default = "yes")]
    pub hard: bool,
    /// Percent of the limit at which one alert is raised; 80 and 100 where absent.
    #[serde(default = "usual_thresholds")]
    pub thresholds: Vec<u32>,
    /// What becomes of a call that it has no room for.
    #[serde(default = "deny", skip_serializing_if = "is_deny")]
    pub on_exceed: OnExceed,
    /// The cheaper model that is asked instead, where `on_exceed` is `downgrade`; the agent's next
    /// fallback where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade_to: Option<String>,
    /// What becomes of a call whose price is unknown.
    #[serde(default = "refuse", skip_serializing_if = "is_refuse")]
    pub on_unpriced: OnUnpriced,
    /// An alert where an hour books more than so many times the median of the day before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burn_rate: Option<u32>,
    /// An alert where the window, going on like this, passes its limit before it ends.
    #[serde(default, skip_serializing_if = "is_false")]
    pub projection: bool,
}

fn yes() -> bool {
    true
}
fn usual_thresholds() -> Vec<u32> {
    vec![80, 100]
}
fn usd() -> BudgetUnit {
    BudgetUnit::Usd
}
fn no_period() -> BudgetPeriod {
    BudgetPeriod::None
}
fn deny() -> OnExceed {
    OnExceed::Deny
}
fn refuse() -> OnUnpriced {
    OnUnpriced::Refuse
}

macro_rules! skipped {
    ($($name:ident: $type:ty = $usual:path;)*) => {
        $(#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
        fn $name(value: &$type) -> bool { *value == $usual })*
    };
}
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
skipped! {
    is_usd: BudgetUnit = BudgetUnit::Usd;
    is_no_period: BudgetPeriod = BudgetPeriod::None;
    is_deny: OnExceed = OnExceed::Deny;
    is_refuse: OnUnpriced = OnUnpriced::Refuse;
}

impl NewBudget {
    /// A hard budget of money without a limit yet, over everything that the scope has.
    pub fn new(name: impl Into<String>, scope: BudgetScope) -> Self {
        Self {
            name: name.into(),
            scope,
            scope_id: None,
            subject: None,
            model: None,
            unit: usd(),
            period: no_period(),
            hours: None,
            time_zone: None,
            limit: None,
            hard: true,
            thresholds: usual_thresholds(),
            on_exceed: deny(),
            downgrade_to: None,
            on_unpriced: refuse(),
            burn_rate: None,
            projection: false,
        }
    }

    /// A hard budget on each user's spending.
    pub fn per_user(name: impl Into<String>, limit: Money) -> Self {
        Self::new(name, BudgetScope::User).with_limit(limit)
    }

    /// A hard budget on each root execution's spending.
    pub fn per_execution(name: impl Into<String>, limit: Money) -> Self {
        Self::new(name, BudgetScope::Execution).with_limit(limit)
    }

    /// The same budget with a limit of money.
    pub fn with_limit(self, limit: Money) -> Self {
        Self { limit: Some(Amount::Usd(limit)), unit: BudgetUnit::Usd, ..self }
    }

    /// The same budget as a quota of tokens.
    pub fn tokens(self, limit: i64) -> Self {
        Self { limit: Some(Amount::Count(limit)), unit: BudgetUnit::Tokens, ..self }
    }

    /// The same budget as a quota of model calls.
    pub fn requests(self, limit: i64) -> Self {
        Self { limit: Some(Amount::Count(limit)), unit: BudgetUnit::Requests, ..self }
    }

    /// The same budget for one user, key, agent, workflow or execution only.
    pub fn only(self, id: i64) -> Self {
        Self { scope_id: Some(id), ..self }
    }

    /// The same budget for one role, model, provider or tag only.
    pub fn of(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// The same budget over calls of one model only.
    pub fn for_model(self, model: impl Into<String>) -> Self {
        Self { model: Some(model.into()), ..self }
    }

    /// The same budget over a period.
    pub fn every(self, period: BudgetPeriod) -> Self {
        Self { period, ..self }
    }

    /// The same budget over the last so many hours.
    pub fn rolling(self, hours: u32) -> Self {
        Self { period: BudgetPeriod::Rolling, hours: Some(hours), ..self }
    }

    /// The same budget by the calendar of a time zone.
    pub fn in_time_zone(self, name: impl Into<String>) -> Self {
        Self { time_zone: Some(name.into()), ..self }
    }

    /// The same budget as a soft one: alerts, no refusal.
    pub fn soft(self) -> Self {
        Self { hard: false, ..self }
    }

    /// The same budget with alerts at these percents of the limit.
    pub fn with_thresholds(self, percents: Vec<u32>) -> Self {
        Self { thresholds: percents, ..self }
    }

    /// The same budget with another answer to a call that it has no room for.
    pub fn on_exceed(self, on_exceed: OnExceed) -> Self {
        Self { on_exceed, ..self }
    }

    /// The same budget that lets another model answer where it has no room.
    pub fn downgrade_to(self, model: impl Into<String>) -> Self {
        Self { on_exceed: OnExceed::Downgrade, downgrade_to: Some(model.into()), ..self }
    }

    /// The same budget with another answer to calls whose price is unknown.
    pub fn on_unpriced(self, on_unpriced: OnUnpriced) -> Self {
        Self { on_unpriced, ..self }
    }

    /// The same budget with an alert where an hour books more than so many times the usual.
    pub fn with_burn_rate(self, times: u32) -> Self {
        Self { burn_rate: Some(times), ..self }
    }

    /// The same budget with an alert where its window will not last.
    pub fn with_projection(self) -> Self {
        Self { projection: true, ..self }
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
    /// Windows that begin before this moment are sealed: nothing is corrected in them any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_before: Option<Timestamp>,
    /// When its windows began anew by hand the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_at: Option<Timestamp>,
    /// The fields it was put with.
    #[serde(flatten)]
    pub spec: NewBudget,
}

/// One state of a budget: what it said from one change to the next.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BudgetRevision {
    /// Counts from 1.
    pub revision: u32,
    /// Since when.
    pub at: Timestamp,
    /// Its fields.
    pub spec: NewBudget,
}

/// What a budget has counted for one user, execution, model ….
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BudgetWindow {
    /// Of which budget.
    pub budget_id: BudgetId,
    /// Which user, execution …; the engine's own number for what has a name.
    pub scope_id: i64,
    /// Which role, model, provider or tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the window began; 0 for a budget without a period that was never reset.
    pub window_start: Timestamp,
    /// Booked for good.
    pub posted: Amount,
    /// Held by calls under way.
    pub pending: Amount,
}

/// More room for a while: a budget's limit is higher by an amount between two moments.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BudgetRaise {
    /// Its id.
    pub id: i64,
    /// Of which budget.
    pub budget_id: BudgetId,
    /// By how much.
    pub amount: Amount,
    /// From this moment on.
    pub from: Timestamp,
    /// Until this moment.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
}

words! {
    /// Why an alert was raised.
    AlertKind {
        /// So many percent of the limit are booked.
        Threshold = "threshold",
        /// This hour books many times the usual.
        BurnRate = "burn_rate",
        /// Going on like this, the window passes its limit before it ends.
        Exhaustion = "exhaustion",
    }
}

fn threshold_kind() -> AlertKind {
    AlertKind::Threshold
}

/// A budget that crossed one of its lines: raised once for each window.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Alert {
    /// Its place among all alerts, from 1.
    #[serde(default)]
    pub id: i64,
    /// When.
    #[serde(default)]
    pub at: Timestamp,
    /// Why.
    #[serde(default = "threshold_kind")]
    pub kind: AlertKind,
    /// Which budget.
    pub budget_id: BudgetId,
    /// Its name.
    pub budget: String,
    /// Of which user, execution ….
    pub scope_id: i64,
    /// When the window began.
    #[serde(default)]
    pub window_start: Timestamp,
    /// Percent of the limit that was crossed; for a burn rate how many times the usual.
    pub threshold: u32,
    /// What is booked; for a burn rate in this hour.
    pub posted: Amount,
    /// The limit; for a burn rate the usual of an hour.
    pub limit: Amount,
    /// When the limit will be passed, where that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhausted_at: Option<Timestamp>,
}
