//! Windows, scopes, quotas, raises: which budget counts a call, and since when.

use serde_json::json;

use crate::domain::{
    AlertKind, Amount, BudgetId, BudgetPeriod, BudgetScope, ExecutionId, NewBudget, OnExceed, OnUnpriced, Price,
    ResourceId, Timestamp, Usage, UserId,
};
use crate::error::{Error, ErrorCode};
use crate::ledger::testing::*;
use crate::ledger::*;

const HOUR: i64 = 3_600_000_000;

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn reserve_at(ledger: &TestLedger, now: Timestamp, request: ReserveRequest) -> ReserveOutcome {
    ledger.write(move |tx| reserve(tx, now, BOOT, &request)).unwrap()
}

/// Spends 400 nanos at a moment; the refusal where there is no room.
fn spend_at(ledger: &TestLedger, now: Timestamp, request: ReserveRequest) -> Result<Booked, Error> {
    match reserve_at(ledger, now, request) {
        ReserveOutcome::Refused(refusal) => Err(*refusal.error),
        ReserveOutcome::Reserved(reserved) => {
            ledger.write(move |tx| settle(tx, now, reserved.id, &Usage::new(100, 100), &json!({}), Ended::Well))
        }
    }
}

fn limited(scope: BudgetScope, nano: i64) -> NewBudget {
    NewBudget::new("b", scope).with_limit(nanos(nano))
}

fn starts(ledger: &TestLedger) -> Vec<Timestamp> {
    ledger.windows().iter().map(|window| window.window_start).collect()
}

#[test]
fn t21_a_month_begins_anew_by_its_calendar_and_the_old_one_stays() {
    let month = limited(BudgetScope::User, 400).every(BudgetPeriod::Month).in_time_zone("Europe/Berlin");
    let (ledger, _) = TestLedger::with_budgets([month]);
    spend_at(&ledger, at("2026-03-31T21:59:59Z"), call(1)).unwrap();
    let refused = spend_at(&ledger, at("2026-03-31T21:59:59Z"), call(2)).unwrap_err();
    assert_eq!(refused.details()["resets_at"], json!(at("2026-03-31T22:00:00Z")));
    spend_at(&ledger, at("2026-03-31T22:00:00Z"), call(2)).unwrap();
    assert_eq!(starts(&ledger), [at("2026-02-28T23:00:00Z"), at("2026-03-31T22:00:00Z")]);
}

#[test]
fn t21_a_clock_that_goes_back_finds_the_newest_window() {
    let (ledger, _) = TestLedger::with_budgets([limited(BudgetScope::User, 400).every(BudgetPeriod::Day)]);
    spend_at(&ledger, at("2026-05-02T00:30:00Z"), call(1)).unwrap();
    // Two hours back is yesterday, whose window nobody opened: no day is counted twice.
    assert!(spend_at(&ledger, at("2026-05-01T22:30:00Z"), call(2)).is_err());
    // A day ahead and back again: the day ahead goes on until it has come.
    spend_at(&ledger, at("2026-05-03T12:00:00Z"), call(3)).unwrap();
    assert!(spend_at(&ledger, at("2026-05-02T12:00:00Z"), call(4)).is_err());
    spend_at(&ledger, at("2026-05-04T00:00:00Z"), call(5)).unwrap();
    assert_eq!(starts(&ledger).len(), 3);
}

#[test]
fn a_rolling_period_never_holds_more_than_its_limit() {
    let (ledger, _) = TestLedger::with_budgets([limited(BudgetScope::User, 1_200).rolling(3)]);
    let begin = at("2026-05-02T00:10:00Z");
    let later = |hours: i64| Timestamp(begin.0 + hours * HOUR);
    for hours in 0..3 {
        spend_at(&ledger, later(hours), call(hours + 1)).unwrap();
    }
    // The first hour's spending leaves once all of that hour is three hours ago.
    let refused = spend_at(&ledger, later(3), call(9)).unwrap_err();
    assert_eq!(refused.details()["resets_at"], json!(at("2026-05-02T04:00:00Z")));
    spend_at(&ledger, at("2026-05-02T04:00:00Z"), call(10)).unwrap();
    assert!(spend_at(&ledger, at("2026-05-02T04:30:00Z"), call(11)).is_err());
    // A clock that goes back sees what was spent ahead of it.
    assert!(spend_at(&ledger, later(0), call(12)).is_err());
    assert_eq!(ledger.windows().len(), 4);
}

#[test]
fn a_period_of_executions_counts_each_on_its_own() {
    let each = limited(BudgetScope::User, 400).only(1).every(BudgetPeriod::Execution);
    let (ledger, [budget]) = TestLedger::with_budgets([each]);
    for execution in 1..4 {
        ledger.spend(call(execution), Usage::new(100, 100));
        ledger.refusal(ReserveRequest { attempt: 2, ..call(execution) });
    }
    ledger.reserve(ReserveRequest { user_id: Some(UserId(2)), attempt: 2, ..call(1) });
    assert_eq!(ledger.window(budget, 3), (400, 0));
}

#[test]
fn i10_a_reset_begins_a_new_window_and_keeps_the_old_one() {
    for period in [BudgetPeriod::None, BudgetPeriod::Month, BudgetPeriod::Execution] {
        let (ledger, [budget]) = TestLedger::with_budgets([limited(BudgetScope::Execution, 400).every(period)]);
        let open = ledger.reserve(call(1));
        ledger.refusal(ReserveRequest { attempt: 2, ..call(1) });
        ledger.write(move |tx| reset_budget(tx, Timestamp(NOW.0 + 5), budget)).unwrap();
        let again = ReserveRequest { attempt: 2, ..call(1) };
        assert!(matches!(reserve_at(&ledger, Timestamp(NOW.0 + 6), again), ReserveOutcome::Reserved(_)), "{period:?}");
        // What was held before is booked where it was held.
        ledger.settle(&open, Usage::new(100, 100));
        let sums: Vec<_> = ledger.windows().iter().map(|w| (w.posted.units(), w.pending.units())).collect();
        assert_eq!(sums, [(400, 0), (0, 400)], "{period:?}");
        // A clock that went back does not find the old window.
        assert!(matches!(
            reserve_at(&ledger, NOW, ReserveRequest { attempt: 3, ..call(1) }),
            ReserveOutcome::Refused(_)
        ));
    }
}

#[test]
fn every_scope_counts_its_own_and_all_of_them_count_together() {
    let own = |n: i64| ReserveRequest {
        role: Some("analyst".into()),
        key_id: Some(3),
        agents: vec![ResourceId(5), ResourceId(4)],
        workflow_id: Some(ResourceId(6)),
        ..call(n)
    };
    let other = |n: i64| ReserveRequest {
        user_id: Some(UserId(2)),
        role: Some("admin".into()),
        key_id: Some(30),
        agents: vec![ResourceId(50)],
        workflow_id: Some(ResourceId(60)),
        model: "other".into(),
        provider: "another".into(),
        ..call(n)
    };
    let scopes = [
        limited(BudgetScope::User, 400).only(1),
        limited(BudgetScope::User, 400),
        limited(BudgetScope::Role, 400).of("analyst"),
        limited(BudgetScope::Role, 400),
        limited(BudgetScope::Key, 400).only(3),
        limited(BudgetScope::Key, 400),
        limited(BudgetScope::Model, 400).of("m"),
        limited(BudgetScope::Model, 400),
        limited(BudgetScope::Provider, 400).of("scripted"),
        limited(BudgetScope::Provider, 400),
        limited(BudgetScope::Agent, 400).only(5),
        limited(BudgetScope::Agent, 400).only(4),
        limited(BudgetScope::Agent, 400),
        limited(BudgetScope::Workflow, 400).only(6),
        limited(BudgetScope::Workflow, 400),
        limited(BudgetScope::User, 400).for_model("m"),
    ];
    for spec in scopes {
        let named = format!("{:?} {:?} {:?}", spec.scope, spec.scope_id, spec.subject);
        let (ledger, [budget]) = TestLedger::with_budgets([spec]);
        ledger.spend(own(1), Usage::new(100, 100));
        let refused = ledger.refusal(own(2));
        assert_eq!(refused.details()["budget"], json!(budget), "{named}");
        ledger.spend(other(3), Usage::new(100, 100));
        assert_eq!(ledger.windows().iter().filter(|w| w.posted.units() != 400).count(), 0, "{named}");
    }
    let (ledger, [all]) = TestLedger::with_budgets([limited(BudgetScope::All, 800)]);
    ledger.spend(own(1), Usage::new(100, 100));
    ledger.spend(other(2), Usage::new(100, 100));
    assert_eq!(ledger.refusal(own(3)).details()["budget"], json!(all));
}

#[test]
fn windows_of_names_are_told_by_their_names() {
    let (ledger, [budget]) = TestLedger::with_budgets([limited(BudgetScope::Model, 4_000)]);
    for (n, model) in (1..).zip(["a", "b"]) {
        ledger.spend(ReserveRequest { model: model.into(), ..call(n) }, Usage::new(100, 100));
    }
    let windows = ledger.write(move |tx| list_windows(tx, budget, &crate::domain::ListOptions::default())).unwrap();
    let mut names: Vec<_> = windows.items.iter().filter_map(|window| window.subject.as_deref()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn i7_parents_count_the_sum_of_their_children() {
    let (ledger, [all, each]) = TestLedger::with_budgets([
        NewBudget { name: "all".into(), ..limited(BudgetScope::All, 1_000_000) },
        limited(BudgetScope::User, 1_000_000),
    ]);
    for n in 1..30 {
        let user_id = (n % 4 != 0).then_some(UserId(n % 4));
        ledger.spend(ReserveRequest { user_id, ..call(n) }, Usage::new(n as u64, 3));
    }
    let windows = ledger.windows();
    let sum = |of: BudgetId| windows.iter().filter(|w| w.budget_id == of).map(|w| w.posted.units()).sum::<i64>();
    let unscoped: i64 = (1..30).filter(|n| n % 4 == 0).map(|n| n + 9).sum();
    assert_eq!(sum(all), sum(each) + unscoped);
}

#[test]
fn the_agents_above_count_however_deep_they_are() {
    let lineage: Vec<ResourceId> = (1..=16).map(ResourceId).collect();
    for above in [5, 8, 9, 16] {
        let (ledger, [budget, each]) = TestLedger::with_budgets([
            limited(BudgetScope::Agent, 400).only(above),
            NewBudget { name: "each".into(), ..limited(BudgetScope::Agent, 10_000) },
        ]);
        let deep = |n: i64| ReserveRequest { agents: lineage.clone(), ..call(n) };
        ledger.spend(deep(1), Usage::new(100, 100));
        assert_eq!(ledger.refusal(deep(2)).details()["budget"], json!(budget), "{above} agents up");
        let windows = ledger.windows();
        let posted: Vec<_> = windows.iter().filter(|w| w.budget_id == each).map(|w| w.posted.units()).collect();
        assert_eq!(posted, [400; 16], "each agent once");
    }
}

#[test]
fn t17_tags_of_a_policy_win_and_a_required_one_that_is_missing_refuses() {
    use crate::domain::TagPolicy;
    let (ledger, [blue, each]) = TestLedger::with_budgets([
        limited(BudgetScope::Tag, 400).of("team=blue"),
        NewBudget { name: "each".into(), ..limited(BudgetScope::Tag, 10_000).of("team") },
    ]);
    let policies = [TagPolicy::of_user(1).tag("team", "blue"), TagPolicy::of_role("analyst").require("project")];
    for policy in policies {
        ledger.write(move |tx| tags::put_policy(tx, NOW, &policy)).unwrap();
    }
    let begin = |root: i64, user: i64, role: &'static str, given: &'static [(&'static str, &'static str)]| {
        ledger.write(move |tx| {
            let given = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let bearer = tags::Bearer { user_id: Some(UserId(user)), role: Some(role), key_id: None };
            let tags = tags::effective(tx, bearer, &given)?;
            tags::keep(tx, ExecutionId(root), &tags)
        })
    };
    // The user says green to dodge the budget of blue.
    begin(1, 1, "admin", &[("team", "green")]).unwrap();
    ledger.spend(call(1), Usage::new(100, 100));
    begin(2, 1, "admin", &[("team", "green")]).unwrap();
    assert_eq!(ledger.refusal(call(2)).details()["budget"], json!(blue));
    begin(3, 2, "admin", &[("team", "green")]).unwrap();
    ledger.spend(ReserveRequest { user_id: Some(UserId(2)), ..call(3) }, Usage::new(100, 100));
    let windows = ledger.windows();
    let posted: Vec<_> = windows.iter().filter(|w| w.budget_id == each).map(|w| w.posted.units()).collect();
    assert_eq!(posted, [400, 400], "each team on its own");
    assert_eq!(begin(4, 2, "analyst", &[]).unwrap_err().code(), ErrorCode::InvalidInput);
    begin(4, 2, "analyst", &[("project", "x")]).unwrap();
    assert_eq!(begin(5, 2, "admin", &[("Team", "x")]).unwrap_err().code(), ErrorCode::InvalidInput);
    // A comma stands between the tags of a row of usage: it would be read as another tag.
    let two = begin(5, 2, "admin", &[("project", "x,team=blue")]);
    assert_eq!(two.unwrap_err().code(), ErrorCode::InvalidInput);
    let policy = TagPolicy::of_all().tag("project", "x,team=blue");
    let kept = ledger.write(move |tx| tags::put_policy(tx, NOW, &policy));
    assert_eq!(kept.unwrap_err().code(), ErrorCode::InvalidInput);
}

// Quotas ------------------------------------------------------------------------------------------

#[test]
fn quotas_of_tokens_hold_the_worst_case_and_book_what_was_used() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::new("b", BudgetScope::User).tokens(500)]);
    let reserved = ledger.reserve(call(1));
    assert_eq!(ledger.window(budget, 1), (0, 200));
    ledger.settle(&reserved, Usage::new(40, 10));
    assert_eq!(ledger.window(budget, 1), (50, 0));
    ledger.reserve(call(2));
    ledger.reserve(call(3));
    let refused = ledger.refusal(call(4));
    let expected = json!({"budget": budget, "limit": "500", "left": "50", "needed": "200", "resets_at": null});
    assert_eq!(refused.details(), expected);
    // The cap is lowered to what is left, and no further than an answer needs.
    let clamped = ReserveRequest { input_bound: 20, clamp: true, ..call(5) };
    assert_eq!(ledger.reserve(clamped.clone()).output_cap, 30);
    ledger.refusal(ReserveRequest { execution_id: ExecutionId(6), ..clamped });
}

#[test]
fn quotas_count_free_and_unpriced_models_too() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::new("b", BudgetScope::User).requests(3)]);
    ledger.spend(ReserveRequest { price: Some(Price::FREE), ..call(1) }, Usage::new(1, 1));
    ledger.spend(ReserveRequest { price: None, ..call(2) }, Usage::new(1, 1));
    let void_it = ledger.reserve(call(3)).id;
    assert_eq!(ledger.window(budget, 1), (2, 1));
    ledger.refusal(ReserveRequest { price: Some(Price::FREE), ..call(4) });
    ledger.write(move |tx| void(tx, NOW, void_it, Ended::Failed)).unwrap();
    ledger.spend(call(4), Usage::new(1, 1));
    assert_eq!(ledger.window(budget, 1), (3, 0));
}

#[test]
fn t05_a_report_beyond_belief_takes_what_was_held_of_a_quota() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::new("b", BudgetScope::User).tokens(10_000)]);
    ledger.spend(call(1), Usage::new(u64::MAX, u64::MAX));
    assert_eq!(ledger.window(budget, 1), (200, 0));
    // More than was held, and possible: all of it counts.
    ledger.spend(call(2), Usage::new(9_000, 1_000));
    assert_eq!(ledger.window(budget, 1), (10_200, 0));
    ledger.refusal(call(3));
}

// What follows a refusal --------------------------------------------------------------------------

#[test]
fn the_sternest_budget_that_refuses_decides_what_follows() {
    let named = |name: &str, limit| NewBudget { name: name.into(), ..limited(BudgetScope::User, limit) };
    let follow = |budgets: [NewBudget; 2]| {
        let (ledger, _) = TestLedger::with_budgets(budgets);
        match ledger.try_reserve(call(1)) {
            ReserveOutcome::Refused(refusal) => refusal.follow,
            ReserveOutcome::Reserved(reserved) => panic!("{reserved:?}"),
        }
    };
    let (down, ask, deny) =
        (named("down", 1).downgrade_to("small"), named("ask", 1).on_exceed(OnExceed::Ask), named("deny", 1));
    let roomy = || named("roomy", 1_000_000);
    assert_eq!(follow([down.clone(), roomy()]), Follow::Downgrade(Some("small".into())));
    assert_eq!(follow([down.clone(), ask.clone()]), Follow::Ask);
    assert_eq!(follow([ask, deny.clone()]), Follow::Deny);
    assert_eq!(follow([down, deny]), Follow::Deny);
}

#[test]
fn t10_a_budget_may_let_unpriced_calls_pass() {
    let (ledger, [budget]) =
        TestLedger::with_budgets([limited(BudgetScope::User, 400).on_unpriced(OnUnpriced::Record)]);
    let booked = ledger.spend(ReserveRequest { price: None, ..call(1) }, Usage::new(100, 100));
    assert_eq!((booked.cost, ledger.window(budget, 1)), (None, (0, 0)));
}

#[test]
fn i14_raises_hold_between_their_moments_and_edits_keep_their_history() {
    let (ledger, [budget]) = TestLedger::with_budgets([limited(BudgetScope::User, 400)]);
    ledger.spend(call(1), Usage::new(100, 100));
    let (from, until) = (Timestamp(NOW.0 + 10), Timestamp(NOW.0 + 20));
    ledger.write(move |tx| raise_budget(tx, budget, Amount::Usd(nanos(400)), (from, until), "a demo")).unwrap();
    let passes =
        |n: i64, now: i64| matches!(reserve_at(&ledger, Timestamp(NOW.0 + now), call(n)), ReserveOutcome::Reserved(_));
    assert_eq!((passes(2, 9), passes(3, 10), passes(4, 19), passes(5, 20)), (false, true, false, false));
    let edit = json!({"limit": "0.0000012"}).as_object().unwrap().clone();
    ledger.write(move |tx| update_budget(tx, Timestamp(NOW.0 + 30), budget, &edit)).unwrap();
    assert!(passes(6, 31));
    let revisions = ledger.write(move |tx| list_revisions(tx, budget, &crate::domain::ListOptions::default())).unwrap();
    let limits: Vec<_> = revisions.items.iter().map(|r| (r.revision, r.spec.limit.unwrap().units())).collect();
    assert_eq!(limits, [(1, 400), (2, 1_200)]);
    let negative = ledger.write(move |tx| raise_budget(tx, budget, Amount::Count(-1), (from, until), "no"));
    assert_eq!(negative.unwrap_err().code(), ErrorCode::InvalidInput);
}

#[test]
fn t22_a_quota_of_zero_blocks() {
    let (ledger, _) = TestLedger::with_budgets([NewBudget::new("b", BudgetScope::User).requests(0)]);
    assert_eq!(
        ledger.refusal(ReserveRequest { price: Some(Price::FREE), ..call(1) }).code(),
        ErrorCode::BudgetExceeded
    );
    let (ledger, _) = TestLedger::with_budgets([NewBudget::new("b", BudgetScope::User).tokens(0)]);
    ledger.refusal(ReserveRequest { clamp: true, ..call(1) });
}

#[test]
fn what_is_no_budget_is_refused() {
    let bad = [
        NewBudget::new("b", BudgetScope::Tag),
        NewBudget::new("b", BudgetScope::All).only(1),
        NewBudget::new("b", BudgetScope::Model).only(1),
        NewBudget::new("b", BudgetScope::User).of("ana"),
        NewBudget::new("b", BudgetScope::User).every(BudgetPeriod::Rolling),
        NewBudget::new("b", BudgetScope::User).rolling(0),
        NewBudget { hours: Some(1), ..NewBudget::new("b", BudgetScope::User) },
        NewBudget::new("b", BudgetScope::User).in_time_zone("UTC"),
        NewBudget::new("b", BudgetScope::User).every(BudgetPeriod::Day).in_time_zone("Nowhere/City"),
        NewBudget::new("b", BudgetScope::User).tokens(-1),
        NewBudget { limit: Some(Amount::Usd(nanos(5))), ..NewBudget::new("b", BudgetScope::User).tokens(1) },
        NewBudget { downgrade_to: Some("m".into()), ..NewBudget::new("b", BudgetScope::User) },
        NewBudget::new("b", BudgetScope::User).with_burn_rate(1),
        NewBudget::new("b", BudgetScope::User).with_projection(),
        NewBudget::new("b", BudgetScope::Model).of(""),
    ];
    let ledger = TestLedger::new();
    for spec in bad {
        let shown = format!("{spec:?}");
        let error = ledger.write(move |tx| create_budget(tx, NOW, &spec)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{shown}");
    }
}

// Alerts ------------------------------------------------------------------------------------------

#[test]
fn an_hour_that_burns_many_times_the_usual_is_told_once() {
    let burning = NewBudget::new("b", BudgetScope::User).soft().with_burn_rate(3);
    let (ledger, _) = TestLedger::with_budgets([burning]);
    let begin = at("2026-05-02T00:10:00Z");
    let mut n = 0;
    let mut spend = |hour: i64| {
        n += 1;
        spend_at(&ledger, Timestamp(begin.0 + hour * HOUR), call(n)).unwrap().alerts
    };
    for hour in 0..3 {
        assert_eq!(spend(hour), []);
    }
    assert_eq!((spend(3), spend(3), spend(3)), (vec![], vec![], vec![]));
    let [alert] = spend(3).try_into().unwrap();
    assert_eq!((alert.kind, alert.threshold), (AlertKind::BurnRate, 3));
    assert_eq!((alert.posted.units(), alert.limit.units()), (1_600, 400));
    assert_eq!(spend(3), []);
}

#[test]
fn a_window_that_will_not_last_is_told_once() {
    let day =
        limited(BudgetScope::User, 2_400).soft().every(BudgetPeriod::Day).with_thresholds(vec![]).with_projection();
    let (ledger, _) = TestLedger::with_budgets([day]);
    let hour = |hour: i64| Timestamp(at("2026-05-02T00:00:00Z").0 + hour * HOUR);
    assert_eq!(spend_at(&ledger, hour(6), call(1)).unwrap().alerts, []);
    let [alert] = spend_at(&ledger, hour(7), call(2)).unwrap().alerts.try_into().unwrap();
    assert_eq!((alert.kind, alert.exhausted_at), (AlertKind::Exhaustion, Some(hour(21))));
    assert_eq!(spend_at(&ledger, hour(8), call(3)).unwrap().alerts, []);
    let polled = ledger.write(|tx| list_alerts(tx, &crate::domain::ListOptions::default())).unwrap().items;
    assert_eq!(polled, [alert]);
}

#[test]
fn a_rolling_period_alerts_once_while_it_lasts() {
    let rolling = limited(BudgetScope::User, 1_200).soft().rolling(3).with_thresholds(vec![60]);
    let (ledger, _) = TestLedger::with_budgets([rolling]);
    let hour = |hour: i64| Timestamp(at("2026-05-02T00:10:00Z").0 + hour * HOUR);
    let counts: Vec<_> = (0..9).map(|n| spend_at(&ledger, hour(n), call(n + 1)).unwrap().alerts.len()).collect();
    assert_eq!(counts, [0, 1, 0, 0, 1, 0, 0, 1, 0]);
}
