//! The ledger over time against a plain model of it: rolling and calendar windows with zones, quotas,
//! raises, resets, seals, corrections and a clock that is set, in random sequences.

mod holding;

use jiff::tz::TimeZone;

use super::*;
use crate::domain::{BudgetPeriod, BudgetUnit, Correction};

const HOUR: i64 = 3_600_000_000;

// What may happen ---------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Deed {
    /// The clock goes on, or is set back.
    Clock(i64),
    Reserve {
        user: Option<i64>,
        pricing: Pricing,
        input: u64,
        output: u64,
        clamp: bool,
    },
    End {
        pick: usize,
        end: End,
    },
    Limit {
        pick: usize,
        limit: Option<i64>,
    },
    Raise {
        pick: usize,
        amount: i64,
        from: i64,
        lasts: i64,
    },
    EndRaises {
        pick: usize,
    },
    Reset {
        pick: usize,
    },
    Seal {
        pick: usize,
        back: i64,
    },
    Adjust {
        pick: usize,
        amount: i64,
    },
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let tokens = || 0u64..600;
    let pricing = prop_oneof![8 => Just(Pricing::Priced), 1 => Just(Pricing::Free), 1 => Just(Pricing::Unknown)];
    let end = prop_oneof![
        4 => (tokens(), tokens()).prop_map(|(input, output)| End::Settle { input, output }),
        1 => tokens().prop_map(|delivered| End::Unknown { delivered }),
        1 => prop_oneof![Just(Reserved), Just(Floor)].prop_map(End::Dead),
        1 => Just(End::Void),
    ];
    let reserve = (prop::option::weighted(0.8, 1i64..3), pricing, tokens(), tokens(), any::<bool>())
        .prop_map(|(user, pricing, input, output, clamp)| Deed::Reserve { user, pricing, input, output, clamp });
    let clock = prop_oneof![
        6 => (0i64..3 * HOUR).prop_map(Deed::Clock),
        2 => (0i64..30 * HOUR).prop_map(Deed::Clock),
        1 => (0i64..40 * 24 * HOUR).prop_map(Deed::Clock),
        1 => (-3 * HOUR..0).prop_map(Deed::Clock),
    ];
    let pick = any::<usize>;
    let deed = prop_oneof![
        10 => reserve,
        9 => (pick(), end).prop_map(|(pick, end)| Deed::End { pick, end }),
        6 => clock,
        1 => (pick(), prop::option::weighted(0.8, 0i64..9000)).prop_map(|(pick, limit)| Deed::Limit { pick, limit }),
        1 => (pick(), 1i64..3000, -HOUR..2 * HOUR, 1..6 * HOUR)
            .prop_map(|(pick, amount, from, lasts)| Deed::Raise { pick, amount, from, lasts }),
        1 => pick().prop_map(|pick| Deed::EndRaises { pick }),
        1 => pick().prop_map(|pick| Deed::Reset { pick }),
        1 => (pick(), 0..10 * HOUR).prop_map(|(pick, back)| Deed::Seal { pick, back }),
        2 => (pick(), -800i64..800).prop_map(|(pick, amount)| Deed::Adjust { pick, amount }),
    ];
    prop::collection::vec(deed, 1..90)
}

// The model ---------------------------------------------------------------------------------------

/// The last two are a parent and its children over the same months: no deed resets, raises or limits them.
fn specs() -> [NewBudget; 9] {
    let new = NewBudget::new;
    [
        new("rolling", BudgetScope::User).with_limit(nanos(3000)).rolling(3),
        new("rolling all", BudgetScope::All).with_limit(nanos(5000)).rolling(26),
        new("day", BudgetScope::User).with_limit(nanos(4000)).every(BudgetPeriod::Day).in_time_zone("Europe/Berlin"),
        new("hour", BudgetScope::All).with_limit(nanos(2500)).every(BudgetPeriod::Hour).soft(),
        new("tokens", BudgetScope::User).tokens(2500).rolling(5),
        new("requests", BudgetScope::All).requests(9).every(BudgetPeriod::Day),
        new("ever", BudgetScope::User).with_limit(nanos(20_000)),
        new("month", BudgetScope::All).every(BudgetPeriod::Month).in_time_zone("America/New_York").soft(),
        new("month each", BudgetScope::User).every(BudgetPeriod::Month).in_time_zone("America/New_York").soft(),
    ]
}
/// So many of them may be changed.
const CHANGED: usize = 7;
const PARENT: usize = 7;
const CHILDREN: usize = 8;

#[derive(Debug, Clone)]
struct Counter {
    id: BudgetId,
    spec: NewBudget,
    limit: Option<i64>,
    raises: Vec<(i64, i64, i64)>,
    epoch: i64,
    sealed_before: i64,
    edits: u32,
    /// By scope and start: posted and pending.
    windows: BTreeMap<(i64, i64), (i64, i64)>,
}

/// A call that was admitted: at which budgets' windows it is counted.
#[derive(Debug, Clone)]
struct Held {
    id: ReservationId,
    at: i64,
    user: Option<i64>,
    input: u64,
    output: u64,
    amount: Option<i64>,
    free: bool,
    legs: Vec<(usize, i64, i64)>,
    /// What it is booked at, once it has ended and not been void.
    cost: Option<i64>,
}

#[derive(Debug, Clone)]
struct Books {
    now: i64,
    /// The latest moment that was: behind it the clock was never set back.
    latest: i64,
    counters: Vec<Counter>,
    open: Vec<Held>,
    ended: Vec<Held>,
    refused: u64,
    calls: i64,
}

impl Counter {
    fn of(&self, user: Option<i64>) -> Option<i64> {
        if self.spec.scope == BudgetScope::All { Some(0) } else { user }
    }

    /// The limit as it is at a moment.
    fn limit_at(&self, now: i64) -> Option<i64> {
        let raised: i64 =
            self.raises.iter().filter(|(_, from, until)| (*from..*until).contains(&now)).map(|raise| raise.0).sum();
        self.limit.map(|limit| limit + raised)
    }

    /// When the window begins that a call is counted in now, and what the whole period has counted.
    fn window(&self, scope: i64, now: i64) -> (i64, i64) {
        let rows = |from: i64| self.windows.range((scope, from)..=(scope, i64::MAX));
        let sum = |from: i64| rows(from).map(|(_, (posted, pending))| posted + pending).sum();
        match self.spec.period {
            BudgetPeriod::Rolling => {
                let reach = i64::from(self.spec.hours.unwrap()) * HOUR;
                let this_hour = (now - now.rem_euclid(HOUR)).max(self.epoch);
                // An hour counts until its last moment is as old as the period is long.
                let from = (now - reach - HOUR + 1).max(self.epoch);
                let newest = rows(from).next_back().map_or(this_hour, |(place, _)| place.1);
                (newest.max(this_hour), sum(from))
            }
            BudgetPeriod::None => (self.epoch, sum(self.epoch)),
            _ => {
                let begins = begins(&self.spec, now).max(self.epoch);
                match rows(begins).next_back() {
                    Some((place, (posted, pending))) => (place.1, posted + pending),
                    None => (begins, 0),
                }
            }
        }
    }
}

/// The first moment of the calendar's hour, day or month, by the calendar itself.
fn begins(spec: &NewBudget, now: i64) -> i64 {
    let zone = spec.time_zone.as_deref().map_or(TimeZone::UTC, |name| TimeZone::get(name).unwrap());
    let local = jiff::Timestamp::from_microsecond(now).unwrap().to_zoned(zone);
    let start = match spec.period {
        BudgetPeriod::Hour => return now - now.rem_euclid(HOUR),
        BudgetPeriod::Day => local.start_of_day().unwrap(),
        _ => local.first_of_month().unwrap().start_of_day().unwrap(),
    };
    start.timestamp().as_microsecond()
}

impl Books {
    fn counting(&self, user: Option<i64>) -> Vec<(usize, i64)> {
        let counts = |(at, counter): (usize, &Counter)| counter.of(user).map(|scope| (at, scope));
        self.counters.iter().enumerate().filter_map(counts).collect()
    }

    /// The output cap and amount of a call that is admitted; `None` for a refusal.
    fn expected(&self, deed: &Deed) -> Option<(u64, Option<i64>)> {
        let &Deed::Reserve { user, pricing, input, output, clamp } = deed else { unreachable!("reserves only") };
        let counting = self.counting(user);
        let hard = || {
            let hard = counting.iter().filter(|(at, _)| self.counters[*at].spec.hard);
            hard.filter_map(|&(at, scope)| {
                let counter = &self.counters[at];
                Some((counter, counter.limit_at(self.now)?, counter.window(scope, self.now).1))
            })
        };
        if matches!(pricing, Pricing::Unknown) && hard().any(|(counter, ..)| counter.spec.unit == BudgetUnit::Usd) {
            return None;
        }
        let fits = |output: u64| {
            hard().all(|(counter, limit, counted)| match counter.spec.unit {
                BudgetUnit::Tokens => counted + (input + output) as i64 <= limit,
                BudgetUnit::Requests => counted < limit,
                _ if matches!(pricing, Pricing::Priced) => counted + cost_of(input, output).max(1) <= limit,
                _ => true,
            })
        };
        let least = if clamp { output.min(16) } else { output };
        let output = (least..=output).rev().find(|&output| fits(output))?;
        Some((
            output,
            match pricing {
                Pricing::Priced => Some(cost_of(input, output).max(1)),
                Pricing::Free => Some(0),
                Pricing::Unknown => None,
            },
        ))
    }

    fn hold(&mut self, id: ReservationId, deed: &Deed, output: u64, amount: Option<i64>) {
        let &Deed::Reserve { user, pricing, input, .. } = deed else { unreachable!("reserves only") };
        let mut legs = Vec::new();
        for (at, scope) in self.counting(user) {
            let unit = self.counters[at].spec.unit;
            // A call without a price names its window of money all the same, for the day it gets one.
            if unit == BudgetUnit::Usd && matches!(pricing, Pricing::Free) {
                continue;
            }
            let (start, _) = self.counters[at].window(scope, self.now);
            self.counters[at].windows.entry((scope, start)).or_default().1 += held_in(unit, input, output, amount);
            legs.push((at, scope, start));
        }
        let free = matches!(pricing, Pricing::Free);
        self.open.push(Held { id, at: self.now, user, input, output, amount, free, legs, cost: None });
    }

    fn end(&mut self, mut held: Held, end: End) -> Option<i64> {
        let estimate = |output: u64| held.amount.map(|amount| cost_of(held.input, output).min(amount));
        let (cost, tokens, requests) = match end {
            End::Void => (Some(0), 0, 0),
            End::Dead(Reserved) => (held.amount, held.input + held.output, 1),
            End::Dead(Floor) => (estimate(0), held.input, 1),
            End::Unknown { delivered } => {
                let delivered = delivered.min(held.output);
                (estimate(delivered), held.input + delivered, 1)
            }
            End::Settle { input, output } => {
                let cost = held.amount.map(|_| if held.free { 0 } else { cost_of(input, output) });
                (cost, input + output, 1)
            }
        };
        for &(at, scope, start) in &held.legs {
            let counter = &mut self.counters[at];
            let unit = counter.spec.unit;
            let (posted, pending) = counter.windows.get_mut(&(scope, start)).unwrap();
            *pending -= held_in(unit, held.input, held.output, held.amount);
            *posted += match unit {
                BudgetUnit::Usd => cost.unwrap_or(0),
                BudgetUnit::Tokens => tokens as i64,
                _ => requests,
            };
        }
        if !matches!(end, End::Void) {
            held.cost = Some(cost.unwrap_or(0));
        }
        self.ended.push(held);
        cost
    }

    fn counter(&mut self, pick: usize) -> &mut Counter {
        &mut self.counters[pick % CHANGED]
    }
}

fn held_in(unit: BudgetUnit, input: u64, output: u64, amount: Option<i64>) -> i64 {
    match unit {
        BudgetUnit::Usd => amount.unwrap_or(0),
        BudgetUnit::Tokens => (input + output) as i64,
        _ => 1,
    }
}

// The two side by side ----------------------------------------------------------------------------

/// A window, and what is posted and pending in it.
type Counted = ((BudgetId, i64, i64), (i64, i64));

struct Run {
    ledger: TestLedger,
    books: Books,
}

impl Run {
    /// On the eve of a day of 23 hours in Berlin.
    fn new() -> Self {
        let specs = specs();
        let (ledger, ids) = TestLedger::with_budgets(specs.clone());
        let now = "2026-03-28T20:17:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let counter = |(id, spec): (BudgetId, NewBudget)| Counter {
            id,
            limit: spec.limit.map(Amount::units),
            spec,
            raises: vec![],
            epoch: 0,
            sealed_before: 0,
            edits: 1,
            windows: BTreeMap::new(),
        };
        let counters = ids.into_iter().zip(specs).map(counter).collect();
        let books = Books { now, latest: now, counters, open: vec![], ended: vec![], refused: 0, calls: 0 };
        Self { ledger, books }
    }

    fn perform(&mut self, deed: &Deed) {
        let (deed, before) = (deed.clone(), self.books.clone());
        let done = self.ledger.write(move |tx| {
            let mut books = before.clone();
            perform_deed(tx, &mut books, &deed)?;
            Ok(books)
        });
        self.books = done.unwrap();
    }

    fn stored(&self) -> Vec<Counted> {
        let stored = self.ledger.write(|tx| {
            tx.query_all(
                "SELECT budget_id, scope_id, window_start, posted, pending FROM budget_windows
                 ORDER BY budget_id, scope_id, window_start LIMIT 10000",
                &[],
            )
        });
        let int = |row: &Row, at| row.int(at).unwrap();
        let window = |row: &Row| ((BudgetId(int(row, 0)), int(row, 1), int(row, 2)), (int(row, 3), int(row, 4)));
        stored.unwrap().iter().map(window).collect()
    }

    fn expected(&self) -> Vec<Counted> {
        let of = |counter: &Counter| {
            let id = counter.id;
            counter.windows.iter().map(move |((scope, start), sums)| ((id, *scope, *start), *sums)).collect::<Vec<_>>()
        };
        self.books.counters.iter().flat_map(of).collect()
    }
}

/// How much there is of everything that a refusal leaves as it was.
fn extent(tx: &mut dyn Connection) -> Result<Vec<i64>> {
    let row = tx.query_one(
        "SELECT (SELECT count(*) FROM reservations), (SELECT count(*) FROM ledger_entries),
             (SELECT count(*) FROM budget_windows), (SELECT coalesce(sum(posted), 0) FROM budget_windows),
             (SELECT coalesce(sum(pending), 0) FROM budget_windows), (SELECT count(*) FROM alerts),
             (SELECT count(*) FROM budget_names), (SELECT count(*) FROM budgets)",
        &[],
    )?;
    (0..8).map(|at| row.as_ref().unwrap().int(at)).collect()
}

fn perform_deed(tx: &mut dyn Connection, books: &mut Books, deed: &Deed) -> Result<()> {
    let now = Timestamp(books.now);
    match deed {
        Deed::Clock(by) => {
            books.now += by;
            books.latest = books.latest.max(books.now);
        }
        Deed::Reserve { .. } => reserve_deed(tx, books, deed)?,
        Deed::End { pick, end } if !books.open.is_empty() => {
            let held = books.open.remove(pick % books.open.len());
            let (id, expected) = (held.id, books.end(held, *end));
            let booked = match *end {
                End::Void => void(tx, now, id, Ended::Failed).map(|()| Some(Money::ZERO))?,
                End::Dead(policy) => settle_dead(tx, now, id, policy)?.cost,
                End::Unknown { delivered } => settle_unknown(tx, now, id, delivered, Ended::Failed)?.cost,
                End::Settle { input, output } => {
                    settle(tx, now, id, &Usage::new(input, output), &Value::Null, Ended::Well)?.cost
                }
            };
            assert_eq!(booked.map(Money::nanos), expected);
        }
        Deed::Limit { pick, limit } => {
            let counter = books.counter(*pick);
            let shown = match (limit, counter.spec.unit) {
                (None, _) => Value::Null,
                (Some(limit), BudgetUnit::Usd) => nanos(*limit).to_string().into(),
                (Some(limit), _) => (*limit).into(),
            };
            if counter.limit != *limit {
                (counter.limit, counter.edits) = (*limit, counter.edits + 1);
            }
            update_budget(tx, now, counter.id, &[("limit".to_owned(), shown)].into_iter().collect())?;
        }
        &Deed::Raise { pick, amount, from, lasts } => {
            let from = books.now + from;
            let counter = books.counter(pick);
            let of =
                if counter.spec.unit == BudgetUnit::Usd { Amount::Usd(nanos(amount)) } else { Amount::Count(amount) };
            counter.raises.push((amount, from, from + lasts));
            raise_budget(tx, counter.id, of, (Timestamp(from), Timestamp(from + lasts)), "a test")?;
        }
        Deed::EndRaises { pick } => {
            let counter = books.counter(*pick);
            counter.raises.iter_mut().for_each(|raise| raise.2 = raise.2.min(now.0));
            end_raises(tx, now, counter.id)?;
        }
        Deed::Reset { pick } => {
            let counter = books.counter(*pick);
            let newest = counter.windows.keys().map(|place| place.1).max();
            counter.epoch = newest.map_or(now.0, |newest| now.0.max(newest + 1));
            reset_budget(tx, now, counter.id)?;
        }
        Deed::Seal { pick, back } => {
            let counter = books.counter(*pick);
            let before = now.0 - back;
            counter.sealed_before = counter.sealed_before.max(before);
            seal_budget(tx, now, counter.id, Timestamp(before))?;
        }
        Deed::Adjust { pick, amount } => adjust_deed(tx, books, *pick, *amount)?,
        Deed::End { .. } => {}
    }
    Ok(())
}

fn reserve_deed(tx: &mut dyn Connection, books: &mut Books, deed: &Deed) -> Result<()> {
    let &Deed::Reserve { user, pricing, input, output, clamp } = deed else { unreachable!("reserves only") };
    books.calls += 1;
    let request = ReserveRequest {
        user_id: user.map(UserId),
        price: match pricing {
            Pricing::Priced => Some(price()),
            Pricing::Free => Some(Price::FREE),
            Pricing::Unknown => None,
        },
        input_bound: input,
        output_cap: output,
        clamp,
        ..call(books.calls)
    };
    let before = extent(tx)?;
    match (reserve(tx, Timestamp(books.now), BOOT, &request)?, books.expected(deed)) {
        (ReserveOutcome::Refused(_), None) => {
            assert_eq!(extent(tx)?, before, "I13: a refusal leaves everything as it was");
            books.refused += 1;
        }
        (ReserveOutcome::Reserved(reserved), Some((output, amount))) => {
            assert_eq!((reserved.output_cap, reserved.amount.map(Money::nanos)), (output, amount), "{deed:?}");
            books.hold(reserved.id, deed, output, amount);
        }
        (outcome, expected) => panic!("{deed:?} gave {outcome:?}, the model admits {expected:?}"),
    }
    Ok(())
}

fn adjust_deed(tx: &mut dyn Connection, books: &mut Books, pick: usize, amount: i64) -> Result<()> {
    if books.ended.is_empty() {
        return Ok(());
    }
    let at = pick % books.ended.len();
    let held = books.ended[at].clone();
    let of_money = |at: usize| books.counters[at].spec.unit == BudgetUnit::Usd;
    let legs: Vec<_> = held.legs.iter().copied().filter(|leg| of_money(leg.0)).collect();
    let expected = match held.cost {
        _ if amount == 0 => Err(ErrorCode::InvalidInput),
        None => Err(ErrorCode::NotFound),
        Some(cost) if cost + amount < 0 => Err(ErrorCode::InvalidInput),
        Some(_) if legs.iter().any(|leg| leg.2 < books.counters[leg.0].sealed_before) => Err(ErrorCode::Conflict),
        Some(cost) => Ok(cost + amount),
    };
    let done = adjust(tx, Timestamp(books.now), &Correction::new(held.id, nanos(amount), "a test"));
    assert_eq!(done.map(drop).map_err(|error| error.code()), expected.map(drop), "{amount} on {held:?}");
    if let Ok(cost) = expected {
        books.ended[at].cost = Some(cost);
        for (at, scope, start) in legs {
            books.counters[at].windows.get_mut(&(scope, start)).unwrap().0 += amount;
        }
    }
    Ok(())
}
