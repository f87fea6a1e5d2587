//! Arithmetic in plain words: `what is 12.5 * (3 + 4)`, `add 2 and 3`.

/// A sum of two numbers, for tools that take two.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Binary {
    pub(super) left: f64,
    pub(super) operator: char,
    pub(super) right: f64,
}

/// The longest text that arithmetic is looked for in: a document is not a question.
const MAX_TEXT: usize = 2_000;

/// Words between two numbers, and the operator they mean.
const INFIX: [(&str, &str); 6] = [
    (" plus ", " + "),
    (" minus ", " - "),
    (" times ", " * "),
    (" multiplied by ", " * "),
    (" divided by ", " / "),
    (" over ", " / "),
];
/// Words before two numbers joined by `and`, `by` or `with`.
const PREFIX: [(&str, &str); 7] = [
    ("add ", " + "),
    ("sum of ", " + "),
    ("multiply ", " * "),
    ("product of ", " * "),
    ("divide ", " / "),
    ("quotient of ", " / "),
    ("difference of ", " - "),
];
const ASKING: [&str; 6] = ["what is", "calculate", "compute", "solve", "how much", "evaluate"];

/// The first arithmetic expression of a text, with plain operators.
pub(super) fn expression(text: &str) -> Option<String> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let mut text =
        text.to_lowercase().replace(['×', '·'], "*").replace('÷', "/").replace(['−', '–'], "-").replace('^', "**");
    for (words, operator) in INFIX {
        text = text.replace(words, operator);
    }
    let asked = ASKING.iter().any(|words| text.contains(words)) || text.contains('=');
    let runs = text.split(|c: char| !(c.is_ascii_digit() || " .+-*/%()".contains(c)));
    runs.filter_map(|run| trimmed(run, asked)).next().or_else(|| prefixed(&text))
}

/// The two numbers and the operator of an expression that has no more.
pub(super) fn binary(expression: &str) -> Option<Binary> {
    let start = expression.find(|c: char| c.is_ascii_digit())?;
    let (at, operator) = expression.char_indices().skip(start).find(|(_, c)| "+-*/".contains(*c))?;
    let left = expression[..at].trim().parse().ok()?;
    let right = expression[at + 1..].trim().parse().ok()?;
    Some(Binary { left, operator, right })
}

/// A run of arithmetic characters, if it is an expression: numbers, operators, whole brackets.
fn trimmed(run: &str, asked: bool) -> Option<String> {
    let run = run.trim().trim_end_matches(|c: char| ".+-*/(".contains(c) || c == ' ');
    let run = run.trim_start_matches(|c: char| ".+*/%) ".contains(c));
    let balance = run.chars().try_fold(0i32, |depth, c| match c {
        '(' => Some(depth + 1),
        ')' => (depth > 0).then_some(depth - 1),
        _ => Some(depth),
    });
    let numbers = run.split(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|part| !part.is_empty()).count();
    // `10-12`, `24/7` and dates are no sums unless somebody asks.
    let clear =
        asked || run.contains(['+', '*']) || [" - ", " / ", " % "].iter().any(|operator| run.contains(operator));
    let joined = run.split_whitespace().collect::<Vec<_>>().join(" ");
    let operated = run.trim_start_matches('-').contains(['+', '-', '*', '/', '%']);
    (balance == Some(0) && numbers >= 2 && operated && clear && !two_numbers_touch(&joined)).then_some(joined)
}

/// Whether two numbers stand side by side without an operator, as in a list.
fn two_numbers_touch(run: &str) -> bool {
    let number = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit() || c == '.');
    run.match_indices(' ').any(|(at, _)| number(run[..at].chars().next_back()) && number(run[at + 1..].chars().next()))
}

fn prefixed(text: &str) -> Option<String> {
    PREFIX.iter().find_map(|(words, operator)| {
        let (_, rest) = text.split_once(words)?;
        let numbers: Vec<&str> =
            rest.split_whitespace().map(|word| word.trim_matches(|c| ".,?!\"}".contains(c))).take(3).collect();
        let [left, "and" | "by" | "with" | "to", right] = numbers[..] else { return None };
        left.parse::<f64>().ok()?;
        right.parse::<f64>().ok()?;
        Some(format!("{left}{operator}{right}"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_found_in_questions() {
        for (text, found) in [
            ("2 + 3?", "2 + 3"),
            (r#"{"question":"2 + 3?"}"#, "2 + 3"),
            ("what is 12.5 * (3+4)?", "12.5 * (3+4)"),
            ("What is 10-4", "10-4"),
            ("How much is 6 times 7.", "6 * 7"),
            ("please add 2 and 3.5!", "2 + 3.5"),
            ("the product of 4 and 5", "4 * 5"),
            ("2^8 = ?", "2**8"),
            ("9 ÷ 3 × 2", "9 / 3 * 2"),
        ] {
            assert_eq!(expression(text).as_deref(), Some(found), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_arithmetic_is_left() {
        for text in [
            "",
            "pages 10-12",
            "24/7",
            "2024-01-02",
            "version 1.2.3",
            "a - b",
            "1 2 3",
            "(",
            "5",
            "- 5",
            "C++ and C",
            "2 + ",
        ] {
            assert_eq!(expression(text), None, "{text}");
        }
    }

    #[test]
    fn two_numbers_are_told_apart() {
        assert_eq!(binary("2 + 3"), Some(Binary { left: 2.0, operator: '+', right: 3.0 }));
        assert_eq!(binary("-2 * -3.5"), Some(Binary { left: -2.0, operator: '*', right: -3.5 }));
        for more in ["1 + 2 + 3", "12.5 * (3+4)", "2**8", "5"] {
            assert_eq!(binary(more), None, "{more}");
        }
    }
}
