//! Places that failed logins come from: each is held back like an account.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::login::hold;
use crate::domain::Timestamp;

/// A place may serve many people: so many failures in a row are free there.
const FREE: i64 = 15;

/// How many places are remembered.
const REMEMBERED: usize = 4096;

/// A place without a failure for so long starts anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// Counts failures in memory: a place can be made up at will, so nothing is stored of it.
#[derive(Default)]
pub(super) struct Sources {
    places: Mutex<HashMap<String, Place>>,
}

struct Place {
    failed: i64,
    last: Timestamp,
    held_until: Option<Timestamp>,
}

impl Sources {
    /// Whether nothing that comes from there is let in now.
    pub(super) fn is_held(&self, source: &str, now: Timestamp) -> bool {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(source).and_then(|place| place.held_until).is_some_and(|until| now < until)
    }

    /// Notes how a login from there ended. What is tried while it is held back does not prolong it.
    pub(super) fn note(&self, source: &str, succeeded: bool, now: Timestamp) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if succeeded {
            places.remove(source);
            return;
        }
        if places.len() >= REMEMBERED && !places.contains_key(source) {
            places.retain(|_, place| now.since(place.last) < FORGOTTEN_AFTER);
            // Room for a new one: the quietest half goes.
            if places.len() >= REMEMBERED {
                let mut last: Vec<Timestamp> = places.values().map(|place| place.last).collect();
                last.sort_unstable();
                let median = last[last.len() / 2];
                places.retain(|_, place| place.last > median);
            }
        }
        let place = places.entry(source.to_owned()).or_insert(Place { failed: 0, last: now, held_until: None });
        if place.held_until.is_some_and(|until| now < until) {
            return;
        }
        if now.since(place.last) >= FORGOTTEN_AFTER {
            place.failed = 0;
        }
        place.failed = place.failed.saturating_add(1);
        place.last = now;
        place.held_until = hold(place.failed - FREE + 4).map(|time| now.plus(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(0).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn t34_a_source_is_held_back_longer_and_longer_and_never_for_good() {
        let sources = Sources::default();
        for _ in 0..FREE {
            sources.note("a", false, at(0));
        }
        assert!(!sources.is_held("a", at(0)));
        sources.note("a", false, at(0));
        assert!(sources.is_held("a", at(0)) && !sources.is_held("a", at(1)) && !sources.is_held("b", at(0)));
        for n in 0..10_000 {
            sources.note("a", false, at(n));
        }
        assert!(!sources.is_held("a", at(10_000 + 900)));
        sources.note("a", true, at(20_000));
        sources.note("a", false, at(20_001));
        assert!(!sources.is_held("a", at(20_001)), "a login that succeeds starts anew");
    }

    #[test]
    fn t34_memory_stays_flat() {
        let sources = Sources::default();
        for n in 0..20_000_u64 {
            sources.note(&format!("{n}"), false, Timestamp(0).plus(Duration::from_millis(n)));
        }
        assert!(sources.places.lock().unwrap_or_else(PoisonError::into_inner).len() <= REMEMBERED);
    }
}
