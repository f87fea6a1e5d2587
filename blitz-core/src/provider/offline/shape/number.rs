//! Numbers within the bounds of a schema, exact to the last decimal.

use serde_json::{Number, Value};

/// Decimals that are told apart.
const MAX_SCALE: u32 = 12;
/// Decimals beyond those of the bounds that a number without a step may have.
const SPARE_SCALE: u32 = 2;
/// The largest number that is looked at; bounds beyond it are no bounds in practice.
const HUGE: f64 = 18_446_744_073_709_551_616.0;

/// The numbers that a schema allows: whole multiples of a step, counted in units of 10^-scale.
pub(super) struct Range {
    /// The lower bound, if there is one.
    pub(super) min: Option<f64>,
    /// The upper bound, if there is one.
    pub(super) max: Option<f64>,
    low: i128,
    high: i128,
    step: i128,
    scale: u32,
}

impl Range {
    pub(super) fn of(schema: &Value, whole: bool) -> Self {
        let keys = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"];
        let [min, above, max, below, multiple] =
            keys.map(|key| schema.get(key).and_then(Value::as_number).map(Decimal::of));
        let all = || [min, above, max, below, multiple].into_iter().flatten();
        let spare = if whole || multiple.is_some() { 0 } else { SPARE_SCALE };
        let scale = (all().map(|bound| bound.scale).max().unwrap_or(0) + spare).min(MAX_SCALE);
        let one = 10i128.pow(scale);
        let limit = |bound: Option<Decimal>, away: i128| bound.map(|bound| bound.units(scale, away));
        let low = [limit(min, 1), limit(above, 1).map(|low| low + 1)].into_iter().flatten().max();
        let high = [limit(max, -1), limit(below, -1).map(|high| high - 1)].into_iter().flatten().min();
        let step = multiple.map(|multiple| multiple.units(scale, 1).abs()).filter(|step| *step > 0);
        let value = |units: i128| units as f64 / one as f64;
        Self {
            min: low.map(value),
            max: high.map(value),
            low: low.unwrap_or(i128::from(i64::MIN) * one),
            high: high.unwrap_or(i128::from(i64::MAX) * one),
            step: match step {
                Some(step) if whole => (step / gcd(step, one)).saturating_mul(one),
                Some(step) => step,
                None if whole => one,
                None => 1,
            },
            scale,
        }
    }

    /// The allowed number nearest to the wanted one, or for each `variant` another one.
    pub(super) fn nearest(&self, wanted: f64, variant: usize) -> Value {
        let one = 10i128.pow(self.scale);
        let first = self.low.div_euclid(self.step) + i128::from(self.low.rem_euclid(self.step) != 0);
        let last = self.high.div_euclid(self.step);
        let wanted = (wanted.clamp(-HUGE, HUGE) * one as f64).round() as i128;
        let nearest = (wanted + self.step / 2).div_euclid(self.step).clamp(first, last.max(first));
        // Without a step, variants are a whole number apart where there is room for that.
        let apart = if self.step == 1 && self.high - self.low > 2_000 * one { one } else { 1 };
        // Upwards as far as there is room, then downwards, then round again.
        let (above, count) = ((last - nearest).max(0) / apart, (last - first + 1).max(1));
        let variant = variant as i128;
        let away = if variant <= above { variant } else { above - variant };
        let index = (nearest - first + away * apart).rem_euclid(count);
        value((first + index) * self.step, self.scale)
    }
}

/// A number as whole units of 10^-scale.
#[derive(Clone, Copy)]
struct Decimal {
    number: f64,
    exact: Option<i128>,
    scale: u32,
}

impl Decimal {
    fn of(number: &Number) -> Self {
        let exact = number.as_i128();
        let number = number.as_f64().unwrap_or(0.0).clamp(-HUGE, HUGE);
        // Display gives the shortest decimal that means this number, without an exponent.
        let scale = number.to_string().split_once('.').map_or(0, |(_, decimals)| decimals.len() as u32);
        Self { number, exact, scale: if exact.is_some() { 0 } else { scale.min(MAX_SCALE) } }
    }

    /// In units of 10^-`scale`, rounded up where `away` is positive, else down.
    fn units(self, scale: u32, away: i128) -> i128 {
        let one = 10i128.pow(scale);
        if let Some(exact) = self.exact {
            return exact.clamp(-(HUGE as i128), HUGE as i128) * one;
        }
        let text = self.number.to_string();
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        let kept = &decimals[..decimals.len().min(scale as usize)];
        let digits: i128 = format!("{whole}{kept:0<width$}", width = scale as usize).parse().unwrap_or(0);
        // What is cut off is cut towards zero.
        let cut = decimals.len() > kept.len() && (self.number > 0.0) == (away > 0);
        digits + if cut { away } else { 0 }
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn value(units: i128, scale: u32) -> Value {
    let one = 10i128.pow(scale);
    if units % one == 0 {
        let whole = units / one;
        let exact = i64::try_from(whole).map(Value::from).or_else(|_| u64::try_from(whole).map(Value::from));
        return exact.unwrap_or_else(|_| Value::from(whole as f64));
    }
    let sign = if units < 0 { "-" } else { "" };
    let (whole, decimals) = (units.abs() / one, units.abs() % one);
    let text = format!("{sign}{whole}.{decimals:0width$}", width = scale as usize);
    text.parse().ok().and_then(Number::from_f64).map(Value::Number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nearest(schema: &Value, whole: bool, wanted: f64) -> Value {
        Range::of(schema, whole).nearest(wanted, 0)
    }

    #[test]
    fn numbers_are_the_nearest_allowed() {
        assert_eq!(nearest(&json!({}), true, 3.4), json!(3));
        assert_eq!(nearest(&json!({}), false, 3.456), json!(3.46));
        assert_eq!(nearest(&json!({"minimum": 1, "maximum": 5}), true, 80.0), json!(5));
        assert_eq!(nearest(&json!({"exclusiveMinimum": 0, "exclusiveMaximum": 1}), false, 7.0), json!(0.99));
        assert_eq!(nearest(&json!({"exclusiveMinimum": 1.5, "maximum": 2.5}), true, 0.0), json!(2));
        assert_eq!(nearest(&json!({"minimum": 0.15, "multipleOf": 0.1}), false, 0.0), json!(0.2));
        assert_eq!(nearest(&json!({"minimum": 1, "multipleOf": 1.5}), true, 0.0), json!(3));
        assert_eq!(nearest(&json!({"minimum": -7, "maximum": -3, "multipleOf": 2}), true, 0.0), json!(-4));
        assert_eq!(nearest(&json!({"minimum": u64::MAX}), true, 0.0), json!(u64::MAX));
    }

    #[test]
    fn variants_differ_as_long_as_there_are_any() {
        let range = Range::of(&json!({"minimum": 1, "maximum": 3}), true);
        let all: Vec<Value> = (0..4).map(|variant| range.nearest(2.0, variant)).collect();
        assert_eq!(all, [json!(2), json!(3), json!(1), json!(3)]);
        assert_eq!(Range::of(&json!({}), false).nearest(0.0, 2), json!(2));
    }

    #[test]
    fn bounds_that_leave_nothing_do_no_harm() {
        nearest(&json!({"minimum": 5, "maximum": 1}), true, 0.0);
        nearest(&json!({"minimum": 0.1, "maximum": 0.2}), true, 0.0);
        nearest(&json!({"multipleOf": 0}), false, f64::NAN);
        nearest(&json!({"minimum": 1e300}), true, 0.0);
        nearest(&json!({"multipleOf": 1e-300, "minimum": -1e300, "maximum": f64::MAX}), false, f64::INFINITY);
    }
}
