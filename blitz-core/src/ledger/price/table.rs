//! The shipped price table, `blitz-core/prices/prices.json`: made by `make prices`, dated, a source a row.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::domain::{OffPeak, Price, PriceHours, PriceTier, Rate, ServiceTier, Timestamp};
use crate::error::{Error, Result};

const TABLE: &str = include_str!("../../../prices/prices.json");

/// Who sells: the name in the table, the providers' names that reach it, and its own hosts. One
/// that begins with a point stands for every host below it.
struct Service {
    name: &'static str,
    providers: &'static [&'static str],
    hosts: &'static [&'static str],
}

const fn service_of(name: &'static str, providers: &'static [&'static str], hosts: &'static [&'static str]) -> Service {
    Service { name, providers, hosts }
}

const SERVICES: &[Service] = &[
    service_of("openai", &["openai", "openai_responses", "openai_compatible"], &["api.openai.com"]),
    service_of(
        "azure",
        &["azure", "azure_responses"],
        &[".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"],
    ),
    service_of("anthropic", &["anthropic"], &["api.anthropic.com"]),
    service_of("gemini", &["gemini"], &["generativelanguage.googleapis.com"]),
    service_of("bedrock", &["bedrock"], &[".amazonaws.com"]),
    service_of("mistral", &["mistral"], &["api.mistral.ai"]),
    service_of("deepseek", &["deepseek"], &["api.deepseek.com"]),
    service_of("groq", &["groq"], &["api.groq.com"]),
    service_of("xai", &["xai"], &["api.x.ai"]),
    service_of("cohere", &["cohere"], &["api.cohere.com", "api.cohere.ai"]),
];

/// Who takes the class of service of a call that names none, or `auto`, from a setting of the project or the
/// account: it may be the dearer `priority`.
const GIVE_PRIORITY: &[&str] = &["openai", "azure", "anthropic"];

/// Whether a service may answer a call at `priority` that did not ask for it.
pub(super) fn gives_priority(service: &str) -> bool {
    GIVE_PRIORITY.contains(&service)
}

/// Whose price list holds for a provider at an address; `None` where a known provider's name is
/// used for a server of somebody else, whose prices nobody lists.
pub(super) fn service<'a>(provider: &'a str, base_url: Option<&str>) -> Option<&'a str> {
    let named = SERVICES.iter().find(|service| service.providers.contains(&provider));
    match (base_url, named) {
        (Some(url), named) => match at(&host(url)) {
            Some(service) => Some(service.name),
            None if named.is_some() => None,
            None => Some(provider),
        },
        (None, Some(service)) => Some(service.name),
        (None, None) => Some(provider),
    }
}

/// Whose budget and limits count the calls of a provider at an address, beside those of its own name.
///
/// The provider's own hosts say it, and else its dialect, where that is spoken for one service alone:
/// `openai_compatible` elsewhere is somebody else's server.
pub(super) fn counted_as<'a>(provider: &'a str, base_url: Option<&str>) -> &'a str {
    let named = SERVICES.iter().find(|service| service.providers.contains(&provider));
    let by_dialect = named.filter(|_| base_url.is_none() || provider != "openai_compatible");
    base_url.and_then(|url| at(&host(url))).or(by_dialect).map_or(provider, |service| service.name)
}

fn at(host: &str) -> Option<&'static Service> {
    SERVICES.iter().find(|service| {
        service.hosts.iter().any(|own| if own.starts_with('.') { host.ends_with(own) } else { host == *own })
    })
}

/// The host of an address, in lower case.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase()
}

/// How a name may stand in a list, the closest first.
pub(super) fn spellings(service: &str, model_name: &str) -> impl Iterator<Item = String> + use<> {
    let name = model_name.trim().to_ascii_lowercase();
    let without = |prefix: &str| name.strip_prefix(prefix).map(str::to_owned);
    let shorter = [without("models/"), without(&format!("{service}/"))];
    std::iter::once(name.clone()).chain(shorter.into_iter().flatten())
}

/// The shipped price of a model.
pub(super) fn find(service: &str, model_name: &str) -> Option<&'static Price> {
    static PRICES: LazyLock<HashMap<String, HashMap<String, Price>>> =
        LazyLock::new(|| read(TABLE).expect("a test reads the shipped price table"));
    let prices = PRICES.get(service)?;
    spellings(service, model_name).find_map(|name| prices.get(&name))
}

#[derive(Deserialize)]
struct Table {
    prices: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    provider: String,
    models: Vec<String>,
    price: PerMillion,
    #[cfg_attr(not(test), allow(dead_code, reason = "for who reads the file; a test holds that it is there"))]
    source: String,
    as_of: String,
}

/// A price in USD per million tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PerMillion {
    #[serde(default)]
    above: u64,
    #[serde(default)]
    service_tier: ServiceTier,
    input: Option<String>,
    output: Option<String>,
    cache_read: Option<String>,
    cache_write: Option<String>,
    cache_write_1h: Option<String>,
    reasoning: Option<String>,
    audio_input: Option<String>,
    image_input: Option<String>,
    cache_read_audio: Option<String>,
    audio_output: Option<String>,
    image_output: Option<String>,
    /// USD a piece, not per million; so are those that follow.
    search: Option<String>,
    file_search: Option<String>,
    document_search: Option<String>,
    map_search: Option<String>,
    code_session: Option<String>,
    regional_percent: Option<u32>,
    off_peak: Option<AtHours>,
    #[serde(default)]
    tiers: Vec<PerMillion>,
}

/// A price at some hours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AtHours {
    hours: Vec<PriceHours>,
    rates: Box<PerMillion>,
}

impl PerMillion {
    fn tier(&self) -> Result<PriceTier> {
        let rate = |text: &Option<String>| text.as_deref().map(Rate::parse_per_million).transpose();
        Ok(PriceTier {
            input: rate(&self.input)?,
            output: rate(&self.output)?,
            cache_read: rate(&self.cache_read)?,
            cache_write: rate(&self.cache_write)?,
            cache_write_1h: rate(&self.cache_write_1h)?,
            reasoning: rate(&self.reasoning)?,
            audio_input: rate(&self.audio_input)?,
            image_input: rate(&self.image_input)?,
            cache_read_audio: rate(&self.cache_read_audio)?,
            audio_output: rate(&self.audio_output)?,
            image_output: rate(&self.image_output)?,
            ..PriceTier::above(self.above).with_service_tier(self.service_tier)
        })
    }

    fn price(&self, as_of: Timestamp) -> Result<Price> {
        let missing = || Error::invalid("a row of the price table has no input or no output rate");
        let tiers: Vec<PriceTier> = self.tiers.iter().map(PerMillion::tier).collect::<Result<_>>()?;
        let apiece = |text: &Option<String>| text.as_deref().map(Rate::parse).transpose();
        let price = Price {
            search: apiece(&self.search)?,
            file_search: apiece(&self.file_search)?,
            document_search: apiece(&self.document_search)?,
            map_search: apiece(&self.map_search)?,
            code_session: apiece(&self.code_session)?,
            regional_percent: self.regional_percent,
            off_peak: match &self.off_peak {
                Some(AtHours { hours, rates }) => Some(OffPeak::new(hours.clone(), rates.tier()?)),
                None => None,
            },
            as_of: Some(as_of),
            ..Price::of(&self.tier()?, tiers).ok_or_else(missing)?
        };
        price.check().map(|()| price)
    }
}

fn read(text: &str) -> Result<HashMap<String, HashMap<String, Price>>> {
    let bad = |error: String| Error::invalid(format!("the price table cannot be read: {error}"));
    let table: Table = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
    let mut prices: HashMap<String, HashMap<String, Price>> = HashMap::new();
    for row in table.prices {
        let day: jiff::civil::Date = row.as_of.parse().map_err(|error: jiff::Error| bad(error.to_string()))?;
        let read_at = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| bad(error.to_string()))?.timestamp();
        let price = row.price.price(Timestamp(read_at.as_microsecond()))?;
        let of_provider = prices.entry(row.provider).or_default();
        for model in row.models {
            if of_provider.insert(model.clone(), price.clone()).is_some() {
                return Err(bad(format!("{model} is there twice")));
            }
        }
    }
    Ok(prices)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::{Usage, UsageDetails};

    #[test]
    fn a_provider_is_counted_with_the_service_that_it_asks() {
        for (provider, url, service) in [
            ("openai", None, "openai"),
            ("openai_responses", None, "openai"),
            ("openai_responses", Some("http://127.0.0.1:9/v1"), "openai"),
            ("openai_compatible", None, "openai"),
            ("openai_compatible", Some("https://API.openai.com/v1"), "openai"),
            ("openai_compatible", Some("http://127.0.0.1:9/v1"), "openai_compatible"),
            ("azure_responses", Some("https://mine.example"), "azure"),
            ("openai", Some("https://mine.openai.azure.com"), "azure"),
            ("mine", Some("https://api.anthropic.com"), "anthropic"),
            ("mine", None, "mine"),
        ] {
            assert_eq!(counted_as(provider, url), service, "{provider} at {url:?}");
        }
    }

    #[test]
    fn every_row_has_a_source_a_date_and_names_in_the_form_they_are_looked_up_in() {
        let table: Table = serde_json::from_str(TABLE).unwrap();
        for row in &table.prices {
            assert!(row.source.starts_with("https://"), "{:?}", row.models);
            assert!(row.as_of.parse::<jiff::civil::Date>().is_ok(), "{:?}", row.models);
            assert!(SERVICES.iter().any(|service| service.name == row.provider), "{}", row.provider);
            for model in &row.models {
                assert_eq!(*model, model.trim().to_ascii_lowercase());
                assert!(find(&row.provider, model).is_some(), "{model}");
            }
        }
        for service in SERVICES {
            assert!(table.prices.iter().any(|row| row.provider == service.name), "no price of {}", service.name);
        }
    }

    /// Computed by hand from the price pages' figures, USD per million tokens.
    #[test]
    fn cost_is_what_a_hand_computes() {
        let cost = |service: &str, name: &str, usage: Usage| {
            find(service, name).unwrap_or_else(|| panic!("{name} has no price")).cost(&usage).unwrap().nanos()
        };
        // 900 × 2.50 + 100 × 1.25 + 50 × 10
        assert_eq!(cost("openai", "gpt-4o", Usage::new(1_000, 50).with_cache(100, 0)), 2_875_000);
        // 1,000 × 0.15 + 50 × 0.60
        assert_eq!(cost("openai", "gpt-4o-mini", Usage::new(1_000, 50)), 180_000);
        // 700 × 3 + 100 × 0.30 + 150 × 3.75 + 50 × 6 + 10 × 15
        let usage = Usage::new(1_000, 10).with_cache(100, 200).with_cache_write_1h(50);
        assert_eq!(cost("anthropic", "claude-sonnet-4-6", usage), 3_142_500);
        // The whole call above 200,000: 200,001 × 2.50 + 100 × 15, reasoning as output
        assert_eq!(cost("gemini", "gemini-2.5-pro", Usage::new(200_001, 100).with_reasoning(60)), 501_502_500);
        // 1,000 × 1.25 + 100 × 10
        assert_eq!(cost("gemini", "gemini-2.5-pro", Usage::new(1_000, 100)), 2_250_000);
        // 1,000 × 2.50 + 100 × 10
        assert_eq!(cost("azure", "gpt-4o", Usage::new(1_000, 100)), 3_500_000);
        // 1,000 × 2.50 + 100 × 10
        assert_eq!(cost("cohere", "command-a-03-2025", Usage::new(1_000, 100)), 3_500_000);
        // 1,000 × 0.59 + 100 × 0.79
        assert_eq!(cost("groq", "llama-3.3-70b-versatile", Usage::new(1_000, 100)), 669_000);
        // 900 × 0.28 + 100 × 0.028 + 100 × 0.42
        assert_eq!(cost("deepseek", "deepseek-chat", Usage::new(1_000, 100).with_cache(100, 0)), 296_800);
        // 1,000 × 0.50 + 100 × 1.50
        assert_eq!(cost("mistral", "mistral-large-2512", Usage::new(1_000, 100)), 650_000);
        // 1,000 × 3 + 100 × 15
        assert_eq!(cost("xai", "grok-4", Usage::new(1_000, 100)), 4_500_000);
    }

    /// The same for what is priced apart.
    #[test]
    fn b38_classes_of_service_sound_pictures_regions_and_searches_cost_what_a_hand_computes() {
        let cost = |service: &str, name: &str, usage: Usage| {
            find(service, name).unwrap_or_else(|| panic!("{name} has no price")).cost(&usage).unwrap().nanos()
        };
        let at = |tier| Usage::new(1_000, 100).with_cache(200, 0).with_service_tier(tier);
        // 800 × 1.25 + 200 × 0.125 + 100 × 10, then doubled, then halved
        assert_eq!(cost("openai", "gpt-5", at(ServiceTier::Standard)), 2_025_000);
        assert_eq!(cost("openai", "gpt-5", at(ServiceTier::Priority)), 4_050_000);
        assert_eq!(cost("openai", "gpt-5", at(ServiceTier::Flex)), 1_012_500);
        assert_eq!(cost("openai", "gpt-5", at(ServiceTier::Batch)), 1_012_500);
        // 800 × 12.50 + 200 × 1.25 + 100 × 75, though no long call gets it
        assert_eq!(cost("openai", "gpt-5.5", at(ServiceTier::Priority)), 17_750_000);
        // 1,000 × 1.25 + 100 × 5
        assert_eq!(cost("azure", "gpt-4o", Usage::new(1_000, 100).with_service_tier(ServiceTier::Batch)), 1_750_000);
        let with = |usage: Usage, details: UsageDetails| usage.with_details(details);
        // 900 × 2.50 + 100 × 32 + 40 × 10 + 60 × 64
        let spoken = UsageDetails { audio_input_tokens: 100, audio_output_tokens: 60, ..UsageDetails::default() };
        assert_eq!(cost("openai", "gpt-audio", with(Usage::new(1_000, 100), spoken)), 9_690_000);
        // 700 × 0.30 + 100 × 1 + 150 × 0.03 + 50 × 0.10 + 100 × 2.50
        let heard = UsageDetails { audio_input_tokens: 100, cache_read_audio_tokens: 50, ..UsageDetails::default() };
        let usage = Usage::new(1_000, 100).with_cache(200, 0);
        assert_eq!(cost("gemini", "gemini-2.5-flash", with(usage, heard)), 569_500);
        // 10 × 0.30 + 5 × 2.50 + 1,290 × 30
        let drawn = UsageDetails { image_output_tokens: 1_290, ..UsageDetails::default() };
        assert_eq!(cost("gemini", "gemini-2.5-flash-image", with(Usage::new(10, 1_295), drawn)), 38_715_500);
        // (1,000 × 5 + 100 × 25) × 110 % + 3 × 0.01 USD; on fast machines the tokens cost twice that.
        let searched = UsageDetails { regional: true, searches: 3, ..UsageDetails::default() };
        assert_eq!(cost("anthropic", "claude-opus-5", with(Usage::new(1_000, 100), searched)), 38_250_000);
        let fast = UsageDetails { service_tier: ServiceTier::Fast, ..searched };
        assert_eq!(cost("anthropic", "claude-opus-5", with(Usage::new(1_000, 100), fast)), 46_500_000);
    }

    #[test]
    fn b38_hours_cost_what_a_hand_computes() {
        let price = find("deepseek", "deepseek-v4-flash").unwrap();
        let at = |text: &str| Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond());
        let usage = Usage::new(1_000, 100).with_cache(200, 0);
        let cost = |moment: &str| price.at(at(moment)).cost(&usage).unwrap().nanos();
        // 800 × 0.30 + 200 × 0.006 + 100 × 1.20 on a Monday at two, half of it at five and on a Sunday
        assert_eq!(cost("2026-11-23T02:00:00Z"), 361_200);
        assert_eq!(cost("2026-11-23T05:00:00Z"), 180_600);
        assert_eq!(cost("2026-11-29T02:00:00Z"), 180_600);
    }

    #[test]
    fn t04_a_table_with_a_price_that_is_none_is_refused_whole() {
        for price in ["NaN", "Infinity", "1e400", "-5", "1,5", "0.00000000000000000001"] {
            let text = format!(
                r#"{{"prices":[{{"provider":"p","models":["m"],"price":{{"input":"{price}","output":"1"}},"source":"s","as_of":"2026-01-01"}}]}}"#
            );
            assert!(read(&text).is_err(), "{price}");
        }
    }
}
