use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::error::ErrorCode;

fn refused(schema: Value) -> String {
    let error = SchemaCheck::new(&schema).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    error.to_string()
}

fn problems(schema: Value, value: Value) -> Vec<SchemaProblem> {
    SchemaCheck::new(&schema).unwrap().check(&value).unwrap_err()
}

#[test]
fn problems_name_the_place_and_not_the_value() {
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["name"]});
    let found = problems(schema, json!({"age": "a secret"}));
    assert_eq!(found.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["", "/age"]);
    assert_eq!(describe(&found), r#"(root): "name" is a required property; /age: the value is not of type "integer""#);
}

#[test]
fn problems_are_few_and_short() {
    let many = json!((0..100).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(problems(json!({"items": {"type": "integer"}}), many).len(), MAX_PROBLEMS);
    let long_key = "k".repeat(5_000);
    let found = problems(json!({"additionalProperties": false}), json!({long_key: 1}));
    assert!(found[0].message.chars().count() <= MAX_MESSAGE + 1);
}

#[test]
fn formats_are_checked() {
    problems(json!({"format": "date"}), json!("next tuesday"));
}

#[test]
fn t49_references_to_elsewhere_are_refused() {
    for target in ["http://169.254.169.254/x", "file:///etc/passwd", "other.json", "//host/x"] {
        assert!(refused(json!({"properties": {"a": {"$ref": target}}})).contains("inside the schema"));
    }
    refused(json!({"$schema": "https://example.com/mine"}));
    // A property may be called $ref, and data may hold one.
    SchemaCheck::new(&json!({"properties": {"$ref": {"type": "string"}, "b": {"const": {"$ref": "http://x"}}}}))
        .unwrap();
}

#[test]
fn t49_patterns_run_in_linear_time() {
    let check = SchemaCheck::new(&json!({"pattern": "^(a+)+$"})).unwrap();
    let start = Instant::now();
    check.check(&json!(format!("{}!", "a".repeat(10_000)))).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5));
    refused(json!({"pattern": "(?=look)around"}));
    refused(json!({"pattern": "((a{1000}){1000}){1000}"}));
    let many: Vec<Value> = (0..101).map(|i| json!({"pattern": format!("p{i}")})).collect();
    refused(json!({"anyOf": many}));
}

#[test]
fn t49_recursion_without_end_is_bounded() {
    SchemaCheck::new(&json!({"$ref": "#"})).unwrap().check(&json!({"a": [1]})).ok();
    let loops = json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"});
    SchemaCheck::new(&loops).unwrap().check(&json!(1)).ok();
}

#[test]
fn t49_references_that_double_at_each_step_are_refused() {
    let mut defs = serde_json::Map::new();
    for i in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
        defs.insert(format!("d{i}"), json!({"anyOf": [next, next]}));
    }
    defs.insert("d40".into(), json!({"type": "string"}));
    assert!(refused(json!({"$defs": defs, "$ref": "#/$defs/d0"})).contains("too much work"));
}

#[test]
fn t49_a_web_of_references_is_refused() {
    let all: Vec<Value> = (0..12).map(|i| json!({"$ref": format!("#/$defs/d{i}")})).collect();
    let defs: serde_json::Map<_, _> = (0..12).map(|i| (format!("d{i}"), json!({"allOf": all}))).collect();
    assert!(refused(json!({"$defs": defs, "$ref": "#/$defs/d0"})).contains("too much work"));
}

#[test]
fn t49_recursion_that_doubles_caps_the_depth_of_values() {
    let twice = json!({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}, "required": ["b"]});
    let nested = (0..60).fold(json!({}), |inner, _| json!({"a": inner}));
    let start = Instant::now();
    assert!(problems(twice, nested)[0].message.contains("nested deeper"));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn ordinary_recursion_is_not_capped_tightly() {
    let tree = json!({"properties": {
        "left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        "right": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    }});
    let nested = (0..60).fold(json!(null), |inner, _| json!({"left": inner, "right": null}));
    SchemaCheck::new(&tree).unwrap().check(&nested).unwrap();
}

#[test]
fn size_and_depth_of_a_schema_are_capped() {
    refused(json!({"description": "x".repeat(300 * 1024)}));
    refused((0..100).fold(json!({}), |inner, _| json!({"not": inner})));
    refused(json!("text"));
    refused(json!({"type": "no such type"}));
}

#[test]
fn depth_counts_containers() {
    assert!(depth_within(&json!(1), 0));
    assert!(depth_within(&json!([[1]]), 2));
    assert!(!depth_within(&json!([[1]]), 1));
}
