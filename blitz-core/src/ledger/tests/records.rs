//! Budgets as records, and what was booked.

use serde_json::json;

use super::patch;
use crate::domain::{CostFilter, ExecutionId, ListOptions, NewBudget, Timestamp, Usage, UserId};
use crate::error::ErrorCode;
use crate::ledger::testing::*;
use crate::ledger::*;

// Budgets -----------------------------------------------------------------------------------------

#[test]
fn put_changes_nothing_where_nothing_changed() {
    let ledger = TestLedger::new();
    let put = |at: i64, budget: NewBudget| ledger.write(move |tx| put_budget(tx, Timestamp(at), &budget)).unwrap();
    let first = put(1, NewBudget::per_user("u", nanos(5)));
    assert_eq!(
        (first.revision, first.created_at, first.spec.thresholds.as_slice()),
        (1, Timestamp(1), [80, 100].as_slice())
    );
    assert_eq!(put(2, NewBudget::per_user("u", nanos(5)).with_thresholds(vec![100, 80, 80])), first);
    let raised = put(3, NewBudget::per_user("u", nanos(9)));
    assert_eq!((raised.id, raised.revision, raised.updated_at), (first.id, 2, Timestamp(3)));
    assert_eq!(ledger.write(|tx| find_budget(tx, "u")).unwrap(), raised);
}

#[test]
fn a_name_is_taken_until_its_budget_is_deleted() {
    let (ledger, [a, b]) =
        TestLedger::with_budgets([NewBudget::per_user("a", nanos(1)), NewBudget::per_user("b", nanos(1))]);
    let create = || ledger.write(|tx| create_budget(tx, NOW, &NewBudget::per_execution("a", nanos(2))));
    let rename = patch(json!({"name": "a"}));
    let renamed = ledger.write(move |tx| update_budget(tx, NOW, b, &rename));
    assert_eq!(create().unwrap_err().code(), ErrorCode::Conflict);
    assert_eq!(renamed.unwrap_err().code(), ErrorCode::Conflict);
    ledger.write(move |tx| delete_budget(tx, NOW, a)).unwrap();
    assert_ne!(create().unwrap().id, a);
    assert_eq!(ledger.write(move |tx| delete_budget(tx, NOW, a)).unwrap_err().code(), ErrorCode::NotFound);
}

#[test]
fn t70_what_is_no_budget_is_refused() {
    let (ledger, [id]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(1))]);
    let wrong = [
        json!({"limit": "-1"}),
        json!({"name": ""}),
        json!({"name": " u"}),
        json!({"name": "x".repeat(201)}),
        json!({"scope_id": 0}),
        json!({"scope_id": -3}),
        json!({"thresholds": [0]}),
        json!({"thresholds": [1001]}),
        json!({"thresholds": (1..=21).collect::<Vec<u32>>()}),
        json!({"hard": "yes"}),
        json!({"posted": "0"}),
        json!({"name": null}),
    ];
    for value in wrong {
        let patch = patch(value.clone());
        let refused = ledger.write(move |tx| update_budget(tx, NOW, id, &patch));
        assert_eq!(refused.unwrap_err().code(), ErrorCode::InvalidInput, "{value}");
    }
    let scope = patch(json!({"scope": "execution"}));
    assert_eq!(ledger.write(move |tx| update_budget(tx, NOW, id, &scope)).unwrap_err().code(), ErrorCode::Conflict);
    assert_eq!(ledger.write(move |tx| get_budget(tx, id)).unwrap().revision, 1);
}

#[test]
fn budgets_and_windows_come_in_pages() {
    let ledger = TestLedger::new();
    for n in 1..=5 {
        ledger.write(move |tx| cap_execution(tx, NOW, ExecutionId(n), nanos(1_000_000))).unwrap();
        ledger
            .write(move |tx| create_budget(tx, NOW, &NewBudget::per_user(format!("b{n}"), nanos(1_000_000))))
            .unwrap();
    }
    let list = |options: ListOptions| ledger.write(move |tx| list_budgets(tx, &options));
    let first = list(ListOptions::limit(2)).unwrap();
    let second = list(ListOptions::limit(3).after(first.next_cursor.clone().unwrap())).unwrap();
    let names: Vec<_> = first.items.iter().chain(&second.items).map(|budget| budget.spec.name.as_str()).collect();
    assert_eq!((names, second.next_cursor), (vec!["b1", "b2", "b3", "b4", "b5"], None));
    assert_eq!(list(ListOptions::default().after("b2")).unwrap_err().code(), ErrorCode::InvalidInput);

    let budget = first.items[1].id;
    for user in 1..=3 {
        ledger.spend(ReserveRequest { user_id: Some(UserId(user)), ..call(user) }, Usage::new(1, 0));
    }
    let windows = |options: ListOptions| ledger.write(move |tx| list_windows(tx, budget, &options)).unwrap();
    let page = windows(ListOptions::limit(2));
    assert_eq!(page.items.iter().map(|window| window.scope_id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(windows(ListOptions::limit(2).after(page.next_cursor.unwrap())).items[0].scope_id, 3);
}

// Costs -------------------------------------------------------------------------------------------

#[test]
fn costs_are_summed_over_every_filter() {
    let ledger = TestLedger::new();
    let spend = |user: i64, root: i64, execution: i64, at: i64, input: u64| {
        let request = ReserveRequest { user_id: Some(UserId(user)), root_id: ExecutionId(root), ..call(execution) };
        ledger
            .write(move |tx| match reserve(tx, Timestamp(at), BOOT, &request)? {
                ReserveOutcome::Reserved(held) => {
                    settle(tx, Timestamp(at), held.id, &Usage::new(input, 0), &json!({}), Ended::Well)
                }
                ReserveOutcome::Refused(refusal) => Err(*refusal.error),
            })
            .unwrap();
    };
    spend(1, 10, 10, 100, 1);
    spend(1, 10, 11, 200, 2);
    spend(2, 20, 20, 300, 4);
    spend(2, 30, 30, 400, 8);
    let cost = |filter| ledger.summary(filter).cost.nanos();
    assert_eq!(cost(CostFilter::all()), 15);
    assert_eq!(cost(CostFilter::of_user(UserId(2))), 12);
    assert_eq!(cost(CostFilter::of_root(ExecutionId(10))), 3);
    assert_eq!(cost(CostFilter::of_execution(ExecutionId(11))), 2);
    assert_eq!(cost(CostFilter::all().between(Timestamp(200), Timestamp(400))), 6);
    assert_eq!(cost(CostFilter::of_user(UserId(2)).between(Timestamp(301), Timestamp(999))), 8);
    assert_eq!(cost(CostFilter { user_id: Some(UserId(2)), ..CostFilter::of_root(ExecutionId(10)) }), 0);
    assert_eq!(cost(CostFilter::of_execution(ExecutionId(99))), 0);
    let of_root = CostFilter::of_root(ExecutionId(10));
    let (known, usage) = ledger.write(move |tx| execution_cost(tx, &of_root)).unwrap();
    assert_eq!((known, usage), (Some(nanos(3)), Usage { requests: 2, ..Usage::new(3, 0) }));
}

#[test]
fn entries_come_in_pages_oldest_first() {
    let ledger = TestLedger::new();
    for n in 1..=5 {
        ledger.spend(call(n), Usage::new(n as u64, 0));
    }
    let list = |options: ListOptions| ledger.write(move |tx| list_entries(tx, &CostFilter::all(), &options)).unwrap();
    let first = list(ListOptions::limit(3));
    let second = list(ListOptions::limit(3).after(first.next_cursor.clone().unwrap()));
    let amounts: Vec<_> = first.items.iter().chain(&second.items).map(|e| e.amount.unwrap().nanos()).collect();
    assert_eq!((amounts, second.next_cursor), (vec![1, 2, 3, 4, 5], None));
}

#[test]
fn the_ledger_can_only_grow() {
    let ledger = TestLedger::new();
    ledger.spend(call(1), Usage::new(1, 1));
    let before = ledger.entries();
    for forbidden in ["UPDATE ledger_entries SET amount = 0", "DELETE FROM ledger_entries"] {
        assert!(ledger.write(move |tx| tx.execute(forbidden, &[])).is_err());
    }
    assert_eq!(ledger.entries(), before);
}

#[test]
fn a_window_that_was_tampered_with_is_found() {
    let (ledger, _) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(1000))]);
    ledger.spend(call(1), Usage::new(100, 0));
    ledger.write(verify_windows).unwrap();
    ledger.write(|tx| tx.execute("UPDATE budget_windows SET posted = posted - 1", &[])).unwrap();
    let error = ledger.write(verify_windows).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Storage);
    assert_eq!(error.details()["rebuilt"]["posted"], "0.0000001");
}

#[test]
fn what_the_provider_said_is_kept_unless_it_is_huge() {
    let ledger = TestLedger::new();
    let settle_raw = |execution, raw: serde_json::Value| {
        let id = ledger.reserve(call(execution)).id;
        ledger.write(move |tx| settle(tx, NOW, id, &Usage::new(1, 1), &raw, Ended::Well)).unwrap();
    };
    settle_raw(1, json!({"prompt_tokens": 1}));
    settle_raw(2, json!({"junk": "x".repeat(100_000)}));
    settle_raw(3, json!(null));
    let kept = ledger
        .write(|tx| {
            tx.query_all("SELECT raw_usage FROM ledger_entries WHERE kind = 'settle' ORDER BY seq LIMIT 9", &[])
        })
        .unwrap();
    let kept: Vec<_> = kept.iter().map(|row| row.opt_text(0).unwrap()).collect();
    assert_eq!(kept, [Some(r#"{"prompt_tokens":1}"#), None, None]);
}
