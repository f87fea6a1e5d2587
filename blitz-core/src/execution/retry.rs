//! Retry is data: what a [`RetryPolicy`] makes of a failed attempt is decided by a pure function.

use std::time::Duration;

use crate::domain::{Fallback, Jitter, NodeRetry, RetryPolicy, Timestamp};
use crate::error::Error;

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryDecision {
    /// Try again at this time.
    RetryAt(Timestamp),
    /// Ask the next model.
    NextFallback,
    /// It has failed for good.
    Fail,
}

impl RetryPolicy {
    /// Decides by the attempt that failed (from 1), its error and the time.
    ///
    /// The wait doubles from attempt to attempt with full jitter drawn from `seed`; a Retry-After
    /// is a lower bound. No attempt starts behind `deadline`, and a provider that asks for a longer
    /// wait than the policy allows is not waited for. What is not tried again goes to the next
    /// model, where there is one (`fallback`) that is asked on such a failure.
    pub(crate) fn decide(
        &self,
        attempt: u32,
        error: &Error,
        now: Timestamp,
        deadline: Timestamp,
        seed: u64,
        fallback: Option<&Fallback>,
    ) -> RetryDecision {
        match self.retry_at(attempt, error, now, deadline, seed) {
            Some(at) => RetryDecision::RetryAt(at),
            None if now < deadline && fallback.is_some_and(|fallback| fallback.on.contains(&error.code())) => {
                RetryDecision::NextFallback
            }
            None => RetryDecision::Fail,
        }
    }

    fn retry_at(
        &self,
        attempt: u32,
        error: &Error,
        now: Timestamp,
        deadline: Timestamp,
        seed: u64,
    ) -> Option<Timestamp> {
        if !error.is_retryable() || attempt >= self.max_attempts {
            return None;
        }
        let longest = Duration::from_millis(self.max_ms);
        let asked = error.retry_after().unwrap_or_default();
        if asked > longest {
            return None;
        }
        let factor = u64::from(self.factor.max(1)).saturating_pow(attempt - 1);
        let ceiling = Duration::from_millis(self.initial_ms.saturating_mul(factor)).min(longest);
        let jittered = ceiling.mul_f64(fraction(seed, attempt));
        let at = now.plus(jittered.max(asked));
        (at < deadline).then_some(at)
    }
}

/// When a node is tried again whose attempt (from 1) has failed; `None` where it is not.
///
/// As [`RetryPolicy::decide`], by the node's own rules: `began` is when its first attempt did. An
/// error that was retried below already is tried again only where the rules name its code.
pub(crate) fn node_retry_at(
    retry: &NodeRetry,
    attempt: u32,
    error: &Error,
    began: Timestamp,
    now: Timestamp,
    deadline: Timestamp,
    seed: u64,
) -> Option<Timestamp> {
    let code = error.code();
    let details = error.details();
    let exhausted = details.get("retries_exhausted").is_some() && !retry.on.contains(&code);
    if exhausted || !retry.covers(code) || attempt >= retry.max_attempts {
        return None;
    }
    let longest = Duration::from_millis(retry.max_ms);
    let asked = error.retry_after().unwrap_or_default();
    let factor = u64::from(retry.factor.max(1)).saturating_pow(attempt.saturating_sub(1));
    let ceiling = Duration::from_millis(retry.initial_ms.saturating_mul(factor)).min(longest);
    let wait = match retry.jitter {
        Jitter::Full => ceiling.mul_f64(fraction(seed, attempt)),
        Jitter::None => ceiling,
    };
    let at = now.plus(wait.max(asked));
    let latest = retry.max_elapsed_s.map_or(deadline, |seconds| deadline.min(began.plus(Duration::from_secs(seconds))));
    (at < latest).then_some(at)
}

/// A number in 0..=1 that a seed and a counter give: the same ones, the same number.
fn fraction(seed: u64, counter: u32) -> f64 {
    // SplitMix64: one round is enough to spread neighbouring seeds.
    let mut z = seed.wrapping_add(u64::from(counter).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Charged, ErrorCode};
    use proptest::prelude::*;

    fn failure(code: ErrorCode, retryable: bool, retry_after: Option<u64>) -> Error {
        Error::Provider {
            code,
            provider: "test".into(),
            status: None,
            retry_after: retry_after.map(Duration::from_secs),
            retryable,
            charged: Charged::No,
            usage: None,
            message: String::new(),
            source: None,
        }
    }

    const LATE: Timestamp = Timestamp(i64::MAX);

    #[test]
    fn b41_retry_after_is_a_lower_bound() {
        let error = failure(ErrorCode::RateLimited, true, Some(7));
        let decision = RetryPolicy::default().decide(1, &error, Timestamp(0), LATE, 1, None);
        assert!(matches!(decision, RetryDecision::RetryAt(at) if at >= Timestamp(7_000_000)));
    }

    #[test]
    fn b41_what_never_retries() {
        let policy = RetryPolicy::default();
        let never = [
            failure(ErrorCode::ProviderAuth, false, None),
            failure(ErrorCode::RateLimited, false, None), // an exhausted quota
            failure(ErrorCode::RateLimited, true, Some(3600)), // longer than the policy waits
            Error::RetriesExhausted { attempts: 3, last: Box::new(failure(ErrorCode::Unavailable, true, None)) },
        ];
        for error in never {
            assert_eq!(policy.decide(1, &error, Timestamp(0), LATE, 1, None), RetryDecision::Fail, "{error}");
        }
        let passing = failure(ErrorCode::Unavailable, true, None);
        assert_eq!(policy.decide(policy.max_attempts, &passing, Timestamp(0), LATE, 1, None), RetryDecision::Fail);
        assert_eq!(policy.decide(1, &passing, Timestamp(0), Timestamp(0), 1, None), RetryDecision::Fail);
    }

    #[test]
    fn b44_what_is_not_retried_goes_to_the_next_model_on_the_chosen_errors_only() {
        let (policy, usual) = (RetryPolicy::default(), Fallback::to(["other"]));
        let quota = failure(ErrorCode::RateLimited, false, None);
        let ask = |error: &Error, attempt, now, fallback| policy.decide(attempt, error, now, LATE, 1, fallback);
        assert_eq!(ask(&quota, 1, Timestamp(0), Some(&usual)), RetryDecision::NextFallback);
        let passing = failure(ErrorCode::Unavailable, true, None);
        assert!(matches!(ask(&passing, 1, Timestamp(0), Some(&usual)), RetryDecision::RetryAt(_)));
        assert_eq!(ask(&passing, policy.max_attempts, Timestamp(0), Some(&usual)), RetryDecision::NextFallback);
        assert_eq!(ask(&passing, policy.max_attempts, LATE, Some(&usual)), RetryDecision::Fail);
        let bad_request = failure(ErrorCode::InvalidInput, false, None);
        assert_eq!(ask(&bad_request, 1, Timestamp(0), Some(&usual)), RetryDecision::Fail);
        let chosen = usual.clone().on([ErrorCode::InvalidInput]);
        assert_eq!(ask(&bad_request, 1, Timestamp(0), Some(&chosen)), RetryDecision::NextFallback);
        assert_eq!(ask(&quota, 1, Timestamp(0), Some(&chosen)), RetryDecision::Fail);
    }

    proptest! {
        #[test]
        fn waits_stay_within_the_policy(attempt in 1u32..200, seed: u64, initial in 0u64..10_000, max in 0u64..100_000) {
            let policy = RetryPolicy { max_attempts: u32::MAX, initial_ms: initial, max_ms: max, factor: 2 };
            let error = failure(ErrorCode::Unavailable, true, None);
            match policy.decide(attempt, &error, Timestamp(0), LATE, seed, None) {
                RetryDecision::RetryAt(at) => prop_assert!(at.0 <= i64::try_from(max).unwrap() * 1000),
                _ => prop_assert!(false),
            }
        }
    }
}
