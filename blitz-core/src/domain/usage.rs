//! Token usage in disjoint buckets, and what a token costs.

use serde::{Deserialize, Serialize};

use super::money::{Money, Rate, nanos_half_even, nanos_up};
use super::time::Timestamp;
use crate::error::{Error, Result};

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
    /// Input written to a cache.
    pub cache_write: u64,
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
        let reasoning = self.reasoning_tokens.min(self.output_tokens);
        UsageBuckets {
            input: self.input_tokens - cache_read - cache_write,
            cache_read,
            cache_write,
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
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
        self.provenance = self.provenance.max(other.provenance);
    }
}

/// What a model's tokens cost.
///
/// Units: USD per token, decimal strings in JSON. A missing cache or reasoning rate falls back to
/// the input or output rate. Source: the provider's price page; `as_of` says when it was read.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Per input token that is not cached.
    pub input: Rate,
    /// Per output token.
    pub output: Rate,
    /// Per input token read from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Rate>,
    /// Per input token written to a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Rate>,
    /// Per reasoning token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Rate>,
    /// Per request, on top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Rate>,
    /// When the price was read from its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
}

impl Price {
    /// Free of charge: the stand-ins that run inside the process.
    pub const FREE: Price = Price {
        input: Rate::ZERO,
        output: Rate::ZERO,
        cache_read: None,
        cache_write: None,
        reasoning: None,
        request: None,
        as_of: None,
    };

    /// A price of USD per token for input and output.
    pub fn new(input: Rate, output: Rate) -> Self {
        Self { input, output, ..Self::FREE }
    }

    /// A price of USD per million tokens, as price pages print it. Errors: `InvalidInput`.
    ///
    /// ```
    /// let price = blitz::Price::per_million("2.50", "10")?;
    /// assert_eq!(price.cost(&blitz::Usage::new(1000, 100))?.to_string(), "0.0035");
    /// # Ok::<(), blitz::Error>(())
    /// ```
    pub fn per_million(input: &str, output: &str) -> Result<Self> {
        Ok(Self::new(Rate::parse_per_million(input)?, Rate::parse_per_million(output)?))
    }

    /// The same price with its own rate for tokens read from a cache.
    pub fn with_cache_read(self, rate: Rate) -> Self {
        Self { cache_read: Some(rate), ..self }
    }

    /// Whether nothing costs anything.
    pub fn is_free(&self) -> bool {
        [Some(self.input), Some(self.output), self.cache_read, self.cache_write, self.reasoning, self.request]
            .into_iter()
            .flatten()
            .all(|rate| rate == Rate::ZERO)
    }

    /// Cost of `usage` at this price, rounded half-even once to a whole nano-dollar.
    ///
    /// Units: tokens in, nano-USD out. Errors: `InvalidInput` if a count overflows.
    pub fn cost(&self, usage: &Usage) -> Result<Money> {
        nanos_half_even(self.picos(usage)?)
    }

    /// The most that so many input and output tokens can cost, rounded up: the dearest rate of each side.
    ///
    /// Units: tokens in, nano-USD out. Errors: `InvalidInput` if a count overflows.
    pub fn upper_bound(&self, input_tokens: u64, output_tokens: u64) -> Result<Money> {
        nanos_up(self.picos_bound(input_tokens, output_tokens)?)
    }

    /// The most output tokens that `money` is sure to pay for behind so many input tokens; `None`
    /// where it does not even pay for those.
    ///
    /// Units: tokens and nano-USD in, tokens out.
    pub fn output_within(&self, input_tokens: u64, money: Money) -> Option<u64> {
        let spare = i128::from(money.nanos()) * 1000 - self.picos_bound(input_tokens, 0).ok()?;
        if spare < 0 {
            return None;
        }
        match i128::from(self.dearest_output().picos()) {
            0 => Some(u64::MAX),
            rate => Some(u64::try_from(spare / rate).unwrap_or(u64::MAX)),
        }
    }

    fn picos_bound(&self, input_tokens: u64, output_tokens: u64) -> Result<i128> {
        sum_picos(&[
            (input_tokens, self.dearest_input()),
            (output_tokens, self.dearest_output()),
            (1, self.request.unwrap_or_default()),
        ])
    }

    fn dearest_input(&self) -> Rate {
        [self.cache_read, self.cache_write].into_iter().flatten().fold(self.input, Rate::max)
    }

    fn dearest_output(&self) -> Rate {
        self.reasoning.map_or(self.output, |rate| rate.max(self.output))
    }

    fn picos(&self, usage: &Usage) -> Result<i128> {
        let buckets = usage.buckets();
        sum_picos(&[
            (buckets.input, self.input),
            (buckets.cache_read, self.cache_read.unwrap_or(self.input)),
            (buckets.cache_write, self.cache_write.unwrap_or(self.input)),
            (buckets.output, self.output),
            (buckets.reasoning, self.reasoning.unwrap_or(self.output)),
            (usage.requests, self.request.unwrap_or_default()),
        ])
    }
}

fn sum_picos(items: &[(u64, Rate)]) -> Result<i128> {
    items.iter().try_fold(0i128, |sum, (count, rate)| {
        i128::from(*count)
            .checked_mul(i128::from(rate.picos()))
            .and_then(|picos| sum.checked_add(picos))
            .ok_or_else(|| Error::invalid("a cost is out of range"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn t08_more_cached_than_input_makes_no_negative_bucket() {
        let buckets = Usage::new(10, 5).with_cache(50, 7).with_reasoning(9).buckets();
        assert_eq!(buckets, UsageBuckets { input: 0, cache_read: 10, cache_write: 0, output: 0, reasoning: 5 });
    }

    #[test]
    fn t07_zero_usage_costs_nothing() {
        let price = Price::per_million("2.5", "10").unwrap();
        assert_eq!(price.cost(&Usage::new(0, 0)).unwrap(), Money::ZERO);
    }

    proptest! {
        /// I12: the buckets are disjoint and sum to the whole.
        #[test]
        fn i12_buckets_sum_to_the_whole(input in 0u64..1 << 40, output in 0u64..1 << 40, read: u32, write: u32, reasoning: u32) {
            let b = Usage::new(input, output).with_cache(read.into(), write.into()).with_reasoning(reasoning.into()).buckets();
            prop_assert_eq!(b.input + b.cache_read + b.cache_write, input);
            prop_assert_eq!(b.output + b.reasoning, output);
        }

        /// I8: more tokens never cost less, and the bound holds every split.
        #[test]
        fn i8_cost_is_monotone_and_bounded(input in 0u64..1 << 32, output in 0u64..1 << 32, more in 0u64..1000, read: u32, rate in 0i64..1_000_000) {
            let price = Price::new(Rate::from_picos(rate), Rate::from_picos(rate * 4)).with_cache_read(Rate::from_picos(rate / 10));
            let usage = Usage::new(input, output).with_cache(u64::from(read).min(input), 0);
            let cost = price.cost(&usage).unwrap();
            let dearer = Usage { output_tokens: output + more, ..usage };
            prop_assert!(price.cost(&dearer).unwrap() >= cost);
            prop_assert!(price.upper_bound(input, output).unwrap() >= cost);
        }

        /// What a sum of money pays for costs no more than that sum, and one token more would.
        #[test]
        fn output_within_is_the_exact_inverse_of_the_bound(input in 0u64..1 << 32, nanos in 0i64..1 << 50, rate in 1i64..1_000_000, reasoning in 0i64..1_000_000) {
            let price = Price { reasoning: Some(Rate::from_picos(reasoning)), ..Price::new(Rate::from_picos(rate / 4), Rate::from_picos(rate)) };
            let money = Money::from_nanos(nanos);
            match price.output_within(input, money) {
                None => prop_assert!(price.upper_bound(input, 0).unwrap() > money),
                Some(output) => {
                    prop_assert!(price.upper_bound(input, output).unwrap() <= money);
                    prop_assert!(price.upper_bound(input, output + 1).unwrap() > money);
                }
            }
        }
    }
}
