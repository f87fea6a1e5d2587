//! Token usage in disjoint buckets.

use serde::{Deserialize, Serialize};

use super::meter::Meter;

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
    /// What of it may have a price of its own.
    #[serde(skip_serializing_if = "UsageDetails::is_empty")]
    pub details: UsageDetails,
    /// What the report leaves open, for the ledger to mend; no part of any record.
    #[serde(skip)]
    pub(crate) open: Open,
}

/// What a provider's report leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Open {
    /// More input may have been read than is counted.
    pub(crate) input: bool,
    /// More output may have been made than is counted.
    pub(crate) output: bool,
    /// So many output tokens came at most.
    pub(crate) delivered: u64,
    /// The report contradicts itself.
    pub(crate) odd: bool,
}

/// What of a call's usage may have a price of its own, beside what is cached and what is reasoning.
///
/// Units: tokens, each of them inside the sums of [`Usage`]; the rest is counted by the piece. Of a sum of calls, the
/// class of service is the one that all of them had, else the usual one.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct UsageDetails {
    /// Of the input that was not cached: sound.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_input_tokens: u64,
    /// Of the input that was not cached: pictures.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_input_tokens: u64,
    /// Of what was read from the cache: sound.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read_audio_tokens: u64,
    /// Of the output: sound.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_output_tokens: u64,
    /// Of the output: pictures.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_output_tokens: u64,
    /// How often the provider's own tool searched.
    #[serde(skip_serializing_if = "is_zero")]
    pub searches: u64,
    /// How often it searched files or collections that are kept with the provider.
    #[serde(skip_serializing_if = "is_zero")]
    pub file_searches: u64,
    /// How often it searched the files of the request itself.
    #[serde(skip_serializing_if = "is_zero")]
    pub document_searches: u64,
    /// How often it searched maps.
    #[serde(skip_serializing_if = "is_zero")]
    pub map_searches: u64,
    /// Sessions of its sandboxes that ran code; with some providers, runs of code.
    #[serde(skip_serializing_if = "is_zero")]
    pub code_sessions: u64,
    /// Pictures that its own tool made, where they are not counted as tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub generated_images: u64,
    /// Seconds that the provider counts, of sound for instance.
    #[serde(skip_serializing_if = "is_zero")]
    pub seconds: u64,
    /// Characters that the provider counts.
    #[serde(skip_serializing_if = "is_zero")]
    pub characters: u64,
    /// Pages that the provider counts.
    #[serde(skip_serializing_if = "is_zero")]
    pub pages: u64,
    /// Whether a tool of the provider's own ran whose price no report tells: what the call cost in all is unknown.
    #[serde(skip_serializing_if = "is_false")]
    pub other_tools: bool,
    /// The class of service that the provider says it gave.
    #[serde(skip_serializing_if = "ServiceTier::is_standard")]
    pub service_tier: ServiceTier,
    /// Whether the provider says that the call was held to a region, which it may charge more for.
    #[serde(skip_serializing_if = "is_false")]
    pub regional: bool,
}

impl UsageDetails {
    /// Whether nothing is priced apart.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A class of service that a provider sells one model at.
#[non_exhaustive]
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// The usual one.
    #[default]
    Standard,
    /// In a batch, answered within a day.
    Batch,
    /// Slower and cheaper.
    Flex,
    /// Before others: OpenAI calls it Fast mode too.
    Priority,
    /// On faster machines: Anthropic's fast mode, OpenAI's Ultrafast.
    Fast,
}

impl ServiceTier {
    /// The class that a provider's word stands for; any other word is the usual one. Sources:
    /// developers.openai.com/api/docs/guides/fast-mode and ultrafast-mode.
    pub(crate) fn of(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "batch" => Self::Batch,
            "flex" | "on_demand_flex" => Self::Flex,
            "priority" | "on_demand_priority" | "fast" => Self::Priority,
            "ultrafast" => Self::Fast,
            _ => Self::Standard,
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(crate) fn is_standard(&self) -> bool {
        *self == Self::Standard
    }
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
    /// Input that was not cached, and neither sound nor a picture.
    pub input: u64,
    /// Sound that was not cached.
    pub audio_input: u64,
    /// Pictures that were not cached.
    pub image_input: u64,
    /// Input read from a cache, but for sound.
    pub cache_read: u64,
    /// Sound read from a cache.
    pub cache_read_audio: u64,
    /// Input written to a cache, for the usual time.
    pub cache_write: u64,
    /// Input written to a cache, for an hour.
    pub cache_write_1h: u64,
    /// Output without reasoning, sound and pictures.
    pub output: u64,
    /// Reasoning.
    pub reasoning: u64,
    /// Sound.
    pub audio_output: u64,
    /// Pictures.
    pub image_output: u64,
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

    /// The same usage with what of it may have a price of its own.
    pub fn with_details(self, details: UsageDetails) -> Self {
        Self { details, ..self }
    }

    /// The same usage at a class of service.
    pub fn with_service_tier(mut self, service_tier: ServiceTier) -> Self {
        self.details.service_tier = service_tier;
        self
    }

    /// The same usage where more output may have been made than is counted: the report does not say it, or the answer
    /// broke off.
    pub(crate) fn with_open_output(mut self) -> Self {
        (self.open.output, self.provenance) = (true, Provenance::Estimated);
        self
    }

    /// The same usage where the report says nothing, or not all, of the input.
    pub(crate) fn with_open_input(mut self) -> Self {
        (self.open.input, self.provenance) = (true, Provenance::Estimated);
        self
    }

    /// The same usage of a report that contradicts itself.
    pub(crate) fn doubted(mut self) -> Self {
        self.open.odd = true;
        self
    }

    /// The same usage of a call in which the provider ran a tool of its own whose price no report tells, if it did.
    pub(crate) fn with_other_tools(mut self, ran: bool) -> Self {
        self.details.other_tools |= ran;
        self
    }

    /// Whether more output may have been made than is counted.
    pub(crate) fn has_open_output(&self) -> bool {
        self.open.output
    }

    /// The same usage, of whose output so many tokens came at most.
    pub(crate) fn with_delivered(mut self, tokens: u64) -> Self {
        self.open.delivered = tokens;
        self
    }

    /// The same usage with nothing left open, of a call that could read and make so many tokens.
    pub(crate) fn mended(mut self, input_bound: u64, output_cap: u64) -> Self {
        let Open { input, output, delivered, .. } = std::mem::take(&mut self.open);
        if input {
            self.input_tokens = self.input_tokens.max(input_bound);
        }
        if output {
            self.output_tokens = self.output_tokens.max(delivered.min(output_cap));
        }
        self
    }

    /// The sum of input and output tokens.
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Disjoint buckets. A part that claims more than its whole is held at the whole, so no bucket is negative.
    pub fn buckets(&self) -> UsageBuckets {
        let details = &self.details;
        let part = |whole: &mut u64, part: u64| {
            let part = part.min(*whole);
            *whole -= part;
            part
        };
        let (mut input, mut output) = (self.input_tokens, self.output_tokens);
        let mut cache_read = part(&mut input, self.cache_read_tokens);
        let mut cache_write = part(&mut input, self.cache_write_tokens);
        UsageBuckets {
            cache_read_audio: part(&mut cache_read, details.cache_read_audio_tokens),
            cache_write_1h: part(&mut cache_write, self.cache_write_1h_tokens),
            audio_input: part(&mut input, details.audio_input_tokens),
            image_input: part(&mut input, details.image_input_tokens),
            reasoning: part(&mut output, self.reasoning_tokens),
            audio_output: part(&mut output, details.audio_output_tokens),
            image_output: part(&mut output, details.image_output_tokens),
            input,
            cache_read,
            cache_write,
            output,
        }
    }

    /// Adds another call's usage. The provenance becomes the weaker of the two.
    pub fn add(&mut self, other: &Usage) {
        let first = self.requests == 0;
        for (sum, more) in [
            (&mut self.requests, other.requests),
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.cache_read_tokens, other.cache_read_tokens),
            (&mut self.cache_write_tokens, other.cache_write_tokens),
            (&mut self.cache_write_1h_tokens, other.cache_write_1h_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.provenance = self.provenance.max(other.provenance);
        if !self.details.is_empty() || !other.details.is_empty() {
            self.details.add(&other.details, first);
        }
    }
}

impl UsageDetails {
    fn add(&mut self, other: &UsageDetails, first: bool) {
        for (sum, more) in [
            (&mut self.audio_input_tokens, other.audio_input_tokens),
            (&mut self.image_input_tokens, other.image_input_tokens),
            (&mut self.cache_read_audio_tokens, other.cache_read_audio_tokens),
            (&mut self.audio_output_tokens, other.audio_output_tokens),
            (&mut self.image_output_tokens, other.image_output_tokens),
        ] {
            *sum = sum.saturating_add(more);
        }
        for meter in Meter::ALL {
            let sum = meter.of(self);
            *sum = sum.saturating_add(meter.count(other));
        }
        self.other_tools |= other.other_tools;
        if first {
            (self.service_tier, self.regional) = (other.service_tier, other.regional);
        } else if self.service_tier != other.service_tier {
            self.service_tier = ServiceTier::Standard;
        }
        self.regional &= other.regional;
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
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

    #[test]
    fn a_sum_keeps_the_class_of_service_that_all_had() {
        let at = |tier| Usage::new(1, 1).with_service_tier(tier);
        let sum = |tiers: &[ServiceTier]| {
            let mut sum = Usage::default();
            tiers.iter().for_each(|tier| sum.add(&at(*tier)));
            sum.details.service_tier
        };
        assert_eq!(sum(&[ServiceTier::Flex, ServiceTier::Flex]), ServiceTier::Flex);
        assert_eq!(sum(&[ServiceTier::Flex, ServiceTier::Priority]), ServiceTier::Standard);
        assert_eq!(sum(&[ServiceTier::Standard, ServiceTier::Flex]), ServiceTier::Standard);
    }

    proptest! {
        /// I12: the buckets are disjoint and sum to the whole.
        #[test]
        fn i12_buckets_sum_to_the_whole(input in 0u64..1 << 40, output in 0u64..1 << 40, read: u32, write: u32, hour: u32, reasoning: u32, more: [u32; 5]) {
            let [audio_input, image_input, cached_audio, audio_output, image_output] = more.map(u64::from);
            let details = UsageDetails {
                audio_input_tokens: audio_input, image_input_tokens: image_input, cache_read_audio_tokens: cached_audio,
                audio_output_tokens: audio_output, image_output_tokens: image_output, ..UsageDetails::default()
            };
            let b = Usage::new(input, output).with_cache(read.into(), write.into()).with_cache_write_1h(hour.into()).with_reasoning(reasoning.into()).with_details(details).buckets();
            prop_assert_eq!(b.input + b.audio_input + b.image_input + b.cache_read + b.cache_read_audio + b.cache_write + b.cache_write_1h, input);
            prop_assert_eq!(b.output + b.reasoning + b.audio_output + b.image_output, output);
        }
    }
}
