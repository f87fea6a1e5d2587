//! Rating anew by a version of prices: differences are booked, nothing is rewritten.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use crate::domain::{
    BudgetPeriod, Correction, CostFilter, EntryKind, LedgerEntry, NewBudget, OffPeak, OnUnpriced, PriceHours,
    PriceListing, PriceTier, Rate, Rerate, Rerated, ServiceTier, Timestamp, Usage, UsageBy, UsageQuery,
};
use crate::error::{ErrorCode, Result};
use crate::ledger::testing::*;
use crate::ledger::*;
use crate::store::prices;

/// Keeps a version in which a token costs so many nanos, an output token three times as many.
fn import(ledger: &TestLedger, nanos: u32) -> i64 {
    let rate = |times: u32| Rate::parse(&format!("0.{:09}", nanos * times)).unwrap();
    import_price(ledger, &nanos.to_string(), Price::new(rate(1), rate(3)))
}

fn import_price(ledger: &TestLedger, hash: &str, price: Price) -> i64 {
    let book = BTreeMap::from([("scripted".to_owned(), BTreeMap::from([("listed".to_owned(), Some(price))]))]);
    let hash = hash.to_owned();
    ledger.write(move |tx| prices::put(tx, NOW, NOW, "a test", &hash, &book)).unwrap()
}

fn listed(execution: i64, version: Option<i64>) -> ReserveRequest {
    asking(execution, version, ServiceTier::Standard)
}

fn nano(count: u32) -> Rate {
    Rate::parse(&format!("0.{count:09}")).unwrap()
}

/// A call that asks for a class of service.
fn asking(execution: i64, version: Option<i64>, service_tier: ServiceTier) -> ReserveRequest {
    let listing = PriceListing { service: "scripted".into(), model: "listed".into(), version, service_tier };
    ReserveRequest { listing: Some(listing), ..call(execution) }
}

fn rerate(ledger: &TestLedger, asked: Rerate) -> Result<Rerated> {
    let (mut sum, mut after) = (Rerated::default(), Some(0));
    while let Some(place) = after {
        let asked = asked.clone();
        let slice = ledger.write(move |tx| crate::ledger::rerate(tx, NOW, &asked, place))?;
        (sum, after) = (sum.and(&slice.done)?, slice.next);
    }
    Ok(sum)
}

fn by(version: i64) -> Rerate {
    Rerate::all("the list was wrong").by_version(version)
}

/// All entries, those that hold too, as the table has them.
fn raw(ledger: &TestLedger) -> Vec<crate::store::Row> {
    ledger.write(|tx| tx.query_all("SELECT * FROM ledger_entries ORDER BY seq LIMIT 10000", &[])).unwrap()
}

#[test]
fn a_later_version_books_differences_and_rewrites_nothing() {
    let (ledger, [budget]) = TestLedger::with_budgets([NewBudget::per_user("u", nanos(10_000))]);
    let first = import(&ledger, 1);
    for n in 1..=3 {
        ledger.spend(listed(n, Some(first)), Usage::new(100, 100));
    }
    ledger.spend(call(4), Usage::new(100, 100));
    let before = raw(&ledger);
    let dearer = import(&ledger, 2);
    let would = rerate(&ledger, by(dearer).only_tell()).unwrap();
    assert_eq!(raw(&ledger), before, "a question changes nothing");
    let done = rerate(&ledger, by(dearer)).unwrap();
    assert_eq!(done, would);
    assert_eq!((done.calls, done.changed, done.unlisted, done.amount), (4, 3, 1, nanos(1_200)));
    let after = raw(&ledger);
    assert_eq!(after[..before.len()], before, "what was written stays");
    assert_eq!(after.len(), before.len() + 3);
    let entry = ledger.entries().pop().unwrap();
    assert_eq!((entry.kind, entry.price_version, entry.amount), (EntryKind::Adjust, Some(dearer), Some(nanos(400))));
    assert_eq!(entry.reason.as_deref(), Some("the list was wrong"));
    assert_eq!(ledger.entries()[0].price_version, Some(first));
    assert_eq!((ledger.window(budget, 1), ledger.summary(CostFilter::all()).cost), ((2_800, 0), nanos(2_800)));
    // The same again changes nothing, and the version before brings back what was.
    assert_eq!(rerate(&ledger, by(dearer)).unwrap().changed, 0);
    let back = rerate(&ledger, by(first)).unwrap();
    assert_eq!((back.changed, back.amount, ledger.window(budget, 1)), (3, nanos(-1_200), (1_600, 0)));
}

#[test]
fn a_call_that_had_no_price_gets_one() {
    let ledger = TestLedger::new();
    ledger.spend(ReserveRequest { price: None, ..listed(1, None) }, Usage::new(100, 100));
    while ledger.write(usage::fold).unwrap() {}
    let summary = || ledger.summary(CostFilter::all());
    assert_eq!((summary().unpriced_calls, summary().cost), (1, Money::ZERO));
    assert_eq!(rerate(&ledger, Rerate::all("now we know")).unwrap_err().code(), ErrorCode::NotFound);
    let version = import(&ledger, 2);
    let done = rerate(&ledger, Rerate::all("now we know")).unwrap();
    assert_eq!((done.version, done.changed, done.amount), (version, 1, nanos(800)));
    assert_eq!((summary().unpriced_calls, summary().cost), (0, nanos(800)));
    for _ in 0..2 {
        let report = ledger.write(|tx| usage::report(tx, &UsageQuery::by([UsageBy::Model]))).unwrap();
        assert_eq!((report.total.unpriced, report.total.cost, report.total.calls), (0, nanos(800), 1));
        while ledger.write(usage::fold).unwrap() {}
    }
    // A price of nothing is a price too.
    ledger.spend(ReserveRequest { price: None, ..listed(2, None) }, Usage::new(0, 0));
    assert_eq!((rerate(&ledger, by(version)).unwrap().changed, summary().unpriced_calls), (1, 0));
    assert_eq!(rerate(&ledger, by(version)).unwrap().changed, 0);
}

#[test]
fn what_came_late_is_rated_as_the_provider_counted_it() {
    let ledger = TestLedger::new();
    let (same, dearer) = (import(&ledger, 1), import(&ledger, 2));
    let id = ledger.reserve(listed(1, Some(same))).id;
    ledger.write(move |tx| settle_unknown(tx, NOW, id, 20, Ended::Failed)).unwrap();
    ledger.write(move |tx| late(tx, NOW, id, &Usage::new(10, 3))).unwrap();
    let cost = || ledger.summary(CostFilter::all()).cost;
    let estimate = nanos(160);
    assert!(cost() < estimate);
    let counted = cost().nanos();
    assert_eq!(rerate(&ledger, by(same)).unwrap().changed, 0);
    assert_eq!((rerate(&ledger, by(dearer)).unwrap().changed, cost()), (1, nanos(2 * counted)));
    assert_eq!((rerate(&ledger, by(same)).unwrap().changed, cost()), (1, nanos(counted)));
}

#[test]
fn a_part_without_a_price_is_rated_by_no_version() {
    let ledger = TestLedger::new();
    let (first, dearer) = (import(&ledger, 1), import(&ledger, 2));
    ledger.spend(listed(1, Some(first)), Usage::new(10, 10).with_other_tools(true));
    ledger.spend(ReserveRequest { price: None, ..listed(2, None) }, Usage::new(10, 10).with_other_tools(true));
    let summary = ledger.summary(CostFilter::all());
    assert_eq!((summary.cost, summary.unpriced_calls, summary.known_cost()), (nanos(40), 2, None));
    let report = ledger.write(|tx| usage::report(tx, &UsageQuery::by([UsageBy::Model]))).unwrap();
    assert_eq!((report.total.cost, report.total.unpriced), (nanos(40), 2));
    let done = rerate(&ledger, by(dearer)).unwrap();
    assert_eq!((done.calls, done.unlisted, done.changed), (2, 2, 0));
}

#[test]
fn estimates_gifts_and_sealed_windows_keep_their_rules() {
    let month = NewBudget::per_user("u", nanos(100_000)).every(BudgetPeriod::Month);
    let (ledger, [budget]) = TestLedger::with_budgets([month]);
    let (first, dearer, cheaper) = (import(&ledger, 4), import(&ledger, 8), import(&ledger, 1));
    let four = || Price::new(Rate::parse("0.000000004").unwrap(), Rate::parse("0.000000012").unwrap());
    let held = |n| ledger.reserve(ReserveRequest { price: Some(four()), ..listed(n, Some(first)) });
    // Nobody knows how it ended: all that was sent, and ten tokens that came.
    let unknown = held(1).id;
    ledger.write(move |tx| settle_unknown(tx, NOW, unknown, 10, Ended::Failed)).unwrap();
    assert_eq!(rerate(&ledger, by(dearer)).unwrap().amount, nanos(100 * 4 + 10 * 12));
    rerate(&ledger, by(first)).unwrap();
    // All of it was given back: a cheaper list gives nothing back twice.
    let gift = held(2);
    ledger.settle(&gift, Usage::new(100, 100));
    let back = Correction::new(gift.id, nanos(1_600), "a gift");
    ledger.write(move |tx| refund(tx, NOW, &back)).unwrap();
    let done = rerate(&ledger, by(cheaper)).unwrap();
    assert_eq!((done.changed, done.amount), (1, nanos(-(100 * 3 + 10 * 9))));
    // What is sealed stays.
    ledger.write(move |tx| seal_budget(tx, NOW, budget, NOW)).unwrap();
    let sealed = rerate(&ledger, by(dearer)).unwrap();
    assert_eq!((sealed.changed, sealed.sealed, sealed.amount), (0, 2, Money::ZERO));
    assert_eq!(ledger.window(budget, 1), (100 + 30, 0));
}

#[test]
fn a_call_of_the_cheap_hours_is_rated_anew_by_its_hour() {
    let ledger = TestLedger::new();
    let nano = |count: u32| Rate::parse(&format!("0.{count:09}")).unwrap();
    // The ledger of a test stands at 22:13.
    let hours = vec![PriceHours::new(vec![], "22:00".parse().unwrap(), "23:00".parse().unwrap())];
    let cheap = PriceTier::above(0).rates(nano(1), nano(1));
    let priced = Price { off_peak: Some(OffPeak::new(hours, cheap)), ..Price::new(nano(4), nano(12)) };
    let version = import_price(&ledger, "hours", priced.clone());
    let request = ReserveRequest { price: Some(priced), ..listed(1, Some(version)) };
    assert_eq!(ledger.spend(request, Usage::new(100, 100)).cost, Some(nanos(200)));
    assert_eq!(rerate(&ledger, by(version)).unwrap().changed, 0);
    let dearer = import(&ledger, 4);
    assert_eq!(rerate(&ledger, by(dearer)).unwrap().amount, nanos(1_600 - 200));
}

#[test]
fn what_was_booked_by_a_bound_is_rated_at_the_class_that_was_asked_for() {
    let ledger = TestLedger::new();
    let with_class = |usual: u32, priority: u32| {
        let tier = PriceTier::at(ServiceTier::Priority).rates(nano(priority), nano(priority));
        Price::new(nano(usual), nano(usual)).with_tier(tier)
    };
    let version = import_price(&ledger, "class", with_class(1, 5));
    let held = |n| {
        let price = with_class(1, 5).asked_at(ServiceTier::Priority);
        let asking = asking(n, Some(version), ServiceTier::Priority);
        ledger.reserve(ReserveRequest { price: Some(price), ..asking })
    };
    let (unknown, dead, absurd) = (held(1).id, held(2).id, held(3));
    let booked = ledger.write(move |tx| settle_unknown(tx, NOW, unknown, 10, Ended::Failed)).unwrap();
    assert_eq!(booked.cost, Some(nanos(110 * 5)));
    ledger.write(move |tx| settle_dead(tx, NOW, dead, RecoverySettlement::Reserved)).unwrap();
    assert_eq!(ledger.settle(&absurd, Usage::new(u64::MAX, 0)).cost, Some(nanos(200 * 5)));
    // One whose answer says that it got the usual class.
    ledger.settle(&held(4), Usage::new(100, 100));
    assert_eq!(rerate(&ledger, by(version)).unwrap().changed, 0);
    let dearer = import_price(&ledger, "dearer", with_class(1, 6));
    let done = rerate(&ledger, by(dearer)).unwrap();
    assert_eq!((done.changed, done.amount), (3, nanos(110 + 200 + 200)));
    // A list that does not name the class says nothing of what was held for it.
    let done = rerate(&ledger, by(import(&ledger, 1))).unwrap();
    assert_eq!((done.unlisted, done.changed), (3, 1));
}

#[test]
fn a_call_without_a_price_gets_that_of_the_class_it_asked_for() {
    let ledger = TestLedger::new();
    let held = |n, tier| ledger.reserve(ReserveRequest { price: None, ..asking(n, None, tier) });
    let (usual, first) = (held(1, ServiceTier::Standard).id, held(2, ServiceTier::Priority).id);
    for id in [usual, first] {
        ledger.write(move |tx| settle_unknown(tx, NOW, id, 10, Ended::Failed)).unwrap();
    }
    // The answer of this one does not say what class it got.
    ledger.settle(&held(3, ServiceTier::Priority), Usage::new(100, 0));
    // A list that does not name the class prices no call that asked for it.
    let done = rerate(&ledger, by(import_price(&ledger, "one class", Price::new(nano(1), nano(1))))).unwrap();
    assert_eq!((done.unlisted, done.changed, done.amount), (2, 1, nanos(110)));
    let tier = PriceTier::at(ServiceTier::Priority).rates(nano(5), nano(5));
    let both = import_price(&ledger, "two", Price::new(nano(1), nano(1)).with_tier(tier));
    let done = rerate(&ledger, by(both)).unwrap();
    // By the bound at five each; by the report, which names the usual class, at one.
    assert_eq!((done.unlisted, done.changed, done.amount), (0, 2, nanos(110 * 5 + 100)));
}

#[test]
fn t10_what_passed_without_a_price_counts_for_its_budgets_once_it_has_one() {
    let mut allows = NewBudget::per_user("allows", nanos(1_000));
    allows.on_unpriced = OnUnpriced::Record;
    let (ledger, [budget]) = TestLedger::with_budgets([allows]);
    let unpriced = |n| ReserveRequest { price: None, ..listed(n, None) };
    ledger.spend(unpriced(1), Usage::new(100, 100));
    assert_eq!(ledger.window(budget, 1), (0, 0));
    let version = import(&ledger, 2);
    assert_eq!(rerate(&ledger, by(version)).unwrap().amount, nanos(800));
    assert_eq!(ledger.window(budget, 1), (800, 0));
    // What a person books for another counts too, also beyond the limit, behind which they still pass.
    ledger.spend(unpriced(2), Usage::new(100, 100));
    let second = ledger.entries().last().unwrap().reservation_id;
    let correction = Correction::new(second, nanos(500), "the provider's bill");
    ledger.write(move |tx| crate::ledger::adjust(tx, NOW, &correction)).unwrap();
    assert_eq!(ledger.window(budget, 1), (1_300, 0));
    assert_eq!(ledger.spend(unpriced(3), Usage::new(100, 100)).cost, None);
    ledger.refusal(call(4));
    ledger.windows();
}

#[test]
fn usage_beyond_belief_costs_what_was_held_whenever_it_is_rated() {
    let ledger = TestLedger::new();
    let version = import_price(&ledger, "free input", Price::new(Rate::ZERO, Rate::parse("0.000000003").unwrap()));
    let price = Price::new(Rate::ZERO, Rate::parse("0.000000003").unwrap());
    let request = ReserveRequest { price: Some(price), ..listed(1, Some(version)) };
    assert_eq!(ledger.spend(request, Usage::new(u64::MAX, 10)).cost, Some(nanos(300)));
    assert_eq!(rerate(&ledger, by(version)).unwrap().changed, 0);
}

#[test]
fn t70_rating_anew_needs_a_version_and_a_reason() {
    let ledger = TestLedger::new();
    let code = |asked: Rerate| rerate(&ledger, asked).unwrap_err().code();
    assert_eq!(code(by(7)), ErrorCode::NotFound);
    let version = import(&ledger, 1);
    assert_eq!(code(Rerate::all("  ").by_version(version)), ErrorCode::InvalidInput);
    assert_eq!(code(Rerate::all("x".repeat(501)).by_version(version)), ErrorCode::InvalidInput);
    assert_eq!(code(by(-1)), ErrorCode::NotFound);
}

#[test]
fn only_the_calls_that_are_meant_are_rated() {
    let ledger = TestLedger::new();
    let version = import(&ledger, 2);
    ledger.spend(listed(1, None), Usage::new(100, 100));
    ledger.spend(ReserveRequest { user_id: Some(UserId(2)), ..listed(2, None) }, Usage::new(100, 100));
    ledger.spend(ReserveRequest { model: "other".into(), ..listed(3, None) }, Usage::new(100, 100));
    let looked_at = |asked: Rerate| rerate(&ledger, asked.only_tell()).unwrap().calls;
    assert_eq!(looked_at(by(version)), 3);
    assert_eq!(looked_at(by(version).of_model("other")), 1);
    assert_eq!(looked_at(Rerate { user_id: Some(UserId(2)), ..by(version) }), 1);
    assert_eq!(looked_at(Rerate { provider: Some("nobody".into()), ..by(version) }), 0);
    assert_eq!(looked_at(by(version).between(NOW, Timestamp(NOW.0 + 1))), 3);
    assert_eq!(looked_at(by(version).between(Timestamp(NOW.0 + 1), Timestamp(i64::MAX))), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// I9 over versions: what was rated by a version is what that version gives, and I1, I5 and I6 hold on.
    #[test]
    fn i9_what_was_rated_by_a_version_is_what_that_version_gives(
        calls in prop::collection::vec((1u64..500, 1u64..500, 0u8..5), 1..20),
        versions in prop::collection::vec(1u32..9, 1..5),
    ) {
        let (ledger, _) = TestLedger::with_budgets([
            NewBudget::per_user("u", nanos(10_000_000)).soft(),
            NewBudget::per_user("rolling", nanos(10_000_000)).rolling(4).soft(),
        ]);
        for (n, &(input, output, end)) in (1..).zip(&calls) {
            let request = ReserveRequest { price: (end != 4).then(price), ..listed(n, None) };
            let id = ledger.reserve(request).id;
            ledger.write(move |tx| match end {
                0 => void(tx, NOW, id, Ended::Failed),
                1 => settle_dead(tx, NOW, id, RecoverySettlement::Reserved).map(drop),
                _ => settle(tx, NOW, id, &Usage::new(input, output), &Value::Null, Ended::Well).map(drop),
            }).unwrap();
        }
        for nano in versions {
            let before = raw(&ledger);
            let version = import(&ledger, nano);
            rerate(&ledger, by(version)).unwrap();
            ledger.write(usage::fold).unwrap();
            prop_assert_eq!(&raw(&ledger)[..before.len()], &before[..]);
            ledger.write(verify_windows).unwrap();
            let entries = ledger.entries();
            let mut whole = 0;
            for settled in entries.iter().filter(|entry| entry.kind == EntryKind::Settle) {
                let own = |entry: &&LedgerEntry| entry.reservation_id == settled.reservation_id;
                let rated: i64 = entries.iter().filter(own).filter_map(|entry| entry.amount).map(Money::nanos).sum();
                let usage = settled.usage.unwrap();
                let expected = i64::from(nano) * (usage.input_tokens + 3 * usage.output_tokens) as i64;
                prop_assert_eq!(rated, expected);
                whole += expected;
            }
            let report = ledger.write(|tx| usage::report(tx, &UsageQuery::default())).unwrap();
            prop_assert_eq!((report.total.cost.nanos(), report.total.unpriced), (whole, 0));
        }
    }
}
