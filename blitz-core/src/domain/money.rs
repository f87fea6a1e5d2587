//! Integer money: [`Money`] in nano-USD, [`Rate`] in pico-USD per unit. No floats on any path.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// An amount of money in whole nano-USD (1e-9 USD).
///
/// Units: nano-USD in an `i64`, up to about 9.2 billion USD. JSON form: a decimal string of USD
/// such as `"0.0125"`; a JSON number is read by its text. Arithmetic is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i64);

#[allow(clippy::should_implement_trait, reason = "a sum that overflows is an error, which no operator can give")]
impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);
    /// The largest amount.
    pub const MAX: Money = Money(i64::MAX);

    /// An amount of whole nano-USD.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The amount in whole nano-USD.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Reads a decimal string of USD; at most nine decimals.
    ///
    /// Errors: `InvalidInput` for anything but an optional sign, digits and one point.
    pub fn parse(text: &str) -> Result<Self> {
        let nanos = parse_decimal(text, 9)?;
        i64::try_from(nanos).map(Self).map_err(|_| Error::invalid("the amount of money is out of range"))
    }

    /// The sum. Errors: `InvalidInput` on overflow.
    pub fn add(self, other: Money) -> Result<Money> {
        self.0.checked_add(other.0).map(Money).ok_or_else(|| Error::invalid("an amount of money overflows"))
    }

    /// The difference. Errors: `InvalidInput` on overflow.
    pub fn sub(self, other: Money) -> Result<Money> {
        self.0.checked_sub(other.0).map(Money).ok_or_else(|| Error::invalid("an amount of money overflows"))
    }

    /// The sum, held at the largest amount: for bounds only, never for booking.
    pub fn saturating_add(self, other: Money) -> Money {
        Money(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_decimal(i128::from(self.0), 9))
    }
}

/// The price of one unit (a token, a call, a second) in whole pico-USD (1e-12 USD).
///
/// JSON form: a decimal string of USD per unit such as `"0.0000025"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rate(i64);

impl Rate {
    /// Free.
    pub const ZERO: Rate = Rate(0);

    /// A price of whole pico-USD per unit.
    pub const fn from_picos(picos: i64) -> Self {
        Self(picos)
    }

    /// The price in whole pico-USD per unit.
    pub const fn picos(self) -> i64 {
        self.0
    }

    /// Reads a decimal string of USD per unit; at most twelve decimals, never negative.
    ///
    /// Errors: `InvalidInput`.
    pub fn parse(text: &str) -> Result<Self> {
        let picos = parse_decimal(text, 12)?;
        if picos < 0 {
            return Err(Error::invalid("a price may not be negative"));
        }
        i64::try_from(picos).map(Self).map_err(|_| Error::invalid("the price is out of range"))
    }

    /// Reads a decimal string of USD per million units, as price pages print it.
    ///
    /// Errors: `InvalidInput`.
    pub fn parse_per_million(text: &str) -> Result<Self> {
        let picos = parse_decimal(text, 6)?;
        if picos < 0 {
            return Err(Error::invalid("a price may not be negative"));
        }
        i64::try_from(picos).map(Self).map_err(|_| Error::invalid("the price is out of range"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_decimal(i128::from(self.0), 12))
    }
}

/// Hundredths of a pico in a nano: costs are summed in those, so that a percentage of a rate is exact.
const NANO: i128 = 100_000;

/// Hundredths of picos rounded half-even to whole nanos: the one rounding of a cost. Errors: `InvalidInput` on overflow.
pub(crate) fn nanos_half_even(hundredths: i128) -> Result<Money> {
    let (whole, rest) = (hundredths.div_euclid(NANO), hundredths.rem_euclid(NANO));
    let up = rest > NANO / 2 || (rest == NANO / 2 && whole % 2 != 0);
    to_money(whole + i128::from(up))
}

/// Hundredths of picos rounded up to whole nanos: for reservations. Errors: `InvalidInput` on overflow.
pub(crate) fn nanos_up(hundredths: i128) -> Result<Money> {
    to_money(hundredths.div_euclid(NANO) + i128::from(hundredths.rem_euclid(NANO) != 0))
}

fn to_money(nanos: i128) -> Result<Money> {
    i64::try_from(nanos).map(Money).map_err(|_| Error::invalid("a cost is out of range"))
}

fn parse_decimal(text: &str, decimals: usize) -> Result<i128> {
    let bad = || Error::invalid("a decimal number such as \"0.25\" is expected");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    // JSON numbers keep their text, and writers may print small ones as 2.5e-6.
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| bad())?),
        None => (digits, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || digits.ends_with('.') || text.len() > 40 {
        return Err(bad());
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().map_err(|_| bad())?;
    let shift = i64::from(exponent) - fraction.len() as i64 + decimals as i64;
    let value = if mantissa == 0 {
        0
    } else if shift >= 0 {
        let factor = u32::try_from(shift).ok().and_then(|s| 10i128.checked_pow(s)).ok_or_else(bad)?;
        mantissa.checked_mul(factor).ok_or_else(bad)?
    } else {
        let divisor = u32::try_from(-shift).ok().and_then(|s| 10i128.checked_pow(s)).ok_or_else(bad)?;
        if mantissa % divisor != 0 {
            return Err(Error::invalid(format!("at most {decimals} decimals are kept, this number has more")));
        }
        mantissa / divisor
    };
    Ok(if negative { -value } else { value })
}

fn print_decimal(value: i128, decimals: u32) -> String {
    let scale = 10i128.pow(decimals);
    let sign = if value < 0 { "-" } else { "" };
    let (whole, fraction) = (value.abs() / scale, value.abs() % scale);
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let digits = format!("{fraction:0width$}", width = decimals as usize);
    format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// Reads a decimal from a JSON string or from the text of a JSON number, never through a float.
fn decimal_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    match value {
        serde_json::Value::String(text) => Ok(text),
        // serde_json prints the shortest text that reads back to the same number, so `0.1` stays "0.1".
        serde_json::Value::Number(number) => Ok(number.to_string()),
        _ => Err(serde::de::Error::custom("a decimal string such as \"0.25\" is expected")),
    }
}

macro_rules! decimal_serde {
    ($name:ident, $example:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $name::parse(&decimal_text(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": ["string", "number"], "description": "decimal USD, as a string", "examples": [$example]})
            }
        }
    };
}
decimal_serde!(Money, "0.25");
decimal_serde!(Rate, "0.0000025");

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_prints_decimals_exactly() {
        for (text, nanos) in
            [("0", 0), ("0.000000001", 1), ("12.5", 12_500_000_000), ("-3", -3_000_000_000), ("2.5e-6", 2500)]
        {
            assert_eq!(Money::parse(text).unwrap().nanos(), nanos, "{text}");
        }
        assert_eq!(Money::from_nanos(12_500_000_000).to_string(), "12.5");
        assert_eq!(Rate::parse_per_million("2.50").unwrap(), Rate::parse("0.0000025").unwrap());
    }

    #[test]
    fn t04_refuses_what_is_no_price() {
        for text in [
            "",
            "NaN",
            "Infinity",
            "1e400",
            "-5",
            "1,5",
            "0.00000000000000000001",
            "1.",
            ".5",
            "+1",
            " 1",
            "0x1",
            "1e",
            "--1",
        ] {
            assert!(Rate::parse(text).is_err(), "{text:?} was read as a price");
        }
    }

    proptest! {
        #[test]
        fn printing_then_reading_gives_the_same(nanos in any::<i64>()) {
            let money = Money::from_nanos(nanos);
            prop_assert_eq!(Money::parse(&money.to_string()).unwrap(), money);
            let json = serde_json::to_string(&money).unwrap();
            prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
        }

        #[test]
        fn rounds_half_even_and_reservations_up(picos in -1_000_000_000i128..1_000_000_000) {
            let even = i128::from(nanos_half_even(picos * 100).unwrap().nanos());
            prop_assert!((even * 1000 - picos).abs() <= 500);
            if (even * 1000 - picos).abs() == 500 { prop_assert_eq!(even % 2, 0); }
            let up = i128::from(nanos_up(picos * 100).unwrap().nanos());
            prop_assert!(up * 1000 >= picos && up * 1000 - picos < 1000);
        }
    }
}
