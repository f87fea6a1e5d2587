//! Which budgets count a call, and what their windows hold: the SQL, written once.

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Call, count, word};
use crate::domain::{
    BudgetId, BudgetPeriod, BudgetScope, BudgetUnit, ExecutionId, OnExceed, OnUnpriced, ResourceId, Timestamp,
};
use crate::error::Result;
use crate::store::sql::{Connection, Row, SqlValue, params};

/// A window that a reservation holds something on.
///
/// In JSON `[budget id, scope id, window start]` for money, which is the entry's own amount; behind
/// that unit, held and used for what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Leg {
    pub(crate) budget: BudgetId,
    pub(crate) scope_id: i64,
    pub(crate) start: Timestamp,
    pub(crate) count: Option<Count>,
}

/// What a leg counts, where that is no money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Count {
    pub(crate) unit: BudgetUnit,
    pub(crate) held: i64,
    pub(crate) used: i64,
}

impl Leg {
    /// A leg of money.
    pub(crate) fn money(budget: BudgetId, scope_id: i64, start: Timestamp) -> Self {
        Self { budget, scope_id, start, count: None }
    }

    /// The same leg where so many units were used.
    pub(crate) fn used(mut self, used: i64) -> Self {
        if let Some(count) = &mut self.count {
            count.used = used;
        }
        self
    }
}

impl Serialize for Leg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(if self.count.is_some() { 6 } else { 3 }))?;
        seq.serialize_element(&self.budget)?;
        seq.serialize_element(&self.scope_id)?;
        seq.serialize_element(&self.start)?;
        if let Some(Count { unit, held, used }) = &self.count {
            seq.serialize_element(unit)?;
            seq.serialize_element(held)?;
            seq.serialize_element(used)?;
        }
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Leg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Leg;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a leg of a reservation")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Leg, A::Error> {
                use serde::de::Error as _;
                let short = || A::Error::custom("a leg is too short");
                let budget = seq.next_element()?.ok_or_else(short)?;
                let scope_id = seq.next_element()?.ok_or_else(short)?;
                let start = seq.next_element()?.ok_or_else(short)?;
                let count = match seq.next_element()? {
                    None => None,
                    Some(unit) => Some(Count {
                        unit,
                        held: seq.next_element()?.ok_or_else(short)?,
                        used: seq.next_element()?.ok_or_else(short)?,
                    }),
                };
                Ok(Leg { budget, scope_id, start, count })
            }
        }
        deserializer.deserialize_seq(Parts)
    }
}

/// Over what a budget counts, as its record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) kind: BudgetPeriod,
    pub(crate) hours: Option<u32>,
    pub(crate) time_zone: Option<String>,
    /// No window begins before it.
    pub(crate) epoch: Timestamp,
}

/// A budget that counts a call, with its endless window as it stands.
#[derive(Debug)]
pub(crate) struct MatchedBudget {
    pub(crate) id: BudgetId,
    /// The user, execution, model … that the window is of; `None` for a name without a number yet.
    pub(crate) scope_id: Option<i64>,
    pub(crate) scope: BudgetScope,
    /// Whether it counts the service behind the provider's name.
    pub(crate) by_service: bool,
    /// None of the user's own: the cap of one execution.
    pub(crate) is_cap: bool,
    pub(crate) unit: BudgetUnit,
    /// In its unit, with the raises that hold now.
    pub(crate) limit: Option<i64>,
    pub(crate) hard: bool,
    pub(crate) period: Period,
    pub(crate) on_exceed: OnExceed,
    pub(crate) downgrade_to: Option<String>,
    pub(crate) on_unpriced: OnUnpriced,
    /// Of the window that begins at the epoch.
    pub(crate) posted: i64,
    pub(crate) pending: i64,
}

/// Who calls what, as far as budgets ask.
pub(crate) struct Caller<'a> {
    pub(crate) call: Call<'a>,
    /// The agent that calls and those that called it, the nearest first.
    pub(crate) agents: &'a [ResourceId],
}

/// So many agents above one another are asked for at once.
const AGENTS: usize = 4;

// Each scope asks for its one budget and for the one of each. A NULL finds nothing and costs nothing.
macro_rules! matching_sql {
    ($above:literal, $caps:literal) => {
        concat!(
            $above,
            "wanted (scope, budget_of, id) AS (VALUES
        ('user', ?1, ?1), ('user', 0, ?1),
        ('execution', ?2, ?2), ('execution', 0, ?2),
        ('role', (SELECT id FROM budget_names WHERE name = ?3), (SELECT id FROM budget_names WHERE name = ?3)),
        ('role', 0, (SELECT id FROM budget_names WHERE name = ?3)),
        ('key', ?4, ?4), ('key', 0, ?4),
        ('model', (SELECT id FROM budget_names WHERE name = ?5), (SELECT id FROM budget_names WHERE name = ?5)),
        ('model', 0, (SELECT id FROM budget_names WHERE name = ?5)),
        ('provider', (SELECT id FROM budget_names WHERE name = ?6), (SELECT id FROM budget_names WHERE name = ?6)),
        ('provider', 0, (SELECT id FROM budget_names WHERE name = ?6)),
        ('service', (SELECT id FROM budget_names WHERE name = ?13), (SELECT id FROM budget_names WHERE name = ?13)),
        ('service', 0, (SELECT id FROM budget_names WHERE name = ?13)),
        ('workflow', ?7, ?7), ('workflow', 0, ?7),
        ('agent', ?8, ?8), ('agent', 0, ?8), ('agent', ?9, ?9), ('agent', 0, ?9),
        ('agent', ?10, ?10), ('agent', 0, ?10), ('agent', ?11, ?11), ('agent', 0, ?11),
        ('all', 0, 0)
        UNION ALL SELECT 'tag', tag_id, tag_id FROM execution_tags WHERE root_id = ?2
        UNION ALL SELECT 'tag', key_id, tag_id FROM execution_tags WHERE root_id = ?2",
            $caps,
            ")
    SELECT b.id, wanted.scope, wanted.id, CASE WHEN b.name IS NULL THEN 1 ELSE 0 END, b.unit, b.amount,
        CAST(coalesce((SELECT sum(r.amount) FROM budget_raises r
            WHERE r.budget_id = b.id AND r.from_at <= ?12 AND r.until_at > ?12), 0) AS BIGINT),
        b.hard, b.period, b.hours, b.time_zone, b.epoch, b.on_exceed, b.downgrade_to, b.on_unpriced,
        coalesce(w.posted, 0), coalesce(w.pending, 0)
    FROM wanted JOIN budgets b ON b.scope = CASE wanted.scope WHEN 'service' THEN 'provider' ELSE wanted.scope END AND b.scope_id = wanted.budget_of AND b.deleted_at IS NULL
    LEFT JOIN budget_windows w ON w.budget_id = b.id AND w.window_start = b.epoch
        AND w.scope_id = CASE b.period WHEN 'execution' THEN ?2 ELSE wanted.id END
    WHERE (b.model IS NULL OR b.model = ?5)"
        )
    };
}

pub(super) const MATCHING: &str = matching_sql!("WITH ", "");

// The same for a child, and the caps of the executions from it up to its root, each on its own.
pub(super) const MATCHING_CHILD: &str = matching_sql!(
    "WITH RECURSIVE above (id, parent_id) AS (
        SELECT id, parent_id FROM executions WHERE id = ?14
        UNION ALL SELECT e.id, e.parent_id FROM executions e JOIN above a ON e.id = a.parent_id),
    ",
    " UNION ALL SELECT 'execution', id, id FROM above WHERE parent_id IS NOT NULL"
);

/// Every budget that counts a call, in order of id and of what it counts.
pub(crate) fn matching_budgets(
    tx: &mut dyn Connection,
    now: Timestamp,
    caller: &Caller<'_>,
) -> Result<Vec<MatchedBudget>> {
    let mut budgets = with_agents(tx, now, caller.call, &caller.agents[..caller.agents.len().min(AGENTS)])?;
    // Few call each other any deeper; what the queries have in common is found by each.
    for agents in caller.agents.chunks(AGENTS).skip(1) {
        budgets.extend(with_agents(tx, now, caller.call, agents)?);
    }
    // Two names without a number yet are two.
    let counted =
        |budget: &mut MatchedBudget| (budget.id, budget.scope_id, budget.scope_id.is_none() && budget.by_service);
    budgets.sort_unstable_by_key(|budget| (budget.id, budget.scope_id, budget.by_service));
    budgets.dedup_by_key(counted);
    Ok(budgets)
}

/// The budgets that count a call, as far as these agents have some.
fn with_agents(
    tx: &mut dyn Connection,
    now: Timestamp,
    call: Call<'_>,
    agents: &[ResourceId],
) -> Result<Vec<MatchedBudget>> {
    let Call { execution_id, root_id, user_id, role, key_id, workflow_id, model, provider, service, .. } = call;
    let agent = |place: usize| SqlValue::from(agents.get(place).copied());
    let mut values = vec![
        user_id.into(),
        root_id.into(),
        role.into(),
        key_id.into(),
        model.into(),
        provider.into(),
        workflow_id.into(),
        agent(0),
        agent(1),
        agent(2),
        agent(3),
        now.into(),
        service.into(),
    ];
    let query = if execution_id == root_id {
        MATCHING
    } else {
        values.push(execution_id.into());
        MATCHING_CHILD
    };
    let rows = tx.query_all(query, &values)?;
    let mut budgets = Vec::with_capacity(rows.len());
    for row in &rows {
        budgets.extend(matched(row, (role.is_some(), service.is_some()), root_id)?);
    }
    Ok(budgets)
}

fn matched(row: &Row, (has_role, has_service): (bool, bool), root_id: ExecutionId) -> Result<Option<MatchedBudget>> {
    let by_service = row.text(1)? == "service";
    let scope: BudgetScope = if by_service { BudgetScope::Provider } else { word(row.text(1)?)? };
    let mut scope_id = row.opt_int(2)?;
    // A call of nobody is counted by no budget of each user; only names get their number here.
    let has_name = (scope != BudgetScope::Role || has_role) && (!by_service || has_service);
    let counted = scope_id.is_some() || (scope.is_named() && has_name);
    if !counted {
        return Ok(None);
    }
    let period = period(row, 8)?;
    if period.kind == BudgetPeriod::Execution {
        scope_id = Some(root_id.0);
    }
    let raised = row.int(6)?;
    Ok(Some(MatchedBudget {
        id: BudgetId(row.int(0)?),
        scope_id,
        scope,
        by_service,
        is_cap: row.bool(3)?,
        unit: word(row.text(4)?)?,
        limit: row.opt_int(5)?.map(|limit| limit.saturating_add(raised)),
        hard: row.bool(7)?,
        period,
        on_exceed: word(row.text(12)?)?,
        downgrade_to: row.opt_text(13)?.map(str::to_owned),
        on_unpriced: word(row.text(14)?)?,
        posted: row.int(15)?,
        pending: row.int(16)?,
    }))
}

/// The period in four columns.
pub(super) fn period(row: &Row, first: usize) -> Result<Period> {
    Ok(Period {
        kind: word(row.text(first)?)?,
        hours: row.opt_int(first + 1)?.map(|_| count(row, first + 1)).transpose()?,
        time_zone: row.opt_text(first + 2)?.map(str::to_owned),
        epoch: Timestamp(row.int(first + 3)?),
    })
}

/// Whether any budget counts something else than money: else what is free asks none.
pub(crate) fn any_quota(tx: &mut dyn Connection) -> Result<bool> {
    let row = tx.query_one("SELECT id FROM budgets WHERE unit <> 'usd' AND deleted_at IS NULL LIMIT 1", &[])?;
    Ok(row.is_some())
}

/// The newest window of a series that begins at a moment or later, as (start, posted, pending).
pub(crate) fn newest_window(
    tx: &mut dyn Connection,
    budget: BudgetId,
    scope_id: i64,
    from: Timestamp,
) -> Result<Option<(Timestamp, i64, i64)>> {
    let row = tx.query_one(
        "SELECT window_start, posted, pending FROM budget_windows
         WHERE budget_id = ?1 AND scope_id = ?2 AND window_start >= ?3 ORDER BY window_start DESC LIMIT 1",
        params![budget, scope_id, from],
    )?;
    row.map(|row| Ok((Timestamp(row.int(0)?), row.int(1)?, row.int(2)?))).transpose()
}

/// The sums of the windows of a series that begin at a moment or later.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Series {
    pub(crate) posted: i64,
    pub(crate) pending: i64,
    /// The first and the last that counts anything.
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
}

/// What a rolling period has counted since a moment.
pub(crate) fn series(tx: &mut dyn Connection, budget: BudgetId, scope_id: i64, from: Timestamp) -> Result<Series> {
    let row = tx.query_one(
        "SELECT CAST(coalesce(sum(posted), 0) AS BIGINT), CAST(coalesce(sum(pending), 0) AS BIGINT),
             min(CASE WHEN posted + pending > 0 THEN window_start END), max(window_start)
         FROM budget_windows WHERE budget_id = ?1 AND scope_id = ?2 AND window_start >= ?3",
        params![budget, scope_id, from],
    )?;
    let Some(row) = row else { return Ok(Series::default()) };
    Ok(Series {
        posted: row.int(0)?,
        pending: row.int(1)?,
        first: row.opt_int(2)?.map(Timestamp),
        last: row.opt_int(3)?.map(Timestamp),
    })
}

/// The number of a name, given to it at its first use.
pub(crate) fn number_of(tx: &mut dyn Connection, name: &str) -> Result<i64> {
    if let Some(row) = tx.query_one("SELECT id FROM budget_names WHERE name = ?1", params![name])? {
        return row.int(0);
    }
    let id = tx.insert("INSERT INTO budget_names (name) VALUES (?1)", params![name])?;
    id.ok_or_else(|| crate::error::Error::internal("a name got no number"))
}

/// Holds an amount on a window unless posted and pending would pass `limit`; says whether it is held.
pub(crate) fn hold(tx: &mut dyn Connection, leg: Leg, amount: i64, limit: i64) -> Result<bool> {
    let changed = tx.execute(
        "INSERT INTO budget_windows (budget_id, scope_id, window_start, posted, pending) VALUES (?1, ?2, ?3, 0, ?4)
         ON CONFLICT (budget_id, scope_id, window_start)
         DO UPDATE SET pending = budget_windows.pending + excluded.pending
         WHERE budget_windows.posted + budget_windows.pending + excluded.pending <= ?5",
        params![leg.budget, leg.scope_id, leg.start, amount, limit],
    )?;
    Ok(changed == 1)
}

/// Gives back what was held on a window and books what was used; false where there is no such window,
/// or it would fall below nothing.
pub(crate) fn post(tx: &mut dyn Connection, leg: Leg, released: i64, booked: i64) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE budget_windows SET pending = pending - ?4, posted = posted + ?5
         WHERE budget_id = ?1 AND scope_id = ?2 AND window_start = ?3 AND posted + ?5 >= 0",
        params![leg.budget, leg.scope_id, leg.start, released, booked],
    )?;
    Ok(changed == 1)
}

/// A budget that raises alerts, with the window of a leg as it stands.
pub(crate) struct Watched {
    pub(crate) budget: String,
    pub(crate) unit: BudgetUnit,
    pub(crate) limit: Option<i64>,
    /// In percent of the limit.
    pub(crate) thresholds: Vec<u32>,
    pub(crate) burn_rate: Option<u32>,
    pub(crate) projection: bool,
    pub(crate) period: Period,
    pub(crate) posted: i64,
}

/// What a window has booked and where its budget raises alerts; `None` where it raises none.
pub(crate) fn watched(tx: &mut dyn Connection, now: Timestamp, leg: Leg) -> Result<Option<Watched>> {
    let row = tx.query_one(
        "SELECT b.name, b.unit, b.amount, CAST(coalesce((SELECT sum(r.amount) FROM budget_raises r
                 WHERE r.budget_id = b.id AND r.from_at <= ?4 AND r.until_at > ?4), 0) AS BIGINT),
             b.thresholds, b.burn_rate, b.projection, b.period, b.hours, b.time_zone, b.epoch, w.posted
         FROM budgets b JOIN budget_windows w ON w.budget_id = b.id AND w.scope_id = ?2 AND w.window_start = ?3
         WHERE b.id = ?1 AND b.name IS NOT NULL AND b.deleted_at IS NULL
             AND (b.thresholds <> '[]' OR b.burn_rate IS NOT NULL OR b.projection = 1)",
        params![leg.budget, leg.scope_id, leg.start, now],
    )?;
    let watched = |row: Row| {
        let raised = row.int(3)?;
        Ok(Watched {
            budget: row.text(0)?.to_owned(),
            unit: word(row.text(1)?)?,
            limit: row.opt_int(2)?.map(|limit| limit.saturating_add(raised)),
            thresholds: row.json(4)?,
            burn_rate: row.opt_int(5)?.map(|_| count(&row, 5)).transpose()?,
            projection: row.bool(6)?,
            period: period(&row, 7)?,
            posted: row.int(11)?,
        })
    };
    row.map(watched).transpose()
}
