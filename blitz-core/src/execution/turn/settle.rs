//! How the money that was held for a call ends, by what came of it.

use serde_json::Value;

use crate::domain::{ModelResponse, ReservationId, Usage};
use crate::error::{Charged, Error};

/// How a reservation ends.
pub(crate) enum Settle {
    /// The provider said what was used.
    Used { reservation: ReservationId, usage: Box<Usage>, raw: Value },
    /// Nothing was sent, or nothing is charged.
    Void { reservation: ReservationId },
    /// The outcome is unknown: so many output tokens came before it broke off.
    Unknown { reservation: ReservationId, delivered_tokens: u64 },
    /// It was settled when the engine opened: the process that sent the call is gone.
    Dead { attempt: u32 },
}

impl Settle {
    /// That of a call with an answer, of which so many output tokens came.
    pub(crate) fn answered(reservation: ReservationId, response: &ModelResponse, delivered_tokens: u64) -> Self {
        match response.usage {
            Some(usage) => Self::used(reservation, usage, &response.raw_usage, delivered_tokens),
            None => Self::Unknown { reservation, delivered_tokens },
        }
    }

    /// That of a call that failed: by what its provider said of it, else by what is known of it.
    pub(crate) fn failed(reservation: ReservationId, error: &Error, delivered_tokens: u64) -> Self {
        match error {
            Error::Provider { usage: Some(reported), .. } => {
                Self::used(reservation, reported.usage, &reported.raw, delivered_tokens)
            }
            error if error.charged() == Charged::No => Self::Void { reservation },
            _ => Self::Unknown { reservation, delivered_tokens },
        }
    }

    fn used(reservation: ReservationId, usage: Usage, raw: &Value, delivered_tokens: u64) -> Self {
        Self::Used { reservation, usage: Box::new(usage.with_delivered(delivered_tokens)), raw: raw.clone() }
    }
}
