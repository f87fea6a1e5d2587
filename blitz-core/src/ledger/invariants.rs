//! The ledger against a plain model of it: random turns, some of them rolled back, checked after
//! every one. A turn is one transaction, as the driver makes it.
#![allow(clippy::unwrap_used)]

mod faults;
mod over_time;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::testing::*;
use super::*;
use crate::domain::{Amount, BudgetId, BudgetScope, BudgetWindow, NewBudget, Timestamp, Usage};
use crate::error::{ErrorCode, Result};
use crate::store::sql::{Connection, Row};
use RecoverySettlement::{Floor, Reserved};

// What may happen ---------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Op {
    Reserve {
        user: Option<i64>,
        root: i64,
        pricing: Pricing,
        input: u64,
        output: u64,
        clamp: bool,
    },
    /// Ends the open reservation at this place, counted around.
    End {
        pick: usize,
        end: End,
    },
    /// Sets the limit of the budget at this place, counted around.
    Limit {
        pick: usize,
        limit: Option<i64>,
    },
}

#[derive(Debug, Clone, Copy)]
enum Pricing {
    Priced,
    Free,
    Unknown,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Settle { input: u64, output: u64 },
    Unknown { delivered: u64 },
    Dead(RecoverySettlement),
    Void,
}

#[derive(Debug, Clone)]
struct Turn {
    ops: Vec<Op>,
    /// Whether the transaction fails at its end, after everything was written.
    fails: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let tokens = || 0u64..600;
    let pricing = prop_oneof![8 => Just(Pricing::Priced), 1 => Just(Pricing::Free), 1 => Just(Pricing::Unknown)];
    let end = prop_oneof![
        4 => (tokens(), tokens()).prop_map(|(input, output)| End::Settle { input, output }),
        1 => tokens().prop_map(|delivered| End::Unknown { delivered }),
        1 => prop_oneof![Just(Reserved), Just(Floor)].prop_map(End::Dead),
        1 => Just(End::Void),
    ];
    let reserve = (prop::option::weighted(0.8, 1i64..3), 1i64..4, pricing, tokens(), tokens(), any::<bool>()).prop_map(
        |(user, root, pricing, input, output, clamp)| Op::Reserve { user, root, pricing, input, output, clamp },
    );
    prop_oneof![
        6 => reserve,
        5 => (any::<usize>(), end).prop_map(|(pick, end)| Op::End { pick, end }),
        1 => (any::<usize>(), prop::option::weighted(0.8, 0i64..8000)).prop_map(|(pick, limit)| Op::Limit { pick, limit }),
    ]
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn =
        (prop::collection::vec(op(), 1..4), prop::bool::weighted(0.1)).prop_map(|(ops, fails)| Turn { ops, fails });
    prop::collection::vec(turn, 1..40)
}

// The model ---------------------------------------------------------------------------------------

/// Hard and soft, by user and by execution, each and one only, and the cap of execution 2.
fn budgets() -> [NewBudget; 5] {
    let mut unlimited = NewBudget::per_execution("unlimited", nanos(0)).soft();
    unlimited.limit = None;
    [
        NewBudget::per_user("each user", nanos(6000)),
        NewBudget::per_user("user 1", nanos(4000)).only(1),
        NewBudget::per_execution("each run", nanos(5000)),
        NewBudget::per_user("soft", nanos(2000)).soft(),
        unlimited,
    ]
}
const CAP: i64 = 3000;

#[derive(Debug, Clone)]
struct ModelBudget {
    id: BudgetId,
    scope: BudgetScope,
    only: Option<i64>,
    hard: bool,
    limit: Option<i64>,
}

#[derive(Debug, Clone)]
struct Open {
    id: ReservationId,
    input: u64,
    output: u64,
    /// What it holds; `None` where the price is unknown.
    amount: Option<i64>,
    free: bool,
    windows: Vec<(BudgetId, i64)>,
}

/// A call that the model admits: what is held, the output cap, and where it is held.
struct Held {
    amount: Option<i64>,
    output: u64,
    windows: Vec<(BudgetId, i64)>,
}

/// Money as a schoolbook would keep it. Windows hold (posted, pending).
#[derive(Debug, Clone)]
struct Model {
    budgets: Vec<ModelBudget>,
    windows: BTreeMap<(BudgetId, i64), (i64, i64)>,
    open: Vec<Open>,
    ended: u64,
    calls: i64,
}

/// The price of `testing::price`, in nanos.
fn cost_of(input: u64, output: u64) -> i64 {
    (input + 3 * output) as i64
}

impl Model {
    /// What is held for this call, or `None` for a refusal.
    fn expected(&self, op: &Op) -> Option<Held> {
        let &Op::Reserve { user, root, pricing, input, output, clamp } = op else { unreachable!("reserves only") };
        let counting: Vec<_> = self
            .budgets
            .iter()
            .filter_map(|budget| {
                let id = if budget.scope == BudgetScope::User { user? } else { root };
                budget.only.is_none_or(|only| only == id).then_some((budget, (budget.id, id)))
            })
            .collect();
        let room = |output: u64| {
            counting.iter().filter(|(budget, _)| budget.hard).all(|(budget, window)| {
                let (posted, pending) = self.windows.get(window).copied().unwrap_or_default();
                budget.limit.is_none_or(|limit| posted + pending + cost_of(input, output).max(1) <= limit)
            })
        };
        let windows = || counting.iter().map(|(_, window)| *window).collect();
        let held = |output| Held { amount: Some(cost_of(input, output).max(1)), output, windows: windows() };
        match pricing {
            Pricing::Free => Some(Held { amount: Some(0), output, windows: vec![] }),
            Pricing::Unknown => {
                let refused = counting.iter().any(|(budget, _)| budget.hard && budget.limit.is_some());
                // It names its windows all the same, for the day it gets a price.
                (!refused).then(|| Held { amount: None, output, windows: windows() })
            }
            Pricing::Priced if room(output) => Some(held(output)),
            Pricing::Priced if clamp => (output.min(16)..output).rev().find(|&output| room(output)).map(held),
            Pricing::Priced => None,
        }
    }

    fn hold(&mut self, id: ReservationId, op: &Op, Held { amount, output, windows }: Held) {
        let &Op::Reserve { input, pricing, .. } = op else { unreachable!("reserves only") };
        for &window in &windows {
            self.windows.entry(window).or_default().1 += amount.unwrap_or(0);
        }
        self.open.push(Open { id, input, output, amount, free: matches!(pricing, Pricing::Free), windows });
    }

    fn end(&mut self, open: &Open, end: End) -> Option<i64> {
        let estimate = |output: u64| open.amount.map(|held| cost_of(open.input, output).min(held));
        let cost = match end {
            End::Void => Some(0),
            End::Dead(Reserved) => open.amount,
            End::Dead(Floor) => estimate(0),
            End::Unknown { delivered } => estimate(delivered.min(open.output)),
            End::Settle { input, output } => open.amount.map(|_| if open.free { 0 } else { cost_of(input, output) }),
        };
        for window in &open.windows {
            let (posted, pending) = self.windows.get_mut(window).unwrap();
            *pending -= open.amount.unwrap_or(0);
            *posted += cost.unwrap_or(0);
        }
        self.ended += 1;
        cost
    }
}

// The two side by side ----------------------------------------------------------------------------

struct World {
    ledger: TestLedger,
    model: Model,
}

impl World {
    fn new() -> Self {
        let specs = budgets();
        let (ledger, ids) = TestLedger::with_budgets(specs.clone());
        ledger.write(|tx| cap_execution(tx, NOW, ExecutionId(2), nanos(CAP))).unwrap();
        let of_spec = |(id, spec): (BudgetId, NewBudget)| ModelBudget {
            id,
            scope: spec.scope,
            only: spec.scope_id,
            hard: spec.hard,
            limit: spec.limit.map(Amount::units),
        };
        let mut budgets: Vec<_> = ids.into_iter().zip(specs).map(of_spec).collect();
        budgets.push(ModelBudget {
            id: BudgetId(budgets.len() as i64 + 1),
            scope: BudgetScope::Execution,
            only: Some(2),
            hard: true,
            limit: Some(CAP),
        });
        let model = Model { budgets, windows: BTreeMap::new(), open: vec![], ended: 0, calls: 0 };
        Self { ledger, model }
    }

    /// Runs a turn on both, and holds every answer of the ledger against the model's.
    fn turn(&mut self, turn: &Turn) {
        if let Err(error) = self.try_turn(turn, None) {
            assert_eq!(error.code(), ErrorCode::Cancelled, "{}", error.chain());
        }
    }

    /// The same, in which a statement fails, counted from 1: then neither of them changes.
    fn try_turn(&mut self, turn: &Turn, fails_at: Option<usize>) -> Result<()> {
        let (turn, before) = (turn.clone(), self.model.clone());
        self.model = self.ledger.write(move |inner| {
            let (mut tx, mut model) = (Watched::new(inner, fails_at), before.clone());
            for op in &turn.ops {
                perform(&mut tx, &mut model, op)?;
            }
            if turn.fails { Err(Error::cancelled("this turn fails")) } else { Ok(model) }
        })?;
        Ok(())
    }

    fn rows(&self, sql: &'static str) -> Vec<Row> {
        self.ledger.write(move |tx| tx.query_all(sql, &[])).unwrap()
    }

    fn stored_windows(&self) -> Vec<BudgetWindow> {
        let rows = self.rows(
            "SELECT budget_id, scope_id, window_start, posted, pending FROM budget_windows
             ORDER BY budget_id, scope_id, window_start LIMIT 1000",
        );
        let window = |row: &Row| BudgetWindow {
            budget_id: BudgetId(row.int(0).unwrap()),
            scope_id: row.int(1).unwrap(),
            window_start: Timestamp(row.int(2).unwrap()),
            subject: None,
            posted: Amount::Usd(nanos(row.int(3).unwrap())),
            pending: Amount::Usd(nanos(row.int(4).unwrap())),
        };
        rows.iter().map(window).collect()
    }
}

fn perform(tx: &mut dyn Connection, model: &mut Model, op: &Op) -> Result<()> {
    match op {
        Op::Reserve { .. } => perform_reserve(tx, model, op),
        Op::End { pick, end } if !model.open.is_empty() => {
            let open = model.open.remove(pick % model.open.len());
            let expected = model.end(&open, *end);
            let id = open.id;
            let booked = match *end {
                End::Void => void(tx, NOW, id, Ended::Failed).map(|()| Some(Money::ZERO))?,
                End::Dead(policy) => settle_dead(tx, NOW, id, policy)?.cost,
                End::Unknown { delivered } => settle_unknown(tx, NOW, id, delivered, Ended::Failed)?.cost,
                End::Settle { input, output } => {
                    let booked = settle(tx, NOW, id, &Usage::new(input, output), &Value::Null, Ended::Well)?;
                    let beyond = booked.cost.zip(open.amount).map(|(cost, held)| cost.nanos() - held);
                    assert_eq!(booked.overage.map(Money::nanos), beyond.filter(|beyond| *beyond > 0));
                    booked.cost
                }
            };
            assert_eq!(booked.map(Money::nanos), expected, "{end:?} of {open:?}");
            Ok(())
        }
        Op::End { .. } => Ok(()),
        Op::Limit { pick, limit } => {
            let named = model.budgets.len() - 1;
            let budget = &mut model.budgets[pick % named];
            budget.limit = *limit;
            let limit = limit.map_or(Value::Null, |limit| nanos(limit).to_string().into());
            update_budget(tx, NOW, budget.id, &[("limit".to_owned(), limit)].into_iter().collect()).map(drop)
        }
    }
}

fn perform_reserve(tx: &mut dyn Connection, model: &mut Model, op: &Op) -> Result<()> {
    let &Op::Reserve { user, root, pricing, input, output, clamp } = op else { unreachable!("reserves only") };
    model.calls += 1;
    let request = ReserveRequest {
        root_id: ExecutionId(root),
        user_id: user.map(UserId),
        price: match pricing {
            Pricing::Priced => Some(price()),
            Pricing::Free => Some(Price::FREE),
            Pricing::Unknown => None,
        },
        input_bound: input,
        output_cap: output,
        clamp,
        ..call(100 + model.calls)
    };
    match (reserve(tx, NOW, BOOT, &request)?, model.expected(op)) {
        (ReserveOutcome::Refused(_), None) => {}
        (ReserveOutcome::Reserved(reserved), Some(held)) => {
            assert_eq!((reserved.amount.map(Money::nanos), reserved.output_cap), (held.amount, held.output), "{op:?}");
            model.hold(reserved.id, op, held);
        }
        (outcome, expected) => {
            panic!("{op:?} gave {outcome:?}, the model admits {:?}", expected.map(|held| held.amount))
        }
    }
    Ok(())
}

// The invariants ----------------------------------------------------------------------------------

fn config() -> ProptestConfig {
    ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() }
}

/// Runs the turns and checks after every one.
fn hold_throughout(turns: &[Turn], check: impl Fn(&World)) {
    let mut world = World::new();
    for turn in turns {
        world.turn(turn);
        check(&world);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn i1_posted_is_the_sum_of_what_was_booked(turns in turns()) {
        hold_throughout(&turns, |world| {
            let posted: Vec<_> = world.stored_windows().iter().map(|w| ((w.budget_id, w.scope_id), w.posted.units())).collect();
            let expected: Vec<_> = world.model.windows.iter().map(|(key, sums)| (*key, sums.0)).collect();
            assert_eq!(posted, expected);
        });
    }

    #[test]
    fn i2_pending_is_the_sum_of_the_open_legs(turns in turns()) {
        hold_throughout(&turns, |world| {
            let mut pending = BTreeMap::new();
            for open in &world.model.open {
                for window in &open.windows {
                    *pending.entry(*window).or_insert(0) += open.amount.unwrap_or(0);
                }
            }
            for window in world.stored_windows() {
                let expected = pending.get(&(window.budget_id, window.scope_id)).copied().unwrap_or(0);
                assert_eq!(window.pending.units(), expected);
            }
        });
    }

    /// The model admits a call only where posted + pending + its worst case is within every hard
    /// limit; each answer of the ledger is held against it. What passes a limit afterwards is a
    /// recorded overage or an edit, so without either no window is ever over.
    #[test]
    fn i3_no_hard_limit_is_passed_but_by_a_recorded_overage(turns in turns()) {
        let within: Vec<Turn> = turns.iter().map(|turn| {
            let ops = turn.ops.iter().filter(|op| !matches!(op, Op::Limit { .. } | Op::End { end: End::Settle { .. }, .. }));
            Turn { ops: ops.cloned().collect(), fails: turn.fails }
        }).collect();
        hold_throughout(&within, |world| {
            for window in world.stored_windows() {
                let budget = world.model.budgets.iter().find(|budget| budget.id == window.budget_id).unwrap();
                if let Some(limit) = budget.limit.filter(|_| budget.hard) {
                    assert!(window.posted.units() + window.pending.units() <= limit, "{window:?} of {budget:?}");
                }
            }
        });
        hold_throughout(&turns, |_| {});
    }

    #[test]
    fn i4_each_reservation_ends_exactly_once(turns in turns()) {
        hold_throughout(&turns, |world| {
            let ends = world.rows(
                "SELECT r.state, (SELECT count(*) FROM ledger_entries e WHERE e.reservation_id = r.id AND e.kind = 'reserve'),
                     (SELECT count(*) FROM ledger_entries e WHERE e.reservation_id = r.id AND e.kind IN ('settle', 'void'))
                 FROM reservations r LIMIT 1000",
            );
            for row in &ends {
                let expected = i64::from(row.text(0).unwrap() != "open");
                assert_eq!((row.int(1).unwrap(), row.int(2).unwrap()), (1, expected));
            }
            let ended = ends.iter().filter(|row| row.text(0).unwrap() != "open").count();
            assert_eq!((ended as u64, ends.len() - ended), (world.model.ended, world.model.open.len()));
        });
    }

    #[test]
    fn i5_the_entries_alone_rebuild_every_window(turns in turns()) {
        hold_throughout(&turns, |world| {
            let rebuilt = world.ledger.write(rebuild_windows).unwrap();
            assert_eq!(rebuilt, world.stored_windows());
            world.ledger.write(verify_windows).unwrap();
        });
    }

    /// N callers at the same time on room for k: exactly k pass, and k settles later k more.
    #[test]
    fn i11_callers_at_the_same_time_admit_exactly_what_is_paid_for(callers in 1i64..60, room in 0i64..30) {
        let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(room * 400 + 399))]);
        let mut admitted = 0;
        for wave in 0..2 {
            let calls = (1..=callers).map(|n| wave * 1000 + n);
            let outcomes = ledger.write_all(calls.map(|n| move |tx: &mut dyn Connection| reserve(tx, NOW, BOOT, &call(n))));
            let reserved: Vec<_> = outcomes.into_iter().filter_map(|outcome| match outcome.unwrap() {
                ReserveOutcome::Reserved(reserved) => Some(reserved.id),
                ReserveOutcome::Refused(_) => None,
            }).collect();
            prop_assert_eq!(reserved.len() as i64, callers.min(room - admitted));
            admitted += reserved.len() as i64;
            ledger.write_all(reserved.into_iter().map(|id| move |tx: &mut dyn Connection| settle(tx, NOW, id, &Usage::new(100, 100), &Value::Null, Ended::Well)));
            prop_assert_eq!(ledger.window(budget, 1), (admitted * 400, 0));
        }
    }

    /// One after the other in a single transaction: the same.
    #[test]
    fn i11_callers_in_one_turn_admit_exactly_what_is_paid_for(callers in 1i64..60, room in 0i64..30) {
        let (ledger, _) = TestLedger::with_budgets([NewBudget::per_execution("run", nanos(room * 400 + 399))]);
        let admitted = ledger.write(move |tx| {
            let mut admitted = 0;
            for n in 1..=callers {
                let request = ReserveRequest { root_id: ExecutionId(1), ..call(n) };
                admitted += i64::from(matches!(reserve(tx, NOW, BOOT, &request)?, ReserveOutcome::Reserved(_)));
            }
            Ok(admitted)
        });
        prop_assert_eq!(admitted.unwrap(), callers.min(room));
    }
}
