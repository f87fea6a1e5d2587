//! Arithmetic, safe and bounded.

use std::sync::LazyLock;

use minijinja::value::{Rest, Value as JinjaValue};
use minijinja::{Environment, Error as JinjaError, ErrorKind};
use serde::Deserialize;
use serde_json::{Number, Value};

use crate::tool::{FunctionTool, ToolError};

/// The most characters of an expression.
const MAX_EXPRESSION: usize = 1_000;
/// Units of work of one expression: about one per number or operator.
const FUEL: u64 = 10_000;
/// The largest whole number that a double holds exactly.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

const DESCRIPTION: &str = "Computes one arithmetic expression and gives a number. Operators: + - * / // (whole division) \
% ** (power; ^ is not power) and parentheses. Functions: sqrt, ln, log10, exp, pow(x, y), abs, round(x, digits), floor, \
ceil, min, max, sum, avg. Constants: pi, e. Whole numbers are exact up to 2**127, all else has the precision of a double.";

#[derive(Deserialize, schemars::JsonSchema)]
struct CalculatorArgs {
    /// The expression, such as `12.5 * (3 + 4) ** 2`.
    expression: String,
}

/// The calculator as a tool.
pub(super) fn tool() -> FunctionTool {
    FunctionTool::new("calculator", DESCRIPTION, |arguments: CalculatorArgs| {
        std::future::ready(evaluate(&arguments.expression).map_err(ToolError::Retry))
    })
    .pure()
}

/// The number that an expression gives. Errors: what is wrong, for the model.
fn evaluate(expression: &str) -> Result<Value, String> {
    let expression = admit(expression)?;
    let compiled = ENVIRONMENT.compile_expression(&expression).map_err(|error| told(&error))?;
    let value = compiled.eval(()).map_err(|error| told(&error))?;
    if !value.is_number() {
        return Err("the result is not a number".to_owned());
    }
    number(&value).ok_or_else(|| "the result is not a finite number".to_owned())
}

/// Only characters of arithmetic: no text, lists, names with dots or filters reach the evaluator.
fn admit(expression: &str) -> Result<String, String> {
    if expression.chars().count() > MAX_EXPRESSION {
        return Err(format!("the expression is longer than {MAX_EXPRESSION} characters"));
    }
    let expression = expression.replace(['×', '·'], "*").replace('÷', "/").replace(['−', '–'], "-");
    match expression
        .chars()
        .find(|&c| !(c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "_.+-*/%(),".contains(c)))
    {
        None if unclear_power(&expression) => {
            Err("a sign or a second ** before ** is not clear: write -(2 ** 2) or (-2) ** 2, and (2 ** 3) ** 2"
                .to_owned())
        }
        None => Ok(expression),
        Some('^') => Err("^ is not power here: write 2 ** 3".to_owned()),
        Some('!') => Err("there is no factorial".to_owned()),
        Some(other) => Err(format!("{other:?} is not part of arithmetic")),
    }
}

/// Whether some `**` has a base with a sign or is one of a chain: people and evaluators read those differently.
fn unclear_power(expression: &str) -> bool {
    expression.match_indices("**").any(|(at, _)| {
        let before = before_operand(expression[..at].trim_end()).trim_end();
        let signed = before.strip_suffix(['-', '+']).map(str::trim_end);
        before.ends_with("**")
            || signed.is_some_and(|left| left.is_empty() || left.ends_with(['+', '-', '*', '/', '%', '(', ',']))
    })
}

/// What stands before the number, name or bracket that a text ends with.
fn before_operand(text: &str) -> &str {
    let mut depth = 0usize;
    let opens = |(_, c): &(usize, char)| {
        depth = if *c == ')' { depth + 1 } else { depth.saturating_sub(usize::from(*c == '(')) };
        depth == 0
    };
    let end = match text.ends_with(')') {
        true => text.char_indices().rev().find(opens).map_or(0, |(at, _)| at),
        false => text.len(),
    };
    text[..end].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

fn number(value: &JinjaValue) -> Option<Value> {
    if value.is_integer()
        && let Ok(whole) = i64::try_from(value.clone())
    {
        return Some(whole.into());
    }
    let float = f64::try_from(value.clone()).ok()?;
    if float.fract() == 0.0 && float.abs() < MAX_EXACT {
        return Some((float as i64).into());
    }
    Number::from_f64(float).map(Value::Number)
}

/// The evaluator's words about the model's own expression.
fn told(error: &JinjaError) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "the expression is too much work".to_owned(),
        (ErrorKind::UndefinedError, _) => "there is a name that is neither a function nor pi or e".to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_global("pi", std::f64::consts::PI);
    environment.add_global("e", std::f64::consts::E);
    environment.add_function("sqrt", |x: f64| finite(x.sqrt()));
    environment.add_function("ln", |x: f64| finite(x.ln()));
    environment.add_function("log10", |x: f64| finite(x.log10()));
    environment.add_function("exp", |x: f64| finite(x.exp()));
    environment.add_function("pow", |x: f64, y: f64| finite(x.powf(y)));
    environment.add_function("abs", |x: f64| finite(x.abs()));
    environment.add_function("floor", |x: f64| finite(x.floor()));
    environment.add_function("ceil", |x: f64| finite(x.ceil()));
    environment.add_function("round", |x: f64, digits: Option<i32>| {
        let scale = 10f64.powi(digits.unwrap_or(0).clamp(-15, 15));
        finite((x * scale).round() / scale)
    });
    environment.add_function("min", |numbers: Rest<f64>| finite(numbers.iter().copied().fold(f64::NAN, f64::min)));
    environment.add_function("max", |numbers: Rest<f64>| finite(numbers.iter().copied().fold(f64::NAN, f64::max)));
    environment.add_function("sum", |numbers: Rest<f64>| finite(numbers.iter().sum()));
    environment.add_function("avg", |numbers: Rest<f64>| finite(numbers.iter().sum::<f64>() / numbers.len() as f64));
    environment
});

fn finite(x: f64) -> Result<f64, JinjaError> {
    if x.is_finite() {
        Ok(x)
    } else {
        Err(JinjaError::new(ErrorKind::InvalidOperation, "no finite number comes of it"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn arithmetic_is_right() {
        for (expression, result) in [
            ("2 + 3", json!(5)),
            ("12.5 * (3+4)", json!(87.5)),
            ("1/4*4", json!(1)),
            ("7 // 2 + 7 % 2", json!(4)),
            ("2 ** 10", json!(1024)),
            ("-(2 ** 2) + (-2) ** 2 + 3 - 2 ** 2", json!(-1)),
            ("(2 ** 3) ** 2 + 2 ** (1 + 1) - sqrt(4) ** 2", json!(64)),
            ("9 × 3 ÷ 2 − 1", json!(12.5)),
            ("sqrt(16) + abs(-2) + floor(2.7) + ceil(2.1) + round(2.345, 2)", json!(13.35)),
            ("min(100, 12 + 3*4)", json!(24)),
            ("max(1, 2, 3) + sum(1, 2, 3) + avg(1, 2, 3)", json!(11)),
            ("round(ln(e) + log10(1000) + exp(0) + pow(2, 3))", json!(13)),
            ("round(1000 * pi)", json!(3142)),
            ("9007199254740993 + 0", json!(9_007_199_254_740_993i64)),
        ] {
            assert_eq!(evaluate(expression).unwrap(), result, "{expression}");
        }
    }

    #[test]
    fn what_cannot_be_computed_is_refused_quickly() {
        let start = Instant::now();
        let long = "1+".repeat(5_000) + "1";
        let deep = "(".repeat(499) + "1" + &")".repeat(499);
        for expression in [
            "1/0",
            "1 // 0",
            "1 % 0",
            "0 ** -1",
            "2**200",
            "10**10**10",
            "sqrt(-1)",
            "ln(0)",
            "exp(1000)",
            "min()",
            "avg()",
            "1e308 * 10",
            "1e999",
            "2 ^ 3",
            "5!",
            "",
            "  ",
            "()",
            "1, 2",
            "'a' * 100000",
            "[1] * 9",
            "x + 1",
            "-2 ** 2",
            "3 * -2 ** 2",
            "(-sqrt(4) ** 2)",
            "-(1 + 1) ** 2",
            "2 ** 3 ** 2",
            "range(9)",
            "sqrt",
            "True",
            "abs(1).real",
            "sqrt('4')",
            "1 +",
            "１+１",
            &long,
            &deep,
        ] {
            assert!(evaluate(expression).is_err(), "{expression} gave {:?}", evaluate(expression));
        }
        assert!(evaluate("2 ^ 3").unwrap_err().contains("2 ** 3"));
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    proptest! {
        /// Whatever a model writes, there is a finite number or a reason, and soon.
        #[test]
        fn any_expression_ends(expression in r"[0-9.+\-*/%(), a-z]{0,60}") {
            if let Ok(value) = evaluate(&expression) {
                prop_assert!(value.as_f64().is_some_and(f64::is_finite));
            }
        }

        #[test]
        fn whole_sums_are_exact(a in -1_000_000_000_000i64..1_000_000_000_000, b in -1_000_000_000_000i64..1_000_000_000_000) {
            prop_assert_eq!(evaluate(&format!("{a} + ({b})")).unwrap(), json!(a + b));
        }
    }
}
