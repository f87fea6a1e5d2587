//! Which denials go to the trail: the first few of each kind in a minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::Timestamp;

/// How many denials of one principal and action are written in one minute.
const PER_MINUTE: u32 = 10;

/// How many pairs of principal and action are remembered.
const REMEMBERED: usize = 1024;

const MINUTE: Duration = Duration::from_secs(60);

/// Counts denials in memory, so that whoever is denied all day cannot fill the disk.
#[derive(Default)]
pub(super) struct Denials {
    windows: Mutex<HashMap<(String, String), Window>>,
}

struct Window {
    began: Timestamp,
    count: u32,
}

impl Denials {
    /// Whether this denial is to be written.
    pub(super) fn admit(&self, principal: &str, action: &str, now: Timestamp) -> bool {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= REMEMBERED {
            windows.retain(|_, window| now.since(window.began) < MINUTE);
        }
        if windows.len() >= REMEMBERED {
            windows.clear();
        }
        let fresh = || Window { began: now, count: 0 };
        let window = windows.entry((principal.to_owned(), action.to_owned())).or_insert_with(fresh);
        if now.since(window.began) >= MINUTE || now < window.began {
            *window = fresh();
        }
        window.count = window.count.saturating_add(1);
        window.count <= PER_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ten_in_a_minute_are_written() {
        let denials = Denials::default();
        let at = |seconds| Timestamp(0).plus(Duration::from_secs(seconds));
        let written = (0..100).filter(|_| denials.admit("user:1", "agents.run", at(0))).count();
        assert_eq!(written, 10);
        assert!(denials.admit("user:2", "agents.run", at(0)), "another principal has a count of its own");
        assert!(denials.admit("user:1", "agents.get", at(0)), "another action has a count of its own");
        assert!(!denials.admit("user:1", "agents.run", at(59)));
        assert!(denials.admit("user:1", "agents.run", at(60)));
    }

    #[test]
    fn memory_stays_bounded() {
        let denials = Denials::default();
        for n in 0..10_000 {
            denials.admit(&format!("user:{n}"), "agents.run", Timestamp(0));
        }
        assert!(denials.windows.lock().unwrap_or_else(PoisonError::into_inner).len() <= REMEMBERED);
    }
}
