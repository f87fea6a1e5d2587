//! A rate by the generic cell rate algorithm: integers on a clock that only goes forward.

/// What may come at once, in nanoseconds' worth of the rate.
const TOLERANCE: u64 = 1_000_000_000;

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

    /// Books units and gives when they may come: as soon as what was booked before has, less the tolerance.
    pub(super) fn book(&mut self, now: u64, units: u64) -> Booking {
        let begins = self.arrival.max(now);
        self.arrival = begins.saturating_add(self.worth(units));
        Booking { at: begins.saturating_sub(TOLERANCE.min(begins - now)), units, ends: self.arrival }
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
        /// In any minute no more comes than the rate, what is tolerated at once, and one call.
        #[test]
        fn no_minute_has_more_than_the_rate(
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
                if let Some((before, _)) = came.last() { prop_assert!(at >= *before, "in turn"); }
                came.push((at, size));
            }
            for (index, (from, _)) in came.iter().enumerate() {
                let within: u64 = came[index..].iter().take_while(|(at, _)| *at < from + MINUTE).map(|(_, size)| size).sum();
                let most = came[index..].iter().map(|(_, size)| *size).max().unwrap_or(0);
                prop_assert!(within <= units + units / 30 + 2 + most, "{within} of {units}");
            }
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
