//! What a token costs: rates by bucket, and dearer ones for long calls.

use serde::{Deserialize, Serialize};

use super::money::{Money, Rate, nanos_half_even, nanos_up};
use super::time::Timestamp;
use super::usage::Usage;
use crate::error::{Error, Result};

/// What a model's tokens cost.
///
/// Units: USD per token, decimal strings in JSON. A missing cache or reasoning rate falls back to
/// the input or output rate, an hour's cache writes to the usual ones. Source: the provider's price
/// page; `as_of` says when it was read.
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
    /// Per input token written to a cache for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<Rate>,
    /// Per reasoning token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Rate>,
    /// Per request, on top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Rate>,
    /// Rates of calls with a long input, in rising order: the last one that a call reaches holds for all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<PriceTier>,
    /// When the price was read from its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
}

/// The rates of a call whose input is longer than so many tokens: of its every token, not of the excess alone.
///
/// What is missing costs as it does below the tier.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceTier {
    /// Calls with more input tokens than this, cached ones included.
    pub above: u64,
    /// Per input token that is not cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Rate>,
    /// Per output token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Rate>,
    /// Per input token read from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Rate>,
    /// Per input token written to a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Rate>,
    /// Per input token written to a cache for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<Rate>,
    /// Per reasoning token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Rate>,
}

impl PriceTier {
    /// A tier that begins above so many input tokens, and changes nothing yet.
    pub fn above(tokens: u64) -> Self {
        Self {
            above: tokens,
            input: None,
            output: None,
            cache_read: None,
            cache_write: None,
            cache_write_1h: None,
            reasoning: None,
        }
    }

    /// The same tier with rates of its own for input and output.
    pub fn rates(self, input: Rate, output: Rate) -> Self {
        Self { input: Some(input), output: Some(output), ..self }
    }

    /// The same tier with its own rate for tokens read from a cache.
    pub fn with_cache_read(self, rate: Rate) -> Self {
        Self { cache_read: Some(rate), ..self }
    }
}

impl Price {
    /// Free of charge: the stand-ins that run inside the process.
    pub const FREE: Price = Price {
        input: Rate::ZERO,
        output: Rate::ZERO,
        cache_read: None,
        cache_write: None,
        cache_write_1h: None,
        reasoning: None,
        request: None,
        tiers: Vec::new(),
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

    /// The same price with its own rates for tokens written to a cache, for the usual time and for an hour.
    pub fn with_cache_write(self, usual: Rate, hour: Rate) -> Self {
        Self { cache_write: Some(usual), cache_write_1h: Some(hour), ..self }
    }

    /// The same price with one more tier for long calls.
    pub fn with_tier(mut self, tier: PriceTier) -> Self {
        self.tiers.push(tier);
        self.tiers.sort_by_key(|tier| tier.above);
        self
    }

    /// Whether nothing costs anything.
    pub fn is_free(&self) -> bool {
        let own = [Some(self.input), Some(self.output), self.cache_read, self.cache_write, self.cache_write_1h];
        let own = own.into_iter().chain([self.reasoning, self.request]);
        let tiers = self.tiers.iter().flat_map(|tier| {
            [tier.input, tier.output, tier.cache_read, tier.cache_write, tier.cache_write_1h, tier.reasoning]
        });
        own.chain(tiers).flatten().all(|rate| rate == Rate::ZERO)
    }

    /// Cost of `usage` at this price, rounded half-even once to a whole nano-dollar.
    ///
    /// Units: tokens in, nano-USD out. Errors: `InvalidInput` if a count overflows.
    pub fn cost(&self, usage: &Usage) -> Result<Money> {
        nanos_half_even(sum_picos(&self.items(usage, usage.input_tokens))?)
    }

    /// What is counted of `usage`, each with its rate in a call of so many input tokens.
    fn items(&self, usage: &Usage, input_tokens: u64) -> [(u64, Rate); 7] {
        let (buckets, rates) = (usage.buckets(), self.rates(input_tokens));
        [
            (buckets.input, rates.input),
            (buckets.cache_read, rates.cache_read),
            (buckets.cache_write, rates.cache_write),
            (buckets.cache_write_1h, rates.cache_write_1h),
            (buckets.output, rates.output),
            (buckets.reasoning, rates.reasoning),
            (usage.requests, self.request.unwrap_or_default()),
        ]
    }

    /// The most that so many input and output tokens can cost, rounded up: the dearest rate of each
    /// side, of every tier that the input can reach.
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
        match i128::from(self.dearest(input_tokens).1.picos()) {
            0 => Some(u64::MAX),
            rate => Some(u64::try_from(spare / rate).unwrap_or(u64::MAX)),
        }
    }

    /// Refuses tiers that are not in rising order: which of them held would be a guess.
    pub(crate) fn check(&self) -> Result<()> {
        if self.tiers.windows(2).all(|pair| pair[0].above < pair[1].above) {
            return Ok(());
        }
        Err(Error::invalid("the tiers of a price must rise: each one's `above` is more than the one's before it"))
    }

    fn picos_bound(&self, input_tokens: u64, output_tokens: u64) -> Result<i128> {
        let (input, output) = self.dearest(input_tokens);
        sum_picos(&[(input_tokens, input), (output_tokens, output), (1, self.request.unwrap_or_default())])
    }

    /// The rates of a call with so many input tokens.
    fn rates(&self, input_tokens: u64) -> Rates {
        let tier = self.tiers.iter().rev().find(|tier| input_tokens > tier.above);
        self.rates_in(tier)
    }

    fn rates_in(&self, tier: Option<&PriceTier>) -> Rates {
        let of = |in_tier: fn(&PriceTier) -> Option<Rate>, own: Option<Rate>| tier.and_then(in_tier).or(own);
        let input = of(|tier| tier.input, None).unwrap_or(self.input);
        let output = of(|tier| tier.output, None).unwrap_or(self.output);
        let cache_write = of(|tier| tier.cache_write, self.cache_write).unwrap_or(input);
        Rates {
            input,
            output,
            cache_read: of(|tier| tier.cache_read, self.cache_read).unwrap_or(input),
            cache_write,
            cache_write_1h: of(|tier| tier.cache_write_1h, self.cache_write_1h).unwrap_or(cache_write),
            reasoning: of(|tier| tier.reasoning, self.reasoning).unwrap_or(output),
        }
    }

    /// The dearest rates of input and output that a call with at most so many input tokens can meet.
    fn dearest(&self, input_tokens: u64) -> (Rate, Rate) {
        let reached = self.tiers.iter().filter(|tier| input_tokens > tier.above).map(Some);
        reached.chain([None]).map(|tier| self.rates_in(tier)).fold(
            (Rate::ZERO, Rate::ZERO),
            |(input, output), rates| {
                let dearest = rates.input.max(rates.cache_read).max(rates.cache_write).max(rates.cache_write_1h);
                (input.max(dearest), output.max(rates.output).max(rates.reasoning))
            },
        )
    }
}

/// What each bucket costs, nothing missing.
struct Rates {
    input: Rate,
    output: Rate,
    cache_read: Rate,
    cache_write: Rate,
    cache_write_1h: Rate,
    reasoning: Rate,
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

    fn rate(text: &str) -> Rate {
        Rate::parse_per_million(text).unwrap()
    }

    #[test]
    fn t07_zero_usage_costs_nothing() {
        let price = Price::per_million("2.5", "10").unwrap();
        assert_eq!(price.cost(&Usage::new(0, 0)).unwrap(), Money::ZERO);
    }

    #[test]
    fn t09_a_long_call_moves_whole_to_the_higher_tier_and_is_reserved_so() {
        let tier = PriceTier::above(200_000).rates(rate("2.5"), rate("15"));
        let price = Price::per_million("1.25", "10").unwrap().with_tier(tier);
        let cost = |input, output| price.cost(&Usage::new(input, output)).unwrap().to_string();
        assert_eq!(cost(200_000, 1_000), "0.26");
        assert_eq!(cost(200_001, 1_000), "0.5150025");
        assert_eq!(price.upper_bound(200_000, 1_000).unwrap().to_string(), "0.26");
        assert_eq!(price.upper_bound(200_001, 1_000).unwrap().to_string(), "0.5150025");
        let cached = Usage::new(200_001, 0).with_cache(200_001, 0);
        let with_cache = price.clone().with_cache_read(rate("0.125"));
        assert_eq!(with_cache.cost(&cached).unwrap(), Money::from_nanos(25_000_125));
    }

    #[test]
    fn writes_for_an_hour_have_their_own_rate_else_the_usual_one() {
        let price = Price::per_million("3", "15").unwrap().with_cache_write(rate("3.75"), rate("6"));
        let usage = Usage::new(3_000, 0).with_cache(0, 2_000).with_cache_write_1h(1_000);
        assert_eq!(price.cost(&usage).unwrap().to_string(), "0.01275");
        let usual = Price { cache_write_1h: None, ..price };
        assert_eq!(usual.cost(&usage).unwrap().to_string(), "0.0105");
    }

    #[test]
    fn tiers_that_do_not_rise_are_refused() {
        let price = Price { tiers: vec![PriceTier::above(9), PriceTier::above(9)], ..Price::FREE };
        assert!(price.check().is_err());
        assert!(Price::FREE.with_tier(PriceTier::above(9)).with_tier(PriceTier::above(3)).check().is_ok());
    }

    /// A price whose tiers only get dearer, as all do.
    fn rising() -> impl Strategy<Value = Price> {
        (0i64..1_000_000, 0i64..1_000_000, 0u64..1 << 20, 1i64..4, any::<bool>()).prop_map(
            |(input, output, above, factor, tiered)| {
                let of = |rate: i64| Rate::from_picos(rate);
                let price = Price::new(of(input), of(output))
                    .with_cache_read(of(input / 10))
                    .with_cache_write(of(input / 4 * 5), of(input * 2));
                let tier = PriceTier::above(above).rates(of(input * factor), of(output * factor));
                if tiered { price.with_tier(tier) } else { price }
            },
        )
    }

    /// The same with rates of its own for what is read, written and reasoned, and for the request.
    fn priced() -> impl Strategy<Value = Price> {
        let rate = || prop::option::of((0i64..1_000_000).prop_map(Rate::from_picos));
        (rising(), rate(), rate(), rate()).prop_map(|(price, read, reasoning, request)| Price {
            cache_read: read,
            reasoning,
            request,
            ..price
        })
    }

    /// Tokens of each kind: plain input, read, written, written for an hour, output, reasoning.
    fn parts() -> impl Strategy<Value = [u64; 6]> {
        prop::array::uniform6(0u64..1 << 20)
    }

    fn usage_of([input, read, write, hour, output, reasoning]: [u64; 6]) -> Usage {
        Usage::new(input + read + write + hour, output + reasoning)
            .with_cache(read, write + hour)
            .with_cache_write_1h(hour)
            .with_reasoning(reasoning)
    }

    proptest! {
        /// I8: more tokens never cost less, and the bound holds every split.
        #[test]
        fn i8_cost_is_monotone_and_bounded(price in rising(), input in 0u64..1 << 21, output in 0u64..1 << 32, more in 0u64..1000, read: u32, write: u32, hour: u32) {
            let usage = Usage::new(input, output).with_cache(u64::from(read).min(input), write.into()).with_cache_write_1h(hour.into());
            let cost = price.cost(&usage).unwrap();
            let (longer, plain) = (Usage { output_tokens: output + more, ..usage }, Usage::new(input, output));
            prop_assert!(price.cost(&longer).unwrap() >= cost);
            prop_assert!(price.cost(&Usage::new(input + more, output)).unwrap() >= price.cost(&plain).unwrap());
            prop_assert!(price.upper_bound(input, output).unwrap() >= cost);
            // What a bound of the input pays for, fewer tokens do not pass.
            prop_assert!(price.upper_bound(input + more, output).unwrap() >= cost);
        }

        /// I8: one more token of any kind never makes a call cheaper, a longer input that reaches a tier neither.
        #[test]
        fn i8_cost_is_monotone_in_each_bucket(price in priced(), parts in parts(), bucket in 0usize..6, more in 1u64..1 << 20) {
            let mut greater = parts;
            greater[bucket] += more;
            prop_assert!(price.cost(&usage_of(greater)).unwrap() >= price.cost(&usage_of(parts)).unwrap());
        }

        /// I8: before it is rounded a cost is a sum over tokens, whatever order they come in.
        #[test]
        fn i8_cost_does_not_depend_on_the_order_of_the_buckets(price in priced(), parts in parts(), seed: u64) {
            let usage = usage_of(parts);
            let mut items = price.items(&usage, usage.input_tokens).to_vec();
            let whole = sum_picos(&items).unwrap();
            for at in (1..items.len()).rev() {
                items.swap(at, (seed >> (at * 8)) as usize % (at + 1));
            }
            prop_assert_eq!(sum_picos(&items).unwrap(), whole);
        }

        /// I8: what a call used may be told in any parts: before rounding they cost what the whole does, and each
        /// rounding moves a sum by half a nano at most.
        #[test]
        fn i8_cost_does_not_depend_on_how_the_usage_is_split(price in priced(), parts in parts(), cut in prop::array::uniform6(0u64..=1 << 20)) {
            let whole = usage_of(parts);
            let first: [u64; 6] = std::array::from_fn(|at| cut[at].min(parts[at]));
            let rest: [u64; 6] = std::array::from_fn(|at| parts[at] - first[at]);
            let picos = |usage: &Usage| sum_picos(&price.items(usage, whole.input_tokens)).unwrap();
            let (first, rest) = (usage_of(first), Usage { requests: 0, ..usage_of(rest) });
            prop_assert_eq!(picos(&first) + picos(&rest), picos(&whole));
            let rounded = |usage: &Usage| i128::from(nanos_half_even(picos(usage)).unwrap().nanos());
            prop_assert!((rounded(&first) + rounded(&rest) - rounded(&whole)).abs() <= 1);
        }

        /// What a sum of money pays for costs no more than that sum, and one token more would.
        #[test]
        fn output_within_is_the_exact_inverse_of_the_bound(input in 0u64..1 << 32, nanos in 0i64..1 << 50, rate in 1i64..1_000_000, reasoning in 0i64..1_000_000, above in 0u64..1 << 32) {
            let tier = PriceTier::above(above).rates(Rate::from_picos(rate), Rate::from_picos(rate * 2));
            let price = Price { reasoning: Some(Rate::from_picos(reasoning)), ..Price::new(Rate::from_picos(rate / 4), Rate::from_picos(rate)) }.with_tier(tier);
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
