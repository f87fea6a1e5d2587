//! A circuit breaker: what fails again and again is left alone, then tried by one call.

/// So many failures in a row.
pub(super) const THRESHOLD: u32 = 5;
/// The first pause, in nanoseconds; each one that follows without a success is twice as long.
const FIRST: u64 = 1_000_000_000;
const LONGEST: u64 = 60_000_000_000;

/// How a deployment has fared. Times are nanoseconds of a clock that only goes forward.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// How many pauses there were since it last worked.
    pauses: u32,
    until: Option<u64>,
    /// Whether a call tries at the end of a pause.
    probing: bool,
}

impl Breaker {
    /// How long it still pauses, if it does.
    pub(super) fn pause(&self, now: u64) -> Option<u64> {
        let until = self.until?;
        if until > now {
            Some(until - now)
        } else {
            // The others wait for the one that tries.
            self.probing.then_some(FIRST)
        }
    }

    /// Lets a call through that is about to be sent, or says how long it still pauses. The first behind a
    /// pause is the one that tries: gives whether this is it.
    pub(super) fn enter(&mut self, now: u64) -> Result<bool, u64> {
        if let Some(pause) = self.pause(now) {
            return Err(pause);
        }
        self.probing = self.until.is_some();
        Ok(self.probing)
    }

    /// A call ended.
    pub(super) fn ended(&mut self, now: u64, fails: bool) {
        if !fails {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let behind_a_pause = self.until.is_some_and(|until| until <= now);
        if behind_a_pause || (self.until.is_none() && self.failures >= THRESHOLD) {
            let pause = FIRST.saturating_mul(1 << self.pauses.min(16)).min(LONGEST);
            self.until = Some(now.saturating_add(pause));
            self.pauses = self.pauses.saturating_add(1);
            self.probing = false;
        }
    }

    /// The call that tries went away without an end.
    pub(super) fn gave_up(&mut self) {
        self.probing = false;
    }
}
