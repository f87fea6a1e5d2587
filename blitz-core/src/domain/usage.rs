//! Token usage in disjoint buckets.

use serde::{Deserialize, Serialize};

/// How many tokens a call used.
///
/// Units: tokens. `input_tokens` and `output_tokens` are whole sums: cached tokens are *inside*
/// input, reasoning tokens *inside* output. [`Usage::buckets`] gives them disjoint.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Usage {
    /// Model calls made; a failed attempt that was sent counts.
    pub requests: u64,
    /// All input tokens, cached ones included.
    pub input_tokens: u64,
    /// All output tokens, reasoning included.
    pub output_tokens: u64,
    /// Of the input: read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Of the input: written to the provider's cache.
    pub cache_write_tokens: u64,
    /// Of what was written to the cache: what is kept there for an hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_1h_tokens: u64,
    /// Of the output: reasoning that is not shown.
    pub reasoning_tokens: u64,
    /// Where the numbers come from.
    pub provenance: Provenance,
}

/// Where usage numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// The provider said so.
    #[default]
    Provider,
    /// Counted from what was sent and received.
    Counted,
    /// An upper bound: the outcome is unknown.
    Estimated,
}

impl Provenance {
    /// The word JSON and the database use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Counted => "counted",
            Self::Estimated => "estimated",
        }
    }
}

/// Usage in buckets that do not overlap: each token is in exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageBuckets {
    /// Input that was not cached.
    pub input: u64,
    /// Input read from a cache.
    pub cache_read: u64,
    /// Input written to a cache, for the usual time.
    pub cache_write: u64,
    /// Input written to a cache, for an hour.
    pub cache_write_1h: u64,
    /// Output without reasoning.
    pub output: u64,
    /// Reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// Usage of one request as the provider reported it.
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self { requests: 1, input_tokens, output_tokens, ..Self::default() }
    }

    /// The same usage with tokens read from and written to the provider's cache.
    pub fn with_cache(self, read: u64, write: u64) -> Self {
        Self { cache_read_tokens: read, cache_write_tokens: write, ..self }
    }

    /// The same usage with so many of the tokens written to the cache kept there for an hour.
    pub fn with_cache_write_1h(self, tokens: u64) -> Self {
        Self { cache_write_1h_tokens: tokens, ..self }
    }

    /// The same usage with reasoning tokens.
    pub fn with_reasoning(self, reasoning: u64) -> Self {
        Self { reasoning_tokens: reasoning, ..self }
    }

    /// The same usage with another provenance.
    pub fn with_provenance(self, provenance: Provenance) -> Self {
        Self { provenance, ..self }
    }

    /// The sum of input and output tokens.
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Disjoint buckets. A part that claims more than its whole is held at the whole, so no bucket is negative.
    pub fn buckets(&self) -> UsageBuckets {
        let cache_read = self.cache_read_tokens.min(self.input_tokens);
        let cache_write = self.cache_write_tokens.min(self.input_tokens - cache_read);
        let cache_write_1h = self.cache_write_1h_tokens.min(cache_write);
        let reasoning = self.reasoning_tokens.min(self.output_tokens);
        UsageBuckets {
            input: self.input_tokens - cache_read - cache_write,
            cache_read,
            cache_write: cache_write - cache_write_1h,
            cache_write_1h,
            output: self.output_tokens - reasoning,
            reasoning,
        }
    }

    /// Adds another call's usage. The provenance becomes the weaker of the two.
    pub fn add(&mut self, other: &Usage) {
        self.requests = self.requests.saturating_add(other.requests);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(other.cache_read_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
        self.cache_write_1h_tokens = self.cache_write_1h_tokens.saturating_add(other.cache_write_1h_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
        self.provenance = self.provenance.max(other.provenance);
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn t08_more_cached_than_input_makes_no_negative_bucket() {
        let buckets = Usage::new(10, 5).with_cache(50, 7).with_reasoning(9).buckets();
        assert_eq!(buckets, UsageBuckets { cache_read: 10, reasoning: 5, ..UsageBuckets::default() });
    }

    proptest! {
        /// I12: the buckets are disjoint and sum to the whole.
        #[test]
        fn i12_buckets_sum_to_the_whole(input in 0u64..1 << 40, output in 0u64..1 << 40, read: u32, write: u32, hour: u32, reasoning: u32) {
            let b = Usage::new(input, output).with_cache(read.into(), write.into()).with_cache_write_1h(hour.into()).with_reasoning(reasoning.into()).buckets();
            prop_assert_eq!(b.input + b.cache_read + b.cache_write + b.cache_write_1h, input);
            prop_assert_eq!(b.output + b.reasoning, output);
        }
    }
}
