//! What a token costs: rates by bucket, and dearer ones for long calls.

mod hours;

use serde::{Deserialize, Serialize};

use super::meter::Meter;
use super::money::{Money, Rate, nanos_half_even, nanos_up};
use super::time::Timestamp;
use super::usage::{ServiceTier, Usage, UsageDetails};
use crate::error::{Error, Result};

pub use hours::{OffPeak, PriceHours, TimeOfDay};

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
    /// Per search of the provider's own tool in the web, on top. Where it is missing, what a call costs that searched is
    /// unknown; so it is with all that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Rate>,
    /// Per search in files or collections that are kept with the provider (OpenAI's `file_search`, xAI's `collections_search`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_search: Option<Rate>,
    /// Per search in the files of the request itself (xAI's `attachment_search`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_search: Option<Rate>,
    /// Per answer that is grounded in maps (Gemini's `googleMaps`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_search: Option<Rate>,
    /// Per session of a sandbox that runs code (OpenAI's `code_interpreter`), or per run of it (xAI's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_session: Option<Rate>,
    /// Per picture that the provider's own tool makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated_image: Option<Rate>,
    /// Per second that the provider counts, of sound for instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<Rate>,
    /// Per character that the provider counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub character: Option<Rate>,
    /// Per page that the provider counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Rate>,
    /// Rates of calls with a long input or at another class of service, in rising order: the last one that a
    /// call reaches holds for all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<PriceTier>,
    /// What a call costs that is held to a region, in percent of the same call elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regional_percent: Option<u32>,
    /// Rates that hold at some hours of the week in place of its own; those of `tiers` stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_peak: Option<OffPeak>,
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
        file_search: None,
        document_search: None,
        map_search: None,
        code_session: None,
        generated_image: None,
        second: None,
        character: None,
        page: None,
        tiers: Vec::new(),
        regional_percent: None,
        off_peak: None,
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
        let off_peak = self.off_peak.as_ref().map(|off_peak| &off_peak.rates);
        let rates = self.tiers.iter().chain([&own]).chain(off_peak).flat_map(PriceTier::all);
        let metered = Meter::ALL.into_iter().map(|meter| meter.rate(self));
        rates.chain(metered.chain([self.request]).flatten()).all(|rate| rate == Rate::ZERO)
    }

    /// Cost of `usage` at this price, rounded half-even once to a whole nano-dollar. Where it depends on the
    /// hour, [`Price::at`] gives the one that holds.
    ///
    /// Units: tokens in, nano-USD out. Errors: `InvalidInput` if a count overflows.
    pub fn cost(&self, usage: &Usage) -> Result<Money> {
        nanos_half_even(sum(self.items(usage, usage.input_tokens))?)
    }

    /// What is counted of `usage`, each with its rate in a call of so many input tokens and how much percent
    /// of it is charged.
    fn items(&self, usage: &Usage, input_tokens: u64) -> impl Iterator<Item = Item> {
        let (b, details) = (usage.buckets(), &usage.details);
        let rates = self.rates(input_tokens, details.service_tier);
        let percent = self.regional_percent.filter(|_| details.regional).unwrap_or(100);
        let items = [
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
        ];
        items.into_iter().chain(self.metered(details))
    }

    /// What is counted beside tokens, each with its rate. A region does not make it dearer.
    fn metered(&self, details: &UsageDetails) -> [Item; Meter::ALL.len()] {
        Meter::ALL.map(|meter| (meter.count(details), meter.rate(self).unwrap_or_default(), 100))
    }

    /// The most that so many input and output tokens can cost, rounded up: the dearest rate of each
    /// side, of every tier that the input can reach. What is counted beside tokens is not in it.
    ///
    /// Units: tokens in, nano-USD out. Errors: `InvalidInput` if a count overflows.
    pub fn upper_bound(&self, input_tokens: u64, output_tokens: u64) -> Result<Money> {
        self.upper_bound_with(input_tokens, output_tokens, &UsageDetails::default())
    }

    /// The same with so much beside the tokens.
    pub(crate) fn upper_bound_with(
        &self,
        input_tokens: u64,
        output_tokens: u64,
        beside: &UsageDetails,
    ) -> Result<Money> {
        nanos_up(self.bound(input_tokens, output_tokens, beside)?)
    }

    /// The most output tokens that `money` is sure to pay for behind so many input tokens; `None`
    /// where it does not even pay for those.
    ///
    /// Units: tokens and nano-USD in, tokens out.
    pub fn output_within(&self, input_tokens: u64, money: Money) -> Option<u64> {
        self.output_within_with(input_tokens, &UsageDetails::default(), money)
    }

    /// The same behind so much beside the tokens too.
    pub(crate) fn output_within_with(&self, input_tokens: u64, beside: &UsageDetails, money: Money) -> Option<u64> {
        let spare = i128::from(money.nanos()) * 100_000 - self.bound(input_tokens, 0, beside).ok()?;
        if spare < 0 {
            return None;
        }
        match sum([(1, self.dearest(input_tokens).1, self.dearest_percent())]).ok()? {
            0 => Some(u64::MAX),
            rate => Some(u64::try_from(spare / rate).unwrap_or(u64::MAX)),
        }
    }

    /// Refuses tiers that are not in rising order: which of them held would be a guess; and days that no week has.
    pub(crate) fn check(&self) -> Result<()> {
        self.off_peak.as_ref().map_or(Ok(()), OffPeak::check)?;
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
    fn bound(&self, input_tokens: u64, output_tokens: u64, beside: &UsageDetails) -> Result<i128> {
        let (input, output) = self.dearest(input_tokens);
        let (percent, request) = (self.dearest_percent(), self.request.unwrap_or_default());
        let items = [(input_tokens, input, percent), (output_tokens, output, percent), (1, request, 100)];
        sum(items.into_iter().chain(self.metered(beside)))
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
    /// usual class of service and at the one that it may be given, at every hour.
    fn dearest(&self, input_tokens: u64) -> (Rate, Rate) {
        let (input, output) = self.dearest_now(input_tokens);
        let (at_others, out_at_others) =
            self.off_peak().map_or((input, output), |price| price.dearest_now(input_tokens));
        (input.max(at_others), output.max(out_at_others))
    }

    fn dearest_now(&self, input_tokens: u64) -> (Rate, Rate) {
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
fn sum(items: impl IntoIterator<Item = Item>) -> Result<i128> {
    let one = |(count, rate, percent): Item| {
        i128::from(count).checked_mul(i128::from(rate.picos()))?.checked_mul(i128::from(percent))
    };
    let sum = items.into_iter().try_fold(0i128, |sum, item| sum.checked_add(one(item)?));
    sum.ok_or_else(|| Error::invalid("a cost is out of range"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
