//! What a token costs: rates by bucket, and dearer ones for long calls.

use serde::{Deserialize, Serialize};

use super::money::{Money, Rate, nanos_half_even, nanos_up};
use super::time::Timestamp;
use super::usage::{ServiceTier, Usage};
use crate::error::{Error, Result};

/// What a model's tokens cost.
///
/// Units: USD per token, decimal strings in JSON. A missing rate falls back to the one that it is a part
/// of: cached tokens, sound and pictures to the input or output rate, an hour's cache writes to the usual
/// ones, cached sound to sound. Source: the provider's price page; `as_of` says when it was read.
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
    /// Per input token of sound that is not cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<Rate>,
    /// Per input token of a picture that is not cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_input: Option<Rate>,
    /// Per input token of sound read from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_audio: Option<Rate>,
    /// Per output token of sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<Rate>,
    /// Per output token of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_output: Option<Rate>,
    /// Per request, on top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Rate>,
    /// Per search of the provider's own tool, on top. How many there will be is not known before, so none is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Rate>,
    /// Rates of calls with a long input or at another class of service, in rising order: the last one that a
    /// call reaches holds for all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<PriceTier>,
    /// What a call costs that is held to a region, in percent of the same call elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regional_percent: Option<u32>,
    /// The class of service that calls may be given without asking for it: money is held for it too.
    #[serde(default, skip_serializing_if = "ServiceTier::is_standard")]
    pub service_tier: ServiceTier,
    /// When the price was read from its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
}

/// The rates of a call whose input is longer than so many tokens (of its every token, not of the excess
/// alone), or that got another class of service.
///
/// What is missing costs as it does below the tier, and what is missing of a class of service as it does
/// at the usual one.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceTier {
    /// Calls with more input tokens than this, cached ones included.
    #[serde(default)]
    pub above: u64,
    /// Calls that got this class of service.
    #[serde(default, skip_serializing_if = "ServiceTier::is_standard")]
    pub service_tier: ServiceTier,
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
    /// Per input token of sound that is not cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<Rate>,
    /// Per input token of a picture that is not cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_input: Option<Rate>,
    /// Per input token of sound read from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_audio: Option<Rate>,
    /// Per output token of sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<Rate>,
    /// Per output token of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_output: Option<Rate>,
}

impl PriceTier {
    /// A tier that begins above so many input tokens, and changes nothing yet.
    pub fn above(tokens: u64) -> Self {
        Self {
            above: tokens,
            service_tier: ServiceTier::Standard,
            input: None,
            output: None,
            cache_read: None,
            cache_write: None,
            cache_write_1h: None,
            reasoning: None,
            audio_input: None,
            image_input: None,
            cache_read_audio: None,
            audio_output: None,
            image_output: None,
        }
    }

    /// A tier of calls that got a class of service, and changes nothing yet.
    pub fn at(service_tier: ServiceTier) -> Self {
        Self::above(0).with_service_tier(service_tier)
    }

    /// The same tier, of calls that got a class of service.
    pub fn with_service_tier(self, service_tier: ServiceTier) -> Self {
        Self { service_tier, ..self }
    }

    /// Every rate of it that is there.
    fn all(&self) -> impl Iterator<Item = Rate> + use<> {
        [
            self.input,
            self.output,
            self.cache_read,
            self.cache_write,
            self.cache_write_1h,
            self.reasoning,
            self.audio_input,
            self.image_input,
            self.cache_read_audio,
            self.audio_output,
            self.image_output,
        ]
        .into_iter()
        .flatten()
    }

    /// Whether a call with so many input tokens is long enough for it.
    fn is_reached(&self, input_tokens: u64) -> bool {
        input_tokens > self.above || (self.above == 0 && !self.service_tier.is_standard())
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
        audio_input: None,
        image_input: None,
        cache_read_audio: None,
        audio_output: None,
        image_output: None,
        request: None,
        search: None,
        tiers: Vec::new(),
        regional_percent: None,
        service_tier: ServiceTier::Standard,
        as_of: None,
    };

    /// A price of USD per token for input and output.
    pub fn new(input: Rate, output: Rate) -> Self {
        Self { input, output, ..Self::FREE }
    }

    /// A price of these rates and tiers; `None` without a rate for input and one for output.
    pub(crate) fn of(rates: &PriceTier, tiers: Vec<PriceTier>) -> Option<Self> {
        Some(Self {
            cache_read: rates.cache_read,
            cache_write: rates.cache_write,
            cache_write_1h: rates.cache_write_1h,
            reasoning: rates.reasoning,
            audio_input: rates.audio_input,
            image_input: rates.image_input,
            cache_read_audio: rates.cache_read_audio,
            audio_output: rates.audio_output,
            image_output: rates.image_output,
            tiers,
            ..Self::new(rates.input?, rates.output?)
        })
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

    /// The same price with one more tier for long calls, or for a class of service.
    pub fn with_tier(mut self, tier: PriceTier) -> Self {
        self.tiers.push(tier);
        self.tiers.sort_by_key(|tier| (tier.service_tier, tier.above));
        self
    }

    /// Whether it says what a class of service costs.
    pub(crate) fn names(&self, service_tier: ServiceTier) -> bool {
        service_tier.is_standard() || self.tiers.iter().any(|tier| tier.service_tier == service_tier)
    }

    /// The same price where a class of service is asked for: money is held for it too.
    pub(crate) fn asked_at(self, service_tier: ServiceTier) -> Self {
        if service_tier.is_standard() { self } else { Self { service_tier, ..self } }
    }

    /// Whether nothing costs anything.
    pub fn is_free(&self) -> bool {
        let own = self.own();
        let rates = self.tiers.iter().chain([&own]).flat_map(PriceTier::all);
        rates.chain([self.request, self.search].into_iter().flatten()).all(|rate| rate == Rate::ZERO)
    }

    /// Cost of `usage` at this price, rounded half-even once to a whole nano-dollar.
    ///
    /// Units: tokens in, nano-USD out. Errors: `InvalidInput` if a count overflows.
    pub fn cost(&self, usage: &Usage) -> Result<Money> {
        nanos_half_even(sum(&self.items(usage, usage.input_tokens))?)
    }

    /// What is counted of `usage`, each with its rate in a call of so many input tokens and how much percent
    /// of it is charged.
    fn items(&self, usage: &Usage, input_tokens: u64) -> [Item; 13] {
        let (b, details) = (usage.buckets(), &usage.details);
        let rates = self.rates(input_tokens, details.service_tier);
        let percent = self.regional_percent.filter(|_| details.regional).unwrap_or(100);
        [
            (b.input, rates.input, percent),
            (b.audio_input, rates.audio_input, percent),
            (b.image_input, rates.image_input, percent),
            (b.cache_read, rates.cache_read, percent),
            (b.cache_read_audio, rates.cache_read_audio, percent),
            (b.cache_write, rates.cache_write, percent),
            (b.cache_write_1h, rates.cache_write_1h, percent),
            (b.output, rates.output, percent),
            (b.reasoning, rates.reasoning, percent),
            (b.audio_output, rates.audio_output, percent),
            (b.image_output, rates.image_output, percent),
            (usage.requests, self.request.unwrap_or_default(), 100),
            (details.searches, self.search.unwrap_or_default(), 100),
        ]
    }

    /// The most that so many input and output tokens can cost, rounded up: the dearest rate of each
    /// side, of every tier that the input can reach. Searches of the provider are not in it.
    ///
    /// Units: tokens in, nano-USD out. Errors: `InvalidInput` if a count overflows.
    pub fn upper_bound(&self, input_tokens: u64, output_tokens: u64) -> Result<Money> {
        nanos_up(self.bound(input_tokens, output_tokens)?)
    }

    /// The most output tokens that `money` is sure to pay for behind so many input tokens; `None`
    /// where it does not even pay for those.
    ///
    /// Units: tokens and nano-USD in, tokens out.
    pub fn output_within(&self, input_tokens: u64, money: Money) -> Option<u64> {
        let spare = i128::from(money.nanos()) * 100_000 - self.bound(input_tokens, 0).ok()?;
        if spare < 0 {
            return None;
        }
        match sum(&[(1, self.dearest(input_tokens).1, self.dearest_percent())]).ok()? {
            0 => Some(u64::MAX),
            rate => Some(u64::try_from(spare / rate).unwrap_or(u64::MAX)),
        }
    }

    /// Refuses tiers that are not in rising order: which of them held would be a guess.
    pub(crate) fn check(&self) -> Result<()> {
        let place = |tier: &PriceTier| (tier.service_tier, tier.above);
        if self.tiers.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])) {
            return Ok(());
        }
        Err(Error::invalid(
            "the tiers of a price must rise: those of the usual class of service first, and within a class each one's \
             `above` is more than the one's before it",
        ))
    }

    /// The bound of a call in hundredths of a pico-USD.
    fn bound(&self, input_tokens: u64, output_tokens: u64) -> Result<i128> {
        let (input, output) = self.dearest(input_tokens);
        let (percent, request) = (self.dearest_percent(), self.request.unwrap_or_default());
        sum(&[(input_tokens, input, percent), (output_tokens, output, percent), (1, request, 100)])
    }

    fn dearest_percent(&self) -> u32 {
        self.regional_percent.unwrap_or(100).max(100)
    }

    /// Its own rates, as the tier that all the others stand on.
    fn own(&self) -> PriceTier {
        PriceTier {
            input: Some(self.input),
            output: Some(self.output),
            cache_read: self.cache_read,
            cache_write: self.cache_write,
            cache_write_1h: self.cache_write_1h,
            reasoning: self.reasoning,
            audio_input: self.audio_input,
            image_input: self.image_input,
            cache_read_audio: self.cache_read_audio,
            audio_output: self.audio_output,
            image_output: self.image_output,
            ..PriceTier::above(0)
        }
    }

    /// The rates of a call with so many input tokens at a class of service.
    fn rates(&self, input_tokens: u64, service_tier: ServiceTier) -> Rates {
        let own = self.own();
        let of = |class: ServiceTier| self.tiers.iter().filter(move |tier| tier.service_tier == class);
        let last = |class| of(class).rfind(|tier| tier.is_reached(input_tokens));
        let first = of(service_tier).find(|tier| tier.above == 0 && !service_tier.is_standard());
        let rows = [last(service_tier), first, last(ServiceTier::Standard), Some(&own)];
        let of = |rate: fn(&PriceTier) -> Option<Rate>| rows.iter().flatten().find_map(|row| rate(row));
        let input = of(|tier| tier.input).unwrap_or(self.input);
        let output = of(|tier| tier.output).unwrap_or(self.output);
        let (cache_read, audio_input) = (of(|tier| tier.cache_read), of(|tier| tier.audio_input));
        let cache_write = of(|tier| tier.cache_write).unwrap_or(input);
        Rates {
            input,
            output,
            cache_read: cache_read.unwrap_or(input),
            cache_write,
            cache_write_1h: of(|tier| tier.cache_write_1h).unwrap_or(cache_write),
            reasoning: of(|tier| tier.reasoning).unwrap_or(output),
            audio_input: audio_input.unwrap_or(input),
            image_input: of(|tier| tier.image_input).unwrap_or(input),
            cache_read_audio: of(|tier| tier.cache_read_audio).or(audio_input).or(cache_read).unwrap_or(input),
            audio_output: of(|tier| tier.audio_output).unwrap_or(output),
            image_output: of(|tier| tier.image_output).unwrap_or(output),
        }
    }

    /// The dearest rates of input and output that a call with at most so many input tokens can meet: at the
    /// usual class of service and at the one that it may be given.
    fn dearest(&self, input_tokens: u64) -> (Rate, Rate) {
        let reached = self.tiers.iter().filter(|tier| input_tokens > tier.above).map(|tier| tier.above + 1);
        let lengths =
            reached.chain([0]).flat_map(|length| [(length, ServiceTier::Standard), (length, self.service_tier)]);
        lengths.map(|(length, class)| self.rates(length, class)).fold(
            (Rate::ZERO, Rate::ZERO),
            |(input, output), rates| {
                let ways_in = [rates.input, rates.cache_read, rates.cache_write, rates.cache_write_1h];
                let ways_in = ways_in.into_iter().chain([rates.audio_input, rates.image_input, rates.cache_read_audio]);
                let ways_out = [rates.output, rates.reasoning, rates.audio_output, rates.image_output];
                (ways_in.fold(input, Rate::max), ways_out.into_iter().fold(output, Rate::max))
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
    audio_input: Rate,
    image_input: Rate,
    cache_read_audio: Rate,
    audio_output: Rate,
    image_output: Rate,
}

/// So many at a rate, of which so much percent is charged.
type Item = (u64, Rate, u32);

/// The sum of some items in hundredths of a pico-USD: no share of it is lost before the one rounding.
fn sum(items: &[Item]) -> Result<i128> {
    let one = |(count, rate, percent): &Item| {
        i128::from(*count).checked_mul(i128::from(rate.picos()))?.checked_mul(i128::from(*percent))
    };
    let sum = items.iter().try_fold(0i128, |sum, item| sum.checked_add(one(item)?));
    sum.ok_or_else(|| Error::invalid("a cost is out of range"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::usage::UsageDetails;
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

    #[test]
    fn a_class_of_service_has_its_rates_and_the_usual_ones_where_none_are_named() {
        let usual = Price::per_million("2", "8").unwrap().with_cache_read(rate("0.5"));
        let price = usual
            .with_tier(PriceTier::at(ServiceTier::Priority).rates(rate("4"), rate("16")).with_cache_read(rate("1")))
            .with_tier(PriceTier::at(ServiceTier::Flex).rates(rate("1"), rate("4")))
            .with_tier(PriceTier::above(200_000).rates(rate("3"), rate("12")))
            .with_tier(PriceTier::above(200_000).with_service_tier(ServiceTier::Flex).rates(rate("1.5"), rate("6")));
        assert!(price.check().is_ok());
        let cost = |tier, input, output, cached| {
            let usage = Usage::new(input, output).with_cache(cached, 0).with_service_tier(tier);
            price.cost(&usage).unwrap().nanos()
        };
        // 900 × 2 + 100 × 0.50 + 10 × 8; the same doubled; flex has no rate of its own for the cache.
        assert_eq!(cost(ServiceTier::Standard, 1_000, 10, 100), 1_930_000);
        assert_eq!(cost(ServiceTier::Priority, 1_000, 10, 100), 3_860_000);
        assert_eq!(cost(ServiceTier::Flex, 1_000, 10, 100), 990_000);
        // Nobody sells it in a batch: the usual rates. Long calls: 3 and 12, in flex 1.50 and 6.
        assert_eq!(cost(ServiceTier::Batch, 1_000, 10, 100), 1_930_000);
        assert_eq!(cost(ServiceTier::Standard, 200_001, 10, 0), 600_123_000);
        assert_eq!(cost(ServiceTier::Flex, 200_001, 10, 0), 300_061_500);
        // Nothing is held for what nobody asks for, and all of what somebody does.
        assert_eq!(price.upper_bound(1_000, 10).unwrap().nanos(), 2_080_000);
        assert_eq!(price.clone().asked_at(ServiceTier::Priority).upper_bound(1_000, 10).unwrap().nanos(), 4_160_000);
        assert_eq!(price.asked_at(ServiceTier::Flex).upper_bound(1_000, 10).unwrap().nanos(), 2_080_000);
    }

    #[test]
    fn sound_pictures_searches_and_a_region_are_priced_apart() {
        let price = Price {
            audio_input: Some(rate("10")),
            audio_output: Some(rate("20")),
            image_input: Some(rate("5")),
            image_output: Some(rate("30")),
            cache_read: Some(rate("0.1")),
            cache_read_audio: Some(rate("0.4")),
            search: Some(Rate::parse("0.01").unwrap()),
            regional_percent: Some(110),
            ..Price::per_million("1", "2").unwrap()
        };
        let details = UsageDetails {
            audio_input_tokens: 100,
            image_input_tokens: 50,
            cache_read_audio_tokens: 20,
            audio_output_tokens: 30,
            image_output_tokens: 7,
            ..UsageDetails::default()
        };
        let usage = Usage::new(1_000, 100).with_cache(200, 0).with_details(details);
        // 650 × 1 + 100 × 10 + 50 × 5 + 180 × 0.10 + 20 × 0.40 + 63 × 2 + 30 × 20 + 7 × 30
        let nanos = 650_000 + 1_000_000 + 250_000 + 18_000 + 8_000 + 126_000 + 600_000 + 210_000;
        assert_eq!(price.cost(&usage).unwrap().nanos(), nanos);
        // Two searches at 0.01; in a region the tokens cost a tenth more, the searches do not.
        let mut more = usage;
        (more.details.searches, more.details.regional) = (2, true);
        assert_eq!(price.cost(&more).unwrap().nanos(), nanos / 10 * 11 + 20_000_000);
        // One token of 1 USD a million is 1,000 nanos and held at the dearest way in, in a region.
        assert_eq!(price.upper_bound(1, 0).unwrap().nanos(), 11_000);
        // Without rates of its own a part costs as what it is a part of.
        let plain = Price::per_million("1", "2").unwrap();
        assert_eq!(plain.cost(&usage).unwrap(), plain.cost(&Usage::new(1_000, 100)).unwrap());
    }

    #[test]
    fn b38_one_rounding_holds_for_a_percentage_too() {
        // 1 token at 0.0005 USD a million is half a nano, 110 % of it is 0.55: up; 90 %, 0.45: down.
        let price = |percent| Price { regional_percent: Some(percent), ..Price::per_million("0.0005", "0").unwrap() };
        let regional = Usage::new(1, 0).with_details(UsageDetails { regional: true, ..UsageDetails::default() });
        assert_eq!(price(110).cost(&regional).unwrap().nanos(), 1);
        assert_eq!(price(90).cost(&regional).unwrap().nanos(), 0);
        assert_eq!(price(110).cost(&Usage::new(1, 0)).unwrap().nanos(), 0, "half-even");
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
            let whole = sum(&items).unwrap();
            for at in (1..items.len()).rev() {
                items.swap(at, (seed >> (at * 8)) as usize % (at + 1));
            }
            prop_assert_eq!(sum(&items).unwrap(), whole);
        }

        /// I8: what a call used may be told in any parts: before rounding they cost what the whole does, and each
        /// rounding moves a sum by half a nano at most.
        #[test]
        fn i8_cost_does_not_depend_on_how_the_usage_is_split(price in priced(), parts in parts(), cut in prop::array::uniform6(0u64..=1 << 20)) {
            let whole = usage_of(parts);
            let first: [u64; 6] = std::array::from_fn(|at| cut[at].min(parts[at]));
            let rest: [u64; 6] = std::array::from_fn(|at| parts[at] - first[at]);
            let picos = |usage: &Usage| sum(&price.items(usage, whole.input_tokens)).unwrap();
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
