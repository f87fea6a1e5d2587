//! `docs/errors.md` is printed from the code table; `BLITZ_BLESS=1` writes it anew.

use std::fmt::Write;
use std::fs;

use blitz::ErrorCode;
use blitz::error::Drawer;

use crate::source::workspace;

const INTRODUCTION: &str = "\
# Errors

Every error has one of these codes, the same in Rust (`ErrorCode`), Python (`error.code`) and C. Numbers are never reused.
*Who acts* says whose turn it is: the **caller** changes the call, the **world** failed and may recover, a **bug** is ours to
mend. *Retry* says whether the same call may succeed later without a change; a single error may know better.

This page is printed from the code table by a test.

| number | name | who acts | retry | meaning |
|---:|---|---|---|---|
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for code in ErrorCode::ALL {
        let drawer = match code.drawer() {
            Drawer::Caller => "caller",
            Drawer::World => "world",
            Drawer::Bug => "bug",
        };
        let retry = if code.retryable() { "yes" } else { "no" };
        let (number, name, meaning) = (*code as i32, code.name(), code.meaning());
        writeln!(page, "| {number} | `{name}` | {drawer} | {retry} | {meaning} |").expect("a String takes any text");
    }
    page
}

#[test]
fn the_page_of_errors_is_the_code_table() {
    let path = workspace().join("docs/errors.md");
    if std::env::var_os("BLITZ_BLESS").is_some() {
        fs::create_dir_all(workspace().join("docs")).expect("docs/ can be made");
        fs::write(&path, page()).expect("docs/errors.md can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/errors.md is not the code table any more: run the tests once with BLITZ_BLESS=1");
}

#[test]
fn numbers_and_names_of_errors_are_unique_and_in_order() {
    let numbers: Vec<i32> = ErrorCode::ALL.iter().map(|code| *code as i32).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "numbers rise and are never used twice: {numbers:?}");
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_name(code.name()), Some(*code), "{code} shares its name with another code");
        assert!(!code.meaning().is_empty(), "{code} has no meaning");
    }
}
