use super::super::meter::Meters;
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
    // Each thing that is counted has the rate of its name: 1 to 9 thousandths, so many of each.
    for (meter, thousandths) in Meter::ALL.into_iter().zip(1i64..) {
        let rate = format!("0.00{thousandths}");
        let one: Price =
            serde_json::from_value(serde_json::json!({"input": "0", "output": "0", meter.field(): rate})).unwrap();
        let mut used = Usage::new(10, 10);
        Meter::ALL.into_iter().for_each(|meter| *meter.of(&mut used.details) = 1);
        *meter.of(&mut used.details) = 7;
        assert_eq!(one.cost(&used).unwrap().nanos(), thousandths * 7_000_000, "{meter:?}");
        assert_eq!(one.upper_bound_with(10, 10, &used.details).unwrap().nanos(), thousandths * 7_000_000);
        let all = Meters::used(&used.details);
        assert_eq!((Meters::default().with(meter).without_rate(&one), all.without_rate(&Price::FREE)), (None, None));
        assert_ne!(all.without_rate(&one), None);
    }
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
        let mut items: Vec<Item> = price.items(&usage, usage.input_tokens).collect();
        let whole = sum(items.clone()).unwrap();
        for at in (1..items.len()).rev() {
            items.swap(at, seed.rotate_right(at as u32 * 3) as usize % (at + 1));
        }
        prop_assert_eq!(sum(items).unwrap(), whole);
    }

    /// I8: what a call used may be told in any parts: before rounding they cost what the whole does, and each
    /// rounding moves a sum by half a nano at most.
    #[test]
    fn i8_cost_does_not_depend_on_how_the_usage_is_split(price in priced(), parts in parts(), cut in prop::array::uniform6(0u64..=1 << 20)) {
        let whole = usage_of(parts);
        let first: [u64; 6] = std::array::from_fn(|at| cut[at].min(parts[at]));
        let rest: [u64; 6] = std::array::from_fn(|at| parts[at] - first[at]);
        let picos = |usage: &Usage| sum(price.items(usage, whole.input_tokens)).unwrap();
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
