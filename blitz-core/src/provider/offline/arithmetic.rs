//! Arithmetic in what people write: where it stands, and how it is worked out step by step.

/// The most levels of brackets.
const MAX_DEPTH: usize = 16;
/// The most operations of one calculation.
const MAX_OPERATIONS: usize = 100;
/// Functions that calculators know.
const FUNCTIONS: &[&str] =
    &["abs", "ceil", "cos", "exp", "floor", "ln", "log", "log10", "max", "min", "pow", "round", "sin", "sqrt", "tan"];
/// What comes before a calculation that a person wants done.
const CUES: &[&str] = &[
    "what is",
    "what's",
    "calculate",
    "compute",
    "evaluate",
    "how much",
    "result of",
    "value of",
    "solve",
    "work out",
    "tell me",
];
/// Bytes before a calculation in which a cue is looked for.
const CUE_REACH: usize = 40;

/// An operator between two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
}

impl Operator {
    fn sign(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Remainder => "%",
            Operator::Power => "**",
        }
    }

    fn precedence(self) -> u8 {
        match self {
            Operator::Add | Operator::Subtract => 1,
            Operator::Multiply | Operator::Divide | Operator::Remainder => 2,
            Operator::Power => 3,
        }
    }

    /// What tools for it are called.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Operator::Add => &["add", "adds", "adding", "addition", "plus", "sum", "sums"],
            Operator::Subtract => &["subtract", "subtracts", "subtraction", "minus", "sub", "difference"],
            Operator::Multiply => &["multiply", "multiplies", "multiplication", "times", "mul", "product"],
            Operator::Divide => &["divide", "divides", "division", "div", "quotient"],
            Operator::Remainder => &["remainder", "modulo", "mod"],
            Operator::Power => &["power", "pow"],
        }
    }
}

/// A calculation as a tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    Number(f64),
    Negative(Box<Term>),
    Binary(Operator, Box<Term>, Box<Term>),
    Call(String, Vec<Term>),
}

impl Term {
    fn binary(operator: Operator, left: Term, right: Term) -> Self {
        Term::Binary(operator, Box::new(left), Box::new(right))
    }

    /// The first operation whose two sides are numbers already.
    pub(super) fn next_operation(&self) -> Option<(Operator, f64, f64)> {
        match self {
            Term::Number(_) | Term::Call(..) => None,
            Term::Negative(inner) => inner.next_operation(),
            Term::Binary(operator, left, right) => match (left.number(), right.number()) {
                (Some(left), Some(right)) => Some((*operator, left, right)),
                _ => left.next_operation().or_else(|| right.next_operation()),
            },
        }
    }

    /// Puts the result of [`Self::next_operation`] in its place.
    pub(super) fn put(&mut self, result: f64) -> bool {
        match self {
            Term::Number(_) | Term::Call(..) => false,
            Term::Negative(inner) => inner.put(result),
            Term::Binary(_, left, right) if left.number().is_some() && right.number().is_some() => {
                *self = Term::Number(result);
                true
            }
            Term::Binary(_, left, right) => left.put(result) || right.put(result),
        }
    }

    /// The number that it is, a sign worked out.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Term::Number(number) => Some(*number),
            Term::Negative(inner) => inner.number().map(|number| -number),
            _ => None,
        }
    }

    /// Its operators; `None` where it calls a function.
    pub(super) fn operators(&self) -> Option<Vec<Operator>> {
        let mut found = Vec::new();
        self.collect_operators(&mut found).then_some(found)
    }

    fn collect_operators(&self, found: &mut Vec<Operator>) -> bool {
        match self {
            Term::Number(_) => true,
            Term::Negative(inner) => inner.collect_operators(found),
            Term::Binary(operator, left, right) => {
                found.push(*operator);
                left.collect_operators(found) && right.collect_operators(found)
            }
            Term::Call(..) => false,
        }
    }

    fn write(&self, outer: u8, text: &mut String) {
        match self {
            Term::Number(number) => text.push_str(&number.to_string()),
            Term::Negative(inner) => {
                let brackets = outer > Operator::Power.precedence();
                text.push_str(if brackets { "(-" } else { "-" });
                inner.write(Operator::Power.precedence(), text);
                text.push_str(if brackets { ")" } else { "" });
            }
            Term::Binary(operator, left, right) => {
                let own = operator.precedence();
                let brackets = own < outer;
                text.push_str(if brackets { "(" } else { "" });
                left.write(own + u8::from(*operator == Operator::Power), text);
                text.push_str(&format!(" {} ", operator.sign()));
                right.write(own + u8::from(*operator != Operator::Power), text);
                text.push_str(if brackets { ")" } else { "" });
            }
            Term::Call(name, arguments) => {
                text.push_str(name);
                text.push('(');
                for (index, argument) in arguments.iter().enumerate() {
                    text.push_str(if index > 0 { ", " } else { "" });
                    argument.write(0, text);
                }
                text.push(')');
            }
        }
    }
}

impl std::fmt::Display for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        self.write(0, &mut text);
        f.write_str(&text)
    }
}

/// The first calculation that a text asks for, in signs or in words.
pub(super) fn find(text: &str) -> Option<Term> {
    let mut at = 0;
    while let Some(skip) = text[at..].find(|c: char| c.is_ascii_digit() || matches!(c, '(' | '-' | 'a'..='z')) {
        let start = at + skip;
        if let Some((term, end)) = parse(text, start)
            && is_meant(text, start, end, &term)
        {
            return Some(term);
        }
        at = after_word(text, start);
    }
    in_words(text)
}

/// Where what begins at `start` ends: no calculation begins inside a word or number.
fn after_word(text: &str, start: usize) -> usize {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let rest = &text[start..];
    let len = rest.find(|c: char| !word(c)).unwrap_or(rest.len());
    start + if len == 0 { 1 } else { len }
}

/// Whether a piece of text is a calculation rather than a date, a range or a name.
fn is_meant(text: &str, start: usize, end: usize, term: &Term) -> bool {
    let touches = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '/' | '-' | ':'));
    if touches(text[..start].chars().next_back()) || touches(text[end..].chars().next()) {
        return false;
    }
    let goes_on = |c: char| matches!(c, '+' | '*' | '/' | '^' | '%' | '×' | '÷');
    if text[..start].trim_end().ends_with(goes_on) || text[end..].trim_start().starts_with(goes_on) {
        return false;
    }
    let Some(operators) = term.operators() else { return true };
    let clear = operators.iter().any(|operator| !matches!(operator, Operator::Subtract | Operator::Divide));
    let alone = text[..start].trim().is_empty() && text[end..].trim_matches([' ', '=', '?', '.', '\n']).is_empty();
    let asked = text[end..].trim_start().starts_with(['=', '?']);
    !operators.is_empty() && (clear || alone || asked || has_cue(&text[..start]))
}

fn has_cue(before: &str) -> bool {
    let from = before.floor_char_boundary(before.len().saturating_sub(CUE_REACH));
    let near = before[from..].to_lowercase();
    CUES.iter().any(|cue| near.contains(cue))
}

/// The calculation that begins at `start`, and where it ends.
fn parse(text: &str, start: usize) -> Option<(Term, usize)> {
    let mut parser = Parser { text, at: start, depth: 0, operations: 0, calls: 0 };
    let term = parser.sum(1)?;
    Some((term, parser.at))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    operations: usize,
    /// Function calls around this place: a comma is no part of a number there.
    calls: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Skips blanks, but no line's end: a calculation stands on one line.
    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\u{a0}']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        let taken = self.rest().starts_with(token);
        self.at += if taken { token.len() } else { 0 };
        taken
    }

    /// Operations that bind at least as strongly as `least`.
    fn sum(&mut self, least: u8) -> Option<Term> {
        let mut left = self.factor()?;
        loop {
            let end = self.at;
            self.blanks();
            let Some(operator) = self.operator().filter(|operator| operator.precedence() >= least) else {
                self.at = end;
                return Some(left);
            };
            self.blanks();
            let stronger = operator.precedence() + u8::from(operator != Operator::Power);
            let Some(right) = self.sum(stronger) else {
                self.at = end;
                return Some(left);
            };
            left = Term::binary(operator, left, right);
        }
    }

    fn operator(&mut self) -> Option<Operator> {
        const SIGNS: &[(&str, Operator)] = &[
            ("**", Operator::Power),
            ("^", Operator::Power),
            ("+", Operator::Add),
            ("-", Operator::Subtract),
            ("−", Operator::Subtract),
            ("*", Operator::Multiply),
            ("×", Operator::Multiply),
            ("/", Operator::Divide),
            ("÷", Operator::Divide),
            ("%", Operator::Remainder),
            ("plus ", Operator::Add),
            ("minus ", Operator::Subtract),
            ("times ", Operator::Multiply),
            ("multiplied by ", Operator::Multiply),
            ("divided by ", Operator::Divide),
        ];
        SIGNS.iter().find(|(sign, _)| self.take(sign)).map(|(_, operator)| *operator)
    }

    fn factor(&mut self) -> Option<Term> {
        self.depth += 1;
        self.operations += 1;
        let within = self.depth <= MAX_DEPTH && self.operations <= MAX_OPERATIONS;
        let term = if within { self.bare_factor() } else { None };
        self.depth -= 1;
        term
    }

    fn bare_factor(&mut self) -> Option<Term> {
        if self.take("-") || self.take("−") {
            return self.sum(Operator::Power.precedence()).map(|inner| Term::Negative(Box::new(inner)));
        }
        if self.take("(") {
            self.blanks();
            let inner = self.sum(1)?;
            self.blanks();
            return self.take(")").then_some(inner);
        }
        if self.rest().starts_with(|c: char| c.is_ascii_lowercase()) {
            self.call()
        } else {
            self.number().map(Term::Number)
        }
    }

    fn call(&mut self) -> Option<Term> {
        let len = self.rest().find(|c: char| !c.is_ascii_alphanumeric())?;
        let name = self.rest()[..len].to_owned();
        if !FUNCTIONS.contains(&name.as_str()) {
            return None;
        }
        self.at += len;
        self.calls += 1;
        let mut arguments = Vec::new();
        let mut separator = "(";
        while self.take(separator) {
            self.blanks();
            arguments.push(self.sum(1)?);
            self.blanks();
            separator = ",";
        }
        self.calls -= 1;
        (!arguments.is_empty() && self.take(")")).then_some(Term::Call(name, arguments))
    }

    /// A number such as `12`, `0.5` or `1,000,000`.
    fn number(&mut self) -> Option<f64> {
        let (number, len) = leading_number(self.rest(), self.calls == 0)?;
        self.at += len;
        Some(number)
    }
}

/// The number that a text begins with and its length; `grouped` allows commas between thousands.
fn leading_number(text: &str, grouped: bool) -> Option<(f64, usize)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut len = digits(text);
    let mut plain = text[..len].to_owned();
    let grouped = grouped && (1..=3).contains(&len);
    while grouped && text[len..].starts_with(',') && digits(&text[len + 1..]) == 3 {
        plain.push_str(&text[len + 1..len + 4]);
        len += 4;
    }
    if text[len..].starts_with('.') && digits(&text[len + 1..]) > 0 {
        let fraction = 1 + digits(&text[len + 1..]);
        plain.push_str(&text[len..len + fraction]);
        len += fraction;
    }
    plain.parse().ok().filter(|number: &f64| number.is_finite()).map(|number| (number, len))
}

/// `add 2 and 3`, `the sum of 2 and 3`, `subtract 3 from 10`.
fn in_words(text: &str) -> Option<Term> {
    const VERBS: &[(&str, Operator)] = &[
        ("add", Operator::Add),
        ("sum", Operator::Add),
        ("subtract", Operator::Subtract),
        ("difference", Operator::Subtract),
        ("multiply", Operator::Multiply),
        ("product", Operator::Multiply),
        ("divide", Operator::Divide),
    ];
    const BETWEEN: &[&str] = &["of", "between", "the", "numbers"];
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| word.trim_matches(['"', '\'', '?', '.', ',', '!', ':']).to_lowercase())
        .collect();
    words.iter().enumerate().find_map(|(at, word)| {
        let (_, operator) = VERBS.iter().find(|(verb, _)| verb == word)?;
        let mut rest = words[at + 1..].iter().skip_while(|word| BETWEEN.contains(&word.as_str()));
        let first = whole_number(rest.next()?)?;
        let joint = rest.next()?;
        let second = whole_number(rest.next()?)?;
        match joint.as_str() {
            "from" => Some(Term::binary(*operator, Term::Number(second), Term::Number(first))),
            "and" | "by" | "to" | "with" => Some(Term::binary(*operator, Term::Number(first), Term::Number(second))),
            _ => None,
        }
    })
}

fn whole_number(word: &str) -> Option<f64> {
    let (sign, digits) = word.strip_prefix('-').map_or((1.0, word), |digits| (-1.0, digits));
    leading_number(digits, true).filter(|(_, len)| *len == digits.len()).map(|(number, _)| sign * number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<String> {
        find(text).map(|term| term.to_string())
    }

    #[test]
    fn calculations_are_found_in_prose() {
        for (text, expected) in [
            ("2 + 3?", "2 + 3"),
            ("what is 12.5 * (3+4)", "12.5 * (3 + 4)"),
            ("Please compute 10/4.", "10 / 4"),
            ("7 - 2 =", "7 - 2"),
            ("10 - 4", "10 - 4"),
            ("How much is 1,250 × 3 in total?", "1250 * 3"),
            ("What is 2^10?", "2 ** 10"),
            ("say min(100, 4 * 12 + 3) now", "min(100, 4 * 12 + 3)"),
            ("what is -3 + 5?", "-3 + 5"),
            ("8 - (2 - 1) * 2 + 1", "8 - (2 - 1) * 2 + 1"),
            ("6 divided by 3 plus 4?", "6 / 3 + 4"),
            ("Add 2 and 3, please", "2 + 3"),
            ("subtract 3 from 10", "10 - 3"),
            ("The sum of 4 and -2.5.", "4 + -2.5"),
            ("(-2)^2 * -3", "(-2) ** 2 * -3"),
            ("max(100,200) + 1", "max(100, 200) + 1"),
        ] {
            assert_eq!(found(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn dates_ranges_and_names_are_no_calculations() {
        for text in [
            "on 2024-05-17",
            "from 2019 - 2024",
            "open 24/7",
            "pages 3-5 and 10/12/2024",
            "write C++11",
            "GPT-4 + tools",
            "5 apples",
            "3 * 4 + x",
            "x + 3 * 4",
            "* 1\n* 2",
            "add a note to 3",
            "version 1.2.3",
            "",
            "(((((((",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn a_calculation_is_worked_out_one_operation_at_a_time() {
        let mut term = find("2 + 3 * 4").unwrap();
        assert_eq!(term.next_operation(), Some((Operator::Multiply, 3.0, 4.0)));
        assert!(term.put(12.0));
        assert_eq!(term.next_operation(), Some((Operator::Add, 2.0, 12.0)));
        assert!(term.put(14.0));
        assert_eq!((term.number(), term.next_operation()), (Some(14.0), None));
        assert!(!term.put(1.0));
    }

    #[test]
    fn brackets_without_end_do_no_harm() {
        assert_eq!(found(&"(".repeat(5_000)), None);
        assert_eq!(found(&"-".repeat(5_000)), None);
        assert_eq!(found(&format!("{}1", "1 + ".repeat(1_000))), None);
    }
}
