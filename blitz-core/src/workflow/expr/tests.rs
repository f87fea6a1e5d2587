//! What expressions give, what they refuse and what they say that they read.

use serde_json::{Value, json};

use super::{Expr, Names, Scope, Shape, Strings, condition};
use crate::error::ErrorCode;

fn scope() -> Scope {
    let scope = json!({
        "inputs": {"text": "hello", "list": [1, 2, 3], "name": "Ana"},
        "vars": {"count": 2},
        "nodes": {
            "risk": {"status": "completed", "output": {"score": 8, "tags": ["a", "b"], "note": "{{ inputs.text }}"}},
            "a-b": {"status": "completed", "output": 5},
            "gone": {"status": "skipped"},
        },
        "item": {"id": 7}, "index": 3, "input": {"text": "own"},
    });
    scope.as_object().unwrap().clone().into_iter().collect()
}

fn value(source: &str) -> Value {
    Expr::compile(source).unwrap().evaluate(&scope()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn fails(source: &str) -> ErrorCode {
    match Expr::compile(source) {
        Ok(expr) => expr.evaluate(&scope()).expect_err(source).code(),
        Err(error) => error.code(),
    }
}

fn shape(text: Value) -> Value {
    Shape::compile(&text, Strings::Tags).unwrap().evaluate(&scope()).unwrap()
}

#[test]
fn expressions_give_values_with_their_types() {
    for (source, expected) in [
        ("nodes.risk.output.score >= 7", json!(true)),
        ("{{ nodes.risk.output.score + 1 }}", json!(9)),
        ("nodes[\"a-b\"].output", json!(5)),
        ("nodes['a-b'].output * 2", json!(10)),
        ("inputs.list[1:]", json!([2, 3])),
        ("inputs.list[0]", json!(1)),
        ("nodes.risk.output.tags | join('-')", json!("a-b")),
        ("{'a': inputs.list, 'b': none}", json!({"a": [1, 2, 3], "b": null})),
        ("coalesce(nodes.gone.output.score, nodes.risk.output.score)", json!(8)),
        ("coalesce(nodes.gone.output, none)", Value::Null),
        ("nodes.gone.output.deep.er | default('x')", json!("x")),
        ("nodes.gone.output is defined", json!(false)),
        ("nodes.gone.output.x is not defined", json!(true)),
        ("nodes.gone.status == 'skipped'", json!(true)),
        ("vars.count ** 3", json!(8)),
        ("9007199254740993", json!(9_007_199_254_740_993_i64)),
        ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
    ] {
        assert_eq!(value(source), expected, "{source}");
    }
}

#[test]
fn w42_what_is_missing_clashes_or_never_ends_is_an_error() {
    for source in [
        "nodes.risk.output.scroe >= 7",
        "nodes.risk.output.scroe",
        "nodes.gone.output",
        "nodes.gone.output.score >= 7",
        "[inputs.missing]",
        "coalesce(inputs.missing.x.y + 1, 2)",
        "1 + 'a'",
        "1 / 0",
        "2 ** 200",
        "nobody",
        "inputs.",
        "",
        "1 +",
        "range(100000000) | list",
        "'a' * 1000000000",
        "inputs.text | frobnicate",
    ] {
        assert_eq!(fails(source), ErrorCode::Expression, "{source}");
    }
    assert_eq!(fails(&format!("1{}", " + 1".repeat(20_000))), ErrorCode::TooLarge);
}

/// What is said of an expression, read or run.
fn told(source: &str) -> String {
    let ran = Expr::compile(source).and_then(|expr| expr.evaluate(&scope()));
    ran.expect_err(source).to_string()
}

/// The one thing that a text uses and that does not exist; empty where all of it does.
fn absent(names: &Names) -> String {
    assert!(names.absent.len() <= 1, "{:?}", names.absent);
    names.absent.iter().map(String::as_str).collect()
}

#[test]
fn what_does_not_exist_is_told_by_its_name_before_it_runs() {
    for (source, expected) in [
        ("inputs.text | uppercase", "there is no filter uppercase; did you mean upper?"),
        ("inputs.list | lenght > 3", "there is no filter lenght; did you mean length?"),
        ("inputs.list | frobnicate", "there is no filter frobnicate"),
        ("inputs.list | map('uppr') | list", "there is no filter uppr; did you mean upper?"),
        ("inputs.list | select('od') | list", "there is no test od; did you mean odd?"),
        ("inputs.text is strng", "there is no test strng; did you mean string?"),
        ("inputs.text is not startswith('a')", "there is no test startswith; did you mean startingwith?"),
        ("inputs.text.upper()", "values have no method upper(): use the filter upper, as in inputs.text|upper"),
        ("nodes.risk.output.tags.len()", "values have no method len(): use the filter length"),
        ("'a'.strip()", "values have no method strip(): use the filter trim"),
    ] {
        let told = absent(Expr::compile(source).expect(source).names());
        assert!(told.starts_with(expected), "{source}: {told}");
        assert_eq!(fails(source), ErrorCode::Expression, "{source}: where it runs all the same it fails there");
    }
    for text in
        ["Dear {{ inputs.name | uppr }}", "{% filter uppr %}x{% endfilter %}", "{% if index is od %}x{% endif %}"]
    {
        let told = absent(Shape::compile(&json!(text), Strings::Tags).expect(text).names());
        assert!(told.contains("did you mean"), "{text}: {told}");
    }
    for right in [
        "inputs.text is defined and inputs.list | length > 1 or 'is' | upper is string",
        "inputs.list | select('odd') | map('string') | list",
        "index is not none and index is not in [1]",
        "index is eq 3 and index is divisibleby 3",
        "{'is': inputs.text, 'filter': ' | nope'}['is']",
        "range(3) | list",
    ] {
        let read = Expr::compile(right).expect(right);
        assert_eq!(absent(read.names()), "", "{right}");
        read.evaluate(&scope()).expect(right);
    }
    let cycle = json!("{% for x in inputs.list %}{{ loop.cycle('a', 'b') }}{% endfor %}");
    assert_eq!(shape(cycle), json!("aba"));
}

#[test]
fn w42_what_fails_says_what_and_shows_no_value() {
    for (source, expected) in [
        ("inputs.text + 1", "line 1: the operator + does not go with a text and a number"),
        ("inputs.list - nodes.risk.output", "line 1: the operator - does not go with a list and an object"),
        ("index // 0", "line 1: a calculation has no result: divided by 0, or out of range"),
        ("'x' in index", "line 1: in asks a text, a list or an object, and nothing else"),
        ("inputs.missing", "the expression gives nothing: inputs.missing is missing; say default(…) or coalesce(…)"),
        ("[inputs.text, inputs['a b']]", "the expression gives nothing: inputs['a b'] is missing; say default(…)"),
        ("{'a': nodes.risk.output.tags[7]}", "the expression gives nothing: nodes.risk.output.tags[7] is missing"),
        ("{{ inputs.a }} > 3", "an expression takes no braces around its names: say inputs.a > 3"),
        ("inputs.text|round('hello')", "line 1: "),
    ] {
        let told = told(source);
        assert!(told.starts_with(expected), "{source}: {told}");
        assert!(!told.contains("hello") && !told.ends_with("invalid operation"), "{told}");
    }
}

#[test]
fn a_string_that_is_one_expression_keeps_its_type() {
    assert_eq!(shape(json!("{{ inputs.list }}")), json!([1, 2, 3]));
    assert_eq!(shape(json!("{{ inputs.list }} ")), json!("[1,2,3] "));
    assert_eq!(shape(json!("Score {{ nodes.risk.output.score }}!")), json!("Score 8!"));
    assert_eq!(shape(json!("{{ {'a': {'b': 1}} }}")), json!({"a": {"b": 1}}));
    assert_eq!(shape(json!("{{ '}}' }}")), json!("}}"));
    assert_eq!(shape(json!("{{ 1 }}{{ 2 }}")), json!("12"));
    assert_eq!(shape(json!("{%- if true %}yes{% endif %}")), json!("yes"));
    assert_eq!(shape(json!({"a": ["{{ index }}", 4], "b": "{text}"})), json!({"a": [3, 4], "b": "{text}"}));
    assert_eq!(shape(json!("{% raw %}{{ nodes['x'].output }}{% endraw %}")), json!("{{ nodes['x'].output }}"));
    assert_eq!(shape(json!("{{ coalesce(nodes.gone.output.x, 'none') }}!")), json!("none!"));
    let key = Shape::compile(&json!({"{{ inputs.name }}": 1}), Strings::Tags).unwrap_err();
    assert_eq!(key.code(), ErrorCode::Expression);
}

#[test]
fn w42_what_a_value_holds_is_never_evaluated() {
    assert_eq!(shape(json!("{{ nodes.risk.output.note }}")), json!("{{ inputs.text }}"));
    assert_eq!(shape(json!("<{{ nodes.risk.output.note }}>")), json!("<{{ inputs.text }}>"));
}

#[test]
fn old_fields_of_prompts_are_filled() {
    let prompt = |text: &str| Shape::compile(&json!(text), Strings::Prompt).unwrap().evaluate(&scope());
    assert_eq!(prompt("Dear {name}: {text} {\"a\": 1}").unwrap(), json!("Dear Ana: own {\"a\": 1}"));
    assert_eq!(prompt("{{literal}}").unwrap(), json!("{literal}"));
    assert_eq!(prompt("{{ inputs.name }} {name}").unwrap(), json!("Ana {name}"));
    assert_eq!(prompt("{nobody}").unwrap_err().code(), ErrorCode::Expression);
}

#[test]
fn expressions_say_what_they_read() {
    let names = |source: &str| Expr::compile(source).unwrap().names().clone();
    let nodes = |source: &str| names(source).nodes.into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(nodes("nodes.a.output + nodes['b-c'].output.x - nodes[\"d\"].status"), "a b-c d");
    assert_eq!(nodes("nodes.a.output[1:nodes.b.output]"), "a b");
    assert_eq!(nodes("nodes.a.output[:2] ~ nodes.b.output[nodes.c.output:]"), "a b c");
    assert_eq!(nodes("nodes.a.output[nodes.b.output]"), "a b");
    assert_eq!(nodes("coalesce(nodes.a.output.x, nodes.b.output)"), "a b");
    assert_eq!(nodes("'nodes.a.output' ~ inputs.nodes.a"), "");
    assert_eq!(nodes("[x.nodes for x in inputs]".split(" for").next().unwrap().trim_start_matches('[')), "");
    assert!(names("nodes[inputs.name]").open.contains("nodes"));
    assert!(names("item.x + index + loop.count").item && names("loop.last").rounds);
    assert!(names("item[1:]").item);
    assert!(names("secrets.key").secrets.contains("key"));
    assert!(names("nodes.a.text").fields.contains(&("a".to_owned(), "text".to_owned())));
    assert!(names("somebody.x").unknown.contains("somebody"));
    let text = Shape::compile(
        &json!("{% for item in inputs.list %}{{ item }}{{ nodes['x-y'].output }}{% endfor %}"),
        Strings::Tags,
    );
    let names = text.unwrap().names().clone();
    assert!(!names.item && names.inputs && names.nodes.contains("x-y"), "{names:?}");
}

#[test]
fn secrets_come_from_a_function_and_from_nowhere_else() {
    let shape = Shape::compile(&json!({"auth": "Bearer {{ secrets.token }}"}), Strings::Tags).unwrap();
    let given = |name: &str| Ok(format!("<{name}>"));
    assert_eq!(shape.with_secrets(&scope(), &given).unwrap(), json!({"auth": "Bearer <token>"}));
    assert_eq!(shape.evaluate(&scope()).unwrap_err().code(), ErrorCode::Internal);
}

#[test]
fn conditions_become_expressions() {
    let holds = |value: Value| Expr::compile(&condition(&value).unwrap()).unwrap().is_true(&scope()).unwrap();
    for (value, expected) in [
        (json!({"left": "nodes.risk.output.score", "operator": "gte", "right": 8}), true),
        (json!({"left": "{{ nodes.risk.output.score }}", "op": "<", "right": "{{ vars.count }}"}), false),
        (json!({"left": "inputs.text", "operator": "contains", "right": "ell"}), true),
        (json!({"left": "inputs.text", "operator": "starts_with", "right": "L R D"}), false),
        (json!({"left": "inputs.missing", "operator": "exists"}), false),
        (json!({"left": "nodes.gone.output.x", "operator": "not_exists"}), true),
        (json!({"left": "inputs.list", "operator": "is_empty"}), false),
        (json!({"left": "inputs.name", "operator": "in", "right": ["Ana", "quote\" L"]}), true),
        (json!({"and": [{"left": "1", "op": "==", "right": 1}, {"or": [false, {"not": false}]}]}), true),
        (json!([true, "inputs.text == 'hello'"]), true),
    ] {
        assert_eq!(holds(value.clone()), expected, "{value}");
    }
    for wrong in
        [json!({}), json!({"left": "a"}), json!({"left": "a", "op": "==", "rigth": 1}), json!({"and": []}), json!(3)]
    {
        assert_eq!(condition(&wrong).unwrap_err().code(), ErrorCode::Expression, "{wrong}");
    }
}
