//! Adjust and refund, and usage over time: exact to the entries.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use crate::domain::{
    BudgetPeriod, BudgetScope, Correction, EntryFlag, EntryKind, ExecutionId, ExportFormat, NewBudget, Provenance,
    ResourceId, Timestamp, Usage, UsageBy, UsageDetails, UsageQuery, UsageStep, UserId,
};
use crate::error::ErrorCode;
use crate::ledger::testing::*;
use crate::ledger::*;
use crate::store::ledger::usage::{Dims, folded, rollups};

fn last_reservation(ledger: &TestLedger) -> ReservationId {
    ledger.entries().last().unwrap().reservation_id
}

#[test]
fn a_correction_is_an_entry_of_its_own_and_moves_the_window() {
    let (ledger, [budget, quota]) = TestLedger::with_budgets([
        NewBudget::per_user("u", nanos(1_000)),
        NewBudget::new("q", BudgetScope::User).tokens(1_000),
    ]);
    ledger.spend(call(1), Usage::new(100, 100));
    let id = last_reservation(&ledger);
    let late = Correction::new(id, nanos(50), "late usage").with_tokens(10);
    let (entry, _) = ledger.write(move |tx| adjust(tx, NOW, &late)).unwrap();
    assert_eq!(
        (entry.kind, entry.amount, entry.reason.as_deref()),
        (EntryKind::Adjust, Some(nanos(50)), Some("late usage"))
    );
    assert_eq!((ledger.window(budget, 1), ledger.window(quota, 1)), ((450, 0), (210, 0)));
    let back = Correction::new(id, nanos(450), "a gift");
    ledger.write(move |tx| refund(tx, NOW, &back)).unwrap();
    assert_eq!((ledger.window(budget, 1), ledger.window(quota, 1)), ((0, 0), (210, 0)));
    assert_eq!(ledger.kinds(), [EntryKind::Settle, EntryKind::Adjust, EntryKind::Refund]);
    assert_eq!(ledger.summary(crate::domain::CostFilter::all()).cost, Money::ZERO);
}

#[test]
fn late_usage_takes_the_place_of_an_estimate() {
    let cached = Usage { cache_read_tokens: 20, reasoning_tokens: 5, ..Usage::new(90, 60) };
    for usage in [Usage::new(10, 3), Usage::new(0, 0), Usage::new(100, 20), Usage::new(100, 5_000), cached] {
        let (ledger, [budget, quota]) = TestLedger::with_budgets([
            NewBudget::per_user("u", nanos(1_000)),
            NewBudget::new("q", BudgetScope::User).tokens(10_000),
        ]);
        let id = ledger.reserve(call(1)).id;
        assert_eq!(ledger.write(move |tx| late(tx, NOW, id, &usage)).unwrap(), None, "it is open still");
        ledger.write(move |tx| settle_unknown(tx, NOW, id, 20, Ended::Failed)).unwrap();
        assert_eq!((ledger.window(budget, 1), ledger.window(quota, 1)), ((160, 0), (120, 0)));

        let cost = price().cost(&usage).unwrap();
        let differs = ledger.write(move |tx| late(tx, NOW, id, &usage)).unwrap().map(|(amount, _)| amount);
        assert_eq!(differs, (usage != Usage::new(100, 20)).then(|| cost.sub(nanos(160)).unwrap()));
        let total = i64::try_from(usage.input_tokens + usage.output_tokens).unwrap();
        assert_eq!((ledger.window(budget, 1), ledger.window(quota, 1)), ((cost.nanos(), 0), (total, 0)));
        let summary = ledger.summary(crate::domain::CostFilter::all());
        assert_eq!((summary.cost, summary.usage), (cost, usage.with_provenance(Provenance::Estimated)));
        assert_eq!(ledger.write(move |tx| late(tx, NOW, id, &usage)).unwrap(), None, "once is enough");
        ledger.write(verify_windows).unwrap();
    }
}

#[test]
fn t05_late_usage_that_leaves_something_open_takes_nothing_back_of_it() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(10_000))]);
    for (n, usage, differs) in [
        (1, Usage::new(0, 20).with_open_input(), None),
        (2, Usage::new(0, 30).with_open_input(), Some(30)),
        (3, Usage::new(90, 0).with_open_output(), Some(-10)),
        (4, Usage::new(1, 1).with_other_tools(true), None),
        (5, Usage::new(1, 1).with_details(UsageDetails { searches: 1, ..UsageDetails::default() }), None),
    ] {
        let (id, before) = (ledger.reserve(call(n)).id, ledger.window(budget, 1).0);
        ledger.write(move |tx| settle_unknown(tx, NOW, id, 20, Ended::Failed)).unwrap();
        let booked = ledger.write(move |tx| late(tx, NOW, id, &usage)).unwrap().map(|(amount, _)| amount.nanos());
        assert_eq!((booked, ledger.window(budget, 1).0), (differs, before + 160 + differs.unwrap_or(0)), "{usage:?}");
        let Some(last) = ledger.entries().pop() else { unreachable!("it is booked") };
        assert_eq!(last.flag, differs.map(|_| EntryFlag::LateUsage));
    }
}

#[test]
fn t05_late_usage_beyond_belief_or_of_a_sealed_window_leaves_the_estimate() {
    let month = NewBudget::per_user("u", nanos(10_000)).every(BudgetPeriod::Month);
    let (ledger, [budget]) = TestLedger::with_budgets([month]);
    let id = ledger.reserve(call(1)).id;
    ledger.write(move |tx| settle_unknown(tx, NOW, id, 20, Ended::Failed)).unwrap();
    let late = |now: Timestamp, usage: Usage| ledger.write(move |tx| late(tx, now, id, &usage)).unwrap();
    assert_eq!(late(NOW, Usage::new(u64::MAX, 1)), None);
    let later = Timestamp(NOW.0 + 60 * 86_400_000_000);
    ledger.write(move |tx| seal_budget(tx, later, budget, Timestamp(NOW.0 + 40 * 86_400_000_000))).unwrap();
    assert_eq!(late(later, Usage::new(1, 1)), None);
    assert_eq!(ledger.summary(crate::domain::CostFilter::all()).cost, nanos(160));
}

#[test]
fn t70_no_correction_takes_more_than_was_booked_or_opens_a_sealed_window() {
    let month = NewBudget::per_user("u", nanos(10_000)).every(BudgetPeriod::Month);
    let (ledger, [budget]) = TestLedger::with_budgets([month]);
    ledger.spend(call(1), Usage::new(100, 100));
    let id = last_reservation(&ledger);
    let code = |correction: Correction, give_back: bool| {
        let done =
            ledger.write(move |tx| if give_back { refund(tx, NOW, &correction) } else { adjust(tx, NOW, &correction) });
        done.map(drop).map_err(|error| error.code())
    };
    let of = |amount: i64| Correction::new(id, nanos(amount), "because");
    assert_eq!(code(of(-401), false), Err(ErrorCode::InvalidInput));
    assert_eq!(code(of(401), true), Err(ErrorCode::InvalidInput));
    assert_eq!(code(of(-1), true), Err(ErrorCode::InvalidInput));
    assert_eq!(code(of(0), false), Err(ErrorCode::InvalidInput));
    assert_eq!(code(of(i64::MIN), false), Err(ErrorCode::InvalidInput));
    assert_eq!(code(Correction::new(id, nanos(1), " "), false), Err(ErrorCode::InvalidInput));
    assert_eq!(code(Correction::new(ReservationId(999), nanos(1), "x"), false), Err(ErrorCode::NotFound));
    // What still runs has nothing booked yet.
    let open = ledger.reserve(call(2)).id;
    assert_eq!(code(Correction::new(open, nanos(1), "x"), false), Err(ErrorCode::NotFound));
    assert_eq!(ledger.window(budget, 1), (400, 400));
    assert_eq!(code(of(-100), false), Ok(()));
    ledger.write(move |tx| seal_budget(tx, NOW, budget, NOW)).unwrap();
    assert_eq!(code(of(-100), false), Err(ErrorCode::Conflict));
    assert_eq!(code(of(100), true), Err(ErrorCode::Conflict));
    let ahead = ledger.write(move |tx| seal_budget(tx, NOW, budget, Timestamp(NOW.0 + 1)));
    assert_eq!(ahead.unwrap_err().code(), ErrorCode::InvalidInput);
    assert_eq!(ledger.window(budget, 1), (300, 400));
}

#[test]
fn i9_the_stored_price_and_usage_give_the_stored_amount() {
    let ledger = TestLedger::new();
    for n in 1..20 {
        let usage = Usage::new(n as u64 * 7, n as u64).with_cache(n as u64, 0).with_reasoning(1);
        ledger.spend(call(n), usage);
    }
    for entry in ledger.entries().iter().filter(|entry| entry.kind == EntryKind::Settle) {
        let booked: i64 = ledger
            .entries()
            .iter()
            .filter(|e| e.reservation_id == entry.reservation_id)
            .map(|e| e.amount.unwrap().nanos())
            .sum();
        assert_eq!(price().cost(&entry.usage.unwrap()).unwrap().nanos(), booked);
    }
}

#[derive(Debug, Clone)]
struct Spent {
    user: i64,
    agent: i64,
    model: bool,
    hour: i64,
    tokens: u64,
    end: u8,
    fold: bool,
}

fn spent() -> impl Strategy<Value = Vec<Spent>> {
    let one = (0i64..3, 1i64..3, any::<bool>(), 0i64..30, 0u64..300, 0u8..5, prop::bool::weighted(0.2)).prop_map(
        |(user, agent, model, hour, tokens, end, fold)| Spent { user, agent, model, hour, tokens, end, fold },
    );
    prop::collection::vec(one, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// I6: the folded sums are those of the entries, and every question gives what the ledger says.
    #[test]
    fn i6_rollups_are_the_fold_of_the_entries(spent in spent()) {
        const HOUR: i64 = 3_600_000_000;
        let (ledger, _) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(1_000_000))]);
        for (n, spent) in (1..).zip(&spent) {
            let now = Timestamp(NOW.0 + spent.hour * HOUR);
            let request = ReserveRequest {
                user_id: (spent.user > 0).then_some(UserId(spent.user)),
                agents: vec![ResourceId(spent.agent)],
                model: if spent.model { "m" } else { "n" }.into(),
                ..call(n)
            };
            let tagged = spent.user == 1;
            let (tokens, end) = (spent.tokens, spent.end);
            ledger.write(move |tx| {
                if tagged {
                    tags::keep(tx, ExecutionId(n), &BTreeMap::from([("team".into(), "blue".into())]))?;
                }
                let ReserveOutcome::Reserved(held) = reserve(tx, now, BOOT, &request)? else { return Ok(()) };
                let later = Timestamp(now.0 + 1_000);
                match end {
                    0 => void(tx, later, held.id, Ended::Failed),
                    1 => settle_unknown(tx, later, held.id, tokens, Ended::Failed).map(drop),
                    2 => {
                        settle_unknown(tx, later, held.id, tokens, Ended::Failed)?;
                        late(tx, Timestamp(later.0 + 1_000), held.id, &Usage::new(tokens / 2, tokens)).map(drop)
                    }
                    _ => settle(tx, later, held.id, &Usage::new(tokens, tokens), &json!({}), Ended::Well).map(drop),
                }
            }).unwrap();
            if spent.fold {
                ledger.write(usage::fold).unwrap();
            }
        }
        let (stored, rebuilt) = ledger.write(|tx| {
            let up_to = folded(tx)?;
            let after = Dims { start: Timestamp(i64::MIN), ..Dims::default() };
            let stored = rollups(tx, (Timestamp(0), Timestamp(i64::MAX)), &after, 1000)?;
            Ok((stored.into_iter().collect::<BTreeMap<_, _>>(), usage::rebuilt(tx, up_to)?))
        }).unwrap();
        prop_assert_eq!(stored, rebuilt);
        let ask = |query: UsageQuery| ledger.write(move |tx| usage::report(tx, &query)).unwrap();
        let all = ask(UsageQuery::default());
        let summary = ledger.summary(crate::domain::CostFilter::all());
        prop_assert_eq!(all.total.cost, summary.cost);
        prop_assert_eq!(all.total.input_tokens as u64, summary.usage.input_tokens);
        prop_assert_eq!(all.total.attempts, spent.len() as u64);
        for query in [
            UsageQuery::by([UsageBy::User, UsageBy::Model]).every(UsageStep::Day),
            UsageQuery::by([UsageBy::Agent, UsageBy::Tags]).every(UsageStep::Hour),
        ] {
            let report = ask(query);
            prop_assert_eq!(report.rows.iter().map(|row| row.cost.nanos()).sum::<i64>(), all.total.cost.nanos());
            prop_assert_eq!(report.rows.iter().map(|row| row.calls).sum::<u64>(), all.total.calls);
            prop_assert_eq!(&report.total, &all.total);
        }
        // The same before and behind a fold of everything.
        let before = ask(UsageQuery::by([UsageBy::User]).tagged("team=blue"));
        while ledger.write(usage::fold).unwrap() {}
        prop_assert_eq!(&ask(UsageQuery::by([UsageBy::User]).tagged("team=blue")), &before);
        let blue = spent.iter().filter(|spent| spent.user == 1).count() as u64;
        prop_assert_eq!(before.total.attempts, blue);
        let user = ledger.summary(crate::domain::CostFilter::of_user(UserId(1)));
        prop_assert_eq!(before.total.cost, user.cost);
    }
}

/// Days, hours and bounds are those of the clocks of a zone that is off the whole hour, folded or not.
#[test]
fn usage_of_a_day_is_that_of_the_zone_whose_hours_begin_at_half_past() {
    let moment = |text: &str| Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond());
    let ledger = TestLedger::new();
    for (n, at) in (1..).zip(["2026-03-10T18:10:00Z", "2026-03-10T18:20:00Z", "2026-03-10T18:45:00Z"]) {
        let at = moment(at);
        ledger
            .write(move |tx| {
                let ReserveOutcome::Reserved(held) = reserve(tx, at, BOOT, &call(n))? else { panic!("refused") };
                settle(tx, at, held.id, &Usage::new(1, 1), &json!({}), Ended::Well).map(drop)
            })
            .unwrap();
    }
    let told = |zone: &str, every: UsageStep| {
        let query = UsageQuery { time_zone: Some(zone.to_owned()), ..UsageQuery::default().every(every) };
        let report = ledger.write(move |tx| usage::report(tx, &query)).unwrap();
        let row = |row: &crate::domain::UsageRow| (row.start.unwrap().to_rfc3339(), row.calls);
        report.rows.iter().map(row).map(|(start, calls)| format!("{} {calls}", &start[5..16])).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        assert_eq!(told("UTC", UsageStep::Day), ["03-10T00:00 3"]);
        assert_eq!(told("Asia/Kolkata", UsageStep::Day), ["03-09T18:30 2", "03-10T18:30 1"]);
        assert_eq!(told("Asia/Kathmandu", UsageStep::Day), ["03-09T18:15 1", "03-10T18:15 2"]);
        assert_eq!(told("Asia/Kolkata", UsageStep::Hour), ["03-10T17:30 2", "03-10T18:30 1"]);
        let half = UsageQuery::default().between(moment("2026-03-10T18:15:00Z"), moment("2026-03-10T18:30:00Z"));
        let report = ledger.write(move |tx| usage::report(tx, &half)).unwrap();
        assert_eq!((report.total.calls, report.from), (1, Some(moment("2026-03-10T18:15:00Z"))));
        while ledger.write(usage::fold).unwrap() {}
    }
}

#[test]
fn usage_is_told_by_one_tag_of_several() {
    let ledger = TestLedger::new();
    for (n, tags) in (1..).zip([&[("team", "blue"), ("tier", "free")][..], &[("team", "blue"), ("tier", "paid")], &[]])
    {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>();
        ledger.write(move |tx| tags::keep(tx, ExecutionId(n), &tags)).unwrap();
        ledger.spend(call(n), Usage::new(1, 1));
    }
    let told = |by: &[&str]| {
        let by = by.iter().map(|by| UsageBy::try_from((*by).to_owned()).unwrap());
        let query = UsageQuery::by(by);
        let report = ledger.write(move |tx| usage::report(tx, &query)).unwrap();
        assert_eq!(report.rows.iter().map(|row| row.calls).sum::<u64>(), 3, "each is counted once");
        let csv = usage::export(&report, ExportFormat::Csv).unwrap();
        assert!(report.rows.iter().all(|row| csv.contains(row.tags.as_deref().unwrap_or_default())), "{csv}");
        report.rows.into_iter().map(|row| (row.tags.unwrap_or_default(), row.calls)).collect::<Vec<_>>()
    };
    let is = |rows: &[(&str, u64)]| rows.iter().map(|(tags, calls)| ((*tags).to_owned(), *calls)).collect::<Vec<_>>();
    assert_eq!(told(&["tag:team"]), is(&[("", 1), ("team=blue", 2)]));
    assert_eq!(told(&["tag:tier"]), is(&[("", 1), ("tier=free", 1), ("tier=paid", 1)]));
    let both = is(&[("", 1), ("team=blue,tier=free", 1), ("team=blue,tier=paid", 1)]);
    assert_eq!(told(&["tag:tier", "tag:team"]), both);
    assert_eq!(told(&["tags", "tag:team"]), both);
    assert_eq!(told(&["tag:nothing"]), is(&[("", 3)]));
    for wrong in ["tag:", "team", "tag", ""] {
        assert!(UsageBy::try_from(wrong.to_owned()).unwrap_err().contains("tag:<key>"), "{wrong}");
    }
}

#[test]
fn usage_is_told_by_span_and_exported_in_two_forms() {
    let ledger = TestLedger::new();
    ledger.spend(ReserveRequest { model: "=cmd()".into(), ..call(1) }, Usage::new(100, 100));
    ledger.spend(ReserveRequest { model: "plain, with a comma".into(), ..call(2) }, Usage::new(10, 10));
    let query = UsageQuery {
        time_zone: Some("Europe/Berlin".into()),
        ..UsageQuery::by([UsageBy::Model]).every(UsageStep::Day)
    };
    let report = ledger.write(move |tx| usage::report(tx, &query)).unwrap();
    assert_eq!(report.rows.len(), 2);
    let csv = usage::export(&report, ExportFormat::Csv).unwrap();
    assert!(csv.contains("\"'=cmd()\"") && csv.contains("\"plain, with a comma\""), "{csv}");
    assert!(csv.lines().all(|line| !line.is_empty()) && csv.lines().count() == 3);
    let lines = usage::export(&report, ExportFormat::Jsonl).unwrap();
    let read: Vec<crate::domain::UsageRow> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, report.rows);
    let nowhere = UsageQuery { time_zone: Some("X/Y".into()), ..UsageQuery::default().every(UsageStep::Day) };
    assert_eq!(ledger.write(move |tx| usage::report(tx, &nowhere)).unwrap_err().code(), ErrorCode::InvalidInput);
}
