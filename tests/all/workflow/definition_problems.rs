//! `docs/problems.md` is printed from the table of problems; `BLITZ_BLESS=1` writes it anew.

use std::fmt::Write;
use std::fs;

use blitz::{ProblemCode, Severity};

use crate::source::workspace;

const INTRODUCTION: &str = "\
# Problems of a workflow

`workflows.validate` and `workflows.publish` say everything that is wrong with a definition at once. Each problem has one of these
codes, the node or edge it is about, its place as a JSON pointer, and a fix where one is known. **Errors** keep a draft from being
published, **warnings** do not.

This page is printed from the table of codes by a test.

| code | severity | meaning |
|---|---|---|
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for code in ProblemCode::ALL {
        let severity = match code.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(page, "| `{}` | {severity} | {} |", code.name(), code.meaning()).expect("a String takes any text");
    }
    page
}

#[test]
fn the_page_of_problems_is_the_table() {
    let path = workspace().join("docs/problems.md");
    if std::env::var_os("BLITZ_BLESS").is_some() {
        fs::write(&path, page()).expect("docs/problems.md can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/problems.md is not the table any more: run the tests once with BLITZ_BLESS=1");
}

#[test]
fn codes_are_unique_and_say_their_severity() {
    for (place, code) in ProblemCode::ALL.iter().enumerate() {
        assert!(!ProblemCode::ALL[..place].iter().any(|other| other.name() == code.name()), "{}", code.name());
        assert_eq!(code.name().starts_with("E_"), code.severity() == Severity::Error, "{}", code.name());
        assert!(!code.meaning().is_empty());
    }
}
