//! Calls: what reserve, settle, void and the alerts promise.
#![allow(clippy::unwrap_used)]

mod corrections;
mod records;
mod rerate;
mod windows;

use serde_json::json;

use super::testing::*;
use super::*;
use crate::domain::{
    AlertKind, Amount, BudgetId, CostFilter, EntryFlag, EntryKind, ListOptions, Metered, NewBudget, Patch, Provenance,
    Rate, Timestamp, Usage, UsageDetails,
};
use crate::error::{Error, ErrorCode, Result};
use crate::store::sql::Connection;

fn patch(value: serde_json::Value) -> Patch {
    value.as_object().unwrap().clone()
}

// Reserve -----------------------------------------------------------------------------------------

#[test]
fn t01_of_500_parallel_calls_exactly_the_7_that_are_paid_for_pass() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(7 * 400 + 399))]);
    let outcomes = ledger.write_all((1..=500).map(|n| move |tx: &mut dyn Connection| reserve(tx, NOW, BOOT, &call(n))));
    let refused = outcomes.iter().filter_map(|outcome| match outcome.as_ref().unwrap() {
        ReserveOutcome::Refused(refusal) => Some(refusal.error.code()),
        ReserveOutcome::Reserved(_) => None,
    });
    assert_eq!(refused.collect::<Vec<_>>(), vec![ErrorCode::BudgetExceeded; 493]);
    assert_eq!(ledger.window(budget, 1), (0, 7 * 400));
}

#[test]
fn a_refusal_says_what_is_left_and_what_was_needed() {
    let (ledger, [_, second]) = TestLedger::with_budgets([
        NewBudget::per_user("roomy", nanos(10_000)),
        NewBudget::per_user("tight", nanos(900)),
    ]);
    ledger.reserve(call(1));
    ledger.reserve(call(2));
    let refused = ledger.refusal(call(3)).details();
    assert_eq!(
        refused,
        json!({"budget": second, "limit": "0.0000009", "left": "0.0000001", "needed": "0.0000004", "resets_at": null})
    );
}

#[test]
fn the_budget_that_refuses_is_the_one_that_is_named() {
    let (ledger, [_, tight]) =
        TestLedger::with_budgets([NewBudget::per_user("exact", nanos(400)), NewBudget::per_user("tight", nanos(399))]);
    assert_eq!(ledger.refusal(call(1)).details()["budget"], json!(tight));
}

#[test]
fn a_refusal_leaves_the_rest_of_the_turn() {
    let (ledger, [roomy, tight]) = TestLedger::with_budgets([
        NewBudget::per_user("roomy", nanos(10_000)),
        NewBudget::per_user("tight", nanos(500)),
    ]);
    let first = ledger.reserve(call(1)).id;
    let refused = ledger.write(move |tx| {
        settle(tx, NOW, first, &Usage::new(100, 50), &json!({}), Ended::Well)?;
        match reserve(tx, NOW, BOOT, &ReserveRequest { attempt: 2, ..call(1) })? {
            ReserveOutcome::Refused(refusal) => Ok(refusal.error.code()),
            ReserveOutcome::Reserved(_) => Err(Error::internal("reserved")),
        }
    });
    assert_eq!(refused.unwrap(), ErrorCode::BudgetExceeded);
    assert_eq!(ledger.kinds(), [EntryKind::Settle]);
    assert_eq!((ledger.window(roomy, 1), ledger.window(tight, 1)), ((250, 0), (250, 0)));
    // The refused attempt has no reservation: it may be made again.
    let limit = patch(json!({"limit": "1"}));
    ledger.write(move |tx| update_budget(tx, NOW, tight, &limit)).unwrap();
    ledger.reserve(ReserveRequest { attempt: 2, ..call(1) });
}

#[test]
fn t03_absurd_output_caps_are_refused_or_clamped() {
    for output_cap in [u64::MAX, 1 << 63, i64::MAX as u64] {
        let ledger = TestLedger::new();
        let absurd = ReserveRequest { output_cap, ..call(1) };
        assert_eq!(ledger.refusal(absurd.clone()).code(), ErrorCode::InvalidInput);
        let clamped = ledger.reserve(ReserveRequest { clamp: true, ..absurd.clone() });
        assert!(clamped.output_cap < output_cap && clamped.amount.unwrap() <= MAX_CALL_COST);
        // Without a price, or for free, there is nothing to hold, and the number is kept in range.
        ledger.reserve(ReserveRequest { price: None, ..call(2) });
        let free = ledger.reserve(ReserveRequest { price: Some(Price::FREE), execution_id: ExecutionId(3), ..absurd });
        let id = free.id;
        assert_eq!(
            ledger.write(move |tx| settle_dead(tx, NOW, id, RecoverySettlement::Reserved)).unwrap().cost,
            Some(Money::ZERO)
        );
    }
}

#[test]
fn t03_an_absurd_cap_under_a_budget_names_the_budget() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(1000))]);
    let absurd = ReserveRequest { output_cap: u64::MAX, ..call(1) };
    assert_eq!(ledger.refusal(absurd.clone()).code(), ErrorCode::BudgetExceeded);
    let clamped = ledger.reserve(ReserveRequest { clamp: true, ..absurd });
    assert_eq!((clamped.output_cap, clamped.amount), (300, Some(nanos(1000))));
    assert_eq!(ledger.window(budget, 1), (0, 1000));
}

#[test]
fn clamp_lowers_the_cap_to_what_the_tightest_budget_pays_for() {
    let (ledger, _) =
        TestLedger::with_budgets([NewBudget::per_user("a", nanos(10_000)), NewBudget::per_execution("b", nanos(200))]);
    let wish = ReserveRequest { clamp: true, ..call(1) };
    assert_eq!(ledger.refusal(call(1)).code(), ErrorCode::BudgetExceeded);
    let clamped = ledger.reserve(wish);
    assert_eq!((clamped.output_cap, clamped.amount), (33, Some(nanos(199))));
}

#[test]
fn clamp_goes_no_lower_than_an_answer_needs() {
    let wish = ReserveRequest { clamp: true, ..call(1) };
    let (ledger, _) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(147))]);
    assert_eq!(ledger.refusal(wish.clone()).details()["needed"], "0.000000148");
    let (ledger, _) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(148))]);
    assert_eq!(ledger.reserve(wish.clone()).output_cap, 16);
    // Who asks for less than that gets it.
    let (ledger, _) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(147))]);
    assert_eq!(ledger.reserve(ReserveRequest { output_cap: 5, ..wish }).output_cap, 5);
}

#[test]
fn t10_an_unknown_price_is_refused_under_a_hard_budget_and_recorded_without() {
    let (ledger, [hard]) = TestLedger::with_budgets([NewBudget::per_user("hard", nanos(1_000_000)).only(1)]);
    let unpriced = |user| ReserveRequest { price: None, user_id: Some(UserId(user)), ..call(user) };
    let refused = ledger.refusal(unpriced(1));
    assert_eq!((refused.code(), refused.details()), (ErrorCode::BudgetExceeded, json!({"budget": hard, "model": "m"})));
    assert_eq!(ledger.kinds(), []);

    let booked = ledger.spend(unpriced(2), Usage::new(70, 30));
    assert_eq!(booked.cost, None);
    let summary = ledger.summary(CostFilter::all());
    assert_eq!((summary.cost, summary.unpriced_calls, summary.known_cost()), (Money::ZERO, 1, None));
    assert_eq!(summary.usage.total_tokens(), 100);
}

#[test]
fn t10_soft_and_unlimited_budgets_let_an_unknown_price_pass() {
    let soft = NewBudget::per_user("soft", nanos(1)).soft();
    let mut unlimited = NewBudget::per_user("unlimited", nanos(1));
    unlimited.limit = None;
    let (ledger, _) = TestLedger::with_budgets([soft, unlimited]);
    assert_eq!(ledger.reserve(ReserveRequest { price: None, ..call(1) }).amount, None);
}

#[test]
fn t22_zero_blocks_none_is_unlimited_lowered_blocks_the_next() {
    let mut unlimited = NewBudget::per_user("unlimited", nanos(0));
    unlimited.limit = None;
    let (ledger, [budget]) = TestLedger::with_budgets([unlimited]);
    let edit = |value| {
        let patch = patch(value);
        ledger.write(move |tx| update_budget(tx, NOW, budget, &patch)).unwrap();
    };
    ledger.spend(call(1), Usage::new(100, 100));
    assert_eq!(ledger.window(budget, 1), (400, 0));
    edit(json!({"limit": "0.0000003"}));
    assert_eq!(ledger.refusal(call(2)).details()["left"], "0");
    edit(json!({"limit": "0.0000008"}));
    ledger.reserve(call(2));
    edit(json!({"limit": 0}));
    ledger.refusal(ReserveRequest { input_bound: 0, output_cap: 0, ..call(3) });
    edit(json!({"limit": null}));
    ledger.reserve(call(3));
}

#[test]
fn a_free_model_passes_an_exhausted_budget() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(0))]);
    ledger.refusal(call(1));
    let free = ReserveRequest { price: Some(Price::FREE), ..call(1) };
    assert_eq!(ledger.spend(free, Usage::new(5, 5)).cost, Some(Money::ZERO));
    assert_eq!(ledger.window(budget, 1), (0, 0));
}

#[test]
fn budgets_count_their_own_scope_only() {
    let (ledger, [each, ana, run]) = TestLedger::with_budgets([
        NewBudget::per_user("each", nanos(400)),
        NewBudget::per_user("ana", nanos(10_000)).only(1),
        NewBudget::per_execution("run", nanos(800)),
    ]);
    let of = |user: Option<i64>, root: i64, execution: i64| ReserveRequest {
        user_id: user.map(UserId),
        root_id: ExecutionId(root),
        ..call(execution)
    };
    ledger.reserve(of(Some(1), 50, 50));
    ledger.reserve(of(Some(2), 50, 51));
    // The root execution 50 is full, whoever asks; user 1 is full, whatever runs.
    assert_eq!(ledger.refusal(of(None, 50, 52)).details()["budget"], json!(run));
    assert_eq!(ledger.refusal(of(Some(1), 60, 60)).details()["budget"], json!(each));
    // Nobody's call is counted by no user's budget.
    ledger.reserve(of(None, 60, 60));
    assert_eq!(ledger.windows().len(), 5);
    assert_eq!((ledger.window(each, 1), ledger.window(each, 2)), ((0, 400), (0, 400)));
    assert_eq!((ledger.window(ana, 1), ledger.window(ana, 2)), ((0, 400), (0, 0)));
    assert_eq!((ledger.window(run, 50), ledger.window(run, 60)), ((0, 800), (0, 400)));
}

#[test]
fn an_attempt_is_reserved_once() {
    let ledger = TestLedger::new();
    let reserved = ledger.reserve(call(1));
    let again = |ledger: &TestLedger| ledger.write(|tx| reserve(tx, NOW, BOOT, &call(1))).unwrap_err().code();
    assert_eq!(again(&ledger), ErrorCode::Conflict);
    ledger.settle(&reserved, Usage::new(1, 1));
    assert_eq!(again(&ledger), ErrorCode::Conflict);
    ledger.reserve(ReserveRequest { attempt: 2, ..call(1) });
}

#[test]
fn t20_every_attempt_is_booked_and_the_budget_ends_the_storm() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_execution("run", nanos(1000))]);
    for attempt in 1..=3 {
        let id = ledger.reserve(ReserveRequest { attempt, ..call(1) }).id;
        ledger.write(move |tx| settle_unknown(tx, NOW, id, 50, Ended::Failed)).unwrap();
    }
    ledger.refusal(ReserveRequest { attempt: 4, ..call(1) });
    assert_eq!(ledger.window(budget, 1), (750, 0));
    assert_eq!(ledger.entries().iter().map(|entry| entry.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(ledger.summary(CostFilter::all()).usage.requests, 3);
}

#[test]
fn the_cap_of_an_execution_holds_and_is_no_budget_of_the_user() {
    let ledger = TestLedger::new();
    ledger.write(|tx| cap_execution(tx, NOW, ExecutionId(1), nanos(500))).unwrap();
    ledger.spend(call(1), Usage::new(100, 50));
    let child = ReserveRequest { root_id: ExecutionId(1), ..call(2) };
    let refused = ledger.refusal(child.clone());
    assert_eq!((refused.code(), refused.details()["limit"].clone()), (ErrorCode::LimitExceeded, json!("cost")));
    assert_eq!(ledger.refusal(ReserveRequest { price: None, ..child }).code(), ErrorCode::BudgetExceeded);
    ledger.reserve(call(3));
    assert_eq!(ledger.write(|tx| list_budgets(tx, &ListOptions::default())).unwrap().items, []);
    assert_eq!(ledger.write(|tx| get_budget(tx, BudgetId(1))).unwrap_err().code(), ErrorCode::NotFound);
    let negative = ledger.write(|tx| cap_execution(tx, NOW, ExecutionId(1), nanos(-1)));
    assert_eq!(negative.unwrap_err().code(), ErrorCode::InvalidInput);
}

// Settle ------------------------------------------------------------------------------------------

#[test]
fn settle_books_the_cost_and_gives_the_rest_back() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(1000))]);
    let reserved = ledger.reserve(call(1));
    assert_eq!((reserved.amount, ledger.window(budget, 1)), (Some(nanos(400)), (0, 400)));
    let booked = ledger.settle(&reserved, Usage::new(80, 10).with_cache(30, 0).with_reasoning(4));
    assert_eq!(booked, Booked { cost: Some(nanos(110)), usage: booked.usage, ..Booked::default() });
    assert_eq!(ledger.window(budget, 1), (110, 0));
    let [entry] = ledger.entries().try_into().unwrap();
    assert_eq!((entry.kind, entry.amount, entry.flag), (EntryKind::Settle, Some(nanos(110)), None));
    assert_eq!(entry.usage, Some(Usage::new(80, 10).with_cache(30, 0).with_reasoning(4)));
}

#[test]
fn a_reservation_ends_once() {
    type End = fn(&mut dyn Connection, ReservationId) -> Result<()>;
    let ends: [End; 4] = [
        |tx, id| settle(tx, NOW, id, &Usage::new(1, 1), &json!({}), Ended::Well).map(drop),
        |tx, id| settle_unknown(tx, NOW, id, 1, Ended::Failed).map(drop),
        |tx, id| settle_dead(tx, NOW, id, RecoverySettlement::Reserved).map(drop),
        |tx, id| void(tx, NOW, id, Ended::Failed),
    ];
    let ledger = TestLedger::new();
    for (n, first) in (1..).zip(ends) {
        let id = ledger.reserve(call(n)).id;
        ledger.write(move |tx| first(tx, id)).unwrap();
        let booked = ledger.entries();
        for second in ends {
            assert_eq!(ledger.write(move |tx| second(tx, id)).unwrap_err().code(), ErrorCode::Internal);
        }
        assert_eq!(ledger.entries(), booked);
    }
    assert_eq!(
        ledger.write(|tx| void(tx, NOW, ReservationId(99), Ended::Failed)).unwrap_err().code(),
        ErrorCode::Internal
    );
}

#[test]
fn void_gives_everything_back() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(400))]);
    let id = ledger.reserve(call(1)).id;
    ledger.refusal(call(2));
    ledger.write(move |tx| void(tx, NOW, id, Ended::Failed)).unwrap();
    assert_eq!((ledger.window(budget, 1), ledger.kinds()), ((0, 0), vec![EntryKind::Void]));
    ledger.reserve(call(2));
    assert_eq!(ledger.summary(CostFilter::all()), Default::default());
}

#[test]
fn an_overage_is_booked_and_blocks_the_next_call() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(500))]);
    let booked = ledger.spend(call(1), Usage::new(100, 200));
    assert_eq!((booked.cost, booked.overage), (Some(nanos(700)), Some(nanos(300))));
    assert_eq!(ledger.window(budget, 1), (700, 0));
    let amounts: Vec<_> = ledger.entries().iter().map(|entry| (entry.kind, entry.amount)).collect();
    assert_eq!(amounts, [(EntryKind::Settle, Some(nanos(400))), (EntryKind::Overage, Some(nanos(300)))]);
    ledger.refusal(ReserveRequest { input_bound: 1, output_cap: 0, ..call(2) });
    // The tokens of the call are counted once, its cost in full.
    let summary = ledger.summary(CostFilter::all());
    assert_eq!((summary.cost, summary.usage.total_tokens(), summary.usage.requests), (nanos(700), 300, 1));
}

#[test]
fn t05_absurd_usage_is_booked_flagged_and_never_overflows() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(1_000_000)).soft()]);
    for n in 1..=3 {
        // Dearer than any call can be: what was reserved is booked.
        let booked = ledger.spend(call(n), Usage::new(u64::MAX, u64::MAX));
        assert_eq!((booked.cost, booked.overage), (Some(nanos(400)), None));
    }
    // A number that fits and is still beyond belief.
    assert_eq!(ledger.spend(call(5), Usage::new(1_000_000_000_000_001, 0)).cost, Some(nanos(400)));
    // Dear, but possible: all of it is booked.
    let booked = ledger.spend(call(4), Usage::new(100, 1_000_000_000));
    assert_eq!(booked.overage, Some(nanos(3_000_000_100 - 400)));
    assert_eq!(ledger.window(budget, 1), (3_000_000_100 + 4 * 400, 0));
    let flags: Vec<_> = ledger.entries().iter().map(|entry| entry.flag).collect();
    assert_eq!(flags[..4], [Some(EntryFlag::ImplausibleUsage); 4]);
    assert_eq!(flags[4..], [None, None]);
    ledger.summary(CostFilter::all());
}

#[test]
fn t06_without_usage_the_floor_is_booked_as_an_estimate() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(1000))]);
    let unknown = |execution, delivered| {
        let id = ledger.reserve(call(execution)).id;
        ledger.write(move |tx| settle_unknown(tx, NOW, id, delivered, Ended::Failed)).unwrap().cost
    };
    assert_eq!(unknown(1, 0), Some(nanos(100)));
    assert_eq!(unknown(2, 20), Some(nanos(160)));
    // A count of what arrived may be too high; an estimate makes no overage.
    assert_eq!(unknown(3, u64::MAX), Some(nanos(400)));
    assert_eq!(ledger.window(budget, 1), (660, 0));
    let usage = ledger.entries()[1].usage.unwrap();
    assert_eq!(usage, Usage::new(100, 20).with_provenance(Provenance::Estimated));
    assert_eq!(ledger.summary(CostFilter::all()).usage.provenance, Provenance::Estimated);
}

#[test]
fn t06_an_unknown_outcome_is_charged_at_the_dearest_input_rate() {
    let ledger = TestLedger::new();
    let mut dear = price();
    dear.cache_write = Some(Rate::from_picos(1250));
    let id = ledger.reserve(ReserveRequest { price: Some(dear), ..call(1) }).id;
    assert_eq!(ledger.write(move |tx| settle_unknown(tx, NOW, id, 0, Ended::Failed)).unwrap().cost, Some(nanos(125)));
}

#[test]
fn searches_are_held_where_the_request_bounds_them() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(2_000))]);
    let searching = |n, searches| {
        let price = Price { search: Some(Rate::parse("0.000000100").unwrap()), ..price() };
        let at_most = UsageDetails { searches, ..UsageDetails::default() };
        ReserveRequest { price: Some(price), metered: Metered { at_most, ..Metered::default() }, ..call(n) }
    };
    let searched = |searches| Usage::new(100, 100).with_details(UsageDetails { searches, ..UsageDetails::default() });
    let held = ledger.reserve(searching(1, 3));
    assert_eq!((held.amount, ledger.window(budget, 1)), (Some(nanos(400 + 300)), (0, 700)));
    assert_eq!(ledger.settle(&held, searched(3)).overage, None);
    // Nobody knows how many were made: all that were allowed.
    let id = ledger.reserve(searching(2, 3)).id;
    let unknown = ledger.write(move |tx| settle_unknown(tx, NOW, id, 0, Ended::Failed)).unwrap();
    assert_eq!((unknown.cost, unknown.usage.details.searches), (Some(nanos(100 + 300)), 3));
    assert_eq!(ledger.refusal(searching(3, 6)).code(), ErrorCode::BudgetExceeded);
    // The cap is lowered to what is left beside them.
    let clamped = ledger.reserve(ReserveRequest { clamp: true, output_cap: 1_000, ..searching(4, 6) });
    assert_eq!((clamped.amount, clamped.output_cap), (Some(nanos(100 + 600 + 198)), 66));
    // Unbounded ones are booked as they come, and stop the next.
    let free = ledger.settle(&clamped, searched(9));
    assert_eq!(free.overage, Some(nanos(400 + 900 - 898)));
    assert_eq!(ledger.refusal(call(5)).code(), ErrorCode::BudgetExceeded);
}

#[test]
fn t07_an_explicit_zero_is_a_zero() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(1000))]);
    assert_eq!(ledger.spend(call(1), Usage::new(0, 0)).cost, Some(Money::ZERO));
    assert_eq!(ledger.window(budget, 1), (0, 0));
    assert_eq!(ledger.summary(CostFilter::all()).known_cost(), Some(Money::ZERO));
}

#[test]
fn t08_more_cached_than_input_is_flagged_and_costs_no_less_than_nothing() {
    let ledger = TestLedger::new();
    let cheap_cache = price().with_cache_read(Rate::from_picos(100));
    let request = ReserveRequest { price: Some(cheap_cache), ..call(1) };
    let booked = ledger.spend(request, Usage::new(10, 5).with_cache(50, 7).with_reasoning(9));
    assert_eq!(booked.cost, Some(nanos(16)));
    let entry = &ledger.entries()[0];
    assert_eq!(entry.flag, Some(EntryFlag::InconsistentUsage));
    assert_eq!(entry.usage, Some(Usage::new(10, 5).with_cache(10, 0).with_reasoning(5)));
}

#[test]
fn what_dead_processes_left_open_is_settled_in_full() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(10_000))]);
    for (boot, execution) in [("dead", 1), ("alive", 2), ("dead", 3)] {
        ledger.write(move |tx| reserve(tx, NOW, boot, &call(execution)).map(drop)).unwrap();
    }
    assert_eq!(ledger.write(boots_with_open_reservations).unwrap(), ["alive", "dead"]);
    let open = ledger.write(|tx| open_reservations_of(tx, "dead", 10)).unwrap();
    assert_eq!(open.iter().map(|open| open.execution_id.0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(ledger.write(|tx| open_reservations_of(tx, "dead", 1)).unwrap(), open[..1]);
    for reservation in open {
        let booked =
            ledger.write(move |tx| settle_dead(tx, NOW, reservation.id, RecoverySettlement::Reserved)).unwrap();
        assert_eq!((booked.cost, booked.overage), (Some(nanos(400)), None));
    }
    assert_eq!(ledger.window(budget, 1), (800, 400));
    assert_eq!(ledger.entries()[0].usage.unwrap(), Usage::new(100, 100).with_provenance(Provenance::Estimated));
    assert_eq!(ledger.write(boots_with_open_reservations).unwrap(), ["alive"]);
}

#[test]
fn by_the_floor_a_dead_call_is_its_input_and_nothing_delivered() {
    let tokens = NewBudget::per_user("t", Money::ZERO).tokens(1_000);
    let (ledger, [money, tokens]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(10_000)), tokens]);
    let reserved = ledger.reserve(call(1));
    let id = reserved.id;
    let booked = ledger.write(move |tx| settle_dead(tx, NOW, id, RecoverySettlement::Floor)).unwrap();
    assert_eq!((reserved.amount, booked.cost, booked.overage), (Some(nanos(400)), Some(nanos(100)), None));
    assert_eq!(booked.usage, Usage::new(100, 0).with_provenance(Provenance::Estimated));
    assert_eq!((ledger.window(money, 1), ledger.window(tokens, 1)), ((100, 0), (100, 0)));
}

#[test]
fn a_budget_deleted_under_a_call_still_settles() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(400))]);
    let reserved = ledger.reserve(call(1));
    ledger.write(move |tx| delete_budget(tx, NOW, budget)).unwrap();
    assert_eq!(ledger.settle(&reserved, Usage::new(100, 100)).alerts, []);
    assert_eq!(ledger.window(budget, 1), (400, 0));
    ledger.reserve(call(2));
    assert_eq!(ledger.window(budget, 1), (400, 0));
}

// Alerts ------------------------------------------------------------------------------------------

#[test]
fn a_soft_budget_never_refuses_and_alerts_once_for_each_threshold() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("soft", nanos(1000)).soft()]);
    let thresholds = |execution| {
        let booked = ledger.spend(call(execution), Usage::new(100, 100));
        booked.alerts.iter().map(|alert| (alert.threshold, alert.posted.units())).collect::<Vec<_>>()
    };
    assert_eq!(thresholds(1), []);
    assert_eq!(thresholds(2), [(80, 800)]);
    assert_eq!(thresholds(3), [(100, 1200)]);
    assert_eq!(thresholds(4), []);
    // Another user has a window, and alerts, of his own.
    let other = ReserveRequest { user_id: Some(UserId(2)), ..call(5) };
    let alerts = ledger.spend(other, Usage::new(1000, 0)).alerts;
    let alerts: Vec<_> = alerts.into_iter().map(|alert| Alert { id: 0, ..alert }).collect();
    let expected = |threshold| Alert {
        id: 0,
        at: NOW,
        kind: AlertKind::Threshold,
        window_start: Timestamp(0),
        exhausted_at: None,
        budget_id: budget,
        budget: "soft".into(),
        scope_id: 2,
        threshold,
        posted: Amount::Usd(nanos(1000)),
        limit: Amount::Usd(nanos(1000)),
    };
    assert_eq!(alerts, [expected(80), expected(100)]);
}

#[test]
fn t23_a_threshold_crossed_by_100_parallel_settles_raises_one_alert() {
    let (ledger, _) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(50_000)).with_thresholds(vec![50])]);
    let ids: Vec<_> = (1..=100).map(|n| ledger.reserve(call(n)).id).collect();
    let booked =
        ledger.write_all(ids.into_iter().map(|id| {
            move |tx: &mut dyn Connection| settle(tx, NOW, id, &Usage::new(100, 100), &json!({}), Ended::Well)
        }));
    assert_eq!(booked.into_iter().map(|booked| booked.unwrap().alerts.len()).sum::<usize>(), 1);
}

// Statements --------------------------------------------------------------------------------------

/// Statements of a reserve and of the settle behind it.
fn statements(ledger: &TestLedger) -> (usize, usize) {
    ledger
        .write(|inner| {
            let mut tx = Watched::new(inner, None);
            let ReserveOutcome::Reserved(reserved) = reserve(&mut tx, NOW, BOOT, &call(1))? else {
                return Err(Error::internal("refused"));
            };
            let reserving = tx.statements;
            settle(&mut tx, NOW, reserved.id, &Usage::new(10, 10), &json!({}), Ended::Well)?;
            Ok((reserving, tx.statements - reserving))
        })
        .unwrap()
}

#[test]
fn a_call_takes_six_statements_and_a_budget_adds_three() {
    assert_eq!(statements(&TestLedger::new()), (3, 3));
    let (ledger, _) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(1_000_000))]);
    assert_eq!(statements(&ledger), (4, 5));
}
