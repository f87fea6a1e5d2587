//! What holds where a statement fails, whichever it is.

use super::*;

/// Every row that money moves, for comparing byte by byte.
const TABLES: [&str; 9] = [
    "SELECT * FROM budgets ORDER BY id LIMIT 10000",
    "SELECT * FROM budget_revisions ORDER BY budget_id, revision LIMIT 10000",
    "SELECT * FROM budget_windows ORDER BY budget_id, scope_id, window_start LIMIT 10000",
    "SELECT * FROM budget_hours LIMIT 10000",
    "SELECT * FROM reservations ORDER BY id LIMIT 10000",
    "SELECT * FROM ledger_entries ORDER BY seq LIMIT 10000",
    "SELECT * FROM usage_rollups LIMIT 10000",
    "SELECT * FROM alerts ORDER BY id LIMIT 10000",
    "SELECT * FROM outbox LIMIT 10000",
];

fn everything(world: &World) -> Vec<Vec<Row>> {
    TABLES.map(|sql| world.rows(sql)).into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..config() })]

    /// Each turn is tried with each of its statements failing, one after the other, before it goes well. A failure is
    /// told and never swallowed, and leaves every row as it was: so I1 to I5 hold behind it as they did before. That
    /// the turn can be made afterwards shows that it left nothing behind in memory either.
    #[test]
    fn i1_i2_i3_i4_i5_hold_whichever_statement_fails(turns in turns()) {
        let mut world = World::new();
        let mut failures = 0;
        for turn in &turns {
            let before = everything(&world);
            for at in 1.. {
                match world.try_turn(turn, Some(at)) {
                    Err(error) if error.to_string().contains(Watched::FAILURE) => {
                        failures += 1;
                        assert!(everything(&world) == before, "statement {at} of {turn:?} left something behind");
                    }
                    // All its statements were tried: it went to its end.
                    Ok(()) => break,
                    Err(error) => {
                        assert!(turn.fails, "{}", error.chain());
                        break;
                    }
                }
            }
            let rebuilt = world.ledger.write(rebuild_windows).unwrap();
            assert_eq!(&rebuilt, &world.stored_windows());
            world.ledger.write(verify_windows).unwrap();
            for window in rebuilt {
                let key = (window.budget_id, window.scope_id);
                assert_eq!(world.model.windows[&key], (window.posted.units(), window.pending.units()), "{window:?}");
            }
        }
        let open = world.rows("SELECT id FROM reservations WHERE state = 'open' LIMIT 10000");
        assert_eq!(open.len(), world.model.open.len());
        prop_assert!(failures > 0 || world.model.calls == 0, "no statement failed");
    }
}
