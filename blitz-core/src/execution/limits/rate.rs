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

impl Rate {
    pub(super) fn per_minute(units: u64) -> Self {
        Self { units: units.max(1), arrival: 0 }
    }

    /// Books units and gives when they may come: as soon as what was booked before has, less the tolerance.
    pub(super) fn book(&mut self, now: u64, units: u64) -> u64 {
        let begins = self.arrival.max(now);
        self.arrival = begins.saturating_add(self.worth(units));
        begins.saturating_sub(TOLERANCE.min(begins - now))
    }

    /// Gives back what was booked beyond what was used; what was used beyond it is booked too.
    pub(super) fn correct(&mut self, booked: u64, used: u64) {
        let (booked, used) = (self.worth(booked), self.worth(used));
        self.arrival = self.arrival.saturating_add(used).saturating_sub(booked);
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
                let at = rate.book(now, size);
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
            rate.book(0, size);
            rate.correct(size, 0);
            prop_assert_eq!(rate.arrival, before);
        }
    }
}
