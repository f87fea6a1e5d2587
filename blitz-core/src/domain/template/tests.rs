use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::TemplateFormat::{Auto, Braces, Jinja};
use super::*;
use crate::error::ErrorCode;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn braces(template: &str, values: Value) -> String {
    render(Braces, template, &map(values)).unwrap()
}

fn jinja(template: &str, values: Value) -> String {
    render(Jinja, template, &map(values)).unwrap()
}

/// The error of a rendering that must not take long.
fn jinja_error(template: &str, values: Value) -> Error {
    let start = Instant::now();
    let error = check(Jinja, template).and_then(|()| render(Jinja, template, &map(values))).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(10), "{template} took {:?}", start.elapsed());
    error
}

#[test]
fn the_format_is_found_in_the_text() {
    assert_eq!(detect("Summarise {text}"), Braces);
    assert_eq!(detect("{{literal}}"), Braces);
    for text in ["{{ x }}", "{% if x %}", "{# note #}"] {
        assert_eq!(detect(text), Jinja);
    }
    assert_eq!(render(Auto, "{{ x }}", &map(json!({"x": 1}))).unwrap(), "1");
}

#[test]
fn braces_take_names_and_paths() {
    let values = json!({"user": {"name": "Ana", "tags": ["a", "b"]}, "n": 2.5, "ok": true, "no": null});
    assert_eq!(braces("{user.name} {user.tags.1} {n} {ok} {no}", values.clone()), "Ana b 2.5 true null");
    assert_eq!(braces("{user}", values), r#"{"name":"Ana","tags":["a","b"]}"#);
}

#[test]
fn braces_leave_all_other_braces() {
    for text in [
        r#"{"a": {"b": {"c": 1}}}"#,
        "{ x }",
        "{}",
        "{1}",
        "{a b}",
        "{a..b}",
        "{a.}",
        "é{",
        "}",
        "fn f() { x }",
        "{x",
        "ü}}",
    ] {
        assert_eq!(braces(text, json!({})), text);
    }
    assert_eq!(braces(r#"{{"a": {{"b": {x}}}}}"#, json!({"x": 1})), r#"{"a": {"b": 1}}"#);
    assert_eq!(braces("{{x}}", json!({"x": 1})), "{x}");
}

#[test]
fn a_name_without_a_value_is_named_with_its_line() {
    let error = render(Braces, "one\ntwo {nme}", &map(json!({"name": "secret"}))).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Expression);
    assert_eq!(error.to_string(), "line 2: nme has no value; there is: name");
    let error = jinja_error("\n{{ user.nme }}", json!({"user": {"name": "secret"}}));
    assert_eq!(error.code(), ErrorCode::Expression);
    assert_eq!(error.to_string(), "line 2: user.nme has no value; there is: user");
}

#[test]
fn variables_are_found_in_both_formats() {
    let names = |format, text| variables(format, text).unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(names(Braces, "{b} {a.c} {{d}} {b}"), ["a", "b"]);
    assert_eq!(names(Jinja, "{% for x in xs %}{{ x.y ~ z }}{% endfor %}{{ range(3) }}"), ["xs", "z"]);
    variables(Jinja, "{% for %}").unwrap_err();
}

#[test]
fn jinja_renders_lists_and_objects_as_json() {
    let values = json!({"o": {"a": ["x", 1.5, null, true]}, "n": null});
    assert_eq!(
        jinja("{{ o }} {{ n }} {{ o.a | tojson }}", values),
        r#"{"a":["x",1.5,null,true]} null ["x",1.5,null,true]"#
    );
    assert_eq!(jinja("{{ text }}", json!({"text": "<b> & 'c'"})), "<b> & 'c'");
}

#[test]
fn a_broken_jinja_template_is_refused_on_save() {
    let error = check(Jinja, "fine\n{% if %}").unwrap_err();
    assert_eq!(error.code(), ErrorCode::Expression);
    assert!(error.to_string().starts_with("line 2: "));
    check(Jinja, &"{{ (".repeat(5_000)).unwrap_err();
    assert_eq!(check(Braces, &"x".repeat(MAX_TEMPLATE + 1)).unwrap_err().code(), ErrorCode::TooLarge);
}

#[test]
fn t50_no_other_template_is_reached() {
    for text in ["{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as x %}", "{% from 'x' import y %}"] {
        assert_eq!(check(Jinja, text).unwrap_err().code(), ErrorCode::Expression);
    }
}

#[test]
fn t50_attribute_walks_lead_nowhere() {
    for text in [
        "{{ ''.__class__ }}",
        "{{ x.__class__.__mro__ }}",
        "{{ x.__init__() }}",
        "{{ self.__dict__ }}",
        "{{ debug() }}",
    ] {
        assert_eq!(jinja_error(text, json!({"x": "secret"})).code(), ErrorCode::Expression);
    }
}

#[test]
fn t50_bombs_stop_quickly() {
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    let lists = "{% set n = namespace(a=[1]) %}{% for i in range(50) %}{% set n.a = [n.a, n.a] %}{% endfor %}";
    let texts = "{% set n = namespace(a='x') %}{% for i in range(50) %}{% set n.a = n.a ~ n.a %}{% endfor %}";
    let mut bombs = vec![
        nested.to_owned(),
        texts.to_owned(),
        "{{ range(1000000000) }}".to_owned(),
        "{{ 'a' * 1000000000 }}".to_owned(),
        "{{ 10 ** 10 ** 10 }}".to_owned(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% for i in range(2000) %}{{ 'x' * 1000 }}{% endfor %}".to_owned(),
    ];
    let sets = "{% set a = ['%}', a or 1, a] %}".repeat(40);
    bombs.push(format!("{{% set a = 1 %}}{sets}{{{{ a ~ '' }}}}"));
    bombs.push(format!("{{% set a = 1 %}}{sets}{{{{ a | string | length }}}}"));
    bombs.push(format!("{{% set a = 1 %}}{}x", "{% for a in [[a, a], [a, a]] %}".repeat(30)));
    bombs.push(format!("{lists}{{{{ n.a }}}}"));
    bombs.push(format!("{lists}{{{{ n.a | tojson }}}}"));
    for bomb in bombs {
        let error = jinja_error(&bomb, json!({}));
        assert!(matches!(error.code(), ErrorCode::Expression | ErrorCode::TooLarge), "{bomb}: {error}");
    }
}

#[test]
fn long_prompts_over_large_inputs_are_no_bombs() {
    let values = map(json!({"doc": "y".repeat(300_000), "rows": [[1, 2], [3, 4]], "missing": ""}));
    let template = "{% set kinds = ['a', 'b', 'c'] %}{% for a, b in rows %}{{ a }}, {{ b }}{% endfor %}\
                    {{ kinds | join(', ') }} {{ missing | default('no, nothing', true) }} {{ doc }}";
    assert!(render(Jinja, template, &values).is_ok());
}

#[test]
fn output_is_capped_in_both_formats() {
    let values = map(json!({"x": "y".repeat(MAX_OUTPUT / 2)}));
    assert_eq!(render(Braces, "{x}{x}{x}", &values).unwrap_err().code(), ErrorCode::TooLarge);
    assert_eq!(render(Jinja, "{{ x }}{{ x }}{{ x }}", &values).unwrap_err().code(), ErrorCode::TooLarge);
    assert_eq!(render(Jinja, "{{ x }}{{ x }}", &values).unwrap().len(), MAX_OUTPUT);
}

#[test]
fn errors_hold_no_value() {
    for text in
        ["{{ x / 0 }}", "{{ x + 1 }}", "{{ x | nofilter }}", "{{ x.nope() }}", "{{ x[missing] }}", "{{ x | round }}"]
    {
        assert!(!jinja_error(text, json!({"x": "canary"})).chain().contains("canary"));
    }
}

proptest! {
    /// What a value holds is never read as a template.
    #[test]
    fn values_are_never_scanned_again(a in "[{}a%# ]{0,20}", b in "[{}ab%# ]{0,20}") {
        let values = map(json!({"a": a, "b": b}));
        prop_assert_eq!(render(Braces, "{a}|{b}", &values).unwrap(), format!("{a}|{b}"));
        prop_assert_eq!(render(Jinja, "{{ a }}|{{ b }}", &values).unwrap(), format!("{a}|{b}"));
    }

    /// Any text is a braces template: it renders, or names what is missing.
    #[test]
    fn any_text_is_a_braces_template(text in "[{}a.é\n\"]{0,40}") {
        check(Braces, &text).unwrap();
        match render(Braces, &text, &map(json!({"a": 1}))) {
            Ok(_) => {}
            Err(error) => prop_assert_eq!(error.code(), ErrorCode::Expression),
        }
    }
}
