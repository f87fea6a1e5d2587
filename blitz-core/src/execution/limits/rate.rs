//! A rate by the generic cell rate algorithm: integers on a clock that only goes forward.
//!
//! As much as the limit may come at once; what was used comes back at the rate of the limit. So no time of
//! so many minutes has more than the limit and so many times the limit: any one minute less than twice of it.

const MINUTE: u64 = 60_000_000_000;

/// So many units a minute. A unit that is booked moves the time when the next may come.
#[derive(Debug)]
pub(super) struct Rate {
    units: u64,
    /// When all that is booked will have come, in nanoseconds.
    arrival: u64,
}

/// Units that were booked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Booking {
    /// When they may come.
    pub(super) at: u64,
    units: u64,
    /// When they will have come.
    ends: u64,
}

impl Rate {
    pub(super) fn per_minute(units: u64) -> Self {
        Self { units: units.max(1), arrival: 0 }
    }

    /// Books units and gives when they may come: as soon as a minute's worth has room for them behind what
    /// was booked before. What is larger than the limit comes when all before it has.
    pub(super) fn book(&mut self, now: u64, units: u64) -> Booking {
        let begins = self.arrival.max(now);
        let worth = self.worth(units);
        self.arrival = begins.saturating_add(worth);
        let ahead = MINUTE.saturating_sub(worth).min(begins - now);
        Booking { at: begins - ahead, units, ends: self.arrival }
    }

    /// Gives back what was booked beyond what was used, as far as its time is not over: the rest has come,
    /// and what is booked behind it is others'. What was used beyond it is booked too.
    pub(super) fn correct(&mut self, now: u64, booking: Booking, used: u64) {
        let (booked, used) = (self.worth(booking.units), self.worth(used));
        let unused = booked.saturating_sub(used).min(booking.ends.saturating_sub(now));
        self.arrival = self.arrival.saturating_add(used.saturating_sub(booked)).saturating_sub(unused);
    }

    fn worth(&self, units: u64) -> u64 {
        u64::try_from(u128::from(units) * u128::from(MINUTE) / u128::from(self.units)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However calls come: no span of time has more than the limit and what comes back in it, a call
        /// larger than the limit apart.
        #[test]
        fn no_span_has_more_than_the_limit_and_what_comes_back(
            units in 1u64..100_000,
            calls in proptest::collection::vec((0u64..5_000_000_000, 1u64..1_000), 1..60),
        ) {
            let mut rate = Rate::per_minute(units);
            let mut now = 0;
            let mut came: Vec<(u64, u64)> = Vec::new();
            for (pause, size) in calls {
                now += pause;
                let at = rate.book(now, size).at;
                prop_assert!(at >= now);
                came.push((at, size));
            }
            for (index, (from, _)) in came.iter().enumerate() {
                for (until, (to, _)) in came.iter().enumerate().skip(index) {
                    let within: u128 = came[index..=until].iter().map(|(_, size)| u128::from(*size)).sum();
                    let largest = came[index..=until].iter().map(|(_, size)| *size).max().unwrap_or(0);
                    let back = u128::from(to.saturating_sub(*from)) * u128::from(units) / u128::from(MINUTE);
                    // A booking is rounded down by less than a nanosecond's worth.
                    let most = u128::from(units.max(largest)) + back + 2;
                    prop_assert!(within <= most, "{within} of {units} in {} ns", to - from);
                }
            }
        }

        /// Where nothing was booked, the limit itself comes at once, and the next unit as the first comes back.
        #[test]
        fn the_limit_comes_at_once(units in 1u64..5_000, now in 0u64..MINUTE) {
            let mut rate = Rate::per_minute(units);
            for _ in 0..units {
                prop_assert_eq!(rate.book(now, 1).at, now);
            }
            let next = rate.book(now, 1).at;
            let wait = MINUTE / units;
            prop_assert!(now + wait - units <= next && next <= now + wait + units, "{next}");
        }

        #[test]
        fn what_is_given_back_was_never_booked(units in 1u64..1_000_000, first in 0u64..10_000, size in 0u64..10_000) {
            let mut rate = Rate::per_minute(units);
            rate.book(0, first);
            let before = rate.arrival;
            let booking = rate.book(0, size);
            rate.correct(0, booking, 0);
            prop_assert_eq!(rate.arrival, before);
        }

        /// However late it comes: behind a booking there is at least what was booked after it.
        #[test]
        fn what_is_given_back_was_never_somebody_elses(
            calls in proptest::collection::vec((0u64..3 * MINUTE, 1u64..100), 2..20),
            late in 0u64..3 * MINUTE,
        ) {
            let mut rate = Rate::per_minute(60);
            let mut now = 0;
            let mut bookings = Vec::new();
            for (pause, size) in calls {
                now += pause;
                bookings.push((now, rate.book(now, size)));
            }
            let others = bookings[1..].iter().fold(0, |arrival: u64, (at, booking)| {
                arrival.max(*at) + rate.worth(booking.units)
            });
            rate.correct(now + late, bookings[0].1, 0);
            prop_assert!(rate.arrival >= others, "{} and the others alone are {others}", rate.arrival);
        }
    }
}
