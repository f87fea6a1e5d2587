//! Filters, tests and methods that an expression uses: of those that do not exist it is told by name when it is
//! checked; where it runs all the same, it fails at them.

use minijinja::{Environment, ErrorKind};

use super::scan::{Use, uses};
use crate::workflow::validate::graph::nearest;

/// Filters that one may have meant; what is there is asked of the environment.
const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "default",
    "dictsort",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "zip",
];
const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];
/// What other languages call them.
const OTHERS: &[(&str, &str)] = &[
    ("uppercase", "upper"),
    ("toUpperCase", "upper"),
    ("lowercase", "lower"),
    ("toLowerCase", "lower"),
    ("len", "length"),
    ("size", "length"),
    ("strip", "trim"),
    ("uniq", "unique"),
    ("json", "tojson"),
    ("to_json", "tojson"),
    ("str", "string"),
    ("keys", "list"),
    ("includes", "in"),
    ("startswith", "startingwith"),
    ("startsWith", "startingwith"),
    ("endswith", "endingwith"),
    ("endsWith", "endingwith"),
    ("null", "none"),
    ("object", "mapping"),
    ("dict", "mapping"),
    ("array", "sequence"),
];

/// What there is not, each as a sentence with what may have been meant.
pub(super) fn absent(source: &str, roots: &[&str], environment: &Environment<'_>) -> impl Iterator<Item = String> {
    uses(source, roots).into_iter().filter_map(|used| match used {
        Use::Filter(name) if !is_filter(environment, &name) => Some(unknown("filter", &name, FILTERS)),
        Use::Test(name) if !is_test(environment, &name) => Some(unknown("test", &name, TESTS)),
        Use::Method(name) => {
            let instead = if is_filter(environment, &name) { Some(name.as_str()) } else { meant(&name, FILTERS) };
            let hint = instead.map_or("use a filter, as in inputs.text|upper".to_owned(), |filter| {
                format!("use the filter {filter}, as in inputs.text|{filter}")
            });
            Some(format!("values have no method {}(): {hint}", shown(&name)))
        }
        Use::Filter(_) | Use::Test(_) => None,
    })
}

fn unknown(noun: &str, name: &str, known: &[&'static str]) -> String {
    let hint = meant(name, known).map_or(String::new(), |near| format!("; did you mean {near}?"));
    format!("there is no {noun} {}{hint}", shown(name))
}

fn meant(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let other = OTHERS.iter().find(|(other, ours)| *other == name && known.contains(ours)).map(|(_, ours)| *ours);
    other.or_else(|| nearest(name, known.iter().copied()))
}

fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

fn is_filter(environment: &Environment<'_>, name: &str) -> bool {
    let tried = environment.empty_state().apply_filter(name, &[]);
    !matches!(tried, Err(error) if error.kind() == ErrorKind::UnknownFilter)
}

fn is_test(environment: &Environment<'_>, name: &str) -> bool {
    let tried = environment.empty_state().perform_test(name, &[]);
    !matches!(tried, Err(error) if error.kind() == ErrorKind::UnknownTest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_exists() {
        let environment = &super::super::ENVIRONMENT;
        FILTERS.iter().for_each(|name| assert!(is_filter(environment, name), "{name}"));
        TESTS.iter().for_each(|name| assert!(is_test(environment, name), "{name}"));
        let offered = |name: &&str| FILTERS.contains(name) || TESTS.contains(name);
        assert!(OTHERS.iter().all(|(_, ours)| offered(ours)));
        assert!(!is_filter(environment, "uppercase") && !is_test(environment, "uppercase"));
    }
}
