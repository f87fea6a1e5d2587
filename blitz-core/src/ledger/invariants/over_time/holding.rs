//! What holds behind every deed.

use super::*;
use crate::domain::{CostFilter, EntryKind, ListOptions, UsageQuery};

fn sequences() -> ProptestConfig {
    ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() }
}

/// Does the deeds and checks behind every one.
fn throughout(deeds: &[Deed], mut check: impl FnMut(&Run)) -> Run {
    let mut run = Run::new();
    for deed in deeds {
        run.perform(deed);
        check(&run);
    }
    run
}

proptest! {
    #![proptest_config(sequences())]

    /// Whatever the period, its zone, its raises and resets: posted is what was booked, pending what is open.
    #[test]
    fn i1_i2_windows_of_every_period_hold_what_was_booked_and_what_is_open(deeds in deeds()) {
        throughout(&deeds, |run| assert_eq!(run.stored(), run.expected()));
    }

    /// Each call is admitted by the limit of its moment, raises and edits included, and by nothing else: `perform`
    /// holds every answer against the model's. Of a rolling budget the last hours never hold more than its
    /// limit, counted call by call, while nothing but admissions moves them.
    #[test]
    fn i3_i11_i14_calls_are_admitted_by_what_the_period_has_left(deeds in deeds()) {
        let steady: Vec<Deed> = deeds.iter().filter(|deed| match deed {
            Deed::Clock(by) => *by >= 0,
            Deed::Reserve { .. } => true,
            Deed::End { end, .. } => !matches!(end, End::Settle { .. }),
            _ => false,
        }).cloned().collect();
        throughout(&steady, |run| {
            let books = &run.books;
            for (counter, hours) in [(0, 3), (1, 26)] {
                let limit = books.counters[counter].limit.unwrap();
                for user in [None, Some(1), Some(2)] {
                    let mine = |held: &&Held| counter == 1 || (held.user == user && user.is_some());
                    let recent = |held: &&Held| held.at > books.now - hours * HOUR;
                    let open = books.open.iter().filter(mine).filter(recent).map(|held| held.amount.unwrap_or(0));
                    let ended = books.ended.iter().filter(mine).filter(recent).map(|held| held.cost.unwrap_or(0));
                    assert!(open.sum::<i64>() + ended.sum::<i64>() <= limit);
                }
            }
        });
        let run = throughout(&deeds, |_| {});
        // Every edit is kept, and the newest is what holds.
        for counter in &run.books.counters {
            let id = counter.id;
            let kept = run.ledger.write(move |tx| list_revisions(tx, id, &ListOptions::limit(1000))).unwrap().items;
            prop_assert_eq!(kept.len() as u32, counter.edits);
            prop_assert_eq!(kept.last().unwrap().spec.limit.map(Amount::units), counter.limit);
        }
    }

    /// Each reservation ends once, the entries alone make every window, and no window goes away or begins anew.
    #[test]
    fn i4_i5_i10_entries_make_the_windows_and_none_is_reset(deeds in deeds()) {
        let mut seen = Vec::new();
        let run = throughout(&deeds, |run| {
            run.ledger.write(verify_windows).unwrap();
            let places: Vec<_> = run.stored().into_iter().map(|window| window.0).collect();
            assert!(seen.iter().all(|place| places.contains(place)), "a window is gone");
            seen = places;
        });
        let ends = run.ledger.write(|tx| tx.query_all(
            "SELECT r.id, (SELECT count(*) FROM ledger_entries e WHERE e.reservation_id = r.id AND e.kind IN ('settle', 'void'))
             FROM reservations r ORDER BY r.id LIMIT 1000", &[])).unwrap();
        let ended: Vec<i64> = ends.iter().filter(|row| row.int(1).unwrap() == 1).map(|row| row.int(0).unwrap()).collect();
        let mut expected: Vec<i64> = run.books.ended.iter().map(|held| held.id.0).collect();
        expected.sort_unstable();
        prop_assert_eq!(ended, expected);
        prop_assert!(ends.iter().all(|row| row.int(1).unwrap() <= 1));
    }

    /// The sums are those of the entries; the price that is kept with a call gives what it was booked at.
    #[test]
    fn i6_i9_sums_and_prices_give_what_the_entries_say(deeds in deeds()) {
        let mut turn = 0;
        let run = throughout(&deeds, |run| {
            turn += 1;
            if turn % 7 == 0 {
                run.ledger.write(usage::fold).unwrap();
            }
        });
        let report = run.ledger.write(|tx| usage::report(tx, &UsageQuery::default())).unwrap();
        prop_assert_eq!(report.total.cost, run.ledger.summary(CostFilter::all()).cost);
        let booked: i64 = run.books.ended.iter().filter_map(|held| held.cost).sum();
        prop_assert_eq!(report.total.cost.nanos(), booked);
        let entries = run.ledger.entries();
        for settled in entries.iter().filter(|entry| entry.kind == EntryKind::Settle) {
            let Some(amount) = settled.amount else { continue };
            let usage = settled.usage.unwrap();
            let held = run.books.ended.iter().find(|held| held.id == settled.reservation_id).unwrap();
            let beyond = entries.iter()
                .find(|entry| entry.kind == EntryKind::Overage && entry.reservation_id == settled.reservation_id)
                .map_or(0, |entry| entry.amount.unwrap().nanos());
            if !held.free && usage.provenance == crate::domain::Provenance::Provider {
                prop_assert_eq!(price().cost(&usage).unwrap().nanos(), amount.nanos() + beyond);
            }
        }
    }

    /// Over the same months the parent has what its children have, and what is nobody's.
    #[test]
    fn i7_parents_count_the_sum_of_their_children_over_the_same_months(deeds in deeds()) {
        let run = throughout(&deeds, |_| {});
        let months = |at: usize| {
            let mut months: BTreeMap<i64, i64> = BTreeMap::new();
            for ((_, start), (posted, _)) in &run.books.counters[at].windows {
                *months.entry(*start).or_default() += posted;
            }
            months
        };
        let mut nobodys: BTreeMap<i64, i64> = BTreeMap::new();
        for held in run.books.ended.iter().filter(|held| held.user.is_none()) {
            for (_, _, start) in held.legs.iter().filter(|leg| leg.0 == PARENT) {
                *nobodys.entry(*start).or_default() += held.cost.unwrap_or(0);
            }
        }
        // With a clock that is set back, a child's newest month and its parent's may differ at their border.
        if !deeds.iter().any(|deed| matches!(deed, Deed::Clock(by) if *by < 0)) {
            let children = months(CHILDREN);
            for (start, posted) in months(PARENT) {
                let of = |sums: &BTreeMap<i64, i64>| sums.get(&start).copied().unwrap_or(0);
                prop_assert_eq!(posted, of(&children) + of(&nobodys));
            }
        }
        let whole = |at: usize| months(at).values().sum::<i64>();
        prop_assert_eq!(whole(PARENT), whole(CHILDREN) + nobodys.values().sum::<i64>());
    }

    /// A call that is denied changes nothing: `perform` compares all there is before and behind it.
    #[test]
    fn i13_a_refused_call_leaves_everything_as_it_was(deeds in deeds()) {
        let run = throughout(&deeds, |_| {});
        prop_assert!(run.books.refused <= run.books.calls as u64);
    }
}
