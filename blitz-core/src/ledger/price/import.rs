//! Reads price maps of LiteLLM's shape: an object by model's name, rates in USD per token.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::value::RawValue;

use super::table;
use crate::domain::{
    ImportedPrices, LeftOut, Money, OffPeak, Price, PriceHours, PriceTier, Rate, ServiceTier, Timestamp,
};
use crate::error::{Error, Result};
use crate::store::prices::{self, Book};
use crate::store::{Connection, content_hash};

/// Changes with what the same text gives.
const READER: u32 = 2;

/// What was read of a map, not yet kept.
pub(crate) struct PriceMap {
    book: Book,
    taken: u64,
    left_out: Vec<LeftOut>,
    hash: String,
}

/// An object whose values are texts of JSON: no number of it goes through a float.
type Raw<'a> = BTreeMap<String, &'a RawValue>;

/// What becomes of a map with a row that holds a number that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadRows {
    /// Nothing of it is taken.
    Refuse,
    /// They are left out and named.
    LeaveOut,
}

/// Why a model has no price.
#[derive(Debug, PartialEq, Eq)]
enum Unread {
    /// What is said of it is no price.
    Bad(String),
    /// It is sold in a way that calls are not charged by here.
    Unlike(String),
}

/// The most rows that a refusal names.
const MAX_NAMED: usize = 1_000;
/// The most rows that its message names.
const MAX_SAID: usize = 5;

/// Reads a map. A model that is sold in a way that cannot be charged exactly is left out and named, and has no
/// price in this version; nothing of it is guessed.
///
/// Errors: `InvalidInput` where the text is no JSON object of objects, or where a row holds what is no price,
/// unless such rows are to be left out too.
pub(crate) fn read(text: &str, bad_rows: BadRows) -> Result<PriceMap> {
    let entries: Raw<'_> = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Error::invalid(format!("the prices are no JSON object by model's name: line {line}, column {column}"))
    })?;
    let mut map = PriceMap { book: Book::new(), taken: 0, left_out: Vec::new(), hash: hash(text) };
    let mut found: BTreeMap<(String, String), (String, Price)> = BTreeMap::new();
    let (mut bad, mut unpriced): (Vec<LeftOut>, Vec<(String, String)>) = (Vec::new(), Vec::new());
    for (key, entry) in entries {
        // The map's own description of itself.
        if key == "sample_spec" {
            continue;
        }
        match model(&key, entry) {
            Ok((provider, name, Ok(price))) => match found.entry((provider, name)) {
                Entry::Vacant(place) => drop(place.insert((key, price))),
                // Too dear is noticed, too cheap passes every budget.
                Entry::Occupied(mut place) => {
                    let dearer = worst(&price) > worst(&place.get().1);
                    let model = if dearer { place.insert((key, price)).0 } else { key };
                    let reason = format!("{} has the same name here and costs as much or more", place.get().0);
                    map.left_out.push(LeftOut { model, reason });
                }
            },
            Ok((provider, name, Err(Unread::Unlike(reason)))) => {
                unpriced.push((provider, name));
                map.left_out.push(LeftOut { model: key, reason });
            }
            Ok((provider, name, Err(Unread::Bad(reason)))) => {
                unpriced.push((provider, name));
                bad.push(LeftOut { model: key, reason });
            }
            Err(Unread::Unlike(reason)) => map.left_out.push(LeftOut { model: key, reason }),
            Err(Unread::Bad(reason)) => bad.push(LeftOut { model: key, reason }),
        }
    }
    if bad_rows == BadRows::Refuse && !bad.is_empty() {
        return Err(refused(&bad));
    }
    map.left_out.append(&mut bad);
    map.left_out.sort_by(|one, other| one.model.cmp(&other.model));
    map.taken = found.len() as u64;
    for ((provider, name), (_, price)) in found {
        map.book.entry(provider).or_default().insert(name, Some(price));
    }
    for (provider, name) in unpriced {
        map.book.entry(provider).or_default().entry(name).or_insert(None);
    }
    Ok(map)
}

/// The refusal of a map with rows that are none, by their names.
fn refused(bad: &[LeftOut]) -> Error {
    let said: Vec<String> = bad.iter().take(MAX_SAID).map(|row| format!("{}: {}", row.model, row.reason)).collect();
    let more = bad.len().saturating_sub(said.len());
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let rows: Vec<serde_json::Value> =
        bad.iter().take(MAX_NAMED).map(|row| serde_json::json!({"model": row.model, "reason": row.reason})).collect();
    Error::invalid(format!("nothing was imported, as {} rows hold no price: {}{more}", bad.len(), said.join("; ")))
        .with_details(serde_json::json!({ "rows": rows }))
}

/// The hash of a text as it is read today: the same text read otherwise is another version of prices.
fn hash(text: &str) -> String {
    content_hash(format!("{READER}\n{text}").as_bytes())
}

/// What a large call costs at most, to tell which of two prices is the dearer.
fn worst(price: &Price) -> Money {
    price.upper_bound(1_000_000, 1_000_000).unwrap_or(Money::MAX)
}

impl PriceMap {
    /// Keeps what was read as the version of prices in force.
    /// From then on, or from a later moment.
    pub(crate) fn keep(
        &self,
        tx: &mut dyn Connection,
        now: Timestamp,
        effective_from: Option<Timestamp>,
        source: &str,
    ) -> Result<ImportedPrices> {
        let from = effective_from.unwrap_or(now).max(now);
        let version = prices::put(tx, now, from, source, &self.hash, &self.book)?;
        Ok(ImportedPrices { version, taken: self.taken, left_out: self.left_out.clone() })
    }

    /// The hash of the text it was read from, and of how it was read.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }
}

/// Whose model it is, its name there, and its price or why it has none.
type Row = (String, String, Result<Price, Unread>);

/// Reads one row; else why nobody knows whose it is.
fn model(key: &str, entry: &RawValue) -> Result<Row, Unread> {
    let fields: Raw<'_> = serde_json::from_str(entry.get()).map_err(|_| Unread::Bad("it is no object".to_owned()))?;
    let text = |field: &str| {
        fields.get(field).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()).unwrap_or_default()
    };
    let seller = text("litellm_provider");
    if seller.is_empty() {
        return Err(Unread::Unlike("it names no provider (litellm_provider)".to_owned()));
    }
    let provider = ours(&seller);
    let name = key.to_ascii_lowercase();
    let prefixes = [format!("{seller}/"), format!("{provider}/")];
    let name = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(&name).to_owned();
    let price = price(&fields);
    Ok((provider, name, price))
}

/// The name in our table of a seller in the map; its own where it is none of ours.
fn ours(seller: &str) -> String {
    let name = match seller {
        "text-completion-openai" => "openai",
        "azure_ai" | "azure_text" => "azure",
        "bedrock_converse" => "bedrock",
        "cohere_chat" => "cohere",
        other => other,
    };
    table::service(name, None).unwrap_or(name).to_owned()
}

/// The dimensions of a tier and the beginnings of their fields in the map.
type Dimension = (&'static str, Field);
type Field = fn(&mut PriceTier) -> &mut Option<Rate>;
const DIMENSIONS: [Dimension; 11] = [
    ("input_cost_per_token", |tier| &mut tier.input),
    ("output_cost_per_token", |tier| &mut tier.output),
    ("cache_read_input_token_cost", |tier| &mut tier.cache_read),
    ("cache_creation_input_token_cost", |tier| &mut tier.cache_write),
    ("cache_creation_input_token_cost_above_1hr", |tier| &mut tier.cache_write_1h),
    ("output_cost_per_reasoning_token", |tier| &mut tier.reasoning),
    ("input_cost_per_audio_token", |tier| &mut tier.audio_input),
    ("input_cost_per_image_token", |tier| &mut tier.image_input),
    ("cache_read_input_audio_token_cost", |tier| &mut tier.cache_read_audio),
    ("output_cost_per_audio_token", |tier| &mut tier.audio_output),
    ("output_cost_per_image_token", |tier| &mut tier.image_output),
];

/// The ends of the fields that price a class of service.
const CLASSES: [(&str, ServiceTier); 4] = [
    ("_batches", ServiceTier::Batch),
    ("_flex", ServiceTier::Flex),
    ("_priority", ServiceTier::Priority),
    ("_ultrafast", ServiceTier::Fast),
];

/// Parts of the names of fields by which calls are charged in such a map, and not here: taken without them a
/// price would be too low.
const UNCHARGED: [&str; 8] = [
    "cost_per_image",
    "cost_per_pixel",
    "_per_second",
    "cost_per_character",
    "cost_per_query",
    "cost_per_1k_calls",
    "cost_per_page",
    "cost_per_session",
];

fn price(fields: &Raw<'_>) -> Result<Price, Unread> {
    let mut tiers: BTreeMap<(ServiceTier, u64), PriceTier> = BTreeMap::new();
    let (mut request, mut search, mut unlike) = (None, None, None);
    let (mut file_search, mut code_session, mut page) = (None, None, None);
    for (field, raw) in fields {
        if raw.get() == "null" {
            continue;
        }
        if field == "input_cost_per_request" {
            request = Some(rate(field, raw).map_err(Unread::Bad)?);
        } else if field == "search_context_cost_per_query" {
            search = dearest_search(field, raw).map_err(Unread::Bad)?;
        } else if field == "file_search_cost_per_1k_calls" {
            file_search = apiece(field, raw)?;
        } else if field == "code_interpreter_cost_per_session" {
            code_session = Some(rate(field, raw).map_err(Unread::Bad)?);
        } else if field == "ocr_cost_per_page" {
            page = Some(rate(field, raw).map_err(Unread::Bad)?);
        } else if let Some((class, above, dimension)) = dimension(field) {
            let new = || PriceTier::above(above).with_service_tier(class);
            *dimension(tiers.entry((class, above)).or_insert_with(new)) = Some(rate(field, raw).map_err(Unread::Bad)?);
        } else if UNCHARGED.iter().any(|part| field.contains(part))
            && rate(field, raw).map_err(Unread::Bad)? != Rate::ZERO
        {
            unlike.get_or_insert_with(|| format!("it is charged by what no report of usage here tells ({field})"));
        }
    }
    if fields.contains_key("tiered_pricing") {
        unlike = Some("its price depends on ranges that this version does not know (tiered_pricing)".to_owned());
    }
    if let Some(reason) = unlike {
        return Err(Unread::Unlike(reason));
    }
    let base = tiers.remove(&(ServiceTier::Standard, 0)).unwrap_or_else(|| PriceTier::above(0));
    if base.input == Some(Rate::ZERO) && base.output == Some(Rate::ZERO) {
        return Err(Unread::Unlike("it costs nothing, which in such a map means that nobody knows".to_owned()));
    }
    let off_peak = fields.get("off_peak_pricing").map(|raw| off_peak(raw)).transpose().map_err(Unread::Unlike)?;
    let price = Price::of(&base, tiers.into_values().collect());
    let price = price.ok_or_else(|| Unread::Unlike("it has no price per input and output token".to_owned()))?;
    let regional_percent = regional(fields).map_err(Unread::Unlike)?;
    Ok(Price { request, search, file_search, code_session, page, off_peak, regional_percent, ..price })
}

/// The rates of some hours of the week, each span as `"HH:MM-HH:MM"`.
fn off_peak(raw: &RawValue) -> Result<OffPeak, String> {
    #[derive(serde::Deserialize)]
    struct Window {
        hours_utc: OneOrMore,
        #[serde(default)]
        weekdays: Vec<u8>,
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    let bad = |_| "off_peak_pricing has a form that this version does not know".to_owned();
    let fields: Raw<'_> = serde_json::from_str(raw.get()).map_err(bad)?;
    let mut rates = PriceTier::above(0);
    for (field, raw) in fields.iter().filter(|(field, _)| *field != "windows") {
        let (ServiceTier::Standard, 0, dimension) = dimension(field).ok_or_else(|| bad_hours(field))? else {
            return Err(bad_hours(field));
        };
        *dimension(&mut rates) = Some(rate(field, raw)?);
    }
    let windows = fields.get("windows").map_or("[]", |raw| raw.get());
    let windows: Vec<Window> = serde_json::from_str(windows).map_err(bad)?;
    let mut hours = Vec::new();
    for Window { hours_utc, weekdays } in windows {
        let spans = match hours_utc {
            OneOrMore::One(span) => vec![span],
            OneOrMore::More(spans) => spans,
        };
        for span in spans {
            let ends = span.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
            let (from, to) = ends.ok_or_else(|| bad_hours("hours_utc"))?;
            hours.push(PriceHours::new(weekdays.clone(), from, to));
        }
    }
    Ok(OffPeak::new(hours, rates))
}

fn bad_hours(field: &str) -> String {
    format!("off_peak_pricing: {field} is not known to this version")
}

/// The rate of one by that of a thousand.
fn apiece(field: &str, raw: &RawValue) -> Result<Option<Rate>, Unread> {
    let thousand = rate(field, raw).map_err(Unread::Bad)?.picos();
    if thousand % 1_000 != 0 {
        return Err(Unread::Bad(format!("{field}: a thousandth of it is no whole trillionth of a dollar")));
    }
    Ok(Some(Rate::from_picos(thousand / 1_000)))
}

/// What a search costs at most: the map prices them by how much they read, which no report of usage says.
fn dearest_search(field: &str, raw: &RawValue) -> Result<Option<Rate>, String> {
    let Ok(sizes) = serde_json::from_str::<Raw<'_>>(raw.get()) else { return Ok(None) };
    let rates: Result<Vec<Rate>, String> = sizes.values().map(|raw| rate(field, raw)).collect();
    Ok(rates?.into_iter().max())
}

/// What a call costs that is held to a region: a factor by the region's name, of which the map knows one.
fn regional(fields: &Raw<'_>) -> Result<Option<u32>, String> {
    let entry = fields.get("provider_specific_entry").and_then(|raw| serde_json::from_str::<Raw<'_>>(raw.get()).ok());
    let Some(factor) = entry.as_ref().and_then(|entry| entry.get("us")) else { return Ok(None) };
    // A factor read as USD per unit is picos of it: ten thousand million of those are one percent.
    let picos = rate("provider_specific_entry", factor)?.picos();
    let percent = u32::try_from(picos / PERCENT).ok().filter(|_| picos % PERCENT == 0);
    percent.map(Some).ok_or_else(|| "its factor for a region is no whole percentage".to_owned())
}

const PERCENT: i64 = 10_000_000_000;

/// What a field prices, at which class of service and above how many input tokens; `None` for what is no
/// price of plain calls.
fn dimension(field: &str) -> Option<(ServiceTier, u64, Field)> {
    let of_class = CLASSES.iter().find_map(|(end, class)| Some((field.strip_suffix(end)?, *class)));
    let (field, class) = of_class.unwrap_or((field, ServiceTier::Standard));
    DIMENSIONS.iter().find_map(|(name, dimension)| {
        let rest = field.strip_prefix(name)?;
        if rest.is_empty() {
            return Some((class, 0, *dimension));
        }
        let thousands: u64 = rest.strip_prefix("_above_")?.strip_suffix("k_tokens")?.parse().ok()?;
        thousands.checked_mul(1_000).filter(|above| *above > 0).map(|above| (class, above, *dimension))
    })
}

/// A rate by the text of its number, or of the string that holds one.
fn rate(field: &str, raw: &RawValue) -> Result<Rate, String> {
    let text = raw.get();
    let text = if text.starts_with('"') { serde_json::from_str(text).unwrap_or_default() } else { text.to_owned() };
    Rate::parse(&text).map_err(|error| format!("{field}: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only(entry: &str) -> Result<(String, String, Price), Unread> {
        let raw: &RawValue = serde_json::from_str(entry).unwrap();
        let (provider, name, price) = model("openai/gpt-x", raw)?;
        Ok((provider, name, price?))
    }

    fn lenient(text: &str) -> Result<PriceMap> {
        super::read(text, BadRows::LeaveOut)
    }

    #[test]
    fn numbers_and_strings_are_read_by_their_text() {
        let (provider, name, price) = only(
            r#"{"litellm_provider":"openai","input_cost_per_token":2.5e-06,"output_cost_per_token":"0.00001",
                "cache_read_input_token_cost":1.25E-6,"input_cost_per_token_above_200k_tokens":5e-06,
                "cache_creation_input_token_cost_above_1hr":0.000006,"cache_read_input_token_cost_above_200k_tokens":null,
                "input_cost_per_token_batches":1e-9,"input_cost_per_token_above_200k_tokens_priority":2e-6,
                "input_cost_per_audio_token":4e-5,"output_cost_per_image_token":"0.00003",
                "search_context_cost_per_query":{"search_context_size_low":0.01,"search_context_size_high":0.025},
                "file_search_cost_per_1k_calls":2.5,"code_interpreter_cost_per_session":0.03,
                "provider_specific_entry":{"us":1.1,"fast":2.0},
                "input_cost_per_request":0.01,"mode":"chat","source":"https://x"}"#,
        )
        .unwrap();
        assert_eq!((provider.as_str(), name.as_str()), ("openai", "gpt-x"));
        let rate = |text: &str| Rate::parse(text).unwrap();
        let tier = PriceTier { input: Some(rate("0.000005")), ..PriceTier::above(200_000) };
        let batch = PriceTier { input: Some(rate("0.000000001")), ..PriceTier::at(ServiceTier::Batch) };
        let priority = PriceTier::above(200_000).with_service_tier(ServiceTier::Priority);
        let priority = PriceTier { input: Some(rate("0.000002")), ..priority };
        let expected = Price {
            audio_input: Some(rate("0.00004")),
            image_output: Some(rate("0.00003")),
            search: Some(rate("0.025")),
            file_search: Some(rate("0.0025")),
            code_session: Some(rate("0.03")),
            regional_percent: Some(110),
            cache_read: Some(rate("0.00000125")),
            cache_write_1h: Some(rate("0.000006")),
            request: Some(rate("0.01")),
            ..Price::per_million("2.5", "10").unwrap().with_tier(tier).with_tier(batch).with_tier(priority)
        };
        assert!(price.check().is_ok());
        assert_eq!(price, expected);
    }

    #[test]
    fn t04_what_is_no_price_is_left_out_with_its_reason() {
        for rate in ["-5", "1e400", "\"1,5\"", "0.00000000000000000001", "\"NaN\"", "\"Infinity\"", "true", "[]"] {
            let entry =
                format!(r#"{{"litellm_provider":"p","input_cost_per_token":{rate},"output_cost_per_token":1}}"#);
            let Err(Unread::Bad(reason)) = only(&entry) else { panic!("{rate}") };
            assert!(reason.contains("input_cost_per_token"), "{rate}");
        }
        assert!(only(r#"{"litellm_provider":"p","input_cost_per_second":1}"#).is_err());
        assert!(only(r#"{"input_cost_per_token":1,"output_cost_per_token":1}"#).is_err());
        assert!(only(r#"{"litellm_provider":"p","input_cost_per_token":0.0,"output_cost_per_token":0}"#).is_err());
        for text in ["", "[]", "{\"a\":", "{\"a\":NaN}", "null"] {
            assert!(lenient(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn t04_what_calls_are_charged_by_and_cannot_be_here_leaves_the_model_out() {
        let with = |field: &str, value: &str| {
            only(&format!(
                r#"{{"litellm_provider":"p","input_cost_per_token":1e-6,"output_cost_per_token":1e-6,"{field}":{value}}}"#
            ))
        };
        for field in [
            "output_cost_per_image",
            "output_cost_per_second",
            "input_cost_per_audio_per_second",
            "output_cost_per_character",
            "input_cost_per_query",
            "vector_store_cost_per_session",
        ] {
            let Err(Unread::Unlike(reason)) = with(field, "0.04") else { panic!("{field}") };
            assert!(reason.contains(field), "{reason}");
            assert!(with(field, "0.0").is_ok() && with(field, "null").is_ok(), "{field} of nothing");
            assert!(matches!(with(field, "\"NaN\""), Err(Unread::Bad(_))), "{field}");
        }
        assert!(with("output_cost_per_image_token", "1e-6").is_ok());
    }

    #[test]
    fn hours_of_the_week_are_read_or_the_model_is_left_out() {
        let entry = |off_peak: &str| {
            only(&format!(
                r#"{{"litellm_provider":"openai","input_cost_per_token":2e-6,"output_cost_per_token":4e-6,"off_peak_pricing":{off_peak}}}"#
            ))
        };
        let price = entry(
            r#"{"input_cost_per_token":1e-6,"windows":[{"hours_utc":["10:00-00:00","04:00-06:00"],"weekdays":[1,5]},{"hours_utc":"00:00-00:00","weekdays":[7]}]}"#,
        );
        let off_peak = price.unwrap().2.off_peak.unwrap();
        assert_eq!(off_peak.rates.input, Some(Rate::parse("0.000001").unwrap()));
        let shown: Vec<_> =
            off_peak.hours.iter().map(|span| format!("{:?} {}-{}", span.days, span.from, span.to)).collect();
        assert_eq!(shown, ["[1, 5] 10:00-00:00", "[1, 5] 04:00-06:00", "[7] 00:00-00:00"]);
        for odd in [
            "7",
            r#"{"windows":[{"hours_utc":"25:00-26:00"}]}"#,
            r#"{"windows":[{"hours":1}]}"#,
            r#"{"input_cost_per_token_above_200k_tokens":1e-6,"windows":[]}"#,
            r#"{"factor":0.5,"windows":[]}"#,
        ] {
            assert!(entry(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn of_two_entries_with_one_name_the_dearer_is_kept_and_the_other_named() {
        let entry = |key: &str, seller: &str, rate: &str| {
            format!(
                r#""{key}":{{"litellm_provider":"{seller}","input_cost_per_token":{rate},"output_cost_per_token":{rate}}}"#
            )
        };
        let same = [("azure/x", "azure"), ("azure_ai/x", "azure_ai"), ("Azure/X", "azure")];
        for (rates, kept) in
            [(["1e-6", "2e-6", "1e-6"], 1), (["2e-6", "1e-6", "2e-6"], 2), (["3e-6", "2e-6", "1e-6"], 0)]
        {
            let entries: Vec<_> =
                same.iter().zip(rates).map(|((key, seller), rate)| entry(key, seller, rate)).collect();
            let map = lenient(&format!("{{{}}}", entries.join(","))).unwrap();
            let rate = Rate::parse(rates[kept]).unwrap();
            assert_eq!(
                map.book["azure"],
                BTreeMap::from([("x".to_owned(), Some(Price::new(rate, rate)))]),
                "{rates:?}"
            );
            let mut left_out: Vec<_> = map.left_out.iter().map(|left| left.model.as_str()).collect();
            left_out.sort_unstable();
            let mut others: Vec<_> = same.iter().map(|(key, _)| *key).filter(|key| *key != same[kept].0).collect();
            others.sort_unstable();
            assert_eq!((map.taken, left_out), (1, others));
        }
    }

    proptest! {
        /// Any rate of whole picos comes through as it is.
        #[test]
        fn rates_come_through_exactly(picos in 1i64..i64::MAX, output in 1i64..1 << 40, exponent in any::<bool>()) {
            let text = if exponent { format!("{picos}e-12") } else { Rate::from_picos(picos).to_string() };
            let entry = format!(r#"{{"litellm_provider":"p","input_cost_per_token":{text},"output_cost_per_token":"{}"}}"#, Rate::from_picos(output));
            let (_, _, price) = only(&entry).unwrap();
            prop_assert_eq!(price, Price::new(Rate::from_picos(picos), Rate::from_picos(output)));
        }

        /// Nothing that is read panics, and nothing is lost without a word.
        #[test]
        fn every_entry_is_taken_or_named(keys in proptest::collection::btree_set("[a-z/.-]{1,12}", 0..8), value in "[0-9eE.+-]{0,12}") {
            let entries: Vec<String> = keys.iter().filter(|key| *key != "sample_spec")
                .map(|key| format!(r#""{key}":{{"litellm_provider":"p","input_cost_per_token":"{value}","output_cost_per_token":"1"}}"#)).collect();
            let map = lenient(&format!("{{{}}}", entries.join(","))).unwrap();
            prop_assert_eq!(map.taken + map.left_out.len() as u64, entries.len() as u64);
        }
    }
}
